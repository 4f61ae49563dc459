"""Agent sessions as arrays, by the million: what the waterfall reads, without logs to parse."""

from __future__ import annotations

import numpy as np

from forkpoint.analysis.cache import Missed
from forkpoint.analysis.policy import CallFacts
from forkpoint.analysis.prompts import Prompts, Siblings
from forkpoint.analysis.rules import load_rules
from forkpoint.analysis.tree import Floats, Ints, PrefixTree

CALLS_PER_SESSION = 60
NODES_PER_CALL = 3
_MODELS = ["claude-opus-4-5-20251101", "claude-sonnet-4-5-20250929"]


def sessions(n_calls: int) -> tuple[Prompts, CallFacts, Missed]:
    """Calls of sessions that run side by side, each prompt extending the one before by three
    segments; idle now and then for longer than caches live; two models; seeded.

    What the provider read is drawn: all it could, or nothing after a long pause and now and then.
    """
    random = np.random.default_rng(5)
    n_sessions = max(1, n_calls // CALLS_PER_SESSION)
    n_calls = n_sessions * CALLS_PER_SESSION
    session = np.repeat(np.arange(n_sessions), CALLS_PER_SESSION)
    pause = np.where(random.random(n_calls) < 0.04, 2_000.0, random.exponential(30.0, n_calls))
    pause[::CALLS_PER_SESSION] = random.uniform(0, 3e6, n_sessions)
    sent = np.cumsum(pause.reshape(n_sessions, -1), axis=1).ravel()
    growth = random.integers(300, 4_000, n_calls)
    growth[::CALLS_PER_SESSION] += 20_000
    size = np.cumsum(growth.reshape(n_sessions, -1), axis=1).ravel()
    before = size - growth
    cold = (pause > 300) | (random.random(n_calls) < 0.02) | (before == 0)
    read = np.where(cold, 0, before)
    order = np.argsort(sent, kind="stable")
    prompts = _prompts(order, session, size)
    facts = _facts(order, sent, size, prompts.model)
    ideal = before[order]
    missed = Missed(
        ideal=ideal,
        read=read[order],
        reported=np.ones(n_calls, dtype=np.bool_),
        tokens=ideal - read[order],
        gain_usd=np.full(n_calls, 5e-6),
        provider_exceeds=0,
    )
    return prompts, facts, missed


def _prompts(order: Ints, session: Ints, size: Ints) -> Prompts:
    n = len(order)
    n_nodes = n * NODES_PER_CALL
    parent = np.arange(n_nodes + 1) - 1
    parent[1 :: CALLS_PER_SESSION * NODES_PER_CALL] = 0
    parent[0] = 0
    n_bytes = np.r_[0, np.repeat(np.diff(size, prepend=0).clip(300), NODES_PER_CALL)]
    no = np.zeros(n_nodes + 1, dtype=np.bool_)
    none = np.zeros(0, dtype=np.int64)
    return Prompts(
        tree=PrefixTree(parent),
        tokens=np.full(n_nodes + 1, -1, dtype=np.int64),
        n_bytes=n_bytes,
        is_tools=no,
        is_unlogged=no,
        is_system=no,
        is_cut=no,
        prompt=((np.arange(n) + 1) * NODES_PER_CALL)[order],
        completion=np.full(n, -1, dtype=np.int64),
        billed=size[order],
        text=np.full(n, -1, dtype=np.int64),
        output=np.full(n, 200, dtype=np.int64),
        is_sum=np.zeros(n, dtype=np.bool_),
        model=(session % len(_MODELS))[order],
        trace=session[order],
        models=_MODELS,
        siblings=Siblings(none, none, none),
    )


def _facts(order: Ints, sent: Floats, size: Ints, model: Ints) -> CallFacts:
    rules = [load_rules().rule_for("anthropic", name, None) for name in _MODELS]
    known = [rule for rule in rules if rule is not None]
    n = len(order)
    return CallFacts(
        sent_s=sent[order],
        duration_s=np.full(n, np.nan),
        breakpoints=np.full(n, -1, dtype=np.int64),
        written_to=size[order] - 3,
        long_lived=np.zeros(n, dtype=np.bool_),
        rules=known,
        rule=model.copy(),
    )

"""Why tokens that had been sent before were paid for again: a named cause for every one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from forkpoint.analysis.cache import Missed, sum_usd
from forkpoint.analysis.cause_names import (
    AFTER_BREAKPOINT,
    ANSWER,
    BEYOND_LOOKBACK,
    COMPACTION,
    CONCURRENT,
    EXPIRED,
    LEVELS,
    MESSAGES_CHANGED,
    MODEL_SWITCH,
    NO_BREAKPOINT,
    NO_RULES,
    NOT_READY,
    PROVIDER_WORDS,
    ROUNDED,
    START_CHANGED,
    SYSTEM_CHANGED,
    TOO_SHORT,
    TOOLS_CHANGED,
    UNKNOWN,
    UNLOGGED_CHANGE,
)
from forkpoint.analysis.policy import COMPACTED_BELOW, CallFacts, Levels
from forkpoint.analysis.prompts import Prompts
from forkpoint.analysis.results import MissCause, WaterfallStep
from forkpoint.analysis.store import Store
from forkpoint.analysis.tree import Flags, Ints, deepest_seen_before

READABLE_AFTER_S = 60.0
"""An entry that could not be read was written at most this long before; later it was lost."""


@dataclass
class Loss:
    """Tokens lost to one cause, per call."""

    cause: str
    source: str
    """``provider`` or ``inferred``."""
    tokens: Ints


def attribute(
    store: Store, prompts: Prompts, facts: CallFacts, missed: Missed, levels: Levels
) -> list[Loss]:
    """Every loss between `reusable` and `realized`. Per call they add up to that difference."""
    stated = _stated(store, missed)
    silent = np.ones(len(missed.tokens), dtype=np.bool_)
    losses = []
    for cause, calls in stated.items():
        lost = levels.reusable - levels.realized
        losses.append(Loss(cause, "provider", np.where(calls, lost, 0)))
        silent &= ~calls
    inferred = [
        *_changed_beginnings(prompts, levels),
        (ANSWER, levels.ideal - levels.stored),
        (MODEL_SWITCH, levels.stored - levels.scoped),
        (EXPIRED, levels.scoped - levels.alive),
        *_units(facts, levels),
        *_marks(facts, levels),
        (CONCURRENT, levels.marked - levels.policy),
        *_below_policy(prompts, facts, levels),
        (NO_RULES, np.where(missed.reported & ~levels.ruled, missed.tokens, 0)),
    ]
    losses += [Loss(cause, "inferred", np.where(silent, tokens, 0)) for cause, tokens in inferred]
    return [loss for loss in losses if loss.tokens.any()]


def _stated(store: Store, missed: Missed) -> dict[str, Flags]:
    """Calls whose provider states a cause, by cause."""
    rows = store.rows("SELECT call_no, miss_reason FROM scope_calls WHERE miss_reason IS NOT NULL")
    found: dict[str, Flags] = {}
    for call, reason in rows:
        cause = PROVIDER_WORDS.get(reason)
        if cause is not None and missed.reported[call]:
            calls = found.setdefault(cause, np.zeros(len(missed.tokens), dtype=np.bool_))
            calls[call] = True
    return found


def _changed_beginnings(prompts: Prompts, levels: Levels) -> list[tuple[str, Ints]]:
    """Losses above `ideal`: prompts that did not go on from where their trace had been."""
    lost = levels.reusable - levels.ideal
    last, first = deepest_seen_before(
        prompts.tree, prompts.seen_with_completions, prompts.prompt, prompts.ranks
    )
    nothing = (prompts.byte_depth[last] == 0) & (prompts.token_depth[last] == 0)
    before = np.maximum(prompts.previous, 0)
    compacted = nothing & (prompts.size < COMPACTED_BELOW * prompts.size[before])
    # Where the whole prompt is logged, what changed is its first segment.
    unlogged = nothing & ~prompts.counted
    begins = np.maximum(first, 0)
    is_tools, is_system = prompts.is_tools[begins], prompts.is_system[begins]
    return [
        (COMPACTION, np.where(compacted, lost, 0)),
        (TOOLS_CHANGED, np.where(~compacted & is_tools, lost, 0)),
        (SYSTEM_CHANGED, np.where(~compacted & is_system, lost, 0)),
        (
            MESSAGES_CHANGED,
            np.where(~compacted & ~is_tools & ~is_system & ~unlogged, lost, 0),
        ),
        (START_CHANGED, np.where(~compacted & ~is_tools & ~is_system & unlogged, lost, 0)),
    ]


def _units(facts: CallFacts, levels: Levels) -> list[tuple[str, Ints]]:
    lost = levels.alive - levels.allowed
    short = (levels.allowed == 0) & (levels.alive < facts.minimum())
    return [(TOO_SHORT, np.where(short, lost, 0)), (ROUNDED, np.where(short, 0, lost))]


def _marks(facts: CallFacts, levels: Levels) -> list[tuple[str, Ints]]:
    lost = levels.allowed - levels.marked
    user = np.maximum(levels.latest, 0)
    unmarked = facts.breakpoints == 0
    unmarked |= (levels.latest >= 0) & (facts.breakpoints[user] == 0)
    return [
        (NO_BREAKPOINT, np.where(unmarked, lost, 0)),
        (BEYOND_LOOKBACK, np.where(~unmarked & levels.too_far, lost, 0)),
        (AFTER_BREAKPOINT, np.where(~unmarked & ~levels.too_far, lost, 0)),
    ]


def _below_policy(prompts: Prompts, facts: CallFacts, levels: Levels) -> list[tuple[str, Ints]]:
    """What the rules would have allowed and the provider did not serve.

    Two signs tell more than that. If the provider read exactly what it had read for the call that
    used this prefix last, that call's own write was not readable yet. If it read a beginning, and
    the rest had been used within its lifetime, the prompt parted there in something not logged
    (tools, reminders), or the rest was evicted; a whole miss may be either and stays unknown.
    """
    lost = np.where(levels.ruled, levels.policy - levels.realized, 0)
    user = np.maximum(levels.latest, 0)
    not_ready = (
        (levels.latest >= 0)
        & (levels.realized == levels.realized[user])
        & (levels.realized > 0)
        & (levels.idle_s <= READABLE_AFTER_S)
    )
    parted = ~not_ready & (levels.realized > 0)
    return [
        (NOT_READY, np.where(not_ready, lost, 0)),
        (UNLOGGED_CHANGE, np.where(parted, lost, 0)),
        (UNKNOWN, np.where(~not_ready & ~parted, lost, 0)),
    ]


def summarize(losses: list[Loss], missed: Missed) -> tuple[MissCause, ...]:
    """One row per cause, most expensive first."""
    rows = [
        MissCause(
            cause=loss.cause,
            source=loss.source,
            calls=int((loss.tokens > 0).sum()),
            tokens=int(loss.tokens.sum()),
            usd=sum_usd((loss.tokens * missed.gain_usd)[loss.tokens > 0]),
        )
        for loss in losses
    ]
    return tuple(sorted(rows, key=lambda row: (-(row.usd or 0.0), -row.tokens, row.cause)))


def waterfall(prompts: Prompts, missed: Missed, levels: Levels) -> tuple[WaterfallStep, ...]:
    """From all input to what was read, in sum.

    Steps named for a level (``input``, ``ideal``, ``policy``, ``realized``) hold its tokens; those
    between hold what was lost on the way, as negative numbers, so that each level is the one before
    it plus the losses between.
    """
    total = int(prompts.size[prompts.size >= 0].sum())
    if not total:
        return ()

    def lost(name: str, above: Ints, below: Ints) -> WaterfallStep:
        tokens = above - below
        priced = sum_usd((tokens * missed.gain_usd)[tokens > 0])
        return WaterfallStep(name, -int(tokens.sum()), None if priced is None else -priced)

    silent = np.where(missed.reported, 0, levels.ideal)
    policy = np.where(missed.reported, levels.policy, 0)
    realized = np.where(missed.reported, levels.realized, 0)
    steps = [
        WaterfallStep("input", total, None),
        WaterfallStep("never sent before", int(levels.reusable.sum()) - total, None),
        lost("beginning changed", levels.reusable, levels.ideal),
        WaterfallStep("ideal", int(levels.ideal.sum()), None),
        WaterfallStep("not reported", -int(silent.sum()), None),
        lost(ANSWER, levels.ideal, levels.stored),
        lost(MODEL_SWITCH, levels.stored, levels.scoped),
        lost(EXPIRED, levels.scoped, levels.alive),
        lost("below the minimum or rounded down", levels.alive, levels.allowed),
        lost("no breakpoint in reach", levels.allowed, levels.marked),
        lost(CONCURRENT, levels.marked, levels.policy),
        WaterfallStep("policy", int(policy.sum()), None),
        lost("below policy", policy, realized),
        WaterfallStep("realized", int(realized.sum()), None),
    ]
    return tuple(step for step in steps if step.tokens or step.step in LEVELS)


def policy_hit_rate(prompts: Prompts, levels: Levels) -> float | None:
    """What the rules allowed, of the input of calls whose rules are known."""
    size = int(prompts.size[levels.ruled].sum())
    return int(levels.policy[levels.ruled].sum()) / size if size else None


def unknown_share(losses: list[Loss], missed: Missed) -> float | None:
    """Share of missed tokens without a named cause."""
    total = int(missed.tokens.sum())
    unnamed = sum(int(each.tokens.sum()) for each in losses if each.cause in (UNKNOWN, NO_RULES))
    return unnamed / total if total else None

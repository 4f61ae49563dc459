"""The answer of ``forkpoint cache``: all cache figures with advice, or one call explained."""

from __future__ import annotations

import string
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from forkpoint.analysis.advice import (
    conventions,
    hints,
    lifetimes,
    load_spending,
    net_value,
    texts_of,
)
from forkpoint.analysis.cache import Missed
from forkpoint.analysis.excerpts import excerpt, parting
from forkpoint.analysis.measured import Measured, measure_scope
from forkpoint.analysis.prompts import (
    Prompts,
    in_proportion,
    positions_of,
)
from forkpoint.analysis.report import NO_FILTERS, describe_provenance
from forkpoint.analysis.results import CacheAnswer, Explanation, PathStep
from forkpoint.analysis.scope import Filters
from forkpoint.analysis.store import Store
from forkpoint.analysis.totals import measure_totals
from forkpoint.analysis.tree import Ints, deepest_seen_before
from forkpoint.analysis.waterfall import measure_cache
from forkpoint.errors import ForkpointError

STEPS = 40
"""Segments of a path that an explanation shows."""

_ALWAYS_KNOWN = ("reusable", "ideal")
_BY_RULES = ("stored", "scoped", "alive", "allowed", "marked", "policy")


def build_cache(
    store: Store,
    paths: Sequence[Path],
    *,
    filters: Filters = NO_FILTERS,
    prices: Path | None = None,
    rules: Path | None = None,
) -> CacheAnswer:
    """The whole answer for the logs at or under `paths`.

    Args:
        paths: absolute; what is there has been ingested.
        prices: a file of prices that go before the built-in ones.
        rules: a file of cache rules that go before the built-in ones.

    Raises:
        ForkpointError: `prices` or `rules` cannot be used.
    """
    it = measure_scope(store, paths, filters, prices, rules)
    _, hit_rate, read_share = measure_totals(store)
    spending = load_spending(store, it.prompts, it.fall.facts)
    options = lifetimes(it.prompts, it.missed, it.fall, spending)
    return CacheAnswer(
        cache=measure_cache(store, it.prompts, it.reuse, it.missed, it.fall, hit_rate, read_share),
        conventions=conventions(store),
        net=net_value(spending),
        lifetimes=options,
        hints=hints(store, it.prompts, it.missed, it.fall, spending, options),
        rules=it.rules.name,
        provenance=describe_provenance(store, paths, filters, it.price_book),
    )


def explain_call(
    store: Store,
    paths: Sequence[Path],
    call_id: str,
    *,
    filters: Filters = NO_FILTERS,
    prices: Path | None = None,
    rules: Path | None = None,
) -> Explanation:
    """Why one call paid for what it paid.

    Args:
        call_id: its id, or the beginning of it that no other call under `paths` has.

    Raises:
        ForkpointError: no call, or more than one, has such an id; `prices` or `rules` cannot be
            used.
    """
    it = measure_scope(store, paths, filters, prices, rules)
    call = _find_call(store, call_id, it.missed)
    place = _places(store, [call])[call]
    levels = it.fall.levels
    earlier, node = _earlier(it, call)
    other = _places(store, [earlier])[earlier] if earlier >= 0 else None
    idle_s = it.fall.facts.sent_s[call] - it.fall.facts.sent_s[earlier] if earlier >= 0 else np.nan
    return Explanation(
        call_id=place.call_id,
        path=place.path,
        line=place.line,
        model=place.model,
        started_at=place.started_at,
        input_tokens=max(int(it.prompts.size[call]), 0),
        read_tokens=int(levels.realized[call]) if it.missed.reported[call] else None,
        levels=_levels(it, call),
        causes=_causes(it, call),
        earlier_call_id=other.call_id if other else None,
        earlier_path=other.path if other else None,
        earlier_line=other.line if other else None,
        idle_s=None if np.isnan(idle_s) else float(idle_s),
        shared_tokens=_shared_tokens(it, call, earlier, node),
        steps=_steps(store, it, call, node),
        parts_at=_parts_at(store, it.prompts, call, earlier, node),
    )


# ---- The call -------------------------------------------------------------------------------


@dataclass
class _Place:
    call_id: str
    path: str
    line: int
    model: str | None
    started_at: Any


def _find_call(store: Store, call_id: str, missed: Missed) -> int:
    wanted = call_id.strip().lower().replace("-", "")
    if not wanted or set(wanted) - set(string.hexdigits):
        raise ForkpointError(f"{call_id!r} is no call id: ids are hexadecimal digits")
    rows = store.rows(
        """
        SELECT call_no, call_id::VARCHAR FROM scope_calls
        WHERE starts_with(replace(call_id::VARCHAR, '-', ''), ?) ORDER BY call_no
        """,
        [wanted],
    )
    ids = {each for _, each in rows}
    if not ids:
        raise ForkpointError(f"no call in these logs has an id that begins with {wanted}")
    if len(ids) > 1:
        raise ForkpointError(f"{len(ids)} calls have ids that begin with {wanted}: give more of it")
    # Conversations that merely number their calls may share an id: the dearest one is meant.
    calls: list[int] = [call for call, _ in rows]
    return max(calls, key=lambda call: int(missed.tokens[call]))


def _places(store: Store, calls: list[int]) -> dict[int, _Place]:
    rows = store.rows(
        """
        SELECT call_no, replace(call_id::VARCHAR, '-', ''), path, line, model, started_at
        FROM scope_calls JOIN scope_sources USING (source_id)
        WHERE call_no IN (SELECT unnest(?::BIGINT[]))
        """,
        [calls],
    )
    return {call: _Place(*rest) for call, *rest in rows}


def _levels(it: Measured, call: int) -> tuple[tuple[str, int], ...]:
    """The levels that mean anything for the call: those of rules only where its rules are known,
    and what was realized only where its log says so."""
    names = list(_ALWAYS_KNOWN)
    if it.fall.levels.ruled[call]:
        names += _BY_RULES
    if it.missed.reported[call]:
        names.append("realized")
    return tuple((name, int(getattr(it.fall.levels, name)[call])) for name in names)


def _causes(it: Measured, call: int) -> tuple[tuple[str, str, int], ...]:
    found = [
        (loss.cause, loss.source, int(loss.tokens[call]))
        for loss in it.fall.losses
        if loss.tokens[call]
    ]
    return tuple(sorted(found, key=lambda row: (-row[2], row[0])))


# ---- The earlier call it is compared with ---------------------------------------------------


def _earlier(it: Measured, call: int) -> tuple[int, int]:
    """The earlier call to compare with (-1: none) and the deepest node that both prompts pass.

    That is the one that used the matching prefix last; else the first that sent what this one
    begins with, to whatever model; else the one before it in its trace.
    """
    prompts = it.prompts
    earlier = int(it.fall.levels.latest[call])
    if earlier < 0:
        seen = prompts.seen_with_completions
        last, _ = deepest_seen_before(prompts.tree, seen, prompts.prompt, prompts.ranks)
        node = int(last[call])
        # Where nothing logged is shared, the calls' own order tells more than a common stand-in.
        if node and (prompts.byte_depth[node] or prompts.token_depth[node]):
            earlier = int(seen[node])
        else:
            earlier = _first_alike(prompts, call, node)
    if earlier < 0:
        return -1, 0
    return earlier, _common_node(prompts, call, earlier)


def _first_alike(prompts: Prompts, call: int, node: int) -> int:
    """The earlier call whose text after `node` begins most like this one's; else the one before
    in the trace."""
    path = _path(prompts, int(prompts.prompt[call]))
    after = path[_depth(prompts, node) :]
    if after:
        siblings = prompts.siblings.node[prompts.siblings.parent == node]
        before = siblings[prompts.seen[siblings] < call]
        heads = [_shared_head(prompts, after[0], each) for each in before.tolist()]
        if heads and max(heads) > 0:
            return int(prompts.seen[before[int(np.argmax(heads))]])
    return int(prompts.previous[call])


def _path(prompts: Prompts, node: int) -> list[int]:
    """Nodes from the first segment to `node`; empty for the root."""
    path = []
    while node:
        path.append(node)
        node = int(prompts.tree.parent[node])
    return path[::-1]


def _depth(prompts: Prompts, node: int) -> int:
    """Segments down to `node`."""
    return int(prompts.tree.level[node])


def _ends(prompts: Prompts, call: int) -> list[int]:
    """Where what a call sent ends, and what it generated."""
    ends = [int(prompts.prompt[call]), int(prompts.completion[call])]
    return [node for node in ends if node >= 0]


def _common_node(prompts: Prompts, call: int, earlier: int) -> int:
    """The deepest node on this call's prompt that the earlier one sent or generated."""
    ours = _path(prompts, int(prompts.prompt[call]))
    common = [0]
    for end in _ends(prompts, earlier):
        theirs = set(_path(prompts, end))
        common += [node for node in ours if node in theirs]
    return max(common, key=lambda node: _depth(prompts, node))


def _following(prompts: Prompts, call: int, earlier: int, node: int) -> tuple[int, int]:
    """The node after `node` on this call's prompt, and on what the earlier one sent or generated; 0
    where that ends."""
    place = _depth(prompts, node)
    ours = _path(prompts, int(prompts.prompt[call]))[place:]
    for end in _ends(prompts, earlier):
        path = _path(prompts, end)
        if len(path) > place and (node == 0 or path[place - 1] == node):
            return (ours[0] if ours else 0), path[place]
    return (ours[0] if ours else 0), 0


def _shared_head(prompts: Prompts, a: int, b: int) -> int:
    """Tokens that two siblings begin with; 0 where nothing is known of that."""
    nodes, shared = prompts.siblings.node, prompts.siblings.shared
    places = np.flatnonzero((nodes == a) | (nodes == b))
    if len(places) != 2 or a == b:
        return 0
    between = shared[places[0] + 1 : places[1] + 1]
    return max(int(between.min()), 0)


def _shared_tokens(it: Measured, call: int, earlier: int, node: int) -> int:
    prompts = it.prompts
    if earlier < 0:
        return 0
    if prompts.bare[call]:
        return int(it.reuse.tokens[call]) if earlier == prompts.previous[call] else 0
    ours, theirs = _following(prompts, call, earlier, node)
    if prompts.counted[call] and ours and theirs:
        head = prompts.token_depth[node] + _shared_head(prompts, ours, theirs)
        whole = prompts.token_depth[prompts.prompt[call]]
        return int(in_proportion(prompts.size[[call]], np.array([head]), np.array([whole]))[0])
    return int(_positions(prompts, call, np.array([node]))[0])


def _positions(prompts: Prompts, call: int, nodes: Ints) -> Ints:
    calls = np.full(len(nodes), call, dtype=np.int64)
    return positions_of(prompts, calls, nodes, prompts.fits).tokens


# ---- Its path -------------------------------------------------------------------------------


def _steps(store: Store, it: Measured, call: int, node: int) -> tuple[PathStep, ...]:
    """At most `STEPS` segments around the end of `node`."""
    prompts = it.prompts
    path = _path(prompts, int(prompts.prompt[call]))
    shared = _depth(prompts, node)
    start = max(0, min(shared - STEPS // 2, len(path) - STEPS))
    nodes = path[start : start + STEPS]
    kinds = {
        i: (kind, role)
        for i, kind, role in store.rows(
            "SELECT i, kind, role FROM scope_nodes WHERE i IN (SELECT unnest(?::BIGINT[]))", [nodes]
        )
    }
    texts = texts_of(store, nodes)
    tokens = _positions(prompts, call, np.array(nodes, dtype=np.int64)).tolist()
    return tuple(
        PathStep(
            kind=kinds[each][0],
            role=kinds[each][1],
            tokens=upto,
            shared=place <= shared,
            excerpt=excerpt(texts[each]) if each in texts else None,
        )
        for place, (each, upto) in enumerate(zip(nodes, tokens, strict=True), start=start + 1)
    )


def _parts_at(store: Store, prompts: Prompts, call: int, earlier: int, node: int) -> str | None:
    """How the two go on differently, if both do and their texts can be read."""
    if earlier < 0:
        return None
    ours, theirs = _following(prompts, call, earlier, node)
    if not ours or not theirs:
        return None
    texts = texts_of(store, [ours, theirs])
    if ours not in texts or theirs not in texts:
        return None
    return parting(texts[theirs], texts[ours])

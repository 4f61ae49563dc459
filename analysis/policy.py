"""From ideal to realized: what the providers' rules took away, step by step, call by call.

Each level is what a cache could have served under one rule more than the level before, so levels
never rise and their differences are losses with a name:

    reusable    what the trace had sent before, had its prompts kept their beginning
    ideal       the longest beginning that any earlier call had sent or generated
    stored      … that the provider stores: some store prompts only, not what they generate
    scoped      … sent to the same model
    alive       … within the cache's lifetime, which each use renews
    allowed     … in whole units, and not below the provider's minimum
    marked      … where the request asked for caching, within reach of its breakpoints
    policy      … whose first response had begun when this call was sent
    realized    what the provider read

No level is below what the provider read: where it read more than the log shows, the log is short.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from forkpoint.analysis.cache import Missed
from forkpoint.analysis.prompts import Fit, Prompts, positions
from forkpoint.analysis.rules import CacheRule, Rules
from forkpoint.analysis.store import Store
from forkpoint.analysis.tree import (
    NEVER,
    Flags,
    Floats,
    Ints,
    LatestBefore,
    deepest_seen_before,
    first_seen,
)

FIRST_TOKEN_S = 1.0
"""How long a response is taken to need to begin, where the log does not state its duration. An entry
can be read only from then on."""
COMPACTED_BELOW = 0.7
"""A prompt that shares no logged content with the one before it, and is smaller than this part of it,
was compacted rather than changed."""


@dataclass
class CallFacts:
    """What rules look at, per call; indexed by `call_no`."""

    sent_s: Floats
    """Seconds since 1970; NaN where not logged."""
    duration_s: Floats
    breakpoints: Ints
    """-1 where not logged."""
    written_to: Ints
    """Tokens from the beginning of each prompt to its last breakpoint: what the provider read and
    wrote; -1 where not logged."""
    long_lived: Flags
    """Calls whose entries live long: they write such entries, or their trace did so last."""
    rules: list[CacheRule]
    rule: Ints
    """Position in `rules`; -1 where no rule is known."""

    @property
    def ruled(self) -> Flags:
        """Calls whose provider's rules are known."""
        flags: Flags = self.rule >= 0
        return flags

    def governed(self, number: int) -> Ints:
        """The calls under one rule."""
        return np.flatnonzero(self.rule == number)

    def generated_stored(self) -> Flags:
        """Calls whose provider stores what it generates."""
        stores = np.array([each.caches_generated for each in self.rules] + [False])
        flags: Flags = stores[self.rule]
        return flags

    def lifetime_s(self) -> Floats:
        """Seconds that entries live after their last use; infinite where not known."""
        short, long = (
            np.array([np.inf if each is None else float(each) for each in column] + [np.inf])
            for column in (
                [each.default_ttl_s for each in self.rules],
                [each.long_ttl_s or each.default_ttl_s for each in self.rules],
            )
        )
        return np.where(self.long_lived, long[self.rule], short[self.rule])


@dataclass
class Levels:
    """Tokens per call at each level, from `reusable` down to `realized`."""

    reusable: Ints
    ideal: Ints
    stored: Ints
    scoped: Ints
    alive: Ints
    allowed: Ints
    marked: Ints
    policy: Ints
    realized: Ints
    ruled: Flags
    """Calls whose provider's rules are known and whose reads are reported: only for those do the
    levels below `ideal` mean anything."""
    idle_s: Floats
    """Seconds since the deepest matching prefix was last used; NaN without one, or without times."""
    latest: Ints
    """The call that used it then; -1: none."""
    too_far: Flags
    """Calls that no breakpoint's lookback could reach from, however placed."""


def load_facts(store: Store, rules: Rules) -> CallFacts:
    """Load what rules look at, for the calls in scope."""
    fetched = store.execute(
        """
        SELECT coalesce(epoch(started_at), 'nan'::DOUBLE) AS sent_s,
               coalesce(duration_s, 'nan'::DOUBLE) AS duration_s,
               coalesce(breakpoints, -1)::BIGINT AS breakpoints,
               coalesce(cache_read_tokens + cache_write_tokens, -1)::BIGINT AS written_to,
               coalesce(last_value(
                   CASE WHEN cache_write_tokens > 0
                        THEN 2 * coalesce(cache_write_1h_tokens, 0) >= cache_write_tokens END
                   IGNORE NULLS
               ) OVER (PARTITION BY trace_id ORDER BY call_no), false) AS long_lived,
               dense_rank() OVER (ORDER BY provider, model, started_at::DATE) - 1 AS kind
        FROM scope_calls ORDER BY call_no
        """
    ).fetchnumpy()
    kinds = store.rows(
        "SELECT DISTINCT provider, model, started_at::DATE AS day FROM scope_calls "
        "ORDER BY provider, model, day"
    )
    found: dict[int, CacheRule] = {}
    numbers = []
    for provider, model, day in kinds:
        when = None if day is None else datetime(day.year, day.month, day.day, tzinfo=UTC)
        rule = rules.rule_for(provider, model, when)
        if rule is not None:
            found.setdefault(id(rule), rule)
        numbers.append(-1 if rule is None else list(found).index(id(rule)))
    return CallFacts(
        sent_s=np.asarray(fetched["sent_s"], dtype=np.float64),
        duration_s=np.asarray(fetched["duration_s"], dtype=np.float64),
        breakpoints=np.asarray(fetched["breakpoints"], dtype=np.int64),
        written_to=np.asarray(fetched["written_to"], dtype=np.int64),
        long_lived=np.asarray(fetched["long_lived"], dtype=np.bool_),
        rules=list(found.values()),
        rule=np.array([*numbers, -1], dtype=np.int64)[np.asarray(fetched["kind"], dtype=np.int64)],
    )


def measure_levels(
    prompts: Prompts, facts: CallFacts, missed: Missed, fits: dict[int, Fit]
) -> Levels:
    """All levels of all calls. Vectorised over calls; loops run over models and rules only."""
    ruled = missed.reported & facts.ruled
    floor = missed.read
    reach = _Reach(prompts, facts, ruled, fits)

    def capped(tokens: Ints, above: Ints) -> Ints:
        return np.where(ruled, np.maximum(np.minimum(tokens, above), floor), above)

    stored = capped(reach.stored, missed.ideal)
    scoped = capped(reach.scoped, stored)
    alive = capped(reach.alive, scoped)
    allowed = capped(_allowed(prompts, facts, alive), alive)
    too_far = _too_far(prompts, facts, reach)
    marked = capped(_marked(prompts, facts, reach, allowed, too_far), allowed)
    policy = capped(np.minimum(reach.ready, marked), marked)
    return Levels(
        reusable=np.maximum(_reusable(prompts, missed), missed.ideal),
        ideal=missed.ideal,
        stored=stored,
        scoped=scoped,
        alive=alive,
        allowed=allowed,
        marked=marked,
        policy=policy,
        realized=np.where(missed.reported, missed.read, missed.ideal),
        ruled=ruled,
        idle_s=reach.idle_s,
        latest=reach.latest,
        too_far=too_far,
    )


class _Reach:
    """How far each prompt matches what was stored, was sent to its model, is alive, is ready."""

    def __init__(
        self, prompts: Prompts, facts: CallFacts, ruled: Flags, fits: dict[int, Fit]
    ) -> None:
        n = len(prompts.prompt)
        self.last = np.zeros(n, dtype=np.int64)
        """Deepest node alive on each path."""
        stored, scoped, ready = self.last.copy(), self.last.copy(), self.last.copy()
        self.idle_s = np.full(n, np.nan)
        self.latest = np.full(n, -1, dtype=np.int64)
        stored[:] = _last_seen(prompts, prompts.ranks, facts.generated_stored())
        for model in np.unique(prompts.model[ruled]).tolist():
            calls = np.flatnonzero(ruled & (prompts.model == model))
            group = _Group(prompts, facts, calls, facts.generated_stored())
            scoped[calls] = group.last
            self.last[calls] = group.deepest(group.last, delay=False)
            ready[calls] = group.deepest(self.last[calls], delay=True)
            self.latest[calls] = group.latest(group.last)
        bare = np.flatnonzero(prompts.bare)
        self.stored = _tokens(prompts, stored, fits)
        self.scoped = _tokens(prompts, scoped, fits)
        self.alive = _tokens(prompts, self.last, fits)
        self.ready = _tokens(prompts, ready, fits)
        self._continue_bare(prompts, facts, bare)
        used = self.latest >= 0
        self.idle_s[used] = facts.sent_s[used] - facts.sent_s[self.latest[used]]

    def _continue_bare(self, prompts: Prompts, facts: CallFacts, bare: Ints) -> None:
        """Without content, a call matches the one before it in its trace, if that was long enough."""
        before = prompts.previous[bare]
        known = (before >= 0) & (prompts.size[before] <= prompts.size[bare])
        made = np.where(facts.generated_stored()[bare], prompts.output[before], 0)
        stored = np.where(known, np.minimum(prompts.size[before] + made, prompts.size[bare]), 0)
        same = prompts.model[before] == prompts.model[bare]
        idle = facts.sent_s[bare] - facts.sent_s[before]
        expired = known & (idle > facts.lifetime_s()[before])
        self.stored[bare] = stored
        self.scoped[bare] = np.where(same, stored, 0)
        self.alive[bare] = np.where(expired, 0, self.scoped[bare])
        self.ready[bare] = self.alive[bare]
        self.latest[bare] = np.where(known, before, -1)


def _tokens(prompts: Prompts, nodes: Ints, fits: dict[int, Fit]) -> Ints:
    return positions(prompts, nodes, fits).tokens


def _last_seen(prompts: Prompts, calls: Ints, generated: Flags) -> Ints:
    """Deepest node on each of `calls`' paths that an earlier one of them sent or stored."""
    made = calls[generated[calls] & (prompts.completion[calls] >= 0)]
    ends = np.concatenate((prompts.prompt[calls], prompts.completion[made]))
    seen = first_seen(prompts.tree, ends, np.concatenate((calls, made)))
    last, _ = deepest_seen_before(prompts.tree, seen, prompts.prompt[calls], calls)
    return last


class _Group:
    """Calls to one model, in time order."""

    def __init__(self, prompts: Prompts, facts: CallFacts, calls: Ints, generated: Flags) -> None:
        self.tree = prompts.tree
        self.calls = calls
        self.sent_s = facts.sent_s
        self.lifetime_s = facts.lifetime_s()
        self.last = _last_seen(prompts, calls, generated)
        made = calls[generated[calls] & (prompts.completion[calls] >= 0)]
        self._before = LatestBefore(
            prompts.tree,
            np.concatenate((prompts.prompt[calls], prompts.completion[made])),
            np.concatenate((calls, made)),
        )
        self._ready_before = _ready_before(facts, calls)

    def latest(self, nodes: Ints) -> Ints:
        """The call that used each node last before its own; -1 for none."""
        return np.where(nodes != 0, self._before(nodes, self.calls), -1)

    def deepest(self, nodes: Ints, *, delay: bool) -> Ints:
        """The deepest node at or above each of `nodes` that is still alive (with `delay`: and
        whose entry was ready when the call was sent). Binary search over ancestors."""
        limit = self._ready_before if delay else self.calls

        def usable(at: Ints, which: Ints) -> Flags:
            latest = self._before(at, limit[which])
            user = np.maximum(latest, 0)
            idle = self.sent_s[self.calls[which]] - self.sent_s[user]
            flags: Flags = (at == 0) | ((latest >= 0) & ~(idle > self.lifetime_s[user]))
            return flags

        return _climb(self.tree.strides, self.tree.parent, nodes, usable)


def _climb(
    strides: list[Ints], parent: Ints, nodes: Ints, usable: Callable[[Ints, Ints], Flags]
) -> Ints:
    """The deepest usable node at or above each of `nodes`; all nodes above a usable one are."""
    found = nodes.copy()
    failing = np.flatnonzero(~usable(nodes, np.arange(len(nodes))))
    current = nodes[failing]
    for stride in reversed(strides):
        above = stride[current]
        stays = ~usable(above, failing)
        current = np.where(stays, above, current)
    found[failing] = parent[current]
    return found


def _ready_before(facts: CallFacts, calls: Ints) -> Ints:
    """Per call, the first rank whose entry was not ready yet: responses begin after a while."""
    sent = facts.sent_s[calls]
    needs = np.where(
        np.isnan(facts.duration_s[calls]),
        FIRST_TOKEN_S,
        np.minimum(facts.duration_s[calls], FIRST_TOKEN_S),
    )
    if np.isnan(sent).any():
        return calls
    ready = np.maximum.accumulate(sent + needs)
    place = np.searchsorted(ready, sent, side="right")
    ranks = np.r_[calls, calls[-1:] + 1]
    limit: Ints = np.minimum(ranks[np.minimum(place, len(calls))], calls)
    return limit


def _allowed(prompts: Prompts, facts: CallFacts, alive: Ints) -> Ints:
    """Whole units, at least the minimum, and for some engines never the last token."""
    allowed = alive.copy()
    for number, rule in enumerate(facts.rules):
        calls = facts.governed(number)
        tokens = alive[calls]
        if rule.recompute_last_token:
            tokens = np.minimum(tokens, np.maximum(prompts.size[calls] - 1, 0))
        tokens = tokens // rule.granularity_tokens * rule.granularity_tokens
        allowed[calls] = np.where(tokens >= rule.minimum_tokens, tokens, 0)
    return allowed


def _explicit(facts: CallFacts) -> Flags:
    """Calls whose provider caches only what requests mark."""
    explicit = np.array([rule.opt_in == "explicit" for rule in facts.rules] + [False])
    flags: Flags = explicit[facts.rule]
    return flags


def _too_far(prompts: Prompts, facts: CallFacts, reach: _Reach) -> Flags:
    """More new blocks than all breakpoints together look back over.

    Where the log does not show breakpoints they are taken to be placed as well as can be, one
    behind the other.
    """
    spans = [(rule.lookback_blocks or 0) * (rule.max_breakpoints or 1) for rule in facts.rules]
    span = np.array([*spans, 0], dtype=np.int64)[facts.rule]
    level = prompts.tree.level
    new_blocks = level[prompts.prompt] - level[reach.last]
    flags: Flags = _explicit(facts) & (span > 0) & (new_blocks > span)
    return flags


def _marked(
    prompts: Prompts, facts: CallFacts, reach: _Reach, allowed: Ints, too_far: Flags
) -> Ints:
    """Nothing without a breakpoint where those are needed, nothing beyond their lookback, and not
    what an earlier call sent after its last breakpoint: that was not stored."""
    user = np.maximum(reach.latest, 0)
    whole = (reach.latest >= 0) & (prompts.bare | (reach.last == prompts.prompt[user]))
    whole &= facts.written_to[user] >= 0
    stored_to = np.where(whole, facts.written_to[user], NEVER)
    unmarked = facts.breakpoints == 0
    within = np.where(unmarked | too_far, 0, np.minimum(allowed, stored_to))
    return np.where(_explicit(facts), within, allowed)


def _reusable(prompts: Prompts, missed: Missed) -> Ints:
    """What each call would share with the one before it in its trace, had it gone on from there.

    A call that extends any earlier prompt whole has gone on: its trace may be several agents taking
    turns. Calls of other traces, and first calls, have nothing to go on from.
    """
    before = prompts.previous
    has = (before >= 0) & (prompts.size >= 0) & ~prompts.bare & (prompts.size[before] >= 0)
    ends = np.full(len(prompts.tree), NEVER, dtype=np.int64)
    np.minimum.at(ends, prompts.prompt, prompts.ranks)
    ends[0] = NEVER
    extends = prompts.tree.path_min(ends)[prompts.prompt] < prompts.ranks
    expected = np.minimum(prompts.size, prompts.size[before])
    return np.where(has & ~extends, np.maximum(expected, missed.ideal), missed.ideal)

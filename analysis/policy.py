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

from forkpoint.analysis.blocks import split_heads
from forkpoint.analysis.cache import Missed
from forkpoint.analysis.prompts import Fit, Prompts, in_proportion, positions
from forkpoint.analysis.rules import CacheRule, Rules
from forkpoint.analysis.store import Store
from forkpoint.analysis.tree import (
    NEVER,
    Flags,
    Floats,
    Ints,
    LatestBefore,
    PrefixTree,
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

    def minimum(self) -> Ints:
        """Shortest prefix that each call's provider caches; 0 where not known."""
        least = np.array([each.minimum_tokens for each in self.rules] + [0], dtype=np.int64)
        return least[self.rule]

    def needs_s(self) -> Floats:
        """Seconds from sending each call until its entry can be read."""
        at_once = np.array([each.concurrent == "immediate" for each in self.rules] + [False])
        begins = np.where(
            np.isnan(self.duration_s), FIRST_TOKEN_S, np.minimum(self.duration_s, FIRST_TOKEN_S)
        )
        return np.where(at_once[self.rule], 0.0, begins)

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
    allowed = capped(
        _allowed(prompts, facts, np.minimum(reach.alive, alive), reach.alive_whole), alive
    )
    too_far = _too_far(prompts, facts, reach)
    marked = capped(_marked(prompts, facts, reach, allowed, too_far), allowed)
    policy = capped(_allowed(prompts, facts, reach.ready, reach.ready_whole), marked)
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


class _Paths:
    """The prefix tree with a node wherever counted siblings that begin alike part."""

    def __init__(self, prompts: Prompts, fits: dict[int, Fit]) -> None:
        self._prompts = prompts
        self._fits = fits
        n = len(prompts.tree)
        parent, self._end = split_heads(prompts, prompts.token_depth, prompts.seen_with_completions)
        self.tree = prompts.tree if len(parent) == n else PrefixTree(parent)
        self._segment = self.tree.nearest(np.arange(len(parent)) < n)
        self._counted = np.flatnonzero(prompts.counted & (prompts.size >= 0))

    def whole(self, nodes: Ints) -> Ints:
        """The last end of a whole segment at or above each of `nodes`."""
        return self._segment[nodes]

    def tokens(self, nodes: Ints) -> Ints:
        """Per call, tokens from the beginning of its prompt to the end of a node on its path."""
        tokens = positions(self._prompts, self.whole(nodes), self._fits).tokens
        calls = self._counted
        whole = self._end[self._prompts.prompt[calls]]
        tokens[calls] = in_proportion(self._prompts.size[calls], self._end[nodes[calls]], whole)
        return tokens


class _Reach:
    """How far each prompt matches what was stored, was sent to its model, is alive, is ready."""

    def __init__(
        self, prompts: Prompts, facts: CallFacts, ruled: Flags, fits: dict[int, Fit]
    ) -> None:
        n = len(prompts.prompt)
        paths = _Paths(prompts, fits)
        last, scoped, ready, entry = (np.zeros(n, dtype=np.int64) for _ in range(4))
        self.idle_s = np.full(n, np.nan)
        self.latest = np.full(n, -1, dtype=np.int64)
        stored = _last_seen(prompts, paths.tree, prompts.ranks, facts.generated_stored())
        for model in np.unique(prompts.model[ruled]).tolist():
            of_model = prompts.model == model
            # What a call sent was stored even if nobody logged what it read.
            group = _Group(prompts, paths.tree, facts, np.flatnonzero(of_model & facts.ruled))
            calls = np.flatnonzero(of_model & ruled)
            scoped[calls] = group.last(calls)
            last[calls] = group.deepest(scoped[calls], calls, delay=False)
            ready[calls] = group.deepest(last[calls], calls, delay=True)
            self.latest[calls] = group.latest(scoped[calls], calls)
            entry[calls] = group.entry(last[calls], calls)
        self.last = paths.whole(last)
        """Last end of a whole segment alive on each path."""
        self.stored = paths.tokens(stored)
        self.scoped = paths.tokens(scoped)
        self.alive, self.alive_whole = paths.tokens(last), paths.tokens(self.last)
        self.ready, self.ready_whole = paths.tokens(ready), paths.tokens(paths.whole(ready))
        self.entry = np.where(entry > 0, paths.tokens(entry), NEVER)
        """Tokens up to the last place on the way to `last` where an earlier prompt ended; `NEVER`
        where none did."""
        self._continue_bare(prompts, facts)
        used = self.latest >= 0
        self.idle_s[used] = facts.sent_s[used] - facts.sent_s[self.latest[used]]

    def _continue_bare(self, prompts: Prompts, facts: CallFacts) -> None:
        """Without content, a call matches the one before it in its trace, if that was long enough."""
        bare = np.flatnonzero(prompts.bare)
        before = prompts.previous[bare]
        known = (before >= 0) & (prompts.size[before] >= 0)
        known &= prompts.size[before] <= prompts.size[bare]
        made = np.where(facts.generated_stored()[bare], prompts.output[before], 0)
        stored = np.where(known, np.minimum(prompts.size[before] + made, prompts.size[bare]), 0)
        same = prompts.model[before] == prompts.model[bare]
        idle = facts.sent_s[bare] - facts.sent_s[before]
        expired = known & (idle > facts.lifetime_s()[before])
        self.stored[bare] = stored
        self.scoped[bare] = np.where(same, stored, 0)
        alive = np.where(expired, 0, self.scoped[bare])
        for level in (self.alive, self.alive_whole, self.ready, self.ready_whole):
            level[bare] = alive
        self.latest[bare] = np.where(known, before, -1)


def _last_seen(prompts: Prompts, tree: PrefixTree, calls: Ints, generated: Flags) -> Ints:
    """Deepest node on each of `calls`' paths that an earlier one of them sent or stored."""
    seen = first_seen(tree, *_sequences(prompts, calls, generated))
    last, _ = deepest_seen_before(tree, seen, prompts.prompt[calls], calls)
    return last


def _sequences(prompts: Prompts, calls: Ints, generated: Flags) -> tuple[Ints, Ints]:
    """Where what `calls` store ends, and which of them stores it."""
    made = calls[generated[calls] & (prompts.completion[calls] >= 0)]
    ends = np.concatenate((prompts.prompt[calls], prompts.completion[made]))
    return ends, np.concatenate((calls, made))


class _Group:
    """Calls to one model, in time order."""

    def __init__(self, prompts: Prompts, tree: PrefixTree, facts: CallFacts, calls: Ints) -> None:
        self._tree = tree
        self._calls = calls
        self._sent_s = facts.sent_s
        generated = facts.generated_stored()
        self._last = _last_seen(prompts, tree, calls, generated)
        ends, users = _sequences(prompts, calls, generated)
        lifetime_s = facts.lifetime_s()[users]
        # Users of one lifetime each: the latest of all may be outlived by one before it.
        self._uses = [
            (each, LatestBefore(tree, ends[of], users[of]))
            for each in np.unique(lifetime_s).tolist()
            for of in (np.flatnonzero(lifetime_s == each),)
        ]
        self._ready_before = _ready_before(facts, calls)
        self._ended = np.full(len(tree), NEVER, dtype=np.int64)
        """The first call whose prompt ends at each node."""
        np.minimum.at(self._ended, prompts.prompt[calls], calls)
        self._ended[0] = -1
        self._ends = tree.nearest(self._ended != NEVER)

    def last(self, calls: Ints) -> Ints:
        """The deepest node on each path that an earlier call of the group stored."""
        return self._last[np.searchsorted(self._calls, calls)]

    def latest(self, nodes: Ints, calls: Ints) -> Ints:
        """The call that used each node last before `calls`; -1 for none."""
        latest = np.full(len(calls), -1, dtype=np.int64)
        for _, before in self._uses:
            latest = np.maximum(latest, before(nodes, calls))
        return np.where(nodes != 0, latest, -1)

    def entry(self, nodes: Ints, calls: Ints) -> Ints:
        """The deepest node at or above each of `nodes` where a prompt sent before ended; or 0."""
        found = self._ends[nodes]
        while (later := self._ended[found] >= calls).any():
            found = np.where(later, self._ends[self._tree.parent[found]], found)
        return found

    def deepest(self, nodes: Ints, calls: Ints, *, delay: bool) -> Ints:
        """The deepest node at or above each of `nodes` that is alive when its call is sent (with
        `delay`: and whose entry is ready then). Binary search over ancestors."""
        limit = self._ready_before[np.searchsorted(self._calls, calls)] if delay else calls

        def usable(at: Ints, which: Ints) -> Flags:
            flags: Flags = at == 0
            for lifetime_s, before in self._uses:
                latest = before(at, limit[which])
                idle = self._sent_s[calls[which]] - self._sent_s[np.maximum(latest, 0)]
                flags |= (latest >= 0) & ~(idle > lifetime_s)
            return flags

        return climb(self._tree.strides, self._tree.parent, nodes, usable)


def climb(
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
    """Per call, the first one whose entry was not ready yet when it was sent. Calls sent between
    the two are taken to be no sooner ready than that one."""
    sent = facts.sent_s[calls]
    # Calls without a time come last in order; nothing is known to be sent after them.
    ready = np.where(np.isnan(sent), np.inf, sent + facts.needs_s()[calls])
    place = np.searchsorted(np.maximum.accumulate(ready), sent, side="right")
    limit: Ints = np.minimum(np.r_[calls, NEVER][place], calls)
    return limit


def _allowed(prompts: Prompts, facts: CallFacts, tokens: Ints, whole: Ints) -> Ints:
    """Whole units, at least the minimum, and for some engines never the last token.

    Args:
        tokens: what an earlier prompt begins with too, to the token.
        whole: the same up to the end of a segment.
    """
    allowed = tokens.copy()
    for number, rule in enumerate(facts.rules):
        calls = facts.governed(number)
        part = tokens[calls] if rule.ends_at == "token" else np.minimum(tokens, whole)[calls]
        if rule.recompute_last_token:
            part = np.minimum(part, np.maximum(prompts.size[calls] - 1, 0))
        part = part // rule.granularity_tokens * rule.granularity_tokens
        allowed[calls] = np.where(part >= rule.minimum_tokens, part, 0)
    return allowed


def _explicit(facts: CallFacts) -> Flags:
    """Calls whose provider caches only what requests mark."""
    explicit = np.array([rule.opt_in == "explicit" for rule in facts.rules] + [False])
    flags: Flags = explicit[facts.rule]
    return flags


def _too_far(prompts: Prompts, facts: CallFacts, reach: _Reach) -> Flags:
    """More new blocks than all breakpoints together look back over.

    Breakpoints are taken to be placed as well as can be, one behind the other, and to be as many as
    there can be where the log does not show them.
    """
    lookback = np.array([rule.lookback_blocks or 0 for rule in facts.rules] + [0], dtype=np.int64)
    most = np.array([rule.max_breakpoints or 1 for rule in facts.rules] + [1], dtype=np.int64)
    most = most[facts.rule]
    placed = np.where(facts.breakpoints > 0, np.minimum(facts.breakpoints, most), most)
    span = lookback[facts.rule] * placed
    level = prompts.tree.level
    new_blocks = level[prompts.prompt] - level[reach.last]
    flags: Flags = _explicit(facts) & (span > 0) & (new_blocks > span)
    return flags


def _marked(
    prompts: Prompts, facts: CallFacts, reach: _Reach, allowed: Ints, too_far: Flags
) -> Ints:
    """Nothing without a breakpoint where those are needed, nothing beyond their lookback, and not
    what follows the last breakpoint that an earlier prompt has in common with this one.

    Logs do not show where breakpoints stand: the last one is taken to stand at the end of what the
    provider read and wrote, for most prompts their end.
    """
    user = np.maximum(reach.latest, 0)
    whole = (reach.latest >= 0) & (prompts.bare | (reach.last == prompts.prompt[user]))
    stored_to = np.where(whole & (facts.written_to[user] >= 0), facts.written_to[user], reach.entry)
    stored_to[whole & (facts.breakpoints[user] == 0)] = 0
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

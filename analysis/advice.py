"""What to do about lost tokens, and what it would have saved on the log at hand.

Nothing here is a forecast: every figure replays the log's own calls under one change. Money is USD
at the calls' own rates.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from forkpoint.analysis import cause_names as causes
from forkpoint.analysis.cache import Missed, sum_usd
from forkpoint.analysis.excerpts import Volatile, volatile_value
from forkpoint.analysis.policy import CallFacts, climb, measure_levels
from forkpoint.analysis.prompts import Prompts, columns, positions, with_root
from forkpoint.analysis.results import Conventions, Hint, LifetimeOption, NetValue
from forkpoint.analysis.siblings import read_texts
from forkpoint.analysis.store import Store
from forkpoint.analysis.tree import NEVER, Flags, Floats, Ints, LatestBefore
from forkpoint.analysis.waterfall import Waterfall

HINTS = 10
LEAST_USD = 0.005
LEAST_TOKENS = 1_000
"""Where nothing is priced."""
PING_MARGIN_S = 10.0
"""A keep-alive request is sent this long before the entry would expire."""
KEPT_ALIVE_S = 3600.0
"""Nobody keeps an entry alive for longer."""
TEXTS_READ = 1024
"""Texts that are read again, at most, to see what differs in them."""

KEEP_ALIVE = "keep alive"
REORDERED = "tools reordered"
VOLATILE = "volatile text"
UNREAD = "written but never read"
LONGER_THAN_NEEDED = "lifetime longer than needed"


# ---- The realized hit rate, as different tools define it ------------------------------------


def conventions(store: Store) -> Conventions:
    """The scope's realized hit rate under each convention, of calls that report cache reads."""
    fetched = columns(
        store,
        """
        SELECT input_tokens AS input, cache_read_tokens AS read,
               coalesce(output_tokens, 0) AS output
        FROM scope_calls
        WHERE input_tokens IS NOT NULL AND cache_read_tokens IS NOT NULL ORDER BY call_no
        """,
    )
    size, read = fetched["input"], fetched["read"]
    half, some = len(size) // 2, size > 0
    return Conventions(
        micro_token=_ratio(read, size),
        macro=float((read[some] / size[some]).mean()) if some.any() else None,
        request=float((read > 0).mean()) if len(read) else None,
        steady_micro_token=_ratio(read[half:], size[half:]),
        read_share=_ratio(read, size + fetched["output"]),
    )


def _ratio(part: Ints, whole: Ints) -> float | None:
    total = int(whole.sum())
    return int(part.sum()) / total if total else None


# ---- What caching cost and brought ----------------------------------------------------------


@dataclass
class Spending:
    """What was read and written, and at which rates. Arrays by `call_no`.

    Rates are USD per token, NaN where the call is not priced.
    """

    prompts: Prompts
    facts: CallFacts
    reported: Flags
    """Calls whose logs state cache reads or writes, 0 included."""
    read: Ints
    write_5m: Ints
    """Written with the usual lifetime, whatever it is."""
    write_1h: Ints
    """Written with the long one."""
    input_usd: Floats
    read_usd: Floats
    write_5m_usd: Floats
    write_1h_usd: Floats

    @property
    def priced(self) -> Flags:
        """Calls with rates."""
        flags: Flags = ~np.isnan(self.input_usd)
        return flags

    @property
    def write(self) -> Ints:
        """All that was written."""
        return self.write_5m + self.write_1h

    @property
    def premium_usd(self) -> Floats:
        """What writing cost more than sending the same tokens uncached."""
        short = self.write_5m * (self.write_5m_usd - self.input_usd)
        return short + self.write_1h * (self.write_1h_usd - self.input_usd)

    @property
    def unread_premium_usd(self) -> Floats:
        """The part of the premium that bought nothing."""
        return self.premium_usd * (self.unread / np.maximum(self.write, 1))

    @cached_property
    def unread(self) -> Ints:
        """Tokens written that no later call could use.

        Those beyond the deepest place in a call's prompt that a later call to the same model passed
        within the lifetime of what was written. A bare call is used by the next one of its trace.
        """
        return _unread(self)


def load_spending(store: Store, prompts: Prompts, facts: CallFacts) -> Spending:
    """Load reads, writes and rates of the calls in scope, which are priced (`price_scope`)."""
    counts = columns(
        store,
        """
        SELECT (cache_read_tokens IS NOT NULL OR cache_write_tokens IS NOT NULL)::INTEGER
                   AS reported,
               coalesce(cache_read_tokens, 0) AS read,
               coalesce(cache_write_tokens, 0) - coalesce(cache_write_1h_tokens, 0) AS write_5m,
               coalesce(cache_write_1h_tokens, 0) AS write_1h
        FROM scope_calls ORDER BY call_no
        """,
    )
    names = ("input", "cache_read", "cache_write", "cache_write_1h")
    rates = store.execute(
        f"""
        SELECT {", ".join(f"coalesce({name}_rate_usd, 'nan'::DOUBLE) AS {name}" for name in names)}
        FROM scope_costs ORDER BY call_no
        """
    ).fetchnumpy()
    usd = [np.asarray(rates[name], dtype=np.float64) / 1e6 for name in names]
    return Spending(
        prompts=prompts,
        facts=facts,
        reported=counts["reported"] > 0,
        read=counts["read"],
        write_5m=counts["write_5m"],
        write_1h=counts["write_1h"],
        input_usd=usd[0],
        read_usd=usd[1],
        write_5m_usd=usd[2],
        write_1h_usd=usd[3],
    )


def net_value(spending: Spending) -> NetValue | None:
    """What caching cost and brought; ``None`` where no priced call reports any."""
    calls = spending.priced & spending.reported
    if not calls.any():
        return None
    saved = (spending.read * (spending.input_usd - spending.read_usd))[calls].sum()
    premium = spending.premium_usd[calls].sum()
    return NetValue(
        read_saving_usd=float(saved),
        write_premium_usd=float(premium),
        net_usd=float(saved - premium),
        unread_write_tokens=int(spending.unread[calls].sum()),
        unread_premium_usd=float(spending.unread_premium_usd[calls].sum()),
    )


def _unread(spending: Spending) -> Ints:
    prompts, facts = spending.prompts, spending.facts
    used = np.zeros(len(spending.read), dtype=np.int64)
    used_to = used.copy()
    writers = (spending.write > 0) & ~prompts.bare
    for model in np.unique(prompts.model[writers]).tolist():
        of_model = prompts.model == model
        calls = np.flatnonzero(writers & of_model)
        later = _Later(prompts, facts, np.flatnonzero(of_model))
        used[calls] = later.deepest_used(calls)
        used_to[calls] = later.read_without_content(calls, used[calls], spending.read)
    used_to = np.maximum(used_to, positions(prompts, used, prompts.fits).tokens)
    whole = (used != 0) & (used == prompts.prompt)
    used_to = np.where(whole | _continued_bare(prompts, facts), NEVER, used_to)
    written_to = spending.read + spending.write
    unread = np.clip(written_to - used_to, 0, spending.write)
    return np.asarray(unread, dtype=np.int64)


class _Later:
    """Which call to one model comes next through a node: `LatestBefore`, with time turned round."""

    def __init__(self, prompts: Prompts, facts: CallFacts, calls: Ints) -> None:
        self._prompts = prompts
        self._sent_s = facts.sent_s
        self._lifetime_s = facts.lifetime_s()
        self._last = len(prompts.prompt) - 1
        self._before = LatestBefore(prompts.tree, prompts.prompt[calls], self._last - calls)

    def within_lifetime(self, nodes: Ints, calls: Ints) -> Ints:
        """The next call through each node after `calls`, while what those wrote lives; else -1."""
        found = self._before(nodes, self._last - calls)
        following = np.where(found >= 0, self._last - found, calls)
        idle = self._sent_s[following] - self._sent_s[calls]
        in_time = (found >= 0) & ~(idle > self._lifetime_s[calls])
        return np.where(in_time, following, -1)

    def deepest_used(self, calls: Ints) -> Ints:
        """The deepest node on each prompt's path that a later call passes in time; 0: none."""
        tree = self._prompts.tree

        def usable(at: Ints, which: Ints) -> Flags:
            flags: Flags = (at == 0) | (self.within_lifetime(at, calls[which]) >= 0)
            return flags

        return climb(tree.strides, tree.parent, self._prompts.prompt[calls], usable)

    def read_without_content(self, calls: Ints, used: Ints, read: Ints) -> Ints:
        """What the next call read that has no logged content in common, if it begins its trace:
        that must be an unlogged beginning, such as a system prompt, which both have."""
        prompts = self._prompts
        following = self.within_lifetime(used, calls)
        nothing = (prompts.byte_depth[used] == 0) & (prompts.token_depth[used] == 0)
        begins = (following >= 0) & nothing & (prompts.previous[following] < 0)
        return np.where(begins, read[following], 0)


def _continued_bare(prompts: Prompts, facts: CallFacts) -> Flags:
    """Bare calls that the next call of their trace, to the same model, goes on from in time."""
    after = np.flatnonzero(prompts.previous >= 0)
    before = prompts.previous[after]
    goes_on = prompts.bare[before] & (prompts.model[before] == prompts.model[after])
    goes_on &= prompts.size[after] >= prompts.size[before]
    idle = facts.sent_s[after] - facts.sent_s[before]
    goes_on &= ~(idle > facts.lifetime_s()[before])
    flags = np.zeros(len(prompts.prompt), dtype=np.bool_)
    flags[before[goes_on]] = True
    return flags


# ---- Other lifetimes ------------------------------------------------------------------------


def lifetimes(
    prompts: Prompts, missed: Missed, fall: Waterfall, spending: Spending
) -> tuple[LifetimeOption, ...]:
    """What other cache lifetimes would have done, for providers that sell two.

    Each option holds all priced calls of such providers with times against the rules as if their
    entries had lived otherwise:

    - the long lifetime (``1 h``): tokens lost to expiry that would still have been there are read
      instead of paid; what is still written with the short lifetime costs the long one's rate.
    - the short lifetime (``5 min``): what was written with the long one costs the short one's rate;
      what was read only thanks to it is written again.
    - ``keep alive``: in gaps of up to an hour that lost tokens to expiry, a request 10 s before each
      expiry reads the prefix. Its few own tokens are not counted, nor are gaps after which nothing
      came, and gaps where it does not pay are left out: with hindsight, so this is a bound.

    Options without any effect are left out; the tuple is empty without prices or times.
    """
    what_if = _WhatIf(prompts, missed, fall, spending)
    if not what_if.calls.any():
        return ()
    options = [*what_if.longer(), *what_if.shorter(), *what_if.kept_alive()]
    return tuple(each for each in options if each.calls or each.extra_usd)


class _WhatIf:
    """The calls that a choice of lifetimes concerns, under other ones."""

    def __init__(
        self, prompts: Prompts, missed: Missed, fall: Waterfall, spending: Spending
    ) -> None:
        self.prompts, self.missed, self.fall, self.spending = prompts, missed, fall, spending
        facts = fall.facts
        ttls = [
            (rule.default_ttl_s, rule.long_ttl_s)
            if rule.default_ttl_s is not None and rule.long_ttl_s is not None
            else (np.nan, np.nan)
            for rule in facts.rules
        ]
        ttl_s = np.array([*ttls, (np.nan, np.nan)])[facts.rule]
        self.short_s, self.long_s = ttl_s[:, 0], ttl_s[:, 1]
        self.calls: Flags = fall.levels.ruled & ~np.isnan(self.short_s)
        self.calls &= ~np.isnan(missed.gain_usd) & ~np.isnan(facts.sent_s)
        self.expired = np.where(self.calls, _lost_to(fall, causes.EXPIRED), 0)

    @cached_property
    def gained(self) -> Ints:
        """Tokens lost to expiry that the rules allow if all entries live long."""
        if not self.expired.any():
            return self.expired
        longer = self._policy(self.missed, long_lived=np.ones_like(self.calls))
        gained: Ints = np.clip(longer - self.fall.levels.policy, 0, self.expired)
        return gained

    def longer(self) -> Iterator[LifetimeOption]:
        """All entries live long."""
        spending = self.spending
        saved = self.gained * self.missed.gain_usd
        # What is read is not written: paid tokens were written and uncached in proportion.
        paid = np.maximum(self.prompts.size - self.missed.read, 1)
        still_written = spending.write_5m * (1 - self.gained / paid)
        extra = still_written * (spending.write_1h_usd - spending.write_5m_usd)
        for ttl_s in np.unique(self.long_s[self.calls]).tolist():
            of = self.calls & (self.long_s == ttl_s)
            yield _option(_duration(ttl_s), of, self.gained, saved, extra)

    def shorter(self) -> Iterator[LifetimeOption]:
        """All entries live briefly."""
        spending = self.spending
        if not spending.write_1h[self.calls].any():
            return
        # The rules alone: what was read must not keep a level up here.
        unread = replace(self.missed, read=np.zeros_like(self.missed.read))
        brief = self._policy(unread, long_lived=np.zeros_like(self.calls))
        lost = np.clip(
            self._policy(unread, long_lived=self.fall.facts.long_lived) - brief,
            0,
            self.fall.levels.realized,
        )
        saved = -lost * (spending.write_5m_usd - spending.read_usd)
        extra = -spending.write_1h * (spending.write_1h_usd - spending.write_5m_usd)
        for ttl_s in np.unique(self.short_s[self.calls]).tolist():
            of = self.calls & (self.short_s == ttl_s)
            if spending.write_1h[of].any():
                yield _option(_duration(ttl_s), of, lost, saved, extra)

    def kept_alive(self) -> Iterator[LifetimeOption]:
        """Requests that keep entries alive through gaps of up to an hour, where they pay."""
        levels = self.fall.levels
        gaps = self.calls & (self.gained > 0) & (levels.idle_s <= KEPT_ALIVE_S)
        every_s = np.maximum(self.short_s - PING_MARGIN_S, 1.0)
        pings = np.ceil(levels.idle_s / every_s) - 1
        cost = pings * levels.scoped * self.spending.read_usd
        saved = self.gained * self.missed.gain_usd
        pays = np.zeros_like(gaps)
        pays[gaps] = saved[gaps] > cost[gaps]
        yield _option(KEEP_ALIVE, pays, self.gained, saved, cost)

    def _policy(self, missed: Missed, *, long_lived: Flags) -> Ints:
        facts = replace(self.fall.facts, long_lived=long_lived)
        return measure_levels(self.prompts, facts, missed, self.prompts.fits).policy


def _option(name: str, of: Flags, tokens: Ints, saved: Floats, extra: Floats) -> LifetimeOption:
    saved_usd, extra_usd = float(saved[of].sum()), float(extra[of].sum())
    return LifetimeOption(
        name=name,
        calls=int((tokens[of] > 0).sum()),
        tokens=int(tokens[of].sum()),
        saved_usd=saved_usd,
        extra_usd=extra_usd,
        net_usd=saved_usd - extra_usd,
    )


def _duration(seconds: float) -> str:
    """A lifetime in words.

    >>> _duration(300), _duration(3600), _duration(90)
    ('5 min', '1 h', '90 s')
    """
    for unit, name in ((3600, "h"), (60, "min")):
        if seconds >= unit and seconds % unit == 0:
            return f"{int(seconds // unit)} {name}"
    return f"{seconds:g} s"


def _pauses(idle_s: Floats) -> str:
    """How long prefixes were idle, shortest and longest.

    >>> _pauses(np.array([1800.0])), _pauses(np.array([360.0, 56_700.0]))
    ('prefixes were idle for 30 min', 'prefixes were idle for 6 min to 16 h')
    """
    if not len(idle_s):
        return "prefixes were idle for too long"
    shortest, longest = _rounded(float(idle_s.min())), _rounded(float(idle_s.max()))
    return f"prefixes were idle for {shortest}" + (f" to {longest}" if longest != shortest else "")


def _rounded(seconds: float) -> str:
    """A span of time in the unit that fits it.

    >>> _rounded(90), _rounded(5400), _rounded(56_700), _rounded(900_000)
    ('90 s', '90 min', '16 h', '10 d')
    """
    for unit, name in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * unit:
            return f"{seconds / unit:.0f} {name}"
    return f"{seconds:.0f} s"


def _lost_to(fall: Waterfall, cause: str) -> Ints:
    """Tokens that each call lost to a cause, whoever says so."""
    lost = np.zeros(len(fall.levels.ideal), dtype=np.int64)
    for loss in fall.losses:
        if loss.cause == cause:
            lost += loss.tokens
    return lost


# ---- Hints ----------------------------------------------------------------------------------


@dataclass
class _Draft:
    """A hint before its place in the logs is looked up."""

    action: str
    cause: str
    evidence: str
    calls: int
    tokens: int
    usd: float | None
    worst: int
    """`call_no` of the call that lost most."""


def hints(
    store: Store,
    prompts: Prompts,
    missed: Missed,
    fall: Waterfall,
    spending: Spending,
    options: tuple[LifetimeOption, ...],
) -> tuple[Hint, ...]:
    """At most `HINTS` things to do, by what each would have saved alone. They may overlap.

    Args:
        options: of `lifetimes`.
    """
    advisor = _Advisor(store, prompts, missed, fall, spending)
    drafts = [
        *advisor.volatile(),
        *advisor.tools(),
        *advisor.lost(),
        *advisor.too_short(),
        *advisor.lifetime(options),
        *advisor.unread(),
    ]
    worth = [each for each in drafts if _is_worth_saying(each)]
    worth.sort(key=lambda each: (-(each.usd or 0.0), -each.tokens, each.cause, each.worst))
    return _with_places(store, worth[:HINTS])


def _is_worth_saying(draft: _Draft) -> bool:
    return draft.tokens >= LEAST_TOKENS if draft.usd is None else draft.usd >= LEAST_USD


def _with_places(store: Store, drafts: list[_Draft]) -> tuple[Hint, ...]:
    rows = store.rows(
        """
        SELECT call_no, path, line FROM scope_calls JOIN scope_sources USING (source_id)
        WHERE call_no IN (SELECT unnest(?::BIGINT[]))
        """,
        [[each.worst for each in drafts]],
    )
    places = {call: (path, line) for call, path, line in rows}
    return tuple(
        Hint(
            action=each.action,
            cause=each.cause,
            calls=each.calls,
            tokens=each.tokens,
            usd=each.usd,
            evidence=each.evidence,
            path=places[each.worst][0],
            line=places[each.worst][1],
        )
        for each in drafts
    )


_DO = {
    causes.MODEL_SWITCH: (
        "keep one model for a conversation, or switch where it begins",
        "what these calls repeat had been sent to another model, which has a cache of its own",
    ),
    causes.SYSTEM_CHANGED: (
        "keep the system prompt as it is within a conversation; say what is new in a later message",
        "the system prompt differs from that of the call before",
    ),
    causes.MESSAGES_CHANGED: (
        "append to a conversation; leave the messages already sent as they were",
        "earlier messages differ from those of the call before",
    ),
    causes.NO_BREAKPOINT: (
        "set a cache breakpoint at the end of what repeats",
        "the requests set none, so that nothing was cached",
    ),
    causes.BEYOND_LOOKBACK: (
        "set a cache breakpoint further up as well, where the call before ended",
        "more new blocks than the breakpoints look back over",
    ),
    causes.AFTER_BREAKPOINT: (
        "set the last cache breakpoint at the end of the prompt",
        "what these calls repeat stood after the last breakpoint of the call before",
    ),
    causes.CONCURRENT: (
        "send one call, wait for its first token, then send the others that begin like it",
        "calls that begin alike were sent before the first of them had begun to answer",
    ),
}
"""What to do about a cause, and what in the log shows it."""


class _Advisor:
    def __init__(
        self,
        store: Store,
        prompts: Prompts,
        missed: Missed,
        fall: Waterfall,
        spending: Spending,
    ) -> None:
        self.store, self.prompts, self.missed = store, prompts, missed
        self.fall, self.spending = fall, spending
        self.explained = np.zeros(len(missed.tokens), dtype=np.bool_)
        """Calls whose changed system prompt is put down to one volatile value."""

    def _draft(
        self, action: str, cause: str, evidence: str, tokens: Ints, usd: Floats | None = None
    ) -> Iterator[_Draft]:
        """A hint on the calls that lost tokens; none if no call did.

        Args:
            usd: what each call would have saved; by default its tokens at the read rate instead of
                the rate paid.
        """
        calls = np.flatnonzero(tokens > 0)
        if not len(calls):
            return
        if usd is None:
            usd = tokens * self.missed.gain_usd
        worth = np.where(np.isnan(usd[calls]), 0.0, usd[calls])
        worst = calls[np.lexsort((calls, -tokens[calls], -worth))[0]]
        yield _Draft(
            action,
            cause,
            evidence,
            len(calls),
            int(tokens[calls].sum()),
            sum_usd(usd[calls]),
            int(worst),
        )

    def lost(self) -> Iterator[_Draft]:
        """Causes that have one remedy each."""
        for cause, (action, evidence) in _DO.items():
            tokens = _lost_to(self.fall, cause)
            if cause == causes.SYSTEM_CHANGED:
                tokens = np.where(self.explained, 0, tokens)
            yield from self._draft(action, cause, evidence, tokens)

    def lifetime(self, options: tuple[LifetimeOption, ...]) -> Iterator[_Draft]:
        """The lifetime that saves most, if one does."""
        expired = _lost_to(self.fall, causes.EXPIRED)
        idle_s = self.fall.levels.idle_s[expired > 0]
        idle_s = idle_s[~np.isnan(idle_s)]
        if not (self.spending.priced & (expired > 0)).any():
            yield from self._draft(
                "ask for a longer cache lifetime, or send the next call sooner",
                causes.EXPIRED,
                _pauses(idle_s),
                expired,
            )
        best = max(options, key=lambda each: each.net_usd, default=None)
        if best is None or best.net_usd <= 0:
            return
        if best.extra_usd < 0:
            yield _Draft(
                f"ask for the {best.name} cache lifetime: the longer one is hardly used",
                LONGER_THAN_NEEDED,
                f"writes would cost ${-best.extra_usd:,.2f} less, and ${-best.saved_usd:,.2f} would "
                "be paid again",
                best.calls,
                best.tokens,
                best.net_usd,
                int(np.argmax(self.spending.write_1h)),
            )
            return
        within_an_hour = idle_s[idle_s <= KEPT_ALIVE_S]
        yield _Draft(
            "keep prefixes alive in pauses of up to an hour: send a tiny request before they expire"
            if best.name == KEEP_ALIVE
            else f"ask for the {best.name} cache lifetime",
            causes.EXPIRED,
            f"{_pauses(within_an_hour)}; ${best.saved_usd:,.2f} would not be paid again, at ${best.extra_usd:,.2f} "
            + ("for requests" if best.name == KEEP_ALIVE else "more for writes"),
            best.calls,
            best.tokens,
            best.net_usd,
            self._worst_expired(expired),
        )

    def _worst_expired(self, expired: Ints) -> int:
        """The call that lost most to expiry, of those that came within an hour if there are any."""
        calls = np.flatnonzero(expired > 0)
        late = self.fall.levels.idle_s[calls] > KEPT_ALIVE_S
        return int(calls[np.lexsort((calls, -expired[calls], late))[0]])

    def too_short(self) -> Iterator[_Draft]:
        """Prefixes so little below the minimum that reading padded ones would be cheaper.

        A prefix of n tokens, padded to the minimum m, costs m at the read rate instead of n at the
        rate paid. Where rates are not known, half the minimum is taken to be enough.
        """
        lost = _lost_to(self.fall, causes.TOO_SHORT)
        minimum = self.fall.facts.minimum()
        padding = np.maximum(minimum - self.fall.levels.alive, 0)
        usd = lost * self.missed.gain_usd - padding * self.spending.read_usd
        nearly = np.where(np.isnan(usd), 2 * self.fall.levels.alive >= minimum, usd > 0)
        tokens = np.where(nearly, lost, 0)
        if not tokens.any():
            return
        least, most = int(tokens[tokens > 0].min()), int(tokens.max())
        bounds = ", ".join(f"{each:,}" for each in np.unique(minimum[tokens > 0]).tolist())
        yield from self._draft(
            "make shared beginnings long enough to be cached: merge them, or pad them",
            causes.TOO_SHORT,
            f"{least:,} to {most:,} tokens repeat; caching begins at {bounds}",
            tokens,
            usd,
        )

    def unread(self) -> Iterator[_Draft]:
        """Prompts written whole to the cache that nothing went on from.

        What a conversation wrote last is never read either, but that nobody knows beforehand.
        """
        spending = self.spending
        one_off = (spending.read == 0) & (spending.unread == spending.write)
        tokens = np.where(one_off, spending.unread, 0)
        yield from self._draft(
            "do not cache one-off prompts: set no breakpoint in them",
            UNREAD,
            "they read nothing, and no later call to their model went on from them in time",
            tokens,
            spending.unread_premium_usd,
        )

    def tools(self) -> Iterator[_Draft]:
        """Tool definitions changed: the same ones in another order, or others."""
        lost = _lost_to(self.fall, causes.TOOLS_CHANGED)
        if not lost.any():
            return
        same = self._same_tools_as_before()
        yield from self._draft(
            "keep tool definitions in one order, such as by name",
            REORDERED,
            "the call before had the same definitions in another order",
            np.where(same, lost, 0),
        )
        yield from self._draft(
            "keep the same tool definitions throughout a conversation",
            causes.TOOLS_CHANGED,
            "the definitions differ from those of the call before",
            np.where(same, 0, lost),
        )

    def _same_tools_as_before(self) -> Flags:
        """Calls whose tools are those of the call before in their trace, order apart: sums of
        hashes do not depend on it."""
        prompts, tree = self.prompts, self.prompts.tree
        fetched = columns(
            self.store,
            "SELECT (hash(segment) >> 1)::BIGINT AS hash FROM scope_nodes ORDER BY i",
        )
        weight = np.where(prompts.is_tools, with_root(fetched["hash"], 0), 0)
        bag = tree.depth(weight)[prompts.prompt]
        count = tree.depth(prompts.is_tools.astype(np.int64))[prompts.prompt]
        before = prompts.previous
        flags: Flags = (before >= 0) & (count > 1)
        flags &= (bag == bag[before]) & (count == count[before])
        return flags

    def volatile(self) -> Iterator[_Draft]:
        """Prompts that begin with one text but for a time, an id or a number in it."""
        groups = list(self._beginnings())
        texts = texts_of(self.store, [node for nodes, _ in groups for node in nodes.tolist()])
        for siblings, shared in groups:
            for cluster in _clusters(siblings, shared, texts):
                yield from self._about(cluster)

    def _beginnings(self) -> Iterator[tuple[Ints, Ints]]:
        """Forks of which prompts begin: system prompts, and what stands first after the tools."""
        prompts = self.prompts
        others = prompts.tree.depth((~prompts.is_tools).astype(np.int64))
        begins = prompts.is_system | (others == 1)
        left = TEXTS_READ
        for nodes, shared in prompts.siblings.runs(prompts.seen != NEVER):
            if left > 1 and begins[nodes].all():
                yield nodes[:left], shared[:left]
                left -= len(nodes)

    def _about(self, cluster: _Cluster) -> Iterator[_Draft]:
        """The hint on one text that changes in one value.

        Each call that brought a new version could have shared what follows the value: the rest of
        the text, and if nothing else in it differs, all that its conversation had sent before.
        """
        prompts, missed = self.prompts, self.missed
        tree = prompts.tree
        order = np.argsort(prompts.seen[cluster.nodes], kind="stable")[1:]
        nodes = cluster.nodes[order]
        rest = prompts.tokens[nodes] - cluster.shared
        tokens = np.floor(np.maximum(rest, 0) * cluster.volatile.shared_after).astype(np.int64)
        calls = prompts.seen[nodes]
        long_enough = prompts.token_depth[nodes] >= self.fall.facts.minimum()[calls]
        per_call = np.zeros(len(missed.tokens), dtype=np.int64)
        per_call[calls] = np.where(long_enough, tokens, 0)
        if cluster.volatile.whole:
            lost = _lost_to(self.fall, causes.SYSTEM_CHANGED)
            per_call[calls] = np.maximum(per_call[calls], lost[calls])
            self.explained[calls] = True
        at = int(prompts.token_depth[tree.parent[nodes[0]]]) + cluster.shared
        what = "system prompt" if prompts.is_system[nodes[0]] else "first message"
        yield from self._draft(
            f"move {cluster.volatile.kind} out of the {what}, behind what stays the same",
            VOLATILE,
            f"at token {at:,} of {len(cluster.nodes)} versions stands {cluster.volatile.kind}, "
            f"such as {cluster.volatile.value}",
            per_call,
        )


@dataclass
class _Cluster:
    """Siblings whose texts are one text but for a volatile value."""

    nodes: Ints
    shared: int
    """Tokens that all of them begin with."""
    volatile: Volatile


def _clusters(nodes: Ints, shared: Ints, texts: dict[int, str]) -> Iterator[_Cluster]:
    """Runs of siblings, in content order, whose neighbours differ in a volatile value first."""
    start, least, found = 0, NEVER, None
    for i in range(1, len(nodes) + 1):
        value = None
        if i < len(nodes):
            before, this = (texts.get(int(each)) for each in nodes[i - 1 : i + 1])
            if before is not None and this is not None:
                value = volatile_value(before, this)
        if value is not None:
            found, least = _weaker(found, value), min(least, int(shared[i]))
            continue
        if found is not None:
            yield _Cluster(nodes[start:i], least, found)
        start, least, found = i, NEVER, None


def texts_of(store: Store, nodes: list[int]) -> dict[int, str]:
    """The texts of nodes in scope, by node, as far as they can be read."""
    if not nodes:
        return {}
    segments = dict(
        store.rows(
            "SELECT i, segment FROM scope_nodes WHERE i IN (SELECT unnest(?::BIGINT[]))", [nodes]
        )
    )
    texts = read_texts(store, list(set(segments.values())))
    return {i: texts[segment] for i, segment in segments.items() if segment in texts}


def _weaker(a: Volatile | None, b: Volatile) -> Volatile:
    """What holds of both pairs."""
    if a is None:
        return b
    return replace(a, shared_after=min(a.shared_after, b.shared_after), whole=a.whole and b.whole)

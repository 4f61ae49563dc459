"""The answer in words, for every reporter that people read: table, Markdown and HTML.

Nothing is computed here but wording and order. Texts from logs are passed on as they are: each
reporter escapes all it prints.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol, TextIO

from forkpoint.analysis import cause_names as causes
from forkpoint.analysis.results import (
    Cache,
    Fork,
    GroupRow,
    MissCause,
    Report,
    Totals,
    WaterfallStep,
)
from forkpoint.cli.numbers import count, dollars, duration, percent, tokens

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_MODELS_SHOWN = 3
_FIRST_YEAR = 2000
"""No model was called before: earlier times are of clocks without a date."""
ID_DIGITS = 8
"""Of a call's id where people read it; ``forkpoint cache --explain`` takes them."""


class Reporter(Protocol):
    """Writes one report in one format. Reporters never query the store."""

    kind: str
    """The value of ``--format``."""

    def render(self, report: Report, out: TextIO) -> None:
        """Write the whole report."""
        ...


@dataclass(frozen=True, slots=True)
class Amount:
    """One of the three sums that open every report."""

    label: str
    usd: str
    tokens: str
    details: tuple[str, ...]
    """What the numbers mean and where they come from."""


@dataclass(frozen=True, slots=True)
class Section:
    """One table below the answer."""

    title: str
    note: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numbers: frozenset[int] = frozenset()
    """Columns of numbers, aligned to the right."""


def sentence(report: Report) -> str:
    """The answer as a person would say it."""
    totals, cache = report.totals, report.cache
    if not totals.calls:
        found = report.rollouts
        if not found.rollouts:
            return "There are no model calls in these logs."
        return (
            f"{count(found.rollouts, 'rollout')} in {count(found.groups, 'group')}; "
            "their logs name no model calls."
        )
    paid = f"{count(totals.calls, 'call')} cost {dollars(paid_usd(totals))}"
    if paid_usd(totals) is None:
        paid = f"{count(totals.calls, 'call')} at no known price"
    parts = [paid]
    saved = saved_usd(report)
    if saved is not None:
        parts.append(f"caching {'saved' if saved >= 0 else 'lost'} {dollars(abs(saved))}")
    if cache.ideal_hit_rate is not None:
        usd, left, sure = cache.missed_usd, cache.missed_tokens, "were paid for again"
        if cache.hit_rate is None:
            usd, left, sure = None, cache.unreported_ideal_tokens, "may have been paid for again"
        worth = "" if usd is None else f" ({dollars(usd)})"
        parts.append(f"{tokens(left)} tokens{worth} {sure}")
    return "; ".join(parts) + "."


def what_was_read(report: Report) -> list[str]:
    """Traces, calls, files and the time they span."""
    facts = report.provenance
    if not report.totals.calls and has_content(report):
        files = count(report.sources.files, "file")
        return [count(report.rollouts.rollouts, "rollout"), "no calls logged", files]
    found = [
        count(report.totals.traces, "trace"),
        count(report.totals.calls, "call"),
        count(report.sources.files, "file"),
    ]
    return [*found, period(facts.first_call, facts.last_call)] if report.totals.calls else found


def period(first: datetime | None, last: datetime | None) -> str:
    """Days from the first to the last call, in UTC.

    >>> period(datetime(2026, 7, 1), datetime(2026, 7, 24))
    '1–24 Jul 2026'
    """
    if first is None or last is None:
        return "no times logged"
    first, last = _utc(first), _utc(last)
    until = f"{last.day} {_MONTHS[last.month - 1]} {last.year}"
    if first.date() == last.date():
        return until
    if (first.year, first.month) == (last.year, last.month):
        return f"{first.day}–{until}"
    since = f"{first.day} {_MONTHS[first.month - 1]}"
    return f"{since} – {until}" if first.year == last.year else f"{since} {first.year} – {until}"


def moment(when: datetime | None) -> str:
    """A time in UTC, to the minute; ``–`` for times that count from a zero of their own."""
    return "–" if when is None or when.year < _FIRST_YEAR else f"{_utc(when):%Y-%m-%d %H:%M} UTC"


def _utc(when: datetime) -> datetime:
    return when.replace(tzinfo=UTC) if when.tzinfo is None else when.astimezone(UTC)


def paid_usd(totals: Totals) -> float | None:
    """What the priced calls cost; ``None`` where no call has a price."""
    return totals.cost_usd if totals.priced_calls or not totals.calls else None


def has_usage(totals: Totals) -> bool:
    """Whether any call states its token counts; without, their sums are unknown, not 0."""
    return totals.calls > totals.calls_without_usage


def has_content(report: Report) -> bool:
    """Whether there is anything to report on: calls, or rollouts that no call is logged of."""
    return bool(report.totals.calls or report.rollouts.rollouts)


def saved_usd(report: Report) -> float | None:
    """What cache reads saved, less what cache writes cost extra: the ledger's row on caching."""
    for row in report.savings.ledger:
        if "caching" in row.mechanism:
            return row.realized_usd
    return report.savings.realized_usd


def amounts(report: Report) -> tuple[Amount, Amount, Amount]:
    """Paid, saved by cache, left."""
    return _paid(report.totals), _saved(report), _left(report)


def _paid(totals: Totals) -> Amount:
    if not has_usage(totals):
        return Amount("Paid", "–", "– tokens", ("token counts are not in these logs",))
    details = [f"input {tokens(totals.input_tokens)}", f"output {tokens(totals.output_tokens)}"]
    if totals.unpriced_calls:
        details.append(f"{count(totals.unpriced_calls, 'call')} not priced")
    total = totals.input_tokens + totals.output_tokens
    return Amount("Paid", dollars(paid_usd(totals)), f"{tokens(total)} tokens", tuple(details))


def _saved(report: Report) -> Amount:
    cache, usd = report.cache, saved_usd(report)
    if cache.hit_rate is None:
        return Amount("Saved by cache", "–", "– tokens", ("cache reads are not in these logs",))
    details = [f"hit rate {percent(cache.hit_rate)} of input (provider-reported)"]
    if usd is not None and usd < 0:
        details.append("negative: cache writes cost more than reads saved")
    return Amount(
        "Saved by cache", dollars(usd), f"{tokens(cache.read_tokens)} tokens", tuple(details)
    )


def _left(report: Report) -> Amount:
    cache = report.cache
    if cache.ideal_hit_rate is None:
        return Amount("Left", "–", "– tokens", (_why_no_ideal(report),))
    if cache.hit_rate is None:
        return Amount(
            "Left",
            "–",
            f"≤ {tokens(cache.unreported_ideal_tokens)} tokens",
            (
                f"ideal {percent(cache.ideal_hit_rate)} of input ({evidence(cache.evidence)})",
                "less what was read from cache, which is not logged",
            ),
        )
    ideal, of = cache.ideal_hit_rate, "input"
    if cache.unreported_calls and cache.reported_ideal_hit_rate is not None:
        ideal, of = cache.reported_ideal_hit_rate, "input where cache reads are logged"
    details = [f"ideal {percent(ideal)} of {of} ({evidence(cache.reported_evidence)})"]
    if cache.policy_hit_rate is not None:
        details.append(f"policy {percent(cache.policy_hit_rate)}")
    if cache.unreported_calls:
        details.append(
            f"≤ {tokens(cache.unreported_ideal_tokens)} more in "
            f"{count(cache.unreported_calls, 'call')} that log no cache reads"
        )
    left = f"{tokens(cache.missed_tokens)} tokens"
    return Amount("Left", dollars(cache.missed_usd), left, tuple(details))


def _why_no_ideal(report: Report) -> str:
    if not report.totals.calls:
        return "unknown: no calls"
    if set(report.cache.evidence) <= {"usage"}:
        return "ideal unknown: these logs hold token counts but no prompts"
    return "ideal unknown: no prompt in these logs could be sized"


def evidence(calls_by_evidence: dict[str, int]) -> str:
    """What computed figures rest on, most calls first."""
    ranked = sorted(
        ((n, name) for name, n in calls_by_evidence.items() if n),
        key=lambda each: (-each[0], each[1]),
    )
    if not ranked:
        return "computed"
    if len(ranked) == 1:
        return f"computed from {ranked[0][1]}"
    return "computed from " + ", ".join(f"{name}: {count(n, 'call')}" for n, name in ranked)


ACTIONS = {
    causes.COMPACTION: "compact after a pause, not before",
    causes.TOOLS_CHANGED: "keep tools and their order",
    causes.SYSTEM_CHANGED: "keep dates and state out of it",
    causes.MESSAGES_CHANGED: "append; edit no earlier message",
    causes.START_CHANGED: "keep tools and system prompt fixed",
    causes.ANSWER: "none: only prompts are stored",
    causes.MODEL_SWITCH: "switch between traces, not inside",
    causes.EXPIRED: "shorter pauses, or keep it alive",
    causes.TOO_SHORT: "put shared text first",
    causes.ROUNDED: "none: only whole units are stored",
    causes.NO_BREAKPOINT: "mark the last message for caching",
    causes.BEYOND_LOOKBACK: "mark a message in between as well",
    causes.AFTER_BREAKPOINT: "mark the very end for caching",
    causes.CONCURRENT: "start one, then the rest",
    causes.NOT_READY: "none: the cache lags behind",
    causes.UNLOGGED_CHANGE: "keep reminders and tools unchanged",
    causes.UNKNOWN: "see forkpoint cache --explain",
    causes.NO_RULES: "state them: --rules FILE",
    "previous message not found": "resume sooner, in one workspace",
    "cache key changed": "one prompt_cache_key per trace",
    "text format changed": "one output format per trace",
    "reasoning effort changed": "one reasoning effort per trace",
    "verbosity changed": "one verbosity per trace",
    "service tier changed": "one service tier per trace",
}
"""What a person can do about each cause of misses, in at most 36 characters."""

MEANINGS = {
    causes.COMPACTION: "the history was replaced by a summary",
    causes.TOOLS_CHANGED: "the tool definitions were not those of the call before",
    causes.SYSTEM_CHANGED: "the system prompt was not that of the call before",
    causes.MESSAGES_CHANGED: "an earlier message was edited or left out",
    causes.START_CHANGED: "the prompt did not go on from the last one, in a part that is not logged",
    causes.ANSWER: "what the model wrote is only cached once it is sent back in a prompt",
    causes.MODEL_SWITCH: "the same beginning had gone to another model, and each has its own cache",
    causes.EXPIRED: "the cached prompt was not used again within its lifetime",
    causes.TOO_SHORT: "the shared beginning is shorter than the provider caches",
    causes.ROUNDED: "the provider caches whole blocks of tokens only",
    causes.NO_BREAKPOINT: "the prompt was not marked for caching",
    causes.BEYOND_LOOKBACK: "too many new blocks lay between two marks for caching",
    causes.AFTER_BREAKPOINT: "it stood behind the last mark for caching of the call before",
    causes.CONCURRENT: "it was sent before the first answer to the same beginning had begun",
    causes.NOT_READY: "what the call just before had written could not be read yet",
    causes.UNLOGGED_CHANGE: "the prompt was read up to a point, and the log shows no difference there",
    causes.UNKNOWN: "the rules allow a hit, and the log does not show why there was none",
    causes.NO_RULES: "the caching rules of this provider are not known here",
    "previous message not found": "the provider no longer had the message this prompt goes on from",
    "cache key changed": "the prompt_cache_key was not that of the call before",
    "text format changed": "the output format was not that of the call before",
    "reasoning effort changed": "the reasoning effort was not that of the call before",
    "verbosity changed": "the verbosity was not that of the call before",
    "service tier changed": "the service tier was not that of the call before",
}
"""What happened, for each cause of misses."""

STEPS = {
    "input": "all input",
    "never sent before": "never sent before: new content",
    "beginning changed": "beginning changed: the trace did not go on from its last prompt",
    "ideal": "ideal: a cache that never forgets",
    "not reported": "not reported: the logs say nothing of cache reads",
    causes.ANSWER: "answers not stored: the provider stores prompts only",
    causes.MODEL_SWITCH: "model switch: sent to another model before",
    causes.EXPIRED: "expired: not used within the cache's lifetime",
    "no breakpoint in reach": "no breakpoint in reach: not marked for caching",
    causes.CONCURRENT: "concurrent fan-out: sent before the first answer began",
    "policy": "policy: what the providers' rules allow",
    "below policy": "allowed, yet not served",
    "realized": "realized (provider-reported): read from cache",
}
"""Steps of the waterfall in words, the name before the colon; a step that is not here is named by
itself."""


_NEED_READS = ("policy", "realized")


def step_name(step: WaterfallStep) -> str:
    """A step of the waterfall as a newcomer can read it."""
    return STEPS.get(step.step, step.step)


def known_steps(cache: Cache) -> list[WaterfallStep]:
    """The waterfall, without the levels that are unknown because no log states cache reads."""
    silent = cache.hit_rate is None
    return [step for step in cache.waterfall if not (silent and step.step in _NEED_READS)]


def is_level(step: WaterfallStep) -> bool:
    """Whether the step holds what is left, not what was lost."""
    return step.step in causes.LEVELS


def dearest_first(found: Sequence[MissCause]) -> list[MissCause]:
    """Causes by what they cost, then by tokens."""
    return sorted(found, key=lambda each: (-(each.usd or 0), -each.tokens, each.cause))


def cause_name(cause: MissCause) -> str:
    """A cause, marked where the provider itself states it."""
    return f"{cause.cause} (provider)" if cause.source == "provider" else cause.cause


def lost_to(report: Report, at_most: int) -> list[str]:
    """The largest causes of misses, one phrase each."""
    return [
        f"{cause_name(each)}: {count(each.calls, 'call')}, {tokens(each.tokens)} tokens"
        + ("" if each.usd is None else f", {dollars(each.usd)}")
        for each in dearest_first(report.cache.misses_by_cause)[:at_most]
    ]


def rollouts(report: Report) -> list[str]:
    """Groups of rollouts in phrases; empty where there are none."""
    found = report.rollouts
    if not found.groups:
        return []
    parts = [
        f"{count(found.groups, 'group')} × {found.rollouts / found.groups:.3g} rollouts",
        f"{tokens(found.flat_tokens)} tokens",
    ]
    if found.overlap_ratio is not None:
        parts.append(f"overlap {percent(found.overlap_ratio)}")
    if found.same_answer_share is not None:
        parts.append(f"same answer {percent(found.same_answer_share)}")
    if found.mean_reward is not None:
        parts.append(f"mean reward {found.mean_reward:.3g}")
    ks = sorted(found.pass_hat)
    parts += [f"pass^{k} {percent(found.pass_hat[k])}" for k in dict.fromkeys(ks[:1] + ks[-1:])]
    return parts


def entropy(report: Report) -> list[str]:
    """Token entropy in phrases; empty where no log holds logprobs."""
    found = report.entropy
    if found is None or not found.tokens:
        return []
    parts = [f"{between(found.mean_lower_nats, found.mean_upper_nats)} nats a token"]
    if found.threshold_nats is not None:
        parts.append(f"top {100 * found.top_share:.0f} % from {found.threshold_nats:.2f} nats")
    return parts


def between(low: float | None, high: float | None) -> str:
    """Bounds, or one figure where they leave no doubt.

    >>> between(1.0, 1.004), between(1.0, 2.5), between(None, None)
    ('1.00', '1.00 to 2.50', '–')
    """
    if low is None or high is None:
        return "–"
    first, last = f"{low:.2f}", f"{high:.2f}"
    return first if first == last else f"{first} to {last}"


def notes(report: Report) -> list[str]:
    """What a reader must know to trust the numbers; empty where nothing is amiss."""
    sources, totals, cache = report.sources, report.totals, report.cache
    found = []
    if totals.unpriced_models:
        found.append(f"no price known for {_some(totals.unpriced_models)}")
    if totals.calls_without_usage:
        found.append(f"{count(totals.calls_without_usage, 'call')} without logged token counts")
    if cache.ideal_hit_rate is not None and cache.unsized_calls:
        found.append(f"{count(cache.unsized_calls, 'call')} of unknown size left out of the ideal")
    if report.prefix_tree.unrefined_forks:
        found.append(
            f"{count(report.prefix_tree.unrefined_forks, 'fork')} exact to the message or block only (≥)"
        )
    if sources.deleted_files:
        found.append(f"{count(sources.deleted_files, 'file')} gone since read, not counted")
    merged = sum(each.merged_records for each in sources.by_format.values())
    if merged:
        found.append(f"{count(merged, 'record')} of calls logged in two layers, counted once")
    unlisted = sum(each.unlisted_tokens for each in sources.by_format.values())
    if unlisted:
        found.append(f"{tokens(unlisted)} tokens that logs state in sum and list no calls for")
    if sources.unknown_files:
        found.append(f"{count(sources.unknown_files, 'file')} of no known format")
    found += [f"only {name} {value}" for name, value in sorted(report.provenance.filters.items())]
    return found


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_MODELS_SHOWN])
    more = len(names) - _MODELS_SHOWN
    return f"{shown} and {more} more" if more > 0 else shown


def ordered_groups(report: Report) -> list[GroupRow]:
    """The rows of ``--by``: days by date, all others by cost, then tokens, then key."""
    if report.by == "day":
        return sorted(report.groups_by, key=lambda row: row.key)
    return sorted(
        report.groups_by,
        key=lambda row: (
            -row.totals.cost_usd,
            -(row.totals.input_tokens + row.totals.output_tokens),
            row.key,
        ),
    )


def parts_at(fork: Fork) -> str:
    """Kinds of the segments at which branches part."""
    return " / ".join(dict.fromkeys(branch.kind for branch in fork.branches)) or fork.ends_with


def trunk(fork: Fork) -> str:
    """Tokens that all branches share; ``≥`` where they are exact to the message only."""
    return (
        tokens(fork.trunk_tokens)
        if fork.head_tokens is not None
        else f"≥ {tokens(fork.trunk_tokens)}"
    )


def sections(report: Report) -> list[Section]:
    """Every table of the full report; those with nothing to show are left out."""
    found = [
        _by_section(report),
        _totals_section(report),
        _waterfall_section(report),
        _causes_section(report),
        _worst_section(report),
        _forks_section(report),
        _rollouts_section(report),
        _entropy_section(report),
        _ledger_section(report),
        _formats_section(report),
    ]
    return [section for section in found if section.rows]


def _numbers(first: int, last: int) -> frozenset[int]:
    return frozenset(range(first, last + 1))


def _by_section(report: Report) -> Section:
    return Section(
        f"By {report.by}",
        "Hit rate: cache reads as a share of input, as the providers report them.",
        (report.by or "", "calls", "input tokens", "hit rate", "output tokens", "cost"),
        tuple(
            (
                row.key,
                f"{row.totals.calls:,}",
                f"{row.totals.input_tokens:,}" if has_usage(row.totals) else "–",
                percent(row.hit_rate),
                f"{row.totals.output_tokens:,}" if has_usage(row.totals) else "–",
                dollars(paid_usd(row.totals)),
            )
            for row in ordered_groups(report)
        ),
        _numbers(1, 5),
    )


def _totals_section(report: Report) -> Section:
    """Sums of what logs state. Of kinds that few logs state at all, 0 is no news: none is stated."""
    totals = report.totals
    read = totals.cache_read_tokens if report.cache.hit_rate is not None else None
    rows: list[tuple[str, int | None]] = [
        ("input", totals.input_tokens),
        ("of it: not cached", totals.uncached_input_tokens),
        ("of it: read from cache", read),
        ("of it: written to cache", totals.cache_write_tokens or None),
        ("written for 5 minutes", totals.cache_write_5m_tokens or None),
        ("written for 1 hour", totals.cache_write_1h_tokens or None),
        ("output", totals.output_tokens),
        ("of it: reasoning", totals.reasoning_tokens or None),
    ]
    return Section(
        "Tokens",
        "As billed, each call once, however often it is logged. –: none is stated.",
        ("tokens", "number"),
        tuple((name, "–" if n is None else f"{n:,}") for name, n in rows)
        if has_usage(totals)
        else (),
        _numbers(1, 1),
    )


def _waterfall_section(report: Report) -> Section:
    return Section(
        "From all input to what the cache served",
        "Realized is what the providers report, not reported what their logs leave open; other "
        f"steps are {evidence(report.cache.evidence)}.",
        ("step", "tokens", "worth"),
        tuple(
            (step_name(step), f"{step.tokens:,}", dollars(step.usd))
            for step in known_steps(report.cache)
        ),
        _numbers(1, 2),
    )


def _causes_section(report: Report) -> Section:
    return Section(
        "Lost to",
        "Tokens sent before and paid for again, by why they were not read from a cache. A cause that "
        "the provider states wins over one that is inferred from the log.",
        ("cause", "what happened", "source", "calls", "tokens", "cost", "what helps"),
        tuple(
            (
                each.cause,
                MEANINGS.get(each.cause, "–"),
                each.source,
                f"{each.calls:,}",
                f"{each.tokens:,}",
                dollars(each.usd),
                ACTIONS.get(each.cause, "–"),
            )
            for each in dearest_first(report.cache.misses_by_cause)
        ),
        _numbers(3, 5),
    )


def _worst_section(report: Report) -> Section:
    return Section(
        "Paid again: worst calls",
        "Tokens that an earlier call had already sent, and this call paid for in full. "
        "forkpoint cache --explain CALL shows why.",
        ("call", "cost", "tokens", "idle before", "model", "provider's reason", "time", "where"),
        tuple(
            (
                call.call_id[:ID_DIGITS],
                dollars(call.missed_usd),
                f"{call.missed_tokens:,}",
                duration(call.idle_s),
                call.model or "–",
                call.miss_reason or "–",
                moment(call.started_at),
                f"{call.path}:{call.line}",
            )
            for call in report.cache.worst_calls
        ),
        _numbers(1, 3),
    )


def _forks_section(report: Report) -> Section:
    tree = report.prefix_tree
    return Section(
        "Fork points",
        f"{count(tree.fork_points, 'fork point')}; prompts hold {tree.flat_tokens:,} tokens, "
        f"{tree.tree_tokens:,} of them distinct (overlap {percent(tree.overlap_ratio)}).",
        ("shared tokens", "ways", "calls", "sharing saves", "parts at", "branches begin"),
        tuple(
            (
                trunk(fork),
                f"{fork.fan_out:,}",
                f"{fork.calls:,}",
                tokens(fork.shared_tokens),
                parts_at(fork),
                ", ".join(f"{branch.path}:{branch.line}" for branch in fork.branches),
            )
            for fork in tree.top_forks
        ),
        _numbers(0, 3),
    )


def _rollouts_section(report: Report) -> Section:
    found = report.rollouts
    rows = [
        ("groups", f"{found.groups:,}"),
        ("rollouts", f"{found.rollouts:,}"),
        ("tokens, each rollout whole", f"{found.flat_tokens:,}"),
        ("tokens, shared ones once", f"{found.tree_tokens:,}"),
        ("overlap", percent(found.overlap_ratio)),
        ("generated tokens in common", f"{found.generated_shared_tokens:,}"),
        ("same answer", percent(found.same_answer_share)),
        ("mean reward", "–" if found.mean_reward is None else f"{found.mean_reward:.4g}"),
    ]
    rows += [(f"pass^{k}", percent(found.pass_hat[k])) for k in sorted(found.pass_hat)]
    return Section(
        "Rollouts",
        "Groups of samples of one prompt or task.",
        ("rollouts", "value"),
        tuple(rows) if found.groups else (),
        _numbers(1, 1),
    )


def _entropy_section(report: Report) -> Section:
    found = report.entropy
    rows: list[tuple[str, str]] = []
    if found is not None and found.tokens:
        certain = between(found.threshold_low_nats, found.threshold_high_nats)
        rows = [
            ("tokens with logprobs", f"{found.tokens:,}"),
            ("mean entropy", f"{between(found.mean_lower_nats, found.mean_upper_nats)} nats"),
            (
                "mean surprisal of the sampled tokens",
                f"{between(*[found.mean_surprisal_nats] * 2)} nats",
            ),
            (f"the top {100 * found.top_share:.0f} % begin at", f"{certain} nats"),
            ("tokens above that for certain", f"{found.fork:,}"),
            ("below it for certain", f"{found.not_fork:,}"),
            ("undecided", f"{found.undecided:,}"),
            (
                f"entropy that the top {100 * found.top_share:.0f} % carry",
                percent(found.top_mass_share),
            ),
        ]
    return Section(
        "Token entropy",
        "How unsure the model was at each token, over its whole vocabulary; between bounds where "
        "only the likeliest tokens were logged.",
        ("entropy", "value"),
        tuple(rows),
        _numbers(1, 1),
    )


def _ledger_section(report: Report) -> Section:
    return Section(
        "Savings ledger",
        "Rows add up: each counts only what the rows before it leave.",
        ("mechanism", "realized", "worth", "potential", "worth", "alone", "evidence", "needs"),
        tuple(
            (
                row.mechanism,
                tokens(row.realized_tokens),
                dollars(row.realized_usd),
                tokens(row.potential_tokens),
                dollars(row.potential_usd),
                tokens(row.standalone_tokens),
                row.evidence,
                row.needs or "",
            )
            for row in report.savings.ledger
        ),
        _numbers(1, 5),
    )


def _formats_section(report: Report) -> Section:
    return Section(
        "Logs read",
        "Logged calls include copies; each call is paid, and counted above, once.",
        ("format", "files", "logged calls", "unreadable records"),
        tuple(
            (name, f"{each.files:,}", f"{each.calls:,}", f"{each.issues:,}")
            for name, each in sorted(report.sources.by_format.items())
        ),
        _numbers(1, 3),
    )


HOW_TO_READ = (
    (
        "Paid",
        (
            "What the calls cost at the prices of their day. A call without a known price is counted "
            "as not priced, never as free."
        ),
    ),
    (
        "Saved by cache",
        (
            "What reading from the cache cost less than sending the same tokens uncached, less what "
            "writing to the cache cost more."
        ),
    ),
    ("Hit rate", "Cache-read tokens over input tokens, all calls with token counts together."),
    (
        "Ideal",
        (
            "The share of input that a cache which never forgets would have served, each prompt "
            "against all earlier prompts and completions."
        ),
    ),
    (
        "Policy",
        (
            "The part of ideal that the providers' rules allow: least sizes, whole units, lifetimes, "
            "one model, breakpoints, and no read before the first answer begins."
        ),
    ),
    (
        "Left",
        (
            "Ideal less what was really read, call by call: tokens paid for in full though they had "
            "been sent before."
        ),
    ),
    (
        "Call, trace, run",
        (
            "A call is one request to a model and its response; a trace is the calls of one run of an "
            "agent, its subagents apart."
        ),
    ),
    (
        "Fork point",
        (
            "A place where prompts that began alike, in content that is logged, go different ways. The "
            "tokens before it are shared; sharing saves them once for each branch but one."
        ),
    ),
    (
        "Overlap",
        "1 less distinct tokens over all tokens, prompts laid over each other from the start.",
    ),
)
"""The words of the report, each with its meaning."""


def provenance(report: Report) -> list[tuple[str, str]]:
    """What a reader needs to judge or repeat the answer."""
    facts = report.provenance
    lines = [
        ("forkpoint", facts.version),
        ("command", _command(report)),
        ("read", ", ".join(facts.paths)),
        ("files", f"{report.sources.files:,} ({report.sources.bytes:,} bytes)"),
        ("unreadable records", f"{report.sources.issues:,}"),
        ("tokenizer", facts.encoding),
        ("prices", facts.price_book or "none"),
        ("first call", moment(facts.first_call)),
        ("last call", moment(facts.last_call)),
    ]
    lines += [(name, value) for name, value in sorted(facts.filters.items())]
    return lines


def _command(report: Report) -> str:
    """A command that gives this answer, as a shell takes it."""
    facts = report.provenance
    options = dict(sorted(facts.filters.items())) | ({"by": report.by} if report.by else {})
    words = [
        *facts.paths,
        *(word for name, value in options.items() for word in (f"--{name}", value)),
    ]
    return " ".join(["forkpoint report", *map(shlex.quote, words)])

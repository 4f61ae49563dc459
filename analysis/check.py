"""The gate behind ``forkpoint check``: figures of a report against limits and a baseline.

A verdict is a pure function of the report's numbers, the limits and the baseline. It knows nothing
of how it will be shown.

Amounts can be known in part: some calls have no price, or their logs say nothing of cache reads.
What is known is then a lower bound. Above its limit it fails like any other figure; below, it proves
nothing, unless what is unknown is bounded as well and both together stay below.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from forkpoint.analysis.results import GroupRow, Provenance, Report

NO_CALLS = "no calls in these logs"
_DIGITS = 12
"""After the point: where figures and limits are compared. The store adds money up to this."""
_PERCENT_DIGITS = 6


class Unit(StrEnum):
    """What a figure is counted in."""

    USD = "usd"
    TOKENS = "tokens"
    RATIO = "ratio"
    """In [0, 1]."""


class Status(StrEnum):
    """What came of one limit."""

    PASS = "pass"
    FAIL = "fail"
    MISSING = "missing"
    """The figure is not known, or not well enough to tell."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One number of a report that can be limited and compared."""

    key: str
    unit: Unit
    rises: bool
    """More is worse: its limit is the most that is allowed. Otherwise it is the least."""
    limit: str
    """The limit's name, as options and configuration files have it."""
    meaning: str


FIGURES = (
    Figure("cost_usd", Unit.USD, True, "max-cost", "what all calls cost"),
    Figure(
        "cost_per_trace_usd", Unit.USD, True, "max-cost-per-trace", "what the dearest trace cost"
    ),
    Figure("hit_rate", Unit.RATIO, False, "min-hit-rate", "cache reads / input tokens"),
    Figure(
        "cache_read_share",
        Unit.RATIO,
        False,
        "min-cache-read-share",
        "cache reads / all tokens, input and output",
    ),
    Figure(
        "missed_tokens",
        Unit.TOKENS,
        True,
        "max-missed-tokens",
        "tokens paid for again though they had been sent before",
    ),
    Figure("missed_usd", Unit.USD, True, "max-missed-usd", "what those cost"),
    Figure(
        "overlap_ratio",
        Unit.RATIO,
        True,
        "max-overlap-ratio",
        "1 - distinct / all prompt tokens, prompts laid over each other from the start",
    ),
)
"""Every figure, in the order they are shown in."""

LIMITS = {figure.limit: figure for figure in FIGURES}
"""The figure behind each limit's name."""

REGRESSION = "max-regression"


def problem_with(limit: str, bound: float) -> str | None:
    """Why a number cannot be a limit, or the percentage of a regression; ``None``: it can."""
    try:
        finite = math.isfinite(bound)
    except OverflowError:  # an integer beyond what a float holds
        finite = False
    if not finite or bound < 0:
        return "must be a number from 0 up"
    if limit in LIMITS and LIMITS[limit].unit is Unit.RATIO and bound > 1:
        return "must be a ratio from 0 to 1"
    return None


@dataclass(frozen=True, slots=True)
class Measure:
    """A figure's value in one report."""

    value: float | None
    """``None``: nothing is known of it."""
    unknown: str | None = None
    """Why `value` is ``None``, or only a lower bound."""
    at_most: float | None = None
    """What a lower bound can rise to with all that is unknown; ``None``: nobody can say."""
    where: str | None = None
    """The one it is the value of, where it is the value of one: a trace."""

    @property
    def exact(self) -> bool:
        """Whether `value` is all there is to know."""
        return self.value is not None and self.unknown is None


@dataclass(frozen=True, slots=True)
class Limit:
    """The most, or the least, that a figure may be."""

    figure: Figure
    bound: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of one limit, or of comparing one figure with the baseline."""

    limit: str
    figure: Figure
    bound: float
    """In the figure's unit; of a comparison, in percent."""
    value: float | None
    status: Status
    failed: bool
    """A figure that is not known fails, unless that is allowed."""
    why: str | None
    """Why the status is ``missing``; of others, what the figure leaves out, if anything."""
    where: str | None = None
    baseline: float | None = None
    """The figure's value in the baseline; ``None`` where it is compared with a limit."""
    change_percent: float | None = None
    """Change for the worse since then; negative: it got better. ``None``: it rose from 0, which is
    more than any percentage, or is not known."""


@dataclass(frozen=True, slots=True)
class CheckAnswer:
    """The whole answer of ``forkpoint check``."""

    verdicts: tuple[Verdict, ...]
    allow_missing: bool
    provenance: Provenance

    @property
    def passed(self) -> bool:
        """Whether no limit failed."""
        return not any(verdict.failed for verdict in self.verdicts)


def measures_of(report: Report) -> dict[str, Measure]:
    """Every figure of a report, by its key.

    Args:
        report: made with ``by="session"``; the cost per trace needs those rows.
    """
    if not report.totals.calls:
        return {figure.key: Measure(None, NO_CALLS) for figure in FIGURES}
    found = {
        "cost_usd": _cost(report),
        "cost_per_trace_usd": _dearest_trace(report),
        "missed_tokens": _missed_tokens(report),
        "missed_usd": _missed_usd(report),
        "overlap_ratio": _or_why(report.prefix_tree.overlap_ratio, "no prompt could be sized"),
    }
    silent = "no call states both its input tokens and its cache reads"
    found["hit_rate"] = _or_why(report.cache.hit_rate, silent)
    found["cache_read_share"] = _or_why(report.cache.cache_read_share, silent)
    return {figure.key: found[figure.key] for figure in FIGURES}


def _or_why(value: float | None, why: str) -> Measure:
    return Measure(None, why) if value is None else Measure(value)


def _calls(n: int, what: str) -> str:
    return f"{n:,} {'call' if n == 1 else 'calls'} {what}"


def _unpriced(report: Report) -> str | None:
    n = report.totals.unpriced_calls
    return _calls(n, "without a known price") if n else None


def _cost(report: Report) -> Measure:
    if not report.totals.priced_calls:
        return Measure(None, "no call has a known price")
    return Measure(report.totals.cost_usd, _unpriced(report))


def _dearest_trace(report: Report) -> Measure:
    if report.by != "session":
        raise ValueError("the cost per trace needs a report by session")
    priced = [row for row in report.groups_by if row.totals.priced_calls]
    if not priced:
        return Measure(None, "no call has a known price")

    def cost_then_name(row: GroupRow) -> tuple[float, str]:
        return (-row.totals.cost_usd, row.key)

    dearest = min(priced, key=cost_then_name)
    return Measure(dearest.totals.cost_usd, _unpriced(report), where=f"trace {dearest.key}")


def _missed_tokens(report: Report) -> Measure:
    cache = report.cache
    if cache.ideal_hit_rate is None:
        return Measure(None, "no prompt could be sized")
    if cache.hit_rate is None:
        return Measure(None, "cache reads are not in these logs")
    unknown = [
        (
            cache.unreported_calls if cache.unreported_ideal_tokens else 0,
            "without logged cache reads",
        ),
        (cache.unsized_calls, "of unknown size"),
    ]
    reasons = [_calls(n, what) for n, what in unknown if n]
    if not reasons:
        return Measure(cache.missed_tokens)
    at_most = None if cache.unsized_calls else cache.missed_tokens + cache.unreported_ideal_tokens
    return Measure(cache.missed_tokens, "; ".join(reasons), at_most)


def _missed_usd(report: Report) -> Measure:
    missed = _missed_tokens(report)
    if missed.value is None:
        return missed
    if report.cache.missed_usd is None:
        if missed.exact and not missed.value:
            return Measure(0.0)
        return Measure(None, "no call that missed has a known price")
    reasons = [reason for reason in (missed.unknown, _unpriced(report)) if reason]
    return Measure(report.cache.missed_usd, "; ".join(reasons) or None)


def judge(
    measures: Mapping[str, Measure], limits: Sequence[Limit], *, allow_missing: bool
) -> tuple[Verdict, ...]:
    """Hold figures against limits, in the order of `FIGURES`.

    Args:
        allow_missing: a figure that is not known, or only in part, does not fail.
    """
    order = {figure.key: place for place, figure in enumerate(FIGURES)}
    return tuple(
        _verdict(measures[limit.figure.key], limit, allow_missing)
        for limit in sorted(limits, key=lambda limit: order[limit.figure.key])
    )


def _verdict(measure: Measure, limit: Limit, allow_missing: bool) -> Verdict:
    status = _status(measure, limit)
    return Verdict(
        limit=limit.figure.limit,
        figure=limit.figure,
        bound=limit.bound,
        value=measure.value,
        status=status,
        failed=status is Status.FAIL or (status is Status.MISSING and not allow_missing),
        why=measure.unknown,
        where=measure.where,
    )


def _status(measure: Measure, limit: Limit) -> Status:
    if measure.value is None:
        return Status.MISSING
    if not limit.figure.rises:
        return Status.PASS if _at_most(limit.bound, measure.value) else Status.FAIL
    if not _at_most(measure.value, limit.bound):
        return Status.FAIL
    if measure.exact:
        return Status.PASS
    bounded = measure.at_most is not None and _at_most(measure.at_most, limit.bound)
    return Status.PASS if bounded else Status.MISSING


def _at_most(value: float, bound: float) -> bool:
    """``value <= bound``, where 1 - 0.7 is 0.3."""
    return round(value, _DIGITS) <= round(bound, _DIGITS)


def compare(
    measures: Mapping[str, Measure],
    baseline: Mapping[str, Measure],
    max_regression: float,
    *,
    allow_missing: bool,
) -> tuple[Verdict, ...]:
    """Hold figures against those of an earlier run.

    A figure that the baseline does not know is left out. One that it knows, and that now is not
    known, or only in part though all of it was known then, is missing.

    Args:
        baseline: what `measures_of` said then.
        max_regression: the greatest change for the worse that passes, in percent of the baseline.
    """
    found = []
    for figure in FIGURES:
        before, now = baseline.get(figure.key), measures[figure.key]
        if before is not None and before.value is not None:
            found.append(
                _comparison(figure, before, before.value, now, max_regression, allow_missing)
            )
    return tuple(found)


def _comparison(
    figure: Figure,
    before: Measure,
    before_value: float,
    now: Measure,
    max_regression: float,
    allow_missing: bool,
) -> Verdict:
    worse = None if now.value is None else change_for_the_worse(figure, before_value, now.value)
    # A part that is known now can be compared with the part known then, not with all there was.
    comparable = worse is not None and (now.exact or not before.exact or worse > max_regression)
    if worse is None or not (comparable or allow_missing):
        status = Status.MISSING
    else:
        status = Status.PASS if worse <= max_regression else Status.FAIL
    why = now.unknown or (None if before.unknown is None else f"in the baseline, {before.unknown}")
    return Verdict(
        limit=REGRESSION,
        figure=figure,
        bound=max_regression,
        value=now.value,
        status=status,
        failed=status is Status.FAIL or (status is Status.MISSING and not allow_missing),
        why=why,
        where=now.where,
        baseline=before_value,
        change_percent=None if worse is None or math.isinf(worse) else worse,
    )


def change_for_the_worse(figure: Figure, before: float, now: float) -> float:
    """How much worse a figure got, in percent of what it was; negative: better.

    Of a figure that was 0 there is no percentage: a rise where more is worse is infinite, anything
    else is no change.

    >>> change_for_the_worse(LIMITS["max-cost"], 2.0, 2.1)
    5.0
    >>> change_for_the_worse(LIMITS["min-hit-rate"], 0.8, 0.76)
    5.0
    >>> change_for_the_worse(LIMITS["max-cost"], 0.0, 0.01)
    inf
    """
    worse = (now - before) if figure.rises else (before - now)
    if round(before, _DIGITS) == 0:
        return math.inf if round(worse, _DIGITS) > 0 else 0.0
    return round(100 * worse / abs(before), _PERCENT_DIGITS)

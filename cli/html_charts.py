"""Charts of the HTML report, as SVG that needs no script: lengths are percentages, so that they fit
any width, and all words are HTML beside them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from datetime import datetime

from forkpoint.analysis.report_series import TimeBin, TimeSeries
from forkpoint.analysis.results import Cache, WaterfallStep
from forkpoint.cli.answer import Section, is_level, known_steps, moment, period, step_name
from forkpoint.cli.html_parts import table, text
from forkpoint.cli.numbers import count, dollars, percent, tokens

_FALL_HEAD = (
    '<li class="head" aria-hidden="true"><span class="name">step</span>'
    '<span class="number">tokens</span><span class="number">worth</span></li>\n'
)
PLOT_HEIGHT = 132
_DOT_RADIUS = 3.5
_BAR_SHARE = 0.84
"""Of a bin's width: the rest parts it from the next one."""


def waterfall(cache: Cache) -> str:
    """The levels from all input to what the cache served, and what was lost between them."""
    steps = known_steps(cache)
    whole = max((abs(step.tokens) for step in steps if is_level(step)), default=0)
    if not whole:
        return ""
    level = 0
    rows = []
    for step in steps:
        before, level = level, step.tokens if is_level(step) else level + step.tokens
        start, end = (0, level) if is_level(step) else sorted((before, level))
        rows.append(_fall_row(step, start / whole, end / whole))
    return f'<ul class="fall">\n{_FALL_HEAD}{"".join(rows)}</ul>\n'


def _fall_row(step: WaterfallStep, start: float, end: float) -> str:
    kind = "level" if is_level(step) else "loss" if step.tokens <= 0 else "gain"
    name, _, meaning = step_name(step).partition(": ")
    worth = "" if step.usd is None else dollars(step.usd)
    why = f'<span class="soft"> {text(meaning)}</span>' if meaning else ""
    return (
        f'<li class="{kind}"><span class="name">{text(name)}{why}</span>'
        f'<svg class="bar" width="100%" height="14" aria-hidden="true">'
        f"{_rect(start, end - start, 0, 14)}</svg>"
        f'<span class="number">{text(_signed(step))}</span>'
        f'<span class="number">{text(worth)}</span></li>\n'
    )


def _signed(step: WaterfallStep) -> str:
    if is_level(step) or not step.tokens:
        return tokens(step.tokens)
    return ("+" if step.tokens > 0 else "") + tokens(step.tokens)


def _rect(left: float, width: float, top: float, height: float, title: str = "") -> str:
    """A rectangle: `left` and `width` are shares of the whole, the others pixels."""
    about = f"<title>{text(title)}</title>" if title else ""
    return (
        f'<rect x="{_share(left)}" y="{top:.1f}" width="{_share(max(width, 0.002))}" '
        f'height="{height:.1f}">{about}</rect>'
    )


def _share(part: float) -> str:
    return f"{100 * part:.3f}%"


def series(found: TimeSeries) -> str:
    """Cost and hit rate over time, one above the other, and their numbers as a table."""
    bins = _Bins(found)
    charts = ""
    costs = [each.cost_usd for each in found.bins]
    if any(costs):
        top = _round_up(max(cost or 0 for cost in costs))
        charts += _plot(
            f"Cost by {found.unit}, USD",
            [f"${top:,.10g}", f"${top / 2:,.10g}", "$0"],
            _bars(bins, [(cost or 0) / top for cost in costs]),
            bins,
        )
    if any(each.hit_rate is not None for each in found.bins):
        charts += _plot(
            f"Hit rate by {found.unit}: cache reads as a share of input",
            ["100 %", "50 %", "0 %"],
            _dots(bins, [each.hit_rate for each in found.bins]),
            bins,
        )
    if not charts:
        return ""
    rows = tuple(
        (
            bins.label(each),
            f"{each.calls:,}",
            f"{each.input_tokens:,}",
            percent(each.hit_rate),
            dollars(each.cost_usd),
        )
        for each in found.bins
    )
    header = (found.unit, "calls", "input tokens", "hit rate", "cost")
    numbers = table(Section(f"By {found.unit}", "", header, rows, frozenset(range(1, 5))))
    return f"{charts}<details>\n<summary>These numbers as a table</summary>\n{numbers}</details>\n"


class _Bins:
    """Where bins stand between the first and the last one."""

    def __init__(self, found: TimeSeries) -> None:
        self.unit = found.unit
        self.bins = found.bins
        first, last = found.bins[0].start, found.bins[-1].start
        whole = (last - first) + found.length
        self.width = found.length / whole
        self.left = [(each.start - first) / whole for each in found.bins]
        self.first, self.last = first, last

    def label(self, each: TimeBin) -> str:
        """Its beginning, as precise as the unit is."""
        return _date(each.start, self.unit)

    def told(self, each: TimeBin) -> str:
        """All that is known of it."""
        return (
            f"{self.label(each)}: {dollars(each.cost_usd)}, hit rate {percent(each.hit_rate)}, "
            f"{count(each.calls, 'call')}"
        )


def _date(when: datetime, unit: str) -> str:
    if unit == "hour":
        return moment(when)
    if unit in ("day", "week"):
        return period(when, when)
    return f"{when:%Y-%m}" if unit == "month" else f"{when.year}"


def _bars(bins: _Bins, heights: Sequence[float]) -> str:
    gap = bins.width * (1 - _BAR_SHARE) / 2
    return "".join(
        _rect(
            left + gap,
            bins.width * _BAR_SHARE,
            PLOT_HEIGHT * (1 - height),
            PLOT_HEIGHT * height,
            bins.told(each),
        )
        for left, height, each in zip(bins.left, heights, bins.bins, strict=True)
        if height
    )


def _dots(bins: _Bins, heights: Sequence[float | None]) -> str:
    inside = PLOT_HEIGHT - 2 * _DOT_RADIUS
    places = [
        (left + bins.width / 2, _DOT_RADIUS + inside * (1 - height), each)
        for left, height, each in zip(bins.left, heights, bins.bins, strict=True)
        if height is not None
    ]
    line = " ".join(f"{1000 * x:.1f},{y:.1f}" for x, y, _ in places)
    dots = "".join(
        f'<circle cx="{_share(x)}" cy="{y:.1f}" r="{_DOT_RADIUS}">'
        f"<title>{text(bins.told(each))}</title></circle>"
        for x, y, each in places
    )
    return (
        f'<svg width="100%" height="{PLOT_HEIGHT}" viewBox="0 0 1000 {PLOT_HEIGHT}" '
        f'preserveAspectRatio="none"><polyline points="{line}"/></svg>{dots}'
    )


def _plot(title: str, marks: Sequence[str], drawn: str, bins: _Bins) -> str:
    first, last = bins.label(bins.bins[0]), bins.label(bins.bins[-1])
    ends = f"<span>{text(first)}</span>" + (f"<span>{text(last)}</span>" if last != first else "")
    return _framed(title, marks, drawn, ends)


def _framed(title: str, marks: Sequence[str], drawn: str, below: str) -> str:
    rules = "".join(
        f'<line x1="0" x2="100%" y1="{y:.1f}" y2="{y:.1f}"/>'
        for y in (0.5, PLOT_HEIGHT / 2, PLOT_HEIGHT - 0.5)
    )
    return (
        f'<figure class="plot">\n<figcaption>{text(title)}</figcaption>\n'
        f'<div class="marks" aria-hidden="true">'
        f"{''.join(f'<span>{text(mark)}</span>' for mark in marks)}</div>\n"
        f'<svg class="drawn" width="100%" height="{PLOT_HEIGHT}" role="img" '
        f'aria-label="{text(title)}"><g class="rules">{rules}</g>{drawn}</svg>\n'
        f'<div class="ends" aria-hidden="true">{below}</div>\n</figure>\n'
    )


def profile(title: str, values: Sequence[float | None], shown: Callable[[float], str]) -> str:
    """Bars of equal width, from the beginning to the end of something; empty without any."""
    known = [value for value in values if value is not None and math.isfinite(value)]
    top = _round_up(max(known, default=0))
    if not top:
        return ""
    width = 1 / len(values)
    bars = "".join(
        _rect(
            (i + (1 - _BAR_SHARE) / 2) * width,
            width * _BAR_SHARE,
            PLOT_HEIGHT * (1 - value / top),
            PLOT_HEIGHT * value / top,
            f"part {i + 1} of {len(values)}: {shown(value)}",
        )
        for i, value in enumerate(values)
        if value is not None and math.isfinite(value) and value > 0
    )
    ends = "<span>beginning</span><span>end</span>"
    return _framed(title, [shown(top), shown(top / 2), "0"], bars, ends)


def _round_up(value: float) -> float:
    """The next of 1, 2, 5, 10, … at or above `value`; 0 for 0.

    >>> _round_up(3.1), _round_up(0.07), _round_up(0)
    (5.0, 0.1, 0.0)
    """
    if value <= 0:
        return 0.0
    power = 10.0 ** math.floor(math.log10(value))
    return float(
        next(f"{step * power:.12g}" for step in (1, 2, 5, 10) if value <= step * power * (1 + 1e-9))
    )

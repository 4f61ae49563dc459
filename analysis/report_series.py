"""Cost and hit rate over time, for the report's charts."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from forkpoint.analysis.scope import DATED
from forkpoint.analysis.store import Store

MOST_BINS = 120
"""No unit of time is chosen that would make more bins than this of the span between calls."""

_UNITS = {
    "hour": timedelta(hours=1),
    "day": timedelta(days=1),
    "week": timedelta(days=7),
    "month": timedelta(days=30.44),
    "year": timedelta(days=365.25),
    "decade": timedelta(days=3652.5),
}


@dataclass(frozen=True, slots=True)
class TimeBin:
    """What was paid in one unit of time."""

    start: datetime
    """UTC."""
    calls: int
    priced_calls: int
    cost_usd: float | None
    """Of the priced calls; ``None``: none has a price."""
    input_tokens: int
    hit_rate: float | None
    """Cache-read tokens over input tokens, of calls that state both."""


@dataclass(frozen=True, slots=True)
class TimeSeries:
    """Calls by time."""

    unit: str
    """``hour``, ``day``, ``week``, ``month``, ``year`` or ``decade``."""
    bins: tuple[TimeBin, ...]
    """In order of time; units without calls are left out."""
    untimed_calls: int
    """Calls whose log gives them no date: they are in no bin."""

    @property
    def length(self) -> timedelta:
        """Length of a bin; of months and longer units, the mean."""
        return _UNITS[self.unit]


def measure_series(store: Store) -> TimeSeries | None:
    """Calls in scope by the hour or a longer unit, after their span; ``None`` without any time.

    Needs the scope priced (`forkpoint.analysis.costs.price_scope`).
    """
    first, last, untimed = store.rows(
        f"SELECT min(started_at) FILTER (WHERE {DATED}), max(started_at) FILTER (WHERE {DATED}), "
        f"count(*) FILTER (WHERE NOT coalesce({DATED}, false)) FROM scope_calls"
    )[0]
    if first is None:
        return None
    unit = _unit(last - first)
    # Money is added as decimals: the sum of doubles depends on the order that threads add them in.
    rows = store.rows(
        f"""
        SELECT date_trunc('{unit}', started_at)::TIMESTAMP AS start, count(*), count(cost_usd),
               sum(cost_usd::DECIMAL(28, 12))::DOUBLE,
               coalesce(sum(input_tokens), 0)::BIGINT,
               sum(cache_read_tokens) FILTER (WHERE input_tokens IS NOT NULL)
                   / nullif(sum(input_tokens) FILTER (WHERE cache_read_tokens IS NOT NULL), 0)
        FROM scope_calls JOIN scope_costs USING (call_no)
        WHERE {DATED} GROUP BY start ORDER BY start
        """
    )
    return TimeSeries(unit, tuple(TimeBin(*row) for row in rows), untimed)


def _unit(span: timedelta) -> str:
    fitting = (name for name, length in _UNITS.items() if span <= MOST_BINS * length)
    return next(fitting, "decade")

"""What each run cost, for the report's table: the first question about a surprising bill."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np

from forkpoint.analysis.cache import Missed, sum_usd
from forkpoint.analysis.store import Store

TOP_RUNS = 100


@dataclass(frozen=True, slots=True)
class Run:
    """One trace: the calls of an agent run, those of its subagents apart."""

    trace_id: str
    project: str | None
    models: tuple[str, ...]
    """By name."""
    begun_at: datetime | None
    """UTC; ``None``: no call of it has a time."""
    calls: int
    input_tokens: int
    output_tokens: int
    hit_rate: float | None
    """Cache-read tokens over input tokens, of calls that state both."""
    cost_usd: float | None
    """Of the priced calls; ``None``: none has a price."""
    unpriced_calls: int
    missed_tokens: int | None
    """Sent before, and paid for again. ``None``: no call of it states its cache reads."""
    missed_usd: float | None
    path: str
    """Of its first call."""
    line: int


@dataclass(frozen=True, slots=True)
class Runs:
    """The dearest runs of a scope."""

    count: int
    """All that state any token counts."""
    top: tuple[Run, ...]
    """At most `TOP_RUNS`, by cost, then by tokens."""


def measure_runs(store: Store, missed: Missed) -> Runs | None:
    """The dearest traces in scope; ``None`` where no call states its tokens.

    Needs the scope priced (`forkpoint.analysis.costs.price_scope`).
    """
    # Money is added as decimals: the sum of doubles depends on the order that threads add them in.
    rows = store.rows(
        """
        SELECT count(*) OVER (), trace_id, list(call_no),
               any_value(project), list_sort(list(DISTINCT model) FILTER (WHERE model IS NOT NULL)),
               min(started_at), count(*),
               coalesce(sum(input_tokens), 0)::BIGINT AS input,
               coalesce(sum(output_tokens), 0)::BIGINT AS output,
               sum(cache_read_tokens) FILTER (WHERE input_tokens IS NOT NULL)
                   / nullif(sum(input_tokens) FILTER (WHERE cache_read_tokens IS NOT NULL), 0),
               sum(cost_usd::DECIMAL(28, 12))::DOUBLE AS cost, count(*) - count(cost_usd),
               arg_min(path, call_no), arg_min(line, call_no)
        FROM scope_calls JOIN scope_costs USING (call_no) JOIN scope_sources USING (source_id)
        GROUP BY trace_id
        HAVING count(input_tokens) + count(output_tokens) > 0
        ORDER BY cost DESC NULLS LAST, input + output DESC, trace_id
        LIMIT ?
        """,
        [TOP_RUNS],
    )
    if not rows:
        return None
    return Runs(rows[0][0], tuple(_run(row[1:], missed) for row in rows))


def _run(row: tuple[Any, ...], missed: Missed) -> Run:
    trace, calls, project, models, begun, n, sent, got, hit_rate, cost, unpriced, path, line = row
    of_run = np.array(calls, dtype=np.int64)
    known = bool(missed.reported[of_run].any())
    return Run(
        trace_id=trace,
        project=project,
        models=tuple(models or ()),
        begun_at=begun,
        calls=n,
        input_tokens=sent,
        output_tokens=got,
        hit_rate=hit_rate,
        cost_usd=cost,
        unpriced_calls=unpriced,
        missed_tokens=int(missed.tokens[of_run].sum()) if known else None,
        missed_usd=sum_usd(missed.usd[of_run]) if known else None,
        path=path,
        line=line,
    )

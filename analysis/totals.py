"""Sums over the calls in scope: tokens as billed, money as priced."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from forkpoint.analysis.results import FormatCount, GroupRow, Sources, Totals
from forkpoint.analysis.scope import DATED
from forkpoint.analysis.store import Store
from forkpoint.errors import ForkpointError

BY = {
    "day": f"CASE WHEN {DATED} THEN strftime(started_at, '%Y-%m-%d') END",
    "session": "trace_id",
    "model": "model",
    "project": "project",
    "agent": "agent",
    "format": "format",
    "group": "group_id",
}
"""What ``--by`` may name, and the column that makes its rows."""

# Money is added as decimals: the sum of doubles depends on the order that threads add them in.
_SUMS = """
    count(*) AS calls,
    count(DISTINCT trace_id) AS traces,
    count(DISTINCT group_id) AS groups,
    count(DISTINCT trace_id) FILTER (WHERE group_id IS NOT NULL) AS rollouts,
    coalesce(sum(input_tokens), 0)::BIGINT AS input_tokens,
    coalesce(sum(input_tokens - coalesce(cache_read_tokens, 0) - coalesce(cache_write_tokens, 0)),
             0)::BIGINT AS uncached_input_tokens,
    coalesce(sum(cache_read_tokens), 0)::BIGINT AS cache_read_tokens,
    coalesce(sum(cache_write_tokens), 0)::BIGINT AS cache_write_tokens,
    coalesce(sum(cache_write_tokens - coalesce(cache_write_1h_tokens, 0))
             FILTER (WHERE five_minute_writes), 0)::BIGINT AS cache_write_5m_tokens,
    coalesce(sum(cache_write_1h_tokens), 0)::BIGINT AS cache_write_1h_tokens,
    coalesce(sum(output_tokens), 0)::BIGINT AS output_tokens,
    coalesce(sum(reasoning_tokens), 0)::BIGINT AS reasoning_tokens,
    coalesce(sum(cost_usd::DECIMAL(28, 12)), 0)::DOUBLE AS cost_usd,
    count(cost_usd) AS priced_calls,
    count(*) - count(cost_usd) AS unpriced_calls,
    coalesce(list_sort(list(DISTINCT model) FILTER (
        WHERE cost_usd IS NULL AND model IS NOT NULL
          AND input_tokens IS NOT NULL AND output_tokens IS NOT NULL)), []) AS unpriced_models,
    count(*) FILTER (WHERE input_tokens IS NULL AND output_tokens IS NULL) AS calls_without_usage,
    sum(cache_read_tokens) FILTER (WHERE input_tokens IS NOT NULL)
        / nullif(sum(input_tokens) FILTER (WHERE cache_read_tokens IS NOT NULL), 0) AS hit_rate,
    sum(cache_read_tokens) FILTER (WHERE input_tokens IS NOT NULL)
        / nullif(sum(input_tokens + coalesce(output_tokens, 0))
                 FILTER (WHERE cache_read_tokens IS NOT NULL), 0) AS cache_read_share
"""

# Lifetimes are Anthropic's; other providers' cache writes have neither of the two.
_COSTED = """
    (SELECT scope_calls.*, scope_costs.* EXCLUDE (call_no),
            cache_write_1h_tokens IS NOT NULL
            OR provider IN ('anthropic', 'aws', 'google')
            OR contains(lower(coalesce(model, '')), 'claude') AS five_minute_writes
     FROM scope_calls JOIN scope_costs USING (call_no))
"""


def measure_totals(store: Store) -> tuple[Totals, float | None, float | None]:
    """(totals, hit rate, cache-read share) of all calls in scope."""
    row = store.execute(f"SELECT {_SUMS} FROM {_COSTED}").fetchone()
    assert row is not None
    totals, hit_rate, share = _split(row)
    groups, rollouts, traces = store.rows(
        """
        SELECT count(DISTINCT group_id), count(DISTINCT trace_id) FILTER (WHERE group_id IS NOT NULL),
               (SELECT count(*) FROM (SELECT trace_id FROM scope_traces WHERE leaf IS NOT NULL
                                      UNION SELECT trace_id FROM scope_calls))
        FROM scope_traces
        """
    )[0]
    return _with_traces(totals, traces, groups, rollouts), hit_rate, share


def measure_groups(store: Store, by: str) -> tuple[GroupRow, ...]:
    """Totals per value of `by`, most expensive first; days in order.

    Raises:
        ForkpointError: `by` is not one of `BY`.
    """
    if by not in BY:
        raise ForkpointError(f"--by takes one of {', '.join(BY)}, not {by!r}")
    order = "key" if by == "day" else "cost_usd DESC, input_tokens + output_tokens DESC, key"
    rows = store.rows(
        f"FROM (SELECT coalesce(({BY[by]})::VARCHAR, '(none)') AS key, {_SUMS} FROM {_COSTED} "
        f"GROUP BY key) ORDER BY {order}"
    )
    found = []
    for key, *sums in rows:
        totals, hit_rate, share = _split(tuple(sums))
        found.append(GroupRow(key, totals, hit_rate, share))
    return tuple(found)


def _split(row: tuple[Any, ...]) -> tuple[Totals, float | None, float | None]:
    *sums, hit_rate, share = row
    names = list(Totals.__dataclass_fields__)
    values = dict(zip(names, sums, strict=True))
    values["unpriced_models"] = tuple(values["unpriced_models"])
    return Totals(**values), hit_rate, share


def _with_traces(totals: Totals, traces: int, groups: int, rollouts: int) -> Totals:
    return replace(totals, traces=traces, groups=groups, rollouts=rollouts)


def measure_sources(store: Store) -> Sources:
    """The files in scope, by format."""
    rows = store.rows(
        """
        SELECT format, count(*), sum(greatest(n_bytes, 0))::BIGINT,
               sum(merged)::BIGINT, sum(unlisted_tokens)::BIGINT, sum(coalesce(n_calls, 0))::BIGINT,
               sum(coalesce(n_issues, 0))::BIGINT
        FROM scope_sources
        LEFT JOIN (SELECT source_id, count(*) AS n_calls FROM calls GROUP BY source_id)
            USING (source_id)
        LEFT JOIN (SELECT source_id, count(*) AS n_issues FROM issues GROUP BY source_id)
            USING (source_id)
        WHERE NOT deleted GROUP BY format ORDER BY format
        """
    )
    known = [row for row in rows if row[0] is not None]
    unknown = [row for row in rows if row[0] is None]
    deleted = store.value("SELECT count(*) FROM scope_sources WHERE deleted AND format IS NOT NULL")
    return Sources(
        files=sum(files for _, files, *_ in known),
        bytes=sum(n_bytes for _, _, n_bytes, *_ in known),
        issues=sum(issues for *_, issues in rows),
        by_format={
            name: FormatCount(files, calls, issues, merged, unlisted)
            for name, files, _, merged, unlisted, calls, issues in known
        },
        unknown_files=sum(files for _, files, *_ in unknown),
        deleted_files=deleted,
    )

"""``--format csv``: the rows of ``--by``, or one row with the totals."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import fields
from typing import Any, TextIO

from forkpoint.analysis.results import GroupRow, Report, Totals
from forkpoint.cli.answer import has_usage, ordered_groups, paid_usd
from forkpoint.cli.json_report import exact
from forkpoint.cli.text import csv_text

_TOTAL_FIELDS = tuple(field.name for field in fields(Totals))
COLUMNS = ("key", *_TOTAL_FIELDS, "hit_rate", "cache_read_share")


class CsvReporter:
    """One row per key of ``--by``; without it, one row named ``total``."""

    kind = "csv"

    def render(self, report: Report, out: TextIO) -> None:
        """Write the rows, under a header with the units."""
        whole = GroupRow(
            "total", report.totals, report.cache.hit_rate, report.cache.cache_read_share
        )
        rows = ordered_groups(report) if report.by else [whole]
        write_csv(COLUMNS, (_cells(row) for row in rows), out)


def _cells(row: GroupRow) -> list[Any]:
    totals = [_total(row.totals, name) for name in _TOTAL_FIELDS]
    return [row.key, *totals, exact(row.hit_rate), exact(row.cache_read_share)]


def _total(totals: Totals, name: str) -> Any:
    if name == "unpriced_models":
        return "; ".join(sorted(totals.unpriced_models))
    if name == "cost_usd":
        return exact(paid_usd(totals), name)
    unknown = name.endswith("_tokens") and not has_usage(totals)
    return None if unknown else getattr(totals, name)


def write_csv(header: Sequence[str], rows: Iterable[Sequence[Any]], out: TextIO) -> None:
    """Write cells as RFC 4180 has them. Texts are made harmless, missing values are empty."""
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([csv_text(name) for name in header])
    for row in rows:
        writer.writerow([_cell(value) for value in row])


def _cell(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float):
        return value
    return csv_text(str(value))

"""``forkpoint sql``: one query on the store, read-only, with no way out of it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from itertools import islice
from typing import Any, TextIO
from uuid import UUID

import duckdb
from rich.cells import cell_len

from forkpoint.analysis.store import Store
from forkpoint.cli.csv_report import write_csv
from forkpoint.cli.json_report import write_json
from forkpoint.cli.layout import bold, fit, grid, output_width, pad, print_lines
from forkpoint.cli.options import RowsFormat
from forkpoint.cli.text import plain
from forkpoint.errors import ForkpointError

MAX_TABLE_ROWS = 200
_MAX_CELL = 120
_MIN_WIDEST = 20
"""Cells that the widest column keeps at least, or rows are written one value to a line."""
_FETCH_ROWS = 2048

# No files, no network, no extensions, no variables of this process; and no way to undo that.
_LOCKS = (
    "SET enable_external_access = false",
    "SET python_enable_replacements = false",
    "SET lock_configuration = true",
)


@dataclass(frozen=True)
class Answer:
    """The result of a query, fetched as it is written."""

    columns: list[str]
    rows: Iterator[tuple[Any, ...]]


def query(store: Store, sql: str) -> Answer:
    """Run a query on a store that was opened read-only.

    Raises:
        ForkpointError: the query fails, or there is none.
    """
    try:
        for lock in _LOCKS:
            store.execute(lock)
        result = store.execute(sql)
        described = None if result is None else result.description
        if not described:
            raise ForkpointError('there is no query: try forkpoint sql "SHOW TABLES"')
        return Answer(_distinct([column[0] for column in described]), _rows(result))
    except duckdb.Error as error:
        raise ForkpointError(_first_line(error)) from error


def _rows(result: duckdb.DuckDBPyConnection) -> Iterator[tuple[Any, ...]]:
    while True:
        try:
            rows = result.fetchmany(_FETCH_ROWS)
        except duckdb.Error as error:
            raise ForkpointError(_first_line(error)) from error
        if not rows:
            return
        yield from rows


def _first_line(error: duckdb.Error) -> str:
    """DuckDB's message without the picture of the query below it."""
    return " ".join(str(error).partition("\n\nLINE ")[0].split())


def _distinct(names: Sequence[str]) -> list[str]:
    """Column names with repeated ones numbered, so that no value hides another in JSON."""
    seen: set[str] = set()
    found = []
    for name in names:
        unique, n = name, 1
        while unique in seen:
            n += 1
            unique = f"{name}_{n}"
        seen.add(unique)
        found.append(unique)
    return found


def write_answer(answer: Answer, form: RowsFormat, out: TextIO) -> None:
    """Write all rows, or as many as a table can be read with."""
    if form is RowsFormat.CSV:
        write_csv(answer.columns, (_plain_row(row) for row in answer.rows), out)
    elif form is RowsFormat.JSON:
        rows = [dict(zip(answer.columns, _plain_row(row), strict=True)) for row in answer.rows]
        write_json(rows, out)
    else:
        _write_table(answer, out)


def _write_table(answer: Answer, out: TextIO) -> None:
    width = output_width(out)
    rows = [
        [_cell_text(value) for value in _plain_row(row)]
        for row in islice(answer.rows, MAX_TABLE_ROWS)
    ]
    more = next(answer.rows, None) is not None
    table = [[plain(name, _MAX_CELL) for name in answer.columns], *rows]
    widths = [max(cell_len(cell) for cell in column) for column in zip(*table, strict=True)]
    widest = widths.index(max(widths))
    least = sum(widths) - max(0, widths[widest] - _MIN_WIDEST) + 2 * (len(widths) - 1)
    if least > width:
        lines = _records(table, width)
    else:
        lines = grid(table, width, numbers=_number_columns(rows), flexible=widest)
    if more:
        lines.append(fit(f"only the first {MAX_TABLE_ROWS} rows (--format csv has all)", width))
    print_lines([bold(lines[0]), *lines[1:]], out)


def _records(table: Sequence[Sequence[str]], width: int) -> list[str]:
    """Rows too wide for columns: one line for each value."""
    header, *rows = table
    name_width = max(cell_len(name) for name in header)
    lines = []
    for number, row in enumerate(rows, 1):
        lines.append(f"row {number}")
        lines += [
            fit(f"  {pad(name, name_width)}  {cell}", width)
            for name, cell in zip(header, row, strict=True)
        ]
    return lines or [fit("no rows", width)]


def _number_columns(rows: Sequence[Sequence[str]]) -> set[int]:
    def is_number(text: str) -> bool:
        return text == "–" or text.replace(",", "").lstrip("-").replace(".", "", 1).isdigit()

    columns = range(len(rows[0])) if rows else range(0)
    return {n for n in columns if all(is_number(row[n]) for row in rows)}


def _cell_text(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return str(value).lower()
    return plain(str(value), _MAX_CELL)


def _plain_row(row: Sequence[Any]) -> list[Any]:
    return [as_plain(value) for value in row]


def as_plain(value: Any) -> Any:
    """A DuckDB value as JSON knows it: numbers exact, times in ISO form, bytes as hex digits."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value).hex()
    if isinstance(value, dict):
        return {str(key): as_plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple | set):
        return [as_plain(each) for each in value]
    return str(value)

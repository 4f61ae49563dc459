"""``forkpoint export``: tables as CSV or Parquet files, each whole or not there at all."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import duckdb
import numpy as np

from forkpoint.analysis.export import FLAG, MONEY, TABLES, TEXT, TIME, Column, Table
from forkpoint.analysis.store import Store
from forkpoint.cli.layout import output_width, pad, print_lines, shown_path
from forkpoint.cli.numbers import count
from forkpoint.cli.text import csv_text
from forkpoint.errors import ForkpointError

CSV, PARQUET = "csv", "parquet"
_HARMLESS = "[ -~]*"
_FORMULA = "^ *[-=+@]"
_KINDS = {
    TEXT: "text",
    "BIGINT": "integer",
    "DOUBLE": "number",
    FLAG: "true or false",
    TIME: "UTC time",
    MONEY: "USD, 12 decimals",
}
_TYPES_PAGE_HEAD = "| Column | Holds | Meaning |\n| --- | --- | --- |"


@dataclass(frozen=True, slots=True)
class Target:
    """A folder to write tables to, in one format."""

    folder: Path
    form: str

    def file(self, table: Table) -> Path:
        """Where a table goes."""
        return self.folder / f"{table.name}.{self.form}"


def check_targets(targets: Sequence[Target], *, force: bool) -> None:
    """Refuse, before any work is done, folders that may not be written to.

    Raises:
        ForkpointError: one is a file, or holds a table already and `force` is not given.
    """
    for target in targets:
        if target.folder.exists() and not target.folder.is_dir():
            raise ForkpointError(f"{target.folder} is a file: name a folder")
        for table in TABLES:
            file = target.file(table)
            if file.is_dir():
                raise ForkpointError(f"{file} is a folder")
            if file.exists() and not force:
                raise ForkpointError(f"{file} exists: --force replaces it")


def write_tables(store: Store, targets: Sequence[Target]) -> dict[Path, int]:
    """Write all tables, which `forkpoint.analysis.export.build_tables` made.

    All are written beside their places first, then moved there: a failure leaves what was there.

    Returns:
        The files, each with its number of rows.

    Raises:
        ForkpointError: one cannot be written.
    """
    places: dict[Path, Path] = {}
    rows = {table.name: _count(store, table) for table in TABLES}
    try:
        with _rows_in_order(store):
            for target in targets:
                _write_all(store, target, places)
        for unfinished, file in places.items():
            unfinished.replace(file)
    except (OSError, duckdb.Error) as error:
        raise ForkpointError(f"cannot write the export: {_reason(error)}") from error
    finally:
        for unfinished in places:
            unfinished.unlink(missing_ok=True)
    return {target.file(table): rows[table.name] for target in targets for table in TABLES}


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror.lower()}"
    return " ".join(str(error).split())


def _write_all(store: Store, target: Target, places: dict[Path, Path]) -> None:
    target.folder.mkdir(parents=True, exist_ok=True)
    for table in TABLES:
        file = target.file(table)
        unfinished = file.with_name(f".{file.name}.{os.getpid()}.unfinished")
        places[unfinished] = file.resolve()
        _copy(store, table, target.form, unfinished)


@contextmanager
def _rows_in_order(store: Store) -> Iterator[None]:
    store.execute("SET preserve_insertion_order = true")
    try:
        yield
    finally:
        store.execute("SET preserve_insertion_order = false")


def _count(store: Store, table: Table) -> int:
    return int(store.value(f"SELECT count(*) FROM {table.relation}"))


def _copy(store: Store, table: Table, form: str, file: Path) -> None:
    try:
        str(file).encode()
    except UnicodeEncodeError as error:
        raise ForkpointError(f"{file}: a folder whose name is no UTF-8 text") from error
    if form == PARQUET:
        selected, options = "*", "FORMAT parquet, COMPRESSION zstd"
    else:
        _stage_mended_texts(store, table)
        selected = ", ".join(_csv_cell(column) for column in table.columns)
        options = "FORMAT csv, HEADER true"
    place = str(file.resolve()).replace("'", "''")
    ordered = f"FROM (FROM {table.relation} ORDER BY {table.order}) AS rows SELECT {selected}"
    store.execute(f"COPY ({ordered}) TO '{place}' ({options})")


def _csv_cell(column: Column) -> str:
    """SQL: a cell as text that no spreadsheet runs, a time in ISO form, or a plain number."""
    if column.type == TEXT:
        mended = f"(SELECT shown FROM mended_texts WHERE text = rows.{column.name})"
        return f"coalesce({mended}, {column.name}) AS {column.name}"
    if column.type == TIME:
        return f"strftime({column.name}, '%Y-%m-%dT%H:%M:%S.%fZ') AS {column.name}"
    return column.name


def _stage_mended_texts(store: Store, table: Table) -> None:
    """Fill ``mended_texts``: each text of the table that a CSV cell cannot hold as it is.

    Nearly all are plain and pass through DuckDB alone; only the rest, each once, comes here.
    """
    texts = [column.name for column in table.columns if column.type == TEXT]
    unions = " UNION ".join(
        f"SELECT {name} AS text FROM {table.relation} WHERE NOT regexp_full_match({name}, "
        f"'{_HARMLESS}') OR regexp_matches({name}, '{_FORMULA}')"
        for name in texts
    )
    found = [text for (text,) in store.rows(unions)]
    staged = {
        "text": np.array(found, dtype=object),
        "shown": np.array([csv_text(text) for text in found], dtype=object),
    }
    store.connection.register("staged_texts", staged)
    try:
        store.execute(
            "CREATE OR REPLACE TEMP TABLE mended_texts AS "
            "SELECT text::VARCHAR AS text, shown::VARCHAR AS shown FROM staged_texts"
        )
    finally:
        store.connection.unregister("staged_texts")


def write_exported(files: dict[Path, int], pages: Iterable[Path], out: TextIO) -> None:
    """Say what was written."""
    shown = [(shown_path(str(file)), count(n, "row")) for file, n in files.items()]
    width = max((len(path) for path, _ in shown), default=0)
    lines = [f"{pad(path, min(width, output_width(out)))}  {n}" for path, n in shown]
    print_lines([*lines, *(shown_path(str(page)) for page in pages)], out)


def columns_page() -> str:
    """Every table and column, as the docs list them."""
    parts = []
    for table in TABLES:
        rows = [
            f"| `{column.name}` | {_KINDS[column.type]} | {column.meaning} |"
            for column in table.columns
        ]
        parts.append(
            "\n".join([f"## {table.name}", "", table.meaning, "", _TYPES_PAGE_HEAD, *rows])
        )
    return "\n\n".join(parts) + "\n"

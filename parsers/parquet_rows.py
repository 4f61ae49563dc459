"""Parquet files, row by row, in bounded memory.

DuckDB reads them: it decodes a few thousand rows at a time and keeps to a memory limit, so that
pages which unpack to more than this machine holds are an error, not the end of the process.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Self

from forkpoint.parsers.logs import MAX_DOCUMENT_BYTES, describe

_ROWS_AT_ONCE = 64
"""Rows that are Python objects at one time: a row of a hostile file may be as large as the limit."""
_GLOB = re.compile(r"[*?\[]")


class ParquetRows:
    """One Parquet file, open for reading.

    Raises:
        ValueError: it cannot be read.
    """

    def __init__(self, path: Path) -> None:
        import duckdb

        # RuntimeError: what DuckDB says of a damaged file quotes bytes that are no text.
        self._errors = (duckdb.Error, RuntimeError)
        settings: dict[str, str | bool | int | float | list[str]] = {
            "memory_limit": f"{MAX_DOCUMENT_BYTES}B",
            "threads": 1,
            "temp_directory": "",
            "autoload_known_extensions": False,
            "autoinstall_known_extensions": False,
        }
        self._connection = duckdb.connect(":memory:", config=settings)
        # A path is a pattern to DuckDB; in brackets, its wildcards stand for themselves.
        self._path = _GLOB.sub(r"[\g<0>]", str(path.absolute()))
        try:
            found = self._query("*", "LIMIT 0").description
        except RuntimeError as error:
            self._connection.close()
            raise ValueError("a column's name is not valid UTF-8") from error
        except BaseException:
            self._connection.close()
            raise
        self.columns = {str(name): str(type_) for name, type_, *_ in found}
        """Names and DuckDB's types."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def select(self, names: Sequence[str]) -> Iterator[tuple[Any, ...]]:
        """The values of these columns, row by row. One selection can be read at a time.

        Raises:
            ValueError: the rest cannot be read.
        """
        quoted = ", ".join('"{}"'.format(name.replace('"', '""')) for name in names)
        result = self._query(quoted)
        while True:
            try:
                rows = result.fetchmany(_ROWS_AT_ONCE)
            except self._errors as error:
                raise ValueError(describe(error)) from error
            if not rows:
                return
            yield from rows

    def _query(self, columns: str, end: str = "") -> Any:
        try:
            return self._connection.execute(
                f"SELECT {columns} FROM read_parquet($1) {end}", [self._path]
            )
        except self._errors as error:
            raise ValueError(describe(error)) from error

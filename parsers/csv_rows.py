"""CSV files, record by record, each with its place in the file."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

from forkpoint.parsers.logs import MAX_RECORD_BYTES, Line, describe, open_log
from forkpoint.parsers.records import Issue

_DELIMITERS = ",\t;"
_READ_ERRORS = (OSError, EOFError, ValueError)


def header_of(head: bytes) -> list[str]:
    """The column names in the first line of a file; empty if that is no line of names."""
    line, end, _ = head.partition(b"\n")
    if not end or line.lstrip().startswith((b"{", b"[")):
        return []
    try:
        text = line.decode("utf-8-sig").rstrip("\r")
        names = next(csv.reader([text], delimiter=_delimiter(text), strict=True), [])
    except (UnicodeDecodeError, csv.Error):
        return []
    return [name.strip() for name in names]


def _delimiter(header: str) -> str:
    return max(_DELIMITERS, key=header.count)


class CsvRows:
    """One CSV file's records below its header.

    A record may take several lines: its place is its first line. `end` is the first byte not read.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.end = 0
        self._number = 0
        self._begins = (1, 0)
        """Line and offset of the record being read."""

    def __iter__(self) -> Iterator[tuple[Line, dict[str, str]] | Issue]:
        """Yield each record by column name, and an issue for each that is not one."""
        # A field may be as long as a line of any other log.
        csv.field_size_limit(MAX_RECORD_BYTES)
        lines = self._lines()
        try:
            first = next(lines, "")
            # Strict, so that a field without an end, where a file is cut off, is an error.
            rows = csv.reader(lines, delimiter=_delimiter(first), strict=True)
            yield from self._records(rows, header_of(first.encode()))
        except _READ_ERRORS as error:
            yield Issue(line=self._number + 1, offset=self.end, reason=describe(error))

    def _records(
        self, rows: Iterator[list[str]], names: list[str]
    ) -> Iterator[tuple[Line, dict[str, str]] | Issue]:
        while True:
            self._begins = (self._number + 1, self.end)
            try:
                values = next(rows, None)
            except csv.Error as error:
                yield self._place().issue(error)
                continue
            if values is None:
                return
            if not values:
                continue
            if len(values) != len(names):
                yield self._place().issue(f"{len(values)} fields for {len(names)} columns")
                continue
            yield self._place(), dict(zip(names, values, strict=True))

    def _place(self) -> Line:
        line, offset = self._begins
        return Line(b"", line, offset)

    def _lines(self) -> Iterator[str]:
        with open_log(self._path) as stream:
            while data := stream.readline(MAX_RECORD_BYTES):
                self._number += 1
                self.end += len(data)
                yield data.decode("utf-8-sig" if self._number == 1 else "utf-8", "replace")

"""Reading log files: plain, gzip or Zstandard; by records with their places; never by trust.

Every reader states where a record stands (line and byte offset in the decompressed log), so that
each number can be traced back to the bytes it came from.
"""

from __future__ import annotations

import gzip
import io
import json
import re
import sqlite3
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, TypeVar, cast

import msgspec
import zstandard

from forkpoint.parsers.records import Issue, Record

HEAD_BYTES = 64 * 1024
"""How much of a file `identify` sees."""
MAX_RECORD_BYTES = 64 * 1024 * 1024
"""A longer line is an issue: it would have to be held in memory whole."""
MAX_DOCUMENT_BYTES = 1024 * 1024 * 1024
"""A longer single-document file is an issue, for the same reason."""

T = TypeVar("T")

_ENDINGS = re.compile(r"(?:\.(?:gz|zst|json|jsonl|ndjson|csv|parquet|traj))+$")
_GZIP_MAGIC = b"\x1f\x8b"
_ZIP_MAGIC = b"PK\x03\x04"
_PARQUET_MAGIC = b"PAR1"
_SQLITE_MAGIC = b"SQLite format 3\0"
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_READ_ERRORS = (OSError, EOFError, zlib.error, zstandard.ZstdError)


class UnreadableLog(Exception):
    """The file cannot be opened or decompressed. The text says why, in one line."""


def open_log(path: Path) -> BinaryIO:
    """Open a log for reading as decompressed bytes; the compression goes by content, not by name.

    Raises:
        OSError: the file cannot be opened.
    """
    raw = open(path, "rb")  # noqa: SIM115 - the caller closes it
    magic = raw.read(4)
    raw.seek(0)
    if magic.startswith(_GZIP_MAGIC):
        return cast(BinaryIO, gzip.GzipFile(fileobj=raw))
    if magic == _ZSTD_MAGIC:
        reader = zstandard.ZstdDecompressor().stream_reader(
            raw, read_across_frames=True, closefd=True
        )
        return cast(BinaryIO, io.BufferedReader(reader, 1 << 20))
    return raw


def is_compressed(path: Path) -> bool:
    """Whether the file's bytes are gzip or Zstandard, so that it cannot be read from the middle."""
    with open(path, "rb") as raw:
        magic = raw.read(4)
    return magic.startswith(_GZIP_MAGIC) or magic == _ZSTD_MAGIC


@dataclass(frozen=True)
class Head:
    """The beginning of a file, for identification."""

    path: Path
    data: bytes
    """At most `HEAD_BYTES` decompressed bytes."""

    @cached_property
    def lines(self) -> list[bytes]:
        """Non-blank lines of the head that are certainly whole."""
        lines = self.data.split(b"\n")
        if len(self.data) >= HEAD_BYTES:
            lines.pop()
        return [line for line in lines if line.strip()]

    @property
    def is_cut(self) -> bool:
        """Whether the first line is longer than the head."""
        return len(self.data) >= HEAD_BYTES and not self.lines

    @cached_property
    def objects(self) -> list[dict[str, Any]]:
        """The JSON objects among the first 32 lines, decoded. Lines that are not are left out."""
        found = []
        for line in self.lines[:32]:
            try:
                value = msgspec.json.decode(line)
            except (msgspec.MsgspecError, ValueError, RecursionError):
                continue
            if isinstance(value, dict):
                found.append(value)
        return found

    @cached_property
    def document(self) -> Any:
        """The whole file as one JSON value, if it ends within the head; else ``None``."""
        if len(self.data) >= HEAD_BYTES:
            return None
        try:
            return msgspec.json.decode(self.data)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            return None

    @cached_property
    def zip_members(self) -> tuple[str, ...]:
        """Names in a zip archive, from the directory at its end; empty for any other file."""
        if not self.data.startswith(_ZIP_MAGIC):
            return ()
        try:
            with zipfile.ZipFile(self.path) as archive:
                return tuple(archive.namelist())
        except (OSError, ValueError, zipfile.BadZipFile, NotImplementedError):
            return ()

    @cached_property
    def parquet_columns(self) -> tuple[str, ...]:
        """Column names of a Parquet file, from the schema at its end; empty for any other file."""
        if not self.data.startswith(_PARQUET_MAGIC):
            return ()
        import polars as pl

        try:
            return tuple(pl.read_parquet_schema(self.path))
        except (OSError, pl.exceptions.PolarsError, pl.exceptions.PanicException):
            return ()  # The last is what polars does on some damaged files, and no `Exception`.

    @cached_property
    def sqlite_tables(self) -> dict[str, str]:
        """Tables of a SQLite file by name, each with the SQL that made it; empty for any other."""
        if not self.data.startswith(_SQLITE_MAGIC):
            return {}
        try:
            with open_sqlite(self.path) as connection:
                rows = connection.execute(
                    "SELECT name, sql FROM sqlite_schema WHERE type = 'table' LIMIT 1000"
                ).fetchall()
        except (sqlite3.Error, UnicodeDecodeError):
            return {}
        return {str(name): str(sql) for name, sql in rows}


@contextmanager
def open_sqlite(path: Path) -> Iterator[sqlite3.Connection]:
    """Open a database that another program may be writing, for reading only.

    Raises:
        sqlite3.Error: it cannot be opened.
    """
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
    try:
        # What the file's own schema may call (functions, virtual tables) is not trusted.
        connection.execute("PRAGMA trusted_schema = OFF")
        yield connection
    finally:
        connection.close()


def data_set_name(path: Path) -> str:
    """A log's name without the endings of logs and of compression.

    >>> data_set_name(Path("runs/airline.jsonl.gz"))
    'airline'
    """
    return _ENDINGS.sub("", path.name) or path.name


def read_head(path: Path) -> Head:
    """Read the beginning of a file.

    Raises:
        UnreadableLog: it cannot be opened or decompressed.
    """
    try:
        with open_log(path) as stream:
            return Head(path, stream.read(HEAD_BYTES))
    except _READ_ERRORS as error:
        raise UnreadableLog(describe(error)) from error


def describe(error: BaseException) -> str:
    """An exception as one short line, without paths that the reader already has."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    if isinstance(error, RecursionError):
        return "nested too deeply"
    if isinstance(error, UnicodeDecodeError):
        return "not valid UTF-8"
    text = " ".join(str(error).split())
    if text[:1].isupper() and not text[1:2].isupper():  # "Expected …", but not "JSON is …"
        text = text[0].lower() + text[1:]
    return text[:200] or type(error).__name__


@dataclass(slots=True)
class Line:
    """One record of a line-oriented log."""

    data: bytes
    line: int
    offset: int

    def issue(self, reason: str | BaseException) -> Issue:
        """This record as an issue."""
        text = reason if isinstance(reason, str) else describe(reason)
        return Issue(line=self.line, offset=self.offset, reason=text)


@dataclass
class Log:
    """One log file being read.

    `offset` is where the record being read begins; `end` is the first byte not yet consumed, to
    go on from when the file has grown.
    """

    path: Path
    start: int = 0
    """Byte offset to read from; 0 for a compressed file."""
    first_line: int = 1
    """Line number of the record at `start`."""
    checkpoint: bytes = b""
    offset: int = field(default=0, init=False)
    end: int = field(default=0, init=False)
    next_line: int = field(default=1, init=False)
    truncated: bool = field(default=False, init=False)
    """The last line has no line end, so it may still be being written."""
    merged: int = field(default=0, init=False)
    """Records that described a call once more, in another layer of the program that logged it, and were
    not counted. The parser counts them here."""
    unlisted_tokens: int = field(default=0, init=False)
    """Tokens, input and output, that totals in the log state beyond the calls it lists. See
    `forkpoint.parsers.stated_totals`."""
    stop_after: int | None = None
    """Read only the records that begin before this offset."""

    def head(self) -> Head | Issue:
        """The beginning of the file."""
        try:
            return read_head(self.path)
        except UnreadableLog as error:
            return Issue(line=1, offset=0, reason=str(error))

    def lines(self) -> Iterator[Line | Issue]:
        """Yield non-blank lines, and an issue for each one that is too long or cannot be read."""
        self.end, self.next_line = self.start, self.first_line
        try:
            with open_log(self.path) as stream:
                _skip_to(stream, self.start)
                yield from self._read_lines(stream)
        except _READ_ERRORS as error:
            yield Issue(line=self.next_line, offset=self.end, reason=describe(error))

    def _read_lines(self, stream: BinaryIO) -> Iterator[Line | Issue]:
        readline = stream.readline
        while data := readline(MAX_RECORD_BYTES):
            offset, number = self.end, self.next_line
            if self.stop_after is not None and offset >= self.stop_after:
                return
            self.offset = offset
            if data[-1] != 10:
                if len(data) == MAX_RECORD_BYTES:
                    yield Issue(
                        line=number,
                        offset=offset,
                        reason=f"line longer than {MAX_RECORD_BYTES >> 20} MiB",
                    )
                    self.end += len(data) + _skip_line(stream)
                    self.next_line += 1
                    continue
                self.truncated = True
            self.end = offset + len(data)
            self.next_line = number + 1
            if not data.isspace():
                yield Line(data, number, offset)

    def document(self) -> bytes | Issue:
        """The whole file, for formats that are one JSON value."""
        try:
            with open_log(self.path) as stream:
                data = stream.read(MAX_DOCUMENT_BYTES + 1)
        except _READ_ERRORS as error:
            return Issue(line=1, offset=0, reason=describe(error))
        if len(data) > MAX_DOCUMENT_BYTES:
            return Issue(
                line=1, offset=0, reason=f"document larger than {MAX_DOCUMENT_BYTES >> 20} MiB"
            )
        self.end = len(data)
        return data


def _skip_to(stream: BinaryIO, offset: int) -> None:
    """Go forward from the beginning; a decompressing stream has to read its way there."""
    if isinstance(stream, io.BufferedReader) and isinstance(stream.raw, io.FileIO):
        stream.seek(offset)
        return
    while offset > 0 and (skipped := stream.read(min(offset, 1 << 20))):
        offset -= len(skipped)


def _skip_line(stream: BinaryIO) -> int:
    skipped = 0
    while data := stream.readline(1 << 20):
        skipped += len(data)
        if data[-1] == 10:
            break
    return skipped


def decode_json(data: bytes, decoder: msgspec.json.Decoder[T], type_: type[T]) -> T:
    """Decode one JSON value, the fast way first, then leniently.

    Writers in JavaScript and Python leave things that strict JSON forbids: half a surrogate pair
    where a string was cut, ``NaN`` for a missing number (read as ``null``).

    Raises:
        ValueError: it is not JSON, or a known field has the wrong type.
        RecursionError: it is nested too deeply.
    """
    try:
        return decoder.decode(data)
    except msgspec.ValidationError:
        raise
    except msgspec.DecodeError:
        if (
            b"\\ud" not in data
            and b"\\uD" not in data
            and b"NaN" not in data
            and b"Infinity" not in data
        ):
            raise
    lenient = json.loads(data, parse_constant=lambda _: None)
    return msgspec.convert(lenient, type_)


BAD_RECORD = (ValueError, RecursionError)
"""What `decode_json` raises: `msgspec.MsgspecError` and `UnicodeDecodeError` are `ValueError` kinds."""


def read_each(
    rows: Iterable[Line | Issue], read: Callable[[Line], Iterable[Record]]
) -> Iterator[Record]:
    """Yield what `read` makes of each row: all of it, or an issue if it raises `BAD_RECORD`.

    Args:
        rows: lines, elements of a list or the like; issues among them are passed on.
    """
    for row in rows:
        if isinstance(row, Issue):
            yield row
            continue
        try:
            records = [*read(row)]
        except BAD_RECORD as error:
            yield row.issue(error)
        else:
            yield from records

"""The zip archives that Inspect writes: which members hold samples, and what a member says.

The standard library decompresses what Inspect wrote until 2026. The Zstandard members written since
(method 93 of the zip format) are decompressed here, as Python knows them from version 3.14 on only.
"""

from __future__ import annotations

import hashlib
import io
import re
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

import zstandard

from forkpoint.parsers.logs import MAX_DOCUMENT_BYTES, describe

_ZSTANDARD = 93
_LOCAL_HEADER = struct.Struct("<4s22xHH")
_SIGNATURE = b"PK\x03\x04"
_SAMPLE = re.compile(r"samples/(?:([^/]+)/sample\.json|[^/]+\.json)")
_CHUNK = re.compile(r"samples/([^/]+)/(messages|events|attachments)/(\d{1,18})\.json")
_READ_ERRORS = (
    OSError,
    EOFError,
    NotImplementedError,
    RuntimeError,
    zipfile.BadZipFile,
    zlib.error,
    zstandard.ZstdError,
)


class ArchiveError(ValueError):
    """The archive, or a member, cannot be read. The text says why, in one line."""


class Member(NamedTuple):
    """Where a sample stands."""

    name: str
    folder: str | None
    """Its folder, if its parts are members of their own."""
    offset: int
    """Of the member in the archive, in bytes."""


class Archive:
    """A zip archive, opened for reading.

    Raises:
        ArchiveError: it cannot be opened, or is cut short.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._zip = zipfile.ZipFile(path)
        except (ValueError, *_READ_ERRORS) as error:
            raise ArchiveError(describe(error)) from error
        # A name may stand twice: then the last member of that name is the one.
        self._members = {info.filename: info for info in self._zip.infolist()}
        self._chunks: dict[tuple[str, str], list[tuple[int, str]]] = {}
        for name in self._members:
            if found := _CHUNK.fullmatch(name):
                key = (found[1], found[2])
                self._chunks.setdefault(key, []).append((int(found[3]), name))

    @staticmethod
    def is_one(path: Path) -> bool:
        """Whether a file begins as a zip archive does."""
        try:
            with open(path, "rb") as stream:
                return stream.read(4) == _SIGNATURE
        except OSError:
            return False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._zip.close()

    @property
    def digest(self) -> str:
        """Names the archive by its members, as 64 hex digits."""
        members = sorted((name, info.CRC) for name, info in self._members.items())
        return hashlib.sha256(repr(members).encode("utf-8", "surrogatepass")).hexdigest()

    def header(self) -> bytes:
        """What the log says of itself: its header, else how it started.

        Raises:
            ArchiveError: it has neither.
        """
        for name in ("header.json", "_journal/start.json"):
            if name in self._members:
                return self.read(name)
        raise ArchiveError("an archive without header.json")

    def samples(self) -> Iterator[Member]:
        """The members that are samples, in the archive's order."""
        for name, info in self._members.items():
            if found := _SAMPLE.fullmatch(name):
                yield Member(name, found[1], info.header_offset)

    def chunks(self, folder: str, sequence: str) -> list[str]:
        """The members that hold a sample's sequence, in its order."""
        return [name for _, name in sorted(self._chunks.get((folder, sequence), ()))]

    def read(self, name: str) -> bytes:
        """A member's content.

        Raises:
            ArchiveError: it cannot be decompressed, or is too long.
        """
        info = self._members[name]
        try:
            if info.compress_type == _ZSTANDARD:
                data = self._zstandard(info)
            else:
                with self._zip.open(info) as stream:
                    data = stream.read(MAX_DOCUMENT_BYTES + 1)
        except _READ_ERRORS as error:
            raise ArchiveError(f"{name}: {describe(error)}") from error
        if len(data) > MAX_DOCUMENT_BYTES:
            raise ArchiveError(f"{name}: larger than {MAX_DOCUMENT_BYTES >> 20} MiB")
        return data

    def _zstandard(self, info: zipfile.ZipInfo) -> bytes:
        stream = self._zip.fp
        if stream is None or info.flag_bits & 1:
            raise ArchiveError(f"{info.filename}: encrypted")
        stream.seek(info.header_offset)
        header = stream.read(_LOCAL_HEADER.size)
        if len(header) < _LOCAL_HEADER.size:
            raise EOFError("the member is cut off")
        signature, n_name, n_extra = _LOCAL_HEADER.unpack(header)
        if signature != _SIGNATURE:
            raise zipfile.BadZipFile("no member where the directory says there is one")
        stream.seek(n_name + n_extra, io.SEEK_CUR)
        compressed = io.BytesIO(stream.read(info.compress_size))
        reader = zstandard.ZstdDecompressor().stream_reader(compressed, read_across_frames=True)
        data = reader.read(MAX_DOCUMENT_BYTES + 1)
        if zlib.crc32(data) != info.CRC:
            raise zipfile.BadZipFile("bad CRC-32: the member is damaged")
        return data

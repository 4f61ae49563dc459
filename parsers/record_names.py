"""Names for records that have no id of their own: their content, and how often it stood before.

Equal records thus stay apart within one file and meet their twins in a copy of it. How far back
equal records are counted is a choice between two classes: `RecordNames` counts the whole file, and
has a long file that grew read again; `RecentRecordNames` counts within a window of records, so a
file of any length can be read on from where it ended.
"""

from __future__ import annotations

import hashlib
from collections import Counter, OrderedDict
from collections.abc import Iterable

from forkpoint.parsers.base import Reread

MAX_REMEMBERED = 4096
"""Records whose digests a checkpoint keeps, 8 bytes each; a longer file is read again."""
OCCURRENCE_WINDOW = 1024
"""Different records among which `RecentRecordNames` tells equal ones apart by number."""


def record_digest(record: bytes) -> bytes:
    """SHA-256 of a record without the white space around it: line ends may differ in a copy."""
    return hashlib.sha256(record.strip()).digest()


class RecordNames:
    """Names for a file's records by content alone: equal in each copy of the file, and after growth.

    A record's name is its SHA-256 and how many equal records stood before it in the file.

    Args:
        checkpoint: what `checkpoint` gave when the file was last read; ``b""`` on a first reading.

    Raises:
        Reread: the file held too many records to remember them in the checkpoint.
    """

    _WIDTH = 8
    """Bytes of a digest remembered. Two records that share them share a count, nothing else."""
    _TOO_MANY = b"!"

    def __init__(self, checkpoint: bytes = b"") -> None:
        if checkpoint == self._TOO_MANY:
            raise Reread
        width = self._WIDTH
        self._first = checkpoint[:width]
        self._seen = Counter(
            checkpoint[at : at + width] for at in range(width, len(checkpoint), width)
        )
        self._complete = True

    def digest(self, record: bytes) -> str:
        """`record_digest` as 64 hex digits. The file's first record gives the file its id."""
        digest = record_digest(record)
        if not self._first:
            self._first = digest[: self._WIDTH]
        return digest.hex()

    def numbered(self, digest: str) -> str:
        """The digest and how many times it was numbered before, as ``digest:count``."""
        key = bytes.fromhex(digest[: 2 * self._WIDTH])
        count = self._seen[key]
        self._seen[key] = count + 1
        return f"{digest}:{count}"

    def short_name(self, record: bytes) -> str:
        """A record numbered, by its `short` name."""
        return short(self.numbered(self.digest(record)))

    @property
    def file_id(self) -> str:
        """16 hex digits of the file's first record: a name for the file that its copies share."""
        return self._first.hex()

    def require_reread(self) -> None:
        """Have a grown file read from its beginning."""
        self._complete = False

    def checkpoint(self) -> bytes:
        """What the next reading needs: at most 8 · (`MAX_REMEMBERED` + 1) bytes."""
        if not self._complete or self._seen.total() > MAX_REMEMBERED:
            return self._TOO_MANY
        return self._first + b"".join(self._seen.elements())


def short(name: str) -> str:
    """A record's name with 64 bits of its digest: enough within one file.

    >>> short("0123456789abcdef0123:2")
    '0123456789abcdef:2'
    """
    digest, _, number = name.partition(":")
    return f"{digest[:16]}:{number}"


class RecentRecordNames:
    """Names for a file's records by content and number, counted within a window.

    Two equal records between which `OCCURRENCE_WINDOW` different ones were named share a name.

    Args:
        counts: what `counts` gave when the file was last read.
    """

    _WIDTH = 16
    """Bytes of a digest remembered."""

    def __init__(self, counts: Iterable[tuple[bytes, int]] = ()) -> None:
        self._seen = OrderedDict(counts)

    def name(self, record: bytes) -> str:
        """A record's digest and its number among the equal ones in the window: ``digest-number``."""
        digest = record_digest(record)
        key = digest[: self._WIDTH]
        number = self._seen.pop(key, -1) + 1
        self._seen[key] = number
        if len(self._seen) > OCCURRENCE_WINDOW:
            self._seen.popitem(last=False)
        return f"{digest.hex()}-{number}"

    def counts(self) -> list[tuple[bytes, int]]:
        """What the next reading needs: at most `OCCURRENCE_WINDOW` digests and their last numbers."""
        return list(self._seen.items())

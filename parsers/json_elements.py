"""The elements of a list inside one JSON document, each with its place in the file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from forkpoint.parsers.logs import Line


def elements(document: bytes, raws: Iterable[msgspec.Raw], start: int = 0) -> Iterator[Line]:
    """Yield a list's elements as records: the number in the list as the line, from 1.

    Args:
        document: the file's bytes.
        raws: neighbours in one list of the document. Where the document had to be mended before it
            could be decoded, its bytes differ from the file's, and offsets are those of `start`.
        start: byte offset from which the first element is looked for.
    """
    offset, found = start, True
    for number, raw in enumerate(raws, 1):
        data = bytes(raw)
        # Between two elements stand a comma and white space only, so the first match is the place.
        at = document.find(data, offset) if found else -1
        found = at >= 0
        yield Line(data, number, at if found else start)
        if found:
            offset = at + len(data)

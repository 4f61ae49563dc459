"""Lists in JSON documents: their elements, each with its place, and what is left of a cut list.

Programs that rewrite such a file after every result leave the beginning of one if they are killed
while they write; its whole elements count all the same.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from functools import lru_cache

import msgspec

from forkpoint.parsers.logs import BAD_RECORD, Head, Line, Log
from forkpoint.parsers.raw_json import complete
from forkpoint.parsers.records import Issue

_RAWS = msgspec.json.Decoder(list[msgspec.Raw])
_SCANNER = json.JSONDecoder()
_GAP = re.compile(r"[ \t\r\n]*+")
_LIST_BEGINS = re.compile(rb"[ \t\r\n]*+\[")


def list_elements(log: Log) -> Iterator[Line | Issue]:
    """The elements of a document that is a list: their bytes, their number as the line, their
    offset. A list that is damaged is read up to the damage, which is one issue.
    """
    document = log.document()
    if isinstance(document, Issue):
        yield document
        return
    try:
        raws = _RAWS.decode(document)
    except msgspec.ValidationError as error:
        yield Line(document, 1, 0).issue(error)
        return
    except BAD_RECORD:
        yield from _elements_before_damage(document)
        return
    yield from elements(document, raws)


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


def _elements_before_damage(document: bytes) -> Iterator[Line | Issue]:
    """What strict decoding refuses, element by element: ``NaN``, half surrogates and invalid UTF-8
    are their element's affair, and a list without an end still has a beginning."""
    text = document.decode("utf-8", "surrogateescape")
    at = _gap_end(text, 0)
    offset, number = len(_bytes(text[:at])), 1
    if text[at : at + 1] != "[":
        yield Line(document, 1, offset).issue("not a JSON list")
        return
    closed = text[_gap_end(text, at + 1) :][:1] == "]"
    while not closed:
        start = _gap_end(text, at + 1)
        offset += len(_bytes(text[at:start]))
        try:
            _, end = _SCANNER.raw_decode(text, start)
        except BAD_RECORD:
            yield Line(document, number, offset).issue("the list is cut off or damaged here")
            return
        data = _bytes(text[start:end])
        yield Line(data, number, offset)
        at = _gap_end(text, end)
        offset += len(data) + at - end
        number += 1
        closed = text[at : at + 1] == "]"
        if not closed and text[at : at + 1] != ",":
            yield Line(document, number, offset).issue("the list is cut off or damaged here")
            return
    if _gap_end(text, text.index("]", at) + 1) != len(text):
        yield Line(document, number, offset).issue("something follows the end of the list")


def _gap_end(text: str, start: int) -> int:
    found = _GAP.match(text, start)
    return start if found is None else found.end()


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


@lru_cache(maxsize=1)  # several parsers ask in turn
def first_element(head: Head) -> object:
    """The first element of a file that begins as a list, cut where the head ends; else ``None``."""
    if _LIST_BEGINS.match(head.data) is None:
        return None
    value = head.document
    if value is None:
        try:
            value = msgspec.json.decode(complete(head.data))
        except BAD_RECORD:
            return None
    return value[0] if isinstance(value, list) and value else None

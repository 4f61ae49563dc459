"""Logs that are one JSON object: the whole of it; and what the head of a file shows of its first
object, whether that is the document or one of many records."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, TypeVar

import msgspec

from forkpoint.parsers.logs import BAD_RECORD, Head, Line, Log
from forkpoint.parsers.raw_json import Fields, complete, decode, decode_fields
from forkpoint.parsers.records import Issue

T = TypeVar("T")


def read_document(log: Log) -> Line | Issue:
    """The whole file as one record."""
    data = log.document()
    return data if isinstance(data, Issue) else Line(data, 1, 0)


def open_document(log: Log, read: Callable[[bytes], T]) -> tuple[Line, T] | Issue:
    """The whole file as one record, and what `read` makes of it; or why it cannot be read.

    Args:
        read: takes the bytes apart; raises `BAD_RECORD` if they are no such document.
    """
    document = read_document(log)
    if isinstance(document, Issue):
        return document
    try:
        return document, read(document.data)
    except BAD_RECORD as error:
        return document.issue(error)


def decode_document(
    log: Log, decoder: msgspec.json.Decoder[T], what: str = "document"
) -> tuple[Line, T] | Issue:
    """The whole file as one record and as a value, or why it has none; an issue names `what`."""
    return open_document(log, lambda data: decode(data, decoder, what))


@lru_cache(maxsize=1)  # several parsers ask in turn
def first_record(head: Head) -> dict[str, Any]:
    """The first record of JSON Lines, decoded, as far as the head holds it; empty if it is no object.
    What is cut off at the end of the head is closed or left out."""
    if head.lines:
        return head.objects[0] if head.objects else {}
    if not head.is_cut:
        return {}
    try:
        value = msgspec.json.decode(complete(head.data))
    except BAD_RECORD:
        return {}
    return value if isinstance(value, dict) else {}


def head_fields(head: Head) -> Fields:
    """The fields of the object that a file begins with, as far as the head holds them; none if it
    begins with something else. What is cut off at the end of the head is closed or left out."""
    if head.data.lstrip()[:1] != b"{":
        return {}
    try:
        return decode_fields(complete(head.data.lstrip()))
    except BAD_RECORD:
        return {}

"""Spans and log records in files of every form that exporters and stores write.

`otlp` has the export requests, `span_objects` the objects. Either stand a line each (the Collector's
file exporter, the file-exporter specification, exporters in JavaScript), one after the other over
several lines (the Python SDK's console exporter), alone in a file or in a JSON list; objects also in
``data`` or ``spans`` (Phoenix's API), or in lists by operation.

Metrics, and objects of other shapes, are passed over.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import msgspec

from forkpoint.parsers.document import head_fields
from forkpoint.parsers.json_list import list_elements
from forkpoint.parsers.logs import BAD_RECORD, MAX_DOCUMENT_BYTES, Head, Line, Log
from forkpoint.parsers.otlp import is_request, spans_of_request
from forkpoint.parsers.raw_json import (
    Fields,
    complete,
    decode_fields,
    decode_list,
    is_list,
    is_object,
)
from forkpoint.parsers.records import Issue
from forkpoint.parsers.span_objects import is_log_record, is_span, span_of_object
from forkpoint.parsers.spans import Span

_LISTS = ("data", "spans")


def spans_of(log: Log) -> Iterator[Span | Issue]:
    """Yield a file's spans and log records in its order, and an issue for each that is unreadable."""
    for record in _records(log):
        if isinstance(record, Issue):
            yield record
            continue
        try:
            yield from _spans_of_record(record)
        except BAD_RECORD as error:
            yield record.issue(error)


def _records(log: Log) -> Iterator[Line | Issue]:
    """The file's JSON values: its lines, the elements of a list, or objects over several lines."""
    lines = log.lines()
    first = next(lines, None)
    if first is None:
        return
    if isinstance(first, Line):
        begins = first.data.strip()
        if begins == b"{":
            yield from _blocks(first, lines)
            return
        if begins.startswith(b"[") and not begins.endswith(b"]"):
            yield from list_elements(log)
            return
    yield first
    yield from lines


def _blocks(first: Line, lines: Iterator[Line | Issue]) -> Iterator[Line | Issue]:
    """Indented objects, one after the other: a brace in the first column ends each."""
    block, parts, size = first, [first.data], len(first.data)
    for line in lines:
        if isinstance(line, Issue):
            yield line
            continue
        if not parts:
            block, size = line, 0
        parts.append(line.data)
        size += len(line.data)
        if line.data.startswith(b"}") or size > MAX_DOCUMENT_BYTES:
            yield Line(b"".join(parts).rstrip().rstrip(b","), block.line, block.offset)
            parts = []
    if parts:
        yield Line(b"".join(parts), block.line, block.offset)


def _spans_of_record(record: Line) -> Iterator[Span | Issue]:
    """The spans of one JSON value.

    Raises:
        ValueError, RecursionError: it is not JSON, or neither an object nor a list of them.
    """
    if record.data.lstrip().startswith(b"["):
        for raw in decode_list(msgspec.Raw(record.data.strip()), "record"):
            yield from _guarded(raw, record)
        return
    if is_request(record.data):
        yield from spans_of_request(record)
        return
    span = span_of_object(record)
    if span is not None:
        yield span
        return
    for raw in _listed(decode_fields(record.data)):
        yield from _guarded(raw, record)


def _guarded(raw: msgspec.Raw, record: Line) -> Iterator[Span | Issue]:
    """The spans of one element of a list; one that cannot be read is an issue of its own."""
    try:
        yield from _spans_of_record(Line(bytes(raw), record.line, record.offset))
    except BAD_RECORD as error:
        yield record.issue(error)


def _listed(fields: Fields) -> list[msgspec.Raw]:
    """The elements of an object's lists of spans; none if it holds something else."""
    lists = [fields[name] for name in _LISTS if name in fields and is_list(fields[name])]
    if not lists and fields and all(is_list(raw) for raw in fields.values()):
        lists = list(fields.values())
    elements = (raw for each in lists for raw in decode_list(each, "record"))
    return [raw for raw in elements if is_object(raw) and is_span(decode_fields(raw))]


# ---- What the head of a file shows ----------------------------------------------------------------


def begins_as_request(head: Head) -> bool:
    """Whether one of a file's first records is an OTLP export request of spans or log records."""
    return any("resourceSpans" in each or "resourceLogs" in each for each in _first_records(head))


def begins_as_objects(head: Head) -> bool:
    """Whether one of a file's first records is a span or log record, or holds lists of spans."""
    return any(
        is_span(fields) or is_log_record(fields) or _holds_spans(fields)
        for fields in _first_records(head)
    )


@lru_cache(maxsize=1)
def _first_records(head: Head) -> list[Fields]:
    """The objects in a file's first lines, or the one that it begins with, cut where the head ends."""
    data = head.data.lstrip()
    if data.startswith(b"["):
        try:
            listed = decode_list(msgspec.Raw(complete(data)), "list")
            return [decode_fields(listed[0])] if listed and is_object(listed[0]) else []
        except BAD_RECORD:
            return []
    found = []
    for line in head.lines[:32]:
        try:
            found.append(decode_fields(line))
        except BAD_RECORD:
            continue
    return found or [head_fields(head)]


def _holds_spans(fields: Fields) -> bool:
    try:
        return bool(_listed(fields))
    except BAD_RECORD:
        return False

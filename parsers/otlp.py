"""OTLP JSON: export requests of spans and of log records, ``{resourceSpans: [{resource, scopeSpans:
[{scope, spans}]}]}`` and ``{resourceLogs: …}``.

https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

import msgspec

from forkpoint.parsers.logs import BAD_RECORD, Line
from forkpoint.parsers.raw_json import (
    Fields,
    decode,
    decode_fields,
    decode_list,
    is_object,
    present,
)
from forkpoint.parsers.records import Issue
from forkpoint.parsers.spans import (
    AnyValue,
    Attributes,
    KeyValue,
    Span,
    SpanEvent,
    hex_id,
    log_record,
    nanoseconds,
    plain_value,
)

T = TypeVar("T")

REQUESTS = ("resourceSpans", "batches", "resourceLogs")
"""What an export request holds; ``batches`` is Tempo's word."""
_MARKS = tuple(f'"{name}"'.encode() for name in REQUESTS)
"""Quotes inside a JSON string are escaped, so no text holds these."""


class _Resource(msgspec.Struct):
    attributes: list[KeyValue] | None = None


class _Scope(msgspec.Struct):
    name: str | None = None


class _OtlpStatus(msgspec.Struct):
    code: int | str | None = None


class _OtlpEvent(msgspec.Struct):
    name: str | None = None
    attributes: list[KeyValue] | None = None


class _OtlpSpan(msgspec.Struct, rename="camel"):
    trace_id: str | None = None
    span_id: str | None = None
    parent_span_id: str | None = None
    name: str | None = None
    start_time_unix_nano: msgspec.Raw = msgspec.Raw()
    end_time_unix_nano: msgspec.Raw = msgspec.Raw()
    attributes: list[KeyValue] | None = None
    events: list[_OtlpEvent] | None = None
    status: _OtlpStatus | None = None


class _OtlpLog(msgspec.Struct, rename="camel"):
    trace_id: str | None = None
    span_id: str | None = None
    event_name: str | None = None
    time_unix_nano: msgspec.Raw = msgspec.Raw()
    observed_time_unix_nano: msgspec.Raw = msgspec.Raw()
    body: AnyValue | None = None
    attributes: list[KeyValue] | None = None


class _ScopeRecords(msgspec.Struct, rename="camel"):
    """Spans or log records of one instrumentation library."""

    scope: _Scope | None = None
    instrumentation_library: _Scope | None = None
    spans: list[_OtlpSpan] | None = None
    log_records: list[_OtlpLog] | None = None


class _ResourceRecords(msgspec.Struct, rename="camel"):
    resource: _Resource | None = None
    scope_spans: list[_ScopeRecords] | None = None
    instrumentation_library_spans: list[_ScopeRecords] | None = None
    """The name until 2022."""
    scope_logs: list[_ScopeRecords] | None = None


class _Request(msgspec.Struct, rename="camel"):
    resource_spans: list[_ResourceRecords] | None = None
    batches: list[_ResourceRecords] | None = None
    resource_logs: list[_ResourceRecords] | None = None


_REQUEST = msgspec.json.Decoder(_Request)
_RESOURCE = msgspec.json.Decoder(_Resource)
_SCOPE = msgspec.json.Decoder(_Scope)
_OTLP_SPAN = msgspec.json.Decoder(_OtlpSpan)
_OTLP_LOG = msgspec.json.Decoder(_OtlpLog)


def is_request(data: bytes) -> bool:
    """Whether a record is an export request."""
    return any(mark in data for mark in _MARKS)


def spans_of_request(record: Line) -> Iterator[Span | Issue]:
    """The spans and log records of a request; one of a wrong shape is an issue of its own.

    Raises:
        ValueError, RecursionError: it is not JSON.
    """
    try:
        request = decode(record.data, _REQUEST)
    except ValueError as error:
        if not isinstance(error.__cause__, msgspec.ValidationError):
            raise
        yield from _spans_of_faulty_request(record)
        return
    for each in (request.resource_spans, request.batches, request.resource_logs):
        for records in each or ():
            yield from _spans_of_resource(records, record)


def _spans_of_resource(records: _ResourceRecords, record: Line) -> Iterator[Span | Issue]:
    resource = Attributes.of_list(records.resource.attributes if records.resource else None)
    for scopes in (
        records.scope_spans,
        records.instrumentation_library_spans,
        records.scope_logs,
    ):
        for each in scopes or ():
            scope = each.scope or each.instrumentation_library
            name = None if scope is None else scope.name
            for span in each.spans or ():
                yield from _or_issue(_otlp_span, span, name, resource, record)
            for logged in each.log_records or ():
                yield from _or_issue(_otlp_log, logged, name, resource, record)


def _spans_of_faulty_request(record: Line) -> Iterator[Span | Issue]:
    """A request in which something has a wrong type, piece by piece: what is right is kept."""
    fields = decode_fields(record.data)
    for name in REQUESTS:
        for raw in _pieces(fields, name, record):
            if isinstance(raw, Issue):
                yield raw
                continue
            inside = decode_fields(raw)
            try:
                found = present(inside, "resource")
                given = None if found is None else decode(found, _RESOURCE, "resource").attributes
            except BAD_RECORD as error:
                yield record.issue(error)
                given = None
            resource = Attributes.of_list(given)
            for scopes in ("scopeSpans", "instrumentationLibrarySpans", "scopeLogs"):
                for scope in _pieces(inside, scopes, record):
                    yield from _spans_of_faulty_scope(scope, resource, record)


def _spans_of_faulty_scope(
    raw: msgspec.Raw | Issue, resource: Attributes, record: Line
) -> Iterator[Span | Issue]:
    if isinstance(raw, Issue):
        yield raw
        return
    fields = decode_fields(raw)
    name = None
    try:
        found = present(fields, "scope", "instrumentationLibrary")
        name = None if found is None else decode(found, _SCOPE, "scope").name
    except BAD_RECORD as error:
        yield record.issue(error)
    for piece in _pieces(fields, "spans", record):
        if isinstance(piece, Issue):
            yield piece
            continue
        try:
            span = decode(piece, _OTLP_SPAN, "span")
        except BAD_RECORD as error:
            yield record.issue(error)
        else:
            yield from _or_issue(_otlp_span, span, name, resource, record)
    for piece in _pieces(fields, "logRecords", record):
        if isinstance(piece, Issue):
            yield piece
            continue
        try:
            logged = decode(piece, _OTLP_LOG, "log record")
        except BAD_RECORD as error:
            yield record.issue(error)
        else:
            yield from _or_issue(_otlp_log, logged, name, resource, record)


def _pieces(fields: Fields, name: str, record: Line) -> Iterator[msgspec.Raw | Issue]:
    """The objects in a list, and an issue for what is none."""
    raw = present(fields, name)
    if raw is None:
        return
    try:
        listed = decode_list(raw, name)
    except BAD_RECORD as error:
        yield record.issue(error)
        return
    for each in listed:
        yield each if is_object(each) else record.issue(f"{name}: an element is no object")


def _or_issue(
    read: Callable[[T, str | None, Attributes, Line], Span],
    piece: T,
    scope: str | None,
    resource: Attributes,
    record: Line,
) -> Iterator[Span | Issue]:
    try:
        yield read(piece, scope, resource, record)
    except BAD_RECORD as error:
        yield record.issue(error)


def _otlp_span(span: _OtlpSpan, scope: str | None, resource: Attributes, record: Line) -> Span:
    status = "" if span.status is None else str(span.status.code)
    return Span(
        place=record,
        trace=hex_id(span.trace_id),
        id=hex_id(span.span_id),
        parent=hex_id(span.parent_span_id),
        name=span.name or "",
        scope=scope,
        resource=resource,
        attributes=Attributes.of_list(span.attributes),
        start_ns=_time(span.start_time_unix_nano, "startTimeUnixNano"),
        end_ns=_time(span.end_time_unix_nano, "endTimeUnixNano"),
        failed=status in ("2", "STATUS_CODE_ERROR"),
        events=[
            SpanEvent(each.name or "", Attributes.of_list(each.attributes))
            for each in span.events or ()
        ],
    )


def _otlp_log(logged: _OtlpLog, scope: str | None, resource: Attributes, record: Line) -> Span:
    body = None if logged.body is None else plain_value(logged.body)
    attributes = Attributes.of_list(logged.attributes)
    time = _time(logged.time_unix_nano, "timeUnixNano")
    if time is None:
        time = _time(logged.observed_time_unix_nano, "observedTimeUnixNano")
    return log_record(
        record, (logged.trace_id, logged.span_id), logged.event_name, body, attributes, resource,
        scope, time,
    )  # fmt: skip


def _time(raw: msgspec.Raw, what: str) -> int | None:
    return nanoseconds(raw, what) if raw else None

"""Spans and log records in files: OTLP JSON, and the span objects that exporters and stores write.

All of these are read:

- OTLP export requests, ``{resourceSpans: [{resource, scopeSpans: [{scope, spans}]}]}`` and
  ``{resourceLogs: …}``, one a line (the Collector's file exporter, the file-exporter
  specification) or one a file;
- one object a span: ``{name, context: {trace_id, span_id}, parent_id, start_time, attributes}``
  (the Python SDK, Phoenix), ``{name, traceId, spanId, parentSpanId, startTime: [s, ns],
  attributes}`` (exporters in JavaScript, with ``spanContext`` instead of the ids in some), columns
  ``context.trace_id`` and ``attributes.…`` (data frames); and log records likewise
  (``{hrTime, body, attributes}``);
- these objects a line each, one after the other over several lines (the Python SDK's console
  exporter), as a JSON list, in ``data`` or ``spans`` (Phoenix's API), or as lists by operation.

Metrics, and objects of other shapes, are passed over.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import msgspec

from forkpoint.parsers.document import head_fields
from forkpoint.parsers.json_list import first_element, list_elements
from forkpoint.parsers.logs import BAD_RECORD, MAX_DOCUMENT_BYTES, Head, Line, Log
from forkpoint.parsers.raw_json import (
    Fields,
    decode,
    decode_fields,
    decode_list,
    decode_text,
    id_of,
    is_list,
    is_object,
    is_text,
    present,
    word_of,
)
from forkpoint.parsers.records import Issue
from forkpoint.parsers.spans import (
    Attributes,
    KeyValue,
    Span,
    SpanEvent,
    hex_id,
    nanoseconds,
    plain_value,
)

_REQUESTS = ("resourceSpans", "batches", "resourceLogs")
"""What an export request holds; ``batches`` is Tempo's word."""
_LISTS = ("data", "spans")
_TIMES = ("startTime", "start_time", "startTimeUnixNano", "start_time_unix_nano")
_LOG_TIMES = ("hrTime", "timestamp", "timeUnixNano", "hrTimeObserved", "observedTimeUnixNano")
_CONTEXTS = ("context", "spanContext", "_spanContext", "span_context")
_TRACE_IDS = ("traceId", "trace_id", "context.trace_id")
_SPAN_IDS = ("spanId", "span_id", "context.span_id")
_PARENT_IDS = ("parentSpanId", "parent_id", "parent_span_id")
_FAILED = (b"2", b'"ERROR"', b'"STATUS_CODE_ERROR"', b'"StatusCode.ERROR"')

_REQUEST_BEGINS = re.compile(
    rb'[ \t\r\n]*+\{[ \t\r\n]*+"(?:resourceSpans|resourceLogs)"[ \t\r\n]*+:[ \t\r\n]*+\['
)


class _Resource(msgspec.Struct):
    attributes: list[KeyValue] | None = None


class _Scope(msgspec.Struct):
    name: str | None = None


class _ScopeRecords(msgspec.Struct, rename="camel"):
    """Spans or log records of one instrumentation library."""

    scope: _Scope | None = None
    instrumentation_library: _Scope | None = None
    spans: list[msgspec.Raw] | None = None
    log_records: list[msgspec.Raw] | None = None


class _ResourceRecords(msgspec.Struct, rename="camel"):
    resource: _Resource | None = None
    scope_spans: list[_ScopeRecords] | None = None
    instrumentation_library_spans: list[_ScopeRecords] | None = None
    scope_logs: list[_ScopeRecords] | None = None


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
    body: msgspec.Raw = msgspec.Raw()
    attributes: list[KeyValue] | None = None


_RESOURCE_RECORDS = msgspec.json.Decoder(_ResourceRecords)
_OTLP_SPAN = msgspec.json.Decoder(_OtlpSpan)
_OTLP_LOG = msgspec.json.Decoder(_OtlpLog)


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
    fields = decode_fields(record.data)
    requests = [name for name in _REQUESTS if name in fields]
    if requests:
        for name in requests:
            if bytes(fields[name]) != b"null":
                yield from _spans_of_request(fields[name], name, record)
    elif "attributes" in fields or "context.span_id" in fields:
        yield _span_of_object(fields, record)
    else:
        for raw in _listed(fields):
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


# ---- OTLP -----------------------------------------------------------------------------------------


def _spans_of_request(raw: msgspec.Raw, name: str, record: Line) -> Iterator[Span | Issue]:
    for each in decode_list(raw, name):
        try:
            found = decode(each, _RESOURCE_RECORDS, name)
        except BAD_RECORD as error:
            yield record.issue(error)
            continue
        resource = Attributes.of_list(found.resource.attributes if found.resource else None)
        scopes = [
            *(found.scope_spans or ()),
            *(found.instrumentation_library_spans or ()),
            *(found.scope_logs or ()),
        ]
        for scope in scopes:
            yield from _spans_of_scope(scope, resource, record)


def _spans_of_scope(
    records: _ScopeRecords, resource: Attributes, record: Line
) -> Iterator[Span | Issue]:
    scope = records.scope or records.instrumentation_library
    name = None if scope is None else scope.name
    for raw in records.spans or ():
        try:
            yield _otlp_span(raw, name, resource, record)
        except BAD_RECORD as error:
            yield record.issue(error)
    for raw in records.log_records or ():
        try:
            yield _otlp_log(raw, name, resource, record)
        except BAD_RECORD as error:
            yield record.issue(error)


def _otlp_span(raw: msgspec.Raw, scope: str | None, resource: Attributes, record: Line) -> Span:
    span = decode(raw, _OTLP_SPAN, "span")
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


def _otlp_log(raw: msgspec.Raw, scope: str | None, resource: Attributes, record: Line) -> Span:
    logged = decode(raw, _OTLP_LOG, "log record")
    body = plain_value(logged.body) if logged.body else None
    attributes = Attributes.of_list(logged.attributes)
    time = _time(logged.time_unix_nano, "timeUnixNano")
    if time is None:
        time = _time(logged.observed_time_unix_nano, "observedTimeUnixNano")
    return _log_record(
        record, (logged.trace_id, logged.span_id), logged.event_name, body, attributes, resource,
        scope, time,
    )  # fmt: skip


def _log_record(
    record: Line,
    ids: tuple[str | None, str | None],
    name: str | None,
    body: msgspec.Raw | None,
    attributes: Attributes,
    resource: Attributes,
    scope: str | None,
    time: int | None,
) -> Span:
    name = name or attributes.word("event.name")
    if name is None and body is not None and is_text(body):
        name = decode_text(body, "body")
    return Span(
        place=record,
        trace=hex_id(ids[0]),
        id=hex_id(ids[1]),
        parent=None,
        name=name or "",
        scope=scope,
        resource=resource,
        attributes=attributes,
        end_ns=time,
        event=SpanEvent(name or "", attributes, body),
    )


def _time(raw: msgspec.Raw, what: str) -> int | None:
    return nanoseconds(raw, what) if raw else None


# ---- Objects --------------------------------------------------------------------------------------


def is_span(fields: Fields) -> bool:
    """Whether an object is a span: it has attributes, a start and a span's ids."""
    attributes = "attributes" in fields or any(name.startswith("attributes.") for name in fields)
    ids = any(name in fields for name in (*_SPAN_IDS, *_CONTEXTS))
    return attributes and ids and any(name in fields for name in _TIMES)


def is_log_record(fields: Fields) -> bool:
    """Whether an object is an OpenTelemetry log record: a time, a body and attributes."""
    body = "body" in fields or "_body" in fields
    return body and "attributes" in fields and any(name in fields for name in _LOG_TIMES)


def _span_of_object(fields: Fields, record: Line) -> Span:
    context = _first_object(fields, *_CONTEXTS)
    parent_context = _first_object(fields, "parentSpanContext")
    ids = (_id(fields, context, _TRACE_IDS), _id(fields, context, _SPAN_IDS))
    resource = Attributes.of_json(present(_first_object(fields, "resource"), "attributes"))
    attributes = _attributes(fields)
    scope = word_of(
        _first_object(fields, "instrumentationScope", "instrumentationLibrary", "scope"), "name"
    )
    start = nanoseconds(present(fields, *_TIMES), "start time")
    if start is None and "name" not in fields:
        body = present(fields, "body", "_body")
        time = nanoseconds(present(fields, *_LOG_TIMES), "time")
        name = word_of(fields, "event_name") or word_of(fields, "eventName")
        return _log_record(record, ids, name, body, attributes, resource, scope, time)
    return Span(
        place=record,
        trace=hex_id(ids[0]),
        id=hex_id(ids[1]),
        parent=hex_id(_id(fields, None, _PARENT_IDS) or id_of(parent_context, "spanId")),
        name=word_of(fields, "name") or "",
        scope=scope,
        resource=resource,
        attributes=attributes,
        start_ns=start,
        end_ns=nanoseconds(
            present(fields, "endTime", "end_time", "endTimeUnixNano", "end_time_unix_nano"),
            "end time",
        ),
        failed=_failed(fields),
        events=_events(fields),
    )


def _first_object(fields: Fields, *names: str) -> Fields | None:
    raw = present(fields, *names)
    return decode_fields(raw, names[0]) if raw is not None and is_object(raw) else None


def _id(fields: Fields, context: Fields | None, names: tuple[str, ...]) -> str | None:
    return id_of(fields, *names) or id_of(context, *names)


def _attributes(fields: Fields) -> Attributes:
    raw = present(fields, "attributes")
    if raw is not None or "attributes" in fields:
        return Attributes.of_json(raw)
    columns = {name[11:]: raw for name, raw in fields.items() if name.startswith("attributes.")}
    return Attributes(columns)


def _failed(fields: Fields) -> bool:
    raw = present(_first_object(fields, "status"), "code", "status_code")
    raw = present(fields, "status_code") if raw is None else raw
    return raw is not None and bytes(raw) in _FAILED


def _events(fields: Fields) -> list[SpanEvent]:
    raw = present(fields, "events")
    if raw is None or not is_list(raw):
        return []
    found = []
    for each in decode_list(raw, "events"):
        event = decode_fields(each, "event")
        attributes = Attributes.of_json(present(event, "attributes"))
        found.append(SpanEvent(word_of(event, "name") or "", attributes))
    return found


# ---- What the head of a file shows ----------------------------------------------------------------


def begins_as_request(head: Head) -> bool:
    """Whether a file's first records are OTLP export requests of spans or log records."""
    if _REQUEST_BEGINS.match(head.data):
        return True
    first = first_element(head)
    if isinstance(first, dict):
        return "resourceSpans" in first or "resourceLogs" in first
    return any("resourceSpans" in each or "resourceLogs" in each for each in head.objects)


def begins_as_objects(head: Head) -> bool:
    """Whether a file begins with a span or log record as an object, alone, in a list or in lists."""
    first = first_element(head)
    if first is not None:
        fields = _fields_of(first)
        return fields is not None and (is_span(fields) or is_log_record(fields))
    seen = [fields for fields in map(_fields_of, head.objects) if fields is not None]
    if not seen:
        seen = [head_fields(head)]
    return any(is_span(fields) or is_log_record(fields) or _holds_spans(fields) for fields in seen)


def _fields_of(value: object) -> Fields | None:
    if not isinstance(value, dict):
        return None
    return {str(name): msgspec.Raw(msgspec.json.encode(each)) for name, each in value.items()}


def _holds_spans(fields: Fields) -> bool:
    try:
        return bool(_listed(fields))
    except BAD_RECORD:
        return False

"""Spans and log records that were written as one JSON object each.

- The Python SDK and Phoenix: ``{name, context: {trace_id, span_id}, parent_id, start_time, attributes}``;
- exporters in JavaScript: ``{name, traceId, spanId, parentSpanId, startTime: [s, ns], attributes}``, or
  ``spanContext`` instead of the ids, and log records as ``{hrTime, spanContext, body, attributes}``
  (github.com/microsoft/vscode-copilot-chat, ``src/platform/otel/node/fileExporters.ts``);
- data frames of spans: columns ``context.trace_id`` and ``attributes.…``.
"""

from __future__ import annotations

import msgspec

from forkpoint.parsers.logs import Line
from forkpoint.parsers.raw_json import Fields, decode, decode_fields, is_object
from forkpoint.parsers.spans import Attributes, Span, SpanEvent, hex_id, log_record, nanoseconds

_TIMES = ("startTime", "start_time", "startTimeUnixNano", "start_time_unix_nano")
_LOG_TIMES = ("hrTime", "timestamp", "timeUnixNano")
_IDS = ("spanId", "span_id", "context.span_id", "context", "spanContext", "_spanContext")
_FAILED = (b"2", b'"ERROR"', b'"STATUS_CODE_ERROR"', b'"StatusCode.ERROR"')


class _Context(msgspec.Struct):
    trace_id: str | None = None
    span_id: str | None = None
    traceId: str | None = None
    spanId: str | None = None


class _Holder(msgspec.Struct):
    """A resource, or an instrumentation scope."""

    attributes: msgspec.Raw = msgspec.Raw()
    name: str | None = None


class _Status(msgspec.Struct):
    code: msgspec.Raw = msgspec.Raw()
    status_code: msgspec.Raw = msgspec.Raw()


class _Event(msgspec.Struct):
    name: str | None = None
    attributes: msgspec.Raw = msgspec.Raw()


class _Object(msgspec.Struct):
    """A span or a log record: each name is some writer's."""

    name: str | None = None
    attributes: msgspec.Raw = msgspec.Raw()
    context: _Context | None = None
    spanContext: _Context | None = None
    _spanContext: _Context | None = None
    parentSpanContext: _Context | None = None
    trace_id: str | None = None
    span_id: str | None = None
    traceId: str | None = None
    spanId: str | None = None
    trace_column: str | None = msgspec.field(name="context.trace_id", default=None)
    span_column: str | None = msgspec.field(name="context.span_id", default=None)
    parent_id: str | None = None
    parentSpanId: str | None = None
    parent_span_id: str | None = None
    startTime: msgspec.Raw = msgspec.Raw()
    start_time: msgspec.Raw = msgspec.Raw()
    startTimeUnixNano: msgspec.Raw = msgspec.Raw()
    start_time_unix_nano: msgspec.Raw = msgspec.Raw()
    endTime: msgspec.Raw = msgspec.Raw()
    end_time: msgspec.Raw = msgspec.Raw()
    endTimeUnixNano: msgspec.Raw = msgspec.Raw()
    end_time_unix_nano: msgspec.Raw = msgspec.Raw()
    hrTime: msgspec.Raw = msgspec.Raw()
    timestamp: msgspec.Raw = msgspec.Raw()
    timeUnixNano: msgspec.Raw = msgspec.Raw()
    body: msgspec.Raw = msgspec.Raw()
    _body: msgspec.Raw = msgspec.Raw()
    event_name: str | None = None
    eventName: str | None = None
    resource: _Holder | None = None
    instrumentationScope: _Holder | None = None
    instrumentationLibrary: _Holder | None = None
    status: msgspec.Raw = msgspec.Raw()
    status_code: msgspec.Raw = msgspec.Raw()
    events: list[_Event] | None = None


_OBJECT = msgspec.json.Decoder(_Object)
_STATUS = msgspec.json.Decoder(_Status)


def is_span(fields: Fields) -> bool:
    """Whether an object is a span: it has attributes, a start and a span's ids."""
    attributes = "attributes" in fields or any(name.startswith("attributes.") for name in fields)
    ids = any(name in fields for name in _IDS)
    return attributes and ids and any(name in fields for name in _TIMES)


def is_log_record(fields: Fields) -> bool:
    """Whether an object is an OpenTelemetry log record: a time, a body and attributes."""
    body = "body" in fields or "_body" in fields
    return body and "attributes" in fields and any(name in fields for name in _LOG_TIMES)


def span_of_object(record: Line) -> Span | None:
    """The span or log record that an object is; ``None`` if it is an object of another kind.

    Raises:
        ValueError, RecursionError: it is not JSON, or a known field has a wrong type.
    """
    found = decode(record.data, _OBJECT)
    if not found.attributes and found.span_column is None:
        return None
    attributes = _attributes(found, record)
    contexts = (found.context, found.spanContext, found._spanContext)
    context = next((each for each in contexts if each is not None), None) or _Context()
    trace = found.traceId or found.trace_id or context.trace_id or context.traceId
    span = found.spanId or found.span_id or context.span_id or context.spanId
    ids = (trace or found.trace_column, span or found.span_column)
    scope = found.instrumentationScope or found.instrumentationLibrary
    scope_name = None if scope is None else scope.name
    resource = Attributes.of_json(found.resource.attributes if found.resource else None)
    start = _time("start time", found.startTime, found.start_time,
                  found.startTimeUnixNano, found.start_time_unix_nano)  # fmt: skip
    if start is None and found.name is None:
        time = _time("time", found.hrTime, found.timestamp, found.timeUnixNano)
        name = found.event_name or found.eventName
        body = found.body or found._body or None
        return log_record(record, ids, name, body, attributes, resource, scope_name, time)
    above = found.parentSpanContext or _Context()
    parent = found.parentSpanId or found.parent_id or found.parent_span_id
    return Span(
        place=record,
        trace=hex_id(ids[0]),
        id=hex_id(ids[1]),
        parent=hex_id(parent or above.spanId or above.span_id),
        name=found.name or "",
        scope=scope_name,
        resource=resource,
        attributes=attributes,
        start_ns=start,
        end_ns=_time("end time", found.endTime, found.end_time,
                     found.endTimeUnixNano, found.end_time_unix_nano),
        failed=_has_failed(found),
        events=[
            SpanEvent(each.name or "", Attributes.of_json(each.attributes))
            for each in found.events or ()
        ],
    )  # fmt: skip


def _attributes(found: _Object, record: Line) -> Attributes:
    if found.attributes:
        return Attributes.of_json(found.attributes)
    columns = decode_fields(record.data)
    return Attributes(
        {name[11:]: raw for name, raw in columns.items() if name.startswith("attributes.")}
    )


def _time(what: str, *raws: msgspec.Raw) -> int | None:
    for raw in raws:
        if raw:
            return nanoseconds(raw, what)
    return None


def _has_failed(found: _Object) -> bool:
    code = found.status_code
    if found.status and is_object(found.status):
        status = decode(found.status, _STATUS, "status")
        code = status.code or status.status_code
    return bool(code) and bytes(code) in _FAILED

"""Spans for tests: as OTLP JSON, and as objects."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from recording_tree import Parsed, parse_file

from forkpoint.parsers.logs import HEAD_BYTES, Head
from forkpoint.parsers.span_log import SpanLog

TRACE = "5b8efff798038103d269b633813fc60c"
SECOND = 10**9
START = 1_772_442_000 * SECOND


def any_value(value: Any) -> dict[str, Any]:
    """A value as OTLP JSON has it."""
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)}
    if isinstance(value, float):
        return {"doubleValue": value}
    if isinstance(value, list):
        return {"arrayValue": {"values": [any_value(each) for each in value]}}
    if isinstance(value, dict):
        return {"kvlistValue": {"values": pairs(value)}}
    return {"stringValue": value} if isinstance(value, str) else {}


def pairs(attributes: dict[str, Any]) -> list[dict[str, Any]]:
    """Attributes as OTLP JSON has them."""
    return [{"key": key, "value": any_value(value)} for key, value in attributes.items()]


def span(
    id_: int | str,
    attributes: dict[str, Any],
    *,
    parent: int | str | None = None,
    name: str = "chat",
    at: tuple[float, float] = (0, 1),
    trace: str = TRACE,
    **more: Any,
) -> dict[str, Any]:
    """An OTLP span; times in seconds after `START`."""
    return {
        "traceId": trace,
        "spanId": hex_of(id_),
        "parentSpanId": "" if parent is None else hex_of(parent),
        "name": name,
        "startTimeUnixNano": str(START + int(at[0] * SECOND)),
        "endTimeUnixNano": str(START + int(at[1] * SECOND)),
        "attributes": pairs(attributes),
        **more,
    }


def hex_of(id_: int | str) -> str:
    return f"{id_:016x}" if isinstance(id_, int) else id_


def log_record(attributes: dict[str, Any], **more: Any) -> dict[str, Any]:
    """An OTLP log record, a second after `START`."""
    return {"timeUnixNano": str(START + SECOND), "attributes": pairs(attributes), **more}


def request(*spans: dict[str, Any], scope: str = "sdk", logs: bool = False,
            resource: dict[str, Any] | None = None) -> dict[str, Any]:  # fmt: skip
    """An export request of spans or log records."""
    signal, records = ("Logs", "logRecords") if logs else ("Spans", "spans")
    scopes = [{"scope": {"name": scope}, records: list(spans)}]
    about = {"attributes": pairs(resource or {})}
    return {f"resource{signal}": [{"resource": about, f"scope{signal}": scopes}]}


def flat_span(
    id_: int | str,
    attributes: dict[str, Any],
    *,
    parent: int | str | None = None,
    name: str = "llm",
    at: tuple[float, float] = (0, 1),
    trace: str = TRACE,
    **more: Any,
) -> dict[str, Any]:
    """A span as an object, as Phoenix has it."""
    return {
        "name": name,
        "context": {"trace_id": trace, "span_id": hex_of(id_)},
        "parent_id": None if parent is None else hex_of(parent),
        "start_time": f"2026-03-02T09:00:{at[0]:06.3f}+00:00",
        "end_time": f"2026-03-02T09:00:{at[1]:06.3f}+00:00",
        "status_code": "OK",
        "attributes": attributes,
        "events": [],
        **more,
    }


class Read(Parsed):
    """What a file gave, and what was counted along the way."""

    @property
    def n_merged(self) -> int:
        return self.log.merged

    def texts(self, node: int | None) -> list[str]:
        """The contents of a node's path."""
        assert node is not None
        return [segment.content for segment in self.tree.path(node)]


def read(parser: SpanLog, folder: Path, *records: Any, data: bytes | None = None) -> Read:
    """Read a file with a record a line, or with these bytes."""
    path = folder / "spans.jsonl"
    lines = (each if isinstance(each, str) else json.dumps(each) for each in records)
    path.write_bytes(data if data is not None else ("\n".join(lines) + "\n").encode())
    return read_path(parser, path)


def read_path(parser: SpanLog, path: Path) -> Read:
    """Read a file."""
    return Read(*parse_file(parser, path))


def claim(parser: SpanLog, *records: Any, data: bytes | None = None) -> str | None:
    """Why the parser claims a file of such records, if it does."""
    data = "\n".join(json.dumps(each) for each in records).encode() if data is None else data
    return parser.identify(Head(Path("spans.jsonl"), data[:HEAD_BYTES]))

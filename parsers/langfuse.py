"""Langfuse exports: traces with their observations, and observations alone.

A trace export is one document, ``{"trace": {id, name, sessionId, …}, "observations": [observation,
…]}``, or, from the API, the trace with its observations in it. Exports of observations are JSON Lines,
lists or pages ``{"data": […]}``, in the API's names (``traceId``, ``usageDetails``, ``model``) or in
those of the tables that blob-storage exports write (``trace_id``, ``usage_details``,
``provided_model_name``). What to know about them:

- Calls are observations of the type ``GENERATION``. Agents, chains and spans that state usage sum up
  or estimate what is in them.
- A generation in a generation describes one call twice (a framework's and an SDK's instrumentation),
  or all calls of one run (Vercel's AI SDK): the inner ones count if any of them states usage, else
  the outer one. A tool or an agent in between makes the inner one a call of its own.
- A generation without output and usage is an event of a framework's own, or was never answered; one
  that failed and counts nothing was not paid for.
- Counts: see `langfuse_usage`. Costs are Langfuse's, from its price list, unless the tracer sent one.
- Inputs and outputs have any shape: see `observed_messages`. Tool definitions may stand in
  ``toolDefinitions`` or in the attributes that a tracer sent (``metadata``).
- A provider's response id among those attributes names the call, in whatever log it stands, too.

https://github.com/langfuse/langfuse 0ea65da (``packages/shared/src/domain/observations.ts``,
``packages/shared/src/server/otel``), 01ed630 (``web/src/features/public-api``).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import msgspec

from forkpoint.parsers.agent_session import known_cost, provider_named, seconds_between
from forkpoint.parsers.base import ROOT, Tree
from forkpoint.parsers.envelope import moment_of
from forkpoint.parsers.export_rows import export_rows, first_row
from forkpoint.parsers.exported_calls import ObservedCalls
from forkpoint.parsers.json_list import elements
from forkpoint.parsers.langfuse_usage import usage_of
from forkpoint.parsers.logs import BAD_RECORD, Head, Line, Log
from forkpoint.parsers.observed_messages import (
    completion_messages,
    prompt_messages,
    with_unlogged,
)
from forkpoint.parsers.raw_json import (
    Fields,
    decode,
    decode_fields,
    decode_text,
    is_list,
    is_text,
    object_of,
    present,
    text_of,
)
from forkpoint.parsers.record_names import record_digest
from forkpoint.parsers.records import Call, Issue, Record, Trace, Usage
from forkpoint.parsers.spans import json_object, unpacked
from forkpoint.parsers.twin_calls import Key, Seen, twins

_CALL = "GENERATION"
_BETWEEN = frozenset(("SPAN", "CHAIN", "EVENT", None))
"""What may stand between a call and its twin."""
_CONTINUES = "gen_ai.conversation.id"
"""For OpenAI's Responses API, the id of the response that a request continues."""
_RESPONSE_IDS = ("gen_ai.response.id", "ai.response.id", "llm.response.id")
_TOOL_ATTRIBUTES = ("gen_ai.tool.definitions", "ai.prompt.tools")
_PROVIDERS = ("ls_provider", "gen_ai.provider.name", "gen_ai.system", "llm.provider")
_ATTRIBUTE_MARKS = (b"gen_ai.", b"ls_provider", b"ai.prompt.", b"llm.provider")


class _Outline(msgspec.Struct):
    """What of an observation says how it hangs together with others."""

    id: str | None = None
    type: str | None = None
    traceId: str | None = None
    trace_id: str | None = None
    parentObservationId: str | None = None
    parent_observation_id: str | None = None
    observations: msgspec.Raw = msgspec.Raw()
    trace: msgspec.Raw = msgspec.Raw()

    @property
    def trace_of(self) -> str:
        return self.traceId or self.trace_id or ""

    @property
    def parent(self) -> str | None:
        return self.parentObservationId or self.parent_observation_id


class _TraceHead(msgspec.Struct):
    """A trace's own fields."""

    id: str | None = None
    name: str | None = None
    projectId: str | None = None
    project_id: str | None = None


_OUTLINE = msgspec.json.Decoder(_Outline)
_TRACE_HEAD = msgspec.json.Decoder(_TraceHead)

_AMOUNT = msgspec.json.Decoder(float, strict=False)
_RAWS = msgspec.json.Decoder(list[msgspec.Raw])

_USAGES = ("usageDetails", "usage_details", "usage")
_COUNTS = {
    "input": ("promptTokens", "prompt_tokens", "inputUsage", "input_usage"),
    "output": ("completionTokens", "completion_tokens", "outputUsage", "output_usage"),
    "total": ("totalTokens", "total_tokens", "totalUsage", "total_usage"),
}
_COSTS = ("totalCost", "total_cost", "calculatedTotalCost", "calculated_total_cost")


class Langfuse:
    """Reads Langfuse exports; see the module's docstring."""

    name: ClassVar[str] = "langfuse"
    title: ClassVar[str] = "Langfuse exports"
    checked: ClassVar[str] = "trace exports of 2025-12, 2026-11"
    evidence: ClassVar[tuple[str, ...]] = ("usage", "text", "timestamps")
    locations: ClassVar[tuple[str, ...]] = ()
    whole_prompts: ClassVar[bool] = True
    grows: ClassVar[bool] = False

    def identify(self, head: Head) -> str | None:
        """Why the file is of this format, or ``None``."""
        row = first_row(head)
        if _is_observation(row):
            return "each row is an observation of a trace"
        if "observations" in row and ("trace" in row or _is_trace(row)):
            return "a trace with its observations"
        try:
            trace = object_of(row, "trace")
        except BAD_RECORD:
            return None
        if trace is not None and _is_trace(trace):
            return "a trace, as Langfuse has it, before its observations"
        return None

    def parse(self, log: Log, tree: Tree) -> Iterator[Record]:
        """Yield one call a generation, and the traces."""
        seen: dict[Key, Seen] = {}
        for row in _observations(log):
            if isinstance(row, Line):
                _outline(row, seen)
        left_out = twins(seen, _CALL, _BETWEEN)
        log.merged = len(left_out)
        calls = ObservedCalls(tree)
        for row in _observations(log):
            if isinstance(row, Issue):
                yield row
                continue
            if isinstance(row, _TraceHead):
                yield from _trace_of_head(row, calls)
                continue
            log.offset = row.offset
            try:
                records = list(_records(row, calls, left_out))
            except BAD_RECORD as error:
                yield row.issue(error)
            else:
                yield from records


def _is_observation(row: Fields) -> bool:
    trace = "traceId" in row or "trace_id" in row
    parent = "parentObservationId" in row or "parent_observation_id" in row
    usage = any(name in row for name in (*_USAGES, *_COUNTS["input"]))
    return (
        trace
        and "type" in row
        and (parent or usage)
        and ("startTime" in row or "start_time" in row)
    )


def _is_trace(row: Fields) -> bool:
    return {"id", "timestamp"} <= row.keys() and ("sessionId" in row or "projectId" in row)


# ---- Rows -----------------------------------------------------------------------------------------


def _observations(log: Log) -> Iterator[Line | Issue | _TraceHead]:
    """A file's observations in its order, each trace export's own fields before its own."""
    for row in export_rows(log):
        if isinstance(row, Issue):
            yield row
            continue
        if b'"observations"' not in row.data:
            yield row
            continue
        try:
            found = list(_of_trace(row))
        except BAD_RECORD as error:
            yield row.issue(error)
            continue
        yield from found


def _of_trace(row: Line) -> Iterator[Line | _TraceHead]:
    """The observations of a trace export.

    Raises:
        ValueError, RecursionError: the trace, or its list of observations, is none.
    """
    outline = decode(row.data, _OUTLINE, "document")
    if not outline.observations:
        yield row
        return
    yield decode(outline.trace or row.data, _TRACE_HEAD, "trace")
    if not is_list(outline.observations):
        raise ValueError("observations: not a list")
    raws = decode(outline.observations, _RAWS, "observations")
    start = max(row.data.rfind(bytes(outline.observations)), 0)
    for each in elements(row.data, raws, start):
        number = each.line if row.offset == 0 and row.line == 1 else row.line
        yield Line(each.data, number, row.offset + each.offset)


def _outline(row: Line, seen: dict[Key, Seen]) -> None:
    """Note how an observation hangs together with others. One that cannot be read is noted later."""
    try:
        outline = decode(row.data, _OUTLINE, "observation")
        type_ = outline.type and outline.type.upper()
        counted = type_ == _CALL and _usage(decode_fields(row.data)) is not None
    except BAD_RECORD:
        return
    if outline.id is not None:
        seen[outline.trace_of, outline.id] = Seen(type_, outline.parent, counted)


# ---- Records --------------------------------------------------------------------------------------


def _trace_of_head(head: _TraceHead, calls: ObservedCalls) -> Iterator[Record]:
    if head.id:
        calls.traces.add(head.id)
        yield Trace(id=head.id, project=head.projectId or head.project_id, title=head.name)


def _records(row: Line, calls: ObservedCalls, left_out: set[Key]) -> Iterator[Record]:
    """The call that an observation is, and its trace if that is new.

    Raises:
        ValueError, RecursionError: it cannot be read.
    """
    fields = decode_fields(row.data)
    if (text_of(fields, "type") or "").upper() != _CALL:
        return
    own = text_of(fields, "id") or record_digest(row.data).hex()[:32]
    trace = text_of(fields, "traceId", "trace_id")
    if (trace or "", own) in left_out:
        return
    trace = trace or own
    usage = _usage(fields)
    given, made = present(fields, "input"), present(fields, "output")
    failed = _word_of(fields, "level") == "ERROR"
    if usage is None and (failed or made is None):
        return  # Nothing shows that it was answered.
    attributes = _attributes(fields, row)
    answers = [] if made is None else completion_messages(made)
    response_id = _word_of(attributes, *_RESPONSE_IDS)
    started = moment_of(fields, "startTime", "start_time")
    call = Call(
        identity=("", response_id) if response_id else (trace, own),
        trace=trace,
        line=row.line,
        offset=row.offset,
        prompt=ROOT,
        started_at=started,
        duration_s=seconds_between(started, moment_of(fields, "endTime", "end_time")),
        provider=provider_named(_word_of(attributes, *_PROVIDERS)),
        model=text_of(fields, "model", "providedModelName", "provided_model_name"),
        usage=usage,
        logged_cost_usd=_cost(fields),
    )
    messages = [] if given is None else prompt_messages(given, _tools(fields, attributes))
    before = _word_of(attributes, _CONTINUES)
    if messages and before is not None and before.startswith("resp_"):
        messages = with_unlogged(messages, before)
    project = _word_of(fields, "projectId", "project_id")
    named = Trace(id=trace, project=project, title=_word_of(fields, "traceName", "trace_name"))
    yield from calls.records(call, named, messages, answers, f"{trace}/{own}")


def _usage(fields: Fields) -> Usage | None:
    """What an observation counts, under the first names that count anything.

    Raises:
        ValueError: the counts contradict each other, or are none.
    """
    for name in _USAGES:
        raw = present(fields, name)
        usage = usage_of(unpacked(raw, name)) if raw is not None else None
        if usage is not None:
            return usage
    counts: Fields = {}
    for name, names in _COUNTS.items():
        raw = present(fields, *names)
        if raw is not None:
            counts[name] = raw
    return usage_of(json_object(counts))


def _cost(fields: Fields) -> float | None:
    raw = present(fields, *_COSTS)
    if raw is None:
        details = object_of(fields, "costDetails") or object_of(fields, "cost_details")
        raw = present(details, "total")
    return None if raw is None else known_cost(decode(raw, _AMOUNT, "cost"))


def _attributes(fields: Fields, row: Line) -> Fields:
    """What a tracer sent with an observation, if that may hold what is read of it."""
    if not any(mark in row.data for mark in _ATTRIBUTE_MARKS):
        return {}
    metadata = object_of(fields, "metadata") or {}
    return metadata | (object_of(metadata, "attributes") or {})


def _tools(fields: Fields, attributes: Fields) -> msgspec.Raw | None:
    for name in ("toolDefinitions", "tool_definitions"):
        raw = present(fields, name)
        if raw is not None and bytes(raw) not in (b"{}", b"[]", b'"{}"'):
            return raw
    return present(attributes, *_TOOL_ATTRIBUTES)


def _word_of(fields: Fields, *names: str) -> str | None:
    """The first of the named values that is there, if it is a string."""
    raw = present(fields, *names)
    return decode_text(raw, names[0]) or None if raw is not None and is_text(raw) else None

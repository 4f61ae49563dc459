"""LangSmith exports: runs, one object each, as JSON Lines, a list or a page of the API.

Run: ``{id, trace_id, parent_run_id, dotted_order, run_type, name, start_time, end_time, inputs,
outputs, extra: {metadata, invocation_params}, error, prompt_tokens, prompt_token_details, …}``. What
to know about them:

- Calls are runs of the type ``llm``. Chains sum up what is in them. A run may hold its children
  (``child_runs``). An ``llm`` run in an ``llm`` run describes one call twice: see `twin_calls`.
- ``dotted_order`` names a run's ancestors, root first, each as its time and its id: it stands in for
  a missing ``trace_id`` or ``parent_run_id``. ``session_id`` is the project, not a session.
- Counts: ``usage_metadata`` (of the message, of the outputs, or of ``extra.metadata``), whose
  ``input_tokens`` includes ``input_token_details.cache_read`` and ``.cache_creation``; the details
  need not sum. Where they exceed it, the writer left them out, and they are added. Else the run's own
  counts with ``prompt_token_details``; else what the API returned (``llm_output.token_usage``,
  ``usage``).
- ``inputs`` and ``outputs`` are the SDK's request and response, or LangChain's messages: see
  `observed_messages`. Tool definitions stand in ``extra.invocation_params.tools``.
- The API's response id, where a message has it, names the call, in whatever log it stands, too.
- A run that failed and counts nothing was not paid for.

https://github.com/langchain-ai/langsmith-sdk 017fb35 (``python/langsmith/schemas.py``);
https://docs.langchain.com/langsmith/log-llm-trace
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import ClassVar

import msgspec

from forkpoint.parsers.agent_session import known_cost, provider_named, seconds_between
from forkpoint.parsers.base import ROOT, Tree
from forkpoint.parsers.envelope import moment_of
from forkpoint.parsers.export_rows import export_rows, first_row
from forkpoint.parsers.exported_calls import ObservedCalls
from forkpoint.parsers.json_list import elements
from forkpoint.parsers.litellm_response import response_usage
from forkpoint.parsers.logs import BAD_RECORD, Head, Line, Log
from forkpoint.parsers.observed_messages import completion_messages, prompt_messages
from forkpoint.parsers.raw_json import (
    Fields,
    decode,
    decode_fields,
    decode_list,
    id_of,
    is_list,
    is_object,
    object_of,
    present,
    text_of,
    word_of,
)
from forkpoint.parsers.record_names import record_digest
from forkpoint.parsers.records import Call, Issue, Record, Tokens, Trace, Usage
from forkpoint.parsers.spans import json_object
from forkpoint.parsers.twin_calls import Key, Seen, twins

_CALL = "llm"
_BETWEEN = frozenset(("chain", "prompt", "parser", None))
_MAX_DEPTH = 64
"""How deep runs in runs are looked for."""
_RESPONSE_ID = re.compile(r"(?:chatcmpl-|cmpl-|resp_|msg_|gen-)\w[\w-]{5,}")
_DOTTED = re.compile(r"\d{8}T\d+Z([0-9a-fA-F-]{36})(?:\.|$)")


class _Details(msgspec.Struct):
    cache_read: Tokens | None = None
    cache_creation: Tokens | None = None
    ephemeral_5m_input_tokens: Tokens | None = None
    ephemeral_1h_input_tokens: Tokens | None = None
    reasoning: Tokens | None = None


class _Counts(msgspec.Struct):
    """LangChain's ``usage_metadata``, or the counts of a run, under one name each."""

    input_tokens: Tokens | None = None
    output_tokens: Tokens | None = None
    input_token_details: _Details | None = None
    output_token_details: _Details | None = None


class _RunCounts(msgspec.Struct):
    prompt_tokens: Tokens | None = None
    completion_tokens: Tokens | None = None
    prompt_token_details: _Details | None = None
    completion_token_details: _Details | None = None


_COUNTS = msgspec.json.Decoder(_Counts, strict=False)
_RUN_COUNTS = msgspec.json.Decoder(_RunCounts, strict=False)
_AMOUNT = msgspec.json.Decoder(float, strict=False)


class LangSmith:
    """Reads LangSmith's runs; see the module's docstring."""

    name: ClassVar[str] = "langsmith"
    title: ClassVar[str] = "LangSmith runs"
    checked: ClassVar[str] = "langsmith-sdk 017fb35 (no real file), 2026-11"
    evidence: ClassVar[tuple[str, ...]] = ("usage", "text", "timestamps")
    locations: ClassVar[tuple[str, ...]] = ()
    whole_prompts: ClassVar[bool] = True
    grows: ClassVar[bool] = False

    def identify(self, head: Head) -> str | None:
        """Why the file is of this format, or ``None``."""
        row = first_row(head)
        ids = ("dotted_order", "trace_id", "parent_run_id", "child_runs", "session_id")
        if "run_type" in row and "start_time" in row and any(name in row for name in ids):
            return "each row is a run with a run_type"
        return None

    def parse(self, log: Log, tree: Tree) -> Iterator[Record]:
        """Yield one call an ``llm`` run, and the traces."""
        seen: dict[Key, Seen] = {}
        for row in export_rows(log):
            if isinstance(row, Line):
                _outline(row, seen)
        left_out = twins(seen, _CALL, _BETWEEN)
        log.merged = len(left_out)
        calls = ObservedCalls(tree)
        for row in export_rows(log):
            if isinstance(row, Issue):
                yield row
                continue
            log.offset = row.offset
            yield from _row_records(row, calls, left_out)


def _row_records(row: Line, calls: ObservedCalls, left_out: set[Key]) -> Iterator[Record]:
    try:
        runs = _runs(row)
    except BAD_RECORD as error:
        yield row.issue(error)
        return
    for place, run in runs:
        try:
            records = list(_records(place, run, calls, left_out))
        except BAD_RECORD as error:
            yield place.issue(error)
        else:
            yield from records


def _runs(row: Line) -> list[tuple[Line, Fields]]:
    """A run and the runs in it, each with its place.

    Raises:
        ValueError, RecursionError: one of them is no object.
    """
    found: list[tuple[Line, Fields]] = []
    waiting = [(row, 0)]
    while waiting:
        place, depth = waiting.pop()
        run = decode_fields(place.data, "run")
        found.append((place, run))
        children = present(run, "child_runs")
        if children is not None and is_list(children) and depth < _MAX_DEPTH:
            inside = elements(place.data, decode_list(children, "child_runs"))
            waiting += [
                (Line(each.data, row.line, place.offset + each.offset), depth + 1)
                for each in inside
            ][::-1]
    return found


def _outline(row: Line, seen: dict[Key, Seen]) -> None:
    """Note how runs hang together. What cannot be read is reported later."""
    try:
        for place, run in _runs(row):
            type_ = (word_of(run, "run_type") or "").lower()
            counted = type_ == _CALL and _usage(run) is not None
            seen[_key(run, place)] = Seen(type_, _parent(run), counted)
    except BAD_RECORD:
        return


def _key(run: Fields, place: Line) -> Key:
    """A run's trace and id.

    Raises:
        ValueError: they are no ids.
    """
    own = id_of(run, "id") or record_digest(place.data).hex()[:32]
    ancestors = _ancestors(run)
    return id_of(run, "trace_id") or (ancestors[0] if ancestors else own), own


def _parent(run: Fields) -> str | None:
    found = id_of(run, "parent_run_id")
    ancestors = _ancestors(run)
    return found or (ancestors[-2] if len(ancestors) > 1 else None)


def _ancestors(run: Fields) -> list[str]:
    return _DOTTED.findall(word_of(run, "dotted_order") or "")


# ---- One run --------------------------------------------------------------------------------------


def _records(
    place: Line, run: Fields, calls: ObservedCalls, left_out: set[Key]
) -> Iterator[Record]:
    """The call that a run is, and its trace.

    Raises:
        ValueError, RecursionError: it cannot be read.
    """
    key = trace, own = _key(run, place)
    type_ = (text_of(run, "run_type") or "").lower()
    if _parent(run) is None and type_ != _CALL:
        calls.traces.add(trace)
        yield _trace(trace, run, title=word_of(run, "name"))
    if type_ != _CALL or key in left_out:
        return
    usage = _usage(run)
    outputs = present(run, "outputs")
    if usage is None and present(run, "error") is not None:
        return
    extra = object_of(run, "extra") or {}
    metadata = object_of(extra, "metadata") or {}
    asked = object_of(extra, "invocation_params") or {}
    answer = _message_fields(run)
    about = object_of(answer, "response_metadata") or {}
    response = object_of(run, "outputs") or {}
    started = moment_of(run, "start_time")
    call = Call(
        identity=_identity(key, about, response),
        trace=trace,
        line=place.line,
        offset=place.offset,
        prompt=ROOT,
        started_at=started,
        duration_s=seconds_between(started, moment_of(run, "end_time")),
        provider=provider_named(word_of(metadata, "ls_provider")),
        model=_model(about, response, metadata, asked),
        usage=usage,
        logged_cost_usd=_cost(run),
    )
    answers = [] if outputs is None else completion_messages(outputs)
    inputs = present(run, "inputs")
    messages = (
        [] if inputs is None else prompt_messages(inputs, present(asked, "tools", "functions"))
    )
    yield from calls.records(call, _trace(trace, run), messages, answers, own)


def _trace(trace: str, run: Fields, title: str | None = None) -> Trace:
    project = id_of(run, "session_name") or id_of(run, "session_id", "project_id")
    return Trace(id=trace, project=project, title=title)


def _message_fields(run: Fields) -> Fields:
    """The fields of the message that a LangChain model returned; none for other runs."""
    outputs = object_of(run, "outputs") or {}
    raw = present(outputs, "generations")
    while raw is not None and is_list(raw):
        inside = decode_list(raw, "generations")
        raw = inside[0] if inside else None
    if raw is None or not is_object(raw):
        return {}
    message = object_of(decode_fields(raw, "generations"), "message")
    return object_of(message, "kwargs") or object_of(message, "data") or message or {}


def _identity(key: Key, about: Fields, response: Fields) -> tuple[str, str]:
    for fields in (about, response):
        found = word_of(fields, "id")
        if found is not None and _RESPONSE_ID.fullmatch(found):
            return "", found
    return key


def _model(about: Fields, response: Fields, metadata: Fields, asked: Fields) -> str | None:
    """The model's name, from the response if it is there: that one is the most precise."""
    stated = object_of(response, "llm_output") or {}
    for fields, names in (
        (about, ("model_name", "model")),
        (stated, ("model_name", "model")),
        (response, ("model",)),
        (metadata, ("ls_model_name",)),
        (asked, ("model", "model_name")),
    ):
        raw = next((found for name in names if (found := word_of(fields, name))), None)
        if raw is not None:
            return raw
    return None


def _usage(run: Fields) -> Usage | None:
    """What a run counts, from the first place that counts anything.

    Raises:
        ValueError: the counts contradict each other, or are none.
    """
    outputs = object_of(run, "outputs") or {}
    extra = object_of(run, "extra")
    places = (outputs, _message_fields(run), object_of(extra, "metadata"))
    for fields in places:
        raw = present(fields, "usage_metadata")
        if raw is not None:
            usage = _checked(decode(raw, _COUNTS, "usage_metadata"))
            if usage is not None:
                return usage
    own = {name: run[name] for name in _RunCounts.__struct_fields__ if name in run}
    logged = decode(json_object(own), _RUN_COUNTS, "run")
    usage = _checked(
        _Counts(
            logged.prompt_tokens,
            logged.completion_tokens,
            logged.prompt_token_details,
            logged.completion_token_details,
        )
    )
    if usage is not None:
        return usage
    stated = object_of(outputs, "llm_output")
    raw = present(stated, "token_usage", "usage") or present(outputs, "usage")
    usage = None if raw is None else response_usage(raw)
    return usage if usage is not None and (usage.input_tokens or usage.output_tokens) else None


def _checked(counts: _Counts) -> Usage | None:
    """Counts as `Usage`; ``None`` if nothing was counted."""
    given, made = (
        counts.input_token_details or _Details(),
        counts.output_token_details or _Details(),
    )
    short, long = given.ephemeral_5m_input_tokens, given.ephemeral_1h_input_tokens
    write = given.cache_creation
    if short or long:
        # LangChain states either the sum or, where the API tells them apart, the lifetimes.
        write = max(write or 0, (short or 0) + (long or 0))
    cached = (given.cache_read or 0) + (write or 0)
    total, output = counts.input_tokens, counts.output_tokens
    if not any((total, output, cached)):
        return None
    if total is not None and cached > total:
        total += cached
    return Usage(
        input_tokens=total,
        cache_read_tokens=given.cache_read,
        cache_write_tokens=write,
        cache_write_1h_tokens=long,
        output_tokens=output,
        reasoning_tokens=made.reasoning,
    )


def _cost(run: Fields) -> float | None:
    raw = present(run, "total_cost")
    return None if raw is None else known_cost(decode(raw, _AMOUNT, "total_cost"))

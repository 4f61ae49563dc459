"""LLM call logs: one call a line, its prompt as one rendered text (LMCache agent traces).

Record: ``{"timestamp": int µs since 1970, "input": str, "output": str, "session_id": str}``, as in
github.com/LMCache/lmcache-agent-trace. What to know about these logs:

- Lines are not in time order. The order of the file means nothing; `Call.started_at` does.
- The input is the whole prompt as text, without message boundaries. The next input of a session
  usually begins with this one, then goes on with text that is not the output alone (role labels,
  tool results). So prompts, and prompts with their outputs, are cut by content, not by message.
- An empty output is a response that was rendered to nothing (a tool call): it was not logged. An
  empty input is a prompt that was rendered to nothing: the call is kept, with an empty prompt.
- There are no token counts, no record ids and, as a rule, no model. One input may be sent several
  times with equal or different outputs: these are calls of their own.
- A session may be several agents that take turns: their prompts need not share a beginning.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Annotated, ClassVar

import msgspec

from forkpoint.parsers.base import ROOT, Tree
from forkpoint.parsers.logs import Head, Line, Log, decode_json, read_each
from forkpoint.parsers.record_names import RecordNames
from forkpoint.parsers.records import Call, Record, Trace

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_Micros = Annotated[int, msgspec.Meta(ge=0, le=253_402_300_799_999_999)]
"""Microseconds since 1970, up to the last instant of the year 9999."""

_CUT_FIRST_LINE = re.compile(
    rb'\s*+\{(?=[^{}\[\]]*?"timestamp"\s*+:\s*+\d)'
    rb'(?:\s*+"(?:timestamp|session_id|model)"\s*+:\s*+(?:"(?:[^"\\]|\\.)*+"|\d++|null)\s*+,)++'
    rb'\s*+"input"\s*+:\s*+"',
    re.DOTALL,
)
"""The beginning of a first record that is longer than the head: small fields, then the input."""

_IDS_BESIDE_TEXT = frozenset({"token_ids", "prompt_token_ids", "prompt_ids", "input_ids"})
"""Records with logged token ids are better read as such."""


class _Record(msgspec.Struct, gc=False):
    input: str
    output: str | None = None
    timestamp: _Micros | None = None
    session_id: str | int | None = None
    model: str | None = None


_DECODER = msgspec.json.Decoder(_Record)


class LlmCallJsonl:
    """Reads one call a line with rendered text; see the module's docstring."""

    name: ClassVar[str] = "llm-call-jsonl"
    title: ClassVar[str] = "LLM call JSONL (LMCache agent traces)"
    checked: ClassVar[str] = "lmcache-agent-trace 16a14ad, 2026-11"
    evidence: ClassVar[tuple[str, ...]] = ("text", "timestamps")
    locations: ClassVar[tuple[str, ...]] = ()
    whole_prompts: ClassVar[bool] = True
    grows: ClassVar[bool] = True

    def identify(self, head: Head) -> str | None:
        """Why the file is of this format, or ``None``."""
        if head.objects:
            return _identify_record(head.objects[0])
        if not head.lines and _CUT_FIRST_LINE.match(head.data):
            return "its first record is a timestamp and a long input text"
        return None

    def parse(self, log: Log, tree: Tree) -> Iterator[Record]:
        """Yield one call a line, and a trace per session."""
        names = RecordNames(log.checkpoint)
        sessions: set[str] = set()

        def read(line: Line) -> Iterator[Record]:
            call = _call(line, tree, names)
            if call.trace not in sessions:
                sessions.add(call.trace)
                yield Trace(id=call.trace)
            yield call

        yield from read_each(log.lines(), read)
        log.checkpoint = names.checkpoint()


def _identify_record(record: dict[str, object]) -> str | None:
    stamp = record.get("timestamp")
    known = (
        isinstance(stamp, int)
        and not isinstance(stamp, bool)
        and isinstance(record.get("input"), str)
        and isinstance(record.get("output"), str | None)
        and {"output", "session_id"} <= record.keys()
    )
    if known and not _IDS_BESIDE_TEXT & record.keys():
        return "each line has a timestamp, input and output as text, and a session_id"
    return None


def _call(line: Line, tree: Tree, names: RecordNames) -> Call:
    record = decode_json(line.data, _DECODER, _Record)
    digest = names.digest(line.data)
    prompt, completion = ROOT, None
    if record.input:
        prompt = tree.extend_text(ROOT, "prompt", record.input)
    if record.output:
        completion = tree.extend_text(ROOT, "prompt", record.input + record.output)
    identity, started_at = None, None
    if record.timestamp is not None:
        identity = ("", names.numbered(digest))
        started_at = _EPOCH + timedelta(microseconds=record.timestamp)
    session = names.file_id if record.session_id is None else str(record.session_id)
    return Call(
        identity=identity,
        trace=session,
        line=line.line,
        offset=line.offset,
        prompt=prompt,
        completion=completion,
        started_at=started_at,
        model=record.model,
    )

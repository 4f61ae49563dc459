"""verifiers evaluation results: ``results.jsonl``, one rollout a line, beside ``metadata.json``.

Row: ``{example_id, prompt, completion, reward, answer, info, timing, is_completed, is_truncated,
metrics, tool_defs, token_usage, error, …}``, metrics repeated at the top, and whatever columns the
user asked for (github.com/PrimeIntellect-ai/verifiers, verifiers/legacy/utils/save_utils.py; runs of
verifiers v1 write ``traces.jsonl``, see `prime_rl`). What to know about it:

- ``prompt`` and ``completion`` are lists of chat messages, or texts. Each assistant message of a
  completion is a call; those of a prompt are examples.
- ``tool_calls`` hold strings, each a tool call as JSON.
- ``answer`` is the expected one, not the model's: it is not read.
- ``token_usage`` sums all calls of the rollout, in floating-point numbers. Of a rollout of one call
  it is that call's usage; else single calls have none, and their sizes come from their text.
- ``timing.model.spans`` are the calls' times, where their number is right. Old rows have
  ``start_time`` and ``generation_ms``.
- The model and the environment stand in ``metadata.json``, written when the run ends.
- Rollouts of one ``example_id`` in a file are a group. A rollout that failed has no completion.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime
from itertools import pairwise
from typing import Annotated, ClassVar, NamedTuple

import msgspec

from forkpoint.parsers.base import ROOT, Tree
from forkpoint.parsers.chat import Segment, message_segments
from forkpoint.parsers.local_clock import from_epoch
from forkpoint.parsers.logs import BAD_RECORD, Head, Line, Log, read_each
from forkpoint.parsers.message_paths import MessagePaths
from forkpoint.parsers.model_names import model_name
from forkpoint.parsers.raw_json import (
    canonical,
    decode,
    decode_fields,
    decode_list,
    decode_text,
    is_list,
    is_text,
    present,
)
from forkpoint.parsers.record_names import RecordNames
from forkpoint.parsers.records import Call, Kind, Record, Trace, Usage
from forkpoint.parsers.sampled_messages import role_of

_CUT_FIRST_LINE = re.compile(
    rb'\s*+\{\s*+"example_id"\s*+:\s*+(?:-?\d++|"[^"\\]*+")\s*+,\s*+"prompt"\s*+:\s*+["\[]'
)
_FIELDS = frozenset({"example_id", "prompt", "completion", "reward"})
_MAX_METADATA_BYTES = 1 << 20

_Seconds = Annotated[float, msgspec.Meta(ge=0, le=2e11)]
_Count = Annotated[float, msgspec.Meta(ge=0, le=2**53)]


class _Span(msgspec.Struct):
    start: _Seconds = 0.0
    end: _Seconds = 0.0


class _Spans(msgspec.Struct):
    spans: list[_Span] | None = None


class _Timing(msgspec.Struct):
    start_time: _Seconds | None = None
    generation_ms: _Seconds | None = None
    model: _Spans | None = None


class _TokenUsage(msgspec.Struct):
    input_tokens: _Count | None = None
    output_tokens: _Count | None = None


class _Row(msgspec.Struct):
    example_id: int | str
    prompt: msgspec.Raw = msgspec.Raw()
    completion: msgspec.Raw = msgspec.Raw()
    reward: float | None = None
    timing: _Timing | None = None
    token_usage: _TokenUsage | None = None
    tool_defs: list[msgspec.Raw] | None = None


class _Metadata(msgspec.Struct):
    env_id: str | None = None
    model: str | None = None


class _Times(NamedTuple):
    started_at: datetime | None
    duration_s: float | None


_ROW = msgspec.json.Decoder(_Row)
_METADATA = msgspec.json.Decoder(_Metadata)


class Verifiers:
    """Reads verifiers results; see the module's docstring."""

    name: ClassVar[str] = "verifiers"
    title: ClassVar[str] = "verifiers evaluation results"
    checked: ClassVar[str] = "from its source code (a60a606), 2026-11"
    evidence: ClassVar[tuple[str, ...]] = ("usage", "text", "timestamps", "rewards")
    locations: ClassVar[tuple[str, ...]] = ()
    whole_prompts: ClassVar[bool] = True
    grows: ClassVar[bool] = True

    def identify(self, head: Head) -> str | None:
        """Why the file is of this format, or ``None``."""
        if head.objects:
            found = head.objects[0].keys() >= _FIELDS
            return "each line has an example_id, prompt, completion and reward" if found else None
        if not head.lines and _CUT_FIRST_LINE.match(head.data):
            return "its first record is an example_id and a long prompt"
        return None

    def parse(self, log: Log, tree: Tree) -> Iterator[Record]:
        """Yield one rollout a line, and one call for each assistant message of its completion."""
        reading = _Reading(log, tree)
        yield from read_each(log.lines(), reading.records)
        log.checkpoint = reading.names.checkpoint()


def _metadata(log: Log) -> _Metadata:
    """What the run's settings say; nothing where there are none, or none that can be read: rows
    count without them."""
    try:
        with open(log.path.with_name("metadata.json"), "rb") as stream:
            return decode(stream.read(_MAX_METADATA_BYTES), _METADATA, "metadata")
    except (OSError, *BAD_RECORD):
        return _Metadata()


def _segments(raw: msgspec.Raw) -> list[Segment]:
    """A message, whose tool calls may be strings. Raises ValueError: it is none."""
    if b'"tool_calls"' in bytes(raw):
        fields = decode_fields(raw, "message")
        calls = present(fields, "tool_calls")
        if calls is not None:
            fields["tool_calls"] = msgspec.Raw(
                msgspec.json.encode([_opened(call) for call in decode_list(calls, "tool_calls")])
            )
            raw = msgspec.Raw(msgspec.json.encode(fields))
    return message_segments(raw)


def _opened(call: msgspec.Raw) -> msgspec.Raw:
    if not is_text(call):
        return call
    text = decode_text(call, "tool_calls").encode()
    decode_fields(text, "tool_calls")
    return msgspec.Raw(text)


class _Reading:
    """One file being read."""

    def __init__(self, log: Log, tree: Tree) -> None:
        self.names = RecordNames(log.checkpoint)
        metadata = _metadata(log)
        self._environment = metadata.env_id
        self._model = model_name(metadata.model)
        self._tree = tree
        self._paths = MessagePaths(tree, _segments)

    def records(self, line: Line) -> list[Record]:
        """The row's rollout and its calls.

        Raises:
            ValueError, RecursionError: the row cannot be read.
        """
        row = decode(line.data, _ROW)
        trace = self.names.numbered(self.names.digest(line.data))
        prompt = self._messages(self._tools(row), row.prompt, "user")[-1][1]
        steps = self._messages(prompt, row.completion, "assistant")
        made = [(before, after) for before, after, role in _pairs(steps) if role == "assistant"]
        times = _times(row.timing or _Timing(), len(made))
        calls = [
            Call(
                identity=(trace, str(index)),
                trace=trace,
                line=line.line,
                offset=line.offset,
                prompt=before,
                completion=after,
                started_at=when.started_at,
                duration_s=when.duration_s,
                provider=self._model.provider,
                model=self._model.model,
                usage=_usage(row) if len(made) == 1 else None,
            )
            for index, ((before, after), when) in enumerate(zip(made, times, strict=True))
        ]
        rollout = Trace(
            id=trace,
            project=self._environment,
            agent="verifiers",
            group=f"{self.names.file_id}/{row.example_id}",
            reward=row.reward,
            leaf=steps[-1][1],
            prompt=prompt if not calls else None,
        )
        return [rollout, *calls]

    def _tools(self, row: _Row) -> int:
        node = ROOT
        for tool in row.tool_defs or ():
            node = self._tree.extend(node, Kind.TOOLS, "", canonical(tool, "tool_defs"))
        return node

    def _messages(self, node: int, raw: msgspec.Raw, role: str) -> list[tuple[str, int]]:
        """The roles of messages and the node after each, from the node before them on.

        Raises:
            ValueError: they are neither a text nor a list of messages.
        """
        steps = [("", node)]
        if not raw or bytes(raw) == b"null":
            return steps
        if is_text(raw):
            text = decode_text(raw, "prompt" if role == "user" else "completion")
            return [*steps, (role, self._tree.extend(node, Kind.TEXT, role, text))]
        for message in decode_list(raw, "messages") if is_list(raw) else [raw]:
            node = self._paths.step(node, message)
            steps.append((role_of(message), node))
        return steps


def _pairs(steps: list[tuple[str, int]]) -> Iterator[tuple[int, int, str]]:
    """Each step with the node before it."""
    for (_, before), (role, after) in pairwise(steps):
        yield before, after, role


def _usage(row: _Row) -> Usage | None:
    logged = row.token_usage
    if logged is None or not (logged.input_tokens or logged.output_tokens):
        return None
    return Usage(
        input_tokens=_whole(logged.input_tokens), output_tokens=_whole(logged.output_tokens)
    )


def _whole(count: float | None) -> int | None:
    return None if count is None else int(count)


def _times(timing: _Timing, n_calls: int) -> list[_Times]:
    """When each call started, as far as the row says."""
    spans = timing.model.spans if timing.model is not None else None
    if spans is not None and len(spans) == n_calls:
        return [_Times(from_epoch(span.start or None), _length(span)) for span in spans]
    if n_calls != 1:
        return [_Times(None, None)] * n_calls
    length = timing.generation_ms
    return [_Times(from_epoch(timing.start_time or None), None if not length else length / 1000)]


def _length(span: _Span) -> float | None:
    return span.end - span.start if span.end >= span.start > 0 else None

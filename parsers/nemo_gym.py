"""NeMo-Gym rollouts: one rollout a line, as a Responses request and all that came of it.

Record: ``{"responses_create_params": {"input": …, "tools": […], …}, "response": {"output": […],
"usage": …, "model": …, …}, "reward": float, "_ng_task_index": int, "_ng_rollout_index": int, …}``,
appended by ``gym eval`` (github.com/NVIDIA-NeMo/Gym 07d6b0d, ``nemo_gym/rollout_collection.py``;
its environments' ``example_rollouts.jsonl``). What to know about it:

- ``response.output`` has the whole conversation after the input: what the model wrote and, between,
  results of its tools and words of a simulated user. Each run of model-written items is a call.
- Items may carry ``prompt_token_ids``, ``generation_token_ids`` and ``generation_log_probs`` of the
  call that they are the last item of. Where every call has them, calls are token ids, and the
  items are their text.
- ``usage`` of a rollout of several calls is their sum, or the last call's, or all zeros, as the
  agent has it. It is a call's usage only where the rollout is one call; zeros mean unknown.
- Agents that run another program (a coding agent in a sandbox) log its conversation, not the system
  prompt and tools that it sent.
- Some environments give ``output`` as a list of transitions, each the conversation so far and one
  action with its outcome. The last action of each is a call.
- ``_ng_task_index`` counts in one collection, so it names a group within its file only; without it
  rollouts of the same input are a group. A rollout that failed may have no response.
- Files of inputs and of profiles beside it have no ``response``.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, ClassVar, NamedTuple

import msgspec

from forkpoint.parsers.base import ROOT, Tree
from forkpoint.parsers.chat import Segment, extend_all, item_segments
from forkpoint.parsers.document import head_fields
from forkpoint.parsers.logs import Head, Line, Log, read_each
from forkpoint.parsers.raw_json import (
    canonical,
    decode,
    decode_list,
    decode_text,
    is_list,
    is_text,
)
from forkpoint.parsers.record_names import RecordNames
from forkpoint.parsers.records import Call, Kind, Record, Scores, Tokens, Trace, Usage
from forkpoint.parsers.sample_rows import content_digest, number_of

_MADE = frozenset(("function_call", "custom_tool_call", "reasoning"))
_LAST_SECOND = 253_402_300_799
"""Of the year 9999, since 1970."""


class _Params(msgspec.Struct):
    input: msgspec.Raw = msgspec.Raw()
    instructions: msgspec.Raw = msgspec.Raw()
    tools: msgspec.Raw = msgspec.Raw()


class _Response(msgspec.Struct):
    output: list[msgspec.Raw] | None = None
    usage: msgspec.Raw = msgspec.Raw()
    model: str | None = None
    created_at: float | None = None


class _Row(msgspec.Struct):
    responses_create_params: _Params
    response: _Response | None = None
    reward: Any = None
    task_index: int | str | None = msgspec.field(default=None, name="_ng_task_index")


class _Item(msgspec.Struct):
    type: str | None = None
    role: str | None = None
    prompt_token_ids: list[int] | None = None
    generation_token_ids: list[int] | None = None
    generation_log_probs: list[float | None] | None = None

    @property
    def made(self) -> bool:
        """Whether a model wrote it."""
        if self.type is None or self.type == "message":
            return self.role == "assistant"
        return self.type in _MADE or self.type.endswith("_call")


class _InputDetails(msgspec.Struct):
    cached_tokens: Tokens | None = None


class _OutputDetails(msgspec.Struct):
    reasoning_tokens: Tokens | None = None


class _Usage(msgspec.Struct):
    input_tokens: Tokens | None = None
    output_tokens: Tokens | None = None
    prompt_tokens: Tokens | None = None
    completion_tokens: Tokens | None = None
    input_tokens_details: _InputDetails | None = None
    prompt_tokens_details: _InputDetails | None = None
    output_tokens_details: _OutputDetails | None = None


class _Turn(NamedTuple):
    """One call: where its prompt and its completion end, as text."""

    prompt: int
    completion: int
    item: _Item
    """The last one the model wrote."""


_ROW = msgspec.json.Decoder(_Row)
_ITEM = msgspec.json.Decoder(_Item)
_USAGE = msgspec.json.Decoder(_Usage)


class NemoGym:
    """Reads NeMo-Gym's rollouts; see the module's docstring."""

    name: ClassVar[str] = "nemo-gym"
    title: ClassVar[str] = "NeMo-Gym rollouts"
    checked: ClassVar[str] = "NeMo-Gym 07d6b0d, 2026-11"
    evidence: ClassVar[tuple[str, ...]] = (
        "usage",
        "token ids",
        "text",
        "timestamps",
        "rewards",
        "logprobs",
    )
    locations: ClassVar[tuple[str, ...]] = ()
    whole_prompts: ClassVar[bool] = True
    grows: ClassVar[bool] = True

    def identify(self, head: Head) -> str | None:
        """Why the file is of this format, or ``None``."""
        if head.lines:
            records = head.objects
        else:
            records = [head_fields(head)] if b'"responses_create_params"' in head.data else []
        for record in records:
            if "responses_create_params" in record and "response" in record:
                return "each line has responses_create_params and a response"
        name = head.path.name
        cut = not head.lines and records and list(records[0]) == ["responses_create_params"]
        if cut and "rollouts" in name and "_inputs" not in name:
            return "its first record begins with long responses_create_params"
        return None

    def parse(self, log: Log, tree: Tree) -> Iterator[Record]:
        """Yield a rollout for each line, and its calls."""
        rows = _Rows(log, tree)
        yield from read_each(log.lines(), rows.records)
        log.checkpoint = rows.names.checkpoint()


class _Rows:
    """The rows of one file, entered into its tree."""

    def __init__(self, log: Log, tree: Tree) -> None:
        self.names = RecordNames(log.checkpoint)
        self._tree = tree
        self._tools = (b"", ROOT)

    def records(self, line: Line) -> list[Record]:
        """A row's rollout, its calls and their logprobs.

        Raises:
            ValueError, RecursionError: it cannot be read.
        """
        row = decode(line.data, _ROW)
        name = self.names.short_name(line.data)
        scope = self.names.file_id
        params, response = row.responses_create_params, row.response or _Response()
        given = self._given(params)
        turns, leaf = self._turns(given, response.output or [])
        group: int | str | None = row.task_index
        if group is None:
            group = content_digest(b"\0".join((params.input, params.tools)))
        trace = Trace(
            id=f"{scope}/{name}",
            group=f"{scope}/{group}",
            reward=number_of(row.reward),
            leaf=leaf if row.response is not None and leaf != ROOT else None,
        )
        usage = _usage(response.usage) if len(turns) == 1 else None
        started_at = _moment(response.created_at) if len(turns) == 1 else None
        as_ids = all(turn.item.generation_token_ids for turn in turns)
        records: list[Record] = []
        for number, turn in enumerate(turns):
            call = Call(
                identity=(trace.id, str(number)),
                trace=trace.id,
                line=line.line,
                offset=line.offset,
                prompt=turn.prompt,
                completion=turn.completion,
                started_at=started_at,
                model=response.model or None,
                usage=usage,
            )
            records += self._of_ids(call, turn.item) if as_ids else [call]
        if as_ids and turns:
            last = next(call for call in reversed(records) if isinstance(call, Call))
            trace = msgspec.structs.replace(trace, leaf=last.completion)
        return [trace, *records]

    def _given(self, params: _Params) -> int:
        """The node after what the rollout began with: tools, instructions, input."""
        node = self._tools[1]
        if bytes(params.tools) != self._tools[0]:
            node = ROOT
            if params.tools and is_list(params.tools):
                for tool in decode_list(params.tools, "tools"):
                    node = self._tree.extend(node, Kind.TOOLS, "", canonical(tool, "tools"))
            self._tools = (bytes(params.tools), node)
        segments: list[Segment] = []
        if params.instructions and is_text(params.instructions):
            text = decode_text(params.instructions, "instructions")
            segments.append(Segment(Kind.SYSTEM, "system", text))
        if params.input and is_text(params.input):
            segments.append(Segment(Kind.TEXT, "user", decode_text(params.input, "input")))
        elif params.input and is_list(params.input):
            for item in decode_list(params.input, "input"):
                segments += item_segments(item)
        return extend_all(self._tree, node, segments)

    def _turns(self, given: int, output: list[msgspec.Raw]) -> tuple[list[_Turn], int]:
        """The calls in an output, and the node after it."""
        if not output or not is_list(output[0]):
            return self._conversation(given, output)
        turns, leaf = [], given
        for transition in output:
            items = decode_list(transition, "output")
            found, leaf = self._conversation(given, items)
            turns += found[-1:]
        return turns, leaf

    def _conversation(self, node: int, items: list[msgspec.Raw]) -> tuple[list[_Turn], int]:
        turns: list[_Turn] = []
        begun: int | None = None
        last = _Item()
        for raw in items:
            item = decode(raw, _ITEM, "output")
            before, node = node, extend_all(self._tree, node, item_segments(raw))
            if item.made:
                begun, last = before if begun is None else begun, item
                if item.generation_token_ids:
                    turns.append(_Turn(begun, node, item))
                    begun = None
            elif begun is not None:
                turns.append(_Turn(begun, before, last))
                begun = None
        if begun is not None:
            turns.append(_Turn(begun, node, last))
        return turns, node

    def _of_ids(self, call: Call, item: _Item) -> list[Record]:
        """The call as token ids, and the logprobs of what was sampled."""
        given, made = item.prompt_token_ids or [], item.generation_token_ids or []
        prompt = self._tree.extend_tokens(ROOT, given)
        completion = self._tree.extend_tokens(ROOT, given + made)
        call = msgspec.structs.replace(
            call, prompt=prompt, completion=completion, text=call.completion
        )
        if item.generation_log_probs is None:
            return [call]
        scores = Scores(
            trace=call.trace,
            line=call.line,
            offset=call.offset,
            prompt=prompt,
            completion=completion,
            tokens=made,
            logprobs=item.generation_log_probs,
        )
        return [call, scores]


def _usage(raw: msgspec.Raw) -> Usage | None:
    """What the response reports. Raises ValueError: it is no usage."""
    if not raw or bytes(raw) == b"null":
        return None
    logged = decode(raw, _USAGE, "usage")
    given = logged.prompt_tokens if logged.input_tokens is None else logged.input_tokens
    made = logged.completion_tokens if logged.output_tokens is None else logged.output_tokens
    if not given and not made:
        return None
    read = logged.input_tokens_details or logged.prompt_tokens_details
    thought = logged.output_tokens_details
    return Usage(
        input_tokens=given,
        cache_read_tokens=None if read is None else read.cached_tokens,
        output_tokens=made,
        reasoning_tokens=None if thought is None else thought.reasoning_tokens,
    )


def _moment(seconds: float | None) -> datetime | None:
    """A time, if it is one: agents without a clock write 0."""
    if seconds is None or not 0 < seconds <= _LAST_SECOND:
        return None
    return datetime.fromtimestamp(seconds, UTC)

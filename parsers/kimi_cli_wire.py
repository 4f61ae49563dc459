"""Kimi CLI's ``wire.jsonl`` (`wire/types.py` of github.com/MoonshotAI/kimi-cli, read at 4a550ef).

Lines are ``{"timestamp": seconds, "message": {"type", "payload"}}``. A turn is ``TurnBegin``, then for
each step ``StepBegin``, the response as ``ContentPart`` and ``ToolCall`` messages, a ``StatusUpdate``
with ``token_usage`` and ``message_id``, and the ``ToolResult`` messages. What to know:

- Each step is one call. Results may stand before the step's ``StatusUpdate``, and a ``StatusUpdate``
  may repeat a ``message_id`` with larger counts.
- ``token_usage`` is ``{"input_other", "output", "input_cache_read", "input_cache_creation"}``: the
  counts exclude each other. It is ``null`` where the provider reported none.
- ``ToolCallPart`` goes on with the arguments of the last tool call.
- What a step said before ``StepRetry`` or ``StepInterrupted`` does not enter the context.
- ``CompactionBegin`` puts a summary, which is not logged, in the place of the context.
- A subagent's messages are wrapped in ``SubagentEvent``.
- Models, the system prompt and the tool definitions are not logged.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

import msgspec

from forkpoint.parsers.agent_session import disjoint_usage, moment, unlogged_beginning
from forkpoint.parsers.base import Tree
from forkpoint.parsers.chat import Segment, argument_text, call_segment, extend_all
from forkpoint.parsers.kimi_parts import Agent, OpenCall, joined, part_segments
from forkpoint.parsers.logs import Line
from forkpoint.parsers.raw_json import decode
from forkpoint.parsers.records import Call, Kind, Tokens, Trace, Usage


class _Message(msgspec.Struct):
    type: str
    payload: msgspec.Raw = msgspec.Raw(b"{}")


class _Line(msgspec.Struct):
    message: _Message
    timestamp: float | None = None


class _UserInput(msgspec.Struct):
    user_input: msgspec.Raw = msgspec.Raw()


class _Function(msgspec.Struct):
    name: str | None = None
    arguments: msgspec.Raw = msgspec.Raw()


class _ToolCall(msgspec.Struct):
    function: _Function


class _ToolCallPart(msgspec.Struct):
    arguments_part: str | None = None


class _ReturnValue(msgspec.Struct):
    output: msgspec.Raw = msgspec.Raw()
    message: str | None = None


class _ToolResult(msgspec.Struct):
    return_value: _ReturnValue | None = None
    result: msgspec.Raw = msgspec.Raw()


class _Counts(msgspec.Struct):
    input_other: Tokens | None = None
    output: Tokens | None = None
    input_cache_read: Tokens | None = None
    input_cache_creation: Tokens | None = None

    def usage(self) -> Usage | None:
        return disjoint_usage(
            uncached=self.input_other,
            cache_read=self.input_cache_read,
            cache_write=self.input_cache_creation,
            output=self.output,
        )


class _StatusUpdate(msgspec.Struct):
    token_usage: _Counts | None = None
    message_id: str | None = None


class _SubagentEvent(msgspec.Struct):
    event: _Message
    agent_id: str | None = None
    parent_tool_call_id: str | None = None
    task_tool_call_id: str | None = None


_LINE = msgspec.json.Decoder(_Line)
_USER_INPUT = msgspec.json.Decoder(_UserInput)
_TOOL_CALL = msgspec.json.Decoder(_ToolCall)
_TOOL_CALL_PART = msgspec.json.Decoder(_ToolCallPart)
_TOOL_RESULT = msgspec.json.Decoder(_ToolResult)
_STATUS_UPDATE = msgspec.json.Decoder(_StatusUpdate)
_SUBAGENT_EVENT = msgspec.json.Decoder(_SubagentEvent)

_MAX_DEPTH = 8
"""Subagents within subagents; the program allows one level."""


class CliWire:
    """The messages of one session: a conversation, and those of its subagents."""

    def __init__(self, tree: Tree, agent: Agent) -> None:
        self._tree = tree
        self._agent = agent
        self._conversations: dict[str, _Conversation] = {}

    def add(self, line: Line) -> None:
        """Take in one line.

        Raises:
            ValueError, RecursionError: it cannot be read; nothing has changed.
        """
        record = decode(line.data, _LINE)
        seconds = record.timestamp
        at = moment(None if seconds is None else seconds * 1000)
        agent, message = self._agent, record.message
        for _ in range(_MAX_DEPTH):
            if message.type != "SubagentEvent":
                break
            inner = decode(message.payload, _SUBAGENT_EVENT, "payload")
            name = inner.agent_id or inner.parent_tool_call_id or inner.task_tool_call_id or ""
            agent, message = Agent(f"{agent.trace_id}/{name}", agent.trace_id), inner.event
        conversation = self._conversations.get(agent.trace_id)
        if conversation is None:
            conversation = _Conversation(self._tree, agent)
            self._conversations[agent.trace_id] = conversation
        conversation.add(message, line, at)

    def calls(self) -> Iterator[Call]:
        """All calls, when the file is read."""
        for each in self._conversations.values():
            yield from each.calls()

    def traces(self) -> list[Trace]:
        """The session and its subagents, as far as they have messages."""
        return [each.agent.trace() for each in self._conversations.values()]


class _Conversation:
    """What one agent was sent and answered."""

    def __init__(self, tree: Tree, agent: Agent) -> None:
        self.tree = tree
        self.agent = agent
        self.node = -1
        """Where the context ends before the step; -1: nothing was sent yet."""
        self.said: list[Segment] = []
        """The step's response so far."""
        self.results: list[Segment] = []
        self.step_began: datetime | None = None
        self.compactions = 0
        self.open: dict[str, OpenCall] = {}

    def add(self, message: _Message, line: Line, at: datetime | None) -> None:
        """Take in one message.

        Raises:
            ValueError: it cannot be read; nothing has changed.
        """
        payload = message.payload
        match message.type:
            case "TurnBegin" | "SteerInput":
                given = decode(payload, _USER_INPUT, "payload").user_input
                segments = part_segments(given, Kind.TEXT, "user")
                self._end_step()
                self.node = extend_all(self.tree, self._end(), segments)
            case "StepBegin":
                self._end_step()
                self.step_began = at
            case "ContentPart":
                self.said += part_segments(payload, Kind.TEXT, "assistant")
            case "ToolCall":
                function = decode(payload, _TOOL_CALL, "payload").function
                arguments = argument_text(function.arguments)
                self.said.append(call_segment("assistant", function.name, arguments))
            case "ToolCallPart":
                self._go_on(decode(payload, _TOOL_CALL_PART, "payload").arguments_part)
            case "ToolResult":
                self.results += _result_segments(payload)
            case "StatusUpdate":
                self._count(decode(payload, _STATUS_UPDATE, "payload"), line, at)
            case "StepRetry" | "StepInterrupted":
                self.said, self.results = [], []
            case "CompactionBegin":
                self._compact()

    def _end(self) -> int:
        if self.node < 0:
            kind = "main" if self.agent.parent is None else "subagent"
            self.node = unlogged_beginning(self.tree, "kimi-cli", kind)
        return self.node

    def _end_step(self) -> None:
        """The step's response and its tools' results enter the context."""
        self.node = extend_all(self.tree, self._end(), [*joined(self.said), *self.results])
        self.said, self.results = [], []

    def _go_on(self, arguments: str | None) -> None:
        last = self.said[-1] if self.said else None
        if last is not None and last.kind is Kind.TOOL_CALL:
            self.said[-1] = last._replace(text=last.text + (arguments or ""))

    def _count(self, status: _StatusUpdate, line: Line, at: datetime | None) -> None:
        if status.message_id is None and status.token_usage is None:
            return
        usage = status.token_usage.usage() if status.token_usage is not None else None
        key = status.message_id or f"line {line.line}"
        known = self.open.get(key)
        if known is None:
            prompt = self._end()
            completion = extend_all(self.tree, prompt, joined(self.said))
            known = OpenCall(key, line, prompt, completion, self.step_began or at)
            self.open[key] = known
        known.count(usage)

    def _compact(self) -> None:
        self.compactions += 1
        after = f"compaction {self.compactions} of {self.agent.trace_id}"
        self.node = unlogged_beginning(self.tree, "kimi-cli", after)
        self.said, self.results = [], []

    def calls(self) -> Iterator[Call]:
        return (each.call(self.agent) for each in self.open.values())


def _result_segments(payload: msgspec.Raw) -> list[Segment]:
    given = decode(payload, _TOOL_RESULT, "payload")
    if given.return_value is None:
        return [Segment(Kind.TOOL_RESULT, "tool", argument_text(given.result))]
    found = part_segments(given.return_value.output, Kind.TOOL_RESULT, "tool")
    if given.return_value.message:
        found.append(Segment(Kind.TOOL_RESULT, "tool", given.return_value.message))
    return found

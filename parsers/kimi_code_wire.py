"""Kimi Code's ``wire.jsonl`` (`agent/records/types.ts` of github.com/MoonshotAI/kimi-code, read at
d723cc4; protocol 1.1 to 1.5).

Lines are ``{"type", "time": milliseconds, …}``, the records that an agent's state is rebuilt from.
What is read of them:

- ``config.update`` and ``profile.bind``: the system prompt. ``llm.tools_snapshot``: tool definitions.
- ``context.append_message``: a message. ``context.append_loop_event``: a step of the model's, from
  ``step.begin`` over ``content.part`` and ``tool.call`` to ``step.end`` with its usage, and
  ``tool.result``. Each step is one call.
- ``llm.request``: the model of the next step. ``usage.record``: usage by model. With the scope
  ``turn`` it repeats what ``step.end`` said; any other is a call of its own, such as a compaction's.
- ``context.apply_compaction``, ``context.clear``, ``context.undo``: what becomes of the context. A
  compaction keeps users' messages and appends its summary; older ones kept all after the first
  ``compactedCount`` messages instead.

Counts are ``{"inputOther", "output", "inputCacheRead", "inputCacheCreation"}`` and exclude each other.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

import msgspec

from forkpoint.parsers.agent_session import (
    disjoint_usage,
    moment,
    provider_named,
    seconds_between,
    unlogged_beginning,
)
from forkpoint.parsers.base import ROOT, Tree
from forkpoint.parsers.chat import (
    Segment,
    argument_text,
    call_segment,
    extend_all,
    kind_of,
)
from forkpoint.parsers.kimi_parts import Agent, OpenCall, part_segments
from forkpoint.parsers.logs import Line
from forkpoint.parsers.raw_json import canonical, decode, is_text
from forkpoint.parsers.records import Call, Kind, Tokens, Trace, Usage


class _Counts(msgspec.Struct, rename="camel"):
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


class _Origin(msgspec.Struct):
    kind: str | None = None


class _ToolCall(msgspec.Struct):
    name: str | None = None
    arguments: msgspec.Raw = msgspec.Raw()


class _Message(msgspec.Struct, rename="camel"):
    role: str
    content: msgspec.Raw = msgspec.Raw()
    tool_calls: list[_ToolCall] | None = None
    origin: _Origin | None = None


class _Result(msgspec.Struct):
    output: msgspec.Raw = msgspec.Raw()


class _Event(msgspec.Struct, rename="camel"):
    type: str
    uuid: str | None = None
    message_id: str | None = None
    part: msgspec.Raw = msgspec.Raw()
    name: str | None = None
    args: msgspec.Raw = msgspec.Raw()
    result: _Result | None = None
    usage: _Counts | None = None


class _Record(msgspec.Struct, rename="camel"):
    """A record; each type has some of the fields."""

    type: str
    time: float | None = None


class _Config(msgspec.Struct, rename="camel"):
    system_prompt: str | None = None
    cwd: str | None = None


class _Tools(msgspec.Struct):
    tools: list[msgspec.Raw] = []


class _Request(msgspec.Struct):
    model: str | None = None
    provider: str | None = None


class _UsageRecord(msgspec.Struct, rename="camel"):
    model: str | None = None
    usage: _Counts | None = None
    usage_scope: str | None = None


class _Appended(msgspec.Struct):
    message: _Message


class _LoopEvent(msgspec.Struct):
    event: _Event


class _Compaction(msgspec.Struct, rename="camel"):
    summary: msgspec.Raw = msgspec.Raw()
    context_summary: str | None = None
    compacted_count: int = 0
    kept_user_message_count: int | None = None
    kept_head_user_message_count: int | None = None


class _Undo(msgspec.Struct):
    count: int = 0


class _Said(msgspec.Struct):
    """One message of the context."""

    segments: list[Segment]
    by_user: bool = False
    origin: str | None = None
    end: int = -1
    """The node where it ends, while nothing before it has changed; -1: not known."""


_RECORD = msgspec.json.Decoder(_Record)
_CONFIG = msgspec.json.Decoder(_Config)
_TOOLS = msgspec.json.Decoder(_Tools)
_REQUEST = msgspec.json.Decoder(_Request)
_USAGE_RECORD = msgspec.json.Decoder(_UsageRecord)
_APPENDED = msgspec.json.Decoder(_Appended)
_LOOP_EVENT = msgspec.json.Decoder(_LoopEvent)
_COMPACTION = msgspec.json.Decoder(_Compaction)
_UNDO = msgspec.json.Decoder(_Undo)

_USER_ORIGINS = frozenset((None, "user", "skill_activation", "plugin_command"))


class CodeWire:
    """The records of one agent."""

    def __init__(self, tree: Tree, agent: Agent) -> None:
        self.tree = tree
        self.agent = agent
        self.project: str | None = None
        self.system: str | None = None
        self.tools: list[str] = []
        self.request = _Request()
        self.context: list[_Said] = []
        self.node = -1
        """Where the context ends; -1: to be built anew."""
        self.step: OpenCall | None = None
        self.answer = _Said([])
        """The step's message, the last of the context while the step goes on."""
        self.done: list[OpenCall] = []
        self.seen = False

    def add(self, line: Line) -> None:
        """Take in one line.

        Raises:
            ValueError, RecursionError: it cannot be read; nothing has changed.
        """
        record = decode(line.data, _RECORD)
        at = moment(record.time)
        self.seen = self.seen or record.type != "metadata"
        match record.type:
            case "config.update" | "profile.bind":
                self._configure(decode(line.data, _CONFIG))
            case "llm.tools_snapshot":
                given = decode(line.data, _TOOLS).tools
                self.tools = [canonical(tool, "tool") for tool in given]
                self.node = -1
            case "llm.request":
                self.request = decode(line.data, _REQUEST)
            case "usage.record":
                self._record_usage(decode(line.data, _USAGE_RECORD), line, at)
            case "context.append_message":
                self._append(_said(decode(line.data, _APPENDED).message))
            case "context.append_loop_event":
                self._loop(decode(line.data, _LOOP_EVENT).event, line, at)
            case "context.apply_compaction":
                self._compact(decode(line.data, _COMPACTION))
            case "context.clear":
                self.context, self.node = [], -1
            case "context.undo":
                self._undo(decode(line.data, _UNDO).count)

    def _configure(self, config: _Config) -> None:
        self.project = config.cwd or self.project
        if config.system_prompt is not None and config.system_prompt != self.system:
            self.system = config.system_prompt
            self.node = -1

    def _end(self) -> int:
        """The node where the context ends."""
        if self.node < 0:
            node = ROOT
            for tool in self.tools:
                node = self.tree.extend(node, Kind.TOOLS, "", tool)
            if self.system is not None:
                node = self.tree.extend(node, Kind.SYSTEM, "system", self.system)
            elif not self.tools:
                node = unlogged_beginning(self.tree, "kimi-code")
            for said in self.context:
                node = said.end = extend_all(self.tree, node, said.segments)
            self.node = node
        return self.node

    def _append(self, said: _Said) -> None:
        self.node = said.end = extend_all(self.tree, self._end(), said.segments)
        self.context.append(said)

    def _loop(self, event: _Event, line: Line, at: datetime | None) -> None:
        match event.type:
            case "step.begin":
                key = event.uuid or f"line {line.line}"
                self.step = OpenCall(key, line, self._end(), None, at)
                self.step.model = self.request.model
                self.step.provider = provider_named(self.request.provider)
                self.answer = _Said([], end=self._end())
                self.context.append(self.answer)
            case "content.part":
                self._say(part_segments(event.part, Kind.TEXT, "assistant"))
            case "tool.call":
                arguments = argument_text(event.args)
                self._say([call_segment("assistant", event.name, arguments)])
            case "tool.result":
                output = event.result.output if event.result is not None else msgspec.Raw()
                self._append(_Said(part_segments(output, Kind.TOOL_RESULT, "tool")))
            case "step.end":
                self._end_step(event, at)

    def _say(self, segments: list[Segment]) -> None:
        self.node = self.answer.end = extend_all(self.tree, self._end(), segments)
        self.answer.segments += segments
        if self.step is not None:
            self.step.completion = self.node

    def _end_step(self, event: _Event, at: datetime | None) -> None:
        usage = event.usage.usage() if event.usage is not None else None
        if self.step is None:
            return
        self.step.key = event.message_id or self.step.key
        self.step.duration_s = seconds_between(self.step.started_at, at)
        self.step.count(usage)
        self.done.append(self.step)
        self.step = None

    def _record_usage(self, record: _UsageRecord, line: Line, at: datetime | None) -> None:
        usage = record.usage.usage() if record.usage is not None else None
        if record.usage_scope == "turn":
            if self.done:
                self.done[-1].model = record.model or self.done[-1].model
                self.done[-1].count(usage)
            return
        call = OpenCall(f"usage {record.model} {record.usage} {at}", line, self._end(), None, at)
        call.model, call.usage = record.model, usage
        self.done.append(call)

    def _compact(self, compaction: _Compaction) -> None:
        summary = compaction.context_summary
        if summary is not None or is_text(compaction.summary):
            text = summary if summary is not None else argument_text(compaction.summary)
            said = _Said([Segment(Kind.TEXT, "user", text)], origin="compaction_summary")
        else:
            said = _said(decode(compaction.summary, _MESSAGE, "summary"))
        kept = compaction.kept_user_message_count
        if kept is None:
            self.context = [said, *self.context[max(compaction.compacted_count, 0) :]]
        else:
            self.context = [*self._kept(kept, compaction.kept_head_user_message_count), said]
        self.node = -1

    def _kept(self, count: int, of_head: int | None) -> list[_Said]:
        """The users' messages that a compaction keeps: the newest, or some oldest and newest."""
        users = [each for each in self.context if each.by_user]
        head = max(of_head or 0, 0)
        tail = max(count - head, 0)
        return users[:head] + users[max(len(users) - tail, head) :]

    def _undo(self, count: int) -> None:
        """Take back the last turns. What the program itself put in stays."""
        kept: list[_Said] = []
        while self.context and count > 0:
            said = self.context[-1]
            if said.origin == "compaction_summary":
                break
            self.context.pop()
            if said.origin == "injection":
                kept.append(said)
            elif said.by_user:
                count -= 1
        # Where nothing before it changed, the last message that stays still ends at its node.
        whole = self.node >= 0 and not kept and self.context
        self.node = self.context[-1].end if whole else -1
        self.context += reversed(kept)

    def calls(self) -> Iterator[Call]:
        """All calls, when the file is read."""
        return (each.call(self.agent) for each in self.done)

    def traces(self) -> list[Trace]:
        """The agent, if the file has records of its."""
        return [self.agent.trace(self.project)] if self.seen else []


_MESSAGE = msgspec.json.Decoder(_Message)


def _said(message: _Message) -> _Said:
    """A message as an entry of the context.

    Raises:
        ValueError: its content has another shape.
    """
    segments = part_segments(message.content, kind_of(message.role), message.role)
    for call in message.tool_calls or ():
        segments.append(call_segment(message.role, call.name, argument_text(call.arguments)))
    origin = message.origin.kind if message.origin is not None else None
    return _Said(segments, message.role == "user" and origin in _USER_ORIGINS, origin)

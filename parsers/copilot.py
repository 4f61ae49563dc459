"""Copilot CLI sessions: ``~/.copilot/session-state/<session>/events.jsonl``, earlier ``<session>.jsonl``.

One event a line, ``{"type", "data", "id", "timestamp", "parentId", "agentId"?}`` (the schema is
`nodejs/src/generated/session-events.ts` of github.com/github/copilot-sdk, read at cc0438d). What is
read of them:

- ``session.start``, ``session.resume``, ``session.model_change``: session, folder, model.
- ``system.message``, ``user.message`` (``transformedContent`` is what was sent), ``assistant.message``,
  ``tool.execution_complete``: the conversation. One response may be split over several messages, which
  share ``apiCallId``; it is one call. Of a call, only ``outputTokens`` are written to disk.
- ``session.compaction_complete``: a call with all its counts. Its summary begins the next context.
- ``assistant.usage``: all counts of a call. It is not meant for the disk; where a client kept it, it
  counts.
- ``session.snapshot_rewind``: ``upToEventId`` and all later events leave the context.
- ``session.shutdown``: counts by model since the process began or, in newer versions, since the session
  did; the output tokens of the messages tell which. What they count beyond the calls whose input is
  known is one more call for each model, the sum of many requests: its price is that of one long prompt
  where a model's price depends on the length. The calls it sums up are then left without counts.
- ``agentId``, or ``parentToolCallId`` in older versions: a subagent.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import ClassVar

import msgspec

from forkpoint.parsers.agent_session import unlogged_beginning
from forkpoint.parsers.base import Tree
from forkpoint.parsers.chat import Segment, argument_text, call_segment, extend_all
from forkpoint.parsers.copilot_totals import Counts, SessionTotals
from forkpoint.parsers.logs import BAD_RECORD, Head, Line, Log
from forkpoint.parsers.raw_json import decode
from forkpoint.parsers.records import Call, Issue, Kind, Record, Tokens, Trace, Usage


class _Event(msgspec.Struct, rename="camel"):
    type: str
    data: msgspec.Raw = msgspec.Raw(b"{}")
    id: str | None = None
    timestamp: datetime | None = None
    agent_id: str | None = None


class _Place(msgspec.Struct, rename="camel"):
    cwd: str | None = None


class _Start(msgspec.Struct, rename="camel"):
    session_id: str | None = None
    copilot_version: str | None = None
    selected_model: str | None = None
    context: _Place | None = None
    detached_from_spawning_parent_session_id: str | None = None


class _ModelChange(msgspec.Struct, rename="camel"):
    new_model: str | None = None


class _Text(msgspec.Struct, rename="camel"):
    """A system's or a user's message."""

    content: str | None = None
    transformed_content: str | None = None
    parent_tool_call_id: str | None = None


class _ToolRequest(msgspec.Struct):
    name: str | None = None
    arguments: msgspec.Raw = msgspec.Raw()


class _Answer(msgspec.Struct, rename="camel"):
    message_id: str | None = None
    api_call_id: str | None = None
    content: str | None = None
    reasoning_text: str | None = None
    tool_requests: list[_ToolRequest] | None = None
    model: str | None = None
    output_tokens: Tokens | None = None
    parent_tool_call_id: str | None = None


class _Failure(msgspec.Struct):
    message: str | None = None


class _ToolResult(msgspec.Struct, rename="camel"):
    result: msgspec.Raw = msgspec.Raw()
    error: _Failure | None = None
    parent_tool_call_id: str | None = None


class _ResultContent(msgspec.Struct):
    content: str | None = None


class _Compaction(msgspec.Struct, rename="camel"):
    success: bool | None = None
    summary_content: str | None = None
    compaction_tokens_used: Counts | None = None


class _Rewind(msgspec.Struct, rename="camel"):
    up_to_event_id: str | None = None


class _ModelMetrics(msgspec.Struct):
    usage: Counts | None = None


class _Shutdown(msgspec.Struct, rename="camel"):
    model_metrics: dict[str, _ModelMetrics] | None = None


class _Open(msgspec.Struct):
    """A call of which more may be said."""

    key: str
    agent: str
    line: Line
    prompt: int
    completion: int | None
    at: datetime | None
    model: str | None = None
    usage: Usage | None = None
    summed: bool = False
    """A shutdown counts it."""


_EVENT = msgspec.json.Decoder(_Event)
_START = msgspec.json.Decoder(_Start)
_MODEL_CHANGE = msgspec.json.Decoder(_ModelChange)
_TEXT = msgspec.json.Decoder(_Text)
_ANSWER = msgspec.json.Decoder(_Answer)
_TOOL_RESULT = msgspec.json.Decoder(_ToolResult)
_RESULT_CONTENT = msgspec.json.Decoder(_ResultContent)
_COUNTS = msgspec.json.Decoder(Counts)
_COMPACTION = msgspec.json.Decoder(_Compaction)
_REWIND = msgspec.json.Decoder(_Rewind)
_SHUTDOWN = msgspec.json.Decoder(_Shutdown)

_FIRST = frozenset(("session.start", "session.resume", "user.message", "assistant.message"))


class Copilot:
    """Reads Copilot CLI sessions; see the module's docstring."""

    name: ClassVar[str] = "copilot"
    title: ClassVar[str] = "Copilot CLI"
    checked: ClassVar[str] = "event schema copilot-sdk cc0438d, 2026-11"
    evidence: ClassVar[tuple[str, ...]] = ("usage", "text", "timestamps")
    locations: ClassVar[tuple[str, ...]] = (
        "$COPILOT_HOME/session-state",
        "~/.copilot/session-state",
    )
    whole_prompts: ClassVar[bool] = False
    grows: ClassVar[bool] = False

    def identify(self, head: Head) -> str | None:
        """Why the file is of this format, or ``None``."""
        for record in head.objects:
            kind = str(record.get("type"))
            if kind in _FIRST and isinstance(record.get("data"), dict):
                return f"events with type and data (first: {kind})"
        return None

    def parse(self, log: Log, tree: Tree) -> Iterator[Record]:
        """Yield the calls of one session and its subagents, and their traces."""
        session = _Session(
            tree, log.path.parent.name if log.path.stem == "events" else log.path.stem
        )
        for line in log.lines():
            if isinstance(line, Issue):
                yield line
                continue
            try:
                session.add(decode(line.data, _EVENT), line)
            except BAD_RECORD as error:
                yield line.issue(error)
        yield from session.calls()
        yield from session.traces()


class _Session:
    """One file being read."""

    def __init__(self, tree: Tree, session_id: str) -> None:
        self.tree = tree
        self.id = session_id
        self.start = _Start()
        self.model: str | None = None
        self.nodes: dict[str, int] = {}
        """Where each agent's context ends, by agent; the session's own is ``""``."""
        self.open: dict[str, _Open] = {}
        self.before: dict[str, int] = {}
        """Where the session's own context ended before each event, by event id."""
        self.system: dict[str, str] = {}
        """Each agent's newest system message: it is logged again when nothing has changed."""
        self.totals = SessionTotals()
        self.counted: dict[str, Line] = {}
        """The first shutdown that counts each model."""
        self.ended: datetime | None = None
        """When the newest shutdown was."""

    def add(self, event: _Event, line: Line) -> None:
        """Take in one event.

        Raises:
            ValueError, RecursionError: it cannot be read; nothing has changed.
        """
        if event.id is not None and event.id in self.before:
            return  # a line may stand in a file twice
        data, before = event.data, self.nodes.get("", -1)
        match event.type:
            case "session.start" | "session.resume":
                self._begin(decode(data, _START, "data"))
            case "session.model_change":
                self.model = decode(data, _MODEL_CHANGE, "data").new_model or self.model
            case "system.message":
                self._instruct(event, decode(data, _TEXT, "data"))
            case "user.message":
                self._tell(event, decode(data, _TEXT, "data"))
            case "assistant.message":
                self._answer(event, decode(data, _ANSWER, "data"), line)
            case "tool.execution_complete":
                self._tool_result(event, decode(data, _TOOL_RESULT, "data"))
            case "assistant.usage":
                self._count(event, decode(data, _COUNTS, "data"), line)
            case "session.compaction_complete":
                self._compact(event, decode(data, _COMPACTION, "data"), line)
            case "session.shutdown":
                self._shut_down(event, decode(data, _SHUTDOWN, "data"), line)
            case "session.snapshot_rewind":
                self._rewind(decode(data, _REWIND, "data").up_to_event_id)
        if event.id is not None:
            self.before[event.id] = before

    def _begin(self, start: _Start) -> None:
        if start.session_id is not None or self.start.session_id is None:
            self.start = start
            self.id = start.session_id or self.id
        self.model = start.selected_model or self.model

    def _end(self, agent: str) -> int:
        if agent not in self.nodes:
            version = self.start.copilot_version
            kind = "subagent" if agent else "main"
            node = unlogged_beginning(self.tree, "copilot", version, kind)
            if agent in self.system:
                node = self.tree.extend(node, Kind.SYSTEM, "system", self.system[agent])
            self.nodes[agent] = node
        return self.nodes[agent]

    def _instruct(self, event: _Event, message: _Text) -> None:
        agent, text = event.agent_id or "", message.content or ""
        if self.system.get(agent) != text:
            self.nodes[agent] = self.tree.extend(self._end(agent), Kind.SYSTEM, "system", text)
            self.system[agent] = text

    def _tell(self, event: _Event, message: _Text) -> None:
        agent = event.agent_id or message.parent_tool_call_id or ""
        text = message.transformed_content or message.content or ""
        self.nodes[agent] = self.tree.extend(self._end(agent), Kind.TEXT, "user", text)

    def _rewind(self, event_id: str | None) -> None:
        """Go back to before an event of the session's own conversation."""
        node = self.before.get(event_id or "")
        if node is not None and node >= 0:
            self.nodes[""] = node

    def _tool_result(self, event: _Event, given: _ToolResult) -> None:
        agent = event.agent_id or given.parent_tool_call_id or ""
        text = given.error.message or "" if given.error is not None else _result_text(given.result)
        self.nodes[agent] = self.tree.extend(self._end(agent), Kind.TOOL_RESULT, "tool", text)

    def _open_call(self, key: str | None, agent: str, event: _Event, line: Line) -> _Open:
        name = key or event.id or f"line {line.line}"
        if name not in self.open:
            self.open[name] = _Open(name, agent, line, self._end(agent), None, event.timestamp)
        return self.open[name]

    def _answer(self, event: _Event, answer: _Answer, line: Line) -> None:
        segments = _answer_segments(answer)
        agent = event.agent_id or answer.parent_tool_call_id or ""
        before = self._end(agent)
        call = self._open_call(answer.api_call_id or answer.message_id, agent, event, line)
        self.nodes[agent] = extend_all(self.tree, before, segments)
        if call.completion is None or call.completion == before:
            call.completion = self.nodes[agent]
        call.model = answer.model or call.model or self.model
        self._count_output(call, answer.output_tokens)

    def _count_output(self, call: _Open, tokens: int | None) -> None:
        known = (call.usage and call.usage.output_tokens) or 0
        if tokens is not None and tokens > known:
            call.usage = Usage(output_tokens=tokens)
            self.totals.add_output(call.model, tokens - known)

    def _count(self, event: _Event, counts: Counts, line: Line) -> None:
        usage = counts.usage()
        if usage is not None:
            call = self._open_call(counts.api_call_id, event.agent_id or "", event, line)
            call.model = call.model or counts.model or self.model
            self._count_output(call, usage.output_tokens)
            call.usage = usage

    def _compact(self, event: _Event, compaction: _Compaction, line: Line) -> None:
        agent, counts = event.agent_id or "", compaction.compaction_tokens_used
        if counts is not None:
            self._count(event, counts, line)
        if compaction.success and compaction.summary_content is not None:
            self.nodes.pop(agent, None)
            text = compaction.summary_content
            self.nodes[agent] = self.tree.extend(self._end(agent), Kind.TEXT, "user", text)

    def _shut_down(self, event: _Event, shutdown: _Shutdown, line: Line) -> None:
        counted = {
            model: metrics.usage.usage()
            for model, metrics in (shutdown.model_metrics or {}).items()
            if metrics.usage is not None
        }
        self.totals.shut_down(counted)
        for model in counted:
            self.counted.setdefault(model, line)
        for call in self.open.values():
            call.summed = call.summed or call.model is None or call.model in counted
        self.ended = event.timestamp

    def calls(self) -> Iterator[Call]:
        """All calls, when the file is read: those that were logged, then what is left over."""
        logged = list(self.open.values())
        for each in logged:
            each.model = each.model or self.totals.only_model
            if each.summed and each.usage is not None and each.usage.input_tokens is None:
                each.usage = None  # output alone has no price: it is left to the sum
            yield self._call(each)
        for model in self.totals.models:
            summed = [each for each in logged if each.summed and each.model == model]
            known = [each.usage for each in summed if each.usage is not None]
            left = self.totals.left_over(model, known)
            if left is not None:
                prompt = unlogged_beginning(self.tree, "copilot", "all calls")
                key, line = f"{self.id} {model}", self.counted[model]
                rest = self._call(_Open(key, "", line, prompt, None, self.ended, model, left))
                yield msgspec.structs.replace(rest, is_sum=True)

    def _call(self, call: _Open) -> Call:
        trace = f"{self.id}/{call.agent}" if call.agent else self.id
        return Call(
            identity=("", f"copilot:{call.key}"),
            trace=trace,
            line=call.line.line,
            offset=call.line.offset,
            prompt=call.prompt,
            completion=call.completion,
            started_at=call.at,
            model=call.model,
            usage=call.usage,
            sidechain=bool(call.agent),
        )

    def traces(self) -> Iterator[Trace]:
        """The session, and its subagents."""
        start = self.start
        version = start.copilot_version
        agent = f"Copilot CLI {version}" if version else "Copilot CLI"
        project = start.context.cwd if start.context is not None else None
        parent = start.detached_from_spawning_parent_session_id
        yield Trace(id=self.id, parent=parent, project=project, agent=agent)
        for name in self.nodes:
            if name:
                yield Trace(id=f"{self.id}/{name}", parent=self.id, project=project, agent=agent)


def _answer_segments(answer: _Answer) -> list[Segment]:
    segments = []
    if answer.reasoning_text:
        segments.append(Segment(Kind.THINKING, "assistant", answer.reasoning_text))
    if answer.content:
        segments.append(Segment(Kind.TEXT, "assistant", answer.content))
    for request in answer.tool_requests or ():
        arguments = argument_text(request.arguments)
        segments.append(call_segment("assistant", request.name, arguments))
    return segments


def _result_text(raw: msgspec.Raw) -> str:
    """What a tool told the model: its result's ``content``, or a text in early versions."""
    if raw and bytes(raw)[:1] == b"{":
        return decode(raw, _RESULT_CONTENT, "result").content or ""
    return argument_text(raw)

"""OpenHands events as a path of prompts and responses; see `openhands`."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, NamedTuple

import msgspec

from forkpoint.parsers.base import ROOT, Tree
from forkpoint.parsers.chat import (
    Segment,
    argument_text,
    call_segment,
    extend_all,
    message_segments,
)
from forkpoint.parsers.litellm_response import response_usage
from forkpoint.parsers.local_clock import ahead_of_utc, as_utc, clock_time
from forkpoint.parsers.logs import BAD_RECORD, Line
from forkpoint.parsers.model_names import model_name
from forkpoint.parsers.raw_json import (
    Fields,
    canonical,
    decode,
    decode_fields,
    decode_list,
    is_object,
    present,
    word_of,
)
from forkpoint.parsers.records import Call, Issue, Kind

_Seconds = Annotated[float, msgspec.Meta(ge=0, le=2e11)]

_SUMMARY = -1
"""Stands for the event id of a condensation's summary."""

# fmt: off
_NOT_SENT = frozenset((
    "null", "agent_state_changed", "change_agent_state", "loop_recovery",
    "loop_detection", "start", "pause", "resume", "stop", "push", "send_pr", "condensation_request",
))
"""Actions and observations that the model is not shown."""
_BOOKKEEPING = frozenset((
    "thought", "keep_prompt", "is_confirmed", "confirmation_state", "action_risk", "security_risk",
    "kernel_init_code", "blocking", "hidden", "is_input", "is_static", "cwd", "include_extra",
    "hard_timeout", "wait_for_response", "task_completed", "final_thought",
))
"""Arguments of actions that no model wrote."""
_EVENT_FIELDS = frozenset((
    "id", "timestamp", "source", "message", "cause", "action", "args", "timeout", "llm_metrics",
    "tool_call_metadata",
))
# fmt: on


class _Choice(msgspec.Struct):
    message: msgspec.Raw = msgspec.Raw()


class _Response(msgspec.Struct):
    id: str | None = None
    created: _Seconds | None = None
    model: str | None = None
    choices: list[_Choice] | None = None
    usage: msgspec.Raw = msgspec.Raw()
    service_tier: str | None = None


class _ToolCallMetadata(msgspec.Struct):
    model_response: _Response | None = None


class Event(msgspec.Struct):
    """An event; in the oldest logs its arguments stand beside ``action``."""

    id: int | None = None
    timestamp: str | None = None
    source: str | None = None
    action: str | None = None
    observation: str | None = None
    content: msgspec.Raw = msgspec.Raw()
    args: msgspec.Raw = msgspec.Raw()
    extras: msgspec.Raw = msgspec.Raw()
    tool_call_metadata: _ToolCallMetadata | None = None

    @property
    def response(self) -> _Response | None:
        """The response that this event came of."""
        found = self.tool_call_metadata
        return None if found is None else found.model_response


class _Condensation(msgspec.Struct):
    forgotten_event_ids: frozenset[int] | None = None
    forgotten_events_start_id: int | None = None
    forgotten_events_end_id: int | None = None
    summary: str | None = None
    summary_offset: int | None = None


_CONDENSATION = msgspec.json.Decoder(_Condensation)


class PlacedEvent(NamedTuple):
    """An event and where it stands."""

    place: Line
    raw: msgspec.Raw
    event: Event


class _Turn(NamedTuple):
    """What one event adds to later prompts."""

    event_id: int | None
    segments: list[Segment]


class EventPath:
    """The path through the tree of one run's prompts.

    Args:
        trace: the run's id.
        model: as the run's settings name it.
    """

    def __init__(self, tree: Tree, trace: str, model: str | None) -> None:
        self.trace = trace
        self.node = ROOT
        self._tree = tree
        self._model = model_name(model)
        self._turns: list[_Turn] = []
        self._responses: set[str] = set()
        self._ahead: timedelta | None = None

    def follow(self, events: list[PlacedEvent], issues: list[Issue]) -> list[Call]:
        """The calls of all events. What cannot be read is added to the issues."""
        self._ahead = _clock(events)
        calls = []
        if not any(placed.event.action == "system" for placed in events):
            self._add(None, [Segment(Kind.UNLOGGED, "", "system prompt and tools of OpenHands")])
        for index, placed in enumerate(events):
            try:
                call = self._read(index, placed)
            except BAD_RECORD as error:
                issues.append(placed.place.issue(error))
                continue
            if call is not None:
                calls.append(call)
        return calls

    def _add(self, event_id: int | None, segments: list[Segment]) -> None:
        self._turns.append(_Turn(event_id, segments))
        self.node = extend_all(self._tree, self.node, segments)

    def _read(self, index: int, placed: PlacedEvent) -> Call | None:
        """Add an event to the path; the call it shows first, if it does.

        Raises:
            ValueError: it cannot be read.
        """
        event = placed.event
        if event.action is None:
            if event.observation is None:
                raise ValueError("an event that is neither an action nor an observation")
            if event.observation not in _NOT_SENT:
                self._add(event.id, _observation(event))
            return None
        if event.action in _NOT_SENT or event.action == "recall":
            return None
        arguments = _arguments(placed)
        if event.action == "system":
            self._add(event.id, _system(arguments))
            return None
        if event.action == "condensation":
            self._condense(arguments)
            return None
        if event.response is None and not _is_agents(event, arguments):
            self._add(event.id, _users(event.action, arguments))
            return None
        return self._answer(index, placed, arguments)

    def _answer(self, index: int, placed: PlacedEvent, arguments: Fields) -> Call | None:
        """The call of an action that the agent's model chose."""
        event = placed.event
        response = event.response or _Response()
        if response.id in self._responses:
            return None
        said = _said(response)
        segments = said or _plain(placed, arguments)
        model = self._model if response.model is None else model_name(response.model)
        call = Call(
            identity=("", response.id) if response.id else (self.trace, str(index)),
            trace=self.trace,
            line=placed.place.line,
            offset=placed.place.offset,
            prompt=self.node,
            completion=extend_all(self._tree, self.node, segments),
            started_at=None if event.timestamp is None else as_utc(event.timestamp, self._ahead),
            provider=model.provider or self._model.provider,
            model=model.model,
            usage=response_usage(response.usage),
            service_tier=response.service_tier,
        )
        if response.id:
            self._responses.add(response.id)
        if event.action == "finish" and said:
            segments = _finished(said, arguments)
        self._add(event.id, segments)
        return call

    def _condense(self, arguments: Fields) -> None:
        """Take events out of the prompt, and put a summary where they were."""
        action = decode(msgspec.Raw(msgspec.json.encode(arguments)), _CONDENSATION, "condensation")
        turns = [turn for turn in self._turns if not _is_forgotten(turn.event_id, action)]
        if action.summary:
            # The stand-in for what is not logged is no event, so it is not counted.
            first = 1 if turns and turns[0].event_id is None else 0
            segment = Segment(Kind.TEXT, "user", action.summary)
            turns.insert(first + (action.summary_offset or 0), _Turn(_SUMMARY, [segment]))
        self._turns, self.node = [], ROOT
        for turn in turns:
            self._add(*turn)


def _is_forgotten(event_id: int | None, action: _Condensation) -> bool:
    """Whether a condensation takes an event out. A summary is for the time until the next one."""
    if event_id is None or event_id == _SUMMARY:
        return event_id == _SUMMARY and bool(action.summary)
    first, last = action.forgotten_events_start_id, action.forgotten_events_end_id
    if first is not None and last is not None and first <= event_id <= last:
        return True
    return event_id in (action.forgotten_event_ids or ())


def _clock(events: list[PlacedEvent]) -> timedelta | None:
    """How far the clock that stamped the events is ahead of UTC; ``None``: nothing tells."""
    for _, _, event in events:
        local = clock_time(event.timestamp)
        created = None if event.response is None else event.response.created
        if local is not None and created is not None and event.action is not None:
            return ahead_of_utc(local, created)
    return None


def _arguments(placed: PlacedEvent) -> Fields:
    """An action's arguments. Raises ValueError: they are no object."""
    if placed.event.args:
        return decode_fields(placed.event.args, "args")
    fields = decode_fields(placed.raw, "event")
    return {name: raw for name, raw in fields.items() if name not in _EVENT_FIELDS}


def _is_agents(event: Event, arguments: Fields) -> bool:
    """Whether the agent did it. The oldest logs do not say; there, messages that wait for an answer
    are the agent's."""
    if event.source is not None:
        return event.source == "agent"
    if event.action != "message":
        return True
    return bytes(present(arguments, "wait_for_response") or b"") == b"true"


def _said(response: _Response) -> list[Segment]:
    """A response's message. Raises ValueError: it is none."""
    for choice in response.choices or ():
        if choice.message and is_object(choice.message):
            return message_segments(choice.message, role="assistant")
    return []


def _text(fields: Fields, *names: str) -> str:
    """The first of the named values that is a text, or ``""``."""
    for name in names:
        word = word_of(fields, name)
        if word:
            return word
    return ""


def _plain(placed: PlacedEvent, arguments: Fields) -> list[Segment]:
    """An action of the agent's whose response was not logged: what it said, then what it did."""
    action = placed.event.action or ""
    if action == "message":
        return [Segment(Kind.TEXT, "assistant", _text(arguments, "content"))]
    thought = _text(arguments, "final_thought", "thought")
    segments = [Segment(Kind.TEXT, "assistant", thought)] if thought else []
    if action != "finish":
        done = {name: raw for name, raw in arguments.items() if name not in _BOOKKEEPING}
        text = canonical(msgspec.Raw(msgspec.json.encode(done)), "args")
        segments.append(call_segment("assistant", action, text))
    return segments or [Segment(Kind.TEXT, "assistant", "")]


def _finished(said: list[Segment], arguments: Fields) -> list[Segment]:
    """A ``finish`` as later prompts have it: its thought, then the text beside the tool call."""
    thought = _text(arguments, "thought")
    text = "\n".join(segment.text for segment in said if segment.kind is Kind.TEXT)
    whole = "\n".join(dict.fromkeys(part for part in (thought, text) if part))
    return [Segment(Kind.TEXT, "assistant", whole)]


def _users(action: str, arguments: Fields) -> list[Segment]:
    """What a user, or the environment, said or did."""
    text = _text(arguments, "content", "command", "thought")
    segments = [Segment(Kind.TEXT, "user", text)] if text else []
    for name in ("image_urls", "images_urls"):
        images = present(arguments, name)
        if images is not None:
            urls = decode_list(images, name)
            segments += [Segment(Kind.MEDIA, "user", canonical(url, name)) for url in urls]
    return segments or [Segment(Kind.TEXT, "user", action)]


def _system(arguments: Fields) -> list[Segment]:
    """The system message, with the tools before it. Raises ValueError: the tools are no list."""
    tools = present(arguments, "tools")
    segments = []
    for tool in decode_list(tools, "tools") if tools is not None else ():
        segments.append(Segment(Kind.TOOLS, "", canonical(tool, "tools")))
    return [*segments, Segment(Kind.SYSTEM, "system", _text(arguments, "content"))]


def _observation(event: Event) -> list[Segment]:
    """What the model is shown of an observation. Raises ValueError: its content is no JSON."""
    if event.observation == "recall":
        text = canonical(event.extras, "extras") if event.extras else ""
        return [Segment(Kind.TEXT, "user", text)]
    role = "user" if event.response is None else "tool"
    text = argument_text(event.content)
    return [Segment(Kind.TOOL_RESULT, role, text)]

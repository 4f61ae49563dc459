"""mini-swe-agent runs: ``<instance>.traj.json``, one JSON document a run.

Three shapes (github.com/SWE-agent/mini-swe-agent): a bare list of messages; since 1.0
``{info, messages, trajectory_format: "mini-swe-agent-1"}``; since 2.0 the same with
``"mini-swe-agent-1.1"`` (docs/usage/output_files.md, src/minisweagent/agents/default.py). What to
know about them:

- Messages have the shape of OpenAI chat, or are the items of OpenAI's Responses API, whose
  responses stand among them whole (``{"object": "response", "output": […]}``). Each response is a
  call; what stands before it is its prompt.
- A message's ``extra`` is not sent. In responses it holds ``actions``, ``cost``, ``timestamp``
  (seconds since 1970, when the answer had come) and the provider's ``response`` with its usage.
- A response in which no command could be found is billed, but does not stand among the messages:
  it is in the ``extra`` of the message that complains of it.
- Messages of the role ``exit`` say how the run ended and are not sent.
- ``info.model_stats`` are totals; a run whose cost is unknown says 0.
- The one tool of tool-calling models (``bash``) is the same in all runs and is not logged.
- A run has no id: it takes that of its first response, or a hash of the document where responses
  were not logged. Runs of one ``instance_id`` are rollouts of a task.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from typing import Annotated, ClassVar

import msgspec

from forkpoint.parsers.base import ROOT, Tree
from forkpoint.parsers.chat import Segment, extend_all, item_segments, message_segments
from forkpoint.parsers.document import head_fields, open_document
from forkpoint.parsers.json_list import elements, first_element
from forkpoint.parsers.litellm_response import known_cost, response_usage
from forkpoint.parsers.local_clock import from_epoch
from forkpoint.parsers.logs import BAD_RECORD, Head, Line, Log, data_set_name
from forkpoint.parsers.model_names import ModelName, model_name
from forkpoint.parsers.raw_json import decode, decode_list, is_object
from forkpoint.parsers.records import Call, Issue, Record, Trace

_LIST_BEGINS = re.compile(rb'\s*+\[\s*+\{\s*+"(?:role|content)"\s*+:')
_OBJECT_BEGINS = re.compile(rb'\s*+\{\s*+"(?:info|messages|trajectory_format|instance_id)"\s*+:')
_SIGNS = (b"COMPLETE_TASK_AND_SUBMIT", b"MINI_SWE_AGENT", b"mswea_bash_command")
"""What the agent's prompts tell the model to write."""
_Seconds = Annotated[float, msgspec.Meta(ge=0, le=2e11)]


class _ModelConfig(msgspec.Struct):
    model_name: str | None = None


class _Config(msgspec.Struct):
    model: _ModelConfig | None = None


class _Info(msgspec.Struct):
    config: _Config | None = None
    mini_version: str | None = None


class _Run(msgspec.Struct):
    messages: list[msgspec.Raw]
    info: msgspec.Raw = msgspec.Raw()
    instance_id: str | int | None = None


class _Extra(msgspec.Struct):
    response: msgspec.Raw = msgspec.Raw()
    cost: float | None = None
    timestamp: _Seconds | None = None


class _Message(msgspec.Struct):
    """A message, or a response or an item of the Responses API."""

    role: str | None = None
    object: str | None = None
    type: str | None = None
    extra: _Extra | None = None


class _Choice(msgspec.Struct):
    message: msgspec.Raw = msgspec.Raw()


class _Response(msgspec.Struct):
    id: str | None = None
    model: str | None = None
    usage: msgspec.Raw = msgspec.Raw()
    choices: list[_Choice] | None = None
    output: list[msgspec.Raw] | None = None
    service_tier: str | None = None


_RUN = msgspec.json.Decoder(_Run)
_INFO = msgspec.json.Decoder(_Info)
_MESSAGE = msgspec.json.Decoder(_Message)
_RESPONSE = msgspec.json.Decoder(_Response)


class MiniSweAgent:
    """Reads mini-swe-agent trajectories; see the module's docstring."""

    name: ClassVar[str] = "mini-swe-agent"
    title: ClassVar[str] = "mini-swe-agent trajectories"
    checked: ClassVar[str] = "list form of a83fcae, 2026-11; 1 and 1.1 from their source code"
    evidence: ClassVar[tuple[str, ...]] = ("usage", "text", "timestamps")
    locations: ClassVar[tuple[str, ...]] = ()
    whole_prompts: ClassVar[bool] = True
    grows: ClassVar[bool] = False

    def identify(self, head: Head) -> str | None:
        """Why the file is of this format, or ``None``."""
        if _LIST_BEGINS.match(head.data):
            named = ".traj" in head.path.suffixes
            if named or any(sign in head.data for sign in _SIGNS):
                return "a list of messages of mini-swe-agent" if _is_chat(head) else None
        elif _OBJECT_BEGINS.match(head.data):
            fields = head_fields(head)
            if bytes(fields.get("trajectory_format", b""))[:16] == b'"mini-swe-agent-':
                return "trajectory_format is mini-swe-agent's"
            if b'"mini_version"' in bytes(fields.get("info", b"")):
                return "info has a mini_version"
        return None

    def parse(self, log: Log, tree: Tree) -> Iterator[Record]:
        """Yield the run's trace, and one call a response."""
        opened = open_document(log, _run)
        if isinstance(opened, Issue):
            yield opened
            return
        yield from _RunReader(*opened, tree, data_set_name(log.path)).records()


def _is_chat(head: Head) -> bool:
    first = first_element(head)
    return (
        isinstance(first, dict)
        and first.get("role") in ("system", "user")
        and not {"agent", "id", "timestamp"} & first.keys()
    )


def _run(document: bytes) -> _Run:
    """The document, of either shape. Raises ValueError: it is of neither."""
    if document.lstrip()[:1] == b"[":
        return _Run(decode_list(msgspec.Raw(document), "document"))
    return decode(document, _RUN, "document")


class _RunReader:
    """One run."""

    def __init__(self, document: Line, run: _Run, tree: Tree, title: str) -> None:
        self._document = document
        self._run = run
        self._tree = tree
        self._title = title
        self._model = model_name(None)
        self._node = ROOT
        self._calls: list[Call] = []
        self._issues: list[Issue] = []

    def records(self) -> Iterator[Record]:
        """The run's trace, calls and issues."""
        version = None
        if self._run.info:
            try:
                info = decode(self._run.info, _INFO, "info")
                version = info.mini_version
                self._model = _configured_model(info)
            except BAD_RECORD as error:
                self._issues.append(self._document.issue(error))
        start = max(self._document.data.find(b'"messages"'), 0)
        for place in elements(self._document.data, self._run.messages, start):
            try:
                self._read(place)
            except BAD_RECORD as error:
                self._issues.append(place.issue(error))
        trace = self._trace(version)
        yield trace
        for index, call in enumerate(self._calls):
            identity = call.identity or (trace.id, str(index))
            yield msgspec.structs.replace(call, trace=trace.id, identity=identity)
        yield from self._issues

    def _trace(self, version: str | None) -> Trace:
        first = next((call.identity[1] for call in self._calls if call.identity), None)
        instance = self._run.instance_id
        return Trace(
            id=first or hashlib.sha256(self._document.data).hexdigest()[:32],
            agent="mini-swe-agent" if version is None else f"mini-swe-agent {version}",
            group=None if instance is None else str(instance),
            leaf=None if self._node == ROOT else self._node,
            title=self._title,
        )

    def _read(self, place: Line) -> None:
        """Add a message to the path, and a call if it is a response or complains of one.

        Raises:
            ValueError: it cannot be read.
        """
        raw = msgspec.Raw(place.data)
        message = decode(raw, _MESSAGE, "message")
        if message.object == "response":
            response = decode(raw, _RESPONSE, "response")
            after = extend_all(self._tree, self._node, _output_segments(response))
            self._calls.append(self._call(place, message.extra, response, after))
            self._node = after
            return
        answer = None
        logged = message.extra.response if message.extra is not None else b""
        if logged and is_object(msgspec.Raw(logged)):
            answer = decode(msgspec.Raw(logged), _RESPONSE, "response")
        if message.role == "assistant":
            after = extend_all(self._tree, self._node, message_segments(raw))
            self._calls.append(self._call(place, message.extra, answer or _Response(), after))
            self._node = after
            return
        if answer is not None or (logged and bytes(logged) != b"null"):
            self._calls.append(self._unusable(place, message.extra, answer))
        if message.role == "exit":
            return
        if message.role is None:
            self._node = extend_all(self._tree, self._node, item_segments(raw))
        else:
            self._node = extend_all(self._tree, self._node, message_segments(raw))

    def _unusable(self, place: Line, extra: _Extra | None, answer: _Response | None) -> Call:
        """The call of a response that stands in a complaint only."""
        segments = [] if answer is None else _output_segments(answer)
        after = extend_all(self._tree, self._node, segments) if segments else None
        return self._call(place, extra, answer or _Response(), after)

    def _call(
        self, place: Line, extra: _Extra | None, response: _Response, completion: int | None
    ) -> Call:
        extra = extra or _Extra()
        name = self._model if response.model is None else model_name(response.model)
        return Call(
            identity=None if not response.id else ("", response.id),
            trace="",
            line=place.line,
            offset=place.offset,
            prompt=self._node,
            completion=completion,
            started_at=from_epoch(extra.timestamp),
            provider=name.provider or self._model.provider,
            model=name.model,
            usage=response_usage(response.usage),
            service_tier=response.service_tier,
            logged_cost_usd=known_cost(extra.cost),
        )


def _configured_model(info: _Info) -> ModelName:
    model = info.config.model if info.config is not None else None
    return model_name(None if model is None else model.model_name)


def _output_segments(response: _Response) -> list[Segment]:
    """What a response says. Raises ValueError: its message or an item of it cannot be read."""
    if response.output is not None:
        return [segment for raw in response.output for segment in item_segments(raw)]
    for choice in response.choices or ():
        if choice.message and is_object(choice.message):
            return message_segments(choice.message, role="assistant")
    return []

"""Amp's threads: ``~/.local/share/amp/threads/T-<id>.json``, one JSON object a thread.

``{"v", "id": "T-…", "created", "title", "env": {"initial": {"trees": [{"uri", "displayName"}]}},
"messages": [message, …], "usageLedger": {"events": [event, …]}}``. Amp's source code is not public;
this is what tools that read such files document (ccusage's adapter `amp`, 5816e64, and others' test
data). What to know:

- Messages have content blocks of Anthropic's types, but a ``tool_result`` names its call in
  ``toolUseID`` and holds the result in ``run``.
- An assistant's message has ``usage``: ``model``, ``timestamp``, ``inputTokens``,
  ``cacheReadInputTokens``, ``cacheCreationInputTokens``, ``outputTokens``; the inputs exclude each other
  and ``totalInputTokens`` is their sum.
- Earlier versions log calls in ``usageLedger`` instead or as well: ``{"id", "timestamp", "model",
  "tokens": {"input", "output"}, "toMessageId"}``. An event whose message has usage too is that call, and
  its counts go first; the cache counts only stand with the message. Events without a message are calls
  of their own (titles, subagents).
- Amp charges credits, not dollars, and they are not read.
- Threads live on a server; newer versions may keep none here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import ClassVar

import msgspec

from forkpoint.parsers.agent_session import disjoint_usage, unlogged_beginning
from forkpoint.parsers.base import ROOT, Tree
from forkpoint.parsers.chat import Segment, argument_text, content_segments, extend_all, kind_of
from forkpoint.parsers.document import decode_document
from forkpoint.parsers.json_list import elements
from forkpoint.parsers.logs import BAD_RECORD, Head, Line, Log
from forkpoint.parsers.raw_json import decode, decode_list, is_list, is_object
from forkpoint.parsers.records import Call, Issue, Kind, Record, Tokens, Trace

_BEGINNING = re.compile(
    rb'\s*+\{(?:\s*+"(?:v|created|title)"\s*+:\s*+(?:\d++|"(?:[^"\\]|\\.)*+")\s*+,)*+'
    rb'\s*+"id"\s*+:\s*+"T-',
    re.DOTALL,
)


class _Tree(msgspec.Struct, rename="camel"):
    uri: str | None = None
    display_name: str | None = None


class _Initial(msgspec.Struct):
    trees: list[_Tree] | None = None
    cwd: str | None = None


class _Environment(msgspec.Struct):
    initial: _Initial | None = None


class _Ledger(msgspec.Struct):
    events: list[msgspec.Raw] = []


class _Thread(msgspec.Struct, rename="camel"):
    id: str
    title: str | None = None
    env: _Environment | None = None
    messages: list[msgspec.Raw] = []
    usage_ledger: _Ledger | None = None


class _Counts(msgspec.Struct, rename="camel"):
    model: str | None = None
    timestamp: datetime | None = None
    input_tokens: Tokens | None = None
    output_tokens: Tokens | None = None
    cache_creation_input_tokens: Tokens | None = None
    cache_read_input_tokens: Tokens | None = None


class _Message(msgspec.Struct, rename="camel"):
    role: str
    message_id: int | str | None = None
    content: msgspec.Raw = msgspec.Raw()
    timestamp: datetime | None = None
    usage: _Counts | None = None


class _Tokens(msgspec.Struct, rename="camel"):
    input: Tokens | None = None
    output: Tokens | None = None
    cache_creation_input_tokens: Tokens | None = None
    cache_read_input_tokens: Tokens | None = None


class _Event(msgspec.Struct, rename="camel"):
    id: str | None = None
    timestamp: datetime | None = None
    model: str | None = None
    tokens: _Tokens | None = None
    to_message_id: int | str | None = None


class _Run(msgspec.Struct):
    result: msgspec.Raw = msgspec.Raw()
    error: msgspec.Raw = msgspec.Raw()
    status: str | None = None


class _Block(msgspec.Struct):
    type: str | None = None
    text: str | None = None
    run: _Run | None = None


_THREAD = msgspec.json.Decoder(_Thread)
_MESSAGE = msgspec.json.Decoder(_Message)
_EVENT = msgspec.json.Decoder(_Event)
_BLOCK = msgspec.json.Decoder(_Block)


class Amp:
    """Reads Amp's threads; see the module's docstring."""

    name: ClassVar[str] = "amp"
    title: ClassVar[str] = "Amp"
    checked: ClassVar[str] = "from documentation, 2026-11"
    evidence: ClassVar[tuple[str, ...]] = ("usage", "text", "timestamps")
    locations: ClassVar[tuple[str, ...]] = (
        "$XDG_DATA_HOME/amp/threads",
        "~/.local/share/amp/threads",
    )
    whole_prompts: ClassVar[bool] = False
    grows: ClassVar[bool] = False

    def identify(self, head: Head) -> str | None:
        """Why the file is of this format, or ``None``."""
        document = head.document
        if isinstance(document, dict):
            thread = str(document.get("id"))
            if thread.startswith("T-") and isinstance(document.get("messages"), list):
                return "a thread with an id T-…"
            return None
        return "a thread with an id T-…" if _BEGINNING.match(head.data) else None

    def parse(self, log: Log, tree: Tree) -> Iterator[Record]:
        """Yield the calls of one thread, and its trace."""
        opened = decode_document(log, _THREAD, "thread")
        if isinstance(opened, Issue):
            yield opened
            return
        document, thread = opened
        project = _project(thread)
        yield Trace(id=thread.id, project=project, agent="Amp", title=thread.title)
        issues: list[Issue] = []
        events = _events(thread, document.data, issues)
        yield from issues
        node = unlogged_beginning(tree, "amp", project)
        for place in elements(document.data, thread.messages):
            try:
                message = decode(place.data, _MESSAGE, "message")
                segments = _segments(message)
                event = None if message.message_id is None else events.pop(message.message_id, None)
                call = _call(thread, message, event[1] if event is not None else None, place)
            except BAD_RECORD as error:
                yield place.issue(error)
                continue
            before, node = node, extend_all(tree, node, segments)
            if message.role == "assistant" and (segments or call.usage is not None):
                yield msgspec.structs.replace(call, prompt=before, completion=node)
        yield from _other_calls(thread, events.values(), tree)


def _project(thread: _Thread) -> str | None:
    initial = thread.env.initial if thread.env is not None else None
    if initial is None:
        return None
    trees = initial.trees or [_Tree()]
    return trees[0].uri or trees[0].display_name or initial.cwd


def _events(
    thread: _Thread, document: bytes, issues: list[Issue]
) -> dict[int | str, tuple[Line, _Event]]:
    """The ledger's events by the message they paid for; by event, where that is none or paid twice."""
    found: dict[int | str, tuple[Line, _Event]] = {}
    given = thread.usage_ledger.events if thread.usage_ledger is not None else []
    for place in elements(document, given, max(document.find(b'"usageLedger"'), 0)):
        try:
            event = decode(place.data, _EVENT, "event")
        except BAD_RECORD as error:
            issues.append(place.issue(error))
            continue
        key = event.to_message_id
        if key is None or key in found:
            key = f"event {event.id or place.line}"
        found.setdefault(key, (place, event))
    return found


def _call(thread: _Thread, message: _Message, event: _Event | None, place: Line) -> Call:
    """What a message and the ledger say of a call; its nodes are still to come.

    Raises:
        ValueError: counts contradict each other.
    """
    counts = message.usage or _Counts()
    billed = event.tokens if event is not None and event.tokens is not None else _Tokens()
    usage = disjoint_usage(
        uncached=_first(billed.input, counts.input_tokens),
        cache_read=_first(billed.cache_read_input_tokens, counts.cache_read_input_tokens),
        cache_write=_first(billed.cache_creation_input_tokens, counts.cache_creation_input_tokens),
        output=_first(billed.output, counts.output_tokens),
    )
    key = message.message_id
    return Call(
        identity=("", f"amp:{thread.id}:{f'message {place.line}' if key is None else key}"),
        trace=thread.id,
        line=place.line,
        offset=place.offset,
        prompt=ROOT,
        started_at=counts.timestamp or message.timestamp or (event.timestamp if event else None),
        model=(event.model if event else None) or counts.model,
        usage=usage,
    )


def _first(*counts: int | None) -> int | None:
    return next((count for count in counts if count is not None), None)


def _other_calls(
    thread: _Thread, events: Iterable[tuple[Line, _Event]], tree: Tree
) -> Iterator[Call]:
    """The ledger's calls whose messages are not in the thread."""
    prompt = unlogged_beginning(tree, "amp", "calls without messages")
    for place, event in events:
        tokens = event.tokens or _Tokens()
        usage = disjoint_usage(
            uncached=tokens.input,
            cache_read=tokens.cache_read_input_tokens,
            cache_write=tokens.cache_creation_input_tokens,
            output=tokens.output,
        )
        if usage is not None:
            yield Call(
                identity=("", f"amp:{thread.id}:event {event.id or place.line}"),
                trace=thread.id,
                line=place.line,
                offset=place.offset,
                prompt=prompt,
                started_at=event.timestamp,
                model=event.model,
                usage=usage,
            )


def _segments(message: _Message) -> list[Segment]:
    """A message's content; all blocks but tool results have Anthropic's shape.

    Raises:
        ValueError: they have another one.
    """
    kind, content = kind_of(message.role), message.content
    if not is_list(content):
        return content_segments(content, kind, message.role)
    found: list[Segment] = []
    for raw in decode_list(content, "content"):
        block = decode(raw, _BLOCK, "content") if is_object(raw) else _Block()
        if block.type == "tool_result" and block.run is not None:
            found.append(Segment(Kind.TOOL_RESULT, "tool", _result(block.run)))
        elif block.type == "text" and block.text is not None:
            found.append(Segment(kind, message.role, block.text))
        else:
            found += content_segments(msgspec.Raw(b"[%b]" % bytes(raw)), kind, message.role)
    return found


def _result(run: _Run) -> str:
    """What a tool gave: text, or any JSON."""
    raw = run.result or run.error
    return argument_text(raw) if raw else run.status or ""

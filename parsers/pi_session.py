"""Sessions of the pi coding agent: ``~/.pi/agent/sessions/<folder>/<time>_<id>.jsonl``.

The first line is the header, ``{"type": "session", "id", "timestamp", "cwd", …}``; each other line
an entry, ``{"type", "timestamp", …}``, from version 2 on with ``id`` and ``parentId``
(`session-manager.ts` and `messages.ts` of github.com/badlogic/pi-mono, read at 83378aa).
``message`` entries hold a message; an assistant's has ``provider``, ``model``, ``stopReason`` and
``usage: {"input", "output", "cacheRead", "cacheWrite", "cost": {"total"}}``. What to know:

- The four counts exclude each other. A request that was aborted before it answered has only zeros
  and no content: no call.
- Entries form a tree: one whose parent is not the newest entry is a branch. Without ids (version 1)
  each follows the one before it.
- A session that is loaded by a newer version is rewritten with new ids, and a fork copies entries
  into a file of its own, so a call is known by its times and counts, not by its id.
- After a ``compaction`` the context is its summary, then the path from ``firstKeptEntryId`` on, then
  what follows. ``branch_summary`` and ``custom_message`` entries enter the context as a user's.
- A message's own time is when its request was sent, an entry's when it was written down.
- The cost is worked out by the agent; 0 stands for a model without a known price.
- The system prompt and the tool definitions are not logged.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import ClassVar

import msgspec

from forkpoint.parsers.agent_session import (
    disjoint_usage,
    known_cost,
    moment,
    provider_named,
    seconds_between,
    unlogged_beginning,
)
from forkpoint.parsers.base import Tree
from forkpoint.parsers.chat import (
    Segment,
    argument_text,
    call_segment,
    content_segments,
    extend_all,
)
from forkpoint.parsers.logs import BAD_RECORD, Head, Line, Log
from forkpoint.parsers.raw_json import decode, decode_list, is_list
from forkpoint.parsers.records import Call, Issue, Kind, Record, Tokens, Trace, Usage


class _Cost(msgspec.Struct):
    total: float | None = None


class _Counts(msgspec.Struct, rename="camel"):
    input: Tokens | None = None
    output: Tokens | None = None
    cache_read: Tokens | None = None
    cache_write: Tokens | None = None
    cost: _Cost | None = None

    def usage(self) -> Usage | None:
        return disjoint_usage(
            uncached=self.input,
            cache_read=self.cache_read,
            cache_write=self.cache_write,
            output=self.output,
        )


class _Part(msgspec.Struct):
    type: str | None = None
    text: str | None = None
    thinking: str | None = None
    name: str | None = None
    arguments: msgspec.Raw = msgspec.Raw()


class _Message(msgspec.Struct, rename="camel"):
    role: str
    content: msgspec.Raw = msgspec.Raw()
    provider: str | None = None
    model: str | None = None
    usage: _Counts | None = None
    timestamp: float | None = None
    summary: str | None = None
    command: str | None = None
    output: str | None = None
    exclude_from_context: bool | None = None


class _Entry(msgspec.Struct, rename="camel"):
    type: str
    id: str | None = None
    parent_id: str | None = None
    timestamp: datetime | None = None
    message: msgspec.Raw = msgspec.Raw()
    content: msgspec.Raw = msgspec.Raw()
    summary: str | None = None
    first_kept_entry_id: str | None = None
    first_kept_entry_index: int | None = None
    name: str | None = None
    cwd: str | None = None
    parent_session: str | None = None
    branched_from: str | None = None


class _Type(msgspec.Struct):
    type: str = ""


class _Place(msgspec.Struct):
    """One entry on its branch."""

    above: int
    """The place before it, as an index; -1: it begins the session."""
    node: int
    segments: list[Segment] = []


_ENTRY = msgspec.json.Decoder(_Entry)
_TYPE = msgspec.json.Decoder(_Type)
_MESSAGE = msgspec.json.Decoder(_Message)
_PARTS = msgspec.json.Decoder(list[_Part])

_TYPES = frozenset(
    ("session", "message", "custom_message", "branch_summary", "compaction", "session_info")
)
"""Entries with something to read. All others have a place in the tree only."""
_ROLES = {
    "user": "user",
    "custom": "user",
    "hookMessage": "user",
    "assistant": "assistant",
    "toolResult": "tool",
}


class PiSession:
    """Reads sessions of the pi coding agent; see the module's docstring."""

    name: ClassVar[str] = "pi-session"
    title: ClassVar[str] = "pi coding agent"
    checked: ClassVar[str] = (
        "version 1 of 2025-11; versions 2 and 3 from the writer 83378aa, 2026-11"
    )
    evidence: ClassVar[tuple[str, ...]] = ("usage", "text", "timestamps")
    locations: ClassVar[tuple[str, ...]] = (
        "$PI_CODING_AGENT_DIR/sessions",
        "~/.pi/agent/sessions",
    )
    whole_prompts: ClassVar[bool] = False
    grows: ClassVar[bool] = False

    def identify(self, head: Head) -> str | None:
        """Why the file is of this format, or ``None``."""
        header = head.objects[0] if head.objects else {}
        if header.get("type") == "session" and {"id", "timestamp", "cwd"} <= header.keys():
            return "a session header with cwd"
        return None

    def parse(self, log: Log, tree: Tree) -> Iterator[Record]:
        """Yield the calls of one session, on all its branches, and its trace."""
        session = _Session(tree, log.path.stem.rpartition("_")[2])
        for line in log.lines():
            if isinstance(line, Issue):
                yield line
                continue
            try:
                call = session.add(_entry(line.data), line)
            except BAD_RECORD as error:
                session.skip()
                yield line.issue(error)
            else:
                if call is not None:
                    yield call
        if session.places or session.header is not None:
            yield session.trace()


def _entry(data: bytes) -> _Entry:
    """One line. Of types without a message, any field but the ids may differ.

    Raises:
        ValueError, RecursionError: it is no entry.
    """
    try:
        return decode(data, _ENTRY)
    except ValueError:
        kind = decode(data, _TYPE).type
        if not kind or kind in _TYPES:
            raise
        return _Entry(kind)


class _Session:
    """One file being read."""

    def __init__(self, tree: Tree, session_id: str) -> None:
        self.tree = tree
        self.id = session_id
        self.header: _Entry | None = None
        self.name: str | None = None
        self.places: list[_Place] = []
        self.by_id: dict[str, int] = {}
        self.lines: list[int] = []
        """Place of each entry, the header first, as version 1 counts them."""

    def skip(self) -> None:
        """A line that cannot be read still counts."""
        self.lines.append(len(self.places) - 1)

    def add(self, entry: _Entry, line: Line) -> Call | None:
        """Take in one entry; the call, if it is one.

        Raises:
            ValueError, RecursionError: it cannot be read; nothing has changed.
        """
        if entry.type == "session":
            self.header = entry
            self.id = entry.id or self.id
            self.skip()
            return None
        if entry.id is not None and entry.id in self.by_id:
            return None
        above = self._above(entry)
        before = self.places[above].node if above >= 0 else self._beginning()
        if entry.type == "compaction":
            self._append(entry, self._compacted(entry, above), above, [])
            return None
        if entry.type == "session_info":
            self.name = entry.name
        message, segments = _said(entry)
        usage = message.usage.usage() if message is not None and message.usage is not None else None
        started = moment(message.timestamp) if message is not None else None
        node = extend_all(self.tree, before, segments)
        self._append(entry, node, above, segments)
        if message is None or message.role != "assistant" or not (segments or usage):
            return None
        started = started or entry.timestamp
        return Call(
            identity=("", _key(entry, message)),
            trace=self.id,
            line=line.line,
            offset=line.offset,
            prompt=before,
            completion=node,
            started_at=started,
            duration_s=seconds_between(started, entry.timestamp),
            provider=provider_named(message.provider),
            model=message.model,
            usage=usage,
            logged_cost_usd=_cost(message),
        )

    def _above(self, entry: _Entry) -> int:
        newest = len(self.places) - 1
        if entry.parent_id is None:
            return newest if entry.id is None else -1
        return self.by_id.get(entry.parent_id, newest)

    def _beginning(self) -> int:
        return unlogged_beginning(self.tree, "pi", self.header.cwd if self.header else None)

    def _append(self, entry: _Entry, node: int, above: int, segments: list[Segment]) -> None:
        if entry.id is not None:
            self.by_id[entry.id] = len(self.places)
        self.places.append(_Place(above, node, segments))
        self.lines.append(len(self.places) - 1)

    def _compacted(self, entry: _Entry, above: int) -> int:
        """The node that the context of a compaction ends at."""
        first = self.by_id.get(entry.first_kept_entry_id or "")
        index = entry.first_kept_entry_index
        if first is None and index is not None and 0 <= index < len(self.lines):
            first = self.lines[index]
        kept: list[_Place] = []
        at = above if first is not None else -1
        while at >= 0:
            kept.append(self.places[at])
            at = -1 if at == first else self.places[at].above
        segments = [Segment(Kind.TEXT, "user", entry.summary or "")]
        for place in reversed(kept):
            segments += place.segments
        return extend_all(self.tree, self._beginning(), segments)

    def trace(self) -> Trace:
        """The session, with what is known of it at the end of the file."""
        header = self.header or _Entry("session")
        origin = header.parent_session or header.branched_from
        stem = (origin or "").replace("\\", "/").rpartition("/")[2].removesuffix(".jsonl")
        return Trace(
            id=self.id,
            forked_from=stem.rpartition("_")[2] or None,
            project=header.cwd,
            agent="pi",
            title=self.name,
        )


def _key(entry: _Entry, message: _Message) -> str:
    """A call's times and counts: what stays when a session is migrated or forked."""
    counts = message.usage or _Counts()
    numbers = (counts.input, counts.output, counts.cache_read, counts.cache_write)
    return f"pi:{entry.timestamp}:{message.timestamp}:{message.model}:{numbers}"


def _cost(message: _Message) -> float | None:
    counts = message.usage
    return None if counts is None or counts.cost is None else known_cost(counts.cost.total)


def _said(entry: _Entry) -> tuple[_Message | None, list[Segment]]:
    """An entry's message and what it adds to the context.

    Raises:
        ValueError: they cannot be read.
    """
    if entry.type == "message":
        message = decode(entry.message, _MESSAGE, "message")
        return message, _message_segments(message)
    if entry.type == "custom_message":
        return None, content_segments(entry.content, Kind.TEXT, "user")
    if entry.type == "branch_summary" and entry.summary:
        return None, [Segment(Kind.TEXT, "user", entry.summary)]
    return None, []


def _message_segments(message: _Message) -> list[Segment]:
    role = _ROLES.get(message.role)
    if role is not None:
        kind = Kind.TOOL_RESULT if role == "tool" else Kind.TEXT
        return _content_segments(message.content, kind, role)
    if message.role == "bashExecution" and not message.exclude_from_context:
        return [Segment(Kind.TEXT, "user", f"{message.command}\n{message.output}")]
    if message.summary:
        return [Segment(Kind.TEXT, "user", message.summary)]
    return []


def _content_segments(raw: msgspec.Raw, kind: Kind, role: str) -> list[Segment]:
    """A text, or a list of parts, of which all but tool calls have the usual shape.

    Raises:
        ValueError: it is neither.
    """
    if not is_list(raw):
        return content_segments(raw, kind, role)
    found: list[Segment] = []
    parts: list[_Part] = decode(raw, _PARTS, "content")
    for number, part in enumerate(parts):
        if part.type == "toolCall":
            found.append(call_segment(role, part.name, argument_text(part.arguments)))
        elif part.type == "text" and part.text is not None:
            found.append(Segment(kind, role, part.text))
        elif part.type == "thinking" and part.thinking:
            found.append(Segment(Kind.THINKING, role, part.thinking))
        else:
            other = bytes(decode_list(raw, "content")[number])
            found += content_segments(msgspec.Raw(b"[%b]" % other), kind, role)
    return found

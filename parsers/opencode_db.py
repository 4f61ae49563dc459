"""OpenCode's database: ``opencode.db``, and its like of other release channels.

Tables of version 1: ``session(id, parent_id, directory, title, version, …)``; ``message(id, session_id,
time_created, data)`` with what the message files held; ``part(id, message_id, session_id, data)`` with
the content, in the order of ids. Version 2 has ``session_message(id, session_id, type, seq, data)``
instead, whole messages with their content. Either may be there beside the other while a database
moves to version 2; a session is then read from ``message``. What to know:

- A message's ``tokens`` are those of its last step. Where it has several ``step-finish`` parts, each
  has its own and is a call.
- A tool's part holds the call and, once it is done, the result.
- A part ``compaction`` asks for a summary, and the assistant's message with ``summary: true`` is it:
  the next context begins with it. In version 2 ``compaction`` is a message of its own.
- A subagent is a session with a ``parent_id``; version 2 names a fork's origin in ``fork_session_id``.
- Old tool results are cut out of prompts some time after; prompts here hold them whole.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from itertools import groupby

import msgspec

from forkpoint.parsers.agent_session import unlogged_beginning
from forkpoint.parsers.base import Tree
from forkpoint.parsers.chat import Segment, argument_text, call_segment, extend_all
from forkpoint.parsers.logs import BAD_RECORD, Line
from forkpoint.parsers.opencode_message import Answer, Counts, Info, Time, answer_of
from forkpoint.parsers.raw_json import canonical, decode
from forkpoint.parsers.records import Call, Issue, Kind, Record, Trace

_SESSION_COLUMNS = ("id", "parent_id", "fork_session_id", "directory", "title", "version")


class _ToolState(msgspec.Struct):
    status: str | None = None
    input: msgspec.Raw = msgspec.Raw()
    output: msgspec.Raw = msgspec.Raw()
    content: list[msgspec.Raw] | None = None
    error: msgspec.Raw = msgspec.Raw()


class _Part(msgspec.Struct):
    """A part of version 1, or a piece of content of version 2."""

    type: str
    text: str | None = None
    ignored: bool | None = None
    tool: str | None = None
    name: str | None = None
    state: _ToolState | None = None
    prompt: str | None = None
    url: msgspec.Raw = msgspec.Raw()
    tokens: Counts | None = None
    cost: float | None = None


class _Model(msgspec.Struct, rename={"provider_id": "providerID"}):
    id: str | None = None
    provider_id: str | None = None


class _Message(msgspec.Struct):
    """A message of version 2; each type has some of the fields."""

    text: str | None = None
    content: list[_Part] | None = None
    model: _Model | None = None
    tokens: Counts | None = None
    cost: float | None = None
    time: Time | None = None
    summary: str | None = None
    command: str | None = None
    output: str | None = None


_INFO = msgspec.json.Decoder(Info)
_PART = msgspec.json.Decoder(_Part)
_MESSAGE = msgspec.json.Decoder(_Message)


def is_opencode(tables: Mapping[str, str]) -> bool:
    """Whether a database's tables are OpenCode's."""
    held = "message" in tables and "part" in tables and "session_id" in tables["message"]
    return "session" in tables and (held or "session_message" in tables)


def read_sessions(connection: sqlite3.Connection, tree: Tree) -> Iterator[Record]:
    """Yield the calls and traces of a database; a row that cannot be read is one issue.

    Raises:
        sqlite3.Error: the database itself cannot be read.
    """
    connection.text_factory = bytes  # text that is no UTF-8 is a row's issue, not the query's
    tables = {_text(name) for (name,) in connection.execute("SELECT name FROM sqlite_schema")}
    sessions = {trace.id: trace for trace in _sessions(connection)}
    readers = []
    if {"message", "part"} <= tables:
        readers.append(_read_version_1(connection, sessions, tree))
    if "session_message" in tables:
        readers.append(_read_version_2(connection, sessions, tree, "message" in tables))
    for reader in readers:
        yield from reader
    yield from sessions.values()


def _sessions(connection: sqlite3.Connection) -> Iterator[Trace]:
    here = _columns(connection, "session")
    chosen = [name if name in here else "NULL" for name in _SESSION_COLUMNS]
    for row in connection.execute(f"SELECT {', '.join(chosen)} FROM session"):
        name, parent, origin, directory, title, version = map(_text, row)
        yield Trace(
            id=name or "",
            parent=parent,
            forked_from=origin,
            project=directory,
            agent=f"OpenCode {version}" if version else "OpenCode",
            title=title,
        )


def _columns(connection: sqlite3.Connection, table: str) -> set[str]:
    found = connection.execute("SELECT name FROM pragma_table_info(?)", (table,))
    return {_text(name) or "" for (name,) in found}


def _text(value: object) -> str | None:
    """A column's value; anything but text is ``None``."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else None


def _json(value: object) -> bytes:
    """A column of JSON.

    Raises:
        ValueError: it is none.
    """
    if not isinstance(value, bytes):
        raise ValueError("data: not JSON text")  # noqa: TRY004 - as for any other bad row
    return value


def _read_version_1(
    connection: sqlite3.Connection, sessions: dict[str, Trace], tree: Tree
) -> Iterator[Call | Issue]:
    rows = connection.execute(
        "SELECT message.session_id, message.id, message.data, part.data "
        "FROM message LEFT JOIN part ON part.message_id = message.id "
        "ORDER BY message.session_id, message.time_created, message.id, part.id"
    )
    conversation = None
    for number, (key, of_message) in enumerate(groupby(rows, key=lambda row: row[:3]), 1):
        session, _, data = key
        place = Line(b"", number, 0)
        name = _text(session) or ""
        if conversation is None or conversation.trace.id != name:
            conversation = _Conversation(tree, sessions.setdefault(name, Trace(id=name)))
        parts = [row[3] for row in of_message if row[3] is not None]
        try:
            info = decode(_json(data), _INFO, "data")
            calls = conversation.add(info, [decode(_json(part), _PART) for part in parts], place)
        except BAD_RECORD as error:
            yield place.issue(error)
            continue
        yield from calls


def _read_version_2(
    connection: sqlite3.Connection, sessions: dict[str, Trace], tree: Tree, has_messages: bool
) -> Iterator[Call | Issue]:
    order = "seq" if "seq" in _columns(connection, "session_message") else "time_created, id"
    others = (
        "WHERE session_id NOT IN (SELECT coalesce(session_id, '') FROM message)"
        if has_messages
        else ""
    )
    rows = connection.execute(
        f"SELECT session_id, type, data FROM session_message {others} ORDER BY session_id, {order}"
    )
    conversation = None
    for number, (session, kind, data) in enumerate(rows, 1):
        place = Line(b"", number, 0)
        name = _text(session) or ""
        if conversation is None or conversation.trace.id != name:
            conversation = _Conversation(tree, sessions.setdefault(name, Trace(id=name)))
        try:
            message = decode(_json(data), _MESSAGE, "data")
            calls = conversation.add_whole(_text(kind) or "", message, place)
        except BAD_RECORD as error:
            yield place.issue(error)
            continue
        yield from calls


class _Conversation:
    """One session's context, as it grows."""

    def __init__(self, tree: Tree, trace: Trace) -> None:
        self.tree = tree
        self.trace = trace
        self.node = self._beginning()

    def _beginning(self) -> int:
        kind = "main" if self.trace.parent is None else "subagent"
        return unlogged_beginning(self.tree, "opencode", self.trace.agent, self.trace.project, kind)

    def add(self, info: Info, parts: list[_Part], place: Line) -> list[Call]:
        """Take in a message of version 1.

        Raises:
            ValueError: it cannot be read; nothing has changed.
        """
        if info.role != "assistant":
            self.node = extend_all(self.tree, self.node, _told(parts))
            return []
        calls: list[Call] = []
        node, answer = self.node, answer_of(info)
        steps = _steps(parts)
        for number, (step, finish) in enumerate(steps, 1):
            said, results = _spoken(step)
            completion = extend_all(self.tree, node, said)
            if number < len(steps):
                answer.counts, answer.cost = finish.tokens, finish.cost
                calls.append(self._call(answer, place, node, completion, number))
            else:
                answer = answer_of(info)
                if len(steps) > 1:  # the message's cost is that of all steps
                    answer.cost = finish.cost
                if said or answer.usage is not None:
                    calls.append(self._call(answer, place, node, completion, None))
            node = extend_all(self.tree, completion, results)
        if bytes(info.summary) == b"true":
            node = extend_all(self.tree, self._beginning(), _spoken(parts)[0])
        self.node = node
        return calls

    def add_whole(self, kind: str, message: _Message, place: Line) -> list[Call]:
        """Take in a message of version 2.

        Raises:
            ValueError: it cannot be read; nothing has changed.
        """
        if kind == "compaction":
            summary = Segment(Kind.TEXT, "user", message.summary or "")
            self.node = extend_all(self.tree, self._beginning(), [summary])
            return []
        if kind != "assistant":
            texts = (message.text, message.command, message.output)
            told = [Segment(Kind.TEXT, "user", text) for text in texts if text]
            self.node = extend_all(self.tree, self.node, told)
            return []
        said, results = _spoken(message.content or [])
        model = message.model or _Model()
        answer = Answer(
            model.id, model.provider_id, message.tokens, message.cost, message.time or Time()
        )
        calls = []
        completion = extend_all(self.tree, self.node, said)
        if said or answer.usage is not None:
            calls.append(self._call(answer, place, self.node, completion, None))
        self.node = extend_all(self.tree, completion, results)
        return calls

    def _call(
        self, answer: Answer, place: Line, prompt: int, completion: int, step: int | None
    ) -> Call:
        return answer.call(
            trace=self.trace.id,
            place=place,
            prompt=prompt,
            completion=completion,
            sidechain=self.trace.parent is not None,
            step=step,
        )


def _steps(parts: list[_Part]) -> list[tuple[list[_Part], _Part]]:
    """A message's parts cut where a step ends, each with the part that ends it. At least one step."""
    steps: list[tuple[list[_Part], _Part]] = []
    step: list[_Part] = []
    for part in parts:
        if part.type == "step-finish":
            steps.append((step, part))
            step = []
        else:
            step.append(part)
    if step and steps:
        steps[-1][0].extend(step)
    return steps or [(step, _Part("step-finish"))]


def _told(parts: list[_Part]) -> list[Segment]:
    """What a user's message adds to the context."""
    found = []
    for part in parts:
        if part.type == "file" and part.url:
            found.append(Segment(Kind.MEDIA, "user", canonical(part.url, "url")))
        text = part.text or part.prompt
        if text and not part.ignored:
            found.append(Segment(Kind.TEXT, "user", text))
    return found


def _spoken(parts: list[_Part]) -> tuple[list[Segment], list[Segment]]:
    """What a model said, and what its tools answered."""
    said: list[Segment] = []
    results: list[Segment] = []
    for part in parts:
        if part.type == "tool" and part.state is not None:
            state = part.state
            said.append(
                call_segment("assistant", part.tool or part.name, argument_text(state.input))
            )
            if state.status in ("completed", "error"):
                results.append(Segment(Kind.TOOL_RESULT, "tool", _result(state)))
        elif part.text and part.type in ("text", "reasoning"):
            kind = Kind.TEXT if part.type == "text" else Kind.THINKING
            said.append(Segment(kind, "assistant", part.text))
    return said, results


def _result(state: _ToolState) -> str:
    if state.content:
        pieces = [decode(piece, _PART) for piece in state.content]
        return "\n".join(piece.text for piece in pieces if piece.text)
    return argument_text(state.output or state.error)

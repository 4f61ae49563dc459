"""Gemini CLI chats: ``~/.gemini/tmp/<project>/chats/session-*.json`` or ``.jsonl``.

Older versions write one JSON object, ``{"sessionId", "projectHash", "startTime", "lastUpdated",
"messages": [message, …]}``; newer ones JSON Lines: that object without its messages, then one
record a line (`chatRecordingService.ts` of github.com/google-gemini/gemini-cli, read at 5411f11).
A message is ``{"id", "timestamp", "type", "content", …}``; those of the type ``gemini`` also have
``model``, ``tokens``, ``thoughts`` and ``toolCalls`` with their results. What to know:

- The name of a file does not tell its form: documents are found under ``.jsonl`` too.
- A message is written again, whole, when its tokens or tool results become known. The last one wins.
- ``{"$rewindTo": id}`` takes that message and all later ones out of the conversation;
  ``{"$set": {"messages": […]}}`` puts another history in its place, as a compression does. The calls
  made before were made all the same.
- One message with tokens is one call. ``input`` includes ``cached`` and excludes ``tool``;
  ``thoughts`` stand beside ``output``.
- `thoughts` are summaries, neither what was generated nor what is sent again, and are left out.
- A session that is resumed goes on in its file; one resumed from a document is copied into a new
  file with the same message ids.
- A subagent has a file of its own in a folder named after its parent's session.
- The system prompt and the tool definitions are not logged.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime
from itertools import zip_longest
from typing import ClassVar

import msgspec

from forkpoint.parsers.agent_session import unlogged_beginning
from forkpoint.parsers.base import Tree
from forkpoint.parsers.chat import Segment, argument_text, call_segment, extend_all
from forkpoint.parsers.document import decode_document
from forkpoint.parsers.gemini_parts import gemini_usage, part_segments
from forkpoint.parsers.json_list import elements
from forkpoint.parsers.logs import BAD_RECORD, Head, Line, Log
from forkpoint.parsers.raw_json import decode
from forkpoint.parsers.records import Call, Issue, Kind, Record, Tokens, Trace, Usage

_BEGINNING = re.compile(rb'\s*+\{\s*+"sessionId"\s*+:\s*+"[^"]*+"\s*+,\s*+"projectHash"\s*+:\s*+"')


class _Counts(msgspec.Struct):
    input: Tokens | None = None
    output: Tokens | None = None
    cached: Tokens | None = None
    thoughts: Tokens | None = None
    tool: Tokens | None = None
    total: Tokens | None = None

    def usage(self) -> Usage | None:
        return gemini_usage(
            prompt=self.input,
            candidates=self.output,
            cached=self.cached,
            thoughts=self.thoughts,
            tool=self.tool,
            total=self.total,
        )


class _ToolCall(msgspec.Struct):
    name: str | None = None
    args: msgspec.Raw = msgspec.Raw()
    result: msgspec.Raw = msgspec.Raw()


class _Message(msgspec.Struct, rename="camel"):
    id: str
    type: str = ""
    timestamp: datetime | None = None
    content: msgspec.Raw = msgspec.Raw()
    model: str | None = None
    tokens: _Counts | None = None
    tool_calls: list[_ToolCall] | None = None


class _Session(msgspec.Struct, rename="camel"):
    session_id: str | None = None
    project_hash: str | None = None
    kind: str | None = None
    summary: str | None = None
    directories: list[str] | None = None
    messages: list[msgspec.Raw] | None = None


class _Line(
    msgspec.Struct, rename={"update": "$set", "rewind_to": "$rewindTo", "session_id": "sessionId"}
):
    """Which kind of record a line is."""

    id: str | None = None
    type: str | None = None
    session_id: str | None = None
    update: _Session | None = None
    rewind_to: str | None = None


class _Entry(msgspec.Struct):
    """One message of the conversation."""

    message: _Message
    said: list[Segment]
    """A user's text, or a model's answer."""
    results: list[Segment]
    """What the tools answered that it called."""
    answers_tools: bool
    usage: Usage | None
    line: int
    offset: int
    start: int = -1
    """The node before it; -1: not placed yet."""
    spoken: int = -1
    end: int = -1


_LINE = msgspec.json.Decoder(_Line)
_SESSION = msgspec.json.Decoder(_Session)
_MESSAGE = msgspec.json.Decoder(_Message)


class GeminiCli:
    """Reads Gemini CLI chats; see the module's docstring."""

    name: ClassVar[str] = "gemini-cli"
    title: ClassVar[str] = "Gemini CLI"
    checked: ClassVar[str] = "chats of 2026-02; writer 5411f11, 2026-11"
    evidence: ClassVar[tuple[str, ...]] = ("usage", "text", "timestamps")
    locations: ClassVar[tuple[str, ...]] = ("$GEMINI_CLI_HOME/.gemini/tmp", "~/.gemini/tmp")
    whole_prompts: ClassVar[bool] = False
    grows: ClassVar[bool] = False

    def identify(self, head: Head) -> str | None:
        """Why the file is of this format, or ``None``."""
        first = head.document if isinstance(head.document, dict) else {}
        if _BEGINNING.match(head.data) or {"sessionId", "projectHash", "messages"} <= first.keys():
            return "sessionId and projectHash"
        return None

    def parse(self, log: Log, tree: Tree) -> Iterator[Record]:
        """Yield the calls of one chat, rewound ones too, and its trace."""
        chat = _Chat(tree, log)
        if _is_document(next(log.lines(), None)):
            yield from chat.read_document(log)
        else:
            for line in log.lines():
                if isinstance(line, Issue):
                    yield line
                else:
                    yield from chat.read(line)
        yield from chat.calls()
        if chat.session_id is not None or chat.known:
            yield chat.trace()


def _is_document(first: Line | Issue | None) -> bool:
    """Whether a file whose first line this is holds one JSON value, printed over several lines."""
    return isinstance(first, Line) and first.data.strip() == b"{"


class _Chat:
    """One file being read."""

    def __init__(self, tree: Tree, log: Log) -> None:
        self.tree = tree
        self.path = log.path
        self.session_id: str | None = None
        self.meta = _Session()
        self.entries: dict[str, _Entry] = {}
        """The conversation as it stands: messages in order, by id."""
        self.known: set[str] = set()
        """Ids of the messages whose calls were yielded."""

    def read_document(self, log: Log) -> Iterator[Record]:
        """Take in a chat that is one JSON value."""
        opened = decode_document(log, _SESSION, "chat")
        if isinstance(opened, Issue):
            yield opened
            return
        document, session = opened
        self._describe(session)
        for element in elements(document.data, session.messages or ()):
            try:
                self._add(element.data, element)
            except BAD_RECORD as error:
                yield element.issue(error)

    def read(self, line: Line) -> Iterator[Record]:
        """Take in one line."""
        try:
            record = decode(line.data, _LINE)
            if record.rewind_to is not None:
                yield from self.calls()
                self._rewind(record.rewind_to)
            elif record.id is not None:
                self._add(line.data, line)
            else:
                given = record.update or decode(line.data, _SESSION)
                yield from self._update(given, line)
        except BAD_RECORD as error:
            yield line.issue(error)

    def _update(self, given: _Session, line: Line) -> Iterator[Record]:
        self._describe(given)
        if given.messages is None:
            return
        yield from self.calls()
        before, self.entries = self.entries, {}
        for raw in given.messages:
            self._add(bytes(raw), line, before)

    def _describe(self, given: _Session) -> None:
        self.session_id = self.session_id or given.session_id
        for name in ("project_hash", "kind", "summary", "directories"):
            value = getattr(given, name)
            if value is not None:
                setattr(self.meta, name, value)

    def _add(self, data: bytes, line: Line, before: dict[str, _Entry] | None = None) -> None:
        """Append a message, or put another version of one in its place.

        Raises:
            ValueError, RecursionError: it cannot be read; nothing has changed.
        """
        message = decode(data, _MESSAGE, "message")
        if message.type not in ("user", "gemini"):
            return
        first = self.entries.get(message.id) or (before or {}).get(message.id)
        if first is not None and first.message.tokens is None:
            first = None  # the call stands where its tokens first do
        role = "user" if message.type == "user" else "assistant"
        said = part_segments(message.content, role)
        kinds = {segment.kind for segment in said}
        results: list[Segment] = []
        for call in message.tool_calls or ():
            if Kind.TOOL_CALL not in kinds:  # a history put in place has them in the content
                said.append(call_segment(role, call.name, argument_text(call.args)))
            results += part_segments(call.result, "tool")
        self.entries[message.id] = _Entry(
            message,
            said,
            results,
            Kind.TOOL_RESULT in kinds,
            None if message.tokens is None else message.tokens.usage(),
            line.line if first is None else first.line,
            line.offset if first is None else first.offset,
        )

    def _rewind(self, message_id: str) -> None:
        """Forget a message and all after it; all messages, if it is none of them."""
        ids = list(self.entries)
        at = ids.index(message_id) if message_id in self.entries else 0
        for each in ids[at:]:
            del self.entries[each]

    def calls(self) -> Iterator[Call]:
        """Place the messages on the tree, and yield the calls that were not yielded yet."""
        entries = list(self.entries.values())
        node = unlogged_beginning(
            self.tree, "gemini-cli", self.meta.project_hash, self.meta.kind or "main"
        )
        for entry, following in zip_longest(entries, entries[1:]):
            if entry.start != node:
                entry.start = node
                entry.spoken = extend_all(self.tree, node, entry.said)
                repeated = following is not None and following.answers_tools
                results = () if repeated else entry.results
                entry.end = extend_all(self.tree, entry.spoken, results)
            node = entry.end
            message = entry.message
            if message.tokens is not None and message.id not in self.known:
                self.known.add(message.id)
                yield self._call(entry, message)

    def _call(self, entry: _Entry, message: _Message) -> Call:
        model = message.model
        return Call(
            identity=("", message.id),
            trace=self.trace_id,
            line=entry.line,
            offset=entry.offset,
            prompt=entry.start,
            completion=entry.spoken,
            started_at=message.timestamp,
            provider="google" if model is not None and model.startswith("gemini") else None,
            model=model,
            usage=entry.usage,
            sidechain=self.is_subagent,
        )

    @property
    def is_subagent(self) -> bool:
        return self.meta.kind == "subagent"

    @property
    def trace_id(self) -> str:
        return self.session_id or self.path.stem

    def trace(self) -> Trace:
        """The session, with what is known of it at the end of the file."""
        folders = self.meta.directories
        return Trace(
            id=self.trace_id,
            parent=self.path.parent.name if self.is_subagent else None,
            project=folders[0] if folders else self.meta.project_hash,
            agent="Gemini CLI",
            title=self.meta.summary,
        )

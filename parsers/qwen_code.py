"""Qwen Code chats: ``~/.qwen/projects/<folder>/chats/<session>.jsonl``, earlier ``~/.qwen/tmp/…``.

One JSON object a line, ``{"uuid", "parentUuid", "sessionId", "timestamp", "type", "cwd", "version",
"message": {"role", "parts"}, …}`` (`chatRecordingService.ts` of github.com/QwenLM/qwen-code, read at
015346f). Types are ``user``, ``assistant``, ``tool_result`` and ``system``. What to know:

- Each ``assistant`` line is one call; it has ``model`` and ``usageMetadata`` with Gemini's names.
  Behind OpenAI-compatible servers thoughts are part of the candidates, so the total decides.
- Lines form a tree through ``parentUuid``; after a rewind the next line hangs off an earlier one.
- ``system`` lines carry no message. One of the subtype ``chat_compression`` puts
  ``systemPayload.compressedHistory`` in the place of all before it.
- A branched session copies its parent's lines: same ``uuid``, another ``sessionId``, ``forkedFrom``.
- A subagent's lines have ``isSidechain`` and ``agentId``.
- The system prompt and the tool definitions are not logged.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import ClassVar

import msgspec

from forkpoint.parsers.agent_session import unlogged_beginning
from forkpoint.parsers.base import Tree
from forkpoint.parsers.chat import extend_all
from forkpoint.parsers.gemini_parts import Content, content_segments, gemini_usage
from forkpoint.parsers.logs import BAD_RECORD, Head, Line, Log
from forkpoint.parsers.raw_json import decode
from forkpoint.parsers.records import Call, Issue, Record, Tokens, Trace, Usage

_TYPES = frozenset(("user", "assistant", "tool_result", "system"))


class _Counts(msgspec.Struct, rename="camel"):
    prompt_token_count: Tokens | None = None
    candidates_token_count: Tokens | None = None
    cached_content_token_count: Tokens | None = None
    thoughts_token_count: Tokens | None = None
    tool_use_prompt_token_count: Tokens | None = None
    total_token_count: Tokens | None = None

    def usage(self) -> Usage | None:
        return gemini_usage(
            prompt=self.prompt_token_count,
            candidates=self.candidates_token_count,
            cached=self.cached_content_token_count,
            thoughts=self.thoughts_token_count,
            tool=self.tool_use_prompt_token_count,
            total=self.total_token_count,
        )


class _Origin(msgspec.Struct, rename="camel"):
    session_id: str | None = None


class _Compression(msgspec.Struct, rename="camel"):
    compressed_history: list[Content]


class _Link(msgspec.Struct, rename="camel"):
    """What gives a line its place."""

    uuid: str
    type: str
    parent_uuid: str | None = None
    session_id: str | None = None
    agent_id: str | None = None
    is_sidechain: bool = False


class _Line(_Link, rename="camel"):
    subtype: str | None = None
    timestamp: datetime | None = None
    cwd: str | None = None
    version: str | None = None
    model: str | None = None
    message: Content | None = None
    usage_metadata: _Counts | None = None
    forked_from: _Origin | None = None
    system_payload: msgspec.Raw = msgspec.Raw()


_LINE = msgspec.json.Decoder(_Line)
_LINK = msgspec.json.Decoder(_Link)
_COMPRESSION = msgspec.json.Decoder(_Compression)


class QwenCode:
    """Reads Qwen Code chats; see the module's docstring."""

    name: ClassVar[str] = "qwen-code"
    title: ClassVar[str] = "Qwen Code"
    checked: ClassVar[str] = "writer 015346f, 2026-11"
    evidence: ClassVar[tuple[str, ...]] = ("usage", "text", "timestamps")
    locations: ClassVar[tuple[str, ...]] = (
        "$QWEN_RUNTIME_DIR/projects",
        "$QWEN_RUNTIME_DIR/tmp",
        "~/.qwen/projects",
        "~/.qwen/tmp",
    )
    whole_prompts: ClassVar[bool] = False
    grows: ClassVar[bool] = False

    def identify(self, head: Head) -> str | None:
        """Why the file is of this format, or ``None``."""
        for record in head.objects:
            if {"uuid", "parentUuid", "sessionId"} <= record.keys() and is_qwen_line(record):
                return "chat records with uuid and Gemini contents"
        return None

    def parse(self, log: Log, tree: Tree) -> Iterator[Record]:
        """Yield the calls of a chat on all its branches, and its traces."""
        chat = _Chat(tree, log.path.stem)
        for line in log.lines():
            if isinstance(line, Issue):
                yield line
                continue
            try:
                call = chat.add(_decode(line.data), line)
            except BAD_RECORD as error:
                yield line.issue(error)
                continue
            yield from chat.new_traces
            chat.new_traces.clear()
            if call is not None:
                yield call


def is_qwen_line(record: dict[str, object]) -> bool:
    """Whether a record with Claude Code's ids is Qwen Code's: it has Gemini's parts, or a payload."""
    message = record.get("message")
    return "systemPayload" in record or (isinstance(message, dict) and "parts" in message)


def _decode(data: bytes) -> _Line:
    """One line. A ``system`` line's own fields may have any shape.

    Raises:
        ValueError, RecursionError: it is no chat record.
    """
    try:
        return decode(data, _LINE)
    except ValueError:
        link = decode(data, _LINK)
        if link.type in _TYPES - {"system"}:
            raise
        return _Line(**{name: getattr(link, name) for name in link.__struct_fields__})


class _Chat:
    """One file being read."""

    def __init__(self, tree: Tree, stem: str) -> None:
        self.tree = tree
        self.stem = stem
        self.nodes: dict[str, int] = {}
        """Where each line's prefix ends, by uuid."""
        self.newest: dict[str, int] = {}
        """Where the newest line of each trace ends."""
        self.new_traces: list[Trace] = []

    def add(self, record: _Line, line: Line) -> Call | None:
        """Take in one line; the call, if it is one.

        Raises:
            ValueError, RecursionError: it cannot be read; nothing has changed.
        """
        if record.uuid in self.nodes:
            return None
        session = record.session_id or self.stem
        trace = f"{session}/{record.agent_id or ''}" if record.is_sidechain else session
        segments = content_segments(record.message) if record.message is not None else []
        usage = record.usage_metadata.usage() if record.usage_metadata is not None else None
        before = self._before(record, trace)
        if record.subtype == "chat_compression":
            node = self._compressed(record)
        else:
            node = extend_all(self.tree, before, segments)
        if trace not in self.newest:
            self.new_traces.append(_trace(record, trace, session))
        self.nodes[record.uuid] = self.newest[trace] = node
        if record.type != "assistant" or not (segments or usage):
            return None
        return Call(
            identity=("", record.uuid),
            trace=trace,
            line=line.line,
            offset=line.offset,
            prompt=before,
            completion=node,
            started_at=record.timestamp,
            model=record.model,
            usage=usage,
            sidechain=record.is_sidechain,
        )

    def _before(self, record: _Line, trace: str) -> int:
        parent = record.parent_uuid
        if parent is not None and parent in self.nodes:
            return self.nodes[parent]
        if parent is not None and trace in self.newest:
            return self.newest[trace]  # the line between them could not be read
        return self._beginning(record)

    def _beginning(self, record: _Line) -> int:
        kind = "subagent" if record.is_sidechain else "main"
        return unlogged_beginning(self.tree, "qwen-code", record.version, record.cwd, kind)

    def _compressed(self, record: _Line) -> int:
        payload = decode(record.system_payload, _COMPRESSION, "systemPayload")
        node = self._beginning(record)
        for content in payload.compressed_history:
            node = extend_all(self.tree, node, content_segments(content))
        return node


def _trace(record: _Line, trace: str, session: str) -> Trace:
    return Trace(
        id=trace,
        parent=session if record.is_sidechain else None,
        forked_from=record.forked_from.session_id if record.forked_from is not None else None,
        project=record.cwd,
        agent=f"Qwen Code {record.version}" if record.version else "Qwen Code",
    )

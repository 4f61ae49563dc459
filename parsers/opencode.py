"""OpenCode's sessions: ``opencode.db`` and, in versions before 1.2, a JSON file for each message.

Under ``~/.local/share/opencode`` (`session/message-v2.ts`, `session/session.sql.ts` and
`packages/core/src/session-message.ts` of github.com/anomalyco/opencode, read at 007a940, 063e830 and
7d5e0bc):

- ``storage/message/<session>/msg_*.json``: ``{"id", "sessionID", "role": "assistant", "modelID",
  "providerID", "cost", "tokens", "time": {"created", "completed"}, "path": {"cwd"}, …}``. The text of a
  message stands in other files (``storage/part``), so of these only counts are read: each call is
  taken to go on from the one before it in its session. Users' messages carry nothing and are not read.
- ``opencode.db`` (SQLite) has the messages' text too; see `opencode_db`.

``tokens`` is ``{"input", "output", "reasoning", "cache": {"read", "write"}}``. What to know:

- ``input`` excludes what was read from and written to a cache; ``reasoning`` stands beside ``output``.
- Messages that moved from files to the database keep their times and counts, and a forked session
  copies messages under new ids, so a call is known by its times and counts.
- ``cost`` is worked out by the program; 0 stands for a model without a known price.
- The system prompt and the tool definitions are not logged.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from typing import ClassVar

import msgspec

from forkpoint.parsers.agent_session import unlogged_beginning
from forkpoint.parsers.base import Tree
from forkpoint.parsers.document import read_document
from forkpoint.parsers.logs import (
    BAD_RECORD,
    Head,
    Line,
    Log,
    open_sqlite,
)
from forkpoint.parsers.opencode_db import is_opencode, read_sessions
from forkpoint.parsers.opencode_message import Info, answer_of
from forkpoint.parsers.raw_json import decode
from forkpoint.parsers.records import Issue, Record, Trace

_INFO = msgspec.json.Decoder(Info)
_BEGINNING = re.compile(rb'\s*+\{\s*+"(?:id"\s*+:\s*+"msg_|role"|sessionID")')
_KEYS = (b'"sessionID"', b'"modelID"', b'"providerID"', b'"tokens"')


class OpenCode:
    """Reads OpenCode's sessions; see the module's docstring."""

    name: ClassVar[str] = "opencode"
    title: ClassVar[str] = "OpenCode"
    checked: ClassVar[str] = "writer 007a940 (1.x) and 02ce4a3 (2.x), 2026-11"
    evidence: ClassVar[tuple[str, ...]] = ("usage", "text", "timestamps")
    locations: ClassVar[tuple[str, ...]] = (
        "$XDG_DATA_HOME/opencode/opencode.db",
        "$XDG_DATA_HOME/opencode/opencode-stable.db",
        "$XDG_DATA_HOME/opencode/opencode-next.db",
        "$XDG_DATA_HOME/opencode/storage/message",
        "~/.local/share/opencode/opencode.db",
        "~/.local/share/opencode/opencode-stable.db",
        "~/.local/share/opencode/opencode-next.db",
        "~/.local/share/opencode/storage/message",
    )
    whole_prompts: ClassVar[bool] = False
    grows: ClassVar[bool] = False

    def identify(self, head: Head) -> str | None:
        """Why the file is of this format, or ``None``."""
        if is_opencode(head.sqlite_tables):
            return "a database with tables of sessions and messages"
        document = head.document
        if isinstance(document, dict):
            if document.get("role") == "assistant" and document.keys() >= {"sessionID", "tokens"}:
                return "an assistant's message with sessionID and tokens"
            return None
        # The document goes on behind the head: an error with a long body makes it so long.
        if _BEGINNING.match(head.data) and all(key in head.data for key in _KEYS):
            return "a message with sessionID, modelID and tokens"
        return None

    def parse(self, log: Log, tree: Tree) -> Iterator[Record]:
        """Yield the calls and traces of a database, or the one call of a message's file."""
        head = log.head()
        if isinstance(head, Issue):
            yield head
            return
        if not head.sqlite_tables:
            yield from _read_message(log, tree)
            return
        try:
            with open_sqlite(log.path) as connection:
                yield from read_sessions(connection, tree)
        except sqlite3.Error as error:
            yield Line(b"", 1, 0).issue(error)


def _read_message(log: Log, tree: Tree) -> Iterator[Record]:
    place = read_document(log)
    if isinstance(place, Issue):
        yield place
        return
    try:
        info = decode(place.data, _INFO, "message")
        answer = answer_of(info)
        trace = info.session_id or log.path.parent.name
        prompt = unlogged_beginning(tree, "opencode", "text in other files")
        call = answer.call(trace=trace, place=place, prompt=prompt, completion=None)
    except BAD_RECORD as error:
        yield place.issue(error)
        return
    project = info.path.cwd if info.path is not None else None
    yield Trace(id=trace, project=project, agent="OpenCode")
    if info.role == "assistant" and call.usage is not None:
        yield call

"""goose's sessions: totals from ``sessions.db`` and from the JSONL files of earlier versions.

``~/.local/share/goose/sessions/sessions.db`` (SQLite; `session/session_manager.rs` of
github.com/block/goose, read at 0164300) has one row a session in ``sessions``: ``accumulated_*_tokens``
over all its calls, ``total_tokens``, ``input_tokens`` and ``output_tokens`` of the newest one alone,
``provider_name`` and ``model_config_json``. Before that each session was a file ``<session>.jsonl``,
whose first line holds the same counts beside ``working_dir`` and ``description``; the messages follow.
What to know:

- Single calls are not counted, so a session is one call here: the sum of many requests. Its price is
  therefore that of one long prompt where a model's price depends on the length, unless the program
  worked out a cost.
- The input includes what was read from and written to a cache. Versions before schema 16 do not say
  how much that was.
- Session ids count the sessions of a day (``20260301_2``), so a session is known by its folder too. Old
  files were copied into the database under the same id.
- What was said is in both, but which call said it is not: it is not read.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import ClassVar

import msgspec

from forkpoint.parsers.agent_session import (
    known_cost,
    moment,
    provider_named,
    unlogged_beginning,
)
from forkpoint.parsers.base import Tree
from forkpoint.parsers.logs import (
    BAD_RECORD,
    Head,
    Line,
    Log,
    open_sqlite,
)
from forkpoint.parsers.raw_json import decode
from forkpoint.parsers.records import Call, Issue, Record, Tokens, Trace, Usage


class _ModelConfig(msgspec.Struct):
    model_name: str | None = None


class _Session(msgspec.Struct):
    """A row of ``sessions``, or the first line of an old file."""

    id: str | None = None
    name: str | None = None
    description: str | None = None
    working_dir: str | None = None
    session_type: str | None = None
    parent_session_id: str | None = None
    created_at: str | float | None = None
    provider_name: str | None = None
    model_config_json: str | None = None
    input_tokens: Tokens | None = None
    output_tokens: Tokens | None = None
    cache_read_tokens: Tokens | None = None
    cache_write_tokens: Tokens | None = None
    total_tokens: Tokens | None = None
    accumulated_input_tokens: Tokens | None = None
    accumulated_output_tokens: Tokens | None = None
    accumulated_cache_read_tokens: Tokens | None = None
    accumulated_cache_write_tokens: Tokens | None = None
    accumulated_total_tokens: Tokens | None = None
    accumulated_cost: float | None = None


class _Line(_Session):
    """A line of an old file: the session or, if it has a role, a message."""

    role: str | None = None
    created: float | None = None


_LINE = msgspec.json.Decoder(_Line)
_MODEL_CONFIG = msgspec.json.Decoder(_ModelConfig)
_HEADER = frozenset(("description", "message_count"))


class Goose:
    """Reads goose's session totals; see the module's docstring."""

    name: ClassVar[str] = "goose"
    title: ClassVar[str] = "goose"
    checked: ClassVar[str] = "writer 0164300 (schema 5), columns up to schema 16, 2026-11"
    evidence: ClassVar[tuple[str, ...]] = ("usage", "timestamps")
    locations: ClassVar[tuple[str, ...]] = (
        "$GOOSE_PATH_ROOT/data/sessions",
        "~/.local/share/goose/sessions",
        "~/Library/Application Support/Block/goose/sessions",
    )
    whole_prompts: ClassVar[bool] = False
    grows: ClassVar[bool] = False

    def identify(self, head: Head) -> str | None:
        """Why the file is of this format, or ``None``."""
        if "accumulated_input_tokens" in head.sqlite_tables.get("sessions", ""):
            return "a database with a table of sessions and accumulated tokens"
        first = head.objects[0] if head.objects else {}
        if first.keys() >= _HEADER and "total_tokens" in first and "role" not in first:
            return "a session header with message_count and total_tokens"
        return None

    def parse(self, log: Log, tree: Tree) -> Iterator[Record]:
        """Yield one call and one trace for each session."""
        head = log.head()
        if isinstance(head, Issue):
            yield head
            return
        yield from _read_database(log, tree) if head.sqlite_tables else _read_file(log, tree)


def _read_database(log: Log, tree: Tree) -> Iterator[Record]:
    try:
        with open_sqlite(log.path) as connection:
            connection.row_factory = sqlite3.Row
            connection.text_factory = lambda data: data.decode("utf-8", "replace")
            for number, row in enumerate(connection.execute("SELECT * FROM sessions"), 1):
                place = Line(b"", number, 0)
                try:
                    yield from _records(_session(row), place, tree)
                except BAD_RECORD as error:
                    yield place.issue(error)
    except sqlite3.Error as error:
        yield Line(b"", 1, 0).issue(error)


def _session(row: sqlite3.Row) -> _Session:
    """A row's columns, those that the version has.

    Raises:
        ValueError: one has another type.
    """
    names = _Session.__struct_fields__
    present = {name: row[name] for name in row.keys() if name in names}  # noqa: SIM118
    return msgspec.convert({**present, "id": str(present.get("id"))}, _Session)


def _read_file(log: Log, tree: Tree) -> Iterator[Record]:
    """A session's old file: counts stand in its first line, times with its messages."""
    session: _Session | None = None
    header: Line | None = None
    began: float | None = None
    for line in log.lines():
        if isinstance(line, Issue):
            yield line
            continue
        try:
            record = decode(line.data, _LINE)
        except BAD_RECORD as error:
            yield line.issue(error)
            continue
        if record.role is not None:
            began = record.created if began is None else began
        elif session is None:
            session, header = record, line
    if session is None or header is None:
        return
    session.id = log.path.name.partition(".jsonl")[0]
    session.created_at = began
    try:
        yield from _records(session, header, tree)
    except BAD_RECORD as error:
        yield header.issue(error)


def _records(session: _Session, place: Line, tree: Tree) -> list[Record]:
    """A session's trace and, if it made any calls, the sum of them.

    Raises:
        ValueError: a column has a value of no meaning.
    """
    trace = _trace_id(session.id or "", session)
    parent = session.parent_session_id
    records: list[Record] = [
        Trace(
            id=trace,
            parent=None if parent is None else _trace_id(parent, session),
            project=session.working_dir,
            agent="goose",
            title=session.name or session.description or None,
        )
    ]
    usage = _usage(session)
    if usage is not None:
        config = session.model_config_json
        model = decode(config.encode(), _MODEL_CONFIG, "model_config_json") if config else None
        call = Call(
            identity=("", f"goose:{trace}"),
            trace=trace,
            line=place.line,
            offset=place.offset,
            prompt=unlogged_beginning(tree, "goose", "all calls"),
            started_at=_time(session.created_at),
            provider=provider_named(session.provider_name),
            model=model.model_name if model is not None else None,
            usage=usage,
            sidechain=session.session_type == "sub_agent",
            logged_cost_usd=known_cost(session.accumulated_cost),
            is_sum=True,
        )
        records.append(call)
    return records


def _trace_id(session_id: str, session: _Session) -> str:
    return f"{session_id}@{session.working_dir or ''}"


def _usage(session: _Session) -> Usage | None:
    """All calls of a session or, where only the newest was counted, that one.

    Raises:
        ValueError: the counts contradict each other.
    """
    given = (
        session.accumulated_input_tokens,
        session.accumulated_output_tokens,
        session.accumulated_cache_read_tokens,
        session.accumulated_cache_write_tokens,
        session.accumulated_total_tokens,
    )
    if not any(given[:2]):
        given = (
            session.input_tokens,
            session.output_tokens,
            session.cache_read_tokens,
            session.cache_write_tokens,
            session.total_tokens,
        )
    count, output, read, write, total = given
    if not any((count, output)):
        return None
    if count is not None:
        cached = (read or 0) + (write or 0)
        # Some providers' counts reach the program without the cache: the total then has it.
        if cached > count or total == count + cached + (output or 0) != count + (output or 0):
            count += cached
    return Usage(
        input_tokens=count,
        cache_read_tokens=read,
        cache_write_tokens=write,
        output_tokens=output,
    )


def _time(value: str | float | None) -> datetime | None:
    """A time as SQLite writes it (UTC), or a Unix time in seconds.

    Raises:
        ValueError: it is neither.
    """
    if isinstance(value, str):
        found = datetime.fromisoformat(value.removesuffix(" UTC"))
        return found if found.tzinfo is not None else found.replace(tzinfo=UTC)
    return moment(None if value is None else value * 1000)

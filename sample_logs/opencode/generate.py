"""Write the samples of this folder: ``python sample_logs/opencode/generate.py [FOLDER]``.

Everything is invented: the project "hivelog", the person's words and all token counts. No clock and no
randomness: each run writes the same bytes.
"""

from __future__ import annotations

import json
import sqlite3
import sys
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from hivelog_session import CWD, OTHER_WAY, SCOUTING, START, STEPS, UNLOGGED_TOKENS, Meter, Step
from stable_database import new_database

MODEL = "claude-sonnet-4-5"
SESSION = "ses_hivelog000000000000000001"
FORK = "ses_hivelog000000000000000002"
SCOUT = "ses_hivelog000000000000000003"
OLD = "ses_hivelog000000000000000000"
NEW = "ses_hivelog000000000000000004"
SCHEMA = """
CREATE TABLE session (
    id TEXT PRIMARY KEY, project_id TEXT NOT NULL, parent_id TEXT, directory TEXT NOT NULL,
    title TEXT NOT NULL, version TEXT NOT NULL, time_created INTEGER, time_updated INTEGER
);
CREATE TABLE message (
    id TEXT PRIMARY KEY, session_id TEXT NOT NULL, time_created INTEGER, time_updated INTEGER,
    data TEXT NOT NULL
);
CREATE TABLE part (
    id TEXT PRIMARY KEY, message_id TEXT NOT NULL, session_id TEXT NOT NULL, time_created INTEGER,
    time_updated INTEGER, data TEXT NOT NULL
);
CREATE TABLE session_message (
    id TEXT PRIMARY KEY, session_id TEXT NOT NULL, type TEXT NOT NULL, seq INTEGER NOT NULL,
    time_created INTEGER, time_updated INTEGER, data TEXT NOT NULL
);
"""


class Message(NamedTuple):
    """One message and its parts."""

    at: int
    data: dict[str, Any]
    parts: list[dict[str, Any]]


class Session:
    """Messages of one session, as version 1 of the database holds them."""

    def __init__(self, start: datetime, size: int = UNLOGGED_TOKENS) -> None:
        self.now = int(start.timestamp() * 1000)
        self.meter = Meter(size)
        self.messages: list[Message] = []

    def take(self, step: Step) -> None:
        """A question, then an answer that holds its tool's result."""
        self.now += 9_000
        if step.user is not None:
            self.meter.add(step.user)
            model = {"providerID": "anthropic", "modelID": MODEL}
            asked = {
                "role": "user",
                "time": {"created": self.now},
                "agent": "build",
                "model": model,
            }
            part = {"type": "text", "text": step.user}
            self.messages.append(Message(self.now, asked, [part]))
            self.now += 40
        data = {
            "role": "assistant",
            "time": {"created": self.now, "completed": self.now + 5_400},
            "modelID": MODEL,
            "providerID": "anthropic",
            "mode": "build",
            "path": {"cwd": CWD, "root": CWD},
            "cost": 0,
            "tokens": counted(self.meter, step.output),
        }
        parts: list[dict[str, Any]] = [{"type": "step-start"}, {"type": "text", "text": step.says}]
        if step.tool is not None:
            state = {"status": "completed", "input": step.arguments, "output": step.result}
            call_id = f"toolu_{len(self.messages):04d}"
            parts.append({"type": "tool", "callID": call_id, "tool": step.tool, "state": state})
            self.meter.add(step.result)
        self.messages.append(Message(self.now, data, parts))


def counted(meter: Meter, answer: str) -> dict[str, Any]:
    """A call's counts as OpenCode writes them: each excludes the others."""
    counts = meter.writing_call(answer, fresh=4)
    return {
        "input": counts["fresh"],
        "output": counts["output"],
        "reasoning": 0,
        "cache": {"read": counts["read"], "write": counts["written"]},
    }


def sessions() -> dict[str, Session]:
    """A session, a fork that copies its beginning, and a subagent."""
    first, scout = Session(START), Session(START + timedelta(minutes=3), 2_500)
    for step in STEPS:
        first.take(step)
    for step in SCOUTING:
        scout.take(step)
    fork = Session(START + timedelta(hours=1))
    fork.messages = first.messages[:6]
    fork.meter = Meter(UNLOGGED_TOKENS + 600, 8_000)
    for step in OTHER_WAY:
        fork.take(step)
    return {SESSION: first, FORK: fork, SCOUT: scout}


def rows_of_version_2() -> list[tuple[str, dict[str, Any]]]:
    """A session as version 2 holds it: whole messages, numbered."""
    meter, now = Meter(UNLOGGED_TOKENS), int((START + timedelta(days=1)).timestamp() * 1000)
    rows: list[tuple[str, dict[str, Any]]] = []
    for number, step in enumerate(STEPS):
        now += 9_000
        if step.user is not None:
            meter.add(step.user)
            rows.append(("user", {"text": step.user, "time": {"created": now}}))
        content: list[dict[str, Any]] = [{"type": "text", "text": step.says}]
        if step.tool is not None:
            result = [{"type": "text", "text": step.result}]
            state = {"status": "completed", "input": step.arguments, "content": result}
            content.append({"type": "tool", "id": f"t{number}", "name": step.tool, "state": state})
        answer = {
            "agent": "build",
            "model": {"id": MODEL, "providerID": "anthropic"},
            "content": content,
            "cost": 0,
            "tokens": counted(meter, step.output),
            "time": {"created": now + 40, "completed": now + 5_000},
        }
        meter.add(step.result)
        rows.append(("assistant", answer))
    return rows


def insert(connection: sqlite3.Connection, table: str, *row: str | int | None) -> None:
    connection.execute(f"INSERT INTO {table} VALUES ({', '.join('?' * len(row))})", row)


def write_database(path: Path) -> None:
    parents = {SCOUT: SESSION}
    with new_database(path, SCHEMA) as connection:
        for name in (SESSION, FORK, SCOUT, NEW):
            place = ("prj_hivelog", parents.get(name), CWD)
            insert(connection, "session", name, *place, f"Session {name[-1]}", "1.4.2", 0, 0)
        for name, session in sessions().items():
            write_messages(connection, name, session)
        for number, (kind, data) in enumerate(rows_of_version_2(), 1):
            at = data["time"]["created"]
            row = (f"msg_4{number:04d}", NEW, kind, number, at, at, json.dumps(data))
            insert(connection, "session_message", *row)


def write_messages(connection: sqlite3.Connection, name: str, session: Session) -> None:
    for number, message in enumerate(session.messages):
        message_id, times = f"msg_{name[-1]}{number:04d}", (message.at, message.at)
        insert(connection, "message", message_id, name, *times, json.dumps(message.data))
        for place, part in enumerate(message.parts):
            part_id = f"prt_{name[-1]}{number:04d}{place:02d}"
            insert(connection, "part", part_id, message_id, name, *times, json.dumps(part))


def write_files(folder: Path) -> None:
    """A session from before there was a database: a file for each message."""
    session = Session(START - timedelta(days=300))
    for step in STEPS[:3]:
        session.take(step)
    for number, message in enumerate(session.messages):
        if message.data["role"] != "assistant":
            continue
        name = f"msg_0{number:04d}"
        document = {"id": name, "sessionID": OLD, **message.data}
        path = folder / OLD / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(document, indent=2), encoding="utf-8", newline="\n")


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    write_database(folder / "opencode.db")
    write_files(folder / "storage" / "message")


if __name__ == "__main__":
    main()

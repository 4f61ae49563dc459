"""Write the samples of this folder: ``python sample_logs/opencode/generate.py [FOLDER]``.

Everything is invented: the project "hivelog", the person's words and all token counts. No clock and no
randomness: each run writes the same bytes.
"""

from __future__ import annotations

import json
import sqlite3
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

START = datetime(2026, 10, 5, 9, 0, tzinfo=UTC)
CWD = "/home/lea/hivelog"
UNLOGGED_TOKENS = 8_200
"""The system prompt and the tool definitions, which the program does not write down."""
CACHE_STEP = 1


class Step(NamedTuple):
    """One answer of the model's, what led to it and what came of it."""

    user: str | None
    says: str
    tool: str | None = None
    arguments: Any = ()
    result: str = ""


STEPS = [
    Step(
        "Add a weekly summary of hive weights to hivelog.",
        "I will look at how weights are stored first.",
        "read_file",
        {"path": "hivelog/weights.py"},
        "from dataclasses import dataclass\nfrom datetime import date\n\n\n@dataclass(frozen=True)\nclass Weight:\n    hive: str\n    day: date\n    kilograms: float\n\n\ndef load(path: str) -> list[Weight]:\n    with open(path) as rows:\n        return [parse(row) for row in rows if row.strip()]\n",
    ),
    Step(
        None,
        "Weights are one row a day. I will write a function that groups them by ISO week.",
        "write_file",
        {
            "path": "hivelog/summary.py",
            "content": "from collections import defaultdict\n\nfrom hivelog.weights import Weight\n\n\ndef weekly(weights: list[Weight]) -> dict[tuple[str, int, int], float]:\n    sums = defaultdict(list)\n    for each in weights:\n        year, week, _ = each.day.isocalendar()\n        sums[each.hive, year, week].append(each.kilograms)\n    return {key: sum(values) / len(values) for key, values in sums.items()}\n",
        },
        "wrote hivelog/summary.py (11 lines)",
    ),
    Step(
        None,
        "Now the tests.",
        "run",
        {"command": "make test"},
        "....F\nFAILED tests/test_summary.py::test_a_week_may_begin_in_december - KeyError: ('north', 2026, 1)\n1 failed, 4 passed in 0.31s",
    ),
    Step(
        None,
        "The test expects the ISO year, but passes the calendar year of the day. I will correct the test.",
        "write_file",
        {
            "path": "tests/test_summary.py",
            "content": "def test_a_week_may_begin_in_december() -> None:\n    assert weekly(DECEMBER)['north', 2026, 1] == 31.5\n",
        },
        "wrote tests/test_summary.py (2 lines)",
    ),
    Step(
        None,
        "Weekly means are in hivelog/summary.py, and all five tests pass.",
    ),
    Step(
        "Print them as a table too, hives as columns.",
        "The table goes into the command line, beside the daily one.",
        "read_file",
        {"path": "hivelog/cli.py"},
        "import sys\n\nfrom hivelog.weights import load\n\n\ndef main() -> None:\n    for each in load(sys.argv[1]):\n        print(each.day, each.hive, f'{each.kilograms:.1f}')\n",
    ),
    Step(
        None,
        "`hivelog --weekly FILE` prints one row a week and one column a hive; missing weeks stay empty.",
    ),
]
OTHER_WAY = [
    Step(
        "No, as JSON: another program reads it.",
        "Then one object a week, keyed by hive.",
        "write_file",
        {
            "path": "hivelog/cli.py",
            "content": "import json\nimport sys\n\nfrom hivelog.summary import weekly\nfrom hivelog.weights import load\n\n\ndef main() -> None:\n    json.dump(weekly(load(sys.argv[1])), sys.stdout)\n",
        },
        "wrote hivelog/cli.py (9 lines)",
    ),
    Step(
        None,
        "`hivelog --weekly FILE` writes one JSON object a week.",
    ),
]
SCOUTING = [
    Step(
        "Find every place that reads hive weights. Answer with paths only.",
        "I will search for the loader.",
        "search",
        {"pattern": "load("},
        "hivelog/weights.py:14\nhivelog/cli.py:7\ntools/import_scale.py:22",
    ),
    Step(
        None,
        "hivelog/cli.py, tools/import_scale.py",
    ),
]

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


def tokens(text: str) -> int:
    """About as many as a tokenizer would count."""
    return max(1, len(text) // 4)


class Meter:
    """The size of a context that grows from call to call, and how much of it was cached."""

    def __init__(self, size: int, cached: int = 0) -> None:
        self.size = size
        self.cached = cached

    def add(self, text: str) -> None:
        self.size += tokens(text)

    def call(self, answer: str, reasoning: int = 0) -> dict[str, int]:
        """Count a call, and let its context be cached in whole steps."""
        output = tokens(answer)
        counts = {
            "input": self.size,
            "cached": self.cached,
            "output": output,
            "reasoning": reasoning,
        }
        self.cached = self.size // CACHE_STEP * CACHE_STEP
        self.size += output
        return counts


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
            "tokens": counted(self.meter, step.says + str(step.arguments)),
        }
        parts = [{"type": "step-start"}, {"type": "text", "text": step.says}]
        if step.tool is not None:
            state = {"status": "completed", "input": step.arguments, "output": step.result}
            call_id = f"toolu_{len(self.messages):04d}"
            parts.append({"type": "tool", "callID": call_id, "tool": step.tool, "state": state})
            self.meter.add(step.result)
        self.messages.append(Message(self.now, data, parts))


def counted(meter: Meter, answer: str) -> dict[str, Any]:
    """A call's counts as OpenCode writes them: each excludes the others."""
    fresh = 4
    meter.cached = min(meter.cached, meter.size - fresh)
    counts = meter.call(answer)
    meter.cached = counts["input"] - fresh
    return {
        "input": fresh,
        "output": counts["output"],
        "reasoning": 0,
        "cache": {"read": counts["cached"], "write": meter.cached - counts["cached"]},
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
            "tokens": counted(meter, step.says + str(step.arguments)),
            "time": {"created": now + 40, "completed": now + 5_000},
        }
        meter.add(step.result)
        rows.append(("assistant", answer))
    return rows


def write_database(path: Path) -> None:
    path.unlink(missing_ok=True)
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA page_size = 1024")
    connection.executescript(SCHEMA)
    parents = {SCOUT: SESSION}
    for name in (SESSION, FORK, SCOUT, NEW):
        row = (name, "prj_hivelog", parents.get(name), CWD, f"Session {name[-1]}", "1.4.2", 0, 0)
        connection.execute("INSERT INTO session VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)
    for name, session in sessions().items():
        for number, message in enumerate(session.messages):
            message_id = f"msg_{name[-1]}{number:04d}"
            row = (message_id, name, message.at, message.at, json.dumps(message.data))
            connection.execute("INSERT INTO message VALUES (?, ?, ?, ?, ?)", row)
            for place, part in enumerate(message.parts):
                part_id = f"prt_{name[-1]}{number:04d}{place:02d}"
                row = (part_id, message_id, name, message.at, message.at, json.dumps(part))
                connection.execute("INSERT INTO part VALUES (?, ?, ?, ?, ?, ?)", row)
    for number, (kind, data) in enumerate(rows_of_version_2(), 1):
        created = data["time"]["created"]
        row = (f"msg_4{number:04d}", NEW, kind, number, created, created, json.dumps(data))
        connection.execute("INSERT INTO session_message VALUES (?, ?, ?, ?, ?, ?, ?)", row)
    connection.commit()
    connection.close()
    stable(path)


def stable(path: Path) -> None:
    """Put a fixed number where SQLite writes its own version, so that all versions write the same."""
    data = bytearray(path.read_bytes())
    data[96:100] = (3_040_001).to_bytes(4, "big")
    path.write_bytes(data)


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

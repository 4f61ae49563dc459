"""Write the sample chats of this folder: ``python sample_logs/gemini-cli/generate.py [FOLDER]``.

Everything is invented: the project "hivelog", the person's words and all token counts. No clock and no
randomness: each run writes the same bytes.
"""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

START = datetime(2026, 10, 5, 9, 0, tzinfo=UTC)
CWD = "/home/lea/hivelog"
UNLOGGED_TOKENS = 8_200
"""The system prompt and the tool definitions, which the program does not write down."""
CACHE_STEP = 256


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

MODEL = "gemini-2.5-pro"
SESSION = "5d7c2b1e-0a44-4c9e-9a51-0c51d4a60001"
OLD_SESSION = "5d7c2b1e-0a44-4c9e-9a51-0c51d4a60002"
SCOUT = "5d7c2b1e-0a44-4c9e-9a51-0c51d4a60003"
PROJECT = "c0ffee" + "7e57" * 14 + "10"
THOUGHTS = 61


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


class Chat:
    """Messages of one chat, and the versions of them that a growing file holds."""

    def __init__(self, prefix: str, start: datetime, size: int = UNLOGGED_TOKENS) -> None:
        self.prefix = prefix
        self.now = start
        self.meter = Meter(size)
        self.messages: list[dict[str, Any]] = []
        self.records: list[dict[str, Any]] = []

    def message(self, kind: str, content: Any) -> dict[str, Any]:
        self.now += timedelta(seconds=7)
        number = len(self.messages) + 1
        message = {
            "id": f"{self.prefix}{number:04d}",
            "timestamp": stamp(self.now),
            "type": kind,
            "content": content,
        }
        self.messages.append(message)
        return message

    def take(self, step: Step) -> None:
        """One answer, written down as it grows: the text, then its tokens, then the tools' results."""
        if step.user is not None:
            self.meter.add(step.user)
            self.records.append(dict(self.message("user", [{"text": step.user}])))
        message = self.message("gemini", step.says)
        message |= {"thoughts": [], "model": MODEL}
        self.records.append(dict(message))
        counts = self.meter.call(step.says + str(step.arguments), THOUGHTS)
        total = counts["input"] + counts["output"] + THOUGHTS
        message["tokens"] = {
            "input": counts["input"],
            "output": counts["output"],
            "cached": counts["cached"],
            "thoughts": THOUGHTS,
            "tool": 0,
            "total": total,
        }
        self.records.append(dict(message))
        if step.tool is None:
            return
        answer = {"functionResponse": {"name": step.tool, "response": {"output": step.result}}}
        self.meter.add(step.result)
        message["toolCalls"] = [
            {
                "id": f"{step.tool}-{self.prefix}{len(self.messages)}",
                "name": step.tool,
                "args": step.arguments,
                "result": [answer],
                "status": "success",
                "timestamp": stamp(self.now),
            }
        ]
        self.records.append(dict(message))


def stamp(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.000Z")


def header(session: str, start: datetime, **more: Any) -> dict[str, Any]:
    times = {"startTime": stamp(start), "lastUpdated": stamp(start)}
    return {"sessionId": session, "projectHash": PROJECT, **times, **more}


def lines(records: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(record) + "\n" for record in records)


def session() -> str:
    """A chat whose second half was taken back and said otherwise."""
    chat = Chat("a1f00d00-0000-4000-8000-00000000", START)
    for step in STEPS:
        chat.take(step)
    asked = next(m for m in chat.messages[1:] if m["type"] == "user")
    chat.records.append({"$rewindTo": asked["id"]})
    chat.meter = Meter(asked_size(chat), chat.meter.cached)
    chat.now += timedelta(minutes=2)
    for step in OTHER_WAY:
        chat.take(step)
    chat.records.append({"$set": {"summary": "A weekly summary of hive weights"}})
    return lines([header(SESSION, START), *chat.records])


def asked_size(chat: Chat) -> int:
    """The context before the question that was taken back."""
    size = UNLOGGED_TOKENS
    for step in STEPS[:5]:
        size += tokens(step.user or "") * (step.user is not None)
        size += tokens(step.says + str(step.arguments)) + tokens(step.result) * bool(step.tool)
    return size


def scout() -> str:
    """A subagent of that chat."""
    start = START + timedelta(minutes=1)
    chat = Chat("a1f00d00-0000-4000-8000-00000001", start, 2_900)
    for step in SCOUTING:
        chat.take(step)
    return lines([header(SCOUT, start, kind="subagent", directories=[CWD]), *chat.records])


def old_chat() -> str:
    """A chat as older versions write it: one document."""
    start = START - timedelta(days=200)
    chat = Chat("a1f00d00-0000-4000-8000-00000002", start)
    for step in STEPS:
        chat.take(step)
    chat.message("info", "Request cancelled.")
    return json.dumps({**header(OLD_SESSION, start), "messages": chat.messages}, indent=2)


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    chats = folder / "tmp" / "hivelog" / "chats"
    files = {
        chats / "session-2026-10-05T09-00-5d7c2b1e.jsonl": session(),
        chats / SESSION / f"{SCOUT}.jsonl": scout(),
        chats / "session-2026-03-19T09-00-5d7c2b1e.json": old_chat(),
    }
    for path, text in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()

"""Write the sample sessions of this folder: ``python sample_logs/droid/generate.py [FOLDER]``.

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

SESSION = "e5b2a7c4-90d1-4e0b-8a16-4c4f7d2e0001"
SCOUT = "e5b2a7c4-90d1-4e0b-8a16-4c4f7d2e0002"
MODEL = "claude-sonnet-4-5-20250929"


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


class Session:
    """One session: its lines, and the counts that stand in its settings."""

    def __init__(self, session_id: str, start: datetime, size: int, title: str) -> None:
        self.id = session_id
        self.start = self.now = start
        self.meter = Meter(size)
        self.title = title
        self.sums = dict.fromkeys(("input", "cached", "output"), 0)
        self.lines: list[dict[str, Any]] = []

    def say(self, role: str, content: list[dict[str, Any]]) -> None:
        self.now += timedelta(seconds=5)
        line = {
            "type": "message",
            "id": f"{self.id[-4:]}-{len(self.lines):04d}",
            "timestamp": self.now.strftime("%Y-%m-%dT%H:%M:%S.000Z"),
            "message": {"role": role, "content": content},
        }
        self.lines.append(line)

    def take(self, step: Step) -> None:
        """A question, an answer and its tool's result."""
        if step.user is not None:
            self.meter.add(step.user)
            self.say("user", [{"type": "text", "text": step.user}])
        content: list[dict[str, Any]] = [{"type": "text", "text": step.says}]
        call_id = f"toolu_{len(self.lines):04d}"
        if step.tool is not None:
            call = {"type": "tool_use", "id": call_id, "name": step.tool}
            content.append({**call, "input": step.arguments})
        counts = self.meter.call(step.says + str(step.arguments))
        for name in self.sums:
            self.sums[name] += counts[name]
        self.say("assistant", content)
        if step.tool is not None:
            self.meter.add(step.result)
            answer = {"type": "tool_result", "tool_use_id": call_id, "is_error": False}
            self.say("user", [{**answer, "content": step.result}])

    def settings(self) -> dict[str, Any]:
        usage = {
            "inputTokens": self.sums["input"] - self.sums["cached"],
            "outputTokens": self.sums["output"],
            "cacheCreationTokens": 0,
            "cacheReadTokens": self.sums["cached"],
            "thinkingTokens": 0,
            "factoryCredits": 1200,
        }
        return {
            "assistantActiveTimeMs": 48211,
            "model": MODEL,
            "reasoningEffort": "off",
            "interactionMode": "auto",
            "autonomyMode": "auto-low",
            "providerLock": "anthropic",
            "providerLockTimestamp": self.start.strftime("%Y-%m-%dT%H:%M:%S.000Z"),
            "tokenUsage": usage,
            "inclusiveTokenUsage": usage,
            "childInclusiveTokenUsageBySessionId": {},
        }

    def write(self, folder: Path, **more: Any) -> None:
        start = {"type": "session_start", "id": self.id, "title": self.title, "version": 2}
        records = [{**start, "cwd": CWD, **more}, *self.lines]
        text = "".join(json.dumps(record) + "\n" for record in records)
        (folder / f"{self.id}.jsonl").write_text(text, encoding="utf-8", newline="\n")
        text = json.dumps(self.settings(), indent=2)
        (folder / f"{self.id}.settings.json").write_text(text, encoding="utf-8", newline="\n")


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    sessions = folder / "sessions" / "-home-lea-hivelog"
    sessions.mkdir(parents=True, exist_ok=True)
    first = Session(SESSION, START, UNLOGGED_TOKENS, "Weekly hive weights")
    for step in STEPS:
        first.take(step)
    first.write(sessions, sessionTitle="Weekly hive weights", owner="lea")
    scout = Session(SCOUT, START + timedelta(minutes=2), 3_000, "Scout")
    scout.take(Step("Where are weights read?", "hivelog/cli.py"))
    scout.write(sessions, callingSessionId=SESSION)


if __name__ == "__main__":
    main()

"""Write the sample sessions of this folder: ``python sample_logs/pi-session/generate.py [FOLDER]``.

Everything is invented: the project "hivelog", the person's words, all token counts and costs. No clock
and no randomness: each run writes the same bytes.
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
USD_PER_MILLION = {"input": 3.0, "output": 15.0, "cacheRead": 0.3, "cacheWrite": 3.75}
SESSION = "2f1c9e70-7a2b-4f61-8a35-b1f0c0de0001"
FORK = "2f1c9e70-7a2b-4f61-8a35-b1f0c0de0002"


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
    """Entries of one session, each the child of the one before it unless told otherwise."""

    def __init__(self, first_id: int, start: datetime) -> None:
        self.ids = first_id
        self.now = start
        self.meter = Meter(UNLOGGED_TOKENS)
        self.parent: str | None = None
        self.entries: list[dict[str, Any]] = []

    def entry(self, kind: str, **fields: Any) -> None:
        self.now += timedelta(seconds=8)
        self.ids += 1
        identity = {"id": f"{self.ids:08x}", "parentId": self.parent}
        entry = {"type": kind, **identity, "timestamp": stamp(self.now), **fields}
        self.entries.append(entry)
        self.parent = entry["id"]

    def say(self, role: str, content: list[dict[str, Any]], **more: Any) -> None:
        sent = int(self.now.timestamp() * 1000) + 900
        self.entry("message", message={"role": role, "content": content, **more, "timestamp": sent})

    def take(self, step: Step) -> None:
        """A question, an answer and its tool's result, each an entry."""
        if step.user is not None:
            self.meter.add(step.user)
            self.say("user", [{"type": "text", "text": step.user}])
        content: list[dict[str, Any]] = [{"type": "text", "text": step.says}]
        call_id = f"toolu_{self.ids:06d}"
        if step.tool is not None:
            call = {"type": "toolCall", "id": call_id, "name": step.tool}
            content.append({**call, "arguments": step.arguments})
        answer = {"api": "anthropic-messages", "provider": "anthropic", "model": MODEL}
        stop = "stop" if step.tool is None else "toolUse"
        usage = self.usage(step.says + str(step.arguments))
        self.say("assistant", content, **answer, usage=usage, stopReason=stop)
        if step.tool is not None:
            self.meter.add(step.result)
            named = {"toolCallId": call_id, "toolName": step.tool, "isError": False}
            self.say("toolResult", [{"type": "text", "text": step.result}], **named)

    def usage(self, answer: str) -> dict[str, Any]:
        fresh = 3
        self.meter.cached = min(self.meter.cached, self.meter.size - fresh)
        counts = self.meter.call(answer)
        usage = {
            "input": fresh,
            "output": counts["output"],
            "cacheRead": counts["cached"],
            "cacheWrite": counts["input"] - counts["cached"] - fresh,
        }
        self.meter.cached = counts["input"] - fresh
        cost = {name: round(n * USD_PER_MILLION[name] / 1e6, 8) for name, n in usage.items()}
        total = sum(usage.values())
        return {
            **usage,
            "totalTokens": total,
            "cost": {**cost, "total": round(sum(cost.values()), 8)},
        }


def stamp(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.000Z")


def lines(session: str, start: datetime, entries: list[dict[str, Any]], **more: Any) -> str:
    head = {"type": "session", "version": 3, "id": session, "timestamp": stamp(start), "cwd": CWD}
    return "".join(json.dumps(record) + "\n" for record in [{**head, **more}, *entries])


def first() -> Session:
    """A session that branches at its second question, and is compacted at the end of one branch."""
    session = Session(0, START)
    for step in STEPS[:5]:
        session.take(step)
    fork, size = session.parent, session.meter.size
    for step in STEPS[5:]:
        session.take(step)
    session.parent, session.meter.size = fork, size
    for step in OTHER_WAY:
        session.take(step)
    kept = session.entries[-1]["id"]
    before = session.meter.size
    summary = "hivelog got weekly(), tests for it, and JSON output."
    session.entry("compaction", summary=summary, firstKeptEntryId=kept, tokensBefore=before)
    session.meter = Meter(UNLOGGED_TOKENS + tokens(summary) + 30, UNLOGGED_TOKENS)
    session.take(Step("Thank you. Bump the version.", "Version 0.4.0 is in pyproject.toml."))
    session.entry("session_info", name="Weekly hive weights")
    return session


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    sessions = folder / "sessions" / "--home-lea-hivelog--"
    sessions.mkdir(parents=True, exist_ok=True)
    session = first()
    names = [f"2026-10-05T09-00-00-000Z_{SESSION}.jsonl", f"2026-10-05T15-00-00-000Z_{FORK}.jsonl"]
    fork = Session(900, START + timedelta(hours=6))
    fork.entries = session.entries[:5]  # a fork copies what it goes on from
    fork.parent = fork.entries[-1]["id"]
    fork.meter.size += 900
    fork.take(Step("Which tests are there already?", "Four, all in tests/test_weights.py."))
    texts = [
        lines(SESSION, START, session.entries),
        lines(FORK, START + timedelta(hours=6), fork.entries, parentSession=f"{CWD}/{names[0]}"),
    ]
    for name, text in zip(names, texts, strict=True):
        (sessions / name).write_text(text, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()

"""Write the sample threads of this folder: ``python sample_logs/amp/generate.py [FOLDER]``.

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

MODEL = "claude-sonnet-4-5-20250929"
THREAD = "T-0199b1a2-4d3e-7c55-9b70-6a2f5be10001"
OLD_THREAD = "T-0199b1a2-4d3e-7c55-9b70-6a2f5be10002"


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


def thread(thread_id: str, start: datetime, steps: list[Step]) -> dict[str, Any]:
    """A thread whose messages state their usage."""
    now, meter = start, Meter(UNLOGGED_TOKENS)
    messages: list[dict[str, Any]] = []

    def say(role: str, content: list[dict[str, Any]], **more: Any) -> None:
        messages.append({"role": role, "messageId": len(messages), "content": content, **more})

    for step in steps:
        now += timedelta(seconds=11)
        if step.user is not None:
            meter.add(step.user)
            say("user", [{"type": "text", "text": step.user}])
        content: list[dict[str, Any]] = [{"type": "text", "text": step.says}]
        call_id = f"toolu_{len(messages):04d}"
        if step.tool is not None:
            call = {"type": "tool_use", "id": call_id, "name": step.tool}
            content.append({**call, "input": step.arguments})
        fresh = 5
        counts = meter.call(step.says + str(step.arguments))
        usage = {
            "model": MODEL,
            "timestamp": now.strftime("%Y-%m-%dT%H:%M:%S.000Z"),
            "inputTokens": fresh,
            "outputTokens": counts["output"],
            "cacheCreationInputTokens": counts["input"] - counts["cached"] - fresh,
            "cacheReadInputTokens": counts["cached"],
            "totalInputTokens": counts["input"],
            "maxInputTokens": 168000,
        }
        meter.cached = counts["input"] - fresh
        say("assistant", content, usage=usage)
        if step.tool is not None:
            meter.add(step.result)
            run = {"status": "done", "result": step.result}
            say("user", [{"type": "tool_result", "toolUseID": call_id, "run": run}])
    created = int(start.timestamp() * 1000)
    trees = [{"displayName": "hivelog", "uri": f"file://{CWD}"}]
    env = {"initial": {"trees": trees}}
    title = "Weekly hive weights"
    head = {"v": 31, "id": thread_id, "created": created, "title": title}
    return {**head, "messages": messages, "env": env}


def old_thread() -> dict[str, Any]:
    """A thread from when a ledger stated what messages used, and what was used beside them."""
    document = thread(OLD_THREAD, START - timedelta(days=250), STEPS[:3])
    events = []
    for message in document["messages"]:
        if message["role"] == "assistant":
            usage = message["usage"]
            counts = {"input": usage["inputTokens"], "output": usage["outputTokens"]}
            event = {
                "id": f"event-{len(events):04d}",
                "timestamp": usage["timestamp"],
                "model": MODEL,
                "tokens": counts,
                "operationType": "inference",
                "toMessageId": message["messageId"],
            }
            events.append(event)
    title = {"id": "event-title", "timestamp": events[0]["timestamp"], "model": "claude-haiku-4-5"}
    events.append({**title, "tokens": {"input": 412, "output": 9}, "operationType": "title"})
    return {**document, "usageLedger": {"events": events}}


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    threads = folder / "threads"
    threads.mkdir(parents=True, exist_ok=True)
    for document in (thread(THREAD, START, STEPS), old_thread()):
        text = json.dumps(document, indent=2)
        (threads / f"{document['id']}.json").write_text(text, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()

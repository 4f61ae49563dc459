"""Write the sample session of this folder: ``python sample_logs/copilot/generate.py [FOLDER]``.

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

MODEL = "claude-sonnet-4.5"
SESSION = "c4a7e1d2-3b0f-4d7e-8d65-9f20a1b30001"
SYSTEM = "You are a coding agent in a terminal. Run the tests after each change."


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


class Events:
    """Events of one session."""

    def __init__(self) -> None:
        self.now = START
        self.events: list[dict[str, Any]] = []
        self.sums = dict.fromkeys(("input", "cached", "output"), 0)

    def event(self, kind: str, data: dict[str, Any], **more: Any) -> None:
        self.now += timedelta(seconds=4)
        number = len(self.events)
        last = self.events[-1]["id"] if self.events else None
        event = {
            "type": kind,
            "data": data,
            "id": f"c0dec0de-0000-4000-8000-{number:012d}",
            "timestamp": self.now.strftime("%Y-%m-%dT%H:%M:%S.000Z"),
            "parentId": last,
        }
        self.events.append({**event, **more})

    def take(self, step: Step, meter: Meter, **agent: Any) -> None:
        """A question, an answer and its tool's result."""
        if step.user is not None:
            meter.add(step.user)
            sent = f"<current_datetime>{self.now.isoformat()}</current_datetime>\n\n{step.user}"
            said = {"content": step.user, "transformedContent": sent, "attachments": []}
            self.event("user.message", said, **agent)
        counts = meter.call(step.says + str(step.arguments))
        for name in self.sums:
            self.sums[name] += counts[name]
        call_id = f"tooluse_{len(self.events):04d}"
        request = {"toolCallId": call_id, "name": step.tool, "arguments": step.arguments}
        answer = {
            "messageId": f"d00dad00-0000-4000-8000-{len(self.events):012d}",
            "apiCallId": f"chatcmpl-hivelog{len(self.events):06d}",
            "model": MODEL,
            "content": step.says,
            "toolRequests": [request] if step.tool is not None else [],
            "outputTokens": counts["output"],
        }
        self.event("assistant.message", answer, **agent)
        if step.tool is not None:
            meter.add(step.result)
            result = {"content": step.result}
            done = {"toolCallId": call_id, "success": True, "result": result}
            self.event("tool.execution_complete", done, **agent)

    def shut_down(self) -> None:
        """Counts of the whole session, by model."""
        usage = {
            "inputTokens": self.sums["input"],
            "outputTokens": self.sums["output"],
            "cacheReadTokens": self.sums["cached"],
            "cacheWriteTokens": 0,
            "reasoningTokens": 0,
        }
        requests = {"count": 9, "cost": 2}
        metrics = {MODEL: {"requests": requests, "usage": usage}}
        shutdown = {"shutdownType": "routine", "modelMetrics": metrics, "currentModel": MODEL}
        self.event("session.shutdown", shutdown)


def session() -> Events:
    """Two questions, a subagent and two runs of the program."""
    log, meter = Events(), Meter(UNLOGGED_TOKENS)
    start = {
        "sessionId": SESSION,
        "version": 1,
        "producer": "copilot-agent",
        "copilotVersion": "1.0.75",
        "startTime": START.isoformat(),
        "selectedModel": MODEL,
        "context": {"cwd": CWD, "branch": "main"},
    }
    log.event("session.start", start)
    log.event("system.message", {"role": "system", "content": SYSTEM})
    for step in STEPS[:5]:
        log.take(step, meter)
    log.shut_down()
    log.now += timedelta(hours=2)
    meter.cached = 0
    log.event("session.resume", {"resumeTime": log.now.isoformat(), "eventCount": len(log.events)})
    for step in STEPS[5:]:
        log.take(step, meter)
    scout, agent = Meter(2_400), "tooluse_scout"
    started = {"toolCallId": agent, "agentName": "explore", "agentDisplayName": "Explore"}
    log.event("subagent.started", started)
    for step in SCOUTING:
        log.take(step, scout, agentId=agent)
    log.event("subagent.completed", started)
    log.shut_down()
    return log


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    path = folder / "session-state" / SESSION / "events.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(event) + "\n" for event in session().events)
    path.write_text(text, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()

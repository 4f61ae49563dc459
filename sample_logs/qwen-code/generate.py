"""Write the sample chats of this folder: ``python sample_logs/qwen-code/generate.py [FOLDER]``.

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

MODEL = "qwen3-coder-plus"
SESSION = "8e2f9a10-61d3-4f6a-b1c7-77aa5f3d0001"
BRANCH = "8e2f9a10-61d3-4f6a-b1c7-77aa5f3d0002"
REASONING = 24


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
    """One file of records."""

    def __init__(self, session: str, prefix: str, start: datetime) -> None:
        self.session = session
        self.prefix = prefix
        self.now = start
        self.parent: str | None = None
        self.records: list[dict[str, Any]] = []

    def record(self, kind: str, role: str, parts: list[dict[str, Any]], **more: Any) -> None:
        self.now += timedelta(seconds=6)
        uuid = f"{self.prefix}{len(self.records) + 1:04d}"
        record = {
            "uuid": uuid,
            "parentUuid": self.parent,
            "sessionId": self.session,
            "timestamp": self.now.strftime("%Y-%m-%dT%H:%M:%S.000Z"),
            "type": kind,
            "cwd": CWD,
            "version": "0.6.1",
            "gitBranch": "main",
            "message": {"role": role, "parts": parts},
            **more,
        }
        self.records.append(record)
        self.parent = uuid

    def take(self, step: Step, meter: Meter) -> None:
        """A question, an answer and its tool's result, each a record."""
        if step.user is not None:
            meter.add(step.user)
            self.record("user", "user", [{"text": step.user}])
        parts: list[dict[str, Any]] = [{"text": step.says}]
        if step.tool is not None:
            call = {"id": f"call_{len(self.records)}", "name": step.tool, "args": step.arguments}
            parts.append({"functionCall": call})
        # An OpenAI-compatible server: reasoning is part of the output.
        counts = meter.call(step.says + str(step.arguments) + "x" * 4 * REASONING)
        usage = {
            "promptTokenCount": counts["input"],
            "candidatesTokenCount": counts["output"],
            "thoughtsTokenCount": REASONING,
            "totalTokenCount": counts["input"] + counts["output"],
            "cachedContentTokenCount": counts["cached"],
        }
        self.record("assistant", "model", parts, model=MODEL, usageMetadata=usage)
        if step.tool is not None:
            meter.add(step.result)
            answer = {"name": step.tool, "response": {"output": step.result}}
            self.record("tool_result", "user", [{"functionResponse": answer}])


def session() -> Chat:
    """A chat that was compressed before its second question."""
    chat, meter = Chat(SESSION, "b0b0cafe-0000-4000-8000-00000000", START), Meter(UNLOGGED_TOKENS)
    for step in STEPS[:5]:
        chat.take(step, meter)
    summary = "The user works on hivelog. weekly() in hivelog/summary.py is done and tested."
    history = [
        {"role": "user", "parts": [{"text": summary}]},
        {"role": "model", "parts": [{"text": "Understood."}]},
    ]
    chat.record("system", "user", [], subtype="chat_compression")
    del chat.records[-1]["message"]
    chat.records[-1]["systemPayload"] = {"info": {}, "compressedHistory": history}
    meter = Meter(UNLOGGED_TOKENS + tokens(summary) + tokens("Understood."))
    for step in STEPS[5:]:
        chat.take(step, meter)
    return chat


def branch(parent: Chat) -> Chat:
    """Another session that copies the first three calls and then takes another way."""
    chat = Chat(BRANCH, "b0b0cafe-0000-4000-8000-00000001", START + timedelta(hours=3))
    meter = Meter(UNLOGGED_TOKENS)
    for step in STEPS[:3]:
        chat.take(step, meter)
    for copy, original in zip(chat.records, parent.records, strict=False):
        origin = {"sessionId": SESSION, "messageUuid": original["uuid"]}
        copy.update({**original, "sessionId": BRANCH, "forkedFrom": origin})
    chat.parent = chat.records[-1]["uuid"]
    meter.cached = 0
    chat.take(
        Step("The ISO year is right: fix the code that calls it.", "Then I leave the test."), meter
    )
    return chat


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    chats = folder / "projects" / "-home-lea-hivelog" / "chats"
    chats.mkdir(parents=True, exist_ok=True)
    first = session()
    for chat in (first, branch(first)):
        text = "".join(json.dumps(record) + "\n" for record in chat.records)
        (chats / f"{chat.session}.jsonl").write_text(text, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()

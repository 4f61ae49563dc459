"""Write the sample sessions of this folder: ``python sample_logs/kimi/generate.py [FOLDER]``.

Everything is invented: the project "hivelog", the person's words and all token counts. No clock and no
randomness: each run writes the same bytes.
"""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
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

CLI_SESSION = "7b1d0f7e-2c55-4d0a-94f2-3f2f5a110001"
CODE_SESSION = "7b1d0f7e-2c55-4d0a-94f2-3f2f5a110002"
MODEL = "kimi-k2.6"
SYSTEM = "You are Kimi, a coding agent. Keep changes small and run the tests after each of them."


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


class CliWire:
    """Messages of one Kimi CLI session."""

    def __init__(self) -> None:
        self.seconds = START.timestamp()
        self.lines: list[dict[str, Any]] = [{"type": "metadata", "protocol_version": "1.10"}]
        self.steps = 0

    def put(self, kind: str, payload: dict[str, Any], agent: str | None) -> None:
        self.seconds += 1.25
        message = {"type": kind, "payload": payload}
        if agent is not None:
            inside = {"agent_id": agent, "subagent_type": "explore", "event": message}
            message = {"type": "SubagentEvent", "payload": inside}
        self.lines.append({"timestamp": self.seconds, "message": message})

    def take(self, step: Step, meter: Meter, agent: str | None = None) -> None:
        """One step: its response, its counts, its tool's result."""
        if step.user is not None:
            meter.add(step.user)
            self.put("TurnBegin", {"user_input": step.user}, agent)
        self.steps += 1
        self.put("StepBegin", {"n": self.steps}, agent)
        self.put("ContentPart", {"type": "text", "text": step.says}, agent)
        call_id = f"{step.tool}:{self.steps}"
        if step.tool is not None:
            function = {"name": step.tool, "arguments": json.dumps(step.arguments)}
            self.put("ToolCall", {"type": "function", "id": call_id, "function": function}, agent)
        counts = meter.call(step.says + str(step.arguments))
        usage = {
            "input_other": counts["input"] - counts["cached"],
            "output": counts["output"],
            "input_cache_read": counts["cached"],
            "input_cache_creation": 0,
        }
        message_id = f"chatcmpl-hivelog-{self.steps:08d}"
        status = {"context_tokens": meter.size, "token_usage": usage, "message_id": message_id}
        self.put("StatusUpdate", status, agent)
        if step.tool is None:
            self.put("TurnEnd", {}, agent)
            return
        meter.add(step.result)
        value = {"is_error": False, "output": step.result, "message": "", "display": []}
        self.put("ToolResult", {"tool_call_id": call_id, "return_value": value}, agent)


def cli_session() -> list[dict[str, Any]]:
    """A session with a subagent, whose context is compacted before the second question."""
    wire, meter, scout = CliWire(), Meter(UNLOGGED_TOKENS), Meter(2_100)
    for step in STEPS[:5]:
        wire.take(step, meter)
    for step in SCOUTING:
        wire.take(step, scout, "a5c0u7")
    wire.put("CompactionBegin", {}, None)
    wire.put("CompactionEnd", {}, None)
    meter = Meter(UNLOGGED_TOKENS + 180)
    for step in STEPS[5:]:
        wire.take(step, meter)
    return wire.lines


class CodeWire:
    """Records of one Kimi Code agent."""

    def __init__(self) -> None:
        self.milliseconds = int(START.timestamp() * 1000)
        self.lines: list[dict[str, Any]] = []
        self.steps = 0

    def put(self, kind: str, /, **fields: Any) -> None:
        self.milliseconds += 1500
        self.lines.append({"type": kind, **fields, "time": self.milliseconds})

    def event(self, kind: str, /, **fields: Any) -> None:
        self.put("context.append_loop_event", event={"type": kind, **fields})

    def take(self, step: Step, meter: Meter) -> None:
        """One step of the loop, from the question to the tool's result."""
        if step.user is not None:
            meter.add(step.user)
            said = {"role": "user", "content": [{"type": "text", "text": step.user}]}
            said |= {"toolCalls": [], "origin": {"kind": "user"}}
            self.put("context.append_message", message=said)
        self.steps += 1
        uuid = f"beeb0000-0000-4000-8000-{self.steps:012d}"
        place = {"turnId": "t1", "step": self.steps}
        request = {"kind": "loop", "provider": "kimi", "model": MODEL, "messageCount": self.steps}
        self.event("step.begin", uuid=uuid, **place)
        self.put("llm.request", **request)
        part = {"type": "text", "text": step.says}
        self.event("content.part", uuid=f"{uuid[:-1]}p", **place, stepUuid=uuid, part=part)
        if step.tool is not None:
            call = {"toolCallId": f"call-{self.steps}", "name": step.tool, "args": step.arguments}
            self.event("tool.call", uuid=f"{uuid[:-1]}c", **place, stepUuid=uuid, **call)
        counts = meter.call(step.says + str(step.arguments))
        usage = {
            "inputOther": counts["input"] - counts["cached"],
            "output": counts["output"],
            "inputCacheRead": counts["cached"],
            "inputCacheCreation": 0,
        }
        reason = "end_turn" if step.tool is None else "tool_use"
        self.event("step.end", uuid=uuid, **place, usage=usage, finishReason=reason)
        self.put("usage.record", model=MODEL, usage=usage, usageScope="turn")
        if step.tool is not None:
            meter.add(step.result)
            result = {"output": step.result}
            called = {"parentUuid": uuid, "toolCallId": f"call-{self.steps}"}
            self.event("tool.result", **called, result=result)


def code_session() -> list[dict[str, Any]]:
    """A session whose second question was taken back and asked otherwise."""
    wire, meter = CodeWire(), Meter(tokens(SYSTEM) + 5_800)
    created = wire.milliseconds
    wire.lines.append({"type": "metadata", "protocol_version": "1.1", "created_at": created})
    wire.put("config.update", cwd=CWD, modelAlias=MODEL, systemPrompt=SYSTEM)
    for step in STEPS[:5]:
        wire.take(step, meter)
    size = meter.size
    for step in STEPS[5:]:
        wire.take(step, meter)
    wire.put("context.undo", count=1)
    meter = Meter(size, min(meter.cached, size // CACHE_STEP * CACHE_STEP))
    for step in OTHER_WAY:
        wire.take(step, meter)
    return wire.lines


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    project, main = "8d7f5b0f4c2ed9b2f6a40f6d0f1f9d55", "agents/main"
    files = {
        folder / "cli" / "sessions" / project / CLI_SESSION / "wire.jsonl": cli_session(),
        folder
        / "code"
        / "sessions"
        / "hivelog"
        / CODE_SESSION
        / main
        / "wire.jsonl": code_session(),
    }
    for path, records in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        text = "".join(json.dumps(record) + "\n" for record in records)
        path.write_text(text, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()

"""Write the sample sessions of this folder: ``python sample_logs/kimi/generate.py [FOLDER]``.

Everything is invented: the project "hivelog", the person's words and all token counts. No clock and no
randomness: each run writes the same bytes.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from hivelog_session import (
    CWD,
    OTHER_WAY,
    SCOUTING,
    START,
    STEPS,
    UNLOGGED_TOKENS,
    Meter,
    Step,
    tokens,
    whole_blocks,
)

CLI_SESSION = "7b1d0f7e-2c55-4d0a-94f2-3f2f5a110001"
CODE_SESSION = "7b1d0f7e-2c55-4d0a-94f2-3f2f5a110002"
MODEL = "kimi-k2.6"
SYSTEM = "You are Kimi, a coding agent. Keep changes small and run the tests after each of them."


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
        counts = meter.call(step.output)
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
        counts = meter.call(step.output)
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
    meter = Meter(size, min(meter.cached, whole_blocks(size)))
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

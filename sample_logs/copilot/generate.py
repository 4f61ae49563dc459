"""Write the sample session of this folder: ``python sample_logs/copilot/generate.py [FOLDER]``.

Everything is invented: the project "hivelog", the person's words and all token counts. No clock and no
randomness: each run writes the same bytes.
"""

from __future__ import annotations

import json
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from hivelog_session import CWD, SCOUTING, START, STEPS, UNLOGGED_TOKENS, Meter, Step, stamp

MODEL = "claude-sonnet-4.5"
SESSION = "c4a7e1d2-3b0f-4d7e-8d65-9f20a1b30001"
SYSTEM = "You are a coding agent in a terminal. Run the tests after each change."


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
            "timestamp": stamp(self.now),
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
        counts = meter.call(step.output)
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

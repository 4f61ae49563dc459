"""Write the sample sessions of this folder: ``python sample_logs/droid/generate.py [FOLDER]``.

Everything is invented: the project "hivelog", the person's words and all token counts. No clock and no
randomness: each run writes the same bytes.
"""

from __future__ import annotations

import json
import sys
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from hivelog_session import CWD, START, STEPS, UNLOGGED_TOKENS, Meter, Step, stamp

SESSION = "e5b2a7c4-90d1-4e0b-8a16-4c4f7d2e0001"
SCOUT = "e5b2a7c4-90d1-4e0b-8a16-4c4f7d2e0002"
MODEL = "claude-sonnet-4-5-20250929"


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
            "timestamp": stamp(self.now),
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
        counts = self.meter.call(step.output)
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
            "providerLockTimestamp": stamp(self.start),
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

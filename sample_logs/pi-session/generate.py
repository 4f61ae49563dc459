"""Write the sample sessions of this folder: ``python sample_logs/pi-session/generate.py [FOLDER]``.

Everything is invented: the project "hivelog", the person's words, all token counts and costs. No clock
and no randomness: each run writes the same bytes.
"""

from __future__ import annotations

import json
import sys
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from hivelog_session import (
    CWD,
    OTHER_WAY,
    START,
    STEPS,
    UNLOGGED_TOKENS,
    Meter,
    Step,
    stamp,
    tokens,
)

MODEL = "claude-sonnet-4-5"
USD_PER_MILLION = {"input": 3.0, "output": 15.0, "cacheRead": 0.3, "cacheWrite": 3.75}
SESSION = "2f1c9e70-7a2b-4f61-8a35-b1f0c0de0001"
FORK = "2f1c9e70-7a2b-4f61-8a35-b1f0c0de0002"


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
        usage = self.usage(step.output)
        self.say("assistant", content, **answer, usage=usage, stopReason=stop)
        if step.tool is not None:
            self.meter.add(step.result)
            named = {"toolCallId": call_id, "toolName": step.tool, "isError": False}
            self.say("toolResult", [{"type": "text", "text": step.result}], **named)

    def usage(self, answer: str) -> dict[str, Any]:
        counts = self.meter.writing_call(answer, fresh=3)
        usage = {
            "input": counts["fresh"],
            "output": counts["output"],
            "cacheRead": counts["read"],
            "cacheWrite": counts["written"],
        }
        cost = {name: round(n * USD_PER_MILLION[name] / 1e6, 8) for name, n in usage.items()}
        total = sum(usage.values())
        return {
            **usage,
            "totalTokens": total,
            "cost": {**cost, "total": round(sum(cost.values()), 8)},
        }


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

"""Write the sample chats of this folder: ``python sample_logs/gemini-cli/generate.py [FOLDER]``.

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
from hivelog_session import (
    CWD,
    OTHER_WAY,
    SCOUTING,
    START,
    STEPS,
    UNLOGGED_TOKENS,
    Meter,
    Step,
    stamp,
    tokens,
)

MODEL = "gemini-2.5-pro"
SESSION = "5d7c2b1e-0a44-4c9e-9a51-0c51d4a60001"
OLD_SESSION = "5d7c2b1e-0a44-4c9e-9a51-0c51d4a60002"
SCOUT = "5d7c2b1e-0a44-4c9e-9a51-0c51d4a60003"
PROJECT = "c0ffee" + "7e57" * 14 + "10"
THOUGHTS = 61


class Chat:
    """Messages of one chat, and the versions of them that a growing file holds."""

    def __init__(self, prefix: str, start: datetime, size: int = UNLOGGED_TOKENS) -> None:
        self.prefix = prefix
        self.now = start
        self.meter = Meter(size)
        self.messages: list[dict[str, Any]] = []
        self.records: list[dict[str, Any]] = []

    def message(self, kind: str, content: Any) -> dict[str, Any]:
        self.now += timedelta(seconds=7)
        number = len(self.messages) + 1
        message = {
            "id": f"{self.prefix}{number:04d}",
            "timestamp": stamp(self.now),
            "type": kind,
            "content": content,
        }
        self.messages.append(message)
        return message

    def take(self, step: Step) -> None:
        """One answer, written down as it grows: the text, then its tokens, then the tools' results."""
        if step.user is not None:
            self.meter.add(step.user)
            self.records.append(dict(self.message("user", [{"text": step.user}])))
        message = self.message("gemini", step.says)
        message |= {"thoughts": [], "model": MODEL}
        self.records.append(dict(message))
        counts = self.meter.call(step.output)
        total = counts["input"] + counts["output"] + THOUGHTS
        message["tokens"] = {
            "input": counts["input"],
            "output": counts["output"],
            "cached": counts["cached"],
            "thoughts": THOUGHTS,
            "tool": 0,
            "total": total,
        }
        self.records.append(dict(message))
        if step.tool is None:
            return
        answer = {"functionResponse": {"name": step.tool, "response": {"output": step.result}}}
        self.meter.add(step.result)
        message["toolCalls"] = [
            {
                "id": f"{step.tool}-{self.prefix}{len(self.messages)}",
                "name": step.tool,
                "args": step.arguments,
                "result": [answer],
                "status": "success",
                "timestamp": stamp(self.now),
            }
        ]
        self.records.append(dict(message))


def header(session: str, start: datetime, **more: Any) -> dict[str, Any]:
    times = {"startTime": stamp(start), "lastUpdated": stamp(start)}
    return {"sessionId": session, "projectHash": PROJECT, **times, **more}


def lines(records: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(record) + "\n" for record in records)


def session() -> str:
    """A chat whose second half was taken back and said otherwise."""
    chat = Chat("a1f00d00-0000-4000-8000-00000000", START)
    for step in STEPS:
        chat.take(step)
    asked = next(m for m in chat.messages[1:] if m["type"] == "user")
    chat.records.append({"$rewindTo": asked["id"]})
    chat.meter = Meter(asked_size(chat), chat.meter.cached)
    chat.now += timedelta(minutes=2)
    for step in OTHER_WAY:
        chat.take(step)
    chat.records.append({"$set": {"summary": "A weekly summary of hive weights"}})
    return lines([header(SESSION, START), *chat.records])


def asked_size(chat: Chat) -> int:
    """The context before the question that was taken back."""
    size = UNLOGGED_TOKENS
    for step in STEPS[:5]:
        size += tokens(step.user or "") * (step.user is not None)
        size += tokens(step.output) + tokens(step.result) * bool(step.tool)
    return size


def scout() -> str:
    """A subagent of that chat."""
    start = START + timedelta(minutes=1)
    chat = Chat("a1f00d00-0000-4000-8000-00000001", start, 2_900)
    for step in SCOUTING:
        chat.take(step)
    return lines([header(SCOUT, start, kind="subagent", directories=[CWD]), *chat.records])


def old_chat() -> str:
    """A chat as older versions write it: one document."""
    start = START - timedelta(days=200)
    chat = Chat("a1f00d00-0000-4000-8000-00000002", start)
    for step in STEPS:
        chat.take(step)
    chat.message("info", "Request cancelled.")
    return json.dumps({**header(OLD_SESSION, start), "messages": chat.messages}, indent=2)


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    chats = folder / "tmp" / "hivelog" / "chats"
    files = {
        chats / "session-2026-10-05T09-00-5d7c2b1e.jsonl": session(),
        chats / SESSION / f"{SCOUT}.jsonl": scout(),
        chats / "session-2026-03-19T09-00-5d7c2b1e.json": old_chat(),
    }
    for path, text in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()

"""Write the sample chats of this folder: ``python sample_logs/qwen-code/generate.py [FOLDER]``.

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
from hivelog_session import CWD, START, STEPS, UNLOGGED_TOKENS, Meter, Step, stamp, tokens

MODEL = "qwen3-coder-plus"
SESSION = "8e2f9a10-61d3-4f6a-b1c7-77aa5f3d0001"
BRANCH = "8e2f9a10-61d3-4f6a-b1c7-77aa5f3d0002"
REASONING = 24


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
            "timestamp": stamp(self.now),
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
        counts = meter.call(step.output + "x" * 4 * REASONING)
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

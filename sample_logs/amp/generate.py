"""Write the sample threads of this folder: ``python sample_logs/amp/generate.py [FOLDER]``.

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

MODEL = "claude-sonnet-4-5-20250929"
THREAD = "T-0199b1a2-4d3e-7c55-9b70-6a2f5be10001"
OLD_THREAD = "T-0199b1a2-4d3e-7c55-9b70-6a2f5be10002"


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
        counts = meter.writing_call(step.output, fresh=5)
        usage = {
            "model": MODEL,
            "timestamp": stamp(now),
            "inputTokens": counts["fresh"],
            "outputTokens": counts["output"],
            "cacheCreationInputTokens": counts["written"],
            "cacheReadInputTokens": counts["read"],
            "totalInputTokens": counts["fresh"] + counts["read"] + counts["written"],
            "maxInputTokens": 168000,
        }
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
    events: list[dict[str, Any]] = []
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

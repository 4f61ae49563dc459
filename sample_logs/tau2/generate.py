"""Writes results.json: 2 tasks x 2 trials of an invented shop's service agent, with usage.

Usage: python generate.py [FOLDER]
"""

from __future__ import annotations

import hashlib
import json
import sys
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

POLICY = """# Service policy of the Lamp and Ladder shop

- Look the customer up before anything else.
- Say what you are about to change and wait for a clear yes.
- An order that was handed to the carrier cannot be cancelled.
"""
GUIDELINES = """# User Simulation Guidelines
You play a customer. Write one message at a time, and end with ###STOP### when you are content.
"""
WISHES = {
    "cancel_lamp": "You want to cancel your order L880 of the brass lamp. Your number is C4100.",
    "move_ladder": "You want your ladder, order L883, sent to your office. Your number is C4107.",
}
AGENT_MODEL, USER_MODEL = "gpt-4.1-2025-04-14", "gpt-4.1-mini-2025-04-14"
BASE = {"assistant": 1350, "user": 480}
START = datetime(2026, 3, 2, 9, 0)
HOURS_AHEAD_OF_UTC = 1


class Simulation:
    """One dialogue. The clock that stamps it is an hour ahead of UTC."""

    def __init__(self, task: str, trial: int) -> None:
        self.task, self.trial = task, trial
        seed = hashlib.sha256(f"{task} {trial}".encode()).digest()
        self.id = str(uuid.UUID(bytes=seed[:16], version=4))
        self.start = START + timedelta(minutes=7 * trial + 31 * list(WISHES).index(task))
        self.now = self.start
        self.total, self.read = dict(BASE), {"assistant": 0, "user": 0}
        self.messages: list[dict[str, Any]] = []
        self.spent = {"assistant": 0.0, "user": 0.0}
        self.add("assistant", "Hi! How can I help you today?", made=False)

    def add(
        self, role: str, content: str | None, calls: list[Any] | None = None, made: bool = True
    ) -> None:
        """A message of the agent or the user, and what it adds to both prompts."""
        self.now += timedelta(seconds=1.75)
        message: dict[str, Any] = {"role": role, "content": content, "tool_calls": calls}
        message |= {"turn_idx": len(self.messages), "timestamp": self.now.isoformat()}
        message |= self.made_by(role) if made else {"cost": 0.0, "usage": None, "raw_data": None}
        self.messages.append(message)
        words = 20 + len(content or "") // 4
        self.total[role] += words
        if calls is None:
            self.total["user" if role == "assistant" else "assistant"] += words

    def made_by(self, role: str) -> dict[str, Any]:
        """Cost, usage and raw response of a message."""
        total, output = self.total[role], 24
        read = self.read[role] // 128 * 128 if total >= 1024 else 0
        self.read[role] = total
        rate = 1.0 if role == "assistant" else 0.2
        cost = rate * (2 * (total - read) + 0.5 * read + 8 * output) / 1e6
        self.spent[role] += cost
        name = hashlib.sha256(f"{self.id} {len(self.messages)}".encode()).hexdigest()[:29]
        created = self.now.replace(tzinfo=UTC) - timedelta(hours=HOURS_AHEAD_OF_UTC, seconds=1)
        usage = {"completion_tokens": output, "prompt_tokens": total}
        raw = {
            "id": f"chatcmpl-{name}",
            "created": int(created.timestamp()),
            "model": AGENT_MODEL if role == "assistant" else USER_MODEL,
            "object": "chat.completion",
            "usage": {**usage, "prompt_tokens_details": {"audio_tokens": 0, "cached_tokens": read}},
            "service_tier": "default",
        }
        return {"cost": cost, "usage": usage, "raw_data": raw}

    def tool(self, role: str, name: str, arguments: dict[str, Any], result: str) -> None:
        """A tool call of one side, and its result, which the other side is not shown."""
        call_id = f"call_{self.id[:6]}{len(self.messages):02d}"
        call = {"id": call_id, "name": name, "arguments": arguments, "requestor": role}
        self.add(role, None, [call])
        message = {"id": call_id, "role": "tool", "content": result, "requestor": role}
        message |= {"error": False, "turn_idx": len(self.messages)}
        self.messages.append({**message, "timestamp": self.now.isoformat()})
        self.total[role] += 20 + len(result) // 4

    def row(self, reward: float) -> dict[str, Any]:
        return {
            "id": self.id,
            "task_id": self.task,
            "timestamp": self.now.isoformat(),
            "start_time": self.start.isoformat(),
            "end_time": self.now.isoformat(),
            "duration": (self.now - self.start).total_seconds(),
            "termination_reason": "user_stop",
            "agent_cost": self.spent["assistant"],
            "user_cost": self.spent["user"],
            "reward_info": {"reward": reward, "reward_basis": ["DB"]},
            "messages": self.messages,
            "trial": self.trial,
            "seed": 626729 + self.trial,
            "policy": POLICY,
        }


def cancel(trial: int) -> dict[str, Any]:
    run = Simulation("cancel_lamp", trial)
    run.add("user", "Please cancel my brass lamp, order L880. I am C4100.")
    run.tool("assistant", "get_customer", {"customer": "C4100"}, '{"orders": ["L880"]}')
    if trial == 0:
        run.tool("assistant", "get_order", {"order": "L880"}, '{"state": "packed"}')
        run.add("assistant", "L880 is packed and can still be cancelled. Shall I?")
        run.add("user", "Yes, please.")
        run.tool("assistant", "cancel_order", {"order": "L880"}, '{"state": "cancelled"}')
    run.add("assistant", "Your order L880 is cancelled.")
    run.add("user", "Thank you. ###STOP###")
    return run.row(1.0 if trial == 0 else 0.0)


def move(trial: int) -> dict[str, Any]:
    run = Simulation("move_ladder", trial)
    run.add("user", "My ladder should go to my office. I am C4107.")
    run.tool("assistant", "get_customer", {"customer": "C4107"}, '{"orders": ["L883"]}')
    run.add("assistant", "What is your office's address?")
    run.tool("user", "read_business_card", {}, "9 Quay Street")
    run.add("user", "9 Quay Street.")
    run.tool("assistant", "move_order", {"order": "L883", "to": "9 Quay Street"}, '{"ok": true}')
    run.add("assistant", "L883 goes to 9 Quay Street." if trial == 0 else "Done.")
    run.add("user", "###STOP###")
    return run.row(1.0)


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    simulations = [cancel(0), move(0), cancel(1), move(1)]
    user_info = {"implementation": "user_simulator", "llm": "openai/gpt-4.1-mini"}
    results = {
        "timestamp": START.isoformat(),
        "info": {
            "git_commit": "0" * 40,
            "num_trials": 2,
            "max_steps": 30,
            "user_info": {**user_info, "global_simulation_guidelines": GUIDELINES},
            "agent_info": {"implementation": "llm_agent", "llm": "openai/gpt-4.1"},
            "environment_info": {"domain_name": "lamps", "policy": POLICY, "tool_defs": None},
            "seed": 300,
        },
        "tasks": [
            {"id": task, "user_scenario": {"persona": None, "instructions": wish}}
            for task, wish in WISHES.items()
        ],
        "simulations": simulations,
    }
    text = json.dumps(results, indent=2)
    (folder / "results.json").write_text(text, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()

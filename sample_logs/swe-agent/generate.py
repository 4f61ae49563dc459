"""Writes three SWE-agent trajectories of an invented shop's repository.

Usage: python generate.py [FOLDER]
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

SYSTEM = """SETTING: You work in a shell with a file viewer on the repository of a lamp shop.

Write a short thought, then exactly one command. Look before you edit, and run the tests before you
submit. Never change the price list.
"""
DEMO = """Here is how another issue was solved.

ISSUE: the opening hours are shown in UTC.
find_file "hours.py"
edit 3:3
"""
ISSUES = {
    "shop__lamps-7": "ISSUE: An empty basket is charged the delivery fee of 4.90.",
    "shop__lamps-12": "ISSUE: Lamps with a dimmer are listed twice when sorted by price.",
    "shop__lamps-15": "ISSUE: The order confirmation greets nobody: 'Dear ,'.",
}
STEPS = {
    "shop__lamps-7": [
        ("The fee is added somewhere at checkout.", 'search_dir "4.90"', "checkout.py:18"),
        ("Line 18 adds it without a look at the basket.", "open checkout.py 18", "18: fee = 4.90"),
        (
            "I make the fee depend on it.",
            "edit 18:18\nfee = 4.90 if basket else 0",
            "File updated.",
        ),
        ("Done.", "submit", "diff --git a/checkout.py b/checkout.py"),
    ],
    "shop__lamps-12": [
        (
            "Sorting is done in the catalogue.",
            "bash",
            "grep -n sort catalogue.py",
            "31: rows.sort()",
        ),
        (
            "I want to see how rows are joined.",
            "bash",
            "sed -n 20,40p catalogue.py",
            "24: JOIN dimmers",
        ),
        (
            "The join repeats a lamp for each dimmer.",
            "bash",
            "sed -i 24s/JOIN/SEMI\\ JOIN/ catalogue.py",
            "",
        ),
        ("Now the tests.", "bash", "pytest -q", "14 passed"),
        ("All is well.", "submit", "", "diff --git a/catalogue.py b/catalogue.py"),
    ],
}
ATTEMPTS = [
    [
        ("Who fills in the name?", "grep -rn Dear mail", "mail/order.txt:1"),
        ("The template has no default.", "edit 1:1\nDear {name or 'customer'},", "File updated."),
        ("Submitting.", "submit", "diff --git a/mail/order.txt b/mail/order.txt"),
    ],
    [
        ("Who fills in the name?", "grep -rn Dear mail", "mail/order.txt:1"),
        ("Perhaps the guest checkout drops it.", "open guest.py", "9: name = ''"),
        ("A guest has a name too.", "edit 9:9\nname = form.name", "File updated."),
        ("Submitting.", "submit", "diff --git a/guest.py b/guest.py"),
    ],
]


def opening(issue: str, agent: str, demo: bool) -> list[dict[str, Any]]:
    """What a history begins with."""
    items = [{"role": "system", "content": SYSTEM, "agent": agent}]
    if demo:
        items.append({"agent": agent, "content": DEMO, "is_demo": True, "role": "user"})
    return [*items, {"role": "user", "content": ISSUES[issue], "agent": agent}]


def old_run(issue: str, steps: list[tuple[str, str, str]]) -> dict[str, Any]:
    """A run as version 0.7 wrote it: prompts stand in the history only."""
    history, trajectory = opening(issue, "primary", demo=True), []
    for thought, action, observation in steps:
        response = f"{thought}\n```\n{action}\n```"
        state = json.dumps({"open_file": "n/a", "working_dir": "/lamps"})
        trajectory.append(
            {
                "action": f"{action}\n",
                "observation": observation,
                "response": response,
                "state": state,
                "thought": thought,
            }
        )
        history.append(
            {
                "role": "assistant",
                "content": response,
                "thought": thought,
                "action": f"{action}\n",
                "agent": "primary",
            }
        )
        history.append(
            {"role": "user", "content": f"{observation}\n(Open file: n/a)\n$", "agent": "primary"}
        )
    stats = {"total_cost": 0.31, "instance_cost": 0.06, "tokens_sent": 5210, "tokens_received": 188}
    return {
        "environment": "swe_main",
        "trajectory": trajectory,
        "history": history[:-1],
        "info": {
            "exit_status": "submitted",
            "submission": steps[-1][2],
            "model_stats": {**stats, "api_calls": len(steps)},
        },
    }


def tool_message(step: int, issue: str, name: str, command: str, thought: str) -> dict[str, Any]:
    arguments = json.dumps({"command": command} if command else {})
    call = {
        "function": {"arguments": arguments, "name": name},
        "id": f"call_{issue[-2:]}{step:02d}Qz{(7919 * (step + 3)) % 9973:04d}",
        "type": "function",
    }
    return {
        "message_type": "action",
        "role": "assistant",
        "content": thought,
        "thought": thought,
        "action": command or name,
        "agent": "main",
        "tool_calls": [call],
        "thinking_blocks": [],
    }


def marked(history: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What is sent: the last two messages of others carry cache markers."""
    query = [dict(item) for item in history]
    for item in [item for item in query if item["role"] != "assistant"][-2:]:
        item["cache_control"] = {"type": "ephemeral"}
    return query


def new_run(issue: str) -> dict[str, Any]:
    """A run as version 1.1 writes it: each step has its query. The third step is asked for twice."""
    history, trajectory = opening(issue, "main", demo=False), []

    def add(query: list[dict[str, Any]], thought: str, action: str, observation: str) -> None:
        trajectory.append(
            {
                "action": action,
                "observation": observation,
                "response": thought,
                "thought": thought,
                "execution_time": 0.125 * (1 + len(trajectory)),
                "state": {"working_dir": "/lamps"},
                "query": query,
                "extra_info": {},
            }
        )

    for step, (thought, name, command, observation) in enumerate(STEPS[issue]):
        if step == 2:
            add(marked(history), "I will fix the join at once.", "", "")
            complaint = "Your last output did not use any tool calls! Use exactly one."
            asked_again = [
                *marked(history),
                {"role": "assistant", "content": "I will fix the join at once.", "agent": "main"},
                {"role": "user", "content": complaint, "agent": "main"},
            ]
            add(asked_again, thought, command or name, observation)
        else:
            add(marked(history), thought, command or name, observation)
        message = tool_message(step, issue, name, command, thought)
        history.append(message)
        history.append(
            {
                "message_type": "observation",
                "role": "tool",
                "content": observation or "(no output)",
                "agent": "main",
                "tool_call_ids": [message["tool_calls"][0]["id"]],
            }
        )
    stats = {"instance_cost": 0.0412, "tokens_sent": 8120, "tokens_received": 301, "api_calls": 6}
    config = {"agent": {"type": "default", "model": {"name": "claude-sonnet-4-20250514"}}}
    return {
        "trajectory": trajectory,
        "history": history,
        "info": {
            "swe_agent_version": "1.1.0",
            "exit_status": "submitted",
            "submission": STEPS[issue][-1][3],
            "model_stats": stats,
        },
        "replay_config": json.dumps(config),
        "environment": "main",
    }


def attempts(issue: str) -> dict[str, Any]:
    """Two attempts at one issue; the second was chosen and stands at the top again."""
    runs = [old_run(issue, steps) for steps in ATTEMPTS]
    for run in runs:
        run["info"]["model_stats"].pop("total_cost")
    chosen = json.loads(json.dumps(runs[1]))
    chosen["info"]["best_attempt_idx"] = 1
    return {"attempts": runs, **chosen}


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    runs = {
        "shop__lamps-7": old_run("shop__lamps-7", STEPS["shop__lamps-7"]),
        "shop__lamps-12": new_run("shop__lamps-12"),
        "shop__lamps-15": attempts("shop__lamps-15"),
    }
    for name, run in runs.items():
        text = json.dumps(run, indent=2)
        (folder / f"{name}.traj").write_text(text, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()

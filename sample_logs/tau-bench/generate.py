"""Writes example-retail.json: 6 tasks x 4 trials of an invented shop's service dialogues.

Usage: python generate.py [FOLDER]
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

POLICY = """# Service policy of the Lamp and Ladder shop

The current time is 2026-03-02 09:00:00 CET. You help customers to cancel, return or re-address orders.

- Ask for the customer number first, and look the customer up before anything else.
- Say what you are about to change and wait for a clear yes. Then make one tool call.
- An order that was handed to the carrier cannot be cancelled; it can be returned within 30 days.
- Refunds go to the way of payment that was used. Never offer vouchers.
- Hand over to a person when a request is outside this policy.
"""
WISHES = [
    ("cancel_order", "cancel my order of the brass lamp", True),
    ("return_order", "send back the folding ladder", True),
    ("change_address", "have the wall lamp sent to my office", True),
    ("cancel_order", "cancel the stepladder that was shipped yesterday", False),
    ("return_order", "return a lamp I bought last year", False),
    ("change_address", "change where both of my orders go", True),
]
ASKS = [
    "Certainly. May I have your customer number?",
    "I am glad to help. What is your customer number, please?",
]
TRIALS = 4


def call(name: str, arguments: dict[str, Any], task: int, trial: int, turn: int) -> list[Any]:
    """An assistant message with a tool call, and the tool's answer. The id differs in each trial."""
    call_id = f"call_{task:02d}{trial}{turn}x{(7919 * (task + 1) * (trial + 3) + turn) % 99991:05d}"
    function = {"arguments": json.dumps(arguments, separators=(",", ":")), "name": name}
    answer = {"status": "ok", **arguments} if name != "transfer_to_person" else "transferred"
    return [
        {
            "content": None,
            "role": "assistant",
            "tool_calls": [{"function": function, "id": call_id, "type": "function"}],
        },
        {"role": "tool", "tool_call_id": call_id, "name": name, "content": json.dumps(answer)},
    ]


def episode(task: int, trial: int) -> dict[str, Any]:
    """One dialogue. Trials of a task part at the first answer, at the tool call or at the end."""
    tool, wish, allowed = WISHES[task]
    customer, order = f"C{4100 + 7 * task}", f"L{880 + 3 * task}"
    asks_other_way = trial == 3 and task % 2 == 0
    complies = allowed or trial % 2 == 0
    traj: list[Any] = [
        {"role": "system", "content": POLICY},
        {"role": "user", "content": f"Hello, I want to {wish}."},
        {"content": ASKS[asks_other_way], "role": "assistant"},
        {"role": "user", "content": f"It is {customer}."},
        *call("get_customer", {"customer": customer}, task, trial, 0),
    ]
    if trial >= 2:
        traj += call("get_order", {"order": order}, task, trial, 1)
    if complies:
        traj += [
            {"content": f"I can do that for order {order}. Shall I go on?", "role": "assistant"},
            {"role": "user", "content": "Yes, please."},
            *call(tool, {"order": order, "confirmed": True}, task, trial, 2),
            {"content": f"Done: order {order} is taken care of.", "role": "assistant"},
        ]
    else:
        traj += call("transfer_to_person", {"reason": "outside policy"}, task, trial, 2)
    if trial == 1 and complies:
        traj += [
            {"role": "user", "content": "And the refund?"},
            {"content": "It goes to the card you paid with.", "role": "assistant"},
        ]
    traj.append({"role": "user", "content": "###STOP###"})
    succeeded = complies == allowed and not (trial == 2 and task == 5)
    return {
        "task_id": task,
        "reward": float(succeeded),
        "info": {"task": {"user_id": customer, "instruction": f"You want to {wish}."}},
        "traj": traj,
        "trial": trial,
    }


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    episodes = [episode(task, trial) for trial in range(TRIALS) for task in range(len(WISHES))]
    text = json.dumps(episodes, indent=2) + "\n"
    (folder / "example-retail.json").write_text(text, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()

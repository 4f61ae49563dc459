"""Writes three ATIF trajectories: two trials of one task, and one trial's continuation.

Usage: python generate.py [FOLDER]
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

SYSTEM = """You are Fettle, an agent that repairs small programs in a Linux container.

- Look before you change: list the folder and read the file that fails.
- Make one change at a time and run the tests after it.
- Say FINISHED when the tests pass, and nothing else.
"""
TASK = (
    "The tests of the tide-table package fail on leap days. Repair it. The code is in /app/tides."
)
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": name,
            "description": description,
            "parameters": {"type": "object", "properties": {field: {"type": "string"}}},
        },
    }
    for name, description, field in (
        ("run", "Run a command in the container.", "command"),
        ("edit", "Replace text in a file.", "patch"),
        ("ask_reader", "Have another agent read files and report.", "question"),
    )
]
LOOK = [
    (
        "I will look at the package first.",
        "run",
        {"command": "ls tides"},
        "calendar.py\ntests.py\n",
    ),
    (
        "The calendar is the likely culprit.",
        "run",
        {"command": "cat tides/calendar.py"},
        "def days(year, month):\n    return [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31][month]\n",
    ),
]
ENDS = {
    1: [
        (
            "February has 29 days in leap years; the list knows 28 only.",
            "edit",
            {"patch": "-[31, 28,\n+[31, 28 + leap(year),"},
            "patched",
        ),
        ("Now the tests.", "run", {"command": "pytest -q"}, "12 passed\n"),
    ],
    2: [
        (
            "Somebody should read the tests before I change anything.",
            "ask_reader",
            {"question": "What do the tests expect of 1900 and 2000?"},
            "1900 has no leap day, 2000 has one.",
        ),
        (
            "So the rule of centuries matters.",
            "edit",
            {"patch": "-[31, 28,\n+[31, monthrange(year, 2)[1],"},
            "patched",
        ),
    ],
}


def tokens(text: str) -> list[int]:
    """Invented token ids: one a word, the same for the same word."""
    return [int(hashlib.md5(word.encode()).hexdigest()[:4], 16) for word in text.split()]


def agent_step(
    number: int, minute: int, turn: tuple[Any, ...], prompt: list[int]
) -> dict[str, Any]:
    """One call: what it said and did, what came back, what it cost. The prompt grows by both."""
    words, tool, arguments, result = turn
    said = tokens(f"{words} {tool} {json.dumps(arguments)}")
    cached = 16 * (len(prompt) // 16) if minute else 0
    step = {
        "step_id": number,
        "timestamp": f"2026-05-11T09:{minute:02d}:30+00:00",
        "source": "agent",
        "message": words,
        "tool_calls": [
            {
                "tool_call_id": f"c{number}{minute:02d}",
                "function_name": tool,
                "arguments": arguments,
            }
        ],
        "observation": {
            "results": [{"source_call_id": f"c{number}{minute:02d}", "content": result}]
        },
        "metrics": {
            "prompt_tokens": len(prompt),
            "completion_tokens": len(said),
            "cached_tokens": cached,
            "prompt_token_ids": list(prompt),
            "completion_token_ids": said,
            "logprobs": [round(-(((token % 89) / 40) ** 2), 4) for token in said],
        },
    }
    prompt += said + tokens(result)
    return step


def reader(trial: int) -> dict[str, Any]:
    """The subagent that reads the tests."""
    message = "1900 has no leap day, 2000 has one."
    return {
        "schema_version": "ATIF-v1.7",
        "trajectory_id": f"reader-{trial}",
        "agent": {"name": "fettle-reader", "version": "0.3", "model_name": "acme/harbour-7b"},
        "steps": [
            {
                "step_id": 1,
                "source": "user",
                "message": "What do the tests expect of 1900 and 2000?",
            },
            {
                "step_id": 2,
                "timestamp": "2026-05-11T09:22:40+00:00",
                "source": "agent",
                "message": message,
                "metrics": {"prompt_tokens": 412, "completion_tokens": 14, "cached_tokens": 0},
            },
        ],
    }


def trajectory(trial: int) -> dict[str, Any]:
    """One trial of the task."""
    prompt = tokens(SYSTEM + json.dumps(TOOLS) + TASK)
    steps: list[dict[str, Any]] = [
        {"step_id": 1, "source": "system", "message": SYSTEM},
        {"step_id": 2, "source": "user", "message": TASK},
    ]
    for place, turn in enumerate([*LOOK, *ENDS[trial]]):
        steps.append(agent_step(len(steps) + 1, 10 * trial + place, turn, prompt))
    found = {
        "schema_version": "ATIF-v1.7",
        "session_id": f"7d0c51e2-8a4f-4c1b-9f63-00000000000{trial}",
        "agent": {
            "name": "fettle",
            "version": "0.3",
            "model_name": "acme/harbour-7b",
            "tool_definitions": TOOLS,
        },
        "steps": steps,
        "final_metrics": {
            "total_prompt_tokens": sum(s["metrics"]["prompt_tokens"] for s in steps[2:]),
            "total_completion_tokens": sum(s["metrics"]["completion_tokens"] for s in steps[2:]),
            "total_cached_tokens": sum(s["metrics"]["cached_tokens"] for s in steps[2:]),
        },
    }
    if trial == 2:
        found["subagent_trajectories"] = [reader(trial)]
        found["continued_trajectory_ref"] = "trial-2.trajectory.cont-1.json"
    return found


def continuation(before: dict[str, Any]) -> dict[str, Any]:
    """The second trial goes on with a summary of what it did: copied, so not paid for again."""
    summary = "So far: the tests were read, and February was taken from the calendar module."
    prompt = tokens(SYSTEM + json.dumps(TOOLS) + TASK + summary)
    copied = [dict(step, is_copied_context=True) for step in before["steps"][:2]]
    copied.append(
        {"step_id": 3, "source": "user", "message": summary, "is_copied_context": True},
    )
    turns = [("Run the tests now.", "run", {"command": "pytest -q"}, "11 passed, 1 failed\n")]
    turns.append(("One more look.", "run", {"command": "git diff"}, "+import calender\n"))
    steps = [*copied]
    for place, turn in enumerate(turns):
        steps.append(agent_step(len(steps) + 1, 30 + place, turn, prompt))
    document = {key: before[key] for key in ("schema_version", "session_id", "agent")}
    return {**document, "steps": steps, "final_metrics": {"total_prompt_tokens": 2600}}


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    first, second = trajectory(1), trajectory(2)
    files = {
        "trial-1.trajectory.json": first,
        "trial-2.trajectory.json": second,
        "trial-2.trajectory.cont-1.json": continuation(second),
    }
    for name, document in files.items():
        text = json.dumps(document, indent=1) + "\n"
        (folder / name).write_text(text, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()

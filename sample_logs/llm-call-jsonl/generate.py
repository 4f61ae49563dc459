"""Writes two_sessions.jsonl: rendered prompts of two invented agent sessions, out of time order.

Usage: python generate.py [FOLDER]
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

START_US = 1_789_000_000_000_000
INSTRUCTIONS = (
    "You keep the garden records of a small botanical station. Answer with one step at a time.\n"
    "Write THOUGHT and then one command in a fenced block. Commands: list BED, read PLANT,\n"
    "note PLANT TEXT, done TEXT. Beds are named by compass point. Plants have Latin names.\n"
    "Never note anything you have not read. Dates are day, month, year. Weights are in grams.\n"
)
TASKS = {
    "6f0c1f1b3d924f6c8b0e55aa91c4d201": "Which plants in the north bed were watered this week?",
    "c27e9a64b81d4c0f9e3312d7745f08ab": "Find the heaviest squash of the south bed and note its age.",
}
PLANTS = ["Salvia", "Cucurbita", "Thymus", "Borago", "Lavandula", "Allium", "Mentha", "Viola"]


def step(session: int, turn: int) -> tuple[str, str]:
    """What the agent writes in a turn, and what the station's records answer."""
    plant = PLANTS[(3 * session + turn) % len(PLANTS)]
    said = (
        f"THOUGHT: {plant} is next, its record is number {100 * session + 7 * turn}.\n"
        f"```\nread {plant}\n```\n"
    )
    record = (
        f"<record>\n{plant}: bed {'north' if session == 0 else 'south'}, row {turn + 1}, "
        f"{40 + 13 * turn} g, sown on {turn + 3}.4.2026, watered on {turn + 10}.7.2026.\n</record>\n"
    )
    return said, record


def calls() -> list[dict[str, object]]:
    """Eight calls a session, each prompt holding what was said before it."""
    found: list[dict[str, object]] = []
    for number, (session_id, task) in enumerate(TASKS.items()):
        prompt = f"system: {INSTRUCTIONS}\n\nuser: {task}\n"
        for turn in range(8):
            said, record = step(number, turn)
            stamp = START_US + 400_000 * number + 2_500_000 * turn + 137 * turn * turn
            found.append(
                {"timestamp": stamp, "input": prompt, "output": said, "session_id": session_id}
            )
            prompt += f"\nassistant: {said}\nuser: {record}"
    # The logger flushed its workers one after the other: no order that means anything.
    return [found[(5 * place + 3) % len(found)] for place in range(len(found))]


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    lines = "".join(json.dumps(call) + "\n" for call in calls())
    (folder / "two_sessions.jsonl").write_text(lines, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()

"""Writes rollouts/8.jsonl and validation/10.jsonl: a training step of 4 prompts x 6 samples as verl's
older trainer dumps it, and a validation of an agent that rewrites its context, as the newer one does.

Usage: python generate.py [FOLDER]
"""

from __future__ import annotations

import json
import sys
import uuid
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from invented_tokens import Dice

SYSTEM = "You are a careful clerk of a bakery. Think first, then answer with one number after ####."
QUESTIONS = [
    ("A tray holds 12 rolls. How many rolls are on 7 trays?", 84),
    ("Of 90 pretzels a third was sold before noon, 25 after. How many are left?", 35),
    ("Flour costs 3 crowns a sack, and 17 sacks come with a rebate of 4 crowns. What is due?", 47),
    ("A baker makes 40 buns an hour. How many does he make in 2 hours and a half?", 100),
]
STARTS = ["Let me see.", "First I write down what is given.", "Let me see."]
STEPS = ["The numbers to use stand in the question.", "I check the numbers once more."]
WEEK = ["Monday sold 31 loaves.", "Tuesday sold 28.", "Wednesday was a holiday."]


def rendered(user: str) -> str:
    """A chat as a tokenizer decodes it without its special tokens."""
    return f"system\n{SYSTEM}\nuser\n{user}\nassistant\n"


def training_rows() -> list[dict[str, Any]]:
    """Six samples a prompt; many begin alike, and some are equal."""
    dice, rows = Dice(8), []
    for question, truth in QUESTIONS:
        for _ in range(6):
            thoughts = [STARTS[dice.below(3)], STEPS[dice.below(2)]][: 1 + dice.below(2)]
            answer = truth if dice.below(3) else truth + 1 + dice.below(2)
            correct = answer == truth
            rows.append(
                {
                    "input": rendered(question),
                    "output": " ".join(thoughts) + f" #### {answer}",
                    "gts": str(truth),
                    "score": 1.0 if correct else -1.0,
                    "step": 8,
                    "acc": correct,
                    "pred": str(answer),
                }
            )
    return rows


def validation_rows() -> list[dict[str, Any]]:
    """Two rollouts of one prompt. The second rewrote its context once, so it has two outputs."""
    prompt_id = uuid.uuid5(uuid.NAMESPACE_DNS, "week.example")
    question = rendered("Add up the loaves of the week, asking for one day at a time.")
    told = question + "".join(f"Next day?\nuser\n{day}\nassistant\n" for day in WEEK)
    short = rendered("So far: 31 and 28 loaves. Add up the loaves of the week.")
    rows = [
        (0, 0, question, told.removeprefix(question) + "#### 59", 1.0),
        (1, 0, question, "Next day?\nuser\nMonday sold 31 loaves.\nassistant\nNext day?", 1.0),
        (1, 1, short, "31 and 28 make 59. #### 59", 1.0),
    ]
    return [
        {
            "input": given,
            "output": output,
            "gts": "59",
            "score": score,
            "step": 10,
            "reward": score,
            "uid": f"{prompt_id}_{rollout}_{part}",
        }
        for rollout, part, given, output, score in rows
    ]


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    for name, rows in (
        ("rollouts/8.jsonl", training_rows()),
        ("validation/10.jsonl", validation_rows()),
    ):
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        path.write_text(lines, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()

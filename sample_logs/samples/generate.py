"""Writes two files of samples under the commonest names: riddles.jsonl and sums.csv.

Usage: python generate.py [FOLDER]
"""

from __future__ import annotations

import csv
import io
import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from invented_tokens import Dice

RIDDLES = (
    ("I have hands but cannot clap. What am I?", "a clock", ("a clock", "a watch", "a glove")),
    ("I have teeth but never bite. What am I?", "a comb", ("a comb", "a saw", "a zip")),
    ("The more I dry, the wetter I get. What am I?", "a towel", ("a towel", "a sponge", "rain")),
)
OPENINGS = (
    "Let me think. The riddle wants a thing that is not alive.",
    "Let me think. The riddle plays on a word with two meanings.",
)
FEW_SHOT = (
    "Answer each riddle in one line.\n\nRiddle: I have keys but open no lock. What am I?\n"
    "Answer: a piano\n\nRiddle: "
)
SAMPLES_PER_RIDDLE, SAMPLES_PER_SUM = 4, 8


def riddles(dice: Dice) -> list[dict[str, Any]]:
    """Samples that open in one of two ways and end in one of three answers."""
    found = []
    for number, (riddle, right, guesses) in enumerate(RIDDLES):
        for _ in range(SAMPLES_PER_RIDDLE):
            answer = guesses[max(0, dice.below(5) - 2)]
            found.append(
                {
                    "task_id": number,
                    "prompt": f"{FEW_SHOT}{riddle}\nAnswer:",
                    "completion": f" {OPENINGS[dice.below(2)]} So: {answer}",
                    "answer": answer,
                    "reward": float(answer == right),
                    "model": "example-8b",
                }
            )
    return found


def sums(dice: Dice) -> list[list[Any]]:
    """Worked sums; a record takes several lines where its text has line breaks."""
    rows: list[list[Any]] = [["problem_id", "question", "response", "score"]]
    for number in range(6):
        a, b = 17 + 6 * number, 38 + 9 * number
        for _ in range(SAMPLES_PER_SUM):
            slip = 10 if dice.below(3) == 0 else 0
            text = (
                f"{a} + {b}: first the ones, {a % 10} + {b % 10} = {a % 10 + b % 10},\n"
                f'then the tens. "Carry" and add: {a + b - slip}'
            )
            rows.append([f"sum-{number}", f"What is {a} + {b}?", text, int(slip == 0)])
    return rows


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    dice = Dice(20261105)
    lines = "".join(json.dumps(record) + "\n" for record in riddles(dice))
    table = io.StringIO()
    csv.writer(table, lineterminator="\n").writerows(sums(dice))
    for name, text in (("riddles.jsonl", lines), ("sums.csv", table.getvalue())):
        (folder / name).write_text(text, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()

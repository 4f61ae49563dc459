"""Writes generated/3/{17,18}.jsonl: two tasks as AReaL dumps them, 6 samples each.

Usage: python generate.py [FOLDER]
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

TASKS = {
    17: ("How many minutes does a ferry need for 9 miles at 18 miles an hour?", 30),
    18: ("A harbour has 5 piers with 14 berths each, and 23 are taken. How many are free?", 47),
}
WAYS = [
    ["Speed and way are given.", "So I divide."],
    ["Speed and way are given.", "So I divide.", "I check it twice."],
    ["First, the numbers.", "So I divide."],
]


def count(text: str) -> int:
    """How many tokens a text has, in a model of our own: words and punctuation."""
    return sum(1 + word.count(".") + word.count("|") for word in text.split())


def row(task: int, sample: int) -> dict[str, Any]:
    question, truth = TASKS[task]
    right = (sample * 5 + task) % 3 != 0
    thoughts = " ".join(WAYS[(sample + task) % 3])
    answer = truth if right else truth + 10
    prompt = f"<|user|>{question}<|assistant|>"
    completion = f"{thoughts} The answer is {answer}.<|end|>"
    return {
        "task_id": task,
        "sample_idx": sample,
        "seqlen": count(prompt) + count(completion),
        "prompt_len": count(prompt),
        "head_version": 2 if sample % 4 == 3 else 3,
        "tail_version": 3,
        "reward": float(right),
        "prompt": prompt,
        "completion": completion,
    }


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    for task in TASKS:
        path = folder / "generated" / "3" / f"{task}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        # A sample whose last token was not sampled is left out, so numbers may be missing.
        rows = [row(task, sample) for sample in range(7) if sample != 4]
        lines = "".join(json.dumps(each) + "\n" for each in rows)
        path.write_text(lines, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()

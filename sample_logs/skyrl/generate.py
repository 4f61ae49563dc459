"""Writes global_step_40_evals/lighthouse_riddles.jsonl: an evaluation as SkyRL dumps it, of 3 riddles
with 4 samples each. Samples of one riddle are rewarded token by token.

Usage: python generate.py [FOLDER]
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

DATA_SOURCE = "lighthouse/riddles"
RIDDLES = [
    ("A lamp turns once in 12 seconds. How often does it turn in a minute?", "5"),
    ("Three keepers share 9 watches evenly. How many does each keep?", "3"),
    ("The tower has 196 steps and 4 landings, evenly spaced. How many steps between two?", "49"),
]
THOUGHTS = ["<think>\nDivide.\n</think>\n", "<think>\nDivide.\nThen check.\n</think>\n", ""]
GUESSES = [0, 0, 1, 0]


def prompt(riddle: str) -> str:
    """A chat as a tokenizer decodes it with its special tokens."""
    return (
        "<|im_start|>system\nAnswer riddles of the sea. Put the answer in \\boxed{}.<|im_end|>\n"
        f"<|im_start|>user\n{riddle}<|im_end|>\n<|im_start|>assistant\n"
    )


def rows() -> list[dict[str, Any]]:
    found = []
    for number, (riddle, truth) in enumerate(RIDDLES):
        for sample in range(4):
            right = GUESSES[(sample + number) % 4] == 0
            answer = truth if right else str(int(truth) + 1)
            thought = THOUGHTS[(sample * sample + number) % 3]
            stopped = not (number == 2 and sample == 3)
            score: Any = float(right and stopped)
            found.append(
                {
                    "input_prompt": prompt(riddle),
                    "output_response": thought
                    + (f"It is \\boxed{{{answer}}}.<|im_end|>" if stopped else "It is"),
                    "score": [0.0, 0.0, 0.0, score] if number == 1 else score,
                    "stop_reason": "stop" if stopped else "length",
                    "env_class": "riddles",
                    "env_extras": {"reward_spec": {"method": "rule", "ground_truth": truth}},
                    "data_source": DATA_SOURCE,
                }
            )
    return found


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    path = folder / "global_step_40_evals" / "lighthouse_riddles.jsonl"
    path.parent.mkdir(exist_ok=True)
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows())
    path.write_text(lines, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()

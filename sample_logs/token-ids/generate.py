"""Writes rollouts.jsonl: 4 groups of 8 sampled token sequences that branch at random.

Usage: python generate.py [FOLDER]
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from invented_tokens import Dice

GROUPS, SAMPLES, STEPS, STEP_TOKENS = 4, 8, 6, 24
SYSTEM = [1000 + 7 * place % 911 for place in range(160)]
START_S = 1_789_000_000


def sampled(prompt: int, path: list[int]) -> list[int]:
    """The response at the end of a walk: equal beginnings of walks give equal tokens."""
    tokens: list[int] = []
    seed = prompt + 1
    for choice in path:
        seed = 31 * seed + choice
        dice = Dice(seed)
        tokens += [2000 + dice.below(30000) for _ in range(STEP_TOKENS)]
    return tokens


def records() -> list[dict[str, object]]:
    """Eight samples a group, which share the system prompt, the task and the walk up to a fork."""
    dice, found = Dice(20261101), []
    for group in range(GROUPS):
        task = [5000 + 97 * group + place for place in range(40 + 10 * group)]
        for sample in range(SAMPLES):
            # Few ways lead on from each step, so that samples part early or late, or not at all.
            path = [0 if dice.below(3) else 1 + dice.below(2) for _ in range(STEPS)]
            path = path[: 3 + dice.below(STEPS - 2)]
            found.append(
                {
                    "request_id": f"s7-g{group}-r{sample}",
                    "timestamp": START_S + 60 * group + sample,
                    "model": "example-8b",
                    "group": f"s7-g{group}",
                    "prompt_token_ids": SYSTEM + task,
                    "output_token_ids": sampled(group, path),
                    "reward": float(path[0] == 0 and len(path) > 3),
                }
            )
    return found


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    lines = "".join(json.dumps(record) + "\n" for record in records())
    (folder / "rollouts.jsonl").write_text(lines, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()

"""Writes train_data_step5.jsonl and val_data_step5.jsonl: a training step of 3 prompts x 4 samples with
token ids and logprobs, as NeMo-RL dumps it, and the validation after it. Samples of the last prompt use
a tool, so that the environment speaks between two generations.

Usage: python generate.py [FOLDER]
"""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from invented_tokens import Dice, Vocabulary

BEGIN, TURN_END, PAD = 1, 2, 0
ROLES = {"system": 3, "user": 4, "assistant": 5, "environment": 6}
SYSTEM = "You keep the accounts of a small theatre . Answer with a number ."
TASKS = [
    ("There are 120 seats and 87 are sold . How many are free ?", "33"),
    ("Two shows sold 45 and 52 seats . How many together ?", "97"),
    ("Use the ledger . What did the spring gala earn ?", "640"),
]
THOUGHTS = ["I subtract .", "I add and check .", "I count ."]
LEDGER = "spring gala : 640 crowns"


def conversation(task: int, dice: Dice) -> tuple[list[tuple[str, str]], float]:
    """(role, text) of each message, and the reward."""
    question, truth = TASKS[task]
    answer = truth if dice.below(3) else str(int(truth) + 1)
    messages = [("system", SYSTEM), ("user", question)]
    if task == 2:
        name = "spring gala" if dice.below(4) else "spring"
        messages += [("assistant", f"LOOK UP {name}"), ("environment", LEDGER)]
    messages.append(("assistant", f"{THOUGHTS[dice.below(3)]} {answer}"))
    return messages, float(answer == truth)


def sample(words: Vocabulary, messages: list[tuple[str, str]], dice: Dice) -> dict[str, list[Any]]:
    """The sequence of a conversation: ids, mask, logprobs of two engines, and texts as rendered."""
    found: dict[str, list[Any]] = {
        name: [] for name in ("ids", "mask", "logprobs", "prev", "texts")
    }
    for number, (role, text) in enumerate(messages):
        made = role == "assistant"
        header = [BEGIN, ROLES[role]]
        given = header + ([] if made else [*words.encode(text), TURN_END])
        sampled = [*words.encode(text), TURN_END] if made else []
        found["ids"] += given + sampled
        found["mask"] += [0] * len(given) + [1] * len(sampled)
        logprobs = [-round(dice.below(400) / 97, 4) for _ in sampled]
        found["logprobs"] += [0.0] * len(given) + logprobs
        found["prev"] += [0.0] * len(given) + [round(p - 0.0003 * number, 4) for p in logprobs]
        found["texts"].append(f"<|{role}|>{text}<|end|>")
    return found


def training_rows() -> list[dict[str, Any]]:
    dice, words = Dice(5), Vocabulary()
    drawn = [conversation(task, dice) for task in range(3) for _ in range(4)]
    samples = [(sample(words, messages, dice), reward) for messages, reward in drawn]
    longest = max(len(found["ids"]) for found, _ in samples)
    rows = []
    for number, (found, reward) in enumerate(samples):
        rest = longest - len(found["ids"])
        group = [each for _, each in samples[number // 4 * 4 : number // 4 * 4 + 4]]
        mean = sum(group) / 4
        spread = math.sqrt(sum((each - mean) ** 2 for each in group) / 3) or 1.0
        rows.append(
            {
                "content": [found["texts"]],
                "rewards": [reward],
                "input_lengths": [len(found["ids"])],
                "token_ids": [found["ids"] + [PAD] * rest],
                "token_loss_mask": [found["mask"] + [0] * rest],
                "sample_loss_mask": [1.0],
                "advantages": [[round((reward - mean) / spread, 4)] * longest],
                "generation_logprobs": [found["logprobs"] + [0.0] * rest],
                "prev_logprobs": [found["prev"] + [0.0] * rest],
                "idx": number,
            }
        )
    return rows


def validation_rows() -> list[dict[str, Any]]:
    dice = Dice(6)
    rows = []
    for number in range(6):
        messages, reward = conversation(number % 3, dice)
        content = [{"role": role, "content": text} for role, text in messages]
        rows.append({"content": [content], "rewards": [reward], "idx": number})
    return rows


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    for name, rows in (("train", training_rows()), ("val", validation_rows())):
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        path = folder / f"{name}_data_step5.jsonl"
        path.write_text(lines, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()

"""Writes annotations.json: twenty comparisons of two invented models' answers by a judge.

Usage: python generate.py [FOLDER]
"""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

PLANTS = ("basil", "thyme", "fern", "aloe", "ivy", "mint", "sage", "chives", "orchid", "cactus")
QUESTIONS = (
    "How often should I water my {plant}?",
    "Name one thing that {plant} does not like.",
)
TEMPLATE_TOKENS, USD_PER_TOKEN = 231, 0.01 / 1000


def texts(number: int) -> tuple[str, str, str]:
    """An instruction and two answers. Every seventh time both say the same."""
    plant = PLANTS[number // 2]
    question = QUESTIONS[number % 2].format(plant=plant)
    if number % 2 == 0:
        days = 2 + number % 9
        long = f"Water your {plant} about every {days} days, when the top of the soil feels dry."
        short = f"Every {days} days."
    else:
        long = f"Most {plant} plants dislike wet feet: use a pot with a hole and let it drain."
        short = f"{plant.capitalize()} does not like frost."
    return question, long, long if number % 7 == 3 else short


def tokens_of(*parts: str) -> int:
    """About what a tokenizer counts; invented, like everything here."""
    return TEMPLATE_TOKENS + sum(round(len(part) / 4.2) for part in parts)


def choice(number: int, total_tokens: int) -> dict[str, Any]:
    """The judge's one token: m for the first answer, M for the second, with the five likeliest."""
    odds = ((37 * number + 11) % 97 + 1) / 99
    logprobs = {"m": math.log(odds), "M": math.log(1 - odds)}
    others = {"The": -15.25, "\n": -16.5, "Based": -17.125}
    ranked = sorted({**logprobs, **others}.items(), key=lambda pair: -pair[1])
    top = [
        {"token": token, "bytes": list(token.encode()), "logprob": round(logprob, 6)}
        for token, logprob in ranked
    ]
    said = top[0]["token"]
    return {
        "finish_reason": "length",
        "index": 0,
        "logprobs": {"content": [{**top[0], "top_logprobs": top}]},
        "message": {
            "content": said,
            "role": "assistant",
            "function_call": None,
            "tool_calls": None,
        },
        "text": said,
        "total_tokens": float(total_tokens),
    }


def comparison(number: int) -> dict[str, Any]:
    instruction, first, second = texts(number)
    record: dict[str, Any] = {
        "instruction": instruction,
        "output_1": first,
        "generator_1": "gardener-large",
        "dataset": "windowsill",
        "output_2": second,
        "generator_2": "gardener-small",
        "annotator": "weighted_pairs_example",
        "preference": 1.5,
        "price_per_example": None,
        "time_per_example": None,
        "raw_completion": None,
    }
    if first != second:
        total = tokens_of(instruction, first, second)
        completion = choice(number, total)
        by_token = {
            each["token"]: math.exp(each["logprob"])
            for each in completion["logprobs"]["content"][0]["top_logprobs"]
        }
        record["preference"] = round(1 + by_token["M"] / (by_token["m"] + by_token["M"]), 6)
        record["price_per_example"] = round(total * USD_PER_TOKEN, 5)
        record["time_per_example"] = 0.4375
        record["raw_completion"] = completion
    return record


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    text = json.dumps([comparison(number) for number in range(20)], indent=2)
    (folder / "annotations.json").write_text(text, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()

"""Writes bakery.jsonl: twelve invented word problems, each solved by three models.

Usage: python generate.py [FOLDER]
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

NAMES = ("Ines", "Tomasz", "Aylin", "Bo", "Marit", "Kofi")
GOODS = ("rolls", "pretzels", "buns")


def question(number: int) -> tuple[str, int, int, int]:
    """(text, trays, pieces a tray, price of a piece)."""
    trays, pieces, price = 2 + number % 4, 12 * (1 + number % 3), 2 + number % 5
    if number == 11:
        trays, pieces, price = 10, 60, 5
    name, goods = NAMES[number % len(NAMES)], GOODS[number % len(GOODS)]
    text = (
        f"{name} bakes {trays} trays of {pieces} {goods} each and sells every one for ${price}. "
        f"How many dollars does {name} take?"
    )
    return text, trays, pieces, price


def solution(number: int, skill: int) -> dict[str, Any]:
    """A model's working. The weakest forgets the trays now and then, or runs out of tokens."""
    _, trays, pieces, price = question(number)
    total = trays * pieces * price
    if skill == 0 and number % 6 == 5:
        return {"is_correct": False, "solution": f"There are {pieces} pieces on each tray, and so"}
    count = pieces if skill + number % 4 < 2 else trays * pieces
    lines = [
        f"There are {trays} * {pieces} = <<{trays}*{pieces}={count}>>{count} pieces."
        if count != pieces
        else f"There are <<{pieces}={pieces}>>{pieces} pieces.",
        f"That is {count} * {price} = $<<{count}*{price}={count * price}>>{count * price}.",
        f"#### {count * price:,}" if skill == 2 else f"#### {count * price}",
    ]
    return {"is_correct": count * price == total, "solution": "\n".join(lines)}


def problem(number: int) -> dict[str, Any]:
    text, trays, pieces, price = question(number)
    truth = (
        f"{trays} * {pieces} * {price} = {trays * pieces * price}\n#### {trays * pieces * price}"
    )
    models = {
        name: solution(number, skill) for skill, name in enumerate(("small", "base", "large"))
    }
    return {"question": text, "ground_truth": truth, **models}


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    lines = "".join(json.dumps(problem(number)) + "\n" for number in range(12))
    (folder / "bakery.jsonl").write_text(lines, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()

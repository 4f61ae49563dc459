"""Writes conversations.jsonl: three interleaved conversations as hashed blocks of 512 tokens.

Usage: python generate.py [FOLDER]
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

BLOCK = 512
SYSTEM_TOKENS = 6 * BLOCK + 200
REQUESTS = 201


def requests() -> list[dict[str, object]]:
    """One request a second, round the three conversations; each starts anew after some turns."""
    ids: dict[tuple[object, ...], int] = {}
    lengths = [SYSTEM_TOKENS + 300 * talk for talk in range(3)]
    ages = [0, 0, 0]
    found: list[dict[str, object]] = []
    for number in range(REQUESTS):
        talk = number % 3
        if lengths[talk] > 24 * BLOCK:
            lengths[talk], ages[talk] = SYSTEM_TOKENS + 300 * talk, ages[talk] + 1
        length = lengths[talk]
        output = 40 + (number * 37) % 460
        hashes = []
        for block in range(-(-length // BLOCK)):
            tokens = min(length - block * BLOCK, BLOCK)
            # Whole blocks of the system prompt are everybody's; a part-full block is its own.
            whole_system = (block + 1) * BLOCK <= SYSTEM_TOKENS
            owner = () if whole_system else (talk, ages[talk])
            hashes.append(ids.setdefault((*owner, block, tokens), len(ids)))
        found.append(
            {
                "timestamp": 1000 * number + (number * 131) % 700,
                "input_length": length,
                "output_length": output,
                "hash_ids": hashes,
            }
        )
        lengths[talk] += output + 90 + (number * 53) % 310
    return found


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    lines = "".join(json.dumps(request) + "\n" for request in requests())
    (folder / "conversations.jsonl").write_text(lines, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()

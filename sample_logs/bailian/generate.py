"""Writes chats.jsonl: conversations with a chat service as hashed blocks of 16 tokens.

Usage: python generate.py [FOLDER]
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

BLOCK = 16
SYSTEM_TOKENS = 22 * BLOCK
CHATS = 40
TURNS = 3


def requests() -> list[dict[str, object]]:
    """Each conversation has up to three turns, and another begins every 2.75 seconds."""
    ids: dict[tuple[object, ...], int] = {}
    found: list[dict[str, object]] = []
    for chat in range(CHATS):
        length = SYSTEM_TOKENS + 40 + (chat * 61) % 300
        before = -1
        for turn in range(1, 2 + chat % TURNS):
            output = 30 + (chat * 29 + turn * 83) % 200
            hashes = []
            for block in range(-(-length // BLOCK)):
                tokens = min(length - block * BLOCK, BLOCK)
                owner = () if (block + 1) * BLOCK <= SYSTEM_TOKENS else (chat,)
                hashes.append(ids.setdefault((*owner, block, tokens), len(ids)))
            number = CHATS * turn + chat
            found.append(
                {
                    "chat_id": number,
                    "parent_chat_id": before,
                    "timestamp": round(2.75 * chat + 41.3 * (turn - 1) + (chat * 7) % 10 / 10, 3),
                    "input_length": length,
                    "output_length": output,
                    "type": "search" if chat % 5 == 4 else "text",
                    "turn": turn,
                    "hash_ids": hashes,
                }
            )
            before = number
            length += output + 25 + (chat * 17) % 120
    return sorted(found, key=lambda request: float(str(request["timestamp"])))


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    lines = "".join(json.dumps(request) + "\n" for request in requests())
    (folder / "chats.jsonl").write_text(lines, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()

"""Write two files of a rotation: lookups of an invented server whose prompts share chunks.

Five users talk over one system prompt of three chunks; each turn's prompt extends the one before it by
a chunk or two and a tail that no chunk holds. The second file goes on where the first was rotated.

Run it with any Python 3.11 or later: python generate.py
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

START = 1794560400.25
CHUNK = 256
USERS = ("ada", "bo", "cem", "dora", "eli")


def chunk_hash(*before: object) -> str:
    """A hash of a chunk and all before it."""
    return "0x" + hashlib.sha256(repr(before).encode()).hexdigest()


def lookup(user: str, turn: int, number: int) -> dict[str, Any]:
    hashes = [chunk_hash("system", place) for place in range(3)]
    for said in range(turn + 1):
        new = 1 + (said + len(user)) % 2
        hashes += [chunk_hash(user, said, place) for place in range(new)]
    tail = (37 * number + 11) % CHUNK
    return {
        "timestamp": START + 7.5 * number,
        "request_id": f"chatcmpl-{user}-{turn}",
        "model_name": "acme/Harbour-7B",
        "chunk_size": CHUNK,
        "seq_len": len(hashes) * CHUNK + tail,
        "dtypes": ["bfloat16"],
        "shapes": [[2, 32, CHUNK, 1024]],
        "chunk_hashes": hashes,
    }


def main() -> None:
    folder = Path(__file__).parent
    turns = [(user, turn) for turn in range(4) for user in USERS]
    rows = [lookup(user, turn, number) for number, (user, turn) in enumerate(turns)]
    rows[5], rows[6] = rows[6], rows[5]
    for name, part in (
        ("20261113_090000_000000", rows[:12]),
        ("20261113_090130_000001", rows[12:]),
    ):
        text = "".join(json.dumps(row) + "\n" for row in part)
        path = folder / f"lookup_hashes_{name}.jsonl"
        path.write_text(text, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()

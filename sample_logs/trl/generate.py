"""Writes completions/completions_{00010,00011,00012}.parquet: completions as TRL's GRPO trainer logs
them, 3 prompts x 4 completions a batch. The batch of step 10 was trained on for two steps, so that it
stands in two files.

The Parquet is written by hand, plain and uncompressed: a library's files change with its version.

Usage: python generate.py [FOLDER]
"""

from __future__ import annotations

import math
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

PROMPTS = [
    "Name a tree that keeps its leaves in winter.",
    "Spell the word for a place where bread is made.",
    "Which is heavier, a ton of feathers or a ton of bricks?",
]
ANSWERS = [
    ["<think>Needles count.</think>Spruce", "<think>Needles count.</think>Pine", "Oak", "Holly"],
    ["bakery", "<think>b, a, k</think>bakery", "<think>b, a, k</think>bakary", "bakery"],
    ["Neither.", "Bricks.", "<think>A ton is a ton.</think>Neither.", "Bricks."],
]
RIGHT = {"Spruce", "Pine", "Holly", "bakery", "Neither."}

# Parquet's numbers for what is used of it (parquet.thrift).
INT64, DOUBLE, BYTE_ARRAY, REQUIRED, UTF8, PLAIN, RLE, UNCOMPRESSED = 2, 5, 6, 0, 0, 0, 3, 0
I32, I64, BINARY, LIST, STRUCT = 5, 6, 8, 9, 12

Field = tuple[int, int, Any]


def varint(number: int) -> bytes:
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])


def value(kind: int, content: Any) -> bytes:
    """A value in Thrift's compact protocol; of a list, (kind of its elements, elements)."""
    if kind in (I32, I64):
        return varint(content << 1)
    if kind == BINARY:
        data = content.encode()
        return varint(len(data)) + data
    if kind == STRUCT:
        return struct_of(content)
    of, items = content
    return bytes([len(items) << 4 | of]) + b"".join(value(of, item) for item in items)


def struct_of(fields: list[Field]) -> bytes:
    out, last = b"", 0
    for number, kind, content in fields:
        out += bytes([number - last << 4 | kind]) + value(kind, content)
        last = number
    return out + b"\0"


def plain_text(items: list[str]) -> bytes:
    return b"".join(struct.pack("<i", len(x.encode())) + x.encode() for x in items)


def plain(code: str) -> Callable[[list[Any]], bytes]:
    return lambda items: struct.pack(f"<{len(items)}{code}", *items)


ENCODERS = {INT64: plain("q"), DOUBLE: plain("d"), BYTE_ARRAY: plain_text}


def parquet(columns: dict[str, tuple[int, list[Any]]]) -> bytes:
    """One row group with one page a column; all values are required."""
    n_rows = len(next(iter(columns.values()))[1])
    out, chunks = b"PAR1", []
    schema: list[list[Field]] = [[(4, BINARY, "schema"), (5, I32, len(columns))]]
    for name, (kind, items) in columns.items():
        data = ENCODERS[kind](items)
        counts = [(1, I32, n_rows), (2, I32, PLAIN), (3, I32, RLE), (4, I32, RLE)]
        page = struct_of(
            [(1, I32, 0), (2, I32, len(data)), (3, I32, len(data)), (5, STRUCT, counts)]
        )
        meta = [
            (1, I32, kind),
            (2, LIST, (I32, [PLAIN, RLE])),
            (3, LIST, (BINARY, [name])),
            (4, I32, UNCOMPRESSED),
            (5, I64, n_rows),
            (6, I64, len(page) + len(data)),
            (7, I64, len(page) + len(data)),
            (9, I64, len(out)),
        ]
        chunks.append([(2, I64, len(out)), (3, STRUCT, meta)])
        text: list[Field] = [(6, I32, UTF8)] if kind == BYTE_ARRAY else []
        schema.append([(1, I32, kind), (3, I32, REQUIRED), (4, BINARY, name), *text])
        out += page + data
    group = [(1, LIST, (STRUCT, chunks)), (2, I64, len(out) - 4), (3, I64, n_rows)]
    footer = struct_of(
        [
            (1, I32, 1),
            (2, LIST, (STRUCT, schema)),
            (3, I64, n_rows),
            (4, LIST, (STRUCT, [group])),
            (6, BINARY, "forkpoint sample"),
        ]
    )
    return out + footer + struct.pack("<i", len(footer)) + b"PAR1"


def batch(step: int, shift: int) -> bytes:
    """A batch as one file. `shift` turns the completions, as another step samples others."""
    prompts, completions, format_rewards, right_rewards, advantages = [], [], [], [], []
    for prompt, answers in zip(PROMPTS, ANSWERS, strict=True):
        answers = answers[shift:] + answers[:shift] if shift < 2 else answers[:2] * 2
        thinks = [float(answer.startswith("<think>")) for answer in answers]
        rights = [float(answer.split("</think>")[-1] in RIGHT) for answer in answers]
        if "Spell" in prompt:  # a reward function that does not apply gives NaN
            thinks = [math.nan] * len(answers)
        totals = [b if math.isnan(a) else a + b for a, b in zip(thinks, rights, strict=True)]
        mean = sum(totals) / len(totals)
        spread = math.sqrt(sum((total - mean) ** 2 for total in totals) / (len(totals) - 1))
        prompts += [f"user\n{prompt}\nassistant\n"] * len(answers)
        completions += answers
        format_rewards += thinks
        right_rewards += rights
        advantages += [round((total - mean) / (spread + 1e-4), 6) for total in totals]
    return parquet(
        {
            "step": (INT64, [step] * len(prompts)),
            "prompt": (BYTE_ARRAY, prompts),
            "completion": (BYTE_ARRAY, completions),
            "think_format_reward": (DOUBLE, format_rewards),
            "correctness_reward": (DOUBLE, right_rewards),
            "n_characters": (DOUBLE, [float(len(text)) for text in completions]),
            "advantage": (DOUBLE, advantages),
        }
    )


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    (folder / "completions").mkdir(exist_ok=True)
    for step, shift in ((10, 0), (11, 0), (12, 2)):
        path = folder / "completions" / f"completions_{step:05d}.parquet"
        path.write_bytes(batch(step, shift))


if __name__ == "__main__":
    main()

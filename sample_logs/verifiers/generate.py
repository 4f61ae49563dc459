"""Writes two verifiers result files: sums answered at once, and a word game with a tool.

Usage: python generate.py [FOLDER]
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

SYSTEM = "Solve the sum. Think briefly and give the result in \\boxed{}."
SUMS = [("17 * 24", 408), ("1000 - 367", 633), ("144 / 12 + 5", 17)]
WRONG = {(0, 2): 398, (2, 0): 8, (2, 3): 8}
WAYS = ["Split it up: ", "Step by step: ", "Split it up: ", ""]
START = 1_767_200_000.5
GAME = "Guess my word: five letters, a light source. Use the tool `ask` for a yes or no."
TOOL = {
    "name": "ask",
    "description": "Ask a question about the word.",
    "parameters": {"type": "object", "properties": {"question": {"type": "string"}}},
}


def sums() -> list[dict[str, Any]]:
    """Single calls, four for each sum: their token usage is theirs alone."""
    rows = []
    for number, (task, result) in enumerate(SUMS):
        for sample in range(4):
            answer = WRONG.get((number, sample), result)
            text = f"{WAYS[sample]}{task} = {answer}, so \\boxed{{{answer}}}."
            start = START + 0.25 * sample + 3 * number
            rows.append(
                {
                    "example_id": number,
                    "prompt": [
                        {"role": "system", "content": SYSTEM},
                        {"role": "user", "content": f"What is {task}?"},
                    ],
                    "completion": [{"role": "assistant", "content": text}],
                    "reward": float(answer == result),
                    "error": None,
                    "timing": {
                        "start_time": start,
                        "generation": {"start": start, "end": start + 1.5, "duration": 1.5},
                        "model": {
                            "spans": [{"start": start, "end": start + 1.25, "duration": 1.25}],
                            "duration": 1.25,
                        },
                    },
                    "is_completed": True,
                    "is_truncated": False,
                    "stop_condition": "max_turns_reached",
                    "metrics": {"correct": float(answer == result)},
                    "tool_defs": None,
                    "answer": str(result),
                    "token_usage": {"input_tokens": 41.0, "output_tokens": float(len(text) // 3)},
                    "correct": float(answer == result),
                }
            )
    return rows


def assistant(question: str, sample: int) -> dict[str, Any]:
    """A message with a tool call, which these files hold as a string of JSON."""
    arguments = json.dumps({"question": question})
    call = {"id": f"call_{sample}{len(question)}", "name": "ask", "arguments": arguments}
    return {"role": "assistant", "content": "", "tool_calls": [json.dumps(call)]}


def games() -> list[dict[str, Any]]:
    """Three rollouts of several calls, and one that failed."""
    rows = []
    for sample, questions in enumerate((["Is it hot?"], ["Is it hot?", "Is it a torch?"], [])):
        completion: list[dict[str, Any]] = []
        for question in questions:
            asked = assistant(question, sample)
            completion += [asked, {"role": "tool", "tool_call_id": "x", "content": "no"}]
        completion.append({"role": "assistant", "content": "Is it 'lamps'?"})
        spans = [
            {"start": START + 60 + turn, "end": START + 60.5 + turn}
            for turn in range(len(questions) + 1)
        ]
        rows.append(
            {
                "example_id": 7,
                "prompt": [{"role": "user", "content": GAME}],
                "completion": completion,
                "reward": 0.5,
                "timing": {"start_time": START + 60, "model": {"spans": spans}},
                "is_completed": True,
                "is_truncated": False,
                "metrics": {},
                "tool_defs": [TOOL],
                "token_usage": {"input_tokens": 310.0, "output_tokens": 44.0},
            }
        )
    failed = {"error": "ModelError", "message": "timeout", "error_chain_repr": "ModelError()"}
    rows.append(
        {**rows[0], "completion": None, "reward": 0.0, "error": failed, "token_usage": None}
    )
    return rows


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    for name, rows in (("sums", sums()), ("word-game", games())):
        path = folder / name / "results.jsonl"
        path.parent.mkdir(exist_ok=True)
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        path.write_text(lines, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()

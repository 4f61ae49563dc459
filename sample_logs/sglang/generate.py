"""Write two invented logs of SGLang: requests.log with all that was asked and answered, and
sglang-request-metrics-20261116_10.log with counts alone.

Ids are words numbered as they come up. Run it with any Python 3.11 or later: python generate.py
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from invented_tokens import Vocabulary, pieces

SYSTEM = (
    "<|system|>\nYou count ships for the lock keeper. Say how many, then how long they wait, in minutes."
    "\nA convoy of barges is one ship. A ship that turns round was never there.\n"
)
CHATS = {
    "morning": [
        ("Three barges in a row and a tug?", "Two ships. Fifteen minutes."),
        ("The tug turned round.", "One ship. Eight minutes."),
    ],
    "noon": [("A ferry, and a yacht behind it?", "Two ships. Twelve minutes.")],
    "night": [("Nobody?", "No ship. Sleep.")],
}
RECEIVED = 1794823200.5
FIRST_ID = 300


def logprobs(ids: list[int]) -> list[list[Any]]:
    """What a sure model says of its tokens, every fifth one apart."""
    return [[-1.25 if place % 5 == 2 else -0.03125, token, None] for place, token in enumerate(ids)]


def top(ids: list[int]) -> list[list[list[Any]]]:
    return [[scored, [scored[0] - 2.5, scored[1] + 1, None]] for scored in logprobs(ids)]


def requests(words: Vocabulary) -> list[dict[str, Any]]:
    found, cached = [], 0
    for chat, turns in CHATS.items():
        prompt = SYSTEM
        for number, (wish, answer) in enumerate(turns):
            prompt += f"<|user|>\n{wish}\n<|assistant|>\n"
            ids, made = words.encode(prompt), words.encode(answer)
            found.append(
                {
                    "rid": f"{chat}{number:028d}",
                    "prompt": prompt,
                    "ids": ids,
                    "answer": answer,
                    "made": made,
                    "cached": cached if number else min(cached, len(words.encode(SYSTEM))),
                    "received": RECEIVED + 30 * len(found),
                }
            )
            cached = len(ids)
            prompt += f"{answer}\n"
    return found


def meta_info(request: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": request["rid"],
        "finish_reason": {"type": "stop", "matched": 2},
        "prompt_tokens": len(request["ids"]),
        "weight_version": "default",
        "completion_tokens": len(request["made"]),
        "cached_tokens": request["cached"],
        "e2e_latency": 0.75,
    }


def logger_lines(words: Vocabulary) -> list[str]:
    lines = ["[2026-11-16 09:59:00] server_args=ServerArgs(model_path='acme/harbour-7b')"]
    for request in requests(words):
        asked = {
            "rid": request["rid"],
            "text": request["prompt"],
            "input_ids": request["ids"],
            "sampling_params": {"temperature": 0.7},
            "received_time": request["received"],
        }
        out = {
            "text": request["answer"],
            "output_ids": request["made"],
            "meta_info": {
                **meta_info(request),
                "output_token_logprobs": logprobs(request["made"]),
                "output_top_logprobs": top(request["made"]),
            },
        }
        for event, more in (("received", {}), ("finished", {"out": out})):
            record = {"timestamp": "2026-11-16T10:00:00.123456", "event": f"request.{event}"}
            record |= {"rid": request["rid"], "obj": asked, **more}
            lines.append(f"[2026-11-16 10:00:00] {json.dumps(record)}")
    return lines


def metrics_lines(words: Vocabulary) -> list[str]:
    return [
        json.dumps(
            {
                "request_parameters": json.dumps(
                    {"rid": request["rid"], "received_time": request["received"]}
                ),
                **meta_info(request),
            }
        )
        for request in requests(words)
    ]


def main() -> None:
    folder = Path(__file__).parent
    for name, lines in (
        ("requests.log", logger_lines(Vocabulary(FIRST_ID, split=pieces))),
        (
            "sglang-request-metrics-20261116_10.log",
            metrics_lines(Vocabulary(FIRST_ID, split=pieces)),
        ),
    ):
        text = "".join(line + "\n" for line in lines)
        (folder / name).write_text(text, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()

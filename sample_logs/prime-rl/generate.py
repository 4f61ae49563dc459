"""Writes a training step of prime-rl: two groups of four episodes, and what the trainer exported.

Usage: python generate.py [FOLDER]
"""

from __future__ import annotations

import hashlib
import json
import sys
import uuid
from pathlib import Path
from typing import Any

TASKS = ["How many lamps are in 6 boxes of 12?", "What is left of 90 after a third is sold?"]
ANSWERS = [["72", "72", "18", "72"], ["60", "30", "60", "60"]]
TOOL = {"name": "calc", "description": "Work out a sum.", "parameters": {"type": "object"}}
START = 1_767_300_000.0


def number(text: str, low: float, high: float) -> float:
    """A number that a text stands for, in a range."""
    part = int.from_bytes(hashlib.sha256(text.encode()).digest()[:6]) / 2**48
    return round(low + part * (high - low), 6)


def words(text: str) -> list[int]:
    """Token ids of a text, one a word."""
    return [100 + int(hashlib.sha256(word.encode()).hexdigest()[:4], 16) for word in text.split()]


def made(name: str, bytes_of: str) -> str:
    return uuid.UUID(bytes=hashlib.sha256(f"{name} {bytes_of}".encode()).digest()[:16]).hex


def given(message: dict[str, Any], parent: int | None, body: str) -> dict[str, Any]:
    """A node of the prompt: template, body, template."""
    ids = [1, *words(body), 2]
    node = {"message": message, "sampled": False, "timestamp": START, "token_ids": ids}
    node |= {"mask": [False] * len(ids), "is_content": [], "logprobs": []}
    return node if parent is None else {"parent": parent, **node}


def sampled(message: dict[str, Any], parent: int, body: str) -> dict[str, Any]:
    """A node that the model wrote, behind the generation prompt."""
    ids = [*words(body), 2]
    chances = [-number(f"{body} {at}", 0.0, 1.5) for at in range(len(ids))]
    return {
        "parent": parent,
        "message": message,
        "sampled": True,
        "timestamp": START,
        "token_ids": [3, *ids],
        "mask": [False] + [True] * len(ids),
        "is_content": [],
        "logprobs": chances,
    }


def trace(task: int, sample: int) -> dict[str, Any]:
    """A rollout. Every second one asks the tool first."""
    answer = ANSWERS[task][sample]
    nodes = [
        given(
            {"role": "system", "content": "Answer with a number."}, None, "Answer with a number."
        ),
        given({"role": "user", "content": TASKS[task]}, 0, TASKS[task]),
    ]
    if sample % 2:
        call = {"id": f"c{sample}", "name": "calc", "arguments": '{"sum": "6*12"}'}
        message = {"role": "assistant", "content": "", "tool_calls": [call]}
        nodes.append(sampled(message, 1, "call calc 6*12"))
        result = {"role": "tool", "tool_call_id": f"c{sample}", "content": answer, "name": "calc"}
        nodes.append(given(result, 2, f"result {answer}"))
    text = f"That makes {answer} ."
    nodes.append(sampled({"role": "assistant", "content": text}, len(nodes) - 1, text))
    calls, length, before = [], 0, 0
    for index, node in enumerate(nodes):
        if node["sampled"]:
            tokens = len(node["token_ids"]) - 1
            start = START + 10 * task + sample + 0.5 * index
            usage = {
                "prompt_tokens": length + 1 - before,
                "completion_tokens": tokens,
                "cached_input_tokens": before,
            }
            calls.append(
                {
                    "node": index,
                    "model": "Qwen/Qwen3-4B",
                    "endpoint": "/generate",
                    "finish_reason": "stop",
                    "usage": usage,
                    "time": {"start": start, "end": start + 0.375},
                }
            )
            before = (length + 1) // 16 * 16
        length += len(node["token_ids"])
    right = answer == ("72", "60")[task]
    return {
        "version": 1,
        "id": made("trace", f"{task} {sample}"),
        "verifiers": {"version": "0.2.1"},
        "task": {
            "type": "SumTask",
            "data": {"question": TASKS[task]},
            "hash": made("task", str(task)),
        },
        "agent": {"config": {"model": "Qwen/Qwen3-4B"}, "name": "agent", "trainable": True},
        "tools": [TOOL],
        "nodes": nodes,
        "calls": calls,
        "rewards": {
            "correct": {"score": float(right), "weight": 1.0},
            "format": {"score": 1.0, "weight": 0.25},
        },
        "metrics": {},
        "extra_usage": [],
        "is_completed": True,
        "ok": True,
        "stop_condition": "agent_completed",
        "errors": [],
    }


def episode(task: int, sample: int) -> dict[str, Any]:
    one = trace(task, sample)
    work = {"type": "train", "step": 1, "policy": {"start": 1, "end": 1}}
    return {
        "id": made("episode", f"{task} {sample}"),
        "env": {"id": "lamp-sums", "name": "lamp-sums"},
        "task": one["task"],
        "group": {"id": str(uuid.UUID(made("group", str(task))))},
        "run": {"type": "train", "id": made("run", "1"), "work": work},
        "ok": True,
        "errors": [],
        "traces": [one],
    }


def export(index: int, nodes: list[dict[str, Any]]) -> dict[str, Any]:
    """A trace's tokens as the trainer saw them."""
    ids = [token for node in nodes for token in node["token_ids"]]
    mask = [sampled for node in nodes for sampled in node["mask"]]
    chances = iter([chance for node in nodes for chance in node["logprobs"]])
    logprobs = [next(chances) if sampled else 0.0 for sampled in mask]
    return {
        "schema_version": 1,
        "step": 1,
        "rank": 0,
        "micro_step": index // 4,
        "micro_sequence_idx": index % 4,
        "export_sequence_idx": index,
        "env_name": "lamp-sums",
        "token_ids": ids,
        "position_ids": list(range(len(ids))),
        "loss_mask": mask,
        "advantages": [0.25 if sampled else 0.0 for sampled in mask],
        "inference_logprobs": logprobs,
        "trainer_logprobs": [round(value * 1.01, 6) for value in logprobs],
        "entropy": [
            number(f"{index} {at}", 0.0, 2.0) if sampled else 11.931
            for at, sampled in enumerate(mask)
        ],
        "mismatch_kl": [0.0] * len(ids),
        "is_masked": [False] * len(ids),
        "rl_weights": [None] * len(ids),
        "ce_weights": [None] * len(ids),
    }


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    episodes = [episode(task, sample) for task in range(2) for sample in range(4)]
    exports = [export(index, item["traces"][0]["nodes"]) for index, item in enumerate(episodes)]
    for name, rows in (
        ("rollouts/step_1/train/all/traces.jsonl", episodes),
        ("token_exports/step_1/rank_0.jsonl", exports),
    ):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = "".join(json.dumps(row, separators=(",", ":")) + "\n" for row in rows)
        path.write_text(lines, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()

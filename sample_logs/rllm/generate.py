"""Writes rLLM episodes: a training step of two tasks x three rollouts, and one of an evaluation.

Usage: python generate.py [FOLDER]
"""

from __future__ import annotations

import hashlib
import json
import sys
import uuid
from pathlib import Path
from typing import Any

SYSTEM = "You solve sums. Write Python if it helps, and end with the result alone."
TASKS = [
    "A box holds 12 lamps. How many are in 6 boxes?",
    "A third of 90 ladders is sold. How many are left?",
]
RESULTS = ["72", "60"]
SAID = [["72", "18", "72"], ["60", "60", "30"]]


def made(text: str) -> str:
    return str(uuid.UUID(bytes=hashlib.sha256(text.encode()).digest()[:16], version=4))


def steps(task: int, sample: int) -> list[dict[str, Any]]:
    """One step, or two where the model runs code first."""
    messages: list[dict[str, Any]] = [
        {"role": "system", "content": SYSTEM},
        {"role": "user", "content": TASKS[task]},
    ]
    found = []
    turns = [SAID[task][sample]] if sample else ["print(6 * 12)", SAID[task][sample]]
    for turn, answer in enumerate(turns):
        messages = [*messages, {"role": "assistant", "content": answer, "reasoning": "Let me see."}]
        done = turn == len(turns) - 1
        found.append(
            {
                "observation": None,
                "thought": "Let me see.",
                "action": answer,
                "reward": float(done and answer == RESULTS[task]),
                "done": done,
                "model_response": answer,
                "chat_completions": messages,
                "timing": {"llm_time": 0.75},
            }
        )
        messages = [*messages, {"role": "user", "content": "Output: 72"}]
    return found


def episode(task: int, sample: int) -> dict[str, Any]:
    """As the trainer's logger writes it."""
    data = {"question": TASKS[task], "ground_truth": RESULTS[task]}
    run = steps(task, sample)
    right = SAID[task][sample] == RESULTS[task]
    return {
        "training_step": 3,
        "epoch": 0,
        "episode_id": f"{made(f'task {task}')}:{sample}",
        "session_id": None,
        "task": data,
        "task_hash": hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()[:8],
        "is_correct": right,
        "termination_reason": "env_done",
        "metrics": {"accuracy": float(right)},
        "metadata": {},
        "timing": {},
        "trajectories": [
            {
                "name": "solver",
                "uid": made(f"trajectory {task} {sample}"),
                "reward": float(right),
                "num_steps": len(run),
                "timing": {},
                "steps": run,
            }
        ],
    }


def evaluated() -> dict[str, Any]:
    """As an evaluation writes it, with token ids and logprobs."""
    step = steps(0, 1)[0]
    prompt = [1, 8, 15, 22, 29, 36, 43, 50, 57]
    extra = {"input": None, "output": None, "metadata": {}, "routing_matrices": None}
    extra |= {"prompt_ids": prompt, "response_ids": [72, 2], "logprobs": [-0.375, -0.0625]}
    extra |= {"model_output": None, "mc_return": 0.0, "advantage": None, "weight_version": None}
    del step["timing"]
    return {
        "id": "lamps-6:0",
        "task": {"id": "lamps-6", "instruction": TASKS[0], "metadata": {"answer": RESULTS[0]}},
        "termination_reason": None,
        "is_correct": False,
        "session_id": None,
        "trajectories": [
            {
                "uid": made("trajectory of an evaluation"),
                "name": "solver",
                "task": None,
                "steps": [{"id": made("step"), **step, **extra}],
                "reward": None,
                "input": None,
                "output": "18",
                "signals": {},
                "metadata": None,
            }
        ],
        "artifacts": {"answer": "18"},
        "metrics": {},
        "metadata": {},
        "eval_idx": 0,
    }


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    files = {"eval/episodes/episode_000000_lamps-6.json": evaluated()}
    for task in range(2):
        for sample in range(3):
            data = episode(task, sample)
            name = data["episode_id"].replace(":", "_")
            files[f"train_step_3_epoch_0/episode_hash{data['task_hash']}_id{name}.json"] = data
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()

"""Writes iteration_000020/train_rollout_summaries.jsonl and train_logtree.json: 3 groups of 4
trajectories as the Tinker cookbook exports them, and the page that shows the first group.

Usage: python generate.py [FOLDER]
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

SYSTEM = "You translate old coins. End with the number of pence."
QUESTION = "How many pence are 3 shillings and 4 pence?"
ANSWERS = ["3 times 12 is 36. 40", "3 times 12 is 36. 39", "A shilling is 12 pence. 40", "40"]
REWARDS = [1.0, 0.0, 1.0, 1.0]
FINISHED = [3, 0, 2, 1]
"""In which order the shown trajectories ended."""


def summary(group: int, number: int) -> dict[str, Any]:
    """The second group has three turns, the third's prompt was too long to be sampled from."""
    n_steps = 3 if group == 1 else 1
    steps, seen = [], 58 + 9 * group
    for step in range(n_steps):
        made = 0 if group == 2 else 11 + (number * 7 + step * 5) % 13
        ended = step == n_steps - 1
        reward = (REWARDS[number] if group == 0 else float(number % 2)) if ended else 0.0
        steps.append(
            {
                "step_idx": step,
                "ob_len": 0 if group == 2 else seen,
                "ac_len": made,
                "reward": 0.0 if group == 2 else reward,
                "episode_done": ended,
                "metrics": {},
                "logs": {},
            }
        )
        seen += made + 17
    return {
        "schema_version": 1,
        "split": "train",
        "iteration": 20,
        "group_idx": group,
        "traj_idx": number,
        "tags": ["coins"],
        "sampling_client_step": 20,
        "total_reward": sum(step["reward"] for step in steps),
        "final_reward": 0.0,
        "trajectory_metrics": {},
        "steps": steps,
        "final_ob_len": 0,
    }


def element(tag: str, children: list[Any], **attrs: str) -> dict[str, Any]:
    return {"tag": tag, "attrs": attrs, "children": children}


def section(title: str, level: int, children: list[Any]) -> dict[str, Any]:
    body = element("div", children)
    return element("section", [element(f"h{level}", [title]), body])


def conversation(messages: list[dict[str, str]]) -> dict[str, Any]:
    return {**element("div", []), "data": {"type": "conversation", "messages": messages}}


def table(rows: dict[str, str]) -> dict[str, Any]:
    cells = [
        element("tr", [element("td", [key]), element("td", [cell])]) for key, cell in rows.items()
    ]
    head = element("thead", [element("tr", [element("th", ["key"]), element("th", ["value"])])])
    return element("table", [head, element("tbody", cells)])


def page() -> dict[str, Any]:
    given = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": QUESTION}]
    shown = []
    for number in FINISHED:
        answer = [{"role": "assistant", "content": ANSWERS[number]}]
        rows = {"reference_answer": "40", "reward": f"{REWARDS[number]:.3f}"}
        shown += [
            section("Prompt", 3, [conversation(given)]),
            section("Policy Response", 3, [conversation(answer)]),
            section("Reward", 3, [table(rows)]),
        ]
    episodes = [
        section(f"Trajectory {number} Episode", 4, [table({"total_return": f"{reward:.3f}"})])
        for number, reward in enumerate(REWARDS)
    ]
    group = section("Group Rollout", 2, [*shown, section("Trajectory Details", 3, episodes)])
    title = "RL Iteration 20"
    note = element("p", ["It shows rollouts and rewards of a subset of groups."])
    return {
        "title": title,
        "started_at": "2026-10-20T09:30:00",
        "path": "runs/coins/iteration_000020/train.html",
        "root": element("body", [element("h1", [title]), note, group]),
    }


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    iteration = folder / "iteration_000020"
    iteration.mkdir(exist_ok=True)
    rows = [summary(group, number) for group in range(3) for number in range(4)]
    for name, text in (
        ("train_rollout_summaries.jsonl", "".join(json.dumps(row) + "\n" for row in rows)),
        ("train_logtree.json", json.dumps(page(), indent=2)),
    ):
        (iteration / name).write_text(text, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()

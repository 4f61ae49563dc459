"""Writes three Tree of Thoughts logs of invented puzzles: a breadth-first search, samples, and a
depth-first search.

Usage: python generate.py [FOLDER]
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from invented_tokens import Dice

COINS, STEPS, BREADTH, SAMPLES = (10, 5, 2, 1), 4, 3, 8
AMOUNTS = (18, 16, 13, 17)
PROMPT_TOKENS, TOKENS_PER_LINE = 214, 11
USD_PER_PROMPT_TOKEN, USD_PER_COMPLETION_TOKEN = 0.03 / 1000, 0.06 / 1000

WORDS = {1: ("apart", "stone", "crane"), 2: ("level", "inner", "river"), 3: ("ember", "easel")}


class Meter:
    """Counts requests as the program does: over all puzzles of one process."""

    def __init__(self) -> None:
        self.prompt_tokens = self.completion_tokens = 0

    def count(self, requests: int, lines: int) -> None:
        self.prompt_tokens += requests * PROMPT_TOKENS
        self.completion_tokens += lines * TOKENS_PER_LINE

    def usage(self) -> dict[str, float]:
        cost = (
            self.prompt_tokens * USD_PER_PROMPT_TOKEN
            + self.completion_tokens * USD_PER_COMPLETION_TOKEN
        )
        return {
            "completion_tokens": self.completion_tokens,
            "prompt_tokens": self.prompt_tokens,
            "cost": cost,
        }


def left_of(state: str, amount: int) -> int:
    """What is still to be paid after a state's coins."""
    return amount - sum(int(line.split()[1]) for line in state.splitlines() if line[:3] == "lay")


def proposals(state: str, amount: int) -> list[str]:
    """A state's continuations: each coin that fits, or the answer once all is paid."""
    left = left_of(state, amount)
    if left == 0:
        coins = " + ".join(line.split()[1] for line in state.splitlines())
        return [f"{state}Answer: {coins} = {amount}\n"]
    return [f"{state}lay {coin} (left: {left - coin})\n" for coin in COINS if coin <= left]


def solved(state: str, amount: int) -> int:
    return int(state.rstrip().endswith(f"= {amount}") and "Answer: " in state)


def breadth_first(number: int, amount: int, meter: Meter) -> dict[str, Any]:
    """Keep the three states with the least left. One line is proposed twice, as models do."""
    text = f"Pay {amount} with four coins of {' '.join(map(str, COINS))}"
    states, steps = [""], []
    for step in range(STEPS + 1):
        found = [each for state in states for each in proposals(state, amount)]
        if step == 1:
            found.append(found[0])
        values = [
            0.0 if each in found[:place] else 20.0 - left_of(each, amount)
            for place, each in enumerate(found)
        ]
        order = sorted(range(len(found)), key=lambda place: values[place], reverse=True)
        selected = [found[place] for place in order[:BREADTH]]
        meter.count(len(states) + 3 * len(found), 4 * len(found))
        steps.append(
            {
                "step": step,
                "x": text,
                "ys": states,
                "new_ys": found,
                "values": values,
                "select_new_ys": selected,
            }
        )
        states = selected
    infos = [{"r": solved(state, amount)} for state in states]
    return {
        "steps": steps,
        "idx": number,
        "ys": states,
        "infos": infos,
        "usage_so_far": meter.usage(),
    }


def sampled(number: int, amount: int, meter: Meter, dice: Dice) -> dict[str, Any]:
    """Eight samples that lay coins at random."""
    found = []
    for _ in range(SAMPLES):
        state = "Steps:\n"
        while left_of(state, amount):
            fitting = [coin for coin in COINS if coin <= left_of(state, amount)]
            coin = fitting[0] if dice.below(3) else fitting[dice.below(len(fitting))]
            state += f"lay {coin} (left: {left_of(state, amount) - coin})\n"
        n_coins = state.count("lay")
        state += f"Answer: {amount}" if n_coins == STEPS else f"Answer: none with {n_coins} coins"
        found.append(state)
    meter.count(1, sum(state.count("\n") + 1 for state in found))
    infos = [{"r": int(state.endswith(f"Answer: {amount}"))} for state in found]
    return {"idx": number, "ys": found, "infos": infos, "usage_so_far": meter.usage()}


def depth_first(dice: Dice) -> list[dict[str, Any]]:
    """A crossword of three rows, searched row by row; a dead end is not gone on from."""
    nodes: list[dict[str, Any]] = []

    def visit(actions: list[str]) -> None:
        row = len(actions) + 1
        for word in WORDS.get(row, ()):
            path = [*actions, f"h{row}. {word}"]
            impossible = dice.below(3) == 0
            right = len(path) - impossible
            info = {"r_letter": round(right / 4, 2), "r_word": round(right / 3, 4)}
            count = {"sure": right, "maybe": 3 - len(path), "impossible": int(impossible)}
            nodes.append(
                {
                    "total_step": len(nodes),
                    "env_step": len(path),
                    "actions": path,
                    "info": info,
                    "count": count,
                }
            )
            if not impossible:
                visit(path)

    visit([])
    return nodes


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    dice, meter = Dice(20261103), Meter()
    searches = [breadth_first(n, amount, meter) for n, amount in enumerate(AMOUNTS[:2])]
    samples = []
    for number, amount in enumerate(AMOUNTS):
        if number in (0, 3):  # the run was resumed with the fourth puzzle
            meter = Meter()
        samples.append(sampled(number, amount, meter, dice))
    logs = {
        "gpt-4_0.7_propose1_value3_greedy3_start0_end2.json": json.dumps(searches, indent=4),
        "gpt-4_0.7_naive_cot_sample_8_start0_end4.json": json.dumps(samples, indent=4),
        "infoss_dfs_prune.json": json.dumps([depth_first(dice), depth_first(dice)]),
    }
    for name, text in logs.items():
        (folder / name).write_text(text, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()

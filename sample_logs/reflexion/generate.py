"""Writes two programming logs over the same invented tasks: a Reflexion run and a tree search.

Usage: python generate.py [FOLDER]
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

TASKS = (
    (
        "first_even",
        "the first even number of a list, or None",
        "next((n for n in xs if n % 2 == 0), None)",
    ),
    (
        "last_word",
        "the last word of a sentence without its full stop",
        "xs.rstrip('.').split()[-1]",
    ),
    ("spread", "the largest minus the smallest number of a list", "max(xs) - min(xs)"),
    ("doubled", "every element of a list twice, in order", "[x for x in xs for _ in range(2)]"),
    (
        "is_sorted",
        "whether a list is in ascending order",
        "all(a <= b for a, b in zip(xs, xs[1:]))",
    ),
    (
        "initials",
        "the first letters of all words, as one text",
        "''.join(w[0] for w in xs.split())",
    ),
)
WRONG = ("xs[0]", "xs[::-1]", "len(xs)", "sorted(xs)")
MAX_ATTEMPTS = 4


def task(number: int) -> dict[str, Any]:
    """A benchmark's row."""
    name, wish, _ = TASKS[number]
    return {
        "name": f"Kata_{number}_{name}",
        "prompt": f'def {name}(xs):\n    """Return {wish}."""\n',
        "entry_point": name,
        "test": f"def check(candidate):\n    assert candidate is not None\n\ncheck({name})\n",
    }


def attempt(number: int, body: str) -> str:
    return f"{task(number)['prompt']}    return {body}"


def feedback(number: int, passed: bool) -> str:
    name = TASKS[number][0]
    if passed:
        return f"Tested passed:\nassert {name}(example)\n\nTests failed:"
    return f"Tested passed:\n\nTests failed:\nassert {name}(example) # output: wrong type"


def reflection(number: int, place: int) -> str:
    wish = TASKS[number][1]
    return (
        f"Attempt {place + 1} failed because it does not return {wish}. "
        f"I returned {WRONG[(number + place) % 4]}, which looks at the wrong part of the input."
    )


def reflexion_run(number: int, solved: int) -> dict[str, Any]:
    """As many attempts as a task's number says; the last tasks stay unsolved."""
    n_attempts = min(number + 1, MAX_ATTEMPTS)
    is_solved = number < MAX_ATTEMPTS
    bodies = [WRONG[(number + place) % 4] for place in range(n_attempts)]
    if is_solved:
        bodies[-1] = TASKS[number][2]
    attempts = [attempt(number, body) for body in bodies]
    results = [is_solved and place == n_attempts - 1 for place in range(n_attempts)]
    return {
        **task(number),
        "is_solved": is_solved,
        "reflections": [reflection(number, place) for place in range(n_attempts - 1)],
        "implementations": attempts,
        "test_feedback": [feedback(number, passed) for passed in results],
        "solution": attempts[-1],
        "acc": round(solved / (number + 1), 2),
    }


def search_run(number: int, solved: int) -> dict[str, Any]:
    """A search that the first attempt ends logs nothing of it."""
    acc = round(solved / (number + 1), 2)
    if number == 0:
        return {**task(number), "acc": acc}
    is_solved = number != 4
    chosen = attempt(number, TASKS[number][2] if is_solved else WRONG[2])
    return {
        **task(number),
        "solution": chosen,
        "is_solved": is_solved,
        "reflections": [
            *(reflection(number, place) for place in range(2 * number)),
            "MCTS reflections",
        ],
        "implementations": [attempt(number, WRONG[number % 4]), chosen],
        "test_feedback": [feedback(number, False), feedback(number, number % 2 == 0)],
        "acc": acc,
    }


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    runs = {
        "katas._reflexion_4_gpt-4_pass_at_k_1_py.jsonl": reflexion_run,
        "katas._mcts_8_gpt-4_pass_at_k_1_py.jsonl": search_run,
    }
    for name, run in runs.items():
        lines, solved = [], 0
        for number in range(len(TASKS)):
            solved += bool(run(number, 0).get("is_solved", True))
            lines.append(json.dumps(run(number, solved)) + "\n")
        (folder / name).write_text("".join(lines), encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()

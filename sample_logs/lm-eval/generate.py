"""Writes sample logs of the LM Evaluation Harness: a generation task with two filters, and choices.

Usage: python generate.py [FOLDER]
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

SHOTS = """Q: A harbour has 12 boats and 5 leave. How many are left?
A: 12 boats were there and 5 left, so 12 - 5 = 7. The answer is 7.

Q: Each of 4 crates holds 9 lamps. How many lamps are there?
A: 4 crates hold 9 lamps each, so 4 * 9 = 36. The answer is 36.

"""
PROBLEMS = [
    ("A tram has 23 seats and 15 are taken. How many are free?", 8),
    ("A baker makes 6 trays of 14 rolls. How many rolls are there?", 84),
    ("A rope of 30 m is cut into 5 equal parts. How long is each?", 6),
]
FACTS = [
    ("The sea is deepest in the", ["Pacific", "Baltic", "Thames"], 0),
    ("A lighthouse lens was invented by", ["Volta", "Fresnel", "Otis"], 1),
]
REPEATS = 4
DATE = "2026-06-18T14-03-22.481920"


def digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def row(number: int, doc: dict[str, Any], requests: list[Any], resps: list[Any]) -> dict[str, Any]:
    """What the rows of all tasks have in common."""
    arguments = {
        f"gen_args_{i}": {f"arg_{j}": value for j, value in enumerate(request)}
        for i, request in enumerate(requests)
    }
    return {
        "doc_id": number,
        "doc": doc,
        "target": str(doc["answer"]),
        "arguments": arguments,
        "resps": resps,
        "doc_hash": digest(doc),
        "prompt_hash": digest(requests[0][0]),
        "target_hash": digest(str(doc["answer"])),
    }


def repeat(number: int, answer: int, place: int) -> str:
    """One sampled solution; the third one of every other problem is wrong, and the last is vague."""
    if place == 3:
        return f" The answer is {answer}"
    wrong = place == 2 and number % 2 == 0
    value = answer + 10 if wrong else answer
    step = "Let us see." if place else "We count."
    return f" {step} That makes {value}. The answer is {value}."


def generation_rows() -> list[dict[str, Any]]:
    """All documents under the first filter, then all under the second: the harness's order."""
    rows = []
    for number, (question, answer) in enumerate(PROBLEMS):
        doc = {"question": question, "answer": answer}
        texts = [repeat(number, answer, place) for place in range(REPEATS)]
        request = [f"{SHOTS}Q: {question}\nA:", {"until": ["Q:"], "do_sample": True}]
        rows.append((row(number, doc, [request], [texts]), answer, texts))
    found = []
    for name in ("first", "maj@4"):
        for common, answer, texts in rows:
            first = f"{answer}." in texts[0]
            found.append(
                {
                    **common,
                    "filtered_resps": [str(answer)],
                    "filter": name,
                    "metrics": ["exact_match"],
                    "exact_match": 1.0 if name != "first" or first else 0.0,
                }
            )
    return found


def choice_rows() -> list[dict[str, Any]]:
    rows = []
    for number, (stem, choices, right) in enumerate(FACTS):
        doc = {"stem": stem, "choices": choices, "answer": right}
        requests = [[f"Complete the sentence.\n{stem}", f" {choice}"] for choice in choices]
        logs = [[str(-1.5 - 2.25 * abs(right - i)), str(i == right)] for i in range(len(choices))]
        rows.append(
            {
                **row(number, doc, requests, [[one] for one in logs]),
                "filtered_resps": logs,
                "filter": "none",
                "metrics": ["acc"],
                "acc": 1.0,
            }
        )
    return rows


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    folder /= "acme__harbour-7b"
    folder.mkdir(exist_ok=True)
    for task, rows in (("sums_cot", generation_rows()), ("sea_facts", choice_rows())):
        text = "".join(json.dumps(each, ensure_ascii=False) + "\n" for each in rows)
        path = folder / f"samples_{task}_{DATE}.jsonl"
        path.write_text(text, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()

"""Writes the scenario state of an invented HELM run: four questions, three completions each.

Usage: python generate.py [FOLDER]
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

SHOTS = """The following are multiple choice questions about the sea.

Question: What pulls the tides?
A. The moon
B. The wind
Answer: A

"""
QUESTIONS = [
    ("What is the saltiest of these?", ["The Dead Sea", "The Baltic Sea"], "A"),
    ("Which current warms Norway?", ["Humboldt", "Gulf Stream"], "B"),
    ("What does a sextant measure?", ["Angles", "Depths"], "A"),
    ("Who charted Australia's east coast?", ["Drake", "Cook"], "B"),
]
COMPLETIONS = 3


def completion(place: int, number: int, right: str) -> dict[str, Any]:
    """One sampled answer with its tokens; some are wrong, and one goes on talking."""
    letter = right if (place + number) % 3 else ("A" if right == "B" else "B")
    words = [f" {letter}"] + (["\n", "Question", ":"] if place == 3 and number == 2 else [])
    tokens = [
        {"text": word, "logprob": round(-0.3 * (i + 1) - 0.1 * number, 3)}
        for i, word in enumerate(words)
    ]
    return {
        "text": "".join(words),
        "logprob": round(sum(token["logprob"] for token in tokens), 3),
        "tokens": tokens,
        "finish_reason": {"reason": "length"},
    }


def state(place: int) -> dict[str, Any]:
    question, choices, right = QUESTIONS[place]
    lines = [f"{letter}. {choice}" for letter, choice in zip("AB", choices, strict=True)]
    prompt = f"{SHOTS}Question: {question}\n" + "\n".join(lines) + "\nAnswer:"
    references = [
        {"output": {"text": choice}, "tags": ["correct"] if letter == right else []}
        for letter, choice in zip("AB", choices, strict=True)
    ]
    answers = [completion(place, number, right) for number in range(COMPLETIONS)]
    return {
        "instance": {
            "input": {"text": question},
            "references": references,
            "split": "test",
            "id": f"id{place}",
        },
        "train_trial_index": 0,
        "output_mapping": dict(zip("AB", choices, strict=True)),
        "request": {
            "model_deployment": "together/harbour-7b",
            "model": "acme/harbour-7b",
            "embedding": False,
            "prompt": prompt,
            "temperature": 0.7,
            "num_completions": COMPLETIONS,
            "max_tokens": 5,
            "echo_prompt": False,
        },
        "result": {
            "success": True,
            "embedding": [],
            "completions": answers,
            "cached": place == 2,
            "request_time": 0.41 + 0.07 * place,
            "request_datetime": 1767600000 + 3 * place,
        },
        "num_train_instances": 1,
        "prompt_truncated": False,
        "num_conditioning_tokens": 0,
    }


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    folder /= "sea-questions,model=acme_harbour-7b"
    folder.mkdir(exist_ok=True)
    document = {
        "adapter_spec": {
            "method": "multiple_choice_joint",
            "instructions": SHOTS.split("\n")[0],
            "model": "acme/harbour-7b",
            "num_outputs": COMPLETIONS,
        },
        "request_states": [state(place) for place in range(len(QUESTIONS))],
    }
    text = json.dumps(document, indent=2) + "\n"
    (folder / "scenario_state.json").write_text(text, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()

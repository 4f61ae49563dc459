"""Write the sample log of this folder: ``python sample_logs/aider/generate.py [FOLDER]``.

Everything is invented: the user, all token counts and costs. No clock and no randomness: each run writes the same
bytes.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

USER = "0b5f7a52-6c1e-4c9f-a3f4-2d9a1be50001"
START = 1791190800
MODELS = {
    "main_model": "anthropic/claude-sonnet-4-5",
    "weak_model": "anthropic/claude-haiku-4-5",
    "editor_model": "anthropic/claude-sonnet-4-5",
}
USD_PER_MILLION = (3.0, 15.0)
RUNS = [
    [(7412, 388), (8120, 512), (8954, 197), (9461, 640)],
    [(7398, 240), (7811, 96)],
]
"""Prompt and completion tokens of each message, by run of the program."""


class Events:
    """Events of one user."""

    def __init__(self) -> None:
        self.now = START
        self.lines: list[dict[str, Any]] = []

    def event(self, name: str, **properties: Any) -> None:
        self.now += 4
        line = {"event": name, "properties": properties, "user_id": USER, "time": self.now}
        self.lines.append(line)

    def run(self, messages: list[tuple[int, int]]) -> None:
        """One run of the program. Its last message goes to a model that aider has no price for."""
        self.event("launched")
        self.event("repo", num_files=14)
        self.event("cli session", **MODELS, edit_format="diff")
        total = 0.0
        for prompt, completion in messages:
            self.event("message_send_starting")
            self.now += 19
            cost = (prompt * USD_PER_MILLION[0] + completion * USD_PER_MILLION[1]) / 1e6
            total += cost
            self.send(MODELS, prompt, completion, cost, total)
        local = {**MODELS, "main_model": "ollama/REDACTED"}
        self.event("command_model")
        self.send(local, 2048, 77, 0.0, total)
        self.event("exit", reason="/exit")
        self.now += 5_400

    def send(
        self, models: dict[str, str], prompt: int, completion: int, cost: float, total: float
    ) -> None:
        counts = {"prompt_tokens": prompt, "completion_tokens": completion}
        sums = {"total_tokens": prompt + completion, "cost": cost, "total_cost": total}
        self.event("message_send", **models, edit_format="diff", **counts, **sums)


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    events = Events()
    for messages in RUNS:
        events.run(messages)
    text = "".join(json.dumps(line) + "\n" for line in events.lines)
    (folder / "analytics.jsonl").write_text(text, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()

"""Writes session_a.json and session_b.json: coding sessions as hashed blocks of 64 tokens.

Usage: python generate.py [FOLDER]
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

BLOCK = 64
MODEL, SMALL_MODEL = "claude-opus-4-5-20251101", "claude-haiku-4-5-20251001"
TOOL_TOKENS, SYSTEM_TOKENS = 6100, 1480


class Session:
    """Numbers the blocks of one session as they first appear. Ids start at 1 in each file."""

    def __init__(self) -> None:
        self.ids: dict[tuple[str, int], int] = {}

    def hashes(self, spans: list[tuple[str, int]]) -> list[int]:
        """Block ids of a prompt: (whose text, where it ends), in order. Whole blocks only."""
        found: list[int] = []
        for owner, end in spans:
            for block in range(len(found), end // BLOCK):
                found.append(self.ids.setdefault((owner, block), len(self.ids) + 1))
        return found


def calls(
    session: Session, owner: str, head: int, model: str, n: int, grow: int, *, compact_at: int = -1
) -> list[dict[str, Any]]:
    """One agent's calls; from `compact_at` on, what was said is replaced by a summary."""
    found = []
    tokens, seconds = head + 420, 0.0
    for number in range(n):
        if number == compact_at:
            owner, tokens = f"{owner}/compacted", head + 900
        output = 90 + (number * 137) % 600
        api_time = round(2.5 + output / 60, 2)
        request = {
            "t": seconds,
            "type": "s" if number % 3 else "n",
            "model": model,
            "in": tokens,
            "out": output,
            "hash_ids": session.hashes([("head/" + model, head), (owner, tokens)]),
            "input_types": ["tool_result"] if number else ["text"],
            "output_types": ["text", "tool_use"] if number < n - 1 else ["text"],
            "stop": "tool_use" if number < n - 1 else "end_turn",
            "api_time": api_time,
            "think_time": 0.0 if not number else 6.0,
        }
        found.append(request)
        tokens += output + grow + (number * 211) % 700
        seconds = round(seconds + api_time + 6.0, 2)
    return found


def document(name: str, requests: list[dict[str, Any]], models: list[str]) -> dict[str, Any]:
    """A session file: what its requests sum up to stands at its end."""
    inner = [each for agent in requests for each in agent.get("requests", [])]
    own = [each for each in requests if "in" in each]
    totals = {
        key: {"input": sum(each["in"] for each in of), "output": sum(each["out"] for each in of)}
        for key, of in (
            ("parent_tokens", own),
            ("subagent_tokens", inner),
            ("combined_tokens", own + inner),
        )
    }
    return {
        "id": name,
        "models": models,
        "block_size": BLOCK,
        "hash_id_scope": "local",
        "tool_tokens": TOOL_TOKENS,
        "system_tokens": SYSTEM_TOKENS,
        "requests": requests,
        "totals": {**totals, "subagent_count": len(requests) - len(own)},
    }


def subagent(session: Session, number: int, at: float, n: int) -> dict[str, Any]:
    """An explorer with a small prompt of its own, its clock starting at 0."""
    requests = calls(session, f"agent{number}", 2600, SMALL_MODEL, n, 500)
    return {
        "t": at,
        "type": "subagent",
        "agent_id": f"agent_{number:03d}",
        "subagent_type": "Explore",
        "duration_ms": int(requests[-1]["t"] * 1000) + 5000,
        "total_tokens": requests[-1]["in"] + requests[-1]["out"],
        "tool_use_count": n - 1,
        "status": "completed",
        "requests": requests,
        "models": [SMALL_MODEL],
        "tool_tokens": 2100,
        "system_tokens": 500,
    }


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    head = TOOL_TOKENS + SYSTEM_TOKENS
    first = Session()
    own = calls(first, "main", head, MODEL, 12, 640)
    # Both run while the caller waits for them between its third and its fourth call.
    at = own[2]["t"] + own[2]["api_time"]
    agents = [subagent(first, 1, round(at, 2), 5), subagent(first, 2, round(at + 1.5, 2), 4)]
    second = Session()
    compacted = calls(second, "main", head, MODEL, 10, 900, compact_at=6)
    for name, requests, models in (
        ("session_a", own[:3] + agents + own[3:], [MODEL]),
        ("session_b", compacted, [MODEL]),
    ):
        text = json.dumps(document(name, requests, models), separators=(",", ":")) + "\n"
        (folder / f"{name}.json").write_text(text, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()

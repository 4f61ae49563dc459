"""Writes rollouts.jsonl: 3 tasks x 3 rollouts of an invented greenhouse agent, as NeMo-Gym collects
them. The first task is one call each, with usage; the second uses tools; the third comes from an engine
that gives token ids and logprobs.

Usage: python generate.py [FOLDER]
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

SYSTEM = "You look after a greenhouse. Read a sensor before you act, and act once at most."
TOOLS = [
    {
        "type": "function",
        "name": name,
        "description": description,
        "parameters": {"type": "object", "properties": {"bed": {"type": "integer"}}},
        "strict": False,
    }
    for name, description in (
        ("read_sensor", "Temperature in degrees and soil moisture in per cent of a bed."),
        ("water", "Water a bed for a minute."),
    )
]
QUESTIONS = [
    "How warm may it get in bed 3 before the tomatoes suffer?",
    "Look after bed 4.",
    "Which bed holds basil: the one with 19 degrees or the one with 27?",
]
START_S = 1_791_000_000


def message(text: str, number: int) -> dict[str, Any]:
    part = {"type": "output_text", "text": text, "annotations": []}
    return {
        "id": f"msg_{number:04x}",
        "type": "message",
        "role": "assistant",
        "status": "completed",
        "content": [part],
    }


def tool(name: str, output: dict[str, Any], number: int) -> list[dict[str, Any]]:
    """A call and its result. The call's id differs in each rollout."""
    call_id = f"call_{number * 2654435761 % 2**32:08x}"
    arguments = '{"bed":4}'
    return [
        {"type": "function_call", "name": name, "arguments": arguments, "call_id": call_id},
        {"type": "function_call_output", "call_id": call_id, "output": json.dumps(output)},
    ]


def one_call(rollout: int) -> tuple[list[dict[str, Any]], dict[str, Any] | None, float]:
    texts = ["About 32 degrees.", "About 32 degrees, then open the roof.", "40 degrees."]
    made = 9 + 7 * (rollout == 1)
    usage = {
        "input_tokens": 171,
        "input_tokens_details": {"cached_tokens": 128 if rollout else 0},
        "output_tokens": made,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 171 + made,
    }
    return [message(texts[rollout], rollout)], usage, float(rollout != 2)


def with_tools(rollout: int) -> tuple[list[dict[str, Any]], dict[str, Any] | None, float]:
    """The first rollout reads and waters, the second reads only, the third waters at once."""
    items: list[dict[str, Any]] = []
    if rollout != 2:
        items += tool("read_sensor", {"degrees": 24, "moisture": 11}, 10 + rollout)
    if rollout != 1:
        items += tool("water", {"moisture": 48}, 20 + rollout)
    texts = ["Bed 4 was dry, and I watered it.", "Bed 4 is fine.", "I watered bed 4."]
    usage = {
        "input_tokens": 640 - 90 * rollout,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": 60 - 9 * rollout,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 700 - 99 * rollout,
    }
    return [*items, message(texts[rollout], 30 + rollout)], usage, [1.0, 0.0, 0.5][rollout]


def with_ids(rollout: int) -> tuple[list[dict[str, Any]], dict[str, Any] | None, float]:
    prompt = [5, *range(300, 340), 6]
    sampled = [[71, 72, 73, 2], [71, 72, 74, 75, 2], [71, 80, 2]][rollout]
    texts = ["The warmer one.", "The one with 27.", "The cooler."]
    item = message(texts[rollout], 40 + rollout)
    item["prompt_token_ids"] = prompt
    item["generation_token_ids"] = sampled
    item["generation_log_probs"] = [round(-0.07 * token % 2.3 - 2.3, 4) for token in sampled]
    return [item], None, float(rollout != 2)


def row(task: int, rollout: int) -> dict[str, Any]:
    output, usage, reward = (one_call, with_tools, with_ids)[task](rollout)
    given = [
        {"type": "message", "role": "system", "content": SYSTEM},
        {"type": "message", "role": "user", "content": QUESTIONS[task]},
    ]
    return {
        "responses_create_params": {
            "background": None,
            "input": given,
            "metadata": None,
            "model": None,
            "parallel_tool_calls": False,
            "tools": TOOLS,
        },
        "response": {
            "id": f"resp_{task}{rollout}",
            "created_at": float(START_S + 30 * (3 * task + rollout)),
            "model": "example-30b",
            "object": "response",
            "output": output,
            "parallel_tool_calls": False,
            "tool_choice": "auto",
            "tools": TOOLS,
            "usage": usage,
        },
        "reward": reward,
        "_ng_task_index": task,
        "_ng_rollout_index": rollout,
        "agent_ref": {"type": "responses_api_agents", "name": "greenhouse"},
    }


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    # Rollouts are appended as they finish.
    order = [(0, 1), (0, 0), (2, 0), (1, 2), (0, 2), (2, 1), (1, 0), (1, 1), (2, 2)]
    lines = "".join(json.dumps(row(task, rollout)) + "\n" for task, rollout in order)
    (folder / "rollouts.jsonl").write_text(lines, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()

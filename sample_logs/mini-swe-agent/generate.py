"""Writes four mini-swe-agent trajectories of an invented shop's repository.

Usage: python generate.py [FOLDER]
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

SYSTEM = """You can use a shell on the repository of a lamp shop.

Answer with a short thought and one command. To finish, run:
echo COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT
"""
TASK = "Please solve this issue: lamps with a dimmer are listed twice when sorted by price.\n"
MODEL = "claude-sonnet-4-5-20250929"
START = 1_767_000_000.25
LOOK = [
    ("Sorting is done in the catalogue.", "grep -n sort catalogue.py", "31: rows.sort()"),
    ("How are rows joined?", "sed -n 20,40p catalogue.py", "24: JOIN dimmers"),
]
ENDS = [
    [
        ("Once a lamp is enough.", "sed -i '24s/JOIN/SEMI JOIN/' catalogue.py", ""),
        ("Now the tests.", "pytest -q", "14 passed"),
        ("Done.", "echo COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT", ""),
    ],
    [
        (
            "I take the doubles out afterwards.",
            "sed -i '31i rows = list(set(rows))' catalogue.py",
            "",
        ),
        ("Done.", "echo COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT", ""),
    ],
]
SYSTEM_TOKENS, CALL_TOKENS, RESULT_TOKENS = 1460, 60, 40


def usage(total: int, read: int, output: int) -> dict[str, Any]:
    """Usage as LiteLLM gives it: what is new in a prompt is written to the cache."""
    return {
        "completion_tokens": output,
        "prompt_tokens": total,
        "total_tokens": total + output,
        "prompt_tokens_details": {"audio_tokens": None, "cached_tokens": read},
        "cache_creation_input_tokens": total - read - 4,
        "cache_read_input_tokens": read,
    }


def cost(used: dict[str, Any]) -> float:
    read, written = used["cache_read_input_tokens"], used["cache_creation_input_tokens"]
    plain = used["prompt_tokens"] - read - written
    dollars = 3 * plain + 0.3 * read + 3.75 * written + 15 * used["completion_tokens"]
    return round(dollars / 1e6, 6)


class Run:
    """A run as version 2 writes it, message by message."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.messages: list[dict[str, Any]] = [
            {"role": "system", "content": SYSTEM},
            {"role": "user", "content": TASK},
        ]
        self.time = START + 900 * number
        self.total, self.read, self.spent, self.calls = SYSTEM_TOKENS, 0, 0.0, 0

    def ask(self, message: dict[str, Any], output: int) -> dict[str, Any]:
        """The ``extra`` of a response."""
        self.calls += 1
        used = usage(self.total, self.read, output)
        self.read = self.total - 4
        self.time += 3.5
        self.spent += cost(used)
        name = hashlib.sha256(f"{self.number} {self.calls}".encode()).hexdigest()[:24]
        response = {
            "id": f"chatcmpl-{name}",
            "created": int(self.time),
            "model": MODEL,
            "object": "chat.completion",
            "choices": [{"finish_reason": "tool_calls", "index": 0, "message": message}],
            "usage": used,
        }
        return {"response": response, "cost": cost(used), "timestamp": self.time}

    def step(self, thought: str, command: str, output: str) -> None:
        call = {
            "function": {"arguments": json.dumps({"command": command}), "name": "bash"},
            "id": f"toolu_{self.number}{self.calls:02d}",
            "type": "function",
        }
        message = {"content": thought, "role": "assistant", "tool_calls": [call]}
        extra = {"actions": [{"command": command, "tool_call_id": call["id"]}]}
        extra |= self.ask(dict(message), CALL_TOKENS)
        self.messages.append({**message, "function_call": None, "extra": extra})
        self.time += 0.5
        self.total += CALL_TOKENS + RESULT_TOKENS
        if "COMPLETE_TASK" not in command:
            self.messages.append(
                {
                    "content": f"<returncode>0</returncode>\n<output>\n{output}</output>",
                    "extra": {"raw_output": output, "returncode": 0, "timestamp": self.time},
                    "tool_call_id": call["id"],
                    "role": "tool",
                }
            )

    def useless_answer(self) -> None:
        """A response without a tool call: it stands in the complaint only."""
        said = {"content": "I think the join is wrong.", "role": "assistant", "tool_calls": None}
        extra = {"interrupt_type": "FormatError", **self.ask(said, 12)}
        complaint = "No tool calls found in the response. Every response MUST include one."
        self.messages.append({"role": "user", "content": complaint, "extra": extra})
        self.total += 30

    def document(self) -> dict[str, Any]:
        end = {"exit_status": "Submitted", "submission": "diff --git a/catalogue.py"}
        self.messages.append({"role": "exit", "content": "diff --git a/catalogue.py", "extra": end})
        model = {"model_name": f"anthropic/{MODEL}", "set_cache_control": "default_end"}
        return {
            "info": {
                "model_stats": {"instance_cost": self.spent, "api_calls": self.calls},
                "config": {
                    "agent": {"system_template": "…", "step_limit": 250, "cost_limit": 3.0},
                    "agent_type": "minisweagent.agents.default.DefaultAgent",
                    "model": model,
                    "model_type": "minisweagent.models.litellm_model.LitellmModel",
                },
                "mini_version": "2.4.6",
                **end,
            },
            "messages": self.messages,
            "trajectory_format": "mini-swe-agent-1.1",
            "instance_id": "shop__lamps-12",
        }


def new_run(number: int) -> dict[str, Any]:
    run = Run(number)
    for step in LOOK:
        run.step(*step)
    if number == 0:
        run.useless_answer()
    for step in ENDS[number]:
        run.step(*step)
    return run.document()


def old_messages() -> list[dict[str, Any]]:
    """The messages of a run of version 1."""
    messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": TASK}]
    for thought, command, output in [*LOOK, *ENDS[1]]:
        text = f"THOUGHT: {thought}\n\n```bash\n{command}\n```"
        messages.append({"role": "assistant", "content": text})
        messages.append({"role": "user", "content": f"<output>\n{output}\n</output>"})
    return messages


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    stats = {"instance_cost": 0.0, "api_calls": 4}
    info = {"exit_status": "Submitted", "submission": "", "model_stats": stats}
    config = {"model": {"model_name": "ollama/qwen3:4b"}}
    runs = {
        "first/shop__lamps-12": new_run(0),
        "second/shop__lamps-12": new_run(1),
        "version-1": {
            "info": {**info, "mini_version": "1.17.4", "config": config},
            "messages": old_messages(),
            "trajectory_format": "mini-swe-agent-1",
        },
        "messages-only": old_messages()[:6],
    }
    for name, run in runs.items():
        path = folder / f"{name}.traj.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(run, indent=2), encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()

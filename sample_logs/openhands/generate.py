"""Writes an exported OpenHands trajectory and an evaluation's output of two runs of one instance.

Usage: python generate.py [FOLDER]
"""

from __future__ import annotations

import hashlib
import json
import sys
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

SYSTEM = """You are OpenHands agent, an assistant that can interact with a computer to solve tasks.

* Look at the code before you change it, and run the tests after.
* Answer in a few words.
"""
TOOLS = [
    {"type": "function", "function": {"name": name, "description": text, "parameters": {}}}
    for name, text in (("execute_bash", "Run a command."), ("finish", "Say that you are done."))
]
TASK = "Lamps with a dimmer are listed twice when sorted by price. Please repair that."
START = datetime(2026, 3, 2, 10, 0)
UTC_START = 1_772_463_600
"""15:00 UTC: the clock that stamps the events is five hours behind."""
MODEL = "claude-sonnet-4-5-20250929"


class Run:
    """A run's events, one after the other."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.events: list[dict[str, Any]] = []
        self.usages: list[dict[str, Any]] = []
        self.clock = 600 * number
        self.total, self.read = 2400, 0

    def add(self, source: str, seconds: int = 1, **fields: Any) -> dict[str, Any]:
        self.clock += seconds
        stamp = (START + timedelta(seconds=self.clock, microseconds=40 + self.number)).isoformat()
        event = {"id": len(self.events), "timestamp": stamp, "source": source, **fields}
        self.events.append(event)
        return event

    def begin(self) -> None:
        arguments = {"content": SYSTEM, "tools": TOOLS, "agent_class": "CodeActAgent"}
        self.add("agent", message=SYSTEM, action="system", args=arguments)
        self.add("user", message=TASK, action="message", args={"content": TASK, "image_urls": []})
        recall = {"recall_type": "workspace_context", "query": TASK, "thought": ""}
        self.add("user", message="Retrieving context", action="recall", args=recall)
        extras = {
            "recall_type": "workspace_context",
            "repo_name": "shop/lamps",
            "date": "2026-03-02",
        }
        self.add("environment", observation="recall", content="", extras=extras)

    def respond(self, output: int) -> str:
        """Bill one response; its id."""
        name = hashlib.sha256(f"{self.number} {len(self.usages)}".encode()).hexdigest()[:24]
        self.usages.append(
            {
                "model": MODEL,
                "prompt_tokens": self.total,
                "completion_tokens": output,
                "cache_read_tokens": self.read,
                "cache_write_tokens": self.total - self.read - 6,
                "response_id": f"chatcmpl-{name}",
            }
        )
        self.read = self.total - 6
        self.total += output
        return f"chatcmpl-{name}"

    def tools(self, thought: str, *commands: tuple[str, str]) -> None:
        """One response with a tool call for each command, and their results."""
        name = self.respond(40 + 30 * len(commands))
        used = self.usages[-1]
        calls = [
            {
                "function": {"arguments": json.dumps({"command": run}), "name": "execute_bash"},
                "id": f"toolu_{self.number}{len(self.usages):02d}{index}",
                "type": "function",
            }
            for index, (run, _) in enumerate(commands)
        ]
        message = {"content": thought, "role": "assistant", "tool_calls": calls}
        response = {
            "id": name,
            "created": UTC_START + self.clock + 1,
            "model": MODEL,
            "object": "chat.completion",
            "choices": [{"finish_reason": "tool_calls", "index": 0, "message": message}],
            "usage": {
                "completion_tokens": used["completion_tokens"],
                "prompt_tokens": used["prompt_tokens"],
                "prompt_tokens_details": {"cached_tokens": used["cache_read_tokens"]},
                "cache_creation_input_tokens": used["cache_write_tokens"],
                "cache_read_input_tokens": used["cache_read_tokens"],
            },
        }
        for call, (run, output) in zip(calls, commands, strict=True):
            metadata = {
                "function_name": "execute_bash",
                "tool_call_id": call["id"],
                "model_response": response,
                "total_calls_in_response": len(calls),
            }
            arguments = {"command": run, "thought": thought, "hidden": False}
            action = self.add("agent", 2, action="run", args=arguments, tool_call_metadata=metadata)
            self.add(
                "agent",
                cause=action["id"],
                observation="run",
                content=output,
                extras={"command": run},
                tool_call_metadata=metadata,
            )
            self.total += 50

    def condense(self, first: int, last: int, summary: str) -> None:
        """Events are forgotten; the summary was written by a call that no event came of."""
        self.total, self.read = 1200, 0
        self.respond(60)
        self.total, self.read = 2600, 2394
        arguments = {
            "forgotten_events_start_id": first,
            "forgotten_events_end_id": last,
            "summary": summary,
            "summary_offset": 3,
        }
        self.add("agent", action="condensation", args=arguments)

    def say(self, text: str) -> None:
        """An answer in plain words: no response is logged with it."""
        self.respond(25)
        self.add("agent", 3, action="message", args={"content": text, "wait_for_response": True})


def first_run() -> Run:
    run = Run(0)
    run.begin()
    run.tools("I look at the sorting first.", ("grep -n sort catalogue.py", "31: rows.sort()"))
    run.tools(
        "Two more places.",
        ("sed -n 20,40p catalogue.py", "24: JOIN dimmers"),
        ("ls tests", "test_catalogue.py"),
    )
    run.condense(4, 5, "USER_CONTEXT: sorting is in line 31 of catalogue.py.")
    run.tools("Once is enough.", ("sed -i '24s/JOIN/SEMI JOIN/' catalogue.py", ""))
    run.say("Lamps are listed once now.")
    return run


def second_run() -> Run:
    run = Run(1)
    run.begin()
    run.tools("I look at the sorting first.", ("grep -n sort catalogue.py", "31: rows.sort()"))
    run.tools("I take the doubles out.", ("sed -i '31i rows = set(rows)' catalogue.py", ""))
    run.say("Doubles are gone.")
    return run


def row(run: Run, resolved: bool) -> dict[str, Any]:
    def cost(used: dict[str, Any]) -> float:
        read, written = used["cache_read_tokens"], used["cache_write_tokens"]
        plain = used["prompt_tokens"] - read - written
        return round(
            (3 * plain + 0.3 * read + 3.75 * written + 15 * used["completion_tokens"]) / 1e6, 6
        )

    costs = [{"model": MODEL, "cost": cost(used), "timestamp": 0.0} for used in run.usages]
    return {
        "instance_id": "shop__lamps-12",
        "test_result": {"git_patch": "diff --git a/catalogue.py", "report": {"resolved": resolved}},
        "instruction": TASK,
        "metadata": {
            "agent_class": "CodeActAgent",
            "llm_config": {"model": f"anthropic/{MODEL}"},
            "max_iterations": 50,
            "dataset": "shop/repairs",
        },
        "history": run.events,
        "metrics": {
            "accumulated_cost": sum(item["cost"] for item in costs),
            "costs": costs,
            "token_usages": run.usages,
        },
        "error": None,
    }


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    exported = Run(2)
    exported.begin()
    exported.tools("I look at the sorting first.", ("grep -n sort catalogue.py", "31: rows.sort()"))
    exported.say("It sorts after a join. Shall I change the join?")
    exported.add("user", 400, action="message", args={"content": "Yes, please."})
    exported.tools("Once is enough.", ("sed -i '24s/JOIN/SEMI JOIN/' catalogue.py", ""))
    text = json.dumps(exported.events)
    (folder / "trajectory.json").write_text(text, encoding="utf-8", newline="\n")
    rows = [row(first_run(), True), row(second_run(), False)]
    lines = "".join(json.dumps(item) + "\n" for item in rows)
    (folder / "output.jsonl").write_text(lines, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()

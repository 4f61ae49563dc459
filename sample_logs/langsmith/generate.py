"""Write runs.jsonl: an invented weather agent's runs as LangSmith lists them.

Three questions, each a trace: a chain, its model calls and its tool. Two questions fork behind the same
system prompt; the third goes to a model whose SDK is traced inside LangChain's, so that each call is
two runs. The newest run stands first, as the API lists them. Token counts are a quarter of the
characters.

Run it with any Python 3.11 or later: python generate.py
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

START = datetime(2026, 10, 12, 14, 0, tzinfo=UTC)
STATIONS = ("Rocks", "Pier", "Old Lighthouse", "Mole", "Sandbank", "Upper Lock")
SYSTEM = "You answer skippers who ask about wind and waves.\n" + "\n".join(
    f"Station {name}: ask read_station for it by the number {number}. Its gauge reads low when the wind "
    f"comes from {'north' if number % 2 else 'south'}; add a fifth, and say that you did."
    for number, name in enumerate(STATIONS * 5, 1)
)
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "read_station",
            "description": "Wind and waves at a station now.",
            "parameters": {"type": "object", "properties": {"number": {"type": "integer"}}},
        },
    }
]
QUESTIONS = [
    ("How is it at the pier?", 2, "wind 5 from north, waves 1.2 m"),
    ("Can I leave the old lighthouse to port?", 3, "wind 7 from south, waves 2.4 m"),
    ("Is the mole sheltered tonight?", 4, "wind 3 from west, waves 0.4 m"),
]


def uuid(number: int) -> str:
    return str(UUID(int=0x5EA00000_0000_4000_8000_000000000000 + number))


def stamp(moment: datetime) -> str:
    return moment.replace(tzinfo=None).isoformat(timespec="microseconds")


def message(kind: str, content: str, **more: Any) -> dict[str, Any]:
    """A message as LangChain serialises it."""
    names = ["langchain", "schema", "messages", kind]
    return {"lc": 1, "type": "constructor", "id": names, "kwargs": {"content": content, **more}}


class Runs:
    """Writes runs, one after the other."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self.clock = START

    def add(self, kind: str, name: str, parents: list[dict[str, Any]], seconds: float) -> Any:
        own = uuid(len(self.rows) + 1)
        started, self.clock = self.clock, self.clock + timedelta(seconds=seconds)
        place = f"{started:%Y%m%dT%H%M%S%f}Z{own}"
        above = [parents[-1]["dotted_order"]] if parents else []
        run = {
            "id": own,
            "trace_id": parents[0]["id"] if parents else own,
            "parent_run_id": parents[-1]["id"] if parents else None,
            "dotted_order": ".".join([*above, place]),
            "session_id": uuid(0),
            "name": name,
            "run_type": kind,
            "start_time": stamp(started),
            "end_time": stamp(self.clock),
            "status": "success",
            "error": None,
            "extra": {"metadata": {}},
        }
        self.rows.append(run)
        return run


def counts(messages: list[Any], answer: Any, cached: int) -> dict[str, Any]:
    sent = (len(json.dumps(messages)) + len(json.dumps(TOOLS))) // 4
    made = len(json.dumps(answer)) // 4
    return {
        "input_tokens": sent,
        "output_tokens": made,
        "total_tokens": sent + made,
        "input_token_details": {"cache_read": cached},
        "output_token_details": {"reasoning": 0},
    }


def model_call(
    runs: Runs, parents: list[Any], messages: list[Any], answer: Any, cached: int, twice: bool
) -> None:
    run = runs.add("llm", "ChatOpenAI", parents, 0.0 if twice else 1.5)
    usage = counts(messages, answer, cached)
    about = {"model_name": "gpt-4.1-2025-04-14", "id": f"chatcmpl-sea{len(runs.rows):05d}"}
    full = {**answer, "kwargs": {**answer["kwargs"], "response_metadata": about}}
    if not twice:
        full["kwargs"]["usage_metadata"] = usage
    text = answer["kwargs"]["content"]
    run["extra"] = {
        "metadata": {"ls_provider": "openai", "ls_model_name": "gpt-4.1"},
        "invocation_params": {"model": "gpt-4.1", "tools": TOOLS},
    }
    run["inputs"] = {"messages": [messages]}
    run["outputs"] = {"generations": [[{"text": text, "message": full}]], "llm_output": None}
    if twice:
        inner = runs.add("llm", "ChatCompletion", [*parents, run], 1.5)
        inner["extra"] = {"metadata": {"ls_provider": "openai", "ls_model_name": "gpt-4.1"}}
        inner["inputs"] = {"messages": [plain(each) for each in messages], "tools": TOOLS}
        inner["outputs"] = {
            "id": about["id"],
            "model": about["model_name"],
            "choices": [{"index": 0, "message": plain(answer)}],
            "usage_metadata": usage,
        }


def plain(message: dict[str, Any]) -> dict[str, Any]:
    """The same message as OpenAI's API takes it."""
    roles = {"SystemMessage": "system", "HumanMessage": "user", "AIMessage": "assistant"}
    fields = message["kwargs"]
    found = {"role": roles.get(message["id"][-1], "tool"), "content": fields["content"]}
    if "tool_calls" in fields:
        found["tool_calls"] = [
            {
                "id": call["id"],
                "type": "function",
                "function": {
                    "name": call["name"],
                    "arguments": json.dumps(call["args"], separators=(",", ":")),
                },
            }
            for call in fields["tool_calls"]
        ]
    return found


def main() -> None:
    runs = Runs()
    for index, (question, number, reading) in enumerate(QUESTIONS):
        runs.clock += timedelta(seconds=40)
        chain = runs.add("chain", "skipper", [], 0.0)
        call = {"name": "read_station", "args": {"number": number}, "id": f"call_{index}"}
        asks = message("AIMessage", "", tool_calls=[call])
        says = message("AIMessage", f"There: {reading}.")
        messages = [message("SystemMessage", SYSTEM), message("HumanMessage", question)]
        twice = index == 2
        model_call(runs, [chain], messages, asks, 1024 if index else 0, twice)
        tool = runs.add("tool", "read_station", [chain], 0.2)
        tool["inputs"], tool["outputs"] = {"input": str(number)}, {"output": reading}
        messages = [*messages, asks, message("ToolMessage", reading, tool_call_id=call["id"])]
        model_call(runs, [chain], messages, says, 1024, twice)
        chain["inputs"], chain["outputs"] = {"question": question}, {"answer": reading}
        chain["end_time"] = stamp(runs.clock)
    text = "".join(json.dumps(row) + "\n" for row in reversed(runs.rows))
    (Path(__file__).parent / "runs.jsonl").write_text(text, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()

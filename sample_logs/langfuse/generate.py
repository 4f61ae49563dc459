"""Write an invented library agent's traces as Langfuse exports them.

observations.jsonl: the observations of two traces, in the names of the tables, one a line: a framework
that describes each call twice, with cache reads. trace.json: one trace with its observations in it,
whose two SDKs count the cached tokens each in its own way.

Token counts are a quarter of the characters; cached tokens follow the rule of automatic caching, in
steps of 128 from 1,024 on. Run it with any Python 3.11 or later: python generate.py
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

MODEL = "gpt-5-mini-2025-08-07"
START = datetime(2026, 10, 5, 9, 0, tzinfo=UTC)
RULES = [
    f"Shelf {shelf}: {what}. Lend it for {days} days, and say so before you note the loan."
    for shelf, what, days in (
        ("A", "sea charts and pilot books, which never leave the building together", 3),
        ("B", "tide tables of the last ten years, of which the newest is for reading here only", 7),
        ("C", "logbooks of the harbour's tugs, bound by year and by the name of the tug", 14),
        ("D", "novels about the sea, and those that only have a ship on the cover", 28),
        ("E", "knots, splices and other things that are learned with the hands", 28),
        ("F", "maps for hikers, who come when the ferries do not go", 21),
    )
]
SYSTEM = "You lend books for the library of a small harbour.\n" + "\n".join(
    f"{number}. {rule} Readers with a fine above five crowns borrow nothing from it until it is paid."
    for number, rule in enumerate(RULES * 4, 1)
)
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": name,
            "description": about,
            "parameters": {"type": "object", "properties": {"title": {"type": "string"}}},
        },
    }
    for name, about in (("find_book", "Where a book stands."), ("lend", "Notes a loan."))
]
READERS = {
    "maren": [
        ("Do you have the pilot book of the northern sound?", "find_book", "Shelf A, two copies"),
    ],
    "ole": [
        ("Do you have the logbook of the tug Brisk, 1962?", "find_book", "Shelf C, one copy"),
        ("May I take it home?", "lend", "noted: back on 19 October"),
    ],
}
PRICES = (0.25e-6, 0.025e-6, 2e-6)


def tokens(value: Any) -> int:
    return len(json.dumps(value)) // 4


class Library:
    """Answers readers, and keeps what an automatic cache would have kept."""

    def __init__(self) -> None:
        self.sent: list[str] = []
        self.clock = START
        self.number = 0

    def cached(self, prompt: str) -> int:
        shared = max((common(prompt, earlier) for earlier in self.sent), default=0) // 4
        self.sent.append(prompt)
        return shared // 128 * 128 if shared >= 1024 else 0

    def call(self, messages: list[Any], answer: Any) -> dict[str, Any]:
        """One model call: its counts, costs and times."""
        started, self.clock = self.clock, self.clock + timedelta(seconds=2.5)
        self.number += 1
        total = tokens(TOOLS) + tokens(messages)
        read, made = self.cached(json.dumps([TOOLS, messages])), tokens(answer)
        costs = [(total - read) * PRICES[0], read * PRICES[1], made * PRICES[2]]
        return {
            "started": started,
            "ended": self.clock,
            "total": total,
            "read": read,
            "made": made,
            "cost": round(sum(costs), 9),
        }


def common(one: str, other: str) -> int:
    length = 0
    for left, right in zip(one, other, strict=False):
        if left != right:
            break
        length += 1
    return length


def stamp(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def turns(library: Library, reader: str) -> list[tuple[list[Any], Any, dict[str, Any]]]:
    """The calls of one reader's visit: prompt, answer, facts."""
    messages: list[Any] = [{"role": "system", "content": SYSTEM}]
    found = []
    for number, (wish, tool, result) in enumerate(READERS[reader]):
        library.clock += timedelta(seconds=20)
        messages.append({"role": "user", "content": wish})
        arguments = json.dumps({"title": wish.split("the ")[-1].rstrip("?.")})
        call = {
            "id": f"call_{reader}{number}",
            "type": "function",
            "function": {"name": tool, "arguments": arguments},
        }
        asks = {"role": "assistant", "content": None, "tool_calls": [call]}
        says = {"role": "assistant", "content": f"{result}. Anything else?"}
        for answer in (asks, says):
            found.append((list(messages), answer, library.call(messages, answer)))
            messages.append(answer)
            if answer is asks:
                messages.append({"role": "tool", "tool_call_id": call["id"], "content": result})
    return found


def row(trace: str, number: int, kind: str, parent: str | None, call: Any) -> dict[str, Any]:
    """An observation in the names of the tables."""
    return {
        "id": f"{trace[:8]}{number:08x}",
        "trace_id": trace,
        "type": kind,
        "parent_observation_id": parent,
        "start_time": stamp(call["started"]),
        "end_time": stamp(call["ended"]),
        "project_id": "harbour-library",
        "level": "DEFAULT",
    }


def observations(library: Library) -> list[dict[str, Any]]:
    """Two visits, each call as an agent framework and an SDK describe it."""
    found = []
    for reader, digit in (("maren", "a"), ("ole", "b")):
        trace = digit * 32
        for number, (messages, answer, call) in enumerate(turns(library, reader)):
            outer = row(trace, 2 * number, "GENERATION", None, call)
            outer |= {"name": "agent step", "provided_model_name": MODEL, "input": messages[-1:]}
            inner = row(trace, 2 * number + 1, "GENERATION", outer["id"], call)
            inner |= {
                "name": "chat",
                "provided_model_name": MODEL,
                "input": {"messages": messages, "tools": TOOLS},
                "output": answer,
                "usage_details": {
                    "input": call["total"] - call["read"],
                    "input_cached_tokens": call["read"],
                    "output": call["made"],
                    "total": call["total"] + call["made"],
                },
                "cost_details": {"total": call["cost"]},
                "total_cost": call["cost"],
            }
            found += [outer, inner]
    return found


def trace_export(library: Library) -> dict[str, Any]:
    """A visit as the trace's page downloads it: inputs and outputs are texts."""
    trace = "c" * 32
    found = []
    for number, (messages, answer, call) in enumerate(turns(library, "ole")):
        facts = row(trace, number, "GENERATION", None, call)
        inclusive = number % 2 == 1
        usage = {
            "input": call["total"] if inclusive else call["total"] - call["read"],
            "output": call["made"],
            "total": call["total"] + call["made"],
            "cache_read_input_tokens" if inclusive else "input_cached_tokens": call["read"],
        }
        attributes = {
            "gen_ai.response.id": f"chatcmpl-harbour{number:04d}",
            "ls_provider": "openai",
        }
        found.append(
            {
                "id": facts["id"],
                "traceId": trace,
                "type": "GENERATION",
                "name": "chat",
                "startTime": facts["start_time"],
                "endTime": facts["end_time"],
                "parentObservationId": None,
                "level": "DEFAULT",
                "model": MODEL,
                "input": json.dumps([*messages, {"role": "tool", "content": TOOLS[0]}]),
                "output": json.dumps(answer),
                "usageDetails": usage,
                "costDetails": {"total": call["cost"]},
                "totalCost": call["cost"],
                "metadata": json.dumps({"attributes": attributes}),
            }
        )
    head = {"id": trace, "projectId": "harbour-library", "name": "visit of ole", "sessionId": None}
    return {"trace": {**head, "timestamp": found[0]["startTime"]}, "observations": found}


def main() -> None:
    folder, library = Path(__file__).parent, Library()
    lines = "".join(json.dumps(each) + "\n" for each in observations(library))
    (folder / "observations.jsonl").write_text(lines, encoding="utf-8", newline="\n")
    document = json.dumps(trace_export(library), indent=2) + "\n"
    (folder / "trace.json").write_text(document, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()

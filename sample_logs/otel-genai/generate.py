"""Writes collector.jsonl and console-spans.jsonl: an invented travel desk's agent under OpenTelemetry.

Usage: python generate.py [FOLDER]
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

START = 1_772_442_000_000_000_000  # 2 March 2026, 09:00 UTC, in nanoseconds.
SECOND = 1_000_000_000
MODEL = "claude-sonnet-4-5"
SYSTEM = (
    "You are the travel desk of Harbour & Hill. You plan trips by train and ferry. Offer at most "
    "three connections, with times in local time and prices in euros. Never book before the "
    "traveller has said yes. Night trains need a reservation; say so whenever one is part of a plan."
)
TOOLS = [
    {
        "type": "function",
        "name": "find_connections",
        "description": "Trains and ferries between two places on a day.",
        "parameters": {
            "type": "object",
            "properties": {"from": {"type": "string"}, "to": {"type": "string"}},
            "required": ["from", "to"],
        },
    },
    {"type": "function", "name": "book", "description": "Book a connection.", "parameters": {}},
]
TRIPS = [
    ("Ghent", "Bergen", "I need to be there on Friday by noon."),
    ("Ghent", "Trieste", "The cheapest way, please; time does not matter."),
]
BOOKS = {"Bergen": "Book the ferry, please.", "Trieste": "No, thank you. Is there a night train?"}


def hex_id(length: int, *parts: object) -> str:
    """A made-up id, the same in each run."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:length]


def any_value(value: Any) -> dict[str, Any]:
    """A value as OTLP JSON has it: 64-bit integers are texts."""
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)}
    if isinstance(value, list):
        return {"arrayValue": {"values": [any_value(each) for each in value]}}
    return {"stringValue": value}


def otlp_span(ids: tuple[str, str, str], name: str, times: tuple[int, int],
              attributes: dict[str, Any]) -> dict[str, Any]:  # fmt: skip
    """A span of trace, span and parent ids; times in nanoseconds."""
    return {
        "traceId": ids[0],
        "spanId": ids[1],
        "parentSpanId": ids[2],
        "flags": 257,
        "name": name,
        "kind": 3,
        "startTimeUnixNano": str(times[0]),
        "endTimeUnixNano": str(times[1]),
        "attributes": [{"key": key, "value": any_value(each)} for key, each in attributes.items()],
        "status": {},
    }


def request(scope: str, spans: list[dict[str, Any]]) -> str:
    """One export request, as the Collector's file exporter writes it: one line."""
    resource = {"service.name": "travel-desk", "service.version": "2.3.0"}
    attributes = [{"key": key, "value": any_value(each)} for key, each in resource.items()]
    scopes = [{"scope": {"name": scope}, "spans": spans}]
    body = {"resourceSpans": [{"resource": {"attributes": attributes}, "scopeSpans": scopes}]}
    return json.dumps(body, separators=(",", ":")) + "\n"


def text(role: str, content: str) -> dict[str, Any]:
    return {"role": role, "parts": [{"type": "text", "content": content}]}


def call(place: str, goal: str) -> dict[str, Any]:
    arguments = {"from": place, "to": goal}
    part = {"type": "tool_call", "id": f"toolu_{hex_id(12, goal)}", "name": "find_connections"}
    return {"role": "assistant", "parts": [part | {"arguments": arguments}]}


def result(goal: str) -> dict[str, Any]:
    found = [f"{6 + 3 * n}:15 to {goal}, EUR {80 + 35 * n}" for n in range(3)]
    part = {"type": "tool_call_response", "id": f"toolu_{hex_id(12, goal)}", "response": found}
    return {"role": "tool", "parts": [part]}


def conversation(trip: int) -> list[str]:
    """Three calls within two spans of an agent, with a tool and the SDK's HTTP client."""
    place, goal, wish = TRIPS[trip]
    talk = [text("user", f"From {place} to {goal}. {wish}")]
    answers = [
        call(place, goal),
        text(
            "assistant", f"There are three ways to {goal}; the first leaves at 6:15. Shall I book?"
        ),
        text(
            "assistant", "It is done." if trip == 0 else "There is one, and it needs a reservation."
        ),
    ]
    lines = []
    sent, now, read = 900, START + trip * 40 * SECOND, 0
    trace = hex_id(32, "trace", trip)
    for turn, answer in enumerate(answers):
        agent = hex_id(16, trip, turn // 2, "agent")
        span = hex_id(16, trip, turn)
        # The first call of all writes the trunk; the others read what was written before.
        write = sent - read if turn == 0 or trip == 0 else 0
        if trip == 1 and turn == 0:
            read, write = 840, sent - 840
        attributes = {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": "anthropic",
            "gen_ai.request.model": MODEL,
            "gen_ai.response.model": f"{MODEL}-20250929",
            "gen_ai.response.id": f"msg_{hex_id(20, trip, turn)}",
            "gen_ai.response.finish_reasons": ["tool_call" if turn == 0 else "stop"],
            "gen_ai.usage.input_tokens": sent + 7,
            "gen_ai.usage.output_tokens": 48 + 9 * turn,
            "gen_ai.usage.cache_read.input_tokens": read,
            "gen_ai.usage.cache_creation.input_tokens": write,
            "gen_ai.tool.definitions": json.dumps(TOOLS),
            "gen_ai.system_instructions": json.dumps([{"type": "text", "content": SYSTEM}]),
            "gen_ai.input.messages": json.dumps(talk),
            "gen_ai.output.messages": json.dumps([answer | {"finish_reason": "stop"}]),
        }
        http = {"http.request.method": "POST", "server.address": "api.anthropic.com"}
        times = (now, now + 4 * SECOND)
        inside = (now + SECOND // 100, now + 4 * SECOND - SECOND // 100)
        lines.append(request("opentelemetry.instrumentation.httpx", [
            otlp_span((trace, hex_id(16, trip, turn, "http"), span), "POST", inside, http)]))  # fmt: skip
        lines.append(request("opentelemetry.instrumentation.anthropic", [
            otlp_span((trace, span, agent), f"chat {MODEL}", times, attributes)]))  # fmt: skip
        talk.append(answer)
        if turn == 0:
            tool = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "find_connections"}
            ids = (trace, hex_id(16, trip, "tool"), agent)
            times = (now + 4 * SECOND, now + 5 * SECOND)
            lines.append(request("travel_desk", [otlp_span(ids, "execute_tool", times, tool)]))
            talk.append(result(goal))
        elif turn == 1:
            talk.append(text("user", BOOKS[goal]))
        if turn:
            whole = {
                "gen_ai.operation.name": "invoke_agent",
                "gen_ai.agent.name": "travel-desk",
                "gen_ai.conversation.id": f"conv_{hex_id(12, trip)}",
                "gen_ai.usage.input_tokens": 2 * sent,
                "gen_ai.usage.output_tokens": 105,
            }
            began = START + trip * 40 * SECOND if turn == 1 else now - SECOND // 10
            ids = (trace, agent, "")
            times = (began, now + 5 * SECOND)
            lines.append(request("travel_desk", [otlp_span(ids, "invoke_agent", times, whole)]))
        read, sent, now = sent, sent + 160 + 40 * turn, now + 8 * SECOND
    return lines


def console_spans() -> list[str]:
    """Spans as objects, with the names of 2024: a script that asks a model to name ferries, each
    time with one example more."""
    lines = []
    examples: list[tuple[str, str]] = []
    for turn, (colour, ferry) in enumerate(
        [("blue", "Cornflower"), ("red", "Rowan"), ("grey", "Heron")]
    ):
        attributes: dict[str, Any] = {
            "gen_ai.system": "OpenAI",
            "gen_ai.request.model": "gpt-4o-mini",
            "llm.request.type": "chat",
            "gen_ai.prompt.0.role": "system",
            "gen_ai.prompt.0.content": "You name ferries after their colour. One word.",
        }
        turns = [each for pair in examples for each in pair] + [f"A {colour} ferry."]
        for number, content in enumerate(turns, 1):
            attributes[f"gen_ai.prompt.{number}.role"] = "user" if number % 2 else "assistant"
            attributes[f"gen_ai.prompt.{number}.content"] = content
        attributes |= {
            "gen_ai.completion.0.role": "assistant",
            "gen_ai.completion.0.content": ferry,
            "gen_ai.completion.0.finish_reason": "stop",
            "gen_ai.response.model": "gpt-4o-mini-2024-07-18",
            "gen_ai.usage.prompt_tokens": 24 + 14 * turn,
            "gen_ai.usage.completion_tokens": 3,
            "llm.usage.total_tokens": 27 + 14 * turn,
        }
        examples.append((f"A {colour} ferry.", ferry))
        begin = f"2026-03-02T10:00:{10 + 5 * turn}.250000Z"
        span = {
            "name": "openai.chat",
            "context": {
                "trace_id": "0x" + hex_id(32, "console"),
                "span_id": "0x" + hex_id(16, "console", turn),
                "trace_state": "[]",
            },
            "kind": "SpanKind.CLIENT",
            "parent_id": "0x" + hex_id(16, "console", "root"),
            "start_time": begin,
            "end_time": begin.replace(".25", ".90"),
            "status": {"status_code": "OK"},
            "attributes": attributes,
            "events": [],
            "links": [],
            "resource": {"attributes": {"service.name": "ferry-names"}, "schema_url": ""},
        }
        lines.append(json.dumps(span) + "\n")
    return lines


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    lines = [line for trip in range(len(TRIPS)) for line in conversation(trip)]
    for name, written in (("collector.jsonl", lines), ("console-spans.jsonl", console_spans())):
        (folder / name).write_text("".join(written), encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()

"""Writes phoenix.jsonl and ai-sdk.jsonl: an invented museum guide, traced by OpenInference and by
Vercel's AI SDK.

Usage: python generate.py [FOLDER]
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

SYSTEM = (
    "You guide visitors through the Museum of Tides. Answer in two sentences at most, name the room, "
    "and look up opening times before you state them."
)
SCHEMA = {
    "type": "function",
    "function": {
        "name": "room",
        "description": "What stands in a room.",
        "parameters": {"type": "object", "properties": {"number": {"type": "integer"}}},
    },
}
VISITS = [
    ("Where is the tide clock?", 4, "The tide clock stands in room 4. It has run since 1871."),
    ("Where are the charts?", 7, "The charts hang in room 7. The oldest is of 1702."),
]
PRICE_IN, PRICE_OUT = 0.15e-6, 0.6e-6
EPOCH = 1_772_532_000  # 3 March 2026, 10:00 UTC


def hex_id(length: int, *parts: object) -> str:
    """A made-up id, the same in each run."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:length]


def flat(prefix: str, messages: list[dict[str, Any]]) -> dict[str, Any]:
    """Messages as OpenInference flattens them."""
    found: dict[str, Any] = {}
    for number, message in enumerate(messages):
        begin = f"{prefix}.{number}.message."
        found[f"{begin}role"] = message["role"]
        if message.get("content") is not None:
            found[f"{begin}content"] = message["content"]
        for place, (name, arguments) in enumerate(message.get("calls", ())):
            function = f"{begin}tool_calls.{place}.tool_call.function"
            found |= {f"{function}.name": name, f"{function}.arguments": arguments}
    return found


def clock(seconds: float) -> str:
    minutes, rest = divmod(seconds, 60)
    return f"2026-03-03T10:{int(minutes):02d}:{rest:06.3f}000+00:00"


def span(ids: tuple[str, str, str | None], name: str, kind: str, times: tuple[float, float],
         attributes: dict[str, Any]) -> str:  # fmt: skip
    """A line of Phoenix's export."""
    body = {
        "name": name,
        "context": {"trace_id": ids[0], "span_id": ids[1]},
        "span_kind": kind,
        "parent_id": ids[2],
        "start_time": clock(times[0]),
        "end_time": clock(times[1]),
        "status_code": "OK",
        "status_message": "",
        "attributes": {"openinference.span.kind": kind, "session.id": "visit-17"} | attributes,
        "events": [],
    }
    return json.dumps(body) + "\n"


def llm(talk: list[dict[str, Any]], answer: dict[str, Any], read: int) -> dict[str, Any]:
    """Attributes of a call: tokens are a quarter of the letters."""
    sent = 1100 + sum(len(str(message)) for message in talk) // 4
    made = len(str(answer)) // 4
    return {
        "llm.system": "openai",
        "llm.provider": "openai",
        "llm.model_name": "gpt-4o-mini-2024-07-18",
        "llm.invocation_parameters": json.dumps({"model": "gpt-4o-mini", "temperature": 0}),
        "llm.tools.0.tool.json_schema": json.dumps(SCHEMA),
        **flat("llm.input_messages", talk),
        **flat("llm.output_messages", [answer]),
        "llm.token_count.prompt": sent,
        "llm.token_count.completion": made,
        "llm.token_count.total": sent + made,
        "llm.token_count.prompt_details.cache_read": read,
        "llm.cost.total": round(sent * PRICE_IN - read * PRICE_IN / 2 + made * PRICE_OUT, 9),
    }


def phoenix() -> list[str]:
    """Two questions, two calls each. A framework's span stands around each of the SDK's."""
    lines = []
    talk: list[dict[str, Any]] = [{"role": "system", "content": SYSTEM}]
    now = 0.0
    for visit, (question, room, answer) in enumerate(VISITS):
        trace, agent = hex_id(32, visit), hex_id(16, visit, "agent")
        began = now
        talk.append({"role": "user", "content": question})
        says = {"role": "assistant", "calls": [("room", json.dumps({"number": room}))]}
        for turn in range(2):
            said = says if turn == 0 else {"role": "assistant", "content": answer}
            attributes = llm(talk, said, 1024 if visit or turn else 0)
            outer, inner = hex_id(16, visit, turn, "outer"), hex_id(16, visit, turn)
            lines.append(span((trace, inner, outer), "ChatCompletion", "LLM",
                              (now + 0.02, now + 1.1), attributes))  # fmt: skip
            lines.append(span((trace, outer, agent), "ChatOpenAI", "LLM",
                              (now + 0.01, now + 1.2), attributes))  # fmt: skip
            talk.append(said)
            if turn == 0:
                found = f"Room {room}: {answer.split(' stand')[0].split(' hang')[0]}"
                lines.append(span((trace, hex_id(16, visit, "tool"), agent), "room", "TOOL",
                                  (now + 1.3, now + 1.4), {"output.value": found}))  # fmt: skip
                talk.append({"role": "tool", "content": found})
            now += 1.5
        lines.append(span((trace, agent, None), "guide", "AGENT", (began, now), {}))
        now += 30
    return lines


def ai_sdk() -> list[str]:
    """One question to the AI SDK: two steps in the span of `generateText`, which sums them up."""
    trace, root = hex_id(32, "sdk"), hex_id(16, "sdk", "root")
    talk: list[dict[str, Any]] = [
        {"role": "system", "content": SYSTEM},
        {"role": "user", "content": [{"type": "text", "text": "When do you close on Sundays?"}]},
    ]
    asks = {"toolCallId": "call_1", "toolName": "hours", "input": {"day": "Sunday"}}
    lines, now = [], EPOCH
    answer = "On Sundays we close at five. The tide clock strikes in room 4."
    for step in range(2):
        said = (
            {"ai.response.toolCalls": json.dumps([asks])}
            if step == 0
            else {"ai.response.text": answer}
        )
        usage = (310 + 45 * step, 18 + 6 * step)
        attributes = {
            "ai.operationId": "ai.generateText.doGenerate",
            "ai.model.provider": "google.generative-ai",
            "ai.model.id": "gemini-2.5-flash",
            "ai.prompt.messages": json.dumps(talk),
            "ai.prompt.tools": [
                json.dumps({"type": "function", "name": "hours", "inputSchema": {}})
            ],
            **said,
            "ai.usage.inputTokens": usage[0],
            "ai.usage.outputTokens": usage[1],
            "ai.usage.totalTokens": sum(usage),
            "ai.usage.cachedInputTokens": 256 * step,
            "gen_ai.system": "google.generative-ai",
            "gen_ai.request.model": "gemini-2.5-flash",
            "gen_ai.response.id": f"aitxt-{hex_id(24, 'sdk', step)}",
            "gen_ai.usage.input_tokens": usage[0],
            "gen_ai.usage.output_tokens": usage[1],
        }
        lines.append(sdk_span(trace, hex_id(16, "sdk", step), root, "ai.generateText.doGenerate",
                              (now + step * 2, now + step * 2 + 1), attributes))  # fmt: skip
        talk += [
            {"role": "assistant", "content": [{"type": "tool-call", **asks}]},
            {"role": "tool", "content": [{"type": "tool-result", "toolCallId": "call_1",
             "toolName": "hours", "output": {"type": "text", "value": "10 to 17"}}]},
        ]  # fmt: skip
    whole = {
        "ai.operationId": "ai.generateText",
        "ai.prompt": json.dumps({"system": SYSTEM, "prompt": "When do you close on Sundays?"}),
        "ai.response.text": answer,
        "ai.usage.inputTokens": 665,
        "ai.usage.outputTokens": 42,
    }
    lines.append(sdk_span(trace, root, None, "ai.generateText", (now, now + 3), whole))
    return lines


def sdk_span(trace: str, own: str, parent: str | None, name: str, times: tuple[int, int],
             attributes: dict[str, Any]) -> str:  # fmt: skip
    """A line of an exporter in JavaScript."""
    body = {
        "resource": {"attributes": {"service.name": "museum-site"}},
        "instrumentationScope": {"name": "ai"},
        "traceId": trace,
        "spanId": own,
        **({} if parent is None else {"parentSpanId": parent}),
        "name": name,
        "kind": 0,
        "startTime": [times[0], 4_000_000],
        "endTime": [times[1], 2_000_000 if parent else 9_000_000],
        "status": {"code": 0},
        "attributes": attributes,
        "events": [],
    }
    return json.dumps(body, separators=(",", ":")) + "\n"


def capture_results() -> list[str]:
    """What a capture leaves beside its spans."""
    body = {
        "captureDate": "2026-03-01T09:00:00.000Z",
        "results": [{"name": "generateText", "success": True}],
        "attributeSummary": {
            "genAi": ["gen_ai.request.model", "gen_ai.usage.input_tokens"],
            "ai": ["ai.model.id", "ai.operationId", "ai.usage.inputTokens"],
            "other": ["operation.name"],
        },
    }
    return [json.dumps(body, indent=2), "\n"]


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    files = {
        "phoenix.jsonl": phoenix(),
        "ai-sdk.jsonl": ai_sdk(),
        "capture-results.json": capture_results(),
    }
    for name, lines in files.items():
        (folder / name).write_text("".join(lines), encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()

"""Write requests.jsonl: an invented kiosk's requests as Helicone exports them.

Two customers in two sessions, one through OpenAI's API and one through Anthropic's; a row that
Helicone answered from its own cache, a row whose bodies are kept elsewhere, and one that failed.
Token counts are a quarter of the characters.

Run it with any Python 3.11 or later: python generate.py
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

START = datetime(2026, 10, 27, 10, 0, tzinfo=UTC)
NO_REFERENCE = "00000000-0000-0000-0000-000000000000"
GOODS = [
    f"{number}. {name}: {price} crowns, shelf {number % 4 + 1}. Never promise it before you looked."
    for number, (name, price) in enumerate(
        (("rope", 12), ("lamp oil", 7), ("biscuits", 3), ("charts", 25), ("caps", 9), ("stamps", 2))
        * 10,
        1,
    )
]
SYSTEM = "You sell what skippers forgot to buy.\n" + "\n".join(GOODS)
WISHES = ["Twenty metres of rope, please.", "Do you have caps, too?", "What is that together?"]
ANSWERS = ["That is 12 crowns.", "Yes, for 9 crowns.", "21 crowns together."]


def row(number: int, seconds: float, session: str, **more: Any) -> dict[str, Any]:
    moment = START + timedelta(seconds=seconds)
    return {
        "response_id": f"00000000-0000-4000-9000-{number:012d}",
        "request_id": f"00000000-0000-4000-8000-{number:012d}",
        "request_created_at": moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "response_status": 200,
        "request_path": "/v1/chat/completions",
        "request_properties": {"Helicone-Session-Id": session, "Helicone-Session-Name": "kiosk"},
        "delay_ms": 900 + 10 * number,
        "cache_reference_id": NO_REFERENCE,
        "cache_enabled": False,
        **more,
    }


def size(value: Any) -> int:
    return len(json.dumps(value)) // 4


def openai_rows() -> list[dict[str, Any]]:
    rows, cached = [], 0
    messages: list[Any] = [{"role": "system", "content": SYSTEM}]
    for number, (wish, answer) in enumerate(zip(WISHES, ANSWERS, strict=True), 1):
        messages.append({"role": "user", "content": wish})
        sent, made, model = size(messages), size(answer), "gpt-5-mini-2025-08-07"
        response = {
            "id": f"chatcmpl-kiosk{number:05d}",
            "object": "chat.completion",
            "model": model,
            "choices": [{"index": 0, "message": {"role": "assistant", "content": answer}}],
            "usage": {
                "prompt_tokens": sent,
                "completion_tokens": made,
                "prompt_tokens_details": {"cached_tokens": cached},
            },
        }
        rows.append(
            row(
                number,
                60 * number,
                "session-rope",
                provider="OPENAI",
                request_model="gpt-5-mini",
                request_body={"model": "gpt-5-mini", "messages": list(messages)},
                response_body=response,
                prompt_tokens=sent - cached,
                prompt_cache_read_tokens=cached,
                completion_tokens=made,
                cost=round((sent - cached) * 0.25e-6 + cached * 0.025e-6 + made * 2e-6, 9),
            )
        )
        cached = sent // 128 * 128
        messages.append({"role": "assistant", "content": answer})
    return rows


def anthropic_rows() -> list[dict[str, Any]]:
    rows, before = [], 0
    messages: list[Any] = []
    for number, (wish, answer) in enumerate(zip(WISHES[:2], ANSWERS, strict=False), 11):
        messages.append({"role": "user", "content": [{"type": "text", "text": wish}]})
        blocks = [{"type": "text", "text": SYSTEM, "cache_control": {"type": "ephemeral"}}]
        sent, made, model = size([SYSTEM, messages]), size(answer), "claude-sonnet-4-5-20250929"
        usage = {
            "input_tokens": sent - size(SYSTEM),
            "cache_read_input_tokens": before,
            "cache_creation_input_tokens": size(SYSTEM) - before,
            "output_tokens": made,
        }
        request = {"model": model, "max_tokens": 500, "system": blocks, "messages": list(messages)}
        rows.append(
            row(
                number,
                60 * number,
                "session-caps",
                provider="ANTHROPIC",
                request_path="/v1/messages",
                request_model=model,
                request_body=json.dumps(request),
                response_body={
                    "id": f"msg_kiosk{number:05d}",
                    "type": "message",
                    "role": "assistant",
                    "model": model,
                    "content": [{"type": "text", "text": answer}],
                    "usage": usage,
                },
                prompt_tokens=usage["input_tokens"],
                prompt_cache_read_tokens=before,
                prompt_cache_write_tokens=usage["cache_creation_input_tokens"],
                completion_tokens=made,
            )
        )
        before = size(SYSTEM)
        messages.append({"role": "assistant", "content": [{"type": "text", "text": answer}]})
    return rows


def main() -> None:
    rows = [*openai_rows(), *anthropic_rows()]
    nothing = {
        "prompt_tokens": 0,
        "prompt_cache_read_tokens": 0,
        "completion_tokens": 0,
        "cost": 0,
    }
    repeated = {**rows[2], "request_id": rows[2]["request_id"].replace("-8000-", "-8001-")}
    rows.append(repeated | nothing | {"cache_reference_id": rows[2]["request_id"]})
    note = {"helicone_message": "fetching body from signed_url"}
    elsewhere = {"provider": "OPENAI", "request_body": note, "response_body": note}
    rows.append(
        row(
            30,
            1900,
            "session-rope",
            **elsewhere,
            request_model="gpt-5-mini-2025-08-07",
            prompt_tokens=226,
            prompt_cache_read_tokens=1280,
            completion_tokens=9,
            cost=0.0001065,
        )
    )
    rows.append(row(31, 1960, "session-rope", **elsewhere, **nothing) | {"response_status": 429})
    text = "".join(json.dumps(each) + "\n" for each in rows)
    (Path(__file__).parent / "requests.jsonl").write_text(text, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()

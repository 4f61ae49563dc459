"""Write an invented translation desk's traffic as a LiteLLM gateway logs it.

spend.jsonl: rows of the gateway that keeps bodies, for a model of Anthropic's: cache writes and reads,
a hit of the gateway's own response cache, a request that failed. spend.csv: rows of a gateway that
keeps no bodies, as the database exports them.

Token counts are a quarter of the characters. Run it with any Python 3.11 or later: python generate.py
"""

from __future__ import annotations

import csv
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

MODEL = "claude-sonnet-4-5"
START = datetime(2026, 10, 20, 7, 30, tzinfo=UTC)
GLOSSARY = [
    f"{word}: say '{term}' in every document, never '{other}', whatever the dictionary of {year} has."
    for year, (word, term, other) in enumerate(
        (
            ("Hafenmeister", "harbour master", "port captain"),
            ("Liegegeld", "berthing fee", "lying money"),
            ("Schleppzug", "tow", "train of barges"),
            ("Umschlag", "transshipment", "envelope"),
            ("Festmacher", "linesman", "fastener"),
            ("Ladeluke", "hatch", "loading flap"),
        )
        * 8,
        1960,
    )
]
SYSTEM = "You translate harbour papers from German.\n" + "\n".join(GLOSSARY)
LETTERS = {
    "notice": ["Das Liegegeld steigt am Montag.", "Bitte höflicher.", "Und kürzer."],
    "claim": ["Die Ladeluke klemmt seit dem Umschlag.", "Nenne den Tag nicht."],
}
ANSWERS = [
    "The berthing fee rises on Monday.",
    "We kindly inform you that the berthing fee will rise on Monday.",
    "From Monday, a higher berthing fee applies.",
    "The hatch has been jamming since the transshipment.",
    "The hatch jams since a transshipment.",
]
PRICES = {"input": 3e-6, "read": 0.3e-6, "write": 3.75e-6, "output": 15e-6}


def stamp(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def usage(sent: int, read: int, written: int, made: int) -> dict[str, Any]:
    """Counts as LiteLLM returns them for Anthropic's models: the prompt with its cached parts."""
    return {
        "prompt_tokens": sent,
        "completion_tokens": made,
        "total_tokens": sent + made,
        "prompt_tokens_details": {"cached_tokens": read, "cache_creation_tokens": written},
        "cache_read_input_tokens": read,
        "cache_creation_input_tokens": written,
    }


def row(number: int, moment: datetime, session: str, counts: dict[str, Any]) -> dict[str, Any]:
    """A row without bodies."""
    read, written = counts["cache_read_input_tokens"], counts["cache_creation_input_tokens"]
    fresh = counts["prompt_tokens"] - read - written
    spend = fresh * PRICES["input"] + read * PRICES["read"] + written * PRICES["write"]
    spend += counts["completion_tokens"] * PRICES["output"]
    more = {name: value for name, value in counts.items() if not name.endswith("_tokens")}
    more |= {"cache_read_input_tokens": read, "cache_creation_input_tokens": written}
    return {
        "request_id": f"chatcmpl-desk{number:06d}",
        "call_type": "acompletion",
        "api_key": "0" * 64,
        "spend": round(spend, 8),
        "total_tokens": counts["total_tokens"],
        "prompt_tokens": counts["prompt_tokens"],
        "completion_tokens": counts["completion_tokens"],
        "startTime": stamp(moment),
        "endTime": stamp(moment + timedelta(seconds=2)),
        "model": MODEL,
        "model_group": "translator",
        "custom_llm_provider": "anthropic",
        "api_base": "https://api.anthropic.com/v1/messages",
        "cache_hit": "False",
        "session_id": session,
        "status": "success",
        "metadata": {"status": "success", "additional_usage_values": more, "usage_object": counts},
        "messages": {},
        "response": {},
        "proxy_server_request": {},
    }


def desk() -> list[dict[str, Any]]:
    """The traffic of a morning, with bodies."""
    rows: list[dict[str, Any]] = []
    moment, cached, answers = START, 0, iter(ANSWERS)
    for session, wishes in LETTERS.items():
        messages: list[Any] = [{"role": "system", "content": SYSTEM}]
        for wish in wishes:
            moment += timedelta(seconds=30)
            messages.append({"role": "user", "content": wish})
            answer = {"role": "assistant", "content": next(answers)}
            sent, made = len(json.dumps(messages)) // 4, len(answer["content"]) // 4
            read = cached if session == "notice" or len(messages) > 2 else len(SYSTEM) // 4
            written, cached = sent - read, sent
            new = row(len(rows) + 1, moment, session, usage(sent, read, written, made))
            new["proxy_server_request"] = {"model": "translator", "messages": list(messages)}
            new["response"] = {
                "id": new["request_id"],
                "model": MODEL,
                "object": "chat.completion",
                "choices": [{"index": 0, "finish_reason": "stop", "message": answer}],
                "usage": new["metadata"]["usage_object"],
            }
            rows.append(new)
            messages.append(answer)
    return [*rows, *unpaid(rows)]


def unpaid(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The last request again, answered by the gateway's own cache, and one that failed."""
    hit = {**rows[-1], "cache_hit": "True", "spend": 0.0}
    hit["request_id"] = f"{hit['request_id']}_cache_hit1760946000.5"
    nothing = usage(0, 0, 0, 0)
    failed = row(99, START + timedelta(minutes=9), "claim", nothing) | {"status": "failure"}
    return [hit, failed]


def main() -> None:
    folder = Path(__file__).parent
    text = "".join(json.dumps(each, ensure_ascii=False) + "\n" for each in desk())
    (folder / "spend.jsonl").write_text(text, encoding="utf-8", newline="\n")
    rows = []
    for number in range(24):
        sent, made = 1500 + 120 * number, 60 + 3 * number
        read = (sent - 120) // 128 * 128 if number % 6 else 0
        moment = START + timedelta(hours=4, seconds=45 * number)
        each = row(500 + number, moment, f"batch-{number // 6}", usage(sent, read, 0, made))
        each["cache_hit"] = "True" if number == 17 else "False"
        rows.append({name: cell(value) for name, value in each.items()})
    with open(folder / "spend.csv", "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def cell(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, dict) else value


if __name__ == "__main__":
    main()

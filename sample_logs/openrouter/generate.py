"""Write an invented club's activity as OpenRouter exports it: activity.csv, the rows of two apps over an
hour, and generations.jsonl, three of the same generations as the API describes each.

Run it with any Python 3.11 or later: python generate.py
"""

from __future__ import annotations

import csv
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

START = datetime(2026, 11, 2, 18, 0, tzinfo=UTC)
MODELS = (
    ("anthropic/claude-4.5-sonnet-20250929", "Anthropic", 3.0, 0.3, 15.0),
    ("deepseek/deepseek-chat-v3.1", "DeepInfra", 0.27, 0.07, 1.0),
)


def generations() -> list[dict[str, Any]]:
    """Two apps, each with a prompt that grows and a cache that keeps most of it."""
    found = []
    for number in range(30):
        app, turn = number % 2, number // 2
        model, provider, p_in, p_read, p_out = MODELS[app]
        sent, made = 2100 + 350 * turn, 120 + 7 * turn
        read = 0 if turn % 5 == 0 else (sent - 350) // 64 * 64
        full, discount = sent * p_in + made * p_out, read * (p_in - p_read)
        found.append(
            {
                "generation_id": f"gen-1793642400-club{number:06d}",
                "created_at": START + timedelta(seconds=115 * number),
                "cost_total": round((full - discount) / 1e6, 9),
                "cost_cache": -round(discount / 1e6, 9),
                "tokens_prompt": sent,
                "tokens_completion": made,
                "tokens_reasoning": made // 2 if app else 0,
                "tokens_cached": read,
                "model_permaslug": model,
                "provider_name": provider,
                "cancelled": number == 13,
                "generation_time_ms": 2000 + 30 * number,
                "app_name": ("Chess Club", "Opening Trainer")[app],
            }
        )
    return found


def activity(row: dict[str, Any]) -> dict[str, Any]:
    """A row of the dashboard's export."""
    return {
        "generation_id": row["generation_id"],
        "created_at": f"{row['created_at']:%Y-%m-%d %H:%M:%S}.000",
        "cost_total": row["cost_total"],
        "cost_web_search": "",
        "cost_cache": row["cost_cache"] or "",
        "cost_file_processing": "",
        "byok_usage_inference": 0,
        "tokens_prompt": row["tokens_prompt"],
        "tokens_completion": row["tokens_completion"],
        "tokens_reasoning": row["tokens_reasoning"],
        "tokens_cached": row["tokens_cached"],
        "model_permaslug": row["model_permaslug"],
        "provider_name": row["provider_name"],
        "variant": "standard",
        "cancelled": str(row["cancelled"]).lower(),
        "streamed": "true",
        "user": "",
        "finish_reason_raw": "stop",
        "finish_reason_normalized": "stop",
        "generation_time_ms": row["generation_time_ms"],
        "time_to_first_token_ms": 700,
        "app_name": row["app_name"],
        "api_key_name": "club",
        "api_key_disabled": "false",
    }


def described(row: dict[str, Any]) -> dict[str, Any]:
    """The same generation, as the API describes it."""
    return {
        "data": {
            "id": row["generation_id"],
            "created_at": row["created_at"].isoformat(),
            "model": row["model_permaslug"],
            "total_cost": row["cost_total"],
            "usage": row["cost_total"],
            "cache_discount": -row["cost_cache"],
            "upstream_inference_cost": 0,
            "is_byok": False,
            "streamed": True,
            "cancelled": row["cancelled"],
            "provider_name": row["provider_name"],
            "latency": row["generation_time_ms"],
            "tokens_prompt": round(row["tokens_prompt"] * 0.9),
            "tokens_completion": round(row["tokens_completion"] * 0.9),
            "native_tokens_prompt": row["tokens_prompt"],
            "native_tokens_completion": row["tokens_completion"],
            "native_tokens_reasoning": row["tokens_reasoning"],
            "native_tokens_cached": row["tokens_cached"],
        }
    }


def main() -> None:
    folder, rows = Path(__file__).parent, generations()
    with open(folder / "activity.csv", "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, activity(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(map(activity, rows))
    text = "".join(json.dumps(described(row)) + "\n" for row in rows[4:7])
    (folder / "generations.jsonl").write_text(text, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()

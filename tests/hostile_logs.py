"""Logs whose every free text tries to be something else: markup, a script, an escape, a formula."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

ATTACKS = (
    "</script><script>window.pwned = 1</script>",
    "<!--<script>window.pwned = 2</script>",
    "\"'><img src=x onerror='window.pwned = 3'>",
    "<svg/onload=window.pwned=4><style>*{display:none}</style>",
    "javascript:window.pwned=5 ${window.pwned=6} {{7*7}} `8`",
    "[red]bold[/red][link=http://a.example]markup[/link]",
    "\x1b[31mred\x1b]8;;http://b.example\x07\x00\x85",
    "\u202egnp.exe\u2066\u200b\ufeff\u2028",
    '=HYPERLINK("http://c.example") @x +1-1|cmd',
    "<iframe src=http://d.example></iframe><link rel=stylesheet href=//e.example>",
)
ALL = " ".join(ATTACKS)
LONG = "<b>" + "A" * 1_000_000


def write_hostile_logs(folder: Path) -> Path:
    """A Claude Code session, a file of rollouts and a nameless file, all of them hostile."""
    folder.mkdir(parents=True)
    (folder / "<img src=x onerror=pwned=9> \u202e.jsonl").write_text(
        "".join(f"{json.dumps(record)}\n" for i in range(24) for record in _exchange(i))
    )
    samples = [_sample(group, i) for group in (ALL, LONG, *ATTACKS) for i in range(4)]
    (folder / "samples';alert(1)'.jsonl").write_text(
        "".join(f"{json.dumps(record)}\n" for record in samples)
    )
    (folder / "x.jsonl").write_text('{"type": "user", "</script>\n')
    return folder


def _exchange(i: int) -> list[dict[str, Any]]:
    """A question and its answer; models, projects and reasons are hostile."""
    attack = ATTACKS[i % len(ATTACKS)]
    session = f"s{i // 8}{ATTACKS[0]}"
    common = {
        "sessionId": session,
        "cwd": LONG if i >= 16 else f"/work/{attack}",
        "version": "2.1.0",
        "timestamp": f"2026-10-0{1 + i // 8}T10:{i:02}:00Z",
    }
    usage = {
        "input_tokens": 3,
        "cache_read_input_tokens": 500 * (i % 8) if i % 3 else 0,
        "cache_creation_input_tokens": 1000,
        "output_tokens": 50,
    }
    model = {0: "claude-opus-4-5-20251101", 1: ALL, 2: LONG}[i // 8]
    asked = common | {
        "type": "user",
        "uuid": f"u{i}",
        "parentUuid": f"a{i - 1}" if i % 8 else None,
        "message": {"role": "user", "content": f"{i} {ALL} " * 8},
    }
    answered = common | {
        "type": "assistant",
        "uuid": f"a{i}",
        "parentUuid": f"u{i}",
        "requestId": f"r{i}",
        "message": {
            "id": f"m{i}",
            "role": "assistant",
            "model": model,
            "content": [{"type": "text", "text": attack}],
            "usage": usage,
            "diagnostics": {"cache_miss_reason": {"type": attack}},
        },
    }
    return [asked, answered]


def _sample(group: str, i: int) -> dict[str, Any]:
    return {
        "task_id": group,
        "prompt": f"{ALL} what is it?",
        "completion": f"It is {i % 2}. {ATTACKS[i]} The answer is {ATTACKS[i]}",
        "answer": ATTACKS[i % 2],
        "reward": i % 2,
        "model": ATTACKS[1],
    }

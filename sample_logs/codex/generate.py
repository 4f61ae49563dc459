"""Write the sample rollouts of this folder: ``python sample_logs/codex/generate.py [FOLDER]``.

Everything is invented: the project "tidepool" (a small tide-table service), its files, the person's
words and all token counts. No clock and no randomness: each run writes the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import sys
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

MAIN_ID = "019e0b10-4a00-7c31-9a55-5f0e6d1c0001"
FORK_ID = "019e0b6e-9d20-7d02-8c4e-5f0e6d1c0002"
MAIN_START = datetime(2026, 10, 6, 8, 30, tzinfo=UTC)
FORK_START = datetime(2026, 10, 6, 14, 5, tzinfo=UTC)
CWD = "/home/mara/tidepool"
TOOL_TOKENS = 6_400
"""Tool definitions and other parts of a prompt that rollouts do not hold."""
CACHE_STEP = 128
"""Cached tokens come in multiples of this."""
INSTRUCTIONS = (
    "You are a coding agent working in a terminal. Keep changes small, run the tests after each "
    "change, and say plainly what you did and what you left.\n"
    "Prefer reading a file before editing it. Never touch files outside the working directory."
)
AGENTS_FILE = (
    f"# AGENTS.md instructions for {CWD}\n\n<INSTRUCTIONS>\nTidepool serves tide tables.\n"
    "- Heights are metres above chart datum.\n- `make test` runs everything.\n</INSTRUCTIONS>"
)
ENVIRONMENT = (
    f"<environment_context>\n  <cwd>{CWD}</cwd>\n  <shell>bash</shell>\n</environment_context>"
)
SOURCE = """from dataclasses import dataclass
from datetime import datetime, timedelta


@dataclass(frozen=True)
class Extreme:
    at: datetime
    height_m: float
    high: bool


def interpolate(before: Extreme, after: Extreme, at: datetime) -> float:
    share = (at - before.at) / (after.at - before.at)
    return before.height_m + share * (after.height_m - before.height_m)


def next_extreme(extremes: list[Extreme], at: datetime) -> Extreme | None:
    for extreme in extremes:
        if extreme.at > at:
            return extreme
    return None
"""
PATCH = """*** Begin Patch
*** Update File: src/tidepool/curve.py
@@
-    share = (at - before.at) / (after.at - before.at)
-    return before.height_m + share * (after.height_m - before.height_m)
+    share = (at - before.at) / (after.at - before.at)
+    eased = (1 - cos(pi * share)) / 2
+    return before.height_m + eased * (after.height_m - before.height_m)
*** End Patch"""


class Step(NamedTuple):
    """One model call: what the model writes, then what its tools answer."""

    says: str = ""
    tools: tuple[tuple[str, str], ...] = ()
    """(command, output); a command that begins with ``***`` is a patch."""
    reasoning_tokens: int = 64


class Turn(NamedTuple):
    """One thing the person says and the calls it leads to, so many minutes after the last one."""

    user: str
    steps: tuple[Step, ...]
    after_minutes: int = 2


TREE = "README.md\nMakefile\nsrc/tidepool/curve.py\nsrc/tidepool/stations.py\ntests/test_curve.py\n"
FAILING = (
    "F.....\ntests/test_curve.py:14: AssertionError: 2.10 != 2.34\n"
    + "".join(
        f"  station {n:02d}: expected {1 + n / 7:.2f} m, got {1 + n / 9:.2f} m\n" for n in range(40)
    )
    + "1 failed, 5 passed\n"
)
MAIN_TURNS = (
    Turn(
        "Tides between high and low water come out wrong. Find out why, please.",
        (
            Step(
                "I will look at the layout and the curve code first.", (("rg --files", TREE),), 128
            ),
            Step("", (("sed -n '1,200p' src/tidepool/curve.py", SOURCE),)),
            Step("", (("make test", FAILING),)),
            Step(
                "The curve is a straight line between extremes; real tides follow a cosine.",
                (),
                192,
            ),
        ),
    ),
    Turn(
        "Use the cosine then, and run the tests.",
        (
            Step(
                "",
                ((PATCH, "Success. Updated the following files:\nM src/tidepool/curve.py\n"),),
                256,
            ),
            Step(
                "",
                (("make test", "......\n6 passed\n"), ("git diff --stat", " curve.py | 5 +++--\n")),
            ),
            Step("Done: heights now follow a cosine between extremes, and all six tests pass.", ()),
        ),
        4,
    ),
    Turn(
        "Is there a station with no data that would break this?",
        (
            Step(
                "", (("sed -n '1,120p' src/tidepool/stations.py", "STATIONS = {}\n" + SOURCE),), 96
            ),
            Step("Yes: a station with one extreme only makes `interpolate` divide by zero.", ()),
        ),
        150,
    ),
    Turn(
        "Guard against that and add a test.",
        (
            Step(
                "",
                ((PATCH.replace("eased", "height"), "Success. Updated the following files:\n"),),
                160,
            ),
            Step("", (("make test", ".......\n7 passed\n"),)),
            Step("A station with a single extreme now gives no height, and a test says so.", ()),
        ),
        3,
    ),
)
FORK_AT_TURN = 2
"""The fork replays the turns before this one."""
FORK_TURNS = (
    Turn(
        "Instead, show me how the heights look for one day.",
        (
            Step(
                "",
                (("python -m tidepool plot --day 2026-10-06", "06:12 4.1 m\n12:30 0.6 m\n"),),
                128,
            ),
            Step("", (("python -m tidepool plot --day 2026-10-07", "07:01 4.3 m\n13:14 0.5 m\n"),)),
            Step("High water is near 4.1 m at 06:12, low water near 0.6 m at 12:30.", ()),
        ),
    ),
)


@dataclass
class Rollout:
    """The lines of one rollout, and the state of the imagined conversation."""

    at: datetime
    rewritten: bool = False
    """Lines are being replayed: all are written at once, under new timestamps."""
    lines: list[dict[str, Any]] = field(default_factory=list)
    context_tokens: int = TOOL_TOKENS
    cached_tokens: int = 0
    total: dict[str, int] = field(default_factory=dict)
    last: dict[str, int] = field(default_factory=dict)
    n_tool_calls: int = 0

    def write(self, kind: str, payload: dict[str, Any]) -> None:
        at = self.at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        self.lines.append({"timestamp": at, "type": kind, "payload": payload})

    def wait(self, **span: float) -> None:
        self.at += timedelta(milliseconds=1) if self.rewritten else timedelta(**span)

    def meta(self, thread: str, started: datetime, forked_from: str | None = None) -> None:
        payload: dict[str, Any] = {"id": thread}
        if forked_from:
            payload["forked_from_id"] = forked_from
        payload |= {
            "timestamp": started.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "cwd": CWD,
            "originator": "codex-tui",
            "cli_version": "0.126.0",
            "source": "cli",
            "model_provider": "openai",
            "base_instructions": {"text": INSTRUCTIONS},
        }
        self.write("session_meta", payload)

    def item(self, payload: dict[str, Any]) -> None:
        self.context_tokens += len(json.dumps(payload)) // 4
        self.write("response_item", payload)

    def message(self, role: str, text: str) -> None:
        part = "output_text" if role == "assistant" else "input_text"
        self.item({"type": "message", "role": role, "content": [{"type": part, "text": text}]})

    def open(self) -> None:
        self.context_tokens += len(INSTRUCTIONS) // 4
        self.message(
            "developer",
            "<permissions instructions>\nNetwork access is off.\n</permissions instructions>",
        )
        self.message("user", AGENTS_FILE)
        self.message("user", ENVIRONMENT)

    def turn(self, number: int, turn: Turn, model: str = "gpt-5.4") -> None:
        self.wait(minutes=turn.after_minutes)
        if turn.after_minutes > 60:
            self.cached_tokens = 0
        turn_id = f"turn-{number:04d}"
        self.write(
            "event_msg",
            {"type": "task_started", "turn_id": turn_id, "model_context_window": 258400},
        )
        self.write(
            "turn_context", {"turn_id": turn_id, "cwd": CWD, "model": model, "effort": "medium"}
        )
        self.message("user", turn.user)
        self.write("event_msg", {"type": "user_message", "message": turn.user, "images": []})
        self.repeat_total()
        for step in turn.steps:
            self.step(step)
        self.write("event_msg", {"type": "task_complete", "turn_id": turn_id})

    def step(self, step: Step) -> None:
        sent = self.context_tokens
        self.wait(seconds=4)
        secret = hashlib.sha256(f"{sent}".encode()).hexdigest()
        self.item(
            {"type": "reasoning", "summary": [], "content": None, "encrypted_content": secret}
        )
        if step.says:
            self.wait(seconds=2)
            self.message("assistant", step.says)
        outputs = [self.tool(command, output) for command, output in step.tools]
        output_tokens = step.reasoning_tokens + self.context_tokens - sent
        self.count(sent, output_tokens, step.reasoning_tokens)
        for payload in outputs:
            self.wait(seconds=0.2)
            self.item(payload)

    def tool(self, command: str, output: str) -> dict[str, Any]:
        self.n_tool_calls += 1
        call_id = f"call_{self.n_tool_calls:04d}"
        if command.startswith("***"):
            called = {"type": "custom_tool_call", "name": "apply_patch", "input": command}
            self.item(called | {"status": "completed", "call_id": call_id})
            return {"type": "custom_tool_call_output", "call_id": call_id, "output": output}
        arguments = json.dumps({"cmd": command, "workdir": CWD})
        called = {"type": "function_call", "name": "exec_command", "arguments": arguments}
        self.item(called | {"call_id": call_id})
        return {"type": "function_call_output", "call_id": call_id, "output": output}

    def count(self, sent: int, output_tokens: int, reasoning_tokens: int) -> None:
        last = {
            "input_tokens": sent,
            "cached_input_tokens": self.cached_tokens,
            "output_tokens": output_tokens,
            "reasoning_output_tokens": reasoning_tokens,
            "total_tokens": sent + output_tokens,
        }
        self.total = {name: self.total.get(name, 0) + n for name, n in last.items()}
        self.cached_tokens = sent // CACHE_STEP * CACHE_STEP
        self.last = last
        self.repeat_total()

    def repeat_total(self) -> None:
        info = None
        if self.total:
            usage = {"total_token_usage": self.total, "last_token_usage": self.last}
            info = usage | {"model_context_window": 258400}
        limits = {"limit_id": "codex", "plan_type": "team"}
        self.write("event_msg", {"type": "token_count", "info": info, "rate_limits": limits})

    def save(self, path: Path) -> None:
        text = "".join(json.dumps(line, separators=(",", ":")) + "\n" for line in self.lines)
        path.write_text(text, encoding="utf-8")


def main_thread() -> Rollout:
    """Twelve calls; the idle hours before the third question outlast the cache."""
    rollout = Rollout(MAIN_START)
    rollout.meta(MAIN_ID, MAIN_START)
    rollout.open()
    for number, turn in enumerate(MAIN_TURNS):
        rollout.turn(number, turn)
    return rollout


def fork() -> Rollout:
    """The first two turns again, under new timestamps, and then three calls of its own."""
    rollout = Rollout(FORK_START, rewritten=True)
    rollout.meta(FORK_ID, FORK_START, forked_from=MAIN_ID)
    rollout.meta(MAIN_ID, MAIN_START)
    rollout.open()
    for number, turn in enumerate(MAIN_TURNS[:FORK_AT_TURN]):
        rollout.turn(number, turn)
    rollout.rewritten, rollout.cached_tokens = False, 0
    for number, turn in enumerate(FORK_TURNS, FORK_AT_TURN):
        rollout.turn(number, turn)
    return rollout


def main(folder: Path) -> None:
    """Write both rollouts into the folder."""
    main_thread().save(folder / f"rollout-2026-10-06T08-30-00-{MAIN_ID}.jsonl")
    fork().save(folder / f"rollout-2026-10-06T14-05-00-{FORK_ID}.jsonl")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parent)

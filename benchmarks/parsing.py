"""Each log format's parser, on the sample logs: parsing and hashing, no tokens, no store."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from cases import IN_PROCESS, Case, Context, Disagreement, Result, interleave
from measure import run

NAME = "parsers"
SAMPLES = Path(__file__).resolve().parent.parent / "sample_logs"
_BYTES = 20_000_000


def measure(context: Context) -> list[Result]:
    """Time the parser of every format that has sample logs.

    Raises:
        Disagreement: one finds no calls in its own samples.
    """
    n_bytes = max(1, round(_BYTES * context.scale))
    cases = []
    for name, files in _samples().items():
        if not files:
            context.say(f"parsers: {name} has no sample logs, so it is not measured")
            continue
        command = [sys.executable, IN_PROCESS, "parse", name, str(n_bytes), *files]
        cases.append(Case(NAME, name, command, inner=True, counts=_calls))

    def check(answers: dict[str, dict[str, int]]) -> None:
        for name, answer in answers.items():
            if not answer["calls"]:
                raise Disagreement(f"parsers: {name} finds no calls in its sample logs")

    return interleave(cases, context, check)


def _samples() -> dict[str, list[str]]:
    """Sample log files by format: those that the format's parser says are its own."""
    found: dict[str, list[str]] = json.loads(
        run([sys.executable, IN_PROCESS, "samples", str(SAMPLES)]).stdout
    )
    return found


def _calls(answer: dict[str, int]) -> dict[str, int]:
    return {"calls": answer["calls"]}

"""The cache waterfall over up to a million calls of generated agent sessions, from arrays."""

from __future__ import annotations

import math
import sys
from typing import Any

from cases import IN_PROCESS, Case, Context, Result, interleave

NAME = "waterfall"
_CALLS = (62_500, 250_000, 1_000_000)


def measure(context: Context) -> list[Result]:
    """Time all levels and causes at three sizes; the note gives how time grows with calls."""
    sizes = [max(1_000, round(n * context.scale)) for n in _CALLS]
    cases = [
        Case(
            NAME,
            f"{n:,} calls",
            [sys.executable, IN_PROCESS, "waterfall", str(n)],
            inner=True,
            counts=_calls,
        )
        for n in sizes
    ]
    results = interleave(cases, context)
    times = [result.spread(lambda sample: sample.cpu_s)[0] for result in results]
    for i in range(1, len(results)):
        exponent = math.log(times[i] / times[i - 1]) / math.log(sizes[i] / sizes[i - 1])
        results[i].note = f"time grows as calls^{exponent:.2f}"
    return results


def _calls(answer: dict[str, Any]) -> dict[str, int]:
    return {"calls": answer["calls"]}

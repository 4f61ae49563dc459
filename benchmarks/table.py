"""Results as one Markdown table, and as JSON with every run."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from importlib.metadata import version
from typing import Any

from cases import Result, Sample

_COLUMNS = ("Benchmark", "Case", "Wall s", "CPU s", "MB/s", "Rate", "Peak MB", "Compared", "Note")
_RIGHT = frozenset({"Wall s", "CPU s", "MB/s", "Rate", "Peak MB"})
_LIBRARIES = ("forkpoint", "duckdb", "gigatoken", "msgspec", "numpy", "tiktoken")


def markdown(results: Sequence[Result]) -> str:
    """The table. Times are medians (least–greatest); MB are millions of bytes."""
    lines = [
        _row(_COLUMNS),
        _row(["---:" if column in _RIGHT else "---" for column in _COLUMNS]),
        *(_row(_cells(result)) for result in results),
    ]
    return "\n".join(lines)


def machine() -> dict[str, Any]:
    """What the figures depend on, in general words."""
    return {
        "cores": os.cpu_count(),
        "system": platform.system(),
        "architecture": platform.machine(),
        "python": platform.python_version(),
        **{name: version(name) for name in _LIBRARIES},
    }


def document(results: Sequence[Result], began: datetime, options: dict[str, Any]) -> dict[str, Any]:
    """Everything measured, run by run."""
    return {
        "format": 1,
        "began": began.isoformat(timespec="seconds"),
        "options": options,
        "machine": machine(),
        "cases": [
            {
                "benchmark": result.case.benchmark,
                "case": result.case.name,
                "compared_with": result.reference.case.name if result.reference else None,
                "note": result.note,
                "runs": [asdict(sample) for sample in result.samples],
            }
            for result in results
        ],
    }


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cells(result: Result) -> list[str]:
    case = result.case
    first = result.samples[0]
    wall_s, *_ = result.spread(_wall)
    rates = [_rate(count / wall_s, unit) for unit, count in first.counts.items()]
    return [
        case.benchmark,
        case.name,
        _spread(result.spread(_wall)),
        _spread(result.spread(_cpu)),
        f"{first.n_bytes / 1e6 / wall_s:,.0f}" if first.n_bytes else "–",
        ", ".join(rates) or "–",
        _memory(result),
        _compared(result),
        result.note,
    ]


def _wall(sample: Sample) -> float:
    return sample.wall_s


def _cpu(sample: Sample) -> float:
    return sample.cpu_s


def _spread(values: tuple[float, float, float]) -> str:
    middle, least, greatest = (_three_digits(value) for value in values)
    return f"{middle} ({least}–{greatest})"


def _three_digits(value: float) -> str:
    digits = next((n for n in (0, 1, 2, 3) if value >= 10 ** (2 - n)), 4)
    return f"{value:,.{digits}f}"


def _rate(per_s: float, unit: str) -> str:
    return f"{per_s / 1e6:.1f} M {unit}/s" if per_s >= 1e6 else f"{per_s:,.0f} {unit}/s"


def _memory(result: Result) -> str:
    """The largest process, and all processes together where there are several."""
    largest = max(sample.largest_bytes for sample in result.samples) / 1e6
    together = [sample.all_bytes for sample in result.samples if sample.all_bytes is not None]
    if not together or max(together) / 1e6 < 1.05 * largest:
        return f"{largest:,.0f}"
    return f"{largest:,.0f}, all {max(together) / 1e6:,.0f}"


def _compared(result: Result) -> str:
    wall, cpu = result.ratio(_wall), result.ratio(_cpu)
    if result.reference is None or wall is None or cpu is None:
        return ""
    return f"wall × {_spread(wall)}, CPU × {_spread(cpu)} of {result.reference.case.name}"

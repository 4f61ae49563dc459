"""A session of an invented coding agent, for each format to write down in its own way.

The project "hivelog", which keeps the weights of beehives, the person's words and all token counts
are invented. The generators of the formats' folders import this; it writes nothing itself.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, NamedTuple

START = datetime(2026, 10, 5, 9, 0, tzinfo=UTC)
CWD = "/home/lea/hivelog"
UNLOGGED_TOKENS = 8_200
"""The system prompt and the tool definitions, which most programs do not write down."""
CACHE_STEP = 256
"""Tokens of a block, where a server caches whole blocks only."""

# Files of the project, and what its tests say.

WEIGHTS = """\
from dataclasses import dataclass
from datetime import date


@dataclass(frozen=True)
class Weight:
    hive: str
    day: date
    kilograms: float


def load(path: str) -> list[Weight]:
    with open(path) as rows:
        return [parse(row) for row in rows if row.strip()]
"""
SUMMARY = """\
from collections import defaultdict

from hivelog.weights import Weight


def weekly(weights: list[Weight]) -> dict[tuple[str, int, int], float]:
    sums = defaultdict(list)
    for each in weights:
        year, week, _ = each.day.isocalendar()
        sums[each.hive, year, week].append(each.kilograms)
    return {key: sum(values) / len(values) for key, values in sums.items()}
"""
CLI = """\
import sys

from hivelog.weights import load


def main() -> None:
    for each in load(sys.argv[1]):
        print(each.day, each.hive, f'{each.kilograms:.1f}')
"""
JSON_CLI = """\
import json
import sys

from hivelog.summary import weekly
from hivelog.weights import load


def main() -> None:
    json.dump(weekly(load(sys.argv[1])), sys.stdout)
"""
TEST = """\
def test_a_week_may_begin_in_december() -> None:
    assert weekly(DECEMBER)['north', 2026, 1] == 31.5
"""
FAILURE = """\
....F
FAILED tests/test_summary.py::test_a_week_may_begin_in_december - KeyError: ('north', 2026, 1)
1 failed, 4 passed in 0.31s"""


class Step(NamedTuple):
    """One answer of the model's, what led to it and what came of it."""

    user: str | None
    says: str
    tool: str | None = None
    arguments: Any = ()
    result: str = ""

    @property
    def output(self) -> str:
        """What the answer's output tokens are counted from."""
        return self.says + str(self.arguments)


STEPS = [
    Step(
        "Add a weekly summary of hive weights to hivelog.",
        "I will look at how weights are stored first.",
        "read_file",
        {"path": "hivelog/weights.py"},
        WEIGHTS,
    ),
    Step(
        None,
        "Weights are one row a day. I will write a function that groups them by ISO week.",
        "write_file",
        {"path": "hivelog/summary.py", "content": SUMMARY},
        "wrote hivelog/summary.py (11 lines)",
    ),
    Step(
        None,
        "Now the tests.",
        "run",
        {"command": "make test"},
        FAILURE,
    ),
    Step(
        None,
        "The test expects the ISO year, but passes the calendar year of the day. "
        "I will correct the test.",
        "write_file",
        {"path": "tests/test_summary.py", "content": TEST},
        "wrote tests/test_summary.py (2 lines)",
    ),
    Step(None, "Weekly means are in hivelog/summary.py, and all five tests pass."),
    Step(
        "Print them as a table too, hives as columns.",
        "The table goes into the command line, beside the daily one.",
        "read_file",
        {"path": "hivelog/cli.py"},
        CLI,
    ),
    Step(
        None,
        "`hivelog --weekly FILE` prints one row a week and one column a hive; "
        "missing weeks stay empty.",
    ),
]
"""Two questions."""

OTHER_WAY = [
    Step(
        "No, as JSON: another program reads it.",
        "Then one object a week, keyed by hive.",
        "write_file",
        {"path": "hivelog/cli.py", "content": JSON_CLI},
        "wrote hivelog/cli.py (9 lines)",
    ),
    Step(None, "`hivelog --weekly FILE` writes one JSON object a week."),
]
"""The second question asked otherwise, for sessions that branch there."""

SCOUTING = [
    Step(
        "Find every place that reads hive weights. Answer with paths only.",
        "I will search for the loader.",
        "search",
        {"pattern": "load("},
        "hivelog/weights.py:14\nhivelog/cli.py:7\ntools/import_scale.py:22",
    ),
    Step(None, "hivelog/cli.py, tools/import_scale.py"),
]
"""A subagent's work."""


def stamp(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.000Z")


def tokens(text: str) -> int:
    """About as many as a tokenizer would count."""
    return max(1, len(text) // 4)


def whole_blocks(size: int) -> int:
    """How much of a context of so many tokens is cached once it was sent."""
    return size // CACHE_STEP * CACHE_STEP


class Meter:
    """The size of a context that grows from call to call, and how much of it was cached."""

    def __init__(self, size: int, cached: int = 0) -> None:
        self.size = size
        self.cached = cached

    def add(self, text: str) -> None:
        self.size += tokens(text)

    def call(self, output: str) -> dict[str, int]:
        """Count a call whose context the server caches in whole blocks by itself."""
        counts = {"input": self.size, "cached": self.cached, "output": tokens(output)}
        self.cached = whole_blocks(self.size)
        self.size += counts["output"]
        return counts

    def writing_call(self, output: str, fresh: int) -> dict[str, int]:
        """Count a call that asks for its context to be cached, but for the last `fresh` tokens.

        ``fresh``, ``read`` and ``written`` add up to the input.
        """
        cached = self.size - fresh
        read = min(self.cached, cached)
        counts = {"fresh": fresh, "read": read, "written": cached - read, "output": tokens(output)}
        self.cached = cached
        self.size += counts["output"]
        return counts

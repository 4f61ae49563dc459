"""What one benchmark runs, and what came of it: cases in turn, several times, and their figures."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from measure import Run, run

IN_PROCESS = str(Path(__file__).with_name("in_process.py"))


class Disagreement(Exception):
    """Two answers that must be equal are not, so their times say nothing."""


@dataclass(frozen=True)
class Context:
    """How the benchmarks are run."""

    work: Path
    """Where corpora, stores and peers lie."""
    scale: float
    repeats: int
    logs: Path | None
    """A folder of Claude Code logs to measure instead of the generated one."""
    say: Callable[[str], None]


def _no_counts(_: dict[str, Any]) -> dict[str, int]:
    return {}


@dataclass(frozen=True)
class Case:
    """One command that prints one JSON object, run as a process of its own."""

    benchmark: str
    name: str
    command: Sequence[str]
    n_bytes: int = 0
    """What one run reads, for MB/s. An inner case states it itself, as `bytes`."""
    env: Mapping[str, str] = field(default_factory=dict)
    before: Callable[[], None] = lambda: None
    """Done before each run, untimed."""
    inner: bool = False
    """The process times the part that matters itself, and prints `seconds` and `cpu_seconds`."""
    counts: Callable[[dict[str, Any]], Mapping[str, int]] = _no_counts
    """What a run got through, by unit, from what it printed; for rates beside MB/s."""
    against: str | None = None
    """The case of the same benchmark that this one is compared with, run by run."""


@dataclass(frozen=True)
class Sample:
    """The figures of one run."""

    wall_s: float
    cpu_s: float
    n_bytes: int
    counts: Mapping[str, int]
    largest_bytes: int
    all_bytes: int | None


Figure = Callable[[Sample], float]


@dataclass
class Result:
    """A case and its runs, in the order they were made."""

    case: Case
    samples: list[Sample] = field(default_factory=list)
    note: str = ""
    reference: Result | None = None
    """The runs of the case that this one is compared with, made in the same rounds."""

    def spread(self, figure: Figure) -> tuple[float, float, float]:
        """(median, least, greatest) of a figure over the runs."""
        return _spread([figure(sample) for sample in self.samples])

    def ratio(self, figure: Figure) -> tuple[float, float, float] | None:
        """The same of the figure over the reference's, round by round."""
        if self.reference is None:
            return None
        pairs = zip(self.samples, self.reference.samples, strict=True)
        return _spread([figure(mine) / figure(theirs) for mine, theirs in pairs])


def _spread(values: list[float]) -> tuple[float, float, float]:
    return statistics.median(values), min(values), max(values)


Answers = dict[str, dict[str, Any]]
"""What the cases printed in one round, by name."""


def interleave(
    cases: Sequence[Case], context: Context, check: Callable[[Answers], None] | None = None
) -> list[Result]:
    """Run the cases in turn, A B A B, so that what else the machine does falls on all of them.

    A first round is not counted: it fills the file cache and is what `check` looks at.

    Raises:
        Disagreement: by `check`.
        CommandFailed: one does not run.
    """
    results = {case.name: Result(case) for case in cases}
    for result in results.values():
        if result.case.against is not None:
            result.reference = results.get(result.case.against)
    for number in range(1 + context.repeats):
        label = (
            f"run {number} of {context.repeats}" if number else "first run, checked, not counted"
        )
        context.say(f"{cases[0].benchmark}: {label}")
        answers: Answers = {}
        for case in cases:
            case.before()
            finished = run(case.command, case.env)
            answers[case.name] = json.loads(finished.stdout)
            if number:
                results[case.name].samples.append(_sample(case, finished, answers[case.name]))
        if not number and check is not None:
            check(answers)
    return list(results.values())


def _sample(case: Case, finished: Run, answer: dict[str, Any]) -> Sample:
    return Sample(
        wall_s=answer["seconds"] if case.inner else finished.wall_s,
        cpu_s=answer["cpu_seconds"] if case.inner else finished.cpu_s,
        n_bytes=answer.get("bytes", case.n_bytes) if case.inner else case.n_bytes,
        counts=case.counts(answer),
        largest_bytes=finished.largest_bytes,
        all_bytes=finished.all_bytes,
    )

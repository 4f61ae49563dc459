"""``replay --execute`` and ``replay --branch``: what sharing prefixes saves, and what branching finds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TextIO

from forkpoint.analysis.replay_tree_results import BranchingExperiment, TreeExecution
from forkpoint.cli.json_report import FORMAT, exact, write_json
from forkpoint.cli.layout import bold, flow, grid, output_width, print_lines
from forkpoint.cli.numbers import count, duration, figure, megabytes, percent, times, tokens
from forkpoint.cli.options import Execution, PlainFormat
from forkpoint.cli.table import Line, labelled
from forkpoint.cli.text import plain

_MAX_SHOWN = 200


_MEANINGS = {
    "flat": "each sequence alone",
    "trie": "trunk once, branches on its cache",
    "packed": "one sequence, each token seeing its own path",
}


def modes_of(execute: Execution) -> tuple[str, ...]:
    """The ways to run it; flat is always one, as the others are compared with it."""
    if execute is Execution.ALL:
        return ("flat", "trie", "packed")
    return tuple(dict.fromkeys(("flat", execute.value)))


def write_execution(answer: TreeExecution, form: PlainFormat, out: TextIO) -> None:
    """Time and memory of the ways to run the tree, next to what sharing could save at most."""
    if form is PlainFormat.JSON:
        _write_document({"execution": asdict(answer)}, out)
        return
    width = output_width(out)
    shape = answer.shape
    lines: list[Line] = []
    lines += labelled("Model", _model(answer.model, answer.device, answer.dtype), width)
    lines += labelled(
        "Tree",
        [
            f"{count(shape.sequences, 'sequence')} of {tokens(shape.flat_tokens)} tokens",
            f"{tokens(shape.tree_tokens)} as a tree",
            f"overlap (POR) {percent(shape.por)}: at most {times(shape.bound)} faster",
        ],
        width,
    )
    rows = [["Run", "tokens", "time", "faster", "of the possible", "peak memory", "off by"]]
    for run in answer.runs:
        gap = run.max_logprob_difference
        rows.append(
            [
                f"  {run.mode}: {_MEANINGS[run.mode]}",
                tokens(run.computed_tokens),
                duration(run.seconds) if run.seconds >= 1 else f"{run.seconds * 1000:.0f} ms",
                "" if run.mode == "flat" else times(run.speedup),
                "" if run.mode == "flat" else _share(run.efficiency),
                "–" if run.peak_bytes is None else megabytes(run.peak_bytes),
                "" if gap is None else f"{gap:.1g} nats",
            ]
        )
    first, *rest = grid(rows, width, numbers=(1, 2, 3, 4, 5, 6), flexible=0)
    lines += ["", bold(first), *rest]
    lines += flow(
        [
            "of the possible: (speedup - 1) / (bound - 1)",
            f"memory: {answer.memory}",
            "off by: the greatest difference of a log probability from flat; "
            + f"{answer.tolerance:g} nats and less are rounding",
        ],
        width,
        first="  ",
        indent=2,
    )
    lines += _left_out(answer.left_out, width)
    print_lines(lines, out)


def write_branching(answer: BranchingExperiment, form: PlainFormat, out: TextIO) -> None:
    """What the same number of generated tokens finds when branched where the model was unsure."""
    if form is PlainFormat.JSON:
        _write_document({"branching": asdict(answer)}, out)
        return
    width = output_width(out)
    lines: list[Line] = []
    lines += labelled("Model", [plain(answer.model, _MAX_SHOWN)], width)
    lines += labelled(
        "Budget",
        [
            f"{tokens(answer.budget_tokens)} generated tokens for each of {count(answer.prompts, 'prompt')}",
            f"at most {count(answer.points, 'place')} to branch at",
            f"temperature {figure(answer.temperature)}, seed {answer.seed}",
        ],
        width,
    )
    rows = [["Branched", "samples", "distinct", "not logged", "mean reward", "best reward"]]
    names = {
        "entropy": "  where the model was least sure",
        "random": "  anywhere",
        "root": "  not at all: from the prompt",
    }
    for policy in answer.policies:
        if policy.curve:
            last = policy.curve[-1]
            rows.append(
                [
                    names.get(policy.name, f"  {policy.name}"),
                    figure(last.samples),
                    figure(last.distinct),
                    figure(last.new),
                    _or_dash(last.mean_reward),
                    _or_dash(last.best_reward),
                ]
            )
    first, *rest = grid(rows, width, numbers=(1, 2, 3, 4, 5), flexible=0)
    lines += ["", bold(first), *rest]
    lines += flow(["a prompt each, for the whole budget"], width, first="  ", indent=2)
    lines += _left_out(answer.left_out, width)
    print_lines(lines, out)


def _model(model: str, device: str, dtype: str) -> list[str]:
    return [plain(model, _MAX_SHOWN), dtype, device]


def _share(value: float | None) -> str:
    """Below 0 where sharing was slower, so it is no percentage in [0, 1]."""
    return "–" if value is None else f"{value * 100:.0f} %"


def _or_dash(value: float | None) -> str:
    return "–" if value is None else figure(value)


def _left_out(reasons: dict[str, int], width: int) -> Sequence[Line]:
    parts = [f"{n:,} × {plain(reason, _MAX_SHOWN)}" for reason, n in sorted(reasons.items())]
    return labelled("Left out", parts, width) if parts else []


def _write_document(content: dict[str, object], out: TextIO) -> None:
    from forkpoint import __version__

    write_json(exact({"format": FORMAT, "forkpoint": __version__, **content}), out)

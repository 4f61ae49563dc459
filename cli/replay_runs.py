"""What ``replay`` can do instead of measuring entropies: ``--execute`` runs the tree of what was
logged, ``--branch`` samples from it again, ``--prune`` deletes what answers do not need."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import typer

from forkpoint.analysis.pruning_results import PruningAnswer
from forkpoint.analysis.replay_choices import Engine, PruneUnit
from forkpoint.analysis.replay_tree_results import BranchingExperiment, TreeExecution
from forkpoint.cli.json_report import FORMAT, exact, write_json
from forkpoint.cli.layout import bold, flow, grid, output_width, print_lines
from forkpoint.cli.numbers import count, duration, figure, megabytes, percent, times, tokens
from forkpoint.cli.options import Execution, PlainFormat
from forkpoint.cli.progress import token_bar
from forkpoint.cli.rollouts import parse_answer_pattern
from forkpoint.cli.table import Line, labelled
from forkpoint.cli.text import plain
from forkpoint.errors import ForkpointError

if TYPE_CHECKING:
    from forkpoint.analysis.replay_backend import Backend
    from forkpoint.analysis.scope import Filters
    from forkpoint.analysis.store import Store

TIMED_RUNS = 3
"""Of each way to run a tree, in turn: medians, as one run says little on a machine that does more."""
_MAX_SHOWN = 200

_MEANINGS = {
    "flat": "each sequence alone",
    "trie": "trunk once, branches on its cache",
    "packed": "one sequence, each token seeing its own path",
}


@dataclass(frozen=True)
class Instead:
    """What was asked for, as the options name it."""

    execute: Execution | None
    branch: bool
    prune: PruneUnit | None
    budget: int
    seed: int
    scorer: str | None
    prune_loss: float
    answer_pattern: str | None

    @property
    def asked(self) -> list[str]:
        """The options that were given."""
        named = {
            "--execute": self.execute is not None,
            "--branch": self.branch,
            "--prune": self.prune is not None,
        }
        return [name for name, given in named.items() if given]

    @property
    def any(self) -> bool:
        """Whether there is anything to do instead."""
        return bool(self.asked)


def check_instead(instead: Instead, *, server: str | None, engine: Engine) -> None:
    """Refuse what does not go together.

    Raises:
        typer.BadParameter: two of them, one without a model in this process, or a pattern that is none.
    """
    if len(instead.asked) > 1:
        raise typer.BadParameter(f"{' or '.join(instead.asked)}: one at a time")
    if instead.any and (server is not None or engine is not Engine.TRANSFORMERS):
        raise typer.BadParameter(f"{instead.asked[0]} needs a --model that transformers runs")
    if instead.scorer is not None and not instead.branch:
        raise typer.BadParameter("--scorer goes with --branch")
    if instead.answer_pattern is not None:
        if instead.prune is None:
            raise typer.BadParameter("--answer-pattern goes with --prune")
        parse_answer_pattern(instead.answer_pattern)


def run_instead(
    instead: Instead,
    store: Store,
    paths: Sequence[Path],
    backend: Backend,
    filters: Filters,
    trust_ids: bool,
    form: PlainFormat,
    *,
    quiet: bool,
) -> None:
    """Do it, and show what came of it.

    Raises:
        ForkpointError: the ways to run a tree do not agree, or nothing can be run.
    """
    from forkpoint.analysis.replay_model import TransformersBackend

    assert isinstance(backend, TransformersBackend)  # `check_instead` saw to it
    if instead.execute is not None:
        from forkpoint.analysis.replay_execution import execute_logged

        execution = execute_logged(
            store,
            paths,
            backend,
            filters=filters,
            trust_ids=trust_ids,
            modes=modes_of(instead.execute),
            repeats=TIMED_RUNS,
        )
        write_execution(execution, form, sys.stdout)
        if execution.agrees is False:
            raise ForkpointError("sharing prefixes changed log probabilities by more than rounding")
    elif instead.branch:
        from forkpoint.analysis.replay_branching import BranchSettings, branch_logged

        experiment = branch_logged(
            store,
            paths,
            backend,
            settings=BranchSettings(budget_tokens=instead.budget, seed=instead.seed),
            scorer=instead.scorer,
            filters=filters,
            trust_ids=trust_ids,
        )
        write_branching(experiment, form, sys.stdout)
    elif instead.prune is not None:
        from forkpoint.analysis.pruning import PruneSettings
        from forkpoint.analysis.replay_pruning import prune_logged

        pattern = instead.answer_pattern
        with token_bar("pruning", quiet=quiet) as progress:
            pruning = prune_logged(
                store,
                paths,
                backend,
                settings=PruneSettings(unit=instead.prune, loss_nats=instead.prune_loss),
                pattern=None if pattern is None else parse_answer_pattern(pattern),
                filters=filters,
                trust_ids=trust_ids,
                progress=progress,
            )
        write_pruning(pruning, form, sys.stdout)


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


def write_pruning(answer: PruningAnswer, form: PlainFormat, out: TextIO) -> None:
    """How much of what stands before answers can go, and what it is."""
    if form is PlainFormat.JSON:
        _write_document({"pruning": asdict(answer)}, out)
        return
    width = output_width(out)
    lines: list[Line] = []
    for label, parts in (
        ("Model", _model(answer.model, answer.device, answer.dtype)),
        ("Pruned", _pruned(answer)),
        ("Answers", _pruned_answers(answer)),
        ("This run", _pruning_run(answer)),
    ):
        if parts:
            lines += labelled(label, parts, width)
    if answer.kinds:
        rows = [["Before answers", "tokens", "can go", "share", "loss without one kept"]]
        rows += [
            [
                f"  {kind.kind}",
                tokens(kind.tokens),
                tokens(kind.pruned),
                percent(kind.pruned / kind.tokens),
                _nats(kind.mean_loss_nats),
            ]
            for kind in answer.kinds
        ]
        first, *rest = grid(rows, width, numbers=(1, 2, 3, 4), flexible=0)
        lines += ["", bold(first), *rest]
    if answer.examples:
        lines += ["", bold("Most of it can go")]
    for example in answer.examples:
        chain, kept, stated = map(_in_a_line, (example.chain, example.kept, example.answer))
        lines += flow([f"{chain} [{stated}]"], width, first="  ", indent=4)
        lines += flow([f"kept: {kept or 'nothing'}"], width, first="    ", indent=4)
    if answer.skipped:
        lines += [""]
        lines += _left_out(answer.skipped, width)
    print_lines(lines, out)


def _in_a_line(text: str) -> str:
    return plain(" ".join(text.split()), _MAX_SHOWN)


def _pruned(answer: PruningAnswer) -> list[str]:
    if not answer.completions:
        return ["nothing: no completion here states an answer behind something else"]
    share = answer.pruned_tokens / answer.chain_tokens
    of = f"{tokens(answer.pruned_tokens)} of {tokens(answer.chain_tokens)} tokens"
    return [
        f"{of} before the answers can go ({percent(share)})",
        count(answer.completions, "completion"),
        f"{answer.unit} by {answer.unit}",
    ]


def _pruned_answers(answer: PruningAnswer) -> list[str]:
    """What it does to the answers."""
    if answer.mean_answer_nats is None or answer.mean_pruned_nats is None:
        return []
    least = math.exp(-answer.loss_nats)
    return [
        f"each stays at least {figure(least)} times as likely ({figure(answer.loss_nats)} nats)",
        f"mean surprisal {answer.mean_answer_nats:.3f} nats before, {answer.mean_pruned_nats:.3f} after",
    ]


def _pruning_run(answer: PruningAnswer) -> list[str]:
    if not answer.run_tokens:
        return ["nothing: all of it was pruned before"] if answer.completions else []
    saved = 1 - answer.run_tokens / answer.flat_tokens
    return [
        count(answer.new_completions, "completion"),
        f"{tokens(answer.run_tokens)} tokens through the model",
        f"{percent(max(saved, 0.0))} fewer than without shared prefixes",
        duration(answer.seconds),
    ]


def _nats(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f} nats"


def _model(model: str, device: str | None, dtype: str | None) -> list[str]:
    return [plain(model, _MAX_SHOWN), *(each for each in (dtype, device) if each is not None)]


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

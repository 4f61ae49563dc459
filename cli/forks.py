"""``forkpoint forks``: where rollouts and prompts part, and where the model was unsure."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import PurePath
from typing import Any, TextIO

import typer
from rich.cells import cell_len

from forkpoint.analysis.entropy import Agreement, DifficultyCurve, HighRuns, Patches
from forkpoint.analysis.entropy_results import Entropy, RankedToken, UnlikelyTokens
from forkpoint.analysis.fork_results import (
    DepthBand,
    ForkBranch,
    ForksAnswer,
    GroupFork,
    GroupForkSummary,
)
from forkpoint.analysis.results import Fork
from forkpoint.cli.answer import between
from forkpoint.cli.json_report import FORMAT, entropy_document, exact, write_json
from forkpoint.cli.layout import bold, fit, flow, grid, output_width, print_lines, shown_path
from forkpoint.cli.numbers import count, figure, percent, tokens
from forkpoint.cli.options import PlainFormat
from forkpoint.cli.table import (
    PATHS,
    Line,
    fork_lines,
    labelled,
    next_lines,
    separated,
    without_empty_columns,
)
from forkpoint.cli.text import plain

_ID = re.compile(r"#\d+")
_NARROW = 60
_BRANCHES_SHOWN = 4
_PROMPT_FORKS = 3
_TOKENS_SHOWN = 6
_RANKED_SHOWN = 3
_MAX_NAME, _MAX_TOKEN = 200, 24


def high_entropy(threshold: float | None, top_share: float | None) -> float:
    """The share that ``--top-share`` gives, or the usual one.

    Raises:
        typer.BadParameter: it is none, ``--threshold`` is no number of nats, or both are given.
    """
    from forkpoint.analysis.token_entropy import TOP_SHARE

    if threshold is not None and not math.isfinite(threshold):
        raise typer.BadParameter(f"--threshold {threshold} is no entropy: give a number of nats")
    if top_share is None:
        return TOP_SHARE
    if threshold is not None:
        raise typer.BadParameter("--threshold or --top-share, not both")
    if not 0 < top_share < 1:
        raise typer.BadParameter(f"--top-share {top_share} is not between 0 and 1")
    return top_share


def write_forks(
    answer: ForksAnswer, form: PlainFormat, out: TextIO, *, store: str | None = None
) -> None:
    """The whole answer.

    Args:
        store: the value of ``--store``, repeated in the commands that the screen proposes.
    """
    if form is PlainFormat.JSON:
        write_json(exact(_document(answer)), out)
        return
    print_lines(_screen(answer, output_width(out), store), out)


def _document(answer: ForksAnswer) -> dict[str, Any]:
    document = asdict(answer) | {"entropy": entropy_document(answer.entropy)}
    document["provenance"]["filters"] = dict(sorted(answer.provenance.filters.items()))
    return {"format": FORMAT, "forkpoint": answer.provenance.version, **document}


def _screen(answer: ForksAnswer, width: int, store: str | None) -> list[Line]:
    summary = answer.rollout_forks
    parts: list[Sequence[Line]] = []
    if summary is None and not answer.fork_points and answer.entropy is None:
        paths = [shown_path(path) for path in answer.provenance.paths]
        parts.append([*flow(paths, width, first="No two prompts or rollouts part in ", indent=2)])
    parts += [
        _rollout_forks(summary, width),
        _bands(summary, width),
        _top_forks(answer.top_rollout_forks, width),
        _prompt_forks(answer.fork_points, answer.prompt_forks, width),
        _entropy(answer.entropy, width),
        _notes(answer, width),
        _next(answer, width, store),
    ]
    return separated(parts)


def _rollout_forks(summary: GroupForkSummary | None, width: int) -> list[Line]:
    if summary is None:
        return []
    groups = count(summary.groups, "group")
    if not summary.forks:
        return labelled("Rollout forks", [f"none: in {groups}, no two rollouts part"], width)
    parts = [f"{summary.forks:,} in {groups} of rollouts"]
    for n, which_made in (
        (summary.by_environment, "a tool or a user, not the model, made {} of them"),
        (
            summary.forks - summary.by_model - summary.by_environment,
            "who made {} of them the log does not tell",
        ),
    ):
        if n:
            parts.append(which_made.format("all" if n == summary.forks else f"{n:,}"))
    if summary.decisive:
        parts.append(f"at {summary.decisive:,} the ways differ in mean reward")
    spread = "how evenly rollouts spread, corrected for ways not seen"
    parts += [
        f"{figure(summary.mean_fan_out)} ways on average",
        f"branching entropy {_nats(summary.mean_branching_entropy_nats)} ({spread})",
    ]
    lines = labelled("Rollout forks", parts, width)
    if summary.shared_generated_tokens:
        share = summary.conflict_tokens / summary.shared_generated_tokens
        conflict = [
            f"{tokens(summary.shared_generated_tokens)} that two or more rollouts generated"
        ]
        if summary.conflict_tokens:
            conflict.append(
                f"{tokens(summary.conflict_tokens)} of them ({percent(share)}) lie on better and on "
                "worse rollouts: in training, those pull both ways"
            )
        lines += labelled("Common tokens", conflict, width)
    return lines


def _bands(summary: GroupForkSummary | None, width: int) -> list[Line]:
    """Coarse early, fine late."""
    found = [] if summary is None else [band for band in summary.bands if band.forks]
    if len(found) < 2:
        return []
    header = ["How far in", "forks", "rollouts a way", "contrast", "branching entropy"]
    if width < _NARROW:
        header = ["How far in", "forks", "a way", "contrast", "entropy"]
    rows = without_empty_columns([header, *map(_band, found)])
    first, *lines = grid(rows, width, numbers=range(1, len(rows[0])), flexible=0)
    if "contrast" in rows[0]:
        meaning = "early contrasts are coarse but rest on many rollouts; late ones are fine, on few"
        lines += flow([meaning], width, first="  ", indent=2)
    return [bold(first), *lines]


def _band(band: DepthBand) -> list[str]:
    return [
        f"  {100 * band.low:.0f}–{100 * band.high:.0f} %",
        f"{band.forks:,}",
        figure(band.mean_rollouts_per_branch),
        figure(band.mean_contrast),
        _nats(band.mean_branching_entropy_nats),
    ]


def _top_forks(forks: Sequence[GroupFork], width: int) -> list[Line]:
    if not forks:
        return []
    if forks[0].contrast:
        title = [
            "Where the way taken made most difference",
            "contrast: the best way's mean reward less the worst's",
        ]
    else:
        title = ["Where most rollouts part"]
    lines: list[Line] = [*map(bold, flow(title, width))]
    for number, fork in enumerate(forks, start=1):
        lines += _one_fork(number, fork, width)
    return lines


def _one_fork(number: int, fork: GroupFork, width: int) -> list[Line]:
    first = f"  {number}. "
    facts = [
        plain(fork.group, _MAX_NAME),
        f"after {count(fork.depth_tokens, 'token')} ({fork.generated_tokens:,} generated)",
        f"{count(fork.rollouts, 'rollout')} go {count(fork.fan_out, 'way')}",
        f"branching entropy {_nats(fork.branching_entropy_nats)}",
    ]
    if fork.by == "environment":
        facts.append("a tool or a user parts them")
    elif fork.by == "unknown":
        facts.append("the log does not tell who parts them")
    if fork.contrast is not None:
        luck = "" if fork.p_value is None else f" (by luck alone: {percent(fork.p_value)} of cases)"
        facts.append(f"contrast {figure(fork.contrast)}{luck}")
    if cell_len(facts[0]) > width // 2:
        facts[0] = fit(facts[0], max(width - len(first), 1), keep_end=True)
    lines: list[Line] = [*flow(facts, width, first=first, indent=len(first))]
    shown = fork.branches[:_BRANCHES_SHOWN]
    rows = [["rollouts", "reward", "goes on"], *(_branch(branch) for branch in shown)]
    kept = without_empty_columns(rows)
    indent = " " * (len(first) + 2)
    last = len(kept[0]) - 1
    lines += grid(kept, width, numbers=range(last), flexible=last, indent=indent)[number > 1 :]
    hidden = fork.fan_out - len(shown)
    if hidden > 0:
        left = fork.rollouts - sum(branch.rollouts for branch in shown)
        lines += flow(
            [f"… {count(hidden, 'more way')} with {count(left, 'rollout')}"],
            width,
            first=indent,
            indent=len(indent),
        )
    return lines


def _branch(branch: ForkBranch) -> list[str]:
    if branch.begins is None:
        begins = shown_path(branch.path, branch.line)
    else:
        begins = plain(branch.begins, _MAX_NAME) or "(ends here)"
    return [f"{branch.rollouts:,}", figure(branch.value), begins]


def _prompt_forks(n: int, forks: Sequence[Fork], width: int) -> list[Line]:
    """The biggest of `n`, in short."""
    if not n:
        return []
    lines = labelled(
        "Prompt forks", [f"{count(n, 'place')} where prompts that begin alike part"], width
    )
    worth_showing = [fork for fork in forks if fork.shared_tokens][:_PROMPT_FORKS]
    return [*lines, *fork_lines(worth_showing, width, branches=2)]


def _entropy(found: Entropy | None, width: int) -> list[Line]:
    if found is None or not found.tokens:
        missing = "not known: needs logprobs in the log"
        return labelled("Entropy", [missing], width)
    lines: list[Line] = []
    for label, parts in (
        ("Entropy", _evidence(found)),
        ("A token", _typical(found)),
        ("High entropy", _threshold(found)),
        ("Fork tokens", _fork_tokens(found)),
        ("Siblings", _siblings(found.agreement)),
        ("Along the way", _profile(found)),
        ("Least sure", _windows(found)),
        ("Steps", _runs(found.runs)),
        ("Difficulty", _difficulty(found.difficulty)),
        ("Decisive", _decisive(found.decisive)),
        ("Unlikely", _sparks(found.sparks)),
        ("Information", _information(found)),
        ("Patches", _patches(found.patches)),
        ("Not shown", _missing(found)),
    ):
        if parts:
            lines += labelled(label, parts, width)
    return lines


def _evidence(found: Entropy) -> list[str]:
    """Which tokens, of which models, and how much of the distribution is known."""
    whole = f"{count(found.tokens, 'token')} of {count(found.completions, 'completion')}"
    parts = [f"how unsure the model was at {whole}, in nats (0: sure, 0.69: a toss-up)"]
    known = (
        (found.whole_tokens, "known whole"),
        (found.top_k_tokens, "between bounds, from the likeliest tokens"),
        (found.sampled_only_tokens, "between wide bounds, from the sampled token alone"),
    )
    named = [f"{what}: {n:,}" for n, what in known if n]
    parts += [named[0].partition(":")[0]] if len(named) == 1 else named
    if found.replayed_tokens:
        parts.append(f"{count(found.replayed_tokens, 'token')} not logged but replayed")
    if found.unknown_tokens:
        parts.append(f"{count(found.unknown_tokens, 'token')} without a logprob left out")
    unsure = [model for model in found.models if not model.vocabulary_known]
    if unsure:
        parts.append(
            f"vocabulary of {plain(unsure[0].model or 'the model', 60)} not known, "
            f"{unsure[0].vocabulary_size:,} assumed"
        )
    return parts


def _typical(found: Entropy) -> list[str]:
    mean = between(found.mean_lower_nats, found.mean_upper_nats)
    parts = [f"mean entropy {mean} nats"]
    if found.mean_surprisal_nats is not None:
        parts.append(f"mean surprisal of the sampled tokens {found.mean_surprisal_nats:.2f} nats")
    return parts


def _threshold(found: Entropy) -> list[str]:
    if found.threshold_nats is None:
        return []
    if found.threshold_is_absolute:
        parts = [f"from {found.threshold_nats:.4g} nats on, as asked"]
    else:
        top = f"the top {100 * found.top_share:.0f} % of all tokens here"
        parts = [f"{top}: from {found.threshold_nats:.2f} nats on"]
        certain = between(found.threshold_low_nats, found.threshold_high_nats)
        if " to " in certain:
            parts[0] += f" (for certain {certain})"
    for n, what in (
        (found.fork, "are fork tokens"),
        (found.not_fork, "are not"),
        (found.undecided, "undecided, with bounds on both sides"),
    ):
        if n or not what.startswith("undecided"):
            parts.append(f"{n:,} ({percent(n / found.tokens)}) {what}")
    if found.top_mass_share is not None:
        parts.append(
            f"the top {100 * found.top_share:.0f} % carry {percent(found.top_mass_share)} of all entropy"
        )
    return parts


def _fork_tokens(found: Entropy) -> list[str]:
    named = [each for each in found.fork_tokens if each.token is not None and each.high]
    if not named:
        return []
    parts = [
        f"{_token(each.token)} {each.high:,} of {each.occurrences:,}"
        for each in named[:_TOKENS_SHOWN]
    ]
    if any(_ID.fullmatch(each.token or "") for each in named):
        parts[-1] += " (#: its number in the vocabulary)"
    return [f"commonest at high entropy: {parts[0]} times", *parts[1:]]


def _token(token: str | None) -> str:
    """A token in quotes, as white space is part of it."""
    return "?" if token is None else f"“{plain(token, _MAX_TOKEN)}”"


def _siblings(found: Agreement | None) -> list[str]:
    """Does high entropy tell where completions of one prompt part?"""
    if found is None or not found.divergences:
        return []
    places = f"{found.divergences:,} of {count(found.positions, 'place')}"
    parts = [f"completions of one prompt part at {places} ({percent(found.base_rate)})"]
    if found.precision is None:
        return [*parts, "none of these places is of high entropy"]
    return [
        *parts,
        f"at {percent(found.precision)} of the {count(found.high, 'place')} of high entropy (precision)",
        f"{percent(found.recall)} of the partings are of high entropy (recall)",
    ]


def _profile(found: Entropy) -> list[str]:
    if sum(each is not None for each in found.profile_nats) < 2:
        return []
    shown = " ".join("–" if each is None else f"{each:.1f}" for each in found.profile_nats)
    return [f"{shown} nats, mean by tenths of a completion"]


def _windows(found: Entropy) -> list[str]:
    if not found.windows:
        return []
    each = found.windows[0]
    return [
        f"{each.mean_nats:.2f} nats over {count(each.tokens, 'token')} from token {each.position:,} on",
        shown_path(each.path, each.line),
    ]


def _runs(found: HighRuns | None) -> list[str]:
    if found is None or not found.high:
        return []
    return [
        f"{found.high:,} of {count(found.steps, 'step')} of high entropy (a step: one completion)",
        f"{percent(found.consecutive_share)} of them right after another",
        f"at most {found.longest:,} in a row",
    ]


def _difficulty(found: DifficultyCurve | None) -> list[str]:
    """Entropy from easy to hard groups, and whether it turns in between."""
    if found is None or len(found.bins) < 2:
        return []
    steps = ["mean entropy by how much of the reward a group misses"]
    for each in found.bins:
        missed = percent(each.low)
        if each.high != each.low:
            missed += f" to {percent(each.high)}"
        steps.append(f"{missed}: {each.mean_entropy:.2f} nats")
    if found.is_u_shaped is not None and found.curvature is not None:
        error = found.curvature_error
        sure = error is not None and abs(found.curvature) > 2 * error
        shape = "lowest between easy and hard (U-shaped)" if found.is_u_shaped else "no U-shape"
        steps.append(f"{shape}{'' if sure else ', not certain'} in {count(found.groups, 'group')}")
    return steps


def _decisive(found: Sequence[RankedToken] | None) -> list[str]:
    if not found:
        return []
    parts = []
    for each in found[:_RANKED_SHOWN]:
        where = f"{plain(PurePath(each.path).name, _MAX_NAME)}:{each.line}"
        parts.append(
            f"{_token(each.token)} {_nats(each.entropy_nats)}, {_off(each.advantage)} ({where})"
        )
    return ["unsure tokens of rollouts far off their group's mean reward", *parts]


def _off(advantage: float | None) -> str:
    """How far a reward lies from its group's mean, in standard deviations of the group."""
    if advantage is None:
        return "–"
    side = "above" if advantage > 0 else "below"
    return f"{abs(advantage):.1f} deviations {side}"


def _sparks(found: UnlikelyTokens | None) -> list[str]:
    if found is None or not found.unlikely or found.low is None:
        return []
    rarely = f"1 in {figure(1 / found.low)}" if found.low else "0"
    return [
        f"{count(found.unlikely, 'token')} sampled at a probability of {rarely} or less",
        f"{percent(found.rewarded_share)} of them on rollouts better than their group's mean",
        f"{percent(found.base_share)} of all tokens are",
    ]


def _information(found: Entropy) -> list[str]:
    if found.mean_bits is None or not found.mean_tokens:
        return []
    parts = [
        f"{figure(found.mean_bits)} bits in a completion (mean)",
        f"mean length {figure(found.mean_tokens)}",
    ]
    if found.mean_rounds_in_order is not None and found.mean_rounds_any_order is not None:
        parts.append(
            f"parallel decoding needs this many rounds or more: {figure(found.mean_rounds_in_order)} "
            f"in order, {figure(found.mean_rounds_any_order)} if it takes sure tokens only"
        )
    return parts


def _patches(found: Patches | None) -> list[str]:
    if found is None:
        return []
    parts = [
        f"cut before each token of high entropy: {count(found.patches, 'patch', 'patches')}",
        f"of {figure(found.mean_tokens)} tokens, the longest of {found.longest:,}",
    ]
    if found.least < found.most:
        parts.append(f"for certain {found.least:,} to {found.most:,}")
    return parts


def _missing(found: Entropy) -> list[str]:
    """What this log cannot tell, and what it would need."""
    needs = (
        (found.agreement is None, "where siblings part: needs several completions of one prompt"),
        (found.runs is None, "unsure steps in a row: needs traces of several completions"),
        (found.difficulty is None, "difficulty: needs two groups with rewards from 0 to 1"),
        (found.decisive is None, "decisive tokens: needs rewards that differ in a group"),
    )
    return [what for is_missing, what in needs if is_missing]


def _notes(answer: ForksAnswer, width: int) -> list[Line]:
    filters = sorted(answer.provenance.filters.items())
    shown = [plain(f"only {name} {value}", 300) for name, value in filters]
    return [*flow(shown, width, first="Note: ", indent=6)] if shown else []


def _next(answer: ForksAnswer, width: int, store: str | None) -> list[Line]:
    proposals: list[tuple[tuple[str, ...], str]] = []
    if answer.rollout_forks is not None:
        proposals.append((("rollouts", PATHS), "for what trees would buy, and when to stop"))
    if answer.fork_points:
        proposals.append((("prefixes", PATHS), "for every branch of the prompts"))
    if not proposals:
        proposals.append((("report", PATHS), "for what these logs do hold"))
    return next_lines(proposals, paths=answer.provenance.paths, store=store, width=width)


def _nats(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f} nats"

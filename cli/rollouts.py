"""``forkpoint rollouts``: what groups of rollouts share, what their tokens could have bought, and
when sampling could have stopped."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, replace
from typing import Any, TextIO

import typer
from rich.cells import cell_len

from forkpoint.analysis.preference_pairs import PreferencePair, as_json_line
from forkpoint.analysis.results import Drift, Rollouts
from forkpoint.analysis.rollout_results import (
    AnswerAudit,
    ClusterAudit,
    DeepConfRow,
    RolloutGroup,
    RolloutsAnswer,
    Scheme,
    TreeBudget,
)
from forkpoint.analysis.tree_budget import Schemes
from forkpoint.analysis.votes import Estimate, Outcome
from forkpoint.cli.answer import period
from forkpoint.cli.json_report import FORMAT, exact, write_json
from forkpoint.cli.layout import bold, flow, grid, output_width, print_lines, shown_path
from forkpoint.cli.numbers import change, count, figure, percent, times, tokens
from forkpoint.cli.options import PlainFormat
from forkpoint.cli.table import (
    PATHS,
    Line,
    labelled,
    next_lines,
    separated,
    without_empty_columns,
)
from forkpoint.cli.text import plain

GROUPS_SHOWN = 5
"""Groups on the screen, unless told otherwise."""

_NARROW, _MEDIUM, _WIDE = 60, 80, 110
_CURVE_ROWS = 5
_DEPTHS_NARROW = (0.0, 0.5, 0.9)
_MAX_NAME = 80
"""Longest name of a group that a command on the screen repeats."""
_MAX_PATTERN = 10_000


def parse_answer_pattern(text: str) -> re.Pattern[str]:
    """The pattern that ``--answer-pattern`` gives.

    Raises:
        typer.BadParameter: it is none, or it is empty.
    """
    if not text or len(text) > _MAX_PATTERN:
        raise typer.BadParameter(f"a pattern of 1 to {_MAX_PATTERN:,} characters is needed")
    try:
        return re.compile(text)
    except (re.error, RecursionError, OverflowError) as error:
        shown = plain(text, 60)
        raise typer.BadParameter(f"{shown!r} is no regular expression: {error}") from None


def parse_schemes(tree_grpo: str, ep_tree: str) -> Schemes:
    """The numbers that ``--tree-grpo`` and ``--eptree`` give.

    Raises:
        typer.BadParameter: they are not four numbers each, or make no scheme.
    """
    try:
        return Schemes(_four_numbers(tree_grpo), _four_numbers(ep_tree))
    except ValueError as error:
        raise typer.BadParameter(f"--tree-grpo, --eptree: {error}") from None


def _four_numbers(text: str) -> tuple[int, int, int, int]:
    parts = text.split(",")
    if len(parts) != 4 or not all(part.strip().isdecimal() and len(part) < 7 for part in parts):
        raise ValueError(f"{plain(text, 60)!r} is not four numbers such as 2,2,1,3")
    first, second, third, fourth = map(int, parts)
    return first, second, third, fourth


def check_together(*, group: str | None, pairs: str | None, answer_pattern: str | None) -> None:
    """Refuse options that would have no effect beside each other.

    Raises:
        typer.BadParameter: two of them are given.
    """
    if group is not None and pairs is not None:
        raise typer.BadParameter("--group draws a tree and --pairs writes pairs: give one of them")
    if answer_pattern is not None and (group is not None or pairs is not None):
        other = "--group" if group is not None else "--pairs"
        raise typer.BadParameter(f"{other} does not use --answer-pattern")


def write_pairs(pairs: Iterable[PreferencePair], out: TextIO) -> tuple[int, int]:
    """One line of JSON for each pair.

    Returns:
        (pairs, groups they are of).
    """
    n, groups = 0, set()
    for pair in pairs:
        out.write(as_json_line(pair) + "\n")
        n += 1
        groups.add(pair.group)
    return n, len(groups)


def pairs_written(n: int, groups: int) -> str:
    """What became of ``--pairs``, in one line."""
    if not n:
        return "no preference pairs: no fork here where a model's continuations differ in reward"
    return f"{count(n, 'preference pair')} from {count(groups, 'group')}"


def write_rollouts(
    answer: RolloutsAnswer,
    form: PlainFormat,
    out: TextIO,
    *,
    top: int | None = None,
    store: str | None = None,
) -> None:
    """The whole answer.

    Args:
        top: how many groups at most; ``None``: `GROUPS_SHOWN` on the screen, all in JSON.
        store: the value of ``--store``, repeated in the commands that the screen proposes.
    """
    if form is PlainFormat.JSON:
        write_json(exact(_document(replace(answer, groups=answer.groups[:top]))), out)
        return
    print_lines(_screen(answer, output_width(out), top or GROUPS_SHOWN, store), out)


def _document(answer: RolloutsAnswer) -> dict[str, Any]:
    document = asdict(answer)
    document["rollouts"]["pass_hat"] = dict(sorted(answer.rollouts.pass_hat.items()))
    if answer.answers is not None:
        document["answers"]["pass_at_k"] = dict(sorted(answer.answers.pass_at_k.items()))
    document["provenance"]["filters"] = dict(sorted(answer.provenance.filters.items()))
    return {"format": FORMAT, "forkpoint": answer.provenance.version, **document}


def _screen(answer: RolloutsAnswer, width: int, top: int, store: str | None) -> list[Line]:
    if not answer.rollouts.rollouts:
        return _nothing(answer, width, store)
    return separated(
        [
            _what_there_is(answer, width),
            _groups(answer.groups, width, top),
            _budget(answer.budget, width),
            _answers(answer, width),
            _early_stop(answer.answers, width),
            _notes(answer, width),
            _next(answer, width, store),
        ]
    )


def _nothing(answer: RolloutsAnswer, width: int, store: str | None) -> list[Line]:
    paths = [shown_path(path) for path in answer.provenance.paths]
    proposals = [(("report", PATHS), "for what these logs do hold")]
    why = "A group is several samples of one prompt or task, as evaluations and RL runs log them."
    return [
        *flow(paths, width, first="No groups of rollouts found in ", indent=2),
        *flow([why], width),
        *next_lines(proposals, paths=answer.provenance.paths, store=store, width=width),
    ]


def _what_there_is(answer: RolloutsAnswer, width: int) -> list[Line]:
    found = answer.rollouts
    facts = answer.provenance
    counts = [f"1 group of {count(found.rollouts, 'rollout')}"]
    if found.groups > 1:
        mean = found.rollouts / found.groups
        counts = [f"{found.groups:,} groups × {mean:.3g} rollouts", f"{found.rollouts:,} in all"]
    if facts.first_call is not None:
        counts.append(period(facts.first_call, facts.last_call))
    lines: list[Line] = [*map(bold, flow(counts, width))]
    if found.sized_rollouts:
        alone = [f"{tokens(found.flat_tokens)} tokens, prompt and response of each rollout"]
        once = "what rollouts of a group begin with alike counted once"
        shared = [
            f"{tokens(found.tree_tokens)} tokens, {once}",
            f"overlap (POR) {percent(found.overlap_ratio)}",
        ]
        lines += labelled("One by one", alone, width)
        lines += labelled("As trees", shared, width)
        lines += labelled("Training", _bound(found), width)
    if found.turns > found.rollouts:
        turns = [f"{found.distinct_turns:,} distinct of {found.turns:,} (one turn: one model call)"]
        lines += labelled("Turns", turns, width)
    rewards = _rewards(found)
    if rewards:
        lines += labelled("Rewards", rewards, width)
    drift = _drift(found.drift)
    if drift:
        lines += labelled("Token drift", drift, width)
    return lines


def _bound(found: Rollouts) -> list[str]:
    parts = [f"at most {times(found.bound)} faster if every shared prefix is computed once"]
    if found.rho is not None:
        parts.append(f"{times(found.rho)} sharing prompts only")
    return parts


def _rewards(found: Rollouts) -> list[str]:
    """The mean, and the chance that k rollouts of a group all succeed."""
    if found.mean_reward is None:
        return []
    parts = [f"mean {figure(found.mean_reward)}"]
    known = [k for k in (2, 4, 8) if k in found.pass_hat]
    if 1 in found.pass_hat:
        parts.append(f"{percent(found.pass_hat[1])} succeed (reward 1)")
    if known:
        k = known[-1]
        parts.append(f"all of {k} succeed: {percent(found.pass_hat[k])} (pass^{k})")
    return parts


def _drift(drift: Drift | None) -> list[str]:
    """Forks that a tokenizer faked; empty where there are none."""
    if drift is None or not (drift.drifted or drift.broken):
        return []
    parts = []
    if drift.drifted:
        parts.append(
            f"{drift.drifted:,} of {count(drift.sequences, 'sequence')} with other ids for equal text"
        )
    if drift.broken:
        parts.append(
            f"{drift.broken:,} of {count(drift.continued, 'turn')} go on from other ids than those "
            "that were generated"
        )
    if drift.drifted:
        parts.append(
            f"{tokens(drift.faked_tokens)} tokens count again for that: overlap "
            f"{percent(drift.overlap_ratio_by_ids)}, without it {percent(drift.overlap_ratio_without)}"
        )
    return parts


def _groups(groups: Sequence[RolloutGroup], width: int, top: int) -> list[Line]:
    columns = [column for column in _GROUP_COLUMNS if width >= column[1]]
    header = [
        "Biggest groups" if width >= _MEDIUM else "Groups",
        *(name for name, *_ in columns[1:]),
    ]
    rows = [header] + [[show(group) for *_, show in columns] for group in groups[:top]]
    rows = without_empty_columns(rows)
    first, *lines = grid(rows, width, numbers=range(1, len(rows[0])), flexible=0, keep_end=True)
    hidden = len(groups) - top
    shown: list[Line] = [bold(first), *lines]
    if hidden > 0:
        shown += flow([f"… {hidden:,} more (--top {len(groups)})"], width, first="  ", indent=2)
    return shown


_GROUP_COLUMNS: tuple[tuple[str, int, Callable[[RolloutGroup], str]], ...] = (
    ("Groups", 0, lambda group: f"  {plain(group.group, 200)}"),
    ("rollouts", 0, lambda group: f"{group.rollouts:,}"),
    ("distinct", _WIDE, lambda group: f"{group.distinct_rollouts:,}"),
    ("tokens", 0, lambda group: tokens(group.flat_tokens if group.sized_rollouts else None)),
    ("overlap", 0, lambda group: percent(group.overlap_ratio)),
    ("at most", _NARROW, lambda group: times(group.bound)),
    ("forks", _MEDIUM, lambda group: f"{group.forks:,}" if group.sized_rollouts else "–"),
    ("reward", _NARROW, lambda group: figure(group.mean_reward)),
    ("answers", _WIDE, lambda group: _distinct_of(group.distinct_answers, group.answers)),
    ("same answer", _MEDIUM, lambda group: percent(group.same_answer_share)),
)
"""(header, least width, cell) of each column."""


def _distinct_of(distinct: int, answers: int) -> str:
    return f"{distinct:,} in {answers:,}" if answers else "–"


def _budget(budget: TreeBudget | None, width: int) -> list[Line]:
    if budget is None:
        return []
    title = [
        f"What {count(budget.budget_tokens, 'token')} buy",
        f"the {count(budget.groups, 'group')}' tokens after the prompts, which any cache shares",
    ]
    if budget.groups == 1:
        title[1] = "the group's tokens after the prompt, which any cache shares"
    rows = [
        ["", "rollouts", ""],
        ["  sampled alone, as logged", f"{budget.chains:,}", f"{budget.distinct:,} distinct"],
    ]
    if budget.branches is not None:
        bought, more = f"{budget.branches:,.0f}", times(budget.branches / budget.chains)
        rows.append(["  branched where these forked, in larger groups", bought, more])
    by_ratio = budget.branches_by_ratio
    rows.append(
        [
            "  the same, in more groups of this size",
            f"{by_ratio:,.0f}",
            times(by_ratio / budget.chains),
        ]
    )
    for scheme in budget.schemes:
        ratio = scheme.trajectory_ratio
        bought = "–" if ratio is None else f"{ratio * budget.chains:,.0f}"
        rows.append([f"  {_scheme(scheme, width)}", bought, times(ratio)])
    if width < _MEDIUM:
        rows = [[name.replace("where these forked, ", ""), *cells] for name, *cells in rows]
    if width < _NARROW:
        rows = [row[:2] for row in rows]
    shown: list[Line] = [*map(bold, flow(title, width))]
    shown += grid(rows, width, numbers=range(1, len(rows[0])), flexible=0)
    return [*shown, *_curve(budget, width), *_merged(budget, width)]


_SCHEME_WORDS = {
    "Tree-GRPO": ("trees", "expansions", "rounds", "kept"),
    "EPTree": ("trees", "forks", "rounds", "branches"),
}
"""What the numbers of published schemes mean, in their order."""


def _scheme(scheme: Scheme, width: int) -> str:
    """A scheme with its numbers in words; its name alone where lines are short."""
    name = plain(scheme.name, 40)
    words = _SCHEME_WORDS.get(scheme.name)
    values = scheme.parameters.partition("=")[2].replace(",", " ").split()
    if width < _MEDIUM:
        return f"as {name} samples"
    if words is None or len(words) != len(values):
        return f"as {name}: {plain(scheme.parameters, 60)}"
    numbers = ", ".join(
        f"{value} {word.removesuffix('s') if value == '1' else word}"
        for value, word in zip(values, words, strict=True)
    )
    return f"as {name}: {numbers}"


def _curve(budget: TreeBudget, width: int) -> list[Line]:
    """What m rollouts of a group cost."""
    points = budget.curve
    if len(points) < 2:
        return []
    step = -(-len(points) // _CURVE_ROWS)
    kept = points[::-1][::step][::-1]
    rows = [
        [
            f"  Rollouts (groups of {points[-1].rollouts:,})",
            "tokens alone",
            "as one tree",
            "distinct",
        ]
    ] + [
        [
            f"  {point.rollouts:,}",
            tokens(round(point.chain_tokens)),
            tokens(round(point.tree_tokens)),
            f"{point.distinct:,.1f}",
        ]
        for point in kept
    ]
    if width < _NARROW:
        rows[0] = ["  Rollouts", "alone", "as tree", "distinct"]
    first, *lines = grid(rows, width, numbers=(1, 2, 3), flexible=0)
    return [bold(first), *lines]


def _merged(budget: TreeBudget, width: int) -> list[Line]:
    """What later forks would save."""
    found = [
        each for each in budget.by_depth if width >= _MEDIUM or each.fraction in _DEPTHS_NARROW
    ]
    if not found:
        return []
    label = "  Were a group together for the first" if width >= _MEDIUM else "  Together for"
    rows = [
        [label, *(f"{each.fraction:.0%}".replace("%", " %") for each in found)],
        ["  a tree saves", *(percent(each.saving) for each in found)],
        ["  together as logged", *(percent(each.merged) for each in found)],
    ]
    first, *lines = grid(rows, width, numbers=range(1, len(rows[0])), flexible=0)
    return [bold(first), *lines]


def _answers(answer: RolloutsAnswer, width: int) -> list[Line]:
    found = answer.answers
    if found is None:
        if answer.budget is None:
            return []
        return labelled(
            "Answers",
            ["none found in any group of two or more", "--answer-pattern REGEX says how they look"],
            width,
        )
    in_text = found.answered - found.logged_answers
    said = [f"{found.answered:,} of {count(found.rollouts, 'rollout')} have one"]
    if found.logged_answers > 0 and in_text > 0:
        said.append(f"{found.logged_answers:,} stated by the log, {in_text:,} found in the text")
    else:
        said.append("stated by the log" if found.logged_answers > 0 else "found in the text")
    lines = labelled("Answers", said, width)
    agree = [
        f"two of a group give the same answer: {percent(found.same_answer_share)}",
        f"{percent(found.modal_share)} of a group give its commonest one",
    ]
    if found.distinct_answers is not None:
        agree.append(f"{found.distinct_answers:.1f} distinct answers a group")
    lines += labelled("Agreement", agree, width)
    usual = answer.budget.curve[-1].rollouts if answer.budget and answer.budget.curve else None
    right = _right(found, usual)
    if right:
        lines += labelled("Right", right, width)
    if found.oracle_prune is not None:
        saved = (
            f"{percent(found.oracle_prune)} of the tokens saved, had only the shortest rollout of "
            "each answer run: a bound, as nobody knows that beforehand"
        )
        lines += labelled("At best", [saved], width)
    return lines


def _right(found: AnswerAudit, usual: int | None) -> list[str]:
    """How often answers are right. Beyond the `usual` size of a group, few groups speak for all."""
    ks = [k for k in sorted(found.pass_at_k) if usual is None or k <= usual]
    parts = []
    if ks:
        parts.append(f"one rollout {percent(found.pass_at_k[ks[0]])} (pass@{ks[0]})")
    if len(ks) > 1:
        k = ks[-1]
        parts.append(f"at least one of {k} {percent(found.pass_at_k[k])} (pass@{k})")
    if found.majority_accuracy is not None:
        parts.append(f"mean reward of the commonest answer {figure(found.majority_accuracy)}")
    return parts


_RULES = {
    "settled": "settled: no later vote can matter",
    "adaptive-consistency": "Adaptive-Consistency: leader 95 % sure",
    "esc": "ESC: 5 in a row agree",
}
"""When to stop, by the rule's name; what it is called before the colon."""

_DEEP_CONF = {
    "online, low": "DeepConf: unsure stop, top 10 % vote",
    "online, high": "DeepConf 90: least sure 10 % stop",
    "vote by tail": "DeepConf vote: all run, surest count",
}
_CLUSTERS = "pruning: of those alike, one goes on"


def _early_stop(found: AnswerAudit | None, width: int) -> list[Line]:
    if found is None or not found.early_stop:
        return []
    rows = [["Tokens saved by stopping", "in turn", "at once", "same answer", "reward"]]
    rows += [
        _stop_row(_RULES.get(rule.rule, rule.rule), rule.sequential, rule.parallel)
        for rule in found.early_stop
    ]
    rows += [_deep_conf(row) for row in found.deep_conf]
    if found.clusters is not None:
        rows.append(_stop_row(_CLUSTERS, None, found.clusters.outcome))
    if width < _MEDIUM:
        rows = [[name.partition(":")[0], *cells] for name, *cells in rows]
    if width < _NARROW:
        rows = [["Stopping", "in turn", "at once", "same"], *(row[:4] for row in rows[1:])]
    first, *lines = grid(rows, width, numbers=range(1, len(rows[0])), flexible=0)
    shown: list[Line] = [bold(first), *lines]
    explained = [
        "in turn: rollouts begin one after the other, and those not begun are saved",
        "at once: all run together, and what they have generated by then is spent",
        "same answer: groups whose vote stays; reward: change of its mean; the worse of both ways",
        f"mean of {count(found.orders, 'random order')} (seed {found.seed})",
    ]
    shown += flow(explained, width, first="  ", indent=2)
    if found.clusters is not None:
        shown += flow([_alike(found.clusters)], width, first="  ", indent=2)
    return shown


def _deep_conf(row: DeepConfRow) -> list[str]:
    return _stop_row(_DEEP_CONF.get(row.name, row.name), row.outcome, None)


def _stop_row(name: str, in_turn: Outcome | None, at_once: Outcome | None) -> list[str]:
    ways = [each for each in (in_turn, at_once) if each is not None]
    return [
        f"  {plain(name, 80)}",
        percent(None if in_turn is None else _mean(in_turn.tokens_saved)),
        percent(None if at_once is None else _mean(at_once.tokens_saved)),
        percent(_least(_mean(each.same_answer) for each in ways)),
        change(_least(_mean(each.accuracy_change) for each in ways)),
    ]


def _mean(estimate: Estimate | None) -> float | None:
    return None if estimate is None else estimate.mean


def _least(values: Iterable[float | None]) -> float | None:
    return min((each for each in values if each is not None), default=None)


def _alike(clusters: ClusterAudit) -> str:
    """How well beginning alike tells ending alike."""
    asked = (
        f"Do rollouts that begin alike ({clusters.first_tokens} tokens) end with the same answer?"
    )
    if clusters.auroc is None:
        return f"{asked} Too few pairs to tell"
    if clusters.auroc >= 0.8:
        verdict = "Mostly"
    elif clusters.auroc >= 0.6:
        verdict = "Somewhat"
    else:
        verdict = "No more than by chance" if clusters.auroc > 0.4 else "Rather the contrary"
    pairs = clusters.same_pairs + clusters.different_pairs
    return (
        f"{asked} {verdict}: likeness tells pairs that agree from pairs that do not in "
        f"{percent(clusters.auroc)} of cases, chance in 50 % (AUROC of {count(pairs, 'pair')})"
    )


def _notes(answer: RolloutsAnswer, width: int) -> list[Line]:
    found = answer.rollouts
    shown = []
    unsized = found.rollouts - found.sized_rollouts
    if unsized:
        shown.append(f"{count(unsized, 'rollout')} of unknown content left out of all token counts")
    if answer.budget is None:
        shown.append("no group has two rollouts whose content is known, so nothing can be shared")
    filters = sorted(answer.provenance.filters.items())
    shown += [plain(f"only {name} {value}", 300) for name, value in filters]
    return [*flow(shown, width, first="Note: ", indent=6)] if shown else []


def _next(answer: RolloutsAnswer, width: int, store: str | None) -> list[Line]:
    proposals: list[tuple[tuple[str, ...], str]] = []
    name = _worth_a_look(answer.groups)
    if name is not None:
        words = ("rollouts", PATHS, f"--group {shlex.quote(name)}")
        proposals.append((words, "one group, drawn as a tree"))
    if answer.rollouts.mean_reward is not None and answer.budget is not None:
        words = ("rollouts", PATHS, "--pairs pairs.jsonl")
        proposals.append((words, "preference pairs for DPO"))
    proposals.append((("forks", PATHS), "where they part"))
    return next_lines(proposals, paths=answer.provenance.paths, store=store, width=width)


def _worth_a_look(groups: Sequence[RolloutGroup]) -> str | None:
    """A name for the group with most to see, as ``--group`` takes it: mixed rewards, then forks."""
    by_interest = sorted(groups, key=lambda group: (-_mixed(group), -group.forks))
    names = [group.group for group in groups]
    for group in by_interest[:GROUPS_SHOWN]:
        if group.forks and (name := _short_name(group.group, names)) is not None:
            return name
    return None


def _mixed(group: RolloutGroup) -> float:
    """How evenly rewards from 0 to 1 are spread; 0 where all are equal, or not from 0 to 1."""
    mean = group.mean_reward
    return mean * (1 - mean) if mean is not None and 0 < mean < 1 else 0.0


def _short_name(group: str, names: Sequence[str]) -> str | None:
    """The last parts of a group's name that tell it from all others; ``None``: it cannot be typed."""
    if group != plain(group, 10 * _MAX_NAME):
        return None
    if cell_len(group) <= _MAX_NAME // 2:
        return group
    parts = group.split("/")
    for n in range(1, len(parts) + 1):
        short = "/".join(parts[-n:])
        if cell_len(short) > _MAX_NAME:
            break
        if short == group or _tells(short, group, names):
            return short
    return None


def _tells(short: str, group: str, names: Sequence[str]) -> bool:
    """Whether ``--group`` takes a part of a name for this group: see `build_drawn_tree`."""
    for found in (
        [name for name in names if name == short],
        [name for name in names if name.startswith(short)],
        [name for name in names if short in name],
    ):
        if found:
            return found == [group]
    return False

"""``--format html``: one file that works offline and loads nothing.

The page is complete without a script: all figures, charts and tables are in it as they stand. With
`ReportDetails` comes one script of our own, which draws the prefix tree and makes tables sortable;
the page's policy names it by its hash, so that nothing else can run, whatever a log holds.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TextIO

from forkpoint.analysis.fork_results import GroupFork
from forkpoint.analysis.report_details import ReportDetails
from forkpoint.analysis.report_runs import Run, Runs
from forkpoint.analysis.results import Hint, Report
from forkpoint.analysis.rollout_results import RolloutGroup
from forkpoint.cli.answer import (
    ACTIONS,
    HOW_TO_READ,
    MEANINGS,
    Amount,
    Section,
    amounts,
    cause_name,
    dearest_first,
    moment,
    notes,
    provenance,
    sections,
    sentence,
    what_was_read,
)
from forkpoint.cli.html_charts import profile, series, waterfall
from forkpoint.cli.html_parts import block, cut, digest, static_part, table, table_block, text
from forkpoint.cli.html_tree import tree_block, tree_data
from forkpoint.cli.numbers import dollars, figure, percent, tokens

_STYLE = "html_page.css"
_SCRIPT = "html_page.js"

_NAME_LIMIT = 28
"""Characters of a project or models in the table of runs."""
_WATERFALL = "From all input to what the cache served"
_LEDGER = "Savings ledger"
_CAUSES = "Lost to"
_ROLLOUTS = "Rollouts"
_FORKS = "Fork points"
_ENTROPY = "Token entropy"
_BEFORE_TIME = (_WATERFALL, _LEDGER)
_AFTER_TREE = (_CAUSES, _ROLLOUTS, _FORKS, _ENTROPY)
"""Sections of the answer in the order of the page; all others follow."""


class HtmlReporter:
    """The whole report as one self-contained page.

    Args:
        details: of the same logs; without them the page has no tree, no course of time, no list of
            runs, groups or things to do, and no script.
    """

    kind = "html"

    def __init__(self, details: ReportDetails | None = None) -> None:
        self._details = details

    def render(self, report: Report, out: TextIO) -> None:
        """Write the page."""
        style = f"\n{static_part(_STYLE)}"
        script = "" if self._details is None else f"\n{static_part(_SCRIPT)}"
        out.write(
            '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
            f'<meta http-equiv="Content-Security-Policy" content="{_policy(style, script)}">\n'
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            '<meta name="color-scheme" content="light dark">\n'
            '<meta name="referrer" content="no-referrer">\n'
            '<meta name="robots" content="noindex">\n'
            f"<title>forkpoint report</title>\n<style>{style}</style>\n</head>\n<body>\n<main>\n"
        )
        out.write(_header(report, () if self._details is None else self._details.hints))
        out.writelines(self._body(report))
        out.write(f"{_how_to_read()}</main>\n{_footer(report)}")
        if self._details is not None:
            if self._details.tree is not None:
                out.write(tree_data(self._details.tree))
            out.write(f"<script>{script}</script>\n")
        out.write("</body>\n</html>\n")

    def _body(self, report: Report) -> Iterable[str]:
        details = self._details
        found = {section.title: section for section in sections(report)}
        for title in _BEFORE_TIME:
            yield self._section(report, found.pop(title, None))
        if details is not None and details.series is not None:
            yield _time_block(details)
        if details is not None and details.runs is not None:
            yield _runs_block(details.runs)
        if details is not None and details.tree is not None:
            yield tree_block(details.tree)
        for title in _AFTER_TREE:
            yield self._section(report, found.pop(title, None))
            if title == _CAUSES and details is not None:
                yield _hints_block(details.hints)
            if title == _ROLLOUTS and details is not None:
                yield _groups_block(details.groups)
                yield _group_forks_block(details.rollout_forks)
        for section in found.values():
            yield table_block(section)

    def _section(self, report: Report, section: Section | None) -> str:
        if section is None:
            return ""
        if section.title == _WATERFALL:
            return block(section.title, section.note, waterfall(report.cache))
        if section.title == _ENTROPY and report.entropy is not None:
            bars = profile(
                "Mean entropy from the beginning of a completion to its end, nats",
                report.entropy.profile_nats,
                lambda nats: f"{nats:.2g}",
            )
            return block(section.title, section.note, table(section) + bars)
        return table_block(section)


def _policy(style: str, script: str) -> str:
    """What the page may do: nothing but apply its own style and run its own script."""
    rules = ["default-src 'none'", f"style-src {digest(style)}"]
    if script:
        rules.append(f"script-src {digest(script)}")
    return "; ".join([*rules, "base-uri 'none'", "form-action 'none'"])


def _header(report: Report, hints: Sequence[Hint]) -> str:
    read = f'<p class="soft">{text(" · ".join(what_was_read(report)))}</p>\n'
    return (
        f"<header>\n<h1>{text(sentence(report), 600)}</h1>\n{_largest_cause(report, hints)}{read}"
        f"{_amounts(amounts(report))}{_list(notes(report))}</header>\n"
    )


def _largest_cause(report: Report, hints: Sequence[Hint]) -> str:
    """Why, and what to do: the hint worth most, or without hints what helps against the cause."""
    causes = dearest_first(report.cache.misses_by_cause)
    if not causes:
        return ""
    first = causes[0]
    lost = f"{tokens(first.tokens)} tokens" + (
        "" if first.usd is None else f", {dollars(first.usd)}"
    )
    meaning = MEANINGS.get(first.cause)
    why = cause_name(first) + (f" ({meaning})" if meaning else "")
    said = f"The largest cause: {why}: {lost}. {_advice(first.cause, hints)}"
    return f'<p class="cause">{text(said.rstrip(), 600)}</p>\n'


def _advice(cause: str, hints: Sequence[Hint]) -> str:
    if hints:
        best = hints[0]
        worth = "" if best.usd is None else f" It would have saved {dollars(best.usd)}."
        return f"What to do first: {_lower(best.action)}.{worth}"
    action = ACTIONS.get(cause, "")
    return f"What helps: {action}." if action and not action.startswith("none") else ""


def _lower(action: str) -> str:
    return action[:1].lower() + action[1:]


def _amounts(shown: Iterable[Amount]) -> str:
    return f'<dl class="amounts">\n{"".join(map(_amount, shown))}</dl>\n'


def _amount(shown: Amount) -> str:
    details = "".join(f'<dd class="soft">{text(detail)}</dd>' for detail in shown.details)
    return (
        f'<div><dt>{text(shown.label)}</dt><dd class="usd">{text(shown.usd)}</dd>'
        f"<dd>{text(shown.tokens)}</dd>{details}</div>\n"
    )


def _list(items: Sequence[str]) -> str:
    if not items:
        return ""
    lines = "".join(f"<li>{text(item)}</li>\n" for item in items)
    return f'<ul class="notes" aria-label="Notes">\n{lines}</ul>\n'


def _time_block(details: ReportDetails) -> str:
    found = details.series
    charts = series(found) if found is not None else ""
    if found is None or not charts:
        return ""
    note = "Times are UTC."
    if found.untimed_calls:
        note += f" {found.untimed_calls:,} calls without a date in their logs are left out."
    return block("Cost and hit rate over time", note, charts)


def _runs_block(runs: Runs) -> str:
    header = (
        "cost", "begun (UTC)", "project", "model", "calls", "input", "hit rate", "output",
        "paid again", "worth", "first call",
    )  # fmt: skip
    note = (
        "Dearest first; subagents are runs of their own. Paid again: tokens sent before and not "
        "read from a cache; worth: what reading them would have saved."
    )
    left_out = runs.count - len(runs.top)
    if left_out:
        note += f" {left_out:,} cheaper runs are left out; --by session has all."
    return table_block(
        Section(
            "What each run cost",
            note,
            header,
            tuple(map(_run_cells, runs.top)),
            frozenset((0, 4, 5, 6, 7, 8, 9)),
        )
    )


def _run_cells(run: Run) -> tuple[str, ...]:
    at_least = "≥ " if run.cost_usd is not None and run.unpriced_calls else ""
    return (
        f"{at_least}{dollars(run.cost_usd)}",
        moment(run.begun_at).removesuffix(" UTC"),
        cut(run.project or "–", _NAME_LIMIT),
        cut(", ".join(run.models) or "–", _NAME_LIMIT),
        f"{run.calls:,}",
        tokens(run.input_tokens),
        percent(run.hit_rate),
        tokens(run.output_tokens),
        tokens(run.missed_tokens),
        dollars(run.missed_usd),
        f"{run.path}:{run.line}",
    )


def _hints_block(hints: Sequence[Hint]) -> str:
    if not hints:
        return ""
    return table_block(
        Section(
            "What to do",
            "What each step alone would have saved on these calls, by their own times and prices. "
            "Steps may overlap.",
            ("do this", "saves", "calls", "tokens", "against", "because", "for example"),
            tuple(
                (
                    hint.action[:1].upper() + hint.action[1:],
                    dollars(hint.usd),
                    f"{hint.calls:,}",
                    tokens(hint.tokens),
                    hint.cause,
                    hint.evidence,
                    f"{hint.path}:{hint.line}",
                )
                for hint in hints
            ),
            frozenset((1, 2, 3)),
        )
    )


def _groups_block(groups: Sequence[RolloutGroup]) -> str:
    if not groups:
        return ""
    rows = tuple(
        (
            each.group,
            f"{each.rollouts:,}",
            tokens(each.flat_tokens),
            tokens(each.tree_tokens),
            percent(each.overlap_ratio),
            f"{each.forks:,}",
            f"{each.answers:,}",
            f"{each.distinct_answers:,}",
            percent(each.modal_share),
            figure(each.mean_reward),
        )
        for each in groups
    )
    header = (
        "group", "rollouts", "tokens", "distinct", "overlap", "forks",
        "answers", "different", "commonest", "mean reward",
    )  # fmt: skip
    return table_block(
        Section(
            "Groups of rollouts",
            "Tokens: each rollout whole; distinct: what a tree of them holds. Commonest: share of the "
            "rollouts that gave the group's commonest answer.",
            header,
            rows,
            frozenset(range(1, len(header))),
        )
    )


def _group_forks_block(forks: Sequence[GroupFork]) -> str:
    if not forks:
        return ""
    rows = tuple(
        (
            each.group,
            tokens(each.depth_tokens),
            f"{each.rollouts:,}",
            f"{each.fan_out:,}",
            each.by,
            figure(each.branching_entropy_nats),
            figure(each.value),
            figure(each.contrast),
            figure(each.p_value),
            ", ".join(
                branch.path if branch.line is None else f"{branch.path}:{branch.line}"
                for branch in each.branches[:2]
            ),
        )
        for each in forks
    )
    header = (
        "group", "at token", "rollouts", "ways", "made by", "entropy, nats",
        "mean reward", "contrast", "p", "branches",
    )  # fmt: skip
    return table_block(
        Section(
            "Where rollouts part",
            "Largest contrast first: the best branch's mean reward less the worst one's. Entropy: of "
            "the branches. p: the chance of such a contrast if rewards fell at random, for this fork "
            "alone.",
            header,
            rows,
            frozenset((1, 2, 3, 5, 6, 7, 8)),
        )
    )


def _how_to_read() -> str:
    words = "".join(
        f"<div><dt>{text(word)}</dt><dd>{text(meaning, 1000)}</dd></div>\n"
        for word, meaning in HOW_TO_READ
    )
    return block("How to read this", "", f'<dl class="words">\n{words}</dl>\n')


def _footer(report: Report) -> str:
    facts = "".join(
        f"<div><dt>{text(name)}</dt><dd>{text(value, 1000)}</dd></div>\n"
        for name, value in provenance(report)
    )
    return f'<footer>\n<h2>Provenance</h2>\n<dl class="words">\n{facts}</dl>\n</footer>\n'

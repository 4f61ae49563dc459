"""What a report shows beside its answer where there is room for it: what to do, the dearest runs,
the tree, the course of time, every group of rollouts. Measured only where it is shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from forkpoint.analysis.advice import hints, lifetimes, load_spending
from forkpoint.analysis.answer_audit import group_stats
from forkpoint.analysis.fork_answer import RolloutForks
from forkpoint.analysis.fork_results import GroupFork
from forkpoint.analysis.measured import Measured, measure_scope
from forkpoint.analysis.report import NO_FILTERS
from forkpoint.analysis.report_runs import Runs, measure_runs
from forkpoint.analysis.report_series import TimeSeries, measure_series
from forkpoint.analysis.report_tree import ReportTree, measure_tree
from forkpoint.analysis.results import Hint
from forkpoint.analysis.rollout_answer import describe_groups
from forkpoint.analysis.rollout_results import RolloutGroup
from forkpoint.analysis.rollout_texts import coded_answers
from forkpoint.analysis.rollouts import load_grouped
from forkpoint.analysis.scope import Filters
from forkpoint.analysis.store import Store

TOP_FORKS = 25


@dataclass(frozen=True, slots=True)
class ReportDetails:
    """What goes with a `forkpoint.analysis.results.Report` on a page."""

    tree: ReportTree | None
    """``None``: no call is of known size."""
    series: TimeSeries | None
    """``None``: no call has a time."""
    runs: Runs | None
    """``None``: no call states its tokens."""
    hints: tuple[Hint, ...]
    """What to do about lost tokens, by what each would have saved alone."""
    groups: tuple[RolloutGroup, ...]
    """By flat tokens, largest first."""
    rollout_forks: tuple[GroupFork, ...]
    """By contrast, then by rollouts."""


def build_details(
    store: Store,
    paths: Sequence[Path],
    *,
    filters: Filters = NO_FILTERS,
    prices: Path | None = None,
    rules: Path | None = None,
) -> ReportDetails:
    """The details of the report on the logs at or under `paths`.

    Args:
        paths: absolute; what is there has been ingested.
        prices: a file of prices that go before the built-in ones.
        rules: a file of cache rules that go before the built-in ones.

    Raises:
        ForkpointError: `prices` or `rules` cannot be used.
    """
    it = measure_scope(store, paths, filters, prices, rules)
    grouped = load_grouped(store, it.prompts)
    stats = group_stats(coded_answers(store, grouped), grouped)
    forks = RolloutForks(grouped)
    return ReportDetails(
        tree=measure_tree(store, it.prompts, it.missed),
        series=measure_series(store),
        runs=measure_runs(store, it.missed),
        hints=_hints(store, it),
        groups=describe_groups(grouped, stats),
        rollout_forks=forks.described(store, forks.order[:TOP_FORKS]),
    )


def _hints(store: Store, it: Measured) -> tuple[Hint, ...]:
    spending = load_spending(store, it.prompts, it.fall.facts)
    options = lifetimes(it.prompts, it.missed, it.fall, spending)
    return hints(store, it.prompts, it.missed, it.fall, spending, options)

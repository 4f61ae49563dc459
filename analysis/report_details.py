"""What a report shows beside its answer where there is room for it: the tree, the course of time,
every group of rollouts. Measured only where it is shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from forkpoint.analysis.answer_audit import group_stats
from forkpoint.analysis.cache import ideal_reuse, measure_missed
from forkpoint.analysis.costs import price_scope
from forkpoint.analysis.fork_answer import RolloutForks
from forkpoint.analysis.fork_results import GroupFork
from forkpoint.analysis.prompts import load_prompts
from forkpoint.analysis.report import NO_FILTERS
from forkpoint.analysis.report_series import TimeSeries, measure_series
from forkpoint.analysis.report_tree import ReportTree, measure_tree
from forkpoint.analysis.rollout_answer import describe_groups
from forkpoint.analysis.rollout_results import RolloutGroup
from forkpoint.analysis.rollout_texts import coded_answers
from forkpoint.analysis.rollouts import GroupedRollouts, load_rollouts
from forkpoint.analysis.scope import Filters, select_scope
from forkpoint.analysis.store import Store

TOP_FORKS = 25


@dataclass(frozen=True, slots=True)
class ReportDetails:
    """What goes with a `forkpoint.analysis.results.Report` on a page."""

    tree: ReportTree | None
    """``None``: no call is of known size."""
    series: TimeSeries | None
    """``None``: no call has a time."""
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
) -> ReportDetails:
    """The details of the report on the logs at or under `paths`.

    Args:
        paths: absolute; what is there has been ingested.
        prices: a file of prices that go before the built-in ones.

    Raises:
        ForkpointError: `prices` cannot be used.
    """
    select_scope(store, paths, filters)
    price_scope(store, prices)
    prompts = load_prompts(store)
    missed = measure_missed(store, prompts, ideal_reuse(prompts))
    grouped = GroupedRollouts(load_rollouts(store, prompts), prompts)
    stats = group_stats(
        coded_answers(store, grouped), grouped.table.group, len(grouped.table.groups)
    )
    forks = RolloutForks(grouped)
    return ReportDetails(
        tree=measure_tree(store, prompts, missed),
        series=measure_series(store),
        groups=describe_groups(grouped, stats),
        rollout_forks=forks.described(store, forks.order[:TOP_FORKS]),
    )

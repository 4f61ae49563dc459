"""The answers behind the commands: one function per answer, from a store to result dataclasses."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from forkpoint import __version__
from forkpoint.analysis.answer_audit import group_stats, same_answer_share
from forkpoint.analysis.cache import prompt_reuse
from forkpoint.analysis.forks import find_forks, top_forks
from forkpoint.analysis.measured import measure_scope
from forkpoint.analysis.prompts import Prompts, load_prompts
from forkpoint.analysis.results import PrefixTree, Provenance, Report, Rollouts
from forkpoint.analysis.rollout_texts import coded_answers
from forkpoint.analysis.rollouts import load_grouped, measure_rollouts
from forkpoint.analysis.savings import measure_savings
from forkpoint.analysis.scope import DATED, Filters, select_scope
from forkpoint.analysis.store import Store
from forkpoint.analysis.token_entropy import load_scored_tokens, measure_entropy
from forkpoint.analysis.totals import BY, measure_groups, measure_sources, measure_totals
from forkpoint.analysis.tree import NEVER
from forkpoint.analysis.waterfall import measure_cache

__all__ = ["BY", "Filters", "build_prefixes", "build_report"]

TOP_FORKS = 10
NO_FILTERS = Filters()


def build_report(
    store: Store,
    paths: Sequence[Path],
    *,
    filters: Filters = NO_FILTERS,
    by: str | None = None,
    prices: Path | None = None,
    rules: Path | None = None,
) -> Report:
    """The whole answer for the logs at or under `paths`.

    Args:
        paths: absolute; what is there has been ingested.
        by: one of `BY`, for `Report.groups_by`.
        prices: a file of prices that go before the built-in ones.
        rules: a file of cache rules that go before the built-in ones.

    Raises:
        ForkpointError: `prices` or `rules` cannot be used, or `by` is unknown.
    """
    it = measure_scope(store, paths, filters, prices, rules)
    totals, hit_rate, read_share = measure_totals(store)
    cache = measure_cache(store, it.prompts, it.reuse, it.missed, it.fall, hit_rate, read_share)
    rollouts = _rollouts(store, it.prompts)
    scored = load_scored_tokens(store)
    return Report(
        sources=measure_sources(store),
        totals=totals,
        cache=cache,
        prefix_tree=_prefix_tree(store, it.prompts, top=TOP_FORKS, min_calls=2),
        rollouts=rollouts,
        entropy=measure_entropy(scored),
        savings=measure_savings(store, totals, it.missed, rollouts, scored, cache.evidence),
        provenance=describe_provenance(store, paths, filters, it.price_book),
        by=by,
        groups_by=measure_groups(store, by) if by is not None else (),
    )


def _rollouts(store: Store, prompts: Prompts) -> Rollouts:
    grouped = load_grouped(store, prompts)
    stats = group_stats(coded_answers(store, grouped), grouped)
    return measure_rollouts(grouped, same_answer_share(stats))


def describe_provenance(
    store: Store, paths: Sequence[Path], filters: Filters, book: str | None
) -> Provenance:
    """What an answer about the scope rests on; `book` names the prices."""
    first, last = store.rows(
        f"SELECT min(started_at), max(started_at) FROM scope_calls WHERE {DATED}"
    )[0]
    return Provenance(
        version=__version__,
        paths=tuple(str(path) for path in paths),
        encoding=store.get_meta("encoding") or "",
        price_book=book,
        first_call=first,
        last_call=last,
        filters=filters.described(),
    )


def build_prefixes(
    store: Store,
    paths: Sequence[Path],
    *,
    filters: Filters = NO_FILTERS,
    min_calls: int = 2,
    top: int = 10,
) -> PrefixTree:
    """The biggest trunks under `paths` and where they fork.

    Args:
        min_calls: forks with fewer calls below them are left out.
        top: how many forks at most.
    """
    select_scope(store, paths, filters)
    return _prefix_tree(store, load_prompts(store), top=top, min_calls=min_calls)


def _prefix_tree(store: Store, prompts: Prompts, *, top: int, min_calls: int) -> PrefixTree:
    sized = prompts.size >= 0
    flat = int(prompts.size[sized].sum())
    tree = flat - int(prompt_reuse(prompts).tokens.sum())
    forks = find_forks(prompts)
    refined = {
        int(prompts.tree.parent[nodes[0]])
        for nodes, _ in prompts.siblings.runs(prompts.seen != NEVER)
    }
    return PrefixTree(
        flat_tokens=flat,
        tree_tokens=tree,
        overlap_ratio=1 - tree / flat if flat else None,
        fork_points=forks.count,
        top_forks=top_forks(store, prompts, forks, top=top, min_calls=min_calls),
        unrefined_forks=sum(node not in refined for node in forks.node.tolist()),
    )

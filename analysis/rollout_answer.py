"""The answer behind ``forkpoint rollouts``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from forkpoint.analysis.answer_audit import (
    audit_answers,
    group_stats,
    partial_length,
    same_answer_share,
)
from forkpoint.analysis.answers import AnswerStats
from forkpoint.analysis.group_trees import find_group_forks
from forkpoint.analysis.prompts import load_prompts
from forkpoint.analysis.report import NO_FILTERS, describe_provenance
from forkpoint.analysis.rollout_results import RolloutGroup, RolloutsAnswer
from forkpoint.analysis.rollout_texts import coded_answers, read_first_tokens
from forkpoint.analysis.rollouts import (
    GroupedRollouts,
    load_grouped,
    measure_rollouts,
    turns_by_group,
)
from forkpoint.analysis.scope import Filters, select_scope
from forkpoint.analysis.store import Store
from forkpoint.analysis.token_entropy import load_scored_tokens
from forkpoint.analysis.tree_budget import PUBLISHED, Schemes, measure_budget
from forkpoint.analysis.votes import ORDERS


def build_rollouts(
    store: Store,
    paths: Sequence[Path],
    *,
    filters: Filters = NO_FILTERS,
    pattern: re.Pattern[str] | None = None,
    orders: int = ORDERS,
    seed: int = 0,
    schemes: Schemes = PUBLISHED,
) -> RolloutsAnswer:
    """Groups of rollouts under `paths`: trees, budgets, answers and what stopping early saves.

    Args:
        pattern: finds an answer in a rollout's text, before the built-in patterns do.
        orders, seed: random orders that the simulations average over.
        schemes: ways to sample trees that the budget is compared with.
    """
    select_scope(store, paths, filters)
    prompts = load_prompts(store)
    grouped = load_grouped(store, prompts)
    codes = coded_answers(store, grouped, pattern)
    stats = group_stats(codes, grouped)
    has_answers = bool((codes >= 0).any())
    audit = audit_answers(
        grouped,
        codes,
        stats,
        read_first_tokens(store, grouped, partial_length(grouped)) if has_answers else None,
        load_scored_tokens(store) if has_answers else None,
        orders=orders,
        seed=seed,
    )
    return RolloutsAnswer(
        rollouts=measure_rollouts(grouped, same_answer_share(stats)),
        groups=describe_groups(grouped, stats),
        budget=measure_budget(grouped.trees, grouped.prompt_tokens, schemes),
        answers=audit,
        provenance=describe_provenance(store, paths, filters, None),
    )


def describe_groups(grouped: GroupedRollouts, stats: list[AnswerStats]) -> tuple[RolloutGroup, ...]:
    """One row a group, largest first."""
    table, trees = grouped.table, grouped.trees
    n = len(table.groups)
    which = trees.group[trees.starts[:-1]]
    by_group = {
        name: np.zeros(n, dtype=np.int64) for name in ("sized", "flat", "tree", "trunk", "distinct")
    }
    by_group["sized"][which] = trees.sizes
    by_group["flat"][which] = trees.flat_tokens
    by_group["tree"][which] = trees.tree_tokens
    by_group["trunk"][which] = trees.trunk_tokens
    by_group["distinct"][which] = trees.sums((~trees.repeats).astype(np.int64))
    turns, distinct_turns = turns_by_group(grouped)
    forks = np.bincount(trees.group[find_group_forks(trees).first], minlength=n)
    known = ~np.isnan(table.reward)
    rewarded = np.bincount(table.group[known], minlength=n)
    reward = np.bincount(table.group[known], weights=table.reward[known], minlength=n)
    sized = grouped.generated_tokens >= 0
    generating = np.bincount(table.group[sized], minlength=n)
    generated = np.bincount(
        table.group[sized], weights=grouped.generated_tokens[sized], minlength=n
    )
    rows = []
    for i, name in enumerate(table.groups):
        flat, tree, trunk, sized_n = (
            int(by_group[key][i]) for key in ("flat", "tree", "trunk", "sized")
        )
        unshared = flat - (sized_n - 1) * trunk
        rows.append(
            RolloutGroup(
                group=name,
                rollouts=stats[i].traces,
                sized_rollouts=sized_n,
                distinct_rollouts=int(by_group["distinct"][i]),
                turns=int(turns[i]),
                distinct_turns=int(distinct_turns[i]),
                flat_tokens=flat,
                tree_tokens=tree,
                overlap_ratio=1 - tree / flat if flat else None,
                trunk_tokens=trunk,
                rho=flat / unshared if flat and unshared else None,
                bound=flat / tree if tree else None,
                forks=int(forks[i]),
                mean_generated_tokens=float(generated[i] / generating[i])
                if generating[i]
                else None,
                mean_reward=float(reward[i] / rewarded[i]) if rewarded[i] else None,
                answers=stats[i].answered,
                distinct_answers=stats[i].distinct,
                modal_share=stats[i].modal_share if stats[i].answered else None,
                same_answer_share=stats[i].pair_redundancy if stats[i].answered else None,
            )
        )
    return tuple(sorted(rows, key=lambda row: (-row.flat_tokens, -row.rollouts, row.group)))

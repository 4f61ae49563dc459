"""What the logged token budget would buy, sampled as trees: per group by `branching`, over groups.

Budgets are of tokens after the prompt. A prompt is computed once for all rollouts of a group by any
engine that caches prefixes, so to count it as saved by a tree would be to count it twice.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from forkpoint.analysis.branching import (
    BudgetCurve,
    LoggedRollouts,
    SchemeBudget,
    ep_tree_budget,
    saving_by_depth,
    trajectories_per_budget,
    tree_grpo_budget,
)
from forkpoint.analysis.group_trees import GroupTrees, find_group_forks
from forkpoint.analysis.rollout_results import BudgetPoint, MergedDepth, Scheme, TreeBudget
from forkpoint.analysis.tree import Floats, Ints

Numbers = tuple[int, int, int, int]


@dataclass(frozen=True)
class Schemes:
    """Ways to sample trees, by default as the published scripts do.

    Attributes:
        tree_grpo: M trees, N expansions, L rounds, K kept of each tree (arXiv:2509.21240).
        ep_tree: M trees, N forks, L rounds, T branches (arXiv:2506.11902).

    Raises:
        ValueError: a negative number, no tree, or more kept than a tree has leaves.
    """

    tree_grpo: Numbers = (2, 2, 1, 3)
    ep_tree: Numbers = (6, 2, 1, 2)

    def __post_init__(self) -> None:
        nothing = LoggedRollouts(0.0, 0.0)
        tree_grpo_budget(*self.tree_grpo, nothing)
        ep_tree_budget(*self.ep_tree, nothing)


PUBLISHED = Schemes()
FRACTIONS = (0.0, 0.25, 0.5, 0.75, 0.9)
CURVE_POINTS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


def measure_budget(
    trees: GroupTrees, prompt: Ints, schemes: Schemes = PUBLISHED
) -> TreeBudget | None:
    """Chains against trees, over all groups of two or more rollouts; ``None`` without one.

    Args:
        prompt: per place in `trees`, tokens of the rollout's prompt, if known, else 0.
    """
    trees, prompts = after_prompts(trees, prompt)
    spans = [(a, b) for a, b in pairwise(trees.starts.tolist()) if b - a > 1]
    curves: list[BudgetCurve] = []
    kept: list[tuple[int, int]] = []
    for a, b in spans:
        curve = trajectories_per_budget(trees.length[a:b], trees.shared[a:b])
        if curve is not None:
            curves.append(curve)
            kept.append((a, b))
    if not curves:
        return None
    chains = sum(b - a for a, b in kept)
    flat, tree = (
        sum(float(getattr(curve, name)[-1]) for curve in curves)
        for name in ("chain_tokens", "tree_tokens")
    )
    log = _logged(trees, prompts, kept)
    return TreeBudget(
        groups=len(curves),
        budget_tokens=round(flat),
        tree_tokens=round(tree),
        chains=chains,
        distinct=round(sum(float(curve.distinct[-1]) for curve in curves)),
        branches=_branches(curves, chains, flat, tree),
        branches_by_ratio=chains * flat / tree,
        curve=_mean_curve(curves),
        schemes=(
            _scheme(
                "Tree-GRPO",
                "M, N, L, K",
                schemes.tree_grpo,
                tree_grpo_budget(*schemes.tree_grpo, log),
            ),
            _scheme("EPTree", "M, N, L, T", schemes.ep_tree, ep_tree_budget(*schemes.ep_tree, log)),
        ),
        by_depth=_by_depth(trees, kept),
    )


def _branches(curves: list[BudgetCurve], chains: int, flat: float, tree: float) -> float | None:
    """Rollouts that the logged budget buys as trees: what the trees save, spent on further rollouts
    at the mean cost of all those after the first of each group.

    Pooled over groups: taken by itself, a group of nearly equal rollouts would buy any number.
    """
    firsts = sum(float(curve.tree_tokens[0]) for curve in curves)
    marginal = (tree - firsts) / (chains - len(curves))
    return chains + (flat - tree) / marginal if marginal > 0 else None


def after_prompts(trees: GroupTrees, prompt: Ints) -> tuple[GroupTrees, Ints]:
    """The trees without their groups' prompts, and the prompt's tokens per rollout.

    A group's prompt is what its rollouts are known to have begun with: the shortest of their
    prompts, and no more than all of them share.
    """
    if not len(prompt):
        return trees, prompt
    shortest = np.minimum.reduceat(prompt, trees.starts[:-1])
    common = np.repeat(np.minimum(shortest, trees.trunk_tokens), trees.sizes)
    shared = np.where(trees.begins, 0, trees.shared - common)
    return replace(trees, length=trees.length - common, shared=shared), common


def _mean_curve(curves: list[BudgetCurve]) -> tuple[BudgetPoint, ...]:
    """Over the groups of the commonest size, so that every point is of the same groups."""
    size = Counter(len(curve.rollouts) for curve in curves).most_common(1)[0][0]
    same = [curve for curve in curves if len(curve.rollouts) == size]
    chain, tree, distinct = (
        np.mean([getattr(curve, name) for curve in same], axis=0)
        for name in ("chain_tokens", "tree_tokens", "distinct")
    )
    points = sorted({m for m in CURVE_POINTS if m < size} | {size})
    return tuple(
        BudgetPoint(m, float(chain[m - 1]), float(tree[m - 1]), float(distinct[m - 1]))
        for m in points
    )


def _logged(trees: GroupTrees, prompt: Ints, spans: list[tuple[int, int]]) -> LoggedRollouts:
    """Mean prompt and rollout of the log, and how far into a rollout its forks fall: each branch
    beyond a fork's first is one continuation."""
    inside = np.concatenate([np.arange(a, b) for a, b in spans])
    forks = find_group_forks(trees)
    fractions: Floats = forks.depth / np.maximum(trees.length[forks.first], 1)
    weighted = np.repeat(np.minimum(fractions, 1.0), forks.fan_out - 1)
    return LoggedRollouts(
        prompt_tokens=float(prompt[inside].mean()),
        rollout_tokens=float(trees.length[inside].mean()),
        fork_fractions=weighted if len(weighted) else None,
    )


def _scheme(name: str, letters: str, values: tuple[int, ...], budget: SchemeBudget) -> Scheme:
    return Scheme(
        name=name,
        parameters=f"{letters} = {', '.join(map(str, values))}",
        leaves=budget.leaves,
        kept=budget.kept,
        sampled_tokens=budget.sampled_tokens,
        tree_tokens=budget.tree_tokens,
        flat_tokens=budget.flat_tokens,
        trajectory_ratio=budget.trajectory_ratio,
    )


def _by_depth(trees: GroupTrees, spans: list[tuple[int, int]]) -> tuple[MergedDepth, ...]:
    fractions = np.array(FRACTIONS)
    flat, saved = 0.0, np.zeros(len(fractions))
    merged: list[Floats] = []
    for a, b in spans:
        found = saving_by_depth(trees.length[a:b], trees.shared[a:b], fractions)
        if found is not None:
            weight = float(trees.length[a:b].sum())
            flat += weight
            saved += weight * found.saving
            merged.append(found.merged)
    rows = np.array(merged)
    known = ~np.isnan(rows)
    total, n = np.where(known, rows, 0.0).sum(axis=0), known.sum(axis=0)
    return tuple(
        MergedDepth(
            fraction=fraction,
            saving=float(saved[i] / flat),
            merged=float(total[i] / n[i]) if n[i] else None,
        )
        for i, fraction in enumerate(FRACTIONS)
    )

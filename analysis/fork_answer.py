"""The answer behind ``forkpoint forks``: where prompts and rollouts part, and what it was worth."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from forkpoint.analysis.branching import (
    BranchingEntropy,
    branching_entropy,
    contrast_of,
    values_by_subtree,
)
from forkpoint.analysis.fork_results import (
    DepthBand,
    ForkBranch,
    ForksAnswer,
    GroupFork,
    GroupForkSummary,
)
from forkpoint.analysis.forks import BRANCHES_SHOWN, find_forks, top_forks
from forkpoint.analysis.group_trees import GroupForks, branch_means, find_group_forks
from forkpoint.analysis.prompts import load_prompts
from forkpoint.analysis.report import NO_FILTERS, describe_provenance
from forkpoint.analysis.rollouts import GroupedRollouts, load_grouped
from forkpoint.analysis.scope import Filters, select_scope
from forkpoint.analysis.store import Store
from forkpoint.analysis.token_entropy import TOP_SHARE, load_scored_tokens, measure_entropy
from forkpoint.analysis.token_runs import fold
from forkpoint.analysis.tree import Flags, Floats, Ints
from forkpoint.analysis.tree_texts import Place, beginnings

BANDS = (0.0, 0.25, 0.5, 0.75, 1.0)


def build_forks(
    store: Store,
    paths: Sequence[Path],
    *,
    filters: Filters = NO_FILTERS,
    threshold: float | None = None,
    top_share: float = TOP_SHARE,
    top: int = 10,
) -> ForksAnswer:
    """Fork points under `paths`.

    Args:
        threshold: entropy in nats from which a token counts as one of high entropy; by default what
            the top share of all tokens in scope reach.
        top_share: that share, in (0, 1).
        top: how many forks at most, of each kind.
    """
    select_scope(store, paths, filters)
    prompts = load_prompts(store)
    found = find_forks(prompts)
    grouped = load_grouped(store, prompts)
    forks = RolloutForks(grouped)
    return ForksAnswer(
        fork_points=found.count,
        prompt_forks=top_forks(store, prompts, found, top=top),
        rollout_forks=forks.summary() if len(grouped.sized) else None,
        top_rollout_forks=forks.described(store, forks.order[:top]),
        entropy=measure_entropy(load_scored_tokens(store, threshold, top_share)),
        provenance=describe_provenance(store, paths, filters, None),
    )


class RolloutForks:
    """The forks of all groups of rollouts, with what became of their branches.

    Args:
        grouped: the rollouts in scope.
    """

    def __init__(self, grouped: GroupedRollouts) -> None:
        self.grouped = grouped
        self.trees = grouped.trees
        self.forks: GroupForks = find_group_forks(self.trees)

    @cached_property
    def reward(self) -> Floats:
        """Per place in the trees; NaN where none is logged."""
        return self.grouped.table.reward[self.trees.rollout]

    @cached_property
    def values(self) -> tuple[Floats, Ints]:
        """(V, rollouts of known reward) per branch."""
        return branch_means(self.forks, self.reward)

    @cached_property
    def contrast(self) -> Floats:
        """Greatest less least V per fork; NaN where fewer than two are known."""
        return contrast_of(self.values[0], self.forks.offsets)

    @cached_property
    def entropy(self) -> BranchingEntropy:
        """Branching entropy per fork."""
        return branching_entropy(self.forks.counts, self.forks.offsets)

    @cached_property
    def parting(self) -> Ints:
        """Per fork, the first rollout of its second branch: it parts from the one before it."""
        return self.forks.branch[self.forks.offsets[:-1] + 1]

    @cached_property
    def generated_depth(self) -> Ints:
        """Generated tokens above each fork."""
        return self.grouped.shared_generated[self.parting]

    @property
    def by_model(self) -> Flags:
        """Whether a model wrote the beginnings of all branches. A branch that only ends is nobody's
        and does not count."""
        return self._makers[0]

    @property
    def by_environment(self) -> Flags:
        """Whether somebody else is known to have written the beginning of a branch: it is a message.
        Of token ids and rendered text only what was sampled has a known author."""
        return self._makers[1]

    @cached_property
    def _makers(self) -> tuple[Flags, Flags]:
        trees, forks, made = self.trees, self.forks, self.grouped.generated
        prompts = self.grouped.prompts
        first = forks.branch
        fork = forks.branch_fork
        meet = trees.meet[self.parting][fork]
        child = prompts.tree.ancestor_at(trees.leaf[first], prompts.tree.level[meet] + 1)
        inside = forks.depth[fork] - prompts.token_depth[meet]
        ends = trees.length[first] == forks.depth[fork]
        written = made.node[child] & (inside >= made.lead[child])
        by_model = fold(np.logical_and, written | ends, forks.offsets, True).astype(np.bool_)
        others = ~written & ~ends & ~prompts.is_cut[child]
        by_others = fold(np.logical_or, others, forks.offsets, False).astype(np.bool_)
        return by_model, by_others

    @cached_property
    def order(self) -> Ints:
        """Forks by how much their contrast says, then by rollouts, then by depth.

        Two means of n and m rollouts differ by chance as sqrt(1/n + 1/m), so a contrast of single
        rollouts says less than a smaller one of many.
        """
        value, known = self.values
        best = np.nan_to_num(value, nan=-np.inf) == self._per_branch(np.maximum, value)
        worst = np.nan_to_num(value, nan=np.inf) == self._per_branch(np.minimum, value)
        offsets = self.forks.offsets
        n, m = (
            np.maximum(fold(np.maximum, np.where(side, known, 0), offsets, 0), 1)
            for side in (best, worst)
        )
        weight = np.nan_to_num(self.contrast, nan=-1.0) / np.sqrt(1 / n + 1 / m)
        size = self.forks.last - self.forks.first
        return np.lexsort((self.forks.first, self.forks.depth, -size, -weight))

    def _per_branch(self, pick: np.ufunc, value: Floats) -> Floats:
        """The greatest or the least V of each branch's fork."""
        empty = -np.inf if pick is np.maximum else np.inf
        picked: Floats = fold(pick, np.nan_to_num(value, nan=empty), self.forks.offsets, empty)
        return picked[self.forks.branch_fork]

    def summary(self) -> GroupForkSummary:
        """Counts and means over all forks."""
        forks, entropy = self.forks, self.entropy.estimate
        agreed, conflict = self._agreed_tokens()
        return GroupForkSummary(
            groups=len(self.trees.sizes),
            forks=len(forks),
            by_model=int(self.by_model.sum()),
            by_environment=int(self.by_environment.sum()),
            decisive=int((np.nan_to_num(self.contrast) > 0).sum()),
            mean_fan_out=_mean(forks.fan_out.astype(np.float64)),
            mean_branching_entropy_nats=_mean(entropy),
            bands=self._bands(),
            shared_generated_tokens=agreed,
            conflict_tokens=conflict,
        )

    def _bands(self) -> tuple[DepthBand, ...]:
        """Forks by how far into the rollouts they fall."""
        trees, forks = self.trees, self.forks
        length = self.grouped.generated_tokens[trees.rollout].astype(np.float64)
        totals = np.add.reduceat(length, trees.starts[:-1]) if len(length) else length
        mean = np.repeat(totals / np.maximum(trees.sizes, 1), trees.sizes)[forks.first]
        place = np.minimum(self.generated_depth / np.maximum(mean, 1.0), 1.0)
        band = np.clip(np.searchsorted(BANDS, place, side="right") - 1, 0, len(BANDS) - 2)
        per_branch = (forks.last - forks.first) / np.maximum(forks.fan_out, 1)
        rows = []
        for i in range(len(BANDS) - 1):
            here = band == i
            rows.append(
                DepthBand(
                    low=BANDS[i],
                    high=BANDS[i + 1],
                    forks=int(here.sum()),
                    mean_rollouts_per_branch=_mean(per_branch[here]),
                    mean_contrast=_mean(self.contrast[here]),
                    mean_branching_entropy_nats=_mean(self.entropy.estimate[here]),
                )
            )
        return tuple(rows)

    def _agreed_tokens(self) -> tuple[int, int]:
        """(generated tokens that two or more rollouts share, those of conflicting rewards).

        Each stretch of the tree is counted where it begins: at the rollouts that pass it, less the
        stretch above. Stretches are the forks' own, and those of rollouts that are all equal.
        """
        trees, forks = self.trees, self.forks
        own = self.grouped.shared_generated
        above = np.where(forks.above >= 0, self.generated_depth[forks.above], 0)
        stretch = self.generated_depth - above
        high, low = self._sides()
        mixed = (_any_in(high, forks.first, forks.last)) & (_any_in(low, forks.first, forks.last))
        agreed, conflict = int(stretch.sum()), int(stretch[mixed].sum())
        # Equal rollouts share all that they have beyond the fork above them.
        runs = np.flatnonzero(trees.repeats & ~np.r_[False, trees.repeats[:-1]])
        for start in runs.tolist():
            end = start + 1
            while end < len(trees.repeats) and trees.repeats[end]:
                end += 1
            around = (forks.first <= start - 1) & (forks.last >= end)
            base = int(self.generated_depth[around].max(initial=0))
            extra = int(own[start]) - base
            agreed += extra
            if high[start - 1 : end].any() and low[start - 1 : end].any():
                conflict += extra
        return agreed, conflict

    def _sides(self) -> tuple[Flags, Flags]:
        """(above, below) the mean reward of the group."""
        trees = self.trees
        known = ~np.isnan(self.reward)
        if not len(trees.sizes):
            return known, known
        total = np.add.reduceat(np.where(known, self.reward, 0.0), trees.starts[:-1])
        n = np.add.reduceat(known.astype(np.int64), trees.starts[:-1])
        mean = np.repeat(total / np.maximum(n, 1), trees.sizes)
        high: Flags = known & (self.reward > mean + 1e-9)
        low: Flags = known & (self.reward < mean - 1e-9)
        return high, low

    def described(self, store: Store, chosen: Ints) -> tuple[GroupFork, ...]:
        """Some forks in full."""
        forks, trees, table = self.forks, self.trees, self.grouped.table
        branches = [self._shown(int(fork)) for fork in chosen]
        places = {
            (fork, branch): self._place(fork, first, shown)
            for fork, shown in branches
            for first, branch in shown
        }
        begins = beginnings(store, self.grouped, list(places.values()))
        tested = self._tested(chosen)
        value, _ = self.values
        rows = []
        for i, (fork, shown) in enumerate(branches):
            own = self.reward[forks.first[fork] : forks.last[fork]]
            mean = _mean(own)
            described = []
            for place, branch in shown:
                rollout = int(trees.rollout[place])
                path, line = table.places[rollout]
                described.append(
                    ForkBranch(
                        rollouts=int(forks.counts[branch]),
                        value=_or_none(value[branch]),
                        advantage=None if mean is None else _or_none(value[branch] - mean),
                        begins=begins.get(places[fork, branch]),
                        path=path,
                        line=line,
                        trace=table.ids[rollout],
                    )
                )
            rows.append(
                GroupFork(
                    group=table.groups[int(trees.group[forks.first[fork]])],
                    depth_tokens=int(forks.depth[fork]),
                    generated_tokens=int(self.generated_depth[fork]),
                    rollouts=int(forks.last[fork] - forks.first[fork]),
                    fan_out=int(forks.fan_out[fork]),
                    by=self._maker(fork),
                    branching_entropy_nats=float(self.entropy.estimate[fork]),
                    plug_in_nats=float(self.entropy.plug_in[fork]),
                    unseen_mass=float(self.entropy.missing_mass[fork]),
                    value=mean,
                    contrast=_or_none(self.contrast[fork]),
                    p_value=_or_none(tested[i]),
                    branches=tuple(described),
                )
            )
        return tuple(rows)

    def _maker(self, fork: int) -> str:
        """See `GroupFork.by`."""
        if self.by_model[fork]:
            return "model"
        return "environment" if self.by_environment[fork] else "unknown"

    def _shown(self, fork: int) -> tuple[int, list[tuple[int, int]]]:
        """(fork, [(first rollout, branch)]) of the branches that most rollouts took."""
        forks = self.forks
        branches = np.arange(forks.offsets[fork], forks.offsets[fork + 1])
        order = np.lexsort((branches, -forks.counts[branches]))[:BRANCHES_SHOWN]
        return fork, [(int(forks.branch[b]), int(b)) for b in branches[order]]

    def _place(self, fork: int, first: int, shown: list[tuple[int, int]]) -> Place:
        """Where a branch begins, next to the one with most rollouts beside it."""
        other = next(place for place, _ in shown if place != first)
        rollout = self.trees.rollout
        return Place(int(rollout[first]), int(self.forks.depth[fork]), int(rollout[other]))

    def _tested(self, chosen: Ints) -> Floats:
        """p-values of the contrasts of some forks."""
        forks = self.forks
        branches = [np.arange(forks.offsets[f], forks.offsets[f + 1]) for f in chosen.tolist()]
        flat = np.concatenate([np.zeros(0, dtype=np.int64), *branches])
        offsets = np.r_[0, np.cumsum([len(each) for each in branches])].astype(np.int64)
        return values_by_subtree(
            self.reward, forks.branch[flat], forks.branch_end[flat], offsets
        ).p_value


def _any_in(flags: Flags, first: Ints, last: Ints) -> Flags:
    """Whether any flag is set in each range, last excluded."""
    before = np.r_[0, np.cumsum(flags)]
    found: Flags = before[last] > before[first]
    return found


def _mean(values: Floats) -> float | None:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else None


def _or_none(value: Any) -> float | None:
    return None if np.isnan(value) else float(value)

"""Rollouts of each group as a tree: in content order, with what neighbours share.

Sorted sequences and the lengths of their neighbours' common prefixes (an LCP array) are the whole
tree: its tokens are the sum of lengths less the sum of shared lengths, and a fork is a run of
neighbours that share at least its depth (an LCP interval; Abouelhoda, Kurtz and Ohlebusch, J.
Discrete Algorithms 2, 2004). So nothing here walks tokens, and groups of any size go together.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from forkpoint.analysis.prompts import Prompts
from forkpoint.analysis.siblings import TokenIds, rank_siblings
from forkpoint.analysis.tree import Flags, Floats, Ints, RangeMin


@dataclass(frozen=True)
class GroupTrees:
    """Rollouts by group, each group in content order. Arrays of one entry a rollout.

    Attributes:
        group: rising group numbers, not all of them need occur.
        rollout: the caller's number of each rollout.
        length: tokens of the whole sequence.
        shared: tokens shared with the rollout before in the group; 0 for a group's first.
        meet: the deepest tree node that both lie on or below; 0 for a group's first.
        leaf: tree node where the rollout ends.
    """

    group: Ints
    rollout: Ints
    length: Ints
    shared: Ints
    meet: Ints
    leaf: Ints

    @cached_property
    def begins(self) -> Flags:
        """Whether each rollout is the first of its group."""
        flags: Flags = np.r_[True, self.group[1:] != self.group[:-1]][: len(self.group)]
        return flags

    @cached_property
    def starts(self) -> Ints:
        """Where each group begins, and where the last one ends: shape (groups + 1,)."""
        starts: Ints = np.r_[np.flatnonzero(self.begins), len(self.group)].astype(np.int64)
        return starts

    @cached_property
    def sizes(self) -> Ints:
        """Rollouts of each group that occurs."""
        return np.diff(self.starts)

    @cached_property
    def repeats(self) -> Flags:
        """Rollouts equal to the one before them in their group."""
        before = np.r_[-1, self.length[:-1]][: len(self.length)]
        flags: Flags = ~self.begins & (self.shared == self.length) & (self.length == before)
        return flags

    def sums(self, values: Ints) -> Ints:
        """Sum over each group of a value per rollout."""
        if not len(values):
            return np.zeros(0, dtype=np.int64)
        total: Ints = np.add.reduceat(values, self.starts[:-1])
        return total

    @cached_property
    def flat_tokens(self) -> Ints:
        """Tokens of each group's rollouts, one by one."""
        return self.sums(self.length)

    @cached_property
    def tree_tokens(self) -> Ints:
        """Tokens of each group's tree: what is shared counts once."""
        return self.flat_tokens - self.sums(self.shared)

    @property
    def overlap_ratio(self) -> float | None:
        """POR of all groups together: 1 - tree / flat tokens; ``None`` without tokens."""
        flat = int(self.flat_tokens.sum())
        return 1 - int(self.tree_tokens.sum()) / flat if flat else None

    @cached_property
    def trunk_tokens(self) -> Ints:
        """Tokens that all rollouts of each group begin with; the whole of a lone rollout."""
        if not len(self.length):
            return np.zeros(0, dtype=np.int64)
        least = np.where(self.begins, self.length, self.shared)
        return np.minimum.reduceat(least, self.starts[:-1])


def build_group_trees(prompts: Prompts, group: Ints, rollout: Ints, leaf: Ints) -> GroupTrees:
    """Sort the rollouts of each group and measure what neighbours share.

    Args:
        group, rollout, leaf: per rollout: its group, the caller's number for it, and the tree node
            where it ends. Each path must be counted in tokens.
    """
    tree = prompts.tree
    place = prompts.sibling_place
    rank = np.where(place >= 0, place, len(prompts.siblings.node) + np.arange(len(tree)))
    order = np.lexsort((rollout, tree.depth_first(rank)[leaf], group))
    group, rollout, leaf = group[order], rollout[order], leaf[order]
    shared = np.zeros(len(leaf), dtype=np.int64)
    meet = np.zeros(len(leaf), dtype=np.int64)
    pairs = np.flatnonzero(group[1:] == group[:-1]) + 1
    shared[pairs], meet[pairs] = common_prefix(prompts, leaf[pairs - 1], leaf[pairs])
    return GroupTrees(group, rollout, prompts.token_depth[leaf], shared, meet, leaf)


def sort_sequences(group: Ints, sequences: list[TokenIds]) -> GroupTrees:
    """The same of sequences that lie in memory: sort each group, compare neighbours.

    Args:
        group: shape (n,): the group of each sequence.
        sequences: n arrays of token ids.

    Returns:
        Trees whose `GroupTrees.rollout` are positions in `sequences`; they lie in no prefix tree, so
        `meet` and `leaf` are 0.
    """
    by_group = np.argsort(group, kind="stable")
    bounds = np.flatnonzero(np.diff(group[by_group])) + 1
    order: list[Ints] = [np.zeros(0, dtype=np.int64)]
    shared: list[int] = []
    for members in np.split(by_group, bounds) if len(group) else ():
        ranks, common = rank_siblings([sequences[i] for i in members.tolist()])
        order.append(members[ranks])
        shared += common
    row = np.concatenate(order)
    lengths = np.array([len(each) for each in sequences], dtype=np.int64)
    nothing = np.zeros(len(row), dtype=np.int64)
    return GroupTrees(
        group[row], row, lengths[row], np.array(shared, dtype=np.int64), nothing, nothing
    )


def common_prefix(prompts: Prompts, left: Ints, right: Ints) -> tuple[Ints, Ints]:
    """What pairs of sequences begin with alike.

    Args:
        left, right: nodes where the sequences end, paths counted in tokens.

    Returns:
        (tokens, node): how many tokens, and the deepest node on both paths.
    """
    tree = prompts.tree
    node = tree.meet(left, right)
    below = tree.level[node] + 1
    heads = _shared_heads(prompts, tree.ancestor_at(left, below), tree.ancestor_at(right, below))
    # Where one sequence ends in the node, no two segments begin there.
    ends = (node == left) | (node == right)
    return prompts.token_depth[node] + np.where(ends, 0, heads), node


def _shared_heads(prompts: Prompts, left: Ints, right: Ints) -> Ints:
    """Tokens that pairs of siblings begin with alike; 0 where they were not compared."""
    place = prompts.sibling_place
    first, last = np.minimum(place[left], place[right]), np.maximum(place[left], place[right])
    heads = np.zeros(len(left), dtype=np.int64)
    known = np.flatnonzero((first >= 0) & (first < last))
    if len(known):
        least = RangeMin(prompts.siblings.shared)(first[known] + 1, last[known])
        heads[known] = np.maximum(least, 0)
    return heads


@dataclass(frozen=True)
class GroupForks:
    """Where rollouts of one group go different ways. Arrays of one entry a fork, by group and place.

    A rollout that ends where others go on takes a branch of its own: it is the one whose next token
    was the end of the sequence. Equal rollouts are on one branch.

    Attributes:
        depth: tokens from the beginning of the sequence.
        first, last: the rollouts below it in `GroupTrees` order, last excluded.
        above: the next fork towards the root; -1: none.
        offsets: shape (forks + 1,): where each fork's branches stand in `branch`.
        branch: first rollout of each branch; a branch ends where the next one of its fork begins.
    """

    depth: Ints
    first: Ints
    last: Ints
    above: Ints
    offsets: Ints
    branch: Ints

    def __len__(self) -> int:
        return len(self.depth)

    @property
    def fan_out(self) -> Ints:
        """Branches of each fork, 2 or more."""
        return np.diff(self.offsets)

    @cached_property
    def branch_fork(self) -> Ints:
        """The fork of each branch."""
        return np.repeat(np.arange(len(self), dtype=np.int64), self.fan_out)

    @cached_property
    def branch_end(self) -> Ints:
        """Where each branch ends, excluded."""
        following = np.r_[self.branch[1:], 0][: len(self.branch)]
        is_last = np.zeros(len(self.branch), dtype=np.bool_)
        is_last[self.offsets[1:] - 1] = True
        return np.where(is_last, self.last[self.branch_fork], following)

    @cached_property
    def counts(self) -> Ints:
        """Rollouts on each branch."""
        return self.branch_end - self.branch


def find_group_forks(trees: GroupTrees) -> GroupForks:
    """All forks of all groups."""
    empty = np.zeros(0, dtype=np.int64)
    shared = np.where(trees.begins, -1, trees.shared)
    before, after = RangeMin(shared).nearest_less() if len(shared) else (empty, empty)
    parts = np.flatnonzero(~trees.begins & ~trees.repeats)
    if not len(parts):
        return GroupForks(empty, empty, empty, empty, np.zeros(1, dtype=np.int64), empty)
    # Wider runs first, so that a fork stands before the forks below it.
    parts = parts[np.lexsort((parts, -after[parts], before[parts]))]
    low, high = before[parts], after[parts]
    starts = np.flatnonzero(np.r_[True, (low[1:] != low[:-1]) | (high[1:] != high[:-1])])
    first, last = low[starts], high[starts]
    widths = np.diff(np.r_[starts, len(parts)])
    offsets = np.r_[0, np.cumsum(widths + 1)].astype(np.int64)
    branch = np.empty(offsets[-1], dtype=np.int64)
    is_head = np.zeros(len(branch), dtype=np.bool_)
    is_head[offsets[:-1]] = True
    branch[is_head], branch[~is_head] = first, parts
    return GroupForks(
        depth=shared[parts[starts]],
        first=first,
        last=last,
        above=_forks_above(shared, before, after, first, last),
        offsets=offsets,
        branch=branch,
    )


def _forks_above(shared: Ints, before: Ints, after: Ints, first: Ints, last: Ints) -> Ints:
    """The narrowest run around each run: it is the one of the deeper of the two bounds."""
    n = len(shared)
    bounded = np.r_[shared, -1]
    bound = np.where(bounded[first] >= bounded[last], first, last)
    has = bounded[bound] >= 0
    bound = np.where(has, bound, 0)
    key = first * (n + 1) + last
    wanted = before[bound] * (n + 1) + after[bound]
    order = np.argsort(key)
    at = order[np.minimum(np.searchsorted(key[order], wanted), len(key) - 1)]
    return np.where(has & (key[at] == wanted), at, -1)


def branch_means(forks: GroupForks, values: Floats) -> tuple[Floats, Ints]:
    """Mean over each branch of a value per rollout, NaN left out, and how many were known."""
    known = ~np.isnan(values)
    sums = np.r_[0.0, np.cumsum(np.where(known, values, 0.0))]
    counts = np.r_[0, np.cumsum(known)].astype(np.int64)
    n = counts[forks.branch_end] - counts[forks.branch]
    total = sums[forks.branch_end] - sums[forks.branch]
    return np.where(n > 0, total / np.maximum(n, 1), np.nan), n

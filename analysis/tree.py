"""The prefix tree as arrays, and the few operations everything else is made of.

Node 0 is the empty prompt and its own parent. All operations are vectorised: work is O(n log depth),
by pointer doubling, or O(n) per level.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

NEVER = np.iinfo(np.int64).max
"""Rank of a call that does not exist: later than all others."""


class PrefixTree:
    """A rooted tree given by its parent array.

    Args:
        parent: int array of shape (n,); ``parent[0] == 0``, and following parents leads to 0.
    """

    def __init__(self, parent: Ints) -> None:
        self.parent = parent

    def __len__(self) -> int:
        return len(self.parent)

    @cached_property
    def strides(self) -> list[Ints]:
        """Ancestors at distance 1, 2, 4, … until all are the root."""
        strides = [self.parent]
        while strides[-1].any():
            strides.append(strides[-1][strides[-1]])
        return strides

    @cached_property
    def level(self) -> Ints:
        """Number of segments from the root to each node; 0 for the root."""
        ones = np.ones(len(self), dtype=np.int64)
        return self.depth(ones)

    def depth(self, weight: Ints) -> Ints:
        """Sum of `weight` over each node's path from the root, itself included, the root excluded."""
        total = weight.copy()
        total[0] = 0
        for stride in self.strides:
            total += total[stride]
        return total

    def subtree_min(self, values: Ints) -> Ints:
        """Minimum of `values` over each node and all its descendants."""
        least = values.copy()
        for stride in self.strides:
            below = least.copy()
            np.minimum.at(least, stride, below)
        return least

    def path_min(self, values: Ints) -> Ints:
        """Minimum of `values` over each node's path from the root, both included."""
        least = values.copy()
        for stride in self.strides:
            least = np.minimum(least, least[stride])
        return least

    def subtree_sum(self, values: Ints) -> Ints:
        """Sum of `values` over each node and all its descendants."""
        total = values.copy()
        order = np.argsort(self.level, kind="stable")[::-1]
        ends = np.flatnonzero(np.diff(self.level[order])) + 1
        for nodes in np.split(order, ends):
            inner = nodes[nodes != 0]
            np.add.at(total, self.parent[inner], total[inner])
        return total

    @cached_property
    def interval(self) -> tuple[Ints, Ints]:
        """First and last position of each node's subtree in depth-first order, both included."""
        first = self.depth_first(np.arange(len(self), dtype=np.int64))
        return first, first + self._subtree_size - 1

    @cached_property
    def _subtree_size(self) -> Ints:
        return self.subtree_sum(np.ones(len(self), dtype=np.int64))

    def depth_first(self, rank: Ints) -> Ints:
        """Each node's position in depth-first order, where siblings follow one another by `rank`."""
        size = self._subtree_size
        order = np.lexsort((rank, self.parent, self.level))
        order = order[order != 0]
        before = np.cumsum(size[order]) - size[order]
        begins = np.r_[True, self.parent[order][1:] != self.parent[order][:-1]]
        group = np.maximum.accumulate(np.where(begins, np.arange(len(order)), 0))
        step = np.zeros(len(self), dtype=np.int64)
        step[order] = 1 + before - before[group]
        return self.depth(step)

    def ancestor_at(self, nodes: Ints, level: Ints) -> Ints:
        """The node at `level` on each path from the root; a node above that level stays itself."""
        up = np.maximum(self.level[nodes] - level, 0)
        for power, stride in enumerate(self.strides):
            nodes = np.where(up >> power & 1 == 1, stride[nodes], nodes)
        return nodes

    def meet(self, a: Ints, b: Ints) -> Ints:
        """The deepest node that lies on the paths to both of each pair."""
        level = np.minimum(self.level[a], self.level[b])
        a, b = self.ancestor_at(a, level), self.ancestor_at(b, level)
        for stride in reversed(self.strides):
            apart = stride[a] != stride[b]
            a, b = np.where(apart, stride[a], a), np.where(apart, stride[b], b)
        return np.where(a == b, a, self.parent[a])

    def nearest(self, marked: Flags) -> Ints:
        """The nearest node at or above each node that is marked, or the root."""
        n = np.arange(len(self), dtype=np.int64)
        jump = np.where(marked, n, self.parent)
        while True:
            further = jump[jump]
            if np.array_equal(further, jump):
                return jump
            jump = further

    def top_of_run(self, owner: Ints) -> Ints:
        """The highest node that each node reaches upwards through nodes of its own `owner`, the
        root excluded."""
        n = np.arange(len(self), dtype=np.int64)
        ends = (owner != owner[self.parent]) | (self.parent == 0)
        jump = np.where(ends, n, self.parent)
        while True:
            further = jump[jump]
            if np.array_equal(further, jump):
                return jump
            jump = further

    def fan_out(self, present: Flags) -> Ints:
        """Number of present children of each node."""
        children = np.flatnonzero(present)
        children = children[children != 0]
        return np.bincount(self.parent[children], minlength=len(self)).astype(np.int64)


class RangeMin:
    """The least of any run of an array's elements, in two look-ups.

    Args:
        values: shape (n,); kept, with the minima of all runs of 2, 4, 8, … elements.
    """

    def __init__(self, values: Ints) -> None:
        self.levels = [values]
        width = 1
        while 2 * width <= len(values):
            before = self.levels[-1]
            self.levels.append(np.minimum(before[:-width], before[width:]))
            width *= 2

    def __call__(self, first: Ints, last: Ints) -> Ints:
        """The least element of each run from `first` to `last`, both included, first <= last."""
        power = np.frexp((last - first + 1).astype(np.float64))[1].astype(np.int64) - 1
        least = np.empty(len(first), dtype=np.int64)
        for level in np.unique(power).tolist():
            at = np.flatnonzero(power == level)
            row = self.levels[level]
            least[at] = np.minimum(row[first[at]], row[last[at] + 1 - (1 << level)])
        return least

    def nearest_less(self) -> tuple[Ints, Ints]:
        """For each element the nearest place before it and after it with a smaller one; -1 and n
        where there is none."""
        values = self.levels[0]
        n = len(values)
        before, after = np.arange(n, dtype=np.int64), np.arange(n, dtype=np.int64) + 1
        for power in range(len(self.levels) - 1, -1, -1):
            row, width = self.levels[power], 1 << power
            start = before - width
            skip = (start >= 0) & (row[np.maximum(start, 0)] >= values)
            before = np.where(skip, start, before)
            fits = after + width <= n
            skip = fits & (row[np.minimum(after, len(row) - 1)] >= values)
            after = np.where(skip, after + width, after)
        # A run is passed in powers of two, each at most once, so that one pass finds its end.
        return before - 1, after


class LatestBefore:
    """Answers: which is the last of some sequences, before a given one, that passes a node?

    Sequences passing a node end inside its subtree, a range of depth-first positions. Ranges are
    taken apart into blocks of a merge-sort tree, and each block is searched for the largest rank
    below the limit; all queries go through each level together.

    Args:
        tree: the tree.
        ends: shape (m,): node where each sequence ends.
        ranks: shape (m,): its place in time; not negative.
    """

    def __init__(self, tree: PrefixTree, ends: Ints, ranks: Ints) -> None:
        self._tree = tree
        first, _ = tree.interval
        order = np.argsort(first[ends], kind="stable")
        self._positions = first[ends][order]
        self._span = int(ranks.max(initial=0)) + 1
        self._levels: list[Ints] = []
        block = np.arange(len(order), dtype=np.int64)
        while True:
            self._levels.append(np.sort(block * self._span + ranks[order]))
            if not len(block) or block[-1] == 0:
                break
            block = block >> 1

    def __call__(self, nodes: Ints, limits: Ints) -> Ints:
        """The largest rank below `limits` of a sequence through each of `nodes`, or -1."""
        first, last = self._tree.interval
        # Neighbouring queries read neighbouring memory: several times as fast on a million calls.
        order = np.argsort(first[nodes])
        nodes, limits = nodes[order], limits[order]
        low = np.searchsorted(self._positions, first[nodes])
        high = np.searchsorted(self._positions, last[nodes], side="right")
        found = np.full(len(nodes), -1, dtype=np.int64)
        for keys in self._levels:
            inside = low < high
            odd_low = inside & (low & 1 == 1)
            self._look(keys, low, limits, odd_low, found)
            low = low + odd_low
            odd_high = (low < high) & (high & 1 == 1)
            self._look(keys, high - 1, limits, odd_high, found)
            high = high - odd_high
            low, high = low >> 1, high >> 1
        answer = np.empty_like(found)
        answer[order] = found
        return answer

    def _look(self, keys: Ints, block: Ints, limits: Ints, chosen: Flags, found: Ints) -> None:
        at = np.flatnonzero(chosen)
        if not len(at):
            return
        limit = np.clip(limits[at], 0, self._span)
        place = np.searchsorted(keys, block[at] * self._span + limit) - 1
        key = keys[np.maximum(place, 0)]
        same = (place >= 0) & (key // self._span == block[at])
        found[at] = np.maximum(found[at], np.where(same, key % self._span, -1))


def first_seen(tree: PrefixTree, nodes: Ints, ranks: Ints) -> Ints:
    """For each node the least rank of a sequence that passes through it, or `NEVER`.

    Args:
        nodes: shape (m,): where each sequence ends; -1 entries are left out.
        ranks: shape (m,): its place in time.
    """
    seen = np.full(len(tree), NEVER, dtype=np.int64)
    ends = nodes >= 0
    np.minimum.at(seen, nodes[ends], ranks[ends])
    return tree.subtree_min(seen)


def deepest_seen_before(
    tree: PrefixTree, seen: Ints, nodes: Ints, ranks: Ints
) -> tuple[Ints, Ints]:
    """Where each sequence leaves what came before it.

    Returns:
        (last, first): the deepest node on each path that an earlier sequence passed (0: none), and
        the first node after it, which this sequence was the first to pass (-1: there is none, the
        whole sequence had been seen).
    """
    own = (seen[nodes] >= ranks) & (nodes != 0)
    top = tree.top_of_run(seen)
    first = np.where(own, top[nodes], -1)
    last = np.where(own, tree.parent[np.maximum(first, 0)], nodes)
    return last, first


def head_shared_with_earlier(order: Ints, shared: Ints, seen: Ints) -> Ints:
    """Longest prefix each sibling shares with any sibling seen before it.

    Args:
        order: shape (k,), k >= 1: sibling nodes in content order.
        shared: shape (k,): prefix length each shares with its neighbour before (first entry unused).
        seen: rank of first sight of each node (indexed by node); equal ranks go by content order.

    Returns:
        shape (k,), aligned with `order`; 0 for the earliest.
    """
    k = len(order)
    before = list(range(-1, k - 1))
    after = list(range(1, k + 1))
    gap = [0, *shared[1:].tolist(), 0]  # gap[i]: shared by i and the one before it that is left
    result = np.zeros(k, dtype=np.int64)
    # Take siblings away from the latest to the earliest: what is left when one goes came before it.
    for i in np.lexsort((np.arange(k), seen[order]))[::-1].tolist():
        left, right = before[i], after[i]
        toward_left = gap[i] if left >= 0 else 0
        toward_right = gap[right] if right < k else 0
        result[i] = max(toward_left, toward_right)
        if right < k:
            before[right] = left
            gap[right] = min(toward_left, toward_right) if left >= 0 else 0
        if left >= 0:
            after[left] = right
    return result

"""Token sequences as the tree of stretches that a model runs, and that tree cut into packs.

A stretch is what lies between two forks. In depth-first order the tokens of everything below a
stretch follow it without a gap, so one number a token, where its subtree ends, says who its
descendants are: token k is an ancestor of token q, or q itself, if and only if k <= q < end[k].
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise

import numpy as np

from forkpoint.analysis.group_trees import GroupForks, GroupTrees, find_group_forks, sort_sequences
from forkpoint.analysis.replay_backend import Piece, TokenIds
from forkpoint.analysis.tree import Flags, Floats, Ints


@dataclass(frozen=True)
class TokenTree:
    """Sequences as a tree. Arrays of one entry a stretch, in depth-first order: parents first.

    Sequences that begin differently make several roots.

    Attributes:
        parent: the stretch it goes on from; -1: it begins its sequences.
        start: position of its first token in its sequences.
        length: its tokens, 1 or more.
        below: how many sequences go through it.
        ids: shape (tree tokens,): the tokens of all stretches, one after the other.
        end_of: shape (sequences,): the stretch that each sequence, as the caller counted, ends with.
        flat_tokens: sum of the sequences' lengths.
        wanted: shape (tree tokens,): whether a sequence measures the token. What begins a sequence
            is predicted by nothing, and not wanted.
    """

    parent: Ints
    start: Ints
    length: Ints
    below: Ints
    ids: TokenIds
    end_of: Ints
    flat_tokens: int
    wanted: Flags

    def __len__(self) -> int:
        return len(self.start)

    @property
    def tree_tokens(self) -> int:
        """Tokens of all stretches: what is shared counts once."""
        return len(self.ids)

    @property
    def overlap_ratio(self) -> float:
        """POR: 1 - tree / flat tokens."""
        return 1 - self.tree_tokens / self.flat_tokens

    @cached_property
    def offset(self) -> Ints:
        """Where each stretch begins in `ids`, and where the last one ends."""
        ends: Ints = np.r_[0, np.cumsum(self.length)].astype(np.int64)
        return ends

    @cached_property
    def stretch(self) -> Ints:
        """The stretch of each tree token."""
        return np.repeat(np.arange(len(self), dtype=np.int64), self.length)

    @cached_property
    def position(self) -> Ints:
        """Position of each tree token in its sequences."""
        begins = self.start - self.offset[:-1]
        return np.arange(self.tree_tokens, dtype=np.int64) + begins[self.stretch]

    @cached_property
    def before(self) -> Ints:
        """The tree token before each one; -1: it begins its sequences."""
        found = np.arange(self.tree_tokens, dtype=np.int64) - 1
        last = np.where(self.parent >= 0, self.offset[self.parent + 1] - 1, -1)
        found[self.offset[:-1]] = last
        return found

    @cached_property
    def beyond(self) -> Ints:
        """The stretch after the last one below each stretch."""
        found = np.arange(1, len(self) + 1, dtype=np.int64)
        parents = self.parent.tolist()
        for child in range(len(self) - 1, -1, -1):
            if (parent := parents[child]) >= 0:
                found[parent] = max(found[parent], found[child])
        return found

    @cached_property
    def subtree_end(self) -> Ints:
        """Where in `ids` the subtree of each token ends, excluded."""
        ends: Ints = self.offset[self.beyond][self.stretch]
        return ends

    def path(self, stretch: int) -> list[int]:
        """The stretches from a root down to this one, itself included; empty for -1."""
        found = []
        while stretch >= 0:
            found.append(stretch)
            stretch = int(self.parent[stretch])
        return found[::-1]

    def tokens_of(self, sequence: int) -> Ints:
        """The tree tokens of a sequence, in its order."""
        path = self.path(int(self.end_of[sequence]))
        return np.concatenate([np.arange(self.offset[s], self.offset[s + 1]) for s in path])


def plan_tree(pieces: Sequence[Piece]) -> TokenTree:
    """The tree of some sequences.

    Args:
        pieces: one or more, none of them empty; equal ones are one path.
    """
    trees = sort_sequences(np.zeros(len(pieces), dtype=np.int64), [each.ids for each in pieces])
    first = np.array([each.first for each in pieces], dtype=np.int64)[trees.rollout]
    found = _Stretches()
    for root in _roots(trees, find_group_forks(trees)):
        found.add_below(root)
    return found.tree(trees, first, pieces)


@dataclass(frozen=True)
class _Branch:
    """Sorted sequences that go the same way from a depth on."""

    trees: GroupTrees
    forks: GroupForks
    fork_of: dict[tuple[int, int], int]
    """The fork of each run of sorted sequences that has one."""
    first: int
    last: int
    depth: int
    parent: int

    @property
    def fork(self) -> int | None:
        """Where they part; ``None``: they are equal."""
        return self.fork_of.get((self.first, self.last))

    @property
    def end(self) -> int:
        """How many tokens they share from the beginning of the sequence."""
        fork = self.fork
        return int(self.trees.length[self.first] if fork is None else self.forks.depth[fork])

    def branches(self, parent: int) -> Iterator[_Branch]:
        """What goes on from where they part, `parent` being the stretch that leads there."""
        if (fork := self.fork) is None:
            return
        for at in range(int(self.forks.offsets[fork]), int(self.forks.offsets[fork + 1])):
            first, last = int(self.forks.branch[at]), int(self.forks.branch_end[at])
            yield _Branch(self.trees, self.forks, self.fork_of, first, last, self.end, parent)


def _roots(trees: GroupTrees, forks: GroupForks) -> Iterator[_Branch]:
    runs = zip(forks.first.tolist(), forks.last.tolist(), strict=True)
    fork_of = {run: number for number, run in enumerate(runs)}
    whole = _Branch(trees, forks, fork_of, 0, len(trees.length), 0, -1)
    # Sequences that share nothing part before their first token: an empty stretch is none.
    if whole.fork is not None and whole.end == 0:
        yield from whole.branches(-1)
    else:
        yield whole


@dataclass
class _Stretches:
    parent: list[int] = field(default_factory=list)
    start: list[int] = field(default_factory=list)
    length: list[int] = field(default_factory=list)
    first: list[int] = field(default_factory=list)
    last: list[int] = field(default_factory=list)

    def add_below(self, root: _Branch) -> None:
        """Add what a branch goes through, depth first; without recursion, as trees may be deep."""
        waiting = [root]
        while waiting:
            branch = waiting.pop()
            length = branch.end - branch.depth
            if not length:
                continue  # sequences that end where others go on
            self.parent.append(branch.parent)
            self.start.append(branch.depth)
            self.length.append(length)
            self.first.append(branch.first)
            self.last.append(branch.last)
            waiting.extend(reversed(list(branch.branches(len(self.parent) - 1))))

    def tree(self, trees: GroupTrees, measured: Ints, pieces: Sequence[Piece]) -> TokenTree:
        """The tree, once all is added.

        Args:
            measured: of each sorted sequence, the first position that it measures.
        """
        end_of = np.zeros(len(pieces), dtype=np.int64)
        ids, wanted = [], []
        for number, (start, length, first, last) in enumerate(
            zip(self.start, self.length, self.first, self.last, strict=True)
        ):
            end_of[trees.rollout[first:last]] = number  # deeper stretches come later and stay
            ids.append(pieces[int(trees.rollout[first])].ids[start : start + length])
            position = np.arange(start, start + length)
            wanted.append(position >= max(int(measured[first:last].min()), 1))
        return TokenTree(
            parent=np.array(self.parent, dtype=np.int64),
            start=np.array(self.start, dtype=np.int64),
            length=np.array(self.length, dtype=np.int64),
            below=np.array(self.last, dtype=np.int64) - np.array(self.first, dtype=np.int64),
            ids=np.concatenate(ids).astype(np.uint32),
            end_of=end_of,
            flat_tokens=int(trees.length.sum()),
            wanted=np.concatenate(wanted),
        )


@dataclass(frozen=True)
class Pack:
    """Part of a tree that a model runs as one sequence: some stretches that follow each other in
    depth-first order, behind the path that leads to the first of them.

    Attributes:
        first, last: the stretches whose tokens it measures, last excluded.
        tokens: shape (n,): tree tokens in the order they are run, the path first.
        repeated: how many of them, at the head, are the path: other packs run them too.
        end: shape (n,): where in the pack the subtree of each token ends.
    """

    first: int
    last: int
    tokens: Ints
    repeated: int
    end: Ints


@dataclass(frozen=True)
class Packing:
    """How large packs may be, and what a pack of n tokens costs: overhead + n + n²/dense, in the time
    of a token.

    Attributes:
        limit: tokens of a pack; the longest sequence passes through whole all the same.
        overhead: of a pack, whatever its size: weights are read once more.
        dense: as many tokens double the time of each, where each is compared with all of its pack
            and masked after. Infinite where what is masked is not computed.
    """

    limit: int
    overhead: float = 0.0
    dense: float = float("inf")

    def cost(self, tokens: Floats) -> Floats:
        """Of packs of so many tokens each."""
        found: Floats = self.overhead + tokens + tokens**2 / self.dense
        return found


def plan_packs(tree: TokenTree, packing: Packing) -> list[Pack]:
    """Cut a tree into the packs that together cost least.

    A pack begins with the path to its first stretch, so a cut repeats that stretch's `start`. Where to
    cut is found by dynamic programming over the stretches in depth-first order.
    """
    cuts = _cheapest_cuts(tree, packing)
    return [_pack(tree, first, last) for first, last in pairwise(cuts)]


def _cheapest_cuts(tree: TokenTree, packing: Packing) -> list[int]:
    """Where packs begin, and the end of the last one."""
    n = len(tree)
    limit = max(packing.limit, int((tree.start + tree.length).max()))
    cost = np.zeros(n + 1)  # of the first j stretches, cut at best
    begin = np.zeros(n + 1, dtype=np.int64)
    # Stretches i to j - 1 need start[i] + offset[j] - offset[i] tokens.
    needed = tree.start - tree.offset[:-1]
    for j in range(1, n + 1):
        low = int(np.searchsorted(tree.offset[:-1], tree.offset[j] - limit))
        tokens = needed[low:j] + tree.offset[j]
        fits = low + np.flatnonzero(tokens <= limit)
        costs = cost[fits] + packing.cost(tokens[fits - low].astype(np.float64))
        best = int(costs.argmin())  # the first of the cheapest: packs as long as can be
        cost[j], begin[j] = costs[best], fits[best]
    cuts = [n]
    while cuts[-1]:
        cuts.append(int(begin[cuts[-1]]))
    return cuts[::-1]


def _pack(tree: TokenTree, first: int, last: int) -> Pack:
    path = tree.path(int(tree.parent[first]))
    head = [np.arange(tree.offset[s], tree.offset[s + 1]) for s in path]
    own = np.arange(tree.offset[first], tree.offset[last])
    repeated = int(tree.start[first])
    ends = np.minimum(tree.subtree_end[own], tree.offset[last]) - tree.offset[first] + repeated
    # What the path leads to goes as far as the subtree does; the rest of it lies in other packs.
    above = [
        np.full(len(part), min(int(tree.offset[tree.beyond[s]]), int(tree.offset[last])))
        - tree.offset[first]
        + repeated
        for s, part in zip(path, head, strict=True)
    ]
    return Pack(
        first=first,
        last=last,
        tokens=np.concatenate([*head, own]),
        repeated=repeated,
        end=np.concatenate([*above, ends]).astype(np.int64),
    )


def ancestors(end: Ints) -> Flags:
    """Who attends to whom in a pack: shape (n, n), row: the token that attends."""
    place = np.arange(len(end))
    mask: Flags = (place[None, :] <= place[:, None]) & (place[:, None] < end[None, :])
    return mask

"""Pruning of redundant traces after their first tokens, as DeepPrune does (arXiv:2510.08483).

All traces of a group start at once. When each has generated a given number of tokens, they are
clustered greedily by the likeness of what they have so far; of each cluster one goes on and the
others are given up. DeepPrune judges likeness with a model that it trains; here it is a declared measure
of the tokens themselves, and how well it tells which traces will agree is measured on the same log
(`answer_auroc`). A value near 0.5 says that it does not, and that pruning by it is pruning at random.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from forkpoint.analysis.tree import Flags, Floats, Ints
from forkpoint.analysis.votes import (
    ORDERS,
    AnswerGroups,
    Outcome,
    Tally,
    arrivals,
    running_votes,
)

Similarity = Callable[[list[Ints]], Floats]
"""From the tokens of k traces to their likeness, shape (k, k), symmetric, in [0, 1]."""

_CELLS = 1 << 22
"""Cells of a table of traces by n-grams that are held at once."""


@dataclass(frozen=True)
class TokenLists:
    """Tokens, or hashes of tokens, of traces.

    Attributes:
        tokens: flat, trace after trace; at least the first tokens of each.
        offsets: shape (traces + 1,): where each trace begins; from 0 to ``len(tokens)``.
    """

    tokens: Ints
    offsets: Ints

    def __post_init__(self) -> None:
        offsets = self.offsets
        if offsets[0] != 0 or offsets[-1] != len(self.tokens) or (np.diff(offsets) < 0).any():
            raise ValueError("offsets must rise from 0 to the number of tokens")

    def heads(self, low: int, high: int, length: int) -> list[Ints]:
        """First `length` tokens of the traces from `low` to before `high`."""
        starts, ends = self.offsets[low:high], self.offsets[low + 1 : high + 1]
        stops = np.minimum(starts + length, ends)
        return [self.tokens[a:b] for a, b in zip(starts.tolist(), stops.tolist(), strict=True)]


def ngram_similarity(traces: list[Ints], n: int = 2) -> Floats:
    """Jaccard index of the sets of n consecutive tokens: in both / in either.

    On public samples of grade-school problems and of the game of 24, pairs of tokens tell agreement
    better than single tokens, longer runs, weights for rare ones, or `common_prefix_similarity`.
    N-grams are compared by a 64-bit hash. A trace shorter than n counts as one n-gram; an empty one is
    like none, not even like itself.

    Raises:
        ValueError: n < 1.
    """
    if n < 1:
        raise ValueError(f"runs of {n} tokens")
    owner, name = _ngrams(traces, n)
    sizes = np.bincount(owner, minlength=len(traces))
    shared = _shared_counts(owner, name, len(traces))
    either = sizes[:, None] + sizes[None, :] - shared
    likeness: Floats = shared / np.maximum(either, 1)
    return likeness


def _ngrams(traces: list[Ints], n: int) -> tuple[Ints, Ints]:
    """(trace, name) of the distinct n-grams of each trace, by trace."""
    flat = np.concatenate([np.zeros(0, dtype=np.int64), *traces])
    sizes = np.array([len(trace) for trace in traces], dtype=np.int64)
    owner = np.repeat(np.arange(len(traces), dtype=np.int64), sizes)
    left = np.repeat(np.cumsum(sizes), sizes) - np.arange(len(flat))
    token = _mixed(flat.astype(np.uint64))
    name = np.minimum(left, n).astype(np.uint64)
    for i in range(n):
        ahead = np.concatenate((token[i:], np.zeros(min(i, len(flat)), dtype=np.uint64)))
        name = np.where(left > i, _mixed(name ^ ahead), name)
    whole = (left >= n) | (left == sizes[owner])
    owner, named = owner[whole], name[whole].view(np.int64)
    order = np.lexsort((named, owner))
    owner, named = owner[order], named[order]
    new = np.ones(len(order), dtype=np.bool_)
    new[1:] = (owner[1:] != owner[:-1]) | (named[1:] != named[:-1])
    return owner[new], named[new]


def _mixed(values: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """A bijection of 64-bit integers in which each bit depends on all lower ones."""
    for shift, factor in ((32, 0x9E3779B97F4A7C15), (29, 0xBF58476D1CE4E5B9)):
        values = (values ^ (values >> np.uint64(shift)) ^ np.uint64(factor)) * np.uint64(factor)
    return values ^ (values >> np.uint64(32))


def _shared_counts(owner: Ints, name: Ints, k: int) -> Ints:
    """Names that each two of k traces have in common; shape (k, k)."""
    _, column, counts = np.unique(name, return_inverse=True, return_counts=True)
    shared = np.zeros((k, k))
    # What one trace alone has is shared with no other: it only counts for the trace itself.
    alone = counts[column] == 1
    np.fill_diagonal(shared, np.bincount(owner[alone], minlength=k))
    several = np.cumsum(counts > 1) - 1
    column, owner = several[column[~alone]], owner[~alone]
    order = np.argsort(column, kind="stable")
    column, owner = column[order], owner[order]
    width = int(column.max(initial=-1)) + 1
    step = max(1, _CELLS // max(k, 1))
    for low in range(0, width, step):
        part = slice(*np.searchsorted(column, (low, low + step)))
        table = np.zeros((k, min(step, width - low)), dtype=np.float32)
        table[owner[part], column[part] - low] = 1
        shared += table @ table.T
    return shared.astype(np.int64)


def common_prefix_similarity(traces: list[Ints]) -> Floats:
    """Tokens that two traces begin with alike / tokens of the longer one; 0 for empty ones."""
    k = len(traces)
    likeness = np.zeros((k, k))
    for i, one in enumerate(traces):
        for j, other in enumerate(traces[: i + 1]):
            length = min(len(one), len(other))
            apart = np.flatnonzero(one[:length] != other[:length])
            common = int(apart[0]) if len(apart) else length
            likeness[i, j] = likeness[j, i] = common / max(len(one), len(other), 1)
    return likeness


def auroc(scores: Floats, positive: Flags) -> float | None:
    """Chance that a random positive scores above a random negative, ties half (Mann–Whitney).

    Returns:
        in [0, 1]; None if there are no positives or no negatives.
    """
    n_positive = int(positive.sum())
    n_negative = len(positive) - n_positive
    if not n_positive or not n_negative:
        return None
    _, place, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[place]
    above = float(ranks[positive].sum()) - n_positive * (n_positive + 1) / 2
    return above / (n_positive * n_negative)


@dataclass(frozen=True)
class Agreement:
    """How well likeness of first tokens tells which traces end with the same answer.

    Attributes:
        auroc: 1: perfectly, 0.5: not at all; None if all pairs agree or all differ.
        same_pairs: pairs within a group with the same answer.
        different_pairs: pairs within a group with different answers.
    """

    auroc: float | None
    same_pairs: int
    different_pairs: int


def answer_auroc(
    groups: AnswerGroups,
    traces: TokenLists,
    length: int,
    similarity: Similarity = ngram_similarity,
) -> Agreement:
    """AUROC of a similarity for "these two end with the same answer", over all groups' pairs.

    Only pairs in which both have an answer, and both go on after `length` tokens: the answer stands
    in the first tokens of a trace that does not.

    Args:
        groups: as in `prune_clusters`.
        length: first tokens that are compared.
    """
    scores: list[Floats] = [np.zeros(0)]
    same: list[Flags] = [np.zeros(0, dtype=np.bool_)]
    goes_on = (groups.tokens > length) & (groups.answers >= 0)
    for low, high in _spans(groups):
        kept = np.flatnonzero(goes_on[low:high])
        likeness = similarity(traces.heads(low, high, length))
        one, other = np.triu_indices(len(kept), 1)
        one, other = kept[one], kept[other]
        scores.append(likeness[one, other])
        same.append(groups.answers[low + one] == groups.answers[low + other])
    labels = np.concatenate(same)
    n_same = int(labels.sum())
    return Agreement(auroc(np.concatenate(scores), labels), n_same, len(labels) - n_same)


def _spans(groups: AnswerGroups) -> Iterator[tuple[int, int]]:
    yield from zip(groups.starts[:-1].tolist(), groups.starts[1:].tolist(), strict=True)


@dataclass(frozen=True)
class Pruning:
    """What pruning of like traces saves.

    Attributes:
        groups: groups with the tokens of all traces known; the others are left out.
        outcome: against the majority vote of all traces, averaged over the random orders in which
            traces are clustered. Traces saved are those given up; their first tokens were spent.
            As all traces start at once, this is parallel accounting.
    """

    groups: int
    outcome: Outcome


def prune_clusters(
    groups: AnswerGroups,
    traces: TokenLists,
    length: int,
    *,
    threshold: float,
    max_clusters: int = 32,
    similarity: Similarity = ngram_similarity,
    orders: int = ORDERS,
    seed: int = 0,
) -> Pruning:
    """Cluster each group greedily after `length` tokens, and run only one trace of each cluster.

    In some order, each trace is compared with the representatives of the clusters so far (at equal
    likeness the one logged first). If the most alike reaches `threshold`, or there are
    `max_clusters`, the trace joins that cluster; else it begins its own. Members are given up, but
    for those that had already ended. Each trace that ran votes; a representative also for those
    that were given up for it.

    Args:
        groups: `AnswerGroups.tokens` are whole lengths.
        traces: first tokens of the traces of `groups`, in the same order.
        length: first tokens that are compared, at least 0.
        threshold: of similarity, above 0; the log's own `answer_auroc` says if any is worth much.

    Raises:
        ValueError: an argument is out of its range, or `traces` are others than the groups'.
    """
    if length < 0 or threshold <= 0 or max_clusters < 1:
        raise ValueError("length < 0, threshold <= 0 or max_clusters < 1")
    if len(traces.offsets) != len(groups.answers) + 1:
        raise ValueError("tokens of other traces than the groups'")
    first = groups.starts[:-1][groups.sized]
    groups = groups.select(groups.sized)
    tally = Tally(groups, orders)
    members: Ints | None = None
    for arrival in arrivals(groups, orders, seed, pairs=True):
        if arrival.groups is not members:
            members, size = arrival.groups, arrival.traces.shape[-1]
            heads = (traces.heads(low, low + size, length) for low in first[members].tolist())
            likeness = np.stack([similarity(each) for each in heads])
        order = arrival.traces - groups.starts[members][:, None]
        joins = greedy_clusters(likeness, order, threshold=threshold, max_clusters=max_clusters)
        lengths, answers = groups.tokens[arrival.traces], groups.local[arrival.traces]
        given_up = (joins != order) & (lengths > length)
        voters = np.where(given_up, -1, answers)
        tally.add(
            arrival,
            (~given_up).sum(axis=-1),
            np.where(given_up, length, lengths).sum(axis=-1),
            running_votes(voters, _votes_carried(order, joins, given_up)).winner(),
            running_votes(answers).winner(),
        )
    return Pruning(len(groups), tally.outcome())


def _votes_carried(order: Ints, joins: Ints, given_up: Flags) -> Ints:
    """Per trace, as it arrives: 1, and 1 for each that was given up for it."""
    n = order.shape[-1]
    row = np.arange(order.size // n, dtype=np.int64).reshape(order.shape[:-1])[..., None] * n
    carried = np.bincount((row + joins)[given_up], minlength=order.size)
    votes: Ints = 1 + carried[row + order]
    return votes


def greedy_clusters(likeness: Floats, order: Ints, *, threshold: float, max_clusters: int) -> Ints:
    """Representatives of traces, taken in an order.

    Args:
        likeness: shape (groups, k, k): of the traces of each group.
        order: shape (orders, groups, k): permutations of range(k).

    Returns:
        shape of `order`: the representative of each trace there; its own number if it is one.
    """
    k = order.shape[-1]
    n_orders, n_groups = order.shape[:2]
    group = np.broadcast_to(np.arange(n_groups), (n_orders, n_groups))
    is_head = np.zeros(order.shape, dtype=np.bool_)
    n_heads = np.zeros((n_orders, n_groups), dtype=np.int64)
    joins = np.empty_like(order)
    for i in range(k):  # each step for all orders and groups
        trace = order[..., i]
        alike = np.where(is_head, likeness[group, trace], -1.0)
        best = alike.argmax(axis=-1)
        most = np.take_along_axis(alike, best[..., None], axis=-1)[..., 0]
        joins_best = (most >= threshold) | (n_heads >= max_clusters)
        joins[..., i] = np.where(joins_best, best, trace)
        np.put_along_axis(is_head, trace[..., None], ~joins_best[..., None], axis=-1)
        n_heads += ~joins_best
    return joins

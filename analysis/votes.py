"""Votes over the answers of rollout groups, as they come in.

All groups are flat columns; groups of one size go through numpy together, as arrays of shape
(orders, groups, traces). A vote's winner depends on how ties are broken. Here **a tie stays with the
answer that had that many votes first**: the leader changes only when it is overtaken. Of answers with
equal counts each is as likely to lead in a random order, so averages over orders favour none, and do
not depend on how the answers are numbered. The full vote and the cheaper one that is held against it
take the traces in the same order: if the full one broke its ties in log order instead, no rule would
find "the same answer" in more than about 95 % of groups of 32 with answers as even as 40/35/25 %,
not even a rule that is never wrong.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from forkpoint.analysis.tree import Flags, Floats, Ints

Counts = npt.NDArray[np.signedinteger[Any]]
"""Integers of any width: small ones make the simulations several times as fast."""

ORDERS = 200
"""Random orders that a simulation averages over unless told otherwise."""

_ELEMENTS = 1 << 20
"""Orders times groups times traces that are held at once."""


@dataclass(frozen=True)
class AnswerGroups:
    """Traces of groups, group by group, in log order.

    Attributes:
        starts: shape (groups + 1,): the first trace of each group; begins with 0 and never falls.
        answers: shape (traces,): two traces of a group gave the same answer if and only if their
            numbers are equal; below 0: no answer.
        tokens: shape (traces,): generated tokens; below 0: unknown.
        rewards: shape (traces,), not infinite; NaN: unknown.

    Raises:
        ValueError: the columns do not fit together.
    """

    starts: Ints
    answers: Ints
    tokens: Ints
    rewards: Floats

    def __post_init__(self) -> None:
        n = len(self.answers)
        if not len(self.tokens) == len(self.rewards) == n:
            raise ValueError("answers, tokens and rewards differ in length")
        if not len(self.starts) or self.starts[0] != 0 or self.starts[-1] != n:
            raise ValueError("starts must go from 0 to the number of traces")
        if (np.diff(self.starts) < 0).any():
            raise ValueError("starts fall")
        if np.isinf(self.rewards).any():
            raise ValueError("a reward is infinite")

    def __len__(self) -> int:
        return len(self.starts) - 1

    @cached_property
    def group(self) -> Ints:
        """Per trace, the number of its group."""
        return np.repeat(np.arange(len(self), dtype=np.int64), np.diff(self.starts))

    @cached_property
    def _numbered(self) -> tuple[Ints, Ints]:
        """(per trace its answer among all groups' answers or -1, per group its first answer)."""
        given = np.flatnonzero(self.answers >= 0)
        order = given[np.lexsort((self.answers[given], self.group[given]))]
        group, answer = self.group[order], self.answers[order]
        new = np.ones(len(order), dtype=np.bool_)
        new[1:] = (group[1:] != group[:-1]) | (answer[1:] != answer[:-1])
        number = np.full(len(self.answers), -1, dtype=np.int64)
        number[order] = np.cumsum(new) - 1
        return number, np.searchsorted(group[new], np.arange(len(self), dtype=np.int64))

    @property
    def distinct(self) -> Ints:
        """Per trace, its answer, numbered from 0 on through all groups; -1: none."""
        return self._numbered[0]

    @cached_property
    def local(self) -> Counts:
        """Per trace, its answer, numbered from 0 on in each group; -1: none."""
        number, first = self._numbered
        local = np.where(number >= 0, number - first[self.group], -1)
        return local.astype(np.int16 if local.max(initial=0) < 2**15 else np.int64)

    @cached_property
    def sized(self) -> Flags:
        """Per group, whether the tokens of all its traces are known."""
        sized = np.ones(len(self), dtype=np.bool_)
        sized[self.group[self.tokens < 0]] = False
        return sized

    @cached_property
    def known_tokens(self) -> Ints:
        """Per trace its tokens, but 0 in groups that are not `sized`."""
        return np.where(self.sized[self.group], self.tokens, 0)

    @cached_property
    def _answer_rewards(self) -> Floats:
        """Per answer of `distinct`, the mean known reward of its traces, else NaN; then NaN."""
        known = (self.distinct >= 0) & ~np.isnan(self.rewards)
        answer = self.distinct[known]
        size = int(self.distinct.max(initial=-1)) + 1
        sums = np.bincount(answer, weights=self.rewards[known], minlength=size)
        counts = np.bincount(answer, minlength=size)
        mean = np.full(size + 1, np.nan)
        np.divide(sums, counts, out=mean[:-1], where=counts > 0)
        return mean

    def reward_of(self, groups: Ints, local: Counts) -> Floats:
        """Mean reward of the traces that gave an answer; NaN where it is -1 or no reward is known.

        Args:
            groups: group numbers; broadcast against `local`.
            local: answers, numbered in their groups.
        """
        return self._answer_rewards[np.where(local >= 0, self._numbered[1][groups] + local, -1)]

    def select(self, keep: Flags) -> AnswerGroups:
        """The groups where `keep` is true."""
        traces = keep[self.group]
        sizes = np.diff(self.starts)[keep]
        starts = np.concatenate((np.zeros(1, dtype=np.int64), np.cumsum(sizes)))
        return AnswerGroups(starts, self.answers[traces], self.tokens[traces], self.rewards[traces])


def answer_groups(
    group: Ints, answers: Ints, tokens: Ints | None = None, rewards: Floats | None = None
) -> AnswerGroups:
    """Columns in any order, as groups; within a group the order stays.

    Args:
        group: shape (traces,): equal numbers are one group; groups come out by rising number.
        answers, tokens, rewards: as in `AnswerGroups`; None: all unknown.
    """
    order = np.argsort(group, kind="stable")
    sizes = np.unique(group, return_counts=True)[1]
    n = len(group)
    tokens = np.full(n, -1, dtype=np.int64) if tokens is None else tokens
    rewards = np.full(n, np.nan) if rewards is None else rewards
    starts = np.concatenate((np.zeros(1, dtype=np.int64), np.cumsum(sizes)))
    return AnswerGroups(starts, answers[order], tokens[order], rewards[order])


@dataclass(frozen=True)
class Arrivals:
    """Groups of one size, their traces in some orders.

    Attributes:
        orders: which of the simulation's orders these are.
        groups: shape (groups,): group numbers.
        traces: shape (orders, groups, traces): trace numbers as they arrive.
    """

    orders: slice
    groups: Ints
    traces: Ints


def _batches(groups: AnswerGroups, *, pairs: bool = False) -> Iterator[tuple[Ints, Ints]]:
    """(group numbers, their traces as a table) for groups of one size, empty ones left out."""
    sizes = np.diff(groups.starts)
    for size in np.unique(sizes[sizes > 0]).tolist():
        members = np.flatnonzero(sizes == size)
        step = max(1, _ELEMENTS // (size * size if pairs else size))
        for low in range(0, len(members), step):
            some = members[low : low + step]
            yield some, groups.starts[some][:, None] + np.arange(size, dtype=np.int64)


def arrivals(
    groups: AnswerGroups, orders: int, seed: int, *, pairs: bool = False
) -> Iterator[Arrivals]:
    """All groups in random orders, each group shuffled for itself.

    All orders of some groups come before those of the next; `Arrivals.groups` is then one object.

    Args:
        pairs: take so few groups together that a value per pair of traces fits into memory too.

    Raises:
        ValueError: `orders` < 1.
    """
    if orders < 1:
        raise ValueError(f"{orders} orders")
    rng = np.random.default_rng(seed)
    for members, traces in _batches(groups, pairs=pairs):
        step = max(1, _ELEMENTS // traces.size)
        for low in range(0, orders, step):
            count = min(step, orders - low)
            table = np.broadcast_to(traces, (count, *traces.shape))
            yield Arrivals(slice(low, low + count), members, rng.permuted(table, axis=-1))


def finishing(groups: AnswerGroups) -> Iterator[Arrivals]:
    """All groups in the one order in which their traces finish if all start at once.

    Each decodes one token per step. Traces that finish in the same step count one after the other,
    in log order. The tokens of all traces must be known.
    """
    for members, traces in _batches(groups):
        order = np.argsort(groups.tokens[traces], axis=-1, kind="stable")
        yield Arrivals(slice(0, 1), members, np.take_along_axis(traces, order, axis=-1)[None])


@dataclass(frozen=True)
class RunningVotes:
    """The state of votes after each trace. All shapes are (…, traces).

    Attributes:
        answers: what each trace voted for; -1: nothing.
        first: votes of the leader; 0: nobody voted yet.
        second: most votes that any other answer has.
        leader: the answer that leads; -1: nobody voted yet.
    """

    answers: Counts
    first: Counts
    second: Counts
    leader: Counts

    def winner(self, stop: Ints | None = None) -> Counts:
        """The leader after `stop` traces, shape (…), each at least 1; None: after all."""
        return self.leader[..., -1] if stop is None else at_stop(self.leader, stop)


def at_stop(running: Counts, stop: Ints) -> Counts:
    """The entry of shape (…, traces) after `stop` traces."""
    return np.take_along_axis(running, stop[..., None] - 1, axis=-1)[..., 0]


def running_votes(answers: Counts, weights: Ints | None = None) -> RunningVotes:
    """Count votes as traces arrive.

    Args:
        answers: shape (…, traces), traces > 0: answers in [0, traces), -1 for none.
        weights: same shape, not negative: votes of each trace; None: one each. Integers, so that
            sums do not depend on the order and ties are exact.
    """
    own = _own_votes(answers, weights)
    voted = answers >= 0
    # Before the first vote the lead is below zero, so that a vote of weight 0 can take it.
    top = np.maximum.accumulate(np.where(voted, own, -1), axis=-1)
    before = np.full_like(top, -1)
    before[..., 1:] = top[..., :-1]
    place = np.arange(answers.shape[-1], dtype=np.int32)
    took = np.maximum.accumulate(np.where(voted & (own > before), place, -1), axis=-1)
    leader = np.where(took >= 0, np.take_along_axis(answers, np.maximum(took, 0), axis=-1), -1)
    previous = np.full_like(leader, -1)
    previous[..., 1:] = leader[..., :-1]
    # Who is overtaken becomes second; a vote for another than the leader may do so too.
    chasing = np.where(leader == answers, np.where(previous == answers, 0, before), own)
    second = np.maximum.accumulate(np.maximum(chasing, 0), axis=-1)
    return RunningVotes(answers, np.maximum(top, 0), second, leader)


def _own_votes(answers: Counts, weights: Ints | None) -> Counts:
    """Votes for each trace's own answer up to it, its own included; 0 where it has none."""
    n = answers.shape[-1]
    bits = n.bit_length()
    width = np.min_scalar_type(-(1 << 2 * bits))
    place: Counts = np.arange(n, dtype=width)
    codes = np.where(answers >= 0, answers, n).astype(width)
    key = np.sort((codes << bits) | place, axis=-1)
    code, at = key >> bits, (key & ((1 << bits) - 1)).astype(np.intp)
    begins = np.ones(key.shape, dtype=np.bool_)
    begins[..., 1:] = code[..., 1:] != code[..., :-1]
    begin = np.maximum.accumulate(np.where(begins, place, 0), axis=-1)
    votes: Counts = place - begin + 1
    if weights is not None:
        given = np.take_along_axis(weights, at, axis=-1)
        total: Ints = np.cumsum(given, axis=-1)
        before: Ints = np.take_along_axis(total - given, begin.astype(np.intp), axis=-1)
        votes = total - before
    own = np.empty_like(votes)
    np.put_along_axis(own, at, votes, axis=-1)
    own[answers < 0] = 0
    return own


@dataclass(frozen=True)
class Estimate:
    """A mean over random orders.

    Attributes:
        mean: the mean.
        standard_error: of that mean, from the spread between orders alone: it says whether enough
            orders were drawn, not how far the figure would carry to other groups. None: one order.
    """

    mean: float
    standard_error: float | None

    @classmethod
    def of(cls, values: Floats) -> Estimate | None:
        """From one value per order; NaN is left out, None if nothing else is there."""
        values = values[~np.isnan(values)]
        if not len(values):
            return None
        spread = None
        if len(values) > 1:
            spread = float(np.std(values, ddof=1) / np.sqrt(len(values)))
        return cls(float(np.mean(values)), spread)


@dataclass(frozen=True)
class Outcome:
    """What a way to spend less costs and saves. None: nothing to measure it on.

    Attributes:
        traces_saved: share of traces not run to their end, in [0, 1], over all traces.
        tokens_saved: share of tokens not generated, in [0, 1], over all tokens of groups with all
            tokens known.
        same_answer: share of groups whose vote has the same winner as the vote of all traces, in
            [0, 1]; of groups with an answer.
        undecided: share of groups in which no trace that was left had an answer, though others
            had, in [0, 1]; of groups with an answer. They count as not the same answer.
        accuracy_change: mean reward of the winner's traces less that of the full vote's winner's;
            over groups where both are known, equally weighted.
    """

    traces_saved: Estimate | None
    tokens_saved: Estimate | None
    same_answer: Estimate | None
    undecided: Estimate | None
    accuracy_change: Estimate | None


class Tally:
    """Adds up an `Outcome` over batches of groups.

    Args:
        groups: all groups that will be added, each in every order.
        orders: number of orders.
    """

    def __init__(self, groups: AnswerGroups, orders: int) -> None:
        self._groups = groups
        self._traces = np.zeros(orders, dtype=np.int64)
        self._tokens = np.zeros(orders, dtype=np.int64)
        self._voted = np.zeros(orders, dtype=np.int64)
        self._same = np.zeros(orders, dtype=np.int64)
        self._undecided = np.zeros(orders, dtype=np.int64)
        self._compared = np.zeros(orders, dtype=np.int64)
        self._change = np.zeros(orders)

    def add(
        self, arrival: Arrivals, traces: Counts, tokens: Ints, winner: Counts, full: Counts
    ) -> None:
        """One batch; all arguments but the first have shape (orders, groups).

        Args:
            traces: traces run to their end.
            tokens: tokens spent; 0 in groups that are not `sized`.
            winner: of the cheaper vote, numbered in its group; -1: none.
            full: winner of the vote of all traces; -1: no trace has an answer.
        """
        at = arrival.orders
        voted = full >= 0
        self._traces[at] += traces.sum(axis=1, dtype=np.int64)
        self._tokens[at] += tokens.sum(axis=1)
        self._voted[at] += voted.sum(axis=1)
        self._same[at] += (voted & (winner == full)).sum(axis=1)
        self._undecided[at] += (voted & (winner < 0)).sum(axis=1)
        reward = self._groups.reward_of
        change = reward(arrival.groups, winner) - reward(arrival.groups, full)
        self._compared[at] += (~np.isnan(change)).sum(axis=1)
        self._change[at] += np.nan_to_num(change).sum(axis=1)

    def outcome(self) -> Outcome:
        """The shares and their means over orders."""
        traces = np.full_like(self._traces, len(self._groups.answers))
        tokens = np.full_like(self._tokens, self._groups.known_tokens.sum())
        return Outcome(
            traces_saved=Estimate.of(_shares(traces - self._traces, traces)),
            tokens_saved=Estimate.of(_shares(tokens - self._tokens, tokens)),
            same_answer=Estimate.of(_shares(self._same, self._voted)),
            undecided=Estimate.of(_shares(self._undecided, self._voted)),
            accuracy_change=Estimate.of(_shares(self._change, self._compared)),
        )


def _shares(parts: Ints | Floats, wholes: Ints) -> Floats:
    """part / whole per order; NaN where there is nothing to divide by."""
    shares = np.full(len(parts), np.nan)
    np.divide(parts, wholes, out=shares, where=wholes > 0)
    return shares

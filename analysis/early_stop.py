"""When could sampling of a group have stopped, and what would its vote have been?

Offline: the traces are all there, and are taken in random orders. Each rule looks at the votes of the
traces so far and says stop; the winner is then the leader so far (see `votes` for ties).

Two accountings. *Sequential*: traces run one after the other, so what had not begun is saved whole.
*Parallel*: all start at once and decode one token per step, so at the stop every trace has already
burned as many tokens as steps went by, or all of its own; there is one order, that of finishing, and
traces that finish in the step of the stop still vote.
Sequential figures overstate what a group saves that is sampled at once, as most are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Literal, Protocol

import numpy as np

from forkpoint.analysis.tree import Flags, Ints
from forkpoint.analysis.votes import (
    ORDERS,
    AnswerGroups,
    Arrivals,
    Outcome,
    RunningVotes,
    Tally,
    arrivals,
    at_stop,
    finishing,
    running_votes,
)


class Rule(Protocol):
    """Says after which traces a group may stop."""

    @property
    def name(self) -> str:
        """As reports call it."""
        ...

    def stops(self, votes: RunningVotes) -> Flags:
        """Whether to stop after each trace; shape of `votes`. Sees no trace after it."""
        ...


@dataclass(frozen=True)
class Settled:
    """Stop once no vote still to come can change the winner: v1 - v2 > N - n.

    The leader is ahead by more than all that is left, so it also wins the full vote, whatever the
    tie rule. A trace without an answer is a vote that may still have come.
    """

    name: str = "settled"

    def stops(self, votes: RunningVotes) -> Flags:
        n = votes.answers.shape[-1]
        left = np.arange(n - 1, -1, -1, dtype=votes.first.dtype)
        return votes.first - votes.second > left


@dataclass(frozen=True)
class AdaptiveConsistency:
    """Stop once the leader is likely the model's own first choice over the second.

    With a uniform prior over their odds, the chance is P(Bin(v1 + v2 + 1, 1/2) <= v1), and it must
    exceed `confidence` (Adaptive-Consistency with the Beta criterion, arXiv:2305.11860).
    """

    confidence: float = 0.95
    name: str = "adaptive-consistency"

    def stops(self, votes: RunningVotes) -> Flags:
        most = votes.answers.shape[-1]
        needed: Ints = votes_needed(self.confidence, most)[votes.second]
        return votes.first >= needed


@lru_cache(maxsize=64)
def votes_needed(confidence: float, most: int) -> Ints:
    """Fewest votes with which a leader convinces, by votes of the second; exact.

    Args:
        confidence: the chance P(Bin(v1 + v2 + 1, 1/2) <= v1) that must be exceeded; in (0, 1).
        most: votes there can be.

    Returns:
        shape (most + 1,): ``most + 1`` where no leader can.

    Raises:
        ValueError: `confidence` is not in (0, 1).

    >>> votes_needed(0.95, 8)
    array([4, 6, 8, 9, 9, 9, 9, 9, 9])
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence {confidence} is not between 0 and 1")
    wanted = Fraction(confidence)
    needed = np.full(most + 1, most + 1, dtype=np.int64)
    leader, trials = 0, 1
    ways, edge = 1, 1  # sum of C(trials, i) for i <= leader, and its last term
    for second in range(most + 1):
        while ways * wanted.denominator <= wanted.numerator << trials and leader <= most:
            ways = 2 * ways - edge
            leader, trials = leader + 1, trials + 1
            edge = edge * trials // leader
            ways += edge
        if leader > most:
            break
        needed[second] = leader
        ways = 2 * ways - edge
        trials += 1
        edge = edge * trials // (trials - leader)
    needed.flags.writeable = False  # shared by all who ask
    return needed


@dataclass(frozen=True)
class WindowAgreement:
    """Stop after the first window of `width` traces whose answers are all the same.

    Windows are consecutive and disjoint, as they are sampled together (ESC, arXiv:2401.10480). The
    winner is that of all votes so far, not of the window alone.
    """

    width: int = 5
    name: str = "esc"

    def __post_init__(self) -> None:
        if self.width < 1:
            raise ValueError(f"a window of {self.width} traces")

    def stops(self, votes: RunningVotes) -> Flags:
        answers = votes.answers
        *shape, n = answers.shape
        whole = n - n % self.width
        windows = answers[..., :whole].reshape(*shape, whole // self.width, self.width)
        agree = (windows == windows[..., :1]).all(axis=-1) & (windows[..., 0] >= 0)
        stops = np.zeros(answers.shape, dtype=np.bool_)
        stops[..., self.width - 1 : whole : self.width] = agree
        return stops


RULES: tuple[Rule, ...] = (Settled(), AdaptiveConsistency(), WindowAgreement())


def stop_index(rule: Rule, votes: RunningVotes) -> Ints:
    """Traces seen when the rule first says stop; all of them where it never does.

    Returns:
        shape of `votes` less its last axis; in [1, traces].
    """
    stops = rule.stops(votes)
    first: Ints = np.where(stops.any(axis=-1), stops.argmax(axis=-1) + 1, stops.shape[-1])
    return first


@dataclass(frozen=True)
class EarlyStop:
    """What a rule saves.

    Attributes:
        rule: its name.
        groups: groups the rule was tried on.
        sequential: traces run one after the other, averaged over random orders.
        parallel: all traces start at once; one order, so no standard errors. Of groups with all
            tokens known. A trace that is cut off is a trace saved.
    """

    rule: str
    groups: int
    sequential: Outcome
    parallel: Outcome


def simulate(
    groups: AnswerGroups, rules: Sequence[Rule] = RULES, *, orders: int = ORDERS, seed: int = 0
) -> tuple[EarlyStop, ...]:
    """Replay groups under stopping rules; all rules see the same orders.

    Groups without a single answer never stop: they count in what is spent, and nowhere else.

    Raises:
        ValueError: `orders` < 1.
    """
    tokens = groups.known_tokens

    def in_turn(arrival: Arrivals, stop: Ints) -> tuple[Ints, Ints]:
        return stop, at_stop(np.cumsum(tokens[arrival.traces], axis=-1), stop)

    sized = groups.select(groups.sized)

    def at_once(arrival: Arrivals, stop: Ints) -> tuple[Ints, Ints]:
        lengths = sized.tokens[arrival.traces]
        last = at_stop(lengths, stop)[..., None]
        finished: Ints = (lengths <= last).sum(axis=-1)
        spent: Ints = np.minimum(lengths, last).sum(axis=-1)
        return finished, spent

    sequential = _replay(groups, rules, arrivals(groups, orders, seed), orders, in_turn)
    parallel = _replay(sized, rules, finishing(sized), 1, at_once)
    return tuple(
        EarlyStop(rule.name, len(groups), one, other)
        for rule, one, other in zip(rules, sequential, parallel, strict=True)
    )


def _replay(
    groups: AnswerGroups,
    rules: Sequence[Rule],
    batches: Iterable[Arrivals],
    orders: int,
    account: Callable[[Arrivals, Ints], tuple[Ints, Ints]],
) -> list[Outcome]:
    """Outcomes of the rules over all batches.

    Args:
        account: from the traces seen when the rule says stop, (traces that vote, tokens spent).
    """
    tallies = [Tally(groups, orders) for _ in rules]
    for arrival in batches:
        votes = running_votes(groups.local[arrival.traces])
        for rule, tally in zip(rules, tallies, strict=True):
            traces, spent = account(arrival, stop_index(rule, votes))
            tally.add(arrival, traces, spent, votes.winner(traces), votes.winner())
    return [tally.outcome() for tally in tallies]


Representative = Literal["shortest", "first", "mean"]


def oracle_prune(groups: AnswerGroups, representative: Representative = "shortest") -> float | None:
    """Share of tokens saved if, of traces with one answer, only one had run: an upper bound.

    1 - sum over answers of the kept trace's tokens / sum of all tokens, over groups with all tokens
    known. Nobody knows beforehand which traces will agree, so no method reaches it but by luck. A
    trace without an answer agrees with none and is kept.

    Args:
        representative: which trace is kept: the shortest (the bound), the first in the log, or one
            taken at random ("mean": its expected length).

    Returns:
        in [0, 1); None if no token is known.
    """
    sized = groups.select(groups.sized)
    total = int(sized.tokens.sum())
    if not total:
        return None
    given = sized.distinct >= 0
    answer, tokens = sized.distinct[given], sized.tokens[given]
    kept = int(sized.tokens[~given].sum())
    if representative == "mean":
        counts = np.bincount(answer)
        return 1 - (kept + float((np.bincount(answer, weights=tokens) / counts).sum())) / total
    ranks = tokens if representative == "shortest" else np.arange(len(tokens))
    order = np.lexsort((ranks, answer))
    firsts = order[np.unique(answer[order], return_index=True)[1]]
    return 1 - (kept + int(tokens[firsts].sum())) / total

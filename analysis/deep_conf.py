"""DeepConf (arXiv:2508.15260) replayed on logged confidences, offline and online.

The confidence of a token is C = -(1/k) * sum of log p_j over the k most likely tokens, in nats: high
where the distribution is peaked. Mind that this is no entropy, and that it depends on k.

The *group confidence* of a token is the mean of C over the window of tokens that ends with it; only
whole windows count, and a trace shorter than the window has one, of its own length. Confidences are
kept in units of 2**-24 nats, so sums are exact: equal tokens have equal confidences wherever
they stand.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from forkpoint.analysis.tree import Floats, Ints
from forkpoint.analysis.votes import (
    ORDERS,
    AnswerGroups,
    Counts,
    Outcome,
    RunningVotes,
    Tally,
    arrivals,
    at_stop,
    running_votes,
)

WINDOW = 2048
"""Tokens of a group, and of the tail."""

WARM_UP = 16
"""Traces that run in full to set the bar; see `simulate_online`."""

CONSENSUS = 0.95
"""Share of the vote at which no more traces are begun."""

_UNIT = 2.0**24
_HIGHEST = 2.0**14
"""Confidences above this, which no float32 logarithm of a probability reaches, count as this."""

Measure = Literal["mean", "lowest", "tail", "bottom_tenth"]


@dataclass(frozen=True)
class TraceConfidence:
    """What is kept of each trace's confidences. In nats; NaN for a trace without tokens.

    Attributes:
        tokens: tokens with a confidence.
        mean: mean over all tokens.
        lowest: the least group confidence.
        tail: mean over the last `WINDOW` tokens, or all if there are fewer.
        bottom_tenth: mean of the least 10 % of group confidences, rounded down, but at least one.
        low_offsets: shape (traces + 1,): where each trace's lows begin in the next two.
        low_values: group confidences less than all before them in their trace.
        low_tokens: tokens generated when each of them was reached.
    """

    tokens: Ints
    mean: Floats
    lowest: Floats
    tail: Floats
    bottom_tenth: Floats
    low_offsets: Ints
    low_values: Floats
    low_tokens: Ints

    def tokens_until_below(self, traces: Ints, bars: Floats) -> Ints:
        """Tokens generated when the group confidence is first below a bar.

        Args:
            traces: shape (m,): trace numbers.
            bars: shape (m,).

        Returns:
            shape (m,): all tokens where it never is.
        """
        low, high = self.low_offsets[traces], self.low_offsets[traces + 1]
        end = high.copy()
        while (low < high).any():
            middle = np.minimum((low + high) // 2, len(self.low_values) - 1)
            below = self.low_values[middle] < bars
            open_ = low < high
            low, high = np.where(open_ & ~below, middle + 1, low), np.where(below, middle, high)
        found = low < end
        tokens = self.tokens[traces]
        tokens[found] = self.low_tokens[low[found]]
        return tokens


def measure_confidence(
    confidences: Floats, offsets: Ints, *, window: int = WINDOW
) -> TraceConfidence:
    """Group confidences of all traces.

    Args:
        confidences: flat, trace after trace, as from `forkpoint.analysis.entropy.token_confidence`.
        offsets: shape (traces + 1,): where each trace begins; from 0 to ``len(confidences)``.
        window: tokens of a group and of the tail.

    Raises:
        ValueError: a confidence is negative, infinite or NaN; the offsets do not fit; window < 1.
    """
    if window < 1:
        raise ValueError(f"a window of {window} tokens")
    if not (np.isfinite(confidences) & (confidences >= 0)).all():
        raise ValueError("confidences must be finite and not negative")
    if offsets[0] != 0 or offsets[-1] != len(confidences) or (np.diff(offsets) < 0).any():
        raise ValueError("offsets must rise from 0 to the number of confidences")
    units = np.rint(np.minimum(confidences, _HIGHEST) * _UNIT).astype(np.int64)
    n = len(offsets) - 1
    mean, lowest, tail, bottom = (np.full(n, np.nan) for _ in range(4))
    values: list[Ints] = [np.zeros(0, dtype=np.int64)]
    tokens: list[Ints] = [np.zeros(0, dtype=np.int64)]
    widths = np.minimum(np.diff(offsets), window)
    # One round per trace: each is thousands of tokens.
    for i in np.flatnonzero(widths).tolist():
        trace, width = units[offsets[i] : offsets[i + 1]], int(widths[i])
        groups = _window_sums(trace, width)
        running = np.minimum.accumulate(groups)
        lows = np.flatnonzero(np.concatenate(([True], running[1:] < running[:-1])))
        values.append(running[lows])
        tokens.append(lows + width)
        tenth = max(1, len(groups) // 10)
        mean[i] = trace.sum() / len(trace) / _UNIT
        lowest[i] = running[-1] / width / _UNIT
        tail[i] = groups[-1] / width / _UNIT
        bottom[i] = np.partition(groups, tenth - 1)[:tenth].sum() / tenth / width / _UNIT
    counts = np.zeros(n, dtype=np.int64)
    counts[widths > 0] = [len(each) for each in values[1:]]
    return TraceConfidence(
        tokens=np.diff(offsets),
        mean=mean,
        lowest=lowest,
        tail=tail,
        bottom_tenth=bottom,
        low_offsets=np.concatenate((np.zeros(1, dtype=np.int64), np.cumsum(counts))),
        low_values=np.concatenate(values) / np.repeat(widths, counts) / _UNIT,
        low_tokens=np.concatenate(tokens),
    )


def _window_sums(trace: Ints, width: int) -> Ints:
    """Sums over all windows of `width` entries; shape (len(trace) - width + 1,)."""
    total = np.cumsum(trace)
    sums = total[width - 1 :].copy()
    sums[1:] -= total[:-width]
    return sums


@dataclass(frozen=True)
class DeepConf:
    """What DeepConf would have cost and answered.

    Attributes:
        keep_percent: traces that the bar lets pass, roughly, in percent.
        groups: groups in which every trace has confidences; the others are left out.
        outcome: against the plain majority vote of all traces, averaged over random orders. Tokens
            are those with a confidence. "Undecided" are groups in which no trace above the bar
            has an answer.
    """

    keep_percent: float
    groups: int
    outcome: Outcome


def simulate_online(
    groups: AnswerGroups,
    confidence: TraceConfidence,
    *,
    keep_percent: float = 10.0,
    warm_up: int = WARM_UP,
    consensus: float = CONSENSUS,
    orders: int = ORDERS,
    seed: int = 0,
) -> DeepConf:
    """Stop traces that lose confidence, and begin no more once the vote is clear.

    The first `warm_up` traces of a group run in full; where a group has fewer than twice as many,
    half of it (rounded down, at least 1). The bar is the (100 - `keep_percent`)th percentile of
    their lowest group confidences, linear between neighbours. Each later trace stops at the first
    token at which its group confidence is below the bar. Traces that never fall below it, of
    the warm-up too, vote with their lowest group confidence as weight. From the end of the warm-up
    on, sampling ends as soon as one answer holds `consensus` of all weight. Traces run one after
    the other; for all that are not warm-up at once, set `consensus` above 1.

    Args:
        confidence: of the traces of `groups`, in the same order.
        keep_percent: 10 in DeepConf-low, 90 in DeepConf-high; in [0, 100].

    Raises:
        ValueError: an argument is out of its range, or `confidence` is of other traces.
    """
    if warm_up < 1:
        raise ValueError(f"a warm-up of {warm_up} traces")
    groups, chosen = _with_confidence(groups, confidence, keep_percent)
    tally = Tally(groups, orders)
    for arrival in arrivals(groups, orders, seed):
        traces = chosen[arrival.traces]
        warm = min(warm_up, max(1, traces.shape[-1] // 2))
        lowest = confidence.lowest[traces]
        bars = np.percentile(lowest[..., :warm], 100 - keep_percent, axis=-1, keepdims=True)
        passes = lowest >= bars
        cut = ~passes
        cut[..., :warm] = False
        spent = confidence.tokens[traces]
        bars_cut = np.broadcast_to(bars, cut.shape)[cut]
        spent[cut] = confidence.tokens_until_below(traces[cut], bars_cut)
        answers = groups.local[arrival.traces]
        votes, stop = _consensus(np.where(passes, answers, -1), lowest, warm, consensus)
        tally.add(
            arrival,
            at_stop(np.cumsum(~cut, axis=-1), stop),
            at_stop(np.cumsum(spent, axis=-1), stop),
            votes.winner(stop),
            running_votes(answers).winner(),
        )
    return DeepConf(keep_percent, len(groups), tally.outcome())


def _consensus(
    voters: Counts, confidences: Floats, warm: int, consensus: float
) -> tuple[RunningVotes, Ints]:
    """(weighted votes, traces when one answer first holds its share of them, or all traces)."""
    weights = np.where(voters >= 0, _weights(confidences), 0)
    votes = running_votes(voters, weights)
    total = np.cumsum(weights, axis=-1)
    clear = (total > 0) & (votes.first >= consensus * total)
    clear[..., : warm - 1] = False
    clear[..., -1] = True
    stop: Ints = clear.argmax(axis=-1) + 1
    return votes, stop


def simulate_offline(
    groups: AnswerGroups,
    confidence: TraceConfidence,
    *,
    measure: Measure = "tail",
    keep_percent: float = 10.0,
    orders: int = ORDERS,
    seed: int = 0,
) -> DeepConf:
    """Vote of each group's most confident traces, weighted by confidence. It saves no tokens.

    Traces vote whose measure is at or above the (100 - `keep_percent`)th percentile of their group.

    Args:
        confidence: of the traces of `groups`, in the same order.
        measure: which confidence filters and weighs.

    Raises:
        ValueError: an argument is out of its range, or `confidence` is of other traces.
    """
    groups, chosen = _with_confidence(groups, confidence, keep_percent)
    values: Floats = getattr(confidence, measure)[chosen]
    tally = Tally(groups, orders)
    for arrival in arrivals(groups, orders, seed):
        own = values[arrival.traces]
        passes = own >= np.percentile(own, 100 - keep_percent, axis=-1, keepdims=True)
        answers = groups.local[arrival.traces]
        tally.add(
            arrival,
            np.full(own.shape[:-1], own.shape[-1], dtype=np.int64),
            groups.tokens[arrival.traces].sum(axis=-1),
            running_votes(np.where(passes, answers, -1), _weights(own)).winner(),
            running_votes(answers).winner(),
        )
    return DeepConf(keep_percent, len(groups), tally.outcome())


def _with_confidence(
    groups: AnswerGroups, confidence: TraceConfidence, keep_percent: float
) -> tuple[AnswerGroups, Ints]:
    """(the groups all of whose traces have confidences, their traces' numbers in `confidence`)."""
    if not 0 <= keep_percent <= 100:
        raise ValueError(f"{keep_percent} % of traces")
    if len(confidence.tokens) != len(groups.answers):
        raise ValueError("confidences of other traces than the groups'")
    by_tokens = replace(groups, tokens=np.where(confidence.tokens > 0, confidence.tokens, -1))
    chosen = np.flatnonzero(by_tokens.sized[by_tokens.group])
    return by_tokens.select(by_tokens.sized), chosen


def _weights(confidences: Floats) -> Ints:
    return np.rint(confidences * _UNIT).astype(np.int64)

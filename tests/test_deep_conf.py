"""DeepConf against a slow reference, one token at a time."""

from __future__ import annotations

import math
from collections import Counter
from itertools import chain

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forkpoint.analysis.deep_conf import (
    DeepConf,
    TraceConfidence,
    measure_confidence,
    simulate_offline,
    simulate_online,
)
from forkpoint.analysis.votes import AnswerGroups, Estimate, answer_groups, arrivals

ORDERS = 4
WINDOW = 4

Trace = tuple[int, list[float], float]
"""(answer or -1, confidences, reward or NaN)"""

confidences = st.lists(st.integers(0, 24).map(lambda c: c / 8), min_size=1, max_size=14)
traces = st.tuples(st.integers(-1, 2), confidences, st.sampled_from([0.0, 1.0, math.nan]))
many_groups = st.lists(st.lists(traces, min_size=1, max_size=9), min_size=1, max_size=4)


def columns(lists: list[list[Trace]]) -> tuple[AnswerGroups, TraceConfidence]:
    flat = [trace for group in lists for trace in group]
    number = np.repeat(np.arange(len(lists)), [len(group) for group in lists])
    groups = answer_groups(
        number.astype(np.int64),
        np.array([answer for answer, _, _ in flat], dtype=np.int64),
        rewards=np.array([reward for _, _, reward in flat]),
    )
    return groups, measured([values for _, values, _ in flat])


def measured(lists: list[list[float]], window: int = WINDOW) -> TraceConfidence:
    offsets = np.cumsum([0, *map(len, lists)]).astype(np.int64)
    return measure_confidence(np.array(list(chain(*lists)), dtype=float), offsets, window=window)


def group_confidences(values: list[float], window: int = WINDOW) -> list[tuple[int, float]]:
    """(tokens generated, mean of the window that ends there)"""
    width = min(window, len(values))
    return [(end, sum(values[end - width : end]) / width) for end in range(width, len(values) + 1)]


@given(st.lists(st.one_of(st.just([]), confidences), max_size=6), st.integers(1, 6))
def test_trace_confidences_equal_the_definitions(lists: list[list[float]], window: int) -> None:
    found = measured(lists, window)
    assert found.tokens.tolist() == [len(values) for values in lists]
    for i, values in enumerate(lists):
        if not values:
            assert all(
                math.isnan(each[i])
                for each in (found.mean, found.lowest, found.tail, found.bottom_tenth)
            )
            continue
        groups = sorted(mean for _, mean in group_confidences(values, window))
        tail = values[-window:]
        assert found.mean[i] == pytest.approx(sum(values) / len(values))
        assert found.lowest[i] == pytest.approx(groups[0])
        assert found.tail[i] == pytest.approx(sum(tail) / len(tail))
        least = groups[: max(1, len(groups) // 10)]
        assert found.bottom_tenth[i] == pytest.approx(sum(least) / len(least))


def test_the_bottom_tenth_is_the_mean_of_the_least_windows() -> None:
    found = measured([[5.0, 1.0, 3.0] * 10], window=1)
    assert found.bottom_tenth.tolist() == [1.0]
    assert measured([[1.0, *[9.0] * 18, 3.0]], window=1).bottom_tenth.tolist() == [2.0]


@given(confidences, st.floats(0, 4))
def test_a_trace_stops_at_the_first_window_below_the_bar(values: list[float], bar: float) -> None:
    found = measured([[1.0], values, [0.5]])
    stop = found.tokens_until_below(np.array([1]), np.array([bar]))
    below = [end for end, mean in group_confidences(values) if mean < bar]
    assert stop.tolist() == [below[0] if below else len(values)]


def test_equal_tokens_have_equal_confidences_wherever_they_stand() -> None:
    rng = np.random.default_rng(0)
    trace = (rng.random(3000) * 20).tolist()
    noise = (rng.random(1234) * 1e4).tolist()
    found = measured([trace, noise, trace], window=2048)
    for each in (found.mean, found.lowest, found.tail, found.bottom_tenth):
        assert each[0] == each[2]
    assert measured([[0.1] * 5000], window=2048).low_values.tolist() == pytest.approx([0.1])


def lowest(values: list[float]) -> float:
    return min(mean for _, mean in group_confidences(values))


def weight(confidence: float) -> int:
    return round(confidence * 2**24)


def leading(votes: list[tuple[int, int]]) -> int:
    """Who leads after all of (answer, weight): it must be overtaken to lose the lead."""
    totals: Counter[int] = Counter()
    leader = -1
    for answer, given_weight in votes:
        if answer < 0:
            continue
        totals[answer] += given_weight
        if leader < 0 or totals[answer] > totals[leader]:
            leader = answer
    return leader


def run_online(
    group: list[Trace], keep_percent: float, warm_up: int, consensus: float
) -> tuple[int, int, int]:
    """(traces run to their end, tokens, winner)"""
    warm = min(warm_up, max(1, len(group) // 2))
    bar = np.percentile([lowest(values) for _, values, _ in group[:warm]], 100 - keep_percent)
    run = tokens = 0
    votes: list[tuple[int, int]] = []
    for i, (answer, values, _) in enumerate(group):
        below = [end for end, mean in group_confidences(values) if mean < bar]
        if below and i >= warm:
            tokens += below[0]
        else:
            run += 1
            tokens += len(values)
        if not below:
            votes.append((answer, weight(lowest(values))))
        given_votes = [vote for vote in votes if vote[0] >= 0]
        total = sum(each for _, each in given_votes)
        top = Counter[int]()
        for each, vote in given_votes:
            top[each] += vote
        if i + 1 >= warm and total and max(top.values()) / total >= consensus:
            break
    return run, tokens, leading(votes)


def reward_of(group: list[Trace], answer: int) -> float:
    known = [r for a, _, r in group if a == answer >= 0 and not math.isnan(r)]
    return sum(known) / len(known) if known else math.nan


def orders_of(lists: list[list[Trace]]) -> list[list[list[Trace]]]:
    flat = [trace for group in lists for trace in group]
    groups, _ = columns(lists)
    found: list[list[list[Trace]]] = [[[] for _ in lists] for _ in range(ORDERS)]
    for arrival in arrivals(groups, ORDERS, seed=0):
        for o, order in enumerate(range(*arrival.orders.indices(ORDERS))):
            for g, group in enumerate(arrival.groups.tolist()):
                found[order][group] = [flat[t] for t in arrival.traces[o, g]]
    return found


def check(found: DeepConf, name: str, expected: list[list[float]]) -> None:
    """Compare with per order the groups' values; NaN: not counted."""
    means = [np.mean(known) for e in expected if (known := [x for x in e if not math.isnan(x)])]
    estimate: Estimate | None = getattr(found.outcome, name)
    if not means:
        assert estimate is None
    else:
        assert estimate is not None
        assert estimate.mean == pytest.approx(np.mean(means), abs=1e-12)


@settings(max_examples=100)
@given(
    many_groups,
    st.sampled_from([0.0, 10.0, 50.0, 90.0, 100.0]),
    st.integers(1, 4),
    st.sampled_from([0.6, 0.95, 2.0]),
)
def test_online_simulation_equals_the_reference(
    lists: list[list[Trace]], keep_percent: float, warm_up: int, consensus: float
) -> None:
    groups, confidence = columns(lists)
    found = simulate_online(
        groups,
        confidence,
        keep_percent=keep_percent,
        warm_up=warm_up,
        consensus=consensus,
        orders=ORDERS,
    )
    n_traces = sum(map(len, lists))
    n_tokens = sum(len(values) for group in lists for _, values, _ in group)
    shares: dict[str, list[list[float]]] = {
        name: []
        for name in ("traces_saved", "tokens_saved", "same_answer", "undecided", "accuracy_change")
    }
    for order in orders_of(lists):
        run = [run_online(group, keep_percent, warm_up, consensus) for group in order]
        full = [leading([(answer, 1) for answer, _, _ in group]) for group in order]
        shares["traces_saved"].append([1 - sum(r for r, _, _ in run) / n_traces])
        shares["tokens_saved"].append([1 - sum(t for _, t, _ in run) / n_tokens])
        both = [(w, f) for (_, _, w), f in zip(run, full, strict=True)]
        shares["same_answer"].append([float(w == f) for w, f in both if f >= 0])
        shares["undecided"].append([float(w < 0) for w, f in both if f >= 0])
        shares["accuracy_change"].append(
            [
                reward_of(group, w) - reward_of(group, f)
                for group, (w, f) in zip(order, both, strict=True)
            ]
        )
    assert found.groups == len(lists)
    for name, expected in shares.items():
        check(found, name, expected)


@settings(max_examples=60)
@given(many_groups, st.sampled_from(["mean", "lowest", "tail", "bottom_tenth"]), st.integers(1, 99))
def test_offline_vote_equals_the_reference(
    lists: list[list[Trace]], measure: str, keep_percent: int
) -> None:
    groups, confidence = columns(lists)
    found = simulate_offline(
        groups,
        confidence,
        measure=measure,  # type: ignore[arg-type]
        keep_percent=keep_percent,
        orders=ORDERS,
    )
    same: list[list[float]] = []
    for order in orders_of(lists):
        same.append([])
        for group in order:
            own = getattr(measured([values for _, values, _ in group]), measure).tolist()
            bar = np.percentile(own, 100 - keep_percent)
            votes = [
                (answer, weight(c))
                for (answer, _, _), c in zip(group, own, strict=True)
                if c >= bar
            ]
            full = leading([(answer, 1) for answer, _, _ in group])
            if full >= 0:
                same[-1].append(float(leading(votes) == full))
    check(found, "same_answer", same)
    assert found.outcome.tokens_saved is not None
    assert found.outcome.tokens_saved.mean == 0


def test_a_small_group_worked_by_hand() -> None:
    sure, doubtful = [3.0] * 8, [1.0] * 8
    groups, confidence = columns([[(0, sure, 1.0), (0, sure, 1.0), (0, sure, 1.0), (0, sure, 1.0)]])
    found = simulate_online(groups, confidence, keep_percent=90)
    # Half of four warm up, and agree: the other two are not begun.
    assert found.outcome.tokens_saved == Estimate(0.5, 0.0)
    found = simulate_online(groups, confidence, keep_percent=90, consensus=2)
    assert found.outcome.tokens_saved == Estimate(0.0, 0.0)

    groups, confidence = columns([[(0, sure, 1.0), (1, doubtful, 0.0)]])
    found = simulate_online(groups, confidence, keep_percent=10, consensus=2, orders=1000)
    # Warm-up of one: its own confidence is the bar. If the sure one comes first, the doubtful one
    # stops when its first window is full, 4 of 16 tokens early; else both run. 0 always wins.
    assert found.outcome.tokens_saved is not None and found.outcome.accuracy_change is not None
    assert found.outcome.tokens_saved.mean == pytest.approx(0.5 * 4 / 16, abs=0.02)
    # The full vote is a tie that the first to arrive wins.
    assert found.outcome.accuracy_change.mean == pytest.approx(0.5, abs=0.08)


def test_groups_with_a_trace_that_has_no_confidences_are_left_out() -> None:
    groups, confidence = columns([[(0, [1.0], 1.0)] * 2, [(0, [1.0], 1.0), (0, [], 1.0)]])
    for found in (simulate_online(groups, confidence), simulate_offline(groups, confidence)):
        assert found.groups == 1
        assert found.outcome.same_answer == Estimate(1.0, 0.0)
    groups, confidence = columns([[(0, [], 1.0)]])
    found = simulate_online(groups, confidence)
    assert (found.groups, found.outcome.tokens_saved) == (0, None)


def test_confidences_of_nothing_but_certain_tokens_still_vote() -> None:
    # With k = 1 a greedy log has C = 0 everywhere: all votes weigh nothing, the first one leads.
    groups, confidence = columns([[(0, [0.0] * 5, 1.0)] * 4])
    found = simulate_online(groups, confidence)
    assert found.outcome.same_answer == Estimate(1.0, 0.0)
    assert found.outcome.tokens_saved == Estimate(0.0, 0.0)


def test_nonsense_is_refused() -> None:
    offsets = np.array([0, 1])
    for values in (math.nan, math.inf, -0.5):
        with pytest.raises(ValueError):
            measure_confidence(np.array([values]), offsets)
    with pytest.raises(ValueError):
        measure_confidence(np.ones(2), offsets)
    with pytest.raises(ValueError):
        measure_confidence(np.ones(1), offsets, window=0)
    groups, confidence = columns([[(0, [1.0], 1.0)] * 2])
    for bad in ({"keep_percent": 101.0}, {"warm_up": 0}):
        with pytest.raises(ValueError):
            simulate_online(groups, confidence, **bad)
    with pytest.raises(ValueError):
        simulate_online(groups, measured([[1.0]]))


def test_absurd_confidences_are_capped_and_do_not_overflow() -> None:
    groups, confidence = columns([[(0, [1e300] * 3, 1.0), (1, [1.0] * 3, 0.0)] * 2])
    assert confidence.lowest.max() == 2**14
    found = simulate_offline(groups, confidence, keep_percent=100)
    assert found.outcome.undecided == Estimate(0.0, 0.0)

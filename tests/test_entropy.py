"""Token entropies: bounds against full distributions, statistics against plain Python."""

from __future__ import annotations

import math
import random
from collections import Counter
from fractions import Fraction
from itertools import groupby, pairwise
from statistics import fmean, quantiles
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forkpoint.analysis.entropy import (
    FORK,
    NOT_FORK,
    UNDECIDED,
    Information,
    PositionStats,
    bounds,
    classify,
    condense,
    difficulty_curve,
    high_entropy_runs,
    mass_share,
    most_frequent,
    precision_recall,
    quantile_threshold,
    rank_by_advantage,
    sequence_information,
    sparks,
    step_entropy,
    token_confidence,
    windowed,
)
from forkpoint.analysis.token_runs import check_offsets, fold, mean_by_run, offsets_of

NAN = math.nan
values = st.lists(st.one_of(st.floats(0, 10), st.just(NAN)), max_size=30)
lengths = st.lists(st.integers(0, 7), min_size=1, max_size=8)


def floats(*numbers: float) -> Any:
    return np.array(numbers, dtype=np.float64)


def cut(column: list[Any], sizes: list[int]) -> list[list[Any]]:
    """The runs of a column, by plain slicing."""
    runs, at = [], 0
    for size in sizes:
        runs.append(column[at : at + size])
        at += size
    return runs


def entropy_of(p: Any) -> float:
    return -math.fsum(x * math.log(x) for x in p.tolist() if x > 0)


def draw_distribution(rng: np.random.Generator, size: int, shape: str) -> Any:
    if shape == "uniform":
        return np.full(size, 1 / size)
    if shape == "peaked":
        p = rng.dirichlet(np.full(size, 0.5)) * 10.0 ** -rng.integers(1, 12)
        p[0] += 1 - p.sum()
        return p
    return rng.dirichlet(np.full(size, float(shape)))


SHAPES = ["uniform", "peaked", "0.01", "0.1", "1", "10"]


def ln(p: float) -> float:
    return math.log(p) if p > 0 else -math.inf


def plain_bounds(named: list[float], cap: float, size: int) -> tuple[float, float]:
    """The formulas, one token after another."""
    entropy = -sum(p * math.log(p) for p in named if p > 0)
    rest = 1 - sum(named)
    if rest <= 0:
        return entropy, entropy
    upper = entropy + rest * math.log(max(size - len(named), 1) / rest)
    lower, left = entropy, rest
    while left > 1e-15:
        p = min(cap, left)
        lower -= p * math.log(p)
        left -= p
    return lower, upper


# Bounds


@given(st.integers(0, 2**32), st.sampled_from(SHAPES), st.integers(2, 5000), st.integers(1, 20))
def test_the_true_entropy_lies_within_the_bounds(seed: int, shape: str, size: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    p = draw_distribution(rng, size, shape)
    true = entropy_of(p)
    listed = np.sort(p)[::-1][:k]
    order = np.argsort(p)[::-1]
    # The list's own tokens, one just outside, any token, a token drawn from the distribution.
    tokens = [order[0], order[min(k, size) - 1], order[min(k, size - 1)], rng.integers(size)]
    tokens.append(rng.choice(size, p=p / p.sum()))
    sampled = [ln(float(p[token])) for token in tokens]
    top = [[ln(x) for x in rng.permutation(listed).tolist()] for _ in tokens]
    # As vLLM logs it: the sampled token is in the list also where it is none of the most likely.
    extended = [
        each if token in order[:k] else [*each, log]
        for token, log, each in zip(tokens, sampled, top, strict=True)
    ]
    for stats in (condense(sampled, top), condense(sampled), condense(sampled, extended)):
        lower, upper = bounds(stats, size)
        assert (lower <= upper).all()
        assert (lower >= 0).all()
        assert (lower <= true + 1e-9).all()
        assert (upper >= true - 1e-9).all()
        assert (upper <= math.log(size) + 1e-9).all()


@given(st.integers(0, 2**32), st.sampled_from(SHAPES), st.integers(3, 300), st.integers(2, 20))
def test_the_bounds_equal_the_formulas_computed_token_by_token(
    seed: int, shape: str, size: int, k: int
) -> None:
    rng = np.random.default_rng(seed)
    p = np.sort(draw_distribution(rng, size, shape))[::-1]
    k = min(k, size - 1)
    if p[k - 1] < 1e-12 or 1 - p[:k].sum() < 1e-9 or p[0] < p[k - 1] * 1.01:
        return  # what is left is rounding, or the sampled token may be the least of its list
    top = [[ln(x) for x in p[:k].tolist()]]
    inside, outside = ln(float(p[0])), ln(float(p[k]))
    expected = plain_bounds(p[:k].tolist(), float(p[k - 1]), size)
    lower, upper = bounds(condense([inside], top), size)
    assert (lower[0], upper[0]) == pytest.approx(expected, abs=1e-9)
    if p[k] < p[k - 1] * 0.99:
        expected = plain_bounds(p[: k + 1].tolist(), float(p[k - 1]), size)
        lower, upper = bounds(condense([outside], top), size)
        assert (lower[0], upper[0]) == pytest.approx(expected, abs=1e-9)


@given(st.integers(0, 2**32), st.integers(2, 40), st.integers(1, 6))
def test_the_lower_bound_is_reached_by_the_most_unequal_tail(seed: int, size: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    named = np.sort(rng.dirichlet(np.full(k + 1, 1.0)))[::-1]
    cap, rest = float(named[k - 1]), float(named[k])
    # Sorted, so the tail fits under the cap as one token: no distribution is less uncertain.
    stats = condense([math.log(named[0])], [np.log(named[:k]).tolist()])
    lower, _ = bounds(stats, k + size)
    if k > 1:
        assert rest <= cap
        assert lower[0] == pytest.approx(entropy_of(named), abs=1e-9)


def test_a_sampled_token_alone_is_bounded_by_its_binary_entropy() -> None:
    stats = condense([math.log(0.2), 0.0, None])
    lower, upper = bounds(stats, 101)
    binary = -0.2 * math.log(0.2) - 0.8 * math.log(0.8)
    assert lower.tolist() == pytest.approx([binary, 0, 0])
    assert upper.tolist() == pytest.approx([binary + 0.8 * math.log(100), 0, math.log(101)])
    assert stats.known.tolist() == [True, True, False]
    assert (stats.cap == stats.tail).all()


def test_a_logged_entropy_is_both_bounds() -> None:
    stats = condense([-1.0, None, -0.5], [[-0.1], [], [-0.5]], [0.75, 12.5, None])
    lower, upper = bounds(stats, 50)
    assert (lower[:2].tolist(), upper[:2].tolist()) == ([0.75, 12.5], [0.75, 12.5])
    assert stats.named.tolist()[:2] == [0, 0]
    assert stats.known.all()
    assert lower[2] < upper[2]
    assert stats.logprob[0] == -1.0


def test_a_full_list_leaves_nothing_open() -> None:
    p = [0.5, 0.25, 0.125, 0.125]
    lower, upper = bounds(condense([math.log(0.25)], [[math.log(x) for x in p]]), 4)
    assert lower[0] == upper[0] == pytest.approx(entropy_of(np.array(p)))


def test_the_gap_between_the_bounds_is_that_of_the_reference() -> None:
    # A tail of 1e-2 over the rest of 151,936 tokens, 20 of them named: 0.12 nats.
    for tail, gap in ((1e-3, 0.012), (1e-2, 0.12), (5e-2, 0.60)):
        top = [math.log((1 - tail) / 20)] * 20
        lower, upper = bounds(condense([top[0]], [top]), 151_936)
        # The reference states it where the tail could be one token.
        assert upper[0] - lower[0] == pytest.approx(gap, rel=0.05)


# Reading what was logged


def test_a_token_outside_its_list_is_named_too() -> None:
    stats = condense([math.log(0.01)], [[math.log(0.6), math.log(0.3)]])
    assert stats.named.tolist() == [3]
    assert stats.tail[0] == pytest.approx(0.09)
    assert stats.cap[0] == pytest.approx(0.09)  # less than 0.3


def test_a_token_that_ties_with_the_least_of_its_list_is_not_named_twice() -> None:
    stats = condense([math.log(0.3) - 1e-7], [[math.log(0.3), math.log(0.6)]])
    assert stats.named.tolist() == [2]
    assert stats.tail[0] == pytest.approx(0.1)


def test_a_sampled_token_added_to_the_list_is_no_cap() -> None:
    # 0.05 was added because it was sampled: others of up to 0.3 may lie between.
    listed = [math.log(0.4), math.log(0.3), math.log(0.05)]
    stats = condense([listed[2], listed[0]], [listed, listed])
    assert stats.cap.tolist() == pytest.approx([0.25, 0.05])
    assert stats.tail.tolist() == pytest.approx([0.25, 0.25])


@pytest.mark.parametrize("nothing", [None, NAN, -math.inf, -9999.0, -1e300, math.inf, 3.0])
def test_a_logprob_that_states_nothing_names_nothing(nothing: float | None) -> None:
    stats = condense([nothing])
    assert np.isnan(stats.logprob[0])
    assert (stats.tail[0], stats.cap[0], stats.named[0], stats.named_entropy[0]) == (1, 1, 0, 0)
    listed = condense([nothing], [[math.log(0.5), math.log(0.25)]])
    assert listed.named.tolist() == [2]
    assert listed.cap[0] == pytest.approx(0.25)


@pytest.mark.parametrize("floor", [-math.inf, -9999.0])
def test_entries_of_no_weight_at_the_end_of_a_list_are_left_out(floor: float) -> None:
    stats = condense([math.log(0.7)], [[math.log(0.7), floor, math.log(0.3), floor]])
    assert stats.named.tolist() == [2]
    assert stats.tail[0] == pytest.approx(0, abs=1e-12)
    lower, upper = bounds(stats, 1000)
    assert lower[0] == pytest.approx(upper[0], abs=1e-9)


def test_a_list_with_a_hole_caps_nothing() -> None:
    stats = condense([math.log(0.1)], [[NAN, math.log(0.1), math.log(0.05)]])
    assert stats.cap[0] == stats.tail[0] == pytest.approx(0.85)


def test_rounding_above_0_is_taken_away() -> None:
    stats = condense([1e-7, 2e-4], [[1e-7, -16.0], [2e-4]])
    assert stats.logprob.tolist() == [0, 0]
    assert stats.tail.tolist() == [0, 0]
    assert stats.named_entropy[0] == pytest.approx(16 * math.exp(-16))
    assert not np.signbit(stats.named_entropy).any()
    lower, upper = bounds(stats, 1000)
    assert (lower == upper).all()


def test_lists_that_are_no_distribution_are_left_out() -> None:
    stats = condense([math.log(0.9)], [[math.log(0.9), math.log(0.8)]])
    assert stats.named.tolist() == [1]
    assert stats.tail[0] == pytest.approx(0.1)


def test_positions_without_a_list_and_no_positions_at_all_are_fine() -> None:
    stats = condense([-0.5, None, -0.25], [[], None, [-0.25, -2.0]])
    assert stats.named.tolist() == [1, 0, 2]
    for none in (condense([]), condense([], []), condense([], [], [])):
        assert len(none) == 0
        assert [len(each) for each in bounds(none, 10)] == [0, 0]


def test_each_position_is_condensed_as_if_it_were_alone() -> None:
    rng = random.Random(3)
    logprobs: list[float | None] = []
    top: list[list[float]] = []
    entropies: list[float | None] = []
    for _ in range(300):
        size = rng.randrange(0, 6)
        top.append([-rng.expovariate(0.5) for _ in range(size)])
        if size and rng.random() < 0.2:
            top[-1][0] = rng.choice([NAN, -math.inf, -9999.0, 0.001, 7.0])
        logprobs.append(rng.choice([None, -9999.0, -rng.random(), *top[-1]]))
        entropies.append(rng.choice([None, NAN, -1e-9, -3.0, rng.random()]))
    whole = condense(logprobs, top, entropies)
    alone = PositionStats.concatenate(
        condense([a], [b], [c]) for a, b, c in zip(logprobs, top, entropies, strict=True)
    )
    for name in ("logprob", "named_entropy", "tail", "cap", "named"):
        one, other = getattr(whole, name), getattr(alone, name)
        assert one.dtype == np.float64
        np.testing.assert_allclose(one, other, rtol=1e-14, atol=1e-14)
    lower, upper = bounds(whole, 1000)
    assert (lower <= upper).all()
    assert np.isfinite(lower).all()
    assert np.isfinite(upper).all()


def test_lists_of_different_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="1 top for 2 logprobs"):
        condense([-1.0, -2.0], [[-1.0]])
    with pytest.raises(ValueError, match="3 entropies for 2"):
        condense([-1.0, -2.0], None, [0.0, 0.0, 0.0])
    with pytest.raises(ValueError, match="vocabulary"):
        bounds(condense([]), 0)


def test_a_vocabulary_stated_too_small_still_gives_ordered_bounds() -> None:
    lower, upper = bounds(condense([-1.0, -2.0], [[-1.0, -2.0, -3.0], [-3.0, -3.1]]), 2)
    assert (lower <= upper).all()
    assert np.isfinite(upper).all()


def test_concatenating_nothing_gives_no_positions() -> None:
    assert len(PositionStats.concatenate([])) == 0
    both = PositionStats.concatenate([condense([-1.0]), condense([None, -2.0])])
    assert both.named.tolist() == [1, 0, 1]


# Classes and thresholds


def test_classes_keep_to_the_side_that_the_bounds_prove() -> None:
    lower = floats(0.7, 0.1, 0.1, 0.5, NAN)
    upper = floats(0.9, 0.4, 0.9, 0.5, NAN)
    assert classify(lower, upper, 0.5).tolist() == [FORK, NOT_FORK, UNDECIDED, FORK, UNDECIDED]


@given(st.lists(st.tuples(st.floats(0, 5), st.floats(0, 2)), min_size=1, max_size=40))
def test_the_threshold_interval_encloses_that_of_any_entropies_within_bounds(
    positions: list[tuple[float, float]],
) -> None:
    lower = floats(*(low for low, _ in positions))
    upper = floats(*(low + gap for low, gap in positions))
    true = lower + (upper - lower) * np.random.default_rng(0).random(len(lower))
    found = quantile_threshold(lower, upper)
    inside = quantile_threshold(true, true)
    assert found.value is not None and found.low is not None and found.high is not None
    assert found.low <= found.value <= found.high
    assert inside.value is not None
    assert found.low - 1e-12 <= inside.value <= found.high + 1e-12
    assert inside.low == inside.value == inside.high


def test_the_threshold_is_the_linear_quantile_and_keeps_what_equals_it() -> None:
    known = floats(*range(11))
    found = quantile_threshold(known, known, share=0.2)
    assert found.value == 8
    assert (classify(known, known, 8.0) == FORK).sum() == 3
    plain = quantiles(range(10), n=5, method="inclusive")[-1]
    assert quantile_threshold(known[:10], known[:10]).value == pytest.approx(plain)


def test_no_positions_have_no_threshold() -> None:
    found = quantile_threshold(floats(), floats())
    assert (found.value, found.low, found.high, found.positions) == (None, None, None, 0)
    with pytest.raises(ValueError, match="share"):
        quantile_threshold(floats(1), floats(1), share=0)


@given(st.lists(st.integers(0, 50), min_size=1, max_size=40), st.integers(1, 20))
def test_mass_share_is_a_point_of_the_lorenz_curve(column: list[int], twentieths: int) -> None:
    share = Fraction(twentieths, 20)
    wanted, total = share * len(column), Fraction(0)
    for value in sorted(column, reverse=True):
        part = min(wanted, Fraction(1))
        total, wanted = total + part * value, wanted - part
    found = mass_share(floats(*column), float(share))
    if sum(column) == 0:
        assert found is None
    else:
        assert found == pytest.approx(float(total / sum(column)))


def test_mass_share_of_equal_values_is_their_share_and_gaps_do_not_count() -> None:
    assert mass_share(floats(2, 2, NAN, 2, 2), 0.25) == pytest.approx(0.25)
    assert mass_share(floats(0, 0, 0, 9), 0.25) == 1
    assert mass_share(floats(NAN)) is None


# Along sequences


@given(values, lengths, st.integers(1, 9))
def test_windows_equal_means_of_slices(column: list[float], sizes: list[int], window: int) -> None:
    column = ([*column, 1.0] * 60)[: sum(sizes)]
    expected = []
    for run in cut(column, sizes):
        count = max(len(run) - window + 1, 1) if run else 0
        expected.append([])
        for i in range(count):
            known = [x for x in run[i : i + window] if not math.isnan(x)]
            expected[-1].append(fmean(known) if known else NAN)
    means, cuts = windowed(floats(*column), offsets_of(np.array(sizes)), window)
    assert np.diff(cuts).tolist() == [len(run) for run in expected]
    np.testing.assert_allclose(means, [x for run in expected for x in run], atol=1e-9)


def plain_rounds(nats: list[float], budget: float, most: int) -> int:
    """Fewest rounds left to right, by trying all cuts: a round is one token, or tokens within the
    budget and not more than `most`."""
    best = [0] + [len(nats)] * len(nats)
    for end in range(1, len(nats) + 1):
        for start in range(end):
            if end - start == 1 or (
                end - start <= most and math.fsum(nats[start:end]) <= budget + 1e-12
            ):
                best[end] = min(best[end], best[start] + 1)
    return best[-1]


@given(
    st.lists(st.one_of(st.floats(0, 1), st.floats(0, 12)), max_size=25),
    st.floats(0.1, 1),
    st.integers(1, 10),
)
def test_no_left_to_right_decoder_needs_fewer_rounds_than_the_bound(
    nats: list[float], factor: float, most: int
) -> None:
    found = sequence_information(
        -floats(*nats), np.array([0, len(nats)]), factor=factor, tokens_per_round=most
    )
    budget = math.log((most + 1) / ((1 - factor) * most + 1))
    assert found.bits_per_round == pytest.approx(budget / math.log(2))
    assert found.bits[0] == pytest.approx(sum(nats) / math.log(2))
    assert found.rounds_in_order[0] <= plain_rounds(nats, budget, most)
    assert found.rounds_any_order[0] >= found.rounds_in_order[0] - sum(x > budget for x in nats)


@given(st.lists(st.floats(0.001, 0.3), min_size=2, max_size=10))
def test_sure_tokens_taken_together_fit_in_a_round(doubts: list[float]) -> None:
    # n tokens, each with 1 - p <= 1 / (n + 1): together they never exceed the budget of a round.
    n = len(doubts)
    nats = [-math.log(1 - min(doubt, 1 / (n + 1))) for doubt in doubts]
    found = sequence_information(-floats(*nats), np.array([0, n]), tokens_per_round=n)
    assert (found.rounds_in_order[0], found.rounds_any_order[0]) == (1, 1)


def test_information_counts_bits_per_sequence_and_what_is_not_known() -> None:
    logprobs = floats(math.log(0.5), math.log(0.25), NAN, 0.0, math.log(0.001))
    found = sequence_information(logprobs, np.array([0, 3, 3, 5]))
    assert isinstance(found, Information)
    assert found.bits.tolist() == pytest.approx([3, 0, math.log2(1000)])
    assert found.known.tolist() == [2, 0, 2]
    assert found.unknown.tolist() == [1, 0, 0]
    assert found.bits_per_round == pytest.approx(math.log2(33))
    assert found.rounds_in_order.tolist() == [1, 0, 2]
    assert found.rounds_any_order.tolist() == [1, 0, 2]
    with pytest.raises(ValueError, match="factor"):
        sequence_information(logprobs, np.array([0, 5]), factor=0)


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), max_size=40), st.integers(0, 7))
def test_the_most_frequent_tokens_equal_counting(
    positions: list[tuple[int, bool]], top: int
) -> None:
    tokens = np.array([token for token, _ in positions], dtype=np.int64)
    mask = np.array([marked for _, marked in positions], dtype=np.bool_)
    found = most_frequent(tokens, mask, top)
    marked = Counter(token for token, is_marked in positions if is_marked)
    all_ = Counter(token for token, _ in positions)
    expected = sorted(marked.items(), key=lambda item: (-item[1], item[0]))[:top]
    assert [(each.token, each.marked) for each in found] == expected
    assert [each.share for each in found] == [n / all_[token] for token, n in expected]


@given(values, lengths, st.integers(1, 5))
def test_step_entropy_is_the_mean_of_a_turns_first_tokens(
    column: list[float], sizes: list[int], first: int
) -> None:
    column = ([*column, 1.0] * 60)[: sum(sizes)]
    found = step_entropy(floats(*column), offsets_of(np.array(sizes)), first)
    known = [[x for x in run[:first] if not math.isnan(x)] for run in cut(column, sizes)]
    np.testing.assert_allclose(found, [fmean(run) if run else NAN for run in known])


@given(st.lists(st.lists(st.booleans(), max_size=12), min_size=1, max_size=6))
def test_runs_of_high_steps_end_with_their_trace(traces: list[list[bool]]) -> None:
    flat = np.array([step for trace in traces for step in trace], dtype=np.bool_)
    found = high_entropy_runs(flat, offsets_of(np.array([len(trace) for trace in traces])))
    runs = [len(list(run)) for trace in traces for high, run in groupby(trace) if high]
    assert found.lengths == dict(sorted(Counter(runs).items()))
    assert found.longest == max(runs, default=0)
    assert (found.high, found.steps) == (sum(runs), sum(map(len, traces)))
    if runs:
        assert found.consecutive_share == (sum(runs) - len(runs)) / sum(runs)
    else:
        assert found.consecutive_share is None


# Groups and traces


def test_the_curvature_and_its_error_are_those_of_textbook_least_squares() -> None:
    rng = np.random.default_rng(5)
    x = rng.random(60)
    y = 0.4 + 3 * (x - 0.55) ** 2 + rng.normal(0, 0.05, 60)
    found = difficulty_curve(1 - x, y)
    design = np.stack([np.ones(60), x, x * x], axis=1)
    normal = np.linalg.inv(design.T @ design)
    beta = normal @ design.T @ y
    residual = y - design @ beta
    assert found.curvature == pytest.approx(beta[2])
    assert found.curvature_error == pytest.approx(
        math.sqrt(normal[2, 2] * (residual @ residual) / 57)
    )
    assert found.vertex == pytest.approx(-beta[1] / (2 * beta[2]))
    assert found.is_u_shaped is True
    assert found.vertex == pytest.approx(0.55, abs=0.03)


@pytest.mark.parametrize(
    ("entropy", "is_u"),
    [
        ([3.0, 1, 0, 1, 3], True),
        ([0.0, 2, 3, 2, 0], False),  # an arch
        ([1.0, 4, 9, 16, 25], False),  # it would turn before the easiest group
        ([1.0, 2, 3, 4, 5], False),
    ],
)
def test_a_curve_is_u_shaped_only_if_it_turns_between(entropy: list[float], is_u: bool) -> None:
    found = difficulty_curve(floats(1, 0.75, 0.5, 0.25, 0), floats(*entropy))
    assert found.is_u_shaped is is_u


def test_too_few_difficulties_make_no_curve() -> None:
    two = difficulty_curve(floats(0, 1, 0, 1, NAN), floats(1, 2, 3, 4, 5))
    assert (two.curvature, two.curvature_error, two.is_u_shaped) == (None, None, None)
    assert (two.groups, sum(each.groups for each in two.bins)) == (4, 4)
    three = difficulty_curve(floats(0, 0.5, 1), floats(1, 0, 1))
    assert three.curvature == pytest.approx(4)
    assert three.curvature_error is None
    none = difficulty_curve(floats(), floats())
    assert (none.bins, none.groups, none.curvature) == ((), 0, None)


@given(
    st.lists(st.tuples(st.integers(0, 8), st.floats(0, 3)), min_size=1, max_size=50),
    st.integers(1, 6),
)
def test_difficulty_bins_hold_whole_difficulties_in_order(
    groups: list[tuple[int, float]], bins: int
) -> None:
    reward = floats(*(n / 8 for n, _ in groups))
    entropy = floats(*(h for _, h in groups))
    found = difficulty_curve(reward, entropy, bins).bins
    assert len(found) <= bins
    assert sum(each.groups for each in found) == len(groups)
    for one, next_ in pairwise(found):
        assert one.high < next_.low
    for each in found:
        inside = [h for n, h in groups if each.low <= 1 - n / 8 <= each.high]
        assert len(inside) == each.groups
        assert each.mean_entropy == pytest.approx(fmean(inside))


def test_ten_different_groups_fill_five_bins_alike() -> None:
    found = difficulty_curve(np.linspace(0, 1, 10), np.arange(10.0))
    assert [each.groups for each in found.bins] == [2] * 5
    assert [each.mean_entropy for each in found.bins] == [8.5, 6.5, 4.5, 2.5, 0.5]


def test_positions_are_ranked_by_advantage_times_entropy() -> None:
    advantage = floats(-2, 1, 0, NAN, 1, 0.5)
    entropy = floats(1, 1, 9, 9, 3, NAN)
    assert rank_by_advantage(advantage, entropy, 3).tolist() == [4, 0, 1]
    assert rank_by_advantage(advantage, entropy, 9).tolist() == [4, 0, 1, 2]
    assert rank_by_advantage(floats(), floats(), 3).tolist() == []


def test_sparks_are_unlikely_tokens_of_rewarded_traces() -> None:
    probability = floats(0.9, 0.01, 0.002, 0.02, NAN, 0.03)
    rewarded = np.array([True, True, False, True, True, False])
    found = sparks(probability, rewarded, low=0.02)
    assert found.positions.tolist() == [1, 3]
    assert (found.unlikely, found.noise) == (3, None)
    assert found.rewarded_share == pytest.approx(2 / 3)
    assert found.base_share == pytest.approx(3 / 5)
    likeliest = floats(0.9, 0.8, 0.05, 0.5, 0.5, NAN)
    apart = sparks(probability, rewarded, low=0.02, top_probability=likeliest)
    # 0.01 is below 2 % of 0.8: noise. 0.002 is not below 2 % of 0.05, 0.02 not below 2 % of 0.5.
    assert apart.positions.tolist() == [3]
    assert (apart.unlikely, apart.noise) == (2, 1)


def test_sparks_are_by_default_the_least_likely_hundredth() -> None:
    probability = (np.arange(200) + 1) / 200
    found = sparks(probability, np.arange(200) % 2 == 0)
    assert (found.unlikely, found.positions.tolist()) == (2, [0])
    assert found.rewarded_share == found.base_share == 0.5
    none = sparks(floats(NAN), np.array([True]))
    assert (none.low, none.unlikely, none.rewarded_share, none.base_share) == (None, 0, None, None)


@given(st.lists(st.tuples(st.booleans(), st.booleans()), max_size=30))
def test_precision_and_recall_equal_counting(positions: list[tuple[bool, bool]]) -> None:
    high = np.array([a for a, _ in positions], dtype=np.bool_)
    diverges = np.array([b for _, b in positions], dtype=np.bool_)
    found = precision_recall(high, diverges)
    both = positions.count((True, True))
    assert found.positions == len(positions)
    assert found.precision == (both / sum(high.tolist()) if high.any() else None)
    assert found.recall == (both / sum(diverges.tolist()) if diverges.any() else None)
    assert found.base_rate == (sum(diverges.tolist()) / len(positions) if positions else None)
    if high.any() and diverges.any():
        assert found.lift == pytest.approx(
            both * len(positions) / (sum(high.tolist()) * sum(diverges.tolist()))
        )
    else:
        assert found.lift is None


# Columns cut into runs


@given(st.lists(st.integers(-9, 9), max_size=20), lengths)
def test_folding_runs_equals_folding_slices(column: list[int], sizes: list[int]) -> None:
    column = ([*column, 4] * 60)[: sum(sizes)]
    offsets = offsets_of(np.array(sizes))
    flat = np.array(column, dtype=np.int64)
    runs = cut(column, sizes)
    assert fold(np.add, flat, offsets, 0).tolist() == [sum(run) for run in runs]
    assert fold(np.minimum, flat, offsets, 99).tolist() == [min(run, default=99) for run in runs]
    means = mean_by_run(flat.astype(np.float64), offsets)
    np.testing.assert_allclose(means, [fmean(run) if run else NAN for run in runs])


@pytest.mark.parametrize("offsets", [[], [0], [0, 2], [1, 3], [0, 2, 1, 3]])
def test_offsets_that_do_not_cut_the_column_are_refused(offsets: list[int]) -> None:
    with pytest.raises(ValueError, match="offsets"):
        check_offsets(3, np.array(offsets, dtype=np.int64))


def test_token_confidence_is_the_mean_surprise_of_the_likeliest_tokens() -> None:
    found = token_confidence([[-0.5, -1.5, -4.0], [0.0, -2.0], [], [-1.0, -math.inf, -9999.0]])
    assert found[[0, 1, 3]].tolist() == [2.0, 1.0, 1.0]
    assert math.isnan(found[2])

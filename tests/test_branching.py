"""Branching: estimators against simulation, values, budgets and trees against brute force."""

from __future__ import annotations

import math
from itertools import pairwise, permutations
from statistics import fmean
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forkpoint.analysis.branching import (
    EXACT_LIMIT,
    LoggedRollouts,
    branching_entropy,
    chao_shen,
    ep_tree_budget,
    miller_madow,
    plug_in,
    saving_by_depth,
    tokens_by_passes,
    trajectories_per_budget,
    tree_grpo_budget,
    values_by_subtree,
)
from forkpoint.analysis.token_runs import offsets_of

NAN = math.nan
forks = st.lists(st.lists(st.integers(0, 6), max_size=6), min_size=1, max_size=8)
rollouts = st.lists(st.lists(st.integers(0, 1), max_size=8).map(tuple), min_size=1, max_size=6).map(
    sorted
)


def floats(*numbers: float) -> Any:
    return np.array(numbers, dtype=np.float64)


def ints(*numbers: int) -> Any:
    return np.array(numbers, dtype=np.int64)


# Entropy of a fork


def plain_plug_in(counts: list[int]) -> float:
    n = sum(counts)
    return -sum(c / n * math.log(c / n) for c in counts if c)


def plain_chao_shen(counts: list[int]) -> float:
    n, singles = sum(counts), counts.count(1)
    coverage = 1 - (n - 1 if singles == n else singles) / n
    total = 0.0
    for c in counts:
        if c:
            p = coverage * c / n
            total -= p * math.log(p) / (1 - (1 - p) ** n)
    return total


@given(forks)
def test_many_forks_at_once_equal_one_after_another(counts: list[list[int]]) -> None:
    flat = ints(*(c for fork in counts for c in fork))
    found = branching_entropy(flat, offsets_of(ints(*map(len, counts))))
    for i, fork in enumerate(counts):
        n, children = sum(fork), sum(c > 0 for c in fork)
        assert (found.visits[i], found.children[i]) == (n, children)
        if n == 0:
            assert np.isnan([found.plug_in[i], found.miller_madow[i], found.chao_shen[i]]).all()
            assert np.isnan([found.missing_mass[i], found.estimate[i]]).all()
            continue
        assert found.plug_in[i] == pytest.approx(plain_plug_in(fork), abs=1e-12)
        assert found.plug_in[i] == plug_in(fork)
        assert found.miller_madow[i] == pytest.approx(plain_plug_in(fork) + (children - 1) / 2 / n)
        assert found.miller_madow[i] == miller_madow(fork)
        assert found.chao_shen[i] == pytest.approx(plain_chao_shen(fork), abs=1e-12)
        assert found.chao_shen[i] == chao_shen(fork)
        assert found.missing_mass[i] == fork.count(1) / n
        quoted = found.chao_shen[i] if n < 32 else found.miller_madow[i]
        assert found.estimate[i] == quoted
        assert found.effective_branches[i] == pytest.approx(math.exp(quoted))


@given(st.lists(st.integers(0, 6), min_size=1, max_size=6).filter(any))
def test_the_corrections_only_add_to_the_observed_entropy(counts: list[int]) -> None:
    assert 0 <= plug_in(counts) <= math.log(sum(counts)) + 1e-12
    assert miller_madow(counts) >= plug_in(counts)
    assert chao_shen(counts) >= 0


def test_a_fork_that_all_passed_alike_has_no_entropy() -> None:
    for counts in ([1], [7], [0, 40, 0]):
        assert (plug_in(counts), miller_madow(counts), chao_shen(counts)) == (0, 0, 0)
        assert not math.copysign(1, plug_in(counts)) < 0


def test_where_every_child_was_seen_once_one_singleton_fewer_is_counted() -> None:
    # n = 4: C = 1 - 3/4, Cp = 1/16 for each of the four.
    p = 1 / 16
    assert chao_shen([1, 1, 1, 1]) == pytest.approx(4 * -p * math.log(p) / (1 - (1 - p) ** 4))


def test_negative_counts_are_refused() -> None:
    with pytest.raises(ValueError, match="negative"):
        branching_entropy(ints(1, -1), ints(0, 2))


PUBLISHED = {
    4: (0.70, 0.86, 1.15),
    8: (0.89, 1.02, 1.15),
    16: (1.04, 1.13, 1.21),
    64: (1.15, 1.18, 1.20),
}
"""Mean plug-in, Miller-Madow and Chao-Shen estimates by visits, for a fork of 1.192 nats."""
SIX_WAYS = (0.60, 0.20, 0.10, 0.05, 0.03, 0.02)
"""A distribution of 1.192 nats that gives these means; there are others."""


@pytest.mark.parametrize("n", PUBLISHED)
def test_estimates_of_a_known_fork_come_out_as_published(n: int) -> None:
    assert plug_in([round(1000 * p) for p in SIX_WAYS]) == pytest.approx(1.192, abs=5e-4)
    drawn = np.random.default_rng(n).multinomial(n, SIX_WAYS, size=20_000)
    offsets = np.arange(len(drawn) + 1, dtype=np.int64) * len(SIX_WAYS)
    found = branching_entropy(drawn.reshape(-1), offsets)
    means = found.plug_in.mean(), found.miller_madow.mean(), found.chao_shen.mean()
    assert means == pytest.approx(PUBLISHED[n], abs=0.03)


# Values


def plain_values(
    rewards: list[float], children: list[tuple[int, int]]
) -> tuple[list[float], float, float]:
    """(V of each child, V of the fork, contrast)"""
    known = [[r for r in rewards[a:b] if not math.isnan(r)] for a, b in children]
    values = [fmean(each) if each else NAN for each in known]
    together = [r for each in known for r in each]
    stated = [v for v in values if not math.isnan(v)]
    return (
        values,
        fmean(together) if together else NAN,
        max(stated) - min(stated) if len(stated) > 1 else NAN,
    )


def plain_p_value(dealt: list[list[float]]) -> float:
    """All orders of the rewards, by permutations: each way to deal comes up equally often."""
    pool = [r for hand in dealt for r in hand]

    def contrast(order: tuple[float, ...]) -> float:
        means, at = [], 0
        for hand in dealt:
            means.append(fmean(order[at : at + len(hand)]))
            at += len(hand)
        return max(means) - min(means)

    seen = contrast(tuple(pool))
    tried = [contrast(order) >= seen - 1e-9 for order in permutations(pool)]
    return sum(tried) / len(tried)


@given(st.data())
def test_values_equal_means_over_slices(data: st.DataObject) -> None:
    n = data.draw(st.integers(1, 12))
    reward = st.one_of(st.sampled_from([0.0, 1.0, NAN]), st.floats(-2, 2))
    rewards = data.draw(st.lists(reward, min_size=n, max_size=n))
    # Forks anywhere over the leaves, each cutting a range of them into children.
    cuts = data.draw(
        st.lists(st.lists(st.integers(0, n), min_size=1, max_size=4).map(sorted), max_size=5)
    )
    children = [list(pairwise(each)) for each in cuts]
    first = ints(*(a for fork in children for a, _ in fork))
    last = ints(*(b for fork in children for _, b in fork))
    offsets = offsets_of(ints(*map(len, children)))
    found = values_by_subtree(floats(*rewards), first, last, offsets)
    for i, fork in enumerate(children):
        values, together, contrast = plain_values(rewards, fork)
        here = slice(offsets[i], offsets[i + 1])
        np.testing.assert_allclose(found.value[here], values, atol=1e-12)
        np.testing.assert_allclose(found.fork_value[i], together, atol=1e-12)
        np.testing.assert_allclose(found.contrast[i], contrast, atol=1e-12)
        np.testing.assert_allclose(found.advantage[here], np.array(values) - together, atol=1e-12)
        known = [sum(not math.isnan(r) for r in rewards[a:b]) for a, b in fork]
        assert found.rewarded[here].tolist() == known
        assert found.fork_rewarded[i] == sum(known)
        assert np.isnan(found.p_value[i]) == np.isnan(contrast)
        assert np.isnan(contrast) or 0 < found.p_value[i] <= 1


@given(
    st.lists(
        st.lists(st.sampled_from([0.0, 1.0, 0.1, 0.3]), min_size=1, max_size=3),
        min_size=2,
        max_size=3,
    ).filter(lambda dealt: sum(map(len, dealt)) <= 6)
)
def test_the_p_value_of_a_small_fork_is_that_of_all_orders(dealt: list[list[float]]) -> None:
    ends = offsets_of(ints(*map(len, dealt)))
    rewards = floats(*(r for hand in dealt for r in hand))
    found = values_by_subtree(rewards, ends[:-1], ends[1:], ints(0, len(dealt)))
    assert found.p_value[0] == pytest.approx(plain_p_value(dealt))


def test_the_p_value_of_a_clean_split_is_that_of_fishers_test() -> None:
    # 4 of 4 against 0 of 4: 2 of the C(8, 4) = 70 ways are as extreme.
    found = values_by_subtree(floats(1, 1, 1, 1, 0, 0, 0, 0), ints(0, 4), ints(4, 8), ints(0, 2))
    assert found.contrast.tolist() == [1]
    assert found.p_value[0] == pytest.approx(2 / 70)


def test_the_p_value_of_a_large_fork_is_close_to_the_exact_one_and_repeatable() -> None:
    # 9 of 12 against 4 of 12: hypergeometric, both tails.
    rewards = floats(*[1] * 9, *[0] * 3, *[1] * 4, *[0] * 8)
    assert math.comb(24, 12) > EXACT_LIMIT
    exact = sum(
        math.comb(13, k) * math.comb(11, 12 - k) for k in range(1, 13) if abs(2 * k - 13) >= 5
    ) / math.comb(24, 12)
    found = values_by_subtree(rewards, ints(0, 12), ints(12, 24), ints(0, 2))
    assert found.p_value[0] == pytest.approx(exact, abs=0.03)
    twice = values_by_subtree(
        rewards, ints(0, 6, 0, 12, 12, 0), ints(6, 12, 12, 24, 24, 12), ints(0, 2, 4, 6)
    )
    # The same fork, after another one and with its children the other way round.
    assert twice.p_value.tolist()[1:] == [found.p_value[0]] * 2
    other = values_by_subtree(rewards, ints(0, 12), ints(12, 24), ints(0, 2), seed=1)
    assert other.p_value[0] == pytest.approx(exact, abs=0.03)


def test_forks_too_large_to_draw_at_once_get_the_same_p_value(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rewards = np.random.default_rng(0).random(40)
    columns = ints(0, 25), ints(25, 40), ints(0, 2)
    whole = values_by_subtree(rewards, *columns).p_value[0]
    monkeypatch.setattr("forkpoint.analysis.branching.DRAWN_AT_ONCE", 300)
    monkeypatch.setattr("forkpoint.analysis.branching.CACHED_FORKS", 0)
    assert values_by_subtree(rewards, *columns).p_value[0] == whole


def test_p_values_of_chance_alone_are_not_smaller_than_chance() -> None:
    rng = np.random.default_rng(0)
    n = 400
    rewards = rng.integers(0, 2, 8 * n).astype(np.float64)
    first = np.arange(2 * n, dtype=np.int64) * 4
    offsets = np.arange(n + 1, dtype=np.int64) * 2
    found = values_by_subtree(rewards, first, first + 4, offsets)
    for level in (0.05, 0.2, 0.5):
        assert (found.p_value <= level).mean() <= level + 3 * math.sqrt(level * (1 - level) / n)


def test_ranges_outside_the_leaves_are_refused() -> None:
    for first, last in ((0, 3), (-1, 1), (2, 1)):
        with pytest.raises(ValueError, match="leaf ranges"):
            values_by_subtree(floats(1, 0), ints(first), ints(last), ints(0, 1))
    none = values_by_subtree(floats(), ints(), ints(), ints(0))
    assert len(none.p_value) == 0


# Trees of a group


def lcp(a: tuple[int, ...], b: tuple[int, ...]) -> int:
    same = 0
    while same < min(len(a), len(b)) and a[same] == b[same]:
        same += 1
    return same


def as_columns(group: list[tuple[int, ...]]) -> tuple[Any, Any]:
    return ints(*map(len, group)), ints(0, *(lcp(a, b) for a, b in pairwise(group)))


def prefixes(group: Any) -> set[tuple[int, ...]]:
    return {each[: i + 1] for each in group for i in range(len(each))}


@given(rollouts)
def test_tokens_by_passes_equal_counting_prefixes(group: list[tuple[int, ...]]) -> None:
    found = tokens_by_passes(*as_columns(group))
    expected = [0] * (len(group) + 1)
    for prefix in prefixes(group):
        expected[sum(each[: len(prefix)] == prefix for each in group)] += 1
    assert found.tolist() == expected
    assert found.sum() == len(prefixes(group))
    assert (found * np.arange(len(found))).sum() == sum(map(len, group))


@given(rollouts)
def test_the_budget_curve_is_the_mean_over_all_orders(group: list[tuple[int, ...]]) -> None:
    found = trajectories_per_budget(*as_columns(group))
    flat, k = sum(map(len, group)), len(group)
    if not flat:
        assert found is None
        return
    assert found is not None
    orders = list(permutations(group))
    assert found.rollouts.tolist() == list(range(1, k + 1))
    for m in range(1, k + 1):
        chain = fmean(sum(map(len, order[:m])) for order in orders)
        tree = fmean(len(prefixes(order[:m])) for order in orders)
        assert found.chain_tokens[m - 1] == pytest.approx(chain)
        assert found.tree_tokens[m - 1] == pytest.approx(tree)
        assert found.distinct[m - 1] == pytest.approx(fmean(len(set(o[:m])) for o in orders))
    assert (found.budget, found.chains) == (flat, pytest.approx(k))


@given(rollouts, st.floats(0.01, 3))
def test_a_tree_buys_at_least_as_many_rollouts_as_chains(
    group: list[tuple[int, ...]], times: float
) -> None:
    columns = as_columns(group)
    flat = sum(map(len, group))
    if not flat:
        return
    found = trajectories_per_budget(*columns, budget=times * flat)
    assert found is not None
    if found.branches is None:
        assert len(set(group)) == 1
        assert found.extrapolated
        return
    assert found.branches >= found.chains - 1e-9
    if found.extrapolated:
        assert found.branches >= found.branches_by_ratio - 1e-9
        assert found.branches > len(group) or len(group) == 1
    else:
        cost = np.interp(found.branches, np.arange(len(group) + 1), [0, *found.tree_tokens])
        assert cost == pytest.approx(found.budget)


def test_a_budget_worked_by_hand() -> None:
    # ab, ac: flat 4, tree 3. One rollout costs 2, the second 1 more: 4 tokens buy 3 in a tree.
    found = trajectories_per_budget(ints(2, 2), ints(0, 1))
    assert found is not None
    assert found.tree_tokens.tolist() == [2, 3]
    assert (found.chains, found.branches, found.extrapolated) == (2, 3, True)
    assert found.branches_by_ratio == pytest.approx(2 * 4 / 3)
    less = trajectories_per_budget(ints(2, 2), ints(0, 1), budget=2.5)
    assert less is not None
    assert (less.chains, less.branches, less.extrapolated) == (1.25, 1.5, False)
    alone = trajectories_per_budget(ints(5), ints(0), budget=10)
    assert alone is not None
    assert (alone.chains, alone.branches) == (2, 2)
    with pytest.raises(ValueError, match="budget"):
        trajectories_per_budget(ints(2, 2), ints(0, 1), budget=NAN)


def test_large_groups_stay_exact() -> None:
    # 2,000 rollouts of 100 tokens that part after 60: C(k, m) itself would overflow.
    k = 2000
    common = np.full(k, 60)
    common[0] = 0
    found = trajectories_per_budget(np.full(k, 100), common)
    assert found is not None
    expected = 60 + 40 * np.arange(1, k + 1)
    np.testing.assert_allclose(found.tree_tokens, expected)
    assert found.branches == pytest.approx(k + (100 * k - expected[-1]) / 40)


@pytest.mark.parametrize(
    ("lengths", "lcps"), [([2], [0, 0]), ([2, 3], [0, 3]), ([2, 3], [0, -1]), ([-1], [0])]
)
def test_impossible_groups_are_refused(lengths: list[int], lcps: list[int]) -> None:
    with pytest.raises(ValueError, match=r"common|negative"):
        tokens_by_passes(ints(*lengths), ints(*lcps))
    with pytest.raises(ValueError, match=r"common|negative"):
        saving_by_depth(ints(*lengths), ints(*lcps), floats(0))


# Schemes


LOG = LoggedRollouts(prompt_tokens=200, rollout_tokens=1000)


def test_tree_grpo_yields_six_rollouts_for_the_price_of_four() -> None:
    found = tree_grpo_budget(2, 2, 1, 3, LOG)
    assert (found.leaves, found.kept) == (6, 6)
    assert found.equal_chains == 4
    assert found.trajectory_ratio == 1.5
    assert found.sampled_tokens == 4000
    assert found.tree_tokens == 4200
    assert found.flat_tokens == 6 * 1200


def test_ep_tree_yields_thirty_rollouts() -> None:
    found = ep_tree_budget(6, 2, 1, 2, LOG)
    assert (found.leaves, found.kept) == (30, 30)
    assert found.equal_chains == 6 + 24 / 2


def test_late_forks_make_branches_cheap() -> None:
    late = LoggedRollouts(200, 1000, floats(0.7, 0.9))
    assert late.tokens_after_fork == pytest.approx(200)
    found = ep_tree_budget(1, 4, 2, 1, late)
    assert found.leaves == 9
    assert found.sampled_tokens == pytest.approx(1000 + 8 * 200)
    assert LoggedRollouts(200, 1000, floats()).tokens_after_fork == 500
    nothing = ep_tree_budget(1, 1, 1, 1, LoggedRollouts(10, 0))
    assert (nothing.equal_chains, nothing.trajectory_ratio) == (None, None)


@given(st.integers(1, 3), st.integers(0, 3), st.integers(0, 3), st.integers(0, 2**32))
def test_growing_trees_gives_the_leaves_and_mean_cost_of_the_formula(
    trees: int, expansions: int, rounds: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    length, leaves, tokens = 10, 0, 0
    fractions = []
    for _ in range(trees):
        leaves, tokens = leaves + 1, tokens + length
        for _ in range(rounds * expansions):
            fork = int(rng.integers(length))
            fractions.append(fork / length)
            leaves, tokens = leaves + 1, tokens + length - fork
    log = LoggedRollouts(3, length, floats(*fractions))
    found = tree_grpo_budget(trees, expansions, rounds, 1, log)
    assert found.leaves == leaves
    assert found.sampled_tokens == pytest.approx(tokens)


def test_impossible_schemes_are_refused() -> None:
    with pytest.raises(ValueError, match="kept"):
        tree_grpo_budget(2, 2, 1, 4, LOG)
    with pytest.raises(ValueError, match="scheme"):
        tree_grpo_budget(0, 2, 1, 1, LOG)
    with pytest.raises(ValueError, match="scheme"):
        ep_tree_budget(1, 2, -1, 1, LOG)


@given(rollouts, st.lists(st.floats(0, 3), max_size=5))
def test_saving_by_depth_equals_merging_and_counting(
    group: list[tuple[int, ...]], fractions: list[float]
) -> None:
    lengths, lcps = as_columns(group)
    flat = sum(map(len, group))
    found = saving_by_depth(lengths, lcps, floats(*fractions))
    if not flat:
        assert found is None
        return
    assert found is not None
    for i, fraction in enumerate(fractions):
        depth = math.floor(fraction * (flat / len(group)))
        assert found.depth[i] == depth
        beyond = {prefix for prefix in prefixes(group) if len(prefix) > depth}
        trunk = min(depth, max(map(len, group)))
        assert found.saving[i] == pytest.approx(1 - (trunk + len(beyond)) / flat)
        longer = [each[: depth + 1] for each in group if len(each) > depth]
        if len(longer) < 2:
            assert np.isnan(found.merged[i])
        else:
            apart = (len(set(longer)) - 1) / (len(longer) - 1)
            assert found.merged[i] == pytest.approx(1 - apart)


@given(rollouts)
def test_the_saving_starts_at_the_overlap_ratio_and_never_falls(
    group: list[tuple[int, ...]],
) -> None:
    found = saving_by_depth(*as_columns(group), np.linspace(0, 4, 9))
    if found is None:
        return
    flat = sum(map(len, group))
    assert found.saving[0] == pytest.approx(1 - len(prefixes(group)) / flat)
    assert (np.diff(found.saving) >= -1e-12).all()
    if 4 * flat / len(group) >= max(map(len, group)):
        assert found.saving[-1] == pytest.approx(1 - max(map(len, group)) / flat)


def test_negative_depths_are_refused() -> None:
    with pytest.raises(ValueError, match="fraction"):
        saving_by_depth(ints(2), ints(0), floats(-0.1))

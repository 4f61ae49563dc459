"""Trees of rollout groups against brute force: sorted sequences and what neighbours share."""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from forkpoint.analysis.group_trees import (
    GroupTrees,
    branch_means,
    find_group_forks,
    sort_sequences,
)
from forkpoint.analysis.tree import PrefixTree, RangeMin
from forkpoint.analysis.tree_budget import after_prompts

Sequence = tuple[int, ...]
sequences = st.lists(st.integers(0, 1), max_size=6).map(tuple)
many_groups = st.lists(st.lists(sequences, min_size=1, max_size=7), min_size=1, max_size=3)


def trees_of(groups: list[list[Sequence]]) -> tuple[GroupTrees, list[Sequence]]:
    """The trees, and the sequences in their order."""
    flat = [each for members in groups for each in members]
    group = np.repeat(np.arange(len(groups)), [len(members) for members in groups])
    found = sort_sequences(
        group.astype(np.int64), [np.array(each, dtype=np.uint32) for each in flat]
    )
    return found, [flat[place] for place in found.rollout.tolist()]


def prefixes(members: list[Sequence]) -> set[Sequence]:
    return {each[:n] for each in members for n in range(len(each) + 1)}


def ways(members: list[Sequence], prefix: Sequence) -> dict[Sequence, int]:
    """Next tokens after a prefix, with how many rollouts take each; () is the end."""
    found: dict[Sequence, int] = defaultdict(int)
    for each in members:
        if each[: len(prefix)] == prefix:
            found[each[len(prefix) : len(prefix) + 1]] += 1
    return found


@given(many_groups)
def test_tokens_of_groups_equal_brute_force(groups: list[list[Sequence]]) -> None:
    trees, _ = trees_of(groups)
    assert trees.flat_tokens.tolist() == [sum(map(len, members)) for members in groups]
    assert trees.tree_tokens.tolist() == [len(prefixes(members)) - 1 for members in groups]
    trunks = [
        max(
            len(prefix)
            for prefix in prefixes(members)
            if sum(ways(members, prefix).values()) == len(members)
        )
        for members in groups
    ]
    assert trees.trunk_tokens.tolist() == trunks
    distinct = trees.sums((~trees.repeats).astype(np.int64)).tolist()
    assert distinct == [len(set(members)) for members in groups]
    ratio = trees.overlap_ratio
    assert ratio is None or 0 <= ratio <= 1


@given(many_groups)
def test_forks_of_groups_equal_brute_force(groups: list[list[Sequence]]) -> None:
    trees, ordered = trees_of(groups)
    forks = find_group_forks(trees)
    expected = {
        (number, prefix): sorted(ways(members, prefix).values())
        for number, members in enumerate(groups)
        for prefix in prefixes(members)
        if len(ways(members, prefix)) > 1
    }
    names = [
        (int(trees.group[first]), ordered[first][:depth])
        for first, depth in zip(forks.first.tolist(), forks.depth.tolist(), strict=True)
    ]
    counts = [forks.counts[a:b] for a, b in pairwise(forks.offsets.tolist())]
    assert {
        name: sorted(each.tolist()) for name, each in zip(names, counts, strict=True)
    } == expected
    assert len(names) == len(expected)
    for name, above in zip(names, forks.above.tolist(), strict=True):
        number, prefix = name
        higher = [
            other
            for other in expected
            if other[0] == number and other[1] == prefix[: len(other[1])] and other != name
        ]
        nearest = max(higher, key=lambda other: len(other[1]), default=None)
        assert (names[above] if above >= 0 else None) == nearest


@given(many_groups, st.randoms(use_true_random=False))
def test_values_of_branches_are_mean_rewards_of_what_is_below(
    groups: list[list[Sequence]], random: object
) -> None:
    trees, ordered = trees_of(groups)
    forks = find_group_forks(trees)
    rewards = np.array([(hash((i, each)) % 5) / 4 for i, each in enumerate(ordered)])
    rewards[rewards == 0.25] = np.nan
    value, known = branch_means(forks, rewards)
    for branch, (first, last) in enumerate(
        zip(forks.branch.tolist(), forks.branch_end.tolist(), strict=True)
    ):
        below = [each for each in rewards[first:last].tolist() if not np.isnan(each)]
        assert known[branch] == len(below)
        assert (
            np.isnan(value[branch])
            if not below
            else abs(value[branch] - sum(below) / len(below)) < 1e-9
        )


@given(many_groups, st.integers(0, 4))
def test_without_their_prompts_rollouts_share_what_they_did_beyond_them(
    groups: list[list[Sequence]], prompt: int
) -> None:
    trees, _ = trees_of(groups)
    rest, taken = after_prompts(trees, np.full(len(trees.group), prompt, dtype=np.int64))
    for number, members in enumerate(groups):
        trunk = int(trees.trunk_tokens[number])
        cut = min(prompt, trunk)
        assert set(taken[trees.group == number].tolist()) == {cut}
        alone = [each[cut:] for each in members]
        assert rest.tree_tokens[number] == len(prefixes(alone)) - 1


def test_equal_rollouts_are_one_branch_and_an_end_is_a_branch() -> None:
    trees, _ = trees_of([[(1, 2), (1, 2), (1, 2, 3)]])
    forks = find_group_forks(trees)
    assert forks.depth.tolist() == [2]
    assert forks.counts.tolist() == [2, 1]
    assert trees.repeats.tolist() == [False, True, False]


def test_a_lone_rollout_and_no_rollout_have_no_forks() -> None:
    assert len(find_group_forks(trees_of([[(1, 2, 3)]])[0])) == 0
    trees, _ = trees_of([])
    assert len(find_group_forks(trees)) == 0
    assert trees.overlap_ratio is None


@given(st.lists(st.integers(0, 4), min_size=1, max_size=40), st.data())
def test_range_minima_and_nearest_smaller_places_equal_a_scan(
    numbers: list[int], data: st.DataObject
) -> None:
    values = np.array(numbers, dtype=np.int64)
    ranges = RangeMin(values)
    first = data.draw(st.integers(0, len(numbers) - 1))
    last = data.draw(st.integers(first, len(numbers) - 1))
    assert ranges(np.array([first]), np.array([last])).tolist() == [min(numbers[first : last + 1])]
    before, after = ranges.nearest_less()
    for i, value in enumerate(numbers):
        assert before[i] == max((j for j in range(i) if numbers[j] < value), default=-1)
        assert after[i] == min(
            (j for j in range(i + 1, len(numbers)) if numbers[j] < value), default=len(numbers)
        )


@given(st.lists(st.integers(0, 10**6), max_size=30), st.data())
def test_where_two_paths_meet_equals_a_walk(links: list[int], data: st.DataObject) -> None:
    parent = np.array([0, *(link % (i + 1) for i, link in enumerate(links))], dtype=np.int64)
    tree = PrefixTree(parent)
    nodes = st.integers(0, len(parent) - 1)
    a, b = data.draw(nodes), data.draw(nodes)

    def path(node: int) -> list[int]:
        found = [node]
        while node:
            node = int(parent[node])
            found.append(node)
        return found

    common = next(node for node in path(a) if node in path(b))
    assert tree.meet(np.array([a]), np.array([b])).tolist() == [common]
    level = data.draw(st.integers(0, len(path(a)) + 1))
    upwards = path(a)[::-1]
    assert tree.ancestor_at(np.array([a]), np.array([level])).tolist() == [
        upwards[min(level, len(upwards) - 1)]
    ]

"""The array operations of the tree against the plainest possible Python."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from forkpoint.analysis.tree import (
    NEVER,
    LatestBefore,
    PrefixTree,
    deepest_seen_before,
    first_seen,
    head_shared_with_earlier,
)


@st.composite
def parents(draw: st.DrawFn) -> np.ndarray:
    n = draw(st.integers(1, 30))
    return np.array([0] + [draw(st.integers(0, i - 1)) for i in range(1, n)], dtype=np.int64)


def path(parent: np.ndarray, node: int) -> list[int]:
    return [node, *path(parent, int(parent[node]))] if node else [0]


@given(parents(), st.randoms())
def test_depths_sums_and_minima_equal_walking_every_path(
    parent: np.ndarray, random: object
) -> None:
    tree = PrefixTree(parent)
    n = len(parent)
    values = np.array([random.randint(0, 50) for _ in range(n)], dtype=np.int64)
    below = [[u for u in range(n) if v in path(parent, u)] for v in range(n)]
    above_root = [[u for u in path(parent, v) if u] for v in range(n)]
    assert tree.depth(values).tolist() == [sum(values[u] for u in p) for p in above_root]
    assert tree.level.tolist() == [len(p) for p in above_root]
    assert tree.subtree_min(values).tolist() == [min(values[b]) for b in below]
    assert tree.path_min(values).tolist() == [
        min(values[u] for u in path(parent, v)) for v in range(n)
    ]
    assert tree.subtree_sum(values).tolist() == [sum(values[b]) for b in below]


@given(parents(), st.randoms())
def test_the_nearest_marked_node_is_found_by_walking_up(parent: np.ndarray, random: object) -> None:
    marked = np.array([random.random() < 0.3 for _ in parent])
    expected = [next((u for u in path(parent, v) if marked[u]), 0) for v in range(len(parent))]
    assert PrefixTree(parent).nearest(marked).tolist() == expected


@given(parents(), st.randoms())
def test_the_last_seen_node_is_the_deepest_one_on_an_earlier_path(
    parent: np.ndarray, random: object
) -> None:
    tree = PrefixTree(parent)
    ends = np.array([random.randrange(len(parent)) for _ in range(8)], dtype=np.int64)
    ranks = np.arange(8, dtype=np.int64)
    last, first = deepest_seen_before(tree, first_seen(tree, ends, ranks), ends, ranks)
    for i, end in enumerate(ends.tolist()):
        earlier = {u for e in ends[:i].tolist() for u in path(parent, e)}
        mine = path(parent, end)
        deepest = next((u for u in mine if u in earlier), 0)
        assert last[i] == deepest
        fresh = [u for u in mine if u not in earlier and u != 0]
        assert first[i] == (fresh[-1] if fresh else -1)


def test_nodes_that_no_call_passes_are_never_seen() -> None:
    tree = PrefixTree(np.array([0, 0, 0]))
    seen = first_seen(tree, np.array([1, -1]), np.array([0, 1]))
    assert seen.tolist() == [0, 0, NEVER]


@given(
    st.lists(
        st.lists(st.integers(0, 2), min_size=1, max_size=6).map(tuple),
        min_size=1,
        max_size=9,
        unique=True,
    ),
    st.randoms(),
)
def test_shared_heads_equal_comparing_each_pair_of_siblings(
    sequences: list[tuple[int, ...]], random: object
) -> None:
    sequences.sort()

    def lcp(a: tuple[int, ...], b: tuple[int, ...]) -> int:
        return next(
            (i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b))
        )

    k = len(sequences)
    shared = np.array([0] + [lcp(sequences[i - 1], sequences[i]) for i in range(1, k)])
    seen = np.array(random.sample(range(100), k))
    heads = head_shared_with_earlier(np.arange(k), shared, seen)
    for i in range(k):
        earlier = [lcp(sequences[i], sequences[j]) for j in range(k) if seen[j] < seen[i]]
        assert heads[i] == max(earlier, default=0)


@given(parents(), st.randoms())
def test_subtrees_are_ranges_of_depth_first_positions(parent: np.ndarray, random: object) -> None:
    tree = PrefixTree(parent)
    first, last = tree.interval
    assert sorted(first.tolist()) == list(range(len(parent)))
    for node in range(len(parent)):
        inside = {u for u in range(len(parent)) if first[node] <= first[u] <= last[node]}
        assert inside == {u for u in range(len(parent)) if node in path(parent, u)}


@given(parents(), st.integers(0, 12), st.randoms())
def test_the_latest_earlier_sequence_equals_looking_at_each(
    parent: np.ndarray, m: int, random: object
) -> None:
    n = len(parent)
    ends = np.array([random.randrange(n) for _ in range(m)], dtype=np.int64)
    ranks = np.array(random.sample(range(40), m), dtype=np.int64)
    nodes = np.array([random.randrange(n) for _ in range(20)], dtype=np.int64)
    limits = np.array([random.randrange(45) for _ in range(20)], dtype=np.int64)
    found = LatestBefore(PrefixTree(parent), ends, ranks)(nodes, limits)
    for node, limit, rank in zip(nodes.tolist(), limits.tolist(), found.tolist(), strict=True):
        through = [
            r
            for end, r in zip(ends.tolist(), ranks.tolist(), strict=True)
            if node in path(parent, end) and r < limit
        ]
        assert rank == max(through, default=-1)

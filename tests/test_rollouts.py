"""Groups of rollouts: trees, shared generations and pass^k against brute force."""

from __future__ import annotations

import json
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from reference_tree import token_fork_points

from forkpoint.analysis.forks import branchings
from forkpoint.analysis.ingest import ingest
from forkpoint.analysis.ingest_worker import Options
from forkpoint.analysis.report import build_report
from forkpoint.analysis.results import Rollouts
from forkpoint.analysis.rollouts import pass_hat
from forkpoint.analysis.store import MEMORY, Store
from forkpoint.analysis.tokens import DEFAULT_ENCODING

Sample = tuple[list[int], list[int]]
"""(prompt ids, response ids)"""


def rollouts_of(folder: Path, groups: dict[str, list[Sample]]) -> Rollouts:
    with open(folder / "log.jsonl", "w") as log:
        for group, samples in groups.items():
            for i, (prompt, response) in enumerate(samples):
                record = {
                    "request_id": f"{group}-{i}",
                    "prompt_token_ids": prompt,
                    "response_ids": response,
                    "group": f"{group:->20}",
                    "reward": float(i % 2),
                }
                log.write(json.dumps(record) + "\n")
    with Store.open(MEMORY, encoding=DEFAULT_ENCODING) as store:
        ingest(store, [folder], Options(DEFAULT_ENCODING))
        return build_report(store, [folder]).rollouts


def distinct(sequences: list[list[int]]) -> int:
    return len({tuple(ids[: k + 1]) for ids in sequences for k in range(len(ids))})


samples = st.tuples(
    st.integers(1, 40).map(lambda n: [9] * n), st.lists(st.integers(0, 1), min_size=1, max_size=70)
)
groups = st.dictionaries(
    st.sampled_from(["a", "b", "c"]),
    st.tuples(
        st.integers(1, 70),
        st.lists(st.lists(st.integers(0, 1), min_size=1, max_size=70), min_size=1, max_size=5),
    ),
    min_size=1,
    max_size=3,
)


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(groups)
def test_group_trees_equal_brute_force(tmp_path_factory: Any, groups: dict[str, Any]) -> None:
    sampled = {
        name: [([9] * n_prompt, response) for response in responses]
        for name, (n_prompt, responses) in groups.items()
    }
    found = rollouts_of(tmp_path_factory.mktemp("logs"), sampled)
    whole = [[p + r for p, r in each] for each in sampled.values()]
    flat = sum(len(ids) for each in whole for ids in each)
    tree = sum(distinct(each) for each in whole)
    generated = [[r for _, r in each] for each in sampled.values()]
    assert found.groups == len(groups)
    assert (found.flat_tokens, found.tree_tokens) == (flat, tree)
    assert found.generated_shared_tokens == sum(
        sum(map(len, each)) - distinct(each) for each in generated
    )


@given(
    st.lists(
        st.lists(st.integers(0, 1), max_size=5).map(tuple), min_size=1, max_size=9, unique=True
    )
)
def test_branchings_equal_comparing_each_pair(sequences: list[tuple[int, ...]]) -> None:
    sequences.sort()

    def lcp(a: tuple[int, ...], b: tuple[int, ...]) -> int:
        return next(
            (i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b))
        )

    shared = np.array([0] + [lcp(a, b) for a, b in pairwise(sequences)])
    found = branchings(shared, np.array([len(each) for each in sequences]))
    at_start = {each[0] for each in sequences if each}
    expected = [len(at_start)] if len(at_start) > 1 else []
    for prefix in token_fork_points(sequences):
        n = len(prefix)
        expected.append(
            len({each[n] for each in sequences if each[:n] == prefix and len(each) > n})
        )
    assert sorted(branches for _, branches in found) == sorted(expected)
    assert sorted(p for p, _ in found) == sorted(
        [len(prefix) for prefix in token_fork_points(sequences)] + [0] * (len(at_start) > 1)
    )


@given(st.lists(st.lists(st.booleans(), min_size=1, max_size=5), min_size=1, max_size=4))
def test_pass_hat_equals_drawing_every_subset(groups: list[list[bool]]) -> None:
    rewards = [(i, float(win)) for i, wins in enumerate(groups) for win in wins]
    found = pass_hat(rewards)
    assert set(found) == set(range(1, min(map(len, groups)) + 1))
    for k, value in found.items():
        per_group = [np.mean([all(draw) for draw in combinations(wins, k)]) for wins in groups]
        assert value == pytest.approx(np.mean(per_group))


def test_rollouts_without_rewards_have_no_mean_reward() -> None:
    assert pass_hat([]) == {}


def test_tree_sampling_saves_what_siblings_generated_alike(tmp_path: Path) -> None:
    prompt = list(range(100, 140))
    found = rollouts_of(
        tmp_path, {"g": [(prompt, [1, 2, 3, 4]), (prompt, [1, 2, 9]), (prompt, [5])]}
    )
    assert found.flat_tokens == 44 + 43 + 41
    assert found.tree_tokens == 40 + 4 + 1 + 1
    assert found.generated_shared_tokens == 2
    assert found.mean_reward == pytest.approx(1 / 3)

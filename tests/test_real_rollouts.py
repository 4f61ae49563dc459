"""Public rollout logs against independently computed truths, through the whole analysis."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from forkpoint.analysis.fork_answer import build_forks
from forkpoint.analysis.ingest import ingest
from forkpoint.analysis.ingest_worker import Options
from forkpoint.analysis.rollout_answer import build_rollouts
from forkpoint.analysis.rollout_results import RolloutsAnswer
from forkpoint.analysis.store import MEMORY, Store
from forkpoint.analysis.tokens import DEFAULT_ENCODING

pytestmark = pytest.mark.real


@contextmanager
def ingested(folder: Path) -> Iterator[Store]:
    with Store.open(MEMORY, encoding=DEFAULT_ENCODING) as store:
        ingest(store, [folder], Options(DEFAULT_ENCODING))
        yield store


def rollouts(folder: Path) -> RolloutsAnswer:
    with ingested(folder) as store:
        return build_rollouts(store, [folder])


@pytest.fixture(scope="module")
def facts(real_logs: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((real_logs / "FACTS.json").read_text())
    return loaded


def only(facts: dict[str, Any]) -> Any:
    (value,) = facts.values()
    return value


def test_atropos_groups_share_what_the_facts_say_and_a_tree_shares_at_least_that(
    real_logs: Path, facts: dict[str, Any]
) -> None:
    fact = only(facts["atropos"])
    found = rollouts(real_logs / "rollout-groups" / "atropos-selcube")
    assert found.rollouts.groups == fact["groups"]
    assert [row.rollouts for row in found.groups] == [4] * fact["groups"]
    assert found.rollouts.flat_tokens == fact["tokens"]
    common = sum((row.rollouts - 1) * row.trunk_tokens for row in found.groups)
    assert common == fact["common_prefix_tokens_saved"]
    assert found.rollouts.flat_tokens - found.rollouts.tree_tokens >= common
    assert found.rollouts.mean_reward == pytest.approx(fact["mean_score"], abs=1e-6)
    assert found.rollouts.drift is not None


def test_tau_bench_trials_pass_as_the_facts_say(real_logs: Path, facts: dict[str, Any]) -> None:
    fact = only(facts["tau_bench"])
    found = rollouts(real_logs / "tau-bench")
    assert (found.rollouts.groups, found.rollouts.rollouts) == (50, 200)
    assert found.rollouts.mean_reward == pytest.approx(0.42)
    for k, share in found.rollouts.pass_hat.items():
        assert share == pytest.approx(fact["pass_hat"][str(k)], abs=1e-6)
    assert found.rollouts.distinct_turns <= found.rollouts.turns == 2454
    assert sum(row.mean_reward == 0 for row in found.groups) == fact["all_fail"]
    assert sum(row.mean_reward == 1 for row in found.groups) == fact["all_pass"]


def test_games_of_24_sampled_a_hundred_times_agree_and_succeed_as_the_facts_say(
    real_logs: Path, facts: dict[str, Any]
) -> None:
    fact = only(facts["tot_samples"])
    found = rollouts(real_logs / "rollout-groups" / "tot-game24-samples")
    assert found.rollouts.groups == fact["puzzles"]
    assert {row.rollouts for row in found.groups} == {100}
    distinct = sum(row.distinct_rollouts for row in found.groups) / len(found.groups)
    assert distinct == pytest.approx(fact["distinct_ys_mean"])
    assert found.rollouts.mean_reward == pytest.approx(fact["mean_r"])
    assert sum((row.mean_reward or 0.0) > 0 for row in found.groups) == fact["solved_any"]
    assert found.answers is not None
    assert found.answers.pass_at_k[1] == pytest.approx(fact["mean_r"])
    assert found.answers.oracle_prune is not None


def test_trees_of_thought_are_trees(real_logs: Path, facts: dict[str, Any]) -> None:
    bfs, dfs = only(facts["tot_bfs"]), only(facts["tot_dfs"])
    found = rollouts(real_logs / "tree-search" / "tot-game24-bfs")
    assert found.rollouts.groups == bfs["puzzles"]
    assert sum((row.mean_reward or 0.0) > 0 for row in found.groups) == bfs["solved_any"]
    assert 0 < (found.rollouts.overlap_ratio or 0.0) < 1
    found = rollouts(real_logs / "tree-search" / "tot-crosswords-dfs")
    assert found.rollouts.groups == dfs["puzzles"]
    assert found.rollouts.tree_tokens < found.rollouts.flat_tokens


def test_solutions_of_grade_school_problems_agree_as_the_facts_say(
    real_logs: Path, facts: dict[str, Any]
) -> None:
    fact = only(facts["gsm8k_solutions"])
    found = rollouts(real_logs / "rollout-groups" / "gsm8k-model-solutions")
    assert found.rollouts.groups == fact["problems"]
    assert found.rollouts.rollouts == fact["problems"] * fact["solutions_per_problem"]
    accuracy = sum(fact["accuracy"].values()) / len(fact["accuracy"])
    assert found.rollouts.mean_reward == pytest.approx(accuracy, abs=1e-6)
    unanimous = sum(row.mean_reward in (0.0, 1.0) for row in found.groups)
    assert unanimous == fact["all_agree"]
    assert found.answers is not None
    assert (found.answers.majority_accuracy or 0.0) > accuracy
    assert found.answers.clusters is not None
    assert (found.answers.clusters.auroc or 0.0) > 0.6


def test_judges_logprobs_are_all_classified(real_logs: Path, facts: dict[str, Any]) -> None:
    fact = only(facts["alpaca_logprobs"])
    folder = real_logs / "logprobs"
    with ingested(folder) as store:
        by_share = build_forks(store, [folder]).entropy
        by_nats = build_forks(store, [folder], threshold=0.672).entropy
    for entropy in (by_share, by_nats):
        assert entropy is not None
        assert entropy.tokens == entropy.completions == fact["token_positions"]
        assert entropy.top_k_tokens == entropy.tokens
        assert entropy.fork + entropy.not_fork + entropy.undecided == entropy.tokens
        # Five logprobs of a judge that has two answers leave hardly anything open.
        assert entropy.undecided <= 0.03 * entropy.tokens
    assert by_share is not None
    assert by_nats is not None
    assert by_share.fork + by_share.undecided >= 0.2 * by_share.tokens - 1
    assert by_nats.fork < by_share.fork

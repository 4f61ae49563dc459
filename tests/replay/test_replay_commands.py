"""``replay --execute`` and ``replay --branch`` from the command line, with a model of random weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from forkpoint.cli.main import app
from forkpoint.cli.replay_runs import TIMED_RUNS


@pytest.fixture(autouse=True)
def width(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wide enough that no cell is folded."""
    monkeypatch.setenv("COLUMNS", "140")


@pytest.fixture
def log(sample_logs: Path, tmp_path: Path) -> Path:
    """Eight rollouts of one prompt."""
    lines = (sample_logs / "token-ids" / "smollm2.jsonl").read_text().splitlines()[:8]
    path = tmp_path / "rollouts.jsonl"
    path.write_text("".join(line + "\n" for line in lines))
    return path


def answered(log: Path, model: Path, *options: str, form: str = "json") -> Any:
    words = ["replay", str(log), "--model", str(model), "--device", "cpu", "--quiet"]
    words += ["--store", ":memory:", "--format", form, *options]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout) if form == "json" else result.stdout


def test_a_tree_is_run_in_every_way_and_compared(log: Path, tiny_model: Path) -> None:
    found = answered(log, tiny_model, "--execute", "all")["execution"]
    records = [json.loads(line) for line in log.read_text().splitlines()]
    sequences = {(*each["prompt_token_ids"], *each["output_token_ids"]) for each in records}
    prefixes = {each[: n + 1] for each in sequences for n in range(len(each))}
    shape = found["shape"]
    assert shape["sequences"] == len(sequences)
    assert shape["flat_tokens"] == sum(map(len, sequences))
    assert shape["tree_tokens"] == len(prefixes)
    assert shape["bound"] == pytest.approx(shape["flat_tokens"] / len(prefixes))
    runs = {run["mode"]: run for run in found["runs"]}
    assert set(runs) == {"flat", "trie", "packed"}
    assert runs["trie"]["computed_tokens"] == len(prefixes)
    assert all(len(run["all_seconds"]) == TIMED_RUNS for run in runs.values())
    assert found["agrees"] is True
    assert runs["packed"]["max_logprob_difference"] <= found["tolerance"]


def test_one_way_is_compared_with_flat(log: Path, tiny_model: Path) -> None:
    shown = answered(log, tiny_model, "--execute", "trie", form="table")
    assert "flat: each sequence alone" in shown
    assert "trie: trunk once" in shown
    assert "packed" not in shown


def test_branching_spends_the_same_budget_each_way_and_scores_what_it_finds(
    log: Path, tiny_model: Path
) -> None:
    options = ("--branch", "--budget", "60", "--scorer", "regex:.", "--seed", "3")
    found = answered(log, tiny_model, *options)["branching"]
    assert (found["prompts"], found["budget_tokens"], found["seed"]) == (1, 60, 3)
    policies = {each["name"]: each for each in found["policies"]}
    assert set(policies) == {"entropy", "random", "root"}
    for policy in policies.values():
        assert policy["generated_tokens"] == 60
        last = policy["curve"][-1]
        assert last["tokens"] == 60 and last["distinct"] <= last["samples"]
    assert policies["entropy"]["mean_entropy_nats"] >= policies["random"]["mean_entropy_nats"]
    assert (
        answered(log, tiny_model, *options)["branching"] == found
    )  # the same seed, the same draws


def test_a_budget_that_finishes_samples_gives_rewards(log: Path, tiny_model: Path) -> None:
    shown = answered(
        log, tiny_model, "--branch", "--budget", "600", "--scorer", "regex:.", form="table"
    )
    assert "where the model was least sure" in shown and "mean reward" in shown


def test_a_scorer_that_fails_is_one_line(log: Path, tiny_model: Path) -> None:
    words = [
        "replay",
        str(log),
        "--model",
        str(tiny_model),
        "--device",
        "cpu",
        "--store",
        ":memory:",
    ]
    result = CliRunner().invoke(app, [*words, "--branch", "--scorer", "nowhere:function"])
    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1 and "nowhere" in result.stderr

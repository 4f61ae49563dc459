"""The sample logs, replayed with the model that wrote some of them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from replayed_logs import ENCODING, chat_log, measured_rows, opened, said, user

from forkpoint.analysis.replay import NO_FILTERS, replay
from forkpoint.analysis.replay_sequences import plan_sequences
from forkpoint.analysis.scope import select_scope
from forkpoint.analysis.store import Store
from forkpoint.analysis.token_entropy import load_scored_tokens, measure_entropy

TOLERANCE = 1e-3
"""Nats: see `test_logged_rollouts_give_their_own_numbers_again`."""


def test_a_replay_agrees_with_what_the_log_says(smollm2: Any, sample_logs: Path) -> None:
    log = sample_logs / "token-ids" / "smollm2.jsonl"
    with opened(log) as store:
        answer = replay(store, [log], smollm2)
        select_scope(store, [log], NO_FILTERS)
        found = measure_entropy(load_scored_tokens(store))
    assert not answer.skipped and answer.by_evidence == {"token ids": answer.completions}
    agreement = answer.agreement
    assert agreement is not None
    assert agreement.tokens == agreement.entropy_tokens == answer.tokens
    assert agreement.max_logprob_difference is not None
    assert agreement.max_logprob_difference < TOLERANCE
    assert agreement.max_entropy_difference is not None
    assert agreement.max_entropy_difference < TOLERANCE
    assert found is not None and found.replayed_tokens == 0  # the log's own go first


def test_a_log_without_logprobs_gives_the_entropies_it_lacks(
    smollm2: Any, sample_logs: Path, tmp_path: Path
) -> None:
    lines = (sample_logs / "token-ids" / "smollm2.jsonl").read_text().splitlines()[:16]
    records = [json.loads(line) for line in lines]
    stripped = tmp_path / "stripped.jsonl"
    kept = [
        {k: v for k, v in record.items() if k not in ("logprobs", "entropies", "top_logprobs")}
        for record in records
    ]
    stripped.write_text("".join(json.dumps(record) + "\n" for record in kept))
    whole = tmp_path / "whole" / "whole.jsonl"
    whole.parent.mkdir()
    whole.write_text("".join(line + "\n" for line in lines))
    with opened(stripped) as store:
        replay(store, [stripped], smollm2)
        select_scope(store, [stripped], NO_FILTERS)
        replayed = measure_entropy(load_scored_tokens(store))
    with opened(whole) as store:
        select_scope(store, [whole], NO_FILTERS)
        logged = measure_entropy(load_scored_tokens(store))
    assert replayed is not None and logged is not None
    assert replayed.tokens == replayed.replayed_tokens == logged.tokens
    for name in ("mean_lower_nats", "mean_surprisal_nats", "threshold_nats", "top_mass_share"):
        assert getattr(replayed, name) == pytest.approx(getattr(logged, name), abs=TOLERANCE)
    assert replayed.agreement == logged.agreement
    words = [each.token for each in replayed.fork_tokens]
    assert any(each is not None and each.strip().isalpha() for each in words)


def test_messages_through_the_chat_template_give_the_logged_numbers(
    smollm2: Any, sample_logs: Path, tmp_path: Path
) -> None:
    """The same rollouts logged as chat completions: where a text has the tokens that were sampled, its
    numbers are those that were sampled with."""
    records = [
        json.loads(line)
        for line in (sample_logs / "token-ids" / "smollm2.jsonl").read_text().splitlines()
    ]
    sampled = {
        (
            tuple(each["prompt_token_ids"]),
            tuple(t for t in each["output_token_ids"] if t != 2),
        ): each
        for each in records
    }
    log = tmp_path / "gateway.jsonl"
    lines = (sample_logs / "openai" / "smollm2.jsonl").read_text().splitlines(keepends=True)
    log.write_text("".join(lines[:3]))
    with opened(log) as store:
        select_scope(store, [log], NO_FILTERS)
        plan = plan_sequences(store, smollm2.codec)
        replay(store, [log], smollm2)
        found = {
            (prompt, completion): logprobs
            for prompt, completion, logprobs in store.rows(
                "SELECT prompt, completion, list(logprob ORDER BY position) "
                "FROM replayed_tokens GROUP BY ALL"
            )
        }
    assert {each.evidence for each in plan.sequences} == {"messages"}
    compared = 0
    for each in plan.sequences:
        ids = each.ids.tolist()
        record = sampled.get((tuple(ids[: each.prompt_tokens]), tuple(ids[each.prompt_tokens :])))
        if record is not None:
            logprobs = found[each.prompt, each.completion]
            assert logprobs == pytest.approx(record["logprobs"][: len(logprobs)], abs=TOLERANCE)
            compared += 1
    assert compared > 0.8 * len(plan.sequences)


def test_prompts_are_measured_to_their_first_token(smollm2: Any, tmp_path: Path) -> None:
    log = chat_log(tmp_path / "g.jsonl", ([user("What is 2 + 2?")], said("It is 4.")))
    with opened(log) as store:
        answer = replay(store, [log], smollm2, prompts=True)
        rows = store.rows(
            "SELECT position, named, tail, named_entropy FROM replayed_tokens "
            "WHERE prompt = completion ORDER BY position"
        )
    assert answer.prompts == 1 and answer.prompt_tokens == len(rows) > 10
    assert rows[0][2] == 1.0  # nothing is known of the first
    assert all(named == 0 and tail == 0.0 and h >= 0 for _, named, tail, h in rows[1:])


def test_every_sample_log_is_replayed_or_says_why_not(smollm2: Any, sample_logs: Path) -> None:
    with opened(sample_logs) as store:
        select_scope(store, [sample_logs], NO_FILTERS)
        plan = plan_sequences(store, smollm2.codec, max_tokens=smollm2.max_tokens)
        size = smollm2.codec.vocabulary_size
    assert len(plan.sequences) > 300
    assert all(each.prompt_tokens > 0 or each.evidence != "messages" for each in plan.sequences)
    assert all(int(each.ids.max()) < size for each in plan.sequences)
    assert {each.evidence for each in plan.sequences} == {"messages", "text", "token ids"}
    assert all(len(reason) < 200 for reason in plan.skipped)


def command(*arguments: str | Path, store: Path, **options: Any) -> Any:
    return subprocess.Popen(
        [sys.executable, "-m", "forkpoint", "replay", *map(str, arguments), "--format", "json"],
        env=os.environ | {"FORKPOINT_STORE": str(store)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


KILLED = """
import os, signal, sys
from forkpoint.analysis import replay_model
from forkpoint.cli.main import main

plain, batches = replay_model.TransformersBackend.score, 0

def score(self, pieces):
    global batches
    if batches == {stop}:
        os.kill(os.getpid(), signal.SIGKILL)
    batches += 1
    return plain(self, pieces)

replay_model.TransformersBackend.score = score
main()
"""


def test_a_killed_command_goes_on_to_the_same_bytes(
    tiny_model: Path, sample_logs: Path, tmp_path: Path
) -> None:
    log = sample_logs / "token-ids" / "smollm2.jsonl"
    arguments = (log, "--model", tiny_model, "--device", "cpu", "--batch-tokens", "600")
    whole = command(*arguments, store=tmp_path / "whole.duckdb")
    said_whole, said_wrong = whole.communicate(timeout=300)
    assert whole.returncode == 0, said_wrong
    with Store.open(str(tmp_path / "whole.duckdb"), encoding=ENCODING) as store:
        expected = measured_rows(store)
    path = tmp_path / "killed.duckdb"
    done = subprocess.run(
        [sys.executable, "-c", KILLED.format(stop=2), "replay", *map(str, arguments)],
        env=os.environ | {"FORKPOINT_STORE": str(path)},
        capture_output=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    rest = command(*arguments, store=path)
    said_rest, said_wrong = rest.communicate(timeout=300)
    assert rest.returncode == 0, said_wrong
    with Store.open(str(path), encoding=ENCODING) as store:
        assert measured_rows(store) == expected
    one, other = json.loads(said_whole), json.loads(said_rest)
    assert 0 < other["new_completions"] < one["new_completions"]
    for name in ("replay_id", "completions", "tokens", "mean_entropy_nats", "mean_surprisal_nats"):
        assert other[name] == one[name]


def test_the_command_says_what_it_was_run_with(
    tiny_model: Path, sample_logs: Path, tmp_path: Path
) -> None:
    log = tmp_path / "g.jsonl"
    chat_log(log, ([user("What is 2 + 2?")], said("It is 4.")))
    run = command(
        log, "--model", tiny_model, "--dtype", "bfloat16", "--likeliest", "3", "--seed", "5",
        "--prompts", store=tmp_path / "s.duckdb",
    )  # fmt: skip
    out, err = run.communicate(timeout=300)
    assert run.returncode == 0, err
    assert err == ""
    found = json.loads(out)
    assert (found["dtype"], found["device"], found["seed"]) == ("bfloat16", "cpu", 5)
    assert found["settings"]["top"] == 3
    assert set(found["versions"]) == {"torch", "transformers"}
    assert len(found["model_sha256"]) == len(found["tokenizer"]) == 64
    assert found["prompts"] == 1
    assert np.isfinite(found["mean_entropy_nats"])

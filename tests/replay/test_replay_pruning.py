"""Pruning with a real model: what its tree computes is what the network says of each variant alone."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from replayed_logs import opened
from typer.testing import CliRunner

from forkpoint.analysis.pruning import Chain, PruneSettings, find_chain, prune
from forkpoint.analysis.replay_backend import Piece
from forkpoint.analysis.replay_choices import PruneUnit
from forkpoint.analysis.replay_model import TransformersBackend
from forkpoint.analysis.replay_pruning import AnswerScorer, prune_logged
from forkpoint.analysis.replay_source import find_model
from forkpoint.cli.main import app

TOLERANCE = 1e-3
"""Nats, of sums over an answer's tokens."""


def alone(network: Any, piece: Piece) -> float:
    """ln p of the measured tokens, by the network itself."""
    import torch

    ids = torch.from_numpy(piece.ids.astype(np.int64))[None]
    with torch.inference_mode():
        logprobs = torch.log_softmax(network(input_ids=ids).logits[0].double(), dim=-1)
    places = range(piece.first, len(piece.ids))
    return float(sum(logprobs[place - 1, int(piece.ids[place])] for place in places))


def a_chain(backend: TransformersBackend, question: str, completion: str, answer: str) -> Chain:
    prompt = backend.codec.encode(question, begin=True)
    made = backend.codec.encode(completion, begin=False)
    ids = np.array([*prompt, *made], dtype=np.uint32)
    return find_chain(ids, len(prompt), backend.codec, PruneUnit.TOKEN, answer=answer)


@pytest.fixture(scope="module")
def tiny(tiny_model: Path) -> TransformersBackend:
    return TransformersBackend(find_model(str(tiny_model)), device="cpu")


def test_variants_that_share_a_tree_are_scored_as_each_alone(tiny: TransformersBackend) -> None:
    chain = a_chain(tiny, "What is 7 + 5?", " To add them, start at 7. So it is 12.", "12")
    kept = np.ones(chain.units, dtype=np.bool_)
    pieces = [chain.piece(kept)]
    for unit in range(chain.units):
        less = kept.copy()
        less[unit] = False
        pieces.append(chain.piece(less))
    pieces.append(chain.piece(~kept))
    score = AnswerScorer(tiny.loaded, len(chain.ids))
    found = score(pieces)
    for piece, logprob in zip(pieces, found, strict=True):
        assert logprob == pytest.approx(alone(tiny.loaded.network, piece), abs=TOLERANCE)
    assert score.flat_tokens == sum(len(piece.ids) for piece in pieces)
    assert score.run_tokens < score.flat_tokens


def test_models_that_cannot_share_are_scored_all_the_same(tiny: TransformersBackend) -> None:
    chain = a_chain(tiny, "What is 7 + 5?", " So it is 12.", "12")
    whole = chain.piece(np.ones(chain.units, dtype=np.bool_))
    config = tiny.loaded.config
    config.layer_types = ["linear_attention"]
    try:
        score = AnswerScorer(tiny.loaded, len(chain.ids))
        found = score([whole])
    finally:
        del config.layer_types
    assert found[0] == pytest.approx(alone(tiny.loaded.network, whole), abs=TOLERANCE)
    assert score.run_tokens == score.flat_tokens == len(whole.ids)


def test_what_is_kept_is_what_the_network_needs(smollm2: Any) -> None:
    chain = a_chain(
        smollm2,
        "<|im_start|>user\nWhat is 6 * 7?<|im_end|>\n<|im_start|>assistant\n",
        "Well, so. 6 * 7 = 42.",
        "42",
    )
    settings = PruneSettings(unit=PruneUnit.TOKEN, round_share=0.5)
    found = prune(chain, AnswerScorer(smollm2.loaded, len(chain.ids)), settings)
    kept = found.deleted_in == 0
    network = smollm2.loaded.network
    whole = alone(network, chain.piece(np.ones(chain.units, dtype=np.bool_)))
    left = alone(network, chain.piece(kept))
    assert found.answer_logprob == pytest.approx(whole, abs=TOLERANCE)
    assert found.pruned_logprob == pytest.approx(left, abs=TOLERANCE)
    assert whole - left <= settings.loss_nats + TOLERANCE
    for unit in np.flatnonzero(kept).tolist():
        less = kept.copy()
        less[unit] = False
        assert whole - alone(network, chain.piece(less)) > settings.loss_nats - TOLERANCE
    assert 0 < kept.sum() < chain.units


def test_the_command_prunes_what_was_logged_and_goes_on(
    tiny_model: Path, tiny: TransformersBackend, sample_logs: Path, tmp_path: Path
) -> None:
    lines = (sample_logs / "token-ids" / "smollm2.jsonl").read_text().splitlines()
    log = tmp_path / "some.jsonl"
    log.write_text("".join(line + "\n" for line in (lines[0], lines[4], lines[5])))
    words = ["replay", str(log), "--model", str(tiny_model), "--prune", "sentence"]
    words += ["--store", str(tmp_path / "store.duckdb"), "--device", "cpu", "--format", "json"]
    first = CliRunner().invoke(app, words)
    assert first.exit_code == 0, first.output
    found = json.loads(first.stdout)["pruning"]
    again = json.loads(CliRunner().invoke(app, words).stdout)["pruning"]
    assert found["completions"] == found["new_completions"] == 3
    assert found["chain_tokens"] == sum(kind["tokens"] for kind in found["kinds"])
    assert found["mean_pruned_nats"] - found["mean_answer_nats"] <= 0.1
    assert again["new_completions"] == again["run_tokens"] == 0
    assert again["pruned_tokens"] == found["pruned_tokens"]
    with opened(log) as store:  # the same without the command line
        direct = prune_logged(store, [log], tiny)
    assert direct.pruned_tokens == found["pruned_tokens"]
    assert [asdict(each) for each in direct.examples] == found["examples"]

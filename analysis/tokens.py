"""Token counts: which public encoding a model has, and exact, fast, offline token ids.

The vocabularies ship inside the package, so nothing here ever opens a connection. Every special
token in a text counts as the ordinary text that it is: logs quote them, models never saw them.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from forkpoint.errors import ForkpointError

if TYPE_CHECKING:
    import tiktoken

TokenIds = npt.NDArray[np.uint32]

ENCODINGS = ("o200k_base", "cl100k_base")
DEFAULT_ENCODING = "o200k_base"

CACHE_TOKENS = 1 << 24
"""Tokens one fast encoder may produce before a new one takes its place.

It keeps every distinct word it meets, in 32 bytes or more, and cannot be told to forget. A word is
at least one token, so this bounds the cache: about 0.3 GB on random words, under 0.1 GB on logs.
A new encoder costs 0.3 s, once in some 60 MB of text.
"""

_VOCABULARIES = Path(__file__).with_name("vocab")

# tiktoken publishes these only inside functions that download the vocabulary first, so they are
# stated here; a test compares them with the installed tiktoken.
_WORD_ENDING = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
_SPLIT = {
    "o200k_base": "|".join(
        (
            r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
            + _WORD_ENDING,
            r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
            + _WORD_ENDING,
            r"\p{N}{1,3}",
            r" ?[^\s\p{L}\p{N}]+[\r\n/]*",
            r"\s*[\r\n]+",
            r"\s+(?!\S)",
            r"\s+",
        )
    ),
    "cl100k_base": (
        r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+"
        r"| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]|\s+(?!\S)|\s"
    ),
}
_SPECIAL_TOKENS = {
    "o200k_base": {"<|endoftext|>": 199999, "<|endofprompt|>": 200018},
    "cl100k_base": {
        "<|endoftext|>": 100257,
        "<|fim_prefix|>": 100258,
        "<|fim_middle|>": 100259,
        "<|fim_suffix|>": 100260,
        "<|endofprompt|>": 100276,
    },
}
_SCHEMES = {"o200k_base": "o200k", "cl100k_base": "cl100k"}
"""The names gigatoken has for the same two ways of splitting text into words."""

_LONG_WHITESPACE = 100_000
"""Characters. tiktoken splits o200k text with a backtracking matcher whose stack overflows on a run
of about a million whitespace characters."""


@cache
def reference(encoding: str = DEFAULT_ENCODING) -> tiktoken.Encoding:
    """tiktoken's own encoder, built from the shipped vocabulary: slow, and right by definition.

    Raises:
        ForkpointError: no such encoding.
    """
    import tiktoken

    lines = _vocabulary(encoding).read_bytes().splitlines()
    return tiktoken.Encoding(
        encoding,
        pat_str=_SPLIT[encoding],
        mergeable_ranks={
            base64.b64decode(token): int(rank) for token, rank in (line.split() for line in lines)
        },
        special_tokens=_SPECIAL_TOKENS[encoding],
    )


def reference_ids(text: str, encoding: str = DEFAULT_ENCODING) -> TokenIds:
    """The ids of `text` by `reference`, also where the text would overflow tiktoken's stack."""
    encoder = reference(encoding)
    if len(text) < _LONG_WHITESPACE or not _has_long_whitespace(text):
        return np.array(encoder.encode_ordinary(text), dtype=np.uint32)
    # The same split by a matcher that keeps its stack on the heap; then tiktoken, word by word.
    words = (match.group() for match in _splitter(encoding).finditer(well_formed(text)))
    ids = [token for word in words for token in encoder._encode_single_piece(word)]
    return np.array(ids, dtype=np.uint32)


def well_formed(text: str) -> str:
    """`text` with surrogate pairs joined and lone surrogates replaced by U+FFFD, as tiktoken does."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


class Tokenizer:
    """Exact token ids and counts in one public encoding.

    The vocabulary (0.3 s) is loaded at the first text. gigatoken does the work; where it is not
    installed, `reference` does, with the same ids at a tenth of the speed.

    Raises:
        ForkpointError: no such encoding.

    >>> Tokenizer().count(["tree", "prefix tree", ""])
    array([1, 2, 0])
    """

    def __init__(
        self, encoding: str = DEFAULT_ENCODING, *, cache_tokens: int = CACHE_TOKENS
    ) -> None:
        _vocabulary(encoding)
        self.encoding = encoding
        self._cache_tokens = cache_tokens
        self._encoder: Callable[[str], TokenIds] | None = None
        self._produced = 0

    def encode(self, text: str) -> TokenIds:
        """The ids of one text: uint32, one per token."""
        if self._encoder is None or self._produced > self._cache_tokens:
            self._encoder = None  # frees the old cache before the new one grows
            self._encoder = _fast_encoder(self.encoding)
            self._produced = 0
        try:
            ids = self._encoder(text)
        except TypeError:
            # How gigatoken refuses a text with lone surrogates.
            ids = self._encoder(well_formed(text))
        self._produced += ids.size
        return ids

    def encode_batch(self, texts: Sequence[str]) -> list[TokenIds]:
        """The ids of each text, in order."""
        # One call per text: gigatoken's own batches are slower than this loop (they import a
        # library for 0.4 s, or build lists of Python ints) and keep a second cache.
        return [self.encode(text) for text in texts]

    def decode(self, ids: TokenIds) -> str:
        """The text of some ids; bytes that are no text of their own become U+FFFD."""
        return reference(self.encoding).decode(ids.tolist(), errors="replace")

    def count(self, texts: Sequence[str]) -> npt.NDArray[np.int64]:
        """The number of tokens of each text, in order."""
        return np.fromiter((self.encode(text).size for text in texts), np.int64, len(texts))


@dataclass(frozen=True, slots=True)
class ModelEncoding:
    """The encoding to count a model's tokens with."""

    name: str
    exact: bool
    """It is the model's own. If not, counts are estimates, to be calibrated to billed usage."""


@lru_cache(maxsize=4096)
def encoding_for(model: str | None) -> ModelEncoding:
    """Which of the shipped encodings serves `model`, under any of the names logs give it.

    >>> encoding_for("azure/gpt-4-0613")
    ModelEncoding(name='cl100k_base', exact=True)
    >>> encoding_for("claude-opus-5")
    ModelEncoding(name='o200k_base', exact=False)
    """
    if model is None:
        return ModelEncoding(DEFAULT_ENCODING, exact=False)
    from tiktoken.model import encoding_name_for_model

    name = _base_model(model)
    if _O200K_MODEL.match(name):
        return ModelEncoding("o200k_base", exact=True)
    try:
        encoding = encoding_name_for_model(name)
    except KeyError:
        encoding = ""
    if encoding in ENCODINGS:
        return ModelEncoding(encoding, exact=True)
    return ModelEncoding(DEFAULT_ENCODING, exact=False)


_O200K_MODEL = re.compile(
    r"(?:gpt-4o|gpt-4\.[15]|gpt-5|gpt-oss|chatgpt-4o|o1|o3|o4|codex-mini)(?![a-z0-9])"
)
"""OpenAI models of this encoding. tiktoken's table lacks some (codex-mini, bare gpt-4.5), and gives
others the encoding of the name that theirs starts with (a fine-tuned gpt-4.1)."""


def _base_model(model: str) -> str:
    """``openai/ft:gpt-4.1-mini:org::id`` is gpt-4.1-mini as far as tokens go."""
    name = model.strip().lower().rsplit("/", 1)[-1].removeprefix("ft:")
    return re.split(r"[:\[@]", name, maxsplit=1)[0]


def _vocabulary(encoding: str) -> Path:
    if encoding not in ENCODINGS:
        raise ForkpointError(f"no encoding {encoding!r}: choose from {', '.join(ENCODINGS)}")
    return _VOCABULARIES / f"{encoding}.tiktoken"


def _fast_encoder(encoding: str) -> Callable[[str], TokenIds]:
    try:
        from gigatoken import Tokenizer as Gigatoken
    except ImportError:
        return lambda text: reference_ids(text, encoding)
    # No special tokens: by default gigatoken would recognise them inside any text.
    backend: Any = Gigatoken.from_tiktoken(
        _vocabulary(encoding), _SCHEMES[encoding], special_tokens={}
    ).backend
    encode: Callable[[str], TokenIds] = backend.encode
    return encode


def _has_long_whitespace(text: str) -> bool:
    # Not one pattern with a count: that would scan each shorter run once per character in it.
    runs = re.finditer(r"\s+", text)
    return any(run.end() - run.start() >= _LONG_WHITESPACE for run in runs)


@cache
def _splitter(encoding: str) -> Any:
    import regex  # type: ignore[import-untyped]  # tiktoken depends on it

    return regex.compile(_SPLIT[encoding])

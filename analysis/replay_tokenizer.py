"""A model's tokenizer and chat template, as transformers loads them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from functools import cached_property
from typing import Any

from forkpoint.analysis.replay_backend import CodecError, require
from forkpoint.analysis.replay_source import ModelSource, prepare_libraries
from forkpoint.errors import ForkpointError

_MAX_REASON = 120


class ModelTokenizer:
    """A `Codec` over a tokenizer of transformers.

    Args:
        tokenizer: what ``AutoTokenizer.from_pretrained`` returned.
        vocabulary_size: tokens that the model can sample, which may be more than the tokenizer names.
        max_positions: the longest sequence that the model's settings name; ``None``: they do not.
    """

    def __init__(
        self, tokenizer: Any, vocabulary_size: int, max_positions: int | None = None
    ) -> None:
        self._tokenizer = tokenizer
        self._vocabulary_size = vocabulary_size
        self.max_positions = max_positions

    @property
    def vocabulary_size(self) -> int:
        return self._vocabulary_size

    @cached_property
    def special_texts(self) -> tuple[str, ...]:
        # The longest first, so that none is cut by one that it contains.
        return tuple(
            sorted(self._tokenizer.all_special_tokens, key=lambda text: (-len(text), text))
        )

    @cached_property
    def end_ids(self) -> frozenset[int]:
        end = self._tokenizer.eos_token_id
        return frozenset() if end is None else frozenset({int(end)})

    @cached_property
    def _begins_with(self) -> list[int]:
        """What goes before every sequence: the first token, for a model that has one."""
        begin = self._tokenizer.bos_token_id
        with_special = self._tokenizer.encode("", add_special_tokens=True)
        return [begin] if begin is not None and with_special[:1] == [begin] else []

    def encode(self, text: str, *, begin: bool) -> list[int]:
        ids = [int(each) for each in self._tokenizer.encode(text, add_special_tokens=False)]
        if begin and ids[:1] != self._begins_with:
            return [*self._begins_with, *ids]
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        return str(
            self._tokenizer.decode(
                list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False
            )
        )

    def chat(
        self, messages: list[dict[str, Any]], tools: list[dict[str, Any]], *, generation: bool
    ) -> list[int]:
        if not self._tokenizer.chat_template:
            raise CodecError("the model has no chat template")
        try:
            rendered = self._tokenizer.apply_chat_template(
                messages,
                tools=tools or None,
                add_generation_prompt=generation,
                tokenize=True,
                return_dict=True,
            )
        except Exception as error:  # a template raises what it likes
            said = " ".join(str(error).split())[:_MAX_REASON]
            raise CodecError(f"the chat template refuses it: {said}") from error
        return [int(each) for each in rendered["input_ids"]]

    def token_texts(self) -> list[str]:
        size = min(len(self._tokenizer), self._vocabulary_size)
        return [self.decode([token]) for token in range(size)]

    @cached_property
    def sha256(self) -> str:
        """Of all that turns messages into ids."""
        backend = getattr(self._tokenizer, "backend_tokenizer", None)
        parts = [
            sorted(self._tokenizer.get_vocab().items()) if backend is None else backend.to_str(),
            self._tokenizer.chat_template,
            self.special_texts,
        ]
        return hashlib.sha256(json.dumps(parts, ensure_ascii=True).encode()).hexdigest()


def load_tokenizer(source: ModelSource, *, allow_download: bool = False) -> ModelTokenizer:
    """The tokenizer of a model.

    Raises:
        ForkpointError: transformers is not installed, or the files hold no tokenizer.
    """
    require(("transformers", *(("gguf",) if source.gguf_file else ())), "replaying a local model")
    prepare_libraries(allow_download=allow_download)
    import transformers

    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    options: dict[str, Any] = {"local_files_only": not allow_download, "trust_remote_code": False}
    if source.gguf_file is not None:
        options["gguf_file"] = source.gguf_file
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(str(source.folder), **options)
        config = transformers.AutoConfig.from_pretrained(str(source.folder), **options)
    except Exception as error:  # whatever is wrong with the files, in the library's own words
        said = " ".join(str(error).split())[:300]
        raise ForkpointError(f"{source.name}: its tokenizer cannot be loaded: {said}") from error
    text = config.get_text_config()
    size = getattr(text, "vocab_size", None)
    longest = getattr(text, "max_position_embeddings", None)
    return ModelTokenizer(tokenizer, int(size or len(tokenizer)), longest and int(longest))

"""NeMo-RL training and validation data: one sample a line (``train_data_step{N}.jsonl``).

Record: ``{"content": …, "rewards": …, "input_lengths": …, "token_ids": …, "token_loss_mask": …,
"generation_logprobs": …, "prev_logprobs": …, …, "idx": int}``, written by
`log_batched_dict_as_jsonl` of github.com/NVIDIA-NeMo/RL (7ea279a, ``nemo_rl/utils/logger.py``;
fields: ``nemo_rl/algorithms/{grpo,grpo_sync,ppo,distillation}.py``). What to know about it:

- Every value but ``idx`` is a batch of one: ``"rewards": [1.0]``, ``"token_ids": [[…]]``.
- Lists of tokens are padded at the end to the longest sample of the step: ``input_lengths`` says
  how many are real. Mask and logprobs stand beside the ids, position by position.
- ``token_loss_mask`` is 1 where a token was sampled in this rollout, so that each run of ones is a
  call; assistant messages that came with the prompt have 0. ``sample_loss_mask`` says what is
  trained on, not what was sampled.
- ``generation_logprobs`` are the sampler's, 0 where nothing was sampled; ``prev_logprobs`` are the
  trainer's own for the same tokens and are not read.
- With dynamic sampling ``rewards`` are those from before groups were filtered, in their order: they
  belong to other lines. ``filtered_rewards`` are then this line's.
- ``content`` has the text of each message as the chat template rendered it, without roles; in
  ``val_data_step{N}.jsonl`` it has messages with roles, and there are no token ids. Distillation
  logs ``content`` and ``input_lengths`` only.
- Nothing names the group: samples of one file with the same prompt are one.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterable, Iterator
from itertools import takewhile
from typing import Annotated, Any, ClassVar, TypeVar

import msgspec

from forkpoint.parsers.base import ROOT, Tree, text_bytes
from forkpoint.parsers.document import first_record
from forkpoint.parsers.logs import Head, Line, Log, read_each
from forkpoint.parsers.raw_json import (
    decode,
    decode_list,
    decode_text,
    is_list,
    is_object,
    is_text,
)
from forkpoint.parsers.record_names import RecordNames
from forkpoint.parsers.records import Record, Tokens, Trace
from forkpoint.parsers.sample_rows import (
    ROLE,
    Sample,
    SampleTree,
    content_digest,
    number_of,
)
from forkpoint.parsers.sampled_messages import conversation_records, role_of
from forkpoint.parsers.sampled_runs import Run, SampledIds, rollout_records, sampled_runs

_FILE_NAME = re.compile(r"(?:train|val)_data_step\d+\.jsonl(?:\.gz|\.zst)?")

_TokenId = Annotated[int, msgspec.Meta(ge=0, le=2**32 - 1)]
T = TypeVar("T")


class _Row(msgspec.Struct):
    content: msgspec.Raw = msgspec.Raw()
    rewards: list[Any] | None = None
    filtered_rewards: list[Any] | None = None
    input_lengths: list[Tokens] | None = None
    token_ids: list[list[_TokenId]] | None = None
    token_loss_mask: list[list[float]] | None = None
    generation_logprobs: list[list[float | None]] | None = None

    @property
    def reward(self) -> float | None:
        rewards = self.rewards if self.filtered_rewards is None else self.filtered_rewards
        return number_of(_one(rewards, "rewards"))


_DECODER = msgspec.json.Decoder(_Row)


class NemoRL:
    """Reads NeMo-RL's data dumps; see the module's docstring."""

    name: ClassVar[str] = "nemo-rl"
    title: ClassVar[str] = "NeMo-RL training data"
    checked: ClassVar[str] = "NeMo-RL 7ea279a, 2026-11"
    evidence: ClassVar[tuple[str, ...]] = ("token ids", "text", "rewards", "logprobs")
    locations: ClassVar[tuple[str, ...]] = ()
    whole_prompts: ClassVar[bool] = True
    grows: ClassVar[bool] = True

    def identify(self, head: Head) -> str | None:
        """Why the file is of this format, or ``None``."""
        record = first_record(head)
        named = _FILE_NAME.fullmatch(head.path.name) is not None
        whole = bool(head.lines)
        if whole and not isinstance(record.get("idx"), int):
            return None
        batches = [name for name, value in record.items() if _is_batch(value)]
        if not {"content", "token_ids"}.isdisjoint(batches):
            beside = not {"rewards", "input_lengths"}.isdisjoint(batches)
            if beside or (named and not whole):
                return f"each line has batches of one: {', '.join(batches[:3])}"
        return None

    def parse(self, log: Log, tree: Tree) -> Iterator[Record]:
        """Yield a rollout for each line, and a call for each run of sampled tokens."""
        rows = _Rows(log, tree)
        yield from read_each(log.lines(), rows.records)
        log.checkpoint = rows.names.checkpoint()


def _is_batch(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 1


def _one(batch: list[T] | None, name: str) -> T | None:
    """The sample's value in a batch of one. Raises ValueError: the batch is larger, or empty."""
    if batch is None:
        return None
    if len(batch) != 1:
        raise ValueError(f"{name}: a batch of {len(batch)} where one sample should be")
    return batch[0]


class _Rows:
    """The rows of one file, entered into its tree."""

    def __init__(self, log: Log, tree: Tree) -> None:
        self.names = RecordNames(log.checkpoint)
        self._tree = tree
        self._samples = SampleTree(tree)

    def records(self, line: Line) -> Iterable[Record]:
        """A row's rollout, its calls and their logprobs.

        Raises:
            ValueError, RecursionError: it cannot be read.
        """
        row = decode(line.data, _DECODER)
        name = self.names.short_name(line.data)
        scope = self.names.file_id
        parts = _parts(row.content)
        ids = _one(row.token_ids, "token_ids")
        if ids is not None:
            return self._of_ids(row, ids, parts, line, scope, name)
        if parts and all(is_object(part) for part in parts):
            return self._of_messages(row, parts, line, scope, name)
        texts = _texts(parts)
        if not texts:
            raise ValueError("neither token ids nor content")
        sample = Sample(
            prompt="".join(texts[:-1]), completion=texts[-1], reward=row.reward, turn="0"
        )
        return self._samples.records(sample, line, scope, name)

    def _of_ids(
        self,
        row: _Row,
        ids: list[int],
        parts: list[msgspec.Raw],
        line: Line,
        scope: str,
        name: str,
    ) -> Iterator[Record]:
        n_tokens = _one(row.input_lengths, "input_lengths")
        n_tokens = len(ids) if n_tokens is None else n_tokens
        if n_tokens > len(ids):
            raise ValueError(f"input_lengths ({n_tokens}) exceeds the {len(ids)} token ids")
        ids = ids[:n_tokens]
        mask = _one(row.token_loss_mask, "token_loss_mask")
        logprobs = _one(row.generation_logprobs, "generation_logprobs")
        runs: list[Run] = []
        if mask is not None:
            if len(mask) < n_tokens:
                raise ValueError(f"{len(mask)} entries of token_loss_mask for {n_tokens} tokens")
            runs = sampled_runs(mask[:n_tokens])
        texts = _texts(parts)
        text = "".join(texts)
        prompt = ids[: runs[0].start] if runs else ids
        sampled = SampledIds(
            ids=ids,
            runs=runs,
            logprobs=None if logprobs is None else logprobs[:n_tokens],
            text=self._tree.extend_text(ROOT, ROLE, text) if text else None,
            text_start=text_bytes("".join(texts[:-1])) if len(texts) > 1 else None,
        )
        trace = Trace(
            id=f"{scope}/{name}",
            group=f"{scope}/{content_digest(array('I', prompt).tobytes())}",
            reward=row.reward,
        )
        return rollout_records(self._tree, sampled, trace, line)

    def _of_messages(
        self, row: _Row, messages: list[msgspec.Raw], line: Line, scope: str, name: str
    ) -> Iterable[Record]:
        """Validation: each assistant message is a call."""
        prompt = takewhile(lambda message: role_of(message) != "assistant", messages)
        trace = Trace(
            id=f"{scope}/{name}",
            group=f"{scope}/{content_digest(b''.join(map(bytes, prompt)))}",
            reward=row.reward,
        )
        return conversation_records(self._tree, messages, trace, line)


def _parts(content: msgspec.Raw) -> list[msgspec.Raw]:
    """The messages of the one sample in ``content``: texts, or objects with roles."""
    if not content or bytes(content) == b"null":
        return []
    if not is_list(content):
        return [content]
    part = _one(decode_list(content, "content"), "content")
    if part is None or bytes(part) == b"null":
        return []
    return decode_list(part, "content") if is_list(part) else [part]


def _texts(parts: list[msgspec.Raw]) -> list[str]:
    """The messages' texts; none if one of them is no text (an image among them)."""
    if not all(is_text(part) for part in parts):
        return []
    return [decode_text(part, "content") for part in parts]

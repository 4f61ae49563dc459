"""TRL completions: one Parquet file a logged step (``completions/completions_{step:05d}.parquet``).

Columns: ``step``, ``prompt``, ``completion``, one per reward function, any that the user logged,
``advantage``, as the GRPO and RLOO trainers write them with ``log_completions``
(github.com/huggingface/trl f2cd577, ``trl/trainer/grpo_trainer.py``). What to know about it:

- Prompt and completion are texts decoded with ``skip_special_tokens=True``; other writers keep
  conversations as lists of messages, and both are read.
- Reward columns are those of floats between ``completion`` and ``advantage``; if some are named
  after rewards, only these, because what users log stands there too. The reward is their sum, as
  TRL's with equal weights: the weights are not logged. ``NaN`` is a function that did not apply.
  Files of older versions may have one column ``reward`` at the end instead.
- The trainer keeps the last batch it generated and writes it at every logging step, so that a batch
  trained on for several steps stands in several files, with other values of ``step`` only. Rows are
  named by their batch, the file's content but for that column, and count once.
- Nothing names the group: rows of one batch with the same prompt are one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from math import isnan
from typing import Any, ClassVar

import msgspec

from forkpoint.parsers.base import Tree
from forkpoint.parsers.logs import BAD_RECORD, Head, Line, Log, describe
from forkpoint.parsers.parquet_rows import ParquetRows
from forkpoint.parsers.records import Record, Trace
from forkpoint.parsers.sample_rows import Sample, SampleTree, content_digest
from forkpoint.parsers.sampled_messages import conversation_records

_ENCODER = msgspec.json.Encoder()


class Trl:
    """Reads TRL's logged completions; see the module's docstring."""

    name: ClassVar[str] = "trl"
    title: ClassVar[str] = "TRL completions"
    checked: ClassVar[str] = "TRL f2cd577, 2026-11"
    evidence: ClassVar[tuple[str, ...]] = ("text", "rewards")
    locations: ClassVar[tuple[str, ...]] = ()
    whole_prompts: ClassVar[bool] = True
    grows: ClassVar[bool] = False

    def identify(self, head: Head) -> str | None:
        """Why the file is of this format, or ``None``."""
        columns = set(head.parquet_columns)
        if {"step", "prompt", "completion"} <= columns and columns & {"advantage", "reward"}:
            return "a Parquet file with step, prompt, completion and rewards"
        return None

    def parse(self, log: Log, tree: Tree) -> Iterator[Record]:
        """Yield a rollout and its call for each row."""
        try:
            log.end = log.path.stat().st_size
            with ParquetRows(log.path) as rows:
                yield from _Completions(rows, tree).records()
        except (*BAD_RECORD, OSError) as error:
            yield Line(b"", 1, 0).issue(error)


class _Completions:
    """The rows of one file."""

    def __init__(self, rows: ParquetRows, tree: Tree) -> None:
        self._rows = rows
        self._tree = tree
        self._texts = SampleTree(tree)
        self._rewards = _reward_columns(rows.columns)

    def records(self) -> Iterator[Record]:
        """Everything the file gives. Raises ValueError: it cannot be read."""
        batch = self._batch()
        for number, row in enumerate(self._selected(), 1):
            place = Line(b"", number, 0)
            try:
                records = self._row(row, place, batch)
            except BAD_RECORD as error:
                yield place.issue(f"row {number}: {describe(error)}")
                continue
            yield from records

    def _selected(self) -> Iterator[tuple[Any, ...]]:
        return self._rows.select(["prompt", "completion", *self._rewards])

    def _batch(self) -> str:
        """A name for the batch that the rows are of: their content."""
        digest = hashlib.sha256()
        for row in self._selected():
            digest.update(_encoded(row))
        return digest.hexdigest()[:16]

    def _row(self, row: tuple[Any, ...], place: Line, batch: str) -> tuple[Record, ...]:
        prompt, completion, *rewards = row
        name = str(place.line)
        reward = _total(rewards)
        if isinstance(prompt, str) and isinstance(completion, str):
            return self._texts.records(Sample(prompt, completion, reward), place, batch, name)
        given, made = _messages(prompt, "user"), _messages(completion, "assistant")
        group = content_digest(b"".join(map(bytes, given)))
        trace = Trace(id=f"{batch}/{name}", group=f"{batch}/{group}", reward=reward)
        messages = [*given, *made]
        return conversation_records(self._tree, messages, trace, place, n_given=len(given))


def _reward_columns(columns: dict[str, str]) -> list[str]:
    """The columns whose sum is the reward; see the module's docstring."""
    names = list(columns)
    end = names.index("advantage") if "advantage" in columns else len(names)
    logged = names[names.index("completion") + 1 : end]
    floats = [name for name in logged if columns[name] in ("DOUBLE", "FLOAT")]
    return [name for name in floats if "reward" in name.lower()] or floats


def _total(rewards: list[float | None]) -> float | None:
    known = [reward for reward in rewards if reward is not None and not isnan(reward)]
    return sum(known) if known else None


def _messages(value: Any, role: str) -> list[msgspec.Raw]:
    """Messages of a cell: the ones it lists, or one of this role.

    Raises:
        ValueError: it is neither text nor a list.
    """
    if isinstance(value, list):
        return [msgspec.Raw(_encoded(message)) for message in value]
    if isinstance(value, str):
        return [msgspec.Raw(_encoded({"role": role, "content": value}))]
    raise ValueError("neither text nor messages in prompt or completion")


def _encoded(value: Any) -> bytes:
    """A cell's value as JSON. Raises ValueError: JSON has no such thing."""
    try:
        return _ENCODER.encode(value)
    except TypeError as error:
        raise ValueError(describe(error)) from error

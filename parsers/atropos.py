"""Atropos rollout groups: one `ScoredDataGroup` a line, with token ids, masks and scores.

Record: ``{"tokens": [[int, …], …], "masks": …, "scores": [float, …], "messages": …, …}``, one inner
list a sampled sequence (github.com/NousResearch/atropos, ``atroposlib/envs/base.py`` and
``atroposlib/api/README.md``; environments add fields of their own). What to know about it:

- A line is a group: its sequences are samples of one state. Environments that choose step by step
  write a line a step, which share a ``seed``; each is a group of its own.
- ``tokens`` holds prompt and completion as the chat template renders them; ``masks`` repeats the
  ids to train on and has -100 elsewhere. A run of unmasked ids is what was sampled, and a call.
- But by default ``tokenize_for_trainer`` unmasks the last message, whoever wrote it. Where the
  logged messages end with an environment's message, the trailing run was not sampled: the sequence
  is a rollout without that call.
- ``inference_logprobs`` stand beside the ids, with 1.0 at masked positions. ``ref_logprobs`` and
  ``distill_logprobs`` are other models'.
- ``messages`` are the same sequences as text. Environments that keep none may log one user message,
  the decoded ids.
- ``scores`` are rewards as the environment centred them; times, usage and the model are not logged.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Annotated, Any, ClassVar, NamedTuple

import msgspec
import numpy as np

from forkpoint.parsers.base import ROOT, Tree
from forkpoint.parsers.chat import extend_all, message_segments
from forkpoint.parsers.document import first_record
from forkpoint.parsers.logs import Head, Line, Log, data_set_name, read_each
from forkpoint.parsers.raw_json import decode
from forkpoint.parsers.record_names import RecordNames
from forkpoint.parsers.records import Record, Trace
from forkpoint.parsers.sampled_messages import role_of
from forkpoint.parsers.sampled_runs import Run, SampledIds, rollout_records, sampled_runs

_MASKED = -100
_MASKED_LOGPROB = 1.0
_MODEL_ROLES = frozenset(("assistant", "agent"))

_TokenId = Annotated[int, msgspec.Meta(ge=0, le=2**32 - 1)]
_MaskId = Annotated[int, msgspec.Meta(ge=_MASKED, le=2**32 - 1)]


class _Group(msgspec.Struct):
    tokens: list[list[_TokenId]]
    masks: list[list[_MaskId]]
    scores: list[float | None]
    messages: list[list[msgspec.Raw] | None] | None = None
    inference_logprobs: list[list[float | None] | None] | None = None

    def __post_init__(self) -> None:
        for name in ("masks", "scores", "messages", "inference_logprobs"):
            values = getattr(self, name)
            if values is not None and len(values) != len(self.tokens):
                raise ValueError(f"{len(values)} {name} for {len(self.tokens)} sequences")


_DECODER = msgspec.json.Decoder(_Group)


class _Turn(NamedTuple):
    """Ids that a model sampled in one go."""

    run: Run
    messages: int | None
    """How many messages the sequence up to their end is, as text; ``None``: the log does not tell."""


class Atropos:
    """Reads Atropos rollout groups; see the module's docstring."""

    name: ClassVar[str] = "atropos"
    title: ClassVar[str] = "Atropos rollout groups"
    checked: ClassVar[str] = "Atropos 296a0bc, 2026-11"
    evidence: ClassVar[tuple[str, ...]] = ("token ids", "text", "rewards", "logprobs")
    locations: ClassVar[tuple[str, ...]] = ()
    whole_prompts: ClassVar[bool] = True
    grows: ClassVar[bool] = True

    def identify(self, head: Head) -> str | None:
        """Why the file is of this format, or ``None``."""
        record = first_record(head)
        if not _are_token_lists(record.get("tokens")):
            return None
        # A record longer than the head may be cut before its masks.
        if not head.lines and next(reversed(record)) == "tokens":
            return "its first record is long lists of token ids"
        scored = isinstance(record.get("scores"), list) or not head.lines
        if scored and _are_token_lists(record.get("masks")):
            return "each line has a group's tokens, masks and scores"
        return None

    def parse(self, log: Log, tree: Tree) -> Iterator[Record]:
        """Yield the rollouts of each line, and a call a run of sampled ids."""
        names, data_set = RecordNames(log.checkpoint), data_set_name(log.path)
        read = partial(_group_records, names=names, data_set=data_set, tree=tree)
        yield from read_each(log.lines(), read)
        log.checkpoint = names.checkpoint()


def _are_token_lists(value: Any) -> bool:
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(ids, list) for ids in value)
        and bool(value[0])
        and all(type(token) is int for token in value[0])
    )


def _group_records(line: Line, names: RecordNames, data_set: str, tree: Tree) -> list[Record]:
    """A line's rollouts and calls.

    Raises:
        ValueError, RecursionError: it is no group.
    """
    group = decode(line.data, _DECODER)
    group_id = names.short_name(line.data)
    records: list[Record] = []
    for number in range(len(group.tokens)):
        records += _sequence_records(tree, group, number, line, group_id, data_set)
    return records


def _sequence_records(
    tree: Tree, group: _Group, number: int, line: Line, group_id: str, data_set: str
) -> Iterator[Record]:
    """One sequence: its rollout, its calls, their logprobs.

    Raises:
        ValueError: its lists are of different lengths, or its messages are none.
    """
    ids = group.tokens[number]
    messages = _item(group.messages, number)
    logprobs = _item(group.inference_logprobs, number)
    for values, what in ((group.masks[number], "masks"), (logprobs, "inference_logprobs")):
        if values is not None and len(values) != len(ids):
            raise ValueError(f"{len(values)} {what} for {len(ids)} tokens")
    if logprobs is not None:
        logprobs = [None if value == _MASKED_LOGPROB else value for value in logprobs]
    trace = Trace(
        id=f"{group_id}/{number}", project=data_set, group=group_id, reward=group.scores[number]
    )
    turns = _turns(unmasked_runs(group.masks[number]), len(ids), messages)
    texts = _text_nodes(tree, messages, turns)
    sampled = SampledIds(ids, [turn.run for turn in turns], logprobs, texts=texts)
    return rollout_records(tree, sampled, trace, line)


def _item(values: Sequence[Any] | None, number: int) -> Any:
    return None if values is None else values[number]


def unmasked_runs(mask: list[int]) -> list[Run]:
    """Where a mask is not -100.

    >>> unmasked_runs([-100, 5, 6, -100, 7])
    [Run(start=1, end=3), Run(start=4, end=5)]
    """
    return sampled_runs(np.array(mask, dtype=np.int64) != _MASKED)


def _turns(runs: list[Run], n_tokens: int, messages: list[msgspec.Raw] | None) -> list[_Turn]:
    """The runs that a model wrote, each with the messages it is the end of."""
    if not messages:
        return [_Turn(run, None) for run in runs]
    roles = [role_of(message) for message in messages]
    by_model = roles[-1] in _MODEL_ROLES
    if not by_model and len(messages) > 1:
        runs = [run for run in runs if run.end < n_tokens]
    ends = [place + 1 for place, role in enumerate(roles) if role in _MODEL_ROLES]
    if len(ends) == len(runs):
        return [_Turn(run, end) for run, end in zip(runs, ends, strict=True)]
    return [_Turn(run, len(roles) if run.end == n_tokens else None) for run in runs]


def _text_nodes(
    tree: Tree, messages: list[msgspec.Raw] | None, turns: list[_Turn]
) -> list[int | None]:
    """Per turn, the node where the sequence up to its end stands as text."""
    ends = {turn.messages for turn in turns if turn.messages is not None}
    nodes: dict[int | None, int] = {}
    node = ROOT
    for number, message in enumerate((messages or [])[: max(ends, default=0)], 1):
        node = extend_all(tree, node, message_segments(message))
        if number in ends:
            nodes[number] = node
    return [nodes.get(turn.messages) for turn in turns]

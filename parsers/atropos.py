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
from forkpoint.parsers.logs import BAD_RECORD, HEAD_BYTES, Head, Line, Log, data_set_name, read_each
from forkpoint.parsers.raw_json import complete, decode
from forkpoint.parsers.record_names import RecordNames
from forkpoint.parsers.records import Call, Record, Scores, Trace
from forkpoint.parsers.sampled_messages import role_of

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


class _Run(NamedTuple):
    """Ids that were sampled in one go: positions [start, end) of a sequence."""

    start: int
    end: int
    messages: int | None
    """How many messages the sequence up to `end` is, as text; ``None``: the log does not tell."""


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
        record = _first_record(head)
        if record is None or not _are_token_lists(record.get("tokens")):
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


def _first_record(head: Head) -> dict[str, Any] | None:
    """The first record, cut where the head ends; ``None`` if it is no object with tokens."""
    if head.lines:
        return head.objects[0] if head.objects else None
    if len(head.data) < HEAD_BYTES or b'"tokens"' not in head.data:
        return None
    try:
        value = msgspec.json.decode(complete(head.data))
    except BAD_RECORD:
        return None
    return value if isinstance(value, dict) else None


def _are_token_lists(value: Any) -> bool:
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(ids, list) for ids in value)
        and bool(value[0])
        and all(type(token) is int for token in value[0])
    )


def _group_records(line: Line, names: RecordNames, data_set: str, tree: Tree) -> Iterator[Record]:
    """A line's rollouts and calls.

    Raises:
        ValueError, RecursionError: it is no group.
    """
    group = decode(line.data, _DECODER)
    group_id = names.short_name(line.data)
    for number in range(len(group.tokens)):
        yield from _sequence_records(tree, group, number, line, group_id, data_set)


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
    trace_id = f"{group_id}/{number}"
    leaf = tree.extend_tokens(ROOT, ids)
    yield Trace(
        id=trace_id,
        project=data_set,
        group=group_id,
        reward=group.scores[number],
        leaf=leaf if ids else None,
    )
    runs = _sampled_runs(unmasked_runs(group.masks[number]), len(ids), messages)
    texts = _text_nodes(tree, messages, runs)
    for place, (run, text) in enumerate(zip(runs, texts, strict=True)):
        prompt = tree.extend_tokens(ROOT, ids[: run.start])
        completion = leaf if run.end == len(ids) else tree.extend_tokens(ROOT, ids[: run.end])
        yield Call(
            identity=(trace_id, str(place)),
            trace=trace_id,
            line=line.line,
            offset=line.offset,
            prompt=prompt,
            completion=completion,
            text=text,
        )
        if logprobs is not None:
            yield Scores(
                trace=trace_id,
                line=line.line,
                offset=line.offset,
                prompt=prompt,
                completion=completion,
                tokens=ids[run.start : run.end],
                logprobs=[
                    None if value == _MASKED_LOGPROB else value
                    for value in logprobs[run.start : run.end]
                ],
            )


def _item(values: Sequence[Any] | None, number: int) -> Any:
    return None if values is None else values[number]


def unmasked_runs(mask: list[int]) -> list[tuple[int, int]]:
    """Where a mask is not -100, as [start, end) positions in order.

    >>> unmasked_runs([-100, 5, 6, -100, 7])
    [(1, 3), (4, 5)]
    """
    shown = np.concatenate(([False], np.array(mask, dtype=np.int64) != _MASKED, [False]))
    edges = np.flatnonzero(shown[1:] != shown[:-1]).tolist()
    return list(zip(edges[::2], edges[1::2], strict=True))


def _sampled_runs(
    runs: list[tuple[int, int]], n_tokens: int, messages: list[msgspec.Raw] | None
) -> list[_Run]:
    """The runs that a model wrote, each with the messages it is the end of."""
    if not messages:
        return [_Run(start, end, None) for start, end in runs]
    roles = [role_of(message) for message in messages]
    by_model = roles[-1] in _MODEL_ROLES
    if not by_model and len(messages) > 1:
        runs = [run for run in runs if run[1] < n_tokens]
    turns = [place + 1 for place, role in enumerate(roles) if role in _MODEL_ROLES]
    if len(turns) == len(runs):
        return [_Run(start, end, turn) for (start, end), turn in zip(runs, turns, strict=True)]
    return [_Run(start, end, len(roles) if end == n_tokens else None) for start, end in runs]


def _text_nodes(
    tree: Tree, messages: list[msgspec.Raw] | None, runs: list[_Run]
) -> list[int | None]:
    """Per run, the node where the sequence up to its end stands as text."""
    ends = {run.messages for run in runs if run.messages is not None}
    nodes: dict[int | None, int] = {}
    node = ROOT
    for number, message in enumerate((messages or [])[: max(ends, default=0)], 1):
        node = extend_all(tree, node, message_segments(message))
        if number in ends:
            nodes[number] = node
    return [nodes.get(run.messages) for run in runs]

"""Rollouts logged as text: one record a sample, with its prompt, completion and reward.

Trainers write such rows under different names for the same things; a format declares in a struct
what its fields are called and what they mean, and becomes a `Sample` for each row. What is the same
for all of them is here:

- A sample is a rollout and one call. Its trace is named by what the row says names it, else by the
  row's content and its number among equal rows, within a scope that copies of the file share.
- Samples of one prompt are a group. Where no field names the group, equal prompts of one batch (a
  training step, a file) are one.
- A prompt rendered to one text is cut by content, and so is prompt plus completion: what is
  sampled next may begin with both, in one piece.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, ClassVar, NamedTuple

import msgspec

from forkpoint.parsers.base import ROOT, Tree
from forkpoint.parsers.logs import Head, Line, Log, read_each
from forkpoint.parsers.raw_json import decode
from forkpoint.parsers.record_names import RecordNames
from forkpoint.parsers.records import Call, Record, Trace, Usage

ROLE = "prompt"
"""The role of rendered text, the same in every format: equal texts are one path."""

FieldTypes = dict[str, type | tuple[type, ...]]
"""Names of a record's fields, and of what types their values are."""


class Sample(NamedTuple):
    """What one row says."""

    prompt: str
    completion: str
    reward: float | None
    trace: str | None = None
    """A name that no other trace in the world has; ``None``: by the row's content."""
    turn: str = ""
    """The call's name within its trace, where a trace has several rows."""
    group: str | None = None
    """Names the group; ``None``: samples of equal prompts are one."""
    batch: str = ""
    """What samples of one group must share beside that name or prompt: a training step."""
    unique_group: bool = False
    """The group's name means the same in every file."""
    project: str | None = None
    answer: str | None = None
    usage: Usage | None = None


class SampleTree:
    """Enters samples into a tree. Neighbouring samples of one prompt enter it once."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._prompt: str | None = None
        self._node = ROOT
        self._digest = ""

    def records(self, sample: Sample, place: Line, scope: str, name: str) -> tuple[Trace, Call]:
        """A sample's rollout and its call.

        Args:
            scope: names the file, equal in its copies.
            name: names the row within the file.
        """
        trace_id = sample.trace or f"{scope}/{name}"
        if sample.prompt != self._prompt:
            self._enter(sample.prompt)
        completion = None
        if sample.completion:
            completion = self._tree.extend_text(ROOT, ROLE, sample.prompt + sample.completion)
        group = self._digest if sample.group is None else sample.group
        if not sample.unique_group:
            group = "/".join(part for part in (scope, sample.batch, group) if part)
        leaf = self._node if completion is None else completion
        trace = Trace(
            id=trace_id,
            project=sample.project,
            group=group,
            reward=sample.reward,
            answer=sample.answer,
            leaf=None if leaf == ROOT else leaf,
        )
        call = Call(
            identity=(trace_id, sample.turn),
            trace=trace_id,
            line=place.line,
            offset=place.offset,
            prompt=self._node,
            completion=completion,
            usage=sample.usage,
        )
        return trace, call

    def _enter(self, prompt: str) -> None:
        self._prompt = prompt
        self._node = self._tree.extend_text(ROOT, ROLE, prompt) if prompt else ROOT
        self._digest = content_digest(prompt.encode("utf-8", "surrogatepass"))


def content_digest(content: bytes) -> str:
    """A name for a prompt by its content: 16 hex digits."""
    return hashlib.blake2b(content, digest_size=8).hexdigest()


class SampleLog(ABC):
    """A parser of JSON Lines with one sample a line. The subclass knows one trainer's fields."""

    name: ClassVar[str]
    title: ClassVar[str]
    checked: ClassVar[str]
    evidence: ClassVar[tuple[str, ...]] = ("text", "rewards")
    locations: ClassVar[tuple[str, ...]] = ()
    whole_prompts: ClassVar[bool] = True
    grows: ClassVar[bool] = True

    _fields: ClassVar[FieldTypes]
    """What every record has; together no other format's records have these."""
    _decoder: ClassVar[msgspec.json.Decoder[Any]]

    def identify(self, head: Head) -> str | None:
        """Claim a file whose first record has this trainer's fields."""
        if head.lines:
            record = head.objects[0] if head.objects else {}
            names = self._fields.items()
            if all(name in record and isinstance(record[name], type_) for name, type_ in names):
                return f"each line has {', '.join(self._fields)}"
            return None
        return "its first record is one long sample" if self._begins(head) else None

    @abstractmethod
    def _begins(self, head: Head) -> bool:
        """Whether a first record that is longer than the head begins as this trainer's do."""

    @abstractmethod
    def _sample(self, row: Any) -> Sample:
        """What a decoded row says. Raises ValueError: it says nothing that makes sense."""

    def parse(self, log: Log, tree: Tree) -> Iterator[Record]:
        """Yield a rollout and its call for each line."""
        names, samples = RecordNames(log.checkpoint), SampleTree(tree)

        def read(line: Line) -> tuple[Trace, Call]:
            sample = self._sample(decode(line.data, self._decoder))
            name = names.short_name(line.data)  # The first record's names the file, too.
            return samples.records(sample, line, names.file_id, name)

        yield from read_each(log.lines(), read)
        log.checkpoint = names.checkpoint()


def number_of(value: Any) -> float | None:
    """A reward as logged: a number, ``True`` or ``False``, or nothing; a list of rewards, one a
    token, adds up.

    Raises:
        ValueError: it is something else.
    """
    if isinstance(value, list):
        parts = [number_of(part) for part in value if not isinstance(part, list)]
        known = [part for part in parts if part is not None]
        if len(parts) != len(value):
            raise ValueError("a list of lists where a reward should be")
        return sum(known) if known else None
    if value is None or isinstance(value, float):
        return value
    if isinstance(value, int):
        try:
            return float(value)
        except OverflowError:
            raise ValueError("a reward too large for a number") from None
    raise ValueError(f"a {type(value).__name__} where a reward should be")

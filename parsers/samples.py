"""Samples in a shape of one's own: one record a sample, as JSON Lines, CSV or Parquet.

Anybody who samples from a model writes such files, under names of their own. A file is read by

- the map that the command line gives, or the one in ``forkpoint-map.toml`` beside or above the file
  (see `forkpoint.parsers.sample_map`), if its first record has the fields that the map names;
- else by the commonest names, if nothing about them can be mistaken: exactly one of `prompt`,
  `input`, `question`; one of `completion`, `response`, `output`; a reward (`reward` or `score`) or a
  group (`group`, `task_id`, `problem_id` or `uid`), at most one of each; and no field that is not
  listed here. `answer` is what the sample answers, but beside a `question` it is the data set's.

What the fields may hold, in either case:

- a prompt is a text, or a list of messages in the shape of OpenAI chat;
- a completion is a text, a message, or a list of messages: one sample; a list of texts or a list of
  lists of messages: several samples of the prompt. Rewards and answers are then lists too.

Samples of one group share its key, else their prompt. Usage, times and logprobs are not read from
such files; records with token ids are better read as `token_ids`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, ClassVar

import msgspec

from forkpoint.errors import ForkpointError
from forkpoint.parsers.base import Reread, Tree
from forkpoint.parsers.csv_rows import CsvRows, header_of
from forkpoint.parsers.logs import (
    BAD_RECORD,
    Head,
    Line,
    Log,
    UnreadableLog,
    data_set_name,
    describe,
    read_each,
    read_head,
)
from forkpoint.parsers.parquet_rows import ParquetRows
from forkpoint.parsers.raw_json import decode_fields, decode_value
from forkpoint.parsers.record_names import RecordNames, short
from forkpoint.parsers.records import Call, Issue, Record, Trace
from forkpoint.parsers.sample_fields import (
    fits,
    fits_header,
    guess,
    guess_any,
    is_beside_map,
)
from forkpoint.parsers.sample_map import (
    MAP_FILE,
    SampleMap,
    find_map,
    load_map,
    top_field,
    value_at,
)
from forkpoint.parsers.sample_rows import Sample, SampleTree, content_digest
from forkpoint.parsers.sample_values import completions_of, messages_of, reward_of, word_of_value
from forkpoint.parsers.sampled_messages import conversation_records

_UNIQUE_LENGTH = 16
"""Characters from which a group's key is taken to be unique in the world."""
_MAP_DIGEST_BYTES = 8

Row = Mapping[str, Any]


class Samples:
    """Reads samples by a map of their fields; see the module's docstring.

    Args:
        given: the command line's map; it goes before any other.
    """

    name: ClassVar[str] = "samples"
    title: ClassVar[str] = "Samples (JSON Lines, CSV, Parquet)"
    checked: ClassVar[str] = "2026-11"
    evidence: ClassVar[tuple[str, ...]] = ("text", "rewards")
    locations: ClassVar[tuple[str, ...]] = ()
    whole_prompts: ClassVar[bool] = True
    grows: ClassVar[bool] = True

    def __init__(self, given: SampleMap | None = None) -> None:
        self._given = given

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Samples) and other._given == self._given

    def __hash__(self) -> int:
        return hash(self._given)

    def identify(self, head: Head) -> str | None:
        """Why the file is of this format, or ``None``."""
        try:
            mapped = self._mapped(head)
        except ForkpointError:
            # A map that cannot be read is an issue of the files it lies beside.
            return f"beside a {MAP_FILE} that cannot be read" if is_beside_map(head) else None
        if mapped is not None and fits(mapped, head):
            return f"{'the map given' if self._given else MAP_FILE} names its fields"
        guessed = guess(head)
        return None if guessed is None else f"samples with {', '.join(guessed.paths)}"

    def parse(self, log: Log, tree: Tree) -> Iterator[Record]:
        """Yield a rollout and its calls for each sample."""
        try:
            state = log.path.stat()
            head = _head(log.path, state.st_size, state.st_mtime_ns)
            mapped = self._mapped(head)
        except (ForkpointError, UnreadableLog, OSError) as error:
            yield Line(b"", 1, 0).issue(describe(error))
            return
        if mapped is None or not fits(mapped, head):
            mapped = guess_any(head) or mapped
        if mapped is None:
            yield Line(b"", 1, 0).issue("no known prompt and completion in its first record")
            return
        reading = _Reading(log, tree, mapped)
        if head.parquet_columns:
            yield from reading.parquet(head)
        elif fits_header(mapped, header_of(head.data)):
            yield from reading.csv()
        else:
            yield from reading.json_lines()

    def _mapped(self, head: Head) -> SampleMap | None:
        """The map that was given or lies beside the file.

        Raises:
            ForkpointError: it cannot be read.
        """
        if self._given is not None:
            return self._given
        path = find_map(head.path)
        return None if path is None else load_map(path)


@lru_cache(maxsize=4)
def _head(path: Path, size: int, mtime_ns: int) -> Head:
    """The beginning of a file in that state: single records are read again and again.

    Raises:
        UnreadableLog: it cannot be opened or decompressed.
    """
    return read_head(path)


class _Reading:
    """One file being read by one map."""

    def __init__(self, log: Log, tree: Tree, mapped: SampleMap) -> None:
        self._log = log
        self._tree = tree
        self._mapped = mapped
        self._samples = SampleTree(tree)
        self._project = data_set_name(log.path)
        self._key = hashlib.sha256(repr(mapped).encode()).digest()[:_MAP_DIGEST_BYTES]

    def json_lines(self) -> Iterator[Record]:
        """Yield the samples of a JSON Lines file, on from where it ended before.

        Raises:
            Reread: the map is another one, or too many records stand before.
        """
        known, before = self._log.checkpoint, b""
        if known:
            if known[:_MAP_DIGEST_BYTES] != self._key:
                raise Reread
            before = known[_MAP_DIGEST_BYTES:]
        names = RecordNames(before)

        def read(line: Line) -> list[Record]:
            fields = decode_fields(line.data)
            tops = {top_field(path, fields) for path in self._mapped.paths}
            row = {top: decode_value(fields[top], top) for top in tops if top in fields}
            name = partial(names.numbered, names.digest(line.data))
            return self._records(row, line, name, names)

        yield from read_each(self._log.lines(), read)
        self._log.checkpoint = self._key + names.checkpoint()

    def csv(self) -> Iterator[Record]:
        """Yield the samples of a CSV file.

        Raises:
            Reread: it grew; the names of its columns stand at its beginning.
        """
        if self._log.start:
            raise Reread
        rows = CsvRows(self._log.path)
        yield from self._rows(rows)
        self._log.end = rows.end

    def parquet(self, head: Head) -> Iterator[Record]:
        """Yield the samples of a Parquet file.

        Raises:
            Reread: it grew; its directory stands at its end.
        """
        if self._log.start:
            raise Reread
        place = Line(b"", 1, 0)
        columns = dict.fromkeys(head.parquet_columns)
        wanted = {top_field(path, columns) for path in self._mapped.paths} & columns.keys()
        try:
            self._log.end = self._log.path.stat().st_size
            if not wanted:
                raise ValueError("no column that the map names")
            with ParquetRows(self._log.path) as rows:
                yield from self._rows(_numbered(rows, sorted(wanted)))
        except (*BAD_RECORD, OSError) as error:
            yield place.issue(error)

    def _rows(self, rows: Any) -> Iterator[Record]:
        names = RecordNames()
        for found in rows:
            if isinstance(found, Issue):
                yield found
                continue
            place, row = found
            try:
                content = repr(sorted(row.items(), key=lambda item: item[0])).encode(
                    "utf-8", "surrogatepass"
                )
                name = partial(names.numbered, names.digest(content))
                records = self._records(row, place, name, names)
            except BAD_RECORD as error:
                yield place.issue(error)
                continue
            yield from records

    def _records(
        self, row: Row, place: Line, name: Callable[[], str], names: RecordNames
    ) -> list[Record]:
        """One record's samples.

        Args:
            name: names the record, counting it; only called for a record that can be read.

        Raises:
            ValueError: a field is missing or holds something else.
        """
        prompt = value_at(row, self._mapped.prompt)
        if prompt is None:
            raise ValueError(f"no prompt in {self._mapped.prompt}")
        completions, several = completions_of(value_at(row, self._mapped.completion))
        rewards = self._values(row, self._mapped.reward, len(completions), several)
        answers = self._values(row, self._mapped.answer, len(completions), several)
        outcomes = [
            (reward_of(reward), word_of_value(answer))
            for reward, answer in zip(rewards, answers, strict=True)
        ]
        group = self._word_at(row, self._mapped.group)
        model = self._word_at(row, self._mapped.model)
        base = short(name())
        found: list[Record] = []
        for number, (completion, (reward, answer)) in enumerate(
            zip(completions, outcomes, strict=True)
        ):
            own = f"{base}.{number}" if several else base
            sample = _Sampled(prompt, completion, reward, answer, group)
            for record in self._sampled(sample, place, names.file_id, own):
                if model is not None and isinstance(record, Call):
                    record = msgspec.structs.replace(record, model=model)
                found.append(record)
        return found

    def _sampled(self, sample: _Sampled, place: Line, scope: str, name: str) -> tuple[Record, ...]:
        unique = sample.group is not None and len(sample.group) >= _UNIQUE_LENGTH
        if isinstance(sample.prompt, str) and isinstance(sample.completion, str):
            text = Sample(
                sample.prompt,
                sample.completion,
                sample.reward,
                group=sample.group,
                unique_group=unique,
                project=self._project,
                answer=sample.answer,
            )
            return self._samples.records(text, place, scope, name)
        given = messages_of(sample.prompt, "user")
        made = messages_of(sample.completion, "assistant")
        group = sample.group
        if group is None:
            group = content_digest(b"".join(map(bytes, given)))
        trace = Trace(
            id=f"{scope}/{name}",
            project=self._project,
            group=group if unique else f"{scope}/{group}",
            reward=sample.reward,
            answer=sample.answer,
        )
        return conversation_records(self._tree, [*given, *made], trace, place, n_given=len(given))

    def _values(self, row: Row, path: str | None, n: int, several: bool) -> list[Any]:
        """One value a sample: those of a list, or a single sample's own."""
        value = None if path is None else value_at(row, path)
        if not several:
            return [value]
        if value is None:
            return [None] * n
        if not isinstance(value, list) or len(value) != n:
            raise ValueError(f"{path}: not one value for each of {n} samples")
        return value

    def _word_at(self, row: Row, path: str | None) -> str | None:
        return None if path is None else word_of_value(value_at(row, path))


class _Sampled(msgspec.Struct):
    """One sample of a record."""

    prompt: Any
    completion: Any
    reward: float | None
    answer: str | None
    group: str | None


def _numbered(rows: ParquetRows, names: list[str]) -> Iterator[tuple[Line, dict[str, Any]]]:
    for number, values in enumerate(rows.select(names), 1):
        yield Line(b"", number, 0), dict(zip(names, values, strict=True))

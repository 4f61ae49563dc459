"""Inspect evaluation logs: a zip of JSON files (``.eval``), or one JSON document.

Document: ``{"version": 2, "status": "success", "eval": {task, model, run_id, …}, "plan", "results",
"stats", "samples": [sample, …]}``. Archive: the same without the samples as ``header.json``, a
member ``samples/<id>_epoch_<n>.json`` for each sample, ``_journal/`` and summaries
(github.com/UKGovernmentBEIS/inspect_ai, src/inspect_ai/log/_recorders/). What to know about them:

- A sample in an epoch is a rollout; the epochs of a sample are a group. What a sample holds is the
  business of `forkpoint.parsers.inspect_events`.
- A log that is still being written has no ``header.json``; the journal's ``start.json`` says which
  evaluation it is. A member that is written anew stands twice, and the last one counts.
- Since 2026 members are compressed with Zstandard, and large samples may be spread over members of
  their own, ``samples/<id>_epoch_<n>/{sample.json, messages/, events/, calls/, attachments/}``.
- A retried evaluation takes the samples that succeeded from the earlier log: same ids, one rollout.
- A log without samples has nothing to count, though its header may state usage.
- Scores that could not be computed are ``NaN``, which strict JSON does not know.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from typing import ClassVar

import msgspec

from forkpoint.parsers.base import Tree
from forkpoint.parsers.document import decode_document
from forkpoint.parsers.inspect_archive import Archive, ArchiveError
from forkpoint.parsers.inspect_events import sample_records
from forkpoint.parsers.inspect_sample import Sample, Task
from forkpoint.parsers.inspect_usage import ModelUsage, usage_of
from forkpoint.parsers.json_list import elements
from forkpoint.parsers.logs import BAD_RECORD, Head, Line, Log, data_set_name, read_each
from forkpoint.parsers.raw_json import decode, decode_list, is_object, is_text
from forkpoint.parsers.records import Issue, Record
from forkpoint.parsers.stated_totals import billed_tokens, compared

_BEGINNING = re.compile(
    rb'\s*+\{\s*+"version"\s*+:\s*+\d++\s*+,\s*+"status"\s*+:\s*+"\w++"\s*+,'
    rb'(?:\s*+"\w++"\s*+:\s*+(?:"(?:[^"\\]|\\.)*+"|[\w.]++)\s*+,)*+\s*+"eval"\s*+:\s*+\{',
    re.DOTALL,
)


class _Eval(msgspec.Struct):
    task: str | None = None
    model: str | None = None
    eval_id: str | None = None
    run_id: str | None = None
    task_id: str | None = None
    packages: msgspec.Raw = msgspec.Raw()


class _Packages(msgspec.Struct):
    inspect_ai: str | None = None


class _Stats(msgspec.Struct):
    model_usage: dict[str, ModelUsage] | None = None


class _Log(msgspec.Struct):
    eval: _Eval = msgspec.field(default_factory=_Eval)
    stats: msgspec.Raw = msgspec.Raw()
    samples: list[msgspec.Raw] | None = None


class _Transcript(msgspec.Struct):
    """Where samples of 2024 keep events and attachments."""

    events: list[msgspec.Raw] | None = None
    content: dict[str, msgspec.Raw] | None = None


class _EventsData(msgspec.Struct):
    messages: list[msgspec.Raw] | None = None


class _Retry(msgspec.Struct):
    events: list[msgspec.Raw] | None = None


class _Stored(msgspec.Struct):
    """A sample as all versions write it."""

    id: int | str
    epoch: int = 1
    uuid: str | None = None
    messages: list[msgspec.Raw] | None = None
    message_refs: list[tuple[int, int]] | None = None
    events: list[msgspec.Raw] | None = None
    transcript: _Transcript | None = None
    events_data: _EventsData | None = None
    message_pool: list[msgspec.Raw] | None = None
    attachments: dict[str, msgspec.Raw] | None = None
    error_retries: list[_Retry] | None = None
    scores: msgspec.Raw = msgspec.Raw()
    score: msgspec.Raw = msgspec.Raw()
    model_usage: dict[str, ModelUsage] | None = None


_LOG = msgspec.json.Decoder(_Log)
_STORED = msgspec.json.Decoder(_Stored)
_PACKAGES = msgspec.json.Decoder(_Packages)
_STATS = msgspec.json.Decoder(_Stats)
_SCORES = msgspec.json.Decoder(dict[str, msgspec.Raw])


class InspectAi:
    """Reads Inspect evaluation logs; see the module's docstring."""

    name: ClassVar[str] = "inspect-ai"
    title: ClassVar[str] = "Inspect evaluation log"
    checked: ClassVar[str] = "inspect_ai 499e615, log versions 2 and 3, 2026-11"
    evidence: ClassVar[tuple[str, ...]] = ("usage", "text", "timestamps", "rewards", "logprobs")
    locations: ClassVar[tuple[str, ...]] = ()
    whole_prompts: ClassVar[bool] = True
    grows: ClassVar[bool] = False

    def identify(self, head: Head) -> str | None:
        """Why the file is of this format, or ``None``."""
        names = head.zip_members
        if "_journal/start.json" in names or (
            "header.json" in names and any(name.startswith("samples/") for name in names)
        ):
            return "a zip archive with an evaluation's journal or header and samples"
        if _BEGINNING.match(head.data):
            return "a document with a version, a status and an eval"
        return None

    def parse(self, log: Log, tree: Tree) -> Iterator[Record]:
        """Yield a trace, the calls and the scores of each sample."""
        if Archive.is_one(log.path):
            yield from _archive_records(log, tree)
        else:
            yield from _document_records(log, tree)


def _document_records(log: Log, tree: Tree) -> Iterator[Record]:
    opened = decode_document(log, _LOG, "log")
    if isinstance(opened, Issue):
        yield opened
        return
    document, header = opened
    task = _task(header.eval, log, hashlib.sha256(document.data).hexdigest())
    start = max(document.data.find(b'"samples"'), 0)

    def read(line: Line) -> Iterable[Record]:
        stored = decode(line.data, _STORED, "sample")
        return sample_records(_sample(stored), task, line, tree)

    records = read_each(elements(document.data, header.samples or (), start), read)
    yield from compared(records, log, _stated_tokens(header))


def _archive_records(log: Log, tree: Tree) -> Iterator[Record]:
    try:
        archive = Archive(log.path)
    except ArchiveError as error:
        yield Line(b"", 1, 0).issue(str(error))
        return
    with archive:
        header = _Log()
        try:
            header = decode(archive.header(), _LOG, "header")
        except BAD_RECORD as error:
            yield Line(b"", 1, 0).issue(error)
        task = _task(header.eval, log, archive.digest)
        yield from compared(_members(archive, task, tree), log, _stated_tokens(header))


def _members(archive: Archive, task: Task, tree: Tree) -> Iterator[Record]:
    for number, member in enumerate(archive.samples(), 1):
        line = Line(b"", number, member.offset)
        try:
            stored = decode(archive.read(member.name), _STORED, "sample")
            spread = _spread(archive, member.folder) if member.folder else None
            records = sample_records(_sample(stored, spread), task, line, tree)
        except BAD_RECORD as error:
            yield line.issue(error)
        else:
            yield from records


def _stated_tokens(header: _Log) -> int:
    """What the header says that all samples used, those that are not in the log included."""
    if not header.stats or not is_object(header.stats):
        return 0
    try:
        stated = decode(header.stats, _STATS, "stats").model_usage or {}
        usages = [usage_of(each)[0] for each in stated.values()]
    except BAD_RECORD:
        return 0  # whoever wrote it, the samples count
    return sum(billed_tokens(each) for each in usages if each is not None)


def _task(spec: _Eval, log: Log, digest: str) -> Task:
    packages = _Packages()
    if spec.packages and is_object(spec.packages):
        try:
            packages = decode(spec.packages, _PACKAGES, "packages")
        except BAD_RECORD:
            packages = _Packages()  # whoever wrote it, the samples count
    runs = [name for name in (spec.run_id, spec.task_id) if name]
    return Task(
        name=spec.task or data_set_name(log.path).removesuffix(".eval"),
        run=spec.eval_id or "/".join(runs) or digest[:16],
        model=spec.model,
        agent=f"inspect_ai {packages.inspect_ai}" if packages.inspect_ai else "inspect_ai",
    )


class _Spread(msgspec.Struct):
    """The sequences of a sample that is spread over members."""

    messages: list[msgspec.Raw]
    events: list[msgspec.Raw]
    attachments: list[msgspec.Raw]


def _spread(archive: Archive, folder: str) -> _Spread:
    def items(sequence: str) -> list[msgspec.Raw]:
        found: list[msgspec.Raw] = []
        for name in archive.chunks(folder, sequence):
            found += decode_list(msgspec.Raw(archive.read(name)), name)
        return found

    return _Spread(items("messages"), items("events"), items("attachments"))


def _sample(stored: _Stored, spread: _Spread | None = None) -> Sample:
    """A sample in the shape of today.

    Raises:
        ValueError: one of its fields has the wrong type.
    """
    transcript = stored.transcript or _Transcript()
    texts = stored.attachments or transcript.content or {}
    attachments = {name.encode(): raw for name, raw in texts.items() if is_text(raw)}
    pool = (stored.events_data or _EventsData()).messages or stored.message_pool or []
    messages, events = stored.messages or [], stored.events or transcript.events or []
    if spread is not None:
        pool, events = spread.messages, spread.events
        texts_by_number = enumerate(spread.attachments)
        attachments = {b"%d" % number: raw for number, raw in texts_by_number if is_text(raw)}
        refs = stored.message_refs or []
        messages = [raw for start, end in refs for raw in pool[max(start, 0) : max(end, 0)]]
    return Sample(
        id=str(stored.id),
        epoch=stored.epoch,
        uuid=stored.uuid or None,
        messages=messages,
        events=events,
        retries=[retry.events for retry in stored.error_retries or () if retry.events],
        pool=pool,
        attachments=attachments,
        scores=_scores(stored),
        model_usage=stored.model_usage or {},
    )


def _scores(stored: _Stored) -> list[msgspec.Raw]:
    """A sample's scores in the order of its scorers; old logs have one without a name."""
    if stored.scores and is_object(stored.scores):
        return [raw for raw in decode(stored.scores, _SCORES, "scores").values() if is_object(raw)]
    if stored.score and is_object(stored.score):
        return [stored.score]
    return []

"""Reading log files into columns. No database here: this is what runs in worker processes.

`read_batch` is the shard function: given files and where to go on in each, it returns everything
the store needs of them, as plain columns that pickle well and merge by hash.
"""

from __future__ import annotations

import hashlib
from array import array
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache, lru_cache
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import zstandard

from forkpoint.analysis.entropy import condense, token_confidence
from forkpoint.analysis.shard import HASH_BYTES, ShardTree
from forkpoint.parsers.base import ROOT, Parser, Reread
from forkpoint.parsers.logs import (
    HEAD_BYTES,
    Log,
    UnreadableLog,
    describe,
    is_compressed,
    read_head,
)
from forkpoint.parsers.records import Call, Issue, Scores, Trace
from forkpoint.parsers.registry import AmbiguousFormat, identify, parser_named, use_sample_map

TAIL_BYTES = 4096
"""How much before the point already read must be unchanged for a file to count as grown."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NAIVE_EPOCH = datetime(1970, 1, 1)
_NULL_TIME = -(2**63)


CALL_COLUMNS = (
    "source_id",
    "line",
    "record_offset",
    "call_id",
    "scope",
    "request",
    "trace_id",
    "started_at",
    "duration_s",
    "provider",
    "model",
    "sidechain",
    "breakpoints",
    "service_tier",
    "miss_reason",
    "logged_cost_usd",
    "is_sum",
    "prompt",
    "completion",
    "text",
    "text_start",
    "input_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "cache_write_1h_tokens",
    "output_tokens",
    "reasoning_tokens",
)
TRACE_COLUMNS = (
    "source_id",
    "trace_id",
    "parent_id",
    "forked_from",
    "project",
    "agent",
    "group_id",
    "reward",
    "answer",
    "leaf",
    "prompt",
    "from_root",
    "title",
)
SCORES_COLUMNS = (
    "source_id",
    "line",
    "record_offset",
    "choice",
    "trace_id",
    "prompt",
    "completion",
)
SCORED_TOKENS_COLUMNS = (
    "source_id",
    "record_offset",
    "choice",
    "position",
    "token",
    "logprob",
    "named_entropy",
    "tail",
    "cap",
    "named",
    "confidence",
)


@dataclass(slots=True)
class Task:
    """One file to read, from the beginning or from where it was left."""

    source_id: int
    path: str
    format: str | None = None
    """Known from an earlier reading; ``None``: identify it."""
    note: str | None = None
    start: int = 0
    first_line: int = 1
    checkpoint: bytes = b""
    """As the store holds it: compressed."""


@dataclass(slots=True)
class Source:
    """What became of one file."""

    source_id: int
    path: str
    format: str | None
    note: str | None
    n_bytes: int
    mtime_ns: int
    read_bytes: int
    next_line: int
    head_hash: bytes | None
    tail_hash: bytes | None
    checkpoint: bytes
    merged: int
    """Records that described a call once more and were not counted."""
    unlisted_tokens: int
    """Tokens that totals in the log state beyond the calls it lists."""
    appended: bool
    """True: the rows add to those already stored. False: they replace them."""


@dataclass(slots=True)
class Options:
    """What ingest needs to know beside the files."""

    encoding: str
    keep_text: bool = False
    sample_map: str | None = None
    """What the fields of samples in a shape of their own mean; see `forkpoint.parsers.sample_map`."""


@dataclass
class Batch:
    """The columns of several files, by table. Hash columns are joined bytes, 16 each."""

    sources: list[Source] = field(default_factory=list)
    nodes: dict[str, bytearray] = field(
        default_factory=lambda: {
            name: bytearray() for name in ("node", "parent", "segment", "root")
        }
    )
    segment_hashes: bytearray = field(default_factory=bytearray)
    segments: dict[str, Any] = field(
        default_factory=lambda: {
            "kind": [],
            "role": [],
            "n_bytes": array("q"),
            "n_tokens": array("q"),
            "source_id": array("q"),
            "record_offset": array("q"),
            "text": [],
        }
    )
    calls: list[tuple[Any, ...]] = field(default_factory=list)
    """Rows in the order of `CALL_COLUMNS`."""
    traces: list[tuple[Any, ...]] = field(default_factory=list)
    """Rows in the order of `TRACE_COLUMNS`."""
    scores: list[tuple[Any, ...]] = field(default_factory=list)
    """Rows in the order of `SCORES_COLUMNS`."""
    scored_tokens: dict[str, list[npt.NDArray[Any]]] = field(
        default_factory=lambda: {name: [] for name in SCORED_TOKENS_COLUMNS}
    )
    """Arrays to be joined, one or more for each file."""
    issues: list[tuple[int, int, int, str]] = field(default_factory=list)

    @property
    def rows(self) -> int:
        """How much there is to merge."""
        scored = sum(map(len, self.scored_tokens["token"]))
        segments = len(self.segment_hashes) // HASH_BYTES
        return segments + len(self.calls) + len(self.sources) + scored

    def add(self, other: Batch) -> None:
        """Take in what was read of other files."""
        self.sources += other.sources
        self.segment_hashes += other.segment_hashes
        for name, column in other.nodes.items():
            self.nodes[name] += column
        for name, values in other.segments.items():
            self.segments[name] += values
        self.calls += other.calls
        self.traces += other.traces
        self.scores += other.scores
        for name, arrays in other.scored_tokens.items():
            self.scored_tokens[name] += arrays
        self.issues += other.issues


def read_batch(tasks: list[Task], options: Options) -> Batch:
    """Read the files of `tasks`. Never raises for what a file holds."""
    use_sample_map(options.sample_map)
    batch = Batch()
    for task in tasks:
        _read_file(task, options, batch)
    return batch


def fingerprint(path: Path, read_bytes: int) -> tuple[bytes, bytes]:
    """Hashes of a plain file's first 64 KiB and of the 4 KiB before `read_bytes`, both cut there.

    A file that only grew since `read_bytes` of it were read still has the same two.

    Raises:
        OSError: it cannot be read.
    """
    with open(path, "rb") as stream:
        head = stream.read(min(HEAD_BYTES, read_bytes))
        stream.seek(max(0, read_bytes - TAIL_BYTES))
        tail = stream.read(min(TAIL_BYTES, read_bytes))
    return hashlib.sha256(head).digest(), hashlib.sha256(tail).digest()


def on_disk(path: Path) -> tuple[int, int]:
    """(bytes, time of the last change in ns) of a log, with what SQLite has written beside its database
    and not yet into it.

    Raises:
        OSError: it cannot be looked at.
    """
    state = path.stat()
    try:
        beside = path.with_name(f"{path.name}-wal").stat()
    except OSError:
        return state.st_size, state.st_mtime_ns
    return state.st_size + beside.st_size, max(state.st_mtime_ns, beside.st_mtime_ns)


@cache
def _counter(encoding: str) -> Any:
    from forkpoint.analysis.tokens import Tokenizer

    return Tokenizer(encoding).count


def _read_file(task: Task, options: Options, batch: Batch) -> None:
    path = Path(task.path)
    try:
        n_bytes, mtime_ns = on_disk(path)
        parser = _parser_of(task, path)
    except (OSError, UnreadableLog, AmbiguousFormat) as error:
        reason = str(error) if not isinstance(error, OSError) else describe(error)
        batch.issues.append((task.source_id, 0, 0, reason))
        batch.sources.append(_unread(task, path, f"unreadable: {reason}"))
        return
    if parser is None:
        batch.sources.append(_unread(task, path, "no parser claims it"))
        return
    try:
        log, appended = _parse(parser, task, path, options, batch, task.start)
    except Reread:
        log, appended = _parse(parser, task, path, options, batch, 0)
    resumable = parser.grows and not is_compressed(path)
    head, tail = fingerprint(path, log.end) if resumable else (None, None)
    batch.sources.append(
        Source(
            source_id=task.source_id,
            path=task.path,
            format=parser.name,
            note=task.note,
            n_bytes=n_bytes,
            mtime_ns=mtime_ns,
            read_bytes=log.end,
            next_line=log.next_line,
            head_hash=head,
            tail_hash=tail,
            checkpoint=zstandard.compress(log.checkpoint) if log.checkpoint else b"",
            merged=log.merged,
            unlisted_tokens=log.unlisted_tokens,
            appended=appended,
        )
    )


def _parser_of(task: Task, path: Path) -> Parser | None:
    if task.format is not None:
        return parser_named(task.format)
    claim = identify(read_head(path))
    if claim is None:
        return None
    task.note = claim.why
    return claim.parser


def _unread(task: Task, path: Path, note: str) -> Source:
    try:
        n_bytes, mtime_ns = on_disk(path)
    except OSError:
        n_bytes, mtime_ns = -1, -1
    return Source(
        task.source_id, task.path, None, note, n_bytes, mtime_ns, 0, 1, None, None, b"", 0, 0, False
    )


def _parse(
    parser: Parser, task: Task, path: Path, options: Options, batch: Batch, start: int
) -> tuple[Log, bool]:
    """Parse one file and add what it holds to the batch, all or nothing.

    Raises:
        Reread: the appended part needs what was before it.
    """
    if start:
        checkpoint = zstandard.decompress(task.checkpoint) if task.checkpoint else b""
        log = Log(path, start, task.first_line, checkpoint)
    else:
        log = Log(path)
    count = _counter(options.encoding) if parser.whole_prompts else None
    tree = ShardTree(log, count, options.keep_text)
    calls: list[Call] = []
    traces: dict[str, Trace] = {}
    scores: list[Scores] = []
    issues: list[Issue] = []
    try:
        for record in parser.parse(log, tree):
            if isinstance(record, Call):
                calls.append(record)
            elif isinstance(record, Trace):
                traces[record.id] = record
            elif isinstance(record, Scores):
                scores.append(record)
            else:
                issues.append(record)
    except Reread:
        raise
    except Exception as error:  # noqa: BLE001 - a parser's defect must not take the run down
        reason = f"{parser.name} parser failed: {type(error).__name__}: {describe(error)}"
        issues.append(Issue(line=log.next_line, offset=log.offset, reason=reason))
    tree.finish()
    _go_back_before_an_unfinished_line(log, issues)
    _add_tree(batch, task.source_id, tree)
    batch.calls += [_call_row(task, tree, call) for call in calls]
    batch.traces += [_trace_row(task.source_id, tree, trace) for trace in traces.values()]
    _add_scores(batch, task.source_id, tree, scores)
    batch.issues.extend(
        (task.source_id, each.line, each.offset, storable(each.reason)) for each in issues
    )
    return log, bool(start)


def _go_back_before_an_unfinished_line(log: Log, issues: list[Issue]) -> None:
    """A last line without its line end that cannot be read is read again when the file has grown."""
    if log.truncated and issues and issues[-1].offset == log.offset:
        last = issues[-1]
        issues[-1] = Issue(
            line=last.line, offset=last.offset, reason=f"last line is incomplete ({last.reason})"
        )
        log.end, log.next_line = last.offset, last.line


def _add_tree(batch: Batch, source_id: int, tree: ShardTree) -> None:
    columns = {
        "node": tree.node_hashes,
        "parent": tree.node_parents,
        "segment": tree.node_segments,
        "root": tree.node_roots,
    }
    for name, hashes in columns.items():
        if len(tree.resumed) > 1:
            hashes = [each for i, each in enumerate(hashes) if i not in tree.resumed]
        else:
            hashes = hashes[1:]
        batch.nodes[name] += b"".join(hashes)
    batch.segment_hashes += b"".join(tree.segment_hashes)
    segments = batch.segments
    segments["kind"] += tree.segment_kinds
    segments["role"] += tree.segment_roles
    segments["n_bytes"] += tree.segment_bytes
    segments["n_tokens"] += tree.segment_tokens
    segments["record_offset"] += tree.segment_offsets
    segments["source_id"].extend([source_id] * len(tree.segment_hashes))
    segments["text"] += tree.segment_texts


def _hash_text(*parts: str) -> bytes:
    joined = "\0".join(parts).encode("utf-8", "surrogatepass")
    return hashlib.sha256(joined).digest()[:HASH_BYTES]


def storable(text: str) -> str:
    """Text as UTF-8 can hold it: halves of surrogate pairs, which JSON allows, are replaced."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def _microseconds(time: datetime | None) -> int:
    if time is None:
        return _NULL_TIME
    since = time - (_EPOCH if time.tzinfo is not None else _NAIVE_EPOCH)
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def _call_row(task: Task, tree: ShardTree, call: Call) -> tuple[Any, ...]:
    if call.identity is not None:
        scope, key = call.identity
        call_id = _hash_text("call", key)
    else:
        scope, call_id = "", _hash_text("place", task.path, str(call.offset), str(call.line))
    usage = call.usage
    return (
        task.source_id,
        call.line,
        call.offset,
        call_id,
        scope,
        None if call.request is None else _hash_text("request", call.request),
        call.trace,
        _microseconds(call.started_at),
        call.duration_s,
        call.provider,
        call.model,
        call.sidechain,
        call.breakpoints,
        call.service_tier,
        call.miss_reason,
        call.logged_cost_usd,
        call.is_sum,
        tree.node_hashes[call.prompt],
        None if call.completion is None else tree.node_hashes[call.completion],
        None if call.text is None else tree.node_hashes[call.text],
        call.text_start,
        *(
            (None,) * 6
            if usage is None
            else (
                usage.input_tokens,
                usage.cache_read_tokens,
                usage.cache_write_tokens,
                usage.cache_write_1h_tokens,
                usage.output_tokens,
                usage.reasoning_tokens,
            )
        ),
    )


def _trace_row(source_id: int, tree: ShardTree, trace: Trace) -> tuple[Any, ...]:
    return (
        source_id,
        trace.id,
        trace.parent,
        trace.forked_from,
        trace.project,
        trace.agent,
        trace.group,
        trace.reward,
        trace.answer,
        None if trace.leaf is None else tree.node_hashes[trace.leaf],
        None if trace.prompt is None else tree.node_hashes[trace.prompt],
        trace.prompt == ROOT,
        trace.title,
    )


def _add_scores(batch: Batch, source_id: int, tree: ShardTree, scores: list[Scores]) -> None:
    """Condense the token scores of one file, all at once."""
    scores = [each for each in scores if each.tokens]
    if not scores:
        return
    choices: Counter[int] = Counter()
    for each in scores:
        batch.scores.append(
            (
                source_id,
                each.line,
                each.offset,
                choices[each.offset],
                each.trace,
                tree.node_hashes[each.prompt],
                tree.node_hashes[each.completion],
            )
        )
        choices[each.offset] += 1
    rows = batch.scores[-len(scores) :]
    lengths = np.array([len(each.tokens) for each in scores])
    top = list(chain.from_iterable(each.top or [[]] * len(each.tokens) for each in scores))
    stats = condense(
        list(chain.from_iterable(each.logprobs for each in scores)),
        top,
        list(chain.from_iterable(each.entropies or [None] * len(each.tokens) for each in scores)),
    )
    starts = np.repeat(np.cumsum(lengths) - lengths, lengths)
    columns = {
        "source_id": np.full(int(lengths.sum()), source_id, dtype=np.int32),
        "record_offset": np.repeat(np.array([row[2] for row in rows], dtype=np.int64), lengths),
        "choice": np.repeat(np.array([row[3] for row in rows], dtype=np.int32), lengths),
        "position": (np.arange(len(starts)) - starts).astype(np.int32),
        "token": np.concatenate([token_codes(each.tokens) for each in scores]),
        "logprob": stats.logprob,
        "named_entropy": stats.named_entropy,
        "tail": stats.tail,
        "cap": stats.cap,
        "named": stats.named.astype(np.int32),
        "confidence": token_confidence(top),
    }
    for name, values in columns.items():
        batch.scored_tokens[name].append(values)


def token_codes(tokens: list[str] | list[int]) -> npt.NDArray[np.int64]:
    """Sampled tokens as numbers: ids as they are, texts by 63 bits of their hash. The store keeps
    no text; a token that a report shows is read from its log again."""
    if tokens and isinstance(tokens[0], int):
        return np.array(tokens, dtype=np.int64)
    return np.fromiter(map(_text_code, tokens), dtype=np.int64, count=len(tokens))


@lru_cache(maxsize=1 << 18)
def _text_code(token: str) -> int:
    digest = hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def by_size(tasks: Iterable[tuple[int, Task]], batch_bytes: int) -> list[list[Task]]:
    """Group (bytes to read, task) pairs into batches of about `batch_bytes`, largest files first.

    Large files first, so that no worker is left with one at the end.
    """
    batches: list[list[Task]] = []
    filled = batch_bytes
    for n_bytes, task in sorted(tasks, key=lambda pair: (-pair[0], pair[1].path)):
        if filled >= batch_bytes:
            batches.append([])
            filled = 0
        batches[-1].append(task)
        filled += n_bytes
    return batches

"""Bringing the store up to date with the log files under some paths.

An unchanged file costs a stat. A file that grew is read from where it was left; one that changed
otherwise is read again and its rows replaced; one that is gone is marked deleted. Files are read in
worker processes and merged by hash, each file in one transaction.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

from forkpoint.analysis.ingest_worker import (
    Batch,
    Options,
    Task,
    by_size,
    fingerprint,
    read_batch,
)
from forkpoint.analysis.store import Store
from forkpoint.errors import ForkpointError, StrictError
from forkpoint.parsers.registry import SAMPLES, use_sample_map
from forkpoint.parsers.sample_map import MAP_FILE

BATCH_BYTES = 8 << 20
"""About how much log a worker reads at a time: small enough to keep progress smooth."""
MERGE_ROWS = 100_000
"""About how many rows one merge brings: a merge has a fixed cost, and its rows are held in memory."""
PARALLEL_FROM_BYTES = 24 << 20
"""Less than this is read faster in this process than workers start."""

Progress = Callable[[int, int], None]
"""Called with (bytes read, bytes to read)."""


@dataclass(slots=True)
class Ingested:
    """What one run read. Files and bytes that were already in the store are counted apart."""

    files: int = 0
    unchanged_files: int = 0
    grown_files: int = 0
    rewritten_files: int = 0
    deleted_files: int = 0
    unknown_files: int = 0
    bytes: int = 0
    calls: int = 0
    issues: int = 0
    seconds: float = 0.0
    unreadable: list[str] = field(default_factory=list)

    @property
    def changed(self) -> bool:
        """Whether the store differs from before."""
        return bool(self.files or self.deleted_files)


class _Known(NamedTuple):
    source_id: int
    format: str | None
    note: str | None
    n_bytes: int
    mtime_ns: int
    read_bytes: int
    next_line: int
    head_hash: bytes | None
    tail_hash: bytes | None
    checkpoint: bytes
    deleted: bool


def resolve(paths: Sequence[str | Path]) -> list[Path]:
    """Absolute forms of the paths to read.

    Raises:
        ForkpointError: one does not exist.
    """
    found = []
    for each in paths:
        path = Path(each).expanduser().resolve()
        if not path.exists():
            raise ForkpointError(f"{each}: no such file or folder")
        found.append(path)
    return found


def ingest(
    store: Store,
    paths: Sequence[Path],
    options: Options,
    *,
    workers: int | None = None,
    strict: bool = False,
    progress: Progress | None = None,
) -> Ingested:
    """Read what is new under `paths` into the store.

    Args:
        paths: absolute files or folders; folders are searched recursively.
        workers: processes to read in; ``None``: one per core.

    Raises:
        StrictError: with `strict`, at the first record that cannot be read. Files read before it
            are kept.
    """
    began = time.monotonic()
    done = Ingested()
    use_sample_map(options.sample_map)
    tasks = list(_plan(store, paths, options, done))
    total = sum(n_bytes for n_bytes, _ in tasks)
    read = 0
    pending = Batch()
    for batch in _read(tasks, options, workers, total):
        if strict and batch.issues:
            store.merge(pending)
            raise StrictError(_first_issue(batch))
        pending.add(batch)
        if pending.rows >= MERGE_ROWS:
            store.merge(pending)
            pending = Batch()
        _count(done, batch)
        read += sum(each.n_bytes for each in batch.sources)
        if progress is not None:
            progress(min(read, total), total)
    if pending.rows:
        store.merge(pending)
    if store.get_meta(SAMPLE_MAP) != (options.sample_map or ""):
        store.set_meta(SAMPLE_MAP, options.sample_map or "")
    _refine(store, options)
    if tasks:
        store.execute("CHECKPOINT")
    done.bytes = total
    done.seconds = time.monotonic() - began
    return done


SAMPLE_MAP = "sample_map"
"""The fact of a store that says by which given map its samples were read last."""


def _refine(store: Store, options: Options) -> None:
    """Rank the forks of what was read, now or by a run that was killed before it came to that."""
    generation = str(store.generation)
    if store.get_meta("refined") != generation:
        # Numbers and arrays are only needed here: a run with nothing new does not wait for them.
        from forkpoint.analysis.siblings import refine_forks

        refine_forks(store, options)
        store.set_meta("refined", generation)


def _first_issue(batch: Batch) -> str:
    source_id, line, _, reason = min(batch.issues)
    path = next(each.path for each in batch.sources if each.source_id == source_id)
    return f"{path}:{line}: {reason}"


def _count(done: Ingested, batch: Batch) -> None:
    done.files += len(batch.sources)
    done.calls += len(batch.calls)
    done.issues += len(batch.issues)
    done.unknown_files += sum(each.format is None for each in batch.sources)


def _plan(
    store: Store, paths: Sequence[Path], options: Options, done: Ingested
) -> Iterator[tuple[int, Task]]:
    """Yield (bytes to read, task) for each file that is new or changed, or that another map of fields
    may read otherwise; mark what is gone."""
    known = {
        row[0]: _Known(*row[1:])
        for row in store.rows(
            "SELECT path, source_id, format, note, n_bytes, mtime_ns, read_bytes, next_line, "
            "head_hash, tail_hash, checkpoint, deleted FROM sources"
        )
    }
    next_id = 1 + max((each.source_id for each in known.values()), default=0)
    seen: set[str] = set()
    entries = _with_write_ahead_logs(list(_walk(paths)))
    maps = _Maps(
        given=options.sample_map or "",
        last_given=store.get_meta(SAMPLE_MAP) or "",
        now={each[0]: each[1:] for each in entries if not isinstance(each, str)},
        known={path: each for path, each in known.items() if _is_under(path, paths)},
    )
    for entry in entries:
        if isinstance(entry, str):
            done.unreadable.append(entry)
            continue
        path, size, mtime_ns = entry
        if path in seen:
            continue
        seen.add(path)
        before = known.get(path)
        if before is None:
            yield size, Task(next_id, path)
            next_id += 1
        elif maps.concern(path, before):
            done.rewritten_files += 1
            yield size, Task(before.source_id, path)
        elif before.n_bytes == size and before.mtime_ns == mtime_ns and not before.deleted:
            done.unchanged_files += 1
        else:
            yield _changed(path, size, before, done)
    gone = [
        each.source_id
        for path, each in known.items()
        if path not in seen and not each.deleted and _is_under(path, paths)
    ]
    if gone:
        store.mark_deleted(gone)
        done.deleted_files = len(gone)


class _Maps:
    """Which files that have not changed themselves are to be read again, as a map of fields has."""

    def __init__(
        self,
        *,
        given: str,
        last_given: str,
        now: dict[str, tuple[int, int]],
        known: dict[str, _Known],
    ) -> None:
        self._given_changed = given != last_given
        before = {
            path: (each.n_bytes, each.mtime_ns) for path, each in known.items() if not each.deleted
        }
        maps = {path for path in now | before if path.endswith(f"{os.sep}{MAP_FILE}")}
        changed = {path for path in maps if now.get(path) != before.get(path)}
        self._folders = tuple(path.removesuffix(MAP_FILE) for path in changed)

    def concern(self, path: str, before: _Known) -> bool:
        """Whether a map that was added, changed or taken away may read the file otherwise."""
        if self._given_changed and before.format in (None, SAMPLES):
            return True
        return path.startswith(self._folders) if self._folders else False


def _changed(path: str, size: int, before: _Known, done: Ingested) -> tuple[int, Task]:
    if (
        before.head_hash is not None
        and size >= before.n_bytes
        and before.read_bytes
        and _only_grew(path, before)
    ):
        done.grown_files += 1
        return size - before.read_bytes, Task(
            before.source_id,
            path,
            before.format,
            before.note,
            before.read_bytes,
            before.next_line,
            before.checkpoint,
        )
    done.rewritten_files += 1
    return size, Task(before.source_id, path)


def _only_grew(path: str, before: _Known) -> bool:
    try:
        return fingerprint(Path(path), before.read_bytes) == (before.head_hash, before.tail_hash)
    except OSError:
        return False


def _is_under(path: str, paths: Sequence[Path]) -> bool:
    return any(path == str(each) or path.startswith(f"{each}{os.sep}") for each in paths)


# fmt: off
NO_LOGS = frozenset((
    "md", "rst", "py", "pyi", "pyc", "ipynb", "js", "mjs", "ts", "tsx", "jsx", "css", "html",
    "c", "h", "cc", "cpp", "rs", "go", "java", "rb", "sh", "toml", "yaml", "yml", "cfg", "ini",
    "lock", "png", "jpg", "jpeg", "gif", "svg", "webp", "pdf", "so", "a", "o", "dll", "exe",
    "whl", "woff", "woff2", "ttf", "mp3", "mp4", "wav",
))
# fmt: on
"""Endings of files that are no logs, whatever lies in a folder: not looked into, not counted. A file that
is named itself is always looked into."""


def _may_be_log(entry: os.DirEntry[str]) -> bool:
    _, dot, ending = entry.name.rpartition(".")
    has_other_ending = not dot or ending.lower() not in NO_LOGS
    return has_other_ending or entry.name == MAP_FILE or entry.is_dir()


def _walk(paths: Sequence[Path]) -> Iterator[tuple[str, int, int] | str]:
    """Yield (path, size, mtime in ns) of regular files, and a message for what cannot be looked at.

    Each file and folder counts once, however many links lead to it.
    """
    waiting = [(str(path), path.stat) for path in reversed(paths)]
    seen: set[tuple[int, int]] = set()
    while waiting:
        path, look = waiting.pop()
        try:
            status = look()
            if _again(status, seen):
                continue
            if stat.S_ISDIR(status.st_mode):
                entries = sorted(os.scandir(path), key=lambda entry: entry.name, reverse=True)
                waiting += [
                    (entry.path, entry.stat)
                    for entry in entries
                    if entry.name != ".git" and _may_be_log(entry)
                ]
            elif stat.S_ISREG(status.st_mode):
                yield path, status.st_size, status.st_mtime_ns
        except OSError as error:
            yield f"{path}: {(error.strerror or 'unreadable').lower()}"


_WRITE_AHEAD = ("-wal", "-shm", "-journal")


def _with_write_ahead_logs(
    entries: list[tuple[str, int, int] | str],
) -> list[tuple[str, int, int] | str]:
    """SQLite writes new rows beside its database first: a database has changed if that file has."""
    beside = {
        each[0]: each[1:]
        for each in entries
        if not isinstance(each, str) and each[0].endswith(_WRITE_AHEAD)
    }
    if not beside:
        return entries
    found: list[tuple[str, int, int] | str] = []
    for entry in entries:
        if isinstance(entry, str):
            found.append(entry)
        elif entry[0] not in beside:
            path, size, mtime_ns = entry
            more, later = beside.get(f"{path}-wal", (0, 0))
            found.append((path, size + more, max(mtime_ns, later)))
    return found


def _again(status: os.stat_result, seen: set[tuple[int, int]]) -> bool:
    """Whether a file was seen before; where the platform numbers no files, never."""
    number = (status.st_dev, status.st_ino)
    if not status.st_ino:
        return False
    if number in seen:
        return True
    seen.add(number)
    return False


def _read(
    tasks: list[tuple[int, Task]], options: Options, workers: int | None, total: int
) -> Iterator[Batch]:
    workers = workers or os.cpu_count() or 1
    batches = by_size(tasks, BATCH_BYTES)
    if workers == 1 or len(batches) < 2 or total < PARALLEL_FROM_BYTES:
        for tasks_of_one in batches:
            yield read_batch(tasks_of_one, options)
        return
    with ProcessPoolExecutor(min(workers, len(batches)), get_context("spawn")) as pool:
        yield from _in_flight(pool, batches, options, 2 * workers)


def _in_flight(
    pool: ProcessPoolExecutor, batches: list[list[Task]], options: Options, at_most: int
) -> Iterator[Batch]:
    """Keep only a few batches under way, so that finished ones never pile up in memory."""
    waiting = iter(batches)
    running: set[Future[Batch]] = set()
    while True:
        for batch in waiting:
            running.add(pool.submit(read_batch, batch, options))
            if len(running) >= at_most:
                break
        if not running:
            return
        finished, running = wait(running, return_when=FIRST_COMPLETED)
        for future in finished:
            yield future.result()

"""Keeping the store up to date: what is read again, what is not, and what a kill leaves behind."""

from __future__ import annotations

import gzip
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import zstandard

from forkpoint.analysis.ingest import Ingested, ingest, resolve
from forkpoint.analysis.ingest_worker import Options
from forkpoint.analysis.report import build_report
from forkpoint.analysis.store import MEMORY, Store
from forkpoint.analysis.tokens import DEFAULT_ENCODING
from forkpoint.errors import ForkpointError, StrictError

SAMPLES = Path(__file__).resolve().parent.parent / "sample_logs"

OPTIONS = Options(DEFAULT_ENCODING)


def claude_lines(session: str, n_calls: int, first: int = 0) -> list[str]:
    """A Claude Code session of `n_calls` calls, two lines each."""
    lines = []
    parent = None if first == 0 else f"{session}-a{first - 1}"
    for i in range(first, first + n_calls):
        common = {
            "sessionId": session,
            "cwd": "/w",
            "version": "2.1.0",
            "timestamp": f"2026-10-01T10:{i // 60:02}:{i % 60:02}Z",
        }
        user = common | {
            "type": "user",
            "uuid": f"{session}-u{i}",
            "parentUuid": parent,
            "message": {"role": "user", "content": f"question {i} of {session}"},
        }
        reply = common | {
            "type": "assistant",
            "uuid": f"{session}-a{i}",
            "parentUuid": f"{session}-u{i}",
            "requestId": f"req_{session}_{i}",
            "message": {
                "id": f"msg_{session}_{i}",
                "model": "claude-opus-4-5-20251101",
                "role": "assistant",
                "content": [{"type": "text", "text": f"answer {i}"}],
                "usage": {
                    "input_tokens": 3,
                    "cache_read_input_tokens": 1000 * i,
                    "cache_creation_input_tokens": 1000,
                    "output_tokens": 50,
                },
            },
        }
        lines += [json.dumps(user), json.dumps(reply)]
        parent = f"{session}-a{i}"
    return lines


def write(path: Path, lines: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines))


def contents(store: Store, folder: Path) -> dict[str, Any]:
    """Everything a report says, and every stored row that does not name a run."""
    tables = {
        table: sorted(map(repr, store.rows(f"SELECT * FROM {table}")))
        for table in ("nodes", "segments", "calls", "traces", "issues", "siblings")
    }
    return tables | {"report": asdict(build_report(store, [folder]))}


def fresh(folder: Path) -> dict[str, Any]:
    with Store.open(MEMORY, encoding=DEFAULT_ENCODING) as store:
        ingest(store, [folder], OPTIONS)
        return contents(store, folder)


def calls_of(store: Store) -> int:
    return int(store.value("SELECT count(*) FROM unique_calls"))


@pytest.fixture
def store() -> Store:
    return Store.open(MEMORY, encoding=DEFAULT_ENCODING)


def test_unchanged_files_are_not_read_again(store: Store, tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", claude_lines("s", 5))
    first = ingest(store, [tmp_path], OPTIONS)
    before = contents(store, tmp_path)
    second = ingest(store, [tmp_path], OPTIONS)
    assert (first.files, first.calls, first.unchanged_files) == (1, 5, 0)
    assert (second.files, second.calls, second.unchanged_files) == (0, 0, 1)
    assert not second.changed
    assert contents(store, tmp_path) == before


def test_a_grown_file_costs_its_tail_and_ends_as_if_read_whole(
    store: Store, tmp_path: Path
) -> None:
    log = tmp_path / "a.jsonl"
    lines = claude_lines("s", 12)
    write(log, lines[:9])
    ingest(store, [tmp_path], OPTIONS)
    size = log.stat().st_size
    write(log, lines)
    done = ingest(store, [tmp_path], OPTIONS)
    assert done.grown_files == 1
    assert done.bytes == log.stat().st_size - size
    assert contents(store, tmp_path) == fresh(tmp_path)


def test_a_file_growing_line_by_line_ends_as_if_read_whole(store: Store, tmp_path: Path) -> None:
    lines = claude_lines("s", 6)
    for n in range(1, len(lines) + 1):
        write(tmp_path / "a.jsonl", lines[:n])
        ingest(store, [tmp_path], OPTIONS)
    assert contents(store, tmp_path) == fresh(tmp_path)


def test_an_incomplete_last_line_is_an_issue_only_until_it_is_complete(
    store: Store, tmp_path: Path
) -> None:
    log = tmp_path / "a.jsonl"
    text = "".join(f"{line}\n" for line in claude_lines("s", 3))
    cut = text.rindex('"usage"')
    log.write_text(text[:cut])
    done = ingest(store, [tmp_path], OPTIONS)
    assert (done.calls, done.issues) == (2, 1)
    assert store.rows("SELECT line, reason FROM issues")[0][1].startswith("last line is incomplete")
    log.write_text(text)
    ingest(store, [tmp_path], OPTIONS)
    assert store.rows("SELECT * FROM issues") == []
    assert contents(store, tmp_path) == fresh(tmp_path)


def test_a_rewritten_file_is_replaced(store: Store, tmp_path: Path) -> None:
    log = tmp_path / "a.jsonl"
    write(log, claude_lines("old", 5))
    ingest(store, [tmp_path], OPTIONS)
    write(log, claude_lines("new", 7))
    done = ingest(store, [tmp_path], OPTIONS)
    assert done.rewritten_files == 1
    assert calls_of(store) == 7
    assert asdict(build_report(store, [tmp_path])) == fresh(tmp_path)["report"]


def test_a_shrunk_file_is_replaced(store: Store, tmp_path: Path) -> None:
    lines = claude_lines("s", 5)
    write(tmp_path / "a.jsonl", lines)
    ingest(store, [tmp_path], OPTIONS)
    write(tmp_path / "a.jsonl", lines[:4])
    ingest(store, [tmp_path], OPTIONS)
    assert calls_of(store) == 2


def test_a_deleted_file_is_noted_and_no_longer_counted(store: Store, tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", claude_lines("a", 5))
    write(tmp_path / "b.jsonl", claude_lines("b", 2))
    ingest(store, [tmp_path], OPTIONS)
    (tmp_path / "a.jsonl").unlink()
    done = ingest(store, [tmp_path], OPTIONS)
    report = build_report(store, [tmp_path])
    assert done.deleted_files == 1
    assert report.totals.calls == 2
    assert report.sources.deleted_files == 1


def test_a_copy_keeps_the_calls_of_a_deleted_file(store: Store, tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", claude_lines("s", 5))
    write(tmp_path / "copy.jsonl", claude_lines("s", 5))
    ingest(store, [tmp_path], OPTIONS)
    assert calls_of(store) == 5
    (tmp_path / "a.jsonl").unlink()
    ingest(store, [tmp_path], OPTIONS)
    assert calls_of(store) == 5


def test_a_deleted_file_that_comes_back_counts_again(store: Store, tmp_path: Path) -> None:
    lines = claude_lines("s", 3)
    write(tmp_path / "a.jsonl", lines)
    ingest(store, [tmp_path], OPTIONS)
    (tmp_path / "a.jsonl").unlink()
    ingest(store, [tmp_path], OPTIONS)
    write(tmp_path / "a.jsonl", lines)
    ingest(store, [tmp_path], OPTIONS)
    assert calls_of(store) == 3


def test_a_report_covers_its_path_only(store: Store, tmp_path: Path) -> None:
    write(tmp_path / "one" / "a.jsonl", claude_lines("a", 5))
    write(tmp_path / "one-more" / "b.jsonl", claude_lines("b", 2))
    ingest(store, [tmp_path], OPTIONS)
    assert build_report(store, [tmp_path / "one"]).totals.calls == 5
    assert build_report(store, [tmp_path / "one-more" / "b.jsonl"]).totals.calls == 2
    assert build_report(store, [tmp_path]).totals.calls == 7


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.ZstdCompressor().compress])
def test_compressed_logs_are_read_like_plain_ones(store: Store, tmp_path: Path, pack: Any) -> None:
    text = "".join(f"{line}\n" for line in claude_lines("s", 4)).encode()
    (tmp_path / "log.bin").write_bytes(pack(text))
    ingest(store, [tmp_path], OPTIONS)
    assert calls_of(store) == 4
    (tmp_path / "log.bin").write_bytes(pack(text + claude_lines("t", 1)[0].encode()))
    assert ingest(store, [tmp_path], OPTIONS).rewritten_files == 1


def test_order_and_sharing_out_of_files_change_nothing(tmp_path: Path) -> None:
    for i in range(6):
        write(tmp_path / f"{i}.jsonl", claude_lines(f"s{i % 4}", 3 + i))
    expected = fresh(tmp_path)["report"]
    for seed in range(3):
        files = sorted(tmp_path.iterdir())
        random.Random(seed).shuffle(files)
        with Store.open(MEMORY, encoding=DEFAULT_ENCODING) as store:
            for file in files:
                ingest(store, [file], OPTIONS)
            assert asdict(build_report(store, [tmp_path])) == expected


def test_worker_processes_read_what_one_process_reads(tmp_path: Path, monkeypatch: Any) -> None:
    for i in range(5):
        write(tmp_path / f"{i}.jsonl", claude_lines(f"s{i}", 4))
    expected = fresh(tmp_path)
    monkeypatch.setattr("forkpoint.analysis.ingest.PARALLEL_FROM_BYTES", 0)
    monkeypatch.setattr("forkpoint.analysis.ingest.BATCH_BYTES", 2000)
    with Store.open(MEMORY, encoding=DEFAULT_ENCODING) as store:
        ingest(store, [tmp_path], OPTIONS, workers=2)
        assert contents(store, tmp_path)["report"] == expected["report"]


def test_text_is_kept_only_when_asked_for(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", claude_lines("s", 1))
    for keep_text, expected in ((False, {None}), (True, {None, "question 0 of s", "answer 0"})):
        with Store.open(MEMORY, encoding=DEFAULT_ENCODING) as store:
            ingest(store, [tmp_path], Options(DEFAULT_ENCODING, keep_text))
            texts = {text for (text,) in store.rows("SELECT text FROM segments")}
        assert {text for text in texts if text is None or not text.startswith("claude-code")} | {
            None
        } == expected


def test_strict_stops_at_the_first_bad_record_and_names_it(store: Store, tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", [*claude_lines("s", 1), '{"type": "assistant", "message": 3}'])
    with pytest.raises(StrictError, match=r"a\.jsonl:3: "):
        ingest(store, [tmp_path], OPTIONS, strict=True)


def test_a_missing_path_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ForkpointError, match="no such file or folder"):
        resolve([tmp_path / "nowhere"])


def test_links_in_a_circle_end(store: Store, tmp_path: Path) -> None:
    write(tmp_path / "logs" / "a.jsonl", claude_lines("s", 2))
    (tmp_path / "logs" / "again").symlink_to(tmp_path / "logs")
    assert ingest(store, [tmp_path], OPTIONS).calls == 2


def test_pipes_and_sockets_are_left_alone(store: Store, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    write(tmp_path / "a.jsonl", claude_lines("s", 2))
    assert ingest(store, [tmp_path], OPTIONS).files == 1


_INGEST = """
import sys
from forkpoint.analysis import ingest as module
from forkpoint.analysis.ingest_worker import Options
from forkpoint.analysis.store import Store
module.BATCH_BYTES = 20_000
module.MERGE_ROWS = 100
with Store.open(sys.argv[1], encoding="o200k_base") as store:
    print("open", flush=True)
    module.ingest(store, module.resolve([sys.argv[2]]), Options("o200k_base"), workers=1)
"""


def test_a_killed_run_leaves_whole_files_and_the_next_run_finishes(tmp_path: Path) -> None:
    logs, path = tmp_path / "logs", tmp_path / "store.duckdb"
    for i in range(40):
        write(logs / f"{i:02}.jsonl", claude_lines(f"s{i}", 20))
    for delay in (0.05, 0.15, 0.3):
        run = subprocess.Popen(
            [sys.executable, "-c", _INGEST, str(path), str(logs)], stdout=subprocess.PIPE
        )
        assert run.stdout is not None
        run.stdout.readline()
        time.sleep(delay)
        run.send_signal(signal.SIGKILL)
        run.wait()
        run.stdout.close()
        with Store.open(str(path), encoding=DEFAULT_ENCODING) as store:
            per_file = store.rows("SELECT count(*) FROM calls GROUP BY source_id")
            assert {count for (count,) in per_file} <= {20}
            assert len(per_file) == store.value("SELECT count(*) FROM sources")
    with Store.open(str(path), encoding=DEFAULT_ENCODING) as store:
        ingest(store, [logs], OPTIONS)
        assert asdict(build_report(store, [logs])) == fresh(logs)["report"]


def test_counts_of_a_run_add_up(store: Store, tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", claude_lines("s", 2))
    (tmp_path / "notes.txt").write_text("hello\n")
    done = ingest(store, [tmp_path], OPTIONS)
    assert isinstance(done, Ingested)
    assert (done.files, done.unknown_files, done.calls) == (2, 1, 2)
    assert done.bytes == sum(each.stat().st_size for each in tmp_path.iterdir())


def test_rows_that_sqlite_keeps_beside_its_database_are_read(tmp_path: Path) -> None:
    path = tmp_path / "opencode.db"
    shutil.copy(SAMPLES / "opencode" / "opencode.db", path)
    with Store.open(MEMORY, encoding=DEFAULT_ENCODING) as store:
        first = ingest(store, [tmp_path], Options(DEFAULT_ENCODING))
        assert first.calls > 0
        assert ingest(store, [tmp_path], Options(DEFAULT_ENCODING)).files == 0
        writer = sqlite3.connect(path)
        writer.execute("PRAGMA journal_mode = WAL")
        writer.execute("CREATE TABLE more (x)")
        writer.commit()
        again = ingest(store, [tmp_path], Options(DEFAULT_ENCODING))
        writer.execute("INSERT INTO more VALUES (1)")
        writer.commit()
        assert path.with_name("opencode.db-wal").exists()
        grown = ingest(store, [tmp_path], Options(DEFAULT_ENCODING))
        assert (again.files, grown.files, grown.unknown_files) == (1, 1, 0)
        assert ingest(store, [tmp_path], Options(DEFAULT_ENCODING)).files == 0
        writer.close()

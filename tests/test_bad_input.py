"""Bad input of every kind: a counted issue or a one-line error, and all that is good is kept."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import duckdb
import pytest
from test_ingest import OPTIONS, calls_of, claude_lines, write

from forkpoint.analysis.ingest import ingest
from forkpoint.analysis.report import build_report
from forkpoint.analysis.store import MEMORY, SCHEMA_VERSION, Store
from forkpoint.analysis.tokens import DEFAULT_ENCODING
from forkpoint.errors import ForkpointError
from forkpoint.parsers.logs import MAX_RECORD_BYTES

GOOD = claude_lines("good", 4)


def read(folder: Path) -> tuple[int, list[tuple[Any, ...]]]:
    """(calls, issues as (file name, line, reason)) of a folder that also holds a good file."""
    write(folder / "good.jsonl", GOOD)
    with Store.open(MEMORY, encoding=DEFAULT_ENCODING) as store:
        ingest(store, [folder], OPTIONS)
        build_report(store, [folder])
        issues = store.rows("SELECT path, line, reason FROM issues JOIN sources USING (source_id)")
        return calls_of(store), [(Path(path).name, line, reason) for path, line, reason in issues]


@pytest.mark.parametrize(
    "content",
    [b"", b"\n\n\n", b"\x00" * 10_000, os.urandom(50_000), b"\xff\xfe\x00", b"not json at all\n"],
    ids=["empty", "blank lines", "zeros", "random bytes", "byte order mark", "prose"],
)
def test_files_that_are_no_logs_are_listed_and_cost_nothing(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "odd.jsonl").write_bytes(content)
    assert read(tmp_path) == (4, [])


BAD_LINES = {
    "truncated": ('{"type": "assistant", "uuid": "x", "sessionId"', "truncated"),
    "not an object": ("[1, 2]", "expected `object`"),
    "wrong type in a known field": (
        GOOD[1].replace('"output_tokens": 50', '"output_tokens": "many"'),
        "expected `int | null`",
    ),
    "negative count": (GOOD[1].replace('"output_tokens": 50', '"output_tokens": -50'), ">= 0"),
    "count beyond all bounds": (
        GOOD[1].replace('"output_tokens": 50', '"output_tokens": 99999999999999999999'),
        "9007199254740992",
    ),
    "impossible time": (GOOD[1].replace("2026-10-01T", "2026-99-01T"), "datetime"),
    "nested too deeply": (
        '{"type": "user", "uuid": "d", "message": {"content": [{"type": "tool_use", "input": '
        + "[" * 50_000
        + "]" * 50_000
        + "}]}}",
        "nested too deeply",
    ),
}


@pytest.mark.parametrize("name", BAD_LINES)
def test_a_bad_line_is_one_issue_with_its_line_number(tmp_path: Path, name: str) -> None:
    bad, reason = BAD_LINES[name]
    write(tmp_path / "mixed.jsonl", [*claude_lines("a", 1), bad, *claude_lines("b", 1)])
    calls, issues = read(tmp_path)
    assert calls == 6
    assert [(file, line) for file, line, _ in issues] == [("mixed.jsonl", 3)]
    assert reason in issues[0][2]
    assert "\n" not in issues[0][2]


def test_invalid_utf8_is_an_issue_for_its_line_only(tmp_path: Path) -> None:
    lines = [line.encode() for line in claude_lines("a", 2)]
    lines[1] = lines[1].replace(b"answer 0", b"answer \xff\xfe")
    (tmp_path / "mixed.jsonl").write_bytes(b"\n".join(lines) + b"\n")
    calls, issues = read(tmp_path)
    assert calls == 5
    assert issues == [("mixed.jsonl", 2, "not valid UTF-8")]


def test_half_a_surrogate_pair_is_read_like_any_text(tmp_path: Path) -> None:
    lines = claude_lines("a", 2)
    lines[1] = lines[1].replace("answer 0", r"cut \ud83d")
    write(tmp_path / "mixed.jsonl", lines)
    assert read(tmp_path) == (6, [])


def test_one_enormous_line_is_an_issue_and_the_lines_around_it_are_kept(tmp_path: Path) -> None:
    with open(tmp_path / "mixed.jsonl", "wb") as log:
        log.write("".join(f"{line}\n" for line in claude_lines("a", 1)).encode())
        log.write(b'{"type": "user", "uuid": "x", "message": {"content": "')
        log.writelines(b"y" * (1 << 20) for _ in range(200))
        log.write(b'"}}\n')
        log.write("".join(f"{line}\n" for line in claude_lines("b", 1)).encode())
    calls, issues = read(tmp_path)
    assert calls == 6
    assert issues == [("mixed.jsonl", 3, f"line longer than {MAX_RECORD_BYTES >> 20} MiB")]


def test_a_damaged_compressed_file_keeps_what_could_be_read(tmp_path: Path) -> None:
    import gzip

    text = "".join(f"{line}\n" for line in claude_lines("a", 400)).encode()
    packed = gzip.compress(text)
    (tmp_path / "cut.jsonl.gz").write_bytes(packed[: len(packed) // 2])
    calls, issues = read(tmp_path)
    assert calls > 4
    assert [file for file, *_ in issues] == ["cut.jsonl.gz"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_without_permission_is_named_and_the_rest_is_read(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir()
    closed.chmod(0)
    try:
        with Store.open(MEMORY, encoding=DEFAULT_ENCODING) as store:
            write(tmp_path / "good.jsonl", GOOD)
            done = ingest(store, [tmp_path], OPTIONS)
            assert calls_of(store) == 4
            assert done.unreadable == [f"{closed}: permission denied"]
    finally:
        closed.chmod(0o700)


def test_a_folder_that_cannot_be_listed_is_named_and_the_rest_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = tmp_path / "closed"
    closed.mkdir()
    write(tmp_path / "good.jsonl", GOOD)
    really = os.scandir

    def scandir(path: str) -> Any:
        if str(path) == str(closed):
            raise PermissionError(13, "Permission denied")
        return really(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with Store.open(MEMORY, encoding=DEFAULT_ENCODING) as store:
        done = ingest(store, [tmp_path], OPTIONS)
        assert calls_of(store) == 4
        assert done.unreadable == [f"{closed}: permission denied"]


def test_a_file_that_cannot_be_opened_is_an_issue(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from forkpoint.analysis import ingest_worker
    from forkpoint.parsers.logs import Head, UnreadableLog

    really = ingest_worker.read_head

    def read_head(path: Path) -> Head:
        if path.name == "closed.jsonl":
            raise UnreadableLog("permission denied")
        return really(path)

    monkeypatch.setattr(ingest_worker, "read_head", read_head)
    write(tmp_path / "closed.jsonl", claude_lines("x", 2))
    assert read(tmp_path) == (4, [("closed.jsonl", 0, "permission denied")])


def test_ids_and_names_of_any_kind_are_only_text(tmp_path: Path) -> None:
    lines = claude_lines("'; DROP TABLE calls; --", 2)
    lines += [
        line.replace('"/w"', json.dumps("\ud83d\x00[red]=1+1")) for line in claude_lines("z", 1)
    ]
    write(tmp_path / "odd.jsonl", lines)
    assert read(tmp_path)[0] == 7


def test_a_file_of_random_bytes_is_no_store(tmp_path: Path) -> None:
    path = tmp_path / "store.duckdb"
    path.write_bytes(os.urandom(20_000))
    with pytest.raises(ForkpointError, match="damaged or not a store") as caught:
        Store.open(str(path), encoding=DEFAULT_ENCODING)
    assert "\n" not in str(caught.value)
    assert "delete it" in str(caught.value)


def test_another_duckdb_file_is_no_store(tmp_path: Path) -> None:
    path = tmp_path / "other.duckdb"
    with duckdb.connect(str(path)) as other:
        other.execute("CREATE TABLE mine (x INTEGER)")
    with pytest.raises(ForkpointError, match="not a forkpoint store"):
        Store.open(str(path), encoding=DEFAULT_ENCODING)
    with duckdb.connect(str(path)) as other:
        assert other.execute("SELECT count(*) FROM mine").fetchone() == (0,)


def test_a_store_of_another_version_is_refused_with_what_to_do(tmp_path: Path) -> None:
    path = str(tmp_path / "store.duckdb")
    with Store.open(path, encoding=DEFAULT_ENCODING) as store:
        store.set_meta("schema_version", str(SCHEMA_VERSION + 1))
    with pytest.raises(
        ForkpointError, match=rf"version {SCHEMA_VERSION + 1}.*delete the file.*--store"
    ):
        Store.open(path, encoding=DEFAULT_ENCODING)


def test_a_store_counted_with_another_tokenizer_is_refused(tmp_path: Path) -> None:
    path = str(tmp_path / "store.duckdb")
    Store.open(path, encoding="o200k_base").close()
    with pytest.raises(ForkpointError, match="counts tokens with o200k_base, not cl100k_base"):
        Store.open(path, encoding="cl100k_base")


def test_a_store_in_use_by_another_process_is_named(tmp_path: Path) -> None:
    import subprocess
    import sys

    path = str(tmp_path / "store.duckdb")
    Store.open(path, encoding=DEFAULT_ENCODING).close()
    code = "import duckdb, sys; c = duckdb.connect(sys.argv[1]); print('open', flush=True); input()"
    other = subprocess.Popen(
        [sys.executable, "-c", code, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert other.stdout is not None
    other.stdout.readline()
    try:
        with pytest.raises(ForkpointError, match="in use by another process"):
            Store.open(path, encoding=DEFAULT_ENCODING)
    finally:
        other.communicate(b"\n")

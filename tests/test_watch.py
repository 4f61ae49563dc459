"""``forkpoint watch`` and ``forkpoint statusline``: figures that follow logs as they grow."""

from __future__ import annotations

import io
import json
import os
import pty
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from forkpoint.analysis.report import Filters, build_report
from forkpoint.analysis.status import Status, measure_status
from forkpoint.analysis.store import MEMORY, Store
from forkpoint.cli import watch
from forkpoint.cli.main import app
from forkpoint.cli.options import PlainFormat


def exchange(n: int, when: datetime, *, session: str = "s1", model: str = "claude-opus-4-5") -> str:
    """One call as Claude Code logs it; each goes on from the one before."""
    common = {
        "sessionId": session, "cwd": "/work/app", "version": "2.1.119", "isSidechain": False,
        "timestamp": when.astimezone().isoformat(),
    }  # fmt: skip
    asked = common | {
        "type": "user", "uuid": f"u{n}", "parentUuid": f"a{n - 1}" if n else None,
        "message": {"role": "user", "content": f"question {n} " * 40},
    }  # fmt: skip
    usage = {
        "input_tokens": 10, "output_tokens": 50, "cache_read_input_tokens": 500 * n,
        "cache_creation_input_tokens": 1000,
    }  # fmt: skip
    answered = common | {
        "type": "assistant", "uuid": f"a{n}", "parentUuid": f"u{n}", "requestId": f"req_{n}",
        "message": {"id": f"msg_{n}", "role": "assistant", "model": model, "usage": usage,
                    "content": [{"type": "text", "text": f"answer {n}"}]},
    }  # fmt: skip
    return f"{json.dumps(asked)}\n{json.dumps(answered)}\n"


def just_now() -> datetime:
    """A moment of today, and of the last minutes unless the day has only begun."""
    now = datetime.now().astimezone()
    return max(now - timedelta(minutes=5), now.replace(hour=0, minute=0, second=1))


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """A session of one call today and one long ago."""
    file = tmp_path / "logs" / "session.jsonl"
    file.parent.mkdir()
    long_ago = datetime(2026, 1, 5, 12).astimezone()
    file.write_text(exchange(0, long_ago, session="old") + exchange(1, just_now()))
    return file


@pytest.fixture(autouse=True)
def _own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("FORKPOINT_", "XDG_", "CLAUDE_", "CODEX_")) or name == "COLUMNS":
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PYTHONUNBUFFERED", "1")


def run(*args: str | Path) -> Result:
    return CliRunner().invoke(app, [str(each) for each in args])


@contextmanager
def started(*args: str | Path, stdout: int = subprocess.PIPE) -> Iterator[subprocess.Popen[str]]:
    """A forkpoint that runs until it is told to stop."""
    command = [sys.executable, "-m", "forkpoint", *map(str, args)]
    with subprocess.Popen(command, stdout=stdout, stderr=subprocess.PIPE, text=True) as process:
        # Nothing here may wait for ever.
        timer = threading.Timer(60, process.kill)
        timer.start()
        try:
            yield process
        finally:
            timer.cancel()
            process.kill()


# ---- The status line -----------------------------------------------------------------------------


def test_the_status_line_is_one_line_about_today(log: Path, tmp_path: Path) -> None:
    args = ("statusline", log.parent, "--store", tmp_path / "store.duckdb")
    result = run(*args)
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("today: $0.0")
    assert " · 1 call · hit rate 33.1 %" in result.stdout
    assert result.stdout.count("\n") == 1
    both = run(*args, "--since", "2026-01-01")
    assert both.stdout.startswith("since 2026-01-01: $") and " · 2 calls · " in both.stdout


def test_its_figures_are_the_report_s(sample_logs: Path) -> None:
    from forkpoint.analysis.ingest import ingest
    from forkpoint.analysis.ingest_worker import Options

    with Store.open(MEMORY, encoding="o200k_base") as store:
        ingest(store, [sample_logs], Options("o200k_base"))
        status = measure_status(store, [sample_logs], filters=Filters())
        report = build_report(store, [sample_logs])
    assert status == Status(
        report.totals.calls,
        report.totals.traces,
        report.totals.cost_usd,
        report.totals.unpriced_calls,
        report.cache.hit_rate,
        report.cache.missed_tokens,
        report.cache.missed_usd,
    )


def test_the_status_line_as_json_is_one_line_too(log: Path, tmp_path: Path) -> None:
    result = run("statusline", log, "--format", "json", "--store", tmp_path / "store.duckdb")
    assert result.stdout.count("\n") == 1
    found = json.loads(result.stdout)
    assert (found["calls"], found["calls_of"], found["unpriced_calls"]) == (1, "today", 0)
    assert found["hit_rate"] == pytest.approx(500 / 1510)


def test_a_second_status_line_reads_only_what_is_new(
    log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from forkpoint.analysis import ingest as reading

    done: list[Any] = []
    real = reading.ingest

    def recorded(*args: Any, **options: Any) -> Any:
        done.append(real(*args, **options))
        return done[-1]

    monkeypatch.setattr(reading, "ingest", recorded)
    for _ in range(2):
        assert run("statusline", log, "--store", tmp_path / "store.duckdb").exit_code == 0
    with log.open("a") as file:
        file.write(exchange(2, just_now()))
    result = run("statusline", log, "--store", tmp_path / "store.duckdb")
    assert "2 calls" in result.stdout
    assert [(each.files, each.unchanged_files, each.grown_files) for each in done] == [
        (1, 0, 0), (0, 1, 0), (1, 0, 1),
    ]  # fmt: skip


def test_no_logs_and_no_calls_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for args in ([], [str(tmp_path / "empty")]):
        result = run("statusline", *args, "--store", tmp_path / "store.duckdb")
        assert (result.exit_code, result.stdout) == (0, "today: no calls yet\n")


def test_what_goes_wrong_is_one_line_on_stderr(log: Path, tmp_path: Path) -> None:
    store = tmp_path / "store.duckdb"
    store.write_text("no store")
    for args in (["--store", str(store)], ["--prices", "nope.toml"]):
        result = run("statusline", log, *args)
        assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (1, "", 1)
        assert "Traceback" not in result.stderr


def test_a_store_in_use_is_waited_for(log: Path, tmp_path: Path) -> None:
    store = tmp_path / "store.duckdb"
    assert run("statusline", log, "--store", store).exit_code == 0
    code = (
        "import duckdb, sys, time; c = duckdb.connect(sys.argv[1]); print('open', flush=True);"
        "time.sleep(float(sys.argv[2]))"
    )
    for held_s, exit_code in (("0.2", 0), ("30", 1)):
        command = [sys.executable, "-c", code, str(store), held_s]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
            assert other.stdout is not None and other.stdout.readline() == "open\n"
            result = run("statusline", log, "--store", store)
            other.kill()
        assert result.exit_code == exit_code, result.stderr
    assert "in use by another process" in result.stderr


def test_a_hostile_model_or_label_gives_no_second_line() -> None:
    out = io.StringIO()
    status = Status(1, 1, None, 1, None, None, None)
    watch.write_status(status, "since \x1b[31m\n::x", PlainFormat.TABLE, out)
    assert out.getvalue() == "since \\x1b[31m\\x0a::x: – · 1 call\n"


def test_calls_without_a_price_make_the_cost_a_lower_bound() -> None:
    assert watch.status_text(Status(3, 1, 1.5, 1, 0.5, 1200, None)) == (
        "≥ $1.50 · 3 calls · hit rate 50.0 % · paid again 1.2 k tokens"
    )


# ---- Watching ------------------------------------------------------------------------------------


def test_where_there_is_no_terminal_the_state_is_shown_once(log: Path) -> None:
    result = run("watch", log, "--store", ":memory:")
    assert result.exit_code == 0
    assert result.stdout.startswith("1 trace · 2 calls · 1 file")
    assert "Left" in result.stdout and "Lost to" not in result.stdout
    assert "\x1b" not in result.stdout


@pytest.mark.parametrize("store", [":memory:", "store.duckdb"])
def test_following_prints_a_line_for_each_change(log: Path, tmp_path: Path, store: str) -> None:
    place = store if store == ":memory:" else str(tmp_path / store)
    args = ("watch", log.parent, "--follow", "--interval", "0.05", "--store", place)
    with started(*args) as process:
        assert process.stdout is not None and process.stderr is not None
        assert " · 2 calls · " in process.stdout.readline()
        for n in (2, 3):
            with log.open("a") as file:
                file.write(exchange(n, just_now()))
            assert f" · {n + 1} calls · " in process.stdout.readline()
        if store != ":memory:":
            # Between two looks the store is free for others.
            assert run("statusline", log.parent, "--store", place).exit_code == 0
        process.send_signal(signal.SIGINT)
        assert process.wait() == 0
        assert process.stdout.read() == ""
        assert process.stderr.read() == ""


def test_on_a_terminal_the_last_state_stays_after_ctrl_c(log: Path, tmp_path: Path) -> None:
    master, slave = pty.openpty()
    args = ("watch", log, "--interval", "0.05", "--store", tmp_path / "store.duckdb")
    with started(*args, stdout=slave) as process:
        os.close(slave)
        shown = _read_until(master, "", "2 calls", "Ctrl-C ends")
        with log.open("a") as file:
            file.write(exchange(2, just_now()))
        shown = _read_until(master, shown, "3 calls", "Ctrl-C ends")
        process.send_signal(signal.SIGINT)
        shown = _read_until(master, shown, "3 calls", "\x1b[?25h")
        assert process.wait() == 0
        assert process.stderr is not None and process.stderr.read() == ""
    os.close(master)
    assert "3 calls" in shown[shown.rindex("trace ") :]


def _read_until(terminal: int, shown: str, *texts: str) -> str:
    """Read on until the texts have been shown, each after the one before."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        place = 0
        for text in texts:
            place = shown.find(text, place)
            if place < 0:
                break
        else:
            return shown
        shown += os.read(terminal, 65536).decode("utf-8", "replace")
    raise AssertionError(f"never shown: {texts} in {shown!r}")


def test_ctrl_c_ends_both_ways_of_watching() -> None:
    def interrupted(_: float) -> None:
        raise KeyboardInterrupt

    for show in (watch.follow, watch.show_live):
        out = io.StringIO()
        show(lambda: None, out, 1.0, interrupted)  # type: ignore[operator]
        assert "Traceback" not in out.getvalue()


def test_watching_nothing_says_where_it_looked() -> None:
    result = run("watch")
    assert result.exit_code == 0
    assert result.stdout.startswith("No agent logs on this machine. Looked in:")


def test_an_interval_of_nothing_is_wrong_usage(log: Path) -> None:
    for interval in ("0", "-1", "nan"):
        assert run("watch", log, "--interval", interval).exit_code == 2, interval

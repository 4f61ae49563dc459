"""The command line: what each command prints, where, and with which exit code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar

import pytest
from shown_answers import Run, shown_json
from typer.testing import Result

from forkpoint import __version__
from forkpoint.analysis.report import BY
from forkpoint.cli import progress
from forkpoint.cli.locations import default_logs
from forkpoint.cli.options import By, Tokenizer, parse_time, store_path
from forkpoint.errors import ForkpointError
from forkpoint.parsers import registry
from forkpoint.parsers.logs import Head


def claude_line(n: int, *, model: str = "claude-opus-4-5-20251101", day: int = 1) -> list[str]:
    """A question and its answer, as Claude Code logs them."""
    common = {
        "sessionId": "s1",
        "cwd": "/work/app",
        "version": "2.1.119",
        "isSidechain": False,
        "timestamp": f"2026-07-{day:02d}T09:{n:02d}:00.000Z",
    }
    asked = common | {
        "type": "user",
        "uuid": f"u{n}",
        "parentUuid": f"a{n - 1}" if n else None,
        "message": {"role": "user", "content": f"question {n} " * 40},
    }
    usage = {
        "input_tokens": 10,
        "cache_read_input_tokens": 900 * n,
        "cache_creation_input_tokens": 1000,
        "output_tokens": 50,
    }
    answered = common | {
        "type": "assistant",
        "uuid": f"a{n}",
        "parentUuid": f"u{n}",
        "requestId": f"req_{day}_{n}",
        "message": {
            "id": f"msg_{day}_{n}",
            "role": "assistant",
            "model": model,
            "content": [{"type": "text", "text": f"answer {n}"}],
            "usage": usage,
        },
    }
    return [json.dumps(asked), json.dumps(answered)]


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    """A folder with one session of three calls and one line that is no JSON."""
    folder = tmp_path / "logs"
    folder.mkdir()
    lines = [line for n in range(3) for line in claude_line(n)]
    (folder / "session.jsonl").write_text("\n".join([*lines, '{"type": "user", "mess']) + "\n")
    return folder


def fails_with_one_line(result: Result, text: str) -> None:
    assert result.exit_code == 1
    assert result.stderr.startswith("forkpoint: ")
    assert text in result.stderr
    assert result.stderr.count("\n") == 1
    assert "Traceback" not in result.stderr
    assert result.stdout == ""


def test_the_version_is_printed(run: Run) -> None:
    assert run("--version").stdout == f"forkpoint {__version__}\n"


@pytest.mark.parametrize("command", ["report", "ingest", "prefixes", "formats", "sql"])
def test_every_command_has_help_with_an_example(run: Run, command: str) -> None:
    result = run(command, "--help")
    assert result.exit_code == 0
    assert f"  forkpoint {command}" in result.stdout
    assert "Example" in result.stdout
    assert command in run("--help").stdout


def test_a_report_answers_on_stdout_and_leaves_stderr_empty(run: Run, logs: Path) -> None:
    result = run("report", logs)
    assert result.exit_code == 0, result.stderr
    assert result.stdout.startswith("1 trace · 3 calls · 1 file · 1 Jul 2026\n1 record unreadable")
    assert result.stderr == ""


def test_a_report_counts_what_the_log_holds(run: Run, logs: Path) -> None:
    found = shown_json(run("report", logs, "--format", "json"))
    assert found["totals"]["calls"] == 3
    assert found["totals"]["input_tokens"] == 3 * 1010 + 900 * 3
    assert found["sources"]["issues"] == 1
    assert found["cache"]["hit_rate"] == pytest.approx(2700 / 5730)


def test_two_runs_print_the_same_bytes(run: Run, logs: Path) -> None:
    for form in ("table", "json", "csv", "md", "html"):
        again = [run("report", logs, "--format", form).stdout_bytes for _ in range(2)]
        assert again[0] == again[1] != b""


def test_a_second_run_reads_nothing_new(run: Run, logs: Path) -> None:
    first = shown_json(run("ingest", logs, "--format", "json"))
    assert (first["files"], first["calls"], first["issues"]) == (1, 3, 1)
    second = shown_json(run("ingest", logs, "--format", "json"))
    assert (second["files"], second["unchanged_files"], second["mb_per_s"]) == (0, 1, None)
    assert "nothing new" in run("ingest", logs).stdout


@pytest.mark.parametrize("by", list(By))
def test_a_report_is_broken_down_by_each_key(run: Run, logs: Path, by: By) -> None:
    found = shown_json(run("report", logs, "--by", by.value, "--format", "json"))
    assert found["by"] == by
    assert sum(row["calls"] for row in found["groups_by"]) in (0, 3)
    if by is not By.GROUP:
        assert len(found["groups_by"]) == 1


def test_the_keys_of_by_are_those_of_the_analysis() -> None:
    assert [by.value for by in By] == list(BY)


def test_filters_keep_what_they_name(run: Run, logs: Path) -> None:
    (logs / "later.jsonl").write_text("\n".join(claude_line(1, model="other", day=9)) + "\n")

    def calls(*options: str) -> int:
        return int(shown_json(run("report", logs, "--format", "json", *options))["totals"]["calls"])

    assert calls() == 4
    assert calls("--since", "2026-07-02") == 1
    assert calls("--until", "2026-07-01") == 3
    assert calls("--until", "2026-07-01T09:01") == 1
    assert calls("--model", "CLAUDE-*") == 3
    assert calls("--project", "nowhere") == 0
    assert calls("--since", "1h") == 0


@pytest.mark.parametrize(
    "wrong",
    [
        ["report", "--by", "moon"],
        ["report", "--format", "pdf"],
        ["report", "--since", "yesterday"],
        ["report", "--since", "2026-07-02", "--until", "2026-07-01"],
        ["report", "--workers", "0"],
        ["report", "--nonsense"],
        ["prefixes", "--min-calls", "1"],
        ["ingest"],
        ["sql"],
        ["nonsense"],
    ],
)
def test_wrong_usage_exits_with_2(run: Run, wrong: list[str]) -> None:
    result = run(*wrong)
    assert result.exit_code == 2
    assert "Usage:" in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize("command", ["report", "ingest", "prefixes"])
def test_a_missing_path_is_one_line(run: Run, tmp_path: Path, command: str) -> None:
    fails_with_one_line(run(command, tmp_path / "none"), "no such file or folder")


def test_a_hostile_name_in_an_error_stays_on_its_line(run: Run) -> None:
    result = run("report", "/no\x1b[31m\nwhere")
    fails_with_one_line(result, "no such file")
    assert "\x1b" not in result.stderr


def test_strict_stops_at_the_first_bad_record(run: Run, logs: Path) -> None:
    fails_with_one_line(run("report", logs, "--strict"), "session.jsonl:7")


def test_a_missing_price_file_is_one_line(run: Run, logs: Path) -> None:
    fails_with_one_line(run("report", logs, "--prices", "none.toml"), "none.toml: no such file")


def test_a_store_of_another_tokenizer_is_refused(run: Run, logs: Path, tmp_path: Path) -> None:
    store = tmp_path / "store.duckdb"
    assert run("report", logs, "--store", store).exit_code == 0
    result = run("report", logs, "--store", store, "--tokenizer", "cl100k_base")
    fails_with_one_line(result, "counts tokens with o200k_base")


def test_each_tokenizer_has_a_store_of_its_own(run: Run, logs: Path) -> None:
    paths = {store_path(None, each) for each in Tokenizer}
    assert len(paths) == len(Tokenizer)
    for each in Tokenizer:
        assert run("report", logs, "--tokenizer", each.value).exit_code == 0
    assert all(Path(path).is_file() for path in paths)


def test_the_environment_names_the_store(run: Run, logs: Path, tmp_path: Path) -> None:
    store = tmp_path / "deep" / "mine.duckdb"
    result = run("report", logs, FORKPOINT_STORE=str(store))
    assert result.exit_code == 0
    assert store.is_file()
    assert "--store" not in result.stdout
    assert f"--store {store}" in run("report", logs, "--store", store, COLUMNS="140").stdout


def test_a_store_in_memory_leaves_no_file(run: Run, logs: Path, tmp_path: Path) -> None:
    assert run("report", logs, "--store", ":memory:").exit_code == 0
    assert not list(tmp_path.rglob("*.duckdb"))


def test_an_unexpected_failure_is_one_line_too(
    run: Run, logs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError("by\nzero")

    monkeypatch.setattr("forkpoint.analysis.report.build_report", fail)
    result = run("report", logs)
    fails_with_one_line(result, "internal error: ZeroDivisionError: by zero")
    result = run("report", logs, FORKPOINT_DEBUG="1")
    assert result.exit_code == 1
    assert "Traceback" in result.stderr
    assert result.stderr.endswith("forkpoint: internal error: ZeroDivisionError: by zero\n")


def test_an_interrupt_exits_with_130(run: Run, logs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("forkpoint.analysis.report.build_report", interrupt)
    result = run("report", logs)
    assert (result.exit_code, result.stderr) == (130, "forkpoint: interrupted\n")


def test_a_report_goes_to_a_file(run: Run, logs: Path, tmp_path: Path) -> None:
    target = tmp_path / "out" / "report.html"
    result = run("report", logs, "--format", "html", "-o", target)
    assert (result.exit_code, result.stdout) == (0, "")
    assert target.read_text().startswith("<!DOCTYPE html>")
    result = run("report", logs, "-o", target)
    fails_with_one_line(result, "exists: --force replaces it")
    assert run("report", logs, "-o", target, "--force").exit_code == 0
    assert "Paid" in target.read_text()


def test_a_reader_that_goes_away_ends_the_run_silently(logs: Path, tmp_path: Path) -> None:
    store = tmp_path / "store.duckdb"
    command = [sys.executable, "-m", "forkpoint", "report", str(logs), "--store", str(store)]
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, timeout=60, check=False)
    os.close(write)
    assert done.stderr == b""
    assert done.returncode == 1


def test_help_waits_for_no_heavy_library() -> None:
    code = (
        "import sys\nfrom forkpoint.cli.main import app\n"
        "try:\n    app(['report', '--help'])\nexcept SystemExit:\n    pass\n"
        "heavy = {'polars', 'tiktoken', 'genai_prices', 'numpy', 'duckdb', 'rich', 'gigatoken'}\n"
        "print(*sorted(heavy & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert "Usage" in done.stdout
    assert done.stderr == "\n"


def test_a_warm_report_waits_for_no_library_it_does_not_need(run: Run, logs: Path) -> None:
    assert run("report", logs).exit_code == 0
    code = (
        "import sys\nfrom forkpoint.cli.main import app\n"
        f"try:\n    app(['report', {str(logs)!r}])\nexcept SystemExit:\n    pass\n"
        "heavy = {'polars', 'tiktoken', 'genai_prices', 'gigatoken'}\n"
        "print(*sorted(heavy & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert "Paid" in done.stdout
    assert done.stderr == "\n"


def test_without_arguments_the_logs_of_this_machine_are_read(run: Run, logs: Path) -> None:
    projects = Path.home() / ".claude" / "projects" / "app"
    projects.mkdir(parents=True)
    (logs / "session.jsonl").rename(projects / "session.jsonl")
    assert "3 calls" in run().stdout
    assert "3 calls" in run("report").stdout
    assert shown_json(run("report", "--format", "json"))["totals"]["calls"] == 3


def test_without_arguments_and_logs_it_says_where_it_looked(run: Run) -> None:
    for result in (run(), run("report"), run("prefixes")):
        assert result.exit_code == 0
        assert "Claude Code: ~/.claude/projects" in result.stdout
        assert "$CODEX_HOME" in result.stdout
        assert "forkpoint report FOLDER" in result.stdout


def test_without_logs_the_answer_still_has_the_form_asked_for(run: Run) -> None:
    assert shown_json(run("report", "--format", "json"))["totals"]["calls"] == 0
    assert shown_json(run("prefixes", "--format", "json"))["overlap_ratio"] is None
    assert run("report", "--format", "csv").stdout.startswith("key,")


class _Agent:
    name: ClassVar[str] = "agent"
    title: ClassVar[str] = "Agent"
    checked: ClassVar[str] = "1.0"
    evidence: ClassVar[tuple[str, ...]] = ("usage",)
    locations: ClassVar[tuple[str, ...]] = ("$AGENT_HOME/logs", "${AGENT_DIR}/old", "~/.agent/logs")
    whole_prompts: ClassVar[bool] = False
    grows: ClassVar[bool] = False

    def identify(self, head: Head) -> str | None:
        return "it begins with claimed" if head.data.startswith(b"claimed") else None

    def parse(self, log: object, tree: object) -> Any:
        raise NotImplementedError


@pytest.mark.parametrize(
    ("environment", "places"),
    [
        ({}, ["/home/me/.agent/logs"]),
        ({"AGENT_HOME": ""}, ["/home/me/.agent/logs"]),
        ({"AGENT_HOME": "/a"}, ["/a/logs"]),
        ({"AGENT_HOME": "/a, ~/b,,/a"}, ["/a/logs", "/home/me/b/logs"]),
        ({"AGENT_HOME": "/a", "AGENT_DIR": "/c"}, ["/a/logs", "/c/old"]),
    ],
)
def test_a_variable_that_is_set_moves_the_default_place(
    environment: dict[str, str], places: list[str]
) -> None:
    (found,) = default_logs([_Agent()], environment, Path("/home/me"))
    assert [str(path) for path in found.looked_in] == places
    assert found.variables == ("AGENT_HOME", "AGENT_DIR")


def test_formats_lists_every_parser(run: Run) -> None:
    listed = shown_json(run("formats", "--format", "json"))
    assert [each["name"] for each in listed] == [each.name for each in registry.parsers()]
    shown = run("formats").stdout
    for parser in registry.parsers():
        assert parser.title in shown
        assert parser.checked in shown


def test_formats_says_which_format_a_file_is_of_and_why(run: Run, logs: Path) -> None:
    result = run("formats", logs / "session.jsonl")
    assert result.exit_code == 0
    assert "claude-code (Claude Code)" in result.stdout
    assert "because: " in result.stdout


@pytest.mark.parametrize(
    ("data", "looks"),
    [
        (b"", "an empty file"),
        (b" \n", "an empty file"),
        (b'{"a\\u001b": 1, "b": 2}', "one JSON document (keys: a\\x1b, b)"),
        (b"[1, 2]", "one JSON document (2 elements)"),
        (b'{"a": 1}\n{"a": 2}\n', "JSON lines (keys: a)"),
        (b'{"a": ', "a JSON document longer than its first 64 KiB, or not valid"),
        (b"hello", "text that is not JSON"),
        (b"\x00\x01\x02", "binary data"),
        (b"\xff\xfe\xfa and more", "binary data, or text that is not UTF-8"),
    ],
)
def test_formats_describes_a_file_of_no_known_format(
    run: Run, tmp_path: Path, data: bytes, looks: str
) -> None:
    (tmp_path / "file").write_bytes(data)
    result = run("formats", tmp_path / "file")
    assert result.exit_code == 1
    assert f"it looks like: {looks}\n" in result.stdout
    assert result.stderr == ""


def test_formats_refuses_a_folder_and_a_missing_file(run: Run, tmp_path: Path) -> None:
    fails_with_one_line(run("formats", tmp_path), "is a folder")
    fails_with_one_line(run("formats", tmp_path / "none"), "no such file")


def test_a_file_that_two_parsers_claim_is_an_error_naming_both(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Other(_Agent):
        name = "other"

    monkeypatch.setattr(registry, "parsers", lambda: (_Agent(), Other()))
    (tmp_path / "file").write_text("claimed")
    fails_with_one_line(run("formats", tmp_path / "file"), "claimed by agent and other")


def test_prefixes_show_where_prompts_part(run: Run, sample_logs: Path) -> None:
    log = sample_logs / "token-ids" / "rollouts.jsonl"
    found = shown_json(run("prefixes", log, "--format", "json", "--top", "1"))
    assert len(found["top_forks"]) == 1
    fork = found["top_forks"][0]
    assert fork["fan_out"] >= 2
    assert fork["branches"][0]["path"] == str(log)
    result = run("prefixes", log, "--top", "1")
    assert f"rollouts.jsonl:{fork['branches'][0]['line']}" in result.stdout
    none = run("prefixes", log, "--min-calls", "1000000")
    assert "No two prompts" in none.stdout


@pytest.fixture
def filled(run: Run, logs: Path) -> Run:
    """The command, with a store that holds the logs."""
    assert run("ingest", logs).exit_code == 0
    return run


def test_sql_queries_the_store(filled: Run) -> None:
    query = "SELECT count(*) AS calls, sum(input_tokens) AS input FROM unique_calls"
    assert shown_json(filled("sql", query, "--format", "json")) == [{"calls": 3, "input": 5730}]
    assert filled("sql", query, "--format", "csv").stdout == "calls,input\n3,5730\n"
    assert filled("sql", query).stdout == "calls  input\n    3   5730\n"
    assert "unique_calls" in filled("sql", "SHOW TABLES").stdout
    assert "line" in filled("sql", "from issues").stdout


@pytest.mark.parametrize(
    "query",
    [
        "DELETE FROM calls",
        "DROP VIEW unique_calls",
        "COPY calls TO '/tmp/forkpoint-copied.csv'",
        "SELECT * FROM read_text('/etc/hostname')",
        "FROM '/etc/hostname'",
        "ATTACH '/tmp/forkpoint-other.duckdb'",
        "INSTALL httpfs",
        "SET enable_external_access = true",
        "SELECT * FROM store",
        "SELEC 1",
        "FROM nowhere",
        "",
        "SELECT error('\x1b[31m two\nlines')",
    ],
)
def test_sql_changes_nothing_and_reaches_nothing(filled: Run, query: str) -> None:
    fails_with_one_line(filled("sql", query), "error: ")
    assert not list(Path("/tmp").glob("forkpoint-*.csv"))
    assert shown_json(filled("sql", "SELECT count(*) AS n FROM calls", "--format", "json")) == [
        {"n": 3}
    ]


def test_sql_escapes_values_and_names(filled: Run) -> None:
    query = "SELECT '=1+1' AS \"[bold]=a\", chr(27) || '[31m[red]x' AS b, NULL AS c"
    table = filled("sql", query).stdout
    assert "\x1b" not in table
    assert "[bold]=a" in table
    assert "\\x1b[31m[red]x" in table
    assert filled("sql", query, "--format", "csv").stdout.splitlines()[1].startswith("'=1+1,\\x1b")
    assert shown_json(filled("sql", query, "--format", "json"))[0]["c"] is None


def test_sql_writes_every_kind_of_value(filled: Run) -> None:
    query = (
        "SELECT 170141183460469231731687303715884105727::HUGEINT AS h, 1.5::DECIMAL(4,2) AS d, "
        "'NaN'::DOUBLE AS f, 'ab'::BLOB AS b, {'k': [1, NULL]} AS s, DATE '2026-07-01' AS t, "
        "INTERVAL 90 SECOND AS i, true AS y, 1 AS a, 2 AS a"
    )
    assert shown_json(filled("sql", query, "--format", "json")) == [
        {
            "h": 170141183460469231731687303715884105727,
            "d": 1.5,
            "f": None,
            "b": "6162",
            "s": {"k": [1, None]},
            "t": "2026-07-01",
            "i": 90.0,
            "y": True,
            "a": 1,
            "a_2": 2,
        }
    ]


def test_sql_shows_as_many_rows_as_can_be_read(filled: Run) -> None:
    result = filled("sql", "SELECT range AS n FROM range(300)")
    assert len(result.stdout.splitlines()) == 202
    assert "only the first 200 rows" in result.stdout
    assert len(filled("sql", "FROM range(5000)", "--format", "csv").stdout.splitlines()) == 5001


def test_sql_writes_wide_rows_one_value_to_a_line(filled: Run) -> None:
    result = filled("sql", "SELECT * FROM calls", COLUMNS="60")
    lines = result.stdout.splitlines()
    assert lines[0] == "row 1"
    assert any(line.split() == ["input_tokens", "1010"] for line in lines)
    assert max(map(len, lines)) <= 60


def test_sql_needs_a_store_that_exists(run: Run) -> None:
    fails_with_one_line(run("sql", "SELECT 1"), "there is no store at")
    fails_with_one_line(run("sql", "SELECT 1", "--store", ":memory:"), "keeps nothing")


NOW = datetime(2026, 7, 10, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "end", "expected"),
    [
        ("2026-07-01", False, "2026-07-01T00:00:00+00:00"),
        ("2026-07-01", True, "2026-07-02T00:00:00+00:00"),
        ("2026-07-01T09:30", True, "2026-07-01T09:30:00+00:00"),
        ("2026-07-01T09:30:00+02:00", False, "2026-07-01T07:30:00+00:00"),
        (" 2026-07-01 09:30 ", False, "2026-07-01T09:30:00+00:00"),
        ("7d", False, "2026-07-03T12:00:00+00:00"),
        ("24h", True, "2026-07-09T12:00:00+00:00"),
        ("30m", False, "2026-07-10T11:30:00+00:00"),
        ("2w", False, "2026-06-26T12:00:00+00:00"),
    ],
)
def test_a_time_is_read_as_utc(text: str, end: bool, expected: str) -> None:
    assert parse_time(text, now=NOW, end=end).isoformat() == expected


@pytest.mark.parametrize(
    "text", ["", "7", "-7d", "d7", "9999-12-31", "999999w", "2026-13-01", "٧d?"]
)
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no time"):
        parse_time(text, now=NOW, end=True)


def test_progress_and_warnings_are_for_terminals_only(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with progress.progress_bar(quiet=False) as move:
        assert move is None
    progress.warn("nobody sees this", quiet=False)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "80")
    with progress.progress_bar(quiet=True) as move:
        assert move is None
    with progress.progress_bar(quiet=False) as move:
        assert move is not None
        move(1_000_000, 2_000_000)
        move(2_000_000, 2_000_000)
    progress.warn("folder\x1b: not readable", quiet=False)
    assert "forkpoint: warning: folder\\x1b: not readable\n" in capsys.readouterr().err


def test_a_forkpoint_error_names_what_to_mend() -> None:
    with pytest.raises(ForkpointError, match="--force"):
        from forkpoint.cli.output import check_output

        check_output(__file__, force=False)


def test_the_next_command_after_an_empty_report_can_be_run(run: Run, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("nothing here\n")
    said = run("report", str(tmp_path), "--store", ":memory:")
    assert "Next: forkpoint formats FILE  says what a file is" in said.stdout

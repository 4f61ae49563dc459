"""The parser for goose's session totals."""

from __future__ import annotations

import json
import sqlite3
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from recording_tree import Parsed, parse_file
from sample_totals import Totals, sample_totals

from forkpoint.parsers.goose import Goose
from forkpoint.parsers.logs import Head, read_head
from forkpoint.parsers.opencode import OpenCode
from forkpoint.parsers.records import Usage

PARSER = Goose()
OLD_COLUMNS = (
    "id TEXT PRIMARY KEY, name TEXT, description TEXT, session_type TEXT, working_dir TEXT, "
    "created_at TIMESTAMP, total_tokens INTEGER, input_tokens INTEGER, output_tokens INTEGER, "
    "accumulated_total_tokens INTEGER, accumulated_input_tokens INTEGER, "
    "accumulated_output_tokens INTEGER"
)
NEW_COLUMNS = (
    f"{OLD_COLUMNS}, accumulated_cache_read_tokens INTEGER, accumulated_cache_write_tokens INTEGER, "
    "accumulated_cost REAL, provider_name TEXT, model_config_json TEXT, parent_session_id TEXT"
)
HEADER = {
    "working_dir": "/w",
    "description": "Bees",
    "message_count": 2,
    "total_tokens": 50,
    "input_tokens": 45,
    "output_tokens": 5,
    "accumulated_total_tokens": 520,
    "accumulated_input_tokens": 500,
    "accumulated_output_tokens": 20,
}


def row(name: str = "20261005_1", **more: Any) -> dict[str, Any]:
    head = {"id": name, "name": "Bees", "working_dir": "/w", "created_at": "2026-10-05 09:00:00"}
    sums = {"accumulated_input_tokens": 500, "accumulated_output_tokens": 20}
    return {**head, **sums, "accumulated_total_tokens": 520, **more}


def read(folder: Path, *rows: dict[str, Any], columns: str = NEW_COLUMNS) -> Parsed:
    path = folder / "sessions.db"
    connection = sqlite3.connect(path)
    connection.execute(f"CREATE TABLE sessions ({columns})")
    connection.execute("CREATE TABLE messages (id INTEGER PRIMARY KEY, session_id TEXT)")
    for each in rows:
        places = ", ".join("?" * len(each))
        names = ", ".join(each)
        connection.execute(f"INSERT INTO sessions ({names}) VALUES ({places})", [*each.values()])
    connection.commit()
    connection.close()
    return parse_file(PARSER, path)


def read_file(folder: Path, *lines: Any, name: str = "20261005_1.jsonl") -> Parsed:
    path = folder / name
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return parse_file(PARSER, path)


def test_a_session_is_one_call_with_the_sum_of_its_counts(tmp_path: Path) -> None:
    model = json.dumps({"model_name": "claude-sonnet-4-5", "context_limit": 1})
    cached = {"accumulated_cache_read_tokens": 300, "accumulated_cache_write_tokens": 90}
    paid = {"accumulated_cost": 0.5, "provider_name": "anthropic", "model_config_json": model}
    result = read(tmp_path, row(**cached, **paid))
    (call,) = result.calls
    assert call.usage == Usage(
        input_tokens=500, cache_read_tokens=300, cache_write_tokens=90, output_tokens=20
    )
    assert (call.provider, call.model) == ("anthropic", "claude-sonnet-4-5")
    assert call.logged_cost_usd == 0.5
    assert call.started_at == datetime(2026, 10, 5, 9, 0, tzinfo=UTC)
    (trace,) = result.traces
    assert (trace.id, trace.project, trace.title) == (call.trace, "/w", "Bees")


def test_a_cache_that_is_not_counted_is_unknown(tmp_path: Path) -> None:
    (call,) = read(tmp_path, row(), columns=OLD_COLUMNS).calls
    assert call.usage == Usage(input_tokens=500, output_tokens=20)


@pytest.mark.parametrize("total", [520, 910])
def test_the_total_tells_whether_the_input_includes_the_cache(tmp_path: Path, total: int) -> None:
    cached = {"accumulated_cache_read_tokens": 300, "accumulated_cache_write_tokens": 90}
    (call,) = read(tmp_path, row(**cached, accumulated_total_tokens=total)).calls
    assert call.usage is not None
    assert call.usage.input_tokens == total - 20


def test_where_nothing_was_summed_up_the_newest_call_counts(tmp_path: Path) -> None:
    nothing = dict.fromkeys((key for key in row() if key.startswith("accumulated")), None)
    newest = {"input_tokens": 45, "output_tokens": 5}
    result = read(tmp_path, row(**nothing, **newest), row("20261005_2", **nothing))
    assert [call.usage for call in result.calls] == [Usage(input_tokens=45, output_tokens=5)]
    assert len(result.traces) == 2


def test_sessions_of_one_number_in_two_folders_are_two(tmp_path: Path) -> None:
    first = read(tmp_path, row()).calls[0]
    (tmp_path / "other").mkdir()
    second = read(tmp_path / "other", row(working_dir="/v")).calls[0]
    assert first.identity != second.identity
    assert first.trace != second.trace


def test_a_subagent_s_session_has_a_parent(tmp_path: Path) -> None:
    sub = row("20261005_2", session_type="sub_agent", parent_session_id="20261005_1")
    result = read(tmp_path, row(), sub)
    assert [call.sidechain for call in result.calls] == [False, True]
    assert result.traces[1].parent == result.traces[0].id


def test_an_old_file_is_the_same_session_as_its_copy_in_the_database(tmp_path: Path) -> None:
    said = {"role": "user", "created": 1791190800, "content": [{"type": "text", "text": "hi"}]}
    old = read_file(tmp_path, HEADER, {**said, "id": None}, {**said, "created": 1791190860})
    assert old.issues == []
    (call,) = old.calls
    assert call.usage == Usage(input_tokens=500, output_tokens=20)
    assert call.started_at == datetime(2026, 10, 5, 9, 0, tzinfo=UTC)
    assert call.identity == read(tmp_path, row()).calls[0].identity
    assert old.traces[0].title == "Bees"


@pytest.mark.parametrize(
    "bad",
    [
        {"accumulated_input_tokens": -1},
        {"accumulated_input_tokens": "many"},
        {"created_at": "yesterday"},
        {"model_config_json": "{"},
        {"working_dir": 7.5},
    ],
)
def test_a_bad_row_is_one_issue_and_the_others_are_kept(
    tmp_path: Path, bad: dict[str, Any]
) -> None:
    # Columns of text turn numbers into text, so a number can only be wrong where none is declared.
    columns = NEW_COLUMNS.replace("working_dir TEXT", "working_dir")
    result = read(tmp_path, row("1"), row("2", **bad), row("3"), columns=columns)
    assert [issue.line for issue in result.issues] == [2]
    assert [call.line for call in result.calls] == [1, 3]


def test_a_bad_line_of_an_old_file_is_one_issue(tmp_path: Path) -> None:
    result = read_file(tmp_path, HEADER, {"role": 7}, {"role": "user", "created": 1})
    assert [issue.line for issue in result.issues] == [2]
    assert len(result.calls) == 1
    broken = read_file(tmp_path, {**HEADER, "accumulated_input_tokens": "many"})
    assert (broken.calls, [issue.line for issue in broken.issues]) == ([], [1])


def test_a_database_is_known_by_its_columns_and_a_file_by_its_header(tmp_path: Path) -> None:
    read(tmp_path, row())
    head = read_head(tmp_path / "sessions.db")
    assert PARSER.identify(head)
    assert OpenCode().identify(head) is None
    assert PARSER.identify(Head(Path("x"), json.dumps(HEADER).encode() + b"\n"))
    for other in ({"description": "x"}, {"role": "user", "content": []}, {"message_count": 3}):
        assert PARSER.identify(Head(Path("x"), json.dumps(other).encode() + b"\n")) is None
    plain = tmp_path / "plain.db"
    sqlite3.connect(plain).executescript("CREATE TABLE sessions (id TEXT, total_tokens INTEGER)")
    assert PARSER.identify(read_head(plain)) is None


def test_the_sample_has_the_totals_its_page_states(sample_logs: Path) -> None:
    totals = sample_totals(PARSER, sample_logs / "goose")
    assert totals == Totals(3, 216_209, 156_200, 27_950, 2_995, 0)


@pytest.mark.real
def test_no_real_log_of_another_format_is_claimed(real_logs: Path) -> None:
    for path in (path for path in real_logs.rglob("*") if path.is_file()):
        assert PARSER.identify(read_head(path)) is None, path

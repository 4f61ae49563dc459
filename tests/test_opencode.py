"""The parser for OpenCode's database and message files."""

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
from forkpoint.parsers.logs import HEAD_BYTES, Head, read_head
from forkpoint.parsers.opencode import OpenCode
from forkpoint.parsers.records import Kind, Usage

PARSER = OpenCode()
TOKENS = {"input": 3, "output": 20, "reasoning": 5, "cache": {"read": 60, "write": 37}}
USAGE = Usage(
    input_tokens=100,
    cache_read_tokens=60,
    cache_write_tokens=37,
    output_tokens=25,
    reasoning_tokens=5,
)
AT = 1791190800000
SCHEMA = """
CREATE TABLE session (id TEXT PRIMARY KEY, parent_id TEXT, directory TEXT, title TEXT, version TEXT);
CREATE TABLE message (id TEXT PRIMARY KEY, session_id TEXT, time_created INTEGER, data TEXT);
CREATE TABLE part (id TEXT PRIMARY KEY, message_id TEXT, session_id TEXT, data TEXT);
"""
SCHEMA_2 = """
CREATE TABLE session (id TEXT PRIMARY KEY, parent_id TEXT, fork_session_id TEXT, directory TEXT);
CREATE TABLE session_message (id TEXT, session_id TEXT, type TEXT, seq INTEGER, data TEXT);
"""


def info(at: int = AT, **more: Any) -> dict[str, Any]:
    time = {"created": at, "completed": at + 2500}
    model = {"modelID": "claude-sonnet-4-5", "providerID": "anthropic"}
    return {"role": "assistant", "time": time, **model, "cost": 0, "tokens": TOKENS, **more}


def text(said: str) -> dict[str, Any]:
    return {"type": "text", "text": said}


def tool(name: str, output: Any, **more: Any) -> dict[str, Any]:
    state = {"status": "completed", "input": {"path": "a"}, "output": output, **more}
    return {"type": "tool", "callID": "toolu_1", "tool": name, "state": state}


def asked(said: str, at: int = AT) -> tuple[Any, list[Any]]:
    return {"role": "user", "time": {"created": at}}, [text(said)]


def database(
    folder: Path,
    *messages: tuple[Any, list[Any]],
    session: str = "ses_1",
    parent: str | None = None,
    name: str = "opencode.db",
) -> Path:
    """A database with one session of version 1; called again, with one more."""
    path = folder / name
    new = not path.exists()
    connection = sqlite3.connect(path)
    if new:
        connection.executescript(SCHEMA)
    row = (session, parent, "/w", "Bees", "1.4.2")
    connection.execute("INSERT INTO session VALUES (?, ?, ?, ?, ?)", row)
    for number, (data, parts) in enumerate(messages):
        message = f"msg_{session}_{number:03d}"
        row_1 = (message, session, AT + number, json.dumps(data))
        connection.execute("INSERT INTO message VALUES (?, ?, ?, ?)", row_1)
        for place, part in enumerate(parts):
            row_2 = (f"prt_{message}_{place:03d}", message, session, json.dumps(part))
            connection.execute("INSERT INTO part VALUES (?, ?, ?, ?)", row_2)
    connection.commit()
    connection.close()
    return path


def read(folder: Path, *messages: tuple[Any, list[Any]], **more: Any) -> Parsed:
    return parse_file(PARSER, database(folder, *messages, **more))


def texts(result: Parsed, node: int | None) -> list[Any]:
    return [segment.content for segment in result.tree.path(node or 0)][1:]


# --- The database, version 1 --------------------------------------------------------------------


def test_an_assistant_s_message_is_a_call_on_the_messages_before_it(tmp_path: Path) -> None:
    spoken = [
        {"type": "step-start"},
        {"type": "reasoning", "text": "hm", "time": {"start": 1}},
        text("Let me see."),
        tool("read", "text"),
        {"type": "patch", "hash": "x", "files": []},
    ]
    result = read(tmp_path, asked("hi"), (info(), spoken), (info(AT + 9000), [text("Done.")]))
    assert result.issues == []
    first, second = result.calls
    said = ["hm", "Let me see.", 'read\n{"path":"a"}']
    assert texts(result, first.completion) == ["hi", *said]
    assert texts(result, second.prompt) == ["hi", *said, "text"]
    assert (first.usage, first.provider, first.model) == (USAGE, "anthropic", "claude-sonnet-4-5")
    assert first.started_at == datetime(2026, 10, 5, 9, 0, tzinfo=UTC)
    assert (first.duration_s, first.logged_cost_usd) == (2.5, None)
    (trace,) = result.traces
    assert (trace.id, trace.project, trace.title) == ("ses_1", "/w", "Bees")
    assert trace.agent == "OpenCode 1.4.2"


def test_reasoning_is_part_of_the_output_where_the_total_says_so(tmp_path: Path) -> None:
    within = {**TOKENS, "total": 120}
    (call,) = read(tmp_path, (info(tokens=within), [text("x")])).calls
    assert call.usage is not None
    assert (call.usage.output_tokens, call.usage.reasoning_tokens) == (20, 5)


def test_each_of_several_steps_in_a_message_is_a_call(tmp_path: Path) -> None:
    def finish(**counts: Any) -> dict[str, Any]:
        return {"type": "step-finish", "reason": "stop", "cost": 0.5, "tokens": counts}

    zero = {"read": 0, "write": 0}
    parts = [
        text("one"),
        tool("read", "text"),
        finish(input=10, output=2, reasoning=0, cache=zero),
        text("two"),
        finish(input=30, output=4, reasoning=0, cache=zero),
    ]
    last = {"input": 30, "output": 4, "reasoning": 0, "cache": zero}
    result = read(tmp_path, asked("hi"), (info(tokens=last, cost=1.0), parts))
    first, second = result.calls
    assert first.usage is not None
    assert second.usage is not None
    assert (first.usage.input_tokens, second.usage.input_tokens) == (10, 30)
    assert texts(result, second.prompt) == ["hi", "one", 'read\n{"path":"a"}', "text"]
    assert [call.logged_cost_usd for call in result.calls] == [0.5, 0.5]
    assert first.identity != second.identity


def test_a_summary_begins_the_next_context(tmp_path: Path) -> None:
    compaction = ({"role": "user", "time": {"created": AT}}, [{"type": "compaction", "auto": True}])
    result = read(
        tmp_path,
        asked("hi"),
        (info(), [text("ho")]),
        compaction,
        (info(AT + 1, summary=True), [text("They said hi.")]),
        asked("and now"),
        (info(AT + 2), [text("this")]),
    )
    assert texts(result, result.calls[1].prompt) == ["hi", "ho"]
    assert texts(result, result.calls[2].prompt) == ["They said hi.", "and now"]


def test_a_forked_session_has_its_origin_s_calls_under_other_ids(tmp_path: Path) -> None:
    beginning = [asked("hi"), (info(), [text("ho")])]
    database(tmp_path, *beginning)
    result = read(tmp_path, *beginning, (info(AT + 60_000), [text("more")]), session="ses_2")
    first, copied, more = result.calls
    assert first.identity == copied.identity
    assert first.prompt == copied.prompt
    assert more.identity != first.identity
    assert (first.trace, more.trace) == ("ses_1", "ses_2")


def test_a_session_with_a_parent_is_a_subagent_s(tmp_path: Path) -> None:
    database(tmp_path, asked("hi"), (info(), [text("ho")]))
    looked = (info(AT + 5), [text("seen")])
    result = read(tmp_path, asked("look"), looked, session="ses_2", parent="ses_1")
    assert [call.sidechain for call in result.calls] == [False, True]
    assert {trace.id: trace.parent for trace in result.traces} == {"ses_1": None, "ses_2": "ses_1"}


def test_a_call_that_failed_before_it_answered_is_none(tmp_path: Path) -> None:
    zero = {"input": 0, "output": 0, "reasoning": 0, "cache": {"read": 0, "write": 0}}
    failed = info(tokens=zero, error={"name": "APIError", "data": {}})
    assert read(tmp_path, asked("hi"), (failed, [])).calls == []


def test_files_and_subtasks_of_a_user_s_message_enter_the_context(tmp_path: Path) -> None:
    parts = [
        {"type": "file", "mime": "image/png", "url": "data:image/png;base64,AAAA"},
        {"type": "text", "text": "hidden", "ignored": True},
        {"type": "subtask", "prompt": "look", "description": "d", "agent": "explore"},
    ]
    user = {"role": "user", "time": {"created": AT}}
    result = read(tmp_path, (user, parts), (info(), [text("ho")]))
    path = result.tree.path(result.calls[0].prompt)[1:]
    assert [segment.kind for segment in path] == [Kind.MEDIA, Kind.TEXT]
    assert path[1].content == "look"


@pytest.mark.parametrize(
    "bad",
    [
        (info(tokens={"input": -1}), [text("x")]),
        (info(time={"created": 1e30}), [text("x")]),
        (info(), [{"type": 7}]),
        (info(), [tool("read", "x", status=7)]),
        ({"no": "role"}, []),
        (7, []),
    ],
)
def test_a_bad_message_is_one_issue_and_the_others_are_kept(tmp_path: Path, bad: Any) -> None:
    result = read(tmp_path, (info(), [text("a")]), bad, (info(AT + 9), [text("b")]))
    assert [issue.line for issue in result.issues] == [2]
    assert [texts(result, call.prompt) for call in result.calls] == [[], ["a"]]


def test_columns_of_other_types_are_issues_of_their_rows(tmp_path: Path) -> None:
    path = database(tmp_path, (info(), [text("a")]))
    connection = sqlite3.connect(path)
    connection.execute("INSERT INTO message VALUES ('m2', 'ses_1', 2, 7)")
    connection.execute("INSERT INTO message VALUES ('m3', 7, 3, ?)", (b"\xff\xfe",))
    connection.execute("INSERT INTO message VALUES ('m4', 'ses_1', 4, NULL)")
    connection.execute("UPDATE session SET title = 7, directory = CAST(x'ff' AS TEXT)")
    connection.commit()
    connection.close()
    result = parse_file(PARSER, path)
    assert len(result.calls) == 1
    assert len(result.issues) == 3


def test_a_damaged_database_is_an_issue(tmp_path: Path) -> None:
    path = database(tmp_path, *[(info(AT + n), [text("x" * 900)]) for n in range(40)])
    data = bytearray(path.read_bytes())
    data[8192:20480] = b"\xff" * 12288
    path.write_bytes(data)
    result = parse_file(PARSER, path)
    assert result.issues
    assert all(issue.reason and "\n" not in issue.reason for issue in result.issues)


def test_a_schema_that_is_no_utf_8_is_no_one_s(tmp_path: Path) -> None:
    path = database(tmp_path, asked("hi"))
    path.write_bytes(path.read_bytes().replace(b"CREATE TABLE message", b"CREATE TABLE \xffessage"))
    assert PARSER.identify(read_head(path)) is None
    assert Goose().identify(read_head(path)) is None


# --- The database, version 2 --------------------------------------------------------------------


def database_2(folder: Path, *rows: tuple[str, Any]) -> Path:
    path = folder / "opencode-next.db"
    connection = sqlite3.connect(path)
    connection.executescript(SCHEMA_2)
    connection.execute("INSERT INTO session VALUES ('ses_9', NULL, 'ses_1', '/w')")
    for number, (kind, data) in enumerate(rows, 1):
        row = (f"e{9 - number}", "ses_9", kind, number, json.dumps(data))
        connection.execute("INSERT INTO session_message VALUES (?, ?, ?, ?, ?)", row)
    connection.commit()
    connection.close()
    return path


def whole(*content: Any, at: int = AT) -> tuple[str, Any]:
    model = {"id": "claude-sonnet-4-5", "providerID": "anthropic"}
    time = {"created": at, "completed": at + 2500}
    data = {"agent": "build", "model": model, "content": content, "tokens": TOKENS, "time": time}
    return "assistant", data


def test_whole_messages_of_version_2_are_read_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    state = {"status": "completed", "input": {"path": "a"}, "content": [text("text")]}
    called = {"type": "tool", "id": "t1", "name": "read", "state": state}
    path = database_2(
        tmp_path,
        ("user", {"text": "hi", "time": {"created": AT}}),
        whole(text("Let me see."), called),
        ("model-switched", {"model": {"id": "x", "providerID": "y"}}),
        whole(text("Done."), at=AT + 9000),
        ("compaction", {"reason": "auto", "summary": "They said hi."}),
        ("shell", {"command": "ls", "output": "a b", "callID": "c"}),
        whole(text("Again."), at=AT + 18_000),
    )
    result = parse_file(PARSER, path)
    assert result.issues == []
    prompts = [texts(result, call.prompt) for call in result.calls]
    assert prompts == [
        ["hi"],
        ["hi", "Let me see.", 'read\n{"path":"a"}', "text"],
        ["They said hi.", "ls", "a b"],
    ]
    assert [call.usage for call in result.calls] == [USAGE] * 3
    (trace,) = result.traces
    assert (trace.id, trace.forked_from, trace.project) == ("ses_9", "ses_1", "/w")


def test_a_session_in_both_versions_tables_counts_once(tmp_path: Path) -> None:
    path = database(tmp_path, asked("hi"), (info(), [text("ho")]))
    connection = sqlite3.connect(path)
    connection.executescript(SCHEMA_2.partition(";\n")[2])
    for session in ("ses_1", "ses_2"):
        row = (f"e-{session}", session, "assistant", 1, json.dumps(whole(text("x"), at=AT + 7)[1]))
        connection.execute("INSERT INTO session_message VALUES (?, ?, ?, ?, ?)", row)
    connection.commit()
    connection.close()
    result = parse_file(PARSER, path)
    assert [call.trace for call in result.calls] == ["ses_1", "ses_2"]
    assert {trace.id for trace in result.traces} == {"ses_1", "ses_2"}


# --- Message files ------------------------------------------------------------------------------


def message_file(folder: Path, document: Any) -> Path:
    path = folder / "storage" / "message" / "ses_1" / "msg_1.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=2))
    return path


def test_a_message_s_file_is_a_call_without_text(tmp_path: Path) -> None:
    document = {"id": "msg_1", "sessionID": "ses_1", **info(cost=0.5), "path": {"cwd": "/w"}}
    result = parse_file(PARSER, message_file(tmp_path, document))
    (call,) = result.calls
    assert (call.usage, call.trace, call.completion) == (USAGE, "ses_1", None)
    assert [segment.kind for segment in result.tree.path(call.prompt)] == [Kind.UNLOGGED]
    assert call.logged_cost_usd == 0.5
    assert [(trace.id, trace.project) for trace in result.traces] == [("ses_1", "/w")]


def test_a_message_that_moved_to_the_database_is_the_same_call(tmp_path: Path) -> None:
    document = {"id": "msg_1", "sessionID": "ses_1", **info()}
    (old,) = parse_file(PARSER, message_file(tmp_path, document)).calls
    (new,) = read(tmp_path, asked("hi"), (info(), [text("ho")])).calls
    assert old.identity == new.identity


@pytest.mark.parametrize("bad", [{"tokens": 7}, {"time": "now"}, {"modelID": 7}, {"role": None}])
def test_a_bad_file_is_one_issue(tmp_path: Path, bad: dict[str, Any]) -> None:
    document = {"id": "msg_1", "sessionID": "ses_1", **info(), **bad}
    result = parse_file(PARSER, message_file(tmp_path, document))
    assert (result.calls, [issue.line for issue in result.issues]) == ([], [1])


def test_only_databases_and_messages_of_models_are_claimed(tmp_path: Path) -> None:
    def known(document: Any) -> bool:
        data = json.dumps(document, indent=2).encode()[:HEAD_BYTES]
        return PARSER.identify(Head(Path("msg_1.json"), data)) is not None

    names = {"id": "msg_1", "sessionID": "ses_1"}
    assert known({**names, **info()})
    assert known({**names, **info(), "error": {"data": "x" * HEAD_BYTES}})
    assert not known({**names, "role": "user", "time": {"created": AT}})
    assert not known({"id": "prt_1", "sessionID": "ses_1", "messageID": "msg_1", "type": "text"})
    assert not known({"id": "ses_1", "projectID": "p", "directory": "/w", "title": "Bees"})
    path = database(tmp_path, asked("hi"))
    assert PARSER.identify(read_head(path))
    assert Goose().identify(read_head(path)) is None
    other = tmp_path / "other.db"
    sqlite3.connect(other).executescript("CREATE TABLE message (id TEXT); CREATE TABLE session (i)")
    assert PARSER.identify(read_head(other)) is None


def test_the_sample_has_the_totals_its_page_states(sample_logs: Path) -> None:
    totals = sample_totals(PARSER, sample_logs / "opencode")
    assert totals == Totals(21, 166_062, 136_867, 29_111, 812, 0)


@pytest.mark.real
def test_no_real_log_of_another_format_is_claimed(real_logs: Path) -> None:
    for path in (path for path in real_logs.rglob("*") if path.is_file()):
        assert PARSER.identify(read_head(path)) is None, path

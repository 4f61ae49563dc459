"""Claude Code sessions: which lines are calls, whose calls they are, and where their prompts end."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest
from recording_tree import Parsed, RecordingTree, Seen, parse_file, parse_tail

from forkpoint.parsers.base import Reread
from forkpoint.parsers.chat import content_segments
from forkpoint.parsers.claude_code import ClaudeCode
from forkpoint.parsers.logs import HEAD_BYTES, Log, read_head
from forkpoint.parsers.records import Call, Kind, Trace, Usage

PARSER = ClaudeCode()
OPUS = "claude-opus-4-5-20251101"
SESSION = "11111111-0000-4000-8000-000000000000"
OTHER = "22222222-0000-4000-8000-000000000000"
AT = "2026-10-01T10:00:00.000Z"

Row = dict[str, Any]
Content = str | list[Row]


def row(kind: str, uuid: str, parent: str | None, **more: Any) -> Row:
    found: Row = {"parentUuid": parent, "isSidechain": False, "type": kind, "uuid": uuid}
    found |= {"sessionId": SESSION, "version": "2.1.119", "cwd": "/x", "timestamp": AT}
    return found | more


def user(uuid: str, parent: str | None, content: Content, **more: Any) -> Row:
    return row("user", uuid, parent, message={"role": "user", "content": content}, **more)


def answer(
    uuid: str,
    parent: str | None,
    message_id: str | None,
    content: Content,
    output: int = 10,
    **more: Any,
) -> Row:
    """One line of a response; its request id is "req-" and its message id, as a word."""
    message = {"id": message_id, "model": OPUS, "role": "assistant", "content": content}
    given: Row = {"message": message | {"usage": counts(output)}, "requestId": f"req-{message_id}"}
    return row("assistant", uuid, parent, **(given | more))


def counts(output: int, **more: Any) -> Row:
    found = {"input_tokens": 3, "cache_creation_input_tokens": 40, "cache_read_input_tokens": 500}
    return found | {"output_tokens": output} | more


def text(words: str) -> list[Row]:
    return [{"type": "text", "text": words}]


def tool(name: str) -> list[Row]:
    return [{"type": "tool_use", "id": name, "name": "Bash", "input": {"command": name}}]


def result(name: str, content: str) -> list[Row]:
    return [{"type": "tool_result", "tool_use_id": name, "content": f"{name}: {content}"}]


def with_usage(line: Row, usage: Row | None) -> Row:
    return line | {"message": line["message"] | {"usage": usage}}


def write(path: Path, rows: Iterable[Row | str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = (each if isinstance(each, str) else json.dumps(each) for each in rows)
    path.write_text("".join(f"{each}\n" for each in lines), encoding="utf-8")
    return path


def read(tmp_path: Path, *rows: Row | str) -> Parsed:
    return parse_file(PARSER, write(tmp_path / f"{SESSION}.jsonl", rows))


def said(parsed: Parsed, node: int | None) -> list[str]:
    """What a path holds behind its unlogged beginning."""
    assert node is not None
    first, *rest = parsed.tree.path(node)
    assert first.kind is Kind.UNLOGGED
    return [_words(seen) for seen in rest]


def _words(seen: Seen) -> str:
    content = str(seen.content)
    if seen.kind is Kind.TOOL_CALL:
        name, arguments = content.split("\n")
        return f"call {json.loads(arguments)['command'] if name == 'Bash' else name}"
    return content


def prompts(parsed: Parsed) -> list[list[str]]:
    return [said(parsed, call.prompt) for call in parsed.calls]


def completions(parsed: Parsed) -> list[list[str]]:
    return [said(parsed, call.completion) for call in parsed.calls]


def outputs(parsed: Parsed) -> list[int | None]:
    return [call.usage.output_tokens for call in parsed.calls if call.usage]


def begins(parsed: Parsed, call: Call) -> str:
    """The unlogged segment that a call's prompt begins with."""
    return str(parsed.tree.path(call.prompt)[0].content)


def only_path(parsed: Parsed) -> bool:
    """Whether the file's tree has no fork at all."""
    parents = parsed.tree.parents[1:]
    return len(parents) == len(set(parents))


# --- Which lines are calls ----------------------------------------------------------------------


def test_the_lines_of_one_response_are_one_call_with_its_largest_output(tmp_path: Path) -> None:
    parsed = read(
        tmp_path,
        user("u1", None, "hello"),
        answer("a1", "u1", "m1", [{"type": "thinking", "thinking": "hm"}], output=1),
        answer("a2", "a1", "m1", text("let me look"), output=8),
        answer("a3", "a2", "m1", tool("t1"), output=221),
        user("r1", "a3", result("t1", "a.py")),
        answer("b1", "r1", "m2", text("one file"), output=30),
    )
    assert parsed.issues == []
    first, second = parsed.calls
    assert first.usage == Usage(
        input_tokens=543, cache_read_tokens=500, cache_write_tokens=40, output_tokens=221
    )
    assert (first.line, second.line) == (2, 6)
    data = (tmp_path / f"{SESSION}.jsonl").read_bytes()
    assert all(data[call.offset :].startswith(b'{"parentUuid"') for call in parsed.calls)
    assert data[: second.offset].count(b"\n") == 5
    assert prompts(parsed) == [
        ["hello"],
        ["hello", "hm", "let me look", "call t1", "t1: a.py"],
    ]
    assert completions(parsed) == [
        ["hello", "hm", "let me look", "call t1"],
        ["hello", "hm", "let me look", "call t1", "t1: a.py", "one file"],
    ]


def test_a_smaller_output_on_a_later_line_does_not_win(tmp_path: Path) -> None:
    parsed = read(
        tmp_path,
        answer("a1", None, "m1", text("x"), output=300),
        answer("a2", "a1", "m1", text("y"), output=7),
        with_usage(answer("a3", "a2", "m1", text("z")), None),
    )
    assert outputs(parsed) == [300]


def test_a_call_is_known_by_its_message_id_and_told_apart_by_its_request_id(tmp_path: Path) -> None:
    parsed = read(
        tmp_path,
        answer("a1", None, "m1", text("x"), requestId="req-1"),
        answer("a2", "a1", "m1", text("y"), requestId="req-2"),
        answer("a3", "a2", "m2", text("z")),
    )
    assert [(call.identity, call.request) for call in parsed.calls] == [
        (("", "m1"), "req-1"),
        (("", "m1"), "req-2"),
        (("", "m2"), "req-m2"),
    ]


def test_gateways_that_leave_out_request_ids_still_have_one_call_a_message(tmp_path: Path) -> None:
    rows = [
        answer("a1", None, "m1", text("x"), output=2),
        answer("a2", "a1", "m1", text("y"), output=9),
    ]
    for each in rows:
        del each["requestId"]
    parsed = read(tmp_path, *rows)
    assert [(call.identity, call.request) for call in parsed.calls] == [(("", "m1"), None)]
    assert outputs(parsed) == [9]


def test_a_message_without_an_id_is_known_by_its_line(tmp_path: Path) -> None:
    parsed = read(
        tmp_path, answer("a1", None, None, text("x")), answer("a2", "a1", None, text("y"))
    )
    assert [call.identity for call in parsed.calls] == [("", "uuid:a1"), ("", "uuid:a2")]


def test_synthetic_and_error_messages_are_no_calls_and_end_the_turn(tmp_path: Path) -> None:
    synthetic = answer("a1", "u1", "m1", text("No response requested."))
    synthetic["message"]["model"] = "<synthetic>"
    parsed = read(
        tmp_path,
        user("u1", None, "hello"),
        synthetic,
        answer("a2", "a1", "m2", text("API Error: 529"), isApiErrorMessage=True),
        answer("a3", "a2", "m3", text("hi")),
    )
    assert [call.identity for call in parsed.calls] == [("", "m3")]
    assert parsed.issues == []


def test_the_usage_in_tool_use_results_is_never_counted(tmp_path: Path) -> None:
    summary = {"status": "completed", "totalTokens": 99_999, "usage": counts(9_999)}
    parsed = read(
        tmp_path,
        answer("a1", None, "m1", tool("t1")),
        user("r1", "a1", result("t1", "done"), toolUseResult=summary),
        answer("a2", "r1", "m2", text("ok")),
    )
    assert outputs(parsed) == [10, 10]


def test_spaced_json_reads_like_compact_json(tmp_path: Path) -> None:
    rows = growing_log()
    spaced = parse_file(PARSER, write(tmp_path / "s.jsonl", [json.dumps(each) for each in rows]))
    tight = [json.dumps(each, separators=(",", ":")) for each in rows]
    compact = parse_file(PARSER, write(tmp_path / "c.jsonl", tight))
    assert len(spaced.calls) > 5
    assert [each[4:] for each in facts(spaced).values()] == [
        each[4:] for each in facts(compact).values()
    ]


# --- What a call states -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stated", "expected"),
    [
        (
            counts(7, cache_creation={"ephemeral_5m_input_tokens": 10, "ephemeral_1h_input_tokens": 30}),
            Usage(
                input_tokens=543,
                cache_read_tokens=500,
                cache_write_tokens=40,
                cache_write_1h_tokens=30,
                output_tokens=7,
            ),
        ),
        (
            {
                "input_tokens": 3,
                "output_tokens": 7,
                "cache_creation": {"ephemeral_5m_input_tokens": 10, "ephemeral_1h_input_tokens": 30},
            },
            Usage(
                input_tokens=43, cache_write_tokens=40, cache_write_1h_tokens=30, output_tokens=7
            ),
        ),
        (
            {"input_tokens": 3, "output_tokens": 7, "cache_read_input_tokens": 500},
            Usage(input_tokens=503, cache_read_tokens=500, output_tokens=7),
        ),
        ({"output_tokens": 7}, Usage(output_tokens=7)),
        ({"input_tokens": 0, "output_tokens": 0}, Usage(input_tokens=0, output_tokens=0)),
        ({}, None),
        (None, None),
    ],
    ids=["split", "split alone", "no cache writes", "output alone", "zeros", "empty", "null"],
)  # fmt: skip
def test_input_is_the_sum_of_its_parts_and_missing_counts_stay_unknown(
    tmp_path: Path, stated: Row | None, expected: Usage | None
) -> None:
    parsed = read(tmp_path, with_usage(answer("a1", None, "m1", text("x")), stated))
    assert [call.usage for call in parsed.calls] == [expected]


def test_counts_that_contradict_each_other_are_an_issue(tmp_path: Path) -> None:
    split = {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 41}
    bad = with_usage(answer("a1", None, "m1", text("x")), counts(7, cache_creation=split))
    parsed = read(tmp_path, bad, answer("a2", "a1", "m2", text("y")))
    assert [(issue.line, issue.reason) for issue in parsed.issues] == [
        (1, "1 h cache writes (41) exceed all cache writes (40)")
    ]
    assert prompts(parsed) == [["x"]]


def test_a_call_has_its_model_time_tier_and_the_reason_of_its_miss(tmp_path: Path) -> None:
    plain = answer("a1", None, "m1", text("x"))
    plain["message"]["usage"] |= {"service_tier": "priority", "speed": "standard"}
    fast = answer("a2", "a1", "m2", text("y"), timestamp="2026-10-01T12:30:00.5+02:00")
    fast["message"]["usage"] |= {"service_tier": "standard", "speed": "fast"}
    fast["message"]["diagnostics"] = {
        "cache_miss_reason": {"type": "tools_changed", "cache_missed_input_tokens": 1}
    }
    other = answer("a3", "a2", "m3", text("z"))
    other["message"] |= {"model": "glm-4.6", "diagnostics": {"cache_miss_reason": None}}
    parsed = read(tmp_path, plain, fast, other)
    assert [
        (call.model, call.provider, call.service_tier, call.miss_reason) for call in parsed.calls
    ] == [
        (OPUS, "anthropic", "priority", None),
        (OPUS, "anthropic", "fast", "tools_changed"),
        ("glm-4.6", None, None, None),
    ]
    assert parsed.calls[1].started_at == datetime(2026, 10, 1, 10, 30, 0, 500_000, tzinfo=UTC)


def test_each_kind_of_block_is_a_segment_of_its_kind(tmp_path: Path) -> None:
    source = {"type": "base64", "media_type": "image/png", "data": "iVBO"}
    parsed = read(
        tmp_path,
        user("u1", None, [{"type": "image", "source": source}, *text("what is this?")]),
        answer("a1", "u1", "m1", [{"type": "redacted_thinking", "data": "EvcC"}]),
        answer("a2", "a1", "m1", [{"type": "thinking", "thinking": "", "signature": "c2ln"}]),
        answer("a3", "a2", "m1", [{"type": "server_tool_use", "id": "s1", "name": "web"}]),
        user("r1", "a3", [{"type": "tool_result", "tool_use_id": "s1", "content": text("a cat")}]),
        answer("a4", "r1", "m2", "plain"),
    )
    assert parsed.issues == []
    path = parsed.tree.path(parsed.calls[-1].completion or 0)
    assert path[1:] == [
        Seen(
            Kind.MEDIA,
            "user",
            json.dumps({"type": "image", "source": source}, separators=(",", ":")),
        ),
        Seen(Kind.TEXT, "user", "what is this?"),
        Seen(Kind.THINKING, "assistant", '"EvcC"'),
        Seen(Kind.THINKING, "assistant", "c2ln"),
        Seen(Kind.TOOL_CALL, "assistant", "web\n"),
        Seen(Kind.TOOL_RESULT, "user", "a cat"),
        Seen(Kind.TEXT, "assistant", "plain"),
    ]


def test_ids_of_tool_calls_are_no_part_of_what_was_sent(tmp_path: Path) -> None:
    """They are random: two sessions that make the same calls are one path."""

    def session(ids: str) -> list[Row]:
        call = {
            "type": "tool_use",
            "id": ids,
            "name": "Bash",
            "input": {"command": "ls", "cwd": None},
        }
        parts = [*text("a.py"), {"type": "tool_reference", "tool_name": "Read"}]
        results = {"type": "tool_result", "tool_use_id": ids, "content": parts}
        return [
            user(f"u-{ids}", None, "hello"),
            answer(f"a-{ids}", f"u-{ids}", f"m-{ids}", [call]),
            user(f"r-{ids}", f"a-{ids}", [results]),
            answer(f"b-{ids}", f"r-{ids}", f"n-{ids}", text("one file")),
        ]

    parsed = read(tmp_path, *session("one"), *session("two"))
    first, second = (parsed.calls[number].completion for number in (1, 3))
    assert first == second
    assert [seen.content for seen in parsed.tree.path(first or 0)][2:] == [
        'Bash\n{"command":"ls"}',
        "a.py",
        '{"type":"tool_reference","tool_name":"Read"}',
        "one file",
    ]


def test_a_conversation_has_the_segments_that_it_has_in_a_log_of_api_calls(tmp_path: Path) -> None:
    """Whatever a message may hold: both programs are sent the same blocks."""
    blocks: list[Row] = [
        {"type": "text", "text": "look"},
        {"type": "image", "source": {"type": "url", "url": "x"}},
        {"type": "tool_result", "tool_use_id": "t", "content": "found"},
        {"type": "tool_result", "tool_use_id": "t"},
        {"type": "tool_result", "tool_use_id": "t", "content": []},
        {"type": "tool_result", "tool_use_id": "t", "content": [*text("a"), *text("b")]},
        {"type": "tool_result", "content": [{"type": "image", "source": {"data": "iVBO"}}]},
    ]
    said_by_model: list[Row] = [
        {"type": "thinking", "thinking": "hm", "signature": "s"},
        {"type": "thinking", "thinking": "", "signature": "s"},
        {
            "type": "tool_use",
            "id": "t",
            "name": "Bash",
            "input": {"b": 1, "a": [None, "é"], "c": None},
        },
        {"type": "tool_use", "id": "t", "name": "Bash", "input": {}},
    ]
    for role, content in (("user", blocks), ("assistant", said_by_model)):
        first = user("u1", None, content) if role == "user" else answer("u1", None, "m1", content)
        parsed = read(tmp_path, first, answer("a9", "u1", "m9", text("end")))
        found = [tuple(seen) for seen in parsed.tree.path(parsed.calls[-1].prompt)[1:]]
        logged = msgspec.Raw(msgspec.json.encode(content))
        expected = content_segments(logged, Kind.TEXT, role)
        assert found == [tuple(each) for each in expected]


# --- Whose calls --------------------------------------------------------------------------------


def test_a_resumed_copy_gives_the_same_calls_on_the_same_path(tmp_path: Path) -> None:
    history = [
        user("u1", None, "hello"),
        answer("a1", "u1", "m1", text("hi")),
        user("u2", "a1", "more"),
        answer("a2", "u2", "m2", text("much")),
    ]
    copied = [each | {"sessionId": OTHER} for each in history]
    own = [
        user("u3", "a2", "else", sessionId=OTHER),
        answer("a3", "u3", "m3", text("x"), sessionId=OTHER),
    ]
    old = parse_file(PARSER, write(tmp_path / "old.jsonl", history))
    new = parse_file(PARSER, write(tmp_path / "new.jsonl", [*copied, *own]))
    assert [call.identity for call in new.calls] == [("", "m1"), ("", "m2"), ("", "m3")]
    for one, two in zip(old.calls, new.calls[:2], strict=True):
        assert (one.identity, one.request) == (two.identity, two.request)
        assert old.tree.path(one.prompt) == new.tree.path(two.prompt)
        assert old.tree.path(one.completion or 0) == new.tree.path(two.completion or 0)
    assert [call.trace for call in new.calls] == [OTHER] * 3
    assert [trace.id for trace in old.traces + new.traces] == [SESSION, OTHER]


def subagent_lines(session: str = SESSION) -> list[Row]:
    given = {"isSidechain": True, "agentId": "a77", "sessionId": session}
    return [
        user("s1", None, "look for it", **given),
        answer("s2", "s1", "n1", tool("t9"), **given),
        user("s3", "s2", result("t9", "b.py"), **given),
        answer("s4", "s3", "n2", text("found"), **given),
    ]


def test_a_subagent_s_file_is_a_child_trace_of_the_session(tmp_path: Path) -> None:
    path = write(tmp_path / SESSION / "subagents" / "agent-a77.jsonl", subagent_lines())
    parsed = parse_file(PARSER, path)
    assert parsed.traces == [
        Trace(
            id=f"{SESSION}/a77", parent=SESSION, project="/x", agent="Claude Code 2.1.119"
        )
    ]  # fmt: skip
    assert [(call.trace, call.sidechain) for call in parsed.calls] == [(f"{SESSION}/a77", True)] * 2
    assert prompts(parsed)[1] == ["look for it", "call t9", "t9: b.py"]


def test_sidechain_lines_in_the_session_s_file_are_child_traces_of_their_own(
    tmp_path: Path,
) -> None:
    first = [each | {"agentId": None} for each in subagent_lines()]
    second = [
        user("p1", None, "look elsewhere", isSidechain=True),
        answer("p2", "p1", "n5", text("nothing"), isSidechain=True),
    ]
    parsed = read(
        tmp_path,
        user("u1", None, "hello"),
        answer("a1", "u1", "m1", tool("t1")),
        first[0],
        second[0],
        *first[1:],
        second[1],
        user("r1", "a1", result("t1", "found")),
        answer("a2", "r1", "m2", text("there it is")),
    )
    assert {trace.id: trace.parent for trace in parsed.traces} == {
        SESSION: None,
        f"{SESSION}/s1": SESSION,
        f"{SESSION}/p1": SESSION,
    }
    assert {call.identity[1]: call.trace for call in parsed.calls if call.identity} == {
        "m1": SESSION,
        "n1": f"{SESSION}/s1",
        "n2": f"{SESSION}/s1",
        "n5": f"{SESSION}/p1",
        "m2": SESSION,
    }
    assert prompts(parsed)[-1] == ["hello", "call t1", "t1: found"]
    main, child = parsed.calls[0], parsed.calls[1]
    assert begins(parsed, main) != begins(parsed, child)


def test_a_response_replayed_in_a_sidechain_stays_the_session_s(tmp_path: Path) -> None:
    parsed = read(
        tmp_path,
        user("u1", None, "hello"),
        answer("a1", "u1", "m1", text("hi")),
        user("s1", None, "hello", isSidechain=True),
        answer("s2", "s1", "m1", text("hi"), isSidechain=True),
        answer("s3", "s2", "n1", text("and more"), isSidechain=True),
    )
    assert [(call.identity, call.trace) for call in parsed.calls] == [
        (("", "m1"), SESSION),
        (("", "n1"), f"{SESSION}/s1"),
    ]
    assert begins(parsed, parsed.calls[0]).endswith("False")
    assert parsed.tree.path(parsed.calls[0].completion or 0)[0].content.endswith("False")


def progress(uuid: str, parent: str | None, **data: Any) -> Row:
    return row("progress", uuid, parent, data={"type": "agent_progress", "agentId": "a77"} | data)


def bare(line: Row) -> Row:
    """A line as progress lines hold it: without its session, agent and parent."""
    return {name: line[name] for name in ("type", "uuid", "message", "requestId") if name in line}


def test_subagent_calls_that_stand_in_progress_lines_only_are_calls(tmp_path: Path) -> None:
    ask, first, back, second = (bare(each) for each in subagent_lines())
    parsed = read(
        tmp_path,
        user("u1", None, "hello"),
        answer("a1", "u1", "m1", tool("t1")),
        progress("p1", "a1", message=ask, normalizedMessages=[]),
        progress("p2", "p1", message=first, normalizedMessages=[]),
        progress("p3", "p2", message=back, normalizedMessages=[ask, first]),
        progress("p4", "p3", message=None, normalizedMessages=[ask, first, back, second]),
        user("r1", "p4", result("t1", "found")),
        answer("a2", "r1", "m2", text("there")),
    )
    assert parsed.issues == []
    assert [(call.identity, call.trace, call.sidechain, call.line) for call in parsed.calls] == [
        (("", "m1"), SESSION, False, 2),
        (("", "n1"), f"{SESSION}/a77", True, 4),
        (("", "n2"), f"{SESSION}/a77", True, 6),
        (("", "m2"), SESSION, False, 8),
    ]
    assert prompts(parsed) == [
        ["hello"],
        ["look for it"],
        ["look for it", "call t9", "t9: b.py"],
        ["hello", "call t1", "t1: found"],
    ]
    alone = parse_file(PARSER, write(tmp_path / "agent-a77.jsonl", subagent_lines()))
    for here, there in zip(parsed.calls[1:3], alone.calls, strict=True):
        assert (here.identity, here.request, here.trace) == (
            there.identity,
            there.request,
            there.trace,
        )
        assert parsed.tree.path(here.prompt) == alone.tree.path(there.prompt)


def test_progress_lines_without_ids_still_count_each_call_once(tmp_path: Path) -> None:
    def inner(output: int) -> Row:
        found = bare(answer("-", None, "n1", text("x"), output=output))
        del found["uuid"], found["requestId"]
        return found

    parsed = read(
        tmp_path,
        progress("p1", None, message=inner(2)),
        progress("p2", "p1", normalizedMessages=[inner(2), inner(50)]),
        progress("p3", "p2", type="hook_progress", hookEvent="PreToolUse"),
    )
    assert outputs(parsed) == [50]
    assert parsed.issues == []


# --- Where prompts part -------------------------------------------------------------------------


def test_results_of_parallel_calls_do_not_fork_the_conversation(tmp_path: Path) -> None:
    parsed = read(
        tmp_path,
        user("u1", None, "hello"),
        answer("a1", "u1", "m1", tool("t1")),
        answer("a2", "a1", "m1", tool("t2")),
        answer("a3", "a2", "m1", tool("t3")),
        user("r3", "a3", result("t3", "C")),
        user("r1", "a1", result("t1", "A")),
        user("r2", "a2", result("t2", "B")),
        answer("b1", "r2", "m2", text("three")),
    )
    assert only_path(parsed)
    calls = ["hello", "call t1", "call t2", "call t3"]
    assert completions(parsed)[0] == calls
    assert prompts(parsed)[1] == [*calls, "t3: C", "t1: A", "t2: B"]


def test_a_result_between_two_calls_of_one_response_does_not_fork_it(tmp_path: Path) -> None:
    parsed = read(
        tmp_path,
        answer("a1", None, "m1", tool("t1")),
        user("r1", "a1", result("t1", "A")),
        answer("a2", "a1", "m1", tool("t2")),
        user("r2", "a2", result("t2", "B")),
        answer("b1", "r2", "m2", text("two")),
    )
    assert only_path(parsed)
    assert prompts(parsed)[1] == ["call t1", "t1: A", "call t2", "t2: B"]


def rewound() -> list[Row]:
    return [
        user("u1", None, "hello"),
        answer("a1", "u1", "m1", text("hi")),
        row("system", "w1", "a1", subtype="turn_duration"),
        user("u2", "w1", "do it so"),
        answer("a2", "u2", "m2", text("done so")),
        user("u3", "w1", "no, do it otherwise"),
        answer("a3", "u3", "m3", text("done otherwise")),
        user("u4", "a3", "good"),
        answer("a4", "u4", "m4", text("bye")),
    ]


def test_an_edited_message_is_a_fork(tmp_path: Path) -> None:
    parsed = read(tmp_path, *rewound())
    assert prompts(parsed) == [
        ["hello"],
        ["hello", "hi", "do it so"],
        ["hello", "hi", "no, do it otherwise"],
        ["hello", "hi", "no, do it otherwise", "done otherwise", "good"],
    ]
    assert [call.trace for call in parsed.calls] == [SESSION] * 4
    assert [trace.id for trace in parsed.traces] == [SESSION]


def test_a_rewind_into_the_middle_of_a_response_s_tool_calls_is_a_fork(tmp_path: Path) -> None:
    parsed = read(
        tmp_path,
        answer("a1", None, "m1", tool("t1")),
        user("r1", "a1", result("t1", "A")),
        answer("a2", "r1", "m2", tool("t2")),
        user("r2", "a2", result("t2", "B")),
        user("u2", "r1", "stop, first something else"),
        answer("a3", "u2", "m3", text("yes?")),
    )
    assert prompts(parsed)[2] == ["call t1", "t1: A", "stop, first something else"]


def test_an_edited_first_message_begins_anew_behind_the_system_prompt(tmp_path: Path) -> None:
    parsed = read(
        tmp_path,
        user("u1", None, "hello"),
        answer("a1", "u1", "m1", text("hi")),
        user("u2", None, "hullo"),
        answer("a2", "u2", "m2", text("hi")),
    )
    assert prompts(parsed) == [["hello"], ["hullo"]]
    assert begins(parsed, parsed.calls[0]) == begins(parsed, parsed.calls[1])


def test_sessions_of_one_version_in_one_folder_share_their_unlogged_beginning(
    tmp_path: Path,
) -> None:
    first = answer("a1", None, "m1", text("x"))
    same = read(tmp_path, first | {"sessionId": OTHER})
    newer = read(tmp_path, first | {"version": "2.1.120"})
    elsewhere = read(tmp_path, first | {"cwd": "/y"})
    orphan = read(tmp_path, first | {"parentUuid": "in another file"})
    found = [begins(parsed, parsed.calls[0]) for parsed in (same, newer, elsewhere, orphan)]
    assert len(set(found)) == 4
    assert found[0] == begins(read(tmp_path, first), read(tmp_path, first).calls[0])


def boundary(uuid: str, before: str, **metadata: Any) -> Row:
    given = {"trigger": "auto", "preTokens": 155_025} | metadata
    return row(
        "system",
        uuid,
        None,
        subtype="compact_boundary",
        logicalParentUuid=before,
        compactMetadata=given,
    )


def summary(uuid: str, parent: str | None, words: str) -> Row:
    return user(uuid, parent, words, isCompactSummary=True, isVisibleInTranscriptOnly=True)


EXCHANGE = [
    user("u1", None, "hello"),
    answer("a1", "u1", "m1", text("hi")),
    user("u2", "a1", "more"),
    answer("a2", "u2", "m2", text("much more")),
]


def test_after_a_compaction_prompts_begin_with_the_summary(tmp_path: Path) -> None:
    parsed = read(
        tmp_path,
        *EXCHANGE,
        boundary("c1", "a2"),
        summary("c2", "c1", "what happened"),
        row("attachment", "x1", "c2", attachment={"type": "file"}),
        user("u3", "x1", "go on"),
        answer("a3", "u3", "m3", text("sure")),
    )
    assert prompts(parsed)[-1] == ["what happened", "go on"]
    assert begins(parsed, parsed.calls[-1]) == begins(parsed, parsed.calls[0])
    assert [call.trace for call in parsed.calls] == [SESSION] * 3


def test_a_summary_without_a_boundary_begins_a_new_prompt_too(tmp_path: Path) -> None:
    parsed = read(
        tmp_path,
        *EXCHANGE,
        summary("c2", "a2", "what happened"),
        user("u3", "c2", "go on"),
        answer("a3", "u3", "m3", text("sure")),
    )
    assert prompts(parsed)[-1] == ["what happened", "go on"]
    assert begins(parsed, parsed.calls[-1]) == begins(parsed, parsed.calls[0])


def test_a_microcompaction_stays_on_the_conversation(tmp_path: Path) -> None:
    parsed = read(
        tmp_path,
        *EXCHANGE,
        row("system", "c1", "a2", subtype="microcompact_boundary", microcompactMetadata=[1]),
        user("u3", "c1", "go on"),
        answer("a3", "u3", "m3", text("sure")),
    )
    assert prompts(parsed)[-1] == ["hello", "hi", "more", "much more", "go on"]


@pytest.mark.parametrize(
    "metadata",
    [
        {"preservedSegment": {"headUuid": "u2", "anchorUuid": "c2", "tailUuid": "a2"}},
        {"preservedMessages": {"anchorUuid": "c2", "uuids": ["u2", "a2"]}},
    ],
    ids=["as a segment", "as a list"],
)
def test_a_line_behind_messages_that_a_compaction_kept_goes_on_from_the_summary(
    tmp_path: Path, metadata: Row
) -> None:
    parsed = read(
        tmp_path,
        *EXCHANGE,
        boundary("c1", "a2", **metadata),
        summary("c2", "c1", "what happened"),
        user("u3", "a2", "go on"),
        answer("a3", "u3", "m3", text("sure")),
        boundary("c3", "a3"),
        summary("c4", "c3", "what happened since"),
        user("u4", "a2", "from before all that"),
        answer("a4", "u4", "m4", text("so")),
    )
    assert prompts(parsed)[2:] == [
        ["what happened", "go on"],
        ["hello", "hi", "more", "much more", "from before all that"],
    ]


def test_old_lines_that_a_second_compaction_appends_again_change_nothing(tmp_path: Path) -> None:
    rows = [
        *EXCHANGE,
        answer("a2b", "a2", "m2", tool("t1"), output=80),
        boundary("c1", "a2b"),
        summary("c2", "c1", "first summary"),
        user("u3", "c2", "go on"),
        answer("a3", "u3", "m3", text("sure")),
    ]
    again = [
        *EXCHANGE,
        row("system", "w1", "a2", subtype="stop_hook_summary"),
        boundary("c3", "w1"),
        summary("c4", "c3", "second summary"),
        user("u5", "c4", "and on"),
        answer("a5", "u5", "m5", text("sure")),
    ]
    parsed = read(tmp_path, *rows, *again)
    once = parse_file(PARSER, write(tmp_path / "once.jsonl", rows))
    assert list(facts(parsed).values())[:3] == list(facts(once).values())
    assert completions(parsed)[1] == ["hello", "hi", "more", "much more", "call t1"]
    assert prompts(parsed)[-1] == ["second summary", "and on"]
    assert len(parsed.calls) == 4


# --- Lines that cannot be read ------------------------------------------------------------------


def test_an_unparsable_line_is_one_issue_and_does_not_cut_the_conversation(tmp_path: Path) -> None:
    rows = [
        user("u1", None, "hello"),
        answer("a1", "u1", "m1", tool("t1")),
        json.dumps(user("r1", "a1", result("t1", "lost")))[:-40],
        answer("a2", "r1", "m2", text("hi")),
    ]
    parsed = read(tmp_path, *rows)
    (issue,) = parsed.issues
    assert (issue.line, "\n" in issue.reason) == (3, False)
    data = (tmp_path / f"{SESSION}.jsonl").read_bytes()
    assert data[: issue.offset].count(b"\n") == 2
    assert prompts(parsed) == [["hello"], ["hello", "call t1"]]


def test_a_result_that_was_logged_before_its_call_stays_on_the_conversation(tmp_path: Path) -> None:
    parsed = read(
        tmp_path,
        user("u1", None, "hello"),
        answer("a1", "u1", "m1", text("look")),
        user("r1", "a2", result("t1", "A")),
        answer("a2", "a1", "m1", tool("t1")),
        answer("a3", "r1", "m2", text("so")),
    )
    assert only_path(parsed)
    assert prompts(parsed)[1] == ["hello", "look", "t1: A", "call t1"]


def test_lines_of_unknown_types_are_passed_over_whatever_their_fields_hold(tmp_path: Path) -> None:
    odd = [
        row("agent-setting", "x1", "u1", message="a word", data=[1], compactMetadata="none"),
        row("attachment", "x2", "x1", timestamp=12, message={"content": {"no": "list"}}),
        {"type": "queue-operation", "sessionId": 5, "content": {"a": 1}},
        {"type": "pr-link", "uuid": {"not": "text"}, "cwd": []},
        {"type": "mode"},
        {"no": "type", "data": 1, "uuid": 3},
        '{"type": "cut", "title": "half \\ud83d", "message": 1}',
    ]
    parsed = read(tmp_path, user("u1", None, "hello"), *odd, answer("a1", "x2", "m1", text("hi")))
    assert parsed.issues == []
    assert prompts(parsed) == [["hello"]]


BAD_LINES: dict[str, Row | str] = {
    "not JSON": '{"type": "user", "uuid"',
    "no object": "[1, 2]",
    "a number": "7",
    "type of a wrong type": {"type": ["user"], "uuid": "x"},
    "uuid": row("user", "x", None) | {"uuid": 7},
    "parent": row("user", "x", None) | {"parentUuid": ["u1"]},
    "flag": row("assistant", "x", None, isSidechain="yes"),
    "time": row("user", "x", None, timestamp="yesterday"),
    "message": row("assistant", "x", None, message="hello"),
    "content": user("x", None, {"text": "hello"}),  # type: ignore[arg-type]
    "block": user("x", None, [5]),  # type: ignore[list-item]
    "text": user("x", None, [{"type": "text", "text": 5}]),
    "usage": with_usage(answer("x", None, "bad", "x"), [1]),  # type: ignore[arg-type]
    "count as text": with_usage(answer("x", None, "bad", "x"), {"output_tokens": "10"}),
    "count with a fraction": with_usage(answer("x", None, "bad", "x"), {"output_tokens": 0.5}),
    "negative count": with_usage(answer("x", None, "bad", "x"), {"input_tokens": -1}),
    "huge count": with_usage(answer("x", None, "bad", "x"), {"input_tokens": 10**30}),
    "progress": row("progress", "x", None, data={"message": [1]}),
    "deep": f'{{"type": "user", "message": {"[" * 5000}{"]" * 5000}}}',
    "deep elsewhere": f'{{"type": "mode", "x": {"[" * 5000}{"]" * 5000}}}',
}


@pytest.mark.parametrize("name", BAD_LINES)
def test_a_malformed_line_is_one_issue_and_all_others_are_kept(tmp_path: Path, name: str) -> None:
    before, after = EXCHANGE[:2], EXCHANGE[2:]
    parsed = read(tmp_path, *before, BAD_LINES[name], *after)
    (issue,) = parsed.issues
    assert issue.line == 3
    assert issue.reason and "\n" not in issue.reason
    good = read(tmp_path, *EXCHANGE)
    assert prompts(parsed) == prompts(good)
    assert outputs(parsed) == outputs(good)


def test_half_surrogates_and_numbers_json_forbids_are_read(tmp_path: Path) -> None:
    call = tool("t1")
    call[0]["input"] = {"command": "echo \ud83d"}
    parsed = read(
        tmp_path,
        user("u\ud800", None, "whole \U0001f600 cut \ud83d", cwd="/\ud800", sessionId="s\ud800"),
        answer("a1", "u\ud800", "m1", call),
        json.dumps(row("user", "u2", "a1", message={"content": "x"})).replace(
            '"x"', '"x", "n": NaN'
        ),
        answer("a2", "u2", "m2", text("y")),
    )
    assert parsed.issues == []
    assert prompts(parsed)[1] == ["whole \U0001f600 cut ?", "call echo ?", "x"]
    assert (parsed.traces[0].id, parsed.traces[0].project) == ("s?", "/?")
    assert parsed.log.checkpoint


@pytest.mark.parametrize("depth", range(900, 1000, 7))
def test_input_nested_to_any_depth_is_read_or_one_issue(tmp_path: Path, depth: int) -> None:
    nested = "[" * depth + "]" * depth
    line = json.dumps(answer("a1", None, "m1", tool("t1"))).replace('{"command": "t1"}', nested)
    assert nested in line
    parsed = read(tmp_path, line, answer("a2", "a1", "m2", text("x")))
    assert len(parsed.issues) + len(parsed.calls) == 2
    assert parsed.calls[-1].identity == ("", "m2")


# --- Files that grow ----------------------------------------------------------------------------


def growing_log() -> list[Row]:
    """Every way of going on: partial lines, parallel calls, a subagent in progress lines, one in
    sidechain lines, a rewind, a compaction that keeps messages, old lines again."""
    ask, first, back, second = (bare(each) for each in subagent_lines())
    kept = {"preservedMessages": {"anchorUuid": "c2", "uuids": ["a7"]}}
    return [
        {"type": "permission-mode", "permissionMode": "auto", "sessionId": SESSION},
        user("u1", None, "hello"),
        answer("a1", "u1", "m1", text("look"), output=1),
        answer("a2", "a1", "m1", tool("t1"), output=20),
        answer("a3", "a2", "m1", tool("t2"), output=90),
        user("r1", "a2", result("t1", "A")),
        user("r2", "a3", result("t2", "B")),
        answer("a4", "r2", "m2", tool("t3")),
        progress("p1", "a4", message=ask, normalizedMessages=[]),
        progress("p2", "p1", message=first, normalizedMessages=[ask]),
        progress("p3", "p2", message=back, normalizedMessages=[ask, first]),
        user("s9", None, "aside", isSidechain=True),
        progress("p4", "p3", message=second, normalizedMessages=[]),
        answer("s10", "s9", "n9", text("aside too"), isSidechain=True),
        user("r3", "p4", result("t3", "C")),
        answer("a5", "r3", "m3", text("so"), output=5),
        answer("a6", "a5", "m3", text("it is"), output=50),
        user("u2", "a6", "do it so"),
        answer("a7", "u2", "m4", text("done so")),
        user("u3", "a6", "no, otherwise"),
        answer("a8", "u3", "m5", text("done otherwise")),
        boundary("c1", "a8", **kept),
        summary("c2", "c1", "what happened"),
        user("u4", "a7", "go on"),
        answer("a9", "u4", "m6", text("sure"), output=3),
        user("u1", None, "hello"),
        answer("a1", "u1", "m1", text("look"), output=1),
        answer("a10", "a9", "m6", text("and done"), output=33),
    ]


def facts(*parts: Parsed) -> dict[Any, tuple[Any, ...]]:
    """Calls as they stand after all parts: a later copy within one file takes an earlier one's place.

    Paths stand in place of nodes, which number differently from tree to tree.
    """
    return {
        (call.identity, call.request): (
            call.line,
            call.offset,
            call.trace,
            call.sidechain,
            call.usage,
            call.model,
            call.started_at,
            part.tree.path(call.prompt),
            part.tree.path(call.completion or 0),
        )
        for part in parts
        for call in part.calls
    }


def test_a_file_read_in_two_parts_gives_what_it_gives_whole(tmp_path: Path) -> None:
    path = write(tmp_path / "s.jsonl", growing_log())
    lines = path.read_bytes().splitlines(keepends=True)
    whole = parse_file(PARSER, path)
    assert len(whole.calls) == 9 and whole.issues == []
    for cut in range(len(lines) + 1):
        path.write_bytes(b"".join(lines[:cut]))
        head = parse_file(PARSER, path)
        path.write_bytes(b"".join(lines))
        tail = parse_tail(PARSER, head)
        assert facts(head, tail) == facts(whole), cut
        assert sorted(trace.id for trace in head.traces + tail.traces) == sorted(
            trace.id for trace in whole.traces
        )
        assert head.issues + tail.issues == []


def test_a_file_read_line_by_line_gives_what_it_gives_whole(tmp_path: Path) -> None:
    path = write(tmp_path / "s.jsonl", growing_log())
    lines = path.read_bytes().splitlines(keepends=True)
    whole = parse_file(PARSER, path)
    path.write_bytes(b"")
    parts = [parse_file(PARSER, path)]
    for n in range(len(lines)):
        path.write_bytes(b"".join(lines[: n + 1]))
        parts.append(parse_tail(PARSER, parts[-1]))
    assert facts(*parts) == facts(whole)
    assert [trace for part in parts for trace in part.traces] == whole.traces


def test_a_response_whose_lines_stand_on_both_sides_of_the_cut_is_whole_again(
    tmp_path: Path,
) -> None:
    path = write(
        tmp_path / "s.jsonl", [user("u1", None, "q"), answer("a1", "u1", "m1", text("x"), 4)]
    )
    head = parse_file(PARSER, path)
    with path.open("a") as log:
        log.write(json.dumps(answer("a2", "a1", "m1", tool("t1"), output=70)) + "\n")
    tail = parse_tail(PARSER, head)
    assert (outputs(head), outputs(tail)) == ([4], [70])
    assert tail.calls[0].line == head.calls[0].line == 2
    assert prompts(tail) == [["q"]]
    assert completions(tail) == [["q", "x", "call t1"]]


def test_old_lines_appended_again_to_a_file_that_grows_change_nothing(tmp_path: Path) -> None:
    rows = [user("u0", None, "hello")]
    for n in range(20):
        rows.append(answer(f"a{n}", f"u{n}", f"m{n}", text(f"answer {n}")))
        rows.append(user(f"u{n + 1}", f"a{n}", f"question {n}"))
    path = write(tmp_path / "s.jsonl", rows)
    head = parse_file(PARSER, path)
    write(path, [*rows, *rows, boundary("c1", "u20"), summary("c2", "c1", "what happened")])
    tail = parse_tail(PARSER, head)
    assert len(head.calls) == 20
    assert facts(head, tail) == facts(parse_file(PARSER, path)) == facts(head)


def long_log() -> list[Row]:
    rows = [user("u0", None, "hello"), answer("a0", "u0", "m0", text("hi"))]
    parents = ["a0", *(f"x{n}" for n in range(599))]
    return rows + [row("attachment", f"x{n}", parents[n]) for n in range(600)]


@pytest.mark.parametrize("parent", ["x599", "x590"])
def test_a_line_that_hangs_off_a_recent_one_needs_nothing_else(tmp_path: Path, parent: str) -> None:
    path = write(tmp_path / "s.jsonl", long_log())
    head = parse_file(PARSER, path)
    more = [user("u1", parent, "more"), answer("a1", "u1", "m1", text("much"))]
    write(path, [*long_log(), *more])
    assert facts(head, parse_tail(PARSER, head)) == facts(parse_file(PARSER, path))


@pytest.mark.parametrize(
    "line",
    [
        user("u1", "x10", "more"),
        user("u1", "nowhere", "more"),
        long_log()[0],
        boundary("c1", "x599"),
        summary("c1", "x599", "what happened"),
    ],
    ids=["an old parent", "an unknown parent", "an old first line", "a boundary", "a summary"],
)
def test_a_line_whose_place_is_not_remembered_asks_for_the_whole_file(
    tmp_path: Path, line: Row
) -> None:
    path = write(tmp_path / "s.jsonl", long_log())
    head = parse_file(PARSER, path)
    write(path, [*long_log(), line])
    with pytest.raises(Reread):
        parse_tail(PARSER, head)


def test_what_was_forgotten_stays_forgotten_when_little_is_appended(tmp_path: Path) -> None:
    path = write(tmp_path / "s.jsonl", long_log())
    head = parse_file(PARSER, path)
    grown = [*long_log(), {"type": "permission-mode", "sessionId": SESSION}]
    write(path, grown)
    middle = parse_tail(PARSER, head)
    write(path, [*grown, *long_log()])
    with pytest.raises(Reread):
        parse_tail(PARSER, middle)


def test_a_checkpoint_of_another_version_asks_for_the_whole_file(tmp_path: Path) -> None:
    path = write(tmp_path / "s.jsonl", EXCHANGE)
    for checkpoint in (b'{"chains": []}', b"not json"):
        with pytest.raises(Reread):
            list(PARSER.parse(Log(path, checkpoint=checkpoint), RecordingTree()))


# --- Recognising files --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "rows",
    [
        EXCHANGE,
        ["half a li", *EXCHANGE],
        subagent_lines(),
        [{"type": "permission-mode", "permissionMode": "auto", "sessionId": SESSION}],
        [{"type": "file-history-snapshot", "messageId": "x", "snapshot": {}}],
        [{"type": "summary", "summary": "Tides", "leafUuid": "x"}],
        [progress("p1", None)],
        [user("u1", None, "q" * HEAD_BYTES)],
        [json.dumps(user("u1", None, "q" * HEAD_BYTES), separators=(",", ":"))],
    ],
    ids=[
        "messages",
        "after a bad line",
        "subagent",
        "permission mode first",
        "snapshot first",
        "summary first",
        "progress first",
        "a first line past the head",
        "the same in compact JSON",
    ],
)
def test_sessions_are_recognised_by_content(tmp_path: Path, rows: list[Row | str]) -> None:
    assert PARSER.identify(read_head(write(tmp_path / "notes.txt", rows)))


@pytest.mark.parametrize(
    "rows",
    [
        [],
        ["plain text"],
        ["[1]"],
        [{"type": "user", "message": {"role": "user"}}],
        [{"sessionId": SESSION, "uuid": "x"}],
        [{"sessionId": SESSION, "type": 5, "uuid": "x"}],
        [{"sessionId": SESSION, "type": "user", "text": "x"}],
        [{"type": "summary", "summary": "Tides"}],
        [{"type": "file-history-snapshot"}],
        ["x" * HEAD_BYTES],
    ],
)
def test_other_files_are_refused_whatever_their_name(
    tmp_path: Path, rows: list[Row | str]
) -> None:  # fmt: skip
    assert PARSER.identify(read_head(write(tmp_path / f"{SESSION}.jsonl", rows))) is None


# --- Real logs and sample logs ------------------------------------------------------------------


@pytest.mark.real
def test_real_sessions_have_no_false_forks_and_no_orphans(real_logs: Path) -> None:
    """None of these people rewound, so each session is one path, and so is each subagent."""
    paths = sorted((real_logs / "claude-code").rglob("*.jsonl"))
    assert len(paths) == 24
    for path in paths:
        parsed = parse_file(PARSER, path)
        assert parsed.issues == []
        depths: dict[str, int] = {}
        for call in parsed.calls:
            assert "\nafter " not in begins(parsed, call)
            depth = len(parsed.tree.path(call.prompt))
            assert depth > depths.get(call.trace, 0), (path, call.line)
            depths[call.trace] = depth
        parents = [parent for parent in parsed.tree.parents[1:] if parent > 0]
        first = {parsed.tree.path(call.prompt)[0] for call in parsed.calls}
        behind = [each for each in parents if parsed.tree.segments[each] not in first]
        assert len(behind) == len(set(behind)), path


@pytest.mark.real
def test_a_real_session_read_in_parts_gives_what_it_gives_whole(
    real_logs: Path, tmp_path: Path
) -> None:
    name = "entire-skills/1fb1fe555aea_1.jsonl"
    lines = (real_logs / "claude-code" / name).read_bytes().splitlines(keepends=True)
    path = tmp_path / "s.jsonl"
    path.write_bytes(b"".join(lines))
    whole = facts(parse_file(PARSER, path))
    for cut in (1, 60, 100, 133, 134, 135, 148):
        path.write_bytes(b"".join(lines[:cut]))
        head = parse_file(PARSER, path)
        path.write_bytes(b"".join(lines))
        if cut < 133:
            # Line 133 holds a result whose call stands in line 134.
            with pytest.raises(Reread):
                parse_tail(PARSER, head)
        else:
            assert facts(head, parse_tail(PARSER, head)) == whole, cut


@pytest.fixture(scope="module")
def ferrybook() -> dict[str, Parsed]:
    """The sample sessions, by the beginning of their names."""
    folder = Path(__file__).resolve().parent.parent / "sample_logs" / "claude-code"
    return {path.stem[:5]: parse_file(PARSER, path) for path in sorted(folder.rglob("*.jsonl"))}


def test_the_sample_sessions_hold_what_their_readme_says(
    ferrybook: dict[str, Parsed], sample_logs: Path
) -> None:
    readme = (sample_logs / "claude-code" / "README.md").read_text()
    assert {name: len(parsed.calls) for name, parsed in ferrybook.items()} == {
        "31d9c": 16,
        "5c1f7": 25,
        "agent": 6,
        "e8b2d": 15,
    }
    usages = {
        call.identity: call.usage for parsed in ferrybook.values() for call in parsed.calls
    }.values()
    assert len(usages) == 52
    for name in (
        "input_tokens",
        "cache_read_tokens",
        "cache_write_tokens",
        "cache_write_1h_tokens",
        "output_tokens",
    ):
        assert f"{sum(getattr(usage, name) for usage in usages):,}" in readme
    misses = {
        (name, call.line): call.usage.cache_write_tokens
        for name, parsed in ferrybook.items()
        for call in parsed.calls[1:]
        if call.usage and call.usage.cache_read_tokens == 0
    }
    assert sorted(misses) == [("5c1f7", 43), ("5c1f7", 67), ("e8b2d", 42)]
    for (_, line), written in misses.items():
        assert f"ine {line}" in readme and f"{written:,}" in readme
    reasons = [call.miss_reason for call in ferrybook["5c1f7"].calls]
    assert [n for n, reason in enumerate(reasons) if reason] == [17]


def test_the_sample_sessions_read_what_the_call_before_read_and_wrote(
    ferrybook: dict[str, Parsed],
) -> None:
    for name in ("5c1f7", "agent", "e8b2d"):
        usages = [call.usage for call in ferrybook[name].calls if call.usage]
        for before, after in pairwise(usages):
            warm = (before.cache_read_tokens or 0) + (before.cache_write_tokens or 0)
            assert after.cache_read_tokens in (warm, 0)


def test_the_sample_sessions_fork_where_the_user_did(ferrybook: dict[str, Parsed]) -> None:
    whole, copy, edited = ferrybook["5c1f7"], ferrybook["e8b2d"], ferrybook["31d9c"]
    assert only_path(whole)
    for one, two in zip(whole.calls[:10], copy.calls[:10], strict=True):
        assert one.identity == two.identity
        assert whole.tree.path(one.prompt) == copy.tree.path(two.prompt)
    assert completions(whole)[9] == prompts(copy)[10][:-1] == prompts(whole)[10][:-1]
    tried, again = prompts(edited)[3], prompts(edited)[6]
    assert tried[:-1] == again[:-1]
    assert tried[-1].startswith("Then use Decimal") and again[-1].startswith("Keep whole cents")
    assert prompts(edited)[13][0].startswith("This session is being continued")
    assert ferrybook["agent"].traces[0].parent == whole.traces[0].id

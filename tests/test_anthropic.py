"""Anthropic API logs: envelopes, exclusive input counts, prompts that share what the API shares."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from parsed_records import record_lines
from recording_tree import Parsed, Seen, parse_file, parse_tail

from forkpoint.parsers.anthropic import Anthropic
from forkpoint.parsers.logs import read_head
from forkpoint.parsers.openai import OpenAI
from forkpoint.parsers.records import Call, Kind

USER = {"role": "user", "content": "hello"}
TOOL = {"name": "f", "description": "does f", "input_schema": {"type": "object"}}
REQUEST = {
    "model": "claude-sonnet-4-5",
    "max_tokens": 100,
    "system": "be brief",
    "messages": [USER],
}
MARK = {"cache_control": {"type": "ephemeral"}}


def write(folder: Path, *records: Any, name: str = "log.jsonl") -> Path:
    path = folder / name
    path.write_bytes(record_lines(*records))
    return path


def parse(folder: Path, *records: Any) -> Parsed:
    return parse_file(Anthropic(), write(folder, *records))


def one(folder: Path, record: Any) -> tuple[Call, Parsed]:
    parsed = parse(folder, record)
    assert parsed.issues == []
    (call,) = parsed.calls
    return call, parsed


def message(*content: Any, **fields: Any) -> dict[str, Any]:
    """A Messages API response."""
    blocks = [{"type": "text", "text": each} if isinstance(each, str) else each for each in content]
    return {
        "id": "msg_01",
        "type": "message",
        "role": "assistant",
        "model": "claude-sonnet-4-5-20250929",
        "content": blocks,
        "stop_reason": "end_turn",
        "usage": {"input_tokens": 5, "output_tokens": 2},
        **fields,
    }


# ---- Envelopes


@pytest.mark.parametrize(
    "record",
    [
        REQUEST,
        {**REQUEST, "response": message("hi")},
        {"request": REQUEST, "response": message("hi")},
        {"request": json.dumps(REQUEST), "response": json.dumps(message("hi"))},
        {"request_body": REQUEST, "response_body": message("hi")},
        {"custom_id": "a", "params": REQUEST},
        {"params": REQUEST, "response": message("hi")},
        {"body": REQUEST, "response": {"status_code": 200, "body": message("hi")}},
        {"request": {"method": "POST", "url": "https://api.anthropic.com/v1/messages",
                     "headers": {"Anthropic-Version": "2023-06-01"}, "body": REQUEST},
         "response": {"status": 200, "body": message("hi")}},
    ],
)  # fmt: skip
def test_every_envelope_gives_the_same_prompt(record: Any, tmp_path: Path) -> None:
    call, parsed = one(tmp_path, record)
    assert parsed.prompt() == [
        Seen(Kind.SYSTEM, "system", "be brief"),
        Seen(Kind.TEXT, "user", "hello"),
    ]
    if "response" in record or "response_body" in record:
        assert parsed.completion()[2:] == [Seen(Kind.TEXT, "assistant", "hi")]
        assert call.identity == ("", "msg_01")
        assert call.model == "claude-sonnet-4-5-20250929"
    else:
        assert (call.completion, call.identity, call.usage) == (None, None, None)
        assert call.model == "claude-sonnet-4-5"
    assert call.provider == "anthropic"
    head = read_head(parsed.log.path)
    assert Anthropic().identify(head) is not None
    assert OpenAI().identify(head) is None


def test_batch_results_are_calls_behind_unlogged_prompts(tmp_path: Path) -> None:
    def result(n: int, kind: str = "succeeded", **fields: Any) -> dict[str, Any]:
        return {"custom_id": f"c{n}", "result": {"type": kind, **fields}}

    records = [
        result(1, message=message("same", id="msg_01")),
        result(2, "errored", error={"type": "invalid_request_error"}),
        result(3, "expired"),
        result(4, "canceled"),
        result(5, message=message("same", id="msg_02")),
    ]
    parsed = parse(tmp_path, *records)
    assert parsed.issues == []
    assert [call.identity for call in parsed.calls] == [("", "msg_01"), ("", "msg_02")]
    assert [segment.kind for segment in parsed.prompt(0)] == [Kind.UNLOGGED]
    assert parsed.prompt(0) != parsed.prompt(1)
    head = read_head(parsed.log.path)
    assert Anthropic().identify(head) is not None
    assert OpenAI().identify(head) is None
    failures = read_head(write(tmp_path, records[1], records[2]))
    assert Anthropic().identify(failures) is not None


def test_failed_requests_are_neither_calls_nor_issues(tmp_path: Path) -> None:
    error = {"type": "error", "error": {"type": "overloaded_error", "message": "busy"}}
    parsed = parse(
        tmp_path,
        {"request": REQUEST, "response": error},
        {"request": REQUEST, "response": None, "status_code": 529},
        {"request": REQUEST, "response": message("hi")},
    )
    assert (len(parsed.calls), parsed.issues) == (1, [])


# ---- Usage


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        (
            {"input_tokens": 4, "cache_read_input_tokens": 1000, "cache_creation_input_tokens": 200,
             "cache_creation": {"ephemeral_5m_input_tokens": 150, "ephemeral_1h_input_tokens": 50},
             "output_tokens": 9},
            (1204, 1000, 200, 50, 9),
        ),
        (
            {"input_tokens": 4, "cache_creation": {"ephemeral_5m_input_tokens": 150,
                                                   "ephemeral_1h_input_tokens": 50}},
            (204, None, 200, 50, None),
        ),
        ({"input_tokens": 4, "output_tokens": 0}, (4, None, None, None, 0)),
        ({"input_tokens": 4, "cache_read_input_tokens": None, "cache_creation": None},
         (4, None, None, None, None)),
        ({"cache_read_input_tokens": 7}, (None, 7, None, None, None)),
    ],
)  # fmt: skip
def test_input_tokens_are_made_inclusive(
    usage: Any, expected: tuple[int | None, ...], tmp_path: Path
) -> None:
    call, _ = one(tmp_path, {"request": REQUEST, "response": message("hi", usage=usage)})
    found = call.usage
    assert found is not None
    assert expected == (
        found.input_tokens, found.cache_read_tokens, found.cache_write_tokens,
        found.cache_write_1h_tokens, found.output_tokens,
    )  # fmt: skip


def test_usage_may_stand_beside_request_and_response(tmp_path: Path) -> None:
    response = message("hi")
    del response["usage"]
    usage = {"input_tokens": 3, "cache_read_input_tokens": 10}
    call, _ = one(tmp_path, {"request": REQUEST, "response": response, "usage": usage})
    assert call.usage is not None and call.usage.input_tokens == 13


@pytest.mark.parametrize(
    "usage",
    [
        {"input_tokens": -1},
        {"input_tokens": "5"},
        {"input_tokens": 5, "cache_creation_input_tokens": 1,
         "cache_creation": {"ephemeral_1h_input_tokens": 2}},
        {"input_tokens": 2**60},
        "none",
    ],
)  # fmt: skip
def test_impossible_usage_is_an_issue_and_leaves_no_node_behind(usage: Any, tmp_path: Path) -> None:
    bad = {"request": REQUEST, "response": message("hi", usage=usage)}
    parsed = parse(tmp_path, REQUEST, bad)
    assert [issue.line for issue in parsed.issues] == [2]
    assert len(parsed.calls) == 1
    assert len(parsed.tree.segments) == 3


@pytest.mark.parametrize(
    ("diagnostics", "reason"),
    [
        (None, None),
        ({"cache_miss_reason": None}, None),
        ({"cache_miss_reason": {"type": "tools_changed", "cache_missed_input_tokens": 9}}, "tools_changed"),
        ({"cache_miss_reason": {"type": "unavailable"}}, "unavailable"),
    ],
)  # fmt: skip
def test_the_reason_for_a_miss_is_the_provider_s_word(
    diagnostics: Any, reason: str | None, tmp_path: Path
) -> None:
    usage = {"input_tokens": 5, "service_tier": "priority"}
    response = message("hi", usage=usage, diagnostics=diagnostics)
    call, _ = one(tmp_path, {"request": REQUEST, "response": response})
    assert (call.miss_reason, call.service_tier) == (reason, "priority")


# ---- Prompts


def test_tools_come_before_system_and_system_before_messages(tmp_path: Path) -> None:
    request = {"messages": [USER], "system": [{"type": "text", "text": "a"}], "tools": [TOOL],
               "model": "claude-opus-4-5", "max_tokens": 1}  # fmt: skip
    _, parsed = one(tmp_path, request)
    assert [segment.kind for segment in parsed.prompt()] == [Kind.TOOLS, Kind.SYSTEM, Kind.TEXT]


def test_a_breakpoint_that_moves_changes_no_segment(tmp_path: Path) -> None:
    text, result = {"type": "text", "text": "hello"}, {"type": "tool_result", "tool_use_id": "t"}
    inner = {"type": "text", "text": "r"}
    plain = {
        **REQUEST,
        "tools": [TOOL],
        "system": [{"type": "text", "text": "be brief"}],
        "messages": [{"role": "user", "content": [text, {**result, "content": [inner]}]}],
    }
    marked = {
        **REQUEST,
        "tools": [{**TOOL, **MARK}],
        "system": [{"type": "text", "text": "be brief", **MARK}],
        "messages": [
            {"role": "user", "content": [
                {**MARK, **text}, {**result, "content": [{**inner, **MARK}], **MARK}]},
        ],
        "cache_control": {"type": "ephemeral", "ttl": "1h"},
    }  # fmt: skip
    stringy = {**plain, "system": "be brief"}
    stringy["messages"] = [{"role": "user", "content": [text, {**result, "content": "r"}]}]
    parsed = parse(tmp_path, plain, marked, stringy)
    assert parsed.issues == []
    assert len({call.prompt for call in parsed.calls}) == 1


def test_tools_in_another_order_fork_at_the_first_segment(tmp_path: Path) -> None:
    other = {**TOOL, "name": "g"}
    parsed = parse(
        tmp_path, {**REQUEST, "tools": [TOOL, other]}, {**REQUEST, "tools": [other, TOOL]}
    )
    assert parsed.prompt(0)[0] != parsed.prompt(1)[0]


def test_a_conversation_goes_on_where_its_response_ended(tmp_path: Path) -> None:
    thought = {"type": "thinking", "thinking": "hm", "signature": "abc"}
    hidden = {"type": "redacted_thinking", "data": "xyz"}
    use = {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"b": 1, "a": [True, None]}}
    response = message(thought, hidden, "let me look", {**use, "caller": {"type": "direct"}})
    answers = [
        {"type": "tool_result", "tool_use_id": "toolu_1", "content": "found", "is_error": False},
        {"type": "text", "text": "and now?", "citations": None},
    ]
    resent = [thought, hidden, {"type": "text", "text": "let me look"}, {**use, **MARK}]
    second = {
        **REQUEST,
        "messages": [
            USER,
            {"role": "assistant", "content": resent},
            {"role": "user", "content": answers},
        ],
    }
    parsed = parse(tmp_path, {"request": REQUEST, "response": response}, {"request": second})
    assert parsed.issues == []
    assert parsed.prompt(1) == [
        *parsed.completion(0),
        Seen(Kind.TOOL_RESULT, "user", "found"),
        Seen(Kind.TEXT, "user", "and now?"),
    ]
    assert parsed.completion(0)[2:] == [
        Seen(Kind.THINKING, "assistant", "hm"),
        Seen(Kind.THINKING, "assistant", "xyz"),
        Seen(Kind.TEXT, "assistant", "let me look"),
        Seen(Kind.TOOL_CALL, "assistant", 'f\n{"b":1,"a":[true,null]}'),
    ]


def test_every_kind_of_block_is_a_segment(tmp_path: Path) -> None:
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AA"}}
    search = {"type": "web_search_tool_result", "tool_use_id": "s", "content": []}
    content = [
        image,
        {"type": "document", "source": {"type": "text", "data": "d"}, **MARK},
        {"type": "tool_result", "tool_use_id": "a", "content": [{"type": "text", "text": "1"}, image]},
        {"type": "tool_result", "tool_use_id": "b", "content": "no", "is_error": True},
        {"type": "tool_result", "tool_use_id": "c"},
        {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {"query": "q"}},
        search,
        {"type": "invented_later", "x": {"cache_control": 1}, "y": None},
    ]  # fmt: skip
    system = {"role": "system", "content": "from now on in French"}
    _, parsed = one(
        tmp_path, {**REQUEST, "system": "", "messages": [{"role": "user", "content": content}, system]}
    )  # fmt: skip
    compact = json.dumps(image, separators=(",", ":"))
    assert parsed.prompt() == [
        Seen(Kind.MEDIA, "user", compact),
        Seen(Kind.MEDIA, "user", '{"type":"document","source":{"type":"text","data":"d"}}'),
        Seen(Kind.TOOL_RESULT, "user", "1"),
        Seen(Kind.MEDIA, "user", compact),
        Seen(Kind.TOOL_RESULT, "user error", "no"),
        Seen(Kind.TOOL_RESULT, "user", ""),
        Seen(Kind.TOOL_CALL, "user", 'web_search\n{"query":"q"}'),
        Seen(Kind.TOOL_RESULT, "user", json.dumps(search, separators=(",", ":"))),
        Seen(Kind.TEXT, "user", '{"type":"invented_later","x":{"cache_control":1}}'),
        Seen(Kind.SYSTEM, "system", "from now on in French"),
    ]


# ---- Metadata


@pytest.mark.parametrize(
    ("fields", "provider"),
    [
        ({}, "anthropic"),
        ({"provider": "bedrock"}, "aws"),
        ({"provider": "vertex_ai"}, "google"),
        ({"provider": "somebody"}, "anthropic"),
        ({"model": "us.anthropic.claude-sonnet-4-5-20250929-v1:0"}, "aws"),
        ({"url": "https://bedrock-runtime.eu-west-1.amazonaws.com/model/x/invoke"}, "aws"),
    ],
)
def test_the_provider_is_anthropic_unless_the_record_says_otherwise(
    fields: Any, provider: str, tmp_path: Path
) -> None:
    call, _ = one(tmp_path, {**REQUEST, **fields})
    assert call.provider == provider


def test_time_duration_and_session_come_from_the_record(tmp_path: Path) -> None:
    call, parsed = one(
        tmp_path,
        {
            "start_time": "2026-09-21T13:30:00Z",
            "end_time": "2026-09-21T13:30:01.500Z",
            "request": {**REQUEST, "metadata": {"user_id": "user_a_session_b"}},
            "response": message("hi"),
        },
    )
    assert call.started_at == datetime(2026, 9, 21, 13, 30, tzinfo=UTC)
    assert call.duration_s == 1.5
    assert call.trace == "user_a_session_b"
    assert [trace.project for trace in parsed.traces] == [tmp_path.name]


# ---- Growing files and hostile input


LOG = [
    {"timestamp": 1, "request": REQUEST},
    {"timestamp": 1, "request": REQUEST},
    {"request": {**REQUEST, "tools": [TOOL]}, "response": message("a"), "session_id": "s"},
    b"{broken",
    REQUEST,
    {"timestamp": 1, "request": REQUEST},
    {"request": {**REQUEST, "tools": [TOOL]}, "response": message("b", id="msg_02")},
]


@pytest.mark.parametrize("cut", range(len(LOG) + 1))
def test_head_and_tail_give_what_the_whole_gives(cut: int, tmp_path: Path) -> None:
    whole = parse_file(Anthropic(), write(tmp_path, *LOG))
    head = parse_file(Anthropic(), write(tmp_path, *LOG[:cut]))
    write(tmp_path, *LOG)
    tail = parse_tail(Anthropic(), head)
    seen = [
        (call.identity, call.trace, call.line, call.offset, part.tree.path(call.prompt))
        for part in (head, tail)
        for call in part.calls
    ]
    assert seen == [
        (call.identity, call.trace, call.line, call.offset, whole.tree.path(call.prompt))
        for call in whole.calls
    ]
    assert [*head.issues, *tail.issues] == whole.issues


@pytest.mark.parametrize(
    "record",
    [
        b"[1]",
        b'{"model": "claude", "max_tokens": 1}',
        {**REQUEST, "messages": {}},
        {**REQUEST, "messages": [{"role": "user"}]},
        {**REQUEST, "messages": [{"role": "tool", "content": "x"}]},
        {**REQUEST, "messages": [{"role": "user", "content": [{"text": "no type"}]}]},
        {**REQUEST, "messages": [{"role": "user", "content": ["x"]}]},
        {**REQUEST, "messages": [{"role": "user", "content": [{"type": "tool_result", "content": 5}]}]},
        {**REQUEST, "system": {"text": "x"}},
        {**REQUEST, "tools": "x"},
        {"request": REQUEST, "response": message("hi", content="text")},
        {"request": REQUEST, "response": message("hi", diagnostics=[])},
        {"request": REQUEST, "response": [{"type": "message_start"}]},
        {"request": REQUEST, "response": "event: message_start\ndata: {}"},
        {"request": REQUEST, "response": {"choices": [], "usage": {"prompt_tokens": 1}}},
        b'{"messages": [{"role": "user", "content": ' + b"[" * 90_000,
    ],
)  # fmt: skip
def test_a_bad_record_is_one_issue_and_the_rest_is_kept(record: Any, tmp_path: Path) -> None:
    parsed = parse(tmp_path, REQUEST, record, REQUEST)
    assert [issue.line for issue in parsed.issues] == [2]
    assert len(parsed.calls) == 2
    assert len(parsed.tree.segments) == 3


# ---- Identification


@pytest.mark.parametrize(
    "record",
    [
        {"model": "m", "max_tokens": 1, "system": "s", "messages": [USER]},
        {"model": "claude-3-haiku", "max_tokens": 1, "messages": [USER]},
        {"model": "anthropic/claude-opus-4.5", "max_tokens": 1, "messages": [USER]},
        {"model": "m", "messages": [USER], "tools": [TOOL]},
        {"messages": [{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "x"}]}]},
        {"anthropic_version": "bedrock-2023-05-31", "max_tokens": 1, "messages": [USER]},
        {"url": "/v1/messages", "body": {"messages": [USER]}},
        message("hi"),
    ],
)
def test_messages_api_records_are_told_from_chat_completions(record: Any, tmp_path: Path) -> None:
    head = read_head(write(tmp_path, record))
    assert Anthropic().identify(head) is not None
    assert OpenAI().identify(head) is None


@pytest.mark.parametrize(
    "record",
    [
        {"model": "claude-x", "max_tokens": 1, "messages": [{"role": "system", "content": "s"}, USER]},
        {"model": "claude-x", "max_tokens": 1, "messages": [USER],
         "tools": [{"type": "function", "function": {"name": "f"}}]},
        {"model": "claude-x", "messages": [USER], "max_completion_tokens": 5},
        {"model": "gpt-5", "max_tokens": 1, "messages": [USER]},
    ],
)  # fmt: skip
def test_chat_completions_requests_are_not_claimed(record: Any, tmp_path: Path) -> None:
    head = read_head(write(tmp_path, record))
    assert Anthropic().identify(head) is None
    assert OpenAI().identify(head) is not None


def test_a_file_of_both_apis_goes_to_the_more_frequent_one(tmp_path: Path) -> None:
    chat = {
        "request": {"model": "gpt-5", "messages": [USER]},
        "response": {"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 1}},
    }
    ours = {"request": REQUEST, "response": message("hi")}
    path = write(tmp_path, chat, ours, ours)
    head = read_head(path)
    assert Anthropic().identify(head) is not None
    assert OpenAI().identify(head) is None
    parsed = parse_file(Anthropic(), path)
    assert [issue.line for issue in parsed.issues] == [1]
    assert "Chat Completions" in parsed.issues[0].reason


# ---- Samples


def test_the_sample_reads_what_the_call_before_read_and_wrote(sample_logs: Path) -> None:
    path = sample_logs / "anthropic" / "code-review.jsonl"
    head = read_head(path)
    assert Anthropic().identify(head) is not None
    assert OpenAI().identify(head) is None
    parsed = parse_file(Anthropic(), path)
    assert parsed.issues == []
    assert len(parsed.calls) == 20
    misses = []
    for before, after in zip(parsed.calls, parsed.calls[1:], strict=False):
        assert before.usage and after.usage
        if before.trace != after.trace:
            continue
        written = (before.usage.cache_read_tokens or 0) + (before.usage.cache_write_tokens or 0)
        if after.usage.cache_read_tokens != written:
            misses.append(after)
    assert [(call.line, call.miss_reason) for call in misses] == [(7, "tools_changed")]


def test_the_sample_shares_its_prompts_but_for_the_sorted_tools(sample_logs: Path) -> None:
    parsed = parse_file(Anthropic(), sample_logs / "anthropic" / "code-review.jsonl")
    for n, (before, after) in enumerate(zip(parsed.calls, parsed.calls[1:], strict=False), start=2):
        old, new = parsed.tree.path(before.completion or 0), parsed.tree.path(after.prompt)
        assert (new[: len(old)] == old) is (n not in (7, 13)), n
    first, second = parsed.tree.path(parsed.calls[0].prompt), parsed.prompt(12)
    assert first[:-1] == second[: len(first) - 1]

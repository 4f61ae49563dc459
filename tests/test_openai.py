"""OpenAI API logs: envelopes, usage, prompts that share what the API would share."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from parsed_records import record_lines
from recording_tree import Parsed, RecordingTree, Seen, parse_file, parse_tail

from forkpoint.parsers.anthropic import Anthropic
from forkpoint.parsers.logs import HEAD_BYTES, Head, read_head
from forkpoint.parsers.openai import OpenAI
from forkpoint.parsers.raw_json import complete
from forkpoint.parsers.record_names import OCCURRENCE_WINDOW
from forkpoint.parsers.records import Call, Kind

TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
USER = {"role": "user", "content": "hello"}
SYSTEM = {"role": "system", "content": "be brief"}


def write(folder: Path, *records: Any, name: str = "log.jsonl") -> Path:
    path = folder / name
    path.write_bytes(record_lines(*records))
    return path


def parse(folder: Path, *records: Any) -> Parsed:
    return parse_file(OpenAI(), write(folder, *records))


def one(folder: Path, record: Any) -> tuple[Call, Parsed]:
    parsed = parse(folder, record)
    assert parsed.issues == []
    (call,) = parsed.calls
    return call, parsed


def chat(text: str | None = "hi", **fields: Any) -> dict[str, Any]:
    """A Chat Completions response with what APIs put around the message."""
    message = {"role": "assistant", "content": text, "refusal": None, "annotations": []}
    message |= fields.pop("message", {})
    return {
        "id": "chatcmpl-abcdefgh",
        "object": "chat.completion",
        "created": 1_760_000_000,
        "model": "gpt-5-2025-08-07",
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}],
        **fields,
    }


# ---- Envelopes


BODY = {"model": "gpt-5", "messages": [SYSTEM, USER]}


@pytest.mark.parametrize(
    "record",
    [
        BODY,
        {**BODY, "response": chat()},
        {**BODY, "response": "hi"},
        {"request": BODY, "response": chat()},
        {"request": json.dumps(BODY), "response": json.dumps(chat())},
        {"request_body": BODY, "response_body": chat()},
        {"body": BODY, "response": {"status_code": 200, "body": chat()}},
        {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": BODY},
        {"request": {"url": "https://api.openai.com/v1/chat/completions", "body": BODY},
         "response": {"status_code": 200, "body": chat()}},
        {"request": {"messages": BODY["messages"]}, "response": chat(), "model": "gpt-5"},
    ],
)  # fmt: skip
def test_every_envelope_gives_the_same_prompt(record: Any, tmp_path: Path) -> None:
    call, parsed = one(tmp_path, record)
    assert parsed.prompt() == [
        Seen(Kind.SYSTEM, "system", "be brief"),
        Seen(Kind.TEXT, "user", "hello"),
    ]
    assert call.model is not None and call.model.startswith("gpt-5")
    if "response" in record or "response_body" in record:
        assert parsed.completion()[2:] == [Seen(Kind.TEXT, "assistant", "hi")]
    else:
        assert call.completion is None
    assert OpenAI().identify(read_head(parsed.log.path)) is not None
    assert Anthropic().identify(read_head(parsed.log.path)) is None


def test_batch_outputs_have_a_completion_and_an_unlogged_prompt_of_their_own(
    tmp_path: Path,
) -> None:
    def output(n: int) -> dict[str, Any]:
        usage = {"prompt_tokens": 9, "completion_tokens": 1}
        body = chat("same", id=f"chatcmpl-aaaa{n}", usage=usage)
        response = {"status_code": 200, "request_id": f"r{n}", "body": body}
        return {"id": f"batch_req_{n}", "custom_id": f"c{n}", "response": response, "error": None}

    parsed = parse(tmp_path, output(1), output(2))
    assert [call.identity for call in parsed.calls] == [
        ("", "chatcmpl-aaaa1"),
        ("", "chatcmpl-aaaa2"),
    ]
    first, second = parsed.prompt(0), parsed.prompt(1)
    assert [segment.kind for segment in first + second] == [Kind.UNLOGGED, Kind.UNLOGGED]
    assert first != second
    assert parsed.calls[0].usage is not None and parsed.calls[0].usage.input_tokens == 9


def test_a_bare_response_without_any_id_shares_no_prompt_with_its_equal(tmp_path: Path) -> None:
    record = {"choices": [{"message": {"content": "x"}}], "usage": {"prompt_tokens": 3}}
    parsed = parse(tmp_path, record, record)
    assert parsed.prompt(0) != parsed.prompt(1)
    assert [call.identity for call in parsed.calls] == [None, None]


@pytest.mark.parametrize(
    "record",
    [
        {"request": BODY, "response": None, "error": {"message": "timeout"}},
        {"request": BODY, "response": {"error": {"message": "rate limited"}}},
        {"request": BODY, "response": {"status_code": 429, "body": {"detail": "slow down"}}},
        {"request": BODY, "status_code": 500},
        {"custom_id": "a", "response": None, "error": {"code": "batch_expired"}},
    ],
)
def test_failed_requests_are_neither_calls_nor_issues(record: Any, tmp_path: Path) -> None:
    parsed = parse(tmp_path, record, {"request": BODY, "response": chat()})
    assert len(parsed.calls) == 1
    assert parsed.issues == []


def test_a_failed_request_that_was_billed_is_a_call(tmp_path: Path) -> None:
    response = {"error": {"message": "cut off"}, "usage": {"prompt_tokens": 5}}
    call, _ = one(tmp_path, {"request": BODY, "response": response})
    assert call.usage is not None and call.usage.input_tokens == 5


# ---- Usage


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        (
            {"prompt_tokens": 2000, "completion_tokens": 50,
             "prompt_tokens_details": {"cached_tokens": 1920},
             "completion_tokens_details": {"reasoning_tokens": 30}},
            (2000, 1920, None, 50, 30),
        ),
        (
            {"prompt_tokens": 2000, "completion_tokens": 50,
             "prompt_tokens_details": {"cached_tokens": 1000, "cache_write_tokens": 900}},
            (2000, 1000, 900, 50, None),
        ),
        (
            {"input_tokens": 3000, "output_tokens": 70,
             "input_tokens_details": {"cached_tokens": 2048, "cache_write_tokens": 512},
             "output_tokens_details": {"reasoning_tokens": 64}},
            (3000, 2048, 512, 70, 64),
        ),
        (
            {"prompt_tokens": 100, "completion_tokens": 7, "prompt_cache_hit_tokens": 64,
             "prompt_cache_miss_tokens": 36},
            (100, 64, None, 7, None),
        ),
        ({"prompt_cache_hit_tokens": 64, "prompt_cache_miss_tokens": 36}, (100, 64, None, None, None)),
        ({"prompt_tokens": 5, "completion_tokens": 0}, (5, None, None, 0, None)),
        ({"prompt_tokens": 5, "prompt_tokens_details": None}, (5, None, None, None, None)),
    ],
)  # fmt: skip
def test_usage_counts_cached_tokens_within_the_input(
    usage: Any, expected: tuple[int | None, ...], tmp_path: Path
) -> None:
    call, _ = one(tmp_path, {"request": BODY, "response": chat(usage=usage)})
    found = call.usage
    assert found is not None
    assert expected == (
        found.input_tokens, found.cache_read_tokens, found.cache_write_tokens,
        found.output_tokens, found.reasoning_tokens,
    )  # fmt: skip


def test_usage_may_stand_beside_the_response_or_be_missing(tmp_path: Path) -> None:
    usage = {"prompt_tokens": 5, "completion_tokens": 1}
    parsed = parse(
        tmp_path,
        {"request": BODY, "response": {"choices": []}, "usage": usage},
        {**BODY, "usage": {"include": True}},
    )
    first, second = parsed.calls
    assert first.usage is not None and first.usage.input_tokens == 5
    assert first.completion is None
    assert second.usage is None


@pytest.mark.parametrize(
    "usage",
    [
        {"prompt_tokens": 10, "prompt_tokens_details": {"cached_tokens": 11}},
        {"completion_tokens": 1, "completion_tokens_details": {"reasoning_tokens": 2}},
        {"prompt_tokens": -1},
        {"prompt_tokens": "10"},
        {"prompt_tokens": 10**30},
        {"prompt_tokens": 1.5},
        [1, 2],
    ],
)
def test_impossible_usage_is_an_issue_and_leaves_no_node_behind(usage: Any, tmp_path: Path) -> None:
    parsed = parse(tmp_path, {"request": BODY, "response": chat(usage=usage)}, BODY)
    assert [(issue.line, issue.offset) for issue in parsed.issues] == [(1, 0)]
    assert len(parsed.calls) == 1
    assert len(parsed.tree.segments) == 3


def test_the_provider_s_own_words_are_kept(tmp_path: Path) -> None:
    response = {
        "id": "resp_1", "object": "response", "output": [], "service_tier": "flex",
        "prompt_cache_diagnostics": {"type": "miss", "reason": "tools_changed"},
        "usage": {"input_tokens": 5, "output_tokens": 1, "cost": 0.25},
    }  # fmt: skip
    call, _ = one(tmp_path, {"request": {"model": "gpt-5.6", "input": "q"}, "response": response})
    assert (call.miss_reason, call.service_tier) == ("tools_changed", "flex")
    assert call.logged_cost_usd == 0.25


# ---- Prompts


def test_a_chat_goes_on_where_its_response_ended(tmp_path: Path) -> None:
    call_text = '{"city": "Bern"}'
    calls = [
        {"id": "call_1", "type": "function", "index": 0,
         "function": {"name": "weather", "arguments": call_text}},
    ]  # fmt: skip
    first = {
        "request": {**BODY, "tools": [TOOL]},
        "response": chat(None, message={"tool_calls": calls}),
    }
    resent = {"role": "assistant", "content": "", "tool_calls": [
        {"function": {"arguments": call_text, "name": "weather"}, "type": "function", "id": "call_1"},
    ]}  # fmt: skip
    result = {"role": "tool", "tool_call_id": "call_1", "content": "rain"}
    second = {"messages": [SYSTEM, USER, resent, result], "tools": [TOOL], "model": "gpt-5"}
    parsed = parse(tmp_path, first, second)
    assert parsed.issues == []
    assert parsed.prompt(1) == [
        *parsed.completion(0),
        Seen(Kind.TOOL_RESULT, "tool", "rain"),
    ]
    assert parsed.completion(0)[-1] == Seen(Kind.TOOL_CALL, "assistant", f"weather\n{call_text}")


def test_plain_text_equals_one_text_part_and_markers_do_not_count(tmp_path: Path) -> None:
    part = {"type": "text", "text": "hello", "cache_control": {"type": "ephemeral"}}
    marked_tool = {**TOOL, "cache_control": {"type": "ephemeral"}}
    marked_function = {
        "type": "function",
        "function": {**TOOL["function"], "cache_control": {"type": "ephemeral"}},
    }
    breakpoint = {"type": "text", "text": "hello", "prompt_cache_breakpoint": {}}
    variants = [
        {"tools": [TOOL], "messages": [USER]},
        {"tools": [marked_tool], "messages": [{"role": "user", "content": [part]}]},
        {"tools": [marked_function], "messages": [{"role": "user", "content": [breakpoint]}]},
        {"tools": [TOOL], "messages": [{"content": ["hello"], "role": "user"}]},
    ]
    parsed = parse(tmp_path, *[{**variant, "model": "m"} for variant in variants])
    assert parsed.issues == []
    assert len({call.prompt for call in parsed.calls}) == 1


def test_spaces_and_escapes_in_json_do_not_make_tools_differ(tmp_path: Path) -> None:
    tool = {"type": "function", "function": {"name": "été", "parameters": {"b": 1.0, "a": 10**25}}}
    record = {"model": "m", "messages": [USER], "tools": [tool]}
    parsed = parse(
        tmp_path,
        json.dumps(record),
        json.dumps(record, separators=(",", ":"), ensure_ascii=False),
        json.dumps(record, indent=None, separators=(" , ", "  :  ")),
    )
    assert parsed.issues == []
    assert len({call.prompt for call in parsed.calls}) == 1
    reordered = {"function": tool["function"], "type": "function"}
    other = parse(tmp_path, record, {**record, "tools": [reordered]})
    assert len({call.prompt for call in other.calls}) == 2


def test_a_property_that_is_called_cache_control_stays_in_a_tool(tmp_path: Path) -> None:
    def tool(*properties: str) -> dict[str, Any]:
        schema = {"type": "object", "properties": {name: {} for name in properties}}
        return {"type": "function", "function": {"name": "fetch", "parameters": schema}}

    parsed = parse(
        tmp_path,
        {"model": "m", "messages": [USER], "tools": [tool("url", "cache_control")]},
        {"model": "m", "messages": [USER], "tools": [tool("url")]},
    )
    assert "cache_control" in parsed.prompt(0)[0].content
    assert parsed.calls[0].prompt != parsed.calls[1].prompt


def test_roles_names_and_kinds_of_content_keep_segments_apart(tmp_path: Path) -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    messages = [
        {"role": "developer", "content": "rules"},
        {"role": "user", "name": "ann", "content": [{"type": "text", "text": "look"}, image]},
        {"role": "assistant", "reasoning_content": "hm", "content": "yes"},
        {"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]},
        {"role": "assistant", "refusal": "no", "content": None},
        {"role": "assistant", "function_call": {"name": "f", "arguments": "{}"}},
        {"role": "function", "name": "f", "content": "1"},
        {"role": "user", "content": ""},
        {"role": "user", "content": [{"type": "new_kind", "x": 1, "y": None}]},
    ]
    _, parsed = one(tmp_path, {"model": "m", "messages": messages})
    assert parsed.prompt() == [
        Seen(Kind.SYSTEM, "developer", "rules"),
        Seen(Kind.TEXT, "user name=ann", "look"),
        Seen(Kind.MEDIA, "user name=ann", json.dumps(image, separators=(",", ":"))),
        Seen(Kind.THINKING, "assistant", "hm"),
        Seen(Kind.TEXT, "assistant", "yes"),
        Seen(Kind.TEXT, "assistant", "no"),
        Seen(Kind.TEXT, "assistant", "no"),
        Seen(Kind.TOOL_CALL, "assistant", "f\n{}"),
        Seen(Kind.TOOL_RESULT, "function name=f", "1"),
        Seen(Kind.TEXT, "user", ""),
        Seen(Kind.TEXT, "user", '{"type":"new_kind","x":1}'),
    ]


# ---- Responses API


def answer(n: int, text: str, **fields: Any) -> dict[str, Any]:
    content = [{"type": "output_text", "text": text, "annotations": [], "logprobs": []}]
    return {
        "id": f"resp_{n}", "object": "response", "status": "completed", "model": "gpt-5",
        "output": [
            {"id": f"rs_{n}", "type": "reasoning", "summary": [], "status": None},
            {"id": f"msg_{n}", "type": "message", "status": "completed", "role": "assistant",
             "content": content},
        ],
        **fields,
    }  # fmt: skip


def ask(text: Any, **fields: Any) -> dict[str, Any]:
    return {"model": "gpt-5", "instructions": "be kind", "tools": [TOOL], "input": text, **fields}


def test_resent_output_items_continue_the_response(tmp_path: Path) -> None:
    call = {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "f",
            "arguments": "{}", "status": "completed"}  # fmt: skip
    response = answer(1, "wait")
    response["output"].append(call)
    resent = [
        {"role": "user", "content": "q"},
        {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": None},
        {"role": "assistant", "content": [{"type": "output_text", "text": "wait"}]},
        {"type": "function_call", "call_id": "call_1", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "call_1", "output": "42"},
    ]
    parsed = parse(tmp_path, {"request": ask("q"), "response": response}, {"request": ask(resent)})
    assert parsed.issues == []
    assert parsed.prompt(1) == [*parsed.completion(0), Seen(Kind.TOOL_RESULT, "tool", "42")]
    assert [segment.kind for segment in parsed.prompt(0)] == [
        Kind.TOOLS,
        Kind.SYSTEM,
        Kind.TEXT,
    ]


def test_previous_response_id_continues_from_that_completion(tmp_path: Path) -> None:
    parsed = parse(
        tmp_path,
        {"request": ask("one"), "response": answer(1, "1")},
        {"request": ask("two", previous_response_id="resp_1"), "response": answer(2, "2")},
        {"request": ask("too", previous_response_id="resp_1"), "response": answer(3, "3")},
    )
    assert parsed.issues == []
    assert parsed.prompt(1) == [*parsed.completion(0), Seen(Kind.TEXT, "user", "two")]
    assert parsed.prompt(2) == [*parsed.completion(0), Seen(Kind.TEXT, "user", "too")]
    assert [call.trace for call in parsed.calls] == ["resp_1"] * 3


def test_other_tools_or_an_unknown_response_leave_the_history_unlogged(tmp_path: Path) -> None:
    parsed = parse(
        tmp_path,
        {"request": ask("one"), "response": answer(1, "1")},
        {"request": ask("two", tools=[], previous_response_id="resp_1")},
        {"request": ask("x", previous_response_id="resp_0"), "response": answer(5, "5")},
        {"request": ask("y", previous_response_id="resp_0")},
    )
    unlogged = Seen(Kind.UNLOGGED, "", "resp_1")
    assert parsed.prompt(1)[-2:] == [unlogged, Seen(Kind.TEXT, "user", "two")]
    assert unlogged not in parsed.completion(0)
    head = parsed.prompt(0)[:2]
    assert parsed.prompt(2)[:3] == [*head, Seen(Kind.UNLOGGED, "", "resp_0")]
    assert parsed.prompt(3)[:3] == parsed.prompt(2)[:3]
    assert [call.trace for call in parsed.calls] == ["resp_1", "resp_1", "resp_0", "resp_0"]


def test_a_conversation_kept_by_the_provider_goes_on(tmp_path: Path) -> None:
    talk = {"conversation": {"id": "conv_1"}}
    parsed = parse(
        tmp_path,
        {"request": ask("one", **talk), "response": answer(1, "1")},
        {"request": ask("two", conversation="conv_1"), "response": answer(2, "2")},
    )
    assert parsed.prompt(1) == [*parsed.completion(0), Seen(Kind.TEXT, "user", "two")]
    assert {call.trace for call in parsed.calls} == {"conv_1"}


def test_a_response_logged_again_without_its_request_does_not_continue_itself(
    tmp_path: Path,
) -> None:
    parsed = parse(tmp_path, {"request": ask("one"), "response": answer(1, "1")}, answer(1, "1"))
    assert [segment.kind for segment in parsed.prompt(1)] == [Kind.UNLOGGED]
    assert parsed.calls[0].identity == parsed.calls[1].identity


# ---- Metadata


@pytest.mark.parametrize(
    "value",
    [
        1_760_428_681,
        1_760_428_681.0,
        1_760_428_681_000,
        1_760_428_681_000_000,
        1_760_428_681_000_000_000,
        "1760428681",
        "2025-10-14T07:58:01Z",
        "2025-10-14T09:58:01.000000+02:00",
        "2025-10-14 07:58:01 UTC",
        "2025-10-14 07:58:01",
    ],
)
@pytest.mark.parametrize("name", ["timestamp", "created_at", "start_time", "created", "time"])
def test_times_are_read_in_every_unit(name: str, value: Any, tmp_path: Path) -> None:
    call, _ = one(tmp_path, {**BODY, name: value})
    assert call.started_at == datetime(2025, 10, 14, 7, 58, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("fields", "seconds"),
    [
        ({"start_time": 1_760_000_000, "end_time": 1_760_000_002.5}, 2.5),
        ({"duration_ms": 1500}, 1.5),
        ({"latency_s": 90}, 90.0),
        ({"latency": 2.25}, 2.25),
        ({"duration": 1800}, 1.8),
        ({"duration": 300}, None),
        ({"duration": "2s"}, None),
        ({"duration": -1}, None),
        ({}, None),
    ],
)
def test_durations_count_only_with_one_reading(
    fields: Any, seconds: float | None, tmp_path: Path
) -> None:
    call, _ = one(tmp_path, {**BODY, **fields})
    assert call.duration_s == seconds


def test_a_call_whose_end_is_known_started_its_duration_earlier(tmp_path: Path) -> None:
    call, _ = one(tmp_path, {**BODY, "end_time": 1_760_000_010, "latency_s": 4})
    assert call.started_at == datetime.fromtimestamp(1_760_000_006, UTC)


@pytest.mark.parametrize("value", ["yesterday", 1e300, -5, [], True, "9" * 5000])
def test_an_unreadable_time_is_an_issue(value: Any, tmp_path: Path) -> None:
    parsed = parse(tmp_path, {**BODY, "timestamp": value}, BODY)
    assert len(parsed.issues) == len(parsed.calls) == 1


@pytest.mark.parametrize(
    ("fields", "trace"),
    [
        ({"session_id": "s1"}, "s1"),
        ({"conversation_id": 17}, "17"),
        ({"thread_id": "t"}, "t"),
        ({"trace_id": "x"}, "x"),
        ({"metadata": {"session_id": "m"}}, "m"),
        ({"metadata": {"user_id": "u"}}, "u"),
        ({"request": {**BODY, "metadata": {"session_id": "r"}}}, "r"),
    ],
)
def test_a_session_id_names_the_trace(fields: Any, trace: str, tmp_path: Path) -> None:
    call, parsed = one(tmp_path, {**BODY, **fields})
    assert call.trace == trace
    assert [(each.id, each.project, each.agent) for each in parsed.traces] == [
        (trace, tmp_path.name, None)
    ]


def test_calls_without_a_session_share_a_trace_named_by_the_file(tmp_path: Path) -> None:
    parsed = parse(tmp_path, BODY, {**BODY, "session_id": "s"}, {**BODY, "model": "other"})
    traces = [call.trace for call in parsed.calls]
    assert traces[0] == traces[2] != "s"
    assert [trace.id for trace in parsed.traces] == [traces[0], "s"]
    renamed = parse_file(OpenAI(), write(tmp_path, BODY, name="other.jsonl"))
    assert renamed.calls[0].trace != traces[0]


@pytest.mark.parametrize(
    ("fields", "provider"),
    [
        ({}, None),
        ({"provider": "OpenAI"}, "openai"),
        ({"provider": "azure_openai"}, "azure"),
        ({"provider": "x-ai"}, "x-ai"),
        ({"provider": "openai.responses"}, "openai"),
        ({"provider": {"order": ["a"]}}, None),
        ({"provider": "my-gateway"}, None),
        ({"base_url": "https://openrouter.ai/api/v1"}, "openrouter"),
        ({"url": "https://me.openai.azure.com/openai/deployments/x"}, "azure"),
        ({"url": "https://api.deepseek.com/chat/completions"}, "deepseek"),
        ({"base_url": "http://localhost:8000/v1"}, None),
        ({"base_url": "https://api.openai.com.evil.example/v1"}, None),
        ({"response": chat(id="gen-1", provider="Anthropic")}, "openrouter"),
    ],
)
def test_the_provider_is_what_the_record_says(
    fields: Any, provider: str | None, tmp_path: Path
) -> None:
    call, _ = one(tmp_path, {**BODY, **fields})
    assert call.provider == provider


# ---- Identity


def test_a_response_id_is_the_identity(tmp_path: Path) -> None:
    parsed = parse(tmp_path, {"request": BODY, "response": chat()}, {**chat(), "timestamp": 1})
    assert [call.identity for call in parsed.calls] == [("", "chatcmpl-abcdefgh")] * 2


def test_equal_untimed_requests_are_calls_of_their_own(tmp_path: Path) -> None:
    custom = {"custom_id": "a", "body": BODY, "url": "/v1/chat/completions"}
    parsed = parse(tmp_path, BODY, BODY, custom)
    assert [call.identity for call in parsed.calls] == [None, None, None]


@pytest.mark.parametrize("field", [{"timestamp": 1_760_000_000}, {"request_id": "r"}, {"id": "r"}])
def test_a_copied_file_has_the_same_identities(field: Any, tmp_path: Path) -> None:
    record = {**BODY, **field}
    path = write(tmp_path, record, record)
    copy = tmp_path / "copy.jsonl"
    copy.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    first, second = parse_file(OpenAI(), path), parse_file(OpenAI(), copy)
    identities = [call.identity for call in first.calls]
    assert identities == [call.identity for call in second.calls]
    digest = hashlib.sha256(json.dumps(record).encode()).hexdigest()
    assert identities == [("", f"{digest}-0"), ("", f"{digest}-1")]


def test_ids_drawn_from_a_thousand_do_not_merge_different_calls(tmp_path: Path) -> None:
    one_record = {"request": BODY, "response": chat("a", id="chatcmpl-42")}
    other = {"request": BODY, "response": chat("b", id="chatcmpl-42")}
    parsed = parse(tmp_path, one_record, other)
    assert parsed.calls[0].identity != parsed.calls[1].identity
    assert None not in [call.identity for call in parsed.calls]


def test_occurrences_are_remembered_for_a_bounded_window(tmp_path: Path) -> None:
    repeated = {**BODY, "timestamp": 1}
    between = [{**BODY, "timestamp": 2 + n} for n in range(OCCURRENCE_WINDOW)]
    parsed = parse(tmp_path, repeated, *between[:-1], repeated, *between, repeated)
    same = [call.identity for call in parsed.calls if call.started_at.timestamp() == 1]
    assert [identity[1][-2:] for identity in same if identity] == ["-0", "-1", "-0"]


# ---- Growing files


LONG_LOG = [
    {"request": ask("one"), "response": answer(1, "1")},
    {**BODY, "timestamp": 1},
    {**BODY, "timestamp": 1},
    "{broken",
    {"request": ask("two", previous_response_id="resp_1"), "response": answer(2, "2")},
    {"request": BODY, "response": chat()},
    {**BODY, "timestamp": 1},
    {"request": ask("x", tools=[], previous_response_id="resp_2"), "response": answer(3, "3")},
    {"request": {**ask("y"), "instructions": None, "tools": None, "store": False}},
    {"request": {"model": "m", "input": "z"}, "response": answer(4, "4")},
    {"request": {"model": "m", "input": "z", "previous_response_id": "resp_4"}},
]


@pytest.mark.parametrize("cut", range(len(LONG_LOG) + 1))
def test_head_and_tail_give_what_the_whole_gives(cut: int, tmp_path: Path) -> None:
    whole = parse_file(OpenAI(), write(tmp_path, *LONG_LOG))
    head = parse_file(OpenAI(), write(tmp_path, *LONG_LOG[:cut]))
    write(tmp_path, *LONG_LOG)
    tail = parse_tail(OpenAI(), head)

    def shown(parsed: Parsed, call: Call) -> tuple[Any, ...]:
        end = parsed.tree.path(call.completion) if call.completion is not None else None
        where = (call.identity, call.trace, call.line, call.offset)
        return (*where, parsed.tree.path(call.prompt), end)

    parts = [shown(part, call) for part in (head, tail) for call in part.calls]
    assert parts == [shown(whole, call) for call in whole.calls]
    assert [*head.issues, *tail.issues] == whole.issues
    assert {trace.id for part in (head, tail) for trace in part.traces} == {
        trace.id for trace in whole.traces
    }


# ---- Hostile input


@pytest.mark.parametrize(
    "line",
    [
        b"{",
        b"[]",
        b"null",
        b'"text"',
        b"\xff\xfe{}",
        b"{}",
        b'{"messages": {}}',
        b'{"messages": [1]}',
        b'{"messages": [{"role": 1}]}',
        b'{"messages": [{"content": "x"}]}',
        b'{"messages": [{"role": "user", "content": 5}]}',
        b'{"messages": [{"role": "user", "content": [[]]}]}',
        b'{"messages": [{"role": "user", "content": "\xff"}]}',
        b'{"messages": [], "tools": {}}',
        b'{"messages": [], "tools": [' + b"[" * 100_000,
        b'{"messages": [], "tools": [' + b"[" * 5000 + b"]" * 5000 + b"]}",
        b'{"messages": [], "session_id": {}}',
        b'{"messages": [], "model": 5}',
        b'{"input": [1]}',
        b'{"input": [{"a": 1}]}',
        b'{"input": 7}',
        b'{"request": {}, "response": {}}',
        b'{"request": {"messages": []}, "response": [{"object": "chat.completion.chunk"}]}',
        b'{"request": {"messages": []}, "response": "data: {}"}',
        b'{"request": {"messages": []}, "response": {"choices": {}}}',
        b'{"request": {"messages": []}, "response": {"id": [], "choices": []}}',
        b'{"request": {"messages": []}, "response": {"output": [{"role": "assistant"}, "x"]}}',
        b'{"request": {"messages": []}, "response": {"type": "message", "role": "assistant"}}',
        b'{"previous_response_id": 5, "input": "x"}',
    ],
)
def test_a_bad_record_is_one_issue_and_the_rest_is_kept(line: bytes, tmp_path: Path) -> None:
    parsed = parse(tmp_path, BODY, line, BODY)
    (issue,) = parsed.issues
    assert (issue.line, issue.offset) == (2, len(json.dumps(BODY)) + 1)
    assert issue.reason and "\n" not in issue.reason
    assert len(parsed.calls) == 2
    assert len(parsed.tree.segments) == 3


def test_what_strict_json_forbids_is_mended(tmp_path: Path) -> None:
    line = (
        rb'{"model": "m", "temperature": NaN, "messages": '
        rb'[{"role": "user", "content": "cut \ud83d"}], "tools": [{"x": Infinity, "y": "\udc00"}]}'
    )
    _, parsed = one(tmp_path, line)
    assert parsed.prompt() == [
        Seen(Kind.TOOLS, "", '{"y":"\ufffd"}'),
        Seen(Kind.TEXT, "user", "cut \ufffd"),
    ]


def test_a_last_line_without_its_end_is_an_issue_there(tmp_path: Path) -> None:
    path = write(tmp_path, BODY)
    path.write_bytes(path.read_bytes() + b'{"model": "gpt-5", "mess')
    parsed = parse_file(OpenAI(), path)
    assert len(parsed.calls) == 1 and len(parsed.issues) == 1
    assert parsed.log.truncated


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["messages", "role", "content", "type", "text", "input", "output", "usage",
                         "request", "response", "body", "choices", "message", "tools", "id",
                         "timestamp", "metadata", "error", "instructions", "function"]),
        inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


@given(value=JSON)
def test_no_json_value_raises(value: Any, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = write(tmp_path_factory.getbasetemp(), value, BODY)
    for parser in (OpenAI(), Anthropic()):
        parsed = parse_file(parser, path)
        assert parsed.calls
        parser.identify(read_head(path))


# ---- Identification


def test_a_first_line_longer_than_the_head_is_recognised(tmp_path: Path) -> None:
    long = {"role": "user", "content": "x" * HEAD_BYTES}
    claude = {"model": "claude-sonnet-4-5", "max_tokens": 9, "system": "s", "messages": [long]}
    for record, parser in (
        ({"model": "m", "messages": [long]}, OpenAI()),
        ({"request": {"model": "m", "messages": [SYSTEM, long]}, "response": chat()}, OpenAI()),
        ({"messages": [{"content": long["content"], "role": "user"}]}, OpenAI()),
        (claude, Anthropic()),
        ({"request": claude}, Anthropic()),
    ):
        head = read_head(write(tmp_path, record))
        claims = [each.name for each in (OpenAI(), Anthropic()) if each.identify(head)]
        assert claims == [parser.name]


@given(cut=st.integers(1, 400), ascii_only=st.booleans())
def test_every_beginning_of_a_record_can_be_completed(cut: int, ascii_only: bool) -> None:
    record = {"a": 'q"\\é{,', "b": [1, -2.5e3, True, None, {}, []], "c": {"messages": [USER]}}
    data = json.dumps(record, ensure_ascii=ascii_only).encode()[:cut]
    found = json.loads(complete(data))
    assert isinstance(found, dict)
    if cut >= len(json.dumps(record, ensure_ascii=ascii_only).encode()):
        assert found == record


OTHERS = {
    "claude-code": [
        {"type": "summary", "summary": "x", "leafUuid": "l"},
        {"type": "user", "uuid": "u", "sessionId": "s", "message": USER},
        {"type": "assistant", "uuid": "v", "sessionId": "s", "message": {
            "id": "msg_1", "type": "message", "role": "assistant", "content": [],
            "usage": {"input_tokens": 1}}},
    ],
    "codex": [
        {"type": "session_meta", "payload": {"id": "x"}},
        {"type": "response_item", "payload": {"type": "message", "role": "user", "content": []}},
    ],
    "codex, old": [
        {"id": "x", "timestamp": "2025-06-01T00:00:00Z", "instructions": None},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "a"}]},
    ],
    "pi": [{"type": "message", "timestamp": "2025-11-20", "message": {**USER, "usage": {"input": 1}}}],
    "llm-call-jsonl": [{"timestamp": 1, "input": "user: a", "output": "b", "session_id": "s"}],
    "llm-call-jsonl with a model": [{"model": "m", "input": "a", "output": "b"}],
    "token-ids": [{"request_id": "r", "token_ids": [1, 2], "tenant": "t"}],
    "mooncake": [{"timestamp": 0, "input_length": 9, "output_length": 1, "hash_ids": [1]}],
    "verl": [{"input": "p", "output": "c", "gts": "g", "score": 1.0, "step": 3}],
    "NeMo-Gym": [{"responses_create_params": {"input": "x"}, "response": answer(1, "a"), "reward": 1}],
    "training data": [{"messages": [USER, {"role": "assistant", "content": "a"}]}],
    "scored rollouts": [{"model": "m", "messages": [USER], "reward": 1.0}],
    "embeddings": [{"model": "text-embedding-3-small", "input": "text"}],
    "instructions": [{"instruction": "do", "response": "done"}],
    "web log": [{"request": {"url": "https://example.org/"}, "response": {"status": 200}}],
    "an array, one record a line": ["[", json.dumps(BODY) + ",", json.dumps(BODY), "]"],
    "a pretty-printed document": [json.dumps({"request": BODY}, indent=1)],
    "nothing": [],
    "binary": [b"\x00\x01\x02"],
}  # fmt: skip


@pytest.mark.parametrize("name", OTHERS)
def test_other_formats_are_left_alone(name: str, tmp_path: Path) -> None:
    head = read_head(write(tmp_path, *OTHERS[name]))
    assert OpenAI().identify(head) is None
    assert Anthropic().identify(head) is None


def test_a_claude_model_behind_an_openai_gateway_is_openai(tmp_path: Path) -> None:
    record = {
        "request": {"model": "claude-sonnet-4-5", "max_tokens": 10, "messages": [USER]},
        "response": chat(usage={"prompt_tokens": 5, "completion_tokens": 1}),
    }
    head = read_head(write(tmp_path, record))
    assert OpenAI().identify(head) is not None
    assert Anthropic().identify(head) is None


@given(data=st.binary(max_size=300))
def test_identify_never_raises(data: bytes) -> None:
    for prefix in (b"", b'{"messages": ', b'{"request": {"messages": [{"role": "user"'):
        head = Head(Path("x.jsonl"), prefix + data)
        assert not (OpenAI().identify(head) and Anthropic().identify(head))


@pytest.mark.real
def test_no_real_log_of_another_format_is_claimed(real_logs: Path) -> None:
    files = [path for path in real_logs.rglob("*") if path.is_file()]
    assert len(files) > 100
    for path in files:
        head = read_head(path)
        assert OpenAI().identify(head) is None, path
        assert Anthropic().identify(head) is None, path


# ---- Samples


def test_the_sample_logs_read_without_issues(sample_logs: Path) -> None:
    paths = sorted((sample_logs / "openai").glob("*.jsonl"))
    assert paths
    for path in paths:
        head = read_head(path)
        assert OpenAI().identify(head) is not None
        assert Anthropic().identify(head) is None
        parsed = parse_file(OpenAI(), path)
        assert parsed.issues == []
        assert len(parsed.calls) == len(path.read_bytes().splitlines())
        assert all(call.usage is not None and call.started_at for call in parsed.calls)


def test_a_time_in_the_system_prompt_ends_the_sharing_of_the_sample(sample_logs: Path) -> None:
    parsed = parse_file(OpenAI(), sample_logs / "openai" / "support-bot.jsonl")
    by_trace: dict[str, list[Call]] = {}
    for call in parsed.calls:
        by_trace.setdefault(call.trace, []).append(call)
    assert len(by_trace) == 4

    def shared(tree: RecordingTree, calls: list[Call]) -> int:
        paths = [tree.path(call.prompt) for call in calls[:2]]
        return sum(a == b for a, b in zip(*paths, strict=False))

    shares = {
        trace: shared(parsed.tree, calls) >= len(parsed.tree.path(calls[0].prompt))
        for trace, calls in by_trace.items()
    }
    assert list(shares.values()).count(False) == 1
    (volatile,) = [calls for trace, calls in by_trace.items() if not shares[trace]]
    assert all(call.usage and not call.usage.cache_read_tokens for call in volatile)
    others = [call for calls in by_trace.values() if calls is not volatile for call in calls]
    assert sum(call.usage.cache_read_tokens or 0 for call in others if call.usage) > 10_000


# --- Several choices, and logprobs ----------------------------------------------------------------


def scored(text: str, *logprobs: float) -> dict[str, Any]:
    """A choice of one-letter tokens with their logprobs."""
    content = [
        {
            "token": letter,
            "logprob": logprob,
            "bytes": [ord(letter)],
            "top_logprobs": [
                {"token": letter, "logprob": logprob},
                {"token": "z", "logprob": -5.0},
            ],
        }
        for letter, logprob in zip(text, logprobs, strict=True)
    ]
    return {"message": {"role": "assistant", "content": text}, "logprobs": {"content": content}}


def test_several_choices_are_one_call_and_a_group_of_rollouts(tmp_path: Path) -> None:
    response = {**chat("yes"), "choices": [scored("yes", -1, -2, -3), scored("no", -4, -0.5)]}
    again = {**response, "id": "chatcmpl-again"}
    parsed = parse(
        tmp_path,
        {"request": {**BODY, "n": 2}, "response": response},
        {"request": {**BODY, "n": 2}, "response": again},
    )
    assert parsed.issues == []
    assert len(parsed.calls) == 2
    assert parsed.completion(0)[-1].content == "yes"
    rollouts = [trace for trace in parsed.traces if trace.group is not None]
    assert len(rollouts) == 4
    assert len({trace.id for trace in rollouts}) == 4
    assert len({trace.group for trace in rollouts}) == 1
    for trace in rollouts:
        assert trace.prompt == parsed.calls[0].prompt
        assert trace.parent == parsed.calls[0].trace
    ends = [parsed.tree.path(trace.leaf)[-1].content for trace in rollouts if trace.leaf]
    assert ends == ["yes", "no", "yes", "no"]
    first, second = parsed.scores[:2]
    assert (first.trace, second.trace) == (rollouts[0].id, rollouts[1].id)
    assert first.tokens == ["y", "e", "s"]
    assert second.logprobs == [-4, -0.5]
    assert second.top == [[-4, -5], [-0.5, -5]]
    assert second.completion == rollouts[1].leaf


def test_logprobs_of_one_choice_belong_to_the_calls_trace(tmp_path: Path) -> None:
    plain = {
        "message": {"content": "ok"},
        "logprobs": {"content": [{"token": "ok", "logprob": -1}]},
    }
    response = {**chat("ok"), "choices": [plain]}
    parsed = parse(tmp_path, {"request": BODY, "response": response, "session_id": "s"})
    (scores,) = parsed.scores
    assert (scores.trace, scores.tokens, scores.top) == ("s", ["ok"], None)
    assert scores.completion == parsed.calls[0].completion
    assert all(trace.group is None for trace in parsed.traces)


def test_logprobs_of_a_response_are_read_from_its_output(tmp_path: Path) -> None:
    text = {"type": "output_text", "text": "hi", "logprobs": [
        {"token": "hi", "logprob": -0.1, "top_logprobs": [{"token": "hi", "logprob": -0.1}]},
    ]}  # fmt: skip
    output = [{"type": "message", "role": "assistant", "content": [text]}]
    record = {
        "request": {"model": "gpt-5", "input": "hello"},
        "response": {"object": "response", "id": "resp_1", "output": output},
    }
    (scores,) = parse(tmp_path, record).scores
    assert (scores.tokens, scores.logprobs, scores.top) == (["hi"], [-0.1], [[-0.1]])


def test_logprobs_that_are_no_logprobs_are_an_issue(tmp_path: Path) -> None:
    bad = {"message": {"content": "x"}, "logprobs": {"content": [{"token": 3}]}}
    parsed = parse(tmp_path, {"request": BODY, "response": {**chat("x"), "choices": [bad]}})
    assert parsed.calls == []
    assert "logprobs" in parsed.issues[0].reason

"""The parser for Qwen Code chats."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from recording_tree import Parsed, parse_file
from sample_totals import Totals, sample_totals

from forkpoint.parsers.claude_code import ClaudeCode
from forkpoint.parsers.logs import Head, read_head
from forkpoint.parsers.qwen_code import QwenCode
from forkpoint.parsers.records import Kind, Usage

PARSER = QwenCode()
USAGE = {
    "promptTokenCount": 100,
    "candidatesTokenCount": 20,
    "thoughtsTokenCount": 5,
    "cachedContentTokenCount": 60,
    "totalTokenCount": 120,
}


def record(uuid: str, parent: str | None, kind: str, **more: Any) -> dict[str, Any]:
    head = {"uuid": uuid, "parentUuid": parent, "sessionId": "s-1", "type": kind}
    return {**head, "timestamp": "2026-10-05T09:00:01.000Z", "cwd": "/w", "version": "1", **more}


def said(uuid: str, parent: str | None, text: str, **more: Any) -> dict[str, Any]:
    message = {"role": "user", "parts": [{"text": text}]}
    return record(uuid, parent, "user", message=message, **more)


def answer(uuid: str, parent: str | None, *parts: Any, **more: Any) -> dict[str, Any]:
    given = [{"text": part} if isinstance(part, str) else part for part in parts]
    message = {"role": "model", "parts": given}
    counted = {"model": "qwen3-coder-plus", "usageMetadata": USAGE, **more}
    return record(uuid, parent, "assistant", message=message, **counted)


def parsed(folder: Path, *records: Any, name: str = "s-1.jsonl") -> Parsed:
    path = folder / name
    path.write_text("".join(json.dumps(each) + "\n" for each in records))
    return parse_file(PARSER, path)


def texts(result: Parsed, node: int | None) -> list[Any]:
    return [segment.content for segment in result.tree.path(node or 0)][1:]


def test_each_assistant_line_is_a_call_on_the_lines_above_it(tmp_path: Path) -> None:
    call = {"functionCall": {"id": "c1", "name": "read", "args": {"path": "a"}}}
    response = {"functionResponse": {"id": "c1", "name": "read", "response": {"output": "text"}}}
    result = parsed(
        tmp_path,
        said("u1", None, "hi"),
        answer("a1", "u1", {"text": "hm", "thought": True}, "Let me see.", call),
        record("t1", "a1", "tool_result", message={"role": "user", "parts": [response]}),
        answer("a2", "t1", "Done."),
    )
    first, second = result.calls
    assert texts(result, first.prompt) == ["hi"]
    assert [s[:2] for s in result.tree.path(first.completion or 0)][2:] == [
        (Kind.THINKING, "assistant"),
        (Kind.TEXT, "assistant"),
        (Kind.TOOL_CALL, "assistant"),
    ]
    assert result.tree.path(second.prompt)[-1] == (Kind.TOOL_RESULT, "tool", "text")
    assert (first.identity, first.trace, first.model) == (("", "a1"), "s-1", "qwen3-coder-plus")
    (trace,) = result.traces
    assert (trace.id, trace.project, trace.agent) == ("s-1", "/w", "Qwen Code 1")


def test_thoughts_are_part_of_the_output_where_the_total_says_so(tmp_path: Path) -> None:
    gemini = {**USAGE, "totalTokenCount": 125}
    within, beside = parsed(
        tmp_path, answer("a1", None, "x"), answer("a2", "a1", "y", usageMetadata=gemini)
    ).calls
    assert within.usage == Usage(
        input_tokens=100, cache_read_tokens=60, output_tokens=20, reasoning_tokens=5
    )
    assert beside.usage is not None
    assert beside.usage.output_tokens == 25


def test_a_line_that_hangs_off_an_earlier_one_is_a_fork(tmp_path: Path) -> None:
    result = parsed(
        tmp_path,
        said("u1", None, "hi"),
        answer("a1", "u1", "ho"),
        said("u2", "a1", "left"),
        answer("a2", "u2", "gone left"),
        record("r1", "a1", "system", subtype="rewind", systemPayload={"truncatedCount": 2}),
        said("u3", "r1", "right"),
        answer("a3", "u3", "gone right"),
    )
    prompts = [texts(result, call.prompt) for call in result.calls]
    assert prompts == [["hi"], ["hi", "ho", "left"], ["hi", "ho", "right"]]


def test_a_compressed_history_begins_the_next_prompt(tmp_path: Path) -> None:
    history = [
        {"role": "user", "parts": [{"text": "They said hi."}]},
        {"role": "model", "parts": [{"text": "Understood."}]},
    ]
    payload = {"info": {}, "compressedHistory": history}
    result = parsed(
        tmp_path,
        said("u1", None, "hi"),
        answer("a1", "u1", "ho"),
        record("c1", "a1", "system", subtype="chat_compression", systemPayload=payload),
        said("u2", "c1", "and now"),
        answer("a2", "u2", "this"),
    )
    assert texts(result, result.calls[1].prompt) == ["They said hi.", "Understood.", "and now"]


def test_a_branched_session_has_its_parent_s_calls_and_its_own(tmp_path: Path) -> None:
    lines = [said("u1", None, "hi"), answer("a1", "u1", "ho")]
    origin = parsed(tmp_path, *lines)
    branch = {"sessionId": "s-2", "forkedFrom": {"sessionId": "s-1", "messageUuid": "u1"}}
    copies = [{**line, **branch} for line in lines]
    more = answer("a9", "a1", "more", sessionId="s-2")
    copied = parsed(tmp_path, *copies, more, name="s-2.jsonl")
    assert [call.identity for call in copied.calls] == [("", "a1"), ("", "a9")]
    assert copied.calls[0].identity == origin.calls[0].identity
    (trace,) = copied.traces
    assert (trace.id, trace.forked_from) == ("s-2", "s-1")


def test_a_subagent_has_a_trace_of_its_own(tmp_path: Path) -> None:
    agent = {"isSidechain": True, "agentId": "explore-1"}
    result = parsed(
        tmp_path,
        said("u1", None, "hi"),
        said("u2", None, "look", **agent),
        answer("a2", "u2", "seen", **agent),
        answer("a1", "u1", "ho"),
    )
    inner, outer = result.calls
    assert (inner.trace, inner.sidechain, outer.sidechain) == ("s-1/explore-1", True, False)
    assert {trace.id: trace.parent for trace in result.traces} == {
        "s-1": None,
        "s-1/explore-1": "s-1",
    }
    assert texts(result, outer.prompt) == ["hi"]


def test_a_line_above_that_cannot_be_read_costs_its_own_text_only(tmp_path: Path) -> None:
    result = parsed(
        tmp_path,
        said("u1", None, "hi"),
        answer("a1", "u1", "ho"),
        record("u2", "a1", "user", message={"role": "user", "parts": 7}),
        answer("a2", "u2", "what?"),
    )
    assert [issue.line for issue in result.issues] == [3]
    assert texts(result, result.calls[1].prompt) == ["hi", "ho"]


def test_system_lines_may_hold_anything(tmp_path: Path) -> None:
    odd = record("x1", "u1", "system", subtype="ui_telemetry", systemPayload=7, usageMetadata=8)
    result = parsed(tmp_path, said("u1", None, "hi"), odd, answer("a1", "x1", "ho"))
    assert result.issues == []
    assert texts(result, result.calls[0].prompt) == ["hi"]


@pytest.mark.parametrize(
    "bad",
    [
        answer("b", "u1", "x", usageMetadata={"promptTokenCount": -1}),
        answer("b", "u1", "x", usageMetadata={"promptTokenCount": 1, "cachedContentTokenCount": 2}),
        answer("b", "u1", 7),
        {**said("b", "u1", "x"), "uuid": 7},
        {"type": "assistant"},
        7,
    ],
)
def test_a_bad_line_is_one_issue_and_the_others_are_kept(tmp_path: Path, bad: Any) -> None:
    result = parsed(tmp_path, said("u1", None, "hi"), bad, answer("a1", "u1", "ho"))
    assert [issue.line for issue in result.issues] == [2]
    assert [call.identity for call in result.calls] == [("", "a1")]


def test_its_lines_have_claude_code_s_ids_but_gemini_s_parts() -> None:
    line = json.dumps(said("u1", None, "hi")).encode() + b"\n"
    assert PARSER.identify(Head(Path("x"), line))
    assert ClaudeCode().identify(Head(Path("x"), line)) is None
    claude = {**said("u1", None, "hi"), "message": {"role": "user", "content": "hi"}}
    head = Head(Path("x"), json.dumps(claude).encode() + b"\n")
    assert PARSER.identify(head) is None
    assert ClaudeCode().identify(head)


def test_the_sample_has_the_totals_its_page_states(sample_logs: Path) -> None:
    totals = sample_totals(PARSER, sample_logs / "qwen-code")
    assert totals == Totals(8, 67_322, 41_472, 0, 477, 192)


@pytest.mark.real
def test_no_real_log_of_another_format_is_claimed(real_logs: Path) -> None:
    for path in (path for path in real_logs.rglob("*") if path.is_file()):
        assert PARSER.identify(read_head(path)) is None, path

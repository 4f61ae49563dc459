"""The parser for the wire files of Kimi CLI and Kimi Code."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from recording_tree import Parsed, parse_file
from sample_totals import Totals, sample_totals

from forkpoint.parsers.kimi import Kimi
from forkpoint.parsers.logs import Head, read_head
from forkpoint.parsers.records import Kind, Usage

PARSER = Kimi()
COUNTS = {"input_other": 40, "output": 7, "input_cache_read": 50, "input_cache_creation": 10}
USAGE = Usage(input_tokens=100, cache_read_tokens=50, cache_write_tokens=10, output_tokens=7)


def write(folder: Path, records: list[Any], name: str) -> Parsed:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(each) + "\n" for each in records))
    return parse_file(PARSER, path)


def texts(result: Parsed, node: int | None) -> list[Any]:
    return [segment.content for segment in result.tree.path(node or 0)][1:]


# --- Kimi CLI -----------------------------------------------------------------------------------


def message(kind: str, /, at: float = 1791190801.5, **payload: Any) -> dict[str, Any]:
    return {"timestamp": at, "message": {"type": kind, "payload": payload}}


def text(said: str) -> dict[str, Any]:
    return message("ContentPart", type="text", text=said)


def status(name: str, **counts: int) -> dict[str, Any]:
    usage = {**COUNTS, **counts}
    return message("StatusUpdate", message_id=f"chatcmpl-{name:>016}", token_usage=usage)


def tool_call(name: str, arguments: str) -> dict[str, Any]:
    function = {"name": name, "arguments": arguments}
    return message("ToolCall", type="function", id=f"{name}:0", function=function)


def tool_result(output: Any, said: str = "") -> dict[str, Any]:
    value = {"is_error": False, "output": output, "message": said, "display": []}
    return message("ToolResult", tool_call_id="x", return_value=value)


def cli(folder: Path, *messages: Any) -> Parsed:
    header = {"type": "metadata", "protocol_version": "1.10"}
    return write(folder, [header, *messages], "md5/s-1/wire.jsonl")


def test_each_step_is_a_call_with_what_came_before_as_its_prompt(tmp_path: Path) -> None:
    result = cli(
        tmp_path,
        message("TurnBegin", user_input=[{"type": "text", "text": "hi"}]),
        message("StepBegin", at=1791190800.0, n=1),
        message("ContentPart", type="think", think="hm", encrypted=None),
        text("Let me"),
        text(" see."),
        tool_call("read", '{"path": '),
        message("ToolCallPart", arguments_part='"a"}'),
        status("a"),
        tool_result("text", "1 line"),
        message("StepBegin", n=2),
        text("Done."),
        status("b"),
    )
    assert result.issues == []
    first, second = result.calls
    said = ["hm", "Let me see.", 'read\n{"path": "a"}']
    assert texts(result, first.prompt) == ["hi"]
    assert texts(result, first.completion) == ["hi", *said]
    assert texts(result, second.prompt) == ["hi", *said, "text", "1 line"]
    assert (first.usage, first.model) == (USAGE, None)
    assert first.started_at == datetime(2026, 10, 5, 9, 0, tzinfo=UTC)
    assert first.identity == ("", f"chatcmpl-{'a':>016}")
    assert [(trace.id, trace.parent) for trace in result.traces] == [("s-1", None)]


def test_results_may_stand_before_the_counts(tmp_path: Path) -> None:
    result = cli(
        tmp_path,
        message("TurnBegin", user_input="hi"),
        message("StepBegin", n=1),
        tool_call("read", "{}"),
        tool_result("text"),
        status("a"),
        message("StepBegin", n=2),
        status("b"),
    )
    assert texts(result, result.calls[0].completion) == ["hi", "read\n{}"]
    assert texts(result, result.calls[1].prompt) == ["hi", "read\n{}", "text"]


def test_of_counts_that_repeat_the_largest_is_true(tmp_path: Path) -> None:
    result = cli(tmp_path, text("ho"), status("a", output=2), status("a"), status("a", output=5))
    assert [call.usage for call in result.calls] == [USAGE]


def test_counts_that_no_provider_reported_are_unknown(tmp_path: Path) -> None:
    unknown = message("StatusUpdate", message_id="chatcmpl-0123456789", token_usage=None)
    other = message("StatusUpdate", context_usage=0.2)
    (call,) = cli(tmp_path, text("ho"), unknown, other).calls
    assert call.usage is None


def test_what_a_failed_attempt_said_does_not_enter_the_context(tmp_path: Path) -> None:
    result = cli(
        tmp_path,
        message("TurnBegin", user_input="hi"),
        message("StepBegin", n=1),
        text("I wi"),
        message("StepRetry", n=1, next_attempt=2, max_attempts=3, wait_s=0.3, error_type="E"),
        text("I will."),
        status("a"),
        message("TurnEnd"),
    )
    assert texts(result, result.calls[0].completion) == ["hi", "I will."]


def test_after_a_compaction_the_context_begins_anew(tmp_path: Path) -> None:
    result = cli(
        tmp_path,
        message("TurnBegin", user_input="hi"),
        text("ho"),
        status("a"),
        message("CompactionBegin"),
        message("CompactionEnd"),
        message("TurnBegin", user_input="and now"),
        message("StepBegin", n=1),
        text("this"),
        status("b"),
    )
    path = result.tree.path(result.calls[1].prompt)
    assert [segment.kind for segment in path] == [Kind.UNLOGGED, Kind.TEXT]
    assert "compaction 1" in path[0].content
    assert path[1].content == "and now"


def test_a_subagent_has_a_trace_and_a_context_of_its_own(tmp_path: Path) -> None:
    def inside(wrapped: dict[str, Any]) -> dict[str, Any]:
        return message("SubagentEvent", agent_id="a1", event=wrapped["message"])

    result = cli(
        tmp_path,
        message("TurnBegin", user_input="hi"),
        inside(message("TurnBegin", user_input="look")),
        inside(text("seen")),
        inside(status("sub")),
        text("ho"),
        status("main"),
    )
    calls = {call.trace: call for call in result.calls}
    assert texts(result, calls["s-1/a1"].completion) == ["look", "seen"]
    assert texts(result, calls["s-1"].completion) == ["hi", "ho"]
    assert (calls["s-1/a1"].sidechain, calls["s-1"].sidechain) == (True, False)
    assert {trace.id: trace.parent for trace in result.traces} == {"s-1": None, "s-1/a1": "s-1"}


def test_short_message_ids_are_told_apart_by_session(tmp_path: Path) -> None:
    counted = message("StatusUpdate", message_id="scripted-1", token_usage=COUNTS)
    (call,) = cli(tmp_path, text("ho"), counted).calls
    assert call.identity == ("s-1", "scripted-1")


# --- Kimi Code ----------------------------------------------------------------------------------

CAMEL = {"inputOther": 40, "output": 7, "inputCacheRead": 50, "inputCacheCreation": 10}


def record(kind: str, /, at: int = 1791190800000, **fields: Any) -> dict[str, Any]:
    return {"type": kind, **fields, "time": at}


def event(kind: str, /, at: int = 1791190800000, **fields: Any) -> dict[str, Any]:
    return record("context.append_loop_event", at, event={"type": kind, **fields})


def said(role: str, words: str, **more: Any) -> dict[str, Any]:
    given = {"role": role, "content": [{"type": "text", "text": words}], "toolCalls": [], **more}
    return record("context.append_message", message=given)


def step(name: str, words: str, **usage: int) -> list[dict[str, Any]]:
    part = {"type": "text", "text": words}
    return [
        event("step.begin", uuid=f"{name:>020}"),
        event("content.part", stepUuid=f"{name:>020}", part=part),
        event("step.end", 1791190802500, uuid=f"{name:>020}", usage={**CAMEL, **usage}),
        record("usage.record", model="kimi-k2", usage={**CAMEL, **usage}, usageScope="turn"),
    ]


def code(folder: Path, *records: Any, agent: str = "main") -> Parsed:
    header = {"type": "metadata", "protocol_version": "1.1", "created_at": 1791190800000}
    return write(folder, [header, *records], f"hive_1/s-1/agents/{agent}/wire.jsonl")


def test_a_step_of_the_loop_is_one_call_though_its_usage_is_recorded_twice(tmp_path: Path) -> None:
    result = code(
        tmp_path,
        record("config.update", cwd="/w", systemPrompt="You are Kimi."),
        said("user", "hi"),
        *step("1", "ho"),
    )
    assert result.issues == []
    (call,) = result.calls
    assert (call.usage, call.model, call.duration_s) == (USAGE, "kimi-k2", 2.5)
    assert [(s.kind, s.content) for s in result.tree.path(call.completion or 0)] == [
        (Kind.SYSTEM, "You are Kimi."),
        (Kind.TEXT, "hi"),
        (Kind.TEXT, "ho"),
    ]
    assert [(trace.id, trace.project) for trace in result.traces] == [("s-1", "/w")]


def test_tool_definitions_come_first_and_results_follow_their_calls(tmp_path: Path) -> None:
    tools = [{"name": "read", "description": "Reads.", "parameters": {}}]
    request = {"kind": "loop", "provider": "kimi", "model": "kimi-k2.6"}
    result = code(
        tmp_path,
        record("config.update", systemPrompt="You are Kimi."),
        record("llm.tools_snapshot", hash="h", tools=tools),
        record("llm.request", **request),
        said("user", "hi"),
        event("step.begin", uuid="1"),
        event("tool.call", stepUuid="1", toolCallId="c", name="read", args={"path": "a"}),
        event("step.end", uuid="1", usage=CAMEL),
        event("tool.result", parentUuid="1", toolCallId="c", result={"output": "text"}),
        *step("2", "Done."),
    )
    kinds = [segment.kind for segment in result.tree.path(result.calls[1].prompt)]
    assert kinds == [Kind.TOOLS, Kind.SYSTEM, Kind.TEXT, Kind.TOOL_CALL, Kind.TOOL_RESULT]
    assert result.calls[0].model == "kimi-k2.6"


def test_usage_of_the_session_is_a_call_of_its_own(tmp_path: Path) -> None:
    compaction = record("usage.record", model="kimi-k2", usage=CAMEL, usageScope="session")
    result = code(tmp_path, said("user", "hi"), *step("1", "ho"), compaction)
    assert [call.usage for call in result.calls] == [USAGE, USAGE]
    assert texts(result, result.calls[1].prompt) == ["hi", "ho"]
    assert result.calls[1].completion is None


def test_a_compaction_keeps_users_messages_and_ends_with_its_summary(tmp_path: Path) -> None:
    given = {"summary": "s", "contextSummary": "They said hi.", "compactedCount": 3}
    result = code(
        tmp_path,
        said("user", "hi", origin={"kind": "user"}),
        *step("1", "ho"),
        said("user", "reminder", origin={"kind": "injection", "variant": "x"}),
        said("user", "and", origin={"kind": "user"}),
        record("context.apply_compaction", **given, keptUserMessageCount=1),
        *step("2", "so"),
    )
    assert texts(result, result.calls[1].prompt) == ["and", "They said hi."]


def test_an_older_compaction_keeps_the_newest_messages(tmp_path: Path) -> None:
    result = code(
        tmp_path,
        said("user", "hi"),
        *step("1", "ho"),
        said("user", "and"),
        record("context.apply_compaction", summary="They said hi.", compactedCount=2),
        *step("2", "so"),
    )
    assert texts(result, result.calls[1].prompt) == ["They said hi.", "and"]


def test_an_undo_takes_the_last_turns_back_up_to_a_summary(tmp_path: Path) -> None:
    result = code(
        tmp_path,
        said("user", "hi", origin={"kind": "user"}),
        *step("1", "ho"),
        said("user", "left", origin={"kind": "user"}),
        *step("2", "gone left"),
        record("context.undo", count=1),
        said("user", "right", origin={"kind": "user"}),
        *step("3", "gone right"),
        record("context.clear"),
        *step("4", "nothing"),
    )
    prompts = [texts(result, call.prompt) for call in result.calls]
    assert prompts == [["hi"], ["hi", "ho", "left"], ["hi", "ho", "right"], []]


def test_an_agent_beside_the_main_one_is_a_subagent(tmp_path: Path) -> None:
    result = code(tmp_path, said("user", "look"), *step("1", "seen"), agent="agent-0")
    assert [call.sidechain for call in result.calls] == [True]
    assert [(t.id, t.parent) for t in result.traces] == [("s-1/agent-0", "s-1")]


# --- Both ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "bad",
    [
        status("x", output=-1),
        message("StatusUpdate", message_id=7),
        message("ContentPart", at=1e30, type="text", text="x"),
        message("TurnBegin", user_input=7),
        {"timestamp": 1, "message": {"type": 7}},
        7,
    ],
)
def test_a_bad_line_is_one_issue_and_the_others_are_kept(tmp_path: Path, bad: Any) -> None:
    result = cli(tmp_path, text("ho"), status("a"), bad, status("b"))
    assert [issue.line for issue in result.issues] == [4]
    assert len(result.calls) == 2


@pytest.mark.parametrize(
    "bad",
    [
        event("step.end", uuid="1", usage={"output": "many"}),
        event("content.part", part=7),
        record("context.append_message", message={"content": "no role"}),
        record("context.apply_compaction", summary=7, compactedCount=1),
        record("usage.record", model="m", usage=7),
        record("turn.prompt", at=-5),
    ],
)
def test_a_bad_record_is_one_issue_and_the_others_are_kept(tmp_path: Path, bad: Any) -> None:
    result = code(tmp_path, *step("1", "ho"), bad, *step("2", "so"))
    assert [issue.line for issue in result.issues] == [6]
    assert len(result.calls) == 2


def test_records_of_other_types_may_hold_anything(tmp_path: Path) -> None:
    odd = record("mcp.tools_discovered", tools=7, model=[], usage="x", message=3)
    assert code(tmp_path, odd, *step("1", "ho")).issues == []


def test_a_wire_is_known_by_its_metadata_or_its_first_message() -> None:
    def known(*records: Any) -> bool:
        data = "".join(json.dumps(each) + "\n" for each in records).encode()
        return PARSER.identify(Head(Path("wire.jsonl"), data)) is not None

    assert known({"type": "metadata", "protocol_version": "1.3"})
    assert known(message("TurnBegin", user_input="hi"))
    assert not known({"type": "metadata", "version": 3})
    assert not known({"timestamp": 1, "message": {"role": "user", "content": "hi"}})
    assert not known({"role": "user", "content": "hi"})


def test_the_sample_has_the_totals_its_page_states(sample_logs: Path) -> None:
    assert sample_totals(PARSER, sample_logs / "kimi") == Totals(18, 118_062, 91_136, 0, 656, 0)


@pytest.mark.real
def test_no_real_log_of_another_format_is_claimed(real_logs: Path) -> None:
    for path in (path for path in real_logs.rglob("*") if path.is_file()):
        assert PARSER.identify(read_head(path)) is None, path

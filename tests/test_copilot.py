"""The parser for Copilot CLI sessions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from recording_tree import Parsed, parse_file
from sample_totals import Totals, sample_totals

from forkpoint.parsers.copilot import Copilot
from forkpoint.parsers.logs import Head, read_head
from forkpoint.parsers.records import Kind, Usage

PARSER = Copilot()
MODEL = "claude-sonnet-4.5"


def event(kind: str, /, agent: str | None = None, **data: Any) -> dict[str, Any]:
    given = {"type": kind, "data": data, "timestamp": "2026-10-05T09:00:01.000Z", "parentId": None}
    return given if agent is None else {**given, "agentId": agent}


START = event(
    "session.start",
    sessionId="s-1",
    copilotVersion="1.0.75",
    selectedModel=MODEL,
    context={"cwd": "/w"},
)


def user(text: str, **more: Any) -> dict[str, Any]:
    return event("user.message", content=text, **more)


def answer(name: str, text: str, output: int | None = 10, **more: Any) -> dict[str, Any]:
    given = {"messageId": f"m-{name}", "apiCallId": f"call-{name}", "content": text, **more}
    return event("assistant.message", model=MODEL, outputTokens=output, toolRequests=[], **given)


def shutdown(model: str = MODEL, /, **usage: int) -> dict[str, Any]:
    return event("session.shutdown", modelMetrics={model: {"requests": {}, "usage": usage}})


def parsed(folder: Path, *events: Any, name: str = "s-1/events.jsonl") -> Parsed:
    numbered = [
        {"id": f"e-{number}", **each} if isinstance(each, dict) else each
        for number, each in enumerate(events, 1)
    ]
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(each) + "\n" for each in numbered))
    return parse_file(PARSER, path)


def texts(result: Parsed, node: int | None) -> list[Any]:
    return [segment.content for segment in result.tree.path(node or 0)][1:]


def test_each_answer_is_a_call_on_what_was_sent(tmp_path: Path) -> None:
    result = parsed(
        tmp_path,
        START,
        event("system.message", role="system", content="Be kind."),
        user("hi", transformedContent="<now>9</now>\n\nhi"),
        answer("1", "Let me see.", reasoningText="hm"),
        event("tool.execution_complete", toolCallId="t", success=True, result={"content": "text"}),
        event("system.message", role="system", content="Be kind."),
        event("tool.execution_complete", success=False, error={"message": "no such file"}),
        answer("2", "Done."),
    )
    assert result.issues == []
    first, second = result.calls
    assert texts(result, first.prompt) == ["Be kind.", "<now>9</now>\n\nhi"]
    assert texts(result, first.completion)[-2:] == ["hm", "Let me see."]
    assert texts(result, second.prompt)[-2:] == ["text", "no such file"]
    assert first.usage == Usage(output_tokens=10)
    assert (first.model, first.trace) == (MODEL, "s-1")
    (trace,) = result.traces
    assert (trace.project, trace.agent) == ("/w", "Copilot CLI 1.0.75")


def test_tool_requests_are_what_the_model_wrote(tmp_path: Path) -> None:
    asked = answer("1", "")
    asked["data"]["toolRequests"] = [
        {"toolCallId": "t", "name": "read", "arguments": {"path": "a"}}
    ]
    result = parsed(tmp_path, START, user("hi"), asked)
    last = result.tree.path(result.calls[0].completion or 0)[-1]
    assert last == (Kind.TOOL_CALL, "assistant", 'read\n{"path":"a"}')


def test_a_response_in_several_messages_is_one_call(tmp_path: Path) -> None:
    chunks = [answer("1", "Let me", None), answer("1", " see.", 25)]
    for number, chunk in enumerate(chunks):
        chunk["data"] |= {"messageId": f"m{number}", "chunkIndex": number, "chunkCount": 2}
    result = parsed(tmp_path, START, user("hi"), *chunks)
    (call,) = result.calls
    assert call.usage == Usage(output_tokens=25)
    assert texts(result, call.completion) == ["hi", "Let me", " see."]


def test_a_shutdown_is_one_call_that_sums_up_those_before_it(tmp_path: Path) -> None:
    counts = {"inputTokens": 500, "cacheReadTokens": 300, "cacheWriteTokens": 50}
    end = shutdown(**counts, outputTokens=45, reasoningTokens=0)
    result = parsed(
        tmp_path, START, user("hi"), answer("1", "a"), answer("2", "b", 15), end, answer("3", "c")
    )
    *said, rest = result.calls
    # The third answer came later and is not part of the sum.
    assert [call.usage for call in said] == [None, None, Usage(output_tokens=10)]
    assert rest.usage == Usage(
        input_tokens=500,
        cache_read_tokens=300,
        cache_write_tokens=50,
        output_tokens=45,
        reasoning_tokens=0,
    )
    assert (rest.model, rest.line) == (MODEL, 5)


def test_a_later_shutdown_may_count_the_whole_session(tmp_path: Path) -> None:
    result = parsed(
        tmp_path,
        START,
        answer("1", "a", 10),
        shutdown(inputTokens=100, outputTokens=10),
        event("session.resume", resumeTime="2026-10-05T10:00:00Z"),
        answer("2", "b", 15),
        shutdown(inputTokens=260, outputTokens=25),
    )
    assert result.calls[-1].usage is not None
    assert result.calls[-1].usage.input_tokens == 260


def test_a_later_shutdown_may_count_its_own_run_only(tmp_path: Path) -> None:
    result = parsed(
        tmp_path,
        START,
        answer("1", "a", 10),
        shutdown(inputTokens=100, outputTokens=10),
        event("session.resume", resumeTime="2026-10-05T10:00:00Z"),
        answer("2", "b", 15),
        shutdown(inputTokens=260, outputTokens=15),
    )
    usages = [call.usage for call in result.calls if call.usage is not None]
    assert sum(usage.input_tokens or 0 for usage in usages) == 360
    assert sum(usage.output_tokens or 0 for usage in usages) == 25


def test_counts_that_fell_are_of_another_run(tmp_path: Path) -> None:
    result = parsed(
        tmp_path,
        START,
        shutdown(inputTokens=300, outputTokens=10),
        shutdown(inputTokens=100, outputTokens=12),
    )
    (call,) = result.calls
    assert call.usage is not None
    assert (call.usage.input_tokens, call.usage.output_tokens) == (400, 22)


def test_more_reasoning_than_output_is_left_out(tmp_path: Path) -> None:
    end = shutdown(inputTokens=100, outputTokens=10, reasoningTokens=9_000)
    (call,) = parsed(tmp_path, START, end).calls
    assert call.usage is not None
    assert (call.usage.output_tokens, call.usage.reasoning_tokens) == (10, 0)


def test_usage_events_that_a_client_kept_count_in_full(tmp_path: Path) -> None:
    usage = {"inputTokens": 100, "cacheReadTokens": 60, "outputTokens": 10, "model": MODEL}
    end = shutdown(inputTokens=100, cacheReadTokens=60, outputTokens=10)
    kept = event("assistant.usage", apiCallId="call-1", **usage)
    result = parsed(tmp_path, START, answer("1", "a"), kept, end)
    (call,) = result.calls
    assert call.usage == Usage(input_tokens=100, cache_read_tokens=60, output_tokens=10)


@pytest.mark.parametrize(
    "counts",
    [
        {"inputTokens": 90, "cacheReadTokens": 60, "outputTokens": 9},
        {"input": 90, "cachedInput": 60, "output": 9},
    ],
)
def test_a_compaction_is_a_call_and_its_summary_begins_the_next_context(
    tmp_path: Path, counts: dict[str, int]
) -> None:
    done = {"success": True, "summaryContent": "They said hi.", "compactionTokensUsed": counts}
    result = parsed(
        tmp_path,
        START,
        event("system.message", role="system", content="Be kind."),
        user("hi"),
        answer("1", "ho"),
        event("session.compaction_complete", **done),
        user("and now"),
        answer("2", "this"),
    )
    _, compaction, after = result.calls
    assert compaction.usage == Usage(input_tokens=90, cache_read_tokens=60, output_tokens=9)
    assert texts(result, compaction.prompt) == ["Be kind.", "hi", "ho"]
    assert texts(result, after.prompt) == ["Be kind.", "They said hi.", "and now"]


def test_a_rewind_goes_back_to_before_an_event(tmp_path: Path) -> None:
    result = parsed(
        tmp_path,
        START,
        user("hi"),
        answer("1", "ho"),
        user("left"),
        answer("2", "gone left"),
        event("session.snapshot_rewind", upToEventId="e-4", eventsRemoved=2),
        user("right"),
        answer("3", "gone right"),
    )
    prompts = [texts(result, call.prompt) for call in result.calls]
    assert prompts == [["hi"], ["hi", "ho", "left"], ["hi", "ho", "right"]]


@pytest.mark.parametrize("how", [{"agentId": "a1"}, {"parentToolCallId": "a1"}])
def test_a_subagent_has_a_trace_and_a_context_of_its_own(
    tmp_path: Path, how: dict[str, str]
) -> None:
    asked, told = user("look"), answer("2", "seen")
    for each in (asked, told):
        if "agentId" in how:
            each.update(how)
        else:
            each["data"].update(how)
    result = parsed(tmp_path, START, user("hi"), asked, told, answer("1", "ho"))
    calls = {call.trace: call for call in result.calls}
    assert texts(result, calls["s-1/a1"].prompt) == ["look"]
    assert texts(result, calls["s-1"].prompt) == ["hi"]
    assert calls["s-1/a1"].sidechain
    assert {trace.id: trace.parent for trace in result.traces} == {"s-1": None, "s-1/a1": "s-1"}


def test_a_call_without_a_model_has_the_session_s(tmp_path: Path) -> None:
    nameless = answer("1", "a")
    del nameless["data"]["model"]
    change = event("session.model_change", newModel="gpt-5.4")
    result = parsed(tmp_path, START, nameless, change, {**nameless, "data": {"content": "b"}})
    assert [call.model for call in result.calls] == [MODEL, "gpt-5.4"]
    alone = parsed(tmp_path, nameless, shutdown("gpt-5", inputTokens=5, outputTokens=10))
    assert {call.model for call in alone.calls} == {"gpt-5"}


def test_a_session_without_a_start_has_the_name_of_its_folder_or_file(tmp_path: Path) -> None:
    assert parsed(tmp_path, answer("1", "a")).traces[0].id == "s-1"
    assert parsed(tmp_path, answer("1", "a"), name="s-9.jsonl").traces[0].id == "s-9"


@pytest.mark.parametrize(
    "bad",
    [
        answer("b", "x", -1),
        answer("b", "x") | {"data": 7},
        event("user.message", content=7),
        event("tool.execution_complete", result=7.5) | {"data": {"result": {"content": 7}}},
        shutdown(inputTokens=1, cacheReadTokens=2),
        event("session.shutdown", modelMetrics=7),
        7,
    ],
)
def test_a_bad_line_is_one_issue_and_the_others_are_kept(tmp_path: Path, bad: Any) -> None:
    result = parsed(tmp_path, START, answer("1", "a"), bad, answer("2", "b"))
    assert [issue.line for issue in result.issues] == [3]
    assert len(result.calls) == 2


def test_events_of_other_types_may_hold_anything(tmp_path: Path) -> None:
    odd = event("hook.start") | {"data": ["any", {"thing": None}]}
    assert parsed(tmp_path, START, odd, answer("1", "a")).issues == []


def test_a_session_is_known_by_its_events() -> None:
    def known(record: Any) -> bool:
        data = json.dumps(record).encode() + b"\n"
        return PARSER.identify(Head(Path("x"), data)) is not None

    assert known(START)
    assert known(user("hi"))
    assert not known({"type": "session.start", "payload": {}})
    assert not known({"type": "user", "data": {}})
    assert not known({"type": ["user.message"], "data": {}})
    assert not known({"type": "span", "name": "chat gpt-5", "attributes": {}})


def test_the_sample_has_the_totals_its_page_states(sample_logs: Path) -> None:
    assert sample_totals(PARSER, sample_logs / "copilot") == Totals(10, 64_042, 43_776, 0, 300, 0)


@pytest.mark.real
def test_no_real_log_of_another_format_is_claimed(real_logs: Path) -> None:
    for path in (path for path in real_logs.rglob("*") if path.is_file()):
        assert PARSER.identify(read_head(path)) is None, path

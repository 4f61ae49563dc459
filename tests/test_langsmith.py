"""The parser for LangSmith runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from parsed_records import claim, read
from recording_tree import Parsed

from forkpoint.parsers.langsmith import LangSmith
from forkpoint.parsers.records import Kind

PARSER = LangSmith()
TRACE = "10000000-0000-4000-8000-000000000001"
OWN = "10000000-0000-4000-8000-00000000000a"


def serialised(kind: str, content: Any, **more: Any) -> dict[str, Any]:
    names = ["langchain", "schema", "messages", kind]
    return {"lc": 1, "type": "constructor", "id": names, "kwargs": {"content": content, **more}}


def generations(message: Any, **more: Any) -> dict[str, Any]:
    return {"generations": [[{"text": "", "message": message}]], **more}


def run(own: str = OWN, parent: str | None = TRACE, **changes: Any) -> dict[str, Any]:
    fields = {
        "id": own,
        "trace_id": TRACE,
        "parent_run_id": parent,
        "run_type": "llm",
        "name": "ChatOpenAI",
        "session_id": "project-1",
        "start_time": "2026-10-01T08:00:00.000000",
        "end_time": "2026-10-01T08:00:01.500000",
        "extra": {"metadata": {"ls_provider": "openai", "ls_model_name": "gpt-4.1"}},
        "inputs": {"messages": [[serialised("HumanMessage", "Hello?")]]},
        "outputs": generations(
            serialised(
                "AIMessage",
                "Hi.",
                usage_metadata={
                    "input_tokens": 50,
                    "output_tokens": 9,
                    "total_tokens": 59,
                    "input_token_details": {"cache_read": 40},
                    "output_token_details": {"reasoning": 3},
                },
            )
        ),
    }
    return {**fields, **changes}


def rows(folder: Path, *runs: Any) -> Parsed:
    text = "".join(json.dumps(each) + "\n" for each in runs)
    return read(PARSER, folder / "runs.jsonl", text)


def ids(found: Parsed) -> list[str]:
    return [call.identity[1] for call in found.calls if call.identity is not None]


def test_an_llm_run_is_a_call_with_its_facts(tmp_path: Path) -> None:
    found = rows(tmp_path, run(total_cost="0.5"))
    (call,) = found.calls
    assert call.usage is not None
    assert (call.usage.input_tokens, call.usage.cache_read_tokens) == (50, 40)
    assert (call.usage.output_tokens, call.usage.reasoning_tokens) == (9, 3)
    assert (call.model, call.provider, call.duration_s) == ("gpt-4.1", "openai", 1.5)
    assert (call.identity, call.trace) == ((TRACE, OWN), TRACE)
    assert call.logged_cost_usd == 0.5
    assert found.text(call.completion) == ["Hello?", "Hi."]
    assert found.traces[0].project == "project-1"


@pytest.mark.parametrize(
    "message",
    [
        serialised("HumanMessage", "Hello?"),
        {"type": "human", "data": {"content": "Hello?"}},
        {"type": "human", "content": "Hello?", "additional_kwargs": {}},
        {"role": "user", "content": "Hello?"},
        {"role": "human", "content": [{"type": "text", "text": "Hello?"}]},
        serialised("HumanMessage", [{"type": "text", "text": "Hello?"}], id="run-7"),
    ],
)
def test_every_serialisation_of_a_message_is_the_same_message(tmp_path: Path, message: Any) -> None:
    found = rows(tmp_path, run(inputs={"messages": [[message]]}))
    assert found.tree.path(found.calls[0].prompt) == [(Kind.TEXT, "user", "Hello?")]


def test_langchain_s_calls_and_the_sdk_s_are_the_same_path(tmp_path: Path) -> None:
    call = {"name": "read", "args": {"number": 2}, "id": "call_1", "type": "tool_call"}
    original = {
        "id": "call_1",
        "type": "function",
        "function": {"name": "read", "arguments": '{"number":2}'},
    }
    block = {"type": "tool_use", "id": "call_1", "name": "read", "input": {"number": 2}}
    asked = [
        serialised("AIMessage", "", tool_calls=[call]),
        serialised(
            "AIMessage", "", tool_calls=[call], additional_kwargs={"tool_calls": [original]}
        ),
        serialised("AIMessage", [block], tool_calls=[call]),
        serialised("AIMessage", [call]),
        {"role": "assistant", "content": None, "tool_calls": [original]},
    ]
    answers = [serialised("ToolMessage", "wind 5", tool_call_id="call_1", name="read")] * 4
    answers.append({"role": "tool", "tool_call_id": "call_1", "content": "wind 5"})
    runs = [
        run(f"r{number}", inputs={"messages": [[serialised("HumanMessage", "?"), one, other]]})
        for number, (one, other) in enumerate(zip(asked, answers, strict=True))
    ]
    found = rows(tmp_path, *runs)
    assert len({call.prompt for call in found.calls}) == 1
    kinds = [segment.kind for segment in found.tree.path(found.calls[0].prompt)]
    assert kinds == [Kind.TEXT, Kind.TOOL_CALL, Kind.TOOL_RESULT]
    assert found.text(found.calls[0].prompt)[1] == 'read\n{"number":2}'


def test_tool_definitions_come_first(tmp_path: Path) -> None:
    tool = {"type": "function", "function": {"name": "read"}}
    extra = {"invocation_params": {"model": "gpt-4.1", "tools": [tool]}}
    sdk = {"messages": [{"role": "user", "content": "Hello?"}], "tools": [tool]}
    found = rows(tmp_path, run("a", extra=extra), run("b", inputs=sdk))
    assert len({call.prompt for call in found.calls}) == 1
    assert found.tree.path(found.calls[0].prompt)[0].kind is Kind.TOOLS


def test_a_dotted_order_stands_in_for_ids(tmp_path: Path) -> None:
    order = f"20261001T080000000000Z{TRACE}.20261001T080000500000Z{OWN}"
    found = rows(tmp_path, run(parent=None, trace_id=None, dotted_order=order))
    assert found.calls[0].identity == (TRACE, OWN)
    assert [trace.id for trace in found.traces] == [TRACE]


def test_a_response_s_id_names_the_call_and_its_model(tmp_path: Path) -> None:
    about = {"id": "chatcmpl-abcdefgh12", "model_name": "gpt-4.1-2025-04-14"}
    message = serialised("AIMessage", "Hi.", response_metadata=about)
    found = rows(tmp_path, run(outputs=generations(message), prompt_tokens=5, completion_tokens=1))
    assert found.calls[0].identity == ("", "chatcmpl-abcdefgh12")
    assert found.calls[0].model == "gpt-4.1-2025-04-14"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"prompt_tokens": 5, "completion_tokens": 1}, (5, None, None, 1)),
        (
            {
                "prompt_tokens": 50,
                "completion_tokens": 1,
                "prompt_token_details": {"cache_read": 30, "cache_creation": 10},
            },
            (50, 30, 10, 1),
        ),
        ({"prompt_tokens": 0, "completion_tokens": 0}, None),
        (
            {
                "outputs": {
                    "llm_output": {"token_usage": {"prompt_tokens": 8, "completion_tokens": 2}}
                }
            },
            (8, None, None, 2),
        ),
        (
            {"outputs": {"usage_metadata": {"input_tokens": 4, "output_tokens": 2}}},
            (4, None, None, 2),
        ),
        (
            {"extra": {"metadata": {"usage_metadata": {"input_tokens": 4, "output_tokens": 2}}}},
            (4, None, None, 2),
        ),
        # The cached part exceeds the whole: the writer left it out.
        (
            {
                "outputs": {
                    "usage_metadata": {
                        "input_tokens": 10,
                        "output_tokens": 2,
                        "input_token_details": {"cache_read": 800, "cache_creation": 190},
                    }
                }
            },
            (1000, 800, 190, 2),
        ),
    ],
)
def test_counts_are_found_wherever_they_stand(
    tmp_path: Path, changes: dict[str, Any], expected: tuple[int | None, ...] | None
) -> None:
    given = {"outputs": generations(serialised("AIMessage", "Hi.")), **changes}
    usage = rows(tmp_path, run(**given)).calls[0].usage
    if expected is None:
        assert usage is None
        return
    assert usage is not None
    assert (
        usage.input_tokens,
        usage.cache_read_tokens,
        usage.cache_write_tokens,
        usage.output_tokens,
    ) == expected


def test_writes_of_an_hour_are_told_apart(tmp_path: Path) -> None:
    details = {"cache_read": 0, "cache_creation": 0, "ephemeral_1h_input_tokens": 70}
    metadata = {"input_tokens": 100, "output_tokens": 1, "input_token_details": details}
    usage = rows(tmp_path, run(outputs={"usage_metadata": metadata})).calls[0].usage
    assert usage is not None
    assert (usage.cache_write_tokens, usage.cache_write_1h_tokens) == (70, 70)


def test_of_a_run_in_a_run_the_one_with_counts_counts(tmp_path: Path) -> None:
    outer = run("outer", outputs=generations(serialised("AIMessage", "Hi.")))
    found = rows(tmp_path, outer, run("inner", parent="outer"))
    assert ids(found) == ["inner"]


def test_runs_in_a_run_are_read_and_chains_are_none(tmp_path: Path) -> None:
    root = run(TRACE, None, run_type="chain", name="skipper", child_runs=[run("a"), run("b")])
    found = rows(tmp_path, root)
    assert ids(found) == ["a", "b"]
    assert [(trace.id, trace.title) for trace in found.traces][-1] == (TRACE, "skipper")
    data = (tmp_path / "runs.jsonl").read_bytes()
    for call, own in zip(found.calls, (b"a", b"b"), strict=True):
        assert data[call.offset :].startswith(b'{"id": "' + own)


def test_a_failed_run_without_counts_is_not_a_call(tmp_path: Path) -> None:
    failed = run("f", error="timeout", outputs=None)
    found = rows(tmp_path, failed, run("e", run_type="embedding"), run("t", run_type="tool"))
    assert (found.calls, found.issues) == ([], [])


def test_several_generations_are_rollouts_of_one_prompt(tmp_path: Path) -> None:
    both = [{"message": serialised("AIMessage", text)} for text in ("One.", "Two.")]
    found = rows(tmp_path, run(outputs={"generations": [both]}, prompt_tokens=5))
    (call,) = found.calls
    rollouts = [trace for trace in found.traces if trace.group is not None]
    assert found.text(call.completion)[-1] == "One."
    assert [found.text(trace.leaf)[-1] for trace in rollouts] == ["One.", "Two."]
    assert len({trace.group for trace in rollouts}) == 1


def test_lists_pages_and_upper_case_types_are_read(tmp_path: Path) -> None:
    one = run(run_type="LLM")
    for number, document in enumerate(([one], {"runs": [one], "cursors": {}}, {"items": [one]})):
        text = json.dumps(document)
        assert claim(PARSER, text) is not None
        found = read(PARSER, tmp_path / f"{number}.json", text)
        assert ids(found) == [OWN]


def test_one_bad_run_is_one_issue_and_the_others_are_kept(tmp_path: Path) -> None:
    bad = [
        run("b", start_time="late"),
        run("c", inputs={"messages": [[{"lc": 1, "id": 7, "kwargs": 3}]]}),
        run("d", prompt_tokens=-1, outputs={}),
        run("e", total_cost="free"),
        [],
    ]
    found = rows(tmp_path, run("a"), *bad, run("z"))
    assert ids(found) == ["a", "z"]
    assert [issue.line for issue in found.issues] == [2, 3, 4, 5, 6]


@pytest.mark.parametrize(
    "other",
    [
        {"id": "1", "start_time": "x", "inputs": {}},
        {"run_type": "llm"},
        {"messages": [], "model": "gpt"},
    ],
)
def test_other_records_are_refused(other: Any) -> None:
    assert claim(PARSER, json.dumps(other)) is None


def test_the_sample_counts_each_call_once(sample_logs: Path) -> None:
    found = read(PARSER, sample_logs / "langsmith" / "runs.jsonl")
    usages = [call.usage for call in found.calls if call.usage is not None]
    assert (len(found.calls), found.issues) == (6, [])
    assert {trace.title for trace in found.traces} >= {"skipper"}
    assert sum(usage.cache_read_tokens or 0 for usage in usages) == 5 * 1024
    systems = {found.tree.path(call.prompt)[1] for call in found.calls}
    assert [segment.kind for segment in systems] == [Kind.SYSTEM]

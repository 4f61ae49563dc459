"""The parser for mini-swe-agent trajectories."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from parsed_records import claim, read
from recording_tree import Parsed, parse_file

from forkpoint.parsers.logs import HEAD_BYTES, read_head
from forkpoint.parsers.mini_swe_agent import MiniSweAgent
from forkpoint.parsers.records import Kind, Usage

PARSER = MiniSweAgent()
SYSTEM = {"role": "system", "content": "Finish: echo COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT"}
TASK = {"role": "user", "content": "It fails."}
USAGE = {
    "prompt_tokens": 1500,
    "completion_tokens": 60,
    "prompt_tokens_details": {"cached_tokens": 1200},
    "cache_creation_input_tokens": 296,
    "cache_read_input_tokens": 1200,
}


def response(name: str = "chatcmpl-1", **changes: Any) -> dict[str, Any]:
    said = {"role": "assistant", "content": "I looked."}
    fields = {"id": name, "model": "claude-x", "choices": [{"message": said}], "usage": USAGE}
    return {**fields, **changes}


def answer(name: str = "chatcmpl-1", **extra: Any) -> dict[str, Any]:
    inner = {"actions": [], "response": response(name), "cost": 0.25, "timestamp": 1706000000.5}
    return {"role": "assistant", "content": "I looked.", "extra": {**inner, **extra}}


def run(*messages: Any, **changes: Any) -> dict[str, Any]:
    info = {
        "model_stats": {"instance_cost": 0.5, "api_calls": 2},
        "config": {"model": {"model_name": "anthropic/claude-x"}},
        "mini_version": "2.4.6",
    }
    fields = {"info": info, "messages": list(messages), "trajectory_format": "mini-swe-agent-1.1"}
    return {**fields, **changes}


def parsed(folder: Path, document: Any, name: str = "a.traj.json") -> Parsed:
    return read(PARSER, folder / name, document)


def identified(document: Any, name: str = "x.json") -> bool:
    return claim(PARSER, document, name) is not None


def test_each_response_is_a_call_with_its_usage_cost_and_time(tmp_path: Path) -> None:
    result = parsed(tmp_path, run(SYSTEM, TASK, answer(), {"role": "user", "content": "out"}))
    (call,) = result.calls
    assert result.text(call.prompt) == [SYSTEM["content"], "It fails."]
    assert result.text(call.completion)[-1] == "I looked."
    assert call.usage == Usage(
        input_tokens=1500, cache_read_tokens=1200, cache_write_tokens=296, output_tokens=60
    )
    assert (call.provider, call.model) == ("anthropic", "claude-x")
    assert call.logged_cost_usd == 0.25
    assert call.started_at == datetime(2024, 1, 23, 8, 53, 20, 500000, tzinfo=UTC)
    assert call.identity == ("", "chatcmpl-1")
    assert (result.traces[0].id, result.traces[0].agent) == ("chatcmpl-1", "mini-swe-agent 2.4.6")
    assert result.text(result.traces[0].leaf)[-1] == "out"


def test_usage_that_leaves_cached_tokens_out_is_made_inclusive(tmp_path: Path) -> None:
    usage = {"prompt_tokens": 4, "cache_read_input_tokens": 1200, "completion_tokens": 9}
    message = answer(response=response(usage=usage))
    (call,) = parsed(tmp_path, run(SYSTEM, message)).calls
    assert call.usage == Usage(input_tokens=1204, cache_read_tokens=1200, output_tokens=9)


def test_a_cost_of_nought_is_unknown(tmp_path: Path) -> None:
    assert parsed(tmp_path, run(answer(cost=0.0))).calls[0].logged_cost_usd is None


def test_an_unusable_response_is_a_call_but_not_part_of_later_prompts(tmp_path: Path) -> None:
    complaint = {
        "role": "user",
        "content": "No tool calls found.",
        "extra": {"interrupt_type": "FormatError", "response": response("bad"), "cost": 0.125},
    }
    result = parsed(tmp_path, run(SYSTEM, TASK, complaint, answer("good")))
    bad, good = result.calls
    assert bad.identity == ("", "bad")
    assert bad.logged_cost_usd == 0.125
    assert result.text(bad.prompt) == [SYSTEM["content"], "It fails."]
    assert result.text(bad.completion)[-1] == "I looked."
    assert result.text(good.prompt) == [SYSTEM["content"], "It fails.", "No tool calls found."]


def test_an_unusable_response_that_could_not_be_written_is_a_call(tmp_path: Path) -> None:
    complaint = {"role": "user", "content": "No.", "extra": {"response": "Response(…)", "cost": 1}}
    (call,) = parsed(tmp_path, run(SYSTEM, complaint)).calls
    assert (call.completion, call.usage, call.logged_cost_usd) == (None, None, 1.0)


def test_what_the_extra_holds_is_not_sent(tmp_path: Path) -> None:
    plain = {"role": "user", "content": "out"}
    noisy = {**plain, "extra": {"raw_output": "long", "returncode": 0, "timestamp": 1.0}}
    one = parsed(tmp_path, run(SYSTEM, answer(), plain))
    other = parsed(tmp_path, run(SYSTEM, answer(), noisy))
    assert one.text(one.traces[0].leaf) == other.text(other.traces[0].leaf)


def test_the_message_that_says_how_a_run_ended_is_not_sent(tmp_path: Path) -> None:
    end = {"role": "exit", "content": "diff", "extra": {"exit_status": "Submitted"}}
    result = parsed(tmp_path, run(SYSTEM, answer(), end))
    assert result.text(result.traces[0].leaf)[-1] == "I looked."


def test_responses_and_items_of_the_responses_api_are_read(tmp_path: Path) -> None:
    call = {
        "type": "function_call",
        "name": "bash",
        "arguments": '{"command":"ls"}',
        "call_id": "1",
    }
    made = {
        "id": "resp_1",
        "object": "response",
        "model": "gpt-5",
        "output": [{"type": "reasoning", "summary": [{"text": "Hm."}]}, call],
        "usage": {"input_tokens": 90, "output_tokens": 8},
        "extra": {"cost": 0.5, "timestamp": 1706000000.0},
    }
    output = {"type": "function_call_output", "call_id": "1", "output": "a b", "extra": {}}
    result = parsed(tmp_path, run(SYSTEM, made, output))
    (found,) = result.calls
    assert found.usage == Usage(input_tokens=90, output_tokens=8)
    assert (found.identity, found.model, found.logged_cost_usd) == (("", "resp_1"), "gpt-5", 0.5)
    kinds = [segment.kind for segment in result.tree.path(result.traces[0].leaf or 0)]
    assert kinds == [Kind.SYSTEM, Kind.THINKING, Kind.TOOL_CALL, Kind.TOOL_RESULT]


def test_runs_of_one_instance_are_a_group(tmp_path: Path) -> None:
    result = parsed(tmp_path, run(answer(), instance_id="shop__lamps-12"))
    assert result.traces[0].group == "shop__lamps-12"
    assert parsed(tmp_path, run(answer())).traces[0].group is None


def test_a_bare_list_of_messages_is_a_run(tmp_path: Path) -> None:
    messages = [
        SYSTEM,
        TASK,
        {"role": "assistant", "content": "ls"},
        {"role": "user", "content": ""},
    ]
    result = parsed(tmp_path, messages)
    copy = parsed(tmp_path, messages, "b.traj.json")
    (call,) = result.calls
    assert (call.usage, call.started_at, call.model) == (None, None, None)
    assert call.identity == (result.traces[0].id, "0")
    assert copy.calls[0].identity == call.identity
    assert result.traces[0].title == "a"


@pytest.mark.parametrize(
    "bad",
    [7, None, "text", {"role": "assistant", "extra": 7}, answer(timestamp="noon"), answer(cost=-1)],
)
def test_a_bad_message_is_one_issue_and_the_others_are_kept(tmp_path: Path, bad: Any) -> None:
    result = parsed(tmp_path, run(SYSTEM, bad, answer("good")))
    assert [call.identity for call in result.calls] == [("", "good")]
    assert [issue.line for issue in result.issues] == [2]
    assert result.text(result.calls[0].prompt) == [SYSTEM["content"]]


def test_bad_info_costs_no_call(tmp_path: Path) -> None:
    result = parsed(tmp_path, run(answer(), info={"config": 7}))
    assert (len(result.calls), len(result.issues)) == (1, 1)


@pytest.mark.parametrize("cut", [0, 1, 40, 300, -1])
def test_a_document_cut_short_is_one_issue(tmp_path: Path, cut: int) -> None:
    result = parsed(tmp_path, json.dumps(run(SYSTEM, answer())).encode()[:cut])
    assert (result.calls, len(result.issues)) == ([], 1)


def test_a_file_is_known_by_its_format_version_or_its_prompt() -> None:
    assert identified(run(SYSTEM, answer()))
    assert identified(run({"role": "user", "content": "x" * HEAD_BYTES}))
    assert identified([SYSTEM, TASK])
    assert identified([{"role": "system", "content": "Be kind."}, TASK], "a.traj.json")


@pytest.mark.parametrize(
    "other",
    [
        [{"role": "system", "content": "Be kind."}, TASK],
        [{"id": 0, "source": "user", "action": "message", "args": {}}],
        {"messages": [SYSTEM, TASK], "model": "gpt-4o"},
        {"info": {"agent_info": {}}, "simulations": []},
        {"trajectory": [], "history": [], "info": {}},
        {},
        [],
    ],
)
def test_documents_of_other_formats_are_refused(other: Any) -> None:
    assert not identified(other)


def test_the_samples_are_two_runs_that_part_and_two_older_shapes(sample_logs: Path) -> None:
    folder = sample_logs / "mini-swe-agent"
    first = parse_file(PARSER, folder / "first" / "shop__lamps-12.traj.json")
    second = parse_file(PARSER, folder / "second" / "shop__lamps-12.traj.json")
    assert [len(first.calls), len(second.calls)] == [6, 4]
    read = [call.usage.cache_read_tokens for call in first.calls if call.usage]
    assert read == [0, 1456, 1556, 1656, 1686, 1786]
    document = json.loads((folder / "first" / "shop__lamps-12.traj.json").read_text())
    total = document["info"]["model_stats"]["instance_cost"]
    assert sum(call.logged_cost_usd or 0 for call in first.calls) == pytest.approx(total)
    shared = first.text(first.calls[2].prompt)
    assert second.text(second.calls[2].prompt) == shared
    assert second.text(second.calls[2].completion) != first.text(first.calls[2].completion)
    old = parse_file(PARSER, folder / "version-1.traj.json")
    assert {(call.model, call.logged_cost_usd) for call in old.calls} == {("ollama/qwen3:4b", None)}
    assert len(parse_file(PARSER, folder / "messages-only.traj.json").calls) == 2


@pytest.mark.real
def test_the_real_trajectories_have_the_known_messages(real_logs: Path) -> None:
    facts = json.loads((real_logs / "FACTS.json").read_text())["mini_swe_agent"]
    assert len(facts) == 2
    for name, fact in facts.items():
        result = parse_file(PARSER, real_logs / name)
        messages = json.loads((real_logs / name).read_text())
        assert fact["toplevel"] == type(messages).__name__
        assert result.issues == []
        # Each message is one segment.
        assert len(result.tree.path(result.traces[0].leaf or 0)) == fact["n"]
        answers = [message for message in messages if message["role"] == "assistant"]
        assert len(result.calls) == len(answers)


@pytest.mark.real
def test_only_the_real_trajectories_of_this_format_are_claimed(real_logs: Path) -> None:
    for path in (path for path in real_logs.rglob("*") if path.is_file()):
        ours = path.relative_to(real_logs).parts[0] == "mini-swe-agent"
        assert (PARSER.identify(read_head(path)) is not None) == ours, path

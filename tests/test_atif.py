"""The parser for ATIF trajectories."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from parsed_records import read
from recording_tree import Parsed, Seen, parse_file

from forkpoint.parsers.atif import MAX_DEPTH, Atif
from forkpoint.parsers.logs import HEAD_BYTES, Head, read_head
from forkpoint.parsers.records import Kind, Usage

PARSER = Atif()
TOOL = {"type": "function", "function": {"name": "run", "parameters": {}}}
CALL = {"tool_call_id": "c1", "function_name": "run", "arguments": {"command": "ls"}}


def agent_step(number: int, message: Any = "Looking.", **changes: Any) -> dict[str, Any]:
    metrics = {"prompt_tokens": 100, "completion_tokens": 7, "cached_tokens": 64}
    step = {"step_id": number, "source": "agent", "message": message, "metrics": metrics}
    return {**step, **changes}


STEPS: list[dict[str, Any]] = [
    {"step_id": 1, "source": "system", "message": "Be brief."},
    {"step_id": 2, "source": "user", "message": "Repair it."},
    agent_step(
        3,
        timestamp="2026-05-11T09:10:30Z",
        reasoning_content="First look.",
        tool_calls=[CALL],
        observation={"results": [{"source_call_id": "c1", "content": "a.py"}]},
    ),
    agent_step(4, "Done."),
]


def trajectory(*steps: dict[str, Any], **changes: Any) -> dict[str, Any]:
    agent = {"name": "fettle", "version": "1", "model_name": "openai/gpt-4o"}
    document = {"schema_version": "ATIF-v1.7", "session_id": "s-1", "agent": agent}
    return {**document, "steps": list(steps) or STEPS, **changes}


def parsed(folder: Path, document: Any, name: str = "trajectory.json") -> Parsed:
    return read(PARSER, folder / name, document)


def paths(result: Parsed) -> list[list[Seen]]:
    return [result.tree.path(call.prompt) for call in result.calls]


def with_tools(**changes: Any) -> dict[str, Any]:
    document = trajectory(**changes)
    document["agent"] = {**document["agent"], "tool_definitions": [TOOL]}
    return document


def test_each_agent_step_is_a_call_on_all_that_stands_before_it(tmp_path: Path) -> None:
    result = parsed(tmp_path, with_tools())
    assert result.issues == []
    first, second = result.calls
    whole = [
        (Kind.TOOLS, "", '{"type":"function","function":{"name":"run","parameters":{}}}'),
        (Kind.SYSTEM, "system", "Be brief."),
        (Kind.TEXT, "user", "Repair it."),
        (Kind.THINKING, "assistant", "First look."),
        (Kind.TEXT, "assistant", "Looking."),
        (Kind.TOOL_CALL, "assistant", 'run\n{"command":"ls"}'),
        (Kind.TOOL_RESULT, "tool", "a.py"),
        (Kind.TEXT, "assistant", "Done."),
    ]
    assert result.tree.path(first.prompt) == whole[:3]
    assert result.tree.path(first.completion or 0) == whole[:6]
    assert result.tree.path(second.prompt) == whole[:7]
    assert result.tree.path(second.completion or 0) == whole
    (trace,) = result.traces
    assert (trace.id, trace.agent, trace.leaf) == ("s-1", "fettle 1", second.completion)
    assert (first.provider, first.model) == ("openai", "gpt-4o")
    assert first.started_at is not None and first.started_at.isoformat().startswith("2026-05-11T09")
    assert [call.line for call in result.calls] == [3, 4]
    data = (tmp_path / "trajectory.json").read_bytes()
    assert json.JSONDecoder().raw_decode(data[first.offset :].decode())[0] == STEPS[2]


def test_prompt_tokens_include_cached_tokens(tmp_path: Path) -> None:
    result = parsed(tmp_path, trajectory())
    assert result.calls[0].usage == Usage(input_tokens=100, cache_read_tokens=64, output_tokens=7)


def test_cache_writes_and_reasoning_are_taken_from_the_providers_own_counts(tmp_path: Path) -> None:
    metrics = {
        "prompt_tokens": 100,
        "completion_tokens": 7,
        "cached_tokens": 64,
        "cost_usd": 0.25,
        "extra": {
            "cache_creation_input_tokens": 30,
            "cache_creation": {"ephemeral_1h_input_tokens": 20},
            "reasoning_tokens": 5,
        },
    }
    result = parsed(tmp_path, trajectory(*STEPS[:2], agent_step(3, metrics=metrics)))
    usage = Usage(
        input_tokens=100,
        cache_read_tokens=64,
        cache_write_tokens=30,
        cache_write_1h_tokens=20,
        output_tokens=7,
        reasoning_tokens=5,
    )
    assert [(call.usage, call.logged_cost_usd) for call in result.calls] == [(usage, 0.25)]


@pytest.mark.parametrize("metrics", [None, {}, {"prompt_tokens": 0, "completion_tokens": 0}])
def test_a_step_without_counts_is_a_call_of_unknown_size(tmp_path: Path, metrics: Any) -> None:
    result = parsed(tmp_path, trajectory(*STEPS[:2], agent_step(3, metrics=metrics)))
    assert [call.usage for call in result.calls] == [None]


def test_copied_context_is_in_the_prompt_and_not_among_the_calls(tmp_path: Path) -> None:
    copied = [dict(step, is_copied_context=True) for step in STEPS[:3]]
    result = parsed(tmp_path, trajectory(*copied, STEPS[3]))
    assert [call.line for call in result.calls] == [4]
    assert [seen.content for seen in paths(result)[0]][-2:] == ['run\n{"command":"ls"}', "a.py"]


def test_a_step_that_no_model_made_is_no_call(tmp_path: Path) -> None:
    result = parsed(tmp_path, trajectory(*STEPS[:2], agent_step(3, llm_call_count=0), STEPS[3]))
    assert [call.line for call in result.calls] == [4]


def test_a_step_of_several_calls_is_one_with_their_sum(tmp_path: Path) -> None:
    result = parsed(tmp_path, trajectory(*STEPS[:2], agent_step(3, llm_call_count=4)))
    assert [call.usage and call.usage.input_tokens for call in result.calls] == [100]


def test_a_continuation_is_the_same_trace_with_calls_of_its_own(tmp_path: Path) -> None:
    first = parsed(tmp_path, trajectory(continued_trajectory_ref="b.json"))
    copied = [dict(step, is_copied_context=True) for step in STEPS[:2]]
    more = trajectory(*copied, agent_step(3, "Going on."), agent_step(4, "Done now."))
    second = parsed(tmp_path, more)
    assert {trace.id for trace in (*first.traces, *second.traces)} == {"s-1"}
    assert len({call.identity for call in (*first.calls, *second.calls)}) == 4
    assert first.traces[0].group == second.traces[0].group


def test_a_copy_of_a_file_holds_the_same_calls_even_if_results_came_later(tmp_path: Path) -> None:
    early = [dict(step) for step in STEPS]
    del early[2]["observation"]
    first, second = parsed(tmp_path, trajectory()), parsed(tmp_path, trajectory(*early))
    assert [call.identity for call in first.calls] == [call.identity for call in second.calls]


def test_a_replaced_context_goes_on_from_the_system_prompt_and_the_summary(tmp_path: Path) -> None:
    compaction = {
        "step_id": 4,
        "source": "system",
        "message": "Compacted.",
        "observation": {"results": [{"content": "So far: looked."}]},
        "extra": {"context_management": {"type": "compaction", "boundary": "replace"}},
    }
    asked = {"step_id": 5, "source": "user", "message": "Go on."}
    document = with_tools(steps=[*STEPS[:3], compaction, asked, agent_step(6)])
    last = paths(parsed(tmp_path, document))[-1]
    assert [(seen.kind, seen.content) for seen in last[1:]] == [
        (Kind.SYSTEM, "Be brief."),
        (Kind.SYSTEM, "So far: looked."),
        (Kind.TEXT, "Go on."),
    ]


def test_a_call_that_compacts_the_context_counts(tmp_path: Path) -> None:
    extra = {"context_management": {"boundary": "replace"}}
    result = parsed(tmp_path, trajectory(*STEPS[:3], agent_step(4, "Sum.", extra=extra)))
    assert len(result.calls) == 2


def test_results_of_actions_without_a_tool_call_are_the_users_next_words(tmp_path: Path) -> None:
    shown = {"results": [{"content": "$ ls\na.py"}]}
    result = parsed(tmp_path, trajectory(*STEPS[:2], agent_step(3, observation=shown), STEPS[3]))
    assert paths(result)[-1][-1] == (Kind.TEXT, "user", "$ ls\na.py")


def test_tools_that_were_used_and_not_logged_stand_in_the_prompt_by_name(tmp_path: Path) -> None:
    assert paths(parsed(tmp_path, trajectory()))[0][0] == (
        Kind.UNLOGGED,
        "",
        "tool definitions of fettle 1",
    )
    without = trajectory(*STEPS[:2], agent_step(3))
    assert paths(parsed(tmp_path, without))[0][0].kind is Kind.SYSTEM


def test_images_are_media_and_texts_beside_them_are_text(tmp_path: Path) -> None:
    image = {"type": "image", "source": {"media_type": "image/png", "path": "a.png"}}
    shown = [{"type": "text", "text": "See:"}, image]
    asked = {"step_id": 1, "source": "user", "message": shown}
    (path,) = paths(parsed(tmp_path, trajectory(asked, agent_step(2))))
    assert [seen.kind for seen in path] == [Kind.TEXT, Kind.MEDIA]


def test_token_ids_are_the_prompt_and_logprobs_go_with_them(tmp_path: Path) -> None:
    metrics = {
        "prompt_token_ids": [1, 2, 3],
        "completion_token_ids": [4, 5],
        "logprobs": [-0.5, None],
    }
    result = parsed(tmp_path, trajectory(*STEPS[:2], agent_step(3, metrics=metrics)))
    (call,) = result.calls
    assert paths(result) == [[(Kind.TOKENS, "", (1, 2, 3))]]
    assert result.tree.path(call.completion or 0) == [(Kind.TOKENS, "", (1, 2, 3, 4, 5))]
    assert result.tree.path(call.text or 0)[-1] == (Kind.TEXT, "assistant", "Looking.")
    (scores,) = result.scores
    assert (scores.tokens, scores.logprobs, scores.top) == ([4, 5], [-0.5, None], None)
    assert (scores.trace, scores.prompt, scores.completion) == ("s-1", call.prompt, call.completion)


def test_logprobs_without_the_prompts_ids_stand_on_the_text(tmp_path: Path) -> None:
    metrics = {"completion_token_ids": [4, 5], "logprobs": [-0.5, -0.25]}
    result = parsed(tmp_path, trajectory(*STEPS[:2], agent_step(3, metrics=metrics)))
    assert (result.calls[0].text, len(result.scores)) == (None, 1)
    assert result.tree.path(result.scores[0].completion)[-1].kind is Kind.TEXT


def test_logprobs_that_do_not_fit_the_tokens_cost_only_themselves(tmp_path: Path) -> None:
    metrics = {"prompt_tokens": 5, "completion_token_ids": [4, 5], "logprobs": [-0.5]}
    result = parsed(tmp_path, trajectory(*STEPS[:2], agent_step(3, metrics=metrics)))
    assert len(result.calls) == 1 and result.scores == []
    assert [(issue.line, issue.reason) for issue in result.issues] == [
        (3, "metrics: 1 logprobs for 2 tokens")
    ]


def test_subagents_are_child_traces_whose_calls_count(tmp_path: Path) -> None:
    inner = trajectory(*STEPS[:2], agent_step(3, "Read."), trajectory_id="t-2")
    result = parsed(tmp_path, trajectory(subagent_trajectories=[inner]))
    parent, child = result.traces
    assert (child.id, child.parent, child.group) == ("s-1/t-2", "s-1", None)
    assert parent.group is not None
    assert [call.sidechain for call in result.calls] == [False, False, True]
    assert [call.line for call in result.calls] == [3, 4, 7]


def test_a_wrapped_parent_and_child_are_two_trajectories(tmp_path: Path) -> None:
    document = {"parent": trajectory(), "child": trajectory(*STEPS[:2], agent_step(3)), "note": 1}
    result = parsed(tmp_path, document)
    assert [(trace.id, trace.parent) for trace in result.traces] == [
        ("s-1", None),
        ("s-1/child", "s-1"),
    ]
    assert [call.sidechain for call in result.calls] == [False, False, True]
    assert PARSER.identify(read_head(tmp_path / "trajectory.json")) is not None


def test_final_metrics_add_nothing(tmp_path: Path) -> None:
    result = parsed(tmp_path, trajectory(final_metrics={"total_prompt_tokens": 10**6}))
    assert sum(call.usage.input_tokens or 0 for call in result.calls if call.usage) == 200


def test_trials_of_one_task_are_a_group(tmp_path: Path) -> None:
    first = parsed(tmp_path, trajectory(session_id="a")).traces[0]
    second = parsed(tmp_path, trajectory(*STEPS[:2], agent_step(3), session_id="b")).traces[0]
    other = trajectory(STEPS[0], {"step_id": 2, "source": "user", "message": "Other."})
    third = parsed(tmp_path, other).traces[0]
    assert first.id != second.id
    assert first.group == second.group != third.group
    assert parsed(tmp_path, with_tools()).traces[0].group == first.group


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"source": "robot"}, "source"),
        ({"message": 7}, "content"),
        ({"metrics": {"prompt_tokens": -1}}, "metrics"),
        ({"metrics": {"prompt_tokens": 10, "cached_tokens": 11}}, "cache read"),
        ({"metrics": {"cost_usd": -1}}, "cost"),
        ({"timestamp": "noon"}, "time"),
        ({"tool_calls": {}}, "tool_calls"),
    ],
)
def test_a_step_that_cannot_be_read_costs_only_itself(
    tmp_path: Path, changes: dict[str, Any], named: str
) -> None:
    result = parsed(tmp_path, trajectory(*STEPS[:2], agent_step(3, **changes), STEPS[3]))
    assert [call.line for call in result.calls] == [4]
    (issue,) = result.issues
    assert issue.line == 3 and named in issue.reason
    data = (tmp_path / "trajectory.json").read_bytes()
    assert data[issue.offset :].startswith(b'{\n      "step_id": 3')


@pytest.mark.parametrize("cut", [1, 40, 300, -1])
def test_a_document_cut_short_is_one_issue(tmp_path: Path, cut: int) -> None:
    result = parsed(tmp_path, json.dumps(trajectory()).encode()[:cut])
    assert (result.calls, [issue.line for issue in result.issues]) == ([], [1])


@pytest.mark.parametrize("document", [b"", b"[]", b"{}", b'{"steps": 1}', b"{" * 200_000])
def test_a_document_of_another_shape_is_one_issue(tmp_path: Path, document: bytes) -> None:
    result = parsed(tmp_path, document)
    assert (result.calls, len(result.issues)) == ([], 1)


def test_deeply_nested_subagents_are_one_issue(tmp_path: Path) -> None:
    document = trajectory(agent_step(1))
    for _ in range(MAX_DEPTH + 5):
        document = trajectory(agent_step(1), subagent_trajectories=[document])
    result = parsed(tmp_path, json.dumps(document).encode())
    assert len(result.calls) == MAX_DEPTH + 1
    assert [issue.reason for issue in result.issues] == ["subagents nested too deeply"]


def test_what_strict_json_forbids_costs_nothing(tmp_path: Path) -> None:
    metrics = {"completion_token_ids": [4], "logprobs": [float("nan")]}
    half = {"step_id": 2, "source": "user", "message": "\ud83d"}
    result = parsed(tmp_path, trajectory(STEPS[0], half, agent_step(3, metrics=metrics)))
    assert (len(result.calls), result.issues) == (1, [])
    assert result.scores[0].logprobs == [None]


def test_a_file_is_known_by_its_schema_version() -> None:
    def identified(data: bytes) -> bool:
        return PARSER.identify(Head(Path("x"), data[:HEAD_BYTES])) is not None

    assert identified(json.dumps(trajectory()).encode())
    assert identified(json.dumps(trajectory(notes="x" * HEAD_BYTES)).encode())
    assert not identified(json.dumps([trajectory()]).encode())
    assert not identified(json.dumps({"steps": [], "schema_version": "2"}).encode())
    quoted = json.dumps({"role": "user", "content": json.dumps(trajectory())})
    assert not identified(quoted.encode())


def test_the_sample_forks_after_two_turns_and_goes_on_in_a_second_file(sample_logs: Path) -> None:
    folder = sample_logs / "atif"
    results = [parse_file(PARSER, path) for path in sorted(folder.glob("*.json"))]
    assert [issue for result in results for issue in result.issues] == []
    calls = [call for result in results for call in result.calls]
    assert len(calls) == len({call.identity for call in calls}) == 11
    assert sum(call.usage.input_tokens or 0 for call in calls if call.usage) == 1910
    assert sum(call.usage.cache_read_tokens or 0 for call in calls if call.usage) == 1424
    traces = [trace for result in results for trace in result.traces]
    assert len({trace.group for trace in traces if trace.group}) == 1
    assert len({trace.id for trace in traces}) == 3
    assert sum(len(result.scores) for result in results) == 10
    first, _, second = (result.tree.path(result.calls[0].prompt) for result in results)
    assert first == second
    assert all(call.text for result in results for call in result.calls if not call.sidechain)


@pytest.mark.real
def test_the_real_trajectories_have_the_known_steps_and_sums(real_logs: Path) -> None:
    facts = json.loads((real_logs / "FACTS.json").read_text())["atif"]
    for name, fact in facts.items():
        result = parse_file(PARSER, real_logs / name)
        assert result.issues == []
        document = json.loads((real_logs / name).read_text())
        copied = sum(
            step["source"] == "agent" and bool(step.get("is_copied_context"))
            for step in document["steps"]
        )
        assert len(result.calls) == fact["agent_steps"] - copied
        usages = [call.usage for call in result.calls if call.usage]
        assert len(usages) == fact["steps_with_metrics"]
        assert sum(usage.input_tokens or 0 for usage in usages) == fact["sum_prompt"]
        assert sum(usage.output_tokens or 0 for usage in usages) == fact["sum_completion"]
        assert sum(usage.cache_read_tokens or 0 for usage in usages) == fact["sum_cached"]
        assert sum(len(scores.tokens) for scores in result.scores) == fact["logprob_positions"]
        assert fact["schema"] in (PARSER.identify(read_head(real_logs / name)) or "")


@pytest.mark.real
def test_only_the_real_trajectories_are_claimed(real_logs: Path) -> None:
    for path in (path for path in real_logs.rglob("*") if path.is_file()):
        ours = path.parent.parent.name == "atif"
        assert (PARSER.identify(read_head(path)) is not None) == ours, path

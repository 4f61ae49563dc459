"""The parser for NeMo-Gym's rollouts."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from parsed_records import claim, read
from recording_tree import Parsed, parse_tail

from forkpoint.parsers.logs import HEAD_BYTES
from forkpoint.parsers.nemo_gym import NemoGym
from forkpoint.parsers.records import Kind

PARSER = NemoGym()
TOOLS = [{"type": "function", "name": "look", "parameters": {}}]
GIVEN = [{"role": "system", "content": "S"}, {"type": "message", "role": "user", "content": "Q"}]
USAGE = {
    "input_tokens": 50,
    "input_tokens_details": {"cached_tokens": 32},
    "output_tokens": 9,
    "output_tokens_details": {"reasoning_tokens": 4},
}


def said(text: str, **fields: Any) -> dict[str, Any]:
    part = {"type": "output_text", "text": text, "annotations": []}
    return {"type": "message", "role": "assistant", "id": text, "content": [part], **fields}


def called(call_id: str = "c1") -> list[dict[str, Any]]:
    return [
        {"type": "function_call", "name": "look", "arguments": "{}", "call_id": call_id},
        {"type": "function_call_output", "call_id": call_id, "output": "seen"},
    ]


def sampled(text: str, prompt: list[int], made: list[int], **fields: Any) -> dict[str, Any]:
    logprobs = [-token / 8 for token in made]
    ids = {"prompt_token_ids": prompt, "generation_token_ids": made}
    return said(text, **{**ids, "generation_log_probs": logprobs, **fields})


def row(output: Any, params: dict[str, Any] | None = None, **fields: Any) -> str:
    response = {"output": output, "usage": USAGE, "model": "m", "created_at": 1_790_000_000.5}
    given = {
        "responses_create_params": {"input": GIVEN, "tools": TOOLS, **(params or {})},
        "response": {**response, **fields.pop("response", {})},
        "reward": 1.0,
        "_ng_task_index": 0,
        "_ng_rollout_index": 0,
    }
    return json.dumps({**given, **fields}) + "\n"


def parsed(folder: Path, *lines: str) -> Parsed:
    return read(PARSER, folder / "rollouts.jsonl", "".join(lines))


def test_a_rollout_of_one_call_has_its_usage_time_and_model(tmp_path: Path) -> None:
    found = parsed(tmp_path, row([{"type": "reasoning", "summary": [], "id": "r"}, said("A.")]))
    (call,), (trace,) = found.calls, found.traces
    kinds = [segment.kind for segment in found.tree.path(call.prompt)]
    assert kinds == [Kind.TOOLS, Kind.SYSTEM, Kind.TEXT]
    assert found.text(call.completion)[1:] == ["S", "Q", "r", "A."]
    assert (trace.leaf, trace.reward) == (call.completion, 1.0)
    usage = call.usage
    assert usage is not None
    assert (usage.input_tokens, usage.cache_read_tokens) == (50, 32)
    assert (usage.output_tokens, usage.reasoning_tokens) == (9, 4)
    assert call.started_at == datetime(2026, 9, 21, 14, 13, 20, 500_000, tzinfo=UTC)
    assert call.model == "m"
    assert found.issues == []


def test_each_run_of_items_that_the_model_wrote_is_a_call(tmp_path: Path) -> None:
    user = {"type": "message", "role": "user", "content": "And?"}
    found = parsed(tmp_path, row([said("hm"), *called(), *called("c2"), said("A."), user]))
    assert len(found.calls) == 3
    first, second, third = found.calls
    assert found.text(first.completion)[3:] == ["hm", "look\n{}"]
    assert found.text(second.prompt)[3:] == ["hm", "look\n{}", "seen"]
    assert found.text(third.completion)[-1] == "A."
    assert found.text(found.traces[0].leaf)[-1] == "And?"
    assert len({call.identity for call in found.calls}) == 3


def test_a_usage_of_several_calls_is_none_of_theirs(tmp_path: Path) -> None:
    found = parsed(tmp_path, row([*called(), said("A.")]))
    assert [(call.usage, call.started_at) for call in found.calls] == [(None, None)] * 2


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        (None, None),
        (
            {"input_tokens": 0, "output_tokens": 0, "input_tokens_details": {"cached_tokens": 0}},
            None,
        ),
        ({"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}, (5, None, 2)),
        ({"prompt_tokens": 5, "prompt_tokens_details": {"cached_tokens": 4}}, (5, 4, None)),
        ({"total_tokens": 7}, None),
    ],
)
def test_usage_of_either_api_is_read_and_nought_means_unknown(
    tmp_path: Path, usage: Any, expected: Any
) -> None:
    (call,) = parsed(tmp_path, row([said("A.")], response={"usage": usage})).calls
    found = call.usage
    assert expected == (
        found and (found.input_tokens, found.cache_read_tokens, found.output_tokens)
    )


def test_random_ids_of_calls_fake_no_fork(tmp_path: Path) -> None:
    found = parsed(tmp_path, row([*called("a"), said("A.")]), row([*called("b"), said("A.")]))
    assert found.traces[0].leaf == found.traces[1].leaf


def test_rollouts_of_one_task_are_a_group_in_their_file_only(tmp_path: Path) -> None:
    lines = [row([said("A.")]), row([said("B.")]), row([said("A.")], _ng_task_index=1)]
    first, second, other = (trace.group for trace in parsed(tmp_path, *lines).traces)
    assert first == second != other
    elsewhere = parsed(tmp_path, lines[2], lines[0])
    assert first not in {trace.group for trace in elsewhere.traces}


def test_without_a_task_rollouts_of_one_input_are_a_group(tmp_path: Path) -> None:
    none = {"_ng_task_index": None}
    found = parsed(
        tmp_path,
        row([said("A.")], **none),
        row([said("A.")], **none),
        row([said("A.")], {"input": "other"}, **none),
        row([said("A.")], {"tools": []}, **none),
    )
    groups = [trace.group for trace in found.traces]
    assert groups[0] == groups[1]
    assert len(set(groups)) == 3
    assert len({trace.id for trace in found.traces}) == 4


def test_an_input_may_be_a_text_after_instructions(tmp_path: Path) -> None:
    params = {"input": "Q", "instructions": "Be kind.", "tools": None}
    found = parsed(tmp_path, row([said("A.")], params))
    path = found.tree.path(found.calls[0].prompt)
    assert [(segment.kind, segment.content) for segment in path] == [
        (Kind.SYSTEM, "Be kind."),
        (Kind.TEXT, "Q"),
    ]


def test_where_every_call_has_token_ids_calls_are_token_ids(tmp_path: Path) -> None:
    output = [
        said("thinking"),
        sampled("hm", [1, 2], [3, 4]),
        *called()[1:],
        sampled("A.", [1, 2, 3, 4, 5], [6]),
    ]
    found = parsed(tmp_path, row(output))
    first, second = found.calls
    assert found.text(first.prompt) == [(1, 2)]
    assert found.text(first.completion) == [(1, 2, 3, 4)]
    assert found.text(second.completion) == [(1, 2, 3, 4, 5, 6)]
    assert found.text(first.text)[-2:] == ["thinking", "hm"]
    assert found.text(second.text)[-1] == "A."
    assert [scores.logprobs for scores in found.scores] == [[-3 / 8, -4 / 8], [-6 / 8]]
    assert found.traces[0].leaf == second.completion


def test_two_calls_with_ids_side_by_side_stay_two(tmp_path: Path) -> None:
    output = [sampled("a", [1], [2]), sampled("b", [1, 2], [3])]
    found = parsed(tmp_path, row(output))
    assert [found.text(call.completion) for call in found.calls] == [[(1, 2)], [(1, 2, 3)]]


def test_where_one_call_lacks_ids_all_are_text(tmp_path: Path) -> None:
    found = parsed(tmp_path, row([sampled("a", [1], [2]), *called()[1:], said("b")]))
    assert [found.text(call.completion)[-1] for call in found.calls] == ["a", "b"]
    assert found.scores == []
    assert all(call.text is None for call in found.calls)


def test_ids_without_logprobs_have_no_scores(tmp_path: Path) -> None:
    found = parsed(tmp_path, row([sampled("a", [1], [2], generation_log_probs=None)]))
    assert (len(found.calls), found.scores) == (1, [])


def test_of_transitions_the_last_action_of_each_is_a_call(tmp_path: Path) -> None:
    asked = {"type": "message", "role": "user", "content": "Go."}
    transitions = [[asked, *called()], [asked, *called(), said("A.")]]
    found = parsed(tmp_path, row(transitions, {"input": []}))
    first, second = found.calls
    assert found.text(first.completion)[1:] == ["Go.", "look\n{}"]
    assert found.text(second.prompt)[1:] == ["Go.", "look\n{}", "seen"]
    assert found.traces[0].leaf == second.completion


def test_a_rollout_that_failed_has_no_calls(tmp_path: Path) -> None:
    rows = [row([], response={"output": None}), row([])]
    failed = json.dumps({"responses_create_params": {"input": "Q"}, "response": None, "reward": 0})
    found = parsed(tmp_path, *rows, failed + "\n")
    assert found.calls == []
    assert [trace.reward for trace in found.traces] == [1.0, 1.0, 0.0]
    assert found.traces[2].leaf is None
    assert found.issues == []


@pytest.mark.parametrize("moment", [None, 0, -5.0, 1e300])
def test_a_time_that_is_none_is_left_out(tmp_path: Path, moment: Any) -> None:
    (call,) = parsed(tmp_path, row([said("A.")], response={"created_at": moment})).calls
    assert call.started_at is None


@pytest.mark.parametrize(
    "bad",
    [
        row("text"),
        row([7]),
        row([{"type": 5}]),
        row([{"id": "neither type nor role"}]),
        row([said("A.")], reward="good"),
        row([said("A.")], {"input": [7]}),
        row([said("A.")], {"input": [{"content": "no role"}]}),
        row([said("A.")], response={"usage": {**USAGE, "input_tokens": 5}}),
        row([said("A.")], response={"usage": {"input_tokens": -5}}),
        row([sampled("a", [1], [2, 3], generation_log_probs=[-1.0])]),
        row([sampled("a", ["x"], [2])]),
        row([said("A.")], responses_create_params=None),
        row([said("A.")], _ng_task_index=1.5),
        row([said("A.")])[:200] + "\n",
        '{"x": ' + "[" * 200_000 + "\n",
        "7\n",
    ],
)
def test_a_bad_row_is_one_issue_and_the_others_are_kept(tmp_path: Path, bad: str) -> None:
    good = row([said("A.")])
    found = parsed(tmp_path, good, bad, good)
    (issue,) = found.issues
    assert (issue.line, issue.offset) == (2, len(good))
    assert [call.line for call in found.calls] == [1, 3]


def test_rollouts_are_appended_as_they_end(tmp_path: Path) -> None:
    lines = [row([said(f"{n % 2}")]) for n in range(4)]
    whole = parsed(tmp_path, *lines)
    before = parsed(tmp_path, *lines[:2])
    (tmp_path / "rollouts.jsonl").write_text("".join(lines))
    after = parse_tail(PARSER, before)
    assert [t.id for t in before.traces + after.traces] == [t.id for t in whole.traces]
    assert [t.group for t in after.traces] == [t.group for t in whole.traces[2:]]


def test_a_file_is_known_by_params_and_response() -> None:
    assert claim(PARSER, row([said("A.")]))
    assert claim(PARSER, row([said("A.")], {"input": "x" * HEAD_BYTES}), "gsm8k_rollouts.jsonl")
    assert claim(PARSER, row([said("x" * HEAD_BYTES)]), "other.jsonl")


@pytest.mark.parametrize(
    ("record", "name"),
    [
        ({"responses_create_params": {"input": "Q"}, "_ng_task_index": 0}, "rollouts.jsonl"),
        (
            {"responses_create_params": {"input": "x" * HEAD_BYTES}},
            "rollouts_materialized_inputs.jsonl",
        ),
        ({"responses_create_params": {"input": "x" * HEAD_BYTES}}, "train.jsonl"),
        ({"_ng_task_index": 0, "mean/reward": 0.5}, "rollouts_reward_profiling.jsonl"),
        ({"request": {"input": "Q"}, "response": {"output": []}}, "rollouts.jsonl"),
    ],
)
def test_inputs_profiles_and_other_logs_are_refused(record: dict[str, Any], name: str) -> None:
    assert not claim(PARSER, json.dumps(record) + "\n", name)


def test_the_sample_holds_three_groups_of_three(sample_logs: Path) -> None:
    found = read(PARSER, sample_logs / "nemo-gym" / "rollouts.jsonl")
    assert (len(found.traces), len(found.calls), len(found.scores)) == (9, 13, 3)
    assert len({trace.group for trace in found.traces}) == 3
    assert found.issues == []
    usages = [call.usage for call in found.calls if call.usage]
    assert sum(usage.input_tokens or 0 for usage in usages) == 513
    assert sum(usage.cache_read_tokens or 0 for usage in usages) == 256
    assert sum(trace.reward or 0 for trace in found.traces) == 5.5

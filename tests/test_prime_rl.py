"""The parser for prime-rl's and verifiers' traces, and for token exports."""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from recording_tree import Parsed, parse_file, parse_tail

from forkpoint.parsers import prime_rl_traces
from forkpoint.parsers.logs import HEAD_BYTES, Head, read_head
from forkpoint.parsers.prime_rl import PrimeRl
from forkpoint.parsers.records import Kind, Usage
from forkpoint.parsers.registry import parser_named

PARSER = PrimeRl()


def node(
    role: str, text: str, parent: int | None, ids: list[int] | None = None, **more: Any
) -> Any:
    ids = ids or []
    fields = {"message": {"role": role, "content": text}, "sampled": False, "timestamp": 50.0}
    fields |= {"token_ids": ids, "mask": [False] * len(ids), "logprobs": []}
    return {**fields, **({} if parent is None else {"parent": parent}), **more}


def sampled(text: str, parent: int, ids: list[int] | None = None, **more: Any) -> Any:
    """A node with one token of generation prompt."""
    made = len(ids) - 1 if ids else 0
    fields = {"sampled": True, "mask": [False, *[True] * made] if ids else []}
    fields |= {"logprobs": [-0.5] * made}
    return {**node("assistant", text, parent, ids), **fields, **more}


NODES = [
    node("system", "Be brief.", None, [1, 2]),
    node("user", "2 + 2?", 0, [3]),
    sampled("Let me see.", 1, [4, 5, 6]),
    node("tool", "4", 2, [7], message={"role": "tool", "content": "4", "tool_call_id": "c"}),
    sampled("Four.", 3, [8, 9]),
]
USAGE = {"prompt_tokens": 2, "cached_input_tokens": 6, "completion_tokens": 1}
CALLS = [
    {"node": 2, "model": "m", "usage": {"prompt_tokens": 4, "completion_tokens": 2}},
    {"node": 4, "model": "m", "usage": USAGE, "time": {"start": 60.0, "end": 61.5}},
]


def trace(name: str = "t1", **changes: Any) -> dict[str, Any]:
    fields = {"id": name, "verifiers": {"version": "0.2"}, "agent": {"name": "agent"}}
    rewards = {"right": {"score": 1.0, "weight": 2.0}, "form": {"score": 0.5, "weight": 1.0}}
    return {**fields, "nodes": NODES, "calls": CALLS, "rewards": rewards, **changes}


def episode(*traces: Any, **changes: Any) -> dict[str, Any]:
    fields = {"id": "e1", "env": {"id": "sums"}, "task": {"type": "T", "data": {}, "hash": "h"}}
    more = {"group": {"id": "g1"}, "ok": True, "errors": [], "traces": list(traces) or [trace()]}
    return {**fields, **more, **changes}


def export(**changes: Any) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "schema_version": 1,
        "step": 3,
        "rank": 0,
        "micro_step": 0,
        "micro_sequence_idx": 0,
    }
    fields |= {"export_sequence_idx": 0, "env_name": "sums"}
    columns = {
        "token_ids": [1, 2, 3, 4, 5, 6],
        "loss_mask": [False, True, True, False, True, False],
        "inference_logprobs": [0.0, -0.25, None, 0.0, -1.0, 0.0],
        "entropy": [11.9, 0.5, 0.75, 0.1, 1.5, 0.1],
    }
    return {**fields, **columns, **changes}


def parsed(folder: Path, *rows: Any) -> Parsed:
    path = folder / "traces.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in rows))
    return parse_file(PARSER, path)


def ids_at(result: Parsed, at: int | None) -> tuple[int, ...]:
    (segment,) = result.tree.path(at or 0)
    assert segment.kind == Kind.TOKENS
    ids: tuple[int, ...] = segment.content
    return ids


def identified(data: Any) -> bool:
    data = data if isinstance(data, bytes) else (json.dumps(data) + "\n").encode()
    return PARSER.identify(Head(Path("x"), data[:HEAD_BYTES])) is not None


def test_each_sampled_node_is_a_call_in_the_tokens_the_engine_saw(tmp_path: Path) -> None:
    result = parsed(tmp_path, episode())
    first, second = result.calls
    assert ids_at(result, first.prompt) == (1, 2, 3, 4)
    assert ids_at(result, first.completion) == (1, 2, 3, 4, 5, 6)
    assert ids_at(result, second.prompt) == (1, 2, 3, 4, 5, 6, 7, 8)
    assert ids_at(result, second.completion) == (1, 2, 3, 4, 5, 6, 7, 8, 9)
    assert result.text(second.text) == ["Be brief.", "2 + 2?", "Let me see.", "4", "Four."]
    assert result.traces[0].leaf == second.completion


def test_prompt_tokens_exclude_what_was_cached(tmp_path: Path) -> None:
    first, second = parsed(tmp_path, episode()).calls
    assert first.usage == Usage(input_tokens=4, output_tokens=2)
    assert second.usage == Usage(input_tokens=8, cache_read_tokens=6, output_tokens=1)
    assert second.started_at == datetime(1970, 1, 1, 0, 1, tzinfo=UTC)
    assert (second.duration_s, second.model) == (1.5, "m")
    assert first.started_at == datetime(1970, 1, 1, 0, 0, 50, tzinfo=UTC)


def test_logprobs_are_of_the_sampled_tokens_alone(tmp_path: Path) -> None:
    result = parsed(tmp_path, episode())
    first, second = result.scores
    assert (first.tokens, first.logprobs, first.entropies) == ([5, 6], [-0.5, -0.5], None)
    assert (second.tokens, second.trace) == ([9], "t1")
    assert (second.prompt, second.completion) == (
        result.calls[1].prompt,
        result.calls[1].completion,
    )


def test_a_trace_without_token_ids_is_read_as_text_after_its_tools(tmp_path: Path) -> None:
    bare = [
        {key: value for key, value in each.items() if key not in ("token_ids", "mask", "logprobs")}
        for each in NODES
    ]
    tools = [{"name": "calc", "description": "x", "parameters": {}}]
    result = parsed(tmp_path, episode(trace(nodes=bare, tools=tools)))
    path = result.tree.path(result.calls[1].prompt)
    assert [segment.kind for segment in path] == [
        Kind.TOOLS,
        Kind.SYSTEM,
        Kind.TEXT,
        Kind.TEXT,
        Kind.TOOL_RESULT,
    ]
    assert (result.calls[1].text, result.scores) == (None, [])


def test_branches_share_what_stands_before_they_part(tmp_path: Path) -> None:
    nodes = [*NODES, sampled("Or five.", 1, [4, 6]), sampled("Four!", 3, [8, 2, 2])]
    result = parsed(tmp_path, episode(trace(nodes=nodes)))
    other, third = result.calls[2:]
    assert ids_at(result, other.completion) == (1, 2, 3, 4, 6)
    assert ids_at(result, third.completion) == (1, 2, 3, 4, 5, 6, 7, 8, 2, 2)
    assert third.prompt == result.calls[1].prompt
    assert (other.usage, other.model) == (None, None)


def test_an_assistants_message_that_no_model_made_is_no_call(tmp_path: Path) -> None:
    nodes = [*NODES[:2], node("assistant", "Shown.", 1, [4]), sampled("Four.", 2, [5, 6])]
    result = parsed(tmp_path, episode(trace(nodes=nodes, calls=[])))
    assert [ids_at(result, call.prompt) for call in result.calls] == [(1, 2, 3, 4, 5)]


def test_calls_that_failed_were_not_paid_for_and_judges_were(tmp_path: Path) -> None:
    failed = {"model": "m", "error": {"type": "Timeout", "message": "x"}}
    judge = {"prompt_tokens": 30, "completion_tokens": 3, "cost": 0.5}
    result = parsed(tmp_path, episode(trace(calls=[*CALLS, failed], extra_usage=[judge])))
    assert len(result.calls) == 3
    last = result.calls[-1]
    assert last.usage == Usage(input_tokens=30, output_tokens=3)
    assert (last.logged_cost_usd, last.sidechain) == (0.5, True)
    assert [segment.kind for segment in result.tree.path(last.prompt)] == [Kind.UNLOGGED]
    assert result.traces[0].leaf == result.calls[1].completion


def test_a_reward_is_the_weighted_sum_of_what_was_scored(tmp_path: Path) -> None:
    rewards: list[Any] = [trace()["rewards"], {"right": None}, {}, {"right": {"score": 1.0}}]
    rows = [episode(trace(str(at), rewards=each)) for at, each in enumerate(rewards)]
    assert [t.reward for t in parsed(tmp_path, *rows).traces] == [2.5, None, None, 1.0]


def test_episodes_of_a_group_are_rollouts_of_a_task(tmp_path: Path) -> None:
    rows = [
        episode(trace("a")),
        episode(trace("b")),
        episode(trace("c"), group=None, run={"id": "r"}),
        episode(trace("d"), group=None, run={"id": "r"}, id="e2"),
        episode(trace("e", agent={"name": "judge"})),
    ]
    groups = [trace.group for trace in parsed(tmp_path, *rows).traces]
    assert groups == ["g1", "g1", "r/sums/h", "r/sums/h", "g1/judge"]


def test_a_copy_of_an_episode_holds_the_same_calls(tmp_path: Path) -> None:
    advantages = [{**each, "advantages": [0.5]} if each["sampled"] else each for each in NODES]
    result = parsed(tmp_path, episode(), episode(trace(nodes=advantages)))
    assert len({call.identity for call in result.calls}) == 2
    assert len({trace.id for trace in result.traces}) == 1


def test_episodes_that_were_appended_are_read_on(tmp_path: Path) -> None:
    before = parsed(tmp_path, episode())
    with open(tmp_path / "traces.jsonl", "a") as stream:
        stream.write(json.dumps(episode(trace("t2"))) + "\n")
    after = parse_tail(PARSER, before)
    assert [trace.id for trace in after.traces] == ["t2"]
    assert [call.line for call in after.calls] == [2, 2]


@pytest.mark.parametrize(
    "bad",
    [
        7,
        {},
        trace(nodes=[node("user", "x", 0)]),
        trace(nodes=[node("user", "x", 7)]),
        trace(nodes=[node("user", "x", None, [1], mask=[])]),
        trace(nodes=[node("user", "x", None, [-1])]),
        trace(nodes=[node("user", "x", None, message=7)]),
        trace(calls=[{"node": 2, "usage": {"prompt_tokens": -1}}]),
        trace(rewards={"right": 1.0}),
    ],
)
def test_a_bad_trace_is_one_issue_and_the_others_are_kept(tmp_path: Path, bad: Any) -> None:
    result = parsed(tmp_path, episode(trace("a"), bad, trace("c")))
    assert [trace.id for trace in result.traces] == ["a", "c"]
    assert [issue.line for issue in result.issues] == [1]


def test_a_trace_made_to_keep_us_busy_is_an_issue(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prime_rl_traces, "_MAX_TOKENS", 20)
    chain = [NODES[0], *(sampled("x", at, [1, 2]) for at in range(50))]
    result = parsed(tmp_path, episode(trace(nodes=chain)))
    assert (result.calls, len(result.issues)) == ([], 1)


def test_an_export_has_scores_for_each_run_of_trained_tokens(tmp_path: Path) -> None:
    result = parsed(tmp_path, export())
    first, second = result.scores
    assert (first.tokens, first.logprobs, first.entropies) == ([2, 3], [-0.25, None], [0.5, 0.75])
    assert (second.tokens, second.logprobs, second.entropies) == ([5], [-1.0], [1.5])
    assert ids_at(result, first.prompt) == (1,)
    assert ids_at(result, second.prompt) == (1, 2, 3, 4)
    assert ids_at(result, second.completion) == (1, 2, 3, 4, 5)
    (found,) = result.traces
    assert (found.group, found.project, result.calls) == (None, "sums", [])
    assert ids_at(result, found.leaf) == (1, 2, 3, 4, 5, 6)
    assert found.prompt == first.prompt


def test_tokens_that_were_only_imitated_were_not_sampled(tmp_path: Path) -> None:
    weights = {"ce_weights": [0, 0.5, 0.5, 0, 0, 0], "rl_weights": [0, 0, 0, 0, 1.0, 0]}
    result = parsed(tmp_path, export(**weights))
    assert [scores.tokens for scores in result.scores] == [[5]]


def test_equal_exports_are_two_traces(tmp_path: Path) -> None:
    result = parsed(tmp_path, export(), export())
    assert len({trace.id for trace in result.traces}) == 2


@pytest.mark.parametrize("bad", [{"loss_mask": [True]}, {"entropy": [0.5]}, {"token_ids": "x"}])
def test_a_bad_export_is_one_issue_and_the_others_are_kept(tmp_path: Path, bad: Any) -> None:
    result = parsed(tmp_path, export(), export(**bad), export())
    assert (len(result.traces), [issue.line for issue in result.issues]) == (2, [2])


def test_a_file_is_known_by_its_first_record() -> None:
    assert identified(episode())
    assert identified(export())
    assert identified(export(token_ids=list(range(HEAD_BYTES))))
    assert identified(episode(task={"data": {"question": "x" * HEAD_BYTES}}))
    assert identified(episode(traces=[trace(info={"long": "x" * HEAD_BYTES})]))


@pytest.mark.parametrize("rows", [[export()], [export(token_ids=list(range(HEAD_BYTES)))]])
def test_a_plain_token_log_is_another_format(rows: list[Any]) -> None:
    data = json.dumps(rows[0]).encode()[:HEAD_BYTES]
    head = Head(Path("x"), data)
    assert parser_named("token-ids").identify(head) is None


@pytest.mark.parametrize(
    "other",
    [
        {},
        {"id": "x", "env": {"id": "sums"}, "score": 1},
        {"id": "x", "task": {}, "traces": []},
        {"schema_version": "ATIF-v1.4", "session_id": "x", "steps": []},
        {"schema_version": 1, "step": 0, "rank": 0, "loss": 0.5},
        {"token_ids": [1, 2, 3]},
    ],
)
def test_other_files_are_refused(other: Any) -> None:
    assert not identified(other)


def test_the_samples_hold_one_step_twice(sample_logs: Path) -> None:
    folder = sample_logs / "prime-rl"
    traces = parse_file(PARSER, folder / "rollouts/step_1/train/all/traces.jsonl")
    exports = parse_file(PARSER, folder / "token_exports/step_1/rank_0.jsonl")
    assert sorted(Counter(trace.group for trace in traces.traces).values()) == [4, 4]
    assert [len(traces.calls), len(traces.scores), len(exports.scores)] == [12, 12, 12]
    for one, other in zip(traces.scores, exports.scores, strict=True):
        assert (one.tokens, one.logprobs) == (other.tokens, other.logprobs)
        assert ids_at(traces, one.completion) == ids_at(exports, other.completion)
        assert other.entropies is not None
    assert sum(call.usage.input_tokens or 0 for call in traces.calls if call.usage) == 258


@pytest.mark.real
def test_no_real_log_of_another_format_is_claimed(real_logs: Path) -> None:
    for path in (path for path in real_logs.rglob("*") if path.is_file()):
        assert PARSER.identify(read_head(path)) is None, path

"""The parser for tau-bench result files."""

from __future__ import annotations

import copy
import gzip
import json
import statistics
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from parsed_records import claim, read
from recording_tree import Parsed, parse_file

from forkpoint.parsers.logs import HEAD_BYTES, read_head
from forkpoint.parsers.records import Kind
from forkpoint.parsers.tau_bench import TauBench

PARSER = TauBench()

TRAJ: list[dict[str, Any]] = [
    {"role": "system", "content": "Be kind."},
    {"role": "user", "content": "Cancel it."},
    {
        "content": None,
        "role": "assistant",
        "tool_calls": [
            {
                "function": {"arguments": '{"order": "7",  "why": "é"}', "name": "cancel"},
                "id": "call_1",
                "type": "function",
            }
        ],
    },
    {"role": "tool", "tool_call_id": "call_1", "name": "cancel", "content": "ok"},
    {"content": "Done.", "role": "assistant"},
    {"role": "user", "content": "###STOP###"},
]


def episode(task: Any = 0, trial: Any = 0, **changes: Any) -> dict[str, Any]:
    fields = {"task_id": task, "reward": 1.0, "info": {"a": [1]}, "traj": TRAJ, "trial": trial}
    return {**fields, **changes}


def with_messages(*messages: dict[str, Any]) -> dict[str, Any]:
    return episode(traj=[TRAJ[0], *messages])


def parsed(folder: Path, document: Any, name: str = "m-4.1-shop.json") -> Parsed:
    return read(PARSER, folder / name, document)


def identified(data: Any) -> bool:
    return claim(PARSER, data, "x.json") is not None


def test_each_assistant_message_is_a_call_on_all_that_stands_before_it(tmp_path: Path) -> None:
    result = parsed(tmp_path, [episode()])
    first, second = result.calls
    tree = result.tree
    call_text = 'cancel\n{"order":"7","why":"é"}'
    whole = [
        (Kind.SYSTEM, "system", "Be kind."),
        (Kind.TEXT, "user", "Cancel it."),
        (Kind.TOOL_CALL, "assistant", call_text),
        (Kind.TOOL_RESULT, "tool", "ok"),
        (Kind.TEXT, "assistant", "Done."),
        (Kind.TEXT, "user", "###STOP###"),
    ]
    assert tree.path(first.prompt) == whole[:2]
    assert tree.path(first.completion or 0) == whole[:3]
    assert tree.path(second.prompt) == whole[:4]
    assert tree.path(second.completion or 0) == whole[:5]
    assert tree.path(result.traces[0].leaf or 0) == whole
    assert (first.usage, first.model, first.started_at) == (None, None, None)


def test_an_episode_is_a_rollout_of_its_task(tmp_path: Path) -> None:
    result = parsed(tmp_path, [episode(3, 0), episode(3, 1, reward=0), episode(4, 0)])
    assert [trace.group for trace in result.traces] == [f"m-4.1-shop/{n}" for n in (3, 3, 4)]
    assert [trace.reward for trace in result.traces] == [1.0, 0.0, 1.0]
    assert {trace.project for trace in result.traces} == {"m-4.1-shop"}
    scope = result.traces[0].id.split("/")[0]
    assert [trace.id for trace in result.traces] == [f"{scope}/3/0", f"{scope}/3/1", f"{scope}/4/0"]
    assert len({call.identity for call in result.calls}) == len(result.calls) == 6
    assert {call.trace for call in result.calls} == {trace.id for trace in result.traces}


def test_a_call_is_named_by_its_episode_and_message(tmp_path: Path) -> None:
    result = parsed(tmp_path, [episode()])
    trace_id = result.traces[0].id
    assert [call.identity for call in result.calls] == [(trace_id, "2"), (trace_id, "4")]


def test_random_tool_call_ids_and_white_space_fake_no_fork(tmp_path: Path) -> None:
    other = copy.deepcopy(TRAJ)
    other[2]["tool_calls"][0]["id"] = other[3]["tool_call_id"] = "call_2"
    other[2]["tool_calls"][0]["function"]["arguments"] = '{"order":"7","why":"é"}'
    result = parsed(tmp_path, [episode(), episode(trial=1, traj=other)])
    assert result.traces[0].leaf == result.traces[1].leaf


def test_arguments_that_differ_in_order_do_fork(tmp_path: Path) -> None:
    other = copy.deepcopy(TRAJ)
    other[2]["tool_calls"][0]["function"]["arguments"] = '{"why":"é","order":"7"}'
    result = parsed(tmp_path, [episode(), episode(trial=1, traj=other)])
    assert result.calls[0].prompt == result.calls[2].prompt
    assert result.calls[0].completion != result.calls[2].completion


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ('{"order": 7', '{"order": 7'),
        ("", ""),
        (None, ""),
        ({"order": [7, "é"]}, '{"order":[7,"é"]}'),
        ('{"n": 1e400, "m": 123456789012345678901}', '{"n":1e400,"m":123456789012345678901}'),
        ("[" * 200_000, "[" * 200_000),
    ],
)
def test_arguments_of_any_sort_are_kept(tmp_path: Path, arguments: Any, text: str) -> None:
    message = {"role": "assistant", "content": None}
    call = {"function": {"name": "f", "arguments": arguments}}
    result = parsed(tmp_path, [with_messages({**message, "tool_calls": [call]})])
    assert result.issues == []
    last = result.tree.path(result.calls[0].completion or 0)[-1]
    assert last.content == f"f\n{text}"


def test_text_and_tool_calls_of_one_message_are_one_completion(tmp_path: Path) -> None:
    calls = [{"function": {"name": name, "arguments": "{}"}} for name in "ab"]
    message = {"role": "assistant", "content": "Let me see.", "tool_calls": calls}
    result = parsed(tmp_path, [with_messages(message)])
    (call,) = result.calls
    kinds = [segment.kind for segment in result.tree.path(call.completion or 0)]
    assert kinds == [Kind.SYSTEM, Kind.TEXT, Kind.TOOL_CALL, Kind.TOOL_CALL]


def test_an_empty_tool_result_has_nothing_to_enter(tmp_path: Path) -> None:
    thought = {"role": "assistant", "content": None, "tool_calls": TRAJ[2]["tool_calls"]}
    empty = {"role": "tool", "tool_call_id": "call_1", "name": "think", "content": ""}
    result = parsed(tmp_path, [with_messages(thought, empty, TRAJ[4])])
    assert result.calls[0].completion == result.calls[1].prompt


def test_an_episode_that_failed_is_a_rollout_without_calls(tmp_path: Path) -> None:
    failed = episode(traj=[], reward=0.0, info={"error": "timeout"})
    result = parsed(tmp_path, [failed])
    assert result.calls == []
    assert (result.traces[0].reward, result.traces[0].leaf) == (0.0, None)


def test_a_reward_that_is_missing_or_nan_is_not_nought(tmp_path: Path) -> None:
    unscored = episode(trial=1)
    del unscored["reward"]
    result = parsed(tmp_path, [episode(reward=float("nan")), unscored, episode(trial=2)])
    assert [trace.reward for trace in result.traces] == [None, None, 1.0]
    assert (len(result.calls), result.issues) == (6, [])


def test_trials_that_were_not_numbered_or_twice_are_not_merged(tmp_path: Path) -> None:
    result = parsed(tmp_path, [episode(), episode(), episode(trial=None), episode(trial=None)])
    assert len({trace.id for trace in result.traces}) == 4
    assert len({call.identity for call in result.calls}) == 8
    assert len({trace.group for trace in result.traces}) == 1


def test_a_copy_holds_the_same_calls_and_another_file_does_not(tmp_path: Path) -> None:
    one = parsed(tmp_path, [episode()])
    copied = parsed(
        tmp_path, gzip.compress(json.dumps([episode()], indent=2).encode()), "m.json.gz"
    )
    other = parsed(tmp_path, [episode(), episode(trial=1)])
    assert [call.identity for call in one.calls] == [call.identity for call in copied.calls]
    assert {call.identity for call in one.calls}.isdisjoint(c.identity for c in other.calls)
    assert copied.traces[0].project == "m"


@pytest.mark.parametrize(
    "bad",
    [
        episode(traj=None),
        episode(traj="text"),
        episode(task=1.5),
        episode(reward="good"),
        with_messages({"role": "user", "content": 7}),
        with_messages({"content": "no role"}),
        with_messages({"role": "assistant", "tool_calls": [{"id": "no function"}]}),
        with_messages({"role": "assistant", "tool_calls": "none"}),
        {"task_id": 3},
        "text",
        None,
        7,
    ],
)
def test_a_bad_episode_is_one_issue_and_the_others_are_kept(tmp_path: Path, bad: Any) -> None:
    result = parsed(tmp_path, [episode(1), bad, episode(2)])
    assert (len(result.calls), len(result.traces)) == (4, 2)
    data = (tmp_path / "m-4.1-shop.json").read_bytes()
    (issue,) = result.issues
    assert issue.line == 2
    if isinstance(bad, dict):
        assert data[issue.offset :].startswith(b"{")
        assert data.count(b'"task_id"', 0, issue.offset) == 1
    assert [call.line for call in result.calls] == [1, 1, 3, 3]
    assert data[result.calls[2].offset :].split(b",")[0].split() == [b"{", b'"task_id":', b"2"]


def test_wrong_bytes_in_one_episode_cost_only_that_one(tmp_path: Path) -> None:
    data = json.dumps([episode(1), episode(2), episode(3)]).encode()
    broken = data.replace(b'"content": "Done."', b'"content": "\xff"', 1)
    result = parsed(tmp_path, broken)
    assert len(result.traces) == 2
    assert [(issue.line, issue.reason) for issue in result.issues] == [(1, "not valid UTF-8")]


def test_half_a_surrogate_pair_costs_nothing(tmp_path: Path) -> None:
    cut = with_messages({"role": "user", "content": "\ud83d"}, TRAJ[4])
    bad = episode(traj=5)
    result = parsed(tmp_path, [cut, bad, episode(2)])
    assert (len(result.calls), len(result.traces)) == (3, 2)
    assert [issue.line for issue in result.issues] == [2]


@pytest.mark.parametrize("cut", [1, 2, 40, 300, -1])
def test_a_document_cut_short_is_one_issue(tmp_path: Path, cut: int) -> None:
    result = parsed(tmp_path, json.dumps([episode(), episode(trial=1)]).encode()[:cut])
    assert (result.calls, result.traces) == ([], [])
    assert [(issue.line, issue.offset) for issue in result.issues] == [(1, 0)]


@pytest.mark.parametrize("document", [b"", b"\x00\xff", b'{"task_id": 1}', b"[" * 200_000])
def test_a_document_of_another_shape_is_one_issue(tmp_path: Path, document: bytes) -> None:
    result = parsed(tmp_path, document)
    assert (result.calls, len(result.issues)) == ([], 1)


def test_a_file_is_known_by_its_first_keys() -> None:
    assert identified([episode()])
    assert identified(json.dumps([episode()]).encode())
    assert identified([episode("retail-3")])
    assert identified([{"task_id": 0, "trial": 0, "traj": [], "reward": 0.0}])
    assert identified([episode(info={"long": "x" * HEAD_BYTES})])


@pytest.mark.parametrize(
    "other",
    [
        [],
        {},
        episode(),
        [[episode()]],
        [{"task_id": 0, "name": "x"}],
        [{"task_id": {"a": 1}, "reward": 0.0}],
        [{"instruction": "x", "task_id": 0, "reward": 1.0}],
        {"timestamp": "2026", "info": {}, "tasks": [], "simulations": [{"task_id": 1}]},
        {"version": 2, "status": "success", "eval": {"task_id": "x"}},
        [{"role": "system", "content": "x"}],
        [{"idx": 900, "ys": ["x"]}],
        [{"id": 0, "source": "user", "message": "x"}],
        {"sessionId": "x", "messages": []},
    ],
)
def test_documents_of_other_formats_are_refused(other: Any) -> None:
    assert not identified(other)


def test_the_sample_holds_six_tasks_of_four_trials(sample_logs: Path) -> None:
    result = parse_file(PARSER, sample_logs / "tau-bench" / "example-retail.json")
    assert (len(result.traces), result.issues) == (24, [])
    groups = Counter(trace.group for trace in result.traces)
    assert sorted(groups.values()) == [4] * 6
    rewards = [trace.reward for trace in result.traces]
    assert {0.0, 1.0} == set(rewards)
    for group in groups:
        members = [t for t in result.traces if t.group == group]
        assert len({trace.leaf for trace in members}) > 1
    first = {result.tree.path(trace.leaf or 0)[0] for trace in result.traces}
    assert [segment.kind for segment in first] == [Kind.SYSTEM]


@pytest.mark.real
def test_the_real_results_have_the_known_episodes_and_rewards(real_logs: Path) -> None:
    ((name, fact),) = json.loads((real_logs / "FACTS.json").read_text())["tau_bench"].items()
    result = parse_file(PARSER, real_logs / name)
    assert result.issues == []
    assert len({trace.id for trace in result.traces}) == fact["episodes"]
    groups = Counter(trace.group for trace in result.traces)
    assert len(groups) == fact["tasks"]
    assert Counter(map(str, groups.values())) == fact["trials_per_task"]
    rewards = [trace.reward for trace in result.traces if trace.reward is not None]
    assert len(rewards) == fact["episodes"]
    assert statistics.fmean(rewards) == pytest.approx(fact["mean_reward"])
    assert len(result.calls) == fact["assistant_msgs"]
    assert len({call.identity for call in result.calls}) == fact["assistant_msgs"]
    assert all(call.completion != call.prompt for call in result.calls)
    # A message is one segment; two where it has text and a tool call; none where it is empty.
    trajectories = [episode["traj"] for episode in json.loads((real_logs / name).read_text())]
    messages = [message for traj in trajectories for message in traj]
    parts = sum(bool(m.get("content")) + len(m.get("tool_calls") or ()) for m in messages)
    paths = [result.tree.path(trace.leaf or 0) for trace in result.traces]
    assert len(messages) == fact["messages"]
    assert sum(map(len, paths)) == parts
    assert {path[0].kind for path in paths} == {Kind.SYSTEM}
    assert len({path[0] for path in paths}) == 1


@pytest.mark.real
def test_only_the_real_results_of_this_format_are_claimed(real_logs: Path) -> None:
    for path in (path for path in real_logs.rglob("*") if path.is_file()):
        ours = path.parent.parent.name == "tau-bench"
        assert (PARSER.identify(read_head(path)) is not None) == ours, path

"""The parser for rLLM episodes."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from parsed_records import claim, read
from recording_tree import Parsed, parse_file

from forkpoint.parsers.logs import HEAD_BYTES, read_head
from forkpoint.parsers.records import Kind, Usage
from forkpoint.parsers.rllm import Rllm

PARSER = Rllm()
SYSTEM = {"role": "system", "content": "Solve it."}
ASKED = {"role": "user", "content": "2 + 2?"}


def said(text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": text, "reasoning": None}


def step(*messages: Any, **changes: Any) -> dict[str, Any]:
    fields = {"observation": None, "thought": "", "action": None, "reward": 0.0, "done": True}
    return {**fields, "model_response": "4", "chat_completions": list(messages), **changes}


STEPS = [step(SYSTEM, ASKED, said("Hm.")), step(SYSTEM, ASKED, said("Hm."), ASKED, said("4"))]


def trajectory(uid: str | None = "u1", **changes: Any) -> dict[str, Any]:
    return {"name": "solver", "uid": uid, "reward": 1.0, "steps": STEPS, **changes}


def episode(*trajectories: Any, **changes: Any) -> dict[str, Any]:
    fields = {"training_step": 3, "epoch": 0, "episode_id": "task-uuid:0", "session_id": None}
    more = {"task": {"question": "2 + 2?"}, "task_hash": "abcd1234", "is_correct": True}
    return {**fields, **more, "trajectories": list(trajectories) or [trajectory()], **changes}


def evaluated(**changes: Any) -> dict[str, Any]:
    fields = {"id": "q7:0", "task": {"id": "q7"}, "termination_reason": None, "is_correct": False}
    more = {"session_id": None, "trajectories": [trajectory(reward=None)], "eval_idx": 0}
    return {**fields, **more, **changes}


def parsed(folder: Path, document: Any) -> Parsed:
    return read(PARSER, folder / "episode.json", document)


def identified(document: Any) -> bool:
    return claim(PARSER, document, "x") is not None


def test_each_step_is_a_call_whose_response_is_its_last_answer(tmp_path: Path) -> None:
    result = parsed(tmp_path, episode())
    first, second = result.calls
    assert result.text(first.prompt) == ["Solve it.", "2 + 2?"]
    assert result.text(first.completion)[-1] == "Hm."
    assert result.text(second.prompt) == ["Solve it.", "2 + 2?", "Hm.", "2 + 2?"]
    assert result.traces[0].leaf == second.completion
    assert [call.identity for call in result.calls] == [("u1", "0"), ("u1", "1")]


def test_what_follows_the_last_answer_is_of_no_call(tmp_path: Path) -> None:
    steps = [step(SYSTEM, said("Hm."), ASKED), step(SYSTEM, ASKED)]
    result = parsed(tmp_path, episode(trajectory(steps=steps)))
    first, unanswered = result.calls
    assert result.text(first.completion) == ["Solve it.", "Hm."]
    assert (result.text(unanswered.prompt), unanswered.completion) == (
        ["Solve it.", "2 + 2?"],
        None,
    )


def test_a_step_without_a_conversation_has_an_unknown_prompt(tmp_path: Path) -> None:
    result = parsed(tmp_path, episode(trajectory(steps=[step()])))
    path = result.tree.path(result.calls[0].completion or 0)
    assert [(s.kind, s.role) for s in path] == [(Kind.UNLOGGED, ""), (Kind.TEXT, "assistant")]


def test_token_ids_and_logprobs_are_kept_with_the_text(tmp_path: Path) -> None:
    ids = {"prompt_ids": [1, 2], "response_ids": [3, 4], "logprobs": [-0.5, -0.25]}
    with_ids = trajectory(reward=None, steps=[step(SYSTEM, ASKED, said("4"), **ids)])
    result = parsed(tmp_path, evaluated(trajectories=[with_ids]))
    (call,) = result.calls
    assert [s.content for s in result.tree.path(call.completion or 0)] == [(1, 2, 3, 4)]
    assert result.text(call.text) == ["Solve it.", "2 + 2?", "4"]
    (scores,) = result.scores
    assert (scores.tokens, scores.logprobs) == ([3, 4], [-0.5, -0.25])
    assert (scores.prompt, scores.completion) == (call.prompt, call.completion)


def test_a_prompt_with_images_among_its_ids_is_read_as_text(tmp_path: Path) -> None:
    ids: dict[str, Any] = {"prompt_ids": [1, {"image": "x"}], "response_ids": [3], "logprobs": [-1]}
    result = parsed(tmp_path, episode(trajectory(steps=[step(ASKED, said("4"), **ids)])))
    assert result.text(result.calls[0].completion) == ["2 + 2?", "4"]
    assert result.scores == []


def test_lengths_that_the_engine_counted_are_usage(tmp_path: Path) -> None:
    output = {"prompt_length": 40, "completion_length": 5}
    steps = [step(ASKED, said("4"), model_output=output), step(ASKED, said("4"), model_output={})]
    calls = parsed(tmp_path, episode(trajectory(steps=steps))).calls
    assert [call.usage for call in calls] == [Usage(input_tokens=40, output_tokens=5), None]


def test_a_rollouts_reward_is_its_own_or_its_episodes(tmp_path: Path) -> None:
    rows = [trajectory("a", reward=0.5), trajectory("b", reward=None)]
    assert [t.reward for t in parsed(tmp_path, episode(*rows)).traces] == [0.5, 1.0]
    unknown = episode(trajectory(reward=None), is_correct=None)
    assert parsed(tmp_path, unknown).traces[0].reward is None
    assert parsed(tmp_path, evaluated()).traces[0].reward == 0.0


def test_rollouts_of_a_task_and_step_are_a_group(tmp_path: Path) -> None:
    def group(**changes: Any) -> str | None:
        found: str | None = parsed(tmp_path, episode(**changes)).traces[0].group
        return found

    assert group() == group(episode_id="task-uuid:1") == "task-uuid/abcd1234/3/0/solver"
    assert group(episode_id="other-uuid:0") != group()
    assert group(training_step=4) != group()
    assert group(episode_id="no-number") == "abcd1234/3/0/solver"
    judge = parsed(tmp_path, episode(trajectory(), trajectory("u2", name="judge")))
    assert len({trace.group for trace in judge.traces}) == 2


def test_a_trajectory_without_an_id_is_named_by_its_content(tmp_path: Path) -> None:
    one = parsed(tmp_path, episode(trajectory(uid=None)))
    assert len(one.traces[0].id) == 32
    assert one.calls[0].trace == one.traces[0].id


@pytest.mark.parametrize(
    "bad",
    [7, "step", step(7), step({"content": "x"}), step(chat_completions="x"), step(prompt_ids=[-1])],
)
def test_a_bad_step_is_one_issue_and_the_others_are_kept(tmp_path: Path, bad: Any) -> None:
    document = episode(trajectory(steps=[STEPS[0], bad, STEPS[1]]))
    result = parsed(tmp_path, document)
    assert [result.text(call.completion)[-1] for call in result.calls] == ["Hm.", "4"]
    assert [issue.line for issue in result.issues] == [2]
    assert result.calls[0].offset < result.issues[0].offset < result.calls[1].offset


@pytest.mark.parametrize("bad", [7, None, {"steps": 7}, trajectory(reward="good")])
def test_a_bad_trajectory_is_one_issue_and_the_others_are_kept(tmp_path: Path, bad: Any) -> None:
    result = parsed(tmp_path, episode(trajectory("a"), bad, trajectory("c")))
    assert [trace.id for trace in result.traces] == ["a", "c"]
    assert [issue.line for issue in result.issues] == [2]


@pytest.mark.parametrize("cut", [0, 1, 200, -2])
def test_a_document_cut_short_is_one_issue(tmp_path: Path, cut: int) -> None:
    result = parsed(tmp_path, json.dumps(episode()).encode()[:cut])
    assert (result.calls, len(result.issues)) == ([], 1)


def test_a_file_is_known_by_its_first_keys() -> None:
    assert identified(episode())
    assert identified(evaluated())
    assert identified(episode(task={"question": "x" * HEAD_BYTES}))


@pytest.mark.parametrize(
    "other",
    [
        {},
        {"training_step": 3, "epoch": 0, "mode": "train", "num_episodes": 2, "episode_files": []},
        {"id": "x", "task": {}, "env": {}, "traces": []},
        {"id": "x", "task": "y", "steps": []},
        {"dataset": "sums", "model": "m", "agent": "a"},
    ],
)
def test_documents_of_other_formats_and_summaries_are_refused(other: Any) -> None:
    assert not identified(other)


def test_the_samples_are_two_groups_of_three_and_an_evaluation(sample_logs: Path) -> None:
    folder = sample_logs / "rllm"
    training = [parse_file(PARSER, path) for path in sorted(folder.glob("train*/*.json"))]
    traces = [trace for result in training for trace in result.traces]
    assert sorted(Counter(trace.group for trace in traces).values()) == [3, 3]
    assert sum(trace.reward or 0 for trace in traces) == 4
    assert sorted(len(result.calls) for result in training) == [1, 1, 1, 1, 2, 2]
    (path,) = folder.glob("eval/episodes/*.json")
    evaluation = parse_file(PARSER, path)
    assert (len(evaluation.calls), len(evaluation.scores)) == (1, 1)
    assert evaluation.traces[0].reward == 0.0


@pytest.mark.real
def test_no_real_log_of_another_format_is_claimed(real_logs: Path) -> None:
    for path in (path for path in real_logs.rglob("*") if path.is_file()):
        assert PARSER.identify(read_head(path)) is None, path

"""The parser for NeMo-RL's training and validation data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from parsed_records import claim, read
from recording_tree import Parsed, parse_tail

from forkpoint.parsers.logs import HEAD_BYTES
from forkpoint.parsers.nemo_rl import NemoRL
from forkpoint.parsers.records import Kind

PARSER = NemoRL()


def row(**fields: Any) -> str:
    """A sample of six tokens, padded to eight: three given, two sampled, one given."""
    given = {
        "content": [["<u>Q", "<a>A.", "<e>ok"]],
        "rewards": [1.0],
        "input_lengths": [6],
        "token_ids": [[11, 12, 13, 14, 15, 16, 0, 0]],
        "token_loss_mask": [[0, 0, 0, 1, 1, 0, 0, 0]],
        "sample_loss_mask": [1.0],
        "advantages": [[0.5] * 8],
        "generation_logprobs": [[0.0, 0.0, 0.0, -0.5, -0.25, 0.0, 0.0, 0.0]],
        "prev_logprobs": [[0.0, 0.0, 0.0, -0.6, -0.26, 0.0, 0.0, 0.0]],
        "idx": 0,
    }
    both = {**given, **fields}
    return json.dumps({name: value for name, value in both.items() if value != "absent"}) + "\n"


def parsed(folder: Path, *lines: str) -> Parsed:
    return read(PARSER, folder / "train_data_step3.jsonl", "".join(lines))


def test_the_sampled_run_is_a_call_and_padding_is_nothing(tmp_path: Path) -> None:
    found = parsed(tmp_path, row())
    (call,), (trace,), (scores,) = found.calls, found.traces, found.scores
    assert found.text(call.prompt) == [(11, 12, 13)]
    assert found.text(call.completion) == [(11, 12, 13, 14, 15)]
    assert found.text(trace.leaf) == [(11, 12, 13, 14, 15, 16)]
    assert (scores.tokens, scores.logprobs) == ([14, 15], [-0.5, -0.25])
    assert (scores.prompt, scores.completion) == (call.prompt, call.completion)
    assert (trace.reward, call.usage, call.text) == (1.0, None, None)
    assert found.issues == []


def test_a_sequence_that_ends_with_what_was_sampled_has_its_text(tmp_path: Path) -> None:
    found = parsed(tmp_path, row(content=[["<u>Q", "<a>A."]], input_lengths=[5]))
    (call,) = found.calls
    assert found.text(call.text) == ["<u>Q<a>A."]
    assert found.tree.path(call.text or 0)[0].kind is Kind.RENDERED
    assert found.traces[0].leaf == call.completion


def test_each_turn_of_a_rollout_is_a_call(tmp_path: Path) -> None:
    turns = row(
        token_loss_mask=[[0, 1, 0, 0, 1, 1, 0, 0]],
        generation_logprobs=[[0.0, -1.0, 0.0, 0.0, -2.0, -3.0, 0.0, 0.0]],
    )
    found = parsed(tmp_path, turns)
    assert [found.text(call.prompt) for call in found.calls] == [[(11,)], [(11, 12, 13, 14)]]
    assert [scores.logprobs for scores in found.scores] == [[-1.0], [-2.0, -3.0]]
    assert [call.text is None for call in found.calls] == [True, False]
    assert len({call.identity for call in found.calls}) == 2


def test_samples_of_one_prompt_are_a_group(tmp_path: Path) -> None:
    found = parsed(
        tmp_path,
        row(),
        row(token_ids=[[11, 12, 13, 99, 15, 16, 0, 0]], idx=1),
        row(token_ids=[[11, 12, 99, 14, 15, 16, 0, 0]], idx=2),
        row(),
    )
    first, second, third, fourth = (trace.group for trace in found.traces)
    assert first == second == fourth != third
    assert len({trace.id for trace in found.traces}) == 4


def test_with_dynamic_sampling_the_filtered_reward_is_the_samples(tmp_path: Path) -> None:
    found = parsed(tmp_path, row(rewards=[0.0], filtered_rewards=[0.75]))
    assert found.traces[0].reward == 0.75


def test_logprobs_that_are_all_nought_or_absent_were_not_logged(tmp_path: Path) -> None:
    found = parsed(
        tmp_path,
        row(generation_logprobs=[[0.0] * 8]),
        row(generation_logprobs="absent"),
        row(generation_logprobs=[[0, 0, 0, None, -1, 0, 0, 0]]),
    )
    assert len(found.calls) == 3
    assert [scores.logprobs for scores in found.scores] == [[None, -1.0]]


def test_a_sample_without_a_mask_or_without_ones_is_a_rollout_without_calls(
    tmp_path: Path,
) -> None:
    found = parsed(tmp_path, row(token_loss_mask="absent"), row(token_loss_mask=[[0] * 8]))
    assert found.calls == []
    assert [found.text(trace.leaf) for trace in found.traces] == [[tuple(range(11, 17))]] * 2


@pytest.mark.parametrize("content", ["absent", None, [None], [[]], [[{"type": "image"}]]])
def test_content_that_is_no_text_costs_only_the_text(tmp_path: Path, content: Any) -> None:
    found = parsed(tmp_path, row(content=content, input_lengths=[5]))
    assert (len(found.calls), found.issues, found.calls[0].text) == (1, [], None)


def test_a_content_of_one_text_is_the_whole_text(tmp_path: Path) -> None:
    found = parsed(tmp_path, row(content=["<u>Q<a>A."], input_lengths=[5]))
    assert found.text(found.calls[0].text) == ["<u>Q<a>A."]


def test_validation_has_messages_and_each_assistant_message_is_a_call(tmp_path: Path) -> None:
    asked = [{"role": "system", "content": "S"}, {"role": "user", "content": "Q"}]
    turns = [
        {"role": "assistant", "content": "look"},
        {"role": "environment", "content": "seen"},
        {"role": "assistant", "content": "done"},
    ]
    rows = [
        json.dumps({"content": [[*asked, *made]], "rewards": [0.5], "idx": n}) + "\n"
        for n, made in enumerate((turns, turns[:1], turns))
    ]
    found = parsed(tmp_path, *rows)
    assert [found.text(call.prompt) for call in found.calls[:2]] == [
        ["S", "Q"],
        ["S", "Q", "look", "seen"],
    ]
    assert [call.line for call in found.calls] == [1, 1, 2, 3, 3]
    assert len({trace.group for trace in found.traces}) == 1
    assert [trace.reward for trace in found.traces] == [0.5] * 3
    assert found.text(found.traces[1].leaf) == ["S", "Q", "look"]


def test_distillation_has_texts_only(tmp_path: Path) -> None:
    line = json.dumps({"content": [["<u>Q", "<a>A."]], "input_lengths": [5], "idx": 0}) + "\n"
    found = parsed(tmp_path, line)
    (call,) = found.calls
    assert found.text(call.prompt) == ["<u>Q"]
    assert found.text(call.completion) == ["<u>Q<a>A."]
    assert found.traces[0].reward is None


@pytest.mark.parametrize(
    "bad",
    [
        row(token_ids=[[1, -1, 3, 4, 5, 6, 0, 0]]),
        row(token_ids=[[1.5] * 8]),
        row(token_ids=[11, 12]),
        row(token_ids=[[11], [12]]),
        row(token_ids=[]),
        row(input_lengths=[9]),
        row(input_lengths=[-1]),
        row(token_loss_mask=[[0, 1]]),
        row(token_loss_mask=["x"]),
        row(generation_logprobs=[[0.5]]),
        row(rewards=["good"]),
        row(rewards=[1.0, 2.0]),
        row(token_ids="absent", content="absent"),
        row(token_ids="absent", content=[[{"content": "no role"}]]),
        '{"content": [["cut", \n',
        '{"x": ' + "[" * 200_000 + "\n",
        "7\n",
    ],
)
def test_a_bad_row_is_one_issue_and_the_others_are_kept(tmp_path: Path, bad: str) -> None:
    found = parsed(tmp_path, row(), bad, row())
    (issue,) = found.issues
    assert (issue.line, issue.offset) == (2, len(row()))
    assert [call.line for call in found.calls] == [1, 3]
    assert len(found.scores) == 2


def test_a_grown_file_gives_what_one_reading_gives(tmp_path: Path) -> None:
    lines = [row(idx=n) for n in range(3)]
    whole = parsed(tmp_path, *lines)
    before = parsed(tmp_path, *lines[:2])
    (tmp_path / "train_data_step3.jsonl").write_text("".join(lines))
    after = parse_tail(PARSER, before)
    assert [t.id for t in before.traces + after.traces] == [t.id for t in whole.traces]


def test_a_file_is_known_by_its_batches_of_one() -> None:
    assert claim(PARSER, row())
    assert claim(PARSER, row(content="absent", rewards="absent"))
    assert claim(PARSER, json.dumps({"content": [[]], "rewards": [0.5], "idx": 0}) + "\n")


def test_a_first_row_longer_than_the_head_is_known() -> None:
    assert claim(PARSER, row(token_ids=[[7] * HEAD_BYTES]))
    assert claim(PARSER, row(content=[["x" * HEAD_BYTES]]), "train_data_step12.jsonl")
    assert not claim(PARSER, row(content=[["x" * HEAD_BYTES]]), "other.jsonl")


@pytest.mark.parametrize(
    "other",
    [
        {"content": "text", "rewards": [1.0], "idx": 0},
        {"content": [["Q"]], "rewards": [1.0]},
        {"content": [["Q"], ["A"]], "rewards": [1.0, 0.0], "idx": 0},
        {"token_ids": [1, 2, 3], "reward": 1.0},
        {"tokens": [[1, 2]], "masks": [[1, 2]], "scores": [1.0]},
        {"idx": 900, "ys": ["x"]},
    ],
)
def test_rows_of_other_formats_are_refused(other: dict[str, Any]) -> None:
    assert not claim(PARSER, json.dumps(other) + "\n", "train_data_step1.jsonl")


def test_the_samples_hold_a_step_and_its_validation(sample_logs: Path) -> None:
    train = read(PARSER, sample_logs / "nemo-rl" / "train_data_step5.jsonl")
    assert (len(train.traces), len(train.calls), len(train.scores)) == (12, 16, 16)
    assert len({trace.group for trace in train.traces}) == 3
    assert train.issues == []
    assert sum(call.text is not None for call in train.calls) == 12
    validation = read(PARSER, sample_logs / "nemo-rl" / "val_data_step5.jsonl")
    assert (len(validation.traces), len(validation.calls)) == (6, 8)
    assert len({trace.group for trace in validation.traces}) == 3

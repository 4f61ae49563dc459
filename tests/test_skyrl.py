"""The parser for SkyRL's evaluations."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from parsed_records import claim, read
from recording_tree import Parsed

from forkpoint.parsers.logs import HEAD_BYTES
from forkpoint.parsers.skyrl import SkyRL

PARSER = SkyRL()


def row(**fields: Any) -> str:
    given = {
        "input_prompt": "<|user|>Q?<|assistant|>",
        "output_response": "A.<|end|>",
        "score": 1.0,
        "stop_reason": "stop",
        "env_class": "gsm8k",
        "env_extras": {"reward_spec": {"ground_truth": "A"}},
        "data_source": "openai/gsm8k",
    }
    return json.dumps({**given, **fields}) + "\n"


def parsed(folder: Path, *lines: str) -> Parsed:
    return read(PARSER, folder / "openai_gsm8k.jsonl", "".join(lines))


def test_a_row_is_a_rollout_and_one_call(tmp_path: Path) -> None:
    found = parsed(tmp_path, row())
    (call,), (trace,) = found.calls, found.traces
    assert found.text(call.prompt) == ["<|user|>Q?<|assistant|>"]
    assert found.text(call.completion) == ["<|user|>Q?<|assistant|>A.<|end|>"]
    assert (trace.leaf, trace.reward) == (call.completion, 1.0)
    assert trace.project == "openai/gsm8k"


def test_rows_with_equal_prompts_are_a_group(tmp_path: Path) -> None:
    found = parsed(tmp_path, row(), row(), row(input_prompt="other"))
    assert len({trace.group for trace in found.traces}) == 2
    assert len({trace.id for trace in found.traces}) == 3


@pytest.mark.parametrize(
    ("score", "reward"),
    [([0.0, 0.0, 0.5], 0.5), ([], None), ([None], None), (0, 0.0), (None, None)],
)
def test_a_score_for_each_token_adds_up(tmp_path: Path, score: Any, reward: float | None) -> None:
    assert parsed(tmp_path, row(score=score)).traces[0].reward == reward


@pytest.mark.parametrize(
    "bad",
    [row(input_prompt=5), row(output_response=None), row(score="x"), row(data_source=[]), "{"],
)
def test_a_bad_row_is_one_issue_and_the_others_are_kept(tmp_path: Path, bad: str) -> None:
    found = parsed(tmp_path, row(), bad.rstrip("\n") + "\n", row())
    assert [issue.line for issue in found.issues] == [2]
    assert len(found.calls) == 2


def test_a_file_is_known_by_its_fields_and_metrics_beside_it_are_not() -> None:
    assert claim(PARSER, row())
    assert claim(PARSER, row(stop_reason=None, data_source=None, score=[0.0]))
    assert claim(PARSER, row(input_prompt="x" * HEAD_BYTES))
    assert not claim(PARSER, json.dumps({"eval/all/avg_score": 0.5}) + "\n")
    assert not claim(PARSER, json.dumps({"input_prompt": "Q", "output_response": "A"}) + "\n")


def test_the_sample_holds_three_groups_of_four(sample_logs: Path) -> None:
    folder = sample_logs / "skyrl" / "global_step_40_evals"
    found = read(PARSER, folder / "lighthouse_riddles.jsonl")
    assert (len(found.calls), len({trace.group for trace in found.traces})) == (12, 3)
    assert found.issues == []
    assert sum(trace.reward or 0 for trace in found.traces) == 8

"""The parser for AReaL's rollouts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from parsed_records import claim, read
from recording_tree import Parsed, parse_tail

from forkpoint.parsers.areal import AReaL
from forkpoint.parsers.logs import HEAD_BYTES

PARSER = AReaL()


def row(**fields: Any) -> str:
    given = {
        "task_id": 17,
        "sample_idx": 0,
        "seqlen": 12,
        "prompt_len": 5,
        "head_version": 2,
        "tail_version": 3,
        "reward": 1.0,
        "prompt": "Q?",
        "completion": " A.",
    }
    return json.dumps({**given, **fields}) + "\n"


def parsed(folder: Path, *lines: str, name: str = "17.jsonl") -> Parsed:
    return read(PARSER, folder / name, "".join(lines))


def test_a_row_is_a_rollout_and_one_call_of_known_size(tmp_path: Path) -> None:
    found = parsed(tmp_path, row())
    (call,), (trace,) = found.calls, found.traces
    assert found.text(call.prompt) == ["Q?"]
    assert found.text(call.completion) == ["Q? A."]
    assert (trace.leaf, trace.reward) == (call.completion, 1.0)
    assert call.usage is not None
    assert (call.usage.input_tokens, call.usage.output_tokens) == (5, 7)
    assert call.usage.cache_read_tokens is None


def test_rows_of_one_task_are_a_group_in_their_file_only(tmp_path: Path) -> None:
    found = parsed(tmp_path, row(), row(sample_idx=1, prompt="Q?!"), row(task_id=18))
    first, second, other = (trace.group for trace in found.traces)
    assert first == second != other
    elsewhere = parsed(tmp_path, row(reward=0.0), row(), name="other.jsonl")
    assert first not in {trace.group for trace in elsewhere.traces}


def test_rows_are_appended_as_samples_end(tmp_path: Path) -> None:
    lines = [row(sample_idx=n, completion=f"{n % 2}") for n in range(4)]
    whole = parsed(tmp_path, *lines)
    before = parsed(tmp_path, *lines[:2])
    (tmp_path / "17.jsonl").write_text("".join(lines))
    after = parse_tail(PARSER, before)
    assert [t.id for t in before.traces + after.traces] == [t.id for t in whole.traces]


def test_lengths_that_are_missing_are_no_usage(tmp_path: Path) -> None:
    found = parsed(tmp_path, row(seqlen=None), row(prompt_len=None))
    assert [call.usage for call in found.calls] == [None, None]


@pytest.mark.parametrize(
    "bad",
    [row(prompt_len=13), row(seqlen=-1), row(seqlen=1.5), row(prompt=None), row(reward=[[]])],
)
def test_a_bad_row_is_one_issue_and_the_others_are_kept(tmp_path: Path, bad: str) -> None:
    found = parsed(tmp_path, row(), bad, row())
    assert [issue.line for issue in found.issues] == [2]
    assert len(found.calls) == 2


def test_a_file_is_known_by_its_fields() -> None:
    assert claim(PARSER, row())
    assert claim(PARSER, row(prompt="x" * HEAD_BYTES))
    other = {"task_id": 1, "prompt": "Q", "completion": "A", "reward": 1.0}
    assert not claim(PARSER, json.dumps(other) + "\n")


def test_the_samples_hold_two_groups_of_six(sample_logs: Path) -> None:
    folder = sample_logs / "areal" / "generated" / "3"
    found = [read(PARSER, folder / f"{task}.jsonl") for task in (17, 18)]
    assert [len(each.calls) for each in found] == [6, 6]
    assert [len({trace.group for trace in each.traces}) for each in found] == [1, 1]
    usages = [call.usage for each in found for call in each.calls if call.usage]
    assert sum(usage.input_tokens or 0 for usage in usages) == 246
    assert sum(usage.output_tokens or 0 for usage in usages) == 209

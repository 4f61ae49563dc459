"""The parser for verl's rollouts, and what all rollouts logged as text rows have in common."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from parsed_records import claim, read
from recording_tree import Parsed, parse_tail

from forkpoint.parsers.base import Reread
from forkpoint.parsers.logs import HEAD_BYTES
from forkpoint.parsers.record_names import MAX_REMEMBERED
from forkpoint.parsers.records import Kind
from forkpoint.parsers.registry import parsers
from forkpoint.parsers.verl import Verl

PARSER = Verl()
UUID = "1fdc1e1c-0a6b-4a67-9d7a-0a5be0b1f0aa"


def row(**fields: Any) -> str:
    given = {"input": "user\nQ?\nassistant\n", "output": "A.", "gts": "A", "score": 1.0, "step": 3}
    return json.dumps({**given, **fields}) + "\n"


def parsed(folder: Path, *lines: str | bytes, name: str = "3.jsonl") -> Parsed:
    data = b"".join(line if isinstance(line, bytes) else line.encode() for line in lines)
    return read(PARSER, folder / name, data)


def test_a_row_is_a_rollout_and_one_call(tmp_path: Path) -> None:
    found = parsed(tmp_path, row())
    (call,), (trace,) = found.calls, found.traces
    assert found.tree.path(call.prompt) == [(Kind.RENDERED, "prompt", "user\nQ?\nassistant\n")]
    assert found.text(call.completion) == ["user\nQ?\nassistant\nA."]
    assert (trace.leaf, trace.reward, trace.answer) == (call.completion, 1.0, None)
    assert (call.trace, call.identity) == (trace.id, (trace.id, ""))
    assert (call.usage, call.model, call.started_at) == (None, None, None)


def test_rows_of_one_step_with_equal_inputs_are_a_group(tmp_path: Path) -> None:
    found = parsed(
        tmp_path, row(), row(output="B."), row(input="other"), row(step=4), row(output="C.")
    )
    first, second, other, later, last = (trace.group for trace in found.traces)
    assert first == second == last
    assert len({first, other, later}) == 3


def test_equal_rows_are_samples_of_their_own(tmp_path: Path) -> None:
    found = parsed(tmp_path, row(), row(), row())
    assert len({trace.id for trace in found.traces}) == 3
    assert len({call.identity for call in found.calls}) == 3
    assert len({call.completion for call in found.calls}) == 1


def test_a_copy_holds_the_same_calls_and_another_run_does_not(tmp_path: Path) -> None:
    one = parsed(tmp_path, row(), row(output="B."))
    copied = parsed(tmp_path, gzip.compress((row() + row(output="B.")).encode()), name="c.jsonl.gz")
    other = parsed(tmp_path, row(output="Z."), row())
    assert [call.identity for call in copied.calls] == [call.identity for call in one.calls]
    assert {trace.group for trace in copied.traces} == {trace.group for trace in one.traces}
    assert not {call.identity for call in one.calls} & {call.identity for call in other.calls}


def test_the_outputs_of_one_rollout_are_calls_of_one_trace(tmp_path: Path) -> None:
    found = parsed(
        tmp_path,
        row(uid=f"{UUID}_0_0"),
        row(uid=f"{UUID}_1_0", score=0.0),
        row(uid=f"{UUID}_1_1", input="shorter", output="B."),
    )
    assert [trace.id for trace in found.traces] == [f"{UUID}_0", f"{UUID}_1", f"{UUID}_1"]
    assert {trace.group for trace in found.traces} == {UUID}
    assert len({call.identity for call in found.calls}) == 3
    assert (found.traces[-1].reward, found.text(found.traces[-1].leaf)) == (1.0, ["shorterB."])


@pytest.mark.parametrize("uid", ["7_0_0", UUID, "", 12, None])
def test_a_uid_that_names_no_rollout_in_the_world_is_not_trusted(
    tmp_path: Path, uid: str | int | None
) -> None:
    one = parsed(tmp_path, row(uid=uid), row(uid=uid))
    assert len({trace.id for trace in one.traces}) == 2
    assert len({trace.group for trace in one.traces}) == 1


@pytest.mark.parametrize(
    ("score", "reward"),
    [(0.25, 0.25), (1, 1.0), (True, 1.0), (None, None), (float("nan"), None), ([0.0, 0.5], 0.5)],
)
def test_the_score_is_the_reward(tmp_path: Path, score: Any, reward: float | None) -> None:
    found = parsed(tmp_path, row(score=score))
    assert found.issues == []
    assert found.traces[0].reward == reward


@pytest.mark.parametrize(
    ("pred", "answer"), [("42", "42"), (42, "42"), ("", None), (None, None), (["x"], None)]
)
def test_an_extracted_answer_is_the_answer(tmp_path: Path, pred: Any, answer: str | None) -> None:
    assert parsed(tmp_path, row(pred=pred)).traces[0].answer == answer


def test_empty_texts_have_no_nodes(tmp_path: Path) -> None:
    found = parsed(tmp_path, row(output=""), row(input="", output="A."), row(input="", output=""))
    assert [call.completion is None for call in found.calls] == [True, False, True]
    assert [trace.leaf is None for trace in found.traces] == [False, False, True]
    assert found.traces[0].leaf == found.calls[0].prompt


def test_half_a_surrogate_pair_costs_nothing(tmp_path: Path) -> None:
    found = parsed(tmp_path, b'{"input": "\\ud83d", "output": "A", "score": NaN, "step": 1}\n')
    assert (len(found.calls), found.issues) == (1, [])


@pytest.mark.parametrize(
    "bad",
    [
        row(input=None),
        row(output=7),
        row(score="good"),
        row(score=[[1.0]]),
        row(score={"a": 1}),
        row(step="three"),
        row(uid={"a": 1}),
        '{"output": "no input"}\n',
        '{"input": "cut", "outp\n',
        '{"x": ' + "[" * 200_000 + "\n",
        "7\n",
        "\x00\n",
        b'{"input": "\xff", "output": "A"}\n',
    ],
)
def test_a_bad_row_is_one_issue_and_the_others_are_kept(tmp_path: Path, bad: str | bytes) -> None:
    found = parsed(tmp_path, row(), bad, row())
    (issue,) = found.issues
    assert (issue.line, issue.offset) == (2, len(row()))
    assert "\n" not in issue.reason
    assert [call.line for call in found.calls] == [1, 3]


@pytest.mark.parametrize("cut", range(1, 5))
def test_a_grown_file_gives_what_one_reading_gives(tmp_path: Path, cut: int) -> None:
    lines = [row(), row(output="B."), row(), row(input="other"), row()]
    whole = parsed(tmp_path, *lines)
    before = parsed(tmp_path, *lines[:cut])
    (tmp_path / "3.jsonl").write_text("".join(lines))
    after = parse_tail(PARSER, before)
    both = before.traces + after.traces
    assert [(t.id, t.group) for t in both] == [(t.id, t.group) for t in whole.traces]


def test_a_long_file_that_grew_is_read_again(tmp_path: Path) -> None:
    before = parsed(tmp_path, *[row(output=f"{n}") for n in range(MAX_REMEMBERED + 1)])
    with pytest.raises(Reread):
        parse_tail(PARSER, before)


def test_a_file_is_known_by_its_fields() -> None:
    assert claim(PARSER, row())
    assert claim(PARSER, row(score=None, gts=None, uid=f"{UUID}_0_0", acc=True))
    assert claim(PARSER, '{"input": "Q", "output": "A", "score": 0.5, "step": 1}\n')


def test_a_first_row_longer_than_the_head_is_known_by_the_name_of_the_file() -> None:
    long = row(input="x" * HEAD_BYTES)
    assert claim(PARSER, long, "17.jsonl")
    assert not claim(PARSER, long, "calls.jsonl")
    assert not claim(PARSER, '{"prompt": "' + "x" * HEAD_BYTES, "17.jsonl")


@pytest.mark.parametrize(
    "other",
    [
        {"timestamp": 5, "input": "a", "output": "b", "session_id": "s"},
        {"input": "a", "output": "b"},
        {"input": "a", "output": "b", "score": 1.0},
        {"input": [1], "output": "b", "score": 1.0, "step": 1},
        {"model": "m", "input": "a", "output": [], "usage": {}},
        {"prompt": "a", "completion": "b", "reward": 1.0, "step": 1},
    ],
)
def test_rows_of_other_formats_are_refused(other: dict[str, Any]) -> None:
    assert not claim(PARSER, json.dumps(other) + "\n", "3.jsonl")


def test_no_other_parser_claims_the_rows_of_any_of_its_trainers() -> None:
    rows = (
        row(),
        '{"input": "Q", "output": "A", "score": 0.5, "step": 1}\n',
        row(uid=f"{UUID}_0_0", reward=1.0, answer="x"),
        row(request_id="r"),
    )
    for line in rows:
        assert [p.name for p in parsers() if claim(p, line, "3.jsonl")] == ["verl"]


def test_the_samples_hold_a_step_of_four_groups_and_a_validation(sample_logs: Path) -> None:
    step = read(PARSER, sample_logs / "verl" / "rollouts" / "8.jsonl")
    assert (len(step.calls), len(step.traces), step.issues) == (24, 24, [])
    assert len({trace.group for trace in step.traces}) == 4
    assert len({trace.id for trace in step.traces}) == 24
    assert len({trace.leaf for trace in step.traces}) < 24
    assert {trace.reward for trace in step.traces} == {1.0, -1.0}
    assert all((trace.answer or "").isdigit() for trace in step.traces)
    validation = read(PARSER, sample_logs / "verl" / "validation" / "10.jsonl")
    assert len(validation.calls) == 3
    assert len({trace.id for trace in validation.traces}) == 2
    assert len({trace.group for trace in validation.traces}) == 1


@pytest.mark.real
def test_none_of_the_real_logs_of_other_formats_is_claimed(real_logs: Path) -> None:
    from forkpoint.parsers.logs import read_head

    ours = {"verl", "trl", "nemo-rl", "nemo-gym", "slime", "areal", "skyrl", "tinker-cookbook"}
    mine = [parser for parser in parsers() if parser.name in ours]
    assert len(mine) == len(ours)
    for path in (path for path in real_logs.rglob("*") if path.is_file()):
        head = read_head(path)
        assert [parser.name for parser in mine if parser.identify(head)] == [], path

"""The parser for Reflexion and LATS programming logs."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from parsed_records import claim, read
from recording_tree import Parsed, parse_tail

from forkpoint.parsers.records import Kind
from forkpoint.parsers.reflexion import Reflexion

PARSER = Reflexion()
TASK = {"name": "T/1", "prompt": "def f():", "entry_point": "f", "test": "check(f)"}


def run(**changes: Any) -> dict[str, Any]:
    fields = {
        **TASK,
        "is_solved": True,
        "reflections": ["r1"],
        "implementations": ["i1", "i2"],
        "test_feedback": ["f1", "f2"],
        "solution": "i2",
        "acc": 1.0,
    }
    return {**fields, **changes}


def parsed(folder: Path, *records: Any, name: str = "log.jsonl") -> Parsed:
    return read(PARSER, folder / name, "".join(json.dumps(r) + "\n" for r in records))


def course(folder: Path, **changes: Any) -> list[str]:
    found = parsed(folder, run(**changes))
    assert found.issues == []
    return found.text(found.traces[0].leaf)


def test_a_run_goes_from_attempt_to_feedback_to_reflection_to_attempt(tmp_path: Path) -> None:
    found = parsed(tmp_path, run())
    (trace,) = found.traces
    path = found.tree.path(trace.leaf or 0)
    assert [segment.content for segment in path] == ["def f():", "i1", "f1", "r1", "i2", "f2"]
    assert [segment.role for segment in path] == [
        "user",
        "assistant",
        "tool",
        "assistant",
        "assistant",
        "tool",
    ]
    assert path[2].kind is Kind.TOOL_RESULT
    assert found.text(trace.prompt) == ["def f():"]
    assert (trace.reward, trace.title) == (1.0, "T/1")


def test_requests_were_not_logged_so_there_are_no_calls(tmp_path: Path) -> None:
    assert parsed(tmp_path, run()).calls == []


def test_a_task_solved_at_the_first_attempt_has_no_reflection(tmp_path: Path) -> None:
    path = course(tmp_path, reflections=[], implementations=["i1"], test_feedback=["f1"])
    assert path == ["def f():", "i1", "f1"]


def test_a_tree_searchs_chosen_attempt_stands_below_the_first_one(tmp_path: Path) -> None:
    reflections = ["r1", "r2", "r3", "MCTS reflections"]
    path = course(tmp_path, reflections=reflections, test_feedback=["f1", "of another attempt"])
    assert path == ["def f():", "i1", "f1", "r1", "i2"]


def test_a_search_that_its_first_attempt_ended_is_a_rollout_of_which_nothing_is_known(
    tmp_path: Path,
) -> None:
    (trace,) = parsed(tmp_path, {**TASK, "acc": 0.5}).traces
    assert trace.reward is None and trace.group is not None
    assert trace.leaf == trace.prompt


def test_reflections_whose_attempts_are_unknown_are_left_out(tmp_path: Path) -> None:
    path = course(
        tmp_path,
        reflections=["r1", "r2"],
        implementations=["i1", "i2", "i3", "i4"],
        test_feedback=["f1", "f2", "f3"],
    )
    assert path == ["def f():", "i1", "f1", "i2", "f2", "i3", "f3", "i4"]


def test_older_files_have_reflections_and_the_solution_only(tmp_path: Path) -> None:
    record = {**TASK, "solution": "s", "is_solved": False, "reflections": ["r1", "r2"]}
    found = parsed(tmp_path, record, {**TASK, "solution": "s", "is_solved": False})
    assert [found.text(trace.leaf)[1:] for trace in found.traces] == [["r1", "r2", "s"], ["s"]]
    assert [trace.reward for trace in found.traces] == [0.0, 0.0]


def test_runs_of_one_prompt_are_a_group_in_all_files(tmp_path: Path) -> None:
    first = parsed(tmp_path, run(), run(name="T_1", is_solved=False), run(prompt="def g():"))
    second = parsed(tmp_path, run(solution="x"), name="other.jsonl")
    groups = [trace.group for trace in first.traces + second.traces]
    assert groups[0] == groups[1] == groups[3] != groups[2]
    assert len({trace.id for trace in first.traces + second.traces}) == 4


def test_equal_runs_are_two_rollouts_and_the_same_two_in_a_copy(tmp_path: Path) -> None:
    found = parsed(tmp_path, run(), run())
    copy = parsed(tmp_path, run(), run(), name="copy.jsonl")
    assert len({trace.id for trace in found.traces}) == 2
    assert [trace.id for trace in found.traces] == [trace.id for trace in copy.traces]


def test_strategy_and_model_stand_in_the_files_name(tmp_path: Path) -> None:
    for name, agent in (
        ("humaneval-py._mcts_8_gpt-3.5-turbo_pass_at_k_1_py.jsonl", "mcts gpt-3.5-turbo"),
        ("reflexion-ucs_5_gpt-4_pass_at_k_1_rs.jsonl", "reflexion-ucs gpt-4"),
        ("humaneval_164.jsonl", None),
    ):
        assert parsed(tmp_path, run(), name=name).traces[0].agent == agent


@pytest.mark.parametrize(
    "bad",
    [
        7,
        {},
        run(prompt=None),
        run(implementations=["a", 7]),
        run(reflections="r"),
        run(is_solved="yes"),
        run(solution=["assert f()"]),
    ],
)
def test_a_line_that_cannot_be_read_is_one_issue(tmp_path: Path, bad: Any) -> None:
    found = parsed(tmp_path, run(), bad, run())
    assert [issue.line for issue in found.issues] == [2]
    assert len(found.traces) == 2


def test_the_appended_part_is_read_on_from_the_checkpoint(tmp_path: Path) -> None:
    before = parsed(tmp_path, run())
    with before.log.path.open("a") as file:
        file.write(json.dumps(run()) + "\n")
    after = parse_tail(PARSER, before)
    whole = read(PARSER, before.log.path)
    assert [t.id for t in before.traces + after.traces] == [t.id for t in whole.traces]


def test_a_log_that_begins_with_tasks_solved_at_once_is_recognised() -> None:
    assert claim(PARSER, json.dumps({**TASK, "acc": 1.0}) + "\n" + json.dumps(run()))


@pytest.mark.parametrize(
    "record",
    [
        TASK,
        {**TASK, "canonical_solution": "pass"},
        {**TASK, "solution": ["assert f()"], "is_solved": True},
        {"prompt": "a", "is_solved": True, "solution": "b"},
        {"task_id": "T/1", "completion": "pass"},
        [],
    ],
)
def test_benchmarks_and_generated_tests_are_refused(record: Any) -> None:
    assert claim(PARSER, json.dumps(record)) is None


def test_the_samples_show_what_their_readme_says(sample_logs: Path) -> None:
    runs = [read(PARSER, path) for path in sorted((sample_logs / "reflexion").glob("*.jsonl"))]
    assert [found.issues for found in runs] == [[], []]
    searched, reflected = (found.traces for found in runs)
    assert Counter(Counter(t.group for t in searched + reflected).values()) == {2: 6}
    assert [trace.reward for trace in searched] == [None, 1, 1, 1, 0, 1]
    assert [trace.reward for trace in reflected] == [1, 1, 1, 1, 0, 0]
    assert [len(runs[1].text(trace.leaf)) for trace in reflected] == [3, 6, 9, 12, 12, 12]
    assert [len(runs[0].text(trace.leaf)) for trace in searched] == [1, 5, 5, 5, 5, 5]
    assert {trace.agent for trace in searched + reflected} == {"mcts gpt-4", "reflexion gpt-4"}

"""The parser for GSM8K model solutions."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from parsed_records import claim, read
from recording_tree import Parsed, parse_tail

from forkpoint.parsers.gsm8k_solutions import Gsm8kSolutions, final_answer
from forkpoint.parsers.records import Trace
from forkpoint.parsers.registry import parsers

PARSER = Gsm8kSolutions()


def problem(**changes: Any) -> dict[str, Any]:
    fields = {
        "question": "What is 2 * 9?",
        "ground_truth": "2 * 9 = 18\n#### 18",
        "small": {"is_correct": False, "solution": "2 * 9 = 29\nA: 29"},
        "large": {"is_correct": True, "solution": "2 * 9 = 18\nA: 18"},
    }
    return {**fields, **changes}


def parsed(folder: Path, *records: Any) -> Parsed:
    return read(PARSER, folder / "s.jsonl", "".join(json.dumps(r) + "\n" for r in records))


def by_group(found: Parsed) -> dict[str | None, list[Trace]]:
    groups = defaultdict(list)
    for trace in found.traces:
        groups[trace.group].append(trace)
    return groups


def test_a_problem_is_a_group_and_each_models_solution_a_rollout(tmp_path: Path) -> None:
    found = parsed(tmp_path, problem())
    small, large = found.traces
    assert small.group == large.group
    assert (small.reward, large.reward) == (0.0, 1.0)
    assert (small.answer, large.answer) == ("29", "18")
    assert found.text(large.leaf) == ["What is 2 * 9?", "2 * 9 = 18\nA: 18"]


def test_each_solution_is_a_call_of_its_model(tmp_path: Path) -> None:
    found = parsed(tmp_path, problem())
    assert [call.model for call in found.calls] == ["small", "large"]
    assert [call.trace for call in found.calls] == [trace.id for trace in found.traces]
    assert found.text(found.calls[0].prompt) == ["What is 2 * 9?"]
    assert found.calls[0].completion == found.traces[0].leaf
    assert found.calls[0].usage is None


def test_solutions_of_one_question_in_two_files_are_one_group_of_different_rollouts(
    tmp_path: Path,
) -> None:
    first = parsed(tmp_path, problem())
    other = {"large": {"is_correct": None, "solution": "18"}}
    second = read(PARSER, tmp_path / "t.jsonl", json.dumps(problem(**other)))
    assert first.traces[0].group == second.traces[0].group
    assert not {trace.id for trace in first.traces} & {trace.id for trace in second.traces}
    assert second.traces[1].reward is None and second.traces[1].answer is None


def test_a_copy_of_the_file_repeats_the_same_calls(tmp_path: Path) -> None:
    first = parsed(tmp_path, problem(), problem())
    copy = read(PARSER, tmp_path / "copy.jsonl", (tmp_path / "s.jsonl").read_bytes())
    assert [call.identity for call in first.calls] == [call.identity for call in copy.calls]
    assert len({call.identity for call in first.calls}) == 4


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("A: 18", "18"),
        ("x\n#### 42", "42"),
        ("x\n#### 3,000", "3000"),
        ("x\n#### 1,234,567.50 ", "1234567.50"),
        ("A: 7\nand then", None),
        ("A:", None),
        ("", None),
        ("It is 18", None),
        ("A: apples, pears", "apples, pears"),
    ],
)
def test_the_answer_is_what_the_last_line_states(text: str, answer: str | None) -> None:
    assert final_answer(text) == answer


@pytest.mark.parametrize(
    "bad",
    [
        [],
        7,
        {"question": "?"},
        problem(question=None),
        problem(question=5),
        problem(small={"is_correct": True}),
        problem(small={"is_correct": "yes", "solution": "18"}),
        problem(small={"is_correct": True, "solution": 18}),
    ],
)
def test_a_line_that_cannot_be_read_is_one_issue(tmp_path: Path, bad: Any) -> None:
    found = parsed(tmp_path, problem(), bad, problem(question="?"))
    assert [(issue.line, issue.offset > 0) for issue in found.issues] == [(2, True)]
    assert len(found.traces) == 4


def test_other_fields_of_a_problem_are_no_models(tmp_path: Path) -> None:
    found = parsed(tmp_path, problem(source="x", level=3, tags=["a"], note=None))
    assert [call.model for call in found.calls] == ["small", "large"]


def test_the_appended_part_is_read_on_from_the_checkpoint(tmp_path: Path) -> None:
    before = parsed(tmp_path, problem())
    with before.log.path.open("a") as file:
        file.write(json.dumps(problem()) + "\n")
    after = parse_tail(PARSER, before)
    whole = read(PARSER, before.log.path)
    assert [t.id for t in before.traces + after.traces] == [t.id for t in whole.traces]


@pytest.mark.parametrize(
    "data",
    [
        "",
        "[]",
        '{"question": "?", "answer": "#### 1"}',
        '{"question": "?", "ground_truth": "1", "solution": "1"}',
        '{"question": "?", "ground_truth": "1", "m": {"text": "1"}}',
        '{"question": ["?"], "ground_truth": "1", "m": {"solution": "1"}}',
    ],
)
def test_other_questions_are_refused(data: str) -> None:
    assert claim(PARSER, data) is None


def test_the_sample_shows_what_its_readme_says(sample_logs: Path) -> None:
    found = read(PARSER, sample_logs / "gsm8k-solutions" / "bakery.jsonl")
    assert found.issues == []
    groups = by_group(found)
    assert [len(group) for group in groups.values()] == [3] * 12
    assert sum(trace.reward or 0 for trace in found.traces) == 26
    assert sum(trace.answer is None for trace in found.traces) == 2
    assert [trace.answer for trace in found.traces][-2:] == ["3000", "3000"]


@pytest.mark.real
def test_the_real_file_gives_the_published_facts(real_logs: Path) -> None:
    facts = json.loads((real_logs / "FACTS.json").read_text())["gsm8k_solutions"]
    for name, fact in facts.items():
        found = read(PARSER, real_logs / name)
        assert found.issues == []
        groups = by_group(found)
        assert len(groups) == fact["problems"]
        assert {len(group) for group in groups.values()} == {fact["solutions_per_problem"]}
        rewards = {trace.id: trace.reward or 0 for trace in found.traces}
        per_model = defaultdict(list)
        for call in found.calls:
            per_model[call.model].append(rewards[call.trace])
        accuracy = {model: round(sum(each) / len(each), 6) for model, each in per_model.items()}
        assert accuracy == fact["accuracy"]
        agree = sum(len({trace.reward for trace in group}) == 1 for group in groups.values())
        assert agree == fact["all_agree"]
        lines = (real_logs / name).read_text().splitlines()
        truths = [final_answer(json.loads(line)["ground_truth"]) for line in lines]
        for truth, group in zip(truths, groups.values(), strict=True):
            assert [trace.answer == truth for trace in group] == [trace.reward for trace in group]


@pytest.mark.real
def test_no_other_parser_claims_the_real_file(real_logs: Path) -> None:
    path = next((real_logs / "rollout-groups" / "gsm8k-model-solutions").iterdir())
    data = path.read_bytes()
    assert claim(PARSER, data)
    claims = [parser.name for parser in parsers() if claim(parser, data, path.name)]
    assert claims in ([], ["gsm8k-solutions"])

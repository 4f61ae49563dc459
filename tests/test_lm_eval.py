"""The parser for sample logs of the LM Evaluation Harness."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from recording_tree import Parsed, parse_file

from forkpoint.parsers.lm_eval import LmEval
from forkpoint.parsers.logs import HEAD_BYTES, Head, read_head
from forkpoint.parsers.records import Kind

PARSER = LmEval()
NAME = "samples_gsm8k_2026-06-18T14-03-22.481920.jsonl"


def generated(
    number: Any = 0, texts: Any = (" 4. The answer is 4.",), **changes: Any
) -> dict[str, Any]:
    row = {
        "doc_id": number,
        "doc": {"question": "2 + 2?"},
        "target": "4",
        "arguments": {"gen_args_0": {"arg_0": "Q: 2 + 2?\nA:", "arg_1": {"until": ["Q:"]}}},
        "resps": [list(texts)],
        "filtered_resps": ["4"],
        "filter": "strict-match",
        "metrics": ["exact_match"],
        "doc_hash": "d0",
        "prompt_hash": "p0",
        "target_hash": "t0",
        "exact_match": 1.0,
    }
    return {**row, **changes}


def scored(number: int = 0, **changes: Any) -> dict[str, Any]:
    requests = {
        f"gen_args_{i}": {"arg_0": "The sea is", "arg_1": word}
        for i, word in enumerate((" blue", " red"))
    }
    resps = [[["-1.5", "True"]], [["-7.25", "False"]]]
    metrics = {"metrics": ["acc", "acc_norm"], "acc": 1, "acc_norm": 0.0, "filter": "none"}
    rest = {"arguments": requests, "resps": resps, "filtered_resps": [r[0] for r in resps]}
    return generated(number, **{**rest, **metrics, **changes})


def parsed(folder: Path, *rows: Any, name: str = NAME, data: bytes | None = None) -> Parsed:
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    lines = (row if isinstance(row, bytes) else json.dumps(row).encode() for row in rows)
    path.write_bytes(b"".join(line + b"\n" for line in lines) if data is None else data)
    return parse_file(PARSER, path)


def test_each_repeat_is_a_call_and_a_rollout_of_its_document(tmp_path: Path) -> None:
    result = parsed(tmp_path, generated(texts=(" 4.", " 5.", " 4.")), generated(1))
    assert result.issues == []
    assert len(result.calls) == len({call.identity for call in result.calls}) == 4
    groups = Counter(trace.group for trace in result.traces)
    assert sorted(groups.values()) == [1, 3]
    first, second, third, _ = result.calls
    assert first.prompt == second.prompt
    assert first.completion == third.completion != second.completion
    assert result.tree.path(first.completion or 0) == [
        (Kind.RENDERED, "prompt", "Q: 2 + 2?\nA:"),
        (Kind.TEXT, "assistant", " 4."),
    ]
    assert [trace.leaf for trace in result.traces] == [call.completion for call in result.calls]
    assert {trace.project for trace in result.traces} == {"gsm8k"}
    assert (first.usage, first.started_at) == (None, None)


def test_one_row_a_filter_is_one_call(tmp_path: Path) -> None:
    again = {"filter": "flexible-extract", "filtered_resps": ["5"], "exact_match": 0.0}
    rows = [generated(0), generated(1), generated(0, **again), generated(1, **again)]
    result = parsed(tmp_path, *rows)
    assert (len(result.calls), len(result.traces)) == (2, 2)
    assert [(trace.reward, trace.answer) for trace in result.traces] == [(1.0, "4")] * 2


def test_one_document_asked_twice_with_other_responses_is_two_calls(tmp_path: Path) -> None:
    result = parsed(tmp_path, generated(0), generated(0, texts=(" 7.",)))
    assert len({call.identity for call in result.calls}) == 2
    assert len({trace.id for trace in result.traces}) == 2


def test_what_a_filter_made_of_several_repeats_is_nobodys_reward(tmp_path: Path) -> None:
    result = parsed(tmp_path, generated(texts=(" 4.", " 5.")))
    assert [(trace.reward, trace.answer) for trace in result.traces] == [(None, None)] * 2


def test_likelihoods_are_calls_that_read_their_continuation_and_no_rollouts(tmp_path: Path) -> None:
    result = parsed(tmp_path, scored())
    assert [call.completion for call in result.calls] == [None, None]
    paths = [result.tree.path(call.prompt) for call in result.calls]
    assert [[seen.content for seen in path] for path in paths] == [
        ["The sea is", " blue"],
        ["The sea is", " red"],
    ]
    (trace,) = result.traces
    assert (trace.group, trace.leaf, trace.reward) == (None, None, 1.0)


def test_a_text_whose_likelihood_was_asked_for_stands_alone(tmp_path: Path) -> None:
    arguments = {"gen_args_0": {"arg_0": "A whole page."}}
    row = scored(arguments=arguments)
    row |= {"resps": [["-123.5"]], "metrics": ["word_perplexity"], "word_perplexity": [1.5, 3]}
    result = parsed(tmp_path, row)
    (call,) = result.calls
    assert result.tree.path(call.prompt)[0].content == "A whole page."
    assert (call.completion, result.traces[0].reward) == (None, None)


@pytest.mark.parametrize("nested", [False, True])
def test_messages_as_a_json_text_are_messages(tmp_path: Path, nested: bool) -> None:
    text = json.dumps([{"role": "system", "content": "Add."}, {"role": "user", "content": "2+2"}])
    request = {"arg_0": [text] if nested else text, "arg_1": {"until": []}}
    result = parsed(tmp_path, generated(arguments={"gen_args_0": request}))
    assert result.tree.path(result.calls[0].prompt) == [
        (Kind.SYSTEM, "system", "Add."),
        (Kind.TEXT, "user", "2+2"),
    ]


def test_a_text_that_only_looks_like_messages_is_a_text(tmp_path: Path) -> None:
    request = {"arg_0": '[{"role": is what a message begins with', "arg_1": {}}
    result = parsed(tmp_path, generated(arguments={"gen_args_0": request}))
    assert result.tree.path(result.calls[0].prompt)[0].kind is Kind.RENDERED
    assert result.issues == []


def test_arguments_may_be_lists_and_the_file_one_list(tmp_path: Path) -> None:
    rows = [generated(n, arguments=[["Q: 2 + 2?\nA:", {"until": ["Q:"]}]]) for n in (0, 1)]
    data = json.dumps(rows, indent=2).encode()
    result = parsed(tmp_path, data=data)
    assert (len(result.calls), result.issues) == (2, [])
    assert data[result.calls[1].offset :].startswith(b'{\n    "doc_id": 1')
    assert PARSER.identify(read_head(tmp_path / NAME)) is not None
    cut = parsed(tmp_path, data=data[:-20])
    assert (len(cut.calls), len(cut.issues)) == (1, 1)


def test_a_runs_folder_names_the_model(tmp_path: Path) -> None:
    def model(name: str) -> str | None:
        return parsed(tmp_path, generated(), name=name).calls[0].model

    assert model(f"meta-llama__Llama-3.1-8B/{NAME}") == "meta-llama/Llama-3.1-8B"
    assert model(f"results/{NAME}") is None
    assert model("meta-llama__Llama-3.1-8B/other.jsonl") is None


def test_two_runs_with_the_same_answers_are_two_runs_and_a_copy_is_none(tmp_path: Path) -> None:
    (tmp_path / "copy").mkdir()
    first, copy = parsed(tmp_path, generated()), parsed(tmp_path / "copy", generated())
    other = parsed(tmp_path, generated(), name=NAME.replace("18T", "19T"))
    assert first.calls[0].identity == copy.calls[0].identity != other.calls[0].identity
    assert first.traces[0].group != other.traces[0].group


@pytest.mark.parametrize(
    ("changes", "reward"),
    [
        ({"exact_match": True}, 1.0),
        ({"exact_match": float("nan")}, None),
        ({"exact_match": None}, None),
        ({"metrics": ["missing", "exact_match"]}, 1.0),
        ({"metrics": None}, None),
        ({"exact_match": "high"}, None),
    ],
)
def test_the_first_metric_that_is_a_number_is_the_reward(
    tmp_path: Path, changes: dict[str, Any], reward: float | None
) -> None:
    result = parsed(tmp_path, generated(**changes))
    assert ([trace.reward for trace in result.traces], result.issues) == ([reward], [])


@pytest.mark.parametrize(
    ("changes", "answer"),
    [
        ({"filtered_resps": ["[invalid]"]}, None),
        ({"filter": "none"}, None),
        ({"filtered_resps": [["4", "5"]]}, None),
        ({"filtered_resps": "4"}, None),
        ({}, "4"),
    ],
)
def test_the_answer_is_what_a_filter_found(
    tmp_path: Path, changes: dict[str, Any], answer: str | None
) -> None:
    assert parsed(tmp_path, generated(**changes)).traces[0].answer == answer


@pytest.mark.parametrize(
    "bad",
    [
        b'{"doc_id": 1, "doc"',
        b"[]",
        generated(1, resps=[]),
        generated(1, resps="x"),
        generated(1, arguments={}),
        generated(1, arguments={"gen_args_0": {}}),
        generated(1, arguments={"gen_args_0": {"arg_0": 5}}),
        generated(1, doc_id=None),
        generated(1, metrics=[1]),
    ],
)
def test_a_row_that_cannot_be_read_costs_only_itself(tmp_path: Path, bad: Any) -> None:
    result = parsed(tmp_path, generated(0), bad, generated(2))
    assert [call.line for call in result.calls] == [1, 3]
    assert [issue.line for issue in result.issues] == [2]


def test_a_file_is_known_by_the_fields_of_its_rows() -> None:
    def identified(*rows: Any) -> bool:
        data = b"".join(json.dumps(row).encode() + b"\n" for row in rows)
        return PARSER.identify(Head(Path("x"), data[:HEAD_BYTES])) is not None

    assert identified(generated(), generated(1))
    assert identified(generated(doc={"text": "x" * HEAD_BYTES}))
    assert identified([generated()])
    assert identified([generated(doc={"text": "x" * HEAD_BYTES})])
    assert not identified({"doc_id": 1, "doc": {}})
    assert not identified({"id": "x", "doc": {}, "resps": []})
    assert not identified([{"task_id": 0, "reward": 1.0, "traj": []}])
    assert not identified({})
    assert not identified([])


def test_the_samples_were_asked_once_for_both_filters(sample_logs: Path) -> None:
    sums, facts = (
        parse_file(PARSER, next((sample_logs / "lm-eval").glob(f"*/samples_{task}_*")))
        for task in ("sums_cot", "sea_facts")
    )
    assert sums.issues == facts.issues == []
    assert (len(sums.calls), len(facts.calls)) == (12, 6)
    assert Counter(Counter(trace.group for trace in sums.traces).values()) == {4: 3}
    assert len({call.prompt for call in sums.calls}) == 3
    assert {trace.group for trace in facts.traces} == {None}
    assert {call.model for call in sums.calls} == {"acme/harbour-7b"}


@pytest.mark.real
def test_no_real_log_of_another_format_is_claimed(real_logs: Path) -> None:
    for path in (path for path in real_logs.rglob("*") if path.is_file()):
        assert PARSER.identify(read_head(path)) is None, path

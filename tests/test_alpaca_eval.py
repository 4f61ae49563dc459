"""The parser for AlpacaEval annotations."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from parsed_records import claim, read
from recording_tree import Parsed

from forkpoint.parsers.alpaca_eval import AlpacaEval, second_wins
from forkpoint.parsers.records import Kind, Usage
from forkpoint.parsers.registry import parsers

PARSER = AlpacaEval()


def token(text: str, logprob: float, *top: float) -> dict[str, Any]:
    return {"token": text, "logprob": logprob, "top_logprobs": [{"logprob": each} for each in top]}


def completion(**changes: Any) -> dict[str, Any]:
    fields = {
        "finish_reason": "length",
        "index": 0,
        "logprobs": {"content": [token("M", -0.25, -0.25, -1.5)]},
        "message": {"content": "M", "role": "assistant", "function_call": None, "tool_calls": None},
        "text": "M",
        "total_tokens": 806.0,
    }
    return {**fields, **changes}


def comparison(**changes: Any) -> dict[str, Any]:
    fields = {
        "instruction": "Say hi.",
        "output_1": "Hi.",
        "generator_1": "large",
        "dataset": "d",
        "output_2": "Hello.",
        "generator_2": "small",
        "annotator": "judge",
        "preference": 1.25,
        "price_per_example": 0.00806,
        "time_per_example": 0.44,
        "raw_completion": completion(),
    }
    return {**fields, **changes}


def parsed(folder: Path, *comparisons: Any) -> Parsed:
    return read(PARSER, folder / "annotations.json", json.dumps(comparisons, indent=2))


def test_the_two_answers_are_rollouts_of_one_instruction(tmp_path: Path) -> None:
    found = parsed(tmp_path, comparison())
    first, second, _ = found.traces
    assert first.group == second.group is not None
    assert (first.agent, second.agent) == ("large", "small")
    assert (first.reward, second.reward) == (0.75, 0.25)
    assert found.text(first.leaf) == ["Say hi.", "Hi."]
    assert found.text(second.prompt) == ["Say hi."]


def test_the_judges_request_is_a_call_behind_an_unlogged_template(tmp_path: Path) -> None:
    found = parsed(tmp_path, comparison(), comparison(instruction="Say bye."))
    call, other = found.calls
    path = found.tree.path(call.prompt)
    assert [segment.kind for segment in path] == [Kind.UNLOGGED] + [Kind.TEXT] * 3
    assert [segment.content for segment in path[1:]] == ["Say hi.", "Hi.", "Hello."]
    assert found.text(call.completion)[-1] == "M"
    assert call.usage == Usage(input_tokens=805, output_tokens=1)
    assert (call.logged_cost_usd, call.duration_s) == (0.00806, 0.44)
    assert call.model is None
    assert call.trace != other.trace and call.identity != other.identity
    assert found.tree.path(other.prompt)[0] == path[0]
    judged = [trace for trace in found.traces if trace.group is None]
    assert [trace.agent for trace in judged] == ["judge", "judge"]
    assert [trace.id for trace in judged] == [call.trace, other.trace]


def test_each_output_token_has_its_logprob_and_the_likeliest_ones(tmp_path: Path) -> None:
    tokens = [token("M", -0.25, -0.25, -1.5), token("!", -0.5)]
    answer = completion(logprobs={"content": tokens})
    found = parsed(tmp_path, comparison(raw_completion=answer))
    (scores,) = found.scores
    assert scores.tokens == ["M", "!"]
    assert scores.logprobs == [-0.25, -0.5]
    assert scores.top == [[-0.25, -1.5], []]
    assert (scores.prompt, scores.completion) == (found.calls[0].prompt, found.calls[0].completion)
    assert found.calls[0].usage == Usage(input_tokens=804, output_tokens=2)


def test_sampled_tokens_alone_have_no_likeliest_ones(tmp_path: Path) -> None:
    answer = completion(logprobs={"content": [{"token": "M", "logprob": -0.25}]})
    found = parsed(tmp_path, comparison(raw_completion=answer))
    assert found.scores[0].top is None


def test_equal_answers_are_a_draw_that_nobody_was_asked_about(tmp_path: Path) -> None:
    draw = comparison(
        output_2="Hi.",
        preference=1.5,
        price_per_example=None,
        time_per_example=None,
        raw_completion=None,
    )
    found = parsed(tmp_path, draw)
    assert found.calls == [] and found.scores == []
    assert [trace.reward for trace in found.traces] == [0.5, 0.5]
    assert found.traces[0].leaf == found.traces[1].leaf


def test_a_request_that_failed_is_no_call(tmp_path: Path) -> None:
    failed = {"text": "", "total_tokens": 0}
    found = parsed(
        tmp_path, comparison(raw_completion=failed, price_per_example=0.0, preference=None)
    )
    assert found.calls == [] and found.issues == []
    assert [trace.reward for trace in found.traces] == [None, None]


def test_other_decoders_completions_are_calls_without_usage(tmp_path: Path) -> None:
    found = parsed(
        tmp_path,
        comparison(raw_completion="Output (a)"),
        comparison(raw_completion=None),
        comparison(raw_completion={"text": "m", "total_tokens": 40.5}),
        comparison(raw_completion=completion(logprobs=None)),
        comparison(raw_completion=completion(total_tokens=0.5)),
    )
    assert [call.usage for call in found.calls] == [None] * 5
    ends = [found.text(call.completion)[-1] for call in found.calls if call.completion]
    assert ends == ["Output (a)", "m", "M", "M"]
    assert found.calls[1].completion is None and found.calls[1].logged_cost_usd == 0.00806
    assert len(found.scores) == 1


def test_equal_comparisons_are_two_calls(tmp_path: Path) -> None:
    found = parsed(tmp_path, comparison(), comparison())
    assert len({call.identity for call in found.calls}) == 2
    assert len({trace.id for trace in found.traces}) == 6


def test_a_preference_is_the_odds_of_the_second_answer() -> None:
    assert second_wins(1.000001) == pytest.approx(1e-6)
    assert [second_wins(each) for each in (0, 0.5, 2.5, -1, None)] == [0.5, None, None, None, None]


@pytest.mark.parametrize(
    "bad",
    [
        7,
        None,
        comparison(instruction=None),
        comparison(output_2=["a"]),
        comparison(preference="1"),
        comparison(raw_completion=7),
        comparison(raw_completion=completion(logprobs={"content": [{"token": 1}]})),
        comparison(raw_completion=completion(message={"content": 5})),
    ],
)
def test_a_comparison_that_cannot_be_read_is_one_issue(tmp_path: Path, bad: Any) -> None:
    found = parsed(tmp_path, comparison(), bad, comparison(instruction="?"))
    assert [issue.line for issue in found.issues] == [2]
    assert len(found.calls) == 2


def test_a_list_cut_off_keeps_the_comparisons_before_the_cut(tmp_path: Path) -> None:
    data = json.dumps([comparison()] * 3, indent=2)
    found = read(PARSER, tmp_path / "a.json", data[: len(data) * 5 // 6])
    assert len(found.calls) == 2
    assert [issue.line for issue in found.issues] == [3]


def test_comparisons_longer_than_the_head_are_recognised() -> None:
    assert claim(PARSER, json.dumps([comparison(output_1="x" * 70_000)], indent=2))
    assert claim(PARSER, json.dumps([comparison()] * 200))


@pytest.mark.parametrize(
    "data",
    [
        "",
        "[]",
        '[{"instruction": "a", "output": "b", "generator": "c"}]',
        '[{"instruction": "a", "output_1": "b", "output_2": "c"}]',
        '{"instruction": "a", "output_1": "b", "output_2": "c", "preference": 1}',
        '["instruction", "output_1", "output_2", "preference"]',
    ],
)
def test_other_documents_are_refused(data: str) -> None:
    assert claim(PARSER, data) is None


def test_the_sample_shows_what_its_readme_says(sample_logs: Path) -> None:
    found = read(PARSER, sample_logs / "alpaca-eval" / "annotations.json")
    assert found.issues == []
    assert len(found.calls) == len(found.scores) == 17
    assert {len(scores.top[0]) for scores in found.scores if scores.top} == {5}
    rollouts = Counter(trace.group for trace in found.traces if trace.group)
    assert len(rollouts) == 20 and set(rollouts.values()) == {2}
    assert sum(call.usage.input_tokens or 0 for call in found.calls if call.usage) == 4428


@pytest.mark.real
def test_the_real_file_gives_the_published_facts(real_logs: Path) -> None:
    facts = json.loads((real_logs / "FACTS.json").read_text())["alpaca_logprobs"]
    for name, fact in facts.items():
        found = read(PARSER, real_logs / name)
        assert found.issues == []
        groups = {trace.group for trace in found.traces if trace.group}
        assert len(groups) == fact["records"]
        assert len(found.scores) == len(found.calls) == fact["with_logprobs"]
        assert len(groups) - len(found.calls) == fact["without"]
        assert sum(len(scores.tokens) for scores in found.scores) == fact["token_positions"]
        k = Counter(str(len(scores.top[0])) for scores in found.scores if scores.top)
        assert k == fact["top_logprobs_k"]
        won = [t.reward for t in found.traces if t.agent == "alpaca-7b" and t.reward is not None]
        assert 1 + sum(won) / len(won) == pytest.approx(fact["mean_preference"], abs=1e-6)
        price = sum(call.logged_cost_usd or 0 for call in found.calls)
        assert price == pytest.approx(fact["total_price"])
        # The price is that of all tokens at $10 a million, so it tells the billed total.
        used = [call.usage for call in found.calls if call.usage]
        total = sum((each.input_tokens or 0) + (each.output_tokens or 0) for each in used)
        assert total == 664_014 == round(price / 0.00001)


@pytest.mark.real
def test_no_other_parser_claims_the_real_file(real_logs: Path) -> None:
    path = real_logs / "logprobs" / "alpaca-eval" / "annotations.json"
    data = path.read_bytes()
    assert claim(PARSER, data)
    claims = [parser.name for parser in parsers() if claim(parser, data, path.name)]
    assert claims in ([], ["alpaca-eval"])

"""The parser for verifiers evaluation results."""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from recording_tree import Parsed, parse_file, parse_tail

from forkpoint.parsers.logs import HEAD_BYTES, Head, read_head
from forkpoint.parsers.records import Kind, Usage
from forkpoint.parsers.verifiers import Verifiers

PARSER = Verifiers()
PROMPT = [{"role": "system", "content": "Solve it."}, {"role": "user", "content": "2 + 2?"}]


def row(example: Any = 0, said: Any = "4", **changes: Any) -> dict[str, Any]:
    completion = said if isinstance(said, list) else [{"role": "assistant", "content": said}]
    fields = {"example_id": example, "prompt": PROMPT, "completion": completion, "reward": 1.0}
    return {**fields, "timing": {}, "is_completed": True, "metrics": {}, "answer": "4", **changes}


def parsed(folder: Path, *rows: Any, metadata: Any = None) -> Parsed:
    path = folder / "results.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in rows))
    if metadata is not None:
        (folder / "metadata.json").write_text(json.dumps(metadata))
    return parse_file(PARSER, path)


def path_of(result: Parsed, node: int | None) -> list[tuple[str, str]]:
    return [(str(s.kind), s.content) for s in result.tree.path(node or 0)]


def identified(data: Any) -> bool:
    data = data if isinstance(data, bytes) else (json.dumps(data) + "\n").encode()
    return PARSER.identify(Head(Path("x"), data[:HEAD_BYTES])) is not None


def test_a_row_is_a_rollout_of_its_example(tmp_path: Path) -> None:
    result = parsed(tmp_path, row(), row(0, "5", reward=0.0), row(1))
    assert [trace.reward for trace in result.traces] == [1.0, 0.0, 1.0]
    assert sorted(Counter(trace.group for trace in result.traces).values()) == [1, 2]
    first, second, _ = result.calls
    assert first.prompt == second.prompt
    assert path_of(result, first.completion) == [
        ("system", "Solve it."),
        ("text", "2 + 2?"),
        ("text", "4"),
    ]
    assert result.traces[0].leaf == first.completion


def test_the_expected_answer_is_not_the_models(tmp_path: Path) -> None:
    assert parsed(tmp_path, row(0, "5", answer="4")).traces[0].answer is None


def test_only_the_assistants_messages_of_a_completion_are_calls(tmp_path: Path) -> None:
    shown = [PROMPT[0], {"role": "assistant", "content": "An example."}, PROMPT[1]]
    said = [
        {"role": "assistant", "content": "a"},
        {"role": "user", "content": "b"},
        {"role": "assistant", "content": "c"},
    ]
    result = parsed(tmp_path, row(0, said, prompt=shown))
    assert [path_of(result, call.completion)[-1][1] for call in result.calls] == ["a", "c"]
    assert len({call.identity for call in result.calls}) == 2


def test_tool_calls_that_are_strings_of_json_are_read(tmp_path: Path) -> None:
    call = {"id": "call_1", "name": "ask", "arguments": '{"q": "hot?"}'}
    nested = {"id": "x", "type": "function", "function": {"name": "ask", "arguments": "{}"}}
    said = [{"role": "assistant", "content": "", "tool_calls": [json.dumps(call), nested]}]
    result = parsed(tmp_path, row(0, said))
    assert path_of(result, result.calls[0].completion)[-2:] == [
        ("tool_call", 'ask\n{"q": "hot?"}'),
        ("tool_call", "ask\n{}"),
    ]


def test_tools_come_first(tmp_path: Path) -> None:
    result = parsed(tmp_path, row(tool_defs=[{"name": "ask", "description": "x"}]))
    assert path_of(result, result.calls[0].prompt)[0] == (
        Kind.TOOLS,
        '{"name":"ask","description":"x"}',
    )


def test_token_usage_of_one_call_is_its_own_in_whole_numbers(tmp_path: Path) -> None:
    usage = {"input_tokens": 41.0, "output_tokens": 9.0, "final_input_tokens": 41.0}
    (call,) = parsed(tmp_path, row(token_usage=usage)).calls
    assert call.usage == Usage(input_tokens=41, output_tokens=9)


def test_token_usage_of_several_calls_is_no_calls_own(tmp_path: Path) -> None:
    said = [{"role": "assistant", "content": text} for text in "ab"]
    usage = {"input_tokens": 90.0, "output_tokens": 9.0}
    result = parsed(tmp_path, row(0, said, token_usage=usage))
    assert [call.usage for call in result.calls] == [None, None]


def test_token_usage_of_nought_is_unknown(tmp_path: Path) -> None:
    usage = {"input_tokens": 0.0, "output_tokens": 0.0}
    assert parsed(tmp_path, row(token_usage=usage)).calls[0].usage is None


def test_calls_have_the_times_of_their_spans(tmp_path: Path) -> None:
    said = [{"role": "assistant", "content": text} for text in "ab"]
    spans = [{"start": 100.0, "end": 102.5}, {"start": 110.0, "end": 111.0}]
    result = parsed(tmp_path, row(0, said, timing={"model": {"spans": spans}, "start_time": 99.0}))
    assert [call.duration_s for call in result.calls] == [2.5, 1.0]
    assert result.calls[1].started_at == datetime(1970, 1, 1, 0, 1, 50, tzinfo=UTC)
    fewer = parsed(tmp_path, row(0, said, timing={"model": {"spans": spans[:1]}}))
    assert [call.started_at for call in fewer.calls] == [None, None]


def test_one_call_has_the_time_of_its_rollout_in_old_rows(tmp_path: Path) -> None:
    timing = {"start_time": 100.0, "generation_ms": 2500.0, "scoring_ms": 1.0, "total_ms": 2501.0}
    (call,) = parsed(tmp_path, row(timing=timing)).calls
    assert call.started_at == datetime(1970, 1, 1, 0, 1, 40, tzinfo=UTC)
    assert call.duration_s == 2.5


def test_the_model_and_the_environment_stand_in_the_metadata(tmp_path: Path) -> None:
    metadata = {"env_id": "sums", "model": "openai/gpt-4.1-mini", "avg_reward": 1.0}
    result = parsed(tmp_path, row(), metadata=metadata)
    assert (result.calls[0].provider, result.calls[0].model) == ("openai", "gpt-4.1-mini")
    assert result.traces[0].project == "sums"


@pytest.mark.parametrize("metadata", [7, {"model": 7}, [], None])
def test_rows_count_without_metadata(tmp_path: Path, metadata: Any) -> None:
    result = parsed(tmp_path, row(), metadata=metadata)
    assert (len(result.calls), result.issues, result.calls[0].model) == (1, [], None)


def test_a_rollout_that_failed_has_no_calls(tmp_path: Path) -> None:
    result = parsed(tmp_path, row(completion=None, reward=0.0, error={"error": "x"}))
    assert result.calls == []
    assert path_of(result, result.traces[0].leaf)[-1] == ("text", "2 + 2?")
    assert result.traces[0].prompt == result.traces[0].leaf


def test_prompts_and_completions_that_are_texts_are_read(tmp_path: Path) -> None:
    result = parsed(tmp_path, row(prompt="2 + 2 =", completion=" 4"))
    assert path_of(result, result.calls[0].completion) == [("text", "2 + 2 ="), ("text", " 4")]


def test_equal_rollouts_are_two_and_meet_their_twins_in_a_copy(tmp_path: Path) -> None:
    result = parsed(tmp_path, row(), row())
    assert len({call.identity for call in result.calls}) == 2
    again = parse_file(PARSER, tmp_path / "results.jsonl")
    assert [trace.id for trace in result.traces] == [trace.id for trace in again.traces]


def test_rows_that_were_appended_join_their_groups(tmp_path: Path) -> None:
    whole = parsed(tmp_path, row(), row(0, "5"), row())
    before = parsed(tmp_path, row())
    with open(tmp_path / "results.jsonl", "a") as stream:
        stream.write(json.dumps(row(0, "5")) + "\n" + json.dumps(row()) + "\n")
    after = parse_tail(PARSER, before)
    assert [t.id for t in before.traces + after.traces] == [t.id for t in whole.traces]
    assert {t.group for t in before.traces} == {t.group for t in after.traces}


@pytest.mark.parametrize(
    "bad",
    [
        7,
        {"example_id": 0.5},
        row(prompt=7),
        row(0, [7]),
        row(0, [{"role": "assistant", "tool_calls": ["no json"]}]),
        row(reward="good"),
        row(token_usage={"input_tokens": -1}),
        row(timing={"start_time": "noon"}),
    ],
)
def test_a_bad_row_is_one_issue_and_the_others_are_kept(tmp_path: Path, bad: Any) -> None:
    result = parsed(tmp_path, row(), bad, row(1))
    assert [call.line for call in result.calls] == [1, 3]
    assert [issue.line for issue in result.issues] == [2]


def test_a_file_is_known_by_its_first_row() -> None:
    assert identified(row())
    assert identified(row(prompt="x" * HEAD_BYTES))


@pytest.mark.parametrize(
    "other",
    [
        {},
        {"prompt": "x", "completion": "y", "reward": 1.0},
        {"example_id": 0, "prompt": "x", "completion": "y"},
        {"env_id": "sums", "model": "x", "num_examples": 5},
        b'{"prompt": "xxx',
    ],
)
def test_other_files_are_refused(other: Any) -> None:
    assert not identified(other)


def test_the_samples_hold_what_their_readme_says(sample_logs: Path) -> None:
    sums = parse_file(PARSER, sample_logs / "verifiers" / "sums" / "results.jsonl")
    assert sorted(Counter(trace.group for trace in sums.traces).values()) == [4, 4, 4]
    assert sum(trace.reward or 0 for trace in sums.traces) == 9
    assert all(call.usage and call.usage.input_tokens == 41 for call in sums.calls)
    game = parse_file(PARSER, sample_logs / "verifiers" / "word-game" / "results.jsonl")
    assert [sum(c.trace == t.id for c in game.calls) for t in game.traces] == [2, 3, 1, 0]
    assert game.calls[0].completion == game.calls[2].completion


@pytest.mark.real
def test_no_real_log_of_another_format_is_claimed(real_logs: Path) -> None:
    for path in (path for path in real_logs.rglob("*") if path.is_file()):
        assert PARSER.identify(read_head(path)) is None, path

"""The parser for request logs with token ids."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from parsed_records import as_bytes, check_second_is_bad, claim
from recording_tree import Parsed, RecordingTree, parse_file, parse_tail

from forkpoint.parsers.base import Reread
from forkpoint.parsers.logs import HEAD_BYTES, Log, read_head
from forkpoint.parsers.records import Call, Kind, Scores, Trace
from forkpoint.parsers.token_ids import TokenIds

PARSER = TokenIds()


def line(**fields: Any) -> str:
    return json.dumps(fields) + "\n"


def written(folder: Path, *lines: str | bytes) -> Path:
    path = folder / "requests.jsonl"
    path.write_bytes(b"".join(map(as_bytes, lines)))
    return path


def parsed(folder: Path, *lines: str | bytes) -> Parsed:
    return parse_file(PARSER, written(folder, *lines))


def identified(data: str | bytes) -> bool:
    return claim(PARSER, data) is not None


@pytest.mark.parametrize("name", ["token_ids", "prompt_token_ids", "prompt_ids", "input_ids"])
def test_a_prompt_is_read_under_each_of_its_names(tmp_path: Path, name: str) -> None:
    result = parsed(tmp_path, line(request_id="r", **{name: [5, 0, 2**32 - 1]}))
    (call,) = result.calls
    assert result.tree.path(call.prompt) == [(Kind.TOKENS, "", (5, 0, 2**32 - 1))]
    assert (call.completion, call.usage, call.started_at) == (None, None, None)


@pytest.mark.parametrize("name", ["output_token_ids", "completion_token_ids", "response_ids"])
def test_a_response_goes_on_from_the_prompt_as_one_sequence(tmp_path: Path, name: str) -> None:
    result = parsed(
        tmp_path,
        line(request_id="r", prompt_token_ids=[1, 2], **{name: [3]}),
        line(request_id="s", prompt_token_ids=[1, 2, 3]),
    )
    first, next_turn = result.calls
    assert first.completion == next_turn.prompt


def test_an_empty_response_is_not_logged(tmp_path: Path) -> None:
    (call,) = parsed(tmp_path, line(prompt_ids=[1], response_ids=[])).calls
    assert call.completion is None


def test_a_request_id_that_recurs_with_other_content_is_another_call(tmp_path: Path) -> None:
    same = line(request_id="0-0-0", token_ids=[1])
    calls = parsed(tmp_path, same, line(request_id="0-0-0", token_ids=[2]), same).calls
    first, second, third = (call.identity for call in calls)
    assert first == third != second
    assert first is not None
    assert first[0] == "" and first[1].startswith("0-0-0:")


def test_without_a_request_id_equal_records_of_one_file_stay_apart(tmp_path: Path) -> None:
    same = line(timestamp=1_760_000_000, token_ids=[1])
    calls = parsed(tmp_path, same, same).calls
    assert len({call.identity for call in calls}) == 2
    assert [c.identity for c in parsed(tmp_path, same, same).calls] == [c.identity for c in calls]


def test_a_record_with_neither_id_nor_time_has_no_identity(tmp_path: Path) -> None:
    assert parsed(tmp_path, line(token_ids=[1])).calls[0].identity is None


@pytest.mark.parametrize(
    "stamp",
    [
        1_760_000_000,
        1_760_000_000.0,
        1_760_000_000_000,
        1_760_000_000_000_000,
        1_760_000_000_000_000_000,
        "2025-10-09T08:53:20Z",
        "2025-10-09T10:53:20+02:00",
        "2025-10-09T08:53:20",
    ],
)
def test_a_time_is_read_in_every_unit(tmp_path: Path, stamp: Any) -> None:
    (call,) = parsed(tmp_path, line(token_ids=[1], timestamp=stamp)).calls
    assert call.started_at == datetime(2025, 10, 9, 8, 53, 20, tzinfo=UTC)


def test_the_trace_is_the_session_or_the_tenant_or_the_file(tmp_path: Path) -> None:
    result = parsed(
        tmp_path,
        line(token_ids=[1], session_id="s", tenant="t"),
        line(token_ids=[2], tenant="t"),
        line(token_ids=[3]),
        line(token_ids=[4]),
    )
    session, tenant, file_, file_again = (call.trace for call in result.calls)
    assert (session, tenant) == ("s", "t")
    assert file_ == file_again not in ("s", "t")
    assert [trace.id for trace in result.traces] == ["s", "t", file_]
    assert all(trace.group is None and trace.leaf is None for trace in result.traces)


def test_samples_of_one_prompt_are_rollouts_of_one_group(tmp_path: Path) -> None:
    samples = [
        line(request_id="r", tenant="t", prompt_ids=[1], response_ids=[9], uid=7, reward=1),
        line(request_id="r", tenant="t", prompt_ids=[1], response_ids=[8], uid=7, score=0.25),
        line(request_id="r", tenant="t", prompt_ids=[2], response_ids=[8], uid=0, reward=False),
    ]
    result = parsed(tmp_path, *samples)
    assert len({trace.id for trace in result.traces}) == 3
    assert [trace.reward for trace in result.traces] == [1.0, 0.25, 0.0]
    first, second, third = (trace.group for trace in result.traces)
    assert first == second != third
    assert [trace.leaf for trace in result.traces] == [call.completion for call in result.calls]
    assert [trace.id for trace in result.traces] == [call.trace for call in result.calls]


def test_a_reward_alone_makes_a_rollout_and_nothing_else_does(tmp_path: Path) -> None:
    result = parsed(tmp_path, line(token_ids=[1], reward=0), line(token_ids=[1]))
    assert [trace.reward for trace in result.traces] == [0.0, None]
    assert result.traces[0].leaf == result.calls[0].prompt


def test_short_group_keys_mean_nothing_in_other_files_and_long_ones_do(tmp_path: Path) -> None:
    uuid = "0f8fad5b-d9cb-469f-a165-70867728950e"
    groups = [
        [trace.group for trace in parsed(tmp_path, *lines).traces]
        for lines in (
            [line(token_ids=[1], group=3), line(token_ids=[2], group=uuid)],
            [line(token_ids=[5], group=3), line(token_ids=[6], group=uuid)],
        )
    ]
    assert groups[0][0] != groups[1][0]
    assert groups[0][1] == groups[1][1] == uuid


def test_turns_of_one_rollout_add_to_what_is_known_of_it(tmp_path: Path) -> None:
    result = parsed(
        tmp_path,
        line(session_id="s", prompt_ids=[1], response_ids=[2], group="g" * 20),
        line(session_id="s", prompt_ids=[1, 2, 3], response_ids=[4]),
        line(session_id="s", prompt_ids=[1, 2, 3, 4, 5], response_ids=[6], reward=0.5),
    )
    last = result.traces[-1]
    assert (last.id, last.group, last.reward) == ("s", "g" * 20, 0.5)
    assert last.leaf == result.calls[-1].completion


def test_a_rollout_in_several_records_has_a_grown_file_read_again(tmp_path: Path) -> None:
    before = parsed(tmp_path, line(session_id="s", token_ids=[1], reward=1))
    with pytest.raises(Reread):
        parse_tail(PARSER, before)


@pytest.mark.parametrize("cut", range(1, 6))
def test_a_grown_file_gives_what_one_reading_gives(tmp_path: Path, cut: int) -> None:
    timed = line(timestamp=5, token_ids=[1])
    lines = [timed, line(token_ids=[1], group=1), timed, line(request_id="r", token_ids=[2])]
    lines += [line(token_ids=[3], group=1), line(token_ids=[1], group=1), timed]
    whole = parsed(tmp_path, *lines)
    before = parsed(tmp_path, *lines[:cut])
    written(tmp_path, *lines)
    after = parse_tail(PARSER, before)
    both = before.calls + after.calls
    for name in ("identity", "trace", "line", "offset"):
        assert [getattr(c, name) for c in both] == [getattr(c, name) for c in whole.calls]
    named = {(trace.id, trace.group) for trace in before.traces + after.traces}
    assert named == {(trace.id, trace.group) for trace in whole.traces}


@pytest.mark.parametrize(
    "bad",
    [
        line(token_ids=[1, -1]),
        line(token_ids=[2**32]),
        line(token_ids=[10**40]),
        line(token_ids=[1.5]),
        line(token_ids=["1"]),
        line(token_ids=[True]),
        line(token_ids=[[1, 2], [3]]),
        line(token_ids="1 2 3"),
        line(prompt_ids=[1], response_ids=[-5]),
        line(token_ids=None),
        line(request_id="no ids"),
        line(token_ids=[1], prompt_ids=[1]),
        line(token_ids=[1], response_ids=[1], output_token_ids=[1]),
        line(token_ids=[1], timestamp="yesterday"),
        line(token_ids=[1], timestamp=-5),
        line(token_ids=[1], timestamp=10**25),
        line(token_ids=[1], reward="good"),
        line(token_ids=[1], request_id={"a": 1}),
        '{"request_id": "cut", "token_ids": [1, 2\n',
        '{"x": ' + "[" * 200_000 + "\n",
        "\x00\n",
        "7\n",
    ],
)
def test_a_bad_record_is_one_issue_and_the_others_are_kept(tmp_path: Path, bad: str) -> None:
    good = line(request_id="r", token_ids=[1])
    result = parsed(tmp_path, good, bad, good)
    check_second_is_bad(result, good)


def test_an_id_out_of_range_is_named_in_the_issue(tmp_path: Path) -> None:
    (issue,) = parsed(tmp_path, line(prompt_token_ids=[4, 4, -1])).issues
    assert "$.prompt_token_ids[2]" in issue.reason


def test_nan_is_a_missing_number(tmp_path: Path) -> None:
    result = parsed(tmp_path, b'{"token_ids": [1], "group": "g", "reward": NaN}\n')
    assert result.issues == []
    assert result.traces[0].reward is None


def test_a_file_is_known_by_its_records() -> None:
    assert identified(line(request_id="0-0-0", token_ids=[1, 2], tenant="t"))
    assert identified(line(prompt_ids=[1], response_ids=[2]))
    assert identified("cut\n" + line(input_ids=[1]))


def test_a_first_record_longer_than_the_head_is_known() -> None:
    assert identified(line(request_id='a "b" \\', n=-1.5e3, prompt_token_ids=[7] * HEAD_BYTES))
    assert not identified(line(meta={"token_ids": [1]}, token_ids=[7] * HEAD_BYTES))
    assert not identified(line(seed=1, tokens=[[7] * HEAD_BYTES]))


@pytest.mark.parametrize(
    "other",
    [
        {"token_ids": []},
        {"token_ids": [[1, 2], [3]]},
        {"token_ids": ["a"]},
        {"token_ids": [True]},
        {"input_ids": [1, 2], "attention_mask": [1, 1], "labels": [1, 2]},
        {"messages": [{"role": "user", "content": "hi"}], "prompt_token_ids": [1]},
        {"choices": [], "prompt_token_ids": [1]},
        {"seed": 5, "tokens": [[1, 2]], "masks": [[1, 1]], "scores": [1.0]},
        {"timestamp": 5, "input": "a", "output": "b", "session_id": "s"},
        {"timestamp": 5, "input_length": 3, "output_length": 1, "hash_ids": [0]},
        {"schema_version": "ATIF-v1.7", "session_id": "s", "steps": []},
    ],
)
def test_records_of_other_formats_are_refused(other: dict[str, Any]) -> None:
    assert not identified(json.dumps(other) + "\n")


def test_the_sample_holds_four_groups_of_eight(sample_logs: Path) -> None:
    result = parse_file(PARSER, sample_logs / "token-ids" / "rollouts.jsonl")
    assert (len(result.calls), len(result.traces), result.issues) == (32, 32, [])
    groups = [trace.group for trace in result.traces]
    assert sorted(groups.count(group) for group in set(groups)) == [8, 8, 8, 8]
    assert {trace.reward for trace in result.traces} == {0.0, 1.0}
    leaves = {result.tree.path(trace.leaf or 0)[0].content for trace in result.traces}
    assert 16 < len(leaves) <= 32
    assert len({sequence[:160] for sequence in leaves}) == 1


LOGPROBS = [-0.5, None]
SCORED = {"request_id": "r", "prompt_ids": [1, 2], "response_ids": [3, 4]}


@pytest.mark.parametrize(
    "name",
    [
        "logprobs",
        "response_logprobs",
        "output_logprobs",
        "rollout_log_probs",
        "completion_logprobs",
    ],
)
def test_logprobs_are_read_under_each_of_their_names(tmp_path: Path, name: str) -> None:
    result = parsed(tmp_path, line(**SCORED, **{name: LOGPROBS}))
    (call,), (scores,) = result.calls, result.scores
    assert (scores.tokens, scores.logprobs) == ([3, 4], LOGPROBS)
    assert (scores.top, scores.entropies) == (None, None)
    assert (scores.trace, scores.prompt, scores.completion) == (
        call.trace,
        call.prompt,
        call.completion,
    )


def test_scores_stand_after_their_call_and_at_its_place(tmp_path: Path) -> None:
    first = line(**SCORED)
    path = written(tmp_path, first, line(**SCORED, entropies=[0.1, 0.2]))
    records = list(PARSER.parse(Log(path), RecordingTree()))
    assert [type(record) for record in records] == [Trace, Call, Call, Scores]
    scores = records[-1]
    assert isinstance(scores, Scores)
    assert (scores.line, scores.offset) == (2, len(first))
    assert scores.logprobs == [None, None]
    assert scores.entropies == [0.1, 0.2]


@pytest.mark.parametrize(
    "top",
    [
        [[[3, -0.25], [9, -2]], [[9, -1.5], [4, -0.75]]],
        [{"3": -0.25, "9": -2}, {"9": -1.5, "4": -0.75}],
        [
            {"3": {"logprob": -0.25, "rank": 1, "decoded_token": "a"}, "9": {"logprob": -2}},
            {"9": {"logprob": -1.5, "rank": 7}, "4": {"logprob": -0.75}},
        ],
    ],
)
def test_the_likeliest_tokens_are_read_in_each_shape(tmp_path: Path, top: Any) -> None:
    (scores,) = parsed(tmp_path, line(**SCORED, top_logprobs=top)).scores
    assert scores.top == [[-0.25, -2.0], [-1.5, -0.75]]
    assert scores.logprobs == [-0.25, -0.75]  # that of the sampled token is in its list


def test_a_sampled_token_that_no_list_names_has_no_logprob_and_stated_ones_go_first(
    tmp_path: Path,
) -> None:
    by_text = [{"a": -0.25}, {"b": -0.75}]
    (scores,) = parsed(tmp_path, line(**SCORED, top_logprobs=by_text)).scores
    assert scores.logprobs == [None, None]
    other = [[[3, -9.0]], [[4, -9.0]]]
    (scores,) = parsed(tmp_path, line(**SCORED, top_logprobs=other, logprobs=LOGPROBS)).scores
    assert scores.logprobs == LOGPROBS


def test_a_position_without_a_list_and_likely_tokens_without_a_number_are_missing(
    tmp_path: Path,
) -> None:
    result = parsed(
        tmp_path,
        line(**SCORED, top_logprobs=[None, [[4, -0.5], [5, None]]]),
        b'{"prompt_ids": [1], "response_ids": [2, 3], "logprobs": [NaN, -1], '
        b'"top_logprobs": [{"2": -0.5, "7": -Infinity}, {"7": {"logprob": NaN}}]}\n',
    )
    first, second = result.scores
    assert first.top == [[], [-0.5]]
    assert second.top == [[-0.5], []]
    assert second.logprobs == [None, -1.0]
    assert result.issues == []


@pytest.mark.parametrize(
    "nothing",
    [
        {},
        {"logprobs": None, "top_logprobs": None, "entropies": None},
        {"logprobs": [], "top_logprobs": [], "entropies": []},
    ],
)
def test_a_record_that_scores_nothing_has_no_scores(tmp_path: Path, nothing: Any) -> None:
    result = parsed(tmp_path, line(**SCORED, **nothing))
    assert len(result.calls) == 1
    assert (result.scores, result.issues) == ([], [])


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        ({"logprobs": [-0.5]}, "1 logprobs for 2 tokens"),
        ({"logprobs": [-0.5, -0.5, -0.5]}, "3 logprobs for 2 tokens"),
        ({"top_logprobs": [[[3, -0.5]]]}, "1 top for 2 tokens"),
        ({"logprobs": LOGPROBS, "entropies": [0.5]}, "1 entropies for 2 tokens"),
        ({"logprobs": LOGPROBS, "rollout_log_probs": LOGPROBS}, "logprobs and rollout_log_probs"),
        ({"logprobs": "-0.5 -0.5"}, "$.logprobs"),
        ({"logprobs": [True, -0.5]}, "$.logprobs[0]"),
        ({"logprobs": {"content": []}}, "$.logprobs"),
        ({"entropies": [0.5, "low"]}, "$.entropies[1]"),
        ({"entropies": 0.5}, "$.entropies"),
        ({"top_logprobs": [[3, -0.5], [4, -0.5]]}, "$.top_logprobs[0]"),
        ({"top_logprobs": [[[-0.5, 3, "a"]], []]}, "$.top_logprobs[0]"),
        ({"top_logprobs": [{"3": "likely"}, {}]}, "$.top_logprobs[0]"),
        ({"answer": ["4", "four"]}, "$.answer"),
    ],
)
def test_scores_that_cannot_be_read_are_an_issue_and_the_call_is_kept(
    tmp_path: Path, bad: dict[str, Any], why: str
) -> None:
    good = line(**SCORED, group="g", reward=1, prompt="a", response="b")
    result = parsed(tmp_path, good, line(**SCORED, **bad, group="g", reward=1), good)
    assert len(result.calls) == 3
    assert result.calls[1].completion == result.calls[0].completion
    assert [trace.reward for trace in result.traces] == [1.0, 1.0]
    assert result.scores == []
    (issue,) = result.issues
    assert (issue.line, issue.offset) == (2, len(good))
    assert why in issue.reason


def test_scores_without_a_response_to_score_are_an_issue(tmp_path: Path) -> None:
    result = parsed(tmp_path, line(token_ids=[1, 2], logprobs=[-0.5, -0.5]))
    assert (len(result.calls), len(result.issues), result.scores) == (1, 1, [])


def test_numbers_of_any_size_in_scores_do_no_harm(tmp_path: Path) -> None:
    lines = [
        json.dumps(SCORED)[:-1] + f', "logprobs": [{number}, 0]}}\n'
        for number in ("1e308", "-1e999", "9" * 400, "-9999", "5e-324")
    ]
    result = parsed(tmp_path, *lines)
    assert len(result.calls) == 5
    assert len(result.scores) + len(result.issues) == 5
    assert [scores.logprobs[0] for scores in result.scores if scores.line in (1, 4)] == [
        1e308,
        -9999.0,
    ]


def test_an_answer_makes_a_rollout_and_is_kept_as_text(tmp_path: Path) -> None:
    answers = ["42", 42, 0.5, False, "", None]
    result = parsed(tmp_path, *(line(request_id="r", token_ids=[1], answer=a) for a in answers))
    assert [trace.answer for trace in result.traces] == ["42", "42", "0.5", "False", None]
    assert [trace.leaf is None for trace in result.traces] == [False] * 4 + [True]


def test_a_later_turn_gives_its_rollout_the_answer(tmp_path: Path) -> None:
    result = parsed(
        tmp_path,
        line(session_id="s", prompt_ids=[1], response_ids=[2], answer="1"),
        line(session_id="s", prompt_ids=[1, 2, 3], response_ids=[4], answer="2"),
        line(session_id="s", prompt_ids=[1, 2, 3, 4, 5], response_ids=[6]),
    )
    assert [trace.answer for trace in result.traces] == ["1", "2", "2"]


def test_equal_texts_of_different_ids_meet_as_text_only(tmp_path: Path) -> None:
    result = parsed(
        tmp_path,
        line(prompt_ids=[1], response_ids=[7, 8], prompt="Say it: ", response="hello"),
        line(prompt_ids=[1], response_ids=[9], prompt="Say it: ", response="hello"),
        line(prompt_ids=[1], response_ids=[7], prompt="Say it: ", response="help"),
    )
    one, two, other = result.calls
    assert one.text == two.text != other.text
    assert len({call.completion for call in result.calls}) == 3
    assert one.text is not None
    assert result.tree.path(one.text) == [(Kind.RENDERED, "", "Say it: hello")]


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        ({"prompt": "a", "response": "b"}, "ab"),
        ({"prompt": "a", "response": ""}, "a"),
        ({"prompt": "a"}, None),
        ({"response": "b"}, None),
        ({"prompt": "a", "response": None}, None),
        ({"prompt": [{"role": "user", "content": "a"}], "response": "b"}, None),
        ({"prompt": "half \ud83d", "response": "b"}, "half \ud83db"),
    ],
)
def test_text_is_that_of_the_whole_sequence_or_none(
    tmp_path: Path, texts: dict[str, Any], expected: str | None
) -> None:
    result = parsed(tmp_path, line(**SCORED, **texts))
    (call,) = result.calls
    assert result.issues == []
    if expected is None:
        assert call.text is None
    else:
        assert call.text is not None
        assert [segment.content for segment in result.tree.path(call.text)] == [expected]


def test_a_prompt_alone_has_its_text_and_a_response_without_ids_has_none(tmp_path: Path) -> None:
    result = parsed(
        tmp_path,
        line(prompt_ids=[1], prompt="a"),
        line(prompt_ids=[1], prompt="a", response_ids=[]),
        line(token_ids=[1, 2], prompt="a", response="b"),
    )
    alone, empty, whole = result.calls
    assert alone.text == empty.text is not None
    assert whole.text is None


def test_a_response_as_text_is_no_sign_of_another_format() -> None:
    assert identified(line(prompt="a", response="b", prompt_token_ids=[1], output_token_ids=[2]))
    assert not identified(line(response={"id": "x"}, prompt_token_ids=[1]))
    assert identified(line(prompt="a", response="b", reward=None, prompt_ids=[7] * HEAD_BYTES))


def test_the_sampled_log_gives_every_token_its_scores(sample_logs: Path) -> None:
    result = parse_file(PARSER, sample_logs / "token-ids" / "smollm2.jsonl")
    assert (len(result.calls), len(result.traces), len(result.scores)) == (48, 48, 48)
    assert result.issues == []
    assert sum(len(scores.tokens) for scores in result.scores) == 1807
    for call, trace, scores in zip(result.calls, result.traces, result.scores, strict=True):
        assert (scores.trace, scores.prompt, scores.completion) == (
            trace.id,
            call.prompt,
            trace.leaf,
        )
        assert None not in scores.logprobs
        assert scores.top is not None and {len(each) for each in scores.top} == {5}
        assert scores.entropies is not None and None not in scores.entropies
        assert call.text is not None
    groups = [trace.group for trace in result.traces]
    assert {groups.count(group) for group in groups} == {8}
    assert sum(trace.answer is None for trace in result.traces) == 8 + 1
    assert sum(trace.reward is None for trace in result.traces) == 8


@pytest.mark.real
def test_none_of_the_real_logs_of_other_formats_is_claimed(real_logs: Path) -> None:
    for path in (path for path in real_logs.rglob("*") if path.is_file()):
        assert PARSER.identify(read_head(path)) is None, path

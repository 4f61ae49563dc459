"""The parser for SGLang's request logs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from parsed_records import claim, read
from recording_tree import Parsed, parse_tail

from forkpoint.parsers.records import Kind
from forkpoint.parsers.sglang import SGLang

PARSER = SGLang()


def meta(**changes: Any) -> dict[str, Any]:
    fields = {
        "id": "r1",
        "finish_reason": {"type": "stop"},
        "prompt_tokens": 3,
        "completion_tokens": 2,
        "cached_tokens": 1,
        "e2e_latency": 0.5,
    }
    return {**fields, **changes}


def finished(
    asked: Any = None, answer: Any = None, about: dict[str, Any] | None = None, **changes: Any
) -> dict[str, Any]:
    own = (about or {}).get("id", "r1")
    fields = {
        "timestamp": "2026-06-30T09:15:50.500000",
        "event": "request.finished",
        "rid": own,
        "obj": {"rid": own, "text": "Hello?", "sampling_params": {}, **(asked or {})},
        "out": {"text": " Hi.", "meta_info": meta(**(about or {})), **(answer or {})},
    }
    return {**fields, **changes}


def log(folder: Path, *records: Any, before: str = "") -> Parsed:
    text = "".join(before + json.dumps(each) + "\n" for each in records)
    return read(PARSER, folder / "host_0.log", text)


def test_a_finished_request_is_a_call_with_its_facts(tmp_path: Path) -> None:
    found = log(tmp_path, finished({"received_time": 1766581510.25}))
    (call,) = found.calls
    assert call.identity == ("", "r1")
    assert call.usage is not None
    assert (call.usage.input_tokens, call.usage.cache_read_tokens) == (3, 1)
    assert call.usage.output_tokens == 2
    assert (str(call.started_at), call.duration_s) == ("2025-12-24 13:05:10.250000+00:00", 0.5)
    assert found.text(call.prompt) == ["Hello?"]
    assert found.text(call.completion) == ["Hello? Hi."]


def test_a_line_s_time_is_the_end_of_its_request(tmp_path: Path) -> None:
    (call,) = log(tmp_path, finished()).calls
    assert str(call.started_at) == "2026-06-30 09:15:50+00:00"


def test_token_ids_count_and_the_text_beside_them_is_the_same_sequence(tmp_path: Path) -> None:
    found = log(tmp_path, finished({"input_ids": [1, 2, 3]}, {"output_ids": [4, 5]}))
    (call,) = found.calls
    assert found.tree.path(call.prompt)[0].content == (1, 2, 3)
    assert found.tree.path(call.completion or 0)[0].content == (1, 2, 3, 4, 5)
    assert found.text(call.text) == ["Hello? Hi."]


def test_what_the_log_level_leaves_out_is_a_stand_in(tmp_path: Path) -> None:
    bare = finished()
    del bare["obj"]["text"], bare["out"]["text"]
    found = log(tmp_path, bare)
    (call,) = found.calls
    assert found.tree.path(call.prompt) == [(Kind.UNLOGGED, "", "prompt of r1")]
    assert call.completion is None


def test_what_was_cut_in_its_middle_counts_as_left_out(tmp_path: Path) -> None:
    text = "a" * 1024 + "..." + "b" * 1024
    ids: list[Any] = [*range(1024), "...", *range(1024)]
    scored = [[-0.5, 1, None]] * 1024
    cut = finished(
        {"text": text, "input_ids": ids},
        {"output_ids": [4]},
        {"output_token_logprobs": [*scored, "...", *scored]},
    )
    whole = finished({"text": "a" * 1024 + "..."}, about={"id": "r2"})
    found = log(tmp_path, cut, whole)
    assert found.tree.path(found.calls[0].prompt)[0].kind is Kind.UNLOGGED
    assert found.tree.path(found.calls[1].prompt)[0].kind is Kind.RENDERED
    assert (found.scores, found.issues) == ([], [])


def test_logprobs_are_scores_of_the_output_s_tokens(tmp_path: Path) -> None:
    about = {
        "output_token_logprobs": [[-0.25, 4, None], [-1.5, 5, " x"]],
        "output_top_logprobs": [[[-0.25, 4, None], [-2.5, 9, None]], None],
    }
    found = log(tmp_path, finished(answer={"output_ids": [4, 5]}, about=about))
    (scores,) = found.scores
    assert (scores.tokens, scores.logprobs) == ([4, 5], [-0.25, -1.5])
    assert scores.top == [[-0.25, -2.5], []]
    assert scores.completion == found.calls[0].completion


def test_lines_behind_a_server_s_stamp_and_other_lines_are_told_apart(tmp_path: Path) -> None:
    data = json.dumps(finished())
    text = "\n".join(
        [
            "[2026-06-30 09:15:00] server_args=ServerArgs(model_path='x')",
            f"[2026-06-30 09:15:50] {data}",
            "[2026-06-30 09:15:51 TP0] Decode batch, #running-req: 1, #token: 74",
            f"(SGLangEngine pid=100) [2026-06-30 09:15:52] {data}",
            '{"timestamp": "x", "event": "scheduler.status"}',
            "[2026-06-30 09:15:53] Receive: obj=GenerateReqInput(rid='x')",
        ]
    )
    assert claim(PARSER, text, "server.log") is not None
    found = read(PARSER, tmp_path / "server.log", text)
    assert [call.line for call in found.calls] == [2, 4]
    assert found.issues == []


def test_received_requests_embeddings_and_images_are_no_calls(tmp_path: Path) -> None:
    received = finished(event="request.received")
    del received["out"]
    embedding = finished()
    embedding["out"] = {"embedding": [0.5], "meta_info": {"id": "e", "prompt_tokens": 3}}
    image = finished()
    del image["out"]
    found = log(tmp_path, received, embedding, image)
    assert (found.calls, found.issues) == ([], [])


def test_metrics_are_the_same_calls_with_counts_alone(tmp_path: Path) -> None:
    parameters = json.dumps({"rid": "r1", "received_time": 1766581510.25})
    metrics = {"request_parameters": parameters, **meta()}
    assert claim(PARSER, json.dumps(metrics)) is not None
    found = log(tmp_path, metrics, finished({"received_time": 1766581510.25}))
    one, other = found.calls
    assert (one.identity, one.usage) == (other.identity, other.usage)
    assert (one.started_at, one.duration_s) == (other.started_at, other.duration_s)
    assert found.tree.path(one.prompt)[0].kind is Kind.UNLOGGED


def test_a_file_that_grew_is_read_on_in_the_same_trace(tmp_path: Path) -> None:
    before = log(tmp_path, finished())
    path = before.log.path
    path.write_text(path.read_text() + json.dumps(finished(about={"id": "r2"})) + "\n")
    after = parse_tail(PARSER, before)
    assert [call.identity for call in after.calls] == [("", "r2")]
    assert after.calls[0].trace == before.calls[0].trace


@pytest.mark.parametrize(
    "bad",
    [
        finished(about={"prompt_tokens": -1}),
        finished(about={"cached_tokens": 9}),
        finished(about={"e2e_latency": "slow"}),
        finished({"input_ids": 7}),
        finished({"input_ids": [-1]}),
        finished({"input_ids": [2**40]}),
        finished({"received_time": 1e300}),
        finished(about={"output_token_logprobs": [["low", 4]]}),
        finished(timestamp="noon"),
        {"request_parameters": "{", **meta()},
    ],
)
def test_a_bad_record_is_one_issue_and_the_others_are_kept(tmp_path: Path, bad: Any) -> None:
    found = log(tmp_path, finished(), bad, finished(about={"id": "r3"}))
    assert [call.line for call in found.calls] == [1, 3]
    assert [issue.line for issue in found.issues] == [2]


@pytest.mark.parametrize(
    "other",
    [
        '{"timestamp": "x", "event": "request.started"}',
        '{"request_parameters": "{}", "model": "x"}',
        '{"rid": "r1", "out": {}}',
        "[2026-06-30 09:15:50] Finish: obj=GenerateReqInput(rid='x'), out={'text': 'y'}",
    ],
)
def test_other_lines_are_refused(other: str) -> None:
    assert claim(PARSER, other + "\n", "x.log") is None


def test_the_samples_are_four_requests_in_two_logs(sample_logs: Path) -> None:
    full = read(PARSER, sample_logs / "sglang" / "requests.log")
    name = "sglang-request-metrics-20261116_10.log"
    bare = read(PARSER, sample_logs / "sglang" / name)
    assert (len(full.calls), len(full.scores), full.issues + bare.issues) == (4, 4, [])
    assert [call.identity for call in full.calls] == [call.identity for call in bare.calls]
    usages = [call.usage for call in bare.calls if call.usage is not None]
    assert sum(usage.input_tokens or 0 for usage in usages) == 348
    assert sum(usage.cache_read_tokens or 0 for usage in usages) == 218

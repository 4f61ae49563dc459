"""The parser for Helicone's requests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from parsed_records import claim, read
from recording_tree import Parsed

from forkpoint.parsers.helicone import Helicone
from forkpoint.parsers.records import Kind

PARSER = Helicone()
REQUEST = {"model": "gpt-5-mini", "messages": [{"role": "user", "content": "Hello?"}]}
RESPONSE = {
    "id": "chatcmpl-1",
    "model": "gpt-5-mini-2025-08-07",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi."}}],
    "usage": {
        "prompt_tokens": 1000,
        "completion_tokens": 20,
        "prompt_tokens_details": {"cached_tokens": 900},
        "completion_tokens_details": {"reasoning_tokens": 8},
    },
}
NOTE = {"helicone_message": "fetching body from signed_url"}


def row(**changes: Any) -> dict[str, Any]:
    fields = {
        "request_id": "r1",
        "request_created_at": "2026-10-01T08:00:00.000Z",
        "response_status": 200,
        "request_body": NOTE,
        "response_body": NOTE,
        "request_model": "gpt-5-mini",
        "provider": "OPENAI",
        "delay_ms": 1500,
        "prompt_tokens": 100,
        "prompt_cache_read_tokens": 900,
        "completion_tokens": 20,
        "cost": 0.125,
        "cache_reference_id": "00000000-0000-0000-0000-000000000000",
        "request_properties": {"Helicone-Session-Id": "s1"},
    }
    return {**fields, **changes}


def rows(folder: Path, *records: Any) -> Parsed:
    text = "".join(json.dumps(each) + "\n" for each in records)
    return read(PARSER, folder / "requests.jsonl", text)


def test_a_row_is_a_call_whose_columns_leave_out_the_cached_tokens(tmp_path: Path) -> None:
    (call,) = rows(tmp_path, row()).calls
    assert (call.identity, call.trace) == (("", "r1"), "s1")
    assert call.usage is not None
    assert (call.usage.input_tokens, call.usage.cache_read_tokens) == (1000, 900)
    assert (call.logged_cost_usd, call.duration_s, call.provider) == (0.125, 1.5, "openai")
    assert call.model == "gpt-5-mini"


def test_a_body_s_own_usage_counts_instead(tmp_path: Path) -> None:
    found = rows(tmp_path, row(request_body=REQUEST, response_body=RESPONSE, prompt_tokens=1))
    (call,) = found.calls
    assert call.usage is not None
    assert (call.usage.input_tokens, call.usage.reasoning_tokens) == (1000, 8)
    assert (call.identity, call.model) == (("", "chatcmpl-1"), "gpt-5-mini-2025-08-07")
    assert found.text(call.completion) == ["Hello?", "Hi."]


def test_bodies_may_be_texts_and_of_other_apis(tmp_path: Path) -> None:
    anthropic = {
        "max_tokens": 5,
        "system": "Be kind.",
        "model": "claude-x",
        "messages": REQUEST["messages"],
    }
    gemini = {"contents": [{"role": "user", "parts": [{"text": "Hello?"}]}]}
    answer = {"candidates": [{"content": {"role": "model", "parts": [{"text": "Hi."}]}}]}
    found = rows(
        tmp_path,
        row(request_body=json.dumps(REQUEST), response_body=json.dumps(RESPONSE)),
        row(request_id="r2", request_body=anthropic),
        row(request_id="r3", request_body=gemini, response_body=answer),
    )
    assert found.issues == []
    assert found.text(found.calls[0].completion) == ["Hello?", "Hi."]
    assert found.text(found.calls[1].prompt) == ["Be kind.", "Hello?"]
    assert found.calls[2].completion == found.calls[0].completion


def test_without_bodies_the_prompt_is_a_stand_in(tmp_path: Path) -> None:
    found = rows(tmp_path, row(), row(request_id="r2", request_body=None))
    paths = [found.tree.path(call.prompt) for call in found.calls]
    assert [path[0].kind for path in paths] == [Kind.UNLOGGED] * 2
    assert paths[0] != paths[1]


def test_an_answer_from_helicone_s_own_cache_was_not_paid_for(tmp_path: Path) -> None:
    zeros = {"prompt_tokens": 0, "prompt_cache_read_tokens": 0, "completion_tokens": 0, "cost": 0}
    cached = row(cache_reference_id="r1", request_body=REQUEST, response_body=RESPONSE, **zeros)
    found = rows(tmp_path, cached, row(cache_reference_id=None), row(cache_reference_id=""))
    assert (len(found.calls), found.issues) == (2, [])


@pytest.mark.parametrize("status", [429, 500, -2, -3])
def test_a_request_that_was_not_answered_is_no_call(tmp_path: Path, status: int) -> None:
    zeros = {"prompt_tokens": 0, "prompt_cache_read_tokens": 0, "completion_tokens": 0}
    found = rows(tmp_path, row(response_status=status, **zeros), row(response_status=status))
    assert (len(found.calls), found.issues) == (1, [])


def test_embeddings_are_passed_over(tmp_path: Path) -> None:
    found = rows(
        tmp_path,
        row(request_path="/v1/embeddings"),
        row(target_url="https://api.openai.com/v1/images/generations"),
    )
    assert (found.calls, found.issues) == ([], [])


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"cost": 0.0000005}, 0.0000005),
        ({"cost": 0}, None),
        ({"cost": None, "costUSD": 0.25}, 0.25),
        ({"cost": 125_000_000, "status": 200, "latency": 1500}, 0.125),
        ({"cost": 500, "status": 200, "latency": 1500}, 0.0000005),
    ],
)
def test_the_table_s_cost_is_in_billionths(
    tmp_path: Path, changes: dict[str, Any], expected: float | None
) -> None:
    given = row(**changes)
    if "latency" in changes:
        del given["response_status"], given["delay_ms"]
    (call,) = rows(tmp_path, given).calls
    assert call.logged_cost_usd == (expected if expected is None else pytest.approx(expected))
    assert call.duration_s == 1.5


def test_reasoning_stands_beside_the_completion(tmp_path: Path) -> None:
    usage = rows(tmp_path, row(completion_tokens=5, reasoning_tokens=30)).calls[0].usage
    assert usage is not None
    assert (usage.output_tokens, usage.reasoning_tokens) == (35, 30)


def test_pages_and_csv_are_read_alike(tmp_path: Path) -> None:
    page = json.dumps({"data": [row()], "error": None})
    assert claim(PARSER, page) is not None
    assert len(read(PARSER, tmp_path / "page.json", page).calls) == 1
    table = (
        "request_id,request_created_at,response_status,prompt_tokens,prompt_cache_read_tokens,"
        "completion_tokens,cost,provider,request_body\n"
        'r1,2026-10-01T08:00:00Z,200,100,900,20,0.125,OPENAI,"{""model"": ""gpt-5-mini"", '
        '""messages"": [{""role"": ""user"", ""content"": ""Hello?\n""}]}"\n'
    ).replace("Hello?\n", "Hello?\\n")
    assert claim(PARSER, table, "requests.csv") is not None
    found = read(PARSER, tmp_path / "requests.csv", table)
    (call,) = found.calls
    assert found.text(call.prompt) == ["Hello?\n"]
    assert (call.logged_cost_usd, call.line) == (0.125, 2)


def test_one_bad_row_is_one_issue_and_the_others_are_kept(tmp_path: Path) -> None:
    bad: list[Any] = [
        row(prompt_tokens=-1),
        row(cost="free"),
        row(request_created_at={}),
        row(request_body={"messages": "none"}),
        row(response_body={"choices": 7}),
        None,
    ]
    found = rows(tmp_path, row(request_id="a"), *bad, row(request_id="z"))
    assert [call.identity for call in found.calls] == [("", "a"), ("", "z")]
    assert [issue.line for issue in found.issues] == [2, 3, 4, 5, 6, 7]


@pytest.mark.parametrize(
    "other",
    [
        {"request_id": "1", "request": REQUEST, "response": RESPONSE},
        {"request_body": REQUEST, "response_body": RESPONSE},
        {"request_id": "1", "request_created_at": "x"},
    ],
)
def test_other_records_are_refused(other: Any) -> None:
    assert claim(PARSER, json.dumps(other)) is None


def test_the_sample_counts_what_was_paid(sample_logs: Path) -> None:
    found = read(PARSER, sample_logs / "helicone" / "requests.jsonl")
    assert (len(found.calls), len(found.traces), found.issues) == (6, 2, [])
    usages = [call.usage for call in found.calls if call.usage is not None]
    assert sum(usage.input_tokens or 0 for usage in usages) == 6912
    assert sum(usage.cache_read_tokens or 0 for usage in usages) == 4360
    assert sum(usage.cache_write_tokens or 0 for usage in usages) == 1032
    # The shop's rules are one system prompt, whichever API they were sent to.
    systems = {found.tree.path(call.prompt)[0] for call in found.calls[:5]}
    assert [segment.kind for segment in systems] == [Kind.SYSTEM]

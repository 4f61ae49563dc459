"""The parser for LiteLLM's spend logs and callback payloads."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from parsed_records import claim, read
from recording_tree import Parsed

from forkpoint.parsers.litellm import LiteLLM
from forkpoint.parsers.records import Kind

PARSER = LiteLLM()
ANSWER = {
    "id": "chatcmpl-1",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi."}}],
}


def row(**changes: Any) -> dict[str, Any]:
    fields = {
        "request_id": "chatcmpl-1",
        "call_type": "acompletion",
        "spend": 0.5,
        "prompt_tokens": 100,
        "completion_tokens": 7,
        "total_tokens": 107,
        "startTime": "2026-10-01T08:00:00.000Z",
        "endTime": "2026-10-01T08:00:02.000Z",
        "model": "claude-sonnet-4-5",
        "model_group": "sonnet",
        "custom_llm_provider": "anthropic",
        "api_base": "",
        "cache_hit": "False",
        "session_id": "s1",
        "status": "success",
        "metadata": {"additional_usage_values": {"cache_read_input_tokens": 60}},
        "messages": {},
        "response": {},
        "proxy_server_request": {},
    }
    return {**fields, **changes}


def rows(folder: Path, *records: Any) -> Parsed:
    text = "".join(json.dumps(each) + "\n" for each in records)
    return read(PARSER, folder / "spend.jsonl", text)


def usage_of(folder: Path, **changes: Any) -> tuple[int | None, ...] | None:
    usage = rows(folder, row(**changes)).calls[0].usage
    if usage is None:
        return None
    return (
        usage.input_tokens,
        usage.cache_read_tokens,
        usage.cache_write_tokens,
        usage.cache_write_1h_tokens,
        usage.output_tokens,
    )


def test_a_row_is_a_call_with_its_facts(tmp_path: Path) -> None:
    (call,) = rows(tmp_path, row()).calls
    assert (call.identity, call.trace) == (("", "chatcmpl-1"), "s1")
    assert (call.model, call.provider) == ("claude-sonnet-4-5", "anthropic")
    assert (call.logged_cost_usd, call.duration_s) == (0.5, 2.0)
    assert call.completion is None


def test_a_hit_of_the_gateway_s_own_cache_was_not_paid_for(tmp_path: Path) -> None:
    hits = [row(cache_hit=mark, spend=0.0) for mark in ("True", "true", True)]
    misses = [row(cache_hit=mark, request_id=str(mark)) for mark in ("False", "", None, False)]
    found = rows(tmp_path, *hits, *misses)
    assert (len(found.calls), found.issues) == (4, [])


def test_without_bodies_the_prompt_is_a_stand_in_of_its_own(tmp_path: Path) -> None:
    found = rows(tmp_path, row(), row(request_id="chatcmpl-2", messages="{}", response="{}"))
    paths = [found.tree.path(call.prompt) for call in found.calls]
    assert [[segment.kind for segment in path] for path in paths] == [[Kind.UNLOGGED]] * 2
    assert paths[0] != paths[1]


def test_bodies_that_were_kept_are_read(tmp_path: Path) -> None:
    request = {"model": "sonnet", "messages": [{"role": "user", "content": "Hello?"}]}
    kept = [
        row(proxy_server_request=request, response=ANSWER),
        row(proxy_server_request=json.dumps(request), response=json.dumps(ANSWER)),
        row(proxy_server_request={"url": "/v1", "body": request}, response=ANSWER),
        row(messages=request["messages"], response=ANSWER),
        row(messages=json.dumps(request["messages"]), response=ANSWER),
    ]
    found = rows(tmp_path, *kept)
    assert found.issues == []
    assert {tuple(found.text(call.completion)) for call in found.calls} == {("Hello?", "Hi.")}


def test_a_text_without_its_middle_is_not_counted(tmp_path: Path) -> None:
    text = "begin ... (litellm_truncated skipped 9000 chars) ... end"
    messages = [{"role": "system", "content": text}, {"role": "user", "content": "Hello?"}]
    found = rows(tmp_path, row(messages=messages))
    kinds = [segment.kind for segment in found.tree.path(found.calls[0].prompt)]
    assert kinds == [Kind.UNLOGGED, Kind.TEXT]


def test_anthropic_s_requests_are_read_as_such(tmp_path: Path) -> None:
    request = {
        "model": "claude-sonnet-4-5",
        "max_tokens": 9,
        "system": [{"type": "text", "text": "Be kind.", "cache_control": {"type": "ephemeral"}}],
        "messages": [{"role": "user", "content": "Hello?"}],
    }
    found = rows(tmp_path, row(proxy_server_request=request, call_type="anthropic_messages"))
    path = found.tree.path(found.calls[0].prompt)
    assert path == [(Kind.SYSTEM, "system", "Be kind."), (Kind.TEXT, "user", "Hello?")]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, (100, 60, None, None, 7)),
        ({"metadata": {}}, (100, None, None, None, 7)),
        ({"metadata": json.dumps({"usage_object": None})}, (100, None, None, None, 7)),
        (
            {
                "metadata": {
                    "additional_usage_values": {"prompt_tokens_details": {"cached_tokens": 9}}
                }
            },
            (100, 9, None, None, 7),
        ),
        # Versions that left the cached part out of the prompt.
        (
            {
                "prompt_tokens": 31,
                "metadata": {"additional_usage_values": {"cache_creation_input_tokens": 1253}},
            },
            (1284, None, 1253, None, 7),
        ),
        (
            {
                "metadata": {
                    "usage_object": {
                        "prompt_tokens": 500,
                        "completion_tokens": 9,
                        "prompt_tokens_details": {
                            "cached_tokens": 300,
                            "cache_creation_token_details": {"ephemeral_1h_input_tokens": 100},
                        },
                        "cache_creation_input_tokens": 150,
                    }
                }
            },
            (500, 300, 150, 100, 9),
        ),
        ({"prompt_tokens": 0, "completion_tokens": 0, "metadata": {}}, None),
    ],
)
def test_counts_include_what_a_cache_gave(
    tmp_path: Path, changes: dict[str, Any], expected: tuple[int | None, ...] | None
) -> None:
    assert usage_of(tmp_path, **changes) == expected


def test_a_spend_of_nought_is_an_unknown_price(tmp_path: Path) -> None:
    assert rows(tmp_path, row(spend=0.0)).calls[0].logged_cost_usd is None


def test_failures_and_other_requests_are_no_calls(tmp_path: Path) -> None:
    nothing = {"prompt_tokens": 0, "completion_tokens": 0, "metadata": {"status": "failure"}}
    others = [row(call_type=each) for each in ("aembedding", "image_generation", "arerank", "ocr")]
    found = rows(tmp_path, row(status="failure", **nothing), row(status="failure"), *others)
    assert (len(found.calls), found.issues) == (1, [])


def test_a_callback_s_payload_is_the_same_call_as_its_row(tmp_path: Path) -> None:
    payload = {
        "id": "chatcmpl-1",
        "trace_id": "s1",
        "call_type": "acompletion",
        "response_cost": 0.5,
        "status": "success",
        "custom_llm_provider": "anthropic",
        "prompt_tokens": 100,
        "completion_tokens": 7,
        "total_tokens": 107,
        "startTime": 1790841600.0,
        "endTime": 1790841602.0,
        "model": "claude-sonnet-4-5",
        "model_parameters": {"tools": [{"type": "function", "function": {"name": "find"}}]},
        "metadata": {"usage_object": {"prompt_tokens": 100, "completion_tokens": 7}},
        "cache_hit": None,
        "messages": [{"role": "user", "content": "Hello?"}],
        "response": ANSWER,
    }
    assert claim(PARSER, json.dumps(payload)) is not None
    found = rows(tmp_path, payload, row())
    one, other = found.calls
    assert one.identity == other.identity
    assert (one.trace, one.duration_s, one.logged_cost_usd) == ("s1", 2.0, 0.5)
    kinds = [segment.kind for segment in found.tree.path(one.completion or 0)]
    assert kinds == [Kind.TOOLS, Kind.TEXT, Kind.TEXT]
    hit = rows(tmp_path, {**payload, "cache_hit": True, "response_cost": 0.0})
    assert hit.calls == []


def test_csv_rows_are_the_same_calls(tmp_path: Path) -> None:
    flat = {
        name: json.dumps(value) if isinstance(value, dict) else value
        for name, value in row(startTime="2026-10-01 08:00:00.5+00").items()
    }
    out = io.StringIO()
    writer = csv.DictWriter(out, flat)
    writer.writeheader()
    writer.writerow(flat)
    assert claim(PARSER, out.getvalue(), "spend.csv") is not None
    found = read(PARSER, tmp_path / "spend.csv", out.getvalue())
    (call,) = found.calls
    assert call.usage is not None
    assert (call.usage.input_tokens, call.usage.cache_read_tokens) == (100, 60)
    assert (call.line, call.logged_cost_usd, call.duration_s) == (2, 0.5, 1.5)


def test_one_bad_row_is_one_issue_and_the_others_are_kept(tmp_path: Path) -> None:
    bad: list[Any] = [
        row(prompt_tokens=-5),
        row(spend="cheap"),
        row(startTime=[]),
        row(messages=[7]),
        row(metadata={"usage_object": {"prompt_tokens": "many"}}),
        7,
    ]
    found = rows(tmp_path, row(request_id="a"), *bad, row(request_id="z"))
    assert [call.identity for call in found.calls] == [("", "a"), ("", "z")]
    assert [issue.line for issue in found.issues] == [2, 3, 4, 5, 6, 7]


def test_several_choices_are_rollouts_of_one_prompt(tmp_path: Path) -> None:
    choices = [{"message": {"role": "assistant", "content": text}} for text in ("One.", "Two.")]
    found = rows(
        tmp_path, row(messages=[{"role": "user", "content": "?"}], response={"choices": choices})
    )
    rollouts = [trace for trace in found.traces if trace.group is not None]
    assert [found.text(trace.leaf)[-1] for trace in rollouts] == ["One.", "Two."]
    assert rollouts[0].group == rollouts[1].group


@pytest.mark.parametrize(
    "other",
    [
        {"request_id": "1", "startTime": "x", "model": "gpt"},
        {"id": "1", "call_type": "x", "response": {}},
        {"model": "gpt", "messages": [{"role": "user", "content": "x"}], "response": ANSWER},
    ],
)
def test_other_records_are_refused(other: Any) -> None:
    assert claim(PARSER, json.dumps(other)) is None


def test_the_samples_count_what_was_paid(sample_logs: Path) -> None:
    found = read(PARSER, sample_logs / "litellm" / "spend.jsonl")
    assert (len(found.calls), len(found.traces), found.issues) == (5, 2, [])
    usages = [call.usage for call in found.calls if call.usage is not None]
    assert sum(usage.cache_write_tokens or 0 for usage in usages) == 1445
    assert len({found.tree.path(call.prompt)[0] for call in found.calls}) == 1
    table = read(PARSER, sample_logs / "litellm" / "spend.csv")
    assert (len(table.calls), len(table.traces), table.issues) == (23, 4, [])
    costs = [call.logged_cost_usd or 0.0 for call in table.calls]
    assert sum(costs) == pytest.approx(0.0894726)

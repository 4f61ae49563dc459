"""The parser for OpenRouter's activity exports and generations."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from parsed_records import claim, read
from recording_tree import Parsed

from forkpoint.parsers.openrouter import OpenRouter
from forkpoint.parsers.records import Kind

PARSER = OpenRouter()
COLUMNS = (
    "generation_id,created_at,cost_total,cost_cache,byok_usage_inference,tokens_prompt,"
    "tokens_completion,tokens_reasoning,tokens_cached,model_permaslug,provider_name,cancelled,"
    "generation_time_ms,app_name,api_key_name"
)
GENERATION = {
    "id": "gen-1",
    "created_at": "2026-09-01T10:00:00.000000+00:00",
    "model": "openai/gpt-5.6-luna",
    "total_cost": 0.25,
    "usage": 0.25,
    "upstream_inference_cost": 0.5,
    "is_byok": False,
    "tokens_prompt": 90,
    "tokens_completion": 9,
    "native_tokens_prompt": 100,
    "native_tokens_completion": 10,
    "native_tokens_reasoning": 4,
    "native_tokens_cached": 64,
    "latency": 1250,
}


def activity(folder: Path, *values: str) -> Parsed:
    text = "\n".join([COLUMNS, *values]) + "\n"
    return read(PARSER, folder / "activity.csv", text)


def line(own: str = "gen-1", **changes: str) -> str:
    fields = dict.fromkeys(COLUMNS.split(","), "") | {
        "generation_id": own,
        "created_at": "2026-09-01 10:00:00.500",
        "cost_total": "0.25",
        "cost_cache": "-0.0032",
        "byok_usage_inference": "0",
        "tokens_prompt": "1000",
        "tokens_completion": "100",
        "tokens_reasoning": "40",
        "tokens_cached": "800",
        "model_permaslug": "openai/gpt-5.6-luna-20260709",
        "cancelled": "false",
        "generation_time_ms": "1500",
        "app_name": "Chess Club",
    }
    return ",".join((fields | changes).values())


def generations(folder: Path, *records: Any) -> Parsed:
    text = "".join(json.dumps(each) + "\n" for each in records)
    return read(PARSER, folder / "generations.jsonl", text)


def test_a_row_is_a_call_with_its_facts(tmp_path: Path) -> None:
    found = activity(tmp_path, line())
    (call,) = found.calls
    assert call.identity == ("", "gen-1")
    assert call.usage is not None
    assert (call.usage.input_tokens, call.usage.cache_read_tokens) == (1000, 800)
    assert (call.usage.output_tokens, call.usage.reasoning_tokens) == (100, 40)
    assert (call.logged_cost_usd, call.duration_s, call.line) == (0.25, 1.5, 2)
    assert (call.provider, call.model) == ("openrouter", "openai/gpt-5.6-luna-20260709")
    assert str(call.started_at) == "2026-09-01 10:00:00.500000+00:00"
    assert found.tree.path(call.prompt)[0].kind is Kind.UNLOGGED
    assert found.traces[0].project == "Chess Club"


def test_each_app_is_a_trace(tmp_path: Path) -> None:
    found = activity(tmp_path, line(), line("gen-2", app_name="Trainer"), line("gen-3"))
    assert len(found.traces) == 2
    assert next(call.trace for call in found.calls) == found.calls[2].trace


def test_a_cached_part_of_another_tokenizer_is_unknown_and_an_issue(tmp_path: Path) -> None:
    found = activity(tmp_path, line(tokens_prompt="500", tokens_cached="900"), line("gen-2"))
    first = found.calls[0].usage
    assert first is not None
    assert (first.input_tokens, first.cache_read_tokens) == (500, None)
    assert found.calls[0].logged_cost_usd == 0.25
    assert [(issue.line, issue.offset) for issue in found.issues] == [(2, len(COLUMNS) + 1)]


def test_empty_fields_are_missing_and_not_nought(tmp_path: Path) -> None:
    found = activity(
        tmp_path,
        line(tokens_cached="", tokens_reasoning="", cost_total="", byok_usage_inference=""),
    )
    (call,) = found.calls
    assert call.usage is not None
    assert (call.usage.cache_read_tokens, call.usage.reasoning_tokens) == (None, None)
    assert call.logged_cost_usd is None


def test_what_a_provider_bills_for_one_s_own_key_comes_on_top(tmp_path: Path) -> None:
    found = activity(tmp_path, line(cost_total="0.01", byok_usage_inference="0.5"))
    assert found.calls[0].logged_cost_usd == 0.51
    own = generations(tmp_path, {"data": {**GENERATION, "is_byok": True, "total_cost": 0.01}})
    assert own.calls[0].logged_cost_usd == 0.51


def test_a_cancelled_generation_was_paid_for(tmp_path: Path) -> None:
    assert len(activity(tmp_path, line(cancelled="true")).calls) == 1


def test_a_generation_s_native_counts_are_billed(tmp_path: Path) -> None:
    found = generations(tmp_path, {"data": GENERATION}, GENERATION)
    for call in found.calls:
        assert call.identity == ("", "gen-1")
        assert call.usage is not None
        assert (call.usage.input_tokens, call.usage.cache_read_tokens) == (100, 64)
        assert (call.usage.output_tokens, call.usage.reasoning_tokens) == (10, 4)
        assert (call.logged_cost_usd, call.duration_s) == (0.25, 1.25)


def test_lists_and_single_documents_are_read_alike(tmp_path: Path) -> None:
    documents: list[Any] = [[GENERATION], {"data": [GENERATION]}, {"data": GENERATION}]
    for number, document in enumerate(documents):
        for indent in (None, 2):
            text = json.dumps(document, indent=indent)
            assert claim(PARSER, text) is not None
            assert len(read(PARSER, tmp_path / f"{number}.json", text).calls) == 1


def test_one_bad_row_is_one_issue_and_the_others_are_kept(tmp_path: Path) -> None:
    bad = [
        line(tokens_prompt="-4"),
        line(created_at="noon"),
        line(own=""),
        "gen-9,too,few",
        line(cost_total="free"),
    ]
    found = activity(tmp_path, line("gen-a"), *bad, line("gen-z"))
    assert [call.identity for call in found.calls] == [("", "gen-a"), ("", "gen-z")]
    assert [issue.line for issue in found.issues] == [3, 4, 5, 6, 7]


@pytest.mark.parametrize(
    "other",
    [
        "date,model,model_permaslug,provider_name,usage,requests,prompt_tokens\n2026-09-01,a,b,c,1,5,6\n",
        "id,name,total\n1,a,2\n",
        json.dumps({"data": [{"date": "2026-09-01", "model": "x", "requests": 5}]}),
        json.dumps({"data": {"id": "gen-1"}}),
        json.dumps({"id": "gen-1", "choices": [], "usage": {}}),
    ],
)
def test_summaries_and_other_files_are_refused(other: str) -> None:
    assert claim(PARSER, other, "activity.csv") is None


def test_the_samples_are_thirty_generations_of_which_three_stand_in_both(sample_logs: Path) -> None:
    table = read(PARSER, sample_logs / "openrouter" / "activity.csv")
    lines = read(PARSER, sample_logs / "openrouter" / "generations.jsonl")
    assert (len(table.calls), len(table.traces), table.issues) == (30, 2, [])
    assert (len(lines.calls), lines.issues) == (3, [])
    by_id = {call.identity: call for call in table.calls}
    for call in lines.calls:
        twin = by_id[call.identity]
        assert (call.usage, call.logged_cost_usd) == (twin.usage, twin.logged_cost_usd)
        assert (call.started_at, call.duration_s) == (twin.started_at, twin.duration_s)
    usages = [call.usage for call in table.calls if call.usage is not None]
    assert sum(usage.cache_read_tokens or 0 for usage in usages) == 104_192

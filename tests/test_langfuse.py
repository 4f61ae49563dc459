"""The parser for Langfuse exports, and its reading of token counts."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pytest
from parsed_records import claim, read
from recording_tree import Parsed

from forkpoint.parsers.langfuse import Langfuse
from forkpoint.parsers.langfuse_usage import usage_of
from forkpoint.parsers.logs import read_head
from forkpoint.parsers.records import Kind

PARSER = Langfuse()
HELLO = [{"role": "user", "content": "Hello?"}]


def generation(own: str, parent: str | None = None, **changes: Any) -> dict[str, Any]:
    fields = {
        "id": own,
        "traceId": "t1",
        "type": "GENERATION",
        "name": "chat",
        "startTime": "2026-10-01T08:00:00.000Z",
        "endTime": "2026-10-01T08:00:02.500Z",
        "parentObservationId": parent,
        "model": "gpt-5-mini",
        "input": HELLO,
        "output": {"role": "assistant", "content": "Hi."},
        "usageDetails": {"input": 10, "output": 2, "total": 12},
    }
    return {**fields, **changes}


def around(own: str, type_: str, parent: str | None = None) -> dict[str, Any]:
    return generation(own, parent, type=type_, usageDetails={}, input=None, output=None)


def rows(folder: Path, *observations: Any) -> Parsed:
    text = "".join(json.dumps(each) + "\n" for each in observations)
    return read(PARSER, folder / "observations.jsonl", text)


def counted(**counts: Any) -> tuple[int | None, ...] | None:
    usage = usage_of(msgspec.Raw(msgspec.json.encode(counts)))
    return None if usage is None else msgspec.structs.astuple(usage)


def test_a_generation_is_a_call_with_its_facts(tmp_path: Path) -> None:
    found = rows(tmp_path, generation("o1", totalCost=0.25))
    (call,) = found.calls
    assert call.identity == ("t1", "o1")
    assert (call.trace, call.line, call.offset) == ("t1", 1, 0)
    assert call.model == "gpt-5-mini"
    assert call.duration_s == 2.5
    assert call.started_at is not None and call.started_at.isoformat().endswith("08:00:00+00:00")
    assert call.logged_cost_usd == 0.25
    assert call.usage is not None
    assert (call.usage.input_tokens, call.usage.output_tokens) == (10, 2)
    assert found.text(call.prompt) == ["Hello?"]
    assert found.text(call.completion) == ["Hello?", "Hi."]
    assert [trace.id for trace in found.traces] == ["t1"]


def test_other_observations_are_no_calls(tmp_path: Path) -> None:
    found = rows(tmp_path, *(around(kind, kind) for kind in ("SPAN", "EVENT", "AGENT", "TOOL")))
    assert (found.calls, found.issues) == ([], [])


def test_names_of_the_tables_are_read_like_those_of_the_api(tmp_path: Path) -> None:
    row = {
        "id": "o1",
        "trace_id": "t1",
        "type": "GENERATION",
        "parent_observation_id": None,
        "start_time": "2026-10-01 08:00:00.000",
        "end_time": "2026-10-01 08:00:01.000",
        "provided_model_name": "gpt-5-mini",
        "input": json.dumps(HELLO),
        "output": json.dumps({"role": "assistant", "content": "Hi."}),
        "usage_details": {"input": "7", "output": "2"},
        "total_cost": "0.125",
    }
    found = rows(tmp_path, row)
    (call,) = found.calls
    assert call.usage is not None and call.usage.input_tokens == 7
    assert (call.model, call.logged_cost_usd, call.duration_s) == ("gpt-5-mini", 0.125, 1.0)
    assert found.text(call.completion) == ["Hello?", "Hi."]


def test_the_first_api_had_its_counts_elsewhere(tmp_path: Path) -> None:
    old = generation("o1", usageDetails=None, usage={"unit": "TOKENS", "input": 5, "output": 1})
    older = generation("o2", usageDetails=None, promptTokens=6, completionTokens=2, totalTokens=8)
    unknown = generation("o3", usageDetails={}, promptTokens=0, completionTokens=0, totalTokens=0)
    found = rows(tmp_path, old, older, unknown)
    usages = [call.usage for call in found.calls]
    assert [usage and (usage.input_tokens, usage.output_tokens) for usage in usages] == [
        (5, 1),
        (6, 2),
        None,
    ]


# --- Twins --------------------------------------------------------------------------------------


def ids(found: Parsed) -> list[str]:
    return [call.identity[1] for call in found.calls if call.identity is not None]


def test_of_two_descriptions_of_one_call_the_inner_one_counts(tmp_path: Path) -> None:
    found = rows(tmp_path, generation("outer"), generation("inner", "outer"))
    assert ids(found) == ["inner"]


def test_a_generation_around_several_calls_is_none(tmp_path: Path) -> None:
    inner = [generation(name, "step") for name in ("i1", "i2")]
    found = rows(tmp_path, *inner, around("step", "SPAN", "outer"), generation("outer"))
    assert ids(found) == ["i1", "i2"]


def test_the_outer_one_counts_if_only_it_has_counts(tmp_path: Path) -> None:
    bare = generation("inner", "outer", usageDetails={})
    assert ids(rows(tmp_path, bare, generation("outer"))) == ["outer"]


@pytest.mark.parametrize("kind", ["TOOL", "AGENT", "RETRIEVER"])
def test_a_call_within_a_tool_or_an_agent_is_a_call_of_its_own(tmp_path: Path, kind: str) -> None:
    found = rows(
        tmp_path, generation("outer"), around("between", kind, "outer"), generation("i", "between")
    )
    assert ids(found) == ["outer", "i"]


def test_observations_that_are_their_own_ancestors_end(tmp_path: Path) -> None:
    loop = [around("a", "SPAN", "b"), around("b", "SPAN", "a"), generation("c", "a")]
    assert ids(rows(tmp_path, *loop, generation("self", "self"))) == ["c", "self"]


def test_equal_ids_in_two_traces_are_two_calls(tmp_path: Path) -> None:
    found = rows(tmp_path, generation("o1"), generation("o1", traceId="t2"))
    assert len({call.identity for call in found.calls}) == 2


def test_a_provider_s_response_id_names_the_call(tmp_path: Path) -> None:
    attributes = {"attributes": {"gen_ai.response.id": "chatcmpl-1", "gen_ai.system": "openai"}}
    found = rows(tmp_path, generation("o1", metadata=json.dumps(attributes)))
    assert found.calls[0].identity == ("", "chatcmpl-1")
    assert found.calls[0].provider == "openai"


def test_what_was_not_answered_or_failed_is_no_call(tmp_path: Path) -> None:
    event = generation("o1", usageDetails={}, output=None)
    failed = generation("o2", usageDetails={}, level="ERROR")
    paid = generation("o3", level="ERROR")
    found = rows(tmp_path, event, failed, paid)
    assert (ids(found), found.issues) == (["o3"], [])


# --- Counts -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        # Input, cache read, cache write, 1 h writes, output, reasoning.
        ({"input": 10, "output": 2, "total": 12}, (10, None, None, None, 2, None)),
        ({"input": 0, "output": 0, "total": 0}, None),
        ({}, None),
        # Disjoint keys, by the total, or because nothing else is possible.
        (
            {"input": 100, "input_cached_tokens": 900, "output": 5, "total": 1005},
            (1000, 900, None, None, 5, None),
        ),
        (
            {"input": 600, "input_cache_read": 400, "output": 5, "total": 1005},
            (1000, 400, None, None, 5, None),
        ),
        ({"input": 100, "cache_read_input_tokens": 900}, (1000, 900, None, None, None, None)),
        # An input that includes the cached part, by the total, or where no total is stated.
        (
            {"input": 1000, "cache_read_input_tokens": 400, "output": 5, "total": 1005},
            (1000, 400, None, None, 5, None),
        ),
        ({"input": 1000, "input_cached_tokens": 400}, (1000, 400, None, None, None, None)),
        ({"input": 9, "input_cached_tokens": 4, "total": 77}, (9, 4, None, None, None, None)),
        # Writes, with their lifetimes beside the rest or restating it.
        (
            {
                "input": 2,
                "input_cached_tokens": 47105,
                "input_cache_creation": 0,
                "input_cache_creation_5m": 0,
                "input_cache_creation_1h": 1076,
                "output": 714,
            },
            (48183, 47105, 1076, 1076, 714, None),
        ),
        (
            {"input": 2, "cache_creation_input_tokens": 30, "input_cache_creation_1h": 30},
            (32, None, 30, 30, None, None),
        ),
        # Reasoning beside the output, and within it.
        (
            {"input": 100, "output": 100, "output_reasoning_tokens": 500, "total": 700},
            (100, None, None, None, 600, 500),
        ),
        (
            {"input": 100, "output": 300, "output_reasoning": 200, "total": 400},
            (100, None, None, None, 300, 200),
        ),
        (
            {"input": 50, "output": 300, "output_reasoning": 200, "total": 550},
            (50, None, None, None, 500, 200),
        ),
        # Other parts of the input are parts, and other units are no tokens.
        ({"input": 10, "input_audio": 90, "total": 100}, (100, None, None, None, None, None)),
        ({"input": 10, "input_audio": 4, "seconds": 2.5}, (10, None, None, None, None, None)),
        ({"prompt_tokens": 8, "completion_tokens": 2}, (8, None, None, None, 2, None)),
    ],
)
def test_counts_are_read_by_arithmetic(
    counts: dict[str, Any], expected: tuple[int | None, ...] | None
) -> None:
    assert counted(**counts) == expected


# --- Files --------------------------------------------------------------------------------------


def test_a_trace_export_names_the_trace_and_places_its_observations(tmp_path: Path) -> None:
    trace = {"id": "t1", "projectId": "p1", "name": "visit", "timestamp": "2026-10-01T08:00:00Z"}
    document = {
        "trace": {**trace, "observations": [generation("o1")]},
        "observations": [generation("o1"), generation("o2")],
    }
    text = json.dumps(document, indent=2)
    found = read(PARSER, tmp_path / "trace.json", text)
    assert [(each.id, each.project, each.title) for each in found.traces] == [("t1", "p1", "visit")]
    assert [call.line for call in found.calls] == [1, 2]
    for call, own in zip(found.calls, ("o1", "o2"), strict=True):
        assert text.encode()[call.offset :].split(b'"id": "')[1].startswith(own.encode())


def test_the_api_s_trace_page_and_list_are_read_alike(tmp_path: Path) -> None:
    whole = {"id": "t1", "timestamp": "x", "projectId": "p", "observations": [generation("o1")]}
    texts = [
        json.dumps(whole),
        json.dumps({"data": [generation("o1")], "meta": {"page": 1}}),
        json.dumps({"data": [generation("o1")], "meta": {"page": 1}}, indent=1),
        json.dumps([generation("o1")]),
        json.dumps(generation("o1"), indent=4),
    ]
    for number, text in enumerate(texts):
        assert claim(PARSER, text) is not None
        found = read(PARSER, tmp_path / f"{number}.json", text)
        assert (ids(found), found.issues) == (["o1"], [])


def test_one_bad_row_is_one_issue_and_the_others_are_kept(tmp_path: Path) -> None:
    bad: list[Any] = [
        generation("o2", usageDetails={"input": -1}),
        generation("o3", usageDetails="many"),
        generation("o4", input=[7]),
        generation("o5", startTime="soon"),
        generation("o6", traceId=8),
        generation("o7", totalCost={}),
        "row",
    ]
    lines = [json.dumps(each) for each in bad] + ['{"id": "cut']
    text = "\n".join([json.dumps(generation("o1")), *lines, json.dumps(generation("o8"))])
    found = read(PARSER, tmp_path / "x.jsonl", text)
    assert ids(found) == ["o1", "o4", "o8"]
    assert [issue.line for issue in found.issues] == [2, 3, 5, 6, 7, 8, 9]


@pytest.mark.parametrize(
    "other",
    [
        {"id": "t", "timestamp": "x", "projectId": "p", "name": "a trace without observations"},
        {"traceId": "1", "name": "span", "startTime": 1, "attributes": {}},
        {"observations": [1, 2], "rewards": [0.5]},
        {"trace": "text"},
        [{"type": "GENERATION"}],
    ],
)
def test_other_documents_are_refused(other: Any) -> None:
    assert claim(PARSER, json.dumps(other)) is None


def test_a_trace_longer_than_the_head_is_known_by_its_beginning() -> None:
    trace = {"id": "t", "timestamp": "x", "projectId": "p", "input": "y" * 70_000}
    assert claim(PARSER, json.dumps({"trace": trace, "observations": []})) is not None


def test_the_sample_counts_each_call_once(sample_logs: Path) -> None:
    found = read(PARSER, sample_logs / "langfuse" / "observations.jsonl")
    usages = [call.usage for call in found.calls if call.usage is not None]
    assert (len(found.calls), len(found.traces), found.issues) == (6, 2, [])
    assert sum(usage.input_tokens or 0 for usage in usages) == 9016
    assert sum(usage.cache_read_tokens or 0 for usage in usages) == 7040
    paths = [found.tree.path(call.prompt) for call in found.calls]
    assert {path[0].kind for path in paths} == {Kind.TOOLS}
    document = read(PARSER, sample_logs / "langfuse" / "trace.json")
    reads = [call.usage.cache_read_tokens for call in document.calls if call.usage]
    assert reads == [1408, 1408, 1408, 1536]
    assert sum(call.usage.input_tokens or 0 for call in document.calls if call.usage) == 6074


# --- Real exports -------------------------------------------------------------------------------

LEFT_OUT = {
    # Events of a framework's own, without input, output and counts.
    "beeai-2025-08-01.trace.json": ["f50f7bbf13112df9", "b7b9a79830fe5c6b"],
    # The run around its one call, whose counts Langfuse made itself.
    "vercel-aisdk-2025-11-17.trace.json": ["1dc6768109615657"],
}


@pytest.mark.real
def test_real_traces_have_the_known_counts_costs_and_models(real_logs: Path) -> None:
    facts = json.loads((real_logs / "FACTS.json").read_text())["langfuse"]
    assert len(facts) == 7
    for name, fact in facts.items():
        path = real_logs / name
        found = read(PARSER, path)
        assert (found.issues, len(found.traces)) == ([], 1)
        logged = json.loads(path.read_text())["observations"]
        assert len(logged) == fact["observations"]
        assert Counter(each["type"] for each in logged) == fact["by_type"]
        twins = [each for each in logged if each["id"] in LEFT_OUT.get(path.name, [])]
        assert len(found.calls) == fact["by_type"]["GENERATION"] - len(twins)
        usages = [call.usage for call in found.calls if call.usage is not None]
        for key, field in (("input", "input_tokens"), ("output", "output_tokens")):
            known = fact["usageDetails_sum"].get(key, 0)
            known -= sum(each["usageDetails"].get(key, 0) for each in twins)
            assert sum(getattr(usage, field) or 0 for usage in usages) == known
        cost = fact["total_cost"] - sum(each["totalCost"] or 0 for each in twins)
        costs = [call.logged_cost_usd for call in found.calls if call.logged_cost_usd]
        assert sum(costs) == pytest.approx(cost)
        models = Counter(call.model for call in found.calls)
        assert models + Counter(each["model"] for each in twins) == fact["models"]


@pytest.mark.real
def test_real_conversations_go_on_where_they_were_answered(real_logs: Path) -> None:
    for name in (
        "google-adk-2025-08-28",
        "langgraph-python-2025-08-22",
        "pydantic-ai-tools-2025-12-04",
    ):
        found = read(PARSER, real_logs / "langfuse" / "framework-traces" / f"{name}.trace.json")
        calls = sorted(found.calls, key=lambda call: str(call.started_at))
        first = found.tree.path(calls[0].completion or 0)
        assert found.tree.path(calls[1].prompt)[: len(first)] == first


@pytest.mark.real
def test_only_the_real_exports_of_langfuse_are_claimed(real_logs: Path) -> None:
    for path in (path for path in real_logs.rglob("*") if path.is_file()):
        ours = path.parent.parent.name == "langfuse"
        assert (PARSER.identify(read_head(path)) is not None) == ours, path

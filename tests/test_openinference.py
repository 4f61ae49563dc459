"""The parser for OpenInference spans and those of Vercel's AI SDK."""

from __future__ import annotations

import json
import random
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from recording_tree import parse_file
from span_builders import TRACE, claim, flat_span, hex_of, read, read_path, request, span

from forkpoint.parsers.logs import HEAD_BYTES, read_head
from forkpoint.parsers.openinference import OpenInference
from forkpoint.parsers.records import Kind, Usage

PARSER = OpenInference()

LLM: dict[str, Any] = {
    "openinference.span.kind": "LLM",
    "llm.provider": "openai",
    "llm.model_name": "gpt-4o-2024-08-06",
    "llm.token_count.prompt": 100,
    "llm.token_count.completion": 20,
    "llm.token_count.total": 120,
}
SCHEMA = {"type": "function", "function": {"name": "look", "parameters": {}}}
TALK: dict[str, Any] = {
    "llm.tools.0.tool.json_schema": json.dumps(SCHEMA),
    "llm.input_messages.0.message.role": "system",
    "llm.input_messages.0.message.content": "Be brief.",
    "llm.input_messages.1.message.role": "user",
    "llm.input_messages.1.message.content": "Where?",
    "llm.input_messages.2.message.role": "assistant",
    "llm.input_messages.2.message.tool_calls.0.tool_call.id": "call_1",
    "llm.input_messages.2.message.tool_calls.0.tool_call.function.name": "look",
    "llm.input_messages.2.message.tool_calls.0.tool_call.function.arguments": '{"at":1}',
    "llm.input_messages.3.message.role": "tool",
    "llm.input_messages.3.message.content": "Here.",
    "llm.input_messages.3.message.tool_call_id": "call_1",
    "llm.output_messages.0.message.role": "assistant",
    "llm.output_messages.0.message.content": "There.",
}
NESTED: dict[str, Any] = {
    "llm.tools": [{"tool.json_schema": json.dumps(SCHEMA)}],
    "llm.input_messages": [
        {"message.role": "system", "message.content": "Be brief."},
        {"message.role": "user", "message.content": "Where?"},
        {
            "message.role": "assistant",
            "message.content": None,
            "message.tool_calls": [
                {
                    "tool_call.function.name": "look",
                    "tool_call.function.arguments": '{"at":1}',
                }
            ],
        },
        {"message.role": "tool", "message.content": "Here."},
    ],
    "llm.output_messages": [{"message.role": "assistant", "message.content": "There."}],
}
OBJECTS: dict[str, Any] = {
    "openinference": {"span": {"kind": "LLM"}},
    "session": {"id": "visit"},
    "llm": {
        "provider": "openai",
        "model_name": "gpt-4o-2024-08-06",
        "token_count": {"prompt": 100, "completion": 20, "total": 120},
        "tools": [{"tool": {"json_schema": SCHEMA}}],
        "input_messages": [
            {"message": {"role": "system", "content": "Be brief."}},
            {"message": {"role": "user", "content": "Where?"}},
            {
                "message": {
                    "role": "assistant",
                    "tool_calls": [
                        {"tool_call": {"function": {"name": "look", "arguments": '{"at":1}'}}}
                    ],
                }
            },
            {"message": {"role": "tool", "content": "Here."}},
        ],
        "output_messages": [{"message": {"role": "assistant", "content": "There."}}],
    },
}
SAID = [
    (Kind.TOOLS, "", json.dumps(SCHEMA, separators=(",", ":"))),
    (Kind.SYSTEM, "system", "Be brief."),
    (Kind.TEXT, "user", "Where?"),
    (Kind.TOOL_CALL, "assistant", 'look\n{"at":1}'),
    (Kind.TOOL_RESULT, "tool", "Here."),
    (Kind.TEXT, "assistant", "There."),
]


def path_of(folder: Path, attributes: dict[str, Any]) -> list[tuple[Kind, str, str]]:
    """The path of the only call's completion, or of its prompt if it has none."""
    found = read(PARSER, folder, flat_span(1, attributes))
    assert found.issues == []
    (call,) = found.calls
    end = call.prompt if call.completion is None else call.completion
    return [(each.kind, each.role, each.content) for each in found.tree.path(end)]


# ---- One span -------------------------------------------------------------------------------------


def test_an_llm_span_is_a_call_with_its_counts_cost_and_session(tmp_path: Path) -> None:
    attributes = LLM | {
        "session.id": "visit",
        "llm.token_count.prompt_details.cache_read": 60,
        "llm.token_count.prompt_details.cache_write": 0,
        "llm.token_count.completion_details.reasoning": 5,
        "llm.cost.total": 0.0004,
    }
    found = read(PARSER, tmp_path, flat_span(1, attributes, at=(1, 3.5)))
    (call,), (trace,) = found.calls, found.traces
    assert call.usage == Usage(
        input_tokens=100,
        cache_read_tokens=60,
        cache_write_tokens=0,
        output_tokens=20,
        reasoning_tokens=5,
    )
    assert call.started_at == datetime(2026, 3, 2, 9, 0, 1, tzinfo=UTC)
    assert (call.duration_s, call.logged_cost_usd, trace.id) == (2.5, 0.0004, "visit")
    assert (call.provider, call.model) == ("openai", "gpt-4o-2024-08-06")
    assert call.identity == (TRACE, hex_of(1))


@pytest.mark.parametrize("attributes", [LLM | TALK, LLM | NESTED, OBJECTS], ids=["flat", "lists", "objects"])  # fmt: skip
def test_flat_and_nested_messages_say_the_same(tmp_path: Path, attributes: dict[str, Any]) -> None:
    assert path_of(tmp_path, attributes) == SAID


def test_otlp_says_the_same_as_span_objects(tmp_path: Path) -> None:
    found = read(PARSER, tmp_path, request(span(1, LLM | TALK)))
    assert claim(PARSER, request(span(1, LLM | TALK)))
    path = found.tree.path(found.calls[0].completion or 0)
    assert [(each.kind, each.role, each.content) for each in path] == SAID


def test_the_order_of_attributes_does_not_matter(tmp_path: Path) -> None:
    names = list(TALK)
    random.Random(7).shuffle(names)
    assert path_of(tmp_path, LLM | {name: TALK[name] for name in names}) == SAID


def test_columns_of_a_data_frame_are_read(tmp_path: Path) -> None:
    row: dict[str, Any] = {
        "name": "ChatCompletion",
        "span_kind": "LLM",
        "parent_id": None,
        "start_time": 1_772_442_000_000,
        "end_time": 1_772_442_002_000,
        "context.span_id": hex_of(1),
        "context.trace_id": TRACE,
        **{f"attributes.{name}": value for name, value in (LLM | NESTED).items()},
        "attributes.llm.token_count.prompt_details.cache_read": float("nan"),
    }
    data = json.dumps([row, row | {"context.span_id": hex_of(2)}]).encode()
    assert claim(PARSER, data=data)
    found = read(PARSER, tmp_path, data=data)
    assert [call.identity for call in found.calls] == [(TRACE, hex_of(1)), (TRACE, hex_of(2))]
    assert found.calls[0].usage == Usage(input_tokens=100, output_tokens=20)
    assert found.calls[0].duration_s == 2.0
    assert len(found.texts(found.calls[0].completion)) == len(SAID)


def test_ordered_contents_are_not_read_twice(tmp_path: Path) -> None:
    said = "llm.output_messages.0.message."
    attributes = LLM | {
        f"{said}role": "assistant",
        f"{said}content": "There.",
        f"{said}contents.0.message_content.type": "reasoning",
        f"{said}contents.0.message_content.text": "Hm.",
        f"{said}contents.1.message_content.type": "text",
        f"{said}contents.1.message_content.text": "There.",
        f"{said}contents.2.message_content.type": "tool_use",
        f"{said}contents.2.tool_call.function.name": "look",
        f"{said}contents.2.tool_call.function.arguments": "{}",
        f"{said}tool_calls.0.tool_call.function.name": "look",
        f"{said}tool_calls.0.tool_call.function.arguments": "{}",
    }
    assert path_of(tmp_path, attributes)[1:] == [
        (Kind.THINKING, "assistant", "Hm."),
        (Kind.TEXT, "assistant", "There."),
        (Kind.TOOL_CALL, "assistant", "look\n{}"),
    ]


def test_hidden_reasoning_and_images_have_segments(tmp_path: Path) -> None:
    said = "llm.input_messages.0.message."
    attributes = LLM | {
        f"{said}role": "user",
        f"{said}contents.0.message_content.type": "image",
        f"{said}contents.0.message_content.image.image.url": "data:image/png;base64,AA",
        f"{said}contents.1.message_content.type": "reasoning",
        f"{said}contents.1.message_content.data": "EmwKAh",
    }
    assert [segment[0] for segment in path_of(tmp_path, attributes)] == [Kind.MEDIA, Kind.THINKING]


def test_output_messages_are_choices_only_if_several_were_asked_for(tmp_path: Path) -> None:
    answers = {
        f"llm.output_messages.{n}.message.{name}": value
        for n in (0, 1)
        for name, value in (("role", "assistant"), ("content", f"{n}"))
    }
    together = read(PARSER, tmp_path, flat_span(1, LLM | answers))
    assert (len(together.traces), together.texts(together.calls[0].completion)[1:]) == (
        1,
        ["0", "1"],
    )
    asked = LLM | answers | {"llm.invocation_parameters": json.dumps({"n": 2})}
    apart = read(PARSER, tmp_path, flat_span(1, asked))
    assert [apart.texts(trace.leaf)[-1] for trace in apart.traces if trace.leaf] == ["0", "1"]


def test_prompts_and_choices_of_the_completions_api_are_read(tmp_path: Path) -> None:
    attributes = LLM | {
        "llm.prompts.0.prompt.text": "def f(",
        "llm.choices.0.completion.text": "n):",
    }
    assert [segment[2] for segment in path_of(tmp_path, attributes)] == ["def f(", "n):"]


@pytest.mark.parametrize(
    ("counts", "inclusive"),
    [((100, 60, 120), 100), ((100, 160, None), 260), ((100, 60, 180), 160)],
)
def test_the_numbers_show_whether_a_prompt_includes_the_cached_part(
    tmp_path: Path, counts: tuple[int, int, int | None], inclusive: int
) -> None:
    prompt, cached, total = counts
    attributes = LLM | {
        "llm.provider": "aws",
        "llm.token_count.prompt": prompt,
        "llm.token_count.prompt_details.cache_read": cached,
        "llm.token_count.total": total,
    }
    (call,) = read(PARSER, tmp_path, flat_span(1, attributes)).calls
    assert call.usage is not None
    assert call.usage.input_tokens == inclusive


# ---- Layers ---------------------------------------------------------------------------------------


def test_a_framework_and_an_sdk_tell_one_call(tmp_path: Path) -> None:
    spans = [
        flat_span(2, LLM | TALK, parent=1, name="ChatCompletion", at=(0.1, 0.9)),
        flat_span(1, LLM, parent=9, name="ChatOpenAI", at=(0, 1)),
        flat_span(9, {"openinference.span.kind": "CHAIN", "llm.token_count.prompt": 100,
                      "llm.token_count.completion": 20}, at=(0, 2)),
    ]  # fmt: skip
    found = read(PARSER, tmp_path, *spans)
    assert [call.identity for call in found.calls] == [(TRACE, hex_of(2))]
    assert found.n_merged == 2


def test_siblings_with_equal_counts_and_the_same_answer_are_one_call(tmp_path: Path) -> None:
    sdk = flat_span(2, LLM | TALK, parent=9, name="ChatCompletion", at=(0.1, 0.9))
    framework = flat_span(1, LLM | TALK, parent=9, name="ChatOpenAI", at=(0, 1))
    found = read(PARSER, tmp_path, sdk, framework)
    assert [call.identity for call in found.calls] == [(TRACE, hex_of(2))]
    other = {"llm.output_messages.0.message.content": "Elsewhere."}
    found = read(
        PARSER, tmp_path, sdk, flat_span(1, LLM | TALK | other, parent=9, name="ChatOpenAI")
    )
    assert len(found.calls) == 2


def test_two_rounds_of_one_loop_with_equal_counts_are_two_calls(tmp_path: Path) -> None:
    rounds = [flat_span(n, LLM | TALK, parent=9, at=(2 * n, 2 * n + 1)) for n in (1, 2)]
    found = read(PARSER, tmp_path, *rounds)
    assert (len(found.calls), found.n_merged) == (2, 0)


@pytest.mark.parametrize(
    "kind", ["EMBEDDING", "RERANKER", "RETRIEVER", "TOOL", "GUARDRAIL", "EVALUATOR", "PROMPT"]
)
def test_spans_of_other_kinds_are_no_calls(tmp_path: Path, kind: str) -> None:
    attributes = {"openinference.span.kind": kind, "llm.token_count.prompt": 9}
    found = read(PARSER, tmp_path, flat_span(1, attributes))
    assert (found.calls, found.issues) == ([], [])


def test_a_failed_span_without_counts_is_no_call(tmp_path: Path) -> None:
    attributes = {"openinference.span.kind": "LLM", "llm.model_name": "gpt-4o"}
    failed = flat_span(1, attributes, status_code="ERROR")
    found = read(PARSER, tmp_path, failed, flat_span(2, attributes, at=(5, 6)))
    assert [call.identity for call in found.calls] == [(TRACE, hex_of(2))]


# ---- Vercel's AI SDK ------------------------------------------------------------------------------


def sdk_span(id_: int, operation: str, attributes: dict[str, Any], **more: Any) -> dict[str, Any]:
    about = {
        "ai.operationId": operation,
        "ai.model.provider": "openai.chat",
        "ai.model.id": "gpt-4o",
    }
    return flat_span(id_, about | attributes, name=operation, **more)


def counts(given: int, made: int) -> dict[str, Any]:
    return {"ai.usage.inputTokens": given, "ai.usage.outputTokens": made}


def test_the_steps_of_a_function_count_and_its_sum_does_not(tmp_path: Path) -> None:
    spans = [
        sdk_span(2, "ai.generateText.doGenerate", counts(100, 20), parent=1, at=(0, 1)),
        sdk_span(3, "ai.toolCall", {"ai.toolCall.name": "look"}, parent=1, at=(1, 2)),
        sdk_span(4, "ai.generateText.doGenerate", counts(140, 5), parent=1, at=(2, 3)),
        sdk_span(1, "ai.generateText", counts(240, 25), at=(0, 4)),
    ]
    found = read(PARSER, tmp_path, *spans)
    assert [call.usage and call.usage.input_tokens for call in found.calls] == [100, 140]
    assert found.n_merged == 1


def test_a_function_in_another_trace_is_known_by_its_times_counts_and_words(tmp_path: Path) -> None:
    talk = {"ai.prompt.messages": json.dumps([{"role": "user", "content": "Where?"}])}
    said = {"ai.response.text": "There."}
    inner = sdk_span(2, "ai.streamText.doStream", counts(100, 20) | talk | said, at=(0.1, 0.9))
    whole = {"ai.prompt": json.dumps({"prompt": "Where?"})} | counts(100, 20)
    apart = "ab" * 16
    outer = sdk_span(1, "ai.streamText", whole | said, trace=apart)
    assert len(read(PARSER, tmp_path, inner, outer).calls) == 1
    other = sdk_span(1, "ai.streamText", whole | {"ai.response.text": "Here."}, trace=apart)
    assert len(read(PARSER, tmp_path, inner, other).calls) == 2


def test_the_counts_of_version_six_have_their_details(tmp_path: Path) -> None:
    attributes = counts(100, 20) | {
        "ai.usage.cachedInputTokens": 60,
        "ai.usage.inputTokenDetails.cacheReadTokens": 60,
        "ai.usage.inputTokenDetails.cacheWriteTokens": 10,
        "ai.usage.inputTokenDetails.noCacheTokens": 30,
        "ai.usage.outputTokenDetails.reasoningTokens": 8,
        "gen_ai.usage.input_tokens": 100,
        "gen_ai.usage.output_tokens": 20,
    }
    found = read(PARSER, tmp_path, sdk_span(1, "ai.generateText.doGenerate", attributes))
    assert [call.usage for call in found.calls] == [
        Usage(
            input_tokens=100,
            cache_read_tokens=60,
            cache_write_tokens=10,
            output_tokens=20,
            reasoning_tokens=8,
        )
    ]


def test_tool_calls_and_results_of_the_sdk_are_what_they_are_elsewhere(tmp_path: Path) -> None:
    call = {"toolCallId": "c1", "toolName": "look", "input": {"at": 1}}
    result = {"type": "tool-result", "toolCallId": "c1", "toolName": "look"}
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "Where?"}]},
        {"role": "assistant", "content": [{"type": "tool-call", **call}]},
        {"role": "tool", "content": [result | {"output": {"type": "text", "value": "Here."}}]},
    ]
    attributes = counts(100, 20) | {
        "ai.prompt.tools": [json.dumps(SCHEMA)],
        "ai.prompt.messages": json.dumps(messages),
        "ai.response.text": "There.",
    }
    found = read(PARSER, tmp_path, sdk_span(1, "ai.generateText.doGenerate", attributes))
    path = found.tree.path(found.calls[0].completion or 0)
    assert [(each.kind, each.role, each.content) for each in path] == SAID
    older = json.loads(json.dumps(messages))
    older[2]["content"][0] = {"type": "tool-call", "toolName": "look", "args": {"at": 1}}
    older[3]["content"][0] = result | {"result": "Here."}
    attributes["ai.prompt.messages"] = json.dumps(older)
    again = read(PARSER, tmp_path, sdk_span(1, "ai.generateText.doGenerate", attributes))
    assert again.tree.path(again.calls[0].completion or 0) == path


def test_an_answer_of_thoughts_and_tool_calls_is_read(tmp_path: Path) -> None:
    call = {"toolCallType": "function", "toolCallId": "c", "toolName": "look", "args": '{"at": 1}'}
    attributes = counts(100, 20) | {
        "ai.response.reasoning": "Hm.",
        "ai.response.text": "",
        "ai.response.toolCalls": json.dumps([call]),
    }
    found = read(PARSER, tmp_path, sdk_span(1, "ai.generateText.doGenerate", attributes))
    path = found.tree.path(found.calls[0].completion or 0)
    assert [(each.kind, each.content) for each in path[1:]] == [
        (Kind.THINKING, "Hm."),
        (Kind.TOOL_CALL, 'look\n{"at": 1}'),
    ]


@pytest.mark.parametrize("prompt", ["[1] What is this?", '{"a": 1}', "Where?"])
def test_a_prompt_that_looks_like_json_is_still_a_text(tmp_path: Path, prompt: str) -> None:
    attributes = counts(10, 2) | {"ai.prompt": json.dumps({"system": "S", "prompt": prompt})}
    found = read(PARSER, tmp_path, sdk_span(1, "ai.generateText", attributes))
    assert found.texts(found.calls[0].prompt) == ["S", prompt]
    assert found.issues == []


# ---- Whose a file is ------------------------------------------------------------------------------


def test_files_are_claimed_by_their_attributes() -> None:
    assert "OpenInference" in (claim(PARSER, flat_span(1, LLM)) or "")
    assert "OpenInference" in (claim(PARSER, flat_span(1, OBJECTS)) or "")
    assert "AI SDK" in (claim(PARSER, sdk_span(1, "ai.generateText", {})) or "")
    assert claim(PARSER, {"data": [flat_span(1, LLM)], "next_cursor": None})
    assert claim(PARSER, flat_span(1, {"llm.model_name": "x" * 2 * HEAD_BYTES}))
    assert claim(PARSER, flat_span(1, {"gen_ai.system": "openai"})) is None
    assert claim(PARSER, request(span(1, {"http.method": "GET"}))) is None
    assert claim(PARSER, {"name": "x", "attributes": {"llm.model_name": "y"}}) is None


def test_the_summary_of_a_capture_is_recognised_and_holds_no_call(
    tmp_path: Path, sample_logs: Path
) -> None:
    path = sample_logs / "openinference" / "capture-results.json"
    assert "names of attributes" in (PARSER.identify(read_head(path)) or "")
    found = read_path(PARSER, path)
    assert (found.calls, found.issues) == ([], [])
    whole = json.loads(path.read_text())
    for given in (
        {"attributeSummary": {"ai": ["ai.model.id"]}},
        {**whole, "attributeSummary": {"ai": "ai.model.id"}},
        {**whole, "attributeSummary": {"db": ["db.system"]}},
        {**whole, "attributeSummary": None},
    ):
        assert claim(PARSER, given) is None


def test_a_span_that_cannot_be_read_is_one_issue_and_the_others_are_kept(tmp_path: Path) -> None:
    bad = flat_span(2, LLM | {"llm.token_count.prompt": -1}, at=(5, 6))
    worse = flat_span(3, LLM) | {"attributes": "none"}
    spans = [flat_span(1, LLM), bad, worse, flat_span(4, LLM, at=(9, 10))]
    lines = read(PARSER, tmp_path, *spans)
    listed = read(PARSER, tmp_path, data=json.dumps(spans, indent=1).encode())
    for found in (lines, listed):
        assert [call.identity for call in found.calls] == [(TRACE, hex_of(1)), (TRACE, hex_of(4))]
        assert [issue.line for issue in found.issues] == [2, 3]


def test_a_list_that_was_cut_off_keeps_its_beginning(tmp_path: Path) -> None:
    spans = [flat_span(n, LLM, at=(3 * n, 3 * n + 1)) for n in (1, 2, 3)]
    found = read(PARSER, tmp_path, data=json.dumps(spans, indent=1).encode()[:-40])
    assert len(found.calls) == 2
    assert [issue.line for issue in found.issues] == [3]


# ---- Samples and real files -----------------------------------------------------------------------


def test_the_sample_of_phoenix_counts_each_call_once(sample_logs: Path) -> None:
    found = read_path(PARSER, sample_logs / "openinference" / "phoenix.jsonl")
    usages = [call.usage for call in found.calls]
    assert [usage and usage.cache_read_tokens for usage in usages] == [0, 1024, 1024, 1024]
    assert [usage and usage.input_tokens for usage in usages] == [1158, 1186, 1221, 1248]
    assert (found.n_merged, {call.trace for call in found.calls}) == (4, {"visit-17"})
    assert all(call.logged_cost_usd for call in found.calls)
    for before, after in zip(found.calls, found.calls[1:], strict=False):
        answered = found.texts(before.completion)
        assert found.texts(after.prompt)[: len(answered)] == answered


def test_the_sample_of_the_ai_sdk_counts_steps(sample_logs: Path) -> None:
    found = read_path(PARSER, sample_logs / "openinference" / "ai-sdk.jsonl")
    assert [call.usage and call.usage.input_tokens for call in found.calls] == [310, 355]
    assert (found.n_merged, found.calls[0].provider) == (1, "google")
    first, second = found.calls
    answered = found.texts(first.completion)
    assert found.texts(second.prompt)[: len(answered)] == answered


REAL_CALLS = {
    "ai-embed-doEmbed.json": 0,
    "ai-embed.json": 0,
    "ai-generateObject-doGenerate.json": 1,
    "ai-generateObject.json": 1,
    "ai-generateText-doGenerate.json": 2,
    "ai-generateText.json": 2,
    "ai-streamText-doStream.json": 1,
    "ai-streamText.json": 1,
    "all-spans.json": 4,
    "capture-results.json": 0,
    "spans-by-operation.json": 4,
}


@pytest.mark.real
def test_the_real_spans_have_the_known_counts(real_logs: Path) -> None:
    facts = json.loads((real_logs / "FACTS.json").read_text())["openinference"]
    for name, fact in facts.items():
        path = real_logs / name
        assert PARSER.identify(read_head(path))
        found = read_path(PARSER, path)
        assert (found.issues, len(found.calls)) == ([], REAL_CALLS[path.name])
        if "token_attrs" not in fact:
            continue
        usages = [call.usage for call in found.calls if call.usage]
        stated = Counter(fact["token_attrs"])
        n_spans = sum(n for kind, n in fact["kinds"].items() if "embed" not in kind)
        assert found.n_merged == n_spans - len(found.calls)
        # A call is told by both spans of all-spans.json, so its counts are stated twice there.
        times = 2 if path.name == "all-spans.json" else 1
        given = stated["ai.usage.promptTokens"] + stated["ai.usage.inputTokens"]
        made = stated["ai.usage.completionTokens"] + stated["ai.usage.outputTokens"]
        assert sum(usage.input_tokens or 0 for usage in usages) * times == given
        assert sum(usage.output_tokens or 0 for usage in usages) * times == made
        if stated["gen_ai.usage.input_tokens"]:
            assert (
                sum(usage.input_tokens or 0 for usage in usages)
                == stated["gen_ai.usage.input_tokens"]
            )


@pytest.mark.real
def test_the_real_files_hold_the_same_four_calls(real_logs: Path) -> None:
    folder = real_logs / "openinference" / "vercel-v6-spans"
    found = [parse_file(PARSER, path) for path in sorted(folder.glob("*.json"))]
    assert len({call.identity for each in found for call in each.calls}) == 4
    whole = parse_file(PARSER, folder / "all-spans.json")
    assert [call.model for call in whole.calls] == ["gpt-4o-mini-2024-07-18"] * 4
    turns = whole.tree.path(whole.calls[1].completion or 0)
    assert [segment.role for segment in turns] == [
        "system",
        "user",
        "assistant",
        "user",
        "assistant",
    ]


@pytest.mark.real
def test_only_real_spans_of_this_kind_are_claimed(real_logs: Path) -> None:
    claimed = {
        path.relative_to(real_logs).parts[0]
        for path in real_logs.rglob("*")
        if path.is_file() and PARSER.identify(read_head(path))
    }
    assert claimed == {"openinference"}

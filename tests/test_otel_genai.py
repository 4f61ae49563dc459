"""The parser for OpenTelemetry GenAI spans and events."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from recording_tree import RecordingTree, parse_file
from span_builders import (
    START,
    TRACE,
    claim,
    flat_span,
    hex_of,
    log_record,
    pairs,
    read,
    read_path,
    request,
    span,
)

from forkpoint.parsers.logs import HEAD_BYTES, Head, Log, read_head
from forkpoint.parsers.openai import OpenAI
from forkpoint.parsers.openinference import OpenInference
from forkpoint.parsers.otel_genai import OtelGenAI
from forkpoint.parsers.records import Kind, Usage
from forkpoint.parsers.registry import parsers

PARSER = OtelGenAI()

CHAT: dict[str, Any] = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "openai",
    "gen_ai.request.model": "gpt-4o",
    "gen_ai.response.model": "gpt-4o-2024-08-06",
    "gen_ai.usage.input_tokens": 100,
    "gen_ai.usage.output_tokens": 20,
}
TOOL = {"type": "function", "name": "look", "parameters": {"type": "object"}}
TALK: list[dict[str, Any]] = [
    {"role": "user", "parts": [{"type": "text", "content": "Where?"}]},
    {
        "role": "assistant",
        "parts": [
            {"type": "reasoning", "content": "Let me look."},
            {
                "type": "tool_call",
                "id": "call_1",
                "name": "look",
                "arguments": {"at": 1, "x": None},
            },
        ],
    },
    {
        "role": "tool",
        "parts": [{"type": "tool_call_response", "id": "call_1", "response": "Here."}],
    },
]
ANSWER = {
    "role": "assistant",
    "parts": [{"type": "text", "content": "There."}],
    "finish_reason": "stop",
}


def chat(**changes: Any) -> dict[str, Any]:
    """Attributes of a chat span; ``None`` takes one away. Underscores of names are dots."""
    merged = CHAT | changes
    return {name: value for name, value in merged.items() if value is not None}


def usage_of(folder: Path, attributes: dict[str, Any], scope: str = "sdk") -> Usage | None:
    found = read(PARSER, folder, request(span(1, attributes), scope=scope))
    assert found.issues == []
    (call,) = found.calls
    return call.usage


# ---- One span -------------------------------------------------------------------------------------


def test_a_chat_span_is_a_call_with_its_counts_times_and_names(tmp_path: Path) -> None:
    attributes = chat(**{
        "gen_ai.usage.cache_read.input_tokens": 60,
        "gen_ai.usage.cache_creation.input_tokens": 10,
        "gen_ai.usage.reasoning.output_tokens": 5,
        "gen_ai.response.id": "chatcmpl-Abc123",
        "gen_ai.conversation.id": "conv_1",
        "gen_ai.response.finish_reasons": ["stop"],
        "openai.response.service_tier": "flex",
    })  # fmt: skip
    resource = {"service.name": "desk", "service.version": "2", "service.namespace": "travel"}
    found = read(PARSER, tmp_path, request(span(1, attributes, at=(1, 3.5)), resource=resource))
    (call,), (trace,) = found.calls, found.traces
    assert call.usage == Usage(
        input_tokens=100,
        cache_read_tokens=60,
        cache_write_tokens=10,
        output_tokens=20,
        reasoning_tokens=5,
    )
    assert call.started_at == datetime.fromtimestamp(START / 1e9 + 1, UTC)
    assert (call.duration_s, call.provider, call.model) == (2.5, "openai", "gpt-4o-2024-08-06")
    assert (call.identity, call.service_tier) == (("", "chatcmpl-Abc123"), "flex")
    assert (trace.id, trace.agent, trace.project) == ("conv_1", "desk 2", "travel")
    assert (call.line, call.offset, found.issues) == (1, 0, [])


def test_messages_become_segments_without_their_ids(tmp_path: Path) -> None:
    attributes = chat(**{
        "gen_ai.tool.definitions": json.dumps([TOOL]),
        "gen_ai.system_instructions": json.dumps([{"type": "text", "content": "Be brief."}]),
        "gen_ai.input.messages": json.dumps(TALK),
        "gen_ai.output.messages": json.dumps([ANSWER]),
    })  # fmt: skip
    found = read(PARSER, tmp_path, request(span(1, attributes)))
    (call,) = found.calls
    path = found.tree.path(call.completion or 0)
    assert [(segment.kind, segment.role, segment.content) for segment in path] == [
        (Kind.TOOLS, "", json.dumps(TOOL, separators=(",", ":"))),
        (Kind.SYSTEM, "system", "Be brief."),
        (Kind.TEXT, "user", "Where?"),
        (Kind.THINKING, "assistant", "Let me look."),
        (Kind.TOOL_CALL, "assistant", 'look\n{"at":1}'),
        (Kind.TOOL_RESULT, "tool", "Here."),
        (Kind.TEXT, "assistant", "There."),
    ]
    assert found.tree.path(call.prompt) == path[:-1]


def test_structured_values_and_json_texts_say_the_same(tmp_path: Path) -> None:
    structured = chat(**{
        "gen_ai.tool.definitions": [TOOL],
        "gen_ai.system_instructions": [{"type": "text", "content": "Be brief."}],
        "gen_ai.input.messages": TALK[:1],
        "gen_ai.output.messages": [ANSWER],
    })  # fmt: skip
    texts = {
        name: json.dumps(value) if isinstance(value, list) else value
        for name, value in structured.items()
    }
    found = read(PARSER, tmp_path, request(span(1, structured)), request(span(2, texts)))
    one, other = found.calls
    assert (one.prompt, one.completion) == (other.prompt, other.completion)
    assert len(found.texts(one.completion)) == 4


def test_the_same_conversation_in_an_api_log_grows_the_same_tree(tmp_path: Path) -> None:
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Where?"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {"id": "c1", "type": "function",
                 "function": {"name": "look", "arguments": '{"at":1}'}},
            ],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "Here."},
    ]  # fmt: skip
    answer = {"role": "assistant", "content": "There."}
    body = {"id": "chatcmpl-Abc123", "choices": [{"message": answer}], "model": "gpt-4o"}
    log = tmp_path / "api.jsonl"
    log.write_text(json.dumps({"request": {"messages": messages}, "response": body}) + "\n")
    tree = RecordingTree()
    (api,) = [r for r in OpenAI().parse(Log(log), tree) if hasattr(r, "usage")]
    parts = [{"type": "text", "content": "Be brief."}]
    said = [{"role": "system", "parts": parts}, TALK[0], json.loads(json.dumps(TALK[1])), TALK[2]]
    del said[2]["parts"][0]
    attributes = chat(**{
        "gen_ai.input.messages": json.dumps(said), "gen_ai.output.messages": json.dumps([ANSWER]),
        "gen_ai.response.id": "chatcmpl-Abc123",
    })  # fmt: skip
    path = tmp_path / "spans.jsonl"
    path.write_text(json.dumps(request(span(1, attributes))))
    (spanned,) = [r for r in PARSER.parse(Log(path), tree) if hasattr(r, "usage")]
    assert spanned.prompt == api.prompt
    assert spanned.completion == api.completion
    assert spanned.identity == api.identity


def test_a_span_without_content_has_a_prompt_of_its_own(tmp_path: Path) -> None:
    found = read(PARSER, tmp_path, request(span(1, CHAT), span(2, CHAT, at=(5, 6))))
    one, other = found.calls
    assert one.prompt != other.prompt
    (segment,) = found.tree.path(one.prompt)
    assert (segment.kind, one.completion) == (Kind.UNLOGGED, None)


def test_messages_that_an_exporter_cut_off_are_an_issue_and_the_counts_stand(
    tmp_path: Path,
) -> None:
    cut = chat(**{"gen_ai.input.messages": json.dumps(TALK)[:90] + "...[truncated]"})
    found = read(PARSER, tmp_path, request(span(1, CHAT, at=(5, 6)), span(2, cut)))
    assert [call.usage and call.usage.input_tokens for call in found.calls] == [100, 100]
    assert [issue.line for issue in found.issues] == [1]
    assert found.tree.path(found.calls[1].prompt)[0].kind is Kind.UNLOGGED


def test_several_choices_are_rollouts_of_one_prompt(tmp_path: Path) -> None:
    other = {"role": "assistant", "parts": [{"type": "text", "content": "Nowhere."}]}
    attributes = chat(**{
        "gen_ai.input.messages": TALK[:1], "gen_ai.output.messages": [ANSWER, other],
    })  # fmt: skip
    found = read(PARSER, tmp_path, request(span(1, attributes)))
    (call,), (whole, *rollouts) = found.calls, found.traces
    assert len({rollout.group for rollout in rollouts}) == 1
    assert [found.texts(rollout.leaf)[-1] for rollout in rollouts] == ["There.", "Nowhere."]
    assert [(rollout.parent, rollout.prompt) for rollout in rollouts] == [
        (whole.id, call.prompt)
    ] * 2


def test_parts_of_all_kinds_are_told_apart(tmp_path: Path) -> None:
    parts = [
        {"type": "uri", "modality": "image", "uri": "gs://bucket/a.png"},
        {"type": "server_tool_call", "id": "s1", "name": "search", "server_tool_call": {"q": 1}},
        {"type": "server_tool_call_response", "id": "s1", "server_tool_call_response": {"n": 0}},
        {"type": "compaction", "content": "So far."},
        {"type": "tool_call_response", "id": "c", "result": {"deg": 57}},
        {"type": "new_kind", "x": 1},
    ]
    attributes = chat(**{"gen_ai.input.messages": [{"role": "user", "parts": parts}]})
    found = read(PARSER, tmp_path, request(span(1, attributes)))
    path = found.tree.path(found.calls[0].prompt)
    assert [segment.kind for segment in path] == [
        Kind.MEDIA, Kind.TOOL_CALL, Kind.TOOL_RESULT, Kind.TEXT, Kind.TOOL_RESULT, Kind.TEXT,
    ]  # fmt: skip
    assert path[4].content == '{"deg":57}'
    assert all('"s1"' not in segment.content for segment in path)


# ---- Older names ----------------------------------------------------------------------------------

NUMBERED = {
    "gen_ai.prompt.0.role": "user",
    "gen_ai.prompt.0.content": "Where?",
    "gen_ai.prompt.1.role": "assistant",
    "gen_ai.prompt.1.tool_calls.0.id": "call_9",
    "gen_ai.prompt.1.tool_calls.0.name": "look",
    "gen_ai.prompt.1.tool_calls.0.arguments": '{"at":1}',
    "gen_ai.prompt.2.role": "tool",
    "gen_ai.prompt.2.content": "Here.",
    "gen_ai.prompt.2.tool_call_id": "call_9",
    "gen_ai.completion.0.role": "assistant",
    "gen_ai.completion.0.content": "There.",
    "gen_ai.completion.0.finish_reason": "stop",
    "gen_ai.system": "OpenAI",
    "llm.request.type": "chat",
    "gen_ai.request.model": "gpt-4o",
    "gen_ai.usage.prompt_tokens": 100,
    "gen_ai.usage.completion_tokens": 20,
}


def test_numbered_messages_make_the_path_that_lists_make(tmp_path: Path) -> None:
    talk = json.loads(json.dumps(TALK))
    del talk[1]["parts"][0]
    lists = chat(**{"gen_ai.input.messages": talk, "gen_ai.output.messages": [ANSWER]})
    found = read(PARSER, tmp_path, request(span(1, NUMBERED), span(2, lists, at=(5, 6))))
    old, new = found.calls
    assert (old.prompt, old.completion) == (new.prompt, new.completion)
    assert old.usage == new.usage
    assert (old.provider, old.model) == ("openai", "gpt-4o")


def test_tenth_messages_come_after_ninth_ones(tmp_path: Path) -> None:
    numbered = {f"gen_ai.prompt.{n}.role": "user" for n in (10, 2, 0)}
    numbered |= {f"gen_ai.prompt.{n}.content": str(n) for n in (10, 2, 0)}
    found = read(PARSER, tmp_path, request(span(1, chat(**numbered))))
    assert found.texts(found.calls[0].prompt) == ["0", "2", "10"]


def test_thinking_that_stands_as_a_choice_belongs_to_the_answer_after_it(tmp_path: Path) -> None:
    attributes = NUMBERED | {
        "gen_ai.completion.0.role": "thinking",
        "gen_ai.completion.0.content": "Hm.",
        "gen_ai.completion.1.role": "assistant",
        "gen_ai.completion.1.content": "There.",
    }
    found = read(PARSER, tmp_path, request(span(1, attributes)))
    path = found.tree.path(found.calls[0].completion or 0)
    assert [(s.kind, s.content) for s in path[-2:]] == [
        (Kind.THINKING, "Hm."), (Kind.TEXT, "There."),
    ]  # fmt: skip
    assert len(found.traces) == 1


def test_functions_and_contents_of_parts_under_older_names_are_read(tmp_path: Path) -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {"url": "u"}}]
    attributes = NUMBERED | {
        "llm.request.functions.0.name": "look",
        "llm.request.functions.0.parameters": "{}",
        "gen_ai.prompt.0.content": json.dumps(parts),
    }
    found = read(PARSER, tmp_path, request(span(1, attributes)))
    path = found.tree.path(found.calls[0].prompt)
    assert [segment.kind for segment in path[:3]] == [Kind.TOOLS, Kind.TEXT, Kind.MEDIA]


@pytest.mark.parametrize(
    "text", ['{"name": "x"}', "[1, 2]", "[not json", '[{"n": 1}]', "{}", '"quoted"', "[{"]
)
def test_texts_that_look_like_json_are_still_what_was_said(tmp_path: Path, text: str) -> None:
    whole = chat(**{"gen_ai.prompt": text, "gen_ai.completion": text})
    numbered = NUMBERED | {"gen_ai.prompt.0.content": text, "gen_ai.completion.0.content": text}
    found = read(PARSER, tmp_path, request(span(1, whole), span(2, numbered, at=(5, 6))))
    assert found.issues == []
    for call in found.calls:
        assert found.texts(call.prompt)[0] == text
        assert found.texts(call.completion)[-1] == text


def test_a_whole_prompt_may_be_a_list_of_messages(tmp_path: Path) -> None:
    said = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Where?"}]
    choice = [{"index": 0, "message": {"role": "assistant", "content": "There."}}]
    attributes = chat(**{
        "gen_ai.prompt": json.dumps({"messages": said}), "gen_ai.completion": json.dumps(choice),
    })  # fmt: skip
    found = read(PARSER, tmp_path, request(span(1, attributes)))
    assert found.texts(found.calls[0].completion) == ["Be brief.", "Where?", "There."]


# ---- Which counts include the cache ---------------------------------------------------------------

CLAUDE = {"gen_ai.provider.name": "anthropic", "gen_ai.request.model": "claude-sonnet-4-5",
          "gen_ai.response.model": None}  # fmt: skip


def test_current_names_include_the_cache(tmp_path: Path) -> None:
    attributes = chat(**CLAUDE, **{
        "gen_ai.usage.cache_read.input_tokens": 60, "gen_ai.usage.cache_write.input_tokens": 30,
    })  # fmt: skip
    found = usage_of(tmp_path, attributes)
    assert found is not None
    assert (found.input_tokens, found.cache_read_tokens, found.cache_write_tokens) == (100, 60, 30)


def old_claude(prompt: int = 100, read_: int = 60, write: int = 10) -> dict[str, Any]:
    return {
        "gen_ai.system": "Anthropic",
        "gen_ai.request.model": "claude-3-5-sonnet-20241022",
        "gen_ai.usage.prompt_tokens": prompt,
        "gen_ai.usage.completion_tokens": 20,
        "gen_ai.usage.cache_read_input_tokens": read_,
        "gen_ai.usage.cache_creation_input_tokens": write,
    }


def test_older_names_for_claude_leave_the_cache_out(tmp_path: Path) -> None:
    found = usage_of(tmp_path, old_claude())
    assert found == Usage(
        input_tokens=170, cache_read_tokens=60, cache_write_tokens=10, output_tokens=20
    )


def test_openllmetry_adds_the_cache_up_under_older_names(tmp_path: Path) -> None:
    found = usage_of(tmp_path, old_claude(), scope="opentelemetry.instrumentation.anthropic")
    assert found is not None
    assert found.input_tokens == 100


def test_older_names_for_openai_include_the_cache(tmp_path: Path) -> None:
    attributes = old_claude() | {"gen_ai.system": "OpenAI", "gen_ai.request.model": "gpt-4o"}
    found = usage_of(tmp_path, attributes)
    assert found is not None
    assert found.input_tokens == 100


def test_a_cached_part_above_the_prompt_stands_beside_it(tmp_path: Path) -> None:
    attributes = chat(**{"gen_ai.usage.cache_read.input_tokens": 900})
    found = usage_of(tmp_path, attributes)
    assert found is not None
    assert found.input_tokens == 1000


def test_a_total_shows_whether_the_cached_part_stands_beside_the_prompt(tmp_path: Path) -> None:
    bedrock = {"gen_ai.provider.name": "aws.bedrock", "gen_ai.usage.cache_read.input_tokens": 30}
    beside = chat(**bedrock, **{"gen_ai.usage.total_tokens": 150})
    within = chat(**bedrock, **{"gen_ai.usage.total_tokens": 120})
    inputs = [usage_of(tmp_path, each) for each in (beside, within)]
    assert [each.input_tokens for each in inputs if each] == [130, 100]


def test_one_call_shows_how_its_instrumentation_counts(tmp_path: Path) -> None:
    first = chat(**CLAUDE, **{"gen_ai.usage.cache_creation.input_tokens": 40})
    second = chat(**CLAUDE, **{"gen_ai.usage.cache_read.input_tokens": 140})
    other = request(span(3, first, at=(9, 10)), scope="another")
    found = read(PARSER, tmp_path, request(span(1, first), span(2, second, at=(5, 6))), other)
    assert [call.usage and call.usage.input_tokens for call in found.calls] == [140, 240, 100]


def test_reasoning_that_cannot_be_a_part_of_the_output_stands_beside_it(tmp_path: Path) -> None:
    found = usage_of(tmp_path, chat(**{"gen_ai.usage.reasoning_tokens": 300}))
    assert found is not None
    assert (found.output_tokens, found.reasoning_tokens) == (320, 300)


def test_zeros_mean_that_nothing_was_counted(tmp_path: Path) -> None:
    zeros = chat(**{"gen_ai.usage.input_tokens": 0, "gen_ai.usage.output_tokens": 0})
    assert usage_of(tmp_path, zeros) is None
    assert usage_of(tmp_path, chat(**{"gen_ai.usage.input_tokens": None})) == Usage(
        output_tokens=20
    )


@pytest.mark.parametrize(
    ("word", "provider"),
    [
        ("aws.bedrock", "aws"), ("gcp.vertex_ai", "google"), ("gcp.gen_ai", "google"),
        ("azure.ai.openai", "azure"), ("az.ai.openai", "azure"), ("mistral_ai", "mistral"),
        ("x_ai", "x-ai"), ("deepseek", "deepseek"), ("my-proxy", None), ("OpenAI", "openai"),
    ],
)  # fmt: skip
def test_providers_are_known_by_the_conventions_words(
    tmp_path: Path, word: str, provider: str | None
) -> None:
    found = read(PARSER, tmp_path, request(span(1, chat(**{"gen_ai.provider.name": word}))))
    assert found.calls[0].provider == provider


# ---- What is a call -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "attributes",
    [
        {"gen_ai.operation.name": "embeddings", "gen_ai.usage.input_tokens": 9},
        {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "look"},
        {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "a"},
        {"llm.request.type": "rerank", "gen_ai.usage.prompt_tokens": 9},
        {"http.request.method": "POST"},
        {"traceloop.span.kind": "workflow"},
        {},
    ],
)
def test_other_spans_are_neither_calls_nor_issues(
    tmp_path: Path, attributes: dict[str, Any]
) -> None:
    found = read(PARSER, tmp_path, request(span(1, attributes)))
    assert (found.calls, found.traces, found.issues) == ([], [], [])


def test_a_span_that_counts_is_a_call_whatever_its_operation_is_called(tmp_path: Path) -> None:
    unnamed = chat(**{"gen_ai.operation.name": None})
    own = chat(**{"gen_ai.operation.name": "my_generation"})
    found = read(PARSER, tmp_path, request(span(1, unnamed), span(2, own, at=(5, 6))))
    assert len(found.calls) == 2


def test_a_call_that_failed_was_not_paid_for_unless_it_counts(tmp_path: Path) -> None:
    nothing = {"gen_ai.usage.input_tokens": None, "gen_ai.usage.output_tokens": None}
    spans = [
        span(1, chat(**nothing), status={"code": 2}),
        span(2, chat(**nothing, **{"error.type": "timeout"})),
        span(3, CHAT, status={"code": 2}, at=(5, 6)),
        span(4, chat(**nothing), at=(9, 10)),
    ]
    found = read(PARSER, tmp_path, request(*spans))
    assert [call.identity for call in found.calls] == [(TRACE, hex_of(3)), (TRACE, hex_of(4))]
    assert [call.usage is None for call in found.calls] == [False, True]


def test_a_small_random_response_id_identifies_nothing(tmp_path: Path) -> None:
    attributes = chat(**{"gen_ai.response.id": "chatcmpl-412"})
    found = read(PARSER, tmp_path, request(span(1, attributes), span(2, attributes, at=(5, 6))))
    assert len({call.identity for call in found.calls}) == 2


# ---- Layers ---------------------------------------------------------------------------------------

AGENT = {
    "gen_ai.operation.name": "invoke_agent",
    "gen_ai.conversation.id": "conv_7",
    "gen_ai.usage.input_tokens": 210,
    "gen_ai.usage.output_tokens": 45,
}


def test_an_agents_span_sums_up_its_calls_and_is_none_itself(tmp_path: Path) -> None:
    second = chat(**{"gen_ai.usage.input_tokens": 110, "gen_ai.usage.output_tokens": 25})
    spans = [
        span(2, CHAT, parent=1),
        span(3, second, parent=4, at=(2, 3)),
        span(4, {}, parent=1, name="step", at=(2, 3)),
        span(1, AGENT, at=(0, 4)),
    ]
    found = read(PARSER, tmp_path, *(request(each) for each in spans))
    assert [call.usage and call.usage.input_tokens for call in found.calls] == [100, 110]
    assert {call.trace for call in found.calls} == {"conv_7"}
    assert found.n_merged == 1


def test_an_agents_span_without_calls_in_the_file_counts(tmp_path: Path) -> None:
    found = read(PARSER, tmp_path, request(span(1, AGENT)))
    assert [call.usage and call.usage.input_tokens for call in found.calls] == [210]
    assert found.n_merged == 0


def test_a_call_told_by_a_framework_an_sdk_and_a_gateway_counts_once(tmp_path: Path) -> None:
    talk = {"gen_ai.input.messages": TALK[:1], "gen_ai.output.messages": [ANSWER]}
    spans = [
        span(3, chat(**{"gen_ai.response.id": "chatcmpl-Abc"}), parent=2, at=(0.2, 0.8)),
        span(2, chat(**talk), parent=9, at=(0.1, 0.9)),
        span(9, {"http.request.method": "POST"}, parent=1, at=(0.05, 0.95)),
        span(1, chat(**{"gen_ai.conversation.id": "c"}), at=(0, 1)),
    ]
    found = read(PARSER, tmp_path, *(request(each) for each in spans))
    (call,) = found.calls
    assert (call.identity, call.trace, call.line) == (("", "chatcmpl-Abc"), "c", 1)
    assert found.texts(call.completion) == ["Where?", "There."]
    assert (call.duration_s, found.n_merged) == (0.6, 2)


def test_a_span_around_a_call_with_other_counts_is_another_call(tmp_path: Path) -> None:
    other = chat(**{"gen_ai.usage.input_tokens": 101})
    found = read(PARSER, tmp_path, request(span(2, CHAT, parent=1), span(1, other, at=(0, 2))))
    assert (len(found.calls), found.n_merged) == (2, 0)


def test_a_span_without_counts_around_one_call_is_that_call(tmp_path: Path) -> None:
    bare = {"gen_ai.operation.name": "chat", "gen_ai.conversation.id": "c"}
    found = read(PARSER, tmp_path, request(span(2, CHAT, parent=1), span(1, bare, at=(0, 2))))
    assert [(call.identity, call.trace) for call in found.calls] == [((TRACE, hex_of(2)), "c")]


def test_a_call_whose_time_is_not_within_the_other_is_another_call(tmp_path: Path) -> None:
    late = span(2, CHAT, parent=1, at=(3, 4))
    found = read(PARSER, tmp_path, request(late, span(1, CHAT, at=(0, 1))))
    assert len(found.calls) == 2


def test_siblings_of_two_instrumentations_with_equal_counts_are_one_call(tmp_path: Path) -> None:
    framework = request(span(1, CHAT, parent=9, at=(0, 2)), scope="langchain")
    sdk = request(span(2, CHAT, parent=9, at=(0.5, 1.5)), scope="openai")
    found = read(PARSER, tmp_path, sdk, framework)
    assert [call.identity for call in found.calls] == [(TRACE, hex_of(2))]
    assert found.n_merged == 1


def test_parallel_calls_of_one_instrumentation_with_equal_counts_are_two(tmp_path: Path) -> None:
    spans = [span(1, CHAT, parent=9, at=(0, 2)), span(2, CHAT, parent=9, at=(0.5, 1.5))]
    found = read(PARSER, tmp_path, request(*spans))
    assert (len(found.calls), found.n_merged) == (2, 0)


def test_calls_of_different_traces_with_equal_counts_are_two(tmp_path: Path) -> None:
    other = request(span(2, CHAT, trace="ab" * 16, at=(0.1, 0.9)), scope="another")
    found = read(PARSER, tmp_path, request(span(1, CHAT)), other)
    assert len(found.calls) == 2


def test_a_span_exported_twice_counts_once(tmp_path: Path) -> None:
    once = request(span(1, CHAT))
    found = read(PARSER, tmp_path, once, once)
    assert (len(found.calls), found.n_merged) == (1, 1)


def test_parents_that_point_in_a_circle_end_somewhere(tmp_path: Path) -> None:
    spans = [span(1, {}, parent=2), span(2, {}, parent=1), span(3, CHAT, parent=1)]
    found = read(PARSER, tmp_path, request(*spans, span(4, CHAT, parent=4, at=(5, 6))))
    assert (len(found.calls), found.issues) == (2, [])
    agents = [span(5, AGENT, parent=6), span(6, AGENT, parent=5)]
    assert len(read(PARSER, tmp_path, request(*agents)).calls) == 1


def test_a_conversation_is_that_of_the_span_around_or_the_only_one_in_the_trace(
    tmp_path: Path,
) -> None:
    spans = [
        span(1, {"session.id": "outer"}),
        span(2, {"gen_ai.operation.name": "invoke_agent", "session.id": "inner"}, parent=1),
        span(3, CHAT, parent=2),
        span(4, CHAT, parent=1, at=(5, 6)),
        span(5, CHAT, at=(9, 10)),
        span(6, CHAT, trace="ab" * 16),
        span(7, {"gen_ai.conversation.id": "only"}, trace="ab" * 16),
        span(8, CHAT, trace="cd" * 16),
    ]
    found = read(PARSER, tmp_path, request(*spans))
    assert [call.trace for call in found.calls] == ["inner", "outer", TRACE, "only", "cd" * 16]


def test_an_agent_that_runs_inside_a_tool_is_a_subagent(tmp_path: Path) -> None:
    agent = {"gen_ai.operation.name": "invoke_agent", "gen_ai.conversation.id": "c"}
    tool = {"gen_ai.operation.name": "execute_tool"}
    spans = [
        span(1, agent, at=(0, 9)),
        span(2, CHAT, parent=1),
        span(3, tool, parent=1, at=(2, 8)),
        span(4, agent, parent=3, at=(2, 8)),
        span(5, CHAT, parent=4, at=(3, 4)),
    ]
    found = read(PARSER, tmp_path, request(*spans))
    main, sub = found.calls
    assert (main.trace, main.sidechain) == ("c", False)
    assert (sub.trace, sub.sidechain) == (f"c/{hex_of(4)}", True)
    assert {trace.id: trace.parent for trace in found.traces} == {"c": None, sub.trace: "c"}


# ---- Events ---------------------------------------------------------------------------------------


def test_an_event_with_all_details_completes_its_span(tmp_path: Path) -> None:
    details = chat(**{
        "event.name": "gen_ai.client.inference.operation.details",
        "gen_ai.input.messages": TALK[:1], "gen_ai.output.messages": [ANSWER],
        "gen_ai.usage.input_tokens": None,
    })  # fmt: skip
    event = log_record(details, traceId=TRACE, spanId=hex_of(1))
    found = read(PARSER, tmp_path, request(event, logs=True), request(span(1, CHAT)))
    (call,) = found.calls
    assert found.texts(call.completion) == ["Where?", "There."]
    assert call.usage == Usage(input_tokens=100, output_tokens=20)
    assert (call.identity, call.duration_s) == ((TRACE, hex_of(1)), 1.0)
    assert found.n_merged == 0


def test_an_event_without_its_span_is_a_call(tmp_path: Path) -> None:
    details = chat(**{"gen_ai.response.id": "chatcmpl-Xyz"})
    event = log_record(details, eventName="gen_ai.client.inference.operation.details")
    found = read(PARSER, tmp_path, request(event, logs=True))
    assert [call.identity for call in found.calls] == [("", "chatcmpl-Xyz")]


def message_events() -> list[tuple[str, dict[str, Any]]]:
    function = {"name": "look", "arguments": '{"at":1}'}
    calls = [{"id": "c1", "type": "function", "function": function}]
    answer = {"role": "assistant", "content": "There."}
    return [
        ("gen_ai.system.message", {"content": "Be brief."}),
        ("gen_ai.user.message", {"content": "Where?"}),
        ("gen_ai.assistant.message", {"tool_calls": calls}),
        ("gen_ai.tool.message", {"id": "c1", "content": "Here."}),
        ("gen_ai.choice", {"index": 0, "finish_reason": "stop", "message": answer}),
    ]


SAID = ["Be brief.", "Where?", 'look\n{"at":1}', "Here.", "There."]


def test_messages_in_log_records_belong_to_their_span(tmp_path: Path) -> None:
    bodies = [
        log_record({"event.name": name}, body={"kvlistValue": {"values": pairs(body)}},
                   traceId=TRACE, spanId=hex_of(1))
        for name, body in message_events()
    ]  # fmt: skip
    logs = request(*bodies, logs=True)
    found = read(PARSER, tmp_path, logs, request(span(1, CHAT)))
    assert [found.texts(call.completion) for call in found.calls] == [SAID]
    assert found.calls[0].usage == Usage(input_tokens=100, output_tokens=20)
    alone = read(PARSER, tmp_path, logs)
    assert [alone.texts(call.completion) for call in alone.calls] == [SAID]
    assert alone.calls[0].identity == found.calls[0].identity


def test_messages_in_span_events_belong_to_their_span(tmp_path: Path) -> None:
    flattened = [
        {name: json.dumps(value) if isinstance(value, list | dict) else value
         for name, value in body.items()}
        for _, body in message_events()
    ]  # fmt: skip
    events = [
        {"name": name, "attributes": pairs(attributes)}
        for (name, _), attributes in zip(message_events(), flattened, strict=True)
    ]
    events[-1]["attributes"] = pairs({"message": "There.", "finish_reason": "stop"})
    found = read(PARSER, tmp_path, request(span(1, CHAT, events=events)))
    assert found.texts(found.calls[0].completion) == SAID


def test_the_two_content_events_hold_the_whole_prompt_and_answer(tmp_path: Path) -> None:
    said = [{"role": "user", "content": "Where?"}]
    events = [
        {"name": "gen_ai.content.prompt", "attributes": pairs({"gen_ai.prompt": json.dumps(said)})},
        {"name": "gen_ai.content.completion",
         "attributes": pairs({"gen_ai.completion": json.dumps([{"content": "There."}])})},
    ]  # fmt: skip
    found = read(PARSER, tmp_path, request(span(1, CHAT, events=events)))
    assert found.texts(found.calls[0].completion) == ["Where?", "There."]


# ---- Programs -------------------------------------------------------------------------------------

CLAUDE_CODE = {
    "session.id": "s-1",
    "model": "claude-opus-5",
    "gen_ai.system": "anthropic",
    "input_tokens": 2,
    "output_tokens": 1200,
    "cache_read_tokens": 84562,
    "cache_creation_tokens": 7096,
    "request_id": "req_011",
}


def test_claude_codes_spans_and_events_tell_one_call(tmp_path: Path) -> None:
    sub = CLAUDE_CODE | {"request_id": "req_012", "agent_id": "a1"}
    event = CLAUDE_CODE | {"event.name": "api_request", "cost_usd": 0.25, "duration_ms": "1500"}
    body = {"stringValue": "claude_code.api_request"}
    logs = [
        log_record(event, body=body, traceId=TRACE, spanId=hex_of(9)),
        log_record(event | {"request_id": "req_013"}, body=body, eventName="claude_code.api_request",
                   traceId=TRACE, spanId=hex_of(9)),
    ]  # fmt: skip
    spans = [
        span(1, CLAUDE_CODE, parent=9, name="claude_code.llm_request"),
        span(2, sub, parent=9, name="claude_code.llm_request", at=(5, 6)),
        span(9, {"session.id": "s-1"}, name="claude_code.interaction", at=(0, 9)),
    ]
    logs[0]["eventName"] = "claude_code.api_request"
    found = read(PARSER, tmp_path, request(*spans), request(*logs, logs=True))
    by_id = {call.identity: call for call in found.calls}
    assert list(by_id) == [("", "req_011"), ("", "req_012"), ("", "req_013")]
    call = by_id["", "req_011"]
    assert call.usage == Usage(
        input_tokens=91660, cache_read_tokens=84562, cache_write_tokens=7096, output_tokens=1200
    )
    assert (call.provider, call.model, call.logged_cost_usd) == ("anthropic", "claude-opus-5", 0.25)
    assert by_id["", "req_013"].duration_s == 1.5
    assert [call.trace for call in found.calls] == ["s-1", "s-1/a1", "s-1"]


def test_copilots_file_of_spans_logs_and_metrics_is_read(tmp_path: Path) -> None:
    common = {"instrumentationScope": {"name": "copilot-chat", "version": "0.44.0"},
              "resource": {"attributes": {"service.name": "copilot-chat"}}}  # fmt: skip
    chat_span = {
        **common, "type": "span", "traceId": TRACE, "spanId": hex_of(2), "parentSpanId": hex_of(1),
        "name": "chat claude-sonnet-4", "startTime": [1775934260, 0],
        "endTime": [1775934264, 967317833], "status": {"code": 1},
        "attributes": chat(**{"gen_ai.response.id": "msg_1", "gen_ai.conversation.id": "conv-1",
                              "gen_ai.usage.cache_read.input_tokens": 12}),
    }  # fmt: skip
    event = {
        "hrTime": [1775934265, 0],
        "spanContext": {"traceId": TRACE, "spanId": hex_of(2)},
        "_body": "GenAI inference: claude-sonnet-4",
        "attributes": chat(**{"event.name": "gen_ai.client.inference.operation.details",
                              "gen_ai.response.id": "msg_1", "gen_ai.input.messages": "[]"}),
    }  # fmt: skip
    turn = {"hrTime": [1775934265, 0], "_body": "copilot_chat.agent.turn: 0",
            "attributes": {"event.name": "copilot_chat.agent.turn",
                           "gen_ai.usage.input_tokens": 100}}  # fmt: skip
    agent = chat_span | {"spanId": hex_of(1), "parentSpanId": None, "attributes": AGENT}
    metrics = {
        "resource": {},
        "scopeMetrics": [{"metrics": [{"name": "gen_ai.client.token.usage"}]}],
    }
    found = read(PARSER, tmp_path, metrics, event, chat_span, turn, agent)
    (call,) = found.calls
    assert found.issues == []
    assert (call.identity, call.trace, call.line) == (("", "msg_1"), "conv-1", 2)
    assert (call.duration_s, found.traces[0].agent) == (pytest.approx(4.967317833), "copilot-chat")
    assert found.n_merged == 1


# ---- Files ----------------------------------------------------------------------------------------


def python_span(id_: int, attributes: dict[str, Any]) -> dict[str, Any]:
    made = flat_span(f"0x{id_:016x}", attributes, trace=f"0x{TRACE}")
    return made | {"kind": "SpanKind.CLIENT", "status": {"status_code": "UNSET"}}


@pytest.mark.parametrize("form", ["lines", "console", "list", "one-line list", "data", "document"])
def test_span_objects_are_read_in_every_form(tmp_path: Path, form: str) -> None:
    spans = [python_span(n, chat(**{"gen_ai.usage.input_tokens": 100 + n})) for n in (1, 2, 3)]
    data = {
        "lines": "\n".join(map(json.dumps, spans)),
        "console": "".join(json.dumps(each, indent=4) + "\n" for each in spans),
        "list": json.dumps(spans, indent=2),
        "one-line list": json.dumps(spans),
        "data": json.dumps({"data": spans, "next_cursor": None}),
        "document": json.dumps({"spans": spans}, indent=2),
    }[form].encode()
    assert claim(PARSER, data=data)
    found = read(PARSER, tmp_path, data=data)
    assert [call.identity for call in found.calls] == [(TRACE, hex_of(n)) for n in (1, 2, 3)]
    assert found.issues == []


@pytest.mark.parametrize("indent", [None, 2])
def test_otlp_documents_and_lists_of_requests_are_read(tmp_path: Path, indent: int | None) -> None:
    requests = [request(span(1, CHAT)), request(span(2, CHAT, at=(5, 6)))]
    for data in (json.dumps(requests[0], indent=indent), json.dumps(requests, indent=indent)):
        assert claim(PARSER, data=data.encode())
        found = read(PARSER, tmp_path, data=data.encode())
        assert found.issues == []
        assert found.calls[0].identity == (TRACE, hex_of(1))


def test_ids_in_base64_and_the_older_word_for_scopes_are_read(tmp_path: Path) -> None:
    made = request(span("AAAAAAAAAAE=", CHAT, trace="W47/95gDgQPSabYzgT/GDA=="))
    resource = made["resourceSpans"][0]
    resource["instrumentationLibrarySpans"] = resource.pop("scopeSpans")
    found = read(PARSER, tmp_path, made)
    assert [call.identity for call in found.calls] == [(TRACE, hex_of(1))]


def test_what_has_a_wrong_type_is_one_issue_and_the_rest_is_kept(tmp_path: Path) -> None:
    bad_span = span(2, CHAT, at=(5, 6)) | {"traceId": 7}
    bad_time = span(3, CHAT, at=(9, 10)) | {"startTimeUnixNano": "soon"}
    bad_count = span(4, chat(**{"gen_ai.usage.input_tokens": "many"}), at=(12, 13))
    mixed = request(span(1, CHAT), bad_span, bad_time, bad_count)
    mixed["resourceSpans"] += ["text", {"scopeSpans": [7, {"spans": 5}]}, {"resource": 3}]
    found = read(
        PARSER, tmp_path, mixed, request(span(5, CHAT, at=(20, 21))), '{"resourceSpans": 1'
    )
    assert [call.identity for call in found.calls] == [(TRACE, hex_of(1)), (TRACE, hex_of(5))]
    assert [issue.line for issue in found.issues] == [1] * 7 + [3]
    assert all(issue.reason and "\n" not in issue.reason for issue in found.issues)


@pytest.mark.parametrize(
    "record",
    ["7", "null", '"text"', "[7]", "{", '{"attributes": 5}', '{"resourceSpans": "x"}', "[" * 5000,
     '{"name": "x", "attributes": {"gen_ai.usage.input_tokens": 1e999}, "start_time": 1}'],
)  # fmt: skip
def test_a_hostile_record_is_one_issue(tmp_path: Path, record: str) -> None:
    good = json.dumps(request(span(1, CHAT)))
    found = read(PARSER, tmp_path, data=f"{good}\n{record}\n{good}\n".encode())
    assert (len(found.calls), [issue.line for issue in found.issues]) == (1, [2])


def test_objects_that_are_no_spans_are_passed_over(tmp_path: Path) -> None:
    found = read(PARSER, tmp_path, {"resourceMetrics": []}, {"x": 1}, {"data": [{"y": 2}]}, {})
    assert (found.calls, found.issues) == ([], [])


def test_half_a_surrogate_pair_and_nan_cost_nothing(tmp_path: Path) -> None:
    spans = [
        python_span(1, chat(**{"gen_ai.input.messages": json.dumps([{"role": "user", "content": "\ud83d"}])})),
        python_span(2, chat(**{"gen_ai.usage.cache_read.input_tokens": float("nan")})),
    ]  # fmt: skip
    found = read(PARSER, tmp_path, *spans)
    assert (len(found.calls), found.issues) == (2, [])
    assert found.calls[1].usage == Usage(input_tokens=100, output_tokens=20)


# ---- Whose a file is ------------------------------------------------------------------------------


def test_files_are_claimed_by_what_their_first_spans_carry() -> None:
    assert "GenAI" in (claim(PARSER, request(span(1, CHAT))) or "")
    assert "no GenAI" in (claim(PARSER, request(span(1, {"http.method": "GET"}))) or "")
    assert claim(PARSER, {"resourceMetrics": []}, request(span(1, CHAT)))
    assert claim(PARSER, request(log_record({"gen_ai.system": "openai"}), logs=True))
    assert claim(PARSER, flat_span(1, CHAT))
    assert claim(PARSER, flat_span(1, {"gen_ai": {"usage": {"input_tokens": 1}}}))
    assert claim(PARSER, flat_span(1, {"http.method": "GET"})) is None
    assert claim(PARSER, {"resourceMetrics": []}) is None
    assert claim(PARSER, {"messages": [], "model": "x"}) is None
    assert claim(PARSER, data=b"") is None


def test_a_first_record_longer_than_the_head_is_known_all_the_same() -> None:
    long = chat(**{"gen_ai.input.messages": "x" * 2 * HEAD_BYTES})
    assert claim(PARSER, request(span(1, long)))
    assert claim(PARSER, python_span(1, long))
    assert claim(PARSER, data=json.dumps(request(span(1, long)), indent=2).encode())
    assert claim(PARSER, data=json.dumps([python_span(1, long)]).encode())


@pytest.mark.parametrize(
    "attributes",
    [
        CHAT | {"openinference.span.kind": "LLM"},
        CHAT | {"llm.token_count.prompt": 100},
        CHAT | {"ai.operationId": "ai.generateText.doGenerate"},
    ],
)
def test_a_file_with_attributes_of_both_goes_to_one_parser(attributes: dict[str, Any]) -> None:
    for record in (request(span(1, attributes)), flat_span(1, attributes)):
        head = Head(Path("x"), json.dumps(record).encode())
        assert [p.name for p in parsers() if p.identify(head)] == ["openinference"]


def test_texts_that_quote_attributes_do_not_decide() -> None:
    talk = json.dumps([{"role": "user", "content": '{"ai.operationId": 1, "llm.model_name": 2}'}])
    assert claim(PARSER, request(span(1, chat(**{"gen_ai.input.messages": talk}))))


def test_both_parsers_read_a_file_alike(tmp_path: Path) -> None:
    records = [request(span(1, CHAT)), flat_span(2, {"llm.token_count.prompt": 5}, at=(5, 6))]
    ours = read(PARSER, tmp_path, *records)
    theirs = read(OpenInference(), tmp_path, *records)
    assert ours.calls == theirs.calls
    assert len(ours.calls) == 2


# ---- Samples and real files -----------------------------------------------------------------------


def test_the_sample_counts_each_call_once(sample_logs: Path) -> None:
    found = read_path(PARSER, sample_logs / "otel-genai" / "collector.jsonl")
    usages = [call.usage for call in found.calls]
    assert [usage and usage.input_tokens for usage in usages] == [907, 1067, 1267] * 2
    assert [usage and usage.cache_read_tokens for usage in usages] == [0, 900, 1060, 840, 900, 1060]
    assert sum(usage.output_tokens or 0 for usage in usages if usage) == 342
    assert (found.n_merged, len({call.trace for call in found.calls})) == (4, 2)
    trunks = [found.tree.path(call.prompt)[:3] for call in found.calls]
    assert [segment.kind for segment in trunks[0]] == [Kind.TOOLS, Kind.TOOLS, Kind.SYSTEM]
    assert trunks == [trunks[0]] * 6
    first, second = found.calls[0], found.calls[1]
    assert found.texts(second.prompt)[: len(found.texts(first.completion))] == found.texts(
        first.completion
    )


def test_the_sample_of_older_names_grows_from_answer_to_prompt(sample_logs: Path) -> None:
    found = parse_file(PARSER, sample_logs / "otel-genai" / "console-spans.jsonl")
    assert [call.usage and call.usage.input_tokens for call in found.calls] == [24, 38, 52]
    for before, after in zip(found.calls, found.calls[1:], strict=False):
        assert before.completion is not None
        assert found.tree.path(after.prompt)[:-1] == found.tree.path(before.completion)


@pytest.mark.real
def test_the_real_spans_without_genai_attributes_hold_nothing_and_no_issue(real_logs: Path) -> None:
    path = real_logs / "otlp-json" / "agento" / "test-traces.json"
    assert "no GenAI" in (PARSER.identify(read_head(path)) or "")
    found = parse_file(PARSER, path)
    assert (found.calls, found.traces, found.issues) == ([], [], [])


@pytest.mark.real
def test_only_real_spans_are_claimed(real_logs: Path) -> None:
    claimed = {
        path.relative_to(real_logs).parts[0]
        for path in real_logs.rglob("*")
        if path.is_file() and PARSER.identify(read_head(path))
    }
    assert claimed == {"otlp-json"}

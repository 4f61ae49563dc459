"""The parser for Inspect evaluation logs, archives and documents."""

from __future__ import annotations

import io
import json
import struct
import zipfile
import zlib
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import zstandard
from parsed_records import read
from recording_tree import Parsed, Seen, parse_file

from forkpoint.parsers.inspect_ai import InspectAi
from forkpoint.parsers.inspect_usage import ModelUsage, usage_of
from forkpoint.parsers.logs import HEAD_BYTES, Head, read_head
from forkpoint.parsers.model_names import model_name
from forkpoint.parsers.records import Kind, Usage

PARSER = InspectAi()
MODEL = "openai/gpt-4o-mini"
SYSTEM = {"id": "m1", "content": "Be brief.", "role": "system"}
USER = {"id": "m2", "content": "Which lamp?", "source": "input", "role": "user"}
CALL = {"id": "c1", "function": "search", "arguments": {"words": "lamp"}, "type": "function"}
ASKED = {"id": "m3", "content": "", "source": "generate", "role": "assistant", "tool_calls": [CALL]}
FOUND = {"id": "m4", "content": "Davy", "role": "tool", "tool_call_id": "c1", "function": "search"}
ANSWER = {"id": "m5", "content": "Davy's.", "source": "generate", "role": "assistant"}
MESSAGES = [SYSTEM, USER, ASKED, FOUND, ANSWER]
TOOL = {"name": "search", "description": "Search.", "parameters": {"type": "object"}}


def output(message: dict[str, Any], **changes: Any) -> dict[str, Any]:
    usage = {"input_tokens": 20, "output_tokens": 3, "total_tokens": 23}
    fields = {"model": "gpt-4o-mini-x", "choices": [{"message": message}], "usage": usage}
    return {**fields, "time": 0.5, **changes}


def model_event(messages: list[Any], message: dict[str, Any], **changes: Any) -> dict[str, Any]:
    fields = {"event": "model", "model": MODEL, "timestamp": "2026-04-02T11:00:00+00:00"}
    return {**fields, "input": messages, "tools": [], "output": output(message), **changes}


EVENTS = [model_event(MESSAGES[:2], ASKED), model_event(MESSAGES[:4], ANSWER)]


def sample(key: Any = 1, epoch: Any = 1, **changes: Any) -> dict[str, Any]:
    fields: dict[str, Any] = {"id": key, "epoch": epoch, "input": "Which lamp?", "target": "Davy"}
    scores = {"match": {"value": "C", "answer": "Davy"}}
    rest = {"messages": MESSAGES, "scores": scores, "events": EVENTS, "attachments": {}}
    return {**fields, **rest, **changes}


def log(*samples: Any, **changes: Any) -> dict[str, Any]:
    spec = {"task": "lamps", "model": MODEL, "run_id": "r1", "task_id": "t1", "eval_id": "e1"}
    spec["packages"] = {"inspect_ai": "0.3.200"}  # type: ignore[assignment]
    return {"version": 2, "status": "success", "eval": spec, "samples": list(samples), **changes}


def parsed(folder: Path, document: Any, name: str = "log.json") -> Parsed:
    return read(PARSER, folder / name, document)


def archive(*members: tuple[str, Any]) -> bytes:
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as target:
        for name, value in members:
            target.writestr(name, value if isinstance(value, bytes) else json.dumps(value))
    return written.getvalue()


def header(**changes: Any) -> dict[str, Any]:
    found = log(**changes)
    del found["samples"]
    return found


def path_of(result: Parsed, node: int | None) -> list[Seen]:
    return result.tree.path(node or 0)


def contents(result: Parsed, node: int | None) -> list[Any]:
    return [seen.content for seen in path_of(result, node)]


# --- Samples with events ---------------------------------------------------------------------------


def test_each_model_event_is_a_call_with_its_exact_input_and_output(tmp_path: Path) -> None:
    events = [dict(event, tools=[TOOL]) for event in EVENTS]
    result = parsed(tmp_path, log(sample(events=events)))
    assert result.issues == []
    first, second = result.calls
    whole = [
        (
            Kind.TOOLS,
            "",
            '{"name":"search","description":"Search.","parameters":{"type":"object"}}',
        ),
        (Kind.SYSTEM, "system", "Be brief."),
        (Kind.TEXT, "user", "Which lamp?"),
        (Kind.TOOL_CALL, "assistant", 'search\n{"words":"lamp"}'),
        (Kind.TOOL_RESULT, "tool", "Davy"),
        (Kind.TEXT, "assistant", "Davy's."),
    ]
    assert path_of(result, first.prompt) == whole[:3]
    assert path_of(result, first.completion) == whole[:4]
    assert path_of(result, second.prompt) == whole[:5]
    assert path_of(result, second.completion) == whole
    assert (first.provider, first.model, first.duration_s) == ("openai", "gpt-4o-mini", 0.5)
    assert first.usage == Usage(input_tokens=20, output_tokens=3)
    assert first.started_at is not None
    data = (tmp_path / "log.json").read_bytes()
    assert json.JSONDecoder().raw_decode(data[first.offset :].decode())[0]["epoch"] == 1


def test_a_sample_in_an_epoch_is_a_rollout_and_its_epochs_are_a_group(tmp_path: Path) -> None:
    result = parsed(tmp_path, log(sample(1, 1), sample(1, 2), sample("b", 1)))
    assert [trace.id for trace in result.traces] == ["e1/1/1", "e1/1/2", "e1/b/1"]
    groups = Counter(trace.group for trace in result.traces)
    assert sorted(groups.values()) == [1, 2]
    assert {(trace.reward, trace.answer) for trace in result.traces} == {(1.0, "Davy")}
    assert {trace.agent for trace in result.traces} == {"inspect_ai 0.3.200"}
    assert len({call.identity for call in result.calls}) == 6


def test_a_samples_uuid_is_the_same_rollout_in_every_log(tmp_path: Path) -> None:
    first = parsed(tmp_path, log(sample(uuid="u" * 22)))
    retried = log(sample(uuid="u" * 22))
    retried["eval"]["eval_id"] = "e2"
    second = parsed(tmp_path, retried)
    assert [trace.id for trace in first.traces] == [trace.id for trace in second.traces]
    assert [call.identity for call in first.calls] == [call.identity for call in second.calls]


def test_a_providers_response_id_is_the_call_unless_it_is_short(tmp_path: Path) -> None:
    def call(key: Any) -> dict[str, Any]:
        return {"request": {"messages": []}, "response": {"id": key, "choices": []}}

    long_id = "chatcmpl-AzqyjGv1dMYXWZlk2Jn7ZLpfgg2hM"
    events = [
        dict(EVENTS[0], call=call(long_id)),
        dict(EVENTS[1], call=call("chatcmpl-719"), uuid="v" * 22),
        dict(EVENTS[1], call=call(7)),
        dict(EVENTS[1], call=None),
    ]
    result = parsed(tmp_path, log(sample(events=events)))
    assert [call.identity for call in result.calls] == [
        ("", long_id),
        ("", "v" * 22),
        ("e1/1/1", "3"),
        ("e1/1/1", "4"),
    ]


def test_responses_from_the_log_writers_own_cache_were_not_paid_for(tmp_path: Path) -> None:
    events = [dict(EVENTS[0], cache="read"), dict(EVENTS[1], cache="write")]
    result = parsed(tmp_path, log(sample(events=events)))
    assert len(result.calls) == 1
    only = parsed(tmp_path, log(sample(events=events[:1])))
    assert only.calls == []
    assert contents(only, only.traces[0].leaf)[-1] == "Davy's."


def test_requests_that_failed_or_wait_are_no_calls(tmp_path: Path) -> None:
    failed = dict(EVENTS[0], output={"model": "", "choices": []}, error="429")
    waiting = dict(EVENTS[0], pending=True, output=None)
    result = parsed(tmp_path, log(sample(events=[failed, waiting, EVENTS[1]])))
    assert (len(result.calls), result.issues) == (1, [])


def test_input_may_be_ranges_of_a_pool_of_messages(tmp_path: Path) -> None:
    refs = [
        dict(EVENTS[0], input=[], input_refs=[[0, 2]]),
        dict(EVENTS[1], input=[], input_refs=[[0, 2], [3, 5]]),
    ]
    pool = [SYSTEM, USER, ANSWER, ASKED, FOUND]
    plain = parsed(tmp_path, log(sample()))
    old = parsed(tmp_path, log(sample(events=refs, message_pool=pool)))
    new = parsed(tmp_path, log(sample(events=refs, events_data={"messages": pool, "calls": []})))
    for result in (old, new):
        assert result.issues == []
        for call, same in zip(result.calls, plain.calls, strict=True):
            assert path_of(result, call.prompt) == path_of(plain, same.prompt)


@pytest.mark.parametrize("refs", [[[0, 9]], [[-1, 2]], [[2, 1]], [[0]], "0-2"])
def test_ranges_beyond_the_pool_cost_only_their_event(tmp_path: Path, refs: Any) -> None:
    events = [dict(EVENTS[0], input=[], input_refs=refs), EVENTS[1]]
    result = parsed(tmp_path, log(sample(events=events, message_pool=[SYSTEM, USER])))
    assert (len(result.calls), len(result.traces), len(result.issues)) == (1, 1, 1)


def test_attachments_stand_where_they_are_referred_to(tmp_path: Path) -> None:
    key = "0123456789abcdef0123456789abcdef"
    for reference in (f"attachment://{key}", f"tc://{key}"):
        user = dict(USER, content=reference)
        call = dict(CALL, arguments={"words": reference})
        events = [model_event([SYSTEM, user], dict(ASKED, tool_calls=[call]))]
        found = sample(events=events, attachments={key: 'Long "text"', "other": 5})
        result = parsed(tmp_path, log(found))
        assert contents(result, result.calls[0].completion)[1:] == [
            'Long "text"',
            'search\n{"words":"Long \\"text\\""}',
        ]
    unknown = parsed(tmp_path, log(sample(events=events, attachments={"b": "x"})))
    assert contents(unknown, unknown.calls[0].prompt)[1] == f"tc://{key}"


def test_samples_of_2024_keep_events_and_attachments_in_a_transcript(tmp_path: Path) -> None:
    events = [model_event([dict(USER, content="tc://abc")], ANSWER)]
    old = sample(transcript={"events": events, "content": {"abc": "Hello"}}, score={"value": "P"})
    for name in ("events", "attachments", "scores"):
        del old[name]
    result = parsed(tmp_path, log(old))
    assert contents(result, result.calls[0].prompt) == ["Hello"]
    assert result.traces[0].reward == 0.5


def test_the_calls_of_a_scorer_are_a_child_trace(tmp_path: Path) -> None:
    graded = model_event([dict(USER, content="Right?")], dict(ANSWER, content="C"))
    spans = [
        {"event": "span_begin", "id": "s1", "type": "scorers", "name": "scorers"},
        {"event": "span_begin", "id": "s2", "parent_id": "s1", "type": "scorer", "name": "x"},
        dict(graded, span_id="s2"),
    ]
    steps = [
        {"event": "step", "action": "begin", "type": "scorer", "name": "x"},
        graded,
        {"event": "step", "action": "end", "type": "scorer", "name": "x"},
    ]
    for scoring in (spans, steps):
        result = parsed(tmp_path, log(sample(events=[*EVENTS, *scoring])))
        own, child = result.traces
        assert (child.id, child.parent, child.group) == ("e1/1/1/scorers", "e1/1/1", None)
        assert [call.sidechain for call in result.calls] == [False, False, True]
        assert contents(result, own.leaf)[-1] == "Davy's."
        assert result.issues == []


def test_an_agent_within_an_agent_is_a_child_trace_and_the_outer_one_is_not(tmp_path: Path) -> None:
    def span(key: str, kind: str, parent: str | None) -> dict[str, Any]:
        return {"event": "span_begin", "id": key, "type": kind, "name": kind, "parent_id": parent}

    events = [
        span("a", "agent", None),
        dict(EVENTS[0], span_id="a"),
        span("t", "tool", "a"),
        span("b", "agent", "t"),
        dict(EVENTS[0], span_id="b"),
        {"event": "span_end", "id": "b"},
        dict(EVENTS[1], span_id="a"),
    ]
    result = parsed(tmp_path, log(sample(events=events)))
    assert [call.trace for call in result.calls] == ["e1/1/1", "e1/1/1/b", "e1/1/1"]


def test_events_within_a_tool_or_subtask_are_a_child_trace(tmp_path: Path) -> None:
    inner = {"event": "subtask", "name": "x", "input": {}, "events": [EVENTS[0], EVENTS[1]]}
    tool = {"event": "tool", "function": "f", "type": "function", "events": [inner]}
    result = parsed(tmp_path, log(sample(events=[EVENTS[0], tool, EVENTS[1]])))
    assert [call.sidechain for call in result.calls] == [False, True, True, False]
    assert len(result.traces) == 2
    assert len({call.identity for call in result.calls}) == 4


def test_attempts_before_an_error_were_paid_for_too(tmp_path: Path) -> None:
    retries = [{"message": "boom", "traceback": "", "events": [EVENTS[0]]}, {"message": "again"}]
    result = parsed(tmp_path, log(sample(error_retries=retries)))
    own, retry = result.traces
    assert (retry.id, retry.parent, retry.group) == ("e1/1/1/retry 1", "e1/1/1", None)
    assert [call.trace for call in result.calls] == [own.id, own.id, retry.id]
    assert len({call.identity for call in result.calls}) == 3


def test_logprobs_are_the_scores_of_the_completion(tmp_path: Path) -> None:
    tokens = [
        {"token": "Da", "logprob": -0.5, "top_logprobs": [{"token": "Da", "logprob": -0.5}]},
        {"token": "vy", "logprob": -9999.0, "top_logprobs": [{"token": "x", "logprob": -0.1}]},
    ]
    choice = {"message": ANSWER, "logprobs": {"content": tokens}}
    events = [dict(EVENTS[1], output=output(ANSWER, choices=[choice]))]
    result = parsed(tmp_path, log(sample(events=events)))
    (scores,) = result.scores
    assert (scores.tokens, scores.logprobs) == (["Da", "vy"], [-0.5, -9999.0])
    assert scores.top == [[-0.5], [-0.1]]
    assert (scores.trace, scores.completion) == ("e1/1/1", result.calls[0].completion)
    del tokens[1]["top_logprobs"]
    assert parsed(tmp_path, log(sample(events=events))).scores[0].top is None


def test_several_choices_of_a_samples_first_call_are_rollouts(tmp_path: Path) -> None:
    other = dict(ANSWER, content="Argand's.")
    choices = [{"message": ANSWER}, {"message": other}]
    events = [dict(EVENTS[0], output=output(ANSWER, choices=choices))]
    result = parsed(tmp_path, log(sample(events=events)))
    own, second = result.traces
    assert own.group == second.group
    assert second.prompt == result.calls[0].prompt
    assert contents(result, second.leaf)[-1] == "Argand's."
    assert len(result.calls) == 1


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("text", [(Kind.TEXT, "text")]),
        ([{"type": "text", "text": "a"}, {"type": "text", "text": ""}], [(Kind.TEXT, "a")]),
        ([{"type": "reasoning", "reasoning": "Hm."}], [(Kind.THINKING, "Hm.")]),
        (
            [{"type": "reasoning", "reasoning": "", "redacted": True, "signature": "s"}],
            [(Kind.THINKING, "s")],
        ),
        (
            [{"type": "tool_use", "name": "web", "arguments": '{"q": 1}', "result": "found"}],
            [(Kind.TOOL_CALL, 'web\n{"q": 1}'), (Kind.TOOL_RESULT, "found")],
        ),
        (
            [{"type": "image", "image": "data:x", "internal": 1}],
            [(Kind.MEDIA, '{"type":"image","image":"data:x"}')],
        ),
        ([{"type": "data", "data": {"a": 1}}], [(Kind.TEXT, '{"type":"data","data":{"a":1}}')]),
        ("", [(Kind.TEXT, "")]),
    ],
)
def test_parts_of_a_message_are_what_they_are(tmp_path: Path, content: Any, expected: Any) -> None:
    result = parsed(tmp_path, log(sample(events=[model_event([], dict(ANSWER, content=content))])))
    assert [(seen.kind, seen.content) for seen in path_of(result, result.calls[0].completion)] == (
        expected
    )


def test_a_tools_error_stands_where_there_is_no_content(tmp_path: Path) -> None:
    failed = dict(FOUND, content="", error={"type": "timeout", "message": "too slow"})
    result = parsed(tmp_path, log(sample(events=[model_event([failed], ANSWER)])))
    assert path_of(result, result.calls[0].prompt) == [(Kind.TOOL_RESULT, "tool", "too slow")]


# --- Samples without events ------------------------------------------------------------------------


def test_without_events_each_generated_message_is_a_call(tmp_path: Path) -> None:
    shot = {"content": "An example.", "source": "input", "role": "assistant"}
    usage = {MODEL: {"input_tokens": 50, "output_tokens": 6, "total_tokens": 56}}
    found = sample(events=[], messages=[SYSTEM, shot, *MESSAGES[1:]], model_usage=usage)
    result = parsed(tmp_path, log(found))
    first, last = result.calls
    assert contents(result, first.prompt) == ["Be brief.", "An example.", "Which lamp?"]
    assert (first.usage, last.usage) == (None, Usage(input_tokens=50, output_tokens=6))
    assert result.traces[0].leaf == last.completion


def test_old_messages_without_a_source_are_calls_by_their_role(tmp_path: Path) -> None:
    bare = [{"role": m["role"], "content": m["content"]} for m in (SYSTEM, USER, ANSWER)]
    result = parsed(tmp_path, log(sample(events=[], messages=bare)))
    assert len(result.calls) == 1


def test_other_models_usage_is_a_call_of_its_own(tmp_path: Path) -> None:
    counts = {"input_tokens": 50, "output_tokens": 6, "total_tokens": 56}
    usage = {"anthropic/claude-x": counts, MODEL: counts, "none/zero": {"input_tokens": 0}}
    result = parsed(tmp_path, log(sample(events=[], model_usage=usage)))
    judge, *own = result.calls
    assert (judge.provider, judge.model, judge.sidechain) == ("anthropic", "claude-x", True)
    assert path_of(result, judge.prompt)[0].kind is Kind.UNLOGGED
    assert [call.usage is None for call in own] == [True, False]


# --- Usage, scores, names --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("logged", "expected"),
    [
        (ModelUsage(20, 3, 23), Usage(input_tokens=20, output_tokens=3)),
        # Early 2025, OpenAI: cached tokens within the input.
        (
            ModelUsage(1568, 17, 1585, 1024, None, 0),
            Usage(input_tokens=1568, cache_read_tokens=1024, output_tokens=17, reasoning_tokens=0),
        ),
        # Since then: beside it.
        (
            ModelUsage(544, 17, 1585, 1024),
            Usage(input_tokens=1568, cache_read_tokens=1024, output_tokens=17),
        ),
        # Anthropic: reads and writes beside the input.
        (
            ModelUsage(10, 7, 1117, 1000, 100),
            Usage(
                input_tokens=1110, cache_read_tokens=1000, cache_write_tokens=100, output_tokens=7
            ),
        ),
        # Without a total the documented meaning holds.
        (
            ModelUsage(2000, 7, None, 1000),
            Usage(input_tokens=3000, cache_read_tokens=1000, output_tokens=7),
        ),
        # Reasoning that the output leaves out, as the total shows.
        (
            ModelUsage(10, 5, 35, None, None, 20),
            Usage(input_tokens=10, output_tokens=25, reasoning_tokens=20),
        ),
        # Reasoning that was estimated too high.
        (ModelUsage(10, 5, 15, None, None, 6), Usage(input_tokens=10, output_tokens=5)),
        (ModelUsage(0, 0, 0), None),
        (None, None),
    ],
)
def test_usage_is_read_as_its_total_says(logged: ModelUsage | None, expected: Any) -> None:
    assert usage_of(logged)[0] == expected


def test_costs_are_those_that_were_logged(tmp_path: Path) -> None:
    usage = {"input_tokens": 20, "output_tokens": 3, "total_tokens": 23, "total_cost": 0.5}
    event = dict(EVENTS[0], output=output(ASKED, usage=usage))
    assert parsed(tmp_path, log(sample(events=[event]))).calls[0].logged_cost_usd == 0.5
    usage["total_cost"] = -1
    result = parsed(tmp_path, log(sample(events=[event, EVENTS[1]])))
    assert (len(result.calls), len(result.issues)) == (1, 1)


@pytest.mark.parametrize(
    ("value", "reward"),
    [
        ("C", 1.0),
        ("I", 0.0),
        ("P", 0.5),
        ("N", 0.0),
        (True, 1.0),
        (0.25, 0.25),
        (3, 3.0),
        ("0.5", 0.5),
        ("yes", 1.0),
        ("great", None),
        ("inf", None),
        ({"a": 1}, None),
        ([1], None),
        (None, None),
        (float("nan"), None),
    ],
)
def test_scores_in_words_are_numbers_as_inspect_reads_them(
    tmp_path: Path, value: Any, reward: float | None
) -> None:
    scores = {"first": {"value": value, "answer": "a"}}
    result = parsed(tmp_path, log(sample(scores=scores), sample(2)))
    assert [trace.reward for trace in result.traces] == [reward, 1.0]
    assert result.issues == []


def test_the_first_score_that_is_a_number_is_the_reward(tmp_path: Path) -> None:
    scores = {"a": {"value": {"x": 1}}, "b": {"value": 0, "answer": "no"}, "c": {"value": 1}}
    (trace,) = parsed(tmp_path, log(sample(scores=scores))).traces
    assert (trace.reward, trace.answer) == (0.0, "no")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("openai/gpt-4o", ("openai", "gpt-4o")),
        ("openai/azure/gpt-4o", ("azure", "gpt-4o")),
        ("anthropic/bedrock/claude-x", ("aws", "claude-x")),
        ("together/meta-llama/Llama-3", ("together", "meta-llama/Llama-3")),
        ("openrouter/anthropic/claude-x", ("openrouter", "anthropic/claude-x")),
        ("ollama/llama3.1", (None, "ollama/llama3.1")),
        ("gpt-4o", (None, "gpt-4o")),
        ("openai/", (None, "openai/")),
        ("", (None, None)),
        (None, (None, None)),
    ],
)
def test_a_models_name_may_begin_with_its_provider(name: str | None, expected: Any) -> None:
    assert model_name(name) == expected


# --- Archives --------------------------------------------------------------------------------------


def test_an_archive_holds_a_member_for_each_sample(tmp_path: Path) -> None:
    data = archive(
        ("_journal/start.json", header()),
        ("samples/1_epoch_1.json", sample(1, 1)),
        ("samples/1_epoch_2.json", sample(1, 2)),
        ("summaries.json", [sample(9)]),
        ("header.json", header()),
    )
    result = parsed(tmp_path, data, "log.eval")
    assert [trace.id for trace in result.traces] == ["e1/1/1", "e1/1/2"]
    assert ([call.line for call in result.calls], result.issues) == ([1, 1, 2, 2], [])
    assert data[result.calls[2].offset :].startswith(b"PK\x03\x04")
    plain = parsed(tmp_path, log(sample(1, 1), sample(1, 2)))
    assert [call.identity for call in plain.calls] == [call.identity for call in result.calls]


def test_a_log_that_is_being_written_has_no_header(tmp_path: Path) -> None:
    start = {key: header()[key] for key in ("version", "eval")}
    data = archive(("_journal/start.json", start), ("samples/1_epoch_1.json", sample()))
    result = parsed(tmp_path, data, "log.eval")
    assert (len(result.calls), result.issues) == (2, [])
    assert result.traces[0].project == "lamps"


def test_an_archive_without_any_header_still_has_samples(tmp_path: Path) -> None:
    result = parsed(tmp_path, archive(("samples/1_epoch_1.json", sample())), "log.eval")
    assert (len(result.calls), len(result.issues)) == (2, 1)
    assert result.traces[0].project == "log"


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_of_a_member_that_stands_twice_the_last_one_counts(tmp_path: Path) -> None:
    first, second = sample(scores={"m": {"value": 0}}), sample(scores={"m": {"value": 1}})
    data = archive(
        ("header.json", header()),
        ("samples/1_epoch_1.json", first),
        ("samples/1_epoch_1.json", second),
    )
    result = parsed(tmp_path, data, "log.eval")
    assert [trace.reward for trace in result.traces] == [1.0]


def test_a_member_that_cannot_be_read_costs_only_itself(tmp_path: Path) -> None:
    data = archive(
        ("header.json", header()),
        ("samples/1_epoch_1.json", b'{"id": 1, "epoch"'),
        ("samples/2_epoch_1.json", sample(2)),
    )
    result = parsed(tmp_path, data, "log.eval")
    assert (len(result.calls), [issue.line for issue in result.issues]) == (2, [1])
    flipped = bytearray(data)
    flipped[result.calls[0].offset + 80] ^= 0xFF
    damaged = parsed(tmp_path, bytes(flipped), "log.eval")
    assert (damaged.calls, len(damaged.issues)) == ([], 2)


@pytest.mark.parametrize("cut", [4, 100, -1, -30])
def test_an_archive_cut_short_is_one_issue(tmp_path: Path, cut: int) -> None:
    data = archive(("header.json", header()), ("samples/1_epoch_1.json", sample()))
    result = parsed(tmp_path, data[:cut], "log.eval")
    assert (result.calls, [issue.line for issue in result.issues]) == ([], [1])


def zstandard_archive(members: dict[str, Any], method: int = 93) -> bytes:
    """A zip whose members are Zstandard frames, which Python writes from version 3.14 on."""
    body, directory = bytearray(), bytearray()
    for name, value in members.items():
        content = json.dumps(value).encode()
        half = len(content) // 2
        compress = zstandard.ZstdCompressor().compress
        packed = compress(content[:half]) + compress(content[half:])  # two frames
        sizes = (zlib.crc32(content), len(packed), len(content), len(name.encode()), 0)
        offset = len(body)
        body += struct.pack("<4s5H3L2H", b"PK\x03\x04", 63, 0, method, 0, 33, *sizes)
        body += name.encode() + packed
        fields = (b"PK\x01\x02", 63, 63, 0, method, 0, 33, *sizes, 0, 0, 0, 0, offset)
        directory += struct.pack("<4s6H3L5H2L", *fields) + name.encode()
    count = len(members)
    end = (b"PK\x05\x06", 0, 0, count, count, len(directory), len(body), 0)
    return bytes(body + directory) + struct.pack("<4s4H2LH", *end)


def test_members_compressed_with_zstandard_are_read(tmp_path: Path) -> None:
    members = {"header.json": header(), "samples/1_epoch_1.json": sample()}
    data = zstandard_archive(members)
    result = parsed(tmp_path, data, "log.eval")
    assert (len(result.calls), result.issues) == (2, [])
    assert PARSER.identify(read_head(tmp_path / "log.eval")) is not None
    flipped = bytearray(data)
    flipped[result.calls[0].offset + 100] ^= 0xFF
    damaged = parsed(tmp_path, bytes(flipped), "log.eval")
    assert (damaged.calls, len(damaged.issues)) == ([], 1)


def test_members_compressed_in_an_unknown_way_are_issues(tmp_path: Path) -> None:
    members = {"header.json": header(), "samples/1_epoch_1.json": sample()}
    result = parsed(tmp_path, zstandard_archive(members, method=98), "log.eval")
    assert (result.calls, len(result.issues)) == ([], 2)


def test_a_large_sample_may_be_spread_over_members(tmp_path: Path) -> None:
    shell = {key: value for key, value in sample(7).items() if key not in ("messages", "events")}
    del shell["attachments"]
    shell["message_refs"] = [[0, 4], [4, 5]]
    events = [
        dict(EVENTS[0], input=[], input_refs=[[0, 2]]),
        dict(EVENTS[1], input=[], input_refs=[[0, 4]]),
    ]
    folder = "samples/7_epoch_1"
    data = archive(
        ("header.json", header()),
        (f"{folder}/sample.json", shell),
        (f"{folder}/skeleton.json", {"spans": []}),
        (f"{folder}/messages/10.json", MESSAGES[2:]),
        (f"{folder}/messages/0.json", [dict(SYSTEM, content="attachment://1"), USER]),
        (f"{folder}/events/0.json", events[:1]),
        (f"{folder}/events/1.json", events[1:]),
        (f"{folder}/events/stats.json", {"chunks": []}),
        (f"{folder}/attachments/0.json", ["no", "Be brief."]),
    )
    result = parsed(tmp_path, data, "log.eval")
    assert result.issues == []
    plain = parsed(tmp_path, log(sample(7)))
    assert [trace.id for trace in result.traces] == ["e1/7/1"]
    for call, same in zip(result.calls, plain.calls, strict=True):
        assert path_of(result, call.completion) == path_of(plain, same.completion)


# --- Documents that are not as they should be ------------------------------------------------------


def test_a_log_without_samples_has_nothing_to_count(tmp_path: Path) -> None:
    usage = {"model_usage": {MODEL: {"input_tokens": 192, "output_tokens": 6}}}
    for samples in ([], None):
        result = parsed(tmp_path, log(samples=samples, stats=usage))
        assert (result.calls, result.traces, result.issues) == ([], [], [])
        assert PARSER.identify(read_head(tmp_path / "log.json")) is not None


@pytest.mark.parametrize(
    "bad",
    [
        5,
        sample(None),
        sample(messages={}),
        sample(scores={"m": {"value": 1, "answer": 7}}),
        sample(attachments=[]),
        sample(error_retries=[{"events": 1}]),
        sample(model_usage={"m": {"input_tokens": -1}}),
    ],
)
def test_a_sample_that_cannot_be_read_costs_only_itself(tmp_path: Path, bad: Any) -> None:
    result = parsed(tmp_path, log(sample(1), bad, sample(3)))
    assert [trace.id for trace in result.traces] == ["e1/1/1", "e1/3/1"]
    assert [issue.line for issue in result.issues] == [2]


@pytest.mark.parametrize(
    "bad",
    [
        7,
        dict(EVENTS[0], input=[{"content": "no role"}]),
        dict(EVENTS[0], input=[dict(USER, content=5)]),
        dict(EVENTS[0], output={"choices": "x"}),
        dict(EVENTS[0], timestamp="noon"),
        dict(EVENTS[0], model={}),
        {"event": "span_begin", "name": "no id"},
    ],
)
def test_an_event_that_cannot_be_read_costs_only_itself(tmp_path: Path, bad: Any) -> None:
    result = parsed(tmp_path, log(sample(events=[EVENTS[0], bad, EVENTS[1]])))
    assert (len(result.calls), len(result.traces), len(result.issues)) == (2, 1, 1)


def test_events_of_unknown_kinds_are_skipped(tmp_path: Path) -> None:
    others = [{"event": "sandbox", "input": 5, "output": {}}, {"event": "new", "events": 1}, {}]
    result = parsed(tmp_path, log(sample(events=[*others, EVENTS[1]])))
    assert (len(result.calls), result.issues) == (1, [])


def test_events_nested_too_deeply_are_one_issue(tmp_path: Path) -> None:
    event = EVENTS[0]
    for _ in range(80):
        event = {"event": "subtask", "events": [event]}
    result = parsed(tmp_path, log(sample(events=[event, EVENTS[1]])))
    assert (len(result.calls), [issue.reason for issue in result.issues]) == (
        1,
        ["events nested too deeply"],
    )


@pytest.mark.parametrize("cut", [1, 40, 300, -1])
def test_a_document_cut_short_is_one_issue(tmp_path: Path, cut: int) -> None:
    result = parsed(tmp_path, json.dumps(log(sample())).encode()[:cut])
    assert (result.calls, [issue.line for issue in result.issues]) == ([], [1])


def test_a_file_is_known_by_its_first_keys_or_its_members(tmp_path: Path) -> None:
    def identified(data: bytes) -> bool:
        path = tmp_path / "x"
        path.write_bytes(data)
        return PARSER.identify(Head(path, data[:HEAD_BYTES])) is not None

    assert identified(json.dumps(log(sample())).encode())
    invalidated = {"version": 2, "status": "error", "invalidated": False, "eval": {}}
    assert identified(json.dumps(invalidated, indent=2).encode())
    assert identified(json.dumps(log(sample(metadata={"x": "y" * HEAD_BYTES}))).encode())
    assert identified(archive(("header.json", {}), ("samples/1_epoch_1.json", {})))
    assert not identified(archive(("header.json", {}), ("data/1.json", {})))
    assert not identified(archive(("xl/workbook.xml", b"")))
    assert not identified(json.dumps({"version": 2, "status": "x", "steps": []}).encode())
    assert not identified(json.dumps({"eval": {}, "samples": []}).encode())
    assert not identified(b"PK\x03\x04 cut off")


def test_the_sample_archive_forks_where_an_epoch_searches_for_other_words(
    sample_logs: Path,
) -> None:
    (path,) = (sample_logs / "inspect-ai").glob("*.eval")
    result = parse_file(PARSER, path)
    assert result.issues == []
    rollouts = [trace for trace in result.traces if trace.group]
    assert Counter(Counter(trace.group for trace in rollouts).values()) == {2: 3}
    assert len(result.calls) == 18
    usages = [call.usage for call in result.calls if call.usage]
    assert sum(usage.input_tokens or 0 for usage in usages) == 6 * 281
    assert sum(usage.cache_read_tokens or 0 for usage in usages) == 6 * 96
    assert [trace.reward for trace in rollouts] == [1, 1, 0, 1, 0, 1]
    arc = [trace for trace in rollouts if (trace.group or "").endswith("/arc")]
    firsts = [next(c for c in result.calls if c.trace == trace.id) for trace in arc]
    assert len({call.prompt for call in firsts}) == 1
    assert len({call.completion for call in firsts}) == 2
    assert path_of(result, firsts[0].prompt)[1].content.startswith("You keep the catalogue")
    assert len(result.scores) == 12


# --- Real logs -------------------------------------------------------------------------------------


@pytest.mark.real
def test_the_real_logs_have_the_known_samples_and_usage(real_logs: Path) -> None:
    facts = json.loads((real_logs / "FACTS.json").read_text())
    for name, fact in {**facts["inspect_eval"], **facts["inspect_json"]}.items():
        assert PARSER.identify(read_head(real_logs / name)) is not None
        result = parse_file(PARSER, real_logs / name)
        assert result.issues == [], name
        rollouts = [trace for trace in result.traces if trace.group]
        assert len(rollouts) == fact["samples"]
        groups = Counter(trace.group for trace in rollouts)
        assert len(groups) == fact["distinct_ids"]
        assert max(groups.values(), default=0) == fact["max_epochs_per_id"]
        assert {trace.project for trace in rollouts} <= {fact["task"]}
        usages = [call.usage for call in result.calls if call.usage]
        # Logs of 2024 hold no sum for a sample, and some no events where the facts look for them.
        sums = fact["sum_sample_model_usage"] or {}
        if fact["model_events"]:
            assert len(result.calls) == fact["model_events"]
        if sums:
            assert sum(usage.input_tokens or 0 for usage in usages) == sums["input_tokens"]
            assert sum(usage.output_tokens or 0 for usage in usages) == sums["output_tokens"]
            read = sum(usage.cache_read_tokens or 0 for usage in usages)
            assert read == sums.get("input_tokens_cache_read", 0)
        assert len({call.identity for call in result.calls}) == len(result.calls)


UNLOGGED = {
    "test_eval_log__log_tool_call_error.json": (1, 1),
    "test_logs__2025-05-12T20-28-13-04-00_no-samples.json": (192, 6),
}
"""Input and output tokens that a header counts beyond the samples in its log."""


@pytest.mark.real
def test_the_real_headers_count_what_the_samples_count_where_all_samples_are_there(
    real_logs: Path,
) -> None:
    facts = json.loads((real_logs / "FACTS.json").read_text())
    for name, fact in {**facts["inspect_eval"], **facts["inspect_json"]}.items():
        path = real_logs / name
        usages = [call.usage for call in parse_file(PARSER, path).calls if call.usage]
        header = (fact["header_model_usage"] or {}).values()
        left = tuple(
            sum(each[key] for each in header) - sum(getattr(usage, key) or 0 for usage in usages)
            for key in ("input_tokens", "output_tokens")
        )
        assert left == UNLOGGED.get(path.name, (0, 0)), name


@pytest.mark.real
def test_one_evaluation_in_two_files_holds_the_same_calls(real_logs: Path) -> None:
    folder = real_logs / "inspect-ai" / "inspect_ai-tests"
    pairs = [("log_formats.eval", "log_formats.json")]
    for first, second in pairs:
        calls = [
            parse_file(PARSER, folder / f"test_eval_log__{name}").calls for name in (first, second)
        ]
        assert [c.identity for c in calls[0]] == [c.identity for c in calls[1]]
        assert [c.usage for c in calls[0]] == [c.usage for c in calls[1]]


@pytest.mark.real
def test_a_deduplicated_real_log_grows_one_conversation(real_logs: Path) -> None:
    name = "test_eval_log__log_message_deduplication.eval"
    result = parse_file(PARSER, real_logs / "inspect-ai" / "inspect_ai-tests" / name)
    lengths = [len(path_of(result, call.prompt)) for call in result.calls]
    assert lengths == sorted(lengths) and lengths[0] == 3
    tools = path_of(result, result.calls[0].prompt)[:2]
    assert [seen.kind for seen in tools] == [Kind.TOOLS, Kind.TOOLS]
    assert "attachment://" not in "".join(str(seen.content) for seen in tools)


@pytest.mark.real
def test_only_the_real_logs_of_this_format_are_claimed(real_logs: Path) -> None:
    for path in (path for path in real_logs.rglob("*") if path.is_file()):
        ours = path.parent.parent.name == "inspect-ai"
        assert (PARSER.identify(read_head(path)) is not None) == ours, path

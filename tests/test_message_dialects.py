"""Inputs and outputs of observability platforms: one reading of the dialects they come in."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from forkpoint.parsers.chat import Segment
from forkpoint.parsers.message_dialects import read
from forkpoint.parsers.observed_messages import (
    completion_messages,
    prompt_messages,
    with_unlogged,
)
from forkpoint.parsers.records import Kind

TOOL = {"type": "function", "function": {"name": "find"}}
USER = Segment(Kind.TEXT, "user", "Hello?")
SYSTEM = Segment(Kind.SYSTEM, "system", "Be kind.")
ANSWER = Segment(Kind.TEXT, "assistant", "Hi.")
CALL = Segment(Kind.TOOL_CALL, "assistant", 'find\n{"n":1}')


def raw(value: Any) -> msgspec.Raw:
    return msgspec.Raw(json.dumps(value).encode())


def prompt(value: Any, tools: Any = None) -> list[Segment]:
    messages = prompt_messages(raw(value), None if tools is None else raw(tools))
    return [segment for message in messages for segment in read(message)]


def answers(value: Any) -> list[list[Segment]]:
    return [
        [segment for message in choice for segment in read(message)]
        for choice in completion_messages(raw(value))
    ]


@pytest.mark.parametrize(
    "given",
    [
        [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hello?"}],
        {
            "messages": [
                {"role": "system", "content": "Be kind."},
                {"role": "user", "content": "Hello?"},
            ]
        },
        {"system": "Be kind.", "messages": [{"role": "user", "content": "Hello?"}]},
        {"instructions": "Be kind.", "input": "Hello?"},
        {"instructions": "Be kind.", "input": [{"role": "user", "content": "Hello?"}]},
        {"system": "Be kind.", "prompt": "Hello?"},
        [[{"type": "system", "content": "Be kind."}, {"type": "human", "content": "Hello?"}]],
        [
            {"role": "system", "parts": [{"type": "text", "content": "Be kind."}]},
            {"role": "user", "parts": [{"type": "text", "content": "Hello?"}]},
        ],
        {
            "contents": [{"role": "user", "parts": [{"text": "Hello?"}]}],
            "systemInstruction": {"parts": [{"text": "Be kind."}]},
        },
        {
            "config": {"system_instruction": "Be kind."},
            "contents": [{"role": "user", "parts": [{"text": "Hello?"}]}],
        },
    ],
)
def test_a_prompt_is_the_same_in_every_dialect(given: Any) -> None:
    assert prompt(given) == [SYSTEM, USER]
    assert prompt(json.dumps(given)) == [SYSTEM, USER]


@pytest.mark.parametrize(
    "given",
    [
        "Hello?",
        ["Hello?"],
        {"prompts": ["Hello?"]},
        {"question": "Hello?"},
        {"input": "Hello?", "model": "x"},
    ],
)
def test_a_text_is_a_user_s(given: Any) -> None:
    assert prompt(given) == [USER]


def test_what_only_begins_like_json_stays_a_text() -> None:
    assert prompt("{Hello?") == [Segment(Kind.TEXT, "user", "{Hello?")]
    assert answers("[Hi.") == [[Segment(Kind.TEXT, "assistant", "[Hi.")]]


def test_what_has_no_known_shape_is_one_text() -> None:
    assert prompt({"x": 1}) == [Segment(Kind.TEXT, "user", '{"x":1}')]
    assert answers({"x": 1}) == [[Segment(Kind.TEXT, "assistant", '{"x":1}')]]
    assert answers('{"quality": "good"}') == [
        [Segment(Kind.TEXT, "assistant", '{"quality": "good"}')]
    ]
    assert (prompt(None), prompt([]), answers(None), answers("")) == ([], [], [], [])


@pytest.mark.parametrize(
    ("given", "tools"),
    [
        ({"messages": [{"role": "user", "content": "Hello?"}], "tools": [TOOL]}, None),
        ([{"role": "user", "content": "Hello?"}], [TOOL]),
        ([{"role": "user", "content": "Hello?"}], [json.dumps(TOOL)]),
        ([{"role": "user", "content": "Hello?"}], {"find": json.dumps(TOOL)}),
        ([{"role": "user", "content": "Hello?"}, {"role": "tool", "content": TOOL}], None),
        ({"messages": [{"role": "user", "content": "Hello?"}], "tools": [TOOL]}, [TOOL]),
        ({"contents": [{"parts": [{"text": "Hello?"}]}], "tools": [TOOL]}, None),
        (
            {
                "contents": [{"role": "user", "parts": [{"text": "Hello?"}]}],
                "config": {"tools": [{"function_declarations": [TOOL]}]},
            },
            None,
        ),
    ],
)
def test_tool_definitions_come_first_wherever_they_stand(given: Any, tools: Any) -> None:
    text = json.dumps(TOOL, separators=(",", ":"))
    assert prompt(given, tools) == [Segment(Kind.TOOLS, "", text), USER]


def test_a_result_that_speaks_of_content_is_no_tool_definition() -> None:
    result = {"role": "tool", "content": '{"content": {"function": 1}}'}
    assert [segment.kind for segment in prompt([result])] == [Kind.TOOL_RESULT]


@pytest.mark.parametrize(
    "given",
    [
        "Hi.",
        {"role": "assistant", "content": "Hi."},
        [{"role": "assistant", "content": "Hi."}],
        {"choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi."}}]},
        {"choices": [{"index": 0, "text": "Hi."}]},
        {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "content": [{"type": "text", "text": "Hi."}],
        },
        {
            "output": [
                {
                    "type": "message",
                    "role": "assistant",
                    "content": [{"type": "output_text", "text": "Hi."}],
                }
            ]
        },
        {"generations": [[{"text": "Hi.", "message": {"type": "ai", "content": "Hi."}}]]},
        {"generations": [[{"text": "Hi."}]]},
        {"content": {"role": "model", "parts": [{"text": "Hi."}]}, "finish_reason": "STOP"},
        {"candidates": [{"content": {"role": "model", "parts": [{"text": "Hi."}]}}]},
        {"messages": [{"type": "ai", "content": "Hi."}]},
        {"text": "Hi."},
        {"output": "Hi."},
        [{"type": "text", "text": "Hi."}],
        {"message": {"role": "assistant", "content": "Hi."}, "done": True},
    ],
)
def test_an_answer_is_the_same_in_every_dialect(given: Any) -> None:
    assert answers(given) == [[ANSWER]]


@pytest.mark.parametrize(
    "given",
    [
        {
            "role": "assistant",
            "content": "",
            "additional_kwargs": {
                "tool_calls": [{"function": {"name": "find", "arguments": '{"n":1}'}}]
            },
        },
        {"role": "assistant", "content": None, "tool_calls": [{"name": "find", "args": {"n": 1}}]},
        [{"toolCallId": "c1", "toolName": "find", "input": '{"n":1}'}],
        {"text": "", "toolCalls": [{"toolCallId": "c1", "toolName": "find", "args": {"n": 1}}]},
        {
            "role": "assistant",
            "content": [{"type": "tool-call", "toolName": "find", "input": {"n": 1}}],
        },
        {
            "role": "assistant",
            "parts": [{"type": "tool_call", "name": "find", "arguments": {"n": 1}}],
        },
        {
            "content": {
                "role": "model",
                "parts": [{"function_call": {"name": "find", "args": {"n": 1}}}],
            }
        },
        [{"type": "function_call", "name": "find", "arguments": '{"n":1}', "call_id": "c1"}],
        {
            "type": "ai",
            "content": [{"type": "tool_call", "name": "find", "args": {"n": 1}, "id": "c"}],
            "tool_calls": [{"name": "find", "args": {"n": 1}}],
        },
    ],
)
def test_a_tool_call_is_the_same_in_every_dialect(given: Any) -> None:
    ((*said, last),) = answers(given)
    assert last == CALL
    assert all(segment.text == "" for segment in said)


def test_several_choices_are_apart() -> None:
    choices = [{"message": {"role": "assistant", "content": text}} for text in ("One.", "Two.")]
    assert [choice[0].text for choice in answers({"choices": choices})] == ["One.", "Two."]


def test_a_stand_in_stands_behind_the_tools() -> None:
    messages = prompt_messages(raw([{"role": "user", "content": "Hello?"}]), raw([TOOL]))
    kinds = [segment.kind for each in with_unlogged(messages, "resp_1") for segment in read(each)]
    assert kinds == [Kind.TOOLS, Kind.UNLOGGED, Kind.TEXT]


@pytest.mark.parametrize("bad", [7, "text", [1], {"lc": 1, "id": ["x"], "kwargs": 5}])
def test_what_is_no_message_says_so(bad: Any) -> None:
    with pytest.raises(ValueError, match=r".+"):
        read(raw(bad))

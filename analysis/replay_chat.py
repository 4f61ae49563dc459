"""Logged segments as the messages that a chat template renders.

The tree holds no message boundaries, only segments with roles. Neighbours of one role are taken as
one message, their texts on lines of their own; an assistant's thinking, text and tool calls that
follow each other are one message; each tool result is one of its own. Ids of tool calls are not
logged with them: results are matched to calls by their order.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, NamedTuple

from forkpoint.analysis.replay_backend import CodecError
from forkpoint.parsers.records import Kind


class LoggedSegment(NamedTuple):
    """A segment as the store and its log have it."""

    kind: str
    role: str
    text: str


ASSISTANT = "assistant"
_ROLES = {
    "developer": "system",
    "agent": ASSISTANT,
    "ai": ASSISTANT,
    "model": ASSISTANT,
    "human": "user",
    "environment": "user",
    "function": "tool",
}
_SPEAKS = frozenset({Kind.TEXT, Kind.THINKING, Kind.TOOL_CALL})


def role_of(segment: LoggedSegment) -> str:
    """The role a template knows it by."""
    if segment.kind == Kind.TOOL_RESULT:
        return "tool"
    role = segment.role.partition(" name=")[0]
    return "system" if segment.kind == Kind.SYSTEM else _ROLES.get(role, role)


def is_said(segment: LoggedSegment) -> bool:
    """Whether an assistant wrote it."""
    return segment.kind in _SPEAKS and role_of(segment) == ASSISTANT


def conversation(
    segments: Iterable[LoggedSegment],
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """(messages, tools), in the shape that chat templates take.

    Raises:
        CodecError: a segment is none that a message can hold.
    """
    messages: list[dict[str, Any]] = []
    tools: list[dict[str, Any]] = []
    calls = _Calls()
    for segment in segments:
        if segment.kind == Kind.TOOLS:
            tools.append(_tool(segment.text))
        elif segment.kind == Kind.TOOL_RESULT:
            messages.append(calls.result(segment))
        elif segment.kind in (Kind.SYSTEM, *_SPEAKS):
            _say(messages, segment, calls)
        else:
            raise CodecError(f"a prompt that holds {segment.kind}")
    return messages, tools


def tool_names(messages: Iterable[dict[str, Any]], tools: Iterable[dict[str, Any]]) -> set[str]:
    """Names of tools that are defined or called: a template that renders them has them in its text."""
    called = (call for message in messages for call in message.get("tool_calls", ()))
    named = (each["function"].get("name") for each in (*tools, *called))
    return {name for name in named if isinstance(name, str) and name}


def _say(messages: list[dict[str, Any]], segment: LoggedSegment, calls: _Calls) -> None:
    role = role_of(segment)
    last = messages[-1] if messages and messages[-1]["role"] == role else None
    if last is None or ("tool_calls" in last and segment.kind != Kind.TOOL_CALL):
        last = {"role": role, "content": ""}
        messages.append(last)
    if segment.kind == Kind.TOOL_CALL:
        last.setdefault("tool_calls", []).append(calls.made(segment.text))
        return
    field = "reasoning_content" if segment.kind == Kind.THINKING else "content"
    before = last.get(field)
    last[field] = f"{before}\n{segment.text}" if before else segment.text


class _Calls:
    """Numbers tool calls, and their results in the same order."""

    def __init__(self) -> None:
        self._made = 0
        self._answered = 0

    def made(self, text: str) -> dict[str, Any]:
        name, _, arguments = text.partition("\n")
        self._made += 1
        function = {"name": name, "arguments": _arguments(arguments)}
        return {"id": f"call{self._made:05d}", "type": "function", "function": function}

    def result(self, segment: LoggedSegment) -> dict[str, Any]:
        self._answered = min(self._answered + 1, max(self._made, 1))
        message = {
            "role": "tool",
            "content": segment.text,
            "tool_call_id": f"call{self._answered:05d}",
        }
        name = segment.role.partition(" name=")[2]
        return message | {"name": name} if name else message


def _arguments(text: str) -> Any:
    """Templates write arguments as JSON themselves, so they take them decoded."""
    try:
        decoded = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return decoded if isinstance(decoded, dict) else text


def _tool(text: str) -> dict[str, Any]:
    """A tool definition of any dialect in the shape of OpenAI chat."""
    try:
        tool = json.loads(text)
    except (ValueError, RecursionError):
        raise CodecError("a tool definition that is no JSON") from None
    if not isinstance(tool, dict):
        raise CodecError("a tool definition that is no JSON object")
    if isinstance(tool.get("function"), dict):
        return {"type": "function"} | tool
    function = {
        "name": tool.get("name"),
        "description": tool.get("description") or "",
        "parameters": tool.get("parameters") or tool.get("input_schema") or {"type": "object"},
    }
    return {"type": "function", "function": function}

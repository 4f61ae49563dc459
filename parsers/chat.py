"""Chat messages as segments: one reading of the dialects that logs write them in.

Most logs hold messages in the shape of OpenAI chat, often with content blocks of Anthropic's among
them, or items of OpenAI's Responses API. Every parser that meets them takes them apart here, so
that the same conversation grows the same tree whatever wrote it down.

What is no part of a segment: ids (of messages, tool calls and results: chat templates do not render
them, and two rollouts that make the same call would seem to fork there), cache markers, ``null``
fields, status, annotations, log probabilities.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from forkpoint.parsers.base import Tree
from forkpoint.parsers.raw_json import (
    canonical,
    decode,
    decode_fields,
    decode_list,
    decode_text,
    is_list,
    is_text,
    present,
)
from forkpoint.parsers.records import Kind


class Segment(NamedTuple):
    """What `Tree.extend` takes."""

    kind: Kind
    role: str
    text: str


class _Function(msgspec.Struct):
    name: str | None = None
    arguments: msgspec.Raw = msgspec.Raw()


class _Custom(msgspec.Struct):
    name: str | None = None
    input: str | None = None


class _ToolCall(msgspec.Struct):
    function: _Function | None = None
    custom: _Custom | None = None
    name: str | None = None
    arguments: msgspec.Raw = msgspec.Raw()
    """Name and arguments without a ``function`` around them: not OpenAI's, but common in logs."""
    args: msgspec.Raw = msgspec.Raw()


class _Message(msgspec.Struct):
    """A chat message, or a Responses item of the type ``message``."""

    role: str
    content: msgspec.Raw = msgspec.Raw()
    name: str | None = None
    tool_calls: list[_ToolCall] | None = None
    function_call: _Function | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    reasoning: msgspec.Raw = msgspec.Raw()


class _Part(msgspec.Struct):
    """A part of a message's content, of any dialect: the fields of the types taken apart."""

    type: str | None = None
    text: str | None = None
    refusal: str | None = None
    thinking: str | None = None
    signature: str | None = None
    data: msgspec.Raw = msgspec.Raw()
    name: str | None = None
    input: msgspec.Raw = msgspec.Raw()
    content: msgspec.Raw = msgspec.Raw()


class _Item(msgspec.Struct):
    """A Responses item that is not a message. Only the fields of the known types are here."""

    type: str | None = None
    role: str | None = None
    id: str | None = None
    name: str | None = None
    arguments: msgspec.Raw = msgspec.Raw()
    input: msgspec.Raw = msgspec.Raw()
    output: msgspec.Raw = msgspec.Raw()
    summary: list[_Part] | None = None
    content: msgspec.Raw = msgspec.Raw()
    encrypted_content: str | None = None


_MESSAGE = msgspec.json.Decoder(_Message)
_PART = msgspec.json.Decoder(_Part)
_PARTS = msgspec.json.Decoder(list[_Part])
_ITEM = msgspec.json.Decoder(_Item)

_TEXT_PARTS = frozenset(("text", "input_text", "output_text", "refusal"))
# fmt: off
_MEDIA_PARTS = frozenset((
    "image_url", "input_image", "image", "input_audio", "audio", "file", "input_file", "video_url",
    "video", "document", "container_upload",
))
# fmt: on
_CALL_PARTS = frozenset(("tool_use", "server_tool_use", "mcp_tool_use"))
_THINKING_PARTS = frozenset(("thinking", "redacted_thinking", "reasoning"))
_KINDS = {
    "system": Kind.SYSTEM,
    "developer": Kind.SYSTEM,
    "tool": Kind.TOOL_RESULT,
    "function": Kind.TOOL_RESULT,
}


def kind_of(role: str) -> Kind:
    """The kind of text that a role's messages hold."""
    return _KINDS.get(role, Kind.TEXT)


def extend_all(tree: Tree, node: int, segments: Iterable[Segment]) -> int:
    """Append segments to a node's path, one after the other."""
    for kind, role, text in segments:
        node = tree.extend(node, kind, role, text)
    return node


def call_segment(role: str, name: str | None, arguments: str) -> Segment:
    """A tool call: the name and the arguments that the model wrote."""
    return Segment(Kind.TOOL_CALL, role, f"{name or ''}\n{arguments}")


def argument_text(raw: msgspec.Raw) -> str:
    """Arguments as the model wrote them, or, where a logger decoded them, as compact JSON.

    Raises:
        ValueError: they are no JSON value.
    """
    if not raw or bytes(raw) == b"null":
        return ""
    return decode_text(raw, "arguments") if is_text(raw) else canonical(raw, "arguments")


def message_segments(raw: msgspec.Raw, role: str | None = None) -> list[Segment]:
    """A message as segments: thinking, then content, then tool calls, as models write them.

    Args:
        raw: a message object in the shape of OpenAI chat; its content may be a text or a list of
            parts of OpenAI's or Anthropic's types.
        role: the role of a message that states none.

    Raises:
        ValueError: it is no such message.
    """
    message = decode(raw, _MESSAGE, "message") if role is None else _response_message(raw, role)
    kind = kind_of(message.role)
    role = message.role if message.name is None else f"{message.role} name={message.name}"
    segments = []
    thinking = message.reasoning_content
    if thinking is None and message.reasoning and is_text(message.reasoning):
        thinking = decode_text(message.reasoning, "reasoning")
    if thinking:
        segments.append(Segment(Kind.THINKING, role, thinking))
    segments += content_segments(message.content, kind, role)
    if message.refusal:
        segments.append(Segment(kind, role, message.refusal))
    calls = message.tool_calls or []
    if message.function_call is not None:
        calls = [*calls, _ToolCall(function=message.function_call)]
    segments += [_tool_call_segment(call, role) for call in calls]
    return segments or [Segment(kind, role, "")]


def content_segments(raw: msgspec.Raw, kind: Kind, role: str) -> list[Segment]:
    """A message's content: a text, a list of parts, or nothing.

    Raises:
        ValueError: it is none of these.
    """
    if not raw or bytes(raw) == b"null":
        return []
    if is_text(raw):
        text = decode_text(raw, "content")
        return [Segment(kind, role, text)] if text else []
    parts = decode_list(raw, "content")
    return [segment for part in parts for segment in _part_segments(part, kind, role)]


def _response_message(raw: msgspec.Raw, role: str) -> _Message:
    """A choice's message. Some servers and loggers leave its role out."""
    fields = decode_fields(raw, "message")
    if present(fields, "role") is None:
        fields["role"] = msgspec.Raw(msgspec.json.encode(role))
        raw = msgspec.Raw(msgspec.json.encode(fields))
    return decode(raw, _MESSAGE, "message")


def _part_segments(raw: msgspec.Raw, kind: Kind, role: str) -> list[Segment]:
    if is_text(raw):
        return [Segment(kind, role, decode_text(raw, "content"))]
    part = decode(raw, _PART, "content")
    if part.type in _TEXT_PARTS or part.type is None:
        text = part.refusal if part.type == "refusal" else part.text
        if text is not None:
            return [Segment(kind, role, text)]
    if part.type in _CALL_PARTS:
        return [call_segment(role, part.name, argument_text(part.input))]
    if part.type == "tool_result":
        return _result_segments(part.content, role)
    if part.type in _THINKING_PARTS:
        text = part.thinking or part.text or part.signature
        return [Segment(Kind.THINKING, role, text or canonical(raw, "content"))]
    if part.type in _MEDIA_PARTS:
        kind = Kind.MEDIA
    elif part.type is not None and part.type.endswith("_tool_result"):
        kind = Kind.TOOL_RESULT
    return [Segment(kind, role, canonical(raw, "content"))]


def _tool_call_segment(call: _ToolCall, role: str) -> Segment:
    if call.function is not None:
        return call_segment(role, call.function.name, argument_text(call.function.arguments))
    if call.custom is not None:
        return call_segment(role, call.custom.name, call.custom.input or "")
    return call_segment(role, call.name, argument_text(call.arguments or call.args))


def item_segments(raw: msgspec.Raw) -> list[Segment]:
    """An input or output item of OpenAI's Responses API as segments.

    Raises:
        ValueError: it is no such item.
    """
    if is_text(raw):
        raise ValueError("input: text where an item should be")
    item = decode(raw, _ITEM, "item")
    if item.type == "message" or (item.type is None and item.role is not None):
        return message_segments(raw)
    if item.type == "reasoning":
        return [Segment(Kind.THINKING, "assistant", _reasoning_text(item))]
    if item.type in ("function_call", "custom_tool_call"):
        given = item.arguments if item.type == "function_call" else item.input
        return [call_segment("assistant", item.name, argument_text(given))]
    if item.type in ("function_call_output", "custom_tool_call_output"):
        return _result_segments(item.output, "tool")
    if item.type in ("item_reference", "compaction"):
        return [Segment(Kind.UNLOGGED, "", item.encrypted_content or item.id or "")]
    if item.type is None:
        raise ValueError("input: an item with neither type nor role")
    text = canonical(raw, "item", without=("status",))
    if item.type.endswith("_output"):
        return [Segment(Kind.TOOL_RESULT, "tool", text)]
    if item.type.endswith("_call"):
        return [Segment(Kind.TOOL_CALL, "assistant", text)]
    return [Segment(Kind.TEXT, item.role or "", text)]


def _reasoning_text(item: _Item) -> str:
    """What identifies reasoning: its text where that is shown, else its id, else what is hidden."""
    parts = list(item.summary or ())
    if item.content and is_list(item.content):
        shown: list[_Part] = decode(item.content, _PARTS, "content")
        parts += shown
    text = "\n".join(part.text for part in parts if part.text)
    return text or item.id or item.encrypted_content or ""


def _result_segments(raw: msgspec.Raw, role: str) -> list[Segment]:
    """A tool's result: its parts, each text as a tool result and each image as media."""
    if raw and not is_list(raw):
        return [Segment(Kind.TOOL_RESULT, role, argument_text(raw))]
    found = content_segments(raw, Kind.TOOL_RESULT, role)
    return found or [Segment(Kind.TOOL_RESULT, role, "")]

"""Messages of Inspect logs as segments.

They are chat messages in Inspect's own dialect: a tool call's ``function`` is a name, its arguments
are decoded, reasoning and tools that ran at the provider are parts of the content
(github.com/UKGovernmentBEIS/inspect_ai, src/inspect_ai/model/_chat_message.py and
src/inspect_ai/_util/content.py). Long texts are taken out of events: ``attachment://<name>``
stands for one, in old logs ``tc://<name>``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec

from forkpoint.parsers.chat import Segment, argument_text, call_segment, kind_of
from forkpoint.parsers.raw_json import canonical, decode, decode_list, decode_text, is_text
from forkpoint.parsers.records import Kind

Attachments = Mapping[bytes, msgspec.Raw]
"""Texts that were taken out of a sample, by name, as JSON strings."""

_REFERENCE = re.compile(rb'"(?:attachment|tc)://([0-9A-Za-z]++)"')
_PROTOCOLS = (b'"attachment://', b'"tc://')
_MEDIA_PARTS = frozenset(("image", "audio", "video", "document"))
_OWN_FIELDS = ("internal",)
"""What Inspect keeps beside a part's content for itself."""


class _ToolCall(msgspec.Struct):
    function: str
    arguments: msgspec.Raw = msgspec.Raw()


class _ToolError(msgspec.Struct):
    message: str = ""


class Message(msgspec.Struct):
    """A message, its content still the log's own bytes."""

    role: str
    content: msgspec.Raw = msgspec.Raw()
    source: str | None = None
    model: str | None = None
    tool_calls: list[_ToolCall] | None = None
    error: _ToolError | None = None


class _Part(msgspec.Struct):
    type: str
    text: str | None = None
    reasoning: str | None = None
    summary: str | None = None
    signature: str | None = None
    name: str | None = None
    arguments: msgspec.Raw = msgspec.Raw()
    result: msgspec.Raw = msgspec.Raw()


_MESSAGE = msgspec.json.Decoder(Message)
_PART = msgspec.json.Decoder(_Part)


def resolved(raw: msgspec.Raw, attachments: Attachments) -> msgspec.Raw:
    """A value with attachments where references to them stand; unknown references stay."""
    data = bytes(raw)
    if not attachments or not any(protocol in data for protocol in _PROTOCOLS):
        return raw

    def attachment(reference: re.Match[bytes]) -> bytes:
        found = attachments.get(reference[1])
        return reference[0] if found is None else bytes(found)

    return msgspec.Raw(_REFERENCE.sub(attachment, data))


def read_message(raw: msgspec.Raw) -> Message:
    """A message.

    Raises:
        ValueError: it is none.
    """
    return decode(raw, _MESSAGE, "message")


def message_segments(raw: msgspec.Raw) -> list[Segment]:
    """A message as segments: content in its order, then tool calls.

    Raises:
        ValueError: it is no message of Inspect's.
    """
    message = read_message(raw)
    role, kind = message.role, kind_of(message.role)
    segments = _content_segments(message.content, kind, role)
    if not segments and message.error is not None and message.error.message:
        segments.append(Segment(kind, role, message.error.message))
    for call in message.tool_calls or ():
        segments.append(call_segment(role, call.function, argument_text(call.arguments)))
    return segments or [Segment(kind, role, "")]


def tool_segments(raw: msgspec.Raw) -> list[Segment]:
    """A list of tool definitions as segments.

    Raises:
        ValueError: it is no list.
    """
    return [Segment(Kind.TOOLS, "", canonical(tool, "tools")) for tool in decode_list(raw, "tools")]


def _content_segments(raw: msgspec.Raw, kind: Kind, role: str) -> list[Segment]:
    if not raw or bytes(raw) == b"null":
        return []
    if is_text(raw):
        text = decode_text(raw, "content")
        return [Segment(kind, role, text)] if text else []
    parts = decode_list(raw, "content")
    return [segment for part in parts for segment in _part_segments(part, kind, role)]


def _part_segments(raw: msgspec.Raw, kind: Kind, role: str) -> list[Segment]:
    if is_text(raw):
        return [Segment(kind, role, decode_text(raw, "content"))]
    part = decode(raw, _PART, "content")
    if part.type == "text":
        return [Segment(kind, role, part.text)] if part.text else []
    if part.type == "reasoning":
        return [
            Segment(Kind.THINKING, role, part.reasoning or part.summary or part.signature or "")
        ]
    if part.type == "tool_use":
        result = Segment(Kind.TOOL_RESULT, role, argument_text(part.result))
        return [call_segment(role, part.name, argument_text(part.arguments)), result]
    if part.type in _MEDIA_PARTS:
        kind = Kind.MEDIA
    return [Segment(kind, role, canonical(raw, "content", without=_OWN_FIELDS))]

"""Anthropic API logs: JSONL of Messages API requests and responses, and Message Batches files.

Envelopes: see `envelope`. Also Messages requests as Bedrock and Vertex take them.

Usage: ``input_tokens`` is only what was neither read from the cache nor written to it, so the
inclusive count is the sum with ``cache_read_input_tokens`` and ``cache_creation_input_tokens``.
The latter is split by lifetime in ``cache_creation.ephemeral_5m_input_tokens`` and
``ephemeral_1h_input_tokens``. ``diagnostics.cache_miss_reason.type`` says why the cache missed.

Order of a prompt: tools, system, messages. ``cache_control`` marks where a prompt may be cut and
is no part of it: a breakpoint that moves changes no segment.
https://docs.claude.com/en/api/messages
"""

from __future__ import annotations

from typing import ClassVar

import msgspec

from forkpoint.parsers.api_log import ApiLog, Choice, Part, Prompt
from forkpoint.parsers.chat import Segment, call_segment
from forkpoint.parsers.envelope import Envelope, provider_of
from forkpoint.parsers.raw_json import (
    Fields,
    canonical,
    decode,
    decode_fields,
    decode_list,
    decode_text,
    is_list,
    is_text,
    present,
    text_of,
)
from forkpoint.parsers.records import Kind, Tokens, Usage


class _CacheCreation(msgspec.Struct):
    ephemeral_5m_input_tokens: Tokens | None = None
    ephemeral_1h_input_tokens: Tokens | None = None


class _Usage(msgspec.Struct):
    input_tokens: Tokens | None = None
    cache_read_input_tokens: Tokens | None = None
    cache_creation_input_tokens: Tokens | None = None
    cache_creation: _CacheCreation | None = None
    output_tokens: Tokens | None = None


class _Message(msgspec.Struct):
    role: str
    content: str | list[msgspec.Raw]


class _Block(msgspec.Struct):
    """A content block of any type; the fields of the types that are taken apart."""

    type: str
    text: str | None = None
    thinking: str | None = None
    signature: str | None = None
    data: str | None = None
    name: str | None = None
    input: msgspec.Raw = msgspec.Raw()
    content: msgspec.Raw = msgspec.Raw()
    is_error: bool | None = None


_USAGE = msgspec.json.Decoder(_Usage)
_MESSAGE = msgspec.json.Decoder(_Message)
_BLOCK = msgspec.json.Decoder(_Block)

_CALLS = frozenset(("tool_use", "server_tool_use", "mcp_tool_use"))
_MEDIA = frozenset(("image", "document", "container_upload"))
_ROLES = frozenset(("user", "assistant", "system"))


class Anthropic(ApiLog):
    """Messages API requests and responses."""

    name: ClassVar[str] = "anthropic"
    title: ClassVar[str] = "Anthropic API requests and responses"
    checked: ClassVar[str] = "Messages API 2023-06-01, 2026-11"

    def _prompt(self, request: Fields, response: Fields | None) -> Prompt:
        messages = present(request, "messages")
        if messages is None:
            raise ValueError("no messages in this request")
        head = []
        for name in ("tools", "system"):
            raw = present(request, name)
            if raw is not None:
                head.append(Part(name, raw))
        return Prompt(head, [Part("message", raw) for raw in decode_list(messages, "messages")])

    def _segments(self, part: Part) -> list[Segment]:
        if part.reader == "tools":
            return [
                Segment(Kind.TOOLS, "", canonical(raw, "tools"))
                for raw in decode_list(part.raw, "tools")
            ]
        if part.reader == "system":
            return _system_segments(part.raw)
        return _message_segments(decode(part.raw, _MESSAGE, "message"))

    def _choices(self, response: Fields) -> list[Choice]:
        raw = present(response, "content")
        if raw is None:
            return []
        return [Choice(_content_segments(decode_list(raw, "content"), "assistant"))]

    def _usage(self, raw: msgspec.Raw) -> tuple[Usage, float | None]:
        logged = decode(raw, _USAGE, "usage")
        split = logged.cache_creation or _CacheCreation()
        read, write = logged.cache_read_input_tokens, logged.cache_creation_input_tokens
        short, long = split.ephemeral_5m_input_tokens, split.ephemeral_1h_input_tokens
        if write is None and (short is not None or long is not None):
            write = (short or 0) + (long or 0)
        whole = logged.input_tokens
        if whole is not None:
            whole += (read or 0) + (write or 0)
        usage = Usage(
            input_tokens=whole,
            cache_read_tokens=read,
            cache_write_tokens=write,
            cache_write_1h_tokens=long,
            output_tokens=logged.output_tokens,
        )
        return usage, None

    def _provider(self, envelope: Envelope, model: str | None) -> str | None:
        found = provider_of(envelope)
        if found is None and model is not None and "anthropic.claude" in model:
            return "aws"
        return found or "anthropic"

    def _service_tier(self, response: Fields) -> str | None:
        raw = present(response, "usage")
        return None if raw is None else text_of(decode_fields(raw, "usage"), "service_tier")

    def _miss_reason(self, response: Fields) -> str | None:
        raw = present(response, "diagnostics")
        if raw is None:
            return None
        reason = present(decode_fields(raw, "diagnostics"), "cache_miss_reason")
        if reason is None:
            return None
        if is_text(reason):
            return decode_text(reason, "cache_miss_reason")
        return text_of(decode_fields(reason, "cache_miss_reason"), "type")


def _system_segments(raw: msgspec.Raw) -> list[Segment]:
    if is_list(raw):
        blocks = decode_list(raw, "system")
        return [segment for block in blocks for segment in _block_segments(block, "system")]
    text = decode_text(raw, "system")
    return [Segment(Kind.SYSTEM, "system", text)] if text else []


def _message_segments(message: _Message) -> list[Segment]:
    if message.role not in _ROLES:
        raise ValueError(f"messages: a message of the role {message.role!r}")
    if isinstance(message.content, str):
        return [_text_segment(message.role, message.content)]
    return _content_segments(message.content, message.role)


def _content_segments(blocks: list[msgspec.Raw], role: str) -> list[Segment]:
    segments = [segment for block in blocks for segment in _block_segments(block, role)]
    return segments or [_text_segment(role, "")]


def _text_segment(role: str, text: str) -> Segment:
    return Segment(Kind.SYSTEM if role == "system" else Kind.TEXT, role, text)


def _block_segments(raw: msgspec.Raw, role: str) -> list[Segment]:
    """A content block as segments: one, or one for each part of a tool's result."""
    block = decode(raw, _BLOCK, "content")
    if block.type == "text":
        return [_text_segment(role, block.text or "")]
    if block.type == "tool_result":
        return _result_segments(block, role)
    if block.type in _CALLS:
        given = canonical(block.input, "input") if block.input else "{}"
        return [call_segment(role, block.name, given)]
    if block.type in ("thinking", "redacted_thinking"):
        return [Segment(Kind.THINKING, role, block.thinking or block.signature or block.data or "")]
    kind = Kind.TEXT
    if block.type in _MEDIA:
        kind = Kind.MEDIA
    elif block.type.endswith("_tool_result"):
        kind = Kind.TOOL_RESULT
    return [Segment(kind, role, canonical(raw, "content"))]


def _result_segments(block: _Block, role: str) -> list[Segment]:
    """A tool's result: its parts, each text as a tool result and each image as media."""
    role = f"{role} error" if block.is_error else role
    if not block.content or bytes(block.content) == b"null":
        return [Segment(Kind.TOOL_RESULT, role, "")]
    if is_text(block.content):
        return [Segment(Kind.TOOL_RESULT, role, decode_text(block.content, "content"))]
    segments = []
    for raw in decode_list(block.content, "content"):
        for kind, _, text in _block_segments(raw, role):
            segments.append(
                Segment(Kind.MEDIA if kind is Kind.MEDIA else Kind.TOOL_RESULT, role, text)
            )
    return segments or [Segment(Kind.TOOL_RESULT, role, "")]

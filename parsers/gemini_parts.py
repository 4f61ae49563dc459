"""Gemini's contents and token counts, as Gemini CLI and Qwen Code log them.

A content is ``{"role", "parts": [part, …]}``; loggers also write a part alone, a list of parts or a
plain text. A part is ``{"text", "thought"?}``, ``{"functionCall": {"id", "name", "args"}}``,
``{"functionResponse": {"id", "name", "response"}}``, ``{"inlineData"}`` or ``{"fileData"}``
(ai.google.dev/api/caching#Part).
"""

from __future__ import annotations

from itertools import product

import msgspec

from forkpoint.parsers.chat import Segment, argument_text, call_segment
from forkpoint.parsers.raw_json import canonical, decode, decode_list
from forkpoint.parsers.records import Kind, Tokens, Usage


class _FunctionCall(msgspec.Struct):
    name: str | None = None
    args: msgspec.Raw = msgspec.Raw()


class _FunctionResponse(msgspec.Struct):
    response: msgspec.Raw = msgspec.Raw()


class _Part(msgspec.Struct, rename="camel"):
    text: str | None = None
    thought: bool | None = None
    function_call: _FunctionCall | None = None
    function_response: _FunctionResponse | None = None
    inline_data: msgspec.Raw = msgspec.Raw()
    file_data: msgspec.Raw = msgspec.Raw()


class Content(msgspec.Struct):
    """Who said what; the role is ``user`` or ``model``."""

    role: str | None = None
    parts: msgspec.Raw = msgspec.Raw()


class _Output(msgspec.Struct, forbid_unknown_fields=True):
    """What most tools answer."""

    output: str


_PARTS = msgspec.json.Decoder(list[_Part | str] | _Part | str)
_OUTPUT = msgspec.json.Decoder(_Output)

ROLES = {"model": "assistant", "gemini": "assistant"}
"""Gemini's names of roles, to the usual ones; others stay as they are."""


def part_segments(raw: msgspec.Raw, role: str) -> list[Segment]:
    """A part, a list of parts or a text, as segments; function responses have the role ``tool``.

    Raises:
        ValueError: it is none of these.
    """
    if not raw or bytes(raw) == b"null":
        return []
    given = decode(raw, _PARTS, "content")
    parts = given if isinstance(given, list) else [given]
    found: list[Segment] = []
    for number, part in enumerate(parts):
        segment = _segment(part, role)
        if segment is None:
            other = decode_list(raw, "content")[number] if isinstance(given, list) else raw
            text = canonical(other, "part", without=("thoughtSignature",))
            segment = Segment(Kind.TEXT, role, text)
        if segment.text or segment.kind is Kind.TOOL_RESULT:
            found.append(segment)
    return found


def _segment(part: _Part | str, role: str) -> Segment | None:
    """One part; ``None`` for one of another type."""
    if isinstance(part, str):
        return Segment(Kind.TEXT, role, part)
    if part.text is not None:
        return Segment(Kind.THINKING if part.thought else Kind.TEXT, role, part.text)
    if part.function_call is not None:
        return call_segment(role, part.function_call.name, argument_text(part.function_call.args))
    if part.function_response is not None:
        text = _response_text(part.function_response.response)
        return Segment(Kind.TOOL_RESULT, "tool", text)
    media = part.inline_data or part.file_data
    return Segment(Kind.MEDIA, role, canonical(media, "part")) if media else None


def content_segments(content: Content) -> list[Segment]:
    """A content as segments.

    Raises:
        ValueError: it has parts of another shape.
    """
    role = content.role or "user"
    return part_segments(content.parts, ROLES.get(role, role))


def _response_text(raw: msgspec.Raw) -> str:
    if not raw:
        return ""
    try:
        return decode(raw, _OUTPUT).output
    except ValueError:
        return argument_text(raw)


def gemini_usage(
    *,
    prompt: Tokens | None,
    candidates: Tokens | None,
    cached: Tokens | None,
    thoughts: Tokens | None,
    tool: Tokens | None,
    total: Tokens | None,
) -> Usage | None:
    """Usage from Gemini's counts.

    The API counts cached tokens within the prompt, but thoughts beside the candidates and the
    results of its own tools beside the prompt. Gateways in between may do otherwise; the total says
    what they did, where it can be made of the parts at all.

    Returns:
        ``None`` if nothing is counted.

    Raises:
        ValueError: the counts contradict each other.
    """
    if not any((prompt, candidates, cached, thoughts, tool)):
        return None
    thoughts_beside, tool_beside, cached_beside = thoughts or 0, tool or 0, 0
    stated = (prompt or 0) + (candidates or 0)
    beside = product((thoughts or 0, 0), (tool or 0, 0), (0, cached or 0))
    for choice in beside:
        if total == stated + sum(choice):
            thoughts_beside, tool_beside, cached_beside = choice
            break
    output = None
    if candidates is not None or thoughts is not None:
        output = (candidates or 0) + thoughts_beside
    return Usage(
        input_tokens=None if prompt is None else prompt + tool_beside + cached_beside,
        cache_read_tokens=cached,
        output_tokens=output,
        reasoning_tokens=thoughts,
    )

"""One message of a prompt or an answer, in any dialect that observability platforms store.

What is read beside OpenAI chat, Anthropic's content blocks, the GenAI conventions and Vercel's AI SDK
(see `chat` and `span_messages`): LangChain's messages, Gemini's contents, items of OpenAI's Responses
API, and stand-ins for what a log does not hold (``{"unlogged": "name"}``).
https://github.com/langchain-ai/langchain (``langchain_core/messages``, ``/load``)
"""

from __future__ import annotations

import msgspec

from forkpoint.parsers.chat import Segment, item_segments
from forkpoint.parsers.gemini_parts import Content, content_segments
from forkpoint.parsers.raw_json import (
    Fields,
    canonical,
    decode_fields,
    decode_list,
    decode_text,
    is_list,
    is_object,
    is_text,
    present,
    word_of,
)
from forkpoint.parsers.records import Kind
from forkpoint.parsers.span_messages import read_message
from forkpoint.parsers.spans import elements_of, json_object

ITEM_TYPES = frozenset(("function_call", "function_call_output", "reasoning", "custom_tool_call"))
"""Items of the Responses API that have no role."""

_LANGCHAIN_ROLES = {
    "human": "user",
    "HumanMessage": "user",
    "ai": "assistant",
    "AIMessage": "assistant",
    "AIMessageChunk": "assistant",
    "HumanMessageChunk": "user",
    "system": "system",
    "SystemMessage": "system",
    "SystemMessageChunk": "system",
    "tool": "tool",
    "ToolMessage": "tool",
    "ToolMessageChunk": "tool",
    "function": "function",
    "FunctionMessage": "function",
    "developer": "developer",
}
"""LangChain's types and classes of messages, to roles."""

_ROLES = {"human": "user", "ai": "assistant", "model": "assistant"}
_GEMINI_PARTS = {
    "function_call": "functionCall",
    "function_response": "functionResponse",
    "inline_data": "inlineData",
    "file_data": "fileData",
    "thought_signature": "thoughtSignature",
}
"""How Google's Python SDK names the fields of a part, and how the API does."""
_CALL_TYPES = (b'"tool_use"', b'"tool_call"', b'"function_call"', b'"server_tool_use"')


def read(raw: msgspec.Raw) -> list[Segment]:
    """A message of any dialect as segments.

    Raises:
        ValueError: it is none.
    """
    if not is_object(raw):
        raise ValueError("neither a message nor text")
    fields = decode_fields(raw, "message")
    if fields.keys() == {"unlogged"}:
        return [Segment(Kind.UNLOGGED, "", decode_text(fields["unlogged"], "unlogged"))]
    langchain = langchain_message(fields)
    if langchain is not None:
        return read_message(_from_langchain(*langchain))
    if word_of(fields, "type") in ITEM_TYPES and "role" not in fields:
        return item_segments(raw)
    parts = present(fields, "parts")
    if parts is not None and is_list(parts) and _are_gemini(parts):
        role = word_of(fields, "role")
        return content_segments(Content(role, _renamed(parts)))
    return read_message(_plain(fields, raw))


def langchain_message(fields: Fields) -> tuple[str, Fields] | None:
    """The role and the fields of a message of LangChain's."""
    if "kwargs" in fields and "id" in fields:
        names = elements_of(fields["id"], "id")
        name = decode_text(names[-1], "id") if names and is_text(names[-1]) else ""
        return _named(name, decode_fields(fields["kwargs"], "kwargs"))
    type_ = word_of(fields, "type")
    if "role" in fields or type_ is None:
        return None
    inner = present(fields, "data")
    if inner is not None and is_object(inner) and type_ in (*_LANGCHAIN_ROLES, "chat"):
        return _named(type_, decode_fields(inner, "data"))
    return _named(type_, fields) if type_ in _LANGCHAIN_ROLES and "content" in fields else None


def _named(name: str, fields: Fields) -> tuple[str, Fields]:
    role = _LANGCHAIN_ROLES.get(name) or word_of(fields, "role") or word_of(fields, "type") or ""
    return _LANGCHAIN_ROLES.get(role, role) or "user", fields


def _from_langchain(role: str, fields: Fields) -> msgspec.Raw:
    """A message of LangChain's in the shape of OpenAI chat.

    The calls that the model wrote stand in ``additional_kwargs`` as the API gave them, in
    ``tool_calls`` taken apart, and for some providers among the parts of the content, too.
    """
    content = fields.get("content", msgspec.Raw(b"null"))
    message = {"role": quoted(role), "content": _normal_parts(content)}
    more = present(fields, "additional_kwargs")
    extra = decode_fields(more, "additional_kwargs") if more is not None and is_object(more) else {}
    calls = present(extra, "tool_calls") or present(fields, "tool_calls")
    if calls is not None and not (is_list(content) and _has_calls(content)):
        message["tool_calls"] = calls
    for name in ("function_call", "reasoning_content"):
        found = present(extra, name)
        if found is not None and name not in message:
            message[name] = found
    return json_object(message)


def _has_calls(content: msgspec.Raw) -> bool:
    data = bytes(content)
    return any(type_ in data for type_ in _CALL_TYPES)


def _normal_parts(content: msgspec.Raw) -> msgspec.Raw:
    """A content whose tool calls are in the shape of Anthropic's."""
    if not is_list(content) or not _has_calls(content):
        return content
    return json_list([_normal_part(each) for each in decode_list(content, "content")])


def _normal_part(raw: msgspec.Raw) -> msgspec.Raw:
    fields = decode_fields(raw, "content") if is_object(raw) else {}
    if word_of(fields, "type") not in ("tool_call", "function_call"):
        return raw
    given = present(fields, "args", "arguments", "input")
    call = {"type": quoted("tool_use"), "name": fields.get("name", msgspec.Raw(b"null"))}
    return json_object(call if given is None else call | {"input": given})


def _plain(fields: Fields, raw: msgspec.Raw) -> msgspec.Raw:
    """A chat message as APIs have it: other names of roles, calls among other things, and contents
    that a tracer took apart."""
    changed: Fields = {}
    role = _ROLES.get(word_of(fields, "role") or "")
    if role is not None:
        changed["role"] = quoted(role)
    more = present(fields, "additional_kwargs")
    if more is not None and is_object(more) and present(fields, "tool_calls") is None:
        extra = decode_fields(more, "additional_kwargs")
        for name in ("tool_calls", "function_call"):
            found = present(extra, name)
            if found is not None:
                changed[name] = found
    content = fields.get("content")
    if content is not None and not _is_content(content):
        changed["content"] = quoted(canonical(content, "content"))
    return json_object(fields | changed) if changed else raw


def _is_content(raw: msgspec.Raw) -> bool:
    return is_text(raw) or is_list(raw) or bytes(raw) == b"null"


def _are_gemini(parts: msgspec.Raw) -> bool:
    """Whether parts have no types, as in Gemini's API."""
    elements = decode_list(parts, "parts")
    return bool(elements) and not any(
        is_object(each) and "type" in decode_fields(each, "part") for each in elements
    )


def _renamed(parts: msgspec.Raw) -> msgspec.Raw:
    found = []
    for each in decode_list(parts, "parts"):
        if not is_object(each):
            found.append(each)
            continue
        fields = decode_fields(each, "part")
        found.append(
            json_object({_GEMINI_PARTS.get(name, name): raw for name, raw in fields.items()})
        )
    return json_list(found)


def quoted(text: str) -> msgspec.Raw:
    """A text as a JSON value."""
    return msgspec.Raw(msgspec.json.encode(text))


def json_list(elements: list[msgspec.Raw]) -> msgspec.Raw:
    """The JSON list of these values."""
    return msgspec.Raw(b"[" + b",".join(map(bytes, elements)) + b"]")

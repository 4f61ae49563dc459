"""Messages on spans as segments: what was sent to a model, and what it answered.

Where they stand: in ``gen_ai.tool.definitions``, ``gen_ai.system_instructions``,
``gen_ai.input.messages`` and ``gen_ai.output.messages``, structured or as JSON texts, a message being
``{role, parts}``; under older names (`older_genai_messages`); as OpenInference has them
(`openinference_messages`); or, from Vercel's AI SDK, in ``ai.prompt.messages``, ``ai.prompt.tools``,
``ai.response.text`` / ``.reasoning`` / ``.toolCalls`` / ``.object`` on the span of a call, and in
``ai.prompt`` on the one around it.

A prompt is handed on as messages that are still JSON; `read_message` takes one of any dialect apart.
Choices of one call, where it has several, are separate completions.

https://github.com/open-telemetry/semantic-conventions-genai/blob/main/docs/gen-ai/non-normative/models.py
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple, TypeVar

import msgspec

from forkpoint.parsers.chat import (
    Segment,
    argument_text,
    call_segment,
    content_segments,
    kind_of,
    message_segments,
)
from forkpoint.parsers.message_json import Messages, message, tools_message
from forkpoint.parsers.older_genai_messages import (
    messages_of_events,
    numbered_completions,
    numbered_prompt,
)
from forkpoint.parsers.openinference_messages import (
    openinference_completions,
    openinference_prompt,
    openinference_segments,
)
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
    text_of,
    word_of,
)
from forkpoint.parsers.records import Kind
from forkpoint.parsers.spans import Attributes, SpanEvent, elements_of, json_object, unpacked

T = TypeVar("T")

_TEXT_PARTS = frozenset(("text", "input_text", "output_text"))
_THINKING_PARTS = frozenset(("reasoning", "thinking"))
_MEDIA_PARTS = frozenset(("blob", "file", "uri", "image", "audio", "video", "document"))
_RESULT_PARTS = frozenset(("tool_call_response", "tool-result"))
_CALL_PARTS = frozenset(("tool_call", "tool-call"))


class Content(NamedTuple):
    """What a span logs of a call. ``None``: the span does not have it."""

    prompt: Messages | None
    """Tools, system instructions and messages, in the order in which a model is sent them."""
    completions: list[Messages] | None
    """The choices, each as messages: one, unless several were asked for."""


def content_of(attributes: Attributes, events: Iterable[SpanEvent] = ()) -> Content:
    """The prompt and the choices of a span, each from the first of its dialects that has it.

    Raises:
        ValueError: an attribute that should hold messages does not.
    """
    prompt = _first(attributes, _genai_prompt, openinference_prompt, _vercel_prompt)
    if prompt is None:
        prompt = _with_tools(attributes, numbered_prompt(attributes))
    completions = _first(attributes, _genai_completions, openinference_completions,
                         _vercel_completion, numbered_completions)  # fmt: skip
    if prompt is None or completions is None:
        said, chosen = messages_of_events(events)
        prompt = _with_tools(attributes, said or None) if prompt is None else prompt
        completions = completions or chosen or None
    return Content(prompt, completions)


def _first(attributes: Attributes, *readers: Callable[[Attributes], T | None]) -> T | None:
    for read in readers:
        found = read(attributes)
        if found is not None:
            return found
    return None


def _with_tools(attributes: Attributes, messages: Messages | None) -> Messages | None:
    return None if messages is None else [*_genai_tools(attributes), *messages]


# ---- GenAI conventions ----------------------------------------------------------------------------


def _genai_prompt(attributes: Attributes) -> Messages | None:
    messages = _messages_in(attributes.raw("gen_ai.input.messages"), "gen_ai.input.messages")
    if messages is None:
        return None
    system = attributes.json("gen_ai.system_instructions")
    head = [] if system is None else [message("system", system)]
    return [*_genai_tools(attributes), *head, *messages]


def _genai_tools(attributes: Attributes) -> Messages:
    tools = attributes.json("gen_ai.tool.definitions")
    if tools is not None:
        return [tools_message(elements_of(tools, "gen_ai.tool.definitions"))]
    functions = attributes.numbered("llm.request.functions")
    return (
        [tools_message(json_object(functions[n]) for n in sorted(functions))] if functions else []
    )


def _genai_completions(attributes: Attributes) -> list[Messages] | None:
    messages = _messages_in(attributes.raw("gen_ai.output.messages"), "gen_ai.output.messages")
    return [[message] for message in messages] if messages else None


def _messages_in(raw: msgspec.Raw | None, what: str) -> Messages | None:
    """A list of messages, or a text that holds one; any other text is one user's message."""
    if raw is None:
        return None
    raw = unpacked(raw, what)
    if is_object(raw):
        inner = present(decode_fields(raw, what), "messages")
        raw = msgspec.Raw(b"[" + bytes(raw) + b"]") if inner is None else inner
    return [message("user", raw)] if is_text(raw) else elements_of(raw, what)


# ---- Vercel's AI SDK ------------------------------------------------------------------------------


def _vercel_prompt(attributes: Attributes) -> Messages | None:
    raw = attributes.raw("ai.prompt.messages")
    if raw is not None:
        tools = elements_of(attributes.json("ai.prompt.tools"), "ai.prompt.tools")
        messages = _messages_in(raw, "ai.prompt.messages") or []
        return [*([tools_message(tools)] if tools else []), *messages]
    raw = attributes.json("ai.prompt")
    if raw is None or not is_object(raw):
        return None
    fields = decode_fields(raw, "ai.prompt")
    system = present(fields, "system", "instructions")
    head = [message("system", system)] if system is not None and is_text(system) else []
    turns = present(fields, "messages", "prompt")
    if turns is None or is_text(turns):
        return [*head, *([] if turns is None else [message("user", turns)])]
    return [*head, *elements_of(turns, "ai.prompt")]


def _vercel_completion(attributes: Attributes) -> list[Messages] | None:
    """What the model wrote, as one message of parts."""
    parts = []
    for name, type_ in (("reasoning", "reasoning"), ("text", "text"), ("object", "text")):
        text = attributes.word(f"ai.response.{name}", f"ai.result.{name}")
        if text is not None:
            parts.append(msgspec.json.encode({"type": type_, "content": text}))
    calls = attributes.json("ai.response.toolCalls", "ai.result.toolCalls")
    for call in elements_of(calls, "ai.response.toolCalls"):
        fields = decode_fields(call, "ai.response.toolCalls")
        parts.append(bytes(json_object(fields | {"type": msgspec.Raw(b'"tool-call"')})))
    if not parts:
        return None
    return [[msgspec.Raw(b'{"role":"assistant","parts":[' + b",".join(parts) + b"]}")]]


# ---- One message ----------------------------------------------------------------------------------


def read_message(raw: msgspec.Raw) -> list[Segment]:
    """A message of any dialect, or our message of tools, as segments.

    Raises:
        ValueError: it is none.
    """
    fields = decode_fields(raw, "message")
    if "role" not in fields and "tools" in fields:
        tools = decode_list(fields["tools"], "tools")
        return [Segment(Kind.TOOLS, "", canonical(each, "tools")) for each in tools]
    if any(name == "message" or name.startswith("message.") for name in fields):
        return openinference_segments(raw)
    parts = present(fields, "parts")
    if parts is None:
        content = present(fields, "content")
        if content is None or not is_list(content) or not _has_own_parts(fields, content):
            return message_segments(raw, role=None if word_of(fields, "role") else "assistant")
        parts = content
    role = word_of(fields, "role") or "assistant"
    name = word_of(fields, "name")
    kind, role = kind_of(role), role if name is None else f"{role} name={name}"
    found = [segment for part in elements_of(parts, "parts") for segment in _part(part, kind, role)]
    return found or [Segment(kind, role, "")]


def _has_own_parts(fields: Fields, content: msgspec.Raw) -> bool:
    """Whether a list has parts as only the AI SDK or the GenAI conventions have them. A system's
    instructions are such a list, too."""
    data = bytes(content)
    own = b'"tool-' in data or b'"tool_call' in data
    return own or (b'"content"' in data and "tool_calls" not in fields)


def _part(raw: msgspec.Raw, kind: Kind, role: str) -> list[Segment]:
    if is_text(raw):
        return [Segment(kind, role, decode_text(raw, "part"))]
    fields = decode_fields(raw, "part")
    type_ = word_of(fields, "type")
    if type_ in _TEXT_PARTS or type_ in _THINKING_PARTS:
        text = text_of(fields, "content", "text")
        shown = Kind.THINKING if type_ in _THINKING_PARTS else kind
        return [] if text is None else [Segment(shown, role, text)]
    if type_ in _CALL_PARTS:
        given = present(fields, "arguments", "input", "args") or msgspec.Raw()
        return [call_segment(role, word_of(fields, "name") or word_of(fields, "toolName"),
                             argument_text(given))]  # fmt: skip
    if type_ in _RESULT_PARTS:
        return _result(fields, role)
    text = canonical(raw, "part", without=("id", "toolCallId"))
    if type_ == "server_tool_call":
        return [Segment(Kind.TOOL_CALL, role, text)]
    if type_ == "server_tool_call_response":
        return [Segment(Kind.TOOL_RESULT, role, text)]
    if type_ in _MEDIA_PARTS:
        return [Segment(Kind.MEDIA, role, text)]
    if type_ == "compaction":
        return [Segment(Kind.TEXT, role, text_of(fields, "content") or text)]
    return content_segments(msgspec.Raw(b"[" + bytes(raw) + b"]"), kind, role)


def _result(fields: Fields, role: str) -> list[Segment]:
    """A tool's result. The AI SDK says what type of output it is."""
    raw = present(fields, "response", "result", "output", "content")
    if raw is not None and is_object(raw):
        output = decode_fields(raw, "result")
        if output.keys() <= {"type", "value", "providerOptions"} and "value" in output:
            raw = output["value"]
    return [Segment(Kind.TOOL_RESULT, role, argument_text(raw or msgspec.Raw()))]

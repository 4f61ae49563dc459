"""OpenAI API logs: JSONL of Chat Completions and Responses API requests and responses.

The same shapes come from Azure, OpenRouter, DeepSeek, vLLM, SGLang, LiteLLM and other servers that
speak the OpenAI protocol, whatever the model. Envelopes: see `envelope`.

Usage: the input count includes cached tokens. Chat: ``prompt_tokens``,
``prompt_tokens_details.{cached_tokens, cache_write_tokens}``, ``completion_tokens``,
``completion_tokens_details.reasoning_tokens``. Responses: ``input_tokens``,
``input_tokens_details.{cached_tokens, cache_write_tokens}``, ``output_tokens``,
``output_tokens_details.reasoning_tokens``. DeepSeek: ``prompt_cache_hit_tokens`` and
``prompt_cache_miss_tokens``. OpenRouter: ``cost`` in US dollars. The Responses API's
``prompt_cache_diagnostics.reason`` says why the cache missed.

Order of a prompt: tools, then messages (Responses: tools, instructions, input items). What a
response adds and a later request does not send back (ids of output items, status, annotations,
log probabilities, a null refusal) is no part of a segment, so a conversation goes on where its
last response ended.

``previous_response_id`` and ``conversation``: the prompt goes on from the end of that response
if it stands earlier in the file, among the last few hundred, and had the same tools and
instructions; else the part that the record does not hold is one `Kind.UNLOGGED` segment with
that id. Of several choices (``n`` > 1) the first is the completion.

Not read: chunks of streamed responses, embeddings, the legacy Completions API.
https://platform.openai.com/docs/api-reference
"""

from __future__ import annotations

from typing import ClassVar

import msgspec

from forkpoint.parsers.api_log import ApiLog, Part, Prompt, Segment
from forkpoint.parsers.envelope import Envelope, provider_of
from forkpoint.parsers.raw_json import (
    Fields,
    canonical,
    decode,
    decode_fields,
    decode_list,
    decode_text,
    id_of,
    is_list,
    is_object,
    is_text,
    present,
    text_of,
    word_of,
)
from forkpoint.parsers.records import Kind, Tokens, Usage


class _PromptDetails(msgspec.Struct):
    cached_tokens: Tokens | None = None
    cache_write_tokens: Tokens | None = None


class _CompletionDetails(msgspec.Struct):
    reasoning_tokens: Tokens | None = None


class _Usage(msgspec.Struct):
    """The counts of both APIs: a record has those of one."""

    prompt_tokens: Tokens | None = None
    completion_tokens: Tokens | None = None
    prompt_tokens_details: _PromptDetails | None = None
    completion_tokens_details: _CompletionDetails | None = None
    prompt_cache_hit_tokens: Tokens | None = None
    prompt_cache_miss_tokens: Tokens | None = None
    input_tokens: Tokens | None = None
    output_tokens: Tokens | None = None
    input_tokens_details: _PromptDetails | None = None
    output_tokens_details: _CompletionDetails | None = None
    cost: float | None = None


class _Function(msgspec.Struct):
    name: str | None = None
    arguments: msgspec.Raw = msgspec.Raw()


class _Custom(msgspec.Struct):
    name: str | None = None
    input: str | None = None


class _ToolCall(msgspec.Struct):
    id: str | None = None
    function: _Function | None = None
    custom: _Custom | None = None


class _Message(msgspec.Struct):
    """A chat message, or a Responses item of the type ``message``."""

    role: str
    content: str | list[msgspec.Raw] | None = None
    name: str | None = None
    tool_calls: list[_ToolCall] | None = None
    function_call: _Function | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    reasoning: msgspec.Raw = msgspec.Raw()


class _Part(msgspec.Struct):
    type: str | None = None
    text: str | None = None
    refusal: str | None = None


class _Choice(msgspec.Struct):
    message: msgspec.Raw = msgspec.Raw()


class _Item(msgspec.Struct):
    """A Responses item that is not a message. Only the fields of the known types are here."""

    type: str | None = None
    role: str | None = None
    id: str | None = None
    call_id: str | None = None
    name: str | None = None
    arguments: msgspec.Raw = msgspec.Raw()
    input: msgspec.Raw = msgspec.Raw()
    output: msgspec.Raw = msgspec.Raw()
    summary: list[_Part] | None = None
    content: msgspec.Raw = msgspec.Raw()
    encrypted_content: str | None = None


_USAGE = msgspec.json.Decoder(_Usage)
_MESSAGE = msgspec.json.Decoder(_Message)
_PART = msgspec.json.Decoder(_Part)
_PARTS = msgspec.json.Decoder(list[_Part])
_CHOICES = msgspec.json.Decoder(list[_Choice])
_ITEM = msgspec.json.Decoder(_Item)

_TEXT_PARTS = frozenset(("text", "input_text", "output_text", "refusal"))
_MEDIA_PARTS = frozenset(
    ("image_url", "input_image", "image", "input_audio", "audio", "file", "input_file", "video_url")
)
_KINDS = {
    "system": Kind.SYSTEM,
    "developer": Kind.SYSTEM,
    "tool": Kind.TOOL_RESULT,
    "function": Kind.TOOL_RESULT,
}
"""Kinds of text by role; any other role's is `Kind.TEXT`."""
_MODEL_MADE = (b'"assistant"', b'"function_call', b'"reasoning"')


class OpenAI(ApiLog):
    """Chat Completions and Responses API requests and responses."""

    name: ClassVar[str] = "openai"
    title: ClassVar[str] = "OpenAI API requests and responses"
    checked: ClassVar[str] = "Chat Completions v1, Responses v1, 2026-11"

    def _prompt(self, request: Fields, response: Fields | None) -> Prompt:
        head = []
        for name in ("tools", "functions"):
            raw = present(request, name)
            if raw is not None:
                head.append(Part("tools", raw))
        messages, given = present(request, "messages"), present(request, "input")
        if messages is not None:
            turns = [Part("message", raw) for raw in decode_list(messages, "messages")]
            return Prompt(head, turns)
        instructions = present(request, "instructions")
        if instructions is not None:
            head.append(Part("instructions", instructions))
        continues = text_of(request, "previous_response_id") or _conversation(request)
        if given is None and not continues:
            raise ValueError("no messages and no input in this request")
        turns = []
        if given is not None and is_text(given):
            turns = [Part("input", given)]
        elif given is not None:
            turns = [Part("item", raw) for raw in decode_list(given, "input")]
        first = None
        if not continues and _is_first_turn(request, given):
            first = id_of(response, "id")
        return Prompt(head, turns, continues or None, first)

    def _continuable(self, envelope: Envelope, response_id: str | None) -> list[str]:
        response = envelope.response or {}
        if "output" not in response:
            return []
        ids = (response_id, _conversation(envelope.request or {}), _conversation(response))
        return [key for key in ids if key]

    def _segments(self, part: Part) -> list[Segment]:
        if part.reader == "message":
            return _message_segments(part.raw)
        if part.reader == "item":
            return _item_segments(part.raw)
        if part.reader == "tools":
            return [
                Segment(Kind.TOOLS, "", _tool_text(raw)) for raw in decode_list(part.raw, "tools")
            ]
        if part.reader == "input":
            return [Segment(Kind.TEXT, "user", decode_text(part.raw, "input"))]
        if is_list(part.raw):
            items = decode_list(part.raw, "instructions")
            return [segment for raw in items for segment in _item_segments(raw)]
        return [Segment(Kind.SYSTEM, "system", decode_text(part.raw, "instructions"))]

    def _completion(self, response: Fields) -> list[Segment] | None:
        choices = present(response, "choices")
        if choices is not None:
            for choice in decode(choices, _CHOICES, "choices"):
                if choice.message and is_object(choice.message):
                    return _message_segments(choice.message, role="assistant")
            return None
        output = present(response, "output")
        if output is None:
            return None
        items = decode_list(output, "output")
        return [segment for raw in items for segment in _item_segments(raw)] or None

    def _usage(self, raw: msgspec.Raw) -> tuple[Usage, float | None]:
        logged = decode(raw, _USAGE, "usage")
        total = logged.prompt_tokens
        hit, miss = logged.prompt_cache_hit_tokens, logged.prompt_cache_miss_tokens
        if total is None and hit is not None and miss is not None:
            total = hit + miss
        read = logged.prompt_tokens_details or logged.input_tokens_details or _PromptDetails()
        made = logged.completion_tokens_details or logged.output_tokens_details
        cached = read.cached_tokens
        usage = Usage(
            input_tokens=logged.input_tokens if total is None else total,
            cache_read_tokens=hit if cached is None else cached,
            cache_write_tokens=read.cache_write_tokens,
            output_tokens=(
                logged.output_tokens
                if logged.completion_tokens is None
                else logged.completion_tokens
            ),
            reasoning_tokens=None if made is None else made.reasoning_tokens,
        )
        cost = logged.cost
        if cost is not None and not 0 <= cost < 1e9:
            raise ValueError(f"usage: a cost of {cost} dollars")
        return usage, cost

    def _provider(self, envelope: Envelope, model: str | None) -> str | None:
        found = provider_of(envelope)
        # OpenRouter's responses name the provider that answered, under ids of its own.
        response = envelope.response
        if found is None and (word_of(response, "id") or "").startswith("gen-"):
            found = "openrouter" if word_of(response, "provider") else None
        return found

    def _service_tier(self, response: Fields) -> str | None:
        return text_of(response, "service_tier")

    def _miss_reason(self, response: Fields) -> str | None:
        raw = present(response, "prompt_cache_diagnostics")
        if raw is None:
            return None
        return text_of(decode_fields(raw, "prompt_cache_diagnostics"), "reason")


def _conversation(fields: Fields) -> str | None:
    raw = present(fields, "conversation")
    if raw is None:
        return None
    if is_text(raw):
        return decode_text(raw, "conversation") or None
    return id_of(decode_fields(raw, "conversation"), "id")


def _is_first_turn(request: Fields, given: msgspec.Raw | None) -> bool:
    """Whether a Responses request starts a conversation that the provider keeps."""
    store = present(request, "store")
    if given is None or (store is not None and bytes(store) == b"false"):
        return False
    text = bytes(given)
    return not any(mark in text for mark in _MODEL_MADE)


def _tool_text(raw: msgspec.Raw) -> str:
    """A tool definition; gateways put cache markers at its top or into ``function``."""
    if is_object(raw) and b"cache_control" in bytes(raw):
        tool = decode_fields(raw, "tools")
        function = tool.get("function")
        if function is not None and is_object(function):
            tool["function"] = msgspec.Raw(canonical(function, "tools").encode())
            raw = msgspec.Raw(msgspec.json.encode(tool))
    return canonical(raw, "tools")


def _message_segments(raw: msgspec.Raw, role: str | None = None) -> list[Segment]:
    """A message as segments: thinking, then content, then tool calls, as models write them."""
    message = decode(raw, _MESSAGE, "message") if role is None else _response_message(raw, role)
    kind = _KINDS.get(message.role, Kind.TEXT)
    role = message.role if message.name is None else f"{message.role} name={message.name}"
    segments = []
    thinking = message.reasoning_content
    if thinking is None and message.reasoning and is_text(message.reasoning):
        thinking = decode_text(message.reasoning, "reasoning")
    if thinking:
        segments.append(Segment(Kind.THINKING, role, thinking))
    if isinstance(message.content, str):
        if message.content:
            segments.append(Segment(kind, role, message.content))
    else:
        segments += [_part_segment(part, kind, role) for part in message.content or ()]
    if message.refusal:
        segments.append(Segment(kind, role, message.refusal))
    calls = message.tool_calls or []
    if message.function_call is not None:
        calls = [*calls, _ToolCall(function=message.function_call)]
    segments += [_call_segment(call, role) for call in calls]
    return segments or [Segment(kind, role, "")]


def _response_message(raw: msgspec.Raw, role: str) -> _Message:
    """A choice's message. Some servers and loggers leave its role out."""
    fields = decode_fields(raw, "message")
    if present(fields, "role") is None:
        fields["role"] = msgspec.Raw(msgspec.json.encode(role))
        raw = msgspec.Raw(msgspec.json.encode(fields))
    return decode(raw, _MESSAGE, "message")


def _part_segment(raw: msgspec.Raw, kind: Kind, role: str) -> Segment:
    if is_text(raw):
        return Segment(kind, role, decode_text(raw, "content"))
    part = decode(raw, _PART, "content")
    if part.type in _TEXT_PARTS or part.type is None:
        text = part.refusal if part.type == "refusal" else part.text
        if text is not None:
            return Segment(kind, role, text)
    if part.type in _MEDIA_PARTS:
        kind = Kind.MEDIA
    elif part.type in ("thinking", "reasoning"):
        kind = Kind.THINKING
    return Segment(kind, role, canonical(raw, "content"))


def _call_segment(call: _ToolCall, role: str) -> Segment:
    name, text = "", ""
    if call.function is not None:
        name, text = call.function.name or "", _argument_text(call.function.arguments)
    elif call.custom is not None:
        name, text = call.custom.name or "", call.custom.input or ""
    return Segment(Kind.TOOL_CALL, role, f"{name}\n{call.id or ''}\n{text}")


def _argument_text(raw: msgspec.Raw) -> str:
    """Arguments as the model wrote them, or, where a logger decoded them, as compact JSON."""
    if not raw or bytes(raw) == b"null":
        return ""
    return decode_text(raw, "arguments") if is_text(raw) else canonical(raw, "arguments")


def _item_segments(raw: msgspec.Raw) -> list[Segment]:
    """An input or output item of the Responses API as segments."""
    if is_text(raw):
        raise ValueError("input: text where an item should be")
    item = decode(raw, _ITEM, "item")
    if item.type == "message" or (item.type is None and item.role is not None):
        return _message_segments(raw)
    if item.type == "reasoning":
        return [Segment(Kind.THINKING, "assistant", _reasoning_text(item))]
    if item.type in ("function_call", "custom_tool_call"):
        given = item.arguments if item.type == "function_call" else item.input
        text = f"{item.name or ''}\n{item.call_id or ''}\n{_argument_text(given)}"
        return [Segment(Kind.TOOL_CALL, "assistant", text)]
    if item.type in ("function_call_output", "custom_tool_call_output"):
        return _result_segments(item.output)
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


def _result_segments(raw: msgspec.Raw) -> list[Segment]:
    if not raw:
        return [Segment(Kind.TOOL_RESULT, "tool", "")]
    if is_list(raw):
        parts = decode_list(raw, "output")
        found = [_part_segment(part, Kind.TOOL_RESULT, "tool") for part in parts]
        return found or [Segment(Kind.TOOL_RESULT, "tool", "")]
    return [Segment(Kind.TOOL_RESULT, "tool", _argument_text(raw))]

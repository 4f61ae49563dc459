"""Messages on spans as segments: what was sent to a model, and what it answered.

Where they stand, by dialect:

- GenAI: ``gen_ai.tool.definitions``, ``gen_ai.system_instructions``, ``gen_ai.input.messages`` and
  ``gen_ai.output.messages``, structured or as JSON texts; a message is ``{role, parts}``. Older:
  ``gen_ai.prompt.N.role`` / ``.content`` / ``.tool_calls.M.name`` and ``gen_ai.completion.N.…``
  with ``llm.request.functions.N.…``; or events, one for each message (``gen_ai.user.message``, …,
  ``gen_ai.choice``), or two with all (``gen_ai.content.prompt`` and ``.completion``).
- OpenInference: ``llm.input_messages.N.message.…``, ``llm.output_messages.N.…``,
  ``llm.tools.N.tool.json_schema``, ``llm.prompts.N.prompt.text``, ``llm.choices.N.completion.text``,
  flattened, or as lists of objects.
- Vercel's AI SDK: ``ai.prompt.messages``, ``ai.prompt.tools``, ``ai.response.text`` / ``.reasoning`` /
  ``.toolCalls`` / ``.object`` on the span of a call, ``ai.prompt`` on the one around it.

A prompt is handed on as messages that are still JSON; `read_message` takes one of any dialect apart.
Choices of one call, where it has several, are separate completions.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import msgspec

from forkpoint.parsers.chat import (
    Segment,
    argument_text,
    call_segment,
    content_segments,
    kind_of,
    message_segments,
)
from forkpoint.parsers.raw_json import (
    Fields,
    canonical,
    decode_fields,
    decode_list,
    decode_text,
    decode_value,
    is_list,
    is_object,
    is_text,
    present,
    text_of,
    word_of,
)
from forkpoint.parsers.records import Kind
from forkpoint.parsers.spans import (
    Attributes,
    Numbered,
    SpanEvent,
    elements_of,
    json_object,
    unpacked,
)

Messages = list[msgspec.Raw]

_ROLE_EVENTS = {
    "gen_ai.system.message": "system",
    "gen_ai.user.message": "user",
    "gen_ai.assistant.message": "assistant",
    "gen_ai.tool.message": "tool",
}
_CHOICE_EVENT = "gen_ai.choice"
_CONTENT_EVENTS = ("gen_ai.content.prompt", "gen_ai.content.completion")
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
    """The messages of a span, from the first of its dialects that has any.

    Raises:
        ValueError: an attribute that should hold messages does not.
    """
    prompt, completions = _genai_prompt(attributes), _genai_completions(attributes)
    if prompt is None and completions is None:
        prompt, completions = (
            _openinference_prompt(attributes),
            _openinference_completions(attributes),
        )
    if prompt is None and completions is None:
        prompt, completions = _vercel_prompt(attributes), _vercel_completion(attributes)
    if prompt is None and completions is None:
        prompt, completions = _numbered_prompt(attributes), _numbered_completions(attributes)
    if prompt is None or completions is None:
        said, chosen = messages_of_events(events)
        prompt = [*_genai_tools(attributes), *said] if prompt is None and said else prompt
        completions = completions or chosen or None
    return Content(prompt, completions)


# ---- GenAI conventions ----------------------------------------------------------------------------


def _genai_prompt(attributes: Attributes) -> Messages | None:
    messages = _messages_in(attributes.raw("gen_ai.input.messages"), "gen_ai.input.messages")
    if messages is None:
        return None
    system = attributes.json("gen_ai.system_instructions")
    head = [] if system is None else [_system(system, "parts" if is_list(system) else "content")]
    return [*_genai_tools(attributes), *head, *messages]


def _genai_tools(attributes: Attributes) -> Messages:
    tools = attributes.json("gen_ai.tool.definitions")
    if tools is not None:
        return [_tools(elements_of(tools, "gen_ai.tool.definitions"))]
    functions = attributes.numbered("llm.request.functions")
    return [_tools(json_object(functions[n]) for n in sorted(functions))] if functions else []


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
    if is_text(raw):
        return [json_object({"role": msgspec.Raw(b'"user"'), "content": raw})]
    return elements_of(raw, what)


def _system(content: msgspec.Raw, name: str) -> msgspec.Raw:
    return json_object({"role": msgspec.Raw(b'"system"'), name: content})


def _tools(definitions: Iterable[msgspec.Raw]) -> msgspec.Raw:
    """Tool definitions, as a message of our own."""
    return msgspec.Raw(b'{"tools":[' + b",".join(map(bytes, definitions)) + b"]}")


def _numbered_prompt(attributes: Attributes) -> Messages | None:
    """``gen_ai.prompt.N.…``, or all of it in ``gen_ai.prompt``."""
    messages = attributes.numbered("gen_ai.prompt")
    if messages:
        found = [_numbered_message(messages[n]) for n in sorted(messages)]
        return [*_genai_tools(attributes), *(each for each in found if each is not None)]
    return _messages_in(attributes.raw("gen_ai.prompt"), "gen_ai.prompt")


def _numbered_completions(attributes: Attributes) -> list[Messages] | None:
    numbered = attributes.numbered("gen_ai.completion")
    if not numbered:
        whole = attributes.raw("gen_ai.completion")
        return None if whole is None else [[_as_assistant(whole)]]
    choices: list[Messages] = []
    thoughts: Messages = []
    for number in sorted(numbered):
        fields = numbered[number]
        message = _numbered_message(fields)
        if message is None:
            continue
        if word_of(fields, "role") == "thinking":
            # Thinking stands before the answer it led to, as if it were a choice.
            thoughts.append(message)
            continue
        choices.append([*thoughts, message])
        thoughts = []
    if thoughts:
        choices.append(thoughts)
    return choices or None


def _numbered_message(fields: Fields) -> msgspec.Raw | None:
    """A flattened message in the shape of OpenAI chat; ``None`` for what is no message (the
    provider's content filter)."""
    message: Fields = {}
    calls: Numbered = {}
    for name, raw in fields.items():
        if name in ("role", "content", "refusal"):
            message[name] = raw
        elif name == "user":  # The legacy Completions API.
            message |= {"role": msgspec.Raw(b'"user"'), "content": raw}
        elif name.startswith("tool_calls."):
            number, _, rest = name[11:].partition(".")
            if number.isdecimal():
                calls.setdefault(int(number), {})[rest] = raw
    if calls:
        listed = b",".join(bytes(json_object(calls[n])) for n in sorted(calls))
        message["tool_calls"] = msgspec.Raw(b"[" + listed + b"]")
    if not message:
        return None
    if "content" in message:
        message["content"] = _parts_in(message["content"])
    role = word_of(message, "role")
    if role == "thinking":
        thought = message.pop("content", msgspec.Raw(b'""'))
        message |= {"role": msgspec.Raw(b'"assistant"'), "reasoning_content": thought}
    elif role is None:
        message["role"] = msgspec.Raw(b'"assistant"' if calls else b'"user"')
    return json_object(message)


def _parts_in(raw: msgspec.Raw) -> msgspec.Raw:
    """A content's parts where a tracer wrote them as a text."""
    data = bytes(raw)
    return unpacked(raw, "content") if data.startswith(b'"[{') and b"type" in data else raw


def _as_assistant(raw: msgspec.Raw) -> msgspec.Raw:
    """An answer that was logged as a whole: a text, a message, or a list of them."""
    value = unpacked(raw, "gen_ai.completion")
    if is_list(value):
        listed = decode_list(value, "gen_ai.completion")
        value = listed[0] if listed else msgspec.Raw(b'""')
    if is_object(value):
        fields = decode_fields(value, "gen_ai.completion")
        inner = present(fields, "message")
        return value if inner is None else inner
    return json_object({"role": msgspec.Raw(b'"assistant"'), "content": value})


# ---- Events ---------------------------------------------------------------------------------------


def is_message_event(name: str) -> bool:
    """Whether an event carries a message, and nothing else of a call."""
    return name in _ROLE_EVENTS or name == _CHOICE_EVENT or name in _CONTENT_EVENTS


def messages_of_events(events: Iterable[SpanEvent]) -> tuple[Messages, list[Messages]]:
    """What the events of one call say: the messages sent, and the choices.

    Raises:
        ValueError: a message cannot be read.
    """
    sent: Messages = []
    choices: list[Messages] = []
    for event in events:
        role = _ROLE_EVENTS.get(event.name)
        if role is not None:
            sent.append(_event_message(event, role))
        elif event.name == _CHOICE_EVENT:
            choices.append([_event_choice(event)])
        elif event.name == _CONTENT_EVENTS[0]:
            raw = event.attributes.raw("gen_ai.prompt", "gen_ai.event.content")
            sent += _messages_in(raw, "gen_ai.prompt") or ()
        elif event.name == _CONTENT_EVENTS[1]:
            raw = event.attributes.raw("gen_ai.completion", "gen_ai.event.content")
            if raw is not None:
                choices.append([_as_assistant(raw)])
    return sent, choices


def _event_fields(event: SpanEvent) -> Fields:
    """A message's fields: the body of a log record, or a span event's attributes."""
    body = event.body or event.attributes.json("gen_ai.event.content")
    if body is not None and is_object(body):
        return decode_fields(body, "body")
    names = ("role", "content", "message", "tool_calls", "name")
    found = {name: event.attributes.raw(name) for name in names}
    fields = {name: raw for name, raw in found.items() if raw is not None}
    if body is not None and is_text(body) and not fields:
        fields["content"] = body
    return fields


def _event_message(event: SpanEvent, role: str) -> msgspec.Raw:
    fields = _event_fields(event)
    message: Fields = {"role": fields.get("role") or msgspec.Raw(msgspec.json.encode(role))}
    for name in ("content", "tool_calls", "name"):
        if name in fields:
            message[name] = unpacked(fields[name], name)
    return json_object(message)


def _event_choice(event: SpanEvent) -> msgspec.Raw:
    fields = _event_fields(event)
    raw = present(fields, "message")
    if raw is not None:
        raw = unpacked(raw, "message")
        if is_object(raw):
            return json_object(
                {"role": msgspec.Raw(b'"assistant"')} | decode_fields(raw, "message")
            )
        fields["content"] = raw
    return _event_message(SpanEvent("", Attributes(fields)), "assistant")


# ---- OpenInference --------------------------------------------------------------------------------


def _openinference_prompt(attributes: Attributes) -> Messages | None:
    messages = _list_of(attributes, "llm.input_messages")
    if not messages:
        messages = _texts_of(attributes, "llm.prompts", "prompt.text", "user")
    if not messages:
        return None
    tools = [_schema(each) for each in _list_of(attributes, "llm.tools")]
    head = [_tools(tools)] if tools else []
    return [*head, *messages]


def _openinference_completions(attributes: Attributes) -> list[Messages] | None:
    """Output messages are choices only if several were asked for; else a provider's API made
    several messages of one response."""
    messages = _list_of(attributes, "llm.output_messages")
    if not messages:
        texts = _texts_of(attributes, "llm.choices", "completion.text", "assistant")
        return [[text] for text in texts] or None
    return [[each] for each in messages] if _asks_for_choices(attributes) else [messages]


def _asks_for_choices(attributes: Attributes) -> bool:
    raw = attributes.raw("llm.invocation_parameters")
    if raw is None or b"n" not in bytes(raw):
        return False
    raw = unpacked(raw, "llm.invocation_parameters")
    n = present(decode_fields(raw), "n") if is_object(raw) else None
    return n is not None and bytes(n).isdigit() and int(bytes(n)[:9]) > 1


def _list_of(attributes: Attributes, name: str) -> Messages:
    """A list of objects, flattened or not."""
    numbered = attributes.numbered(name)
    if numbered:
        return [json_object(numbered[n]) for n in sorted(numbered)]
    raw = attributes.json(name)
    return [] if raw is None or not is_list(raw) else elements_of(raw, name)


def _texts_of(attributes: Attributes, name: str, field: str, role: str) -> Messages:
    found = []
    for raw in _list_of(attributes, name):
        text = _flat_values(decode_value(raw, name), "").get(field) if is_object(raw) else None
        if isinstance(text, str):
            message = {"role": role, "content": text}
            found.append(msgspec.Raw(msgspec.json.encode(message)))
    return found


def _schema(raw: msgspec.Raw) -> msgspec.Raw:
    """A tool's definition."""
    fields = decode_fields(raw, "llm.tools") if is_object(raw) else {}
    inner = present(fields, "tool.json_schema", "tool")
    if inner is not None and is_object(inner):
        inner = present(decode_fields(inner, "tool"), "json_schema", "tool.json_schema")
    return raw if inner is None else unpacked(inner, "tool.json_schema")


def _flat_values(value: Any, prefix: str) -> dict[str, Any]:
    """Objects and lists in objects as one object with dotted names."""
    if isinstance(value, dict):
        items: Iterable[tuple[Any, Any]] = value.items()
    elif isinstance(value, list):
        items = enumerate(value)
    else:
        return {prefix[:-1]: value}
    found: dict[str, Any] = {}
    for name, each in items:
        found |= _flat_values(each, f"{prefix}{name}.")
    return found


def _openinference_message(raw: msgspec.Raw) -> list[Segment]:
    """A message of OpenInference. Its ordered contents, where it has them, repeat its content and
    may repeat its tool calls."""
    flat = _flat_values(decode_value(raw, "message"), "")
    flat = {name.removeprefix("message."): value for name, value in flat.items()}
    role = _string(flat.get("role")) or "user"
    name = _string(flat.get("name"))
    kind, role = kind_of(role), role if name is None else f"{role} name={name}"
    contents, calls = _grouped(flat, "contents."), _grouped(flat, "tool_calls.")
    segments: list[Segment] = []
    for part in contents:
        segments += _openinference_part(part, kind, role)
    if not contents and _string(flat.get("content")):
        segments.append(Segment(kind, role, flat["content"]))
    if not any(segment.kind is Kind.TOOL_CALL for segment in segments):
        segments += [_openinference_call(call, role) for call in calls]
    function = _string(flat.get("function_call_name"))
    if function is not None:
        arguments = _string(flat.get("function_call_arguments_json")) or ""
        segments.append(call_segment(role, function, arguments))
    return segments or [Segment(kind, role, "")]


def _grouped(flat: dict[str, Any], prefix: str) -> list[dict[str, Any]]:
    """The elements of a list that was flattened, in order."""
    groups: dict[int, dict[str, Any]] = {}
    for name, value in flat.items():
        if name.startswith(prefix):
            number, _, rest = name[len(prefix) :].partition(".")
            if number.isdecimal() and len(number) < 10:
                groups.setdefault(int(number), {})[rest] = value
    return [groups[number] for number in sorted(groups)]


def _openinference_part(part: dict[str, Any], kind: Kind, role: str) -> list[Segment]:
    fields = {name.removeprefix("message_content."): value for name, value in part.items()}
    type_ = fields.get("type")
    text = _string(fields.get("text"))
    if type_ == "tool_use":
        return [_openinference_call(part, role)]
    if type_ == "reasoning":
        hidden = ("data", "encrypted_content", "signature", "id")
        shown = text or next((fields[name] for name in hidden if _string(fields.get(name))), "")
        return [Segment(Kind.THINKING, role, shown)]
    if type_ in ("image", "audio"):
        return [Segment(Kind.MEDIA, role, msgspec.json.encode(fields, order="sorted").decode())]
    return [] if text is None else [Segment(kind, role, text)]


def _openinference_call(call: dict[str, Any], role: str) -> Segment:
    fields = {name.removeprefix("tool_call."): value for name, value in call.items()}
    arguments = _string(fields.get("function.arguments")) or ""
    return call_segment(role, _string(fields.get("function.name")), arguments)


def _string(value: Any) -> str | None:
    return value if isinstance(value, str) else None


# ---- Vercel's AI SDK ------------------------------------------------------------------------------


def _vercel_prompt(attributes: Attributes) -> Messages | None:
    raw = attributes.raw("ai.prompt.messages")
    if raw is not None:
        tools = elements_of(attributes.json("ai.prompt.tools"), "ai.prompt.tools")
        messages = _messages_in(raw, "ai.prompt.messages") or []
        return [*([_tools(tools)] if tools else []), *messages]
    raw = attributes.json("ai.prompt")
    if raw is None or not is_object(raw):
        return None
    fields = decode_fields(raw, "ai.prompt")
    system = present(fields, "system", "instructions")
    head = [_system(system, "content")] if system is not None and is_text(system) else []
    turns = present(fields, "messages", "prompt")
    return [*head, *(_messages_in(turns, "ai.prompt") or ())]


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
        return _openinference_message(raw)
    parts = present(fields, "parts")
    if parts is None:
        content = present(fields, "content")
        if content is None or not is_list(content) or not _has_own_parts(content):
            return message_segments(raw, role=None if word_of(fields, "role") else "assistant")
        parts = content
    role = word_of(fields, "role") or "assistant"
    name = word_of(fields, "name")
    kind, role = kind_of(role), role if name is None else f"{role} name={name}"
    found = [segment for part in elements_of(parts, "parts") for segment in _part(part, kind, role)]
    return found or [Segment(kind, role, "")]


def _has_own_parts(content: msgspec.Raw) -> bool:
    """Whether a content has parts of types that only the AI SDK or the GenAI conventions have."""
    data = bytes(content)
    return b'"tool-' in data or b'"tool_call' in data


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

"""Messages under the older names of OpenTelemetry's GenAI conventions.

- ``gen_ai.prompt.N.role`` / ``.content`` / ``.tool_calls.M.name`` and ``gen_ai.completion.N.…``, as
  OpenLLMetry wrote them until 2025, or all of a prompt in ``gen_ai.prompt``;
- events, one for each message (``gen_ai.user.message``, …, ``gen_ai.choice``), on a span or as log
  records, or two with all of them (``gen_ai.content.prompt`` and ``gen_ai.content.completion``).

https://github.com/traceloop/openllmetry/tree/0.47.0/packages
https://github.com/open-telemetry/semantic-conventions/blob/v1.36.0/docs/gen-ai/gen-ai-events.md
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from forkpoint.parsers.message_json import Messages, message
from forkpoint.parsers.raw_json import (
    Fields,
    decode_fields,
    decode_list,
    is_object,
    is_text,
    present,
    word_of,
)
from forkpoint.parsers.spans import (
    Attributes,
    Numbered,
    SpanEvent,
    elements_of,
    json_object,
    unpacked,
)

_ROLE_EVENTS = {
    "gen_ai.system.message": "system",
    "gen_ai.user.message": "user",
    "gen_ai.assistant.message": "assistant",
    "gen_ai.tool.message": "tool",
}
_CHOICE_EVENT = "gen_ai.choice"
_CONTENT_EVENTS = ("gen_ai.content.prompt", "gen_ai.content.completion")


def numbered_prompt(attributes: Attributes) -> Messages | None:
    """The messages in ``gen_ai.prompt``, flattened or not; ``None`` if there are none.

    Raises:
        ValueError: they are of another shape.
    """
    messages = attributes.numbered("gen_ai.prompt")
    if messages:
        found = [_numbered_message(messages[n]) for n in sorted(messages)]
        return [each for each in found if each is not None]
    raw = attributes.raw("gen_ai.prompt")
    return None if raw is None else _whole(raw, "user")


def numbered_completions(attributes: Attributes) -> list[Messages] | None:
    """The choices in ``gen_ai.completion``, each as messages; ``None`` if there are none.

    Raises:
        ValueError: they are of another shape.
    """
    numbered = attributes.numbered("gen_ai.completion")
    if not numbered:
        whole = attributes.raw("gen_ai.completion")
        return None if whole is None else [[each] for each in _whole(whole, "assistant")]
    choices: list[Messages] = []
    thoughts: Messages = []
    for number in sorted(numbered):
        fields = numbered[number]
        found = _numbered_message(fields)
        if found is None:
            continue
        if word_of(fields, "role") == "thinking":
            # Thinking stands before the answer it led to, as if it were a choice.
            thoughts.append(found)
            continue
        choices.append([*thoughts, found])
        thoughts = []
    if thoughts:
        choices.append(thoughts)
    return choices or None


def _numbered_message(fields: Fields) -> msgspec.Raw | None:
    """A flattened message in the shape of OpenAI chat; ``None`` for what is no message (the
    provider's content filter)."""
    made: Fields = {}
    calls: Numbered = {}
    for name, raw in fields.items():
        if name in ("role", "content", "refusal"):
            made[name] = raw
        elif name == "user":  # The legacy Completions API.
            made |= {"role": msgspec.Raw(b'"user"'), "content": raw}
        elif name.startswith("tool_calls."):
            number, _, rest = name[11:].partition(".")
            if number.isdecimal():
                calls.setdefault(int(number), {})[rest] = raw
    if calls:
        listed = b",".join(bytes(json_object(calls[n])) for n in sorted(calls))
        made["tool_calls"] = msgspec.Raw(b"[" + listed + b"]")
    if not made:
        return None
    if "content" in made:
        made["content"] = _parts_in(made["content"])
    role = word_of(made, "role")
    if role == "thinking":
        thought = made.pop("content", msgspec.Raw(b'""'))
        made |= {"role": msgspec.Raw(b'"assistant"'), "reasoning_content": thought}
    elif role is None:
        made["role"] = msgspec.Raw(b'"assistant"' if calls else b'"user"')
    return json_object(made)


def _parts_in(raw: msgspec.Raw) -> msgspec.Raw:
    """A content's parts, where a tracer wrote them as a text; any other text as it is."""
    if not is_text(raw) or not bytes(raw).startswith(b'"[{'):
        return raw
    inner = unpacked(raw, "content")
    try:
        parts = [decode_fields(each) for each in decode_list(inner, "content")]
    except ValueError:
        return raw  # A text that only begins so.
    return inner if all("type" in part or "text" in part for part in parts) else raw


def _whole(raw: msgspec.Raw, role: str) -> Messages:
    """Messages that were logged as a whole: a text, a message, or a list of messages. A model may
    also be given, and write, JSON that holds none."""
    inner = unpacked(raw, role)
    try:
        if is_object(inner):
            inner = present(decode_fields(inner), "messages") or inner
        messages = [decode_fields(each) for each in elements_of(inner, role)]
    except ValueError:
        return [message(role, raw)]
    messages = [_unwrapped(each) for each in messages]
    if not messages or not all("role" in each or "content" in each for each in messages):
        return [message(role, raw)]
    given: Fields = {"role": msgspec.Raw(msgspec.json.encode(role))}
    return [json_object(given | each) for each in messages]


def _unwrapped(choice: Fields) -> Fields:
    inner = present(choice, "message")
    return decode_fields(inner) if inner is not None and is_object(inner) else choice


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
            sent += [] if raw is None else _whole(raw, "user")
        elif event.name == _CONTENT_EVENTS[1]:
            raw = event.attributes.raw("gen_ai.completion", "gen_ai.event.content")
            choices += [] if raw is None else [[each] for each in _whole(raw, "assistant")]
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
    made: Fields = {"role": fields.get("role") or msgspec.Raw(msgspec.json.encode(role))}
    if "content" in fields:
        made["content"] = _parts_in(fields["content"])
    if "tool_calls" in fields:
        made["tool_calls"] = unpacked(fields["tool_calls"], "tool_calls")
    if "name" in fields:
        made["name"] = fields["name"]
    return json_object(made)


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

"""OpenInference's messages: ``llm.input_messages.N.message.…``, ``llm.output_messages.N.…``,
``llm.tools.N.tool.json_schema``, and ``llm.prompts.N.prompt.text`` and
``llm.choices.N.completion.text`` of the Completions API; flattened, or as lists of objects.

https://github.com/Arize-ai/openinference/blob/main/spec/llm_spans.md
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from forkpoint.parsers.chat import Segment, call_segment, kind_of
from forkpoint.parsers.message_json import Messages, tools_message
from forkpoint.parsers.raw_json import (
    decode_fields,
    decode_value,
    is_list,
    is_object,
    present,
)
from forkpoint.parsers.records import Kind
from forkpoint.parsers.spans import Attributes, elements_of, json_object, unpacked


def openinference_prompt(attributes: Attributes) -> Messages | None:
    """Tools and messages of a prompt; ``None`` if there are none.

    Raises:
        ValueError: they are of another shape.
    """
    messages = _list_of(attributes, "llm.input_messages")
    if not messages:
        messages = _texts_of(attributes, "llm.prompts", "prompt.text", "user")
    if not messages:
        return None
    tools = [_schema(each) for each in _list_of(attributes, "llm.tools")]
    head = [tools_message(tools)] if tools else []
    return [*head, *messages]


def openinference_completions(attributes: Attributes) -> list[Messages] | None:
    """The choices, each as messages; ``None`` if there are none.

    Output messages are choices only if several were asked for; else a provider's API made several
    messages of one response.

    Raises:
        ValueError: they are of another shape.
    """
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


def openinference_segments(raw: msgspec.Raw) -> list[Segment]:
    """A message as segments. Its ordered contents, where it has them, repeat its content and may
    repeat its tool calls.

    Raises:
        ValueError: it is none.
    """
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

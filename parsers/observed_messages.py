"""Inputs and outputs of model calls as observability platforms store them: whatever a tracer gave.

A platform keeps the input and the output of a call as JSON of any shape. These are taken apart:

- requests and responses of OpenAI's, Anthropic's and Gemini's APIs, or their messages alone;
- LangChain's messages: serialised (``{lc, type: "constructor", id: […, "HumanMessage"], kwargs}``),
  as ``{type: "human", data: {…}}`` and flat (``{type: "human", content}``); its results
  (``{generations: [[{text, message}]], llm_output}``). Langfuse's callback for LangChain lists the
  tool definitions behind the messages, as if tools had said them: they go where tools belong;
- messages of the GenAI conventions and of Vercel's AI SDK (see `span_messages`), and the AI SDK's tool
  calls alone;
- any of these as a text that holds JSON; other texts.

A prompt is handed on as messages that are still JSON, tools first; `read` takes one apart. What is of
no known shape is one message of the user, or of the assistant, as compact JSON.
https://github.com/langchain-ai/langchain (``langchain_core/messages``, ``/load``)
"""

from __future__ import annotations

import re
from collections.abc import Iterable

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
from forkpoint.parsers.span_messages import read_message
from forkpoint.parsers.spans import elements_of, json_object, unpacked

Messages = list[msgspec.Raw]

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
_TOOL_DEFINITION = re.compile(rb'"content"\s*+:\s*+\{')
"""Quotes in a text are escaped, so only a field matches."""
_TEXT_FIELDS = ("prompt", "prompts", "input", "text", "question", "query")
_ANSWER_FIELDS = ("content", "text", "output", "completion", "answer", "response", "result")
_GEMINI_PARTS = {
    "function_call": "functionCall",
    "function_response": "functionResponse",
    "inline_data": "inlineData",
    "file_data": "fileData",
    "thought_signature": "thoughtSignature",
}
"""How Google's Python SDK names the fields of a part, and how the API does."""
_CALL_TYPES = (b'"tool_use"', b'"tool_call"', b'"function_call"', b'"server_tool_use"')
_ITEM_TYPES = frozenset(("function_call", "function_call_output", "reasoning", "custom_tool_call"))


# ---- Prompts --------------------------------------------------------------------------------------


def prompt_messages(raw: msgspec.Raw, tools: msgspec.Raw | None = None) -> Messages:
    """The messages of a call's input, tool definitions first.

    Args:
        tools: definitions that stand elsewhere in the record, for an input that has none.

    Raises:
        ValueError: a list of messages is none.
    """
    messages = _messages_in(raw)
    if tools is not None and not (messages and _is_tools(messages[0])):
        messages = [*tools_message(tools), *messages]
    return messages


def _messages_in(raw: msgspec.Raw) -> Messages:
    raw = _opened(raw)
    if is_list(raw):
        return _listed(decode_list(raw, "input"))
    if is_object(raw):
        return _of_request(decode_fields(raw, "input"), raw)
    return [] if bytes(raw) == b"null" else [message_of("user", raw)]


def _listed(elements: Messages) -> Messages:
    """A list of messages; a list of such lists, of which LangChain sends one."""
    if elements and all(is_list(each) for each in elements):
        elements = decode_list(elements[0], "input")
    tools, messages = [], []
    for each in elements:
        each = unpacked(each, "input")
        definition = _tool_definition(each)
        if definition is not None:
            tools.append(definition)
        else:
            messages.append(each if is_object(each) else message_of("user", each))
    return [*_tools(tools), *messages]


def _tool_definition(raw: msgspec.Raw) -> msgspec.Raw | None:
    """The tool definition that a message of the role ``tool`` is a wrapper of."""
    if not is_object(raw) or _TOOL_DEFINITION.search(raw) is None:
        return None
    fields = decode_fields(raw, "message")
    content = present(fields, "content")
    if word_of(fields, "role") != "tool" or content is None or not is_object(content):
        return None
    return content if "function" in decode_fields(content, "content") else None


def _of_request(request: Fields, raw: msgspec.Raw) -> Messages:
    """The messages of an API's request, or of another object with an input."""
    if present(request, "contents") is not None:
        return _of_gemini(request)
    messages = present(request, "messages")
    given = present(request, "input")
    if messages is None and given is not None and is_list(given):
        messages = given
    if messages is None:
        found = present(request, *_TEXT_FIELDS)
        system = present(request, "system", "instructions")
        head = [] if system is None else [message_of("system", system)]
        if found is None:
            return [*head, message_of("user", raw)]
        return [*head, *_messages_in(found)]
    head = tools_message(present(request, "tools"))
    system = present(request, "system", "instructions")
    if system is not None:
        head.append(message_of("system", system))
    said = _messages_in(messages)
    # Tools that stand among the messages stand before the system prompt, too.
    first = said[:1] if said and _is_tools(said[0]) and not head else []
    return [*first, *head, *said[len(first) :]]


def _of_gemini(request: Fields) -> Messages:
    """A request to Gemini's API, or what Google's agent kit logs of one."""
    raw = present(request, "config")
    config = decode_fields(raw, "config") if raw is not None and is_object(raw) else request
    head = []
    for group in elements_of(present(config, "tools"), "tools"):
        fields = decode_fields(group, "tools") if is_object(group) else {}
        functions = present(fields, "function_declarations", "functionDeclarations")
        head += [group] if functions is None else elements_of(functions, "tools")
    system = present(config, "system_instruction", "systemInstruction")
    first = _tools(head)
    if system is not None:
        first.append(_as_system(system))
    contents = present(request, "contents")
    return [*first, *elements_of(contents, "contents")]


def _as_system(raw: msgspec.Raw) -> msgspec.Raw:
    if is_object(raw):
        return json_object(decode_fields(raw, "system") | {"role": _text("system")})
    return message_of("system", raw)


def tools_message(raw: msgspec.Raw | None) -> Messages:
    """Tool definitions as one message of our own; none if there are none. They may be a list, or
    texts by name, each with a definition in it.

    Raises:
        ValueError: a text begins as JSON and is none.
    """
    if raw is None:
        return []
    raw = unpacked(raw, "tools")
    if is_object(raw):
        return _tools(unpacked(each, "tools") for each in decode_fields(raw, "tools").values())
    return _tools(elements_of(raw, "tools")) if is_list(raw) else []


def _tools(definitions: Iterable[msgspec.Raw]) -> Messages:
    joined = b",".join(map(bytes, definitions))
    return [msgspec.Raw(b'{"tools":[' + joined + b"]}")] if joined else []


def _is_tools(raw: msgspec.Raw) -> bool:
    return memoryview(raw)[:10].tobytes() == b'{"tools":['


def message_of(role: str, content: msgspec.Raw) -> msgspec.Raw:
    """A chat message; a content that no API has is written as a text."""
    if not is_text(content) and not is_list(content):
        content = _text(canonical(content, "content"))
    return json_object({"role": _text(role), "content": content})


def _text(text: str) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(text))


def _opened(raw: msgspec.Raw) -> msgspec.Raw:
    """A value, or what a text that begins like JSON holds; a text that only begins so stays one."""
    try:
        return unpacked(raw, "input")
    except ValueError:
        return raw


# ---- Completions ----------------------------------------------------------------------------------


def completion_messages(raw: msgspec.Raw) -> list[Messages]:
    """The choices of a call's output, each as messages: one, unless several were asked for.

    Raises:
        ValueError: what should be a list of messages is none.
    """
    opened = _opened(raw)
    if is_list(opened):
        return _of_list(decode_list(opened, "output"), raw)
    if is_object(opened):
        return _of_response(decode_fields(opened, "output"), raw)
    if bytes(opened) in (b"null", b'""'):
        return []
    return [[message_of("assistant", opened)]]


def _of_list(elements: Messages, raw: msgspec.Raw) -> list[Messages]:
    if not elements:
        return []
    if not all(is_object(each) for each in elements):
        return [[message_of("assistant", raw if is_text(raw) else _joined(elements))]]
    first = decode_fields(elements[0], "output")
    if "toolName" in first:
        return [[_with_parts(b'"tool-call"', elements)]]
    if "role" in first or _langchain(first) is not None or word_of(first, "type") in _ITEM_TYPES:
        return [elements]
    if "message" in first:
        return [_answer(each) for each in elements]
    if "type" in first:
        return [[message_of("assistant", _joined(elements))]]
    return [[message_of("assistant", raw)]]


def _joined(elements: Messages) -> msgspec.Raw:
    return msgspec.Raw(b"[" + b",".join(map(bytes, elements)) + b"]")


def _with_parts(type_: bytes, elements: Messages) -> msgspec.Raw:
    """A message of the AI SDK's parts, all of one type."""
    parts = [
        json_object(decode_fields(each, "output") | {"type": msgspec.Raw(type_)})
        for each in elements
    ]
    return msgspec.Raw(b'{"role":"assistant","parts":' + bytes(_joined(parts)) + b"}")


def _of_response(response: Fields, raw: msgspec.Raw) -> list[Messages]:
    """The choices of an API's response, of LangChain's result or of another object."""
    if ("role" in response and "content" in response) or _langchain(response) is not None:
        return [[json_object(response)]]
    for name in ("choices", "candidates"):
        choices = present(response, name)
        if choices is not None and is_list(choices):
            return [_answer(each) for each in decode_list(choices, name)]
    generations = present(response, "generations")
    if generations is not None and is_list(generations):
        return _of_generations(decode_list(generations, "generations"))
    items = present(response, "output", "messages")
    if items is not None and is_list(items):
        return completion_messages(items)
    content = present(response, "content", "message")
    if content is not None and is_object(content):
        return [_answer(json_object(response))]
    found = present(response, *_ANSWER_FIELDS)
    calls = present(response, "toolCalls", "tool_calls")
    if calls is not None and is_list(calls):
        return [_of_text_and_calls(found, decode_list(calls, "toolCalls"))]
    if found is not None and (is_text(found) or is_list(found)):
        return [[message_of("assistant", found)]]
    return [[message_of("assistant", raw)]]


def _of_text_and_calls(text: msgspec.Raw | None, calls: Messages) -> Messages:
    said = [message_of("assistant", text)] if text is not None and is_text(text) else []
    return [*said, _with_parts(b'"tool-call"', [each for each in calls if is_object(each)])]


def _answer(raw: msgspec.Raw) -> Messages:
    """A choice, a candidate or a generation as messages: the message in it, or its text."""
    fields = decode_fields(raw, "choice")
    inner = present(fields, "message", "content")
    if inner is not None and is_object(inner):
        return [inner]
    text = present(fields, "text") if inner is None else inner
    return [] if text is None else [message_of("assistant", text)]


def _of_generations(groups: Messages) -> list[Messages]:
    """LangChain's generations: a list for each prompt, of which a call has one."""
    if groups and is_list(groups[0]):
        groups = decode_list(groups[0], "generations")
    return [answer for answer in map(_answer, groups) if answer]


# ---- One message ----------------------------------------------------------------------------------


def read(raw: msgspec.Raw) -> list[Segment]:
    """A message of any dialect as segments.

    Raises:
        ValueError: it is none.
    """
    if not is_object(raw):
        raise ValueError("neither a message nor text")
    fields = decode_fields(raw, "message")
    langchain = _langchain(fields)
    if langchain is not None:
        return read_message(_from_langchain(*langchain))
    if word_of(fields, "type") in _ITEM_TYPES and "role" not in fields:
        return item_segments(raw)
    parts = present(fields, "parts")
    if parts is not None and is_list(parts) and _are_gemini(parts):
        role = word_of(fields, "role")
        return content_segments(Content(role, _renamed(parts)))
    return read_message(_plain(fields, raw))


def _langchain(fields: Fields) -> tuple[str, Fields] | None:
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
    message = {"role": _text(role), "content": _normal_parts(content)}
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
    return _joined([_normal_part(each) for each in decode_list(content, "content")])


def _normal_part(raw: msgspec.Raw) -> msgspec.Raw:
    fields = decode_fields(raw, "content") if is_object(raw) else {}
    if word_of(fields, "type") not in ("tool_call", "function_call"):
        return raw
    given = present(fields, "args", "arguments", "input")
    call = {"type": _text("tool_use"), "name": fields.get("name", msgspec.Raw(b"null"))}
    return json_object(call if given is None else call | {"input": given})


def _plain(fields: Fields, raw: msgspec.Raw) -> msgspec.Raw:
    """A chat message as APIs have it: other names of roles, calls among other things, and contents
    that a tracer took apart."""
    changed: Fields = {}
    role = _ROLES.get(word_of(fields, "role") or "")
    if role is not None:
        changed["role"] = _text(role)
    more = present(fields, "additional_kwargs")
    if more is not None and is_object(more) and present(fields, "tool_calls") is None:
        extra = decode_fields(more, "additional_kwargs")
        for name in ("tool_calls", "function_call"):
            found = present(extra, name)
            if found is not None:
                changed[name] = found
    content = fields.get("content")
    if content is not None and not _is_content(content):
        changed["content"] = _text(canonical(content, "content"))
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
    return _joined(found)

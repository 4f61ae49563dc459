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

A prompt is handed on as messages that are still JSON, tools first; `message_dialects.read` takes one
apart. What is of no known shape is one message of the user, or of the assistant, as compact JSON.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import msgspec

from forkpoint.parsers.message_dialects import ITEM_TYPES, json_list, langchain_message, quoted
from forkpoint.parsers.raw_json import (
    Fields,
    canonical,
    decode_fields,
    decode_list,
    is_list,
    is_object,
    is_text,
    present,
    word_of,
)
from forkpoint.parsers.spans import elements_of, json_object, unpacked

Messages = list[msgspec.Raw]

_TOOL_DEFINITION = re.compile(rb'"content"\s*+:\s*+\{')
"""Quotes in a text are escaped, so only a field matches."""
_TEXT_FIELDS = ("prompt", "prompts", "input", "text", "question", "query")
_ANSWER_FIELDS = ("content", "text", "output", "completion", "answer", "response", "result")


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
    """A system instruction: a text, or a content whose parts have no types."""
    parts = present(decode_fields(raw, "system"), "parts") if is_object(raw) else None
    if parts is None:
        return message_of("system", raw)
    typed = [
        json_object(decode_fields(each, "part") | {"type": quoted("text")})
        for each in elements_of(parts, "parts")
        if is_object(each)
    ]
    return message_of("system", json_list(typed))


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


def with_unlogged(messages: Messages, name: str) -> Messages:
    """A prompt whose beginning, behind the tools, the log does not hold: a stand-in that has a name."""
    stand_in = json_object({"unlogged": quoted(name)})
    n_tools = 1 if _is_tools(messages[0]) else 0
    return [*messages[:n_tools], stand_in, *messages[n_tools:]]


def message_of(role: str, content: msgspec.Raw) -> msgspec.Raw:
    """A chat message; a content that no API has is written as a text."""
    if not is_text(content) and not is_list(content):
        content = quoted(canonical(content, "content"))
    return json_object({"role": quoted(role), "content": content})


def _opened(raw: msgspec.Raw) -> msgspec.Raw:
    """A value, or what a text that begins like JSON holds; a text that only begins so stays one."""
    if not is_text(raw):
        return raw
    try:
        value = unpacked(raw, "input")
        if is_object(value):
            decode_fields(value, "input")
        elif is_list(value):
            decode_list(value, "input")
    except ValueError:
        return raw
    return value


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
        return [[message_of("assistant", raw if is_text(raw) else json_list(elements))]]
    first = decode_fields(elements[0], "output")
    if "toolName" in first:
        return [[_with_parts(b'"tool-call"', elements)]]
    if (
        "role" in first
        or langchain_message(first) is not None
        or word_of(first, "type") in ITEM_TYPES
    ):
        return [elements]
    if "message" in first:
        return [_answer(each) for each in elements]
    if "type" in first:
        return [[message_of("assistant", json_list(elements))]]
    return [[message_of("assistant", raw)]]


def _with_parts(type_: bytes, elements: Messages) -> msgspec.Raw:
    """A message of the AI SDK's parts, all of one type."""
    parts = [
        json_object(decode_fields(each, "output") | {"type": msgspec.Raw(type_)})
        for each in elements
    ]
    return msgspec.Raw(b'{"role":"assistant","parts":' + bytes(json_list(parts)) + b"}")


def _of_response(response: Fields, raw: msgspec.Raw) -> list[Messages]:
    """The choices of an API's response, of LangChain's result or of another object."""
    is_message = "role" in response and ("content" in response or "parts" in response)
    if is_message or langchain_message(response) is not None:
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

"""Which API a file or a record of request and response JSONL is of: OpenAI's, Anthropic's or none.

A response tells by fields that only one API has, an HTTP log by its URL or headers. A request alone
tells by roles, content blocks and parameters; messages in doubt are Chat Completions, which most
servers speak.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, NamedTuple

from forkpoint.parsers.envelope import BATCH_RESULTS, METADATA_KEYS, Envelope, open_envelope
from forkpoint.parsers.logs import BAD_RECORD, HEAD_BYTES, Head
from forkpoint.parsers.raw_json import (
    Fields,
    complete,
    decode_value,
    is_list,
    object_of,
    present,
    word_of,
)

# fmt: off
_OTHER_FORMATS = frozenset((
    "hash_ids", "token_ids", "input_length", "payload", "parentUuid", "sessionId",
    "resourceSpans", "trajectory", "trajectory_format", "traj", "steps", "simulations",
    "history", "instance_id", "reward", "rewards", "score", "gts", "info", "eval", "samples",
    "observations", "generation_logprobs", "advantages",
))
"""Fields of other log formats whose rows also have messages or inputs."""
_OTHER_ROWS = frozenset(("responses_create_params", "request_created_at", "model_group"))
"""Fields of other log formats whose rows also have whole requests and responses."""
_LITELLM_ROWS = (
    frozenset(("request_id", "spend", "startTime", "call_type")),
    frozenset(("id", "response_cost", "startTime", "call_type")),
)
"""What tells LiteLLM's spend logs and callback payloads, whichever other columns were exported."""

_REQUEST_PARAMETERS = frozenset((
    "model", "messages", "tools", "functions", "tool_choice", "function_call", "temperature",
    "top_p", "n", "stream", "stream_options", "stop", "max_tokens", "max_completion_tokens",
    "presence_penalty", "frequency_penalty", "logit_bias", "logprobs", "top_logprobs", "user",
    "seed", "response_format", "parallel_tool_calls", "reasoning_effort", "store", "metadata",
    "service_tier", "prompt_cache_key", "system", "stop_sequences", "top_k", "thinking",
    "anthropic_version", "anthropic_beta",
    "request", "response", "request_body", "response_body", "body", "params",
))
"""What a row of bare messages without a model may also hold and still be a request."""
_REQUEST_FIELDS = _REQUEST_PARAMETERS | METADATA_KEYS

_ANTHROPIC_BLOCKS = frozenset(("tool_use", "tool_result", "thinking", "redacted_thinking"))
_OPENAI_ROLES = frozenset(("developer", "tool", "function"))
_OPENAI_PARAMETERS = frozenset((
    "functions", "max_completion_tokens", "response_format", "stream_options", "logprobs",
    "frequency_penalty", "presence_penalty", "parallel_tool_calls", "reasoning_effort", "n",
))
# fmt: on
_RESPONSES_PARAMETERS = frozenset(
    ("instructions", "previous_response_id", "max_output_tokens", "reasoning", "conversation")
)
_RESPONSES_FIELDS = frozenset(("input", "text", "include"))


class Api(NamedTuple):
    """A verdict."""

    parser: str
    """The name of the parser: ``openai`` or ``anthropic``."""
    why: str
    """What the records are, in a few words."""


@lru_cache(maxsize=1)  # the two parsers ask in turn
def api_of_file(head: Head) -> Api | None:
    """Which API at least half of a file's first records are of; ``None`` if they are of neither.

    Both parsers decide by this one function, so never both claim a file.
    """
    found: dict[str, list[Api]] = {}
    n_objects = 0
    for line in _first_records(head):
        try:
            envelope = open_envelope(line)
            n_objects += 1
            api = api_of(envelope)
        except BAD_RECORD:
            continue
        if api is not None:
            found.setdefault(api.parser, []).append(api)
    if not found or 2 * sum(map(len, found.values())) < n_objects:
        return None
    return max(found.values(), key=len)[0]


def _first_records(head: Head) -> list[bytes]:
    """Whole lines, or the one that is longer than the head; none if the first is no record."""
    lines = head.lines[:32]
    if not lines and len(head.data) >= HEAD_BYTES:
        lines = [complete(head.data)]
    first = lines[0].strip() if lines else b""
    # A brace alone begins a document that goes on in the next lines.
    return lines if first.startswith(b"{") and first != b"{" else []


def api_of(envelope: Envelope) -> Api | None:
    """Which API a record is of, and why; ``None`` if it is not request or response JSONL."""
    answered = envelope.answer is not None or envelope.response not in (None, envelope.record)
    if not _OTHER_ROWS.isdisjoint(envelope.record):
        return None
    if any(fields <= envelope.record.keys() for fields in _LITELLM_ROWS):
        return None
    if not answered and not _OTHER_FORMATS.isdisjoint(envelope.record):
        return None
    result = object_of(envelope.record, "result")
    if "custom_id" in envelope.record and word_of(result, "type") in BATCH_RESULTS:
        return Api("anthropic", "Message Batches results")
    found = api_of_response(envelope.response) or _api_of_url(envelope)
    if found is not None or envelope.request is None:
        return found
    return _api_of_request(envelope)


def api_of_response(response: Fields | None) -> Api | None:
    """Which API a response is of, by fields that only one of them has."""
    if response is None:
        return None
    raw = present(response, "choices")
    if raw is not None and is_list(raw):
        return Api("openai", "Chat Completions responses")
    if word_of(response, "object") == "response":
        return Api("openai", "Responses API responses")
    raw = present(response, "output")
    if raw is not None and is_list(raw) and "usage" in response:
        return Api("openai", "Responses API responses")
    if word_of(response, "type") == "message" and word_of(response, "role") == "assistant":
        return Api("anthropic", "Messages API responses")
    return None


def _api_of_url(envelope: Envelope) -> Api | None:
    for fields in envelope.around:
        path = (word_of(fields, "url") or "").partition("?")[0]
        if path.endswith("/v1/messages"):
            return Api("anthropic", "requests to /v1/messages")
        if path.endswith(("/chat/completions", "/v1/responses")):
            return Api(
                "openai", f"requests to {path[path.rindex('/v1') if '/v1' in path else 0 :]}"
            )
        headers = object_of(fields, "headers") or {}
        if any(name.lower() == "anthropic-version" for name in headers):
            return Api("anthropic", "requests with an anthropic-version header")
    return None


def _api_of_request(envelope: Envelope) -> Api | None:
    request = {name: decode_value(raw, name) for name, raw in (envelope.request or {}).items()}
    messages = request.get("messages")
    if isinstance(messages, list):
        if not messages or not all(_is_message(message) for message in messages):
            return None
        if envelope.request is envelope.record and not _is_call(envelope, messages):
            return None
        return _api_of_messages(request, messages)
    return _api_of_input(envelope, request)


def _is_message(message: Any) -> bool:
    """Whether it has a role; where keys are sorted and the text is cut, only ``content`` is left."""
    return isinstance(message, dict) and isinstance(
        message.get("role", "" if "content" in message else None), str
    )


def _is_call(envelope: Envelope, messages: list[dict[str, Any]]) -> bool:
    """Whether top-level messages are a request, and not a row of training data."""
    record = envelope.record
    if envelope.response is not None or envelope.answer is not None or "usage" in record:
        return True
    if present(record, "model", "model_name") is not None:
        return True
    return record.keys() <= _REQUEST_FIELDS and messages[-1].get("role") != "assistant"


def _api_of_messages(request: dict[str, Any], messages: list[dict[str, Any]]) -> Api:
    tools = [tool for tool in _list(request.get("tools")) if isinstance(tool, dict)]
    blocks = [
        block
        for message in messages
        for block in _list(message.get("content"))
        if isinstance(block, dict)
    ]
    why = _only_anthropic_has(request, tools, blocks)
    if why is None and not _only_openai_has(request, tools, messages):
        why = _points_to_anthropic(request, blocks)
    if why is not None:
        return Api("anthropic", f"requests with {why}")
    return Api("openai", "Chat Completions requests: messages with roles")


def _only_anthropic_has(
    request: dict[str, Any], tools: list[dict[str, Any]], blocks: list[dict[str, Any]]
) -> str | None:
    if any("input_schema" in tool for tool in tools):
        return "tools that have an input_schema"
    if not _ANTHROPIC_BLOCKS.isdisjoint(str(block.get("type")) for block in blocks):
        return "tool_use, tool_result or thinking blocks"
    return "an anthropic_version" if "anthropic_version" in request else None


def _only_openai_has(
    request: dict[str, Any], tools: list[dict[str, Any]], messages: list[dict[str, Any]]
) -> bool:
    return (
        messages[0].get("role") == "system"
        or not _OPENAI_ROLES.isdisjoint(message.get("role", "") for message in messages)
        or not _OPENAI_PARAMETERS.isdisjoint(request)
        or any("function" in tool for tool in tools)
        or any("tool_calls" in message for message in messages)
    )


def _points_to_anthropic(request: dict[str, Any], blocks: list[dict[str, Any]]) -> str | None:
    if "max_tokens" not in request:
        return None
    if "system" in request:
        return "max_tokens and a top-level system prompt"
    if any("cache_control" in block for block in blocks):
        return "max_tokens and cache_control"
    return "max_tokens for a Claude model" if _is_claude(request.get("model")) else None


def _api_of_input(envelope: Envelope, request: dict[str, Any]) -> Api | None:
    """The Responses API has ``input``, as embeddings and many other logs do."""
    found, model = request.get("input"), request.get("model")
    if not isinstance(model, str) or "embed" in model:
        return None
    if envelope.answer is not None or "output" in envelope.record:
        return None
    why = Api("openai", "Responses API requests: model and input")
    if isinstance(found, list):
        items = [item for item in found if isinstance(item, dict)]
        typed = all("role" in item or "type" in item for item in items)
        return why if items and len(items) == len(found) and typed else None
    if isinstance(found, str):
        known = request.keys() <= _REQUEST_FIELDS | _RESPONSES_PARAMETERS | _RESPONSES_FIELDS
        return why if known or not _RESPONSES_PARAMETERS.isdisjoint(request) else None
    return None


def _is_claude(model: Any) -> bool:
    """Whether a model's name is one of Anthropic's, with or without a platform's prefix."""
    return isinstance(model, str) and re.match(r"(.*[./])?claude", model.lower()) is not None


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []

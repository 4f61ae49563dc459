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
that id. Several choices (``n`` > 1) are rollouts of one prompt, billed as one call; the first is the
call's completion. Log probabilities of tokens are read where a choice has them.

Not read: chunks of streamed responses, embeddings, the legacy Completions API.
https://platform.openai.com/docs/api-reference
"""

from __future__ import annotations

from typing import ClassVar

import msgspec

from forkpoint.parsers.api_log import ApiLog, Choice, Part, Prompt, TokenScores
from forkpoint.parsers.chat import Segment, item_segments, message_segments
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


class _Likely(msgspec.Struct):
    logprob: float | None = None


class _ScoredToken(msgspec.Struct):
    token: str
    logprob: float | None = None
    top_logprobs: list[_Likely] | None = None


class _Logprobs(msgspec.Struct):
    content: list[_ScoredToken] | None = None


class _Choice(msgspec.Struct):
    message: msgspec.Raw = msgspec.Raw()
    logprobs: msgspec.Raw = msgspec.Raw()


class _OutputPart(msgspec.Struct):
    logprobs: list[_ScoredToken] | None = None


class _OutputItem(msgspec.Struct):
    type: str | None = None
    content: list[_OutputPart] | None = None


_USAGE = msgspec.json.Decoder(_Usage)
_CHOICES = msgspec.json.Decoder(list[_Choice])
_LOGPROBS = msgspec.json.Decoder(_Logprobs)
_OUTPUT_ITEM = msgspec.json.Decoder(_OutputItem)

_MODEL_MADE = (b'"assistant"', b'"function_call', b'"reasoning"')


class OpenAI(ApiLog):
    """Chat Completions and Responses API requests and responses."""

    name: ClassVar[str] = "openai"
    title: ClassVar[str] = "OpenAI API requests and responses"
    checked: ClassVar[str] = "Chat Completions v1, Responses v1, 2026-11"
    evidence: ClassVar[tuple[str, ...]] = ("usage", "text", "timestamps", "logprobs")

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
            return message_segments(part.raw)
        if part.reader == "item":
            return item_segments(part.raw)
        if part.reader == "tools":
            return [
                Segment(Kind.TOOLS, "", _tool_text(raw)) for raw in decode_list(part.raw, "tools")
            ]
        if part.reader == "input":
            return [Segment(Kind.TEXT, "user", decode_text(part.raw, "input"))]
        if is_list(part.raw):
            items = decode_list(part.raw, "instructions")
            return [segment for raw in items for segment in item_segments(raw)]
        return [Segment(Kind.SYSTEM, "system", decode_text(part.raw, "instructions"))]

    def _choices(self, response: Fields) -> list[Choice]:
        choices = present(response, "choices")
        if choices is not None:
            return [
                Choice(message_segments(choice.message, role="assistant"), _scores(choice.logprobs))
                for choice in decode(choices, _CHOICES, "choices")
                if choice.message and is_object(choice.message)
            ]
        output = present(response, "output")
        if output is None:
            return []
        items = decode_list(output, "output")
        segments = [segment for raw in items for segment in item_segments(raw)]
        return [Choice(segments, _scores_of_items(items))] if segments else []

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


def _scores(raw: msgspec.Raw) -> TokenScores | None:
    """A choice's logprobs. Servers of older APIs put other things there; those are not read."""
    if not raw or not is_object(raw):
        return None
    return _token_scores(decode(raw, _LOGPROBS, "logprobs").content)


def _scores_of_items(items: list[msgspec.Raw]) -> TokenScores | None:
    """The logprobs of a response's output, where all that it says has them."""
    if not any(b'"logprobs"' in bytes(raw) for raw in items):
        return None
    tokens: list[_ScoredToken] = []
    for raw in items:
        fields = decode_fields(raw, "output")
        if word_of(fields, "type") != "message":
            return (
                None  # Reasoning and tool calls have none, so positions would not be the answer's.
            )
        for part in decode(raw, _OUTPUT_ITEM, "output").content or ():
            tokens += part.logprobs or ()
    return _token_scores(tokens)


def _token_scores(scored: list[_ScoredToken] | None) -> TokenScores | None:
    if not scored:
        return None
    top = None
    if any(each.top_logprobs for each in scored):
        top = [
            [likely.logprob for likely in each.top_logprobs or () if likely.logprob is not None]
            for each in scored
        ]
    return TokenScores([each.token for each in scored], [each.logprob for each in scored], top)


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

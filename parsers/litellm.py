"""LiteLLM gateway logs: rows of the table ``LiteLLM_SpendLogs``, and the payloads of its callbacks.

Spend log row (JSON, JSON Lines, a page of ``/spend/logs``, or CSV, where objects are texts):
``{request_id, call_type, spend, prompt_tokens, completion_tokens, total_tokens, startTime, endTime,
model, model_group, custom_llm_provider, api_base, cache_hit, session_id, status, metadata:
{additional_usage_values, usage_object, …}, messages, response, proxy_server_request}``. Callbacks
write the "standard logging payload": ``{id, trace_id, response_cost, startTime, endTime (seconds since
1970), cache_hit, model_parameters, messages, response, …}``. What to know about them:

- ``cache_hit`` is the gateway's own cache of responses, not the provider's prompt cache. Such a row
  repeats the counts of the first response though nothing was asked or paid: it is neither a call nor
  an issue. Nor is a request that failed and counts nothing.
- Bodies are empty (``{}``) unless the gateway was told to keep them; then the prompt is a stand-in.
  The request is in ``proxy_server_request``. Texts that are too long are kept without their middle:
  such a text is not counted.
- ``prompt_tokens`` includes what was read from and written to a cache, except in some versions for
  Anthropic's models: see `litellm_response`. The cached part is in ``metadata.usage_object`` or, in
  older rows, in ``metadata.additional_usage_values``.
- ``request_id`` is the response's id. ``session_id`` and ``trace_id`` join requests; where a client
  gives none, each request has its own.
- Embeddings, images, speech and other requests that no chat model answers are passed over.

https://github.com/BerriAI/litellm 00907c6 (``litellm/proxy/spend_tracking/spend_tracking_utils.py``,
``litellm/types/utils.py``)
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from typing import ClassVar

import msgspec

from forkpoint.parsers.agent_session import known_cost, seconds_between
from forkpoint.parsers.api_bodies import Exchange
from forkpoint.parsers.base import ROOT, Tree
from forkpoint.parsers.chat import Segment
from forkpoint.parsers.envelope import Envelope, moment_of, provider_of
from forkpoint.parsers.export_rows import first_row, parsed_rows
from forkpoint.parsers.exported_calls import ExchangedCalls
from forkpoint.parsers.litellm_response import response_usage
from forkpoint.parsers.logs import Head, Line, Log
from forkpoint.parsers.raw_json import (
    Fields,
    decode,
    decode_fields,
    id_of,
    is_list,
    is_text,
    object_of,
    present,
    text_of,
    word_of,
)
from forkpoint.parsers.record_names import record_digest
from forkpoint.parsers.records import Call, Kind, Record, Tokens, Trace, Usage
from forkpoint.parsers.spans import json_object, unpacked

_HIT = (b"true", b'"True"', b'"true"')
_OTHER_CALLS = re.compile(
    r"embed|image|transcription|speech|rerank|moderation|batch|file|ocr|search|health|mcp|vector|video"
)
"""Parts of names of call types that no chat model answers."""
_CUT_TEXT = re.compile(r"\.\.\. \(litellm_truncated skipped \d+ chars\) \.\.\.")
_NO_BODY = (b"{}", b"[]", b'"{}"', b'"[]"', b'""', b'"redacted-by-litellm"')


class _Lifetimes(msgspec.Struct):
    ephemeral_1h_input_tokens: Tokens | None = None


class _InputDetails(msgspec.Struct):
    cache_creation_token_details: _Lifetimes | None = None


class _Detailed(msgspec.Struct):
    prompt_tokens_details: _InputDetails | None = None


_DETAILED = msgspec.json.Decoder(_Detailed, strict=False)
_AMOUNT = msgspec.json.Decoder(float, strict=False)
_COUNT = msgspec.json.Decoder(Tokens | None, strict=False)


class LiteLLM:
    """Reads LiteLLM's spend logs and callback payloads; see the module's docstring."""

    name: ClassVar[str] = "litellm"
    title: ClassVar[str] = "LiteLLM spend logs"
    checked: ClassVar[str] = "litellm 00907c6 (no real file), 2026-11"
    evidence: ClassVar[tuple[str, ...]] = ("usage", "text", "timestamps")
    locations: ClassVar[tuple[str, ...]] = ()
    whole_prompts: ClassVar[bool] = True
    grows: ClassVar[bool] = False

    def identify(self, head: Head) -> str | None:
        """Why the file is of this format, or ``None``."""
        row = first_row(head)
        if {"request_id", "spend", "startTime"} <= row.keys() and "call_type" in row:
            return "each row is a request with its spend"
        if {"id", "response_cost", "call_type", "startTime"} <= row.keys():
            return "each row is a standard logging payload with a response_cost"
        return None

    def parse(self, log: Log, tree: Tree) -> Iterator[Record]:
        """Yield one call a paid request, and the traces."""
        yield from parsed_rows(log, partial(_records, calls=ExchangedCalls(tree)))


def _records(row: Line, calls: ExchangedCalls) -> Iterator[Record]:
    """The call that a row is, and its trace if that is new.

    Raises:
        ValueError, RecursionError: it cannot be read.
    """
    fields = decode_fields(row.data)
    hit = present(fields, "cache_hit")
    if (hit is not None and bytes(hit) in _HIT) or _OTHER_CALLS.search(_call_type(fields)):
        return
    metadata = object_of(fields, "metadata") or {}
    usage = _usage(fields, metadata)
    failed = "failure" in (word_of(fields, "status"), word_of(metadata, "status"))
    if usage is None and failed:
        return
    key = id_of(fields, "request_id", "id")
    if key is None and usage is None:
        raise ValueError("neither a request_id nor counts")
    key = key or record_digest(row.data).hex()[:32]
    trace = id_of(fields, "session_id", "trace_id") or key
    exchange = Exchange(_request(fields), _body(fields, "response"), _uncounted)
    started = moment_of(fields, "startTime")
    call = Call(
        identity=("", key),
        trace=trace,
        line=row.line,
        offset=row.offset,
        prompt=ROOT,
        started_at=started,
        duration_s=seconds_between(started, moment_of(fields, "endTime")),
        provider=provider_of(Envelope(fields, None, None, None, (fields,), False)),
        model=text_of(fields, "model") or text_of(fields, "model_group"),
        usage=usage or exchange.usage,
        logged_cost_usd=_cost(fields),
    )
    named = Trace(id=trace, project=word_of(metadata, "user_api_key_team_alias"))
    yield from calls.records(call, named, exchange, key)


def _call_type(fields: Fields) -> str:
    return (word_of(fields, "call_type") or "").lower()


def _cost(fields: Fields) -> float | None:
    raw = present(fields, "spend", "response_cost")
    return None if raw is None else known_cost(decode(raw, _AMOUNT, "spend"))


# ---- Counts ---------------------------------------------------------------------------------------


def _usage(fields: Fields, metadata: Fields) -> Usage | None:
    """What a row counts: the whole usage that the provider returned, or the row's own columns and
    what is kept beside them.

    Raises:
        ValueError: the counts contradict each other, or are none.
    """
    counts = object_of(metadata, "usage_object")
    if not counts:
        own = {name: _number(fields, name) for name in ("prompt_tokens", "completion_tokens")}
        more = object_of(metadata, "additional_usage_values") or {}
        counts = {**more, **{name: raw for name, raw in own.items() if raw is not None}}
    usage = response_usage(json_object(counts))
    if usage is None or not (usage.input_tokens or usage.output_tokens):
        return None
    details = decode(json_object(counts), _DETAILED, "usage").prompt_tokens_details
    lifetimes = details.cache_creation_token_details if details is not None else None
    long = None if lifetimes is None else lifetimes.ephemeral_1h_input_tokens
    if long is None or long > (usage.cache_write_tokens or 0):
        return usage
    return msgspec.structs.replace(usage, cache_write_1h_tokens=long)


def _number(fields: Fields, name: str) -> msgspec.Raw | None:
    """A count, which is a text in CSV."""
    raw = present(fields, name)
    if raw is None or not is_text(raw):
        return raw
    return msgspec.Raw(msgspec.json.encode(decode(raw, _COUNT, name)))


# ---- Bodies ---------------------------------------------------------------------------------------


def _body(fields: Fields, name: str) -> Fields | None:
    """A body, if it was kept."""
    raw = present(fields, name)
    return None if raw is None or bytes(raw) in _NO_BODY else object_of(fields, name)


def _request(fields: Fields) -> Fields | None:
    """The request: as the gateway got it, or its messages and parameters."""
    request = _body(fields, "proxy_server_request")
    if request is not None and ("messages" in request or "input" in request):
        return request
    request = object_of(request, "body") if request is not None else None
    if request is not None and ("messages" in request or "input" in request):
        return request
    raw = present(fields, "messages")
    if raw is None or bytes(raw) in _NO_BODY:
        return None
    messages = unpacked(raw, "messages")
    if is_text(messages):
        return {"input": messages}
    if is_list(messages):
        return {**(object_of(fields, "model_parameters") or {}), "messages": messages}
    body = decode_fields(messages, "messages")
    return body if "messages" in body or "input" in body else None


def _uncounted(segment: Segment) -> Segment:
    """A segment that was kept without its middle is content that the log does not hold."""
    if "litellm_truncated" in segment.text and _CUT_TEXT.search(segment.text):
        return Segment(Kind.UNLOGGED, segment.role, segment.text)
    return segment

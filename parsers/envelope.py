"""One record of API traffic, taken apart: request, response, and the metadata around them.

People log API traffic in many envelopes, one record a line. All of these are read:

- the bare request, or the bare response;
- ``{request, response}``, ``{request_body, response_body}``, ``{params, response}``;
- request fields at the top level, beside ``response`` or ``usage``;
- bodies one level deeper, as HTTP middlewares and batch files have them:
  ``{method, url, body}``, ``{request: {url, headers, body}, response: {status_code, body}}``,
  ``{custom_id, result: {type, message}}``;
- any of these bodies as a string that holds JSON.

Metadata may stand beside them under the names listed below. What an API's own fields mean is the
business of the modules `openai` and `anthropic`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import msgspec

from forkpoint.parsers.raw_json import (
    Fields,
    decode_fields,
    decode_text,
    id_of,
    is_text,
    object_of,
    present,
    word_of,
)

SESSION_KEYS = ("session_id", "conversation_id", "thread_id", "trace_id")
REQUEST_ID_KEYS = ("request_id", "id")
START_KEYS = (
    "start_time",
    "started_at",
    "startTime",
    "timestamp",
    "created_at",
    "time",
    "created",
)
END_KEYS = ("end_time", "ended_at", "endTime", "completed_at")
SECONDS_KEYS = ("duration_s", "latency_s", "duration_seconds", "latency_seconds")
MILLISECONDS_KEYS = ("duration_ms", "latency_ms")
UNITLESS_KEYS = ("duration", "latency")
STATUS_KEYS = ("status_code", "http_status", "status")
BATCH_RESULTS = frozenset(("succeeded", "errored", "canceled", "expired"))
URL_KEYS = ("base_url", "api_base", "url", "endpoint")
# fmt: off
METADATA_KEYS = frozenset((
    *SESSION_KEYS, *REQUEST_ID_KEYS, *START_KEYS, *END_KEYS, *SECONDS_KEYS, *MILLISECONDS_KEYS,
    *UNITLESS_KEYS, *STATUS_KEYS, *URL_KEYS, "metadata", "model", "model_name", "provider",
    "custom_id", "method", "error", "usage", "user",
))
# fmt: on

PROVIDERS = {
    "anthropic": "anthropic",
    "aws": "aws",
    "amazon": "aws",
    "bedrock": "aws",
    "azure": "azure",
    "cerebras": "cerebras",
    "cohere": "cohere",
    "deepseek": "deepseek",
    "fireworks": "fireworks",
    "gemini": "google",
    "google": "google",
    "groq": "groq",
    "mistral": "mistral",
    "moonshot": "moonshotai",
    "openai": "openai",
    "openrouter": "openrouter",
    "perplexity": "perplexity",
    "together": "together",
    "vertex": "google",
    "vertexai": "google",
    "xai": "x-ai",
}
"""Words that logs name providers by (lower case, no punctuation), to the names used for prices."""

HOSTS = {
    "api.anthropic.com": "anthropic",
    "amazonaws.com": "aws",
    "azure.com": "azure",
    "azure-api.net": "azure",
    "api.cerebras.ai": "cerebras",
    "api.cohere.com": "cohere",
    "api.deepseek.com": "deepseek",
    "api.fireworks.ai": "fireworks",
    "googleapis.com": "google",
    "api.groq.com": "groq",
    "api.mistral.ai": "mistral",
    "api.moonshot.ai": "moonshotai",
    "api.openai.com": "openai",
    "openrouter.ai": "openrouter",
    "api.perplexity.ai": "perplexity",
    "api.together.xyz": "together",
    "api.x.ai": "x-ai",
}
"""Host names, or the ends of them, to the same names."""

_EMPTY = (b"null", b"false", b'""', b"{}", b"[]", b"0")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Envelope(NamedTuple):
    """One record, taken apart."""

    record: Fields
    request: Fields | None
    response: Fields | None
    answer: str | None
    """The response where it was logged as plain text."""
    around: tuple[Fields, ...]
    """The objects that metadata may stand in: the record, then what wraps request and response."""
    failed: bool
    """An HTTP status of 400 or more, an error, or a batch result other than ``succeeded``."""

    @property
    def usage(self) -> msgspec.Raw | None:
        """What the provider or the logger reported, wherever it stands."""
        raw = present(self.response, "usage")
        for fields in self.around:
            raw = present(fields, "usage") if raw is None else raw
        return raw

    @property
    def empty(self) -> bool:
        """Neither a request nor a response."""
        return self.request is None and self.response is None and self.answer is None


def open_envelope(data: bytes) -> Envelope:
    """Find request, response and metadata in one record.

    Raises:
        ValueError: it is not a JSON object.
        RecursionError: it is nested too deeply.
    """
    record = decode_fields(data)
    request_around, request = _find_request(record)
    response_around, response, answer = _find_response(record)
    if request is None and response is None and _looks_like_response(record):
        response = record
    elif request is None and ("messages" in record or "input" in record):
        request = record
    around = tuple(
        fields for fields in (record, request_around, response_around) if fields is not None
    )
    wrapped = [fields for fields in (record, response_around, response) if fields is not None]
    failed = any(_failed(fields) for fields in wrapped)
    return Envelope(record, request, response, answer, around, failed)


def _find_request(record: Fields) -> tuple[Fields | None, Fields | None]:
    """What wraps the request, and the request."""
    for name in ("request", "request_body", "body", "params"):
        outer = object_of(record, name)
        if outer is None:
            continue
        if "messages" in outer or "input" in outer:
            return None, outer
        inner = object_of(outer, "body", f"{name}.body")
        if inner is not None:
            return outer, inner
        if name in ("request", "request_body"):
            return None, outer
    return None, None


def _find_response(record: Fields) -> tuple[Fields | None, Fields | None, str | None]:
    """What wraps the response, the response, and the response where it is plain text."""
    for name in ("response", "response_body"):
        raw = present(record, name)
        if raw is None:
            continue
        outer = object_of(record, name)
        if outer is not None:
            inner = object_of(outer, "body", f"{name}.body")
            return (None, outer, None) if inner is None else (outer, inner, None)
        if is_text(raw):
            return None, None, _plain_answer(decode_text(raw, name))
        raise ValueError(f"{name}: neither an object nor text (streamed chunks are not read)")
    result = object_of(record, "result")
    if result is not None and "type" in result:
        return result, object_of(result, "message", "result.message"), None
    return None, None, None


def _plain_answer(text: str) -> str | None:
    if text.startswith(("data:", "event:")):
        raise ValueError("response: a stream of events is not read")
    return text or None


def _looks_like_response(record: Fields) -> bool:
    if "choices" in record or word_of(record, "object") == "response":
        return True
    return word_of(record, "type") == "message" and "usage" in record


def _failed(fields: Fields) -> bool:
    for name in STATUS_KEYS:
        raw = present(fields, name)
        if raw is not None and bytes(raw).isdigit() and int(bytes(raw)[:9]) >= 400:
            return True
    error = present(fields, "error")
    if error is not None and bytes(error) not in _EMPTY:
        return True
    kind = word_of(fields, "type")
    return kind == "error" or (kind != "succeeded" and kind in BATCH_RESULTS)


class Times(NamedTuple):
    """When a call was made, and how long it took."""

    started_at: datetime | None
    duration_s: float | None


def times_of(envelope: Envelope) -> Times:
    """When the call started and how long it took, from the record or else from the response.

    Raises:
        ValueError: a field that should hold a time does not.
    """
    started = ended = None
    for fields in envelope.around:
        started = started or moment_of(fields, *START_KEYS)
        ended = ended or moment_of(fields, *END_KEYS)
    duration = _stated_duration(envelope.around)
    if started is not None and ended is not None and ended >= started:
        duration = (ended - started).total_seconds()
    if started is None and ended is not None:
        started = ended - timedelta(seconds=duration or 0.0)
    if started is None:
        started = moment_of(envelope.response, "created", "created_at")
    return Times(started, duration)


def moment_of(fields: Fields | None, *names: str) -> datetime | None:
    """The first of the named values, a time: ISO 8601, or seconds, ms, µs or ns since 1970, told
    apart by their size. A time without a zone is UTC.

    Raises:
        ValueError: it is neither, or before 1970 or after 9999.
    """
    raw = present(fields, *names)
    if raw is None:
        return None
    text = decode_text(raw, names[0]).strip() if is_text(raw) else bytes(raw).decode()
    try:
        return _from_epoch(int(text) if text.isdecimal() else float(text))
    except (ValueError, OverflowError):
        pass
    try:
        moment = datetime.fromisoformat(text.removesuffix(" UTC"))
    except ValueError:
        raise ValueError(f"not a time: {text[:40]}") from None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment


def _from_epoch(value: float) -> datetime:
    """The moment a number stands for.

    Raises:
        ValueError, OverflowError: none.
    """
    if not 0 <= value < 1e20:
        raise ValueError("not a time")
    if value < 1e11:
        return _EPOCH + timedelta(seconds=value)
    if value < 1e14:
        return _EPOCH + timedelta(milliseconds=value)
    return _EPOCH + timedelta(microseconds=value if value < 1e17 else value / 1000)


def _stated_duration(around: Sequence[Fields]) -> float | None:
    """A duration in seconds. Without a unit in its name, only sizes with one reading count:
    below a minute it is seconds, from 600 on (no provider keeps a request open for so many
    seconds) milliseconds.
    """
    for fields in around:
        for names, divisor in ((SECONDS_KEYS, 1), (MILLISECONDS_KEYS, 1000)):
            value = _number(present(fields, *names))
            if value is not None:
                return value / divisor
        value = _number(present(fields, *UNITLESS_KEYS))
        if value is not None and not 60 <= value < 600:
            return value if value < 60 else value / 1000
    return None


def _number(raw: msgspec.Raw | None) -> float | None:
    """A finite number from 0 to a billion, or ``None``."""
    if raw is None:
        return None
    try:
        value = float(bytes(raw))
    except ValueError:
        return None
    return value if 0 <= value <= 1e9 else None


def provider_of(envelope: Envelope) -> str | None:
    """The provider that the record names in words, or by the host its request went to."""
    for fields in envelope.around:
        for name in ("provider", "custom_llm_provider"):
            word = word_of(fields, name) if name in fields else None
            found = None if word is None else _provider_named(word.lower())
            if found is not None:
                return found
    for fields in envelope.around:
        for name in URL_KEYS:
            url = word_of(fields, name) if name in fields else None
            host = url and re.match(r"https?://(?:[^/@]*@)?([^/:?#]+)", url)
            if host:
                return _host_provider(host[1].lower())
    return None


def _provider_named(word: str) -> str | None:
    letters = re.sub("[^a-z]", "", word)
    # "azure_openai" is Azure and "vertex_ai/anthropic" Vertex: the platform sends the bill.
    for platform in ("azure", "bedrock", "vertex", "openrouter"):
        if platform in letters:
            return PROVIDERS[platform]
    return PROVIDERS.get(letters) or PROVIDERS.get(re.split("[^a-z]", word)[0])


def _host_provider(host: str) -> str | None:
    for end, provider in HOSTS.items():
        if host == end or host.endswith(f".{end}"):
            return provider
    return None


def session_of(envelope: Envelope) -> str | None:
    """The id of the session, conversation, thread or trace, as the record or the request has it.

    Raises:
        ValueError: it is neither text nor a whole number.
    """
    for fields in (envelope.record, envelope.request):
        found = id_of(fields, *SESSION_KEYS) or id_of(_metadata(fields), *SESSION_KEYS)
        if found is not None:
            return found
    return None


def user_of(envelope: Envelope) -> str | None:
    """``metadata.user_id``: the weakest sign of what belongs together.

    Raises:
        ValueError: it is neither text nor a whole number.
    """
    for fields in (envelope.record, envelope.request):
        found = id_of(_metadata(fields), "user_id")
        if found is not None:
            return found
    return None


def _metadata(fields: Fields | None) -> Fields | None:
    return object_of(fields, "metadata")

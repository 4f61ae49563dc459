"""Helicone exports: requests, one object each, from its API, its export tool or its dashboard's CSV.

Row: ``{request_id, response_id, request_created_at, response_created_at, request_body,
response_body, request_model, model, provider, target_url, response_status, delay_ms, prompt_tokens,
completion_tokens, prompt_cache_read_tokens, prompt_cache_write_tokens, cost, cache_enabled,
cache_reference_id, request_properties}``; rows of its ClickHouse table say ``status``, ``latency`` and
``properties``. What to know about them:

- ``prompt_tokens`` does not include the cached tokens (nor, for some models, does
  ``completion_tokens`` include reasoning): Helicone subtracts them to price each part. Where a
  response body is there, its own usage counts instead.
- The API gives ``cost`` in dollars; in the ClickHouse table it is a whole number of billionths.
- A row with a ``cache_reference_id`` other than zeros was answered from Helicone's own cache of
  responses: it counts nothing and was not paid for. It is neither a call nor an issue, and nor is a
  request that failed or is pending and counts nothing.
- A body that is kept elsewhere is a note (``{"helicone_message": …}``), and the prompt a stand-in.
- Embeddings, images and other requests that no chat model answers are passed over.
- ``Helicone-Session-Id`` among a request's properties joins requests.

https://github.com/Helicone/helicone 301a87b (``packages/llm-mapper/types.ts``), 0003b75
(``valhalla/jawn/src/lib/stores/request/request.ts``), 05291bc (``packages/cost/usage``)
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from typing import ClassVar

import msgspec

from forkpoint.parsers.agent_session import disjoint_usage, known_cost, provider_named
from forkpoint.parsers.api_bodies import Exchange
from forkpoint.parsers.base import ROOT, Tree
from forkpoint.parsers.envelope import Envelope, moment_of, provider_of
from forkpoint.parsers.export_rows import first_row, parsed_rows
from forkpoint.parsers.exported_calls import ExchangedCalls
from forkpoint.parsers.logs import Head, Line, Log
from forkpoint.parsers.raw_json import (
    Fields,
    decode,
    decode_fields,
    id_of,
    object_of,
    text_of,
    word_of,
)
from forkpoint.parsers.record_names import record_digest
from forkpoint.parsers.records import Call, Record, Tokens, Trace
from forkpoint.parsers.spans import json_object

_NOT_CACHED = ("", "00000000-0000-0000-0000-000000000000")
_OTHER_CALLS = re.compile(r"/(?:embeddings|images|audio|moderations|rerank|files|batches)\b")
"""What no chat model answers."""
_BILLION = 1e9
_SESSION = "helicone-session-id"


class _Row(msgspec.Struct):
    """The numbers of a row."""

    prompt_tokens: Tokens | None = None
    completion_tokens: Tokens | None = None
    prompt_cache_read_tokens: Tokens | None = None
    prompt_cache_write_tokens: Tokens | None = None
    reasoning_tokens: Tokens | None = None
    response_status: int | None = None
    status: int | None = None
    delay_ms: float | None = None
    latency: float | None = None
    cost: float | None = None
    costUSD: float | None = None
    cost_usd: float | None = None


_ROW = msgspec.json.Decoder(_Row, strict=False)


class Helicone:
    """Reads Helicone's requests; see the module's docstring."""

    name: ClassVar[str] = "helicone"
    title: ClassVar[str] = "Helicone requests"
    checked: ClassVar[str] = "helicone 301a87b (no real file), 2026-11"
    evidence: ClassVar[tuple[str, ...]] = ("usage", "text", "timestamps")
    locations: ClassVar[tuple[str, ...]] = ()
    whole_prompts: ClassVar[bool] = True
    grows: ClassVar[bool] = False

    def identify(self, head: Head) -> str | None:
        """Why the file is of this format, or ``None``."""
        row = first_row(head)
        if {"request_id", "request_created_at"} <= row.keys() and (
            "request_body" in row or "prompt_tokens" in row
        ):
            return "each row is a request with its request_created_at"
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
    cached = (id_of(fields, "cache_reference_id") or "") not in _NOT_CACHED
    if cached or _OTHER_CALLS.search(_address(fields)):
        return
    own = {name: fields[name] for name in _Row.__struct_fields__ if name in fields}
    numbers = decode(json_object(own), _ROW, "request")
    request, response = _body(fields, "request_body"), _body(fields, "response_body")
    usage = disjoint_usage(
        uncached=numbers.prompt_tokens,
        cache_read=numbers.prompt_cache_read_tokens,
        cache_write=numbers.prompt_cache_write_tokens,
        output=_output(numbers),
        reasoning=numbers.reasoning_tokens,
    )
    status = numbers.response_status if numbers.status is None else numbers.status
    if usage is None and status is not None and not 200 <= status < 300:
        return
    exchange = Exchange(request, response)
    key = id_of(fields, "request_id")
    if key is None and usage is None:
        raise ValueError("neither a request_id nor counts")
    key = key or record_digest(row.data).hex()[:32]
    response_id = word_of(response, "id")
    properties = object_of(fields, "request_properties") or object_of(fields, "properties") or {}
    trace = _session(properties) or key
    delay = numbers.latency if numbers.delay_ms is None else numbers.delay_ms
    call = Call(
        identity=("", response_id or key),
        trace=trace,
        line=row.line,
        offset=row.offset,
        prompt=ROOT,
        started_at=moment_of(fields, "request_created_at"),
        duration_s=None if delay is None or delay < 0 else delay / 1000,
        provider=_provider(fields),
        model=_model(fields, response, request),
        usage=exchange.usage or usage,
        logged_cost_usd=_cost(numbers, own),
    )
    named = Trace(id=trace, title=word_of(properties, "Helicone-Session-Name"))
    yield from calls.records(call, named, exchange, key)


def _output(numbers: _Row) -> int | None:
    """All that was generated: Helicone counts reasoning, where it counts it, beside the rest."""
    if numbers.completion_tokens is None:
        return numbers.reasoning_tokens
    return numbers.completion_tokens + (numbers.reasoning_tokens or 0)


def _cost(numbers: _Row, own: Fields) -> float | None:
    """Dollars. Rows of the table have names of their own for status and latency."""
    usd = numbers.cost_usd if numbers.costUSD is None else numbers.costUSD
    if usd is None and numbers.cost is not None:
        of_table = "response_status" not in own and "delay_ms" not in own
        of_table = of_table and ("status" in own or "latency" in own)
        usd = numbers.cost / _BILLION if of_table else numbers.cost
    return known_cost(usd)


def _body(fields: Fields, name: str) -> Fields | None:
    """A body that was kept; ``None`` for a note that says where it is."""
    body = object_of(fields, name)
    if body is None or "helicone_message" in body or body.keys() <= {"error"}:
        return None
    return body


def _address(fields: Fields) -> str:
    return word_of(fields, "request_path") or word_of(fields, "target_url") or ""


def _session(properties: Fields) -> str | None:
    for name in properties:
        if name.lower() == _SESSION:
            return id_of(properties, name)
    return None


def _provider(fields: Fields) -> str | None:
    named = provider_named(word_of(fields, "provider"))
    if named is not None:
        return named
    where = {"url": fields["target_url"]} if "target_url" in fields else {}
    return provider_of(Envelope(where, None, None, None, (where,), False))


def _model(fields: Fields, response: Fields | None, request: Fields | None) -> str | None:
    return (
        text_of(fields, "model_override")
        or text_of(response, "model")
        or text_of(fields, "response_model")
        or text_of(fields, "request_model")
        or text_of(fields, "model")
        or text_of(request, "model")
    )

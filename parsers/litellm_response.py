"""What LiteLLM writes of a call: a response's usage and its cost.

Many agents and benchmarks call models through LiteLLM and log its responses as they are: the shape
of OpenAI's, for every provider (docs.litellm.ai).

- ``prompt_tokens`` includes what was read from and written to a cache
  (``prompt_tokens_details.cached_tokens`` or ``cache_read_input_tokens``, and
  ``cache_creation_input_tokens``). Some versions left these out for Anthropic's models; that shows
  where they exceed it.
- Responses API objects have ``input_tokens`` and ``output_tokens`` instead.
- A cost of 0 beside tokens means that LiteLLM knows no price for the model.
"""

from __future__ import annotations

import msgspec

from forkpoint.parsers.raw_json import decode
from forkpoint.parsers.records import Tokens, Usage


class _InputDetails(msgspec.Struct):
    cached_tokens: Tokens | None = None
    cache_creation_tokens: Tokens | None = None
    cache_write_tokens: Tokens | None = None


class _OutputDetails(msgspec.Struct):
    reasoning_tokens: Tokens | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: Tokens | None = None
    completion_tokens: Tokens | None = None
    prompt_tokens_details: _InputDetails | None = None
    completion_tokens_details: _OutputDetails | None = None
    input_tokens: Tokens | None = None
    output_tokens: Tokens | None = None
    input_tokens_details: _InputDetails | None = None
    output_tokens_details: _OutputDetails | None = None
    cache_read_input_tokens: Tokens | None = None
    cache_creation_input_tokens: Tokens | None = None


_USAGE = msgspec.json.Decoder(_Usage)
_NO_COUNTS = Usage()


def response_usage(raw: msgspec.Raw) -> Usage | None:
    """A response's ``usage``; ``None`` if there is none or it states no count.

    Raises:
        ValueError: it is no object, or holds what is no count.
    """
    if not raw or bytes(raw) == b"null":
        return None
    logged = decode(raw, _USAGE, "usage")
    total = _first(logged.prompt_tokens, logged.input_tokens)
    details = logged.prompt_tokens_details or logged.input_tokens_details or _InputDetails()
    made = logged.completion_tokens_details or logged.output_tokens_details or _OutputDetails()
    read = _first(details.cached_tokens, logged.cache_read_input_tokens)
    written = _first(
        logged.cache_creation_input_tokens,
        details.cache_creation_tokens,
        details.cache_write_tokens,
    )
    cached = (read or 0) + (written or 0)
    if total is not None and cached > total:
        total += cached
    usage = Usage(
        input_tokens=total,
        cache_read_tokens=read,
        cache_write_tokens=written,
        output_tokens=_first(logged.completion_tokens, logged.output_tokens),
        reasoning_tokens=made.reasoning_tokens,
    )
    return None if usage == _NO_COUNTS else usage


def known_cost(cost: float | None) -> float | None:
    """A cost in US dollars, or ``None`` for what stands for an unknown one.

    Raises:
        ValueError: it is negative or not finite.
    """
    if cost is None or cost == 0:
        return None
    if not 0 < cost < 1e9:
        raise ValueError(f"a cost of {cost} dollars")
    return cost


def _first(*counts: int | None) -> int | None:
    for count in counts:
        if count is not None:
            return count
    return None

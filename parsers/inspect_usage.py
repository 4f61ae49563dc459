"""Token counts as Inspect logs state them (`ModelUsage` of inspect_ai)."""

from __future__ import annotations

import msgspec

from forkpoint.parsers.records import Tokens, Usage


class ModelUsage(msgspec.Struct):
    """The fields of one call's usage, or of a sum of them."""

    input_tokens: Tokens | None = None
    output_tokens: Tokens | None = None
    total_tokens: Tokens | None = None
    input_tokens_cache_read: Tokens | None = None
    input_tokens_cache_write: Tokens | None = None
    reasoning_tokens: Tokens | None = None
    total_cost: float | None = None


def usage_of(logged: ModelUsage | None) -> tuple[Usage | None, float | None]:
    """The usage in our terms, and the cost in dollars. All zero means unknown.

    ``input_tokens`` excludes cached tokens, but early versions left them in for some providers,
    and ``output_tokens`` left out reasoning for some. The total tells which of these it is: the
    reading that comes nearest to it is taken, the documented one where none is nearer.

    Raises:
        ValueError: a cost is no cost.

    >>> usage_of(ModelUsage(1568, 17, 1585, input_tokens_cache_read=1024))[0].input_tokens
    1568
    >>> usage_of(ModelUsage(544, 17, 1585, input_tokens_cache_read=1024))[0].input_tokens
    1568
    """
    if logged is None:
        return None, None
    cost = logged.total_cost
    if cost is not None and not 0 <= cost < 1e9:
        raise ValueError(f"usage: a cost of {cost} dollars")
    given, output = logged.input_tokens or 0, logged.output_tokens or 0
    if not given and not output and not logged.total_tokens:
        return None, cost
    read, write = logged.input_tokens_cache_read, logged.input_tokens_cache_write
    cached = (read or 0) + (write or 0)
    reasoning = logged.reasoning_tokens or 0
    readings = [(given + cached, output), (given + cached, output + reasoning)]
    if cached <= given:
        readings += [(given, output), (given, output + reasoning)]
    total = logged.total_tokens or given + cached + output
    inclusive, made = min(readings, key=lambda each: abs(each[0] + each[1] - total))
    usage = Usage(
        input_tokens=None if logged.input_tokens is None else inclusive,
        cache_read_tokens=read,
        cache_write_tokens=write,
        output_tokens=None if logged.output_tokens is None else made,
        # Some providers' reasoning is estimated from its text, and may exceed what was billed.
        reasoning_tokens=logged.reasoning_tokens if reasoning <= made else None,
    )
    return usage, cost

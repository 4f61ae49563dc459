"""Totals that a log states beside its calls, and what they state beyond them: calls that were made,
and are not in the log. They are no calls of the log, so nothing is counted but the difference."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from forkpoint.parsers.logs import Log
from forkpoint.parsers.records import Call, Record, Usage


def billed_tokens(usage: Usage) -> int:
    """Input and output, as far as they are stated."""
    return (usage.input_tokens or 0) + (usage.output_tokens or 0)


def compared(records: Iterable[Record], log: Log, stated_tokens: int) -> Iterator[Record]:
    """Pass on what a log lists; after the last, the log knows what its totals state beyond it.

    Args:
        stated_tokens: input and output, as the log's totals state them; 0 where it states none. Less
            than what is listed says nothing.
    """
    listed = 0
    for record in records:
        if isinstance(record, Call) and record.usage is not None:
            listed += billed_tokens(record.usage)
        yield record
    log.unlisted_tokens += max(stated_tokens - listed, 0)

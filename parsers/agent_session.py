"""What the logs of coding agents have in common: counts that exclude the cache, times in
milliseconds, names of providers, and prompts that begin with what is not logged.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from forkpoint.parsers.base import ROOT, Tree
from forkpoint.parsers.envelope import PROVIDERS
from forkpoint.parsers.records import Kind, Usage

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_MILLISECOND = 253_402_300_799_999
"""The end of the year 9999."""

_PLATFORMS = ("openrouter", "azure", "bedrock", "vertex")
"""Where one of these sells a maker's model, the platform sends the bill."""


def unlogged_beginning(tree: Tree, agent: str, *where: str | None) -> int:
    """The node of a system prompt and tool definitions that no log holds.

    Args:
        agent: the program.
        where: what the beginning depends on: version, folder, kind of agent.
    """
    text = "\n".join((agent, *(each or "" for each in where)))
    return tree.extend(ROOT, Kind.UNLOGGED, "system", text)


def moment(milliseconds: float | None) -> datetime | None:
    """A Unix time in milliseconds.

    Raises:
        ValueError: it is before 1970 or after 9999.
    """
    if milliseconds is None:
        return None
    if not 0 <= milliseconds <= _LAST_MILLISECOND:
        raise ValueError(f"not a time in milliseconds: {milliseconds}")
    return _EPOCH + timedelta(milliseconds=milliseconds)


def seconds_between(start: datetime | None, end: datetime | None) -> float | None:
    """How long something took; ``None`` if that is not known, or time ran backwards."""
    if start is None or end is None or end < start:
        return None
    return (end - start).total_seconds()


def provider_named(word: str | None) -> str | None:
    """A provider's id in some agent, as prices name it; ``None`` for one that is not known.

    >>> provider_named("amazon-bedrock"), provider_named("openai-codex"), provider_named("my-proxy")
    ('aws', 'openai', None)
    """
    if not word:
        return None
    lowered = word.lower()
    for platform in _PLATFORMS:
        if platform in lowered:
            return PROVIDERS[platform]
    whole = PROVIDERS.get(re.sub("[^a-z]", "", lowered))
    return whole or PROVIDERS.get(re.split("[^a-z]", lowered)[0])


def disjoint_usage(
    *,
    uncached: int | None,
    cache_read: int | None,
    cache_write: int | None = None,
    output: int | None,
    reasoning: int | None = None,
) -> Usage | None:
    """Usage from counts of which none includes another, but output includes reasoning.

    Returns:
        ``None`` if nothing is counted: agents write zeros where a call failed or was cut off.

    Raises:
        ValueError: reasoning exceeds output.
    """
    if not any((uncached, cache_read, cache_write, output, reasoning)):
        return None
    total = None
    if uncached is not None:
        total = uncached + (cache_read or 0) + (cache_write or 0)
    return Usage(
        input_tokens=total,
        cache_read_tokens=cache_read,
        cache_write_tokens=cache_write,
        output_tokens=output,
        reasoning_tokens=reasoning,
    )


def known_cost(usd: float | None) -> float | None:
    """A cost that an agent worked out; it writes 0 for a model whose price it does not know."""
    return usd if usd is not None and usd > 0 else None

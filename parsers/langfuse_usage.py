"""Token counts as Langfuse keeps them: a map whose keys every tracer names in its own way.

Langfuse's documentation asks for disjoint keys: ``input`` without what a cache gave, ``output``
without reasoning. Its own SDKs and its OpenTelemetry ingestion subtract accordingly; other tracers
send an ``input`` that includes everything. Arithmetic decides, for input and output each:

1. A part that exceeds the whole it would belong to stands beside it.
2. A stated total decides: the reading that adds up to it. (Where a tracer sends none, Langfuse adds
   up all keys, which then count as the disjoint ones that it asks for.)
3. Where no total is stated or none fits, a whole that is not smaller than its parts includes them.

An estimate of Langfuse's own (it tokenises inputs and outputs of known models that came without
counts) cannot be told from a provider's count. All zeros mean that nothing was counted.
https://langfuse.com/docs/observability/features/token-and-cost-tracking
"""

from __future__ import annotations

from itertools import product
from typing import NamedTuple

import msgspec

from forkpoint.parsers.raw_json import decode
from forkpoint.parsers.records import Tokens, Usage

_WHOLE_INPUT = ("input", "input_tokens", "prompt_tokens", "promptTokens", "inputTokens", "prompt")
_WHOLE_OUTPUT = (
    "output",
    "output_tokens",
    "completion_tokens",
    "completionTokens",
    "outputTokens",
    "completion",
)
_TOTAL = ("total", "total_tokens", "totalTokens")
_WHOLES = frozenset((*_WHOLE_INPUT, *_WHOLE_OUTPUT, *_TOTAL))

_COUNTS = msgspec.json.Decoder(dict[str, Tokens | float | str | bool | list[object] | None])


class _Parts(NamedTuple):
    """Counts by what they are of. ``None``: there is no such key."""

    read: int | None = None
    write: int | None = None
    write_1h: int | None = None
    other_input: int = 0
    """Audio, images, text: parts of the input that were counted apart."""
    reasoning: int | None = None
    other_output: int = 0

    @property
    def input(self) -> int:
        return (self.read or 0) + (self.write or 0) + self.other_input

    @property
    def output(self) -> int:
        return (self.reasoning or 0) + self.other_output


def usage_of(raw: msgspec.Raw) -> Usage | None:
    """What a map of counts says; ``None`` if it counts nothing.

    Raises:
        ValueError: it is no map, or the counts contradict each other.
    """
    logged = decode(raw, _COUNTS, "usage")
    counts = {name: count for name, value in logged.items() if (count := _count(value)) is not None}
    if not any(counts.values()):
        return None
    whole, made = _first(counts, _WHOLE_INPUT), _first(counts, _WHOLE_OUTPUT)
    parts = _parts({name: count for name, count in counts.items() if name not in _WHOLES})
    total = _first(counts, _TOTAL)
    input_beside, output_beside = _beside(whole, made, total, parts)
    if whole is not None or parts.input:
        whole = (whole or 0) + (parts.input if input_beside else 0)
    if made is not None or parts.output:
        made = (made or 0) + (parts.output if output_beside else 0)
    return Usage(
        input_tokens=whole,
        cache_read_tokens=parts.read,
        cache_write_tokens=parts.write,
        cache_write_1h_tokens=parts.write_1h,
        output_tokens=made,
        reasoning_tokens=parts.reasoning,
    )


def _count(value: object) -> int | None:
    """A count; ClickHouse may quote it, and other things than tokens may be counted in fractions."""
    if isinstance(value, str) and value.isdecimal() and len(value) < 16:
        return int(value)
    return value if type(value) is int else None


def _first(counts: dict[str, int], names: tuple[str, ...]) -> int | None:
    for name in names:
        if name in counts:
            return counts[name]
    return None


def _parts(counts: dict[str, int]) -> _Parts:
    read = write = split = long = reasoning = None
    other_input = other_output = 0
    for name, count in counts.items():
        words = name.lower()
        if "cach" in words:
            if "creat" in words or "writ" in words or "ephemeral" in words:
                if "1h" in words:
                    long = (long or 0) + count
                elif "5m" in words:
                    split = (split or 0) + count
                else:
                    write = (write or 0) + count
            elif read is None or count > read:
                # Two names of one count, where a tracer sends its provider's and Langfuse's.
                read = count
        elif "ephemeral_1h" in words:
            long = (long or 0) + count
        elif "ephemeral_5m" in words:
            split = (split or 0) + count
        elif "reasoning" in words or "thought" in words or "thinking" in words:
            reasoning = max(reasoning or 0, count)
        elif words.startswith(("input", "prompt")):
            other_input += count
        elif words.startswith(("output", "completion")):
            other_output += count
    return _Parts(read, _written(write, split, long), long, other_input, reasoning, other_output)


def _written(whole: int | None, short: int | None, long: int | None) -> int | None:
    """All cache writes: counted by lifetime beside the rest, or restated."""
    if short is None and long is None:
        return whole
    by_lifetime = (short or 0) + (long or 0)
    return by_lifetime if whole == by_lifetime else (whole or 0) + by_lifetime


def _beside(
    whole: int | None, made: int | None, total: int | None, parts: _Parts
) -> tuple[bool, bool]:
    """Whether the parts of the input stand beside it, and those of the output beside that."""
    inputs = [False] if whole is not None and parts.input <= whole else []
    outputs = [False] if made is not None and parts.output <= made else []
    choices = list(product([*inputs, True], [*outputs, True]))
    if total is not None:
        for input_beside, output_beside in choices:
            sums = (whole or 0) + (made or 0)
            sums += parts.input if input_beside else 0
            sums += parts.output if output_beside else 0
            if sums == total:
                return input_beside, output_beside
    return choices[0]

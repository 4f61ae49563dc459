"""What Copilot CLI counts: single calls, and totals of a session by model.

Counts are inclusive: ``inputTokens`` has what was read from and written to a cache (seen in shutdown
events, whose ``tokenDetails`` split the same numbers into parts). Some models state more reasoning
than output tokens; such a count is left out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

import msgspec

from forkpoint.parsers.records import Tokens, Usage

_COUNTED = (
    "input_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "output_tokens",
    "reasoning_tokens",
)


class Counts(msgspec.Struct, rename="camel"):
    """The counts of a call, or of all calls of one model."""

    input_tokens: Tokens | None = None
    cache_read_tokens: Tokens | None = None
    cache_write_tokens: Tokens | None = None
    output_tokens: Tokens | None = None
    reasoning_tokens: Tokens | None = None
    model: str | None = None
    api_call_id: str | None = None
    input: Tokens | None = None
    output: Tokens | None = None
    cached_input: Tokens | None = None

    def usage(self) -> Usage | None:
        """These counts under the names of `Usage`; the last three are those of older versions."""
        given = self.input_tokens if self.input_tokens is not None else self.input
        output = self.output_tokens if self.output_tokens is not None else self.output
        read = self.cache_read_tokens if self.cache_read_tokens is not None else self.cached_input
        if not any((given, output, read, self.cache_write_tokens)):
            return None
        reasoning = self.reasoning_tokens
        return Usage(
            input_tokens=given,
            cache_read_tokens=read,
            cache_write_tokens=self.cache_write_tokens,
            output_tokens=output,
            reasoning_tokens=reasoning if (reasoning or 0) <= (output or 0) else None,
        )


class SessionTotals:
    """What shutdown events count, and how much of it single calls do not."""

    def __init__(self) -> None:
        self._totals: dict[str, Counter[str]] = {}
        self._output: Counter[str] = Counter()
        """Output tokens of the single calls so far, by model."""
        self._output_before: Counter[str] = Counter()
        """The same at the newest shutdown."""

    @property
    def models(self) -> list[str]:
        """The models counted."""
        return list(self._totals)

    @property
    def only_model(self) -> str | None:
        """The one model of a session: that of calls which name none."""
        return self.models[0] if len(self._totals) == 1 else None

    def add_output(self, model: str | None, tokens: int) -> None:
        """Note what a single call generated."""
        self._output[model or ""] += tokens

    def shut_down(self, counted: Mapping[str, Usage | None]) -> None:
        """Take in one shutdown's counts by model."""
        for model, usage in counted.items():
            if usage is None:
                continue
            counts = Counter({name: getattr(usage, name) or 0 for name in _COUNTED})
            known = self._totals.get(model)
            if known is None or self._is_whole(counts, known, model):
                self._totals[model] = counts
            else:
                known.update(counts)
        self._output_before = self._output.copy()

    def _is_whole(self, counts: Counter[str], known: Counter[str], model: str) -> bool:
        """Whether a later shutdown counts the whole session, and not only what came since the last.

        Versions differ. Numbers that fell are not the whole; else it is what the output tokens of
        the single calls come closer to.
        """
        if any(counts[name] < known[name] for name in _COUNTED):
            return False
        whole = self._output[model] + self._output[""]
        since = whole - self._output_before[model] - self._output_before[""]
        stated = counts["output_tokens"]
        return abs(stated - whole) <= abs(stated - since)

    def left_over(self, model: str, calls: Iterable[Usage]) -> Usage | None:
        """What was counted for a model beyond its single calls; ``None`` if that is nothing."""
        left = Counter(self._totals[model])
        for usage in calls:
            for name in _COUNTED:
                left[name] = max(left[name] - (getattr(usage, name) or 0), 0)
        cached = left["cache_read_tokens"] + left["cache_write_tokens"]
        return Counts(
            input_tokens=max(left["input_tokens"], cached),
            cache_read_tokens=left["cache_read_tokens"],
            cache_write_tokens=left["cache_write_tokens"],
            output_tokens=left["output_tokens"],
            reasoning_tokens=left["reasoning_tokens"],
        ).usage()

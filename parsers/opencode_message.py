"""What OpenCode's files and database say alike of a model's message: counts, times, identity."""

from __future__ import annotations

import msgspec

from forkpoint.parsers.agent_session import (
    disjoint_usage,
    known_cost,
    moment,
    provider_named,
    seconds_between,
)
from forkpoint.parsers.logs import Line
from forkpoint.parsers.records import Call, Tokens, Usage


class _Cache(msgspec.Struct):
    read: Tokens | None = None
    write: Tokens | None = None


class Counts(msgspec.Struct):
    """Token counts of one call; ``input`` excludes the cache."""

    input: Tokens | None = None
    output: Tokens | None = None
    reasoning: Tokens | None = None
    cache: _Cache | None = None
    total: Tokens | None = None

    def numbers(self) -> tuple[int, ...]:
        """The five counts; what is missing compares as 0."""
        cache = self.cache or _Cache()
        given = (self.input, self.output, self.reasoning, cache.read, cache.write)
        return tuple(count or 0 for count in given)

    def usage(self) -> Usage | None:
        """These counts under the names of `Usage`.

        Reasoning stands beside the output, unless the total says that it is part of it.

        Raises:
            ValueError: the counts contradict each other.
        """
        cache, reasoning = self.cache or _Cache(), self.reasoning or 0
        within = self.total == sum(self.numbers()) - reasoning
        output = self.output
        if output is not None and not within:
            output += reasoning
        return disjoint_usage(
            uncached=self.input,
            cache_read=cache.read,
            cache_write=cache.write,
            output=output,
            reasoning=self.reasoning,
        )


class Time(msgspec.Struct):
    """Unix times in milliseconds."""

    created: float | None = None
    completed: float | None = None


class _Path(msgspec.Struct):
    cwd: str | None = None


class Info(
    msgspec.Struct,
    rename={"session_id": "sessionID", "model_id": "modelID", "provider_id": "providerID"},
):
    """A message of versions before 2, without its parts."""

    role: str
    session_id: str | None = None
    model_id: str | None = None
    provider_id: str | None = None
    cost: float | None = None
    tokens: Counts | None = None
    time: Time | None = None
    path: _Path | None = None
    summary: msgspec.Raw = msgspec.Raw()


class Answer(msgspec.Struct):
    """What is known of one call."""

    model: str | None
    provider: str | None
    counts: Counts | None
    cost: float | None
    time: Time

    @property
    def usage(self) -> Usage | None:
        """As `Counts.usage`."""
        return self.counts.usage() if self.counts is not None else None

    def call(
        self,
        *,
        trace: str,
        place: Line,
        prompt: int,
        completion: int | None,
        sidechain: bool = False,
        step: int | None = None,
    ) -> Call:
        """The call, known by times and counts: copies have other ids.

        Args:
            step: which of several steps of one message it is, except the last.

        Raises:
            ValueError: counts contradict each other, or a time is none.
        """
        created, completed = moment(self.time.created), moment(self.time.completed)
        numbers = (self.counts or Counts()).numbers()
        key = f"opencode:{self.time.created}:{self.time.completed}:{self.model}:{numbers}"
        return Call(
            identity=("", key if step is None else f"{key}:{step}"),
            trace=trace,
            line=place.line,
            offset=place.offset,
            prompt=prompt,
            completion=completion,
            started_at=created,
            duration_s=seconds_between(created, completed),
            provider=provider_named(self.provider),
            model=self.model,
            usage=self.usage,
            sidechain=sidechain,
            logged_cost_usd=known_cost(self.cost),
        )


def answer_of(info: Info) -> Answer:
    """A message of versions before 2 as a call."""
    return Answer(info.model_id, info.provider_id, info.tokens, info.cost, info.time or Time())

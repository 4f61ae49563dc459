"""What a parser yields: calls, traces, scores and issues, the same for every log format.

Missing is ``None``, never 0. Fields carry their unit. Nothing here knows prices,
time zones or totals.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated

import msgspec

Tokens = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
"""A token count as logs state it. Anything else in a known field is an issue, not a number."""


class Kind(StrEnum):
    """What a segment is. Part of a segment's identity, so equal text in two roles never merges."""

    UNLOGGED = "unlogged"
    """A stand-in for the part of a prompt that the log does not hold (system prompt, tools)."""
    TOOLS = "tools"
    """A tool definition. How providers render them into the prompt is not public, so their tokens
    are not counted."""
    SYSTEM = "system"
    TEXT = "text"
    THINKING = "thinking"
    TOOL_CALL = "tool_call"
    TOOL_RESULT = "tool_result"
    MEDIA = "media"
    """Images, audio, documents: identified by their bytes; their tokens cannot be counted here."""
    RENDERED = "rendered"
    """A piece of a prompt that was logged as one rendered text. Like runs of token ids, pieces end
    where we cut, not where the prompt has a boundary."""
    TOKENS = "tokens"
    """A run of logged token ids."""
    BLOCK = "block"
    """A hashed KV block of a serving trace."""


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """Token counts one provider reported for one call.

    `input_tokens` is inclusive: uncached + cache read + cache write. `reasoning_tokens`
    is part of `output_tokens`. A count the log does not state is ``None``.

    Raises:
        ValueError: the parts exceed the whole, so that a leaf would be negative.
    """

    input_tokens: Tokens | None = None
    cache_read_tokens: Tokens | None = None
    cache_write_tokens: Tokens | None = None
    cache_write_1h_tokens: Tokens | None = None
    """The part of `cache_write_tokens` written with a one-hour lifetime."""
    output_tokens: Tokens | None = None
    reasoning_tokens: Tokens | None = None

    def __post_init__(self) -> None:
        read, write = self.cache_read_tokens or 0, self.cache_write_tokens or 0
        if self.input_tokens is not None and read + write > self.input_tokens:
            raise ValueError(
                f"cache read ({read}) + cache write ({write}) exceed input ({self.input_tokens}) tokens"
            )
        if (self.cache_write_1h_tokens or 0) > write:
            raise ValueError(
                f"1 h cache writes ({self.cache_write_1h_tokens}) exceed all cache writes ({write})"
            )
        if self.output_tokens is not None and (self.reasoning_tokens or 0) > self.output_tokens:
            raise ValueError(
                f"reasoning ({self.reasoning_tokens}) exceeds output ({self.output_tokens}) tokens"
            )


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """One model request and its response."""

    identity: tuple[str, str] | None
    """(scope, key): calls equal in both are one call, logged more than once, and the fullest copy
    counts. The scope is ``""`` for keys unique in the world (a provider's message id), or a trace id
    for keys unique within one conversation; traces that fork from each other share their scope.
    ``None``: the log gives no identity, so each record is a call of its own."""
    request: str | None = None
    """A second part of the identity that some copies lack: calls equal in `identity` are still two
    calls if both state a request id and the ids differ."""
    trace: str
    """Trace id. Globally unique where the format has such ids."""
    line: int
    """1-based line (or record number) of the log where the call first stands."""
    offset: int
    """Byte offset of that record in the decompressed log."""
    prompt: int
    """Node of the prefix tree where the prompt ends (a value `Tree.extend` returned)."""
    completion: int | None = None
    """Node where the completion ends; a descendant of `prompt` except for rendered text and
    token ids, whose segments need not end where the prompt does. ``None``: the response was not logged."""
    text: int | None = None
    """Where a log holds token ids and their text too: the node where the same sequence (prompt and
    completion) ends as text. Equal texts of different ids are forks that only a tokenizer made."""
    text_start: int | None = None
    """Bytes (UTF-8) of that text that are the prompt's. ``None``: not known, or its segments are
    messages, which say who speaks."""
    started_at: datetime | None = None
    """When the request was sent or, where the log knows only that, answered. Naive means UTC."""
    duration_s: float | None = None
    provider: str | None = None
    """As genai-prices names it (``anthropic``, ``openai``), or ``None`` to go by the model name."""
    model: str | None = None
    usage: Usage | None = None
    sidechain: bool = False
    """A subagent's call."""
    breakpoints: int | None = None
    """Cache breakpoints that the request set; ``None``: the log does not say."""
    service_tier: str | None = None
    miss_reason: str | None = None
    """Why the provider says its cache missed, in the provider's own word."""
    logged_cost_usd: float | None = None
    is_sum: bool = False
    """Stands for several requests that the log counts only together. Its totals hold; the sizes of the
    single prompts are not known, so it counts in no ideal and passes no price threshold."""


class Trace(msgspec.Struct, frozen=True, kw_only=True):
    """One agent run or one rollout. May be yielded more than once; the last one wins."""

    id: str
    parent: str | None = None
    """The trace that spawned this one (a subagent's caller)."""
    forked_from: str | None = None
    """The trace whose history this one starts with. Its calls, replayed here, are the same calls."""
    project: str | None = None
    """Working directory, repository or data set."""
    agent: str | None = None
    """Program and version that wrote the log."""
    group: str | None = None
    """Rollouts of one prompt or task share it. ``None``: not a rollout."""
    reward: float | None = None
    answer: str | None = None
    leaf: int | None = None
    """Node where a rollout's whole sequence ends, prompts and completions."""
    prompt: int | None = None
    """Node where the prompt ends, for a rollout that has no call of its own: one of several choices
    that one call returned, or a completion whose request was not logged. `ROOT`: nothing of its prompt
    is logged, all its content was generated. ``None``: not known, or its calls say it."""
    title: str | None = None


class Scores(msgspec.Struct, frozen=True, kw_only=True):
    """What a log says of the tokens that one completion is made of, position by position.

    All lists have one entry a sampled token. Logprobs are natural logarithms; a missing one is
    ``None``, and what stands for minus infinity (``-inf``, OpenAI's -9999) may be left as it is.

    Raises:
        ValueError: the lists are of different lengths.
    """

    trace: str
    """Id of the trace, or of the rollout, that sampled them."""
    line: int
    offset: int
    """Line and byte offset of the record, as in `Call`."""
    prompt: int
    """Node where the prompt ends."""
    completion: int
    """Node where the completion ends."""
    tokens: list[str] | list[int]
    """The sampled tokens, as the log names them: by text or by id."""
    logprobs: list[float | None]
    """ln p of each sampled token."""
    top: list[list[float]] | None = None
    """Logprobs of the most likely tokens at each position, in any order; the list has the sampled
    token where it is one of them. ``None``: only the sampled tokens' logprobs were logged."""
    entropies: list[float | None] | None = None
    """Entropy in nats over the whole vocabulary, where it was logged."""

    def __post_init__(self) -> None:
        n = len(self.tokens)
        for name in ("logprobs", "top", "entropies"):
            values = getattr(self, name)
            if values is not None and len(values) != n:
                raise ValueError(f"{len(values)} {name} for {n} tokens")


class Issue(msgspec.Struct, frozen=True, kw_only=True):
    """One record that could not be read, and why. Counted in every report."""

    line: int
    offset: int
    reason: str
    """One line of plain words; may quote the log, so it is escaped wherever it is shown."""


Record = Call | Trace | Scores | Issue

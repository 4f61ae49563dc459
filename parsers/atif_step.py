"""One step of an ATIF trajectory: what it says, what it observes, what it cost.

The fields are those of the format's version 1.8; see `forkpoint.parsers.atif`.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from forkpoint.parsers.chat import Segment, argument_text, call_segment, content_segments
from forkpoint.parsers.raw_json import decode, is_object
from forkpoint.parsers.records import Kind, Tokens, Usage

_TokenId = Annotated[int, msgspec.Meta(ge=0, le=2**32 - 1)]


class _ToolCall(msgspec.Struct):
    function_name: str
    arguments: msgspec.Raw = msgspec.Raw()


class _Result(msgspec.Struct):
    source_call_id: str | None = None
    content: msgspec.Raw = msgspec.Raw()


class _Observation(msgspec.Struct):
    results: list[_Result] | None = None


class _CacheCreation(msgspec.Struct):
    ephemeral_1h_input_tokens: Tokens | None = None


class _MetricsExtra(msgspec.Struct):
    cache_creation_input_tokens: Tokens | None = None
    cache_creation: _CacheCreation | None = None
    reasoning_tokens: Tokens | None = None


class Metrics(msgspec.Struct):
    """What a call cost; aggregated where `Step.llm_call_count` is above 1."""

    prompt_tokens: Tokens | None = None
    completion_tokens: Tokens | None = None
    cached_tokens: Tokens | None = None
    cost_usd: float | None = None
    prompt_token_ids: list[_TokenId] | None = None
    completion_token_ids: list[_TokenId] | None = None
    logprobs: list[float | None] | None = None
    extra: msgspec.Raw = msgspec.Raw()


class _ContextManagement(msgspec.Struct):
    boundary: str | None = None


class _StepExtra(msgspec.Struct):
    context_management: _ContextManagement | None = None


class Step(msgspec.Struct):
    """A message or a turn of the agent. What is decoded only if asked for is raw."""

    source: str
    message: msgspec.Raw
    step_id: int | None = None
    timestamp: msgspec.Raw = msgspec.Raw()
    model_name: str | None = None
    reasoning_content: str | None = None
    tool_calls: list[_ToolCall] | None = None
    observation: _Observation | None = None
    metrics: msgspec.Raw = msgspec.Raw()
    llm_call_count: int | None = None
    is_copied_context: bool | None = None
    extra: msgspec.Raw = msgspec.Raw()

    @property
    def is_call(self) -> bool:
        """Whether a model was asked, in this trajectory."""
        return self.source == "agent" and not self.is_copied_context and self.llm_call_count != 0


_STEP = msgspec.json.Decoder(Step)
_METRICS = msgspec.json.Decoder(Metrics)
_METRICS_EXTRA = msgspec.json.Decoder(_MetricsExtra)
_STEP_EXTRA = msgspec.json.Decoder(_StepExtra)


def read_step(data: bytes) -> Step:
    """A step.

    Raises:
        ValueError: it is none.
    """
    return decode(data, _STEP, "step")


def read_metrics(step: Step) -> Metrics:
    """A step's metrics, all ``None`` where it has none.

    Raises:
        ValueError: they have wrong types, or a cost is no cost.
    """
    if not step.metrics or bytes(step.metrics) == b"null":
        return Metrics()
    metrics = decode(step.metrics, _METRICS, "metrics")
    if metrics.cost_usd is not None and not 0 <= metrics.cost_usd < 1e9:
        raise ValueError(f"metrics: a cost of {metrics.cost_usd} dollars")
    return metrics


def said(step: Step) -> list[Segment]:
    """What a step adds to the conversation before anything is observed.

    Raises:
        ValueError: its source is unknown, or its message or arguments cannot be read.
    """
    if step.source == "system":
        return content_segments(step.message, Kind.SYSTEM, "system")
    if step.source == "user":
        return content_segments(step.message, Kind.TEXT, "user") or [Segment(Kind.TEXT, "user", "")]
    if step.source != "agent":
        raise ValueError(f"source: {step.source!r} is none of system, user and agent")
    segments = []
    if step.reasoning_content:
        segments.append(Segment(Kind.THINKING, "assistant", step.reasoning_content))
    segments += content_segments(step.message, Kind.TEXT, "assistant")
    for call in step.tool_calls or ():
        given = argument_text(call.arguments)
        segments.append(call_segment("assistant", call.function_name, given))
    return segments or [Segment(Kind.TEXT, "assistant", "")]


def observed(step: Step) -> list[Segment]:
    """Results of tools; of actions without a tool call, as the user's next words.

    Raises:
        ValueError: a result cannot be read.
    """
    results = step.observation.results if step.observation else None
    segments = []
    for result in results or ():
        kind, role = Kind.TOOL_RESULT, "tool"
        if result.source_call_id is None:
            system = step.source == "system"
            kind, role = (Kind.SYSTEM, "system") if system else (Kind.TEXT, "user")
        segments += content_segments(result.content, kind, role)
    return segments


def replaces_context(step: Step) -> bool:
    """Whether what stood before the step is not sent again (a compaction).

    Raises:
        ValueError: its ``extra`` says so in a way that cannot be read.
    """
    if not step.extra or not is_object(step.extra) or b'"boundary"' not in bytes(step.extra):
        return False
    managed = decode(step.extra, _STEP_EXTRA, "extra").context_management
    return managed is not None and managed.boundary == "replace"


def usage_of(metrics: Metrics) -> Usage | None:
    """The token counts; ``None`` where there are none.

    Raises:
        ValueError: they contradict each other.
    """
    extra = _MetricsExtra()
    if metrics.extra and is_object(metrics.extra):
        extra = decode(metrics.extra, _METRICS_EXTRA, "metrics.extra")
    created = extra.cache_creation or _CacheCreation()
    usage = Usage(
        input_tokens=metrics.prompt_tokens,
        cache_read_tokens=metrics.cached_tokens,
        cache_write_tokens=extra.cache_creation_input_tokens,
        cache_write_1h_tokens=created.ephemeral_1h_input_tokens,
        output_tokens=metrics.completion_tokens,
        reasoning_tokens=extra.reasoning_tokens,
    )
    # A call without a single token was not measured.
    return usage if usage.input_tokens or usage.output_tokens else None

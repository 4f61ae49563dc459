"""What the attributes of a span say of a model call, in every dialect that tracers speak.

- OpenTelemetry's GenAI conventions, in their current names and older ones: ``gen_ai.usage.*``
  (github.com/open-telemetry/semantic-conventions-genai 0724e29; OpenLLMetry 0.62 and 0.47; pydantic-ai
  for ``gen_ai.usage.details.*``);
- OpenInference: ``llm.*`` (github.com/Arize-ai/openinference 1fe497f, ``spec/``);
- Vercel's AI SDK: ``ai.*`` (versions 4 to 6);
- Claude Code's own telemetry: bare names like ``input_tokens`` on spans ``claude_code.llm_request``
  and events ``claude_code.api_request`` (exports of 2.1.224 and 2.1.266).

Whether a prompt's count includes what a cache gave or took is told in this order: Claude Code's does
not. A call whose cached part exceeds its prompt, or whose total is prompt, cached part and output
together, proves that it does not, and proves it for all calls of the same instrumentation to a
provider whose API counts so. Older names for a model of Anthropic's mean that it does not, except
from OpenLLMetry, which adds the parts up. Else it does, as all conventions ask.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from typing import NamedTuple

from forkpoint.parsers.agent_session import provider_named
from forkpoint.parsers.raw_json import decode_fields, id_of, is_object, object_of
from forkpoint.parsers.records import Usage
from forkpoint.parsers.spans import Attributes, Span

# fmt: off
_INPUT = (
    "gen_ai.usage.input_tokens", "llm.token_count.prompt", "ai.usage.inputTokens",
    "ai.usage.promptTokens", "gen_ai.usage.prompt_tokens", "llm.usage.prompt_tokens",
)
_OUTPUT = (
    "gen_ai.usage.output_tokens", "llm.token_count.completion", "ai.usage.outputTokens",
    "ai.usage.completionTokens", "gen_ai.usage.completion_tokens", "llm.usage.completion_tokens",
)
_CACHE_READ = (
    "gen_ai.usage.cache_read.input_tokens", "llm.token_count.prompt_details.cache_read",
    "ai.usage.inputTokenDetails.cacheReadTokens", "ai.usage.cachedInputTokens",
    "gen_ai.usage.cache_read_input_tokens", "gen_ai.usage.details.cache_read_tokens",
    "gen_ai.usage.details.cache_read_input_tokens",
)
_CACHE_WRITE = (
    "gen_ai.usage.cache_write.input_tokens", "gen_ai.usage.cache_creation.input_tokens",
    "llm.token_count.prompt_details.cache_write", "ai.usage.inputTokenDetails.cacheWriteTokens",
    "gen_ai.usage.cache_creation_input_tokens", "gen_ai.usage.cache_write_input_tokens",
    "gen_ai.usage.details.cache_write_tokens", "gen_ai.usage.details.cache_creation_input_tokens",
)
_REASONING = (
    "gen_ai.usage.reasoning.output_tokens", "llm.token_count.completion_details.reasoning",
    "ai.usage.outputTokenDetails.reasoningTokens", "ai.usage.reasoningTokens",
    "gen_ai.usage.reasoning_tokens", "gen_ai.usage.details.reasoning_tokens",
    "llm.usage.reasoning_tokens",
)
_TOTAL = (
    "llm.token_count.total", "gen_ai.usage.total_tokens", "llm.usage.total_tokens",
    "ai.usage.totalTokens",
)
_OLD_NAMES = (
    "gen_ai.usage.prompt_tokens", "gen_ai.usage.cache_read_input_tokens",
    "gen_ai.usage.cache_creation_input_tokens", "gen_ai.usage.cache_write_input_tokens",
)
_MODEL = (
    "gen_ai.response.model", "llm.response.model_name", "ai.response.model", "llm.model_name",
    "gen_ai.request.model", "llm.request.model_name", "ai.model.id",
)
_PROVIDER = (
    "gen_ai.provider.name", "gen_ai.system", "llm.provider", "ai.model.provider", "llm.system",
)
_RESPONSE_ID = ("gen_ai.response.id", "ai.response.id")
_CONVERSATION = (
    "gen_ai.conversation.id", "session.id", "copilot_chat.session_id",
    "copilot_chat.chat_session_id", "langfuse.session.id",
    "traceloop.association.properties.session_id", "ai.telemetry.metadata.sessionId",
)
_COST = ("llm.cost.total", "operation.cost")
_SERVICE_TIER = ("gen_ai.openai.response.service_tier", "openai.response.service_tier")

_CALL_OPERATIONS = frozenset(("chat", "text_completion", "generate_content", "completion"))
_AGENT_OPERATIONS = frozenset(("invoke_agent", "create_agent", "invoke_workflow", "plan"))
_OTHER_OPERATIONS = frozenset(("embeddings", "embedding", "retrieval", "rerank"))
# fmt: on
_WRAPPERS = re.compile(r"ai\.(?:generate|stream)(?:Text|Object)")
_CLAUDE_CODE_CALL = ("claude_code.llm_request", "claude_code.api_request")
_EVENT_CALL = "gen_ai.client.inference.operation.details"

_ADDS_CACHE_UP = "opentelemetry.instrumentation.anthropic"
_SMALL_RANDOM_ID = re.compile(r"chatcmpl-\d{1,3}")
"""Ollama draws its response ids from 999 numbers: they identify nothing."""


class Layer(IntEnum):
    """What a span is to model calls."""

    OTHER = 0
    TOOL = 1
    AGENT = 2
    """Around calls; its counts, if it has any, are theirs together."""
    WRAPPER = 3
    """A framework's function around one call, or several in a row; its counts are theirs together."""
    CALL = 4


class Counts(NamedTuple):
    """Token counts as a span states them."""

    input: int | None = None
    cache_read: int | None = None
    cache_write: int | None = None
    output: int | None = None
    reasoning: int | None = None
    total: int | None = None
    old_names: bool = False
    excludes_cache: bool = False
    """Known without looking at the numbers: `input` is only what no cache gave or took."""

    @property
    def known(self) -> bool:
        """Whether anything was counted. Writers put zeros where a call failed or was cut off."""
        return bool(self.input or self.output or self.cache_read or self.cache_write)

    @property
    def cached(self) -> int:
        """What a cache gave or took."""
        return (self.cache_read or 0) + (self.cache_write or 0)

    @property
    def proves_exclusion(self) -> bool:
        """Whether the numbers make sense only if `input` leaves the cached part out."""
        given, cached = self.input or 0, self.cached
        if not cached:
            return False
        return cached > given or self.total == given + cached + (self.output or 0)

    def usage(self, excludes_cache: bool) -> Usage | None:
        """The counts in our terms; ``None`` if nothing was counted."""
        if not self.known:
            return None
        output, reasoning = self.output, self.reasoning
        if output is not None and reasoning and reasoning > output:
            output += reasoning  # It cannot be a part, so it stands beside the output.
        return Usage(
            input_tokens=(
                None if self.input is None else self.input + self.cached * excludes_cache
            ),
            cache_read_tokens=self.cache_read,
            cache_write_tokens=self.cache_write,
            output_tokens=output,
            reasoning_tokens=None if output is None else reasoning,
        )


@dataclass(slots=True)
class Facts:
    """What a span says of a call, but for its messages."""

    layer: Layer
    counts: Counts
    response_id: str | None
    provider: str | None
    model: str | None
    cost_usd: float | None
    service_tier: str | None
    subagent: str | None
    """Id of the subagent that made the call, where the span itself says so."""
    emitter: tuple[str | None, str | None]
    """Instrumentation and provider: what counts the same way."""


def layer_of(span: Span) -> Layer:
    """What a span is to model calls."""
    attributes = span.attributes
    if span.name in _CLAUDE_CODE_CALL:
        return Layer.CALL
    operation = attributes.word("ai.operationId")
    if operation is not None:
        if operation.endswith((".doGenerate", ".doStream")):
            return Layer.CALL
        if operation == "ai.toolCall":
            return Layer.TOOL
        return Layer.WRAPPER if _WRAPPERS.fullmatch(operation) else Layer.OTHER
    kind = attributes.word("openinference.span.kind")
    if kind is not None:
        kind = kind.upper()
        if kind == "LLM":
            return Layer.CALL
        if kind == "TOOL":
            return Layer.TOOL
        if kind == "AGENT":
            return Layer.AGENT
        return Layer.WRAPPER if kind == "CHAIN" else Layer.OTHER
    return _genai_layer(span)


def _genai_layer(span: Span) -> Layer:
    attributes = span.attributes
    operation = attributes.word("gen_ai.operation.name", "llm.request.type")
    if span.event is not None:
        return Layer.CALL if span.name == _EVENT_CALL else Layer.OTHER
    if operation in _CALL_OPERATIONS:
        return Layer.CALL
    if operation in _AGENT_OPERATIONS:
        return Layer.AGENT
    if operation == "execute_tool":
        return Layer.TOOL
    if operation in _OTHER_OPERATIONS:
        return Layer.OTHER
    counted = any(name in attributes for name in (*_INPUT, *_OUTPUT))
    return Layer.CALL if counted else Layer.OTHER


def facts_of(span: Span, layer: Layer) -> Facts:
    """What a span of a call, or around calls, says of it.

    Raises:
        ValueError: a known attribute has a wrong type.
    """
    attributes = span.attributes
    own = span.name in _CLAUDE_CODE_CALL
    model = attributes.text(*_MODEL) or (attributes.text("model") if own else None)
    named = "anthropic" if own else attributes.text(*_PROVIDER)
    provider = _provider(named)
    metadata = _provider_metadata(attributes)
    return Facts(
        layer=layer,
        counts=_claude_code_counts(attributes) if own else _counts(attributes),
        response_id=_response_id(attributes, own) or metadata.response_id,
        provider=provider,
        model=model,
        cost_usd=attributes.amount("cost_usd") if own else attributes.amount(*_COST),
        service_tier=attributes.text(*_SERVICE_TIER) or metadata.service_tier,
        subagent=attributes.text("agent_id") if own else None,
        emitter=(span.scope, provider),
    )


def _counts(attributes: Attributes) -> Counts:
    return Counts(
        input=attributes.count(*_INPUT),
        cache_read=attributes.count(*_CACHE_READ),
        cache_write=attributes.count(*_CACHE_WRITE),
        output=attributes.count(*_OUTPUT),
        reasoning=attributes.count(*_REASONING),
        total=attributes.count(*_TOTAL),
        old_names=any(name in attributes for name in _OLD_NAMES),
    )


def _claude_code_counts(attributes: Attributes) -> Counts:
    return Counts(
        input=attributes.count("input_tokens"),
        cache_read=attributes.count("cache_read_tokens"),
        cache_write=attributes.count("cache_creation_tokens"),
        output=attributes.count("output_tokens"),
        excludes_cache=True,
    )


def _response_id(attributes: Attributes, own: bool) -> str | None:
    """A response's id, if no other response has it. Claude Code's spans and events share the
    request's id."""
    found = attributes.text("request_id") if own else None
    found = found or attributes.text(*_RESPONSE_ID)
    return None if found is None or _SMALL_RANDOM_ID.fullmatch(found) else found


class _Metadata(NamedTuple):
    response_id: str | None = None
    service_tier: str | None = None


def _provider_metadata(attributes: Attributes) -> _Metadata:
    """What Vercel's SDK keeps of a provider's own response fields."""
    raw = attributes.json("ai.response.providerMetadata")
    if raw is None or not is_object(raw):
        return _Metadata()
    openai = object_of(decode_fields(raw, "ai.response.providerMetadata"), "openai")
    return _Metadata(id_of(openai, "responseId"), id_of(openai, "serviceTier"))


@lru_cache(maxsize=256)
def _provider(word: str | None) -> str | None:
    """A provider as prices name it, from the words of all dialects (``openai.responses``,
    ``aws.bedrock``, ``gcp.gen_ai``, ``az.ai.openai``, ``x_ai``)."""
    if word is None:
        return None
    first = re.split("[^a-z]", word.lower())[0]
    if first in ("gcp", "az"):
        return "google" if first == "gcp" else "azure"
    return provider_named(word)


def conversation_of(attributes: Attributes) -> str | None:
    """The id of the conversation or session that a span belongs to, if it says so."""
    for name in _CONVERSATION:
        if name in attributes:
            found = attributes.word(name)
            if found is not None:
                return found
    return None


def emitters_that_exclude(all_facts: Iterable[Facts]) -> set[tuple[str | None, str | None]]:
    """Instrumentations that leave the cached part out of the prompts of providers that do so too."""
    return {
        facts.emitter
        for facts in all_facts
        if facts.counts.proves_exclusion and _excluding_api(facts)
    }


def usage_of(facts: Facts, excluding: set[tuple[str | None, str | None]]) -> Usage | None:
    """A call's usage; the module's docstring says how counts are read.

    Args:
        excluding: what `emitters_that_exclude` gave for the file.
    """
    counts = facts.counts
    old = counts.old_names and _is_anthropic(facts) and facts.emitter[0] != _ADDS_CACHE_UP
    excludes = (
        counts.excludes_cache
        or counts.proves_exclusion
        or old
        or (facts.emitter in excluding and _excluding_api(facts))
    )
    return counts.usage(excludes)


def _excluding_api(facts: Facts) -> bool:
    return facts.provider in ("anthropic", "aws") or _is_anthropic(facts)


def _is_anthropic(facts: Facts) -> bool:
    return facts.provider == "anthropic" or "claude" in (facts.model or "").lower()

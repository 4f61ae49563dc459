"""OpenRouter exports: the activity log as CSV, and records of single generations.

Activity row: ``generation_id, created_at, cost_total, cost_cache, byok_usage_inference,
tokens_prompt, tokens_completion, tokens_reasoning, tokens_cached, model_permaslug, provider_name,
cancelled, generation_time_ms, api_key_name, app_name, …``. A generation, as the API gives it:
``{"data": {id, created_at, model, total_cost, usage, upstream_inference_cost, is_byok,
tokens_prompt, native_tokens_prompt, native_tokens_completion, native_tokens_reasoning,
native_tokens_cached, provider_name, latency, generation_time, …}}``; people collect these one a line.
What to know about them:

- Cached tokens are part of the prompt, and reasoning of the completion. ``native_…`` counts are the
  model's own and are billed; plain ones may be of another tokenizer. A row whose cached tokens exceed
  its prompt counts them by two: the cached part is then not known, and the row is an issue, too.
- Costs are dollars and include the discount for cached tokens. With a key of one's own
  (``is_byok``, ``byok_usage_inference``), what the provider bills comes on top of OpenRouter's fee.
- A generation that was cancelled is paid for as far as it came.
- The summaries by day (``date``, ``requests``) that the API and the dashboard also give are no calls.
- Prompts and completions are not exported. A generation's id is the response's id, in whatever log
  that stands.

https://openrouter.ai/docs/api-reference/get-a-generation and the header of activity exports of 2026-09
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import ClassVar, TypeVar

import msgspec

from forkpoint.parsers.agent_session import known_cost
from forkpoint.parsers.base import ROOT, Tree
from forkpoint.parsers.envelope import moment_of
from forkpoint.parsers.export_rows import first_row, parsed_rows
from forkpoint.parsers.logs import BAD_RECORD, Head, Line, Log
from forkpoint.parsers.raw_json import Fields, decode, decode_fields, object_of
from forkpoint.parsers.records import Call, Issue, Kind, Record, Tokens, Trace, Usage
from forkpoint.parsers.spans import json_object

T = TypeVar("T", int, float)


class _Generation(msgspec.Struct):
    """A row of either kind."""

    generation_id: str | None = None
    id: str | None = None
    model_permaslug: str | None = None
    model: str | None = None
    tokens_prompt: Tokens | None = None
    tokens_completion: Tokens | None = None
    tokens_reasoning: Tokens | None = None
    tokens_cached: Tokens | None = None
    native_tokens_prompt: Tokens | None = None
    native_tokens_completion: Tokens | None = None
    native_tokens_reasoning: Tokens | None = None
    native_tokens_cached: Tokens | None = None
    cost_total: float | None = None
    byok_usage_inference: float | None = None
    total_cost: float | None = None
    usage: float | None = None
    upstream_inference_cost: float | None = None
    is_byok: bool | None = None
    generation_time_ms: float | None = None
    latency: float | None = None
    generation_time: float | None = None
    session_id: str | None = None
    app_name: str | None = None
    api_key_name: str | None = None
    service_tier: str | None = None


_GENERATION = msgspec.json.Decoder(_Generation, strict=False)


class OpenRouter:
    """Reads OpenRouter's activity exports and generations; see the module's docstring."""

    name: ClassVar[str] = "openrouter"
    title: ClassVar[str] = "OpenRouter activity and generations"
    checked: ClassVar[str] = "from documentation, 2026-11"
    evidence: ClassVar[tuple[str, ...]] = ("usage", "timestamps")
    locations: ClassVar[tuple[str, ...]] = ()
    whole_prompts: ClassVar[bool] = False
    grows: ClassVar[bool] = False

    def identify(self, head: Head) -> str | None:
        """Why the file is of this format, or ``None``."""
        row = first_row(head)
        if {"generation_id", "created_at", "tokens_prompt"} <= row.keys():
            return "each row is a generation with its tokens and cost"
        try:
            row = _unwrapped(row)
        except BAD_RECORD:
            return None
        if {"id", "native_tokens_prompt", "tokens_prompt"} <= row.keys():
            return "each record is a generation with its native tokens"
        return None

    def parse(self, log: Log, tree: Tree) -> Iterator[Record]:
        """Yield one call a generation, and a trace for each session, app or file."""
        yield from parsed_rows(log, _Reading(tree).records)


class _Reading:
    """One file being read."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._scope = ""
        self._traces: set[str] = set()

    def records(self, row: Line) -> Iterator[Record]:
        """The call that a row is, its trace if that is new, and what is odd about its counts.

        Raises:
            ValueError, RecursionError: it is no generation.
        """
        fields = _unwrapped(decode_fields(row.data))
        generation = decode(json_object(fields), _GENERATION, "generation")
        self._scope = self._scope or hashlib.sha256(row.data).hexdigest()[:16]
        call, doubt = _call(generation, fields, row, self._scope, self._tree)
        if call.trace not in self._traces:
            self._traces.add(call.trace)
            yield Trace(id=call.trace, project=generation.app_name or generation.api_key_name)
        yield call
        if doubt is not None:
            yield doubt


def _unwrapped(row: Fields) -> Fields:
    """A generation without the ``data`` that the API puts around it."""
    return (object_of(row, "data") or row) if row.keys() <= {"data", "error"} else row


def _call(
    generation: _Generation, fields: Fields, row: Line, scope: str, tree: Tree
) -> tuple[Call, Issue | None]:
    key = generation.generation_id or generation.id
    if not key:
        raise ValueError("a generation without an id")
    prompt = _first(generation.native_tokens_prompt, generation.tokens_prompt)
    cached = _first(generation.native_tokens_cached, generation.tokens_cached)
    made = _first(generation.native_tokens_completion, generation.tokens_completion)
    reasoning = _first(generation.native_tokens_reasoning, generation.tokens_reasoning)
    doubt = None
    if prompt is not None and (cached or 0) > prompt:
        doubt = row.issue(f"tokens_cached ({cached}) exceed tokens_prompt ({prompt})")
        cached = None
    if made is not None and (reasoning or 0) > made:
        made += reasoning or 0
    milliseconds = _first(
        generation.generation_time_ms, generation.latency, generation.generation_time
    )
    session = generation.session_id
    source = generation.app_name or generation.api_key_name or ""
    call = Call(
        identity=("", key),
        trace=session or f"{scope}/{source}",
        line=row.line,
        offset=row.offset,
        prompt=tree.extend(ROOT, Kind.UNLOGGED, "", f"prompt of {key}"),
        started_at=moment_of(fields, "created_at"),
        duration_s=None if milliseconds is None or milliseconds < 0 else milliseconds / 1000,
        provider="openrouter",
        model=generation.model_permaslug or generation.model,
        usage=_usage(prompt, cached, made, reasoning),
        service_tier=generation.service_tier,
        logged_cost_usd=_cost(generation),
    )
    return call, doubt


def _usage(
    prompt: int | None, cached: int | None, made: int | None, reasoning: int | None
) -> Usage | None:
    if not (prompt or made):
        return None
    return Usage(
        input_tokens=prompt,
        cache_read_tokens=cached,
        output_tokens=made,
        reasoning_tokens=reasoning,
    )


def _cost(generation: _Generation) -> float | None:
    """What OpenRouter and, with one's own key, the provider charged."""
    charged = _first(generation.cost_total, generation.total_cost, generation.usage)
    upstream = generation.byok_usage_inference
    if upstream is None and generation.is_byok:
        upstream = generation.upstream_inference_cost
    if charged is None and upstream is None:
        return None
    return known_cost((charged or 0.0) + max(upstream or 0.0, 0.0))


def _first(*values: T | None) -> T | None:
    for value in values:
        if value is not None:
            return value
    return None

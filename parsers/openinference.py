"""OpenInference: spans with ``llm.*`` attributes (Phoenix, Arize), and those of Vercel's AI SDK.

Files: span objects as JSON Lines or as a JSON list, with flat or nested attributes; answers of
Phoenix's API (``{data: […]}``); data frames of spans; OTLP JSON with these attributes. Vercel's AI SDK
writes ``ai.*`` beside some ``gen_ai.*``: the span of a call (``ai.generateText.doGenerate``) stands
in the one of the function (``ai.generateText``), whose counts are those of all its calls; each call
counts once. `span_facts` has the names, `span_messages` the messages, `span_log` the rest.

Counts: ``llm.token_count.prompt`` includes the cached part, except from some instrumentations
(Bedrock's), which the numbers show.
https://github.com/Arize-ai/openinference/tree/main/spec
https://ai-sdk.dev/docs/ai-sdk-core/telemetry
"""

from __future__ import annotations

from typing import ClassVar

from forkpoint.parsers.logs import Head
from forkpoint.parsers.span_dialects import claim_of
from forkpoint.parsers.span_log import SpanLog


class OpenInference(SpanLog):
    """Spans of OpenInference and of Vercel's AI SDK; see the module's docstring."""

    name: ClassVar[str] = "openinference"
    title: ClassVar[str] = "OpenInference spans"
    checked: ClassVar[str] = "Vercel AI SDK 6.0.68; OpenInference 1fe497f, 2026-11"

    def identify(self, head: Head) -> str | None:
        """Claim spans with attributes of OpenInference or Vercel's AI SDK."""
        claim = claim_of(head)
        return claim.why if claim is not None and claim.parser == self.name else None

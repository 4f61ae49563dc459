"""OpenTelemetry GenAI: OTLP JSON and span objects with ``gen_ai.*`` attributes.

Files: export requests one a line, as the Collector's file exporter writes them
(``{resourceSpans: […]}``, ``{resourceLogs: […]}``), or one a file; span objects of the SDKs' console and
file exporters, among them those of Copilot CLI and Copilot Chat (``COPILOT_OTEL_FILE_EXPORTER_PATH``);
Claude Code's spans and events. `span_files` has the shapes, `span_facts` the names and which counts
include the cache, `span_messages` the messages, `span_log` what is a call and what its trace.

Spans that carry no GenAI attributes are read and hold nothing for us. Metrics are passed over.
https://github.com/open-telemetry/semantic-conventions-genai
https://opentelemetry.io/docs/specs/otel/protocol/file-exporter/
"""

from __future__ import annotations

from typing import ClassVar

from forkpoint.parsers.logs import Head
from forkpoint.parsers.span_dialects import claim_of
from forkpoint.parsers.span_log import SpanLog


class OtelGenAI(SpanLog):
    """Spans and events after OpenTelemetry's GenAI conventions; see the module's docstring."""

    name: ClassVar[str] = "otel-genai"
    title: ClassVar[str] = "OpenTelemetry GenAI spans"
    checked: ClassVar[str] = "OTLP 1.x; GenAI conventions from documentation, 2026-11"
    locations: ClassVar[tuple[str, ...]] = ("$COPILOT_OTEL_FILE_EXPORTER_PATH", "~/.copilot/otel")

    def identify(self, head: Head) -> str | None:
        """Claim spans and GenAI events, unless they have attributes of OpenInference or Vercel."""
        claim = claim_of(head)
        return claim.why if claim is not None and claim.parser == self.name else None

"""Whose a file of spans is: OpenTelemetry GenAI's or OpenInference's. Never both claim one."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

from forkpoint.parsers.logs import Head
from forkpoint.parsers.span_files import begins_as_objects, begins_as_request

# Names stand in quotes; in a text inside JSON these would follow a backslash.
_NAME = rb'(?<!\\)"(?:attributes\.)?'
_OPENINFERENCE = re.compile(
    _NAME + rb"(?:openinference\.span\.kind|llm\.(?:token_count|input_messages|output_messages|"
    rb'model_name|invocation_parameters)|openinference"[ \t\r\n]*+:[ \t\r\n]*+\{)'
)
_VERCEL = re.compile(_NAME + rb"ai\.(?:operationId|model\.id|usage\.|prompt|response\.)")
_GENAI = re.compile(
    _NAME + rb'(?:gen_ai\.[a-z]|llm\.(?:request\.type|usage\.)|gen_ai"[ \t\r\n]*+:[ \t\r\n]*+\{'
    rb"|claude_code\.(?:llm_request|api_request))"
)
_MARKS = (b'"attributes', b'"resourceSpans"', b'"resourceLogs"')
"""One of these stands at the beginning of each file of spans: most other files are known by this."""
_SUMMARY_MARK = b'"attributeSummary"'


class Claim(NamedTuple):
    """A verdict."""

    parser: str
    """The name of the parser: ``otel-genai`` or ``openinference``."""
    why: str
    """What the records are, in a few words."""


@lru_cache(maxsize=1)  # the two parsers ask in turn
def claim_of(head: Head) -> Claim | None:
    """Which parser reads a file, and why; ``None`` if it holds no spans, or span objects without any
    attribute that concerns model calls."""
    if _is_summary(head):
        return Claim("openinference", "the summary of a capture: names of attributes, no spans")
    if not any(mark in head.data for mark in _MARKS):
        return None
    is_request = begins_as_request(head)
    if not is_request and not begins_as_objects(head):
        return None
    form = "OTLP JSON" if is_request else "span objects"
    if _OPENINFERENCE.search(head.data):
        return Claim("openinference", f"{form} with OpenInference attributes")
    if _VERCEL.search(head.data):
        return Claim("openinference", f"{form} with attributes of Vercel's AI SDK")
    if _GENAI.search(head.data):
        return Claim("otel-genai", f"{form} with GenAI attributes")
    if is_request:
        return Claim("otel-genai", "OTLP JSON; the first spans have no GenAI attributes")
    return None


def _is_summary(head: Head) -> bool:
    """Whether a file is what OpenInference's capture script for Vercel's AI SDK leaves beside the
    spans (``capture-results.json``): which attributes they had."""
    if _SUMMARY_MARK not in head.data or not isinstance(head.document, dict):
        return False
    names = head.document.get("attributeSummary")
    return (
        "captureDate" in head.document
        and isinstance(names, dict)
        and any(isinstance(names.get(kind), list) for kind in ("ai", "genAi"))
    )

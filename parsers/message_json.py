"""Messages as JSON, on their way from a span's attributes to segments."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from forkpoint.parsers.spans import json_object

Messages = list[msgspec.Raw]
"""Messages that are still JSON, of any dialect."""


def message(role: str, content: msgspec.Raw) -> msgspec.Raw:
    """A message with this content."""
    return json_object({"role": msgspec.Raw(msgspec.json.encode(role)), "content": content})


def tools_message(definitions: Iterable[msgspec.Raw]) -> msgspec.Raw:
    """Tool definitions, as a message of our own, ``{tools: […]}``."""
    return msgspec.Raw(b'{"tools":[' + b",".join(map(bytes, definitions)) + b"]}")

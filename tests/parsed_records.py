"""Logs of one file as tests write them, and what a parser says of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from recording_tree import Parsed, parse_file

from forkpoint.parsers.base import Parser
from forkpoint.parsers.logs import HEAD_BYTES, Head


def as_bytes(content: Any) -> bytes:
    """Bytes as they are, text in UTF-8, and all else as an indented JSON document."""
    if isinstance(content, bytes):
        return content
    return (content if isinstance(content, str) else json.dumps(content, indent=2)).encode()


def record_lines(*records: Any) -> bytes:
    """One record a line; bytes and text are a line as they are."""
    lines = (each if isinstance(each, bytes | str) else json.dumps(each) for each in records)
    return b"".join(as_bytes(line) + b"\n" for line in lines)


def read(parser: Parser, path: Path, content: Any = None) -> Parsed:
    """Read a file whole, after writing `content` to it if that is given."""
    if content is not None:
        path.write_bytes(as_bytes(content))
    return parse_file(parser, path)


def claim(parser: Parser, content: Any, name: str = "log.jsonl") -> str | None:
    """Why the parser claims a file that holds this, if it does."""
    return parser.identify(Head(Path(name), as_bytes(content)[:HEAD_BYTES]))


def check_second_is_bad(result: Parsed, first: str | bytes) -> None:
    """Of three lines the second is one issue, at its place, and the others are calls."""
    assert len(result.calls) == 2
    assert [(issue.line, issue.offset) for issue in result.issues] == [(2, len(as_bytes(first)))]
    assert result.issues[0].reason

"""Totals over a folder of sample logs, each call counted once, for golden tests of parsers."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from recording_tree import parse_file

from forkpoint.parsers.base import Parser
from forkpoint.parsers.records import Call


class Totals(NamedTuple):
    """Distinct calls and what they counted; what is missing counts as 0 here."""

    calls: int
    input: int
    cache_read: int
    cache_write: int
    output: int
    reasoning: int


def sample_totals(parser: Parser, folder: Path) -> Totals:
    """Read all logs of a folder that are the parser's; of a call's copies the fullest counts."""
    found: dict[object, Call] = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        if path.name in ("README.md", "generate.py"):
            continue
        result = parse_file(parser, path)
        assert result.issues == []
        for call in result.calls:
            before = found.setdefault(call.identity, call)
            if before.usage is None or before.model is None:
                found[call.identity] = call
    usages = [call.usage for call in found.values() if call.usage is not None]
    names = ("input", "cache_read", "cache_write", "output", "reasoning")
    sums = [sum(getattr(usage, f"{name}_tokens") or 0 for usage in usages) for name in names]
    return Totals(len(found), *sums)

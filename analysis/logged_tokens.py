"""Tokens that logs name beside their logprobs, read again from the logs: the store keeps no text."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from forkpoint.analysis.shard import ShardTree
from forkpoint.parsers.base import Reread
from forkpoint.parsers.logs import Log
from forkpoint.parsers.records import Scores
from forkpoint.parsers.registry import parser_named


class TokenPlace(NamedTuple):
    """Where a scored token stands."""

    path: str
    format: str
    offset: int
    """Byte offset of the record."""
    choice: int
    """Which completion of the record."""
    position: int


def read_tokens(places: Iterable[TokenPlace]) -> dict[TokenPlace, str]:
    """The tokens at `places`, as their logs name them: text, or ``#`` and an id. What cannot be read
    (any more) is left out. Reads one record for each place, or a whole document."""
    wanted: dict[tuple[str, str], dict[int, list[TokenPlace]]] = defaultdict(
        lambda: defaultdict(list)
    )
    for place in places:
        wanted[place.path, place.format][place.offset].append(place)
    found: dict[TokenPlace, str] = {}
    for (path, log_format), records in wanted.items():
        scored = _read_scores(Path(path), log_format, list(records))
        for offset, these in records.items():
            for place in these:
                tokens = scored.get((offset, place.choice))
                if tokens is not None and place.position < len(tokens):
                    token = tokens[place.position]
                    found[place] = token if isinstance(token, str) else f"#{token}"
    return found


def _read_scores(
    path: Path, log_format: str, offsets: list[int]
) -> dict[tuple[int, int], list[str] | list[int]]:
    """Tokens of the completions of some records, by (offset, choice)."""
    parser = parser_named(log_format)
    logs = (
        [Log(path, start=each, stop_after=each + 1) for each in offsets]
        if parser.grows
        else [Log(path)]
    )
    found: dict[tuple[int, int], list[str] | list[int]] = {}
    for log in logs:
        choices: dict[int, int] = defaultdict(int)
        try:
            for record in parser.parse(log, ShardTree(log, None)):
                if isinstance(record, Scores) and record.tokens:
                    found[record.offset, choices[record.offset]] = record.tokens
                    choices[record.offset] += 1
        except (OSError, Reread):
            continue
    return found

"""Everything a parser yields from one file, by type, for tests that look at scores too."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from recording_tree import RecordingTree

from forkpoint.parsers.base import Parser
from forkpoint.parsers.logs import HEAD_BYTES, Head, Log
from forkpoint.parsers.records import Call, Issue, Scores, Trace


class Found(NamedTuple):
    """What one file gave, in order."""

    tree: RecordingTree
    calls: list[Call]
    traces: list[Trace]
    scores: list[Scores]
    issues: list[Issue]
    log: Log

    def text(self, node: int | None) -> list[str]:
        """The contents of a node's path."""
        assert node is not None
        return [segment.content for segment in self.tree.path(node)]


def read(parser: Parser, path: Path, data: bytes | str | None = None) -> Found:
    """Read a file whole, after writing `data` to it if that is given."""
    if data is not None:
        path.write_bytes(data.encode() if isinstance(data, str) else data)
    return _collect(parser, RecordingTree(), Log(path))


def read_tail(parser: Parser, before: Found) -> Found:
    """Read what was appended to a file since `before` was read."""
    log = Log(
        before.log.path,
        start=before.log.end,
        first_line=before.log.next_line,
        checkpoint=before.log.checkpoint,
    )
    return _collect(parser, before.tree, log)


def claim(parser: Parser, data: bytes | str, name: str = "log.jsonl") -> str | None:
    """Why the parser claims a file with these bytes, if it does."""
    data = data.encode() if isinstance(data, str) else data
    return parser.identify(Head(Path(name), data[:HEAD_BYTES]))


def _collect(parser: Parser, tree: RecordingTree, log: Log) -> Found:
    found = Found(tree, [], [], [], [], log)
    for record in parser.parse(log, tree):
        if isinstance(record, Call):
            found.calls.append(record)
        elif isinstance(record, Trace):
            found.traces.append(record)
        elif isinstance(record, Scores):
            found.scores.append(record)
        else:
            found.issues.append(record)
    return found

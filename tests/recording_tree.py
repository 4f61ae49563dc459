"""A plain in-memory `Tree` for parser tests: it keeps every segment, so paths can be read back."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from forkpoint.parsers.base import ROOT, Parser
from forkpoint.parsers.logs import Log
from forkpoint.parsers.records import Call, Issue, Kind, Scores, Trace


class Seen(NamedTuple):
    """One segment of a recorded path; `content` is text, token ids or (scope, block id, size)."""

    kind: Kind
    role: str
    content: Any


class RecordingTree:
    """Nodes are indices into `segments`; equal paths give equal nodes."""

    def __init__(self) -> None:
        self.parents: list[int] = [ROOT]
        self.segments: list[Seen | None] = [None]
        self._children: dict[tuple[int, Seen], int] = {}
        self._resumed: dict[str, int] = {}

    def _add(self, parent: int, segment: Seen) -> int:
        key = (parent, segment)
        if key not in self._children:
            self._children[key] = len(self.segments)
            self.parents.append(parent)
            self.segments.append(segment)
        return self._children[key]

    def extend(self, parent: int, kind: Kind, role: str, text: str) -> int:
        return self._add(parent, Seen(kind, role, text))

    def extend_text(self, parent: int, role: str, text: str) -> int:
        return self._add(parent, Seen(Kind.RENDERED, role, text))

    def extend_tokens(self, parent: int, token_ids: Iterable[int]) -> int:
        return self._add(parent, Seen(Kind.TOKENS, "", tuple(token_ids)))

    def extend_blocks(
        self,
        parent: int,
        scope: str,
        block_ids: Iterable[int | str],
        block_size: int,
        n_tokens: int,
    ) -> int:
        left = n_tokens
        for block in block_ids:
            size = min(block_size, left)
            parent = self._add(parent, Seen(Kind.BLOCK, "", (scope, block, size)))
            left -= size
        return parent

    def path(self, node: int) -> list[Seen]:
        """The segments from the root to `node`."""
        found = []
        while node != ROOT:
            segment = self.segments[node]
            assert segment is not None
            found.append(segment)
            node = self.parents[node]
        return found[::-1]

    def hash_of(self, node: int) -> str:
        digest = hashlib.sha256(repr(self.path(node)).encode("utf-8", "surrogatepass"))
        name = digest.hexdigest()[:32]
        self._resumed[name] = node
        return name

    def resume(self, node_hash: str) -> int:
        return self._resumed[node_hash]


class Parsed(NamedTuple):
    """Everything one file gave."""

    tree: RecordingTree
    calls: list[Call]
    traces: list[Trace]
    issues: list[Issue]
    log: Log
    scores: list[Scores]

    def text(self, node: int | None) -> list[Any]:
        """The contents of a node's path."""
        assert node is not None
        return [segment.content for segment in self.tree.path(node)]

    def prompt(self, n: int = 0) -> list[Seen]:
        """The path of a call's prompt."""
        return self.tree.path(self.calls[n].prompt)

    def completion(self, n: int = 0) -> list[Seen]:
        """The path to the end of a call's completion."""
        end = self.calls[n].completion
        assert end is not None
        return self.tree.path(end)


def parse_file(parser: Parser, path: Path) -> Parsed:
    """Read one file whole."""
    tree, log = RecordingTree(), Log(path)
    return _collect(parser, tree, log)


def parse_tail(parser: Parser, before: Parsed) -> Parsed:
    """Read what was appended to a file since `before` was read."""
    log = Log(
        before.log.path,
        start=before.log.end,
        first_line=before.log.next_line,
        checkpoint=before.log.checkpoint,
    )
    return _collect(parser, before.tree, log)


def _collect(parser: Parser, tree: RecordingTree, log: Log) -> Parsed:
    calls, traces, scores, issues = [], [], [], []
    for record in parser.parse(log, tree):
        if isinstance(record, Call):
            calls.append(record)
        elif isinstance(record, Trace):
            traces.append(record)
        elif isinstance(record, Scores):
            scores.append(record)
        else:
            issues.append(record)
    return Parsed(tree, calls, traces, issues, log, scores)

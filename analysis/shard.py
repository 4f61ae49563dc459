"""One file's part of the store: what a parser read, as columns ready to be merged by hash.

A shard is built from one log file alone, in any process or machine, and shards merge by set union:
segments and nodes are named by content hashes, so neither the order of files nor how they were
shared out changes what the store holds.
"""

from __future__ import annotations

import hashlib
import re
from array import array
from collections.abc import Iterable, Iterator
from typing import Protocol

from forkpoint.parsers.logs import Log
from forkpoint.parsers.records import Kind

TOKENS_PER_RUN = 32
"""Logged token ids are cut into segments of this length. Forks inside a run are refined later."""

CUT_AFTER = 2048
"""Rendered text is cut at the first line start this many characters after the last cut…"""
CUT_BY = 8192
"""…or, in text without line breaks, at the first word start this many characters after it."""

HASH_BYTES = 16
_ROOT_HASH = bytes(HASH_BYTES)
_COUNT_BATCH_BYTES = 4 << 20

_sha256 = hashlib.sha256

# Both cuts fall where tiktoken's encodings always end a token: between a line break and an ASCII
# letter or digit, and before the single space that leads a word. So counts of the parts add up.
_LINE_START = re.compile(r"\n(?=[A-Za-z0-9])")
_WORD_START = re.compile(r"(?<=[A-Za-z0-9])(?= [A-Za-z])")


def segment_hash(kind: str, role: str, content: bytes) -> bytes:
    """A segment's identity: 128 bits of SHA-256 over kind, role and canonical content."""
    return _sha256(b"%b\0%b\0%b" % (kind.encode(), role.encode(), content)).digest()[:HASH_BYTES]


def node_hash(parent: bytes, segment: bytes) -> bytes:
    """A node's identity: H(parent, segment), so that it names the whole path."""
    return _sha256(parent + segment).digest()[:HASH_BYTES]


class CountTokens(Protocol):
    """Counts the tokens of texts; `forkpoint.analysis.tokens.Tokenizer.count` is one."""

    def __call__(self, texts: list[str], /) -> Iterable[int]: ...


class ShardTree:
    """The `Tree` that parsers grow during ingest. Columns only; text is hashed and let go.

    Column lists run in parallel: position i of the node columns is node i; node 0 is the root.
    `segment_tokens` holds -1 where a count is not known.
    """

    def __init__(self, log: Log, count_tokens: CountTokens | None, keep_text: bool = False) -> None:
        """
        Args:
            log: its `offset` is where new segments are said to stand.
            count_tokens: ``None`` where billed usage gives the sizes, so nothing is tokenised.
            keep_text: keep each segment's text, for the store's ``text`` column.
        """
        self.node_hashes: list[bytes] = [_ROOT_HASH]
        self.node_parents: list[bytes] = [_ROOT_HASH]
        self.node_segments: list[bytes] = [_ROOT_HASH]
        self.node_roots: list[bytes] = [_ROOT_HASH]
        self.segment_hashes: list[bytes] = []
        self.segment_kinds: list[str] = []
        self.segment_roles: list[str] = []
        self.segment_bytes = array("q")
        self.segment_tokens = array("q")
        self.segment_offsets = array("q")
        self.segment_texts: list[str | None] = []
        self.resumed: set[int] = {0}
        self._nodes: dict[bytes, int] = {_ROOT_HASH: 0}
        self._segments: set[bytes] = set()
        self._headers: dict[tuple[str, str], bytes] = {}
        self._blocks: dict[str, dict[tuple[int, int | str, int], int]] = {}
        self._runs: dict[tuple[int, bytes], int] = {}
        self._log = log
        self._count_tokens = count_tokens
        self._keep_text = keep_text
        self._uncounted: list[str] = []
        self._uncounted_at: list[int] = []
        self._uncounted_bytes = 0

    def extend(self, parent: int, kind: Kind, role: str, text: str) -> int:
        content = text.encode("utf-8", "surrogatepass")
        header = self._headers.get((kind, role))
        if header is None:
            header = b"%b\0%b\0" % (kind.encode(), role.encode())
            self._headers[kind, role] = header
        segment = _sha256(header + content).digest()[:HASH_BYTES]
        if segment not in self._segments:
            # A stand-in for what is not logged has no content of its own.
            n_bytes = 0 if kind is Kind.UNLOGGED else len(content)
            self._add_segment(segment, kind, role, n_bytes, -1)
            if self._keep_text:
                self.segment_texts[-1] = text
            if self._count_tokens is not None and kind not in _UNCOUNTABLE:
                self._count_later(text, len(content))
        return self._node(parent, segment)

    def extend_text(self, parent: int, role: str, text: str) -> int:
        start, end = 0, len(text)
        while True:
            cut = _next_cut(text, start)
            parent = self.extend(parent, Kind.RENDERED, role, text[start:cut])
            if cut == end:
                return parent
            start = cut

    def extend_tokens(self, parent: int, token_ids: Iterable[int]) -> int:
        for run in token_runs(token_ids):
            node = self._runs.get((parent, run))
            if node is None:
                segment = segment_hash(Kind.TOKENS, "", run)
                if segment not in self._segments:
                    n_tokens = len(run) // _ID_BYTES
                    self._add_segment(segment, Kind.TOKENS, "", len(run), n_tokens)
                node = self._node(parent, segment)
                self._runs[parent, run] = node
            parent = node
        return parent

    def extend_blocks(
        self,
        parent: int,
        scope: str,
        block_ids: Iterable[int | str],
        block_size: int,
        n_tokens: int,
    ) -> int:
        left = n_tokens
        known = self._blocks.setdefault(scope, {})
        for block in block_ids:
            size = block_size if left > block_size else max(left, 0)
            left -= block_size
            node = known.get((parent, block, size))
            if node is None:
                segment = segment_hash(Kind.BLOCK, scope, f"{block}\0{size}".encode())
                if segment not in self._segments:
                    self._add_segment(segment, Kind.BLOCK, "", 0, size)
                node = self._node(parent, segment)
                known[parent, block, size] = node
            parent = node
        return parent

    def hash_of(self, node: int) -> str:
        return (self.node_hashes[node] + self.node_roots[node]).hex()

    def resume(self, node_hash: str) -> int:
        both = bytes.fromhex(node_hash)
        name, root = both[:HASH_BYTES], both[HASH_BYTES:]
        node = self._nodes.get(name)
        if node is None:
            node = self._append(name, _ROOT_HASH, _ROOT_HASH, root)
            self.resumed.add(node)
        return node

    def finish(self) -> None:
        """Count what is still uncounted. Call once, when the file is read."""
        if self._uncounted:
            assert self._count_tokens is not None
            counts = self._count_tokens(self._uncounted)
            for at, count in zip(self._uncounted_at, counts, strict=True):
                self.segment_tokens[at] = count
            self._uncounted, self._uncounted_at, self._uncounted_bytes = [], [], 0

    def _node(self, parent: int, segment: bytes) -> int:
        name = _sha256(self.node_hashes[parent] + segment).digest()[:HASH_BYTES]
        node = self._nodes.get(name)
        if node is None:
            root = self.node_roots[parent] if parent else name
            node = self._append(name, self.node_hashes[parent], segment, root)
        return node

    def _append(self, name: bytes, parent: bytes, segment: bytes, root: bytes) -> int:
        node = self._nodes[name] = len(self.node_hashes)
        self.node_hashes.append(name)
        self.node_parents.append(parent)
        self.node_segments.append(segment)
        self.node_roots.append(root)
        return node

    def _add_segment(self, name: bytes, kind: str, role: str, n_bytes: int, n_tokens: int) -> None:
        self._segments.add(name)
        self.segment_hashes.append(name)
        self.segment_kinds.append(kind)
        self.segment_roles.append(role)
        self.segment_bytes.append(n_bytes)
        self.segment_tokens.append(n_tokens)
        self.segment_offsets.append(self._log.offset)
        self.segment_texts.append(None)

    def _count_later(self, text: str, n_bytes: int) -> None:
        self._uncounted.append(text)
        self._uncounted_at.append(len(self.segment_hashes) - 1)
        self._uncounted_bytes += n_bytes
        if self._uncounted_bytes >= _COUNT_BATCH_BYTES:
            self.finish()


_ID_BYTES = array("I").itemsize


def token_runs(token_ids: Iterable[int]) -> Iterator[bytes]:
    """Token ids as runs of `TOKENS_PER_RUN` unsigned 32-bit integers, the last one shorter.

    Raises:
        ValueError: an id is negative or above 2**32 - 1.
    """
    try:
        content = array("I", token_ids).tobytes()
    except OverflowError as error:
        raise ValueError("a token id is not in 0..2**32-1") from error
    width = _ID_BYTES * TOKENS_PER_RUN
    for start in range(0, len(content), width):
        yield content[start : start + width]


_UNCOUNTABLE = frozenset({Kind.UNLOGGED, Kind.TOOLS, Kind.MEDIA})


def _next_cut(text: str, start: int) -> int:
    """Where the segment that begins at `start` ends. Depends only on the text up to there."""
    end = len(text)
    if end - start <= CUT_AFTER:
        return end
    line = _LINE_START.search(text, start + CUT_AFTER - 1, min(end, start + CUT_BY + 1))
    if line is not None:
        return line.end()
    word = _WORD_START.search(text, start + CUT_BY)
    line = _LINE_START.search(text, start + CUT_BY)
    cuts = [match.end() for match in (word, line) if match is not None]
    return min(cuts, default=end)

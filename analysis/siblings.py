"""Forks refined to the token: how much of a segment siblings share before they part.

Segments are cut at messages, so a fork first shows as different children of one node. Their texts
are read again from the logs, tokenised and sorted; neighbours' common prefixes then give the common
head of any set of siblings (the LCP array of a sorted list).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from forkpoint.analysis.ingest_worker import Options
from forkpoint.analysis.shard import ShardTree, segment_hash, token_runs
from forkpoint.analysis.store import Store
from forkpoint.parsers.base import ROOT, Reread
from forkpoint.parsers.logs import Log
from forkpoint.parsers.records import Kind
from forkpoint.parsers.registry import parser_named

TokenIds = npt.NDArray[np.uint32]


def common_prefix_length(a: TokenIds, b: TokenIds) -> int:
    """Length of the longest common prefix of two 1-D arrays of token ids; either may be empty."""
    n = min(len(a), len(b))
    differs = a[:n] != b[:n]
    first = int(differs.argmax()) if n else 0
    return first if n and differs[first] else n


def rank_siblings(sequences: list[TokenIds]) -> tuple[list[int], list[int]]:
    """Sort token sequences and measure what neighbours share.

    Returns:
        (order, shared): positions into `sequences` in sorted order, and for each place in that
        order the length of the common prefix with the place before it (0 for the first).
    """
    # Big-endian bytes compare as the ids do, so sorting needs no Python-level comparison.
    keys = [each.astype(">u4").tobytes() for each in sequences]
    order = sorted(range(len(keys)), key=keys.__getitem__)
    shared = [0] * len(order)
    for place in range(1, len(order)):
        shared[place] = common_prefix_length(sequences[order[place - 1]], sequences[order[place]])
    return order, shared


def refine_forks(store: Store, options: Options) -> None:
    """Bring the table `siblings` up to date: every fork whose children changed is ranked anew.

    Only children that were tokenised (or logged as token ids) are ranked; where billed usage gives
    the sizes, a fork is exact to the message.
    """
    rows = store.rows(
        """
        WITH forks AS (
            SELECT parent FROM nodes JOIN segments USING (segment)
            WHERE n_tokens IS NOT NULL AND kind <> 'block'
            GROUP BY parent HAVING count(*) > 1
        ), ranked AS (
            SELECT parent, count(*) AS n, count(shared_tokens) AS readable
            FROM siblings GROUP BY parent
        ), stale AS (
            SELECT forks.parent
            FROM forks JOIN nodes USING (parent) JOIN segments USING (segment)
            LEFT JOIN ranked ON ranked.parent = forks.parent
            WHERE n_tokens IS NOT NULL AND kind <> 'block'
            GROUP BY forks.parent, ranked.n, ranked.readable
            HAVING ranked.n IS NULL OR count(*) <> ranked.n OR ranked.readable < ranked.n
        )
        SELECT nodes.parent, nodes.node, nodes.segment, sources.path, sources.format,
               segments.record_offset, segments.text, segments.kind
        FROM stale JOIN nodes USING (parent) JOIN segments USING (segment)
        JOIN sources USING (source_id)
        WHERE segments.n_tokens IS NOT NULL AND segments.kind <> 'block'
        ORDER BY nodes.parent, nodes.node
        """
    )
    if not rows:
        return
    ids = _read_segments(rows, options)
    by_parent: dict[Any, list[tuple[Any, Any]]] = defaultdict(list)
    for parent, node, segment, *_ in rows:
        by_parent[parent].append((node, segment))
    ranked = [row for parent, each in by_parent.items() for row in _rank(parent, each, ids)]
    columns = list(zip(*ranked, strict=True))
    with store.transaction():
        store.execute(
            "DELETE FROM siblings WHERE parent IN (SELECT unnest(?::UUID[]))", [list(by_parent)]
        )
        store.execute(
            "INSERT INTO siblings SELECT unnest(?::UUID[]), unnest(?::UUID[]), "
            "unnest(?::INTEGER[]), unnest(?::BIGINT[])",
            [list(column) for column in columns],
        )


def _rank(
    parent: Any, children: list[tuple[Any, Any]], ids: dict[Any, TokenIds]
) -> Iterable[tuple[Any, Any, int, int | None]]:
    readable = [(node, ids[segment]) for node, segment in children if segment in ids]
    order, shared = rank_siblings([sequence for _, sequence in readable])
    for rank, (place, n_shared) in enumerate(zip(order, shared, strict=True)):
        yield parent, readable[place][0], rank, n_shared
    unreadable = [node for node, segment in children if segment not in ids]
    for rank, node in enumerate(unreadable, start=len(readable)):
        yield parent, node, rank, None


def _read_segments(rows: list[tuple[Any, ...]], options: Options) -> dict[Any, TokenIds]:
    """Token ids of segments, by hash, from kept text or from the logs they stand in."""
    texts, ids = _read_content(row[2:7] for row in rows)
    ids.update(zip(texts, _encode(list(texts.values()), options.encoding), strict=True))
    return ids


def read_texts(store: Store, segments: list[Any]) -> dict[Any, str]:
    """Texts of segments, by hash: as kept in the store, else from the logs they stand in. What
    cannot be read (any more), or is no text, is left out."""
    return read_contents(store, segments)[0]


def read_contents(store: Store, segments: list[Any]) -> tuple[dict[Any, str], dict[Any, TokenIds]]:
    """Texts and logged token ids of segments, by hash; see `read_texts`."""
    rows = store.rows(
        """
        SELECT segment, path, format, record_offset, text
        FROM segments JOIN sources USING (source_id)
        WHERE segment IN (SELECT unnest(?::UUID[])) AND kind NOT IN ('unlogged', 'block')
        """,
        [segments],
    )
    return _read_content(rows)


def _read_content(rows: Iterable[tuple[Any, ...]]) -> tuple[dict[Any, str], dict[Any, TokenIds]]:
    """Texts, or logged token ids, by hash.

    Args:
        rows: (hash, path, format, offset of the record, kept text) of each segment.
    """
    texts: dict[Any, str] = {}
    ids: dict[Any, TokenIds] = {}
    places: dict[tuple[str, str], dict[int, set[Any]]] = defaultdict(lambda: defaultdict(set))
    for segment, path, log_format, offset, text in rows:
        if text is not None:
            texts[segment] = text
        elif log_format is not None:
            places[path, log_format][offset].add(segment)
    names: dict[bytes, str] = {}
    for (path, log_format), offsets in places.items():
        for offset, wanted in offsets.items():
            tree = _Capture({each.hex for each in wanted}, Log(Path(path)), names)
            _replay(Path(path), log_format, offset, tree)
            texts.update((each, tree.texts[each.hex]) for each in wanted if each.hex in tree.texts)
            ids.update((each, tree.ids[each.hex]) for each in wanted if each.hex in tree.ids)
    return texts, ids


def _encode(texts: list[str], encoding: str) -> list[TokenIds]:
    if not texts:
        return []
    from forkpoint.analysis.tokens import Tokenizer

    return Tokenizer(encoding).encode_batch(texts)


def _replay(path: Path, log_format: str, offset: int, tree: _Capture) -> None:
    """Parse one record again (or the document it is part of) and let `tree` see its segments."""
    parser = parser_named(log_format)
    log = Log(path, start=offset, stop_after=offset + 1) if parser.grows else Log(path)
    try:
        for _ in parser.parse(log, tree):
            pass
    except (OSError, Reread):
        return


class _Capture(ShardTree):
    """A tree that keeps the text or ids of the segments it is asked for, and no nodes of ids.

    Args:
        names: segment names of runs of token ids seen before; one record's runs stand in the next
            record too, so that each run is hashed once.
    """

    def __init__(self, wanted: set[str], log: Log, names: dict[bytes, str]) -> None:
        super().__init__(log, None)
        self.wanted = wanted
        self.texts: dict[str, str] = {}
        self.ids: dict[str, TokenIds] = {}
        self._names = names

    def extend(self, parent: int, kind: Kind, role: str, text: str) -> int:
        before = len(self.segment_hashes)
        node = super().extend(parent, kind, role, text)
        if len(self.segment_hashes) > before:
            name = self.segment_hashes[-1].hex()
            if name in self.wanted:
                self.texts[name] = text
        return node

    def extend_tokens(self, parent: int, token_ids: Iterable[int]) -> int:
        for run in token_runs(token_ids):
            name = self._names.get(run)
            if name is None:
                name = self._names[run] = segment_hash(Kind.TOKENS, "", run).hex()
            if name in self.wanted:
                self.ids[name] = np.frombuffer(run, dtype=np.uint32)
        return parent

    def resume(self, node_hash: str) -> int:
        return ROOT

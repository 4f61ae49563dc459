"""How the continuation of a rollout begins: a few characters, read again from its log."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from forkpoint.analysis.excerpts import common_length, excerpt
from forkpoint.analysis.rollout_texts import text_ends
from forkpoint.analysis.rollouts import GroupedRollouts
from forkpoint.analysis.siblings import TokenIds, read_contents
from forkpoint.analysis.store import Store
from forkpoint.analysis.tokens import Tokenizer

IDS_SHOWN = 8


@dataclass(frozen=True)
class Place:
    """Where a continuation begins.

    Attributes:
        rollout: one that takes it.
        depth: tokens from the beginning of its sequence.
        other: a rollout that parts from it there; -1: none does.
    """

    rollout: int
    depth: int
    other: int = -1


def beginnings(store: Store, grouped: GroupedRollouts, places: Sequence[Place]) -> dict[Place, str]:
    """How rollouts go on from some depth: text, or token ids as ``#1 #2 …``; "" at their end. What
    cannot be read is left out.

    Where a log holds the text beside the token ids, it is shown from where it differs from that of
    the other rollout.
    """
    if not places:
        return {}
    prompts, table = grouped.prompts, grouped.table
    depth, tree = prompts.token_depth, prompts.tree
    rollout = np.array([each.rollout for each in places], dtype=np.int64)
    start = np.array([each.depth for each in places], dtype=np.int64)
    node = table.leaf[rollout]
    while True:  # up to the segment that holds the token at `start`
        above = depth[tree.parent[node]] > start
        if not above.any():
            break
        node = np.where(above, tree.parent[node], node)
    ended = depth[table.leaf[rollout]] <= start
    inside = start - depth[tree.parent[node]]
    rows = store.rows(
        "SELECT i, segment, kind, role FROM scope_nodes WHERE i IN (SELECT unnest(?))",
        [np.unique(node[~ended]).tolist()],
    )
    segments = {i: (segment, kind, role) for i, segment, kind, role in rows}
    texts, ids = read_contents(store, list({row[0] for row in segments.values()}))
    beside = _TextBeside(store, grouped)
    tokenizer = Tokenizer(store.get_meta("encoding") or "")
    found: dict[Place, str] = {}
    for i, place in enumerate(places):
        if ended[i]:
            found[place] = ""
            continue
        segment, kind, role = segments[int(node[i])]
        shown = beside.parting(place) if segment in ids else None
        if shown is None:
            shown = _from(texts.get(segment), ids.get(segment), int(inside[i]), tokenizer)
        if shown is not None:
            is_whole = inside[i] == 0 and kind not in ("tokens", "rendered")
            found[place] = f"{role or kind}: {shown}" if is_whole else shown
    return found


class _TextBeside:
    """The text of rollouts whose token ids were logged with it."""

    def __init__(self, store: Store, grouped: GroupedRollouts) -> None:
        self._store, self._grouped = store, grouped
        self._ends = text_ends(grouped)
        self._read: dict[int, str | None] = {}

    def parting(self, place: Place) -> str | None:
        """The rollout's text, from where it differs from the other's on."""
        own = self._text(place.rollout)
        if own is None or place.other < 0:
            return None if own is None else excerpt(own)
        other = self._text(place.other)
        return (
            None if other is None else excerpt(own[_word_start(own, common_length(own, other)) :])
        )

    def _text(self, rollout: int) -> str | None:
        if rollout not in self._read:
            end = int(self._ends[rollout])
            has_text = end != self._grouped.table.leaf[rollout]
            self._read[rollout] = self._joined(end) if has_text else None
        return self._read[rollout]

    def _joined(self, end: int) -> str | None:
        nodes = []
        while end:
            nodes.append(end)
            end = int(self._grouped.prompts.tree.parent[end])
        rows = self._store.rows(
            "SELECT i, segment FROM scope_nodes WHERE i IN (SELECT unnest(?))", [nodes]
        )
        segments = dict(rows)
        texts, _ = read_contents(self._store, list(segments.values()))
        parts = [texts.get(segments[node]) for node in reversed(nodes) if node in segments]
        if any(part is None for part in parts):
            return None
        return "".join(part for part in parts if part is not None)


def _from(text: Any, ids: TokenIds | None, inside: int, tokenizer: Tokenizer) -> str | None:
    if ids is not None:
        return " ".join(f"#{token}" for token in ids[inside : inside + IDS_SHOWN].tolist())
    if text is None:
        return None
    if inside:
        text = text[_word_start(text, len(tokenizer.decode(tokenizer.encode(text)[:inside]))) :]
    return excerpt(text)


def _word_start(text: str, at: int) -> int:
    """Where the word at a position begins: half a word tells little, and half a key would not be
    seen to be one."""
    return 1 + max(text.rfind(blank, 0, at) for blank in " \n\t")

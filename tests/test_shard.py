"""Segments and nodes of one file: identity, cuts and what is kept."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forkpoint.analysis.shard import CUT_AFTER, CUT_BY, TOKENS_PER_RUN, ShardTree
from forkpoint.analysis.tokens import ENCODINGS, reference_ids
from forkpoint.parsers.base import ROOT
from forkpoint.parsers.logs import Log
from forkpoint.parsers.records import Kind


def tree(**options: object) -> ShardTree:
    return ShardTree(Log(Path("log.jsonl")), None, **options)


def path(shard: ShardTree, node: int) -> list[bytes]:
    """Segments from the root to a node."""
    at = {name: i for i, name in enumerate(shard.node_hashes)}
    found = []
    while node:
        found.append(shard.node_segments[node])
        node = at[shard.node_parents[node]]
    return found[::-1]


def test_equal_paths_are_one_node_in_any_file() -> None:
    one, two = tree(), tree()
    two.extend(ROOT, Kind.SYSTEM, "system", "something else first")
    a = one.extend(one.extend(ROOT, Kind.TEXT, "user", "hi"), Kind.TEXT, "assistant", "ho")
    b = two.extend(two.extend(ROOT, Kind.TEXT, "user", "hi"), Kind.TEXT, "assistant", "ho")
    assert one.node_hashes[a] == two.node_hashes[b]
    assert one.hash_of(a) == two.hash_of(b)


@pytest.mark.parametrize(
    ("kind", "role", "text"),
    [
        (Kind.TEXT, "user", "ho"),
        (Kind.TEXT, "assistant", "hi"),
        (Kind.THINKING, "user", "hi"),
        (Kind.TEXT, "", "user\0hi"),
    ],
)
def test_kind_role_and_text_all_make_a_segment(kind: Kind, role: str, text: str) -> None:
    shard = tree()
    first = shard.extend(ROOT, Kind.TEXT, "user", "hi")
    assert shard.extend(ROOT, kind, role, text) != first
    assert shard.extend(ROOT, Kind.TEXT, "user", "hi") == first


def test_one_segment_under_two_parents_is_stored_once() -> None:
    shard = tree()
    for system in ("a", "b"):
        shard.extend(shard.extend(ROOT, Kind.SYSTEM, "system", system), Kind.TEXT, "user", "hi")
    assert len(shard.segment_hashes) == 3
    assert len(shard.node_hashes) - 1 == 4


def test_text_is_let_go_unless_it_is_to_be_kept() -> None:
    for keep in (False, True):
        shard = tree(keep_text=keep)
        shard.extend(ROOT, Kind.TEXT, "user", "secret")
        assert shard.segment_texts == ["secret" if keep else None]
        assert shard.segment_bytes.tolist() == [6]


def test_a_stand_in_for_what_is_not_logged_has_no_size() -> None:
    shard = tree()
    shard.extend(ROOT, Kind.UNLOGGED, "system", "claude-code 2.1")
    assert shard.segment_bytes.tolist() == [0]
    assert shard.segment_tokens.tolist() == [-1]


def test_a_resumed_node_goes_on_as_if_the_file_had_been_read_whole() -> None:
    whole, tail = tree(), tree()
    middle = whole.extend(ROOT, Kind.TEXT, "user", "hi")
    end = whole.extend(middle, Kind.TEXT, "assistant", "ho")
    resumed = tail.extend(tail.resume(whole.hash_of(middle)), Kind.TEXT, "assistant", "ho")
    assert tail.hash_of(resumed) == whole.hash_of(end)


pieces = st.lists(
    st.sampled_from(["word ", "x" * 300, "\nline", "\n", ". ", "é日本", " 7", "\r\n/", "a\n\nb"]),
    max_size=80,
).map("".join)


@given(pieces, pieces, pieces)
def test_rendered_texts_with_one_beginning_are_cut_alike(common: str, a: str, b: str) -> None:
    shard = tree(keep_text=True)
    paths = [path(shard, shard.extend_text(ROOT, "", common + rest)) for rest in (a, b)]
    texts = dict(zip(shard.segment_hashes, shard.segment_texts, strict=True))
    for found, rest in zip(paths, (a, b), strict=True):
        assert "".join(texts[each] or "" for each in found) == common + rest
    # All pieces that end within the common part, with room to look one character ahead, agree.
    done = 0
    for one, two in zip(*paths, strict=False):
        done += len(texts[one] or "")
        if done >= len(common):
            break
        assert one == two


@given(pieces, st.sampled_from(ENCODINGS))
def test_cuts_never_fall_inside_a_token(text: str, encoding: str) -> None:
    shard = tree(keep_text=True)
    cut = shard.extend_text(ROOT, "", text * 40)
    texts = dict(zip(shard.segment_hashes, shard.segment_texts, strict=True))
    parts = [texts[each] or "" for each in path(shard, cut)]
    whole = reference_ids(text * 40, encoding)
    assert np.concatenate([reference_ids(part, encoding) for part in parts]).tolist() == (
        whole.tolist()
    )


def test_long_text_is_cut_at_lines_and_else_at_words() -> None:
    shard = tree(keep_text=True)
    shard.extend_text(ROOT, "", "line\n" * 2_000)
    assert {len(text or "") for text in shard.segment_texts} <= set(
        range(CUT_AFTER, CUT_AFTER + 6)
    ) | {10_000 % 2050}
    words = tree(keep_text=True)
    words.extend_text(ROOT, "", "word " * 5_000)
    assert max(len(text or "") for text in words.segment_texts) <= CUT_BY + 6


@given(st.lists(st.integers(0, 2**32 - 1), max_size=3 * TOKENS_PER_RUN))
def test_token_ids_are_cut_into_runs_that_add_up(ids: list[int]) -> None:
    shard = tree()
    node = shard.extend_tokens(ROOT, ids)
    by_name = dict(zip(shard.segment_hashes, shard.segment_tokens, strict=True))
    assert sum(by_name[each] for each in path(shard, node)) == len(ids)


@pytest.mark.parametrize("bad", [-1, 2**32])
def test_impossible_token_ids_are_refused(bad: int) -> None:
    with pytest.raises(ValueError, match="token id"):
        tree().extend_tokens(ROOT, [1, bad])


def test_blocks_of_two_scopes_never_meet() -> None:
    shard = tree()
    a = shard.extend_blocks(ROOT, "one", [1, 2], 16, 20)
    b = shard.extend_blocks(ROOT, "two", [1, 2], 16, 20)
    assert not set(path(shard, a)) & set(path(shard, b))
    assert [shard.segment_tokens[i] for i in range(4)] == [16, 4, 16, 4]

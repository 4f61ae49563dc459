"""What rollouts say, read again from their logs: the text that an answer stands in, and the first
tokens of each."""

from __future__ import annotations

import re
from collections import defaultdict
from typing import Any

import numpy as np

from forkpoint.analysis.answer_clusters import TokenLists
from forkpoint.analysis.answers import answer_codes, extract_answer, normalise_answer
from forkpoint.analysis.rollouts import GroupedRollouts
from forkpoint.analysis.siblings import TokenIds, read_contents
from forkpoint.analysis.store import Store
from forkpoint.analysis.token_runs import offsets_of
from forkpoint.analysis.tree import Ints

LAST_SEGMENTS = 4
"""How many segments before a rollout's end an answer is looked for in: the last of the model's text."""

_ANSWER_KINDS = ("text", "rendered")


def find_answers(
    store: Store, grouped: GroupedRollouts, pattern: re.Pattern[str] | None = None
) -> list[str | None]:
    """The answer of each rollout: as logged, else as its last text states it.

    What was found in a text is kept in the store, so that a log is read again only once.

    Args:
        pattern: looked for before the built-in patterns, and, where it is given, before logged
            answers.
    """
    table = grouped.table
    answers: list[str | None] = list(table.answer) if pattern is None else [None] * len(table)
    ends = text_ends(grouped)
    missing = [i for i, answer in enumerate(answers) if answer is None and ends[i] > 0]
    if missing:
        found = _stated_answers(store, grouped, ends[missing], pattern)
        for rollout, node in zip(missing, ends[missing].tolist(), strict=True):
            answers[rollout] = found.get(node)
    if pattern is None:
        return answers
    return [new if new is not None else old for new, old in zip(answers, table.answer, strict=True)]


def coded_answers(
    store: Store, grouped: GroupedRollouts, pattern: re.Pattern[str] | None = None
) -> Ints:
    """The answer of each rollout as a number, equal for answers that are spelt alike but for form;
    -1: none."""
    found = find_answers(store, grouped, pattern)
    return answer_codes([None if each is None else normalise_answer(each) for each in found])


def text_ends(grouped: GroupedRollouts) -> Ints:
    """Node where each rollout's text ends: beside its token ids, or as its content."""
    table = grouped.table
    ends = table.leaf.copy()
    text = grouped.prompts.text[table.call]
    logged = text > 0
    ends[table.call_rollout[logged]] = text[logged]  # the last call of each stands last
    return ends


def _stated_answers(
    store: Store, grouped: GroupedRollouts, ends: Ints, pattern: re.Pattern[str] | None
) -> dict[int, str | None]:
    source = "" if pattern is None else pattern.pattern
    nodes = np.unique(ends)
    names = dict(
        store.rows(
            "SELECT i, node FROM scope_nodes WHERE i IN (SELECT unnest(?))", [nodes.tolist()]
        )
    )
    known = dict(
        store.rows(
            "SELECT node, answer FROM stated_answers "
            "WHERE pattern = ? AND node IN (SELECT unnest(?::UUID[]))",
            [source, list(names.values())],
        )
    )
    unread = np.array([i for i in nodes.tolist() if names[i] not in known], dtype=np.int64)
    if len(unread):
        texts = _last_texts(store, grouped, unread)
        rows = [(names[i], source, extract_answer(text, pattern)) for i, text in texts.items()]
        known.update((name, answer) for name, _, answer in rows)
        if rows:
            store.execute(
                "INSERT INTO stated_answers SELECT unnest(?::UUID[]), unnest(?::VARCHAR[]), "
                "unnest(?::VARCHAR[])",
                [list(column) for column in zip(*rows, strict=True)],
            )
    return {i: known.get(name) for i, name in names.items()}


def _last_texts(store: Store, grouped: GroupedRollouts, ends: Ints) -> dict[int, str]:
    """The last of the text above each node, tool calls and results passed over."""
    tree = grouped.prompts.tree
    steps = [ends]
    for _ in range(LAST_SEGMENTS - 1):
        steps.append(tree.parent[steps[-1]])
    path = np.stack(steps[::-1])  # from the top down
    segments = _segments(store, np.unique(path))
    wanted = {segment for segment, kind in segments.values() if kind in _ANSWER_KINDS}
    texts, _ = read_contents(store, list(wanted))
    found = {}
    for end, nodes in zip(ends.tolist(), path.T.tolist(), strict=True):
        parts = [texts.get(segments[i][0]) for i in nodes if i in segments]
        readable = [part for part in parts if part is not None]
        if readable:
            is_cut = segments[nodes[-1]][1] == "rendered"
            # Rendered text is cut anywhere; messages are wholes, of which the last one answers.
            found[end] = "".join(readable) if is_cut else readable[-1]
    return found


def _segments(store: Store, nodes: Ints) -> dict[int, tuple[Any, str]]:
    """(segment, kind) of each node, the root left out."""
    rows = store.rows(
        "SELECT i, segment, kind FROM scope_nodes WHERE i IN (SELECT unnest(?))", [nodes.tolist()]
    )
    return {i: (segment, kind) for i, segment, kind in rows}


def read_first_tokens(store: Store, grouped: GroupedRollouts, limit: int) -> TokenLists:
    """The first tokens of each rollout after its prompt, as far as its log can be read.

    Args:
        limit: so many tokens of each at most.
    """
    paths = _paths(grouped, limit)
    nodes = np.unique(np.concatenate([np.zeros(0, dtype=np.int64), *paths]))
    segments = _segments(store, nodes)
    texts, ids = read_contents(store, list({segment for segment, _ in segments.values()}))
    ids.update(_encoded(store, texts))
    empty = np.zeros(0, dtype=np.uint32)
    own = grouped.prompts.token_depth[grouped.table.start]
    depth = grouped.prompts.token_depth[grouped.prompts.tree.parent]
    lists = []
    for rollout, path in enumerate(paths):
        parts = [ids.get(segments[i][0], empty) for i in path.tolist() if i in segments]
        joined = np.concatenate([empty, *parts]).astype(np.int64)
        # Token ids and rendered text are cut anywhere, so the first piece may begin in the prompt.
        lead = max(0, int(own[rollout]) - int(depth[path[0]])) if len(path) else 0
        lists.append(joined[lead : lead + limit])
    offsets = offsets_of(np.array([len(each) for each in lists], dtype=np.int64))
    return TokenLists(np.concatenate([np.zeros(0, dtype=np.int64), *lists]), offsets)


def _encoded(store: Store, texts: dict[Any, str]) -> dict[Any, TokenIds]:
    from forkpoint.analysis.tokens import Tokenizer

    if not texts:
        return {}
    tokenizer = Tokenizer(store.get_meta("encoding") or "")
    return dict(zip(texts, tokenizer.encode_batch(list(texts.values())), strict=True))


def _paths(grouped: GroupedRollouts, limit: int) -> list[Ints]:
    """Of each rollout, the nodes below its prompt from the top down, as far as `limit` tokens go."""
    table, prompts = grouped.table, grouped.prompts
    tree, depth = prompts.tree, prompts.token_depth
    first = depth[table.start]
    found: dict[int, list[int]] = defaultdict(list)
    node, rollout = table.leaf.copy(), np.arange(len(table), dtype=np.int64)
    while len(node):
        below = (node > 0) & (depth[node] > first[rollout])
        node, rollout = node[below], rollout[below]
        near = depth[tree.parent[node]] < first[rollout] + limit
        for i, each in zip(rollout[near].tolist(), node[near].tolist(), strict=True):
            found[i].append(each)
        node = tree.parent[node]
    return [np.array(found[i][::-1], dtype=np.int64) for i in range(len(table))]

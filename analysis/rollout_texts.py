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
_MODEL_ROLES = frozenset(("assistant", "agent", "model", "ai", "gpt"))


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
        found = _stated_answers(store, _Said(store, grouped, ends), ends[missing], pattern)
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


def is_models(role: str) -> bool:
    """Whether a segment's role says that the model speaks."""
    return role.split(" ")[0] in _MODEL_ROLES


def text_ends(grouped: GroupedRollouts) -> Ints:
    """Node where each rollout's text ends: beside its token ids, or as its content."""
    table = grouped.table
    ends = table.leaf.copy()
    text = grouped.prompts.text[table.call]
    logged = text > 0
    ends[table.call_rollout[logged]] = text[logged]  # the last call of each stands last
    return ends


def _stated_answers(
    store: Store, said: _Said, ends: Ints, pattern: re.Pattern[str] | None
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
        texts = said.last(unread)
        rows = [(names[i], source, extract_answer(text, pattern)) for i, text in texts.items()]
        known.update((name, answer) for name, _, answer in rows)
        if rows:
            store.execute(
                "INSERT INTO stated_answers SELECT unnest(?::UUID[]), unnest(?::VARCHAR[]), "
                "unnest(?::VARCHAR[])",
                [list(column) for column in zip(*rows, strict=True)],
            )
    return {i: known.get(name) for i, name in names.items()}


class _Said:
    """What rollouts said last, without what they were asked: prompts state answers too (worked
    examples, or the form that is asked for).

    Args:
        ends: `text_ends`.
    """

    def __init__(self, store: Store, grouped: GroupedRollouts, ends: Ints) -> None:
        table, prompts = grouped.table, grouped.prompts
        self._store, self._prompts, self._made = store, prompts, grouped.generated.node
        self._is_beside = np.zeros(len(prompts.tree), dtype=np.bool_)
        self._is_beside[ends[ends != table.leaf]] = True
        # Per node where a text ends, the bytes of it that are a prompt; -1: not known.
        self._asked = np.full(len(prompts.tree), -1, dtype=np.int64)
        alone = (table.start > 0) | table.from_root
        self._mark(table.leaf[alone], prompts.byte_depth[table.start[alone]])
        # The prompt of the last call holds all that was said before its response.
        calls = table.call[prompts.completion[table.call] > 0]
        self._mark(prompts.completion[calls], prompts.byte_depth[prompts.prompt[calls]])
        beside = store.execute(
            "SELECT call_no, text_start FROM scope_calls WHERE text_start IS NOT NULL"
        ).fetchnumpy()
        self._mark(prompts.text[beside["call_no"]], beside["text_start"])

    def _mark(self, nodes: Ints, asked: Ints) -> None:
        np.maximum.at(self._asked, nodes, asked)

    def last(self, ends: Ints) -> dict[int, str]:
        """The last of the text above each node that the model wrote, tool calls passed over; nodes
        whose log cannot be read are left out."""
        tree = self._prompts.tree
        steps = [ends]
        for _ in range(LAST_SEGMENTS - 1):
            steps.append(tree.parent[steps[-1]])
        path = np.stack(steps[::-1])  # from the top down
        segments = _segments(self._store, np.unique(path))
        wanted = {segment for segment, kind, _ in segments.values() if kind in _ANSWER_KINDS}
        texts, _ = read_contents(self._store, list(wanted))
        found = {}
        for end, nodes in zip(ends.tolist(), path.T.tolist(), strict=True):
            own = [node for node in nodes if node in segments]
            is_cut = bool(own) and segments[own[-1]][1] == "rendered"
            pieces = own if is_cut else self._spoken(end, own, segments)
            parts = [texts.get(segments[node][0]) for node in pieces]
            if is_cut:
                parts = [self._behind(end, *each) for each in zip(pieces, parts, strict=True)]
            readable = [part for part in parts if part is not None]
            if readable or not pieces:
                # Rendered text is cut anywhere; messages are wholes, of which the last one answers.
                found[end] = "".join(readable if is_cut else readable[-1:])
        return found

    def _behind(self, end: int, node: int, text: str | None) -> str | None:
        """What of a piece of the path to `end` stands behind the prompt."""
        above = int(self._prompts.byte_depth[self._prompts.tree.parent[node]])
        inside = int(self._asked[end]) - above
        if text is None or inside <= 0:
            return text
        return text.encode("utf-8", "surrogatepass")[inside:].decode("utf-8", "replace")

    def _spoken(
        self, end: int, nodes: list[int], segments: dict[int, tuple[Any, str, str]]
    ) -> list[int]:
        """The messages' texts that the model wrote, of the last ones on the path to `end`."""
        by_model = [is_models(segments[node][2]) for node in nodes]
        if self._is_beside[end]:
            # Of the path to a text beside ids no node is a call's; it ends with the response.
            others = [place for place, own in enumerate(by_model, 1) if not own]
            spoken = nodes[max(others, default=0) :]
        else:
            behind = self._prompts.byte_depth[nodes] > self._asked[end]
            spoken = [
                node
                for node, own, is_behind in zip(nodes, by_model, behind.tolist(), strict=True)
                if self._made[node] or (own and is_behind)
            ]
        return [node for node in spoken if segments[node][1] in _ANSWER_KINDS]


def _segments(store: Store, nodes: Ints) -> dict[int, tuple[Any, str, str]]:
    """(segment, kind, role) of each node, the root left out."""
    rows = store.rows(
        "SELECT i, segment, kind, role FROM scope_nodes WHERE i IN (SELECT unnest(?))",
        [nodes.tolist()],
    )
    return {i: (segment, kind, role) for i, segment, kind, role in rows}


def read_first_tokens(store: Store, grouped: GroupedRollouts, limit: int) -> TokenLists:
    """The first tokens of each rollout after its prompt, as far as its log can be read.

    Args:
        limit: so many tokens of each at most.
    """
    paths = _paths(grouped, limit)
    nodes = np.unique(np.concatenate([np.zeros(0, dtype=np.int64), *paths]))
    segments = _segments(store, nodes)
    texts, ids = read_contents(store, list({segment for segment, _, _ in segments.values()}))
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

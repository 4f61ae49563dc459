"""Step-level preference pairs: at forks where a model's continuations did better or worse, the best
against the worst, in the shape that DPO trainers read (``prompt``, ``chosen``, ``rejected``).

Outcome rewards become step-level ones: V of a branch is the mean reward of the rollouts below it
(Tree-GRPO, arXiv:2509.21240, shows that contrasting siblings within a tree is step-level DPO). A
step is one turn of the model: everything it wrote until somebody else's turn.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np

from forkpoint.analysis.fork_answer import RolloutForks
from forkpoint.analysis.prompts import load_prompts
from forkpoint.analysis.report import NO_FILTERS
from forkpoint.analysis.rollout_texts import is_models, text_ends
from forkpoint.analysis.rollouts import GroupedRollouts, load_grouped
from forkpoint.analysis.scope import Filters, select_scope
from forkpoint.analysis.siblings import TokenIds, read_contents
from forkpoint.analysis.store import Store
from forkpoint.analysis.tree import Floats


@dataclass(frozen=True, slots=True)
class PreferenceSide:
    """A branch, and the one of the rollouts below it that is shown.

    Attributes:
        value: V, the mean reward of its rollouts.
        rollouts: how many took it.
        reward: of the rollout shown. A branch may fork further down, and what goes on from there may
            earn anything: so the best rollout of the chosen branch is shown, the worst of the rejected.
        trace: that rollout.
    """

    value: float
    rollouts: int
    reward: float
    trace: str


@dataclass(frozen=True, slots=True)
class PreferencePair:
    """The best against the worst continuation of one fork.

    Attributes:
        group: the group of rollouts.
        fork_tokens: depth of the fork from the beginning of the sequence.
        shared_tokens: tokens of the step that both sides begin with, before the fork.
        path, line: a record that holds the chosen side, whose first `fork_tokens` are the prefix
            that both share.
        chosen_side, rejected_side: what became of them.
        prompt, chosen, rejected: chat messages; or text, where prompts were logged as rendered text;
            or token ids, where nothing else was logged or texts are equal. Text that was logged beside
            ids is cut where it differs, which may be inside a token.
    """

    group: str
    fork_tokens: int
    shared_tokens: int
    path: str
    line: int | None
    chosen_side: PreferenceSide
    rejected_side: PreferenceSide
    prompt: Any
    chosen: Any
    rejected: Any

    @property
    def row(self) -> dict[str, Any]:
        """One line of the export."""
        sides = {
            f"{name}_{key}": getattr(side, key)
            for name, side in (("chosen", self.chosen_side), ("rejected", self.rejected_side))
            for key in ("value", "rollouts", "reward", "trace")
        }
        return {
            "prompt": self.prompt,
            "chosen": self.chosen,
            "rejected": self.rejected,
            "margin": self.chosen_side.value - self.rejected_side.value,
            **sides,
            "group": self.group,
            "shared_prefix": {
                "tokens": self.fork_tokens,
                "of_step": self.shared_tokens,
                "path": self.path,
                "line": self.line,
            },
        }


def build_pairs(
    store: Store, paths: Sequence[Path], *, filters: Filters = NO_FILTERS
) -> Iterator[PreferencePair]:
    """All pairs under `paths`, by group and place: one for each fork whose branches a model wrote
    and whose mean rewards differ, as far as the logs can still be read."""
    select_scope(store, paths, filters)
    prompts = load_prompts(store)
    forks = RolloutForks(load_grouped(store, prompts))
    decisive = forks.by_model & (np.nan_to_num(forks.contrast) > 0)
    reader = _Reader(store, forks.grouped)
    for fork in np.flatnonzero(decisive).tolist():
        pair = _pair(forks, fork, reader)
        if pair is not None:
            yield pair


def as_json_line(pair: PreferencePair) -> str:
    """One pair as a line of JSON, ASCII only."""
    return json.dumps(pair.row, ensure_ascii=True, allow_nan=False, separators=(",", ":"))


def _pair(forks: RolloutForks, fork: int, reader: _Reader) -> PreferencePair | None:
    trees, table, tree = forks.trees, forks.grouped.table, forks.forks
    branches = np.arange(tree.offsets[fork], tree.offsets[fork + 1])
    value = forks.values[0][branches]
    depth = int(tree.depth[fork])
    # Nothing can be preferred to a rollout that only ends here: there is nothing to train on.
    goes_on = trees.length[tree.branch[branches]] > depth
    usable = branches[~np.isnan(value) & goes_on]
    if len(usable) < 2:
        return None
    value = forks.values[0][usable]
    best, worst = int(usable[value.argmax()]), int(usable[value.argmin()])
    if forks.values[0][best] <= forks.values[0][worst]:
        return None
    chosen, rejected = _shown(forks, best, np.nanargmax), _shown(forks, worst, np.nanargmin)
    texts = reader.step(int(trees.rollout[chosen]), int(trees.rollout[rejected]), depth)
    if texts is None:
        return None
    rollout = int(trees.rollout[chosen])
    path, line = table.places[rollout]
    return PreferencePair(
        group=table.groups[int(table.group[rollout])],
        fork_tokens=depth,
        shared_tokens=depth - texts.start,
        path=path,
        line=line,
        chosen_side=_side(forks, best, chosen),
        rejected_side=_side(forks, worst, rejected),
        prompt=texts.prompt,
        chosen=texts.chosen,
        rejected=texts.rejected,
    )


def _shown(forks: RolloutForks, branch: int, pick: Callable[[Floats], np.intp]) -> int:
    """Place in the trees of the branch's rollout whose reward is picked; of equals, the first."""
    first, end = int(forks.forks.branch[branch]), int(forks.forks.branch_end[branch])
    return first + int(pick(forks.reward[first:end]))


def _side(forks: RolloutForks, branch: int, shown: int) -> PreferenceSide:
    return PreferenceSide(
        value=float(forks.values[0][branch]),
        rollouts=int(forks.forks.counts[branch]),
        reward=float(forks.reward[shown]),
        trace=forks.grouped.table.ids[int(forks.trees.rollout[shown])],
    )


@dataclass(frozen=True, slots=True)
class _Texts:
    """Both sides of a pair. `start`: tokens before the step."""

    start: int
    prompt: Any
    chosen: Any
    rejected: Any


class _Reader:
    """Reads the segments of paths from their logs, each once."""

    def __init__(self, store: Store, grouped: GroupedRollouts) -> None:
        self._store = store
        self._grouped = grouped
        self._tree = grouped.prompts.tree
        self._depth = grouped.prompts.token_depth
        self._ends = text_ends(grouped)
        self._segments: dict[int, tuple[Any, str, str]] = {}
        self._texts: dict[Any, str] = {}
        self._ids: dict[Any, TokenIds] = {}

    def step(self, chosen: int, rejected: int, depth: int) -> _Texts | None:
        """The prompt that both share, and the model's turn on each side; ``None``: not readable.

        Args:
            chosen, rejected: rollouts that part at `depth` tokens.
        """
        leaf = self._grouped.table.leaf
        sides = self._paths(int(leaf[chosen]), int(leaf[rejected]))
        if sides is None:
            return None
        one, other = sides
        kinds = self._kinds(one, other)
        if "tokens" in kinds:
            return self._beside(chosen, rejected, depth) or self._of_ids(one, other, depth)
        if "rendered" in kinds:
            return self._of_text(one, other, depth)
        start = self._turn_start(one, other, self._is_made)
        if start is None:
            return None
        above = int(self._depth[one[start - 1]]) if start else 0
        return self._of_messages(one, other, start, above, self._is_made)

    def _beside(self, chosen: int, rejected: int, depth: int) -> _Texts | None:
        """The step as the text that was logged beside its ids; ``None``: there is none, it cannot be
        read, or it does not tell the sides apart."""
        ends = [int(self._ends[each]) for each in (chosen, rejected)]
        leaves = [int(self._grouped.table.leaf[each]) for each in (chosen, rejected)]
        sides = self._paths(*ends)
        if sides is None or any(end == leaf for end, leaf in zip(ends, leaves, strict=True)):
            return None
        one, other = sides
        kinds = self._kinds(one, other)
        if "rendered" in kinds:
            texts = self._of_text(one, other, depth)
            return texts if texts.chosen and texts.rejected else None
        start = None if "tokens" in kinds else self._turn_start(one, other, self._is_models)
        if start is None:
            return None
        asked = self._asked(chosen, depth)
        texts = self._of_messages(one, other, start, asked, self._is_models)
        return texts if texts.chosen and texts.rejected else None

    def _asked(self, rollout: int, depth: int) -> int:
        """Tokens of the prompt of the call that generated the token at `depth`."""
        table, prompts = self._grouped.table, self._grouped.prompts
        calls = table.call[table.call_rollout == rollout]
        ends = prompts.token_depth[prompts.prompt[calls]]
        return int(ends[ends <= depth].max(initial=0))

    def _paths(self, chosen: int, rejected: int) -> tuple[list[int], list[int]] | None:
        one, other = self._path(chosen), self._path(rejected)
        return None if one is None or other is None else (one, other)

    def _kinds(self, *paths: list[int]) -> set[str]:
        return {self._segments[node][1] for path in paths for node in path}

    def _is_made(self, node: int) -> bool:
        return bool(self._grouped.generated.node[node])

    def _is_models(self, node: int) -> bool:
        _, kind, role = self._segments[node]
        return kind != "unlogged" and is_models(role)

    def _turn_start(
        self, one: list[int], other: list[int], own: Callable[[int], bool]
    ) -> int | None:
        """Where in both paths the model's turn begins in which they part; ``None``: they do not."""
        start = next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), None)
        while start and own(one[start - 1]):
            start -= 1
        return start

    def _of_messages(
        self, one: list[int], other: list[int], start: int, above: int, own: Callable[[int], bool]
    ) -> _Texts:
        """Chat messages: the sides are whole turns."""
        return _Texts(
            start=above,
            prompt=self._messages(one[:start]),
            chosen=self._messages(list(takewhile(own, one[start:]))),
            rejected=self._messages(list(takewhile(own, other[start:]))),
        )

    def _path(self, leaf: int) -> list[int] | None:
        """Nodes from the top down; ``None`` if any cannot be read."""
        nodes = []
        while leaf:
            nodes.append(leaf)
            leaf = int(self._tree.parent[leaf])
        nodes.reverse()
        self._load([node for node in nodes if node not in self._segments])
        readable = all(
            self._segments[node][0] in self._texts
            or self._segments[node][0] in self._ids
            or self._segments[node][1] == "unlogged"
            for node in nodes
        )
        return nodes if readable else None

    def _load(self, nodes: list[int]) -> None:
        if not nodes:
            return
        rows = self._store.rows(
            "SELECT i, segment, kind, role FROM scope_nodes WHERE i IN (SELECT unnest(?))", [nodes]
        )
        self._segments.update({i: (segment, kind, role) for i, segment, kind, role in rows})
        texts, ids = read_contents(self._store, list({row[1] for row in rows}))
        self._texts.update(texts)
        self._ids.update(ids)

    def _of_ids(self, one: list[int], other: list[int], depth: int) -> _Texts:
        """Token ids: the fork itself is where the sides begin."""
        chosen, rejected = (
            np.concatenate([self._ids[self._segments[node][0]] for node in path]).tolist()
            for path in (one, other)
        )
        return _Texts(depth, chosen[:depth], chosen[depth:], rejected[depth:])

    def _of_text(self, one: list[int], other: list[int], depth: int) -> _Texts:
        """Rendered text: the sides begin where the texts part, at a character."""
        chosen, rejected = (
            "".join(self._texts[self._segments[node][0]] for node in path) for path in (one, other)
        )
        at = next(
            (i for i, (a, b) in enumerate(zip(chosen, rejected, strict=False)) if a != b),
            min(len(chosen), len(rejected)),
        )
        return _Texts(depth, chosen[:at], chosen[at:], rejected[at:])

    def _messages(self, nodes: list[int]) -> list[dict[str, Any]]:
        """Segments as chat messages; neighbours of one role are one message."""
        messages: list[dict[str, Any]] = []
        for node in nodes:
            segment, kind, role = self._segments[node]
            text = self._texts.get(segment, "")
            role = _ROLE_OF_KIND.get(kind, role.split(" ")[0] or "user")
            role = "assistant" if is_models(role) else role
            if kind in ("tools", "unlogged"):
                continue
            fresh = (
                not messages
                or messages[-1]["role"] != role
                or role == "tool"
                or (kind == "text" and "tool_calls" in messages[-1])
            )
            if fresh:
                messages.append({"role": role, "content": ""})
            _add(messages[-1], kind, text)
        return messages


_ROLE_OF_KIND = {"system": "system", "tool_call": "assistant", "tool_result": "tool"}


def _add(message: dict[str, Any], kind: str, text: str) -> None:
    if kind == "tool_call":
        name, _, arguments = text.partition("\n")
        call = {"type": "function", "function": {"name": name, "arguments": arguments}}
        message.setdefault("tool_calls", []).append(call)
    elif kind == "thinking":
        message["reasoning_content"] = message.get("reasoning_content", "") + text
    else:
        message["content"] += text

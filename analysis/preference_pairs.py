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
from pathlib import Path
from typing import Any

import numpy as np

from forkpoint.analysis.fork_answer import RolloutForks
from forkpoint.analysis.prompts import load_prompts
from forkpoint.analysis.report import NO_FILTERS
from forkpoint.analysis.rollouts import GroupedRollouts, load_rollouts
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
            or token ids, where nothing else was logged.
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
    forks = RolloutForks(GroupedRollouts(load_rollouts(store, prompts), prompts))
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
    texts = reader.step(int(trees.leaf[chosen]), int(trees.leaf[rejected]), depth)
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
        self._tree = grouped.prompts.tree
        self._depth = grouped.prompts.token_depth
        self._made = grouped.generated
        self._segments: dict[int, tuple[Any, str, str]] = {}
        self._texts: dict[Any, str] = {}
        self._ids: dict[Any, TokenIds] = {}

    def step(self, chosen: int, rejected: int, depth: int) -> _Texts | None:
        """The prompt that both share, and the model's turn on each side; ``None``: not readable.

        Args:
            chosen, rejected: nodes where two rollouts end that part at `depth` tokens.
        """
        sides = [self._path(chosen), self._path(rejected)]
        if any(path is None for path in sides):
            return None
        one, other = (path for path in sides if path is not None)
        kinds = {self._segments[node][1] for node in (*one, *other)}
        if "tokens" in kinds:
            return self._of_ids(one, other, depth)
        if "rendered" in kinds:
            return self._of_text(one, other, depth)
        common = next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), None)
        if common is None:
            return None
        start = common
        while start and self._made.node[one[start - 1]]:
            start -= 1  # back to where the turn began
        return _Texts(
            start=int(self._depth[one[start - 1]]) if start else 0,
            prompt=self._messages(one[:start]),
            chosen=self._messages(self._turn(one, start)),
            rejected=self._messages(self._turn(other, start)),
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

    def _turn(self, path: list[int], start: int) -> list[int]:
        """The model's segments from `start` on, up to somebody else's."""
        end = start
        while end < len(path) and self._made.node[path[end]]:
            end += 1
        return path[start:end]

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

"""One group of rollouts as a tree that a person can read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from forkpoint.analysis.answer_audit import group_stats
from forkpoint.analysis.answers import answer_codes, normalise_answer
from forkpoint.analysis.group_trees import GroupForks, GroupTrees, find_group_forks
from forkpoint.analysis.prompts import load_prompts
from forkpoint.analysis.report import NO_FILTERS
from forkpoint.analysis.rollout_answer import describe_groups
from forkpoint.analysis.rollout_results import DrawnTree, TreeLine
from forkpoint.analysis.rollout_texts import find_answers
from forkpoint.analysis.rollouts import load_grouped
from forkpoint.analysis.scope import Filters, select_scope
from forkpoint.analysis.store import Store
from forkpoint.analysis.tree_texts import Place, beginnings
from forkpoint.errors import ForkpointError

ANSWERS_SHOWN = 3


def build_drawn_tree(
    store: Store, paths: Sequence[Path], group: str, *, filters: Filters = NO_FILTERS
) -> DrawnTree:
    """The tree of one group under `paths`.

    Args:
        group: its id, or enough of one to tell it from the others: the beginning, or else any part.

    Raises:
        ForkpointError: no group, or several, go by that name.
    """
    select_scope(store, paths, filters)
    prompts = load_prompts(store)
    grouped = load_grouped(store, prompts)
    number = _group_named(grouped.table.groups, group)
    answers = find_answers(store, grouped)
    codes = answer_codes([None if each is None else normalise_answer(each) for each in answers])
    stats = group_stats(codes, grouped)
    rows = {row.group: row for row in describe_groups(grouped, stats)}
    row = rows[grouped.table.groups[number]]
    stretches = _stretches(grouped.trees, find_group_forks(grouped.trees), number)
    rollout = grouped.trees.rollout
    places = [
        Place(
            int(rollout[each.first]),
            each.start,
            -1 if each.beside is None else int(rollout[each.beside]),
        )
        for each in stretches
    ]
    begins = beginnings(store, grouped, places)
    lines = []
    for each, place in zip(stretches, places, strict=True):
        below = rollout[each.first : each.last].tolist()
        rewards = grouped.table.reward[below]
        known = rewards[~np.isnan(rewards)]
        stated = dict.fromkeys(answer for i in below if (answer := answers[i]) is not None)
        ends_alone = each.is_leaf and len(below) == 1
        lines.append(
            TreeLine(
                depth=each.depth,
                is_last=each.is_last,
                start_tokens=each.start,
                tokens=each.end - each.start,
                rollouts=len(below),
                mean_reward=float(known.mean()) if len(known) else None,
                answers=tuple(stated)[:ANSWERS_SHOWN],
                trace=grouped.table.ids[below[0]] if ends_alone else None,
                begins=begins.get(place),
            )
        )
    return DrawnTree(row, tuple(lines), row.rollouts - row.sized_rollouts)


def _group_named(groups: list[str], wanted: str) -> int:
    for matches in (
        lambda name: name == wanted,
        lambda name: name.startswith(wanted),
        lambda name: wanted in name,
    ):
        found = [i for i, name in enumerate(groups) if matches(name)]
        if len(found) == 1:
            return found[0]
        if found:
            named = ", ".join(groups[i] for i in found[:3]) + (", …" if len(found) > 3 else "")
            raise ForkpointError(f"{len(found)} groups go by {wanted!r}: {named}")
    raise ForkpointError(f"no group of rollouts goes by {wanted!r}: forkpoint rollouts lists them")


class _Stretch:
    """A piece of the tree that no fork interrupts, over the rollouts from `first` to `last`;
    `beside` is a rollout that goes another way at its beginning."""

    __slots__ = ("beside", "depth", "end", "first", "is_last", "is_leaf", "last", "start")

    def __init__(
        self, first: int, last: int, start: int, depth: int, is_last: bool, beside: int | None
    ) -> None:
        self.first, self.last, self.start = first, last, start
        self.depth, self.is_last, self.beside = depth, is_last, beside
        self.end = start
        self.is_leaf = True


def _stretches(trees: GroupTrees, forks: GroupForks, number: int) -> list[_Stretch]:
    """The stretches of one group's tree from the top down, branches with most rollouts first."""
    places = np.flatnonzero(trees.group == number)
    if not len(places):
        return []
    by_range = {
        (int(first), int(last)): fork
        for fork, (first, last) in enumerate(zip(forks.first, forks.last, strict=True))
    }
    found: list[_Stretch] = []
    waiting = [_Stretch(int(places[0]), int(places[-1]) + 1, 0, 0, True, None)]
    while waiting:
        stretch = waiting.pop()
        found.append(stretch)
        fork = by_range.get((stretch.first, stretch.last))
        if fork is None:
            stretch.end = int(trees.length[stretch.first])
            continue
        stretch.end, stretch.is_leaf = int(forks.depth[fork]), False
        branches = np.arange(forks.offsets[fork], forks.offsets[fork + 1])
        order = branches[np.lexsort((branches, -forks.counts[branches]))].tolist()
        # The last one pushed is the first one drawn.
        waiting += [
            _Stretch(
                int(forks.branch[branch]),
                int(forks.branch_end[branch]),
                stretch.end,
                stretch.depth + 1,
                branch == order[-1],
                int(forks.branch[order[0] if branch != order[0] else order[1]]),
            )
            for branch in reversed(order)
        ]
    return found

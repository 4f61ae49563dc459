"""Groups of rollouts: several samples of one prompt or task, as a tree per group."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import comb
from typing import Any

import numpy as np
import numpy.typing as npt

from forkpoint.analysis.group_trees import GroupTrees, build_group_trees, common_prefix
from forkpoint.analysis.prompts import Prompts
from forkpoint.analysis.results import Drift, Rollouts
from forkpoint.analysis.store import Store
from forkpoint.analysis.tree import Flags, Floats, Ints

SUCCESS = 1.0 - 1e-6
"""A reward at or above this is a success; rewards are often floats that should be 1."""


@dataclass(frozen=True)
class RolloutTable:
    """The rollouts in scope, by group and then by id: row numbers are rollout numbers.

    Attributes:
        groups: ids of the groups.
        group: per rollout, an index into `groups`.
        ids: trace ids.
        leaf: node where each rollout ends; 0: its content was not logged.
        start: node where its first prompt ends; 0: unknown, or the prompt is empty.
        from_root: whether nothing of its prompt is logged.
        reward: NaN where none is logged.
        answer: as logged.
        billed_output: billed output tokens of its calls; -1 unless all of them state it.
        places: (path, line) of each rollout's record; the line is ``None`` where it has no call.
        call, call_rollout: the calls that belong to rollouts, and to which.
    """

    groups: list[str]
    group: Ints
    ids: list[str]
    leaf: Ints
    start: Ints
    from_root: Flags
    reward: Floats
    answer: list[str | None]
    billed_output: Ints
    places: list[tuple[str, int | None]]
    call: Ints
    call_rollout: Ints

    def __len__(self) -> int:
        return len(self.ids)


def load_rollouts(store: Store, prompts: Prompts) -> RolloutTable:
    """Load the rollouts in scope, whose nodes `prompts` holds."""
    store.execute(
        """
        CREATE OR REPLACE TEMP TABLE scope_rollouts AS
        SELECT row_number() OVER (ORDER BY group_id, trace_id) - 1 AS rollout_no,
               dense_rank() OVER (ORDER BY group_id) - 1 AS group_no,
               group_id, trace_id, leaf, prompt, from_root, reward, answer, path
        FROM scope_traces WHERE group_id IS NOT NULL
        """
    )
    calls = store.execute(
        "SELECT call_no, rollout_no FROM scope_calls JOIN scope_rollouts USING (trace_id) "
        "ORDER BY rollout_no, call_no"
    ).fetchnumpy()
    found = store.execute(
        """
        WITH of_calls AS (
            SELECT trace_id, arg_min(prompt, call_no) AS prompt, min(line) AS line,
                   CASE WHEN bool_and(output_tokens IS NOT NULL) THEN sum(output_tokens) END
                       AS output
            FROM scope_calls SEMI JOIN scope_rollouts USING (trace_id) GROUP BY trace_id
        )
        SELECT group_no, group_id, trace_id, coalesce(leaves.i, 0) AS leaf,
               coalesce(starts.i, 0) AS start, from_root, reward, answer, coalesce(output, -1) AS output,
               path, line
        FROM scope_rollouts AS these LEFT JOIN of_calls USING (trace_id)
        LEFT JOIN scope_nodes AS leaves ON these.leaf = leaves.node
        LEFT JOIN scope_nodes AS starts ON coalesce(these.prompt, of_calls.prompt) = starts.node
        ORDER BY rollout_no
        """
    ).fetchall()
    columns: list[tuple[Any, ...]] = list(zip(*found, strict=True)) or [()] * 11
    return RolloutTable(
        groups=list(dict.fromkeys(columns[1])),
        group=_ints(columns[0]),
        ids=list(columns[2]),
        leaf=_ints(columns[3]),
        start=_ints(columns[4]),
        from_root=np.array(columns[5], dtype=np.bool_),
        reward=np.array([np.nan if each is None else each for each in columns[6]], dtype=float),
        answer=list(columns[7]),
        billed_output=_ints(columns[8]),
        places=list(zip(columns[9], columns[10], strict=True)),
        call=_ints(calls["call_no"]),
        call_rollout=_ints(calls["rollout_no"]),
    )


def _ints(values: npt.ArrayLike) -> Ints:
    return np.asarray(values, dtype=np.int64)


class GroupedRollouts:
    """The rollouts in scope with their trees, each worked out once.

    Args:
        table: the rollouts.
        prompts: the tree that their nodes are of.
    """

    def __init__(self, table: RolloutTable, prompts: Prompts) -> None:
        self.table = table
        self.prompts = prompts

    @cached_property
    def sized(self) -> Ints:
        """Rollouts whose sequences are logged and can be counted in tokens. What stands before all
        that is logged (a system prompt, tools) counts nothing."""
        leaf = self.table.leaf
        return np.flatnonzero((leaf > 0) & self.prompts.is_counted_as_logged[leaf])

    @cached_property
    def trees(self) -> GroupTrees:
        """Their trees; `GroupTrees.rollout` holds row numbers of the table."""
        table = self.table
        return build_group_trees(
            self.prompts, table.group[self.sized], self.sized, table.leaf[self.sized]
        )

    @property
    def prompt_tokens(self) -> Ints:
        """Per place in `trees`, tokens of the rollout's first prompt; 0 where it is not known."""
        return self.prompts.token_depth[self.table.start[self.trees.rollout]]

    @cached_property
    def generated(self) -> Generated:
        """Which nodes the rollouts, and all other calls, generated."""
        calls = self.prompts.completion > 0
        table = self.table
        alone = np.bincount(table.call_rollout, minlength=len(table)) == 0
        alone &= (table.leaf > 0) & ((table.start > 0) | table.from_root)
        return generated_nodes(
            self.prompts,
            np.r_[self.prompts.prompt[calls], table.start[alone]],
            np.r_[self.prompts.completion[calls], table.leaf[alone]],
        )

    @cached_property
    def generated_tokens(self) -> Ints:
        """Tokens that each rollout generated: counted where its content is, else as billed; -1 where
        neither is known."""
        counted = np.full(len(self.table), -1, dtype=np.int64)
        counted[self.sized] = self._generated_depth[self.table.leaf[self.sized]]
        known = (counted > 0) | ((counted == 0) & (self.table.billed_output <= 0))
        return np.where(known & (counted >= 0), counted, self.table.billed_output)

    @cached_property
    def _generated_depth(self) -> Ints:
        """Generated tokens from the root to each node's end."""
        made = self.generated
        own = np.maximum(self.prompts.tokens - made.lead, 0)
        return self.prompts.tree.depth(np.where(made.node, own, 0))

    @cached_property
    def shared_generated(self) -> Ints:
        """Per place in `trees`, generated tokens shared with the rollout before."""
        trees, prompts = self.trees, self.prompts
        child = prompts.tree.ancestor_at(trees.leaf, prompts.tree.level[trees.meet] + 1)
        inside = trees.shared - prompts.token_depth[trees.meet]
        head = np.maximum(inside - self.generated.lead[child], 0)
        head = np.where(self.generated.node[child] & (inside > 0), head, 0)
        return np.where(trees.begins, 0, self._generated_depth[trees.meet] + head)


def load_grouped(store: Store, prompts: Prompts) -> GroupedRollouts:
    """The rollouts in scope, whose nodes `prompts` holds."""
    return GroupedRollouts(load_rollouts(store, prompts), prompts)


def measure_rollouts(grouped: GroupedRollouts, same_answer_share: float | None) -> Rollouts:
    """Trees and rewards of the rollouts in scope, and how far their answers agree."""
    table, trees = grouped.table, grouped.trees
    flat, tree = int(trees.flat_tokens.sum()), int(trees.tree_tokens.sum())
    of_prompts = int(((trees.sizes - 1) * trees.trunk_tokens).sum())
    known = ~np.isnan(table.reward)
    rewards = list(zip(table.group[known].tolist(), table.reward[known].tolist(), strict=True))
    turns, distinct_turns = (int(each.sum()) for each in turns_by_group(grouped))
    return Rollouts(
        groups=len(table.groups),
        rollouts=len(table),
        sized_rollouts=len(grouped.sized),
        flat_tokens=flat,
        tree_tokens=tree,
        overlap_ratio=trees.overlap_ratio,
        bound=flat / tree if tree else None,
        trunk_tokens=int(trees.trunk_tokens.sum()),
        rho=flat / (flat - of_prompts) if flat > of_prompts else None,
        turns=turns,
        distinct_turns=distinct_turns,
        drift=measure_drift(grouped),
        same_answer_share=same_answer_share,
        mean_reward=float(np.mean([reward for _, reward in rewards])) if rewards else None,
        pass_hat=pass_hat(rewards),
        generated_shared_tokens=int(grouped.shared_generated.sum()),
    )


def turns_by_group(grouped: GroupedRollouts) -> tuple[Ints, Ints]:
    """The tree in turns: calls of each group's rollouts, and distinct ones, each of shape (groups,).

    Two calls of one group are one turn if the whole conversation up to their response is the same.
    """
    table, prompts = grouped.table, grouped.prompts
    end = prompts.completion[table.call]
    end = np.where(end > 0, end, prompts.prompt[table.call])
    group = table.group[table.call_rollout]
    distinct = np.unique(group * len(prompts.tree) + end) // len(prompts.tree)
    n = len(table.groups)
    return np.bincount(group, minlength=n), np.bincount(distinct, minlength=n)


def measure_drift(grouped: GroupedRollouts) -> Drift | None:
    """Forks that only a tokenizer made: sequences of one group with equal text and different ids.

    Text and ids are compared where each call ends, so a difference shows from the first turn on
    whose text was tokenised another way. ``None`` where no log holds ids and text.
    """
    table, prompts = grouped.table, grouped.prompts
    text = prompts.text[table.call]
    ids = np.where(
        prompts.completion[table.call] > 0,
        prompts.completion[table.call],
        prompts.prompt[table.call],
    )
    both = np.flatnonzero((text > 0) & prompts.is_counted[ids] & prompts.is_counted[text])
    if not len(both):
        return None
    text, ids = text[both], ids[both]
    rollout = table.call_rollout[both]
    group = table.group[rollout]
    by_text = np.unique(np.stack((group, text)), axis=1).shape[1]
    by_both = np.unique(np.stack((group, text, ids)), axis=1).shape[1]
    same = np.flatnonzero(rollout[1:] == rollout[:-1])
    depth = prompts.token_depth
    goes_on = common_prefix(prompts, text[same], text[same + 1])[0] == depth[text[same]]
    kept = common_prefix(prompts, ids[same], ids[same + 1])[0] == depth[ids[same]]
    last = np.r_[rollout[1:] != rollout[:-1], True]
    by_ids, in_text = (
        build_group_trees(prompts, group[last], rollout[last], ends[last]) for ends in (ids, text)
    )
    flat, faked = int(by_ids.flat_tokens.sum()), _faked_tokens(prompts, group, rollout, text, ids)
    return Drift(
        sequences=len(both),
        drifted=by_both - by_text,
        continued=int(goes_on.sum()),
        broken=int((goes_on & ~kept).sum()),
        overlap_ratio_by_ids=by_ids.overlap_ratio,
        faked_tokens=faked,
        overlap_ratio_without=1 - (int(by_ids.tree_tokens.sum()) - faked) / flat if flat else None,
        overlap_ratio_by_text=in_text.overlap_ratio,
    )


def _faked_tokens(prompts: Prompts, group: Ints, rollout: Ints, text: Ints, ids: Ints) -> int:
    """Tokens of the trees that would be shared had equal texts equal ids.

    The first ids of a text in a group are held to be its own. Up to the end of a call with others,
    all that lies on no sequence without such a call is faked: what comes after may differ in text.

    Args:
        group, rollout, text, ids: per call, by rollout and time; the last two are nodes.
    """
    _, first, which = np.unique(
        np.stack((group, text)), axis=1, return_index=True, return_inverse=True
    )
    other = ids != ids[first][which.reshape(-1)]
    before = np.cumsum(other) - other
    begins = np.flatnonzero(np.r_[True, rollout[1:] != rollout[:-1]])
    lengths = np.diff(np.r_[begins, len(rollout)])
    faithful = ~other & (before == np.repeat(before[begins], lengths))
    both, alone = (
        build_group_trees(prompts, group[kept], np.flatnonzero(kept), ids[kept]).tree_tokens.sum()
        for kept in (faithful | other, faithful)
    )
    return int(both - alone)


def pass_hat(rewards: list[tuple[int, float]]) -> dict[int, float]:
    """pass^k per k: the chance that k rollouts drawn from a group all succeed, mean over groups.

    C(successes, k) / C(rollouts, k), over groups with at least k rollouts (tau-bench,
    arXiv:2406.12045). Reported up to the size that every group reaches.

    >>> pass_hat([(0, 1.0), (0, 0.0), (1, 1.0), (1, 1.0)])
    {1: 0.75, 2: 0.5}
    """
    counts: dict[int, list[int]] = {}
    for group, reward in rewards:
        tally = counts.setdefault(group, [0, 0])
        tally[0] += 1
        tally[1] += reward >= SUCCESS
    if not counts:
        return {}
    smallest = min(n for n, _ in counts.values())
    return {
        k: float(np.mean([comb(wins, k) / comb(n, k) for n, wins in counts.values()]))
        for k in range(1, smallest + 1)
    }


@dataclass(frozen=True)
class Generated:
    """Which nodes calls generated.

    Attributes:
        node: per node, whether it lies on a completion but not on that call's prompt.
        lead: per node, its first tokens that belong to the prompt all the same: rendered text and
            token ids are cut without regard to where the prompt ends.
    """

    node: Flags
    lead: Ints


def generated_nodes(prompts: Prompts, prompt: Ints, node: Ints) -> Generated:
    """Walk each completion up to where it meets its prompt's path.

    Args:
        prompt, node: per completion, the nodes where its prompt and it itself end.
    """
    tree = prompts.tree
    made = np.zeros(len(tree), dtype=np.bool_)
    lead = np.zeros(len(tree), dtype=np.int64)
    prompt_end = prompts.token_depth[prompt]
    while len(node):
        apart = node != prompt
        node, prompt, prompt_end = node[apart], prompt[apart], prompt_end[apart]
        below, above = tree.level[node], tree.level[prompt]
        up, down = below >= above, above >= below
        made[node[up]] = True
        next_node = np.where(up, tree.parent[node], node)
        next_prompt = np.where(down, tree.parent[prompt], prompt)
        met = next_node == next_prompt
        first = node[met & up]
        inside = prompt_end[met & up] - prompts.token_depth[tree.parent[first]]
        np.maximum.at(lead, first, np.clip(inside, 0, np.maximum(prompts.tokens[first], 0)))
        node, prompt = next_node, next_prompt
    return Generated(made, lead)

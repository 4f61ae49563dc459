"""Groups of rollouts: several samples of one prompt or task, as a tree per group."""

from __future__ import annotations

from dataclasses import dataclass
from math import comb

import numpy as np

from forkpoint.analysis.prompts import Prompts
from forkpoint.analysis.results import Rollouts
from forkpoint.analysis.store import Store
from forkpoint.analysis.tree import Flags, Ints

SUCCESS = 1.0 - 1e-6
"""A reward at or above this is a success; rewards are often floats that should be 1."""


def measure_rollouts(store: Store, prompts: Prompts) -> Rollouts:
    """Trees and rewards of the rollouts in scope."""
    rows = store.rows(
        """
        SELECT dense_rank() OVER (ORDER BY group_id) - 1 AS group_no, coalesce(i, 0) AS leaf, reward
        FROM scope_traces LEFT JOIN scope_nodes ON leaf = node
        WHERE group_id IS NOT NULL ORDER BY group_no, trace_id
        """
    )
    groups = np.array([row[0] for row in rows], dtype=np.int64)
    leaves = np.array([row[1] for row in rows], dtype=np.int64)
    with_leaf = leaves > 0
    sized = with_leaf & prompts.is_counted[leaves]
    flat, tree, generated = _tree_tokens(prompts, groups[sized], leaves[sized])
    rewards = [(group, reward) for group, _, reward in rows if reward is not None]
    return Rollouts(
        groups=len(set(groups.tolist())),
        rollouts=len(rows),
        flat_tokens=flat,
        tree_tokens=tree,
        overlap_ratio=1 - tree / flat if flat else None,
        same_answer_share=None,
        mean_reward=float(np.mean([reward for _, reward in rewards])) if rewards else None,
        pass_hat=pass_hat(rewards),
        generated_shared_tokens=generated,
    )


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


def _tree_tokens(prompts: Prompts, groups: Ints, leaves: Ints) -> tuple[int, int, int]:
    """(flat, tree, generated shared) tokens over groups; each group is a tree of its own."""
    if not len(leaves):
        return 0, 0, 0
    group, node = _paths(prompts, groups, leaves)
    width = len(prompts.tree)
    keys, passes = np.unique(group * width + node, return_counts=True)
    distinct = keys % width
    tokens = prompts.tokens[distinct]
    flat = int((tokens * passes).sum())
    generated = generated_nodes(prompts)
    heads, generated_heads = _shared_heads(prompts, keys, width, generated)
    tree = int(tokens.sum()) - heads
    made = (tokens - generated.lead[distinct]) * (passes - 1)
    extra = int(made[generated.node[distinct]].sum()) + generated_heads
    return flat, tree, extra


def _paths(prompts: Prompts, groups: Ints, leaves: Ints) -> tuple[Ints, Ints]:
    """Every (group, node) pair on the paths from the leaves to the root, root excluded."""
    found_groups, found_nodes = [], []
    while len(leaves):
        found_groups.append(groups)
        found_nodes.append(leaves)
        leaves = prompts.tree.parent[leaves]
        inside = leaves != 0
        groups, leaves = groups[inside], leaves[inside]
    return np.concatenate(found_groups), np.concatenate(found_nodes)


def _shared_heads(
    prompts: Prompts, keys: Ints, width: int, generated: Generated
) -> tuple[int, int]:
    """Tokens that siblings within one group begin with alike: (all, of generated segments)."""
    total = of_generated = 0
    for group in np.unique(keys // width).tolist():
        present = np.zeros(width, dtype=np.bool_)
        present[keys[keys // width == group] % width] = True
        for nodes, shared in prompts.siblings.runs(present):
            total += int(shared[1:].sum())
            made = generated.node[nodes[1:]]
            own = np.maximum(shared[1:] - generated.lead[nodes[1:]], 0)
            of_generated += int(own[made].sum())
    return total, of_generated


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


def generated_nodes(prompts: Prompts) -> Generated:
    """Walk each completion up to where it meets its prompt's path."""
    tree = prompts.tree
    made = np.zeros(len(tree), dtype=np.bool_)
    lead = np.zeros(len(tree), dtype=np.int64)
    has = prompts.completion > 0
    node, prompt = prompts.completion[has], prompts.prompt[has]
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

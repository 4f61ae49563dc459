"""Fork points: where prompts that began alike go different ways."""

from __future__ import annotations

import numpy as np

from forkpoint.analysis.prompts import Prompts, fit_bytes
from forkpoint.analysis.results import Branch, Fork
from forkpoint.analysis.store import Store
from forkpoint.analysis.tree import NEVER, Flags, Ints

BRANCHES_SHOWN = 8


def fork_nodes(prompts: Prompts) -> Ints:
    """Nodes after which prompts differ, having logged content in common.

    A node forks when two or more of its children lie on prompts of the scope. Nodes above all logged
    content (the empty prompt, a stand-in for an unlogged system prompt) are no evidence of anything
    shared and do not count, except where the children's own texts begin alike.
    """
    present: Flags = prompts.seen != NEVER
    forks = prompts.tree.fan_out(present) >= 2
    shares: Flags = (prompts.byte_depth > 0) | (prompts.token_depth > 0)
    for nodes, shared in prompts.siblings.runs(present):
        if shared.max() > 0:
            shares[prompts.tree.parent[nodes[0]]] = True
    return np.flatnonzero(forks & shares)


def head_tokens(prompts: Prompts) -> dict[int, int]:
    """Per refined fork, the tokens all its children begin with."""
    present: Flags = prompts.seen != NEVER
    return {
        int(prompts.tree.parent[nodes[0]]): int(shared[1:].min())
        for nodes, shared in prompts.siblings.runs(present)
    }


def trunk_tokens(prompts: Prompts, nodes: Ints) -> Ints:
    """Tokens from the root to each of `nodes`: counted, else by the anchors around it.

    Where a prompt is not fully logged, a node's depth is the nearest anchor above it plus the
    content since, at the model's tokens per byte.
    """
    fits = fit_bytes(prompts)
    ratio = float(np.median([fit.tokens_per_byte for fit in fits.values()])) if fits else 0.0
    base = prompts.tree.nearest(prompts.anchor >= 0)[nodes]
    since = prompts.byte_depth[nodes] - prompts.byte_depth[base]
    estimated = np.where(base != 0, prompts.anchor[base], 0) + np.rint(since * ratio)
    counted = prompts.is_counted[nodes]
    return np.where(counted, prompts.token_depth[nodes], estimated).astype(np.int64)


def top_forks(
    store: Store, prompts: Prompts, forks: Ints, *, top: int, min_calls: int = 2
) -> tuple[Fork, ...]:
    """The forks whose trunks are worth most, by tokens shared: trunk * (branches - 1)."""
    if not len(forks):
        return ()
    tree = prompts.tree
    fan_out = tree.fan_out(prompts.seen != NEVER)[forks]
    ends = np.bincount(prompts.prompt, minlength=len(tree)).astype(np.int64)
    calls_below = tree.subtree_sum(ends)
    heads = head_tokens(prompts)
    head = np.array([heads.get(fork, 0) for fork in forks.tolist()], dtype=np.int64)
    trunk = trunk_tokens(prompts, forks) + head
    shared = trunk * (fan_out - 1)
    order = np.lexsort((forks, -shared))
    order = order[calls_below[forks[order]] >= min_calls][:top]
    chosen = forks[order]
    described = _describe_nodes(store, prompts, chosen)
    return tuple(
        Fork(
            node=described[fork][0],
            trunk_tokens=int(trunk[i]),
            head_tokens=heads.get(fork),
            fan_out=int(fan_out[i]),
            calls=int(calls_below[fork]),
            shared_tokens=int(shared[i]),
            ends_with=described[fork][1],
            branches=_branches(store, prompts, fork, calls_below),
        )
        for i, fork in zip(order.tolist(), chosen.tolist(), strict=True)
    )


def _describe_nodes(store: Store, prompts: Prompts, nodes: Ints) -> dict[int, tuple[str, str]]:
    rows = store.rows(
        "SELECT i, node::VARCHAR, kind FROM scope_nodes WHERE i IN (SELECT unnest(?))",
        [nodes.tolist()],
    )
    found = {i: (node.replace("-", ""), kind) for i, node, kind in rows}
    return {0: ("0" * 32, "")} | found


def _branches(
    store: Store, prompts: Prompts, fork: int, calls_below: Ints
) -> tuple[Branch, ...]:
    """The continuations of a fork with most calls, each with the first call that took it."""
    parent, seen = prompts.tree.parent, prompts.seen
    children = np.flatnonzero((parent == fork) & (seen != NEVER))
    children = children[children != 0]
    order = np.lexsort((seen[children], -calls_below[children]))[:BRANCHES_SHOWN]
    children = children[order]
    rows = store.rows(
        """
        SELECT i, kind, role, path, line
        FROM (SELECT unnest(?) AS i, unnest(?) AS call_no)
        JOIN scope_nodes USING (i) JOIN scope_calls USING (call_no)
        """,
        [children.tolist(), seen[children].tolist()],
    )
    by_node = {i: (kind, role, path, line) for i, kind, role, path, line in rows}
    return tuple(
        Branch(kind=kind, role=role, calls=int(calls_below[child]), path=path, line=line)
        for child in children.tolist()
        for kind, role, path, line in [by_node[child]]
    )

"""Fork points: where prompts that began alike go different ways."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from forkpoint.analysis.prompts import Prompts
from forkpoint.analysis.results import Branch, Fork
from forkpoint.analysis.store import Store
from forkpoint.analysis.tree import NEVER, Flags, Ints

BRANCHES_SHOWN = 8


@dataclass(frozen=True)
class Forks:
    """Fork points of a scope.

    Attributes:
        node: shape (k,): nodes after which prompts differ.
        fan_out: shape (k,): continuations of each.
        count: fork points in all; more than k where prompts cut into runs fork twice in one run.
    """

    node: Ints
    fan_out: Ints
    count: int


def find_forks(prompts: Prompts) -> Forks:
    """Where prompts differ after having logged content in common.

    A node forks when two or more of its children lie on prompts of the scope. Nodes above all logged
    content (the empty prompt, a stand-in for an unlogged system prompt) are no evidence of anything
    shared and do not count, except where the children's own texts begin alike. Runs of token ids and
    pieces of rendered text end where ingest cut them: there a fork is a position inside the run
    where two different tokens follow, and a prompt that merely ends is none.
    """
    tree = prompts.tree
    present: Flags = prompts.seen != NEVER
    fan_out = tree.fan_out(present)
    shares: Flags = (prompts.byte_depth > 0) | (prompts.token_depth > 0)
    per_node = ((fan_out >= 2) & shares).astype(np.int64)
    for nodes, shared in prompts.siblings.runs(present):
        parent = int(tree.parent[nodes[0]])
        if prompts.is_cut[nodes].all() and len(nodes) == fan_out[parent]:
            splits = branchings(shared, prompts.tokens[nodes])
            counts = [branches for depth, branches in splits if depth > 0 or shares[parent]]
            per_node[parent] = len(counts)
            fan_out[parent] = 1 + sum(branches - 1 for branches in counts)
        elif shared[1:].max() > 0:
            per_node[parent] = 1
    found = np.flatnonzero(per_node)
    return Forks(found, fan_out[found], int(per_node.sum()))


def branchings(shared: Ints, lengths: Ints) -> list[tuple[int, int]]:
    """Positions inside sorted sequences where two or more different tokens follow.

    Args:
        shared: shape (k,): prefix length each sequence shares with the one before it (first: any).
        lengths: shape (k,): length of each sequence; sequences are distinct.

    Returns:
        (position, number of different next tokens) per position, in no particular order.

    >>> branchings(np.array([0, 2, 2, 0]), np.array([2, 3, 3, 1]))  # ab, abx, aby, c
    [(2, 2), (0, 2)]
    """
    found: list[tuple[int, int]] = []
    open_: list[list[int]] = []  # [position, next tokens seen so far], positions rising

    def close_to(position: int) -> int:
        """Close positions deeper than `position`."""
        while open_ and open_[-1][0] > position:
            depth, branches = open_.pop()
            if branches >= 2:
                found.append((depth, branches))
        return open_[-1][0] if open_ else -1

    for i, (common, length) in enumerate(zip(shared.tolist(), lengths.tolist(), strict=True)):
        if i:
            if close_to(common) < common:
                # The sequence before runs through this position, or ends there.
                open_.append([common, int(lengths[i - 1] > common)])
            open_[-1][1] += int(length > common)
    close_to(-1)
    return found


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
    fits = prompts.fits
    ratio = float(np.median([fit.tokens_per_byte for fit in fits.values()])) if fits else 0.0
    base = prompts.tree.nearest(prompts.anchor >= 0)[nodes]
    since = prompts.byte_depth[nodes] - prompts.byte_depth[base]
    estimated = np.where(base != 0, prompts.anchor[base], 0) + np.rint(since * ratio)
    counted = prompts.is_counted[nodes]
    return np.where(counted, prompts.token_depth[nodes], estimated).astype(np.int64)


def top_forks(
    store: Store, prompts: Prompts, found: Forks, *, top: int, min_calls: int = 2
) -> tuple[Fork, ...]:
    """The forks whose trunks are worth most, by tokens shared: trunk * (branches - 1)."""
    forks, fan_out = found.node, found.fan_out
    if not len(forks):
        return ()
    tree = prompts.tree
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


def _branches(store: Store, prompts: Prompts, fork: int, calls_below: Ints) -> tuple[Branch, ...]:
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
        JOIN scope_sources USING (source_id)
        """,
        [children.tolist(), seen[children].tolist()],
    )
    by_node = {i: (kind, role, path, line) for i, kind, role, path, line in rows}
    return tuple(
        Branch(kind=kind, role=role, calls=int(calls_below[child]), path=path, line=line)
        for child in children.tolist()
        for kind, role, path, line in [by_node[child]]
    )

"""Prompts as chained KV blocks, kept as runs.

A block is named by all tokens up to its end, as in the engines: two prompts have a block in common
if and only if they agree up to its end. So the blocks of all prompts are a tree. A *run* is a stretch
of that tree that the same calls pass; caches treat it alike, and there are far fewer runs than
blocks.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from forkpoint.analysis.prompts import Prompts, fit_bytes
from forkpoint.analysis.tree import NEVER, Flags, Ints, PrefixTree, first_seen


@dataclass
class TokenTree:
    """Prompts in one unit, tokens, with forks where the tokens differ. Node 0 is the empty prompt.

    Attributes:
        end: per node, tokens from the root to its end; never less than its parent's.
        prompt: per call, the node where its prompt ends.
        size: per call, input tokens; at least ``end[prompt]``. What is beyond is known to have been
            sent, but not what it was, so no other prompt shares it.
    """

    parent: Ints
    end: Ints
    prompt: Ints
    size: Ints


@dataclass
class Blocks:
    """Calls, and the runs of blocks that their prompts pass. Run 0 is empty: the root.

    Attributes:
        block_size: tokens in a block.
        parent: per run, the run before it.
        length: per run, blocks in it; at least 1, but for the root.
        start: per run, blocks before it on its path.
        tokens: per run; ``length * block_size`` unless its last block is part full.
        leaf: per call, the last run of its prompt; 0 if it has no block.
        size: per call, input tokens.
        total: per call, blocks of its prompt, a part-full last one included.
        unique: distinct blocks of all prompts, part-full ones included.
    """

    block_size: int
    parent: Ints
    length: Ints
    start: Ints
    tokens: Ints
    leaf: Ints
    size: Ints
    total: Ints
    unique: int


@dataclass
class Passes:
    """Each call's way over its runs, as flat columns in the order in which a cache sees them used.

    Within a call the tail is used first and the head last, as engines free a request's blocks tail
    first: what is freed last stays longest.

    Attributes:
        call: who passes.
        run: what is passed.
        before: the pass over the same run before this one; -1 for the first.
        first: per call, its first pass; one more entry than calls.
    """

    call: Ints
    run: Ints
    before: Ints
    first: Ints


def token_tree(prompts: Prompts, calls: Ints, lower_bound: Flags) -> TokenTree:
    """The prompts of some calls, in tokens.

    Where a whole path is counted, its positions are exact; where parts of prompts are not logged,
    each node is placed by what the first call that passed it was billed, as in
    `forkpoint.analysis.prompts`.

    Args:
        calls: call numbers, rising; their sizes are known.
        lower_bound: per call of the scope, whether its billed tokens may end after its nodes do
            (writers of hashed blocks that leave out the last, part-full one).
    """
    exact = prompts.counted
    seen = first_seen(prompts.tree, prompts.prompt[calls], calls)
    end = prompts.token_depth
    estimated = ~exact[calls]
    if estimated.any():
        end = _estimated_ends(prompts, calls)
    parent, end = _split_heads(prompts, end, seen)
    prompt = prompts.prompt[calls]
    billed = np.where(lower_bound[calls] | estimated, prompts.size[calls], 0)
    return TokenTree(parent, end, prompt, np.maximum(billed, end[prompt]))


def _estimated_ends(prompts: Prompts, calls: Ints) -> Ints:
    """Token depth of each node: counted, else by the bills of the calls that pass it."""
    tree, depth = prompts.tree, prompts.byte_depth
    exact = prompts.counted[calls]
    with_counts = first_seen(tree, prompts.prompt[calls[exact]], calls[exact]) != NEVER
    seen = first_seen(tree, prompts.prompt[calls[~exact]], calls[~exact])
    nodes = np.flatnonzero((seen != NEVER) & ~(with_counts & prompts.is_counted))
    nodes = nodes[nodes != 0]
    anchor = np.full(len(tree), -1, dtype=np.int64)
    backwards = calls[~exact][::-1]  # the earliest call's figure stands last
    anchor[prompts.prompt[backwards]] = prompts.size[backwards]
    first = seen[nodes]
    last, size = prompts.prompt[first], prompts.size[first]
    base = tree.nearest(anchor >= 0)[tree.parent[nodes]]
    base_size = np.where(base != 0, anchor[base], 0)
    part = (depth[nodes] - depth[base]) / np.maximum(depth[last] - depth[base], 1)
    between = base_size + part * (size - base_size)
    fits = fit_bytes(prompts)
    known = [fit.tokens_per_byte for fit in fits.values()]
    usual = float(np.median(known)) if known else 0.0
    ratio = np.array(
        [fits[m].tokens_per_byte if m in fits else usual for m in prompts.model[first].tolist()]
    )
    # Before the first anchor: back from the call's own size; what is not logged came before it all.
    from_end = np.maximum(size - ratio * (depth[last] - depth[nodes]), 0)
    placed = np.floor(np.where(base != 0, between, from_end)).astype(np.int64)
    placed = np.where(anchor[nodes] >= 0, anchor[nodes], placed)
    end = np.where(with_counts & prompts.is_counted, prompts.token_depth, 0)
    end[nodes] = placed
    return _highest_above(tree, end)


def _highest_above(tree: PrefixTree, values: Ints) -> Ints:
    """Maximum of `values` over each node's path: bills may shrink where prompts grow."""
    highest, jump = values.copy(), tree.parent
    while jump.any():
        highest = np.maximum(highest, highest[jump])
        jump = jump[jump]
    return highest


def _split_heads(prompts: Prompts, end: Ints, seen: Ints) -> tuple[Ints, Ints]:
    """Put a node where siblings that begin alike part, so that only nodes are shared.

    Siblings come sorted, with the prefix that each shares with the one before it; the nodes between
    them are the internal nodes of the tree of those prefixes.
    """
    tree = prompts.tree
    parent = tree.parent.copy()
    new_parents: list[int] = []
    new_ends: list[int] = []

    def add(above: int, at: int) -> int:
        new_parents.append(above)
        new_ends.append(at)
        return len(parent) + len(new_parents) - 1

    for nodes, shared in prompts.siblings.runs(seen != NEVER):
        fork = int(tree.parent[nodes[0]])
        whole = end[nodes] - end[fork]
        # Siblings placed by bills have no counted heads.
        if not (whole == prompts.tokens[nodes]).all():
            continue
        # Open internal nodes, from the fork down: [tokens below the fork, node or -1 for the fork,
        # members]. A member is a sibling or a closed internal node.
        _add_heads(nodes.tolist(), shared.tolist(), fork, int(end[fork]), parent, add, new_parents)
    if not new_parents:
        return parent, end
    parents = np.concatenate((parent, np.array(new_parents, dtype=np.int64)))
    ends = np.concatenate((end, np.array(new_ends, dtype=np.int64)))
    return parents, ends

"""Prompts as chained KV blocks, kept as runs.

A block is named by all tokens up to its end, as in the engines: two prompts have a block in common
if and only if they agree up to its end. So the blocks of all prompts are a tree. A *run* is a stretch
of that tree that the same calls pass; caches treat it alike, and there are far fewer runs than
blocks.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from forkpoint.analysis.prompts import Prompts
from forkpoint.analysis.tree import NEVER, Flags, Ints, PrefixTree, first_seen


@dataclass
class TokenTree:
    """Prompts in one unit, tokens, with forks where the tokens differ. Node 0 is the empty prompt.

    Attributes:
        end: per node, tokens from the root to its end; never less than its parent's.
        prompt: per call, the node where its prompt ends.
        size: per call, input tokens; at least ``end[prompt]`` (a prompt that was billed less than
            an earlier one that it repeats counts as that one). What is beyond the end is known to
            have been sent, but not what it was, so no other prompt shares it.
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


def token_tree(prompts: Prompts, calls: Ints, goes_on: Flags) -> TokenTree:
    """The prompts of some calls, in tokens.

    Where a whole path is counted, its positions are exact; where parts of prompts are not logged,
    each node is placed by what the first call that passed it was billed, as in
    `forkpoint.analysis.prompts`.

    Args:
        calls: call numbers, rising; their sizes are known.
        goes_on: per call of the scope, whether its billed tokens may end after its nodes do
            (writers of hashed blocks that leave out the last, part-full one).
    """
    exact = prompts.counted
    seen = first_seen(prompts.tree, prompts.prompt[calls], calls)
    end = prompts.token_depth
    estimated = ~exact[calls]
    if estimated.any():
        end = _estimated_ends(prompts, calls)
    parent, end = split_heads(prompts, end, seen)
    prompt = prompts.prompt[calls]
    billed = np.where(goes_on[calls] | estimated, prompts.size[calls], 0)
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
    fits = prompts.fits
    known = [fit.tokens_per_byte for fit in fits.values()]
    usual = float(np.median(known)) if known else 0.0
    ratio = np.array(
        [fits[m].tokens_per_byte if m in fits else usual for m in prompts.model[first].tolist()]
    )
    # Before the first anchor: back from the call's own size; what is not logged came before it all.
    from_end = np.maximum(size - ratio * (depth[last] - depth[nodes]), 0)
    # To have only unlogged parts in common is to have nothing in common that the log shows.
    from_end = np.where(depth[nodes] > 0, from_end, 0)
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


class _Heads:
    """Nodes put in where siblings that begin alike part."""

    def __init__(self, n_nodes: int) -> None:
        self.next = n_nodes
        self.above: dict[int, int] = {}
        """The new parent of each node that has one; new nodes are numbered from `n_nodes` on."""
        self.ends: list[int] = []

    def add(self, fork: int, fork_end: int, siblings: list[int], shared: list[int]) -> None:
        """Build the tree of the siblings' common prefixes.

        Args:
            siblings: in content order.
            shared: tokens each has in common with the one before it; the first entry counts not.
        """
        open_ = [(0, fork)]  # (tokens below the fork, node), from the fork down to the last sibling
        self.above[siblings[0]] = fork
        last = siblings[0]
        for sibling, common in zip(siblings[1:], shared[1:], strict=True):
            while open_[-1][0] > common:
                last = open_.pop()[1]
            if open_[-1][0] < common:
                self.above[self.next] = open_[-1][1]
                self.above[last] = self.next
                self.ends.append(fork_end + common)
                open_.append((common, self.next))
                self.next += 1
            self.above[sibling] = open_[-1][1]
            last = sibling


def split_heads(prompts: Prompts, end: Ints, seen: Ints) -> tuple[Ints, Ints]:
    """Put a node wherever siblings that begin alike part, so that what is shared is whole nodes."""
    tree = prompts.tree
    heads = _Heads(len(tree))
    for nodes, shared in prompts.siblings.runs(seen != NEVER):
        fork = int(tree.parent[nodes[0]])
        # Heads are known in counted tokens: not where bills place the siblings.
        if (end[nodes] - end[fork] == prompts.tokens[nodes]).all():
            heads.add(fork, int(end[fork]), nodes.tolist(), shared.tolist())
    parent = np.concatenate((tree.parent, np.zeros(len(heads.ends), dtype=np.int64)))
    if heads.above:
        parent[list(heads.above)] = list(heads.above.values())
    return parent, np.concatenate((end, np.array(heads.ends, dtype=np.int64)))


def cut_into_blocks(tokens: TokenTree, block_size: int, *, whole_only: bool = False) -> Blocks:
    """Cut all prompts into blocks of `block_size` tokens, chained from the beginning.

    Args:
        whole_only: part-full last blocks are counted but not kept, so that none can be hit.
    """
    nodes, prompt = tokens.parent, tokens.prompt
    filled = tokens.end // block_size
    n_blocks = filled - filled[nodes]
    n_tokens = n_blocks * block_size
    rest = tokens.end % block_size
    part_full = np.unique(prompt[rest[prompt] > 0])
    total = filled[prompt] + (rest[prompt] > 0)
    if not whole_only:
        # A part-full block hangs below the node where its prompt ends: its own only.
        at = np.arange(len(nodes), dtype=np.int64)
        at[part_full] = len(nodes) + np.arange(len(part_full))
        nodes = np.concatenate((nodes, part_full))
        n_blocks = np.concatenate((n_blocks, np.ones(len(part_full), dtype=np.int64)))
        n_tokens = np.concatenate((n_tokens, rest[part_full]))
        prompt = at[prompt]
    parent, kept, leaf = _without_empty(nodes, n_blocks, prompt)
    n_blocks, n_tokens = n_blocks[kept], n_tokens[kept]
    run, top = _runs(PrefixTree(parent), leaf)
    above = run[parent[top]]
    length = np.bincount(run, weights=n_blocks, minlength=len(top)).astype(np.int64)
    depth = PrefixTree(above).depth(length)
    return Blocks(
        block_size=block_size,
        parent=above,
        length=length,
        start=depth - length,
        tokens=np.bincount(run, weights=n_tokens, minlength=len(top)).astype(np.int64),
        leaf=run[leaf],
        size=tokens.size,
        total=total,
        unique=int(length.sum()) + (len(part_full) if whole_only else 0),
    )


def _without_empty(parent: Ints, n_blocks: Ints, prompt: Ints) -> tuple[Ints, Ints, Ints]:
    """Leave out nodes that no prompt passes or in which no block ends.

    Returns:
        (parent, kept, prompt): the smaller tree, the nodes it keeps, and where prompts end in it.
    """
    tree = PrefixTree(parent)
    passed = first_seen(tree, prompt, np.zeros(len(prompt), dtype=np.int64)) != NEVER
    keep = passed & (n_blocks > 0)
    keep[0] = True
    number = np.cumsum(keep) - 1
    nearest = number[tree.nearest(keep)]
    kept = np.flatnonzero(keep)
    return nearest[parent[kept]], kept, nearest[prompt]


def _runs(tree: PrefixTree, leaf: Ints) -> tuple[Ints, Ints]:
    """Join each node with its only continuation.

    Returns:
        (run, top): each node's run, and each run's first node; run 0 is the root alone.
    """
    calls = tree.subtree_sum(np.bincount(leaf, minlength=len(tree)).astype(np.int64))
    # A node passed by as many calls as its parent is passed by the same ones.
    first = tree.top_of_run(calls)
    first[0] = 0
    top, run = np.unique(first, return_inverse=True)
    return run.astype(np.int64), top


def passes_of(blocks: Blocks) -> Passes:
    """Each call's way over its runs."""
    level = PrefixTree(blocks.parent).level
    first = np.concatenate((np.zeros(1, dtype=np.int64), np.cumsum(level[blocks.leaf])))
    run = np.empty(first[-1], dtype=np.int64)
    active = np.flatnonzero(blocks.leaf)
    here, step = blocks.leaf[active], 0
    while len(active):
        run[first[active] + step] = here
        here = blocks.parent[here]
        active, here, step = active[here != 0], here[here != 0], step + 1
    order = np.argsort(run, kind="stable")
    again = run[order[1:]] == run[order[:-1]]
    before = np.full(len(run), -1, dtype=np.int64)
    before[order[1:][again]] = order[:-1][again]
    call = np.repeat(np.arange(len(blocks.leaf), dtype=np.int64), np.diff(first))
    return Passes(call, run, before, first)

"""The prefix tree as a picture: through which prefixes the input of all calls went, and what of it
was read from a cache. Cut to its largest parts.

Every input token of every call is counted once, at the segment it belongs to, and is of one of four
classes: read from cache; paid again, though it had been sent before; sent before, where the log says
nothing of cache reads; new. So the tokens of all nodes add up to the input of all calls, and a
node's width is what went through it and everything below it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from forkpoint.analysis.blocks import token_tree
from forkpoint.analysis.cache import Missed
from forkpoint.analysis.excerpts import excerpt
from forkpoint.analysis.policy import climb
from forkpoint.analysis.prompts import Prompts
from forkpoint.analysis.store import Store
from forkpoint.analysis.tree import Flags, Floats, Ints, PrefixTree, first_seen

SHOWN_NODES = 3000
"""Nodes that are described one by one, at most."""
PIECES = 10
"""A stretch that no fork interrupts is shown in about so many pieces of equal width."""
KINDS_NAMED = 3
EXCERPTED_CHARACTERS = 1000
"""So much of a kept text is looked at for an excerpt."""

_WHOLE_BELOW = 1e-3
"""Stretches that are a smaller part of all input than this are shown in one piece."""
_PREAMBLE = ("tools", "system", "unlogged")
_NANO = 1e9


@dataclass(frozen=True, slots=True)
class Amounts:
    """Input of all calls that pass a node, by what became of it. The node's own, without what is
    below it."""

    read: float
    """Read from a cache, as the providers report it."""
    missed: float
    """Sent before, and paid for again."""
    unreported: float
    """Sent before, by calls whose logs say nothing of cache reads."""
    new: float
    """Never sent before."""

    @property
    def total(self) -> float:
        """All of it."""
        return self.read + self.missed + self.unreported + self.new


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a node stands in the logs: the first call that passed it."""

    path: str
    line: int
    call_id: str
    model: str | None
    project: str | None
    trace: str


@dataclass(frozen=True, slots=True)
class TreeNode:
    """A stretch of the prefix tree: one segment, or several that follow one another unforked."""

    parent: int
    """Its place in `ReportTree.nodes`; -1 for the root."""
    kinds: tuple[str, ...]
    """Kinds of its segments, those with most tokens first; empty for the root, for nodes taken
    together and for prompts that are not logged."""
    roles: tuple[str, ...]
    segments: int
    """How many it ends; 0: it is a beginning that several segments have in common."""
    length_tokens: int
    """From its beginning to its end, in the tokens of the first call that passed it."""
    calls: int
    """Calls whose prompts pass it."""
    fan_out: int
    """Ways in which it is continued."""
    tokens: Amounts
    """Whole numbers."""
    usd: Amounts
    """Of priced calls."""
    standing: Standing | None
    """``None``: of the root and of nodes taken together."""
    excerpt: str | None
    """How its first segment begins, where text was kept; else ``None``."""
    left_out: int
    """How many smaller nodes are taken together in this one; 0: it is a node itself."""
    is_unlogged: bool
    """It stands for calls whose logs hold their usage alone."""


@dataclass(frozen=True, slots=True)
class ReportTree:
    """The largest nodes of the prefix tree of all prompts in scope."""

    nodes: tuple[TreeNode, ...]
    """Depth first, siblings by width; the root is the first."""
    calls: int
    unpriced_calls: int
    """Of those: they have no width in dollars."""
    unsized_calls: int
    """Calls of unknown size: not in the tree."""
    left_out_nodes: int
    left_out_tokens: int


def measure_tree(
    store: Store, prompts: Prompts, missed: Missed, *, at_most: int = SHOWN_NODES
) -> ReportTree | None:
    """The tree of the calls in scope; ``None`` where no call is of known size.

    Args:
        at_most: nodes that are described; the smaller ones are taken together, below each node.
    """
    sized = np.flatnonzero(prompts.size >= 0)
    if not len(sized):
        return None
    rates = _rates(store)
    placed = _Placed(prompts, sized)
    shares = placed.shares(missed, rates)
    runs = _Runs(prompts, placed, shares)
    kept = _keep(runs, at_most)
    return ReportTree(
        nodes=_describe(store, prompts, runs, kept),
        calls=len(sized),
        unpriced_calls=int(np.isnan(rates[1][sized]).sum()),
        unsized_calls=len(prompts.size) - len(sized),
        left_out_nodes=int((~kept).sum()),
        left_out_tokens=int(runs.tokens[:, ~kept].sum()),
    )


def _rates(store: Store) -> tuple[Floats, Floats]:
    """Per call, USD per token read from cache and per other input token; NaN where not priced."""
    fetched = store.execute(
        """
        SELECT coalesce(cache_read_rate_usd, paid_rate_usd, 'nan'::DOUBLE) / 1e6 AS read,
               coalesce(paid_rate_usd, 'nan'::DOUBLE) / 1e6 AS paid
        FROM scope_costs ORDER BY call_no
        """
    ).fetchnumpy()
    return (
        np.asarray(fetched["read"], dtype=np.float64),
        np.asarray(fetched["paid"], dtype=np.float64),
    )


class _Placed:
    """Calls on the tree, each with its own tokens per token of the tree.

    A node has one length, that of the first call which passed it; a call that was billed otherwise
    counts in proportion, so that its tokens add up to its bill.

    Args:
        calls: calls of known size, rising.
    """

    def __init__(self, prompts: Prompts, calls: Ints) -> None:
        logged = calls[~prompts.bare[calls]]
        tokens = token_tree(prompts, logged, np.zeros(len(prompts.size), dtype=np.bool_))
        self.tree = PrefixTree(tokens.parent)
        self.end = _with_unlogged(prompts, self.tree, tokens.end)
        whole = self.end[tokens.prompt]
        has_content = whole > 0
        self.calls = logged[has_content]
        self.prompt = tokens.prompt[has_content]
        self.scale: Floats = prompts.size[self.calls] / whole[has_content]
        self.length = self.end - self.end[self.tree.parent]
        self.bare = np.setdiff1d(calls, self.calls)
        """Calls that nothing is logged of but their size."""
        self.size = prompts.size
        self.passing = self._below(self.prompt, np.ones(len(self.calls))).astype(np.int64)
        self.first = first_seen(self.tree, self.prompt, self.calls)

    def shares(self, missed: Missed, rates: tuple[Floats, Floats]) -> _Shares:
        """What became of the tokens at each node, and of those of the bare calls."""
        read_rate, paid_rate = (np.nan_to_num(each) for each in rates)
        unreported = np.where(missed.reported, 0, missed.ideal)
        limits = (
            (missed.read, 0, +1, read_rate),
            (missed.read, 1, -1, paid_rate),
            (np.where(missed.reported, missed.ideal, 0), 1, +1, paid_rate),
            (unreported, 2, +1, paid_rate),
            (missed.ideal, 3, -1, paid_rate),
            (self.size, 3, +1, paid_rate),
        )
        n = len(self.tree)
        found = _Shares(np.zeros((4, n)), np.zeros((4, n)), np.zeros(4), np.zeros(4))
        for upto, row, sign, rate in limits:
            tokens, usd = self._spread(upto[self.calls], rate[self.calls])
            found.tokens[row] += sign * tokens
            found.usd[row] += sign * usd
            found.bare_tokens[row] += sign * upto[self.bare].sum()
            found.bare_usd[row] += sign * (upto[self.bare] * rate[self.bare]).sum()
        for each in (found.tokens, found.usd):
            # What is left of differences of equal sums.
            np.maximum(each, 0, out=each)
        return found

    def _spread(self, upto: Ints, rate: Floats) -> tuple[Floats, Floats]:
        """Per node, how many of the first `upto` tokens of the calls lie in it, and their cost."""
        limit = upto / np.maximum(self.scale, 1e-300)

        def within(at: Ints, which: Ints) -> Flags:
            flags: Flags = self.end[at] <= limit[which] * (1 + 1e-12)
            return flags

        last = climb(self.tree.strides, self.tree.parent, self.prompt, within)
        inside = np.flatnonzero(last != self.prompt)
        begun = self.tree.ancestor_at(self.prompt[inside], self.tree.level[last[inside]] + 1)
        part = np.clip(limit[inside] - self.end[last[inside]], 0, self.length[begun])
        found = []
        for weight in (self.scale, self.scale * rate):
            there: Floats = self._below(last, weight) * self.length
            np.add.at(there, begun, part * weight[inside])
            found.append(there)
        return found[0], found[1]

    def _below(self, nodes: Ints, weight: Floats) -> Floats:
        """Per node, the sum of `weight` over those of `nodes` that are it or below it."""
        first, last = self.tree.interval
        at = np.bincount(first[nodes], weights=weight, minlength=len(self.tree))
        before = np.concatenate((np.zeros(1), np.cumsum(at)))
        found: Floats = before[last + 1] - before[first]
        return found


@dataclass
class _Shares:
    """Tokens and USD by class (read, missed, unreported, new), shape (4, nodes), and those of calls
    without content, shape (4,)."""

    tokens: Floats
    usd: Floats
    bare_tokens: Floats
    bare_usd: Floats


def _with_unlogged(prompts: Prompts, tree: PrefixTree, end: Ints) -> Ints:
    """Give stand-ins for what is not logged the tokens that are billed above the first content.

    Their continuations may have been billed differently, so the least of them counts; what is more
    stays with the content.
    """
    n = len(prompts.tree)
    stand_ins = np.flatnonzero(prompts.is_unlogged & (end[:n] == 0))
    if not len(stand_ins):
        return end
    fits = prompts.fits
    usual = float(np.median([fit.tokens_per_byte for fit in fits.values()])) if fits else 0.0
    child = np.flatnonzero((tree.parent[:n] != 0) & np.isin(tree.parent[:n], stand_ins))
    child = child[end[child] > 0]
    before = end[child] - np.rint(prompts.n_bytes[child] * usual).astype(np.int64)
    least = np.full(len(end), np.iinfo(np.int64).max, dtype=np.int64)
    np.minimum.at(least, tree.parent[child], np.maximum(before, 0))
    placed = end.copy()
    known = stand_ins[least[stand_ins] < np.iinfo(np.int64).max]
    placed[known] = least[known]
    return placed


class _Runs:
    """The tree with stretches that no fork interrupts taken together. Run 0 is the root; the last
    one stands for bare calls, if there are any.

    Attributes:
        parent: per run, the run above it.
        top: per run, its first node; 0 for the root and for bare calls.
        run: per node, the run it is in.
        tokens, nano_usd: shape (4, runs), whole numbers.
        bare: the run of bare calls, or -1.
    """

    def __init__(self, prompts: Prompts, placed: _Placed, shares: _Shares) -> None:
        tree = placed.tree
        present: Flags = placed.passing > 0
        present[0] = True
        self.placed = placed
        self.segment = _segment_of(tree, len(prompts.tree))
        marked = self._tops(prompts, tree, present, shares)
        run_top = tree.nearest(marked)
        self.top, run = np.unique(run_top[present], return_inverse=True)
        self.run = np.zeros(len(tree), dtype=np.int64)
        self.run[present] = run
        self.parent = self.run[tree.parent[self.top]]
        self.tokens = self._summed(shares.tokens, present)
        self.nano_usd = self._summed(shares.usd * _NANO, present)
        self.present = present
        self.bare = -1
        if len(placed.bare):
            self.bare = len(self.top)
            self.top = np.append(self.top, 0)
            self.parent = np.append(self.parent, 0)
            self.tokens = np.column_stack((self.tokens, _whole(shares.bare_tokens)))
            self.nano_usd = np.column_stack((self.nano_usd, _whole(shares.bare_usd * _NANO)))

    def __len__(self) -> int:
        return len(self.top)

    def _tops(self, prompts: Prompts, tree: PrefixTree, present: Flags, shares: _Shares) -> Flags:
        """Nodes that begin a run: below a fork, where the preamble ends, where a piece is full."""
        preamble = (prompts.is_tools | prompts.is_system | prompts.is_unlogged)[self.segment]
        parent = tree.parent
        begins: Flags = (tree.fan_out(present)[parent] > 1) | (parent == 0)
        begins |= preamble & (self.segment != self.segment[parent])
        begins |= preamble != preamble[parent]
        own = _whole(shares.tokens.sum(axis=0))
        stretch = tree.nearest(begins)
        total = np.bincount(stretch, weights=own, minlength=len(tree))[stretch]
        depth = tree.depth(own)
        before = depth - own - (depth[stretch] - own[stretch])
        piece = np.floor(PIECES * before / np.maximum(total, 1))
        piece[total < _WHOLE_BELOW * own.sum()] = 0
        begins |= (stretch == stretch[parent]) & (piece != piece[parent])
        begins[0] = True
        return begins

    def _summed(self, values: Floats, present: Flags) -> Ints:
        """Whole numbers per class and run."""
        run = self.run[present]
        return np.stack(
            [
                _whole(np.bincount(run, weights=row[present], minlength=len(self.top)))
                for row in values
            ]
        )


def _whole(values: Floats) -> Ints:
    return np.rint(values).astype(np.int64)


def _segment_of(tree: PrefixTree, n_segments: int) -> Ints:
    """Per node, a segment that it is, or that it begins: nodes from `n_segments` on are beginnings
    that siblings share."""
    child = np.arange(len(tree), dtype=np.int64)
    child[tree.parent[1:]] = np.arange(1, len(tree), dtype=np.int64)
    found = np.arange(len(tree), dtype=np.int64)
    while (inside := found >= n_segments).any():
        found = np.where(inside, child[found], found)
    return found


def _keep(runs: _Runs, at_most: int) -> Flags:
    """The largest runs, by their part of all tokens or of all dollars; with them, all above them."""
    tree = PrefixTree(runs.parent)
    score = np.zeros(len(runs))
    for own in (runs.tokens.sum(axis=0), runs.nano_usd.sum(axis=0)):
        below = tree.subtree_sum(own)
        score = np.maximum(score, below / max(int(below[0]), 1))
    order = np.lexsort((tree.level, -score))
    kept = np.zeros(len(runs), dtype=np.bool_)
    kept[order[:at_most]] = True
    return kept


def _describe(store: Store, prompts: Prompts, runs: _Runs, kept: Flags) -> tuple[TreeNode, ...]:
    """The kept runs, and below each what was left out, in depth-first order."""
    placed = runs.placed
    # Below each kept run, what is left out hangs as one more node, numbered after all runs.
    parent, tokens, nano = runs.parent, runs.tokens, runs.nano_usd
    tree = PrefixTree(parent)
    holder = np.where(kept, -1, tree.nearest(kept))
    holders, group = np.unique(holder[~kept], return_inverse=True)
    left_out = np.bincount(group, minlength=len(holders))

    def taken_together(values: Ints) -> Ints:
        return np.stack(
            [
                np.bincount(group, weights=row[~kept], minlength=len(holders)).astype(np.int64)
                for row in values
            ]
        )

    number = np.cumsum(kept) - 1
    parents = np.concatenate((number[parent[kept]], number[holders]))
    all_tokens = np.column_stack((tokens[:, kept], taken_together(tokens)))
    all_nano = np.column_stack((nano[:, kept], taken_together(nano)))
    shown = PrefixTree(parents.astype(np.int64))
    width = shown.subtree_sum(all_tokens.sum(axis=0))
    n_kept = int(kept.sum())
    is_rest = np.arange(len(parents)) >= n_kept
    rank = np.empty(len(parents), dtype=np.int64)
    rank[np.lexsort((np.arange(len(parents)), -width, is_rest))] = np.arange(len(parents))
    position = shown.depth_first(rank)

    chosen = np.flatnonzero(kept)
    about = _About(store, prompts, runs, chosen)
    fan_out = np.bincount(parent[1:], minlength=len(runs))
    length = np.bincount(
        runs.run[runs.present], weights=placed.length[runs.present], minlength=len(runs)
    ).astype(np.int64)
    nodes = []
    for i in np.argsort(position).tolist():
        whole, usd = all_tokens[:, i].tolist(), (all_nano[:, i] / _NANO).tolist()
        above = -1 if i == 0 else int(position[parents[i]])
        if i >= n_kept:
            nodes.append(_rest(above, int(left_out[i - n_kept]), Amounts(*whole), Amounts(*usd)))
            continue
        run = int(chosen[i])
        is_bare = run == runs.bare
        calls = (
            len(placed.calls) + len(placed.bare) if run == 0 else int(placed.passing[runs.top[run]])
        )
        nodes.append(
            TreeNode(
                parent=above,
                kinds=about.kinds[i],
                roles=about.roles[i],
                segments=about.segments[i],
                length_tokens=0 if is_bare else int(length[run]),
                calls=len(placed.bare) if is_bare else calls,
                fan_out=int(fan_out[run]),
                tokens=Amounts(*whole),
                usd=Amounts(*usd),
                standing=about.standing[i],
                excerpt=about.excerpts.get(i),
                left_out=0,
                is_unlogged=is_bare,
            )
        )
    return tuple(nodes)


def _rest(parent: int, left_out: int, tokens: Amounts, usd: Amounts) -> TreeNode:
    return TreeNode(
        parent=parent, kinds=(), roles=(), segments=0, length_tokens=0, calls=0, fan_out=0,
        tokens=tokens, usd=usd, standing=None, excerpt=None, left_out=left_out, is_unlogged=False,
    )  # fmt: skip


class _About:
    """What is to be said of some runs, beside numbers: aligned with `chosen`."""

    def __init__(self, store: Store, prompts: Prompts, runs: _Runs, chosen: Ints) -> None:
        n = len(prompts.tree)
        place = np.full(len(runs), -1, dtype=np.int64)
        place[chosen] = np.arange(len(chosen))
        of = np.where(runs.present, place[runs.run], -1)
        of[0] = -1
        nodes = np.flatnonzero(of >= 0)
        length = runs.placed.length[nodes]
        kinds, roles = _kinds_and_roles(store, n)
        segment = runs.segment[nodes]
        self.kinds = _ranked(of[nodes], kinds[0][segment], length, kinds[1], len(chosen))
        self.roles = _ranked(of[nodes], roles[0][segment], length, roles[1], len(chosen))
        whole = nodes[nodes < n]
        self.segments: list[int] = np.bincount(of[whole], minlength=len(chosen)).tolist()
        top = runs.top[chosen]
        calls = np.where(top > 0, runs.placed.first[top], -1)
        calls[chosen == runs.bare] = runs.placed.bare[0] if runs.bare >= 0 else -1
        self.standing = _standings(store, calls.tolist())
        self.excerpts = _excerpts(store, runs.segment[top].tolist())


def _kinds_and_roles(store: Store, n: int) -> tuple[tuple[Ints, list[str]], tuple[Ints, list[str]]]:
    """For the kinds and for the roles of segment nodes: a number per node, and their names."""
    fetched = store.execute(
        """
        SELECT dense_rank() OVER (ORDER BY kind) AS kind, dense_rank() OVER (ORDER BY role) AS role
        FROM scope_nodes ORDER BY i
        """
    ).fetchnumpy()
    found = []
    for column in ("kind", "role"):
        codes = np.zeros(n, dtype=np.int64)
        codes[1:] = np.asarray(fetched[column], dtype=np.int64)
        names = [
            name
            for (name,) in store.rows(
                f"SELECT DISTINCT {column} AS name FROM scope_nodes ORDER BY name"
            )
        ]
        found.append((codes, ["", *names]))
    return found[0], found[1]


def _ranked(
    place: Ints, code: Ints, weight: Ints, names: list[str], n: int
) -> list[tuple[str, ...]]:
    """Per place, the names that weigh most there."""
    pairs, which = np.unique(place * len(names) + code, return_inverse=True)
    weights = np.bincount(which, weights=weight, minlength=len(pairs))
    found: list[list[str]] = [[] for _ in range(n)]
    for i in np.lexsort((pairs, -weights)).tolist():
        at, name = divmod(int(pairs[i]), len(names))
        if len(found[at]) < KINDS_NAMED and names[name]:
            found[at].append(names[name])
    return [tuple(each) for each in found]


def _standings(store: Store, calls: Sequence[int]) -> list[Standing | None]:
    rows = store.rows(
        """
        SELECT call_no, path, line, call_id::VARCHAR, model, project, trace_id
        FROM scope_calls JOIN scope_sources USING (source_id)
        WHERE call_no IN (SELECT unnest(?))
        """,
        [sorted(set(calls))],
    )
    by_call: dict[int, Standing] = {
        call: Standing(path, line, call_id.replace("-", ""), model, project, trace)
        for call, path, line, call_id, model, project, trace in rows
    }
    return [by_call.get(call) for call in calls]


def _excerpts(store: Store, segments: Sequence[int]) -> dict[int, str]:
    """By place in `segments`, how those begin whose text is kept."""
    rows = cast(
        list[tuple[int, Any]],
        store.rows(
            "SELECT i, substring(text, 1, ?) FROM scope_nodes JOIN segments USING (segment) "
            "WHERE i IN (SELECT unnest(?)) AND text IS NOT NULL",
            [EXCERPTED_CHARACTERS, sorted(set(segments) - {0})],
        ),
    )
    texts = dict(rows)
    return {i: excerpt(texts[node]) for i, node in enumerate(segments) if node in texts}

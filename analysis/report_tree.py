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
import numpy.typing as npt

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
        # A call of no size weighs nothing; what is divided by must be something.
        self.scale = np.maximum(prompts.size[self.calls], 1e-9) / whole[has_content]
        self.length = self.end - self.end[self.tree.parent]
        self.bare = np.setdiff1d(calls, self.calls)
        """Calls that nothing is logged of but their size."""
        self.size = prompts.size
        self.passing = self._below(self.prompt, np.ones(len(self.calls))).astype(np.int64)
        self.first = first_seen(self.tree, self.prompt, self.calls)

    def shares(self, missed: Missed, rates: tuple[Floats, Floats]) -> _Shares:
        """What became of the tokens at each node, and last of those of the bare calls."""
        read_rate, paid_rate = (np.nan_to_num(each) for each in rates)
        reported = np.where(missed.reported, missed.ideal, 0)
        read, read_usd, read_if_paid = self.spread(missed.read, read_rate, paid_rate)
        ideal, ideal_usd = self.spread(reported, paid_rate)
        silent, silent_usd = self.spread(missed.ideal - reported, paid_rate)
        whole, whole_usd = self.spread(self.size, paid_rate)
        tokens = np.stack((read, ideal - read, silent, whole - ideal - silent))
        usd = np.stack(
            (read_usd, ideal_usd - read_if_paid, silent_usd, whole_usd - ideal_usd - silent_usd)
        )
        # Differences of equal sums leave a little less than nothing.
        return _Shares(np.maximum(tokens, 0), np.maximum(usd, 0))

    def spread(self, upto: Ints, *rates: Floats) -> list[Floats]:
        """How many of the first `upto` tokens of all calls lie in each node, and last, how many are
        of bare calls.

        Args:
            upto: per call in scope; 0 <= upto <= size.
            rates: USD per token, each per call in scope.

        Returns:
            Tokens, then USD at each of the rates; shape (nodes + 1,) each.
        """
        limit = upto[self.calls] / self.scale

        def within(at: Ints, which: Ints) -> Flags:
            flags: Flags = self.end[at] <= limit[which] * (1 + 1e-12)
            return flags

        last = climb(self.tree.strides, self.tree.parent, self.prompt, within)
        inside = np.flatnonzero(last != self.prompt)
        begun = self.tree.ancestor_at(self.prompt[inside], self.tree.level[last[inside]] + 1)
        part = np.clip(limit[inside] - self.end[last[inside]], 0, self.length[begun])
        found = []
        for rate in (np.ones(len(upto)), *rates):
            weight = self.scale * rate[self.calls]
            there: Floats = self._below(last, weight) * self.length
            np.add.at(there, begun, part * weight[inside])
            found.append(np.append(there, (upto[self.bare] * rate[self.bare]).sum()))
        return found

    def _below(self, nodes: Ints, weight: Floats) -> Floats:
        """Per node, the sum of `weight` over those of `nodes` that are it or below it."""
        first, last = self.tree.interval
        at = np.bincount(first[nodes], weights=weight, minlength=len(self.tree))
        before: Floats = np.cumsum(np.append(0.0, at), dtype=np.float64)
        return before[last + 1] - before[first]


@dataclass
class _Shares:
    """By class (read, missed, unreported, new) and node, bare calls last; shape (4, nodes + 1)."""

    tokens: Floats
    usd: Floats


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
        run: per node, the run it is in; -1 for nodes that no prompt passes.
        segment: per node, a segment that it is, or that it begins.
        tokens, nano_usd: shape (4, runs), whole numbers.
        bare: the run of bare calls, or -1.
    """

    def __init__(self, prompts: Prompts, placed: _Placed, shares: _Shares) -> None:
        tree = placed.tree
        present: Flags = placed.passing > 0
        present[0] = True
        self.placed = placed
        self.segment = _segment_of(tree, len(prompts.tree))
        tops = tree.nearest(self._begins(prompts, tree, present, shares))
        self.top, run = np.unique(tops[present], return_inverse=True)
        self.run = np.full(len(tree), -1, dtype=np.int64)
        self.run[present] = run
        self.parent = self.run[tree.parent[self.top]]
        where = np.append(self.run, -1)
        self.bare = -1
        if len(placed.bare):
            self.bare = where[-1] = len(self.top)
            self.top, self.parent = np.append(self.top, 0), np.append(self.parent, 0)
        self.tokens = self._summed(where, shares.tokens)
        self.nano_usd = self._summed(where, shares.usd * _NANO)

    def __len__(self) -> int:
        return len(self.top)

    def _begins(self, prompts: Prompts, tree: PrefixTree, present: Flags, shares: _Shares) -> Flags:
        """Nodes that begin a run: below a fork, where the preamble ends, where a piece is full."""
        parent, preamble = tree.parent, (prompts.is_tools | prompts.is_system | prompts.is_unlogged)
        is_preamble = preamble[self.segment]
        begins: Flags = (tree.fan_out(present)[parent] > 1) | (parent == 0)
        begins |= is_preamble & (self.segment != self.segment[parent])
        begins |= is_preamble != is_preamble[parent]
        own = _whole(shares.tokens[:, :-1].sum(axis=0))
        stretch = tree.nearest(begins)
        total = np.bincount(stretch, weights=own, minlength=len(tree))[stretch]
        depth = tree.depth(own)
        before = depth - own - (depth[stretch] - own[stretch])
        piece = np.floor(PIECES * before / np.maximum(total, 1))
        piece[total < _WHOLE_BELOW * own.sum()] = 0
        begins |= (stretch == stretch[parent]) & (piece != piece[parent])
        begins[0] = True
        return begins

    def _summed(self, where: Ints, values: Floats) -> Ints:
        """Whole numbers per class and run."""
        counted = where >= 0
        return np.stack([_sums(where[counted], row[counted], len(self)) for row in values])

    @property
    def length(self) -> Ints:
        """Per run, tokens from its beginning to its end."""
        counted = self.run >= 0
        return _sums(self.run[counted], self.placed.length[counted], len(self))

    @property
    def calls(self) -> Ints:
        """Per run, calls that pass it."""
        found = self.placed.passing[self.top]
        found[0] = len(self.placed.calls) + len(self.placed.bare)
        if self.bare >= 0:
            found[self.bare] = len(self.placed.bare)
        return found

    @property
    def first(self) -> Ints:
        """Per run, the first call that passed it; of the root, -1."""
        found = self.placed.first[self.top]
        found[0] = -1
        if self.bare >= 0:
            found[self.bare] = self.placed.bare[0]
        return found


def _whole(values: npt.NDArray[Any]) -> Ints:
    whole: Ints = np.rint(values).astype(np.int64)
    return whole


def _sums(place: Ints, values: npt.NDArray[Any], n: int) -> Ints:
    """Per place, the sum of the values there."""
    return _whole(np.bincount(place, weights=values, minlength=n))


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


class _Shown:
    """The kept runs, and below each of them one more node for what is left out there.

    Attributes:
        runs: shape (k,): the kept runs; the nodes after them stand for what is left out.
        left_out: per node after those, how many runs it stands for.
        parent: per node, the one above it.
        tokens, nano_usd: shape (4, nodes).
    """

    def __init__(self, runs: _Runs, kept: Flags) -> None:
        self.runs = np.flatnonzero(kept)
        holder = PrefixTree(runs.parent).nearest(kept)[~kept]
        holders, group = np.unique(holder, return_inverse=True)
        self.left_out = np.bincount(group, minlength=len(holders)).tolist()
        number = np.cumsum(kept) - 1
        self.parent = number[np.concatenate((runs.parent[kept], holders))]
        self.tokens, self.nano_usd = (
            np.column_stack(
                (row[:, kept], [_sums(group, each, len(holders)) for each in row[:, ~kept]])
            )
            for row in (runs.tokens, runs.nano_usd)
        )

    def positions(self) -> Ints:
        """Each node's place in depth-first order: siblings by width, what is left out last."""
        tree = PrefixTree(self.parent)
        width = tree.subtree_sum(self.tokens.sum(axis=0))
        place = np.arange(len(tree))
        rank = np.empty(len(tree), dtype=np.int64)
        rank[np.lexsort((place, -width, place >= len(self.runs)))] = place
        return tree.depth_first(rank)


def _describe(store: Store, prompts: Prompts, runs: _Runs, kept: Flags) -> tuple[TreeNode, ...]:
    """The kept runs, and below each what was left out, in depth-first order."""
    shown = _Shown(runs, kept)
    position = shown.positions()
    above = position[shown.parent]
    about = _About(store, prompts, runs, shown.runs)
    calls, length = runs.calls, runs.length
    fan_out = np.bincount(runs.parent[1:], minlength=len(runs))
    nodes = []
    for i in np.argsort(position).tolist():
        parent = int(above[i]) if i else -1
        tokens = Amounts(*shown.tokens[:, i].tolist())
        usd = Amounts(*(shown.nano_usd[:, i] / _NANO).tolist())
        if i >= len(shown.runs):
            nodes.append(_rest(parent, shown.left_out[i - len(shown.runs)], tokens, usd))
            continue
        run = int(shown.runs[i])
        nodes.append(
            TreeNode(
                parent=parent,
                kinds=about.kinds[i],
                roles=about.roles[i],
                segments=about.segments[i],
                length_tokens=int(length[run]),
                calls=int(calls[run]),
                fan_out=int(fan_out[run]),
                tokens=tokens,
                usd=usd,
                standing=about.standing[i],
                excerpt=about.excerpts.get(i),
                left_out=0,
                is_unlogged=run == runs.bare,
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
        place = np.full(len(runs) + 1, -1, dtype=np.int64)
        place[chosen] = np.arange(len(chosen))
        of = place[runs.run]
        of[0] = -1
        nodes = np.flatnonzero(of >= 0)
        length = runs.placed.length[nodes]
        segment = runs.segment[nodes]
        (kind, kinds), (role, roles) = _kinds_and_roles(store, n)
        self.kinds = _ranked(of[nodes], kind[segment], length, kinds, len(chosen))
        self.roles = _ranked(of[nodes], role[segment], length, roles, len(chosen))
        whole = nodes[nodes < n]
        self.segments: list[int] = np.bincount(of[whole], minlength=len(chosen)).tolist()
        self.standing = _standings(store, runs.first[chosen].tolist())
        self.excerpts = _excerpts(store, runs.segment[runs.top[chosen]].tolist())


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
    by_call = {
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
            "WHERE i IN (SELECT unnest(?)) AND text IS NOT NULL AND NOT is_unlogged",
            [EXCERPTED_CHARACTERS, sorted(set(segments) - {0})],
        ),
    )
    texts = dict(rows)
    return {i: excerpt(texts[node]) for i, node in enumerate(segments) if node in texts}

"""The calls of a scope on the prefix tree: which part of each prompt had been sent before.

Sizes rest on the best evidence at hand. Where every segment of a prompt is counted (token ids, text,
hashed blocks), positions are exact in those tokens. Where the log lacks part of the prompt, billed
usage anchors the tree: the end of each call's prompt is known in billed tokens, and positions
between two anchors go by content bytes. So no estimate can exceed what was billed.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from forkpoint.analysis.store import Store
from forkpoint.analysis.tree import (
    NEVER,
    Flags,
    Floats,
    Ints,
    PrefixTree,
    deepest_seen_before,
    first_seen,
    head_shared_with_earlier,
)


@dataclass
class Siblings:
    """Refined forks, as flat columns: runs of equal `parent`, in content order."""

    parent: Ints
    node: Ints
    shared: Ints
    """Tokens shared with the sibling before; -1 where the text could not be read."""

    def runs(self, present: Flags) -> list[tuple[Ints, Ints]]:
        """(nodes, shared) of the present siblings of each fork, with `shared` kept true.

        Two siblings share the minimum over the ranks between them, so leaving some out takes the
        minimum over those too.
        """
        found: list[tuple[Ints, Ints]] = []
        if not len(self.parent):
            return found
        starts = np.flatnonzero(np.r_[True, self.parent[1:] != self.parent[:-1]])
        ends = np.r_[starts[1:], len(self.parent)]
        several = np.add.reduceat(present[self.node].astype(np.int64), starts) > 1
        for start, end in zip(starts[several], ends[several], strict=True):
            shared = self.shared[start:end].copy()
            shared[0] = 0
            if (shared < 0).any():
                continue
            kept = np.flatnonzero(present[self.node[start:end]])
            least = np.minimum.reduceat(shared[: kept[-1] + 1], np.r_[0, kept[:-1] + 1])
            found.append((self.node[start:end][kept], least))
        return found


@dataclass
class Prompts:
    """Calls and the tree their prompts make. Call arrays are indexed by `call_no`.

    Attributes:
        tree: the nodes under the scope's calls, root 0.
        tokens: per node, -1 where the segment is not counted.
        is_tools: per node, whether it is a tool definition: never counted, and left out of the size
            of prompts that were not billed.
        is_unlogged: per node, whether it stands for what the log does not hold.
        is_system: per node, whether it is a system prompt.
        is_cut: per node, whether it ends where ingest cut rendered text or token ids.
        n_bytes: per node, of canonical content.
        prompt, completion: per call, node index; -1 for no completion.
        text: per call, node where its token ids end as text; -1 where only one of them was logged.
        billed: per call, billed input tokens; -1 without usage, and for a sum of several requests.
        is_sum: per call, whether it stands for several requests: its size is then unknown.
        output: per call, billed output tokens; 0 without usage.
        model: per call, an index into `models`.
        trace: per call, a number that calls of one trace share.
    """

    tree: PrefixTree
    tokens: Ints
    n_bytes: Ints
    is_tools: Flags
    is_unlogged: Flags
    is_system: Flags
    is_cut: Flags
    prompt: Ints
    completion: Ints
    text: Ints
    billed: Ints
    output: Ints
    is_sum: Flags
    model: Ints
    trace: Ints
    models: list[str]
    siblings: Siblings

    @property
    def ranks(self) -> Ints:
        """Each call's place in time."""
        return np.arange(len(self.prompt), dtype=np.int64)

    @cached_property
    def token_depth(self) -> Ints:
        """Counted tokens from the root to each node's end, uncounted segments as 0."""
        return self.tree.depth(np.maximum(self.tokens, 0))

    @cached_property
    def byte_depth(self) -> Ints:
        """Content bytes from the root to each node's end."""
        return self.tree.depth(self.n_bytes)

    @cached_property
    def is_counted(self) -> Flags:
        """Nodes whose whole path is counted in tokens, tool definitions apart."""
        return self._none_above((self.tokens < 0) & ~self.is_tools)

    @cached_property
    def is_counted_as_logged(self) -> Flags:
        """Nodes whose path is counted in tokens as far as it is logged, tool definitions apart."""
        return self._none_above((self.tokens < 0) & ~self.is_tools & ~self.is_unlogged)

    @cached_property
    def sibling_place(self) -> Ints:
        """Per node, its place among the refined siblings; -1: it was not compared with any."""
        place = np.full(len(self.tree), -1, dtype=np.int64)
        place[self.siblings.node] = np.arange(len(self.siblings.node))
        return place

    @cached_property
    def below_tools(self) -> Flags:
        """Nodes with a tool definition on their path."""
        return ~self._none_above(self.is_tools)

    def _none_above(self, marked: Flags) -> Flags:
        flags: Flags = self.tree.depth(marked.astype(np.int64)) == 0
        return flags

    @cached_property
    def counted(self) -> Flags:
        """Calls whose positions are exact in counted tokens. What was billed with tool definitions
        goes by its bill."""
        flags: Flags = self.is_counted[self.prompt] & (
            (self.billed < 0) | ~self.below_tools[self.prompt]
        )
        return flags

    @cached_property
    def size(self) -> Ints:
        """Input tokens per call: billed, else counted; -1 where neither is known."""
        counted = np.where(self.counted, self.token_depth[self.prompt], -1)
        return np.where(self.is_sum, -1, np.where(self.billed >= 0, self.billed, counted))

    @cached_property
    def bare(self) -> Flags:
        """Calls of known size whose logs hold nothing of what was sent."""
        flags: Flags = (self.size >= 0) & ~self.counted & (self.byte_depth[self.prompt] == 0)
        return flags

    @cached_property
    def previous(self) -> Ints:
        """The call before each one in its trace; -1 for the first."""
        order = np.lexsort((self.ranks, self.trace))
        before = np.r_[-1, order[:-1]]
        begins = np.r_[True, self.trace[order][1:] != self.trace[order][:-1]]
        previous = np.empty(len(order), dtype=np.int64)
        previous[order] = np.where(begins[: len(order)], -1, before[: len(order)])
        return previous

    @cached_property
    def fits(self) -> dict[int, Fit]:
        """Billed tokens per content byte, by model; see `fit_bytes`."""
        return fit_bytes(self)

    @cached_property
    def anchor(self) -> Ints:
        """Billed depth of each node that some call's prompt ends at; -1 elsewhere."""
        depth = np.full(len(self.tree), -1, dtype=np.int64)
        sized = np.flatnonzero(self.size >= 0)[::-1]  # the earliest call's figure stands last
        depth[self.prompt[sized]] = self.size[sized]
        return depth

    @cached_property
    def seen(self) -> Ints:
        """First call whose prompt passes each node."""
        return first_seen(self.tree, self.prompt, self.ranks)

    @cached_property
    def seen_with_completions(self) -> Ints:
        """First call whose prompt or completion passes each node."""
        both = np.concatenate((self.prompt, self.completion))
        return first_seen(self.tree, both, np.concatenate((self.ranks, self.ranks)))


@dataclass
class Reuse:
    """How much of each prompt earlier calls had sent. Arrays by `call_no`."""

    tokens: Ints
    """0 <= tokens <= size; 0 for calls without a size."""
    last: Ints
    """Deepest node on the prompt's path that had been seen; 0: none."""
    shrunk: int
    """Calls billed less than an earlier call whose prompt theirs extends."""


@dataclass(frozen=True)
class Fit:
    """Billed tokens per content byte of one model, where prompts are partly unlogged."""

    tokens_per_byte: float
    relative_error: float
    pairs: int


def load_prompts(store: Store) -> Prompts:
    """Load the tree of the calls in scope (see `forkpoint.analysis.scope`)."""
    store.execute(
        """
        CREATE OR REPLACE TEMP TABLE scope_nodes AS
        SELECT row_number() OVER (ORDER BY node) AS i, node, parent, segment, kind, role,
               coalesce(n_tokens, -1) AS n_tokens, n_bytes,
               kind = 'tools' AS is_tools, kind = 'unlogged' AS is_unlogged, kind = 'system' AS is_system, kind IN ('rendered', 'tokens') AS is_cut
        FROM nodes JOIN segments USING (segment)
        WHERE root IN (
            SELECT root FROM nodes WHERE node IN (
                SELECT prompt FROM scope_calls
                UNION ALL SELECT completion FROM scope_calls
                UNION ALL SELECT text FROM scope_calls
                UNION ALL SELECT leaf FROM scope_traces
            )
        )
        """
    )
    nodes = columns(
        store,
        """
        SELECT coalesce(above.i, 0) AS parent, this.n_tokens, this.n_bytes,
               this.is_tools::INTEGER AS is_tools, this.is_unlogged::INTEGER AS is_unlogged, this.is_system::INTEGER AS is_system, this.is_cut::INTEGER AS is_cut
        FROM scope_nodes AS this LEFT JOIN scope_nodes AS above ON this.parent = above.node
        ORDER BY this.i
        """,
    )
    calls = columns(
        store,
        """
        SELECT coalesce(p.i, 0) AS prompt,
               CASE WHEN completion IS NULL THEN -1 ELSE coalesce(c.i, -1) END AS completion,
               coalesce(t.i, -1) AS text,
               CASE WHEN is_sum THEN -1 ELSE coalesce(input_tokens, -1) END AS billed,
               coalesce(output_tokens, 0) AS output, is_sum::INTEGER AS is_sum,
               dense_rank() OVER (ORDER BY trace_id) - 1 AS trace,
               dense_rank() OVER (ORDER BY coalesce(model, '')) - 1 AS model
        FROM scope_calls
        LEFT JOIN scope_nodes AS p ON prompt = p.node
        LEFT JOIN scope_nodes AS c ON completion = c.node
        LEFT JOIN scope_nodes AS t ON scope_calls.text = t.node
        ORDER BY call_no
        """,
    )
    models = store.rows(
        "SELECT DISTINCT coalesce(model, '') AS name FROM scope_calls ORDER BY name"
    )
    return Prompts(
        tree=PrefixTree(with_root(nodes["parent"], 0)),
        tokens=with_root(nodes["n_tokens"], 0),
        n_bytes=with_root(nodes["n_bytes"], 0),
        is_tools=with_root(nodes["is_tools"], 0) > 0,
        is_unlogged=with_root(nodes["is_unlogged"], 0) > 0,
        is_system=with_root(nodes["is_system"], 0) > 0,
        is_cut=with_root(nodes["is_cut"], 0) > 0,
        prompt=calls["prompt"],
        completion=calls["completion"],
        text=calls["text"],
        billed=calls["billed"],
        output=calls["output"],
        is_sum=calls["is_sum"] > 0,
        trace=calls["trace"],
        model=calls["model"],
        models=[name for (name,) in models],
        siblings=_load_siblings(store),
    )


def _load_siblings(store: Store) -> Siblings:
    found = columns(
        store,
        """
        SELECT coalesce(above.i, 0) AS parent, this.i AS node,
               coalesce(shared_tokens, -1) AS shared
        FROM siblings JOIN scope_nodes AS this USING (node)
        LEFT JOIN scope_nodes AS above ON siblings.parent = above.node
        ORDER BY siblings.parent, sibling_rank
        """,
    )
    return Siblings(found["parent"], found["node"], found["shared"])


def columns(store: Store, sql: str) -> dict[str, Any]:
    """A query's columns as plain int64 arrays."""
    fetched = store.execute(sql).fetchnumpy()
    return {name: np.asarray(values, dtype=np.int64) for name, values in fetched.items()}


def with_root(values: Ints, at_root: int) -> Ints:
    """Node columns are stored from node 1 on; put the root in front."""
    return np.concatenate((np.array([at_root], dtype=np.int64), values))


def fit_bytes(prompts: Prompts) -> dict[int, Fit]:
    """Fit billed tokens per content byte, per model, on how prompts grow from call to call.

    Within a trace, billed = unlogged + ratio * content; between two prompts of which one extends
    the other, the unlogged part cancels out. The ratio is the weighted median of growth over growth
    (robust against edits that the log does not show); the error is what a straight line leaves.
    """
    above = prompts.tree.nearest(prompts.anchor >= 0)
    anchors = above[prompts.tree.parent[prompts.prompt]]
    x = prompts.byte_depth[prompts.prompt] - prompts.byte_depth[anchors]
    y = prompts.size - prompts.anchor[anchors]
    usable = (anchors != 0) & ~prompts.counted & (prompts.size >= 0) & (x > 0) & (y > 0)
    fits = {}
    for model in np.unique(prompts.model[usable]).tolist():
        of_model = usable & (prompts.model == model)
        fits[model] = _fit(x[of_model], y[of_model])
    return fits


def _fit(x: Ints, y: Ints) -> Fit:
    slope: Floats = y / x
    order = np.argsort(slope)
    weight = np.cumsum(x[order])
    ratio = float(slope[order][np.searchsorted(weight, weight[-1] / 2)])
    error = float(np.abs(y - ratio * x).sum() / y.sum())
    return Fit(ratio, error, len(x))


def measure_reuse(prompts: Prompts, fits: dict[int, Fit], *, completions: bool) -> Reuse:
    """How much of each prompt earlier calls had sent.

    Args:
        completions: count what earlier calls generated too, not their prompts alone.
    """
    seen = prompts.seen_with_completions if completions else prompts.seen
    last, first = deepest_seen_before(prompts.tree, seen, prompts.prompt, prompts.ranks)
    place = positions(prompts, last, fits)
    tokens = place.tokens
    heads = _shared_heads(prompts, seen)
    begins = np.flatnonzero(prompts.counted & (first >= 0))
    if heads.any() and len(begins):
        whole = prompts.token_depth[prompts.prompt[begins]]
        inside = prompts.token_depth[last[begins]] + heads[first[begins]]
        tokens[begins] = in_proportion(prompts.size[begins], inside, whole)
    bare = np.flatnonzero(prompts.bare)
    tokens[bare] = _continued(prompts, bare, completions=completions)
    return Reuse(tokens, last, place.shrunk)


@dataclass
class Positions:
    """Where nodes stand in the prompts they lie on, in the calls' own (billed) tokens."""

    tokens: Ints
    """Per call, 0 <= tokens <= size; 0 for calls without a size."""
    shrunk: int
    """Calls billed less than an earlier call whose prompt theirs extends."""


def positions(prompts: Prompts, nodes: Ints, fits: dict[int, Fit]) -> Positions:
    """Tokens from the beginning of each call's prompt to the end of a node on its path.

    Args:
        nodes: per call, a node on its prompt's path; 0: its beginning.
    """
    return positions_of(prompts, prompts.ranks, nodes, fits)


def positions_of(prompts: Prompts, calls: Ints, nodes: Ints, fits: dict[int, Fit]) -> Positions:
    """The same for pairs of a call and a node on its prompt's path, aligned."""
    size, is_counted = prompts.size[calls], prompts.counted[calls]
    tokens = np.zeros(len(size), dtype=np.int64)
    counted = np.flatnonzero(is_counted & (size >= 0))
    whole = prompts.token_depth[prompts.prompt[calls[counted]]]
    inside = prompts.token_depth[nodes[counted]]
    tokens[counted] = in_proportion(size[counted], inside, whole)
    partial = np.flatnonzero(~is_counted & (size >= 0) & ~prompts.bare[calls])
    tokens[partial], shrunk = _positions_of_partial(prompts, nodes[partial], calls[partial], fits)
    return Positions(tokens, shrunk)


def in_proportion(size: Ints, inside: Ints, whole: Ints) -> Ints:
    """Counted positions as billed tokens. Bills may differ a little from our count (chat
    templates); where they do not, positions are exact."""
    scaled = np.floor(size * (inside / np.maximum(whole, 1))).astype(np.int64)
    return np.minimum(np.where(size == whole, inside, scaled), size)


def _continued(prompts: Prompts, calls: Ints, *, completions: bool) -> Ints:
    """Reuse where nothing of the prompts is logged: each call is taken to continue the one before
    it in its trace, unless it was billed less, so that something was cut."""
    before = prompts.previous[calls]
    known = (before >= 0) & (prompts.size[before] >= 0)
    sent = np.where(known, prompts.size[before], 0)
    if completions:
        sent_and_made = sent + np.where(known, prompts.output[before], 0)
        return np.where(
            sent <= prompts.size[calls], np.minimum(sent_and_made, prompts.size[calls]), 0
        )
    return np.where(sent <= prompts.size[calls], sent, 0)


def _shared_heads(prompts: Prompts, seen: Ints) -> Ints:
    """Per node, tokens at its beginning that an earlier sibling begins with too."""
    heads = np.zeros(len(prompts.tree), dtype=np.int64)
    for nodes, shared in prompts.siblings.runs(seen != NEVER):
        heads[nodes] = head_shared_with_earlier(nodes, shared, seen)
    return heads


def _positions_of_partial(
    prompts: Prompts, left: Ints, calls: Ints, fits: dict[int, Fit]
) -> tuple[npt.NDArray[Any], int]:
    depth, tree = prompts.byte_depth, prompts.tree
    size = prompts.size[calls]
    base = tree.nearest(prompts.anchor >= 0)[left]
    anchored = base != 0
    base_size = np.where(anchored, prompts.anchor[base], 0)
    shrunk = anchored & (base_size > size)
    span = depth[prompts.prompt[calls]] - depth[base]
    part = (depth[left] - depth[base]) / np.maximum(span, 1)
    between = base_size + np.where(span > 0, part, 0.0) * (size - base_size)
    # Above the first anchor: go back from this call's own size by content, at the model's ratio.
    ratios = np.array([_ratio(fits, model) for model in range(len(prompts.models))])
    ratio = ratios[prompts.model[calls]]
    back = size - ratio * (depth[prompts.prompt[calls]] - depth[left])
    from_end = np.where((depth[left] > 0) & (ratio > 0), back, 0.0)
    tokens = np.floor(np.where(anchored, between, from_end))
    return np.clip(tokens, 0, size).astype(np.int64), int(shrunk.sum())


def _ratio(fits: dict[int, Fit], model: int) -> float:
    """Tokens per byte of a model, else of all models seen; 0 where nothing could be fitted."""
    if model in fits:
        return fits[model].tokens_per_byte
    return float(np.median([fit.tokens_per_byte for fit in fits.values()])) if fits else 0.0

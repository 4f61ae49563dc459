"""A tree of sequences run through a local model in three ways, and what each of them costs.

flat:   each sequence alone, as replay without sharing does.
trie:   depth first; each stretch once, on the KV cache of the path that leads to it. The cache is cut
        back where the walk goes back, so it never holds more than one path.
packed: stretches side by side in one sequence, each token at its own position and attending to its
        ancestors only. Packs are bounded; what a pack needs of its path is computed again.

Same tokens, same positions, same ancestors: likelihoods agree up to rounding, and are compared.
torch is imported when something is run, never with this module.
"""

from __future__ import annotations

import statistics
import time
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from forkpoint.analysis.replay import NO_FILTERS
from forkpoint.analysis.replay_backend import Piece, Scored, TokenIds
from forkpoint.analysis.replay_model import CHUNK_TOKENS, LoadedModel, TransformersBackend
from forkpoint.analysis.replay_sequences import plan_sequences
from forkpoint.analysis.replay_tree import (
    Pack,
    Packing,
    TokenTree,
    ancestors,
    plan_packs,
    plan_tree,
)
from forkpoint.analysis.replay_tree_results import ExecutionRun, TreeExecution, TreeShape
from forkpoint.analysis.scope import Filters, select_scope
from forkpoint.analysis.store import Store
from forkpoint.analysis.tree import Ints
from forkpoint.errors import ForkpointError

if TYPE_CHECKING:
    import torch

FLAT, TRIE, PACKED = "flat", "trie", "packed"
MODES = (FLAT, TRIE, PACKED)
PACKINGS = {"cpu": Packing(2048, overhead=16, dense=4096), "cuda": Packing(16384)}
"""A dense mask and its scores grow with the square of a pack, in memory and time. Measured on one core
with models of 135 M to 1.5 B parameters: 9 to 25 tokens' time a pack, twice the time a token at 3,750
tokens and more. FlexAttention leaves out blocks that nobody attends to."""
TOLERANCE = {"float32": 1e-4, "float16": 0.1, "bfloat16": 0.5}
"""Nats up to which ways to run a tree may differ: sums are rounded in another order."""
_FLEX_BLOCK = 128
"""Tokens are padded to a multiple of it where FlexAttention runs."""


@dataclass
class Executed:
    """What one way to run the sequences found.

    Attributes:
        scored: of each sequence, what `forkpoint.analysis.replay_model.score_batch` says of it.
        computed_tokens: tokens that went through the layers, padding included.
        forwards: how often the layers were run.
    """

    scored: list[Scored]
    computed_tokens: int
    forwards: int


class CachedPath:
    """The KV cache of one path, which goes on from any place of it.

    Attributes:
        computed_tokens, forwards: as in `Executed`, so far.
    """

    def __init__(self, model: LoadedModel, chunk_tokens: int | None = None) -> None:
        self._model = model
        self._chunk = chunk_tokens or _of_device(CHUNK_TOKENS, model)
        self._past: Any = None
        self.length = 0
        self.computed_tokens = 0
        self.forwards = 0

    def extend(self, start: int, ids: TokenIds) -> torch.Tensor:
        """Run tokens that follow the first `start` tokens of the path, and forget what followed them.

        Args:
            start: 0 <= start <= `length`.
            ids: one or more.

        Returns:
            Their hidden states, shape (n, width).
        """
        import torch

        self._cut(start)
        found = []
        for begin in range(0, len(ids), self._chunk):
            part = _on_device(ids[begin : begin + self._chunk], self._model)
            hidden, self._past = self._model.forward(part.unsqueeze(0), self._past, keep=True)
            found.append(hidden[0])
            self.forwards += 1
        self.length += len(ids)
        self.computed_tokens += len(ids)
        return torch.cat(found) if len(found) > 1 else found[0]

    def _cut(self, length: int) -> None:
        if length == 0:
            self._past = None
        elif length < self.length:
            self._past.crop(length - self.length)
        self.length = length


def run_flat(model: LoadedModel, pieces: Sequence[Piece], *, top: int = 0) -> Executed:
    """Run each sequence alone.

    Args:
        top: how many of the likeliest tokens to name.
    """
    scored, forwards = [], 0
    chunk = _of_device(CHUNK_TOKENS, model)
    for piece in pieces:
        figures = _Figures(model, len(piece.ids), top)
        last: torch.Tensor | None = None
        past: Any = None
        for begin in range(0, len(piece.ids), chunk):
            ids = piece.ids[begin : begin + chunk]
            more = begin + chunk < len(piece.ids)
            part = _on_device(ids, model).unsqueeze(0)
            hidden, past = model.forward(part, past, keep=more or past is not None)
            place = np.arange(begin, begin + len(ids))
            place = place[place >= max(piece.first, 1)]
            figures.add(place, piece.ids[place], _before(hidden[0], last, place - begin - 1))
            last = hidden[0, -1:]
            forwards += 1
        scored.append(figures.scored(np.arange(piece.first, len(piece.ids))))
    return Executed(scored, sum(len(each.ids) for each in pieces), forwards)


def run_trie(
    model: LoadedModel, tree: TokenTree, pieces: Sequence[Piece], *, top: int = 0
) -> Executed:
    """Run each stretch once, depth first, on the cache of the path that leads to it.

    Args:
        pieces: what the tree was made of, in the same order.
    """
    figures = _Figures(model, tree.tree_tokens, top)
    path = CachedPath(model)
    ends: dict[int, torch.Tensor] = {}
    for number, (parent, start) in enumerate(
        zip(tree.parent.tolist(), tree.start.tolist(), strict=True)
    ):
        first, beyond = int(tree.offset[number]), int(tree.offset[number + 1])
        hidden = path.extend(start, tree.ids[first:beyond])
        place = first + np.flatnonzero(tree.wanted[first:beyond])
        last = ends.get(parent)
        figures.add(place, tree.ids[place], _before(hidden, last, place - first - 1))
        # Stretches that do not lead here are done with, so their last states are too.
        for done in [each for each in ends if tree.beyond[each] <= number + 1]:
            del ends[done]
        if tree.beyond[number] > number + 1:
            ends[number] = hidden[-1:].clone()
    return Executed(figures.of_tree(tree, pieces), path.computed_tokens, path.forwards)


def run_packed(
    model: LoadedModel,
    tree: TokenTree,
    packs: Sequence[Pack],
    pieces: Sequence[Piece],
    *,
    top: int = 0,
) -> Executed:
    """Run each pack as one sequence, in which a token attends to its ancestors and itself."""
    figures = _Figures(model, tree.tree_tokens, top)
    computed = 0
    flex = _has_flex(model)
    with _attention(model, "flex_attention" if flex else None):
        for pack in packs:
            hidden, n = _run_pack(model, tree, pack, flex)
            computed += n
            own = pack.tokens[pack.repeated :]
            place = own[tree.wanted[own]]
            before = tree.before[place]
            # Of the path, a token's place in the pack is its position; the rest follows in a row.
            first = int(own[0])
            row = np.where(before < first, tree.position[before], before - first + pack.repeated)
            figures.add(place, tree.ids[place], hidden[_rows(row, model)])
    return Executed(figures.of_tree(tree, pieces), computed, len(packs))


def packing_of(model: LoadedModel, limit: int | None = None) -> Packing:
    """What packs cost this model.

    Args:
        limit: tokens of a pack; ``None``: as `PACKINGS` says.
    """
    packing = PACKINGS.get(model.device.type, PACKINGS["cuda"])
    return packing if limit is None else replace(packing, limit=limit)


def ancestor_mask(end: Ints, device: Any, *, flex: bool) -> Any:
    """The attention mask of a pack.

    Args:
        end: shape (n,): where the subtree of each token ends; see `Pack`.
        flex: as FlexAttention takes it, which computes no block that nobody attends to. Otherwise
            dense.

    Returns:
        A boolean tensor of shape (1, 1, n, n), True: attends; or a ``BlockMask`` of that shape.
    """
    import torch

    if not flex:
        return torch.from_numpy(ancestors(end)).to(device)[None, None]
    from torch.nn.attention.flex_attention import create_block_mask

    n = len(end)
    return create_block_mask(ancestor_rule(end, device), 1, 1, n, n, device=device)


def ancestor_rule(end: Ints, device: Any) -> Callable[..., Any]:
    """The same as a function of (batch, head, token that attends, token attended to)."""
    import torch

    ends = torch.from_numpy(end).to(device)

    def attends(batch: Any, head: Any, query: Any, key: Any) -> Any:
        return (key <= query) & (query < ends[key])

    return attends


def _run_pack(
    model: LoadedModel, tree: TokenTree, pack: Pack, flex: bool
) -> tuple[torch.Tensor, int]:
    """(hidden states, shape (n, width); tokens run, padding included)."""
    padding = -len(pack.tokens) % _FLEX_BLOCK if flex else 0
    n = len(pack.tokens) + padding
    ids = np.r_[tree.ids[pack.tokens], np.zeros(padding, dtype=np.uint32)]
    positions = np.r_[tree.position[pack.tokens], np.zeros(padding, dtype=np.int64)]
    end = np.r_[pack.end, np.arange(len(pack.tokens), n) + 1]  # padding attends to itself
    hidden, _ = model.forward(
        _on_device(ids, model).unsqueeze(0),
        positions=_rows(positions, model).unsqueeze(0),
        mask=ancestor_mask(end, model.device, flex=flex),
    )
    return hidden[0, : len(pack.tokens)], n


def _has_flex(model: LoadedModel) -> bool:
    """Whether packs are run with FlexAttention."""
    return str(model.device.type) == "cuda"


@contextmanager
def _attention(model: LoadedModel, kind: str | None) -> Iterator[None]:
    """Let the model use another implementation of attention for a while; ``None``: its own."""
    if kind is None:
        yield
        return
    usual = model.network.config._attn_implementation
    model.network.set_attn_implementation(kind)
    try:
        yield
    finally:
        model.network.set_attn_implementation(usual)


class _Figures:
    """What is known of n tokens, filled in as they are measured."""

    def __init__(self, model: LoadedModel, n: int, top: int) -> None:
        self._model = model
        self._top = min(top, model.vocabulary_size)
        self._logprobs = np.full(n, np.nan)
        self._entropies = np.full(n, np.nan)
        self._top_ids = np.full((n, self._top), -1, dtype=np.int32)
        self._top_logprobs = np.full((n, self._top), np.nan, dtype=np.float32)

    def add(self, place: Ints, ids: TokenIds, hidden: torch.Tensor) -> None:
        """Measure the tokens at `place`, given the hidden state before each."""
        if not len(place):
            return
        found = self._model.measure(hidden, _on_device(ids, self._model), self._top)
        self._logprobs[place] = found.logprobs
        self._entropies[place] = found.entropies
        self._top_ids[place] = found.top_ids
        self._top_logprobs[place] = found.top_logprobs

    def scored(self, place: Ints) -> Scored:
        """Of the tokens at `place`."""
        return Scored(
            self._logprobs[place],
            self._entropies[place],
            self._top_ids[place],
            self._top_logprobs[place],
        )

    def of_tree(self, tree: TokenTree, pieces: Sequence[Piece]) -> list[Scored]:
        """Of each sequence of the tree, its measured tokens."""
        return [
            self.scored(tree.tokens_of(number)[piece.first :])
            for number, piece in enumerate(pieces)
        ]


def _before(hidden: torch.Tensor, last: torch.Tensor | None, rows: Ints) -> torch.Tensor:
    """Rows of some hidden states, of which row -1 is `last`, the one before them."""
    import torch

    if len(rows) and rows[0] < 0:
        assert last is not None
        return torch.cat([last, hidden[torch.from_numpy(rows[1:]).to(hidden.device)]])
    return hidden[torch.from_numpy(rows).to(hidden.device)]


def _on_device(ids: TokenIds, model: LoadedModel) -> torch.Tensor:
    return _rows(ids.astype(np.int64), model)


def _rows(values: Ints, model: LoadedModel) -> torch.Tensor:
    import torch

    return torch.from_numpy(values).to(model.device)


def _of_device(sizes: Mapping[str, int], model: LoadedModel) -> int:
    return sizes.get(model.device.type, sizes["cuda"])


def check_shareable(model: LoadedModel, depth: int) -> None:
    """Refuse models whose layers know more of a sequence than who attends to whom.

    Args:
        depth: tokens of the longest sequence.

    Raises:
        ForkpointError: a branch could not be run on its trunk.
    """
    config = model.config
    window = getattr(config, "sliding_window", None)
    kinds = set(getattr(config, "layer_types", None) or ())
    if not kinds and window is not None:
        kinds = {"sliding_attention"}
    if kinds - {"full_attention", "sliding_attention"}:
        named = ", ".join(sorted(kinds - {"full_attention", "sliding_attention"}))
        raise ForkpointError(f"branches cannot share their trunk in a model with {named}: use flat")
    if "sliding_attention" in kinds and window is not None and depth >= window:
        raise ForkpointError(
            f"the model attends to {window:,} tokens at a time, and the longest sequence has "
            f"{depth:,}: branches cannot share their trunk; use flat"
        )
    _probe(model)


def _probe(model: LoadedModel) -> None:
    """Run a small tree in all ways. What the settings do not say, the numbers do: positions that are
    not read (ALiBi), masks that are ignored. It also is the first, slow, forward of a process."""
    alike = [1, 2, 3]
    sequences = ([*alike, 4, 5], [*alike, 6, 7], [*alike, 4, 8, 9])
    ids = [np.array(each, dtype=np.uint32) % model.vocabulary_size for each in sequences]
    pieces = [Piece(each, 0) for each in ids]
    tree = plan_tree(pieces)
    flat = run_flat(model, pieces).scored
    packs = plan_packs(tree, Packing(tree.tree_tokens))
    for shared in (run_trie(model, tree, pieces), run_packed(model, tree, packs, pieces)):
        logprobs, entropies = differences(flat, shared.scored)
        if not max(logprobs, entropies) <= max(10 * _tolerance(model), 1e-2):
            kind = getattr(model.config, "model_type", "this kind")
            raise ForkpointError(f"branches cannot share their trunk in models of {kind}: use flat")


def differences(flat: Sequence[Scored], other: Sequence[Scored]) -> tuple[float, float]:
    """Greatest absolute difference of (logprobs, entropies) over all tokens that flat measured;
    infinite where the other lacks one of them or is not a number."""
    found = [0.0, 0.0]
    for one, two in zip(flat, other, strict=True):
        assert one.entropies is not None
        assert two.entropies is not None
        pairs = ((one.logprobs, two.logprobs), (one.entropies, two.entropies))
        for kind, (mine, theirs) in enumerate(pairs):
            known = ~np.isnan(mine)
            apart = np.abs(mine - theirs)[known]
            if len(apart):
                found[kind] = max(
                    found[kind], float(np.where(np.isnan(apart), np.inf, apart).max())
                )
    return found[0], found[1]


def _dtype(model: LoadedModel) -> str:
    return str(model.network.dtype).removeprefix("torch.")


def _tolerance(model: LoadedModel) -> float:
    return TOLERANCE.get(_dtype(model), TOLERANCE["bfloat16"])


def execute_tree(
    model: LoadedModel,
    pieces: Sequence[Piece],
    *,
    name: str = "model",
    modes: Sequence[str] = MODES,
    pack_limit: int | None = None,
    repeats: int = 1,
    memory: bool = True,
    left_out: Mapping[str, int] | None = None,
) -> TreeExecution:
    """Run sequences in several ways, in turn, and compare them.

    Args:
        pieces: one or more; what they measure is measured in each way.
        name: what to call the model.
        modes: of `MODES`. Without ``flat`` there is nothing to compare with.
        pack_limit: tokens of a pack; ``None``: as `PACKINGS` says.
        repeats: timed runs of each way.
        memory: measure it too. On a CPU this takes one more run of each, which is not timed.
        left_out: handed through to the answer.

    Raises:
        ForkpointError: a mode is none of `MODES`, or the model cannot share.
    """
    for mode in modes:
        if mode not in MODES:
            raise ForkpointError(
                f"{mode!r} is no way to run a tree: choose from {', '.join(MODES)}"
            )
    if not pieces:
        raise ForkpointError("there is nothing to run")
    tree = plan_tree(pieces)
    if set(modes) != {FLAT}:
        check_shareable(model, int((tree.start + tree.length).max()))
    packing = packing_of(model, pack_limit)
    packs = plan_packs(tree, packing)
    runs: dict[str, Callable[[], Executed]] = {
        FLAT: lambda: run_flat(model, pieces),
        TRIE: lambda: run_trie(model, tree, pieces),
        PACKED: lambda: run_packed(model, tree, packs, pieces),
    }
    measured = _measure(
        model, {mode: runs[mode] for mode in MODES if mode in modes}, repeats, memory
    )
    shape = _shape(tree, packs, pieces, packing.limit)
    tolerance = _tolerance(model)
    compared = tuple(_compared(each, measured.get(FLAT), shape) for each in measured.values())
    apart = [
        max(run.max_logprob_difference, run.max_entropy_difference)
        for run in compared
        if run.max_logprob_difference is not None and run.max_entropy_difference is not None
    ]
    import torch

    on_cpu = model.device.type == "cpu"
    return TreeExecution(
        model=name,
        device=model.device.type,
        dtype=_dtype(model),
        threads=torch.get_num_threads() if on_cpu else None,
        memory=(
            "tensors that operations return, without what a kernel holds while it runs"
            if on_cpu
            else "what the CUDA allocator hands out"
        ),
        shape=shape,
        runs=compared,
        tolerance=tolerance,
        agrees=all(each <= tolerance for each in apart) if apart else None,
        left_out=dict(left_out or {}),
    )


def execute_logged(
    store: Store,
    paths: Sequence[Path],
    backend: TransformersBackend,
    *,
    filters: Filters = NO_FILTERS,
    trust_ids: bool = False,
    modes: Sequence[str] = MODES,
    pack_limit: int | None = None,
    repeats: int = 1,
    memory: bool = True,
    at_most_tokens: int | None = None,
) -> TreeExecution:
    """The same of the completions under `paths`; equal ones are one sequence. Generated tokens are
    measured.

    Args:
        paths: absolute; what is there has been ingested.
        trust_ids: logged token ids are the model's own, whatever their text says.
        at_most_tokens: leave out what comes, in order of prompts, once that many flat tokens are
            planned.

    Raises:
        ForkpointError: nothing can be run, or the model cannot.
    """
    select_scope(store, paths, filters)
    plan = plan_sequences(store, backend.codec, max_tokens=backend.max_tokens, trust_ids=trust_ids)
    skipped = dict(plan.skipped)
    pieces: list[Piece] = []
    planned = 0
    for each in plan.sequences:
        planned += len(each.ids)
        if at_most_tokens is not None and planned > at_most_tokens:
            break
        pieces.append(Piece(each.ids, each.prompt_tokens))
    if len(pieces) < len(plan.sequences):
        skipped[f"more than {at_most_tokens:,} tokens"] = len(plan.sequences) - len(pieces)
    if not pieces:
        why = "; ".join(f"{n:,} × {reason}" for reason, n in skipped.items())
        raise ForkpointError(f"no completion can be run{': ' if why else ''}{why}")
    return execute_tree(
        backend.loaded,
        pieces,
        name=backend.source.name,
        modes=modes,
        pack_limit=pack_limit,
        repeats=repeats,
        memory=memory,
        left_out=skipped,
    )


@dataclass
class _Measured:
    mode: str
    executed: Executed
    seconds: list[float]
    peak_bytes: int | None


def _measure(
    model: LoadedModel, runs: Mapping[str, Callable[[], Executed]], repeats: int, memory: bool
) -> dict[str, _Measured]:
    """Run each way `repeats` times, in turn, so that what else the machine does falls on all."""
    found: dict[str, _Measured] = {}
    if memory or model.device.type != "cpu":  # kernels are compiled in a first run on CUDA
        for mode, run in runs.items():
            watch = _CudaPeak(model) if model.device.type == "cuda" else _tensor_bytes()
            with watch:
                executed = run()
            found[mode] = _Measured(mode, executed, [], watch.peak if memory else None)
    for _ in range(max(1, repeats)):
        for mode, run in runs.items():
            _wait(model)
            began = time.perf_counter()
            executed = run()
            _wait(model)
            seconds = time.perf_counter() - began
            found.setdefault(mode, _Measured(mode, executed, [], None)).seconds.append(seconds)
    return found


def _wait(model: LoadedModel) -> None:
    """Until the device has done what it was given."""
    if model.device.type == "cuda":
        import torch

        torch.cuda.synchronize(model.device)


class _CudaPeak(AbstractContextManager["_CudaPeak"]):
    """The most that the CUDA allocator handed out while the context lasted, beyond what it had."""

    def __init__(self, model: LoadedModel) -> None:
        self._device = model.device
        self.peak = 0

    def __enter__(self) -> Self:
        import torch

        torch.cuda.reset_peak_memory_stats(self._device)
        self._before = torch.cuda.memory_allocated(self._device)
        return self

    def __exit__(self, *_: object) -> None:
        import torch

        self.peak = torch.cuda.max_memory_allocated(self._device) - self._before


def _tensor_bytes() -> Any:
    """A context that counts the bytes of tensors alive, of those made in it; `peak` is the most.

    It sees what operations return. That makes it slow, and the same on every machine.
    """
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_leaves

    class TensorBytes(TorchDispatchMode):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.alive = 0
            self.peak = 0
            self._storages: dict[int, int] = {}

        def __torch_dispatch__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            given = {
                each.untyped_storage()._cdata
                for each in tree_leaves((args, kwargs))
                if isinstance(each, torch.Tensor)
            }
            result = func(*args, **(kwargs or {}))
            for each in tree_leaves(result):
                if isinstance(each, torch.Tensor):
                    storage = each.untyped_storage()
                    if (
                        storage._cdata not in given
                    ):  # views and what is written in place hold no more
                        self._count(storage)
            return result

        def _count(self, storage: Any) -> None:
            key = storage._cdata
            if key in self._storages:
                return
            self._storages[key] = storage.nbytes()
            self.alive += storage.nbytes()
            self.peak = max(self.peak, self.alive)
            weakref.finalize(storage, self._forget, key)

        def _forget(self, key: int) -> None:
            self.alive -= self._storages.pop(key)

    return TensorBytes()


def _shape(
    tree: TokenTree, packs: Sequence[Pack], pieces: Sequence[Piece], limit: int
) -> TreeShape:
    packed = sum(len(each.tokens) for each in packs)
    return TreeShape(
        sequences=len(pieces),
        stretches=len(tree),
        depth=int((tree.start + tree.length).max()),
        flat_tokens=tree.flat_tokens,
        tree_tokens=tree.tree_tokens,
        packed_tokens=packed,
        packs=len(packs),
        pack_limit=limit,
        measured_tokens=sum(len(each.ids) - max(each.first, 1) for each in pieces),
        por=tree.overlap_ratio,
        err=1 - packed / tree.flat_tokens,
        bound=tree.flat_tokens / tree.tree_tokens,
    )


def _compared(run: _Measured, flat: _Measured | None, shape: TreeShape) -> ExecutionRun:
    speedup = logprobs = entropies = None
    if flat is not None:
        # Ways take turns, so each round compares what ran under the same load.
        speedup = statistics.median(
            theirs / own for theirs, own in zip(flat.seconds, run.seconds, strict=True)
        )
    if flat is not None and flat is not run:
        logprobs, entropies = differences(flat.executed.scored, run.executed.scored)
    shares = shape.flat_tokens > shape.tree_tokens
    return ExecutionRun(
        mode=run.mode,
        computed_tokens=run.executed.computed_tokens,
        forwards=run.executed.forwards,
        seconds=statistics.median(run.seconds),
        all_seconds=tuple(run.seconds),
        peak_bytes=run.peak_bytes,
        speedup=speedup,
        efficiency=(speedup - 1) / (shape.bound - 1) if shares and speedup is not None else None,
        max_logprob_difference=logprobs,
        max_entropy_difference=entropies,
    )

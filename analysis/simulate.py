"""What if: replaying all prompts against a prefix cache of a given size, policy and lifetime.

A block counts as hit only if all blocks before it in the same prompt are hit too. Prompts alone fill
the cache: generated tokens do not, as few logs hold them in a form that later prompts match. Models
are not told apart; a filter can.

LRU and lifetimes need no replay. A prompt uses its blocks tail first, so a block is never older than
one that follows it: what a cache of any size or lifetime keeps is always a whole beginning. Each
block's stack distance (Mattson et al. 1970, "Evaluation techniques for storage hierarchies"), taken
once, then tells the hits of every capacity.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from forkpoint.analysis.blocks import Blocks, Passes, cut_into_blocks, passes_of, token_tree
from forkpoint.analysis.cache_policy import CachePolicy, EngineRule, Eviction
from forkpoint.analysis.prompts import Prompts, columns, load_prompts
from forkpoint.analysis.results import CapacityPoint, HitRates, Simulation
from forkpoint.analysis.scope import Filters, select_scope
from forkpoint.analysis.store import Store
from forkpoint.analysis.tree import Flags, Ints

DEFAULT_BLOCK_SIZE = 16
"""vLLM's. For logs that state no block size of their own."""
SWEEP_POINTS = 16
NO_FILTERS = Filters()

_LONG_AGO = np.iinfo(np.int64).min // 2


def build_simulation(
    store: Store,
    paths: Sequence[Path],
    *,
    policy: CachePolicy,
    block_size: int | None = None,
    sweep: bool = False,
    filters: Filters = NO_FILTERS,
) -> Simulation:
    """Replay the calls under `paths`, in the order of their times, then of file and line.

    Args:
        block_size: tokens; by default the smallest that the logs state, else the engine's own.
        sweep: also simulate caches of `SWEEP_POINTS` capacities.

    Raises:
        ForkpointError: the capacity does not hold one block.
    """
    select_scope(store, paths, filters)
    prompts = load_prompts(store)
    facts = _call_facts(store)
    is_block = _block_nodes(store)
    logged = _logged_block_sizes(prompts, is_block)
    size = block_size or _default_block_size(logged, policy.engine_rule)
    sized = prompts.size >= 0
    timed = np.ones_like(sized) if policy.ttl_s is None else facts.timed
    calls = np.flatnonzero(sized & timed)
    may_go_on = is_block[prompts.prompt] | (prompts.prompt == 0)
    blocks = cut_into_blocks(
        token_tree(prompts, calls, may_go_on),
        size,
        whole_only=policy.engine_rule is not EngineRule.NONE,
    )
    replay = Replay(blocks, facts.microseconds[calls], policy)
    return _result(
        replay,
        policy,
        trace=facts.trace[calls],
        logged=logged,
        estimated=int((~prompts.counted[calls]).sum()),
        left_out=int((~sized).sum()),
        untimed=int((sized & ~timed).sum()),
        sweep=sweep,
    )


@dataclass
class _CallFacts:
    """Per call: microseconds since 1970 (0 where not `timed`), and the number of its trace."""

    microseconds: Ints
    timed: Flags
    trace: Ints


def _call_facts(store: Store) -> _CallFacts:
    fetched = columns(
        store,
        """
        SELECT coalesce(epoch_us(started_at), 0) AS microseconds,
               (started_at IS NOT NULL)::INTEGER AS timed,
               dense_rank() OVER (ORDER BY trace_id) AS trace
        FROM scope_calls ORDER BY call_no
        """,
    )
    return _CallFacts(fetched["microseconds"], fetched["timed"] > 0, fetched["trace"])


def _block_nodes(store: Store) -> Flags:
    kinds = columns(
        store, "SELECT (kind = 'block')::INTEGER AS is_block FROM scope_nodes ORDER BY i"
    )
    return np.concatenate((np.zeros(1, dtype=np.bool_), kinds["is_block"] > 0))


def _logged_block_sizes(prompts: Prompts, is_block: Flags) -> tuple[int, ...]:
    tree = prompts.tree
    firsts = is_block & (tree.parent == 0)
    # A block that others follow is whole.
    whole = firsts & (tree.fan_out(is_block) > 0)
    sizes = np.unique(prompts.tokens[whole if whole.any() else firsts])
    return tuple(size for size in sizes.tolist() if size > 0)


def _default_block_size(logged: tuple[int, ...], rule: EngineRule) -> int:
    if logged:
        return logged[0]
    return 1 if rule is EngineRule.SGLANG else DEFAULT_BLOCK_SIZE


class Replay:
    """All prompts passing through caches, one after the other.

    Args:
        microseconds: per call, its time; used where the policy has a lifetime.
    """

    def __init__(self, blocks: Blocks, microseconds: Ints, policy: CachePolicy) -> None:
        self.blocks = blocks
        self.passes = passes_of(blocks)
        self.policy = policy
        self.alive = self.passes.before >= 0
        """Per pass, whether its blocks were ever there and, with a lifetime, would be still."""
        if policy.ttl_s is not None:
            call, before = self.passes.call, np.maximum(self.passes.before, 0)
            age = microseconds[call] - microseconds[call[before]]
            self.alive &= age <= round(policy.ttl_s * 1e6)
        self.reach = np.maximum(blocks.size - 1, 0) // blocks.block_size
        """Per call, blocks that can be hit under an engine's rule: all but the last token's."""
        self._newer: Ints | None = None

    def hits(self, eviction: Eviction, capacity: int | None) -> Ints:
        """Per pass, how many of its run's blocks are hit; they are always the first ones.

        Args:
            capacity: blocks; ``None``: no limit.
        """
        length = self.blocks.length[self.passes.run]
        if capacity is None or eviction is Eviction.INFINITE:
            found = np.where(self.alive, length, 0)
        elif eviction is Eviction.LRU:
            room = capacity - self.newer
            found = np.where(self.alive, np.clip(room, 0, length), 0)
        else:
            found = self._along(_fifo_hits(self.blocks, self.passes, capacity))
        if self.policy.engine_rule is not EngineRule.NONE:
            found = np.minimum(found, self._along(self.reach))
        return found

    def _along(self, per_call: Ints) -> Ints:
        """The first so many blocks of each call, as blocks of each pass."""
        run = self.passes.run
        left: Ints = per_call[self.passes.call] - self.blocks.start[run]
        found: Ints = np.clip(left, 0, self.blocks.length[run])
        return found

    @property
    def newer(self) -> Ints:
        """Per pass, blocks used after the first block of its run last was: its stack distance."""
        if self._newer is None:
            self._newer = blocks_used_since(self.blocks, self.passes)
        return self._newer

    def tokens(self, hits: Ints) -> Ints:
        """Tokens in the hit blocks, per pass."""
        whole = hits * self.blocks.block_size
        return np.minimum(whole, self.blocks.tokens[self.passes.run])

    def per_call(self, per_pass: Ints) -> Ints:
        """Sums over each call's passes."""
        sums = np.concatenate((np.zeros(1, dtype=np.int64), np.cumsum(per_pass)))
        return sums[self.passes.first[1:]] - sums[self.passes.first[:-1]]

    def rates(self, hits: Ints) -> HitRates:
        """The hit rate under each convention."""
        blocks = self.blocks
        hit_blocks = self.per_call(hits)
        hit_tokens = self.per_call(self.tokens(hits))
        some = blocks.total > 0
        half = len(blocks.size) // 2
        return HitRates(
            cold_micro_block=_ratio(hit_blocks, blocks.total),
            cold_micro_token=_ratio(hit_tokens, blocks.size),
            cold_macro=float((hit_blocks[some] / blocks.total[some]).mean())
            if some.any()
            else None,
            steady_micro_token=_ratio(hit_tokens[half:], blocks.size[half:]),
        )


def _ratio(part: Ints, whole: Ints) -> float | None:
    total = int(whole.sum())
    return int(part.sum()) / total if total else None


def blocks_used_since(blocks: Blocks, passes: Passes) -> Ints:
    """Stack distances: blocks used since the first block of each pass's run was last used.

    Counted when the call begins, that block left out; its followers in the run come next in the
    stack. 0 for first passes, which have none.
    """
    weight = blocks.length[passes.run]
    before = passes.before
    found = np.zeros(len(before), dtype=np.int64)
    again = np.flatnonzero(before >= 0)
    begins = passes.first[passes.call[again]]
    sums = np.concatenate((np.zeros(1, dtype=np.int64), np.cumsum(weight)))
    # Everything passed since, but each run once: without the passes that were passed again since.
    passed = sums[begins] - sums[before[again] + 1]
    repeated = weight_above(
        before[again], weight[again], np.searchsorted(again, begins), before[again]
    )
    found[again] = passed - repeated
    return found


def weight_above(values: Ints, weights: Ints, upto: Ints, above: Ints) -> Ints:
    """For each query q, the sum of ``weights[i]`` over i < ``upto[q]`` with ``values[i] > above[q]``.

    Takes the values apart bit by bit from the highest, all queries at once (a wavelet matrix), in
    O((n + queries) log max value). All arguments are non-negative.
    """
    total = np.zeros(len(upto), dtype=np.int64)
    if not len(values) or not len(upto):
        return total
    low, high = np.zeros(len(upto), dtype=np.int64), upto.astype(np.int64)
    for bit in reversed(range(int(max(values.max(), above.max())).bit_length())):
        is_one = (values >> bit) & 1 > 0
        ones = _sums_before(is_one)
        weight_of_ones = _sums_before(np.where(is_one, weights, 0))
        n_zeros = len(values) - ones[-1]
        goes_up = (above >> bit) & 1 > 0
        total += np.where(goes_up, 0, weight_of_ones[high] - weight_of_ones[low])
        low, high = (np.where(goes_up, n_zeros + ones[at], at - ones[at]) for at in (low, high))
        order = np.concatenate((np.flatnonzero(~is_one), np.flatnonzero(is_one)))
        values, weights = values[order], weights[order]
    return total


def _sums_before(values: Ints | Flags) -> Ints:
    """Sum of the values before each place, and of all at the end."""
    return np.concatenate((np.zeros(1, dtype=np.int64), np.cumsum(values, dtype=np.int64)))


def _fifo_hits(blocks: Blocks, passes: Passes, capacity: int) -> Ints:
    """Per call, blocks hit in a cache that forgets what it took in first.

    Being hit does not keep a block, so a block may outlive one before it, and is then of no use. It
    stays where it is in the queue.
    """
    at = np.cumsum(blocks.length)[passes.run]
    length = blocks.length[passes.run]
    ends = np.cumsum(length)
    # Every block passed, from each call's tail to its head.
    block = np.repeat(at + ends - length, length) - np.arange(ends[-1] if len(ends) else 0)
    bounds = np.concatenate((np.zeros(1, dtype=np.int64), ends))[passes.first]
    taken_in = np.full(int(blocks.length.sum()) + 1, _LONG_AGO, dtype=np.int64)
    clock = 0
    hits = []
    for start, end in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
        wanted = block[start:end]
        missing = np.flatnonzero(taken_in[wanted] < clock - capacity)
        if not len(missing):
            hits.append(end - start)
            continue
        hits.append(end - start - 1 - int(missing[-1]))
        taken_in[wanted[missing]] = np.arange(clock, clock + len(missing))
        clock += len(missing)
    return np.array(hits, dtype=np.int64)


def _sweep(replay: Replay) -> Iterable[CapacityPoint]:
    """Capacities that double up to one that holds every block."""
    most = int(replay.blocks.length.sum())
    sizes = sorted({-(-most >> k) for k in range(SWEEP_POINTS)} - {0}) if most else []
    for capacity in sizes:
        in_tokens, in_bytes = _amounts(capacity, replay.blocks.block_size, replay.policy)
        rates = replay.rates(replay.hits(replay.policy.eviction, capacity))
        yield CapacityPoint(capacity, in_tokens, in_bytes, rates)


def _amounts(capacity: int, block_size: int, policy: CachePolicy) -> tuple[int, int | None]:
    in_tokens = capacity * block_size
    per_token = policy.bytes_per_token
    return in_tokens, None if per_token is None else in_tokens * per_token


def _result(
    replay: Replay,
    policy: CachePolicy,
    *,
    trace: Ints,
    logged: tuple[int, ...],
    estimated: int,
    left_out: int,
    untimed: int,
    sweep: bool,
) -> Simulation:
    blocks, passes = replay.blocks, replay.passes
    capacity = (
        policy.capacity.in_blocks(blocks.block_size, policy.bytes_per_token)
        if policy.capacity is not None
        else None
    )
    hits = replay.hits(policy.eviction, capacity)
    hit_tokens = replay.tokens(hits)
    first_call = np.zeros(len(blocks.length), dtype=np.int64)
    new = passes.before < 0
    first_call[passes.run[new]] = passes.call[new]
    own = trace[first_call[passes.run]] == trace[passes.call]
    total_hit, same = int(hit_tokens.sum()), int(hit_tokens[own].sum())
    in_tokens, in_bytes = (
        (None, None) if capacity is None else _amounts(capacity, blocks.block_size, policy)
    )
    endless = CachePolicy(engine_rule=policy.engine_rule)
    without_limit = (
        Replay(blocks, np.zeros(0, dtype=np.int64), endless) if policy.ttl_s is not None else replay
    )
    return Simulation(
        conventions=replay.rates(hits),
        ceiling=without_limit.rates(without_limit.hits(Eviction.INFINITE, None)),
        eviction=(Eviction.INFINITE if capacity is None else policy.eviction).value,
        engine_rule=policy.engine_rule.value,
        ttl_s=policy.ttl_s,
        capacity_blocks=capacity,
        capacity_tokens=in_tokens,
        capacity_bytes=in_bytes,
        bytes_per_token=policy.bytes_per_token,
        block_size=blocks.block_size,
        logged_block_sizes=logged,
        requests=len(blocks.size),
        traces=len(np.unique(trace)),
        total_blocks=int(blocks.total.sum()),
        unique_blocks=blocks.unique,
        hit_blocks=int(hits.sum()),
        input_tokens=int(blocks.size.sum()),
        hit_tokens=total_hit,
        same_trace_hit_tokens=same,
        other_trace_hit_tokens=total_hit - same,
        same_trace_share=same / total_hit if total_hit else None,
        estimated_requests=estimated,
        left_out_requests=left_out,
        untimed_requests=untimed,
        oversized_requests=0 if capacity is None else int((blocks.total > capacity).sum()),
        sweep_eviction=policy.eviction.value if sweep else None,
        sweep=tuple(_sweep(replay)) if sweep else (),
    )

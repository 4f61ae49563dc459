"""What analysis hands to reporters: plain numbers with their units, nothing left to compute.

Ratios are in [0, 1]; a ratio without a denominator is ``None``. Money is USD.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from forkpoint.analysis.entropy_results import Entropy


@dataclass(frozen=True, slots=True)
class FormatCount:
    """What one log format contributed."""

    files: int
    calls: int
    """Logged calls, copies included: what the files hold, not what was paid."""
    issues: int
    merged_records: int = 0
    """Records that described a call once more, in another layer of the program that logged it."""
    unlisted_tokens: int = 0
    """Input and output that totals in the logs state beyond the calls listed there."""


@dataclass(frozen=True, slots=True)
class Sources:
    """The files an answer rests on."""

    files: int
    bytes: int
    issues: int
    by_format: dict[str, FormatCount]
    unknown_files: int
    """Files under the paths that no parser claims."""
    deleted_files: int
    """Files that were read once and are gone now; their calls are not counted."""


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums over distinct calls. Token counts are as billed; a count no log states adds nothing."""

    calls: int = 0
    traces: int = 0
    groups: int = 0
    rollouts: int = 0
    input_tokens: int = 0
    uncached_input_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    cache_write_5m_tokens: int = 0
    cache_write_1h_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    cost_usd: float = 0.0
    priced_calls: int = 0
    unpriced_calls: int = 0
    """Calls whose model has no known price, or whose usage is not logged."""
    unpriced_models: tuple[str, ...] = ()
    calls_without_usage: int = 0


@dataclass(frozen=True, slots=True)
class GroupRow:
    """Totals of one row of ``--by``, with its realized cache figures."""

    key: str
    totals: Totals
    hit_rate: float | None
    cache_read_share: float | None


@dataclass(frozen=True, slots=True)
class WaterfallStep:
    """One level between all input and what the cache served."""

    step: str
    tokens: int
    usd: float | None


@dataclass(frozen=True, slots=True)
class MissCause:
    """Tokens lost to one cause."""

    cause: str
    source: str
    """``provider``: the provider said so. ``inferred``: worked out from the log."""
    calls: int
    tokens: int
    usd: float | None


@dataclass(frozen=True, slots=True)
class WorstCall:
    """One call that paid again for tokens already sent."""

    call_id: str
    path: str
    line: int
    model: str | None
    started_at: datetime | None
    idle_s: float | None
    """Since the trace's previous call; ``None`` for a trace's first call or without times."""
    missed_tokens: int
    missed_usd: float | None
    miss_reason: str | None


@dataclass(frozen=True, slots=True)
class Calibration:
    """How content was turned into billed tokens where prompts are not fully logged."""

    model: str
    tokens_per_byte: float
    unlogged_tokens: int
    """Median size of the part of a first prompt that the log does not hold."""
    relative_error: float
    """Sum of |billed - fitted| over sum of billed, on the growth from call to call."""
    pairs: int


@dataclass(frozen=True, slots=True)
class Cache:
    """Cache figures. Realized ones are the provider's; ideal ones are computed from the log."""

    hit_rate: float | None
    """Cache-read tokens over input tokens, of calls with usage."""
    cache_read_share: float | None
    """Cache-read tokens over all tokens (input + output), of calls with usage."""
    ideal_hit_rate: float | None
    """What an infinite cache of all earlier prompts and completions would have served."""
    policy_hit_rate: float | None
    waterfall: tuple[WaterfallStep, ...]
    misses_by_cause: tuple[MissCause, ...]
    unknown_share: float | None
    """Share of missed tokens without a named cause."""
    ideal_tokens: int
    input_tokens: int
    """The denominator of `ideal_hit_rate`: input of all calls whose size is known."""
    read_tokens: int
    missed_tokens: int
    """Ideal minus realized, over the calls whose logs report cache reads."""
    missed_usd: float | None
    provider_exceeds_calls: int
    """Calls where the provider read more than the log shows; ideal is raised to what it read."""
    shrunk_calls: int
    """Calls whose billed prompt shrank while its logged content grew."""
    unsized_calls: int
    """Calls with neither usage nor countable content: left out of the ideal."""
    worst_calls: tuple[WorstCall, ...]
    calibrations: tuple[Calibration, ...]
    evidence: dict[str, int]
    """Calls by what their figures rest on: ``hashed blocks``, ``token ids``, ``text``,
    ``text and usage``, ``usage and partial text``, ``usage``, ``none``."""
    reported_evidence: dict[str, int]
    """`evidence` of the calls whose logs report cache reads."""
    reported_ideal_hit_rate: float | None
    """`ideal_hit_rate` of the calls whose logs report cache reads: what `hit_rate` compares to."""
    unreported_calls: int
    """Calls of known size whose logs say nothing of cache reads, so nothing is known of realized."""
    unreported_ideal_tokens: int
    """What an infinite cache would have served of those."""


@dataclass(frozen=True, slots=True)
class Branch:
    """One continuation at a fork point."""

    kind: str
    """Kind of the segment it begins with: text, tool_result, …"""
    role: str
    calls: int
    path: str
    line: int


@dataclass(frozen=True, slots=True)
class Fork:
    """A place where prompts that began alike go different ways."""

    node: str
    trunk_tokens: int
    """Tokens all branches share, the common head of their first segments included."""
    head_tokens: int | None
    """Of those, tokens inside the segments that differ; ``None``: exact to the message only."""
    fan_out: int
    calls: int
    shared_tokens: int
    """Trunk tokens times (branches - 1): what sharing the trunk saves over sending it per branch."""
    ends_with: str
    """Kind of the trunk's last segment."""
    branches: tuple[Branch, ...]
    """At most eight, by calls."""


@dataclass(frozen=True, slots=True)
class PrefixTree:
    """All prompts as one tree. With prompts only and an infinite cold cache, the overlap ratio is
    the ideal hit rate."""

    flat_tokens: int
    tree_tokens: int
    overlap_ratio: float | None
    fork_points: int
    top_forks: tuple[Fork, ...]
    unrefined_forks: int
    """Forks exact to the message only: their text is not tokenised, or not readable any more."""


@dataclass(frozen=True, slots=True)
class Drift:
    """Equal text under different token ids, where logs hold both: forks that a tokenizer faked."""

    sequences: int
    """Ends of calls at which text and ids are both logged."""
    drifted: int
    """Different ids beyond the first for one text, within a group."""
    continued: int
    """Turns whose text goes on where the turn before ended."""
    broken: int
    """Those of them whose ids do not."""
    overlap_ratio_by_ids: float | None
    """POR of the sequences with both, as logged."""
    faked_tokens: int
    """Tokens of their trees that only stand apart because equal text has other ids."""
    overlap_ratio_without: float | None
    """POR of the same ids with those tokens shared: less `overlap_ratio_by_ids`, what drift costs."""
    overlap_ratio_by_text: float | None
    """POR of the texts, in tokens counted here: another unit, so it differs without drift too."""


@dataclass(frozen=True, slots=True)
class Rollouts:
    """Groups of rollouts: several samples of one prompt or task. Each group is a tree of its own."""

    groups: int
    rollouts: int
    sized_rollouts: int
    """Rollouts whose whole sequence is logged and countable: those that the tokens are of."""
    flat_tokens: int
    tree_tokens: int
    overlap_ratio: float | None
    """POR: 1 - tree / flat."""
    bound: float | None
    """flat / tree = 1 / (1 - POR): the most that sharing every prefix can speed up training."""
    trunk_tokens: int
    """Tokens that all rollouts of a group begin with, once per group."""
    rho: float | None
    """flat over (flat less repeated trunks): the same bound if only those are shared; for one group
    N (P + R) / (P + N R)."""
    turns: int
    """Calls of rollouts."""
    distinct_turns: int
    """Those of different conversations up to and with their response."""
    drift: Drift | None
    same_answer_share: float | None
    """Chance that two rollouts of a group gave the same answer, mean over groups with two or more
    answers."""
    mean_reward: float | None
    pass_hat: dict[int, float]
    """pass^k: the chance that k random rollouts of a task all succeed, mean over tasks."""
    generated_shared_tokens: int
    """Generated tokens that several rollouts of one group have in common, beyond the first."""


@dataclass(frozen=True, slots=True)
class LedgerRow:
    """One savings mechanism. Rows add up: each counts what the rows before it leave."""

    mechanism: str
    potential_tokens: int | None
    realized_tokens: int | None
    potential_usd: float | None
    realized_usd: float | None
    standalone_tokens: int | None
    """What the mechanism would save alone."""
    evidence: str
    needs: str | None
    """What the missing figures would take: more in the log, a replay, another model; ``None``: nothing
    is missing."""


@dataclass(frozen=True, slots=True)
class Savings:
    """The savings ledger and its sums."""

    realized_tokens: int
    realized_usd: float | None
    potential_tokens: int
    potential_usd: float | None
    ledger: tuple[LedgerRow, ...]


@dataclass(frozen=True, slots=True)
class Provenance:
    """What a reader needs to judge or repeat the answer."""

    version: str
    paths: tuple[str, ...]
    encoding: str
    price_book: str | None
    first_call: datetime | None
    last_call: datetime | None
    filters: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Report:
    """The whole answer of ``forkpoint report``."""

    sources: Sources
    totals: Totals
    cache: Cache
    prefix_tree: PrefixTree
    rollouts: Rollouts
    entropy: Entropy | None
    """``None``: no log holds logprobs."""
    savings: Savings
    provenance: Provenance
    by: str | None = None
    groups_by: tuple[GroupRow, ...] = ()


@dataclass(frozen=True, slots=True)
class HitRates:
    """One simulation's hit rate under four conventions. Micro: sums over all requests; macro: the
    mean of the requests' own rates."""

    cold_micro_block: float | None
    """Hit blocks over blocks."""
    cold_micro_token: float | None
    """Hit tokens over input tokens."""
    cold_macro: float | None
    """Mean, over the requests that have blocks, of hit blocks over blocks."""
    steady_micro_token: float | None
    """`cold_micro_token` of the last half of the requests: the first half only fills the cache."""


@dataclass(frozen=True, slots=True)
class CapacityPoint:
    """A cache of one size."""

    capacity_blocks: int
    capacity_tokens: int
    capacity_bytes: int | None
    """``None``: the size of a token in the cache is not known."""
    conventions: HitRates


@dataclass(frozen=True, slots=True)
class Simulation:
    """What a prefix cache would have served, replaying the prompts in the order they were sent."""

    conventions: HitRates
    ceiling: HitRates
    """The same for a cache that never forgets."""
    eviction: str
    """``infinite``, ``lru`` or ``fifo``."""
    engine_rule: str
    """``none``: every block can be hit. ``vllm``, ``sglang``: whole blocks only, and the last token
    of a prompt is always computed."""
    ttl_s: float | None
    capacity_blocks: int | None
    capacity_tokens: int | None
    capacity_bytes: int | None
    bytes_per_token: int | None
    block_size: int
    logged_block_sizes: tuple[int, ...]
    """Block sizes of the hashed-block traces among the logs."""
    requests: int
    traces: int
    total_blocks: int
    unique_blocks: int
    hit_blocks: int
    input_tokens: int
    hit_tokens: int
    same_trace_hit_tokens: int
    """Hit tokens that the same trace had been the first to send."""
    other_trace_hit_tokens: int
    same_trace_share: float | None
    """`same_trace_hit_tokens` over `hit_tokens`."""
    estimated_requests: int
    """Requests only partly logged: their positions go by what was billed."""
    left_out_requests: int
    """Requests of unknown size."""
    untimed_requests: int
    """Requests left out because a lifetime was asked for and the log has no time for them."""
    oversized_requests: int
    """Requests with more blocks than the cache holds; their heads are kept."""
    sweep_eviction: str | None
    sweep: tuple[CapacityPoint, ...]
    """By rising capacity; empty where no sweep was asked for."""


@dataclass(frozen=True, slots=True)
class Conventions:
    """One log's realized hit rate, as different tools define it. All are provider-reported."""

    micro_token: float | None
    """Σ cache read / Σ input: our hit rate."""
    macro: float | None
    """Mean over calls of cache read / input."""
    request: float | None
    """Share of calls that read anything."""
    steady_micro_token: float | None
    """`micro_token` of the later half of the calls."""
    read_share: float | None
    """Σ cache read / Σ (input + output)."""


@dataclass(frozen=True, slots=True)
class NetValue:
    """What caching cost and brought, of priced calls."""

    read_saving_usd: float
    """Reads, at the input price less the read price."""
    write_premium_usd: float
    """Writes, at the write price less the input price."""
    net_usd: float
    unread_write_tokens: int
    """Tokens written whose prefix no later call to the same model used within its lifetime."""
    unread_premium_usd: float
    """The premium paid for those."""


@dataclass(frozen=True, slots=True)
class LifetimeOption:
    """What the log's own idle times say about another cache lifetime."""

    name: str
    """``5 min``, ``1 h``, ``keep alive``."""
    calls: int
    """Calls that would still have found their prefix, or would not any more."""
    tokens: int
    saved_usd: float
    """Reads instead of writes; negative where entries would have expired."""
    extra_usd: float
    """Dearer writes, or the requests that keep entries alive."""
    net_usd: float


@dataclass(frozen=True, slots=True)
class Hint:
    """One thing to do, with what it would have saved on this log."""

    action: str
    """An instruction, in plain words."""
    cause: str
    calls: int
    tokens: int
    usd: float | None
    evidence: str
    """What in the log shows it."""
    path: str
    line: int


@dataclass(frozen=True, slots=True)
class CacheAnswer:
    """The whole answer of ``forkpoint cache``."""

    cache: Cache
    conventions: Conventions
    net: NetValue | None
    lifetimes: tuple[LifetimeOption, ...]
    hints: tuple[Hint, ...]
    rules: str
    """Which cache rules were used."""
    provenance: Provenance


@dataclass(frozen=True, slots=True)
class PathStep:
    """One segment on a call's path."""

    kind: str
    role: str
    tokens: int
    """Up to its end, in the call's own tokens."""
    shared: bool
    """Whether the earlier call's path holds it too."""
    excerpt: str | None
    """The beginning of its text, where text was kept or its log is still there; else ``None``."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why one call paid for what it paid: ``forkpoint cache --explain``."""

    call_id: str
    path: str
    line: int
    model: str | None
    started_at: datetime | None
    input_tokens: int
    read_tokens: int | None
    levels: tuple[tuple[str, int], ...]
    """(level, tokens), from reusable down to realized."""
    causes: tuple[tuple[str, str, int], ...]
    """(cause, source, tokens)."""
    earlier_call_id: str | None
    """The call that used the matching prefix last."""
    earlier_path: str | None
    earlier_line: int | None
    idle_s: float | None
    shared_tokens: int
    """Tokens this prompt shares with that call, to the token."""
    steps: tuple[PathStep, ...]
    """The prompt's path, at most the 40 segments around the place where it parts."""
    parts_at: str | None
    """How the two go on differently, where texts can be read: a short redacted comparison."""

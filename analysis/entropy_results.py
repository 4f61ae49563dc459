"""What analysis hands to reporters about token entropy. Nats, over the whole vocabulary; shares in
[0, 1]; ``None`` is a figure that the log cannot give."""

from __future__ import annotations

from dataclasses import dataclass

from forkpoint.analysis.entropy import Agreement, DifficultyCurve, HighRuns, Patches


@dataclass(frozen=True, slots=True)
class ScoredModel:
    """A model whose tokens were logged with their logprobs."""

    model: str
    """Empty where the log names none."""
    tokens: int
    vocabulary_size: int
    vocabulary_known: bool
    """False: the model is not listed, and the largest vocabulary in common use stands in."""


@dataclass(frozen=True, slots=True)
class EntropyWindow:
    """A stretch of a completion."""

    path: str
    line: int | None
    """``None``: the log states no request for the completion."""
    position: int
    """Its first token, from 0 at the completion's first."""
    tokens: int
    mean_nats: float


@dataclass(frozen=True, slots=True)
class ForkToken:
    """A token that often stands where entropy is high."""

    token: str | None
    """As its log names it; ``None``: the log is gone."""
    high: int
    """How often it was sampled where the entropy is high."""
    occurrences: int


@dataclass(frozen=True, slots=True)
class RankedToken:
    """One token of one completion."""

    token: str | None
    path: str
    line: int | None
    position: int
    value: float
    """What the list is ranked by."""
    advantage: float | None
    """(reward - mean) / standard deviation of the group."""
    entropy_nats: float | None


@dataclass(frozen=True, slots=True)
class UnlikelyTokens:
    """Low-probability tokens, and how often what they led to was rewarded (Lp-Reg's sparks)."""

    low: float | None
    """Probability up to which a token counts as unlikely: that of the least likely 1 %."""
    unlikely: int
    rewarded_share: float | None
    """Share of the unlikely tokens on rollouts better than their group's mean."""
    base_share: float | None
    """The same share of all tokens."""
    tokens: tuple[RankedToken, ...]
    """Of the rewarded ones, the least likely first; `value` is the probability."""


@dataclass(frozen=True, slots=True)
class Entropy:
    """Entropy of the sampled tokens in scope. Where only some probabilities were logged, bounds; a
    figure that needs one number per token takes the middle of its bounds."""

    tokens: int
    """Tokens of which any probability was logged."""
    unknown_tokens: int
    completions: int
    models: tuple[ScoredModel, ...]
    whole_tokens: int
    """Of `tokens`, those whose whole entropy was logged."""
    top_k_tokens: int
    """… those with the most likely tokens: bounds."""
    sampled_only_tokens: int
    """… those with the sampled token's logprob alone: very wide bounds."""
    threshold_nats: float | None
    threshold_low_nats: float | None
    threshold_high_nats: float | None
    """Between these the quantile lies for certain."""
    threshold_is_absolute: bool
    """True: the user's; False: the top `top_share` of all tokens in scope reach it."""
    top_share: float
    fork: int
    """Tokens whose entropy reaches the threshold for certain."""
    not_fork: int
    undecided: int
    mean_lower_nats: float | None
    mean_upper_nats: float | None
    mean_surprisal_nats: float | None
    """-ln p of the sampled tokens: an estimate of mean entropy if they were sampled from p as
    logged; no entropy of any one position."""
    top_mass_share: float | None
    """Share of all entropy that the top `top_share` of the tokens carries."""
    profile_nats: tuple[float | None, ...]
    """Mean by tenths of a completion."""
    windows: tuple[EntropyWindow, ...]
    fork_tokens: tuple[ForkToken, ...]
    mean_bits: float | None
    """Information in a completion: sum of -log2 p."""
    mean_rounds_in_order: float | None
    mean_rounds_any_order: float | None
    """Fewest rounds of a parallel decoder that takes sure tokens only (arXiv:2511.21103)."""
    mean_tokens: float | None
    runs: HighRuns | None
    """``None``: no trace has several scored completions."""
    difficulty: DifficultyCurve | None
    """``None``: fewer than two groups with rewards from 0 to 1."""
    agreement: Agreement | None
    """Whether siblings diverge where entropy is high; ``None``: no prompt has two completions."""
    decisive: tuple[RankedToken, ...] | None
    """By |advantage| x entropy (D3S)."""
    sparks: UnlikelyTokens | None
    """``None``: no group has different rewards."""
    patches: Patches | None
    """Completions cut before each token of high entropy."""
    replayed_tokens: int = 0
    """Of `tokens`, those of which the log says nothing and a replay does: they rest on the model that
    was run (`models`), which need not be the one that sampled them."""

"""What pruning hands to reporters. ``None`` is a figure that cannot be given."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PrunedKind:
    """Tokens of the chains that look alike: words, numbers, symbols or white space."""

    kind: str
    tokens: int
    pruned: int
    mean_loss_nats: float | None
    """What the answer lost without one that was kept; ``None``: none was."""


@dataclass(frozen=True, slots=True)
class PrunedExample:
    """One chain, whole and pruned."""

    chain: str
    kept: str
    answer: str


@dataclass(frozen=True, slots=True)
class PruningAnswer:
    """How much of the chains before answers can go while the answers stay as likely."""

    replay_id: str
    model: str
    device: str | None
    dtype: str | None
    unit: str
    """What is deleted as a whole."""
    loss_nats: float
    """The most that ln p of an answer may lose."""
    round_share: float
    """Of what is left of a chain, the share deleted after each look at all single deletions."""
    completions: int
    """Distinct ones that were pruned, now or before."""
    new_completions: int
    """Of them, those of this run."""
    skipped: dict[str, int]
    """Completions left out, by reason."""
    chain_tokens: int
    """Generated before the answers."""
    pruned_tokens: int
    """Of them, those that can go."""
    answer_tokens: int
    mean_answer_nats: float | None
    """-ln p of an answer behind its whole chain."""
    mean_pruned_nats: float | None
    """And behind what was kept of it."""
    kinds: tuple[PrunedKind, ...]
    """``()`` also where the texts of the model's tokens are not known."""
    examples: tuple[PrunedExample, ...]
    """The chains of which the largest share can go."""
    flat_tokens: int
    """What this run would have computed with each variant of a chain alone."""
    run_tokens: int
    """What it computed: variants share what they begin with."""
    seconds: float
    """Of it; loading the model included."""

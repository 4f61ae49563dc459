"""What analysis hands to reporters about fork points. Depths are tokens from the beginning of the
sequence; values are mean rewards; ``None`` is a figure that the log cannot give."""

from __future__ import annotations

from dataclasses import dataclass

from forkpoint.analysis.entropy_results import Entropy
from forkpoint.analysis.results import Fork, Provenance


@dataclass(frozen=True, slots=True)
class ForkBranch:
    """One way that rollouts took at a fork."""

    rollouts: int
    value: float | None
    """V: mean reward of its rollouts."""
    advantage: float | None
    """V less the fork's own V."""
    begins: str | None
    """How it begins, where the log can be read; empty: the rollout ends here."""
    path: str
    line: int | None
    """Of one rollout that took it."""
    trace: str


@dataclass(frozen=True, slots=True)
class GroupFork:
    """Where rollouts of one group part."""

    group: str
    depth_tokens: int
    generated_tokens: int
    """Of those, tokens that a model generated."""
    rollouts: int
    fan_out: int
    by: str
    """``model``: it wrote all the branches' beginnings. ``environment``: some are messages of others: a
    tool's result, a user's words, another prompt. ``unknown``: some are token ids or rendered text that
    the log does not mark as sampled, and nobody is named: a trainer may mask a model's earlier turns."""
    branching_entropy_nats: float
    """Of the branches' shares, corrected for ways not seen (Chao-Shen below 32 rollouts)."""
    plug_in_nats: float
    """The same uncorrected: biased low."""
    unseen_mass: float
    """Good-Turing estimate of the chance that one more rollout takes a way of its own."""
    value: float | None
    contrast: float | None
    """Greatest less least V of its branches."""
    p_value: float | None
    """Chance of such a contrast if rewards fell at random; of this fork alone, not corrected for how
    many forks there are."""
    branches: tuple[ForkBranch, ...]
    """At most eight, by rollouts."""


@dataclass(frozen=True, slots=True)
class DepthBand:
    """Forks between two depths: what rewards can tell there."""

    low: float
    high: float
    """Shares of the mean generated length of a rollout of the group."""
    forks: int
    mean_rollouts_per_branch: float | None
    """Many early, few late: values are coarse where they rest on few rollouts."""
    mean_contrast: float | None
    mean_branching_entropy_nats: float | None


@dataclass(frozen=True, slots=True)
class GroupForkSummary:
    """All forks of all groups of rollouts."""

    groups: int
    forks: int
    by_model: int
    by_environment: int
    decisive: int
    """Forks whose branches differ in mean reward."""
    mean_fan_out: float | None
    mean_branching_entropy_nats: float | None
    bands: tuple[DepthBand, ...]
    shared_generated_tokens: int
    """Generated tokens on which two or more rollouts of a group agree, each place once."""
    conflict_tokens: int
    """Those of them that lie on rollouts above and on rollouts below their group's mean reward:
    their gradients pull both ways."""


@dataclass(frozen=True, slots=True)
class ForksAnswer:
    """The whole answer of ``forkpoint forks``."""

    fork_points: int
    """Of all prompts as one tree; see ``forkpoint prefixes``."""
    prompt_forks: tuple[Fork, ...]
    rollout_forks: GroupForkSummary | None
    """``None``: no log holds groups of rollouts whose content can be counted."""
    top_rollout_forks: tuple[GroupFork, ...]
    """By how much their contrast says (it counts less where few rollouts are behind it)."""
    entropy: Entropy | None
    """``None``: no log holds logprobs."""
    provenance: Provenance

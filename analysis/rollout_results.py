"""What analysis hands to reporters about groups of rollouts. Tokens are counts, shares in [0, 1];
``None`` is a figure that the log cannot give."""

from __future__ import annotations

from dataclasses import dataclass

from forkpoint.analysis.early_stop import EarlyStop
from forkpoint.analysis.results import Provenance, Rollouts
from forkpoint.analysis.votes import Outcome


@dataclass(frozen=True, slots=True)
class RolloutGroup:
    """One group."""

    group: str
    rollouts: int
    sized_rollouts: int
    """Rollouts whose whole sequence is logged and countable: those that the tokens are of."""
    distinct_rollouts: int
    """Different ones among those."""
    turns: int
    """Calls of its rollouts."""
    distinct_turns: int
    """Different ones: the size of its tree in turns. Two are one if all up to the response is the same."""
    flat_tokens: int
    tree_tokens: int
    overlap_ratio: float | None
    trunk_tokens: int
    """What all of them begin with."""
    rho: float | None
    bound: float | None
    forks: int
    mean_generated_tokens: float | None
    mean_reward: float | None
    answers: int
    """Rollouts with an answer."""
    distinct_answers: int
    modal_share: float | None
    """Share of the group's rollouts that gave its commonest answer."""
    same_answer_share: float | None
    """Chance that two of its rollouts gave the same answer; one without an answer agrees with none."""


@dataclass(frozen=True, slots=True)
class BudgetPoint:
    """What so many rollouts of a group cost, mean over groups and orders of sampling."""

    rollouts: int
    chain_tokens: float
    """Each sampled alone."""
    tree_tokens: float
    """As branches of one tree."""
    distinct: float


@dataclass(frozen=True, slots=True)
class Scheme:
    """A published way to sample trees, on rollouts as long as the logged ones."""

    name: str
    parameters: str
    leaves: int
    kept: int
    sampled_tokens: float
    tree_tokens: float
    flat_tokens: float
    trajectory_ratio: float | None
    """Rollouts for each one that the same generated tokens buy without a tree."""


@dataclass(frozen=True, slots=True)
class MergedDepth:
    """What would be saved if rollouts stayed together longer."""

    fraction: float
    """Of the mean length of a group's rollouts."""
    saving: float
    """Share of the flat tokens that a tree then saves."""
    merged: float | None
    """How merged the rollouts are there now: 1 if all go one way, 0 if each its own."""


@dataclass(frozen=True, slots=True)
class TreeBudget:
    """What the logged token budget buys, sampled as chains and as trees. Tokens after the prompt: a
    prompt is shared anyway."""

    groups: int
    """Groups of two or more sized rollouts."""
    budget_tokens: int
    """What their rollouts cost, each alone."""
    tree_tokens: int
    """What they cost as a tree."""
    chains: int
    """Rollouts logged: what the budget bought alone."""
    distinct: int
    """Different ones among those."""
    branches: float | None
    """Rollouts that it buys if branched at the observed forks: what the trees save is spent on
    further rollouts, at the mean cost of those after the first of each group. ``None``: they cost
    nothing, as all rollouts of each group are equal."""
    branches_by_ratio: float
    """The same by proportion, chains * flat / tree: a lower figure."""
    curve: tuple[BudgetPoint, ...]
    schemes: tuple[Scheme, ...]
    by_depth: tuple[MergedDepth, ...]


@dataclass(frozen=True, slots=True)
class DeepConfRow:
    """DeepConf on the log's own confidences."""

    name: str
    keep_percent: float
    groups: int
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class ClusterAudit:
    """Pruning of rollouts that begin alike."""

    first_tokens: int
    """So many tokens after the prompt are compared."""
    threshold: float
    """Of the similarity (Jaccard index of pairs of tokens)."""
    auroc: float | None
    """How well the similarity tells "these two end with the same answer": 0.5 is chance."""
    same_pairs: int
    different_pairs: int
    groups: int
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class AnswerAudit:
    """What the answers of groups say about sampling fewer. Of groups with two or more rollouts."""

    groups: int
    rollouts: int
    answered: int
    logged_answers: int
    """Answers that a field of the log states; the others were found in the text."""
    modal_share: float | None
    same_answer_share: float | None
    distinct_answers: float | None
    answer_entropy_nats: float | None
    """These four: mean over groups with an answer."""
    pass_at_k: dict[int, float]
    """Chance that at least one of k rollouts succeeds; mean over groups with k or more."""
    majority_accuracy: float | None
    """Mean reward of the rollouts that gave a group's commonest answer; mean over groups."""
    oracle_prune: float | None
    """Share of tokens saved if only the shortest rollout of each answer had run: an upper bound."""
    oracle_prune_first: float | None
    oracle_prune_mean: float | None
    early_stop: tuple[EarlyStop, ...]
    deep_conf: tuple[DeepConfRow, ...]
    """Empty where logprobs of the most likely tokens are not logged."""
    clusters: ClusterAudit | None
    orders: int
    seed: int


@dataclass(frozen=True, slots=True)
class RolloutsAnswer:
    """The whole answer of ``forkpoint rollouts``."""

    rollouts: Rollouts
    groups: tuple[RolloutGroup, ...]
    """By flat tokens, largest first."""
    budget: TreeBudget | None
    answers: AnswerAudit | None
    provenance: Provenance


@dataclass(frozen=True, slots=True)
class TreeLine:
    """One line of a drawn tree: a stretch that no fork interrupts, or a rollout's last stretch."""

    depth: int
    """Nesting, 0 for the trunk."""
    is_last: bool
    """No sibling follows."""
    start_tokens: int
    tokens: int
    rollouts: int
    mean_reward: float | None
    answers: tuple[str, ...]
    """Different answers below, at most three."""
    trace: str | None
    """The rollout that ends here; ``None``: the stretch ends in a fork, or several end alike."""
    begins: str | None
    """How its text begins, where the log can be read."""


@dataclass(frozen=True, slots=True)
class DrawnTree:
    """One group as a tree, from the top down."""

    group: RolloutGroup
    lines: tuple[TreeLine, ...]
    left_out: int
    """Rollouts whose content was not logged or cannot be counted."""

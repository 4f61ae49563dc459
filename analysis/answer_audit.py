"""What the answers of groups say about sampling fewer rollouts."""

from __future__ import annotations

from math import comb

import numpy as np

from forkpoint.analysis.answer_clusters import TokenLists, answer_auroc, prune_clusters
from forkpoint.analysis.answers import AnswerStats, majority_accuracy, measure_answers
from forkpoint.analysis.deep_conf import measure_confidence, simulate_offline, simulate_online
from forkpoint.analysis.early_stop import oracle_prune, simulate
from forkpoint.analysis.rollout_results import AnswerAudit, ClusterAudit, DeepConfRow
from forkpoint.analysis.rollouts import SUCCESS, GroupedRollouts
from forkpoint.analysis.token_entropy import ScoredTokens
from forkpoint.analysis.token_runs import offsets_of
from forkpoint.analysis.tree import Floats, Ints
from forkpoint.analysis.votes import ORDERS, AnswerGroups, answer_groups

LEAST_FIRST_TOKENS, MOST_FIRST_TOKENS = 4, 256
CLUSTER_THRESHOLD = 0.5
MAX_PASS_K = 1024


def group_stats(codes: Ints, grouped: GroupedRollouts) -> list[AnswerStats]:
    """Agreement of each group's answers.

    Args:
        codes: per rollout, its answer; see `forkpoint.analysis.rollout_texts.coded_answers`.
    """
    groups = len(grouped.table.groups)
    cuts = np.searchsorted(grouped.table.group, np.arange(groups + 1))
    return [measure_answers(codes[cuts[i] : cuts[i + 1]]) for i in range(groups)]


def same_answer_share(stats: list[AnswerStats]) -> float | None:
    """Chance that two rollouts of a group agree, mean over groups with two or more answers."""
    shares = [
        each.pair_redundancy
        for each in stats
        if each.answered >= 2 and each.pair_redundancy is not None
    ]
    return float(np.mean(shares)) if shares else None


def audit_answers(
    grouped: GroupedRollouts,
    codes: Ints,
    stats: list[AnswerStats],
    first_tokens: TokenLists | None,
    scored: ScoredTokens | None,
    *,
    orders: int = ORDERS,
    seed: int = 0,
) -> AnswerAudit | None:
    """Early stopping, pruning and what an oracle would save; ``None`` without two answers in any
    group.

    Args:
        codes: per rollout, its answer as a number; below 0: none.
        stats: `group_stats` of them.
        first_tokens: `partial_length` tokens of each rollout, if they can be read.
        scored: logged logprobs, for DeepConf.
    """
    table = grouped.table
    several = np.bincount(table.group, minlength=len(table.groups)) > 1
    voted = [
        each for each, many in zip(stats, several.tolist(), strict=True) if many and each.answered
    ]
    if not any(each.answered > 1 for each in voted):
        return None
    chosen = np.flatnonzero(several[table.group])
    groups = answer_groups(
        table.group[chosen], codes[chosen], grouped.generated_tokens[chosen], table.reward[chosen]
    )
    return AnswerAudit(
        groups=len(groups),
        rollouts=len(chosen),
        answered=int((groups.answers >= 0).sum()),
        logged_answers=sum(table.answer[i] is not None for i in chosen.tolist()),
        modal_share=_mean([each.modal_share for each in voted]),
        same_answer_share=same_answer_share(voted),
        distinct_answers=_mean([float(each.distinct) for each in voted]),
        answer_entropy_nats=_mean([each.entropy for each in voted]),
        pass_at_k=pass_at_each_k(groups),
        majority_accuracy=_majority(groups),
        oracle_prune=oracle_prune(groups),
        oracle_prune_first=oracle_prune(groups, "first"),
        oracle_prune_mean=oracle_prune(groups, "mean"),
        early_stop=simulate(groups, orders=orders, seed=seed),
        deep_conf=_deep_conf(grouped, chosen, groups, scored, orders, seed),
        clusters=_clusters(
            chosen, groups, first_tokens, partial_length(grouped), orders=orders, seed=seed
        ),
        orders=orders,
        seed=seed,
    )


def _mean(values: list[float | None]) -> float | None:
    known = [each for each in values if each is not None]
    return float(np.mean(known)) if known else None


def pass_at_each_k(groups: AnswerGroups) -> dict[int, float]:
    """pass@k for k = 1, 2, 4, …: over groups with k or more rollouts of known reward.

    Unbiased: 1 - C(n - successes, k) / C(n, k) (arXiv:2107.03374).
    """
    known = ~np.isnan(groups.rewards)
    n = np.bincount(groups.group[known], minlength=len(groups))
    wins = np.bincount(groups.group[known & (groups.rewards >= SUCCESS)], minlength=len(groups))
    found: dict[int, float] = {}
    k = 1
    while k <= min(int(n.max(initial=0)), MAX_PASS_K):
        enough = np.flatnonzero(n >= k)
        found[k] = float(
            np.mean([1 - comb(n[i] - wins[i], k) / comb(n[i], k) for i in enough.tolist()])
        )
        k *= 2
    return found


def _majority(groups: AnswerGroups) -> float | None:
    bounds = zip(groups.starts[:-1].tolist(), groups.starts[1:].tolist(), strict=True)
    return _mean([majority_accuracy(groups.answers[a:b], groups.rewards[a:b]) for a, b in bounds])


def partial_length(grouped: GroupedRollouts) -> int:
    """Tokens by which partial rollouts are told apart: half of what a rollout generates in the
    median, within bounds. DeepPrune compares traces cut short too (arXiv:2510.08483)."""
    known = grouped.generated_tokens[grouped.generated_tokens > 0]
    half = int(np.median(known)) // 2 if len(known) else 0
    return min(max(half, LEAST_FIRST_TOKENS), MOST_FIRST_TOKENS)


def _clusters(
    chosen: Ints,
    groups: AnswerGroups,
    tokens: TokenLists | None,
    length: int,
    *,
    orders: int,
    seed: int,
) -> ClusterAudit | None:
    if tokens is None or not len(tokens.tokens):
        return None
    own = _chosen_lists(tokens, chosen)
    agreement = answer_auroc(groups, own, length)
    if not agreement.same_pairs + agreement.different_pairs:
        return None
    pruning = prune_clusters(
        groups, own, length, threshold=CLUSTER_THRESHOLD, orders=orders, seed=seed
    )
    return ClusterAudit(
        first_tokens=length,
        threshold=CLUSTER_THRESHOLD,
        auroc=agreement.auroc,
        same_pairs=agreement.same_pairs,
        different_pairs=agreement.different_pairs,
        groups=pruning.groups,
        outcome=pruning.outcome,
    )


def _chosen_lists(tokens: TokenLists, chosen: Ints) -> TokenLists:
    lengths = np.diff(tokens.offsets)[chosen]
    offsets = offsets_of(lengths)
    at = np.repeat(tokens.offsets[chosen] - offsets[:-1], lengths) + np.arange(int(lengths.sum()))
    return TokenLists(tokens.tokens[at], offsets)


def _deep_conf(
    grouped: GroupedRollouts,
    chosen: Ints,
    groups: AnswerGroups,
    scored: ScoredTokens | None,
    orders: int,
    seed: int,
) -> tuple[DeepConfRow, ...]:
    if scored is None:
        return ()
    confidences, offsets = _confidences(grouped, chosen, scored)
    if not len(confidences):
        return ()
    measured = measure_confidence(confidences, offsets)
    runs = [
        (
            "online, low",
            simulate_online(groups, measured, keep_percent=10, orders=orders, seed=seed),
        ),
        (
            "online, high",
            simulate_online(groups, measured, keep_percent=90, orders=orders, seed=seed),
        ),
        ("vote by tail", simulate_offline(groups, measured, orders=orders, seed=seed)),
    ]
    return tuple(
        DeepConfRow(name, run.keep_percent, run.groups, run.outcome)
        for name, run in runs
        if run.groups
    )


def _confidences(
    grouped: GroupedRollouts, chosen: Ints, scored: ScoredTokens
) -> tuple[Floats, Ints]:
    """Confidences of the chosen rollouts' tokens, and where each rollout's begin. A rollout whose
    log lacks any of them has none."""
    by_id = {trace: i for i, trace in enumerate(scored.completions.trace_ids)}
    number = {trace: i for i, trace in enumerate(grouped.table.ids)}
    rollout = np.array([number.get(each, -1) for each in by_id], dtype=np.int64)
    of_completion = rollout[scored.completions.trace]
    place = np.full(len(grouped.table) + 1, -1, dtype=np.int64)
    place[chosen] = np.arange(len(chosen))
    row = place[of_completion][scored.completion]
    missing = np.zeros(len(chosen), dtype=np.bool_)
    missing[row[(row >= 0) & np.isnan(scored.confidence)]] = True
    kept = np.flatnonzero((row >= 0) & ~missing[np.maximum(row, 0)])
    order = kept[np.argsort(row[kept], kind="stable")]
    counts = np.bincount(row[order], minlength=len(chosen)).astype(np.int64)
    return scored.confidence[order], offsets_of(counts)

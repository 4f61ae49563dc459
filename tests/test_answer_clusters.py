"""Pruning of like traces: similarities, AUROC, clusters and votes against brute force."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from itertools import chain, combinations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forkpoint.analysis import answer_clusters
from forkpoint.analysis.answer_clusters import (
    Similarity,
    TokenLists,
    answer_auroc,
    auroc,
    common_prefix_similarity,
    greedy_clusters,
    ngram_similarity,
    prune_clusters,
)
from forkpoint.analysis.answers import answer_codes, extract_answer, normalise_answer
from forkpoint.analysis.tokens import Tokenizer
from forkpoint.analysis.votes import AnswerGroups, Estimate, answer_groups, arrivals

ORDERS = 4

Trace = tuple[int, list[int], float]
"""(answer or -1, tokens, reward or NaN)"""

tokens = st.lists(st.integers(0, 3), max_size=9)
traces = st.tuples(st.integers(-1, 2), tokens, st.sampled_from([0.0, 1.0, math.nan]))
many_groups = st.lists(st.lists(traces, min_size=1, max_size=7), min_size=1, max_size=4)


def columns(lists: list[list[Trace]]) -> tuple[AnswerGroups, TokenLists]:
    flat = [trace for group in lists for trace in group]
    number = np.repeat(np.arange(len(lists)), [len(group) for group in lists])
    groups = answer_groups(
        number.astype(np.int64),
        np.array([answer for answer, _, _ in flat], dtype=np.int64),
        np.array([len(ids) for _, ids, _ in flat], dtype=np.int64),
        np.array([reward for _, _, reward in flat]),
    )
    return groups, token_lists([ids for _, ids, _ in flat])


def token_lists(lists: list[list[int]]) -> TokenLists:
    offsets = np.cumsum([0, *map(len, lists)]).astype(np.int64)
    return TokenLists(np.array(list(chain(*lists)), dtype=np.int64), offsets)


def arrays(lists: list[list[int]]) -> list[np.ndarray[tuple[int], np.dtype[np.int64]]]:
    return [np.array(each, dtype=np.int64) for each in lists]


def jaccard(one: list[int], other: list[int], n: int = 2) -> float:
    def grams(ids: list[int]) -> set[tuple[int, ...]]:
        width = min(n, len(ids))
        return {tuple(ids[i : i + width]) for i in range(len(ids) - width + 1) if width}

    a, b = grams(one), grams(other)
    return len(a & b) / len(a | b) if a | b else 0.0


def shared_prefix(one: list[int], other: list[int]) -> float:
    same = [a == b for a, b in zip(one, other, strict=False)]
    common = same.index(False) if False in same else len(same)
    return common / max(len(one), len(other), 1)


@pytest.mark.parametrize("cells", [1, 1 << 22])
@settings(max_examples=60)
@given(lists=st.lists(tokens, max_size=6), n=st.integers(1, 4))
def test_ngram_similarity_is_the_jaccard_index(cells: int, lists: list[list[int]], n: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(answer_clusters, "_CELLS", cells)
        found = ngram_similarity(arrays(lists), n)
    expected = [[jaccard(one, other, n) for other in lists] for one in lists]
    assert found.tolist() == expected


def test_the_order_of_tokens_counts() -> None:
    found = ngram_similarity(arrays([[1, 2], [2, 1], [0, 0], [0], [-5, 2**62], [-5, 2**62]]))
    assert (found == np.eye(6)).sum() == 34
    assert found[4, 5] == 1
    with pytest.raises(ValueError):
        ngram_similarity([], 0)


@given(st.lists(tokens, max_size=5))
def test_common_prefix_similarity_is_the_shared_part_of_the_longer(lists: list[list[int]]) -> None:
    found = common_prefix_similarity(arrays(lists))
    expected = [[shared_prefix(one, other) for other in lists] for one in lists]
    assert found.tolist() == expected


@given(st.lists(st.tuples(st.integers(0, 4), st.booleans()), max_size=20))
def test_auroc_equals_comparing_each_pair(scored: list[tuple[int, bool]]) -> None:
    positives = [score for score, label in scored if label]
    negatives = [score for score, label in scored if not label]
    found = auroc(np.array([s for s, _ in scored], float), np.array([x for _, x in scored], bool))
    if not positives or not negatives:
        assert found is None
    else:
        wins = sum((p > n) + (p == n) / 2 for p in positives for n in negatives)
        assert found == pytest.approx(wins / len(positives) / len(negatives))


@given(many_groups, st.integers(0, 6))
def test_answer_auroc_takes_unfinished_pairs_of_answered_traces(
    lists: list[list[Trace]], length: int
) -> None:
    groups, ids = columns(lists)
    found = answer_auroc(groups, ids, length)
    scores, labels = [], []
    for group in lists:
        usable = [(a, t) for a, t, _ in group if a >= 0 and len(t) > length]
        for (one, its), (other, others) in combinations(usable, 2):
            scores.append(jaccard(its[:length], others[:length]))
            labels.append(one == other)
    assert (found.same_pairs, found.different_pairs) == (labels.count(True), labels.count(False))
    assert found.auroc == auroc(np.array(scores, dtype=float), np.array(labels, dtype=bool))


def cluster(
    group: list[Trace], order: list[int], length: int, threshold: float, most: int
) -> list[int]:
    """Representative of each trace of the order."""
    heads: list[int] = []
    joins = []
    for trace in order:
        own = group[trace][1][:length]
        alike = {head: jaccard(own, group[head][1][:length]) for head in sorted(heads)}
        best = max(alike, key=lambda head: alike[head]) if alike else -1
        if heads and (alike[best] >= threshold or len(heads) >= most):
            joins.append(best)
        else:
            heads.append(trace)
            joins.append(trace)
    return joins


def leading(votes: list[tuple[int, int]]) -> int:
    totals: Counter[int] = Counter()
    leader = -1
    for answer, weight in votes:
        if answer >= 0:
            totals[answer] += weight
            if leader < 0 or totals[answer] > totals[leader]:
                leader = answer
    return leader


def reward_of(group: list[Trace], answer: int) -> float:
    known = [r for a, _, r in group if a == answer >= 0 and not math.isnan(r)]
    return sum(known) / len(known) if known else math.nan


@settings(max_examples=100)
@given(many_groups, st.integers(0, 6), st.sampled_from([0.2, 0.5, 1.0]), st.integers(1, 4))
def test_pruning_equals_the_reference(
    lists: list[list[Trace]], length: int, threshold: float, most: int
) -> None:
    groups, ids = columns(lists)
    found = prune_clusters(
        groups, ids, length, threshold=threshold, max_clusters=most, orders=ORDERS
    )
    names = ("traces_saved", "tokens_saved", "same_answer", "undecided", "accuracy_change")
    per_order: list[dict[str, list[float]]] = [{name: [] for name in names} for _ in range(ORDERS)]
    for arrival in arrivals(groups, ORDERS, seed=0, pairs=True):
        for o in range(ORDERS):
            for g, number in enumerate(arrival.groups.tolist()):
                group = lists[number]
                order = (arrival.traces[o, g] - groups.starts[number]).tolist()
                joins = cluster(group, order, length, threshold, most)
                pruned = [
                    trace
                    for trace, head in zip(order, joins, strict=True)
                    if head != trace and len(group[trace][1]) > length
                ]
                carried = Counter(
                    head for trace, head in zip(order, joins, strict=True) if trace in pruned
                )
                votes = [(group[t][0], 1 + carried[t]) for t in order if t not in pruned]
                winner, full = leading(votes), leading([(group[t][0], 1) for t in order])
                shares = per_order[o]
                shares["traces_saved"].append(len(pruned))
                shares["tokens_saved"].append(sum(len(group[t][1]) - length for t in pruned))
                if full >= 0:
                    shares["same_answer"].append(winner == full)
                    shares["undecided"].append(winner < 0)
                change = reward_of(group, winner) - reward_of(group, full)
                if not math.isnan(change):
                    shares["accuracy_change"].append(change)
    total = {
        "traces_saved": sum(map(len, lists)),
        "tokens_saved": sum(len(ids) for group in lists for _, ids, _ in group),
    }
    assert found.groups == len(lists)
    for name in names:
        estimate: Estimate | None = getattr(found.outcome, name)
        values = [
            sum(each[name]) / total.get(name, len(each[name]))
            for each in per_order
            if total.get(name, len(each[name]))
        ]
        if not values:
            assert estimate is None
        else:
            assert estimate is not None
            assert estimate.mean == pytest.approx(np.mean(values), abs=1e-12)


def test_a_small_group_worked_by_hand() -> None:
    same, other = [1, 2, 3, 4], [7, 8, 9, 7]
    lists: list[list[Trace]] = [
        [
            (0, same + [5] * 6, 1.0),
            (0, same + [6] * 6, 1.0),
            (0, same + [7] * 6, 1.0),
            (1, other + [0] * 6, 0.0),
            (1, other, 0.0),
        ]
    ]
    groups, ids = columns(lists)
    found = prune_clusters(groups, ids, 4, threshold=0.5)
    # Two of the first three are given up after 4 of 10 tokens. Of the last two, in half of all
    # orders the one that still runs: the other has ended, whether it represents the cluster or not.
    saved = found.outcome.tokens_saved
    assert saved is not None and saved.standard_error is not None
    assert saved.mean == pytest.approx((12 + 3) / 44, abs=5 * saved.standard_error)
    # Whoever runs for the three votes for three, so 0 still wins.
    assert found.outcome.same_answer == Estimate(1.0, 0.0)
    assert found.outcome.accuracy_change == Estimate(0.0, 0.0)


def test_no_more_clusters_than_allowed() -> None:
    likeness = np.eye(5)[None]
    order = np.array([[[4, 0, 3, 1, 2]]])
    assert greedy_clusters(likeness, order, threshold=0.5, max_clusters=2).tolist() == [
        [[4, 0, 0, 0, 0]]
    ]
    assert greedy_clusters(likeness, order, threshold=0.5, max_clusters=9).tolist() == [
        order[0].tolist()
    ]


def test_the_choice_of_similarity_is_the_callers() -> None:
    groups, ids = columns([[(0, [1, 2, 3, 4], 1.0), (0, [9, 2, 3, 4], 1.0)] * 2])

    def saved(similarity: Similarity) -> float:
        found = prune_clusters(groups, ids, 3, threshold=0.3, similarity=similarity)
        assert found.outcome.traces_saved is not None
        return found.outcome.traces_saved.mean

    assert saved(ngram_similarity) == 0.75
    assert saved(common_prefix_similarity) == 0.5


def test_groups_with_unknown_tokens_are_left_out() -> None:
    ids = token_lists([[1, 2], [1, 2], [1, 2], [1, 2]])
    groups = answer_groups(
        np.array([0, 0, 1, 1]), np.array([0, 0, 0, 1]), np.array([-1, 2, 9, 9]), np.ones(4)
    )
    found = prune_clusters(groups, ids, 2, threshold=0.5)
    assert found.groups == 1
    assert found.outcome.traces_saved == Estimate(0.5, 0.0)
    assert found.outcome.tokens_saved is not None
    assert found.outcome.tokens_saved.mean == pytest.approx(7 / 18)


def test_nonsense_is_refused() -> None:
    groups, ids = columns([[(0, [1, 2], 1.0)]])
    with pytest.raises(ValueError):
        TokenLists(np.zeros(2, dtype=np.int64), np.array([0, 1]))
    with pytest.raises(ValueError):
        prune_clusters(groups, ids, -1, threshold=0.5)
    with pytest.raises(ValueError):
        prune_clusters(groups, ids, 1, threshold=0.0)
    with pytest.raises(ValueError):
        prune_clusters(groups, ids, 1, threshold=0.5, max_clusters=0)
    with pytest.raises(ValueError):
        prune_clusters(groups, token_lists([]), 1, threshold=0.5)


@pytest.mark.real
def test_real_solutions_that_begin_alike_agree_more_often(real_logs: Path) -> None:
    pattern = re.compile(r"^A: (.*)$", re.MULTILINE)
    tokenizer = Tokenizer()
    log = real_logs / "rollout-groups/gsm8k-model-solutions/example_model_solutions.jsonl"
    texts: list[str] = []
    numbers: list[int] = []
    with open(log, encoding="utf-8") as lines:
        for number, problem in enumerate(map(json.loads, lines)):
            own = [model["solution"] for model in problem.values() if isinstance(model, dict)]
            texts += own
            numbers += [number] * len(own)
    answers = [extract_answer(text, pattern) for text in texts]
    codes = answer_codes([each and normalise_answer(each) for each in answers])
    ids = token_lists([encoded.tolist() for encoded in tokenizer.encode_batch(texts)])
    groups = answer_groups(np.array(numbers), codes, np.diff(ids.offsets))
    by_ngrams = answer_auroc(groups, ids, 50)
    by_prefix = answer_auroc(groups, ids, 50, common_prefix_similarity)
    assert by_ngrams.auroc == pytest.approx(0.741, abs=0.01)
    assert by_prefix.auroc == pytest.approx(0.534, abs=0.01)

"""Votes and stopping rules against a slow reference, one trace at a time."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from itertools import permutations
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forkpoint.analysis import votes as votes_module
from forkpoint.analysis.early_stop import (
    RULES,
    AdaptiveConsistency,
    EarlyStop,
    Rule,
    Settled,
    WindowAgreement,
    oracle_prune,
    simulate,
    stop_index,
    votes_needed,
)
from forkpoint.analysis.votes import (
    AnswerGroups,
    Estimate,
    Outcome,
    answer_groups,
    arrivals,
    running_votes,
)

Trace = tuple[int, int, float]
"""(answer or -1, tokens or -1, reward or NaN)"""

ORDERS = 5

traces = st.tuples(
    st.integers(-1, 3),
    st.sampled_from([*range(1, 9)] * 4 + [-1]),
    st.sampled_from([0.0, 1.0, 0.5, math.nan]),
)
many_groups = st.lists(st.lists(traces, min_size=1, max_size=12), max_size=6)


def columns(groups: list[list[Trace]]) -> AnswerGroups:
    flat = [trace for group in groups for trace in group]
    number = np.repeat(np.arange(len(groups)), [len(group) for group in groups])
    return answer_groups(
        number.astype(np.int64),
        np.array([t[0] for t in flat], dtype=np.int64),
        np.array([t[1] for t in flat], dtype=np.int64),
        np.array([t[2] for t in flat], dtype=np.float64),
    )


class Poll:
    """Votes counted one by one; a leader stays until it is overtaken."""

    def __init__(self) -> None:
        self.counts: Counter[int] = Counter()
        self.leader = -1

    def add(self, answer: int, weight: int = 1) -> None:
        if answer < 0:
            return
        self.counts[answer] += weight
        if self.leader < 0 or self.counts[answer] > self.counts[self.leader]:
            self.leader = answer

    def first_two(self) -> tuple[int, int]:
        first, second = sorted([*self.counts.values(), 0, 0], reverse=True)[:2]
        return first, second


def poll(answers: list[int]) -> Poll:
    counted = Poll()
    for answer in answers:
        counted.add(answer)
    return counted


def settled(seen: list[int], n: int) -> bool:
    first, second = poll(seen).first_two()
    return first - second > n - len(seen)


def convinced(seen: list[int], n: int, confidence: float = 0.95) -> bool:
    first, second = poll(seen).first_two()
    trials = first + second + 1
    return sum(math.comb(trials, i) for i in range(first + 1)) / 2**trials > confidence


def agreed(seen: list[int], n: int, width: int = 5) -> bool:
    window = seen[-width:]
    return len(seen) % width == 0 and len(set(window)) == 1 and window[0] >= 0


REFERENCE: list[tuple[Rule, Callable[[list[int], int], bool]]] = [
    (Settled(), settled),
    (AdaptiveConsistency(), convinced),
    (WindowAgreement(), agreed),
]
by_rule = pytest.mark.parametrize(
    ("rule", "says_stop"), REFERENCE, ids=[rule.name for rule, _ in REFERENCE]
)


def stop_of(answers: list[int], says_stop: Callable[[list[int], int], bool]) -> int:
    n = len(answers)
    return next((i for i in range(1, n + 1) if says_stop(answers[:i], n)), n)


@given(
    st.lists(st.integers(-1, 4), min_size=1, max_size=20),
    st.lists(st.integers(0, 3), min_size=20, max_size=20),
)
def test_running_votes_equal_counting_one_by_one(answers: list[int], weights: list[int]) -> None:
    answers = [min(answer, len(answers) - 1) for answer in answers]
    weights = weights[: len(answers)]
    for given_weights in (None, weights):
        found = running_votes(
            np.array([answers], dtype=np.int64),
            None if given_weights is None else np.array([given_weights], dtype=np.int64),
        )
        counted = Poll()
        for i, answer in enumerate(answers):
            counted.add(answer, 1 if given_weights is None else given_weights[i])
            leader = counted.leader
            others = [votes for each, votes in counted.counts.items() if each != leader]
            assert found.leader[0, i] == leader
            assert found.first[0, i] == counted.counts[leader]
            assert found.second[0, i] == max(others, default=0)


def test_large_groups_are_counted_without_overflow() -> None:
    answers = np.concatenate((np.zeros(40_000), np.ones(40_001))).astype(np.int64)
    found = running_votes(answers[None])
    assert (found.first[0, -1], found.second[0, -1]) == (40_001, 40_000)
    assert found.leader[0, -2:].tolist() == [0, 1]


@by_rule
@given(answers=st.lists(st.integers(-1, 2), min_size=1, max_size=24))
def test_rules_stop_where_the_reference_does(
    rule: Rule, says_stop: Callable[[list[int], int], bool], answers: list[int]
) -> None:
    answers = [min(answer, len(answers) - 1) for answer in answers]
    found = stop_index(rule, running_votes(np.array([answers])))
    assert found.tolist() == [stop_of(answers, says_stop)]


@given(st.lists(st.integers(-1, 2), min_size=1, max_size=7))
def test_a_settled_vote_has_the_winner_of_the_full_vote_whatever_still_comes(
    answers: list[int],
) -> None:
    answers = [min(answer, len(answers) - 1) for answer in answers]
    votes = running_votes(np.array([answers]))
    stop = int(stop_index(Settled(), votes)[0])
    if stop < len(answers):
        counts = Counter(answer for answer in answers if answer >= 0)
        most = max(counts.values())
        # It wins alone: so under every tie rule.
        assert [a for a, c in counts.items() if c == most] == [votes.leader[0, stop - 1]]


def test_small_groups_worked_by_hand() -> None:
    def stops(answers: list[int]) -> list[int]:
        votes = running_votes(np.array([answers]))
        return [int(stop_index(rule, votes)[0]) for rule in RULES]

    # Settled: 3 - 0 > 2. Adaptive: 3-0 is .9375. ESC: the only window is mixed.
    assert stops([0, 0, 0, 1, 1]) == [3, 5, 5]
    # Settled: 3 - 1 = 7 - 5 is not enough, 4 - 1 > 7 - 6 is. Adaptive: 4-1 is .89, 5-1 .94.
    assert stops([0, 0, 0, 1, -1, 0, 0]) == [6, 7, 7]
    # Settled: 6 - 0 > 5. Adaptive: 4-0. ESC: first window.
    assert stops([0] * 11) == [6, 4, 5]
    # A trace without an answer is no vote, but a vote that might have come; it agrees with none.
    assert stops([-1, 0, 0, -1, 0, 0, 0]) == [5, 6, 7]
    assert stops([-1] * 5) == [5, 5, 5]
    assert stops([0]) == [1, 1, 1]


@given(st.floats(0.01, 0.999), st.integers(1, 40))
def test_votes_needed_equal_the_binomial_sum(confidence: float, most: int) -> None:
    needed = votes_needed(confidence, most).tolist()
    for second in range(most + 1):

        def chance(first: int, second: int = second) -> float:
            trials = first + second + 1
            return sum(math.comb(trials, i) for i in range(first + 1)) / 2**trials

        enough = [first for first in range(most + 1) if chance(first) > confidence]
        assert needed[second] == min(enough, default=most + 1)


def test_adaptive_consistency_needs_four_votes_to_none_or_six_to_one() -> None:
    assert votes_needed(0.95, 8)[:3].tolist() == [4, 6, 8]
    for confidence in (0.0, 1.0, math.nan):
        with pytest.raises(ValueError):
            votes_needed(confidence, 8)
    with pytest.raises(ValueError):
        WindowAgreement(0)


def mean(values: list[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else math.nan


def reward_of(group: list[Trace], answer: int) -> float:
    return mean([reward for given, _, reward in group if given == answer >= 0])


class PlainTally:
    """One order's shares."""

    def __init__(self) -> None:
        self.traces = self.all_traces = self.tokens = self.all_tokens = 0
        self.same: list[float] = []
        self.change: list[float] = []

    def add(self, group: list[Trace], run: int, spent: int, winner: int, full: int) -> None:
        self.traces += run
        self.all_traces += len(group)
        if all(tokens >= 0 for _, tokens, _ in group):
            self.tokens += spent
            self.all_tokens += sum(tokens for _, tokens, _ in group)
        if full >= 0:
            self.same.append(winner == full)
        self.change.append(reward_of(group, winner) - reward_of(group, full))

    def shares(self) -> dict[str, float]:
        return {
            "traces_saved": 1 - self.traces / self.all_traces if self.all_traces else math.nan,
            "tokens_saved": 1 - self.tokens / self.all_tokens if self.all_tokens else math.nan,
            "same_answer": mean(self.same),
            "accuracy_change": mean(self.change),
        }


def check(found: Outcome, expected: list[PlainTally]) -> None:
    shares = [tally.shares() for tally in expected]
    for name in shares[0]:
        estimate: Estimate | None = getattr(found, name)
        values = [each[name] for each in shares if not math.isnan(each[name])]
        if not values:
            assert estimate is None, name
            continue
        assert estimate is not None, name
        assert estimate.mean == pytest.approx(np.mean(values), abs=1e-12), name
        if len(values) > 1:
            error = np.std(values, ddof=1) / math.sqrt(len(values))
            assert estimate.standard_error == pytest.approx(error, abs=1e-12)
        else:
            assert estimate.standard_error is None


def shuffled(groups: AnswerGroups, lists: list[list[Trace]]) -> list[list[list[Trace]]]:
    """Per order, per group, its traces as the simulation draws them."""
    flat = [trace for group in lists for trace in group]
    found: list[list[list[Trace]]] = [[[] for _ in lists] for _ in range(ORDERS)]
    for arrival in arrivals(groups, ORDERS, seed=3):
        for o, order in enumerate(range(*arrival.orders.indices(ORDERS))):
            for g, group in enumerate(arrival.groups.tolist()):
                found[order][group] = [flat[t] for t in arrival.traces[o, g]]
    return found


@by_rule
@settings(max_examples=60)
@given(lists=many_groups)
def test_sequential_accounting_equals_the_reference(
    rule: Rule, says_stop: Callable[[list[int], int], bool], lists: list[list[Trace]]
) -> None:
    groups = columns(lists)
    (found,) = simulate(groups, [rule], orders=ORDERS, seed=3)
    expected = []
    for order in shuffled(groups, lists):
        tally = PlainTally()
        for group in order:
            answers = [answer for answer, _, _ in group]
            stop = stop_of(answers, says_stop)
            spent = sum(tokens for _, tokens, _ in group[:stop])
            tally.add(group, stop, spent, poll(answers[:stop]).leader, poll(answers).leader)
        expected.append(tally)
    assert (found.rule, found.groups) == (rule.name, len(lists))
    check(found.sequential, expected)


@by_rule
@settings(max_examples=60)
@given(lists=many_groups)
def test_parallel_accounting_equals_stepping_through_time(
    rule: Rule, says_stop: Callable[[list[int], int], bool], lists: list[list[Trace]]
) -> None:
    (found,) = simulate(columns(lists), [rule], orders=ORDERS)
    tally = PlainTally()
    for group in lists:
        if any(tokens < 0 for _, tokens, _ in group):
            continue
        finished: list[int] = []
        time = 0
        stopped = False
        while not stopped and len(finished) < len(group):
            time += 1
            for answer in [answer for answer, tokens, _ in group if tokens == time]:
                finished.append(answer)
                stopped = stopped or says_stop(finished, len(group))
        in_order = [answer for answer, _, _ in sorted(group, key=lambda trace: trace[1])]
        spent = sum(min(tokens, time) for _, tokens, _ in group)
        tally.add(group, len(finished), spent, poll(finished).leader, poll(in_order).leader)
    check(found.parallel, [tally])


def test_parallel_accounting_worked_by_hand() -> None:
    groups = columns([[(0, 100, 1), (1, 200, 0), (0, 10, 1), (0, 20, 1), (1, 30, 0)]])
    found = simulate(groups, [Settled(), WindowAgreement(2)])
    # Finished: 0, 0, 1, 0 after 10, 20, 30, 100 steps. Settled after the fourth: 3 - 1 > 1.
    saved = found[0].parallel.tokens_saved
    assert saved is not None and saved.mean == pytest.approx(100 / 360)
    # The first window of two agrees after 20 steps: 80 + 180 + 10 tokens are never made.
    saved = found[1].parallel.tokens_saved
    assert saved is not None and saved.mean == pytest.approx(270 / 360)
    assert found[1].parallel.traces_saved == Estimate(3 / 5, None)
    assert found[1].parallel.accuracy_change == Estimate(0.0, None)


def test_traces_that_finish_together_save_nothing_in_parallel() -> None:
    groups = columns([[(0, 50, 1.0)] * 16])
    for found in simulate(groups):
        assert found.parallel.tokens_saved == Estimate(0.0, None)
        assert found.parallel.traces_saved == Estimate(0.0, None)
        assert found.sequential.tokens_saved is not None
        assert found.sequential.tokens_saved.mean > 0.4


def test_random_orders_approach_the_mean_over_all_orders() -> None:
    group: list[Trace] = [(0, 5, 1), (0, 1, 1), (1, 7, 0), (1, 2, 0), (0, 4, 0), (-1, 3, 0)]
    rules: list[Rule] = [Settled(), AdaptiveConsistency(0.8), WindowAgreement(2)]
    references: list[Callable[[list[int], int], bool]] = [
        settled,
        lambda seen, n: convinced(seen, n, 0.8),
        lambda seen, n: agreed(seen, n, 2),
    ]
    found = simulate(columns([group]), rules, orders=3000, seed=1)
    for each, says_stop in zip(found, references, strict=True):
        saved, same = [], []
        for order in permutations(group):
            answers = [answer for answer, _, _ in order]
            stop = stop_of(answers, says_stop)
            saved.append(1 - sum(tokens for _, tokens, _ in order[:stop]) / 22)
            same.append(poll(answers[:stop]).leader == poll(answers).leader)
        for estimate, exact in (
            (each.sequential.tokens_saved, np.mean(saved)),
            (each.sequential.same_answer, np.mean(same)),
        ):
            assert estimate is not None and estimate.standard_error is not None
            assert abs(estimate.mean - exact) <= 5 * estimate.standard_error + 1e-12


def iid_groups(mix: list[float], groups: int) -> AnswerGroups:
    rng = np.random.default_rng(7)
    answers = rng.choice(len(mix), size=groups * 32, p=mix)
    return answer_groups(np.repeat(np.arange(groups), 32), answers, np.full(len(answers), 9))


@pytest.mark.parametrize(
    ("mix", "saved", "same"),
    [
        ([0.85, 0.10, 0.05], [0.40, 0.80, 0.66], [1, 1, 1]),
        ([0.40, 0.35, 0.25], [0.08, 0.13, 0.045], [1, 0.983, 0.988]),
    ],
)
def test_savings_of_independent_answers_are_those_found_independently(
    mix: list[float], saved: list[float], same: list[float]
) -> None:
    found = simulate(iid_groups(mix, 2000), orders=10)
    for each, expected_saved, expected_same in zip(found, saved, same, strict=True):
        outcome = each.sequential
        assert outcome.traces_saved is not None and outcome.same_answer is not None
        assert outcome.traces_saved.mean == pytest.approx(expected_saved, abs=0.008)
        assert outcome.same_answer.mean == pytest.approx(expected_same, abs=0.005)
    assert found[0].sequential.same_answer == Estimate(1.0, 0.0)


def test_a_tie_rule_that_differs_between_the_votes_costs_five_percent_of_same_answers() -> None:
    # Ties of the full vote broken in log order, those of the stopped one as traces arrive: then no
    # rule, not even the one that is never wrong, finds the same answer in more than 93 to 95 %.
    groups = iid_groups([0.40, 0.35, 0.25], 2000)
    logged = groups.local.reshape(2000, 32)
    full = running_votes(logged).winner()
    (arrival,) = arrivals(groups, 10, seed=0)
    arrived = running_votes(groups.local[arrival.traces])
    for rule in RULES:
        winner = arrived.winner(stop_index(rule, arrived))
        assert np.mean(winner == full) == pytest.approx(0.94, abs=0.015)


def test_the_same_seed_gives_the_same_result_and_numbering_does_not_matter() -> None:
    rng = np.random.default_rng(0)
    answers = rng.integers(-1, 3, size=64)
    tokens, rewards = rng.integers(1, 9, size=64), rng.random(64)
    number = np.repeat(np.arange(4), 16)

    def run(codes: Any, seed: int) -> tuple[EarlyStop, ...]:
        return simulate(answer_groups(number, codes, tokens, rewards), orders=50, seed=seed)

    assert run(answers, 1) == run(answers, 1) != run(answers, 2)
    renamed = np.where(answers >= 0, 10**15 - 7 * answers, -5)
    assert run(renamed, 1) == run(answers, 1)


def test_results_do_not_depend_on_how_much_is_held_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    groups = iid_groups([0.5, 0.5], 20)
    usual = simulate(groups, orders=40)
    monkeypatch.setattr(votes_module, "_ELEMENTS", 32 * 3)
    for one, other in zip(usual, simulate(groups, orders=40), strict=True):
        assert one.parallel == other.parallel
        saved, again = one.sequential.tokens_saved, other.sequential.tokens_saved
        assert saved is not None and again is not None and saved.standard_error is not None
        assert abs(saved.mean - again.mean) < 8 * saved.standard_error


def test_each_order_is_a_permutation_of_each_group() -> None:
    groups = columns([[(0, 1, 0.0)] * n for n in (3, 1, 3, 5)])
    seen = Counter[tuple[int, ...]]()
    for arrival in arrivals(groups, 300, seed=0):
        for g, group in enumerate(arrival.groups.tolist()):
            own = range(groups.starts[group], groups.starts[group + 1])
            assert (np.sort(arrival.traces[:, g]) == np.array(own)).all()
            if group == 0:
                seen.update(map(tuple, arrival.traces[:, g].tolist()))
    assert len(seen) == 6
    assert min(seen.values()) > 25


def test_without_anything_to_measure_results_are_none() -> None:
    for found in simulate(columns([])):
        assert found.groups == 0
        assert found.sequential == found.parallel == Outcome(None, None, None, None, None)
    for found in simulate(columns([[(-1, -1, math.nan)] * 3])):
        assert found.sequential.traces_saved == Estimate(0.0, 0.0)
        assert found.sequential.tokens_saved is None
        assert found.sequential.same_answer is None
        assert found.parallel.traces_saved is None


def test_columns_that_do_not_fit_are_refused() -> None:
    ints, floats = np.zeros(2, dtype=np.int64), np.zeros(2)
    for starts, tokens, rewards in [
        ([0, 1], ints, floats),
        ([0, 3, 2], ints, floats),
        ([], ints, floats),
        ([0, 2], ints[:1], floats),
        ([0, 2], ints, floats + math.inf),
    ]:
        with pytest.raises(ValueError):
            AnswerGroups(np.array(starts, dtype=np.int64), ints, tokens, rewards)
    with pytest.raises(ValueError):
        simulate(columns([[(0, 1, 0.0)]]), orders=0)


@given(many_groups)
def test_oracle_pruning_equals_keeping_one_trace_per_answer(lists: list[list[Trace]]) -> None:
    sized = [group for group in lists if all(tokens >= 0 for _, tokens, _ in group)]
    total = sum(tokens for group in sized for _, tokens, _ in group)
    kept = {"shortest": 0.0, "first": 0.0, "mean": 0.0}
    for group in sized:
        for answer in {answer for answer, _, _ in group}:
            own = [tokens for a, tokens, _ in group if a == answer]
            alone = answer < 0  # agrees with none
            kept["shortest"] += sum(own) if alone else min(own)
            kept["first"] += sum(own) if alone else own[0]
            kept["mean"] += sum(own) if alone else sum(own) / len(own)
    groups = columns(lists)
    for representative in ("shortest", "first", "mean"):
        found = oracle_prune(groups, representative)
        if total:
            assert found == pytest.approx(1 - kept[representative] / total, abs=1e-12)
        else:
            assert found is None


def test_groups_may_be_interleaved_in_the_log() -> None:
    groups = answer_groups(
        np.array([5, 2, 5, 2, 5]), np.array([1, 2, 3, 4, 5]), np.array([10, 20, 30, 40, 50])
    )
    assert groups.starts.tolist() == [0, 2, 5]
    assert groups.answers.tolist() == [2, 4, 1, 3, 5]
    assert groups.tokens.tolist() == [20, 40, 10, 30, 50]
    assert groups.local.tolist() == [0, 1, 0, 1, 2]

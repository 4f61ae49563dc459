"""Final answers: extraction, spelling, agreement, pass@k and majority votes."""

from __future__ import annotations

import json
import math
import re
import time
from decimal import Decimal
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forkpoint.analysis.answers import (
    answer_codes,
    extract_answer,
    majority_accuracy,
    majority_at_k,
    measure_answers,
    normalise_answer,
    pass_at_k,
)

MEGABYTE = 1 << 20


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (r"so \boxed{\frac{1}{2}} it is", r"\frac{1}{2}"),
        (r"\boxed{1} and then \boxed{2}.", "2"),
        (r"\fbox{ 7 }", "7"),
        (r"\boxed {7}", "7"),
        (r"\\boxed{7} in JSON that was escaped twice", "7"),
        (r"\boxed{\boxed{1}}", "1"),
        (r"\boxed{a \} b}", r"a \} b"),
        (r"{ \boxed{5} is left open", "5"),
        (r"} } \boxed{5}", "5"),
        (r"\boxed{5} but \boxed{6", "5"),
        (r"\boxed{5} but \boxed{ }", "5"),
        (r"#### 5 but \boxed{6}", "6"),
        ("18 eggs\n#### 18", "18"),
        ("#### 1,234  \nbye", "1,234"),
        ("#### 5\n#### 6", "6"),
        ("It is #### 42", "42"),
        ("#### 5\n#### Conclusion\n#### 2. Why\n##### 9", "5"),
        ("<answer>4</answer> or <Answer>\n5 </ANSWER>", "5"),
        ("</answer><answer>5</answer><answer>6", "5"),
        ("<answer>5</answer> The final answer is 6.", "5"),
        ("**Final Answer:** 42.", "42"),
        ("Final answer: The final answer is $42$. I hope it is correct.", "$42$"),
        ("the final answer is 3.5. Next", "3.5"),
        ("FINAL ANSWER IS (B)\nor not", "(B)"),
        ("Final answer:\n\n42 apples\nBye.", "42 apples"),
        ("The answer is 1. No: the answer is 2! Yes", "2"),
        ("The answer is yes! Great.", "yes"),
        ("The answer is $5!$. Great.", "$5!$"),
        ("the correct answer is: **(C)**.", "(C)"),
        ("The answer is 5. Final answer: 6", "6"),
        ("Steps…\nAnswer: (6 - 4) * 12", "(6 - 4) * 12"),
        ("Answer: 1\nThe answer is 2", "2"),
        ("My answer: 3", None),
        ("The answer is", None),
        ("The answer is\n\n\n\n\n\n\n\n\n\n\n\nlater", None),
        ("finally, answers are final", None),
        ("", None),
        ("\ud800 the answer is \udfff.", "\udfff"),
    ],
)
def test_the_last_answer_of_the_most_trusted_form_is_taken(text: str, answer: str | None) -> None:
    assert extract_answer(text) == answer


@pytest.mark.parametrize(
    ("pattern", "answer"),
    [
        (r"A: (\d+)", "2"),
        (r"A: \d+", "A: 2"),
        (r"(B)?A: \d+", "A: 2"),
        (r"A:( *)", "9"),  # matches white space alone: not an answer
        (r"C: (\d+)", "9"),
    ],
)
def test_a_given_pattern_comes_first_and_its_last_match_counts(pattern: str, answer: str) -> None:
    assert extract_answer(r"A: 1 A: 2 \boxed{9}", re.compile(pattern)) == answer


SPELLINGS = [
    ("42", ["42.0", "042", "+42", " 42. ", "$42$", "**42**", r"\(42\)", r"\text{42}"]),
    ("-0.5", ["-.5", "-00.50", "−0.5", "$-0.5$."]),
    ("0", ["-0", "0.00", "+0.", "000"]),
    ("1234567", ["1,234,567", "1{,}234{,}567", r"1,\!234,\!567", r"\$1,234,567.00"]),
    ("1/2", [r"\frac{1}{2}", r"\dfrac{1}{2}", r"\tfrac12", r"\frac 12", " 1 / 2 ", "$01/2$"]),
    ("-3/4", [r"-\frac{3}{4}", r"\frac{-3}{4}", r"\\frac{-3}{4}"]),
    ("(x+1)/2", [r"\frac{x+1}{2}", r"\frac{x + 1}{2}", r"\left( x+1 \right) / 2"]),
    ("(1/2)/3", [r"\frac{\frac{1}{2}}{3}", r"\frac{\frac{1}{\text{2}}}{3}"]),
    ("a", ["A", "(A)", "A)", "a.", r"\text{(A)}", "**(A)**", r"\textbf{(A)}"]),
    ("new york", ["New York", " new\n york.", r"\text{New} York"]),
    ("5 cm", [r"5\text{ cm}", r"5\,\mathrm{cm}", "5  cm."]),
    ("50%", [r"50\%", "50 %"]),
    ("(1,2)", ["( 1, 2 )", r"\left(1,2\right)"]),
]


@pytest.mark.parametrize(("plain", "spellings"), SPELLINGS)
def test_spellings_of_one_answer_become_one(plain: str, spellings: list[str]) -> None:
    assert {normalise_answer(each) for each in [plain, *spellings]} == {plain}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("1 1/2", "11/2"),
        ("2*3", "23"),
        ("0.5", "1/2"),
        ("2/4", "1/2"),
        ("5!", "5"),
        ("5 cm", "5"),
        ("50%", "50"),
        ("1,2", "12"),
        ("1,23", "123"),
        ("(ab)", "ab"),
        ("-5", "5"),
        ("x+1", "1+x"),
    ],
)
def test_answers_that_differ_stay_apart(one: str, other: str) -> None:
    assert normalise_answer(one) != normalise_answer(other)


@given(st.decimals(-(10**9), 10**9, places=3), st.integers(0, 3), st.integers(0, 3), st.booleans())
def test_decimals_are_one_if_and_only_if_their_values_are(
    value: Decimal, leading: int, trailing: int, separated: bool
) -> None:
    spelt = format(abs(value), ",f" if separated else "f")
    if not separated:
        spelt = "0" * leading + spelt
    spelt = ("-" if value.is_signed() else "") + spelt + "0" * trailing
    found = normalise_answer(spelt)
    assert Decimal(found) == value
    assert found == normalise_answer(format(value, "f"))
    assert normalise_answer(found) == found


HOSTILE = [
    "\\boxed{" * (MEGABYTE // 7),
    "\\boxed{ " * (MEGABYTE // 9) + "}" * (MEGABYTE // 9),
    "{\\boxed{}" * (MEGABYTE // 9),
    "\\boxed" + " " * MEGABYTE,
    "####a" * (MEGABYTE // 5),
    "#### " * (MEGABYTE // 5),
    "<answer>" * (MEGABYTE // 8),
    "final answer: " * (MEGABYTE // 14),
    "final " * (MEGABYTE // 6),
    "the answer is\n. " * (MEGABYTE // 16),
    "answer:\n" * (MEGABYTE // 8),
    "the answer is a" + "!)" * (MEGABYTE // 2),
    "a b" * (MEGABYTE // 3),
    " " * MEGABYTE,
    "*" * MEGABYTE,
    ". " * (MEGABYTE // 2),
    "9" * MEGABYTE,
    "1,000" * (MEGABYTE // 5),
    "1/" * (MEGABYTE // 2),
    "\\frac{1}{" * (MEGABYTE // 10) + "}" * (MEGABYTE // 10),
    "\\text{" * (MEGABYTE // 6),
    "\\frac12" * (MEGABYTE // 7),
]


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: repr(text[:12]))
def test_hostile_text_takes_linear_time(text: str) -> None:
    begin = time.process_time()
    extract_answer(text)
    normalise_answer(text)
    # About 1 s at most where this was written; what is quadratic takes hours.
    assert time.process_time() - begin < 20


@given(st.text(alphabet="\\{}boxedfrac#$ \n<>answeris/.,:()12A\ud800", max_size=80))
def test_any_text_has_an_answer_or_none(text: str) -> None:
    found = extract_answer(text)
    assert found is None or (found and found in text)
    assert isinstance(normalise_answer(text), str)


def test_codes_go_by_first_appearance_and_empty_is_none() -> None:
    assert answer_codes(["b", None, "a", "b", ""]).tolist() == [0, -1, 1, 0, -1]


@given(st.lists(st.integers(-1, 4), max_size=12))
def test_agreement_equals_comparing_each_pair(codes: list[int]) -> None:
    found = measure_answers(np.array(codes, dtype=np.int64))
    given_ = [code for code in codes if code >= 0]
    pairs = list(combinations(codes, 2))
    assert (found.traces, found.answered) == (len(codes), len(given_))
    assert found.distinct == len(set(given_))
    if codes:
        assert found.modal_share == max([given_.count(a) for a in given_] or [0]) / len(codes)
    if pairs:
        alike = sum(a == b >= 0 for a, b in pairs)
        assert found.pair_redundancy == pytest.approx(alike / len(pairs))
    if given_:
        shares = [given_.count(a) / len(given_) for a in set(given_)]
        assert found.entropy == pytest.approx(-sum(p * math.log(p) for p in shares))
    assert (found.modal_share is None) == (not codes)
    assert (found.pair_redundancy is None) == (not pairs)
    assert (found.entropy is None) == (not given_)


def test_agreement_of_a_group_worked_by_hand() -> None:
    found = measure_answers(np.array([0, 0, 0, 1, -1]))
    assert (found.traces, found.answered, found.distinct) == (5, 4, 2)
    assert found.modal_share == 3 / 5
    assert found.pair_redundancy == (3 * 2) / (5 * 4)
    assert found.entropy == pytest.approx(-(0.75 * math.log(0.75) + 0.25 * math.log(0.25)))


@given(st.lists(st.booleans(), min_size=1, max_size=7), st.integers(1, 8))
def test_pass_at_k_equals_drawing_every_subset(wins: list[bool], k: int) -> None:
    found = pass_at_k(len(wins), sum(wins), k)
    if k > len(wins):
        assert found is None
    else:
        assert found == pytest.approx(np.mean([any(draw) for draw in combinations(wins, k)]))


def test_pass_at_k_of_large_groups_is_exact_and_nonsense_is_refused() -> None:
    assert pass_at_k(100_000, 1, 50_000) == 0.5
    for n, correct, k in [(4, 5, 1), (4, -1, 1), (4, 2, 0)]:
        with pytest.raises(ValueError):
            pass_at_k(n, correct, k)


def test_ties_for_the_majority_are_averaged() -> None:
    codes = np.array([0, 0, 1, 1, 2, -1])
    assert majority_accuracy(codes, np.array([1.0, 1, 0, 0, 1, 1])) == 0.5
    assert majority_accuracy(codes, np.array([1.0, np.nan, np.nan, np.nan, 1, 1])) == 1.0
    assert majority_accuracy(codes, np.full(6, np.nan)) is None
    assert majority_accuracy(np.array([-1, -1]), np.ones(2)) is None


@pytest.mark.parametrize("k", range(1, 6))
def test_majority_at_k_is_near_the_mean_over_all_subsets(k: int) -> None:
    codes, rewards = np.array([0, 0, 0, 1, 1, -1]), np.array([1.0, 1, 0.5, 0, 0, 0])
    found = majority_at_k(codes, rewards, k, orders=4000)
    exact = []
    for draw in combinations(range(6), k):
        some = codes[list(draw)]
        tied = set(some.tolist()) - {-1}
        most = max([(some == a).sum() for a in tied], default=0)
        means = [rewards[codes == a].mean() for a in tied if (some == a).sum() == most]
        if means:
            exact.append(np.mean(means))
    assert found is not None and found.standard_error is not None
    assert found.mean == pytest.approx(np.mean(exact), abs=5 * found.standard_error + 1e-12)


def test_majority_of_all_traces_is_the_majority_accuracy() -> None:
    codes, rewards = np.array([0, 0, 0, 1, 1]), np.array([1.0, 1, 0, 1, 1])
    found = majority_at_k(codes, rewards, 5)
    assert found is not None
    assert found.mean == pytest.approx(majority_accuracy(codes, rewards))
    assert majority_at_k(codes, rewards, 6) is None
    assert majority_at_k(codes, np.full(5, np.nan), 2) is None
    with pytest.raises(ValueError):
        majority_at_k(codes, rewards, 0)


@pytest.mark.real
def test_real_solutions_are_graded_as_their_publisher_graded_them(real_logs: Path) -> None:
    pattern = re.compile(r"^A: (.*)$", re.MULTILINE)

    def answer(text: str) -> str | None:
        found = extract_answer(text, pattern)
        return found and normalise_answer(found)

    graded = 0
    log = real_logs / "rollout-groups/gsm8k-model-solutions/example_model_solutions.jsonl"
    with open(log, encoding="utf-8") as lines:
        for problem in map(json.loads, lines):
            truth = answer(problem["ground_truth"])
            assert truth is not None
            for model in problem.values():
                if isinstance(model, dict):
                    assert (answer(model["solution"]) == truth) == model["is_correct"]
                    graded += 1
    assert graded == 4 * 1319

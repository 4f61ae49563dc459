"""What the parsers of coding agents share: times, providers, and counts that exclude each other."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from forkpoint.parsers.agent_session import (
    disjoint_usage,
    known_cost,
    moment,
    provider_named,
    seconds_between,
)
from forkpoint.parsers.gemini_parts import gemini_usage
from forkpoint.parsers.records import Usage


@pytest.mark.parametrize(
    ("word", "provider"),
    [
        ("anthropic", "anthropic"),
        ("google-vertex-anthropic", "google"),
        ("amazon-bedrock", "aws"),
        ("openai-codex", "openai"),
        ("azure-openai-responses", "azure"),
        ("openrouter", "openrouter"),
        ("xai", "x-ai"),
        ("my-own-proxy", None),
        ("", None),
        (None, None),
    ],
)
def test_a_provider_goes_by_the_platform_that_sends_the_bill(
    word: str | None, provider: str | None
) -> None:
    assert provider_named(word) == provider


def test_times_in_milliseconds_lie_between_1970_and_9999() -> None:
    assert moment(1791190800500) == datetime(2026, 10, 5, 9, 0, 0, 500_000, tzinfo=UTC)
    assert moment(None) is None
    for wrong in (-1, 1e18, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="not a time"):
            moment(wrong)


def test_time_that_ran_backwards_is_no_duration() -> None:
    start, end = moment(1000), moment(3500)
    assert seconds_between(start, end) == 2.5
    assert seconds_between(end, start) is None
    assert seconds_between(start, None) is None


def test_counts_that_exclude_each_other_add_up_to_the_input() -> None:
    usage = disjoint_usage(uncached=3, cache_read=40, cache_write=5, output=7, reasoning=2)
    assert usage == Usage(
        input_tokens=48,
        cache_read_tokens=40,
        cache_write_tokens=5,
        output_tokens=7,
        reasoning_tokens=2,
    )


def test_nothing_counted_is_unknown_and_a_missing_count_is_not_nought() -> None:
    assert disjoint_usage(uncached=0, cache_read=0, cache_write=0, output=0) is None
    usage = disjoint_usage(uncached=None, cache_read=None, output=7)
    assert usage == Usage(output_tokens=7)


def test_a_cost_of_nought_is_unknown() -> None:
    assert [known_cost(usd) for usd in (None, 0.0, 0.25)] == [None, None, 0.25]


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        # prompt, candidates, cached, thoughts, tool, total -> input, output
        ((100, 20, 60, 5, 0, 125), (100, 25)),
        ((100, 20, 60, 5, 7, 132), (107, 25)),
        ((100, 20, 60, 5, 7, 125), (100, 25)),
        ((100, 20, 60, 5, 0, 120), (100, 20)),
        ((100, 20, 60, 5, 0, 185), (160, 25)),
        ((100, 20, 60, 5, 7, None), (107, 25)),
        ((100, 20, 60, 5, 7, 999), (107, 25)),
    ],
    ids=[
        "thoughts beside the output",
        "tool results beside the prompt",
        "tool results within the prompt",
        "thoughts within the output",
        "cached tokens beside the prompt",
        "no total",
        "a total of something else",
    ],
)
def test_the_total_tells_which_of_gemini_s_counts_include_which(
    counts: tuple[int | None, ...], expected: tuple[int, int]
) -> None:
    prompt, candidates, cached, thoughts, tool, total = counts
    usage = gemini_usage(
        prompt=prompt,
        candidates=candidates,
        cached=cached,
        thoughts=thoughts,
        tool=tool,
        total=total,
    )
    assert usage is not None
    assert (usage.input_tokens, usage.output_tokens) == expected
    assert (usage.cache_read_tokens, usage.reasoning_tokens) == (60, 5)


def test_gemini_s_counts_of_nothing_are_unknown() -> None:
    nothing = dict.fromkeys(("prompt", "candidates", "cached", "thoughts", "tool", "total"), 0)
    assert gemini_usage(**nothing) is None

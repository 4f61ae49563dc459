"""What LiteLLM writes of a call, and clocks without a zone beside it."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from forkpoint.parsers.litellm_response import known_cost, response_usage
from forkpoint.parsers.local_clock import ahead_of_utc, as_utc, clock_time, from_epoch
from forkpoint.parsers.records import Usage


def usage_of(**fields: Any) -> Usage | None:
    return response_usage(msgspec.Raw(json.dumps(fields).encode()))


@pytest.mark.parametrize(
    ("logged", "expected"),
    [
        ({"prompt_tokens": 9, "completion_tokens": 2}, Usage(input_tokens=9, output_tokens=2)),
        (
            {"prompt_tokens": 9, "prompt_tokens_details": {"cached_tokens": 8}},
            Usage(input_tokens=9, cache_read_tokens=8),
        ),
        (  # Anthropic's tokens, inclusive: 4646 = 6 + 3482 + 1158
            {
                "prompt_tokens": 4646,
                "cache_read_input_tokens": 3482,
                "cache_creation_input_tokens": 1158,
            },
            Usage(input_tokens=4646, cache_read_tokens=3482, cache_write_tokens=1158),
        ),
        (  # and exclusive: 6 + 3482 + 1158 were sent
            {
                "prompt_tokens": 6,
                "cache_read_input_tokens": 3482,
                "cache_creation_input_tokens": 1158,
            },
            Usage(input_tokens=4646, cache_read_tokens=3482, cache_write_tokens=1158),
        ),
        (
            {"prompt_tokens": 9, "prompt_tokens_details": None, "cache_read_input_tokens": 0},
            Usage(input_tokens=9, cache_read_tokens=0),
        ),
        (
            {"prompt_tokens": 9, "prompt_tokens_details": {"cache_write_tokens": 5}},
            Usage(input_tokens=9, cache_write_tokens=5),
        ),
        (
            {
                "input_tokens": 7,
                "output_tokens": 5,
                "input_tokens_details": {"cached_tokens": 4},
                "output_tokens_details": {"reasoning_tokens": 3},
            },
            Usage(input_tokens=7, cache_read_tokens=4, output_tokens=5, reasoning_tokens=3),
        ),
        ({}, None),
        ({"total_tokens": 9}, None),
    ],
)
def test_usage_is_inclusive_and_what_is_missing_is_none(
    logged: dict[str, Any], expected: Usage | None
) -> None:
    assert usage_of(**logged) == expected


def test_no_usage_is_none() -> None:
    assert response_usage(msgspec.Raw()) is None
    assert response_usage(msgspec.Raw(b"null")) is None


@pytest.mark.parametrize("raw", [b"7", b"[]", b'{"prompt_tokens":-1}', b'{"prompt_tokens":"9"}'])
def test_what_is_no_usage_is_an_error(raw: bytes) -> None:
    with pytest.raises(ValueError, match="usage"):
        response_usage(msgspec.Raw(raw))


def test_a_cost_of_nought_stands_for_an_unknown_one() -> None:
    assert (known_cost(None), known_cost(0.0), known_cost(0.5)) == (None, None, 0.5)
    for cost in (-0.5, 1e12, float("inf")):
        with pytest.raises(ValueError, match="dollars"):
            known_cost(cost)


def test_a_clock_is_set_to_utc_by_the_nearest_quarter_of_an_hour() -> None:
    created = datetime(2026, 5, 31, 20, 50, 15, tzinfo=UTC).timestamp()
    ahead = ahead_of_utc(datetime(2026, 5, 31, 13, 50, 15, 891231), created)
    assert ahead == timedelta(hours=-7)
    india = ahead_of_utc(datetime(2026, 6, 1, 2, 20, 14), created)
    assert india == timedelta(hours=5, minutes=30)
    moment = as_utc("2026-05-31T13:50:15.891231", ahead)
    assert moment == datetime(2026, 5, 31, 20, 50, 15, 891231, tzinfo=UTC)


def test_a_time_with_a_zone_needs_no_clock() -> None:
    assert as_utc("2026-05-31T13:50:15-07:00", timedelta(hours=3)).astimezone(UTC).hour == 20
    assert clock_time("2026-05-31T13:50:15Z") is None
    assert clock_time("noon") is None
    assert clock_time(None) is None
    assert as_utc("2026-05-31T13:50:15", None) == datetime(2026, 5, 31, 13, 50, 15, tzinfo=UTC)


@pytest.mark.parametrize("stamp", ["noon", "", "0001-01-01T00:00:00"])
def test_what_is_no_time_is_an_error(stamp: str) -> None:
    with pytest.raises(ValueError):
        as_utc(stamp, timedelta(hours=5))


def test_seconds_since_1970_are_moments_up_to_the_year_9999() -> None:
    assert from_epoch(None) is None
    assert from_epoch(1.5) == datetime(1970, 1, 1, 0, 0, 1, 500000, tzinfo=UTC)
    with pytest.raises(ValueError, match="not a time"):
        from_epoch(1e18)

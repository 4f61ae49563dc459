"""Prices: hand-worked costs, agreement with the library call by call, and users' own prices."""

from __future__ import annotations

import dataclasses
import functools
import json
import random
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import genai_prices
import pytest
from genai_prices.data_snapshot import get_snapshot
from genai_prices.types import (
    ModelInfo,
    ModelPrice,
    PriceVariant,
    StartDateConstraint,
    TieredPrices,
    TimeOfDateConstraint,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from forkpoint.analysis.pricing import (
    DAY_S,
    PRICES_DDL,
    ModelKey,
    Rate,
    load_overrides,
    priced_calls_sql,
    rates_for,
)
from forkpoint.errors import ForkpointError

NOON = datetime(2026, 1, 10, 12)


@dataclass(frozen=True)
class SpentTokens:
    """One row of the table `calls`, in the order of its columns."""

    provider: str | None = "anthropic"
    model: str | None = "claude-sonnet-4-5"
    started_at: datetime | None = NOON
    input_tokens: int | None = 0
    cache_read_tokens: int | None = None
    cache_write_tokens: int | None = None
    cache_write_1h_tokens: int | None = None
    output_tokens: int | None = 0

    @property
    def key(self) -> ModelKey:
        assert self.model is not None
        return self.provider, self.model


CALLS_DDL = """CREATE TABLE calls (
  provider VARCHAR, model VARCHAR, started_at TIMESTAMP, input_tokens BIGINT,
  cache_read_tokens BIGINT, cache_write_tokens BIGINT, cache_write_1h_tokens BIGINT,
  output_tokens BIGINT, position INTEGER)"""


def price(
    calls: Sequence[SpentTokens], overrides: Sequence[Rate] = (), rates: Sequence[Rate] = ()
) -> list[dict[str, Any]]:
    """What the join says of each call, in order; there must be one row for each."""
    known = rates or rates_for([call.key for call in calls if call.model], overrides)[0]
    connection = duckdb.connect()
    connection.execute(PRICES_DDL)
    connection.execute(CALLS_DDL)
    _insert(connection, "prices", [dataclasses.astuple(rate) for rate in known])
    _insert(
        connection,
        "calls",
        [(*dataclasses.astuple(c), position) for position, c in enumerate(calls)],
    )
    rows = connection.execute(f"SELECT * FROM ({priced_calls_sql()}) ORDER BY position")
    names = [column[0] for column in connection.description or []]
    found = [dict(zip(names, row, strict=True)) for row in rows.fetchall()]
    assert [row["position"] for row in found] == list(range(len(calls)))
    return found


def _insert(connection: duckdb.DuckDBPyConnection, table: str, rows: list[tuple[Any, ...]]) -> None:
    if rows:
        one = "(" + ",".join("?" * len(rows[0])) + ")"
        for start in range(0, len(rows), 500):
            some = rows[start : start + 500]
            values = [value for row in some for value in row]
            connection.execute(f"INSERT INTO {table} VALUES {','.join([one] * len(some))}", values)


def library_cost(call: SpentTokens) -> float:
    """What genai-prices itself charges."""
    usage = genai_prices.Usage(
        input_tokens=call.input_tokens,
        cache_read_tokens=call.cache_read_tokens or 0,
        cache_write_tokens=call.cache_write_tokens or 0,
        cache_write_1h_tokens=call.cache_write_1h_tokens or 0,
        output_tokens=call.output_tokens,
    )
    assert call.model is not None and call.started_at is not None
    charged = genai_prices.calc_price(
        usage,
        call.model,
        provider_id=call.provider,
        genai_request_timestamp=call.started_at.replace(tzinfo=UTC),
    )
    return float(charged.total_price)


# --- hand-worked costs ---


def test_a_call_costs_the_sum_of_its_parts() -> None:
    call = SpentTokens(
        model="claude-opus-5",
        started_at=datetime(2026, 8, 1),
        input_tokens=52_000,
        cache_read_tokens=40_000,
        cache_write_tokens=10_000,
        cache_write_1h_tokens=4_000,
        output_tokens=1_500,
    )
    (row,) = price([call])
    assert row["uncached_usd"] == pytest.approx(2_000 * 5 / 1e6)
    assert row["cache_read_usd"] == pytest.approx(40_000 * 0.50 / 1e6)
    assert row["cache_write_usd"] == pytest.approx(6_000 * 6.25 / 1e6 + 4_000 * 10 / 1e6)
    assert row["output_usd"] == pytest.approx(1_500 * 25 / 1e6)
    assert row["request_usd"] == 0
    assert row["cost_usd"] == pytest.approx(0.010 + 0.020 + 0.0375 + 0.040 + 0.0375)
    assert row["realized_saving_usd"] == pytest.approx(
        40_000 * (5 - 0.50) / 1e6 - 6_000 * (6.25 - 5) / 1e6 - 4_000 * (10 - 5) / 1e6
    )
    assert row["priced_model"] == "claude-opus-5"


def test_a_long_prompt_is_charged_whole_at_the_rate_of_long_prompts() -> None:
    # 15 k + 5 k + 190 k = 210 k tokens, over the threshold of 200 k: every kind costs more.
    call = SpentTokens(
        input_tokens=210_000,
        cache_read_tokens=190_000,
        cache_write_tokens=5_000,
        output_tokens=1_000,
    )
    (row,) = price([call])
    by_hand = (15_000 * 6 + 5_000 * 7.5 + 190_000 * 0.6 + 1_000 * 22.5) / 1e6
    assert by_hand == pytest.approx(0.2640)
    assert row["cost_usd"] == pytest.approx(by_hand)


def test_the_threshold_itself_is_still_a_short_prompt() -> None:
    at, over = price([SpentTokens(input_tokens=200_000), SpentTokens(input_tokens=200_001)])
    assert at["cost_usd"] == pytest.approx(200_000 * 3 / 1e6)
    assert over["cost_usd"] == pytest.approx(200_001 * 6 / 1e6)
    assert (at["input_rate_usd"], over["input_rate_usd"]) == (3, 6)


def test_writing_more_than_is_read_saves_a_negative_amount() -> None:
    (row,) = price([SpentTokens(input_tokens=1_000, cache_write_tokens=1_000, output_tokens=1)])
    assert row["realized_saving_usd"] == pytest.approx(-1_000 * (3.75 - 3) / 1e6)


def test_without_a_price_for_them_reads_cost_input_and_one_hour_writes_what_others_cost() -> None:
    read_not_listed, _ = rates_for([("openai", "gpt-4-turbo")])
    assert read_not_listed[0].input_usd == 10
    assert read_not_listed[0].cache_read_usd == 10
    assert read_not_listed[0].cache_write_usd == 10
    hour_not_listed = next(
        (provider.id, model.id)
        for provider, model, prices in _library()
        if isinstance(prices, ModelPrice)
        and "cache_write_mtok" in vars(prices)
        and "cache_write_1h_mtok" not in vars(prices)
        and provider.find_model(model.id) is model
    )
    (rate, *_), _ = rates_for([hour_not_listed])
    assert rate.cache_write_1h_usd == rate.cache_write_usd != rate.input_usd


def test_a_charge_for_each_request_is_part_of_the_cost() -> None:
    (row,) = price([SpentTokens("perplexity", "sonar-pro", NOON, 1_000, output_tokens=200)])
    assert row["request_usd"] == pytest.approx(14 / 1000)
    assert row["cost_usd"] == pytest.approx(1_000 * 3 / 1e6 + 200 * 15 / 1e6 + 14 / 1000)


def test_forty_thousand_calls_add_up_to_the_cent() -> None:
    rnd = random.Random(7)
    calls = [
        SpentTokens(
            input_tokens=read + write + rnd.randrange(5_000),
            cache_read_tokens=read,
            cache_write_tokens=write,
            output_tokens=rnd.randrange(3_000),
        )
        for read, write in ((rnd.randrange(300_000), rnd.randrange(9_000)) for _ in range(40_000))
    ]
    rates = rates_for([calls[0].key])[0]
    connection = duckdb.connect()
    connection.execute(PRICES_DDL)
    _insert(connection, "prices", [dataclasses.astuple(rate) for rate in rates])
    connection.execute(CALLS_DDL)
    connection.execute(
        "INSERT INTO calls SELECT 'anthropic', 'claude-sonnet-4-5', TIMESTAMP '2026-01-10 12:00:00',"
        " unnest(?), unnest(?), unnest(?), NULL, unnest(?), 0",
        [
            [call.input_tokens for call in calls],
            [call.cache_read_tokens for call in calls],
            [call.cache_write_tokens for call in calls],
            [call.output_tokens for call in calls],
        ],
    )
    (total,) = connection.execute(f"SELECT sum(cost_usd) FROM ({priced_calls_sql()})").fetchone()  # type: ignore[misc]
    # Worked in whole picodollars, which no rounding touches.
    exact = 0
    for call in calls:
        assert call.input_tokens and call.cache_read_tokens is not None
        assert call.cache_write_tokens is not None and call.output_tokens is not None
        uncached = call.input_tokens - call.cache_read_tokens - call.cache_write_tokens
        long = 2 if call.input_tokens > 200_000 else 1
        exact += long * (
            uncached * 3_000_000
            + call.cache_read_tokens * 300_000
            + call.cache_write_tokens * 3_750_000
        ) + call.output_tokens * (22_500_000 if long == 2 else 15_000_000)
    assert total == pytest.approx(exact / 1e12, abs=1e-6)


# --- what cannot be priced ---


def test_a_call_that_cannot_be_priced_has_no_cost_rather_than_none_to_pay() -> None:
    rows = price(
        [
            SpentTokens(input_tokens=None, output_tokens=5),
            SpentTokens(input_tokens=5, output_tokens=None),
            SpentTokens(input_tokens=5, cache_read_tokens=4, cache_write_tokens=2),
            SpentTokens(input_tokens=5, cache_write_tokens=2, cache_write_1h_tokens=3),
            SpentTokens(model="a-model-nobody-sells", input_tokens=5),
            SpentTokens(model=None, input_tokens=5),
            SpentTokens(input_tokens=0, output_tokens=0),
        ]
    )
    money = ("cost_usd", "uncached_usd", "cache_read_usd", "cache_write_usd", "output_usd")
    for row in rows[:-1]:
        assert [row[name] for name in money] == [None] * len(money)
        assert row["realized_saving_usd"] is row["input_rate_usd"] is row["priced_model"] is None
    assert rows[-1]["cost_usd"] == 0


@pytest.mark.parametrize(
    "key",
    [
        (None, "a-model-nobody-sells"),
        ("anthropic", "<synthetic>"),
        ("anthropic", ""),
        (None, "/"),
        (None, "[1m]"),
        (None, "a/" * 50_000),
        (None, "claude" * 50_000),
        (None, "\x00\ud800"),
        ("github-copilot", "gpt-4o"),
        ("openai", "whisper-1"),
    ],
    ids=lambda key: str(key)[:40],
)
def test_an_unknown_model_or_one_not_sold_by_the_token_is_listed_as_unpriced(key: ModelKey) -> None:
    assert rates_for([key, key]) == ([], [key])


def test_a_model_named_free_is_free() -> None:
    (rate,), unpriced = rates_for([("openrouter", "deepseek/deepseek-r1-0528:free")])
    assert (rate.input_usd, rate.output_usd, unpriced) == (0, 0, [])


def test_a_call_without_a_time_is_charged_what_it_would_cost_today() -> None:
    midnight = datetime.now(tz=UTC).replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=None)
    undated = SpentTokens("deepseek", "deepseek-v4-flash", None, 1_000, output_tokens=10)
    rows = price([undated, dataclasses.replace(undated, started_at=midnight)])
    assert rows[0]["cost_usd"] == rows[1]["cost_usd"] > 0


# --- agreement with the library ---


def _library() -> Iterator[tuple[Any, ModelInfo, object]]:
    for provider in get_snapshot().providers:
        for model in provider.models:
            yield provider, model, model.prices


@functools.cache
def _interesting_models() -> list[tuple[str, str, tuple[datetime, ...], tuple[int, ...]]]:
    """Every model of the library: key, instants at which its price changes, prompt thresholds."""
    found = []
    for provider, model, _ in _library():
        entries: list[Any] = [] if isinstance(model.prices, ModelPrice) else list(model.prices)
        lists = (
            [model.prices] if isinstance(model.prices, ModelPrice) else [e.prices for e in entries]
        )
        constraints = [entry.constraint for entry in entries]
        days = [c.start_date for c in constraints if isinstance(c, StartDateConstraint)]
        instants = [datetime.combine(day, datetime.min.time()) for day in days]
        for constraint in constraints:
            if isinstance(constraint, TimeOfDateConstraint):
                for clock in (constraint.start_time, constraint.end_time):
                    for day in [*days, date(2025, 6, 1)]:
                        instants.append(datetime.combine(day, clock).replace(tzinfo=None))
        thresholds = {
            tier.start
            for listed in lists
            for price_ in vars(listed).values()
            if isinstance(price_, TieredPrices)
            for tier in price_.tiers
        }
        found.append((provider.id, model.id, tuple(instants), tuple(sorted(thresholds))))
    return found


def _agree(calls: Sequence[SpentTokens]) -> int:
    """Check every call against the library; how many it could price."""
    unpriced = set(rates_for([call.key for call in calls])[1])
    priced = 0
    for call, row in zip(calls, price(calls), strict=True):
        if call.key in unpriced:
            assert row["cost_usd"] is None
            continue
        try:
            expected = library_cost(call)
        except LookupError:
            continue  # found by name alone
        if row["cost_usd"] is None:
            assert expected == 0, call  # no price by the token at that time
            continue
        priced += 1
        assert row["cost_usd"] == pytest.approx(expected, abs=1e-9), call
        parts = ("uncached_usd", "cache_read_usd", "cache_write_usd", "output_usd", "request_usd")
        assert sum(row[part] for part in parts) == pytest.approx(row["cost_usd"], abs=1e-12)
    return priced


def test_every_model_costs_what_the_library_says_around_each_change_of_its_price() -> None:
    calls = []
    microsecond = timedelta(microseconds=1)
    for provider, model, instants, thresholds in _interesting_models():
        sizes = [10, *(start + step for start in thresholds for step in (0, 1))]
        moments = [datetime(2024, 5, 5, 5), *instants, *(i - microsecond for i in instants)]
        for moment in moments:
            for size in sizes:
                part = size // 5
                calls.append(
                    SpentTokens(provider, model, moment, size, part, 2 * part, part, 100 + part)
                )
    assert len(calls) > 3_000
    assert _agree(calls) > 0.8 * len(calls)


@st.composite
def any_call(draw: st.DrawFn) -> SpentTokens:
    _, _, instants, thresholds = entry = draw(
        st.sampled_from([e for e in _interesting_models() if e[2] or e[3]])
    )
    moment = draw(
        st.datetimes(datetime(2024, 1, 1), datetime(2027, 12, 31))
        | st.builds(
            lambda at, seconds: at + timedelta(seconds=seconds),
            st.sampled_from(instants or (NOON,)),
            st.integers(-2, 2),
        )
    )
    size = st.integers(0, 2_000_000) | st.sampled_from(
        [*thresholds, *(t + 1 for t in thresholds), 0]
    )
    total = draw(size)
    read = draw(st.integers(0, total))
    write = draw(st.integers(0, total - read))
    return SpentTokens(
        *entry[:2],
        moment,
        total,
        read,
        write,
        draw(st.integers(0, write)),
        draw(st.integers(0, 10**6)),
    )


@settings(max_examples=40, deadline=None)
@given(st.lists(any_call(), min_size=1, max_size=60))
def test_any_call_costs_what_the_library_says(calls: list[SpentTokens]) -> None:
    _agree(calls)


def test_the_windows_of_a_model_are_disjoint_and_cover_all_time() -> None:
    keys: list[ModelKey] = [("deepseek", "deepseek-v4-flash"), ("anthropic", "claude-sonnet-4-5")]
    rates, _ = rates_for(keys)
    for key in keys:
        own = [rate for rate in rates if (rate.provider, rate.model) == key]
        dates = sorted({(r.valid_from or datetime.min, r.valid_until or datetime.max) for r in own})
        assert (dates[0][0], dates[-1][1]) == (datetime.min, datetime.max)
        assert [end for _, end in dates[:-1]] == [start for start, _ in dates[1:]]
        clocks = sorted({(rate.day_from, rate.day_until) for rate in own})
        assert (clocks[0][0], clocks[-1][1]) == (0, DAY_S)
        assert [end for _, end in clocks[:-1]] == [start for start, _ in clocks[1:]]
        tiers = {rate.min_input_tokens for rate in own}
        assert len(own) == len(dates) * len(clocks) * len(tiers)
        assert min(tiers) == -1


# --- names ---


@pytest.mark.parametrize(
    ("provider", "model", "found"),
    [
        ("anthropic", "claude-opus-4-5-20251101", "claude-opus-4-5"),
        (None, "claude-opus-4-5-20251101", "claude-opus-4-5"),
        ("anthropic", "Claude-Opus-4-5", "claude-opus-4-5"),
        ("anthropic", "claude-opus-4-5[1m]", "claude-opus-4-5"),
        (None, "anthropic/claude-opus-4-5", "claude-opus-4-5"),
        ("openrouter", "anthropic/claude-opus-4-5", "claude-opus-4-5"),
        ("openrouter", "anthropic/claude-opus-4.5", "anthropic/claude-opus-4.5"),
        (None, "openrouter/anthropic/claude-opus-4.5", "anthropic/claude-opus-4.5"),
        (None, "us.anthropic.claude-opus-4-5-20251101-v1:0", "regional.anthropic.claude-opus-4-5-v1:0"),
        ("aws", "us.anthropic.claude-opus-4-5-20251101-v1:0", "regional.anthropic.claude-opus-4-5-v1:0"),
        ("anthropic", "anthropic.claude-3-haiku-20240307-v1:0", "regional.anthropic.claude-3-haiku-20240307-v1:0"),
        (None, "vertex_ai/claude-sonnet-4-5@20250929", "claude-sonnet-4-5"),
        ("google", "models/gemini-2.5-pro", "gemini-2.5-pro"),
        (None, "models/gemini-2.5-pro", "gemini-2.5-pro"),
        (None, "openai/gpt-4o", "gpt-4o"),
        ("openai", "openai/gpt-4o-2024-08-06", "gpt-4o"),
        ("azure", "azure/gpt-4o", "gpt-4o"),
        ("openai", "gpt-5.2-codex", "gpt-5.2"),
        ("a-proxy-of-ours", "gpt-4o", "gpt-4o"),
    ],
)  # fmt: skip
def test_a_model_is_found_under_the_names_logs_give_it(
    provider: str | None, model: str, found: str
) -> None:
    rates, unpriced = rates_for([(provider, model)])
    assert unpriced == []
    assert {rate.priced_model for rate in rates} == {found}
    assert {(rate.provider, rate.model) for rate in rates} == {(provider, model)}
    assert {rate.source for rate in rates} == {f"genai-prices {genai_prices.__version__}"}


def test_a_model_at_another_speed_has_the_price_of_that_speed() -> None:
    listed = get_snapshot().find_provider_model("claude-opus-5", None, "anthropic", None)[1]
    fast = next(v for v in _variants(listed) if v.when == {"speed": "fast"})
    rates, _ = rates_for([("anthropic", "claude-opus-5-fast")])
    assert {rate.output_usd for rate in rates} == {float(fast.prices.output_mtok)}  # type: ignore[arg-type]
    assert {rate.output_usd for rate in rates_for([("anthropic", "claude-opus-5")])[0]} == {25}


def test_a_speed_without_a_price_of_its_own_is_unpriced_rather_than_cheap() -> None:
    key = ("anthropic", "claude-opus-4-6-fast")
    assert rates_for([key]) == ([], [key])
    dated = ("openai", "gpt-5.2-priority")
    rates, _ = rates_for([dated])
    first = min(rate.valid_from or datetime.min for rate in rates)
    assert first > datetime(2026, 1, 1)  # the library lists the price from a date on
    before, after = price(
        [
            SpentTokens(*dated, first - timedelta(seconds=1), 100),
            SpentTokens(*dated, first, 100),
        ]
    )
    assert before["cost_usd"] is None
    assert after["input_rate_usd"] == 2 * rates_for([("openai", "gpt-5.2")])[0][0].input_usd


def test_fast_can_be_part_of_a_name() -> None:
    assert {r.priced_model for r in rates_for([("x-ai", "grok-4-fast")])[0]} == {
        "grok-4-fast-reasoning"
    }


def _variants(model: ModelInfo) -> list[PriceVariant]:
    assert model.price_variants
    return model.price_variants


# --- a user's own prices ---

TOML = """
[[price]]
model = "claude-sonnet-*"
input = 2
output = 10.5

[[price]]
model = "house-model"
provider = "us"
input = 1
cache_read = 0.25
cache_write = 1.5
output = 4
valid_from = 2026-02-01
valid_until = 2026-03-01
"""


def _file(folder: Path, text: str, name: str = "prices.toml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_overrides_are_read_from_toml_and_json_alike(tmp_path: Path) -> None:
    everywhere, dated = load_overrides(_file(tmp_path, TOML))
    assert (everywhere.input_usd, everywhere.output_usd) == (2, 10.5)
    assert everywhere.cache_read_usd == everywhere.cache_write_usd == 2
    assert everywhere.cache_write_1h_usd == 2
    assert (everywhere.valid_from, everywhere.valid_until, everywhere.provider) == (
        None,
        None,
        None,
    )
    assert (dated.cache_read_usd, dated.cache_write_usd, dated.cache_write_1h_usd) == (
        0.25,
        1.5,
        1.5,
    )
    assert (dated.valid_from, dated.valid_until) == (datetime(2026, 2, 1), datetime(2026, 3, 1))
    assert dated.source == str(tmp_path / "prices.toml")
    entry = {"model": "m", "input": 1, "output": 2, "valid_from": "2026-02-01T02:00:00+02:00"}
    (rate,) = load_overrides(_file(tmp_path, json.dumps({"price": [entry]}), "prices.json"))
    assert rate.valid_from == datetime(2026, 2, 1)


def test_overrides_beat_the_library_and_later_ones_beat_earlier_ones(tmp_path: Path) -> None:
    overrides = load_overrides(
        _file(tmp_path, TOML + "[[price]]\nmodel='claude-sonnet-4-5'\ninput=7\noutput=8\n")
    )
    rates, unpriced = rates_for(
        [
            ("anthropic", "claude-sonnet-4-5"),
            ("x", "CLAUDE-SONNET-9"),
            ("anthropic", "claude-opus-5"),
        ],
        overrides,
    )
    assert unpriced == []
    by_model: dict[str, set[float]] = {}
    for rate in rates:
        by_model.setdefault(rate.model, set()).add(rate.input_usd)
    assert by_model == {"claude-sonnet-4-5": {7}, "CLAUDE-SONNET-9": {2}, "claude-opus-5": {5}}
    assert [rate.priced_model for rate in rates[:2]] == ["claude-sonnet-4-5", "claude-sonnet-*"]


def test_an_override_holds_for_its_provider_and_dates_only(tmp_path: Path) -> None:
    overrides = load_overrides(_file(tmp_path, TOML))
    first, last = datetime(2026, 2, 1), datetime(2026, 3, 1)
    house = SpentTokens("us", "house-model", first, 1_000_000)
    rows = price(
        [
            dataclasses.replace(house, started_at=first - timedelta(microseconds=1)),
            house,
            dataclasses.replace(house, started_at=last - timedelta(microseconds=1)),
            dataclasses.replace(house, started_at=last),
        ],
        overrides,
    )
    assert [row["cost_usd"] for row in rows] == [None, 1.0, 1.0, None]
    assert rates_for([("them", "house-model")], overrides)[1] == [("them", "house-model")]


def test_outside_the_dates_of_an_override_the_library_holds(tmp_path: Path) -> None:
    dated = "model='deepseek-v4-flash'\ninput=100\noutput=1\n"
    overrides = load_overrides(
        _file(
            tmp_path,
            f"[[price]]\n{dated}valid_from=2026-08-10\nvalid_until=2026-09-01\n"
            f"[[price]]\n{dated.replace('100', '200')}valid_from=2026-08-20\nvalid_until=2026-08-25\n",
        )
    )
    calls = [
        SpentTokens("deepseek", "deepseek-v4-flash", datetime(2026, month, day, 2), 1_000_000)
        for month, day in ((8, 9), (8, 10), (8, 19), (8, 20), (8, 24), (8, 25), (8, 31), (9, 1))
    ]
    costs = [row["cost_usd"] for row in price(calls, overrides)]
    assert costs[1:7] == [100, 100, 200, 200, 100, 100]
    assert costs[0] == pytest.approx(library_cost(calls[0]), abs=1e-9)
    assert costs[7] == pytest.approx(library_cost(calls[7]), abs=1e-9)


def test_a_name_with_brackets_is_matched_as_it_stands(tmp_path: Path) -> None:
    text = "[[price]]\nmodel='claude-opus-4-5[1m]'\ninput=9\noutput=9\n"
    overrides = load_overrides(_file(tmp_path, text))
    assert {r.input_usd for r in rates_for([(None, "claude-opus-4-5[1m]")], overrides)[0]} == {9}
    assert 9 not in {r.input_usd for r in rates_for([(None, "claude-opus-4-5")], overrides)[0]}


GOOD = {"model": "m", "input": 1, "output": 2}
BAD_ENTRIES = {
    "unknown key 'inptu'": {**GOOD, "inptu": 3},
    "'m' has no 'input' price": {"model": "m", "output": 2},
    "'m' has no 'output' price": {"model": "m", "input": 2},
    "'input' must be zero or more": {**GOOD, "input": -0.1},
    "'output' must be zero or more, and finite": {**GOOD, "output": float("nan")},
    "'cache_read' must be zero or more, and finite": {**GOOD, "cache_read": 10**400},
    "'cache_write' must be a number": {**GOOD, "cache_write": "3"},
    "'cache_write_1h' must be a number": {**GOOD, "cache_write_1h": True},
    "'model' must be a name": {**GOOD, "model": ""},
    "'provider' must be a name": {**GOOD, "provider": 3},
    "'valid_from' must be a date": {**GOOD, "valid_from": "soon"},
    "'valid_until' must be a date": {**GOOD, "valid_until": 2026},
    "'valid_from' must be a date such": {**GOOD, "valid_from": "0001-01-01T00:00:00+14:00"},
    "'valid_until' must be later": {
        **GOOD,
        "valid_from": "2026-02-01",
        "valid_until": "2026-02-01",
    },
    "is not a table": "m",
}


@pytest.mark.parametrize("complaint", BAD_ENTRIES)
def test_a_bad_entry_is_an_error_that_says_where_and_why(tmp_path: Path, complaint: str) -> None:
    text = json.dumps({"price": [GOOD, BAD_ENTRIES[complaint]]})
    path = _file(tmp_path, text, "prices.json")
    with pytest.raises(ForkpointError) as caught:
        load_overrides(path)
    assert str(caught.value).startswith(f"{path}: price 2: ")
    assert complaint in str(caught.value)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("prices.toml", "[[price]\n"),
        ("prices.toml", "[price]\nmodel='m'\n"),
        ("prices.toml", "prices = []\n"),
        ("prices.toml", "price = []\nrates = []\n"),
        ("prices.toml", ""),
        ("prices.json", "[]"),
        ("prices.json", "{"),
        ("prices.json", "[" * 100_000),
    ],
)
def test_a_file_that_is_no_price_file_is_an_error_that_names_it(
    tmp_path: Path, name: str, text: str
) -> None:
    path = _file(tmp_path, text, name)
    with pytest.raises(ForkpointError) as caught:
        load_overrides(path)
    assert str(caught.value).startswith(f"{path}: ")


def test_a_price_file_that_cannot_be_opened_or_decoded_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ForkpointError, match="No such file"):
        load_overrides(tmp_path / "absent.toml")
    with pytest.raises(ForkpointError, match="directory"):
        load_overrides(tmp_path)
    (tmp_path / "latin.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ForkpointError, match=r"latin\.toml"):
        load_overrides(tmp_path / "latin.toml")


# --- the rest ---


def test_the_columns_of_the_table_are_the_fields_of_a_rate() -> None:
    connection = duckdb.connect()
    connection.execute(PRICES_DDL)
    columns = [row[0] for row in connection.execute("DESCRIBE prices").fetchall()]
    assert columns == [field.name for field in dataclasses.fields(Rate)]


def test_importing_the_module_does_not_load_the_price_list() -> None:
    script = "import sys, forkpoint.analysis.pricing; print('genai_prices' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"


@pytest.mark.real
def test_every_call_of_real_claude_code_logs_costs_what_the_library_says(real_logs: Path) -> None:
    calls = []
    for path in sorted((real_logs / "claude-code").rglob("*.jsonl")):
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            if '"assistant"' in line and '"usage"' in line:
                calls += _claude_call(json.loads(line))
    assert len(calls) > 1_000
    assert _agree(calls) > 1_000


def _claude_call(record: dict[str, Any]) -> list[SpentTokens]:
    message = record.get("message")
    usage = message.get("usage") if isinstance(message, dict) else None
    if not isinstance(usage, dict) or not record.get("timestamp") or not message.get("model"):
        return []
    read = usage.get("cache_read_input_tokens") or 0
    write = usage.get("cache_creation_input_tokens") or 0
    return [
        SpentTokens(
            "anthropic",
            message["model"],
            datetime.fromisoformat(record["timestamp"]).astimezone(UTC).replace(tzinfo=None),
            usage["input_tokens"] + read + write,
            read,
            write,
            (usage.get("cache_creation") or {}).get("ephemeral_1h_input_tokens") or 0,
            usage["output_tokens"],
        )
    ]

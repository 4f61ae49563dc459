"""Rows of ``--by`` and filters add up to the whole."""

from __future__ import annotations

import json
from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path

import pytest

from forkpoint.analysis.ingest import ingest
from forkpoint.analysis.ingest_worker import Options
from forkpoint.analysis.report import BY, Filters, build_report
from forkpoint.analysis.results import Totals
from forkpoint.analysis.store import MEMORY, Store
from forkpoint.analysis.tokens import DEFAULT_ENCODING
from forkpoint.errors import ForkpointError

SUMMED = [
    each.name
    for each in fields(Totals)
    if each.name not in ("traces", "groups", "rollouts", "unpriced_models", "cost_usd")
]


@pytest.fixture
def store(sample_logs: Path) -> Store:
    store = Store.open(MEMORY, encoding=DEFAULT_ENCODING)
    ingest(store, [sample_logs], Options(DEFAULT_ENCODING))
    return store


@pytest.mark.parametrize("by", BY)
def test_rows_add_up_to_the_totals(store: Store, sample_logs: Path, by: str) -> None:
    report = build_report(store, [sample_logs], by=by)
    for name in SUMMED:
        rows = sum(getattr(row.totals, name) for row in report.groups_by)
        assert rows == getattr(report.totals, name), name
    cost = sum(row.totals.cost_usd for row in report.groups_by)
    assert cost == pytest.approx(report.totals.cost_usd)
    assert len({row.key for row in report.groups_by}) == len(report.groups_by)


@pytest.mark.parametrize("folder", ["vllm", "mooncake", "kv-cache-tester"])
def test_clocks_without_a_date_give_no_day_and_no_period(
    store: Store, sample_logs: Path, folder: str
) -> None:
    report = build_report(store, [sample_logs / folder], by="day")
    assert report.totals.calls > 0
    assert [row.key for row in report.groups_by] == ["(none)"]
    assert (report.provenance.first_call, report.provenance.last_call) == (None, None)


def test_an_unknown_by_is_refused(store: Store, sample_logs: Path) -> None:
    with pytest.raises(ForkpointError, match="--by takes one of day"):
        build_report(store, [sample_logs], by="weather")


def test_a_time_splits_the_calls_in_two(store: Store, sample_logs: Path) -> None:
    folder = sample_logs / "codex"
    whole = build_report(store, [folder])
    assert whole.provenance.first_call and whole.provenance.last_call
    middle = (
        whole.provenance.first_call + (whole.provenance.last_call - whole.provenance.first_call) / 2
    )
    before = build_report(store, [folder], filters=Filters(until=middle.replace(tzinfo=UTC)))
    after = build_report(store, [folder], filters=Filters(since=middle.replace(tzinfo=UTC)))
    assert before.totals.calls > 0 and after.totals.calls > 0
    assert before.totals.calls + after.totals.calls == whole.totals.calls
    assert before.provenance.filters == {"until": middle.replace(tzinfo=UTC).isoformat()}


def test_models_are_chosen_by_pattern(store: Store, sample_logs: Path) -> None:
    whole = build_report(store, [sample_logs], by="model")
    claude = sum(row.totals.calls for row in whole.groups_by if row.key.startswith("claude"))
    chosen = build_report(store, [sample_logs], filters=Filters(model="Claude-*"))
    assert chosen.totals.calls == claude > 0
    assert 0 < chosen.rollouts.rollouts < whole.rollouts.rollouts


def test_projects_are_chosen_by_part_of_their_name(store: Store, sample_logs: Path) -> None:
    rows = build_report(store, [sample_logs], by="project").groups_by
    named = next(row for row in rows if row.key != "(none)")
    chosen = build_report(store, [sample_logs], filters=Filters(project=named.key.upper()))
    assert chosen.totals.calls >= named.totals.calls


def test_filters_that_let_nothing_pass_give_an_empty_answer(
    store: Store, sample_logs: Path
) -> None:
    report = build_report(
        store, [sample_logs], filters=Filters(since=datetime(2100, 1, 1, tzinfo=UTC)), by="day"
    )
    assert report.totals == Totals()
    assert report.cache.hit_rate is None
    assert report.cache.ideal_hit_rate is None
    assert report.prefix_tree.overlap_ratio is None
    assert report.prefix_tree.top_forks == ()
    assert report.groups_by == ()
    assert report.savings.realized_usd is None


def test_a_sum_of_requests_is_priced_as_short_ones_and_counts_in_no_ideal(tmp_path: Path) -> None:
    counts = {"inputTokens": 900_000, "outputTokens": 1_000, "cacheReadTokens": 100_000}
    session = {
        "model": "claude-sonnet-4-5",
        "providerLock": "anthropic",
        "providerLockTimestamp": "2026-10-05T09:00:00.000Z",
        "tokenUsage": {**counts, "cacheCreationTokens": 0, "thinkingTokens": 0},
    }
    (tmp_path / "s-1.settings.json").write_text(json.dumps(session))
    with Store.open(MEMORY, encoding=DEFAULT_ENCODING) as store:
        ingest(store, [tmp_path], Options(DEFAULT_ENCODING))
        report = build_report(store, [tmp_path])
    assert report.totals.input_tokens == 1_000_000
    # Each request was shorter than 200,000 tokens as far as anybody knows: 3, 0.30 and 15 USD a million.
    assert report.totals.cost_usd == pytest.approx(0.9 * 3 + 0.1 * 0.3 + 0.001 * 15)
    assert report.cache.hit_rate == pytest.approx(0.1)
    assert report.cache.unsized_calls == 1
    assert report.cache.ideal_hit_rate is None

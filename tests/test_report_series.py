"""Cost and hit rate over time."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from test_ingest import claude_lines, write

from forkpoint.analysis.costs import price_scope
from forkpoint.analysis.ingest import ingest
from forkpoint.analysis.ingest_worker import Options
from forkpoint.analysis.report import build_report
from forkpoint.analysis.report_series import MOST_BINS, TimeSeries, measure_series
from forkpoint.analysis.scope import Filters, select_scope
from forkpoint.analysis.store import MEMORY, Store
from forkpoint.analysis.tokens import DEFAULT_ENCODING


@pytest.fixture
def store() -> Store:
    return Store.open(MEMORY, encoding=DEFAULT_ENCODING)


def series_of(store: Store, path: Path) -> TimeSeries | None:
    ingest(store, [path], Options(DEFAULT_ENCODING), workers=1)
    select_scope(store, [path], Filters())
    price_scope(store, None)
    return measure_series(store)


def sessions(folder: Path, *starts: datetime) -> Path:
    """Sessions of two calls a second apart."""
    for n, start in enumerate(starts):
        lines = [json.loads(line) for line in claude_lines(f"s{n}", 2)]
        for i, line in enumerate(lines):
            line["timestamp"] = (start + timedelta(seconds=i // 2)).isoformat()
        write(folder / f"s{n}.jsonl", [json.dumps(line) for line in lines])
    return folder


START = datetime(2026, 3, 4, 9, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("span", "unit", "first"),
    [
        (timedelta(0), "hour", datetime(2026, 3, 4, 9)),
        (timedelta(days=4, hours=23), "hour", datetime(2026, 3, 4, 9)),
        (timedelta(days=6), "day", datetime(2026, 3, 4)),
        (timedelta(days=119), "day", datetime(2026, 3, 4)),
        (timedelta(days=300), "week", datetime(2026, 3, 2)),
        (timedelta(days=1500), "month", datetime(2026, 3, 1)),
        (timedelta(days=20_000), "year", datetime(2026, 1, 1)),
        (timedelta(days=300_000), "decade", datetime(2020, 1, 1)),
    ],
)
def test_the_unit_of_time_follows_from_the_span(
    store: Store, tmp_path: Path, span: timedelta, unit: str, first: datetime
) -> None:
    found = series_of(store, sessions(tmp_path, START, START + span))
    assert found is not None
    assert (found.unit, found.bins[0].start) == (unit, first)
    assert len(found.bins) <= MOST_BINS + 1
    assert sum(each.calls for each in found.bins) == 4


def test_a_bin_holds_its_calls_and_no_others(store: Store, tmp_path: Path) -> None:
    found = series_of(store, sessions(tmp_path, START, START + timedelta(days=2)))
    assert found is not None
    first, second = found.bins
    # Per session, as logged: 3 + 1000 new ones in each of two calls, the second reads 1000.
    assert (first.calls, first.input_tokens) == (second.calls, second.input_tokens) == (2, 3006)
    assert first.hit_rate == 1000 / 3006
    assert first.priced_calls == 2
    assert first.cost_usd == pytest.approx((6 * 5 + 2000 * 6.25 + 1000 * 0.5 + 100 * 25) / 1e6)


def test_bins_add_up_to_the_report(store: Store, sample_logs: Path) -> None:
    found, report = series_of(store, sample_logs), build_report(store, [sample_logs])
    assert found is not None
    assert sum(b.calls for b in found.bins) + found.untimed_calls == report.totals.calls
    assert found.untimed_calls > 0
    assert all(b.start >= datetime(2000, 1, 1) for b in found.bins)
    assert all(b.hit_rate is None or 0 <= b.hit_rate <= 1 for b in found.bins)
    assert any(b.cost_usd is None for b in found.bins)
    known = sum(b.cost_usd for b in found.bins if b.cost_usd is not None)
    assert 0 < known <= report.totals.cost_usd + 1e-9


def test_logs_without_times_have_no_series(store: Store, tmp_path: Path) -> None:
    write(tmp_path / "r.jsonl", [json.dumps({"request_id": "r", "prompt_token_ids": [1, 2, 3]})])
    assert series_of(store, tmp_path) is None

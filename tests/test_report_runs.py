"""What each run cost: one row a trace, the dearest first, and nothing lost in the sum."""

from __future__ import annotations

from pathlib import Path

import pytest
from test_ingest import claude_lines, write

from forkpoint.analysis import report_runs
from forkpoint.analysis.ingest import ingest
from forkpoint.analysis.ingest_worker import Options
from forkpoint.analysis.report import build_report
from forkpoint.analysis.report_details import build_details
from forkpoint.analysis.report_runs import Runs
from forkpoint.analysis.results import Report
from forkpoint.analysis.store import MEMORY, Store
from forkpoint.analysis.tokens import DEFAULT_ENCODING


def measured(path: Path) -> tuple[Report, Runs | None]:
    with Store.open(MEMORY, encoding=DEFAULT_ENCODING) as store:
        ingest(store, [path], Options(DEFAULT_ENCODING), workers=1)
        return build_report(store, [path], by="session"), build_details(store, [path]).runs


def test_runs_add_up_to_the_report(sample_logs: Path) -> None:
    report, runs = measured(sample_logs / "claude-code")
    assert runs is not None
    assert runs.count == len(runs.top) == report.totals.traces
    assert sum(run.calls for run in runs.top) == report.totals.calls
    assert sum(run.input_tokens for run in runs.top) == report.totals.input_tokens
    assert sum(run.output_tokens for run in runs.top) == report.totals.output_tokens
    assert sum(run.cost_usd or 0 for run in runs.top) == pytest.approx(report.totals.cost_usd)
    assert sum(run.missed_tokens or 0 for run in runs.top) == report.cache.missed_tokens
    assert sum(run.missed_usd or 0 for run in runs.top) == pytest.approx(report.cache.missed_usd)


def test_the_dearest_run_comes_first_and_is_named_as_by_session_names_it(sample_logs: Path) -> None:
    report, runs = measured(sample_logs)
    assert runs is not None
    costs = [run.cost_usd for run in runs.top]
    known = [cost for cost in costs if cost is not None]
    assert known == sorted(known, reverse=True)
    assert costs == known + [None] * (len(costs) - len(known))
    rows = {row.key: row for row in report.groups_by}
    for run in runs.top:
        row = rows[run.trace_id]
        assert (run.calls, run.input_tokens) == (row.totals.calls, row.totals.input_tokens)
        assert run.hit_rate == row.hit_rate
        assert run.unpriced_calls == row.totals.unpriced_calls
        assert Path(run.path).is_file() and run.line > 0


def test_what_no_log_states_is_unknown_and_never_zero(sample_logs: Path) -> None:
    _, runs = measured(sample_logs / "mooncake")
    assert runs is not None
    assert {run.cost_usd for run in runs.top} == {None}
    assert {run.missed_tokens for run in runs.top} == {None}
    assert {run.hit_rate for run in runs.top} == {None}
    # Rollouts whose logs count no tokens are no runs that anyone was billed for.
    assert measured(sample_logs / "verl")[1] is None


def test_only_the_dearest_are_kept_and_all_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(5):
        write(tmp_path / f"{n}.jsonl", claude_lines(f"session-{n}", n + 1))
    monkeypatch.setattr(report_runs, "TOP_RUNS", 2)
    _, runs = measured(tmp_path)
    assert runs is not None
    assert runs.count == 5
    assert [run.trace_id for run in runs.top] == ["session-4", "session-3"]

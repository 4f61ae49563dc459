"""forkpoint from Python: the same numbers as the report, as objects and data frames."""

from __future__ import annotations

import doctest
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
from conftest import REPOSITORY

import forkpoint
from forkpoint.analysis.export import TABLES, Table
from forkpoint.analysis.report import BY
from forkpoint.api import Filters, Run
from forkpoint.errors import ForkpointError


@pytest.fixture(scope="module")
def run() -> Iterator[Run]:
    with forkpoint.open(REPOSITORY / "sample_logs") as opened:
        yield opened


def test_calls_add_up_to_the_report(sample_logs: Path) -> None:
    with forkpoint.open(sample_logs) as run:
        calls = run.calls()
        assert calls.height == run.totals.calls > 0
        assert calls["input_tokens"].sum() == run.totals.input_tokens
        assert calls["cost_usd"].sum() == pytest.approx(run.totals.cost_usd)
        assert calls["started_at"].dtype == pl.Datetime
        assert calls["call_id"].str.len_chars().unique().to_list() == [32]


def test_filters_and_queries_work_from_python(sample_logs: Path) -> None:
    with forkpoint.open(sample_logs, filters=Filters(model="gpt-*")) as run:
        assert set(run.calls()["model"].str.slice(0, 4)) == {"gpt-"}
        counted = run.sql("SELECT count(*) AS n FROM unique_calls")
        assert counted["n"].item() > run.totals.calls


def test_a_missing_path_is_an_error() -> None:
    with pytest.raises(ForkpointError, match="no such file"):
        forkpoint.open("no/such/folder")


def test_unknown_names_are_attribute_errors() -> None:
    with pytest.raises(AttributeError, match="no attribute 'close'"):
        forkpoint.close  # noqa: B018


def test_every_example_of_the_page_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)
    done = doctest.testfile(
        str(REPOSITORY / "docs" / "python-api.md"), module_relative=False, encoding="utf-8"
    )
    assert done.attempted > 20
    assert done.failed == 0


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_frames_have_the_columns_of_exports(run: Run, table: Table) -> None:
    frame = getattr(run, table.name)()
    assert frame.columns == [column.name for column in table.columns]
    for column in table.columns:
        expected = {
            "BIGINT": pl.Int64, "DOUBLE": pl.Float64, "BOOLEAN": pl.Boolean,
            "TIMESTAMPTZ": pl.Datetime("us", "UTC"), "VARCHAR": pl.String,
        }.get(column.type, pl.Float64)  # fmt: skip
        assert frame.schema[column.name] == expected, column.name


def test_rows_of_by_add_up(run: Run) -> None:
    for key in BY:
        frame = run.by(key)
        assert frame.columns[0] == key
        assert frame["calls"].sum() == run.totals.calls
        assert frame["cost_usd"].sum() == pytest.approx(run.totals.cost_usd)
    with pytest.raises(ForkpointError, match=r"by\(\) takes one of day"):
        run.by("moon")


def test_answers_are_those_of_the_commands(run: Run) -> None:
    assert run.cache.cache == run.report.cache
    assert run.rollouts().rollouts == run.report.rollouts
    assert run.fork_points(top=3).fork_points == run.report.prefix_tree.fork_points
    assert run.figures()["cost_usd"] == run.totals.cost_usd
    with pytest.raises(ForkpointError, match="no regular expression"):
        run.rollouts(answer_pattern="(")


def test_limits_are_named_as_the_options_are(run: Run) -> None:
    assert not run.check(max_cost=0).passed
    assert run.check(max_cost=1e6, allow_missing=True).passed
    assert run.check(baseline=run.figures(), max_regression=0, allow_missing=True).passed
    with pytest.raises(ForkpointError, match="no limit max_price: choose from max_cost"):
        run.check(max_price=1)
    for wrong in ({"max_cost": float("nan")}, {"min_hit_rate": 80.0}, {"max_cost": -1.0}):
        with pytest.raises(ForkpointError, match="must be a"):
            run.check(**wrong)
    with pytest.raises(ForkpointError, match="need each other"):
        run.check(max_regression=1)


def test_frames_stay_when_the_run_is_closed(sample_logs: Path) -> None:
    with forkpoint.open(sample_logs / "codex") as run:
        calls = run.calls()
        assert run.calls() is calls
    assert calls.height > 0


def test_prices_of_ones_own_count(sample_logs: Path, tmp_path: Path) -> None:
    prices = tmp_path / "prices.toml"
    prices.write_text('[[price]]\nmodel = "*"\ninput = 0.0\noutput = 1.0\n')
    with forkpoint.open(sample_logs / "codex", prices=prices) as run:
        assert run.totals.cost_usd == pytest.approx(run.totals.output_tokens / 1e6)
        assert run.calls()["cost_usd"].sum() == pytest.approx(run.totals.cost_usd)

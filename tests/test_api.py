"""forkpoint from Python: the same numbers as the report, as objects and data frames."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

import forkpoint
from forkpoint.api import Filters
from forkpoint.errors import ForkpointError


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

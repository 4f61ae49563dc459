"""Exports: what a table says adds up to what the report says, and no cell runs anything."""

from __future__ import annotations

import csv
import json
import re
from collections import defaultdict
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import polars.selectors as cs
import pytest
from typer.testing import CliRunner, Result

from forkpoint.analysis import export as tables
from forkpoint.analysis.export import MONEY, TABLES, TIME, build_tables
from forkpoint.analysis.ingest import ingest
from forkpoint.analysis.ingest_worker import Options
from forkpoint.analysis.report import build_report
from forkpoint.analysis.results import Report
from forkpoint.analysis.rollout_answer import build_rollouts
from forkpoint.analysis.rollout_results import RolloutsAnswer
from forkpoint.analysis.store import MEMORY, Store
from forkpoint.cli.export import CSV, PARQUET, Target, write_tables
from forkpoint.cli.main import app
from forkpoint.errors import ForkpointError

REPOSITORY = Path(__file__).resolve().parent.parent
LOGS = REPOSITORY / "sample_logs"

Rows = list[dict[str, Any]]


class Exported:
    """One scope exported both ways, with the answers that it must agree with."""

    def __init__(self, folder: Path) -> None:
        with Store.open(MEMORY, encoding="o200k_base") as store:
            ingest(store, [LOGS], Options("o200k_base"))
            self.report: Report = build_report(store, [LOGS], by="session")
            self.rollouts: RolloutsAnswer = build_rollouts(store, [LOGS])
            build_tables(store, [LOGS])
            targets = [Target(folder / form, form) for form in (CSV, PARQUET)]
            self.counts = write_tables(store, targets)
        self.folder = folder

    def rows(self, name: str, form: str) -> Rows:
        """A table read back, numbers as `Decimal`, what is empty as ``None``."""
        if form == PARQUET:
            found = pl.read_parquet(self.folder / form / f"{name}.parquet").to_dicts()
            return [{key: _exact(value) for key, value in row.items()} for row in found]
        types = {column.name: column.type for column in _table(name).columns}
        with (self.folder / form / f"{name}.csv").open(newline="", encoding="utf-8") as file:
            return [
                {key: _parsed(text, types[key]) for key, text in row.items()}
                for row in csv.DictReader(file)
            ]


def _table(name: str) -> tables.Table:
    return next(table for table in TABLES if table.name == name)


def _exact(value: Any) -> Any:
    return Decimal(repr(value)) if isinstance(value, float) else value


def _parsed(text: str, kind: str) -> Any:
    if not text:
        return None
    if kind == "BIGINT":
        return int(text)
    if kind in ("DOUBLE", MONEY):
        return Decimal(text)
    if kind == "BOOLEAN":
        return {"true": True, "false": False}[text]
    return datetime.fromisoformat(text) if kind == TIME else text


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    return Exported(tmp_path_factory.mktemp("exported"))


def _usd(value: Decimal | None) -> float | None:
    return None if value is None else float(value)


def _close(value: float | None) -> Any:
    """The same money, but for the last digits of a sum of binary fractions."""
    return None if value is None else pytest.approx(value, rel=0, abs=1e-9)


forms = pytest.mark.parametrize("form", [CSV, PARQUET])


def total(rows: Rows, name: str) -> Any:
    return sum(row[name] for row in rows if row[name] is not None)


@forms
def test_calls_add_up_to_the_report_exactly(exported: Exported, form: str) -> None:
    rows, totals = exported.rows("calls", form), exported.report.totals
    assert len(rows) == totals.calls > 0
    for name in (
        "input_tokens", "uncached_input_tokens", "cache_read_tokens", "cache_write_tokens",
        "cache_write_1h_tokens", "output_tokens", "reasoning_tokens",
    ):  # fmt: skip
        assert total(rows, name) == getattr(totals, name), name
    assert float(total(rows, "cost_usd")) == totals.cost_usd
    assert sum(row["cost_usd"] is not None for row in rows) == totals.priced_calls
    assert {row["call_id"] for row in rows if len(row["call_id"]) != 32} == set()
    cache = exported.report.cache
    assert total(rows, "prompt_tokens") == cache.input_tokens
    assert total(rows, "ideal_tokens") == cache.ideal_tokens
    assert total(rows, "missed_tokens") == cache.missed_tokens
    assert _usd(total(rows, "missed_usd")) == _close(cache.missed_usd)


@forms
def test_traces_and_groups_add_up_to_the_report(exported: Exported, form: str) -> None:
    traces, groups = exported.rows("traces", form), exported.rows("groups", form)
    totals = exported.report.totals
    assert len(traces) == len({row["trace_id"] for row in traces}) == totals.traces
    assert total(traces, "calls") == totals.calls
    assert total(traces, "input_tokens") == totals.input_tokens
    assert float(total(traces, "cost_usd")) == totals.cost_usd
    by_trace = {row["trace_id"]: row for row in traces}
    for row in exported.report.groups_by:
        assert by_trace[row.key]["calls"] == row.totals.calls
        assert float(by_trace[row.key]["cost_usd"] or 0) == row.totals.cost_usd
    assert len(groups) == totals.groups
    assert total(groups, "rollouts") == totals.rollouts
    found = exported.rollouts.rollouts
    assert total(groups, "flat_tokens") == found.flat_tokens
    assert total(groups, "tree_tokens") == found.tree_tokens
    # A rollout of which only the reward is logged is no trace.
    assert 0 < sum(row["group_id"] is not None for row in traces) <= totals.rollouts
    assert total(groups, "answers") == sum(group.answers for group in exported.rollouts.groups)


@forms
def test_misses_add_up_to_the_causes_of_the_report(exported: Exported, form: str) -> None:
    calls: dict[tuple[str, str], int] = defaultdict(int)
    tokens: dict[tuple[str, str], int] = defaultdict(int)
    usd: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
    for row in exported.rows("misses", form):
        calls[row["cause"], row["source"]] += 1
        tokens[row["cause"], row["source"]] += row["lost_tokens"]
        usd[row["cause"], row["source"]] += row["lost_usd"] or 0
    causes = exported.report.cache.misses_by_cause
    assert calls == {(each.cause, each.source): each.calls for each in causes}
    assert tokens == {(each.cause, each.source): each.tokens for each in causes}
    for each in causes:
        assert _usd(usd[each.cause, each.source]) == _close(each.usd or 0.0), each.cause


@forms
def test_fork_points_are_those_of_the_report(exported: Exported, form: str) -> None:
    trunks, forks = exported.rows("trunks", form), exported.rows("forks", form)
    prompts = {row["fork_id"]: row for row in trunks if row["tree"] == "prompts"}
    for fork in exported.report.prefix_tree.top_forks:
        row = prompts[fork.node]
        assert row["trunk_tokens"] == fork.trunk_tokens
        assert (row["fan_out"], row["sequences"]) == (fork.fan_out, fork.calls)
        assert (row["shared_tokens"], row["exact"]) == (
            fork.shared_tokens,
            fork.head_tokens is not None,
        )
        branches = [each for each in forks if each["fork_id"] == fork.node]
        shown = [(b.kind, b.role, b.calls, b.path, b.line) for b in fork.branches]
        branches.sort(key=lambda each: each["branch"])
        assert [
            (b["kind"], b["role"] or "", b["sequences"], b["path"], b["line"])
            for b in branches[: len(shown)]
        ] == shown
    assert {row["fork_id"] for row in forks} == {row["fork_id"] for row in trunks}
    rollouts = [row for row in trunks if row["tree"] == "rollouts"]
    assert len(rollouts) == sum(group.forks for group in exported.rollouts.groups)
    branches_of: dict[str, int] = defaultdict(int)
    for row in forks:
        branches_of[row["fork_id"]] += 1
    assert all(branches_of[row["fork_id"]] == row["fan_out"] for row in rollouts)


@forms
def test_the_ledger_is_the_report_s(exported: Exported, form: str) -> None:
    for row, expected in zip(
        exported.rows("ledger", form), exported.report.savings.ledger, strict=True
    ):
        assert row["mechanism"] == expected.mechanism
        for name in ("realized_tokens", "potential_tokens", "standalone_tokens"):
            assert row[name] == getattr(expected, name)
        for name in ("realized_usd", "potential_usd"):
            assert _usd(row[name]) == _close(getattr(expected, name)), name


@forms
def test_every_file_has_exactly_the_declared_columns(exported: Exported, form: str) -> None:
    for table in TABLES:
        file = exported.folder / form / f"{table.name}.{form}"
        names = [column.name for column in table.columns]
        assert len(names) == len(set(names))
        rows = exported.rows(table.name, form)
        assert exported.counts[file] == len(rows)
        if form == CSV:
            assert file.read_text("utf-8").splitlines()[0] == ",".join(names)
        else:
            assert pl.read_parquet_schema(file).names() == names


def test_both_formats_hold_the_same_rows(exported: Exported) -> None:
    for table in TABLES:
        pairs = zip(exported.rows(table.name, CSV), exported.rows(table.name, PARQUET), strict=True)
        for written, typed in pairs:
            for column in table.columns:
                left, right = written[column.name], typed[column.name]
                if column.type == "VARCHAR":
                    left, right = (left or ""), (right or "")
                    left = left.removeprefix("'")
                assert left == right, (table.name, column.name)


def test_parquet_is_typed(exported: Exported) -> None:
    schema = pl.read_parquet_schema(exported.folder / PARQUET / "calls.parquet")
    assert schema["started_at"] == pl.Datetime("us", "UTC")
    assert schema["cost_usd"] == pl.Decimal(28, 12)
    assert schema["input_tokens"] == pl.Int64
    assert schema["sidechain"] == pl.Boolean


def test_units_are_in_the_names() -> None:
    for table in TABLES:
        for column in table.columns:
            assert column.meaning.endswith("."), column
            if column.type == MONEY:
                assert column.name.endswith("_usd")
            if column.type == TIME:
                assert column.name.endswith("_at")
            assert re.fullmatch(r"[a-z0-9_]+", column.name)


def test_two_exports_are_the_same_bytes(exported: Exported, tmp_path: Path) -> None:
    again = Exported(tmp_path)
    for file in exported.counts:
        if file.suffix == ".csv":
            other = again.folder / file.relative_to(exported.folder)
            assert other.read_bytes() == file.read_bytes()


# ---- The command ---------------------------------------------------------------------------------

HOSTILE = '=HYPERLINK("http://a.b";"x")\r\n\x1b[31m+1|\'é'


def hostile_logs(folder: Path) -> Path:
    """A session whose every text would run somewhere, and a line that is no record."""
    usage = {"input_tokens": 10, "output_tokens": 5, "cache_read_input_tokens": 0}
    line = {
        "type": "assistant", "uuid": "a1", "parentUuid": None, "sessionId": HOSTILE,
        "cwd": HOSTILE, "version": "2.1.119", "isSidechain": False, "requestId": "r1",
        "timestamp": "2026-07-01T09:00:00.000Z",
        "message": {"id": "m1", "role": "assistant", "model": HOSTILE, "usage": usage,
                    "content": [{"type": "text", "text": "hello"}]},
    }  # fmt: skip
    plain = dict(line, uuid="a2", requestId="r2", sessionId="-1", cwd="@SUM(1)")
    plain["message"] = dict(line["message"], id="m2", model="claude-opus-4-5-20251101")
    folder.mkdir()
    text = "\n".join([json.dumps(line), json.dumps(plain), '{"type": "assistant", "mess'])
    (folder / "session.jsonl").write_text(text + "\n")
    return folder


def export(*args: str | Path) -> Result:
    return CliRunner().invoke(app, ["export", *map(str, args), "--store", ":memory:"])


def test_no_cell_runs_as_a_formula_and_numbers_stay_numbers(tmp_path: Path) -> None:
    logs, out = hostile_logs(tmp_path / "logs"), tmp_path / "out"
    result = export(logs, "--csv", out, "--parquet", out)
    assert result.exit_code == 0, result.output
    for table in TABLES:
        kinds = {column.name: column.type for column in table.columns}
        with (out / f"{table.name}.csv").open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                for name, cell in row.items():
                    assert "\x1b" not in cell and "\n" not in cell and "\r" not in cell
                    if kinds[name] == "VARCHAR":
                        assert not cell.lstrip(" ").startswith(("=", "+", "-", "@"))
                    elif cell:
                        _parsed(cell, kinds[name])
    rows = {row["model"]: row for row in pl.read_parquet(out / "calls.parquet").to_dicts()}
    assert rows[HOSTILE]["project"] == HOSTILE
    with (out / "calls.csv").open(newline="", encoding="utf-8") as file:
        written = [row["project"] for row in csv.DictReader(file)]
    assert "'@SUM(1)" in written
    assert any(cell.startswith("'=HYPERLINK") and "\\x1b[31m+1|'é" in cell for cell in written)
    assert (out / "issues.csv").read_text().count("session.jsonl") == 1


def test_any_combination_of_outputs_goes(tmp_path: Path) -> None:
    logs = hostile_logs(tmp_path / "logs")
    page = tmp_path / "deep" / "report.html"
    result = export(logs, "--html", page)
    assert result.exit_code == 0, result.output
    assert page.read_text().lower().startswith("<!doctype html>")
    assert sorted(each.name for each in page.parent.iterdir()) == ["report.html"]
    both = export(logs, "--csv", tmp_path / "c", "--html", tmp_path / "r.html")
    assert both.exit_code == 0
    assert len(list((tmp_path / "c").iterdir())) == len(TABLES)


def test_nothing_to_write_is_wrong_usage(tmp_path: Path) -> None:
    result = export(hostile_logs(tmp_path / "logs"))
    assert result.exit_code == 2
    assert "--csv DIR, --parquet DIR or --html FILE" in " ".join(result.stderr.split())


def test_what_is_there_is_not_replaced_without_force(tmp_path: Path) -> None:
    logs, out = hostile_logs(tmp_path / "logs"), tmp_path / "out"
    out.mkdir()
    (out / "ledger.csv").write_text("mine")
    refused = export(logs, "--csv", out)
    assert (refused.exit_code, refused.stderr.count("\n")) == (1, 1)
    assert "--force replaces it" in refused.stderr
    assert [each.name for each in out.iterdir()] == ["ledger.csv"]
    assert export(logs, "--csv", out, "--force").exit_code == 0
    assert (out / "ledger.csv").read_text() != "mine"
    assert export(logs, "--csv", logs / "session.jsonl").exit_code == 1


def test_a_failure_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Store.open(MEMORY, encoding="o200k_base") as store:
        build_tables(store, [])
        out = tmp_path / "out"
        write_tables(store, [Target(out, CSV)])
        before = {each.name: each.read_bytes() for each in out.iterdir()}
        store.execute("DROP TABLE export_trunks")
        store.execute("CREATE TEMP TABLE export_trunks AS SELECT 1 AS other")
        with pytest.raises((ForkpointError, duckdb.Error)):
            write_tables(store, [Target(out, CSV)])
    assert {each.name: each.read_bytes() for each in out.iterdir()} == before


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    result = export(hostile_logs(tmp_path / "logs"), "--csv", tmp_path / "file" / "below")
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
    assert "Traceback" not in result.stderr


def test_an_export_of_no_calls_has_headers_only(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert export(tmp_path / "empty", "--csv", tmp_path / "out").exit_code == 0
    assert (tmp_path / "out" / "calls.csv").read_text().count("\n") == 1
    ledger = pl.read_csv(tmp_path / "out" / "ledger.csv")
    assert ledger.height >= 2
    # Every mechanism says what it lacks; none makes up a figure.
    assert ledger["needs"].null_count() == 0
    assert (
        ledger.select(cs.ends_with("_tokens", "_usd")).null_count().row(0) == (ledger.height,) * 5
    )


def test_filters_hold_for_exports(tmp_path: Path) -> None:
    logs = hostile_logs(tmp_path / "logs")
    out = tmp_path / "out"
    assert export(logs, "--parquet", out, "--model", "claude-*").exit_code == 0
    calls = pl.read_parquet(out / "calls.parquet")
    assert calls["model"].to_list() == ["claude-opus-4-5-20251101"]
    assert calls["started_at"].to_list() == [datetime(2026, 7, 1, 9, tzinfo=UTC)]

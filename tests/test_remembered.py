"""A report that is kept equals one made anew, and is never used once anything has changed."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from test_ingest import OPTIONS, claude_lines, write

from forkpoint.analysis import report as making
from forkpoint.analysis.ingest import ingest
from forkpoint.analysis.remembered import report_on
from forkpoint.analysis.report import build_report
from forkpoint.analysis.results import Report
from forkpoint.analysis.scope import Filters
from forkpoint.analysis.store import MEMORY, Store
from forkpoint.analysis.tokens import DEFAULT_ENCODING

ALL = Filters()


@pytest.fixture
def store() -> Store:
    return Store.open(MEMORY, encoding=DEFAULT_ENCODING)


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[Report]:
    """Reports that were really made."""
    found: list[Report] = []
    really = making.build_report

    def build(*args: Any, **options: Any) -> Report:
        found.append(really(*args, **options))
        return found[-1]

    monkeypatch.setattr(making, "build_report", build)
    return found


def test_a_kept_report_equals_one_made_anew(
    store: Store, sample_logs: Path, made: list[Report]
) -> None:
    ingest(store, [sample_logs], OPTIONS)
    first = report_on(store, [sample_logs], filters=ALL, by="model")
    again = report_on(store, [sample_logs], filters=ALL, by="model")
    assert len(made) == 1
    assert first == again == build_report(store, [sample_logs], by="model")


def test_every_change_of_the_logs_makes_a_new_report(
    store: Store, tmp_path: Path, made: list[Report]
) -> None:
    log, other = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    calls = []
    for change in (
        lambda: write(log, claude_lines("s", 2)),
        lambda: write(log, claude_lines("s", 3)),
        lambda: write(log, claude_lines("t", 1)),
        lambda: write(other, claude_lines("u", 4)),
        other.unlink,
        lambda: write(other, claude_lines("u", 4)),
    ):
        change()
        ingest(store, [tmp_path], OPTIONS)
        calls.append(report_on(store, [tmp_path], filters=ALL).totals.calls)
        assert report_on(store, [tmp_path], filters=ALL).totals.calls == calls[-1]
    assert calls == [2, 3, 1, 5, 1, 5]
    assert len(made) == 6


def test_every_change_of_the_question_makes_a_new_report(
    store: Store, tmp_path: Path, made: list[Report]
) -> None:
    write(tmp_path / "logs" / "a.jsonl", claude_lines("s", 2))
    prices = tmp_path / "prices.toml"
    prices.write_text('[[price]]\nmodel = "claude-*"\ninput = 1\noutput = 1\n')
    ingest(store, [tmp_path / "logs"], OPTIONS)
    folder = [tmp_path / "logs"]
    since = Filters(since=datetime(2026, 1, 1, tzinfo=UTC))
    asked: list[dict[str, Any]] = [
        {"filters": ALL},
        {"filters": since},
        {"filters": ALL, "by": "day"},
        {"filters": ALL, "prices": prices},
    ]
    costs = [report_on(store, folder, **options).totals.cost_usd for options in asked]
    assert len(made) == 4
    assert costs[3] != costs[0]
    prices.write_text('[[price]]\nmodel = "claude-*"\ninput = 2\noutput = 2\n')
    assert report_on(store, folder, **asked[3]).totals.cost_usd == pytest.approx(2 * costs[3])
    report_on(store, [tmp_path / "logs" / "a.jsonl"], filters=ALL)
    assert len(made) == 6


def test_forks_are_ranked_by_the_next_run_if_one_was_killed_before(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from forkpoint.analysis import siblings

    lines = [
        json.dumps({"request_id": f"{i}", "timestamp": 1_760_000_000 + i, "token_ids": [1, 2, i]})
        for i in range(3)
    ]
    write(tmp_path / "ids.jsonl", lines)
    with monkeypatch.context() as patch:
        patch.setattr(siblings, "refine_forks", _killed)
        with pytest.raises(KeyboardInterrupt):
            ingest(store, [tmp_path], OPTIONS)
    assert ingest(store, [tmp_path], OPTIONS).files == 0
    tree = build_report(store, [tmp_path]).prefix_tree
    assert (tree.flat_tokens, tree.tree_tokens, tree.fork_points) == (9, 5, 1)


def _killed(*_: object) -> None:
    raise KeyboardInterrupt

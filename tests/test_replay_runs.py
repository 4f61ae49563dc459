"""How runs of a logged tree and branching experiments are shown; no model is needed for that."""

from __future__ import annotations

import io
import json

import pytest
from rich.cells import cell_len
from typer.testing import CliRunner

from forkpoint.analysis.replay_tree_results import (
    BranchBudget,
    BranchingExperiment,
    BranchPolicy,
    ExecutionRun,
    TreeExecution,
    TreeShape,
)
from forkpoint.cli.main import app
from forkpoint.cli.options import Execution, PlainFormat
from forkpoint.cli.replay_runs import modes_of, write_branching, write_execution

HOSTILE = "model\x1b[31m [bold]x[/bold]"
SHAPE = TreeShape(
    sequences=39, stretches=60, depth=200, flat_tokens=5000, tree_tokens=1718, packed_tokens=2050,
    packs=3, pack_limit=1024, measured_tokens=1500, por=0.6564, err=0.59, bound=2.91,
)  # fmt: skip
FLAT = ExecutionRun("flat", 5000, 39, 12.0, (12.0,), 38_000_000, None, None, None, None)
PACKED = ExecutionRun("packed", 2050, 3, 5.5, (5.5,), None, 2.16, 0.61, 2.6e-5, 1e-5)
EXECUTION = TreeExecution(
    HOSTILE, "cpu", "float32", 1, "live tensors", SHAPE, (FLAT, PACKED), 1e-4, True, {"no ids": 2}
)
BRANCHING = BranchingExperiment(
    model=HOSTILE, prompts=6, logged=39, budget_tokens=512, points=4, temperature=1.0, seed=0,
    scorer=None, left_out={},
    policies=(
        BranchPolicy("entropy", 3.1, 12.0, 3000, 900, (BranchBudget(512, 9.5, 9.1, 8.0, None, None),)),
        BranchPolicy("root", None, None, 3000, 0, ()),
    ),
)  # fmt: skip


@pytest.fixture(params=[40, 80, 140])
def width(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setenv("COLUMNS", str(request.param))
    return int(request.param)


def test_an_execution_fits_its_terminal_and_says_what_is_possible(width: int) -> None:
    out = io.StringIO()
    write_execution(EXECUTION, PlainFormat.TABLE, out)
    shown = out.getvalue()
    assert all(cell_len(line) <= width for line in shown.splitlines())
    assert "\x1b" not in shown
    assert "65.6 %" in shown
    if width >= 80:
        assert "2.16 ×" in shown
        assert "61 %" in shown


def test_an_experiment_fits_its_terminal(width: int) -> None:
    out = io.StringIO()
    write_branching(BRANCHING, PlainFormat.TABLE, out)
    shown = out.getvalue()
    assert all(cell_len(line) <= width for line in shown.splitlines())
    assert "9.1" in shown
    assert "\x1b" not in shown


def test_json_holds_every_figure() -> None:
    out = io.StringIO()
    write_execution(EXECUTION, PlainFormat.JSON, out)
    found = json.loads(out.getvalue())["execution"]
    assert found["shape"]["por"] == 0.6564
    assert found["runs"][1]["speedup"] == 2.16
    out = io.StringIO()
    write_branching(BRANCHING, PlainFormat.JSON, out)
    found = json.loads(out.getvalue())["branching"]
    assert found["policies"][0]["curve"][0]["distinct"] == 9.1


def test_flat_is_always_run_for_comparison() -> None:
    assert modes_of(Execution.ALL) == ("flat", "trie", "packed")
    assert modes_of(Execution.FLAT) == ("flat",)
    assert modes_of(Execution.PACKED) == ("flat", "packed")


@pytest.mark.parametrize(
    "options",
    [
        ["--server", "http://127.0.0.1:9", "--execute", "all"],
        ["--model", "smollm2", "--execute", "all", "--branch"],
    ],
)
def test_options_that_do_not_go_together_are_a_usage_error(options: list[str]) -> None:
    assert CliRunner().invoke(app, ["replay", ".", *options]).exit_code == 2

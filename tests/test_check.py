"""The gate: one verdict and one exit code, whatever prints it."""

from __future__ import annotations

import io
import json
import math
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from shown_answers import Run
from typer.testing import CliRunner, Result

from forkpoint.analysis.check import (
    FIGURES,
    LIMITS,
    REGRESSION,
    Limit,
    Measure,
    Status,
    Unit,
    change_for_the_worse,
    compare,
    judge,
    measures_of,
)
from forkpoint.analysis.ingest import ingest
from forkpoint.analysis.ingest_worker import Options
from forkpoint.analysis.report import build_report
from forkpoint.analysis.results import GroupRow, Report, Totals
from forkpoint.analysis.store import MEMORY, Store
from forkpoint.cli.baseline import read_baseline, write_baseline
from forkpoint.cli.check import keep_baseline, verdicts_on, write_check
from forkpoint.cli.check_config import CheckOptions, options_from_files
from forkpoint.cli.main import app
from forkpoint.cli.options import CheckFormat
from forkpoint.errors import ForkpointError

REPOSITORY = Path(__file__).resolve().parent.parent
LOGS = REPOSITORY / "sample_logs" / "claude-code"
HOSTILE = "\x1b[31m::error::x%0A\r\n::set-output name=a::b <b>]]>&\"'|`@a\u202e"


@pytest.fixture(scope="module")
def report() -> Report:
    """A report on real-looking logs where every figure is known in full."""
    with Store.open(MEMORY, encoding="o200k_base") as store:
        ingest(store, [LOGS], Options("o200k_base"))
        return build_report(store, [LOGS], by="session")


@pytest.fixture
def run(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run ``forkpoint check`` in an empty folder, with a home and a store of its own."""
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)

    def invoke(*args: str | Path, **environment: str) -> Result:
        command = ["check", *map(str, args), "--store", str(tmp_path / "store.duckdb")]
        return CliRunner().invoke(app, command, env=environment)

    return invoke


def with_figure(report: Report, key: str, value: float | None) -> Report:
    """The report with one figure set; ``None``: the logs do not tell it."""
    totals, cache = report.totals, report.cache
    if key == "cost_usd":
        priced = 0 if value is None else totals.calls
        return replace(
            report,
            totals=replace(
                totals,
                cost_usd=value or 0.0,
                priced_calls=priced,
                unpriced_calls=totals.calls - priced,
            ),
        )
    if key == "cost_per_trace_usd":
        cheap = GroupRow("cheap", Totals(calls=1, cost_usd=0.0, priced_calls=1), None, None)
        dear = GroupRow("dear", Totals(calls=1, cost_usd=value or 0.0, priced_calls=1), None, None)
        return replace(report, groups_by=() if value is None else (cheap, dear, cheap))
    if key == "missed_tokens":
        known = 0.9 if value is not None else None
        tokens = 0 if value is None else int(value)
        return replace(report, cache=replace(cache, missed_tokens=tokens, ideal_hit_rate=known))
    if key == "overlap_ratio":
        return replace(report, prefix_tree=replace(report.prefix_tree, overlap_ratio=value))
    return replace(report, cache=replace(cache, **{key: value}))


AT: dict[str, tuple[float, float, float]] = {
    "max-cost": (3.62, 3.61999999, 3.62000001),
    "max-cost-per-trace": (0.1 + 0.2, 0.29, 0.31),
    "min-hit-rate": (0.8, 0.7999999, 0.8000001),
    "min-cache-read-share": (1 - 0.7, 0.29, 0.31),
    "max-missed-tokens": (1000, 999, 1001),
    "max-missed-usd": (0.5, 0.4999, 0.5001),
    "max-overlap-ratio": (1 - 0.7, 0.29, 0.31),
}
"""Per limit: a value, a bound below it and a bound above it."""
ROUND = {"max-cost-per-trace": 0.3, "min-cache-read-share": 0.3, "max-overlap-ratio": 0.3}
"""What a person would write for a value that binary fractions cannot hold."""


def cases() -> list[tuple[str, float | None, float, Status]]:
    found: list[tuple[str, float | None, float, Status]] = []
    for name, (value, below, above) in AT.items():
        rises = LIMITS[name].rises
        found += [
            (name, value, value, Status.PASS),
            (name, value, ROUND.get(name, value), Status.PASS),
            (name, value, below, Status.FAIL if rises else Status.PASS),
            (name, value, above, Status.PASS if rises else Status.FAIL),
            (name, None, above, Status.MISSING),
        ]
    return found


def test_every_limit_is_in_the_table_of_cases() -> None:
    assert set(AT) == set(LIMITS) == {figure.limit for figure in FIGURES}


@pytest.mark.parametrize("allow_missing", [False, True])
@pytest.mark.parametrize(("name", "value", "bound", "expected"), cases())
def test_every_limit_gives_one_verdict_in_every_format(
    report: Report,
    name: str,
    value: float | None,
    bound: float,
    expected: Status,
    allow_missing: bool,
) -> None:
    made = with_figure(report, LIMITS[name].key, value)
    options = CheckOptions({name: bound}, allow_missing=allow_missing)
    answer = verdicts_on(made, options, None)
    (verdict,) = answer.verdicts
    assert verdict.status is expected
    fails = expected is Status.FAIL or (expected is Status.MISSING and not allow_missing)
    assert (verdict.failed, answer.passed) == (fails, not fails)
    shown = {form: rendered(answer, form) for form in CheckFormat}
    assert all(name in text for text in shown.values())
    assert json.loads(shown[CheckFormat.JSON])["passed"] is not fails
    assert json.loads(shown[CheckFormat.JSON])["limits"][0]["verdict"] == expected
    assert ("::error" in shown[CheckFormat.GITHUB]) is fails
    suite = ET.fromstring(shown[CheckFormat.JUNIT])
    assert suite.get("failures") == str(int(fails))
    assert len(suite.findall(".//failure")) == int(fails)
    for form in (CheckFormat.TABLE, CheckFormat.MD, CheckFormat.GITHUB):
        assert ("Failed: 1 of 1 limit." if fails else "Passed: 1 limit") in shown[form], form
    # Printing it has not changed it.
    assert verdicts_on(made, options, None) == answer


def rendered(answer: Any, form: CheckFormat, environment: dict[str, str] | None = None) -> str:
    out = io.StringIO()
    write_check(answer, form, out, environment or {})
    return out.getvalue()


@pytest.mark.parametrize("form", CheckFormat)
@pytest.mark.parametrize("side", ["at", "kept", "broken"])
def test_the_exit_code_is_the_same_in_every_format(
    run: Run, report: Report, form: CheckFormat, side: str
) -> None:
    args: list[str] = []
    for name, figure in LIMITS.items():
        value = measures_of(report)[figure.key].value
        assert value is not None
        slack = {"at": 0.0, "kept": 1e-6, "broken": -1e-6}[side] * (1 if figure.rises else -1)
        args += [f"--{name}", repr(value + slack)]
    result = run(LOGS, "--format", form.value, *args)
    assert result.exit_code == (3 if side == "broken" else 0), result.output
    assert result.stderr == ""


def test_a_figure_beside_its_limit_never_looks_equal_to_it(report: Report) -> None:
    made = with_figure(report, "hit_rate", 0.79999)
    made = with_figure(made, "cost_usd", 3.001)
    answer = verdicts_on(made, CheckOptions({"min-hit-rate": 0.8, "max-cost": 3.0}), None)
    shown = rendered(answer, CheckFormat.TABLE)
    assert "79.999 %" in shown and "$3.001" in shown


# ---- What is known in part -----------------------------------------------------------------------


def test_calls_without_a_price_are_never_free(report: Report) -> None:
    totals = replace(report.totals, cost_usd=5.0, priced_calls=9, unpriced_calls=1)
    made = replace(report, totals=totals)
    verdicts = {bound: judged(made, "max-cost", bound) for bound in (4.0, 6.0)}
    assert verdicts[4.0].status is Status.FAIL
    assert (verdicts[6.0].status, verdicts[6.0].failed) == (Status.MISSING, True)
    assert verdicts[6.0].why == "1 call without a known price"
    assert not judged(made, "max-cost", 6.0, allow_missing=True).failed
    assert judged(made, "max-cost", 4.0, allow_missing=True).failed
    assert judged(made, "max-cost-per-trace", 1e6).failed


def judged(report: Report, name: str, bound: float, *, allow_missing: bool = False) -> Any:
    limits = [Limit(LIMITS[name], bound)]
    (verdict,) = judge(measures_of(report), limits, allow_missing=allow_missing)
    return verdict


def test_calls_that_log_no_cache_reads_count_as_what_they_may_have_missed(report: Report) -> None:
    cache = replace(report.cache, missed_tokens=100, unreported_calls=2, unreported_ideal_tokens=50)
    made = replace(report, cache=cache)
    assert judged(made, "max-missed-tokens", 150).status is Status.PASS
    assert judged(made, "max-missed-tokens", 149).status is Status.MISSING
    assert judged(made, "max-missed-tokens", 99).status is Status.FAIL
    unsized = replace(made, cache=replace(cache, unsized_calls=1))
    assert judged(unsized, "max-missed-tokens", 1e9).status is Status.MISSING


def test_nothing_missed_costs_nothing_though_no_call_has_a_price(report: Report) -> None:
    none_missed = replace(report.cache, missed_tokens=0, missed_usd=None)
    assert judged(replace(report, cache=none_missed), "max-missed-usd", 0).status is Status.PASS
    missed = replace(report.cache, missed_tokens=7, missed_usd=None)
    assert judged(replace(report, cache=missed), "max-missed-usd", 0).status is Status.MISSING


@pytest.mark.parametrize("name", LIMITS)
def test_no_calls_at_all_pass_no_limit(run: Run, tmp_path: Path, name: str) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    bound = "1" if LIMITS[name].unit is Unit.RATIO and LIMITS[name].rises else "0"
    result = run(empty, f"--{name}", bound)
    assert result.exit_code == 3
    assert "no calls in these logs" in result.stdout
    assert run(empty, f"--{name}", bound, "--allow-missing").exit_code == 0


def test_a_machine_without_agent_logs_fails_its_limits(run: Run) -> None:
    assert run("--max-cost", "1").exit_code == 3


# ---- Baselines -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "before", "now", "expected"),
    [
        ("max-cost", 2.0, 2.1, 5.0),
        ("max-cost", 2.0, 1.0, -50.0),
        ("max-cost", 0.0, 0.0, 0.0),
        ("max-cost", 0.0, 1e-6, math.inf),
        ("max-missed-usd", -1.0, -0.5, 50.0),
        ("min-hit-rate", 0.8, 0.76, 5.0),
        ("min-hit-rate", 0.8, 0.84, -5.0),
        ("min-hit-rate", 0.0, 0.0, 0.0),
        ("min-hit-rate", 0.0, 0.5, 0.0),
        ("max-overlap-ratio", 0.0, 0.1, math.inf),
    ],
)
def test_a_regression_is_in_percent_of_the_baseline_for_the_worse(
    name: str, before: float, now: float, expected: float
) -> None:
    assert change_for_the_worse(LIMITS[name], before, now) == pytest.approx(expected)


def compared(before: Measure, now: Measure, percent: float, **options: bool) -> Any:
    allow = options.get("allow_missing", False)
    rest = {figure.key: Measure(None, "not looked at") for figure in FIGURES}
    found = compare(rest | {"cost_usd": now}, {"cost_usd": before}, percent, allow_missing=allow)
    (verdict,) = found
    return verdict


def test_what_is_known_in_part_is_compared_with_what_was_known_in_part() -> None:
    part, whole = Measure(2.0, "1 call without a known price"), Measure(2.0)
    assert compared(part, part, 0).status is Status.PASS
    assert compared(part, whole, 0).status is Status.PASS
    assert compared(whole, part, 0).status is Status.MISSING
    assert compared(whole, part, 0).failed
    assert not compared(whole, part, 0, allow_missing=True).failed
    assert compared(whole, replace(part, value=2.2), 5).status is Status.FAIL
    assert compared(whole, Measure(None, "gone"), 5).status is Status.MISSING


def test_a_rise_from_zero_is_more_than_any_percentage() -> None:
    verdict = compared(Measure(0.0), Measure(0.01), 1e9)
    assert (verdict.status, verdict.change_percent) == (Status.FAIL, None)


def test_a_figure_that_the_baseline_does_not_know_is_not_compared() -> None:
    now = {figure.key: Measure(1.0) for figure in FIGURES}
    before = {"cost_usd": Measure(1.0), "hit_rate": Measure(None, "not logged")}
    verdicts = compare(now, before, 0, allow_missing=False)
    assert [each.figure.key for each in verdicts] == ["cost_usd"]


def test_the_same_logs_never_regress(run: Run) -> None:
    assert run(LOGS, "--write-baseline", "base.json").exit_code == 0
    result = run(LOGS, "--baseline", "base.json", "--max-regression", "0", "--format", "json")
    assert result.exit_code == 0, result.stdout
    found = json.loads(result.stdout)["limits"]
    assert [each["figure"] for each in found] == [figure.key for figure in FIGURES]
    assert {each["change_percent"] for each in found} == {0}
    assert {each["limit"] for each in found} == {REGRESSION}


@pytest.mark.parametrize("form", CheckFormat)
def test_a_worse_figure_than_the_baseline_allows_fails_in_every_format(
    run: Run, report: Report, tmp_path: Path, form: CheckFormat
) -> None:
    better = dict(measures_of(report))
    better["cost_usd"] = Measure((better["cost_usd"].value or 0) / 1.05)
    write_baseline(better, tmp_path / "base.json")
    gate = ("--baseline", tmp_path / "base.json", "--format", form.value, "--max-regression")
    assert run(LOGS, *gate, "4.9").exit_code == 3
    assert run(LOGS, *gate, "5.1").exit_code == 0


def test_a_baseline_survives_being_written_and_read(report: Report, tmp_path: Path) -> None:
    measures = {"cost_usd": Measure(1 / 3, "2 calls without a known price"), "hit_rate": Measure(0)}
    write_baseline(measures, tmp_path / "new" / "base.json")
    assert read_baseline(tmp_path / "new" / "base.json") == measures


def test_the_baseline_that_a_run_fails_against_is_kept(
    run: Run, report: Report, tmp_path: Path
) -> None:
    base = tmp_path / "base.json"
    write_baseline({"cost_usd": Measure(0.01)}, base)
    before = base.read_bytes()
    gate = ("--baseline", base, "--max-regression", "5")
    result = run(LOGS, *gate, "--write-baseline", base)
    assert (result.exit_code, base.read_bytes()) == (3, before)
    assert "stays as it is" in result.stderr
    # Another file is written all the same, and one that the run keeps to is replaced.
    assert run(LOGS, *gate, "--write-baseline", tmp_path / "other.json").exit_code == 3
    assert len(read_baseline(tmp_path / "other.json")) == len(FIGURES)
    answer = verdicts_on(report, CheckOptions({"max-cost": 1e6}), None)
    assert keep_baseline(report, answer, base, CheckOptions(baseline=base))
    assert base.read_bytes() != before


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "there is no baseline"),
        ("{", "is no baseline"),
        ("[1]", "is no baseline"),
        ('{"format": 1, "figures": {"cost_usd": {"value": "1"}}}', "is no baseline"),
        ('{"format": 2, "forkpoint": "9.9", "figures": {}}', "of format 2"),
        ('{"format": 1, "figures": {"cost_usd": {"value": null}}}', "no figure to compare"),
        ("[" * 100_000, "is no baseline"),
        ("\udcff", "is no baseline"),
    ],
)
def test_a_file_that_is_no_baseline_is_one_line(
    run: Run, tmp_path: Path, content: str | None, says: str
) -> None:
    base = tmp_path / "base.json"
    if content is not None:
        base.write_bytes(content.encode("utf-8", "surrogateescape"))
    result = run(LOGS, "--baseline", base, "--max-regression", "1")
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
    assert says in result.stderr and str(base) in result.stderr


# ---- Limits from files ---------------------------------------------------------------------------


def test_limits_come_from_the_nearest_file_upwards(tmp_path: Path) -> None:
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    (tmp_path / "pyproject.toml").write_text("[tool.forkpoint.check]\nmax-cost = 5\n")
    (tmp_path / "a" / "pyproject.toml").write_text("[project]\nname = 'other'\n")
    assert options_from_files(below).limits == {"max-cost": 5.0}
    (tmp_path / "a" / "forkpoint.toml").write_text("[check]\nmin_hit_rate = 0.5\n")
    assert options_from_files(below).limits == {"min-hit-rate": 0.5}
    (tmp_path / "a" / "b" / "pyproject.toml").write_text(
        "[tool.forkpoint.check]\nbaseline = 'ci/base.json'\nmax-regression = 5\nallow-missing = true"
    )
    assert options_from_files(below) == CheckOptions({}, below / "ci/base.json", 5.0, True)
    (tmp_path / "a" / "b" / "forkpoint.toml").write_text("[tool.forkpoint.check]\nmax_cost = 1\n")
    assert options_from_files(below).limits == {"max-cost": 1.0}


def test_a_broken_file_that_is_not_about_forkpoint_does_not_matter(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("this is no TOML")
    assert options_from_files(tmp_path) == CheckOptions()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("max-price = 5", "unknown key max-price"),
        ("write-baseline = 'x'", "unknown key write-baseline"),
        ("max-cost = '5'", "max-cost must be a number"),
        ("max-cost = true", "max-cost must be a number"),
        ("max-cost = nan", "max-cost must be a number from 0 up"),
        ("max-cost = inf", "max-cost must be a number from 0 up"),
        ("max-cost = -1", "max-cost must be a number from 0 up"),
        (f"max-cost = {'9' * 400}", "max-cost must be a number from 0 up"),
        ("min-hit-rate = 80", "min-hit-rate must be a ratio from 0 to 1"),
        ("max-cost = 1\nmax_cost = 2", "max_cost is there twice"),
        ("baseline = 3", "baseline must be the name of a file"),
        ("allow-missing = 1", "allow-missing must be true or false"),
        ("max-cost = ", "is no valid TOML"),
        ("[tool.forkpoint]\nchecks = {}", "unknown key tool.forkpoint.checks"),
        ("[other]\nx = 1", "unknown key other"),
        ("[tool.forkpoint.check]\nmax-cost = 1", "both [check] and [tool.forkpoint.check]"),
    ],
)
def test_a_wrong_setting_is_one_line_with_file_and_key(run: Run, text: str, says: str) -> None:
    Path("forkpoint.toml").write_text(f"[check]\n{text}\n")
    result = run(LOGS)
    assert (result.exit_code, result.stderr.count("\n"), result.stdout) == (1, 1, "")
    assert says in result.stderr
    assert "forkpoint.toml" in result.stderr


@pytest.mark.parametrize(
    "table", ["tool = 1", "[tool]\nforkpoint = 1", "[tool.forkpoint]\ncheck = 1"]
)
def test_a_table_that_is_none_is_an_error(tmp_path: Path, table: str) -> None:
    (tmp_path / "pyproject.toml").write_text(f"# forkpoint\n{table}\n")
    with pytest.raises(ForkpointError, match="must be a table"):
        options_from_files(tmp_path)


def test_the_command_line_wins_over_the_file(run: Run) -> None:
    Path("pyproject.toml").write_text(
        "[tool.forkpoint.check]\nmax-cost = 0\nmin-hit-rate = 0.1\nallow-missing = true\n"
    )
    assert run(LOGS).exit_code == 3
    result = run(LOGS, "--max-cost", "1000", "--no-allow-missing", "--format", "json")
    assert result.exit_code == 0
    found = json.loads(result.stdout)
    assert [each["limit"] for each in found["limits"]] == ["max-cost", "min-hit-rate"]
    assert found["allow_missing"] is False


# ---- Usage ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "says"),
    [
        ([], "--min-hit-rate 0.8"),
        (["--max-cost", "nan"], "--max-cost must be a number from 0 up"),
        (["--max-cost", "inf"], "--max-cost must be a number from 0 up"),
        (["--max-cost", "-1"], "--max-cost must be a number from 0 up"),
        (["--min-hit-rate", "80"], "--min-hit-rate must be a ratio from 0 to 1"),
        (["--max-regression", "-5", "--baseline", "b"], "--max-regression must be a number"),
        (["--max-regression", "5"], "--max-regression needs --baseline"),
        (["--baseline", "b.json"], "--baseline needs --max-regression"),
        (["--allow-missing"], "there is no limit to check"),
    ],
)
def test_what_cannot_be_a_limit_is_wrong_usage(run: Run, args: list[str], says: str) -> None:
    result = run(LOGS, *args)
    assert result.exit_code == 2
    assert says in " ".join(result.stderr.split())
    assert result.stdout == ""


def test_writing_a_baseline_needs_no_limit(run: Run) -> None:
    result = run(LOGS, "--write-baseline", "base.json")
    assert (result.exit_code, result.stdout) == (0, "No limit to check.\n")


# ---- Formats -------------------------------------------------------------------------------------


def hostile_answer(report: Report) -> Any:
    row = GroupRow(HOSTILE, Totals(calls=1, cost_usd=9.0, priced_calls=1), None, None)
    made = replace(report, groups_by=(row,))
    return verdicts_on(made, CheckOptions({"max-cost-per-trace": 1.0}), None)


def test_a_hostile_trace_name_cannot_give_a_workflow_command(report: Report) -> None:
    lines = rendered(hostile_answer(report), CheckFormat.GITHUB).splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("::error title=forkpoint check%3A max-cost-per-trace::")
    assert "\\x1b[31m::error::x%250A\\x0d\\x0a" in lines[0]
    assert "\x1b" not in lines[0] and "\u202e" not in lines[0]


def test_a_hostile_trace_name_stays_text_in_junit_and_markdown(report: Report) -> None:
    suite = ET.fromstring(rendered(hostile_answer(report), CheckFormat.JUNIT))
    failure = suite.find(".//failure")
    assert failure is not None and failure.text is not None
    assert "<b>]]>&\"'" in failure.text and len(failure) == 0
    markdown = rendered(hostile_answer(report), CheckFormat.MD)
    assert "<b>" not in markdown
    assert markdown.splitlines()[-1].count("|") == 6


def test_the_summary_of_a_job_gets_the_table(run: Run, tmp_path: Path) -> None:
    summary = tmp_path / "summary.md"
    summary.write_text("before\n")
    for form in ("table", "github"):
        result = run(LOGS, "--max-cost", "0", "--format", form, GITHUB_STEP_SUMMARY=str(summary))
        assert result.exit_code == 3
    assert summary.read_text().startswith("before\n### forkpoint check: Failed: 1 of 1 limit.\n")
    assert summary.read_text().count("###") == 1


@pytest.mark.parametrize(("bound", "code"), [("0", 3), ("1000", 0)])
def test_a_summary_that_cannot_be_written_changes_no_verdict(
    run: Run, tmp_path: Path, bound: str, code: int
) -> None:
    args = (LOGS, "--max-cost", bound, "--format", "github")
    result = run(*args, GITHUB_STEP_SUMMARY=str(tmp_path / "no" / "such" / "folder"))
    assert result.exit_code == code
    assert "::warning title=forkpoint check%3A summary::cannot write" in result.stdout


def test_a_result_can_go_to_a_file(run: Run) -> None:
    args = (LOGS, "--max-cost", "0", "--format", "junit", "-o", "out/junit.xml")
    result = run(*args)
    assert (result.exit_code, result.stdout) == (3, "")
    assert ET.parse("out/junit.xml").getroot().get("failures") == "1"
    assert run(*args).exit_code == 1
    assert run(*args, "--force").exit_code == 3

"""Reporters: the same answer in five formats, whatever its texts hold."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from built_answers import HOSTILE, TEXTS, a_provenance, an_entropy, worst_calls
from golden_files import matches_golden
from rich.cells import cell_len

from forkpoint.analysis import cause_names as causes
from forkpoint.analysis.results import (
    Branch,
    Cache,
    Calibration,
    Fork,
    FormatCount,
    GroupRow,
    LedgerRow,
    MissCause,
    PrefixTree,
    Report,
    Rollouts,
    Savings,
    Sources,
    Totals,
    WaterfallStep,
)
from forkpoint.cli.answer import ACTIONS, MEANINGS, Reporter, period
from forkpoint.cli.csv_report import COLUMNS, CsvReporter
from forkpoint.cli.html_report import HtmlReporter
from forkpoint.cli.json_report import JsonReporter
from forkpoint.cli.layout import fit, flow, grid
from forkpoint.cli.markdown_report import MarkdownReporter
from forkpoint.cli.numbers import dollars, duration, percent, tokens
from forkpoint.cli.output import write_report
from forkpoint.cli.table import TableReporter
from forkpoint.cli.text import csv_text, markdown_text, plain
from forkpoint.errors import ForkpointError

pytestmark = pytest.mark.usefixtures("no_terminal")

REPORTERS: dict[str, Callable[[], Reporter]] = {
    "table": lambda: TableReporter(100),
    "json": JsonReporter,
    "csv": CsvReporter,
    "md": MarkdownReporter,
    "html": HtmlReporter,
}


def a_fork(path: str = "/logs/app", kind: str = "tool_result") -> Fork:
    return Fork(
        node="00" * 16,
        trunk_tokens=12_345,
        head_tokens=17,
        fan_out=3,
        calls=140,
        shared_tokens=24_690,
        ends_with="system",
        branches=(
            Branch(kind, "user", 70, f"{path}/first.jsonl", 12),
            Branch(kind, "user", 69, f"{path}/second.jsonl", 88),
            Branch("text", "assistant", 1, f"{path}/second.jsonl", 97),
        ),
    )


def a_report(text: str | None = None, by: str | None = None) -> Report:
    """A report as analysis gives it; `text` takes the place of every text that logs decide."""
    totals = Totals(
        calls=780,
        traces=12,
        groups=2,
        rollouts=16,
        input_tokens=53_023_201,
        uncached_input_tokens=9_036,
        cache_read_tokens=50_586_956,
        cache_write_tokens=2_427_209,
        cache_write_5m_tokens=1_416_562,
        cache_write_1h_tokens=1_010_647,
        output_tokens=365_208,
        reasoning_tokens=1_000,
        cost_usd=51.5523456789,
        priced_calls=770,
        unpriced_calls=10,
        unpriced_models=(text or "house-model",),
        calls_without_usage=4,
    )
    small = replace(totals, calls=3, cost_usd=0.0213, unpriced_models=(), calls_without_usage=0)
    path = text or "/logs/app"
    return Report(
        sources=Sources(24, 8_123_456, 2, {"claude-code": FormatCount(24, 912, 2)}, 1, 3),
        totals=totals,
        cache=Cache(
            hit_rate=0.954053,
            cache_read_share=0.947527,
            ideal_hit_rate=0.98912,
            policy_hit_rate=0.9721,
            waterfall=(
                WaterfallStep("input", 53_023_201, None),
                WaterfallStep("never sent before", -577_000, None),
                WaterfallStep("ideal", 52_446_201, None),
                WaterfallStep("expired", -1_100_000, -3.9),
                WaterfallStep("policy", 51_346_201, None),
                WaterfallStep("below policy", -759_245, -8.6),
                WaterfallStep("realized", 50_586_956, None),
            ),
            misses_by_cause=(
                MissCause("tools changed", "provider", 3, 500_000, 1.6),
                MissCause("expired", "inferred", 14, 1_100_000, 3.9),
            ),
            ideal_tokens=52_446_201,
            read_tokens=50_586_956,
            missed_tokens=1_859_245,
            missed_usd=12.5,
            input_tokens=53_023_201,
            provider_exceeds_calls=14,
            shrunk_calls=1,
            unsized_calls=4,
            worst_calls=worst_calls(text, "{:032x}", 139_600, 0.8659, "messages_changed"),
            calibrations=(Calibration("claude-opus-4-7", 0.31, 21_000, 0.012, 700),),
            evidence={"usage and partial text": 776, "usage": 0},
            reported_evidence={"usage and partial text": 776},
            unknown_share=0.08,
            reported_ideal_hit_rate=0.98912,
            unreported_calls=0,
            unreported_ideal_tokens=0,
        ),
        prefix_tree=PrefixTree(
            53_000_000, 2_900_000, 0.945283, 123, (a_fork(path, text or "tool_result"),) * 5, 4
        ),
        rollouts=Rollouts(
            groups=2,
            rollouts=16,
            sized_rollouts=16,
            flat_tokens=1_000_000,
            tree_tokens=288_000,
            overlap_ratio=0.712,
            bound=3.4722,
            trunk_tokens=60_000,
            rho=1.7241,
            turns=320,
            distinct_turns=120,
            drift=None,
            same_answer_share=0.5,
            mean_reward=0.41,
            pass_hat={1: 0.41, 8: 0.02},
            generated_shared_tokens=9_000,
        ),
        entropy=an_entropy(text),
        savings=Savings(
            50_586_956,
            213.58,
            1_868_245,
            12.9,
            (
                LedgerRow(
                    "prompt caching", 1_859_245, 50_586_956, 12.5, 213.58, 52_446_201, "text", None
                ),
                LedgerRow("tree sampling", None, None, None, None, None, "", "text or token ids"),
            ),
        ),
        provenance=a_provenance(text),
        by=by,
        groups_by=(
            GroupRow(text or "app", small, 0.5, 0.4),
            GroupRow("web", totals, 0.954053, 0.947527),
        )
        if by
        else (),
    )


def rendered(report: Report, kind: str, width: int = 100) -> str:
    out = io.StringIO()
    reporter = TableReporter(width) if kind == "table" else REPORTERS[kind]()
    reporter.render(report, out)
    return out.getvalue()


@pytest.mark.parametrize("by", [None, "project"])
@pytest.mark.parametrize("kind", REPORTERS)
def test_a_report_is_written_as_its_golden_file_says(kind: str, by: str | None) -> None:
    shown = rendered(a_report(by=by), kind)
    ending = "txt" if kind == "table" else kind
    matches_golden(shown, f"report{'-by-project' if by else ''}.{ending}")


@pytest.mark.parametrize("kind", REPORTERS)
def test_a_reporter_says_the_format_it_writes(kind: str) -> None:
    assert REPORTERS[kind]().kind == kind


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("by", [None, "project", "day"])
@pytest.mark.parametrize("width", [40, 60, 80, 100, 120])
def test_no_line_of_the_table_is_wider_than_the_terminal(
    width: int, by: str | None, text: str | None
) -> None:
    lines = rendered(a_report(text, by), "table", width).split("\n")
    assert max(map(cell_len, lines)) <= width
    assert any("Paid" in line for line in lines)


def test_the_first_screen_is_one_screen() -> None:
    assert len(rendered(a_report(), "table").splitlines()) <= 30
    assert len(rendered(a_report(), "table", 80).splitlines()) <= 40


def test_the_first_screen_answers_in_order() -> None:
    shown = " ".join(rendered(a_report(), "table").split())
    asked = [
        "12 traces · 780 calls · 24 files · 1–24 Jul 2026",
        '2 records unreadable (forkpoint sql "from issues")',
        "Paid",
        "Saved by cache",
        "hit rate 95.4 % of input (provider-reported)",
        "Left",
        "ideal 98.9 % of input (computed from usage and partial text)",
        "Lost to",
        "expired 14 1.1 M $3.90 shorter pauses, or keep it alive",
        "tools changed (provider) 3 500.0 k $1.60 keep tools and their order",
        "Worst call $0.8659 · 139.6 k tokens · claude-opus-4-7 · /logs/app/session-0.jsonl:100",
        "forkpoint cache /logs/app",
        "Fork points",
        "forkpoint prefixes /logs/app",
        "first.jsonl:12",
        "Rollouts",
        "no price known for house-model",
        "Next: forkpoint report",
    ]
    places = [shown.index(each) for each in asked]
    assert places == sorted(places)


@pytest.mark.parametrize("width", [60, 120])
def test_the_dearest_cause_comes_first_and_the_provider_is_named(width: int) -> None:
    shown = rendered(a_report(), "table", width)
    assert shown.index("  expired ") < shown.index("  tools changed (provider) ")
    assert shown.index("shorter pauses") < shown.index("keep tools and their order")


def with_causes(n: int) -> Report:
    report = a_report()
    found = tuple(MissCause(f"cause {i}", "inferred", i, 10 * i, 0.5 * i) for i in range(n))
    return replace(report, cache=replace(report.cache, misses_by_cause=found))


def test_five_causes_are_shown_and_all_are_counted() -> None:
    shown = rendered(with_causes(9), "table")
    assert re.findall(r"^  cause (\d)", shown, re.MULTILINE) == ["8", "7", "6", "5", "4"]
    assert "forkpoint cache /logs/app  all 9 causes, worst calls, what to do\n" in shown
    assert "cause 0" in rendered(with_causes(9), "html")


def test_where_nothing_was_lost_nothing_is_listed() -> None:
    report = a_report()
    cache = replace(report.cache, misses_by_cause=(), worst_calls=())
    shown = rendered(replace(report, cache=cache), "table")
    assert "Lost to" not in shown
    assert "forkpoint cache" not in shown


def test_every_cause_has_an_action_that_fits_beside_it() -> None:
    named = {
        value for name, value in vars(causes).items() if name.isupper() and isinstance(value, str)
    } | set(causes.PROVIDER_WORDS.values())
    assert named == set(ACTIONS) == set(MEANINGS)
    assert max(map(len, ACTIONS.values())) <= 36


def test_proposed_commands_name_the_store_that_was_used() -> None:
    out = io.StringIO()
    TableReporter(120, store="my store.duckdb").render(a_report(), out)
    assert "forkpoint sql \"from issues\" --store 'my store.duckdb'" in out.getvalue()
    assert "forkpoint prefixes /logs/app --store 'my store.duckdb'" in out.getvalue()


def test_a_store_in_memory_is_never_proposed_for_a_query() -> None:
    out = io.StringIO()
    TableReporter(100, store=":memory:").render(a_report(), out)
    assert "forkpoint sql" not in out.getvalue()
    assert "2 records unreadable (--strict shows the first)" in out.getvalue()


def test_a_path_too_long_for_a_command_is_left_to_the_reader() -> None:
    report = a_report()
    long = replace(report, provenance=replace(report.provenance, paths=("/logs/" + "x" * 90,)))
    assert "forkpoint prefixes PATH\n" in rendered(long, "table")
    assert "forkpoint cache PATH  more on each\n" in rendered(long, "table")


def unknown_reads() -> Report:
    """A log of prompts without usage."""
    report = a_report()
    totals = replace(report.totals, calls_without_usage=780, input_tokens=0, output_tokens=0)
    totals = replace(totals, priced_calls=0, unpriced_calls=780, cost_usd=0.0)
    cache = replace(
        report.cache,
        hit_rate=None,
        cache_read_share=None,
        missed_tokens=0,
        missed_usd=None,
        worst_calls=(),
        unreported_calls=780,
        unreported_ideal_tokens=1_859_245,
    )
    return replace(report, totals=totals, cache=cache, savings=Savings(0, None, 0, None, ()))


def test_what_logs_do_not_state_is_unknown_and_never_zero() -> None:
    shown = rendered(unknown_reads(), "table")
    assert re.search(
        r"^Paid +– +– tokens +token counts are not in these logs$", shown, re.MULTILINE
    )
    assert re.search(
        r"^Saved by cache +– +– tokens +cache reads are not in these logs$", shown, re.MULTILINE
    )
    assert "≤ 1.9 M tokens" in shown
    assert "forkpoint cache" not in shown
    assert "less what was read from cache, which is not logged" in shown
    assert "1.9 M tokens may have been paid for again" in rendered(unknown_reads(), "html")
    row = next(csv.DictReader(io.StringIO(rendered(unknown_reads(), "csv"))))
    assert (row["input_tokens"], row["cost_usd"], row["hit_rate"]) == ("", "", "")


def test_where_no_prompts_fork_that_is_said_and_how_much_they_share() -> None:
    report = a_report()
    tree = replace(report.prefix_tree, fork_points=0, top_forks=())
    shown = rendered(replace(report, prefix_tree=tree), "table")
    assert re.search(r"^Fork points {5}none in .* prompt tokens · .*overlap", shown, re.MULTILINE)
    assert "forkpoint prefixes" not in shown


@pytest.mark.parametrize("kind", ["md", "html"])
def test_kinds_of_tokens_that_no_log_states_are_not_zero(kind: str) -> None:
    report = a_report()
    totals = replace(report.totals, reasoning_tokens=0, cache_write_1h_tokens=0)
    shown = rendered(replace(report, totals=totals), kind)
    cell = r"(?:</td><td[^>]*>| \| )"
    assert re.search(f"of it: reasoning{cell}–", shown)
    assert re.search(f"written for 1 hour{cell}–", shown)


def test_calls_that_log_no_cache_reads_are_kept_apart() -> None:
    report = a_report()
    cache = replace(
        report.cache,
        reported_ideal_hit_rate=0.991,
        unreported_calls=20,
        unreported_ideal_tokens=700_000,
    )
    shown = " ".join(rendered(replace(report, cache=cache), "table").split())
    assert "ideal 99.1 % of input where cache reads are logged" in shown
    assert "≤ 700.0 k more in 20 calls that log no cache reads" in shown


@pytest.mark.parametrize(
    ("evidence", "why"),
    [
        ({"usage": 780}, "these logs hold token counts but no prompts"),
        ({"text": 780}, "no prompt in these logs could be sized"),
    ],
)
def test_an_unknown_ideal_says_why(evidence: dict[str, int], why: str) -> None:
    report = a_report()
    cache = replace(report.cache, ideal_hit_rate=None, missed_usd=None, evidence=evidence)
    for kind in ("table", "md", "html"):
        shown = rendered(replace(report, cache=cache), kind)
        assert f"ideal unknown: {why}" in shown
        assert not re.search(r"(?<![\d.])0(\.0)? %", shown)


def test_caching_that_cost_more_than_it_saved_says_so() -> None:
    report = a_report()
    row = replace(report.savings.ledger[0], realized_usd=-2.5)
    shown = rendered(replace(report, savings=replace(report.savings, ledger=(row,))), "table")
    assert "-$2.50" in shown
    assert "negative: cache writes cost more than reads saved" in shown


def test_evidence_of_several_kinds_is_counted() -> None:
    report = a_report()
    cache = replace(report.cache, reported_evidence={"usage": 12, "text": 120})
    assert "text: 120 calls, usage: 12 calls" in rendered(replace(report, cache=cache), "md")


def test_logs_without_calls_are_said_to_have_none() -> None:
    rollouts = replace(a_report().rollouts, groups=0, rollouts=0)
    report = replace(a_report(), totals=Totals(), rollouts=rollouts, entropy=None)
    shown = rendered(report, "table")
    assert shown.startswith("No model calls found in /logs/app\n")
    assert "Paid" not in shown
    assert "forkpoint formats FILE" in shown
    assert "There are no model calls in these logs." in rendered(report, "html")


def rows_of(n: int, by: str) -> Report:
    report = a_report(by=by)
    keys = [f"2026-{1 + i // 28:02d}-{1 + i % 28:02d}" for i in range(n)]
    groups = [
        GroupRow(key, replace(report.totals, cost_usd=float(i)), 0.5, 0.4)
        for i, key in enumerate(keys)
    ]
    return replace(report, groups_by=tuple(groups[::-1]))


def test_the_newest_twenty_days_are_shown_by_date() -> None:
    shown = rendered(rows_of(25, "day"), "table")
    days = re.findall(r"^2026-\d\d-\d\d", shown, re.MULTILINE)
    assert days == sorted(days)
    assert (len(days), days[-1]) == (20, "2026-01-25")
    assert "… 5 earlier (--format csv)" in shown


def test_other_rows_are_shown_by_cost_and_the_rest_is_counted() -> None:
    shown = rendered(rows_of(25, "session"), "table")
    assert re.findall(r"^2026-\d\d-\d\d", shown, re.MULTILINE)[0] == "2026-01-25"
    assert "… 5 more (--format csv)" in shown
    assert len(rendered(rows_of(25, "session"), "csv").splitlines()) == 26


def test_json_has_the_keys_that_scripts_rely_on() -> None:
    found = json.loads(rendered(a_report(by="project"), "json"))
    assert found["format"] == 1
    assert found["forkpoint"] == "0.0.0"
    assert found["sources"]["by_format"] == {
        "claude-code": {
            "files": 24,
            "calls": 912,
            "issues": 2,
            "merged_records": 0,
            "unlisted_tokens": 0,
        }
    }
    assert {"files", "bytes", "issues"} <= set(found["sources"])
    assert found["totals"]["input_tokens"] == 53_023_201
    assert found["totals"]["cost_usd"] == 51.552346
    assert found["totals"]["unpriced_models"] == ["house-model"]
    assert {"hit_rate", "cache_read_share", "ideal_hit_rate", "policy_hit_rate"} <= set(
        found["cache"]
    )
    assert set(found["cache"]["waterfall"][0]) == {"step", "tokens", "usd"}
    assert set(found["cache"]["misses_by_cause"][0]) == {
        "cause",
        "source",
        "calls",
        "tokens",
        "usd",
    }
    assert {"flat_tokens", "tree_tokens", "overlap_ratio", "fork_points"} <= set(
        found["prefix_tree"]
    )
    assert {"groups", "rollouts", "overlap_ratio", "same_answer_share"} <= set(found["rollouts"])
    assert found["rollouts"]["pass_hat"] == {"1": 0.41, "8": 0.02}
    assert {"tokens", "threshold_nats", "fork", "not_fork", "undecided"} <= set(found["entropy"])
    silent = json.loads(rendered(replace(a_report(), entropy=None), "json"))
    assert silent["entropy"] is None
    assert found["savings"]["realized"] == {"tokens": 50_586_956, "usd": 213.58}
    assert set(found["savings"]["ledger"][0]) == {
        "mechanism", "potential_tokens", "realized_tokens", "potential_usd", "realized_usd",
        "standalone_tokens", "evidence", "needs",
    }  # fmt: skip
    assert [row["key"] for row in found["groups_by"]] == ["web", "app"]
    assert set(found["groups_by"][0]) >= set(found["totals"])


def test_json_holds_no_numbers_that_json_lacks() -> None:
    report = a_report()
    cache = replace(report.cache, hit_rate=math.nan, missed_usd=math.inf)

    def refuse(constant: str) -> Any:
        raise AssertionError(constant)

    found = json.loads(rendered(replace(report, cache=cache), "json"), parse_constant=refuse)
    assert found["cache"]["hit_rate"] is None
    assert found["cache"]["missed_usd"] is None


@pytest.mark.parametrize("kind", REPORTERS)
def test_hostile_text_brings_no_control_character_into_any_format(kind: str) -> None:
    shown = rendered(a_report(HOSTILE, by="project"), kind)
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b\u202e\ud800-\udfff]", shown)
    shown.encode("utf-8")


@pytest.mark.parametrize("kind", ["table", "md", "html"])
def test_a_name_of_a_megabyte_does_not_fill_what_people_read(kind: str) -> None:
    shown = rendered(a_report("x" * 1_000_000, "project"), kind)
    assert len(shown) < 100_000
    assert "x…" in shown or "…x" in shown


def test_hostile_text_is_exact_in_json() -> None:
    found = json.loads(rendered(a_report(HOSTILE, by="project"), "json"))
    assert found["totals"]["unpriced_models"] == [HOSTILE]
    assert found["groups_by"][1]["key"] == HOSTILE


def test_rich_markup_in_a_log_is_shown_as_it_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    shown = rendered(a_report("[red]x[/red][link=http://a]:smile:"), "table", 120)
    assert "[red]x[/red][link=http://a]:smile:" in shown
    assert "\x1b[31m" not in shown
    assert "\x1b]8" not in shown


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}


def test_hostile_text_adds_no_element_and_no_attribute_to_html() -> None:
    harmless, hostile = _Tags(), _Tags()
    harmless.feed(rendered(a_report("x", by="project"), "html"))
    attack = HOSTILE + "\" onmouseover='alert(1)' <img src=x onerror=alert(1)>"
    hostile.feed(rendered(a_report(attack, by="project"), "html"))
    assert hostile.tags == harmless.tags
    assert hostile.attributes == harmless.attributes
    assert "script" not in hostile.tags


def test_the_html_page_loads_nothing() -> None:
    shown = rendered(a_report(), "html")
    assert not re.search(r"https?://|\bsrc=|\bhref=|url\(|@import", shown)
    assert "default-src 'none'" in shown
    assert "How to read this" in shown


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n", " =", "＝"])
def test_a_csv_cell_that_a_spreadsheet_would_run_is_neutralised(start: str) -> None:
    shown = rendered(a_report(f'{start}HYPERLINK("a")', by="project"), "csv")
    rows = list(csv.DictReader(io.StringIO(shown)))
    assert rows[1]["key"].startswith("'")
    assert rows[0]["unpriced_models"].startswith("'")
    assert tuple(rows[0]) == COLUMNS


def test_csv_numbers_stay_numbers() -> None:
    rows = list(csv.DictReader(io.StringIO(rendered(a_report(), "csv"))))
    assert [row["key"] for row in rows] == ["total"]
    assert int(rows[0]["cache_read_tokens"]) == 50_586_956
    assert float(rows[0]["cost_usd"]) == 51.552346


def test_hostile_text_breaks_no_markdown_table() -> None:
    harmless = rendered(a_report("x", by="project"), "md")
    hostile = rendered(a_report(HOSTILE, by="project"), "md")
    assert harmless.count("\n") == hostile.count("\n")
    assert harmless.count("|") == hostile.count("|")
    assert "<script" not in hostile
    assert "http://" not in hostile
    assert "@me" not in hostile
    assert "`" not in hostile


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("tool_result", "tool_result"),
        ("_x_", "&#95;x&#95;"),
        ("a*b|c", "a&#42;b&#124;c"),
        ("[t](u)", "&#91;t&#93;(u)"),
        ("www.a.b", "www&#46;a.b"),
    ],
)
def test_markdown_is_changed_only_where_it_would_be_read_as_markup(text: str, shown: str) -> None:
    assert markdown_text(text) == shown


@pytest.mark.parametrize(
    ("text", "limit", "shown"),
    [
        ("plain ünï 日本", None, "plain ünï 日本"),
        ("a\x1b]8;;x\x07b", None, "a\\x1b]8;;x\\x07b"),
        ("\u2066a\ufeff", None, "\\u2066a\\ufeff"),
        ("\U000e0041", None, "\\U000e0041"),
        ("abcdef", 6, "abcdef"),
        ("abcdefg", 6, "abcde…"),
        ("\x00" * 9, 6, "\\x00\\…"),
    ],
)
def test_unseen_characters_are_shown_as_their_codes(
    text: str, limit: int | None, shown: str
) -> None:
    assert plain(text, limit) == shown


def test_csv_text_leaves_harmless_text_alone() -> None:
    assert csv_text("claude-opus-4-7") == "claude-opus-4-7"


@pytest.mark.parametrize(
    ("ratio", "shown"),
    [
        (0.0, "0 %"),
        (1.0, "100 %"),
        (0.99951, ">99.9 %"),
        (1 - 1e-12, ">99.9 %"),
        (0.9994, "99.9 %"),
        (1e-12, "<0.1 %"),
        (0.0006, "0.1 %"),
        (None, "–"),
        (math.nan, "–"),
    ],
)
def test_a_percentage_never_rounds_to_all_or_nothing(ratio: float | None, shown: str) -> None:
    assert percent(ratio) == shown


@pytest.mark.parametrize(
    ("usd", "shown"),
    [
        (51.5523, "$51.55"),
        (1_234_567.891, "$1,234,567.89"),
        (0.99999, "$1.00"),
        (0.99994, "$0.9999"),
        (0.0213456, "$0.02135"),
        (-0.5, "-$0.5000"),
        (1e-9, "<$0.000001"),
        (0.0, "$0"),
        (None, "–"),
        (math.inf, "–"),
    ],
)
def test_dollars_keep_the_digits_that_matter(usd: float | None, shown: str) -> None:
    assert dollars(usd) == shown


@pytest.mark.parametrize(
    ("n", "shown"),
    [(0, "0"), (999, "999"), (1000, "1.0 k"), (999_949, "999.9 k"), (999_951, "1.0 M"),
     (2_345_678_901, "2.3 B"), (None, "–"), (-577_000, "-577.0 k")],
)  # fmt: skip
def test_token_counts_are_short(n: int | None, shown: str) -> None:
    assert tokens(n) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0, "0 s"), (59.4, "59 s"), (59.9, "1 min"), (3599, "1 h 0 min"), (86_399, "1 d 0 h"), (None, "–")],
)  # fmt: skip
def test_durations_carry_over_into_the_next_unit(seconds: float | None, shown: str) -> None:
    assert duration(seconds) == shown


@pytest.mark.parametrize(
    ("first", "last", "shown"),
    [
        ((2026, 7, 1), (2026, 7, 1), "1 Jul 2026"),
        ((2026, 7, 1), (2026, 7, 24), "1–24 Jul 2026"),
        ((2026, 7, 1), (2026, 8, 3), "1 Jul – 3 Aug 2026"),
        ((2025, 12, 30), (2026, 1, 2), "30 Dec 2025 – 2 Jan 2026"),
    ],
)
def test_a_period_names_no_month_or_year_twice(
    first: tuple[int, int, int], last: tuple[int, int, int], shown: str
) -> None:
    assert period(datetime(*first), datetime(*last, tzinfo=UTC)) == shown


def test_a_text_is_cut_by_the_cells_it_takes() -> None:
    assert fit("日本語のログ", 7) == "日本語…"
    assert fit("日本語のログ", 7, keep_end=True) == "…のログ"


def test_a_line_breaks_between_its_parts() -> None:
    assert flow(["one two", "three", "four"], 16) == ["one two · three", "four"]


def test_a_column_gives_way_where_the_width_is_not_enough() -> None:
    lines = grid([["n", "path"], ["1", "/a/very/long/path.jsonl:7"]], 16, flexible=1, keep_end=True)
    assert lines == ["n  path", "1  …path.jsonl:7"]


def test_a_file_is_not_replaced_unless_forced(tmp_path: Path) -> None:
    target = tmp_path / "new" / "report.json"
    write_report(a_report(), JsonReporter(), str(target))
    with pytest.raises(ForkpointError, match="exists: --force replaces it"):
        write_report(a_report(), JsonReporter(), str(target))
    target.write_text("old")
    write_report(a_report(), JsonReporter(), str(target), force=True)
    assert json.loads(target.read_text())["format"] == 1
    assert [path.name for path in target.parent.iterdir()] == ["report.json"]


def test_a_report_that_fails_half_way_leaves_no_file(tmp_path: Path) -> None:
    class Failing:
        kind = "json"

        def render(self, report: Report, out: Any) -> None:
            out.write("half")
            raise ValueError("full stop")

    target = tmp_path / "report.json"
    target.write_text("old")
    with pytest.raises(ValueError, match="full stop"):
        write_report(a_report(), Failing(), str(target), force=True)
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_folder_or_an_impossible_place_is_one_error(tmp_path: Path) -> None:
    with pytest.raises(ForkpointError, match="is a folder"):
        write_report(a_report(), JsonReporter(), str(tmp_path))
    (tmp_path / "file").write_text("")
    with pytest.raises(ForkpointError, match="cannot write"):
        write_report(a_report(), JsonReporter(), str(tmp_path / "file" / "below"))


def test_a_device_is_written_to_and_not_replaced() -> None:
    write_report(a_report(), JsonReporter(), "/dev/null")
    assert Path("/dev/null").is_char_device()

"""The HTML page: complete without a script, inert whatever a log holds, one file that loads nothing."""

from __future__ import annotations

import base64
import hashlib
import html
import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hostile_logs import ALL, LONG, write_hostile_logs
from hypothesis import given
from hypothesis import strategies as st
from test_ingest import claude_lines, write

from forkpoint.analysis.ingest import ingest
from forkpoint.analysis.ingest_worker import Options
from forkpoint.analysis.report import build_report
from forkpoint.analysis.report_details import ReportDetails, build_details
from forkpoint.analysis.results import Cache, Report, WaterfallStep
from forkpoint.analysis.store import MEMORY, Store
from forkpoint.analysis.tokens import DEFAULT_ENCODING
from forkpoint.cli.answer import Section
from forkpoint.cli.html_charts import profile, series, waterfall
from forkpoint.cli.html_parts import (
    CELL_LIMIT,
    MOST_ROWS,
    TEXT_LIMIT,
    cut,
    data_block,
    sort_value,
    table,
)
from forkpoint.cli.html_report import HtmlReporter
from forkpoint.cli.html_tree import LARGEST
from forkpoint.cli.numbers import dollars, duration, percent, tokens

SAMPLES = Path(__file__).resolve().parent.parent / "sample_logs"


def answer_on(path: Path) -> tuple[Report, ReportDetails]:
    with Store.open(MEMORY, encoding=DEFAULT_ENCODING) as store:
        ingest(store, [path], Options(DEFAULT_ENCODING), workers=1)
        return build_report(store, [path], by="project"), build_details(store, [path])


def page_of(report: Report, details: ReportDetails | None) -> str:
    out = io.StringIO()
    HtmlReporter(details).render(report, out)
    return out.getvalue()


@pytest.fixture(scope="module")
def answer() -> tuple[Report, ReportDetails]:
    return answer_on(SAMPLES)


@pytest.fixture(scope="module")
def page(answer: tuple[Report, ReportDetails]) -> str:
    return page_of(*answer)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> str:
    return page_of(*answer_on(write_hostile_logs(tmp_path_factory.mktemp("attack") / ALL[:3])))


class Parsed(HTMLParser):
    """What a page is made of."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.scripts: list[str] = []
        self.styles: list[str] = []
        self._inside: list[str] | None = None
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._inside = {"script": self.scripts, "style": self.styles}.get(tag)
        if self._inside is not None:
            self._inside.append("")

    def handle_endtag(self, tag: str) -> None:
        self._inside = None

    def handle_data(self, data: str) -> None:
        if self._inside is None:
            self.text.append(data)
        else:
            self._inside[-1] += data

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]

    @property
    def policy(self) -> str:
        (found,) = [
            meta["content"]
            for meta in self.named("meta")
            if meta.get("http-equiv") == "Content-Security-Policy"
        ]
        assert found is not None
        return found

    @property
    def data(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.scripts[0])
        return found


def test_the_answer_comes_first_and_sections_follow_in_order(page: str) -> None:
    titles = re.findall(r"<h[12]>(.*?)</h[12]>", page)
    assert "calls cost $" in titles[0]
    assert titles[1:] == [
        "From all input to what the cache served",
        "Savings ledger",
        "Cost and hit rate over time",
        "What each run cost",
        "Where the input went",
        "Lost to",
        "What to do",
        "Rollouts",
        "Groups of rollouts",
        "Where rollouts part",
        "Fork points",
        "Token entropy",
        "By project",
        "Tokens",
        "Paid again: worst calls",
        "Logs read",
        "How to read this",
        "Provenance",
    ]
    assert "The largest cause: expired" in page


def test_a_page_loads_nothing(page: str, hostile: str) -> None:
    for shown in (page, hostile):
        loading = {"src", "href", "srcset", "action", "data", "background", "poster", "style"}
        attributes = {name for _, found in Parsed(shown).tags for name in found}
        assert not attributes & loading
        assert not re.search(r"url\(|@import|\bimport\b|\bfetch\b|XMLHttp|WebSocket|eval\(", shown)


@pytest.mark.parametrize("details", [False, True])
def test_the_policy_names_the_pages_own_style_and_script_and_nothing_else(
    answer: tuple[Report, ReportDetails], details: bool
) -> None:
    parsed = Parsed(page_of(answer[0], answer[1] if details else None))

    def named(content: str) -> str:
        digest = hashlib.sha256(content.encode()).digest()
        return f"'sha256-{base64.b64encode(digest).decode()}'"

    rules = dict(rule.split(" ", 1) for rule in parsed.policy.split("; "))
    expected = {
        "default-src": "'none'",
        "style-src": named(parsed.styles[0]),
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    if details:
        expected["script-src"] = named(parsed.scripts[-1])
    assert rules == expected
    assert len(parsed.styles) == 1
    assert [found.get("type") for found in parsed.named("script")] == (
        ["application/json", None] if details else []
    )


def test_hostile_logs_add_no_element_and_no_attribute(page: str, hostile: str) -> None:
    usual, found = Parsed(page), Parsed(hostile)
    assert {tag for tag, _ in found.tags} <= {tag for tag, _ in usual.tags}
    attributes = {name for _, each in found.tags for name in each}
    assert attributes <= {name for _, each in usual.tags for name in each}
    assert not any(name.startswith("on") for name in attributes)
    assert len(found.scripts) == 2
    assert found.scripts[1] == usual.scripts[1]


def test_hostile_text_is_shown_and_brings_no_unseen_character(hostile: str) -> None:
    parsed = Parsed(hostile)
    shown = "".join(parsed.text)
    assert "</script><script>window.pwned = 1</script>" in shown
    assert '=HYPERLINK("http://c.example")' in shown
    assert "\\u202egnp.exe\\u2066\\u200b\\ufeff\\u2028" in shown
    assert "\\x1b[31mred\\x1b]8;;http://b.example\\x07\\x00\\x85" in shown
    assert "[red]bold[/red][link=http://a.example]markup[/link]" in shown
    unseen = "[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b\u2028\u202e\u2066\ufeff\ud800-\udfff]"
    for each in (hostile, json.dumps(parsed.data, ensure_ascii=False)):
        assert not re.search(unseen, each)
    hostile.encode("utf-8")


def test_no_text_of_a_log_is_longer_than_the_limit(hostile: str) -> None:
    parsed = Parsed(hostile)
    assert "A" * TEXT_LIMIT not in hostile
    assert max(map(len, parsed.data["strings"])) <= TEXT_LIMIT
    assert max(len(each) for each in parsed.text) <= 1000
    assert len(hostile) < 200_000


def test_the_data_holds_no_character_that_markup_begins_with(hostile: str) -> None:
    block = Parsed(hostile).scripts[0]
    assert not set("<>&") & set(block)
    assert block.isascii()


@given(st.text())
def test_embedded_data_is_read_as_it_was(text: str) -> None:
    block = data_block("x", {"text": text})
    (found,) = re.findall(r'<script type="application/json" id="x">(.*)</script>\n', block)
    assert json.loads(found) == {"text": text}


@given(st.text(), st.integers(8, 60))
def test_a_cut_text_keeps_both_its_ends(text: str, limit: int) -> None:
    shown = cut(text, limit)
    assert len(shown) <= limit
    assert "\n" not in shown
    if len(shown) < limit - 1 and text.isascii() and text.isprintable():
        assert shown == text


def test_a_huge_text_is_cut_without_reading_all_of_it() -> None:
    assert cut(LONG, 20) == "<b>AAAA…AAAAAAAAAAAA"


@given(st.integers(-(10**12), 10**12))
def test_a_token_count_is_sorted_by_what_it_shows(n: int) -> None:
    assert sort_value(tokens(n)) == pytest.approx(n, rel=0.06)
    assert sort_value(f"{n:,}") == n


@given(st.floats(1e-5, 1e9))
def test_money_spans_and_shares_are_sorted_by_what_they_show(value: float) -> None:
    assert sort_value(dollars(value)) == pytest.approx(value, rel=0.01)
    assert sort_value(dollars(-value)) == pytest.approx(-value, rel=0.01)
    assert sort_value(duration(value * 10)) == pytest.approx(value * 10, rel=0.05, abs=31)
    share = value / 1e9
    assert sort_value(percent(share)) == pytest.approx(100 * share, abs=0.11)


@pytest.mark.parametrize("cell", ["–", "", "none", "a 1", "<b>"])
def test_a_cell_without_a_number_sorts_as_none(cell: str) -> None:
    assert sort_value(cell) is None


def test_a_long_table_is_cut_and_says_by_how_much() -> None:
    rows = tuple((f"row {i}", f"{i:,}") for i in range(MOST_ROWS + 7))
    shown = table(Section("Rows", "", ("name", "number"), rows, frozenset({1})))
    assert shown.count("<tr>") == MOST_ROWS + 1
    assert f"row {MOST_ROWS - 1}<" in shown
    assert "7 more rows are left out here" in shown
    assert 'data-v="499"' in shown


def test_files_and_lines_are_cut_at_the_front_and_told_in_full() -> None:
    path = "/home/somebody/projects/with/a/long/way/to/session.jsonl:12"
    shown = table(Section("x", "", ("where",), ((path,), (f"{path}, /b.jsonl:3",)), frozenset()))
    assert f'<span class="place" title="{path}">…/a/long/way/to/session.jsonl:12</span>' in shown
    assert '<span class="place" title="/b.jsonl:3">/b.jsonl:3</span>' in shown


def test_a_long_cell_is_cut() -> None:
    shown = table(Section("x", "", ("name",), (("y" * 5000,),), frozenset()))
    (cell,) = re.findall(r'<td class="text">(.*?)</td>', shown)
    assert len(cell) == CELL_LIMIT


def falls(*steps: WaterfallStep) -> list[tuple[str, float, float]]:
    """(kind, left, right) of each bar, in per cent."""
    report = build_report(Store.open(MEMORY, encoding=DEFAULT_ENCODING), [])
    cache: Cache = replace(report.cache, hit_rate=0.5, waterfall=steps)
    found = re.findall(
        r'<li class="(\w+)">.*?<rect x="([\d.]+)%" y="0.0" width="([\d.]+)%"', waterfall(cache)
    )
    return [(kind, float(x), float(x) + float(width)) for kind, x, width in found]


def test_the_waterfall_falls_from_level_to_level() -> None:
    assert falls(
        WaterfallStep("input", 2000, None),
        WaterfallStep("never sent before", -500, None),
        WaterfallStep("ideal", 1500, None),
        WaterfallStep("expired", -300, -1.0),
        WaterfallStep("below policy", -200, None),
        WaterfallStep("realized", 1000, None),
    ) == [
        ("level", 0, 100),
        ("loss", 75, 100),
        ("level", 0, 75),
        ("loss", 60, 75),
        ("loss", 50, 60),
        ("level", 0, 50),
    ]


def test_a_small_loss_can_still_be_seen() -> None:
    _, loss = falls(WaterfallStep("input", 10**9, None), WaterfallStep("expired", -1, None))
    assert loss[2] - loss[1] >= 0.2


def test_a_waterfall_without_tokens_is_left_out() -> None:
    assert falls(WaterfallStep("input", 0, None)) == []


def test_bars_are_as_high_as_what_they_show(answer: tuple[Report, ReportDetails]) -> None:
    found = answer[1].series
    assert found is not None
    cost, rate = series(found).split("</figure>")[:2]
    (top,) = re.findall(r"<span>\$([\d.,]+)</span>", cost)[:1]
    heights = [float(h) for h in re.findall(r'<rect [^>]*height="([\d.]+)"', cost)]
    known = [each.cost_usd for each in found.bins if each.cost_usd]
    assert heights == pytest.approx([132 * usd / float(top) for usd in known], abs=0.06)
    dots = [float(y) for y in re.findall(r'<circle cx="[\d.]+%" cy="([\d.]+)"', rate)]
    rates = [each.hit_rate for each in found.bins if each.hit_rate is not None]
    assert dots == pytest.approx([3.5 + 125 * (1 - each) for each in rates], abs=0.06)


def test_a_profile_leaves_out_what_is_not_known() -> None:
    shown = profile("Entropy", [1.0, None, 2.0], str)
    assert re.findall(r'y="([\d.]+)"', shown.split("</g>")[1]) == ["66.0", "0.0"]
    assert "part 3 of 3: 2.0" in shown
    assert profile("Entropy", [None, float("nan")], str) == ""


def test_the_data_of_the_tree_are_columns_of_one_length(
    answer: tuple[Report, ReportDetails], page: str
) -> None:
    tree = answer[1].tree
    assert tree is not None
    data = Parsed(page).data
    columns = [value for name, value in data.items() if name not in ("strings", "classes")]
    nested = [
        row for value in columns for row in (value if isinstance(value[0], list) else [value])
    ]
    assert {len(row) for row in nested} == {len(tree.nodes)}
    for i in (1, len(tree.nodes) // 2, len(tree.nodes) - 1):
        node = tree.nodes[i]
        assert data["parent"][i] == node.parent
        assert [column[i] for column in data["tokens"]] == [
            node.tokens.read, node.tokens.missed, node.tokens.unreported, node.tokens.new,
        ]  # fmt: skip
        assert node.standing is not None
        where = f"{node.standing.path}:{node.standing.line}"
        assert data["strings"][data["path"][i]] == cut(where)


def test_the_largest_parts_are_listed_for_those_without_the_script(
    answer: tuple[Report, ReportDetails], page: str
) -> None:
    tree = answer[1].tree
    assert tree is not None
    (listed,) = re.findall(r"<h3>Largest parts</h3>(.*?)</section>", page, re.DOTALL)
    assert listed.count("<tr>") == LARGEST + 1
    widest = max(tree.nodes[1:], key=lambda node: node.tokens.total)
    assert f">{tokens(round(widest.tokens.total))}</td>" in listed


def test_what_needs_the_script_is_hidden_without_it(page: str) -> None:
    ids = {found.get("id"): found for _, found in Parsed(page).tags}
    assert "hidden" in ids["tree"]
    assert 'type="search"' not in page.split('<div id="tree" hidden>')[0]


@pytest.mark.parametrize("keep_text", [False, True])
def test_prompts_are_quoted_only_where_their_text_was_kept(tmp_path: Path, keep_text: bool) -> None:
    write(tmp_path / "session.jsonl", claude_lines("s", 3))
    with Store.open(MEMORY, encoding=DEFAULT_ENCODING) as store:
        ingest(store, [tmp_path], Options(DEFAULT_ENCODING, keep_text=keep_text), workers=1)
        shown = page_of(build_report(store, [tmp_path]), build_details(store, [tmp_path]))
    assert ("question 0 of s" in shown) is keep_text
    assert "answer 1" not in shown or keep_text


def test_logs_without_calls_make_a_page_without_charts(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text("{}\n")
    report, details = answer_on(tmp_path)
    shown = page_of(report, details)
    assert "There are no model calls in these logs." in shown
    assert 'id="icicle"' not in shown
    assert (details.tree, details.series, details.groups) == (None, None, ())


def test_the_page_opens_with_the_cause_in_words_and_the_step_worth_most(
    answer: tuple[Report, ReportDetails], page: str
) -> None:
    (said,) = re.findall(r'<p class="cause">(.*?)</p>', page)
    assert said.startswith(
        "The largest cause: expired (the cached prompt was not used again within its lifetime): "
    )
    best, *others = answer[1].hints
    assert best.usd is not None
    assert all((best.usd or 0) >= (each.usd or 0) for each in others)
    assert html.unescape(said).endswith(
        f"What to do first: {best.action[:1].lower()}{best.action[1:]}. "
        f"It would have saved {dollars(best.usd)}."
    )
    # Without details the cause's own remedy stands in.
    assert "What helps: shorter pauses, or keep it alive." in page_of(answer[0], None)


def test_what_to_do_rests_on_the_rules_that_were_asked_for(tmp_path: Path) -> None:
    rules = tmp_path / "rules.toml"
    rules.write_text('[[rule]]\nmodels = ["*"]\nminimum_tokens = 1024\ndefault_ttl_s = 864000\n')
    logs = SAMPLES / "claude-code"
    with Store.open(MEMORY, encoding=DEFAULT_ENCODING) as store:
        ingest(store, [logs], Options(DEFAULT_ENCODING), workers=1)
        usual, own = (build_details(store, [logs], rules=each) for each in (None, rules))
    assert "expired" in {hint.cause for hint in usual.hints}
    assert "expired" not in {hint.cause for hint in own.hints}


def test_the_page_can_be_made_again_from_what_it_says(page: str) -> None:
    shown = html.unescape(page)
    assert f"<dd>forkpoint report {SAMPLES} --by project</dd>" in shown
    assert re.search(r"<dd>genai-prices [\d.]+, changes to \d{4}-\d\d-\d\d</dd>", shown)


def test_a_page_is_the_same_every_time(answer: tuple[Report, ReportDetails], page: str) -> None:
    assert page_of(*answer) == page

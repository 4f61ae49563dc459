"""The HTML report in a real browser: nothing of a log runs, nothing is loaded, all of it works by
mouse and by keyboard, at every width and in both schemes of colours."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import VARIABLE, Browser, find_chromium
from hostile_logs import write_hostile_logs
from test_html_report import SAMPLES, answer_on, page_of
from test_ingest import claude_lines, write

WIDTHS = (360, 1280, 2560)
SCHEMES = ("light", "dark")
PAPER_WIDTH = 718
"""Of A4 between margins of 1 cm, in CSS pixels."""

pytestmark = [
    pytest.mark.browser,
    pytest.mark.xdist_group("browser"),
    pytest.mark.skipif(
        find_chromium() is None,
        reason=f"no Chromium or Chrome on this machine; {VARIABLE} may name one",
    ),
]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    program = find_chromium()
    assert program is not None
    with Browser(program, tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Pages on the sample logs, on hostile logs, and without details, by name."""
    folder = tmp_path_factory.mktemp("pages")
    usual = answer_on(SAMPLES)
    hostile = answer_on(write_hostile_logs(folder / "logs"))
    found = {
        "usual": page_of(*usual),
        "hostile": page_of(*hostile),
        "plain": page_of(usual[0], None),
        "hostile plain": page_of(hostile[0], None),
    }
    for name, page in found.items():
        (folder / f"{name}.html").write_text(page, encoding="utf-8", newline="")
    return {name: folder / f"{name}.html" for name in found}


@pytest.fixture
def usual(browser: Browser, pages: dict[str, Path]) -> Browser:
    """A browser that shows the report on the sample logs."""
    browser.look(1280)
    browser.open(pages["usual"])
    return browser


def focused(browser: Browser, attribute: str = "aria-label") -> Any:
    return browser.evaluate(f"document.activeElement.getAttribute({json.dumps(attribute)})")


def shown_nodes(browser: Browser) -> list[str]:
    found: list[str] = browser.evaluate(
        "[...document.querySelectorAll('.node')].map(e => e.getAttribute('aria-label'))"
    )
    return found


def about(browser: Browser) -> str:
    found: str = browser.evaluate("document.getElementById('tree-about').innerText")
    return found


@pytest.mark.parametrize("name", ["usual", "hostile", "plain", "hostile plain"])
def test_nothing_is_loaded_but_the_page_and_nothing_is_complained_of(
    browser: Browser, pages: dict[str, Path], name: str
) -> None:
    browser.open(pages[name])
    browser.evaluate("document.querySelectorAll('.node').forEach(e => e.focus())")
    assert browser.requests == [pages[name].as_uri()]
    assert browser.complaints == []


@pytest.mark.parametrize("name", ["hostile", "hostile plain"])
def test_no_script_of_a_log_runs(browser: Browser, pages: dict[str, Path], name: str) -> None:
    browser.open(pages[name])
    # Show whatever the page's own script writes of each node, and of each search.
    browser.evaluate(
        """(() => {
            for (const node of document.querySelectorAll('.node')) { node.focus(); node.click(); }
            const search = document.getElementById('tree-search');
            for (const text of search ? ['script', '<', "'", 'a'] : []) {
                search.value = text;
                search.dispatchEvent(new Event('input'));
            }
        })()"""
    )
    assert browser.evaluate("window.pwned === undefined && window.onerror === null") is True
    assert browser.complaints == []
    assert browser.evaluate(
        "document.querySelectorAll('img, iframe, link, object, embed, base, a, b').length"
    ) == 0  # fmt: skip
    # A page that may run no foreign script refuses even one that a debugger puts in.
    browser.evaluate(
        "document.body.append(Object.assign(document.createElement('script'),"
        "{textContent: 'window.pwned = 1'}))"
    )
    assert browser.evaluate("window.pwned === undefined") is True


@pytest.mark.parametrize("name", ["usual", "hostile"])
@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("width", WIDTHS)
def test_the_page_never_scrolls_sideways(
    browser: Browser, pages: dict[str, Path], name: str, width: int, scheme: str
) -> None:
    browser.look(width, scheme=scheme)
    browser.open(pages[name])
    measure = "[document.scrollingElement.scrollWidth, innerWidth]"
    wide, window = browser.evaluate(measure)
    assert window == width
    assert wide <= width
    # Nor once everything is opened.
    browser.evaluate("document.querySelectorAll('details').forEach(e => { e.open = true; })")
    browser.point(".node:nth-child(3)", click=True)
    assert browser.evaluate(measure)[0] <= width
    assert browser.evaluate("document.querySelectorAll('.node').length") > 3


# The contrast of each text with what is behind it; WCAG asks for 4.5.
CONTRASTS = """(() => {
    const parts = (colour) => colour.match(/[\\d.]+/g).map(Number);
    const light = (colour) => {
        const [r, g, b] = parts(colour).slice(0, 3).map((c) => {
            const s = c / 255;
            return s <= 0.04045 ? s / 12.92 : ((s + 0.055) / 1.055) ** 2.4;
        });
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const style = getComputedStyle(document.documentElement);
    const page = getComputedStyle(document.body).backgroundColor;
    const behind = (element) => {
        for (let e = element; e; e = e.parentElement) {
            const colour = getComputedStyle(e).backgroundColor;
            const [, , , alpha = 1] = parts(colour);
            if (alpha === 1) return colour;
        }
        return page;
    };
    const ratio = (a, b) => (Math.max(light(a), light(b)) + 0.05) / (Math.min(light(a), light(b)) + 0.05);
    const rgb = (name) => {
        const probe = document.createElement('i');
        probe.style.color = style.getPropertyValue(name);
        document.body.append(probe);
        const found = getComputedStyle(probe).color;
        probe.remove();
        return found;
    };
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    const found = {};
    while (walker.nextNode()) {
        const e = walker.currentNode.parentElement;
        if (!walker.currentNode.data.trim() || e.closest('script, button:disabled, .node')) continue;
        const one = ratio(getComputedStyle(e).color, behind(e));
        const name = e.tagName + '.' + e.className;
        found[name] = Math.min(found[name] ?? 99, one);
    }
    for (const fill of ['--read', '--missed', '--unreported', '--new']) {
        found[`text on ${fill}`] = ratio(rgb('--ink'), rgb(fill));
    }
    for (const mark of ['--level', '--loss', '--gain', '--edge', '--accent']) {
        found[`mark ${mark}`] = ratio(rgb(mark), page) * 1.5;
    }
    return found;
})()"""


@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_text_stands_out_from_what_is_behind_it(
    browser: Browser, pages: dict[str, Path], scheme: str
) -> None:
    browser.look(1280, scheme=scheme)
    browser.open(pages["usual"])
    found = browser.evaluate(CONTRASTS)
    assert len(found) > 20
    assert {name: ratio for name, ratio in found.items() if ratio < 4.5} == {}
    dark = (
        browser.evaluate("getComputedStyle(document.body).backgroundColor") != "rgb(255, 255, 255)"
    )
    assert dark is (scheme == "dark")


def test_a_click_zooms_in_and_a_second_one_out(usual: Browser) -> None:
    before = shown_nodes(usual)
    usual.point(".node[aria-level='2']", click=True)
    zoomed = shown_nodes(usual)
    assert zoomed != before
    assert zoomed[:2] == before[:2]
    widths = usual.evaluate(
        "[...document.querySelectorAll('.node')].slice(0, 2).map(e => e.style.width)"
    )
    assert widths == ["100%", "100%"]
    usual.point(".node[aria-level='2']", click=True)
    assert shown_nodes(usual) == before


def test_pointing_at_a_node_tells_about_it(usual: Browser) -> None:
    assert about(usual).startswith("all prompts")
    usual.point(".node[aria-level='3']")
    told = about(usual)
    assert "through here" in told
    assert "sample_logs" in told
    assert not told.startswith("all prompts")


def test_the_tree_works_by_keyboard_alone(usual: Browser) -> None:
    usual.evaluate("document.getElementById('tree-search').focus()")
    usual.press("Tab")
    assert focused(usual, "role") == "treeitem"
    assert focused(usual).startswith("all prompts: ")
    usual.press("ArrowDown")
    assert focused(usual, "aria-level") == "2"
    first = focused(usual)
    usual.press("ArrowRight")
    assert focused(usual, "aria-level") == "2"
    assert focused(usual) != first
    usual.press("ArrowLeft")
    assert focused(usual) == first
    assert about(usual).startswith(first.split(": ")[0])
    before = shown_nodes(usual)
    usual.press("Enter")
    assert shown_nodes(usual) != before
    assert focused(usual) == first
    usual.press("ArrowUp")
    assert focused(usual).startswith("all prompts: ")
    usual.press("ArrowDown")
    usual.press("Escape")
    assert shown_nodes(usual) == before
    assert focused(usual) == first
    usual.press("ArrowDown")
    usual.press("Enter")
    usual.press("Home")
    assert shown_nodes(usual) == before
    assert focused(usual).startswith("all prompts: ")
    # One stop only in the order of Tab, and the focus can be seen.
    assert usual.evaluate("document.querySelectorAll('.node[tabindex=\"0\"]').length") == 1
    style = "getComputedStyle(document.activeElement)"
    assert usual.evaluate(f"{style}.outlineStyle") == "solid"
    assert usual.evaluate(f"parseFloat({style}.outlineWidth)") >= 2


def test_the_button_leads_back_up(usual: Browser) -> None:
    before = shown_nodes(usual)
    assert usual.evaluate("document.getElementById('tree-up').disabled") is True
    usual.point(".node[aria-level='3']", click=True)
    usual.point("#tree-up", click=True)
    usual.point("#tree-up", click=True)
    assert shown_nodes(usual) == before


def test_widths_are_tokens_or_dollars(usual: Browser) -> None:
    def share() -> float:
        found: float = usual.evaluate(
            "parseFloat([...document.querySelectorAll('.node')]"
            ".find(e => e.textContent.startsWith('hashed blocks')) ?.style.width ?? '0')"
        )
        return found

    assert share() > 20
    usual.point("#tree-usd", click=True)
    assert share() == 0  # blocks of a serving trace have no price
    assert all("tokens" not in label for label in shown_nodes(usual))
    assert shown_nodes(usual)[0].startswith("all prompts: $")
    assert usual.evaluate("document.getElementById('tree-usd').ariaPressed") == "true"
    usual.point("#tree-tokens", click=True)
    assert share() > 20


def test_a_search_marks_what_it_finds_and_enter_goes_there(usual: Browser) -> None:
    usual.point("#tree-search", click=True)
    usual.write("Tool_Result")
    found = usual.evaluate("document.getElementById('tree-found').textContent")
    assert "found" in found and "tokens in them" in found
    marked = usual.evaluate("document.querySelectorAll('.node.match').length")
    assert 0 < marked < usual.evaluate("document.querySelectorAll('.node').length")
    usual.press("Enter")
    assert "no. 1 of" in usual.evaluate("document.getElementById('tree-found').textContent")
    assert "tool result" in about(usual)
    assert usual.evaluate("document.getElementById('tree-up').disabled") is False
    usual.press("Escape")
    assert usual.evaluate("document.getElementById('tree-search').value") == ""
    assert usual.evaluate("document.querySelectorAll('.node.match, .node.other').length") == 0


def test_a_search_that_finds_nothing_says_so(usual: Browser) -> None:
    usual.point("#tree-search", click=True)
    usual.write("<img src=x onerror=alert(1)>")
    assert usual.evaluate("document.getElementById('tree-found').textContent").startswith("0 found")
    usual.press("Enter")
    assert usual.complaints == []


WORST = "document.querySelector('[aria-label=\"Paid again: worst calls\"]')"


def column(browser: Browser, place: int) -> list[str]:
    found: list[str] = browser.evaluate(
        f"[...{WORST}.querySelectorAll('tbody tr')].filter(r => !r.hidden)"
        f".map(r => r.cells[{place}].textContent)"
    )
    return found


def press_head(browser: Browser, place: int, *, by_mouse: bool) -> str:
    button = f"{WORST}.querySelectorAll('th')[{place}].querySelector('button')"
    if by_mouse:
        browser.evaluate(f"{button}.id = 'head-{place}'")
        browser.point(f"#head-{place}", click=True)
    else:
        browser.evaluate(f"{button}.focus()")
        browser.press("Enter")
    sorted_as: str = browser.evaluate(f"{button}.parentElement.ariaSort")
    return sorted_as


@pytest.mark.parametrize("by_mouse", [True, False])
def test_tables_sort_by_mouse_and_by_keyboard(usual: Browser, by_mouse: bool) -> None:
    def numbers() -> list[int]:
        return [int(cell.replace(",", "")) for cell in column(usual, 2)]

    assert press_head(usual, 2, by_mouse=by_mouse) == "descending"
    assert numbers() == sorted(numbers(), reverse=True)
    assert press_head(usual, 2, by_mouse=by_mouse) == "ascending"
    assert numbers() == sorted(numbers())
    assert press_head(usual, 4, by_mouse=by_mouse) == "ascending"
    models = column(usual, 4)
    assert models == sorted(models)
    assert usual.evaluate(f"{WORST}.querySelectorAll('[aria-sort]').length") == 1
    # What has no number comes last, whichever way.
    for _ in range(2):
        press_head(usual, 3, by_mouse=by_mouse)
        idle = column(usual, 3)
        assert "–" in idle
        assert idle == [c for c in idle if c != "–"] + ["–"] * idle.count("–")


def test_tables_are_filtered_as_one_types(usual: Browser) -> None:
    everything = column(usual, 4)
    usual.evaluate(f"{WORST}.parentElement.querySelector('input').focus()")
    usual.write("GPT-5")
    shown = column(usual, 4)
    assert 0 < len(shown) < len(everything)
    assert all("gpt-5" in model for model in shown)
    status = f"{WORST}.parentElement.querySelector('[role=status]').textContent"
    assert usual.evaluate(status) == f"{len(shown)} of {len(everything)} rows"


def test_without_scripts_the_page_says_it_all(browser: Browser, pages: dict[str, Path]) -> None:
    browser.look(1280)
    browser.open(pages["usual"], scripts=False)
    try:
        # The debugger still looks at what is there.
        shown = browser.evaluate_now("document.body.innerText")
    finally:
        browser.open(pages["plain"])
    for said in ("were paid for again", "all input", "Savings ledger", "Largest parts", "Lost to"):
        assert said in shown
    assert "search" not in shown
    assert "filter" not in shown


def test_a_printed_page_shows_its_tables_whole(usual: Browser) -> None:
    cut = (
        "[...document.querySelectorAll('.scroll')]"
        ".filter(e => e.scrollHeight > e.clientHeight + 2).length"
    )
    tools = "getComputedStyle(document.querySelector('.tools')).display"
    assert usual.evaluate(cut) > 0
    usual.print_look(scheme="dark")
    assert usual.evaluate(cut) == 0
    assert usual.evaluate(tools) == "none"
    page = "getComputedStyle(document.body).backgroundColor"
    assert usual.evaluate(page) == "rgb(255, 255, 255)"
    usual.look(1280)
    assert usual.evaluate(tools) == "flex"


@pytest.mark.parametrize("name", ["usual", "hostile"])
def test_no_table_is_wider_than_the_paper(
    browser: Browser, pages: dict[str, Path], name: str
) -> None:
    browser.look(PAPER_WIDTH)
    browser.open(pages[name])
    browser.print_look()
    cut = (
        "[...document.querySelectorAll('.scroll')].filter(e => e.scrollWidth > e.clientWidth + 1)"
        ".map(e => [e.ariaLabel, e.scrollWidth])"
    )
    found = browser.evaluate(cut)
    browser.look(1280)
    assert found == []


def test_every_control_has_a_name_and_every_region_too(usual: Browser) -> None:
    nameless = usual.evaluate(
        "[...document.querySelectorAll('button, input, [role=region], [role=tree], [role=group], svg[role=img]')]"
        ".filter(e => !(e.ariaLabel || e.textContent.trim() || e.labels?.length)).length"
    )
    assert nameless == 0
    levels = usual.evaluate("[...document.querySelectorAll('h1, h2, h3')].map(e => +e.tagName[1])")
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(b - a <= 1 for a, b in itertools.pairwise(levels))


def test_a_report_on_ten_thousand_calls_stays_small(
    browser: Browser, tmp_path: Path, record_property: Any
) -> None:
    logs = tmp_path / "logs"
    for n in range(100):
        write(logs / f"{n}.jsonl", claude_lines(f"session-{n}", 100))
    report, details = answer_on(logs)
    assert report.totals.calls == 10_000
    page = tmp_path / "page.html"
    page.write_text(page_of(report, details), encoding="utf-8", newline="")
    assert page.stat().st_size < 5_000_000
    browser.look(1280)
    browser.open(page)
    timing = "performance.getEntriesByType('navigation')[0].loadEventEnd"
    record_property("megabytes", page.stat().st_size / 1e6)
    record_property("milliseconds_to_load", browser.evaluate(timing))
    assert browser.complaints == []
    assert browser.evaluate("document.querySelectorAll('.node').length") < 10_000

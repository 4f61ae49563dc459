"""``--format html``: one page that works offline, holds no script and loads nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TextIO

from forkpoint.analysis.results import Report
from forkpoint.cli.answer import (
    HOW_TO_READ,
    Amount,
    Section,
    amounts,
    notes,
    provenance,
    sections,
    sentence,
    what_was_read,
)
from forkpoint.cli.text import html_text

_STYLE = """
:root { color-scheme: light dark; --ink: light-dark(#1b1f24, #e7e9ec);
  --soft: light-dark(#59636e, #a2abb5); --line: light-dark(#d5dae0, #3a424b);
  --page: light-dark(#ffffff, #14181d); --tile: light-dark(#f4f6f8, #1d232a); }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 100rem; padding: 1.5rem clamp(1rem, 4vw, 4rem);
  background: var(--page); color: var(--ink);
  font: 1rem/1.5 system-ui, -apple-system, "Segoe UI", sans-serif; overflow-wrap: anywhere; }
h1 { font-size: clamp(1.3rem, 1rem + 1.6vw, 2.1rem); line-height: 1.25; text-wrap: balance; }
h2 { font-size: 1.15rem; margin: 2.2rem 0 .3rem; }
p, li, dd, footer { max-width: 75ch; }
.soft, footer, dd { color: var(--soft); }
.tiles { display: grid; gap: .8rem; margin: 1.2rem 0;
  grid-template-columns: repeat(auto-fit, minmax(min(16rem, 100%), 1fr)); }
.tile { border: 1px solid var(--line); border-radius: .5rem; background: var(--tile);
  padding: .8rem 1rem; }
.tile b { display: block; font-size: 1.7rem; font-variant-numeric: tabular-nums; }
.tile span { display: block; color: var(--soft); font-size: .9rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .92rem; margin-top: .4rem; }
th, td { border-bottom: 1px solid var(--line); padding: .35rem .9rem .35rem 0; text-align: left;
  vertical-align: top; }
th { font-weight: 600; white-space: nowrap; }
.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
td:last-child { min-width: 8rem; }
dt { font-weight: 600; margin-top: .5rem; }
dd { margin: 0; }
footer { margin-top: 2.5rem; border-top: 1px solid var(--line); padding-top: .8rem;
  font-size: .85rem; }
:focus-visible { outline: 2px solid currentColor; outline-offset: 2px; }
@media print { body { padding: 0; max-width: none; font-size: 10pt; }
  .scroll { overflow: visible; } tr, .tile { break-inside: avoid; } h2 { break-after: avoid; } }
""".strip()

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


class HtmlReporter:
    """The whole report as one self-contained page."""

    kind = "html"

    def render(self, report: Report, out: TextIO) -> None:
        """Write the page."""
        out.write(
            '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
            f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            '<meta name="referrer" content="no-referrer">\n'
            f"<title>forkpoint report</title>\n<style>\n{_STYLE}\n</style>\n</head>\n<body>\n<main>\n"
            f"<h1>{html_text(sentence(report))}</h1>\n"
            f'<p class="soft">{html_text(" · ".join(what_was_read(report)))}</p>\n'
            f"{_tiles(amounts(report))}{_list(notes(report))}"
        )
        out.writelines(_section(section) for section in sections(report))
        out.write(f"{_how_to_read()}</main>\n{_footer(report)}</body>\n</html>\n")


def _tiles(shown: Iterable[Amount]) -> str:
    tiles = "".join(
        f'<div class="tile">{html_text(each.label)}<b>{html_text(each.usd)}</b>'
        f"{html_text(each.tokens)}{''.join(f'<span>{html_text(d)}</span>' for d in each.details)}"
        "</div>\n"
        for each in shown
    )
    return f'<div class="tiles">\n{tiles}</div>\n'


def _list(items: Sequence[str]) -> str:
    if not items:
        return ""
    return "<ul>\n" + "".join(f"<li>{html_text(item)}</li>\n" for item in items) + "</ul>\n"


def _section(section: Section) -> str:
    def line(tag: str, cells: Sequence[str]) -> str:
        number = ' class="number"'
        shown = "".join(
            f"<{tag}{number if column in section.numbers else ''}>{html_text(cell)}</{tag}>"
            for column, cell in enumerate(cells)
        )
        return f"<tr>{shown}</tr>\n"

    title = html_text(section.title)
    body = "".join(line("td", row) for row in section.rows)
    return (
        f'<section>\n<h2>{title}</h2>\n<p class="soft">{html_text(section.note)}</p>\n'
        f'<div class="scroll" tabindex="0" role="region" aria-label="{title}">\n<table>\n'
        f"<thead>{line('th', section.header)}</thead>\n<tbody>\n{body}</tbody>\n"
        "</table>\n</div>\n</section>\n"
    )


def _how_to_read() -> str:
    words = "".join(
        f"<dt>{html_text(word)}</dt><dd>{html_text(meaning)}</dd>\n"
        for word, meaning in HOW_TO_READ
    )
    return f"<section>\n<h2>How to read this</h2>\n<dl>\n{words}</dl>\n</section>\n"


def _footer(report: Report) -> str:
    facts = "<br>\n".join(
        f"{html_text(name)}: {html_text(value)}" for name, value in provenance(report)
    )
    return f"<footer>\n{facts}\n</footer>\n"

"""The pieces that the HTML report is put together from: text made inert, tables, embedded data."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from collections.abc import Iterable, Sequence
from importlib.resources import files
from typing import Any

from forkpoint.cli.answer import Section
from forkpoint.cli.text import plain

TEXT_LIMIT = 300
"""Characters of any one text from a log; what is longer is cut in the middle."""
CELL_LIMIT = 160
"""The same in a table."""
MOST_ROWS = 500
"""Rows of a table; the rest is counted."""

_COLUMNS_BESIDE = 6
"""A table of more columns stands below what it is about, not beside it."""
_SHORT = 24
"""Characters of a text that is not broken into lines."""
_PLACE_LIMIT = 36
"""Characters of a file and line in a table; the whole is told on hovering."""
_PLACE = re.compile(r"[/\\].*:\d+$", re.DOTALL)
_PLACES_SPLIT = ", "
_KEPT_AT_THE_END = 0.6
"""Of a cut text: paths and names differ at their ends."""
_NUMBER = re.compile(r"^[≥≤<>\s]*(-?)[<$]*([\d,]*\.?\d+(?:e[+-]?\d+)?)\s*(.*)$")
_SCALES = {"k": 1e3, "M": 1e6, "B": 1e9, "T": 1e12}
_SECONDS = {"s": 1, "min": 60, "h": 3600, "d": 86400}


def cut(text: str, limit: int = TEXT_LIMIT) -> str:
    """One line of visible characters, at most `limit` of them; ``…`` stands for the middle.

    >>> cut("/a/long/way/to/session.jsonl:12", 20)
    '/a/long…ion.jsonl:12'
    """
    if len(text) <= limit:
        shown = plain(text)
        if len(shown) <= limit:
            return shown
    end = round(limit * _KEPT_AT_THE_END)
    # Characters grow when they are shown as codes; cutting first keeps huge texts cheap.
    head, tail = plain(text[:limit]), plain(text[-end:])
    return f"{head[: limit - end - 1]}…{tail[-end:]}"


def text(value: str, limit: int = TEXT_LIMIT) -> str:
    """Text for an HTML element or a quoted attribute, whatever a log holds."""
    return html.escape(cut(value, limit), quote=True)


def static_part(name: str) -> str:
    """A file that lies beside this module: style or script."""
    return files("forkpoint.cli").joinpath(name).read_text(encoding="utf-8")


def digest(content: str) -> str:
    """What a content security policy names an inline style or script by."""
    found = hashlib.sha256(content.encode("utf-8")).digest()
    return f"'sha256-{base64.b64encode(found).decode('ascii')}'"


def data_block(name: str, value: Any) -> str:
    """Data for the page's script: JSON in which nothing can end the element it stands in."""
    encoded = json.dumps(value, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    for character in "<>&":
        encoded = encoded.replace(character, f"\\u{ord(character):04x}")
    return f'<script type="application/json" id="{name}">{encoded}</script>\n'


def block(title: str, note: str, body: str, *, wide: bool = False) -> str:
    """A section of the page: what it is about, and beside it what it shows."""
    kind = ' class="wide"' if wide else ""
    about = f'<p class="soft">{text(note, 2000)}</p>\n' if note else ""
    return (
        f'<section{kind}>\n<div class="about">\n<h2>{text(title)}</h2>\n{about}</div>\n'
        f'<div class="shown">\n{body}</div>\n</section>\n'
    )


def table_block(section: Section) -> str:
    """A section that is one table."""
    wide = len(section.header) > _COLUMNS_BESIDE
    return block(section.title, section.note, table(section), wide=wide)


def table(section: Section) -> str:
    """A table in a box of its own, which scrolls where the page is too narrow. The script adds
    sorting and filtering."""
    rows = section.rows[:MOST_ROWS]
    left_out = len(section.rows) - len(rows)
    head = "".join(
        f'<th scope="col"{_number_class(column in section.numbers)}>{text(name)}</th>'
        for column, name in enumerate(section.header)
    )
    body = "".join(f"<tr>{_cells(row, section.numbers)}</tr>\n" for row in rows)
    more = (
        f'<p class="soft">{left_out:,} more rows are left out here; --format json has all.</p>\n'
        if left_out
        else ""
    )
    return (
        f'<div class="table">\n<div class="scroll" tabindex="0" role="region" '
        f'aria-label="{text(section.title)}">\n<table>\n<thead><tr>{head}</tr></thead>\n'
        f"<tbody>\n{body}</tbody>\n</table>\n</div>\n{more}</div>\n"
    )


def _cells(row: Sequence[str], numbers: Iterable[int]) -> str:
    wanted = set(numbers)
    shown = []
    for column, cell in enumerate(row):
        is_number = column in wanted
        value = sort_value(cell) if is_number else None
        sorts_as = "" if value is None else f' data-v="{value:.12g}"'
        places = _places(cell)
        kind = "number" if is_number else "places" if places else _kind_of(cell)
        content = places or text(cell, CELL_LIMIT)
        shown.append(f'<td class="{kind}"{sorts_as}>{content}</td>')
    return "".join(shown)


def _kind_of(cell: str) -> str:
    return "short" if len(cell) <= _SHORT else "text"


def _places(cell: str) -> str:
    """Files and lines, one below the other, cut at the front; empty where a cell is no such list."""
    places = cell.split(_PLACES_SPLIT) if len(cell) < 10 * TEXT_LIMIT else [cell]
    if not all(map(_PLACE.search, places)):
        return ""
    return "".join(
        f'<span class="place" title="{text(place)}">{text(_end_of(place))}</span>'
        for place in places
    )


def _end_of(place: str) -> str:
    """The last folders, the file and the line."""
    shown = cut(place)
    if len(shown) <= _PLACE_LIMIT:
        return shown
    end = shown[-_PLACE_LIMIT + 1 :]
    _, slash, rest = end.partition("/")
    return f"…/{rest}" if slash and len(rest) > _PLACE_LIMIT / 2 else f"…{end}"


def _number_class(is_number: bool) -> str:
    return ' class="number"' if is_number else ""


def sort_value(cell: str) -> float | None:
    """The number that a formatted cell shows, to sort by; ``None`` where it shows none.

    >>> sort_value("53.4 M"), sort_value("-$1,234.50"), sort_value("≥ 2.0 k"), sort_value("–")
    (53400000.0, -1234.5, 2000.0, None)
    >>> sort_value("95.4 %"), sort_value("1 h 7 min"), sort_value("<$0.000001")
    (95.4, 4020.0, 1e-06)
    """
    found = _NUMBER.match(cell)
    if found is None:
        return None
    sign, digits, unit = found.groups()
    value = float(digits.replace(",", ""))
    first, *more = unit.split() or [""]
    value *= _SCALES.get(first, _SECONDS.get(first, 1))
    if len(more) == 2 and more[0].isdigit():
        value += int(more[0]) * _SECONDS.get(more[1], 0)
    return -value if sign else value

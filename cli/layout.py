"""Laying out lines for a terminal of a given width: no line is ever longer than that."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TextIO

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from forkpoint.cli.text import plain

DEFAULT_WIDTH = 100
"""Where the output is no terminal and COLUMNS is not set."""
_MIN_WIDTH, _MAX_WIDTH = 40, 140
_GAP = "  "
_MIN_FLEXIBLE = 8


def output_width(out: TextIO) -> int:
    """Columns to lay out for: the terminal's, or COLUMNS, within what stays readable."""
    if not out.isatty() and not os.environ.get("COLUMNS", "").isdigit():
        return DEFAULT_WIDTH
    return min(max(shutil.get_terminal_size((DEFAULT_WIDTH, 24)).columns, _MIN_WIDTH), _MAX_WIDTH)


def fit(text: str, width: int, *, keep_end: bool = False) -> str:
    """At most `width` cells of a text, ``…`` where it was cut: its beginning, or its end.

    >>> fit("/logs/a/session.jsonl:12", 12, keep_end=True)
    '…on.jsonl:12'
    """
    if cell_len(text) <= width:
        return text
    characters = list(reversed(text)) if keep_end else list(text)
    kept: list[str] = []
    used = 1
    for character in characters:
        used += cell_len(character)
        if used > width:
            break
        kept.append(character)
    shown = "".join(reversed(kept) if keep_end else kept)
    return f"…{shown}" if keep_end else f"{shown}…"


def pad(text: str, width: int, *, right: bool = False) -> str:
    """Fill a text with spaces to `width` cells; `right` aligns it to the right."""
    blanks = " " * (width - cell_len(text))
    return blanks + text if right else text + blanks


def flow(parts: Iterable[str], width: int, *, first: str = "", indent: int = 0) -> list[str]:
    """Join parts with `` · ``, breaking lines between parts and, where one is too long, at words.

    Args:
        first: begins the first line; already as wide as it should be.
        indent: spaces before each further line.
    """
    lines = [first]
    fresh = True
    for part in parts:
        joined = part if fresh else f" · {part}"
        if cell_len(lines[-1]) + cell_len(joined) <= width:
            lines[-1] += joined
            fresh = False
            continue
        fits_below = indent + cell_len(part) <= width
        if not fresh or (fits_below and cell_len(lines[-1]) > width // 2):
            lines.append(" " * indent)
        _add_words(lines, part, width, indent)
        fresh = False
    return [line.rstrip() for line in lines if line.strip()]


def _add_words(lines: list[str], text: str, width: int, indent: int) -> None:
    begun = False
    for word in text.split(" "):
        joined = f" {word}" if begun else word
        if cell_len(lines[-1]) + cell_len(joined) > width:
            if lines[-1].strip():
                lines.append(" " * indent)
            joined = fit(word, width - indent)
        lines[-1] += joined
        begun = True


def grid(
    rows: Sequence[Sequence[str]],
    width: int,
    *,
    numbers: Iterable[int] = (),
    flexible: int,
    keep_end: bool = False,
    indent: str = "",
) -> list[str]:
    """Rows of cells as aligned lines; the first row is the header.

    Args:
        numbers: columns aligned to the right.
        flexible: the column that gives way where the width is not enough.
        keep_end: of its texts, the end is what matters (a path).
    """
    right = set(numbers)
    widths = [max(cell_len(cell) for cell in column) for column in zip(*rows, strict=True)]
    room = width - cell_len(indent) - len(_GAP) * (len(widths) - 1)
    others = sum(widths) - widths[flexible]
    widths[flexible] = min(widths[flexible], max(room - others, _MIN_FLEXIBLE))
    lines = []
    for row in rows:
        cells = [
            pad(
                fit(cell, widths[n], keep_end=keep_end and n == flexible),
                widths[n],
                right=n in right,
            )
            for n, cell in enumerate(row)
        ]
        lines.append(fit((indent + _GAP.join(cells)).rstrip(), width))
    return lines


def shown_path(path: str, line: int | None = None) -> str:
    """A path as a person would type it: from the current folder, or from home, if it is below."""
    for folder, prefix in _folders():
        if folder != "/" and path.startswith(f"{folder}/"):
            path = prefix + path[len(folder) + 1 :]
            break
    shown = plain(path)
    return shown if line is None else f"{shown}:{line}"


def _folders() -> list[tuple[str, str]]:
    """Folders that need not be written out, with what stands for each."""
    found = []
    for where, prefix in ((Path.cwd, ""), (Path.home, "~/")):
        # The current folder may be deleted, and a user without a home is possible.
        with suppress(OSError, RuntimeError):
            found.append((str(where()), prefix))
    return found


def print_lines(lines: Iterable[str | Text], out: TextIO) -> None:
    """Print finished lines. Styles reach terminals only, and none where NO_COLOR is set."""
    console = Console(file=out, highlight=False, markup=False, emoji=False, soft_wrap=True)
    for line in lines:
        console.print(Text(line) if isinstance(line, str) else line)


def bold(line: str) -> Text:
    """A line that opens a part of the screen."""
    return Text(line, style="bold")


def dim(line: str) -> Text:
    """A line that says what to do next."""
    return Text(line, style="dim")

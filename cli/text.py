"""Text from logs, made safe for each kind of output. Everything printed passes through here.

Paths, model names, keys and reasons come from files that anyone may have written: they may hold
terminal escapes, markup, spreadsheet formulas or invisible characters.
"""

from __future__ import annotations

import html
import re
import unicodedata

_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
"""Categories that no one can read: controls (escapes, line ends), bidirectional and zero-width
marks, halves of surrogate pairs, private and unassigned code points, line separators."""
_FORMULA_START = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
_MARKDOWN_SPECIAL = re.compile(
    r"[&<>|`*\[\]\\@~#]|(?<![^\W_])_|_(?![^\W_])|:(?=//)|(?<=www)\.", re.IGNORECASE
)


def plain(text: str, limit: int | None = None) -> str:
    """One line of visible characters; each other character is shown as its code (``\\x1b``).

    Args:
        limit: at most this many characters, the last being ``…`` where text was cut.

    >>> plain("a\\x1b[31m\\nb")
    'a\\\\x1b[31m\\\\x0ab'
    >>> plain("abcdef", 4)
    'abc…'
    """
    if limit is not None:
        # A character grows when it is shown as a code, so cutting first keeps huge texts cheap.
        text = text[: limit + 1]
    if not (text.isascii() and text.isprintable()):
        text = "".join(_visible(character) for character in text)
    if limit is not None and len(text) > limit:
        text = text[: max(limit - 1, 0)] + "…"
    return text


def _visible(character: str) -> str:
    if unicodedata.category(character) not in _UNSEEN:
        return character
    code = ord(character)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def html_text(text: str) -> str:
    """Text for an HTML element or a quoted attribute."""
    return html.escape(plain(text), quote=True)


def markdown_text(text: str) -> str:
    """Text for a Markdown table cell: markup, HTML, mentions and links show as they are written.

    Character references, because Markdown never reads structure from them.
    """
    return _MARKDOWN_SPECIAL.sub(lambda found: f"&#{ord(found.group())};", plain(text))


def csv_text(text: str) -> str:
    """Text for a CSV cell that no spreadsheet runs as a formula."""
    shown = plain(text)
    return f"'{shown}" if text.lstrip(" ").startswith(_FORMULA_START) else shown

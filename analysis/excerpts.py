"""What may be said of logged text: a few characters, on one line, without what looks like a secret.

Prompts are private, and keys end up in them. Whatever quotes a log goes through `redacted`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

EXCERPT_CHARACTERS = 60
PARTING_CHARACTERS = 40
"""How much of each side is shown where two texts part; of what they share before, half as much."""
QUOTED_CHARACTERS = 24
"""How much of a value that changes is shown."""
MASK = "‹redacted›"

_RUN = re.compile(r"[A-Za-z0-9+/_-]{21,}={0,2}")
"""Longer than 20 characters of base64 or hex, in either alphabet."""
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_KEY = re.compile(
    r"\b(?:sk|pk|rk|gh[opsur]|github_pat|xox[abeprs]|hf|glpat|npm|ya29|AKIA|ASIA|AIza|eyJ)"
    r"[A-Za-z0-9+/_.-]{12,}={0,2}"
)
"""Keys and tokens by the beginnings that their makers give them."""
_PIECES = re.compile(r"[/_-]+")
_REST_OF_RUN = re.compile(r"[A-Za-z0-9+/=_.-]*")
_SPACE = re.compile(r"\s+")


def redacted(text: str) -> str:
    """`text` with everything masked that looks like a key.

    >>> redacted("token=ghp_0123456789abcdefABCDEF0123456789abcd, retry 3 of 5")
    'token=‹redacted›, retry 3 of 5'
    """
    shown, end = [], 0
    for start, stop in _secrets(text):
        shown += [text[end:start], MASK]
        end = stop
    return "".join(shown) + text[end:]


def excerpt(text: str) -> str:
    """The beginning of `text`, white space folded."""
    # A secret that the cut goes through must be seen whole, but not the whole of a long text.
    head = redacted(text[: 16 * EXCERPT_CHARACTERS])
    return _cut(_folded(head).strip(), EXCERPT_CHARACTERS)


def parting(theirs: str, ours: str) -> str | None:
    """How two texts go on differently: ``…common | theirs → ours``; ``None`` where they do not."""
    at = common_length(theirs, ours)
    if at == len(theirs) == len(ours):
        return None
    around = 16 * PARTING_CHARACTERS
    since = max(0, at - around)
    theirs, ours = theirs[since : at + around], ours[since : at + around]
    at -= since
    # A secret that has begun before the two part is masked on both sides, however short it is.
    begun = [
        start for text in (theirs, ours) for start, stop in _secrets(text) if start < at < stop
    ]
    start = min(begun, default=at)
    common = _folded(redacted(ours[:start]))
    kept = common[-PARTING_CHARACTERS // 2 :]
    dots = "…" if since or len(kept) < len(common) else ""
    left, right = (_side(text[start:], masked=start < at) for text in (theirs, ours))
    return f"{dots}{kept} | {left} → {right}"


def _side(text: str, *, masked: bool) -> str:
    if masked:
        run = _REST_OF_RUN.match(text)
        text = MASK + redacted(text[run.end() if run else 0 :])
    else:
        text = redacted(text)
    return _cut(_folded(text), PARTING_CHARACTERS) or "(nothing)"


def _secrets(text: str) -> list[tuple[int, int]]:
    """Where what looks like a key begins and ends; in order, none overlapping."""
    found = [match.span() for match in _KEY.finditer(text)]
    found += [
        match.span() for match in _RUN.finditer(text) if _looks_random(_UUID.sub("", match.group()))
    ]
    merged: list[tuple[int, int]] = []
    for start, stop in sorted(found):
        if merged and start < merged[-1][1]:
            merged[-1] = (merged[-1][0], max(stop, merged[-1][1]))
        else:
            merged.append((start, stop))
    return merged


def _looks_random(run: str) -> bool:
    """Paths and names are long too, but their parts are words, or numbers."""
    pieces = [piece for piece in _PIECES.split(run) if len(piece) > 8]
    return any(
        len(piece) > 20 if piece.isdigit() else any(map(str.isdigit, piece)) for piece in pieces
    )


def _folded(text: str) -> str:
    return _SPACE.sub(" ", text)


def _cut(text: str, characters: int) -> str:
    return text if len(text) <= characters else text[: characters - 1] + "…"


def common_length(a: str, b: str) -> int:
    """Characters that two texts begin with alike."""
    low, high = 0, min(len(a), len(b))
    while low < high:
        middle = (low + high + 1) // 2
        if a[low:middle] == b[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


_MONTH = r"(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*"
_CLOCK = r"\d{1,2}:\d{2}(?::\d{2})?(?:[.,]\d+)?(?: ?[ap]m)?(?: ?(?:z|utc|[+-]\d{2}:?\d{2}))?"
_VOLATILE = [
    (kind, re.compile(pattern, re.IGNORECASE))
    for kind, pattern in (
        ("a time", rf"\b\d{{4}}[-/]\d{{1,2}}[-/]\d{{1,2}}(?:[t ,]+{_CLOCK})?"),
        ("a time", rf"\b(?:\d{{1,2}} )?{_MONTH}\.? (?:\d{{1,2}}(?:st|nd|rd|th)?,? )?\d{{4}}\b"),
        ("a time", rf"\b{_MONTH} \d{{1,2}}\b"),
        ("a time", r"\b(?:mon|tues|wednes|thurs|fri|satur|sun)day\b"),
        ("a time", rf"\b{_CLOCK}"),
        ("a time", r"\b1[4-9]\d{8}(?:\d{3}){0,3}(?:\.\d+)?\b"),
        ("an id", _UUID.pattern),
        ("an id", r"\b(?=[a-z0-9_-]*\d)(?=[a-z0-9_-]*[a-z])[a-z0-9_-]{8,}"),
        ("a number", r"\d+(?:[.,]\d+)*"),
    )
]
"""What changes from request to request, most telling first."""
_WIDEST = 64
"""No volatile value is longer, in characters."""


@dataclass(frozen=True, slots=True)
class Volatile:
    """A value that two otherwise equal texts differ in."""

    kind: str
    """``a time``, ``an id``, ``a number``."""
    value: str
    """One of the two, redacted and cut."""
    shared_after: float
    """How much of what follows the value in the second text follows it in the first one too."""
    whole: bool
    """Nothing else differs."""


def volatile_value(a: str, b: str) -> Volatile | None:
    """The time, id or number in which two texts first differ, if text that they share follows."""
    at = common_length(a, b)
    for kind, pattern in _VOLATILE:
        ours, theirs = _covering(pattern, a, at), _covering(pattern, b, at)
        if ours is None or theirs is None or ours[0] != theirs[0]:
            continue
        rest_a, rest_b = a[ours[1] :], b[theirs[1] :]
        after = common_length(rest_a, rest_b)
        if not after:
            return None
        value = _cut(_folded(redacted(a[ours[0] : ours[1]])), QUOTED_CHARACTERS)
        whole = after == len(rest_a) == len(rest_b)
        return Volatile(kind, value, after / max(len(b) - at, 1), whole)
    return None


def _covering(pattern: re.Pattern[str], text: str, at: int) -> tuple[int, int] | None:
    """The match that position `at` lies in or ends."""
    for match in pattern.finditer(text, max(0, at - _WIDEST), at + _WIDEST):
        if match.start() <= at <= match.end():
            return match.span()
    return None

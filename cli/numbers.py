"""How numbers are written for people. Machines get the exact ones (``--format json`` or ``csv``)."""

from __future__ import annotations

import math

_SCALES = ((1e3, "k"), (1e6, "M"), (1e9, "B"), (1e12, "T"))
_NONE = "–"


def count(n: int, thing: str, plural: str | None = None) -> str:
    """A number with its noun.

    >>> count(1, "call"), count(1200, "call"), count(2, "branch", "branches")
    ('1 call', '1,200 calls', '2 branches')
    """
    return f"{n:,} {thing if n == 1 else plural or thing + 's'}"


def tokens(n: int | None) -> str:
    """A token count in at most seven characters.

    >>> tokens(812), tokens(53_412_345), tokens(999_999), tokens(None)
    ('812', '53.4 M', '1.0 M', '–')
    """
    if n is None:
        return _NONE
    if abs(n) < 1000:
        return str(n)
    for scale, letter in _SCALES:
        shown = f"{n / scale:.1f}"
        if abs(float(shown)) < 1000:
            return f"{shown} {letter}"
    return f"{n:.2e}"


def percent(ratio: float | None) -> str:
    """A ratio in [0, 1] as a percentage that never rounds to all or to nothing.

    >>> percent(0.9544), percent(0.99999), percent(0.00001), percent(1.0), percent(None)
    ('95.4 %', '>99.9 %', '<0.1 %', '100 %', '–')
    """
    if ratio is None or not math.isfinite(ratio):
        return _NONE
    if ratio in (0.0, 1.0):
        return f"{ratio * 100:.0f} %"
    if 0.9995 <= ratio < 1:
        return ">99.9 %"
    if 0 < ratio < 0.0005:
        return "<0.1 %"
    return f"{ratio * 100:.1f} %"


def dollars(usd: float | None) -> str:
    """Money: cents from one dollar up, four significant digits below.

    >>> dollars(1234.5), dollars(0.0213456), dollars(0), dollars(-2.1), dollars(None)
    ('$1,234.50', '$0.02135', '$0', '-$2.10', '–')
    """
    if usd is None or not math.isfinite(usd):
        return _NONE
    if usd == 0:
        return "$0"
    sign, size = ("-" if usd < 0 else ""), abs(usd)
    if size < 1e-6:
        return f"{sign}<$0.000001"
    rounded = float(f"{size:.4g}")
    if size >= 1 or rounded >= 1:
        return f"{sign}${size:,.2f}"
    digits = 3 - math.floor(math.log10(rounded))
    return f"{sign}${rounded:.{digits}f}"


def duration(seconds: float | None) -> str:
    """A span of time in one or two units.

    >>> duration(42), duration(312), duration(4000), duration(200_000), duration(None)
    ('42 s', '5 min', '1 h 7 min', '2 d 8 h', '–')
    """
    if seconds is None or not math.isfinite(seconds):
        return _NONE
    if seconds < 60:
        return f"{seconds:.0f} s" if seconds < 59.5 else "1 min"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 24 * 60:
        return f"{minutes // 60} h {minutes % 60} min"
    hours = round(seconds / 3600)
    return f"{hours // 24} d {hours % 24} h"


def megabytes(n_bytes: int) -> str:
    """A size on disk.

    >>> megabytes(900), megabytes(2_500_000)
    ('900 B', '2.5 MB')
    """
    if n_bytes < 1000:
        return f"{n_bytes} B"
    return f"{n_bytes / 1e6:,.1f} MB" if n_bytes >= 100_000 else f"{n_bytes / 1e3:.1f} kB"


def figure(value: float | None) -> str:
    """A plain number, such as a reward, in three significant digits or decimals.

    >>> figure(0.54321), figure(-2), figure(12345.6), figure(4e-8), figure(None)
    ('0.543', '-2', '12,346', '<0.001', '–')
    """
    if value is None or not math.isfinite(value):
        return _NONE
    if 0 < abs(value) < 0.0005:
        return "<0.001" if value > 0 else ">-0.001"
    if abs(value) < 1:
        return f"{value:.3f}".rstrip("0").rstrip(".")
    return f"{value:,.0f}" if 1000 <= abs(value) < 1e6 else f"{value:.3g}"


def change(value: float | None) -> str:
    """A difference with its sign.

    >>> change(0.0123), change(-0.5), change(0.0), change(None)
    ('+0.012', '-0.5', '0', '–')
    """
    shown = figure(value)
    return f"+{shown}" if value is not None and value >= 0.0005 else shown


def times(ratio: float | None) -> str:
    """How many times as much.

    >>> times(2.9876), times(12345.0), times(None)
    ('2.99 ×', '12,345 ×', '–')
    """
    if ratio is None or not math.isfinite(ratio):
        return _NONE
    return f"{figure(ratio)} ×" if ratio >= 100 else f"{ratio:.2f} ×"

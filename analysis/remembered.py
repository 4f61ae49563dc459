"""Reports kept in the store: the same question about the same logs is answered once."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import msgspec

from forkpoint import __version__
from forkpoint.analysis.results import Report
from forkpoint.analysis.scope import Filters
from forkpoint.analysis.store import Store


def report_on(
    store: Store,
    paths: Sequence[Path],
    *,
    filters: Filters,
    by: str | None = None,
    prices: Path | None = None,
    rules: Path | None = None,
) -> Report:
    """`forkpoint.analysis.report.build_report`, or what it said last time if nothing has changed:
    not the rows, the question, the programs' versions, the files of prices and rules, nor the day
    (calls without a time are priced as of today).

    Raises:
        ForkpointError: as `build_report`.
    """
    question = _question(store, paths, filters, by, prices, rules)
    generation = store.generation
    kept = store.value(
        "SELECT body FROM answers WHERE question = ? AND generation = ?", [question, generation]
    )
    if kept is not None:
        return msgspec.json.decode(kept, type=Report)
    from forkpoint.analysis.report import build_report

    report = build_report(store, paths, filters=filters, by=by, prices=prices, rules=rules)
    with store.transaction():
        store.execute(
            "DELETE FROM answers WHERE question = ? OR generation <> ?", [question, generation]
        )
        store.execute(
            "INSERT INTO answers VALUES (?, ?, ?)",
            [question, generation, msgspec.json.encode(report)],
        )
    return report


def _question(
    store: Store,
    paths: Sequence[Path],
    filters: Filters,
    by: str | None,
    prices: Path | None,
    rules: Path | None,
) -> str:
    asked = (
        __version__,
        # A forkpoint whose reports held other things may have kept an answer.
        msgspec.json.schema(Report),
        version("genai-prices"),
        store.get_meta("encoding"),
        [str(path) for path in paths],
        filters.described(),
        by,
        [(str(path), _digest(path)) for path in (prices, rules) if path is not None],
        datetime.now(UTC).date().isoformat(),
    )
    return hashlib.sha256(msgspec.json.encode(asked)).hexdigest()


def _digest(path: Path) -> str:
    """What a file holds; a file that cannot be read is for `build_report` to complain about."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return ""

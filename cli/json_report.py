"""``--format json``: exact numbers under stable keys, the same bytes for the same answer."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any, TextIO

from forkpoint.analysis.entropy_results import Entropy
from forkpoint.analysis.results import GroupRow, PrefixTree, Report, Savings, Totals
from forkpoint.cli.answer import ordered_groups

FORMAT = 1
"""Raised when a key changes its meaning or goes."""

_USD_DIGITS = 6
_RATIO_DIGITS = 9


class JsonReporter:
    """The report as one JSON document."""

    kind = "json"

    def render(self, report: Report, out: TextIO) -> None:
        """Write the whole report."""
        write_json(exact(_document(report)), out)


def write_json(value: Any, out: TextIO) -> None:
    """Write one JSON document, ASCII only: no log can put a control character into a terminal."""
    json.dump(value, out, indent=2, ensure_ascii=True, allow_nan=False)
    out.write("\n")


def exact(value: Any, key: str = "") -> Any:
    """A value as JSON has it.

    Floats are rounded where sums in another order could differ: money to a millionth of a dollar,
    the rest to nine digits after the point. What is not a number is ``null``.
    """
    if isinstance(value, float):
        if not math.isfinite(value):
            return None
        return round(value, _USD_DIGITS if key.endswith("usd") else _RATIO_DIGITS)
    if isinstance(value, dict):
        return {str(name): exact(each, str(name)) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [exact(each, key) for each in value]
    if isinstance(value, datetime):
        utc = value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
        return utc.isoformat().replace("+00:00", "Z")
    return value


def _document(report: Report) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "forkpoint": report.provenance.version,
        "sources": _sources(report),
        "totals": _totals(report.totals),
        "cache": asdict(report.cache),
        "prefix_tree": prefix_tree(report.prefix_tree),
        "rollouts": _rollouts(report),
        "entropy": entropy_document(report.entropy),
        "savings": _savings(report.savings),
        "by": report.by,
        "groups_by": [_group(row) for row in ordered_groups(report)],
        "provenance": _provenance(report),
    }


def _sources(report: Report) -> dict[str, Any]:
    sources = report.sources
    return {
        "files": sources.files,
        "bytes": sources.bytes,
        "issues": sources.issues,
        "unknown_files": sources.unknown_files,
        "deleted_files": sources.deleted_files,
        "by_format": {name: asdict(each) for name, each in sorted(sources.by_format.items())},
    }


def _totals(totals: Totals) -> dict[str, Any]:
    return asdict(totals) | {"unpriced_models": sorted(totals.unpriced_models)}


def prefix_tree(tree: PrefixTree) -> dict[str, Any]:
    """The tree's figures and its biggest forks, largest first."""
    return asdict(tree)


def _rollouts(report: Report) -> dict[str, Any]:
    rollouts = asdict(report.rollouts)
    rollouts["pass_hat"] = dict(sorted(report.rollouts.pass_hat.items()))
    return rollouts


def entropy_document(entropy: Entropy | None) -> dict[str, Any] | None:
    """Figures about token entropy, and the ratios that follow from their counts."""
    if entropy is None:
        return None
    document = asdict(entropy)
    if entropy.agreement is not None:
        for name in ("precision", "recall", "base_rate", "lift"):
            document["agreement"][name] = getattr(entropy.agreement, name)
    if entropy.runs is not None:
        document["runs"]["lengths"] = dict(sorted(entropy.runs.lengths.items()))
        document["runs"]["consecutive_share"] = entropy.runs.consecutive_share
    return document


def _savings(savings: Savings) -> dict[str, Any]:
    return {
        "realized": {"tokens": savings.realized_tokens, "usd": savings.realized_usd},
        "potential": {"tokens": savings.potential_tokens, "usd": savings.potential_usd},
        "ledger": [asdict(row) for row in savings.ledger],
    }


def _group(row: GroupRow) -> dict[str, Any]:
    return {
        "key": row.key,
        **_totals(row.totals),
        "hit_rate": row.hit_rate,
        "cache_read_share": row.cache_read_share,
    }


def _provenance(report: Report) -> dict[str, Any]:
    provenance = asdict(report.provenance)
    provenance["filters"] = dict(sorted(report.provenance.filters.items()))
    return provenance

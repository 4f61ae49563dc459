"""The levels of the waterfall, and what holds for them whatever the logs are."""

from __future__ import annotations

from itertools import pairwise

from forkpoint.analysis.waterfall import Waterfall

LEVELS = (
    "reusable",
    "ideal",
    "stored",
    "scoped",
    "alive",
    "allowed",
    "marked",
    "policy",
    "realized",
)


def check_levels(fall: Waterfall) -> None:
    """Level by level nothing rises, and each call's losses are the whole of its fall."""
    levels = fall.levels
    for above, below in pairwise(LEVELS):
        assert (getattr(levels, above) >= getattr(levels, below)).all(), (above, below)
    assert (levels.realized >= 0).all()
    lost = sum(loss.tokens for loss in fall.losses)
    assert (lost == levels.reusable - levels.realized).all()
    assert all((loss.tokens >= 0).all() for loss in fall.losses)

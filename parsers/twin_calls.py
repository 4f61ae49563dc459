"""Calls that a trace describes twice: a framework's record of a model call, and the SDK's inside it.

Instrumentation is layered, so a record of a call may hold another record of the same call, or of all
the calls of one run. The inner ones count if any of them states usage, else the outer one. Where a
tool or an agent stands between two records, the inner one is a call that the outer one led to.
"""

from __future__ import annotations

from typing import NamedTuple

MAX_DEPTH = 64
"""How far up a record's ancestors are followed."""

Key = tuple[str, str]
"""Trace and id of a record."""


class Seen(NamedTuple):
    """A record of a trace: a call, or something around one."""

    type: str | None
    parent: str | None
    """Id of the record that this one is part of."""
    counted: bool
    """It states usage."""


def twins(seen: dict[Key, Seen], call: str, between: frozenset[str | None]) -> set[Key]:
    """The records of calls that another record describes, too.

    Args:
        call: the type of the records that are calls.
        between: types that may stand between a call's record and its twin.
    """
    inner: dict[Key, list[Key]] = {}
    for key, record in seen.items():
        if record.type == call:
            around = _call_around(key, seen, call, between)
            if around is not None:
                inner.setdefault(around, []).append(key)
    left_out: set[Key] = set()
    for outer, calls in inner.items():
        if not seen[outer].counted or any(seen[each].counted for each in calls):
            left_out.add(outer)
        else:
            left_out.update(calls)
    return left_out


def _call_around(
    key: Key, seen: dict[Key, Seen], call: str, between: frozenset[str | None]
) -> Key | None:
    """The nearest call that a record is part of."""
    trace, _ = key
    parent = seen[key].parent
    for _ in range(MAX_DEPTH):
        above = seen.get((trace, parent)) if parent else None
        if above is None or parent is None:
            return None
        if above.type == call:
            return None if (trace, parent) == key else (trace, parent)
        if above.type not in between:
            return None
        parent = above.parent
    return None

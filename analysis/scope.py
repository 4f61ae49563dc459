"""What an answer covers: the calls under some paths, each once, that pass the filters.

The scope lives in temporary tables that the analyses share: ``scope_sources``, ``scope_traces`` and
``scope_calls``. `call_no` numbers the calls from 0 in the order they were made, so it serves as
their rank in time; calls at one instant go by file and line.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from forkpoint.analysis.store import Store, each_call_once

DATED = "started_at >= TIMESTAMP '2000-01-01'"
"""In SQL: whether a call has a date. Serving traces count from a zero of their own, and some logs
write no year; no model was called before this."""


@dataclass(frozen=True, slots=True)
class Filters:
    """Which calls count, beside the paths. ``None`` lets all pass; times are UTC."""

    since: datetime | None = None
    """First moment that counts."""
    until: datetime | None = None
    """First moment that does not count any more."""
    model: str | None = None
    """A model name, or a pattern with ``*`` and ``?``; case does not matter."""
    project: str | None = None
    """Part of a project's name; case does not matter."""

    @property
    def active(self) -> bool:
        """Whether any filter is set."""
        return any(each is not None for each in (self.since, self.until, self.model, self.project))

    def described(self) -> dict[str, str]:
        """The filters that are set, as text."""
        found = {
            "since": self.since.isoformat() if self.since else None,
            "until": self.until.isoformat() if self.until else None,
            "model": self.model,
            "project": self.project,
        }
        return {name: text for name, text in found.items() if text is not None}


def select_scope(store: Store, paths: Sequence[Path], filters: Filters) -> None:
    """Fill the temporary scope tables for files at or under `paths`."""
    prefixes = [str(path) for path in paths]
    store.execute(
        """
        CREATE OR REPLACE TEMP TABLE scope_sources AS
        SELECT source_id, path, format, n_bytes, deleted, merged, unlisted_tokens,
               row_number() OVER (ORDER BY path) AS path_no
        FROM sources
        WHERE path IN (SELECT unnest($exact))
           OR EXISTS (SELECT 1 FROM unnest($under) AS folders(folder)
                      WHERE starts_with(path, folder))
        """,
        {"exact": prefixes, "under": [each.rstrip(os.sep) + os.sep for each in prefixes]},
    )
    store.execute(
        """
        CREATE OR REPLACE TEMP TABLE scope_traces AS
        SELECT traces.* EXCLUDE (source_id), path, format
        FROM traces JOIN scope_sources USING (source_id)
        WHERE NOT deleted
        QUALIFY row_number() OVER (PARTITION BY trace_id ORDER BY path) = 1
        """
    )
    condition, parameters = _conditions(filters)
    in_scope = "(SELECT * FROM live_calls SEMI JOIN scope_sources USING (source_id))"
    store.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE scope_calls AS
        SELECT row_number() OVER (ORDER BY started_at NULLS LAST, path_no, line, call_id) - 1
                   AS call_no,
               once.* EXCLUDE (path), project, agent, group_id
        FROM ({each_call_once(in_scope)}) AS once
        JOIN scope_sources USING (source_id)
        LEFT JOIN scope_traces USING (trace_id)
        WHERE {condition}
        """,
        parameters or None,
    )
    if filters.active:
        store.execute(
            "DELETE FROM scope_traces WHERE trace_id NOT IN (SELECT trace_id FROM scope_calls)"
        )


def _conditions(filters: Filters) -> tuple[str, dict[str, Any]]:
    conditions = ["true"]
    parameters: dict[str, Any] = {}
    if filters.since is not None:
        conditions.append("started_at >= $since")
        parameters["since"] = _naive_utc(filters.since)
    if filters.until is not None:
        conditions.append("started_at < $until")
        parameters["until"] = _naive_utc(filters.until)
    if filters.model is not None:
        conditions.append("lower(model) GLOB $model")
        parameters["model"] = filters.model.lower()
    if filters.project is not None:
        conditions.append("contains(lower(project), $project)")
        parameters["project"] = filters.project.lower()
    return " AND ".join(conditions), parameters


def _naive_utc(time: datetime) -> datetime:
    """DuckDB's TIMESTAMP has no zone; the store's are UTC."""
    return time.astimezone(UTC).replace(tzinfo=None) if time.tzinfo is not None else time

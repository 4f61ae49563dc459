"""forkpoint from Python: open some logs, get the report's numbers and the calls as a data frame.

>>> import forkpoint
>>> with forkpoint.open("sample_logs/codex") as run:  # doctest: +SKIP
...     run.report.totals.calls, run.calls().columns
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import polars as pl

from forkpoint.analysis.ingest import ingest, resolve
from forkpoint.analysis.ingest_worker import Options
from forkpoint.analysis.report import Filters, build_report
from forkpoint.analysis.results import Report, Totals
from forkpoint.analysis.store import MEMORY, Store
from forkpoint.analysis.tokens import DEFAULT_ENCODING

__all__ = ["Filters", "Run", "open_logs"]


class Run:
    """Logs that have been read. Close it, or use it as a context manager."""

    def __init__(self, store: Store, paths: Sequence[Path], filters: Filters) -> None:
        self._store = store
        self._paths = paths
        self._filters = filters

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the store."""
        self._store.close()

    @cached_property
    def report(self) -> Report:
        """The answer of ``forkpoint report``."""
        return build_report(self._store, self._paths, filters=self._filters)

    @property
    def totals(self) -> Totals:
        """Sums over all calls."""
        return self.report.totals

    def calls(self) -> pl.DataFrame:
        """One row per call, in the order they were made: tokens as billed, cost in USD, and where
        the call stands in which log."""
        self.report  # noqa: B018 - it fills the scope's tables
        return self.sql(
            """
            SELECT replace(call_id::VARCHAR, '-', '') AS call_id, started_at, trace_id, project,
                   agent, provider, model, input_tokens, cache_read_tokens, cache_write_tokens,
                   cache_write_1h_tokens, output_tokens, reasoning_tokens, cost_usd,
                   sidechain, group_id, scope_calls.format, path, line
            FROM scope_calls JOIN scope_costs USING (call_no) JOIN scope_sources USING (source_id)
            ORDER BY call_no
            """
        )

    def sql(self, query: str) -> pl.DataFrame:
        """The rows of a query over the store (see ``SHOW TABLES``)."""
        found = self._store.execute(query)
        names = [column[0] for column in found.description or ()]
        rows: list[tuple[Any, ...]] = found.fetchall()
        return pl.DataFrame(rows, schema=names, orient="row", infer_schema_length=None)


def open_logs(
    *paths: str | Path,
    store: str = MEMORY,
    filters: Filters | None = None,
    encoding: str = DEFAULT_ENCODING,
    workers: int | None = None,
) -> Run:
    """Read the logs at or under `paths`.

    Args:
        store: where to keep what was read, for the next time; by default nowhere.
        filters: which calls count; ``None``: all.
        encoding: tokenizer for text without usage: ``o200k_base`` or ``cl100k_base``.
        workers: processes to read in; ``None``: one per core.

    Raises:
        ForkpointError: a path does not exist, or the store cannot be used.
    """
    resolved = resolve(paths)
    opened = Store.open(store, encoding=encoding)
    try:
        ingest(opened, resolved, Options(encoding), workers=workers)
    except BaseException:
        opened.close()
        raise
    return Run(opened, resolved, filters or Filters())

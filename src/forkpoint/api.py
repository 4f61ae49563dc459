"""forkpoint from Python: open some logs, get the answers as dataclasses and the rows as data frames.

Ratios are in [0, 1], money is USD, and ``None`` or null is what the logs do not tell, never 0.

>>> import forkpoint
>>> with forkpoint.open("sample_logs/codex") as run:  # doctest: +SKIP
...     run.totals.cost_usd, run.calls()
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

import polars as pl

from forkpoint.analysis.cache_answer import build_cache, explain_call
from forkpoint.analysis.check import (
    FIGURES,
    REGRESSION,
    CheckAnswer,
    Limit,
    Measure,
    compare,
    judge,
    measures_of,
    problem_with,
)
from forkpoint.analysis.export import (
    CALLS,
    FORKS,
    GROUPS,
    ISSUES,
    LEDGER,
    MISSES,
    MONEY,
    TRACES,
    TRUNKS,
    Table,
    build_tables,
)
from forkpoint.analysis.fork_answer import build_forks
from forkpoint.analysis.fork_results import ForksAnswer
from forkpoint.analysis.ingest import ingest, resolve
from forkpoint.analysis.ingest_worker import Options
from forkpoint.analysis.report import BY, Filters, build_report
from forkpoint.analysis.results import CacheAnswer, Explanation, Report, Totals
from forkpoint.analysis.rollout_answer import build_rollouts
from forkpoint.analysis.rollout_results import RolloutsAnswer
from forkpoint.analysis.store import MEMORY, Store
from forkpoint.analysis.tokens import DEFAULT_ENCODING
from forkpoint.errors import ForkpointError

__all__ = ["Filters", "ForkpointError", "Run", "open_logs"]


class Run:
    """Logs that have been read. Close it, or use it as a context manager.

    Answers are worked out when they are asked for, once. They hold what the logs held when they
    were opened; open them again for what has been added.
    """

    def __init__(
        self,
        store: Store,
        paths: Sequence[Path],
        filters: Filters,
        prices: Path | None = None,
        rules: Path | None = None,
    ) -> None:
        self._store = store
        self._paths = paths
        self._filters = filters
        self._prices = prices
        self._rules = rules
        self._frames: dict[str, pl.DataFrame] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the store. Answers and frames that were made stay."""
        self._store.close()

    # ---- Answers: dataclasses ----------------------------------------------------------------

    @cached_property
    def report(self) -> Report:
        """The answer of ``forkpoint report``."""
        return self._report(None)

    @cached_property
    def cache(self) -> CacheAnswer:
        """The answer of ``forkpoint cache``: hit rates, waterfall, causes, hints."""
        return build_cache(
            self._store,
            self._paths,
            filters=self._filters,
            prices=self._prices,
            rules=self._rules,
        )

    @property
    def totals(self) -> Totals:
        """Sums over all calls."""
        return self.report.totals

    def by(self, key: str) -> pl.DataFrame:
        """Totals, hit rate and cache-read share for each value of `key`.

        Args:
            key: ``day``, ``session``, ``model``, ``project``, ``agent``, ``format`` or ``group``.

        Raises:
            ForkpointError: `key` is none of these.
        """
        if key not in BY:
            raise ForkpointError(f"by() takes one of {', '.join(BY)}, not {key!r}")
        rows = self._report(key).groups_by
        names = list(Totals.__dataclass_fields__)
        columns: dict[str, list[Any]] = {key: [row.key for row in rows]}
        for name in names:
            values = [getattr(row.totals, name) for row in rows]
            columns[name] = list(map(list, values)) if name == "unpriced_models" else values
        columns["hit_rate"] = [row.hit_rate for row in rows]
        columns["cache_read_share"] = [row.cache_read_share for row in rows]
        ratios = {"hit_rate": pl.Float64, "cache_read_share": pl.Float64}
        return pl.DataFrame(
            columns, schema_overrides={"unpriced_models": pl.List(pl.String), **ratios}
        )

    def explain(self, call_id: str) -> Explanation:
        """Why one call paid for what it paid; the first digits of its id are enough.

        Raises:
            ForkpointError: no call, or more than one, has such an id.
        """
        return explain_call(
            self._store,
            self._paths,
            call_id,
            filters=self._filters,
            prices=self._prices,
            rules=self._rules,
        )

    def rollouts(
        self, *, answer_pattern: str | None = None, orders: int = 200, seed: int = 0
    ) -> RolloutsAnswer:
        """The answer of ``forkpoint rollouts``: groups, tree budgets, answers, stopping early.

        Args:
            answer_pattern: how an answer looks in a rollout's last text; a regular expression whose
                group 1, if there is one, is the answer.
            orders, seed: random orders that figures on stopping early are averaged over.

        Raises:
            ForkpointError: `answer_pattern` is no regular expression.
        """
        try:
            pattern = None if answer_pattern is None else re.compile(answer_pattern)
        except re.error as error:
            raise ForkpointError(f"answer_pattern is no regular expression: {error}") from error
        return build_rollouts(
            self._store,
            self._paths,
            filters=self._filters,
            pattern=pattern,
            orders=orders,
            seed=seed,
        )

    def fork_points(self, *, threshold_nats: float | None = None, top: int = 10) -> ForksAnswer:
        """The answer of ``forkpoint forks``: where prompts and rollouts part, and token entropy.

        Args:
            threshold_nats: entropy from which a token counts as one of high entropy; by default
                what the top 20 % of all tokens reach.
            top: fork points of each kind, at most.
        """
        return build_forks(
            self._store, self._paths, filters=self._filters, threshold=threshold_nats, top=top
        )

    def figures(self) -> dict[str, float | None]:
        """The figures that `check` can limit, by name; ``None`` where the logs do not tell."""
        return {key: each.value for key, each in self._measures.items()}

    def check(
        self,
        *,
        baseline: Mapping[str, float | None] | None = None,
        max_regression: float | None = None,
        allow_missing: bool = False,
        **limits: float,
    ) -> CheckAnswer:
        """The verdict of ``forkpoint check``; its `passed` says whether all limits are kept.

        Args:
            baseline: the `figures` of an earlier run, to be compared with.
            max_regression: by how many percent of the baseline a figure may be worse.
            allow_missing: let figures pass that cannot be computed, or only in part.
            limits: as the command's options: ``max_cost=5, min_hit_rate=0.8``.

        Raises:
            ForkpointError: a limit is not known or no limit, or `baseline` and `max_regression` do not come
                together.
        """
        if (baseline is None) != (max_regression is None):
            raise ForkpointError("baseline and max_regression need each other")
        by_name = {figure.limit.replace("-", "_"): figure for figure in FIGURES}
        unknown = sorted(set(limits) - set(by_name))
        if unknown:
            raise ForkpointError(f"no limit {unknown[0]}: choose from {', '.join(by_name)}")
        regression = {} if max_regression is None else {REGRESSION: max_regression}
        for name, bound in (limits | regression).items():
            problem = problem_with(name.replace("_", "-"), bound)
            if problem:
                raise ForkpointError(f"{name} {problem}")
        wanted = [Limit(by_name[name], bound) for name, bound in limits.items()]
        verdicts = judge(self._measures, wanted, allow_missing=allow_missing)
        if baseline is not None and max_regression is not None:
            before = {key: Measure(value) for key, value in baseline.items()}
            verdicts += compare(self._measures, before, max_regression, allow_missing=allow_missing)
        return CheckAnswer(verdicts, allow_missing, self.report.provenance)

    # ---- Rows: data frames -------------------------------------------------------------------

    def calls(self) -> pl.DataFrame:
        """One row per call, in the order they were made."""
        return self._frame(CALLS)

    def traces(self) -> pl.DataFrame:
        """One row per agent run or rollout."""
        return self._frame(TRACES)

    def groups(self) -> pl.DataFrame:
        """One row per group of rollouts."""
        return self._frame(GROUPS)

    def misses(self) -> pl.DataFrame:
        """One row per call and cause of missed tokens."""
        return self._frame(MISSES)

    def trunks(self) -> pl.DataFrame:
        """One row per fork point: the beginning that is shared up to it."""
        return self._frame(TRUNKS)

    def forks(self) -> pl.DataFrame:
        """One row per branch of a fork point."""
        return self._frame(FORKS)

    def ledger(self) -> pl.DataFrame:
        """One row per savings mechanism."""
        return self._frame(LEDGER)

    def issues(self) -> pl.DataFrame:
        """One row per record that could not be read."""
        return self._frame(ISSUES)

    def sql(self, query: str) -> pl.DataFrame:
        """The rows of a query over the store (see ``SHOW TABLES``)."""
        found = self._store.execute(query)
        names = [column[0] for column in found.description or ()]
        rows: list[tuple[Any, ...]] = found.fetchall()
        return pl.DataFrame(rows, schema=names, orient="row", infer_schema_length=None)

    # ------------------------------------------------------------------------------------------

    def _report(self, by: str | None) -> Report:
        return build_report(
            self._store,
            self._paths,
            filters=self._filters,
            by=by,
            prices=self._prices,
            rules=self._rules,
        )

    @cached_property
    def _measures(self) -> dict[str, Measure]:
        report = replace(self.report, by="session", groups_by=self._report("session").groups_by)
        return measures_of(report)

    def _frame(self, table: Table) -> pl.DataFrame:
        """The rows of an exported table. Money becomes floats, which plots and sums take as they are."""
        if not self._frames:
            build_tables(
                self._store,
                self._paths,
                filters=self._filters,
                prices=self._prices,
                rules=self._rules,
            )
            self._frames = {each.name: self._read(each) for each in _TABLES}
        return self._frames[table.name]

    def _read(self, table: Table) -> pl.DataFrame:
        # Through a file: DuckDB hands out columns in memory only with a library that is not asked for.
        with TemporaryDirectory(prefix="forkpoint-") as folder:
            file = Path(folder) / "rows.parquet"
            place = str(file).replace("'", "''")
            ordered = f"FROM {table.relation} ORDER BY {table.order}"
            self._store.execute("SET preserve_insertion_order = true")
            self._store.execute(f"COPY ({ordered}) TO '{place}' (FORMAT parquet)")
            self._store.execute("SET preserve_insertion_order = false")
            frame = pl.read_parquet(file, memory_map=False)
        money = [column.name for column in table.columns if column.type == MONEY]
        return frame.with_columns(pl.col(money).cast(pl.Float64)) if money else frame


_TABLES = (CALLS, TRACES, GROUPS, MISSES, TRUNKS, FORKS, LEDGER, ISSUES)


def open_logs(
    *paths: str | Path,
    store: str = MEMORY,
    filters: Filters | None = None,
    encoding: str = DEFAULT_ENCODING,
    workers: int | None = None,
    prices: str | Path | None = None,
    rules: str | Path | None = None,
) -> Run:
    """Read the logs at or under `paths`.

    Args:
        store: where to keep what was read, for the next time; by default nowhere.
        filters: which calls count; ``None``: all.
        encoding: tokenizer for text without usage: ``o200k_base`` or ``cl100k_base``.
        workers: processes to read in; ``None``: one per core.
        prices: a file of prices that go before the built-in ones.
        rules: a file of cache rules that go before the built-in ones.

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
    return Run(
        opened,
        resolved,
        filters or Filters(),
        None if prices is None else Path(prices),
        None if rules is None else Path(rules),
    )

"""What goes into the store, and what comes out of it as it is: ``ingest``, ``sql`` and ``export``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from forkpoint.cli import options
from forkpoint.cli.option_groups import CallOptions, ReadingOptions, StoreOptions
from forkpoint.cli.options import PlainFormat, RowsFormat
from forkpoint.cli.reading import (
    check_files,
    logs_named,
    logs_read,
    read_new,
    resolved,
    store_opened,
)
from forkpoint.cli.reporters import html_reporter
from forkpoint.errors import ForkpointError


def ingest(
    *,
    paths: Annotated[list[Path], typer.Argument(metavar="PATH", help="Log files or folders.")],
    form: Annotated[
        PlainFormat, typer.Option("--format", help="How to answer.")
    ] = PlainFormat.TABLE,
    how: ReadingOptions,
) -> None:
    """Read what is new under the paths into the store; print files, calls, issues and MB/s.

    \b
    Examples:
      forkpoint ingest runs/ --workers 8
    """
    from forkpoint.cli.tables import write_ingested

    with store_opened(how) as opened:
        done = read_new(opened, resolved(paths), how)
    write_ingested(done, form, sys.stdout)


def sql(
    *,
    query: Annotated[str, typer.Argument(metavar="QUERY", help="One statement, in DuckDB's SQL.")],
    form: Annotated[RowsFormat, typer.Option("--format", help="How to answer.")] = RowsFormat.TABLE,
    kept: StoreOptions,
) -> None:
    """Query what was read. The query can change nothing and reach no file or network.

    \b
    Examples:
      forkpoint sql "SHOW TABLES"
      forkpoint sql "SELECT model, count(*) FROM unique_calls GROUP BY model"
      forkpoint sql "FROM issues" --format csv
    """
    from forkpoint.analysis.store import MEMORY
    from forkpoint.cli.sql import query as run_query
    from forkpoint.cli.sql import write_answer

    if kept.store == MEMORY:
        raise ForkpointError(":memory: keeps nothing between commands: name a file with --store")
    with store_opened(kept, read_only=True) as opened:
        write_answer(run_query(opened, query), form, sys.stdout)


def export(
    *,
    paths: options.Paths = None,
    csv: Annotated[
        Path | None,
        typer.Option("--csv", metavar="DIR", show_default=False, help="A CSV file for each table."),
    ] = None,
    parquet: Annotated[
        Path | None,
        typer.Option(
            "--parquet", metavar="DIR", show_default=False, help="A Parquet file for each table."
        ),
    ] = None,
    html: Annotated[
        Path | None,
        typer.Option(
            "--html", metavar="FILE", show_default=False,
            help="The report as one page that works offline.",
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace files that exist.")] = False,
    calls: CallOptions,
    prices: options.Prices = None,
    rules: options.Rules = None,
    how: ReadingOptions,
) -> None:  # fmt: skip
    """Read what is new under the paths, then write it as tables: calls, traces, groups, misses,
    forks, trunks, ledger, issues. No table holds message text.

    \b
    Examples:
      forkpoint export runs/ --csv tables/
      forkpoint export runs/ --parquet tables/ --html report.html
    """
    from forkpoint.analysis.export import build_tables
    from forkpoint.analysis.remembered import report_on
    from forkpoint.cli import export as exporting
    from forkpoint.cli.output import check_output, write_report

    filters = calls.filters()
    folders = ((csv, exporting.CSV), (parquet, exporting.PARQUET))
    targets = [exporting.Target(folder, kind) for folder, kind in folders if folder is not None]
    if not targets and html is None:
        raise typer.BadParameter("say what to write: --csv DIR, --parquet DIR or --html FILE")
    exporting.check_targets(targets, force=force)
    if html is not None:
        check_output(str(html), force=force)
    check_files(prices, rules)
    logs = logs_named(paths)
    with logs_read(logs, how) as (opened, where):
        files: dict[Path, int] = {}
        if targets:
            build_tables(opened, where, filters=filters, prices=prices, rules=rules)
            files = exporting.write_tables(opened, targets)
        if html is not None:
            made = report_on(opened, where, filters=filters, prices=prices, rules=rules)
            write_report(
                made, html_reporter(opened, where, filters, prices, rules), str(html), force=force
            )
    if not how.quiet and str(html) != "-":
        exporting.write_exported(files, [html] if html is not None else [], sys.stdout)

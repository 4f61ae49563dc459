"""Figures while logs grow: ``watch`` and ``statusline``."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from forkpoint.cli import options
from forkpoint.cli.option_groups import CallOptions, StoreOptions
from forkpoint.cli.options import PlainFormat
from forkpoint.cli.reading import (
    check_files,
    logs_named,
    print_where_it_looked,
    repeated_looks,
    resolved,
)

# What a command needs is imported when it runs, so that --help does not wait for libraries.
if TYPE_CHECKING:
    from forkpoint.analysis.results import Report
    from forkpoint.analysis.store import Store


def watch(
    *,
    paths: options.Paths = None,
    interval: Annotated[
        float,
        typer.Option(
            "--interval", metavar="S", min=0.05, max=86_400, help="Seconds between looks."
        ),
    ] = 2.0,
    follow: Annotated[
        bool, typer.Option("--follow", help="Print a line for each change instead, without end.")
    ] = False,
    calls: CallOptions,
    prices: options.Prices = None,
    kept: StoreOptions,
) -> None:
    """Show the report's first lines and read on as logs grow, until Ctrl-C. Where the output is no
    terminal, show them once.

    \b
    Examples:
      forkpoint watch ~/.claude/projects --since 1h
      forkpoint watch runs/ --follow >> costs.log
    """
    from forkpoint.analysis.remembered import report_on
    from forkpoint.analysis.status import measure_status
    from forkpoint.cli import watch as watching

    filters = calls.filters()
    check_files(prices)
    logs = logs_named(paths)
    if not logs.paths:
        print_where_it_looked(logs.agents)
        return
    where = resolved(logs.paths)
    with repeated_looks(where, kept) as look:
        if follow:
            watching.follow(
                lambda: look(lambda it: measure_status(it, where, filters=filters, prices=prices)),
                sys.stdout, interval,
            )  # fmt: skip
            return

        def report_now(opened: Store) -> Report:
            return report_on(opened, where, filters=filters, prices=prices)

        if sys.stdout.isatty():
            watching.show_live(lambda: look(report_now), sys.stdout, interval)
        else:
            watching.show_once(look(report_now), sys.stdout)


def statusline(
    *,
    paths: options.Paths = None,
    calls: CallOptions,
    form: Annotated[
        PlainFormat, typer.Option("--format", help="How to answer.")
    ] = PlainFormat.TABLE,
    prices: options.Prices = None,
    kept: StoreOptions,
) -> None:
    """Read what is new, then print one line: what calls cost since midnight (or --since), their hit
    rate, and what they paid for again.

    \b
    Examples:
      forkpoint statusline
      forkpoint statusline ~/.claude/projects --since 1h --format json
    """
    from forkpoint.analysis.status import measure_status
    from forkpoint.cli.watch import write_status

    if calls.since is not None:
        label = f"since {calls.since}"
    elif calls.until is not None:
        label = f"until {calls.until}"
    else:
        label, calls = "today", replace(calls, since=options.midnight().isoformat())
    filters = calls.filters()
    check_files(prices)
    where = resolved(logs_named(paths).paths)
    with repeated_looks(where, kept) as look:
        status = look(lambda it: measure_status(it, where, filters=filters, prices=prices))
    assert status is not None
    write_status(status, label, form, sys.stdout)

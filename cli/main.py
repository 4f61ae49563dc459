"""The ``forkpoint`` command: its commands, in the order of ``--help``, and its entry point."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from forkpoint import __version__
from forkpoint.cli import options
from forkpoint.cli.command_check import check
from forkpoint.cli.command_replay import replay
from forkpoint.cli.command_report import cache, prefixes, report, simulate
from forkpoint.cli.command_rollouts import forks, rollouts
from forkpoint.cli.command_setup import completion, doctor, formats
from forkpoint.cli.command_store import export, ingest, sql
from forkpoint.cli.command_watch import statusline, watch
from forkpoint.cli.failures import ERROR, CommandGroup
from forkpoint.cli.option_groups import CallOptions, ReadingOptions, spelled_out

_COMMANDS = (
    (report, "What was paid, what caching saved, what was paid for again, and where."),
    (cache, "Where reusable tokens went: hit rates, causes, worst calls, what to do."),
    (ingest, "Read logs into the store, and say how it went."),
    (prefixes, "The biggest trunks that prompts share, and where they fork."),
    (rollouts, "Groups of rollouts: what they share, what trees would buy, when to stop."),
    (forks, "Where rollouts and prompts part, and where the model was unsure."),
    (simulate, "What a prefix cache of some size and policy would have served."),
    (replay, "Run logged sequences through a model: the entropies that logs lack."),
    (check, "Fail (exit code 3) where a figure passes its limit: for CI."),
    (watch, "The report's first lines, kept up to date while logs grow."),
    (statusline, "One line for a status bar: what today cost, and what was paid again."),
    (export, "Write tables for other tools: CSV, Parquet, or one HTML page."),
    (formats, "The log formats, or which one a file is of."),
    (doctor, "What is found where: logs, store, versions, prices, terminal."),
    (completion, "A script that completes commands and options in your shell."),
    (sql, "Query the store, read-only."),
)
"""In the order of ``forkpoint --help``, with what it says of each."""

app = typer.Typer(
    cls=CommandGroup,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for _command, _short_help in _COMMANDS:
    app.command(short_help=_short_help)(spelled_out(_command))


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"forkpoint {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def forkpoint(
    ctx: typer.Context,
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version.", callback=_show_version, is_eager=True),
    ] = False,
) -> None:
    """Which LLM tokens were paid for more than once, what caching saved, and where traces fork.

    Without a command: the report on the agent logs that this machine has.

    Exit codes: 0 ok, 1 error, 2 wrong usage, 3 a limit of check failed.
    """
    if ctx.invoked_subcommand is None:
        store = os.environ.get(options.STORE_VARIABLE) or None
        report(calls=CallOptions(), how=ReadingOptions(store=store))


def main() -> None:
    """Run the command line and exit.

    A text that the terminal's encoding lacks is replaced, and a reader that goes away (``| head``)
    ends the run without a word.
    """
    if options.COMPLETE_VARIABLE in os.environ:
        from forkpoint.cli.completion import use_completion

        use_completion()
    # No command multiplies matrices; starting threads for it costs each of them.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    try:
        try:
            app(prog_name=options.PROGRAM, complete_var=options.COMPLETE_VARIABLE)
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        # Python flushes once more at exit; let that go nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(ERROR)

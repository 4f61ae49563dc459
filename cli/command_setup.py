"""What forkpoint knows and finds on this machine: ``formats``, ``doctor`` and ``completion``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from forkpoint.cli.failures import ERROR
from forkpoint.cli.option_groups import StoreOptions
from forkpoint.cli.options import PlainFormat, Shell
from forkpoint.cli.reading import agents_here


def formats(
    file: Annotated[
        Path | None, typer.Argument(metavar="FILE", help="A log file.", show_default=False)
    ] = None,
    form: Annotated[
        PlainFormat, typer.Option("--format", help="How to answer.")
    ] = PlainFormat.TABLE,
) -> None:
    """List the log formats with the versions they were checked against. With a file: say which
    format it is of, and why; exit code 1 if it is of none.

    \b
    Examples:
      forkpoint formats
      forkpoint formats runs/trace.jsonl
    """
    from forkpoint.cli.tables import write_format_of, write_formats
    from forkpoint.parsers.registry import parsers

    if file is None:
        write_formats(parsers(), form, sys.stdout)
    elif not write_format_of(file, form, sys.stdout):
        raise typer.Exit(ERROR)


def doctor(
    *,
    form: Annotated[
        PlainFormat, typer.Option("--format", help="How to answer.")
    ] = PlainFormat.TABLE,
    kept: StoreOptions,
) -> None:
    """Say what a run would rest on: agents' log folders, the store and what it holds, versions,
    prices, cache rules, vocabularies, the terminal. Changes nothing; exit code 1 if the store is
    damaged.

    \b
    Examples:
      forkpoint doctor
      forkpoint doctor --format json
    """
    from forkpoint.cli.doctor import examine, write_findings

    found = examine(agents_here(), kept.store_path, sys.stdout)
    write_findings(found, form, sys.stdout)
    if not found.healthy:
        raise typer.Exit(ERROR)


def completion(
    shell: Annotated[Shell, typer.Argument(metavar="bash|zsh|fish", help="Your shell.")],
) -> None:
    """Print a script that makes the Tab key complete forkpoint's commands and options. Nothing is
    installed: you decide where it goes.

    \b
    Examples:
      eval "$(forkpoint completion bash)"        (in ~/.bashrc)
      eval "$(forkpoint completion zsh)"         (in ~/.zshrc, after compinit)
      forkpoint completion fish > ~/.config/fish/completions/forkpoint.fish
    """
    from forkpoint.cli.completion import completion_script

    print(completion_script(shell))

"""``forkpoint completion``: scripts for shells, made by Typer; and the answers that they ask for."""

from __future__ import annotations

from typer import completion

from forkpoint.cli.options import COMPLETE_VARIABLE, PROGRAM, Shell


def completion_script(shell: Shell) -> str:
    """A script that defines completion in a shell. It runs forkpoint at each press of Tab."""
    script: str = completion.get_completion_script(  # type: ignore[attr-defined]
        prog_name=PROGRAM, complete_var=COMPLETE_VARIABLE, shell=shell.value
    )
    return script


def use_completion() -> None:
    """Let this run answer a shell that completes, as `COMPLETE_VARIABLE` says."""
    completion.completion_init()  # type: ignore[attr-defined]

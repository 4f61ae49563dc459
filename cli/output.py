"""Writing an answer to standard output, or to a file that is whole or not there at all."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

from forkpoint.analysis.results import Report
from forkpoint.cli.answer import Reporter
from forkpoint.errors import ForkpointError

STDOUT = "-"


def check_output(target: str, *, force: bool) -> None:
    """Refuse, before any work is done, a file that may not be written.

    Raises:
        ForkpointError: it exists and `force` is not given, or it is a folder.
    """
    if target == STDOUT:
        return
    path = Path(target)
    if path.is_dir():
        raise ForkpointError(f"{target} is a folder: name a file")
    if path.is_file() and not force:
        raise ForkpointError(f"{target} exists: --force replaces it")


def write_report(report: Report, reporter: Reporter, target: str, *, force: bool = False) -> None:
    """Write a report where ``--output`` says.

    Raises:
        ForkpointError: the file exists and `force` is not given, or it cannot be written.
    """
    write_output(lambda out: reporter.render(report, out), target, force=force)


def write_output(render: Callable[[TextIO], None], target: str, *, force: bool = False) -> None:
    """Let `render` write to standard output, or to a file whose folders are made.

    Raises:
        ForkpointError: the file exists and `force` is not given, or it cannot be written.
    """
    if target == STDOUT:
        render(sys.stdout)
        return
    check_output(target, force=force)
    path = Path(target)
    try:
        if path.exists():
            # Replaced through links; a device or a pipe can only be written to.
            path = path.resolve()
        if path.exists() and not path.is_file():
            with path.open("w", encoding="utf-8", newline="") as out:
                render(out)
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        _write_whole(render, path)
    except OSError as error:
        reason = (error.strerror or type(error).__name__).lower()
        raise ForkpointError(f"cannot write {target}: {reason}") from error


def _write_whole(render: Callable[[TextIO], None], path: Path) -> None:
    """Write beside the file and move into place: a reader never sees half of it."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.unfinished")
    try:
        with unfinished.open("x", encoding="utf-8", newline="") as out:
            render(out)
            out.flush()
            os.fsync(out.fileno())
        unfinished.replace(path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise

"""A progress bar on stderr, for people only: silent where stderr is no terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress

Report = Callable[[int, int], None]
"""Called with (bytes read, bytes to read)."""


@contextmanager
def progress_bar(*, quiet: bool) -> Iterator[Report | None]:
    """A function that moves the bar, or ``None`` where there is none to move.

    The bar appears with the first bytes read, so a run with nothing new shows nothing.
    """
    if quiet or not sys.stderr.isatty():
        yield None
        return
    bar: Progress | None = None

    def move(read: int, total: int) -> None:
        nonlocal bar
        if bar is None:
            bar = _bar()
            bar.add_task("reading", total=total)
            bar.start()
        bar.update(bar.task_ids[0], completed=read)

    try:
        yield move
    finally:
        if bar is not None:
            bar.stop()


def _bar() -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        console=Console(file=sys.stderr),
        transient=True,
    )


def warn(message: str, *, quiet: bool) -> None:
    """A line on stderr for a person at a terminal."""
    from forkpoint.cli.text import plain

    if not quiet and sys.stderr.isatty():
        print(f"forkpoint: warning: {plain(message)}", file=sys.stderr)

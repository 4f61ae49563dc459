"""A progress bar on stderr, for people only: silent where stderr is no terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress, ProgressColumn

Report = Callable[[int, int], None]
"""Called with (done, all there is to do)."""


@contextmanager
def progress_bar(*, quiet: bool) -> Iterator[Report | None]:
    """A bar of bytes read: a function that moves it, or ``None`` where nobody looks at one."""
    with _bar("reading", _of_bytes, quiet=quiet) as move:
        yield move


@contextmanager
def token_bar(task: str, *, quiet: bool) -> Iterator[Report | None]:
    """A bar of tokens, which says how long it will take; otherwise as `progress_bar`."""
    with _bar(task, _of_tokens, quiet=quiet) as move:
        yield move


@contextmanager
def _bar(
    task: str, columns: Callable[[], list[ProgressColumn]], *, quiet: bool
) -> Iterator[Report | None]:
    """It appears with the first step, so a run with nothing new shows nothing."""
    if quiet or not sys.stderr.isatty():
        yield None
        return
    bar: Progress | None = None

    def move(done: int, total: int) -> None:
        nonlocal bar
        if bar is None:
            bar = _made(columns())
            bar.add_task(task, total=total)
            bar.start()
        bar.update(bar.task_ids[0], completed=done)

    try:
        yield move
    finally:
        if bar is not None:
            bar.stop()


def _made(columns: list[ProgressColumn]) -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        *columns,
        console=Console(file=sys.stderr),
        transient=True,
    )


def _of_bytes() -> list[ProgressColumn]:
    from rich.progress import DownloadColumn, TransferSpeedColumn

    return [DownloadColumn(), TransferSpeedColumn()]


def _of_tokens() -> list[ProgressColumn]:
    from rich.progress import MofNCompleteColumn, TextColumn, TimeRemainingColumn

    return [MofNCompleteColumn(), TextColumn("tokens"), TimeRemainingColumn()]


def warn(message: str, *, quiet: bool) -> None:
    """A line on stderr for a person at a terminal."""
    from forkpoint.cli.text import plain

    if not quiet and sys.stderr.isatty():
        print(f"forkpoint: warning: {plain(message)}", file=sys.stderr)

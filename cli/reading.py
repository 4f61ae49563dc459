"""Which logs a command is about, its store opened, and what is new read into it."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from forkpoint.cli.option_groups import ReadingOptions, StoreOptions
from forkpoint.errors import ForkpointError

# What a command needs is imported when it runs, so that --help does not wait for libraries.
if TYPE_CHECKING:
    from forkpoint.analysis.ingest import Ingested
    from forkpoint.analysis.store import Store
    from forkpoint.cli.locations import AgentLogs

_IN_USE = "in use by another process"
"""What `forkpoint.analysis.store` says of a store that another run has open."""
_WAITS_S = (0.05, 0.1, 0.2, 0.4)
"""Between attempts to open it."""

Answer = TypeVar("Answer")


class Logs(NamedTuple):
    """What a command is to read."""

    paths: list[Path]
    """As named, else where this machine's agents keep logs; empty where there are none."""
    agents: list[AgentLogs]
    """Whose logs were looked for, as no path was named."""


def logs_named(paths: Sequence[Path] | None) -> Logs:
    """The logs that a command line names, else those that this machine has."""
    if paths:
        return Logs(list(paths), [])
    agents = agents_here()
    return Logs([path for agent in agents for path in agent.found], agents)


def agents_here() -> list[AgentLogs]:
    """Where this user's agents keep their logs, whether or not there are any."""
    from forkpoint.cli.locations import default_logs
    from forkpoint.parsers.registry import parsers

    return default_logs(parsers(), os.environ, Path.home())


def print_where_it_looked(agents: Sequence[AgentLogs]) -> None:
    """Tell a person without logs where they were looked for."""
    from forkpoint.cli.tables import write_where_it_looked

    write_where_it_looked(agents, sys.stdout)


def check_files(*named: Path | None) -> None:
    """Refuse, before any log is read, files that options name and that are not there.

    Raises:
        ForkpointError: one of them is no file.
    """
    for file in named:
        if file is not None and not file.is_file():
            raise ForkpointError(f"{file}: no such file")


@contextmanager
def logs_read(logs: Logs, how: ReadingOptions) -> Iterator[tuple[Store, list[Path]]]:
    """Open the store, read what is new, and give the paths that an answer is about. Without any logs
    those are where they were looked for, so that the answer is still of the form that was asked for.

    Raises:
        ForkpointError: the store or a path cannot be opened, or with ``--strict`` a record not read.
    """
    with store_opened(how) as opened:
        where = resolved(logs.paths) or [path for each in logs.agents for path in each.looked_in]
        if logs.paths:
            read_new(opened, where, how)
        yield opened, where


@contextmanager
def store_opened(kept: StoreOptions, *, read_only: bool = False) -> Iterator[Store]:
    """The store that the options name.

    Raises:
        ForkpointError: it is damaged, in use, of another tokenizer, or may not be opened.
    """
    from forkpoint.analysis.store import Store

    with Store.open(kept.store_path, encoding=kept.tokenizer.value, read_only=read_only) as opened:
        yield opened


def read_new(store: Store, paths: Sequence[Path], how: ReadingOptions) -> Ingested:
    """Read what is new under the paths into the store, with a progress bar for people.

    Raises:
        ForkpointError: a path cannot be read, or with ``--strict`` a record.
    """
    from forkpoint.analysis import ingest as reading
    from forkpoint.analysis.ingest_worker import Options
    from forkpoint.cli.progress import progress_bar, warn

    worker = Options(
        encoding=how.tokenizer.value, keep_text=how.keep_text, sample_map=how.sample_map
    )
    with progress_bar(quiet=how.quiet) as progress:
        done = reading.ingest(
            store, paths, worker, workers=how.workers, strict=how.strict, progress=progress
        )
    for message in done.unreadable:
        warn(message, quiet=how.quiet)
    return done


def resolved(paths: Sequence[Path]) -> list[Path]:
    """The paths as the store names them."""
    from forkpoint.analysis.ingest import resolve

    return resolve(paths)


@contextmanager
def repeated_looks(
    paths: Sequence[Path], kept: StoreOptions
) -> Iterator[Callable[[Callable[[Store], Answer]], Answer | None]]:
    """A function that reads what is new under the paths and then asks; ``None`` where nothing has
    changed since it asked last.

    The store is opened for each look, so that other commands can use it in between. If it is in use,
    the first look waits a little, later ones are left out.
    """
    from forkpoint.analysis.store import MEMORY

    how = ReadingOptions(kept.store, kept.tokenizer, quiet=True)
    with ExitStack() as stack:
        in_memory = stack.enter_context(store_opened(kept)) if kept.store == MEMORY else None
        asked = False

        def look(ask: Callable[[Store], Answer]) -> Answer | None:
            nonlocal asked
            with ExitStack() as this_look:
                opened = in_memory
                if opened is None:
                    opened = _open_when_free(this_look, kept, patient=not asked)
                if opened is None:
                    return None
                done = read_new(opened, paths, how) if paths else None
                if asked and (done is None or not done.changed):
                    return None
                answer = ask(opened)
                asked = True
                return answer

        yield look


def _open_when_free(stack: ExitStack, kept: StoreOptions, *, patient: bool) -> Store | None:
    for wait_s in _WAITS_S:
        try:
            return stack.enter_context(store_opened(kept))
        except ForkpointError as error:
            if _IN_USE not in str(error):
                raise
            if not patient:
                return None
            time.sleep(wait_s)
    return stack.enter_context(store_opened(kept))

"""``forkpoint watch`` and ``forkpoint statusline``: the answer while logs grow, in few lines."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime
from typing import TextIO

import duckdb

from forkpoint import __version__
from forkpoint.analysis.results import Report
from forkpoint.analysis.status import Status
from forkpoint.cli.json_report import FORMAT, exact
from forkpoint.cli.layout import output_width, print_lines
from forkpoint.cli.numbers import count, dollars, percent, tokens
from forkpoint.cli.options import PlainFormat
from forkpoint.cli.table import TableReporter
from forkpoint.cli.text import plain

_PARTS = 2
"""Of the report's screen: what was read, and the three sums."""

Interrupted = (KeyboardInterrupt, duckdb.InterruptException)
"""What Ctrl-C raises, depending on what runs at that moment."""


def first_lines(report: Report, width: int) -> list[str]:
    """The first lines of the report: what was read, paid, saved and left."""
    out = io.StringIO()
    TableReporter(width).render(report, out)
    parts = out.getvalue().rstrip("\n").split("\n\n")
    return "\n\n".join(parts[:_PARTS]).split("\n")


def status_text(status: Status) -> str:
    """The figures on one line."""
    if not status.calls:
        return "no calls yet"
    paid = f"{dollars(status.cost_usd)}"
    if status.unpriced_calls and status.cost_usd is not None:
        paid = f"≥ {paid}"
    parts = [paid, count(status.calls, "call")]
    if status.hit_rate is not None:
        parts.append(f"hit rate {percent(status.hit_rate)}")
    if status.missed_tokens is not None:
        worth = "" if status.missed_usd is None else f" ({dollars(status.missed_usd)})"
        parts.append(f"paid again {tokens(status.missed_tokens)} tokens{worth}")
    return " · ".join(parts)


def write_status(status: Status, label: str, form: PlainFormat, out: TextIO) -> None:
    """One line, whatever the format.

    Args:
        label: which calls the figures are of.
    """
    if form is PlainFormat.JSON:
        facts = {"format": FORMAT, "forkpoint": __version__, "calls_of": label, **asdict(status)}
        out.write(json.dumps(exact(facts), allow_nan=False) + "\n")
        return
    out.write(plain(f"{label}: {status_text(status)}") + "\n")


def show_live(
    look: Callable[[], Report | None],
    out: TextIO,
    interval_s: float,
    wait: Callable[[float], None] = time.sleep,
) -> None:
    """Keep the report's first lines on a terminal up to date until Ctrl-C, and leave them there.

    Args:
        look: reads what is new and answers; ``None``: nothing has changed, or it could not look.
    """
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    width = output_width(out)
    console = Console(file=out, width=width, highlight=False, markup=False, emoji=False)
    with Live(console=console, auto_refresh=False, vertical_overflow="crop") as live:
        try:
            while True:
                report = look()
                if report is not None:
                    when = f"{datetime.now():%H:%M:%S} · Ctrl-C ends"
                    lines = [*first_lines(report, width), "", when]
                    live.update(Text("\n".join(lines), no_wrap=True), refresh=True)
                wait(interval_s)
        except Interrupted:
            return


def show_once(report: Report | None, out: TextIO) -> None:
    """The report's first lines, once."""
    if report is not None:
        print_lines(first_lines(report, output_width(out)), out)


def follow(
    look: Callable[[], Status | None],
    out: TextIO,
    interval_s: float,
    wait: Callable[[float], None] = time.sleep,
) -> None:
    """A line for each change until Ctrl-C.

    Args:
        look: reads what is new and answers; ``None``: nothing has changed, or it could not look.
    """
    try:
        while True:
            status = look()
            if status is not None:
                out.write(f"{datetime.now():%H:%M:%S} {plain(status_text(status))}\n")
                out.flush()
            wait(interval_s)
    except Interrupted:
        return

"""Options that several commands share, and how their values are read."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

PROGRAM = "forkpoint"
STORE_VARIABLE = "FORKPOINT_STORE"
COMPLETE_VARIABLE = "_FORKPOINT_COMPLETE"
"""Set by a shell that wants to complete a command line; see ``forkpoint completion``."""

_SPAN = re.compile(r"(\d{1,6})\s*(m|h|d|w)")
_SPAN_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_DATE = re.compile(r"\d{4}-?\d{2}-?\d{2}")


class ReportFormat(StrEnum):
    """How ``report`` answers."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"
    MD = "md"
    HTML = "html"


class RowsFormat(StrEnum):
    """How ``sql`` answers."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"


class PlainFormat(StrEnum):
    """How the other commands answer."""

    TABLE = "table"
    JSON = "json"


class CheckFormat(StrEnum):
    """How ``check`` answers."""

    TABLE = "table"
    JSON = "json"
    MD = "md"
    GITHUB = "github"
    JUNIT = "junit"


class Shell(StrEnum):
    """Shells that ``completion`` has a script for."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


class Execution(StrEnum):
    """How ``replay --execute`` runs the tree of what was logged."""

    ALL = "all"
    FLAT = "flat"
    TRIE = "trie"
    PACKED = "packed"


class Tokenizer(StrEnum):
    """The vocabularies that come with the package."""

    O200K = "o200k_base"
    CL100K = "cl100k_base"


class By(StrEnum):
    """What ``report --by`` breaks the answer down by."""

    DAY = "day"
    SESSION = "session"
    MODEL = "model"
    PROJECT = "project"
    AGENT = "agent"
    FORMAT = "format"
    GROUP = "group"


Paths = Annotated[
    list[Path] | None,
    typer.Argument(
        metavar="PATH",
        help="Log files or folders. Without any: the places where the agents on this machine keep "
        "their logs.",
        show_default=False,
    ),
]
Store = Annotated[
    str | None,
    typer.Option(
        "--store",
        metavar="FILE",
        envvar=STORE_VARIABLE,
        help="Where what was read is kept, so that the next run reads only what is new; "
        ":memory: keeps nothing. Default: one file in your cache folder.",
        show_default=False,
    ),
]
TokenizerOption = Annotated[
    Tokenizer, typer.Option("--tokenizer", help="The vocabulary that text is counted with.")
]
Strict = Annotated[
    bool, typer.Option("--strict", help="Stop at the first record that cannot be read.")
]
Workers = Annotated[
    int | None,
    typer.Option(
        "--workers", min=1, max=1024, help="Processes that read. Default: one per core.",
        show_default=False,
    ),
]  # fmt: skip
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar, no warnings.")]
KeepText = Annotated[
    bool,
    typer.Option("--keep-text", help="Keep message text in the store. Prompts are private: off."),
]
SampleMap = Annotated[
    str | None,
    typer.Option(
        "--map", metavar="FIELDS", show_default=False,
        help="How to read samples in a shape of your own, that no other format claims: "
        "prompt=question,completion=gen.text,group=task,reward=grade,answer=final. Or put "
        "forkpoint-map.toml beside them.",
    ),
]  # fmt: skip
Prices = Annotated[
    Path | None,
    typer.Option(
        "--prices", metavar="FILE", help="Your own prices; they go before the built-in ones.",
        show_default=False,
    ),
]  # fmt: skip
Rules = Annotated[
    Path | None,
    typer.Option(
        "--rules", metavar="FILE", help="Your own cache rules; they go before the built-in ones.",
        show_default=False,
    ),
]  # fmt: skip
Since = Annotated[
    str | None,
    typer.Option(
        "--since", metavar="TIME",
        help="Only calls from then on: 2026-07-01, 2026-07-01T09:30, or 7d, 24h, 30m ago. UTC.",
        show_default=False,
    ),
]  # fmt: skip
Until = Annotated[
    str | None,
    typer.Option(
        "--until", metavar="TIME", help="Only calls before then; of a date, the day counts whole.",
        show_default=False,
    ),
]  # fmt: skip
Model = Annotated[
    str | None,
    typer.Option(
        "--model", metavar="NAME", help="Only this model; * and ? stand for any text.",
        show_default=False,
    ),
]  # fmt: skip
Project = Annotated[
    str | None,
    typer.Option(
        "--project", metavar="TEXT", help="Only projects whose name has this in it.",
        show_default=False,
    ),
]  # fmt: skip
Output = Annotated[
    str,
    typer.Option("--output", "-o", metavar="FILE", help="Write to a file; - is standard output."),
]
Force = Annotated[bool, typer.Option("--force", help="Let --output replace a file that exists.")]


def parse_time(text: str, *, now: datetime, end: bool = False) -> datetime:
    """The moment that ``--since`` or ``--until`` names, in UTC.

    Args:
        text: an ISO date or time (UTC unless it states an offset), or a span before `now` in
            minutes, hours, days or weeks: ``30m``, ``24h``, ``7d``, ``2w``.
        end: a date stands for the end of that day instead of its beginning.

    Raises:
        ValueError: it is none of these, or lies outside the years 1 to 9999.

    >>> parse_time("2026-07-24", now=datetime.now(UTC), end=True).isoformat()
    '2026-07-25T00:00:00+00:00'
    """
    text = text.strip()
    try:
        if span := _SPAN.fullmatch(text):
            return now - timedelta(**{_SPAN_UNITS[span[2]]: int(span[1])})
        if _DATE.fullmatch(text):
            day = date.fromisoformat(text) + timedelta(days=end)
            return datetime(day.year, day.month, day.day, tzinfo=UTC)
        when = datetime.fromisoformat(text)
        return when.replace(tzinfo=UTC) if when.tzinfo is None else when.astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError(
            f"{text!r} is no time: write 2026-07-01, 2026-07-01T09:30 or a span such as 7d or 24h"
        ) from None


def midnight() -> datetime:
    """When today began on this machine's clock."""
    return datetime.now().astimezone().replace(hour=0, minute=0, second=0, microsecond=0)


def time_range(since: str | None, until: str | None) -> tuple[datetime | None, datetime | None]:
    """Both ends of the time that counts: inclusive and exclusive.

    Raises:
        typer.BadParameter: one is no time, or they leave nothing between them.
    """
    now = datetime.now(UTC)
    try:
        first = None if since is None else parse_time(since, now=now)
        last = None if until is None else parse_time(until, now=now, end=True)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    if first is not None and last is not None and first >= last:
        raise typer.BadParameter("--since is not before --until")
    return first, last


def store_path(store: str | None, tokenizer: Tokenizer) -> str:
    """The store to open: the one named, or this user's own for the tokenizer."""
    if store is not None:
        return store
    from platformdirs import user_cache_path

    name = "store.duckdb" if tokenizer is Tokenizer.O200K else f"store-{tokenizer}.duckdb"
    return str(user_cache_path("forkpoint") / name)

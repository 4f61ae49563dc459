"""``forkpoint doctor``: what is found where, for a person whose report is not what they expect."""

from __future__ import annotations

import importlib.metadata
import locale
import os
import platform
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from enum import StrEnum
from importlib.resources import files
from pathlib import Path
from typing import TextIO

import duckdb

from forkpoint import __version__
from forkpoint.analysis.pricing import newest_price
from forkpoint.analysis.rules import load_rules
from forkpoint.analysis.store import MEMORY, SCHEMA_VERSION
from forkpoint.analysis.tokens import ENCODINGS
from forkpoint.cli.json_report import FORMAT, write_json
from forkpoint.cli.layout import bold, flow, output_width, print_lines, shown_path
from forkpoint.cli.locations import AgentLogs
from forkpoint.cli.numbers import count, megabytes
from forkpoint.cli.options import PlainFormat
from forkpoint.cli.table import Line
from forkpoint.cli.text import plain

_LIBRARIES = ("duckdb", "tiktoken", "gigatoken", "genai-prices", "polars", "numpy", "msgspec")
_COUNTED = ("sources", "calls", "traces", "segments", "nodes", "issues")
_REPLAY = "replay"
_EXTRA = re.compile(r"""extra\s*==\s*["']([^"']+)["']""")
_NAME = re.compile(r"[A-Za-z0-9._-]+")


class StoreState(StrEnum):
    """What became of looking into the store."""

    GOOD = "good"
    ABSENT = "not there yet"
    IN_USE = "in use by another process"
    OTHER_VERSION = "of another version"
    UNREADABLE = "not readable"
    DAMAGED = "damaged, or not a store"


@dataclass(frozen=True, slots=True)
class StoreFacts:
    """The store as it was found."""

    path: str
    state: StoreState
    bytes: int | None
    schema_version: str | None
    """As the store says; this forkpoint reads `forkpoint.analysis.store.SCHEMA_VERSION`."""
    tokenizer: str | None
    rows: dict[str, int]
    why: str | None
    """What the database said of a store that cannot be read."""


@dataclass(frozen=True, slots=True)
class Findings:
    """All that ``forkpoint doctor`` prints."""

    agents: tuple[AgentLogs, ...]
    store: StoreFacts
    versions: dict[str, str | None]
    """``None``: not installed."""
    price_book: str
    newest_price: str | None
    """The day of the latest change of a price in the book that is in force, ISO."""
    cache_rules: str
    """Their date, ISO."""
    vocabularies: dict[str, int | None]
    """Bytes of each tokenizer's vocabulary; ``None``: its file is missing."""
    replay: dict[str, str | None]
    """Libraries of the extra ``replay`` with their versions; ``None``: not installed."""
    encoding: str
    """Of standard output."""
    terminal: bool
    locale: str

    @property
    def healthy(self) -> bool:
        """Whether nothing is broken. What is merely absent breaks nothing."""
        return self.store.state is not StoreState.DAMAGED


def examine(agents: Sequence[AgentLogs], store: str, out: TextIO) -> Findings:
    """Look at everything a run rests on, changing nothing.

    Args:
        agents: the places where agents keep their logs.
        store: the store that a run would use.
        out: where a run would print.
    """
    newest = newest_price(datetime.now(UTC).date())
    return Findings(
        agents=tuple(agents),
        store=examine_store(store),
        versions=_versions(),
        price_book=f"genai-prices {_version('genai-prices')}",
        newest_price=None if newest is None else newest.isoformat(),
        cache_rules=load_rules(None).as_of.isoformat(),
        vocabularies=_vocabularies(),
        replay=extra_libraries(_REPLAY),
        encoding=(getattr(out, "encoding", None) or "unknown").lower(),
        terminal=out.isatty(),
        locale=".".join(part or "-" for part in locale.getlocale()),
    )


def _versions() -> dict[str, str | None]:
    found: dict[str, str | None] = {
        "forkpoint": __version__,
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
    }
    return found | {name: _version(name) for name in _LIBRARIES}


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def extra_libraries(extra: str) -> dict[str, str | None]:
    """The libraries that an optional extra asks for, with the versions installed."""
    try:
        required = importlib.metadata.requires("forkpoint") or []
    except importlib.metadata.PackageNotFoundError:
        required = []
    found = {}
    for line in required:
        asked, name = _EXTRA.search(line), _NAME.match(line)
        if asked is not None and asked[1] == extra and name is not None:
            found[name[0]] = _version(name[0])
    return found


def _vocabularies() -> dict[str, int | None]:
    folder = files("forkpoint.analysis").joinpath("vocab")
    found: dict[str, int | None] = {}
    for name in ENCODINGS:
        file = folder.joinpath(f"{name}.tiktoken")
        found[name] = len(file.read_bytes()) if file.is_file() else None
    return found


def examine_store(path: str) -> StoreFacts:
    """Open a store read-only and count what it holds."""
    file = Path(path)
    if path == MEMORY or not os.path.lexists(file):
        return StoreFacts(path, StoreState.ABSENT, None, None, None, {}, None)
    try:
        size = file.stat().st_size
        with file.open("rb") as opened:
            opened.read(1)
    except OSError as error:
        why = error.strerror or type(error).__name__
        return StoreFacts(path, StoreState.UNREADABLE, None, None, None, {}, why)
    try:
        with duckdb.connect(path, read_only=True) as connection:
            meta = dict(connection.execute("SELECT key, value FROM meta").fetchall())
            version, tokenizer = meta.get("schema_version"), meta.get("encoding")
            if version != str(SCHEMA_VERSION):
                return StoreFacts(
                    path, StoreState.OTHER_VERSION, size, version, tokenizer, {}, None
                )
            rows = {name: _rows(connection, name) for name in _COUNTED}
    except duckdb.Error as error:
        why = " ".join(str(error).split())[:200]
        state = StoreState.IN_USE if "lock" in why.lower() else StoreState.DAMAGED
        return StoreFacts(path, state, size, None, None, {}, why)
    return StoreFacts(path, StoreState.GOOD, size, version, tokenizer, rows, None)


def _rows(connection: duckdb.DuckDBPyConnection, table: str) -> int:
    row = connection.execute(f"SELECT count(*) FROM {table}").fetchone()
    assert row is not None
    return int(row[0])


def write_findings(found: Findings, form: PlainFormat, out: TextIO) -> None:
    """Print all of it."""
    if form is PlainFormat.JSON:
        write_json(_document(found), out)
        return
    print_lines(_screen(found, output_width(out)), out)


def _document(found: Findings) -> dict[str, object]:
    facts = asdict(found)
    facts["agents"] = [
        {
            "agent": agent.agent,
            "looked_in": [str(path) for path in agent.looked_in],
            "found": [str(path) for path in agent.found],
            "variables": {name: os.environ.get(name) for name in agent.variables},
        }
        for agent in found.agents
    ]
    facts["store"]["state"] = str(found.store.state)
    facts["store"]["schema_version_read"] = SCHEMA_VERSION
    return {"format": FORMAT, "forkpoint": __version__, "healthy": found.healthy, **facts}


def _screen(found: Findings, width: int) -> list[Line]:
    lines: list[Line] = [bold("Agent logs")]
    for agent in sorted(found.agents, key=lambda agent: not agent.found):
        places = [shown_path(str(path)) for path in agent.found or agent.looked_in]
        places = places or [f"where ${name} says" for name in agent.variables]
        mark = "found" if agent.found else "–    "
        lines += flow(places, width, first=f"  {mark}  {plain(agent.agent)}: ", indent=9)
        set_ = [f"${name} is set" for name in agent.variables if os.environ.get(name)]
        lines += flow(set_, width, first="         ", indent=9)
    lines += ["", bold("Store"), *_store_lines(found.store, width)]
    lines += ["", bold("Versions")]
    lines += flow(
        [f"{name} {version or 'not installed'}" for name, version in found.versions.items()],
        width,
        first="  ",
        indent=2,
    )
    lines += ["", bold("Data"), *_data_lines(found, width)]
    where = "a terminal" if found.terminal else "no terminal"
    lines += ["", bold("Output")]
    facts = [where, f"encoding {plain(found.encoding)}", f"locale {plain(found.locale)}"]
    lines += flow(facts, width, first="  ", indent=2)
    if not found.encoding.startswith("utf"):
        hint = "characters that this encoding lacks are shown as ?; PYTHONIOENCODING=utf-8 helps"
        lines += flow([hint], width, first="  ", indent=2)
    return lines


def _store_lines(store: StoreFacts, width: int) -> list[str]:
    lines = flow([shown_path(store.path)], width, first="  ", indent=4)
    facts = [str(store.state)]
    if store.bytes is not None:
        facts.append(megabytes(store.bytes))
    if store.schema_version is not None:
        facts.append(f"schema version {plain(store.schema_version, 20)}, {SCHEMA_VERSION} is read")
    if store.tokenizer is not None:
        facts.append(f"counts with {plain(store.tokenizer, 40)}")
    facts += [count(n, name.removesuffix("s")) for name, n in store.rows.items()]
    lines += flow(facts, width, first="  ", indent=4)
    if store.why is not None:
        lines += flow([plain(store.why)], width, first="    ", indent=4)
    if store.state in (StoreState.DAMAGED, StoreState.OTHER_VERSION):
        advice = "delete it (your logs are untouched) or name another with --store"
        lines += flow([advice], width, first="    ", indent=4)
    return lines


def _data_lines(found: Findings, width: int) -> list[str]:
    facts = [
        f"prices: {found.price_book}, latest change in force {found.newest_price or 'unknown'}",
        f"cache rules of {found.cache_rules}",
    ]
    facts += [
        f"vocabulary {name}: {'missing' if size is None else megabytes(size)}"
        for name, size in found.vocabularies.items()
    ]
    lines = [line for fact in facts for line in flow([fact], width, first="  ", indent=4)]
    if not found.replay:
        return lines
    absent = [name for name, version in found.replay.items() if version is None]
    said = f"not installed (lacks {', '.join(absent)})" if absent else "installed"
    return [*lines, *flow([f"extra replay: {said}"], width, first="  ", indent=4)]

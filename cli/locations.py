"""Where this machine's agents keep their logs, their environment variables honoured."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from forkpoint.parsers.base import Parser

_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))(.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class AgentLogs:
    """One agent's default log folders."""

    agent: str
    """As people call it: ``Claude Code``."""
    looked_in: tuple[Path, ...]
    variables: tuple[str, ...]
    """Environment variables that move the folders."""

    @property
    def found(self) -> tuple[Path, ...]:
        """The folders that exist; a ``*`` stands for any folder."""
        # Path.exists raises where a folder above may not be entered.
        return tuple(
            found
            for path in self.looked_in
            for found in (_matches(path) if "*" in path.parts else [path])
            if os.path.exists(found)  # noqa: PTH110
        )


def default_logs(
    parsers: Iterable[Parser], environment: Mapping[str, str], home: Path
) -> list[AgentLogs]:
    """Where each agent's logs are, for the agents that have a default place.

    A variable that is set replaces its program's folders under the home folder, as it does for the
    program itself. It may name several folders, separated by commas.
    """
    return [
        _agent_logs(parser.title, parser.locations, environment, home)
        for parser in parsers
        if parser.locations
    ]


def _agent_logs(
    agent: str, locations: Iterable[str], environment: Mapping[str, str], home: Path
) -> AgentLogs:
    moved: list[Path] = []
    usual: list[Path] = []
    variables: list[str] = []
    for location in locations:
        named = _VARIABLE.fullmatch(location)
        if named is None:
            usual.append(_under_home(location, home))
            continue
        variable, rest = named[1] or named[2], named[3].lstrip("/")
        variables.append(variable)
        for folder in environment.get(variable, "").split(","):
            if folder.strip():
                moved.append(_under_home(folder.strip(), home) / rest)
    looked_in = dict.fromkeys(moved or usual)
    return AgentLogs(agent, tuple(looked_in), tuple(dict.fromkeys(variables)))


def _matches(pattern: Path) -> list[Path]:
    """The paths that fit one whose parts may be ``*``, in order."""
    parts = [part if part == "*" else glob.escape(part) for part in pattern.parts]
    return [Path(found) for found in sorted(glob.glob(str(Path(*parts))))]  # noqa: PTH207


def _under_home(location: str, home: Path) -> Path:
    if location == "~" or location.startswith("~/"):
        return home / location[2:]
    return Path(location)

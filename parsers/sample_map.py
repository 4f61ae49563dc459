"""Which fields of a sample log mean what: said on the command line, or in a file beside the logs.

On the command line a map is ``prompt=question,completion=gen.text,reward=grade``. In a file named
``forkpoint-map.toml``, which lies in the logs' folder or above it, the same is

    prompt = "question"
    completion = "gen.text"
    reward = "grade"

A field's name may be a path into objects and lists: ``gen.text``, ``choices.0.text``. A field whose
own name has such dots goes before a path.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from forkpoint.errors import ForkpointError

MAP_FILE = "forkpoint-map.toml"
_MAX_MAP_BYTES = 64 * 1024


class SampleMap(msgspec.Struct, frozen=True, kw_only=True):
    """Names of fields, or paths to them."""

    prompt: str
    completion: str
    """A text, messages, or a list of several samples of the prompt."""
    group: str | None = None
    """What names the task or prompt; without it, samples of equal prompts are a group."""
    reward: str | None = None
    answer: str | None = None
    """The answer that a sample gives, not the right one."""
    model: str | None = None

    @property
    def paths(self) -> tuple[str, ...]:
        """All fields that it names."""
        found = (getattr(self, name) for name in self.__struct_fields__)
        return tuple(path for path in found if path is not None)


_NAMES = SampleMap.__struct_fields__


def parse_map(text: str) -> SampleMap:
    """A map as the command line has it: ``prompt=…,completion=…``, in any order.

    Raises:
        ForkpointError: it is none; the text says why.

    >>> parse_map("prompt=q, completion=gen.text").completion
    'gen.text'
    """
    found: dict[str, Any] = {}
    for part in text.split(","):
        name, equals, path = (each.strip() for each in part.partition("="))
        if not equals:
            raise ForkpointError(f"--map takes NAME=FIELD, separated by commas, not {part!r}")
        if name in found:
            raise ForkpointError(f"--map: {name} is given twice")
        found[name] = path
    return _checked(found, "--map")


def load_map(path: Path) -> SampleMap:
    """A map file.

    Raises:
        ForkpointError: it cannot be read, or is none; the text says why.
    """
    try:
        with open(path, "rb") as stream:
            data = stream.read(_MAX_MAP_BYTES + 1)
        if len(data) > _MAX_MAP_BYTES:
            raise ForkpointError(f"{MAP_FILE}: larger than {_MAX_MAP_BYTES >> 10} KiB")
        found = tomllib.loads(data.decode())
    except OSError as error:
        raise ForkpointError(
            f"{MAP_FILE}: {(error.strerror or 'cannot be read').lower()}"
        ) from error
    except (ValueError, RecursionError) as error:
        raise ForkpointError(f"{MAP_FILE}: not valid TOML") from error
    return _checked(found, MAP_FILE)


def find_map(log: Path) -> Path | None:
    """The map file that lies nearest above a log, or ``None``."""
    for folder in log.absolute().parents:
        path = folder / MAP_FILE
        if path.is_file():
            return path
    return None


def _checked(found: Mapping[str, Any], where: str) -> SampleMap:
    for name, path in found.items():
        if name not in _NAMES:
            raise ForkpointError(f"{where}: no {name[:40]!r}; there are {', '.join(_NAMES)}")
        if not isinstance(path, str) or not path:
            raise ForkpointError(f"{where}: {name} must name a field")
    for name in ("prompt", "completion"):
        if name not in found:
            raise ForkpointError(f"{where}: {name} is missing")
    return SampleMap(**found)


def top_field(path: str, fields: Mapping[str, Any]) -> str:
    """The field of a record that a path begins at."""
    return path if path in fields else path.partition(".")[0]


def value_at(record: Mapping[str, Any], path: str) -> Any:
    """What stands at a path; ``None`` where there is nothing.

    >>> value_at({"a": {"b": [7, 8]}}, "a.b.1")
    8
    """
    if path in record:
        return record[path]
    value: Any = record
    for part in path.split("."):
        if isinstance(value, Mapping):
            value = value.get(part)
        elif isinstance(value, list) and part.isdecimal() and len(part) < 10:
            value = value[int(part)] if int(part) < len(value) else None
        else:
            return None
    return value

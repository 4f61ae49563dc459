"""Limits of ``forkpoint check``: from the command line, and from the nearest configuration file.

``[tool.forkpoint.check]`` in pyproject.toml, or in forkpoint.toml, where ``[check]`` does as well.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import typer

from forkpoint.analysis.check import LIMITS, REGRESSION, Limit, problem_with
from forkpoint.errors import ForkpointError

FILES = ("forkpoint.toml", "pyproject.toml")
"""In one folder, the first that has limits counts."""
_OTHER_KEYS = ("baseline", REGRESSION, "allow-missing")
_NO_LIMIT = (
    "there is no limit to check: give one, such as --max-cost 5 or --min-hit-rate 0.8, "
    "or put them under [tool.forkpoint.check] in pyproject.toml"
)


@dataclass(frozen=True, slots=True)
class CheckOptions:
    """What a check is to hold the figures against. ``None``: not said."""

    limits: Mapping[str, float] = field(default_factory=dict)
    """By name, as in `forkpoint.analysis.check.LIMITS`."""
    baseline: Path | None = None
    max_regression: float | None = None
    allow_missing: bool | None = None

    def over(self, other: CheckOptions) -> CheckOptions:
        """These options, and those of `other` where these say nothing."""
        return CheckOptions(
            limits={**other.limits, **self.limits},
            baseline=self.baseline if self.baseline is not None else other.baseline,
            max_regression=(
                self.max_regression if self.max_regression is not None else other.max_regression
            ),
            allow_missing=(
                self.allow_missing if self.allow_missing is not None else other.allow_missing
            ),
        )

    def as_limits(self) -> list[Limit]:
        """The limits with the figures they are of."""
        return [Limit(LIMITS[name], bound) for name, bound in self.limits.items()]


def options_from_command(
    limits: Mapping[str, float | None],
    *,
    baseline: Path | None,
    max_regression: float | None,
    allow_missing: bool | None,
) -> CheckOptions:
    """What the command line says.

    Raises:
        typer.BadParameter: a number is no limit for what it limits.
    """
    given = {name: bound for name, bound in limits.items() if bound is not None}
    if max_regression is not None:
        given[REGRESSION] = max_regression
    for name, bound in given.items():
        problem = _problem(name, bound)
        if problem:
            raise typer.BadParameter(f"--{name} {problem}")
    given.pop(REGRESSION, None)
    return CheckOptions(given, baseline, max_regression, allow_missing)


def require_limits(options: CheckOptions, *, writes_baseline: bool) -> None:
    """See that there is something to do, and that what goes together is there together.

    Raises:
        typer.BadParameter: it is not.
    """
    if options.baseline is not None and options.max_regression is None:
        raise typer.BadParameter("--baseline needs --max-regression PCT, such as 5")
    if options.max_regression is not None and options.baseline is None:
        raise typer.BadParameter(
            "--max-regression needs --baseline FILE: --write-baseline FILE makes one"
        )
    if not options.limits and options.baseline is None and not writes_baseline:
        raise typer.BadParameter(_NO_LIMIT)


def options_from_files(folder: Path) -> CheckOptions:
    """What the nearest configuration file says, from `folder` upwards; nothing where there is none.

    Raises:
        ForkpointError: the file cannot be read, or says something that is not known; the message
            names the file and the key.
    """
    for file in _candidates(folder):
        table = _check_table(file)
        if table is not None:
            return _options(file, table)
    return CheckOptions()


def _candidates(folder: Path) -> Iterator[Path]:
    for each in (folder, *folder.parents):
        for name in FILES:
            if (each / name).is_file():
                yield each / name


def _check_table(file: Path) -> dict[str, Any] | None:
    """The table of limits in a file; ``None``: it has none."""
    try:
        data = file.read_bytes()
    except OSError as error:
        raise ForkpointError(f"cannot read {file}: {error.strerror}") from error
    if file.name == "pyproject.toml" and b"forkpoint" not in data:
        # Not about forkpoint, so it need not even be valid.
        return None
    try:
        parsed = tomllib.loads(data.decode("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ForkpointError(f"{file} is no valid TOML: {error}") from error
    own = _table(file, _table(file, parsed, "tool", ""), "forkpoint", "tool.")
    found = _section(file, own, "tool.forkpoint.")
    if file.name == "pyproject.toml":
        return found
    beside = {name: value for name, value in parsed.items() if name != "tool"}
    short = _section(file, beside, "")
    if found is not None and short is not None:
        raise ForkpointError(f"{file} has both [check] and [tool.forkpoint.check]: keep one")
    return short if found is None else found


def _table(file: Path, parent: Mapping[str, Any], name: str, prefix: str) -> dict[str, Any]:
    value = parent.get(name, {})
    if not isinstance(value, dict):
        raise ForkpointError(f"{file}: {prefix}{name} must be a table")
    return value


def _section(file: Path, own: Mapping[str, Any], prefix: str) -> dict[str, Any] | None:
    for name in own:
        if name != "check":
            raise ForkpointError(
                f"{file}: unknown key {prefix}{name} (limits stand under [{prefix}check])"
            )
    return _table(file, own, "check", prefix) if "check" in own else None


def _options(file: Path, table: Mapping[str, Any]) -> CheckOptions:
    known = (*LIMITS, *_OTHER_KEYS)
    values: dict[str, Any] = {}
    for key, value in table.items():
        name = key.replace("_", "-")
        if name not in known:
            raise ForkpointError(f"{file}: unknown key {key} (known: {', '.join(known)})")
        if name in values:
            raise ForkpointError(f"{file}: {key} is there twice, with - and with _")
        problem = _problem(name, value)
        if problem:
            raise ForkpointError(f"{file}: {key} {problem}")
        values[name] = value
    baseline = values.get("baseline")
    regression = values.get(REGRESSION)
    return CheckOptions(
        limits={name: float(values[name]) for name in LIMITS if name in values},
        baseline=None if baseline is None else file.parent / baseline,
        max_regression=None if regression is None else float(regression),
        allow_missing=values.get("allow-missing"),
    )


def _problem(name: str, value: object) -> str | None:
    """What is wrong with a value; ``None``: nothing."""
    if name == "allow-missing":
        return None if isinstance(value, bool) else "must be true or false"
    if name == "baseline":
        return None if isinstance(value, str) and value else "must be the name of a file"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "must be a number"
    return problem_with(name, value)

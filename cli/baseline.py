"""Baselines of ``forkpoint check``: the figures of an earlier run, as one small JSON file.

Figures are written to the last digit, so that the same logs compare as equal.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, TextIO

import msgspec

from forkpoint import __version__
from forkpoint.analysis.check import FIGURES, Measure
from forkpoint.cli.output import write_output
from forkpoint.errors import ForkpointError

FORMAT = 1
"""Raised when a figure changes its meaning."""


class _Measure(msgspec.Struct):
    value: float | None
    unknown: str | None = None


class _Baseline(msgspec.Struct):
    format: int
    figures: dict[str, _Measure]
    forkpoint: str = ""


def write_baseline(measures: Mapping[str, Measure], file: Path) -> None:
    """Write figures to a file, which is whole or left as it was.

    Raises:
        ForkpointError: it cannot be written.
    """
    figures = {
        key: {name: value for name, value in asdict(each).items() if name in ("value", "unknown")}
        for key, each in measures.items()
    }
    document: dict[str, Any] = {"format": FORMAT, "forkpoint": __version__, "figures": figures}
    text = json.dumps(document, indent=2, allow_nan=False) + "\n"

    def render(out: TextIO) -> None:
        out.write(text)

    write_output(render, str(file), force=True)


def read_baseline(file: Path) -> dict[str, Measure]:
    """The figures of an earlier run. Those that this version does not know are left out.

    Raises:
        ForkpointError: there is no such file, or it is no baseline.
    """
    if not file.is_file():
        raise ForkpointError(f"there is no baseline {file}: --write-baseline makes one")
    try:
        found = msgspec.json.decode(file.read_bytes(), type=_Baseline)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ForkpointError(f"{file} is no baseline: {error}") from error
    except OSError as error:
        raise ForkpointError(f"cannot read {file}: {error.strerror}") from error
    if found.format != FORMAT:
        raise ForkpointError(
            f"{file} is a baseline of format {found.format} (forkpoint {found.forkpoint}); this one "
            f"reads format {FORMAT}: write it again with --write-baseline"
        )
    known = {figure.key for figure in FIGURES}
    figures = {
        key: Measure(each.value, each.unknown)
        for key, each in found.figures.items()
        if key in known and each.value is not None
    }
    if not figures:
        raise ForkpointError(f"{file} holds no figure to compare with")
    return figures

"""Run the benchmarks: ``python benchmarks/run.py``; see README.md beside it.

Prints one Markdown table and writes every run to results/, a file per date and time. Progress goes
to stderr. Exit code 1: something does not run, or two answers that must be equal are not.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import agents
import formats
import kvlint
import parsing
import replay
import rollouts
import tokenizing
import trees
import waterfall
from cases import Context, Disagreement, Result
from measure import CommandFailed
from table import document, markdown

RESULTS = Path(__file__).with_name("results")
BENCHMARKS: dict[str, Callable[[Context], list[Result]]] = {
    each.NAME: each.measure for each in (agents, rollouts, parsing, tokenizing, trees, waterfall)
}
_ONLY_BY_NAME = {each.NAME: each.measure for each in (formats, kvlint, replay)}
"""Left out unless named: they take minutes, and `replay` needs an extra."""
_QUICK_SCALE, _QUICK_REPEATS = 0.05, 2


def main() -> int:
    """The command. Returns the exit code."""
    options = _arguments()
    context = Context(
        work=options.work,
        scale=options.scale or (_QUICK_SCALE if options.quick else 1.0),
        repeats=options.repeats or (_QUICK_REPEATS if options.quick else 5),
        logs=options.logs,
        say=lambda message: print(message, file=sys.stderr, flush=True),
    )
    context.work.mkdir(parents=True, exist_ok=True)
    began = datetime.now(UTC)
    results: list[Result] = []
    try:
        for name in options.only:
            results += BENCHMARKS[name](context)
    except (CommandFailed, Disagreement) as error:
        context.say(f"error: {error}")
        return 1
    print(markdown(results))
    described = {"scale": context.scale, "repeats": context.repeats, "only": options.only}
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{began:%Y-%m-%dT%H%M%SZ}.json"
    path.write_text(json.dumps(document(results, began, described), indent=1) + "\n")
    context.say(f"every run: {path}")
    return 0


def _names() -> str:
    alone = ", ".join(_ONLY_BY_NAME)
    return f"which of {', '.join(BENCHMARKS)}; default: all of these; only by name: {alone}"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("only", nargs="*", help=_names())
    parser.add_argument(
        "--quick", action="store_true", help="small corpora, 2 runs: under a minute"
    )
    parser.add_argument("--scale", type=float, help="size of the corpora; 1 is the full size")
    parser.add_argument("--repeats", type=int, help="counted runs of each case; default: 5")
    parser.add_argument(
        "--work", type=Path, default=_work_folder(), help="where corpora, stores and peers lie"
    )
    parser.add_argument(
        "--logs", type=Path, help="a folder with projects/ of Claude Code, for agents and tokens"
    )
    options = parser.parse_args()
    options.only = options.only or list(BENCHMARKS)
    BENCHMARKS.update(_ONLY_BY_NAME)
    for name in options.only:
        if name not in BENCHMARKS:
            parser.error(f"no benchmark {name!r}: choose from {', '.join(BENCHMARKS)}")
    for name in ("scale", "repeats"):
        value = getattr(options, name)
        if value is not None and value <= 0:
            parser.error(f"--{name} must be above 0")
    return options


def _work_folder() -> Path:
    cache = os.environ.get("XDG_CACHE_HOME")
    home = Path(cache) if cache else Path.home() / ".cache"
    return (home if home.is_absolute() else Path(tempfile.gettempdir())) / "forkpoint-benchmarks"


if __name__ == "__main__":
    sys.exit(main())

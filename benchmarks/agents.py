"""Claude Code logs: a cold report, a warm one, and ccusage, which totals the same logs."""

from __future__ import annotations

import math
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cases import Answers, Case, Context, Disagreement, Result, interleave
from corpora import corpus, truth_of

NAME = "agents"
COLD, WARM, PEER = "report, cold", "report, warm", "ccusage 20.0.24"
_PACKAGE = "ccusage@20.0.24"
"""Pinned: some later releases came without their Linux binary."""


def measure(context: Context) -> list[Result]:
    """Time the report and ccusage on the same folder, after checking that they agree.

    Raises:
        Disagreement: one of them does not find what the generator wrote.
    """
    root = context.logs or corpus(NAME, context.work, context.scale)
    truth = None if context.logs else truth_of(root)
    store = context.work / "agents.duckdb"
    cases = _cases(root, store, _ccusage(context))
    results = interleave(cases, context, lambda answers: _check(answers, truth, context))
    n_bytes = cases[0].n_bytes
    for result in results:
        if result.case.name == COLD:
            result.note = f"store: {store.stat().st_size / n_bytes:.1%} of {n_bytes / 1e6:.0f} MB"
    _remove(store)
    return results


def _cases(root: Path, store: Path, ccusage: Path | None) -> list[Case]:
    projects = root / "projects"
    n_bytes = sum(path.stat().st_size for path in projects.rglob("*") if path.is_file())
    report = [sys.executable, "-m", "forkpoint", "report", str(projects)]
    report += ["--store", str(store), "--quiet", "--format", "json"]
    cold = Case(
        NAME, COLD, report, n_bytes, before=lambda: _remove(store), counts=_calls, against=PEER
    )
    warm = Case(NAME, WARM, report, n_bytes, counts=_calls, against=PEER)
    if ccusage is None:
        return [cold, warm]
    totals = [str(ccusage), "claude", "daily", "--offline", "--json"]
    return [cold, Case(NAME, PEER, totals, n_bytes, env={"CLAUDE_CONFIG_DIR": str(root)}), warm]


def _calls(answer: dict[str, Any]) -> dict[str, int]:
    return {"calls": answer["totals"]["calls"]}


def _remove(store: Path) -> None:
    for path in (store, store.with_name(f"{store.name}.wal")):
        path.unlink(missing_ok=True)


def _check(answers: Answers, truth: Mapping[str, Any] | None, context: Context) -> None:
    totals = answers[COLD]["totals"]
    if answers[WARM]["totals"] != totals:
        raise Disagreement("agents: the warm report differs from the cold one")
    if truth is not None:
        _compare("the report", {name: totals[name] for name in truth}, truth)
    if PEER not in answers:
        return
    theirs = answers[PEER]["totals"]
    ours = {
        "inputTokens": totals["uncached_input_tokens"],
        "cacheReadTokens": totals["cache_read_tokens"],
        "cacheCreationTokens": totals["cache_write_tokens"],
        "outputTokens": totals["output_tokens"],
        "totalCost": totals["cost_usd"],
    }
    try:
        _compare("ccusage", {name: theirs[name] for name in ours}, ours)
    except Disagreement as difference:
        # On logs that nobody knows the truth of, either may be right.
        if truth is not None:
            raise
        context.say(str(difference))


def _compare(who: str, found: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    """Counts must be equal; dollars to a millionth part, as sums in another order differ."""
    wrong = [
        f"{name}: {found[name]} instead of {value}"
        for name, value in expected.items()
        if not math.isclose(found[name], value, rel_tol=1e-6 if isinstance(value, float) else 0)
    ]
    if wrong:
        raise Disagreement(f"agents: {who} has {'; '.join(wrong)}")


def _ccusage(context: Context) -> Path | None:
    """The peer's command, installed on first use; ``None``, with a message, where it cannot be."""
    folder = context.work / _PACKAGE.replace("@", "-")
    command = folder / "node_modules" / ".bin" / "ccusage"
    if command.exists():
        return command
    npm = shutil.which("npm")
    if npm is None:
        context.say("agents: no npm here, so ccusage is not measured")
        return None
    folder.mkdir(parents=True, exist_ok=True)
    install = [npm, "install", "--prefix", str(folder), "--no-audit", "--no-fund", _PACKAGE]
    done = subprocess.run(install, capture_output=True, text=True, check=False)
    if done.returncode or not command.exists():
        last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        context.say(f"agents: npm cannot install {_PACKAGE}, so it is not measured ({last})")
        return None
    return command

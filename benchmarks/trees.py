"""Groups of rollouts as trees, from token ids in memory: forkpoint's step, a plain trie, prefixlens."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path
from typing import Any

from cases import IN_PROCESS, Answers, Case, Context, Disagreement, Result, interleave

NAME = "trees"
OURS, TRIE, PEER = "sort, neighbours, forks", "plain trie, a dict per token", "prefixlens 0.1.0"
_TOKENS = (5_600_000, 22_400_000)
_PACKAGE = "prefixlens==0.1.0"
_PEERS = Path(__file__).with_name("peers")


def measure(context: Context) -> list[Result]:
    """Time the tree step on 3,200 rollouts in 200 groups, and on rollouts a quarter as long.

    The trie and prefixlens (a radix tree of blocks of 16 tokens) take so long that they get only
    the short ones.

    Raises:
        Disagreement: the trees are not of the same size.
    """
    few, many = (max(56_000, round(n * context.scale)) for n in _TOKENS)
    large, small = f"{OURS}, {many:,} tokens", f"{OURS}, {few:,} tokens"
    trie, peer = f"{TRIE}, {few:,} tokens", f"{PEER}, {few:,} tokens"
    cases = [
        _case(large, "sort", many),
        _case(small, "sort", few, against=trie),
        _case(trie, "trie", few),
    ]
    python = _installed(context)
    if python is not None:
        cases.append(_case(peer, f"prefixlens:{python}", few, against=trie))

    def check(answers: Answers) -> None:
        for unit, names in (("tree_tokens", (small, trie)), ("tree_blocks", (small, peer))):
            found = {answers[name][unit] for name in names if name in answers}
            if len(found) > 1:
                raise Disagreement(f"trees: {sorted(found)} {unit}")

    results = interleave(cases, context, check)
    (more_s, more_bytes), (less_s, less_bytes) = (_cost(result) for result in results[:2])
    growth = math.log(more_s / less_s) / math.log(many / few)
    per_token = (more_bytes - less_bytes) / (many - few)
    results[0].note = f"time grows as tokens^{growth:.2f}, memory by {per_token:.1f} B a token"
    return results


def _cost(result: Result) -> tuple[float, float]:
    """(CPU seconds, bytes of the whole process, ids included)."""
    seconds, _, _ = result.spread(lambda sample: sample.cpu_s)
    size, _, _ = result.spread(lambda sample: float(sample.largest_bytes))
    return seconds, size


def _case(name: str, how: str, tokens: int, against: str | None = None) -> Case:
    command = [sys.executable, IN_PROCESS, "group-trees", how, str(tokens)]
    return Case(NAME, name, command, inner=True, counts=_tokens, against=against)


def _tokens(answer: dict[str, Any]) -> dict[str, int]:
    return {"tokens": answer["flat_tokens"]}


def _installed(context: Context) -> Path | None:
    """A Python that has the peer, made on first use; ``None``, with a message, where it cannot be."""
    venv = context.work / "prefixlens-venv"
    python = venv / "bin" / "python"
    if python.exists():
        return python
    steps = (
        [sys.executable, "-m", "venv", "--clear", str(venv)],
        [str(python), "-m", "pip", "install", "--quiet", _PACKAGE],
    )
    for step in steps:
        done = subprocess.run(step, capture_output=True, text=True, check=False)
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
            context.say(f"prefixlens: cannot be installed, so it is not measured ({last})")
            return None
    return python

"""The ideal hit rate of rollout requests against kvlint, which computes it from the same file.

Not part of a run without names: kvlint takes about two minutes and 7 GB at full size.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
from cases import Answers, Case, Context, Disagreement, Result, interleave
from corpora import REQUESTS, corpus

from forkpoint.analysis.tokens import DEFAULT_ENCODING, reference

NAME = "kvlint"
OURS, PEER = "report, cold", "kvlint 0.1.1 analyze, sglang"
_PACKAGES = ("kvlint==0.1.1", "transformers==5.23.0", "tiktoken==0.14.0")
_PEERS = Path(__file__).with_name("peers")
"""Scripts that run in the peer's environment, with its libraries."""
_VOCABULARY = Path(__file__).parent.parent / "analysis" / "vocab" / f"{DEFAULT_ENCODING}.tiktoken"


def measure(context: Context) -> list[Result]:
    """Time both on the same requests, in the encoding o200k_base, after checking the hit rate.

    Raises:
        Disagreement: their rates differ.
    """
    folder = corpus("rollouts", context.work, context.scale)
    log = _bare_requests(folder)
    report = [sys.executable, "-m", "forkpoint", "report", str(log)]
    report += ["--store", ":memory:", "--quiet", "--format", "json"]
    cases = [Case(NAME, OURS, report, log.stat().st_size, counts=_tokens, against=PEER)]
    python = _installed(context)
    if python is not None:
        command = [str(python), str(_PEERS / "kvlint_run.py"), str(log)]
        command += [str(context.work / "kvlint-tokenizer")]
        offline = {"HF_HUB_OFFLINE": "1"}
        cases.append(Case(NAME, PEER, command, log.stat().st_size, env=offline, counts=_theirs))
    return interleave(cases, context, _check)


def _bare_requests(folder: Path) -> Path:
    """The corpus's requests without their envelopes, which kvlint does not read; made once."""
    bare = folder / "bare_requests.jsonl"
    if not bare.exists():
        with open(folder / REQUESTS, "rb") as lines, open(bare, "wb") as out:
            out.writelines(
                bytes(msgspec.json.decode(line, type=_Envelope).request) + b"\n" for line in lines
            )
    return bare


class _Envelope(msgspec.Struct):
    request: msgspec.Raw


def _tokens(answer: dict[str, Any]) -> dict[str, int]:
    return {"tokens": answer["prefix_tree"]["flat_tokens"]}


def _theirs(answer: dict[str, Any]) -> dict[str, int]:
    return {"tokens": answer["prompt_tokens"]}


def _check(answers: Answers) -> None:
    """The rates may differ by the line ends that the peer's template adds: far under 0.1 points."""
    ours = answers[OURS]["prefix_tree"]["overlap_ratio"]
    if PEER in answers:
        theirs = answers[PEER]["cached_tokens"] / answers[PEER]["prompt_tokens"]
        if abs(ours - theirs) > 0.001:
            raise Disagreement(f"kvlint: hit rates {ours} and {theirs}")


def _installed(context: Context) -> Path | None:
    """A Python that has the peer, made on first use; ``None``, with a message, where it cannot be."""
    venv = context.work / "kvlint-venv"
    python = venv / "bin" / "python"
    tokenizer = context.work / "kvlint-tokenizer"
    if (tokenizer / "tokenizer.json").exists() and python.exists():
        return python
    pattern = str(reference(DEFAULT_ENCODING)._pat_str)
    make = _PEERS / "kvlint_tokenizer.py"
    steps = (
        [sys.executable, "-m", "venv", "--clear", str(venv)],
        [str(python), "-m", "pip", "install", "--quiet", *_PACKAGES],
        [str(python), str(make), str(_VOCABULARY), pattern, str(tokenizer)],
    )
    for step in steps:
        done = subprocess.run(step, capture_output=True, text=True, check=False)
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
            context.say(f"kvlint: cannot be installed, so it is not measured ({last})")
            return None
    return python

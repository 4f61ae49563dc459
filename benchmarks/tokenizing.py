"""forkpoint's tokenizer against tiktoken, on message text of the agents corpus."""

from __future__ import annotations

import sys
from typing import Any

from cases import IN_PROCESS, Answers, Case, Context, Disagreement, Result, interleave
from corpora import corpus

NAME = "tokens"
OURS, PEER = "forkpoint", "tiktoken"
_BYTES = 20_000_000


def measure(context: Context) -> list[Result]:
    """Time both on the same texts, in the encoding o200k_base.

    Raises:
        Disagreement: their ids differ.
    """
    folder = context.logs or corpus("agents", context.work, context.scale)
    n_bytes = max(1, round(_BYTES * context.scale))
    cases = [
        Case(
            NAME,
            name,
            [sys.executable, IN_PROCESS, "tokens", name, str(n_bytes), str(folder)],
            inner=True,
            counts=_tokens,
            against=against,
        )
        for name, against in ((OURS, PEER), (PEER, None))
    ]
    load_s: dict[str, float] = {}

    def check(answers: Answers) -> None:
        if len({answer["digest"] for answer in answers.values()}) > 1:
            raise Disagreement("tokens: forkpoint and tiktoken do not give the same ids")
        load_s.update({name: answer["load_seconds"] for name, answer in answers.items()})

    results = interleave(cases, context, check)
    for result in results:
        result.note = f"and {load_s[result.case.name]:.2f} s to load the vocabulary"
    return results


def _tokens(answer: dict[str, Any]) -> dict[str, int]:
    return {"tokens": answer["tokens"]}

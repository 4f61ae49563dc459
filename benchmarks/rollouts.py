"""Rollout logs: a cold report on token ids and on texts, and the tree step against a plain trie."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from cases import IN_PROCESS, Answers, Case, Context, Disagreement, Result, interleave
from corpora import REQUESTS, TOKEN_IDS, corpus, truth_of

NAME = "rollouts"
FROM_IDS, FROM_TEXT = "report, cold, token ids", "report, cold, OpenAI messages"
SHARD, SORT, TRIE = "tree: runs of 32 ids, hashed", "tree: sort, neighbours", "tree: plain trie"


def measure(context: Context) -> list[Result]:
    """Time reports on the same rollouts in two formats, and three ways to build their tree.

    Raises:
        Disagreement: the report, the sorted sequences and the trie do not find the same tree.
    """
    folder = corpus(NAME, context.work, context.scale)
    prompt_tokens = truth_of(folder)["prompt_tokens"]
    cases = [
        _report(FROM_IDS, folder / TOKEN_IDS),
        _report(FROM_TEXT, folder / REQUESTS),
        *(
            _tree(name, how, folder / TOKEN_IDS, prompt_tokens)
            for name, how in ((SHARD, "shard"), (SORT, "sort"), (TRIE, "trie"))
        ),
    ]

    def check(answers: Answers) -> None:
        tree = answers[FROM_IDS]["prefix_tree"]
        if tree["flat_tokens"] != prompt_tokens:
            raise Disagreement(f"rollouts: {tree['flat_tokens']} tokens, not {prompt_tokens}")
        found = {tree["tree_tokens"], *(answers[name]["tree_tokens"] for name in (SORT, TRIE))}
        if len(found) > 1:
            raise Disagreement(f"rollouts: trees of {sorted(found)} tokens")

    return interleave(cases, context, check)


def _report(name: str, log: Path) -> Case:
    command = [sys.executable, "-m", "forkpoint", "report", str(log)]
    command += ["--store", ":memory:", "--quiet", "--format", "json"]
    return Case(NAME, name, command, log.stat().st_size, counts=_tokens)


def _tree(name: str, how: str, log: Path, prompt_tokens: int) -> Case:
    return Case(
        NAME,
        name,
        [sys.executable, IN_PROCESS, "tree", how, str(log)],
        inner=True,
        counts=lambda _: {"tokens": prompt_tokens},
        against=None if how == "trie" else TRIE,
    )


def _tokens(answer: dict[str, Any]) -> dict[str, int]:
    return {"tokens": answer["prefix_tree"]["flat_tokens"]}

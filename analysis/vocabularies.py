"""How many tokens a model can sample: the V of entropy bounds (dated data: vocabularies.toml)."""

from __future__ import annotations

import tomllib
from fnmatch import fnmatchcase
from functools import cache
from importlib.resources import files
from typing import NamedTuple


class Vocabulary(NamedTuple):
    """A vocabulary size, and whether it is the model's own."""

    size: int
    known: bool
    """False: the model is not listed; the size is the largest in common use, so that an upper bound
    holds all the same."""


@cache
def _families() -> tuple[int, tuple[tuple[str, int], ...]]:
    data = files("forkpoint.analysis").joinpath("vocabularies.toml").read_text("utf-8")
    parsed = tomllib.loads(data)
    patterns = tuple(
        (pattern, int(family["size"]))
        for family in parsed["family"]
        for pattern in family["models"]
    )
    return int(parsed["default"]), patterns


def vocabulary_of(model: str | None) -> Vocabulary:
    """The vocabulary of a model, by its name as a log states it.

    >>> vocabulary_of("Qwen/Qwen3-8B")
    Vocabulary(size=151936, known=True)
    """
    default, patterns = _families()
    name = (model or "").lower()
    bare = name.rsplit("/", 1)[-1]
    for pattern, size in patterns:
        if fnmatchcase(name, pattern) or fnmatchcase(bare, pattern):
            return Vocabulary(size, known=True)
    return Vocabulary(default, known=False)

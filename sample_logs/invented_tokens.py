"""Stands in for a model and its tokenizer in samples that hold tokens: no model was asked."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable


class Dice:
    """A linear congruential generator, the same on every machine (constants: Knuth's MMIX)."""

    def __init__(self, seed: int) -> None:
        self._state = seed

    def below(self, bound: int) -> int:
        self._state = (self._state * 6364136223846793005 + 1442695040888963407) % 2**64
        return (self._state >> 33) % bound


class Vocabulary:
    """One id a word, given out in the order of first use: `first`, and each `step` after the last.

    `split` says what the words of a text are.
    """

    def __init__(
        self, first: int = 100, step: int = 1, split: Callable[[str], list[str]] = str.split
    ) -> None:
        self._first = first
        self._step = step
        self._split = split
        self._places: dict[str, int] = {}

    def encode(self, text: str) -> list[int]:
        return self.ids(self._split(text))

    def ids(self, words: Iterable[str]) -> list[int]:
        return [
            self._first + self._step * self._places.setdefault(word, len(self._places))
            for word in words
        ]


def pieces(text: str) -> list[str]:
    """Special tokens, and words with the space before them; together they are the text."""
    return re.findall(r"<\|\w+\|>|\s| ?[^\s<]+", text)

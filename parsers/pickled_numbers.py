"""Runs of numbers in pickles, decoded all at once: what lists of tokens and logprobs are made of."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import numpy.typing as npt

NUMBER_RUN = re.compile(rb"(?:K.|M..|J....){8,}+|(?:G.{8}){8,}+", re.DOTALL)
"""Integers of 1, 2 and 4 bytes, or floats, in a row: what lists of tokens are made of."""
_FLOAT_ITEM = np.dtype([("code", "u1"), ("value", ">f8")])
_WIDTHS = np.ones(256, dtype=np.int64)
_WIDTHS[[ord("K"), ord("M"), ord("J")]] = 2, 3, 5
"""Bytes of an integer with its opcode."""


class Items(list[Any]):
    """A list. Numbers that it begins with may be kept as arrays, and are then not in the list."""

    __slots__ = ("_runs",)

    def __init__(self) -> None:
        super().__init__()
        self._runs: list[npt.NDArray[Any]] = []

    @property
    def numbers(self) -> npt.NDArray[Any] | None:
        """The whole list as an array, if it is kept as one."""
        if len(self._runs) > 1:
            self._runs = [np.concatenate(self._runs)]
        return self._runs[0] if self._runs else None

    def add_run(self, run: npt.NDArray[Any]) -> None:
        """Append a run of numbers."""
        if self:
            self.extend(run.tolist())
        else:
            self._runs.append(run)

    def add(self, items: list[Any]) -> None:
        """Append items of any type."""
        numbers = self.numbers
        if numbers is not None:
            self._runs = []
            self.extend(numbers.tolist())
        self.extend(items)


def decoded_run(run: bytes) -> npt.NDArray[Any]:
    """The numbers of a match of `NUMBER_RUN`, as int64 or float64."""
    if run[:1] == b"G":
        return np.frombuffer(run, dtype=_FLOAT_ITEM)["value"].astype(np.float64)
    code = np.frombuffer(run, dtype=np.uint8)
    if len(run) % 2 == 0 and (code[::2] == ord("K")).all():  # a mask: one byte each
        return code[1::2].astype(np.int64)
    at = _item_starts(code)
    padded = np.concatenate((code, np.zeros(4, dtype=np.uint8))).astype(np.int64)
    width = _WIDTHS[code[at]]
    value = padded[at + 1]
    value += (padded[at + 2] << 8) * (width > 2)
    value += ((padded[at + 3] << 16) + (padded[at + 4] << 24)) * (width > 3)
    return np.where(value >= 2**31, value - 2**32, value)


def _item_starts(code: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    """Where the items of a run of integers begin. Each one's length leads to the next; following
    1, 2, 4, … of them at a time takes as many steps as the number of items has bits."""
    n = len(code)
    jump = np.append(np.minimum(np.arange(n) + _WIDTHS[code], n), n)
    at = np.zeros(1, dtype=np.int64)
    while True:
        following = jump[at]
        inside = following[following < n]
        at = np.concatenate((at, inside))
        if len(inside) < len(following):
            return at
        jump = jump[jump]

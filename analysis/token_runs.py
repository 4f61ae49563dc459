"""Columns cut into runs: the tokens of each sequence, the children of each fork.

A column of values and an int array of offsets, shape (runs + 1,): run i is
``values[offsets[i]:offsets[i + 1]]``. Runs may be empty; they lie one after another, without gaps.
"""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from forkpoint.analysis.tree import Floats, Ints

Scalar = TypeVar("Scalar", bound=np.generic)


def check_offsets(n_values: int, offsets: Ints) -> None:
    """Refuse offsets that do not cut `n_values` values into runs.

    Raises:
        ValueError: they do not begin at 0, do not end at `n_values`, or fall.
    """
    if len(offsets) == 0 or offsets[0] != 0 or offsets[-1] != n_values:
        raise ValueError(f"offsets must go from 0 to {n_values}")
    if (np.diff(offsets) < 0).any():
        raise ValueError("offsets fall")


def fold(ufunc: np.ufunc, values: npt.NDArray[Scalar], offsets: Ints, empty: Any) -> Any:
    """Fold `values` of each run with `ufunc`; empty runs become `empty`.

    ``ufunc.reduceat`` alone gives an empty run its neighbour's first value.

    >>> fold(np.add, np.array([1, 2, 4]), np.array([0, 2, 2, 3]), 0)
    array([3, 0, 4])
    """
    check_offsets(len(values), offsets)
    folded = np.full(len(offsets) - 1, empty, dtype=values.dtype)
    filled = np.flatnonzero(np.diff(offsets))
    if len(filled):
        folded[filled] = ufunc.reduceat(values, offsets[filled])
    return folded


def run_of(offsets: Ints) -> Ints:
    """The run that each value belongs to.

    >>> run_of(np.array([0, 2, 2, 3]))
    array([0, 0, 2])
    """
    return np.repeat(np.arange(len(offsets) - 1, dtype=np.int64), np.diff(offsets))


def offsets_of(lengths: Ints) -> Ints:
    """Offsets of runs of these lengths.

    >>> offsets_of(np.array([2, 0, 1]))
    array([0, 2, 2, 3])
    """
    return np.concatenate((np.zeros(1, dtype=np.int64), np.cumsum(lengths, dtype=np.int64)))


def mean_by_run(values: Floats, offsets: Ints) -> Floats:
    """Mean of the known values of each run; NaN where none is known (NaN: unknown)."""
    known = ~np.isnan(values)
    n = fold(np.add, known.astype(np.float64), offsets, 0.0)
    total = fold(np.add, np.where(known, values, 0.0), offsets, 0.0)
    return ratio(total, n)


def ratio(above: Floats, below: Floats) -> Floats:
    """Quotient, NaN where the denominator is 0."""
    quotient: Floats = np.full(len(above), np.nan)
    np.divide(above, below, out=quotient, where=below != 0)
    return quotient

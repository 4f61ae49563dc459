"""Rollouts logged as token ids with a mask: which ids a model sampled, and which it was given.

A multi-turn rollout is one sequence in which sampled runs and the environment's words take turns.
Each run is a call, whose prompt is all that stands before it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from forkpoint.parsers.base import ROOT, Tree
from forkpoint.parsers.logs import Line
from forkpoint.parsers.records import Call, Record, Scores, Trace, Usage

_OUTSIDE = np.array([False])
"""What stands before and behind a mask."""


class Run(NamedTuple):
    """Ids sampled in one go: positions [start, end) of a sequence."""

    start: int
    end: int


class SampledIds(NamedTuple):
    """One rollout's whole sequence, prompts and completions."""

    ids: list[int]
    runs: list[Run]
    """What was sampled, in order."""
    logprobs: Sequence[float | None] | None = None
    """ln p of every id of the sequence; what stands outside the runs is not looked at."""
    text: int | None = None
    """Node where the whole sequence ends as text."""
    texts: Sequence[int | None] = ()
    """Per run, the node where the sequence up to its end stands as text; empty: only `text` is known."""
    text_start: int | None = None
    """Bytes of that text that are the prompt's; see `Call.text_start`."""
    usage: Usage | None = None
    """What the log reports for the rollout. It is a call's only if there is one call."""


def sampled_runs(mask: npt.ArrayLike, start: int = 0) -> list[Run]:
    """Where a mask is not 0.

    Args:
        start: the position in the sequence that the mask's first entry stands for.

    >>> sampled_runs([0, 1, 1, 0, 1], start=10)
    [Run(start=11, end=13), Run(start=14, end=15)]
    """
    sampled = np.asarray(mask).astype(bool, copy=False)
    shown = np.concatenate((_OUTSIDE, sampled, _OUTSIDE))
    edges = np.flatnonzero(shown[1:] != shown[:-1]).tolist()
    edge_pairs = zip(edges[::2], edges[1::2], strict=True)
    return [Run(first + start, end + start) for first, end in edge_pairs]


def rollout_records(
    tree: Tree, sampled: SampledIds, trace: Trace, place: Line, turn: str = ""
) -> Iterator[Record]:
    """The rollout with its leaf, then a call for each run and the logprobs of what it sampled.

    Args:
        turn: begins the calls' names, where the trace has several sequences.

    Raises:
        ValueError: an id is none, or there are not as many logprobs as ids.
    """
    ids, runs, logprobs = sampled.ids, sampled.runs, sampled.logprobs
    if logprobs is not None and len(logprobs) != len(ids):
        raise ValueError(f"{len(logprobs)} logprobs for {len(ids)} tokens")
    leaf = tree.extend_tokens(ROOT, ids)
    yield msgspec.structs.replace(trace, leaf=leaf if ids else None)
    for number, run in enumerate(runs):
        prompt = tree.extend_tokens(ROOT, ids[: run.start])
        whole = run.end == len(ids)
        completion = leaf if whole else tree.extend_tokens(ROOT, ids[: run.end])
        yield Call(
            identity=(trace.id, f"{turn}{number}"),
            trace=trace.id,
            line=place.line,
            offset=place.offset,
            prompt=prompt,
            completion=completion,
            text=sampled.texts[number] if sampled.texts else sampled.text if whole else None,
            text_start=sampled.text_start if whole else None,
            usage=sampled.usage if len(runs) == 1 else None,
        )
        known = None if logprobs is None else _logged(logprobs[run.start : run.end])
        if known is not None:
            yield Scores(
                trace=trace.id,
                line=place.line,
                offset=place.offset,
                prompt=prompt,
                completion=completion,
                tokens=ids[run.start : run.end],
                logprobs=known,
            )


def _logged(logprobs: Sequence[float | None]) -> list[float | None] | None:
    """A run's logprobs; ``None`` if they are all 0, which is how trainers fill in missing ones."""
    if not any(logprobs):
        return None
    # NaN alone is not equal to itself. This takes half the time of asking numpy or `isnan`.
    return [None if value != value else value for value in logprobs]  # noqa: PLR0124

"""Ideal against realized, call by call: what could have been read from a cache, and what was."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from forkpoint.analysis.prompts import Prompts, Reuse, columns, measure_reuse
from forkpoint.analysis.results import Calibration, WorstCall
from forkpoint.analysis.store import Store
from forkpoint.analysis.tree import Flags, Floats, Ints

WORST_CALLS = 10


@dataclass
class Missed:
    """Per call, indexed by `call_no`."""

    ideal: Ints
    """Tokens that an infinite cache would have served; at least what the provider read."""
    read: Ints
    """Tokens that the provider did read from its cache; 0 where it reports none."""
    reported: Flags
    """Calls whose logs state both input and cache reads, 0 included."""
    tokens: Ints
    """ideal - read of reported calls; 0 of others, of which nothing realized is known."""
    gain_usd: Floats
    """USD per token that was paid and could have been read; NaN where not reported or not priced."""
    provider_exceeds: int

    @property
    def usd(self) -> Floats:
        """What reading the missed tokens would have saved; NaN where not reported or not priced."""
        return self.tokens * self.gain_usd

    @property
    def unreported_ideal(self) -> int:
        """Ideal tokens of the calls that report nothing."""
        return int(self.ideal[~self.reported].sum())


def measure_missed(store: Store, prompts: Prompts, reuse: Reuse) -> Missed:
    """Subtract realized from ideal.

    Missed tokens were paid at the call's own mix of uncached and write rates; reading them instead
    would have cost the read rate.
    """
    fetched = store.execute(
        """
        SELECT coalesce(cache_read_tokens, -1)::BIGINT AS read,
               coalesce(paid_rate_usd - cache_read_rate_usd, 'nan'::DOUBLE) AS gain
        FROM scope_calls JOIN scope_costs USING (call_no) ORDER BY call_no
        """
    ).fetchnumpy()
    stated = np.asarray(fetched["read"], dtype=np.int64)
    gain = np.asarray(fetched["gain"], dtype=np.float64)
    reported = (prompts.billed >= 0) & (stated >= 0)
    read = np.where(reported, stated, 0)
    ideal = np.maximum(reuse.tokens, read)
    tokens = np.where(reported, ideal - read, 0)
    return Missed(
        ideal=ideal,
        read=read,
        reported=reported,
        tokens=tokens,
        gain_usd=np.where(reported, gain / 1e6, np.nan),
        provider_exceeds=int((read > reuse.tokens).sum()),
    )


def sum_usd(values: Floats) -> float | None:
    """Sum of what is priced; ``None`` if nothing is."""
    priced = values[~np.isnan(values)]
    return float(priced.sum()) if len(priced) else None


def worst_calls(store: Store, missed: Missed) -> tuple[WorstCall, ...]:
    worth = np.where(np.isnan(missed.usd), 0.0, missed.usd)
    order = np.lexsort((np.arange(len(worth)), -missed.tokens, -worth))[:WORST_CALLS]
    order = order[missed.tokens[order] > 0]
    rows = store.rows(
        """
        WITH timed AS (
            SELECT call_no, lag(started_at) OVER (PARTITION BY trace_id ORDER BY call_no) AS before
            FROM scope_calls
        )
        SELECT call_no, call_id::VARCHAR, path, line, model, started_at,
               epoch(started_at - before), miss_reason
        FROM scope_calls JOIN timed USING (call_no) JOIN scope_sources USING (source_id)
        WHERE call_no IN (SELECT unnest(?))
        """,
        [order.tolist()],
    )
    by_call: dict[int, tuple[Any, ...]] = {row[0]: row[1:] for row in rows}
    found = []
    for call in order.tolist():
        call_id, path, line, model, started_at, idle_s, reason = by_call[call]
        usd = float(missed.usd[call])
        found.append(
            WorstCall(
                call_id=call_id.replace("-", ""),
                path=path,
                line=line,
                model=model,
                started_at=started_at,
                idle_s=idle_s,
                missed_tokens=int(missed.tokens[call]),
                missed_usd=None if np.isnan(usd) else usd,
                miss_reason=reason,
            )
        )
    return tuple(found)


def calibrations(prompts: Prompts) -> tuple[Calibration, ...]:
    fits = prompts.fits
    found = []
    above = prompts.tree.nearest(prompts.anchor >= 0)
    is_first = above[prompts.tree.parent[prompts.prompt]] == 0
    for model, fit in fits.items():
        first = is_first & (prompts.model == model) & ~prompts.counted & (prompts.size >= 0)
        content = prompts.byte_depth[prompts.prompt[first]] * fit.tokens_per_byte
        unlogged = np.median(prompts.size[first] - content) if first.any() else 0
        found.append(
            Calibration(
                model=prompts.models[model] or "(unknown)",
                tokens_per_byte=fit.tokens_per_byte,
                unlogged_tokens=round(float(unlogged)),
                relative_error=fit.relative_error,
                pairs=fit.pairs,
            )
        )
    return tuple(found)


def evidence(store: Store, prompts: Prompts) -> dict[str, Flags]:
    """Which calls' sizes and positions rest on what; each call is in one of the kinds."""
    kinds = columns(
        store,
        """
        SELECT CASE kind WHEN 'block' THEN 0 WHEN 'tokens' THEN 1 ELSE 2 END AS kind
        FROM scope_calls LEFT JOIN scope_nodes ON prompt = node ORDER BY call_no
        """,
    )["kind"]
    billed = prompts.billed >= 0
    partial = billed & ~prompts.counted
    bare = prompts.bare
    return {
        "hashed blocks": prompts.counted & (kinds == 0),
        "token ids": prompts.counted & (kinds == 1),
        "text and usage": prompts.counted & (kinds == 2) & billed,
        "text": prompts.counted & (kinds == 2) & ~billed,
        "usage and partial text": partial & ~bare,
        "usage": bare,
        "none": ~billed & ~prompts.counted,
    }


def count_evidence(evidence: dict[str, Flags], among: Flags) -> dict[str, int]:
    counts = {name: int((flags & among).sum()) for name, flags in evidence.items()}
    return {name: n for name, n in counts.items() if n}


def ideal_reuse(prompts: Prompts) -> Reuse:
    """What an infinite cache of all earlier prompts and completions would have served."""
    return measure_reuse(prompts, prompts.fits, completions=True)


def prompt_reuse(prompts: Prompts) -> Reuse:
    """What earlier prompts alone would have served: the reuse that the overlap ratio states."""
    return measure_reuse(prompts, prompts.fits, completions=False)

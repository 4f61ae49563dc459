"""The few figures of a status line: no waterfall, no forks, no rollouts, so that it is quick."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from forkpoint.analysis.cache import ideal_reuse, measure_missed, sum_usd
from forkpoint.analysis.costs import price_scope
from forkpoint.analysis.prompts import load_prompts
from forkpoint.analysis.scope import Filters, select_scope
from forkpoint.analysis.store import Store
from forkpoint.analysis.totals import measure_totals


@dataclass(frozen=True, slots=True)
class Status:
    """What some calls cost, and what they paid for again."""

    calls: int
    traces: int
    cost_usd: float | None
    """``None``: there are calls, and no price is known of any."""
    unpriced_calls: int
    hit_rate: float | None
    """Cache-read tokens over input tokens, as the providers report them."""
    missed_tokens: int | None
    """Of those calls: sent before, and paid for again. ``None``: no cache reads are logged."""
    missed_usd: float | None


def measure_status(
    store: Store, paths: Sequence[Path], *, filters: Filters, prices: Path | None = None
) -> Status:
    """The figures of the calls at or under `paths`, each against the earlier ones among them.

    Raises:
        ForkpointError: `prices` cannot be used.
    """
    select_scope(store, paths, filters)
    if not store.value("SELECT count(*) FROM scope_calls"):
        return Status(0, 0, 0.0, 0, None, None, None)
    price_scope(store, prices)
    totals, hit_rate, _ = measure_totals(store)
    prompts = load_prompts(store)
    missed = measure_missed(store, prompts, ideal_reuse(prompts))
    known = bool(missed.reported.any())
    return Status(
        calls=totals.calls,
        traces=totals.traces,
        cost_usd=totals.cost_usd if totals.priced_calls else None,
        unpriced_calls=totals.unpriced_calls,
        hit_rate=hit_rate,
        missed_tokens=int(missed.tokens.sum()) if known else None,
        missed_usd=sum_usd(missed.usd) if known else None,
    )

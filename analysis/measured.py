"""What every answer about cost and reuse begins with: the scope, priced, with its prompts and what
became of their tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from forkpoint.analysis.cache import Missed, ideal_reuse, measure_missed
from forkpoint.analysis.costs import price_scope
from forkpoint.analysis.prompts import Prompts, Reuse, load_prompts
from forkpoint.analysis.rules import Rules, load_rules
from forkpoint.analysis.scope import Filters, select_scope
from forkpoint.analysis.store import Store
from forkpoint.analysis.waterfall import Waterfall, measure_waterfall


@dataclass(frozen=True)
class Measured:
    """Calls in scope and their tokens.

    Attributes:
        price_book: names the prices.
        rules: those of the caches.
        reuse: what an infinite cache would have served.
        missed: of that, what was paid for again.
        fall: where it went, level by level.
    """

    price_book: str
    rules: Rules
    prompts: Prompts
    reuse: Reuse
    missed: Missed
    fall: Waterfall


def measure_scope(
    store: Store,
    paths: Sequence[Path],
    filters: Filters,
    prices: Path | None,
    rules: Path | None,
) -> Measured:
    """Select the scope, price it and load it.

    Args:
        paths: absolute; what is there has been ingested.
        prices: a file of prices that go before the built-in ones.
        rules: a file of cache rules that go before the built-in ones.

    Raises:
        ForkpointError: `prices` or `rules` cannot be used.
    """
    known_rules = load_rules(rules)
    select_scope(store, paths, filters)
    book = price_scope(store, prices)
    prompts = load_prompts(store)
    reuse = ideal_reuse(prompts)
    missed = measure_missed(store, prompts, reuse)
    fall = measure_waterfall(store, prompts, missed, known_rules)
    return Measured(book, known_rules, prompts, reuse, missed, fall)

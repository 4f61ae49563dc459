"""Pricing the calls in scope: rates are looked up once per model and kept in the store."""

from __future__ import annotations

import hashlib
from dataclasses import astuple
from importlib.metadata import version
from pathlib import Path

import msgspec

from forkpoint.analysis.pricing import (
    load_overrides,
    newest_price,
    priced_calls_sql,
    rates_for,
)
from forkpoint.analysis.store import Store

_Pair = tuple[str | None, str]

# Fast, priority and flex processing have prices of their own, which the book lists under the
# model's name with a suffix. Anthropic's "priority" is bought capacity at the usual rates.
_PRICED_AS = """
    CASE WHEN service_tier = 'fast' THEN model || '-fast'
         WHEN service_tier IN ('priority', 'flex') AND NOT contains(lower(model), 'claude')
         THEN model || '-' || service_tier
         ELSE model END
"""


def price_scope(store: Store, overrides: Path | None) -> str:
    """Fill the temporary table ``scope_costs``: one row per call in scope.

    Its columns are `call_no`, `cost_usd`, `realized_saving_usd`, the call's rates in USD per million
    tokens (`input_rate_usd`, `cache_read_rate_usd`, `cache_write_rate_usd`,
    `cache_write_1h_rate_usd`, `output_rate_usd`) and `paid_rate_usd`: the mean rate of the input
    that was not read from a cache. All are NULL for a call that cannot be priced.

    Args:
        overrides: a file of prices that go before the book's.

    Returns:
        The price book's name, version and, where any price was looked up, the day of its latest
        change.

    Raises:
        ForkpointError: `overrides` cannot be used.
    """
    store.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE scope_priced_as AS
        SELECT call_no, provider, {_PRICED_AS} AS model, started_at, input_tokens,
               cache_read_tokens, cache_write_tokens, cache_write_1h_tokens, output_tokens, is_sum
        FROM scope_calls
        """
    )
    book = _update_prices(store, overrides)
    newest = store.get_meta("newest_price")
    # Of several requests counted together each is shorter than their sum.
    sizing = "CASE WHEN c.is_sum THEN least(c.input_tokens, 1) ELSE c.input_tokens END"
    priced = priced_calls_sql("scope_priced_as", "prices", sizing=sizing)
    store.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE scope_costs AS
        SELECT call_no, cost_usd, realized_saving_usd,
               input_rate_usd, cache_read_rate_usd, cache_write_rate_usd,
               cache_write_1h_rate_usd, output_rate_usd,
               coalesce(
                   (uncached_usd + cache_write_usd) * 1e6
                       / nullif(input_tokens - coalesce(cache_read_tokens, 0), 0),
                   input_rate_usd
               ) AS paid_rate_usd
        FROM ({priced})
        """
    )
    return f"{book}, changes to {newest}" if newest else book


def _update_prices(store: Store, overrides: Path | None) -> str:
    """See that the table `prices` knows all models in scope, from the book in use."""
    book = f"genai-prices {version('genai-prices')}"
    if overrides is not None:
        content = overrides.read_bytes() if overrides.is_file() else b""
        book += f" with {overrides} ({hashlib.sha256(content).hexdigest()[:8]})"
    wanted: set[_Pair] = set(
        store.rows("SELECT DISTINCT provider, model FROM scope_priced_as WHERE model IS NOT NULL")
    )
    known = _looked_up(store) if store.get_meta("price_book") == book else set()
    if wanted <= known:
        return book
    pairs = sorted(wanted | known, key=lambda pair: (pair[1], pair[0] or ""))
    rates, _ = rates_for(pairs, load_overrides(overrides) if overrides is not None else ())
    with store.transaction():
        store.insert_prices(astuple(rate) for rate in rates)
        store.set_meta("price_book", book)
        newest = newest_price()
        store.set_meta("newest_price", "" if newest is None else newest.isoformat())
        store.set_meta("priced_models", msgspec.json.encode(pairs).decode())
    return book


def _looked_up(store: Store) -> set[_Pair]:
    """Models already looked up, with or without success."""
    stored = store.get_meta("priced_models")
    return set() if stored is None else set(msgspec.json.decode(stored, type=list[_Pair]))

"""The savings ledger: one row per mechanism, each on what the rows before it leave."""

from __future__ import annotations

from forkpoint.analysis.cache import Missed, sum_usd
from forkpoint.analysis.results import LedgerRow, Rollouts, Savings, Totals
from forkpoint.analysis.store import Store


def measure_savings(
    store: Store, totals: Totals, missed: Missed, rollouts: Rollouts, evidence: dict[str, int]
) -> Savings:
    """The ledger of the scope. Further mechanisms append rows here."""
    ledger = (
        _prompt_caching(store, totals, missed, evidence),
        _tree_sampling(store, rollouts),
    )
    return Savings(
        realized_tokens=sum(row.realized_tokens or 0 for row in ledger),
        realized_usd=_sum(row.realized_usd for row in ledger),
        potential_tokens=sum(row.potential_tokens or 0 for row in ledger),
        potential_usd=_sum(row.potential_usd for row in ledger),
        ledger=ledger,
    )


def _sum(values: object) -> float | None:
    known = [each for each in values if each is not None]  # type: ignore[attr-defined]
    return sum(known) if known else None


def _prompt_caching(
    store: Store, totals: Totals, missed: Missed, evidence: dict[str, int]
) -> LedgerRow:
    """Realized: cache reads, less the premium paid for writes (negative: caching cost more than it
    saved). Potential: what an infinite cache would have read beside that."""
    if not totals.calls:
        return LedgerRow("prompt caching", None, None, None, None, None, "", "calls")
    realized_usd = store.value(
        "SELECT sum(realized_saving_usd::DECIMAL(28, 12))::DOUBLE FROM scope_costs"
    )
    reported = bool(missed.reported.any())
    silent = int((~missed.reported).sum())
    return LedgerRow(
        mechanism="prompt caching",
        potential_tokens=int(missed.tokens.sum()) + missed.unreported_ideal,
        realized_tokens=int(missed.read.sum()) if reported else None,
        potential_usd=sum_usd(missed.usd),
        realized_usd=realized_usd if reported else None,
        standalone_tokens=int(missed.ideal.sum()),
        evidence=", ".join(f"{name}: {n} calls" for name, n in evidence.items()),
        needs=f"cache reads in the usage of {silent} calls" if silent else None,
    )


def _tree_sampling(store: Store, rollouts: Rollouts) -> LedgerRow:
    """Tokens that several rollouts of a group generated alike, one by one: a tree samples them once
    (Tree-GRPO, arXiv:2509.21240). Shared prompts are prefill and count under prompt caching."""
    if not rollouts.rollouts:
        return LedgerRow(
            "tree sampling", None, None, None, None, None, "", "groups of rollouts of one prompt"
        )
    if not rollouts.flat_tokens:
        return LedgerRow(
            "tree sampling", None, None, None, None, None, "rewards only", "text or token ids"
        )
    rate = store.value(
        "SELECT avg(output_rate_usd::DECIMAL(28, 12))::DOUBLE FROM scope_costs "
        "JOIN scope_calls USING (call_no) WHERE group_id IS NOT NULL"
    )
    shared = rollouts.generated_shared_tokens
    return LedgerRow(
        mechanism="tree sampling",
        potential_tokens=shared,
        realized_tokens=0,
        potential_usd=None if rate is None else shared * rate / 1e6,
        realized_usd=None if rate is None else 0.0,
        standalone_tokens=rollouts.flat_tokens - rollouts.tree_tokens,
        evidence=f"{rollouts.rollouts} rollouts in {rollouts.groups} groups",
        needs=None if rate is not None else "a priced model, for dollars",
    )

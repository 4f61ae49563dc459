"""The savings ledger: one row per mechanism, each on what the rows before it leave."""

from __future__ import annotations

from math import exp

from forkpoint.analysis.cache import Missed, sum_usd
from forkpoint.analysis.replay_store import select_completions
from forkpoint.analysis.results import LedgerRow, Rollouts, Savings, Totals
from forkpoint.analysis.store import Store
from forkpoint.analysis.token_entropy import ScoredTokens


def measure_savings(
    store: Store,
    totals: Totals,
    missed: Missed,
    rollouts: Rollouts,
    scored: ScoredTokens | None,
    evidence: dict[str, int],
) -> Savings:
    """The ledger of the scope. Further mechanisms append rows here.

    Importance pruning and entropy patching need a model trained for them, which no user of the logged
    one can choose: they state what they would save alone, and are in no sum.
    """
    ledger = (
        _prompt_caching(store, totals, missed, evidence),
        _tree_sampling(store, rollouts),
        _importance_pruning(store),
        _entropy_patching(scored),
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


def _importance_pruning(store: Store) -> LedgerRow:
    """Tokens of chains that can go while their answers stay as likely (arXiv:2601.03066), as far as
    a replay measured it; of several prunings of a completion, the latest."""
    select_completions(store)
    completions, tokens, chains, models, losses = store.rows(
        """
        WITH latest AS (
            SELECT prompt, completion,
                   arg_max(pruning_id, (pruned_at, pruning_id)) AS pruning_id
            FROM pruned_chains SEMI JOIN scope_completions USING (prompt, completion)
            GROUP BY ALL
        ), gone AS (
            SELECT pruning_id, count(*) FILTER (deleted_in > 0) AS n
            FROM pruned_tokens SEMI JOIN latest USING (pruning_id) GROUP BY ALL
        )
        SELECT count(*), sum(gone.n)::BIGINT, sum(chain_tokens)::BIGINT,
               list(DISTINCT model ORDER BY model), list(DISTINCT loss_nats ORDER BY loss_nats)
        FROM scope_completions JOIN latest USING (prompt, completion)
        JOIN gone USING (pruning_id) JOIN pruned_chains USING (pruning_id)
        JOIN replays USING (replay_id)
        """
    )[0]
    if not completions:
        return LedgerRow(
            "importance pruning", None, None, None, None, None, "", "forkpoint replay --prune"
        )
    least = exp(-max(losses))
    return LedgerRow(
        mechanism="importance pruning",
        potential_tokens=None,
        realized_tokens=None,
        potential_usd=None,
        realized_usd=None,
        standalone_tokens=tokens,
        evidence=(
            f"of {chains} tokens before the answers of {completions} completions; "
            f"to {', '.join(models)} answers stay at least {least:.2g} times as likely"
        ),
        needs="a model trained on pruned chains",
    )


def _entropy_patching(scored: ScoredTokens | None) -> LedgerRow:
    """Tokens beyond the first of each patch, which a model of patches (BLT, arXiv:2412.09871) would
    not decode one by one: as few as the bounds of entropies leave certain."""
    threshold = None if scored is None else scored.threshold.value
    if scored is None or scored.patches is None or threshold is None:
        return LedgerRow(
            "entropy patching", None, None, None, None, None, "", "logprobs, or forkpoint replay"
        )
    patches = scored.patches
    replayed = f", {scored.replayed_tokens} replayed" if scored.replayed_tokens else ""
    return LedgerRow(
        mechanism="entropy patching",
        potential_tokens=None,
        realized_tokens=None,
        potential_usd=None,
        realized_usd=None,
        standalone_tokens=len(scored) - patches.most,
        evidence=(
            f"{len(scored)} tokens{replayed} in {patches.least} to {patches.most} patches, "
            f"cut where entropy reaches {threshold:.3g} nats"
        ),
        needs="a model that decodes patches",
    )

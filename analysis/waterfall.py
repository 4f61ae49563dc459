"""All cache figures of a scope, put together: levels, causes, worst calls and what they rest on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from forkpoint.analysis.cache import (
    Missed,
    calibrations,
    count_evidence,
    evidence,
    sum_usd,
    worst_calls,
)
from forkpoint.analysis.causes import (
    Loss,
    attribute,
    policy_hit_rate,
    summarize,
    unknown_share,
    waterfall,
)
from forkpoint.analysis.policy import CallFacts, Levels, load_facts, measure_levels
from forkpoint.analysis.prompts import Prompts, Reuse
from forkpoint.analysis.results import Cache
from forkpoint.analysis.rules import Rules
from forkpoint.analysis.store import Store


@dataclass
class Waterfall:
    """What each call lost at which step, and why. Arrays by `call_no`."""

    facts: CallFacts
    levels: Levels
    losses: list[Loss]


def measure_waterfall(store: Store, prompts: Prompts, missed: Missed, rules: Rules) -> Waterfall:
    """Hold every call in scope against the rules of its provider."""
    facts = load_facts(store, rules)
    levels = measure_levels(prompts, facts, missed, prompts.fits)
    return Waterfall(facts, levels, attribute(store, prompts, facts, missed, levels))


def measure_cache(
    store: Store,
    prompts: Prompts,
    reuse: Reuse,
    missed: Missed,
    fall: Waterfall,
    hit_rate: float | None,
    read_share: float | None,
) -> Cache:
    """All cache figures of the scope."""
    sized = prompts.size >= 0
    total = int(prompts.size[sized].sum())
    reported_total = int(prompts.size[missed.reported].sum())
    ideal = int(missed.ideal.sum())
    found = evidence(store, prompts)
    return Cache(
        hit_rate=hit_rate,
        cache_read_share=read_share,
        ideal_hit_rate=ideal / total if total else None,
        policy_hit_rate=policy_hit_rate(prompts, fall.levels),
        waterfall=waterfall(prompts, missed, fall.levels),
        misses_by_cause=summarize(fall.losses, missed),
        unknown_share=unknown_share(fall.losses, missed),
        ideal_tokens=ideal,
        input_tokens=total,
        read_tokens=int(missed.read.sum()),
        missed_tokens=int(missed.tokens.sum()),
        missed_usd=sum_usd(missed.usd),
        provider_exceeds_calls=missed.provider_exceeds,
        shrunk_calls=reuse.shrunk,
        unsized_calls=int((~sized).sum()),
        worst_calls=worst_calls(store, missed),
        calibrations=calibrations(prompts),
        evidence=count_evidence(found, np.ones_like(sized)),
        reported_evidence=count_evidence(found, missed.reported),
        reported_ideal_hit_rate=(
            int(missed.ideal[missed.reported].sum()) / reported_total if reported_total else None
        ),
        unreported_calls=int((sized & ~missed.reported).sum()),
        unreported_ideal_tokens=missed.unreported_ideal,
    )

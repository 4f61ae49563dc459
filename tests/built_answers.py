"""Parts of answers as analysis gives them, where `text` takes the place of all that logs decide."""

from __future__ import annotations

from datetime import UTC, datetime

from forkpoint.analysis.entropy import Agreement, DifficultyBin, DifficultyCurve, HighRuns, Patches
from forkpoint.analysis.entropy_results import (
    Entropy,
    EntropyWindow,
    ForkToken,
    RankedToken,
    ScoredModel,
    UnlikelyTokens,
)
from forkpoint.analysis.results import Provenance, WorstCall

HOSTILE = "\x1b[31m[bold]|<script>alert(1)</script>\r\n=1+1\u202e\u200b`x`\ud800 http://a.b @me"
TEXTS = [None, HOSTILE, "長い名前" * 40, "x" * 5000]


def a_provenance(
    text: str | None = None, price_book: str | None = "2026-11-01", *, dated: bool = True
) -> Provenance:
    return Provenance(
        version="0.0.0",
        paths=(text or "/logs/app",),
        encoding="o200k_base",
        price_book=price_book,
        first_call=datetime(2026, 7, 1, 8, 0, tzinfo=UTC) if dated else None,
        last_call=datetime(2026, 7, 24, 23, 59, tzinfo=UTC) if dated else None,
        filters={"model": text} if text else {},
    )


def worst_calls(
    text: str | None, ids: str, missed_tokens: int, usd: float, reason: str = "tools_changed"
) -> tuple[WorstCall, ...]:
    """Five calls. `ids` formats the number of one; the others missed less than the first."""
    return tuple(
        WorstCall(
            call_id=ids.format(n),
            path=f"{text or '/logs/app'}/session-{n}.jsonl",
            line=100 + n,
            model=text or "claude-opus-4-7",
            started_at=datetime(2026, 7, 1 + n, 9, 30, tzinfo=UTC),
            idle_s=None if n == 0 else 400.0 * n,
            missed_tokens=missed_tokens - n,
            missed_usd=usd / (n + 1),
            miss_reason=text or reason,
        )
        for n in range(5)
    )


def an_entropy(text: str | None = None) -> Entropy:
    """Figures as analysis gives them; `text` takes the place of every text that logs decide."""
    path = text or "/logs/app/run.jsonl"
    ranked = tuple(
        RankedToken(text or f" so{n}", path, 8 + n, 71, 12.5 - n, -2.65 + 5 * n, 4.72)
        for n in range(5)
    )
    return Entropy(
        tokens=10_000,
        unknown_tokens=12,
        completions=48,
        models=(ScoredModel(text or "house-7b", 10_012, 262_208, False),),
        whole_tokens=4_000,
        top_k_tokens=5_000,
        sampled_only_tokens=1_000,
        threshold_nats=0.8812,
        threshold_low_nats=0.7,
        threshold_high_nats=1.25,
        threshold_is_absolute=False,
        top_share=0.2,
        fork=1_500,
        not_fork=7_500,
        undecided=1_000,
        mean_lower_nats=0.31,
        mean_upper_nats=0.46,
        mean_surprisal_nats=0.39,
        top_mass_share=0.8123,
        profile_nats=(0.9, 0.7, 0.5, 0.4, None, 0.3, 0.3, 0.3, 0.2, 0.1),
        windows=(EntropyWindow(path, 46, 1_024, 64, 3.53),),
        fork_tokens=(
            ForkToken(text or " so", 17, 52),
            ForkToken("#253", 12, 52),
            ForkToken(None, 9, 9),
        ),
        mean_bits=310.4,
        mean_rounds_in_order=15.3,
        mean_rounds_any_order=20.5,
        mean_tokens=208.3,
        runs=HighRuns({3: 2, 1: 4}, 3, 10, 50),
        difficulty=DifficultyCurve(
            (DifficultyBin(0.0, 0.125, 3, 0.61), DifficultyBin(0.5, 0.5, 3, 0.42)),
            6,
            2.1,
            0.4,
            0.44,
            True,
        ),
        agreement=Agreement(positions=63, high=12, divergences=18, both=9),
        decisive=ranked,
        sparks=UnlikelyTokens(8.3e-05, 14, 0.143, 0.443, ranked[:2]),
        patches=Patches(2_010, 1_540, 2_600, 4.98, 61),
    )

"""Real public logs against figures that an independent script computed (FACTS.json)."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import genai_prices
import pytest

from forkpoint.analysis.ingest import ingest
from forkpoint.analysis.ingest_worker import Options
from forkpoint.analysis.report import build_report
from forkpoint.analysis.results import Report
from forkpoint.analysis.store import MEMORY, Store
from forkpoint.analysis.tokens import DEFAULT_ENCODING

pytestmark = pytest.mark.real

OPTIONS = Options(DEFAULT_ENCODING)


@pytest.fixture(scope="module")
def facts(real_logs: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((real_logs / "FACTS.json").read_text())
    return found


@pytest.fixture(scope="module")
def store(real_logs: Path) -> Store:
    """All folders this version has parsers for, in one store."""
    store = Store.open(MEMORY, encoding=DEFAULT_ENCODING)
    folders = ("claude-code", "codex", "llm-call-jsonl", "tau-bench", "serving-trace/mooncake")
    ingest(store, [real_logs / each for each in folders], OPTIONS)
    return store


def report_on(store: Store, *paths: Path) -> Report:
    report = build_report(store, paths)
    check_ratios(report)
    return report


def check_ratios(report: Report) -> None:
    ratios = [
        report.cache.hit_rate,
        report.cache.cache_read_share,
        report.cache.ideal_hit_rate,
        report.prefix_tree.overlap_ratio,
        report.rollouts.overlap_ratio,
        report.rollouts.mean_reward,
    ]
    assert all(ratio is None or 0 <= ratio <= 1 for ratio in ratios)
    assert 0 <= report.cache.read_tokens <= report.cache.ideal_tokens <= report.cache.input_tokens


def test_claude_code_totals_are_exact(store: Store, real_logs: Path) -> None:
    totals = report_on(store, real_logs / "claude-code").totals
    assert totals.calls == 780
    assert totals.uncached_input_tokens == 9_036
    assert totals.cache_read_tokens == 50_586_956
    assert totals.cache_write_tokens == 2_427_209
    assert totals.cache_write_1h_tokens == 1_010_647
    assert totals.cache_write_5m_tokens == 2_427_209 - 1_010_647
    assert totals.output_tokens == 365_208
    assert totals.input_tokens == 9_036 + 50_586_956 + 2_427_209


def test_each_claude_code_file_agrees_on_its_own(
    store: Store, real_logs: Path, facts: dict[str, Any]
) -> None:
    for name, fact in facts["claude_code_files"].items():
        totals = report_on(store, real_logs / name).totals
        usage = fact["dedup_last"]
        assert totals.calls == fact["llm_calls"], name
        assert totals.uncached_input_tokens == usage["input"], name
        assert totals.cache_read_tokens == usage["read"], name
        assert totals.cache_write_5m_tokens == usage["w5m"], name
        assert totals.cache_write_1h_tokens == usage["w1h"], name
        assert totals.output_tokens == usage["output"], name


def test_each_claude_code_folder_counts_a_call_of_several_files_once(
    store: Store, real_logs: Path, facts: dict[str, Any]
) -> None:
    for name, fact in facts["claude_code_summary"].items():
        report = report_on(store, real_logs / "claude-code" / name)
        usage = fact["global_dedup_usage_max_output"]
        assert report.sources.files == fact["files"]
        assert report.totals.calls == fact["global_unique_calls"]
        assert report.totals.uncached_input_tokens == usage["input"]
        assert report.totals.cache_read_tokens == usage["read"]
        assert report.totals.cache_write_tokens == usage["write"]
        assert report.totals.cache_write_5m_tokens == usage["w5m"]
        assert report.totals.cache_write_1h_tokens == usage["w1h"]
        assert report.totals.output_tokens == usage["output"]


def test_each_claude_code_file_has_the_known_models_times_and_hit_rate(
    store: Store, real_logs: Path, facts: dict[str, Any]
) -> None:
    for name, fact in facts["claude_code_files"].items():
        report = report_on(store, real_logs / name)
        assert report.cache.hit_rate == pytest.approx(fact["cache_read_ratio"], abs=1e-6), name
        assert report.sources.issues == fact["bad_lines"] == 0
        models, first, last, sidechains = store.rows(
            """
            SELECT list(DISTINCT model), min(started_at), max(started_at), count_if(sidechain)
            FROM scope_calls
            """
        )[0]
        assert set(models) == set(fact["models"])
        assert fact["first_ts"] <= stamp(first) <= stamp(last) <= fact["last_ts"]
        assert (sidechains > 0) == (fact["sidechain_lines"] > 0)


def stamp(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def test_claude_code_cost_equals_pricing_each_call_by_itself(store: Store, real_logs: Path) -> None:
    totals = report_on(store, real_logs / "claude-code").totals
    rows = store.rows(
        """
        SELECT model, started_at, input_tokens, cache_read_tokens, cache_write_tokens,
               cache_write_1h_tokens, output_tokens
        FROM unique_calls WHERE format = 'claude-code'
        """
    )
    expected = Decimal(0)
    for model, started_at, input_tokens, read, write, write_1h, output in rows:
        usage = genai_prices.Usage(
            input_tokens=input_tokens,
            cache_read_tokens=read,
            cache_write_tokens=write,
            cache_write_1h_tokens=write_1h or 0,
            output_tokens=output,
        )
        priced = genai_prices.calc_price(
            usage, model, provider_id="anthropic", genai_request_timestamp=started_at
        )
        expected += priced.total_price
    assert totals.priced_calls == 780
    assert totals.cost_usd == pytest.approx(float(expected), abs=1e-6)
    assert round(totals.cost_usd, 2) == 51.55


def test_reading_the_same_folder_again_changes_nothing(real_logs: Path) -> None:
    folder = real_logs / "claude-code"
    with Store.open(MEMORY, encoding=DEFAULT_ENCODING) as store:
        ingest(store, [folder], OPTIONS)
        first = asdict(build_report(store, [folder]))
        again = ingest(store, [folder], OPTIONS)
        assert (again.files, again.calls) == (0, 0)
        assert asdict(build_report(store, [folder])) == first


def test_codex_totals_are_exact(store: Store, real_logs: Path) -> None:
    totals = report_on(store, real_logs / "codex").totals
    assert totals.traces == 4
    assert totals.calls == 258
    assert totals.input_tokens == 31_070_180
    assert totals.cache_read_tokens == 30_437_888
    assert totals.output_tokens == 89_323
    assert totals.reasoning_tokens == 35_510


def test_each_codex_file_agrees_on_its_own(
    store: Store, real_logs: Path, facts: dict[str, Any]
) -> None:
    files = {name: fact for name, fact in facts["codex"].items() if name.endswith(".jsonl")}
    for name, fact in (files or facts["codex"]).items():
        totals = report_on(store, real_logs / name).totals
        usage = fact["sum_last_token_usage"]
        assert totals.calls == fact["distinct_calls"], name
        assert totals.input_tokens == usage["input_tokens"], name
        assert totals.cache_read_tokens == usage["cached_input_tokens"], name
        assert totals.output_tokens == usage["output_tokens"], name


def test_snapshots_of_one_codex_thread_count_as_its_longest(
    store: Store, real_logs: Path, facts: dict[str, Any]
) -> None:
    fact = facts["codex_summary"]
    report = report_on(store, real_logs / "codex")
    usage = fact["usage_longest_snapshot_per_session"]
    totals = report.totals
    assert report.sources.files == fact["files"]
    assert totals.traces == fact["sessions"]
    assert totals.calls == fact["calls_longest_snapshot_per_session"]
    assert totals.input_tokens == usage["input_tokens"]
    assert totals.cache_read_tokens == usage["cached_input_tokens"]
    assert totals.output_tokens == usage["output_tokens"]
    assert totals.reasoning_tokens == usage["reasoning_output_tokens"]
    assert (totals.input_tokens or 0) + (totals.output_tokens or 0) == usage["total_tokens"]


def test_each_codex_file_has_the_known_models_and_hit_rate(
    store: Store, real_logs: Path, facts: dict[str, Any]
) -> None:
    for name, fact in facts["codex"].items():
        report = report_on(store, real_logs / name)
        assert report.sources.issues == fact["bad_lines"] == 0
        assert report.cache.hit_rate == pytest.approx(fact["cached_ratio"], abs=1e-6), name
        # Each sum equals the newest running total, so no repeated event counts twice.
        final = fact["final_total_token_usage"]
        assert fact["sum_equals_final"]
        assert report.totals.input_tokens == final["input_tokens"]
        assert report.totals.reasoning_tokens == final["reasoning_output_tokens"]
        models = store.rows("SELECT DISTINCT model FROM scope_calls")
        assert {model for (model,) in models} == set(fact["models"])


def test_mooncake_blocks_are_exact(store: Store, real_logs: Path, facts: dict[str, Any]) -> None:
    (fact,) = facts["mooncake"].values()
    folder = real_logs / "serving-trace" / "mooncake"
    report = report_on(store, folder)
    assert report.totals.calls == 3_993
    assert report.totals.input_tokens == 61_194_628
    assert report.totals.output_tokens == 595_432
    assert report.prefix_tree.flat_tokens == 61_194_628
    blocks, unique = store.rows(
        """
        WITH RECURSIVE paths AS (
            SELECT node, parent FROM scope_calls JOIN nodes ON prompt = node
            UNION ALL
            SELECT nodes.node, nodes.parent FROM paths JOIN nodes ON paths.parent = nodes.node
        )
        SELECT count(*), count(DISTINCT node) FROM paths
        """
    )[0]
    assert (blocks, unique) == (121_877, 43_924)
    assert blocks - unique == fact["prefix_hit_blocks"]
    assert round(1 - unique / blocks, 6) == fact["infinite_cache_block_hit_rate"]
    assert round(1 - unique / blocks, 6) == 0.639604
    # The token rate that published analyses of this trace give: whole blocks but each last one.
    assert report.cache.ideal_hit_rate == pytest.approx(0.6512, abs=5e-5)
    assert report.prefix_tree.overlap_ratio == report.cache.ideal_hit_rate


def test_tau_bench_rewards_are_exact(store: Store, real_logs: Path, facts: dict[str, Any]) -> None:
    report = report_on(store, real_logs / "tau-bench")
    fact = facts["tau_bench"]["tau-bench/sierra/gpt-4o-airline.json"]
    assert (report.rollouts.groups, report.rollouts.rollouts) == (50, 200)
    assert report.rollouts.mean_reward == pytest.approx(0.42, abs=1e-12)
    expected = {int(k): pytest.approx(v, abs=1e-6) for k, v in fact["pass_hat"].items()}
    assert report.rollouts.pass_hat == expected
    assert report.totals.calls == fact["assistant_msgs"]
    assert 0 < report.rollouts.tree_tokens < report.rollouts.flat_tokens


def test_llm_call_logs_share_what_their_sessions_repeat(store: Store, real_logs: Path) -> None:
    report = report_on(store, real_logs / "llm-call-jsonl" / "lmcache-miniswe")
    assert report.cache.hit_rate is None
    assert report.cache.evidence == {"text": report.totals.calls}
    assert report.cache.ideal_hit_rate is not None
    assert report.cache.ideal_hit_rate > 0.8


def test_growth_from_call_to_call_is_fitted_to_the_bill(store: Store, real_logs: Path) -> None:
    cache = report_on(store, real_logs / "claude-code").cache
    assert cache.evidence == {"usage and partial text": 780}
    for fit in cache.calibrations:
        assert 0.05 < fit.tokens_per_byte < 1.0, fit
        assert fit.unlogged_tokens > 5_000, fit
        assert fit.relative_error < 0.5, fit

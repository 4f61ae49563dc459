"""Simulated prefix caches: against plain ones that are written out, known figures, and by command."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

from forkpoint.analysis.blocks import Blocks, TokenTree, cut_into_blocks
from forkpoint.analysis.cache_policy import CachePolicy, Capacity, EngineRule, Eviction, Unit
from forkpoint.analysis.ingest import ingest
from forkpoint.analysis.ingest_worker import Options
from forkpoint.analysis.kv_shapes import KV_SHAPES
from forkpoint.analysis.report import build_prefixes
from forkpoint.analysis.results import HitRates, Simulation
from forkpoint.analysis.scope import Filters
from forkpoint.analysis.simulate import Replay, build_simulation, weight_above
from forkpoint.analysis.store import MEMORY, Store
from forkpoint.analysis.tokens import DEFAULT_ENCODING
from forkpoint.cli.main import app
from forkpoint.cli.simulate import parse_capacity, parse_model_shape, parse_ttl
from forkpoint.errors import ForkpointError

Tokens = tuple[int, ...]
EXAMPLES = settings(max_examples=settings().max_examples * 2)

# Few symbols, so that prompts share beginnings and part anywhere.
PROMPTS = st.lists(st.lists(st.integers(0, 1), max_size=9).map(tuple), min_size=1, max_size=14)
STEPS = st.lists(st.integers(0, 3), min_size=14, max_size=14)
BLOCK_SIZES = st.integers(1, 4)
CAPACITIES = st.integers(1, 12)
RULES = st.sampled_from(list(EngineRule))


def tree_of(prompts: Sequence[Tokens]) -> TokenTree:
    """A tree of single tokens."""
    nodes: dict[Tokens, int] = {(): 0}
    parent, end = [0], [0]
    for prompt in prompts:
        for n in range(1, len(prompt) + 1):
            if prompt[:n] not in nodes:
                nodes[prompt[:n]] = len(parent)
                parent.append(nodes[prompt[: n - 1]])
                end.append(n)
    ends = np.array([nodes[prompt] for prompt in prompts], dtype=np.int64)
    size = np.array([len(prompt) for prompt in prompts], dtype=np.int64)
    return TokenTree(np.array(parent), np.array(end), ends, size)


def replay_of(
    prompts: Sequence[Tokens], block_size: int, policy: CachePolicy, seconds: Sequence[int] = ()
) -> Replay:
    whole_only = policy.engine_rule is not EngineRule.NONE
    blocks = cut_into_blocks(tree_of(prompts), block_size, whole_only=whole_only)
    return Replay(blocks, np.array(seconds, dtype=np.int64) * 1_000_000, policy)


class PlainCache:
    """Blocks named by all tokens up to their end, one use at a time."""

    def __init__(self, block_size: int, rule: EngineRule) -> None:
        self.block_size = block_size
        self.rule = rule
        self.kept: OrderedDict[Tokens, float] = OrderedDict()

    def blocks(self, prompt: Tokens) -> list[Tokens]:
        ends = list(range(self.block_size, len(prompt) + 1, self.block_size))
        if len(prompt) % self.block_size and self.rule is EngineRule.NONE:
            ends.append(len(prompt))
        return [prompt[:end] for end in ends]

    def has(self, block: Tokens, now: float) -> bool:
        return block in self.kept

    def use(self, wanted: list[Tokens], present: set[Tokens], now: float) -> None:
        for block in reversed(wanted):
            self.kept[block] = now

    def request(self, prompt: Tokens, now: float) -> int:
        """Hit tokens of one prompt, which then fills the cache."""
        wanted = self.blocks(prompt)
        present = {block for block in wanted if self.has(block, now)}
        hit = 0
        for block in wanted:
            if block not in present or (
                self.rule is not EngineRule.NONE and len(block) > len(prompt) - 1
            ):
                break
            hit = len(block)
        self.use(wanted, present, now)
        return hit


class PlainLru(PlainCache):
    def __init__(self, block_size: int, rule: EngineRule, capacity: int) -> None:
        super().__init__(block_size, rule)
        self.capacity = capacity

    def use(self, wanted: list[Tokens], present: set[Tokens], now: float) -> None:
        for block in reversed(wanted):
            self.kept[block] = now
            self.kept.move_to_end(block)
            if len(self.kept) > self.capacity:
                self.kept.popitem(last=False)


class PlainFifo(PlainLru):
    def use(self, wanted: list[Tokens], present: set[Tokens], now: float) -> None:
        for block in reversed(wanted):
            if block not in present:
                self.kept[block] = now
                if len(self.kept) > self.capacity:
                    self.kept.popitem(last=False)


class PlainTtl(PlainCache):
    def __init__(self, block_size: int, rule: EngineRule, ttl_s: float) -> None:
        super().__init__(block_size, rule)
        self.ttl_s = ttl_s

    def has(self, block: Tokens, now: float) -> bool:
        return block in self.kept and now - self.kept[block] <= self.ttl_s


def hit_tokens(replay: Replay, eviction: Eviction, capacity: int | None) -> list[int]:
    found: list[int] = replay.per_call(replay.tokens(replay.hits(eviction, capacity))).tolist()
    return found


# --- Against plain caches -----------------------------------------------------------------------


@EXAMPLES
@given(prompts=PROMPTS, block_size=BLOCK_SIZES, capacity=CAPACITIES, rule=RULES)
def test_lru_hits_what_a_plain_lru_cache_hits(
    prompts: list[Tokens], block_size: int, capacity: int, rule: EngineRule
) -> None:
    plain = PlainLru(block_size, rule, capacity)
    replay = replay_of(prompts, block_size, CachePolicy(engine_rule=rule))
    assert hit_tokens(replay, Eviction.LRU, capacity) == [plain.request(p, 0) for p in prompts]


@EXAMPLES
@given(prompts=PROMPTS, block_size=BLOCK_SIZES, capacity=CAPACITIES, rule=RULES)
def test_fifo_hits_what_a_plain_fifo_cache_hits(
    prompts: list[Tokens], block_size: int, capacity: int, rule: EngineRule
) -> None:
    plain = PlainFifo(block_size, rule, capacity)
    replay = replay_of(prompts, block_size, CachePolicy(engine_rule=rule))
    assert hit_tokens(replay, Eviction.FIFO, capacity) == [plain.request(p, 0) for p in prompts]


@EXAMPLES
@given(prompts=PROMPTS, block_size=BLOCK_SIZES, steps=STEPS, ttl=st.integers(1, 5), rule=RULES)
def test_a_lifetime_hits_what_a_plain_cache_with_lifetimes_hits(
    prompts: list[Tokens], block_size: int, steps: list[int], ttl: int, rule: EngineRule
) -> None:
    seconds = np.cumsum(steps)[: len(prompts)].tolist()
    plain = PlainTtl(block_size, rule, ttl)
    policy = CachePolicy(ttl_s=ttl, engine_rule=rule)
    replay = replay_of(prompts, block_size, policy, seconds)
    expected = [plain.request(p, now) for p, now in zip(prompts, seconds, strict=True)]
    assert hit_tokens(replay, Eviction.INFINITE, None) == expected


class PlainLruTtl(PlainLru):
    def __init__(self, block_size: int, rule: EngineRule, capacity: int, ttl_s: float) -> None:
        super().__init__(block_size, rule, capacity)
        self.ttl_s = ttl_s

    def has(self, block: Tokens, now: float) -> bool:
        return block in self.kept and now - self.kept[block] <= self.ttl_s


@EXAMPLES
@given(prompts=PROMPTS, capacity=CAPACITIES, steps=STEPS, ttl=st.integers(1, 5))
def test_a_lifetime_and_a_capacity_both_hold(
    prompts: list[Tokens], capacity: int, steps: list[int], ttl: int
) -> None:
    seconds = np.cumsum(steps)[: len(prompts)].tolist()
    plain = PlainLruTtl(2, EngineRule.NONE, capacity, ttl)
    replay = replay_of(prompts, 2, CachePolicy(ttl_s=ttl), seconds)
    expected = [plain.request(p, now) for p, now in zip(prompts, seconds, strict=True)]
    assert hit_tokens(replay, Eviction.LRU, capacity) == expected


@EXAMPLES
@given(prompts=PROMPTS, block_size=BLOCK_SIZES, rule=RULES)
def test_rates_are_those_of_a_plain_endless_cache(
    prompts: list[Tokens], block_size: int, rule: EngineRule
) -> None:
    plain = PlainCache(block_size, rule)
    hits = [plain.request(prompt, 0) for prompt in prompts]
    counts = [-(-hit // block_size) for hit in hits]
    totals = [-(-len(prompt) // block_size) for prompt in prompts]
    sizes = [len(prompt) for prompt in prompts]
    own = [c / n for c, n in zip(counts, totals, strict=True) if n]
    half = len(prompts) // 2
    replay = replay_of(prompts, block_size, CachePolicy(engine_rule=rule))
    rates = replay.rates(replay.hits(Eviction.INFINITE, None))
    assert replace(rates, cold_macro=None) == HitRates(
        cold_micro_block=sum(counts) / sum(totals) if sum(totals) else None,
        cold_micro_token=sum(hits) / sum(sizes) if sum(sizes) else None,
        cold_macro=None,
        steady_micro_token=sum(hits[half:]) / sum(sizes[half:]) if sum(sizes[half:]) else None,
    )
    assert rates.cold_macro == (pytest.approx(sum(own) / len(own)) if own else None)
    blocks = {prompt[:end] for prompt in prompts for end in range(block_size, 10, block_size)}
    blocks = {block for block in blocks if len(block) % block_size == 0 and block}
    blocks |= {prompt for prompt in prompts if len(prompt) % block_size}
    assert replay.blocks.unique == len(blocks)
    assert replay.blocks.total.tolist() == totals


@EXAMPLES
@given(
    values=st.lists(st.tuples(st.integers(0, 40), st.integers(1, 9)), max_size=30),
    queries=st.lists(st.tuples(st.integers(0, 30), st.integers(0, 45)), max_size=10),
)
def test_weights_above_a_value_are_summed(
    values: list[tuple[int, int]], queries: list[tuple[int, int]]
) -> None:
    queries = [(min(upto, len(values)), above) for upto, above in queries]
    columns = np.array(values, dtype=np.int64).reshape(-1, 2)
    asked = np.array(queries, dtype=np.int64).reshape(-1, 2)
    found = weight_above(columns[:, 0], columns[:, 1], asked[:, 0], asked[:, 1])
    expected = [sum(w for v, w in values[:upto] if v > above) for upto, above in queries]
    assert found.tolist() == expected


# --- Logs ---------------------------------------------------------------------------------------


def simulated(
    path: Path,
    *,
    policy: CachePolicy | None = None,
    block_size: int | None = None,
    sweep: bool = False,
) -> Simulation:
    with Store.open(MEMORY, encoding=DEFAULT_ENCODING) as store:
        ingest(store, [path], Options(DEFAULT_ENCODING), workers=1)
        return build_simulation(
            store, [path], policy=policy or CachePolicy(), block_size=block_size, sweep=sweep
        )


def token_log(folder: Path, prompts: Sequence[Sequence[int]]) -> Path:
    path = folder / "tokens.jsonl"
    lines = [
        json.dumps({"request_id": str(n), "token_ids": list(p), "timestamp": 1_780_000_000 + n})
        for n, p in enumerate(prompts)
    ]
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def hashed_log(folder: Path, *requests: dict[str, Any]) -> Path:
    path = folder / "hashed.jsonl"
    lines = [
        json.dumps({"timestamp": 1000 * n, "block_size": 16} | request)
        for n, request in enumerate(requests)
    ]
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


@settings(max_examples=25)
@given(
    prompts=st.lists(
        st.tuples(st.integers(0, 70), st.integers(0, 3), st.integers(1, 40)),
        min_size=1,
        max_size=8,
    ),
    block_size=st.sampled_from([1, 3, 16, 50]),
    capacity=st.integers(1, 30),
)
def test_logged_token_ids_give_what_a_plain_cache_gives(
    tmp_path_factory: pytest.TempPathFactory,
    prompts: list[tuple[int, int, int]],
    block_size: int,
    capacity: int,
) -> None:
    # A common beginning, then one of few ways to go on: forks fall inside the runs of the store.
    sequences = [
        tuple(range(head)) + tuple(1000 + 7 * branch + n for n in range(tail))
        for head, branch, tail in prompts
    ]
    path = token_log(tmp_path_factory.mktemp("tokens"), sequences)
    policy = CachePolicy(Eviction.LRU, Capacity(capacity, Unit.BLOCKS))
    found = simulated(path, policy=policy, block_size=block_size)
    plain = PlainLru(block_size, EngineRule.NONE, capacity)
    endless = PlainCache(block_size, EngineRule.NONE)
    total = sum(map(len, sequences))
    assert found.hit_tokens == sum(plain.request(each, 0) for each in sequences)
    assert found.input_tokens == total
    expected = sum(endless.request(each, 0) for each in sequences)
    assert found.ceiling.cold_micro_token == pytest.approx(expected / total)


@pytest.mark.parametrize(
    ("length", "rule", "block_size", "hit"),
    [
        (32, EngineRule.VLLM, 16, 16),
        (33, EngineRule.VLLM, 16, 32),
        (40, EngineRule.VLLM, 16, 32),
        (16, EngineRule.VLLM, 16, 0),
        (1, EngineRule.VLLM, 16, 0),
        (32, EngineRule.SGLANG, None, 31),
        (32, EngineRule.NONE, None, 32),
        (33, EngineRule.NONE, None, 33),
    ],
)
def test_an_engine_computes_the_last_token_and_keeps_whole_blocks_only(
    tmp_path: Path, length: int, rule: EngineRule, block_size: int | None, hit: int
) -> None:
    path = token_log(tmp_path, [range(length)] * 2)
    found = simulated(path, policy=CachePolicy(engine_rule=rule), block_size=block_size)
    assert (found.hit_tokens, found.input_tokens) == (hit, 2 * length)


def test_a_part_full_block_is_hit_by_an_equal_prompt_but_not_by_a_longer_one(
    tmp_path: Path,
) -> None:
    path = token_log(tmp_path, [range(24), range(24), range(40)])
    found = simulated(path, block_size=16)
    assert found.hit_tokens == 24 + 16
    assert (found.total_blocks, found.unique_blocks) == (2 + 2 + 3, 4)


def test_tokens_after_the_last_hashed_block_are_input_that_is_never_hit(tmp_path: Path) -> None:
    request = {"hash_ids": [1, 2], "input_length": 40}
    found = simulated(hashed_log(tmp_path, request, request))
    assert (found.block_size, found.total_blocks, found.unique_blocks) == (16, 4, 2)
    assert (found.hit_blocks, found.hit_tokens, found.input_tokens) == (2, 32, 80)
    # The last token is among those, so an engine can serve both blocks.
    assert simulated(
        hashed_log(tmp_path, request, request), policy=CachePolicy(engine_rule=EngineRule.VLLM)
    ).hit_blocks == 2  # fmt: skip


def test_hits_are_told_apart_by_who_first_sent_them(tmp_path: Path) -> None:
    first = {"hash_ids": [1, 2], "input_length": 32, "session_id": "a"}
    again = {"hash_ids": [1, 2, 3], "input_length": 48, "session_id": "a"}
    other = {"hash_ids": [1, 2, 3, 4], "input_length": 64, "session_id": "b"}
    last = {"hash_ids": [1, 2, 3, 4], "input_length": 64, "session_id": "b"}
    found = simulated(hashed_log(tmp_path, first, again, other, last))
    assert found.hit_tokens == 32 + 48 + 64
    assert found.same_trace_hit_tokens == 32 + 16
    assert found.other_trace_hit_tokens == 48 + 48
    assert found.same_trace_share == pytest.approx(1 / 3)


def test_a_lifetime_leaves_out_requests_without_a_time(tmp_path: Path) -> None:
    request = {"hash_ids": [1, 2], "input_length": 32}
    path = hashed_log(tmp_path, request, request, request | {"timestamp": None})
    found = simulated(path, policy=CachePolicy(ttl_s=1.0))
    assert (found.requests, found.untimed_requests, found.hit_blocks) == (2, 1, 2)
    assert simulated(path, policy=CachePolicy(ttl_s=0.9)).hit_blocks == 0
    assert simulated(path).requests == 3


def test_larger_blocks_are_hit_whole_or_not_at_all(tmp_path: Path) -> None:
    requests = [{"hash_ids": [1, 2, 3, n], "input_length": 64} for n in (4, 5)]
    path = hashed_log(tmp_path, *requests)
    assert simulated(path).hit_tokens == 48
    assert simulated(path, block_size=32).hit_tokens == 32
    assert simulated(path, block_size=8).hit_tokens == 48
    assert simulated(path, block_size=8).logged_block_sizes == (16,)


def test_prompts_of_unknown_size_are_left_out_and_counted(tmp_path: Path) -> None:
    image = {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}
    contents: list[Any] = ["How tall is it?", [image]]
    path = tmp_path / "calls.jsonl"
    path.write_text(
        "".join(
            json.dumps({"model": "m", "messages": [{"role": "user", "content": each}]}) + "\n"
            for each in contents
        )
    )
    found = simulated(path)
    assert (found.requests, found.left_out_requests) == (1, 1)


def test_prompts_placed_by_bills_reuse_what_the_report_says_prompts_reuse(
    sample_logs: Path,
) -> None:
    path = sample_logs / "claude-code"
    found = simulated(path, block_size=1)
    assert found.estimated_requests == found.requests == 52
    with Store.open(MEMORY, encoding=DEFAULT_ENCODING) as store:
        ingest(store, [path], Options(DEFAULT_ENCODING), workers=1)
        tree = build_prefixes(store, [path])
    assert found.input_tokens == tree.flat_tokens
    assert tree.overlap_ratio is not None
    assert found.conventions.cold_micro_token == pytest.approx(tree.overlap_ratio, abs=1e-4)


@pytest.mark.parametrize("name", ["mooncake", "bailian", "token-ids", "tau-bench"])
def test_an_endless_cache_has_the_overlap_ratio_as_its_hit_rate(
    sample_logs: Path, name: str
) -> None:
    with Store.open(MEMORY, encoding=DEFAULT_ENCODING) as store:
        path = sample_logs / name
        ingest(store, [path], Options(DEFAULT_ENCODING), workers=1)
        tree = build_prefixes(store, [path])
        size = None if name in ("mooncake", "bailian") else 1
        found = build_simulation(store, [path], policy=CachePolicy(), block_size=size)
    assert found.input_tokens == tree.flat_tokens
    assert found.hit_tokens == tree.flat_tokens - tree.tree_tokens
    assert found.conventions.cold_micro_token == pytest.approx(tree.overlap_ratio, abs=1e-12)
    assert found.total_blocks - found.hit_blocks == found.unique_blocks


@pytest.mark.parametrize("eviction", [Eviction.LRU, Eviction.FIFO])
@pytest.mark.parametrize("name", ["mooncake", "kv-cache-tester", "bailian"])
def test_a_sweep_gives_what_each_capacity_gives_alone(
    sample_logs: Path, name: str, eviction: Eviction
) -> None:
    path = sample_logs / name
    policy = CachePolicy(eviction, bytes_per_token=100)
    swept = simulated(path, policy=policy, sweep=True)
    assert len(swept.sweep) > 8
    for point in swept.sweep:
        capacity = Capacity(point.capacity_bytes or 0, Unit.BYTES)
        alone = simulated(path, policy=replace(policy, capacity=capacity))
        assert alone.capacity_blocks == point.capacity_blocks
        assert alone.conventions == point.conventions
    rates = [point.conventions.cold_micro_token or 0 for point in swept.sweep]
    assert rates[-1] == swept.ceiling.cold_micro_token
    if eviction is Eviction.LRU:
        assert rates == sorted(rates)


def test_nothing_to_replay_gives_no_rates(tmp_path: Path) -> None:
    found = simulated(tmp_path, policy=CachePolicy(Eviction.LRU), sweep=True)
    assert found.requests == found.total_blocks == 0
    assert found.conventions == found.ceiling == HitRates(None, None, None, None)
    assert found.sweep == ()


def test_a_request_larger_than_the_cache_keeps_its_head(tmp_path: Path) -> None:
    request = {"hash_ids": [1, 2, 3, 4], "input_length": 64}
    policy = CachePolicy(Eviction.LRU, Capacity(40, Unit.TOKENS))
    found = simulated(hashed_log(tmp_path, request, request), policy=policy)
    assert (found.capacity_blocks, found.capacity_tokens) == (2, 32)
    assert (found.oversized_requests, found.hit_blocks) == (2, 2)


def test_filters_choose_what_is_replayed(tmp_path: Path) -> None:
    request = {"hash_ids": [1, 2], "input_length": 32}
    path = hashed_log(tmp_path, request, request, request)
    with Store.open(MEMORY, encoding=DEFAULT_ENCODING) as store:
        ingest(store, [path], Options(DEFAULT_ENCODING), workers=1)
        since = Filters(since=datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC))
        found = build_simulation(store, [path], policy=CachePolicy(), filters=since)
    assert (found.requests, found.hit_blocks) == (2, 2)


def test_kv_shapes_are_computed_from_published_configs() -> None:
    sizes = {name: shape.bytes_per_token for name, shape in KV_SHAPES.items()}
    assert sizes["llama-3.1-8b"] == 131_072
    assert sizes["llama-3.1-70b"] == 327_680
    assert sizes["deepseek-v3"] == 61 * 576 * 2 == 70_272


def test_runs_join_what_the_same_prompts_pass() -> None:
    blocks: Blocks = cut_into_blocks(tree_of([(0, 0, 0, 0), (0, 0, 0, 0), (0, 0, 1)]), 1)
    assert sorted(blocks.length.tolist()) == [0, 1, 2, 2]
    assert blocks.unique == 5


# --- Known figures ------------------------------------------------------------------------------


@pytest.mark.real
def test_the_real_mooncake_trace_has_its_four_published_hit_rates(real_logs: Path) -> None:
    found = simulated(real_logs / "serving-trace" / "mooncake")
    assert (found.total_blocks, found.unique_blocks) == (121_877, 43_924)
    assert found.input_tokens == 61_194_628
    rates = found.conventions
    assert rates.cold_micro_block == pytest.approx(0.63960, abs=5e-6)
    assert rates.cold_micro_token == pytest.approx(0.6512, abs=5e-5)
    assert rates.cold_macro == pytest.approx(0.42324, abs=5e-6)
    assert rates.steady_micro_token == pytest.approx(0.863, abs=5e-4)


@pytest.mark.real
def test_the_real_coding_sessions_have_the_known_hit_rates(real_logs: Path) -> None:
    facts = json.loads((real_logs / "FACTS.json").read_text())
    folder = real_logs / "serving-trace" / "kv-cache-tester"
    whole, summary = simulated(folder), facts["kv_cache_tester_summary"]
    assert (whole.requests, whole.total_blocks) == (summary["requests"], summary["blocks"])
    assert (whole.unique_blocks, whole.hit_blocks) == (
        summary["unique_sum_local"],
        summary["prefix_hits"],
    )
    assert whole.input_tokens == summary["input_tokens"]
    assert whole.conventions.cold_micro_block == pytest.approx(summary["prefix_hit_rate"], abs=1e-6)
    for name, fact in facts["kv_cache_tester_files"].items():
        rates = simulated(folder / name).conventions
        assert rates.cold_micro_block == pytest.approx(fact["prefix_hit_rate_file_order"], abs=1e-6)


@pytest.mark.corpus
def test_one_corpus_as_token_ids_and_as_hashed_blocks_gives_one_answer(
    corpus_generators: Path, tmp_path: Path
) -> None:
    subprocess.run(
        [sys.executable, str(corpus_generators / "gen_rl.py"), str(tmp_path)],
        check=True,
        capture_output=True,
        env=os.environ | {"PYTHONHASHSEED": "0"},
    )
    hashed = simulated(tmp_path / "rl_hash.jsonl", policy=CachePolicy(Eviction.LRU), sweep=True)
    ids = simulated(tmp_path / "rl_tokens.jsonl", block_size=1)
    assert ids.input_tokens - ids.hit_tokens == 832_254
    # The hashes are of whole blocks; the ids go on after them.
    with open(tmp_path / "rl_tokens.jsonl") as lines:
        whole = [json.loads(line)["token_ids"] for line in lines]
    cut = token_log(tmp_path, [each[: len(each) // 16 * 16] for each in whole])
    same = simulated(cut, policy=CachePolicy(Eviction.LRU), block_size=16, sweep=True)
    assert same.conventions == hashed.conventions
    assert same.sweep == hashed.sweep
    assert (same.total_blocks, same.unique_blocks) == (hashed.total_blocks, hashed.unique_blocks)
    assert hashed.conventions.cold_micro_block == pytest.approx(0.925, abs=0.001)


# --- The command --------------------------------------------------------------------------------


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setenv("FORKPOINT_STORE", str(tmp_path / "store.duckdb"))
    monkeypatch.setenv("COLUMNS", "100")

    def invoke(*arguments: str) -> Result:
        return CliRunner().invoke(app, ["simulate", *arguments, "--quiet", "--workers", "1"])

    yield invoke


def test_the_table_shows_the_cache_all_conventions_and_the_sweep(
    run: Any, sample_logs: Path
) -> None:
    path = str(sample_logs / "mooncake")
    result = run(path, "--capacity", "1GiB", "--model-shape", "llama-3.1-8b", "--sweep")
    assert result.exit_code == 0, result.output
    assert "blocks of 512 tokens · LRU · 16 blocks (8.2 k tokens, 1.0 GiB)" in result.output
    for meaning in ("hit blocks / blocks", "hit tokens / input tokens", "mean over", "last half"):
        assert meaning in result.output
    assert "LRU by capacity" in result.output
    assert max(map(len, result.output.splitlines())) <= 100


def test_json_has_the_four_conventions_and_exact_counts(run: Any, sample_logs: Path) -> None:
    result = run(str(sample_logs / "mooncake"), "--format", "json")
    answer = json.loads(result.output)
    assert set(answer["conventions"]) == {
        "cold_micro_block",
        "cold_micro_token",
        "cold_macro",
        "steady_micro_token",
    }
    assert answer["requests"] == 201
    assert answer["conventions"] == answer["ceiling"]
    assert answer["total_blocks"] - answer["hit_blocks"] == answer["unique_blocks"]


def test_a_lifetime_shorter_than_the_pause_between_turns_loses_hits(
    run: Any, sample_logs: Path
) -> None:
    result = run(str(sample_logs / "bailian"), "--ttl", "30", "--format", "json")
    answer = json.loads(result.output)
    assert answer["ttl_s"] == 30
    assert answer["conventions"]["cold_micro_token"] < answer["ceiling"]["cold_micro_token"] - 0.1


def test_notes_say_what_the_figures_rest_on(run: Any, sample_logs: Path) -> None:
    assert "52 requests only partly logged" in run(str(sample_logs / "claude-code")).output
    small = run(str(sample_logs / "mooncake"), "--block-size", "100")
    assert "inside a logged block" in small.output
    mixed = run(str(sample_logs / "mooncake"), str(sample_logs / "bailian"))
    assert "the logs hash blocks of 16, 512 tokens" in mixed.output


def test_no_logs_give_an_answer_without_rates(run: Any, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    result = run(str(tmp_path / "empty"), "--sweep", "--eviction", "lru")
    assert result.exit_code == 0, result.output
    assert "0 requests" in result.output


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--capacity", "2GiB"], "add --model-shape"),
        (["--capacity", "much"], "is no capacity"),
        (["--capacity", "0"], "is no capacity"),
        (["--capacity", "-5"], "is no capacity"),
        (["--capacity", "9" * 24], "is no capacity"),
        (["--capacity", "5 parsecs"], "is no capacity"),
        (["--ttl", "0"], "is no lifetime"),
        (["--ttl", "soon"], "is no lifetime"),
        (["--eviction", "lru"], "needs a --capacity"),
        (["--eviction", "random", "--capacity", "9"], "random"),
        (["--eviction", "infinite", "--capacity", "9"], "infinite cache has no capacity"),
        (["--eviction", "infinite", "--sweep"], "--sweep needs"),
        (["--eviction", "fifo", "--capacity", "9", "--ttl", "5m"], "not with fifo"),
        (["--model-shape", "gpt-5"], "is no model known here"),
        (["--model-shape", "0"], "is no model known here"),
        (["--block-size", "0"], "block-size"),
        (["--engine-rule", "trt"], "trt"),
    ],
)
def test_options_that_make_no_sense_are_wrong_usage(
    run: Any, sample_logs: Path, arguments: list[str], why: str
) -> None:
    result = run(str(sample_logs / "mooncake"), *arguments)
    assert result.exit_code == 2
    assert why in result.output


def test_a_capacity_below_one_block_is_an_error(run: Any, sample_logs: Path) -> None:
    result = run(str(sample_logs / "mooncake"), "--capacity", "511")
    assert result.exit_code == 1
    assert "does not hold one block of 512 tokens" in result.output
    with pytest.raises(ForkpointError):
        Capacity(1000, Unit.BYTES).in_blocks(16, 100)


def test_option_values_are_read() -> None:
    assert parse_capacity("500_000") == Capacity(500_000, Unit.TOKENS)
    assert parse_capacity("4096blocks") == Capacity(4096, Unit.BLOCKS)
    assert parse_capacity("1.5 GiB") == Capacity(3 << 29, Unit.BYTES)
    assert parse_capacity("80GB") == Capacity(80 * 10**9, Unit.BYTES)
    assert [parse_ttl(text) for text in ("5m", "1h", "90", "2.5s", "1d")] == [
        300, 3600, 90, 2.5, 86400,
    ]  # fmt: skip
    assert parse_model_shape("Qwen3-32B") == 262_144
    assert parse_model_shape("70272") == 70_272

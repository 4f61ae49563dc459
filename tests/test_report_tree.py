"""The tree of a report: what went through each prefix, against walking every prompt."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_ingest import claude_lines, write

from forkpoint.analysis.cache import Missed, ideal_reuse, measure_missed
from forkpoint.analysis.costs import price_scope
from forkpoint.analysis.ingest import ingest
from forkpoint.analysis.ingest_worker import Options
from forkpoint.analysis.prompts import Prompts, load_prompts
from forkpoint.analysis.report import build_report
from forkpoint.analysis.report_tree import (
    PIECES,
    Amounts,
    ReportTree,
    TreeNode,
    _Placed,
    measure_tree,
)
from forkpoint.analysis.results import Report
from forkpoint.analysis.scope import Filters, select_scope
from forkpoint.analysis.store import MEMORY, Store
from forkpoint.analysis.tokens import DEFAULT_ENCODING

CLASSES = ("read", "missed", "unreported", "new")
SAMPLES = Path(__file__).resolve().parent.parent / "sample_logs"


def opened(*paths: Path, keep_text: bool = False) -> Store:
    store = Store.open(MEMORY, encoding=DEFAULT_ENCODING)
    ingest(store, list(paths), Options(DEFAULT_ENCODING, keep_text=keep_text), workers=1)
    return store


def scoped(store: Store, path: Path) -> tuple[Prompts, Missed]:
    select_scope(store, [path], Filters())
    price_scope(store, None)
    prompts = load_prompts(store)
    return prompts, measure_missed(store, prompts, ideal_reuse(prompts))


def tree_of(store: Store, path: Path, at_most: int = 10**6) -> ReportTree:
    found = measure_tree(store, *scoped(store, path), at_most=at_most)
    assert found is not None
    return found


def summed(nodes: Sequence[TreeNode], unit: str = "tokens") -> Amounts:
    return Amounts(*(sum(getattr(getattr(n, unit), name) for n in nodes) for name in CLASSES))


def total(nodes: Sequence[TreeNode]) -> float:
    return sum(node.tokens.total for node in nodes)


@pytest.fixture(scope="module")
def samples() -> tuple[Store, Report, ReportTree]:
    store = opened(SAMPLES)
    report = build_report(store, [SAMPLES])
    return store, report, tree_of(store, SAMPLES)


def test_the_tokens_of_all_nodes_add_up_to_the_report(
    samples: tuple[Store, Report, ReportTree],
) -> None:
    _, report, tree = samples
    found, slack = summed(tree.nodes), len(tree.nodes) / 2
    cache = report.cache
    assert found.total == pytest.approx(cache.input_tokens, abs=slack)
    assert found.read == pytest.approx(cache.read_tokens, abs=slack)
    assert found.missed == pytest.approx(cache.missed_tokens, abs=slack)
    assert found.unreported == pytest.approx(cache.unreported_ideal_tokens, abs=slack)
    assert min(min(getattr(n.tokens, name) for name in CLASSES) for n in tree.nodes) >= 0


def test_the_dollars_of_all_nodes_add_up_to_what_input_cost(
    samples: tuple[Store, Report, ReportTree],
) -> None:
    store, _, tree = samples
    prompts, _ = scoped(store, SAMPLES)
    paid = store.value(
        """
        SELECT sum(coalesce(cache_read_tokens, 0) * coalesce(cache_read_rate_usd, paid_rate_usd)
                   + (input_tokens - coalesce(cache_read_tokens, 0)) * paid_rate_usd) / 1e6
        FROM scope_calls JOIN scope_costs USING (call_no)
        WHERE cost_usd IS NOT NULL AND call_no IN (SELECT unnest(?))
        """,
        [np.flatnonzero(prompts.size >= 0).tolist()],
    )
    assert paid > 1
    assert summed(tree.nodes, "usd").total == pytest.approx(paid, rel=1e-6)


def test_spreading_tokens_over_the_tree_equals_walking_every_prompt(
    samples: tuple[Store, Report, ReportTree],
) -> None:
    store, _, _ = samples
    prompts, missed = scoped(store, SAMPLES)
    placed = _Placed(prompts, np.flatnonzero(prompts.size >= 0))
    parent, end = placed.tree.parent, placed.end
    rate = np.arange(len(prompts.size), dtype=np.float64)
    for upto in (missed.read, missed.ideal, prompts.size):
        tokens, usd = (each[:-1] for each in placed.spread(upto, rate))
        walked, worth = np.zeros(len(end)), np.zeros(len(end))
        for i, call in enumerate(placed.calls.tolist()):
            limit, node = upto[call] / placed.scale[i], int(placed.prompt[i])
            while node:
                inside = min(max(limit - end[parent[node]], 0), end[node] - end[parent[node]])
                walked[node] += inside * placed.scale[i]
                worth[node] += inside * placed.scale[i] * rate[call]
                node = int(parent[node])
        assert np.allclose(tokens, walked, rtol=1e-6, atol=1e-3)
        assert np.allclose(usd, worth, rtol=1e-6, atol=1e-3)


def test_parents_come_before_their_children_and_wide_siblings_first(
    samples: tuple[Store, Report, ReportTree],
) -> None:
    nodes = samples[2].nodes
    assert nodes[0].parent == -1
    assert all(node.parent < i for i, node in enumerate(nodes))
    width = [node.tokens.total for node in nodes]
    for i in range(len(nodes) - 1, 0, -1):
        width[nodes[i].parent] += width[i]
    last: dict[int, float] = {}
    for i, node in enumerate(nodes[1:], 1):
        assert width[i] <= last.get(node.parent, np.inf)
        last[node.parent] = width[i]


@pytest.mark.parametrize("at_most", [1, 2, 7, 100])
def test_a_cut_tree_keeps_its_sums_and_says_what_it_leaves_out(
    samples: tuple[Store, Report, ReportTree], at_most: int
) -> None:
    store, _, whole = samples
    cut = tree_of(store, SAMPLES, at_most)
    shown = [node for node in cut.nodes if not node.left_out]
    assert len(shown) == at_most
    assert summed(cut.nodes) == summed(whole.nodes)
    rest = [node for node in cut.nodes if node.left_out]
    assert sum(node.left_out for node in rest) == cut.left_out_nodes
    assert cut.left_out_nodes == len(whole.nodes) - at_most
    assert total(rest) == cut.left_out_tokens
    assert {node.parent for node in rest} <= {
        i for i, node in enumerate(cut.nodes) if not node.left_out
    }


def scores(tree: ReportTree) -> list[float]:
    """Per node, the part of all tokens or of all dollars that goes through it: the larger one."""
    nodes, found = tree.nodes, [0.0] * len(tree.nodes)
    for unit in ("tokens", "usd"):
        width = [getattr(node, unit).total for node in nodes]
        for i in range(len(nodes) - 1, 0, -1):
            width[nodes[i].parent] += width[i]
        found = [max(score, each / width[0]) for score, each in zip(found, width, strict=True)]
    return found


def test_the_largest_nodes_are_shown(samples: tuple[Store, Report, ReportTree]) -> None:
    store, _, whole = samples
    cut = tree_of(store, SAMPLES, 40)
    shown = [s for s, node in zip(scores(cut), cut.nodes, strict=True) if not node.left_out]
    assert sorted(shown) == pytest.approx(sorted(scores(whole))[-40:], rel=1e-6)


ids = st.lists(st.integers(1, 3), min_size=1, max_size=6)


@settings(max_examples=30)
@given(prompts=st.lists(ids, min_size=1, max_size=12))
def test_new_tokens_are_the_distinct_prefixes(
    prompts: list[list[int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("ids")
    lines = [
        {"request_id": f"r{i}", "timestamp": 1_790_000_000 + i, "prompt_token_ids": prompt}
        for i, prompt in enumerate(prompts)
    ]
    write(folder / "requests.jsonl", [json.dumps(line) for line in lines])
    with opened(folder) as store:
        tree = tree_of(store, folder)
    distinct = {tuple(p[:n]) for p in prompts for n in range(1, len(p) + 1)}
    found = summed(tree.nodes)
    assert found.new == len(distinct)
    assert found.new + found.unreported == sum(map(len, prompts))
    assert (found.read, found.missed) == (0, 0)
    assert tree.nodes[0].calls == len(prompts)


def a_session(folder: Path, n: int = 60) -> Path:
    write(folder / "session.jsonl", claude_lines("s", n))
    return folder


def test_a_session_without_forks_is_cut_into_pieces(tmp_path: Path) -> None:
    with opened(a_session(tmp_path)) as store:
        tree = tree_of(store, tmp_path)
    unlogged, *pieces = tree.nodes[1:]
    assert unlogged.kinds == ("unlogged",)
    assert PIECES / 2 <= len(pieces) <= PIECES + 1
    assert sum(node.segments for node in pieces) == 60 + 59  # the last answer was never sent
    assert [node.parent for node in tree.nodes] == list(range(-1, len(tree.nodes) - 1))
    assert all(node.calls == 60 for node in tree.nodes[:3])
    assert (unlogged.standing and unlogged.standing.line) == 2
    assert pieces[0].roles == ("user", "assistant")


def test_what_was_read_and_what_was_not_is_found_at_its_place(tmp_path: Path) -> None:
    """The last call reads nothing: all that is missed is its, and lies on the whole path."""
    lines = claude_lines("s", 5)
    last = json.loads(lines[-1])
    usage = last["message"]["usage"]
    usage["cache_creation_input_tokens"] += usage["cache_read_input_tokens"]
    usage["cache_read_input_tokens"] = 0
    write(tmp_path / "s.jsonl", [*lines[:-1], json.dumps(last)])
    with opened(tmp_path) as store:
        report, tree = build_report(store, [tmp_path]), tree_of(store, tmp_path)
    found = summed(tree.nodes)
    assert found.read == sum(1000 * i for i in range(4))
    # 4,003 tokens had been sent before; each call of the session also adds what it generated.
    assert found.missed == report.cache.missed_tokens >= 4003
    unlogged = tree.nodes[1]
    assert unlogged.tokens.missed == unlogged.length_tokens
    assert unlogged.tokens.new == unlogged.length_tokens
    assert unlogged.tokens.read == 3 * unlogged.length_tokens


def test_calls_that_log_their_usage_alone_stand_in_a_node_of_their_own(
    samples: tuple[Store, Report, ReportTree],
) -> None:
    store, _, tree = samples
    prompts, _ = scoped(store, SAMPLES)
    (bare,) = [node for node in tree.nodes if node.is_unlogged]
    sized = (prompts.size >= 0) & (prompts.byte_depth[prompts.prompt] == 0) & ~prompts.counted
    assert bare.calls >= int(sized.sum()) > 0
    assert bare.standing is not None
    assert (bare.parent, bare.kinds, bare.segments) == (0, (), 0)


@pytest.mark.parametrize("keep_text", [False, True])
def test_nodes_quote_text_only_where_it_was_kept(tmp_path: Path, keep_text: bool) -> None:
    with opened(a_session(tmp_path, 3), keep_text=keep_text) as store:
        tree = tree_of(store, tmp_path)
    quoted = [node.excerpt for node in tree.nodes if node.excerpt is not None]
    assert (quoted[:1] == ["question 0 of s"]) is keep_text
    assert bool(quoted) is keep_text


def test_a_scope_without_calls_has_no_tree(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        assert measure_tree(store, *scoped(store, tmp_path)) is None


def nodes_by_name(tree: ReportTree) -> list[tuple[Any, ...]]:
    return [(n.parent, n.kinds, n.roles, n.tokens, n.standing) for n in tree.nodes]


def test_the_order_of_reading_changes_nothing(tmp_path: Path) -> None:
    for name in "abc":
        write(tmp_path / f"{name}.jsonl", claude_lines(name, 4))
    paths = [tmp_path / f"{name}.jsonl" for name in "abc"]
    with opened(*paths) as one, Store.open(MEMORY, encoding=DEFAULT_ENCODING) as other:
        for path in reversed(paths):
            ingest(other, [path], Options(DEFAULT_ENCODING), workers=1)
        first, second = tree_of(one, tmp_path), tree_of(other, tmp_path)
    assert nodes_by_name(first) == nodes_by_name(second)


@pytest.mark.real
def test_the_tree_of_public_sessions_adds_up_to_the_token(real_logs: Path) -> None:
    folder = real_logs / "claude-code"
    with opened(folder) as store:
        cache, tree = build_report(store, [folder]).cache, tree_of(store, folder)
    found = summed(tree.nodes)
    assert (found.total, found.read, found.missed) == (
        cache.input_tokens,
        cache.read_tokens,
        cache.missed_tokens,
    )

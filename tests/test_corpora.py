"""Generated corpora whose truth their generators print."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from forkpoint.analysis.ingest import ingest
from forkpoint.analysis.ingest_worker import Options
from forkpoint.analysis.report import build_report
from forkpoint.analysis.results import Report
from forkpoint.analysis.store import MEMORY, Store
from forkpoint.analysis.tokens import DEFAULT_ENCODING

pytestmark = pytest.mark.corpus


def generate(generators: Path, name: str, folder: Path, *sizes: int) -> None:
    """Run one generator. The corpus is as its seed makes it, the same each time."""
    subprocess.run(
        [sys.executable, str(generators / name), str(folder), *map(str, sizes)],
        check=True,
        capture_output=True,
        env=os.environ | {"PYTHONHASHSEED": "0"},
    )


def report_on(path: Path) -> Report:
    with Store.open(MEMORY, encoding=DEFAULT_ENCODING) as store:
        ingest(store, [path], Options(DEFAULT_ENCODING))
        return build_report(store, [path])


def test_forty_thousand_claude_code_calls_are_counted_and_priced_exactly(
    corpus_generators: Path, tmp_path: Path
) -> None:
    generate(corpus_generators, "gen_claude.py", tmp_path, 300, 120)
    report = report_on(tmp_path / "projects")
    truth = json.loads((tmp_path / "truth.json").read_text())
    totals = report.totals
    assert totals.calls == truth["calls"] == 40_000
    assert totals.uncached_input_tokens == truth["input"]
    assert totals.output_tokens == truth["out"] == 31_055_033
    assert totals.cache_read_tokens == truth["read"]
    assert totals.cache_write_5m_tokens == truth["w5"]
    assert totals.cache_write_1h_tokens == truth["w1"]
    assert totals.cost_usd == pytest.approx(truth["cost"], abs=1e-4)
    assert round(totals.cost_usd, 2) == 4089.76
    # Resumed copies add files, not calls; nothing in this corpus forks.
    assert sum(each.calls for each in report.sources.by_format.values()) == 43_600
    assert report.prefix_tree.fork_points == 0


def test_codex_forks_and_subagents_count_their_parents_calls_once(
    corpus_generators: Path, tmp_path: Path
) -> None:
    generate(corpus_generators, "gen_codex.py", tmp_path)
    totals = report_on(tmp_path).totals
    assert totals.calls == 14
    assert totals.input_tokens == 229_102
    assert totals.cache_read_tokens == 201_500
    assert totals.output_tokens == 1_210


@pytest.fixture(scope="module")
def rollouts(corpus_generators: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rollouts")
    generate(corpus_generators, "gen_rl.py", folder)
    return folder


def test_one_corpus_in_three_forms_gives_one_tree(rollouts: Path) -> None:
    reports = {
        name: report_on(rollouts / f"rl_{name}.jsonl") for name in ("openai", "tokens", "hash")
    }
    for name, report in reports.items():
        assert report.totals.calls == 4_096, name
        assert report.prefix_tree.overlap_ratio == pytest.approx(0.925, abs=0.002), name
        assert report.cache.ideal_hit_rate == pytest.approx(0.925, abs=0.002), name
        # 32 tasks part after the system prompt; in each, rollouts part twice.
        assert report.prefix_tree.fork_points == 1 + 32 * 2, name
        assert report.prefix_tree.top_forks[0].fan_out == 32, name
    assert reports["tokens"].prefix_tree.flat_tokens == 11_137_024
    assert reports["tokens"].prefix_tree.tree_tokens == 832_254
    assert reports["tokens"].cache.ideal_hit_rate == 1 - 832_254 / 11_137_024
    shapes = {
        name: sorted((fork.fan_out, fork.calls) for fork in report.prefix_tree.top_forks)
        for name, report in reports.items()
    }
    assert shapes["openai"] == shapes["tokens"] == shapes["hash"]


def test_spaced_json_gives_the_same_numbers_as_compact_json(
    rollouts: Path, corpus_generators: Path, tmp_path: Path
) -> None:
    generate(corpus_generators, "gen_claude.py", tmp_path / "compact", 6, 40)
    for source in [*(tmp_path / "compact").rglob("*.jsonl"), rollouts / "rl_openai.jsonl"]:
        compact, spaced = tmp_path / "one" / source.name, tmp_path / "two" / source.name
        for path, separators in ((compact, (",", ":")), (spaced, (" , ", " : "))):
            path.parent.mkdir(exist_ok=True)
            with open(source) as lines, open(path, "w") as out:
                for i, line in enumerate(lines):
                    if i >= 400:
                        break
                    out.write(json.dumps(json.loads(line), separators=separators) + "\n")
        one, two = report_on(compact), report_on(spaced)
        assert one.totals == two.totals
        assert one.cache.ideal_tokens == two.cache.ideal_tokens
        assert one.prefix_tree.tree_tokens == two.prefix_tree.tree_tokens
        assert one.prefix_tree.fork_points == two.prefix_tree.fork_points

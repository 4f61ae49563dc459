"""The store's prefix tree against brute force, for any order of reading and any sharing-out."""

from __future__ import annotations

import json
import random
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from reference_tree import (
    Prompt,
    flat_tokens,
    fork_points,
    reused_tokens,
    token_fork_points,
    tree_tokens,
)

from forkpoint.analysis.ingest import ingest
from forkpoint.analysis.ingest_worker import Options
from forkpoint.analysis.report import build_report
from forkpoint.analysis.results import Report
from forkpoint.analysis.shard import TOKENS_PER_RUN
from forkpoint.analysis.store import MEMORY, Store
from forkpoint.analysis.tokens import DEFAULT_ENCODING, reference_ids

SLOW = settings(
    max_examples=settings().max_examples * 2 // 5,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
OPTIONS = Options(DEFAULT_ENCODING)


def write_shards(folder: Path, records: list[dict[str, object]], n_files: int, seed: int) -> None:
    """Share records out over files at random, in random order."""
    shuffled = random.Random(seed)
    files: list[list[str]] = [[] for _ in range(n_files)]
    for record in records:
        shuffled.choice(files).append(json.dumps(record))
    for i, lines in enumerate(files):
        shuffled.shuffle(lines)
        (folder / f"{i}.jsonl").write_text("".join(f"{line}\n" for line in lines))


def report_on(folder: Path, seed: int) -> Report:
    """Ingest the files one by one in random order, then report on the folder."""
    files = sorted(folder.iterdir())
    random.Random(seed).shuffle(files)
    with Store.open(MEMORY, encoding=DEFAULT_ENCODING) as store:
        for file in files:
            ingest(store, [file], OPTIONS)
        return build_report(store, [folder])


def check(report: Report, prompts: list[Prompt], n_forks: int) -> None:
    flat, tree = flat_tokens(prompts), tree_tokens(prompts)
    assert report.prefix_tree.flat_tokens == flat
    assert report.prefix_tree.tree_tokens == tree
    assert report.prefix_tree.fork_points == n_forks
    if flat:
        assert report.prefix_tree.overlap_ratio == 1 - tree / flat
        assert 0 <= report.prefix_tree.overlap_ratio <= 1
        assert report.cache.ideal_hit_rate == sum(reused_tokens(prompts)) / flat
    else:
        assert report.prefix_tree.overlap_ratio is None
        assert report.cache.ideal_hit_rate is None


def runs(ids: list[int]) -> Prompt:
    """Token ids as the store cuts them."""
    cut = [tuple(ids[i : i + TOKENS_PER_RUN]) for i in range(0, len(ids), TOKENS_PER_RUN)]
    return tuple((repr(run), run) for run in cut)


token_prompts = st.lists(
    st.builds(
        lambda shared, tail: [7] * shared + tail,
        st.integers(0, 3 * TOKENS_PER_RUN),
        st.lists(st.integers(0, 2), max_size=TOKENS_PER_RUN + 5),
    ),
    max_size=8,
)


@SLOW
@given(token_prompts, st.integers(1, 3), st.integers(0, 2**16))
def test_trees_of_token_ids_equal_brute_force(
    tmp_path_factory: object, prompts: list[list[int]], n_files: int, seed: int
) -> None:
    folder = tmp_path_factory.mktemp("logs")
    records = [
        {"request_id": f"r{i}", "token_ids": ids, "timestamp": 1_760_000_000 + i}
        for i, ids in enumerate(prompts)
    ]
    write_shards(folder, records, n_files, seed)
    n_forks = len(token_fork_points([tuple(ids) for ids in prompts]))
    check(report_on(folder, seed), [runs(ids) for ids in prompts], n_forks)


words = st.lists(st.sampled_from(["alpha ", "beta ", "x", "7", "\n", "é"]), max_size=6).map("".join)
chats = st.lists(st.lists(words, min_size=1, max_size=4), min_size=1, max_size=8)


@SLOW
@given(chats, st.integers(1, 3), st.integers(0, 2**16))
def test_trees_of_messages_equal_brute_force(
    tmp_path_factory: object, prompts: list[list[str]], n_files: int, seed: int
) -> None:
    folder = tmp_path_factory.mktemp("logs")
    records = [
        {
            "model": "local",
            "request_id": f"r{i}",
            "timestamp": 1_760_000_000 + i,
            "messages": [
                {"role": "user" if k % 2 == 0 else "assistant", "content": text}
                for k, text in enumerate(texts)
            ],
        }
        for i, texts in enumerate(prompts)
    ]
    write_shards(folder, records, n_files, seed)
    expected: list[Prompt] = [
        tuple(
            (f"{k % 2}{text}", tuple(reference_ids(text).tolist())) for k, text in enumerate(texts)
        )
        for texts in prompts
    ]
    check(report_on(folder, seed), expected, len(fork_points(expected)))

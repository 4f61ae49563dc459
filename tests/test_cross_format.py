"""One conversation in many formats gives one answer: totals, cache figures, prefix tree.

What is expected is worked out from the conversations themselves wherever that can be done by plain
arithmetic: sums, rates, prices, and, in logs without token counts, the tree by brute force. Where it
cannot, formats of one kind must agree with each other to the last token.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from written_logs import (
    FORMATS,
    PARTIAL,
    SYSTEM,
    WHOLE,
    Conversation,
    Format,
    Turn,
    compact,
    conversations,
)

import forkpoint
from forkpoint.analysis.entropy_results import Entropy
from forkpoint.analysis.fork_answer import build_forks
from forkpoint.analysis.fork_results import ForksAnswer
from forkpoint.analysis.ingest import ingest
from forkpoint.analysis.ingest_worker import Options
from forkpoint.analysis.rollout_answer import build_rollouts
from forkpoint.analysis.rollout_results import RolloutsAnswer
from forkpoint.analysis.store import MEMORY, Store
from forkpoint.analysis.tokens import DEFAULT_ENCODING, reference_ids
from forkpoint.parsers.logs import read_head
from forkpoint.parsers.registry import identify, parsers

REGISTERED = {parser.name for parser in parsers()}
WRITTEN = [each for each in FORMATS if each.parser in REGISTERED]
REFERENCE = {kind: next(each for each in WRITTEN if each.kind == kind) for kind in (WHOLE, PARTIAL)}
TREE_FIGURES = ("flat_tokens", "tree_tokens", "overlap_ratio", "fork_points", "ideal_hit_rate")

in_every_format = pytest.mark.parametrize("written", WRITTEN, ids=lambda each: each.id)
in_formats_with_whole_prompts = pytest.mark.parametrize(
    "written",
    [each for each in WRITTEN if each.kind == WHOLE and "fork_points" not in each.lacks],
    ids=lambda each: each.id,
)

Figures = dict[str, Any]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("written")


@cache
def figures(written: Format, billed: bool, folders: Path) -> Figures:
    """What the report says of the conversations in one format."""
    folder = folders / f"{written.id}-{billed}"
    folder.mkdir()
    written.write(conversations(billed), folder)
    with forkpoint.open(folder, workers=1) as run:
        report = run.report
        assert report.sources.issues == 0
        assert set(report.sources.by_format) == {written.parser}
        totals, tree, rates = report.totals, report.prefix_tree, report.cache
        return {
            "calls": totals.calls,
            "traces": totals.traces,
            "input_tokens": totals.input_tokens,
            "uncached_input_tokens": totals.uncached_input_tokens,
            "cache_read_tokens": totals.cache_read_tokens,
            "cache_write_tokens": totals.cache_write_tokens,
            "output_tokens": totals.output_tokens,
            "cost_usd": totals.cost_usd,
            "hit_rate": rates.hit_rate,
            "cache_read_share": rates.cache_read_share,
            "ideal_hit_rate": rates.ideal_hit_rate,
            "flat_tokens": tree.flat_tokens,
            "tree_tokens": tree.tree_tokens,
            "overlap_ratio": tree.overlap_ratio,
            "fork_points": tree.fork_points,
        }


def check(written: Format, found: Figures, expected: Figures) -> None:
    """Every figure is as expected, but for those that the format lacks, which are not."""
    for name, value in expected.items():
        if name in written.lacks:
            assert found[name] != pytest.approx(value), f"{name} is not lacking"
        else:
            assert found[name] == pytest.approx(value, rel=1e-12), name


# --- What is expected, from the conversations themselves ----------------------------------------


def billed_turns() -> list[Turn]:
    return [turn for run in conversations() for turn in run.turns]


def sums() -> Figures:
    counts = [turn.counts for turn in billed_turns() if turn.counts is not None]
    given, read, write, made = (sum(column) for column in zip(*counts, strict=True))
    uncached = given - read - write
    # USD per million: 3 input, 0.30 read from the cache, 3.75 written to it, 15 output.
    cost = (3 * uncached + 0.3 * read + 3.75 * write + 15 * made) / 1e6
    return {
        "calls": 7,
        "traces": 3,
        "input_tokens": given,
        "cache_read_tokens": read,
        "cache_write_tokens": write,
        "output_tokens": made,
        "cost_usd": cost,
        "hit_rate": read / given,
        "cache_read_share": read / (given + made),
    }


Step = tuple[str, int]
"""A token or the end of a segment, with what kind of segment it is in: these never mix."""


def steps_of(kind: str, text: str) -> list[Step]:
    return [*((kind, int(token)) for token in reference_ids(text)), (kind, -1)]


def said(turn: Turn) -> Iterator[Step]:
    yield from steps_of("answer", turn.answer)
    for use in turn.uses:
        yield from steps_of("call", f"{use.name}\n{compact(use.arguments)}")


def prompt_of(before: list[Any]) -> list[Step]:
    """A prompt as steps, tools left out: their tokens are not counted."""
    steps = steps_of("system", SYSTEM)
    for each in before:
        if isinstance(each, str):
            steps += steps_of("user", each)
            continue
        steps += said(each)
        for use in each.uses:
            steps += steps_of("result", use.result)
    return steps


def tokens_in(steps: list[Step]) -> int:
    return sum(token >= 0 for _, token in steps)


def shared_beginning(one: list[Step], other: list[Step]) -> list[Step]:
    n = 0
    while n < min(len(one), len(other)) and one[n] == other[n]:
        n += 1
    return one[:n]


def tree_by_brute_force(runs: list[Conversation]) -> Figures:
    """The prefix tree of all prompts, and what an endless cache would have read of them."""
    prompts: list[list[Step]] = []
    sent: list[list[Step]] = []
    nodes: dict[tuple[Step, ...], set[Step]] = {}
    flat = ideal = 0
    for run in runs:
        for turn, before in run.calls():
            prompt = prompt_of(before)
            prompts.append(prompt)
            flat += tokens_in(prompt)
            ideal += max(
                (tokens_in(shared_beginning(prompt, earlier)) for earlier in sent), default=0
            )
            sent.append([*prompt, *said(turn)])
    for prompt in prompts:
        for n, step in enumerate(prompt):
            nodes.setdefault(tuple(prompt[:n]), set()).add(step)
    tree = sum(step[1] >= 0 for below in nodes.values() for step in below)
    return {
        "flat_tokens": flat,
        "tree_tokens": tree,
        "overlap_ratio": 1 - tree / flat,
        "fork_points": sum(len(below) > 1 for below in nodes.values()),
        "ideal_hit_rate": ideal / flat,
    }


# --- The tests ----------------------------------------------------------------------------------


def test_the_conversations_are_written_in_formats_of_every_kind() -> None:
    assert {each.kind for each in WRITTEN} == {WHOLE, PARTIAL}
    assert {"openai", "anthropic", "otel-genai", "atif", "pi-session"} <= {
        each.parser for each in WRITTEN
    }
    assert all(reason for each in WRITTEN for reason in each.lacks.values())


@in_every_format
def test_totals_and_cache_rates_are_those_of_the_conversations(
    written: Format, folders: Path
) -> None:
    check(written, figures(written, True, folders), sums())


@in_every_format
def test_input_is_the_sum_of_its_disjoint_parts(written: Format, folders: Path) -> None:
    found = figures(written, True, folders)
    parts = ("uncached_input_tokens", "cache_read_tokens", "cache_write_tokens")
    assert sum(found[name] for name in parts) == found["input_tokens"]


@in_every_format
def test_flat_tokens_are_what_was_billed_and_overlap_is_what_the_tree_saves(
    written: Format, folders: Path
) -> None:
    found = figures(written, True, folders)
    assert found["flat_tokens"] == found["input_tokens"]
    assert found["overlap_ratio"] == pytest.approx(1 - found["tree_tokens"] / found["flat_tokens"])
    assert found["hit_rate"] <= found["ideal_hit_rate"] <= 1


@in_every_format
def test_formats_of_one_kind_agree_on_the_tree(written: Format, folders: Path) -> None:
    reference = figures(REFERENCE[written.kind], True, folders)
    expected = {name: reference[name] for name in TREE_FIGURES}
    check(written, figures(written, True, folders), expected)


def test_a_system_prompt_that_is_not_logged_hides_the_fork_behind_it_and_its_size(
    folders: Path,
) -> None:
    whole, partial = (figures(REFERENCE[kind], True, folders) for kind in (WHOLE, PARTIAL))
    assert (whole["fork_points"], partial["fork_points"]) == (2, 1)
    assert partial["tree_tokens"] > whole["tree_tokens"]


@in_formats_with_whole_prompts
def test_without_token_counts_the_tree_is_that_of_the_text(written: Format, folders: Path) -> None:
    found = figures(written, False, folders)
    expected = tree_by_brute_force(conversations(billed=False))
    assert {name: found[name] for name in expected} == pytest.approx(expected, rel=1e-12)
    assert expected["fork_points"] == 2
    assert found["input_tokens"] == 0
    assert found["hit_rate"] is None


@in_every_format
def test_each_file_is_claimed_by_its_own_parser_alone(written: Format, folders: Path) -> None:
    figures(written, True, folders)
    for path in (folders / f"{written.id}-True").iterdir():
        claim = identify(read_head(path))
        assert claim is not None
        assert claim.parser.name == written.parser


def test_the_same_calls_in_two_gateways_logs_count_once(tmp_path: Path) -> None:
    """Where both logs have the provider's response ids."""
    both = [each for each in WRITTEN if each.parser in ("anthropic", "litellm")]
    for each in both:
        folder = tmp_path / each.id
        folder.mkdir()
        each.write(conversations(), folder)
    with forkpoint.open(tmp_path, workers=1) as run:
        assert run.totals.calls == 7
        assert run.totals.input_tokens == sums()["input_tokens"]
        by_format = {name: each.calls for name, each in run.report.sources.by_format.items()}
    assert by_format == {each.parser: 7 for each in both}


# --- One model's rollouts as token ids and as API responses -------------------------------------


def rollouts_in(path: Path) -> tuple[RolloutsAnswer, ForksAnswer, Entropy]:
    with Store.open(MEMORY, encoding=DEFAULT_ENCODING) as store:
        ingest(store, [path], Options(DEFAULT_ENCODING), workers=1)
        forks = build_forks(store, [path])
        assert forks.entropy is not None
        return build_rollouts(store, [path]), forks, forks.entropy


@pytest.fixture(scope="module")
def as_ids(sample_folder: Path) -> tuple[RolloutsAnswer, ForksAnswer, Entropy]:
    return rollouts_in(sample_folder / "token-ids" / "smollm2.jsonl")


@pytest.fixture(scope="module")
def as_responses(sample_folder: Path) -> tuple[RolloutsAnswer, ForksAnswer, Entropy]:
    return rollouts_in(sample_folder / "openai" / "smollm2.jsonl")


@pytest.fixture(scope="module")
def sample_folder() -> Path:
    return Path(__file__).resolve().parent.parent / "sample_logs"


Rollouts = tuple[RolloutsAnswer, ForksAnswer, Entropy]


def test_rollouts_have_the_same_groups_and_distinct_members_as_ids_and_as_text(
    as_ids: Rollouts, as_responses: Rollouts
) -> None:
    shapes = [
        sorted((each.rollouts, each.distinct_rollouts, each.forks) for each in answer.groups)
        for answer, _, _ in (as_ids, as_responses)
    ]
    assert shapes[0] == shapes[1]
    assert [rollouts for rollouts, _, _ in shapes[0]] == [8] * 6
    assert [distinct for _, distinct, _ in shapes[0]].count(8) == 4


def test_rollouts_part_at_the_same_forks_as_ids_and_as_text(
    as_ids: Rollouts, as_responses: Rollouts
) -> None:
    ids, text = as_ids[1].rollout_forks, as_responses[1].rollout_forks
    assert ids is not None and text is not None
    assert ids.forks == text.forks == 18
    assert ids.by_model == text.by_model
    assert ids.mean_fan_out == text.mean_fan_out
    assert ids.mean_branching_entropy_nats == pytest.approx(text.mean_branching_entropy_nats)


def test_surprisal_is_the_same_and_whole_entropies_lie_within_the_bounds_of_the_likeliest(
    as_ids: Rollouts, as_responses: Rollouts
) -> None:
    whole, bounds = as_ids[2], as_responses[2]
    assert (whole.tokens, whole.whole_tokens) == (bounds.tokens, bounds.top_k_tokens)
    assert whole.completions == bounds.completions == 48
    assert whole.mean_surprisal_nats == pytest.approx(bounds.mean_surprisal_nats)
    assert whole.mean_bits == pytest.approx(bounds.mean_bits)
    assert whole.mean_rounds_in_order == bounds.mean_rounds_in_order
    assert whole.mean_rounds_any_order == bounds.mean_rounds_any_order
    assert whole.agreement is not None and bounds.agreement is not None
    assert whole.agreement.divergences == bounds.agreement.divergences
    assert whole.mean_lower_nats == whole.mean_upper_nats
    assert bounds.mean_lower_nats is not None and whole.mean_lower_nats is not None
    assert bounds.mean_upper_nats is not None
    assert bounds.mean_lower_nats < whole.mean_lower_nats < bounds.mean_upper_nats
    assert whole.threshold_nats is not None
    assert bounds.threshold_low_nats is not None and bounds.threshold_high_nats is not None
    assert bounds.threshold_low_nats <= whole.threshold_nats <= bounds.threshold_high_nats


def test_the_same_evidence_gives_the_same_entropies_from_either_format(
    as_responses: Rollouts, sample_folder: Path, tmp_path: Path
) -> None:
    lines = (sample_folder / "token-ids" / "smollm2.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    for record in records:
        del record["entropies"]
    log = tmp_path / "smollm2.jsonl"
    log.write_text("".join(json.dumps(record) + "\n" for record in records))
    found, expected = rollouts_in(log)[2], as_responses[2]
    for name in (
        *("tokens", "completions", "top_k_tokens", "fork", "not_fork", "undecided"),
        *("threshold_nats", "threshold_low_nats", "threshold_high_nats", "mean_lower_nats"),
        *("mean_upper_nats", "mean_surprisal_nats", "top_mass_share", "profile_nats", "mean_bits"),
    ):
        assert getattr(found, name) == pytest.approx(getattr(expected, name)), name

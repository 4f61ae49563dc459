"""Is it worth more to sample again where the model was unsure? The same budget, spent in three ways.

For each prompt, points are chosen in the tree of its logged completions, a point being a token that
was sampled: ``entropy`` takes those where the model was least sure, ``random`` any, ``root`` the
beginning. From each point in turn a completion is sampled anew, what comes before the point being
kept, until the budget of generated tokens is spent. A sample that the budget cuts off is not counted.

Sampling is over the whole vocabulary, by the inverse of the distribution function. Each sample has a
number generator of its own, made of the seed, the prompt's number, the policy's name and the sample's
number, so a run on a CPU can be repeated, and no sample depends on another one.
"""

from __future__ import annotations

import importlib
import re
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from forkpoint.analysis.replay import NO_FILTERS
from forkpoint.analysis.replay_backend import Codec, Piece
from forkpoint.analysis.replay_execution import CachedPath, check_shareable, run_trie
from forkpoint.analysis.replay_model import LoadedModel, TransformersBackend
from forkpoint.analysis.replay_sequences import ReplaySequence, plan_sequences
from forkpoint.analysis.replay_tree import TokenTree, plan_tree
from forkpoint.analysis.replay_tree_results import (
    BranchBudget,
    BranchingExperiment,
    BranchPolicy,
)
from forkpoint.analysis.scope import Filters, select_scope
from forkpoint.analysis.store import Store
from forkpoint.analysis.tree import Floats, Ints
from forkpoint.errors import ForkpointError

if TYPE_CHECKING:
    import torch

ENTROPY, RANDOM, ROOT = "entropy", "random", "root"
POLICIES = (ENTROPY, RANDOM, ROOT)
CURVE_POINTS = 10
"""Budgets at which results are stated, evenly spaced up to the whole."""

Scorer = Callable[[str, str], float]
"""(prompt, completion) to reward, both as text."""


@dataclass(frozen=True)
class BranchSettings:
    """How to spend the budget.

    Attributes:
        budget_tokens: generated tokens for each prompt and policy, 1 or more.
        points: places chosen for each prompt and policy, at most.
        max_new_tokens: the longest completion, what is kept included; it ends there.
        temperature: above 0; logits are divided by it.
        seed: 0 or more.
    """

    budget_tokens: int = 512
    points: int = 4
    max_new_tokens: int = 256
    temperature: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        counts = (self.budget_tokens, self.points, self.max_new_tokens)
        if min(counts) < 1 or self.seed < 0 or not 0 < self.temperature < float("inf"):
            raise ForkpointError(
                "budget, points and length must be 1 or more, temperature above 0, seed 0 or more"
            )


@dataclass(frozen=True)
class Point:
    """A place to sample again.

    Attributes:
        kept: prompt and the part of a completion before it.
        entropy: of the model there, nats, at temperature 1.
    """

    kept: tuple[int, ...]
    entropy: float


@dataclass(frozen=True)
class Sample:
    """What was sampled from a point.

    Attributes:
        generated: its tokens, the one that ends it included.
        finished: it came to its end before the budget did.
    """

    point: Point
    generated: tuple[int, ...]
    finished: bool


@dataclass
class PromptSamples:
    """What a policy made of one prompt, in the order it was sampled."""

    points: list[Point]
    samples: list[Sample] = field(default_factory=list)
    prefill_tokens: int = 0


def load_scorer(spec: str) -> Scorer:
    """A reward, as the command line names it.

    Args:
        spec: ``regex:PATTERN`` and ``answer:TEXT`` give 1.0 to a completion that matches somewhere,
            or holds the text, and 0.0 to others; else ``module:function``, which is imported and
            called with (prompt, completion).

    Raises:
        ForkpointError: there is no such thing.
    """
    kind, _, rest = spec.partition(":")
    if not kind or not rest:
        raise ForkpointError(f"{spec!r}: write module:function, regex:PATTERN or answer:TEXT")
    if kind == "answer":
        return lambda prompt, completion: float(rest in completion)
    if kind == "regex":
        try:
            pattern = re.compile(rest)
        except re.error as error:
            raise ForkpointError(f"{rest!r} is no pattern: {error}") from error
        return lambda prompt, completion: float(pattern.search(completion) is not None)
    try:
        found = getattr(importlib.import_module(kind), rest)
    except (ImportError, AttributeError) as error:
        raise ForkpointError(f"{spec}: {error}") from error
    if not callable(found):
        raise ForkpointError(f"{spec} is no function")

    def call(prompt: str, completion: str) -> float:
        return float(found(prompt, completion))

    return call


def candidate_points(
    model: LoadedModel, sequences: Sequence[ReplaySequence], max_new_tokens: int
) -> list[Point]:
    """Where the completions of one prompt can be sampled again: each token of their tree, once, in
    depth-first order. The first of them is the prompt's end.

    Args:
        sequences: one or more, of the same prompt, which is not empty.
        max_new_tokens: points with as many tokens kept, or more, are left out.
    """
    prompt_tokens = sequences[0].prompt_tokens
    pieces = [Piece(each.ids, each.prompt_tokens) for each in sequences]
    tree = plan_tree(pieces)
    entropies = np.full(tree.tree_tokens, np.nan)
    for number, scored in enumerate(run_trie(model, tree, pieces).scored):
        assert scored.entropies is not None
        entropies[tree.tokens_of(number)[prompt_tokens:]] = scored.entropies
    # Siblings that part are one point: what was kept before them is the same.
    places: dict[int, int] = {}
    deepest = prompt_tokens + max_new_tokens
    for place in np.flatnonzero(tree.wanted & (tree.position < deepest)).tolist():
        places.setdefault(int(tree.before[place]), place)
    return [_point(tree, before, float(entropies[place])) for before, place in places.items()]


def _point(tree: TokenTree, before: int, entropy: float) -> Point:
    stretch = int(tree.stretch[before])
    path = tree.path(stretch)
    ids = [tree.ids[tree.offset[each] : tree.offset[each + 1]] for each in path]
    kept = np.concatenate(ids)[: int(tree.position[before]) + 1]
    return Point(tuple(kept.tolist()), entropy)


def choose_points(
    candidates: Sequence[Point], policy: str, points: int, generator: np.random.Generator
) -> list[Point]:
    """The points that a policy samples from, in the order it takes turns with them.

    Args:
        candidates: one or more; the first is the prompt's end.
    """
    if policy == ROOT:
        return [candidates[0]]
    if policy == RANDOM:
        n = min(points, len(candidates))
        return [candidates[i] for i in generator.choice(len(candidates), n, replace=False).tolist()]
    order = sorted(range(len(candidates)), key=lambda i: (-candidates[i].entropy, i))
    return [candidates[i] for i in order[:points]]


def number_generator(seed: int, prompt: int, policy: str, sample: int) -> np.random.Generator:
    """Of one sample. -1 as `sample` is for the choice of points."""
    return np.random.default_rng([seed, prompt, zlib.crc32(policy.encode()), sample + 1])


def draw(logits: Floats, temperature: float, uniform: float) -> int:
    """The token at which the distribution function passes `uniform`.

    Args:
        logits: shape (V,), float64.
        uniform: in [0, 1).
    """
    weights = np.exp((logits - logits.max()) / temperature)
    sums = np.cumsum(weights)
    # Rounding may leave the last sum at or below the product: the last token is the last there is.
    return min(int(np.searchsorted(sums, uniform * sums[-1], side="right")), len(sums) - 1)


def sample_points(
    model: LoadedModel,
    points: Sequence[Point],
    prompt_tokens: int,
    settings: BranchSettings,
    end_ids: frozenset[int],
    generators: Callable[[int], np.random.Generator],
) -> PromptSamples:
    """Sample from each point in turn until the budget is spent.

    Args:
        generators: the number generator of each sample.
    """
    found = PromptSamples(list(points))
    path = _SampledPath(model)
    left = settings.budget_tokens
    while left:
        point = points[len(found.samples) % len(points)]
        room = prompt_tokens + settings.max_new_tokens - len(point.kept)
        generated = path.sample(
            point.kept,
            min(room, left),
            settings.temperature,
            end_ids,
            generators(len(found.samples)),
        )
        ended = len(generated) == room or generated[-1] in end_ids
        found.samples.append(Sample(point, tuple(generated), ended))
        left -= len(generated)
    found.prefill_tokens = path.prefill_tokens
    return found


class _SampledPath:
    """The cache of the last sample; the next one goes on from what they share."""

    def __init__(self, model: LoadedModel) -> None:
        self._model = model
        self._path = CachedPath(model)
        self._held: list[int] = []
        self.prefill_tokens = 0

    def sample(
        self,
        kept: Sequence[int],
        most: int,
        temperature: float,
        end_ids: frozenset[int],
        generator: np.random.Generator,
    ) -> list[int]:
        """Tokens after `kept`: up to one that ends the turn, and at most `most`, 1 or more."""
        # The last token is run again in any case: what it predicts was not kept.
        shared = _common(self._held, kept[:-1])
        hidden = self._path.extend(shared, np.array(kept[shared:], dtype=np.uint32))
        self.prefill_tokens += len(kept) - shared
        found: list[int] = []
        while True:
            token = draw(self._logits(hidden), temperature, float(generator.random()))
            found.append(token)
            if token in end_ids or len(found) == most:
                break
            hidden = self._path.extend(self._path.length, np.array([token], dtype=np.uint32))
        self._held = [*kept, *found[:-1]]
        return found

    def _logits(self, hidden: torch.Tensor) -> Floats:
        logits: Floats = self._model.logits(hidden[-1:])[0].double().cpu().numpy()
        return logits


def _common(one: Sequence[int], other: Sequence[int]) -> int:
    n = min(len(one), len(other))
    return next((i for i in range(n) if one[i] != other[i]), n)


def branch_logged(
    store: Store,
    paths: Sequence[Path],
    backend: TransformersBackend,
    *,
    settings: BranchSettings | None = None,
    scorer: str | None = None,
    filters: Filters = NO_FILTERS,
    trust_ids: bool = False,
    at_most_prompts: int | None = None,
) -> BranchingExperiment:
    """Sample again from the completions under `paths`.

    Args:
        paths: absolute; what is there has been ingested.
        scorer: see `load_scorer`; ``None``: no rewards.
        at_most_prompts: leave out the prompts after these.

    Raises:
        ForkpointError: nothing can be run, or the model or the scorer cannot.
    """
    reward = None if scorer is None else load_scorer(scorer)
    select_scope(store, paths, filters)
    plan = plan_sequences(store, backend.codec, max_tokens=backend.max_tokens, trust_ids=trust_ids)
    left_out = dict(plan.skipped)
    usable = [each for each in plan.sequences if each.prompt_tokens]
    if len(usable) < len(plan.sequences):
        left_out["it has no prompt"] = len(plan.sequences) - len(usable)
    groups = [list(each) for _, each in groupby(usable, key=lambda each: each.prompt)]
    if at_most_prompts is not None and len(groups) > at_most_prompts:
        beyond = sum(map(len, groups[at_most_prompts:]))
        left_out[f"of other prompts than the first {at_most_prompts:,}"] = beyond
        groups = groups[:at_most_prompts]
    if not groups:
        why = "; ".join(f"{n:,} × {reason}" for reason, n in left_out.items())
        raise ForkpointError(f"no completion can be sampled again{': ' if why else ''}{why}")
    return branch(
        backend.loaded,
        groups,
        backend.codec,
        name=backend.source.name,
        settings=settings or BranchSettings(),
        max_tokens=backend.max_tokens,
        reward=reward,
        scorer=scorer,
        left_out=left_out,
    )


def branch(
    model: LoadedModel,
    groups: Sequence[Sequence[ReplaySequence]],
    codec: Codec,
    *,
    name: str,
    settings: BranchSettings,
    max_tokens: int | None = None,
    reward: Scorer | None = None,
    scorer: str | None = None,
    left_out: Mapping[str, int] | None = None,
) -> BranchingExperiment:
    """Sample again from the completions of some prompts.

    Args:
        groups: one or more; the completions of each prompt, which is not empty.
        max_tokens: the longest sequence that the model takes.
        scorer: what the reward is called.

    Raises:
        ForkpointError: the model cannot share, or the scorer fails.
    """
    longest = max(each[0].prompt_tokens for each in groups) + settings.max_new_tokens
    if max_tokens is not None and longest > max_tokens:
        raise ForkpointError(
            f"a prompt and {settings.max_new_tokens:,} tokens are {longest:,}, more than the "
            f"{max_tokens:,} that the model takes"
        )
    logged_longest = max(len(each.ids) for group in groups for each in group)
    check_shareable(model, max(longest, logged_longest))
    candidates = [candidate_points(model, each, settings.max_new_tokens) for each in groups]
    policies = []
    for policy in POLICIES:
        made = []
        for number, (group, points) in enumerate(zip(groups, candidates, strict=True)):
            chosen = choose_points(
                points,
                policy,
                settings.points,
                number_generator(settings.seed, number, policy, -1),
            )
            made.append(
                sample_points(
                    model,
                    chosen,
                    group[0].prompt_tokens,
                    settings,
                    codec.end_ids,
                    lambda sample, number=number, policy=policy: number_generator(  # type: ignore[misc]
                        settings.seed, number, policy, sample
                    ),
                )
            )
        policies.append(_policy(policy, made, groups, codec, settings, reward, scorer))
    return BranchingExperiment(
        model=name,
        prompts=len(groups),
        logged=sum(map(len, groups)),
        budget_tokens=settings.budget_tokens,
        points=settings.points,
        temperature=settings.temperature,
        seed=settings.seed,
        scorer=scorer,
        policies=tuple(policies),
        left_out=dict(left_out or {}),
    )


def _policy(
    name: str,
    made: Sequence[PromptSamples],
    groups: Sequence[Sequence[ReplaySequence]],
    codec: Codec,
    settings: BranchSettings,
    reward: Scorer | None,
    scorer: str | None,
) -> BranchPolicy:
    points = [point for each in made for point in each.points]
    depths = [
        len(point.kept) - group[0].prompt_tokens
        for each, group in zip(made, groups, strict=True)
        for point in each.points
    ]
    curves = [
        _Spent(each, group, codec, reward, scorer) for each, group in zip(made, groups, strict=True)
    ]
    steps = min(CURVE_POINTS, settings.budget_tokens)
    budgets = [settings.budget_tokens * step // steps for step in range(1, steps + 1)]
    return BranchPolicy(
        name=name,
        mean_entropy_nats=float(np.mean([point.entropy for point in points])),
        mean_depth=float(np.mean(depths)),
        generated_tokens=sum(len(sample.generated) for each in made for sample in each.samples),
        prefill_tokens=sum(each.prefill_tokens for each in made),
        curve=tuple(_at_budget(curves, tokens) for tokens in budgets),
    )


class _Spent:
    """The finished samples of one prompt by what had been spent when they ended."""

    def __init__(
        self,
        made: PromptSamples,
        group: Sequence[ReplaySequence],
        codec: Codec,
        reward: Scorer | None,
        scorer: str | None,
    ) -> None:
        spent = np.cumsum([len(each.generated) for each in made.samples])
        finished = [i for i, each in enumerate(made.samples) if each.finished]
        self.at: Ints = spent[finished].astype(np.int64)
        self.whole = [(*made.samples[i].point.kept, *made.samples[i].generated) for i in finished]
        self.logged = {tuple(each.ids.tolist()) for each in group}
        self.rewards: list[float] | None = None
        if reward is not None:
            n = group[0].prompt_tokens
            prompt = codec.decode(group[0].ids[:n].tolist())
            self.rewards = [
                _reward(reward, prompt, codec.decode(list(each[n:])), scorer) for each in self.whole
            ]

    def until(self, tokens: int) -> int:
        """How many samples were finished for that many tokens."""
        return int(np.searchsorted(self.at, tokens, side="right"))


def _reward(reward: Scorer, prompt: str, completion: str, scorer: str | None) -> float:
    try:
        return reward(prompt, completion)
    except Exception as error:  # a function of the user's, which raises what it likes
        said = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        raise ForkpointError(f"the scorer {scorer} failed: {said}") from error


def _at_budget(curves: Sequence[_Spent], tokens: int) -> BranchBudget:
    counts = [each.until(tokens) for each in curves]
    distinct = [set(each.whole[:n]) for each, n in zip(curves, counts, strict=True)]
    new = [len(found - each.logged) for found, each in zip(distinct, curves, strict=True)]
    rewards = [
        each.rewards[:n] for each, n in zip(curves, counts, strict=True) if each.rewards and n
    ]
    return BranchBudget(
        tokens=tokens,
        samples=float(np.mean(counts)),
        distinct=float(np.mean([len(each) for each in distinct])),
        new=float(np.mean(new)),
        mean_reward=float(np.mean([np.mean(each) for each in rewards])) if rewards else None,
        best_reward=float(np.mean([max(each) for each in rewards])) if rewards else None,
    )

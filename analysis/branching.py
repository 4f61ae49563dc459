"""Branching of rollouts: how they spread at forks, which forks mattered, what trees would save.

Branching entropy is in nats, of the distribution over a fork's continuations, estimated from how
many siblings took each. It assumes that siblings are independent samples of one policy at one
temperature: fixed seeds, or text that was tokenised anew, make forks that are none or hide some.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations
from math import comb, prod

import numpy as np
import numpy.typing as npt

from forkpoint.analysis.token_runs import check_offsets, fold, offsets_of, ratio, run_of
from forkpoint.analysis.tree import Flags, Floats, Ints

FEW_VISITS = 32
"""Below so many visits the Chao-Shen estimate is the one to quote."""


@dataclass(frozen=True)
class BranchingEntropy:
    """Estimates per fork, in nats; NaN for a fork that nothing passed.

    Attributes:
        visits: n, rollouts that passed the fork.
        children: continuations seen.
        plug_in: entropy of the observed shares; biased low, at most ln n.
        miller_madow: plug-in + (children - 1) / 2n.
        chao_shen: corrected for continuations not seen; see `chao_shen`.
        missing_mass: Good-Turing f1 / n: the chance that one more rollout takes a continuation not
            yet seen; f1 is the number of continuations seen once.
    """

    visits: Ints
    children: Ints
    plug_in: Floats
    miller_madow: Floats
    chao_shen: Floats
    missing_mass: Floats

    @property
    def estimate(self) -> Floats:
        """The estimate to quote: Chao-Shen below `FEW_VISITS` visits, Miller-Madow from there on."""
        return np.where(self.visits < FEW_VISITS, self.chao_shen, self.miller_madow)

    @property
    def effective_branches(self) -> Floats:
        """exp(estimate): equally likely continuations that would be as uncertain."""
        return np.exp(self.estimate)


def branching_entropy(counts: Ints, offsets: Ints) -> BranchingEntropy:
    """Estimate the entropy of many forks at once.

    Args:
        counts: rollouts per child, of all forks; zeros (children that no rollout took) are ignored.
        offsets: shape (forks + 1,): where each fork's children begin.

    Raises:
        ValueError: a negative count, or offsets that do not fit.
    """
    check_offsets(len(counts), offsets)
    if (counts < 0).any():
        raise ValueError("negative count")
    visits: Ints = fold(np.add, counts.astype(np.int64), offsets, 0)
    children: Ints = fold(np.add, (counts > 0).astype(np.int64), offsets, 0)
    singles: Ints = fold(np.add, (counts == 1).astype(np.int64), offsets, 0)
    n = visits.astype(np.float64)
    fork = run_of(offsets)
    seen = counts > 0
    share = np.where(seen, counts, 1) / np.where(seen, n[fork], 1.0)
    unknown = np.where(visits > 0, 0.0, np.nan)
    surprise = np.where(seen, -share * np.log(share), 0.0)
    plug_in: Floats = np.maximum(fold(np.add, surprise, offsets, 0.0), 0.0) + unknown
    return BranchingEntropy(
        visits=visits,
        children=children,
        plug_in=plug_in,
        miller_madow=plug_in + ratio((children - 1).astype(np.float64), 2 * n),
        chao_shen=_chao_shen(share, seen, singles, visits, offsets) + unknown,
        missing_mass=ratio(singles.astype(np.float64), n),
    )


def _chao_shen(share: Floats, seen: Flags, singles: Ints, visits: Ints, offsets: Ints) -> Floats:
    fork = run_of(offsets)
    n = np.maximum(visits, 1).astype(np.float64)
    coverage = 1 - np.where(singles == visits, visits - 1, singles) / n
    expected = np.where(seen, coverage[fork] * share, 1.0)
    with np.errstate(divide="ignore"):  # ln 0 at a share of 1: surely included
        included = -np.expm1(n[fork] * np.log1p(-expected))
    terms = np.where(seen, -expected * np.log(expected) / included, 0.0)
    total: Floats = fold(np.add, terms, offsets, 0.0)
    return np.maximum(total, 0.0)


def plug_in(counts: npt.ArrayLike) -> float:
    """Entropy of the observed shares of one fork's children: -Σ (c/n) ln (c/n); NaN for none.

    >>> round(plug_in([2, 1, 1]), 4)
    1.0397
    """
    return float(_one_fork(counts).plug_in[0])


def miller_madow(counts: npt.ArrayLike) -> float:
    """`plug_in` with the first-order correction of its bias: + (children - 1) / 2n.

    >>> round(miller_madow([2, 1, 1]), 4)
    1.2897
    """
    return float(_one_fork(counts).miller_madow[0])


def chao_shen(counts: npt.ArrayLike) -> float:
    """Entropy of one fork, corrected for continuations not seen.

    With coverage C = 1 - f1/n (Good) and shares p = c/n: -Σ Cp ln(Cp) / (1 - (1 - Cp)^n), each
    term weighted by the inverse of its chance to be seen at all (Horvitz-Thompson). Chao and Shen,
    Environmental and Ecological Statistics 10 (2003) 429-443. Where every child was seen once the
    coverage would be 0; one singleton fewer is counted, as in the R package ``entropy``.

    >>> round(chao_shen([2, 1, 1]), 4)
    1.7632
    """
    return float(_one_fork(counts).chao_shen[0])


def _one_fork(counts: npt.ArrayLike) -> BranchingEntropy:
    children = np.asarray(counts, dtype=np.int64)
    return branching_entropy(children, np.array([0, len(children)], dtype=np.int64))


EXACT_LIMIT = 5_000
"""Up to so many ways to deal rewards to children, all are tried."""
PERMUTATIONS = 2_000
"""Random ways tried where there are more."""


@dataclass(frozen=True)
class SubtreeValues:
    """What became of each continuation of each fork.

    Attributes:
        value: per child, V: mean reward of the leaves under it; NaN if none is known.
        rewarded: per child, leaves with a known reward.
        fork_value: per fork, V over the leaves of all its children.
        fork_rewarded: per fork, leaves with a known reward.
        advantage: per child, V(child) - V(fork).
        contrast: per fork, max V - min V of its children; NaN where fewer than two are known.
        p_value: per fork, the chance of a contrast at least as great if rewards had been dealt to
            the fork's leaves at random; NaN where there is no contrast.
    """

    value: Floats
    rewarded: Ints
    fork_value: Floats
    fork_rewarded: Ints
    advantage: Floats
    contrast: Floats
    p_value: Floats


def values_by_subtree(
    rewards: Floats, first: Ints, last: Ints, offsets: Ints, *, seed: int = 0
) -> SubtreeValues:
    """Mean reward under each child of each fork, and whether the difference may be chance.

    The p-value is a permutation test on the contrast. It is exact where rewards can be dealt in at
    most `EXACT_LIMIT` ways, else estimated from `PERMUTATIONS` random ones as (1 + as great) /
    (1 + tried), and so depends on `seed`; forks with equal child sizes and rewards get equal
    p-values, whatever else is asked. Many forks are many tests: correct for that.

    Args:
        rewards: per leaf, in an order in which every subtree is a range; NaN is unknown and left
            out.
        first, last: per child, its leaves ``[first, last)``. A rollout that ends at the fork
            counts if it is given as a child of its own.
        offsets: shape (forks + 1,): where each fork's children begin.

    Raises:
        ValueError: ranges outside the leaves, or offsets that do not fit.
    """
    check_offsets(len(first), offsets)
    if len(first) and (first.min() < 0 or last.max() > len(rewards) or (first > last).any()):
        raise ValueError(f"leaf ranges outside 0 to {len(rewards)}")
    known = ~np.isnan(rewards)
    before = np.concatenate(([0.0], np.cumsum(np.where(known, rewards, 0.0))))
    known_before = offsets_of(known.astype(np.int64))
    total, rewarded = before[last] - before[first], known_before[last] - known_before[first]
    value = ratio(total, rewarded.astype(np.float64))
    fork_rewarded: Ints = fold(np.add, rewarded, offsets, 0)
    fork_value = ratio(fold(np.add, total, offsets, 0.0), fork_rewarded.astype(np.float64))
    contrast = contrast_of(value, offsets)
    test = _PermutationTest(seed)
    p_value = np.full(len(contrast), np.nan)
    for fork in np.flatnonzero(~np.isnan(contrast)).tolist():
        children = range(offsets[fork], offsets[fork + 1])
        dealt = [rewards[first[i] : last[i]][known[first[i] : last[i]]] for i in children]
        p_value[fork] = test(dealt)
    return SubtreeValues(
        value=value,
        rewarded=rewarded,
        fork_value=fork_value,
        fork_rewarded=fork_rewarded,
        advantage=value - fork_value[run_of(offsets)],
        contrast=contrast,
        p_value=p_value,
    )


def contrast_of(value: Floats, offsets: Ints) -> Floats:
    """Greatest less least value among each fork's children; NaN where fewer than two are known.

    Args:
        value: per child; NaN is unknown.
        offsets: shape (forks + 1,): where each fork's children begin.
    """
    known = ~np.isnan(value)
    highest: Floats = fold(np.maximum, np.where(known, value, -np.inf), offsets, -np.inf)
    lowest: Floats = fold(np.minimum, np.where(known, value, np.inf), offsets, np.inf)
    several = fold(np.add, known.astype(np.int64), offsets, 0) >= 2
    contrast = np.full(len(several), np.nan)
    contrast[several] = highest[several] - lowest[several]
    return contrast


CACHED_FORKS = 1_000
DRAWN_AT_ONCE = 1 << 22


class _PermutationTest:
    """Contrasts of rewards dealt at random, kept for a while: many forks of a log are alike."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._dealt: dict[tuple[tuple[int, ...], bytes], tuple[Floats, bool]] = {}

    def __call__(self, dealt: list[Floats]) -> float:
        """Chance of a contrast at least that of the rewards as dealt to the children."""
        dealt = sorted((each for each in dealt if len(each)), key=len)
        pool = np.sort(np.concatenate(dealt))
        if pool[0] == pool[-1]:
            return 1.0
        contrasts, is_exact = self._contrasts(tuple(map(len, dealt)), pool)
        means = [float(each.mean()) for each in dealt]
        # Equal means may differ in their last bit, depending on the order of the sum.
        slack = 1e-9 * max(abs(float(pool[0])), abs(float(pool[-1])))
        as_great = len(contrasts) - np.searchsorted(contrasts, max(means) - min(means) - slack)
        if is_exact:
            return float(as_great / len(contrasts))
        return float((1 + as_great) / (1 + len(contrasts)))

    def _contrasts(self, sizes: tuple[int, ...], pool: Floats) -> tuple[Floats, bool]:
        """(contrasts in rising order, whether of all ways to deal)"""
        key = sizes, pool.tobytes()
        if key not in self._dealt:
            if len(self._dealt) >= CACHED_FORKS:
                self._dealt.clear()
            left = np.cumsum(sizes[::-1])[::-1].tolist()
            ways = prod(comb(rest, size) for rest, size in zip(left, sizes, strict=True))
            is_exact = ways <= EXACT_LIMIT
            orders = _every_order(sizes) if is_exact else self._random_orders(len(pool))
            found = np.concatenate([_contrasts_of(pool[order], sizes) for order in orders])
            self._dealt[key] = np.sort(found), is_exact
        return self._dealt[key]

    def _random_orders(self, n: int) -> Iterator[Ints]:
        """Orders of `n` leaves as rows, `PERMUTATIONS` in all."""
        generator = np.random.default_rng(self._seed)
        rows = max(DRAWN_AT_ONCE // n, 1)
        for done in range(0, PERMUTATIONS, rows):
            drawn = generator.random((min(rows, PERMUTATIONS - done), n))
            yield np.argsort(drawn, axis=1)


def _contrasts_of(rewards: Floats, sizes: tuple[int, ...]) -> Floats:
    """Contrast of each row of rewards, dealt to the children from left to right."""
    begins = np.cumsum((0, *sizes[:-1]))
    means: Floats = np.add.reduceat(rewards, begins, axis=1) / np.array(sizes)
    contrasts: Floats = means.max(axis=1) - means.min(axis=1)
    return contrasts


@lru_cache(maxsize=256)
def _every_order(sizes: tuple[int, ...]) -> tuple[Ints]:
    """All ways to deal, as rows of one array."""
    return (np.array(list(_all_ways(tuple(range(sum(sizes))), sizes)), dtype=np.int64),)


def _all_ways(items: tuple[int, ...], sizes: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    """All ways to deal `items` to hands of these sizes, each as the hands one after another."""
    if len(sizes) == 1:
        yield items
        return
    for hand in combinations(items, sizes[0]):
        rest = tuple(item for item in items if item not in hand)
        for others in _all_ways(rest, sizes[1:]):
            yield hand + others


def tokens_by_passes(lengths: Ints, lcps: Ints) -> Ints:
    """Distinct tokens of a group's tree by the number of rollouts that pass them.

    Args:
        lengths: shape (k,): tokens of each rollout, rollouts sorted by content.
        lcps: shape (k,): leading tokens each has in common with the one before it; the first entry
            counts not. Equal rollouts have all in common.

    Returns:
        shape (k + 1,): entry s is how many tokens exactly s rollouts pass; their sum is the tree's
        size, and Σ s * entry the flat size.

    Raises:
        ValueError: shapes that differ, or more in common than a rollout is long.

    >>> tokens_by_passes(np.array([2, 3, 3]), np.array([0, 2, 1]))  # ab, abx, ayz
    array([0, 3, 1, 1])
    """
    _check_group(lengths, lcps)
    k = len(lengths)
    tokens = np.zeros(k + 1, dtype=np.int64)
    open_: list[tuple[int, int]] = []  # (depth, first leaf) of the path to the last leaf, falling
    shared = [0, *lcps[1:].tolist(), 0]
    for leaf, length in enumerate([*lengths.tolist(), 0]):
        common = shared[leaf] if leaf < k else 0
        since = leaf
        while open_ and open_[-1][0] > common:
            depth, since = open_.pop()
            above = max(open_[-1][0] if open_ else 0, common)
            tokens[leaf - since] += depth - above
        if common and (not open_ or open_[-1][0] < common):
            open_.append((common, since))
        if length > common:
            open_.append((length, leaf))
    return tokens


def _check_group(lengths: Ints, lcps: Ints) -> None:
    if lengths.shape != lcps.shape:
        raise ValueError(f"{len(lengths)} lengths, {len(lcps)} common prefixes")
    if len(lengths) and lengths.min() < 0:
        raise ValueError("negative length")
    common = lcps[1:]
    if (common < 0).any() or (common > np.minimum(lengths[1:], lengths[:-1])).any():
        raise ValueError("more in common than a rollout is long")


@dataclass(frozen=True)
class BudgetCurve:
    """What m rollouts of a group cost, sampled alone or as branches of one tree.

    Attributes:
        rollouts: m = 1 .. k.
        chain_tokens: mean cost of m rollouts, each sampled alone.
        tree_tokens: mean cost of m of the rollouts, common beginnings paid once.
        distinct: mean number of different rollouts among m.
        budget: tokens that may be spent.
        chains: rollouts that the budget buys alone: budget / mean length.
        branches: rollouts that it buys in the tree; `extrapolated` if more than were logged.
            ``None`` if that needs the cost of a further one and all logged ones are equal.
        branches_by_ratio: the same by proportion, chains * flat / tree.
        extrapolated: whether `branches` goes beyond the log.
    """

    rollouts: Ints
    chain_tokens: Floats
    tree_tokens: Floats
    distinct: Floats
    budget: float
    chains: float
    branches: float | None
    branches_by_ratio: float
    extrapolated: bool


def trajectories_per_budget(
    lengths: Ints, lcps: Ints, budget: float | None = None
) -> BudgetCurve | None:
    """Rollouts that a token budget buys as independent chains, and as branches of the group's tree.

    A token that s of k rollouts pass is among m random ones with probability
    1 - C(k - s, m) / C(k, m), so the mean over all orders of sampling is exact:
    tree(m) = Σ_s tokens(s) * that. Within the log `branches` is read off this curve, interpolated
    between whole rollouts. Beyond it each further rollout is taken to cost as much as the ones
    after the first did on average, (tree(k) - tree(1)) / (k - 1): the curve flattens, so that asks
    rather too much. `branches_by_ratio` also charges each a part of the trunk, so it is lower still.

    Assumed: branching at the observed forks instead of sampling from the prompt changes neither the
    lengths nor where rollouts part. Rollouts that share a beginning are not independent.

    Args:
        lengths, lcps: one group, as in `tokens_by_passes`; with or without the prompt, which then
            is part of the trunk.
        budget: tokens; by default what the group cost as logged, each rollout alone.

    Returns:
        ``None`` for a group without tokens.

    Raises:
        ValueError: as in `tokens_by_passes`, or a budget that is not positive.
    """
    if budget is not None and not budget > 0:
        raise ValueError(f"a budget of {budget} tokens")
    tokens = tokens_by_passes(lengths, lcps)
    k, flat = len(lengths), int(lengths.sum())
    if not flat:
        return None
    missed = _chance_missed(k)
    tree = (tokens[:, None] * (1 - missed)).sum(axis=0)
    spend = float(flat if budget is None else budget)
    chains = spend * k / flat
    equal = np.bincount(_equal_rollouts(lengths, lcps), minlength=k + 1)
    return BudgetCurve(
        rollouts=np.arange(1, k + 1, dtype=np.int64),
        chain_tokens=np.arange(1, k + 1, dtype=np.float64) * (flat / k),
        tree_tokens=tree,
        distinct=(equal[:, None] * (1 - missed)).sum(axis=0),
        budget=spend,
        chains=chains,
        branches=_branches_bought(tree, spend),
        branches_by_ratio=chains * flat / float(tree[-1]),
        extrapolated=bool(spend > tree[-1]),
    )


def _branches_bought(tree: Floats, spend: float) -> float | None:
    """Rollouts whose tree costs `spend`, given what 1 .. k of them cost."""
    k, largest = len(tree), float(tree[-1])
    if spend <= largest:
        return float(np.interp(spend, np.r_[0.0, tree], np.arange(k + 1)))
    if k == 1:
        return spend / largest
    marginal = (largest - float(tree[0])) / (k - 1)
    return k + (spend - largest) / marginal if marginal > 0 else None


def _chance_missed(k: int) -> Floats:
    """C(k - s, m) / C(k, m) at [s, m - 1]: the chance that m of k random rollouts miss given s.

    By columns: missing with m rollouts is to miss with m - 1 and then with one of the k - m + 1
    left, of which k - s - m + 1 are not among the s.
    """
    s = np.arange(k + 1, dtype=np.float64)[:, None]
    m = np.arange(1, k + 1, dtype=np.float64)[None, :]
    left: Floats = np.maximum(k - s - m + 1, 0) / (k - m + 1)
    return left.cumprod(axis=1)


def _equal_rollouts(lengths: Ints, lcps: Ints) -> Ints:
    """How many equal rollouts there are of each distinct one."""
    is_new = np.r_[True, (lcps[1:] < lengths[1:]) | (lcps[1:] < lengths[:-1])]
    runs: Ints = np.diff(np.r_[np.flatnonzero(is_new), len(lengths)])
    return runs


@dataclass(frozen=True)
class LoggedRollouts:
    """What the costs of a sampling scheme are reckoned from.

    Attributes:
        prompt_tokens: mean prompt length.
        rollout_tokens: mean tokens of a rollout after the prompt.
        fork_fractions: how far into a rollout forks fall, each in [0, 1]; ``None``: anywhere alike
            (mean 1/2).
    """

    prompt_tokens: float
    rollout_tokens: float
    fork_fractions: Floats | None = None

    @property
    def tokens_after_fork(self) -> float:
        """Mean tokens that a branch adds: (1 - fraction) of a rollout."""
        if self.fork_fractions is None or not len(self.fork_fractions):
            return self.rollout_tokens / 2
        return float(1 - self.fork_fractions.mean()) * self.rollout_tokens


@dataclass(frozen=True)
class SchemeBudget:
    """What a tree-sampling scheme yields and costs for one prompt, in tokens.

    Attributes:
        leaves: complete rollouts sampled.
        kept: those of them that are trained on.
        sampled_tokens: expected tokens generated or observed after the prompt.
        tree_tokens: the same with the prompt, once: what must be computed if prefixes are shared.
        flat_tokens: as many rollouts sampled alone, each with its prompt.
        equal_chains: independent rollouts that `sampled_tokens` would have bought.
    """

    leaves: int
    kept: int
    sampled_tokens: float
    tree_tokens: float
    flat_tokens: float
    equal_chains: float | None

    @property
    def trajectory_ratio(self) -> float | None:
        """Rollouts per rollout that the same tokens buy without a tree."""
        return self.leaves / self.equal_chains if self.equal_chains else None


def tree_grpo_budget(
    trees: int, expansions: int, rounds: int, kept: int, log: LoggedRollouts
) -> SchemeBudget:
    """Leaves and cost of Tree-GRPO (arXiv:2509.21240) with M trees, N expansions, L rounds, K kept.

    In the released code each tree begins as one chain; in each of L rounds N of its steps, drawn at
    random with replacement (the root too, never a last step), are continued to the end. That is
    M (1 + L N) leaves, of which K are drawn per tree. Its script for multi-hop questions has
    M, N, L, K = 2, 2, 1, 3: 6 leaves for the price of 4 if forks fall anywhere alike.

    Assumed: a continuation is as long as what is left of a mean rollout at the fork.

    Raises:
        ValueError: a negative number, no tree, or more kept than a tree has leaves.
    """
    _check_scheme(trees, expansions, rounds)
    per_tree = 1 + rounds * expansions
    if not 0 <= kept <= per_tree:
        raise ValueError(f"{kept} kept of {per_tree} leaves a tree")
    return _scheme(trees, trees * rounds * expansions, trees * kept, log)


def ep_tree_budget(
    trees: int, forks: int, rounds: int, branches: int, log: LoggedRollouts
) -> SchemeBudget:
    """Leaves and cost of EPTree (TreeRL, arXiv:2506.11902) with (M, N, L, T).

    M chains; in each of L rounds, from the N tokens of highest surprisal in each tree, T branches
    each: M + M N L T leaves, as in the released code, whose script has (6, 2, 1, 2): 30. Fewer if
    a tree has fewer than N tokens that may fork. All leaves are kept here; the script trains on 16.

    Assumed: a branch is as long as what is left of a mean rollout at the fork.

    Raises:
        ValueError: a negative number, or no tree.
    """
    _check_scheme(trees, forks, rounds, branches)
    grown = trees * forks * rounds * branches
    return _scheme(trees, grown, trees + grown, log)


def _check_scheme(trees: int, *others: int) -> None:
    if trees < 1 or min(others) < 0:
        raise ValueError(f"a scheme of {(trees, *others)}")


def _scheme(chains: int, grown: int, kept: int, log: LoggedRollouts) -> SchemeBudget:
    leaves = chains + grown
    sampled = chains * log.rollout_tokens + grown * log.tokens_after_fork
    return SchemeBudget(
        leaves=leaves,
        kept=kept,
        sampled_tokens=sampled,
        tree_tokens=log.prompt_tokens + sampled,
        flat_tokens=leaves * (log.prompt_tokens + log.rollout_tokens),
        equal_chains=sampled / log.rollout_tokens if log.rollout_tokens else None,
    )


@dataclass(frozen=True)
class SavingByDepth:
    """How late a group's rollouts part, and what they would save if they parted later.

    Attributes:
        fraction: of the mean length.
        depth: the same in tokens.
        saving: share of the flat tokens that a tree saves if all rollouts stay merged up to there
            and part as they did from there on. At 0 it is the group's POR; it never falls.
        merged: how merged the rollouts that are longer than `depth` are there: 1 if all have taken
            one path, 0 if each its own; NaN for fewer than two.
    """

    fraction: Floats
    depth: Ints
    saving: Floats
    merged: Floats


def saving_by_depth(lengths: Ints, lcps: Ints, fractions: Floats) -> SavingByDepth | None:
    """Share of tokens that a tree saves if rollouts stay merged to a fraction of the mean length.

    Merged up to depth d, their common trunk costs min(d, longest), and each rollout adds the tokens
    beyond d that no other before it has: length - max(common prefix, d), where that is positive.

    Args:
        lengths, lcps: one group, as in `tokens_by_passes`.
        fractions: not negative.

    Returns:
        ``None`` for a group without tokens.

    Raises:
        ValueError: as in `tokens_by_passes`, or a negative fraction.
    """
    _check_group(lengths, lcps)
    if len(fractions) and not fractions.min() >= 0:
        raise ValueError("negative fraction")
    flat = int(lengths.sum())
    if not flat:
        return None
    common = lcps.copy()
    common[0] = 0
    depth = np.floor(fractions * lengths.mean()).astype(np.int64)
    at = depth[:, None]
    tree = np.minimum(depth, lengths.max()) + np.maximum(lengths - np.maximum(common, at), 0).sum(
        axis=1
    )
    goes_on = (lengths > at).sum(axis=1)
    paths = ((common <= at) & (at < lengths)).sum(axis=1)
    apart = ratio((paths - 1).astype(np.float64), (goes_on - 1).astype(np.float64))
    return SavingByDepth(
        fraction=fractions,
        depth=depth,
        saving=1 - tree / flat,
        merged=np.where(goes_on > 1, 1 - apart, np.nan),
    )

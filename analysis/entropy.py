"""Token entropies: what a log says about them, bounds on the rest, and what is made of them.

Entropies are in nats, over the whole vocabulary, of the distribution that the logprobs describe
(which may be before or after temperature and truncation: the log does not say). -ln p of the
sampled token is its surprisal and is never called entropy. NaN is unknown.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from itertools import chain

import numpy as np
import numpy.typing as npt

from forkpoint.analysis.token_runs import (
    check_offsets,
    fold,
    mean_by_run,
    offsets_of,
    ratio,
    run_of,
)
from forkpoint.analysis.tree import Flags, Floats, Ints

ROUNDING = 0.05
"""Logprobs up to this far above 0, and probabilities that add up to no more than 1 plus this, are
rounding (16-bit logits). What is further off is no probability."""
NOT_STATED = -9999.0
"""OpenAI's logprob of a token of which it tells nothing; anything as low means the same."""
SAME_LOGPROB = 1e-3
"""Nats within which a sampled token counts as one of the most likely ones. To take a token for
listed when it is not loosens the bounds; to count one twice would break them."""

Codes = npt.NDArray[np.int8]
NOT_FORK, FORK, UNDECIDED = 0, 1, 2


@dataclass(frozen=True)
class PositionStats:
    """What the log says of each position's distribution, enough for bounds with any vocabulary.

    Columns of float64, one entry a sampled token. Where nothing is known the tail is 1.

    Attributes:
        logprob: ln p of the sampled token; NaN where it was not stated.
        named_entropy: -Σ p ln p over the tokens whose probability is known; the entropy itself
            where it was logged.
        tail: probability of all other tokens together; 0 where the entropy was logged.
        cap: the most that one of the other tokens can have.
        named: tokens whose probability is known; 0 where the entropy was logged.
    """

    logprob: Floats
    named_entropy: Floats
    tail: Floats
    cap: Floats
    named: Floats

    def __len__(self) -> int:
        return len(self.logprob)

    @property
    def known(self) -> Flags:
        """Positions of which anything is known beyond the size of the vocabulary."""
        known: Flags = (self.named > 0) | (self.tail < 1)
        return known

    def select(self, positions: Ints | Flags) -> PositionStats:
        """The positions chosen by index or by flag."""
        return PositionStats(*(getattr(self, field.name)[positions] for field in fields(self)))

    @staticmethod
    def concatenate(parts: Iterable[PositionStats]) -> PositionStats:
        """The positions of all parts, one after another; none for no parts."""
        several = list(parts)
        columns = (
            np.concatenate([np.empty(0), *(getattr(part, field.name) for part in several)])
            for field in fields(PositionStats)
        )
        return PositionStats(*columns)


def condense(
    logprobs: Sequence[float | None],
    top: Sequence[Sequence[float] | None] | None = None,
    entropies: Sequence[float | None] | None = None,
) -> PositionStats:
    """Reduce what was logged of each position to sufficient statistics.

    The best evidence counts: the entropy, else the list of most likely tokens, else the sampled
    token alone. Logprobs that stand for nothing (``None``, NaN, minus infinity, -9999) leave their
    token unnamed, which only widens the bounds. Lists of most likely tokens that add up to more
    than 1 are no distribution and are left out.

    Some engines add the sampled token to the list when it is not among the most likely (vLLM:
    k + 1 entries). Where it is the least of its list, nothing tells whether others lie between, so
    the least of the rest is the cap.

    Args:
        logprobs: ln p of the sampled tokens.
        top: per position the logprobs of the most likely tokens, in any order, of any number.
        entropies: per position the entropy in nats over the whole vocabulary.

    Raises:
        ValueError: the lists are of different lengths.
    """
    n = len(logprobs)
    for name, column in (("top", top), ("entropies", entropies)):
        if column is not None and len(column) != n:
            raise ValueError(f"{len(column)} {name} for {n} logprobs")
    stats = _from_sampled(_stated(np.array(logprobs, dtype=np.float64)))
    if top is not None:
        stats = _with_top(stats, top)
    if entropies is not None:
        stats = _with_entropies(stats, np.array(entropies, dtype=np.float64))
    return stats


def _stated(logprobs: Floats) -> Floats:
    """Logprobs with NaN for what states no probability, and rounding above 0 taken away."""
    stated = (logprobs > NOT_STATED) & (logprobs <= ROUNDING)
    return np.where(stated, np.minimum(logprobs, 0.0), np.nan)


def _from_sampled(logprob: Floats) -> PositionStats:
    """One token named, if any: another one may have all the rest."""
    is_known = ~np.isnan(logprob)
    log = np.where(is_known, logprob, -np.inf)
    rest = np.abs(np.expm1(log))  # 1 - p, exact where p is close to 1
    return PositionStats(
        logprob=logprob,
        named_entropy=np.where(is_known, _p_ln_p(np.exp(log)), 0.0),
        tail=rest,
        cap=rest.copy(),
        named=is_known.astype(np.float64),
    )


def _p_ln_p(p: Floats) -> Floats:
    """-p ln p, which is 0 for p = 0."""
    return np.abs(p * np.log(np.where(p > 0, p, 1.0)))


def _with_top(stats: PositionStats, top: Sequence[Sequence[float] | None]) -> PositionStats:
    """Replace the evidence of positions that have a list of most likely tokens."""
    n = len(stats)
    lists = [each if each is not None else () for each in top]
    lengths = np.fromiter(map(len, lists), dtype=np.int64, count=n)
    logged = np.fromiter(chain.from_iterable(lists), dtype=np.float64, count=int(lengths.sum()))
    row = np.repeat(np.arange(n, dtype=np.int64), lengths)
    flat = _stated(logged)
    kept = ~np.isnan(flat)
    # A gap at the end of a list is a token of no weight; any other gap may be the likeliest one.
    has_gap = np.bincount(row[~kept & ~(logged <= NOT_STATED)], minlength=n) > 0
    row, flat = row[kept], flat[kept]
    count = np.bincount(row, minlength=n)
    p = np.exp(flat)
    total = np.bincount(row, weights=p, minlength=n)
    entropy = np.bincount(row, weights=_p_ln_p(p), minlength=n)
    least, second = _two_least(flat, row, offsets_of(count))

    sampled = stats.logprob
    has_list: Flags = (count > 0) & (total <= 1 + ROUNDING)
    listed = sampled >= least - SAME_LOGPROB
    is_least = listed & (sampled <= least + SAME_LOGPROB)
    apart = ~listed & ~np.isnan(sampled)
    total = total + np.where(apart, np.exp(sampled), 0.0)
    tail = np.maximum(1.0 - total, 0.0)
    cap = np.exp(np.where(has_gap, np.inf, np.where(is_least, second, least)))
    return PositionStats(
        logprob=sampled,
        named_entropy=np.where(
            has_list, entropy + np.where(apart, stats.named_entropy, 0.0), stats.named_entropy
        ),
        tail=np.where(has_list, tail, stats.tail),
        cap=np.where(has_list, np.minimum(cap, tail), stats.cap),
        named=np.where(has_list, (count + apart).astype(np.float64), stats.named),
    )


def _two_least(flat: Floats, row: Ints, offsets: Ints) -> tuple[Floats, Floats]:
    """The least and the second least value of each run; infinity where there is none."""
    least: Floats = fold(np.minimum, flat, offsets, np.inf)
    is_least = flat == least[row]
    second: Floats = fold(np.minimum, np.where(is_least, np.inf, flat), offsets, np.inf)
    ties = np.bincount(row[is_least], minlength=len(least))
    return least, np.where(ties > 1, least, second)


def _with_entropies(stats: PositionStats, entropies: Floats) -> PositionStats:
    """Replace the evidence of positions whose entropy was logged."""
    logged = np.isfinite(entropies) & (entropies >= -ROUNDING)
    return PositionStats(
        logprob=stats.logprob,
        named_entropy=np.where(logged, np.maximum(entropies, 0.0), stats.named_entropy),
        tail=np.where(logged, 0.0, stats.tail),
        cap=np.where(logged, 0.0, stats.cap),
        named=np.where(logged, 0.0, stats.named),
    )


def token_confidence(top: Sequence[Sequence[float]]) -> Floats:
    """DeepConf's confidence of each position: minus the mean of its top k logprobs (arXiv:2508.15260).

    It is no entropy: high where the distribution is peaked.

    Args:
        top: logprobs of the most likely tokens at each position; what is no finite number is left
            out.

    Returns:
        shape (positions,); NaN where nothing was logged.
    """
    lengths = np.fromiter(map(len, top), dtype=np.int64, count=len(top))
    flat = np.fromiter(chain.from_iterable(top), dtype=np.float64, count=int(lengths.sum()))
    stated = np.where((flat > NOT_STATED) & np.isfinite(flat), flat, np.nan)
    confidence: Floats = -np.minimum(mean_by_run(stated, offsets_of(lengths)), 0.0)
    return confidence


def bounds(stats: PositionStats, vocabulary_size: int) -> tuple[Floats, Floats]:
    """The least and the greatest entropy that agree with what was logged.

    With H the entropy of the named tokens, r the tail, c the cap and m = V - named tokens unnamed:

    - lower = H - n c ln c - q ln q, with n = floor(r / c) and q = r - n c: entropy is concave, so
      it is least where as much as possible lies on as few tokens as possible. Where only the
      sampled token is known, c = r = 1 - p, and this is the binary entropy of p.
    - upper = H + r ln(m / r): the tail spread evenly; never above ln V.

    A cap under which the tail cannot fit (rounding, or a vocabulary stated too small) is raised to
    r / m. Where the entropy was logged both bounds are that entropy; where nothing was, 0 and ln V.

    Args:
        vocabulary_size: tokens that the model can sample, V.

    Returns:
        (lower, upper), each of shape (positions,); lower <= upper.

    Raises:
        ValueError: `vocabulary_size` < 1.
    """
    if vocabulary_size < 1:
        raise ValueError(f"a vocabulary of {vocabulary_size} tokens")
    is_open = stats.tail > 0
    r = np.where(is_open, stats.tail, 1.0)
    unnamed = np.maximum(vocabulary_size - stats.named, 1.0)
    c = np.maximum(stats.cap, r / unnamed)
    whole = np.floor(r / c)
    least = whole * _p_ln_p(c) + _p_ln_p(np.maximum(r - whole * c, 0.0))
    most = r * np.log(unnamed / r)
    highest = np.minimum(stats.named_entropy + most, np.log(vocabulary_size))
    upper = np.where(is_open, highest, stats.named_entropy)
    lower = np.where(is_open, stats.named_entropy + least, stats.named_entropy)
    return np.minimum(lower, upper), upper


def classify(lower: Floats, upper: Floats, threshold: float) -> Codes:
    """Whether each position's entropy reaches `threshold`: `FORK`, `NOT_FORK` or `UNDECIDED`.

    A fork where even the lower bound reaches it (``>=``), no fork where not even the upper one
    does; bounds on both sides of it decide nothing.
    """
    codes = np.full(len(lower), UNDECIDED, dtype=np.int8)
    codes[lower >= threshold] = FORK
    codes[upper < threshold] = NOT_FORK
    return codes


@dataclass(frozen=True)
class Threshold:
    """An entropy that a given share of positions reaches, in nats.

    Attributes:
        value: by the middle of each position's bounds; ``None`` if there are no positions.
        low, high: the least and the greatest that the threshold can be, given the bounds.
        share: share of positions meant to reach it.
        positions: how many it was taken over.
    """

    value: float | None
    low: float | None
    high: float | None
    share: float
    positions: int


def quantile_threshold(lower: Floats, upper: Floats, share: float = 0.2) -> Threshold:
    """The entropy that the top `share` of the positions given reaches.

    Convention: the (1 - share) quantile over all positions passed together (the batch: pass a run,
    a group or a trace, and say which), interpolated linearly between ranks; positions at or above
    it (``>=``) count as high, as in TRL's ``top_entropy_quantile`` (after arXiv:2506.01939). Where
    many positions tie at the threshold more than `share` of them are high.

    Where entropies are known only by bounds, the value takes the middle of each pair. Quantiles
    rise with every value, so the quantiles of the lower and of the upper bounds enclose the one of
    the true entropies.

    Raises:
        ValueError: `share` not in (0, 1].
    """
    _check_share(share)
    n = len(lower)
    if n == 0:
        return Threshold(None, None, None, share, 0)
    low, value, high = (
        float(np.quantile(values, 1 - share)) for values in (lower, (lower + upper) / 2, upper)
    )
    return Threshold(value, low, high, share, n)


@dataclass(frozen=True)
class Patches:
    """Completions cut before each token of high entropy (the global threshold of arXiv:2412.09871,
    of tokens instead of bytes). A completion's first token begins a patch in any case.

    Attributes:
        patches: by the middles of bounds.
        least: those that begin for certain.
        most: those, and all that may.
        mean_tokens: tokens of a patch.
        longest: tokens of the longest.
    """

    patches: int
    least: int
    most: int
    mean_tokens: float
    longest: int


def entropy_patches(codes: Codes, is_high: Flags, offsets: Ints) -> Patches | None:
    """Patches of some completions; ``None``: there is no token.

    Args:
        codes: shape (tokens,): `FORK`, `NOT_FORK` or `UNDECIDED`.
        is_high: shape (tokens,): whether the middle of a position's bounds reaches the threshold.
        offsets: shape (completions + 1,): where each one's tokens begin.
    """
    if not len(codes):
        return None
    check_offsets(len(codes), offsets)
    first = np.zeros(len(codes), dtype=np.bool_)
    first[offsets[:-1][np.diff(offsets) > 0]] = True
    begins = np.flatnonzero(first | is_high)
    return Patches(
        patches=len(begins),
        least=int((first | (codes == FORK)).sum()),
        most=int((first | (codes != NOT_FORK)).sum()),
        mean_tokens=len(codes) / len(begins),
        longest=int(np.diff(np.r_[begins, len(codes)]).max()),
    )


def _check_share(share: float) -> None:
    if not 0 < share <= 1:
        raise ValueError(f"share {share} is not in (0, 1]")


def mass_share(values: Floats, share: float = 0.2) -> float | None:
    """Share of the sum of `values` that the largest `share` of them carries.

    A point of the Lorenz curve: where `share` is not a whole number of values, the next one counts
    in part, so equal values give exactly `share`, however many tie.

    Args:
        values: not negative; NaN is left out.

    Returns:
        In [share, 1]; ``None`` where there is nothing to share.

    Raises:
        ValueError: `share` not in (0, 1].
    """
    _check_share(share)
    ordered = np.sort(values[~np.isnan(values)])[::-1]
    total = float(ordered.sum())
    if total <= 0:
        return None
    wanted = share * len(ordered)
    whole = int(wanted)
    part = (wanted - whole) * ordered[whole] if whole < len(ordered) else 0.0
    return min(float(ordered[:whole].sum() + part) / total, 1.0)


def windowed(values: Floats, offsets: Ints, window: int) -> tuple[Floats, Ints]:
    """Mean of `values` in each window of `window` neighbours within a sequence, one step apart.

    A sequence shorter than the window is one window; an empty one has none.

    Args:
        values: NaN is left out of the means.
        offsets: shape (sequences + 1,): where each sequence begins.

    Returns:
        (means, offsets of each sequence's means); NaN for windows in which nothing is known.

    Raises:
        ValueError: `window` < 1, or offsets that do not fit.
    """
    if window < 1:
        raise ValueError(f"a window of {window} tokens")
    check_offsets(len(values), offsets)
    lengths = np.diff(offsets)
    width = np.minimum(lengths, window)
    n_windows = np.where(lengths > 0, lengths - width + 1, 0)
    cuts = offsets_of(n_windows)
    sequence = run_of(cuts)
    first = offsets[:-1][sequence] + np.arange(cuts[-1]) - cuts[:-1][sequence]
    last = first + width[sequence]
    known = ~np.isnan(values)
    total = np.concatenate(([0.0], np.cumsum(np.where(known, values, 0.0))))
    count = offsets_of(known.astype(np.int64))
    return ratio(total[last] - total[first], (count[last] - count[first]).astype(np.float64)), cuts


@dataclass(frozen=True)
class Information:
    """Information in each sequence, and the decoding rounds that it takes at least.

    Attributes:
        bits: Σ -log2 p over the sampled tokens whose logprob is known.
        known: tokens with a known logprob.
        unknown: tokens without; `bits` and the rounds are lower bounds where there are any.
        rounds_in_order: rounds of a decoder that writes left to right.
        rounds_any_order: rounds of one that fills in any order and never takes an unsure token.
        bits_per_round: information that a round of sure tokens can hold.
    """

    bits: Floats
    known: Ints
    unknown: Ints
    rounds_in_order: Ints
    rounds_any_order: Ints
    bits_per_round: float


def sequence_information(
    logprobs: Floats, offsets: Ints, *, factor: float = 1.0, tokens_per_round: int = 32
) -> Information:
    """Bits in each sequence, and how few rounds of parallel decoding they allow.

    The bits-to-rounds principle (arXiv:2511.21103): rounds >= information / information per round.
    Assumed is a decoder that takes n tokens at once only if each has 1 - p <= f / (n + 1), p given
    what was decoded before (the rule of Fast-dLLM, arXiv:2505.22618; its defaults are f = 1 and
    blocks of 32, which are the defaults here). Then, by the union bound, all n are right with
    probability at least 1 - n f / (n + 1), so a round holds at most
    b = ln((n + 1) / ((1 - f) n + 1)) nats: 3.5 nats, 5 bits, by default. Hence

    - in any order: rounds >= total / b. The total must be that of the decoder's own distribution;
      the log's stands for it if both models agree.
    - left to right, where a decoder that is sure of nothing takes one token all the same: a token
      of more than b nats has a round of its own, and the others take at least (their sum) / b.

    Both also take at least tokens / n. A decoder with another rule is not bound by this.

    Args:
        logprobs: ln p of the sampled tokens; NaN is unknown and counted as such.
        offsets: shape (sequences + 1,): where each sequence begins.
        factor: f, in (0, 1].
        tokens_per_round: the most tokens a round can decode, n.

    Raises:
        ValueError: `factor` or `tokens_per_round` out of range, or offsets that do not fit.
    """
    if not 0 < factor <= 1 or tokens_per_round < 1:
        raise ValueError(f"factor {factor}, {tokens_per_round} tokens per round")
    per_round = np.log((tokens_per_round + 1) / ((1 - factor) * tokens_per_round + 1))
    known = ~np.isnan(logprobs)
    nats = np.where(known, np.maximum(-logprobs, 0.0), 0.0)
    unsure = nats > per_round
    total: Floats = fold(np.add, nats, offsets, 0.0)
    sure: Floats = fold(np.add, np.where(unsure, 0.0, nats), offsets, 0.0)
    n_known: Ints = fold(np.add, known.astype(np.int64), offsets, 0)
    n_unsure: Ints = fold(np.add, unsure.astype(np.int64), offsets, 0)
    tokens = np.diff(offsets)

    def rounds(information: Floats, n_tokens: Ints) -> Ints:
        by_information = np.ceil(information / per_round - 1e-9)  # a sum's rounding is no round
        least: Floats = np.maximum(by_information, np.ceil(n_tokens / tokens_per_round))
        return least.astype(np.int64)

    return Information(
        bits=total / np.log(2),
        known=n_known,
        unknown=tokens - n_known,
        rounds_in_order=n_unsure + rounds(sure, tokens - n_unsure),
        rounds_any_order=rounds(total, tokens),
        bits_per_round=float(per_round / np.log(2)),
    )


@dataclass(frozen=True)
class FrequentToken:
    """A token and how often it stands at a marked position.

    Attributes:
        token: its code.
        marked: its occurrences at marked positions.
        occurrences: all of them.
    """

    token: int
    marked: int
    occurrences: int

    @property
    def share(self) -> float:
        """Share of the token's occurrences that are marked, in (0, 1]."""
        return self.marked / self.occurrences


def most_frequent(tokens: Ints, mask: Flags, top: int) -> list[FrequentToken]:
    """The tokens that stand most often at marked positions, most often first; ties by code."""
    codes, place = np.unique(tokens, return_inverse=True)
    occurrences = np.bincount(place, minlength=len(codes))
    marked = np.bincount(place[mask], minlength=len(codes))
    order = np.argsort(-marked, kind="stable")[: max(top, 0)]
    return [
        FrequentToken(int(codes[i]), int(marked[i]), int(occurrences[i]))
        for i in order.tolist()
        if marked[i]
    ]


@dataclass(frozen=True)
class DifficultyBin:
    """Groups of about the same difficulty.

    Attributes:
        low, high: difficulties of its easiest and its hardest group.
        groups: how many.
        mean_entropy: mean of the groups' mean entropies.
    """

    low: float
    high: float
    groups: int
    mean_entropy: float


@dataclass(frozen=True)
class DifficultyCurve:
    """Entropy against difficulty, in bins and as a parabola a + b d + curvature d².

    Attributes:
        bins: from easy to hard.
        groups: groups with a known reward and entropy.
        curvature, curvature_error: coefficient of d² and its standard error (least squares); the
            coefficient is ``None`` for fewer than 3 distinct difficulties, the error also for
            fewer than 4 groups.
        vertex: difficulty where the parabola turns; ``None`` if it does not.
        is_u_shaped: the curvature is positive and the vertex between the easiest and the hardest
            group. It is evidence only if the curvature is several of its errors above 0.
    """

    bins: tuple[DifficultyBin, ...]
    groups: int
    curvature: float | None
    curvature_error: float | None
    vertex: float | None
    is_u_shaped: bool | None


def difficulty_curve(mean_reward: Floats, mean_entropy: Floats, bins: int = 5) -> DifficultyCurve:
    """Is entropy high on easy and on hard tasks, and low between (DiffAdapt, arXiv:2510.19669)?

    Difficulty is 1 - mean reward of the group, for rewards in [0, 1]. Bins hold equally many groups
    as far as ties allow: groups of one difficulty share a bin, so there may be fewer bins.

    Args:
        mean_reward, mean_entropy: shape (groups,); groups with a NaN in either are left out.

    Raises:
        ValueError: `bins` < 1.
    """
    if bins < 1:
        raise ValueError(f"{bins} bins")
    known = ~(np.isnan(mean_reward) | np.isnan(mean_entropy))
    difficulty, entropy = 1.0 - mean_reward[known], mean_entropy[known]
    order = np.argsort(difficulty, kind="stable")
    difficulty, entropy = difficulty[order], entropy[order]
    curvature, error, vertex = _parabola(difficulty, entropy)
    is_u: bool | None = None
    if curvature is not None:
        inside = vertex is not None and difficulty[0] < vertex < difficulty[-1]
        is_u = bool(curvature > 0 and inside)
    return DifficultyCurve(
        _difficulty_bins(difficulty, entropy, bins), len(difficulty), curvature, error, vertex, is_u
    )


def _difficulty_bins(difficulty: Floats, entropy: Floats, bins: int) -> tuple[DifficultyBin, ...]:
    """Cut at quantiles; `difficulty` rises."""
    if not len(difficulty):
        return ()
    edges = np.quantile(difficulty, np.arange(1, bins) / bins)
    number = np.searchsorted(edges, difficulty, side="left")
    starts = np.flatnonzero(np.r_[True, number[1:] != number[:-1]])
    ends = np.r_[starts[1:], len(number)]
    return tuple(
        DifficultyBin(
            float(difficulty[i]), float(difficulty[j - 1]), j - i, float(entropy[i:j].mean())
        )
        for i, j in zip(starts.tolist(), ends.tolist(), strict=True)
    )


def _parabola(x: Floats, y: Floats) -> tuple[float | None, float | None, float | None]:
    """Least-squares (curvature, its standard error, vertex)."""
    n = len(x)
    middle = float(x.mean()) if n else 0.0  # centred, or x and its square are nearly collinear
    design = np.vander(x - middle, 3)
    if n < 3 or np.linalg.matrix_rank(design) < 3:
        return None, None, None
    triangle = np.linalg.qr(design, mode="r")
    curvature, slope, constant = np.linalg.lstsq(design, y, rcond=None)[0].tolist()
    error = None
    if n > 3:
        residual = y - design @ np.array([curvature, slope, constant])
        inverse = np.linalg.inv(triangle)
        error = float(np.sqrt((inverse[0] @ inverse[0]) * (residual @ residual) / (n - 3)))
    vertex = middle - slope / (2 * curvature) if curvature else None
    return curvature, error, vertex


def rank_by_advantage(advantage: Floats, entropy: Floats, top: int) -> Ints:
    """Positions with the greatest |advantage| x entropy, greatest first; ties in order.

    The token level of D3S (arXiv:2509.22115): where the policy was unsure and it mattered.

    Args:
        advantage, entropy: shape (positions,); positions with a NaN in either are left out.

    Returns:
        At most `top` indices.
    """
    weight = np.abs(advantage) * entropy
    known = np.flatnonzero(~np.isnan(weight))
    ranked: Ints = known[np.argsort(-weight[known], kind="stable")]
    return ranked[: max(top, 0)]


LOW_SHARE = 0.01
"""Lp-Reg guards the least likely 1 % of sampled tokens (arXiv:2510.03222; ``logp_neg_k_percent`` in
its training scripts)."""
NOISE_FLOOR = 0.02
"""Lp-Reg takes tokens below 2 % of the likeliest one's probability for noise (min-p;
``minp_p_threshold`` in its training scripts)."""


@dataclass(frozen=True)
class Sparks:
    """Unlikely tokens that were sampled, and whether what they led to was rewarded.

    Attributes:
        positions: unlikely tokens in rewarded traces, least likely first.
        low: probability up to which a token is unlikely; ``None`` if no probability is known.
        unlikely: unlikely tokens, noise left out.
        noise: tokens left out as noise; ``None`` where the likeliest tokens are not known.
        rewarded_share: share of the unlikely tokens that stand in rewarded traces.
        base_share: share of all tokens that do. Sparks are worth something where `rewarded_share`
            is not below it.
    """

    positions: Ints
    low: float | None
    unlikely: int
    noise: int | None
    rewarded_share: float | None
    base_share: float | None


def sparks(
    probability: Floats,
    is_rewarded: Flags,
    *,
    low: float | None = None,
    top_probability: Floats | None = None,
    noise_floor: float = NOISE_FLOOR,
) -> Sparks:
    """Low-probability tokens in rewarded traces: the "reasoning sparks" of Lp-Reg.

    Args:
        probability: of the sampled tokens; NaN is left out.
        is_rewarded: per token, whether its trace was rewarded (a positive advantage, or a reward).
        low: probability up to which a token is unlikely; by default the `LOW_SHARE` quantile of
            those given, so it depends on what is passed together.
        top_probability: of the likeliest token at each position. With it, tokens below
            `noise_floor` times that are left out; without it, or where it is NaN, none are.
    """
    known = ~np.isnan(probability)
    if not known.any():
        return Sparks(np.empty(0, dtype=np.int64), low, 0, None, None, None)
    limit = float(np.quantile(probability[known], LOW_SHARE)) if low is None else low
    unlikely = known & (probability <= limit)
    noise: int | None = None
    if top_probability is not None:
        is_noise = unlikely & (probability < noise_floor * top_probability)
        noise, unlikely = int(is_noise.sum()), unlikely & ~is_noise
    found = np.flatnonzero(unlikely & is_rewarded)
    n = int(unlikely.sum())
    return Sparks(
        positions=found[np.argsort(probability[found], kind="stable")],
        low=limit,
        unlikely=n,
        noise=noise,
        rewarded_share=len(found) / n if n else None,
        base_share=float(is_rewarded[known].mean()),
    )


def step_entropy(values: Floats, offsets: Ints, first: int = 20) -> Floats:
    """Mean entropy of the first tokens of each turn: how unsure a step begins.

    ARPO (arXiv:2507.19849) looks at the first 20 tokens after a tool result, at the entropy of the
    10 likeliest tokens over ln V; here it is the mean of whatever entropies are passed.

    Args:
        values: entropies of the tokens of the turns to look at; NaN is left out.
        offsets: shape (turns + 1,): where each turn begins.
        first: tokens of a turn that count, at most.

    Returns:
        shape (turns,); NaN for a turn of which nothing is known.

    Raises:
        ValueError: `first` < 1, or offsets that do not fit.
    """
    if first < 1:
        raise ValueError(f"the first {first} tokens")
    check_offsets(len(values), offsets)
    lengths = np.diff(offsets)
    place = np.arange(len(values)) - np.repeat(offsets[:-1], lengths)
    return mean_by_run(values[place < first], offsets_of(np.minimum(lengths, first)))


@dataclass(frozen=True)
class HighRuns:
    """Runs of consecutive high-entropy steps.

    Attributes:
        lengths: how many runs there are of each length, shortest first.
        longest: steps in the longest run; 0 if there is none.
        high: high-entropy steps.
        steps: all steps.
    """

    lengths: dict[int, int]
    longest: int
    high: int
    steps: int

    @property
    def consecutive_share(self) -> float | None:
        """Share of the high-entropy steps that follow right upon another one."""
        runs = sum(self.lengths.values())
        return (self.high - runs) / self.high if self.high else None


def high_entropy_runs(is_high: Flags, offsets: Ints) -> HighRuns:
    """How often high-entropy steps follow upon each other within a trace.

    To branch at each of them spends the budget on few chains: AEPO (arXiv:2510.14545) makes a
    branch the less likely the longer such a run is.

    Args:
        is_high: per step (tool call) of a trace; see `step_entropy`.
        offsets: shape (traces + 1,): where each trace begins.

    Raises:
        ValueError: offsets that do not fit.
    """
    check_offsets(len(is_high), offsets)
    follows = np.zeros(len(is_high), dtype=np.bool_)
    follows[1:] = is_high[1:] & is_high[:-1]
    begins = offsets[:-1]
    follows[begins[begins < len(is_high)]] = False  # a trace does not go on in the next one
    run = np.cumsum(is_high & ~follows)[is_high]
    lengths, counts = np.unique(np.bincount(run)[1:], return_counts=True)
    return HighRuns(
        lengths=dict(zip(lengths.tolist(), counts.tolist(), strict=True)),
        longest=int(lengths.max(initial=0)),
        high=int(is_high.sum()),
        steps=len(is_high),
    )


@dataclass(frozen=True)
class Agreement:
    """Does high entropy tell where siblings diverge? Counts; what has no denominator is ``None``.

    Attributes:
        positions: positions where siblings could have diverged.
        high: those of high entropy.
        divergences: those where they did.
        both: those of both.
    """

    positions: int
    high: int
    divergences: int
    both: int

    @property
    def precision(self) -> float | None:
        """Share of the high-entropy positions where siblings diverge."""
        return self.both / self.high if self.high else None

    @property
    def recall(self) -> float | None:
        """Share of the divergences that are of high entropy."""
        return self.both / self.divergences if self.divergences else None

    @property
    def base_rate(self) -> float | None:
        """Share of all positions where siblings diverge: the precision of guessing."""
        return self.divergences / self.positions if self.positions else None

    @property
    def lift(self) -> float | None:
        """Precision over base rate; 1 says that entropy tells nothing."""
        if self.precision is None or not self.base_rate:
            return None
        return self.precision / self.base_rate


def precision_recall(is_high: Flags, is_divergence: Flags) -> Agreement:
    """Compare high-entropy positions with those where siblings were seen to diverge.

    Args:
        is_high, is_divergence: shape (positions,): over the positions that at least two siblings
            passed; elsewhere no divergence could have been seen.

    Raises:
        ValueError: the shapes differ.
    """
    if is_high.shape != is_divergence.shape:
        raise ValueError(f"{len(is_high)} and {len(is_divergence)} positions")
    return Agreement(
        positions=len(is_high),
        high=int(is_high.sum()),
        divergences=int(is_divergence.sum()),
        both=int((is_high & is_divergence).sum()),
    )

"""Entropy of the tokens in scope: from the logprobs that logs hold, or where they hold none those
that a replay measured, to the figures of a report."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np

from forkpoint.analysis import entropy as measures
from forkpoint.analysis.entropy import FORK, NOT_FORK, UNDECIDED, PositionStats, Threshold
from forkpoint.analysis.entropy_results import (
    Entropy,
    EntropyWindow,
    ForkToken,
    RankedToken,
    ScoredModel,
    UnlikelyTokens,
)
from forkpoint.analysis.group_trees import GroupTrees, find_group_forks, sort_sequences
from forkpoint.analysis.logged_tokens import TokenPlace, read_tokens
from forkpoint.analysis.replay_store import select_replayed, token_texts
from forkpoint.analysis.store import Store
from forkpoint.analysis.token_runs import mean_by_run, offsets_of, run_of
from forkpoint.analysis.tree import Flags, Floats, Ints
from forkpoint.analysis.vocabularies import Vocabulary, vocabulary_of

TOP_SHARE = 0.2
"""High-entropy tokens are the top 20 % of all tokens in scope (arXiv:2506.01939)."""
WINDOW = 64
"""Tokens of a window whose mean entropy is reported."""
PROFILE_BINS = 10
SHOWN = 10


@dataclass(frozen=True)
class Completions:
    """Scored completions in scope. Arrays of one entry a completion.

    Attributes:
        group: a number that completions of one group share; -1: not a rollout.
        trace: an index into `trace_ids`.
        trace_ids: ids of the traces.
        reward: of the completion's rollout; NaN: none logged.
        prompt: a number that completions of one prompt share.
        offsets: shape (completions + 1,): where each one's tokens begin.
        rows: (path, format, line, offset of the record, choice, model) of each. Of a replayed one
            the model is the one that was run, and a line that is not known is ``None``.
        tokenizer: of a replayed completion, its model's tokenizer, "" where that is not known;
            ``None``: logged.
        vocabularies: sizes of vocabularies that replays know, by model.
    """

    group: Ints
    trace: Ints
    trace_ids: list[str]
    reward: Floats
    prompt: Ints
    offsets: Ints
    rows: list[tuple[str, str, int | None, int, int, str]]
    tokenizer: list[str | None]
    vocabularies: dict[str, Vocabulary]

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def replayed(self) -> Flags:
        """Which were not logged but replayed."""
        return np.array([each is not None for each in self.tokenizer], dtype=np.bool_)

    def vocabulary_of(self, completion: int) -> Vocabulary:
        """What the model of a completion can sample."""
        model = self.rows[completion][5]
        known = self.vocabularies.get(model) if self.tokenizer[completion] is not None else None
        return vocabulary_of(model) if known is None else known


class ScoredTokens:
    """All scored tokens in scope.

    Args:
        completions: what they are parts of.
        token: per token, its code.
        stats: per token, what the log says of its distribution.
        confidence: per token, DeepConf's; NaN where the likeliest tokens were not logged.
        threshold: entropy in nats from which a token counts as high; ``None``: what the top share
            of all tokens reach.
        top_share: that share, in (0, 1).
        store: where the texts of replayed tokens are; ``None``: there are none.
    """

    def __init__(
        self,
        completions: Completions,
        token: Ints,
        stats: PositionStats,
        confidence: Floats,
        threshold: float | None = None,
        store: Store | None = None,
        top_share: float = TOP_SHARE,
    ) -> None:
        self.completions = completions
        self.token = token
        self.stats = stats
        self.confidence = confidence
        self._absolute = threshold
        self.top_share = top_share
        self._store = store

    def __len__(self) -> int:
        return len(self.token)

    @cached_property
    def bounds(self) -> tuple[Floats, Floats]:
        """Least and greatest entropy of each position, with its model's vocabulary."""
        lower, upper = np.zeros(len(self)), np.zeros(len(self))
        completions = self.completions
        sizes = np.array([completions.vocabulary_of(i).size for i in range(len(completions))])
        per_token = np.repeat(sizes, np.diff(self.completions.offsets))
        for size in np.unique(sizes).tolist():
            at = np.flatnonzero(per_token == size)
            lower[at], upper[at] = measures.bounds(self.stats.select(at), size)
        return lower, upper

    @cached_property
    def known(self) -> Flags:
        """Positions of which the log says anything."""
        return self.stats.known

    @cached_property
    def middle(self) -> Floats:
        """The middle of each position's bounds: a point estimate; NaN where nothing is known."""
        lower, upper = self.bounds
        return np.where(self.known, (lower + upper) / 2, np.nan)

    @cached_property
    def threshold(self) -> Threshold:
        """From where on a position counts as one of high entropy."""
        lower, upper = self.bounds
        found = measures.quantile_threshold(lower[self.known], upper[self.known], self.top_share)
        if self._absolute is None:
            return found
        return Threshold(
            self._absolute, self._absolute, self._absolute, found.share, found.positions
        )

    @cached_property
    def codes(self) -> measures.Codes:
        """`FORK`, `NOT_FORK` or `UNDECIDED` per position; undecided where nothing is known."""
        lower, upper = self.bounds
        value = self.threshold.value
        return measures.classify(lower, upper, np.inf if value is None else value)

    @cached_property
    def is_high(self) -> Flags:
        """Positions whose point estimate reaches the threshold."""
        value = self.threshold.value
        flags: Flags = self.middle >= (np.inf if value is None else value)
        return flags

    @cached_property
    def patches(self) -> measures.Patches | None:
        """The completions cut before each position of high entropy."""
        return measures.entropy_patches(self.codes, self.is_high, self.completions.offsets)

    @property
    def replayed_tokens(self) -> int:
        """Positions of which the log says nothing and a replay does."""
        return int((self.known & self.completions.replayed[self.completion]).sum())

    @cached_property
    def completion(self) -> Ints:
        """The completion of each token."""
        return run_of(self.completions.offsets)

    @cached_property
    def advantage(self) -> Floats:
        """Of each token's completion; see `_advantages`."""
        return _advantages(self.completions)[self.completion]

    def place(self, position: int) -> tuple[TokenPlace, int | None]:
        """Where a token stands in its log, and the line of its record."""
        completion = int(self.completion[position])
        path, log_format, line, offset, choice, _ = self.completions.rows[completion]
        within = position - int(self.completions.offsets[completion])
        return TokenPlace(path, log_format, offset, choice, within), line

    def texts(self, positions: Ints) -> list[str | None]:
        """What tokens are, as their logs name them or as the tokenizer of the replayed model does;
        ``None``: not known (any more)."""
        of = [self.completions.tokenizer[i] for i in self.completion[positions].tolist()]
        places = [self.place(position)[0] for position in positions.tolist()]
        logged = read_tokens(
            place for place, tokenizer in zip(places, of, strict=True) if tokenizer is None
        )
        tokens = self.token[positions].tolist()
        named: dict[str, dict[int, str]] = {}
        for tokenizer in {each for each in of if each is not None}:
            wanted = [token for token, each in zip(tokens, of, strict=True) if each == tokenizer]
            assert self._store is not None
            named[tokenizer] = token_texts(self._store, tokenizer, wanted)
        return [
            logged.get(place) if tokenizer is None else named[tokenizer].get(token, f"#{token}")
            for place, token, tokenizer in zip(places, tokens, of, strict=True)
        ]


def load_scored_tokens(
    store: Store, threshold: float | None = None, top_share: float = TOP_SHARE
) -> ScoredTokens | None:
    """The scored tokens in scope; ``None`` where no log holds logprobs and none were replayed.

    A completion that several files hold is taken from the first of them. One that was logged and
    replayed is taken from its log.
    """
    select_replayed(store)
    store.execute(
        """
        CREATE OR REPLACE TEMP TABLE scope_scores AS
        SELECT row_number() OVER (ORDER BY path, record_offset, choice, trace_id, completion) - 1
                   AS score_no, *
        FROM (
            SELECT source_id, line, record_offset, choice, trace_id, scores.prompt, completion,
                   scope_sources.path, scope_sources.format, group_id, reward,
                   NULL AS replay_id, NULL AS replayed_model
            FROM scores JOIN scope_sources USING (source_id)
            JOIN scope_traces USING (trace_id)
            WHERE NOT deleted
            QUALIFY dense_rank() OVER (
                PARTITION BY trace_id, scores.prompt, completion ORDER BY scope_sources.path
            ) = 1
            UNION ALL
            SELECT NULL, line, coalesce(record_offset, 0), 0, trace_id, prompt, completion, path,
                   format, group_id, reward, replay_id, model
            FROM scope_replayed
            QUALIFY row_number() OVER (
                PARTITION BY trace_id, prompt, completion ORDER BY path, record_offset
            ) = 1
        )
        """
    )
    if not store.value("SELECT count(*) FROM scope_scores"):
        return None
    rows = store.rows(
        """
        WITH models AS (
            SELECT source_id, record_offset, any_value(model) AS model
            FROM calls WHERE model IS NOT NULL GROUP BY ALL
        )
        SELECT coalesce(dense_rank() OVER (ORDER BY group_id NULLS LAST), 0) AS group_no,
               group_id IS NULL AS alone, trace_id,
               dense_rank() OVER (ORDER BY prompt, replay_id) AS prompt_no, reward,
               path, format, line, record_offset, choice,
               coalesce(replayed_model, model, '') AS model,
               CASE WHEN replay_id IS NOT NULL THEN coalesce(tokenizer, '') END AS tokenizer,
               vocabulary_size, coalesce(logged.n, replayed.n_tokens) AS n
        FROM scope_scores
        LEFT JOIN (
            SELECT source_id, record_offset, choice, count(*) AS n FROM scored_tokens GROUP BY ALL
        ) AS logged USING (source_id, record_offset, choice)
        LEFT JOIN replayed USING (replay_id, prompt, completion)
        LEFT JOIN (SELECT replay_id, tokenizer, vocabulary_size FROM replays) USING (replay_id)
        LEFT JOIN models USING (source_id, record_offset)
        ORDER BY score_no
        """
    )
    tokens = store.execute(
        """
        SELECT token, logprob, named_entropy, tail, cap, named, confidence
        FROM (
            SELECT score_no, position, token, logprob, named_entropy, tail, cap, named, confidence
            FROM scored_tokens JOIN scope_scores USING (source_id, record_offset, choice)
            UNION ALL
            SELECT score_no, position, token, logprob, named_entropy, tail, cap, named, confidence
            FROM replayed_tokens JOIN scope_scores USING (replay_id, prompt, completion)
        )
        ORDER BY score_no, position
        """
    ).fetchnumpy()
    traces: dict[str, int] = {}
    for row in rows:
        traces.setdefault(row[2], len(traces))
    completions = Completions(
        group=np.array([-1 if row[1] else row[0] for row in rows], dtype=np.int64),
        trace=np.array([traces[row[2]] for row in rows], dtype=np.int64),
        trace_ids=list(traces),
        reward=np.array([np.nan if row[4] is None else row[4] for row in rows], dtype=np.float64),
        prompt=np.array([row[3] for row in rows], dtype=np.int64),
        offsets=offsets_of(np.array([row[-1] for row in rows], dtype=np.int64)),
        rows=[row[5:11] for row in rows],
        tokenizer=[row[11] for row in rows],
        vocabularies={row[10]: Vocabulary(row[12], known=True) for row in rows if row[12]},
    )
    figures = {
        name: np.asarray(np.ma.filled(values, np.nan), dtype=np.float64)
        for name, values in tokens.items()
        if name != "token"
    }
    confidence = figures.pop("confidence")
    codes = np.asarray(tokens["token"], dtype=np.int64)
    stats = PositionStats(**figures)
    return ScoredTokens(completions, codes, stats, confidence, threshold, store, top_share)


def measure_entropy(scored: ScoredTokens | None) -> Entropy | None:
    """Every figure about token entropy; ``None`` where no log holds logprobs."""
    if scored is None:
        return None
    lower, upper = scored.bounds
    known, codes, stats = scored.known, scored.codes, scored.stats
    threshold = scored.threshold
    completions = scored.completions
    information = measures.sequence_information(stats.logprob, completions.offsets)
    n_known = int(known.sum())
    return Entropy(
        tokens=n_known,
        unknown_tokens=len(scored) - n_known,
        completions=len(completions),
        models=_models(completions),
        whole_tokens=int((known & (stats.named == 0)).sum()),
        top_k_tokens=int((known & (stats.named > 1)).sum()),
        sampled_only_tokens=int((known & (stats.named == 1)).sum()),
        replayed_tokens=scored.replayed_tokens,
        threshold_nats=threshold.value,
        threshold_low_nats=threshold.low,
        threshold_high_nats=threshold.high,
        threshold_is_absolute=scored._absolute is not None,
        top_share=scored.top_share,
        fork=int((codes[known] == FORK).sum()),
        not_fork=int((codes[known] == NOT_FORK).sum()),
        undecided=int((codes[known] == UNDECIDED).sum()),
        mean_lower_nats=_mean(lower[known]),
        mean_upper_nats=_mean(upper[known]),
        mean_surprisal_nats=_mean(-stats.logprob[~np.isnan(stats.logprob)]),
        top_mass_share=measures.mass_share(scored.middle, scored.top_share),
        profile_nats=_profile(scored),
        windows=_windows(scored),
        fork_tokens=_fork_tokens(scored),
        mean_bits=_mean(information.bits),
        mean_rounds_in_order=_mean(information.rounds_in_order.astype(np.float64)),
        mean_rounds_any_order=_mean(information.rounds_any_order.astype(np.float64)),
        mean_tokens=_mean(np.diff(completions.offsets).astype(np.float64)),
        runs=_step_runs(scored),
        difficulty=_difficulty(scored),
        agreement=measure_agreement(scored),
        decisive=_decisive(scored),
        sparks=_sparks(scored),
        patches=scored.patches,
    )


def _mean(values: Floats) -> float | None:
    return float(values.mean()) if len(values) else None


def _models(completions: Completions) -> tuple[ScoredModel, ...]:
    counts: dict[tuple[str, Vocabulary], int] = {}
    sizes = np.diff(completions.offsets).tolist()
    for i, (row, n) in enumerate(zip(completions.rows, sizes, strict=True)):
        key = row[5], completions.vocabulary_of(i)
        counts[key] = counts.get(key, 0) + n
    return tuple(
        ScoredModel(model, n, vocabulary.size, vocabulary.known)
        for (model, vocabulary), n in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    )


def _profile(scored: ScoredTokens) -> tuple[float | None, ...]:
    """Mean entropy by tenths of the completions, from their beginnings to their ends."""
    offsets = scored.completions.offsets
    lengths = np.repeat(np.diff(offsets), np.diff(offsets))
    place = np.arange(len(scored)) - offsets[:-1][scored.completion]
    tenth = place * PROFILE_BINS // np.maximum(lengths, 1)
    order = np.argsort(tenth, kind="stable")
    counts = np.bincount(tenth, minlength=PROFILE_BINS).astype(np.int64)
    means = mean_by_run(scored.middle[order], offsets_of(counts))
    return tuple(None if np.isnan(mean) else float(mean) for mean in means)


def _windows(scored: ScoredTokens) -> tuple[EntropyWindow, ...]:
    """The windows of highest mean entropy, at most one of each completion."""
    means, cuts = measures.windowed(scored.middle, scored.completions.offsets, WINDOW)
    if not len(means):
        return ()
    filled = np.nan_to_num(means, nan=-1.0)
    owner = run_of(cuts)
    order = np.lexsort((-filled, owner))
    best = order[np.r_[True, owner[order][1:] != owner[order][:-1]]]
    best = best[np.argsort(-filled[best], kind="stable")][:SHOWN]
    found = []
    for window in best[filled[best] >= 0].tolist():
        completion = int(owner[window])
        path, _, line, *_ = scored.completions.rows[completion]
        length = int(np.diff(scored.completions.offsets)[completion])
        found.append(
            EntropyWindow(
                path=path,
                line=line,
                position=window - int(cuts[completion]),
                tokens=min(WINDOW, length),
                mean_nats=float(means[window]),
            )
        )
    return tuple(found)


def _fork_tokens(scored: ScoredTokens) -> tuple[ForkToken, ...]:
    """The tokens that are sampled most often where the entropy is high."""
    frequent = measures.most_frequent(scored.token, scored.is_high, SHOWN)
    first = [
        int(np.flatnonzero(scored.is_high & (scored.token == each.token))[0]) for each in frequent
    ]
    texts = scored.texts(np.array(first, dtype=np.int64))
    return tuple(
        ForkToken(text, each.marked, each.occurrences)
        for text, each in zip(texts, frequent, strict=True)
    )


def _step_runs(scored: ScoredTokens) -> measures.HighRuns | None:
    """Runs of unsure steps, where traces have several completions: each is a step of an agent."""
    completions = scored.completions
    order = np.argsort(completions.trace, kind="stable")
    steps = measures.step_entropy(scored.middle, completions.offsets)[order]
    sizes = np.unique(completions.trace, return_counts=True)[1].astype(np.int64)
    if not len(sizes) or sizes.max() < 2 or np.isnan(steps).all():
        return None
    limit = np.nanquantile(steps, 1 - scored.top_share)
    return measures.high_entropy_runs(steps >= limit, offsets_of(sizes))


def _difficulty(scored: ScoredTokens) -> measures.DifficultyCurve | None:
    """Entropy against how hard a task is, over groups whose rewards are all from 0 to 1."""
    completions = scored.completions
    grouped = np.flatnonzero((completions.group >= 0) & ~np.isnan(completions.reward))
    if not len(grouped):
        return None
    rewards = completions.reward[grouped]
    if rewards.min() < 0 or rewards.max() > 1:
        return None
    means = mean_by_run(scored.middle, completions.offsets)[grouped]
    order = np.argsort(completions.group[grouped], kind="stable")
    cuts = offsets_of(np.unique(completions.group[grouped], return_counts=True)[1].astype(np.int64))
    curve = measures.difficulty_curve(
        mean_by_run(rewards[order], cuts), mean_by_run(means[order], cuts)
    )
    return curve if curve.groups >= 2 else None


def measure_agreement(scored: ScoredTokens) -> measures.Agreement | None:
    """Do siblings diverge where entropy is high? Over the positions that two or more completions of
    one prompt reach by the same tokens; each such place counts once. ``None``: there is none."""
    completions = scored.completions
    trees = _completion_trees(scored)
    forks = find_group_forks(trees)
    pairs = np.flatnonzero(~trees.begins)
    if not len(pairs):
        return None
    before = np.where(trees.begins[pairs - 1], -1, trees.shared[pairs - 1])
    # What a pair shares beyond the pair before it was not seen there; see GroupTrees on the order.
    new = np.maximum(trees.shared[pairs] - before, 0)
    first = np.repeat(pairs - 1, new)
    depth = np.arange(new.sum()) - np.repeat(np.cumsum(new) - new, new) + np.repeat(before + 1, new)
    # The position of the later of the two: the earlier one may have ended.
    has_token = depth < trees.length[first + 1]
    first, depth = first[has_token], depth[has_token]
    width = int(trees.length.max(initial=0)) + 1
    diverges = np.isin(first * width + depth, forks.first * width + forks.depth)
    position = completions.offsets[trees.rollout[first + 1]] + depth
    known = scored.known[position]
    if not known.any():
        return None
    return measures.precision_recall(scored.is_high[position[known]], diverges[known])


def _completion_trees(scored: ScoredTokens) -> GroupTrees:
    """Completions of one prompt as a tree of their tokens' codes."""
    offsets = scored.completions.offsets.tolist()
    codes = np.unique(scored.token, return_inverse=True)[1].astype(np.uint32)
    return sort_sequences(scored.completions.prompt, [codes[a:b] for a, b in pairwise(offsets)])


def _advantages(completions: Completions) -> Floats:
    """Per completion, (reward - mean) / standard deviation in its group, as GRPO has it; NaN where
    rewards are missing or all the same."""
    advantage = np.full(len(completions), np.nan)
    usable = np.flatnonzero((completions.group >= 0) & ~np.isnan(completions.reward))
    if not len(usable):
        return advantage
    group = np.unique(completions.group[usable], return_inverse=True)[1]
    reward, n = completions.reward[usable], np.bincount(group)
    mean = np.bincount(group, weights=reward) / n
    spread = np.sqrt(np.bincount(group, weights=(reward - mean[group]) ** 2) / n)
    with np.errstate(invalid="ignore", divide="ignore"):
        advantage[usable] = (reward - mean[group]) / np.where(spread > 1e-9, spread, np.nan)[group]
    return advantage


def _decisive(scored: ScoredTokens) -> tuple[RankedToken, ...] | None:
    """Tokens by |advantage| x entropy; ``None`` without groups of different rewards."""
    advantage = scored.advantage
    if np.isnan(advantage).all():
        return None
    top = measures.rank_by_advantage(advantage, scored.middle, SHOWN)
    return _ranked(scored, top, np.abs(advantage) * scored.middle)


def _sparks(scored: ScoredTokens) -> UnlikelyTokens | None:
    advantage = scored.advantage
    usable = np.flatnonzero(~np.isnan(advantage))
    if not len(usable):
        return None
    probability = np.exp(np.minimum(scored.stats.logprob, 0.0))
    found = measures.sparks(probability[usable], advantage[usable] > 0)
    return UnlikelyTokens(
        low=found.low,
        unlikely=found.unlikely,
        rewarded_share=found.rewarded_share,
        base_share=found.base_share,
        tokens=_ranked(scored, usable[found.positions[:SHOWN]], probability),
    )


def _ranked(scored: ScoredTokens, positions: Ints, value: Floats) -> tuple[RankedToken, ...]:
    places = [scored.place(position) for position in positions.tolist()]
    texts = scored.texts(positions)
    advantage = scored.advantage
    return tuple(
        RankedToken(
            token=text,
            path=place.path,
            line=line,
            position=place.position,
            value=float(value[position]),
            advantage=_or_none(advantage[position]),
            entropy_nats=_or_none(scored.middle[position]),
        )
        for (place, line), text, position in zip(places, texts, positions.tolist(), strict=True)
    )


def _or_none(value: Any) -> float | None:
    return None if np.isnan(value) else float(value)

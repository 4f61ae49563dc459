"""Replays: the sequences that logs hold, run through a model again.

The tokens are the logged ones (teacher forcing), so nothing is sampled: the model says, token by
token, how likely it found what was logged, and how unsure it was. Whatever a batch measured is
committed with it, so a run that is cut short goes on where it was, to the same result: which sequences
share a batch depends on the scope, not on what is already done.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from forkpoint.analysis.replay_backend import Backend, CachesPrefixes, Piece, Scored
from forkpoint.analysis.replay_results import LoggedAgreement, ReplayAnswer
from forkpoint.analysis.replay_sequences import Plan, ReplaySequence, plan_sequences
from forkpoint.analysis.replay_store import (
    Key,
    Measured,
    add_cached_tokens,
    add_measured,
    begin_replay,
    done_keys,
)
from forkpoint.analysis.scope import Filters, select_scope
from forkpoint.analysis.store import Store

Progress = Callable[[int, int], None]
"""Called with (tokens run, tokens to run)."""
NO_FILTERS = Filters()


@dataclass(frozen=True)
class Work:
    """One sequence of a batch, and what is wanted of it."""

    sequence: ReplaySequence
    with_prompt: bool
    """Its prompt's tokens are measured too."""

    @property
    def keys(self) -> list[Key]:
        """What it brings into the store."""
        own = (self.sequence.prompt, self.sequence.completion)
        prompt = (self.sequence.prompt, self.sequence.prompt)
        return [own, prompt] if self.with_prompt else [own]


def replay(
    store: Store,
    paths: Sequence[Path],
    backend: Backend,
    *,
    filters: Filters = NO_FILTERS,
    prompts: bool = False,
    trust_ids: bool = False,
    only_missing: bool = False,
    progress: Progress | None = None,
) -> ReplayAnswer:
    """Measure the completions under `paths` that this backend has not measured yet.

    Args:
        paths: absolute; what is there has been ingested.
        prompts: measure the prompts' tokens too, each distinct prompt once.
        trust_ids: logged token ids are the model's own, whatever their text says.
        only_missing: leave out completions whose log holds logprobs.

    Raises:
        ForkpointError: the backend cannot run.
    """
    began = time.monotonic()
    select_scope(store, paths, filters)
    replay_id = begin_replay(store, backend.identity, backend.codec)
    plan = plan_sequences(
        store,
        backend.codec,
        max_tokens=backend.max_tokens,
        trust_ids=trust_ids,
        only_missing=only_missing,
    )
    before = done_keys(store, replay_id)
    batches = make_batches(plan.sequences, backend.batch_tokens, prompts=prompts)
    run = _run(store, replay_id, backend, batches, before, progress)
    if isinstance(backend, CachesPrefixes):
        _measure_cache(store, replay_id, backend, plan.sequences)
    return _answer(store, replay_id, backend, plan, before, run, time.monotonic() - began)


def make_batches(
    sequences: Sequence[ReplaySequence], batch_tokens: int, *, prompts: bool
) -> list[list[Work]]:
    """All sequences in batches of similar length, short ones first.

    Args:
        batch_tokens: tokens of a batch, filled up to its longest sequence; one sequence may be longer.
        prompts: the first sequence of each prompt measures that too.
    """
    first: dict[object, int] = {}
    for number, each in enumerate(sequences):
        if each.prompt_tokens:
            first.setdefault(each.prompt, number)
    owners = set(first.values()) if prompts else set()
    order = sorted(range(len(sequences)), key=lambda number: (len(sequences[number].ids), number))
    batches: list[list[Work]] = []
    for number in order:
        work = Work(sequences[number], number in owners)
        length = len(work.sequence.ids)
        if not batches or length * (len(batches[-1]) + 1) > batch_tokens:
            batches.append([])
        batches[-1].append(work)
    return batches


@dataclass
class _Run:
    tokens: int = 0
    seconds: float = 0.0


def _run(
    store: Store,
    replay_id: str,
    backend: Backend,
    batches: Sequence[Sequence[Work]],
    done: set[Key],
    progress: Progress | None,
) -> _Run:
    left = [[work for work in batch if not done.issuperset(work.keys)] for batch in batches]
    total = sum(len(work.sequence.ids) for batch in left for work in batch)
    run = _Run()
    if total:
        backend.load()
    for batch in left:
        if not batch:
            continue
        pieces = [_piece(work) for work in batch]
        began = time.monotonic()
        scored = backend.score(pieces)
        run.seconds += time.monotonic() - began
        found = [
            part
            for work, piece, each in zip(batch, pieces, scored, strict=True)
            for part in _parts(work, piece, each)
            if part.key not in done
        ]
        add_measured(store, replay_id, found)
        run.tokens += sum(len(piece.ids) for piece in pieces)
        if progress is not None:
            progress(run.tokens, total)
    if run.tokens:
        store.execute("CHECKPOINT")
    return run


def _piece(work: Work) -> Piece:
    return Piece(work.sequence.ids, 0 if work.with_prompt else work.sequence.prompt_tokens)


def _parts(work: Work, piece: Piece, scored: Scored) -> list[Measured]:
    """The completion, and where it was wanted the prompt, of a piece."""
    sequence = work.sequence
    cut = sequence.prompt_tokens - piece.first
    parts = [
        Measured(
            (sequence.prompt, sequence.completion),
            sequence.evidence,
            sequence.prompt_tokens,
            sequence.ids[sequence.prompt_tokens :],
            _rows(scored, slice(cut, None)),
        )
    ]
    if work.with_prompt:
        parts.append(
            Measured(
                (sequence.prompt, sequence.prompt),
                sequence.evidence,
                sequence.prompt_tokens,
                sequence.ids[: sequence.prompt_tokens],
                _rows(scored, slice(0, cut)),
            )
        )
    return parts


def _rows(scored: Scored, rows: slice) -> Scored:
    entropies = None if scored.entropies is None else scored.entropies[rows]
    return Scored(scored.logprobs[rows], entropies, scored.top_ids[rows], scored.top_logprobs[rows])


def _measure_cache(
    store: Store, replay_id: str, backend: CachesPrefixes, sequences: Sequence[ReplaySequence]
) -> None:
    """Run all sequences once more where an engine can say what its prefix cache served."""
    missing = store.value(
        "SELECT count(*) FROM replayed WHERE replay_id = ? AND cached_tokens IS NULL "
        "AND prompt <> completion",
        [replay_id],
    )
    if not missing:
        return
    cached = backend.cached_tokens([Piece(each.ids, each.prompt_tokens) for each in sequences])
    keys = [(each.prompt, each.completion) for each in sequences]
    add_cached_tokens(store, replay_id, zip(keys, cached, strict=True))


def _answer(
    store: Store,
    replay_id: str,
    backend: Backend,
    plan: Plan,
    before: set[Key],
    run: _Run,
    seconds: float,
) -> ReplayAnswer:
    _select_measured(store, replay_id, plan)
    identity = backend.identity
    keys = {(each.prompt, each.completion) for each in plan.sequences}
    tokens, whole, entropy, surprisal = store.rows(
        """
        SELECT count(*), count(*) FILTER (named = 0 AND tail = 0),
               avg(named_entropy) FILTER (named = 0 AND tail = 0),
               -avg(logprob) FILTER (NOT isnan(logprob))
        FROM replayed_tokens JOIN replay_scope USING (prompt, completion)
        WHERE replay_id = ?
        """,
        [replay_id],
    )[0]
    completions, cached, cacheable = store.rows(
        """
        SELECT count(*), sum(cached_tokens)::BIGINT,
               sum(prompt_tokens + n_tokens) FILTER (cached_tokens IS NOT NULL)::BIGINT
        FROM replayed JOIN replay_scope USING (prompt, completion) WHERE replay_id = ?
        """,
        [replay_id],
    )[0]
    prompts, prompt_tokens = store.rows(
        """
        SELECT count(*), coalesce(sum(n_tokens), 0)::BIGINT FROM replayed
        WHERE replay_id = ? AND prompt = completion
          AND prompt IN (SELECT prompt FROM replay_scope)
        """,
        [replay_id],
    )[0]
    evidence = dict(
        store.rows(
            "SELECT evidence, count(*) FROM replayed JOIN replay_scope USING (prompt, completion) "
            "WHERE replay_id = ? GROUP BY evidence ORDER BY evidence",
            [replay_id],
        )
    )
    return ReplayAnswer(
        replay_id=replay_id,
        model=identity.model,
        model_sha256=identity.model_sha256,
        tokenizer=identity.tokenizer,
        vocabulary_size=identity.vocabulary_size,
        backend=identity.backend,
        dtype=identity.dtype,
        device=identity.device,
        seed=identity.seed,
        versions=dict(identity.versions),
        settings=identity.settings | identity.tuning,
        completions=completions,
        new_completions=len(keys - before),
        by_evidence=evidence,
        skipped=dict(sorted(plan.skipped.items(), key=lambda item: (-item[1], item[0]))),
        without_tools=plan.without_tools,
        tokens=tokens,
        prompts=prompts,
        prompt_tokens=prompt_tokens,
        whole_tokens=whole,
        mean_entropy_nats=entropy,
        mean_surprisal_nats=surprisal,
        run_tokens=run.tokens,
        seconds=seconds,
        model_seconds=run.seconds,
        cached_tokens=cached,
        cacheable_tokens=cacheable,
        agreement=_agreement(store, replay_id),
    )


def _select_measured(store: Store, replay_id: str, plan: Plan) -> None:
    """Fill the temporary table ``replay_scope`` with the keys of the plan's sequences."""
    columns = {
        name: np.array([str(getattr(each, name)) for each in plan.sequences], dtype=object)
        for name in ("prompt", "completion")
    }
    store.execute("CREATE OR REPLACE TEMP TABLE replay_scope (prompt UUID, completion UUID)")
    if plan.sequences:
        with store.staged("staged_keys", columns):
            store.execute(
                "INSERT INTO replay_scope SELECT prompt::UUID, completion::UUID FROM staged_keys"
            )


def _agreement(store: Store, replay_id: str) -> LoggedAgreement | None:
    """Logged against replayed, where a log states token ids: the same id at the same position."""
    found = store.rows(
        """
        WITH logged AS (
            SELECT prompt, completion, min((source_id, record_offset, choice)) AS place
            FROM scores SEMI JOIN scope_sources USING (source_id)
            JOIN replay_scope USING (prompt, completion)
            GROUP BY prompt, completion
        ), pairs AS (
            SELECT abs(own.logprob - new.logprob) AS logprob,
                   CASE WHEN own.named + new.named = 0 AND own.tail + new.tail = 0
                        THEN abs(own.named_entropy - new.named_entropy) END AS entropy
            FROM logged JOIN scored_tokens AS own
              ON own.source_id = place[1] AND own.record_offset = place[2] AND own.choice = place[3]
            JOIN replayed_tokens AS new
              ON new.replay_id = ? AND new.prompt = logged.prompt
             AND new.completion = logged.completion AND new.position = own.position
             AND new.token = own.token
            WHERE NOT isnan(own.logprob) AND NOT isnan(new.logprob)
        )
        SELECT count(*), median(logprob), quantile_cont(logprob, 0.99), max(logprob),
               count(entropy), median(entropy), max(entropy)
        FROM pairs
        """,
        [replay_id],
    )[0]
    return LoggedAgreement(*found) if found[0] else None

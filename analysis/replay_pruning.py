"""Pruning the chains of logged completions with a local model, and where the store keeps it.

All chains with one part deleted begin alike, so each round is a tree: it is run packed, prompt and
common beginnings once. Whatever a completion gave is committed with it; a run that is cut short goes on
with the next one, to the same result.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import msgspec
import numpy as np

from forkpoint.analysis.pruning import (
    Chain,
    NoChain,
    Pruned,
    PruneSettings,
    find_chain,
    prune,
)
from forkpoint.analysis.pruning_results import PrunedExample, PrunedKind, PruningAnswer
from forkpoint.analysis.replay import NO_FILTERS, Progress
from forkpoint.analysis.replay_backend import Codec, Floats, Piece
from forkpoint.analysis.replay_execution import (
    Executed,
    check_shareable,
    packing_of,
    run_flat,
    run_packed,
)
from forkpoint.analysis.replay_model import LoadedModel, TransformersBackend
from forkpoint.analysis.replay_sequences import ReplaySequence, plan_sequences
from forkpoint.analysis.replay_store import begin_generation, begin_replay, select_completions
from forkpoint.analysis.replay_tree import plan_packs, plan_tree
from forkpoint.analysis.scope import Filters, select_scope
from forkpoint.analysis.store import Store
from forkpoint.errors import ForkpointError

SHOWN = 3


class AnswerScorer:
    """ln p of answers behind variants of their chains, as `forkpoint.analysis.pruning.Score` wants it.

    Args:
        depth: tokens of the longest piece.

    Attributes:
        flat_tokens: of all pieces so far.
        run_tokens: what went through the layers for them.
    """

    def __init__(self, model: LoadedModel, depth: int) -> None:
        self._model = model
        self._run = _runner(model, depth)
        self.flat_tokens = 0
        self.run_tokens = 0

    def __call__(self, pieces: Sequence[Piece]) -> Floats:
        executed = self._run(pieces)
        self.flat_tokens += sum(len(each.ids) for each in pieces)
        self.run_tokens += executed.computed_tokens
        return np.array([each.logprobs.sum() for each in executed.scored])


def _runner(model: LoadedModel, depth: int) -> Callable[[Sequence[Piece]], Executed]:
    """Shared where the model's branches can share their trunk, else each piece alone."""
    try:
        check_shareable(model, depth)
    except ForkpointError:
        return lambda pieces: run_flat(model, pieces)
    packing = packing_of(model)

    def run(pieces: Sequence[Piece]) -> Executed:
        tree = plan_tree(pieces)
        return run_packed(model, tree, plan_packs(tree, packing), pieces)

    return run


@dataclass(frozen=True)
class _Task:
    """A completion and its chain, and what its result is called."""

    sequence: ReplaySequence
    chain: Chain
    pruning_id: str


def prune_logged(
    store: Store,
    paths: Sequence[Path],
    backend: TransformersBackend,
    *,
    settings: PruneSettings | None = None,
    pattern: re.Pattern[str] | None = None,
    filters: Filters = NO_FILTERS,
    trust_ids: bool = False,
    progress: Progress | None = None,
) -> PruningAnswer:
    """Prune the chains of the completions under `paths` that were not pruned so yet.

    Args:
        paths: absolute; what is there has been ingested.
        pattern: what finds answers, before logged ones and the built-in patterns.
        trust_ids: logged token ids are the model's own, whatever their text says.
        progress: called with chain tokens done and to do.

    Raises:
        ForkpointError: the model cannot be run.
    """
    began = time.monotonic()
    settings = settings or PruneSettings()
    select_scope(store, paths, filters)
    replay_id = begin_replay(store, backend.identity, backend.codec)
    plan = plan_sequences(store, backend.codec, max_tokens=backend.max_tokens, trust_ids=trust_ids)
    skipped = Counter(plan.skipped)
    answers = _logged_answers(store)
    tasks = list(
        _tasks(plan.sequences, answers, backend.codec, replay_id, settings, pattern, skipped)
    )
    done = _done(store, [task.pruning_id for task in tasks])
    left = [task for task in tasks if task.pruning_id not in done]
    total = sum(_length(task) for task in left)
    score = None
    if left:
        score = AnswerScorer(backend.loaded, max(len(task.chain.ids) for task in left))
        run = 0
        for task in left:
            _keep(store, replay_id, task, settings, prune(task.chain, score, settings))
            run += _length(task)
            if progress is not None:
                progress(run, total)
    found = _figures(store)
    return PruningAnswer(
        replay_id=replay_id,
        model=backend.identity.model,
        device=backend.identity.device,
        dtype=backend.identity.dtype,
        unit=settings.unit.value,
        loss_nats=settings.loss_nats,
        round_share=settings.round_share,
        completions=len(tasks),
        new_completions=len(left),
        skipped=dict(sorted(skipped.items(), key=lambda item: (-item[1], item[0]))),
        chain_tokens=found.chain_tokens,
        pruned_tokens=found.pruned_tokens,
        answer_tokens=found.answer_tokens,
        mean_answer_nats=found.mean_answer_nats,
        mean_pruned_nats=found.mean_pruned_nats,
        kinds=_kinds(store),
        examples=tuple(_examples(store, tasks, backend.codec)),
        flat_tokens=0 if score is None else score.flat_tokens,
        run_tokens=0 if score is None else score.run_tokens,
        seconds=time.monotonic() - began,
    )


def _length(task: _Task) -> int:
    return len(task.chain.unit)


def _logged_answers(store: Store) -> dict[tuple[UUID, UUID], str]:
    select_completions(store)
    rows = store.rows(
        "SELECT prompt, completion, min(answer) FROM scope_completions "
        "WHERE answer IS NOT NULL GROUP BY ALL"
    )
    return {(prompt, completion): answer for prompt, completion, answer in rows}


def _tasks(
    sequences: Sequence[ReplaySequence],
    answers: dict[tuple[UUID, UUID], str],
    codec: Codec,
    replay_id: str,
    settings: PruneSettings,
    pattern: re.Pattern[str] | None,
    skipped: Counter[str],
) -> Iterator[_Task]:
    """What can be pruned; what cannot is counted in `skipped`."""
    for each in sequences:
        try:
            chain = find_chain(
                each.ids,
                each.prompt_tokens,
                codec,
                settings.unit,
                answer=answers.get((each.prompt, each.completion)),
                pattern=pattern,
            )
        except NoChain as why:
            skipped[str(why)] += 1
        else:
            yield _Task(each, chain, _pruning_id(replay_id, each, chain, settings))


def _pruning_id(
    replay_id: str, sequence: ReplaySequence, chain: Chain, settings: PruneSettings
) -> str:
    key = (
        replay_id,
        str(sequence.prompt),
        str(sequence.completion),
        settings.unit,
        settings.loss_nats,
        settings.round_share,
        len(chain.unit),
        len(chain.ids) - chain.answer,
    )
    return hashlib.sha256(msgspec.json.encode(key)).hexdigest()[:16]


def _done(store: Store, pruning_ids: Sequence[str]) -> set[str]:
    """Those that are kept already; all are in the temporary table ``wanted_prunings`` afterwards."""
    store.execute("CREATE OR REPLACE TEMP TABLE wanted_prunings (pruning_id VARCHAR)")
    store.execute("INSERT INTO wanted_prunings SELECT unnest(?::VARCHAR[])", [list(pruning_ids)])
    rows = store.rows(
        "SELECT pruning_id FROM pruned_chains SEMI JOIN wanted_prunings USING (pruning_id)"
    )
    return {row[0] for row in rows}


def _keep(
    store: Store, replay_id: str, task: _Task, settings: PruneSettings, pruned: Pruned
) -> None:
    """Commit what became of one chain, all or nothing."""
    chain, sequence = task.chain, task.sequence
    columns = {
        "position": np.arange(len(chain.unit), dtype=np.int32),
        "token": chain.ids[chain.begin : chain.answer].astype(np.int64),
        "deleted_in": pruned.deleted_in[chain.unit].astype(np.int32),
        "loss": pruned.loss[chain.unit],
    }
    with store.transaction():
        begin_generation(store)
        store.execute(
            "INSERT INTO pruned_chains VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [
                task.pruning_id,
                replay_id,
                sequence.prompt,
                sequence.completion,
                settings.unit.value,
                settings.loss_nats,
                settings.round_share,
                len(chain.unit),
                len(chain.ids) - chain.answer,
                pruned.answer_logprob,
                pruned.pruned_logprob,
                pruned.rounds,
                datetime.now(UTC).replace(tzinfo=None),
            ],
        )
        with store.staged("staged_pruned", columns):
            store.execute(
                "INSERT INTO pruned_tokens SELECT ?, position, token, deleted_in, "
                "CASE WHEN NOT isnan(loss) THEN loss END FROM staged_pruned",
                [task.pruning_id],
            )


@dataclass(frozen=True)
class _Figures:
    chain_tokens: int
    pruned_tokens: int
    answer_tokens: int
    mean_answer_nats: float | None
    mean_pruned_nats: float | None


def _figures(store: Store) -> _Figures:
    sums = store.rows(
        """
        SELECT coalesce(sum(chain_tokens), 0)::BIGINT,
               (SELECT count(*) FROM pruned_tokens SEMI JOIN wanted_prunings USING (pruning_id)
                WHERE deleted_in > 0),
               coalesce(sum(answer_tokens), 0)::BIGINT, -avg(answer_logprob), -avg(pruned_logprob)
        FROM pruned_chains SEMI JOIN wanted_prunings USING (pruning_id)
        """
    )[0]
    return _Figures(*sums)


def _kinds(store: Store) -> tuple[PrunedKind, ...]:
    """By what tokens look like: the model's vocabulary tells."""
    rows = store.rows(
        r"""
        SELECT CASE WHEN regexp_matches(text, '\p{N}') THEN 'numbers'
                    WHEN regexp_matches(text, '\p{L}') THEN 'words'
                    WHEN regexp_matches(text, '^\s*$') THEN 'white space'
                    ELSE 'symbols' END AS kind,
               count(*), count(*) FILTER (deleted_in > 0), avg(loss) FILTER (deleted_in = 0)
        FROM pruned_tokens SEMI JOIN wanted_prunings USING (pruning_id)
        JOIN pruned_chains USING (pruning_id) JOIN replays USING (replay_id)
        JOIN replay_vocabularies USING (tokenizer, token)
        GROUP BY kind ORDER BY count(*) DESC, kind
        """
    )
    return tuple(PrunedKind(*row) for row in rows)


def _examples(store: Store, tasks: Sequence[_Task], codec: Codec) -> Iterator[PrunedExample]:
    best = store.rows(
        """
        SELECT pruning_id, list(deleted_in = 0 ORDER BY position)
        FROM pruned_tokens SEMI JOIN wanted_prunings USING (pruning_id)
        GROUP BY pruning_id
        ORDER BY avg((deleted_in > 0)::INTEGER) DESC, count(*) DESC, pruning_id LIMIT ?
        """,
        [SHOWN],
    )
    of = {task.pruning_id: task.chain for task in tasks}
    for pruning_id, kept in best:
        chain = of[pruning_id]
        said = chain.ids[chain.begin : chain.answer]
        yield PrunedExample(
            chain=codec.decode(said.tolist()),
            kept=codec.decode(said[np.array(kept, dtype=np.bool_)].tolist()),
            answer=codec.decode(chain.ids[chain.answer :].tolist()),
        )

"""Where the store keeps what replays measured, and how reports find it.

Rows go by content: replay, prompt node, completion node. So a sequence that several logs hold is
measured once, a log that is read again loses nothing, and whatever was committed need not be measured
again. A row whose completion is its own prompt holds the prompt's tokens.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec
import numpy as np

from forkpoint.analysis.entropy import condense
from forkpoint.analysis.replay_backend import Codec, ReplayIdentity, Scored, TokenIds
from forkpoint.analysis.store import Store

Key = tuple[UUID, UUID]
"""(prompt, completion); both the same for a prompt's own tokens."""


@dataclass(frozen=True)
class Measured:
    """What one replay says of the tokens of one completion, or of one prompt."""

    key: Key
    evidence: str
    prompt_tokens: int
    ids: TokenIds
    """The measured tokens."""
    scored: Scored


def replay_id_of(identity: ReplayIdentity) -> str:
    """A name for all that the numbers of a replay depend on."""
    named = asdict(identity)
    del named["tuning"]
    content = msgspec.json.encode(named, order="sorted")
    return hashlib.sha256(content).hexdigest()[:16]


def begin_replay(store: Store, identity: ReplayIdentity, codec: Codec) -> str:
    """The id of the replay, entered into the store if it is new there."""
    replay_id = replay_id_of(identity)
    if store.value("SELECT count(*) FROM replays WHERE replay_id = ?", [replay_id]):
        return replay_id
    texts = None
    known = store.value(
        "SELECT count(*) FROM replay_vocabularies WHERE tokenizer = ?", [identity.tokenizer]
    )
    if identity.tokenizer is not None and not known:
        texts = codec.token_texts()
    with store.transaction():
        store.execute(
            "INSERT INTO replays VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [
                replay_id,
                identity.model,
                identity.model_sha256,
                identity.tokenizer,
                identity.vocabulary_size,
                identity.backend,
                identity.dtype,
                identity.device,
                identity.seed,
                msgspec.json.encode(identity.versions, order="sorted").decode(),
                msgspec.json.encode(identity.settings | identity.tuning, order="sorted").decode(),
                datetime.now(UTC).replace(tzinfo=None),
            ],
        )
        if texts:
            columns = {
                "token": np.arange(len(texts), dtype=np.int64),
                "text": np.array([_storable(each) for each in texts], dtype=object),
            }
            _insert(
                store, "replay_vocabularies", f"{_quoted(identity.tokenizer)}, token, text", columns
            )
    return replay_id


def done_keys(store: Store, replay_id: str) -> set[Key]:
    """What the replay has measured so far."""
    return set(
        store.rows("SELECT prompt, completion FROM replayed WHERE replay_id = ?", [replay_id])
    )


def add_measured(store: Store, replay_id: str, found: Sequence[Measured]) -> None:
    """Keep what one batch measured, all or nothing."""
    if not found:
        return
    with store.transaction():
        begin_generation(store)
        store.connection.executemany(
            "INSERT INTO replayed VALUES (?, ?, ?, ?, ?, ?, NULL)",
            [
                (replay_id, *each.key, each.evidence, each.prompt_tokens, len(each.ids))
                for each in found
            ],
        )
        tokens = [_token_columns(each) for each in found]
        k = found[0].scored.top_ids.shape[1]
        columns = {name: np.concatenate([each[name] for each in tokens]) for name in tokens[0]}
        ids, logprobs = (
            ", ".join(f"{name}_{rank}" for rank in range(k)) for name in ("top_id", "top_logprob")
        )
        _insert(
            store,
            "replayed_tokens",
            f"{_quoted(replay_id)}, prompt::UUID, completion::UUID, position, token, logprob, "
            "named_entropy, tail, cap, named, confidence, "
            f"list_filter([{ids}]::INTEGER[], lambda id: id >= 0), "
            f"list_filter([{logprobs}]::FLOAT[], lambda p: NOT isnan(p))",
            columns,
        )


def add_cached_tokens(
    store: Store, replay_id: str, cached: Iterable[tuple[Key, int | None]]
) -> None:
    """Keep how many tokens of each sequence an engine took from its prefix cache."""
    with store.transaction():
        store.connection.executemany(
            "UPDATE replayed SET cached_tokens = ? "
            "WHERE replay_id = ? AND prompt = ? AND completion = ?",
            [(n, replay_id, *key) for key, n in cached],
        )


def begin_generation(store: Store) -> None:
    """Remembered reports no longer hold; forks, which hang on logs alone, need no new ranks."""
    generation = str(store.generation)
    following = str(store.generation + 1)
    store.set_meta("generation", following)
    if store.get_meta("refined") == generation:
        store.set_meta("refined", following)


def _token_columns(each: Measured) -> dict[str, Any]:
    scored = each.scored
    k = scored.top_logprobs.shape[1]
    # Likeliest tokens bound an entropy; where all of them are known, they add nothing.
    needed = scored.entropies is None or bool(np.isnan(scored.entropies).any())
    stats = condense(
        scored.logprobs.tolist(),
        _lists(scored) if needed else None,
        None if scored.entropies is None else scored.entropies.tolist(),
    )
    with np.errstate(invalid="ignore"):
        counts = (~np.isnan(scored.top_logprobs)).sum(axis=1)
        sums = np.nansum(scored.top_logprobs.astype(np.float64), axis=1)
        confidence = np.where(counts > 0, -sums / np.maximum(counts, 1), np.nan)
    n = len(each.ids)
    return {
        "prompt": np.full(n, str(each.key[0]), dtype=object),
        "completion": np.full(n, str(each.key[1]), dtype=object),
        "position": np.arange(n, dtype=np.int32),
        "token": each.ids.astype(np.int64),
        "logprob": stats.logprob,
        "named_entropy": stats.named_entropy,
        "tail": stats.tail,
        "cap": stats.cap,
        "named": stats.named.astype(np.int32),
        "confidence": confidence,
        **{f"top_id_{rank}": scored.top_ids[:, rank].astype(np.int32) for rank in range(k)},
        **{
            f"top_logprob_{rank}": scored.top_logprobs[:, rank].astype(np.float32)
            for rank in range(k)
        },
    }


def _lists(scored: Scored) -> list[list[float]]:
    return [
        [logprob for logprob in row if not math.isnan(logprob)]
        for row in scored.top_logprobs.astype(np.float64).tolist()
    ]


def _insert(store: Store, table: str, selected: str, columns: dict[str, Any]) -> None:
    with store.staged("staged_replay", columns):
        store.execute(f"INSERT INTO {table} SELECT {selected} FROM staged_replay")


def _quoted(text: str | None) -> str:
    if text is None:
        return "NULL"
    return "'" + text.replace("'", "''") + "'"


def _storable(text: str) -> str:
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def select_completions(store: Store) -> None:
    """Make the temporary view ``scope_completions``: each completion in scope (see
    `forkpoint.analysis.scope`), wherever it stands: of calls, and of rollouts that have no call of
    their own."""
    store.execute(
        """
        CREATE OR REPLACE TEMP VIEW scope_completions AS
        WITH places AS (
            SELECT path, prompt, min(line) AS line, min(record_offset) AS record_offset
            FROM scope_calls JOIN scope_sources USING (source_id, format) GROUP BY path, prompt
        ), called AS (
            SELECT trace_id, prompt, completion, scope_sources.path, format, line, record_offset
            FROM scope_calls JOIN scope_sources USING (source_id, format)
            WHERE completion IS NOT NULL
        ), alone AS (
            SELECT trace_id, these.prompt, leaf AS completion, these.path, these.format, line,
                   record_offset
            FROM (SELECT * FROM scope_traces WHERE leaf IS NOT NULL AND group_id IS NOT NULL)
                AS these ANTI JOIN called USING (trace_id)
            LEFT JOIN places ON these.path = places.path AND these.prompt = places.prompt
        )
        SELECT found.*, group_id, reward, answer
        FROM (FROM called UNION ALL FROM alone) AS found
        LEFT JOIN (SELECT trace_id, group_id, reward, answer FROM scope_traces) USING (trace_id)
        """
    )


def select_replayed(store: Store) -> None:
    """Fill the temporary table ``scope_replayed``: those of ``scope_completions`` whose logs hold no
    logprobs, with the replay that measured them last.
    """
    select_completions(store)
    store.execute(
        """
        CREATE OR REPLACE TEMP TABLE scope_replayed AS
        WITH latest AS (
            SELECT prompt, completion, arg_max(replay_id, (started_at, replay_id)) AS replay_id
            FROM replayed JOIN replays USING (replay_id)
            WHERE prompt <> completion AND n_tokens > 0
              AND NOT EXISTS (
                  FROM scores JOIN scope_sources USING (source_id)
                  WHERE NOT deleted AND scores.prompt = replayed.prompt
                    AND scores.completion = replayed.completion
              )
            GROUP BY prompt, completion
        )
        SELECT trace_id, prompt, completion, path, format, line, record_offset, group_id, reward,
               replay_id, replays.model, replays.tokenizer, replays.vocabulary_size
        FROM scope_completions
        JOIN latest USING (prompt, completion)
        JOIN replays USING (replay_id)
        """
    )


def token_texts(store: Store, tokenizer: str, tokens: Sequence[int]) -> dict[int, str]:
    """What the tokens of a replay's tokenizer are, as far as it is known."""
    return dict(
        store.rows(
            "SELECT token, text FROM replay_vocabularies "
            "WHERE tokenizer = ? AND token IN (SELECT unnest(?))",
            [tokenizer, list(tokens)],
        )
    )

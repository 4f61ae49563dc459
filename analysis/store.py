"""The DuckDB file that holds everything read so far: opening, refusing, and merging batches."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping
from contextlib import contextmanager
from dataclasses import fields
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import duckdb
import numpy as np

from forkpoint.analysis.ingest_worker import (
    CALL_COLUMNS,
    SCORED_TOKENS_COLUMNS,
    SCORES_COLUMNS,
    TRACE_COLUMNS,
    Batch,
    Source,
    storable,
)
from forkpoint.errors import ForkpointError

if TYPE_CHECKING:
    from collections.abc import Iterator

SCHEMA_VERSION = 3
"""Raised with every change of schema.sql that an older forkpoint cannot read.

1: first version. 2: token scores, texts beside token ids, choices. 3: pruned chains, ends of
prompts in texts beside token ids.
"""

MEMORY = ":memory:"


class Store:
    """An open store. A context manager; closing it releases the file to other processes."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, path: str) -> None:
        self.connection = connection
        self.path = path

    @classmethod
    def open(cls, path: str, *, encoding: str, read_only: bool = False) -> Store:
        """Open a store, making an empty one where there is none.

        Args:
            path: a file, or ``:memory:``.
            encoding: the tokenizer its counts are made with; one per store.

        Raises:
            ForkpointError: it is in use, damaged, of another version, or of another tokenizer.
        """
        fresh = path == MEMORY or not Path(path).exists()
        if read_only and fresh and path != MEMORY:
            raise ForkpointError(f"there is no store at {path} yet: run forkpoint report first")
        connection = _connect(path, read_only=read_only and not fresh)
        store = cls(connection, path)
        try:
            if fresh or not store._has_schema():
                store._create(encoding)
            store._check_version()
            store._check_encoding(encoding)
        except BaseException:
            connection.close()
            raise
        return store

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file. Nothing uncommitted is kept."""
        self.connection.close()

    def execute(self, sql: str, parameters: Any = None) -> duckdb.DuckDBPyConnection:
        """Run one statement."""
        return self.connection.execute(sql, parameters)

    def rows(self, sql: str, parameters: Any = None) -> list[tuple[Any, ...]]:
        """All rows of a query."""
        return self.connection.execute(sql, parameters).fetchall()

    def value(self, sql: str, parameters: Any = None) -> Any:
        """The one value of a query of one row and column."""
        # All rows: a result that is half read keeps others from being registered.
        rows = self.rows(sql, parameters)
        return rows[0][0] if rows else None

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing: a batch whose process is killed leaves no trace."""
        self.connection.execute("BEGIN")
        try:
            yield
        except BaseException:
            self.connection.execute("ROLLBACK")
            raise
        self.connection.execute("COMMIT")

    def get_meta(self, key: str) -> str | None:
        """A fact about the store."""
        found: str | None = self.value("SELECT value FROM meta WHERE key = ?", [key])
        return found

    def set_meta(self, key: str, value: str) -> None:
        """State a fact about the store."""
        self.execute("DELETE FROM meta WHERE key = ?", [key])
        self.execute("INSERT INTO meta VALUES (?, ?)", [key, value])

    @property
    def generation(self) -> int:
        """Raised by every change of what was read: equal generations hold equal rows."""
        return int(self.get_meta("generation") or 0)

    def merge(self, batch: Batch) -> None:
        """Add what was read of some files, in one transaction. Safe to repeat."""
        with self.transaction():
            self.set_meta("generation", str(self.generation + 1))
            self._replace_sources(batch)
            self._merge_segments(batch)
            self._merge_nodes(batch)
            self._insert_calls(batch)
            self._insert_traces(batch)
            self._insert_scores(batch)
            if batch.issues:
                self.connection.executemany("INSERT INTO issues VALUES (?, ?, ?, ?)", batch.issues)

    def mark_deleted(self, source_ids: list[int]) -> None:
        """Take files that are gone out of all answers. Their rows stay."""
        with self.transaction():
            self.set_meta("generation", str(self.generation + 1))
            self.execute(
                "UPDATE sources SET deleted = true WHERE source_id IN (SELECT unnest(?))",
                [source_ids],
            )

    def insert_prices(self, rows: Iterable[tuple[Any, ...]]) -> None:
        """Replace the price table."""
        rows = list(rows)
        self.execute("DELETE FROM prices")
        if rows:
            marks = ", ".join("?" * len(rows[0]))
            self.connection.executemany(f"INSERT INTO prices VALUES ({marks})", rows)

    def _has_schema(self) -> bool:
        return bool(self.rows("SELECT 1 FROM duckdb_tables() WHERE table_name = 'meta'"))

    def _create(self, encoding: str) -> None:
        if self.rows("SELECT 1 FROM duckdb_tables() LIMIT 1"):
            raise ForkpointError(f"{self.path} is a DuckDB file, but not a forkpoint store")
        schema = files("forkpoint.analysis").joinpath("schema.sql").read_text("utf-8")
        with self.transaction():
            self.execute(schema)
            self.execute(f"CREATE VIEW unique_calls AS {each_call_once('live_calls')}")
            self.set_meta("schema_version", str(SCHEMA_VERSION))
            self.set_meta("encoding", encoding)
            self.set_meta("generation", "0")

    def _check_version(self) -> None:
        version = self.get_meta("schema_version")
        if version != str(SCHEMA_VERSION):
            raise ForkpointError(
                f"{self.path} is a store of version {version}, this forkpoint reads version "
                f"{SCHEMA_VERSION}: delete the file (your logs are untouched) or name another "
                "with --store"
            )

    def _check_encoding(self, encoding: str) -> None:
        stored = self.get_meta("encoding")
        if stored != encoding:
            raise ForkpointError(
                f"{self.path} counts tokens with {stored}, not {encoding}: "
                "name another file with --store"
            )

    def _replace_sources(self, batch: Batch) -> None:
        """Write the rows of files read, and take out what those rows replace."""
        ids = [source.source_id for source in batch.sources]
        before = dict(
            self.rows(
                "SELECT source_id, read_bytes FROM sources WHERE source_id IN (SELECT unnest(?))",
                [ids],
            )
        )
        if before:
            again = [each for each in batch.sources if each.source_id in before]
            replaced = [each.source_id for each in again if not each.appended]
            for table in ("calls", "traces", "scores", "scored_tokens", "issues"):
                self.execute(
                    f"DELETE FROM {table} WHERE source_id IN (SELECT unnest(?))", [replaced]
                )
            for each in again:
                if each.appended:
                    self.execute(
                        "DELETE FROM issues WHERE source_id = ? AND record_offset >= ?",
                        [each.source_id, before[each.source_id]],
                    )
            self.execute("DELETE FROM sources WHERE source_id IN (SELECT unnest(?))", [ids])
        names = [each.name for each in fields(Source) if each.name != "appended"]
        columns = {name: [getattr(each, name) for each in batch.sources] for name in names}
        with self.staged("staged_sources", _columns(columns)):
            self.execute(
                f"INSERT INTO sources SELECT {', '.join(names)}, false FROM staged_sources"
            )

    def _merge_segments(self, batch: Batch) -> None:
        if not batch.segment_hashes:
            return
        staged = _hash_columns({"segment": batch.segment_hashes}) | _columns(batch.segments)
        with self.staged("staged_segments", staged):
            self.execute(
                f"""
                CREATE OR REPLACE TEMP TABLE new_segments AS
                SELECT {_uuid("segment")} AS segment,
                       any_value(kind) AS kind, any_value(role) AS role,
                       any_value(n_bytes) AS n_bytes, nullif(max(n_tokens), -1) AS n_tokens,
                       min(source_id) AS source_id,
                       arg_min(record_offset, (source_id, record_offset)) AS record_offset,
                       max(text) AS text
                FROM staged_segments GROUP BY segment_hi, segment_lo
                """
            )
        if self.value("SELECT count(*) FROM segments"):
            # A segment already there learns what it lacked, and a place in a file that still exists.
            self.execute(
                """
                UPDATE segments SET n_tokens = coalesce(segments.n_tokens, new.n_tokens),
                                    text = coalesce(segments.text, new.text),
                                    source_id = new.source_id, record_offset = new.record_offset
                FROM new_segments AS new
                WHERE segments.segment = new.segment AND (
                    (segments.n_tokens IS NULL AND new.n_tokens IS NOT NULL)
                    OR (segments.text IS NULL AND new.text IS NOT NULL)
                    OR segments.source_id IN (SELECT source_id FROM sources WHERE deleted)
                    OR segments.source_id = new.source_id
                )
                """
            )
        self.execute(
            """
            INSERT INTO segments
            SELECT segment, kind, role, n_bytes, n_tokens, source_id, record_offset, text
            FROM new_segments ANTI JOIN segments USING (segment)
            """
        )
        self.execute("DROP TABLE new_segments")

    def _merge_nodes(self, batch: Batch) -> None:
        if not batch.nodes["node"]:
            return
        columns = ", ".join(f"{_uuid(name)} AS {name}" for name in batch.nodes)
        with self.staged("staged_nodes", _hash_columns(batch.nodes)):
            self.execute(
                f"""
                INSERT INTO nodes
                SELECT node, parent, segment, root
                FROM (SELECT DISTINCT {columns} FROM staged_nodes) ANTI JOIN nodes USING (node)
                """
            )

    def _insert_calls(self, batch: Batch) -> None:
        if not batch.calls:
            return
        columns = _transposed(CALL_COLUMNS, batch.calls)
        hashes = {
            name: columns.pop(name)
            for name in ("call_id", "request", "prompt", "completion", "text")
        }
        staged = _columns(columns) | _hash_columns(
            {name: _join(values) for name, values in hashes.items()}
        )
        selected = ", ".join(_call_column(name) for name in CALL_COLUMNS)
        appended = [each.source_id for each in batch.sources if each.appended]
        with self.staged("staged_calls", staged):
            if appended:
                # A response whose lines straddle the point read to before comes whole again.
                self.execute(
                    f"""
                    DELETE FROM calls USING (SELECT {selected} FROM staged_calls) AS new
                    WHERE calls.source_id IN (SELECT unnest(?)) AND calls.source_id = new.source_id
                      AND calls.call_id = new.call_id AND calls.scope = new.scope
                      AND calls.request IS NOT DISTINCT FROM new.request
                    """,
                    [appended],
                )
            self.execute(f"INSERT INTO calls SELECT {selected} FROM staged_calls")

    def _insert_traces(self, batch: Batch) -> None:
        if not batch.traces:
            return
        columns = _transposed(TRACE_COLUMNS, batch.traces)
        hashes = {name: _join(columns.pop(name)) for name in ("leaf", "prompt")}
        staged = _hash_columns(hashes) | _columns(columns)
        selected = ", ".join(
            _nullable_uuid(name) if name in hashes else name for name in TRACE_COLUMNS
        )
        with self.staged("staged_traces", staged):
            if any(each.appended for each in batch.sources):
                self.execute(
                    """
                    DELETE FROM traces USING staged_traces AS new
                    WHERE traces.source_id = new.source_id AND traces.trace_id = new.trace_id
                    """
                )
            self.execute(f"INSERT INTO traces SELECT {selected} FROM staged_traces")

    def _insert_scores(self, batch: Batch) -> None:
        if not batch.scores:
            return
        columns = _transposed(SCORES_COLUMNS, batch.scores)
        hashes = {name: _join(columns.pop(name)) for name in ("prompt", "completion")}
        selected = ", ".join(
            f"{_uuid(name)} AS {name}" if name in hashes else name for name in SCORES_COLUMNS
        )
        with self.staged("staged_scores", _hash_columns(hashes) | _columns(columns)):
            self.execute(f"INSERT INTO scores SELECT {selected} FROM staged_scores")
        tokens = {name: np.concatenate(parts) for name, parts in batch.scored_tokens.items()}
        with self.staged("staged_tokens", tokens):
            self.execute(
                f"INSERT INTO scored_tokens SELECT {', '.join(SCORED_TOKENS_COLUMNS)} "
                "FROM staged_tokens"
            )

    @contextmanager
    def staged(self, name: str, columns: dict[str, Any]) -> Iterator[None]:
        """Let queries read `columns` (arrays of one length) as the table `name`."""
        self.connection.register(name, columns)
        try:
            yield
        finally:
            self.connection.unregister(name)


def each_call_once(relation: str) -> str:
    """SQL that keeps one row per call of a relation shaped like ``live_calls``.

    Copies state the same id within the same scope; two that both state a request id are one call
    only if those agree. Of several copies the fullest counts, then one whose response was logged, then
    the earliest.
    """
    return f"""
        WITH among AS (FROM {relation}),
        repeated AS (
            SELECT root_scope, call_id FROM among GROUP BY ALL HAVING count(*) > 1
        )
        SELECT * FROM among ANTI JOIN repeated USING (root_scope, call_id)
        UNION ALL BY NAME
        SELECT * EXCLUDE (same_request) FROM (
            SELECT *, coalesce(request, max(request) OVER (PARTITION BY root_scope, call_id))
                      AS same_request
            FROM among SEMI JOIN repeated USING (root_scope, call_id)
        )
        QUALIFY row_number() OVER (
            PARTITION BY root_scope, call_id, same_request
            ORDER BY output_tokens DESC NULLS LAST, input_tokens DESC NULLS LAST,
                     completion IS NULL, started_at NULLS LAST, sidechain, trace_id, path, record_offset
        ) = 1
    """


def _connect(path: str, *, read_only: bool) -> duckdb.DuckDBPyConnection:
    if path != MEMORY:
        try:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ForkpointError(f"cannot make the folder of {path}: {error.strerror}") from error
    try:
        connection = duckdb.connect(path, read_only=read_only)
    except duckdb.Error as error:
        raise ForkpointError(_why_not_open(path, error)) from error
    connection.execute("SET preserve_insertion_order = false; SET TimeZone = 'UTC'")
    return connection


def _why_not_open(path: str, error: duckdb.Error) -> str:
    text = " ".join(str(error).split())
    if "lock" in text.lower():
        return f"{path} is in use by another process: wait for it, or name another with --store"
    if isinstance(error, duckdb.IOException) and ("Permission" in text or "Is a directory" in text):
        return f"cannot open {path}: {text[:200]}"
    return (
        f"{path} is damaged or not a store ({text[:120]}): delete it (your logs are untouched) "
        "or name another with --store"
    )


def _join(hashes: list[bytes | None]) -> bytes:
    """Hashes as one run of bytes; all zeros (the empty prefix) stands for a missing one."""
    missing = bytes(16)
    return b"".join([each or missing for each in hashes])


def _hash_columns(columns: Mapping[str, bytes | bytearray]) -> dict[str, Any]:
    """Each run of 16-byte hashes as two unsigned 64-bit columns, which DuckDB scans fast."""
    import numpy as np

    split: dict[str, Any] = {}
    for name, joined in columns.items():
        pairs = np.frombuffer(joined, dtype=">u8").reshape(-1, 2)
        split[f"{name}_hi"] = pairs[:, 0].astype(np.uint64)
        split[f"{name}_lo"] = pairs[:, 1].astype(np.uint64)
    return split


def _transposed(names: tuple[str, ...], rows: list[tuple[Any, ...]]) -> dict[str, list[Any]]:
    """Rows as columns; text as the database can hold it."""
    columns = {}
    for name, values in zip(names, zip(*rows, strict=True), strict=True):
        mended = {
            each: storable(each)
            for each in set(values)
            if isinstance(each, str) and not each.isascii()
        }
        columns[name] = [mended.get(each, each) for each in values] if mended else list(values)
    return columns


def _columns(columns: Mapping[str, list[Any] | array[int]]) -> dict[str, Any]:
    import numpy as np

    return {
        name: np.frombuffer(values, dtype=np.int64)
        if isinstance(values, array)
        else np.array(values, dtype=object)
        for name, values in columns.items()
    }


def _uuid(name: str) -> str:
    return f"((({name}_hi::UHUGEINT << 64) | {name}_lo)::UUID)"


def _nullable_uuid(name: str) -> str:
    return f"CASE WHEN {name}_hi = 0 AND {name}_lo = 0 THEN NULL ELSE {_uuid(name)} END AS {name}"


def _call_column(name: str) -> str:
    if name in ("call_id", "prompt"):
        return f"{_uuid(name)} AS {name}"
    if name in ("request", "completion", "text"):
        return _nullable_uuid(name)
    if name == "started_at":
        least = -(2**63)
        return f"CASE WHEN started_at <> {least} THEN make_timestamp(started_at) END AS started_at"
    return name

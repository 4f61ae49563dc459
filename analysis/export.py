"""Tables for other tools: what one scope holds, row by row, under names that stay.

Every table is declared here, column by column, with its type and meaning; the pages of the docs are
made from that. Rows are made inside DuckDB, as temporary tables named ``export_<table>``, so that a
million calls never pass through Python.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from forkpoint.analysis.answer_audit import group_stats
from forkpoint.analysis.fork_answer import RolloutForks
from forkpoint.analysis.forks import find_forks, head_tokens, trunk_tokens
from forkpoint.analysis.measured import Measured, measure_scope
from forkpoint.analysis.prompts import Prompts
from forkpoint.analysis.report import NO_FILTERS
from forkpoint.analysis.results import LedgerRow
from forkpoint.analysis.rollout_answer import describe_groups
from forkpoint.analysis.rollout_texts import coded_answers
from forkpoint.analysis.rollouts import GroupedRollouts, load_grouped, measure_rollouts
from forkpoint.analysis.savings import measure_savings
from forkpoint.analysis.scope import Filters
from forkpoint.analysis.store import Store
from forkpoint.analysis.token_entropy import load_scored_tokens
from forkpoint.analysis.totals import measure_totals
from forkpoint.analysis.tree import NEVER, Ints
from forkpoint.analysis.waterfall import measure_cache

TEXT, COUNT, NUMBER, FLAG = "VARCHAR", "BIGINT", "DOUBLE", "BOOLEAN"
TIME = "TIMESTAMPTZ"
"""UTC."""
MONEY = "DECIMAL(28, 12)"
"""USD. Decimals, because sums of calls are made of them: so they can be repeated exactly."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column. It is empty where the log does not tell, never 0."""

    name: str
    type: str
    """In DuckDB's SQL."""
    meaning: str


@dataclass(frozen=True, slots=True)
class Table:
    """One table."""

    name: str
    meaning: str
    columns: tuple[Column, ...]
    order: str
    """The columns that its rows are ordered by."""

    @property
    def relation(self) -> str:
        """The temporary table that holds its rows."""
        return f"export_{self.name}"


_CALL_ID = Column("call_id", TEXT, "Names the call here and in `forkpoint cache --explain`.")
_TRACE_ID = Column("trace_id", TEXT, "The agent run or rollout that it belongs to.")
_GROUP_ID = Column("group_id", TEXT, "The task or prompt that rollouts are samples of.")
_PROJECT = Column("project", TEXT, "The folder or project that the agent worked in.")
_AGENT = Column("agent", TEXT, "The agent, as its log names it.")
_FORMAT = Column("format", TEXT, "The log format.")
_PATH = Column("path", TEXT, "The log file.")
_LINE = Column("line", COUNT, "The line in it, from 1.")
_MODEL = Column("model", TEXT, "The model, as the log names it.")
_STARTED = Column("started_at", TIME, "When the request was sent, or as near as the log tells.")
_MISSED = Column("missed_tokens", COUNT, "`ideal_tokens` less what was read; empty: not logged.")
_MISSED_USD = Column("missed_usd", MONEY, "What reading those would have saved.")

_TOKENS = (
    Column("input_tokens", COUNT, "Billed input, cached or not."),
    Column(
        "uncached_input_tokens",
        COUNT,
        "Of it, what was neither read from a cache nor written to one.",
    ),
    Column("cache_read_tokens", COUNT, "Of it, what the provider read from its cache."),
    Column("cache_write_tokens", COUNT, "Of it, what the provider wrote to its cache."),
    Column("cache_write_1h_tokens", COUNT, "Of those, what was written for an hour."),
    Column("output_tokens", COUNT, "Billed output."),
    Column("reasoning_tokens", COUNT, "Of it, reasoning."),
)
_COST = Column("cost_usd", MONEY, "What it cost at the prices of its day; empty: no known price.")

CALLS = Table(
    "calls",
    "One row per call: each once, however often it is logged.",
    (
        _CALL_ID,
        _TRACE_ID,
        _GROUP_ID,
        _PROJECT,
        _AGENT,
        Column("provider", TEXT, "Who was asked."),
        _MODEL,
        Column("service_tier", TEXT, "As logged."),
        _FORMAT,
        _STARTED,
        Column("duration_s", NUMBER, "From the request to the end of the response."),
        *_TOKENS,
        _COST,
        Column("logged_cost_usd", MONEY, "The cost that the log itself states."),
        Column(
            "realized_saving_usd",
            MONEY,
            "What cache reads saved, less what writes cost extra; negative: caching cost more.",
        ),
        Column("prompt_tokens", COUNT, "Size of the prompt: billed, or counted where it is not."),
        Column(
            "ideal_tokens",
            COUNT,
            "What a cache that never forgets would have served of the prompt.",
        ),
        _MISSED,
        _MISSED_USD,
        Column("miss_reason", TEXT, "The provider's own word on a miss."),
        Column("sidechain", FLAG, "Made by a subagent."),
        _PATH,
        _LINE,
    ),
    "started_at NULLS LAST, path, line, call_id",
)

TRACES = Table(
    "traces",
    "One row per trace: an agent run or a rollout. Sums are of its calls.",
    (
        _TRACE_ID,
        Column("parent_id", TEXT, "The trace that spawned it."),
        _GROUP_ID,
        _PROJECT,
        _AGENT,
        _FORMAT,
        Column("calls", COUNT, "How many calls it made."),
        Column("first_call_at", TIME, "When its first call was sent."),
        Column("last_call_at", TIME, "When its last call was sent."),
        *_TOKENS,
        _COST,
        Column("unpriced_calls", COUNT, "Calls that `cost_usd` leaves out."),
        _MISSED,
        _MISSED_USD,
        Column("reward", NUMBER, "As logged."),
        Column("answer", TEXT, "The final answer, as a field of the log states it."),
        _PATH,
    ),
    "trace_id",
)

GROUPS = Table(
    "groups",
    "One row per group: rollouts of one task or prompt.",
    (
        _GROUP_ID,
        Column("rollouts", COUNT, "Its rollouts."),
        Column(
            "sized_rollouts", COUNT, "Those whose whole sequence can be counted: tokens are theirs."
        ),
        Column("distinct_rollouts", COUNT, "Different ones among those."),
        Column("turns", COUNT, "Calls of its rollouts."),
        Column("distinct_turns", COUNT, "Different ones: the size of its tree in turns."),
        Column("flat_tokens", COUNT, "Each rollout whole."),
        Column("tree_tokens", COUNT, "What several begin with counted once."),
        Column("overlap_ratio", NUMBER, "1 - tree / flat."),
        Column("trunk_tokens", COUNT, "What all of them begin with."),
        Column("rho", NUMBER, "flat over flat less repeated trunks."),
        Column("bound", NUMBER, "flat / tree: the most that sharing prefixes can speed up."),
        Column("forks", COUNT, "Places where rollouts part."),
        Column("mean_generated_tokens", NUMBER, "Per rollout."),
        Column("mean_reward", NUMBER, "Over rollouts with a reward."),
        Column("answers", COUNT, "Rollouts with an answer."),
        Column("distinct_answers", COUNT, "Different answers."),
        Column("modal_share", NUMBER, "Share of the rollouts that gave the commonest answer."),
        Column("same_answer_share", NUMBER, "Chance that two rollouts gave the same answer."),
    ),
    "group_id",
)

MISSES = Table(
    "misses",
    "One row per call and cause: tokens that had been sent before and were not read from a cache.",
    (
        _CALL_ID,
        _TRACE_ID,
        _MODEL,
        _STARTED,
        Column("cause", TEXT, "Why, as in `forkpoint cache`."),
        Column("source", TEXT, "`provider`: the provider said so. `inferred`: from the log."),
        Column("lost_tokens", COUNT, "Tokens lost to the cause."),
        Column("lost_usd", MONEY, "What reading them would have saved."),
        _PATH,
        _LINE,
    ),
    "started_at NULLS LAST, path, line, call_id, cause",
)

_TREE = Column("tree", TEXT, "`prompts`: of all prompts as one tree. `rollouts`: of one group.")
_FORK_ID = Column("fork_id", TEXT, "Names the fork point in `trunks` and `forks`.")

TRUNKS = Table(
    "trunks",
    "One row per fork point: the beginning that is shared up to it.",
    (
        _FORK_ID,
        _TREE,
        _GROUP_ID,
        Column("trunk_tokens", COUNT, "Tokens that all branches begin with."),
        Column("exact", FLAG, "To the token; else to the message or block, and at least so many."),
        Column("fan_out", COUNT, "How many ways they go on."),
        Column("sequences", COUNT, "Calls, or rollouts, that go through it."),
        Column("shared_tokens", COUNT, "`trunk_tokens` times (`fan_out` - 1): what sharing saves."),
        Column("generated_tokens", COUNT, "Of a rollout's trunk: tokens that a model generated."),
        Column("branching_entropy_nats", NUMBER, "Of rollouts: how evenly they spread, corrected."),
        Column("value", NUMBER, "Of rollouts: mean reward."),
        Column("contrast", NUMBER, "Of rollouts: best branch's mean reward less the worst's."),
    ),
    "tree, group_id, shared_tokens DESC, fork_id",
)

FORKS = Table(
    "forks",
    "One row per branch of a fork point.",
    (
        _FORK_ID,
        _TREE,
        _GROUP_ID,
        Column("branch", COUNT, "Numbers the branches of a fork point from 1, most taken first."),
        Column("sequences", COUNT, "Calls, or rollouts, that take it."),
        Column("kind", TEXT, "Of prompts: what it begins with (text, tool_result, …)."),
        Column("role", TEXT, "Of prompts: whose."),
        Column("value", NUMBER, "Of rollouts: mean reward."),
        _TRACE_ID,
        _PATH,
        _LINE,
    ),
    "tree, group_id, fork_id, branch",
)

LEDGER = Table(
    "ledger",
    "One row per savings mechanism. Rows add up: each counts what the rows before it leave.",
    (
        Column("position", COUNT, "Order of the rows, from 1."),
        Column("mechanism", TEXT, "What saves."),
        Column("realized_tokens", COUNT, "Saved already."),
        Column("realized_usd", MONEY, "Their worth."),
        Column("potential_tokens", COUNT, "Could be saved beside that."),
        Column("potential_usd", MONEY, "Their worth."),
        Column("standalone_tokens", COUNT, "What the mechanism would save alone."),
        Column("evidence", TEXT, "What the figures rest on."),
        Column("needs", TEXT, "What the missing figures would take."),
    ),
    "position",
)

ISSUES = Table(
    "issues",
    "One row per record that could not be read.",
    (
        _PATH,
        _LINE,
        Column("offset_bytes", COUNT, "Where the record begins in the (decompressed) file."),
        Column("reason", TEXT, "What is wrong with it."),
        _FORMAT,
    ),
    "path, line, offset_bytes, reason",
)

TABLES = (CALLS, TRACES, GROUPS, MISSES, FORKS, TRUNKS, LEDGER, ISSUES)


def build_tables(
    store: Store,
    paths: Sequence[Path],
    *,
    filters: Filters = NO_FILTERS,
    prices: Path | None = None,
    rules: Path | None = None,
) -> None:
    """Make the rows of all `TABLES` for the logs at or under `paths`.

    Args:
        paths: absolute; what is there has been ingested.
        prices: a file of prices that go before the built-in ones.
        rules: a file of cache rules that go before the built-in ones.

    Raises:
        ForkpointError: `prices` or `rules` cannot be used.
    """
    it = measure_scope(store, paths, filters, prices, rules)
    grouped = load_grouped(store, it.prompts)
    _stage(store, "export_call_figures", _call_figures(it))
    _make(store, CALLS, _CALLS_SQL)
    _make(store, TRACES, _TRACES_SQL)
    causes = _attributes(it.fall.losses, ("cause", "source"))
    _make(store, MISSES, _MISSES_SQL, _losses(it), causes)
    _make(store, TRUNKS, _TRUNKS_SQL, _prompt_trunks(it.prompts), _rollout_trunks(grouped))
    _make(store, FORKS, _FORKS_SQL, _prompt_branches(it.prompts), _rollout_branches(grouped))
    _make(store, ISSUES, _ISSUES_SQL)
    stats = group_stats(coded_answers(store, grouped), grouped)
    groups = describe_groups(grouped, stats)
    _make(store, GROUPS, _GROUPS_SQL, _attributes(groups, _GROUP_FIELDS))
    totals, hit_rate, read_share = measure_totals(store)
    cache = measure_cache(store, it.prompts, it.reuse, it.missed, it.fall, hit_rate, read_share)
    rollouts = measure_rollouts(grouped, None)
    scored = load_scored_tokens(store)
    savings = measure_savings(store, totals, it.missed, rollouts, scored, cache.evidence)
    _make(store, LEDGER, _LEDGER_SQL, _attributes(savings.ledger, _LEDGER_FIELDS))


_Columns = Mapping[str, Any]
"""Arrays or lists of one length, by name."""


def _stage(store: Store, name: str, columns: _Columns) -> None:
    """Keep columns as a temporary table."""
    staged = {
        key: values if isinstance(values, np.ndarray) else np.array(values, dtype=object)
        for key, values in columns.items()
    }
    # A result that was not read to its end would keep the connection from registering anything.
    store.rows("SELECT 1")
    with store.staged("export_staged", staged):
        store.execute(f"CREATE OR REPLACE TEMP TABLE {name} AS FROM export_staged")


def _make(store: Store, table: Table, sql: str, *staged: _Columns) -> None:
    """Fill a table with the rows of a query, which may read the staged ones as ``staged_1``, …"""
    for n, columns in enumerate(staged, 1):
        _stage(store, f"staged_{n}", columns)
    selected = ", ".join(
        f"CAST({column.name} AS {column.type}) AS {column.name}" for column in table.columns
    )
    store.execute(
        f"CREATE OR REPLACE TEMP TABLE {table.relation} AS SELECT {selected} FROM ({sql})"
    )
    for n in range(1, len(staged) + 1):
        store.execute(f"DROP TABLE staged_{n}")


def _utc(name: str) -> str:
    """SQL: the store's times have no zone; they are UTC."""
    return f"timezone('UTC', {name})"


_MONEY_SUM = f"sum({{0}}::{MONEY}) AS {{0}}"

_CALLS_SQL = f"""
    SELECT scope_calls.* EXCLUDE (call_id, started_at),
           replace(call_id::VARCHAR, '-', '') AS call_id, {_utc("started_at")} AS started_at,
           input_tokens - coalesce(cache_read_tokens, 0) - coalesce(cache_write_tokens, 0)
               AS uncached_input_tokens,
           cost_usd, realized_saving_usd, path,
           nullif(prompt_tokens, -1) AS prompt_tokens,
           CASE WHEN prompt_tokens >= 0 THEN ideal_tokens END AS ideal_tokens,
           CASE WHEN reported THEN missed_tokens END AS missed_tokens,
           CASE WHEN reported AND NOT isnan(missed_usd) THEN missed_usd END AS missed_usd
    FROM scope_calls JOIN scope_costs USING (call_no)
    JOIN scope_sources USING (source_id) JOIN export_call_figures USING (call_no)
"""

_TRACES_SQL = f"""
    WITH ids AS (
        SELECT trace_id FROM scope_traces WHERE leaf IS NOT NULL
        UNION SELECT trace_id FROM scope_calls
    ), sums AS (
        SELECT trace_id, count(*) AS calls, min(started_at) AS first_call_at,
               max(started_at) AS last_call_at,
               {", ".join(f"sum({each.name}) AS {each.name}" for each in _TOKENS)},
               {_MONEY_SUM.format("cost_usd")}, count(*) - count(cost_usd) AS unpriced_calls,
               sum(missed_tokens) AS missed_tokens, {_MONEY_SUM.format("missed_usd")},
               arg_min(path, (path, line)) AS call_path, arg_min(format, (path, line)) AS call_format
        FROM export_calls GROUP BY trace_id
    )
    SELECT * EXCLUDE (calls, unpriced_calls, path, format),
           coalesce(calls, 0) AS calls, coalesce(unpriced_calls, 0) AS unpriced_calls,
           coalesce(path, call_path) AS path, coalesce(format, call_format) AS format
    FROM ids LEFT JOIN scope_traces USING (trace_id) LEFT JOIN sums USING (trace_id)
"""

_MISSES_SQL = """
    SELECT calls.call_id, calls.trace_id, calls.model, calls.started_at, cause, source, lost_tokens,
           CASE WHEN NOT isnan(lost_usd) THEN lost_usd END AS lost_usd, calls.path, calls.line
    FROM staged_1 JOIN staged_2 ON loss = row_no JOIN (
        SELECT call_no, replace(call_id::VARCHAR, '-', '') AS call_id, trace_id, model, line, path,
               timezone('UTC', started_at) AS started_at
        FROM scope_calls JOIN scope_sources USING (source_id)
    ) AS calls USING (call_no)
"""

_FORK_NAME = """
    CASE WHEN i = 0 THEN repeat('0', 32) ELSE replace(node::VARCHAR, '-', '') END AS fork_id
"""

_TRUNKS_SQL = f"""
    SELECT {_FORK_NAME}, 'prompts' AS tree, trunk_tokens, exact, fan_out, sequences,
           trunk_tokens * (fan_out - 1) AS shared_tokens, NULL AS group_id,
           NULL AS generated_tokens, NULL AS branching_entropy_nats, NULL AS value,
           NULL AS contrast
    FROM staged_1 LEFT JOIN scope_nodes USING (i)
    UNION ALL BY NAME
    SELECT 'rollouts-' || fork AS fork_id, 'rollouts' AS tree, trunk_tokens, true AS exact, fan_out,
           sequences, trunk_tokens * (fan_out - 1) AS shared_tokens, group_id, generated_tokens,
           branching_entropy_nats,
           CASE WHEN NOT isnan(value) THEN value END AS value,
           CASE WHEN NOT isnan(contrast) THEN contrast END AS contrast
    FROM staged_2
"""

_FORKS_SQL = """
    WITH branches AS (
        SELECT staged_1.*, kind, role, trace_id, path, line
        FROM staged_1 JOIN scope_nodes ON child = i JOIN scope_calls USING (call_no)
        JOIN scope_sources USING (source_id)
    )
    SELECT CASE WHEN fork = 0 THEN repeat('0', 32) ELSE replace(node::VARCHAR, '-', '') END
               AS fork_id,
           'prompts' AS tree, NULL AS group_id, sequences, kind, role, NULL AS value, trace_id, path,
           line,
           row_number() OVER (PARTITION BY fork ORDER BY sequences DESC, call_no) AS branch
    FROM branches LEFT JOIN (SELECT i AS fork, node FROM scope_nodes) USING (fork)
    UNION ALL BY NAME
    SELECT 'rollouts-' || fork AS fork_id, 'rollouts' AS tree, group_id, sequences, NULL AS kind,
           NULL AS role, CASE WHEN NOT isnan(value) THEN value END AS value, trace_id, path, line,
           row_number() OVER (PARTITION BY fork ORDER BY sequences DESC, place) AS branch
    FROM staged_2
"""

_ISSUES_SQL = """
    SELECT path, line, record_offset AS offset_bytes, reason, format
    FROM issues JOIN scope_sources USING (source_id) WHERE NOT deleted
"""

_GROUP_FIELDS = ("group", *(column.name for column in GROUPS.columns[1:]))
_GROUPS_SQL = 'SELECT *, "group" AS group_id FROM staged_1'
_LEDGER_FIELDS = tuple(LedgerRow.__dataclass_fields__)
_LEDGER_SQL = "SELECT *, row_no + 1 AS position FROM staged_1"


def _attributes(rows: Sequence[Any], names: Sequence[str]) -> _Columns:
    """Dataclasses as columns, with their number."""
    columns: dict[str, Any] = {name: [getattr(row, name) for row in rows] for name in names}
    columns["row_no"] = np.arange(len(rows), dtype=np.int64)
    return columns


def _call_figures(it: Measured) -> _Columns:
    return {
        "call_no": it.prompts.ranks,
        "prompt_tokens": it.prompts.size,
        "ideal_tokens": it.missed.ideal,
        "missed_tokens": it.missed.tokens,
        "missed_usd": it.missed.usd,
        "reported": it.missed.reported,
    }


def _losses(it: Measured) -> _Columns:
    """One row per call and loss; `loss` numbers the losses."""
    losses = it.fall.losses
    lost = [np.flatnonzero(loss.tokens > 0) for loss in losses]
    empty = np.zeros(0, dtype=np.int64)
    call_no = np.concatenate([empty, *lost])
    tokens = [loss.tokens[calls] for loss, calls in zip(losses, lost, strict=True)]
    lost_tokens = np.concatenate([empty, *tokens])
    return {
        "call_no": call_no,
        "loss": np.repeat(np.arange(len(lost)), [len(calls) for calls in lost]).astype(np.int64),
        "lost_tokens": lost_tokens,
        "lost_usd": lost_tokens * it.missed.gain_usd[call_no],
    }


def _calls_below(prompts: Prompts) -> Ints:
    """Calls at or below each node."""
    tree = prompts.tree
    return tree.subtree_sum(np.bincount(prompts.prompt, minlength=len(tree)).astype(np.int64))


def _prompt_trunks(prompts: Prompts) -> _Columns:
    found = find_forks(prompts)
    heads = head_tokens(prompts)
    exact = np.array([node in heads for node in found.node.tolist()], dtype=np.bool_)
    head = np.array([heads.get(node, 0) for node in found.node.tolist()], dtype=np.int64)
    return {
        "i": found.node,
        "trunk_tokens": trunk_tokens(prompts, found.node) + head,
        "exact": exact,
        "fan_out": found.fan_out,
        "sequences": _calls_below(prompts)[found.node],
    }


def _prompt_branches(prompts: Prompts) -> _Columns:
    """Nodes that lie on prompts and whose parent is a fork, with the first call through each."""
    forks = np.zeros(len(prompts.tree), dtype=np.bool_)
    forks[find_forks(prompts).node] = True
    parent = prompts.tree.parent
    children = np.flatnonzero(forks[parent] & (prompts.seen != NEVER))
    children = children[children != 0]
    return {
        "fork": parent[children],
        "child": children,
        "sequences": _calls_below(prompts)[children],
        "call_no": prompts.seen[children],
    }


def _rollout_trunks(grouped: GroupedRollouts) -> _Columns:
    found = RolloutForks(grouped)
    forks, table, trees = found.forks, grouped.table, grouped.trees
    value, n = found.values
    known = np.where(n > 0, value * n, 0.0)
    total = np.bincount(forks.branch_fork, weights=known, minlength=len(forks))
    rewarded = np.bincount(forks.branch_fork, weights=n, minlength=len(forks))
    return {
        "fork": np.arange(len(forks), dtype=np.int64),
        "group_id": [table.groups[int(group)] for group in trees.group[forks.first]],
        "trunk_tokens": forks.depth,
        "fan_out": forks.fan_out,
        "sequences": forks.last - forks.first,
        "generated_tokens": found.generated_depth,
        "branching_entropy_nats": found.entropy.estimate,
        "value": np.where(rewarded > 0, total / np.maximum(rewarded, 1), np.nan),
        "contrast": found.contrast,
    }


def _rollout_branches(grouped: GroupedRollouts) -> _Columns:
    found = RolloutForks(grouped)
    forks, table, trees = found.forks, grouped.table, grouped.trees
    rollouts = trees.rollout[forks.branch].tolist()
    return {
        "fork": forks.branch_fork,
        "group_id": [table.groups[int(group)] for group in trees.group[forks.branch]],
        "place": forks.branch,
        "sequences": forks.counts,
        "value": found.values[0],
        "trace_id": [table.ids[rollout] for rollout in rollouts],
        "path": [table.places[rollout][0] for rollout in rollouts],
        "line": [table.places[rollout][1] for rollout in rollouts],
    }

"""Other values and another order of records in logs that are not one JSON value a line.

Each form of log is taken apart by its own means, changed at drawn places and put together again. A
form that is not known here fails the test, so that none goes unchanged.
"""

from __future__ import annotations

import io
import json
import pickle
import re
import sqlite3
import warnings
import zipfile
from collections.abc import Callable
from contextlib import closing, suppress
from typing import Any

import polars as pl
from hypothesis import strategies as st

SWAPS = st.sampled_from(
    [None, True, 0, -1, 2**70, 0.5, "", "word", "half \ud83d", [], [[]], {}, {"type": 1}, ["x", 1]]
)
_TOKEN = re.compile(rb"[^\s,\"]+")

Change = Callable[[Any, st.DataObject], Any]
"""What is done to a decoded value: it may be changed in place, and is given back."""


def with_other_types(content: bytes, data: st.DataObject) -> bytes:
    """The log with a value of another type somewhere."""
    if content.startswith(b"SQLite format 3\0"):
        return _database(content, data, _other_cell)
    if content.startswith(b"PAR1"):
        return _table(content, data, _other_column)
    if content.startswith(b"PK"):
        return _archive(content, data, put_somewhere)
    return _other_word(content, data)


def in_other_order(content: bytes, data: st.DataObject) -> bytes:
    """The log with its records shuffled, and some of them doubled."""
    if content.startswith(b"SQLite format 3\0"):
        return _database(content, data, _other_rows)
    if content.startswith(b"PAR1"):
        return _table(content, data, _shuffled_rows)
    if content.startswith(b"PK"):
        return _archive(content, data, shuffle_somewhere)
    return b"".join(shuffled(content.splitlines(keepends=True), data))


def put_somewhere(value: Any, data: st.DataObject) -> Any:
    """Replace a value at a drawn place, at any depth, of an object or list."""
    swap, record = data.draw(SWAPS, label="value"), value
    while record:
        keys = list(record) if isinstance(record, dict) else range(len(record))
        key = data.draw(st.sampled_from(keys), label="key")
        inner = record[key]
        if not (isinstance(inner, dict | list) and inner and data.draw(st.integers(0, 3))):
            record[key] = swap
            break
        record = inner
    return value


def shuffle_somewhere(value: Any, data: st.DataObject) -> Any:
    """Shuffle the elements of a drawn list, at any depth, and double some."""
    lists = list(_lists(value))
    if lists:
        chosen = data.draw(st.sampled_from(lists), label="list")
        chosen[:] = shuffled(chosen, data)
    return value


def _lists(value: Any) -> list[list[Any]]:
    found, left = [], [value]
    while left:
        inner = left.pop()
        if isinstance(inner, list) and len(inner) > 1:
            found.append(inner)
        if isinstance(inner, dict | list):
            left += inner.values() if isinstance(inner, dict) else inner
    return found


def shuffled(records: list[Any], data: st.DataObject) -> list[Any]:
    """The records in a drawn order, some of them twice."""
    numbers = data.draw(st.permutations(range(len(records))), label="order")
    doubled = data.draw(st.lists(st.sampled_from(numbers), max_size=20), label="doubled")
    return [records[number] for number in [*numbers, *doubled]]


# --- Text ---------------------------------------------------------------------------------------


def _other_word(content: bytes, data: st.DataObject) -> bytes:
    words = list(_TOKEN.finditer(content))
    word = data.draw(st.sampled_from(words), label="word")
    other = json.dumps(data.draw(SWAPS, label="value")).encode()
    return content[: word.start()] + other + content[word.end() :]


# --- SQLite -------------------------------------------------------------------------------------


def _database(
    content: bytes, data: st.DataObject, change: Callable[[Any, str, st.DataObject], None]
) -> bytes:
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.deserialize(content)
        names = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")
        tables = [
            name
            for (name,) in names.fetchall()
            if connection.execute(f'SELECT count(*) FROM "{name}"').fetchone()[0]
        ]
        change(connection, data.draw(st.sampled_from(tables), label="table"), data)
        connection.commit()
        return connection.serialize()


def _other_cell(connection: sqlite3.Connection, table: str, data: st.DataObject) -> None:
    """Cells that hold JSON get other values in it; all others other values in its place."""
    rows = connection.execute(f'SELECT rowid, * FROM "{table}"')
    columns = [each[0] for each in rows.description][1:]
    row = data.draw(st.sampled_from(rows.fetchall()), label="row")
    number = data.draw(st.integers(0, len(columns) - 1), label="column")
    before = row[1 + number]
    if isinstance(before, str) and before.startswith("{") and data.draw(st.booleans()):
        after: Any = json.dumps(put_somewhere(json.loads(before), data))
    else:
        swap = data.draw(SWAPS, label="value")
        plain = swap is None or (isinstance(swap, int | float) and abs(swap) < 2**63)
        after = swap if plain else json.dumps(swap)
    with suppress(sqlite3.IntegrityError):  # a key that is the row's number takes numbers only
        connection.execute(
            f'UPDATE OR IGNORE "{table}" SET "{columns[number]}" = ? WHERE rowid = ?',
            (after, row[0]),
        )


def _other_rows(connection: sqlite3.Connection, table: str, data: st.DataObject) -> None:
    """Keys allow no row twice, so a second one is left out where there is a key."""
    rows = connection.execute(f'SELECT * FROM "{table}"').fetchall()
    connection.execute(f'DELETE FROM "{table}"')
    places = ", ".join("?" * len(rows[0]))
    connection.executemany(
        f'INSERT OR IGNORE INTO "{table}" VALUES ({places})', shuffled(rows, data)
    )


# --- Parquet ------------------------------------------------------------------------------------


def _table(
    content: bytes, data: st.DataObject, change: Callable[[pl.DataFrame, st.DataObject], Any]
) -> bytes:
    out = io.BytesIO()
    changed: pl.DataFrame = change(pl.read_parquet(io.BytesIO(content)), data)
    changed.write_parquet(out)
    return out.getvalue()


def _other_column(frame: pl.DataFrame, data: st.DataObject) -> pl.DataFrame:
    """A column has one type, so all its values change."""
    name = data.draw(st.sampled_from(frame.columns), label="column")
    others = (None, True, 7, -1, 0.5, "word", b"\xff\x00", ["x"], [[1]], {"type": 1})
    value = data.draw(st.sampled_from(others), label="value")
    return frame.with_columns(pl.Series(name, [value] * frame.height))


def _shuffled_rows(frame: pl.DataFrame, data: st.DataObject) -> pl.DataFrame:
    return frame[shuffled(list(range(frame.height)), data)]


# --- Archives -----------------------------------------------------------------------------------


def _archive(content: bytes, data: st.DataObject, change: Change) -> bytes:
    """An archive with one member changed, and its members in another order."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = [(name, archive.read(name)) for name in archive.namelist()]
    numbers = [n for n, (name, _) in enumerate(members) if name.endswith((".json", ".pkl"))]
    chosen = data.draw(st.sampled_from(numbers), label="member")
    name, inner = members[chosen]
    if name.endswith(".json"):
        members[chosen] = name, json.dumps(change(json.loads(inner), data)).encode()
    else:
        plain = _PlainData(io.BytesIO(inner)).load()
        members[chosen] = name, pickle.dumps(change(plain, data), protocol=2)
    if change is shuffle_somewhere:
        members = shuffled(members, data)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # one says that a name stands there twice: it is meant to
        for name, inner in members:
            archive.writestr(name, inner)
    return out.getvalue()


class _PlainData(pickle.Unpickler):
    """Our own sample's pickle without its tensors."""

    def find_class(self, module: str, name: str) -> Any:
        return lambda *arguments: None

    def persistent_load(self, pid: Any) -> None:
        return None

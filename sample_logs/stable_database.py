"""SQLite databases that are the same bytes whatever version of SQLite writes them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

WRITTEN_BY = slice(96, 100)
"""Where SQLite writes its own version (the file format's header)."""


@contextmanager
def new_database(path: Path, schema: str) -> Iterator[sqlite3.Connection]:
    """A database in place of the one at `path`, committed at the end."""
    path.unlink(missing_ok=True)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA page_size = 1024")
        connection.executescript(schema)
        yield connection
        connection.commit()
    data = bytearray(path.read_bytes())
    data[WRITTEN_BY] = (3_040_001).to_bytes(4, "big")
    path.write_bytes(data)

"""Write the samples of this folder: ``python sample_logs/goose/generate.py [FOLDER]``.

Everything is invented: the project "hivelog", the person's words and all token counts. No clock and no
randomness: each run writes the same bytes.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from stable_database import new_database

CWD = "/home/lea/hivelog"
OLD = "20250803_091502"
MODEL = json.dumps({"model_name": "claude-sonnet-4-5", "context_limit": 200000})
SCHEMA = """
CREATE TABLE schema_version (version INTEGER PRIMARY KEY, applied_at TIMESTAMP);
CREATE TABLE sessions (
    id TEXT PRIMARY KEY, name TEXT NOT NULL DEFAULT '', description TEXT NOT NULL DEFAULT '',
    session_type TEXT NOT NULL DEFAULT 'user', working_dir TEXT NOT NULL, created_at TIMESTAMP,
    updated_at TIMESTAMP, extension_data TEXT DEFAULT '{}',
    total_tokens INTEGER, input_tokens INTEGER, output_tokens INTEGER,
    accumulated_total_tokens INTEGER, accumulated_input_tokens INTEGER,
    accumulated_output_tokens INTEGER, accumulated_cache_read_tokens INTEGER,
    accumulated_cache_write_tokens INTEGER, accumulated_cost REAL,
    provider_name TEXT, model_config_json TEXT, parent_session_id TEXT
);
CREATE TABLE messages (
    id INTEGER PRIMARY KEY AUTOINCREMENT, session_id TEXT NOT NULL, role TEXT NOT NULL,
    content_json TEXT NOT NULL, created_timestamp INTEGER NOT NULL
);
"""
COLUMNS = (
    "id, name, session_type, working_dir, created_at, updated_at, total_tokens, input_tokens, "
    "output_tokens, accumulated_total_tokens, accumulated_input_tokens, accumulated_output_tokens, "
    "accumulated_cache_read_tokens, accumulated_cache_write_tokens, accumulated_cost, "
    "provider_name, model_config_json, parent_session_id"
)
OLD_HEADER = {
    "working_dir": CWD,
    "description": "Weekly hive weights",
    "message_count": 4,
    "total_tokens": 9120,
    "input_tokens": 9014,
    "output_tokens": 106,
    "accumulated_total_tokens": 26871,
    "accumulated_input_tokens": 26502,
    "accumulated_output_tokens": 369,
}


def old_file() -> str:
    """A session from before there was a database."""
    said = [
        ("user", [{"type": "text", "text": "Add a weekly summary of hive weights."}]),
        ("assistant", [{"type": "text", "text": "I will look at how weights are stored first."}]),
        ("user", [{"type": "text", "text": "They are in hivelog/weights.py."}]),
        ("assistant", [{"type": "text", "text": "weekly() is in hivelog/summary.py, with tests."}]),
    ]
    messages = [
        {"role": role, "created": 1754212502 + 20 * number, "content": content}
        for number, (role, content) in enumerate(said)
    ]
    return "".join(json.dumps(record) + "\n" for record in [OLD_HEADER, *messages])


def rows() -> list[tuple[object, ...]]:
    """Sessions of the database: the old one again, a new one, its subagent, and one without calls."""
    first, second = "2026-10-05 09:00:00", "2026-10-05 09:04:30"
    old = ("2025-08-03 09:15:02", "2025-08-03 09:16:02", 9120, 9014, 106, 26871, 26502, 369)
    new = (first, "2026-10-05 09:20:41", 15310, 15122, 188, 184420, 181906, 2514, 152300, 24100)
    sub = (second, "2026-10-05 09:05:10", 4120, 4080, 40, 7913, 7801, 112, 3900, 3850)
    none = (None,) * 3
    model = ("anthropic", MODEL)
    return [
        (OLD, "Weekly hive weights", "user", CWD, *old, *none, None, None, None),
        ("20261005_1", "Hive table", "user", CWD, *new, 0.27014, *model, None),
        ("20261005_2", "", "sub_agent", CWD, *sub, None, *model, "20261005_1"),
        ("20261005_3", "", "user", CWD, first, first, *((None,) * 9), *model, None),
    ]


def write_database(path: Path) -> None:
    with new_database(path, SCHEMA) as connection:
        connection.execute("INSERT INTO schema_version VALUES (16, '2026-10-05 09:00:00')")
        places = ", ".join("?" * len(COLUMNS.split(",")))
        connection.executemany(f"INSERT INTO sessions ({COLUMNS}) VALUES ({places})", rows())


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    sessions = folder / "sessions"
    sessions.mkdir(parents=True, exist_ok=True)
    write_database(sessions / "sessions.db")
    old = sessions / f"{OLD}.jsonl"
    old.write_text(old_file(), encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()

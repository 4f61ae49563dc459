"""What is shown, as files of this folder say it. ``FORKPOINT_UPDATE_GOLDEN=1`` writes them anew."""

from __future__ import annotations

import os
from pathlib import Path

GOLDEN = Path(__file__).resolve().parent / "golden"
UPDATE = os.environ.get("FORKPOINT_UPDATE_GOLDEN") == "1"


def matches_golden(shown: str, name: str) -> None:
    """`shown` is what the file `name`, a path below the folder, holds."""
    golden = GOLDEN / name
    if UPDATE:
        golden.parent.mkdir(exist_ok=True)
        golden.write_text(shown, encoding="utf-8", newline="\n")
    assert golden.is_file(), "FORKPOINT_UPDATE_GOLDEN=1 writes it: read what it says"
    assert shown == golden.read_text(encoding="utf-8"), (
        "if the change is meant: FORKPOINT_UPDATE_GOLDEN=1, and read the difference"
    )

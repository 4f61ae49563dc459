"""Commands as people and scripts run them, and what holds for everything they show."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from typing import Any

from rich.cells import cell_len
from typer.testing import Result

Run = Callable[..., Result]
"""The fixture ``run``: a command's words to what came of it."""
UNSEEN = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b\u202e\ud800-\udfff]")


def shown_json(result: Result) -> Any:
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def fits(shown: str, width: int) -> None:
    """No line is wider than the terminal, and nothing in it does what cannot be seen."""
    assert max(map(cell_len, shown.split("\n"))) <= width
    assert not UNSEEN.search(shown)


def shows_markup(shown: str, text: str) -> None:
    """A text with markup stands in it as it was logged and had no effect."""
    assert text in shown
    assert "\x1b[31m" not in shown
    assert "\x1b]8" not in shown


def names_all_fields(value: Any, found: Any) -> None:
    """Every field of a dataclass, and of those in it, stands in its JSON under its name."""
    if is_dataclass(value):
        assert {each.name for each in fields(value)} <= set(found)
        for each in fields(value):
            names_all_fields(getattr(value, each.name), found[each.name])
    elif isinstance(value, tuple):
        assert len(value) == len(found)
        for one, other in zip(value, found, strict=True):
            names_all_fields(one, other)

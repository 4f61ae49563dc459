"""README shows what the commands print. ``FORKPOINT_UPDATE_GOLDEN=1`` writes it anew."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import REPOSITORY

from forkpoint.parsers.registry import parsers

README = REPOSITORY / "README.md"
_BLOCK = re.compile(r"(<!-- generated: (.*?) -->\n)(.*?)(<!-- end -->)", re.DOTALL)
UPDATE = os.environ.get("FORKPOINT_UPDATE_GOLDEN") == "1"


def output_of(command: str) -> str:
    """What a command prints on a terminal of 100 columns, run in the repository."""
    run = subprocess.run(
        [sys.executable, "-m", *command.split()],
        cwd=REPOSITORY,
        env=os.environ | {"COLUMNS": "100", "FORKPOINT_STORE": ":memory:", "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    lines = [line.rstrip() for line in run.stdout.rstrip().splitlines()]
    return f"```\n$ {command}\n" + "\n".join(lines) + "\n```\n"


def formats_table() -> str:
    rows = ["| Format | `--by format` | Holds | Checked against |", "|---|---|---|---|"]
    rows += [
        f"| {each.title} | `{each.name}` | {', '.join(each.evidence)} | {each.checked} |"
        for each in parsers()
    ]
    return "\n".join(rows) + "\n"


def generated(what: str) -> str:
    return formats_table() if what == "formats" else output_of(what)


def test_readme_shows_what_the_commands_print() -> None:
    text = README.read_text()
    fresh = _BLOCK.sub(lambda m: m.group(1) + generated(m.group(2)) + m.group(4), text)
    if UPDATE:
        README.write_text(fresh)
    assert len(_BLOCK.findall(text)) == 4
    assert text == fresh or UPDATE


def pages() -> list[Path]:
    """Our Markdown pages; not those of environments and caches, whose folders are hidden."""
    found = [page.relative_to(REPOSITORY) for page in REPOSITORY.rglob("*.md")]
    return sorted(page for page in found if not any(part.startswith(".") for part in page.parts))


@pytest.mark.parametrize("page", pages(), ids=str)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    page = REPOSITORY / page
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), target

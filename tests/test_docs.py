"""Pages show what the commands print and what the parsers declare.

``FORKPOINT_UPDATE_GOLDEN=1`` writes those parts of them anew.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from conftest import REPOSITORY
from golden_files import UPDATE
from typer.testing import CliRunner

from forkpoint.cli.export import columns_page
from forkpoint.cli.main import app
from forkpoint.cli.tables import families, is_from_documentation
from forkpoint.parsers.base import Parser
from forkpoint.parsers.registry import parsers

README = REPOSITORY / "README.md"
FORMATS = REPOSITORY / "docs" / "formats.md"
COMMANDS = REPOSITORY / "docs" / "commands.md"
EXPORTS = REPOSITORY / "docs" / "exports.md"
TUTORIAL = REPOSITORY / "docs" / "tutorial.md"
_BLOCK = re.compile(r"(<!-- generated: (.*?) -->\n)(.*?)(<!-- end -->)", re.DOTALL)


def output_of(command: str) -> str:
    """What a command prints on a terminal of 100 columns, run in the repository."""
    run = subprocess.run(
        [sys.executable, "-m", *shlex.split(command)],
        cwd=REPOSITORY,
        env=os.environ | {"COLUMNS": "100", "FORKPOINT_STORE": ":memory:", "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    # A limit that is not kept has an exit code of its own.
    assert run.returncode in (0, 3), run.stderr
    lines = [line.rstrip() for line in run.stdout.rstrip().splitlines()]
    return f"```\n$ {command}\n" + "\n".join(lines) + "\n```\n"


def built_in() -> list[Parser]:
    """The project's own parsers, whatever else is installed."""
    return [each for each in parsers() if type(each).__module__.startswith("forkpoint.parsers.")]


def formats_table() -> str:
    rows = ["| Format | `--by format` | Holds | Checked against |", "|---|---|---|---|"]
    rows += [
        f"| {each.title} | `{each.name}` | {', '.join(each.evidence)} | {each.checked} |"
        for each in built_in()
    ]
    return "\n".join(rows) + "\n"


def formats_in_full() -> str:
    """A section for each format, under the headings of ``forkpoint formats``."""
    parts = []
    for heading, members in families(built_in()):
        parts += [f"## {heading}\n", *map(format_section, members)]
    return "\n" + "\n".join(parts)


def format_section(parser: Parser) -> str:
    holds = ", ".join(parser.evidence)
    if not parser.whole_prompts:
        holds += "; prompts not whole, so their sizes come from what was billed"
    unseen = f"not on a real log ({parser.checked})"
    facts = {
        "Holds": holds,
        "Checked": unseen if is_from_documentation(parser) else parser.checked,
        "Found in": ", ".join(f"`{place}`" for place in parser.locations),
    }
    example = f"[example](../sample_logs/{parser.name}/README.md)"
    return "\n".join(
        [
            f"### {parser.title}",
            "",
            f"`{parser.name}` ({example}). {what_to_know(parser)}",
            "",
            *(f"- {label}: {fact}" for label, fact in facts.items() if fact),
            "",
        ]
    )


def what_to_know(parser: Parser) -> str:
    """The first line of the parser's module, in Markdown: what its files are."""
    documented = sys.modules[type(parser).__module__].__doc__ or ""
    return documented.strip().partition("\n")[0].replace("``", "`")


def commands() -> list[str]:
    """The names of all commands, in the order of ``forkpoint --help``."""
    group = typer.main.get_command(app)
    return list(group.commands)  # type: ignore[attr-defined]


def help_of(command: str) -> str:
    shown = CliRunner().invoke(app, [command, "--help"], prog_name="forkpoint")
    assert shown.exit_code == 0
    return "\n".join(line.rstrip() for line in shown.stdout.rstrip().splitlines())


def commands_in_full() -> str:
    """A section for each command: what its ``--help`` says."""
    return "\n" + "\n".join(
        f"## forkpoint {each}\n\n```\n{help_of(each)}\n```\n" for each in commands()
    )


def export_columns() -> str:
    return f"\n{columns_page()}\n"


GENERATED = {
    "formats": formats_table,
    "formats in full": formats_in_full,
    "commands": commands_in_full,
    "export columns": export_columns,
}


def generated(what: str) -> str:
    return GENERATED[what]() if what in GENERATED else output_of(what)


@pytest.mark.parametrize(
    ("page", "blocks"),
    [(README, 5), (FORMATS, 1), (COMMANDS, 1), (EXPORTS, 1), (TUTORIAL, 6)],
    ids=lambda x: str(x)[-10:],
)
def test_pages_show_what_the_commands_print_and_the_parsers_declare(
    page: Path, blocks: int
) -> None:
    text = page.read_text()
    fresh = _BLOCK.sub(lambda m: m.group(1) + generated(m.group(2)) + m.group(4), text)
    if UPDATE:
        page.write_text(fresh)
    assert len(_BLOCK.findall(text)) == blocks
    assert text == fresh or UPDATE


@pytest.mark.parametrize("command", commands())
def test_the_help_of_every_command_has_examples_that_name_it(command: str) -> None:
    shown = help_of(command)
    assert shown.startswith(f"Usage: forkpoint {command} ")
    examples = shown.partition("\n  Examples:\n")[2].partition("\n\n")[0].splitlines()
    assert examples, "no Examples"
    assert any(f"forkpoint {command}" in line for line in examples)
    # Examples stand as they were written, not run together by the help's own line breaks.
    assert all(line.startswith("    ") for line in examples)


@pytest.mark.parametrize("parser", built_in(), ids=lambda parser: parser.name)
def test_the_first_line_of_every_parser_says_in_a_sentence_what_its_files_are(
    parser: Parser,
) -> None:
    line = what_to_know(parser)
    assert 20 <= len(line) <= 110
    assert line.endswith((".", "…"))
    assert line.count("`") % 2 == 0


def pages() -> list[Path]:
    """Our Markdown pages; not those of environments and caches, whose folders are hidden."""
    found = [page.relative_to(REPOSITORY) for page in REPOSITORY.rglob("*.md")]
    return sorted(page for page in found if not any(part.startswith(".") for part in page.parts))


@pytest.mark.parametrize("page", pages(), ids=str)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    page = REPOSITORY / page
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), target

"""``--format md``: the answer as GitHub Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TextIO

from forkpoint.analysis.results import Report
from forkpoint.cli.answer import (
    Section,
    amounts,
    notes,
    provenance,
    sections,
    sentence,
    what_was_read,
)
from forkpoint.cli.text import markdown_text, plain

_LONGEST = 2_000
"""Characters of any one text: the places of a fork's branches fit, a name of a megabyte does not."""


class MarkdownReporter:
    """The whole report as Markdown tables."""

    kind = "md"

    def render(self, report: Report, out: TextIO) -> None:
        """Write the whole report."""
        blocks = [
            f"# {markdown_text(sentence(report))}",
            _shown(" · ".join(what_was_read(report))),
            _table(
                ("", "cost", "tokens", "meaning"),
                [
                    (each.label, each.usd, each.tokens, "; ".join(each.details))
                    for each in amounts(report)
                ],
                frozenset({1, 2}),
            ),
        ]
        blocks += ["\n".join(f"- {_shown(note)}" for note in notes(report))]
        blocks += [_section(section) for section in sections(report)]
        facts = " · ".join(f"{name}: {value}" for name, value in provenance(report))
        blocks.append(f"<sub>{_shown(facts)}</sub>")
        out.write("\n\n".join(block for block in blocks if block) + "\n")


def _shown(text: str) -> str:
    return markdown_text(plain(text, _LONGEST))


def _section(section: Section) -> str:
    table = _table(section.header, section.rows, section.numbers)
    return f"## {_shown(section.title)}\n\n{_shown(section.note)}\n\n{table}"


def _table(header: Sequence[str], rows: Iterable[Sequence[str]], numbers: frozenset[int]) -> str:
    rule = ["---:" if column in numbers else "---" for column in range(len(header))]
    lines = [[markdown_text(cell) for cell in header], rule]
    lines += [[_shown(cell) for cell in row] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)

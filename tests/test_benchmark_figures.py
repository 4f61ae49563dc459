"""The figures of benchmarks/README.md: every format is among them, and what is slow has a reason."""

from __future__ import annotations

from conftest import REPOSITORY

from forkpoint.parsers.registry import parsers

AIM_MB_S = 50


def figures_by_format() -> dict[str, tuple[float, str]]:
    """MB a second, and why it is not more, by format."""
    page = (REPOSITORY / "benchmarks" / "README.md").read_text()
    table = page[page.index("| Format | MB/s |") :].splitlines()[2:]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table if line]
    return {name: (float(speed), why) for name, speed, _, _, _, why in rows}


def test_every_format_was_measured() -> None:
    assert sorted(figures_by_format()) == sorted(parser.name for parser in parsers())


def test_every_format_that_misses_the_aim_has_its_reason_written_down() -> None:
    slow = {name: why for name, (speed, why) in figures_by_format().items() if speed < AIM_MB_S}
    assert slow
    assert [name for name, why in slow.items() if not why] == []

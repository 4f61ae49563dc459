"""``forkpoint formats``: the list, which format a file is of, and what helps with one of none."""

from __future__ import annotations

import bz2
import json
import lzma
import sqlite3
import zipfile
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import ClassVar

import polars as pl
import pytest
from conftest import REPOSITORY
from rich.cells import cell_len

from forkpoint.cli.options import PlainFormat
from forkpoint.cli.tables import families, write_format_of, write_formats
from forkpoint.parsers.base import Parser
from forkpoint.parsers.registry import parser_named, parsers

EVIDENCE = {
    "usage",
    "text",
    "token ids",
    "hashed blocks",
    "timestamps",
    "rewards",
    "logprobs",
}  # fmt: skip


class Declared:
    """A parser's declaration, as far as the list shows it."""

    name: ClassVar[str] = "declared"
    title: ClassVar[str] = "Declared \x1b[31mred"
    checked: ClassVar[str] = "1.0, 2026-11"
    evidence: ClassVar[tuple[str, ...]] = ("text",)
    locations: ClassVar[tuple[str, ...]] = ()
    whole_prompts: ClassVar[bool] = True
    grows: ClassVar[bool] = True


class Unseen(Declared):
    name: ClassVar[str] = "unseen"
    checked: ClassVar[str] = "from documentation, 2026-11"


def listed(*of: type) -> str:
    out = StringIO()
    write_formats([each() for each in of] or parsers(), PlainFormat.TABLE, out)
    return out.getvalue()


def said_of(path: Path) -> tuple[bool, str]:
    out = StringIO()
    known = write_format_of(path, PlainFormat.TABLE, out)
    return known, out.getvalue()


@pytest.mark.parametrize("columns", [40, 60, 80, 100, 140])
def test_the_list_fits_any_width(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    lines = listed().splitlines()
    assert max(map(cell_len, lines)) <= columns
    for parser in parsers():
        assert any(line.startswith(f"  {parser.name}") for line in lines)


def test_every_format_is_under_one_heading_that_its_declaration_bears_out() -> None:
    found = dict(families(parsers()))
    assert sorted(p.name for members in found.values() for p in members) == sorted(
        parser.name for parser in parsers()
    )
    assert {p.name for p in found["Serving traces"]} >= {"mooncake", "bailian", "kv-cache-tester"}
    known = {p.name for p in found["Logs kept in a known place, found without a path"]}
    assert {"claude-code", "codex"} <= known
    assert all(parser_named(name).locations for name in known)
    assert "openai" in {p.name for p in found["Requests, spans and agent runs"]}
    assert "tau-bench" in {p.name for p in found["Rollouts and evaluations, with rewards"]}


def test_the_list_shows_all_that_a_parser_declares() -> None:
    shown = " ".join(listed().split())
    for parser in parsers():
        assert ", ".join(parser.evidence) in shown
        for place in parser.locations:
            assert place in shown


@pytest.mark.parametrize("parser", parsers(), ids=lambda parser: parser.name)
def test_every_parser_declares_what_its_logs_hold_in_the_words_there_are(parser: Parser) -> None:
    assert parser.evidence
    assert set(parser.evidence) <= EVIDENCE
    assert len(set(parser.evidence)) == len(parser.evidence)
    assert "2026" in parser.checked
    assert all(place.startswith(("~/", "$")) for place in parser.locations)


def test_a_format_known_from_documentation_only_is_listed_as_such() -> None:
    assert "not checked on a real log: from documentation, 2026-11" in listed(Unseen)
    assert "not checked" not in listed(Declared)
    out = StringIO()
    write_formats([Unseen(), Declared()], PlainFormat.JSON, out)  # type: ignore[list-item]
    assert [each["from_documentation"] for each in json.loads(out.getvalue())] == [True, False]


def test_a_third_partys_words_cannot_write_to_the_terminal() -> None:
    assert "\x1b" not in listed(Declared)
    assert "\\x1b[31mred" in listed(Declared)


def test_json_has_every_declaration() -> None:
    out = StringIO()
    write_formats(parsers(), PlainFormat.JSON, out)
    for parser, facts in zip(parsers(), json.loads(out.getvalue()), strict=True):
        assert facts["name"] == parser.name
        assert facts["evidence"] == list(parser.evidence)
        assert facts["locations"] == list(parser.locations)
        assert facts["whole_prompts"] is parser.whole_prompts
        assert facts["family"]


def test_a_known_file_is_named_with_the_reason_and_what_it_holds() -> None:
    known, shown = said_of(REPOSITORY / "sample_logs" / "mooncake" / "conversations.jsonl")
    assert known
    first, because, holds, checked = shown.splitlines()
    assert first.endswith("conversations.jsonl: mooncake (Mooncake trace)")
    assert because.startswith("  because: ")
    assert holds == "  holds usage, hashed blocks, timestamps"
    assert checked.startswith("  checked: ")


def sqlite_file(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE recipes (name TEXT)")
    connection.close()


def zip_file(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("inside/log.jsonl", "{}")


def parquet_file(path: Path) -> None:
    pl.DataFrame({"dish": ["soup"], "minutes": [40]}).write_parquet(path)


@pytest.mark.parametrize(
    ("make", "looks", "helps"),
    [
        (sqlite_file, "a SQLite database (tables: recipes)", "a parser of some 100 lines"),
        (zip_file, "a zip archive (members: inside/log.jsonl)", "unpack it and name a log in it"),
        (parquet_file, "a Parquet file (columns: dish, minutes)", "forkpoint-map.toml"),
        (lambda path: path.write_bytes(bz2.compress(b"{}")), "compressed with bzip2", "unpack it"),
        (lambda path: path.write_bytes(lzma.compress(b"{}")), "compressed with xz", "unpack it"),
        (lambda path: path.write_text("a,b\n1,2\n"), "CSV (columns: a, b)", "forkpoint-map.toml"),
        (lambda path: path.write_text('{"a": 1}\n{"a": 2}\n'), "JSON lines", "forkpoint-map.toml"),
        (lambda path: path.write_text("[tool.x]\n"), "text that is not JSON", "a parser of some"),
        (lambda path: path.write_text("Dear diary, hi\n"), "text that is not", "a parser of some"),
        (lambda path: path.write_text(""), "an empty file", "nothing to read yet"),
        (lambda path: path.write_bytes(b"\0\1\2\3"), "binary data", "export it"),
    ],
)
def test_a_file_of_no_known_format_is_described_with_what_helps(
    tmp_path: Path, make: Callable[[Path], object], looks: str, helps: str
) -> None:
    path = tmp_path / "file"
    make(path)
    known, shown = said_of(path)
    assert not known
    first, *more = shown.splitlines()
    assert first.endswith("file: no known format")
    joined = " ".join(" ".join(more).split())
    assert f"it looks like: {looks}" in joined
    assert "what helps: " in joined
    assert helps in joined.partition("what helps: ")[2]

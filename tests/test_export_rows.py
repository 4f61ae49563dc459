"""Rows of exports: the shapes of files that hold them, and their places."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from forkpoint.parsers.export_rows import export_rows, first_row
from forkpoint.parsers.logs import HEAD_BYTES, Head, Line, Log
from forkpoint.parsers.records import Issue

ROWS = [{"id": "a", "n": 1}, {"id": "b", "n": 2}]


def rows(folder: Path, data: str | bytes, name: str = "x") -> list[Line | Issue]:
    path = folder / name
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return list(export_rows(Log(path)))


def head(data: str) -> Head:
    return Head(Path("x"), data.encode()[:HEAD_BYTES])


@pytest.mark.parametrize(
    "text",
    [
        "".join(json.dumps(row) + "\n" for row in ROWS),
        json.dumps(ROWS),
        json.dumps(ROWS, indent=2),
        json.dumps({"data": ROWS, "meta": {}}),
        json.dumps({"runs": ROWS}, indent=1),
        "".join(json.dumps({"items": [row]}) + "\n" for row in ROWS),
        "id,n\na,1\nb,2\n",
        "\ufeffid;n\r\na;1\r\nb;2\r\n",
    ],
)
def test_every_shape_gives_the_same_rows_in_place(tmp_path: Path, text: str) -> None:
    found = rows(tmp_path, text)
    assert all(isinstance(row, Line) for row in found)
    decoded = [json.loads(row.data) for row in found if isinstance(row, Line)]
    assert [{**row, "n": int(row["n"])} for row in decoded] == ROWS
    data = text.encode()
    for row, own in zip(found, ("a", "b"), strict=True):
        assert own.encode() in data[row.offset : row.offset + 30]
    first = first_row(head(text))
    assert list(first)[:2] == ["id", "n"]


def test_compressed_files_are_read_alike(tmp_path: Path) -> None:
    for text in (json.dumps(ROWS), "id,n\na,1\n", json.dumps({"data": ROWS})):
        assert rows(tmp_path, gzip.compress(text.encode()))[0].offset >= 0


def test_one_object_over_several_lines_is_one_row(tmp_path: Path) -> None:
    (row,) = rows(tmp_path, json.dumps(ROWS[0], indent=2))
    assert isinstance(row, Line)
    assert json.loads(row.data) == ROWS[0]
    assert list(first_row(head(json.dumps(ROWS[0], indent=2)))) == ["id", "n"]


def test_rows_longer_than_the_head_show_their_first_fields() -> None:
    long = {"id": "a", "text": "x" * HEAD_BYTES, "late": 1}
    for text in (json.dumps(long), json.dumps([long]), json.dumps({"data": [long]})):
        assert list(first_row(head(text))) == ["id", "text"]


@pytest.mark.parametrize("text", ["", "\n", "[]", "{}", '{"data": []}', "{\n}", "id,n\n"])
def test_files_without_rows_have_none(tmp_path: Path, text: str) -> None:
    found = [row for row in rows(tmp_path, text) if not isinstance(row, Line) or row.data != b"{}"]
    assert [
        row for row in found if isinstance(row, Line) and row.data.strip() not in (b"{}", b"{\n}")
    ] == []


def test_damage_is_an_issue_in_its_place(tmp_path: Path) -> None:
    (issue,) = rows(tmp_path, '{"data": [{"id": 1}, {"id"')
    assert isinstance(issue, Issue)
    found = rows(tmp_path, '[{"id": "a"}, {"id": "b"}, {"id')
    assert [isinstance(row, Line) for row in found] == [True, True, False]
    table = rows(tmp_path, "id,n\na,1\nb\nc,3\n")
    assert [row.line for row in table if isinstance(row, Issue)] == [3]
    assert [row.line for row in table if isinstance(row, Line)] == [2, 4]


def test_an_unreadable_file_is_an_issue(tmp_path: Path) -> None:
    (issue,) = rows(tmp_path, b"\x1f\x8b\x08broken")
    assert isinstance(issue, Issue)
    assert issue.offset == 0

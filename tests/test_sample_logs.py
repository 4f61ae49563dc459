"""The sample logs of every format: whose they are, that they can be written anew, and what becomes
of them when they are damaged.

What a log is made of follows from its parser's declaration and its own bytes (`form_of`), so a new
format needs no entry here: a sample folder is enough.
"""

from __future__ import annotations

import gzip
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from recording_tree import Parsed, RecordingTree, parse_file, parse_tail

from forkpoint.parsers.base import Parser, Reread
from forkpoint.parsers.logs import Log, read_head
from forkpoint.parsers.records import Call
from forkpoint.parsers.registry import parser_named, parsers

SAMPLES = Path(__file__).resolve().parent.parent / "sample_logs"
FOLDERS = sorted(
    path.name for path in SAMPLES.iterdir() if path.is_dir() and path.name[0].isalnum()
)
SAMPLED = "smollm2.jsonl"
"""Logs that a model wrote. `sample_rollouts.py` writes them anew where the model is at hand."""
EXAMPLES = settings(max_examples=settings().max_examples // 4)


class Form(StrEnum):
    """What a log is made of, which decides what may be expected of a part of it."""

    LINES = "lines"
    """JSON values, one a line."""
    DOCUMENT = "document"
    """One JSON value. Its parser reads it whole, so that it does not declare that it `grows`."""
    TEXT = "text"
    """Records of another kind, such as CSV."""
    BINARY = "binary"
    """SQLite, Parquet, zip, pickles."""


def form_of(path: Path) -> Form:
    """The form of a sample, by its parser's declaration and its bytes."""
    data = path.read_bytes()
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return Form.BINARY
    if "\0" in text:
        return Form.BINARY
    grows = parser_of(path).grows
    if not grows and is_json(text):
        return Form.DOCUMENT
    return Form.LINES if all(map(is_json, text.splitlines())) else Form.TEXT


def is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def parser_of(path: Path) -> Parser:
    """The parser of the format that a sample lies in the folder of."""
    return parser_named(path.relative_to(SAMPLES).parts[0])


def files(folder: Path) -> list[Path]:
    """Every file in a sample folder but what explains and writes the others."""
    others = {"README.md", "generate.py"}
    return sorted(
        path
        for path in folder.rglob("*")
        if path.is_file() and path.name not in others and "__pycache__" not in path.parts
    )


@cache
def claims(path: Path) -> tuple[str, ...]:
    """Names of the parsers that say that a file is their own."""
    head = read_head(path)
    return tuple(parser.name for parser in parsers() if parser.identify(head) is not None)


def has_no_calls(path: Path) -> bool:
    """Whether the folder's README says that this file has no calls: one sentence does both.

    Such files lie beside logs because the program writes them there: settings, summaries, indexes.
    """
    readme = SAMPLES / path.relative_to(SAMPLES).parts[0] / "README.md"
    sentences = re.split(r"(?<=[.!?:;|])\s|\n\n", readme.read_text())
    return any(f"`{path.name}`" in each and "no calls" in each for each in sentences)


def logs(folder: str) -> list[Path]:
    """The files of a sample folder that some parser claims."""
    return [path for path in files(SAMPLES / folder) if claims(path)]


def by_form() -> list[Path]:
    """The smallest log of each form in each folder: what is damaged below."""
    found: dict[tuple[str, Form], Path] = {}
    for folder in FOLDERS:
        for path in sorted(logs(folder), key=lambda path: path.stat().st_size):
            found.setdefault((folder, form_of(path)), path)
    return list(found.values())


def shown(path: Path) -> str:
    return f"{path.relative_to(SAMPLES).parts[0]}-{form_of(path)}"


DAMAGED = by_form()
in_every_folder = pytest.mark.parametrize("folder", FOLDERS)


def of_form(*forms: Form) -> pytest.MarkDecorator:
    paths = [path for path in DAMAGED if not forms or form_of(path) in forms]
    return pytest.mark.parametrize("path", paths, ids=shown)


# --- Whole samples ------------------------------------------------------------------------------


def test_every_registered_parser_has_a_sample_folder_and_is_in_the_index() -> None:
    assert sorted(parser.name for parser in parsers()) == FOLDERS
    index = (SAMPLES / "README.md").read_text()
    rows = re.findall(r"^\| \[([^]]+)]\(([^)]+)\) \|", index, re.MULTILINE)
    assert sorted(rows) == [(folder, f"{folder}/README.md") for folder in FOLDERS]
    for folder in FOLDERS:
        assert (SAMPLES / folder / "README.md").is_file()


@in_every_folder
def test_each_sample_is_recognised_as_its_own_format_and_refused_by_all_others(folder: str) -> None:
    assert logs(folder)
    for path in files(SAMPLES / folder):
        assert claims(path) == (folder,) or (claims(path) == () and has_no_calls(path)), path


@in_every_folder
def test_each_sample_reads_without_issues(folder: str) -> None:
    for path in logs(folder):
        parsed = parse_file(parser_named(folder), path)
        assert parsed.issues == []
        if has_no_calls(path):
            assert parsed.calls == []
            continue
        assert parsed.traces
        assert parsed.calls or all(trace.leaf for trace in parsed.traces)


@in_every_folder
def test_each_sample_is_what_its_generator_writes(folder: str, tmp_path: Path) -> None:
    generator = shutil.copy(SAMPLES / folder / "generate.py", tmp_path)
    subprocess.run([sys.executable, "-I", generator], check=True, cwd=tmp_path, timeout=60)
    written = {path.relative_to(tmp_path): path.read_bytes() for path in files(tmp_path)}
    kept = [path for path in files(SAMPLES / folder) if path.name != SAMPLED]
    assert kept
    assert written == {path.relative_to(SAMPLES / folder): path.read_bytes() for path in kept}


def test_samples_of_every_form_are_damaged_here() -> None:
    assert {form_of(path) for path in DAMAGED} == set(Form)


# --- The same sample, otherwise put down --------------------------------------------------------


def copied(path: Path, target: Path) -> Path:
    """The sample in a copy of its folder, so that what lies beside it is there too."""
    folder = path.relative_to(SAMPLES).parts[0]
    if not (target / folder).exists():
        shutil.copytree(SAMPLES / folder, target / folder)
    return target / path.relative_to(SAMPLES)


def with_bytes(path: Path, data: bytes, target: Path) -> Parsed:
    """What the sample's parser reads where its bytes are others."""
    copy = copied(path, target)
    copy.write_bytes(data)
    try:
        return parse_file(parser_of(path), copy)
    finally:
        copy.write_bytes(path.read_bytes())


@cache
def whole(path: Path) -> Parsed:
    return parse_file(parser_of(path), path)


def places(calls: list[Call]) -> list[tuple[int, int]]:
    return [(call.line, call.offset) for call in calls]


class Read(NamedTuple):
    """What must be the same of a call, however its log is put down."""

    prompt: str
    completion: str | None
    output_tokens: int | None


def fullest(calls: list[Call], tree: RecordingTree) -> dict[Any, Read]:
    """Calls by identity; of several copies, as everywhere, that with most output."""
    found: dict[Any, Read] = {}
    for number, call in enumerate(calls):
        output = call.usage.output_tokens if call.usage else None
        completion = None if call.completion is None else tree.hash_of(call.completion)
        read = Read(tree.hash_of(call.prompt), completion, output)
        key = (call.identity, call.request) if call.identity else number
        if key not in found or (found[key].output_tokens or -1) < (output or -1):
            found[key] = read
    return found


@of_form(Form.LINES, Form.TEXT)
@pytest.mark.parametrize("compress", [gzip.compress, zstandard.compress])
def test_a_compressed_sample_gives_the_same_calls(
    path: Path, compress: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    parsed = with_bytes(path, compress(path.read_bytes()), tmp_path)
    assert parsed.issues == []
    assert fullest(parsed.calls, parsed.tree) == fullest(whole(path).calls, whole(path).tree)


@of_form(Form.LINES, Form.TEXT)
def test_a_sample_that_grew_by_lines_gives_the_calls_of_one_read_whole(
    path: Path, tmp_path: Path
) -> None:
    parser = parser_of(path)
    if not parser.grows:
        pytest.skip("its parser reads a changed file again")
    copy = copied(path, tmp_path)
    lines = path.read_bytes().splitlines(keepends=True)
    copy.write_bytes(b"".join(lines[: len(lines) // 2]))
    before = parse_file(parser, copy)
    copy.write_bytes(b"".join(lines))
    try:
        after = parse_tail(parser, before)
    except Reread:
        return
    assert after.issues == []
    calls = fullest([*before.calls, *after.calls], after.tree)
    assert calls == fullest(whole(path).calls, whole(path).tree)


# --- Damaged samples ----------------------------------------------------------------------------


def damaged(path: Path, data: bytes, target: Path) -> Parsed:
    """Read damaged data, and check that each issue says in one line where it stands."""
    parsed = with_bytes(path, data, target)
    starts = [0]
    for line in data.split(b"\n"):
        starts.append(starts[-1] + len(line) + 1)
    for issue in parsed.issues:
        assert issue.reason and "\n" not in issue.reason
        if form_of(path) is Form.LINES:
            assert issue.offset == starts[issue.line - 1]
        assert issue.line >= 1 and issue.offset >= 0
    return parsed


def put_somewhere(record: Any, value: Any, data: st.DataObject) -> None:
    """Replace a value at a drawn place, at any depth, of a JSON object or list."""
    while True:
        keys = list(record) if isinstance(record, dict) else range(len(record))
        key = data.draw(st.sampled_from(keys), label="key")
        inner = record[key]
        if not (isinstance(inner, dict | list) and inner and data.draw(st.integers(0, 3))):
            record[key] = value
            return
        record = inner


SWAPS = st.sampled_from(
    [None, True, 0, -1, 2**70, 0.5, "", "word", "half \ud83d", [], [[]], {}, {"type": 1}, ["x", 1]]
)


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("damaged")


@of_form(Form.LINES)
@EXAMPLES
@given(data=st.data())
def test_a_sample_cut_off_anywhere_keeps_all_calls_before_the_cut(
    path: Path, scratch: Path, data: st.DataObject
) -> None:
    content = path.read_bytes()
    cut = data.draw(st.integers(0, len(content)), label="cut")
    parsed = damaged(path, content[:cut], scratch)
    last_line = content[:cut].count(b"\n") + 1
    assert [issue.line for issue in parsed.issues] in ([], [last_line])
    all_places = places(whole(path).calls)
    before = [place for place in all_places if place[0] < last_line]
    assert places(parsed.calls)[: len(before)] == before
    assert set(places(parsed.calls)) <= set(all_places)
    assert len(parsed.calls) <= len(all_places)


@of_form(Form.DOCUMENT)
@EXAMPLES
@given(data=st.data())
def test_a_document_cut_off_anywhere_is_one_issue(
    path: Path, scratch: Path, data: st.DataObject
) -> None:
    content = path.read_bytes()
    cut = data.draw(st.integers(0, len(content)), label="cut")
    parsed = damaged(path, content[:cut], scratch)
    assert len(parsed.issues) == (cut < len(content.rstrip()))
    assert len(parsed.calls) <= len(whole(path).calls)


@of_form(Form.TEXT, Form.BINARY)
@EXAMPLES
@given(data=st.data())
def test_a_sample_of_another_form_cut_off_anywhere_loses_nothing_silently(
    path: Path, scratch: Path, data: st.DataObject
) -> None:
    content = path.read_bytes()
    cut = data.draw(st.integers(0, len(content)), label="cut")
    parsed = damaged(path, content[:cut], scratch)
    assert len(parsed.calls) <= len(whole(path).calls)
    assert len(parsed.traces) <= len(whole(path).traces)
    at_a_line_end = form_of(path) is Form.TEXT and content[:cut].endswith((b"\n", b""))
    lost = len(parsed.calls) < len(whole(path).calls) and not at_a_line_end
    assert parsed.issues or not lost


@of_form(Form.LINES, Form.DOCUMENT)
@EXAMPLES
@given(data=st.data())
def test_a_sample_with_values_of_other_types_in_its_fields_is_read_all_the_same(
    path: Path, scratch: Path, data: st.DataObject
) -> None:
    content = path.read_bytes()
    lines = form_of(path) is Form.LINES
    records = content.splitlines(keepends=True) if lines else [content]
    for number in data.draw(st.lists(st.integers(0, len(records) - 1), min_size=1, max_size=4)):
        record = json.loads(records[number])
        put_somewhere(record, data.draw(SWAPS, label="value"), data)
        records[number] = json.dumps(record).encode() + b"\n"
    damaged(path, b"".join(records), scratch)


@of_form(Form.LINES)
@EXAMPLES
@given(data=st.data())
def test_a_sample_with_doubled_and_reordered_lines_is_read_all_the_same(
    path: Path, scratch: Path, data: st.DataObject
) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    numbers = data.draw(st.permutations(range(len(lines))), label="order")
    doubled = data.draw(st.lists(st.sampled_from(numbers), max_size=20), label="doubled")
    parsed = damaged(path, b"".join(lines[n] for n in [*numbers, *doubled]), scratch)
    assert parsed.issues == []


@of_form()
@EXAMPLES
@given(data=st.data())
def test_a_sample_with_damaged_bytes_is_read_all_the_same(
    path: Path, scratch: Path, data: st.DataObject
) -> None:
    content = bytearray(path.read_bytes())
    spots = st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=8)
    for spot in data.draw(spots, label="spots"):
        content[spot] = data.draw(st.integers(0, 255))
    parsed = damaged(path, bytes(content), scratch)
    # A byte can part what was one call in two records (its id, a mark of a copy), and no more.
    assert len(parsed.calls) <= len(whole(path).calls) + 8

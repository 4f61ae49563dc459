"""The sample logs of every format: whose they are, that they can be written anew, and what becomes
of them when they are damaged."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recording_tree import Parsed, parse_file

from forkpoint.parsers.logs import read_head
from forkpoint.parsers.records import Call
from forkpoint.parsers.registry import parser_named, parsers

SAMPLES = Path(__file__).resolve().parent.parent / "sample_logs"
FOLDERS = sorted(path.name for path in SAMPLES.iterdir() if path.is_dir())
SAMPLED = "smollm2.jsonl"
"""Logs that a model wrote. `sample_rollouts.py` writes them anew where the model is at hand."""
DOCUMENTS = {"kv-cache-tester", "tau-bench"}
"""Formats whose logs are one JSON value. All others are JSON Lines."""
EXAMPLES = settings(max_examples=settings().max_examples // 4)

in_every_folder = pytest.mark.parametrize("folder", FOLDERS)
in_every_folder_of_lines = pytest.mark.parametrize("folder", sorted(set(FOLDERS) - DOCUMENTS))


def logs(folder: Path) -> list[Path]:
    """Every log in a sample folder."""
    others = {"README.md", "generate.py"}
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.name not in others)


def smallest(folder: str) -> Path:
    return min(logs(SAMPLES / folder), key=lambda path: path.stat().st_size)


def test_every_registered_parser_has_a_sample_folder_and_is_in_the_index() -> None:
    assert sorted(parser.name for parser in parsers()) == FOLDERS
    index = (SAMPLES / "README.md").read_text()
    for folder in FOLDERS:
        assert f"[{folder}]({folder}/README.md)" in index
        assert (SAMPLES / folder / "README.md").is_file()


@in_every_folder
def test_each_sample_is_recognised_as_its_own_format_and_refused_by_all_others(folder: str) -> None:
    for path in logs(SAMPLES / folder):
        head = read_head(path)
        claims = {parser.name: why for parser in parsers() if (why := parser.identify(head))}
        assert list(claims) == [folder], path


@in_every_folder
def test_each_sample_reads_without_issues(folder: str) -> None:
    for path in logs(SAMPLES / folder):
        parsed = parse_file(parser_named(folder), path)
        assert parsed.issues == []
        assert parsed.traces
        assert parsed.calls or all(trace.leaf for trace in parsed.traces)


@in_every_folder
def test_each_sample_is_what_its_generator_writes(folder: str, tmp_path: Path) -> None:
    generator = shutil.copy(SAMPLES / folder / "generate.py", tmp_path)
    subprocess.run([sys.executable, "-I", generator], check=True, cwd=tmp_path, timeout=60)
    written = {path.relative_to(tmp_path): path.read_bytes() for path in logs(tmp_path)}
    kept = [path for path in logs(SAMPLES / folder) if path.name != SAMPLED]
    assert kept
    assert written == {path.relative_to(SAMPLES / folder): path.read_bytes() for path in kept}


# --- Damaged samples ----------------------------------------------------------------------------


def damaged(folder: str, data: bytes, target: Path) -> Parsed:
    """Read damaged data, and check that each issue says in one line where it stands."""
    path = target / f"{folder}.log"
    path.write_bytes(data)
    parsed = parse_file(parser_named(folder), path)
    starts = [0]
    for line in data.split(b"\n"):
        starts.append(starts[-1] + len(line) + 1)
    for issue in parsed.issues:
        assert issue.reason and "\n" not in issue.reason
        assert folder in DOCUMENTS or issue.offset == starts[issue.line - 1]
    return parsed


def places(calls: list[Call]) -> list[tuple[int, int]]:
    return [(call.line, call.offset) for call in calls]


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


@in_every_folder
@EXAMPLES
@given(data=st.data())
def test_a_sample_cut_off_anywhere_keeps_all_calls_before_the_cut(
    folder: str, scratch: Path, data: st.DataObject
) -> None:
    path = smallest(folder)
    content = path.read_bytes()
    cut = data.draw(st.integers(0, len(content)), label="cut")
    parsed = damaged(folder, content[:cut], scratch)
    if folder in DOCUMENTS:
        assert len(parsed.issues) == (cut < len(content.rstrip()))
        return
    last_line = content[:cut].count(b"\n") + 1
    assert [issue.line for issue in parsed.issues] in ([], [last_line])
    whole = places(parse_file(parser_named(folder), path).calls)
    before = [place for place in whole if place[0] < last_line]
    assert places(parsed.calls)[: len(before)] == before
    assert set(places(parsed.calls)) <= set(whole)


@in_every_folder
@EXAMPLES
@given(data=st.data())
def test_a_sample_with_values_of_other_types_in_its_fields_is_read_all_the_same(
    folder: str, scratch: Path, data: st.DataObject
) -> None:
    content = smallest(folder).read_bytes()
    records = [content] if folder in DOCUMENTS else content.splitlines(keepends=True)
    for number in data.draw(st.lists(st.integers(0, len(records) - 1), min_size=1, max_size=4)):
        record = json.loads(records[number])
        put_somewhere(record, data.draw(SWAPS, label="value"), data)
        records[number] = json.dumps(record).encode() + b"\n"
    damaged(folder, b"".join(records), scratch)


@in_every_folder_of_lines
@EXAMPLES
@given(data=st.data())
def test_a_sample_with_doubled_and_reordered_lines_is_read_all_the_same(
    folder: str, scratch: Path, data: st.DataObject
) -> None:
    lines = smallest(folder).read_bytes().splitlines(keepends=True)
    numbers = data.draw(st.permutations(range(len(lines))), label="order")
    doubled = data.draw(st.lists(st.sampled_from(numbers), max_size=20), label="doubled")
    parsed = damaged(folder, b"".join(lines[n] for n in [*numbers, *doubled]), scratch)
    assert parsed.issues == []


@in_every_folder
@EXAMPLES
@given(data=st.data())
def test_a_sample_with_damaged_bytes_is_read_all_the_same(
    folder: str, scratch: Path, data: st.DataObject
) -> None:
    content = bytearray(smallest(folder).read_bytes())
    for place in data.draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=8)):
        content[place] = data.draw(st.integers(0, 255))
    damaged(folder, bytes(content), scratch)

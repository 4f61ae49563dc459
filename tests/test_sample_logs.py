"""The sample logs of every format: whose they are, that they can be written anew, and what becomes
of them when they are damaged.

What a log is made of follows from its parser's declaration and its own bytes, so a new format needs
no entry here: a sample folder is enough.
"""

from __future__ import annotations

import gzip
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import zstandard
from damaged_logs import (
    Form,
    Sample,
    check_compressed,
    check_cut_off,
    check_damaged_bytes,
    check_grown,
    check_other_order,
    check_other_types,
    form_of,
)
from described_records import described
from golden_files import GOLDEN, matches_golden
from hypothesis import given, settings
from hypothesis import strategies as st
from recording_tree import parse_file

from forkpoint.parsers.logs import read_head
from forkpoint.parsers.registry import parser_named, parsers

SAMPLES = Path(__file__).resolve().parent.parent / "sample_logs"
FOLDERS = sorted(
    path.name for path in SAMPLES.iterdir() if path.is_dir() and path.name[0].isalnum()
)
SAMPLED = "smollm2.jsonl"
"""Logs that a model wrote. `sample_rollouts.py` writes them anew where the model is at hand."""
EXAMPLES = settings(max_examples=settings().max_examples // 4)

in_every_folder = pytest.mark.parametrize("folder", FOLDERS)


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


def logs(folder: str) -> list[Path]:
    """The files of a sample folder that some parser claims."""
    return [path for path in files(SAMPLES / folder) if claims(path)]


def has_no_calls(folder: str, path: Path) -> bool:
    """Whether a folder's README says so. Such files lie beside logs because the program writes
    them there: settings, summaries, indexes."""
    return says_no_calls((SAMPLES / folder / "README.md").read_text(), path.name)


def says_no_calls(readme: str, name: str) -> bool:
    """Whether one sentence has both the file's name and the words ``no calls``."""
    sentences = re.split(r"(?<=[.!?:;|])\s|\n\n", readme)
    return any(f"`{name}`" in each and "no calls" in each for each in sentences)


def smallest_of_each_form() -> list[Sample]:
    """In each folder, the smallest log of each form: what is damaged below."""
    found: list[Sample] = []
    for parser in parsers():
        folder = parser.name
        if folder not in FOLDERS:
            continue  # A test of its own says so.
        forms: dict[Form, Path] = {}
        for path in sorted(logs(folder), key=lambda path: path.stat().st_size):
            forms.setdefault(form_of(path, parser.grows), path)
        mixed = len(forms) > 1
        found += [Sample(parser, SAMPLES / folder, path, mixed) for path in forms.values()]
    return found


DAMAGED = smallest_of_each_form()


def of_form(*forms: Form, growing: bool = False) -> pytest.MarkDecorator:
    """Parametrise by the samples of these forms; `growing`: only those whose format grows."""
    chosen = [each for each in DAMAGED if each.form in forms and each.parser.grows >= growing]
    ids = [f"{each.parser.name}-{each.form}" for each in chosen]
    return pytest.mark.parametrize("sample", chosen, ids=ids)


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("damaged")


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
        assert claims(path) == (folder,) or (not claims(path) and has_no_calls(folder, path)), path


@in_every_folder
def test_each_sample_reads_without_issues(folder: str) -> None:
    for path in logs(folder):
        parsed = parse_file(parser_named(folder), path)
        assert parsed.issues == []
        if has_no_calls(folder, path):
            assert parsed.calls == []
            continue
        assert parsed.traces
        assert parsed.calls or all(trace.leaf for trace in parsed.traces)


@in_every_folder
def test_each_sample_reads_as_its_golden_file_says(folder: str) -> None:
    lines: list[str] = []
    for path in logs(folder):
        parsed = parse_file(parser_named(folder), path)
        lines += [f"== {path.relative_to(SAMPLES / folder).as_posix()}", *described(parsed)]
    matches_golden("".join(f"{line}\n" for line in lines), f"samples/{folder}.txt")


def test_every_golden_file_of_a_sample_is_that_of_a_parser() -> None:
    assert sorted(path.stem for path in (GOLDEN / "samples").iterdir()) == FOLDERS


@in_every_folder
def test_each_sample_is_what_its_generator_writes(folder: str, tmp_path: Path) -> None:
    for shared in SAMPLES.glob("*.py"):
        shutil.copy(shared, tmp_path)
    into = tmp_path / folder
    into.mkdir()
    generator = shutil.copy(SAMPLES / folder / "generate.py", into)
    subprocess.run([sys.executable, "-I", generator], check=True, cwd=into, timeout=60)
    written = {path.relative_to(into): path.read_bytes() for path in files(into)}
    kept = [path for path in files(SAMPLES / folder) if path.name != SAMPLED]
    assert kept
    assert written == {path.relative_to(SAMPLES / folder): path.read_bytes() for path in kept}


def test_samples_of_every_form_are_damaged_here() -> None:
    assert {sample.form for sample in DAMAGED} == set(Form)


def test_a_readme_names_the_files_that_hold_no_calls_by_design() -> None:
    readme = "Runs.\n\n`run.jsonl` has two calls. `settings.json` lies beside it\nand has no calls."
    assert says_no_calls(readme, "settings.json")
    assert not says_no_calls(readme, "run.jsonl")


@of_form(Form.LINES, Form.DOCUMENT, Form.TEXT)
@pytest.mark.parametrize("compress", [gzip.compress, zstandard.compress])
def test_a_compressed_sample_gives_the_same_calls(
    sample: Sample, compress: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    check_compressed(sample, compress, tmp_path)


@of_form(Form.LINES, Form.TEXT, growing=True)
def test_a_sample_that_grew_by_lines_gives_the_calls_of_one_read_whole(
    sample: Sample, tmp_path: Path
) -> None:
    check_grown(sample, sample.content.count(b"\n") // 2, tmp_path)


# --- Damaged samples ----------------------------------------------------------------------------


@of_form(*Form)
@EXAMPLES
@given(data=st.data())
def test_a_sample_cut_off_anywhere_keeps_all_calls_before_the_cut(
    sample: Sample, scratch: Path, data: st.DataObject
) -> None:
    check_cut_off(sample, data.draw(st.integers(0, len(sample.content)), label="cut"), scratch)


@of_form(*Form)
@EXAMPLES
@given(data=st.data())
def test_a_sample_with_values_of_other_types_in_its_fields_is_read_all_the_same(
    sample: Sample, scratch: Path, data: st.DataObject
) -> None:
    check_other_types(sample, data, scratch)


@of_form(*Form)
@EXAMPLES
@given(data=st.data())
def test_a_sample_with_doubled_and_reordered_records_is_read_all_the_same(
    sample: Sample, scratch: Path, data: st.DataObject
) -> None:
    check_other_order(sample, data, scratch)


@of_form(*Form)
@EXAMPLES
@given(data=st.data())
def test_a_sample_with_damaged_bytes_is_read_all_the_same(
    sample: Sample, scratch: Path, data: st.DataObject
) -> None:
    check_damaged_bytes(sample, data, scratch)

"""docs/writing-a-parser.md: its code is taken from the page and run, as its readers would run it."""

from __future__ import annotations

import gzip
import importlib.util
import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import zstandard
from conftest import REPOSITORY
from damaged_logs import (
    Sample,
    check_compressed,
    check_cut_off,
    check_damaged_bytes,
    check_grown,
    check_other_order,
    check_other_types,
)
from hypothesis import given
from hypothesis import strategies as st
from recording_tree import Seen, parse_file

from forkpoint.parsers.base import Parser
from forkpoint.parsers.logs import read_head
from forkpoint.parsers.records import Kind
from forkpoint.parsers.registry import parsers

PAGE = REPOSITORY / "docs" / "writing-a-parser.md"
_BLOCK = re.compile(r"<!-- file: (\S+) -->\n```\w+\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def files_of_page() -> dict[str, str]:
    """The files that the page writes: the blocks under one name, in order."""
    found: dict[str, list[str]] = {}
    for name, code in _BLOCK.findall(PAGE.read_text()):
        found.setdefault(name, []).append(code)
    return {name: "\n\n".join(blocks) for name, blocks in found.items()}


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page's files in a folder that looks like one where the package was installed."""
    folder = tmp_path_factory.mktemp("package")
    for name, text in files_of_page().items():
        (folder / name).write_text(text)
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    installed = folder / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    )
    lines = [
        line
        for group, points in project["entry-points"].items()
        for line in (f"[{group}]", *(f"{name} = {target}" for name, target in points.items()))
    ]
    (installed / "entry_points.txt").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture(scope="module")
def lantern(package: Path) -> Iterator[ModuleType]:
    spec = importlib.util.spec_from_file_location("lantern", package / "lantern.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Structs find the names in their annotations here.
    sys.modules["lantern"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["lantern"]


@pytest.fixture(scope="module")
def sample(lantern: ModuleType, package: Path, tmp_path_factory: pytest.TempPathFactory) -> Sample:
    folder = tmp_path_factory.mktemp("logs")
    (folder / "evening.jsonl").write_bytes((package / "evening.jsonl").read_bytes())
    return Sample(lantern.Lantern(), folder, folder / "evening.jsonl")


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("damaged")


def run(package: Path, *command: str | Path) -> str:
    """Standard output of a Python command where the package is installed."""
    done = subprocess.run(
        [sys.executable, *map(str, command)],
        cwd=package,
        env=os.environ | {"PYTHONPATH": str(package), "FORKPOINT_STORE": ":memory:"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


# --- The page -----------------------------------------------------------------------------------


def test_the_page_explains_every_attribute_that_a_parser_declares() -> None:
    table = re.findall(r"^\| `(\w+)` \|", PAGE.read_text(), re.MULTILINE)
    assert table == list(Parser.__annotations__)


def test_the_registry_line_on_the_page_is_one_like_those_in_the_registry() -> None:
    registry = (REPOSITORY / "parsers" / "registry.py").read_text()
    line = re.compile(r'^    "([a-z0-9-]+)": "forkpoint\.parsers\.(\w+):(\w+)",$', re.MULTILINE)
    assert line.findall(PAGE.read_text()) == [("lantern", "lantern", "Lantern")]
    assert ("codex", "codex", "Codex") in line.findall(registry)


# --- The parser ---------------------------------------------------------------------------------


def test_its_calls_grow_along_their_prompts(sample: Sample) -> None:
    parsed = parse_file(sample.parser, sample.path)
    assert parsed.issues == []
    first, second, other = parsed.calls
    opening = parsed.tree.path(first.prompt)
    assert [segment.kind for segment in opening] == [Kind.TOOLS, Kind.SYSTEM, Kind.TEXT]
    assert first.prompt == other.prompt
    assert first.completion is not None
    assert parsed.tree.path(second.prompt) == [
        *opening,
        Seen(Kind.TEXT, "assistant", "I turn the kitchen half up."),
        Seen(Kind.TOOL_CALL, "assistant", 'dim\n{"room":"kitchen","percent":50}'),
        Seen(Kind.TOOL_RESULT, "tool", "kitchen: 50 %"),
    ]
    assert [call.identity for call in parsed.calls] == [("r-41", "1"), ("r-41", "2"), ("r-42", "1")]
    assert first.started_at is not None
    assert first.started_at.isoformat() == "2026-11-02T17:00:00.500000+00:00"


def test_its_usage_is_inclusive(sample: Sample) -> None:
    usages = [call.usage for call in parse_file(sample.parser, sample.path).calls]
    assert [usage and usage.input_tokens for usage in usages] == [1180, 1218, 1180]
    assert [usage and usage.cache_read_tokens for usage in usages] == [0, 1152, 1152]


def test_its_runs_are_rollouts_with_scores(sample: Sample) -> None:
    parsed = parse_file(sample.parser, sample.path)
    traces = {trace.id: trace for trace in parsed.traces}
    assert {trace.group for trace in traces.values()} == {"lantern evening"}
    assert [(t.reward, t.answer) for t in traces.values()] == [
        (1.0, "kitchen 50"),
        (0.0, "kitchen 100"),
    ]
    assert [traces[call.trace].leaf for call in parsed.calls[1:]] == [
        call.completion for call in parsed.calls[1:]
    ]
    (scores,) = parsed.scores
    assert (scores.tokens, scores.logprobs) == (["Done", "."], [-0.11, -0.002])


def test_a_run_whose_beginning_is_missing_stands_behind_a_segment_that_says_so(
    sample: Sample, tmp_path: Path
) -> None:
    lines = sample.content.splitlines(keepends=True)
    (tmp_path / "tail.jsonl").write_bytes(b"".join(lines[3:5]))
    parsed = parse_file(sample.parser, tmp_path / "tail.jsonl")
    (call,) = parsed.calls
    first = parsed.tree.path(call.prompt)[0]
    assert (first.kind, first.content) == (Kind.UNLOGGED, "beginning of lantern run r-41")


def test_it_and_all_other_parsers_refuse_each_others_logs(sample: Sample) -> None:
    head = read_head(sample.path)
    assert [p.name for p in (*parsers(), sample.parser) if p.identify(head)] == ["lantern"]
    others = [path for path in (REPOSITORY / "sample_logs").rglob("*") if path.is_file()]
    assert others
    assert not [path for path in others if sample.parser.identify(read_head(path))]


def test_it_reads_compressed_logs(sample: Sample, tmp_path: Path) -> None:
    check_compressed(sample, gzip.compress, tmp_path)
    check_compressed(sample, zstandard.compress, tmp_path)


def test_it_reads_on_where_a_log_has_grown(sample: Sample, tmp_path: Path) -> None:
    for n_lines in range(sample.content.count(b"\n")):
        check_grown(sample, n_lines, tmp_path)


@given(data=st.data())
def test_it_keeps_all_calls_before_a_cut(
    sample: Sample, scratch: Path, data: st.DataObject
) -> None:
    check_cut_off(sample, data.draw(st.integers(0, len(sample.content))), scratch)


@given(data=st.data())
def test_it_reads_values_of_other_types(sample: Sample, scratch: Path, data: st.DataObject) -> None:
    check_other_types(sample, data, scratch)


@given(data=st.data())
def test_it_reads_lines_in_any_order(sample: Sample, scratch: Path, data: st.DataObject) -> None:
    check_other_order(sample, data, scratch)


@given(data=st.data())
def test_it_reads_damaged_bytes(sample: Sample, scratch: Path, data: st.DataObject) -> None:
    check_damaged_bytes(sample, data, scratch)


def test_a_bad_field_is_one_issue_and_the_run_goes_on(sample: Sample, tmp_path: Path) -> None:
    log = tmp_path / "evening.jsonl"
    log.write_bytes(sample.content.replace(b'"seconds":1.5', b'"seconds":-1'))
    parsed = parse_file(sample.parser, log)
    assert [(issue.line, issue.reason.partition(":")[0]) for issue in parsed.issues] == [
        (3, "record")
    ]
    assert [call.line for call in parsed.calls] == [5, 9]


# --- The package --------------------------------------------------------------------------------


def report_on(package: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(
        run(package, "-m", "forkpoint", "report", package / "evening.jsonl", "--format", "json")
    )
    return found


def test_its_entry_point_makes_its_logs_part_of_a_report(package: Path) -> None:
    report = report_on(package)
    read = report["sources"]["by_format"]["lantern"]
    assert (read["files"], read["calls"], read["issues"]) == (1, 3, 0)
    assert report["totals"]["input_tokens"] == 3578
    assert report["cache"]["hit_rate"] == pytest.approx(2304 / 3578)
    assert (report["rollouts"]["groups"], report["rollouts"]["rollouts"]) == (1, 2)
    assert 0 < report["rollouts"]["overlap_ratio"] < 1
    assert report["prefix_tree"]["overlap_ratio"] > 0


def test_the_list_of_formats_has_it(package: Path) -> None:
    listed = json.loads(run(package, "-m", "forkpoint", "formats", "--format", "json"))
    assert listed[-1]["name"] == "lantern"
    said = run(package, "-m", "forkpoint", "formats", "evening.jsonl")
    assert "lantern (Lantern)" in said
    assert "because: its lines are events of a lantern run" in said


def test_the_tests_on_the_page_pass(package: Path) -> None:
    said = run(package, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_lantern.py")
    assert "4 passed" in said

"""Which parser reads a file: exactly one, ours or a third party's."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any, ClassVar

import pytest

from forkpoint.errors import ForkpointError
from forkpoint.parsers import registry
from forkpoint.parsers.base import ROOT, Tree
from forkpoint.parsers.logs import Head, Issue, Log
from forkpoint.parsers.records import Call, Kind, Record
from forkpoint.parsers.registry import AmbiguousFormat, identify, parser_named, parsers


class Shouting:
    """A third-party format: lines that begin with ``CALL``."""

    name: ClassVar[str] = "shouting"
    title: ClassVar[str] = "Shouting"
    checked: ClassVar[str] = "1.0, 2026-11"
    evidence: ClassVar[tuple[str, ...]] = ("text",)
    locations: ClassVar[tuple[str, ...]] = ()
    whole_prompts: ClassVar[bool] = True
    grows: ClassVar[bool] = True

    def identify(self, head: Head) -> str | None:
        return "it begins with CALL" if head.data.startswith(b"CALL ") else None

    def parse(self, log: Log, tree: Tree) -> Iterator[Record]:
        for line in log.lines():
            if isinstance(line, Issue):
                yield line
                continue
            prompt = tree.extend(ROOT, Kind.TEXT, "user", line.data.decode())
            yield Call(
                identity=None, trace="all", line=line.line, offset=line.offset, prompt=prompt
            )


class Greedy(Shouting):
    name: ClassVar[str] = "greedy"


class Broken:
    def __init__(self) -> None:
        raise RuntimeError("it needs a moon phase")


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Pretend that packages with these entry points are installed."""

    def install(**points: str) -> None:
        found = [
            EntryPoint(name, f"{__name__}:{target}", registry.ENTRY_POINT_GROUP)
            for name, target in points.items()
        ]
        monkeypatch.setattr(registry, "entry_points", lambda group: found)
        monkeypatch.setattr(EntryPoint, "load", lambda self: globals()[self.attr])
        parsers.cache_clear()

    yield install
    parsers.cache_clear()


def test_a_third_party_parser_is_found_by_its_entry_point(installed: Any, tmp_path: Path) -> None:
    installed(shouting="Shouting")
    assert parser_named("shouting").title == "Shouting"
    claim = identify(Head(tmp_path / "x.log", b"CALL me\nCALL you\n"))
    assert claim is not None
    assert (claim.parser.name, claim.why) == ("shouting", "it begins with CALL")


def test_its_calls_are_read_into_the_store(installed: Any, tmp_path: Path) -> None:
    from forkpoint.analysis.ingest import ingest
    from forkpoint.analysis.ingest_worker import Options
    from forkpoint.analysis.report import build_report
    from forkpoint.analysis.store import MEMORY, Store
    from forkpoint.analysis.tokens import DEFAULT_ENCODING

    installed(shouting="Shouting")
    (tmp_path / "x.log").write_text("CALL me\nCALL me\n")
    with Store.open(MEMORY, encoding=DEFAULT_ENCODING) as store:
        ingest(store, [tmp_path], Options(DEFAULT_ENCODING))
        report = build_report(store, [tmp_path])
    assert report.sources.by_format["shouting"].calls == 2
    assert report.prefix_tree.overlap_ratio == 0.5


def test_two_claims_on_one_file_are_an_error_that_names_both(
    installed: Any, tmp_path: Path
) -> None:
    installed(shouting="Shouting", greedy="Greedy")
    with pytest.raises(AmbiguousFormat, match=r"x\.log: claimed by greedy and shouting"):
        identify(Head(tmp_path / "x.log", b"CALL me\n"))


def test_a_name_in_use_is_refused(installed: Any) -> None:
    installed(codex="Shouting")
    with pytest.raises(ForkpointError, match="takes a name that is in use"):
        parsers()


def test_a_parser_that_does_not_load_is_named(installed: Any) -> None:
    installed(broken="Broken")
    with pytest.raises(ForkpointError, match=r"'broken'.*does not load: it needs a moon phase"):
        parsers()


def test_an_unknown_name_is_an_error() -> None:
    with pytest.raises(ForkpointError, match="no parser is named 'papyrus'"):
        parser_named("papyrus")


def test_a_file_of_no_format_is_claimed_by_none(tmp_path: Path) -> None:
    assert identify(Head(tmp_path / "x", b"dear diary\n")) is None

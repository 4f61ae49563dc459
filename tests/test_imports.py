"""Imports go one way, cli → analysis → parsers, name the package, and are declared dependencies."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
FOLDERS = {
    "forkpoint": REPOSITORY / "src" / "forkpoint",
    "forkpoint.cli": REPOSITORY / "cli",
    "forkpoint.parsers": REPOSITORY / "parsers",
    "forkpoint.analysis": REPOSITORY / "analysis",
}
# What a module of a layer may import, besides the package root's own modules.
BELOW = {
    "forkpoint.cli": {"forkpoint.cli", "forkpoint.analysis", "forkpoint.parsers"},
    "forkpoint.analysis": {"forkpoint.analysis", "forkpoint.parsers"},
    "forkpoint.parsers": {"forkpoint.parsers"},
}
LAYERS = set(BELOW)
BARE = {"cli", "parsers", "analysis", "tests"}


@dataclass(frozen=True, slots=True)
class Import:
    """One imported name: ``a.b`` for both ``import a.b`` and ``from a import b``."""

    name: str
    line: int
    at_import: bool
    """It runs when its module is imported: not inside a function, nor for type checkers only."""


class _Collector(ast.NodeVisitor):
    def __init__(self) -> None:
        self.imports: list[Import] = []
        self.faults: list[str] = []
        self._deferred = 0

    def _add(self, name: str, node: ast.AST) -> None:
        self.imports.append(Import(name, getattr(node, "lineno", 0), self._deferred == 0))

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            self._add(alias.name, node)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        if node.level:
            self.faults.append(f"line {node.lineno}: relative import")
            return
        for alias in node.names:
            if alias.name == "*":
                self.faults.append(f"line {node.lineno}: wildcard import from {node.module}")
            self._add(f"{node.module}.{alias.name}", node)

    def visit_Call(self, node: ast.Call) -> None:
        called = node.func.attr if isinstance(node.func, ast.Attribute) else None
        called = node.func.id if isinstance(node.func, ast.Name) else called
        if called in ("import_module", "__import__") and node.args:
            first = node.args[0]
            if isinstance(first, ast.Constant) and isinstance(first.value, str):
                if first.value.startswith("."):
                    self.faults.append(f"line {node.lineno}: relative import")
                else:
                    self._add(first.value, node)
        self.generic_visit(node)

    def visit_If(self, node: ast.If) -> None:
        test = node.test
        typing_only = (isinstance(test, ast.Name) and test.id == "TYPE_CHECKING") or (
            isinstance(test, ast.Attribute) and test.attr == "TYPE_CHECKING"
        )
        self._deferred += typing_only
        for statement in node.body:
            self.visit(statement)
        self._deferred -= typing_only
        for statement in node.orelse:
            self.visit(statement)

    def _visit_function(self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) -> None:
        self._deferred += 1
        self.generic_visit(node)
        self._deferred -= 1

    visit_FunctionDef = _visit_function
    visit_AsyncFunctionDef = _visit_function
    visit_Lambda = _visit_function


def imports_of(source: str) -> tuple[list[Import], list[str]]:
    """All imports in a module's text, and its relative and wildcard imports as faults."""
    collector = _Collector()
    collector.visit(ast.parse(source))
    return collector.imports, collector.faults


def layer_of(name: str) -> str | None:
    """The layer that a dotted name lies in: ``forkpoint`` for the root's own modules, or ``None``."""
    parts = name.split(".")
    if parts[0] != "forkpoint":
        return None
    layer = ".".join(parts[:2])
    return layer if layer in LAYERS else "forkpoint"


def faults(source: str, package: str, module: str = "module") -> list[str]:
    """What a module of `package` must not do in its imports, one line for each."""
    imports, found = imports_of(source)
    for imported in imports:
        line, name = imported.line, imported.name
        layer = layer_of(name)
        if name.split(".")[0] in BARE:
            found.append(f"line {line}: {name} has no meaning outside the checkout")
        elif layer is None or layer == "forkpoint":
            continue
        elif package == "forkpoint":
            # The root is imported by everything, so that only the command and the Python API, which
            # the root loads when it is asked for, may pull the rest in.
            if imported.at_import and module not in ("__main__", "api"):
                found.append(f"line {line}: the root imports {name} when it is imported")
        elif layer not in BELOW[package]:
            found.append(f"line {line}: {package} must not know {name}")
    return found


def modules(package: str) -> list[Path]:
    """The package's own modules. A folder below it would not be packaged, so it counts too."""
    return sorted(p for p in FOLDERS[package].rglob("*.py") if "__pycache__" not in p.parts)


@pytest.mark.parametrize("package", FOLDERS)
def test_imports_go_one_way_and_name_the_package(package: str) -> None:
    paths = modules(package)
    assert paths, f"no modules in {FOLDERS[package]}"
    found = [
        f"{path.relative_to(REPOSITORY)}: {fault}"
        for path in paths
        for fault in faults(path.read_text(encoding="utf-8"), package, path.stem)
    ]
    assert not found, "\n".join(found)


def test_importing_forkpoint_loads_none_of_the_libraries_it_depends_on() -> None:
    """``import forkpoint`` must cost next to nothing, whatever it offers."""
    code = (
        "import sys; before = set(sys.modules); import forkpoint; print(*set(sys.modules) - before)"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    loaded = {name.split(".")[0] for name in done.stdout.split()}
    assert "forkpoint" in loaded
    assert loaded - {"forkpoint"} <= sys.stdlib_module_names
    names = set(done.stdout.split())
    assert not names & LAYERS


def declared(*groups: str) -> set[str]:
    """Normalised names of the distributions declared in pyproject.toml, extras included."""
    table = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    project = table["project"]
    lines = [*project["dependencies"]]
    for extra in project.get("optional-dependencies", {}).values():
        lines += extra
    for group in groups:
        lines += [line for line in table["dependency-groups"][group] if isinstance(line, str)]
    return {_normal(re.split(r"[^A-Za-z0-9._-]", line, maxsplit=1)[0]) for line in lines}


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@cache
def _providers() -> Mapping[str, list[str]]:
    return packages_distributions()


def undeclared(source: str, allowed: set[str], local: set[str]) -> Iterator[str]:
    """Imports of a library that is neither the standard one, nor local, nor declared."""
    for imported in imports_of(source)[0]:
        top = imported.name.split(".")[0]
        if top in sys.stdlib_module_names or top == "forkpoint" or top in local:
            continue
        # An optional library may be absent here; its import name is then all there is to go by.
        if not {_normal(name) for name in _providers().get(top, [top])} & allowed:
            yield f"line {imported.line}: {top} is not declared in pyproject.toml"


def test_every_imported_library_is_a_declared_dependency() -> None:
    allowed = declared()
    found = [
        f"{path.relative_to(REPOSITORY)}: {fault}"
        for package in FOLDERS
        for path in modules(package)
        for fault in undeclared(path.read_text(encoding="utf-8"), allowed, set())
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("folder", ["tests", "benchmarks"])
def test_every_library_that_tests_and_benchmarks_import_is_declared(folder: str) -> None:
    # Scripts for peers run in environments of their own, made for them.
    paths = sorted(p for p in (REPOSITORY / folder).rglob("*.py") if p.parent.name != "peers")
    local = {path.stem for path in paths}
    allowed = declared("dev")
    found = [
        f"{path.relative_to(REPOSITORY)}: {fault}"
        for path in paths
        for fault in undeclared(path.read_text(encoding="utf-8"), allowed, local)
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("package", "source"),
    [
        ("forkpoint.parsers", "from forkpoint.analysis.store import Store"),
        ("forkpoint.parsers", "from forkpoint import analysis"),
        ("forkpoint.parsers", "import forkpoint.cli.main as main"),
        ("forkpoint.parsers", "def f():\n    from forkpoint.cli import main"),
        ("forkpoint.parsers", "if TYPE_CHECKING:\n    from forkpoint.analysis import store"),
        ("forkpoint.parsers", "import importlib\nimportlib.import_module('forkpoint.analysis')"),
        ("forkpoint.analysis", "from forkpoint.cli.main import main"),
        ("forkpoint.analysis", "try:\n    import forkpoint.cli\nexcept ImportError:\n    pass"),
        ("forkpoint.cli", "from . import main"),
        ("forkpoint.cli", "from ..analysis.store import Store"),
        ("forkpoint.cli", "from forkpoint.analysis.store import *"),
        ("forkpoint.cli", "import analysis"),
        ("forkpoint.cli", "from parsers.base import Parser"),
        ("forkpoint.cli", "from tests.recording_tree import RecordingTree"),
        ("forkpoint", "from forkpoint.analysis import store"),
        ("forkpoint", "import forkpoint.cli"),
    ],
)
def test_a_wrong_import_is_found(package: str, source: str) -> None:
    assert len(faults(source, package)) == 1


@pytest.mark.parametrize(
    ("package", "source"),
    [
        ("forkpoint.cli", "from forkpoint.analysis.store import Store"),
        ("forkpoint.cli", "from forkpoint.parsers import registry"),
        ("forkpoint.analysis", "from forkpoint.parsers.records import Call"),
        ("forkpoint.parsers", "from forkpoint.errors import StrictError"),
        ("forkpoint.parsers", "from forkpoint import __version__"),
        ("forkpoint.parsers", "import duckdb, json"),
        ("forkpoint.parsers", "import clint, parsers_of_others"),
        ("forkpoint", "def report():\n    from forkpoint.analysis import store"),
        ("forkpoint", "if typing.TYPE_CHECKING:\n    from forkpoint.analysis import store"),
    ],
)
def test_a_right_import_is_let_through(package: str, source: str) -> None:
    assert faults(source, package) == []


def test_only_the_command_of_the_root_may_import_the_command_line() -> None:
    source = "from forkpoint.cli.main import main"
    assert faults(source, "forkpoint", "__main__") == []
    assert len(faults(source, "forkpoint", "__init__")) == 1


def test_an_undeclared_library_is_found() -> None:
    source = "import os\nimport duckdb\nimport local_one\ndef f():\n    import requests.adapters"
    assert list(undeclared(source, {"duckdb"}, {"local_one"})) == [
        "line 5: requests is not declared in pyproject.toml"
    ]
    assert list(undeclared(source, {"duckdb", "requests"}, {"local_one"})) == []

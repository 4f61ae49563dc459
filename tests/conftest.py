"""Fixtures shared by all tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings
from shown_answers import Run
from typer.testing import CliRunner, Result

from forkpoint.cli.main import app

REPOSITORY = Path(__file__).resolve().parent.parent


def _outside_folder(variable: str, name: str) -> Path:
    folder = Path(os.environ.get(variable, REPOSITORY.parent / "shared" / name))
    if not folder.is_dir():
        pytest.skip(f"no folder {name!r} beside the repository; set {variable} to one")
    return folder


@pytest.fixture(scope="session")
def real_logs() -> Path:
    """Real public logs, by format, with FACTS.json: figures computed by an independent script."""
    return _outside_folder("FORKPOINT_REAL_LOGS", "data")


@pytest.fixture(scope="session")
def corpus_generators() -> Path:
    """Scripts that generate benchmark corpora and print their truth."""
    return _outside_folder("FORKPOINT_GENERATORS", "tools")


@pytest.fixture
def sample_logs() -> Path:
    """The logs that come with the project."""
    return REPOSITORY / "sample_logs"


@pytest.fixture
def no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is shown is as wide and as plain as where no terminal says otherwise."""
    for name in ("FORCE_COLOR", "NO_COLOR", "COLUMNS", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home folder, where nothing is set that changes what a command does."""
    for name in list(os.environ):
        if name.startswith(("FORKPOINT_", "XDG_", "GITHUB_", "CLAUDE_", "CODEX_")):
            monkeypatch.delenv(name)
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("HOME", str(folder))
    return folder


@pytest.fixture
def run(home: Path, no_terminal: None) -> Run:
    """Run a command with a home folder, and thereby a cache and a store, of its own."""

    def invoke(*args: str | Path, **environment: str) -> Result:
        return CliRunner().invoke(app, [str(each) for each in args], env=environment)

    return invoke


settings.register_profile("fast", deadline=None, derandomize=True, max_examples=50)
settings.register_profile("thorough", deadline=None, max_examples=2000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fast"))

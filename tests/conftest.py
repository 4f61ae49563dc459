"""Fixtures shared by all tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

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


settings.register_profile("fast", deadline=None, derandomize=True, max_examples=50)
settings.register_profile("thorough", deadline=None, max_examples=2000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fast"))

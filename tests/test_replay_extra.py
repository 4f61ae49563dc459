"""The optional extra: nothing but replays needs it, and its lock is like the others."""

from __future__ import annotations

import subprocess
import sys
import tomllib

from conftest import REPOSITORY
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from test_packaging import lock_faults, locked_versions, requirement_lines


def test_no_module_imports_a_model_library_by_being_imported() -> None:
    libraries = ("torch", "transformers", "vllm", "accelerate", "gguf")
    names = [
        f"forkpoint.{folder}.{path.stem}"
        for folder in ("parsers", "analysis", "cli")
        for path in sorted((REPOSITORY / folder).glob("*.py"))
    ]
    assert {"forkpoint.analysis.replay_model", "forkpoint.cli.replay"} <= set(names)
    code = (
        "import importlib, sys\n"
        f"for name in {names}:\n"
        "    importlib.import_module(name)\n"
        f"print(*(name for name in {libraries} if name in sys.modules))\n"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []


def test_the_lock_holds_versions_and_hashes_and_names_no_place_to_fetch_from() -> None:
    text = (REPOSITORY / "requirements" / "replay.txt").read_text(encoding="utf-8")
    assert requirement_lines(text)
    assert lock_faults(text) == []
    assert "://" not in text


def test_the_lock_agrees_with_the_extra_and_with_what_is_run_without_it() -> None:
    table = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    lock, plain = locked_versions("replay.txt"), locked_versions("run.txt")
    assert plain.items() <= lock.items(), "run `make lock`"
    extra = table["project"]["optional-dependencies"]["replay"]
    for line in extra + table["dependency-groups"]["replay"]:
        requirement = Requirement(line)
        version = lock.get(canonicalize_name(requirement.name))
        assert version is not None, f"{line} is not locked: run `make lock`"
        assert requirement.specifier.contains(version), f"{line}, locked {version}"
    # Without the CUDA libraries, and without a local version that only some indexes have.
    assert not any(name.startswith(("nvidia-", "cuda-")) for name in lock)
    assert "+" not in lock[canonicalize_name("torch")]

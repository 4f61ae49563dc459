"""``forkpoint doctor`` and ``forkpoint completion``: what is where, and help with typing."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import pytest
from shown_answers import Run

from forkpoint import __version__
from forkpoint.analysis.store import SCHEMA_VERSION, Store
from forkpoint.cli import doctor

REPOSITORY = Path(__file__).resolve().parent.parent
COMMANDS = {"report", "cache", "check", "export", "doctor", "completion", "sql", "formats"}


def diagnosis(run: Run, *args: str | Path, code: int = 0) -> Any:
    result = run("doctor", "--format", "json", *args)
    assert result.exit_code == code, result.output
    return json.loads(result.stdout)


def test_a_machine_with_nothing_on_it_is_healthy(run: Run, tmp_path: Path) -> None:
    found = diagnosis(run)
    assert found["healthy"] is True
    assert found["store"]["state"] == "not there yet"
    assert str(tmp_path / "home") in found["store"]["path"]
    assert [agent["found"] for agent in found["agents"]] == [[]] * len(found["agents"])
    assert not Path(found["store"]["path"]).exists()


def test_versions_and_data_are_named(run: Run) -> None:
    found = diagnosis(run)
    assert found["versions"]["forkpoint"] == __version__
    assert found["versions"]["duckdb"] == duckdb.__version__
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", found["newest_price"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", found["cache_rules"])
    assert set(found["vocabularies"]) == {"o200k_base", "cl100k_base"}
    assert all(size > 1e6 for size in found["vocabularies"].values())


def test_a_library_that_is_absent_is_said_to_be(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    version = doctor._version
    monkeypatch.setattr(
        doctor, "_version", lambda name: None if name == "gigatoken" else version(name)
    )
    monkeypatch.setattr(
        doctor.importlib.metadata,
        "requires",
        lambda _: ["gigatoken>=1; extra == 'replay'", "duckdb>=1", 'polars; extra == "other"'],
    )
    assert "gigatoken not installed" in run("doctor").stdout
    assert diagnosis(run)["replay"] == {"gigatoken": None}
    assert "extra replay: not installed (lacks gigatoken)" in run("doctor").stdout


def test_logs_that_are_there_are_found(run: Run, tmp_path: Path) -> None:
    logs = tmp_path / "home" / ".claude" / "projects"
    logs.mkdir(parents=True)
    by_name = {agent["agent"]: agent for agent in diagnosis(run)["agents"]}
    assert by_name["Claude Code"]["found"] == [str(logs)]
    assert "  found  Claude Code: ~/.claude/projects\n" in run("doctor").stdout


def test_the_store_says_what_it_holds(run: Run, tmp_path: Path) -> None:
    store = tmp_path / "store.duckdb"
    logs = REPOSITORY / "sample_logs" / "codex"
    assert run("ingest", logs, "--store", store).exit_code == 0
    before = store.read_bytes()
    found = diagnosis(run, "--store", store)["store"]
    assert found["state"] == "good"
    assert found["schema_version"] == str(SCHEMA_VERSION)
    assert found["rows"]["calls"] > 0 and found["rows"]["issues"] == 0
    assert found["bytes"] == len(before)
    assert store.read_bytes() == before


def damage(store: Path, kind: str) -> None:
    if kind == "cut":
        with Store.open(str(store), encoding="o200k_base"):
            pass
        store.write_bytes(store.read_bytes()[:5000])
    elif kind == "text":
        store.write_text("this is no database")
    else:
        with duckdb.connect(str(store)) as connection:
            connection.execute("CREATE TABLE mine (x INTEGER)")


@pytest.mark.parametrize("kind", ["cut", "text", "another database"])
def test_a_damaged_store_is_exit_code_1(run: Run, tmp_path: Path, kind: str) -> None:
    store = tmp_path / "store.duckdb"
    damage(store, kind)
    found = diagnosis(run, "--store", store, code=1)
    assert (found["healthy"], found["store"]["state"]) == (False, "damaged, or not a store")
    result = run("doctor", "--store", store)
    assert result.exit_code == 1
    assert "delete it (your logs are untouched)" in result.stdout
    assert result.stderr == ""


def test_a_store_of_another_version_is_not_damaged(run: Run, tmp_path: Path) -> None:
    store = tmp_path / "store.duckdb"
    with Store.open(str(store), encoding="o200k_base") as opened:
        opened.set_meta("schema_version", "99\x1b[31m")
    assert diagnosis(run, "--store", store)["store"]["state"] == "of another version"
    assert "schema version 99\\x1b[31m" in run("doctor", "--store", store).stdout


@contextmanager
def in_use(store: Path) -> Iterator[None]:
    code = (
        "import duckdb, sys; c = duckdb.connect(sys.argv[1]); print('open', flush=True);"
        "sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(store)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"open\n"
        yield


def test_a_store_in_use_is_not_damaged(run: Run, tmp_path: Path) -> None:
    store = tmp_path / "store.duckdb"
    with Store.open(str(store), encoding="o200k_base"):
        pass
    with in_use(store):
        assert diagnosis(run, "--store", store)["store"]["state"] == "in use by another process"


def test_a_folder_for_a_store_is_not_readable(run: Run, tmp_path: Path) -> None:
    found = diagnosis(run, "--store", tmp_path)["store"]
    assert (found["state"], found["why"]) == ("not readable", "Is a directory")


# ---- Completion ----------------------------------------------------------------------------------


def completions(words: str, position: int) -> list[str]:
    """What a shell is offered for a command line."""
    environment = os.environ | {
        "_FORKPOINT_COMPLETE": "complete_bash",
        "COMP_WORDS": words.replace(" ", "\n"),
        "COMP_CWORD": str(position),
    }
    done = subprocess.run(
        [sys.executable, "-m", "forkpoint"],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stderr == ""
    return done.stdout.split()


def test_commands_and_options_complete() -> None:
    assert set(completions("forkpoint ", 1)) >= COMMANDS
    assert completions("forkpoint che", 1) == ["check"]
    assert "--max-cost" in completions("forkpoint check --max-c", 2)
    assert completions("forkpoint report --format m", 3) == ["md"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_is_printed_and_nothing_is_installed(
    run: Run, tmp_path: Path, shell: str
) -> None:
    result = run("completion", shell)
    assert result.exit_code == 0
    assert f"_FORKPOINT_COMPLETE=complete_{shell}" in result.stdout
    assert list((tmp_path / "home").iterdir()) == []
    program = shutil.which(shell)
    if program:
        checked = subprocess.run([program, "-n"], input=result.stdout, text=True, check=False)
        assert checked.returncode == 0


def test_bash_completes_with_the_script(run: Run, tmp_path: Path) -> None:
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("no bash on this machine")
    command = tmp_path / "bin" / "forkpoint"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m forkpoint "$@"\n')
    command.chmod(0o755)
    script = tmp_path / "completion.bash"
    script.write_text(run("completion", "bash").stdout)
    code = (
        f'source "{script}"; complete -p forkpoint; COMP_WORDS=(forkpoint exp); COMP_CWORD=1; '
        '_forkpoint_completion forkpoint exp forkpoint; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    environment = os.environ | {"PATH": f"{command.parent}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(
        [bash, "--norc", "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == [
        "complete -o default -F _forkpoint_completion forkpoint",
        "export",
    ]
    assert done.stderr == ""


def test_another_shell_is_wrong_usage(run: Run) -> None:
    assert run("completion", "tcsh").exit_code == 2

"""The GitHub action and the examples of docs/ci.md, run here as a runner would run them."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import typer
from conftest import REPOSITORY
from typer.testing import CliRunner

from forkpoint.cli.main import app

ACTION = REPOSITORY / "action.yml"
CI_PAGE = REPOSITORY / "docs" / "ci.md"
LOGS = REPOSITORY / "sample_logs" / "claude-code"
BASH = shutil.which("bash")

pytestmark = pytest.mark.skipif(BASH is None, reason="no bash on this machine")


@dataclass
class Step:
    """One step of a composite action, as far as these tests need it."""

    name: str
    keys: dict[str, str] = field(default_factory=dict)
    env: dict[str, str] = field(default_factory=dict)
    inputs: dict[str, str] = field(default_factory=dict)


def steps(text: str) -> list[Step]:
    """The steps of an action, read from the plain subset of YAML that it keeps to."""
    found: list[Step] = []
    lines = text[text.index("  steps:\n") :].splitlines()[1:]
    inside: dict[str, str] = {}
    block: str | None = None
    for line in lines:
        indent = len(line) - len(line.lstrip())
        if block is not None and (not line.strip() or indent >= 8):
            found[-1].keys[block] += line[8:] + "\n"
            continue
        block = None
        if not line.strip():
            continue
        key, _, value = line.strip().removeprefix("- ").partition(":")
        value = value.strip()
        if line.startswith("    - "):
            assert key == "name"
            found.append(Step(value))
        elif indent == 8:
            inside[key] = value
        elif key in ("env", "with"):
            inside = found[-1].env if key == "env" else found[-1].inputs
        elif value == "|":
            block = key
            found[-1].keys[key] = ""
        else:
            found[-1].keys[key] = value
    return found


@dataclass
class Runner:
    """Runs the steps of the action with programs of its own on the path."""

    folder: Path
    inputs: dict[str, str]
    outputs: dict[str, str] = field(default_factory=dict)
    outcomes: dict[str, int] = field(default_factory=dict)
    said: str = ""

    def run(self) -> None:
        for step in steps(ACTION.read_text("utf-8")):
            condition = step.keys.get("if", "")
            if "run" in step.keys and ("inputs.html" not in condition or self.inputs["html"]):
                self._run(step)

    def _run(self, step: Step) -> None:
        output = self.folder / f"output-{step.keys['id']}"
        output.touch()
        environment = {
            "PATH": f"{self._programs()}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(self.folder),
            "GITHUB_OUTPUT": str(output),
            "GITHUB_STEP_SUMMARY": str(self.folder / "summary.md"),
            **{name: self._value(value) for name, value in step.env.items()},
        }
        assert step.keys["shell"] == "bash" and BASH is not None
        script = self.folder / "step.sh"
        script.write_text(step.keys["run"])
        done = subprocess.run(
            [BASH, "--noprofile", "--norc", "-eo", "pipefail", str(script)],
            cwd=self.folder, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        self.outcomes[step.keys["id"]] = done.returncode
        self.said += done.stdout + done.stderr
        for line in output.read_text().splitlines():
            name, _, value = line.partition("=")
            self.outputs[f"steps.{step.keys['id']}.outputs.{name}"] = value

    def _value(self, text: str) -> str:
        known = {f"inputs.{name}": value for name, value in self.inputs.items()} | self.outputs
        known |= {"github.action_path": str(REPOSITORY), "runner.temp": str(self.folder)}

        def value(match: re.Match[str]) -> str:
            return next((known[name] for name in match[1].split(" || ") if known[name]), "")

        return re.sub(r"\$\{\{ (.*?) \}\}", value, text)

    def _programs(self) -> Path:
        """``forkpoint`` of this checkout, and a ``python`` that only notes what pip would do."""
        folder = self.folder / "bin"
        folder.mkdir(exist_ok=True)
        for name, body in (
            ("forkpoint", f'exec "{sys.executable}" -m forkpoint "$@"'),
            ("python", f'printf "%s\\n" "$@" > "{self.folder}/pip.txt"'),
        ):
            (folder / name).write_text(f"#!/bin/sh\n{body}\n")
            (folder / name).chmod(0o755)
        return folder


def runner(tmp_path: Path, **inputs: str) -> Runner:
    given = {"paths": str(LOGS), "options": "", "html": "", "install": ""} | inputs
    found = Runner(tmp_path, given)
    found.run()
    return found


def test_limits_that_are_kept_pass(tmp_path: Path) -> None:
    done = runner(
        tmp_path, options="--max-cost=1000\n\n  \n--min-hit-rate=0.1\n", html="out/r.html"
    )
    assert done.outcomes == {"install": 0, "check": 0, "report": 0, "verdict": 0}, done.said
    assert done.outputs == {"steps.check.outputs.exit-code": "0"}
    assert "Passed: 2 limits." in done.said
    assert (tmp_path / "out" / "r.html").stat().st_size > 10_000
    assert (tmp_path / "pip.txt").read_text().splitlines()[-1] == str(REPOSITORY)
    assert "| max-cost |" in (tmp_path / "summary.md").read_text()


def test_a_limit_that_is_not_kept_fails_the_job_and_keeps_the_report(tmp_path: Path) -> None:
    done = runner(tmp_path, options="--max-cost=0.01", html="r.html", install="forkpoint==0.1.0")
    assert done.outcomes == {"install": 0, "check": 0, "report": 0, "verdict": 3}, done.said
    assert "::error title=forkpoint check%3A max-cost::" in done.said
    assert (tmp_path / "r.html").exists()
    assert (tmp_path / "pip.txt").read_text().splitlines()[-1] == "forkpoint==0.1.0"


def test_a_check_that_cannot_be_made_fails_the_job(tmp_path: Path) -> None:
    assert runner(tmp_path, options="--max-price=1").outcomes["verdict"] == 2
    missing = runner(tmp_path, paths="no/such/folder", options="--max-cost=1")
    assert missing.outcomes["verdict"] == 1


def test_inputs_are_never_run(tmp_path: Path) -> None:
    folder = tmp_path / "logs $(touch pwned) `touch pwned` \"'"
    shutil.copytree(LOGS, folder)
    hostile = "--max-cost=1; touch pwned\n--max-cost=$(touch pwned)1000"
    assert runner(tmp_path, paths=str(folder), options=hostile).outcomes["verdict"] == 2
    done = runner(tmp_path, paths=f"{folder}\n{LOGS}", options="--max-cost=1000")
    assert done.outcomes["verdict"] == 0, done.said
    assert not (tmp_path / "pwned").exists()
    # What a workflow passes in reaches scripts through the environment alone.
    assert all("${{" not in step.keys.get("run", "") for step in steps(ACTION.read_text("utf-8")))


def test_a_path_that_looks_like_an_option_is_a_path(tmp_path: Path) -> None:
    done = runner(tmp_path, paths="--allow-missing", options="--max-cost=1")
    assert done.outcomes["verdict"] == 1
    assert "--allow-missing: no such file or folder" in done.said


# ---- docs/ci.md ----------------------------------------------------------------------------------


def commands_of(page: Path) -> list[list[str]]:
    text = page.read_text("utf-8")
    lines = [line.strip().removeprefix("entry: ") for line in text.splitlines()]
    return [shlex.split(line) for line in lines if line.startswith("forkpoint ")]


def test_every_command_of_the_page_can_be_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FORKPOINT_STORE", str(tmp_path / "store.duckdb"))
    shutil.copytree(LOGS, tmp_path / "runs")
    commands = commands_of(CI_PAGE)
    assert len(commands) >= 8
    for _, *args in commands:
        result = CliRunner().invoke(app, args)
        assert result.exit_code in (0, 3), (args, result.output)


def test_the_settings_of_the_page_are_known(tmp_path: Path) -> None:
    from forkpoint.analysis.check import LIMITS
    from forkpoint.cli.check_config import options_from_files

    text = CI_PAGE.read_text("utf-8")
    (settings,) = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    (tmp_path / "pyproject.toml").write_text(settings)
    found = options_from_files(tmp_path)
    assert found.limits == {"max-cost": 5.0, "min-hit-rate": 0.8}
    assert found.baseline == tmp_path / "ci" / "forkpoint-baseline.json"
    assert set(re.findall(r"^\| `--([a-z-]+)`", text, re.MULTILINE)) == set(LIMITS)


def test_the_action_of_the_page_takes_the_inputs_shown() -> None:
    shown = re.search(r"  with:\n((?: {4}.*\n)+)", CI_PAGE.read_text("utf-8"))
    assert shown is not None
    names = re.findall(r"^ {4}([a-z-]+):", shown[1], re.MULTILINE)
    head = ACTION.read_text("utf-8").partition("\nruns:")[0]
    assert names and all(f"\n  {name}:\n" in head for name in names)


def test_the_action_uses_options_that_exist() -> None:
    group = typer.main.get_command(app)
    text = ACTION.read_text("utf-8")
    for command in ("check", "export"):
        options = {
            name
            for each in group.commands[command].params
            for name in each.opts  # type: ignore[attr-defined]
        }
        (line,) = re.findall(rf"forkpoint {command} (.*?) -- ", text)
        assert {word for word in line.split() if word.startswith("--")} <= options

"""What is shipped: the wheel and the sdist hold what they must, and the wheel passes the tests.

Everything is built from a copy, offline, with the locked build backend, so that no build folder
appears in the checkout and none that lies there is shipped.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import NormalizedName, canonicalize_name

REPOSITORY = Path(__file__).resolve().parent.parent
SOURCES = {
    "src/forkpoint": "forkpoint",
    "cli": "forkpoint/cli",
    "parsers": "forkpoint/parsers",
    "analysis": "forkpoint/analysis",
}
NOT_SHIPPED = {".git", "__pycache__", "build", "dist", "actual", "results"}
SHIPPED = {".py", ".sql", ".toml", ".tiktoken", ".css", ".js", ".typed"}
LOCKS = ("run.txt", "dev.txt", "lock.txt")

# Kept in pieces: this file is one of those that must not name a registry's host.
REGISTRY_HOSTS = tuple(
    "".join(pieces)
    for pieces in (
        ("py", "pi", ".org"),
        ("python", "hosted", ".org"),
        ("py", "pi", ".python.org"),
        ("npm", "js", ".org"),
        ("npm", "js", ".com"),
        ("yarn", "pkg", ".com"),
        ("deb.", "debian", ".org"),
        ("ana", "conda", ".org"),
        ("crates", ".io"),
    )
)

one_worker = pytest.mark.xdist_group("wheel")


def project_files(root: Path) -> list[Path]:
    """The project's files, relative to `root`: tracked or new, not ignored.

    Outside a git checkout (an unpacked sdist) they are all files but caches and build leftovers.
    """
    if (root / ".git").exists():
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=root,
            capture_output=True,
            check=True,
        ).stdout
        paths = [Path(os.fsdecode(name)) for name in listed.split(b"\0") if name]
    else:
        paths = [path.relative_to(root) for path in root.rglob("*")]
        paths = [
            path
            for path in paths
            if not NOT_SHIPPED.intersection(path.parts)
            and not any(part.startswith(".") and part != ".ci" for part in path.parts)
            and not any(part.endswith(".egg-info") for part in path.parts)
        ]
    return sorted(path for path in paths if (root / path).is_file())


def copy_project(to: Path) -> None:
    for path in project_files(REPOSITORY):
        (to / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(REPOSITORY / path, to / path)


def clean_environment() -> dict[str, str]:
    """The environment without what would point a Python or a pytest back at this run."""
    prefixes = ("PYTHON", "PYTEST", "COV_")
    return {
        k: v
        for k, v in os.environ.items()
        if not k.startswith(prefixes) and k != "__PYVENV_LAUNCHER__"
    }


def run(*command: str | Path, cwd: Path) -> str:
    """Standard output of a command that must succeed; else a failure that shows all it said."""
    done = subprocess.run(
        [os.fspath(part) for part in command],
        cwd=cwd,
        env=clean_environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    if done.returncode != 0:
        pytest.fail(
            f"{command} gave {done.returncode}\n{done.stdout}\n{done.stderr}", pytrace=False
        )
    return done.stdout


@dataclass(frozen=True)
class Built:
    wheel: Path
    sdist: Path
    source: Path
    """The copy that they were built from."""

    def wheel_names(self) -> set[str]:
        with zipfile.ZipFile(self.wheel) as archive:
            return set(archive.namelist())

    def sdist_names(self) -> set[str]:
        """Names below the sdist's one folder."""
        with tarfile.open(self.sdist) as archive:
            names = [member.name for member in archive.getmembers() if member.isfile()]
        return {name.split("/", 1)[1] for name in names}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """The sdist, and the wheel made from it, of a copy of the working tree."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("dist")
    copy_project(source)
    # The copy as first entry on the path would lend its folders to the build: -I keeps it off.
    run(sys.executable, "-I", "-m", "build", "--no-isolation", "--outdir", out, source, cwd=out)
    (wheel,) = out.glob("*.whl")
    (sdist,) = out.glob("*.tar.gz")
    return Built(wheel, sdist, source)


@dataclass(frozen=True)
class Installed:
    python: Path
    forkpoint: Path
    """The console script."""
    sdist: Path
    """The unpacked sdist, whose tests are run."""
    away: Path
    """An empty folder outside the checkout, to run in."""


@pytest.fixture(scope="module")
def installed(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """The wheel in an environment of its own that borrows the locked dependencies of this one.

    A line of a .pth file puts a folder on the path without reading the .pth files inside it. The
    editable install of the checkout is one of those, so it is not borrowed.
    """
    home = tmp_path_factory.mktemp("installed")
    run(sys.executable, "-I", "-m", "venv", "--without-pip", "venv", cwd=home)
    (scripts,) = [p for p in (home / "venv" / "bin", home / "venv" / "Scripts") if p.is_dir()]
    python = scripts / "python"
    ask = "import sysconfig; print(sysconfig.get_path('purelib'))"
    site = Path(run(python, "-I", "-c", ask, cwd=home).strip())
    borrowed = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (site / "locked_dependencies.pth").write_text("\n".join(sorted(borrowed)), encoding="utf-8")
    pip = [sys.executable, "-I", "-m", "pip", "--disable-pip-version-check", "--quiet"]
    run(*pip, "--python", python, "install", "--no-index", "--no-deps", built.wheel, cwd=home)
    with tarfile.open(built.sdist) as archive:
        archive.extractall(home / "unpacked", filter="data")
    (sdist,) = (home / "unpacked").iterdir()
    (away := home / "away").mkdir()
    return Installed(python, scripts / "forkpoint", sdist, away)


@one_worker
@pytest.mark.wheel
def test_the_wheel_holds_every_module_and_every_data_file(built: Built) -> None:
    expected = {
        f"{target}/{path.relative_to(folder).as_posix()}"
        for folder, target in SOURCES.items()
        for path in project_files(built.source)
        if path.is_relative_to(folder) and path.suffix in SHIPPED
    }
    assert {"forkpoint/__init__.py", "forkpoint/__main__.py", "forkpoint/py.typed"} <= expected
    assert {name for name in expected if name.endswith(".tiktoken")} == {
        "forkpoint/analysis/vocab/cl100k_base.tiktoken",
        "forkpoint/analysis/vocab/o200k_base.tiktoken",
    }
    assert {".sql", ".toml", ".css", ".js"} <= {Path(name).suffix for name in expected}
    assert expected - built.wheel_names() == set()


@one_worker
@pytest.mark.wheel
def test_the_wheel_holds_nothing_but_the_package(built: Built) -> None:
    tops = {name.split("/")[0] for name in built.wheel_names()}
    version = built.wheel.name.split("-")[1]
    assert tops == {"forkpoint", f"forkpoint-{version}.dist-info"}
    assert not [name for name in built.wheel_names() if "__pycache__" in name]
    files = {path.as_posix() for path in project_files(built.source)}
    homes = {target: folder for folder, target in SOURCES.items()}
    for name in built.wheel_names():
        if name.startswith("forkpoint/"):
            home = max((t for t in homes if name.startswith(t + "/")), key=len)
            assert homes[home] + name.removeprefix(home) in files


@one_worker
@pytest.mark.wheel
def test_the_sdist_holds_the_sources_the_tests_and_the_sample_logs(built: Built) -> None:
    wanted = (*SOURCES, "tests", "sample_logs", "requirements")
    expected = {
        path.as_posix()
        for path in project_files(built.source)
        if any(path.is_relative_to(folder) for folder in wanted)
    }
    expected |= {"pyproject.toml", "README.md", "Makefile", "CHANGELOG.md", "CONTRIBUTING.md"}
    assert "tests/test_packaging.py" in expected
    assert any(name.startswith("sample_logs/") for name in expected)
    assert expected - built.sdist_names() == set()


@one_worker
@pytest.mark.wheel
def test_the_installed_package_leaks_no_bare_module_names(installed: Installed) -> None:
    code = (
        "import json, forkpoint; from importlib.util import find_spec;"
        "bare = ['cli', 'parsers', 'analysis', 'tests'];"
        "print(json.dumps([forkpoint.__file__, [n for n in bare if find_spec(n)]]))"
    )
    file, found = json.loads(run(installed.python, "-I", "-c", code, cwd=installed.away))
    assert Path(file).is_relative_to(installed.python.parent.parent)
    assert found == []


@one_worker
@pytest.mark.wheel
def test_every_module_of_the_installed_package_can_be_imported(installed: Installed) -> None:
    """With the base dependencies only: what an extra brings is imported where it is used."""
    code = (
        "import importlib, pkgutil, forkpoint;"
        "names = [m.name for m in pkgutil.walk_packages(forkpoint.__path__, 'forkpoint.')];"
        "[importlib.import_module(n) for n in names if not n.endswith('__main__')];"
        "print(*names)"
    )
    names = run(installed.python, "-I", "-c", code, cwd=installed.away).split()
    assert {"forkpoint.cli", "forkpoint.parsers.base", "forkpoint.analysis"} <= set(names)


@one_worker
@pytest.mark.wheel
def test_the_console_script_and_the_module_tell_the_version(installed: Installed) -> None:
    version = re.search(
        r'__version__ = "([^"]+)"', (REPOSITORY / "src/forkpoint/__init__.py").read_text("utf-8")
    )
    assert version is not None
    for command in ([installed.forkpoint], [installed.python, "-I", "-m", "forkpoint"]):
        assert version[1] in run(*command, "--version", cwd=installed.away)


AWAY = ("test_formats_command.py", "test_html_report.py", "test_registry.py", "test_rules.py")
"""Tests that between them read every file that comes with the package but for the vocabularies."""


@one_worker
@pytest.mark.wheel
def test_the_installed_command_says_of_the_sample_logs_what_the_checkout_says(
    installed: Installed,
) -> None:
    """Every parser reads its samples, tokens are counted and prices found."""
    asked = ["report", installed.sdist / "sample_logs", "--format", "json", "--store", ":memory:"]
    away = json.loads(run(installed.forkpoint, *asked, cwd=installed.away))
    here = json.loads(run(sys.executable, "-m", "forkpoint", *asked, cwd=installed.away))
    assert away == here
    samples = {path.name for path in (REPOSITORY / "sample_logs").iterdir() if path.is_dir()}
    assert set(away["sources"]["by_format"]) == samples


@one_worker
@pytest.mark.wheel
def test_the_tests_pass_against_the_installed_wheel(installed: Installed) -> None:
    """The sdist's tests, run away from the checkout; the checkout's own packages are not there.

    Only those that a fault of packaging would fail. Random cases and the browser are left to the
    checkout's own run.
    """
    report = installed.away / "report.xml"
    run(
        *(installed.python, "-I", "-m", "pytest", "-q", "-p", "no:cacheprovider"),
        *(
            "-m",
            "not (real or corpus or slow or wheel or hypothesis or browser)",
            f"--junitxml={report}",
        ),
        *("--rootdir", installed.sdist, "-c", installed.sdist / "pyproject.toml"),
        *(installed.sdist / "tests" / name for name in AWAY),
        cwd=installed.away,
    )
    counted = re.search(r'tests="(\d+)" ', report.read_text(encoding="utf-8"))
    assert counted is not None and int(counted[1]) > 100


def requirement_lines(text: str) -> list[str]:
    """The requirements of a lock file, each with its options on one line, without comments."""
    joined = re.sub(r"^\s*#.*\n", "", text, flags=re.MULTILINE).replace("\\\n", " ")
    return [line for line in joined.splitlines() if line.strip()]


def lock_faults(text: str) -> list[str]:
    """Lines of a lock file that are not one pinned version with SHA-256 hashes, and no more."""
    shape = re.compile(
        r"[a-z0-9][a-z0-9.-]*==[^\s;]+( ; [^-:/]+)?\s+(--hash=sha256:[0-9a-f]{64}\s*)+"
    )
    return [line for line in requirement_lines(text) if not shape.fullmatch(line)]


def locked_versions(name: str) -> dict[NormalizedName, str]:
    text = (REPOSITORY / "requirements" / name).read_text(encoding="utf-8")
    versions: dict[NormalizedName, str] = {}
    for line in requirement_lines(text):
        requirement = Requirement(line.split(" --hash")[0].strip())
        versions[canonicalize_name(requirement.name)] = str(requirement.specifier).removeprefix(
            "=="
        )
    return versions


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_holds_versions_and_hashes_and_names_no_place_to_fetch_from(name: str) -> None:
    text = (REPOSITORY / "requirements" / name).read_text(encoding="utf-8")
    assert requirement_lines(text)
    assert lock_faults(text) == []
    assert "://" not in text


@pytest.mark.parametrize(
    "line",
    [
        "numpy==2.4.6",
        "numpy>=2 --hash=sha256:" + "0" * 64,
        "numpy==2.4.6 --hash=md5:" + "0" * 32,
        "numpy @ file:///numpy.whl --hash=sha256:" + "0" * 64,
        "--find-links /wheels",
        "-r other.txt",
    ],
)
def test_a_loose_lock_line_is_found(line: str) -> None:
    good = "numpy==2.4.6 ; sys_platform == 'linux' \\\n    --hash=sha256:" + "0" * 64
    assert lock_faults(good + "\n    # via polars\n") == []
    assert lock_faults(f"{good}\n{line}\n") == [line]


def test_the_locks_agree_with_each_other_and_with_the_declared_dependencies() -> None:
    table = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    run_lock, dev_lock, tool_lock = (locked_versions(name) for name in LOCKS)
    assert run_lock.items() <= dev_lock.items(), "run `make lock`"
    groups = table["dependency-groups"]
    needs = [(line, run_lock) for line in table["project"]["dependencies"]]
    needs += [(line, dev_lock) for line in groups["dev"] + table["build-system"]["requires"]]
    needs += [(line, tool_lock) for line in groups["lock"]]
    for line, lock in needs:
        requirement = Requirement(line)
        version = lock.get(canonicalize_name(requirement.name))
        assert version is not None, f"{line} is not locked: run `make lock`"
        assert requirement.specifier.contains(version), f"{line}, locked {version}: run `make lock`"


def hosts_named(root: Path) -> list[str]:
    """Text files below `root` that name a registry's host, as ``file: host``."""
    found = []
    for path in project_files(root):
        content = (root / path).read_bytes()
        if b"\0" not in content[:8192]:
            lower = content.lower()
            found += [f"{path}: {host}" for host in REGISTRY_HOSTS if host.encode() in lower]
    return found


def test_no_file_names_a_package_registry(tmp_path: Path) -> None:
    assert hosts_named(REPOSITORY) == []
    (tmp_path / "pip.conf").write_text(f"index = https://{REGISTRY_HOSTS[0].upper()}/simple")
    assert hosts_named(tmp_path) == [f"pip.conf: {REGISTRY_HOSTS[0]}"]

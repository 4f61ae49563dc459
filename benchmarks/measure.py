"""Whole processes, measured from outside: wall time, CPU time and memory.

Standard library only, and kept small: a child's peak memory as the system counts it is never below
what this process held when it started the child.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Self

_SAMPLE_EVERY_S = 0.02
_MAXRSS_UNIT = 1 if sys.platform == "darwin" else 1024
_PROC = Path("/proc")


class CommandFailed(Exception):
    """A measured command did not exit with 0. The text holds the end of what it said."""


@dataclass(frozen=True)
class Run:
    """One finished process and its descendants."""

    wall_s: float
    cpu_s: float
    """User and system time of the process and of all descendants that were waited for."""
    largest_bytes: int
    """Peak resident memory of the largest single process among them."""
    all_bytes: int | None
    """Peak of their summed resident memory, sampled every 20 ms; pages that processes share count
    in each. ``None`` where the system has no /proc."""
    stdout: bytes


def run(command: Sequence[str], env: Mapping[str, str] | None = None) -> Run:
    """Run a command to its end.

    Args:
        env: variables to set beside the inherited ones.

    Raises:
        CommandFailed: its exit code is not 0.
    """
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        began = time.perf_counter()
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            env={**os.environ, **(env or {})},
        )
        with _MemorySampler(process.pid) as sampler:
            _, status, usage = os.wait4(process.pid, 0)
            wall_s = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            said = (_text(err) or _text(out))[-2000:]
            raise CommandFailed(f"{' '.join(command)}: exit code {process.returncode}\n{said}")
        out.seek(0)
        return Run(
            wall_s=wall_s,
            cpu_s=usage.ru_utime + usage.ru_stime,
            largest_bytes=usage.ru_maxrss * _MAXRSS_UNIT,
            all_bytes=sampler.peak_bytes,
            stdout=out.read(),
        )


def _text(stream: IO[bytes]) -> str:
    stream.seek(0)
    return stream.read().decode("utf-8", "replace").strip()


class _MemorySampler:
    """Watches a process and its descendants from a thread while the context lasts."""

    def __init__(self, pid: int) -> None:
        self.peak_bytes: int | None = None
        self._pid = pid
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        if (_PROC / "self" / "statm").exists():
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(_SAMPLE_EVERY_S):
            resident = sum(_resident_bytes(pid) for pid in _family(self._pid))
            self.peak_bytes = max(resident, self.peak_bytes or 0)


def _family(pid: int) -> Iterator[int]:
    """A process and its living descendants."""
    waiting = [pid]
    while waiting:
        pid = waiting.pop()
        yield pid
        try:
            for task in (_PROC / str(pid) / "task").iterdir():
                waiting.extend(int(child) for child in (task / "children").read_text().split())
        except OSError:  # it ended meanwhile
            continue


def _resident_bytes(pid: int) -> int:
    try:
        pages = (_PROC / str(pid) / "statm").read_text().split()[1]
    except (OSError, IndexError):  # it ended meanwhile
        return 0
    return int(pages) * os.sysconf("SC_PAGE_SIZE")

"""How fast each log format is parsed, beside plain decoding of the same bytes.

Each format's sample logs are written out several times over, with fresh ids, until there are some
megabytes of them; then its parser reads them into trees that hash but do not tokenise, on one core.
In the same process msgspec decodes the same JSON without a schema: what that takes is the measure
that a busy machine changes alike.

`run.py` starts this script as a process of its own:

    python formats.py write FORMAT BYTES FOLDER FILE…
    python formats.py read FORMAT FOLDER
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import shutil
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from cases import IN_PROCESS, Case, Context, Disagreement, Result, Sample
from measure import Run, run

NAME = "formats"
SAMPLES = Path(__file__).resolve().parent.parent / "sample_logs"
_BYTES = 5_000_000
_INDEX = "corpus.json"
_SLOW = 50e6
"""Bytes a second; a format below is looked into."""
_SMALL = "small records: what a call takes by itself outweighs its bytes"
_PIECES = "many pieces a call: messages, choices and scores, each looked at by itself"
_NODES = "many nodes a call: two hashes for every block, or for every 32 token ids"
_OPENED = "fields of any shape: objects are opened field by field, JSON in texts a second time"
_FILES = "small files: up to two thirds of the time go into opening and reading them"
_WHY = {
    **dict.fromkeys(("aider", "amp", "areal", "codex", "copilot", "droid", "gemini-cli"), _SMALL),
    **dict.fromkeys(("gsm8k-solutions", "kimi", "mini-swe-agent", "nemo-gym"), _SMALL),
    **dict.fromkeys(("openrouter", "pi-session", "qwen-code", "reflexion", "rllm"), _SMALL),
    **dict.fromkeys(("samples", "skyrl", "tau-bench", "tau2", "tinker-cookbook"), _SMALL),
    **dict.fromkeys(("verifiers", "verl", "vscode-chat"), _SMALL),
    **dict.fromkeys(("alpaca-eval", "anthropic", "inspect-ai", "openai", "openhands"), _PIECES),
    **dict.fromkeys(("swe-agent", "tot"), _PIECES),
    **dict.fromkeys(("atif", "atropos", "bailian", "kv-cache-tester", "mooncake"), _NODES),
    **dict.fromkeys(("nemo-rl", "prime-rl", "sglang", "token-ids"), _NODES),
    **dict.fromkeys(("helicone", "langfuse", "langsmith", "litellm"), _OPENED),
    **dict.fromkeys(("openinference", "otel-genai"), _OPENED),
    **dict.fromkeys(("goose", "helm", "lm-eval"), _FILES),
    "opencode": "a database for every few messages, or a file for each",
    "slime": "a pickle, taken apart in Python so that nothing in it can run",
    "trl": "Parquet, whose equal rows take no room: only its calls a second mean anything",
    "vllm": "text: every line of a server's log is held against regular expressions",
}
"""Why a format is slow, where its profile was looked at."""
_PLAIN = "plain msgspec decoding"
_ID_FIELD = re.compile(r"(?:^|_|\.)(?:u?u?id|ids?)$|(?:Id|ID|Uuid|UUID)$|^(?:run|parent|trace)$")
"""Names of fields that hold ids, in the spellings of all formats."""
_NO_ID = re.compile(r"model|task|template|project|problem|example|agent_id|question", re.IGNORECASE)
"""… and of fields that only look like it: fresh ones would be other models and other tasks."""
_TIME_FIELD = re.compile(r"time|created|updated|start|end|stamp", re.IGNORECASE)
_ISO_TIME = re.compile(r"[12]\d{3}-\d\d-\d\dT\d\d:\d\d")
_HEX = "0123456789abcdef"


def measure(context: Context) -> list[Result]:
    """Time the parser of every format that has sample logs.

    Raises:
        Disagreement: one finds no calls in them, or reports issues.
    """
    corpora = dict(_corpora(context))
    results: dict[str, Result] = {}
    for number in range(1 + context.repeats):
        context.say(f"{NAME}: run {number} of {context.repeats}" if number else f"{NAME}: checks")
        for name, folder in corpora.items():
            command = [sys.executable, __file__, "read", name, folder]
            finished = run(command)
            answer = json.loads(finished.stdout)
            if not number:
                _check(name, answer)
                results[name] = _result(name, command, answer)
                continue
            _add(results[name], finished, answer)
    for name, result in results.items():
        if _cpu_speed(result) < _SLOW:
            result.note = _WHY.get(name, "")
    figures = context.work / NAME / "figures.md"
    figures.write_text(_table(list(results.values())))
    context.say(f"{NAME}: per CPU second, slowest first: {figures}")
    return list(results.values())


def _cpu_speed(result: Result) -> float:
    """Bytes a CPU second, median over the runs."""
    return result.spread(lambda sample: sample.n_bytes / sample.cpu_s)[0]


def _table(results: list[Result]) -> str:
    """The figures that a busy machine changes least, as Markdown, slowest first."""
    lines = [
        "| Format | MB/s | Calls/s | Bytes a call | Plain decoding | Why under 50 MB/s |",
        "| --- | ---: | ---: | ---: | ---: | --- |",
    ]
    for result in sorted(results, key=_cpu_speed):
        rate, *_ = result.spread(lambda sample: _calls(sample) / sample.cpu_s)
        size = result.samples[0].n_bytes / _calls(result.samples[0])
        ratio = result.ratio(lambda sample: sample.cpu_s)
        times = "–" if ratio is None else f"× {ratio[0]:.1f}"
        speed = _cpu_speed(result) / 1e6
        cells = (
            *(result.case.name, f"{speed:,.0f}", f"{rate:,.0f}", f"{size:,.0f}", times),
            result.note,
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _calls(sample: Sample) -> int:
    return sum(sample.counts.values())


def _corpora(context: Context) -> Iterator[tuple[str, str]]:
    """Each format, and the folder that its grown samples lie in."""
    n_bytes = max(1, round(_BYTES * context.scale))
    samples: dict[str, list[str]] = json.loads(
        run([sys.executable, IN_PROCESS, "samples", str(SAMPLES)]).stdout
    )
    for name, files in samples.items():
        if not files:
            context.say(f"{NAME}: {name} has no sample logs, so it is not measured")
            continue
        folder = str(context.work / NAME / name)
        run([sys.executable, __file__, "write", name, str(n_bytes), folder, *files])
        yield name, folder


def _check(name: str, answer: dict[str, Any]) -> None:
    if answer["issues"] or not _counted(answer):
        found = f"{answer['calls']} calls and {answer['issues']} issues"
        raise Disagreement(f"{NAME}: {name} finds {found} in what was written from its samples")


def _counted(answer: dict[str, Any]) -> dict[str, int]:
    """What the rate is of. Some formats log rollouts without the requests behind them."""
    found = {unit: answer[unit] for unit in ("calls", "traces") if answer[unit]}
    return dict([next(iter(found.items()))]) if found else {}


def _result(name: str, command: list[str], answer: dict[str, Any]) -> Result:
    result = Result(Case(NAME, name, command, inner=True))
    if answer["plain_seconds"] is not None:
        result.reference = Result(Case(NAME, _PLAIN, command, inner=True))
    return result


def _add(result: Result, finished: Run, answer: dict[str, Any]) -> None:
    """One run's figures, and those of the plain decoding that it did as well."""
    memory = {"largest_bytes": finished.largest_bytes, "all_bytes": finished.all_bytes}
    result.samples.append(
        Sample(
            wall_s=answer["seconds"],
            cpu_s=answer["cpu_seconds"],
            n_bytes=answer["bytes"],
            counts=_counted(answer),
            **memory,
        )
    )
    if result.reference is not None:
        result.reference.samples.append(
            Sample(
                wall_s=answer["plain_seconds"],
                cpu_s=answer["plain_cpu_seconds"],
                n_bytes=answer["bytes"],
                counts={},
                **memory,
            )
        )


# ---- Growing a sample ----------------------------------------------------------------------------


def write(name: str, n_bytes: int, folder: Path, samples: list[Path]) -> dict[str, Any]:
    """Write a format's samples over and over until there are `n_bytes` of them.

    Lines, rows and the elements of lists go into one long file, as in the logs of long runs, if the
    parser then finds that many times the calls; else, and for all other forms, each round makes
    files of its own. What was written from the same samples before is left as it is.
    """
    digest = hashlib.sha256(Path(__file__).read_bytes())
    for sample in samples:
        digest.update(sample.read_bytes())
    described = {"bytes": n_bytes, "from": digest.hexdigest()}
    index = folder / _INDEX
    if index.exists() and json.loads(index.read_text()).items() >= described.items():
        return described
    shutil.rmtree(folder, ignore_errors=True)
    files: list[str] = []
    for sample in samples:
        place = sample.relative_to(SAMPLES / name)
        share = n_bytes // len(samples)
        make = _joiner(sample)
        if make is not None and _can_be_joined(name, make, folder / "joined" / place):
            rounds = max(1, round(share / len(make(1))))
            files.append(str(_write(folder / "long" / place, make(rounds))))
        else:
            files += map(str, _copies(sample, share, folder, place))
    index.write_text(json.dumps({**described, "files": files}))
    return described


Make = Callable[[int], bytes]
"""A sample's content, so many times over, as one file."""


def _joiner(sample: Path) -> Make | None:
    """How a sample is made longer; ``None`` for what cannot be: objects, databases, archives."""
    if sample.suffix == ".parquet":
        return partial(_join_parquet, sample)
    lines = _lines_of(sample)
    if lines is not None:
        return lambda rounds: b"".join(_round(lines, number) for number in range(rounds))
    data = sample.read_bytes()
    if sample.suffix == ".csv":
        header, end, rows = data.partition(b"\n")
        return lambda rounds: header + end + rows * rounds
    value = _json_of(data)
    if isinstance(value, list):
        return lambda rounds: _encode(
            [fresh(each, number) for number in range(rounds) for each in value]
        )
    return None


def _join_parquet(sample: Path, rounds: int) -> bytes:
    import polars as pl

    target = io.BytesIO()
    pl.concat([pl.read_parquet(sample)] * rounds).write_parquet(target)
    return target.getvalue()


def _lines_of(path: Path) -> list[Any] | None:
    """The JSON values on a file's lines; ``None`` for a file of another form."""
    try:
        lines = path.read_bytes().decode().splitlines()
        return [json.loads(line) for line in lines if line.strip()]
    except ValueError:
        return None


def _json_of(data: bytes) -> Any:
    try:
        return json.loads(data)
    except ValueError:
        return None


def _can_be_joined(name: str, make: Make, path: Path) -> bool:
    """Whether three rounds of a file's records in one file are three times its calls."""
    from forkpoint.parsers.registry import parser_named

    counts = []
    for rounds in (1, 3):
        found = read(parser_named(name), [_write(path, make(rounds))])
        counts.append(found["calls"] or found["traces"])
    return counts[0] > 0 and counts[1] == 3 * counts[0]


def _copies(sample: Path, n_bytes: int, folder: Path, place: Path) -> Iterator[Path]:
    """Files as large as the sample, with fresh ids if they hold JSON."""
    data = sample.read_bytes()
    lines, value = _lines_of(sample), _json_of(data)
    for number in range(max(1, -(-n_bytes // len(data)))):
        content = data
        if lines is not None:
            content = _round(lines, number)
        elif value is not None:
            content = _encode(fresh(value, number))
        yield _write(folder / str(number) / place, content)


def _write(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def _round(lines: list[Any], number: int) -> bytes:
    return b"".join(_encode(fresh(line, number)) + b"\n" for line in lines)


def _encode(value: Any) -> bytes:
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    return text.encode("utf-8", "surrogatepass")


def fresh(value: Any, number: int, name: str = "") -> Any:
    """A JSON value whose ids are others in each round, equal ones equal, in the same spelling, and
    whose times are on another day.

    Args:
        name: of the field that it stands in.
    """
    if isinstance(value, dict):
        return {key: fresh(each, number, key) for key, each in value.items()}
    if isinstance(value, list):
        return [fresh(each, number, name) for each in value]
    if isinstance(value, str) and value:
        if _ID_FIELD.search(name) and not _NO_ID.search(name):
            return _fresh_id(value, number)
        if _ISO_TIME.match(value):
            day = date.fromisoformat(value[:10]) + timedelta(days=number)
            return f"{day.isoformat()}{value[10:]}"
        if _TIME_FIELD.search(name) and value.isdecimal():
            return str(_fresh_time(int(value), number))
    if isinstance(value, int | float) and _TIME_FIELD.search(name):
        return _fresh_time(value, number)
    return value


def _fresh_time(value: float, number: int) -> float:
    """So many days after a time since 1970, in whatever unit. A small number is none."""
    for unit in (10**9, 10**6, 10**3, 1):
        if value >= 10**9 * unit:
            return value + number * 86_400 * unit
    return value


def _fresh_id(text: str, number: int) -> str:
    if not text.strip("0-"):
        return text  # All zeros stand for no id.
    digits = sum(letter in _HEX for letter in text)
    if digits >= 16 and set(text) <= set(_HEX + "-x"):
        # A span's or trace's id, or a UUID: as long, and still one.
        made = iter(hashlib.sha512(f"{text} {number}".encode()).hexdigest() * 4)
        return "".join(next(made) if letter in _HEX else letter for letter in text)
    return f"{text}{number:05d}"


# ---- Reading it ----------------------------------------------------------------------------------


def read(parser: Any, files: list[Path]) -> dict[str, Any]:
    """Parse and hash: each file into a tree of its own, as in ingest; no token counts, no store."""
    from forkpoint.analysis.shard import ShardTree
    from forkpoint.parsers.logs import Log
    from forkpoint.parsers.records import Call, Issue, Trace

    n_bytes = calls = traces = issues = 0
    for path in files:
        log = Log(path)
        for record in parser.parse(log, ShardTree(log, None)):
            calls += isinstance(record, Call)
            traces += isinstance(record, Trace)
            issues += isinstance(record, Issue)
        n_bytes += path.stat().st_size
    return {"bytes": n_bytes, "calls": calls, "traces": traces, "issues": issues}


def decode_plainly(files: list[Path]) -> int:
    """Decode all JSON in the files without a schema, and count the values.

    Raises:
        ValueError: a file that begins like JSON is none.
    """
    import msgspec

    decode = msgspec.json.Decoder().decode
    return sum(1 for path in files for piece in _json_in(path) if decode(piece) is not None)


def _is_json(path: Path) -> bool:
    try:
        return decode_plainly([path]) > 0
    except ValueError:
        return False


def _json_in(path: Path) -> Iterator[bytes]:
    """A document, lines, or the members of an archive."""
    data = path.read_bytes()
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if name.endswith(".json")]
            yield from map(archive.read, names)
        return
    begins = data[:64].lstrip()[:1]
    if begins not in (b"{", b"["):
        return
    first = data.partition(b"\n")[0]
    try:
        json.loads(first)
    except ValueError:
        yield data
        return
    for line in data.split(b"\n"):
        if line.strip():
            yield line


def timed(work: Callable[[], Any]) -> tuple[Any, float, float]:
    """(what it gives, wall seconds, CPU seconds)."""
    wall, cpu = time.perf_counter(), time.process_time()
    found = work()
    return found, time.perf_counter() - wall, time.process_time() - cpu


def read_both(name: str, folder: Path) -> dict[str, Any]:
    """Parse the files and decode them plainly, after a first round that is not timed."""
    from forkpoint.parsers.registry import parser_named

    parser = parser_named(name)
    files = [Path(path) for path in json.loads((folder / _INDEX).read_text())["files"]]
    read(parser, files)
    answer, seconds, cpu = timed(lambda: read(parser, files))
    plain: dict[str, float | None] = {"plain_seconds": None, "plain_cpu_seconds": None}
    if files_of_json := [path for path in files if _is_json(path)]:
        _, plain_seconds, plain_cpu = timed(lambda: decode_plainly(files_of_json))
        # Where some files are of another form, as if they were JSON, too.
        more = answer["bytes"] / sum(path.stat().st_size for path in files_of_json)
        plain = {"plain_seconds": plain_seconds * more, "plain_cpu_seconds": plain_cpu * more}
    return {**answer, "seconds": seconds, "cpu_seconds": cpu, **plain}


def main(what: str, name: str, *rest: str) -> dict[str, Any]:
    """Do what the command line says."""
    if what == "write":
        n_bytes, folder, *samples = rest
        return write(name, int(n_bytes), Path(folder), [Path(sample) for sample in samples])
    if what == "read":
        return read_both(name, Path(*rest))
    raise SystemExit(__doc__)


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))

"""What the smaller commands print: ``ingest``, ``prefixes``, ``formats``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TextIO

from forkpoint.analysis.ingest import Ingested
from forkpoint.analysis.results import PrefixTree
from forkpoint.cli.json_report import exact, prefix_tree, write_json
from forkpoint.cli.layout import bold, dim, flow, output_width, print_lines, shown_path
from forkpoint.cli.locations import AgentLogs
from forkpoint.cli.numbers import count, megabytes
from forkpoint.cli.options import PlainFormat
from forkpoint.cli.table import Line, fork_lines, tree_facts
from forkpoint.cli.text import plain
from forkpoint.errors import ForkpointError
from forkpoint.parsers.base import Parser
from forkpoint.parsers.csv_rows import header_of
from forkpoint.parsers.logs import HEAD_BYTES, Head, UnreadableLog, is_compressed, read_head
from forkpoint.parsers.registry import identify
from forkpoint.parsers.sample_map import MAP_FILE

_JSON_BEGINS = re.compile(rb'[\[{]\s*+(?:[\[{"\]}\d-]|true|false|null|\Z)')
"""A JSON object or list, and not, say, the ``[section]`` of a settings file."""
_COLUMN = re.compile(r"\w[\w.-]{0,39}(?: \w[\w.-]{0,39}){0,2}")
_ALL_BRANCHES = 8
_KEYS_SHOWN = 8


def write_ingested(done: Ingested, form: PlainFormat, out: TextIO) -> None:
    """What a run read, and how fast."""
    speed = done.bytes / done.seconds / 1e6 if done.bytes and done.seconds else None
    if form is PlainFormat.JSON:
        facts = asdict(done) | {"mb_per_s": speed}
        write_json(exact(facts), out)
        return
    rate = "nothing new" if speed is None else f"{speed:,.1f} MB/s"
    parts = [
        count(done.files, "file"),
        count(done.calls, "call"),
        count(done.issues, "issue"),
        megabytes(done.bytes),
        rate,
    ]
    more = [
        (done.unchanged_files, "unchanged"),
        (done.grown_files, "read on from where they ended"),
        (done.rewritten_files, "read again"),
        (done.deleted_files, "gone"),
        (done.unknown_files, "of no known format"),
        (len(done.unreadable), "not readable"),
    ]
    details = [f"{count(n, 'file')} {what}" for n, what in more if n]
    width = output_width(out)
    print_lines([*flow(parts, width), *flow(details, width)], out)


def write_prefixes(tree: PrefixTree, form: PlainFormat, out: TextIO) -> None:
    """The biggest forks with all branches known of each."""
    if form is PlainFormat.JSON:
        write_json(exact(prefix_tree(tree)), out)
        return
    width = output_width(out)
    lines: list[Line] = []
    lines += flow(tree_facts(tree), width, first="Fork points: ", indent=2)
    if tree.unrefined_forks:
        lines += flow(
            [f"{count(tree.unrefined_forks, 'fork')} exact to the message or block only (≥)"], width
        )
    if tree.top_forks:
        lines += ["", *fork_lines(tree.top_forks, width, branches=_ALL_BRANCHES)]
    else:
        lines.append("No two prompts here begin alike and then part.")
    print_lines(lines, out)


def write_formats(parsers: Sequence[Parser], form: PlainFormat, out: TextIO) -> None:
    """All log formats, under headings that follow from what their parsers declare."""
    if form is PlainFormat.JSON:
        write_json([_parser_facts(parser) for parser in parsers], out)
        return
    width = output_width(out)
    lines: list[Line] = []
    for heading, members in families(parsers):
        lines += [*([""] if lines else []), *map(bold, flow([heading], width))]
        for each in members:
            lines += _format_lines(each, width)
    next_step = ["forkpoint formats FILE", "says which format a file is of, and why"]
    lines += ["", *map(dim, flow(["  ".join(next_step)], width, first="Next: ", indent=6))]
    print_lines(lines, out)


def families(parsers: Sequence[Parser]) -> list[tuple[str, list[Parser]]]:
    """Parsers under a heading each: by what their logs are, as far as they declare it.

    Within a heading they keep their order.
    """
    found: dict[str, list[Parser]] = {heading: [] for heading in _FAMILIES}
    for parser in parsers:
        found[_family(parser)].append(parser)
    return [(heading, members) for heading, members in found.items() if members]


_FOUND_BY_ITSELF = "Logs kept in a known place, found without a path"
_MESSAGES = "Requests, spans and agent runs"
_ROLLOUTS = "Rollouts and evaluations, with rewards"
_SERVING = "Serving traces"
_FAMILIES = (_FOUND_BY_ITSELF, _MESSAGES, _ROLLOUTS, _SERVING)


def _family(parser: Parser) -> str:
    if parser.locations:
        return _FOUND_BY_ITSELF
    if "hashed blocks" in parser.evidence:
        return _SERVING
    return _ROLLOUTS if "rewards" in parser.evidence else _MESSAGES


def is_from_documentation(parser: Parser) -> bool:
    """Whether no log and no program that writes them was at hand, only what is written of them."""
    return re.match("(?:from )?documentation", parser.checked) is not None


def _checked(parser: Parser) -> str:
    if is_from_documentation(parser):
        return f"not checked on a real log: {plain(parser.checked)}"
    return f"checked: {plain(parser.checked)}"


def _format_lines(parser: Parser, width: int) -> list[str]:
    facts = [", ".join(map(plain, parser.evidence)), _checked(parser)]
    lines = flow([plain(parser.name), plain(parser.title)], width, first="  ", indent=4)
    lines += flow(facts, width, first="    ", indent=4)
    if parser.locations:
        lines += flow(map(plain, parser.locations), width, first="    in ", indent=7)
    return lines


def _parser_facts(parser: Parser) -> dict[str, Any]:
    return {
        "name": parser.name,
        "title": parser.title,
        "family": _family(parser),
        "checked": parser.checked,
        "from_documentation": is_from_documentation(parser),
        "evidence": list(parser.evidence),
        "whole_prompts": parser.whole_prompts,
        "locations": list(parser.locations),
    }


def write_format_of(file: Path, form: PlainFormat, out: TextIO) -> bool:
    """Say which format a file is of, and why; of an unknown one, what it looks like and what helps.

    Returns:
        Whether it is of a known one.

    Raises:
        ForkpointError: it is missing, a folder, not readable, or claimed by two parsers.
    """
    if file.is_dir():
        raise ForkpointError(f"{file} is a folder: name one file in it")
    if not file.exists():
        raise ForkpointError(f"{file}: no such file or folder")
    try:
        head = read_head(file)
        compressed = is_compressed(file)
    except (UnreadableLog, OSError) as error:
        raise ForkpointError(f"{file}: {error}") from error
    claim = identify(head)
    looks = looks_like(head) + (", compressed" if compressed else "")
    if form is PlainFormat.JSON:
        facts = {
            "path": str(file),
            "format": claim.parser.name if claim else None,
            "why": claim.why if claim else None,
            "looks_like": looks,
            "what_helps": None if claim else what_helps(head),
        }
        write_json(facts, out)
        return claim is not None
    shown, width = shown_path(str(file)), output_width(out)
    if claim is None:
        lines = _labelled("it looks like", looks, width)
        lines += _labelled("what helps", what_helps(head), width)
        print_lines([f"{shown}: no known format", *lines], out)
        return False
    parser = claim.parser
    lines = _labelled("because", plain(claim.why), width)
    lines += flow(["holds " + ", ".join(map(plain, parser.evidence))], width, first="  ", indent=4)
    lines += flow([_checked(parser)], width, first="  ", indent=4)
    print_lines([f"{shown}: {parser.name} ({parser.title})", *lines], out)
    return True


def _labelled(label: str, text: str, width: int) -> list[str]:
    return flow([text], width, first=f"  {label}: ", indent=4)


_PACKED = (
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ\0", "xz"),
    (b"\x04\x22\x4d\x18", "LZ4"),
    (b"7z\xbc\xaf\x27\x1c", "7-Zip"),
    (b"Rar!", "RAR"),
)
"""How files begin that were compressed in ways that are not undone here."""


def _packed(data: bytes) -> str | None:
    return next((name for begins, name in _PACKED if data.startswith(begins)), None)


def looks_like(head: Head) -> str:
    """What kind of file it is, by its first bytes."""
    data = head.data.lstrip(b"\xef\xbb\xbf \t\r\n")
    if not data:
        return "an empty file"
    if (packed := _packed(head.data)) is not None:
        return f"compressed with {packed}"
    if head.document is not None:
        return f"one JSON document ({_shape(head.document)})"
    if len(head.objects) > 1 or (head.objects and len(head.data) >= HEAD_BYTES):
        return f"JSON lines ({_shape(head.objects[0])})"
    for kind, names, what in (
        ("a SQLite database", tuple(head.sqlite_tables), "tables"),
        ("a Parquet file", head.parquet_columns, "columns"),
        ("a zip archive", head.zip_members, "members"),
    ):
        if names:
            return f"{kind} ({what}: {_listed(names)})"
    if b"\0" in data:
        return "binary data"
    if not _is_text(data):
        return "binary data, or text that is not UTF-8"
    if _JSON_BEGINS.match(data):
        return "a JSON document longer than its first 64 KiB, or not valid"
    if columns := _csv_columns(head):
        return f"CSV (columns: {_listed(columns)})"
    return "text that is not JSON"


def what_helps(head: Head) -> str:
    """What a person can do about a file of no known format."""
    if not head.data.strip():
        return "nothing to read yet: try again when the program has written to it"
    if _packed(head.data) is not None:
        return "unpack it: only gzip and Zstandard are read packed"
    if head.zip_members:
        return "unpack it and name a log in it"
    parser = (
        "if a program writes such logs, a parser of some 100 lines reads them "
        "(docs/writing-a-parser.md in forkpoint's source)"
    )
    records = head.objects or head.document is not None or head.parquet_columns
    if records or _csv_columns(head):
        return (
            "if each record is a sample with a prompt and a completion, name its fields in a file "
            f"{MAP_FILE} beside it; {parser}"
        )
    if head.sqlite_tables or _is_text(head.data):
        return parser
    return "export it from the program that wrote it as JSON, JSON Lines, CSV or Parquet"


def _csv_columns(head: Head) -> list[str]:
    """The columns that the first line names, if it and the next are no lines of prose."""
    names, values = header_of(head.data), header_of(head.data.partition(b"\n")[2])
    if len(names) < 2 or len(values) != len(names):
        return []
    return names if all(map(_COLUMN.fullmatch, names)) else []


def _is_text(data: bytes) -> bool:
    """Whether it is UTF-8 without a zero byte; the head may end within a character."""
    try:
        return b"\0" not in data and bool(data[: max(len(data) - 3, 1)].decode("utf-8"))
    except UnicodeDecodeError:
        return False


def _shape(value: Any) -> str:
    if isinstance(value, dict):
        return f"keys: {_listed(list(value))}" if value else "an empty object"
    if isinstance(value, list):
        return count(len(value), "element")
    return type(value).__name__


def _listed(names: Sequence[str]) -> str:
    """The first names of several, on one line."""
    shown = [plain(name, 40) for name in names[:_KEYS_SHOWN]]
    return ", ".join(shown) + (", …" if len(names) > _KEYS_SHOWN else "")


def write_where_it_looked(agents: Sequence[AgentLogs], out: TextIO) -> None:
    """There are no agent logs here: where they were sought, and what to do."""
    width = output_width(out)
    lines: list[Line] = [bold("No agent logs on this machine. Looked in:")]
    for agent in agents:
        places = [shown_path(str(path)) for path in agent.looked_in]
        lines += flow(places, width, first=f"  {plain(agent.agent)}: ", indent=4)
        if agent.variables:
            names = " or ".join(f"${name}" for name in agent.variables)
            lines += flow([f"moved by {names}"], width, first="    ", indent=4)
    lines += [
        "",
        *flow(["forkpoint report FOLDER reads logs that lie elsewhere"], width),
        *flow(["forkpoint formats lists the kinds of log it reads"], width),
    ]
    print_lines(lines, out)

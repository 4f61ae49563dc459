"""What the smaller commands print: ``ingest``, ``prefixes``, ``formats``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TextIO

from forkpoint.analysis.ingest import Ingested
from forkpoint.analysis.results import PrefixTree
from forkpoint.cli.json_report import exact, prefix_tree, write_json
from forkpoint.cli.layout import bold, flow, output_width, print_lines, shown_path
from forkpoint.cli.locations import AgentLogs
from forkpoint.cli.numbers import count, megabytes
from forkpoint.cli.options import PlainFormat
from forkpoint.cli.table import Line, fork_lines, tree_facts
from forkpoint.cli.text import plain
from forkpoint.errors import ForkpointError
from forkpoint.parsers.base import Parser
from forkpoint.parsers.logs import HEAD_BYTES, Head, UnreadableLog, is_compressed, read_head
from forkpoint.parsers.registry import identify

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
    """All log formats."""
    if form is PlainFormat.JSON:
        write_json([_parser_facts(parser) for parser in parsers], out)
        return
    width = output_width(out)
    lines: list[Line] = []
    for each in parsers:
        lines += map(bold, flow([plain(each.name), plain(each.title)], width))
        facts = [f"checked against {plain(each.checked)}", f"holds {', '.join(each.evidence)}"]
        lines += flow(facts, width, first="  ", indent=2)
        if each.locations:
            places = [plain(place) for place in each.locations]
            lines += flow(places, width, first="  found in ", indent=4)
    print_lines(lines, out)


def _parser_facts(parser: Parser) -> dict[str, Any]:
    return {
        "name": parser.name,
        "title": parser.title,
        "checked": parser.checked,
        "evidence": list(parser.evidence),
        "locations": list(parser.locations),
    }


def write_format_of(file: Path, form: PlainFormat, out: TextIO) -> bool:
    """Say which format a file is of, and why.

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
        }
        write_json(facts, out)
    elif claim:
        parser = claim.parser
        print_lines([f"{shown_path(str(file))}: {parser.name} ({parser.title})",
                     f"  because: {plain(claim.why)}",
                     f"  checked against: {plain(parser.checked)}"], out)  # fmt: skip
    else:
        print_lines([f"{shown_path(str(file))}: no known format", f"  it looks like: {looks}"], out)
    return claim is not None


def looks_like(head: Head) -> str:
    """What kind of file it is, by its first bytes."""
    data = head.data.lstrip(b"\xef\xbb\xbf \t\r\n")
    if not data:
        return "an empty file"
    if head.document is not None:
        return f"one JSON document ({_shape(head.document)})"
    if len(head.objects) > 1 or (head.objects and len(head.data) >= HEAD_BYTES):
        return f"JSON lines ({_shape(head.objects[0])})"
    if b"\0" in data:
        return "binary data"
    try:
        # The head may end within a character.
        data[: max(len(data) - 3, 1)].decode("utf-8")
    except UnicodeDecodeError:
        return "binary data, or text that is not UTF-8"
    if data[:1] in (b"{", b"["):
        return "a JSON document longer than its first 64 KiB, or not valid"
    return "text that is not JSON"


def _shape(value: Any) -> str:
    if isinstance(value, dict):
        keys = [plain(str(key), 40) for key in list(value)[:_KEYS_SHOWN]]
        more = ", …" if len(value) > _KEYS_SHOWN else ""
        return f"keys: {', '.join(keys)}{more}" if keys else "an empty object"
    if isinstance(value, list):
        return count(len(value), "element")
    return type(value).__name__


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

"""Sessions of Kimi's coding agents: ``wire.jsonl``, in two dialects.

Kimi CLI writes ``~/.kimi/sessions/<folder>/<session>/wire.jsonl``: the messages for its user
interface, ``{"timestamp", "message": {"type", "payload"}}``; see `kimi_cli_wire`. Its successor Kimi
Code writes ``~/.kimi-code/sessions/<folder>/<session>/agents/<agent>/wire.jsonl``: the records it
restores itself from, ``{"type", "time", …}``; see `kimi_code_wire`. Both begin with
``{"type": "metadata", "protocol_version"}``, though early files lack it, and neither says which
session it is of: the folder does.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import msgspec

from forkpoint.parsers.base import Tree
from forkpoint.parsers.kimi_cli_wire import CliWire
from forkpoint.parsers.kimi_code_wire import CodeWire
from forkpoint.parsers.kimi_parts import Agent
from forkpoint.parsers.logs import BAD_RECORD, Head, Log
from forkpoint.parsers.raw_json import decode
from forkpoint.parsers.records import Issue, Record


class _Tag(msgspec.Struct):
    type: str | None = None


_TAG = msgspec.json.Decoder(_Tag)


class Kimi:
    """Reads sessions of Kimi CLI and Kimi Code; see the module's docstring."""

    name: ClassVar[str] = "kimi"
    title: ClassVar[str] = "Kimi CLI and Kimi Code"
    checked: ClassVar[str] = "wire 1.3 to 1.10 (CLI, 4a550ef), 1.1 to 1.5 (Code, d723cc4), 2026-11"
    evidence: ClassVar[tuple[str, ...]] = ("usage", "text", "timestamps")
    locations: ClassVar[tuple[str, ...]] = (
        "$KIMI_SHARE_DIR/sessions",
        "$KIMI_CODE_HOME/sessions",
        "~/.kimi/sessions",
        "~/.kimi-code/sessions",
    )
    whole_prompts: ClassVar[bool] = False
    grows: ClassVar[bool] = False

    def identify(self, head: Head) -> str | None:
        """Why the file is of this format, or ``None``."""
        first = head.objects[0] if head.objects else {}
        if first.get("type") == "metadata" and "protocol_version" in first:
            return "wire metadata with protocol_version"
        message = first.get("message")
        if first.keys() == {"timestamp", "message"} and isinstance(message, dict):
            return "wire messages" if message.keys() == {"type", "payload"} else None
        return None

    def parse(self, log: Log, tree: Tree) -> Iterator[Record]:
        """Yield the calls of one session or agent, and its traces."""
        agent = _agent(log.path)
        cli, code = CliWire(tree, agent), CodeWire(tree, agent)
        for line in log.lines():
            if isinstance(line, Issue):
                yield line
                continue
            try:
                if decode(line.data, _TAG).type is None:
                    cli.add(line)
                else:
                    code.add(line)
            except BAD_RECORD as error:
                yield line.issue(error)
        yield from cli.calls()
        yield from code.calls()
        yield from [*cli.traces(), *code.traces()] or [agent.trace()]


def _agent(path: Path) -> Agent:
    """Session and agent, as the folders name them."""
    folder = path.parent
    if folder.parent.name == "agents":
        session = folder.parent.parent.name
        if folder.name != "main":
            return Agent(f"{session}/{folder.name}", session)
        return Agent(session, None)
    return Agent(folder.name or path.stem, None)

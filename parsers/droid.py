"""Sessions of Factory's Droid: ``~/.factory/sessions/<folder>/<session>.settings.json`` and ``.jsonl``.

Droid's source code is not public; this is what tools that read such files document (ccusage's adapter
`droid`, 5816e64, and others' notes on real files). What to know:

- ``<session>.settings.json`` is rewritten as the session goes on: ``{"model", "providerLock",
  "providerLockTimestamp", "tokenUsage": {"inputTokens", "outputTokens", "cacheCreationTokens",
  "cacheReadTokens", "thinkingTokens"}, …}``. The counts sum up all calls of the session without its
  subagents, which are sessions of their own. No file counts single calls, so a session is one call here:
  its price is that of one long prompt where a model's price depends on the length.
- ``inputTokens`` excludes the cache, unless ``totalTokens`` says otherwise. Thoughts stand beside the
  output for Gemini, where they exceed it, or where the total says so; else they are part of it.
- ``<session>.jsonl`` holds the conversation: ``session_start`` with title, folder and, for a subagent,
  ``callingSessionId``; ``message`` lines with Anthropic's content blocks; ``compaction_state``. Its
  calls are those that the settings sum up: it gives a trace and its text, but no call.
- ``model`` may be a name of the user's own, ``custom:GLM-4.6-[Z.AI]``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime
from itertools import product
from typing import ClassVar

import msgspec

from forkpoint.parsers.agent_session import (
    disjoint_usage,
    moment,
    provider_named,
    unlogged_beginning,
)
from forkpoint.parsers.base import Tree
from forkpoint.parsers.chat import Segment, content_segments, extend_all, kind_of
from forkpoint.parsers.document import read_document
from forkpoint.parsers.logs import BAD_RECORD, Head, Line, Log
from forkpoint.parsers.raw_json import decode
from forkpoint.parsers.records import Call, Issue, Kind, Record, Tokens, Trace, Usage

_SETTINGS = re.compile(r"\.settings\.json(\.bak)?(\.gz|\.zst)?$")
_LONG_SETTINGS = re.compile(
    rb'"tokenUsage"\s*+:\s*+\{\s*+"(?:input|output|cache|thinking)\w{0,20}"'
)


class _Counts(msgspec.Struct, rename="camel"):
    input_tokens: Tokens | None = None
    output_tokens: Tokens | None = None
    cache_creation_tokens: Tokens | None = None
    cache_read_tokens: Tokens | None = None
    thinking_tokens: Tokens | None = None
    total_tokens: Tokens | None = None

    def usage(self, model: str | None) -> Usage | None:
        """The sum over the session.

        Raises:
            ValueError: the counts contradict each other.
        """
        output, thoughts = self.output_tokens or 0, self.thinking_tokens or 0
        given = self.input_tokens or 0
        cached = (self.cache_read_tokens or 0) + (self.cache_creation_tokens or 0)
        beside = thoughts if thoughts > output or "gemini" in (model or "").lower() else 0
        outside = cached
        for choice in product((beside, thoughts - beside), (cached, 0)):
            if self.total_tokens == given + output + sum(choice):
                beside, outside = choice
                break
        uncached = self.input_tokens
        if outside == 0 and uncached is not None:
            uncached = max(given - cached, 0)
        return disjoint_usage(
            uncached=uncached,
            cache_read=self.cache_read_tokens,
            cache_write=self.cache_creation_tokens,
            output=self.output_tokens if self.output_tokens is None else output + beside,
            reasoning=self.thinking_tokens,
        )


class _Settings(msgspec.Struct, rename="camel"):
    model: str | None = None
    provider_lock: str | None = None
    provider_lock_timestamp: str | float | None = None
    token_usage: _Counts | None = None


class _Message(msgspec.Struct):
    role: str
    content: msgspec.Raw = msgspec.Raw()


class _Line(msgspec.Struct, rename="camel"):
    type: str
    id: str | None = None
    parent_id: str | None = None
    message: msgspec.Raw = msgspec.Raw()
    title: str | None = None
    session_title: str | None = None
    cwd: str | None = None
    calling_session_id: str | None = None
    summary_text: str | None = None


class _Type(msgspec.Struct):
    type: str = ""


_SETTINGS_DECODER = msgspec.json.Decoder(_Settings)
_LINE = msgspec.json.Decoder(_Line)
_TYPE = msgspec.json.Decoder(_Type)
_MESSAGE = msgspec.json.Decoder(_Message)
_TYPES = frozenset(("session_start", "message", "compaction_state"))
_START = frozenset(("cwd", "title", "sessionTitle", "owner"))


class Droid:
    """Reads sessions of Factory's Droid; see the module's docstring."""

    name: ClassVar[str] = "droid"
    title: ClassVar[str] = "Factory Droid"
    checked: ClassVar[str] = "from documentation, 2026-11"
    evidence: ClassVar[tuple[str, ...]] = ("usage", "text", "timestamps")
    locations: ClassVar[tuple[str, ...]] = ("~/.factory/sessions",)
    whole_prompts: ClassVar[bool] = False
    grows: ClassVar[bool] = False

    def identify(self, head: Head) -> str | None:
        """Why the file is of this format, or ``None``."""
        document = head.document
        if isinstance(document, dict) and "type" not in document:
            usage = document.get("tokenUsage")
            if isinstance(usage, dict) and {"inputTokens", "outputTokens"} & usage.keys():
                return "session settings with tokenUsage"
        elif document is None and _SETTINGS.search(head.path.name):
            return "session settings with tokenUsage" if _LONG_SETTINGS.search(head.data) else None
        first = head.objects[0] if head.objects else {}
        if first.get("type") == "session_start" and "id" in first and not _START.isdisjoint(first):
            return "a session_start line"
        return None

    def parse(self, log: Log, tree: Tree) -> Iterator[Record]:
        """Yield a session's trace, and from its settings the sum of its calls."""
        first = next(log.lines(), None)
        if isinstance(first, Line) and _is_conversation(first):
            yield from _read_conversation(log, tree)
        else:
            yield from _read_settings(log, tree)


def _is_conversation(first: Line) -> bool:
    try:
        return decode(first.data, _TYPE).type != ""
    except BAD_RECORD:
        # A line that is damaged or still being written; settings are printed over many lines.
        return first.data.lstrip().startswith(b'{"type"')


def _read_settings(log: Log, tree: Tree) -> Iterator[Record]:
    place = read_document(log)
    if isinstance(place, Issue):
        yield place
        return
    session = _SETTINGS.sub("", log.path.name)
    try:
        settings = decode(place.data, _SETTINGS_DECODER, "settings")
        counts = settings.token_usage or _Counts()
        usage = counts.usage(settings.model)
        started = _time(settings.provider_lock_timestamp)
    except BAD_RECORD as error:
        yield place.issue(error)
        return
    yield Trace(id=session, agent="Droid")
    if usage is not None:
        yield Call(
            identity=("", f"droid:{session}"),
            trace=session,
            line=1,
            offset=0,
            prompt=unlogged_beginning(tree, "droid", "all calls"),
            started_at=started,
            provider=provider_named(settings.provider_lock),
            model=_model(settings.model),
            usage=usage,
            is_sum=True,
        )


def _time(value: str | float | None) -> datetime | None:
    if isinstance(value, str):
        return datetime.fromisoformat(value)
    return moment(value)


def _model(name: str | None) -> str | None:
    """A model's name without what marks it as the user's own."""
    if name is None:
        return None
    return re.sub(r"-?\[[^\]]*\]", "", name.removeprefix("custom:")).strip() or None


def _read_conversation(log: Log, tree: Tree) -> Iterator[Record]:
    trace = Trace(id=log.path.name.partition(".jsonl")[0], agent="Droid")
    node = unlogged_beginning(tree, "droid", "conversation")
    seen: set[str] = set()
    for line in log.lines():
        if isinstance(line, Issue):
            yield line
            continue
        try:
            record = _line(line.data)
            segments = _segments(record)
        except BAD_RECORD as error:
            yield line.issue(error)
            continue
        if record.id is not None and record.id in seen:
            continue
        if record.id is not None:
            seen.add(record.id)
        if record.type == "session_start":
            trace = Trace(
                id=record.id or trace.id,
                parent=record.calling_session_id,
                project=record.cwd,
                agent="Droid",
                title=record.session_title or record.title,
            )
        node = extend_all(tree, node, segments)
    yield msgspec.structs.replace(trace, leaf=node)


def _line(data: bytes) -> _Line:
    """One line. Of types without content, any field may differ.

    Raises:
        ValueError, RecursionError: it cannot be read.
    """
    try:
        return decode(data, _LINE)
    except ValueError:
        kind = decode(data, _TYPE).type
        if not kind or kind in _TYPES:
            raise
        return _Line(kind)


def _segments(record: _Line) -> list[Segment]:
    if record.type == "message":
        message = decode(record.message, _MESSAGE, "message")
        return content_segments(message.content, kind_of(message.role), message.role)
    if record.type == "compaction_state" and record.summary_text:
        return [Segment(Kind.TEXT, "user", record.summary_text)]
    return []

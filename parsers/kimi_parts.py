"""What both dialects of Kimi's ``wire.jsonl`` have in common: agents, calls and content parts."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

import msgspec

from forkpoint.parsers.chat import Segment, content_segments
from forkpoint.parsers.logs import Line
from forkpoint.parsers.raw_json import decode, decode_list, is_list
from forkpoint.parsers.records import Call, Kind, Trace, Usage

_WORLD_WIDE = 16
"""Ids of this length are random; shorter ones are numbered within a session."""


class Agent(NamedTuple):
    """The session, or one agent of it."""

    trace_id: str
    parent: str | None

    def trace(self, project: str | None = None) -> Trace:
        """The agent's trace."""
        return Trace(id=self.trace_id, parent=self.parent, project=project, agent="Kimi")


class OpenCall(msgspec.Struct):
    """A call of which more may become known: its usage, its model."""

    key: str
    line: Line
    prompt: int
    completion: int | None
    started_at: datetime | None
    duration_s: float | None = None
    model: str | None = None
    provider: str | None = None
    usage: Usage | None = None

    def count(self, usage: Usage | None) -> None:
        """Take over what was counted; of several counts of one call the largest is the last."""
        before = (self.usage and self.usage.output_tokens) or 0
        if usage is not None and (usage.output_tokens or 0) >= before:
            self.usage = usage

    def call(self, agent: Agent) -> Call:
        """What is known in the end."""
        return Call(
            # A fork of a session has its messages, with their ids.
            identity=("" if len(self.key) >= _WORLD_WIDE else agent.trace_id, self.key),
            trace=agent.trace_id,
            line=self.line.line,
            offset=self.line.offset,
            prompt=self.prompt,
            completion=self.completion,
            started_at=self.started_at,
            duration_s=self.duration_s,
            provider=self.provider,
            model=self.model,
            usage=self.usage,
            sidechain=agent.parent is not None,
        )


class _Part(msgspec.Struct):
    type: str | None = None
    text: str | None = None
    think: str | None = None


_PART = msgspec.json.Decoder(_Part)


def part_segments(raw: msgspec.Raw, kind: Kind, role: str) -> list[Segment]:
    """A text, a part or a list of parts as segments. All but thoughts have OpenAI's shape.

    Raises:
        ValueError: it is none of these.
    """
    if is_list(raw):
        parts = decode_list(raw, "content")
        return [segment for part in parts for segment in part_segments(part, kind, role)]
    if raw and bytes(raw)[:1] == b"{":
        part = decode(raw, _PART, "content")
        if part.type == "text" and part.text is not None:
            return [Segment(kind, role, part.text)]
        if part.type == "think":
            return [Segment(Kind.THINKING, role, part.think or "")]
        raw = msgspec.Raw(b"[%b]" % bytes(raw))
    return content_segments(raw, kind, role)


def joined(segments: list[Segment]) -> list[Segment]:
    """Segments with neighbours of one kind made one: texts may be logged in the pieces they came in."""
    found: list[Segment] = []
    for segment in segments:
        if found and found[-1][:2] == segment[:2] and segment.kind in (Kind.TEXT, Kind.THINKING):
            found[-1] = segment._replace(text=found[-1].text + segment.text)
        else:
            found.append(segment)
    return found

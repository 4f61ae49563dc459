"""Spans that describe one model call twice, merged.

A framework's span stands around the one of the SDK it calls, that one perhaps around a gateway's; a
span may be exported twice, and a log event may repeat what its span says. Two records are one call if

1. they have the same response id, or are of the same span;
2. one is an ancestor of the other and a framework's or an agent's: its counts are those of all calls
   within it, so it is none itself. If it is a call, too, they are one where their times nest and their
   token counts are equal, or one of them has no counts;
3. no parent ids tell, but their times nest and their counts are equal: in one OpenTelemetry trace if
   two instrumentations wrote them, in different traces if they also log the same conversation.

The innermost record is kept, for it is nearest to the provider, with what only the others know.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from forkpoint.parsers.span_facts import Counts, Facts, Layer

SpanKey = tuple[str, str]
"""OTLP trace id and span id."""

MAX_DEPTH = 256
"""Ancestors looked at; ids that point in a circle end there."""
_CLOCK_NS = 1_000_000
"""Clocks of a millisecond's resolution may put a child's end after its parent's."""


class SpanNode(NamedTuple):
    """What is remembered of every span, whether it is a call or not."""

    parent: SpanKey | None
    layer: Layer
    conversation: str | None


Ancestry = dict[SpanKey, SpanNode]


@dataclass(slots=True)
class SpanCall:
    """A record that describes a model call."""

    line: int
    offset: int
    key: SpanKey | None
    trace: str | None
    """OTLP trace id."""
    parent: SpanKey | None
    name: str
    facts: Facts
    start_ns: int | None
    end_ns: int | None
    prompt: int
    """Node where the prompt ends."""
    logged: bool
    """Whether `prompt` holds messages; else it is a stand-in."""
    completions: list[int] = field(default_factory=list)
    """Nodes where the choices end."""
    is_event: bool = False
    conversation: str | None = None
    agent: str | None = None
    project: str | None = None
    merged: bool = False
    """Another record of the same call is kept instead."""

    @property
    def totals(self) -> tuple[int, int] | None:
        """Input and output tokens; ``None`` if nothing was counted."""
        counts = self.facts.counts
        return (counts.input or 0, counts.output or 0) if counts.known else None

    @property
    def wraps(self) -> bool:
        """Whether its counts may be those of several calls within it."""
        return self.facts.layer in (Layer.WRAPPER, Layer.AGENT)


def merge_layers(calls: list[SpanCall], ancestry: Ancestry) -> tuple[list[SpanCall], int]:
    """Merge records of one call.

    Args:
        calls: in the order of the file; those that are kept are completed from the others.

    Returns:
        The calls that are left, in the order of the file, and how many spans were merged into them
        or dropped because the calls within them count.
    """
    _merge_by_id(calls)
    _merge_nested(calls, ancestry)
    _merge_by_time(calls)
    kept = [call for call in calls if not call.merged]
    n_merged = sum(call.merged and not call.is_event for call in calls)
    return sorted(kept, key=lambda call: (call.line, call.offset)), n_merged


def _absorb(kept: SpanCall, other: SpanCall) -> None:
    """Mark `other` as merged into `kept`, which takes over what it lacks."""
    other.merged = True
    kept.line, kept.offset = min((kept.line, kept.offset), (other.line, other.offset))
    if other.logged and not kept.logged:
        kept.prompt, kept.logged, kept.completions = other.prompt, True, other.completions
    elif not kept.completions and other.prompt == kept.prompt:
        kept.completions = other.completions
    kept.conversation = kept.conversation or other.conversation
    kept.agent = kept.agent or other.agent
    if kept.is_event and not other.is_event:
        kept.key, kept.parent, kept.trace = other.key, other.parent, other.trace
        kept.is_event, other.is_event = False, True
    if kept.start_ns is None:
        kept.start_ns, kept.end_ns = other.start_ns, other.end_ns
    _complete_facts(kept.facts, other.facts)


def _complete_facts(kept: Facts, other: Facts) -> None:
    if not kept.counts.known or _adds_detail(other.counts, kept.counts):
        kept.counts = other.counts
    for name in ("response_id", "provider", "model", "cost_usd", "service_tier", "subagent"):
        if getattr(kept, name) is None:
            setattr(kept, name, getattr(other, name))


def _adds_detail(other: Counts, kept: Counts) -> bool:
    """Whether counts are the same ones, and say how much of them a cache gave."""
    same = (other.input, other.output) == (kept.input, kept.output)
    return same and kept.cache_read is None and other.cache_read is not None


# ---- 1. The same ids ------------------------------------------------------------------------------


def _merge_by_id(calls: list[SpanCall]) -> None:
    seen: dict[object, SpanCall] = {}
    for call in calls:
        keys = [key for key in (call.facts.response_id, call.key) if key is not None]
        first = next((seen[key] for key in keys if key in seen), None)
        if first is None or _conflict(first, call):
            kept = call
        else:
            kept, other = (call, first) if _is_inner(call, first) else (first, call)
            _absorb(kept, other)
            keys += [key for key in (other.facts.response_id, other.key) if key is not None]
        for key in keys:
            seen[key] = kept


def _conflict(one: SpanCall, other: SpanCall) -> bool:
    ids = one.facts.response_id, other.facts.response_id
    return None not in ids and ids[0] != ids[1]


def _is_inner(one: SpanCall, other: SpanCall) -> bool:
    """Which of two records of a call is nearer to the provider."""
    if one.wraps != other.wraps:
        return other.wraps
    if one.is_event != other.is_event:
        return other.is_event
    if one.logged != other.logged:
        return one.logged
    return one.key != other.key and _nests(other, one) and not _nests(one, other)


# ---- 2. Ancestors ---------------------------------------------------------------------------------


def _merge_nested(calls: list[SpanCall], ancestry: Ancestry) -> None:
    by_key = {call.key: call for call in calls if call.key is not None and not call.merged}
    inner: dict[SpanKey, list[SpanCall]] = {}
    outer_of: dict[SpanKey, SpanKey] = {}
    for own, call in by_key.items():
        for key in ancestors(call, ancestry):
            if key in by_key and key != own:
                inner.setdefault(key, []).append(call)
                outer_of[own] = key
                break
    # From the outermost inwards, so that what an outer one knows gets to the one that is kept.
    for key in sorted(inner, key=lambda key: _depth(key, outer_of)):
        outer = by_key[key]
        if outer.wraps:
            _drop_wrapper(outer, inner[key])
        else:
            _merge_calls(outer, [each for each in inner[key] if not each.wraps])


def _depth(key: SpanKey | None, outer_of: dict[SpanKey, SpanKey]) -> int:
    """How many records of calls stand around one."""
    depth = 0
    while depth < MAX_DEPTH and key is not None and (key := outer_of.get(key)) is not None:
        depth += 1
    return depth


def _drop_wrapper(outer: SpanCall, within: list[SpanCall]) -> None:
    if all(each.merged for each in within):
        return  # Parents in a circle.
    if len(within) == 1 and outer.totals in (None, within[0].totals):
        _absorb(within[0], outer)
    outer.merged = True


def _merge_calls(outer: SpanCall, within: list[SpanCall]) -> None:
    for call in within:
        nested = None in (outer.start_ns, call.start_ns) or _nests(outer, call)
        if call.merged or not nested or _conflict(outer, call):
            continue
        uncounted = len(within) == 1 and None in (outer.totals, call.totals)
        if uncounted or (outer.totals == call.totals and outer.totals is not None):
            _absorb(call, outer)
            return


def ancestors(call: SpanCall, ancestry: Ancestry) -> Iterator[SpanKey]:
    """The spans around a call, from the inside, as far as they are known."""
    key = call.parent
    for _ in range(MAX_DEPTH):
        if key is None:
            return
        yield key
        node = ancestry.get(key)
        key = None if node is None else node.parent


# ---- 3. Times and counts --------------------------------------------------------------------------


def _merge_by_time(calls: list[SpanCall]) -> None:
    alike: dict[tuple[int, int], list[SpanCall]] = {}
    for call in calls:
        if not call.merged and not call.is_event and call.totals and call.start_ns is not None:
            alike.setdefault(call.totals, []).append(call)
    for group in alike.values():
        if len(group) > 1:
            _merge_alike(group)


def _merge_alike(group: list[SpanCall]) -> None:
    """Merge calls with equal counts whose times nest. Each takes in at most one other."""
    group.sort(key=lambda call: (call.start_ns or 0, -(call.end_ns or 0), call.line))
    open_: list[SpanCall] = []
    for call in group:
        now = (call.start_ns or 0) - _CLOCK_NS
        open_ = [each for each in open_[-MAX_DEPTH:] if (each.end_ns or 0) >= now]
        for outer in reversed(open_):
            if not outer.merged and _is_one_call(outer, call):
                _absorb(*((outer, call) if call.wraps and not outer.wraps else (call, outer)))
                break
        if not call.merged:
            open_.append(call)


def _is_one_call(outer: SpanCall, inner: SpanCall) -> bool:
    if not _nests(outer, inner) or _conflict(outer, inner):
        return False
    if inner.wraps and outer.wraps:
        return False
    same_talk = bool(outer.completions) and outer.completions == inner.completions
    if outer.trace != inner.trace:
        # Without parents in common, only a framework's span and what it says can tell.
        return outer.wraps and inner.parent is None and same_talk
    scopes = outer.facts.emitter[0], inner.facts.emitter[0]
    if None not in scopes and scopes[0] != scopes[1]:
        return True
    silent = not (outer.completions and inner.completions)
    return outer.name != inner.name and (same_talk or silent)


def _nests(outer: SpanCall, inner: SpanCall) -> bool:
    """Whether one's time contains the other's."""
    if outer.start_ns is None or inner.start_ns is None:
        return False
    ends = (outer.end_ns or outer.start_ns, inner.end_ns or inner.start_ns)
    return (
        outer.start_ns <= inner.start_ns + _CLOCK_NS
        and inner.start_ns <= ends[0]
        and (ends[1] <= ends[0] + _CLOCK_NS)
    )

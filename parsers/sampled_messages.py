"""Rollouts logged as messages: each assistant message is a call, its prompt all that stands before."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from forkpoint.parsers.base import ROOT, Tree
from forkpoint.parsers.chat import extend_all, message_segments
from forkpoint.parsers.logs import Line
from forkpoint.parsers.raw_json import decode
from forkpoint.parsers.records import Call, Trace


class _Role(msgspec.Struct):
    role: str


_ROLE = msgspec.json.Decoder(_Role)


def role_of(message: msgspec.Raw) -> str:
    """Who wrote a message. Raises ValueError: it does not say."""
    return decode(message, _ROLE, "message").role


def conversation_records(
    tree: Tree,
    messages: Iterable[msgspec.Raw],
    trace: Trace,
    place: Line,
    *,
    n_given: int = 0,
    turn: str = "",
) -> tuple[Trace, *tuple[Call, ...]]:
    """A rollout with its leaf, then a call for each message that the model wrote.

    Args:
        n_given: the first messages are the prompt, whoever wrote them.
        turn: begins the calls' names, where the trace has several conversations.

    Raises:
        ValueError: a message cannot be read.
    """
    calls: list[Call] = []
    node = ROOT
    for number, message in enumerate(messages):
        before, node = node, extend_all(tree, node, message_segments(message))
        if number >= n_given and role_of(message) == "assistant":
            call = Call(
                identity=(trace.id, f"{turn}{number}"),
                trace=trace.id,
                line=place.line,
                offset=place.offset,
                prompt=before,
                completion=node,
            )
            calls.append(call)
    return msgspec.structs.replace(trace, leaf=None if node == ROOT else node), *calls

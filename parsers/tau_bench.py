"""tau-bench results: one JSON list of episodes, each a customer-service dialogue with a reward.

Element: ``{"task_id": int, "reward": float, "info": {…}, "traj": [message, …], "trial": int}``
(github.com/sierra-research/tau-bench, `historical_trajectories`). Messages have the shape of OpenAI
chat. What to know about these results:

- Each assistant message is one call of the agent; what stands before it is its prompt. User
  messages come from a simulator, whose own calls are not logged here.
- Trials of one task are rollouts of one prompt: a group.
- Tool-call ids are random, so they are left out of the tree: two trials that make the same call
  would seem to fork there. The call's name and arguments are what the model wrote, and arguments
  are compared without the white space between their parts.
- The tool definitions that went with each request, token counts, times and the model are not
  logged. Prompts are whole but for those definitions.
- The file is rewritten after each episode, and an episode that failed has an empty `traj`.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, ClassVar

import msgspec

from forkpoint.parsers.base import ROOT, Tree
from forkpoint.parsers.chat import call_segment
from forkpoint.parsers.document import open_document
from forkpoint.parsers.json_list import elements
from forkpoint.parsers.logs import (
    BAD_RECORD,
    Head,
    Line,
    Log,
    data_set_name,
    decode_json,
    read_each,
)
from forkpoint.parsers.records import Call, Issue, Kind, Record, Trace

_BEGINNING = re.compile(
    rb'\s*+\[\s*+\{\s*+"task_id"\s*+:\s*+(?:-?\d++|"(?:[^"\\]|\\.)*+")\s*+,'
    rb'(?:\s*+"trial"\s*+:\s*+\d++\s*+,)?+\s*+"(?:reward|info|traj)"\s*+:',
    re.DOTALL,
)


class _Function(msgspec.Struct):
    name: str
    arguments: str | dict[str, Any] | None = None


class _ToolCall(msgspec.Struct):
    function: _Function


class _Message(msgspec.Struct):
    role: str
    content: str | None = None
    tool_calls: list[_ToolCall] | None = None


class _Episode(msgspec.Struct):
    task_id: int | str
    traj: list[_Message]
    trial: int | str | None = None
    reward: float | None = None


_KINDS = {"system": Kind.SYSTEM, "tool": Kind.TOOL_RESULT}

_LIST_DECODER = msgspec.json.Decoder(list[msgspec.Raw])
_ANY_LIST_DECODER = msgspec.json.Decoder(list[Any])
_EPISODE_DECODER = msgspec.json.Decoder(_Episode)


class TauBench:
    """Reads tau-bench result files; see the module's docstring."""

    name: ClassVar[str] = "tau-bench"
    title: ClassVar[str] = "tau-bench results"
    checked: ClassVar[str] = "tau-bench 59a200c, 2026-11"
    evidence: ClassVar[tuple[str, ...]] = ("text", "rewards")
    locations: ClassVar[tuple[str, ...]] = ()
    whole_prompts: ClassVar[bool] = True
    grows: ClassVar[bool] = False

    def identify(self, head: Head) -> str | None:
        """Why the file is of this format, or ``None``."""
        if _BEGINNING.match(head.data):
            return "a list whose elements begin with task_id and a reward, info or traj"
        return None

    def parse(self, log: Log, tree: Tree) -> Iterator[Record]:
        """Yield one rollout an episode, and one call an assistant message."""
        opened = open_document(log, _elements)
        if isinstance(opened, Issue):
            yield opened
            return
        document, episodes = opened
        scope = hashlib.sha256(document.data).hexdigest()[:16]
        data_set = data_set_name(log.path)
        seen: Counter[str] = Counter()

        def read(place: Line) -> list[Record]:
            episode = decode_json(place.data, _EPISODE_DECODER, _Episode)
            return _records(episode, _trace_id(episode, scope, seen), data_set, place, tree)

        yield from read_each(episodes, read)


def _elements(document: bytes) -> Iterable[Line]:
    """The list's elements, each with its place.

    Raises:
        ValueError, RecursionError: the document is cut short, or is no list.
    """
    try:
        return elements(document, _LIST_DECODER.decode(document))
    except msgspec.ValidationError:
        raise
    except msgspec.DecodeError:
        # What strict JSON forbids, standing in one element, must not cost the others.
        values = decode_json(document, _ANY_LIST_DECODER, list[Any])
        return [Line(json.dumps(value).encode(), n, 0) for n, value in enumerate(values, 1)]


def _trace_id(episode: _Episode, scope: str, seen: Counter[str]) -> str:
    trace_id = f"{scope}/{episode.task_id}"
    if episode.trial is not None:
        trace_id += f"/{episode.trial}"
    seen[trace_id] += 1
    # Results of several runs may be joined into one list, each counting its trials from 0.
    return trace_id if seen[trace_id] == 1 else f"{trace_id}#{seen[trace_id]}"


def _records(
    episode: _Episode, trace_id: str, data_set: str, place: Line, tree: Tree
) -> list[Record]:
    calls: list[Record] = []
    node = ROOT
    for index, message in enumerate(episode.traj):
        before, node = node, _extend(tree, node, message)
        if message.role == "assistant":
            call = Call(
                identity=(trace_id, str(index)),
                trace=trace_id,
                line=place.line,
                offset=place.offset,
                prompt=before,
                completion=node,
            )
            calls.append(call)
    trace = Trace(
        id=trace_id,
        project=data_set,
        group=f"{data_set}/{episode.task_id}",
        reward=episode.reward,
        leaf=None if node == ROOT else node,
    )
    return [trace, *calls]


def _extend(tree: Tree, node: int, message: _Message) -> int:
    """Append one message's segments: its text, then its tool calls."""
    role = message.role
    kind = _KINDS.get(role, Kind.TEXT)
    if message.content:
        node = tree.extend(node, kind, role, message.content)
    for tool_call in message.tool_calls or ():
        name, arguments = tool_call.function.name, _compact(tool_call.function.arguments)
        node = tree.extend(node, *call_segment(role, name, arguments))
    return node


def _compact(arguments: str | dict[str, Any] | None) -> str:
    """Arguments as JSON without white space, in the order written; what is no JSON, as it is."""
    if arguments is None:
        return ""
    if isinstance(arguments, str):
        try:
            return msgspec.json.format(arguments, indent=-1)
        except BAD_RECORD:
            return arguments  # A model may write broken JSON; its words are then the arguments.
    return json.dumps(arguments, ensure_ascii=False, separators=(",", ":"))

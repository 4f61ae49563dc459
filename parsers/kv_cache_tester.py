"""kv-cache-tester traces: one coding session a file, its prompts as the ids of their KV blocks.

Document: ``{"id": "trace_0051", "models": […], "block_size": 64, "hash_id_scope": "local",
"requests": [request, …]}``; a request: ``{"t": s, "type": "n" | "s", "model": …, "in": tokens,
"out": tokens, "hash_ids": [id, …], "api_time": s, …}``, or a subagent with requests of its own:
``{"t": s, "type": "subagent", "agent_id": …, "requests": […]}``
(github.com/callanjfox/kv-cache-tester). What to know about these traces:

- There are floor(`in` / `block_size`) ids: the tokens after the last whole block are in the usage,
  not in the tree.
- Ids mean nothing in another file, but a session's subagents share its ids. The scope of ids is the
  file, named by its content; a copy of a file holds the same calls.
- `t` counts seconds from the start of the session; within a subagent, from the subagent's own
  start. Both become times in 1970: good for order and distance, not as a date. A subagent runs
  while its caller waits or goes on, so the file is not in the order of time.
- `type` tells streamed calls ("s") from others ("n"); ``"n"`` and ``"s"`` are one and the same here.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, TypeVar

import msgspec

from forkpoint.parsers.base import Tree
from forkpoint.parsers.document import open_document
from forkpoint.parsers.hashed_blocks import BlockSize, block_prompt, check_length
from forkpoint.parsers.local_clock import from_epoch
from forkpoint.parsers.logs import BAD_RECORD, Head, Line, Log, decode_json
from forkpoint.parsers.records import Call, Issue, Record, Tokens, Trace, Usage

T = TypeVar("T")

_MAX_SECONDS = 253_402_300_799
_Seconds = Annotated[float, msgspec.Meta(ge=0, le=_MAX_SECONDS)]
_SUBAGENT = "subagent"

_BEGINNING = re.compile(
    rb'\s*+\{(?=[^{]*?"hash_id_scope"\s*+:)(?=[^{]*?"block_size"\s*+:)'
    rb'(?:\s*+"(?!requests")\w++"\s*+:\s*+(?:"(?:[^"\\]|\\.)*+"|[-+.\w]++|\[[^\[\]{}]*+\])\s*+,)*+'
    rb'\s*+"requests"\s*+:\s*+\[',
    re.DOTALL,
)


class _Session(msgspec.Struct):
    requests: list[msgspec.Raw]
    block_size: BlockSize
    id: str | None = None


class _LenientSession(msgspec.Struct):
    requests: list[Any]
    block_size: BlockSize
    id: str | None = None


class _Kind(msgspec.Struct):
    type: str = ""


class _Request(msgspec.Struct, rename={"input_tokens": "in", "output_tokens": "out"}):
    input_tokens: Tokens
    hash_ids: list[int | str]
    output_tokens: Tokens | None = None
    t: _Seconds | None = None
    model: str | None = None
    api_time: _Seconds | None = None


class _Subagent(msgspec.Struct):
    requests: list[msgspec.Raw]
    agent_id: str | int | None = None
    subagent_type: str | None = None
    t: _Seconds | None = None


class _LenientSubagent(msgspec.Struct):
    requests: list[Any]
    agent_id: str | int | None = None
    subagent_type: str | None = None
    t: _Seconds | None = None


_SESSION_DECODER = msgspec.json.Decoder(_Session)
_LENIENT_SESSION_DECODER = msgspec.json.Decoder(_LenientSession)
_KIND_DECODER = msgspec.json.Decoder(_Kind)
_REQUEST_DECODER = msgspec.json.Decoder(_Request)
_SUBAGENT_DECODER = msgspec.json.Decoder(_Subagent)


class KvCacheTester:
    """Reads kv-cache-tester session files; see the module's docstring."""

    name: ClassVar[str] = "kv-cache-tester"
    title: ClassVar[str] = "kv-cache-tester trace"
    checked: ClassVar[str] = "kv-cache-tester 94f6046, 2026-11"
    evidence: ClassVar[tuple[str, ...]] = ("usage", "hashed blocks", "timestamps")
    locations: ClassVar[tuple[str, ...]] = ()
    whole_prompts: ClassVar[bool] = True
    grows: ClassVar[bool] = False

    def identify(self, head: Head) -> str | None:
        """Why the file is of this format, or ``None``."""
        if _BEGINNING.match(head.data):
            return "a document with a block_size, a hash_id_scope and a list of requests"
        return None

    def parse(self, log: Log, tree: Tree) -> Iterator[Record]:
        """Yield one trace for the session and one for each subagent, and their calls."""
        opened = open_document(log, _session)
        if isinstance(opened, Issue):
            yield opened
            return
        document, session = opened
        scope = hashlib.sha256(document.data).hexdigest()[:16]
        reader = _Reader(document.data, scope, session, tree)
        project = session.id or log.path.name.partition(".json")[0]
        yield Trace(id=reader.scope, project=project)
        yield from reader.records(project)


def _session(document: bytes) -> _Session | _LenientSession:
    """The session, its requests still to be decoded.

    Raises:
        ValueError, RecursionError: the document is cut short, or is no session.
    """
    try:
        return _SESSION_DECODER.decode(document)
    except msgspec.ValidationError:
        raise
    except msgspec.DecodeError:
        # What strict JSON forbids, standing in one request, must not cost the others.
        return decode_json(document, _LENIENT_SESSION_DECODER, _LenientSession)


@dataclass
class _Agent:
    """A session or a subagent, with the requests that are still to be read, last one first."""

    trace: str
    starts_at: float | None
    """Seconds from the start of the session; ``None``: the log does not say."""
    left: list[Any]
    sidechain: bool


@dataclass
class _Reader:
    document: bytes
    scope: str
    session: _Session | _LenientSession
    tree: Tree
    place: Line = field(default_factory=lambda: Line(b"", 0, 0))
    """Of the record being read: its number in the file, subagents' requests counted in."""
    subagents: int = 0

    def records(self, project: str) -> Iterator[Record]:
        self.place.offset = max(self.document.find(b'"requests"'), 0)
        agents = [_Agent(self.scope, 0.0, self.session.requests[::-1], False)]
        while agents:
            agent = agents[-1]
            if not agent.left:
                agents.pop()
                continue
            element = agent.left.pop()
            self._go_to(element)
            try:
                if _decoded(element, _KIND_DECODER, _Kind).type == _SUBAGENT:
                    inner, trace = self._subagent(element, agent, project)
                    agents.append(inner)
                    yield trace
                else:
                    yield self._call(element, agent)
            except BAD_RECORD as error:
                yield self.place.issue(error)

    def _go_to(self, element: Any) -> None:
        self.place.line += 1
        if isinstance(element, msgspec.Raw):
            # A record is looked for where the one before it begins: a subagent's requests are in it.
            self.place.offset = self.document.index(bytes(element), self.place.offset)

    def _subagent(self, element: Any, caller: _Agent, project: str) -> tuple[_Agent, Trace]:
        found: _Subagent | _LenientSubagent
        if isinstance(element, msgspec.Raw):
            found = _SUBAGENT_DECODER.decode(element)
        else:
            found = msgspec.convert(element, _LenientSubagent)
        starts_at = _sum(caller.starts_at, found.t)
        self.subagents += 1
        # Numbered too, as nothing says that an agent's id is used once.
        trace = f"{self.scope}/{self.subagents}/{found.agent_id or found.subagent_type or ''}"
        agent = _Agent(trace, starts_at, found.requests[::-1], True)
        return agent, Trace(
            id=trace, parent=caller.trace, project=project, title=found.subagent_type
        )

    def _call(self, element: Any, agent: _Agent) -> Call:
        request = _decoded(element, _REQUEST_DECODER, _Request)
        size, ids, n_tokens = self.session.block_size, request.hash_ids, request.input_tokens
        check_length(n_tokens, len(ids), size, "in")
        started_at = from_epoch(_sum(agent.starts_at, request.t))
        return Call(
            identity=(self.scope, str(self.place.line)),
            trace=agent.trace,
            line=self.place.line,
            offset=self.place.offset,
            prompt=block_prompt(self.tree, self.scope, ids, size, n_tokens),
            started_at=started_at,
            duration_s=request.api_time,
            # No model: a price for it would make recorded lengths look like a bill.
            usage=Usage(input_tokens=n_tokens, output_tokens=request.output_tokens),
            sidechain=agent.sidechain,
        )


def _decoded(element: Any, decoder: msgspec.json.Decoder[T], type_: type[T]) -> T:
    if isinstance(element, msgspec.Raw):
        return decoder.decode(element)
    return msgspec.convert(element, type_)


def _sum(start: float | None, seconds: float | None) -> float | None:
    if start is None or seconds is None:
        return None
    if start + seconds > _MAX_SECONDS:
        raise ValueError("a time after the year 9999")
    return start + seconds

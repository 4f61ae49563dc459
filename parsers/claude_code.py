"""Claude Code session logs: ``projects/<project>/<session>.jsonl`` and ``subagents/agent-*.jsonl``.

One JSON object per line. Lines form a chain through ``uuid`` and ``parentUuid``; ``user`` and
``assistant`` lines carry messages, many other types carry none. The quirks this module answers:

- One response stands on several lines, one per content block. They share ``message.id``; input and
  cache counts repeat, ``output_tokens`` grows, and the line with the most is the true one.
- A resumed session copies its history into a new file under a new session id, and a second
  compaction appends old lines again, so calls are identified by ``message.id`` (and ``requestId``
  where it is logged) and lines by ``uuid``.
- Results of parallel tool calls hang off the chain beside the next message, so a line with several
  children is a rewind only if something other than that response and its results follows it.
- Lines come late: a tool result can stand before the call it answers, and a line that cannot be
  read leaves its children without a parent. Both go on with the newest chain.
- Compaction begins a new prompt, from its summary on. Messages it keeps are not logged again, but
  the next line may hang off the last of them: it too goes on from the summary.
- Subagent calls may stand in ``progress`` lines only, as whole lines inside ``data``, which may
  state no parent: each goes on with its agent's.
- The system prompt and the tool definitions are not logged: each chain begins with an ``unlogged``
  segment, equal for sessions of one version in one folder.
- Ids of tool calls are random, so they are no part of a segment: blocks become the segments that
  `chat` makes of them, and a conversation grows the same tree as in a log of API calls.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import datetime
from typing import Any, ClassVar, TypeVar

import msgspec

from forkpoint.parsers.base import ROOT, Reread, Tree
from forkpoint.parsers.chat import Segment, call_segment, extend_all
from forkpoint.parsers.logs import BAD_RECORD, Head, Line, Log, decode_json
from forkpoint.parsers.qwen_code import is_qwen_line
from forkpoint.parsers.raw_json import canonical_value
from forkpoint.parsers.records import Call, Issue, Kind, Record, Tokens, Trace, Usage

T = TypeVar("T")

_MESSAGE_TYPES = frozenset({"user", "assistant"})
_LINE_TYPES = _MESSAGE_TYPES | {"progress"}
_CALL_BLOCKS = frozenset({"tool_use", "server_tool_use", "mcp_tool_use"})
_MEDIA_BLOCKS = frozenset({"image", "document"})
_REMEMBERED_LINES = 64
_REMEMBERED_CALLS = 16


class _CacheCreation(msgspec.Struct):
    ephemeral_1h_input_tokens: Tokens | None = None
    ephemeral_5m_input_tokens: Tokens | None = None


class _Usage(msgspec.Struct):
    input_tokens: Tokens | None = None
    cache_creation_input_tokens: Tokens | None = None
    cache_read_input_tokens: Tokens | None = None
    cache_creation: _CacheCreation | None = None
    output_tokens: Tokens | None = None
    service_tier: str | None = None
    speed: str | None = None


class _Block(msgspec.Struct):
    type: str = ""
    text: str | None = None
    thinking: str | None = None
    signature: str | None = None
    data: Any = None
    name: str | None = None
    input: Any = None
    content: Any = None
    source: Any = None


class _MissReason(msgspec.Struct):
    type: str | None = None


class _Diagnostics(msgspec.Struct):
    cache_miss_reason: _MissReason | None = None


class _Message(msgspec.Struct):
    id: str | None = None
    model: str | None = None
    content: str | list[_Block | str] | None = None
    usage: _Usage | None = None
    diagnostics: _Diagnostics | None = None


class _Link(msgspec.Struct, rename="camel"):
    """What every line of a chain has, whatever its type."""

    type: str = ""
    subtype: str | None = None
    uuid: str | None = None
    parent_uuid: str | None = None
    session_id: str | None = None
    agent_id: str | None = None
    is_sidechain: bool = False
    is_compact_summary: bool = False
    cwd: str | None = None
    version: str | None = None

    @property
    def compacts(self) -> bool:
        return self.is_compact_summary or self.subtype == "compact_boundary"


class _Line(_Link, rename="camel"):
    request_id: str | None = None
    is_api_error_message: bool = False
    timestamp: datetime | None = None
    message: _Message | None = None
    data: _Progress | None = None
    compact_metadata: _Compaction | None = None


class _KeptSegment(msgspec.Struct, rename="camel"):
    tail_uuid: str | None = None


class _KeptMessages(msgspec.Struct, rename="camel"):
    uuids: list[str] = []
    all_uuids: list[str] = []


class _Compaction(msgspec.Struct, rename="camel"):
    """Which messages a compaction keeps beside its summary, in either of two ways of saying so."""

    preserved_segment: _KeptSegment | None = None
    preserved_messages: _KeptMessages | None = None

    def kept(self) -> set[str]:
        found: set[str] = set()
        if self.preserved_messages is not None:
            found.update(self.preserved_messages.uuids, self.preserved_messages.all_uuids)
        if self.preserved_segment is not None and self.preserved_segment.tail_uuid is not None:
            found.add(self.preserved_segment.tail_uuid)
        return found


class _Progress(msgspec.Struct, rename="camel"):
    message: _Line | None = None
    normalized_messages: list[_Line] | None = None
    agent_id: str | None = None


class _Type(msgspec.Struct):
    type: str = ""


class _Chain(msgspec.Struct):
    """A run of lines that one prompt holds in order."""

    trace: str
    tail: int
    length: int = 0
    barrier: int = -1
    """Position of the last line that begins something new: a user's text or a response. A line
    whose parent stands at or behind it goes on with the chain; one before it is a rewind."""


class _Place(msgspec.Struct):
    """Where one line stands."""

    chain: _Chain
    position: int
    node: int


class _Response(msgspec.Struct):
    """One call, gathered from its lines."""

    key: str
    request: str | None
    trace: str
    line: int
    offset: int
    prompt: int
    completion: int
    started_at: datetime | None
    model: str | None
    sidechain: bool
    usage: Usage | None = None
    service_tier: str | None = None
    miss_reason: str | None = None

    def count(self, message: _Message, usage: Usage | None) -> None:
        """Take over what one line states; of several counts the one with the most output is true."""
        if usage is not None and (
            self.usage is None or (usage.output_tokens or 0) >= (self.usage.output_tokens or 0)
        ):
            self.usage = usage
        if message.usage is not None:
            speed = message.usage.speed
            self.service_tier = speed if speed == "fast" else message.usage.service_tier
        if message.diagnostics is not None and message.diagnostics.cache_miss_reason is not None:
            self.miss_reason = message.diagnostics.cache_miss_reason.type

    def call(self) -> Call:
        model = self.model
        return Call(
            identity=("", self.key),
            request=self.request,
            trace=self.trace,
            line=self.line,
            offset=self.offset,
            prompt=self.prompt,
            completion=self.completion,
            started_at=self.started_at,
            provider="anthropic" if model is not None and model.startswith("claude") else None,
            model=model,
            usage=self.usage,
            sidechain=self.sidechain,
            service_tier=self.service_tier,
            miss_reason=self.miss_reason,
        )


class _SavedChain(msgspec.Struct, array_like=True):
    trace: str
    tail: str
    length: int
    barrier: int


class _Checkpoint(msgspec.Struct):
    chains: list[_SavedChain]
    lines: list[tuple[str, int, int, str]]
    """(uuid, index of its chain, position, node hash)"""
    responses: list[tuple[_Response, str, str]]
    """(response, hash of its prompt, hash of its completion)"""
    traces: list[str]
    agents: dict[str, str]
    compacted: str | None
    kept: set[str]
    forgot: bool


_decoder = msgspec.json.Decoder(_Line)
_link_decoder = msgspec.json.Decoder(_Link)
_type_decoder = msgspec.json.Decoder(_Type)
_value_decoder = msgspec.json.Decoder(object)
_encode = msgspec.json.encode


class ClaudeCode:
    """Parser for Claude Code."""

    name: ClassVar[str] = "claude-code"
    title: ClassVar[str] = "Claude Code"
    checked: ClassVar[str] = "2.1.119, 2026-11"
    evidence: ClassVar[tuple[str, ...]] = ("usage", "text", "timestamps")
    locations: ClassVar[tuple[str, ...]] = (
        "$CLAUDE_CONFIG_DIR/projects",
        "~/.claude/projects",
        "~/.config/claude/projects",
    )
    whole_prompts: ClassVar[bool] = False
    grows: ClassVar[bool] = True

    def identify(self, head: Head) -> str | None:
        for record in head.objects:
            if "sessionId" in record and isinstance(record.get("type"), str):
                if is_qwen_line(record):
                    return None
                if "uuid" in record or record["type"] in _SESSION_ONLY_TYPES:
                    return f"lines with type and sessionId (first: {record['type']})"
            elif record.get("type") == "file-history-snapshot" and "snapshot" in record:
                return "file-history-snapshot lines"
            elif record.get("type") == "summary" and "leafUuid" in record:
                return "summary lines with leafUuid"
        if not head.objects and _LONG_FIRST_LINE.match(head.data):
            return "a line with parentUuid and isSidechain"
        return None

    def parse(self, log: Log, tree: Tree) -> Iterator[Record]:
        session = _Session(tree, log.path.stem)
        if log.checkpoint:
            session.restore(log.checkpoint)
        for line in log.lines():
            if isinstance(line, Issue):
                yield line
                continue
            try:
                session.add(_decode(line.data, _decoder), line)
            except BAD_RECORD as error:
                link = _without_message(line.data)
                if link is None:
                    yield line.issue(error)
                else:
                    session.link(link)
            if session.new_traces:
                yield from session.new_traces
                session.new_traces.clear()
        for response in session.responses.values():
            yield response.call()
        log.checkpoint = session.save()


_SESSION_ONLY_TYPES = frozenset(
    {"permission-mode", "last-prompt", "queue-operation", "custom-title", "agent-name", "pr-link"}
)


_LONG_FIRST_LINE = re.compile(
    rb'\{"parentUuid": ?(?:null|"[^"]{1,64}"), ?"isSidechain": ?(?:true|false), ?"'
)


def _decode(data: bytes, decoder: msgspec.json.Decoder[T]) -> T:
    """Decode one line; half a surrogate pair, left where a string was cut, becomes ``?``.

    Raises:
        ValueError: it is not JSON, or a known field has the wrong type.
        RecursionError: it is nested too deeply.
    """
    try:
        return decoder.decode(data)
    except msgspec.ValidationError:
        raise
    except msgspec.DecodeError:
        value = decode_json(data, _value_decoder, object)
    return decoder.decode(json.dumps(value, ensure_ascii=False).encode("utf-8", "replace"))


def _without_message(data: bytes) -> _Link | None:
    """A line of a type that holds no messages, so that its fields are free to differ.

    It still has its place in the chain. ``None``: it is of a type that should have been read.
    """
    try:
        if _decode(data, _type_decoder).type in _LINE_TYPES:
            return None
    except BAD_RECORD:
        return None
    try:
        return _decode(data, _link_decoder)
    except BAD_RECORD:
        return _Link()


class _Session:
    """What is known while one file is read."""

    def __init__(self, tree: Tree, stem: str) -> None:
        self.tree = tree
        self.stem = stem
        self.places: dict[str, _Place] = {}
        self.responses: dict[tuple[str, str | None], _Response] = {}
        self.traces: dict[str, None] = {}
        self.new_traces: list[Trace] = []
        self.newest: dict[tuple[bool, str | None], _Chain] = {}
        """The chain last gone on with, by (sidechain, agent)."""
        self.agents: dict[str, str] = {}
        """The newest line of each agent that stands in progress lines, by agent."""
        self.compacted: str | None = None
        """The line that the newest compacted prompt begins with: the boundary, then the summary."""
        self.kept: set[str] = set()
        """Lines before that one which its prompt still holds."""
        self.continues = False
        """What is read now was appended to what an earlier reading left in the checkpoint."""
        self.forgot = False
        """The checkpoint does not hold all lines before it."""

    def add(self, record: _Line, line: Line) -> None:
        """Take in one line.

        Raises:
            ValueError, RecursionError: it cannot be read; what was known before stays.
            Reread: where it stands depends on lines that the checkpoint does not hold.
        """
        if record.type == "progress":
            self._add_progress(record, line)
            return
        message = record.message if record.type in _MESSAGE_TYPES else None
        if record.uuid in self.places:
            if record.type == "assistant" and message is not None:
                self._recount(record, message)
            return
        place = self.link(record)
        if place is None:
            return
        if record.subtype == "compact_boundary":
            self.kept = record.compact_metadata.kept() if record.compact_metadata else set()
        if message is not None:
            self._append(place, record, message, line)

    def link(self, record: _Link) -> _Place | None:
        """Give a line its place in its chain; ``None`` if it has one, or is no part of a chain.

        Raises:
            Reread: where it stands depends on lines that the checkpoint does not hold.
        """
        if record.uuid is None or record.uuid in self.places:
            return None
        place = self._place(record)
        self.places[record.uuid] = place
        if record.compacts:
            self.compacted = record.uuid
        return place

    def _add_progress(self, record: _Line, line: Line) -> None:
        self.link(record)
        if record.data is None:
            return
        inner = list(record.data.normalized_messages or ())
        if record.data.message is not None:
            inner.append(record.data.message)
        for each in inner:
            if each.message is None or each.type not in _MESSAGE_TYPES:
                continue
            each.is_sidechain = True
            each.agent_id = each.agent_id or record.data.agent_id
            each.session_id = each.session_id or record.session_id
            each.cwd, each.version = each.cwd or record.cwd, each.version or record.version
            each.timestamp = each.timestamp or record.timestamp
            if each.uuid is None:
                each.uuid = f"progress:{each.message.id or line.offset}:{each.type}"
            if each.agent_id is not None and each.uuid not in self.places:
                each.parent_uuid = each.parent_uuid or self.agents.get(each.agent_id)
                self.agents[each.agent_id] = each.uuid
            self.add(each, line)

    def _place(self, record: _Link) -> _Place:
        """Find the chain that a new line goes on with, or begin one."""
        parent_uuid = self.compacted if record.parent_uuid in self.kept else record.parent_uuid
        parent = self.places.get(parent_uuid) if parent_uuid else None
        agent = (record.is_sidechain, record.agent_id)
        if self.forgot and not record.is_sidechain and (record.compacts or not parent_uuid):
            raise Reread("a new beginning may be an old line that was appended again")
        if record.compacts and parent_uuid != self.compacted:
            chain = self._begin(record, None)
        elif parent is not None:
            chain = parent.chain
            if parent.position < chain.barrier:
                chain = _Chain(chain.trace, parent.node)
        elif parent_uuid and self.continues:
            raise Reread("the line before it is not remembered")
        elif parent_uuid and agent in self.newest:
            chain = self.newest[agent]
        else:
            chain = self._begin(record, parent_uuid)
        self.newest[agent] = chain
        place = _Place(chain, chain.length, chain.tail)
        chain.length += 1
        return place

    def _begin(self, record: _Link, after: str | None) -> _Chain:
        """A chain from the root; `after`: the line of another file that it hangs off."""
        session = record.session_id or self.stem
        trace = session
        if record.is_sidechain:
            trace = f"{session}/{record.agent_id or record.uuid}"
        if trace not in self.traces:
            self.traces[trace] = None
            self.new_traces.append(
                Trace(
                    id=trace,
                    parent=session if record.is_sidechain else None,
                    project=record.cwd,
                    agent=f"Claude Code {record.version}" if record.version else "Claude Code",
                )
            )
        unlogged = f"claude-code\n{record.version}\n{record.cwd}\n{record.is_sidechain}"
        if after:
            unlogged += f"\nafter {after}"
        return _Chain(trace, self.tree.extend(ROOT, Kind.UNLOGGED, "system", unlogged))

    def _append(self, place: _Place, record: _Line, message: _Message, line: Line) -> None:
        chain = place.chain
        before = chain.tail
        chain.tail = self._extend(before, record.type, message.content)
        place.node = chain.tail
        if record.type == "assistant":
            if self._respond(record, message, line, before, chain):
                chain.barrier = place.position
        elif not _only_tool_results(message.content):
            chain.barrier = place.position

    def _extend(self, node: int, role: str, content: str | list[_Block | str] | None) -> int:
        extend = self.tree.extend
        if content is None:
            return node
        if isinstance(content, str):
            return extend(node, Kind.TEXT, role, content)
        for block in content:
            if isinstance(block, str):
                node = extend(node, Kind.TEXT, role, block)
            else:
                node = extend_all(self.tree, node, _segments(block, role))
        return node

    def _respond(
        self, record: _Line, message: _Message, line: Line, prompt: int, chain: _Chain
    ) -> bool:
        """Add a line to its response; true if it begins a new turn of the conversation."""
        if record.is_api_error_message or message.model == "<synthetic>":
            return True
        usage = _usage(message.usage)
        key = _key(record, message)
        known = self.responses.get(key)
        first = known is None
        if known is None:
            known = _Response(
                key=key[0],
                request=record.request_id,
                trace=chain.trace,
                line=line.line,
                offset=line.offset,
                prompt=prompt,
                completion=chain.tail,
                started_at=record.timestamp,
                model=message.model,
                sidechain=record.is_sidechain,
            )
            self.responses[key] = known
        elif chain.trace == known.trace:
            known.completion = chain.tail
        known.count(message, usage)
        return first

    def _recount(self, record: _Line, message: _Message) -> None:
        """A line that stands here already: only its counts can be news."""
        known = self.responses.get(_key(record, message))
        if known is not None:
            known.count(message, _usage(message.usage))

    def save(self) -> bytes:
        """The state that the lines appended next may refer to."""
        hash_of = self.tree.hash_of
        remembered = list(self.places.items())[-_REMEMBERED_LINES:]
        chains: dict[int, int] = {}
        saved: list[_SavedChain] = []
        lines = []
        for uuid, place in remembered:
            if id(place.chain) not in chains:
                chains[id(place.chain)] = len(saved)
                chain = place.chain
                saved.append(
                    _SavedChain(chain.trace, hash_of(chain.tail), chain.length, chain.barrier)
                )
            lines.append((uuid, chains[id(place.chain)], place.position, hash_of(place.node)))
        responses = [
            (each, hash_of(each.prompt), hash_of(each.completion))
            for each in list(self.responses.values())[-_REMEMBERED_CALLS:]
        ]
        return _encode(
            _Checkpoint(
                saved,
                lines,
                responses,
                list(self.traces),
                self.agents,
                self.compacted,
                self.kept,
                self.forgot or len(self.places) > len(remembered),
            )
        )

    def restore(self, checkpoint: bytes) -> None:
        """Go on from a saved state.

        Raises:
            Reread: it was saved by another version.
        """
        try:
            saved = msgspec.json.decode(checkpoint, type=_Checkpoint)
        except msgspec.MsgspecError as error:
            raise Reread(str(error)) from error
        resume = self.tree.resume
        chains = [
            _Chain(each.trace, resume(each.tail), each.length, each.barrier)
            for each in saved.chains
        ]
        for uuid, chain, position, node in saved.lines:
            self.places[uuid] = _Place(chains[chain], position, resume(node))
        for response, prompt, completion in saved.responses:
            response.prompt, response.completion = resume(prompt), resume(completion)
            self.responses[response.key, response.request] = response
        self.traces = dict.fromkeys(saved.traces)
        self.agents, self.compacted, self.kept = saved.agents, saved.compacted, saved.kept
        self.forgot = saved.forgot
        self.continues = True


def _key(record: _Line, message: _Message) -> tuple[str, str | None]:
    return message.id or f"uuid:{record.uuid}", record.request_id


def _only_tool_results(content: str | list[_Block | str] | None) -> bool:
    return isinstance(content, list) and all(
        isinstance(block, _Block) and block.type == "tool_result" for block in content
    )


def _segments(block: _Block, role: str) -> list[Segment]:
    """A content block as `chat` takes it apart, whatever spacing the log was written with."""
    kind = block.type
    if kind == "text":
        return [Segment(Kind.TEXT, role, block.text or "")]
    if kind in _CALL_BLOCKS:
        return [call_segment(role, block.name, _argument_text(block.input))]
    if kind == "tool_result":
        return _result_segments(block.content, role)
    if kind == "thinking":
        return [Segment(Kind.THINKING, role, block.thinking or block.signature or "")]
    if kind == "redacted_thinking":
        return [Segment(Kind.THINKING, role, _encode(block.data).decode())]
    if kind in _MEDIA_BLOCKS:
        source = {"type": kind, "source": block.source}
        return [Segment(Kind.MEDIA, role, canonical_value(source))]
    return [Segment(Kind.TEXT, role, _encode(block).decode())]


def _argument_text(arguments: Any) -> str:
    if arguments is None or isinstance(arguments, str):
        return arguments or ""
    return canonical_value(arguments)


def _result_segments(content: Any, role: str) -> list[Segment]:
    """A tool's result: its parts, each text as a tool result and each image as media."""
    if not isinstance(content, list):
        return [Segment(Kind.TOOL_RESULT, role, _argument_text(content))]
    found = [_result_segment(part, role) for part in content]
    return found or [Segment(Kind.TOOL_RESULT, role, "")]


def _result_segment(part: Any, role: str) -> Segment:
    if isinstance(part, str):
        return Segment(Kind.TOOL_RESULT, role, part)
    fields = part if isinstance(part, dict) else {}
    kind, text = fields.get("type"), fields.get("text")
    if kind == "text" and isinstance(text, str):
        return Segment(Kind.TOOL_RESULT, role, text)
    of = Kind.MEDIA if kind in ("image", "document") else Kind.TOOL_RESULT
    return Segment(of, role, canonical_value(part))


def _usage(usage: _Usage | None) -> Usage | None:
    """Anthropic counts uncached input apart from cache reads and writes; here input is inclusive.

    Raises:
        ValueError: the counts contradict each other.
    """
    if usage is None:
        return None
    read, write = usage.cache_read_input_tokens, usage.cache_creation_input_tokens
    split = usage.cache_creation
    one_hour = split.ephemeral_1h_input_tokens if split is not None else None
    if write is None and split is not None:
        write = (split.ephemeral_5m_input_tokens or 0) + (one_hour or 0)
    total = None
    if usage.input_tokens is not None:
        total = usage.input_tokens + (read or 0) + (write or 0)
    if total is None and usage.output_tokens is None:
        return None
    return Usage(
        input_tokens=total,
        cache_read_tokens=read,
        cache_write_tokens=write,
        cache_write_1h_tokens=one_hour,
        output_tokens=usage.output_tokens,
    )

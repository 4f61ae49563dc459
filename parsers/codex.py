"""Codex CLI rollouts: ``$CODEX_HOME/sessions/**/rollout-*.jsonl[.zst]`` and ``archived_sessions``.

One JSON object a line, ``{"timestamp", "type", "payload"}``. What is read of each type:

- ``session_meta``: the first one names the file's own thread; later ones with other ids belong to
  ancestors whose history is replayed in front of this thread's own work.
- ``turn_context``: the model from here on. ``thread_settings_applied``: the service tier.
- ``response_item``: what was sent and what came back, in the order of the conversation.
- ``compacted``: the context starts again from ``replacement_history``.
- ``event_msg`` / ``token_count``: usage. ``last_token_usage`` is one call, ``total_token_usage`` the
  running total. Cached tokens are part of input, reasoning tokens part of output.
- ``event_msg`` / ``thread_rolled_back``: the newest turns leave the context.
- ``token_usage_record`` (newer versions): one per response, beside its ``token_count``.

Quirks, all seen in real logs or in the program's own protocol definition:

- An event is written again whenever rate limits change: only a changed total is a call.
- After a compaction an event repeats the total with a ``last`` that counts nothing: no call.
- The total can fall after a rewind, so totals are compared, never subtracted, while ``last`` is there.
- A fork or subagent replays its parent's events under new timestamps and the same numbers, so a call
  is known by the sequence of numbers that led to it, within the family of threads.
- The context holds neither tool definitions nor, in older versions, the instructions.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, TypeVar

import msgspec

from forkpoint.parsers.base import ROOT, Reread, Tree
from forkpoint.parsers.chat import call_segment
from forkpoint.parsers.logs import BAD_RECORD, Head, Line, Log
from forkpoint.parsers.records import Call, Issue, Kind, Record, Tokens, Trace, Usage

T = TypeVar("T")

_LINE_TYPES = frozenset(
    (
        "session_meta",
        "turn_context",
        "response_item",
        "event_msg",
        "compacted",
        "token_usage_record",
    )
)
_LONG_FIRST_LINE = re.compile(
    rb'\s*\{[^{}]{0,300}"type"\s*:\s*"session_meta"\s*,\s*"payload"\s*:\s*\{'
)
_REPLAY_WITHIN = timedelta(seconds=2)
"""A first answer sooner than this after the thread began was not awaited but copied."""


# --- What a line holds --------------------------------------------------------------------------


class _Envelope(msgspec.Struct):
    type: str
    payload: msgspec.Raw = msgspec.Raw(b"null")
    timestamp: datetime | None = None


class _Tag(msgspec.Struct):
    type: str | None = None


class _Instructions(msgspec.Struct):
    text: str | None = None


class _SessionMeta(msgspec.Struct):
    id: str | None = None
    cwd: str | None = None
    cli_version: str | None = None
    model_provider: str | None = None
    forked_from_id: str | None = None
    parent_thread_id: str | None = None
    source: Any = None
    base_instructions: _Instructions | str | None = None
    instructions: str | None = None


class _TurnContext(msgspec.Struct):
    model: str | None = None
    service_tier: str | None = None


class _Settings(msgspec.Struct):
    model: str | None = None
    service_tier: str | msgspec.UnsetType | None = msgspec.UNSET


class _SettingsApplied(msgspec.Struct):
    thread_settings: _Settings | None = None
    service_tier: str | msgspec.UnsetType | None = msgspec.UNSET


class _Counts(msgspec.Struct, frozen=True):
    input_tokens: Tokens | None = None
    cached_input_tokens: Tokens | None = None
    cache_write_input_tokens: Tokens | None = None
    output_tokens: Tokens | None = None
    reasoning_output_tokens: Tokens | None = None
    total_tokens: Tokens | None = None

    def vector(self) -> tuple[int, ...]:
        """All six counts; a count that a version does not write compares as 0."""
        return tuple(count or 0 for count in msgspec.structs.astuple(self))

    def is_zero(self) -> bool:
        """Nothing was sent or generated; `total_tokens` may hold a context estimate all the same."""
        return not any(self.vector()[:5])

    def usage(self) -> Usage:
        """The counts under the names of `Usage`; raises ValueError where parts exceed wholes."""
        return Usage(
            input_tokens=self.input_tokens,
            cache_read_tokens=self.cached_input_tokens,
            cache_write_tokens=self.cache_write_input_tokens,
            output_tokens=self.output_tokens,
            reasoning_tokens=self.reasoning_output_tokens,
        )


class _TokenInfo(msgspec.Struct):
    total_token_usage: _Counts | None = None
    last_token_usage: _Counts | None = None


class _TokenCount(msgspec.Struct):
    info: _TokenInfo | None = None


class _UsageRecord(msgspec.Struct):
    thread_id: str | None = None
    response_id: str | None = None
    usage: _Counts | None = None


class _RolledBack(msgspec.Struct):
    num_turns: Tokens = 0


class _ThreadNamed(msgspec.Struct):
    thread_id: str | None = None
    thread_name: str | None = None


class _Part(msgspec.Struct):
    type: str | None = None
    text: str | None = None
    image_url: str | None = None
    audio_url: str | None = None


class _Item(msgspec.Struct):
    """A Responses API item; each type of item has some of these fields."""

    type: str | None = None
    role: str | None = None
    content: list[_Part] | str | None = None
    summary: list[_Part] | None = None
    encrypted_content: str | None = None
    namespace: str | None = None
    name: str | None = None
    arguments: Any = None
    input: Any = None
    action: Any = None
    output: Any = None
    result: str | None = None
    tools: Any = None


class _Compacted(msgspec.Struct):
    message: str | None = None
    replacement_history: list[_Item] | None = None


_ENVELOPE = msgspec.json.Decoder(_Envelope)


def _envelope(data: bytes) -> _Envelope:
    """Decode a line but for its payload.

    What strict JSON forbids is put right first: half a surrogate pair becomes ``?``, ``NaN`` null.

    Raises:
        ValueError: it is not JSON, or not an object of that shape.
        RecursionError: it is nested too deeply.
    """
    try:
        return _ENVELOPE.decode(data)
    except msgspec.ValidationError:
        raise
    except msgspec.DecodeError:
        if b"\\u" not in data and b"NaN" not in data and b"Infinity" not in data:
            raise
    value = json.loads(data, parse_constant=lambda _: None)
    return _ENVELOPE.decode(json.dumps(value, ensure_ascii=False).encode("utf-8", "replace"))


def _payload_decoder(type_: type[T]) -> Callable[[_Envelope], T]:
    decode = msgspec.json.Decoder(type_).decode
    return lambda envelope: decode(envelope.payload)


_tag = _payload_decoder(_Tag)
_session_meta = _payload_decoder(_SessionMeta)
_turn_context = _payload_decoder(_TurnContext)
_settings_applied = _payload_decoder(_SettingsApplied)
_token_count = _payload_decoder(_TokenCount)
_usage_record = _payload_decoder(_UsageRecord)
_rolled_back = _payload_decoder(_RolledBack)
_thread_named = _payload_decoder(_ThreadNamed)
_item = _payload_decoder(_Item)
_compacted = _payload_decoder(_Compacted)


# --- What is carried from line to line ----------------------------------------------------------


class _Answer(msgspec.Struct):
    """Where a response stands in the tree, and when its first part was written."""

    prompt: int
    completion: int | None = None
    started_at: datetime | None = None


class _Unpaired(msgspec.Struct):
    """A usage record whose `token_count` has not come, so far."""

    key: str
    usage: Usage
    line: int
    offset: int
    answer: _Answer


class _State(msgspec.Struct):
    """All that reading the next line depends on. Nodes are those of one `Tree`."""

    thread: str | None = None
    began_at: datetime | None = None
    parent: str | None = None
    forked_from: str | None = None
    subagent: bool = False
    provider: str = "openai"
    cwd: str | None = None
    version: str | None = None
    title: str | None = None
    model: str | None = None
    service_tier: str | None = None
    chain: str = ""
    """Key of the newest counted event: a hash of all counted events up to it."""
    total: _Counts | None = None
    has_calls: bool = False
    base: int = ROOT
    """The context without its conversation: instructions and tool definitions."""
    context: int = ROOT
    answer: _Answer | None = None
    """The response being written, if one is."""
    before_user: int | None = None
    """The context before the newest user message."""
    turns: list[int] = []
    """The contexts that a rollback can go back to, one per turn since the last compaction."""
    counted_unrecorded: bool = False
    """The newest counted event may still get its usage record."""
    unpaired: _Unpaired | None = None

    def map_nodes(self, move: Callable[[int], int]) -> None:
        """Replace every node."""
        self.base, self.context = move(self.base), move(self.context)
        if self.before_user is not None:
            self.before_user = move(self.before_user)
        self.turns = [move(node) for node in self.turns]
        for answer in (self.answer, self.unpaired and self.unpaired.answer):
            if answer:
                answer.prompt = move(answer.prompt)
                if answer.completion is not None:
                    answer.completion = move(answer.completion)


class _Checkpoint(msgspec.Struct):
    state: _State
    """Its nodes are indices into `nodes`."""
    nodes: list[str]
    """Node hashes; the first stands for the root and is empty."""


_CHECKPOINT = msgspec.json.Decoder(_Checkpoint)


def _save(state: _State, tree: Tree) -> bytes:
    """The state as a checkpoint; the state itself is of no use afterwards."""
    index: dict[int, int] = {ROOT: 0}
    state.map_nodes(lambda node: index.setdefault(node, len(index)))
    hashes = ["" if node == ROOT else tree.hash_of(node) for node in index]
    return msgspec.json.encode(_Checkpoint(state, hashes))


def _restore(checkpoint: bytes, tree: Tree) -> _State:
    """The state that `_save` wrote.

    Raises:
        Reread: it was written by another version.
    """
    try:
        saved = _CHECKPOINT.decode(checkpoint)
    except ValueError as error:
        raise Reread(str(error)) from error
    nodes = [tree.resume(name) if name else ROOT for name in saved.nodes]
    saved.state.map_nodes(nodes.__getitem__)
    return saved.state


# --- Conversation items as segments -------------------------------------------------------------


_compact = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode
"""JSON with one spelling for equal values."""


def _called(name: str, item: _Item, arguments: Any) -> str:
    """A tool call in `chat`'s words: its name, then its arguments as the model wrote them."""
    name = f"{item.namespace}.{name}" if item.namespace is not None else name
    if arguments is not None and not isinstance(arguments, str):
        arguments = _compact(arguments)
    return call_segment("assistant", name, arguments or "").text


_GENERATED_CALLS: dict[str, Callable[[_Item], str]] = {
    "function_call": lambda item: _called(item.name or "", item, item.arguments),
    "custom_tool_call": lambda item: _called(item.name or "", item, item.input),
    "tool_search_call": lambda item: _called("tool_search", item, item.arguments),
    "local_shell_call": lambda item: _called("local_shell", item, item.action),
    "web_search_call": lambda item: _called("web_search", item, item.action),
    "image_generation_call": lambda item: _called("image_generation", item, item.result),
}
_COMPACTION_ITEMS = ("compaction", "compaction_summary", "context_compaction")


def _is_generated(item: _Item) -> bool:
    """Whether the model wrote the item; the rest of a conversation is sent to it."""
    if item.type == "message":
        return item.role == "assistant"
    return item.type == "reasoning" or item.type in _GENERATED_CALLS


def _extend_parts(tree: Tree, node: int, kind: Kind, role: str, parts: list[_Part] | str) -> int:
    if isinstance(parts, str):
        return tree.extend(node, kind, role, parts)
    for part in parts:
        media = part.image_url if part.image_url is not None else part.audio_url
        if media is not None:
            node = tree.extend(node, Kind.MEDIA, role, media)
        elif part.text is not None:
            node = tree.extend(node, kind, role, part.text)
    return node


def _extend_output(tree: Tree, node: int, output: Any) -> int:
    """A tool's result: plain text, or content parts, or (older) an object."""
    if isinstance(output, list):
        try:
            parts = msgspec.convert(output, list[_Part])
        except msgspec.ValidationError:
            return tree.extend(node, Kind.TOOL_RESULT, "tool", _compact(output))
        return _extend_parts(tree, node, Kind.TOOL_RESULT, "tool", parts)
    text = output if isinstance(output, str) else _compact(output)
    return tree.extend(node, Kind.TOOL_RESULT, "tool", text)


def _extend_item(tree: Tree, node: int, item: _Item) -> int:
    """The context after one more item. Items of unknown types add nothing."""
    kind = item.type or ""
    if kind in ("message", "agent_message"):
        role = item.role or "agent"
        of = Kind.SYSTEM if role in ("system", "developer") else Kind.TEXT
        return _extend_parts(tree, node, of, role, item.content or [])
    if kind == "reasoning":
        return _extend_reasoning(tree, node, item)
    if kind in _GENERATED_CALLS:
        return tree.extend(node, Kind.TOOL_CALL, "assistant", _GENERATED_CALLS[kind](item))
    if kind == "tool_search_output":
        return _extend_output(tree, node, _compact(item.tools))
    if kind.endswith("_output"):
        return _extend_output(tree, node, item.output)
    if kind == "additional_tools":
        return tree.extend(node, Kind.TOOLS, "", _compact(item.tools))
    if kind in _COMPACTION_ITEMS and item.encrypted_content:
        return tree.extend(node, Kind.TEXT, "assistant", item.encrypted_content)
    return node


def _extend_reasoning(tree: Tree, node: int, item: _Item) -> int:
    """The encrypted reasoning identifies it; without that, what is readable of it does."""
    if item.encrypted_content:
        return tree.extend(node, Kind.THINKING, "assistant", item.encrypted_content)
    for parts in (item.summary, item.content):
        if parts:
            node = _extend_parts(tree, node, Kind.THINKING, "assistant", parts)
    return node


# --- Reading ------------------------------------------------------------------------------------


def _link(chain: str, *parts: Any) -> str:
    """The next key of a chain of SHA-256 hashes, in hex."""
    return hashlib.sha256(msgspec.json.encode((chain, *parts))).hexdigest()


def _grown(total: _Counts, before: _Counts | None) -> _Counts:
    """What was added to a running total.

    Raises:
        ValueError: it fell, so that the addition is not known.
    """
    grown = [
        None if now is None else now - (then or 0)
        for now, then in zip(
            msgspec.structs.astuple(total),
            msgspec.structs.astuple(before or _Counts()),
            strict=True,
        )
    ]
    if any(count is not None and count < 0 for count in grown):
        raise ValueError("the token total fell and the event has no last_token_usage")
    return _Counts(*grown)


class _Reader:
    """Reads the lines of one rollout in order."""

    def __init__(self, log: Log, tree: Tree) -> None:
        self.log = log
        self.tree = tree
        self.state = _restore(log.checkpoint, tree) if log.checkpoint else _State()
        self._by_type: dict[str, Callable[[Line, _Envelope], Iterator[Record]]] = {
            "session_meta": self._on_session_meta,
            "turn_context": self._on_turn_context,
            "response_item": self._on_response_item,
            "compacted": self._on_compacted,
            "event_msg": self._on_event,
            "token_usage_record": self._on_usage_record,
        }
        self._by_event: dict[str, Callable[[Line, _Envelope], Iterator[Record]]] = {
            "token_count": self._on_token_count,
            "user_message": self._on_user_message,
            "thread_rolled_back": self._on_rolled_back,
            "thread_settings_applied": self._on_settings_applied,
            "thread_name_updated": self._on_thread_named,
            "task_started": self._on_turn_boundary,
            "turn_started": self._on_turn_boundary,
            "task_complete": self._on_turn_boundary,
            "turn_complete": self._on_turn_boundary,
            "turn_aborted": self._on_turn_boundary,
        }

    def read(self) -> Iterator[Record]:
        """Yield all records, then leave the checkpoint."""
        for line in self.log.lines():
            if isinstance(line, Issue):
                yield line
                continue
            try:
                envelope = _envelope(line.data)
                read = self._by_type.get(envelope.type)
                if read:
                    yield from read(line, envelope)
            except BAD_RECORD as error:
                yield line.issue(error)
        self.log.checkpoint = _save(self.state, self.tree)

    def _on_event(self, line: Line, envelope: _Envelope) -> Iterator[Record]:
        read = self._by_event.get(_tag(envelope).type or "")
        return read(line, envelope) if read else iter(())

    # Who: thread, family, model.

    def _on_session_meta(self, line: Line, envelope: _Envelope) -> Iterator[Record]:
        meta, state = _session_meta(envelope), self.state
        if not meta.id:
            yield line.issue("session_meta without an id")
        elif state.thread is None:
            self._begin(meta, envelope.timestamp)
            yield self._trace()
        elif meta.id != state.thread and state.forked_from is None:
            # Older versions do not say that they forked, but copy the ancestor's first line too.
            state.forked_from = meta.id
            yield self._trace()

    def _begin(self, meta: _SessionMeta, at: datetime | None) -> None:
        state = self.state
        state.thread, state.began_at = meta.id, at
        state.cwd, state.version = meta.cwd, meta.cli_version
        state.provider = meta.model_provider or "openai"
        state.forked_from = meta.forked_from_id
        subagent = meta.source.get("subagent") if isinstance(meta.source, dict) else None
        state.subagent = subagent is not None
        spawn = subagent.get("thread_spawn") if isinstance(subagent, dict) else None
        parent = spawn.get("parent_thread_id") if isinstance(spawn, dict) else None
        state.parent = parent if isinstance(parent, str) else meta.parent_thread_id
        instructions = meta.base_instructions
        if isinstance(instructions, _Instructions):
            instructions = instructions.text
        self._open_context(instructions or meta.instructions)

    def _open_context(self, instructions: str | None) -> None:
        """Begin the prompt with what comes before the conversation."""
        state, extend = self.state, self.tree.extend
        version = state.version or "unknown"
        if instructions:
            base = extend(ROOT, Kind.SYSTEM, "system", instructions)
        else:
            base = extend(ROOT, Kind.UNLOGGED, "system", f"codex/{version}/{state.cwd or ''}")
        state.base = state.context = extend(base, Kind.UNLOGGED, "tools", f"codex/{version}/tools")

    def _trace(self) -> Trace:
        state = self.state
        return Trace(
            id=self._trace_id(),
            parent=state.parent,
            forked_from=state.forked_from,
            project=state.cwd,
            agent=f"codex {state.version}" if state.version else "codex",
            title=state.title,
        )

    def _trace_id(self) -> str:
        return self.state.thread or f"codex:{self.log.path.name}"

    def _on_turn_context(self, line: Line, envelope: _Envelope) -> Iterator[Record]:
        yield from self._count_unpaired()
        context = _turn_context(envelope)
        self.state.model = context.model or self.state.model
        self.state.service_tier = context.service_tier or self.state.service_tier

    def _on_settings_applied(self, line: Line, envelope: _Envelope) -> Iterator[Record]:
        applied = _settings_applied(envelope)
        settings = applied.thread_settings or _Settings()
        for tier in (applied.service_tier, settings.service_tier):
            if tier is not msgspec.UNSET:
                self.state.service_tier = tier
        if self.state.model is None:
            self.state.model = settings.model
        return iter(())

    def _on_thread_named(self, line: Line, envelope: _Envelope) -> Iterator[Record]:
        named = _thread_named(envelope)
        if named.thread_name and named.thread_id in (None, self.state.thread):
            self.state.title = named.thread_name
            yield self._trace()

    # What: the conversation.

    def _on_response_item(self, line: Line, envelope: _Envelope) -> Iterator[Record]:
        item, state = _item(envelope), self.state
        if state.base == ROOT:
            self._open_context(None)
        if _is_generated(item):
            if state.answer is None:
                state.answer = _Answer(state.context, started_at=envelope.timestamp)
            after = _extend_item(self.tree, state.context, item)
            if after != state.context:
                state.answer.completion = after
            state.context = after
        else:
            if item.type == "message":
                # Something is said to the model: a response without usage until here was aborted.
                state.answer = None
                if item.role == "user":
                    state.before_user = state.context
            state.context = _extend_item(self.tree, state.context, item)
        return iter(())

    def _on_compacted(self, line: Line, envelope: _Envelope) -> Iterator[Record]:
        yield from self._count_unpaired()
        compacted, state = _compacted(envelope), self.state
        if state.base == ROOT:
            self._open_context(None)
        context = state.base
        if compacted.replacement_history is not None:
            for item in compacted.replacement_history:
                context = _extend_item(self.tree, context, item)
        elif compacted.message:
            context = self.tree.extend(context, Kind.TEXT, "user", compacted.message)
        state.context, state.answer, state.before_user, state.turns = context, None, None, []

    def _on_user_message(self, line: Line, envelope: _Envelope) -> Iterator[Record]:
        state = self.state
        # The event follows the message it tells of; messages without an event are not the user's.
        state.turns.append(state.context if state.before_user is None else state.before_user)
        state.before_user = None
        return iter(())

    def _on_rolled_back(self, line: Line, envelope: _Envelope) -> Iterator[Record]:
        n, turns = _rolled_back(envelope).num_turns, self.state.turns
        if n and turns:
            kept = max(len(turns) - n, 0)
            self.state.context, self.state.answer = turns[kept], None
            del turns[kept:]
        return iter(())

    def _on_turn_boundary(self, line: Line, envelope: _Envelope) -> Iterator[Record]:
        yield from self._count_unpaired()
        self.state.counted_unrecorded = False

    # How much: usage.

    def _on_token_count(self, line: Line, envelope: _Envelope) -> Iterator[Record]:
        info, state = _token_count(envelope).info, self.state
        if info is None:
            return
        total, last = info.total_token_usage or info.last_token_usage, info.last_token_usage
        before = state.total
        if total is None or (before and total.vector() == before.vector()):
            return
        state.total = total
        counts = _grown(total, before) if last is None else last
        if counts.is_zero():
            return
        state.chain = _link(state.chain, counts.vector(), total.vector())
        answer, state.answer = state.answer, None
        if state.unpaired:
            answer, state.unpaired = state.unpaired.answer, None
        else:
            state.counted_unrecorded = True
        yield from self._note_replay(envelope.timestamp)
        answer = answer or _Answer(state.context)
        answer.started_at = answer.started_at or envelope.timestamp
        yield self._call(state.chain, counts.usage(), answer, line.line, line.offset)

    def _note_replay(self, at: datetime | None) -> Iterator[Record]:
        """Tell a subagent that was given its parent's history from one that began afresh.

        Where the log does not say, a first answer that was there at once was the parent's.
        """
        state = self.state
        first, state.has_calls = not state.has_calls, True
        if first and state.thread is None:
            yield self._trace()
        if not first or state.parent is None or state.forked_from is not None:
            return
        if not (at and state.began_at) or _utc(at) - _utc(state.began_at) < _REPLAY_WITHIN:
            state.forked_from = state.parent
            yield self._trace()

    def _on_usage_record(self, line: Line, envelope: _Envelope) -> Iterator[Record]:
        """Hold a response's usage until its `token_count` shows that it is counted there.

        A record and an event that stand beside each other are one call, whichever comes first.
        What is left are responses that the running total leaves out.
        """
        yield from self._count_unpaired()
        record, state = _usage_record(envelope), self.state
        if state.counted_unrecorded:
            state.counted_unrecorded = False
            return
        counts = record.usage
        if counts is None or counts.is_zero() or record.thread_id not in (None, state.thread):
            return
        answer, state.answer = state.answer or _Answer(state.context), None
        answer.started_at = answer.started_at or envelope.timestamp
        key = _link(state.chain, record.response_id, counts.vector())
        state.unpaired = _Unpaired(key, counts.usage(), line.line, line.offset, answer)

    def _count_unpaired(self) -> Iterator[Record]:
        left, self.state.unpaired = self.state.unpaired, None
        if left:
            yield self._call(left.key, left.usage, left.answer, left.line, left.offset)

    def _call(self, key: str, usage: Usage, answer: _Answer, line: int, offset: int) -> Call:
        state = self.state
        return Call(
            identity=(state.thread, key) if state.thread else None,
            trace=self._trace_id(),
            line=line,
            offset=offset,
            prompt=answer.prompt,
            completion=answer.completion,
            started_at=answer.started_at,
            provider=state.provider,
            model=state.model,
            usage=usage,
            sidechain=state.subagent,
            service_tier=state.service_tier,
        )


def _utc(at: datetime) -> datetime:
    return at if at.tzinfo else at.replace(tzinfo=UTC)


class Codex:
    """Rollouts of the Codex CLI, its desktop app and its editor extensions."""

    name: ClassVar[str] = "codex"
    title: ClassVar[str] = "Codex"
    checked: ClassVar[str] = "0.126.0-alpha.8, 2026-11"
    evidence: ClassVar[tuple[str, ...]] = ("usage", "text", "timestamps")
    locations: ClassVar[tuple[str, ...]] = (
        "$CODEX_HOME/sessions",
        "$CODEX_HOME/archived_sessions",
        "~/.codex/sessions",
        "~/.codex/archived_sessions",
    )
    whole_prompts: ClassVar[bool] = False
    grows: ClassVar[bool] = True

    def identify(self, head: Head) -> str | None:
        """By content alone: rollouts are copied, renamed and compressed."""
        for found in head.objects:
            kind, payload = found.get("type"), found.get("payload")
            if not isinstance(kind, str) or not isinstance(payload, dict):
                continue
            if kind == "session_meta" and isinstance(payload.get("id"), str):
                return "session_meta with a thread id"
            if kind in _LINE_TYPES and isinstance(found.get("timestamp"), str):
                return f"{kind} lines with timestamp and payload"
        if not head.objects and _LONG_FIRST_LINE.match(head.data):
            return "begins with a session_meta line"
        return None

    def parse(self, log: Log, tree: Tree) -> Iterator[Record]:
        """Yield one call per counted event, the thread, and an issue per unreadable line.

        Raises:
            Reread: the checkpoint is of another version.
        """
        return _Reader(log, tree).read()

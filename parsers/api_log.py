"""Request and response JSONL of a model API: what is the same for every API.

A subclass of `ApiLog` says what its API's fields mean: which parts a prompt has and in what order,
how a part becomes segments, what the usage counts are. Here, prompts take their places in the
tree, and calls get their identity and their trace.

Identity of a call: the provider's response id; else, if the record has a time or a request id of
its own, its bytes and how often they stood in the file before; else none. So a copied file
merges with its original, and two equal requests without a time are two calls.

A request that failed and reports no usage was not paid for: it is neither a call nor an issue.
Batch input and output files are not joined: the inputs are prompts without usage, the outputs
are usage and completions behind one `Kind.UNLOGGED` segment each.
"""

from __future__ import annotations

import hashlib
import re
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Iterator
from functools import partial
from typing import ClassVar, NamedTuple

import msgspec

from forkpoint.parsers.base import ROOT, Tree
from forkpoint.parsers.chat import Segment
from forkpoint.parsers.envelope import (
    REQUEST_ID_KEYS,
    Envelope,
    open_envelope,
    session_of,
    times_of,
    user_of,
)
from forkpoint.parsers.logs import Head, Line, Log, read_each
from forkpoint.parsers.raw_json import (
    CACHE_MARKERS,
    Fields,
    decode_fields,
    decode_list,
    id_of,
    is_list,
    is_object,
    present,
    text_of,
)
from forkpoint.parsers.record_names import RecentRecordNames, record_digest
from forkpoint.parsers.records import Call, Kind, Record, Scores, Trace, Usage
from forkpoint.parsers.which_api import api_of_file, api_of_response

MEMO_LIMIT = 1 << 17
"""Parts of prompts whose nodes are remembered while a file is read (some 25 MB)."""
TRACE_LIMIT = 1 << 17
"""Traces that are remembered as already yielded."""
RESPONSE_WINDOW = 512
"""Stored responses that a later request may continue by id."""

_SMALL_RANDOM_ID = re.compile(r"chatcmpl-\d{1,3}")
"""Ollama draws its response ids from 999 numbers: they identify nothing."""
_NO_COUNTS = Usage()
_QUOTED_MARKERS = tuple(f'"{name}"'.encode() for name in CACHE_MARKERS)
"""Quotes inside a JSON string are escaped, so no text holds these."""


class TokenScores(NamedTuple):
    """The tokens of one completion with their logprobs, as `Scores` has them."""

    tokens: list[str]
    logprobs: list[float | None]
    top: list[list[float]] | None


class Choice(NamedTuple):
    """One completion of a request."""

    segments: list[Segment]
    scores: TokenScores | None = None


class Part(NamedTuple):
    """A piece of a prompt that is still the log's own bytes: one message, or the list of tools."""

    reader: str
    """Which reading of the API it needs: the same bytes mean different things as a message and
    as instructions."""
    raw: msgspec.Raw


class Prompt(NamedTuple):
    """A request's prompt, in the order in which the provider sends it to the model."""

    head: list[Part]
    """Tools and instructions."""
    turns: list[Part]
    continues: str | None = None
    """Id of an earlier response whose whole conversation stands between head and turns."""
    first_turn: str | None = None
    """Names a new conversation that later requests may continue."""
    unlogged: str | None = None
    """Stands for the whole prompt where no request was logged: no other record has this text."""


class ApiLog(ABC):
    """A parser of request and response JSONL. The subclass knows one provider's fields."""

    name: ClassVar[str]
    title: ClassVar[str]
    checked: ClassVar[str]
    evidence: ClassVar[tuple[str, ...]] = ("usage", "text", "timestamps")
    locations: ClassVar[tuple[str, ...]] = ()
    whole_prompts: ClassVar[bool] = True
    grows: ClassVar[bool] = True

    def identify(self, head: Head) -> str | None:
        """Claim a file if at least half of its first records are of this API."""
        api = api_of_file(head)
        return api.why if api is not None and api.parser == self.name else None

    def parse(self, log: Log, tree: Tree) -> Iterator[Record]:
        """Yield the file's calls, traces and issues."""
        reading = _Reading(log, tree)
        yield from read_each(log.lines(), partial(self._read, reading=reading))
        log.checkpoint = reading.checkpoint()

    # What a subclass says about its API. All of these raise ValueError on fields of a wrong type.

    @abstractmethod
    def _prompt(self, request: Fields, response: Fields | None) -> Prompt: ...

    @abstractmethod
    def _segments(self, part: Part) -> list[Segment]: ...

    @abstractmethod
    def _choices(self, response: Fields) -> list[Choice]:
        """The completions: one, or several samples of the same prompt; empty where none is logged."""

    @abstractmethod
    def _usage(self, raw: msgspec.Raw) -> tuple[Usage, float | None]:
        """The token counts, and the cost in US dollars where the log states it."""

    @abstractmethod
    def _provider(self, envelope: Envelope, model: str | None) -> str | None: ...

    @abstractmethod
    def _service_tier(self, response: Fields) -> str | None: ...

    @abstractmethod
    def _miss_reason(self, response: Fields) -> str | None: ...

    def _continuable(self, envelope: Envelope, response_id: str | None) -> list[str]:
        """Ids under which a later request may continue this call."""
        return []

    # Reading one record. Everything is decoded before the tree is touched, so that a bad record
    # leaves no nodes behind.

    def _read(self, line: Line, reading: _Reading) -> list[Record]:
        envelope = open_envelope(line.data)
        if envelope.failed and envelope.usage is None:
            return []
        if envelope.empty:
            raise ValueError("no request and no response in this record")
        self._refuse_others(envelope)
        call = self._facts(envelope, line)
        response_id = id_of(envelope.response, "id")
        session, user = session_of(envelope), user_of(envelope)
        prompt = self._prompt_of(envelope, line, response_id)
        breakpoints = _breakpoints(envelope, prompt, call.usage)
        earlier = reading.answers.get(prompt.continues)
        plan = reading.plan(prompt, earlier, self._segments)
        choices = self._answers(envelope)
        # From here on nothing fails.
        trace = session or (earlier.trace if earlier else prompt.continues)
        trace = trace or prompt.first_turn or user or reading.trace_of_file(line)
        head, node = reading.place(prompt, plan, earlier)
        ends = [reading.paths.extend(node, choice.segments) for choice in choices]
        if ends:
            for key in self._continuable(envelope, response_id):
                reading.answers.remember(key, _Answered(head, ends[0], trace))
        call = msgspec.structs.replace(
            call,
            identity=_identity(envelope, line, response_id, call, reading.names),
            trace=trace,
            prompt=node,
            completion=ends[0] if ends else None,
            breakpoints=breakpoints,
        )
        return [*reading.new_trace(trace), call, *choice_records(reading.tree, call, choices, ends)]

    def _refuse_others(self, envelope: Envelope) -> None:
        api = api_of_response(envelope.response)
        if api is not None and api.parser != self.name:
            raise ValueError(f"a record of another API: {api.why}")

    def _facts(self, envelope: Envelope, line: Line) -> Call:
        """The call but for its identity and its places in the tree and in a trace."""
        response = envelope.response or {}
        raw = envelope.usage
        usage, cost = (_NO_COUNTS, None) if raw is None else self._usage(raw)
        times = times_of(envelope)
        model = text_of(response, "model") or text_of(envelope.request, "model")
        model = model or text_of(envelope.record, "model", "model_name")
        return Call(
            identity=None,
            trace="",
            line=line.line,
            offset=line.offset,
            prompt=ROOT,
            started_at=times.started_at,
            duration_s=times.duration_s,
            provider=self._provider(envelope, model),
            model=model,
            usage=None if usage == _NO_COUNTS else usage,
            service_tier=self._service_tier(response),
            miss_reason=self._miss_reason(response),
            logged_cost_usd=cost,
        )

    def _prompt_of(self, envelope: Envelope, line: Line, response_id: str | None) -> Prompt:
        if envelope.request is not None:
            return self._prompt(envelope.request, envelope.response)
        name = _unique(response_id) or f"{record_digest(line.data).hex()[:32]}:{line.offset}"
        return Prompt([], [], unlogged=f"prompt of {name}")

    def _answers(self, envelope: Envelope) -> list[Choice]:
        if envelope.answer is not None:
            return [Choice([Segment(Kind.TEXT, "assistant", envelope.answer)])]
        return [] if envelope.response is None else self._choices(envelope.response)


def _breakpoints(envelope: Envelope, prompt: Prompt, usage: Usage | None) -> int | None:
    """Cache breakpoints that a request set, the one that moves by itself included.

    ``None`` where no request was logged, or where it shows none and yet something was cached: then
    the logger left them out, or the provider sets its own.
    """
    request = envelope.request
    if request is None:
        return None
    marks = 1 if present(request, *CACHE_MARKERS) is not None else 0
    marks += sum(_marks(part.raw) for part in (*prompt.head, *prompt.turns))
    if not marks and usage and (usage.cache_read_tokens or usage.cache_write_tokens):
        return None
    return marks


def _marks(raw: msgspec.Raw) -> int:
    """Breakpoints on a tool, a content block or a message, on what it holds, or on several."""
    data = bytes(raw)
    if not any(mark in data for mark in _QUOTED_MARKERS):
        return 0
    if is_list(raw):
        return sum(_marks(each) for each in decode_list(raw, "content"))
    if not is_object(raw):
        return 0
    fields = decode_fields(raw, "content")
    held = (present(fields, name) for name in ("content", "function"))
    own = 1 if present(fields, *CACHE_MARKERS) is not None else 0
    return own + sum(_marks(each) for each in held if each is not None)


def _identity(
    envelope: Envelope,
    line: Line,
    response_id: str | None,
    call: Call,
    names: RecentRecordNames,
) -> tuple[str, str] | None:
    unique = _unique(response_id)
    if unique is not None:
        return ("", unique)
    own_id = any(present(fields, *REQUEST_ID_KEYS) is not None for fields in envelope.around)
    if not own_id and response_id is None and call.started_at is None:
        return None
    return ("", names.name(line.data))


def _unique(response_id: str | None) -> str | None:
    """A response's id if no other response has it."""
    if response_id is None or _SMALL_RANDOM_ID.fullmatch(response_id):
        return None
    return response_id


def choice_records(
    tree: Tree, call: Call, choices: list[Choice], ends: list[int]
) -> Iterator[Record]:
    """The choices of a call as rollouts of its prompt, where there are several, and the scores of
    their tokens, where those were logged."""
    traces = [call.trace] * len(choices)
    if len(choices) > 1:
        group = tree.hash_of(call.prompt)
        name = call.identity[1] if call.identity else f"{call.trace}/{call.offset}"
        traces = [f"{name}/{number}" for number in range(len(choices))]
        for trace, end in zip(traces, ends, strict=True):
            yield Trace(id=trace, parent=call.trace, group=group, prompt=call.prompt, leaf=end)
    for trace, choice, end in zip(traces, choices, ends, strict=True):
        if choice.scores is not None:
            yield Scores(
                trace=trace,
                line=call.line,
                offset=call.offset,
                prompt=call.prompt,
                completion=end,
                **choice.scores._asdict(),
            )


# ---- What is remembered while one file is read. Every part of it is bounded. --------------------


class _Answered(NamedTuple):
    """Where a stored response ends. Nodes from a checkpoint are still hashes."""

    head: int | str
    completion: int | str
    trace: str


class _Path(NamedTuple):
    """A way through the tree: the last node that is known, and what is still to be added to it."""

    node: int | None
    """``None``: not even the node where the way begins is in the tree yet."""
    pending: list[tuple[str, bytes, list[Segment]]]
    """Of each part that was not met here before: its reader, the digest of its bytes, its segments."""

    @property
    def end(self) -> int | None:
        """Where the way ends, if that is known."""
        return None if self.pending else self.node


class _Plan(NamedTuple):
    """The ways of a prompt's head and of its turns."""

    head: _Path
    turns: _Path


class _Checkpoint(msgspec.Struct, array_like=True):
    """What the next reading of a grown file needs. Bounded by the two windows."""

    file_trace: str
    occurrences: list[tuple[bytes, int]]
    answered: list[tuple[str, str, str, str]]


class _Answers:
    """Where responses end that later requests may continue, the last `RESPONSE_WINDOW` of them."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._answered: OrderedDict[str, _Answered] = OrderedDict()

    def get(self, response: str | None) -> _Answered | None:
        """The response of that id, if it is remembered."""
        return None if response is None else self._answered.get(response)

    def remember(self, response: str, answered: _Answered) -> None:
        """Note where a response ends."""
        self._answered.pop(response, None)
        self._answered[response] = answered
        if len(self._answered) > RESPONSE_WINDOW:
            self._answered.popitem(last=False)

    def end(self, earlier: _Answered | None, head: int) -> int | None:
        """Where a conversation goes on, or ``None`` if it had other tools or instructions: then
        what was sent before them is not what is sent now.
        """
        if earlier is None:
            return None
        same = self._hash(head) if isinstance(earlier.head, str) else head
        if earlier.head != same:
            return None
        end = earlier.completion
        return self._tree.resume(end) if isinstance(end, str) else end

    def rows(self) -> list[tuple[str, str, str, str]]:
        """Id, head, end and trace of each, for a checkpoint."""
        return [
            (response, self._hash(head), self._hash(end), trace)
            for response, (head, end, trace) in self._answered.items()
        ]

    def _hash(self, node: int | str) -> str:
        if isinstance(node, str):
            return node
        return "" if node == ROOT else self._tree.hash_of(node)


class _Paths:
    """Ways through the tree, remembered by the bytes of their parts: what was met is not decoded."""

    def __init__(self, tree: Tree) -> None:
        self._extend = tree.extend
        self._memo: dict[tuple[int, str, bytes], int] = {}

    def follow(
        self, start: int | None, parts: list[Part], decode: Callable[[Part], list[Segment]]
    ) -> _Path:
        """Go along `parts` as far as they were met before, and decode the rest."""
        memo, node = self._memo, start
        pending: list[tuple[str, bytes, list[Segment]]] = []
        for part in parts:
            digest = hashlib.blake2b(part.raw, digest_size=16).digest()
            if node is not None and not pending:
                met = memo.get((node, part.reader, digest))
                if met is not None:
                    node = met
                    continue
            pending.append((part.reader, digest, decode(part)))
        return _Path(node, pending)

    def complete(self, path: _Path, start: int) -> int:
        """Add what is pending, from `start` if the path did not know its own; the node it ends at."""
        node = start if path.node is None else path.node
        if len(self._memo) >= MEMO_LIMIT:
            self._memo.clear()
        for reader, digest, segments in path.pending:
            key = (node, reader, digest)
            node = self.extend(node, segments)
            self._memo[key] = node
        return node

    def extend(self, node: int, segments: list[Segment]) -> int:
        """Append segments."""
        for segment in segments:
            node = self._extend(node, *segment)
        return node


class _Reading:
    """One file being read."""

    def __init__(self, log: Log, tree: Tree) -> None:
        self._log = log
        self.tree = tree
        self._traces: set[str] = set()
        self._file_trace = ""
        self.names = RecentRecordNames()
        self.answers = _Answers(tree)
        self.paths = _Paths(tree)
        if log.checkpoint:
            left = msgspec.msgpack.decode(log.checkpoint, type=_Checkpoint)
            self._file_trace = left.file_trace
            self.names = RecentRecordNames(left.occurrences)
            for response, head, end, trace in left.answered:
                self.answers.remember(response, _Answered(head, end, trace))

    def checkpoint(self) -> bytes:
        """What the next reading needs."""
        left = _Checkpoint(self._file_trace, self.names.counts(), self.answers.rows())
        return msgspec.msgpack.encode(left)

    def plan(
        self,
        prompt: Prompt,
        earlier: _Answered | None,
        decode: Callable[[Part], list[Segment]],
    ) -> _Plan:
        """Find what of a prompt was met before, and decode the rest. Adds nothing to the tree."""
        head = self.paths.follow(ROOT, prompt.head, decode)
        start = None if head.end is None else self._start_of_turns(prompt, earlier, head.end)
        return _Plan(head, self.paths.follow(start, prompt.turns, decode))

    def place(self, prompt: Prompt, plan: _Plan, earlier: _Answered | None) -> tuple[int, int]:
        """Add what is new; the nodes where the head and the whole prompt end."""
        head = self.paths.complete(plan.head, ROOT)
        start = self._start_of_turns(prompt, earlier, head)
        if start is None:
            missing = prompt.unlogged or prompt.continues or ""
            start = self.paths.extend(head, [Segment(Kind.UNLOGGED, "", missing)])
        return head, self.paths.complete(plan.turns, start)

    def _start_of_turns(self, prompt: Prompt, earlier: _Answered | None, head: int) -> int | None:
        """The node that the turns follow; ``None``: a stand-in for what the record does not hold."""
        if prompt.continues is None and prompt.unlogged is None:
            return head
        return self.answers.end(earlier, head)

    def new_trace(self, trace: str) -> list[Trace]:
        """The trace, unless it was yielded before, not too long ago: twice does no harm."""
        if trace in self._traces:
            return []
        if len(self._traces) >= TRACE_LIMIT:
            self._traces.clear()
        self._traces.add(trace)
        return [Trace(id=trace, project=self._log.path.parent.name or None)]

    def trace_of_file(self, line: Line) -> str:
        """The trace of calls without a session, named by the file and its first such record."""
        if not self._file_trace:
            digest = hashlib.sha256(self._log.path.name.encode("utf-8", "surrogateescape"))
            digest.update(b"\0" + line.data.strip())
            self._file_trace = digest.hexdigest()[:32]
        return self._file_trace

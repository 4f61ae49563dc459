"""Request and response JSONL of a model API: the part that is the same for every API.

People log API traffic in many envelopes, one record a line. All of these are read:

- the bare request, or the bare response;
- ``{request, response}``, ``{request_body, response_body}``, ``{params, response}``;
- request fields at the top level, beside ``response`` or ``usage``;
- bodies one level deeper, as HTTP middlewares and batch files have them:
  ``{method, url, body}``, ``{request: {url, headers, body}, response: {status_code, body}}``,
  ``{custom_id, result: {type, message}}``;
- any of these bodies as a string that holds JSON.

Metadata may stand beside them under the names listed below. What an API's own fields mean is the
business of the modules `openai` and `anthropic`, which subclass `ApiLog`.

Identity of a call: the provider's response id; else, if the record has a time or a request id of
its own, its bytes and how often they stood in the file before; else none. So a copied file
merges with its original, and two equal requests without a time are two calls.

A request that failed and reports no usage was not paid for: it is neither a call nor an issue.
Batch input and output files are not joined: the inputs are prompts without usage, the outputs
are usage and completions behind one `Kind.UNLOGGED` segment each.
"""

from __future__ import annotations

import hashlib
import json
import re
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, NamedTuple, TypeVar

import msgspec

from forkpoint.parsers.base import ROOT, Tree
from forkpoint.parsers.logs import BAD_RECORD, HEAD_BYTES, Head, Line, Log, describe
from forkpoint.parsers.records import Call, Issue, Kind, Record, Trace, Usage

T = TypeVar("T")

Fields = dict[str, msgspec.Raw]
"""A JSON object whose values are still the log's own bytes."""

SESSION_KEYS = ("session_id", "conversation_id", "thread_id", "trace_id")
REQUEST_ID_KEYS = ("request_id", "id")
START_KEYS = (
    "start_time",
    "started_at",
    "startTime",
    "timestamp",
    "created_at",
    "time",
    "created",
)
END_KEYS = ("end_time", "ended_at", "endTime", "completed_at")
SECONDS_KEYS = ("duration_s", "latency_s", "duration_seconds", "latency_seconds")
MILLISECONDS_KEYS = ("duration_ms", "latency_ms")
UNITLESS_KEYS = ("duration", "latency")
STATUS_KEYS = ("status_code", "http_status", "status")
BATCH_RESULTS = frozenset(("succeeded", "errored", "canceled", "expired"))
URL_KEYS = ("base_url", "api_base", "url", "endpoint")
# fmt: off
METADATA_KEYS = frozenset((
    *SESSION_KEYS, *REQUEST_ID_KEYS, *START_KEYS, *END_KEYS, *SECONDS_KEYS, *MILLISECONDS_KEYS,
    *UNITLESS_KEYS, *STATUS_KEYS, *URL_KEYS, "metadata", "model", "model_name", "provider",
    "custom_id", "method", "error", "usage", "user",
))
# fmt: on

PROVIDERS = {
    "anthropic": "anthropic",
    "aws": "aws",
    "amazon": "aws",
    "bedrock": "aws",
    "azure": "azure",
    "cerebras": "cerebras",
    "cohere": "cohere",
    "deepseek": "deepseek",
    "fireworks": "fireworks",
    "gemini": "google",
    "google": "google",
    "groq": "groq",
    "mistral": "mistral",
    "moonshot": "moonshotai",
    "openai": "openai",
    "openrouter": "openrouter",
    "perplexity": "perplexity",
    "together": "together",
    "vertex": "google",
    "vertexai": "google",
    "xai": "x-ai",
}
"""Words that logs name providers by (lower case, no punctuation), to the names used for prices."""

HOSTS = {
    "api.anthropic.com": "anthropic",
    "amazonaws.com": "aws",
    "azure.com": "azure",
    "azure-api.net": "azure",
    "api.cerebras.ai": "cerebras",
    "api.cohere.com": "cohere",
    "api.deepseek.com": "deepseek",
    "api.fireworks.ai": "fireworks",
    "googleapis.com": "google",
    "api.groq.com": "groq",
    "api.mistral.ai": "mistral",
    "api.moonshot.ai": "moonshotai",
    "api.openai.com": "openai",
    "openrouter.ai": "openrouter",
    "api.perplexity.ai": "perplexity",
    "api.together.xyz": "together",
    "api.x.ai": "x-ai",
}
"""Host names, or the ends of them, to the same names."""

CACHE_MARKERS = ("cache_control", "prompt_cache_breakpoint")
"""Where a prompt may be cut for caching: not part of what the model is sent."""

MEMO_LIMIT = 1 << 17
"""Parts of prompts whose nodes are remembered while a file is read (some 25 MB)."""
OCCURRENCE_WINDOW = 1024
"""Records without a response id among which equal ones are told apart by number."""
RESPONSE_WINDOW = 512
"""Stored responses that a later request may continue by id."""

_FIELDS = msgspec.json.Decoder(Fields)
_RAWS = msgspec.json.Decoder(list[msgspec.Raw])
_TEXT = msgspec.json.Decoder(str)
_ANY = msgspec.json.Decoder()
_ID = msgspec.json.Decoder(str | int)
_ENCODER = msgspec.json.Encoder()

_OBJECT, _ARRAY, _STRING = b"{", b"[", b'"'
_EMPTY = (b"null", b"false", b'""', b"{}", b"[]", b"0")
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SMALL_RANDOM_ID = re.compile(r"chatcmpl-\d{1,3}")
"""Ollama draws its response ids from 999 numbers: they identify nothing."""


# ---- JSON --------------------------------------------------------------------------------------


def decode(data: bytes | msgspec.Raw, decoder: msgspec.json.Decoder[T], what: str = "record") -> T:
    """Decode one JSON value, the fast way first, then as leniently as `logs.decode_json` does.

    Half a surrogate pair becomes U+FFFD, ``NaN`` and infinities become ``null``.

    Raises:
        ValueError: it is not JSON, or not of the decoder's type; the text names `what`.
        RecursionError: it is nested too deeply.
    """
    try:
        return decoder.decode(data)
    except msgspec.ValidationError as error:
        raise ValueError(f"{what}: {describe(error)}") from error
    except msgspec.DecodeError:
        mended = _mended(bytes(data))
        if mended is None:
            raise
    try:
        return decoder.decode(mended)
    except msgspec.ValidationError as error:
        raise ValueError(f"{what}: {describe(error)}") from error


def _mended(data: bytes) -> bytes | None:
    """What strict JSON forbids, replaced; ``None`` if that is not what is wrong with it."""
    if not any(mark in data for mark in (b"\\ud", b"\\uD", b"NaN", b"Infinity")):
        return None
    value = json.loads(data, parse_constant=lambda _: None)
    return _LONE_SURROGATE.sub("\ufffd", json.dumps(value, ensure_ascii=False)).encode()


def decode_fields(raw: msgspec.Raw, what: str) -> Fields:
    """An object's fields.

    Raises:
        ValueError: it is not an object.
    """
    return decode(raw, _FIELDS, what)


def decode_list(raw: msgspec.Raw, what: str) -> list[msgspec.Raw]:
    """An array's elements.

    Raises:
        ValueError: it is not an array.
    """
    return decode(raw, _RAWS, what)


def decode_text(raw: msgspec.Raw, what: str) -> str:
    """A string.

    Raises:
        ValueError: it is not one.
    """
    return decode(raw, _TEXT, what)


def starts_with(raw: msgspec.Raw, mark: bytes) -> bool:
    """Whether a value is an object (``{``), an array (``[``) or a string (``"``)."""
    return bytes(memoryview(raw)[:1]) == mark


def is_text(raw: msgspec.Raw) -> bool:
    """Whether a value is a string."""
    return starts_with(raw, _STRING)


def is_list(raw: msgspec.Raw) -> bool:
    """Whether a value is an array."""
    return starts_with(raw, _ARRAY)


def present(fields: Fields | None, *names: str) -> msgspec.Raw | None:
    """The first of the named values that is there and is not ``null``."""
    if fields is not None:
        for name in names:
            if name in fields:
                raw = fields[name]
                if len(memoryview(raw)) != 4 or bytes(raw) != b"null":
                    return raw
    return None


def text_of(fields: Fields | None, *names: str) -> str | None:
    """The first of the named values, as a string.

    Raises:
        ValueError: it is not one.
    """
    raw = present(fields, *names)
    return None if raw is None else decode_text(raw, names[0])


def word_of(fields: Fields | None, name: str) -> str | None:
    """A named value if it is a string; ``None`` for anything else."""
    raw = present(fields, name)
    return decode_text(raw, name) if raw is not None and is_text(raw) else None


def id_of(fields: Fields | None, *names: str) -> str | None:
    """The first of the named values, an id: a string, or a whole number.

    Raises:
        ValueError: it is neither.
    """
    raw = present(fields, *names)
    return None if raw is None else str(decode(raw, _ID, names[0])) or None


def canonical(value: Any, *, without: Sequence[str] = ()) -> str:
    """A JSON value as compact JSON in the log's key order.

    In an object, cache markers, ``null`` values and the keys in `without` are left out: the first
    two do not reach the model, so they must not make two prompts differ.
    """
    if isinstance(value, dict):
        dropped = {*CACHE_MARKERS, *without}
        value = {
            key: item for key, item in value.items() if item is not None and key not in dropped
        }
    return _ENCODER.encode(value).decode()


def canonical_raw(raw: msgspec.Raw, what: str, *, without: Sequence[str] = ()) -> str:
    """`canonical` of a value that is still bytes.

    Raises:
        ValueError: it is not JSON, or holds a number that no computer has.
    """
    return canonical(decode(raw, _ANY, what), without=without)


# ---- One record --------------------------------------------------------------------------------


class Envelope(NamedTuple):
    """One record, taken apart."""

    record: Fields
    request: Fields | None
    response: Fields | None
    answer: str | None
    """The response where it was logged as plain text."""
    around: tuple[Fields, ...]
    """The objects that metadata may stand in: the record, then what wraps request and response."""
    failed: bool
    """An HTTP status of 400 or more, an error, or a batch result other than ``succeeded``."""

    @property
    def usage(self) -> msgspec.Raw | None:
        """What the provider or the logger reported, wherever it stands."""
        raw = present(self.response, "usage")
        for fields in self.around:
            raw = present(fields, "usage") if raw is None else raw
        return raw

    @property
    def empty(self) -> bool:
        """Neither a request nor a response."""
        return self.request is None and self.response is None and self.answer is None


def open_envelope(data: bytes) -> Envelope:
    """Find request, response and metadata in one record.

    Raises:
        ValueError: it is not a JSON object.
        RecursionError: it is nested too deeply.
    """
    record = decode(data, _FIELDS)
    request_around, request = _find_request(record)
    response_around, response, answer = _find_response(record)
    if request is None and response is None and _looks_like_response(record):
        response = record
    elif request is None and ("messages" in record or "input" in record):
        request = record
    around = tuple(
        fields for fields in (record, request_around, response_around) if fields is not None
    )
    wrapped = [fields for fields in (record, response_around, response) if fields is not None]
    failed = any(_failed(fields) for fields in wrapped)
    return Envelope(record, request, response, answer, around, failed)


def _object_in(raw: msgspec.Raw | None, what: str) -> Fields | None:
    """An object, written as one or as a string that holds one; ``None`` for anything else."""
    if raw is None:
        return None
    if starts_with(raw, _OBJECT):
        return decode_fields(raw, what)
    if is_text(raw):
        text = decode_text(raw, what).lstrip()
        if text.startswith("{"):
            return decode(text.encode(), _FIELDS, what)
    return None


def _find_request(record: Fields) -> tuple[Fields | None, Fields | None]:
    for name in ("request", "request_body", "body", "params"):
        outer = _object_in(present(record, name), name) if name in record else None
        if outer is None:
            continue
        if "messages" in outer or "input" in outer:
            return None, outer
        inner = _object_in(present(outer, "body"), f"{name}.body")
        if inner is not None:
            return outer, inner
        if name in ("request", "request_body"):
            return None, outer
    return None, None


def _find_response(record: Fields) -> tuple[Fields | None, Fields | None, str | None]:
    for name in ("response", "response_body"):
        raw = present(record, name)
        outer = _object_in(raw, name)
        if outer is not None:
            inner = _object_in(present(outer, "body"), f"{name}.body")
            return (None, outer, None) if inner is None else (outer, inner, None)
        if raw is not None and is_text(raw):
            return None, None, _plain_answer(decode_text(raw, name))
        if raw is not None:
            raise ValueError(f"{name}: neither an object nor text (streamed chunks are not read)")
    result = _object_in(present(record, "result"), "result")
    if result is not None and "type" in result:
        return result, _object_in(present(result, "message"), "result.message"), None
    return None, None, None


def _plain_answer(text: str) -> str | None:
    if text.startswith(("data:", "event:")):
        raise ValueError("response: a stream of events is not read")
    return text or None


def _looks_like_response(record: Fields) -> bool:
    if "choices" in record or word_of(record, "object") == "response":
        return True
    return word_of(record, "type") == "message" and "usage" in record


def _failed(fields: Fields) -> bool:
    for name in STATUS_KEYS:
        raw = present(fields, name)
        if raw is not None and bytes(raw).isdigit() and int(bytes(raw)[:9]) >= 400:
            return True
    error = present(fields, "error")
    if error is not None and bytes(error) not in _EMPTY:
        return True
    kind = word_of(fields, "type")
    return kind == "error" or (kind != "succeeded" and kind in BATCH_RESULTS)


# ---- Metadata ----------------------------------------------------------------------------------


class Times(NamedTuple):
    """When a call was made, and how long it took."""

    started_at: datetime | None
    duration_s: float | None


def times_of(envelope: Envelope) -> Times:
    """When the call started and how long it took, from the record or else from the response.

    Raises:
        ValueError: a field that should hold a time does not.
    """
    started = ended = None
    for fields in envelope.around:
        started = started or moment_of(fields, *START_KEYS)
        ended = ended or moment_of(fields, *END_KEYS)
    duration = _stated_duration(envelope.around)
    if started is not None and ended is not None and ended >= started:
        duration = (ended - started).total_seconds()
    if started is None and ended is not None:
        started = ended - timedelta(seconds=duration or 0.0)
    if started is None:
        started = moment_of(envelope.response, "created", "created_at")
    return Times(started, duration)


def moment_of(fields: Fields | None, *names: str) -> datetime | None:
    """The first of the named values, a time: ISO 8601, or seconds, ms, µs or ns since 1970, told
    apart by their size. A time without a zone is UTC.

    Raises:
        ValueError: it is neither, or before 1970 or after 9999.
    """
    raw = present(fields, *names)
    if raw is None:
        return None
    text = decode_text(raw, names[0]).strip() if is_text(raw) else bytes(raw).decode()
    try:
        return _from_epoch(int(text) if text.isdecimal() else float(text))
    except (ValueError, OverflowError):
        pass
    try:
        moment = datetime.fromisoformat(text.removesuffix(" UTC"))
    except ValueError:
        raise ValueError(f"not a time: {text[:40]}") from None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment


def _from_epoch(value: float) -> datetime:
    """The moment a number stands for.

    Raises:
        ValueError, OverflowError: none.
    """
    if not 0 <= value < 1e20:
        raise ValueError("not a time")
    if value < 1e11:
        return _EPOCH + timedelta(seconds=value)
    if value < 1e14:
        return _EPOCH + timedelta(milliseconds=value)
    return _EPOCH + timedelta(microseconds=value if value < 1e17 else value / 1000)


def _stated_duration(around: Sequence[Fields]) -> float | None:
    """A duration in seconds. Without a unit in its name, only sizes with one reading count:
    below a minute it is seconds, from 600 on (no provider keeps a request open for so many
    seconds) milliseconds.
    """
    for fields in around:
        for names, divisor in ((SECONDS_KEYS, 1), (MILLISECONDS_KEYS, 1000)):
            value = _number(present(fields, *names))
            if value is not None:
                return value / divisor
        value = _number(present(fields, *UNITLESS_KEYS))
        if value is not None and not 60 <= value < 600:
            return value if value < 60 else value / 1000
    return None


def _number(raw: msgspec.Raw | None) -> float | None:
    """A finite number from 0 to a billion, or ``None``."""
    if raw is None:
        return None
    try:
        value = float(bytes(raw))
    except ValueError:
        return None
    return value if 0 <= value <= 1e9 else None


def provider_of(envelope: Envelope) -> str | None:
    """The provider that the record names in words, or by the host its request went to."""
    for fields in envelope.around:
        for name in ("provider", "custom_llm_provider"):
            word = word_of(fields, name) if name in fields else None
            found = None if word is None else _provider_named(word.lower())
            if found is not None:
                return found
    for fields in envelope.around:
        for name in URL_KEYS:
            url = word_of(fields, name) if name in fields else None
            host = url and re.match(r"https?://(?:[^/@]*@)?([^/:?#]+)", url)
            if host:
                return _host_provider(host[1].lower())
    return None


def _provider_named(word: str) -> str | None:
    letters = re.sub("[^a-z]", "", word)
    # "azure_openai" is Azure and "vertex_ai/anthropic" Vertex: the platform sends the bill.
    for platform in ("azure", "bedrock", "vertex", "openrouter"):
        if platform in letters:
            return PROVIDERS[platform]
    return PROVIDERS.get(letters) or PROVIDERS.get(re.split("[^a-z]", word)[0])


def _host_provider(host: str) -> str | None:
    for end, provider in HOSTS.items():
        if host == end or host.endswith(f".{end}"):
            return provider
    return None


def session_of(envelope: Envelope) -> str | None:
    """The id of the session, conversation, thread or trace, as the record or the request has it.

    Raises:
        ValueError: it is neither text nor a whole number.
    """
    for fields in (envelope.record, envelope.request):
        found = id_of(fields, *SESSION_KEYS) or id_of(_metadata(fields), *SESSION_KEYS)
        if found is not None:
            return found
    return None


def user_of(envelope: Envelope) -> str | None:
    """``metadata.user_id``: the weakest sign of what belongs together.

    Raises:
        ValueError: it is neither text nor a whole number.
    """
    for fields in (envelope.record, envelope.request):
        found = id_of(_metadata(fields), "user_id")
        if found is not None:
            return found
    return None


def _metadata(fields: Fields | None) -> Fields | None:
    return _object_in(present(fields, "metadata"), "metadata")


# ---- Prompts -----------------------------------------------------------------------------------


class Segment(NamedTuple):
    """What `Tree.extend` takes."""

    kind: Kind
    role: str
    text: str


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


class _Answered(NamedTuple):
    """Where a stored response ends. Nodes from a checkpoint are still hashes."""

    head: int | str
    completion: int | str
    trace: str


class _Checkpoint(msgspec.Struct, array_like=True):
    """What the next reading of a grown file needs. Bounded by the two windows."""

    file_trace: str
    occurrences: list[tuple[bytes, int]]
    answered: list[tuple[str, str, str, str]]


@dataclass
class _Reading:
    """All that is remembered while one file is read. Every part of it is bounded."""

    log: Log
    tree: Tree
    file_trace: str = ""
    traces: set[str] = field(default_factory=set)
    occurrences: OrderedDict[bytes, int] = field(default_factory=OrderedDict)
    answered: OrderedDict[str, _Answered] = field(default_factory=OrderedDict)
    memo: dict[tuple[int, str, bytes], int] = field(default_factory=dict)

    def resume(self) -> None:
        """Take up a checkpoint."""
        if not self.log.checkpoint:
            return
        left = msgspec.msgpack.decode(self.log.checkpoint, type=_Checkpoint)
        self.file_trace = left.file_trace
        self.occurrences.update(left.occurrences)
        for response, head, completion, trace in left.answered:
            self.answered[response] = _Answered(head, completion, trace)

    def save(self) -> None:
        """Leave a checkpoint."""
        name = self._hash
        left = _Checkpoint(
            self.file_trace,
            list(self.occurrences.items()),
            [(key, name(a.head), name(a.completion), a.trace) for key, a in self.answered.items()],
        )
        self.log.checkpoint = msgspec.msgpack.encode(left)

    def _hash(self, node: int | str) -> str:
        if isinstance(node, str):
            return node
        return "" if node == ROOT else self.tree.hash_of(node)

    def continued(self, earlier: _Answered | None, head: int) -> int | None:
        """Where a conversation goes on, or ``None`` if it had other tools or instructions: then
        what was sent before them is not what is sent now.
        """
        if earlier is None:
            return None
        same = self._hash(head) if isinstance(earlier.head, str) else head
        if earlier.head != same:
            return None
        end = earlier.completion
        return self.tree.resume(end) if isinstance(end, str) else end

    def occurrence(self, digest: bytes) -> int:
        """How often a record stood in the file before, as far back as the window goes."""
        count = self.occurrences.pop(digest, -1) + 1
        self.occurrences[digest] = count
        if len(self.occurrences) > OCCURRENCE_WINDOW:
            self.occurrences.popitem(last=False)
        return count

    def remember(self, response: str, answered: _Answered) -> None:
        """Note where a response ends, for requests that continue it."""
        self.answered.pop(response, None)
        self.answered[response] = answered
        if len(self.answered) > RESPONSE_WINDOW:
            self.answered.popitem(last=False)

    def is_new_trace(self, trace: str) -> bool:
        """Whether a trace has not been yielded yet, or not for long: yielding it twice is fine."""
        if trace in self.traces:
            return False
        if len(self.traces) >= MEMO_LIMIT:
            self.traces.clear()
        self.traces.add(trace)
        return True

    def trace_of_file(self, line: Line) -> str:
        """The trace of calls without a session, named by the file and its first such record."""
        if not self.file_trace:
            digest = hashlib.sha256(self.log.path.name.encode("utf-8", "surrogateescape"))
            digest.update(b"\0" + line.data.strip())
            self.file_trace = digest.hexdigest()[:32]
        return self.file_trace


class _Plan(NamedTuple):
    """A path through the tree: a node that is known, and what is still to be added to it."""

    node: int
    pending: list[tuple[Part, bytes, list[Segment]]]


class _PromptPlan(NamedTuple):
    head: _Plan
    joined: bool
    """The turns were followed from the node they stand at; else none of their nodes is known."""
    turns: _Plan


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
        api, why = api_of_file(head)
        return why if api == self.name else None

    def parse(self, log: Log, tree: Tree) -> Iterator[Record]:
        """Yield the file's calls, traces and issues."""
        reading = _Reading(log, tree)
        reading.resume()
        for line in log.lines():
            if isinstance(line, Issue):
                yield line
                continue
            try:
                records = self._read(line, reading)
            except BAD_RECORD as error:
                yield line.issue(error)
            else:
                yield from records
        reading.save()

    # What a subclass says about its API. All of these raise ValueError on fields of a wrong type.

    @abstractmethod
    def _prompt(self, request: Fields, response: Fields | None) -> Prompt: ...

    @abstractmethod
    def _segments(self, part: Part) -> list[Segment]: ...

    @abstractmethod
    def _completion(self, response: Fields) -> list[Segment] | None: ...

    @abstractmethod
    def _usage(self, raw: msgspec.Raw) -> tuple[Usage | None, float | None]: ...

    @abstractmethod
    def _provider(self, envelope: Envelope, model: str | None) -> str | None: ...

    @abstractmethod
    def _service_tier(self, response: Fields) -> str | None: ...

    @abstractmethod
    def _miss_reason(self, response: Fields) -> str | None: ...

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
        if envelope.request is None:
            prompt = Prompt([], [], unlogged=_unlogged_name(line, response_id))
        else:
            prompt = self._prompt(envelope.request, envelope.response)
        earlier = reading.answered.get(prompt.continues) if prompt.continues else None
        plan = self._plan_prompt(prompt, earlier, reading)
        completion = self._answer(envelope)
        # From here on nothing fails.
        trace = session or (earlier.trace if earlier else prompt.continues)
        trace = trace or prompt.first_turn or user or reading.trace_of_file(line)
        head, node = _place_prompt(prompt, plan, earlier, reading)
        end = None
        if completion is not None:
            end = node
            for segment in completion:
                end = reading.tree.extend(end, *segment)
            for key in self._continuable(envelope, response_id):
                reading.remember(key, _Answered(head, end, trace))
        found: list[Record] = []
        if reading.is_new_trace(trace):
            found.append(Trace(id=trace, project=reading.log.path.parent.name or None))
        identity = _identity(envelope, line, response_id, call.started_at, reading)
        found.append(
            msgspec.structs.replace(
                call, identity=identity, trace=trace, prompt=node, completion=end
            )
        )
        return found

    def _facts(self, envelope: Envelope, line: Line) -> Call:
        """The call but for its identity and its places in the tree and in a trace."""
        response = envelope.response or {}
        raw = envelope.usage
        usage, cost = (None, None) if raw is None else self._usage(raw)
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
            usage=usage,
            service_tier=self._service_tier(response),
            miss_reason=self._miss_reason(response),
            logged_cost_usd=cost,
        )

    def _refuse_others(self, envelope: Envelope) -> None:
        api = api_of_response(envelope.response)
        if api is not None and api[0] != self.name:
            raise ValueError(f"a record of another API: {api[1]}")

    def _answer(self, envelope: Envelope) -> list[Segment] | None:
        if envelope.answer is not None:
            return [Segment(Kind.TEXT, "assistant", envelope.answer)]
        return None if envelope.response is None else self._completion(envelope.response)

    def _continuable(self, envelope: Envelope, response_id: str | None) -> list[str]:
        """Ids under which a later request may continue this call."""
        return []

    def _plan_prompt(
        self, prompt: Prompt, earlier: _Answered | None, reading: _Reading
    ) -> _PromptPlan:
        head = self._plan(ROOT, prompt.head, reading)
        base: int | None = None
        if not head.pending:
            whole = prompt.continues is None and prompt.unlogged is None
            base = head.node if whole else reading.continued(earlier, head.node)
        return _PromptPlan(head, base is not None, self._plan(base, prompt.turns, reading))

    def _plan(self, base: int | None, parts: list[Part], reading: _Reading) -> _Plan:
        """Follow `parts` from a node (``None``: one not in the tree yet) as far as they were met
        before, and decode the rest.
        """
        pending = []
        node = ROOT if base is None else base
        for part in parts:
            digest = hashlib.blake2b(part.raw, digest_size=16).digest()
            if base is not None:
                met = reading.memo.get((node, part.reader, digest))
                if met is not None:
                    node = met
                    continue
                base = None
            pending.append((part, digest, self._segments(part)))
        return _Plan(node, pending)


def _place_prompt(
    prompt: Prompt, plan: _PromptPlan, earlier: _Answered | None, reading: _Reading
) -> tuple[int, int]:
    """Add what is new to the tree; the nodes where the head and the whole prompt end."""
    head = _place(plan.head.node, plan.head.pending, reading)
    if plan.joined:
        return head, _place(plan.turns.node, plan.turns.pending, reading)
    base = head
    missing = prompt.unlogged or prompt.continues
    if missing is not None:
        known = reading.continued(earlier, head)
        base = reading.tree.extend(head, Kind.UNLOGGED, "", missing) if known is None else known
    return head, _place(base, plan.turns.pending, reading)


def _place(node: int, pending: list[tuple[Part, bytes, list[Segment]]], reading: _Reading) -> int:
    memo, extend = reading.memo, reading.tree.extend
    if len(memo) >= MEMO_LIMIT:
        memo.clear()
    for part, digest, segments in pending:
        key = (node, part.reader, digest)
        for segment in segments:
            node = extend(node, *segment)
        memo[key] = node
    return node


def _identity(
    envelope: Envelope,
    line: Line,
    response_id: str | None,
    started_at: datetime | None,
    reading: _Reading,
) -> tuple[str, str] | None:
    if response_id is not None and not _SMALL_RANDOM_ID.fullmatch(response_id):
        return ("", response_id)
    own_id = any(present(fields, *REQUEST_ID_KEYS) is not None for fields in envelope.around)
    if not own_id and response_id is None and started_at is None:
        return None
    digest = hashlib.sha256(line.data.strip())
    return ("", f"{digest.hexdigest()}-{reading.occurrence(digest.digest()[:16])}")


def _unlogged_name(line: Line, response_id: str | None) -> str:
    """A text that no other call's unlogged prompt has, so that none seem to share theirs."""
    if response_id is not None and not _SMALL_RANDOM_ID.fullmatch(response_id):
        return f"prompt of {response_id}"
    return f"prompt of {hashlib.sha256(line.data.strip()).hexdigest()[:32]}:{line.offset}"


# ---- Which API ---------------------------------------------------------------------------------

# fmt: off
OTHER_FORMATS = frozenset((
    "hash_ids", "token_ids", "input_length", "payload", "parentUuid", "sessionId",
    "resourceSpans", "trajectory", "trajectory_format", "traj", "steps", "simulations",
    "history", "instance_id", "reward", "rewards", "score", "gts", "info", "eval", "samples",
    "observations", "generation_logprobs", "advantages",
))
"""Fields of other log formats whose rows also have messages or inputs."""

REQUEST_PARAMETERS = frozenset((
    "model", "messages", "tools", "functions", "tool_choice", "function_call", "temperature",
    "top_p", "n", "stream", "stream_options", "stop", "max_tokens", "max_completion_tokens",
    "presence_penalty", "frequency_penalty", "logit_bias", "logprobs", "top_logprobs", "user",
    "seed", "response_format", "parallel_tool_calls", "reasoning_effort", "store", "metadata",
    "service_tier", "prompt_cache_key", "system", "stop_sequences", "top_k", "thinking",
    "anthropic_version", "anthropic_beta",
    "request", "response", "request_body", "response_body", "body", "params",
))
"""What a row of bare messages without a model may also hold and still be a request."""

_ANTHROPIC_BLOCKS = frozenset(("tool_use", "tool_result", "thinking", "redacted_thinking"))
_OPENAI_ROLES = frozenset(("developer", "tool", "function"))
_OPENAI_PARAMETERS = frozenset((
    "functions", "max_completion_tokens", "response_format", "stream_options", "logprobs",
    "frequency_penalty", "presence_penalty", "parallel_tool_calls", "reasoning_effort", "n",
))
# fmt: on
_RESPONSES_PARAMETERS = frozenset(
    ("instructions", "previous_response_id", "max_output_tokens", "reasoning", "conversation")
)

Api = tuple[str, str]
"""The name of the parser, and the reason."""


def api_of_file(head: Head) -> tuple[str | None, str]:
    """Which API most of a file's first records are of, and why.

    Both parsers decide by this one function, so never both claim a file.
    """
    lines = head.lines[:32]
    if not lines and len(head.data) >= HEAD_BYTES:
        lines = [complete(head.data)]
    if not lines or not lines[0].lstrip().startswith(_OBJECT) or lines[0].strip() == _OBJECT:
        return None, ""
    found: dict[str, list[str]] = {}
    n_objects = 0
    for line in lines:
        try:
            envelope = open_envelope(line)
            n_objects += 1
            api = api_of(envelope)
        except BAD_RECORD:
            continue
        if api is not None:
            found.setdefault(api[0], []).append(api[1])
    if not found:
        return None, ""
    name, reasons = max(found.items(), key=lambda item: len(item[1]))
    return (name, reasons[0]) if 2 * sum(map(len, found.values())) >= n_objects else (None, "")


def api_of(envelope: Envelope) -> Api | None:
    """Which API a record is of, and why; ``None`` if it is not request or response JSONL."""
    answered = envelope.answer is not None or envelope.response not in (None, envelope.record)
    if "responses_create_params" in envelope.record:
        return None
    if not answered and not OTHER_FORMATS.isdisjoint(envelope.record):
        return None
    result = _object_in(present(envelope.record, "result"), "result")
    if "custom_id" in envelope.record and word_of(result, "type") in BATCH_RESULTS:
        return ("anthropic", "Message Batches results")
    found = api_of_response(envelope.response) or _api_of_url(envelope)
    if found is not None or envelope.request is None:
        return found
    return _api_of_request(envelope)


def api_of_response(response: Fields | None) -> Api | None:
    """Which API a response is of, by fields that only one of them has."""
    if response is None:
        return None
    raw = present(response, "choices")
    if raw is not None and is_list(raw):
        return ("openai", "Chat Completions responses")
    if word_of(response, "object") == "response":
        return ("openai", "Responses API responses")
    raw = present(response, "output")
    if raw is not None and is_list(raw) and "usage" in response:
        return ("openai", "Responses API responses")
    if word_of(response, "type") == "message" and word_of(response, "role") == "assistant":
        return ("anthropic", "Messages API responses")
    return None


def _api_of_url(envelope: Envelope) -> Api | None:
    for fields in envelope.around:
        path = (word_of(fields, "url") or "").partition("?")[0]
        if path.endswith("/v1/messages"):
            return ("anthropic", "requests to /v1/messages")
        if path.endswith(("/chat/completions", "/v1/responses")):
            return ("openai", f"requests to {path[path.rindex('/v1') if '/v1' in path else 0 :]}")
        headers = _object_in(present(fields, "headers"), "headers") or {}
        if any(name.lower() == "anthropic-version" for name in headers):
            return ("anthropic", "requests with an anthropic-version header")
    return None


def _api_of_request(envelope: Envelope) -> Api | None:
    request = {name: decode(raw, _ANY, name) for name, raw in (envelope.request or {}).items()}
    messages = request.get("messages")
    if isinstance(messages, list):
        if not messages or not all(_is_message(message) for message in messages):
            return None
        if envelope.request is envelope.record and not _is_call(envelope, messages):
            return None
        return _api_of_messages(request, messages)
    return _api_of_input(envelope, request)


def _is_message(message: Any) -> bool:
    """Whether it has a role; where keys are sorted and the text is cut, only ``content`` is left."""
    return isinstance(message, dict) and isinstance(
        message.get("role", "" if "content" in message else None), str
    )


def _is_call(envelope: Envelope, messages: list[dict[str, Any]]) -> bool:
    """Whether top-level messages are a request, and not a row of training data."""
    record = envelope.record
    if envelope.response is not None or envelope.answer is not None or "usage" in record:
        return True
    if present(record, "model", "model_name") is not None:
        return True
    known = record.keys() <= (REQUEST_PARAMETERS | METADATA_KEYS)
    return known and messages[-1].get("role") != "assistant"


def _api_of_messages(request: dict[str, Any], messages: list[dict[str, Any]]) -> Api:
    tools = [tool for tool in _list(request.get("tools")) if isinstance(tool, dict)]
    blocks = [
        block
        for message in messages
        for block in _list(message.get("content"))
        if isinstance(block, dict)
    ]
    if any("input_schema" in tool for tool in tools):
        return ("anthropic", "requests with tools that have an input_schema")
    if not _ANTHROPIC_BLOCKS.isdisjoint(str(block.get("type")) for block in blocks):
        return ("anthropic", "requests with tool_use, tool_result or thinking blocks")
    if "anthropic_version" in request:
        return ("anthropic", "requests with an anthropic_version")
    openai = ("openai", "Chat Completions requests: messages with roles")
    roles = {message.get("role", "") for message in messages}
    if (
        messages[0].get("role") == "system"
        or not _OPENAI_ROLES.isdisjoint(roles)
        or not _OPENAI_PARAMETERS.isdisjoint(request)
        or any("function" in tool for tool in tools)
        or any("tool_calls" in message for message in messages)
    ):
        return openai
    if "max_tokens" in request:
        if "system" in request:
            return ("anthropic", "requests with max_tokens and a top-level system prompt")
        if any("cache_control" in block for block in blocks):
            return ("anthropic", "requests with max_tokens and cache_control")
        if is_claude(request.get("model")):
            return ("anthropic", "requests with max_tokens for a Claude model")
    return openai


def _api_of_input(envelope: Envelope, request: dict[str, Any]) -> Api | None:
    """The Responses API has ``input``, as embeddings and many other logs do."""
    found, model = request.get("input"), request.get("model")
    if not isinstance(model, str) or "embed" in model:
        return None
    if envelope.answer is not None or "output" in envelope.record:
        return None
    why = ("openai", "Responses API requests: model and input")
    if isinstance(found, list):
        items = [item for item in found if isinstance(item, dict)]
        typed = all("role" in item or "type" in item for item in items)
        return why if items and len(items) == len(found) and typed else None
    if isinstance(found, str):
        known = request.keys() <= (
            METADATA_KEYS
            | REQUEST_PARAMETERS
            | _RESPONSES_PARAMETERS
            | {"input", "text", "include"}
        )
        return why if known or not _RESPONSES_PARAMETERS.isdisjoint(request) else None
    return None


def is_claude(model: Any) -> bool:
    """Whether a model's name is one of Anthropic's, with or without a platform's prefix."""
    return isinstance(model, str) and re.match(r"(.*[./])?claude", model.lower()) is not None


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


_JSON_TOKEN = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[{}\[\],:"]|[^\s"{}\[\],:]+', re.DOTALL)


def complete(data: bytes) -> bytes:
    """The beginning of a long JSON line, made into valid JSON. Text that is cut off becomes empty,
    other things that are cut off are left out.

    >>> complete(b'{"a": [1, {"b": "c", "d": "e')
    b'{"a": [1, {"b": "c", "d": ""}]}'
    """
    closers = bytearray()
    end, closing, before = 0, b"", b""
    for token in _JSON_TOKEN.finditer(data):
        text = token[0]
        if text == b'"':
            # A text without an end; as a key it goes.
            if before == b":":
                end, closing = token.end(), b'"' + closers[::-1]
            break
        if text in (b"{", b"["):
            closers += b"}" if text == b"{" else b"]"
        elif text in (b"}", b"]"):
            del closers[-1:]
        # What stands before a comma is whole; so is an object or array once it is open or closed.
        if text in (b"{", b"[", b"}", b"]"):
            end, closing = token.end(), bytes(closers[::-1])
        elif text == b",":
            end, closing = token.start(), bytes(closers[::-1])
        before = text
        if not closers:
            break
    return data[:end] + closing

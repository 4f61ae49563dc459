"""Request logs with token ids: one request a line, its prompt as the ids the engine saw.

Record: ``{"request_id": …, "token_ids": [int, …], …}``. Engines and rollout workers name the same
things differently; the names read here are

- the prompt: `token_ids`, `prompt_token_ids`, `prompt_ids` or `input_ids`, exactly one of them;
- the response: `output_token_ids`, `completion_token_ids` or `response_ids`, at most one. Without
  it, the ids are the prompt of a request, or a whole sampled sequence: either way one sequence;
- `timestamp`: seconds, milliseconds, microseconds or nanoseconds since 1970, told apart by size
  (a date between 1973 and 5138 fits one of them only), or ISO 8601;
- `session_id` or `tenant`: the trace; `model`;
- `group`, `prompt_id` or `uid`: samples of one prompt share it; `reward` or `score`; `answer`, what
  the response was found to answer. A record that has any of these is a rollout: a trace of its own,
  unless `session_id` says which trace it is in;
- `prompt` and `response`: the same two sequences as text. A prompt that is no text (a list of
  messages) says nothing here;
- per token of the response: `logprobs`, `response_logprobs`, `output_logprobs`,
  `rollout_log_probs` or `completion_logprobs`, at most one of them, of numbers and nulls;
  `entropies`, in nats over the whole vocabulary; `top_logprobs`, the most likely tokens at each
  position, as ``[[id, logprob], …]``, ``{token: logprob}`` or vLLM's
  ``{id: {"logprob": …, "rank": …}}``. Empty lists were not logged.

Where an answer or what is said per token cannot be read (wrong types; not one entry a token), that
is an issue, and the call is kept without it.

The log states no usage: how much was billed or cached is unknown, how long sequences are is exact.
A prompt and its response are entered as one sequence, because the next turn's prompt repeats them
as one: the runs of ids that a sequence is cut into do not end where the prompt does. Nor do the
pieces of their text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, ClassVar

import msgspec

from forkpoint.parsers.base import ROOT, Tree, text_bytes
from forkpoint.parsers.logs import Head, Line, Log, decode_json, read_each
from forkpoint.parsers.record_names import RecordNames
from forkpoint.parsers.records import Call, Issue, Record, Scores, Trace

_TokenId = Annotated[int, msgspec.Meta(ge=0, le=2**32 - 1)]
_Ids = list[_TokenId]

_PROMPT_FIELDS = ("token_ids", "prompt_token_ids", "prompt_ids", "input_ids")
_LOGPROB_FIELDS = (
    "logprobs",
    "response_logprobs",
    "output_logprobs",
    "rollout_log_probs",
    "completion_logprobs",
)
_OTHER_FORMATS = frozenset(
    {"messages", "choices", "request", "hash_ids", "steps", "nodes", "attention_mask", "labels"}
    | {"export_sequence_idx"}
)
"""Fields of formats that carry token ids beside something better, and of tokenised training data."""

_CUT_FIRST_LINE = re.compile(
    rb'\s*+\{(?:\s*+"(?!export_sequence_idx")(?:[^"\\]|\\.)*+"\s*+:'
    rb'\s*+(?:"(?:[^"\\]|\\.)*+"|[-+.\w]++)\s*+,)*+'
    rb'\s*+"(?:(?:prompt_)?token_ids|prompt_ids|input_ids)"\s*+:\s*+\[\s*+\d++\s*+,',
    re.DOTALL,
)
"""The beginning of a first record that is longer than the head: scalar fields, then ids."""

_UNIQUE_LENGTH = 16
"""Characters from which a group key is taken to be unique in the world."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECONDS_PER_UNIT = ((1e11, 1e6), (1e14, 1e3), (1e17, 1.0), (1e20, 1e-3))
"""Below the first number, a timestamp is in the unit of the second: s, ms, µs, ns."""


class _Record(msgspec.Struct):
    request_id: str | int | None = None
    token_ids: _Ids | None = None
    prompt_token_ids: _Ids | None = None
    prompt_ids: _Ids | None = None
    input_ids: _Ids | None = None
    output_token_ids: _Ids | None = None
    completion_token_ids: _Ids | None = None
    response_ids: _Ids | None = None
    timestamp: int | float | str | None = None
    model: str | None = None
    session_id: str | int | None = None
    tenant: str | int | None = None
    group: str | int | None = None
    prompt_id: str | int | None = None
    uid: str | int | None = None
    reward: float | bool | None = None
    score: float | bool | None = None
    prompt_text: Any = msgspec.field(default=None, name="prompt")
    response_text: Any = msgspec.field(default=None, name="response")

    @property
    def prompt(self) -> _Ids:
        """The one prompt. Raises ValueError: there is none, or two."""
        stated = [name for name in _PROMPT_FIELDS if getattr(self, name) is not None]
        if len(stated) != 1:
            what = " and ".join(stated) or "no token ids"
            raise ValueError(f"one list of prompt token ids is needed; the record has {what}")
        ids: _Ids = getattr(self, stated[0])
        return ids

    @property
    def response(self) -> _Ids | None:
        """The response, if it was logged. Raises ValueError: there are two."""
        stated = [
            ids
            for ids in (self.output_token_ids, self.completion_token_ids, self.response_ids)
            if ids is not None
        ]
        if len(stated) > 1:
            raise ValueError("the record states its response's token ids more than once")
        return stated[0] if stated else None

    @property
    def text(self) -> str | None:
        """Prompt and response as one text, if all that was logged as ids was logged as text too."""
        prompt, response = self.prompt_text, self.response_text
        if not isinstance(prompt, str):
            return None
        if self.response:
            return prompt + response if isinstance(response, str) else None
        return None if response else prompt

    @property
    def group_key(self) -> str | None:
        for key in (self.group, self.prompt_id, self.uid):
            if key is not None:
                return str(key)
        return None

    @property
    def outcome(self) -> float | None:
        reward = self.score if self.reward is None else self.reward
        return None if reward is None else float(reward)


class _Likely(msgspec.Struct):
    logprob: float | None = None


_Position = list[tuple[int | str, float | None]] | dict[str, float | _Likely | None] | None
"""The most likely tokens at one position."""


class _Dump(_Record):
    """A record with what rollout dumps add: a call can be read without it."""

    answer: str | int | float | bool | None = None
    logprobs: list[float | None] | None = None
    response_logprobs: list[float | None] | None = None
    output_logprobs: list[float | None] | None = None
    rollout_log_probs: list[float | None] | None = None
    completion_logprobs: list[float | None] | None = None
    top_logprobs: list[_Position] | None = None
    entropies: list[float | None] | None = None

    @property
    def sampled_logprobs(self) -> list[float | None] | None:
        """ln p of the response's tokens, if logged. Raises ValueError: they are stated twice."""
        stated = [name for name in _LOGPROB_FIELDS if getattr(self, name)]
        if len(stated) > 1:
            raise ValueError(f"logprobs of the response are stated as {' and '.join(stated)}")
        logprobs: list[float | None] | None = getattr(self, stated[0]) if stated else None
        return logprobs


_DECODER = msgspec.json.Decoder(_Record)
_DUMP_DECODER = msgspec.json.Decoder(_Dump)


class TokenIds:
    """Reads one request a line with token ids; see the module's docstring."""

    name: ClassVar[str] = "token-ids"
    title: ClassVar[str] = "Token-id request log"
    checked: ClassVar[str] = "2026-11"
    evidence: ClassVar[tuple[str, ...]] = (
        "token ids",
        "text",
        "timestamps",
        "rewards",
        "logprobs",
    )
    locations: ClassVar[tuple[str, ...]] = ()
    whole_prompts: ClassVar[bool] = True
    grows: ClassVar[bool] = True

    def identify(self, head: Head) -> str | None:
        """Why the file is of this format, or ``None``."""
        for record in head.objects:
            if (why := _identify_record(record)) is not None:
                return why
        if not head.lines and _CUT_FIRST_LINE.match(head.data):
            return "its first record is a long list of token ids"
        return None

    def parse(self, log: Log, tree: Tree) -> Iterator[Record]:
        """Yield one call a line, its tokens' scores, and the traces and rollouts it belongs to."""
        reading = _Reading(log, tree)
        yield from read_each(log.lines(), reading.records)
        log.checkpoint = reading.names.checkpoint()


def _identify_record(record: dict[str, Any]) -> str | None:
    if _OTHER_FORMATS & record.keys() or not isinstance(record.get("response"), str | None):
        return None
    for name in _PROMPT_FIELDS:
        ids = record.get(name)
        if isinstance(ids, list) and ids and all(type(token) is int for token in ids):
            return f"each line has a request's token ids in {name}"
    return None


class _Reading:
    """One file being read: what its records need to know of those before them."""

    def __init__(self, log: Log, tree: Tree) -> None:
        self.names = RecordNames(log.checkpoint)
        self._tree = tree
        self._traces: dict[str, Trace] = {}

    def records(self, line: Line) -> Iterator[Record]:
        """The record's call, after its trace where that is new or has changed; then its scores.

        Raises:
            ValueError, RecursionError: the record cannot be read.
        """
        record, issue = _decode(line)
        prompt_ids, response_ids = record.prompt, record.response
        started_at = _instant(record.timestamp)
        prompt = self._tree.extend_tokens(ROOT, prompt_ids)
        completion = None
        if response_ids:
            completion = self._tree.extend_tokens(ROOT, prompt_ids + response_ids)
        digest = self.names.digest(line.data)
        key = self._key(record, digest)
        leaf = prompt if completion is None else completion
        trace = self._trace(record, digest, key, leaf)
        text = None if record.text is None else self._tree.extend_text(ROOT, "", record.text)
        if self._traces.get(trace.id) != trace:
            self._traces[trace.id] = trace
            yield trace
        call = Call(
            identity=None if key is None else ("", key),
            trace=trace.id,
            line=line.line,
            offset=line.offset,
            prompt=prompt,
            completion=completion,
            text=text,
            text_start=None if text is None else text_bytes(record.prompt_text),
            started_at=started_at,
            model=record.model,
        )
        yield call
        if issue is None:
            yield from _scores(record, call, line)
        else:
            yield issue

    def _key(self, record: _Record, digest: str) -> str | None:
        """What makes the request itself, in every copy of the log. Ids are unique in one run at
        best (``0-0-0``), so the content is part of the key."""
        if record.request_id is not None:
            return f"{record.request_id}:{digest}"
        return None if record.timestamp is None else self.names.numbered(digest)

    def _scoped(self, group: str) -> str:
        """A group's name. A UUID or a hash names one group in all files, a small number does not."""
        return group if len(group) >= _UNIQUE_LENGTH else f"{self.names.file_id}/{group}"

    def _trace(self, record: _Dump, digest: str, key: str | None, leaf: int) -> Trace:
        group, reward = record.group_key, record.outcome
        project = None if record.tenant is None else str(record.tenant)
        session = None if record.session_id is None else str(record.session_id)
        answer = None if record.answer in (None, "") else str(record.answer)
        rollout = group is not None or reward is not None or answer is not None
        if group is not None:
            group = self._scoped(group)
        if session is None:
            if rollout:
                key = key or self.names.numbered(digest)
                return Trace(
                    id=key, group=group, reward=reward, answer=answer, leaf=leaf, project=project
                )
            return Trace(id=self.names.file_id if project is None else project, project=project)
        before = self._traces.get(session)
        if not rollout and (before is None or before.leaf is None):
            return Trace(id=session, project=project)
        # Turns of one rollout add to what is known of it, and later turns may stand in a part of
        # the file not yet written.
        self.names.require_reread()
        if before is not None:
            group = before.group if group is None else group
            reward = before.reward if reward is None else reward
            answer = before.answer if answer is None else answer
        return Trace(
            id=session, group=group, reward=reward, answer=answer, leaf=leaf, project=project
        )


def _decode(line: Line) -> tuple[_Dump, Issue | None]:
    """A record, without answer and scores where these are what cannot be read, and then why.

    Raises:
        ValueError, RecursionError: the record cannot be read.
    """
    try:
        return decode_json(line.data, _DUMP_DECODER, _Dump), None
    except msgspec.ValidationError as error:
        record = decode_json(line.data, _DECODER, _Record)
        return _Dump(**msgspec.structs.asdict(record)), line.issue(error)


def _scores(record: _Dump, call: Call, line: Line) -> Iterator[Scores | Issue]:
    """What the record says of its response's tokens, if anything."""
    response_ids = record.response or []
    top, entropies = record.top_logprobs or None, record.entropies or None
    try:
        logprobs = record.sampled_logprobs
        if logprobs is None and top is None and entropies is None:
            return
        if call.completion is None:
            raise ValueError("scores of a response whose token ids the record does not have")
        if logprobs is None and top is not None and len(top) == len(response_ids):
            logprobs = [_logprob_of(*pair) for pair in zip(response_ids, top, strict=True)]
        yield Scores(
            trace=call.trace,
            line=line.line,
            offset=line.offset,
            prompt=call.prompt,
            completion=call.completion,
            tokens=response_ids,
            logprobs=[None] * len(response_ids) if logprobs is None else logprobs,
            top=None if top is None else [_values(position) for position in top],
            entropies=entropies,
        )
    except ValueError as error:
        yield line.issue(error)


def _pairs(position: _Position) -> Iterable[tuple[int | str, float | None]]:
    if position is None:
        return ()
    if isinstance(position, list):
        return position
    return (
        (token, likely.logprob if isinstance(likely, _Likely) else likely)
        for token, likely in position.items()
    )


def _values(position: _Position) -> list[float]:
    """The logprobs at one position. What stands for minus infinity in JSON is no number."""
    return [logprob for _, logprob in _pairs(position) if logprob is not None]


def _logprob_of(token_id: int, position: _Position) -> float | None:
    """The sampled token's own logprob, where the position's list names it by its id."""
    name = str(token_id)
    return next((logprob for token, logprob in _pairs(position) if str(token) == name), None)


def _instant(timestamp: float | str | None) -> datetime | None:
    """The moment a timestamp names. Raises ValueError: it names none."""
    if timestamp is None:
        return None
    if isinstance(timestamp, str):
        moment = datetime.fromisoformat(timestamp)
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    for bound, microseconds in _MICROSECONDS_PER_UNIT:
        if 0 <= timestamp < bound:
            return _EPOCH + timedelta(microseconds=timestamp * microseconds)
    raise ValueError(f"timestamp {timestamp!r} is no time since 1970")

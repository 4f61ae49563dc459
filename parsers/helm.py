"""Runs of HELM: ``scenario_state.json``, one JSON document with all requests and their results.

Document: ``{"adapter_spec": {…}, "request_states": [{"instance": {"input", "references", "id", …},
"train_trial_index": 0, "output_mapping": …, "request": {"model", "prompt" | "messages", …},
"result": {"success", "cached", "request_time", "request_datetime", "completions": [{"text",
"logprob", "tokens": [{"text", "logprob"}]}]}}]}`` (github.com/stanford-crfm/helm,
src/helm/common/request.py and src/helm/benchmark/adaptation/). What to know about these runs:

- A completion is a rollout of its instance; a request may return several, and is one call.
- ``cached`` results were served from HELM's own cache and carry the time of the request that was
  paid for. Equal requests of one time are one call, in all runs that repeat it.
- A request that failed (``success`` false) or was not made yet has no completions: it is no call.
- With ``echo_prompt`` the prompt is the beginning of each completion, and of its tokens.
- Requests that score one reference of an instance (``reference_index``), and embeddings, generate
  nothing that would be a rollout.
- For chat models HELM makes up tokens from the text, with logprobs of 0: those say nothing.
- Metrics stand in other files (``stats.json``, ``per_instance_stats.json``): there are no rewards.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from typing import Any, ClassVar, NamedTuple

import msgspec

from forkpoint.parsers.base import ROOT, Tree
from forkpoint.parsers.chat import Segment, extend_all, message_segments
from forkpoint.parsers.document import decode_document
from forkpoint.parsers.envelope import moment_of
from forkpoint.parsers.json_list import elements
from forkpoint.parsers.logs import HEAD_BYTES, Head, Line, Log, data_set_name, read_each
from forkpoint.parsers.message_paths import MessagePaths
from forkpoint.parsers.model_names import model_name
from forkpoint.parsers.raw_json import canonical, decode
from forkpoint.parsers.records import Call, Issue, Kind, Record, Scores, Trace

_BEGINNING = re.compile(rb'\s*+\{\s*+"adapter_spec"\s*+:\s*+\{')
_REQUESTS = re.compile(rb'"request_states"\s*+:\s*+\[')
_FILE_NAME = "scenario_state"


class _Document(msgspec.Struct):
    request_states: list[msgspec.Raw]


class _Perturbation(msgspec.Struct):
    name: str = ""


class _Instance(msgspec.Struct):
    id: str | int | None = None
    perturbation: _Perturbation | None = None


class _MediaObject(msgspec.Struct):
    content_type: str = ""
    text: str | None = None


class _Multimedia(msgspec.Struct):
    media_objects: list[msgspec.Raw] | None = None


class _Request(msgspec.Struct):
    model: str | None = None
    model_deployment: str | None = None
    prompt: str | None = None
    messages: list[msgspec.Raw] | None = None
    multimodal_prompt: _Multimedia | None = None
    echo_prompt: bool | None = None
    embedding: bool | None = None


class _Token(msgspec.Struct):
    text: str
    logprob: float | None = None
    top_logprobs: dict[str, float | None] | None = None
    """Only in runs of 2022 and 2023."""


class _Thinking(msgspec.Struct):
    text: str | None = None


class _Completion(msgspec.Struct):
    text: str
    tokens: list[_Token] | None = None
    thinking: _Thinking | None = None


class _Result(msgspec.Struct):
    completions: list[_Completion] | None = None
    success: bool | None = None
    request_time: float | None = None
    request_datetime: msgspec.Raw = msgspec.Raw(b"null")


class _State(msgspec.Struct):
    request: msgspec.Raw
    instance: _Instance = msgspec.field(default_factory=_Instance)
    result: _Result | None = None
    reference_index: int | None = None
    output_mapping: dict[str, str] | None = None


_DOCUMENT = msgspec.json.Decoder(_Document)
_STATE = msgspec.json.Decoder(_State)
_REQUEST = msgspec.json.Decoder(_Request)
_MEDIA_OBJECT = msgspec.json.Decoder(_MediaObject)


class Helm:
    """Reads HELM's scenario states; see the module's docstring."""

    name: ClassVar[str] = "helm"
    title: ClassVar[str] = "HELM scenario state"
    checked: ClassVar[str] = "helm 63754d0 (source), 2026-11"
    evidence: ClassVar[tuple[str, ...]] = ("text", "timestamps", "logprobs")
    locations: ClassVar[tuple[str, ...]] = ()
    whole_prompts: ClassVar[bool] = True
    grows: ClassVar[bool] = False

    def identify(self, head: Head) -> str | None:
        """Why the file is of this format, or ``None``."""
        whole = len(head.data) < HEAD_BYTES
        if _BEGINNING.match(head.data) and (not whole or _REQUESTS.search(head.data)):
            return "a document with an adapter_spec and request_states"
        return None

    def parse(self, log: Log, tree: Tree) -> Iterator[Record]:
        """Yield a call a request, a trace a completion, and the scores of its tokens."""
        opened = decode_document(log, _DOCUMENT)
        if isinstance(opened, Issue):
            yield opened
            return
        document, run = opened
        reading = _Reading(log, tree, hashlib.sha256(document.data).hexdigest()[:16])
        found = _REQUESTS.search(document.data)
        states = elements(document.data, run.request_states, found.end() if found else 0)
        yield from read_each(states, reading.records)


class _Sampled(NamedTuple):
    """A completion without what it echoes of the prompt."""

    text: str
    tokens: list[_Token]
    thinking: str | None


class _Reading:
    """One run."""

    def __init__(self, log: Log, tree: Tree, scope: str) -> None:
        self._tree = tree
        self._scope = scope
        name = data_set_name(log.path)
        # HELM names the run's folder after its scenario and model.
        self._run = log.path.parent.name if name == _FILE_NAME and log.path.parent.name else name
        self._paths = MessagePaths(tree, message_segments)

    def records(self, line: Line) -> list[Record]:
        """The records of one request.

        Raises:
            ValueError: it cannot be read.
        """
        state = decode(line.data, _STATE, "request_state")
        request = decode(state.request, _REQUEST, "request")
        result = state.result
        if result is None or result.success is False:
            return []
        if not result.completions and not request.embedding:
            return []
        call = self._call(state, request, result, line)
        sampled = [_sampled(completion, request) for completion in result.completions or ()]
        prompt = self._prompt(request)
        ends = [None if each is None else self._end(prompt, each) for each in sampled]
        call = msgspec.structs.replace(call, prompt=prompt, completion=ends[0] if ends else None)
        records: list[Record] = [call]
        for number, (each, end) in enumerate(zip(sampled, ends, strict=True)):
            if each is None or end is None:
                continue
            trace = f"{call.trace}/{number}" if number else call.trace
            if state.reference_index is None:
                # The first choice is the call's; the others have no call of their own.
                rollout = self._rollout(trace, state, each, end)
                after = prompt if number else None
                records.append(msgspec.structs.replace(rollout, prompt=after))
            records += _scores(each, trace, line, prompt, end)
        if not any(isinstance(record, Trace) for record in records):
            records.insert(0, Trace(id=call.trace, project=self._run, agent="HELM"))
        return records

    def _call(self, state: _State, request: _Request, result: _Result, line: Line) -> Call:
        """The call but for its places in the tree."""
        seconds = result.request_time
        if seconds is not None and not 0 <= seconds < 1e9:
            raise ValueError(f"request_time: {seconds} seconds")
        started_at = moment_of({"request_datetime": result.request_datetime}, "request_datetime")
        provider, model = model_name(request.model_deployment or request.model)
        # Without a time, two equal requests are told apart by where they stand.
        identity = (self._scope, str(line.line))
        if started_at is not None:
            content = bytes(state.request) + bytes(result.request_datetime)
            identity = ("", f"helm:{hashlib.sha256(content).hexdigest()[:32]}")
        return Call(
            identity=identity,
            trace=f"{self._scope}/{line.line}",
            line=line.line,
            offset=line.offset,
            prompt=ROOT,
            started_at=started_at,
            duration_s=seconds,
            provider=provider,
            model=model,
        )

    def _rollout(self, trace: str, state: _State, sampled: _Sampled, end: int) -> Trace:
        instance = state.instance
        task = instance.id
        if task is None:
            task = hashlib.sha256(bytes(state.request)).hexdigest()[:16]
        group = f"{self._run}/{task}"
        if instance.perturbation is not None:
            group += f"/{instance.perturbation.name}"
        return Trace(
            id=trace,
            project=self._run,
            agent="HELM",
            group=group,
            answer=(state.output_mapping or {}).get(sampled.text.strip()),
            leaf=end,
        )

    def _prompt(self, request: _Request) -> int:
        if request.messages:
            return self._paths.follow(ROOT, request.messages)
        multimodal = request.multimodal_prompt
        if multimodal is not None and multimodal.media_objects:
            segments = [_media_segment(raw) for raw in multimodal.media_objects]
            return extend_all(self._tree, ROOT, segments)
        return self._tree.extend_text(ROOT, "prompt", request.prompt) if request.prompt else ROOT

    def _end(self, prompt: int, sampled: _Sampled) -> int:
        node = prompt
        if sampled.thinking:
            node = self._tree.extend(node, Kind.THINKING, "assistant", sampled.thinking)
        return self._tree.extend(node, Kind.TEXT, "assistant", sampled.text)


def _media_segment(raw: msgspec.Raw) -> Segment:
    media = decode(raw, _MEDIA_OBJECT, "media_objects")
    if media.text is not None:
        return Segment(Kind.TEXT, "user", media.text)
    return Segment(Kind.MEDIA, "user", canonical(raw, "media_objects"))


def _sampled(completion: _Completion, request: _Request) -> _Sampled | None:
    """A completion. Of one that echoes its prompt, the rest, with its tokens if they end where the
    prompt does; ``None`` if there is no rest, as where only the prompt was to be scored."""
    text, tokens = completion.text, completion.tokens or []
    thinking = completion.thinking.text if completion.thinking else None
    prompt = request.prompt or ""
    if not request.echo_prompt or not text.startswith(prompt):
        return _Sampled(text, tokens, thinking)
    if text == prompt:
        return None
    left, skipped = len(prompt), 0
    while left > 0 and skipped < len(tokens):
        left -= len(tokens[skipped].text)
        skipped += 1
    return _Sampled(text[len(prompt) :], tokens[skipped:] if left == 0 else [], thinking)


def _scores(sampled: _Sampled, trace: str, line: Line, prompt: int, end: int) -> list[Record]:
    tokens = sampled.tokens
    if not any(token.logprob for token in tokens):
        return []
    top: list[list[float]] | None = None
    if all(token.top_logprobs for token in tokens):
        ranked: list[dict[str, Any]] = [token.top_logprobs or {} for token in tokens]
        top = [[each for each in one.values() if each is not None] for one in ranked]
    return [
        Scores(
            trace=trace,
            line=line.line,
            offset=line.offset,
            prompt=prompt,
            completion=end,
            tokens=[token.text for token in tokens],
            logprobs=[token.logprob for token in tokens],
            top=top,
        )
    ]

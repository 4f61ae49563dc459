"""One sample of an Inspect log: a rollout, its calls, and what is known of their tokens.

Inspect records each call as an event of the kind ``model``, with its exact input and output
(github.com/UKGovernmentBEIS/inspect_ai, src/inspect_ai/log/_log.py and src/inspect_ai/event/).
What to know about samples:

- Input is inline, or (since late 2025) ranges of a pool of messages that a sample keeps once.
- A response from Inspect's own cache (``cache: "read"``) was not paid for, a request that failed
  has no usage: neither is a call.
- Calls of scorers (a model that grades) and of agents that the main agent started are child
  traces, told by the spans or steps that events stand in. Retries after an error are as well.
- ``input_tokens`` excludes cached tokens by today's definition; versions of early 2025 left them
  in for some providers. Which it is shows in ``total_tokens``.
- Logs without events keep the conversation only: each generated message is a call, and the
  sample's usage, which is a sum, stands at the last of them.
- The sum of a log's samples may be less than ``stats.model_usage`` in its header, which counts
  samples that failed or were left out: the difference is stated, and counted nowhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec

from forkpoint.parsers.base import ROOT, Tree
from forkpoint.parsers.envelope import moment_of
from forkpoint.parsers.inspect_message import message_segments, resolved, tool_segments
from forkpoint.parsers.inspect_sample import Conversation, Sample, Task, outcome
from forkpoint.parsers.inspect_usage import ModelUsage, usage_of
from forkpoint.parsers.logs import BAD_RECORD, Line
from forkpoint.parsers.message_paths import MessagePaths
from forkpoint.parsers.model_names import model_name
from forkpoint.parsers.raw_json import (
    decode,
    decode_fields,
    decode_list,
    is_list,
    is_object,
    word_of,
)
from forkpoint.parsers.records import Call, Record, Scores, Trace

_UNIQUE_LENGTH = 16
"""Characters from which a response's id is taken to be unique in the world: Ollama's are short."""
MAX_DEPTH = 64
"""Events within events."""


class _Event(msgspec.Struct):
    """An event of any kind. Fields that mean different things in others are raw."""

    event: str = ""
    span_id: str | None = None
    uuid: str | None = None
    timestamp: msgspec.Raw = msgspec.Raw()
    # spans and steps
    id: msgspec.Raw = msgspec.Raw()
    parent_id: msgspec.Raw = msgspec.Raw()
    type: msgspec.Raw = msgspec.Raw()
    action: msgspec.Raw = msgspec.Raw()
    # tools and subtasks
    events: msgspec.Raw = msgspec.Raw()
    # calls
    model: msgspec.Raw = msgspec.Raw()
    input: msgspec.Raw = msgspec.Raw()
    input_refs: msgspec.Raw = msgspec.Raw()
    tools: msgspec.Raw = msgspec.Raw()
    output: msgspec.Raw = msgspec.Raw()
    call: msgspec.Raw = msgspec.Raw()
    cache: msgspec.Raw = msgspec.Raw()


class _Top(msgspec.Struct):
    logprob: float | None = None


class _Logprob(msgspec.Struct):
    token: str
    logprob: float | None = None
    top_logprobs: list[_Top] | None = None


class _Logprobs(msgspec.Struct):
    content: list[_Logprob] | None = None


class _Choice(msgspec.Struct):
    message: msgspec.Raw
    logprobs: _Logprobs | None = None


class _Output(msgspec.Struct):
    choices: list[_Choice] | None = None
    usage: ModelUsage | None = None
    time: float | None = None
    error: str | None = None


class _ModelCall(msgspec.Struct):
    response: msgspec.Raw = msgspec.Raw()


_EVENT = msgspec.json.Decoder(_Event)
_OUTPUT = msgspec.json.Decoder(_Output)
_MODEL_CALL = msgspec.json.Decoder(_ModelCall)
_REFS = msgspec.json.Decoder(list[tuple[int, int]])
_TEXT = msgspec.json.Decoder(str | None)
_NULL = msgspec.Raw(b"null")


def sample_records(sample: Sample, task: Task, line: Line, tree: Tree) -> list[Record]:
    """A sample's trace, calls and scores, and an issue for each event that cannot be read.

    Raises:
        ValueError: the sample's own fields cannot be read.
    """
    trace = sample.uuid or f"{task.run}/{sample.id}/{sample.epoch}"
    reward, answer = outcome(sample.scores)
    reading = _Reading(sample, task, line, tree, trace)
    conversation = Conversation(sample, task, line, tree, reading.paths, trace)
    records: list[Record] = []
    try:
        records += reading.calls(sample.events) if sample.events else conversation.calls()
        leaf = conversation.end() if reading.leaf is None else reading.leaf
    except BAD_RECORD as error:
        records, leaf = [*records, line.issue(error)], reading.leaf
    own = Trace(
        id=trace,
        project=task.name,
        agent=task.agent,
        group=sample.group(task),
        reward=reward,
        answer=answer,
        leaf=leaf,
    )
    for number, events in enumerate(sample.retries, 1):
        retry = _Reading(sample, task, line, tree, f"{trace}/retry {number}", trace)
        records += retry.calls(events)
    return [own, *records]


class _Owner(NamedTuple):
    """Whose calls stand in a span."""

    child: str | None
    """Names a child trace; ``None``: the sample's own."""
    inside: bool
    """Within an agent or a tool: another agent in here is a subagent."""


_MAIN = _Owner(None, False)


@dataclass
class _Owners:
    """Who makes the calls, by the spans (or, in old logs, steps) that events stand in."""

    spans: dict[str, _Owner] = field(default_factory=dict)
    scoring_steps: int = 0

    def note(self, event: _Event) -> None:
        """Take in the beginning of a span, or either end of a step."""
        kind = decode(event.type, _TEXT, "type") if event.type else None
        if event.event == "step":
            if kind == "scorer":
                ends = decode(event.action, _TEXT, "action") if event.action else None
                self.scoring_steps += 1 if ends == "begin" else -1
            return
        span = decode(event.id, _TEXT, "id") if event.id else None
        parent = decode(event.parent_id, _TEXT, "parent_id") if event.parent_id else None
        if span is None:
            raise ValueError("a span without an id")
        above = self.spans.get(parent or "", _MAIN)
        child = above.child
        if kind in ("scorer", "scorers"):
            child = "scorers"
        elif kind == "subtask" or (kind == "agent" and above.inside):
            child = span
        self.spans[span] = _Owner(child, above.inside or kind in ("agent", "tool", "handoff"))

    def child(self, event: _Event) -> str | None:
        """The child trace that a call belongs to."""
        if self.scoring_steps > 0:
            return "scorers"
        return self.spans.get(event.span_id or "", _MAIN).child


class _Reading:
    """The calls of one attempt at a sample; a retry has a parent, the sample's own trace."""

    def __init__(
        self,
        sample: Sample,
        task: Task,
        line: Line,
        tree: Tree,
        trace: str,
        parent: str | None = None,
    ) -> None:
        self.leaf: int | None = None
        """Where the last of the sample's own calls ends."""
        self._sample = sample
        self._task = task
        self._line = line
        self._tree = tree
        self._trace = trace
        self._parent = parent
        self._owners = _Owners()
        self._known = set() if parent else {trace}
        self._number = 0
        self._calls = 0
        """The sample's own, without scorers and subagents."""
        self.paths = MessagePaths(
            tree, lambda raw: message_segments(resolved(raw, sample.attachments))
        )
        self._tools = MessagePaths(
            tree, lambda raw: tool_segments(resolved(raw, sample.attachments))
        )

    def calls(
        self, events: Sequence[msgspec.Raw], within: str | None = None, depth: int = 0
    ) -> Iterator[Record]:
        """The records of a list of events; of those within a tool or subtask, as its child."""
        if depth > MAX_DEPTH:
            yield self._line.issue("events nested too deeply")
            return
        for raw in events:
            inner: list[msgspec.Raw] = []
            try:
                event = decode(raw, _EVENT, "event")
                if event.event == "model":
                    yield from self._call(event, within)
                elif event.event in ("span_begin", "step"):
                    self._owners.note(event)
                elif event.events and is_list(event.events):
                    inner = decode_list(event.events, "events")
            except BAD_RECORD as error:
                yield self._line.issue(error)
                continue
            if inner:
                self._number += 1
                child = within or event.uuid or f"{event.event} {self._number}"
                yield from self.calls(inner, child, depth + 1)

    def _call(self, event: _Event, within: str | None) -> list[Record]:
        if event.cache and bytes(event.cache) == b'"read"':
            return []
        if not event.output or not is_object(event.output):
            return []
        output = decode(event.output, _OUTPUT, "output")
        if not output.choices and output.usage is None:
            return []  # failed, or still waiting for its answer
        self._number += 1
        child = within or self._owners.child(event)
        trace = self._trace if child is None else f"{self._trace}/{child}"
        prompt = self._prompt(event)
        completion = None
        if output.choices:
            completion = self.paths.step(prompt, output.choices[0].message)
        name = decode(event.model, _TEXT, "model") if event.model else None
        usage, cost = usage_of(output.usage)
        provider, model = model_name(name or self._task.model)
        call = Call(
            identity=self._identity(event),
            trace=trace,
            line=self._line.line,
            offset=self._line.offset,
            prompt=prompt,
            completion=completion,
            started_at=moment_of({"timestamp": event.timestamp or _NULL}, "timestamp"),
            duration_s=_duration(output.time),
            provider=provider,
            model=model,
            usage=usage,
            sidechain=child is not None,
            logged_cost_usd=cost,
        )
        records = [*self._new_trace(trace), call]
        if completion is None:
            return records
        choices = output.choices or []
        records += _scores(choices[0], trace, self._line, prompt, completion)
        if child is None:
            self.leaf = completion
            self._calls += 1
            records += self._other_choices(choices, call)
        return records

    def _new_trace(self, trace: str) -> list[Record]:
        if trace in self._known:
            return []
        self._known.add(trace)
        parent = self._parent if trace == self._trace else self._trace
        return [Trace(id=trace, parent=parent, project=self._task.name, agent=self._task.agent)]

    def _prompt(self, event: _Event) -> int:
        node = ROOT
        if event.tools and is_list(event.tools) and bytes(event.tools) != b"[]":
            node = self._tools.step(node, event.tools)
        messages = decode_list(event.input, "input") if event.input else []
        if messages or not event.input_refs or bytes(event.input_refs) == b"null":
            return self.paths.follow(node, messages)
        ranges = decode(event.input_refs, _REFS, "input_refs")
        return self.paths.follow_ranges(node, self._sample.pool, ranges)

    def _identity(self, event: _Event) -> tuple[str, str]:
        """The provider's response id, else the event's id, else the call's number."""
        if event.call and is_object(event.call):
            response = decode(event.call, _MODEL_CALL, "call").response
            if response and is_object(response):
                key = word_of(decode_fields(response, "response"), "id")
                if key is not None and len(key) >= _UNIQUE_LENGTH:
                    return ("", key)
        if event.uuid is not None:
            return ("", event.uuid)
        return (self._trace, str(self._number))

    def _other_choices(self, choices: list[_Choice], call: Call) -> list[Record]:
        """What else one request returned: rollouts of the same prompt. Beyond a sample's first
        call the conversation went on with one choice, and the others are nobody's rollout."""
        found: list[Record] = []
        if self._calls > 1 or self._parent is not None:
            return found
        for number, choice in enumerate(choices[1:], 1):
            trace = f"{self._trace}/choice {number}"
            leaf = self.paths.step(call.prompt, choice.message)
            found.append(
                Trace(
                    id=trace,
                    project=self._task.name,
                    group=self._sample.group(self._task),
                    prompt=call.prompt,
                    leaf=leaf,
                )
            )
            found += _scores(choice, trace, self._line, call.prompt, leaf)
        return found


def _duration(seconds: float | None) -> float | None:
    return seconds if seconds is not None and 0 <= seconds < 1e9 else None


def _scores(choice: _Choice, trace: str, line: Line, prompt: int, completion: int) -> list[Record]:
    tokens = choice.logprobs.content if choice.logprobs else None
    if not tokens:
        return []
    ranked = all(token.top_logprobs for token in tokens)
    top = [
        [each.logprob for each in token.top_logprobs or () if each.logprob is not None]
        for token in tokens
    ]
    return [
        Scores(
            trace=trace,
            line=line.line,
            offset=line.offset,
            prompt=prompt,
            completion=completion,
            tokens=[token.token for token in tokens],
            logprobs=[token.logprob for token in tokens],
            top=top if ranked else None,
        )
    ]

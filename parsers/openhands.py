"""OpenHands: exported event trajectories, and ``output.jsonl`` of its evaluations.

A trajectory is a JSON list of events, ``{id, timestamp, source, action | observation, args |
content + extras, cause, tool_call_metadata, …}`` (github.com/OpenHands/OpenHands 0.x,
openhands/events/serialization/event.py). An ``output.jsonl`` has one run a line: ``{instance_id,
history: [event], metrics, test_result, metadata, …}`` (evaluation/utils/shared.py); that of the issue
resolver has ``issue`` for ``instance_id``. What to know about them:

- ``tool_call_metadata.model_response`` is the provider's whole response. It stands in each event
  that came of it, actions and their observations: each response id counts once.
- What was sent is rebuilt as the program does it (openhands/memory/conversation_memory.py): system
  message, the users' messages, each response with all its tool calls, their results. The system
  prompt and the tools are logged since 0.34 (action ``system``); before, they are one
  `Kind.UNLOGGED` segment. So sizes come from billed usage.
- An answer that is plain text has no response with it. Its usage is then in ``metrics.token_usages``,
  if all calls are there: one entry a call, in order. Entries of calls that no event came of
  (condensers, retries) are calls of an unknown prompt.
- ``metrics.costs`` has one cost a call, without an id: they are told apart by order, if their
  number is right. ``accumulated_…`` are sums and are not read.
- ``condensation`` takes events out of the prompt from then on, and puts a summary in their place.
- A ``finish`` is sent again as text, not as the tool call it was.
- Before function calling, an action is logged as what it does: its thought and its arguments.
- Times are local, without a zone, and are taken for UTC; responses have a ``created`` in UTC.
- Runs of one ``instance_id`` are rollouts of a task. ``resolved`` in the report of the tests is the
  reward; the resolver's ``success`` is a guess of a model and is not.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from typing import ClassVar

import msgspec

from forkpoint.parsers.base import ROOT, Tree
from forkpoint.parsers.document import head_fields
from forkpoint.parsers.json_list import first_element, list_elements
from forkpoint.parsers.logs import BAD_RECORD, Head, Line, Log, data_set_name
from forkpoint.parsers.model_names import model_name
from forkpoint.parsers.openhands_events import Event, EventPath, PlacedEvent
from forkpoint.parsers.openhands_metrics import Metrics, with_metrics
from forkpoint.parsers.raw_json import decode, decode_list, is_list, object_of, present
from forkpoint.parsers.records import Call, Issue, Record, Trace

_LIST_BEGINS = re.compile(rb"\s*+\[\s*+\{")
_KEYS = frozenset({"action", "observation"})
_TRAJECTORY = "an exported list of events with a source"
_OUTPUT = "rows of evaluation output: runs with a history of events"


class _Issue(msgspec.Struct):
    owner: str | None = None
    repo: str | None = None
    number: int | None = None


class _Model(msgspec.Struct):
    model: str | None = None


class _Metadata(msgspec.Struct):
    agent_class: str | None = None
    dataset: str | None = None
    llm_config: _Model | None = None


class _Run(msgspec.Struct):
    """A row of ``output.jsonl``."""

    history: list[msgspec.Raw] | None = None
    instance_id: str | int | None = None
    issue: _Issue | None = None
    metadata: _Metadata | None = None
    metrics: Metrics | None = None
    test_result: msgspec.Raw = msgspec.Raw()
    report: msgspec.Raw = msgspec.Raw()

    @property
    def task(self) -> str | None:
        """The name of what was to be done."""
        if self.instance_id is not None:
            return str(self.instance_id)
        if self.issue is None or self.issue.number is None:
            return None
        return f"{self.issue.owner}/{self.issue.repo}#{self.issue.number}"


_EVENT = msgspec.json.Decoder(Event)
_RUN = msgspec.json.Decoder(_Run)
_BOOL = msgspec.json.Decoder(bool)


class OpenHands:
    """Reads OpenHands trajectories and evaluation output; see the module's docstring."""

    name: ClassVar[str] = "openhands"
    title: ClassVar[str] = "OpenHands trajectories and evaluation output"
    checked: ClassVar[str] = "0.x (d6fab19), 2026-11"
    evidence: ClassVar[tuple[str, ...]] = ("usage", "text", "timestamps", "rewards")
    locations: ClassVar[tuple[str, ...]] = ()
    whole_prompts: ClassVar[bool] = True
    grows: ClassVar[bool] = False

    def identify(self, head: Head) -> str | None:
        """Why the file is of this format, or ``None``."""
        if _LIST_BEGINS.match(head.data):
            first = first_element(head)
            return _TRAJECTORY if isinstance(first, dict) and _is_event(first) else None
        fields = head_fields(head)
        if not {"instance_id", "issue"} & fields.keys():
            return None
        try:
            history = msgspec.json.decode(fields.get("history", b"[]"))
        except BAD_RECORD:
            return None
        if not isinstance(history, list) or not history:
            # A row that is longer than the head may have it all before its history.
            known = "test_result" in fields and (not head.lines or "history" in fields)
            return _OUTPUT if known else None
        event = history[0][0] if isinstance(history[0], list) and history[0] else history[0]
        return _OUTPUT if isinstance(event, dict) and _KEYS & event.keys() else None

    def parse(self, log: Log, tree: Tree) -> Iterator[Record]:
        """Yield one trace a run, and one call a response of the model."""
        first = next(log.lines(), None)
        if isinstance(first, Line) and first.data.lstrip()[:1] == b"{":
            yield from _rows(log, tree)
        else:
            yield from _trajectory(log, tree)


def _is_event(first: dict[str, object]) -> bool:
    if "source" not in first:
        return False
    if "action" in first:
        return isinstance(first.get("args"), dict)
    return "observation" in first and "content" in first


def _trajectory(log: Log, tree: Tree) -> Iterator[Record]:
    """The one run of an exported trajectory."""
    places: list[Line] = []
    issues: list[Issue] = []
    for found in list_elements(log):
        if isinstance(found, Issue):
            issues.append(found)
        else:
            places.append(found)
    # Events are stamped to the microsecond, and a longer export of the run begins with the same.
    stamped = any(b'"timestamp"' in place.data for place in places[:1])
    name = b"".join(place.data for place in (places[:1] if stamped else places))
    path = EventPath(tree, _digest(name), None)
    events = _events(((place, msgspec.Raw(place.data)) for place in places), issues)
    calls = path.follow(events, issues)
    if places:
        yield Trace(id=path.trace, agent="OpenHands", leaf=path.node, title=data_set_name(log.path))
    yield from calls
    yield from issues


def _rows(log: Log, tree: Tree) -> Iterator[Record]:
    """The runs of an evaluation's output."""
    seen: set[str] = set()
    for line in log.lines():
        if isinstance(line, Issue):
            yield line
            continue
        try:
            run = decode(line.data, _RUN)
            reward = _reward(run)
        except BAD_RECORD as error:
            yield line.issue(error)
            continue
        trace = _digest(line.data.strip())
        if trace not in seen:
            seen.add(trace)
            yield from _run_records(run, line, trace, reward, tree)


def _run_records(
    run: _Run, line: Line, trace: str, reward: float | None, tree: Tree
) -> Iterator[Record]:
    metadata = run.metadata or _Metadata()
    model = metadata.llm_config.model if metadata.llm_config is not None else None
    issues: list[Issue] = []
    history = _flat(run.history or (), line, issues)
    events = _events(((line, raw) for raw in history), issues)
    path = EventPath(tree, trace, model)
    calls = path.follow(events, issues)
    if run.metrics is not None:
        name = model_name(model)
        hidden = Call(
            identity=None,
            trace=trace,
            line=line.line,
            offset=line.offset,
            prompt=ROOT,
            provider=name.provider,
            model=name.model,
        )
        try:
            calls = with_metrics(calls, run.metrics, hidden, tree)
        except BAD_RECORD as error:
            issues.append(line.issue(error))
    task = run.task
    group = task if metadata.dataset is None or task is None else f"{metadata.dataset}/{task}"
    yield Trace(
        id=trace,
        project=metadata.dataset,
        agent=f"OpenHands {metadata.agent_class}" if metadata.agent_class else "OpenHands",
        group=group,
        reward=reward,
        leaf=path.node,
        title=task,
    )
    yield from calls
    yield from issues


def _flat(history: Iterable[msgspec.Raw], line: Line, issues: list[Issue]) -> Iterator[msgspec.Raw]:
    """The events of a history. The oldest ones are pairs of an action and its observation."""
    for raw in history:
        if not is_list(raw):
            yield raw
            continue
        try:
            yield from decode_list(raw, "history")
        except BAD_RECORD as error:
            issues.append(line.issue(error))


def _events(raws: Iterable[tuple[Line, msgspec.Raw]], issues: list[Issue]) -> list[PlacedEvent]:
    events = []
    for place, raw in raws:
        try:
            events.append(PlacedEvent(place, raw, decode(raw, _EVENT, "event")))
        except BAD_RECORD as error:
            issues.append(place.issue(error))
    return events


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:32]


def _reward(run: _Run) -> float | None:
    """Whether the tests say that the task was solved: 1 or 0, or ``None``: they do not say."""
    for raw in (run.test_result, run.report):
        fields = object_of({"report": raw}, "report") if raw else None
        for inner in (fields, object_of(fields, "report")):
            resolved = present(inner, "resolved")
            if resolved is not None:
                return float(decode(resolved, _BOOL, "resolved"))
    return None

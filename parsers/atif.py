"""ATIF trajectories: one JSON document an agent run, each step a message or a turn of the agent.

Document: ``{"schema_version": "ATIF-v1.7", "session_id": …, "agent": {name, version, model_name,
tool_definitions}, "steps": [step, …], "final_metrics": …}``; a step: ``{"step_id": 1, "source":
"system" | "user" | "agent", "message": …, "reasoning_content", "tool_calls", "observation",
"metrics"}`` (Agent Trajectory Interchange Format, github.com/harbor-framework/harbor,
rfcs/0001-trajectory-format.md; the models of PyPI ``atif`` 1.8.0). What to know about it:

- An agent's step is a call, and all before it is its prompt. Not a call: a step copied from an
  earlier trajectory (``is_copied_context``), which is context all the same, and one that no model
  made (``llm_call_count`` 0). With a count above 1 the metrics are sums over that many calls, which
  stand as one here: what is billed is right, the number of calls is the log's.
- ``prompt_tokens`` includes ``cached_tokens``. There is no field for cache writes; converters keep
  the provider's own in ``metrics.extra``.
- ``final_metrics`` may exceed the steps' sum, as summarisation subagents have files of their own.
  The steps are what is counted; the difference is stated.
- A continuation (``continued_trajectory_ref``) is a file of its own that counts its steps anew
  under the same ``session_id``: the session is the trace, and a call is known by its content too.
- ``extra.context_management.boundary`` ``replace`` ends the context: what the step observes (a
  summary) stands in for all between the system prompt and it.
- ``subagent_trajectories`` are child traces. Some files wrap trajectories as ``{parent, child}``.
- Token ids make exact prompts where both are logged; logprobs go with ``completion_token_ids``.
- Trials of one task begin with the same messages: they are a group. Rewards are not logged.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Generator, Iterator
from typing import ClassVar, NamedTuple

import msgspec

from forkpoint.parsers.atif_step import (
    Metrics,
    Step,
    observed,
    read_metrics,
    read_step,
    replaces_context,
    said,
    usage_of,
)
from forkpoint.parsers.base import ROOT, Tree
from forkpoint.parsers.chat import Segment, extend_all
from forkpoint.parsers.document import open_document
from forkpoint.parsers.envelope import moment_of
from forkpoint.parsers.json_list import elements
from forkpoint.parsers.logs import BAD_RECORD, Head, Line, Log
from forkpoint.parsers.model_names import ModelName, model_name
from forkpoint.parsers.raw_json import canonical, decode, decode_fields, is_object
from forkpoint.parsers.records import Call, Issue, Kind, Record, Scores, Trace
from forkpoint.parsers.stated_totals import compared

MAX_DEPTH = 64
"""Subagents within subagents."""

_BEGINS = re.compile(rb"\s*+\{")
_VERSION = re.compile(rb'"schema_version"\s*+:\s*+"ATIF-v[\d.]++"')


class _Agent(msgspec.Struct):
    name: str | None = None
    version: str | None = None
    model_name: str | None = None
    tool_definitions: list[msgspec.Raw] | None = None


class _Trajectory(msgspec.Struct):
    steps: list[msgspec.Raw]
    agent: _Agent = msgspec.field(default_factory=_Agent)
    schema_version: str | None = None
    session_id: str | None = None
    trajectory_id: str | None = None
    subagent_trajectories: list[msgspec.Raw] | None = None


class _FinalMetrics(msgspec.Struct):
    total_prompt_tokens: int | None = None
    total_completion_tokens: int | None = None


class _Totals(msgspec.Struct):
    final_metrics: _FinalMetrics | None = None


_TRAJECTORY = msgspec.json.Decoder(_Trajectory)
_TOTALS = msgspec.json.Decoder(_Totals)


class Atif:
    """Reads ATIF trajectories; see the module's docstring."""

    name: ClassVar[str] = "atif"
    title: ClassVar[str] = "ATIF trajectory (Harbor)"
    checked: ClassVar[str] = "ATIF 1.7 (models of 1.8.0), 2026-11"
    evidence: ClassVar[tuple[str, ...]] = ("usage", "text", "token ids", "timestamps", "logprobs")
    locations: ClassVar[tuple[str, ...]] = ()
    whole_prompts: ClassVar[bool] = True
    grows: ClassVar[bool] = False

    def identify(self, head: Head) -> str | None:
        """Why the file is of this format, or ``None``."""
        if _BEGINS.match(head.data) and (found := _VERSION.search(head.data)):
            return f"a document with {found[0].decode()}"
        return None

    def parse(self, log: Log, tree: Tree) -> Iterator[Record]:
        """Yield one trace a trajectory, one call an agent's step, and the scores of its tokens."""
        opened = open_document(log, _trajectories)
        if isinstance(opened, Issue):
            yield opened
            return
        document, named = opened
        scope = hashlib.sha256(document.data).hexdigest()[:16]
        reading = _Reading(document.data, tree, scope)
        yield from compared(reading.documents(named), log, sum(map(_stated_tokens, named.values())))


def _trajectories(document: bytes) -> dict[str, msgspec.Raw]:
    """The document itself, or the trajectories that it wraps, by name.

    Raises:
        ValueError: it holds none.
    """
    fields = decode_fields(document, "document")
    if "steps" in fields:
        return {"": msgspec.Raw(document)}
    found = {
        name: raw for name, raw in fields.items() if is_object(raw) and b'"steps"' in bytes(raw)
    }
    if not found:
        raise ValueError("a document without steps")
    return found


def _stated_tokens(trajectory: msgspec.Raw) -> int:
    """Its ``final_metrics``: calls of subagents in files of their own included."""
    try:
        totals = decode(trajectory, _TOTALS, "final_metrics").final_metrics
    except BAD_RECORD:
        return 0  # the steps count
    if totals is None:
        return 0
    return sum(max(n or 0, 0) for n in (totals.total_prompt_tokens, totals.total_completion_tokens))


class _Place(NamedTuple):
    """The trajectory being read: what its steps share."""

    trace: str
    sidechain: bool
    model: str | None


class _Reading:
    """One document: its trajectories and their subagents."""

    def __init__(self, document: bytes, tree: Tree, scope: str) -> None:
        self._document = document
        self._tree = tree
        self._scope = scope
        """Names trajectories that have no id."""
        self._line = 0
        self._traces: set[str] = set()

    def documents(self, named: dict[str, msgspec.Raw]) -> Iterator[Record]:
        """All that a document holds: one trajectory, or those that it wraps."""
        first: str | None = None
        lines = elements(self._document, named.values())
        for name, line in zip(named, lines, strict=True):
            parent = first if name == "child" else None
            first = (yield from self._records(line, parent, name, 0)) or first

    def _records(
        self, whole: Line, parent: str | None, name: str, depth: int
    ) -> Generator[Record, None, str | None]:
        """A trajectory's records and those of its subagents; returns its trace's id."""
        try:
            trajectory = decode(whole.data, _TRAJECTORY, "trajectory")
            head = self._head(trajectory)
        except BAD_RECORD as error:
            yield Line(whole.data, self._line + 1, whole.offset).issue(error)
            return None
        trace = self._trace_id(trajectory, parent, name)
        place = _Place(trace, parent is not None, trajectory.agent.model_name)
        walk = _Walk(self._tree, place, head)
        start = whole.offset + max(whole.data.find(b'"steps"'), 0)
        before = self._line
        for line in elements(self._document, trajectory.steps, start):
            line.line += before
            self._line = line.line
            try:
                records = walk.take(line)
            except BAD_RECORD as error:
                yield line.issue(error)
            else:
                yield from records
        yield _trace(trajectory, walk, parent)
        inner = trajectory.subagent_trajectories or []
        if inner and depth == MAX_DEPTH:
            yield Line(b"", self._line, whole.offset).issue("subagents nested too deeply")
            return trace
        for number, line in enumerate(elements(self._document, inner, whole.offset), 1):
            yield from self._records(line, trace, str(number), depth + 1)
        return trace

    def _trace_id(self, trajectory: _Trajectory, parent: str | None, name: str) -> str:
        """A session's id may be shared by all that ran in it, so it names the first only."""
        own = trajectory.trajectory_id or trajectory.session_id or self._scope
        trace = own if parent is None else f"{parent}/{trajectory.trajectory_id or name}"
        if trace in self._traces:
            trace = f"{trace}/{name}"
        self._traces.add(trace)
        return trace

    def _head(self, trajectory: _Trajectory) -> int:
        """The node after the tools. Their definitions may be missing though they were used."""
        agent = trajectory.agent
        if agent.tool_definitions:
            tools = [canonical(raw, "tool_definitions") for raw in agent.tool_definitions]
            segments = [Segment(Kind.TOOLS, "", text) for text in tools]
            return extend_all(self._tree, ROOT, segments)
        if any(b'"function_name"' in bytes(step) for step in trajectory.steps):
            who = f"{agent.name or 'an agent'} {agent.version or ''}".strip()
            return self._tree.extend(ROOT, Kind.UNLOGGED, "", f"tool definitions of {who}")
        return ROOT


def _trace(trajectory: _Trajectory, walk: _Walk, parent: str | None) -> Trace:
    agent = trajectory.agent
    name = " ".join(word for word in (agent.name, agent.version) if word)
    return Trace(
        id=walk.place.trace,
        parent=parent,
        agent=name or None,
        group=walk.task if parent is None else None,
        leaf=walk.leaf,
    )


class _Walk:
    """The way through the tree along a trajectory's steps."""

    def __init__(self, tree: Tree, place: _Place, head: int) -> None:
        self.place = place
        self.task: str | None = None
        """Names what trials of one task share: all that is said up to the first user message."""
        self._opening: list[str] = []
        self.leaf: int | None = None
        self._tree = tree
        self._head = head
        """Where the tools and the leading system messages end."""
        self._node = head

    def take(self, line: Line) -> list[Record]:
        """Append a step; its call and scores, if it is one."""
        step = read_step(line.data)
        words, shown = said(step), observed(step)
        replaced = replaces_context(step)
        records, after = self._call(step, line, words) if step.is_call else ([], None)
        if replaced:
            self._node = extend_all(self._tree, self._head, shown)
            return records
        if after is None:
            after = extend_all(self._tree, self._node, words)
        if self._node == self._head and step.source == "system":
            self._head = after
        if self.task is None:
            self._opening += [segment.text for segment in words]
            if step.source == "user":
                text = "\0".join(self._opening).encode("utf-8", "surrogatepass")
                self.task = hashlib.sha256(text).hexdigest()[:32]
        self._node = extend_all(self._tree, after, shown)
        return records

    def _call(self, step: Step, line: Line, words: list[Segment]) -> tuple[list[Record], int]:
        """The call and its scores, and the node after what the agent said."""
        metrics = read_metrics(step)
        usage = usage_of(metrics)
        started_at = (
            moment_of({"timestamp": step.timestamp}, "timestamp") if step.timestamp else None
        )
        # Metrics are what one reading of a step has in common with another, before anything that
        # was observed later.
        content = hashlib.sha256(bytes(step.message) + bytes(step.metrics))
        name = self._model(step)
        after = extend_all(self._tree, self._node, words)
        ends = _token_nodes(metrics, self._tree)
        prompt, completion = ends or (self._node, after)
        call = Call(
            identity=(self.place.trace, f"{step.step_id}:{content.hexdigest()[:32]}"),
            trace=self.place.trace,
            line=line.line,
            offset=line.offset,
            prompt=prompt,
            completion=completion,
            text=None if ends is None else after,
            started_at=started_at,
            provider=name.provider,
            model=name.model,
            usage=usage,
            sidechain=self.place.sidechain,
            logged_cost_usd=metrics.cost_usd,
            is_sum=(step.llm_call_count or 1) > 1,
        )
        self.leaf = completion
        scores = _scores(metrics, call, completion, line)
        return [call] if scores is None else [call, scores], after

    def _model(self, step: Step) -> ModelName:
        """A step's model; its provider may stand in the trajectory's only."""
        default = model_name(self.place.model)
        if step.model_name is None:
            return default
        own = model_name(step.model_name)
        if own.provider is None and "/" not in step.model_name:
            return ModelName(default.provider, own.model)
        return own


def _token_nodes(metrics: Metrics, tree: Tree) -> tuple[int, int] | None:
    """Where prompt and completion end as token ids, if both were logged."""
    prompt, completion = metrics.prompt_token_ids, metrics.completion_token_ids
    if not prompt or completion is None:
        return None
    return tree.extend_tokens(ROOT, prompt), tree.extend_tokens(ROOT, prompt + completion)


def _scores(metrics: Metrics, call: Call, completion: int, line: Line) -> Scores | Issue | None:
    """What is known of the sampled tokens. Logprobs without ids cannot be told apart."""
    if not metrics.logprobs or not metrics.completion_token_ids:
        return None
    try:
        return Scores(
            trace=call.trace,
            line=line.line,
            offset=line.offset,
            prompt=call.prompt,
            completion=completion,
            tokens=metrics.completion_token_ids,
            logprobs=metrics.logprobs,
        )
    except ValueError as error:
        return line.issue(f"metrics: {error}")

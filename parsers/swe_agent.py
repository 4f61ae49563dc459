"""SWE-agent runs: ``<instance>.traj``, one JSON document a run, rewritten after each step.

``{environment, trajectory: [{response, thought, action, observation, …}], history: [message],
info: {model_stats, …}, replay_config}`` (github.com/SWE-agent/SWE-agent, sweagent/agent/agents.py).
What to know about it:

- Each step is one response of the model. The prompt it answered stands in different places:
  since 1.1 in the step's own ``query``, exact; in 1.0 in the ``messages`` of the step before, which
  are what the next request will send; before that nowhere but in ``history``, which holds what
  happened and not what was sent, so where old observations were elided for the model, prompts
  were shorter than they seem here.
- ``history`` holds a message of each step that counted, with the tool calls as the model wrote
  them. A response that could not be used was asked for again: it is a step, and was billed, but
  it is not in the history. Old versions leave the last step out of it too.
- A step whose ``query`` is ``[{}]``, or whose action is ``exit_…``, is a note of the program's own.
- Demonstrations may be a history alone. Items with ``is_demo`` are shown to the model, not by it.
- ``info.model_stats`` are totals of the run. Token counts of single calls are not logged, so calls
  have none, and their sizes come from their text; the totals are those of a call only where the
  run is one call. From 1.0 on its tokens were counted by the program, not by the provider. All
  zeros (replayed and human demonstrations) mean that nothing is known.
- Runs of several ``attempts`` repeat the chosen one at the top: only the attempts are read. They
  are rollouts of one task.
- Tool definitions, times and, before 1.0, the model are not logged.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from typing import ClassVar, NamedTuple

import msgspec

from forkpoint.parsers.base import ROOT, Tree
from forkpoint.parsers.chat import (
    Segment,
    content_segments,
    message_segments,
)
from forkpoint.parsers.document import decode_document, head_fields
from forkpoint.parsers.json_list import elements
from forkpoint.parsers.litellm_response import known_cost
from forkpoint.parsers.logs import BAD_RECORD, Head, Line, Log, data_set_name
from forkpoint.parsers.message_paths import MessagePaths
from forkpoint.parsers.model_names import ModelName, model_name
from forkpoint.parsers.raw_json import (
    decode,
    decode_fields,
    decode_text,
    is_list,
    is_object,
    is_text,
    object_of,
    present,
    text_of,
)
from forkpoint.parsers.records import Call, Issue, Kind, Record, Tokens, Trace, Usage

_FIRST_KEY = re.compile(
    rb'\s*+\{\s*+"(?:environment|trajectory|history|attempts|info|replay_config)"\s*+:'
)
_NOT_MODELS = frozenset({"human", "human_thought", "replay", "instant_empty_submit"})
"""What stands for a model's name where no model answered."""


class _ModelStats(msgspec.Struct):
    tokens_sent: Tokens = 0
    tokens_received: Tokens = 0
    api_calls: Tokens | None = None
    instance_cost: float = 0.0
    total_cost: float | None = None
    """Of all runs so far; only in logs whose tokens are the provider's."""


class _Run(msgspec.Struct):
    trajectory: list[msgspec.Raw] | None = None
    history: list[msgspec.Raw] | None = None
    attempts: list[msgspec.Raw] | None = None
    info: msgspec.Raw = msgspec.Raw()
    replay_config: msgspec.Raw = msgspec.Raw()


class _Step(msgspec.Struct):
    response: str | None = None
    action: str | None = None
    observation: str | None = None
    query: list[msgspec.Raw] | None = None
    messages: list[msgspec.Raw] | None = None

    @property
    def is_own_note(self) -> bool:
        """No model answered here: the program says why it ends."""
        if self.query is not None:
            return all(bytes(raw) == b"{}" for raw in self.query)
        return (self.action or "").startswith("exit_")


class _Item(msgspec.Struct):
    """An item of the history."""

    role: str
    content: msgspec.Raw = msgspec.Raw()
    action: str | None = None
    is_demo: bool | None = None
    thinking_blocks: msgspec.Raw = msgspec.Raw()


_RUN = msgspec.json.Decoder(_Run)
_STEP = msgspec.json.Decoder(_Step)
_ITEM = msgspec.json.Decoder(_Item)
_STATS = msgspec.json.Decoder(_ModelStats)


class RunTotals(NamedTuple):
    """What a log says that a whole run used. ``None``: it does not say."""

    usage: Usage | None
    cost_usd: float | None


class _Answer(NamedTuple):
    """A response as the history holds it."""

    item: _Item
    raw: msgspec.Raw
    place: Line
    before: int
    after: int


class SweAgent:
    """Reads SWE-agent trajectories; see the module's docstring."""

    name: ClassVar[str] = "swe-agent"
    title: ClassVar[str] = "SWE-agent trajectories"
    checked: ClassVar[str] = "0.x and 1.0 (3ea751c), 2026-11; 1.1 from its source code"
    evidence: ClassVar[tuple[str, ...]] = ("text",)
    locations: ClassVar[tuple[str, ...]] = ()
    whole_prompts: ClassVar[bool] = True
    grows: ClassVar[bool] = False

    def identify(self, head: Head) -> str | None:
        """Why the file is of this format, or ``None``."""
        if not _FIRST_KEY.match(head.data):
            return None
        fields = head_fields(head)
        if _first_has(fields.get("trajectory"), b'"action"', b'"observation"'):
            return "steps with an action and an observation"
        if _first_has(fields.get("attempts"), b'"trajectory"'):
            return "attempts that are trajectories"
        if _first_has(fields.get("history"), b'"role"', b'"agent"'):
            return "a history of messages that name their agent"
        return None

    def parse(self, log: Log, tree: Tree) -> Iterator[Record]:
        """Yield one trace a run or attempt, and one call a step."""
        opened = decode_document(log, _RUN)
        if isinstance(opened, Issue):
            yield opened
            return
        document, run = opened
        title = data_set_name(log.path)
        if not run.attempts:
            yield from _RunReader(document, run, tree, title, None).records()
            return
        group = _digest(document.data)
        for place in elements(document.data, run.attempts):
            try:
                attempt = decode(place.data, _RUN, "attempt")
            except BAD_RECORD as error:
                yield place.issue(error)
                continue
            yield from _RunReader(place, attempt, tree, title, group).records()


def _first_has(raw: msgspec.Raw | None, *keys: bytes) -> bool:
    """Whether a list's first element is an object that has the keys."""
    if raw is None or not is_list(raw):
        return False
    try:
        first = msgspec.json.decode(raw, type=list[msgspec.Raw])[:1]
    except BAD_RECORD:
        return False
    return bool(first) and is_object(first[0]) and all(key in bytes(first[0]) for key in keys)


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:32]


def run_totals(info: msgspec.Raw) -> RunTotals:
    """The totals in a run's ``info``.

    Raises:
        ValueError: a total is no number.
    """
    raw = present(decode_fields(info, "info"), "model_stats") if info else None
    if raw is None:
        return RunTotals(None, None)
    stats = decode(raw, _STATS, "model_stats")
    usage = None
    if stats.total_cost is not None and (stats.tokens_sent or stats.tokens_received):
        usage = Usage(input_tokens=stats.tokens_sent, output_tokens=stats.tokens_received)
    return RunTotals(usage, known_cost(stats.instance_cost))


def _version(info: msgspec.Raw) -> str | None:
    return text_of(decode_fields(info, "info"), "swe_agent_version") if info else None


def _model(config: msgspec.Raw) -> ModelName:
    """The model in a ``replay_config``, which is an object or a string that holds one."""
    if not config or bytes(config) == b"null":
        return model_name(None)
    if is_text(config):
        config = msgspec.Raw(decode_text(config, "replay_config").encode())
    agent = object_of(decode_fields(config, "replay_config"), "agent")
    name = text_of(object_of(agent, "model"), "name", "model_name")
    return model_name(None if name in _NOT_MODELS else name)


def _history_segments(raw: msgspec.Raw) -> list[Segment]:
    """A message of the history or of a query. Raises ValueError: it is none."""
    segments = message_segments(raw)
    if b'"thinking_blocks"' in bytes(raw):
        blocks = decode(raw, _ITEM, "message").thinking_blocks
        segments = content_segments(blocks, Kind.THINKING, "assistant") + segments
    return segments


class _RunReader:
    """One run or attempt."""

    def __init__(self, place: Line, run: _Run, tree: Tree, title: str, group: str | None) -> None:
        self._place = place
        self._run = run
        self._tree = tree
        self._title = title
        self._group = group
        self._id = _digest(place.data)
        self._paths = MessagePaths(tree, _history_segments)
        self._issues: list[Issue] = []
        self._answers: list[_Answer] = []
        self._history_end = ROOT

    def records(self) -> Iterator[Record]:
        """The run's trace, calls and issues."""
        self._read_history()
        calls = self._calls() if self._run.trajectory else self._calls_of_history()
        model, totals, version = model_name(None), RunTotals(None, None), None
        try:
            model = _model(self._run.replay_config)
            version = _version(self._run.info)
            totals = run_totals(self._run.info)
        except BAD_RECORD as error:
            self._issues.append(self._place.issue(error))
        calls = [
            msgspec.structs.replace(call, provider=model.provider, model=model.model)
            for call in calls
        ]
        if len(calls) == 1:
            calls[0] = msgspec.structs.replace(
                calls[0], usage=totals.usage, logged_cost_usd=totals.cost_usd
            )
        yield Trace(
            id=self._id,
            agent="SWE-agent" if version is None else f"SWE-agent {version}",
            title=self._title,
            group=self._group,
            leaf=calls[-1].completion if calls else None,
        )
        yield from calls
        yield from self._issues

    def _read_history(self) -> None:
        node = ROOT
        history = self._run.history or []
        start = max(self._place.data.rfind(b'"history"'), 0)
        for place, raw in zip(elements(self._place.data, history, start), history, strict=True):
            try:
                item = decode(raw, _ITEM, "history")
                before, node = node, self._paths.step(node, raw)
            except BAD_RECORD as error:
                self._issues.append(self._at(place).issue(error))
                continue
            if item.role == "assistant" and not item.is_demo:
                self._answers.append(_Answer(item, raw, place, before, node))
        self._history_end = node

    def _at(self, place: Line) -> Line:
        return Line(b"", place.line, self._place.offset + place.offset)

    def _call(self, index: int, place: Line, prompt: int, completion: int | None) -> Call:
        at = self._at(place)
        return Call(
            identity=(self._id, str(index)),
            trace=self._id,
            line=at.line,
            offset=at.offset,
            prompt=prompt,
            completion=completion,
        )

    def _calls_of_history(self) -> list[Call]:
        return [
            self._call(index, answer.place, answer.before, answer.after)
            for index, answer in enumerate(self._answers)
        ]

    def _calls(self) -> list[Call]:
        steps = self._steps()
        asked = [step for _, step in steps if not step.is_own_note]
        in_step = len(asked) == len(self._answers)
        calls: list[Call] = []
        waiting = list(reversed(self._answers))
        if not self._run.history:
            name = f"prompt of SWE-agent run {self._id}"
            self._history_end = self._tree.extend(ROOT, Kind.UNLOGGED, "", name)
        sent: list[msgspec.Raw] | None = None
        for index, (place, step) in enumerate(steps):
            if step.is_own_note:
                continue
            answer = None
            if waiting and (in_step or _answers(waiting[-1].item, step)):
                answer = waiting.pop()
            try:
                prompt = self._prompt(step, sent, answer, waiting)
                completion = self._completion(prompt, step, answer)
            except BAD_RECORD as error:
                self._issues.append(self._at(place).issue(error))
                continue
            calls.append(self._call(index, place, prompt, completion))
            if not self._run.history:
                text = step.observation or ""
                self._history_end = self._tree.extend(completion, Kind.TEXT, "user", text)
            sent = step.messages if step.messages is not None else sent
        return calls

    def _steps(self) -> list[tuple[Line, _Step]]:
        steps = []
        start = max(self._place.data.find(b'"trajectory"'), 0)
        for place in elements(self._place.data, self._run.trajectory or [], start):
            try:
                steps.append((place, decode(place.data, _STEP, "step")))
            except BAD_RECORD as error:
                self._issues.append(self._at(place).issue(error))
        return steps

    def _prompt(
        self,
        step: _Step,
        sent: list[msgspec.Raw] | None,
        answer: _Answer | None,
        waiting: list[_Answer],
    ) -> int:
        """Where the prompt of a step ends. Raises ValueError: a message in it cannot be read.

        Args:
            sent: what the step before says that the next request will send.
            waiting: the answers of later steps, the next one last.
        """
        if step.query is not None:
            return self._paths.follow(ROOT, step.query)
        if sent is not None:
            return self._paths.follow(ROOT, sent)
        if answer is not None:
            return answer.before
        return waiting[-1].before if waiting else self._history_end

    def _completion(self, prompt: int, step: _Step, answer: _Answer | None) -> int:
        if answer is not None:
            return self._paths.step(prompt, answer.raw)
        return self._tree.extend(prompt, Kind.TEXT, "assistant", step.response or "")


def _answers(item: _Item, step: _Step) -> bool:
    """Whether an item of the history is a step's response. Its text may have been edited since."""
    if item.content and is_text(item.content):
        try:
            if json.loads(bytes(item.content)) == step.response:
                return True
        except ValueError:
            return False
    return item.action is not None and item.action == step.action

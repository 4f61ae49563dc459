"""tau2-bench results: ``results.json``, and ``simulations/<id>.json`` where runs are kept apart.

``{timestamp, info, tasks, simulations: [{id, task_id, trial, seed, reward_info, messages, …}]}``
(github.com/sierra-research/tau2-bench, src/tau2/data_model/{simulation,message}.py). What to know:

- Two models are billed: the agent, and the simulator of the user. Each simulation is two traces:
  the agent's, which is a rollout of the task and has the reward, and the simulator's, a child of
  it. Trials of a task with the same agent are a group.
- A message is a call if the log says that a model made it (usage, raw response or cost). The
  greeting and messages that a task begins with were written beforehand: they are only sent.
- Each side is sent what it may see. Tool calls and their results stay with the side that made
  them (``requestor``), and to the simulator its own messages are the assistant's.
- The agent's system prompt holds the logged ``policy`` inside a text that is not logged, like the
  tools: both are one `Kind.UNLOGGED` segment. The simulator's holds the logged guidelines and the
  task's scenario. So sizes come from billed usage.
- ``usage`` has two counts; the provider's response in ``raw_data`` has the cached tokens too.
- Times are local, without a zone. ``raw_data.created`` is UTC: the difference, to the next quarter
  of an hour, is the zone.
- ``agent_cost`` and ``user_cost`` are sums of the messages' costs, and are not read. A message's
  cost of 0 beside tokens means that the price was unknown. Judges' costs are not in either.
- Voice runs have no usage per message: their messages are not calls.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Annotated, ClassVar

import msgspec

from forkpoint.parsers.base import ROOT, Tree
from forkpoint.parsers.chat import Segment, argument_text, call_segment, extend_all
from forkpoint.parsers.document import head_fields, read_document
from forkpoint.parsers.json_list import elements
from forkpoint.parsers.litellm_response import known_cost, response_usage
from forkpoint.parsers.local_clock import ahead_of_utc, as_utc, clock_time
from forkpoint.parsers.logs import BAD_RECORD, Head, Line, Log
from forkpoint.parsers.model_names import ModelName, model_name
from forkpoint.parsers.raw_json import canonical, decode, is_object
from forkpoint.parsers.records import Call, Issue, Kind, Record, Tokens, Trace, Usage

_RESULTS_BEGIN = re.compile(
    rb'\s*+\{(?:\s*+"timestamp"\s*+:\s*+(?:"[^"\\]*+"|null)\s*+,)?+\s*+"info"\s*+:\s*+\{'
)
_SIMULATION_BEGINS = re.compile(
    rb'\s*+\{\s*+"id"\s*+:\s*+"[^"\\]*+"\s*+,\s*+"task_id"\s*+:\s*+"(?:[^"\\]|\\.)*+"\s*+,'
    rb'\s*+"timestamp"\s*+:\s*+"[^"\\]*+"\s*+,\s*+"start_time"\s*+:',
    re.DOTALL,
)
_Seconds = Annotated[float, msgspec.Meta(ge=0, le=2e11)]


class _Side(msgspec.Struct):
    """The agent or the simulator of the user, in ``info``."""

    implementation: str | None = None
    llm: str | None = None
    global_simulation_guidelines: str | None = None

    @property
    def model(self) -> ModelName:
        return model_name(self.llm)


class _Environment(msgspec.Struct):
    domain_name: str | None = None
    policy: str | None = None


class _Info(msgspec.Struct):
    git_commit: str | None = None
    agent_info: _Side = msgspec.field(default_factory=_Side)
    user_info: _Side = msgspec.field(default_factory=_Side)
    environment_info: _Environment = msgspec.field(default_factory=_Environment)


class _Task(msgspec.Struct):
    id: str | int
    user_scenario: msgspec.Raw = msgspec.Raw()


class _Results(msgspec.Struct):
    simulations: list[msgspec.Raw] = []
    """Where they are kept apart, the results are an index, with nothing to read."""
    info: msgspec.Raw = msgspec.Raw()
    tasks: list[msgspec.Raw] | None = None


class _RewardInfo(msgspec.Struct):
    reward: float | None = None


class _Simulation(msgspec.Struct):
    id: str
    task_id: str | int
    messages: list[msgspec.Raw] | None = None
    reward_info: _RewardInfo | None = None
    policy: str | None = None


class _ToolCall(msgspec.Struct):
    name: str | None = None
    arguments: msgspec.Raw = msgspec.Raw()


class _PlainUsage(msgspec.Struct):
    prompt_tokens: Tokens | None = None
    completion_tokens: Tokens | None = None


class _Response(msgspec.Struct):
    """The provider's response as LiteLLM gives it."""

    id: str | None = None
    model: str | None = None
    created: _Seconds | None = None
    usage: msgspec.Raw = msgspec.Raw()
    service_tier: str | None = None


class _Message(msgspec.Struct):
    role: str
    content: str | None = None
    tool_calls: list[_ToolCall] | None = None
    requestor: str | None = None
    timestamp: str | None = None
    cost: float | None = None
    usage: _PlainUsage | None = None
    raw_data: _Response | None = None
    generation_time_seconds: _Seconds | None = None
    tool_messages: list[_Message] | None = None
    """Several results of one turn, in logs that keep them together."""

    @property
    def is_call(self) -> bool:
        """Whether the log says that a model made this message."""
        made = self.usage is not None or self.raw_data is not None or bool(self.cost)
        return made and self.role in ("assistant", "user")


_RESULTS = msgspec.json.Decoder(_Results)
_INFO = msgspec.json.Decoder(_Info)
_TASK = msgspec.json.Decoder(_Task)
_SIMULATION = msgspec.json.Decoder(_Simulation)
_MESSAGE = msgspec.json.Decoder(_Message)


class Tau2:
    """Reads tau2-bench results; see the module's docstring."""

    name: ClassVar[str] = "tau2"
    title: ClassVar[str] = "tau2-bench results"
    checked: ClassVar[str] = "tau2-bench 30f3987, 2026-11"
    evidence: ClassVar[tuple[str, ...]] = ("usage", "text", "timestamps", "rewards")
    locations: ClassVar[tuple[str, ...]] = ()
    whole_prompts: ClassVar[bool] = True
    grows: ClassVar[bool] = False

    def identify(self, head: Head) -> str | None:
        """Why the file is of this format, or ``None``."""
        if _SIMULATION_BEGINS.match(head.data):
            return "a simulation with a task_id and its times"
        if _RESULTS_BEGIN.match(head.data):
            info = bytes(head_fields(head).get("info", b""))
            if b'"user_info"' in info and b'"agent_info"' in info:
                # The rest may lie beyond the head. An index of simulations kept apart has none.
                document = head.document
                if not isinstance(document, dict) or "simulations" in document:
                    return "info has an agent_info and a user_info"
        return None

    def parse(self, log: Log, tree: Tree) -> Iterator[Record]:
        """Yield two traces a simulation, and one call for each message that a model made."""
        document = read_document(log)
        if isinstance(document, Issue):
            yield document
            return
        if _SIMULATION_BEGINS.match(document.data):
            yield from _Reading(tree, _Info(), {}).records(document)
            return
        try:
            results = decode(document.data, _RESULTS, "document")
        except BAD_RECORD as error:
            yield document.issue(error)
            return
        info, scenarios = _Info(), dict[str, msgspec.Raw]()
        if results.info:
            try:
                info = decode(results.info, _INFO, "info")
            except BAD_RECORD as error:
                yield document.issue(error)
        for raw in results.tasks or ():
            try:
                task = decode(raw, _TASK, "task")
            except BAD_RECORD as error:
                yield document.issue(error)
                continue
            scenarios[str(task.id)] = task.user_scenario
        reading = _Reading(tree, info, scenarios)
        start = max(document.data.find(b'"simulations"'), 0)
        for place in elements(document.data, results.simulations, start):
            yield from reading.records(place)


class _Reading:
    """One results file: what its simulations share."""

    def __init__(self, tree: Tree, info: _Info, scenarios: dict[str, msgspec.Raw]) -> None:
        self._tree = tree
        self._info = info
        self._scenarios = scenarios

    def records(self, place: Line) -> Iterator[Record]:
        """One simulation's traces and calls, and an issue for each message that is none."""
        try:
            simulation = decode(place.data, _SIMULATION, "simulation")
            agent, user = self._agent_prompt(simulation), self._user_prompt(simulation)
        except BAD_RECORD as error:
            yield place.issue(error)
            return
        messages: list[tuple[int, _Message]] = []
        for index, raw in enumerate(simulation.messages or ()):
            try:
                messages.append((index, decode(raw, _MESSAGE, f"message {index}")))
            except BAD_RECORD as error:
                yield place.issue(error)
        zone = _zone(messages)
        own = _Path(self._tree, place, simulation.id, "assistant", self._info.agent_info, agent)
        child = f"{simulation.id}/user"
        other = _Path(self._tree, place, child, "user", self._info.user_info, user)
        records: list[Call | Issue] = []
        for index, message in messages:
            for path in (own, other):
                try:
                    call = path.follow(index, message, zone)
                except BAD_RECORD as error:
                    records.append(place.issue(error))
                    continue
                if call is not None:
                    records.append(call)
        yield self._trace(simulation, own.node)
        if other.n_calls:
            yield Trace(id=child, parent=simulation.id, project=self._domain, agent="tau2 user")
        yield from records

    @property
    def _domain(self) -> str | None:
        return self._info.environment_info.domain_name

    def _trace(self, simulation: _Simulation, leaf: int) -> Trace:
        agent = self._info.agent_info
        task = str(simulation.task_id)
        made_by = " ".join(word for word in (agent.implementation, agent.llm) if word)
        reward = simulation.reward_info.reward if simulation.reward_info is not None else None
        return Trace(
            id=simulation.id,
            project=self._domain,
            agent=f"tau2 {made_by}" if made_by else "tau2",
            group=f"{self._domain or _digest(self._policy(simulation))}/{task}/{made_by}",
            reward=reward,
            leaf=leaf,
            title=task,
        )

    def _policy(self, simulation: _Simulation) -> str:
        return simulation.policy or self._info.environment_info.policy or ""

    def _agent_prompt(self, simulation: _Simulation) -> list[Segment]:
        agent = self._info.agent_info.implementation or "agent"
        name = f"instructions and tools of tau2 {agent}, {self._domain or 'unknown'} domain"
        return [
            Segment(Kind.UNLOGGED, "", name),
            Segment(Kind.SYSTEM, "system", self._policy(simulation)),
        ]

    def _user_prompt(self, simulation: _Simulation) -> list[Segment]:
        """Raises ValueError: the scenario is no JSON."""
        scenario = self._scenarios.get(str(simulation.task_id))
        guidelines = self._info.user_info.global_simulation_guidelines
        segments = []
        if guidelines is None or scenario is None:
            name = f"prompt of the tau2 user simulator, task {simulation.task_id}"
            segments.append(Segment(Kind.UNLOGGED, "", name))
        if guidelines:
            segments.append(Segment(Kind.SYSTEM, "system", guidelines))
        if scenario:
            text = argument_text(scenario)
            if is_object(scenario):
                text = canonical(scenario, "user_scenario")
            segments.append(Segment(Kind.SYSTEM, "system", text))
        return segments


class _Path:
    """One side of a simulation: the path of what its model was sent."""

    def __init__(
        self, tree: Tree, place: Line, trace: str, role: str, side: _Side, prompt: list[Segment]
    ) -> None:
        self._tree = tree
        self._place = place
        self._trace = trace
        self._role = role
        self._side = side
        self.node = extend_all(tree, ROOT, prompt)
        self.n_calls = 0

    def follow(self, index: int, message: _Message, zone: timedelta | None) -> Call | None:
        """Add a message to the path; its call, if this side's model made it.

        Raises:
            ValueError: its arguments, cost or usage cannot be read.
        """
        call = None
        if message.is_call and message.role == self._role:
            call = self._call(index, message, zone)
        before = self.node
        self.node = extend_all(self._tree, before, self._seen(message))
        if call is None:
            return None
        self.n_calls += 1
        return msgspec.structs.replace(call, prompt=before, completion=self.node)

    def _seen(self, message: _Message) -> list[Segment]:
        """A message as this side's model is sent it; nothing if it is not."""
        if message.role == "tool":
            return [segment for result in _results(message) for segment in self._result(result)]
        calls = message.tool_calls or []
        if message.role == self._role:
            role = "assistant"
        elif calls:
            return []
        else:
            role = "system" if message.role == "system" else "user"
        segments = [Segment(Kind.TEXT, role, message.content)] if message.content else []
        for tool in calls:
            segments.append(call_segment(role, tool.name, argument_text(tool.arguments)))
        return segments

    def _result(self, message: _Message) -> list[Segment]:
        if (message.requestor or "assistant") != self._role:
            return []
        return [Segment(Kind.TOOL_RESULT, "tool", message.content or "")]

    def _call(self, index: int, message: _Message, zone: timedelta | None) -> Call:
        response = message.raw_data or _Response()
        usage = response_usage(response.usage)
        if usage is None and message.usage is not None:
            plain = message.usage
            usage = Usage(input_tokens=plain.prompt_tokens, output_tokens=plain.completion_tokens)
        model, stated = self._side.model, model_name(response.model)
        return Call(
            identity=("", response.id) if response.id else (self._trace, str(index)),
            trace=self._trace,
            line=self._place.line,
            offset=self._place.offset,
            prompt=ROOT,
            started_at=_started_at(message, zone),
            duration_s=message.generation_time_seconds,
            provider=stated.provider or model.provider,
            model=stated.model or model.model,
            usage=usage,
            sidechain=self._role == "user",
            service_tier=response.service_tier,
            logged_cost_usd=known_cost(message.cost),
        )


def _results(message: _Message) -> list[_Message]:
    return [message] if message.tool_messages is None else message.tool_messages


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _zone(messages: list[tuple[int, _Message]]) -> timedelta | None:
    """How far the clock that wrote the messages is ahead of UTC; ``None``: nothing tells."""
    for _, message in messages:
        local = clock_time(message.timestamp)
        if local is not None and message.raw_data is not None:
            created = message.raw_data.created
            if created is not None:
                return ahead_of_utc(local, created)
    return None


def _started_at(message: _Message, zone: timedelta | None) -> datetime | None:
    """When the request was sent, or else answered. Raises ValueError: a time is none."""
    if message.timestamp is None:
        return None
    answered = as_utc(message.timestamp, zone)
    try:
        return answered - timedelta(seconds=message.generation_time_seconds or 0.0)
    except OverflowError as error:
        raise ValueError(f"generation_time_seconds: {message.generation_time_seconds}") from error

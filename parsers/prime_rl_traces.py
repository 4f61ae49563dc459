"""Episodes of verifiers v1 as records; see `prime_rl`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

import msgspec

from forkpoint.parsers.base import ROOT, Tree
from forkpoint.parsers.chat import message_segments
from forkpoint.parsers.litellm_response import known_cost
from forkpoint.parsers.local_clock import from_epoch
from forkpoint.parsers.logs import BAD_RECORD, Line
from forkpoint.parsers.message_paths import MessagePaths
from forkpoint.parsers.model_names import model_name
from forkpoint.parsers.raw_json import canonical, decode
from forkpoint.parsers.records import Call, Kind, Record, Scores, Tokens, Trace, Usage

_MAX_TOKENS = 1 << 27
"""What the prompts of one trace may add up to. A trace of more is made to keep us busy."""

_TokenId = Annotated[int, msgspec.Meta(ge=0, le=2**32 - 1)]
_Seconds = Annotated[float, msgspec.Meta(ge=0, le=2e11)]


class _Named(msgspec.Struct):
    id: str | None = None
    name: str | None = None


class _Task(msgspec.Struct):
    key: str | None = None
    hash: str | None = None


class _Agent(msgspec.Struct):
    name: str = "agent"


class _Build(msgspec.Struct):
    version: str | None = None


class _Reward(msgspec.Struct):
    score: float
    weight: float = 1.0


class _Usage(msgspec.Struct):
    prompt_tokens: Tokens | None = None
    completion_tokens: Tokens | None = None
    cached_input_tokens: Tokens | None = None
    reasoning_tokens: Tokens | None = None
    cost: float | None = None


class _Span(msgspec.Struct):
    start: _Seconds = 0.0
    end: _Seconds = 0.0


class _Call(msgspec.Struct):
    node: int | None = None
    model: str | None = None
    usage: _Usage | None = None
    time: _Span = msgspec.field(default_factory=_Span)


class _Node(msgspec.Struct):
    message: msgspec.Raw
    parent: int | None = None
    sampled: bool = False
    timestamp: _Seconds | None = None
    token_ids: list[_TokenId] = []
    mask: list[bool] = []
    logprobs: list[float | None] = []

    def __post_init__(self) -> None:
        if self.token_ids and len(self.mask) != len(self.token_ids):
            raise ValueError(f"a mask of {len(self.mask)} for {len(self.token_ids)} token ids")


class _Trace(msgspec.Struct):
    id: str
    verifiers: _Build = msgspec.field(default_factory=_Build)
    agent: _Agent = msgspec.field(default_factory=_Agent)
    tools: list[msgspec.Raw] = []
    nodes: list[_Node] = []
    calls: list[_Call] = []
    rewards: dict[str, _Reward | None] = {}
    extra_usage: list[_Usage] = []

    @property
    def reward(self) -> float | None:
        """The weighted sum of what was scored; ``None`` if nothing was."""
        scored = [reward for reward in self.rewards.values() if reward is not None]
        return sum(reward.score * reward.weight for reward in scored) if scored else None


class _Episode(msgspec.Struct):
    id: str
    env: _Named = msgspec.field(default_factory=_Named)
    group: _Named | None = None
    run: _Named | None = None
    task: _Task = msgspec.field(default_factory=_Task)
    traces: list[msgspec.Raw] = []

    @property
    def group_id(self) -> str:
        """What the episodes of one group share."""
        if self.group is not None and self.group.id:
            return self.group.id
        task = self.task.key or self.task.hash or self.id
        run = self.run.id if self.run is not None else None
        return "/".join(part for part in (run, self.env.name or self.env.id, task) if part)


_EPISODE = msgspec.json.Decoder(_Episode)
_TRACE = msgspec.json.Decoder(_Trace)


def episode_records(line: Line, tree: Tree) -> Iterator[Record]:
    """One episode's traces, each with its calls.

    Raises:
        ValueError: the line is no episode.
    """
    episode = decode(line.data, _EPISODE)
    for raw in episode.traces:
        try:
            trace = decode(raw, _TRACE, "trace")
            records = _TraceReader(episode, trace, line, tree).records()
        except BAD_RECORD as error:
            yield line.issue(error)
            continue
        yield from records


class _Sequence:
    """The token ids along the path to one node, kept while the next nodes go on from it.

    Raises:
        ValueError: all sequences asked for add up to more than `_MAX_TOKENS`.
    """

    def __init__(self, nodes: list[_Node]) -> None:
        self._nodes = nodes
        self._path: list[int] = []
        self._at: dict[int, int] = {}
        self._starts: list[int] = []
        self._spent = 0
        self.ids: list[int] = []

    def go(self, node: int) -> int:
        """Go to a node; where in `ids` its own tokens begin."""
        new: list[int] = []
        up: int | None = node
        while up is not None and up not in self._at:
            new.append(up)
            up = self._nodes[up].parent
        kept = 0 if up is None else self._at[up] + 1
        for gone in self._path[kept:]:
            del self._at[gone]
        if kept < len(self._path):
            del self.ids[self._starts[kept] :], self._path[kept:], self._starts[kept:]
        for index in reversed(new):
            self._at[index] = len(self._path)
            self._path.append(index)
            self._starts.append(len(self.ids))
            self.ids += self._nodes[index].token_ids
        self._spent += len(new) + len(self.ids)
        if self._spent > _MAX_TOKENS:
            raise ValueError(f"prompts of more than {_MAX_TOKENS} token ids in one trace")
        return self._starts[self._at[node]]


class _TraceReader:
    """One trace of an episode."""

    def __init__(self, episode: _Episode, trace: _Trace, line: Line, tree: Tree) -> None:
        self._episode = episode
        self._trace = trace
        self._line = line
        self._tree = tree
        self._sequence = _Sequence(trace.nodes)
        self._with_ids = any(node.sampled and node.token_ids for node in trace.nodes)

    def records(self) -> list[Record]:
        """The trace, its calls and their scores.

        Raises:
            ValueError: a message cannot be read, or a parent is none.
        """
        texts = self._texts()
        requests = {call.node: call for call in self._trace.calls if call.node is not None}
        records: list[Record] = []
        leaf: int | None = None
        for index, node in enumerate(self._trace.nodes):
            if node.sampled:
                request = requests.get(index, _Call())
                for record in self._answer(index, node, request, texts):
                    records.append(record)
                    if isinstance(record, Call):
                        leaf = record.completion or record.prompt
        records += self._unlogged(requests)
        return [self._rollout(leaf), *records]

    def _texts(self) -> list[int]:
        """The node of the tree after each message, as text."""
        start = ROOT
        for tool in self._trace.tools:
            start = self._tree.extend(start, Kind.TOOLS, "", canonical(tool, "tools"))
        paths = MessagePaths(self._tree, message_segments)
        found: list[int] = []
        for index, node in enumerate(self._trace.nodes):
            if node.parent is not None and not 0 <= node.parent < index:
                raise ValueError(f"node {index} hangs off node {node.parent}")
            found.append(
                paths.step(start if node.parent is None else found[node.parent], node.message)
            )
        self._start = start
        return found

    def _answer(self, index: int, node: _Node, request: _Call, texts: list[int]) -> list[Record]:
        """The call that made a node, and the scores of its tokens."""
        before = self._start if node.parent is None else texts[node.parent]
        call = self._call(str(index), request.usage, model=request.model)
        call = msgspec.structs.replace(
            call,
            prompt=before,
            completion=texts[index],
            started_at=from_epoch(request.time.start or node.timestamp),
            duration_s=_length(request.time),
        )
        if not (self._with_ids and node.token_ids):
            return [call]
        start = self._sequence.go(index)
        first, end = _sampled(node.mask)
        ids = self._sequence.ids
        prompt = self._tree.extend_tokens(ROOT, ids[: start + first])
        completion = None
        if end > first:
            completion = self._tree.extend_tokens(ROOT, ids[: start + end])
        call = msgspec.structs.replace(
            call, prompt=prompt, completion=completion, text=texts[index]
        )
        sampled = node.token_ids[first:end]
        if completion is None or not node.logprobs or len(node.logprobs) != len(sampled):
            return [call]
        scores = Scores(
            trace=self._trace.id,
            line=self._line.line,
            offset=self._line.offset,
            prompt=prompt,
            completion=completion,
            tokens=sampled,
            logprobs=node.logprobs,
        )
        return [call, scores]

    def _call(self, key: str, usage: _Usage | None, **more: Any) -> Call:
        name = model_name(more.pop("model", None))
        return Call(
            identity=(self._trace.id, key),
            trace=self._trace.id,
            line=self._line.line,
            offset=self._line.offset,
            prompt=ROOT,
            provider=name.provider,
            model=name.model,
            usage=_inclusive(usage),
            logged_cost_usd=None if usage is None else known_cost(usage.cost),
            **more,
        )

    def _unlogged(self, requests: dict[int, _Call]) -> list[Call]:
        """Calls that were paid for and that no message came of."""
        calls = []
        lost = [call for call in self._trace.calls if call.node is None and call.usage is not None]
        for number, call in enumerate(lost):
            made = self._call(f"failed {number}", call.usage, model=call.model)
            started = from_epoch(call.time.start or None)
            calls.append(msgspec.structs.replace(made, started_at=started))
        for number, usage in enumerate(self._trace.extra_usage):
            calls.append(self._call(f"extra {number}", usage, sidechain=True))
        return [
            msgspec.structs.replace(
                call,
                prompt=self._tree.extend(
                    ROOT, Kind.UNLOGGED, "", f"prompt of {' '.join(call.identity or ())}"
                ),
            )
            for call in calls
        ]

    def _rollout(self, leaf: int | None) -> Trace:
        trace, episode = self._trace, self._episode
        group = episode.group_id
        if trace.agent.name != "agent":
            group = f"{group}/{trace.agent.name}"
        version = trace.verifiers.version
        return Trace(
            id=trace.id,
            project=episode.env.name or episode.env.id,
            agent="verifiers" if version is None else f"verifiers {version}",
            group=group,
            reward=trace.reward,
            leaf=leaf,
        )


def _sampled(mask: list[bool]) -> tuple[int, int]:
    """Where the sampled tokens of a node begin and end."""
    if True not in mask:
        return len(mask), len(mask)
    return mask.index(True), len(mask) - mask[::-1].index(True)


def _length(span: _Span) -> float | None:
    return span.end - span.start if span.end >= span.start > 0 else None


def _inclusive(logged: _Usage | None) -> Usage | None:
    """A usage whose prompt tokens are without those read from a cache."""
    if logged is None:
        return None
    total = logged.prompt_tokens
    if total is not None:
        total += logged.cached_input_tokens or 0
    return Usage(
        input_tokens=total,
        cache_read_tokens=logged.cached_input_tokens,
        output_tokens=logged.completion_tokens,
        reasoning_tokens=logged.reasoning_tokens,
    )

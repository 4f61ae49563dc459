"""A sample of an Inspect log: what it holds, how it was scored, and its conversation.

A conversation is read for its calls only where a log has no events: then each generated message is
a call, and the sample's usage, which is a sum, stands at the last of them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import msgspec

from forkpoint.parsers.base import ROOT, Tree
from forkpoint.parsers.inspect_message import Attachments, read_message
from forkpoint.parsers.inspect_usage import ModelUsage, usage_of
from forkpoint.parsers.logs import Line
from forkpoint.parsers.message_paths import MessagePaths
from forkpoint.parsers.model_names import model_name
from forkpoint.parsers.raw_json import decode, decode_value, is_list, is_object
from forkpoint.parsers.records import Call, Kind


class _Score(msgspec.Struct):
    value: msgspec.Raw = msgspec.Raw()
    answer: str | None = None


_SCORE = msgspec.json.Decoder(_Score)

_WORDS = {"c": 1.0, "p": 0.5, "i": 0.0, "n": 0.0, "yes": 1.0, "true": 1.0, "no": 0.0, "false": 0.0}
"""What Inspect's own metrics make of scores in words."""


@dataclass(frozen=True)
class Task:
    """What a log's header says of all its samples."""

    name: str
    run: str
    """Unique in the world."""
    model: str | None
    agent: str | None


@dataclass
class Sample:
    """A sample, whichever way it was stored."""

    id: str
    epoch: int
    uuid: str | None
    messages: list[msgspec.Raw]
    events: list[msgspec.Raw]
    retries: list[list[msgspec.Raw]]
    pool: list[msgspec.Raw]
    attachments: Attachments
    scores: list[msgspec.Raw]
    model_usage: dict[str, ModelUsage]

    def group(self, task: Task) -> str:
        """Names what a model's epochs of one sample share, in all runs of the task."""
        return "/".join((task.name, task.model or "", self.id))


def outcome(scores: Iterable[msgspec.Raw]) -> tuple[float | None, str | None]:
    """Reward and answer of the first score that is a number or stands for one."""
    for raw in scores:
        score = decode(raw, _SCORE, "scores")
        value = _number(score.value)
        if value is not None:
            return value, score.answer
    return None, None


def _number(raw: msgspec.Raw) -> float | None:
    """A score as a number; ``None`` for one that none of Inspect's conversions covers."""
    if not raw or is_list(raw) or is_object(raw):
        return None
    value = decode_value(raw, "scores")
    if isinstance(value, str):
        word = value.strip().lower()
        if word in _WORDS:
            return _WORDS[word]
        try:
            value = float(word)
        except ValueError:
            return None
    if not isinstance(value, bool | int | float) or abs(value) > 1e300:
        return None
    return float(value) if math.isfinite(value) else None


class Conversation:
    """A sample's messages.

    Args:
        paths: reads them into `tree`.
    """

    def __init__(
        self, sample: Sample, task: Task, line: Line, tree: Tree, paths: MessagePaths, trace: str
    ) -> None:
        self._sample = sample
        self._task = task
        self._line = line
        self._tree = tree
        self._paths = paths
        self._trace = trace

    def end(self) -> int | None:
        """The node where the messages end."""
        node = self._paths.follow(ROOT, self._sample.messages)
        return None if node == ROOT else node

    def calls(self) -> list[Call]:
        """One call a generated message, and one of their own for all calls of another model."""
        read = [read_message(raw) for raw in self._sample.messages]
        marked = any(message.source == "generate" for message in read)
        calls: list[Call] = []
        node = ROOT
        for message, raw in zip(read, self._sample.messages, strict=True):
            before, node = node, self._paths.step(node, raw)
            generated = message.source == "generate" if marked else message.source != "input"
            if message.role == "assistant" and generated:
                key = f"message {len(calls)}"
                calls.append(self._call(key, self._task.model, before, node))
        return self._with_usage(calls)

    def _call(self, key: str, model: str | None, prompt: int, completion: int | None) -> Call:
        name = model_name(model)
        return Call(
            identity=(self._trace, key),
            trace=self._trace,
            line=self._line.line,
            offset=self._line.offset,
            prompt=prompt,
            completion=completion,
            provider=name.provider,
            model=name.model,
        )

    def _with_usage(self, calls: list[Call]) -> list[Call]:
        usages = self._sample.model_usage
        own = self._task.model if self._task.model in usages else next(iter(usages), None)
        others: list[Call] = []
        for model, logged in usages.items():
            usage, cost = usage_of(logged)
            if usage is None:
                continue
            mine = model == own and bool(calls)
            if mine:
                call = calls.pop()
            else:
                text = f"prompts of {self._trace} to {model}"
                prompt = self._tree.extend(ROOT, Kind.UNLOGGED, "", text)
                call = self._call(f"calls of {model}", model, prompt, None)
            call = msgspec.structs.replace(
                call,
                usage=usage,
                logged_cost_usd=cost,
                sidechain=model != own,
                is_sum=not mine or bool(calls),
            )
            (calls if mine else others).append(call)
        return others + calls

"""rLLM episodes: ``{mode}_step_{step}_epoch_{epoch}/episode_hash{hash}_id{id}.json``, one a file.

Two writers (github.com/rllm-org/rllm 9beb6e0): the trainer's logger (rllm/utils/episode_logger.py),
``{training_step, epoch, episode_id, session_id, task, task_hash, is_correct, termination_reason,
trajectories: [{name, uid, reward, steps: [{observation, action, reward, model_response,
chat_completions, …}]}], …}``, and ``rllm eval`` (rllm/eval/episode_store.py), which writes the whole
model: ``id`` for ``episode_id``, and steps with ``prompt_ids``, ``response_ids``, ``logprobs`` and
``model_output``. What to know about them:

- A step is one call. Its ``chat_completions`` are the whole conversation, the response last. Steps
  may share a beginning or not: each is read by itself.
- A step without a conversation has ``model_response`` alone: its prompt is not logged.
- ``model_output`` has the lengths that the engine counted: usage where there are no token ids.
- Each trajectory is a rollout; several of an episode are agents with different names. Episode ids
  are ``<task>:<number>``, where the task's part is drawn anew for each batch in training. With the
  task's hash and the step it is the group.
- A trajectory without a reward has that of its episode, ``is_correct``.
- Costs, models and the times of calls are not logged. ``batch_summary.json`` has nothing to read.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from typing import Annotated, ClassVar

import msgspec

from forkpoint.parsers.base import ROOT, Tree
from forkpoint.parsers.chat import message_segments
from forkpoint.parsers.document import decode_document, head_fields
from forkpoint.parsers.json_list import elements
from forkpoint.parsers.logs import BAD_RECORD, Head, Line, Log
from forkpoint.parsers.message_paths import MessagePaths
from forkpoint.parsers.raw_json import decode
from forkpoint.parsers.records import Call, Issue, Kind, Record, Scores, Tokens, Trace, Usage
from forkpoint.parsers.sampled_messages import role_of

_TRAINING_BEGINS = re.compile(
    rb'\s*+\{\s*+"training_step"\s*+:\s*+-?\d++\s*+,\s*+"epoch"\s*+:\s*+-?\d++\s*+,'
    rb'\s*+"episode_id"\s*+:'
)
_EVAL_BEGINS = re.compile(
    rb'\s*+\{\s*+"id"\s*+:\s*+"(?:[^"\\]|\\.)*+"\s*+,\s*+"task"\s*+:', re.DOTALL
)
_EVAL_FIELDS = frozenset({"termination_reason", "is_correct", "session_id", "trajectories"})

_TokenId = Annotated[int, msgspec.Meta(ge=0, le=2**32 - 1)]


class _ModelOutput(msgspec.Struct):
    prompt_length: Tokens = 0
    completion_length: Tokens = 0


class _Step(msgspec.Struct):
    chat_completions: list[msgspec.Raw] | None = None
    model_response: str | None = None
    prompt_ids: msgspec.Raw = msgspec.Raw()
    response_ids: list[_TokenId] | None = None
    logprobs: list[float | None] | None = None
    model_output: _ModelOutput | None = None


class _Trajectory(msgspec.Struct):
    uid: str | None = None
    name: str | None = None
    reward: float | None = None
    steps: list[msgspec.Raw] = []


class _Episode(msgspec.Struct):
    trajectories: list[msgspec.Raw]
    episode_id: str | int | None = None
    id: str | int | None = None
    training_step: int | None = None
    epoch: int | None = None
    task: msgspec.Raw = msgspec.Raw()
    task_hash: str | None = None
    is_correct: bool | None = None

    @property
    def group(self) -> str:
        """What the episodes of one group share."""
        name = str(self.episode_id if self.episode_id is not None else self.id)
        task, _, number = name.rpartition(":")
        hashed = self.task_hash or hashlib.sha256(bytes(self.task)).hexdigest()[:8]
        parts = [task if number.isdecimal() else "", hashed, self.training_step, self.epoch]
        return "/".join(str(part) for part in parts if part is not None and part != "")


_EPISODE = msgspec.json.Decoder(_Episode)
_TRAJECTORY = msgspec.json.Decoder(_Trajectory)
_IDS = msgspec.json.Decoder(list[_TokenId])
_STEP = msgspec.json.Decoder(_Step)


class Rllm:
    """Reads rLLM episodes; see the module's docstring."""

    name: ClassVar[str] = "rllm"
    title: ClassVar[str] = "rLLM episodes"
    checked: ClassVar[str] = "from its source code (9beb6e0), 2026-11"
    evidence: ClassVar[tuple[str, ...]] = ("text", "token ids", "rewards", "logprobs")
    locations: ClassVar[tuple[str, ...]] = ()
    whole_prompts: ClassVar[bool] = True
    grows: ClassVar[bool] = False

    def identify(self, head: Head) -> str | None:
        """Why the file is of this format, or ``None``."""
        if _TRAINING_BEGINS.match(head.data):
            return "a training_step, an epoch and an episode_id"
        if _EVAL_BEGINS.match(head.data) and head_fields(head).keys() >= _EVAL_FIELDS:
            return "an episode with an id, a task and trajectories"
        return None

    def parse(self, log: Log, tree: Tree) -> Iterator[Record]:
        """Yield one rollout a trajectory, and one call a step."""
        opened = decode_document(log, _EPISODE)
        if isinstance(opened, Issue):
            yield opened
            return
        document, episode = opened
        start = max(document.data.find(b'"trajectories"'), 0)
        for place in elements(document.data, episode.trajectories, start):
            try:
                trajectory = decode(place.data, _TRAJECTORY, "trajectory")
            except BAD_RECORD as error:
                yield place.issue(error)
                continue
            yield from _records(episode, trajectory, place, tree)


def _records(
    episode: _Episode, trajectory: _Trajectory, place: Line, tree: Tree
) -> Iterator[Record]:
    trace = trajectory.uid or hashlib.sha256(place.data).hexdigest()[:32]
    paths = MessagePaths(tree, message_segments)
    found: list[Record] = []
    leaf: int | None = None
    start = max(place.data.find(b'"steps"'), 0)
    for index, at in enumerate(elements(place.data, trajectory.steps, start)):
        step_place = Line(b"", at.line, place.offset + at.offset)
        try:
            step = decode(at.data, _STEP, "step")
            records = _step_records(step, trace, index, step_place, tree, paths)
        except BAD_RECORD as error:
            found.append(step_place.issue(error))
            continue
        found += records
        leaf = records[0].completion or records[0].prompt
    correct = None if episode.is_correct is None else float(episode.is_correct)
    named = "" if trajectory.name in (None, "default_traj_name") else f"/{trajectory.name}"
    yield Trace(
        id=trace,
        agent="rLLM" if not named else f"rLLM {trajectory.name}",
        group=episode.group + named,
        reward=correct if trajectory.reward is None else trajectory.reward,
        leaf=leaf,
    )
    yield from found


def _step_records(
    step: _Step, trace: str, index: int, place: Line, tree: Tree, paths: MessagePaths
) -> tuple[Call] | tuple[Call, Scores]:
    """A step's call, and the scores of its tokens where they were logged.

    Raises:
        ValueError: a message cannot be read, or the lists are of different lengths.
    """
    prompt, completion = _conversation(step, trace, tree, paths)
    call = Call(
        identity=(trace, str(index)),
        trace=trace,
        line=place.line,
        offset=place.offset,
        prompt=prompt,
        completion=completion,
    )
    ids = _token_ids(step.prompt_ids)
    made = step.response_ids or []
    if not ids:
        lengths = step.model_output or _ModelOutput()
        if lengths.prompt_length:
            usage = Usage(
                input_tokens=lengths.prompt_length, output_tokens=lengths.completion_length
            )
            call = msgspec.structs.replace(call, usage=usage)
        return (call,)
    before = tree.extend_tokens(ROOT, ids)
    after = tree.extend_tokens(ROOT, ids + made) if made else None
    text = completion if step.chat_completions else None
    call = msgspec.structs.replace(call, prompt=before, completion=after, text=text)
    if after is None or not step.logprobs:
        return (call,)
    scores = Scores(
        trace=trace,
        line=place.line,
        offset=place.offset,
        prompt=before,
        completion=after,
        tokens=made,
        logprobs=step.logprobs,
    )
    return call, scores


def _token_ids(raw: msgspec.Raw) -> list[int]:
    """A prompt's token ids; none where they were not logged, or are not all of the prompt (images
    stand among them as objects).

    Raises:
        ValueError: they are no list, or one is no token id.
    """
    if not raw or bytes(raw) == b"null" or b"{" in bytes(raw):
        return []
    return decode(raw, _IDS, "prompt_ids")


def _conversation(
    step: _Step, trace: str, tree: Tree, paths: MessagePaths
) -> tuple[int, int | None]:
    """Where a step's prompt and its response end, as text. Raises ValueError: see above."""
    messages = step.chat_completions or []
    if not messages:
        prompt = tree.extend(ROOT, Kind.UNLOGGED, "", f"prompt of rLLM trajectory {trace}")
        if not step.model_response:
            return prompt, None
        return prompt, tree.extend(prompt, Kind.TEXT, "assistant", step.model_response)
    nodes, answer = [ROOT], None
    for index, message in enumerate(messages):
        nodes.append(paths.step(nodes[-1], message))
        if role_of(message) == "assistant":
            answer = index
    # What comes after the last response is not of this step.
    return (nodes[-1], None) if answer is None else (nodes[answer], nodes[answer + 1])

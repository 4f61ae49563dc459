"""Tinker cookbook runs: what reinforcement learning leaves in ``iteration_{N}/``.

Two kinds of files (github.com/thinking-machines-lab/tinker-cookbook 9dfcc3a):

``{train,eval_…}_rollout_summaries.jsonl``: one trajectory a line, all trajectories of the
iteration (``tinker_cookbook/rl/rollout_logging.py``): ``{"schema_version": 1, "split": str,
"iteration": int, "group_idx": int, "traj_idx": int, "tags": […], "total_reward": float, "steps":
[{"step_idx", "ob_len", "ac_len", "reward", …}], …}``.

- There is no text and there are no ids: a step is a call of which only the lengths are known, the
  prompt's (``ob_len``) and the completion's (``ac_len``). They are its usage.
- A prompt that was too long to be sampled from is one step with both lengths 0, and no call.

``{train,eval_…}_logtree.json``: the page that the run shows, as a tree of HTML elements
(``tinker_cookbook/utils/logtree.py``), of the first few groups of the iteration only.

- Conversations stand in it as data: a section "Prompt" with the messages given, then "Policy
  Response" (one turn of a `ProblemEnv`) or "Completion {i}" (preferences) with those sampled. Other
  environments log none.
- A group's samples run side by side and log as they finish: the order is not `traj_idx`. A reward
  is taken from the section "Reward" that follows a response at once, which nothing can come
  between, or from "Trajectory {i} Episode" for "Completion {i}"; else it is not known.
- These rollouts stand in the summaries too, under numbers that the page does not have. So they are
  rollouts with a text, a group and a reward here, but no calls: calls are counted there.
"""

from __future__ import annotations

import hashlib
import html
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from math import isfinite
from typing import ClassVar

import msgspec

from forkpoint.parsers.base import ROOT, Tree
from forkpoint.parsers.chat import extend_all, message_segments
from forkpoint.parsers.document import decode_document
from forkpoint.parsers.logs import (
    BAD_RECORD,
    Head,
    Line,
    Log,
    describe,
    read_each,
)
from forkpoint.parsers.raw_json import decode
from forkpoint.parsers.record_names import RecordNames
from forkpoint.parsers.records import Call, Issue, Kind, Record, Tokens, Trace, Usage

_LOGTREE_BEGINS = re.compile(
    rb'\s*+\{\s*+"title"\s*+:\s*+"(?:[^"\\]|\\.)*+"\s*+,\s*+"started_at"\s*+:\s*+"[^"\\]*+"\s*+,'
    rb'\s*+"path"\s*+:\s*+(?:null|"(?:[^"\\]|\\.)*+")\s*+,\s*+"root"\s*+:\s*+\{\s*+"tag"\s*+:',
    re.DOTALL,
)
_SUMMARY_FIELDS = frozenset(("split", "group_idx", "traj_idx", "total_reward", "steps"))
_CUT_SUMMARY = re.compile(
    rb'\s*+\{\s*+"schema_version"\s*+:\s*+\d++\s*+,\s*+"split"\s*+:\s*+"(?:[^"\\]|\\.)*+"\s*+,'
    rb'\s*+"iteration"\s*+:\s*+\d++\s*+,\s*+"group_idx"\s*+:\s*+\d++\s*+,\s*+"traj_idx"\s*+:',
    re.DOTALL,
)
_COMPLETION = re.compile(r"Completion (\d{1,9})")
_EPISODE = re.compile(r"Trajectory (\d{1,9}) Episode")


class _Step(msgspec.Struct):
    ob_len: Tokens
    ac_len: Tokens
    step_idx: int | None = None


class _Summary(msgspec.Struct):
    group_idx: int
    steps: list[_Step]
    split: str | None = None
    iteration: int | None = None
    tags: list[str] | None = None
    total_reward: float | None = None


class _Data(msgspec.Struct):
    type: str | None = None
    messages: list[msgspec.Raw] | None = None


class _Node(msgspec.Struct):
    """An element of the page. Its children are texts and elements."""

    tag: str = ""
    children: list[str | _Node] = []
    data: _Data | None = None


class _Page(msgspec.Struct):
    root: _Node


_SUMMARY = msgspec.json.Decoder(_Summary)
_PAGE = msgspec.json.Decoder(_Page)


class TinkerCookbook:
    """Reads rollout summaries and logtrees; see the module's docstring."""

    name: ClassVar[str] = "tinker-cookbook"
    title: ClassVar[str] = "Tinker cookbook runs"
    checked: ClassVar[str] = "tinker-cookbook 9dfcc3a, 2026-11"
    evidence: ClassVar[tuple[str, ...]] = ("usage", "text", "rewards")
    locations: ClassVar[tuple[str, ...]] = ()
    whole_prompts: ClassVar[bool] = True
    grows: ClassVar[bool] = False

    def identify(self, head: Head) -> str | None:
        """Why the file is of this format, or ``None``."""
        if _LOGTREE_BEGINS.match(head.data):
            return "a logtree: title, started_at, path and a root of elements"
        if head.lines:
            if head.objects and head.objects[0].keys() >= _SUMMARY_FIELDS:
                return "each line has a trajectory's group_idx, traj_idx, total_reward and steps"
        elif _CUT_SUMMARY.match(head.data):
            return "its first record is one long trajectory with group_idx and traj_idx"
        return None

    def parse(self, log: Log, tree: Tree) -> Iterator[Record]:
        """Yield a rollout for each trajectory or shown response, and a call for each step."""
        head = log.head()
        if isinstance(head, Issue):
            yield head
            return
        is_page = _LOGTREE_BEGINS.match(head.data) is not None
        yield from _page_records(log, tree) if is_page else _summary_records(log, tree)


def _summary_records(log: Log, tree: Tree) -> Iterator[Record]:
    yield from read_each(log.lines(), partial(_trajectory, names=RecordNames(), tree=tree))


def _trajectory(line: Line, names: RecordNames, tree: Tree) -> Iterator[Record]:
    """Raises ValueError, RecursionError: a line is no trajectory."""
    summary = decode(line.data, _SUMMARY)
    name = names.short_name(line.data)
    scope = names.file_id
    trace_id = f"{scope}/{name}"
    yield Trace(
        id=trace_id,
        project="/".join(summary.tags or ()) or None,
        group=f"{scope}/{summary.split}/{summary.iteration}/{summary.group_idx}",
        reward=summary.total_reward,
    )
    for number, step in enumerate(summary.steps):
        if not step.ob_len and not step.ac_len:
            continue
        unlogged = f"observation {number} of Tinker trajectory {trace_id}"
        yield Call(
            identity=(trace_id, str(number)),
            trace=trace_id,
            line=line.line,
            offset=line.offset,
            prompt=tree.extend(ROOT, Kind.UNLOGGED, "", unlogged),
            usage=Usage(input_tokens=step.ob_len, output_tokens=step.ac_len),
        )


# The page.


@dataclass
class _Shown:
    """A response on the page."""

    group: int
    index: int | None
    """Its place among the trajectories, where the page tells."""
    prompt: list[msgspec.Raw]
    response: list[msgspec.Raw]
    reward: float | None = None


@dataclass
class _Walk:
    """Where the walk through the page has come."""

    n_groups: int = 0
    shown: list[_Shown] = field(default_factory=list)
    prompts: dict[int, list[msgspec.Raw]] = field(default_factory=dict)
    """The last prompt shown, by group."""
    returns: dict[tuple[int, int], float] = field(default_factory=dict)
    """Total returns by group and place among the trajectories."""


def _page_records(log: Log, tree: Tree) -> Iterator[Record]:
    opened = decode_document(log, _PAGE)
    if isinstance(opened, Issue):
        yield opened
        return
    document, page = opened
    scope = hashlib.sha256(document.data).hexdigest()[:16]
    walk = _Walk()
    try:
        _look(page.root, 0, walk)
    except RecursionError as error:
        yield document.issue(error)
        return
    for number, shown in enumerate(walk.shown, 1):
        reward = shown.reward
        if shown.index is not None:
            reward = walk.returns.get((shown.group, shown.index))
        try:
            prompt = _extend(tree, ROOT, shown.prompt)
            leaf = _extend(tree, prompt, shown.response)
        except BAD_RECORD as error:
            yield Line(b"", number, 0).issue(f"response {number} of the page: {describe(error)}")
            continue
        yield Trace(
            id=f"{scope}/{number}",
            group=f"{scope}/{shown.group}",
            reward=reward,
            leaf=leaf,
            prompt=prompt,
        )


def _extend(tree: Tree, node: int, messages: list[msgspec.Raw]) -> int:
    for message in messages:
        node = extend_all(tree, node, message_segments(message))
    return node


def _look(node: _Node, group: int, walk: _Walk) -> None:
    """Walk through an element's children in order."""
    last: _Shown | None = None
    for child in node.children:
        if isinstance(child, str):
            continue
        title = _title(child)
        before, last = last, None
        if title == "Group Rollout":
            walk.n_groups += 1
            _look(child, walk.n_groups, walk)
        elif title == "Prompt":
            walk.prompts[group] = _messages(child)
        elif title == "Policy Response" or _COMPLETION.fullmatch(title):
            last = _response(child, title, group, walk)
        elif title == "Reward" and before is not None:
            before.reward = _cell(child, "reward")
        elif episode := _EPISODE.fullmatch(title):
            total = _cell(child, "total_return")
            if total is not None:
                walk.returns[group, int(episode[1])] = total
        else:
            _look(child, group, walk)


def _response(section: _Node, title: str, group: int, walk: _Walk) -> _Shown | None:
    messages = _messages(section)
    if not messages:
        return None
    completion = _COMPLETION.fullmatch(title)
    index = None if completion is None else int(completion[1])
    shown = _Shown(group, index, walk.prompts.get(group, []), messages)
    walk.shown.append(shown)
    return shown


def _title(section: _Node) -> str:
    """A section's header; empty for other elements."""
    if section.tag != "section" or not section.children:
        return ""
    header = section.children[0]
    if isinstance(header, str) or not re.fullmatch("h[1-6]", header.tag):
        return ""
    return html.unescape(_text(header))


def _text(node: _Node) -> str:
    return "".join(child for child in node.children if isinstance(child, str))


def _elements(node: _Node) -> Iterator[_Node]:
    """An element and all within it, in order, as far as the page is nested like one."""
    stack = [node]
    while stack:
        element = stack.pop()
        yield element
        stack += [child for child in reversed(element.children) if isinstance(child, _Node)]


def _messages(section: _Node) -> list[msgspec.Raw]:
    """The first conversation in a section."""
    for element in _elements(section):
        if element.data is not None and element.data.type == "conversation":
            return element.data.messages or []
    return []


def _cell(section: _Node, key: str) -> float | None:
    """The number beside a key in a table of a section."""
    for element in _elements(section):
        cells = [child for child in element.children if isinstance(child, _Node)]
        if element.tag == "tr" and len(cells) == 2 and _text(cells[0]) == key:
            try:
                value = float(_text(cells[1]))
            except ValueError:
                return None
            return value if isfinite(value) else None
    return None

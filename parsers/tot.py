"""Tree of Thoughts logs: one JSON list of puzzles, each a search through partial solutions.

Written by github.com/princeton-nlp/tree-of-thought-llm (``run.py``, ``src/tot/methods/bfs.py``,
``scripts/crosswords/search_crosswords-dfs.ipynb``), in three shapes:

- breadth first: ``{"steps": [{"step", "x", "ys", "new_ys", "values", "select_new_ys"}, …], "idx",
  "ys", "infos": [{"r": …}, …], "usage_so_far"}``. Each state is a text that repeats the state it
  extends; ``new_ys`` are all proposals of a step, ``select_new_ys`` the ones that live on.
- samples (``--naive_run``): the same without ``steps``; ``ys`` are independent samples.
- depth first (crosswords): a list of nodes a puzzle, each ``{"total_step", "env_step", "actions":
  [text, …], "info": {"r_word", …}, "count"}`` with the whole path of actions, in order of visit.

What becomes of it:

- A puzzle is a group. The tree is that of the states: one segment a thought, so that states which
  share their beginning share nodes. Every state is a trace. Those nobody went on from are the
  search's leaves and hence its rollouts; a state that was expanded has no group, and its children's
  traces say that they are forked from it.
- The reward is ``infos[].r``, which final states have, or the ``r_word`` of a crosswords node. What
  a state's last line states after ``Answer:`` is its answer.
- The puzzle's text is logged in ``steps`` only. Of the prompts around it (instructions, examples,
  and those that judge states) nothing is, so paths hold the puzzle and what was generated.
- ``usage_so_far`` counts all requests of the process that wrote the file. What a puzzle added to it
  is the usage of one call that stands for all requests of the puzzle, the judging ones too; its
  prompt is unlogged. So the calls add up to what was paid, which one puzzle's share by any rule
  over its states would not. Where the counter fell, the run was resumed by another process, which
  counts from 0: that puzzle's usage is the counter itself, and the last counter is no total.
- The model stands in the file's name only, as the program names it: ``gpt-4_0.7_…``.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import Annotated, ClassVar, NamedTuple

import msgspec

from forkpoint.parsers.base import ROOT, Tree
from forkpoint.parsers.json_list import first_element, list_elements
from forkpoint.parsers.logs import Head, Line, Log, data_set_name, read_each
from forkpoint.parsers.raw_json import decode, is_list
from forkpoint.parsers.record_names import record_digest
from forkpoint.parsers.records import Call, Kind, Record, Tokens, Trace, Usage

_MODEL_IN_NAME = re.compile(r"(.+?)_\d+(?:\.\d+)?_(?:naive|sample|propose)")
_ANSWER = re.compile(r"answer:[ \t]*+(.*)", re.IGNORECASE)
_Depth = Annotated[int, msgspec.Meta(ge=0, le=2**31)]


class _Info(msgspec.Struct):
    r: float | bool | None = None
    r_word: float | bool | None = None


class _Step(msgspec.Struct):
    x: str
    ys: list[str]
    new_ys: list[str]
    select_new_ys: list[str]


class _UsageSoFar(msgspec.Struct):
    completion_tokens: Tokens
    prompt_tokens: Tokens
    cost: float | None = None


class _Puzzle(msgspec.Struct):
    idx: int | str
    ys: list[str]
    steps: list[_Step] | None = None
    infos: list[_Info] | None = None
    usage_so_far: _UsageSoFar | None = None


class _Node(msgspec.Struct):
    total_step: _Depth
    env_step: _Depth
    actions: list[str]
    info: _Info | None = None


_PUZZLE = msgspec.json.Decoder(_Puzzle)
_NODES = msgspec.json.Decoder(list[_Node])


class TreeOfThoughts:
    """Reads Tree of Thoughts logs; see the module's docstring."""

    name: ClassVar[str] = "tot"
    title: ClassVar[str] = "Tree of Thoughts logs"
    checked: ClassVar[str] = "tree-of-thought-llm ab40034, 2026-11"
    evidence: ClassVar[tuple[str, ...]] = ("usage", "text", "rewards")
    locations: ClassVar[tuple[str, ...]] = ()
    whole_prompts: ClassVar[bool] = True
    grows: ClassVar[bool] = False

    def identify(self, head: Head) -> str | None:
        """Why the file is of this format, or ``None``."""
        first = first_element(head)
        if isinstance(first, list) and first and isinstance(first[0], dict):
            if {"total_step", "env_step", "actions"} <= first[0].keys():
                return "lists of search nodes with total_step, env_step and actions"
            return None
        if not isinstance(first, dict):
            return None
        steps = first.get("steps")
        if isinstance(steps, list) and steps and isinstance(steps[0], dict):
            known = {"step", "x", "ys", "new_ys"} <= steps[0].keys()
            return "puzzles whose steps have ys and new_ys" if known else None
        samples = first.get("ys")
        whole = head.document is not None
        if "idx" not in first or not isinstance(samples, list) or (whole and "infos" not in first):
            return None
        if all(isinstance(sample, str) for sample in samples):
            return "puzzles with idx and sampled ys"
        return None

    def parse(self, log: Log, tree: Tree) -> Iterator[Record]:
        """Yield a trace a state, and for each puzzle with usage one call."""
        yield from read_each(list_elements(log), _Reading(log, tree).puzzle)


class _Reading:
    """One file being read."""

    def __init__(self, log: Log, tree: Tree) -> None:
        self._tree = tree
        self._scope = ""
        self._data_set = data_set_name(log.path)
        name = _MODEL_IN_NAME.match(log.path.name)
        self._model = name[1] if name else None
        self._before: _UsageSoFar | None = None
        self._seen: Counter[str] = Counter()

    def puzzle(self, element: Line) -> list[Record]:
        """One puzzle's traces, and its call.

        Raises:
            ValueError: it is none.
            RecursionError: it is nested too deeply.
        """
        # The file is rewritten with each puzzle, so its beginning is what its copies share.
        self._scope = self._scope or record_digest(element.data).hex()[:16]
        raw = msgspec.Raw(element.data)
        if is_list(raw):
            return self._searched_depth_first(decode(raw, _NODES, "nodes"), element.line)
        puzzle = decode(raw, _PUZZLE, "puzzle")
        search = f"{self._scope}/{puzzle.idx}"
        self._seen[search] += 1
        if self._seen[search] > 1:
            search += f"#{self._seen[search]}"
        records = (
            self._sampled(puzzle, search)
            if puzzle.steps is None
            else self._searched_breadth_first(puzzle, puzzle.steps, search)
        )
        return [*self._requests(puzzle, search, element), *records]

    def _requests(self, puzzle: _Puzzle, search: str, element: Line) -> list[Record]:
        """All requests of a puzzle as one call, if the log says what they used."""
        now, before = puzzle.usage_so_far, self._before
        if now is None:
            return []
        self._before = now
        if before is None or (
            now.prompt_tokens < before.prompt_tokens
            or now.completion_tokens < before.completion_tokens
        ):
            before = _UsageSoFar(completion_tokens=0, prompt_tokens=0, cost=0.0)
        cost = None
        if now.cost is not None and before.cost is not None:
            cost = max(now.cost - before.cost, 0.0)
        prompt = self._tree.extend(ROOT, Kind.UNLOGGED, "", f"all requests of {search}")
        call = Call(
            identity=("", f"{search}/requests"),
            trace=search,
            line=element.line,
            offset=element.offset,
            prompt=prompt,
            model=self._model,
            usage=Usage(
                input_tokens=now.prompt_tokens - before.prompt_tokens,
                output_tokens=now.completion_tokens - before.completion_tokens,
            ),
            logged_cost_usd=cost,
            is_sum=True,
        )
        return [Trace(id=search, project=self._data_set), call]

    def _sampled(self, puzzle: _Puzzle, search: str) -> list[Record]:
        rewards = _rewards(puzzle)
        found = _Search(self._tree, search, self._data_set, ROOT)
        for number, (text, reward) in enumerate(zip(puzzle.ys, rewards, strict=True)):
            state = found.extended(found.start, text, f"{search}/{number}")
            found.visited(state, leaf=True, reward=reward, answer=_answer(text))
        return found.traces

    def _searched_breadth_first(
        self, puzzle: _Puzzle, steps: list[_Step], search: str
    ) -> list[Record]:
        text = steps[0].x if steps else ""
        start = self._tree.extend(ROOT, Kind.TEXT, "user", text) if text else ROOT
        found = _Search(self._tree, search, self._data_set, start)
        rewards = dict(zip(puzzle.ys, _rewards(puzzle), strict=True))
        living: dict[str, _State] = {"": found.start}
        for number, step in enumerate(steps):
            last = number == len(steps) - 1
            selected = Counter(step.select_new_ys)
            survivors = {"": found.start}
            for place, text in enumerate(step.new_ys):
                above = _extended(text, step.ys, living)
                state = found.extended(
                    living[above], text[len(above) :], f"{search}/{number}.{place}"
                )
                # A state proposed twice may be selected once: then the first of the two lives on.
                lives = selected[text] > 0
                selected[text] -= 1
                if lives:
                    survivors.setdefault(text, state)
                reward = rewards.get(text) if lives and last else None
                found.visited(state, leaf=last or not lives, reward=reward, answer=_answer(text))
            living = survivors
        return found.traces

    def _searched_depth_first(self, nodes: list[_Node], number: int) -> list[Record]:
        """One puzzle's nodes. The log does not name the puzzle, so its place in the list does."""
        search = f"{self._scope}/{number - 1}"
        found = _Search(self._tree, search, self._data_set, ROOT)
        expanded = {tuple(node.actions[:-1]) for node in nodes}
        known: dict[tuple[str, ...], _State] = {(): found.start}
        for place, visited in enumerate(nodes):
            path = tuple(visited.actions)
            above = known.get(path[:-1])
            state = found.start if above is None else above
            # All actions of a path are new only where the log lacks the node above.
            for action in path if above is None else path[-1:]:
                state = found.extended(state, action, None)
            state = _State(state.node, f"{search}/{place}", above)
            known[path] = state
            reward = None if visited.info is None else visited.info.r_word
            found.visited(state, leaf=path not in expanded, reward=reward)
        return found.traces


class _State(NamedTuple):
    """A partial solution, where it stands in the tree, and the trace that is named after it."""

    node: int
    trace: str | None
    above: _State | None


class _Search:
    """The states of one puzzle, as traces."""

    def __init__(self, tree: Tree, name: str, data_set: str, start: int) -> None:
        self._tree = tree
        self._name = name
        self._data_set = data_set
        self.start = _State(start, None, None)
        self.traces: list[Record] = []

    def extended(self, state: _State, text: str, trace: str | None) -> _State:
        """The state that a thought leads to."""
        node = state.node
        if text:
            node = self._tree.extend(node, Kind.TEXT, "assistant", text)
        return _State(node, trace, state)

    def visited(
        self,
        state: _State,
        *,
        leaf: bool,
        reward: float | None = None,
        answer: str | None = None,
    ) -> None:
        """Note a state: a rollout if it is a leaf of the search."""
        assert state.trace is not None
        trace = Trace(
            id=state.trace,
            parent=self._name,
            forked_from=None if state.above is None else state.above.trace,
            project=self._data_set,
            group=f"{self._data_set}/{self._name}" if leaf else None,
            reward=None if reward is None else float(reward),
            answer=answer,
            prompt=self.start.node,
            leaf=state.node or None,
        )
        self.traces.append(trace)


def _rewards(puzzle: _Puzzle) -> list[float | None]:
    """One reward a final state; none where the log does not give one for each."""
    infos = puzzle.infos
    if infos is None or len(infos) != len(puzzle.ys):
        return [None] * len(puzzle.ys)
    return [None if info.r is None else float(info.r) for info in infos]


def _extended(text: str, states: list[str], living: dict[str, _State]) -> str:
    """The longest state that a proposal begins with."""
    found = ""
    for state in states:
        if len(state) > len(found) and state in living and text.startswith(state):
            found = state
    return found


def _answer(text: str) -> str | None:
    """What the last line of a text says after ``Answer:``."""
    stripped = text.rstrip()
    found = _ANSWER.match(stripped, stripped.rfind("\n") + 1)
    return (found[1].strip() or None) if found else None

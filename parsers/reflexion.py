"""Reflexion and LATS programming logs: one benchmark task a line, with what the agent made of it.

Record: the benchmark's own fields (``name`` or ``task_id``, ``prompt``, ``entry_point``, ``test``, …)
and, added by github.com/noahshinn/reflexion (``programming_runs``) or its descendant
github.com/lapisrocks/LanguageAgentTreeSearch (``programming``): ``solution``, ``is_solved``,
``reflections``, ``implementations``, ``test_feedback``, ``acc``. What to know about it:

- A line is one run of an agent on a task: a rollout. Runs of one prompt, in this file and in others,
  are a group.
- With ``implementations``, the run is attempt, test feedback, reflection, attempt, … Older files
  have the reflections and the solution only.
- Tree searches (strategies ``mcts`` and ``dfs``) log the first attempt and the one they chose, which
  stands below it; of the states between only the reflections are kept, then the sentence
  ``MCTS reflections``, which is none. Their last feedback is that of the last attempt tried, not of
  the chosen one. A search that the first attempt ends logs none of these fields, only ``acc``.
- With pass@k above 1 the attempts of all passes stand in one list, with one reflection less for each
  pass: which reflection led to which attempt is then not known, so reflections are left out.
- Requests are not logged. An attempt is asked for with instructions, examples and the last attempt
  alone, tests and judgements are asked for too, and neither usage, times nor the model are kept: so
  there are no calls, and a path is the run's course, not a prompt. The strategy and the model stand
  in the file's name as the program writes it.
- ``solution`` of the strategy ``test-acc`` is a list of generated tests: such files are not claimed.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from typing import Any, ClassVar

import msgspec

from forkpoint.parsers.base import ROOT, Tree
from forkpoint.parsers.logs import Head, Line, Log, data_set_name, read_each
from forkpoint.parsers.raw_json import decode
from forkpoint.parsers.record_names import RecordNames
from forkpoint.parsers.records import Kind, Record, Trace

_SEARCH_MARK = "MCTS reflections"
_RUN_IN_NAME = re.compile(r"(?:.*_)?([a-z-]+)_\d+_([^_]+)_pass_at_k_\d+")
_TASK_FIELDS = frozenset(("prompt", "entry_point", "test"))
_RUN_FIELDS = frozenset(("is_solved", "implementations", "acc"))


class _Run(msgspec.Struct):
    prompt: str
    name: str | None = None
    task_id: str | int | None = None
    solution: str | None = None
    is_solved: bool | None = None
    reflections: list[str] | None = None
    implementations: list[str] | None = None
    test_feedback: list[str] | None = None


_RUN = msgspec.json.Decoder(_Run)


class Reflexion:
    """Reads Reflexion and LATS programming logs; see the module's docstring."""

    name: ClassVar[str] = "reflexion"
    title: ClassVar[str] = "Reflexion and LATS logs"
    checked: ClassVar[str] = "reflexion 218cf0e and LATS 853d816, 2026-11"
    evidence: ClassVar[tuple[str, ...]] = ("text", "rewards")
    locations: ClassVar[tuple[str, ...]] = ()
    whole_prompts: ClassVar[bool] = True
    grows: ClassVar[bool] = True

    def identify(self, head: Head) -> str | None:
        """Why the file is of this format, or ``None``."""
        if head.objects and all(_is_run(record) for record in head.objects):
            return "programming tasks with is_solved, implementations or acc"
        return None

    def parse(self, log: Log, tree: Tree) -> Iterator[Record]:
        """Yield one rollout a line."""
        names = RecordNames(log.checkpoint)
        data_set = data_set_name(log.path)
        run = _RUN_IN_NAME.match(data_set)
        agent = f"{run[1]} {run[2]}" if run else None
        yield from read_each(
            log.lines(), lambda line: (_rollout(tree, line, names, data_set, agent),)
        )
        log.checkpoint = names.checkpoint()


def _is_run(record: dict[str, Any]) -> bool:
    keys = record.keys()
    if not keys >= _TASK_FIELDS or _RUN_FIELDS.isdisjoint(keys):
        return False
    return isinstance(record.get("solution", ""), str)


def _rollout(tree: Tree, line: Line, names: RecordNames, data_set: str, agent: str | None) -> Trace:
    """One run.

    Raises:
        ValueError: it is none.
        RecursionError: it is nested too deeply.
    """
    run = decode(line.data, _RUN)
    prompt = leaf = tree.extend(ROOT, Kind.TEXT, "user", run.prompt)
    for kind, role, text in _course(run):
        leaf = tree.extend(leaf, kind, role, text)
    task = hashlib.sha256(run.prompt.encode("utf-8", "surrogatepass")).hexdigest()
    title = run.name if run.name is not None or run.task_id is None else str(run.task_id)
    return Trace(
        id=names.short_name(line.data),
        project=data_set,
        agent=agent,
        group=f"task/{task[:16]}",
        reward=None if run.is_solved is None else float(run.is_solved),
        prompt=prompt,
        leaf=leaf,
        title=title,
    )


def _course(run: _Run) -> Iterator[tuple[Kind, str, str]]:
    """What happened after the task was set, in order."""
    reflections, attempts = run.reflections or [], run.implementations or []
    feedback = run.test_feedback or []
    if not attempts:
        if run.solution is not None:
            yield from ((Kind.TEXT, "assistant", text) for text in reflections)
            yield Kind.TEXT, "assistant", run.solution
        return
    searched = bool(reflections) and reflections[-1] == _SEARCH_MARK
    if searched:
        reflections = reflections[:-1][:1]
        feedback = feedback[: len(attempts) - 1]
    elif len(reflections) != len(attempts) - 1:
        reflections = []
    for place, attempt in enumerate(attempts):
        yield Kind.TEXT, "assistant", attempt
        if place < len(feedback):
            yield Kind.TOOL_RESULT, "tool", feedback[place]
        if place < len(reflections):
            yield Kind.TEXT, "assistant", reflections[place]

"""GSM8K model solutions: one grade-school maths problem a line, solved once by each of several models.

Record: ``{"question": …, "ground_truth": …, "<model>": {"is_correct": bool, "solution": …}, …}``
(github.com/openai/grade-school-math, ``example_model_solutions.jsonl``). What to know about it:

- A problem is a group, a model's solution a rollout; models are told apart by name only.
- The problem is all that is known of the prompt. Solutions marked ``verification`` were chosen by a
  verifier from many samples, which are not logged.
- The last line states the answer after ``A:`` or, as in the data set itself, after ``####``. As
  there, commas between digits are left out, so that 3,000 is 3000. Solutions that ran out of tokens
  have none. The reward is 1 for a solution marked as correct and else 0.
- Usage, times and logprobs are not logged.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from functools import partial
from typing import Any, ClassVar

import msgspec

from forkpoint.parsers.base import ROOT, Tree
from forkpoint.parsers.logs import Head, Line, Log, data_set_name, read_each
from forkpoint.parsers.raw_json import decode, decode_fields, decode_text, is_object, present
from forkpoint.parsers.record_names import RecordNames
from forkpoint.parsers.records import Call, Kind, Record, Trace

_FINAL_ANSWER = re.compile(r"(?:A:|####)[ \t]*+(.*)")
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3})")


class _Solution(msgspec.Struct):
    solution: str
    is_correct: bool | None = None


_SOLUTION = msgspec.json.Decoder(_Solution)


class Gsm8kSolutions:
    """Reads GSM8K model solutions; see the module's docstring."""

    name: ClassVar[str] = "gsm8k-solutions"
    title: ClassVar[str] = "GSM8K model solutions"
    checked: ClassVar[str] = "grade-school-math 3101c7d, 2026-11"
    evidence: ClassVar[tuple[str, ...]] = ("text", "rewards")
    locations: ClassVar[tuple[str, ...]] = ()
    whole_prompts: ClassVar[bool] = True
    grows: ClassVar[bool] = True

    def identify(self, head: Head) -> str | None:
        """Why the file is of this format, or ``None``."""
        for record in head.objects:
            if not isinstance(record.get("question"), str) or "ground_truth" not in record:
                return None
            if any(_is_solution(value) for value in record.values()):
                return "problems with a ground_truth and models' solutions"
        return None

    def parse(self, log: Log, tree: Tree) -> Iterator[Record]:
        """Yield a rollout and its call for each solution."""
        names, data_set = RecordNames(log.checkpoint), data_set_name(log.path)
        read = partial(_records, names=names, data_set=data_set, tree=tree)
        yield from read_each(log.lines(), read)
        log.checkpoint = names.checkpoint()


def _is_solution(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("solution"), str)


def _records(line: Line, names: RecordNames, data_set: str, tree: Tree) -> list[Record]:
    """One problem's rollouts, in the log's order of models.

    Raises:
        ValueError: it is no problem, or has no solution.
    """
    fields = decode_fields(line.data)
    question = present(fields, "question")
    if question is None:
        raise ValueError("no question")
    solutions = {name: raw for name, raw in fields.items() if is_object(raw)}
    if not solutions:
        raise ValueError("no model's solution")
    solved = {name: decode(raw, _SOLUTION, name[:80]) for name, raw in solutions.items()}
    text = decode_text(question, "question")
    prompt = tree.extend(ROOT, Kind.TEXT, "user", text)
    name = names.short_name(line.data)
    group = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    found: list[Record] = []
    for model, solution in solved.items():
        trace_id = f"{name}/{model}"
        leaf = tree.extend(prompt, Kind.TEXT, "assistant", solution.solution)
        correct = solution.is_correct
        found.append(
            Trace(
                id=trace_id,
                project=data_set,
                group=f"gsm8k/{group}",
                reward=None if correct is None else float(correct),
                answer=final_answer(solution.solution),
                leaf=leaf,
            )
        )
        found.append(
            Call(
                identity=("", trace_id),
                trace=trace_id,
                line=line.line,
                offset=line.offset,
                prompt=prompt,
                completion=leaf,
                model=model,
            )
        )
    return found


def final_answer(text: str) -> str | None:
    """What the last line states as the answer, without commas between digits.

    >>> final_answer("2 * 9 = 18 thousand.\\n#### 18,000")
    '18000'
    """
    stripped = text.rstrip()
    found = _FINAL_ANSWER.match(stripped, stripped.rfind("\n") + 1)
    return (_THOUSANDS.sub("", found[1].strip()) or None) if found else None

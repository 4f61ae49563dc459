"""verl rollouts: one sample a line, as text (``trainer.rollout_data_dir/{step}.jsonl``).

Record: ``{"input": str, "output": str, "gts": …, "score": float, "step": int, …}``, written by
`_write_generations` of github.com/verl-project/verl (1dda039, ``verl/trainer/ppo/ray_trainer.py``
and ``ppo/v1/trainer_base.py``); ``trainer.validation_data_dir`` gets the same. What to know:

- Input and output are decoded with ``skip_special_tokens=True``: roles stand in the text as bare
  words, and two prompts whose ids differ in special tokens only look the same.
- Every key of the reward function's extra information stands beside these, if it has a value for
  each sample. ``pred``, where a reward function returns it, is the answer it extracted.
- Nothing names the group in files of the older trainer: samples of one step with the same input
  are one. ``request_id`` may be there, and is one sample's.
- The v1 trainer writes ``uid``: ``{prompt's UUID}_{rollout}_{output}``. A rollout of several
  outputs (an agent loop that rewrote its context) is several lines and one trace. In validation
  files each of these lines repeats the score of the last.
- The file is written whole after the step; a validation before training has step 0.
"""

from __future__ import annotations

import re
from typing import Any, ClassVar

import msgspec

from forkpoint.parsers.logs import Head
from forkpoint.parsers.sample_rows import FieldTypes, Sample, SampleLog, number_of

_UID = re.compile(r"(?P<prompt>.+)_(?P<rollout>\d+)_(?P<output>\d+)", re.DOTALL)
_FILE_NAME = re.compile(r"\d+\.jsonl(?:\.gz|\.zst)?")
_CUT_FIRST_LINE = re.compile(rb'\s*+\{\s*+"input"\s*+:\s*+"')
_UNIQUE_LENGTH = 16
"""Characters from which a prompt's id is taken to be unique in the world."""


class _Row(msgspec.Struct, gc=False):
    input: str
    output: str
    score: Any = None
    step: int | None = None
    request_id: str | int | None = None
    uid: str | int | None = None
    pred: Any = None


class Verl(SampleLog):
    """Reads verl's rollout and validation dumps; see the module's docstring."""

    name: ClassVar[str] = "verl"
    title: ClassVar[str] = "verl rollouts"
    checked: ClassVar[str] = "verl 1dda039, 2026-11"

    _fields: ClassVar[FieldTypes] = {
        "input": str,
        "output": str,
        "score": (int, float, type(None)),
        "step": int,
    }
    _decoder = msgspec.json.Decoder(_Row)

    def _begins(self, head: Head) -> bool:
        named = _FILE_NAME.fullmatch(head.path.name) is not None
        return named and _CUT_FIRST_LINE.match(head.data) is not None

    def _sample(self, row: _Row) -> Sample:
        uid = _UID.fullmatch(str(row.uid)) if row.uid is not None else None
        trace, turn, group = None, "", None
        if uid is not None and len(uid["prompt"]) >= _UNIQUE_LENGTH:
            group = uid["prompt"]
            trace, turn = f"{group}_{uid['rollout']}", uid["output"]
        return Sample(
            prompt=row.input,
            completion=row.output,
            reward=number_of(row.score),
            trace=trace,
            turn=turn,
            group=group,
            batch="" if row.step is None else str(row.step),
            unique_group=group is not None,
            answer=_answer(row.pred),
        )


def _answer(pred: Any) -> str | None:
    """The extracted answer, if it is text or a number."""
    if isinstance(pred, str):
        return pred or None
    return str(pred) if isinstance(pred, int | float) else None

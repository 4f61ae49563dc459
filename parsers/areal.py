"""AReaL rollouts: one sample a line, as text (``generated/{version}/{task_id}.jsonl``).

Record: ``{"task_id": int, "sample_idx": int, "seqlen": int, "prompt_len": int, "head_version": int,
"tail_version": int, "reward": float, "prompt": str, "completion": str}``, appended by
`_dump_trajectory` of github.com/inclusionAI/AReaL (4aef98d, ``areal/infra/workflow_executor.py``)
with ``rollout.dump_to_file``. What to know:

- Lines of one ``task_id`` are the samples of one prompt. It counts from 0 in every run, so it
  names a group within its file only.
- ``seqlen`` and ``prompt_len`` count the model's own tokens. They are the log's only exact sizes:
  the texts are decoded, with special tokens.
- Prompt and completion are split by count: the completion is as many of the last tokens as were
  sampled. Of a multi-turn rollout the two together are the sequence, each alone is not.
- ``head_version`` and ``tail_version`` are the oldest and newest weights that sampled it.
- Samples without a sampled last token are not written.
"""

from __future__ import annotations

import re
from typing import Any, ClassVar

import msgspec

from forkpoint.parsers.logs import Head
from forkpoint.parsers.records import Tokens, Usage
from forkpoint.parsers.sample_rows import FieldTypes, Sample, SampleLog, number_of

_CUT_FIRST_LINE = re.compile(
    rb'\s*+\{\s*+"task_id"\s*+:\s*+\d++\s*+,\s*+"sample_idx"\s*+:\s*+\d++\s*+,\s*+"seqlen"\s*+:'
)


class _Row(msgspec.Struct, gc=False):
    task_id: int | str
    prompt: str
    completion: str
    seqlen: Tokens | None = None
    prompt_len: Tokens | None = None
    reward: Any = None


class AReaL(SampleLog):
    """Reads AReaL's rollout dumps; see the module's docstring."""

    name: ClassVar[str] = "areal"
    title: ClassVar[str] = "AReaL rollouts"
    checked: ClassVar[str] = "AReaL 4aef98d, 2026-11"
    evidence: ClassVar[tuple[str, ...]] = ("usage", "text", "rewards")

    _fields: ClassVar[FieldTypes] = {
        "task_id": (int, str),
        "sample_idx": int,
        "seqlen": int,
        "prompt_len": int,
        "prompt": str,
        "completion": str,
    }
    _decoder = msgspec.json.Decoder(_Row)

    def _begins(self, head: Head) -> bool:
        return _CUT_FIRST_LINE.match(head.data) is not None

    def _sample(self, row: _Row) -> Sample:
        return Sample(
            prompt=row.prompt,
            completion=row.completion,
            reward=number_of(row.reward),
            group=str(row.task_id),
            usage=_usage(row),
        )


def _usage(row: _Row) -> Usage | None:
    if row.seqlen is None or row.prompt_len is None:
        return None
    if row.prompt_len > row.seqlen:
        raise ValueError(f"prompt_len ({row.prompt_len}) exceeds seqlen ({row.seqlen})")
    return Usage(input_tokens=row.prompt_len, output_tokens=row.seqlen - row.prompt_len)

"""SkyRL evaluations: one sample a line, as text (``dumped_evals/global_step_{N}_evals/*.jsonl``).

Record: ``{"input_prompt": str, "output_response": str, "score": …, "stop_reason": …, "env_class":
…, "env_extras": …, "data_source": …}``, written by `dump_per_dataset_eval_results` of
github.com/NovaSky-AI/SkyRL (a956457, ``skyrl/train/utils/trainer_utils.py``). What to know:

- Prompt and response are decoded with their special tokens. Of a multi-turn rollout the response
  is all turns and observations in one text.
- ``score`` is a number, or a list with one reward a token, whose sum is the reward.
- Nothing names the group: samples of one file with the same prompt are one.
- One file a data source. ``aggregated_results.jsonl`` beside them holds metrics only, and training
  batches are dumped as pickles, which are not read.
"""

from __future__ import annotations

import re
from typing import Any, ClassVar

import msgspec

from forkpoint.parsers.logs import Head
from forkpoint.parsers.sample_rows import FieldTypes, Sample, SampleLog, number_of

_CUT_FIRST_LINE = re.compile(rb'\s*+\{\s*+"input_prompt"\s*+:\s*+"')


class _Row(msgspec.Struct, gc=False):
    input_prompt: str
    output_response: str
    score: Any = None
    data_source: str | None = None


class SkyRL(SampleLog):
    """Reads SkyRL's evaluation dumps; see the module's docstring."""

    name: ClassVar[str] = "skyrl"
    title: ClassVar[str] = "SkyRL evaluations"
    checked: ClassVar[str] = "SkyRL a956457, 2026-11"

    _fields: ClassVar[FieldTypes] = {
        "input_prompt": str,
        "output_response": str,
        "score": (int, float, list, type(None)),
        "data_source": (str, type(None)),
    }
    _decoder = msgspec.json.Decoder(_Row)

    def _begins(self, head: Head) -> bool:
        return _CUT_FIRST_LINE.match(head.data) is not None

    def _sample(self, row: _Row) -> Sample:
        return Sample(
            prompt=row.input_prompt,
            completion=row.output_response,
            reward=number_of(row.score),
            project=row.data_source,
        )

"""prime-rl token exports: a trained sequence, token by token, with what the trainer computed.

Row: ``{schema_version, step, rank, micro_step, micro_sequence_idx, export_sequence_idx, env_name,
token_ids, position_ids, loss_mask, advantages, inference_logprobs, trainer_logprobs, entropy, …}``
(github.com/PrimeIntellect-ai/prime-rl 559b447, src/prime_rl/trainer/rl/token_export.py). All lists
have one entry a token.

- Logprobs and entropies stand at the token they are of, not before it: the trainer shifts them.
  Entropies are in nats over the whole vocabulary, at the temperature that was sampled with.
- ``inference_logprobs`` are those of sampling; ``null`` where they were not finite.
- A run of tokens with ``loss_mask`` is one completion. Tokens that only cross entropy is computed on
  (``ce_weights``, and no other weight) were given, not sampled.
- A row names no rollout, group or reward. The same sequences stand in ``traces.jsonl`` with all
  that, so a row is a trace with scores, and no rollout and no call of its own: it would count twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import msgspec

from forkpoint.parsers.base import ROOT, Tree
from forkpoint.parsers.logs import Line
from forkpoint.parsers.raw_json import decode
from forkpoint.parsers.records import Record, Scores, Trace

_TokenId = Annotated[int, msgspec.Meta(ge=0, le=2**32 - 1)]
_Numbers = list[float | None]


class _Row(msgspec.Struct):
    token_ids: list[_TokenId]
    loss_mask: list[bool]
    env_name: str | None = None
    inference_logprobs: _Numbers | None = None
    entropy: _Numbers | None = None
    rl_weights: _Numbers | None = None
    ce_weights: _Numbers | None = None
    ref_kl_weights: _Numbers | None = None

    def __post_init__(self) -> None:
        n = len(self.token_ids)
        for name in self.__struct_fields__:
            values = getattr(self, name)
            if isinstance(values, list) and len(values) != n:
                raise ValueError(f"{len(values)} {name} for {n} token ids")

    @property
    def sampled(self) -> list[bool]:
        """Which tokens were sampled and trained on."""
        if self.ce_weights is None or not any(self.ce_weights):
            return self.loss_mask
        given = (
            bool(ce) and rl == 0 and not ref_kl
            for ce, rl, ref_kl in zip(
                self.ce_weights,
                self.rl_weights or [None] * len(self.token_ids),
                self.ref_kl_weights or [None] * len(self.token_ids),
                strict=True,
            )
        )
        return [mask and not told for mask, told in zip(self.loss_mask, given, strict=True)]


_ROW = msgspec.json.Decoder(_Row)


def export_records(line: Line, name: str, tree: Tree) -> list[Record]:
    """The trace of one exported sequence, and scores for each of its completions.

    Args:
        name: the trace's id.

    Raises:
        ValueError: the row cannot be read, or its lists are of different lengths.
    """
    row = decode(line.data, _ROW)
    spans = list(_runs(row.sampled))
    nodes = {0: ROOT}
    for end in sorted({len(row.token_ids), *(at for span in spans for at in span)} - {0}):
        nodes[end] = tree.extend_tokens(ROOT, row.token_ids[:end])
    first = spans[0][0] if spans else len(row.token_ids)
    records: list[Record] = [
        Trace(
            id=name,
            project=row.env_name,
            agent="prime-rl trainer",
            leaf=nodes[len(row.token_ids)],
            prompt=nodes[first],
        )
    ]
    for start, end in spans:
        if row.inference_logprobs is not None:
            records.append(
                Scores(
                    trace=name,
                    line=line.line,
                    offset=line.offset,
                    prompt=nodes[start],
                    completion=nodes[end],
                    tokens=row.token_ids[start:end],
                    logprobs=row.inference_logprobs[start:end],
                    entropies=None if row.entropy is None else row.entropy[start:end],
                )
            )
    return records


def _runs(mask: list[bool]) -> Iterator[tuple[int, int]]:
    """Half-open ranges of neighbours that are true."""
    end = 0
    while True:
        try:
            start = mask.index(True, end)
        except ValueError:
            return
        try:
            end = mask.index(False, start)
        except ValueError:
            end = len(mask)
        yield start, end

"""Which tokens of a chain its answer hangs on: greedy pruning that keeps the answer likely.

A chain is what a completion says before it states its answer. Parts of it are deleted, those first
whose loss makes the answer least less likely, for as long as the answer stays likely enough
(arXiv:2601.03066, the objective on the answer alone). What is left is what the answer needs, for the
model that was asked; what is gone shows how much was said beside it. A chain is known only once it
is written, so this is no saving while sampling: it bounds what shorter chains could save, as
training data or as context that is sent again.

Nothing here runs a model: likelihoods come from a function.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from forkpoint.analysis.answers import extract_answer, find_pattern
from forkpoint.analysis.replay_backend import Codec, Floats, Piece, TokenIds
from forkpoint.analysis.replay_choices import PruneUnit
from forkpoint.analysis.tree import Flags, Ints
from forkpoint.errors import ForkpointError

Score = Callable[[Sequence[Piece]], Floats]
"""ln p of each piece's measured tokens, summed; shape (pieces,)."""


@dataclass(frozen=True)
class PruneSettings:
    """How far to prune, and in what steps.

    Attributes:
        unit: what is deleted as a whole.
        loss_nats: the most that ln p of the answer may fall below what it was, 0 or more. With 0.1
            the answer stays 0.9 times as likely.
        round_share: of what is left, the share deleted after each look at all single deletions, in
            [0, 1]. The smaller, the closer to greedy; 0 deletes one at a time, which is greedy.
    """

    unit: PruneUnit = PruneUnit.SENTENCE
    loss_nats: float = 0.1
    round_share: float = 0.1

    def __post_init__(self) -> None:
        if not (0 <= self.loss_nats < float("inf") and 0 <= self.round_share <= 1):
            raise ForkpointError("a loss is 0 nats or more, a share of deletions from 0 to 1")


@dataclass(frozen=True)
class Chain:
    """A completion up to the end of its answer.

    Attributes:
        ids: prompt, chain, answer; nothing after it.
        begin: where the chain begins: the number of prompt tokens, 1 or more.
        answer: where the answer begins; begin < answer < len(ids).
        unit: shape (chain tokens,): the unit of each, 0, 0, 1, …, without gaps.
    """

    ids: TokenIds
    begin: int
    answer: int
    unit: Ints

    @property
    def units(self) -> int:
        """How many there are."""
        return int(self.unit[-1]) + 1

    def piece(self, kept: Flags) -> Piece:
        """The chain with some of its units, shape (units,), measured on its answer."""
        chain = self.ids[self.begin : self.answer][kept[self.unit]]
        ids = np.concatenate([self.ids[: self.begin], chain, self.ids[self.answer :]])
        return Piece(ids, self.begin + len(chain))


@dataclass(frozen=True)
class Pruned:
    """What became of a chain.

    Attributes:
        answer_logprob: ln p of the answer behind the whole chain.
        pruned_logprob: the same behind what was kept.
        deleted_in: shape (units,): the round in which each unit was deleted, from 1; 0: kept.
        loss: shape (units,): by how many nats the answer lost (below 0: won) when this unit alone
            was deleted beside those of earlier rounds, as last seen; the importance of what was kept.
        rounds: looks at all single deletions.
    """

    answer_logprob: float
    pruned_logprob: float
    deleted_in: Ints
    loss: Floats
    rounds: int


def prune(chain: Chain, score: Score, settings: PruneSettings) -> Pruned:
    """Delete units until each further one would cost the answer too much.

    Where those of one round together cost too much, half of them are tried, and so on: a single one
    was seen to be cheap enough. So no unit that is kept could go without too great a loss.
    """
    kept = np.ones(chain.units, dtype=np.bool_)
    deleted_in = np.zeros(chain.units, dtype=np.int64)
    loss = np.full(chain.units, np.nan)
    before = now = float(score([chain.piece(kept)])[0])
    rounds = 0
    while kept.any():
        rounds += 1
        left = np.flatnonzero(kept)
        loss[left] = before - score(
            [chain.piece(_without(kept, left[i : i + 1])) for i in range(len(left))]
        )
        cheap = left[loss[left] <= settings.loss_nats]
        if not len(cheap):
            break
        most = max(1, int(settings.round_share * len(left)))
        gone = cheap[np.argsort(loss[cheap], kind="stable")][:most]
        now, gone = _afford(chain, kept, gone, loss, before, score, settings.loss_nats)
        kept[gone] = False
        deleted_in[gone] = rounds
    return Pruned(before, now, deleted_in, loss, rounds)


def _afford(
    chain: Chain, kept: Flags, gone: Ints, loss: Floats, before: float, score: Score, most: float
) -> tuple[float, Ints]:
    """(ln p of the answer, which of the units, cheapest first, can go together)."""
    while len(gone) > 1:
        now = float(score([chain.piece(_without(kept, gone))])[0])
        if before - now <= most:
            return now, gone
        gone = gone[: len(gone) // 2]
    return before - float(loss[gone[0]]), gone


def _without(kept: Flags, gone: Ints) -> Flags:
    left = kept.copy()
    left[gone] = False
    return left


class NoChain(ValueError):
    """Why a completion has no chain to prune, in a few words."""


def find_chain(
    ids: TokenIds,
    prompt_tokens: int,
    codec: Codec,
    unit: PruneUnit,
    *,
    answer: str | None = None,
    pattern: re.Pattern[str] | None = None,
) -> Chain:
    """What a completion says before its answer, and the answer.

    The answer is where it stands last, upper and lower case alike: what `pattern` finds, else the
    logged one, else what `forkpoint.analysis.answers.extract_answer` finds.

    Args:
        ids: prompt and completion.
        answer: as logged.

    Raises:
        NoChain: there is nothing to prune, or nothing to keep.
    """
    if not prompt_tokens:
        raise NoChain("it has no prompt")
    made = ids[prompt_tokens:].tolist()
    while made and made[-1] in codec.end_ids:
        made.pop()  # it would be taken for part of an answer that ends the text
    text = codec.decode(made)
    begin, end = _answer_place(text, answer, pattern)
    first, last = _token_at(codec, made, begin), _token_at(codec, made, end - 1)
    if not first:
        raise NoChain("its answer comes first")
    at = prompt_tokens + first
    texts = [codec.decode([token]) for token in made[:first]]
    return Chain(ids[: prompt_tokens + last + 1], prompt_tokens, at, units_of(texts, unit))


def _answer_place(
    text: str, answer: str | None, pattern: re.Pattern[str] | None
) -> tuple[int, int]:
    """Where the answer begins and ends in the text."""
    found = None if pattern is None else find_pattern(text, pattern)
    for stated in (found, answer, extract_answer(text)):
        if stated and stated.strip():
            places = list(re.finditer(re.escape(stated.strip()), text, re.IGNORECASE))
            if places:
                return places[-1].span()
    raise NoChain("it states no answer")


def _token_at(codec: Codec, ids: Sequence[int], place: int) -> int:
    """The token that a character of the text lies in: the first n with more than `place` characters
    in the first n + 1 tokens."""
    low, high = 0, len(ids) - 1
    while low < high:
        middle = (low + high) // 2
        if len(codec.decode(ids[: middle + 1])) > place:
            high = middle
        else:
            low = middle + 1
    return low


_SENTENCE_ENDS = (".", "!", "?", "。", "…", ":")


def units_of(texts: Sequence[str], unit: PruneUnit) -> Ints:
    """The unit of each token: 0, 0, 1, …

    A sentence goes up to the white space after its end, or up to a line's end.

    Args:
        texts: of the tokens, one or more.
    """
    begins = np.ones(len(texts), dtype=np.bool_)
    if unit is PruneUnit.SENTENCE:
        for place in range(1, len(texts)):
            before, own = texts[place - 1], texts[place]
            closed = before.rstrip(" ").endswith(_SENTENCE_ENDS) and own[:1].isspace()
            begins[place] = closed or (before.endswith("\n") and not own.startswith("\n"))
    numbers: Ints = np.cumsum(begins) - 1
    return numbers

"""AlpacaEval annotations: one JSON list of comparisons, each a judge's verdict on two answers.

Element: ``{"instruction", "output_1", "generator_1", "output_2", "generator_2", "annotator",
"dataset", "preference", "price_per_example", "time_per_example", "raw_completion"}``
(github.com/tatsu-lab/alpaca_eval, ``annotations.json``; ``src/alpaca_eval/decoders/openai.py``).
What to know about it:

- A comparison is one request to the judge. Its prompt is the annotator's template, which is not
  logged, around the instruction and both answers (in an order that may have been switched).
- Where both answers are equal nobody was asked: completion, price and time are null. A request that
  failed has an empty text and no tokens, and is no call either.
- ``raw_completion`` is a choice of the chat API with `total_tokens` beside it, or what another
  decoder kept: a text, or nothing. `total_tokens` is prompt and completion together; each output
  token has a logprob, so where those are logged their number is the output and the rest the input.
- ``price_per_example`` is `total_tokens` at one price for all tokens, as the program reckoned it;
  ``time_per_example`` is the mean over a run that asks many at once, not one request's latency.
- The judge's model is not logged; ``annotator`` names a configuration.
- The two answers are rollouts of one instruction, by two models. ``preference`` is 1 where the
  first is better, 2 where the second is, and between them the judge's odds; 0 (older files) and
  1.5 are a draw. So the second answer's reward is preference - 1, the first one's 2 - preference.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import ClassVar

import msgspec

from forkpoint.parsers.base import ROOT, Tree
from forkpoint.parsers.chat import extend_all, message_segments
from forkpoint.parsers.json_list import first_element, list_elements
from forkpoint.parsers.logs import Head, Line, Log, data_set_name, read_each
from forkpoint.parsers.raw_json import decode, is_object
from forkpoint.parsers.record_names import RecordNames
from forkpoint.parsers.records import Call, Kind, Record, Scores, Trace, Usage


class _Top(msgspec.Struct):
    logprob: float


class _Token(msgspec.Struct):
    token: str
    logprob: float | None = None
    top_logprobs: list[_Top] | None = None


class _Logprobs(msgspec.Struct):
    content: list[_Token] | None = None


class _Completion(msgspec.Struct):
    message: msgspec.Raw = msgspec.Raw()
    text: str | None = None
    logprobs: _Logprobs | None = None
    total_tokens: float | None = None

    @property
    def tokens(self) -> list[_Token]:
        """The sampled tokens, where their logprobs were logged."""
        return (self.logprobs.content if self.logprobs else None) or []


class _Comparison(msgspec.Struct):
    instruction: str
    output_1: str
    output_2: str
    generator_1: str | None = None
    generator_2: str | None = None
    annotator: str | None = None
    preference: float | None = None
    price_per_example: float | None = None
    time_per_example: float | None = None
    raw_completion: _Completion | str | None = None


_COMPARISON = msgspec.json.Decoder(_Comparison)


class AlpacaEval:
    """Reads AlpacaEval annotations; see the module's docstring."""

    name: ClassVar[str] = "alpaca-eval"
    title: ClassVar[str] = "AlpacaEval annotations"
    checked: ClassVar[str] = "alpaca_eval cd543a1, 2026-11"
    evidence: ClassVar[tuple[str, ...]] = ("usage", "text", "rewards", "logprobs")
    locations: ClassVar[tuple[str, ...]] = ()
    whole_prompts: ClassVar[bool] = True
    grows: ClassVar[bool] = False

    def identify(self, head: Head) -> str | None:
        """Why the file is of this format, or ``None``."""
        first = first_element(head)
        if not isinstance(first, dict) or not {"instruction", "output_1"} <= first.keys():
            return None
        # A comparison longer than the head is cut before its verdict.
        if {"output_2", "preference"} <= first.keys() or head.document is None:
            return "comparisons of output_1 and output_2"
        return None

    def parse(self, log: Log, tree: Tree) -> Iterator[Record]:
        """Yield two rollouts a comparison, and the judge's call with its logprobs."""
        yield from read_each(list_elements(log), _Reading(log, tree).records)


class _Reading:
    """One file being read."""

    def __init__(self, log: Log, tree: Tree) -> None:
        self._tree = tree
        self._names = RecordNames()
        self._data_set = data_set_name(log.path)

    def records(self, element: Line) -> Iterator[Record]:
        """One comparison: its two rollouts, and the call that judged it.

        Raises:
            ValueError: it is none.
            RecursionError: it is nested too deeply.
        """
        comparison = decode(element.data, _COMPARISON, "comparison")
        name = self._names.short_name(element.data)
        completion = comparison.raw_completion
        if isinstance(completion, str):
            completion = _Completion(text=completion)
        yield from self._rollouts(comparison, name)
        if _was_asked(comparison, completion):
            yield from self._judgement(comparison, completion, name, element)

    def _rollouts(self, comparison: _Comparison, name: str) -> Iterator[Record]:
        instruction = comparison.instruction
        digest = hashlib.sha256(instruction.encode("utf-8", "surrogatepass")).hexdigest()
        prompt = self._tree.extend(ROOT, Kind.TEXT, "user", instruction)
        won = second_wins(comparison.preference)
        for number, (output, generator, reward) in enumerate(
            (
                (comparison.output_1, comparison.generator_1, None if won is None else 1 - won),
                (comparison.output_2, comparison.generator_2, won),
            ),
            1,
        ):
            yield Trace(
                id=f"{name}/{number}",
                project=self._data_set,
                agent=generator,
                group=f"alpaca-eval/{digest[:16]}",
                reward=reward,
                prompt=prompt,
                leaf=self._tree.extend(prompt, Kind.TEXT, "assistant", output),
            )

    def _judgement(
        self, comparison: _Comparison, completion: _Completion | None, name: str, element: Line
    ) -> Iterator[Record]:
        annotator = comparison.annotator or "annotator"
        trace = f"{name}/judge"
        yield Trace(id=trace, project=self._data_set, agent=comparison.annotator)
        extend = self._tree.extend
        node = extend(ROOT, Kind.UNLOGGED, "user", f"AlpacaEval template of {annotator}")
        for text in (comparison.instruction, comparison.output_1, comparison.output_2):
            node = extend(node, Kind.TEXT, "user", text)
        end = self._answer(node, completion)
        yield Call(
            identity=("", name),
            trace=trace,
            line=element.line,
            offset=element.offset,
            prompt=node,
            completion=end,
            duration_s=comparison.time_per_example,
            usage=_usage(completion),
            logged_cost_usd=comparison.price_per_example,
        )
        if completion is not None and completion.tokens and end is not None:
            tokens = completion.tokens
            yield Scores(
                trace=trace,
                line=element.line,
                offset=element.offset,
                prompt=node,
                completion=end,
                tokens=[token.token for token in tokens],
                logprobs=[token.logprob for token in tokens],
                top=_top(tokens),
            )

    def _answer(self, prompt: int, completion: _Completion | None) -> int | None:
        if completion is None:
            return None
        if completion.message and is_object(completion.message):
            return extend_all(
                self._tree, prompt, message_segments(completion.message, role="assistant")
            )
        if completion.text is None:
            return None
        return self._tree.extend(prompt, Kind.TEXT, "assistant", completion.text)


def _was_asked(comparison: _Comparison, completion: _Completion | None) -> bool:
    if completion is None:
        return comparison.price_per_example is not None
    return bool(completion.total_tokens or completion.text or completion.message)


def _usage(completion: _Completion | None) -> Usage | None:
    """Input and output tokens, where the logged logprobs tell the total apart."""
    if completion is None or completion.total_tokens is None or not completion.tokens:
        return None
    total, output = completion.total_tokens, len(completion.tokens)
    # A batched request's tokens are shared out evenly: a broken number is no count.
    if not total.is_integer() or not output <= total <= 2**53:
        return None
    return Usage(input_tokens=int(total) - output, output_tokens=output)


def _top(tokens: list[_Token]) -> list[list[float]] | None:
    if not any(token.top_logprobs for token in tokens):
        return None
    return [[top.logprob for top in token.top_logprobs or ()] for token in tokens]


def second_wins(preference: float | None) -> float | None:
    """How much a preference is for the second answer, from 0 to 1.

    >>> [second_wins(preference) for preference in (1, 1.5, 2, 0, None, 3)]
    [0.0, 0.5, 1.0, 0.5, None, None]
    """
    if preference == 0:
        return 0.5
    if preference is None or not 1 <= preference <= 2:
        return None
    return preference - 1.0

"""Calls as the rows of an export, entered into a file's tree: each with its prompt and the answers to
it, and with its trace where that is new."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import msgspec

from forkpoint.parsers.api_bodies import BodyPaths, Exchange
from forkpoint.parsers.api_log import Choice, choice_records
from forkpoint.parsers.base import ROOT, Tree
from forkpoint.parsers.message_dialects import read
from forkpoint.parsers.message_paths import MessagePaths
from forkpoint.parsers.records import Call, Kind, Record, Trace


class _Calls:
    """The calls of one file."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self.traces: set[str] = set()
        """Ids of the traces that were yielded."""

    def _entered(
        self, call: Call, trace: Trace, prompt: int, choices: list[Choice], ends: list[int]
    ) -> Iterator[Record]:
        if trace.id not in self.traces:
            self.traces.add(trace.id)
            yield trace
        call = msgspec.structs.replace(call, prompt=prompt, completion=ends[0] if ends else None)
        yield call
        yield from choice_records(self._tree, call, choices, ends)


class ExchangedCalls(_Calls):
    """Calls whose requests and responses a gateway kept as they were."""

    def __init__(self, tree: Tree) -> None:
        super().__init__(tree)
        self._paths = BodyPaths(tree)

    def records(self, call: Call, trace: Trace, exchange: Exchange, name: str) -> Iterator[Record]:
        """A call, after its trace if that is new, and its choices where there are several.

        Args:
            call: without its places in the tree.
            name: no other call has it; it stands for a prompt that was not kept.

        Raises:
            ValueError: a message cannot be read; nothing was yielded.
        """
        prompt = self._paths.prompt(exchange, f"prompt of {name}")
        ends = self._paths.completions(exchange, prompt)
        yield from self._entered(call, trace, prompt, exchange.choices, ends)


class ObservedCalls(_Calls):
    """Calls whose inputs and outputs a tracer gave; see `observed_messages`."""

    def __init__(self, tree: Tree) -> None:
        super().__init__(tree)
        self._paths = MessagePaths(tree, read)

    def records(
        self,
        call: Call,
        trace: Trace,
        messages: Sequence[msgspec.Raw],
        answers: Iterable[Sequence[msgspec.Raw]],
        name: str,
    ) -> Iterator[Record]:
        """A call, after its trace if that is new, and its answers where there are several.

        Args:
            call: without its places in the tree.
            messages: the prompt; none where it was not kept.
            name: no other call has it; it stands for a prompt that was not kept.

        Raises:
            ValueError: a message cannot be read; nothing was yielded.
        """
        if messages:
            prompt = self._paths.follow(ROOT, messages)
        else:
            prompt = self._tree.extend(ROOT, Kind.UNLOGGED, "", f"prompt of {name}")
        ends = [self._paths.follow(prompt, answer) for answer in answers]
        yield from self._entered(call, trace, prompt, [Choice([]) for _ in ends], ends)

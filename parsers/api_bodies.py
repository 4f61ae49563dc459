"""Requests and responses of model APIs, inside the records of a gateway.

What their fields mean is the business of the modules `openai` and `anthropic`, and of
`observed_messages` for Gemini's; here, prompts and completions take their places in a file's tree.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgspec

from forkpoint.parsers.anthropic import Anthropic
from forkpoint.parsers.api_log import ApiLog, Choice, Part
from forkpoint.parsers.base import ROOT, Tree
from forkpoint.parsers.chat import Segment, extend_all
from forkpoint.parsers.envelope import Envelope
from forkpoint.parsers.message_dialects import read
from forkpoint.parsers.message_paths import MessagePaths
from forkpoint.parsers.observed_messages import completion_messages, prompt_messages
from forkpoint.parsers.openai import OpenAI
from forkpoint.parsers.raw_json import Fields, decode_text, present
from forkpoint.parsers.records import Kind, Usage
from forkpoint.parsers.spans import json_object
from forkpoint.parsers.which_api import api_of


class _Bodies(ApiLog):
    """One API's bodies, taken apart."""

    def parts(self, request: Fields, response: Fields | None) -> list[Part]:
        """A request's prompt, piece by piece.

        Raises:
            ValueError: it has none, or a list that is none.
        """
        prompt = self._prompt(request, response)
        before = []
        if prompt.continues is not None:
            before = [Part("before", msgspec.Raw(msgspec.json.encode(prompt.continues)))]
        return [*prompt.head, *before, *prompt.turns]

    def segments(self, part: Part) -> list[Segment]:
        """A piece of a prompt. Raises ValueError on fields of a wrong type."""
        if part.reader == "before":
            return [Segment(Kind.UNLOGGED, "", decode_text(part.raw, "previous_response_id"))]
        return self._segments(part)

    def choices(self, response: Fields) -> list[Choice]:
        """A response's completions. Raises ValueError on fields of a wrong type."""
        return self._choices(response)

    def usage(self, response: Fields) -> Usage | None:
        """What the provider reported. Raises ValueError on fields of a wrong type."""
        raw = present(response, "usage")
        return None if raw is None else self._usage(raw)[0]


class _OpenAIBodies(_Bodies, OpenAI):
    pass


class _AnthropicBodies(_Bodies, Anthropic):
    pass


Mend = Callable[[Segment], Segment]
"""Changes segments that a log does not hold whole."""

_APIS: dict[str, _Bodies] = {"openai": _OpenAIBodies(), "anthropic": _AnthropicBodies()}


class Exchange:
    """A request and its response, decoded but not yet in the tree. A body may be missing.

    Raises:
        ValueError: a field that should hold messages does not.
    """

    def __init__(
        self, request: Fields | None, response: Fields | None, mend: Mend | None = None
    ) -> None:
        self._response = response or None
        self._mend = mend
        self.api = _api_of(request or None, self._response)
        """The API, as the parsers are named; ``gemini`` for one that no parser reads."""
        self.parts = _parts(self.api, request, self._response) if request else []
        self.choices = _choices(self.api, self._response) if self._response else []

    @property
    def usage(self) -> Usage | None:
        """What the provider reported in the response.

        Raises:
            ValueError: a count is none.
        """
        if self._response is None or self.api not in _APIS:
            return None
        usage = _APIS[self.api].usage(self._response)
        return None if usage == Usage() else usage

    def reader(self, kind: str) -> Callable[[msgspec.Raw], list[Segment]]:
        """What takes pieces of the prompt of one kind apart; it raises ValueError."""
        bodies, mend = _APIS.get(self.api), self._mend
        if bodies is None:
            return lambda raw: _mended(read(raw), mend)
        return lambda raw: _mended(bodies.segments(Part(kind, raw)), mend)

    def completions(self) -> Iterator[list[Segment]]:
        """The choices as segments."""
        for choice in self.choices:
            yield _mended(choice.segments, self._mend)


def _api_of(request: Fields | None, response: Fields | None) -> str:
    if (request and "contents" in request) or (response and "candidates" in response):
        return "gemini"
    api = api_of(Envelope({}, request, response, None, (), False))
    return "openai" if api is None else api.parser


def _parts(api: str, request: Fields, response: Fields | None) -> list[Part]:
    """A request's prompt; empty for a request of an API that has no messages."""
    if api == "gemini":
        return [Part("message", raw) for raw in prompt_messages(json_object(request))]
    if present(request, "messages", "input", "previous_response_id", "conversation") is None:
        return []
    return _APIS[api].parts(request, response)


def _choices(api: str, response: Fields) -> list[Choice]:
    if api != "gemini":
        return _APIS[api].choices(response)
    answers = completion_messages(json_object(response))
    return [Choice([segment for raw in answer for segment in read(raw)]) for answer in answers]


class BodyPaths:
    """The prompts and completions of one file's exchanges, in its tree."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._paths: dict[tuple[str, str], MessagePaths] = {}

    def prompt(self, exchange: Exchange, missing: str) -> int:
        """The node where an exchange's prompt ends.

        Args:
            missing: names the prompt if the log does not hold it; no other call has this name.

        Raises:
            ValueError: a message cannot be read.
        """
        if not exchange.parts:
            return self._tree.extend(ROOT, Kind.UNLOGGED, "", missing)
        node = ROOT
        for part in exchange.parts:
            key = (exchange.api, part.reader)
            paths = self._paths.get(key)
            if paths is None:
                paths = MessagePaths(self._tree, exchange.reader(part.reader))
                self._paths[key] = paths
            node = paths.step(node, part.raw)
        return node

    def completions(self, exchange: Exchange, prompt: int) -> list[int]:
        """The nodes where the choices end."""
        return [extend_all(self._tree, prompt, each) for each in exchange.completions()]


def _mended(segments: list[Segment], mend: Mend | None) -> list[Segment]:
    return segments if mend is None else [mend(each) for each in segments]

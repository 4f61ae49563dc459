"""Which parser reads a file: exactly one that claims it, ours or a third party's."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from typing import NamedTuple, cast

from forkpoint.errors import ForkpointError
from forkpoint.parsers.base import Parser
from forkpoint.parsers.logs import Head

ENTRY_POINT_GROUP = "forkpoint.parsers"
"""Third-party parsers register a `Parser` class here, under its name."""

_BUILT_IN = {
    "claude-code": "forkpoint.parsers.claude_code:ClaudeCode",
    "codex": "forkpoint.parsers.codex:Codex",
    "openai": "forkpoint.parsers.openai:OpenAI",
    "anthropic": "forkpoint.parsers.anthropic:Anthropic",
    "llm-call-jsonl": "forkpoint.parsers.llm_call_jsonl:LlmCallJsonl",
    "token-ids": "forkpoint.parsers.token_ids:TokenIds",
    "mooncake": "forkpoint.parsers.mooncake:Mooncake",
    "bailian": "forkpoint.parsers.bailian:Bailian",
    "kv-cache-tester": "forkpoint.parsers.kv_cache_tester:KvCacheTester",
    "tau-bench": "forkpoint.parsers.tau_bench:TauBench",
}


class Claim(NamedTuple):
    """A parser that says a file is its own, and why."""

    parser: Parser
    why: str


class AmbiguousFormat(ForkpointError):
    """Two parsers claim one file."""


def _load(reference: str) -> Parser:
    module, _, name = reference.partition(":")
    return cast(Parser, getattr(import_module(module), name)())


@cache
def parsers() -> tuple[Parser, ...]:
    """All parsers: the built-in ones, then third-party ones by name.

    Raises:
        ForkpointError: a third-party parser cannot be loaded, or takes a name in use.
    """
    found = {name: _load(reference) for name, reference in _BUILT_IN.items()}
    for point in sorted(entry_points(group=ENTRY_POINT_GROUP), key=lambda point: point.name):
        if point.name in found:
            raise ForkpointError(
                f"the parser {point.name!r} of {point.value!r} takes a name that is in use"
            )
        try:
            found[point.name] = point.load()()
        except Exception as error:
            raise ForkpointError(
                f"the parser {point.name!r} of {point.value!r} does not load: {error}"
            ) from error
    return tuple(found.values())


def parser_named(name: str) -> Parser:
    """The parser of that name.

    Raises:
        ForkpointError: there is none.
    """
    for parser in parsers():
        if parser.name == name:
            return parser
    raise ForkpointError(f"no parser is named {name!r}")


def identify(head: Head, among: Sequence[Parser] | None = None) -> Claim | None:
    """The one parser that claims a file, or ``None``.

    Raises:
        AmbiguousFormat: two parsers claim it.
    """
    claims = [
        Claim(parser, why)
        for parser in (parsers() if among is None else among)
        if (why := parser.identify(head)) is not None
    ]
    if len(claims) > 1:
        names = " and ".join(claim.parser.name for claim in claims)
        raise AmbiguousFormat(f"{head.path}: claimed by {names}")
    return claims[0] if claims else None

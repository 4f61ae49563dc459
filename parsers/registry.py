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
from forkpoint.parsers.sample_map import MAP_FILE, parse_map

SAMPLES = "samples"
"""The format of files whose fields are named by a map."""
ENTRY_POINT_GROUP = "forkpoint.parsers"
"""Third-party parsers register a `Parser` class here, under its name."""

_BUILT_IN = {
    "claude-code": "forkpoint.parsers.claude_code:ClaudeCode",
    "codex": "forkpoint.parsers.codex:Codex",
    "gemini-cli": "forkpoint.parsers.gemini_cli:GeminiCli",
    "qwen-code": "forkpoint.parsers.qwen_code:QwenCode",
    "kimi": "forkpoint.parsers.kimi:Kimi",
    "opencode": "forkpoint.parsers.opencode:OpenCode",
    "copilot": "forkpoint.parsers.copilot:Copilot",
    "vscode-chat": "forkpoint.parsers.vscode_chat:VSCodeChat",
    "pi-session": "forkpoint.parsers.pi_session:PiSession",
    "aider": "forkpoint.parsers.aider:Aider",
    "goose": "forkpoint.parsers.goose:Goose",
    "amp": "forkpoint.parsers.amp:Amp",
    "droid": "forkpoint.parsers.droid:Droid",
    "openai": "forkpoint.parsers.openai:OpenAI",
    "anthropic": "forkpoint.parsers.anthropic:Anthropic",
    "otel-genai": "forkpoint.parsers.otel_genai:OtelGenAI",
    "openinference": "forkpoint.parsers.openinference:OpenInference",
    "langfuse": "forkpoint.parsers.langfuse:Langfuse",
    "langsmith": "forkpoint.parsers.langsmith:LangSmith",
    "litellm": "forkpoint.parsers.litellm:LiteLLM",
    "helicone": "forkpoint.parsers.helicone:Helicone",
    "openrouter": "forkpoint.parsers.openrouter:OpenRouter",
    "llm-call-jsonl": "forkpoint.parsers.llm_call_jsonl:LlmCallJsonl",
    "token-ids": "forkpoint.parsers.token_ids:TokenIds",
    "mooncake": "forkpoint.parsers.mooncake:Mooncake",
    "bailian": "forkpoint.parsers.bailian:Bailian",
    "kv-cache-tester": "forkpoint.parsers.kv_cache_tester:KvCacheTester",
    "lmcache": "forkpoint.parsers.lmcache:LMCache",
    "vllm": "forkpoint.parsers.vllm:Vllm",
    "sglang": "forkpoint.parsers.sglang:SGLang",
    "tau-bench": "forkpoint.parsers.tau_bench:TauBench",
    "tau2": "forkpoint.parsers.tau2:Tau2",
    "swe-agent": "forkpoint.parsers.swe_agent:SweAgent",
    "mini-swe-agent": "forkpoint.parsers.mini_swe_agent:MiniSweAgent",
    "openhands": "forkpoint.parsers.openhands:OpenHands",
    "verifiers": "forkpoint.parsers.verifiers:Verifiers",
    "prime-rl": "forkpoint.parsers.prime_rl:PrimeRl",
    "rllm": "forkpoint.parsers.rllm:Rllm",
    "verl": "forkpoint.parsers.verl:Verl",
    "trl": "forkpoint.parsers.trl:Trl",
    "nemo-rl": "forkpoint.parsers.nemo_rl:NemoRL",
    "nemo-gym": "forkpoint.parsers.nemo_gym:NemoGym",
    "slime": "forkpoint.parsers.slime:Slime",
    "areal": "forkpoint.parsers.areal:AReaL",
    "skyrl": "forkpoint.parsers.skyrl:SkyRL",
    "tinker-cookbook": "forkpoint.parsers.tinker_cookbook:TinkerCookbook",
    "atropos": "forkpoint.parsers.atropos:Atropos",
    "tot": "forkpoint.parsers.tot:TreeOfThoughts",
    "gsm8k-solutions": "forkpoint.parsers.gsm8k_solutions:Gsm8kSolutions",
    "alpaca-eval": "forkpoint.parsers.alpaca_eval:AlpacaEval",
    "atif": "forkpoint.parsers.atif:Atif",
    "inspect-ai": "forkpoint.parsers.inspect_ai:InspectAi",
    "lm-eval": "forkpoint.parsers.lm_eval:LmEval",
    "helm": "forkpoint.parsers.helm:Helm",
    "reflexion": "forkpoint.parsers.reflexion:Reflexion",
    "samples": "forkpoint.parsers.samples:Samples",
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
    found = {name: _TOLD.get(name) or _load(ref) for name, ref in _BUILT_IN.items()}
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


def use_sample_map(text: str | None) -> None:
    """Let the parser of `samples` read by the map of fields that a user gives, in this process.

    Raises:
        ForkpointError: it is no map.
    """
    from forkpoint.parsers.samples import Samples

    if text is None:
        if _TOLD.pop(SAMPLES, None) is not None:
            parsers.cache_clear()
        return
    given = Samples(parse_map(text))
    if _TOLD.get(SAMPLES) != given:
        _TOLD[SAMPLES] = given
        parsers.cache_clear()


_TOLD: dict[str, Parser] = {}
"""Parsers that a user told something, instead of those that know nothing."""


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

    A map of fields that lies beside a file goes before all formats, as somebody put it there; one
    that was given for a whole run, and a guess, come after them.

    Raises:
        AmbiguousFormat: two parsers claim it.
    """
    claims = [
        Claim(parser, why)
        for parser in (parsers() if among is None else among)
        if (why := parser.identify(head)) is not None
    ]
    samples = next((claim for claim in claims if claim.parser.name == SAMPLES), None)
    if len(claims) > 1 and samples is not None:
        if samples.why.startswith(MAP_FILE):
            return samples
        claims.remove(samples)
    if len(claims) > 1:
        names = " and ".join(claim.parser.name for claim in claims)
        raise AmbiguousFormat(f"{head.path}: claimed by {names}")
    return claims[0] if claims else None

"""What each provider's prompt cache may reuse, as dated data.

The figures stand in ``cache_rules.toml`` beside this module, each with its source; a file of the
user's own goes before them. A model without a rule has no policy figure: nothing is guessed.
"""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import UTC, date, datetime, time
from fnmatch import fnmatchcase
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from forkpoint.analysis.pricing import LONGEST_NAME, instant, model_references, without_mark
from forkpoint.errors import ForkpointError

EndsAt = Literal["token", "block", "message", "request"]
OptIn = Literal["automatic", "explicit"]
TtlFrom = Literal["request start", "response end"]
Concurrent = Literal["after first token", "immediate"]
Scope = Literal["workspace", "organization", "project", "account", "engine"]


@dataclass(frozen=True, slots=True)
class CacheRule:
    """How the prompt cache of one provider works for some models, at one time.

    Counts are in the provider's tokens. Where a provider does not state something, the rule holds
    the reading that allows less reuse, and its source or a comment beside the data says so.
    """

    provider: str | None
    """The price book's name of a provider, or an engine's. ``None``, in a user's file: any."""
    models: tuple[str, ...]
    """Lower-case patterns with ``*``, ``?`` and ``[…]`` of model names; see `plain_name`."""
    minimum_tokens: int
    """Shortest prefix that is cached. At least 0."""
    granularity_tokens: int
    """A prefix is reused in multiples of this; 1: to the token. vLLM's and SGLang's page."""
    ends_at: EndsAt
    """Where a reused prefix may end: at any ``token`` (that the granularity allows), at the end of
    a content ``block`` or of a ``message``, or only where the input or the output of an earlier
    ``request`` ended (DeepSeek's stored prefixes)."""
    recompute_last_token: bool
    """The prompt's last token is always computed, so that at most its length - 1 is reused."""
    default_ttl_s: int | None
    """Seconds that an entry lives, from `ttl_from`. ``None``: until evicted."""
    long_ttl_s: int | None
    """The same where the request asks for longer (Anthropic's 1 h writes, OpenAI's extended
    retention). ``None``: there is no such choice."""
    refreshed_on_read: bool
    """A read makes the entry live its full time again."""
    ttl_from: TtlFrom
    """What `default_ttl_s` counts from, in the call that wrote or last read the entry."""
    caches_generated: bool
    """Completions are cached when they are generated, not only once a prompt contains them."""
    opt_in: OptIn
    """``explicit``: only what requests mark with a breakpoint is cached. Logs rarely hold the
    marks."""
    max_breakpoints: int | None
    """Breakpoints that one request may write. ``None``: caching does not go by breakpoints."""
    lookback_blocks: int | None
    """How far back from a breakpoint an earlier entry is found, in the units of `ends_at`, the
    breakpoint's own included. ``None``: any distance."""
    scope: Scope
    """Who shares entries."""
    model_scoped: bool
    """Entries of one model do not serve another."""
    concurrent: Concurrent
    """When an entry can be read: ``after first token`` of the response that writes it (twins sent
    before all pay), or ``immediate``."""
    write_multiplier: float | None
    """Price of a write over the input price, as documented. Money comes from the price book; this
    is for models that it does not list. ``None``: tokens are not sold."""
    write_1h_multiplier: float | None
    """The same for writes that live `long_ttl_s`. ``None``: they have no price of their own."""
    read_multiplier: float | None
    """The same for reads."""
    valid_from: datetime | None
    """UTC without a time zone. ``None``: since ever."""
    valid_until: datetime | None
    """The first instant at which the rule no longer holds. ``None``: it still does."""
    source: str
    """Where the figures come from, and what other sources say."""

    def holds_at(self, when: datetime) -> bool:
        """Whether the rule is in force at `when` (UTC without a time zone)."""
        return (self.valid_from is None or self.valid_from <= when) and (
            self.valid_until is None or when < self.valid_until
        )

    def match(self, names: Iterable[str]) -> int | None:
        """How closely the rule fits a model of these names: the more, the closer. ``None``: not."""
        fits = [
            _closeness(pattern, name)
            for pattern in self.models
            for name in names
            # Equality first: a bracket, as in "model[1m]", means something else in a pattern.
            if name == pattern or fnmatchcase(name, pattern)
        ]
        return max(fits, default=None)


class Rules:
    """The rules in force, a user's own first. Look-ups are remembered per provider and model."""

    def __init__(self, book: _Book, overrides: _Book | None = None) -> None:
        self._book = book
        self._overrides = overrides
        self._known: dict[tuple[str | None, str], tuple[CacheRule, ...]] = {}

    @property
    def rules(self) -> tuple[CacheRule, ...]:
        """All rules, a user's own first, in the order of their files."""
        own = self._overrides.rules if self._overrides else ()
        return (*own, *self._book.rules)

    @property
    def as_of(self) -> date:
        """The day that the built-in rules were checked."""
        return self._book.as_of or date.min

    @property
    def name(self) -> str:
        """Which rules these are, for reports."""
        own = f"{self._overrides.name}, then " if self._overrides else ""
        return f"{own}cache rules of {self.as_of.isoformat()}"

    def rule_for(
        self, provider: str | None, model: str | None, when: datetime | None
    ) -> CacheRule | None:
        """The rule for a call, or ``None`` where nothing is known.

        A user's rules come first, then those of the call's provider, then those of the maker of a
        model that only its maker runs. Among them the closest pattern wins, then the earlier rule.

        Args:
            provider, model: as the log names them: with dates, prefixes and marks.
            when: the call's start; without a time zone it is UTC. ``None``: as of the day that the
                built-in rules were checked.
        """
        if model is None:
            return None
        key = (provider, model)
        if key not in self._known:
            self._known[key] = tuple(self._find(provider, model))
        if when is None:
            when = datetime.combine(self.as_of, time())
        elif when.tzinfo is not None:
            when = when.astimezone(UTC).replace(tzinfo=None)
        return next((rule for rule in self._known[key] if rule.holds_at(when)), None)

    def _find(self, provider: str | None, model: str) -> Iterator[CacheRule]:
        """The rules for a model at any time, best first."""
        name = without_mark(model).lower()
        if not 0 < len(name) <= LONGEST_NAME:
            return
        named = list(self._providers(provider, name))
        if self._overrides is not None:
            names = [*_spellings(name), model.strip().lower()]
            yield from _closest(self._overrides.rules, {each for each, _ in named} | {None}, names)
        for each, reference in named:
            yield from _closest(self._book.rules, {each}, _spellings(reference))
        names = _spellings(name.rsplit("/", 1)[-1])
        for maker, patterns in self._book.makers.items():
            if any(fnmatchcase(each, pattern) for pattern in patterns for each in names):
                yield from _closest(self._book.rules, {maker}, names)

    def _providers(self, provider: str | None, name: str) -> Iterator[tuple[str, str]]:
        """Providers that may serve a call, each with the model's name there.

        A prefix of the name (``deepseek/deepseek-chat``) says who serves it only where the log does
        not: elsewhere it says who made it.
        """
        aliases = (self._overrides or self._book).aliases
        stated = None if provider is None else provider.strip().lower()
        for each, reference in model_references(stated, name):
            if each is not None and stated in (None, each):
                yield aliases.get(each, each), reference


def load_rules(path: Path | None = None) -> Rules:
    """The built-in rules, after those of a file of the user's own.

    The file is TOML with a list of tables named ``rule``. Each has ``models`` (patterns) and
    ``minimum_tokens``, and may have ``provider`` (a name or several; any if left out), ``family`` (a
    table of this file or of the built-in rules to start from), ``valid_from``, ``valid_until``
    (dates; the second is the first day it no longer holds), ``source``, and the other fields of
    `CacheRule`. What neither the rule nor its family has is as in an automatic cache of one
    organization that is exact to the token, keeps prompts until evicted, and has no price factors.
    ``[family.NAME]`` and ``[aliases]`` are read as in the built-in file.

    Raises:
        ForkpointError: the file cannot be read, or holds anything else. Says which rule and why.
    """
    book = _built_in()
    return Rules(book, None if path is None else _read_own(path, book))


_SUFFIX = re.compile(
    r"(?:[-@]\d{8}|-\d{4}-\d{2}-\d{2}|[-@]latest|-v\d+|:[\w.-]*|@[\w.-]*"
    r"|-fast|-priority|-flex|-thinking)$"
)
_VENDOR = re.compile(r"^(?:[a-z]+(?:-[a-z]+)?\.)?[a-z0-9]+\.(?=[a-z])")


def plain_name(name: str) -> str:
    """A model's name without dates, versions, speeds and the prefixes of Bedrock, in lower case.

    >>> plain_name("us.anthropic.claude-opus-4-5-20251101-v1:0")
    'claude-opus-4-5'
    >>> plain_name("gpt-5.1-codex-2026-01-10")
    'gpt-5.1-codex'
    """
    plain = _VENDOR.sub("", name.strip().lower())
    while (suffix := _SUFFIX.search(plain)) is not None and suffix.start():
        plain = plain[: suffix.start()]
    return plain


def _spellings(name: str) -> list[str]:
    """A name as it stands, without its path, and plain."""
    tail = name.rsplit("/", 1)[-1]
    return list(dict.fromkeys((name, tail, plain_name(tail))))


def _closest(
    rules: Sequence[CacheRule], providers: set[str] | set[str | None], names: list[str]
) -> list[CacheRule]:
    found = [
        (-closeness, rule)
        for rule in rules
        if rule.provider in providers and (closeness := rule.match(names)) is not None
    ]
    return [rule for _, rule in sorted(found, key=lambda pair: pair[0])]  # stable: file order


def _closeness(pattern: str, name: str) -> int:
    """Twice the characters that a pattern fixes, plus those it restricts; equality beats all."""
    if pattern == name:
        return 2 * LONGEST_NAME + 1
    classes = re.findall(r"\[[^\]]+\]", pattern)
    fixed = re.sub(r"\[[^\]]+\]|[*?]", "", pattern)
    return 2 * len(fixed) + len(classes)


# --- files ---

_Count = Annotated[int, msgspec.Meta(ge=0, lt=2**31)]
_Positive = Annotated[int, msgspec.Meta(gt=0, lt=2**31)]
_Factor = Annotated[float, msgspec.Meta(ge=0)]
_Name = Annotated[str, msgspec.Meta(min_length=1)]
_Patterns = Annotated[list[_Name], msgspec.Meta(min_length=1)]


class _Entry(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A rule as a file states it, its family's values filled in."""

    models: _Patterns
    minimum_tokens: _Count
    provider: _Name | Annotated[list[_Name], msgspec.Meta(min_length=1)] | None = None
    granularity_tokens: _Positive = 1
    ends_at: EndsAt = "token"
    recompute_last_token: bool = False
    default_ttl_s: _Positive | None = None
    long_ttl_s: _Positive | None = None
    refreshed_on_read: bool = True
    ttl_from: TtlFrom = "request start"
    caches_generated: bool = False
    opt_in: OptIn = "automatic"
    max_breakpoints: _Positive | None = None
    lookback_blocks: _Positive | None = None
    scope: Scope = "organization"
    model_scoped: bool = True
    concurrent: Concurrent = "after first token"
    write_multiplier: _Factor | None = None
    write_1h_multiplier: _Factor | None = None
    read_multiplier: _Factor | None = None
    valid_from: Any = None
    valid_until: Any = None
    source: _Name | None = None


class _File(msgspec.Struct, forbid_unknown_fields=True):
    rule: list[dict[str, Any]]
    family: dict[str, dict[str, Any]] = {}
    aliases: dict[_Name, _Name] = {}
    makers: dict[_Name, _Patterns] = {}
    as_of: date | None = None


@dataclass(frozen=True, slots=True)
class _Book:
    """What one file holds, its families and aliases over those of the book below."""

    name: str
    rules: tuple[CacheRule, ...]
    families: Mapping[str, Mapping[str, Any]]
    aliases: Mapping[str, str]
    makers: Mapping[str, Sequence[str]]
    as_of: date | None


_COPIED = [each.name for each in fields(CacheRule) if each.name in _Entry.__struct_fields__]


@cache
def _built_in() -> _Book:
    resource = files("forkpoint.analysis").joinpath("cache_rules.toml")
    return _read_book(resource.read_bytes(), resource.name)


def _read_own(path: Path, built_in: _Book) -> _Book:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ForkpointError(f"{path}: {error.strerror or error}") from error
    book = _read_book(content, str(path), built_in)
    if book.makers or book.as_of is not None:
        raise ForkpointError(f"{path}: 'makers' and 'as_of' are for the built-in rules alone")
    return book


def _read_book(content: bytes, name: str, below: _Book | None = None) -> _Book:
    """Read a file that may use the families and aliases of the book `below` it."""
    try:
        # RecursionError: brackets nested a thousand deep. ValueError: not TOML, or not UTF-8.
        document = msgspec.convert(tomllib.loads(content.decode()), _File)
    except (ValueError, RecursionError) as error:
        raise ForkpointError(f"{name}: {_reason(error)}") from error
    families = {**(below.families if below else {}), **document.family}
    aliases = {**(below.aliases if below else {}), **document.aliases}
    rules: list[CacheRule] = []
    for number, stated in enumerate(document.rule, start=1):
        try:
            for rule in _rules_of(stated, families, name):
                provider = aliases.get(rule.provider or "", rule.provider)
                rules.append(replace(rule, provider=provider))
        except (ValueError, ForkpointError) as error:
            raise ForkpointError(f"{name}: rule {number}: {_reason(error)}") from error
    return _Book(name, tuple(rules), families, aliases, document.makers, document.as_of)


def _rules_of(
    stated: dict[str, Any], families: Mapping[str, Mapping[str, Any]], name: str
) -> Iterator[CacheRule]:
    """One rule for each provider that an entry names."""
    entry = msgspec.convert(_with_family(stated, families), _Entry)
    start, end = instant("valid_from", entry.valid_from), instant("valid_until", entry.valid_until)
    if start is not None and end is not None and start >= end:
        raise ForkpointError("'valid_until' must be later than 'valid_from'")
    for key in ("write_multiplier", "write_1h_multiplier", "read_multiplier"):
        if not math.isfinite(getattr(entry, key) or 0.0):
            raise ForkpointError(f"{key!r} must be finite")
    values = {key: getattr(entry, key) for key in _COPIED} | {
        "models": tuple(pattern.lower() for pattern in entry.models),
        "valid_from": start,
        "valid_until": end,
        "source": entry.source or name,
    }
    providers = entry.provider if isinstance(entry.provider, list) else [entry.provider]
    for provider in providers:
        yield CacheRule(**values | {"provider": provider and provider.lower()})


def _with_family(
    stated: dict[str, Any], families: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    if "family" not in stated:
        return stated
    family = stated["family"]
    if not isinstance(family, str) or family not in families:
        raise ForkpointError(f"no family {family!r}: there are {', '.join(families) or 'none'}")
    return {**families[family], **{k: v for k, v in stated.items() if k != "family"}}


def _reason(error: Exception) -> str:
    """An error's text, its path of keys in the words of the file."""
    if isinstance(error, RecursionError):
        return "is nested too deep"
    if isinstance(error, UnicodeDecodeError):
        return "is not UTF-8 text"
    text = " ".join(str(error).replace("Object", "The table").split())
    return re.sub(r" - at `\$\.?(.*?)`$", r" (in '\1')", text).replace(" (in '')", "")

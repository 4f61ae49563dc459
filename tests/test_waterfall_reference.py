"""The waterfall's levels against brute force: every call compared with every call before it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from waterfall_levels import LEVELS, check_levels

from forkpoint.analysis.cache import ideal_reuse, measure_missed
from forkpoint.analysis.costs import price_scope
from forkpoint.analysis.ingest import ingest
from forkpoint.analysis.ingest_worker import Options
from forkpoint.analysis.prompts import load_prompts
from forkpoint.analysis.report import NO_FILTERS
from forkpoint.analysis.rules import load_rules
from forkpoint.analysis.scope import select_scope
from forkpoint.analysis.store import MEMORY, Store
from forkpoint.analysis.tokens import DEFAULT_ENCODING
from forkpoint.analysis.waterfall import Waterfall, measure_waterfall

Segment = tuple[str, tuple[str, ...]]
"""(role, words); a word is a token."""
Path_ = tuple[Segment, ...]


@dataclass(frozen=True)
class Rule:
    """What of a provider's rules the reference knows."""

    minimum: int
    unit: int
    ends_at: str
    last_again: bool
    generated: bool
    explicit: bool
    lookback: int
    at_once: bool

    def toml(self) -> str:
        def flag(value: bool) -> str:
            return "true" if value else "false"

        return f"""
            [[rule]]
            models = ["house-*"]
            minimum_tokens = {self.minimum}
            granularity_tokens = {self.unit}
            ends_at = "{self.ends_at}"
            recompute_last_token = {flag(self.last_again)}
            caches_generated = {flag(self.generated)}
            opt_in = "{"explicit" if self.explicit else "automatic"}"
            max_breakpoints = 2
            lookback_blocks = {self.lookback}
            default_ttl_s = 300
            long_ttl_s = 3600
            concurrent = "{"immediate" if self.at_once else "after first token"}"
        """


@dataclass(frozen=True)
class Sent:
    """One call, in time order."""

    second: float
    model: str
    session: str
    prompt: Path_
    answer: Segment
    read: int
    write: int
    hour: bool
    marks: int

    @property
    def size(self) -> int:
        return length(self.prompt)

    @property
    def marks_known(self) -> int | None:
        return None if not self.marks and (self.read or self.write) else self.marks


def length(path: Path_) -> int:
    return sum(len(words) for _, words in path)


def common(a: Path_, b: Path_) -> tuple[int, int]:
    """Whole segments, and tokens, that two paths begin with alike."""
    segments = 0
    while segments < min(len(a), len(b)) and a[segments] == b[segments]:
        segments += 1
    tokens = length(a[:segments])
    if segments < min(len(a), len(b)):
        for x, y in zip(a[segments][1], b[segments][1], strict=False):
            if x != y:
                break
            tokens += 1
    return segments, tokens


# --- The levels, call by call --------------------------------------------------------------------


class Reference:
    """The definitions of `forkpoint.analysis.policy`, read slowly."""

    def __init__(self, calls: list[Sent], rule: Rule) -> None:
        self.calls, self.rule = calls, rule

    def lifetime(self, j: int) -> float:
        """By what the call's trace wrote last, up to the call."""
        wrote = [
            each.hour
            for each in self.calls[: j + 1]
            if each.session == self.calls[j].session and each.write
        ]
        return 3600 if wrote and wrote[-1] else 300

    def sequences(self, j: int) -> list[Path_]:
        call = self.calls[j]
        return [call.prompt, (*call.prompt, call.answer)] if self.rule.generated else [call.prompt]

    def match(self, i: int, users: list[int]) -> tuple[int, int]:
        """The longest beginning of a prompt that one of `users` stored."""
        prompt = self.calls[i].prompt
        found = [common(prompt, path) for j in users for path in self.sequences(j)]
        return max(found, key=lambda each: each[1], default=(0, 0))

    def cut(self, i: int, match: tuple[int, int]) -> int:
        """In whole units, at least the minimum."""
        segments, tokens = match
        if self.rule.ends_at != "token":
            tokens = length(self.calls[i].prompt[:segments])
        if self.rule.last_again:
            tokens = min(tokens, self.calls[i].size - 1)
        tokens = tokens // self.rule.unit * self.rule.unit
        return tokens if tokens >= self.rule.minimum else 0

    def levels(self, i: int) -> dict[str, int]:
        call, before = self.calls[i], list(range(i))
        same = [j for j in before if self.calls[j].model == call.model]
        alive = [j for j in same if call.second - self.calls[j].second <= self.lifetime(j)]
        delay = 0.0 if self.rule.at_once else 1.0
        ready = [j for j in alive if self.calls[j].second + delay <= call.second]
        whole = [(*each.prompt, each.answer) for each in self.calls[:i]]
        sent = [common(call.prompt, path)[1] for path in whole]
        found = {"ideal": max([call.read, *sent])}

        def level(name: str, above: str, tokens: int) -> None:
            found[name] = max(min(tokens, found[above]), call.read)

        level("stored", "ideal", self.match(i, before)[1])
        level("scoped", "stored", self.match(i, same)[1])
        living = self.match(i, alive)
        level("alive", "scoped", living[1])
        level("allowed", "alive", self.cut(i, living))
        level("marked", "allowed", self.in_reach(i, same, living[0]))
        level("policy", "marked", self.cut(i, self.match(i, ready)))
        found["realized"] = call.read
        found["reusable"] = self.reusable(i, found["ideal"])
        return found

    def in_reach(self, i: int, same: list[int], segments: int) -> int:
        """What an explicit provider's breakpoints reach; all else is unlimited."""
        call, rule = self.calls[i], self.rule
        if not rule.explicit:
            return call.size
        if call.marks_known == 0:
            return 0
        if len(call.prompt) - segments > rule.lookback * (min(call.marks, 2) or 2):
            return 0
        alive_path = call.prompt[:segments]
        deepest = self.match(i, same)[1]
        users = [j for j in same if self.match(i, [j])[1] == deepest > 0]
        if users and self.calls[users[-1]].prompt == alive_path:
            user = self.calls[users[-1]]
            return 0 if user.marks_known == 0 else user.read + user.write
        ends = [self.calls[j].prompt for j in same]
        entries = [length(end) for end in ends if alive_path[: len(end)] == end]
        return max(entries, default=call.size)

    def reusable(self, i: int, ideal: int) -> int:
        call = self.calls[i]
        earlier = [each for each in self.calls[:i] if each.session == call.session]
        goes_on = any(each.prompt == call.prompt[: len(each.prompt)] for each in self.calls[:i])
        if not earlier or goes_on:
            return ideal
        return max(min(call.size, earlier[-1].size), ideal)


# --- Random logs ---------------------------------------------------------------------------------

texts = st.tuples(st.integers(0, 9), st.integers(0, 9), st.integers(1, 9)).map(
    lambda n: ("alpha",) * n[0] + ("beta",) * n[1] + ("gamma",) * n[2]
)
questions = texts.map(lambda words: ("user", words))
answers = texts.map(lambda words: ("assistant", words))
rules = st.builds(
    Rule,
    minimum=st.sampled_from([0, 8, 20]),
    unit=st.sampled_from([1, 4]),
    ends_at=st.sampled_from(["token", "block"]),
    last_again=st.booleans(),
    generated=st.booleans(),
    explicit=st.booleans(),
    lookback=st.integers(1, 3),
    at_once=st.booleans(),
)


@st.composite
def logs(draw: st.DrawFn) -> list[Sent]:
    calls: list[Sent] = []
    second = 0.0
    for _ in range(draw(st.integers(4, 14))):
        second += draw(
            st.sampled_from([0.0, 0.5, 0.5, 1.0, 60.0, 60.0, 299.0, 300.5, 1_800.0, 3_700.0])
        )
        trunk: Path_ = ()
        if calls and draw(st.integers(0, 9)):
            parent = draw(st.sampled_from(calls))
            whole = (*parent.prompt, parent.answer)
            trunk = whole[: draw(st.integers(0, len(whole)))] if draw(st.booleans()) else whole
        new = draw(st.lists(questions | answers, max_size=3))
        prompt = (*trunk, *new) or (draw(questions),)
        size = length(prompt)
        read = draw(st.sampled_from([0] * 9 + [size // 2]))
        write = draw(st.sampled_from([size - read, size - read, 0]))
        calls.append(
            Sent(
                second=second,
                model=draw(st.sampled_from(["house-a", "house-a", "house-b"])),
                session=draw(st.sampled_from(["s", "t"])),
                prompt=prompt,
                answer=draw(answers),
                read=read,
                write=write,
                hour=draw(st.booleans()),
                marks=draw(st.integers(0, min(2, len(prompt)))),
            )
        )
    return calls


def block(words: tuple[str, ...], mark: bool) -> dict[str, Any]:
    text = {"type": "text", "text": "".join(f" {word}" for word in words)}
    return text | ({"cache_control": {"type": "ephemeral"}} if mark else {})


def record(i: int, call: Sent) -> dict[str, Any]:
    messages = [
        {"role": role, "content": [block(words, k >= len(call.prompt) - call.marks)]}
        for k, (role, words) in enumerate(call.prompt)
    ]
    usage = {
        "input_tokens": call.size - call.read - call.write,
        "cache_read_input_tokens": call.read,
        "cache_creation_input_tokens": call.write,
        "cache_creation": {"ephemeral_1h_input_tokens": call.write if call.hour else 0},
        "output_tokens": len(call.answer[1]),
    }
    response = {
        "id": f"msg_{i}",
        "type": "message",
        "role": "assistant",
        "model": call.model,
        "content": [block(call.answer[1], False)],
        "usage": usage,
    }
    return {
        "timestamp": f"2026-10-01T{int(call.second) // 3600:02}:{int(call.second) // 60 % 60:02}:"
        f"{call.second % 60:06.3f}Z",
        "session_id": call.session,
        "request": {"model": call.model, "max_tokens": 9, "messages": messages},
        "response": response,
    }


def measure(folder: Path, calls: list[Sent], rule: Rule) -> Waterfall:
    log, own = folder / "log.jsonl", folder / "rules.toml"
    log.write_text("".join(json.dumps(record(i, call)) + "\n" for i, call in enumerate(calls)))
    own.write_text(rule.toml())
    with Store.open(MEMORY, encoding=DEFAULT_ENCODING) as store:
        ingest(store, [log], Options(DEFAULT_ENCODING))
        select_scope(store, [log], NO_FILTERS)
        price_scope(store, None)
        prompts = load_prompts(store)
        assert prompts.counted.tolist() == [True] * len(calls)
        missed = measure_missed(store, prompts, ideal_reuse(prompts))
        return measure_waterfall(store, prompts, missed, load_rules(own))


def check(fall: Waterfall, calls: list[Sent], rule: Rule) -> None:
    reference = Reference(calls, rule)
    for i in range(len(calls)):
        expected = reference.levels(i)
        assert {name: int(getattr(fall.levels, name)[i]) for name in LEVELS} == {
            name: expected[name] for name in LEVELS
        }, (i, calls[i])
    check_levels(fall)


@settings(
    max_examples=settings().max_examples * 2 // 5,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(logs(), rules)
def test_every_level_of_every_call_is_as_defined(
    tmp_path_factory: pytest.TempPathFactory, calls: list[Sent], rule: Rule
) -> None:
    check(measure(tmp_path_factory.mktemp("log"), calls, rule), calls, rule)

"""Log corpora of known truth, from a seeded number generator: the same scale gives the same bytes.

Nothing in them was ever said by a model. They have the shape of real logs where it costs time or
traps a counter: prompts that grow, responses on several lines, copies, forks, escaped text.
"""

from __future__ import annotations

import json
import random
import shutil
import uuid
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

TRUTH = "truth.json"
_VERSION = 1
"""Raised when a generator changes, so that no older corpus is taken for a new one."""


def corpus(name: str, work: Path, scale: float) -> Path:
    """The folder of a corpus (``agents`` or ``rollouts``), generated unless it is there already.

    Args:
        scale: 1 is the full size; smaller ones have fewer sessions or groups of the same kind.
    """
    folder = work / f"{name}-v{_VERSION}-{scale:g}"
    if not (folder / TRUTH).exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        truth = _GENERATORS[name](folder, scale)
        # Written last: a corpus without it was interrupted.
        (folder / TRUTH).write_text(json.dumps(truth))
    return folder


def truth_of(folder: Path) -> dict[str, Any]:
    """What a corpus holds, as its generator counted it."""
    found: dict[str, Any] = json.loads((folder / TRUTH).read_text())
    return found


def _word(rng: random.Random) -> str:
    return "".join(
        rng.choice("bcdfghklmnprstvz") + rng.choice("aeiou") for _ in range(rng.randint(1, 4))
    )


def _words(rng: random.Random, n: int) -> list[str]:
    """`n` different made-up words."""
    words: dict[str, None] = {}
    while len(words) < n:
        words[_word(rng)] = None
    return list(words)


# Claude Code ---------------------------------------------------------------------------------

_PRICES = {
    # USD per million tokens: input, cache read, 5 min write, 1 h write, output (Anthropic, 2026)
    "claude-opus-4-5-20251101": (5.0, 0.5, 6.25, 10.0, 25.0),
    "claude-sonnet-4-5-20250929": (3.0, 0.3, 3.75, 6.0, 15.0),
}
_MAIN_MODEL, _SUBAGENT_MODEL = _PRICES
_SESSIONS, _CALLS = 300, 120
_CONTEXT_LIMIT = 160_000
"""Tokens at which a session is compacted; below 200,000, where other prices begin."""
_UNCACHED = 3
_POOL_CHARACTERS = 4_000_000


@dataclass
class AgentTruth:
    """Totals under the names that ``forkpoint report --format json`` gives them."""

    calls: int = 0
    uncached_input_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_5m_tokens: int = 0
    cache_write_1h_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float = 0.0


@dataclass
class _Agent:
    """One chain of calls: a session's, or a subagent's in it."""

    rng: random.Random
    text: str
    session: str
    folder: str
    model: str
    one_hour: bool
    started: datetime
    subagent: str | None = None
    parent: str | None = None
    truth: AgentTruth = field(default_factory=AgentTruth)

    def lines(self, n_calls: int) -> Iterator[str]:
        """The log, call by call: what goes into the prompt, then the response on 1 to 3 lines."""
        now, lifetime_s = self.started, 3600 if self.one_hour else 300
        context, cached = self.rng.randint(15_000, 25_000), 0
        for number in range(n_calls):
            idle_s = self.rng.choice((5, 9, 17, 38) if self.rng.random() < 0.97 else (450, 4000))
            now += timedelta(seconds=idle_s)
            if idle_s > lifetime_s or self.rng.random() < 0.01:
                cached = 0
            added, output = self.rng.randint(200, 3000), self.rng.randint(50, 1500)
            written = context + added - cached - _UNCACHED
            yield self._line(now, "user", self._prompt(number, added))
            yield from self._response(now, number, cached, written, output)
            self._count(cached, written, output)
            cached += written
            context += added + output
            if context > _CONTEXT_LIMIT:
                context, cached = 30_000, 20_000

    def _prompt(self, number: int, added: int) -> dict[str, Any]:
        # Three characters a token, so that content and billed size go together.
        content = self._slice(3 * added)
        if number == 0:
            return {"role": "user", "content": content}
        result = {"type": "tool_result", "tool_use_id": f"toolu_{number - 1}_0", "content": content}
        return {"role": "user", "content": [result]}

    def _response(
        self, now: datetime, number: int, read: int, written: int, output: int
    ) -> Iterator[str]:
        message, request = f"msg_{self._hex(96)}", f"req_{self._hex(96)}"
        blocks: list[dict[str, Any]] = [{"type": "text", "text": self._slice(300)}]
        command = {"command": self._slice(80)}
        for use in range(self.rng.randint(0, 2)):
            name = f"toolu_{number}_{use}"
            blocks.append({"type": "tool_use", "id": name, "name": "Bash", "input": command})
        for place, block in enumerate(blocks, start=1):
            # While a response streams, its lines state how much was out by then.
            so_far = output if place == len(blocks) else min(output, 7 * place)
            body = {
                "id": message,
                "type": "message",
                "role": "assistant",
                "model": self.model,
                "content": [block],
                "stop_reason": "tool_use" if place == len(blocks) else None,
                "usage": self._usage(read, written, so_far),
            }
            yield self._line(now, "assistant", body, requestId=request)

    def _usage(self, read: int, written: int, output: int) -> dict[str, Any]:
        return {
            "input_tokens": _UNCACHED,
            "cache_creation_input_tokens": written,
            "cache_read_input_tokens": read,
            "cache_creation": {
                "ephemeral_5m_input_tokens": 0 if self.one_hour else written,
                "ephemeral_1h_input_tokens": written if self.one_hour else 0,
            },
            "output_tokens": output,
            "service_tier": "standard",
        }

    def _line(self, now: datetime, kind: str, message: dict[str, Any], **more: str) -> str:
        own = str(uuid.UUID(int=self.rng.getrandbits(128), version=4))
        line: dict[str, Any] = {
            "parentUuid": self.parent,
            "isSidechain": self.subagent is not None,
            "userType": "external",
            "cwd": self.folder,
            "sessionId": self.session,
            "version": "2.1.119",
            "gitBranch": "main",
            "type": kind,
            "message": message,
            **more,
            "uuid": own,
            "timestamp": now.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        }
        if self.subagent is not None:
            line["agentId"] = self.subagent
        self.parent = own
        return json.dumps(line, separators=(",", ":")) + "\n"

    def _count(self, read: int, written: int, output: int) -> None:
        truth, prices = self.truth, _PRICES[self.model]
        truth.calls += 1
        truth.uncached_input_tokens += _UNCACHED
        truth.cache_read_tokens += read
        five_minutes, one_hour = (0, written) if self.one_hour else (written, 0)
        truth.cache_write_5m_tokens += five_minutes
        truth.cache_write_1h_tokens += one_hour
        truth.output_tokens += output
        leaves = (_UNCACHED, read, five_minutes, one_hour, output)
        truth.cost_usd += sum(n * usd for n, usd in zip(leaves, prices, strict=True)) / 1e6

    def _slice(self, n: int) -> str:
        start = self.rng.randrange(len(self.text) - n)
        return self.text[start : start + n]

    def _hex(self, bits: int) -> str:
        return f"{self.rng.getrandbits(bits):0{bits // 4}x}"


def _write_agents(folder: Path, scale: float) -> dict[str, Any]:
    """Claude Code logs: sessions, a subagent in every third, a resumed copy of every tenth."""
    text = _terminal_text(random.Random("agents/text"))
    truth = AgentTruth()
    for number in range(max(3, round(_SESSIONS * scale))):
        rng = random.Random(f"agents/{number}")
        agent = _Agent(
            rng=rng,
            text=text,
            session=str(uuid.UUID(int=rng.getrandbits(128), version=4)),
            folder=f"/home/user/project-{number % 12}",
            model=_MAIN_MODEL,
            one_hour=number % 2 == 1,
            started=datetime(2026, 9, 1, tzinfo=UTC) + timedelta(minutes=rng.randrange(50_000)),
        )
        _write_session(folder / "projects" / f"-home-user-project-{number % 12}", number, agent)
        _add(truth, agent.truth)
    return asdict(truth)


def _write_session(folder: Path, number: int, agent: _Agent) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    lines = list(agent.lines(_CALLS))
    _write(folder / f"{agent.session}.jsonl", lines)
    if number % 10 == 0:
        copy = str(uuid.UUID(int=agent.rng.getrandbits(128), version=4))
        _write(folder / f"{copy}.jsonl", (line.replace(agent.session, copy, 1) for line in lines))
    if number % 3 == 0:
        subagent = _Agent(
            rng=agent.rng,
            text=agent.text,
            session=agent.session,
            folder=agent.folder,
            model=_SUBAGENT_MODEL,
            one_hour=False,
            started=agent.started + timedelta(minutes=3),
            subagent=f"{number:08x}",
        )
        below = folder / agent.session / "subagents"
        below.mkdir(parents=True)
        _write(below / f"agent-{subagent.subagent}.jsonl", subagent.lines(_CALLS // 3))
        _add(agent.truth, subagent.truth)


def _write(path: Path, lines: Iterator[str] | list[str]) -> None:
    with open(path, "w", encoding="utf-8") as stream:
        stream.writelines(lines)


def _add(total: AgentTruth, more: AgentTruth) -> None:
    for name, value in vars(more).items():
        setattr(total, name, getattr(total, name) + value)


def _terminal_text(rng: random.Random) -> str:
    """Indented lines of words, numbers and quotes, as tools print them: JSON has to escape them."""
    words = _words(rng, 20_000)
    lines, length = [], 0
    while length < _POOL_CHARACTERS:
        parts = rng.choices(words, k=rng.randint(2, 11))
        parts[0] = " " * rng.choice((0, 2, 4, 8)) + parts[0]
        if rng.random() < 0.3:
            parts[-1] = f'"{parts[-1]}": {rng.randrange(10_000)},'
        lines.append(" ".join(parts))
        length += len(lines[-1]) + 1
    return "\n".join(lines)


# Rollouts ------------------------------------------------------------------------------------

_GROUPS, _ROLLOUTS, _TURNS = 32, 16, 8
_SYSTEM_IDS, _TASK_IDS, _ACTION_IDS, _RESULT_IDS = 1500, 300, 60, 200
_VOCABULARY = 8192
TOKEN_IDS, REQUESTS = "token_ids.jsonl", "openai.jsonl"


def _write_rollouts(folder: Path, scale: float) -> dict[str, Any]:
    """Rollouts of the same tasks, each turn a request with the whole prompt again, in two formats.

    All prompts share the system part, a group its task, and a rollout the first turns of its
    group's first rollout, up to where it forks. One made-up word stands for one token id.
    """
    rng = random.Random("rollouts")
    words = _words(rng, _VOCABULARY)
    system = _ids(rng, _SYSTEM_IDS)
    tools = [_tool(rng, words, number) for number in range(8)]
    requests = prompt_tokens = 0
    with (
        open(folder / TOKEN_IDS, "w", encoding="utf-8") as as_ids,
        open(folder / REQUESTS, "w", encoding="utf-8") as as_text,
    ):
        for group in range(max(2, round(_GROUPS * scale))):
            for rollout, messages in enumerate(_group(rng, system)):
                for turn in range(_TURNS):
                    prompt, answer = messages[: 2 + 2 * turn], messages[2 + 2 * turn]
                    place = _place(group, rollout, turn, requests)
                    as_ids.write(_as_ids(place, prompt, answer))
                    as_text.write(_as_request(place, prompt, answer, words, tools))
                    requests += 1
                    prompt_tokens += sum(map(len, prompt))
    return {"requests": requests, "prompt_tokens": prompt_tokens}


def _group(rng: random.Random, system: list[int]) -> Iterator[list[list[int]]]:
    """The messages of each rollout of one task: system, task, then action and result by turns."""
    task = _ids(rng, _TASK_IDS)
    first: list[list[int]] = []
    for _ in range(_ROLLOUTS):
        shared = first[: 2 * rng.choice((0, 0, 0, 1, 2, 4))]
        steps = list(shared)
        while len(steps) < 2 * _TURNS:
            steps += [_ids(rng, _ACTION_IDS), _ids(rng, _RESULT_IDS)]
        first = first or steps
        yield [system, task, *steps]


def _ids(rng: random.Random, n: int) -> list[int]:
    return rng.choices(range(_VOCABULARY), k=n)


def _tool(rng: random.Random, words: list[str], number: int) -> dict[str, Any]:
    parameters = {"type": "object", "properties": {"query": {"type": "string"}}}
    described = " ".join(rng.choices(words, k=30))
    return {
        "type": "function",
        "function": {"name": f"tool_{number}", "description": described, "parameters": parameters},
    }


def _place(group: int, rollout: int, turn: int, number: int) -> dict[str, Any]:
    return {
        "request_id": f"{group}-{rollout}-{turn}",
        "session_id": f"{group}-{rollout}",
        "timestamp": 1_790_000_000 + number,
    }


def _as_ids(place: dict[str, Any], prompt: list[list[int]], answer: list[int]) -> str:
    record = {
        **place,
        "group": place["session_id"].partition("-")[0],
        "prompt_token_ids": [token for message in prompt for token in message],
        "output_token_ids": answer,
    }
    return json.dumps(record) + "\n"


def _as_request(
    place: dict[str, Any],
    prompt: list[list[int]],
    answer: list[int],
    words: list[str],
    tools: list[dict[str, Any]],
) -> str:
    roles = ["system", "user"] + ["assistant", "user"] * _TURNS
    messages = [
        {"role": role, "content": " ".join(words[token] for token in ids)}
        for role, ids in zip(roles, prompt, strict=False)
    ]
    content = " ".join(words[token] for token in answer)
    choice = {"index": 0, "message": {"role": "assistant", "content": content}}
    request = {"model": "gpt-5-mini", "messages": messages, "tools": tools}
    return json.dumps({**place, "request": request, "response": {"choices": [choice]}}) + "\n"


_GENERATORS: dict[str, Callable[[Path, float], dict[str, Any]]] = {
    "agents": _write_agents,
    "rollouts": _write_rollouts,
}

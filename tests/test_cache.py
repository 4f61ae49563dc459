"""Ideal, realized and missed on small logs worked out by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from forkpoint.analysis.ingest import ingest
from forkpoint.analysis.ingest_worker import Options
from forkpoint.analysis.report import build_report
from forkpoint.analysis.results import Report
from forkpoint.analysis.store import MEMORY, Store
from forkpoint.analysis.tokens import DEFAULT_ENCODING, reference_ids

OPUS = (
    "claude-opus-4-5-20251101"  # USD per million: 5 in, 25 out, 0.5 read, 6.25 write, 10 1 h write
)


def report_on(folder: Path) -> Report:
    with Store.open(MEMORY, encoding=DEFAULT_ENCODING) as store:
        ingest(store, [folder], Options(DEFAULT_ENCODING))
        return build_report(store, [folder])


class Session:
    """Writes a Claude Code log line by line."""

    def __init__(self, folder: Path, name: str) -> None:
        self.path, self.name = folder / f"{name}.jsonl", name
        self.parent: str | None = None
        self.lines = 0

    def line(self, kind: str, message: dict[str, Any], minute: float, **extra: Any) -> str:
        uuid = f"{self.name}-{self.lines}"
        seconds = round(minute * 60)
        record = {
            "type": kind,
            "uuid": uuid,
            "parentUuid": self.parent,
            "sessionId": self.name,
            "cwd": "/w",
            "version": "2.1.0",
            "timestamp": f"2026-10-01T{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}Z",
            "message": message,
        } | extra
        with open(self.path, "a") as log:
            log.write(json.dumps(record) + "\n")
        self.parent = uuid
        self.lines += 1
        return uuid

    def ask(self, text: str, minute: float = 0) -> str:
        return self.line("user", {"role": "user", "content": text}, minute)

    def answer(
        self,
        text: str,
        minute: float,
        *,
        uncached: int,
        read: int,
        write: int,
        output: int = 10,
        **message: Any,
    ) -> str:
        usage = {
            "input_tokens": uncached,
            "cache_read_input_tokens": read,
            "cache_creation_input_tokens": write,
            "output_tokens": output,
        }
        content = [{"type": "text", "text": text}]
        body = {"id": f"msg_{self.name}_{self.lines}", "model": OPUS, "role": "assistant"}
        return self.line("assistant", body | {"content": content, "usage": usage} | message, minute)


def test_a_warm_conversation_misses_only_the_answer_that_came_back(tmp_path: Path) -> None:
    session = Session(tmp_path, "s")
    session.ask("a" * 40)
    session.answer("b" * 40, 0, uncached=0, read=0, write=10_000)
    session.ask("c" * 40)
    session.answer("d" * 40, 1, uncached=0, read=10_000, write=200)
    cache = report_on(tmp_path).cache
    # The second prompt is the first (10,000 tokens), its 40-byte answer and 40 bytes of question:
    # 200 tokens, half of them the answer, which an infinite cache would have had.
    assert cache.ideal_tokens == 10_000 + 100
    assert cache.read_tokens == 10_000
    assert cache.missed_tokens == 100
    assert cache.ideal_hit_rate == 10_100 / 20_200
    assert cache.hit_rate == 10_000 / 20_200
    # Missed tokens were written at 6.25 and could have been read at 0.50.
    assert cache.missed_usd == pytest.approx(100 * (6.25 - 0.50) / 1e6)


def test_an_expired_cache_is_missed_whole(tmp_path: Path) -> None:
    session = Session(tmp_path, "s")
    session.ask("a" * 40)
    session.answer("b" * 40, 0, uncached=0, read=0, write=10_000)
    session.ask("c" * 40)
    session.answer("d" * 40, 30, uncached=200, read=0, write=10_000)
    report = report_on(tmp_path)
    assert report.cache.missed_tokens == 10_100
    # Paid: 10,000 written at 6.25 and 200 uncached at 5, a mean of (62,500 + 1,000) / 10,200.
    paid = (10_000 * 6.25 + 200 * 5) / 10_200
    assert report.cache.missed_usd == pytest.approx(10_100 * (paid - 0.5) / 1e6)
    worst = report.cache.worst_calls[0]
    assert (worst.missed_tokens, worst.idle_s, worst.line) == (10_100, 1800.0, 4)


def test_realized_saving_is_reads_less_the_premium_for_writes(tmp_path: Path) -> None:
    session = Session(tmp_path, "s")
    session.ask("a")
    session.answer("b", 0, uncached=0, read=0, write=10_000)
    session.ask("c")
    session.answer("d", 1, uncached=0, read=10_000, write=200)
    savings = report_on(tmp_path).savings
    saved = 10_000 * (5 - 0.5) - 10_200 * (6.25 - 5)
    assert savings.ledger[0].realized_usd == pytest.approx(saved / 1e6)


def test_caching_that_costs_more_than_it_saves_is_negative(tmp_path: Path) -> None:
    session = Session(tmp_path, "s")
    session.ask("a")
    session.answer("b", 0, uncached=0, read=0, write=10_000)
    assert report_on(tmp_path).savings.realized_usd == pytest.approx(-10_000 * 1.25 / 1e6)


def test_a_rewind_reuses_what_was_before_it(tmp_path: Path) -> None:
    session = Session(tmp_path, "s")
    session.ask("a" * 40)
    first = session.answer("b" * 40, 0, uncached=0, read=0, write=10_000)
    session.ask("c" * 100)
    session.answer("d" * 40, 1, uncached=0, read=10_000, write=350)
    session.parent = first
    session.ask("e" * 60)
    session.answer("f" * 40, 2, uncached=0, read=10_000, write=250)
    report = report_on(tmp_path)
    assert report.prefix_tree.fork_points == 1
    fork = report.prefix_tree.top_forks[0]
    assert (fork.fan_out, fork.calls, fork.ends_with) == (2, 2, "text")
    assert [branch.line for branch in fork.branches] == [4, 6]
    # Growth is 350 tokens on 140 bytes and 250 on 100: 2.5 a byte; the answer's 40 are 100.
    assert fork.trunk_tokens == 10_100
    assert report.cache.ideal_tokens == 10_100 + 10_100


def test_sessions_that_merely_start_in_one_folder_share_nothing_for_sure(tmp_path: Path) -> None:
    for name in ("s", "t"):
        session = Session(tmp_path, name)
        session.ask(f"question of {name}")
        session.answer("b", 0, uncached=0, read=0, write=10_000)
    report = report_on(tmp_path)
    assert report.cache.ideal_tokens == 0
    assert report.prefix_tree.fork_points == 0
    assert report.prefix_tree.overlap_ratio == 0


def test_what_the_provider_read_is_never_called_impossible(tmp_path: Path) -> None:
    session = Session(tmp_path, "s")
    session.ask("a")
    session.answer("b", 0, uncached=10, read=8_000, write=2_000)
    cache = report_on(tmp_path).cache
    assert cache.ideal_tokens == cache.read_tokens == 8_000
    assert cache.provider_exceeds_calls == 1
    assert cache.missed_tokens == 0


def test_a_prompt_billed_smaller_than_what_it_extends_is_counted_as_shrunk(tmp_path: Path) -> None:
    session = Session(tmp_path, "s")
    session.ask("a" * 40)
    session.answer("b" * 40, 0, uncached=0, read=0, write=10_000)
    session.ask("c" * 40)
    session.answer("d" * 40, 1, uncached=6_000, read=0, write=0)
    cache = report_on(tmp_path).cache
    assert cache.shrunk_calls == 1
    assert cache.ideal_tokens <= 6_000


def test_calibration_finds_the_planted_ratio_and_unlogged_part(tmp_path: Path) -> None:
    session = Session(tmp_path, "s")
    content, unlogged = 0, 18_000
    for i in range(30):
        question, answer = "q" * (100 + 37 * i % 400), "a" * (50 + 53 * i % 300)
        session.ask(question)
        content += len(question)
        size = unlogged + content // 4
        session.answer(answer, i, uncached=size, read=0, write=0)
        content += len(answer)
    (fit,) = report_on(tmp_path).cache.calibrations
    assert fit.model == OPUS
    assert fit.tokens_per_byte == pytest.approx(0.25, rel=0.02)
    assert fit.unlogged_tokens == pytest.approx(18_000, abs=5)
    assert fit.relative_error < 0.02
    assert fit.pairs == 29


def chat(folder: Path, name: str, requests: list[dict[str, Any]]) -> None:
    with open(folder / f"{name}.jsonl", "w") as log:
        log.writelines(
            json.dumps({"timestamp": 1_760_000_000 + i} | request) + "\n"
            for i, request in enumerate(requests)
        )


def message(role: str, text: str) -> dict[str, str]:
    return {"role": role, "content": text}


def test_logs_without_usage_have_a_potential_but_nothing_missed(tmp_path: Path) -> None:
    system = message("system", "You answer briefly and kindly.")
    requests = [
        {"model": "gpt-5", "messages": [system, message("user", text)]}
        for text in ("What is up?", "Where to?")
    ]
    chat(tmp_path, "log", requests)
    report = report_on(tmp_path)
    shared = len(reference_ids("You answer briefly and kindly."))
    assert report.cache.hit_rate is None
    assert report.cache.reported_ideal_hit_rate is None
    assert report.cache.ideal_tokens == report.cache.unreported_ideal_tokens == shared
    assert report.cache.missed_tokens == 0
    assert report.cache.missed_usd is None
    row = report.savings.ledger[0]
    assert (row.realized_tokens, row.potential_tokens) == (None, shared)
    assert row.needs == "cache reads in the usage of 2 calls"


def test_tool_definitions_are_not_counted_where_nothing_was_billed(tmp_path: Path) -> None:
    tool = {"type": "function", "function": {"name": "f", "description": "does it"}}
    chat(
        tmp_path,
        "log",
        [{"model": "gpt-5", "tools": [tool], "messages": [message("user", "Do it now.")]}] * 2,
    )
    report = report_on(tmp_path)
    assert report.prefix_tree.flat_tokens == 2 * len(reference_ids("Do it now."))
    assert report.prefix_tree.overlap_ratio == 0.5


def test_billed_prompts_with_tools_go_by_the_bill(tmp_path: Path) -> None:
    tool = {"type": "function", "function": {"name": "f", "description": "x" * 2_000}}
    usage = {
        "prompt_tokens": 600,
        "completion_tokens": 5,
        "prompt_tokens_details": {"cached_tokens": 0},
    }
    response = {
        "object": "chat.completion",
        "choices": [{"message": message("assistant", "Done.")}],
        "usage": usage,
    }
    requests = [
        {
            "request": {
                "model": "gpt-5",
                "tools": [tool],
                "messages": [message("user", "Do it.")],
            },
            "response": response | {"id": f"chatcmpl-{i:029}"},
        }
        for i in range(2)
    ]
    chat(tmp_path, "log", requests)
    report = report_on(tmp_path)
    assert report.prefix_tree.flat_tokens == 1_200
    assert report.cache.ideal_tokens == 600
    assert report.cache.missed_tokens == 600
    assert report.cache.missed_usd == pytest.approx(600 * (1.25 - 0.125) / 1e6)


def test_an_unknown_model_is_unpriced_and_listed_never_free(tmp_path: Path) -> None:
    session = Session(tmp_path, "s")
    session.ask("a")
    session.answer("b", 0, uncached=10, read=0, write=0, model="nobody-knows-this-1")
    session.ask("c")
    session.answer("d", 0, uncached=1_000_000, read=0, write=0, output=0)
    totals = report_on(tmp_path).totals
    assert totals.unpriced_models == ("nobody-knows-this-1",)
    assert (totals.priced_calls, totals.unpriced_calls) == (1, 1)
    assert totals.cost_usd == pytest.approx(5.0)


def test_reads_without_an_input_count_never_make_a_ratio_above_one(tmp_path: Path) -> None:
    session = Session(tmp_path, "s")
    session.ask("a")
    usage = {"cache_read_input_tokens": 250, "output_tokens": 5}
    session.answer("b", 0, uncached=0, read=0, write=0, usage=usage)
    session.ask("c")
    session.answer("d", 1, uncached=100, read=0, write=0)
    report = report_on(tmp_path)
    assert report.totals.cache_read_tokens == 250
    assert report.cache.hit_rate == 0
    assert report.cache.cache_read_share == 0
    assert report.cache.ideal_hit_rate == 0

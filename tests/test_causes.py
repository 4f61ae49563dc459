"""Why tokens were paid again: one small log per cause, worked out by hand.

Prices in USD per million tokens: Claude Opus 4.5 5 in, 0.50 read, 6.25 write (10 for one hour);
Claude Sonnet 4.5 3 in, 0.30 read, 3.75 write; gpt-5 1.25 in, 0.125 read, writes at the input price.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from test_cache import OPUS, Session

from forkpoint.analysis.cache import ideal_reuse, measure_missed
from forkpoint.analysis.costs import price_scope
from forkpoint.analysis.ingest import ingest
from forkpoint.analysis.ingest_worker import Options
from forkpoint.analysis.policy import Levels
from forkpoint.analysis.prompts import load_prompts
from forkpoint.analysis.report import NO_FILTERS, build_report
from forkpoint.analysis.results import Report
from forkpoint.analysis.rules import load_rules
from forkpoint.analysis.scope import select_scope
from forkpoint.analysis.store import MEMORY, Store
from forkpoint.analysis.tokens import DEFAULT_ENCODING
from forkpoint.analysis.waterfall import Waterfall, measure_waterfall

SONNET = "claude-sonnet-4-5-20250929"
GPT = "gpt-5"
WRITTEN = 6.25 - 0.50
"""What reading a token that Opus wrote would have saved."""
WRITTEN_1H = 10.0 - 0.50
UNCACHED = 5.0 - 0.50
SONNET_WRITTEN = 3.75 - 0.30
SONNET_UNCACHED = 3.0 - 0.30
GPT_UNCACHED = 1.25 - 0.125

ANSWER = "answer not stored by the provider"
UNKNOWN = "evicted or unknown"

Row = tuple[str, str, int, int, float | None]
"""(cause, source, calls, tokens, USD per million tokens lost)."""


# --- What every log must fulfil ------------------------------------------------------------------


def report_on(folder: Path, rules: str | None = None) -> Report:
    """Ingest the logs in a folder and check all that holds for every report."""
    own = None
    if rules is not None:
        own = folder / "rules.toml"
        own.write_text(rules)
    with Store.open(MEMORY, encoding=DEFAULT_ENCODING) as store:
        ingest(store, [folder], Options(DEFAULT_ENCODING))
        report = build_report(store, [folder], rules=own)
    check_waterfall(report)
    return report


def check_waterfall(report: Report) -> None:
    """Levels and losses add up, causes explain every loss, and no ratio leaves [0, 1]."""
    cache = report.cache
    level, losses = 0, 0
    for step in cache.waterfall:
        if step.step in ("ideal", "policy", "realized"):
            assert step.tokens == level, step.step
            continue
        assert (step.tokens >= 0) == (step.step == "input"), step
        level += step.tokens
        if step.step not in ("input", "never sent before", "not reported"):
            losses -= step.tokens
    if cache.waterfall:
        assert cache.waterfall[0].tokens == cache.input_tokens
        assert level == cache.read_tokens
    assert sum(row.tokens for row in cache.misses_by_cause) == losses
    assert all(row.tokens > 0 and row.calls > 0 for row in cache.misses_by_cause)
    ratios = (
        cache.hit_rate,
        cache.cache_read_share,
        cache.ideal_hit_rate,
        cache.policy_hit_rate,
        cache.unknown_share,
        cache.reported_ideal_hit_rate,
    )
    assert all(ratio is None or 0 <= ratio <= 1 for ratio in ratios), ratios


def check_causes(report: Report, *expected: Row) -> None:
    """The rows of `misses_by_cause` are exactly these, whatever their order."""
    found = sorted(report.cache.misses_by_cause, key=lambda row: (row.cause, row.source))
    rows = [(row.cause, row.source, row.calls, row.tokens) for row in found]
    assert rows == sorted(row[:4] for row in expected)
    for row, (*_, tokens, rate) in zip(found, sorted(expected), strict=True):
        assert row.usd == (None if rate is None else pytest.approx(tokens * rate / 1e6))
    for row in report.cache.worst_calls:
        assert row.missed_tokens > 0


def tokens_at(report: Report, step: str) -> int:
    return next(each.tokens for each in report.cache.waterfall if each.step == step)


# --- Logs ----------------------------------------------------------------------------------------


def usage(
    uncached: int = 0, read: int = 0, write: int = 0, hour: int = 0, output: int = 10
) -> dict[str, Any]:
    """Anthropic's usage; `hour` is the part of `write` that lives an hour."""
    return {
        "input_tokens": uncached,
        "cache_read_input_tokens": read,
        "cache_creation_input_tokens": write,
        "cache_creation": {
            "ephemeral_5m_input_tokens": write - hour,
            "ephemeral_1h_input_tokens": hour,
        },
        "output_tokens": output,
    }


def begin(folder: Path, name: str = "s", minute: float = 0, **message: Any) -> Session:
    """A Claude Code session whose first call writes 10,000 tokens.

    Questions and answers of 40 bytes each follow in these tests, 100 tokens apiece.
    """
    session = Session(folder, name)
    session.ask("a" * 40, minute)
    session.answer("b" * 40, minute, uncached=0, read=0, write=10_000, **message)
    return session


def go_on(session: Session, minute: float, letters: str, **counts: Any) -> None:
    session.ask(letters[0] * 40, minute)
    session.answer(letters[1] * 40, minute, **({"uncached": 0} | counts))


def words(word: str, n: int) -> str:
    """A text of exactly `n` tokens."""
    return f" {word}" * n


def marked(text: str, **more: Any) -> dict[str, Any]:
    return {"type": "text", "text": text, "cache_control": {"type": "ephemeral"}, **more}


def block(text: str) -> dict[str, str]:
    return {"type": "text", "text": text}


def user(*content: Any) -> dict[str, Any]:
    return {"role": "user", "content": list(content)}


def assistant(text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": [block(text)]}


class Messages:
    """Writes Anthropic requests and responses, whole prompts with tools and system."""

    def __init__(self, folder: Path, name: str = "messages") -> None:
        self.path = folder / f"{name}.jsonl"
        self.calls = 0

    def call(
        self,
        second: float,
        *messages: dict[str, Any],
        counts: dict[str, Any],
        answer: str = " fine",
        session: str = "s",
        model: str = OPUS,
        reason: str | None = None,
        **request: Any,
    ) -> None:
        response = {
            "id": f"msg_{self.path.stem}_{self.calls}",
            "type": "message",
            "role": "assistant",
            "model": model,
            "content": [block(answer)],
            "usage": counts,
        }
        if reason is not None:
            response["diagnostics"] = {"cache_miss_reason": {"type": reason}}
        record = {
            "timestamp": 1_790_000_000 + second,
            "session_id": session,
            "request": {"model": model, "max_tokens": 99, "messages": messages, **request},
            "response": response,
        }
        with open(self.path, "a") as log:
            log.write(json.dumps(record) + "\n")
        self.calls += 1


def chat(
    folder: Path,
    requests: Sequence[tuple[float, list[dict[str, Any]], int, int, str]],
    *,
    model: str = GPT,
    **record: Any,
) -> None:
    """OpenAI chat completions: (second, messages, input tokens, cached tokens, answer)."""
    with open(folder / "chat.jsonl", "w") as log:
        for i, (second, messages, sent, cached, answer) in enumerate(requests):
            response = {
                "id": f"chatcmpl-{i:029}",
                "object": "chat.completion",
                "model": model,
                "choices": [{"message": {"role": "assistant", "content": answer}}],
                "usage": {
                    "prompt_tokens": sent,
                    "completion_tokens": 10,
                    "prompt_tokens_details": {"cached_tokens": cached},
                },
            }
            line = {
                "timestamp": 1_790_000_000 + second,
                "session_id": "s",
                "request": {"model": model, "messages": messages},
                "response": response,
            }
            log.write(json.dumps(line | record) + "\n")


def says(role: str, text: str) -> dict[str, Any]:
    return {"role": role, "content": text}


def codex(folder: Path, calls: Sequence[tuple[float, int, int]], models: Sequence[str] = ()) -> None:
    """A Codex rollout of token counts alone: (second, input tokens, cached tokens) per call, each
    with 50 tokens of output; one model per call, or gpt-5."""
    thread = "019e0000-0000-7000-8000-00000000000a"

    def at(second: float) -> str:
        whole = round(second)
        return f"2026-10-01T{whole // 3600:02}:{whole // 60 % 60:02}:{whole % 60:02}.000Z"

    meta = {"id": thread, "cwd": "/x", "cli_version": "0.126.0", "model_provider": "openai"}
    rows: list[dict[str, Any]] = [{"timestamp": at(0), "type": "session_meta", "payload": meta}]
    total = dict.fromkeys(("input_tokens", "cached_input_tokens", "output_tokens"), 0)
    for i, (second, sent, cached) in enumerate(calls):
        name = models[i] if models else GPT
        rows.append({"timestamp": at(second), "type": "turn_context", "payload": {"model": name}})
        last = {"input_tokens": sent, "cached_input_tokens": cached, "output_tokens": 50}
        total = {key: total[key] + last[key] for key in total}
        info = {"total_token_usage": total, "last_token_usage": last}
        payload = {"type": "token_count", "info": info}
        rows.append({"timestamp": at(second), "type": "event_msg", "payload": payload})
    path = folder / f"rollout-2026-10-01T00-00-00-{thread}.jsonl"
    path.write_text("".join(json.dumps(each) + "\n" for each in rows))


# --- Nothing lost but the answer -----------------------------------------------------------------


def test_a_warm_conversation_loses_only_its_answers(tmp_path: Path) -> None:
    session = begin(tmp_path)
    go_on(session, 1, "cd", read=10_000, write=200)
    go_on(session, 2, "ef", read=10_200, write=200)
    report = report_on(tmp_path)
    check_causes(report, (ANSWER, "inferred", 2, 100 + 100, WRITTEN))
    sent = 10_000 + 10_200 + 10_400
    assert tokens_at(report, "input") == sent
    assert tokens_at(report, "never sent before") == -(10_000 + 100 + 100)
    assert tokens_at(report, "ideal") == 10_100 + 10_300
    assert tokens_at(report, "policy") == tokens_at(report, "realized") == 10_000 + 10_200
    assert report.cache.policy_hit_rate == (10_000 + 10_200) / sent
    assert report.cache.unknown_share == 0


def test_a_warm_conversation_of_token_counts_loses_only_its_answers(tmp_path: Path) -> None:
    # 50 tokens of answer come back each time; 1,024 = 8 * 128 and 1,280 = 10 * 128 are whole units.
    codex(tmp_path, [(0, 1_024, 0), (10, 1_280, 1_024), (20, 1_500, 1_280)])
    report = report_on(tmp_path)
    assert report.cache.evidence == {"usage": 3}
    check_causes(report, (ANSWER, "inferred", 2, 50 + 50, GPT_UNCACHED))
    assert tokens_at(report, "policy") == 1_024 + 1_280


def test_whole_prompts_lose_the_answer_too(tmp_path: Path) -> None:
    log = Messages(tmp_path)
    first, answer, second = words("alpha", 5_000), words("beta", 300), words("gamma", 200)
    log.call(0, user(marked(first)), counts=usage(write=5_000), answer=answer)
    turns = (user(block(first)), assistant(answer), user(marked(second)))
    log.call(9, *turns, counts=usage(read=5_000, write=500))
    report = report_on(tmp_path)
    assert report.cache.evidence == {"text and usage": 2}
    check_causes(report, (ANSWER, "inferred", 1, 300, WRITTEN))


# --- Lifetime ------------------------------------------------------------------------------------


def test_a_cache_unused_for_five_minutes_and_a_second_has_expired(tmp_path: Path) -> None:
    session = begin(tmp_path)
    go_on(session, 5 + 1 / 60, "cd", read=0, write=10_200)
    report = report_on(tmp_path)
    check_causes(
        report,
        ("expired", "inferred", 1, 10_000, WRITTEN),
        (ANSWER, "inferred", 1, 100, WRITTEN),
    )
    assert tokens_at(report, "policy") == 0


def test_a_cache_is_alive_at_four_minutes_and_59_seconds(tmp_path: Path) -> None:
    session = begin(tmp_path)
    go_on(session, 4 + 59 / 60, "cd", read=0, write=10_200)
    report = report_on(tmp_path)
    check_causes(
        report, (UNKNOWN, "inferred", 1, 10_000, WRITTEN), (ANSWER, "inferred", 1, 100, WRITTEN)
    )
    assert tokens_at(report, "policy") == 10_000
    assert report.cache.unknown_share == 10_000 / 10_100


def test_use_in_between_keeps_a_cache_alive(tmp_path: Path) -> None:
    session = begin(tmp_path)
    first = session.parent
    go_on(session, 4, "cd", read=10_000, write=200)
    session.parent = first
    # 8 minutes after it was written, 4 after it was read.
    go_on(session, 8, "ef", read=0, write=10_200)
    report = report_on(tmp_path)
    # The rewind shares its first prompt and the answer to it with what was sent at minute 4, so
    # that answer had been written by then.
    check_causes(
        report,
        ("messages changed", "inferred", 1, 10_200 - 10_100, WRITTEN),
        (ANSWER, "inferred", 1, 100, WRITTEN),
        (UNKNOWN, "inferred", 1, 10_100, WRITTEN),
    )


def test_one_hour_writes_live_an_hour(tmp_path: Path) -> None:
    session = begin(tmp_path, usage=usage(write=10_000, hour=10_000))
    session.ask("c" * 40, 59)
    session.answer(
        "d" * 40, 59, uncached=0, read=0, write=0, usage=usage(read=10_000, write=200, hour=200)
    )
    session.ask("e" * 40, 120)
    session.answer(
        "f" * 40, 120, uncached=0, read=0, write=0, usage=usage(write=10_400, hour=10_400)
    )
    check_causes(
        report_on(tmp_path),
        ("expired", "inferred", 1, 10_200, WRITTEN_1H),
        (ANSWER, "inferred", 2, 100 + 100, WRITTEN_1H),
    )


def test_a_five_minute_call_does_not_shorten_what_an_hour_call_wrote(tmp_path: Path) -> None:
    log = Messages(tmp_path)
    trunk, branch = words("alpha", 5_000), words("beta", 1_000)
    log.call(0, user(marked(trunk)), counts=usage(write=5_000, hour=5_000), session="main")
    turns = user(block(trunk), marked(branch))
    log.call(60, turns, counts=usage(read=5_000, write=1_000), session="helper")
    # Half an hour on: the helper's entry is gone, the one of the main session is not.
    log.call(1_800, turns, counts=usage(write=6_000), session="another")
    check_causes(
        report_on(tmp_path),
        ("expired", "inferred", 1, 1_000, WRITTEN),
        (UNKNOWN, "inferred", 1, 5_000, WRITTEN),
    )


def test_token_counts_alone_expire_too(tmp_path: Path) -> None:
    codex(tmp_path, [(0, 2_048, 0), (301, 2_304, 0)])
    check_causes(
        report_on(tmp_path),
        ("expired", "inferred", 1, 2_048, GPT_UNCACHED),
        (ANSWER, "inferred", 1, 50, GPT_UNCACHED),
    )


def test_token_counts_alone_are_alive_before(tmp_path: Path) -> None:
    codex(tmp_path, [(0, 2_048, 0), (299, 2_304, 0)])
    check_causes(
        report_on(tmp_path),
        (UNKNOWN, "inferred", 1, 2_048, GPT_UNCACHED),
        (ANSWER, "inferred", 1, 50, GPT_UNCACHED),
    )


# --- Another model, another beginning ------------------------------------------------------------


def test_another_model_reads_nothing(tmp_path: Path) -> None:
    session = begin(tmp_path)
    go_on(session, 1, "cd", read=0, write=10_200, model=SONNET)
    # The first prompt in Sonnet's tokens is what Opus was billed for it.
    check_causes(
        report_on(tmp_path),
        ("model switch", "inferred", 1, 10_000, SONNET_WRITTEN),
        (ANSWER, "inferred", 1, 100, SONNET_WRITTEN),
    )


def test_another_model_reads_nothing_of_token_counts(tmp_path: Path) -> None:
    codex(tmp_path, [(0, 2_048, 0), (10, 2_304, 0)], [GPT, "gpt-5-mini"])
    # gpt-5-mini: 0.25 in, 0.025 read.
    rate = 0.25 - 0.025
    check_causes(
        report_on(tmp_path),
        ("model switch", "inferred", 1, 2_048, rate),
        (ANSWER, "inferred", 1, 50, rate),
    )


def tool(name: str) -> dict[str, Any]:
    return {"name": name, "description": "d" * 400, "input_schema": {"type": "object"}}


@pytest.mark.parametrize(
    "later", [["search", "read"], ["read"]], ids=["another tool", "one tool less"]
)
def test_changed_tools_change_the_whole_prompt(tmp_path: Path, later: list[str]) -> None:
    log = Messages(tmp_path)
    turns = user(marked(words("alpha", 5_000)))
    log.call(0, turns, counts=usage(write=9_000), tools=[tool("write"), tool("read")])
    log.call(9, turns, counts=usage(write=8_000), tools=[tool(name) for name in later])
    check_causes(report_on(tmp_path), ("tools changed", "inferred", 1, 8_000, WRITTEN))


def test_reordered_tools_change_the_whole_prompt(tmp_path: Path) -> None:
    log = Messages(tmp_path)
    turns = user(marked(words("alpha", 5_000)))
    log.call(0, turns, counts=usage(write=9_000), tools=[tool("write"), tool("read")])
    log.call(9, turns, counts=usage(write=9_000), tools=[tool("read"), tool("write")])
    report = report_on(tmp_path)
    check_causes(report, ("tools changed", "inferred", 1, 9_000, WRITTEN))
    assert tokens_at(report, "beginning changed") == -9_000
    assert tokens_at(report, "ideal") == 0


def test_a_changed_system_prompt_changes_all_that_follows(tmp_path: Path) -> None:
    log = Messages(tmp_path)
    rules, turns = words("alpha", 5_000), user(marked(words("beta", 2_000)))
    log.call(0, turns, counts=usage(write=7_000), system=[block(rules), block(" It is ten.")[:0] or block(" ten")]) if False else None
    log.call(0, turns, counts=usage(write=7_001), system=[block(rules), block(" ten")])
    log.call(9, turns, counts=usage(read=0, write=7_001), system=[block(rules), block(" noon")])
    check_causes(
        report_on(tmp_path),
        ("system prompt changed", "inferred", 1, 7_001 - 5_000, WRITTEN),
        (UNKNOWN, "inferred", 1, 5_000, WRITTEN),
    )


def test_an_edited_message_changes_what_follows(tmp_path: Path) -> None:
    session = begin(tmp_path)
    first = session.parent
    go_on(session, 1, "cd", read=10_000, write=200)
    session.parent = first
    go_on(session, 2, "ef", read=10_000, write=200)
    # The last prompt could have been as long as the one before it, 10,200; it shares 10,100 with it.
    check_causes(
        report_on(tmp_path),
        ("messages changed", "inferred", 1, 100, WRITTEN),
        (ANSWER, "inferred", 1, 100, WRITTEN),
        ("changed where the log shows nothing", "inferred", 1, 100, WRITTEN)
        if False
        else ("previous write not readable yet", "inferred", 1, 100, WRITTEN),
    )

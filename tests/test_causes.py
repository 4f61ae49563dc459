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
from waterfall_levels import check_levels

from forkpoint.analysis.cache import ideal_reuse, measure_missed
from forkpoint.analysis.cause_names import PROVIDER_WORDS
from forkpoint.analysis.costs import price_scope
from forkpoint.analysis.ingest import ingest
from forkpoint.analysis.ingest_worker import Options
from forkpoint.analysis.prompts import load_prompts
from forkpoint.analysis.report import NO_FILTERS, build_report
from forkpoint.analysis.results import Report
from forkpoint.analysis.rules import load_rules
from forkpoint.analysis.scope import select_scope
from forkpoint.analysis.store import MEMORY, Store
from forkpoint.analysis.tokens import DEFAULT_ENCODING
from forkpoint.analysis.waterfall import measure_waterfall

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


def codex(
    folder: Path, calls: Sequence[tuple[float, int, int]], models: Sequence[str] = ()
) -> None:
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
    # The answer in front of the rewind was sent at minute 4, but no prompt ended behind it.
    check_causes(
        report,
        (ANSWER, "inferred", 1, 100, WRITTEN),
        ("sent after the last breakpoint", "inferred", 1, 100, WRITTEN),
        (UNKNOWN, "inferred", 1, 10_000, WRITTEN),
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
    log.call(0, turns, counts=usage(write=7_001), system=[block(rules), block(" ten")])
    log.call(9, turns, counts=usage(read=0, write=7_001), system=[block(rules), block(" noon")])
    check_causes(
        report_on(tmp_path),
        ("system prompt changed", "inferred", 1, 7_001 - 5_000, WRITTEN),
        (UNKNOWN, "inferred", 1, 5_000, WRITTEN),
    )


def test_a_rewind_to_the_end_of_a_prompt_changes_nothing(tmp_path: Path) -> None:
    session = begin(tmp_path)
    first = session.parent
    go_on(session, 1, "cd", read=10_000, write=200)
    session.parent = first
    go_on(session, 2, "ef", read=10_000, write=200)
    # It shares the first answer with the prompt before, but there is no entry that ends there.
    check_causes(
        report_on(tmp_path),
        (ANSWER, "inferred", 1, 100, WRITTEN),
        ("sent after the last breakpoint", "inferred", 1, 100, WRITTEN),
    )


def test_an_edited_message_changes_what_follows(tmp_path: Path) -> None:
    log = Messages(tmp_path)
    rules, question = words("alpha", 5_000), words("beta", 1_000)
    system = [marked(rules)]
    log.call(0, user(marked(question)), counts=usage(write=6_000), system=system)
    edited = words("gamma", 1_500)
    log.call(9, user(marked(edited)), counts=usage(read=5_000, write=1_500), system=system)
    # A prompt of 6,500 tokens after one of 6,000: at most those could have been the same.
    check_causes(report_on(tmp_path), ("messages changed", "inferred", 1, 6_000 - 5_000, WRITTEN))


def test_a_compaction_gives_up_what_was_cached(tmp_path: Path) -> None:
    session = begin(tmp_path)
    session.parent = None
    session.ask("s" * 90, 1)
    session.answer("t" * 40, 1, uncached=0, read=2_000, write=1_000)
    # What the new prompt shares is not logged; the provider found 2,000 of its 3,000 tokens.
    check_causes(report_on(tmp_path), ("compaction", "inferred", 1, 1_000, WRITTEN))


def test_a_beginning_that_changed_without_a_sign_is_said_to_be_unlogged(tmp_path: Path) -> None:
    session = begin(tmp_path)
    session.parent = None
    session.ask("s" * 90, 1)
    session.answer("t" * 40, 1, uncached=0, read=2_000, write=7_000)
    check_causes(
        report_on(tmp_path),
        ("beginning changed (not logged)", "inferred", 1, 9_000 - 2_000, WRITTEN),
    )


def test_a_shorter_prompt_of_token_counts_is_not_held_against_the_cache(tmp_path: Path) -> None:
    codex(tmp_path, [(0, 20_480, 0), (10, 4_096, 1_024), (20, 4_224, 4_096)])
    check_causes(report_on(tmp_path), (ANSWER, "inferred", 1, 50, GPT_UNCACHED))


# --- Minimum and whole units ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "size", "rate"),
    [(OPUS, 4_095, UNCACHED), (SONNET, 1_023, SONNET_UNCACHED)],
    ids=["Opus 4.5: 4,096", "Sonnet 4.5: 1,024"],
)
def test_a_prompt_below_its_models_minimum_is_not_cached(
    tmp_path: Path, model: str, size: int, rate: float
) -> None:
    log = Messages(tmp_path)
    first, second = words("alpha", size), words("beta", 77)
    log.call(0, user(marked(first)), counts=usage(size), model=model)
    log.call(9, user(block(first), marked(second)), counts=usage(size + 77), model=model)
    check_causes(report_on(tmp_path), ("below the minimum", "inferred", 1, size, rate))


@pytest.mark.parametrize(
    ("model", "size", "rate"), [(OPUS, 4_096, WRITTEN), (SONNET, 1_024, SONNET_WRITTEN)]
)
def test_a_prompt_at_its_models_minimum_is_cached(
    tmp_path: Path, model: str, size: int, rate: float
) -> None:
    log = Messages(tmp_path)
    first, second = words("alpha", size), words("beta", 77)
    log.call(0, user(marked(first)), counts=usage(write=size), model=model)
    log.call(9, user(block(first), marked(second)), counts=usage(write=size + 77), model=model)
    check_causes(report_on(tmp_path), (UNKNOWN, "inferred", 1, size, rate))


def test_token_counts_below_the_minimum_are_not_cached(tmp_path: Path) -> None:
    codex(tmp_path, [(0, 1_000, 0), (10, 1_100, 0)])
    check_causes(
        report_on(tmp_path),
        ("below the minimum", "inferred", 1, 1_000, GPT_UNCACHED),
        (ANSWER, "inferred", 1, 50, GPT_UNCACHED),
    )


def test_openai_reads_whole_units_of_128_tokens(tmp_path: Path) -> None:
    first, answer, second = words("alpha", 3_000), words("beta", 10), words("gamma", 90)
    turns = [says("user", first), says("assistant", answer), says("user", second)]
    # 3,000 = 23 * 128 + 56
    chat(tmp_path, [(0, turns[:1], 3_000, 0, answer), (9, turns, 3_100, 23 * 128, " ok")])
    report = report_on(tmp_path)
    check_causes(
        report,
        ("rounded down to whole units", "inferred", 1, 56, GPT_UNCACHED),
        (ANSWER, "inferred", 1, 10, GPT_UNCACHED),
    )
    assert tokens_at(report, "below the minimum or rounded down") == -56


def test_token_counts_are_read_in_whole_units_too(tmp_path: Path) -> None:
    codex(tmp_path, [(0, 3_000, 0), (10, 3_100, 23 * 128)])
    check_causes(
        report_on(tmp_path),
        ("rounded down to whole units", "inferred", 1, 56, GPT_UNCACHED),
        (ANSWER, "inferred", 1, 50, GPT_UNCACHED),
    )


def test_openai_matches_within_a_message(tmp_path: Path) -> None:
    head = words("alpha", 2_000)
    prompts = [[says("user", head + words(tail, 300))] for tail in ("beta", "gamma")]
    # 2,000 = 15 * 128 + 80. A cold start for the second would be nobody's fault but the cache's.
    chat(tmp_path, [(0, prompts[0], 2_300, 0, " a"), (9, prompts[1], 2_300, 15 * 128, " b")])
    check_causes(
        report_on(tmp_path),
        ("rounded down to whole units", "inferred", 1, 80, GPT_UNCACHED),
        ("messages changed", "inferred", 1, 2_300 - 2_000, GPT_UNCACHED),
    )


def test_anthropic_does_not_match_within_a_block(tmp_path: Path) -> None:
    log = Messages(tmp_path)
    head = words("alpha", 5_000)
    for second, tail in ((0, "beta"), (9, "gamma")):
        turns = user(marked(head + words(tail, 300)))
        log.call(second, turns, counts=usage(write=5_300), session=tail)
    check_causes(
        report_on(tmp_path), ("rounded down to whole units", "inferred", 1, 5_000, WRITTEN)
    )


# --- At the same time ----------------------------------------------------------------------------


def test_of_two_prompts_sent_at_once_both_pay_and_a_third_reads(tmp_path: Path) -> None:
    log = Messages(tmp_path)
    turns = user(marked(words("alpha", 5_000)))
    log.call(0, turns, counts=usage(write=5_000), session="one")
    log.call(0.4, turns, counts=usage(write=5_000), session="two")
    log.call(10, turns, counts=usage(read=5_000), session="three")
    report = report_on(tmp_path)
    check_causes(report, ("concurrent fan-out", "inferred", 1, 5_000, WRITTEN))
    assert report.cache.policy_hit_rate == 5_000 / 15_000


def test_a_prompt_sent_after_the_first_answer_began_is_not_concurrent(tmp_path: Path) -> None:
    log = Messages(tmp_path)
    turns = user(marked(words("alpha", 5_000)))
    log.call(0, turns, counts=usage(write=5_000), session="one")
    log.call(1, turns, counts=usage(write=5_000), session="two")
    check_causes(report_on(tmp_path), (UNKNOWN, "inferred", 1, 5_000, WRITTEN))


def test_what_was_ready_earlier_still_goes_by_whole_units(tmp_path: Path) -> None:
    trunk, branch = says("user", words("alpha", 1_500)), says("user", words("beta", 1_500))
    chat(
        tmp_path,
        [
            (0, [trunk], 1_500, 0, " a"),
            (9, [trunk, branch], 3_000, 11 * 128, " b"),
            (9.5, [trunk, branch], 3_000, 11 * 128, " c"),
        ],
    )
    # 1,500 = 11 * 128 + 92 and 3,000 = 23 * 128 + 56: of the twins the second could read no more.
    check_causes(
        report_on(tmp_path),
        ("rounded down to whole units", "inferred", 2, 92 + 56, GPT_UNCACHED),
        ("concurrent fan-out", "inferred", 1, (23 - 11) * 128, GPT_UNCACHED),
    )


def test_a_call_may_come_too_soon_for_the_write_before_it(tmp_path: Path) -> None:
    session = begin(tmp_path)
    go_on(session, 20 / 60, "cd", read=10_000, write=200)
    go_on(session, 40 / 60, "ef", read=10_000, write=400)
    check_causes(
        report_on(tmp_path),
        (ANSWER, "inferred", 2, 100 + 100, WRITTEN),
        ("previous write not readable yet", "inferred", 1, 200, WRITTEN),
    )


def test_a_call_of_token_counts_may_come_too_soon_too(tmp_path: Path) -> None:
    codex(tmp_path, [(0, 1_024, 0), (10, 1_280, 1_024), (20, 1_500, 1_024)])
    check_causes(
        report_on(tmp_path),
        (ANSWER, "inferred", 2, 50 + 50, GPT_UNCACHED),
        ("previous write not readable yet", "inferred", 1, 256, GPT_UNCACHED),
    )


def test_a_part_that_was_read_points_to_a_change_that_is_not_logged(tmp_path: Path) -> None:
    session = begin(tmp_path)
    go_on(session, 1, "cd", read=6_000, write=4_200)
    check_causes(
        report_on(tmp_path),
        (ANSWER, "inferred", 1, 100, WRITTEN),
        ("changed where the log shows nothing", "inferred", 1, 4_000, WRITTEN),
    )


# --- Breakpoints ---------------------------------------------------------------------------------


def test_a_request_without_a_breakpoint_reads_nothing(tmp_path: Path) -> None:
    log = Messages(tmp_path)
    first = words("alpha", 5_000)
    log.call(0, user(marked(first)), counts=usage(write=5_000))
    log.call(9, user(block(first), block(words("beta", 100))), counts=usage(5_100))
    report = report_on(tmp_path)
    check_causes(report, ("no breakpoint", "inferred", 1, 5_000, UNCACHED))
    assert tokens_at(report, "no breakpoint in reach") == -5_000


def test_a_request_without_a_breakpoint_writes_nothing_for_the_next(tmp_path: Path) -> None:
    log = Messages(tmp_path)
    first = words("alpha", 5_000)
    log.call(0, user(block(first)), counts=usage(5_000))
    log.call(9, user(block(first), marked(words("beta", 100))), counts=usage(write=5_100))
    check_causes(report_on(tmp_path), ("no breakpoint", "inferred", 1, 5_000, WRITTEN))


def test_automatic_caching_is_a_breakpoint(tmp_path: Path) -> None:
    log = Messages(tmp_path)
    first, auto = words("alpha", 5_000), {"type": "ephemeral"}
    log.call(0, user(block(first)), counts=usage(write=5_000), cache_control=auto)
    turns = user(block(first), block(words("beta", 100)))
    log.call(9, turns, counts=usage(5_100), cache_control=auto)
    check_causes(report_on(tmp_path), (UNKNOWN, "inferred", 1, 5_000, UNCACHED))


def test_marks_that_the_logger_left_out_are_not_taken_for_none(tmp_path: Path) -> None:
    log = Messages(tmp_path)
    first = words("alpha", 5_000)
    log.call(0, user(block(first)), counts=usage(write=5_000))
    turns = user(block(first), block(words("beta", 100)))
    log.call(9, turns, counts=usage(write=5_100))
    check_causes(report_on(tmp_path), (UNKNOWN, "inferred", 1, 5_000, WRITTEN))


@pytest.mark.parametrize(
    ("blocks", "marks", "cause"),
    [
        (20, 1, UNKNOWN),
        (21, 1, "beyond the lookback"),
        (40, 2, UNKNOWN),
        (41, 2, "beyond the lookback"),
    ],
)
def test_a_breakpoint_looks_back_over_twenty_blocks(
    tmp_path: Path, blocks: int, marks: int, cause: str
) -> None:
    log = Messages(tmp_path)
    first = words("alpha", 5_000)
    log.call(0, user(marked(first)), counts=usage(write=5_000))
    new = [marked(" beta") if i < marks else block(" beta") for i in range(blocks)]
    log.call(9, user(block(first), *reversed(new)), counts=usage(write=5_000 + blocks))
    check_causes(report_on(tmp_path), (cause, "inferred", 1, 5_000, WRITTEN))


def test_without_a_request_four_breakpoints_are_assumed(tmp_path: Path) -> None:
    session = begin(tmp_path)
    for _ in range(81):
        session.ask("c")
    session.answer("d", 1, uncached=0, read=0, write=10_121)
    # 121 new tokens are the answer's 40 bytes and 81 questions of one byte.
    check_causes(
        report_on(tmp_path),
        ("beyond the lookback", "inferred", 1, 10_000, WRITTEN),
        (ANSWER, "inferred", 1, 40, WRITTEN),
    )


def test_what_stood_after_the_last_breakpoint_was_not_stored(tmp_path: Path) -> None:
    log = Messages(tmp_path)
    system, first = [marked(words("alpha", 5_000))], words("beta", 2_000)
    log.call(0, user(block(first)), counts=usage(2_000, write=5_000), system=system)
    turns = user(block(first), block(words("gamma", 100)))
    log.call(9, turns, counts=usage(2_100, read=5_000), system=system)
    check_causes(
        report_on(tmp_path),
        ("sent after the last breakpoint", "inferred", 1, 2_000, UNCACHED),
    )


def test_breakpoints_are_counted_wherever_a_request_may_set_them(tmp_path: Path) -> None:
    log = Messages(tmp_path)
    mark = {"cache_control": {"type": "ephemeral", "ttl": "1h"}}
    picture = {"type": "image", "source": {"type": "base64", "data": "aGk="}} | mark
    result = {"type": "tool_result", "tool_use_id": "t", "content": [block("ok"), picture]}
    speaks_of_it = {"type": "object", "properties": {"cache_control": {"type": "string"}}}
    nothing = user(block("hi"))
    log.call(0, nothing, counts=usage(9), tools=[tool("a"), tool("b") | mark])
    log.call(1, nothing, counts=usage(9), system=[block("x"), marked("y")])
    log.call(2, user(marked("q"), result | mark), counts=usage(9), cache_control=mark)
    log.call(3, nothing, counts=usage(9), tools=[tool("c") | {"input_schema": speaks_of_it}])
    log.call(4, user(block('about "cache_control"')), counts=usage(9), cache_control=None)
    log.call(5, nothing, counts=usage(read=9))
    with open(log.path, "a") as file:
        file.write(json.dumps({"type": "message", "id": "msg_x", "usage": usage(9)}) + "\n")
    with Store.open(MEMORY, encoding=DEFAULT_ENCODING) as store:
        ingest(store, [tmp_path], Options(DEFAULT_ENCODING))
        found = store.rows("SELECT breakpoints FROM calls ORDER BY line")
    assert [number for (number,) in found] == [1, 1, 4, 0, 0, None, None]


def test_breakpoints_in_the_openai_protocol_are_counted_too(tmp_path: Path) -> None:
    part = {"type": "text", "text": "hi", "cache_control": {"type": "ephemeral"}}
    function = {"type": "function", "function": {"name": "f", "prompt_cache_breakpoint": True}}
    request = {"model": "m", "messages": [{"role": "user", "content": [part, part]}]}
    lines = [
        request,
        request | {"tools": [function]},
        {"model": "m", "messages": [says("user", "")]},
    ]
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    with Store.open(MEMORY, encoding=DEFAULT_ENCODING) as store:
        ingest(store, [tmp_path], Options(DEFAULT_ENCODING))
        found = store.rows("SELECT breakpoints FROM calls ORDER BY line")
    assert [number for (number,) in found] == [2, 3, 0]


# --- What the provider says ----------------------------------------------------------------------


def test_the_providers_reason_wins_over_an_inferred_one(tmp_path: Path) -> None:
    session = begin(tmp_path)
    reason = {"cache_miss_reason": {"type": "tools_changed"}}
    # It had expired, too.
    go_on(session, 30, "cd", read=0, write=10_200, diagnostics=reason)
    report = report_on(tmp_path)
    check_causes(report, ("tools changed", "provider", 1, 10_100, WRITTEN))
    assert report.cache.worst_calls[0].miss_reason == "tools_changed"


def test_the_providers_reason_covers_a_beginning_that_changed(tmp_path: Path) -> None:
    log = Messages(tmp_path)
    turns = user(marked(words("alpha", 5_000)))
    log.call(0, turns, counts=usage(write=9_000), tools=[tool("write")])
    log.call(9, turns, counts=usage(write=9_000), tools=[tool("read")], reason="tools_changed")
    check_causes(report_on(tmp_path), ("tools changed", "provider", 1, 9_000, WRITTEN))


@pytest.mark.parametrize("reason", ["unavailable", "a reason of next year"])
def test_a_reason_that_says_nothing_leaves_the_inferred_one(tmp_path: Path, reason: str) -> None:
    session = begin(tmp_path)
    said = {"cache_miss_reason": {"type": reason}}
    go_on(session, 30, "cd", read=0, write=10_200, diagnostics=said)
    check_causes(
        report_on(tmp_path),
        ("expired", "inferred", 1, 10_000, WRITTEN),
        (ANSWER, "inferred", 1, 100, WRITTEN),
    )


def test_openai_states_its_reasons_too(tmp_path: Path) -> None:
    text = words("alpha", 2_048)
    with open(tmp_path / "responses.jsonl", "w") as log:
        for i, said in enumerate((None, {"type": "miss", "reason": "prompt_cache_key_changed"})):
            details = {"cached_tokens": 0}
            counts = {"input_tokens": 2_048, "output_tokens": 1, "input_tokens_details": details}
            response = {
                "id": f"resp_{i:030}",
                "object": "response",
                "model": GPT,
                "output": [],
                "usage": counts,
                "prompt_cache_diagnostics": said,
            }
            request = {"model": GPT, "input": text}
            record = {"timestamp": 1_790_000_000 + 9 * i, "session_id": "s"}
            log.write(json.dumps(record | {"request": request, "response": response}) + "\n")
    check_causes(report_on(tmp_path), ("cache key changed", "provider", 1, 2_048, GPT_UNCACHED))


# --- Other sessions, other providers -------------------------------------------------------------


def test_a_resumed_session_goes_on_from_the_one_it_copies(tmp_path: Path) -> None:
    first = begin(tmp_path, "s")
    history = [json.loads(line) for line in first.path.read_text().splitlines()]
    second = Session(tmp_path, "t")
    copies = [json.dumps(line | {"sessionId": "t"}) + "\n" for line in history]
    second.path.write_text("".join(copies))
    second.parent = first.parent
    go_on(second, 2, "cd", read=10_000, write=200)
    report = report_on(tmp_path)
    assert report.totals.calls == 2
    check_causes(report, (ANSWER, "inferred", 1, 100, WRITTEN))


def test_a_session_resumed_too_late_has_expired(tmp_path: Path) -> None:
    first = begin(tmp_path, "s")
    history = [json.loads(line) for line in first.path.read_text().splitlines()]
    second = Session(tmp_path, "t")
    copies = [json.dumps(line | {"sessionId": "t"}) + "\n" for line in history]
    second.path.write_text("".join(copies))
    second.parent = first.parent
    go_on(second, 200, "cd", read=0, write=10_200)
    check_causes(
        report_on(tmp_path),
        ("expired", "inferred", 1, 10_000, WRITTEN),
        (ANSWER, "inferred", 1, 100, WRITTEN),
    )


def test_what_the_provider_read_beyond_the_log_is_no_loss(tmp_path: Path) -> None:
    session = Session(tmp_path, "s")
    session.ask("a" * 40)
    session.answer("b" * 40, 0, uncached=10, read=8_000, write=2_000)
    report = report_on(tmp_path)
    check_causes(report)
    assert report.cache.provider_exceeds_calls == 1
    assert tokens_at(report, "policy") == tokens_at(report, "realized") == 8_000


def test_token_counts_that_exceed_the_log_are_no_loss(tmp_path: Path) -> None:
    codex(tmp_path, [(0, 2_048, 1_024)])
    report = report_on(tmp_path)
    check_causes(report)
    assert report.cache.policy_hit_rate == 0.5


def test_a_provider_without_rules_has_no_policy_figure(tmp_path: Path) -> None:
    first, second = says("user", words("alpha", 3_000)), says("user", words("beta", 100))
    calls = [(0.0, [first], 3_000, 0, " a"), (9.0, [first, second], 3_100, 1_000, " b")]
    chat(tmp_path, calls, model="nobody-knows-this-1")
    report = report_on(tmp_path)
    check_causes(report, ("provider without rules", "inferred", 1, 2_000, None))
    assert report.cache.policy_hit_rate is None
    assert report.cache.unknown_share == 1


def test_calls_that_report_nothing_still_fill_the_cache(tmp_path: Path) -> None:
    first, second = says("user", words("alpha", 2_048)), says("user", words("beta", 100))
    lines = [
        {"request": {"model": GPT, "messages": [first]}},
        {
            "request": {"model": GPT, "messages": [first, second]},
            "response": {
                "id": "chatcmpl-" + 29 * "0",
                "object": "chat.completion",
                "choices": [{"message": says("assistant", " a")}],
                "usage": {
                    "prompt_tokens": 2_148,
                    "completion_tokens": 1,
                    "prompt_tokens_details": {"cached_tokens": 0},
                },
            },
        },
    ]
    (tmp_path / "log.jsonl").write_text(
        "".join(
            json.dumps({"timestamp": 1_790_000_000 + 9 * i, "session_id": "s"} | line) + "\n"
            for i, line in enumerate(lines)
        )
    )
    check_causes(report_on(tmp_path), (UNKNOWN, "inferred", 1, 2_048, GPT_UNCACHED))


VLLM = """
[[rule]]
models = ["house-model"]
minimum_tokens = 16
granularity_tokens = 16
recompute_last_token = true
caches_generated = true
"""
SGLANG = VLLM.replace("16", "1")


@pytest.mark.parametrize(
    ("rules", "cached", "lost"),
    [(VLLM, 9 * 16, 150 - 9 * 16), (SGLANG, 150, 0)],
    ids=["blocks of 16", "single tokens"],
)
def test_an_engines_own_rules_come_from_a_file(
    tmp_path: Path, rules: str, cached: int, lost: int
) -> None:
    answer = words("beta", 50)
    turns = [says("user", words("alpha", 100)), says("assistant", answer)]
    turns.append(says("user", words("gamma", 30)))
    # The answer is in the cache when it comes back: 100 + 50 tokens are.
    calls = [(0, turns[:1], 100, 0, answer), (9, turns, 180, cached, " ok")]
    chat(tmp_path, calls, model="house-model")
    report = report_on(tmp_path, rules)
    rows = [("rounded down to whole units", "inferred", 1, lost, None)] if lost else []
    check_causes(report, *rows)
    assert report.cache.policy_hit_rate == cached / (100 + 180)


@pytest.mark.parametrize(("rules", "cached"), [(VLLM, 9 * 16), (SGLANG, 159)])
def test_an_engine_computes_the_last_token_of_a_prompt_again(
    tmp_path: Path, rules: str, cached: int
) -> None:
    turns = [says("user", words("alpha", 160))]
    calls = [(0, turns, 160, 0, " a"), (9, turns, 160, cached, " a")]
    chat(tmp_path, calls, model="house-model")
    check_causes(
        report_on(tmp_path, rules),
        ("rounded down to whole units", "inferred", 1, 160 - cached, None),
    )


def test_entries_may_be_readable_at_once(tmp_path: Path) -> None:
    turns = [says("user", words("alpha", 160))]
    calls = [(0, turns, 160, 0, " a"), (0.2, turns, 160, 0, " a")]
    chat(tmp_path, calls, model="house-model")
    report = report_on(tmp_path, SGLANG + 'concurrent = "immediate"\n')
    check_causes(
        report,
        ("rounded down to whole units", "inferred", 1, 1, None),
        (UNKNOWN, "inferred", 1, 159, None),
    )


# --- Real logs -----------------------------------------------------------------------------------


@pytest.mark.real
def test_real_sessions_lose_little_for_unknown_reasons(real_logs: Path) -> None:
    folder = real_logs / "claude-code"
    with Store.open(MEMORY, encoding=DEFAULT_ENCODING) as store:
        ingest(store, [folder], Options(DEFAULT_ENCODING))
        report = build_report(store, [folder])
        select_scope(store, [folder], NO_FILTERS)
        price_scope(store, None)
        prompts = load_prompts(store)
        missed = measure_missed(store, prompts, ideal_reuse(prompts))
        fall = measure_waterfall(store, prompts, missed, load_rules())
        reasons = store.rows("SELECT DISTINCT miss_reason FROM scope_calls")
    check_waterfall(report)
    check_levels(fall)
    assert report.cache.unknown_share is not None
    assert report.cache.unknown_share < 0.15
    stated = {PROVIDER_WORDS[reason] for (reason,) in reasons if reason in PROVIDER_WORDS}
    assert stated
    given = {row.cause for row in report.cache.misses_by_cause if row.source == "provider"}
    assert given == stated

"""The parser for sessions of Factory's Droid."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from recording_tree import Parsed, parse_file
from sample_totals import Totals, sample_totals

from forkpoint.parsers.droid import Droid
from forkpoint.parsers.logs import Head, read_head
from forkpoint.parsers.records import Usage

PARSER = Droid()
COUNTS = {
    "inputTokens": 1000,
    "outputTokens": 100,
    "cacheCreationTokens": 500,
    "cacheReadTokens": 300,
    "thinkingTokens": 0,
}


def settings(folder: Path, name: str = "s-1.settings.json", **more: Any) -> Parsed:
    path = folder / name
    locked = {"providerLock": "anthropic", "providerLockTimestamp": "2026-10-05T09:00:00.000Z"}
    document = {"model": "claude-opus-4.5", **locked, "tokenUsage": COUNTS, **more}
    path.write_text(json.dumps(document, indent=2))
    return parse_file(PARSER, path)


def conversation(folder: Path, *lines: Any) -> Parsed:
    path = folder / "s-1.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return parse_file(PARSER, path)


def message(name: str, role: str, *content: Any) -> dict[str, Any]:
    return {"type": "message", "id": name, "message": {"role": role, "content": list(content)}}


def usage_of(result: Parsed) -> Usage:
    (call,) = result.calls
    assert call.usage is not None
    return call.usage


START = {"type": "session_start", "id": "s-1", "title": "hi", "cwd": "/w", "version": 2}


def test_a_session_s_settings_are_one_call_with_the_sum_of_its_counts(tmp_path: Path) -> None:
    result = settings(tmp_path)
    assert usage_of(result) == Usage(
        input_tokens=1800,
        cache_read_tokens=300,
        cache_write_tokens=500,
        output_tokens=100,
        reasoning_tokens=0,
    )
    (call,) = result.calls
    assert (call.provider, call.model) == ("anthropic", "claude-opus-4.5")
    assert call.started_at == datetime(2026, 10, 5, 9, 0, tzinfo=UTC)
    assert [trace.id for trace in result.traces] == ["s-1"]


@pytest.mark.parametrize(("total", "expected"), [(1900, 1800), (1100, 1000), (None, 1800)])
def test_the_total_tells_whether_the_input_includes_the_cache(
    tmp_path: Path, total: int | None, expected: int
) -> None:
    counts = {**COUNTS, "totalTokens": total}
    assert usage_of(settings(tmp_path, tokenUsage=counts)).input_tokens == expected


@pytest.mark.parametrize(
    ("model", "thinking", "total", "output"),
    [
        ("gpt-5.5", 40, None, 100),
        ("gemini-3-pro", 40, None, 140),
        ("glm-5.2", 400, None, 500),
        ("gpt-5.5", 40, 1940, 140),
        ("gemini-3-pro", 40, 1900, 100),
    ],
)
def test_thoughts_stand_beside_the_output_for_some(
    tmp_path: Path, model: str, thinking: int, total: int | None, output: int
) -> None:
    counts = {**COUNTS, "thinkingTokens": thinking, "totalTokens": total}
    usage = usage_of(settings(tmp_path, model=model, tokenUsage=counts))
    assert (usage.output_tokens, usage.reasoning_tokens) == (output, thinking)


def test_a_subagent_s_counts_are_its_own_session_s(tmp_path: Path) -> None:
    inclusive = {**COUNTS, "inputTokens": 9_999_999}
    result = settings(tmp_path, inclusiveTokenUsage=inclusive)
    assert usage_of(result).input_tokens == 1800


def test_a_backup_of_the_settings_is_the_same_call(tmp_path: Path) -> None:
    first = settings(tmp_path)
    backup = settings(tmp_path, name="s-1.settings.json.bak")
    assert first.calls[0].identity == backup.calls[0].identity == ("", "droid:s-1")


def test_a_session_that_used_nothing_is_no_call(tmp_path: Path) -> None:
    result = settings(tmp_path, tokenUsage=dict.fromkeys(COUNTS, 0))
    assert (result.calls, result.issues, len(result.traces)) == ([], [], 1)


@pytest.mark.parametrize(
    ("given", "model"),
    [("custom:GLM-4.6-[Z.AI]", "GLM-4.6"), ("gpt-5.5", "gpt-5.5"), (None, None)],
)
def test_a_model_of_the_user_s_own_is_named_without_what_marks_it(
    tmp_path: Path, given: str | None, model: str | None
) -> None:
    assert settings(tmp_path, model=given).calls[0].model == model


def test_a_conversation_gives_its_trace_and_text_but_no_call(tmp_path: Path) -> None:
    used = {"type": "tool_use", "id": "t1", "name": "LS", "input": {"path": "a"}}
    gave = {"type": "tool_result", "tool_use_id": "t1", "is_error": False, "content": "b"}
    result = conversation(
        tmp_path,
        {**START, "sessionTitle": "Bees", "callingSessionId": "s-0"},
        message("1", "user", {"type": "text", "text": "hi"}),
        message("2", "assistant", {"type": "thinking", "thinking": "hm"}, used),
        {"type": "todo_state", "id": "3", "message": 7, "title": []},
        message("4", "user", gave),
        {"type": "compaction_state", "id": "5", "summaryText": "They said hi."},
    )
    assert (result.calls, result.issues) == ([], [])
    (trace,) = result.traces
    assert (trace.id, trace.parent, trace.project) == ("s-1", "s-0", "/w")
    assert (trace.title, trace.group) == ("Bees", None)
    texts = [segment.content for segment in result.tree.path(trace.leaf or 0)][1:]
    assert texts == ["hi", "hm", 'LS\n{"path":"a"}', "b", "They said hi."]


@pytest.mark.parametrize("bad", [message("b", "user", 7), {"type": "message", "message": 7}, 7])
def test_a_bad_line_is_one_issue(tmp_path: Path, bad: Any) -> None:
    result = conversation(tmp_path, START, bad, message("1", "user", {"type": "text", "text": "x"}))
    assert [issue.line for issue in result.issues] == [2]
    assert len(result.traces) == 1


@pytest.mark.parametrize(
    "bad",
    [
        {"tokenUsage": {"inputTokens": -1}},
        {"tokenUsage": 7},
        {"model": 7},
        {"providerLockTimestamp": "yesterday"},
    ],
)
def test_bad_settings_are_one_issue(tmp_path: Path, bad: dict[str, Any]) -> None:
    result = settings(tmp_path, **bad)
    assert (result.calls, [issue.line for issue in result.issues]) == ([], [1])


def test_settings_of_the_program_and_lists_of_sessions_are_not_claimed(tmp_path: Path) -> None:
    def known(document: Any, name: str = "s-1.settings.json") -> bool:
        return PARSER.identify(Head(Path(name), json.dumps(document).encode() + b"\n")) is not None

    assert known({"model": "x", "tokenUsage": COUNTS})
    assert known(START, "s-1.jsonl")
    assert not known({"model": "x", "autonomyMode": "auto"})
    assert not known({"tokenUsage": {"total": 5}})
    assert not known({"type": "session_start", "id": "s-1", "model": "x"}, "s-1.jsonl")
    long = {"tokenUsage": COUNTS, "children": ["x" * 100] * 900}
    (tmp_path / "s-1.settings.json").write_text(json.dumps(long))
    assert PARSER.identify(read_head(tmp_path / "s-1.settings.json"))


def test_the_sample_has_the_totals_its_page_states(sample_logs: Path) -> None:
    assert sample_totals(PARSER, sample_logs / "droid") == Totals(2, 62_188, 49_920, 0, 283, 0)


@pytest.mark.real
def test_no_real_log_of_another_format_is_claimed(real_logs: Path) -> None:
    for path in (path for path in real_logs.rglob("*") if path.is_file()):
        assert PARSER.identify(read_head(path)) is None, path

"""The parser for aider's analytics logs."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from recording_tree import Parsed, parse_file, parse_tail
from sample_totals import Totals, sample_totals

from forkpoint.parsers.aider import Aider
from forkpoint.parsers.logs import Head, read_head
from forkpoint.parsers.records import Kind, Usage

PARSER = Aider()


def event(name: str, time: int, user: str = "u-1", **properties: Any) -> dict[str, Any]:
    return {"event": name, "properties": properties, "user_id": user, "time": time}


def sent(time: int, prompt: int = 100, completion: int = 20, **more: Any) -> dict[str, Any]:
    model = {"main_model": "gemini/gemini-2.5-pro", "weak_model": "x", "edit_format": "diff"}
    counts = {"prompt_tokens": prompt, "completion_tokens": completion, "cost": 0.25}
    return event("message_send", time, **{**model, **counts, "total_cost": 0.25, **more})


def parsed(folder: Path, *events: Any) -> Parsed:
    path = folder / "analytics.jsonl"
    path.write_text("".join(json.dumps(each) + "\n" for each in events))
    return parse_file(PARSER, path)


def test_a_message_sent_is_a_call(tmp_path: Path) -> None:
    result = parsed(tmp_path, event("launched", 1791190800), sent(1791190802))
    (call,) = result.calls
    assert call.usage == Usage(input_tokens=100, output_tokens=20)
    assert (call.provider, call.model) == ("google", "gemini-2.5-pro")
    assert call.started_at == datetime(2026, 10, 5, 9, 0, 2, tzinfo=UTC)
    assert call.logged_cost_usd == 0.25
    assert call.completion is None
    assert [segment.kind for segment in result.tree.path(call.prompt)] == [Kind.UNLOGGED]


@pytest.mark.parametrize(
    ("name", "provider", "model"),
    [
        ("gpt-5.2", None, "gpt-5.2"),
        ("openai/gpt-5.2", "openai", "gpt-5.2"),
        ("openrouter/anthropic/claude-opus-5", "openrouter", "anthropic/claude-opus-5"),
        ("ollama/REDACTED", None, "ollama/REDACTED"),
        ("None", None, None),
    ],
)
def test_the_first_part_of_a_model_s_name_is_its_provider(
    tmp_path: Path, name: str, provider: str | None, model: str | None
) -> None:
    (call,) = parsed(tmp_path, sent(1, main_model=name)).calls
    assert (call.provider, call.model) == (provider, model)


def test_each_launch_begins_a_trace(tmp_path: Path) -> None:
    result = parsed(
        tmp_path,
        event("launched", 10),
        event("launched", 20),
        sent(21),
        sent(22),
        event("exit", 30),
        event("launched", 40),
        sent(41),
    )
    first, second = result.traces
    assert [call.trace for call in result.calls] == [first.id, first.id, second.id]
    assert first.id != second.id


def test_a_cost_of_nought_is_unknown(tmp_path: Path) -> None:
    (call,) = parsed(tmp_path, sent(1, cost=0)).calls
    assert call.logged_cost_usd is None


def test_the_same_message_in_a_copy_of_the_log_is_the_same_call(tmp_path: Path) -> None:
    first, second = parsed(tmp_path, sent(1), sent(1, total_cost=0.5)).calls
    (copied,) = parsed(tmp_path, event("launched", 0), sent(1)).calls
    assert copied.identity == first.identity
    assert first.identity != second.identity


def test_a_log_that_grew_is_read_on_in_the_same_run(tmp_path: Path) -> None:
    before = parsed(tmp_path, event("launched", 10), sent(11))
    with (tmp_path / "analytics.jsonl").open("a") as log:
        log.write(json.dumps(sent(12)) + "\n")
    after = parse_tail(PARSER, before)
    assert [call.line for call in after.calls] == [3]
    assert after.calls[0].trace == before.calls[0].trace
    assert [trace.id for trace in after.traces] == [before.traces[0].id]


@pytest.mark.parametrize(
    "bad",
    [
        sent(1, prompt_tokens="many"),
        sent(1, prompt=-5),
        event("message_send", 1) | {"properties": 7},
        event("message_send", 10**20),
        {"event": 7},
        7,
    ],
)
def test_a_bad_line_is_one_issue_and_the_others_are_kept(tmp_path: Path, bad: Any) -> None:
    result = parsed(tmp_path, sent(1), bad, sent(2))
    assert [issue.line for issue in result.issues] == [2]
    assert [call.line for call in result.calls] == [1, 3]


def test_other_events_may_hold_anything(tmp_path: Path) -> None:
    odd = event("repo", 1) | {"properties": ["any", {"thing": None}]}
    assert parsed(tmp_path, odd, sent(2)).issues == []


def test_a_log_is_known_by_the_keys_of_its_events() -> None:
    line = json.dumps(event("launched", 1)).encode() + b"\n"
    assert PARSER.identify(Head(Path("x"), line))
    for other in ({"event": "x", "properties": {}}, {"event": "x", "time": 1, "data": {}}, {}):
        both = line + json.dumps(other).encode() + b"\n"
        assert PARSER.identify(Head(Path("x"), both)) is None


def test_the_sample_has_the_totals_its_page_states(sample_logs: Path) -> None:
    assert sample_totals(PARSER, sample_logs / "aider") == Totals(8, 53_252, 0, 0, 2_227, 0)


@pytest.mark.real
def test_the_real_log_has_the_known_counts_and_cost(real_logs: Path) -> None:
    facts = json.loads((real_logs / "FACTS.json").read_text())["aider_analytics"]
    ((name, fact),) = facts.items()
    result = parse_file(PARSER, real_logs / name)
    assert result.issues == []
    assert len({call.identity for call in result.calls}) == fact["message_send"]
    usages = [call.usage for call in result.calls if call.usage is not None]
    assert sum(usage.input_tokens or 0 for usage in usages) == fact["prompt_tokens"]
    assert sum(usage.output_tokens or 0 for usage in usages) == fact["completion_tokens"]
    cost = sum(call.logged_cost_usd or 0 for call in result.calls)
    assert cost == pytest.approx(fact["cost"], abs=1e-6)
    assert {call.trace for call in result.calls} == {trace.id for trace in result.traces}


@pytest.mark.real
def test_only_the_real_log_is_claimed(real_logs: Path) -> None:
    for path in (path for path in real_logs.rglob("*") if path.is_file()):
        ours = path.parent.parent.name == "aider"
        assert (PARSER.identify(read_head(path)) is not None) == ours, path

"""The parser for sessions of the pi coding agent."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from recording_tree import Parsed, parse_file
from sample_totals import Totals, sample_totals

from forkpoint.parsers.logs import Head, read_head
from forkpoint.parsers.pi_session import PiSession
from forkpoint.parsers.records import Usage

PARSER = PiSession()
HEADER = {"type": "session", "id": "s-1", "timestamp": "2026-10-05T09:00:00.000Z", "cwd": "/w"}
COST = {"input": 0.1, "output": 0.2, "cacheRead": 0, "cacheWrite": 0, "total": 0.3}
USAGE = {"input": 3, "output": 20, "cacheRead": 60, "cacheWrite": 37, "cost": COST}
AT = 1791190802000


def entry(name: str | None, parent: str | None, kind: str, /, **more: Any) -> dict[str, Any]:
    ids = {} if name is None else {"id": name, "parentId": parent}
    return {"type": kind, **ids, "timestamp": "2026-10-05T09:00:04.500Z", **more}


def user(name: str | None, parent: str | None, text: str) -> dict[str, Any]:
    content = [{"type": "text", "text": text}]
    message = {"role": "user", "content": content, "timestamp": AT}
    return entry(name, parent, "message", message=message)


def answer(name: str | None, parent: str | None, *parts: Any, **more: Any) -> dict[str, Any]:
    content = [{"type": "text", "text": each} if isinstance(each, str) else each for each in parts]
    message = {"role": "assistant", "content": content, "provider": "anthropic", "usage": USAGE}
    message |= {"model": "claude-sonnet-4-5", "stopReason": "stop", "timestamp": AT, **more}
    return entry(name, parent, "message", message=message)


def parsed(folder: Path, *entries: Any, header: Any = HEADER, name: str = "t_s-1.jsonl") -> Parsed:
    path = folder / name
    path.write_text("".join(json.dumps(each) + "\n" for each in [header, *entries]))
    return parse_file(PARSER, path)


def texts(result: Parsed, node: int | None) -> list[Any]:
    return [segment.content for segment in result.tree.path(node or 0)][1:]


def test_an_assistant_s_message_is_a_call_with_counts_cost_and_times(tmp_path: Path) -> None:
    (call,) = parsed(tmp_path, user("1", None, "hi"), answer("2", "1", "ho")).calls
    assert call.usage == Usage(
        input_tokens=100, cache_read_tokens=60, cache_write_tokens=37, output_tokens=20
    )
    assert (call.provider, call.model) == ("anthropic", "claude-sonnet-4-5")
    assert call.logged_cost_usd == 0.3
    assert call.started_at == datetime(2026, 10, 5, 9, 0, 2, tzinfo=UTC)
    assert call.duration_s == 2.5


def test_tool_calls_and_results_enter_the_context_without_their_ids(tmp_path: Path) -> None:
    call = {"type": "toolCall", "id": "toolu_1", "name": "read", "arguments": {"path": "a"}}
    content = [{"type": "text", "text": "text"}]
    message = {"role": "toolResult", "toolCallId": "toolu_1", "content": content}
    result = parsed(
        tmp_path,
        user("1", None, "hi"),
        answer("2", "1", {"type": "thinking", "thinking": "hm"}, "Let me see.", call),
        entry("3", "2", "message", message=message),
        answer("4", "3", "Done."),
    )
    spoken = ["hi", "hm", "Let me see.", 'read\n{"path":"a"}', "text"]
    assert texts(result, result.calls[1].prompt) == spoken


def test_an_aborted_request_without_an_answer_is_no_call(tmp_path: Path) -> None:
    nothing = {"input": 0, "output": 0, "cacheRead": 0, "cacheWrite": 0, "cost": COST}
    aborted = answer("2", "1", usage=nothing, stopReason="aborted")
    cut_off = answer("3", "2", "I wi", usage=nothing, stopReason="aborted")
    result = parsed(tmp_path, user("1", None, "hi"), aborted, cut_off)
    (call,) = result.calls
    assert call.usage is None
    assert texts(result, call.completion) == ["hi", "I wi"]


def test_a_branch_forks_at_its_parent(tmp_path: Path) -> None:
    result = parsed(
        tmp_path,
        user("1", None, "hi"),
        answer("2", "1", "ho"),
        user("3", "2", "left"),
        answer("4", "3", "gone left"),
        entry("5", "4", "label", targetId="4", label={"any": "thing"}),
        user("6", "2", "right"),
        answer("7", "6", "gone right"),
    )
    assert result.issues == []
    prompts = [texts(result, call.prompt) for call in result.calls]
    assert prompts == [["hi"], ["hi", "ho", "left"], ["hi", "ho", "right"]]


def test_entries_without_ids_follow_each_other(tmp_path: Path) -> None:
    result = parsed(
        tmp_path,
        user(None, None, "hi"),
        answer(None, None, "ho"),
        entry(None, None, "thinking_level_change", thinkingLevel="off"),
        user(None, None, "more"),
        answer(None, None, "done", timestamp=AT + 1),
    )
    assert texts(result, result.calls[1].prompt) == ["hi", "ho", "more"]


@pytest.mark.parametrize("first_kept", [{"firstKeptEntryId": "3"}, {"firstKeptEntryIndex": 3}])
def test_after_a_compaction_come_the_summary_and_what_was_kept(
    tmp_path: Path, first_kept: dict[str, Any]
) -> None:
    compaction = entry("5", "4", "compaction", summary="They said hi.", tokensBefore=9)
    result = parsed(
        tmp_path,
        user("1", None, "hi"),
        answer("2", "1", "ho"),
        user("3", "2", "and"),
        answer("4", "3", "so"),
        {**compaction, **first_kept},
        user("6", "5", "on"),
        answer("7", "6", "we go"),
    )
    assert texts(result, result.calls[2].prompt) == ["They said hi.", "and", "so", "on"]


def test_summaries_of_branches_and_messages_of_extensions_enter_as_a_user_s(tmp_path: Path) -> None:
    ran = {"role": "bashExecution", "command": "ls", "output": "a b"}
    hidden = {**ran, "excludeFromContext": True}
    result = parsed(
        tmp_path,
        entry("1", None, "branch_summary", fromId="9", summary="We went left."),
        entry("2", "1", "custom_message", customType="x", content="Mind the gap.", display=True),
        entry("3", "2", "message", message=ran),
        entry("4", "3", "message", message=hidden),
        entry("5", "4", "custom", customType="x", data={"any": 1}),
        answer("6", "5", "ho"),
    )
    assert result.issues == []
    assert texts(result, result.calls[0].prompt) == ["We went left.", "Mind the gap.", "ls\na b"]


def test_calls_of_a_migrated_or_forked_session_are_the_same_calls(tmp_path: Path) -> None:
    first = parsed(tmp_path, user(None, None, "hi"), answer(None, None, "ho"))
    migrated = parsed(tmp_path, user("8", None, "hi"), answer("9", "8", "ho"))
    origin = {**HEADER, "id": "s-2", "parentSession": "/home/x/sessions/--w--/t_s-1.jsonl"}
    forked = parsed(
        tmp_path,
        user("8", None, "hi"),
        answer("9", "8", "ho"),
        answer("10", "9", "more", timestamp=AT + 60_000),
        header=origin,
        name="t_s-2.jsonl",
    )
    (identity,) = [call.identity for call in first.calls]
    assert [call.identity for call in migrated.calls] == [identity]
    assert [call.identity == identity for call in forked.calls] == [True, False]
    assert forked.traces[0].forked_from == "s-1"


def test_a_cost_of_nought_is_unknown(tmp_path: Path) -> None:
    free = {**USAGE, "cost": {"total": 0}}
    (call,) = parsed(tmp_path, answer("1", None, "ho", usage=free)).calls
    assert call.logged_cost_usd is None


def test_the_name_of_a_session_is_its_title(tmp_path: Path) -> None:
    result = parsed(tmp_path, answer("1", None, "ho"), entry("2", "1", "session_info", name="Bees"))
    assert (result.traces[0].title, result.traces[0].project) == ("Bees", "/w")


@pytest.mark.parametrize(
    "bad",
    [
        answer("b", "1", "x", usage={**USAGE, "output": -1}),
        answer("b", "1", "x", usage={**USAGE, "input": "three"}),
        answer("b", "1", 7),
        answer("b", "1", "x", timestamp=1e30),
        entry("b", "1", "message", message="text"),
        entry("b", "1", "message"),
        {"id": "b"},
        7,
    ],
)
def test_a_bad_line_is_one_issue_and_its_children_go_on(tmp_path: Path, bad: Any) -> None:
    result = parsed(tmp_path, user("1", None, "hi"), bad, answer("2", "b", "ho"))
    assert [issue.line for issue in result.issues] == [3]
    assert [texts(result, call.prompt) for call in result.calls] == [["hi"]]


def test_a_session_is_known_by_its_header() -> None:
    assert PARSER.identify(Head(Path("x"), json.dumps(HEADER).encode() + b"\n"))
    for other in ({"type": "session"}, {"type": "session_meta", "payload": {}}, [HEADER], {}):
        assert PARSER.identify(Head(Path("x"), json.dumps(other).encode() + b"\n")) is None


def test_the_sample_has_the_totals_its_page_states(sample_logs: Path) -> None:
    totals = sample_totals(PARSER, sample_logs / "pi-session")
    assert totals == Totals(11, 93_756, 75_869, 17_854, 374, 0)


@pytest.mark.real
def test_the_real_session_has_the_known_counts_and_cost(real_logs: Path) -> None:
    facts = json.loads((real_logs / "FACTS.json").read_text())["pi_session"]
    ((name, fact),) = facts.items()
    result = parse_file(PARSER, real_logs / name)
    assert result.issues == []
    # The requests without any counts were all aborted before an answer.
    assert len(result.calls) == fact["assistant_with_usage"] - fact["zero_usage"]
    assert len({call.identity for call in result.calls}) == len(result.calls)
    usages = [call.usage for call in result.calls if call.usage is not None]
    known = fact["usage"]
    parts = known["input"] + known["cacheRead"] + known["cacheWrite"]
    assert sum(usage.input_tokens or 0 for usage in usages) == parts
    assert sum(usage.cache_read_tokens or 0 for usage in usages) == known["cacheRead"]
    assert sum(usage.cache_write_tokens or 0 for usage in usages) == known["cacheWrite"]
    assert sum(usage.output_tokens or 0 for usage in usages) == known["output"]
    cost = sum(call.logged_cost_usd or 0 for call in result.calls)
    assert cost == pytest.approx(known["cost_total"], abs=1e-6)


@pytest.mark.real
def test_each_prompt_of_the_real_session_goes_on_from_the_answer_before_it(
    real_logs: Path,
) -> None:
    (path,) = (real_logs / "pi-session").rglob("*.jsonl")
    result = parse_file(PARSER, path)
    ancestors: list[set[int]] = []
    for call in result.calls:
        node, seen = call.prompt, set()
        while node:
            seen.add(node)
            node = result.tree.parents[node]
        ancestors.append(seen)
    pairs = zip(result.calls, ancestors[1:], strict=False)
    assert all(before.completion in above for before, above in pairs)


@pytest.mark.real
def test_only_the_real_session_is_claimed(real_logs: Path) -> None:
    for path in (path for path in real_logs.rglob("*") if path.is_file()):
        ours = path.parent.parent.name == "pi-session"
        assert (PARSER.identify(read_head(path)) is not None) == ours, path

"""The parser for Amp's threads."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from recording_tree import Parsed, parse_file
from sample_totals import Totals, sample_totals

from forkpoint.parsers.amp import Amp
from forkpoint.parsers.logs import HEAD_BYTES, Head, read_head
from forkpoint.parsers.records import Usage

PARSER = Amp()
COUNTS = {
    "model": "claude-haiku-4-5-20251001",
    "timestamp": "2026-10-05T09:00:02.000Z",
    "inputTokens": 10,
    "outputTokens": 178,
    "cacheCreationInputTokens": 986,
    "cacheReadInputTokens": 11_372,
    "totalInputTokens": 12_368,
}
USAGE = Usage(
    input_tokens=12_368, cache_read_tokens=11_372, cache_write_tokens=986, output_tokens=178
)


def user(number: int, *content: Any) -> dict[str, Any]:
    return {"role": "user", "messageId": number, "content": list(content)}


def answer(number: int, *content: Any, **more: Any) -> dict[str, Any]:
    message = {"role": "assistant", "messageId": number, "content": list(content)}
    return {**message, "usage": COUNTS, **more}


def text(said: str) -> dict[str, Any]:
    return {"type": "text", "text": said}


def event(name: str, to: int | None, **tokens: int) -> dict[str, Any]:
    head = {"id": name, "timestamp": "2026-10-05T09:00:09.000Z", "model": "gpt-5"}
    return {**head, "tokens": tokens, **({} if to is None else {"toMessageId": to})}


def parsed(folder: Path, *messages: Any, events: list[Any] | None = None, **more: Any) -> Parsed:
    thread = {"v": 3, "id": "T-1", "created": 1791190800000, "title": "Bees", "messages": messages}
    if events is not None:
        thread["usageLedger"] = {"events": events}
    path = folder / "T-1.json"
    path.write_text(json.dumps({**thread, **more}, indent=2))
    return parse_file(PARSER, path)


def texts(result: Parsed, node: int | None) -> list[Any]:
    return [segment.content for segment in result.tree.path(node or 0)][1:]


def test_each_answer_is_a_call_whose_inputs_exclude_each_other(tmp_path: Path) -> None:
    used = {"type": "tool_use", "id": "toolu_1", "name": "read", "input": {"path": "a"}}
    run = {"status": "done", "result": "text"}
    gave = {"type": "tool_result", "toolUseID": "toolu_1", "run": run}
    env = {"initial": {"trees": [{"uri": "file:///w", "displayName": "w"}]}}
    result = parsed(
        tmp_path,
        user(0, text("hi")),
        answer(1, {"type": "thinking", "thinking": "hm"}, text("Let me see."), used),
        user(2, gave),
        answer(3, text("Done.")),
        env=env,
    )
    assert result.issues == []
    first, second = result.calls
    assert (first.usage, first.model) == (USAGE, "claude-haiku-4-5-20251001")
    assert first.started_at == datetime(2026, 10, 5, 9, 0, 2, tzinfo=UTC)
    said = ["hm", "Let me see.", 'read\n{"path":"a"}']
    assert texts(result, first.completion) == ["hi", *said]
    assert texts(result, second.prompt) == ["hi", *said, "text"]
    assert first.identity == ("", "amp:T-1:1")
    (trace,) = result.traces
    assert (trace.id, trace.title, trace.project) == ("T-1", "Bees", "file:///w")


def test_a_ledger_s_event_and_its_message_are_one_call(tmp_path: Path) -> None:
    paid = event("e1", 1, input=2, output=5)
    (call,) = parsed(tmp_path, user(0, text("hi")), answer(1, text("ho")), events=[paid]).calls
    assert call.model == "gpt-5"
    assert call.usage == Usage(
        input_tokens=12_360, cache_read_tokens=11_372, cache_write_tokens=986, output_tokens=5
    )


def test_events_without_a_message_are_calls_of_their_own(tmp_path: Path) -> None:
    events = [event("e1", 1, input=2, output=5), event("e2", None, input=400, output=9)]
    again = [event("e3", 1, input=7, output=1), event("e4", 99, input=8, output=1)]
    result = parsed(tmp_path, answer(1, text("ho"), usage=None), events=events + again)
    usages = [call.usage for call in result.calls if call.usage is not None]
    assert [usage.input_tokens for usage in usages] == [2, 400, 7, 8]
    assert len({call.identity for call in result.calls}) == 4
    assert [call.completion is None for call in result.calls] == [False, True, True, True]


def test_an_answer_without_counts_is_a_call_of_unknown_size(tmp_path: Path) -> None:
    nothing = dict.fromkeys((key for key in COUNTS if key.endswith("Tokens")), 0)
    result = parsed(
        tmp_path,
        answer(1, text("a"), usage=None),
        answer(2, text("b"), usage=nothing),
        answer(3, usage=None),
    )
    assert [call.usage for call in result.calls] == [None, None]


@pytest.mark.parametrize(
    "bad",
    [
        answer(7, text("x"), usage={"inputTokens": -1}),
        answer(7, 7),
        {"messageId": 7, "content": []},
        "text",
    ],
)
def test_a_bad_message_is_one_issue_and_the_others_are_kept(tmp_path: Path, bad: Any) -> None:
    result = parsed(tmp_path, answer(1, text("a")), bad, answer(2, text("b")))
    assert len(result.calls) == 2
    (issue,) = result.issues
    assert issue.line == 2
    data = (tmp_path / "T-1.json").read_bytes().decode()
    assert json.JSONDecoder().raw_decode(data[issue.offset :])[0] == bad


def test_a_bad_event_is_one_issue(tmp_path: Path) -> None:
    result = parsed(tmp_path, answer(1, text("a")), events=[{"tokens": 7}])
    assert (len(result.calls), len(result.issues)) == (1, 1)


@pytest.mark.parametrize("cut", [1, 60, 400, -1])
def test_a_thread_cut_short_is_one_issue(tmp_path: Path, cut: int) -> None:
    parsed(tmp_path, user(0, text("hi")), answer(1, text("ho")))
    path = tmp_path / "T-1.json"
    path.write_bytes(path.read_bytes()[:cut])
    result = parse_file(PARSER, path)
    assert (result.calls, [issue.line for issue in result.issues]) == ([], [1])


def test_a_thread_is_known_by_its_id() -> None:
    def known(document: Any) -> bool:
        data = json.dumps(document).encode()[:HEAD_BYTES]
        return PARSER.identify(Head(Path("T-1.json"), data)) is not None

    assert known({"id": "T-1", "messages": []})
    long = {"v": 1, "created": 5, "title": 'a "b"', "id": "T-1", "messages": ["x" * HEAD_BYTES]}
    assert known(long)
    assert not known({"id": "T-1"})
    assert not known({"id": "chatcmpl-1", "messages": []})
    assert not known([{"id": "T-1", "messages": []}])


def test_the_sample_has_the_totals_its_page_states(sample_logs: Path) -> None:
    totals = sample_totals(PARSER, sample_logs / "amp")
    assert totals == Totals(11, 84_542, 67_018, 17_062, 444, 0)


@pytest.mark.real
def test_no_real_log_of_another_format_is_claimed(real_logs: Path) -> None:
    for path in (path for path in real_logs.rglob("*") if path.is_file()):
        assert PARSER.identify(read_head(path)) is None, path

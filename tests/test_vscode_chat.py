"""The parser for VS Code's chat sessions: documents, exports and logs of changes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from recording_tree import Parsed, parse_file
from sample_totals import Totals, sample_totals

from forkpoint.cli.locations import default_logs
from forkpoint.parsers.logs import HEAD_BYTES, Head, read_head
from forkpoint.parsers.records import Kind, Usage
from forkpoint.parsers.vscode_chat import VSCodeChat

PARSER = VSCodeChat()
AT = 1_791_190_800_000
AGENT = {"id": "github.copilot.editsAgent", "extensionVersion": "0.62.0"}

Row = dict[str, Any]


def rounds(*names: str, tools: bool = True) -> list[Row]:
    """Calls of the model; all but the last call a tool."""
    return [
        {
            "id": f"r-{name}",
            "response": f"says {name}",
            "toolCalls": [{"id": f"t-{name}", "name": "look", "arguments": f'{{"at": "{name}"}}'}]
            if tools and name != names[-1]
            else [],
        }
        for name in names
    ]


def results(*names: str) -> Row:
    return {f"t-{name}": {"content": [{"value": f"found {name}"}]} for name in names}


def request(name: str, asks: str = "hi", **more: Any) -> Row:
    given = {"requestId": f"q-{name}", "timestamp": AT, "message": {"text": asks}}
    return given | {"agent": AGENT, "modelId": "copilot/gpt-4.1", "response": []} | more


def answered(name: str, *made: Row, asks: str = "hi", **metadata: Any) -> Row:
    """A request whose calls are known."""
    known = {"toolCallRounds": list(made)} | metadata
    return request(name, asks, result={"timings": {"totalElapsed": 1500}, "metadata": known})


def session(*requests: Any, **more: Any) -> Row:
    given = {"version": 3, "responderUsername": "GitHub Copilot", "sessionId": "s-1"}
    return given | {"requests": list(requests)} | more


def document(folder: Path, *requests: Any, name: str = "s-1.json", **more: Any) -> Parsed:
    path = folder / name
    path.write_text(json.dumps(session(*requests, **more)))
    return parse_file(PARSER, path)


def changes(folder: Path, *entries: Any) -> Parsed:
    path = folder / "s-1.jsonl"
    path.write_text("".join(json.dumps(each) + "\n" for each in entries))
    return parse_file(PARSER, path)


def put(value: Any, *path: str | int) -> Row:
    return {"kind": 1, "k": ["requests", *path], "v": value}


def push(*values: Any, path: tuple[str | int, ...] = (), cut: int | None = None) -> Row:
    entry: Row = {"kind": 2, "k": ["requests", *path], "v": list(values)}
    return entry if cut is None else entry | {"i": cut}


def texts(result: Parsed, node: int | None) -> list[Any]:
    """What a path holds behind its unlogged beginning."""
    first, *rest = result.tree.path(node or 0)
    assert first.kind is Kind.UNLOGGED
    return [segment.content for segment in rest]


# --- Requests and calls -------------------------------------------------------------------------


def test_each_round_of_a_turn_is_a_call_on_what_the_tools_gave(tmp_path: Path) -> None:
    made = rounds("a", "b")
    made[0]["thinking"] = {"text": ["h", "m"]}
    result = document(tmp_path, answered("1", *made, toolCallResults=results("a")))
    assert result.issues == []
    first, second = result.calls
    assert texts(result, first.prompt) == ["hi"]
    assert texts(result, first.completion)[1:] == ["hm", "says a", 'look\n{"at": "a"}']
    assert texts(result, second.prompt)[4:] == ["found a"]
    assert texts(result, second.completion)[5:] == ["says b"]
    assert [call.identity for call in result.calls] == [
        ("", "vscode-chat:q-1/r-a"),
        ("", "vscode-chat:q-1/r-b"),
    ]
    assert (first.trace, first.model, first.usage) == ("s-1", "gpt-4.1", None)
    assert result.traces[0].agent == "VS Code chat 0.62.0"


def test_the_next_request_goes_on_from_the_answer_before_it(tmp_path: Path) -> None:
    result = document(
        tmp_path, answered("1", *rounds("a")), answered("2", *rounds("b"), asks="and")
    )
    assert texts(result, result.calls[1].prompt) == ["hi", "says a", "and"]
    assert result.calls[1].duration_s == 1.5


def test_the_message_is_what_was_sent_where_that_is_logged(tmp_path: Path) -> None:
    sent = [{"type": 1, "text": "<context/>"}, {"type": 1, "text": "hi"}, {"type": 3}]
    result = document(
        tmp_path,
        answered("1", *rounds("a"), renderedUserMessage=sent),
        request("2", result={}, message="as it was once", response=[{"value": "yes"}]),
    )
    assert texts(result, result.calls[0].prompt) == ["<context/>", "hi"]
    assert texts(result, result.calls[1].prompt)[-1] == "as it was once"


def test_without_rounds_a_request_is_one_call_with_the_answer_that_was_shown(
    tmp_path: Path,
) -> None:
    shown = [
        {"kind": "thinking", "value": "hm"},
        {"value": "Look at ", "isTrusted": False},
        {"kind": "inlineReference", "name": "a.py"},
        {"value": "that."},
        {"kind": "markdownContent", "content": {"value": " Done."}},
        {"kind": "toolInvocationSerialized", "toolId": "x"},
        7,
    ]
    result = document(tmp_path, request("1", response=shown, promptTokens=90, completionTokens=8))
    (call,) = result.calls
    assert texts(result, call.completion) == ["hi", "hm", "Look at that. Done."]
    assert call.usage == Usage(input_tokens=90, output_tokens=8)


def test_a_request_without_an_answer_is_no_call(tmp_path: Path) -> None:
    failed = request("1", result={"errorDetails": {"message": "Canceled"}})
    result = document(tmp_path, failed, answered("2", *rounds("a"), asks="again"))
    assert [call.identity for call in result.calls] == [("", "vscode-chat:q-2/r-a")]
    assert texts(result, result.calls[0].prompt) == ["hi", "again"]


def test_results_may_be_trees_of_elements(tmp_path: Path) -> None:
    tree = {"node": {"type": 1, "ctor": 2, "children": [
        {"type": 2, "text": "one "}, {"type": 1, "children": [{"type": 2, "text": "two"}]}]}}  # fmt: skip
    given = {"t-a": {"content": [{"value": tree}, {"value": " three"}, {"mimeType": "image/png"}]}}
    result = document(tmp_path, answered("1", *rounds("a", "b"), toolCallResults=given))
    assert texts(result, result.calls[1].prompt)[-1] == "one two three"


# --- Counts -------------------------------------------------------------------------------------


def test_counts_are_those_of_the_newest_call_alone(tmp_path: Path) -> None:
    made = answered("1", *rounds("a", "b"), promptTokens=900, outputTokens=7)
    made |= {"promptTokens": 900, "completionTokens": 60}
    result = document(tmp_path, made)
    assert [call.usage for call in result.calls] == [
        None,
        Usage(input_tokens=900, output_tokens=7),
    ]


def test_output_that_may_be_of_several_calls_is_not_that_of_the_newest(tmp_path: Path) -> None:
    several = answered("1", *rounds("a", "b")) | {"promptTokens": 900, "completionTokens": 60}
    one = answered("2", *rounds("c")) | {"promptTokens": 950, "completionTokens": 9}
    zeros = answered("3", *rounds("d")) | {"promptTokens": 0, "completionTokens": 0}
    result = document(tmp_path, several, one, zeros)
    assert [call.usage for call in result.calls] == [
        None,
        Usage(input_tokens=900),
        Usage(input_tokens=950, output_tokens=9),
        None,
    ]


def test_totals_of_a_turn_are_calls_that_sum_up_the_others(tmp_path: Path) -> None:
    totals = [
        {"model": "gpt-5-mini", "inputTokens": 40, "cachedTokens": 0, "outputTokens": 4},
        {"model": "gpt-4.1", "inputTokens": 900, "cachedTokens": 512, "outputTokens": 60},
        {"model": "unused", "inputTokens": 0, "cachedTokens": 0, "outputTokens": 0},
    ]
    made = answered("1", *rounds("a", "b"), promptTokens=500, outputTokens=7)
    result = document(tmp_path, made | {"modelTotals": totals})
    assert [(call.model, call.is_sum) for call in result.calls] == [
        ("gpt-4.1", False),
        ("gpt-4.1", False),
        ("gpt-5-mini", True),
        ("gpt-4.1", True),
    ]
    assert [call.usage for call in result.calls[:2]] == [None, None]
    assert result.calls[3].usage == Usage(input_tokens=900, cache_read_tokens=512, output_tokens=60)


def test_totals_of_a_turn_of_one_call_are_its_own(tmp_path: Path) -> None:
    totals = [{"model": "gpt-4.1", "inputTokens": 900, "cachedTokens": 512, "outputTokens": 60}]
    result = document(tmp_path, answered("1", *rounds("a")) | {"modelTotals": totals})
    (call,) = result.calls
    assert call.usage == Usage(input_tokens=900, cache_read_tokens=512, output_tokens=60)
    assert not call.is_sum


def test_a_cached_part_above_the_whole_is_an_issue(tmp_path: Path) -> None:
    totals = [{"model": "m", "inputTokens": 9, "cachedTokens": 10, "outputTokens": 1}]
    result = document(tmp_path, answered("1", *rounds("a")) | {"modelTotals": totals})
    assert [issue.line for issue in result.issues] == [1]
    assert "exceed input" in result.issues[0].reason


def test_a_summary_is_a_call_and_begins_the_next_context(tmp_path: Path) -> None:
    usage = {"prompt_tokens": 700, "completion_tokens": 30,
             "prompt_tokens_details": {"cached_tokens": 512}}  # fmt: skip
    summary = {"toolCallRoundId": "r-a", "text": "so far", "usage": usage, "model": "gpt-5-mini"}
    result = document(
        tmp_path,
        answered("1", *rounds("a", "b"), toolCallResults=results("a"), summaries=[summary]),
        answered("2", *rounds("c"), asks="and", summary={"text": "of another round"}),
    )
    _, made, second, third = result.calls
    assert (made.model, made.identity) == ("gpt-5-mini", ("", "vscode-chat:q-1/summary r-a"))
    assert made.usage == Usage(input_tokens=700, cache_read_tokens=512, output_tokens=30)
    assert texts(result, made.prompt)[-1] == "found a"
    assert texts(result, second.prompt) == ["so far"]
    assert texts(result, third.prompt) == ["so far", "says b", "and"]


@pytest.mark.parametrize(
    ("logged", "resolved", "model", "provider"),
    [
        ("copilot/claude-sonnet-4.5", None, "claude-sonnet-4.5", None),
        ("copilot/auto", "gpt-5.6", "gpt-5.6", None),
        ("copilot/auto", None, None, None),
        ("openai/gpt-5", None, "gpt-5", "openai"),
        (None, None, None, None),
    ],
)
def test_models_are_named_without_copilot(
    tmp_path: Path, logged: str | None, resolved: str | None, model: str, provider: str
) -> None:
    made = answered("1", *rounds("a"), resolvedModel=resolved) | {"modelId": logged}
    (call,) = document(tmp_path, made).calls
    assert (call.model, call.provider) == (model, provider)


# --- Logs of changes ----------------------------------------------------------------------------


def result_of(*names: str, **metadata: Any) -> Row:
    made: Row = answered("x", *rounds(*names), **metadata)["result"]
    return made


def test_a_request_s_answer_is_put_into_it_by_later_lines(tmp_path: Path) -> None:
    result = changes(
        tmp_path,
        {"kind": 0, "v": session()},
        {"kind": 1, "k": ["customTitle"], "v": "Tides"},
        push(request("1")),
        push({"value": "says"}, path=(0, "response")),
        push({"value": "says a"}, path=(0, "response"), cut=0),
        put(result_of("a"), 0, "result"),
        put(900, 0, "promptTokens"),
        put(9, 0, "completionTokens"),
        {"kind": 3, "k": ["requests", 0, "followups"]},
        {"kind": 1, "k": ["inputState", "inputText"], "v": "Th"},
        {"kind": 9, "k": ["requests", 0]},
    )
    assert result.issues == []
    (call,) = result.calls
    assert (call.line, call.usage) == (6, Usage(input_tokens=900, output_tokens=9))
    assert result.traces[0].title == "Tides"


def test_a_log_says_what_the_document_of_the_same_session_says(tmp_path: Path) -> None:
    whole = [
        answered("1", *rounds("a", "b"), toolCallResults=results("a")),
        answered("2", *rounds("c")),
    ]
    logged = changes(
        tmp_path,
        {"kind": 0, "v": session()},
        push(*({key: value for key, value in each.items() if key != "result"} for each in whole)),
        *(put(each["result"], number, "result") for number, each in enumerate(whole)),
    )
    stored = document(tmp_path, *whole)
    assert [(call.identity, logged.tree.path(call.prompt)) for call in logged.calls] == [
        (call.identity, stored.tree.path(call.prompt)) for call in stored.calls
    ]
    assert len(logged.calls) == 3


def test_a_request_that_was_taken_back_was_billed_and_forks_from_the_next(tmp_path: Path) -> None:
    result = changes(
        tmp_path,
        {"kind": 0, "v": session(answered("1", *rounds("a")))},
        push(answered("2", *rounds("b"), asks="so")),
        push(answered("3", *rounds("c"), asks="otherwise"), cut=1),
    )
    assert [texts(result, call.prompt) for call in result.calls] == [
        ["hi"],
        ["hi", "says a", "so"],
        ["hi", "says a", "otherwise"],
    ]


def test_a_request_that_moved_up_counts_once_on_what_it_was_sent_with(tmp_path: Path) -> None:
    third = answered("3", *rounds("c"), asks="and")
    result = changes(
        tmp_path,
        {"kind": 0, "v": session(answered("1", *rounds("a")), answered("2", *rounds("b")), third)},
        push(third, cut=1),
        put(answered("4", *rounds("d"), asks="other"), 1),
    )
    assert [call.identity and call.identity[1][12:15] for call in result.calls] == [
        "q-1",
        "q-2",
        "q-3",
        "q-4",
    ]
    assert texts(result, result.calls[2].prompt) == ["hi", "says a", "hi", "says b", "and"]
    assert texts(result, result.calls[3].prompt) == ["hi", "says a", "other"]


def test_a_request_that_has_not_ended_is_no_call(tmp_path: Path) -> None:
    begun = request("1", response=[{"value": "I will"}])
    assert changes(tmp_path, {"kind": 0, "v": session(begun)}, push(request("2"))).calls == []


def test_changes_that_cannot_be_made_are_issues_and_the_others_are_made(tmp_path: Path) -> None:
    result = changes(
        tmp_path,
        {"kind": 0, "v": session(answered("1", *rounds("a")))},
        put(5, 7, "promptTokens"),
        {"kind": 1, "k": ["requests", 0, "result", "metadata", "toolCallRounds", 9, "id"], "v": 1},
        {"kind": 2, "k": ["requests"], "v": 3},
        {"kind": 0, "v": "session"},
        {"kind": 1, "k": [0.5]},
        {"k": []},
        put(900, 0, "promptTokens"),
        put("many", 0, "completionTokens"),
    )
    assert sorted(issue.line for issue in result.issues) == [1, 2, 3, 4, 5, 6, 7]
    assert result.calls == []
    result = changes(
        tmp_path,
        put(900, 0, "promptTokens"),
        "{",
        {"kind": 0, "v": session(answered("1", *rounds("a")))},
    )
    assert [issue.line for issue in result.issues] == [2]
    assert result.calls[0].usage == Usage(input_tokens=900)


# --- Damage, other files ------------------------------------------------------------------------


def test_a_bad_request_is_one_issue_and_the_others_are_kept(tmp_path: Path) -> None:
    bad = [
        answered("1", *rounds("a")) | {"promptTokens": -1},
        answered("2", *rounds("b"), toolCallRounds="none"),
        "request",
        answered("3", *rounds("c")) | {"timestamp": -5},
    ]
    result = document(tmp_path, *bad, answered("4", *rounds("d")))
    assert [issue.line for issue in result.issues] == [1, 2, 3, 4]
    assert [call.line for call in result.calls] == [5]


def test_requests_without_ids_are_calls_of_their_own(tmp_path: Path) -> None:
    made = answered("1", *rounds("a")) | {"requestId": None}
    assert [call.identity for call in document(tmp_path, made, made).calls] == [None, None]


def test_a_session_s_folder_is_that_of_its_workspace(tmp_path: Path) -> None:
    sessions = tmp_path / "chatSessions"
    sessions.mkdir()
    assert document(sessions).traces[0].project is None
    workspace = tmp_path / "workspace.json"
    for text, project in (
        ('{"folder": "file:///home/x/tide%20watch"}', "/home/x/tide watch"),
        ('{"folder": "vscode-remote://wsl%2Bubuntu/home/x"}', "/home/x"),
        ('{"folder": "http://[x"}', "http://[x"),
        ('{"folder": 7}', None),
    ):
        workspace.write_text(text)
        assert document(sessions).traces[0].project == project
    assert document(sessions, workingDirectory="file:///w").traces[0].project == "/w"


def test_a_session_is_known_by_its_responder_and_requests() -> None:
    def claim(value: Any) -> str | None:
        data = value if isinstance(value, bytes) else json.dumps(value).encode()
        return PARSER.identify(Head(Path("x"), data[:HEAD_BYTES]))

    long = session(request("1", "x" * 2 * HEAD_BYTES))
    assert claim(session()) == "a chat session with a responderUsername and requests"
    assert claim(long)
    assert (
        claim({"kind": 0, "v": long})
        == "changes to a chat session with a responderUsername and requests"
    )
    assert claim(json.dumps(session(request("1")), indent=2).encode())
    for other in (
        {"requests": []},
        {"responderUsername": "x", "requests": {}},
        {"responderUsername": 7, "requests": []},
        {"kind": 1, "v": session()},
        {"kind": 0, "v": []},
        {"text": json.dumps(session())},
        [session()],
        b'{"responderUsername": ',
    ):
        assert claim(other) is None, other


def test_sessions_are_looked_for_in_the_folders_of_all_workspaces(tmp_path: Path) -> None:
    found = [
        tmp_path / ".config" / "Code" / "User" / place / "chatSessions"
        for place in ("workspaceStorage/one", "workspaceStorage/two")
    ]
    for folder in found:
        folder.mkdir(parents=True)
        (folder.parent / "state.vscdb").write_text("")
    (logs,) = default_logs([PARSER], {}, tmp_path)
    assert list(logs.found) == found


def test_the_sample_has_the_totals_its_page_states(sample_logs: Path) -> None:
    folder = sample_logs / "vscode-chat"
    assert sample_totals(PARSER, folder) == Totals(10, 101_820, 14_848, 0, 190, 0)
    page = (folder / "README.md").read_text()
    assert "101,820 input tokens of which 14,848 cached, 190 output" in page
    (log,) = folder.rglob("*.jsonl")
    result = parse_file(PARSER, log)
    first, taken_back, instead = result.calls[2:]
    assert texts(result, taken_back.prompt)[:-1] == texts(result, instead.prompt)[:-1]
    assert texts(result, first.completion) == texts(result, instead.prompt)[:-1]
    assert result.traces[0].title == "Silent gauges"


@pytest.mark.real
def test_no_real_log_of_another_format_is_claimed(real_logs: Path) -> None:
    for path in (path for path in real_logs.rglob("*") if path.is_file()):
        assert PARSER.identify(read_head(path)) is None, path

"""The parser for Gemini CLI chats."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from recording_tree import Parsed, parse_file
from sample_totals import Totals, sample_totals

from forkpoint.parsers.gemini_cli import GeminiCli
from forkpoint.parsers.logs import HEAD_BYTES, Head, read_head
from forkpoint.parsers.records import Kind, Usage

PARSER = GeminiCli()
SESSION = {"sessionId": "s-1", "projectHash": "abc", "startTime": "2026-10-05T09:00:00.000Z"}
TOKENS = {"input": 100, "output": 20, "cached": 60, "thoughts": 5, "tool": 0, "total": 125}


def user(name: str, text: Any) -> dict[str, Any]:
    return {"id": name, "timestamp": "2026-10-05T09:00:01.000Z", "type": "user", "content": text}


def answer(name: str, text: Any, **more: Any) -> dict[str, Any]:
    head = {"id": name, "timestamp": "2026-10-05T09:00:02.000Z", "type": "gemini", "content": text}
    return {**head, "model": "gemini-2.5-pro", "tokens": TOKENS, **more}


def tool_call(name: str, result: Any, **args: Any) -> dict[str, Any]:
    response = {"functionResponse": {"id": "x1", "name": name, "response": {"output": result}}}
    return {"id": "x1", "name": name, "args": args, "result": [response], "status": "success"}


def lines(folder: Path, *records: Any, name: str = "session.jsonl") -> Parsed:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return parse_file(PARSER, path)


def document(folder: Path, *messages: Any, name: str = "session.json", **more: Any) -> Parsed:
    path = folder / name
    path.write_text(json.dumps({**SESSION, **more, "messages": messages}, indent=2))
    return parse_file(PARSER, path)


def texts(result: Parsed, node: int | None) -> list[Any]:
    return [segment.content for segment in result.tree.path(node or 0)][1:]


def test_a_document_and_the_same_chat_as_lines_are_the_same(tmp_path: Path) -> None:
    called = answer("m2", "Let me see.", toolCalls=[tool_call("read", "text", path="a")])
    messages = [user("m1", "hi"), called, answer("m3", "Done.")]
    old = document(tmp_path, *messages)
    new = lines(tmp_path, SESSION, *messages)
    assert old.issues == new.issues == []
    for result in (old, new):
        first, second = result.calls
        assert first.identity == ("", "m2")
        assert texts(result, first.prompt) == ["hi"]
        assert texts(result, first.completion) == ["hi", "Let me see.", 'read\n{"path":"a"}']
        spoken = texts(result, second.prompt)
        assert spoken == ["hi", "Let me see.", 'read\n{"path":"a"}', "text"]
    assert [s.content for s in old.tree.path(old.calls[1].completion or 0)] == [
        s.content for s in new.tree.path(new.calls[1].completion or 0)
    ]


def test_the_beginning_that_is_not_logged_comes_first(tmp_path: Path) -> None:
    result = lines(tmp_path, SESSION, user("m1", "hi"), answer("m2", "ho"))
    first = result.tree.path(result.calls[0].prompt)[0]
    assert (first.kind, first.role) == (Kind.UNLOGGED, "system")


def test_input_includes_the_cached_and_output_the_thoughts(tmp_path: Path) -> None:
    (call,) = lines(tmp_path, SESSION, user("m1", "hi"), answer("m2", "ho")).calls
    assert call.usage == Usage(
        input_tokens=100, cache_read_tokens=60, output_tokens=25, reasoning_tokens=5
    )
    assert (call.provider, call.model) == ("google", "gemini-2.5-pro")


def test_of_a_message_written_again_the_last_version_counts(tmp_path: Path) -> None:
    bare = answer("m2", "Let me see.", tokens=None)
    counted = {**bare, "tokens": TOKENS}
    whole = {**counted, "toolCalls": [tool_call("read", "text", path="a")]}
    result = lines(tmp_path, SESSION, user("m1", "hi"), bare, counted, whole, answer("m3", "Done."))
    assert [call.identity for call in result.calls] == [("", "m2"), ("", "m3")]
    assert texts(result, result.calls[1].prompt)[-2:] == ['read\n{"path":"a"}', "text"]
    assert result.calls[0].line == 4  # where its tokens are first stated


def test_what_was_rewound_stays_a_call_and_what_follows_forks_before_it(tmp_path: Path) -> None:
    result = lines(
        tmp_path,
        SESSION,
        user("m1", "hi"),
        answer("m2", "ho"),
        user("m3", "left"),
        answer("m4", "gone left"),
        {"$rewindTo": "m3"},
        user("m5", "right"),
        answer("m6", "gone right"),
    )
    assert [call.identity for call in result.calls] == [("", "m2"), ("", "m4"), ("", "m6")]
    prompts = [texts(result, call.prompt) for call in result.calls]
    assert prompts == [["hi"], ["hi", "ho", "left"], ["hi", "ho", "right"]]


def test_a_history_put_in_place_begins_the_next_prompt(tmp_path: Path) -> None:
    summary = user("s1", [{"text": "They said hi."}])
    result = lines(
        tmp_path,
        SESSION,
        user("m1", "hi"),
        answer("m2", "ho"),
        {"$set": {"messages": [summary], "lastUpdated": "2026-10-05T10:00:00.000Z"}},
        user("m3", "and now"),
        answer("m4", "this"),
    )
    assert len(result.calls) == 2
    assert texts(result, result.calls[1].prompt) == ["They said hi.", "and now"]


def test_a_history_with_function_parts_does_not_double_calls_and_results(tmp_path: Path) -> None:
    call = {"functionCall": {"id": "q", "name": "read", "args": {"path": "a"}}}
    response = {"functionResponse": {"id": "q", "name": "read", "response": {"output": "text"}}}
    spoken = answer("m2", [{"text": "Let me see."}, call])
    spoken["toolCalls"] = [tool_call("read", "text", path="a")]
    history = [user("m1", "hi"), spoken, user("m3", [response])]
    result = lines(tmp_path, SESSION, {"$set": {"messages": history}}, answer("m4", "Done."))
    assert texts(result, result.calls[1].prompt) == [
        "hi",
        "Let me see.",
        'read\n{"path":"a"}',
        "text",
    ]


def test_a_subagent_s_chat_has_its_parent_s_folder(tmp_path: Path) -> None:
    head = {**SESSION, "sessionId": "sub", "kind": "subagent", "directories": ["/home/lea"]}
    result = lines(
        tmp_path, head, user("m1", "look"), answer("m2", "seen"), name="chats/parent/sub.jsonl"
    )
    assert [call.sidechain for call in result.calls] == [True]
    (trace,) = result.traces
    assert (trace.id, trace.parent, trace.project) == ("sub", "parent", "/home/lea")


def test_messages_that_are_no_one_s_are_no_calls(tmp_path: Path) -> None:
    warning = {"id": "w", "timestamp": "x", "type": "warning", "content": {"any": 1}}
    result = lines(tmp_path, SESSION, {**warning, "timestamp": "2026-10-05T09:00:00Z"})
    assert (result.calls, result.issues, len(result.traces)) == ([], [], 1)


def test_a_synthetic_answer_without_tokens_is_no_call(tmp_path: Path) -> None:
    snapshot = answer("m2", "Snapshot.", tokens=None, model=None)
    result = lines(tmp_path, SESSION, user("m1", "hi"), snapshot, answer("m3", "ho"))
    assert texts(result, result.calls[0].prompt) == ["hi", "Snapshot."]
    assert len(result.calls) == 1


def test_zeros_are_unknown(tmp_path: Path) -> None:
    nothing = dict.fromkeys(TOKENS, 0)
    (call,) = lines(tmp_path, SESSION, answer("m2", "ho", tokens=nothing)).calls
    assert call.usage is None


@pytest.mark.parametrize(
    "bad",
    [
        answer("bad", "x", tokens={"input": "many"}),
        answer("bad", "x", tokens={"input": 5, "cached": 9}),
        answer("bad", 7),
        answer("bad", "x", toolCalls=[7]),
        {**user("bad", "x"), "id": 7},
        {"$rewindTo": 7},
        {"$set": {"messages": 7}},
        ["not", "a", "record"],
    ],
)
def test_a_bad_line_is_one_issue_and_the_others_are_kept(tmp_path: Path, bad: Any) -> None:
    result = lines(tmp_path, SESSION, answer("m1", "a"), bad, answer("m2", "b"))
    assert [call.identity for call in result.calls] == [("", "m1"), ("", "m2")]
    (issue,) = result.issues
    assert issue.line == 3
    data = (tmp_path / "session.jsonl").read_bytes()
    assert data[issue.offset :].startswith(json.dumps(bad).encode())


def test_a_bad_message_of_a_document_is_one_issue_with_its_place(tmp_path: Path) -> None:
    result = document(tmp_path, answer("m1", "a"), answer("bad", 7), answer("m2", "b"))
    assert [call.identity for call in result.calls] == [("", "m1"), ("", "m2")]
    (issue,) = result.issues
    data = (tmp_path / "session.json").read_bytes()
    assert issue.line == 2
    assert json.JSONDecoder().raw_decode(data[issue.offset :].decode())[0]["id"] == "bad"


def test_a_document_named_jsonl_and_a_compressed_one_are_read(tmp_path: Path) -> None:
    messages = [user("m1", "hi"), answer("m2", "ho")]
    assert len(document(tmp_path, *messages, name="session.jsonl").calls) == 1
    packed = tmp_path / "session.json.gz"
    packed.write_bytes(gzip.compress((tmp_path / "session.jsonl").read_bytes()))
    assert len(parse_file(PARSER, packed).calls) == 1


def test_a_chat_is_known_by_its_first_keys() -> None:
    long = {**SESSION, "messages": [user("m1", "x" * HEAD_BYTES)]}
    for text in (json.dumps(long), json.dumps(long, indent=2), json.dumps(SESSION) + "\n"):
        assert PARSER.identify(Head(Path("x"), text.encode()[:HEAD_BYTES]))
    reordered = {"messages": [], "projectHash": "x", "sessionId": "y"}
    assert PARSER.identify(Head(Path("x"), json.dumps(reordered).encode()))
    for other in ({"sessionId": "x"}, {"sessionId": "x", "type": "user", "uuid": "y"}, []):
        assert PARSER.identify(Head(Path("x"), json.dumps(other).encode())) is None


def test_the_sample_has_the_totals_its_page_states(sample_logs: Path) -> None:
    totals = sample_totals(PARSER, sample_logs / "gemini-cli")
    assert totals == Totals(18, 141_441, 119_552, 0, 1_754, 1_098)


@pytest.mark.real
def test_real_chats_have_the_known_messages_and_tokens(real_logs: Path) -> None:
    facts = json.loads((real_logs / "FACTS.json").read_text())["gemini_cli"]
    assert facts
    for name, fact in facts.items():
        result = parse_file(PARSER, real_logs / name)
        assert result.issues == []
        assert len(result.calls) == fact["with_tokens"]
        usages = [call.usage for call in result.calls if call.usage is not None]
        tokens = fact["tokens"] or dict.fromkeys(TOKENS, 0)
        assert sum(usage.input_tokens or 0 for usage in usages) == tokens["input"]
        assert sum(usage.cache_read_tokens or 0 for usage in usages) == tokens["cached"]
        assert sum(usage.reasoning_tokens or 0 for usage in usages) == tokens["thoughts"]
        generated = sum(usage.output_tokens or 0 for usage in usages)
        assert generated == tokens["output"] + tokens["thoughts"]
        assert tokens["total"] == tokens["input"] + generated
        models = [call.model for call in result.calls]
        assert {model: models.count(model) for model in models} == fact["models"]


@pytest.mark.real
def test_only_the_real_chats_are_claimed(real_logs: Path) -> None:
    for path in (path for path in real_logs.rglob("*") if path.is_file()):
        ours = path.parent.parent.name == "gemini-cli"
        assert (PARSER.identify(read_head(path)) is not None) == ours, path

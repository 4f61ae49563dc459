"""The parser for vLLM's request logs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from parsed_records import claim, read
from recording_tree import Parsed

from forkpoint.parsers.records import Kind
from forkpoint.parsers.vllm import Vllm

PARSER = Vllm()
STAMP = "INFO 11-14 09:00:00 [logger.py:43]"
LATER = "INFO 11-14 09:00:02 [logger.py:71]"
PARAMS = "SamplingParams(n=1, stop=['prompt_token_ids: [9]'], max_tokens=5)"


def received(own: str, prompt: str | None, ids: list[int] | None = None, stamp: str = STAMP) -> str:
    return (
        f"{stamp} Received request {own}: prompt: {prompt!r}, params: {PARAMS}, prompt_token_ids: "
        f"{ids}, prompt_embeds shape: None, lora_request: None, prompt_adapter_request: None."
    )


def answered(own: str, text: str, ids: list[int] | None = None, stream: str = "") -> str:
    return (
        f"{LATER} Generated response {own}{stream}: output: {text!r}, output_token_ids: {ids}, "
        "finish_reason: stop"
    )


def log(folder: Path, *lines: str) -> Parsed:
    return read(PARSER, folder / "server.log", "".join(line + "\n" for line in lines))


def test_a_request_and_its_response_are_a_call(tmp_path: Path) -> None:
    found = log(tmp_path, "Starting.", received("c-1", "Hello?"), answered("c-1", " Hi."))
    (call,) = found.calls
    assert (call.identity, call.line, call.offset) == (("", "c-1"), 2, 10)
    assert found.tree.path(call.prompt) == [(Kind.RENDERED, "prompt", "Hello?")]
    assert found.tree.path(call.completion or 0) == [(Kind.RENDERED, "prompt", "Hello? Hi.")]
    assert (str(call.started_at), call.duration_s) == ("1972-11-14 09:00:00+00:00", 2.0)
    assert (call.usage, call.model, call.text) == (None, None, None)
    assert [trace.id for trace in found.traces] == [call.trace]


def test_token_ids_count_and_the_text_beside_them_is_the_same_sequence(tmp_path: Path) -> None:
    found = log(tmp_path, received("c-1", "Hello?", [1, 2]), answered("c-1", " Hi.", [3]))
    (call,) = found.calls
    assert found.tree.path(call.prompt)[0].content == (1, 2)
    assert found.tree.path(call.completion or 0)[0].content == (1, 2, 3)
    assert found.text(call.text) == ["Hello? Hi."]


def test_a_stream_s_text_follows_a_prompt_of_ids(tmp_path: Path) -> None:
    found = log(
        tmp_path,
        received("c-1", None, [1, 2]),
        answered("c-1", " H", [3], stream=" (streaming delta)"),
        answered("c-1", " Hi.", None, stream=" (streaming complete)"),
    )
    (call,) = found.calls
    kinds = [segment.kind for segment in found.tree.path(call.completion or 0)]
    assert kinds == [Kind.TOKENS, Kind.RENDERED]
    assert len(found.traces) == 1


@pytest.mark.parametrize(
    "text",
    [
        'it\'s "quoted"',
        'only "double"',
        "back\\slash and \\n",
        "line\nbreak\ttab\r",
        "caf\u00e9 \U0001f6a2 \u2028",
        "\x00\x7f",
        "half \ud83d",
        ", params: x, prompt_token_ids: [7], Received request z: prompt: 'y'",
        "",
    ],
)
def test_any_text_is_read_back_from_its_literal(tmp_path: Path, text: str) -> None:
    found = log(tmp_path, received("c-1", text + "?"), answered("c-1", text + "!"))
    (call,) = found.calls
    assert found.text(call.completion) == [f"{text}?{text}!"]


def test_newer_servers_say_prompts_on_lines_of_their_own(tmp_path: Path) -> None:
    colour = "\x1b[0;36m(APIServer pid=7)\x1b[0;0m"
    found = log(
        tmp_path,
        f"{colour} DEBUG 11-14 09:00:00 [x.py:1] Request c-1 details: prompt: 'Hello?', "
        "prompt_token_ids: [4, 5], prompt_embeds shape: None.",
        f"{colour} INFO 11-14 09:00:00 [x.py:2] Received request c-1: params: {PARAMS}, "
        "lora_request: None.",
        f"(APIServer pid=7) {answered('c-1', 'Hi.', [6])}",
    )
    (call,) = found.calls
    assert found.tree.path(call.prompt)[0].content == (4, 5)
    assert call.line == 1


def test_older_servers_and_others_that_log_by_the_same_class_are_read(tmp_path: Path) -> None:
    old = (
        "INFO 02-01 06:36:12 async_llm_engine.py:436] Received request cmpl-1-0: prompt: None, "
        "prefix_pos: None,sampling_params: SamplingParams(n=1), prompt_token_ids: [8, 9], "
        "lora_request: None."
    )
    kserve = received("c-2", "Hello?", stamp="2025-05-14 17:45:10.901 1647689 kserve.trace")
    found = log(tmp_path, old, kserve)
    one, two = found.calls
    assert found.tree.path(one.prompt)[0].content == (8, 9)
    assert (one.duration_s, one.completion) == (None, None)
    assert str(two.started_at) == "2025-05-14 17:45:10.901000+00:00"


def test_a_request_of_which_nothing_was_logged_is_none(tmp_path: Path) -> None:
    bare = f"{STAMP} Received request c-1: params: {PARAMS}, lora_request: None."
    found = log(tmp_path, bare, bare.replace("c-1", "c-2"), answered("c-2", "Hi."))
    (call,) = found.calls
    assert call.identity == ("", "c-2")
    path = found.tree.path(call.completion or 0)
    assert [segment.kind for segment in path] == [Kind.UNLOGGED, Kind.RENDERED]
    assert found.issues == []


def test_several_responses_are_rollouts_of_one_prompt(tmp_path: Path) -> None:
    found = log(
        tmp_path, received("c-1", "Count."), answered("c-1", "One."), answered("c-1", "Two.")
    )
    rollouts = [trace for trace in found.traces if trace.group is not None]
    assert [found.text(trace.leaf) for trace in rollouts] == [["Count.One."], ["Count.Two."]]
    assert {trace.prompt for trace in rollouts} == {found.calls[0].prompt}


def test_other_lines_say_nothing_and_cut_ones_are_issues(tmp_path: Path) -> None:
    found = log(
        tmp_path,
        'INFO:     10.0.0.7:1 - "POST /v1/chat/completions HTTP/1.1" 200 OK',
        f"{STAMP} Added request c-1.",
        json.dumps({"log": received("in-json", "no")}),
        received("c-1", "Hello?").split("lo?")[0],
        received("c-2", "Hello?", [1, 2, 3]).split(", 3]")[0],
        f"{STAMP} Received request c-3: prompt: 'bad \\k escape', params: x",
        received("c-4", "Hello?", [2**40]),
        received("c-5", "Hello?"),
    )
    assert [call.identity for call in found.calls] == [("", "c-5")]
    assert [issue.line for issue in found.issues] == [4, 5, 6, 7]


def test_a_copy_of_a_log_holds_the_same_calls_in_the_same_trace(tmp_path: Path) -> None:
    lines = [received("c-1", "Hello?"), received("c-2", "Bye.")]
    one, two = log(tmp_path, *lines), log(tmp_path, "more", *lines)
    assert [(c.identity, c.trace) for c in one.calls] == [(c.identity, c.trace) for c in two.calls]


@pytest.mark.parametrize(
    "other",
    [
        "INFO 11-14 09:00:00 [logger.py:43] Added request c-1.\n",
        json.dumps({"text": received("c-1", "x")}) + "\n",
        "I read: Received request c-1: prompt: 'x', params: y\n",
        "[2026-11-16 10:00:00] Receive: obj=GenerateReqInput(rid='x', text='y')\n",
        "",
    ],
)
def test_other_texts_are_refused(other: str) -> None:
    assert claim(PARSER, other, "server.log") is None


def test_a_log_is_known_behind_its_server_s_first_lines() -> None:
    start = "INFO 11-14 09:00:00 [api_server.py:1] args: Namespace(x='y')\n" * 300
    assert claim(PARSER, start + received("c-1", "Hello?") + "\n", "x.log") is not None


def test_the_samples_are_two_servers_with_the_same_chats(sample_logs: Path) -> None:
    old = read(PARSER, sample_logs / "vllm" / "server.log")
    new = read(PARSER, sample_logs / "vllm" / "debug.log")
    assert (len(old.calls), len(new.calls), old.issues + new.issues) == (3, 3, [])
    texts = [old.text(call.text) for call in old.calls]
    assert texts == [new.text(call.completion) for call in new.calls]
    first, second, third = (old.tree.path(call.completion or 0)[0].content for call in old.calls)
    assert second[: len(first)] == first
    assert third[:20] == first[:20] and third != first

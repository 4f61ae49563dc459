"""Codex rollouts: which events are calls, whose calls they are, and where their prompts end."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import zstandard
from recording_tree import Parsed, RecordingTree, Seen, parse_file, parse_tail

from forkpoint.parsers.base import Reread
from forkpoint.parsers.codex import Codex
from forkpoint.parsers.logs import HEAD_BYTES, Log, read_head
from forkpoint.parsers.records import Call, Kind

THREAD = "019e0000-0000-7000-8000-00000000000a"
OTHER = "019e0000-0000-7000-8000-00000000000b"
AT = "2026-10-01T10:00:00.000Z"

Row = dict[str, Any]


def row(kind: str, payload: Any, at: str = AT) -> Row:
    return {"timestamp": at, "type": kind, "payload": payload}


def meta(thread: str = THREAD, at: str = AT, **more: Any) -> Row:
    payload = {"id": thread, "cwd": "/x", "cli_version": "0.126.0"}
    return row("session_meta", payload | more, at)


def spawned_by(parent: str) -> dict[str, Any]:
    return {"subagent": {"thread_spawn": {"parent_thread_id": parent, "depth": 1}}}


def model(name: str, **more: Any) -> Row:
    return row("turn_context", {"model": name, **more})


def counts(input: int, cached: int = 0, output: int = 0, reasoning: int = 0) -> Row:
    return {
        "input_tokens": input,
        "cached_input_tokens": cached,
        "output_tokens": output,
        "reasoning_output_tokens": reasoning,
        "total_tokens": input + output,
    }


def event(kind: str, at: str = AT, **payload: Any) -> Row:
    return row("event_msg", {"type": kind, **payload}, at)


def tokens(total: Row | None, last: Row | None, at: str = AT) -> Row:
    info = {"total_token_usage": total, "last_token_usage": last, "model_context_window": 258400}
    return event("token_count", at, info=info, rate_limits=None)


def summed(lasts: Iterable[Row], at: str = AT) -> list[Row]:
    """One event per call, each with the running total."""
    total: Row = {}
    rows = []
    for last in lasts:
        total = {name: total.get(name, 0) + n for name, n in last.items()}
        rows.append(tokens(total, last, at))
    return rows


def said(role: str, text: str, at: str = AT) -> Row:
    part = "output_text" if role == "assistant" else "input_text"
    content = [{"type": part, "text": text}]
    return row("response_item", {"type": "message", "role": role, "content": content}, at)


def item(kind: str, **fields: Any) -> Row:
    return row("response_item", {"type": kind, **fields})


def write(path: Path, rows: Iterable[Row | str]) -> Path:
    lines = (line if isinstance(line, str) else json.dumps(line) for line in rows)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def read(tmp_path: Path, *rows: Row | str) -> Parsed:
    return parse_file(Codex(), write(tmp_path / "rollout.jsonl", rows))


def texts(parsed: Parsed, node: int | None) -> list[str]:
    """The conversation on the way to a node, without what stands before it."""
    assert node is not None
    return [seen.content for seen in parsed.tree.path(node)][2:]


def inputs(parsed: Parsed) -> list[int | None]:
    return [call.usage.input_tokens for call in parsed.calls if call.usage]


def distinct(files: Iterable[Parsed]) -> list[Call]:
    """The calls of several files, each once: the same key within one family of threads."""
    files = list(files)
    forked_from = {trace.id: trace.forked_from for file in files for trace in file.traces}
    found: dict[tuple[str, str], Call] = {}
    for call in (call for file in files for call in file.calls):
        assert call.identity is not None
        thread, key = call.identity
        while parent := forked_from.get(thread):
            thread = parent
        found.setdefault((thread, key), call)
    return list(found.values())


def totals(calls: Iterable[Call]) -> tuple[int, int, int, int, int]:
    """(calls, input, cached, output, reasoning)."""
    usages = [call.usage for call in calls if call.usage]
    return (
        len(usages),
        sum(usage.input_tokens or 0 for usage in usages),
        sum(usage.cache_read_tokens or 0 for usage in usages),
        sum(usage.output_tokens or 0 for usage in usages),
        sum(usage.reasoning_tokens or 0 for usage in usages),
    )


# --- Real logs ----------------------------------------------------------------------------------


@pytest.mark.real
def test_each_real_file_gives_the_calls_and_tokens_an_independent_script_counted(
    real_logs: Path,
) -> None:
    facts = json.loads((real_logs / "FACTS.json").read_text())["codex"]
    assert facts
    for name, fact in facts.items():
        parsed = parse_file(Codex(), real_logs / name)
        usage = fact["sum_last_token_usage"]
        assert parsed.issues == []
        assert totals(parsed.calls) == (
            fact["distinct_calls"],
            usage["input_tokens"],
            usage["cached_input_tokens"],
            usage["output_tokens"],
            usage["reasoning_output_tokens"],
        )
        assert {call.model for call in parsed.calls} == set(fact["models"])


@pytest.mark.real
def test_real_snapshots_of_one_thread_merge_into_its_calls(real_logs: Path) -> None:
    files = [parse_file(Codex(), path) for path in (real_logs / "codex").rglob("*.jsonl")]
    calls = distinct(files)
    assert totals(calls) == (258, 31_070_180, 30_437_888, 89_323, 35_510)
    assert len({trace.id for file in files for trace in file.traces}) == 4


@pytest.mark.real
def test_real_completions_are_the_beginning_of_the_next_prompt(real_logs: Path) -> None:
    for path in (real_logs / "codex").rglob("*.jsonl"):
        parsed = parse_file(Codex(), path)
        paths = [
            (parsed.tree.path(call.prompt), parsed.tree.path(call.completion or 0))
            for call in parsed.calls
        ]
        for prompt, completion in paths:
            assert len(completion) > len(prompt) > 2
            assert completion[: len(prompt)] == prompt
        for (_, completion), (prompt, _) in pairwise(paths):
            assert prompt[: len(completion)] == completion
            assert len(prompt) > len(completion)


@pytest.mark.corpus
def test_the_generated_family_of_threads_has_its_known_truth(
    corpus_generators: Path, tmp_path: Path
) -> None:
    source = (corpus_generators / "gen_codex.py").read_text()
    program = tmp_path / "gen.py"
    program.write_text(source)
    subprocess.run([sys.executable, program, tmp_path], check=True, capture_output=True)
    files = [parse_file(Codex(), path) for path in sorted(tmp_path.rglob("*.jsonl"))]
    assert len(files) == 3
    assert totals(distinct(files))[:4] == (14, 229_102, 201_500, 1_210)
    assert totals(distinct(reversed(files)))[:4] == (14, 229_102, 201_500, 1_210)


# --- Which events are calls ---------------------------------------------------------------------


def test_an_event_counts_when_the_total_changes(tmp_path: Path) -> None:
    first, second = summed([counts(100, 0, 10), counts(200, 128, 20, 5)])
    null = event("token_count", info=None, rate_limits={"plan_type": "team"})
    parsed = read(tmp_path, meta(), null, first, first, null, second, second)
    assert parsed.issues == []
    assert totals(parsed.calls) == (2, 300, 128, 30, 5)
    assert [call.line for call in parsed.calls] == [3, 6]
    data = (tmp_path / "rollout.jsonl").read_bytes()
    assert all(data[call.offset :].startswith(b'{"timestamp"') for call in parsed.calls)
    assert data[: parsed.calls[1].offset].count(b"\n") == 5


def test_a_change_in_any_field_of_the_total_is_a_call(tmp_path: Path) -> None:
    total = counts(100, 0, 10)
    changed = total | {"cached_input_tokens": 64}
    parsed = read(tmp_path, meta(), tokens(total, total), tokens(changed, counts(64, 64, 1)))
    assert inputs(parsed) == [100, 64]


def test_a_last_usage_of_zeros_is_not_a_call(tmp_path: Path) -> None:
    total = counts(100, 0, 10)
    estimate = counts(0) | {"total_tokens": 4_321}
    parsed = read(
        tmp_path,
        meta(),
        tokens(total, total),
        tokens(total, counts(0)),
        tokens(total | {"total_tokens": 9_999}, estimate),
    )
    assert inputs(parsed) == [100]


def test_a_total_that_falls_after_a_rewind_still_counts_the_last_usage(tmp_path: Path) -> None:
    parsed = read(
        tmp_path,
        meta(),
        tokens(counts(500, 0, 50), counts(500, 0, 50)),
        tokens(counts(300, 0, 30), counts(120, 0, 12)),
    )
    assert inputs(parsed) == [500, 120]
    assert parsed.issues == []


def test_without_a_last_usage_the_growth_of_the_total_is_the_call(tmp_path: Path) -> None:
    parsed = read(
        tmp_path,
        meta(),
        tokens(counts(100, 0, 10), None),
        tokens(counts(350, 200, 30), None),
        tokens(counts(90, 0, 1), None),
        tokens(counts(100, 0, 2), None),
    )
    assert totals(parsed.calls) == (3, 360, 200, 31, 0)
    (issue,) = parsed.issues
    assert issue.line == 4 and "total fell" in issue.reason


def test_missing_counts_stay_unknown_and_cache_writes_are_kept(tmp_path: Path) -> None:
    old = {"input_tokens": 10, "output_tokens": 1}
    new = counts(100, 20, 5) | {"cache_write_input_tokens": 64}
    parsed = read(tmp_path, meta(), tokens(old, old), tokens(counts(110, 20, 6), new))
    first, second = [call.usage for call in parsed.calls]
    assert first is not None and second is not None
    assert (first.cache_read_tokens, first.cache_write_tokens) == (None, None)
    assert first.reasoning_tokens is None
    assert (second.cache_read_tokens, second.cache_write_tokens) == (20, 64)


def record(thread: str, response: str, usage: Row) -> Row:
    payload = {"thread_id": thread, "response_id": response, "usage": usage}
    return row("token_usage_record", payload | {"turn_token_usage": usage})


@pytest.mark.parametrize("record_first", [True, False])
def test_a_usage_record_beside_its_event_is_not_a_second_call(
    tmp_path: Path, record_first: bool
) -> None:
    usages = [counts(100, 0, 10), counts(200, 64, 20)]
    rows = []
    for number, (usage, counted) in enumerate(zip(usages, summed(usages), strict=True)):
        pair = [record(THREAD, f"resp_{number}", usage), counted]
        rows += pair if record_first else pair[::-1]
    parsed = read(tmp_path, meta(), *rows, event("task_complete"))
    plain = read(tmp_path, meta(), *summed(usages))
    assert totals(parsed.calls) == (2, 300, 64, 30, 0)
    assert [call.identity for call in parsed.calls] == [call.identity for call in plain.calls]


def test_a_usage_record_that_no_event_counts_is_a_call_of_its_own(tmp_path: Path) -> None:
    usage = counts(100, 0, 10)
    compaction = record(THREAD, "resp_c", counts(900, 0, 90))
    replaced = row("compacted", {"message": "", "replacement_history": []})
    parsed = read(
        tmp_path,
        meta(),
        said("user", "hello"),
        said("assistant", "hi"),
        record(THREAD, "resp_1", usage),
        tokens(usage, usage),
        compaction,
        record(OTHER, "resp_child", counts(7, 0, 7)),
        replaced,
        event("task_complete"),
    )
    assert inputs(parsed) == [100, 900]
    assert parsed.calls[1].line == 6
    assert texts(parsed, parsed.calls[1].prompt) == ["hello", "hi"]
    assert parsed.calls[1].completion is None


# --- Whose calls --------------------------------------------------------------------------------


def test_a_fork_and_a_subagent_that_replay_the_parent_share_its_calls(tmp_path: Path) -> None:
    history = [counts(100 + n, 50, 10) for n in range(5)]
    parent = write(tmp_path / "a.jsonl", [meta(), *summed(history)])
    at = "2026-10-02T12:00:00.005Z"
    fork = write(
        tmp_path / "b.jsonl",
        [meta(OTHER, at, forked_from_id=THREAD), *summed([*history, counts(777, 0, 7)], at)],
    )
    subagent = write(
        tmp_path / "c.jsonl",
        [meta("sub", at, source=spawned_by(THREAD)), *summed([*history, counts(888, 0, 8)], at)],
    )
    files = [parse_file(Codex(), path) for path in (parent, fork, subagent)]
    assert totals(distinct(files)) == (7, 510 + 777 + 888, 250, 65, 0)
    assert files[1].traces[-1].forked_from == THREAD
    assert files[1].traces[-1].parent is None
    assert (files[2].traces[-1].forked_from, files[2].traces[-1].parent) == (THREAD, THREAD)
    assert all(call.sidechain for call in files[2].calls)
    assert not any(call.sidechain for call in files[1].calls)


def test_subagents_that_begin_afresh_with_equal_numbers_stay_apart(tmp_path: Path) -> None:
    files = []
    for name in ("one", "two"):
        rows = [
            meta(name, source=spawned_by(THREAD)),
            *summed([counts(100, 0, 10)], "2026-10-01T10:00:09.000Z"),
        ]
        files.append(parse_file(Codex(), write(tmp_path / f"{name}.jsonl", rows)))
    assert len(distinct(files)) == 2
    assert {file.traces[-1].parent for file in files} == {THREAD}


def test_an_ancestor_s_session_meta_in_the_file_is_history_and_tells_of_the_fork(
    tmp_path: Path,
) -> None:
    usage = counts(100, 0, 10)
    parsed = read(tmp_path, meta(), meta(OTHER), meta("grand"), meta(), tokens(usage, usage))
    assert parsed.traces[-1].id == THREAD
    assert parsed.traces[-1].forked_from == OTHER
    (call,) = parsed.calls
    assert call.trace == THREAD
    assert call.identity is not None and call.identity[0] == THREAD


def test_threads_with_equal_numbers_are_not_merged_and_neither_are_equal_calls_of_one(
    tmp_path: Path,
) -> None:
    same = summed([counts(100, 0, 10), counts(100, 0, 10)])
    one = parse_file(Codex(), write(tmp_path / "1.jsonl", [meta(), *same]))
    two = parse_file(Codex(), write(tmp_path / "2.jsonl", [meta(OTHER), *same]))
    assert len(distinct([one, two])) == 4


def test_totals_that_recur_after_a_rewind_are_distinct_work(tmp_path: Path) -> None:
    a, b = tokens(counts(10), counts(10)), tokens(counts(30), counts(20))
    parsed = read(tmp_path, meta(), a, b, a, b)
    assert len({call.identity for call in parsed.calls}) == 4


def test_a_newer_field_in_a_replay_does_not_change_whose_call_it_is(tmp_path: Path) -> None:
    usage = counts(100, 0, 10)
    new = usage | {"cache_write_input_tokens": 0}
    one = read(tmp_path, meta(), tokens(usage, usage))
    two = read(tmp_path, meta(), tokens(new, new))
    assert one.calls[0].identity == two.calls[0].identity


def test_a_log_without_session_meta_gives_calls_without_identity(tmp_path: Path) -> None:
    usage = counts(100, 0, 10)
    parsed = read(tmp_path, said("user", "hello"), tokens(usage, usage))
    (call,) = parsed.calls
    assert call.identity is None
    assert [trace.id for trace in parsed.traces] == [call.trace]


def test_model_tier_provider_title_and_place_are_those_in_force(tmp_path: Path) -> None:
    first, second, third = summed([counts(1), counts(2), counts(3)])
    parsed = read(
        tmp_path,
        meta(model_provider="azure"),
        model("gpt-5.4"),
        first,
        event("thread_settings_applied", thread_settings={"service_tier": "priority"}),
        model("gpt-5.5"),
        second,
        event("thread_settings_applied", service_tier=None),
        event("thread_name_updated", thread_id=THREAD, thread_name="Fix the tides"),
        third,
    )
    assert [(call.model, call.service_tier) for call in parsed.calls] == [
        ("gpt-5.4", None),
        ("gpt-5.5", "priority"),
        ("gpt-5.5", None),
    ]
    assert {call.provider for call in parsed.calls} == {"azure"}
    trace = parsed.traces[-1]
    assert (trace.title, trace.project, trace.agent) == ("Fix the tides", "/x", "codex 0.126.0")
    plain = read(tmp_path, meta(), first)
    assert plain.calls[0].provider == "openai"


# --- Where prompts end --------------------------------------------------------------------------


def function_call(command: str) -> Row:
    arguments = json.dumps({"cmd": command})
    return item("function_call", name="exec_command", arguments=arguments, call_id="call_1")


def called(command: str) -> str:
    return f"exec_command\n{json.dumps({'cmd': command})}"


def test_a_prompt_ends_before_what_the_model_wrote_and_the_next_one_holds_it(
    tmp_path: Path,
) -> None:
    first, second = summed([counts(100), counts(200)])
    parsed = read(
        tmp_path,
        meta(base_instructions={"text": "Be brief."}),
        said("developer", "rules"),
        said("user", "count the files"),
        item("reasoning", summary=[], content=None, encrypted_content="c2VjcmV0"),
        said("assistant", "I will look.", "2026-10-01T10:00:07Z"),
        function_call("ls"),
        first,
        item("function_call_output", call_id="call_1", output="a\nb"),
        said("assistant", "Two."),
        second,
    )
    one, two = parsed.calls
    assert parsed.tree.path(one.prompt) == [
        Seen(Kind.SYSTEM, "system", "Be brief."),
        Seen(Kind.UNLOGGED, "tools", "codex/0.126.0/tools"),
        Seen(Kind.SYSTEM, "developer", "rules"),
        Seen(Kind.TEXT, "user", "count the files"),
    ]
    assert parsed.tree.path(one.completion or 0)[4:] == [
        Seen(Kind.THINKING, "assistant", "c2VjcmV0"),
        Seen(Kind.TEXT, "assistant", "I will look."),
        Seen(Kind.TOOL_CALL, "assistant", called("ls")),
    ]
    assert parsed.tree.path(two.prompt)[7:] == [Seen(Kind.TOOL_RESULT, "tool", "a\nb")]
    assert parsed.tree.path(two.completion or 0)[8:] == [Seen(Kind.TEXT, "assistant", "Two.")]
    assert one.started_at == datetime(2026, 10, 1, 10, tzinfo=UTC)


def test_unlogged_instructions_are_one_stable_segment(tmp_path: Path) -> None:
    parsed = read(tmp_path, meta(), *summed([counts(100)]))
    (call,) = parsed.calls
    assert parsed.tree.path(call.prompt) == [
        Seen(Kind.UNLOGGED, "system", "codex/0.126.0//x"),
        Seen(Kind.UNLOGGED, "tools", "codex/0.126.0/tools"),
    ]
    assert call.completion is None


def test_a_tool_result_logged_before_the_event_does_not_belong_to_the_completion(
    tmp_path: Path,
) -> None:
    output = item("function_call_output", call_id="call_1", output="a")
    parsed = read(
        tmp_path,
        meta(),
        said("user", "go"),
        function_call("ls"),
        output,
        *summed([counts(100)]),
        said("assistant", "done"),
    )
    (call,) = parsed.calls
    assert texts(parsed, call.completion) == ["go", called("ls")]


def test_a_response_that_was_aborted_is_part_of_the_next_prompt(tmp_path: Path) -> None:
    parsed = read(
        tmp_path,
        meta(),
        said("user", "go"),
        said("assistant", "half an ans"),
        event("turn_aborted", reason="interrupted"),
        said("user", "try again"),
        said("assistant", "whole"),
        *summed([counts(100)]),
    )
    (call,) = parsed.calls
    assert texts(parsed, call.prompt) == ["go", "half an ans", "try again"]
    assert texts(parsed, call.completion) == ["go", "half an ans", "try again", "whole"]


def test_a_compaction_starts_the_context_again(tmp_path: Path) -> None:
    first, second, third = summed([counts(100), counts(50), counts(60)])
    kept = [said("user", "task")["payload"], {"type": "compaction", "encrypted_content": "x1"}]
    parsed = read(
        tmp_path,
        meta(),
        said("user", "long story"),
        said("assistant", "long answer"),
        first,
        row("compacted", {"message": "", "replacement_history": kept}),
        tokens(counts(100), counts(0)),
        said("user", "go on"),
        said("assistant", "ok"),
        second,
        row("compacted", {"message": "they went on"}),
        said("assistant", "fine"),
        third,
    )
    assert [texts(parsed, call.prompt) for call in parsed.calls] == [
        ["long story"],
        ["task", "x1", "go on"],
        ["they went on"],
    ]


def test_a_rollback_takes_the_newest_turns_out_of_the_context(tmp_path: Path) -> None:
    def turn(question: str, answer: str) -> list[Row]:
        return [
            event("task_started"),
            said("user", question),
            event("user_message", message=question),
            said("assistant", answer),
        ]

    rows = [meta(), said("user", "<environment_context/>")]
    rows += turn("q1", "a1") + turn("q2", "a2") + turn("q3", "a3")
    rows += [event("thread_rolled_back", num_turns=2), *turn("q4", "a4"), *summed([counts(9)])]
    parsed = read(tmp_path, *rows)
    assert texts(parsed, parsed.calls[0].prompt) == ["<environment_context/>", "q1", "a1", "q4"]


def test_every_kind_of_item_becomes_a_segment(tmp_path: Path) -> None:
    image = "data:image/png;base64,AAAA"
    content = [{"type": "input_text", "text": "see"}, {"type": "input_image", "image_url": image}]
    parts = [{"type": "input_text", "text": "part"}, {"type": "input_image", "image_url": image}]
    parsed = read(
        tmp_path,
        meta(),
        item("message", role="user", content=content),
        item("custom_tool_call_output", output="Success"),
        item("function_call_output", output=parts),
        item("function_call_output", output={"content": "old", "success": True}),
        item("ghost_snapshot", ghost_commit={"id": "1"}),
        item("reasoning", summary=[{"type": "summary_text", "text": "thought"}], content=None),
        item("custom_tool_call", name="apply_patch", input="*** Begin", status="completed"),
        item("local_shell_call", action={"type": "exec", "command": ["ls"]}),
        item("web_search_call", action={"type": "search", "query": "tides"}),
        *summed([counts(9)]),
    )
    assert parsed.issues == []
    path = parsed.tree.path(parsed.calls[0].completion or 0)[2:]
    assert path == [
        Seen(Kind.TEXT, "user", "see"),
        Seen(Kind.MEDIA, "user", image),
        Seen(Kind.TOOL_RESULT, "tool", "Success"),
        Seen(Kind.TOOL_RESULT, "tool", "part"),
        Seen(Kind.MEDIA, "tool", image),
        Seen(Kind.TOOL_RESULT, "tool", '{"content":"old","success":true}'),
        Seen(Kind.THINKING, "assistant", "thought"),
        Seen(Kind.TOOL_CALL, "assistant", "apply_patch\n*** Begin"),
        Seen(
            Kind.TOOL_CALL,
            "assistant",
            'local_shell\n{"command":["ls"],"type":"exec"}',
        ),
        Seen(
            Kind.TOOL_CALL,
            "assistant",
            'web_search\n{"query":"tides","type":"search"}',
        ),
    ]
    assert len(parsed.tree.path(parsed.calls[0].prompt)) == 8


# --- Hostile and growing files ------------------------------------------------------------------


def test_bad_records_are_issues_with_their_place_and_the_rest_is_kept(tmp_path: Path) -> None:
    good = summed([counts(100, 0, 10), counts(200, 0, 20)])
    deep = '{"timestamp":null,"type":"response_item","payload":' + "[" * 9_000 + "]" * 9_000 + "}"
    huge = counts(10**30)
    bad: list[Row | str] = [
        '{"timestamp":"2026-10-01T1',
        "[1, 2]",
        '{"payload": {}}',
        row("session_meta", {"id": 7}),
        row("session_meta", {"cwd": "/x"}),
        row("event_msg", "token_count"),
        tokens(huge, huge),
        tokens(counts(-1), counts(-1)),
        tokens(counts(5, 6), counts(5, 6)),
        event("token_count", info={"last_token_usage": "many"}),
        event("thread_rolled_back", num_turns="all"),
        row("response_item", {"type": "message", "role": "user", "content": 3}),
        row("compacted", {"replacement_history": {"0": "x"}}),
        row("turn_context", {"model": ["gpt"]}),
        {"timestamp": "yesterday", "type": "turn_context", "payload": {"model": "m"}},
        deep,
    ]
    parsed = read(tmp_path, meta(), good[0], *bad, good[1])
    assert [issue.line for issue in parsed.issues] == list(range(3, 3 + len(bad)))
    assert all(issue.reason and "\n" not in issue.reason for issue in parsed.issues)
    data = (tmp_path / "rollout.jsonl").read_bytes()
    for issue in parsed.issues:
        assert data[: issue.offset].count(b"\n") == issue.line - 1
    assert inputs(parsed) == [100, 200]


def test_half_surrogates_and_numbers_json_forbids_are_read(tmp_path: Path) -> None:
    usage = counts(100, 0, 10)
    call = json.dumps(tokens(usage, usage)).replace('"rate_limits": null', '"rate_limits": NaN')
    assert "NaN" in call
    cut = json.dumps(item("function_call", name="f", arguments="cut \ud83d"))
    named = event("thread_name_updated", thread_name="tide \ud83d")
    said_and_cut = json.dumps(said("user", "whole \ud83d\ude00 cut \ud83d"))
    parsed = read(tmp_path, meta(cwd="/\ud800"), said_and_cut, cut, named, call)
    assert parsed.issues == []
    assert inputs(parsed) == [100]
    assert texts(parsed, parsed.calls[0].prompt) == ["whole \U0001f600 cut ?"]
    assert (parsed.traces[-1].project, parsed.traces[-1].title) == ("/?", "tide ?")
    assert parsed.log.checkpoint


def test_lines_of_unknown_types_are_passed_over_silently(tmp_path: Path) -> None:
    parsed = read(
        tmp_path,
        meta(),
        row("world_state", {"state": {}}),
        event("exec_command_end", stdout="x"),
        {"type": "rollout_reference"},
        *summed([counts(100)]),
    )
    assert parsed.issues == []
    assert inputs(parsed) == [100]


def growing_log() -> list[Row]:
    usages = [counts(100 + n, n, 10) for n in range(5)]
    events = summed(usages)
    kept = [said("user", "task")["payload"]]
    at = "2026-10-01T10:00:01.000Z"
    return [
        meta(source=spawned_by(OTHER)),
        model("gpt-5.4"),
        said("user", "q1", at),
        event("user_message", at),
        said("assistant", "a1", at),
        function_call("ls"),
        tokens(counts(100, 0, 10), usages[0], at),
        events[0],
        item("function_call_output", output="a"),
        record(THREAD, "r1", usages[1]),
        events[1],
        event("task_complete"),
        event("thread_settings_applied", service_tier="priority"),
        said("user", "q2"),
        event("user_message"),
        said("assistant", "a2"),
        events[2],
        event("thread_rolled_back", num_turns=1),
        event("thread_name_updated", thread_name="named"),
        model("gpt-5.5"),
        said("user", "q3"),
        event("user_message"),
        item("reasoning", encrypted_content="s"),
        said("assistant", "a3"),
        events[3],
        record(THREAD, "r3", usages[3]),
        record(THREAD, "compaction", counts(55, 0, 5)),
        row("compacted", {"replacement_history": kept}),
        said("assistant", "a4"),
        events[4],
    ]


def comparable(parsed: Parsed) -> list[tuple[Any, ...]]:
    """Calls with paths in place of nodes, which number differently from tree to tree."""
    return [
        (
            call.identity,
            call.line,
            call.offset,
            call.usage,
            call.model,
            call.service_tier,
            call.started_at,
            call.sidechain,
            parsed.tree.path(call.prompt),
            call.completion and parsed.tree.path(call.completion),
        )
        for call in parsed.calls
    ]


def test_a_file_read_in_two_parts_gives_what_it_gives_whole(tmp_path: Path) -> None:
    path = write(tmp_path / "rollout.jsonl", growing_log())
    lines = path.read_bytes().splitlines(keepends=True)
    whole = parse_file(Codex(), path)
    assert len(whole.calls) == 6 and whole.issues == []
    assert whole.traces[-1].title == "named"
    for cut in range(len(lines) + 1):
        path.write_bytes(b"".join(lines[:cut]))
        head = parse_file(Codex(), path)
        path.write_bytes(b"".join(lines))
        tail = parse_tail(Codex(), head)
        assert comparable(head) + comparable(tail) == comparable(whole), cut
        assert (head.traces + tail.traces)[-1] == whole.traces[-1]
        assert head.issues + tail.issues == []


def test_a_file_read_line_by_line_gives_what_it_gives_whole(tmp_path: Path) -> None:
    path = write(tmp_path / "rollout.jsonl", growing_log())
    lines = path.read_bytes().splitlines(keepends=True)
    whole = parse_file(Codex(), path)
    path.write_bytes(b"")
    part = parse_file(Codex(), path)
    found = []
    for n in range(len(lines)):
        path.write_bytes(b"".join(lines[: n + 1]))
        part = parse_tail(Codex(), part)
        found += comparable(part)
    assert found == comparable(whole)


def test_a_checkpoint_of_another_version_asks_for_the_whole_file(tmp_path: Path) -> None:
    path = write(tmp_path / "rollout.jsonl", [meta()])
    for checkpoint in (b'{"format": 0}', b"not json"):
        with pytest.raises(Reread):
            list(Codex().parse(Log(path, checkpoint=checkpoint), RecordingTree()))


# --- Recognising files --------------------------------------------------------------------------


def test_a_compressed_rollout_is_recognised_and_read_like_a_plain_one(tmp_path: Path) -> None:
    plain = write(tmp_path / "plain", growing_log())
    packed = tmp_path / "packed"
    packed.write_bytes(zstandard.ZstdCompressor().compress(plain.read_bytes()))
    assert Codex().identify(read_head(packed)) is not None
    one, two = parse_file(Codex(), plain), parse_file(Codex(), packed)
    assert comparable(one) == comparable(two)


@pytest.mark.parametrize(
    "rows",
    [
        [meta()],
        ["half a li", meta()],
        [event("task_started"), said("user", "hello")],
        [meta(dynamic_tools=[{"name": "t", "description": "d" * HEAD_BYTES}])],
    ],
    ids=["session_meta", "after a bad line", "without session_meta", "a first line past the head"],
)
def test_rollouts_are_recognised_by_content(tmp_path: Path, rows: list[Row | str]) -> None:
    assert Codex().identify(read_head(write(tmp_path / "notes.txt", rows))) is not None


@pytest.mark.parametrize(
    "rows",
    [
        [],
        ["plain text"],
        [{"type": "user", "message": {"role": "user"}, "sessionId": "1"}],
        [{"type": "session_meta"}],
        [{"type": "session_meta", "payload": {"id": 1}}],
        [{"type": "event_msg", "payload": {}}],
        [{"type": ["event_msg"], "timestamp": AT, "payload": {}}],
    ],
)
def test_other_files_are_refused_whatever_their_name(tmp_path: Path, rows: list[Row | str]) -> None:
    path = write(tmp_path / f"rollout-2026-10-01T10-00-00-{THREAD}.jsonl", rows)
    assert Codex().identify(read_head(path)) is None


# --- Sample logs --------------------------------------------------------------------------------


def test_the_sample_logs_hold_what_their_readme_says(sample_logs: Path) -> None:
    paths = sorted((sample_logs / "codex").glob("*.jsonl"))
    parsed = [parse_file(Codex(), path) for path in paths]
    assert [len(file.calls) for file in parsed] == [12, 10]
    assert all(file.issues == [] for file in parsed)
    readme = (sample_logs / "codex" / "README.md").read_text()
    for count in (*totals(parsed[0].calls)[1:4], *totals(distinct(parsed))[1:4]):
        assert f"{count:,}" in readme
    assert len(distinct(parsed)) == 15
    own = parsed[0].calls
    assert [n for n, call in enumerate(own) if call.usage and not call.usage.cache_read_tokens] == [
        0,
        7,
    ]

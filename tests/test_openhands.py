"""The parser for OpenHands trajectories and evaluation output."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from recording_tree import Parsed, parse_file

from forkpoint.parsers.logs import HEAD_BYTES, Head, read_head
from forkpoint.parsers.openhands import OpenHands
from forkpoint.parsers.records import Kind, Usage

PARSER = OpenHands()
CREATED = int(datetime(2026, 3, 2, 15, 0, 5, tzinfo=UTC).timestamp())
"""A response at 10:00:05 by a clock five hours behind UTC."""


def event(number: int, source: str = "user", **fields: Any) -> dict[str, Any]:
    stamp = f"2026-03-02T10:00:{number:02d}.000040"
    return {"id": number, "timestamp": stamp, "source": source, **fields}


def said(number: int, text: str = "It fails.", source: str = "user") -> dict[str, Any]:
    waits = source == "agent"
    return event(
        number, source, action="message", args={"content": text, "wait_for_response": waits}
    )


def system(number: int = 0) -> dict[str, Any]:
    tools = [{"type": "function", "function": {"name": "execute_bash"}}]
    return event(number, "agent", action="system", args={"content": "Be brief.", "tools": tools})


def metadata(name: str, *commands: str, content: str = "Let me look.") -> dict[str, Any]:
    calls = [
        {"id": f"toolu_{at}", "function": {"name": "execute_bash", "arguments": command}}
        for at, command in enumerate(commands)
    ]
    message = {"role": "assistant", "content": content, "tool_calls": calls}
    response = {
        "id": name,
        "created": CREATED,
        "model": "claude-x",
        "choices": [{"message": message}],
        "usage": {
            "prompt_tokens": 3616,
            "completion_tokens": 111,
            "cache_creation_input_tokens": 139,
            "cache_read_input_tokens": 3471,
        },
    }
    return {"function_name": "execute_bash", "tool_call_id": "toolu_0", "model_response": response}


def ran(number: int, answer: dict[str, Any], command: str = "ls") -> list[dict[str, Any]]:
    """An action of a response and its observation."""
    arguments = {"command": command, "thought": "Let me look."}
    action = event(number, "agent", action="run", args=arguments, tool_call_metadata=answer)
    observed = event(
        number + 1, "agent", observation="run", content=f"out of {command}", cause=number
    )
    return [action, {**observed, "tool_call_metadata": answer}]


EVENTS = [said(0), *ran(5, metadata("r1", '{"command": "ls"}')), said(9, "Done.", "agent")]


def row(history: list[Any], /, **changes: Any) -> dict[str, Any]:
    fields = {"instance_id": "shop__lamps-12", "test_result": {}, "history": history}
    return {**fields, "metrics": {}, **changes}


def usage(name: str, total: int, read: int = 0) -> dict[str, Any]:
    counts = {"prompt_tokens": total, "completion_tokens": 7, "cache_read_tokens": read}
    return {"model": "claude-x", **counts, "cache_write_tokens": 0, "response_id": name}


def parsed(folder: Path, document: Any) -> Parsed:
    """Read a trajectory, or the rows of an evaluation's output."""
    path = folder / "run.json"
    if isinstance(document, bytes):
        path.write_bytes(document)
    elif document and isinstance(document[0], dict) and "history" in document[0]:
        path.write_text("".join(json.dumps(line) + "\n" for line in document))
    else:
        path.write_text(json.dumps(document, indent=1))
    return parse_file(PARSER, path)


def identified(data: bytes) -> bool:
    return PARSER.identify(Head(Path("x"), data[:HEAD_BYTES])) is not None


def test_a_response_counts_once_however_many_events_repeat_it(tmp_path: Path) -> None:
    result = parsed(tmp_path, EVENTS)
    first, plain = result.calls
    assert first.identity == ("", "r1")
    assert first.usage == Usage(
        input_tokens=3616, cache_read_tokens=3471, cache_write_tokens=139, output_tokens=111
    )
    assert first.model == "claude-x"
    assert (plain.usage, plain.identity) == (None, (result.traces[0].id, "3"))


def test_prompts_are_rebuilt_from_the_events(tmp_path: Path) -> None:
    result = parsed(tmp_path, EVENTS)
    path = result.tree.path(result.calls[1].completion or 0)
    assert path[0].kind == Kind.UNLOGGED
    assert [(s.kind, s.role, s.content) for s in path[1:]] == [
        (Kind.TEXT, "user", "It fails."),
        (Kind.TEXT, "assistant", "Let me look."),
        (Kind.TOOL_CALL, "assistant", 'execute_bash\n{"command": "ls"}'),
        (Kind.TOOL_RESULT, "tool", "out of ls"),
        (Kind.TEXT, "assistant", "Done."),
    ]
    assert result.calls[1].prompt == result.tree.parents[result.calls[1].completion or 0]


def test_a_logged_system_message_begins_the_prompt_with_its_tools(tmp_path: Path) -> None:
    result = parsed(tmp_path, [system(), *EVENTS])
    path = result.tree.path(result.calls[0].prompt)
    assert [segment.kind for segment in path] == [Kind.TOOLS, Kind.SYSTEM, Kind.TEXT]


def test_several_tool_calls_of_one_response_are_one_completion(tmp_path: Path) -> None:
    answer = metadata("r1", '{"command": "ls"}', '{"command": "pwd"}')
    events = [said(0), *ran(5, answer), *ran(7, answer, "pwd"), said(9, "Done.", "agent")]
    result = parsed(tmp_path, events)
    assert len(result.calls) == 2
    completion = result.text(result.calls[0].completion)
    assert completion[-2:] == [
        'execute_bash\n{"command": "ls"}',
        'execute_bash\n{"command": "pwd"}',
    ]
    assert result.text(result.calls[1].prompt) == [*completion, "out of ls", "out of pwd"]


def test_what_the_model_is_not_shown_is_left_out(tmp_path: Path) -> None:
    unseen = [
        event(1, "environment", observation="agent_state_changed", content="", extras={}),
        event(2, "environment", action="change_agent_state", args={"agent_state": "running"}),
        event(3, "user", observation="null", content="", extras={}),
        event(4, "user", action="recall", args={"query": "x"}),
    ]
    result = parsed(tmp_path, [EVENTS[0], *unseen, *EVENTS[1:]])
    assert result.issues == []
    assert result.text(result.calls[0].prompt)[1:] == ["It fails."]


def test_recalled_context_is_part_of_the_prompt(tmp_path: Path) -> None:
    recalled = event(1, "environment", observation="recall", content="x", extras={"date": "2026"})
    result = parsed(tmp_path, [EVENTS[0], recalled, *EVENTS[1:]])
    assert result.text(result.calls[0].prompt)[1:] == ["It fails.", '{"date":"2026"}']


def test_a_finish_is_sent_again_as_text(tmp_path: Path) -> None:
    answer = metadata("r1", "{}", content="All done.")
    finish = event(5, "agent", action="finish", args={"thought": "So."}, tool_call_metadata=answer)
    result = parsed(tmp_path, [said(0), finish, said(7, "More!"), said(9, "No.", "agent")])
    first, second = result.calls
    assert result.tree.path(first.completion or 0)[-1].kind == Kind.TOOL_CALL
    assert result.text(second.prompt)[1:] == ["It fails.", "So.\nAll done.", "More!"]


@pytest.mark.parametrize(
    "forgotten",
    [
        {"forgotten_event_ids": [5, 6]},
        {"forgotten_events_start_id": 5, "forgotten_events_end_id": 6},
    ],
)
def test_a_condensation_puts_a_summary_in_place_of_events(
    tmp_path: Path, forgotten: dict[str, Any]
) -> None:
    arguments = {**forgotten, "summary": "It was looked at.", "summary_offset": 1}
    condensation = event(7, "agent", action="condensation", args=arguments)
    later = ran(8, metadata("r2", '{"command": "pwd"}'))
    result = parsed(tmp_path, [said(0), *ran(5, metadata("r1", "{}")), condensation, *later])
    assert result.text(result.calls[1].prompt)[1:] == ["It fails.", "It was looked at."]


def test_a_second_condensation_replaces_the_summary_of_the_first(tmp_path: Path) -> None:
    def condensed(number: int, forgotten: int, summary: str) -> dict[str, Any]:
        ids = {"forgotten_event_ids": [forgotten], "summary": summary, "summary_offset": 1}
        return event(number, "agent", action="condensation", args=ids)

    events = [
        said(0),
        said(1, "b"),
        condensed(2, 1, "first"),
        said(3, "c"),
        condensed(4, 3, "second"),
    ]
    result = parsed(tmp_path, [*events, said(5, "Done.", "agent")])
    assert result.text(result.calls[0].prompt)[1:] == ["It fails.", "second"]


def test_a_local_clock_is_set_by_the_responses(tmp_path: Path) -> None:
    times = [call.started_at for call in parsed(tmp_path, EVENTS).calls]
    assert times == [datetime(2026, 3, 2, 15, 0, at, 40, tzinfo=UTC) for at in (5, 9)]


def test_a_longer_export_of_a_run_is_the_same_trace(tmp_path: Path) -> None:
    short, whole = parsed(tmp_path, EVENTS[:3]), parsed(tmp_path, EVENTS)
    assert short.traces[0].id == whole.traces[0].id
    assert [call.identity for call in short.calls] == [whole.calls[0].identity]


def test_rows_of_one_instance_are_a_group_with_the_tests_verdict(tmp_path: Path) -> None:
    meta = {"agent_class": "CodeActAgent", "dataset": "shop/repairs"}
    rows = [
        row(EVENTS, metadata=meta, test_result={"report": {"resolved": True}}),
        row(EVENTS[:3], metadata=meta, test_result={"resolved": False}),
        row(EVENTS[:2], metadata=meta, test_result={"git_patch": ""}),
    ]
    result = parsed(tmp_path, rows)
    assert {trace.group for trace in result.traces} == {"shop/repairs/shop__lamps-12"}
    assert [trace.reward for trace in result.traces] == [1.0, 0.0, None]
    assert {trace.agent for trace in result.traces} == {"OpenHands CodeActAgent"}
    assert [call.line for call in result.calls] == [1, 1, 2, 3]


def test_a_row_that_stands_twice_counts_once(tmp_path: Path) -> None:
    result = parsed(tmp_path, [row(EVENTS), row(EVENTS)])
    assert (len(result.traces), len(result.calls)) == (1, 2)


def test_the_usage_of_a_plain_answer_stands_in_the_metrics(tmp_path: Path) -> None:
    metrics = {"token_usages": [usage("r1", 3616), usage("r2", 3800, 3600)]}
    first, plain = parsed(tmp_path, [row(EVENTS, metrics=metrics)]).calls
    assert first.usage is not None
    assert first.usage.cache_write_tokens == 139
    assert plain.usage == Usage(
        input_tokens=3800, cache_read_tokens=3600, cache_write_tokens=0, output_tokens=7
    )
    assert (plain.identity, plain.model) == (("", "r2"), "claude-x")


def test_calls_that_no_event_came_of_are_billed_with_an_unknown_prompt(tmp_path: Path) -> None:
    usages = [usage("hidden", 500), usage("r1", 3616), usage("r2", 3800)]
    costs = [{"cost": 0.5}, {"cost": 0.25}, {"cost": 0.125}]
    metrics = {"token_usages": usages, "costs": costs}
    result = parsed(tmp_path, [row(EVENTS, metrics=metrics)])
    assert [call.identity for call in result.calls] == [("", "hidden"), ("", "r1"), ("", "r2")]
    assert [call.logged_cost_usd for call in result.calls] == [0.5, 0.25, 0.125]
    hidden = result.tree.path(result.calls[0].prompt)
    assert [segment.kind for segment in hidden] == [Kind.UNLOGGED]
    assert result.calls[0].completion is None


def test_usages_that_cannot_be_told_apart_are_given_to_no_answer(tmp_path: Path) -> None:
    usages = [usage("r1", 3616), usage("a", 10), usage("b", 20)]
    result = parsed(tmp_path, [row(EVENTS, metrics={"token_usages": usages, "costs": [0.5]})])
    assert sum(call.usage.input_tokens or 0 for call in result.calls if call.usage) == 3646
    assert [call.usage is None for call in result.calls] == [False, False, False, True]
    assert {call.logged_cost_usd for call in result.calls} == {None}


def test_actions_of_the_oldest_logs_are_a_thought_and_what_was_done(tmp_path: Path) -> None:
    history = [
        {"content": "Fix it.", "wait_for_response": False, "action": "message"},
        {"command": "ls", "thought": "Let me look.", "keep_prompt": True, "action": "run"},
        {"content": "a b", "command": "ls", "exit_code": 0, "observation": "run"},
        {"outputs": {}, "thought": "Done.", "action": "finish"},
    ]
    issue = {"owner": "shop", "repo": "lamps", "number": 5}
    rows = [
        {"issue": issue, "history": history, "metrics": {"costs": [0.5, 0.25]}, "success": True}
    ]
    result = parsed(tmp_path, rows)
    assert result.text(result.calls[1].completion)[1:] == [
        "Fix it.",
        "Let me look.",
        'run\n{"command":"ls"}',
        "a b",
        "Done.",
    ]
    assert [call.logged_cost_usd for call in result.calls] == [0.5, 0.25]
    assert (result.traces[0].group, result.traces[0].reward) == ("shop/lamps#5", None)


def test_pairs_of_an_action_and_its_observation_are_read(tmp_path: Path) -> None:
    result = parsed(tmp_path, [row([[said(0), event(1, observation="null")], EVENTS[1:3]])])
    assert [call.identity for call in result.calls] == [("", "r1")]


@pytest.mark.parametrize(
    "bad", [7, {"id": "one"}, {"id": 3}, event(3, action="run", args=7), event(3, observation=[])]
)
def test_a_bad_event_is_one_issue_and_the_others_are_kept(tmp_path: Path, bad: Any) -> None:
    result = parsed(tmp_path, [EVENTS[0], bad, *EVENTS[1:]])
    assert (len(result.calls), [issue.line for issue in result.issues]) == (2, [2])
    inside = parsed(tmp_path, [row([EVENTS[0], bad, *EVENTS[1:]])])
    assert (len(inside.calls), [issue.line for issue in inside.issues]) == (2, [1])


@pytest.mark.parametrize(
    "bad", [{"history": 7}, {"metrics": {"costs": "x"}}, {"test_result": {"resolved": 7}}]
)
def test_a_bad_row_is_one_issue_and_the_others_are_kept(tmp_path: Path, bad: Any) -> None:
    result = parsed(tmp_path, [row(EVENTS[:3]), row(EVENTS, **bad), row(EVENTS)])
    assert [issue.line for issue in result.issues] == [2]
    assert [call.line for call in result.calls] == [1, 3, 3]


def test_a_trajectory_cut_short_keeps_what_stands_before_the_cut(tmp_path: Path) -> None:
    data = json.dumps(EVENTS).encode()
    result = parsed(tmp_path, data[:-20])
    assert ([call.identity for call in result.calls], len(result.issues)) == ([("", "r1")], 1)
    assert len(parsed(tmp_path, b"").issues) == 1


def test_a_file_is_known_by_its_first_event_or_row() -> None:
    assert identified(json.dumps(EVENTS).encode())
    assert identified(json.dumps([said(0, "x" * HEAD_BYTES)], indent=1).encode())
    assert identified(json.dumps(row(EVENTS)).encode())
    assert identified(json.dumps(row([])).encode())
    assert identified(json.dumps(row([said(0, "x" * HEAD_BYTES)])).encode())
    patched = row(EVENTS, test_result={"git_patch": "x" * HEAD_BYTES})
    assert identified(json.dumps(patched).encode())


@pytest.mark.parametrize(
    "other",
    [
        [],
        {},
        [{"role": "system", "content": "x"}],
        [{"source": "user", "message": "x"}],
        [{"id": 1, "action": "x", "args": {}}],
        {"instance_id": "x", "model_patch": ""},
        {"instance_id": "x", "test_result": {}},
        {"history": [{"role": "system", "content": "x", "agent": "main"}]},
        {"instance_id": "x", "history": [{"role": "user"}]},
    ],
)
def test_other_files_are_refused(other: Any) -> None:
    assert not identified(json.dumps(other).encode())


def test_the_samples_hold_what_their_readme_says(sample_logs: Path) -> None:
    folder = sample_logs / "openhands"
    exported = parse_file(PARSER, folder / "trajectory.json")
    assert [call.usage is None for call in exported.calls] == [False, True, False]
    assert exported.calls[0].started_at == datetime(2026, 3, 2, 15, 20, 6, 42, tzinfo=UTC)
    output = parse_file(PARSER, folder / "output.jsonl")
    rows = [json.loads(line) for line in (folder / "output.jsonl").read_text().splitlines()]
    for trace, run in zip(output.traces, rows, strict=True):
        calls = [call for call in output.calls if call.trace == trace.id]
        entries = run["metrics"]["token_usages"]
        assert [call.identity for call in calls] == [
            ("", entry["response_id"]) for entry in entries
        ]
        assert sum(c.logged_cost_usd or 0 for c in calls) == run["metrics"]["accumulated_cost"]
        tokens = [call.usage.input_tokens for call in calls if call.usage]
        assert tokens == [entry["prompt_tokens"] for entry in entries]
    assert [trace.reward for trace in output.traces] == [1.0, 0.0]
    assert output.text(output.calls[3].prompt)[5].startswith("USER_CONTEXT")


@pytest.mark.real
def test_the_real_logs_have_the_known_events_responses_and_costs(real_logs: Path) -> None:
    facts = json.loads((real_logs / "FACTS.json").read_text())["openhands"]
    assert len(facts) == 5
    for name, runs in facts.items():
        result = parse_file(PARSER, real_logs / name)
        assert result.issues == []
        text = (real_logs / name).read_text()
        if name.endswith(".jsonl"):
            histories = [json.loads(line)["history"] for line in text.splitlines()]
        else:
            histories = [json.loads(text)]
        assert len(result.traces) == len(runs)
        for trace, run, history in zip(result.traces, runs, histories, strict=True):
            calls = [call for call in result.calls if call.trace == trace.id]
            assert len(history) == run["events"]
            responses = {call.identity for call in calls if call.identity and not call.identity[0]}
            assert len(responses) == run["distinct_response_ids"]
            assert sum(call.usage is not None for call in calls) == run["distinct_response_ids"]
            if run["accumulated_cost"] is not None:
                costs = [call.logged_cost_usd or 0.0 for call in calls]
                assert sum(costs) == pytest.approx(run["accumulated_cost"])
            assert trace.reward == run["resolved"]


@pytest.mark.real
def test_only_the_real_logs_of_this_format_are_claimed(real_logs: Path) -> None:
    for path in (path for path in real_logs.rglob("*") if path.is_file()):
        ours = path.relative_to(real_logs).parts[0] == "openhands"
        assert (PARSER.identify(read_head(path)) is not None) == ours, path

"""The parser for SWE-agent trajectories."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest
from parsed_records import claim, read
from recording_tree import Parsed, parse_file

from forkpoint.parsers.logs import HEAD_BYTES, read_head
from forkpoint.parsers.records import Kind, Usage
from forkpoint.parsers.swe_agent import SweAgent, run_totals

PARSER = SweAgent()
SYSTEM = {"role": "system", "content": "Look first.", "agent": "main"}
ISSUE = {"role": "user", "content": "It fails.", "agent": "main"}


def said(text: str, action: str = "ls", **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": text, "action": action, "agent": "main", **more}


def saw(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text, "agent": "main"}


def step(response: str, action: str = "ls", **more: Any) -> dict[str, Any]:
    return {"action": action, "observation": "ok", "response": response, "state": "", **more}


HISTORY = [SYSTEM, ISSUE, said("one", "ls"), saw("a b"), said("two", "submit")]


def run(**changes: Any) -> dict[str, Any]:
    fields = {
        "environment": "main",
        "trajectory": [step("one"), step("two", "submit")],
        "history": HISTORY,
        "info": {"exit_status": "submitted"},
    }
    return {**fields, **changes}


def parsed(folder: Path, document: Any, name: str = "shop__lamps-1.traj") -> Parsed:
    return read(PARSER, folder / name, document)


def identified(document: Any) -> bool:
    return claim(PARSER, document, "x") is not None


def test_each_step_is_a_call_on_the_history_before_it(tmp_path: Path) -> None:
    result = parsed(tmp_path, run())
    first, second = result.calls
    assert result.text(first.prompt) == ["Look first.", "It fails."]
    assert result.text(first.completion) == ["Look first.", "It fails.", "one"]
    assert result.text(second.prompt) == ["Look first.", "It fails.", "one", "a b"]
    assert result.traces[0].leaf == second.completion
    assert result.traces[0].title == "shop__lamps-1"
    assert (first.usage, first.started_at, first.model) == (None, None, None)


def test_a_demonstration_is_shown_to_the_model_and_not_made_by_it(tmp_path: Path) -> None:
    demo = {**said("shown"), "is_demo": True}
    result = parsed(tmp_path, run(history=[SYSTEM, demo, *HISTORY[1:]]))
    assert len(result.calls) == 2
    assert result.text(result.calls[0].prompt) == ["Look first.", "shown", "It fails."]


def test_the_query_of_a_step_is_what_was_sent(tmp_path: Path) -> None:
    elided = [SYSTEM, ISSUE, said("one"), saw("Old output omitted")]
    steps = [step("one", query=[SYSTEM, ISSUE]), step("two", "submit", query=elided)]
    result = parsed(tmp_path, run(trajectory=steps))
    assert result.text(result.calls[1].prompt)[-1] == "Old output omitted"
    assert result.text(result.calls[1].completion)[-2:] == ["Old output omitted", "two"]


def test_cache_markers_in_a_query_make_no_fork(tmp_path: Path) -> None:
    marked = [{**SYSTEM, "cache_control": {"type": "ephemeral"}}, ISSUE]
    steps = [step("one", query=[SYSTEM, ISSUE]), step("two", query=marked)]
    result = parsed(tmp_path, run(trajectory=steps))
    assert result.calls[0].prompt == result.calls[1].prompt


def test_the_messages_of_a_step_are_what_the_next_one_sends(tmp_path: Path) -> None:
    elided = [SYSTEM, ISSUE, said("one"), saw("Old output omitted")]
    steps = [step("one", messages=elided), step("two", "submit", messages=HISTORY)]
    result = parsed(tmp_path, run(trajectory=steps))
    assert result.text(result.calls[0].prompt) == ["Look first.", "It fails."]
    assert result.text(result.calls[1].prompt)[-1] == "Old output omitted"


def test_a_response_that_was_asked_for_again_is_a_call_all_the_same(tmp_path: Path) -> None:
    steps = [step("one"), step("no command", ""), step("two", "submit")]
    result = parsed(tmp_path, run(trajectory=steps))
    assert len(result.calls) == 3
    again, two = result.calls[1:]
    assert again.prompt == two.prompt
    assert result.text(again.completion)[-1] == "no command"
    assert result.text(two.completion)[-1] == "two"


def test_a_last_step_that_the_history_leaves_out_follows_all_of_it(tmp_path: Path) -> None:
    result = parsed(tmp_path, run(history=HISTORY[:4]))
    assert result.text(result.calls[1].prompt) == ["Look first.", "It fails.", "one", "a b"]
    assert result.text(result.calls[1].completion)[-1] == "two"


@pytest.mark.parametrize(
    "note",
    [step("Exit due to cost limit", "exit_cost"), step("Exiting due to error", "", query=[{}])],
)
def test_a_note_of_the_program_is_no_call(tmp_path: Path, note: Any) -> None:
    steps = [step("one"), step("two", "submit"), note]
    assert len(parsed(tmp_path, run(trajectory=steps)).calls) == 2


def test_tool_calls_are_the_models_own_words_from_the_history(tmp_path: Path) -> None:
    call = {"function": {"name": "bash", "arguments": '{"command": "ls"}'}, "id": "call_1"}
    history = [SYSTEM, ISSUE, said("one", tool_calls=[call]), saw("a"), said("two", "submit")]
    steps = [step("one", query=[SYSTEM, ISSUE]), step("two", "submit", query=history[:4])]
    result = parsed(tmp_path, run(history=history, trajectory=steps))
    path = result.tree.path(result.calls[0].completion or 0)
    assert path[-1] == (Kind.TOOL_CALL, "assistant", 'bash\n{"command": "ls"}')
    assert result.calls[1].prompt > 0
    assert result.text(result.calls[1].prompt)[:4] == [segment.content for segment in path]


def test_thinking_comes_before_what_was_said(tmp_path: Path) -> None:
    blocks = [{"type": "thinking", "thinking": "Hm.", "signature": "x"}]
    history = [SYSTEM, ISSUE, said("one", thinking_blocks=blocks)]
    result = parsed(tmp_path, run(history=history, trajectory=[]))
    assert [s.kind for s in result.tree.path(result.calls[0].completion or 0)][-2:] == [
        Kind.THINKING,
        Kind.TEXT,
    ]


def test_a_history_alone_has_the_calls_it_shows(tmp_path: Path) -> None:
    result = parsed(tmp_path, {"history": HISTORY})
    assert [result.text(call.completion)[-1] for call in result.calls] == ["one", "two"]


def test_steps_without_a_history_follow_an_unlogged_prompt(tmp_path: Path) -> None:
    result = parsed(tmp_path, run(history=[]))
    path = result.tree.path(result.calls[1].prompt)
    assert [segment.kind for segment in path] == [Kind.UNLOGGED, Kind.TEXT, Kind.TEXT]
    assert [segment.content for segment in path[1:]] == ["one", "ok"]


STATS = {"tokens_sent": 100, "tokens_received": 9, "api_calls": 1, "instance_cost": 0.25}


def test_totals_of_several_calls_are_no_calls_usage(tmp_path: Path) -> None:
    info = {"model_stats": {**STATS, "total_cost": 1.5, "api_calls": 2}}
    result = parsed(tmp_path, run(info=info))
    assert [(call.usage, call.logged_cost_usd) for call in result.calls] == [(None, None)] * 2


def test_totals_of_one_call_are_its_own(tmp_path: Path) -> None:
    info = {"model_stats": {**STATS, "total_cost": 1.5}}
    (call,) = parsed(tmp_path, run(info=info, trajectory=[step("one")], history=HISTORY[:3])).calls
    assert call.usage == Usage(input_tokens=100, output_tokens=9)
    assert call.logged_cost_usd == 0.25


def test_tokens_that_the_program_counted_are_not_reported_as_billed(tmp_path: Path) -> None:
    document = run(info={"model_stats": STATS}, trajectory=[step("one")], history=HISTORY[:3])
    (call,) = parsed(tmp_path, document).calls
    assert (call.usage, call.logged_cost_usd) == (None, 0.25)


def test_all_zero_totals_are_unknown_and_not_free(tmp_path: Path) -> None:
    zeros = {"total_cost": 0, "instance_cost": 0, "tokens_sent": 0, "tokens_received": 0}
    info = {"model_stats": {**zeros, "api_calls": 0}}
    (call,) = parsed(tmp_path, run(info=info, trajectory=[step("one")], history=HISTORY[:3])).calls
    assert (call.usage, call.logged_cost_usd) == (None, None)


@pytest.mark.parametrize("as_text", [True, False])
def test_the_model_stands_in_the_replay_config(tmp_path: Path, as_text: bool) -> None:
    config: Any = {"agent": {"model": {"name": "anthropic/claude-sonnet-4-20250514"}}}
    if as_text:
        config = json.dumps(config)
    (call, _) = parsed(tmp_path, run(replay_config=config)).calls
    assert (call.provider, call.model) == ("anthropic", "claude-sonnet-4-20250514")


def test_a_replayed_run_names_no_model(tmp_path: Path) -> None:
    config = {"agent": {"model": {"name": "replay"}}}
    assert parsed(tmp_path, run(replay_config=config)).calls[0].model is None


def test_attempts_are_rollouts_and_the_chosen_one_counts_once(tmp_path: Path) -> None:
    other = run(trajectory=[step("one")], history=HISTORY[:3])
    result = parsed(tmp_path, {"attempts": [other, run()], **run()})
    assert len(result.traces) == 2
    assert len({trace.group for trace in result.traces}) == 1
    assert result.traces[0].group is not None
    assert len({call.identity for call in result.calls}) == len(result.calls) == 3
    assert result.calls[0].completion == result.calls[1].completion


def test_a_copy_holds_the_same_calls(tmp_path: Path) -> None:
    one, copy = parsed(tmp_path, run()), parsed(tmp_path, run(), "other.traj")
    other = parsed(tmp_path, run(environment="elsewhere"))
    assert [call.identity for call in one.calls] == [call.identity for call in copy.calls]
    assert {c.identity for c in one.calls}.isdisjoint(c.identity for c in other.calls)


@pytest.mark.parametrize(
    "bad", [7, "step", {"response": 7}, step("x", query="all"), {"query": [7]}]
)
def test_a_bad_step_is_one_issue_and_the_others_are_kept(tmp_path: Path, bad: Any) -> None:
    document = run(trajectory=[step("one"), bad, step("two", "submit")])
    result = parsed(tmp_path, document)
    assert [result.text(call.completion)[-1] for call in result.calls] == ["one", "two"]
    (issue,) = result.issues
    data = (tmp_path / "shop__lamps-1.traj").read_bytes()
    assert issue.line == 2
    assert data.index(b'"one"') < issue.offset < data.index(b'"two"')


@pytest.mark.parametrize("bad", [7, {"content": "no role"}, {"role": "user", "content": {"a": 1}}])
def test_a_bad_item_of_the_history_is_one_issue(tmp_path: Path, bad: Any) -> None:
    result = parsed(tmp_path, run(history=[*HISTORY[:2], bad, *HISTORY[2:]]))
    assert (len(result.calls), len(result.issues)) == (2, 1)


def test_bad_info_costs_no_call(tmp_path: Path) -> None:
    result = parsed(tmp_path, run(info={"model_stats": {"tokens_sent": -1}}))
    assert (len(result.calls), len(result.issues)) == (2, 1)


@pytest.mark.parametrize("cut", [0, 1, 40, 300, -1])
def test_a_document_cut_short_is_one_issue(tmp_path: Path, cut: int) -> None:
    result = parsed(tmp_path, json.dumps(run()).encode()[:cut])
    assert (result.calls, len(result.issues)) == ([], 1)


def test_a_file_is_known_by_its_first_step_or_message() -> None:
    assert identified(run())
    assert identified({"trajectory": [step("one", query=[SYSTEM])], "history": []})
    assert identified({"attempts": [run()], **run()})
    assert identified({"history": HISTORY})
    assert identified({"trajectory": [step("x" * HEAD_BYTES)], "history": []})
    assert identified(run(trajectory=[]))


@pytest.mark.parametrize(
    "other",
    [
        {},
        [],
        {"history": []},
        {"history": [{"role": "user", "content": "x"}]},
        {"info": {"mini_version": "2"}, "messages": [], "trajectory_format": "mini-swe-agent-1.1"},
        {"instance_id": "x", "history": [{"action": "message", "args": {}}]},
        {"trajectory": [{"step": 1}]},
        {"environment": "x"},
    ],
)
def test_documents_of_other_formats_are_refused(other: Any) -> None:
    assert not identified(other)


def test_the_samples_hold_what_their_readme_says(sample_logs: Path) -> None:
    folder = sample_logs / "swe-agent"
    old = parse_file(PARSER, folder / "shop__lamps-7.traj")
    new = parse_file(PARSER, folder / "shop__lamps-12.traj")
    retried = parse_file(PARSER, folder / "shop__lamps-15.traj")
    assert [len(each.calls) for each in (old, new, retried)] == [4, 6, 7]
    assert {call.model for call in new.calls} == {"claude-sonnet-4-20250514"}
    # The response that was asked for again and the one that came then part after two steps.
    wrong, right = new.calls[2:4]
    assert new.text(right.prompt)[:-2] == new.text(wrong.prompt)
    assert len(retried.traces) == 2
    assert retried.calls[0].completion == retried.calls[3].completion


@pytest.mark.real
def test_the_real_trajectories_have_the_known_steps_and_totals(real_logs: Path) -> None:
    facts = json.loads((real_logs / "FACTS.json").read_text())["swe_agent"]
    assert len(facts) == 22
    for name, fact in facts.items():
        result = parse_file(PARSER, real_logs / name)
        document = json.loads((real_logs / name).read_text())
        assert result.issues == [], name
        answers = [item for item in document["history"] if item["role"] == "assistant"]
        steps = fact["steps"] or sum(not item.get("is_demo") for item in answers)
        assert len(result.calls) == len({call.identity for call in result.calls}) == steps
        assert all(call.completion is not None for call in result.calls)
        assert all(call.usage is None for call in result.calls)
        assert sorted(document) == fact["keys"]
        assert document.get("environment") == fact["environment"]
        assert len(document["history"]) == fact["history"]
        info = document.get("info", {})
        assert info.get("exit_status") == fact["exit_status"]
        totals = run_totals(msgspec.Raw(json.dumps(info).encode()))
        stats = fact["model_stats"] or {}
        assert totals.cost_usd == (stats.get("instance_cost") or None)
        known = "total_cost" in stats and stats["tokens_sent"] > 0
        assert (totals.usage is not None) == known
        if totals.usage is not None:
            assert totals.usage.input_tokens == stats["tokens_sent"]
            assert totals.usage.output_tokens == stats["tokens_received"]


@pytest.mark.real
def test_real_prompts_grow_unless_old_observations_were_elided(real_logs: Path) -> None:
    grown = cut = 0
    for path in sorted((real_logs / "swe-agent").rglob("*.traj")):
        result = parse_file(PARSER, path)
        prompts = [result.text(call.prompt) for call in result.calls]
        for before, after in pairwise(prompts):
            if after[: len(before)] == before:
                grown += 1
            else:
                cut += 1
    # Only the one run that logs what was sent elides: from its seventh prompt on, each cuts one more.
    assert (grown, cut) == (203, 7)


@pytest.mark.real
def test_only_the_real_trajectories_of_this_format_are_claimed(real_logs: Path) -> None:
    for path in (path for path in real_logs.rglob("*") if path.is_file()):
        ours = path.relative_to(real_logs).parts[0] == "swe-agent"
        assert (PARSER.identify(read_head(path)) is not None) == ours, path

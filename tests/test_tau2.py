"""The parser for tau2-bench results."""

from __future__ import annotations

import json
import statistics
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from parsed_records import claim, read
from recording_tree import Parsed, parse_file

from forkpoint.parsers.logs import HEAD_BYTES, read_head
from forkpoint.parsers.records import Kind, Usage
from forkpoint.parsers.tau2 import Tau2

PARSER = Tau2()
USAGE = {
    "prompt_tokens": 900,
    "completion_tokens": 20,
    "prompt_tokens_details": {"cached_tokens": 768},
}


def message(role: str, content: str | None, at: int = 0, **changes: Any) -> dict[str, Any]:
    fields = {"role": role, "content": content, "tool_calls": None, "cost": 0.0, "usage": None}
    return {**fields, "raw_data": None, "timestamp": f"2026-03-02T09:00:{at:02d}.5", **changes}


def made(role: str, content: str | None, at: int = 0, **changes: Any) -> dict[str, Any]:
    """A message that a model made, by a clock an hour ahead of UTC."""
    created = datetime(2026, 3, 2, 8, 0, at, tzinfo=UTC).timestamp()
    raw = {"id": f"chatcmpl-{role}{at}", "created": int(created), "model": "gpt-4.1-2025"}
    usage = {"prompt_tokens": 900, "completion_tokens": 20}
    fields = {"cost": 0.25, "usage": usage, "raw_data": {**raw, "usage": USAGE}}
    return message(role, content, at, **{**fields, **changes})


def tool(role: str, name: str, at: int = 0) -> list[dict[str, Any]]:
    call = {"id": f"call_{at}", "name": name, "arguments": {"a": 1}, "requestor": role}
    result = {"id": f"call_{at}", "role": "tool", "content": f"{name} done", "requestor": role}
    return [made(role, None, at, tool_calls=[call]), {**result, "timestamp": "2026-03-02T09:00:00"}]


MESSAGES = [
    message("assistant", "Hi!"),
    made("user", "Cancel it.", 1),
    *tool("assistant", "look", 2),
    made("assistant", "Done.", 3),
]


def simulation(**changes: Any) -> dict[str, Any]:
    fields = {"id": "sim-1", "task_id": "7", "timestamp": "t", "start_time": "t", "end_time": "t"}
    more = {"reward_info": {"reward": 1.0}, "messages": MESSAGES, "trial": 0, "policy": "Be kind."}
    return {**fields, **more, **changes}


def results(*simulations: Any, **changes: Any) -> dict[str, Any]:
    info = {
        "git_commit": "x",
        "user_info": {
            "implementation": "user_simulator",
            "llm": "openai/gpt-4.1-mini",
            "global_simulation_guidelines": "Play a customer.",
        },
        "agent_info": {"implementation": "llm_agent", "llm": "openai/gpt-4.1"},
        "environment_info": {"domain_name": "shop", "policy": "Be kind."},
    }
    tasks = [{"id": "7", "user_scenario": {"instructions": "You want out."}}]
    fields = {"timestamp": "2026-03-02T09:00:00", "info": info, "tasks": tasks}
    return {**fields, "simulations": list(simulations) or [simulation()], **changes}


def parsed(folder: Path, document: Any) -> Parsed:
    return read(PARSER, folder / "results.json", document)


def identified(document: Any) -> bool:
    return claim(PARSER, document, "x.json") is not None


def path_of(result: Parsed, node: int | None) -> list[tuple[str, str, str]]:
    return [(str(s.kind), s.role, s.content) for s in result.tree.path(node or 0)]


def test_the_agent_and_the_users_model_are_two_traces(tmp_path: Path) -> None:
    result = parsed(tmp_path, results())
    agent, user = result.traces
    assert (agent.id, agent.reward, agent.project) == ("sim-1", 1.0, "shop")
    assert agent.group == "shop/7/llm_agent openai/gpt-4.1"
    assert (user.id, user.parent, user.group, user.reward) == ("sim-1/user", "sim-1", None, None)
    assert [(call.trace, call.sidechain) for call in result.calls] == [
        ("sim-1/user", True),
        ("sim-1", False),
        ("sim-1", False),
    ]


def test_each_side_is_sent_what_it_may_see(tmp_path: Path) -> None:
    messages = [*MESSAGES[:2], *tool("user", "reboot", 4), *MESSAGES[2:]]
    result = parsed(tmp_path, results(simulation(messages=messages)))
    agent = path_of(result, result.traces[0].leaf)
    assert agent[0][0] == Kind.UNLOGGED
    assert agent[1:] == [
        ("system", "system", "Be kind."),
        ("text", "assistant", "Hi!"),
        ("text", "user", "Cancel it."),
        ("tool_call", "assistant", 'look\n{"a":1}'),
        ("tool_result", "tool", "look done"),
        ("text", "assistant", "Done."),
    ]
    user = [call for call in result.calls if call.sidechain][-1]
    assert path_of(result, user.completion) == [
        ("system", "system", "Play a customer."),
        ("system", "system", '{"instructions":"You want out."}'),
        ("text", "user", "Hi!"),
        ("text", "assistant", "Cancel it."),
        ("tool_call", "assistant", 'reboot\n{"a":1}'),
    ]


def test_a_call_has_the_providers_usage_with_cached_tokens(tmp_path: Path) -> None:
    call = parsed(tmp_path, results()).calls[1]
    assert call.usage == Usage(input_tokens=900, cache_read_tokens=768, output_tokens=20)
    assert (call.provider, call.model) == ("openai", "gpt-4.1-2025")
    assert (call.identity, call.logged_cost_usd) == (("", "chatcmpl-assistant2"), 0.25)


def test_a_call_without_a_raw_response_has_the_two_counts(tmp_path: Path) -> None:
    messages = [made("assistant", "Done.", raw_data=None, cost=0.0)]
    (call,) = parsed(tmp_path, results(simulation(messages=messages))).calls
    assert call.usage == Usage(input_tokens=900, output_tokens=20)
    assert (call.identity, call.model) == (("sim-1", "0"), "gpt-4.1")
    assert call.logged_cost_usd is None


def test_messages_that_no_model_made_are_sent_but_are_no_calls(tmp_path: Path) -> None:
    given = [
        message("user", "Hello.", cost=None),
        message("assistant", None, tool_calls=[{"name": "look", "arguments": {}}], cost=None),
        {"id": "c", "role": "tool", "content": "seen", "requestor": "assistant"},
    ]
    result = parsed(tmp_path, results(simulation(messages=[*given, made("assistant", "Done.")])))
    (call,) = result.calls
    assert [text for _, _, text in path_of(result, call.prompt)][2:] == [
        "Hello.",
        "look\n{}",
        "seen",
    ]
    assert len(result.traces) == 1


def test_local_times_are_set_to_utc_by_the_responses(tmp_path: Path) -> None:
    times = [call.started_at for call in parsed(tmp_path, results()).calls]
    assert times == [datetime(2026, 3, 2, 8, 0, at, 500000, tzinfo=UTC) for at in (1, 2, 3)]


def test_a_call_starts_when_its_answer_came_less_the_time_it_took(tmp_path: Path) -> None:
    messages = [made("assistant", "Done.", 9, generation_time_seconds=2.5)]
    (call,) = parsed(tmp_path, results(simulation(messages=messages))).calls
    assert call.started_at == datetime(2026, 3, 2, 8, 0, 7, tzinfo=UTC)
    assert call.duration_s == 2.5


def test_results_of_several_tools_that_are_kept_together_are_read(tmp_path: Path) -> None:
    inner = [{"role": "tool", "content": text, "requestor": "assistant"} for text in "ab"]
    messages = [{"role": "tool", "tool_messages": inner}, made("assistant", "Done.")]
    result = parsed(tmp_path, results(simulation(messages=messages)))
    assert [text for _, _, text in path_of(result, result.calls[0].prompt)][2:] == ["a", "b"]


def test_trials_of_a_task_are_a_group_and_other_agents_are_not_in_it(tmp_path: Path) -> None:
    document = results(simulation(), simulation(id="sim-2", trial=1), simulation(id="3", task_id=8))
    groups = Counter(t.group for t in parsed(tmp_path, document).traces if t.group)
    assert sorted(groups.values()) == [1, 2]
    document["info"]["agent_info"]["llm"] = "anthropic/claude-x"
    others = {trace.group for trace in parsed(tmp_path, document).traces if trace.group}
    assert others.isdisjoint(groups)


def test_a_simulation_kept_apart_is_read_without_its_settings(tmp_path: Path) -> None:
    result = parsed(tmp_path, simulation())
    assert (len(result.calls), result.issues) == (3, [])
    assert result.traces[0].reward == 1.0
    assert path_of(result, result.calls[1].prompt)[1] == ("system", "system", "Be kind.")


def test_an_index_of_simulations_kept_apart_has_nothing_to_read(tmp_path: Path) -> None:
    document = {key: value for key, value in results().items() if key != "simulations"}
    result = parsed(tmp_path, document)
    assert (result.calls, result.traces, result.issues) == ([], [], [])


def test_a_reward_that_is_missing_is_not_nought(tmp_path: Path) -> None:
    missing = simulation(reward_info=None)
    assert parsed(tmp_path, results(missing)).traces[0].reward is None


@pytest.mark.parametrize("bad", [7, None, {}, simulation(messages=7), simulation(id=None)])
def test_a_bad_simulation_is_one_issue_and_the_others_are_kept(tmp_path: Path, bad: Any) -> None:
    result = parsed(tmp_path, results(simulation(), bad, simulation(id="sim-3", messages=[])))
    assert [trace.id for trace in result.traces] == ["sim-1", "sim-1/user", "sim-3"]
    assert [issue.line for issue in result.issues] == [2]
    assert result.issues[0].offset > result.calls[0].offset


@pytest.mark.parametrize("bad", [7, {"role": 7}, {"content": "x"}, made("user", "x", cost=-1.0)])
def test_a_bad_message_is_one_issue_and_the_others_are_kept(tmp_path: Path, bad: Any) -> None:
    result = parsed(tmp_path, results(simulation(messages=[*MESSAGES, bad])))
    assert (len(result.calls), len(result.issues)) == (3, 1)


@pytest.mark.parametrize("changes", [{"info": 7}, {"tasks": [7]}])
def test_bad_settings_cost_no_call(tmp_path: Path, changes: dict[str, Any]) -> None:
    result = parsed(tmp_path, results(**changes))
    assert (len(result.calls), len(result.issues)) == (3, 1)


@pytest.mark.parametrize("cut", [0, 1, 300, -1])
def test_a_document_cut_short_is_one_issue(tmp_path: Path, cut: int) -> None:
    result = parsed(tmp_path, json.dumps(results()).encode()[:cut])
    assert (result.calls, len(result.issues)) == ([], 1)


def test_a_file_is_known_by_its_agents() -> None:
    assert identified(results())
    assert identified(simulation())
    assert identified(results(tasks=[{"id": "7", "user_scenario": "x" * HEAD_BYTES}]))
    info = {key: value for key, value in results()["info"].items() if key != "environment_info"}
    assert identified({"info": info, "tasks": [], "simulations": []})


@pytest.mark.parametrize(
    "other",
    [
        {},
        [],
        {"info": {"mini_version": "2"}, "messages": []},
        {"timestamp": "t", "info": {"a": 1}, "simulations": []},
        {key: value for key, value in results().items() if key != "simulations"},
        [{"task_id": 0, "reward": 1.0, "info": {}, "traj": []}],
    ],
)
def test_documents_of_other_formats_and_indexes_are_refused(other: Any) -> None:
    assert not identified(other)


def test_the_sample_bills_both_sides(sample_logs: Path) -> None:
    path = sample_logs / "tau2" / "results.json"
    result = parse_file(PARSER, path)
    simulations = json.loads(path.read_text())["simulations"]
    assert Counter(trace.group is None for trace in result.traces) == {True: 4, False: 4}
    for side, name in ((False, "agent_cost"), (True, "user_cost")):
        spent = sum(c.logged_cost_usd or 0 for c in result.calls if c.sidechain == side)
        assert spent == pytest.approx(sum(simulation[name] for simulation in simulations))
    cancelled = [trace for trace in result.traces if trace.group and "cancel" in trace.group]
    assert [trace.reward for trace in cancelled] == [1.0, 0.0]
    first, second = ([c for c in result.calls if c.trace == trace.id] for trace in cancelled)
    assert first[1].prompt == second[1].prompt
    assert first[1].completion != second[1].completion


@pytest.mark.real
def test_the_real_results_have_the_known_simulations_usage_and_costs(real_logs: Path) -> None:
    facts = json.loads((real_logs / "FACTS.json").read_text())["tau2"]
    assert len(facts) == 8
    for name, fact in facts.items():
        result = parse_file(PARSER, real_logs / name)
        simulations = json.loads((real_logs / name).read_text())["simulations"]
        assert result.issues == []
        rollouts = [trace for trace in result.traces if trace.group is not None]
        assert len(rollouts) == fact["simulations"]
        groups = Counter(trace.group for trace in rollouts)
        assert len(groups) == fact["tasks"]
        assert Counter(map(str, groups.values())) == fact["trials"]
        rewards = [trace.reward for trace in rollouts if trace.reward is not None]
        assert statistics.fmean(rewards) == pytest.approx(fact["mean_reward"])
        assert len(result.calls) == fact["messages_with_usage"]
        assert len({call.identity for call in result.calls}) == fact["messages_with_usage"]
        usages = [call.usage for call in result.calls if call.usage is not None]
        assert sum(usage.input_tokens or 0 for usage in usages) == fact["prompt_tokens"]
        assert sum(usage.output_tokens or 0 for usage in usages) == fact["completion_tokens"]
        # The sums are left out of a simulation that began with messages of unknown cost.
        summed = {s["id"] for s in simulations if s["agent_cost"] is not None}
        for side, key in ((False, "agent_cost"), (True, "user_cost")):
            costs = [
                call.logged_cost_usd or 0.0
                for call in result.calls
                if call.sidechain == side and call.trace.removesuffix("/user") in summed
            ]
            assert sum(costs) == pytest.approx(fact[key], abs=1e-6)


@pytest.mark.real
def test_real_times_are_in_utc(real_logs: Path) -> None:
    for path in sorted((real_logs / "tau2").rglob("results.json")):
        responses = {
            message["raw_data"]["id"]: message["raw_data"]["created"]
            for simulation in json.loads(path.read_text())["simulations"]
            for message in simulation["messages"]
            if message.get("raw_data")
        }
        for call in parse_file(PARSER, path).calls:
            assert call.started_at is not None
            assert call.identity is not None
            late = call.started_at.timestamp() - responses[call.identity[1]]
            # A request is sent up to some seconds before its response is begun.
            assert -5 < late < 60


@pytest.mark.real
def test_only_the_real_results_of_this_format_are_claimed(real_logs: Path) -> None:
    for path in (path for path in real_logs.rglob("*") if path.is_file()):
        ours = path.relative_to(real_logs).parts[0] == "tau2"
        assert (PARSER.identify(read_head(path)) is not None) == ours, path

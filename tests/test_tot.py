"""The parser for Tree of Thoughts logs."""

from __future__ import annotations

import json
import statistics
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pytest
from parsed_records import claim, read
from recording_tree import Parsed

from forkpoint.parsers.records import Kind, Trace, Usage
from forkpoint.parsers.registry import parsers
from forkpoint.parsers.tot import TreeOfThoughts

PARSER = TreeOfThoughts()
NAIVE = "gpt-4_0.7_naive_cot_sample_2_start0_end2.json"


def usage(prompt: int, completion: int, cost: float | None = None) -> dict[str, Any]:
    return {"completion_tokens": completion, "prompt_tokens": prompt, "cost": cost}


def samples(idx: Any = 0, **changes: Any) -> dict[str, Any]:
    fields = {"idx": idx, "ys": ["a\nAnswer: 7", "b"], "infos": [{"r": 1}, {"r": 0}]}
    return {**fields, **changes}


def search(**changes: Any) -> dict[str, Any]:
    steps = [
        step(0, [""], ["a\n", "b\n", "a\n"], ["a\n", "b\n"]),
        step(1, ["a\n", "b\n"], ["a\nc\n", "a\nd\n", "b\ne\n"], ["b\ne\n", "a\nc\n"]),
    ]
    infos = [{"r": 0}, {"r": 1.0}]
    return {"steps": steps, "idx": 4, "ys": ["b\ne\n", "a\nc\n"], "infos": infos, **changes}


def step(number: int, ys: list[str], new: list[str], selected: list[str]) -> dict[str, Any]:
    return {
        "step": number,
        "x": "1 2",
        "ys": ys,
        "new_ys": new,
        "values": [1.0] * len(new),
        "select_new_ys": selected,
    }


def node(*actions: str, r_word: Any = 0.1) -> dict[str, Any]:
    return {
        "total_step": 0,
        "env_step": len(actions),
        "actions": list(actions),
        "info": {"r_letter": 0.2, "r_word": r_word},
        "count": {"sure": 1, "maybe": 0, "impossible": 0},
    }


def parsed(folder: Path, *puzzles: Any, name: str = NAIVE) -> Parsed:
    return read(PARSER, folder / name, json.dumps(puzzles, indent=4))


def states(found: Parsed) -> list[Trace]:
    return [trace for trace in found.traces if trace.parent is not None]


def rollouts(found: Parsed) -> dict[str, list[Trace]]:
    """The leaves of each puzzle."""
    groups = defaultdict(list)
    for trace in found.traces:
        if trace.group is not None:
            groups[trace.group].append(trace)
    return groups


# --- Samples ------------------------------------------------------------------------------------


def test_a_puzzle_is_a_group_and_each_sample_a_rollout_with_its_reward(tmp_path: Path) -> None:
    found = parsed(tmp_path, samples(900), samples(901))
    assert [len(group) for group in rollouts(found).values()] == [2, 2]
    first, second, *_ = states(found)
    assert (first.reward, second.reward) == (1.0, 0.0)
    assert (first.answer, second.answer) == ("7", None)
    assert found.text(first.leaf) == ["a\nAnswer: 7"]
    assert first.prompt == 0
    assert found.calls == []


def test_equal_samples_are_two_rollouts_of_one_node(tmp_path: Path) -> None:
    found = parsed(tmp_path, samples(ys=["a", "a"]))
    first, second = states(found)
    assert first.id != second.id and first.leaf == second.leaf


def test_samples_without_a_reward_for_each_have_none(tmp_path: Path) -> None:
    found = parsed(
        tmp_path, samples(infos=None), samples(infos=[{"r": 1}]), samples(infos=[{}, {}])
    )
    assert {trace.reward for trace in states(found)} == {None}
    assert len({trace.id for trace in found.traces}) == 6


# --- Usage --------------------------------------------------------------------------------------


def test_a_puzzles_usage_is_what_it_added_to_the_counter(tmp_path: Path) -> None:
    first = samples(0, usage_so_far=usage(10, 5, 0.5))
    second = samples(1, usage_so_far=usage(25, 11, 0.8))
    found = parsed(tmp_path, first, second)
    assert [call.usage for call in found.calls] == [
        Usage(input_tokens=10, output_tokens=5),
        Usage(input_tokens=15, output_tokens=6),
    ]
    costs = [call.logged_cost_usd or 0 for call in found.calls]
    assert costs == pytest.approx([0.5, 0.3])
    assert {call.model for call in found.calls} == {"gpt-4"}
    assert [found.tree.path(call.prompt)[0].kind for call in found.calls] == [Kind.UNLOGGED] * 2
    assert found.calls[0].prompt != found.calls[1].prompt
    assert [state.parent for state in states(found)[:2]] == [found.calls[0].trace] * 2


def test_a_counter_that_fell_began_again_with_a_new_process(tmp_path: Path) -> None:
    counters = [usage(10, 5, 0.5), usage(30, 15, 1.5), usage(8, 4, 0.4), usage(20, 9, 0.9)]
    found = parsed(tmp_path, *(samples(i, usage_so_far=each) for i, each in enumerate(counters)))
    used = [call.usage for call in found.calls if call.usage is not None]
    assert [each.input_tokens for each in used] == [10, 20, 8, 12]
    assert [each.output_tokens for each in used] == [5, 10, 4, 5]


def test_usage_of_a_puzzle_that_cannot_be_read_is_part_of_the_next_ones(tmp_path: Path) -> None:
    found = parsed(
        tmp_path,
        samples(0, usage_so_far=usage(10, 5)),
        samples(1, ys=7, usage_so_far=usage(20, 10)),
        samples(2, usage_so_far=usage(40, 15)),
    )
    assert [issue.line for issue in found.issues] == [2]
    assert [call.usage.input_tokens for call in found.calls if call.usage] == [10, 30]


def test_a_model_is_known_only_from_the_programs_own_file_names(tmp_path: Path) -> None:
    puzzle = samples(usage_so_far=usage(1, 1))
    for name, model in (
        ("gpt-3.5-turbo_0.0_propose1_value3_greedy5_start0_end1.json", "gpt-3.5-turbo"),
        ("gpt-4_1.0_sample2_vote5_greedy1_start0_end1.json", "gpt-4"),
        ("my run.json", None),
    ):
        assert parsed(tmp_path, puzzle, name=name).calls[0].model == model


# --- Breadth first ------------------------------------------------------------------------------


def test_states_that_share_their_beginning_share_nodes(tmp_path: Path) -> None:
    found = parsed(tmp_path, search())
    paths = [found.text(trace.leaf) for trace in states(found)]
    assert paths == [
        ["1 2", "a\n"],
        ["1 2", "b\n"],
        ["1 2", "a\n"],
        ["1 2", "a\n", "c\n"],
        ["1 2", "a\n", "d\n"],
        ["1 2", "b\n", "e\n"],
    ]
    assert {found.text(trace.prompt)[0] for trace in states(found)} == {"1 2"}
    roles = {segment.role for segment in found.tree.path(states(found)[3].leaf or 0)}
    assert roles == {"user", "assistant"}


def test_the_states_nobody_went_on_from_are_the_rollouts(tmp_path: Path) -> None:
    found = parsed(tmp_path, search())
    a, b, again, c, d, e = states(found)
    assert [trace.group is None for trace in (a, b, again, c, d, e)] == [True, True] + [False] * 4
    assert [trace.forked_from for trace in (a, c, d, e)] == [None, a.id, a.id, b.id]
    assert [trace.reward for trace in (again, c, d, e)] == [None, 1.0, None, 0.0]


def test_a_state_selected_twice_lives_on_once(tmp_path: Path) -> None:
    steps = [
        step(0, [""], ["a\n"], ["a\n", "a\n"]),
        step(1, ["a\n", "a\n"], ["a\nb\n", "a\nb\n"], ["a\nb\n"]),
    ]
    found = parsed(tmp_path, search(steps=steps, ys=["a\nb\n"], infos=[{"r": 1}]))
    assert [trace.group is None for trace in states(found)] == [True, False, False]
    assert [trace.reward for trace in states(found)] == [None, 1.0, None]


def test_a_proposal_that_extends_no_state_stands_below_the_puzzle(tmp_path: Path) -> None:
    steps = [
        step(0, [""], ["a\n"], ["a\n"]),
        step(1, ["a\n"], ["z\n", "a\n"], ["z\n"]),
    ]
    found = parsed(tmp_path, search(steps=steps))
    assert [found.text(trace.leaf) for trace in states(found)] == [
        ["1 2", "a\n"],
        ["1 2", "z\n"],
        ["1 2", "a\n"],
    ]
    assert states(found)[1].forked_from is None
    assert states(found)[2].forked_from == states(found)[0].id


def test_a_search_without_rewards_has_rollouts_all_the_same(tmp_path: Path) -> None:
    puzzle = search()
    del puzzle["infos"]
    found = parsed(tmp_path, {**puzzle, "accs": [1, 0]})
    assert len(rollouts(found)) == 1
    assert {trace.reward for trace in found.traces} == {None}


# --- Depth first --------------------------------------------------------------------------------


def test_a_nodes_actions_are_its_path(tmp_path: Path) -> None:
    visits = [
        node("h1. a"),
        node("h1. a", "v1. b", r_word=0.5),
        node("h1. a", "v1. c"),
        node("h2. d"),
    ]
    found = parsed(tmp_path, visits, [node("h1. a")], name="infoss_dfs_prune.json")
    a, b, c, d, other = found.traces
    assert found.text(b.leaf) == ["h1. a", "v1. b"]
    assert [trace.group is None for trace in (a, b, c, d, other)] == [True] + [False] * 4
    assert (b.forked_from, d.forked_from) == (a.id, None)
    assert b.group == d.group != other.group
    assert (a.reward, b.reward) == (0.1, 0.5)
    assert found.calls == []


def test_a_node_whose_parents_were_not_logged_has_its_whole_path(tmp_path: Path) -> None:
    found = parsed(tmp_path, [node("a", "b", "c"), node(), node("a", "b")])
    assert found.text(found.traces[0].leaf) == ["a", "b", "c"]
    assert found.traces[1].leaf is None
    assert found.issues == []


def test_long_paths_cost_no_more_than_their_length(tmp_path: Path) -> None:
    path = [str(number) for number in range(20_000)]
    found = parsed(tmp_path, [node(*path), node(*path, "x")])
    assert len(found.text(found.traces[1].leaf)) == 20_001


# --- Damage -------------------------------------------------------------------------------------


def test_a_list_cut_off_keeps_the_puzzles_before_the_cut(tmp_path: Path) -> None:
    data = json.dumps([samples(0), samples(1)], indent=4)
    found = read(PARSER, tmp_path / NAIVE, data[:-40])
    assert len(states(found)) == 2
    (issue,) = found.issues
    assert issue.line == 2 and data[issue.offset :].startswith('{\n        "idx": 1')


@pytest.mark.parametrize("data", ["", "{}", "[[", "null", "[1", '[{"idx": 0}] x'])
def test_what_is_no_list_of_puzzles_is_one_issue(tmp_path: Path, data: str) -> None:
    found = read(PARSER, tmp_path / NAIVE, data)
    assert len(found.issues) in (1, 2) and found.traces == []


def test_a_puzzle_of_the_wrong_shape_is_one_issue_with_its_place(tmp_path: Path) -> None:
    bad = [7, samples(ys=["a", 3]), search(steps=[{"x": 1}]), [node("a"), {"actions": "a"}], None]
    found = parsed(tmp_path, samples(0), *bad, samples(9))
    assert [issue.line for issue in found.issues] == [2, 3, 4, 5, 6]
    assert len(states(found)) == 4


def test_not_a_number_and_half_surrogates_are_their_puzzles_affair(tmp_path: Path) -> None:
    text = json.dumps(
        [samples(0, infos=[{"r": float("nan")}, {"r": 1}]), samples(1, ys=["\ud83d"])]
    )
    found = read(PARSER, tmp_path / NAIVE, text)
    assert found.issues == []
    assert [trace.reward for trace in states(found)] == [None, 1.0, None]
    assert found.text(states(found)[2].leaf) == ["\ufffd"]


def test_bytes_that_are_no_text_cost_their_puzzle_only(tmp_path: Path) -> None:
    data = json.dumps([samples(0), samples(1), samples(2)]).encode()
    at = data.index(b'"b"', data.index(b'"idx": 1'))
    found = read(PARSER, tmp_path / NAIVE, data[: at + 1] + b"\xff" + data[at + 2 :])
    assert [issue.line for issue in found.issues] == [2]
    assert len(states(found)) == 4


# --- Whose files --------------------------------------------------------------------------------


def test_documents_longer_than_the_head_are_recognised() -> None:
    long = ["x" * 50_000, "y" * 50_000]
    assert claim(PARSER, json.dumps([samples(ys=long)], indent=4))
    assert claim(PARSER, json.dumps([search(steps=[step(0, [""], long, long)])]))
    assert claim(PARSER, json.dumps([[node("a")] * 900]))


@pytest.mark.parametrize(
    "data",
    [
        "",
        "[]",
        "[[]]",
        "[1]",
        '[{"idx": 1, "ys": ["a"]}]',
        '[{"idx": 1, "ys": [1.5], "infos": []}]',
        '[{"steps": [{"step": 0, "source": "user"}], "idx": 1}]',
        '[[{"role": "user"}]]',
        '{"idx": 1, "ys": ["a"], "infos": []}',
    ],
)
def test_other_lists_are_refused(data: str) -> None:
    assert claim(PARSER, data) is None


# --- The samples and the real files -------------------------------------------------------------


def test_the_samples_show_what_their_readme_says(sample_logs: Path) -> None:
    folder = sample_logs / "tot"
    naive = read(PARSER, folder / "gpt-4_0.7_naive_cot_sample_8_start0_end4.json")
    assert [len(group) for group in rollouts(naive).values()] == [8] * 4
    last = json.loads(naive.log.path.read_text())[-1]["usage_so_far"]["prompt_tokens"]
    assert last == 214 and sum(c.usage.input_tokens or 0 for c in naive.calls if c.usage) == 4 * 214
    bfs = read(PARSER, folder / "gpt-4_0.7_propose1_value3_greedy3_start0_end2.json")
    assert len(states(bfs)) == 56 and len({trace.leaf for trace in states(bfs)}) == 54
    assert any(trace.reward == 1 and trace.answer for trace in states(bfs))
    dfs = read(PARSER, folder / "infoss_dfs_prune.json")
    assert len(states(dfs)) == 34 and len(rollouts(dfs)) == 2


def facts(real_logs: Path, name: str) -> tuple[Path, dict[str, Any]]:
    ((path, fact),) = json.loads((real_logs / "FACTS.json").read_text())[name].items()
    return real_logs / path, fact


@pytest.mark.real
def test_the_real_samples_give_the_published_facts(real_logs: Path) -> None:
    path, fact = facts(real_logs, "tot_samples")
    found = read(PARSER, path)
    assert found.issues == []
    groups = rollouts(found)
    assert len(groups) == fact["puzzles"]
    assert Counter(str(len(group)) for group in groups.values()) == fact["samples"]
    distinct = [len({trace.leaf for trace in group}) for group in groups.values()]
    assert statistics.mean(distinct) == fact["distinct_ys_mean"]
    rewards = [[trace.reward or 0 for trace in group] for group in groups.values()]
    assert statistics.mean(map(statistics.mean, rewards)) == pytest.approx(fact["mean_r"])
    assert sum(any(each) for each in rewards) == fact["solved_any"]
    # The counter fell at the 33rd puzzle. Each puzzle sent one prompt's worth of 2,185 tokens, as
    # the last counter says of the 68 puzzles since then, so the file's calls used 100 times that.
    since = found.calls[32:]
    last = fact["usage_so_far_last"]
    assert tokens(since) == (last["prompt_tokens"], last["completion_tokens"])
    assert cost(since) == pytest.approx(last["cost"])
    assert {call.usage.input_tokens for call in found.calls if call.usage} == {2185}
    assert tokens(found.calls)[0] == 218_500


@pytest.mark.real
def test_the_real_breadth_first_searches_give_the_published_facts(real_logs: Path) -> None:
    path, fact = facts(real_logs, "tot_bfs")
    found = read(PARSER, path)
    assert found.issues == []
    groups, expanded = rollouts(found), states(found)
    assert len(groups) == fact["puzzles"]
    assert len(expanded) == fact["expanded"]
    assert len({(trace.parent, trace.leaf) for trace in expanded}) == fact["distinct_expanded"]
    went_on = [trace for trace in expanded if trace.group is None]
    final = [trace for trace in expanded if trace.reward is not None]
    assert len(went_on) + len(final) == fact["selected"]
    depths = Counter(len(found.tree.path(trace.leaf or 0)) - 1 for trace in final)
    assert {str(depth) for depth in depths} == set(fact["steps"])
    solved = [any(trace.reward for trace in group) for group in groups.values()]
    assert sum(solved) == fact["solved_any"]
    last = fact["usage_so_far_last"]
    assert tokens(found.calls) == (last["prompt_tokens"], last["completion_tokens"])
    assert cost(found.calls) == pytest.approx(last["cost"])
    assert {call.model for call in found.calls} == {"gpt-4"}


@pytest.mark.real
def test_the_real_depth_first_searches_give_the_published_facts(real_logs: Path) -> None:
    path, fact = facts(real_logs, "tot_dfs")
    found = read(PARSER, path)
    assert found.issues == []
    per_puzzle: dict[str | None, list[Trace]] = defaultdict(list)
    for trace in found.traces:
        per_puzzle[trace.parent].append(trace)
    assert len(per_puzzle) == len(rollouts(found)) == fact["puzzles"]
    assert [len(nodes) for nodes in per_puzzle.values()] == fact["nodes_per_puzzle"]
    assert len(found.traces) == fact["nodes"]
    paths = {(trace.parent, trace.leaf) for trace in found.traces}
    assert len(paths) == fact["distinct_action_paths"]
    depths = [len(found.tree.path(trace.leaf or 0)) for trace in found.traces]
    assert max(depths) == fact["max_depth"]
    best = [max(trace.reward or 0 for trace in nodes) for nodes in per_puzzle.values()]
    assert statistics.mean(best) == pytest.approx(fact["best_r_word_mean"])
    leaves = [trace for trace in found.traces if trace.group is not None]
    assert len(leaves) == 1180
    assert {t.forked_from for t in found.traces} - {None} <= {t.id for t in found.traces}


@pytest.mark.real
def test_no_other_parser_claims_the_real_files(real_logs: Path) -> None:
    for name in ("tot_samples", "tot_bfs", "tot_dfs"):
        path, _ = facts(real_logs, name)
        data = path.read_bytes()
        assert claim(PARSER, data)
        others = [parser.name for parser in parsers() if claim(parser, data, path.name)]
        assert others in ([], ["tot"])


def tokens(calls: list[Any]) -> tuple[int, int]:
    return (
        sum(call.usage.input_tokens for call in calls),
        sum(call.usage.output_tokens for call in calls),
    )


def cost(calls: list[Any]) -> float:
    return sum(call.logged_cost_usd for call in calls)

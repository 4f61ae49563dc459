"""The parser for what Tinker cookbook runs leave behind."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from parsed_records import claim, read
from recording_tree import Parsed

from forkpoint.parsers.logs import HEAD_BYTES
from forkpoint.parsers.records import Kind
from forkpoint.parsers.tinker_cookbook import TinkerCookbook

PARSER = TinkerCookbook()


def step(ob_len: Any, ac_len: Any, number: int = 0) -> dict[str, Any]:
    return {"step_idx": number, "ob_len": ob_len, "ac_len": ac_len, "reward": 0.0, "metrics": {}}


def summary(*steps: Any, **fields: Any) -> str:
    given = {
        "schema_version": 1,
        "split": "train",
        "iteration": 4,
        "group_idx": 0,
        "traj_idx": 0,
        "tags": ["gsm8k"],
        "total_reward": 1.0,
        "final_reward": 0.0,
        "steps": list(steps),
    }
    return json.dumps({**given, **fields}) + "\n"


def parsed(folder: Path, *lines: str) -> Parsed:
    return read(PARSER, folder / "train_rollout_summaries.jsonl", "".join(lines))


def test_a_step_is_a_call_of_known_lengths_and_unknown_text(tmp_path: Path) -> None:
    found = parsed(tmp_path, summary(step(40, 7), step(60, 9, 1)))
    (trace,) = found.traces
    usages = [call.usage for call in found.calls]
    assert [usage and (usage.input_tokens, usage.output_tokens) for usage in usages] == [
        (40, 7),
        (60, 9),
    ]
    assert [found.tree.path(call.prompt)[0].kind for call in found.calls] == [Kind.UNLOGGED] * 2
    assert len({call.prompt for call in found.calls}) == 2
    assert all(call.completion is None for call in found.calls)
    assert (trace.reward, trace.leaf, trace.project) == (1.0, None, "gsm8k")


def test_a_prompt_that_was_not_sampled_from_is_no_call(tmp_path: Path) -> None:
    found = parsed(tmp_path, summary(step(0, 0)), summary())
    assert (found.calls, len(found.traces), found.issues) == ([], 2, [])


def test_trajectories_of_one_group_are_a_group(tmp_path: Path) -> None:
    found = parsed(
        tmp_path,
        summary(step(1, 1)),
        summary(step(1, 1), traj_idx=1),
        summary(step(1, 1), group_idx=1),
        summary(step(1, 1), iteration=5),
        summary(step(1, 1), split="eval/gsm8k"),
    )
    groups = [trace.group for trace in found.traces]
    assert groups[0] == groups[1]
    assert len(set(groups)) == 4
    assert len({call.identity for call in found.calls}) == 5


def test_a_reward_that_is_no_number_in_json_is_unknown(tmp_path: Path) -> None:
    line = summary(step(1, 1)).replace('"total_reward": 1.0', '"total_reward": NaN')
    assert parsed(tmp_path, line).traces[0].reward is None


@pytest.mark.parametrize(
    "bad",
    [
        summary(step(-1, 1)),
        summary(step(None, 1)),
        summary(step(1, 1.5)),
        summary(7),
        summary(group_idx="a"),
        summary(total_reward="good"),
        '{"split": "train"\n',
        "7\n",
    ],
)
def test_a_bad_summary_is_one_issue_and_the_others_are_kept(tmp_path: Path, bad: str) -> None:
    good = summary(step(1, 1))
    found = parsed(tmp_path, good, bad, good)
    assert [(issue.line, issue.offset) for issue in found.issues] == [(2, len(good))]
    assert len(found.calls) == 2


# The page.


def element(tag: str, *children: Any, **more: Any) -> dict[str, Any]:
    return {"tag": tag, "attrs": {}, "children": list(children), **more}


def section(title: str, *children: Any) -> dict[str, Any]:
    return element("section", element("h3", title), element("div", *children))


def conversation(*messages: tuple[str, str]) -> dict[str, Any]:
    shown = [{"role": role, "content": content} for role, content in messages]
    return element("div", data={"type": "conversation", "messages": shown})


def table(**rows: Any) -> dict[str, Any]:
    cells = [element("tr", element("td", key), element("td", str(rows[key]))) for key in rows]
    return element("table", element("thead"), element("tbody", *cells))


def asked(text: str = "Q") -> dict[str, Any]:
    return section("Prompt", conversation(("system", "S"), ("user", text)))


def answered(text: str) -> dict[str, Any]:
    return section("Policy Response", conversation(("assistant", text)))


def page(folder: Path, *children: Any, **fields: Any) -> Parsed:
    root = element("body", element("h1", "Iteration"), *children)
    document = {"title": "It", "started_at": "2026-10-20T09:30:00", "path": None, "root": root}
    data = json.dumps({**document, **fields}, indent=2)
    return read(PARSER, folder / "train_logtree.json", data)


def test_a_response_on_the_page_is_a_rollout_without_a_call(tmp_path: Path) -> None:
    group = section(
        "Group Rollout", asked(), answered("A"), section("Reward", table(reward="0.500"))
    )
    found = page(tmp_path, group)
    (trace,) = found.traces
    assert found.calls == []
    assert found.text(trace.prompt) == ["S", "Q"]
    assert found.text(trace.leaf) == ["S", "Q", "A"]
    assert trace.reward == 0.5


def test_responses_of_one_group_section_are_a_group(tmp_path: Path) -> None:
    first = section("Group Rollout", asked(), answered("A"), asked(), answered("B"))
    second = section("Group Rollout", asked("R"), answered("A"))
    found = page(tmp_path, element("div", first), element("p", "text"), second)
    groups = [trace.group for trace in found.traces]
    assert groups[0] == groups[1] != groups[2]
    assert [found.text(trace.leaf)[-2:] for trace in found.traces] == [
        ["Q", "A"],
        ["Q", "B"],
        ["R", "A"],
    ]


def test_a_reward_that_does_not_follow_at_once_may_be_anothers(tmp_path: Path) -> None:
    reward = section("Reward", table(reward="1.000"))
    group = section("Group Rollout", asked(), answered("A"), asked(), answered("B"), reward, reward)
    assert [trace.reward for trace in page(tmp_path, group).traces] == [None, 1.0]


@pytest.mark.parametrize("value", ["good", "nan", "inf", ""])
def test_a_reward_that_is_no_number_is_unknown(tmp_path: Path, value: str) -> None:
    group = section("Group Rollout", answered("A"), section("Reward", table(reward=value)))
    (trace,) = page(tmp_path, group).traces
    assert (trace.reward, trace.prompt) == (None, 0)


def test_numbered_completions_have_the_returns_of_their_trajectories(tmp_path: Path) -> None:
    completions = [
        section(f"Completion {n}", conversation(("assistant", f"{n}"))) for n in range(3)
    ]
    episodes = [
        section(f"Trajectory {n} Episode", section("Turn 1"), table(total_return=f"-{n}.5"))
        for n in range(2)
    ]
    details = section("Trajectory Details", *episodes)
    found = page(tmp_path, section("Group Rollout", asked(), *completions, details))
    assert [trace.reward for trace in found.traces] == [-0.5, -1.5, None]


def test_a_message_that_is_none_costs_only_its_response(tmp_path: Path) -> None:
    broken = section(
        "Policy Response", element("div", data={"type": "conversation", "messages": [7]})
    )
    found = page(tmp_path, section("Group Rollout", asked(), broken, asked(), answered("A")))
    assert (len(found.traces), len(found.issues)) == (1, 1)


def test_a_page_without_conversations_is_nothing_and_no_issue(tmp_path: Path) -> None:
    found = page(tmp_path, section("Group Rollout", section("Trajectory Details", "text")))
    assert (found.traces, found.issues) == ([], [])


@pytest.mark.parametrize("cut", [200, 400, -1])
def test_a_page_cut_short_is_one_issue(tmp_path: Path, cut: int) -> None:
    page(tmp_path, section("Group Rollout", asked(), answered("A")))
    data = (tmp_path / "train_logtree.json").read_text()[:cut]
    found = read(PARSER, tmp_path / "cut.json", data)
    assert (found.traces, len(found.issues)) == ([], 1)


def test_a_page_nested_too_deeply_is_one_issue(tmp_path: Path) -> None:
    begins = '{"title": "t", "started_at": "x", "path": null, "root": {"tag": "b", "children": ['
    data = begins + '{"tag": "b", "children": [' * 200_000
    found = read(PARSER, tmp_path / "a.json", data + "]}" * 200_001 + "}")
    assert [issue.reason for issue in found.issues] == ["nested too deeply"]


def test_a_missing_file_is_an_issue(tmp_path: Path) -> None:
    assert len(read(PARSER, tmp_path / "gone.jsonl").issues) == 1


def test_files_are_known_by_their_first_fields(tmp_path: Path) -> None:
    assert claim(PARSER, summary(step(1, 1)))
    assert claim(PARSER, summary(*[step(1, 1)] * 2000))
    page(tmp_path, asked(), path="a/b \\ c.html")
    text = (tmp_path / "train_logtree.json").read_text()
    assert claim(PARSER, text)
    assert claim(PARSER, text.replace('"h1"', '"h1", "x": "' + "y" * HEAD_BYTES + '"'))


@pytest.mark.parametrize(
    "other",
    [
        {"title": "t", "started_at": "x", "messages": []},
        {"step": 3, "progress/batch": 3, "optim/lr": 1e-5},
        {"split": "train", "group_idx": 0, "traj_idx": 0, "total_reward": 1.0},
        {"session_id": "s", "steps": []},
    ],
)
def test_other_files_are_refused(other: dict[str, Any]) -> None:
    assert not claim(PARSER, json.dumps(other) + "\n")


def test_the_samples_hold_three_groups_and_the_page_of_one(sample_logs: Path) -> None:
    folder = sample_logs / "tinker-cookbook" / "iteration_000020"
    found = read(PARSER, folder / "train_rollout_summaries.jsonl")
    assert (len(found.traces), len(found.calls), found.issues) == (12, 16, [])
    assert len({trace.group for trace in found.traces}) == 3
    shown = read(PARSER, folder / "train_logtree.json")
    assert (len(shown.traces), shown.calls, shown.issues) == (4, [], [])
    assert len({trace.group for trace in shown.traces}) == 1
    assert sum(trace.reward or 0 for trace in shown.traces) == 3
    first = [trace.reward for trace in found.traces[:4]]
    assert sorted(map(str, first)) == sorted(str(trace.reward) for trace in shown.traces)

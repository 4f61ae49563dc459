"""The answers behind ``rollouts`` and ``forks`` on small logs, against brute force."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from forkpoint.analysis.drawn_tree import build_drawn_tree
from forkpoint.analysis.fork_answer import build_forks
from forkpoint.analysis.ingest import ingest
from forkpoint.analysis.ingest_worker import Options
from forkpoint.analysis.preference_pairs import as_json_line, build_pairs
from forkpoint.analysis.rollout_answer import build_rollouts
from forkpoint.analysis.store import MEMORY, Store
from forkpoint.analysis.tokens import DEFAULT_ENCODING
from forkpoint.errors import ForkpointError

SAMPLES = Path(__file__).resolve().parent.parent / "sample_logs"
Response = tuple[list[int], float]
"""(ids after the prompt, reward)"""

few = settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
responses = st.lists(
    st.tuples(
        st.lists(st.integers(0, 1), min_size=1, max_size=5).map(lambda ids: [*ids, 7]),
        st.sampled_from([0.0, 0.5, 1.0]),
    ),
    min_size=1,
    max_size=6,
)
groups = st.dictionaries(st.sampled_from("abc"), responses, min_size=1, max_size=3)


@contextmanager
def ingested(folder: Path) -> Iterator[Store]:
    with Store.open(MEMORY, encoding=DEFAULT_ENCODING) as store:
        ingest(store, [folder], Options(DEFAULT_ENCODING))
        yield store


def write_ids(folder: Path, groups: dict[str, list[Response]], **fields: Any) -> None:
    lines = []
    for group, samples in groups.items():
        for i, (response, reward) in enumerate(samples):
            record = {
                "request_id": f"{group}-{i}",
                "group": f"{group:->20}",
                "prompt_token_ids": [9] * 40 + [ord(group)],
                "response_ids": response,
                "reward": reward,
                **fields,
            }
            lines.append(json.dumps(record))
    (folder / "log.jsonl").write_text("\n".join(lines) + "\n")


def write_chats(folder: Path, chats: list[tuple[str, list[str], float]]) -> None:
    """tau-bench results: (task, messages that take turns from the user's on, reward)."""
    episodes = []
    for trial, (task, texts, reward) in enumerate(chats):
        roles = ["user", "assistant"] * len(texts)
        messages = [{"role": "system", "content": "Help."}] + [
            {"role": role, "content": text} for role, text in zip(roles, texts, strict=False)
        ]
        episodes.append(
            {"task_id": task, "reward": reward, "info": {}, "traj": messages, "trial": trial}
        )
    (folder / "results.json").write_text(json.dumps(episodes))


def prefixes(samples: list[Response]) -> set[tuple[int, ...]]:
    return {tuple(ids[:n]) for ids, _ in samples for n in range(len(ids) + 1)}


def below(samples: list[Response], prefix: tuple[int, ...]) -> list[Response]:
    return [each for each in samples if tuple(each[0][: len(prefix)]) == prefix]


def ways(samples: list[Response], prefix: tuple[int, ...]) -> dict[tuple[int, ...], list[float]]:
    found: dict[tuple[int, ...], list[float]] = defaultdict(list)
    for ids, reward in below(samples, prefix):
        found[tuple(ids[len(prefix) : len(prefix) + 1])].append(reward)
    return found


@few
@given(groups)
def test_forks_and_what_became_of_them_equal_brute_force(
    tmp_path_factory: pytest.TempPathFactory, groups: dict[str, list[Response]]
) -> None:
    folder = tmp_path_factory.mktemp("logs")
    write_ids(folder, groups)
    with ingested(folder) as store:
        found = build_forks(store, [folder], top=1000)
    agreed = conflict = 0
    for samples in groups.values():
        mean = sum(reward for _, reward in samples) / len(samples)
        for prefix in prefixes(samples):
            rewards = [reward for _, reward in below(samples, prefix)]
            if prefix and len(rewards) > 1:
                agreed += 1
                conflict += max(rewards) > mean + 1e-9 and min(rewards) < mean - 1e-9
    contrasts = Counter(
        (fork.group[-1], fork.generated_tokens, round(fork.contrast or 0.0, 9))
        for fork in found.top_rollout_forks
    )
    assert contrasts == Counter(
        (name, depth, round(contrast, 9)) for (name, depth, _), contrast in _all_forks(groups)
    )
    summary = found.rollout_forks
    assert summary is not None
    assert summary.forks == len(list(_all_forks(groups)))
    assert summary.by_model == summary.forks
    assert summary.decisive == sum(contrast > 0 for _, contrast in _all_forks(groups))
    assert sum(band.forks for band in summary.bands) == summary.forks
    assert summary.shared_generated_tokens == agreed
    assert summary.conflict_tokens == conflict


def _all_forks(
    groups: dict[str, list[Response]],
) -> Iterator[tuple[tuple[str, int, int], float]]:
    for name, samples in groups.items():
        for prefix in prefixes(samples):
            branches = ways(samples, prefix)
            if len(branches) > 1:
                values = [sum(each) / len(each) for each in branches.values()]
                yield (name, len(prefix), len(branches)), max(values) - min(values)


@few
@given(groups)
def test_groups_equal_brute_force(
    tmp_path_factory: pytest.TempPathFactory, groups: dict[str, list[Response]]
) -> None:
    folder = tmp_path_factory.mktemp("logs")
    write_ids(folder, groups)
    with ingested(folder) as store:
        found = build_rollouts(store, [folder])
    assert found.rollouts.groups == len(groups)
    flat = sum(41 + len(ids) for samples in groups.values() for ids, _ in samples)
    tree = sum(41 + len(prefixes(samples)) - 1 for samples in groups.values())
    assert (found.rollouts.flat_tokens, found.rollouts.tree_tokens) == (flat, tree)
    for row in found.groups:
        samples = groups[row.group[-1]]
        n = len(samples)
        lengths = [41 + len(ids) for ids, _ in samples]
        assert row.rollouts == row.sized_rollouts == n
        assert row.distinct_rollouts == len({tuple(ids) for ids, _ in samples})
        assert row.flat_tokens == sum(lengths)
        trunk = 41 + max(
            len(prefix) for prefix in prefixes(samples) if len(below(samples, prefix)) == n
        )
        assert row.trunk_tokens == trunk
        rest = sum(lengths) / n - trunk
        assert row.rho == pytest.approx(n * (trunk + rest) / (trunk + n * rest))
        assert row.bound == pytest.approx(1 / (1 - (row.overlap_ratio or 0.0)))
        assert row.mean_generated_tokens == pytest.approx(sum(lengths) / n - 41)
        assert row.mean_reward == pytest.approx(sum(reward for _, reward in samples) / n)
    several = {name: samples for name, samples in groups.items() if len(samples) > 1}
    budget = found.budget
    if not several:
        assert budget is None
        return
    assert budget is not None
    alone = sum(len(ids) for samples in several.values() for ids, _ in samples)
    shared = sum(len(prefixes(samples)) - 1 for samples in several.values())
    assert (budget.budget_tokens, budget.tree_tokens) == (alone, shared)
    assert budget.chains == sum(map(len, several.values()))
    assert budget.distinct == sum(
        len({tuple(ids) for ids, _ in samples}) for samples in several.values()
    )
    assert budget.branches is None or budget.branches >= budget.chains
    assert budget.branches_by_ratio == pytest.approx(budget.chains * alone / shared)
    last = budget.curve[-1]
    same = [samples for samples in several.values() if len(samples) == last.rollouts]
    assert last.tree_tokens == pytest.approx(np.mean([len(prefixes(each)) - 1 for each in same]))


def test_two_branches_with_rewards_give_a_pair_of_token_ids(tmp_path: Path) -> None:
    write_ids(tmp_path, {"a": [([1, 2, 3], 1.0), ([1, 2, 4], 0.0), ([1, 2, 4, 5], 0.5)]})
    with ingested(tmp_path) as store:
        # At the fork below, a branch only ends: there is nothing to train on.
        (pair,) = build_pairs(store, [tmp_path])
    row = json.loads(as_json_line(pair))
    assert row["prompt"] == [9] * 40 + [ord("a"), 1, 2]
    assert row["chosen"] == [3]
    assert row["rejected"][0] == 4
    assert (row["chosen_value"], row["rejected_value"]) == (1.0, 0.25)
    assert row["rejected_rollouts"] == 2
    assert row["margin"] == 0.75
    assert row["shared_prefix"]["tokens"] == 43
    assert row["shared_prefix"]["line"] == 1


def test_a_pair_shows_the_best_of_the_better_way_and_the_worst_of_the_worse(tmp_path: Path) -> None:
    better = [([1, 2, 2], -1.0), ([1, 2, 3], 1.0), ([1, 2, 4], 0.5)]
    worse = [([1, 5, 6], 0.0), ([1, 5, 7], -1.0), ([1, 5, 8], 0.25)]
    write_ids(tmp_path, {"a": [*better, *worse]})
    with ingested(tmp_path) as store:
        pairs = {pair.fork_tokens: pair for pair in build_pairs(store, [tmp_path])}
    pair = pairs[42]
    assert (pair.chosen, pair.rejected) == ([2, 3], [5, 7])
    assert pair.chosen_side.value == pytest.approx(0.5 / 3)
    assert pair.rejected_side.value == pytest.approx(-0.75 / 3)
    assert (pair.chosen_side.reward, pair.rejected_side.reward) == (1.0, -1.0)
    assert (pair.chosen_side.rollouts, pair.rejected_side.rollouts) == (3, 3)
    assert pair.line == 2
    assert pair.chosen_side.trace.startswith("a-1")
    assert pair.rejected_side.trace.startswith("a-4")
    row = json.loads(as_json_line(pair))
    assert (row["chosen_reward"], row["rejected_reward"]) == (1.0, -1.0)


def test_text_beside_token_ids_is_what_a_pair_shows(tmp_path: Path) -> None:
    samples = [([1, 2, 3], " One plus one is 2.", 1.0), ([1, 2, 4], " One plus one is 3.", 0.0)]
    lines = [
        json.dumps(
            {
                "request_id": f"r{i}",
                "group": "g" * 20,
                "prompt": "1+1?",
                "response": text,
                "prompt_token_ids": [9] * 40,
                "response_ids": ids,
                "reward": reward,
            }
        )
        for i, (ids, text, reward) in enumerate(samples)
    ]
    (tmp_path / "log.jsonl").write_text("\n".join(lines) + "\n")
    with ingested(tmp_path) as store:
        (pair,) = build_pairs(store, [tmp_path])
    assert (pair.prompt, pair.chosen, pair.rejected) == ("1+1? One plus one is ", "2.", "3.")
    assert (pair.fork_tokens, pair.shared_tokens) == (42, 0)


@pytest.mark.parametrize("texts", [("Yes.", "No."), ("Yes.", "Yes.")])
def test_messages_beside_token_ids_are_what_a_pair_shows(
    tmp_path: Path, texts: tuple[str, str]
) -> None:
    asked = [{"role": "system", "content": "Help."}, {"role": "user", "content": "Is it?"}]
    group = {
        "tokens": [[1, 2, 3, 4], [1, 2, 3, 5]],
        "masks": [[-100, -100, 3, 4], [-100, -100, 3, 5]],
        "scores": [1.0, 0.0],
        "messages": [[*asked, {"role": "agent", "content": text}] for text in texts],
    }
    (tmp_path / "groups.jsonl").write_text(json.dumps(group) + "\n")
    with ingested(tmp_path) as store:
        (pair,) = build_pairs(store, [tmp_path])
    if texts[0] == texts[1]:  # only the ids tell them apart
        assert (pair.prompt, pair.chosen, pair.rejected) == ([1, 2, 3], [4], [5])
        assert pair.shared_tokens == 0
        return
    assert pair.prompt == asked
    assert pair.chosen == [{"role": "assistant", "content": "Yes."}]
    assert pair.rejected == [{"role": "assistant", "content": "No."}]
    assert (pair.fork_tokens, pair.shared_tokens) == (3, 1)


def test_chats_give_pairs_of_the_models_turns_and_forks_of_others_give_none(tmp_path: Path) -> None:
    write_chats(
        tmp_path,
        [
            ("cancel", ["hello", "Your number?", "12", "Done."], 1.0),
            ("cancel", ["hello", "Your number?", "12", "I cannot."], 0.0),
            ("cancel", ["hello", "Your number?", "why?", "Because."], 0.0),
        ],
    )
    with ingested(tmp_path) as store:
        (pair,) = build_pairs(store, [tmp_path])
        forks = build_forks(store, [tmp_path])
    assert pair.prompt == [
        {"role": "system", "content": "Help."},
        {"role": "user", "content": "hello"},
        {"role": "assistant", "content": "Your number?"},
        {"role": "user", "content": "12"},
    ]
    assert pair.chosen == [{"role": "assistant", "content": "Done."}]
    assert pair.rejected == [{"role": "assistant", "content": "I cannot."}]
    assert {fork.by for fork in forks.top_rollout_forks} == {"model", "environment"}
    begins = {branch.begins for fork in forks.top_rollout_forks for branch in fork.branches}
    assert "assistant: Done." in begins


def test_nobody_is_named_for_forks_in_ids_that_are_masked(tmp_path: Path) -> None:
    # Trainers mask a model's earlier turns too, so masked ids may be anybody's.
    ids = [[1, 2, 3, 8, 8, 4], [1, 2, 4, 8, 8, 5], [1, 2, 3, 8, 8, 6]]
    group = {
        "tokens": ids,
        "masks": [[-100] * 5 + each[5:] for each in ids],
        "scores": [1.0, 0.0, 0.5],
    }
    (tmp_path / "groups.jsonl").write_text(json.dumps(group) + "\n")
    with ingested(tmp_path) as store:
        found = build_forks(store, [tmp_path])
    assert {(fork.depth_tokens, fork.by) for fork in found.top_rollout_forks} == {
        (2, "unknown"),
        (5, "model"),
    }
    summary = found.rollout_forks
    assert summary is not None
    assert (summary.forks, summary.by_model, summary.by_environment) == (2, 1, 0)


def test_answers_are_taken_from_fields_then_from_text_and_a_pattern_goes_first(
    tmp_path: Path,
) -> None:
    write_chats(
        tmp_path,
        [
            ("sum", ["2+2?", "I think the answer is 4."], 1.0),
            ("sum", ["2+2?", r"So \boxed{4}. CODE: x"], 1.0),
            ("sum", ["2+2?", "The answer is 5. CODE: x"], 0.0),
            ("sum", ["2+2?", "No idea."], 0.0),
        ],
    )
    with ingested(tmp_path) as store:
        found = build_rollouts(store, [tmp_path])
        again = build_rollouts(store, [tmp_path])
        coded = build_rollouts(store, [tmp_path], pattern=re.compile(r"CODE: (\w)"))
    assert found == again
    assert found.answers is not None
    assert found.answers.answered == 3
    (group,) = found.groups
    assert (group.answers, group.distinct_answers, group.modal_share) == (3, 2, 0.5)
    assert group.same_answer_share == pytest.approx(2 / 12)
    assert found.rollouts.same_answer_share == group.same_answer_share
    assert found.answers.majority_accuracy == 1.0
    assert found.answers.pass_at_k == {1: 0.5, 2: pytest.approx(5 / 6), 4: 1.0}
    assert coded.groups[0].modal_share == 0.5
    assert coded.groups[0].distinct_answers == 2  # x twice; 4, as no code is in that text


R1_PROMPT = "Reply as <answer> answer here </answer>. Q: 1+1? A: The answer is 2. Q: 3+4? A:"


@pytest.mark.parametrize("ids", [False, True])
@pytest.mark.parametrize("prompt", [R1_PROMPT, "x é 🙂\n" * 400 + R1_PROMPT])
def test_what_a_prompt_states_is_no_answer(tmp_path: Path, ids: bool, prompt: str) -> None:
    responses = [" The answer is 7.", " I do not know.", "", " <answer>8</answer>"]
    with_ids = {
        "prompt_token_ids": [9] * 40,
        "group": "g" * 20,
        "prompt": prompt,
    }
    lines = [
        {
            "request_id": f"r{i}",
            **with_ids,
            "response_ids": [i, 5],
            "response": response,
            "reward": 1,
        }
        if ids
        else {"input": prompt, "output": response, "gts": None, "score": 1.0, "step": 1}
        for i, response in enumerate(responses)
    ]
    (tmp_path / "1.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    with ingested(tmp_path) as store:
        (group,) = build_rollouts(store, [tmp_path]).groups
        tree = build_drawn_tree(store, [tmp_path], group.group)
        (asked,) = build_rollouts(store, [tmp_path], pattern=re.compile(r"Q: (.)")).groups
    assert (group.rollouts, group.answers, group.distinct_answers) == (4, 2, 2)
    assert {answer for line in tree.lines for answer in line.answers} == {"7", "8"}
    assert (asked.answers, asked.distinct_answers) == (2, 2)


def test_what_a_user_says_last_is_no_answer(tmp_path: Path) -> None:
    write_chats(
        tmp_path,
        [
            ("t", ["q", "The answer is 4.", "No, the answer is 5."], 0.0),
            ("t", ["The answer is 6?", "Yes.", "Thanks."], 1.0),
        ],
    )
    with ingested(tmp_path) as store:
        found = build_rollouts(store, [tmp_path])
    (group,) = found.groups
    assert (group.answers, group.distinct_answers) == (1, 1)


def test_an_answer_may_stand_before_the_models_last_tool_call(tmp_path: Path) -> None:
    call = {"function": {"name": "close", "arguments": "{}"}, "id": "1", "type": "function"}
    messages = [
        {"role": "user", "content": "2+2?"},
        {"role": "assistant", "content": "The answer is 4."},
        {"role": "user", "content": "Close it. The answer is 5?"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
    ]
    episode = {"task_id": 1, "reward": 1.0, "info": {}, "traj": messages, "trial": 0}
    (tmp_path / "results.json").write_text(json.dumps([episode, {**episode, "trial": 1}]))
    with ingested(tmp_path) as store:
        (group,) = build_rollouts(store, [tmp_path]).groups
        tree = build_drawn_tree(store, [tmp_path], group.group)
    assert group.answers == 2
    assert {answer for line in tree.lines for answer in line.answers} == {"4"}


def test_an_answer_beside_token_ids_is_the_last_messages(tmp_path: Path) -> None:
    shots = [{"role": "user", "content": "1+1?"}, {"role": "agent", "content": "The answer is 2."}]
    texts = ["The answer is 7.", "No idea."]
    group = {
        "tokens": [[1, 2, 3, 4 + i] for i in range(len(texts))],
        "masks": [[-100, -100, 3, 4 + i] for i in range(len(texts))],
        "scores": [1.0, 0.0],
        "messages": [
            [*shots, {"role": "user", "content": "3+4?"}, {"role": "agent", "content": text}]
            for text in texts
        ],
    }
    (tmp_path / "groups.jsonl").write_text(json.dumps(group) + "\n")
    with ingested(tmp_path) as store:
        (found,) = build_rollouts(store, [tmp_path]).groups
    assert (found.rollouts, found.answers) == (2, 1)


def test_settled_votes_save_what_hand_counting_says(tmp_path: Path) -> None:
    texts = ["The answer is 1."] * 3 + ["The answer is 2."]
    write_chats(tmp_path, [("t", ["q", text], float("1." in text)) for text in texts])
    with ingested(tmp_path) as store:
        found = build_rollouts(store, [tmp_path], orders=2000).answers
    assert found is not None
    settled = found.early_stop[0]
    assert settled.rule == "settled"
    # Of 4 orders (where the 2 stands): first or second place needs all 4 (3:1 is settled at the
    # last, 2:1 with one left is a tie at worst, so not before); third or fourth place: after 3.
    orders = [
        ("2", "1", "1", "1"),
        ("1", "2", "1", "1"),
        ("1", "1", "2", "1"),
        ("1", "1", "1", "2"),
    ]
    saved = []
    for order in orders:
        for n in range(1, 5):
            counts = Counter(order[:n]).most_common(2)
            first, second = counts[0][1], counts[1][1] if len(counts) > 1 else 0
            if first - second > 4 - n:
                break
        saved.append((4 - n) / 4)
    outcome = settled.sequential
    assert outcome.traces_saved is not None
    assert outcome.traces_saved.mean == pytest.approx(np.mean(saved), abs=0.02)
    assert outcome.same_answer is not None
    assert outcome.same_answer.mean == 1.0


def test_drift_is_counted_and_its_effect_on_the_overlap_shown(tmp_path: Path) -> None:
    same_text, other_ids = [5] * 30, [5] * 20 + [6] * 9
    records = [
        {"prompt_ids": [1] * 40, "response_ids": ids, "prompt": "say it", "response": " very well"}
        for ids in (same_text, same_text, other_ids)
    ]
    lines = [
        json.dumps({"request_id": f"r{i}", "group": "g" * 20, "reward": 1.0, **record})
        for i, record in enumerate(records)
    ]
    (tmp_path / "log.jsonl").write_text("\n".join(lines) + "\n")
    with ingested(tmp_path) as store:
        drift = build_rollouts(store, [tmp_path]).rollouts.drift
    assert drift is not None
    assert (drift.sequences, drift.drifted) == (3, 1)
    assert drift.overlap_ratio_by_ids == pytest.approx(1 - 79 / 209)
    assert drift.faked_tokens == 9
    assert drift.overlap_ratio_without == pytest.approx(1 - 70 / 209)
    assert drift.overlap_ratio_by_text == pytest.approx(2 / 3)


def test_drift_of_turns_counts_once_and_only_up_to_where_the_texts_part(tmp_path: Path) -> None:
    turns = [  # (ids of the second turn, of the third, its text), after a first one alike
        ([1] * 4, [5] * 6, "done"),
        ([2] * 5, [6] * 7, "done"),
        ([2] * 5, [7] * 3, "otherwise"),
    ]
    lines = []
    for i, (second, third, said) in enumerate(turns):
        ids, text = [8] * 40, "ask"
        for made, words in (([9] * 3, " one"), (second, " two"), (third, f" {said}")):
            record = {"prompt_ids": ids, "response_ids": made, "prompt": text, "response": words}
            more = {"group": "g" * 20, "session_id": f"s{i}", "reward": 1.0}
            lines.append(json.dumps({"request_id": f"{i}-{len(ids)}", **more, **record}))
            ids, text = ids + made, text + words
    (tmp_path / "log.jsonl").write_text("\n".join(lines) + "\n")
    with ingested(tmp_path) as store:
        drift = build_rollouts(store, [tmp_path]).rollouts.drift
    assert drift is not None
    # The second says what the first says, in other ids: 5 + 7. The third shares those 5 with it.
    assert drift.faked_tokens == 5 + 7
    flat, tree = 53 + 55 + 51, 43 + 10 + 12 + 3
    assert drift.overlap_ratio_by_ids == pytest.approx(1 - tree / flat)
    assert drift.overlap_ratio_without == pytest.approx(1 - (43 + 10 + 3) / flat)


def test_turns_of_agents_are_counted_once_where_the_conversation_is_the_same(
    tmp_path: Path,
) -> None:
    write_chats(
        tmp_path,
        [
            ("t", ["q", "a", "x", "b"], 1.0),
            ("t", ["q", "a", "x", "c"], 0.0),
            ("u", ["q", "a"], 0.0),
        ],
    )
    with ingested(tmp_path) as store:
        found = build_rollouts(store, [tmp_path]).rollouts
    assert (found.turns, found.distinct_turns) == (5, 4)
    assert found.drift is None


def test_a_drawn_tree_holds_every_rollout_once(tmp_path: Path) -> None:
    samples = [([1, 2, 3], 1.0), ([1, 2, 4], 0.0), ([1, 5], 0.5), ([1, 5], 0.5)]
    write_ids(tmp_path, {"a": samples, "b": [([1], 1.0)]})
    with ingested(tmp_path) as store:
        drawn = build_drawn_tree(store, [tmp_path], "-a")
        with pytest.raises(ForkpointError, match="2 groups go by"):
            build_drawn_tree(store, [tmp_path], "---")
        with pytest.raises(ForkpointError, match="no group"):
            build_drawn_tree(store, [tmp_path], "nothing")
    shape = [
        (line.depth, line.start_tokens, line.tokens, line.rollouts, line.mean_reward)
        for line in drawn.lines
    ]
    assert shape == [
        (0, 0, 42, 4, 0.5),
        (1, 42, 1, 2, 0.5),
        (2, 43, 1, 1, 1.0),
        (2, 43, 1, 1, 0.0),
        (1, 42, 1, 2, 0.5),
    ]
    assert sum(line.tokens for line in drawn.lines) == drawn.group.tree_tokens
    ends = [line for line in drawn.lines if line.trace is not None]
    assert len(ends) == 2


def test_real_rollouts_of_a_small_model_answer_and_diverge(tmp_path: Path) -> None:
    log = SAMPLES / "token-ids" / "smollm2.jsonl"
    with ingested(log) as store:
        found = build_rollouts(store, [log])
        forks = build_forks(store, [log])
    assert (found.rollouts.groups, found.rollouts.rollouts) == (6, 48)
    assert found.answers is not None
    clusters = found.answers.clusters
    assert clusters is not None
    assert 0.5 < (clusters.auroc or 0.0) <= 1
    assert [row.name for row in found.answers.deep_conf] == [
        "online, low", "online, high", "vote by tail",
    ]  # fmt: skip
    entropy = forks.entropy
    assert entropy is not None
    assert entropy.whole_tokens == entropy.tokens == 1807
    assert entropy.undecided == 0
    assert entropy.agreement is not None
    by_hand = _positions_of_siblings(log)
    assert entropy.agreement.positions == len(by_hand)
    assert entropy.agreement.divergences == sum(len(tokens) > 1 for tokens in by_hand.values())
    assert entropy.threshold_nats is not None
    high = sum(
        min(values) >= entropy.threshold_nats for values in _entropies_of_siblings(log).values()
    )
    assert entropy.agreement.high == high


def _records(log: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.read_text().splitlines()]


def _positions_of_siblings(log: Path) -> dict[tuple[str, tuple[int, ...]], set[int]]:
    """Next tokens at every place that two or more samples of one prompt reach."""
    found: dict[tuple[str, tuple[int, ...]], list[int]] = defaultdict(list)
    for record in _records(log):
        ids = record["output_token_ids"]
        for n in range(len(ids)):
            found[record["group"], tuple(ids[:n])].append(ids[n])
    return {place: set(tokens) for place, tokens in found.items() if len(tokens) > 1}


def _entropies_of_siblings(log: Path) -> dict[tuple[str, tuple[int, ...]], list[float]]:
    found: dict[tuple[str, tuple[int, ...]], list[float]] = defaultdict(list)
    for record in _records(log):
        ids = record["output_token_ids"]
        for n, entropy in enumerate(record["entropies"]):
            found[record["group"], tuple(ids[:n])].append(entropy)
    return {place: values for place, values in found.items() if len(values) > 1}


def test_bounds_from_the_top_five_enclose_the_full_entropies_of_the_same_rollouts() -> None:
    answers = {}
    for folder in ("token-ids", "openai"):
        log = SAMPLES / folder / "smollm2.jsonl"
        with ingested(log) as store:
            answers[folder] = build_forks(store, [log], threshold=1.0).entropy
    full, top = answers["token-ids"], answers["openai"]
    assert full is not None
    assert top is not None
    assert (full.tokens, full.completions) == (top.tokens, top.completions)
    assert top.top_k_tokens == top.tokens
    assert top.mean_lower_nats is not None
    assert top.mean_upper_nats is not None
    assert top.mean_lower_nats <= (full.mean_lower_nats or 0.0) <= top.mean_upper_nats
    assert full.mean_lower_nats == full.mean_upper_nats
    assert full.mean_surprisal_nats == pytest.approx(top.mean_surprisal_nats, abs=1e-4)
    # What the bounds decide, they decide as the full entropies do.
    assert top.fork <= full.fork
    assert top.not_fork <= full.not_fork
    assert top.fork + top.not_fork + top.undecided == full.fork + full.not_fork


def test_pairs_of_samples_agree_as_often_as_counting_says() -> None:
    log = SAMPLES / "token-ids" / "smollm2.jsonl"
    with ingested(log) as store:
        found = build_rollouts(store, [log])
    shares = []
    by_group: dict[str, list[str | None]] = defaultdict(list)
    for record in _records(log):
        by_group[record["group"]].append(record.get("answer"))
    for answers in by_group.values():
        if sum(answer is not None for answer in answers) >= 2:
            pairs = list(combinations(answers, 2))
            shares.append(sum(a is not None and a == b for a, b in pairs) / len(pairs))
    assert found.rollouts.same_answer_share == pytest.approx(np.mean(shares), abs=0.05)

"""The parser for Atropos rollout groups."""

from __future__ import annotations

import json
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from parsed_records import claim, read
from recording_tree import Parsed, parse_tail

from forkpoint.parsers.atropos import Atropos, unmasked_runs
from forkpoint.parsers.registry import parsers

PARSER = Atropos()
PROMPT = [{"role": "system", "content": "Steer."}, {"role": "user", "content": "Go."}]
ANSWERS = [
    [*PROMPT, {"role": "assistant", "content": "up", "reward": 1.0}],
    [*PROMPT, {"role": "assistant", "content": "down"}],
]


def group(**changes: Any) -> dict[str, Any]:
    fields = {
        "tokens": [[1, 2, 3, 4], [1, 2, 5]],
        "masks": [[-100, -100, 3, 4], [-100, -100, 5]],
        "scores": [0.5, -0.5],
        "messages": None,
        "ref_logprobs": None,
    }
    return {**fields, **changes}


def parsed(folder: Path, *records: Any) -> Parsed:
    return read(PARSER, folder / "groups.jsonl", "".join(json.dumps(r) + "\n" for r in records))


def ids(found: Parsed, node: int | None) -> list[int]:
    assert node is not None
    return [token for segment in found.tree.path(node) for token in segment.content]


def common(left: list[int], right: list[int]) -> int:
    """How many ids two sequences begin with alike."""
    unequal = (i for i, (a, b) in enumerate(zip(left, right, strict=False)) if a != b)
    return next(unequal, min(len(left), len(right)))


def sequences_by_group(found: Parsed) -> list[list[list[int]]]:
    """The sorted sequences of each group."""
    by_group: dict[str | None, list[list[int]]] = {}
    for trace in found.traces:
        by_group.setdefault(trace.group, []).append(ids(found, trace.leaf))
    return [sorted(sequences) for sequences in by_group.values()]


def saved_by_trees(found: Parsed) -> int:
    """Tokens that a group's prefix tree holds once and its sequences more often."""
    return sum(common(a, b) for group in sequences_by_group(found) for a, b in pairwise(group))


def saved_by_common_prefixes(found: Parsed) -> int:
    """The part of it that all sequences of the group begin with."""
    groups = sequences_by_group(found)
    return sum((len(group) - 1) * common(group[0], group[-1]) for group in groups)


# --- What a line is -----------------------------------------------------------------------------


def test_a_line_is_a_group_and_each_sequence_a_rollout_with_its_score(tmp_path: Path) -> None:
    found = parsed(tmp_path, group(), group(scores=[1, 0]))
    assert [trace.reward for trace in found.traces] == [0.5, -0.5, 1, 0]
    first, second, third, _ = found.traces
    assert first.group == second.group != third.group
    assert len({trace.id for trace in found.traces}) == 4
    assert {trace.project for trace in found.traces} == {"groups"}
    assert ids(found, first.leaf) == [1, 2, 3, 4]


def test_equal_lines_are_groups_of_their_own_and_equal_in_a_copy_of_the_file(
    tmp_path: Path,
) -> None:
    found = parsed(tmp_path, group(), group())
    assert len({trace.group for trace in found.traces}) == 2
    again = read(PARSER, tmp_path / "copy.jsonl", (tmp_path / "groups.jsonl").read_bytes())
    assert [trace.group for trace in again.traces] == [trace.group for trace in found.traces]
    assert [call.identity for call in again.calls] == [call.identity for call in found.calls]


def test_the_unmasked_run_is_a_call_whose_prompt_is_all_before_it(tmp_path: Path) -> None:
    found = parsed(tmp_path, group())
    call = found.calls[0]
    assert ids(found, call.prompt) == [1, 2]
    assert ids(found, call.completion) == [1, 2, 3, 4]
    assert call.text is None and call.usage is None
    assert (call.line, call.offset) == (1, 0)
    assert call.trace == found.traces[0].id


def test_each_unmasked_turn_of_one_sequence_is_a_call(tmp_path: Path) -> None:
    record = group(
        tokens=[[1, 2, 3, 4, 5]],
        masks=[[-100, 2, -100, -100, 5]],
        scores=[1],
        messages=[
            [
                {"role": "user", "content": "a"},
                {"role": "assistant", "content": "b"},
                {"role": "tool", "content": "c"},
                {"role": "agent", "content": "d"},
            ]
        ],
    )
    found = parsed(tmp_path, record)
    assert [ids(found, call.completion) for call in found.calls] == [[1, 2], [1, 2, 3, 4, 5]]
    assert [found.text(call.text) for call in found.calls] == [["a", "b"], ["a", "b", "c", "d"]]


def test_messages_are_the_same_sequence_as_text(tmp_path: Path) -> None:
    found = parsed(tmp_path, group(messages=ANSWERS))
    assert [found.text(call.text) for call in found.calls] == [
        ["Steer.", "Go.", "up"],
        ["Steer.", "Go.", "down"],
    ]


def test_equal_texts_of_different_ids_end_in_one_text_node(tmp_path: Path) -> None:
    found = parsed(tmp_path, group(messages=[ANSWERS[0], ANSWERS[0]]))
    first, second = found.calls
    assert first.completion != second.completion
    assert first.text == second.text


def test_decoded_ids_logged_as_one_user_message_are_the_text_of_the_whole(tmp_path: Path) -> None:
    decoded = [[{"role": "user", "content": text}] for text in ("<s>a b", "<s>a c")]
    found = parsed(tmp_path, group(messages=decoded))
    assert [found.text(call.text) for call in found.calls] == [["<s>a b"], ["<s>a c"]]


def test_an_unmasked_last_message_of_the_environment_was_not_sampled(tmp_path: Path) -> None:
    ends = [[*messages, {"role": "environment", "content": "over"}] for messages in ANSWERS]
    found = parsed(tmp_path, group(messages=ends))
    assert found.calls == [] and found.scores == []
    assert [ids(found, trace.leaf) for trace in found.traces] == [[1, 2, 3, 4], [1, 2, 5]]


def test_a_sequence_with_nothing_unmasked_is_a_rollout_without_calls(tmp_path: Path) -> None:
    found = parsed(tmp_path, group(masks=[[-100] * 4, [-100, -100, 5]]))
    assert len(found.traces) == 2 and len(found.calls) == 1


def test_inference_logprobs_are_scores_without_the_mark_of_masked_positions(
    tmp_path: Path,
) -> None:
    logprobs = [[1.0, 1.0, -0.25, 1.0], None]
    found = parsed(
        tmp_path, group(inference_logprobs=logprobs, ref_logprobs=[[0.0] * 4, [0.0] * 3])
    )
    (scores,) = found.scores
    assert scores.tokens == [3, 4]
    assert scores.logprobs == [-0.25, None]
    assert scores.top is None and scores.entropies is None
    assert scores.trace == found.traces[0].id
    assert (scores.prompt, scores.completion) == (found.calls[0].prompt, found.calls[0].completion)


def test_a_score_that_is_no_number_is_no_reward(tmp_path: Path) -> None:
    data = json.dumps(group()).replace("0.5,", "NaN,") + "\n"
    found = read(PARSER, tmp_path / "g.jsonl", data)
    assert [trace.reward for trace in found.traces] == [None, -0.5]
    assert found.issues == []


@pytest.mark.parametrize(
    "changes",
    [
        {"masks": [[-100, 3], [5]]},
        {"masks": [[-100, -100, 3, 4]]},
        {"masks": [[-101, -100, 3, 4], [-100, -100, 5]]},
        {"masks": [[2**70, -100, 3, 4], [-100, -100, 5]]},
        {"masks": None},
        {"tokens": [[1, -2, 3, 4], [1, 2, 5]]},
        {"tokens": [[1, "2", 3, 4], [1, 2, 5]]},
        {"scores": [1.0]},
        {"scores": [[1.0], 2.0]},
        {"inference_logprobs": [[0.0], [0.0]]},
        {"messages": [[{"content": "no role"}], []]},
        {"messages": [[7], []]},
    ],
)
def test_a_line_that_cannot_be_right_is_one_issue_and_the_others_are_kept(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    found = parsed(tmp_path, group(), group(**changes), group(scores=[3, 4]))
    assert [issue.line for issue in found.issues] == [2]
    assert [trace.reward for trace in found.traces] == [0.5, -0.5, 3, 4]


def test_the_appended_part_is_read_on_from_the_checkpoint(tmp_path: Path) -> None:
    before = parsed(tmp_path, group())
    with (tmp_path / "groups.jsonl").open("a") as file:
        file.write(json.dumps(group()) + "\n")
    after = parse_tail(PARSER, before)
    whole = read(PARSER, tmp_path / "groups.jsonl")
    assert [t.id for t in before.traces + after.traces] == [t.id for t in whole.traces]
    assert [call.line for call in after.calls] == [2, 2]


def test_runs_of_unmasked_positions_are_half_open_intervals() -> None:
    assert unmasked_runs([]) == []
    assert unmasked_runs([-100, -100]) == []
    assert unmasked_runs([7, 8]) == [(0, 2)]
    assert unmasked_runs([7, -100, 0, -100]) == [(0, 1), (2, 3)]


# --- Whose files --------------------------------------------------------------------------------


def test_a_first_record_longer_than_the_head_is_recognised() -> None:
    long = [[1] * 40_000, [2]]
    assert claim(PARSER, json.dumps(group(tokens=long)))
    assert claim(PARSER, json.dumps({"seed": 7, "env_id": None, **group(tokens=long)}))
    masks = [[1] * 20_000, [1] * 20_000]
    assert claim(PARSER, json.dumps(group(tokens=[[1], [2]], masks=masks)))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"{}\n",
        b'{"tokens": [[1, 2], [3]]}\n',
        b'{"tokens": [1, 2], "masks": [1, 2], "scores": [1]}\n',
        b'{"tokens": ["a", "b"], "masks": [[1]], "scores": [1]}\n',
        json.dumps({"text": "x" * 70_000, "tokens": [[1]]}).encode(),
    ],
)
def test_files_of_other_kinds_are_refused(data: bytes) -> None:
    assert claim(PARSER, data) is None


# --- The sample and the real file ---------------------------------------------------------------


def test_the_sample_shows_what_its_readme_says(sample_logs: Path) -> None:
    found = read(PARSER, sample_logs / "atropos" / "lift-control.jsonl")
    assert found.issues == []
    assert Counter(Counter(t.group for t in found.traces).values()) == {4: 5}
    assert len(found.calls) == len(found.scores) == 16
    same = [
        a for a, b in pairwise(found.calls) if a.text == b.text and a.completion != b.completion
    ]
    assert len(same) == 1
    over = [trace for trace in found.traces if trace.id not in {c.trace for c in found.calls}]
    assert [trace.reward for trace in over] == [0.0] * 4
    assert sum(len(ids(found, trace.leaf)) for trace in found.traces) == 1952
    assert saved_by_common_prefixes(found) == 1221
    assert saved_by_trees(found) == 1316


@pytest.mark.real
def test_the_real_file_gives_the_published_facts(real_logs: Path) -> None:
    facts = json.loads((real_logs / "FACTS.json").read_text())["atropos"]
    for name, fact in facts.items():
        path = real_logs / name
        found = read(PARSER, path)
        assert found.issues == []
        groups = Counter(trace.group for trace in found.traces)
        assert len(groups) == fact["groups"]
        assert Counter(map(str, groups.values())) == fact["group_size"]
        assert sum(len(ids(found, trace.leaf)) for trace in found.traces) == fact["tokens"]
        saved = saved_by_common_prefixes(found)
        assert saved == fact["common_prefix_tokens_saved"]
        assert round(saved / fact["tokens"], 4) == fact["common_prefix_rate"]
        assert saved_by_trees(found) == 35_870
        rewards: dict[str | None, set[float | None]] = {}
        for trace in found.traces:
            rewards.setdefault(trace.group, set()).add(trace.reward)
        assert sum(len(each) == 1 for each in rewards.values()) == fact["zero_spread_groups"]
        scores = [trace.reward for trace in found.traces if trace.reward is not None]
        assert sum(scores) / len(scores) == pytest.approx(fact["mean_score"], abs=1e-6)
        records = [json.loads(line) for line in path.read_text().splitlines()]
        masks = [mask for record in records for mask in record["masks"]]
        unmasked = sum(end - start for mask in masks for start, end in unmasked_runs(mask))
        assert unmasked == fact["unmasked_tokens"]
        # Half of the sequences end with the environment's words, unmasked all the same.
        sampled = sum(
            len(ids(found, call.completion)) - len(ids(found, call.prompt)) for call in found.calls
        )
        assert (len(found.calls), sampled) == (12, 48)
        assert all(call.text is not None for call in found.calls)


@pytest.mark.real
def test_no_other_parser_claims_the_real_file(real_logs: Path) -> None:
    path = next((real_logs / "rollout-groups" / "atropos-selcube").iterdir())
    data = path.read_bytes()
    assert [parser.name for parser in parsers() if claim(parser, data, path.name)] in (
        [],
        ["atropos"],
    )
    assert claim(PARSER, data)

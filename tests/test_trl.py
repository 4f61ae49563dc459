"""The parser for TRL's logged completions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest
from parsed_records import read
from recording_tree import Parsed

from forkpoint.parsers.logs import read_head
from forkpoint.parsers.parquet_rows import ParquetRows
from forkpoint.parsers.records import Kind
from forkpoint.parsers.trl import Trl

PARSER = Trl()
NAN = float("nan")


def written(path: Path, **columns: list[Any]) -> Path:
    pl.DataFrame(columns, strict=False).write_parquet(path)
    return path


def batch(path: Path, **columns: list[Any]) -> Parsed:
    """A file of three rows, with these columns in place of the usual ones or beside them."""
    given: dict[str, list[Any]] = {
        "step": [7, 7, 7],
        "prompt": ["P", "P", "Q"],
        "completion": ["a", "b", "c"],
        "accuracy_reward": [1.0, 0.0, NAN],
        **columns,
        "advantage": [1.0, -1.0, 0.0],
    }
    return read(PARSER, written(path, **given))


def test_a_row_is_a_rollout_and_one_call(tmp_path: Path) -> None:
    found = batch(tmp_path / "completions_00007.parquet")
    assert [found.text(call.prompt) for call in found.calls] == [["P"], ["P"], ["Q"]]
    assert [found.text(call.completion) for call in found.calls] == [["Pa"], ["Pb"], ["Qc"]]
    assert [trace.leaf for trace in found.traces] == [call.completion for call in found.calls]
    first, second, third = (trace.group for trace in found.traces)
    assert first == second != third
    assert [call.line for call in found.calls] == [1, 2, 3]
    assert found.issues == []


def test_a_batch_that_is_logged_again_at_a_later_step_counts_once(tmp_path: Path) -> None:
    once = batch(tmp_path / "completions_00007.parquet")
    again = batch(tmp_path / "completions_00008.parquet", step=[8, 8, 8])
    other = batch(tmp_path / "completions_00009.parquet", completion=["a", "b", "d"])
    assert [call.identity for call in again.calls] == [call.identity for call in once.calls]
    assert [trace.id for trace in again.traces] == [trace.id for trace in once.traces]
    assert not {call.identity for call in once.calls} & {call.identity for call in other.calls}


def test_equal_rows_of_a_batch_are_samples_of_their_own(tmp_path: Path) -> None:
    found = batch(tmp_path / "a.parquet", completion=["a", "a", "a"], prompt=["P"] * 3)
    assert len({call.identity for call in found.calls}) == 3
    assert len({call.completion for call in found.calls}) == 1


@pytest.mark.parametrize(
    ("columns", "rewards"),
    [
        ({}, [1.0, 0.0, None]),
        ({"format_reward": [0.5, NAN, 0.25]}, [1.5, 0.0, 0.25]),
        ({"format_reward": [0.5, None, 0.25]}, [1.5, 0.0, 0.25]),
        # What users log stands between rewards and advantage too.
        ({"n_chars": [1.0, 2.0, 3.0], "answer": ["x", "y", "z"]}, [1.0, 0.0, None]),
        ({"format_reward": [1, 1, 1]}, [1.0, 0.0, None]),
    ],
)
def test_the_reward_is_the_sum_of_the_columns_named_after_rewards(
    tmp_path: Path, columns: dict[str, list[Any]], rewards: list[float | None]
) -> None:
    found = batch(tmp_path / "a.parquet", **columns)
    assert [trace.reward for trace in found.traces] == rewards


def test_columns_of_floats_are_rewards_where_no_name_says_so(tmp_path: Path) -> None:
    rows = {"step": [1], "prompt": ["P"], "completion": ["a"], "length": [3]}
    path = written(tmp_path / "a.parquet", **rows, judge=[0.5], brevity=[0.25], advantage=[9.0])
    assert read(PARSER, path).traces[0].reward == 0.75


def test_an_older_file_has_one_reward_and_no_advantage(tmp_path: Path) -> None:
    path = written(tmp_path / "a.parquet", step=[1], prompt=["P"], completion=["a"], reward=[0.5])
    assert PARSER.identify(read_head(path))
    assert read(PARSER, path).traces[0].reward == 0.5


def test_conversations_are_read_message_by_message(tmp_path: Path) -> None:
    given = [{"role": "system", "content": "S"}, {"role": "assistant", "content": "Ready."}]
    made = [
        {"role": "assistant", "content": "look"},
        {"role": "tool", "content": "seen"},
        {"role": "assistant", "content": "done"},
    ]
    found = batch(
        tmp_path / "a.parquet", prompt=[given, given, given[:1]], completion=[made, made[:1], made]
    )
    kinds = [segment.kind for segment in found.tree.path(found.traces[0].leaf or 0)]
    assert kinds == [Kind.SYSTEM, Kind.TEXT, Kind.TEXT, Kind.TOOL_RESULT, Kind.TEXT]
    assert [call.line for call in found.calls] == [1, 1, 2, 3, 3]
    first, second = found.calls[:2]
    assert found.text(first.prompt) == ["S", "Ready."]
    assert found.text(second.prompt) == ["S", "Ready.", "look", "seen"]
    assert found.traces[0].group == found.traces[1].group != found.traces[2].group
    assert len({call.identity for call in found.calls}) == 5


def test_a_text_beside_a_conversation_is_a_message(tmp_path: Path) -> None:
    asked = [{"role": "user", "content": "Q"}]
    found = batch(tmp_path / "a.parquet", prompt=[asked] * 3)
    path = found.tree.path(found.calls[0].completion or 0)
    assert [(segment.role, segment.content) for segment in path] == [
        ("user", "Q"),
        ("assistant", "a"),
    ]


def test_a_bad_row_is_one_issue_and_the_others_are_kept(tmp_path: Path) -> None:
    found = batch(tmp_path / "a.parquet", prompt=["P", None, "Q"])
    assert [issue.line for issue in found.issues] == [2]
    assert found.issues[0].reason.startswith("row 2: ")
    assert [call.line for call in found.calls] == [1, 3]


@pytest.mark.parametrize(
    "prompt",
    [
        [1, 2, 3],
        [[1], [2], [3]],
        [[["P"]]] * 3,
        [[{"content": "no role"}]] * 3,
        [{"role": "user"}] * 3,
        [b"P"] * 3,
    ],
)
def test_prompts_of_other_types_are_issues(tmp_path: Path, prompt: list[Any]) -> None:
    found = batch(tmp_path / "a.parquet", prompt=prompt)
    assert (found.calls, len(found.issues)) == ([], 3)


@pytest.mark.parametrize("cut", [0, 3, 4, 200, -4, -1])
def test_a_file_cut_short_is_one_issue(tmp_path: Path, cut: int) -> None:
    batch(tmp_path / "a.parquet")
    (tmp_path / "b.parquet").write_bytes((tmp_path / "a.parquet").read_bytes()[:cut])
    found = read(PARSER, tmp_path / "b.parquet")
    assert (found.calls, len(found.issues)) == ([], 1)
    assert "\n" not in found.issues[0].reason


def test_bytes_damaged_anywhere_end_in_issues(sample_logs: Path, tmp_path: Path) -> None:
    data = (sample_logs / "trl" / "completions" / "completions_00010.parquet").read_bytes()
    path = tmp_path / "a.parquet"
    for place in range(0, len(data), 13):
        path.write_bytes(data[:place] + bytes([data[place] ^ 0x55]) + data[place + 1 :])
        for issue in read(PARSER, path).issues:
            assert issue.reason and "\n" not in issue.reason


def test_names_that_are_patterns_or_sql_are_names(tmp_path: Path) -> None:
    folder = tmp_path / "a[b]*'; --"
    folder.mkdir()
    found = batch(folder / "c?.parquet", **{'x" FROM reward --': [1.0, 1.0, 1.0]})
    assert [trace.reward for trace in found.traces] == [2.0, 1.0, 1.0]


def test_pages_that_unpack_to_more_than_the_limit_do_not_end_the_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("forkpoint.parsers.parquet_rows.MAX_DOCUMENT_BYTES", 16 << 20)
    path = written(tmp_path / "a.parquet", a=["x" * (60 << 20)] * 2)
    assert path.stat().st_size < 1 << 20
    with ParquetRows(path) as rows, pytest.raises(ValueError, match=r"memory"):
        list(rows.select(["a"]))


def test_only_files_with_these_columns_are_claimed(tmp_path: Path) -> None:
    for columns in (
        {"prompt": ["P"], "completion": ["a"]},
        {"step": [1], "prompt": ["P"], "completion": ["a"]},
        {"step": [1], "prompt": ["P"], "advantage": [0.5]},
    ):
        assert PARSER.identify(read_head(written(tmp_path / "a.parquet", **columns))) is None
    (tmp_path / "a.parquet").write_bytes(b"PAR1 and no more")
    assert PARSER.identify(read_head(tmp_path / "a.parquet")) is None


def test_the_samples_hold_two_batches_one_of_them_twice(sample_logs: Path) -> None:
    files = sorted((sample_logs / "trl" / "completions").glob("*.parquet"))
    found = [read(PARSER, path) for path in files]
    assert [len(each.calls) for each in found] == [12, 12, 12]
    assert len({call.identity for each in found for call in each.calls}) == 24
    assert [len({trace.group for trace in each.traces}) for each in found] == [3, 3, 3]
    assert sum(trace.reward or 0 for trace in found[0].traces) == 11
    assert pl.read_parquet(files[0]).drop("step").equals(pl.read_parquet(files[1]).drop("step"))

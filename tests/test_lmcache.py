"""The parser for LMCache's lookup logs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from parsed_records import claim, read
from recording_tree import Parsed, parse_tail

from forkpoint.parsers.lmcache import LMCache
from forkpoint.parsers.records import Kind

PARSER = LMCache()


def lookup(*hashes: str, **changes: Any) -> dict[str, Any]:
    fields = {
        "timestamp": 1711929600.125,
        "request_id": "req-1",
        "model_name": "acme-7b",
        "chunk_size": 256,
        "seq_len": 256 * len(hashes) + 9,
        "dtypes": ["bfloat16"],
        "shapes": [[2, 32, 256, 1024]],
        "chunk_hashes": list(hashes),
    }
    return {**fields, **changes}


def rows(folder: Path, *records: Any, name: str = "lookup_hashes_x_000000.jsonl") -> Parsed:
    text = "".join(json.dumps(each) + "\n" for each in records)
    return read(PARSER, folder / name, text)


def test_a_lookup_is_a_call_of_whole_chunks_and_a_tail_that_is_only_counted(tmp_path: Path) -> None:
    found = rows(tmp_path, lookup("0xa", "0xb"))
    (call,) = found.calls
    path = found.tree.path(call.prompt)
    assert [(segment.kind, segment.content[1:]) for segment in path] == [
        (Kind.BLOCK, ("0xa", 256)),
        (Kind.BLOCK, ("0xb", 256)),
    ]
    assert call.usage is not None and call.usage.input_tokens == 521
    assert (call.completion, call.model) == (None, None)
    assert str(call.started_at) == "2024-04-01 00:00:00.125000+00:00"
    assert [trace.id for trace in found.traces] == [call.trace]


def test_hashes_mean_the_same_in_all_files_of_one_model(tmp_path: Path) -> None:
    one = rows(tmp_path, lookup("0xa", "0xb"), name="one.jsonl")
    other = rows(
        tmp_path, lookup("0xa", "0xc"), lookup("0xa", "0xb", model_name="b"), name="two.jsonl"
    )
    first = one.tree.path(one.calls[0].prompt)
    same, foreign = (other.tree.path(call.prompt) for call in other.calls)
    assert first[0] == same[0]
    assert first[0] != foreign[0]


def test_each_record_is_a_request_and_a_copied_line_is_one(tmp_path: Path) -> None:
    again = lookup("0xa", timestamp=1711929700.0)
    found = rows(tmp_path, lookup("0xa"), again, lookup("0xa"))
    assert len({call.identity for call in found.calls}) == 2


def test_prompts_without_a_whole_chunk_have_no_path_and_lookups_of_nothing_are_none(
    tmp_path: Path,
) -> None:
    found = rows(tmp_path, lookup(seq_len=200), lookup(seq_len=0, request_id="empty"))
    (call,) = found.calls
    assert found.tree.path(call.prompt) == []
    assert call.usage is not None and call.usage.input_tokens == 200
    assert found.issues == []


def test_a_file_that_grew_is_read_on_in_the_same_trace(tmp_path: Path) -> None:
    before = rows(tmp_path, lookup("0xa"))
    path = before.log.path
    path.write_text(path.read_text() + json.dumps(lookup("0xa", "0xb")) + "\n")
    after = parse_tail(PARSER, before)
    assert [call.trace for call in after.calls] == [before.calls[0].trace]
    assert (after.traces, after.calls[0].line) == ([], 2)


@pytest.mark.parametrize(
    "bad",
    [
        lookup("0xa", seq_len=255),
        lookup("0xa", chunk_size=0),
        lookup("0xa", chunk_size=-1),
        lookup("0xa", timestamp=1e15),
        lookup("0xa", timestamp="noon"),
        lookup("0xa", seq_len=2**70),
        lookup("0xa", chunk_hashes=[7]),
        lookup("0xa", chunk_hashes=None),
        {"event": "store"},
        7,
    ],
)
def test_a_bad_record_is_one_issue_and_the_others_are_kept(tmp_path: Path, bad: Any) -> None:
    found = rows(tmp_path, lookup("0xa"), bad, lookup("0xb"))
    assert [call.line for call in found.calls] == [1, 3]
    assert [issue.line for issue in found.issues] == [2]


def test_a_first_record_longer_than_the_head_is_known() -> None:
    long = lookup(*(f"0x{number:064x}" for number in range(2000)))
    assert claim(PARSER, json.dumps(long)) is not None
    assert claim(PARSER, json.dumps(lookup("0xa"))) is not None


@pytest.mark.parametrize(
    "other",
    [
        {"chat_id": 1, "hash_ids": [1], "input_length": 5},
        {"timestamp": 1, "input_length": 5, "output_length": 1, "hash_ids": [1]},
        {"chunk_hashes": ["0xa"], "file": "x"},
        {"chunk_hashes": "0xa", "seq_len": 1, "chunk_size": 1},
    ],
)
def test_other_records_are_refused(other: Any) -> None:
    assert claim(PARSER, json.dumps(other)) is None


def test_the_samples_share_chunks_across_files(sample_logs: Path) -> None:
    one, two = (read(PARSER, path) for path in sorted((sample_logs / "lmcache").glob("*.jsonl")))
    assert (len(one.calls), len(two.calls), one.issues + two.issues) == (12, 8, [])
    seen = {segment for call in one.calls for segment in one.tree.path(call.prompt)}
    shared = [sum(segment in seen for segment in two.tree.path(call.prompt)) for call in two.calls]
    assert min(shared) >= 3
    tokens = sum(call.usage.input_tokens or 0 for call in (*one.calls, *two.calls) if call.usage)
    assert tokens == 37_202

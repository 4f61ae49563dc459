"""The parser for Mooncake's hashed-block traces."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from parsed_records import as_bytes, check_second_is_bad, claim
from recording_tree import Parsed, parse_file, parse_tail

from forkpoint.parsers.logs import HEAD_BYTES, read_head
from forkpoint.parsers.mooncake import Mooncake
from forkpoint.parsers.records import Kind, Usage

PARSER = Mooncake()


def request(**changes: Any) -> str:
    fields = {"timestamp": 0, "input_length": 1000, "output_length": 7, "hash_ids": [3, 4]}
    return json.dumps({**fields, **changes}) + "\n"


def written(folder: Path, *lines: str | bytes) -> Path:
    path = folder / "trace.jsonl"
    path.write_bytes(b"".join(map(as_bytes, lines)))
    return path


def parsed(folder: Path, *lines: str | bytes) -> Parsed:
    return parse_file(PARSER, written(folder, *lines))


def identified(data: str | bytes) -> bool:
    return claim(PARSER, data) is not None


def test_a_request_has_its_blocks_usage_and_time(tmp_path: Path) -> None:
    result = parsed(tmp_path, request(timestamp=1500))
    (call,) = result.calls
    assert call.usage == Usage(input_tokens=1000, output_tokens=7)
    assert call.started_at == datetime(1970, 1, 1, 0, 0, 1, 500_000, tzinfo=UTC)
    assert call.completion is None
    blocks = result.tree.path(call.prompt)
    assert [block.kind for block in blocks] == [Kind.BLOCK, Kind.BLOCK]
    assert [block.content[1:] for block in blocks] == [(3, 512), (4, 488)]
    assert [(trace.id, trace.project) for trace in result.traces] == [(call.trace, "trace")]


def test_requests_with_an_equal_beginning_share_its_blocks(tmp_path: Path) -> None:
    result = parsed(tmp_path, request(), request(input_length=1536, hash_ids=[3, 5, 6]))
    first, second = (result.tree.path(call.prompt) for call in result.calls)
    assert first[0] == second[0]
    assert len(result.tree.segments) - 1 == 4


@pytest.mark.parametrize(
    ("input_length", "n_blocks", "sizes"),
    [
        (1024, 2, [512, 512]),
        (1023, 2, [512, 511]),
        (513, 2, [512, 1]),
        (1025, 2, [512, 512]),
        (1535, 2, [512, 512]),
        (511, 0, []),
        (0, 0, []),
    ],
)
def test_blocks_may_be_rounded_up_or_down(
    tmp_path: Path, input_length: int, n_blocks: int, sizes: list[int]
) -> None:
    line = request(input_length=input_length, hash_ids=list(range(n_blocks)))
    result = parsed(tmp_path, line)
    (call,) = result.calls
    assert [block.content[2] for block in result.tree.path(call.prompt)] == sizes
    assert call.usage is not None
    assert call.usage.input_tokens == input_length


@pytest.mark.parametrize(
    ("input_length", "n_blocks"), [(512, 2), (1536, 2), (0, 1), (512, 0), (10**9, 3)]
)
def test_a_length_that_does_not_fit_its_blocks_is_an_issue(
    tmp_path: Path, input_length: int, n_blocks: int
) -> None:
    result = parsed(tmp_path, request(input_length=input_length, hash_ids=list(range(n_blocks))))
    assert result.calls == []
    assert f"input_length {input_length} does not fit {n_blocks} blocks" in result.issues[0].reason


def test_a_stated_block_size_counts(tmp_path: Path) -> None:
    huge = [2**47 - 1, 2**80, "a1f"]
    line = json.dumps({"block_size": 16, "hash_ids": huge, "input_length": 48, "timestamp": 3})
    result = parsed(tmp_path, line + "\n")
    (call,) = result.calls
    assert [block.content[1:] for block in result.tree.path(call.prompt)] == [
        (block, 16) for block in huge
    ]
    assert call.usage == Usage(input_tokens=48, output_tokens=None)


def test_ids_of_two_traces_are_not_comparable(tmp_path: Path) -> None:
    one = parsed(tmp_path, request())
    two = parsed(tmp_path, request(timestamp=1))
    scopes = [result.tree.path(result.calls[0].prompt)[0].content[0] for result in (one, two)]
    assert scopes[0] != scopes[1]
    assert one.calls[0].trace != two.calls[0].trace
    assert one.calls[0].identity != two.calls[0].identity


def test_copies_of_a_trace_hold_the_same_requests_and_equal_lines_stay_apart(
    tmp_path: Path,
) -> None:
    lines = [request(), request(), request(timestamp=9)]
    one, two = parsed(tmp_path, *lines), parsed(tmp_path, *lines)
    identities = [call.identity for call in one.calls]
    assert identities == [call.identity for call in two.calls]
    assert len(set(identities)) == 3


def test_files_that_part_after_their_first_line_are_not_merged_there(tmp_path: Path) -> None:
    one = parsed(tmp_path, request(), request(hash_ids=[3, 5]))
    two = parsed(tmp_path, request(), request(hash_ids=[3, 6]))
    assert one.calls[0].identity == two.calls[0].identity
    assert one.calls[1].identity != two.calls[1].identity


@pytest.mark.parametrize("cut", range(1, 5))
def test_a_grown_file_gives_what_one_reading_gives(tmp_path: Path, cut: int) -> None:
    lines = [request(timestamp=n // 2, session_id=n % 2) for n in range(4)]
    lines.insert(1, "broken\n")
    whole = parsed(tmp_path, *lines)
    before = parsed(tmp_path, *lines[:cut])
    written(tmp_path, *lines)
    after = parse_tail(PARSER, before)
    both = before.calls + after.calls
    for name in ("identity", "trace", "line", "offset"):
        assert [getattr(c, name) for c in both] == [getattr(c, name) for c in whole.calls]
    assert len(before.issues + after.issues) == 1
    paths = [before.tree.path(call.prompt) for call in both]
    assert paths == [whole.tree.path(call.prompt) for call in whole.calls]


def test_sessions_are_traces_within_their_file(tmp_path: Path) -> None:
    result = parsed(tmp_path, request(session_id="a"), request(session_id=1), request())
    scope = result.calls[2].trace
    assert [call.trace for call in result.calls] == [f"{scope}/a", f"{scope}/1", scope]


@pytest.mark.parametrize(
    "bad",
    [
        request(hash_ids=None),
        request(hash_ids=[1.5, 2]),
        request(hash_ids=[[1], [2]]),
        request(hash_ids="3 4"),
        request(input_length=-1),
        request(input_length=2**60),
        request(input_length=1000.5),
        request(output_length=-1),
        request(output_length="7"),
        request(timestamp=-1),
        request(timestamp=1e300),
        request(timestamp="now"),
        request(block_size=0),
        request(block_size=2**40),
        '{"timestamp": 0, "input_length": 5\n',
        '{"hash_ids": ' + "[" * 200_000 + "\n",
        "\x00\n",
        "[]\n",
    ],
)
def test_a_bad_record_is_one_issue_and_the_others_are_kept(tmp_path: Path, bad: str) -> None:
    result = parsed(tmp_path, request(), bad, request())
    check_second_is_bad(result, request())


def test_a_missing_time_is_no_time(tmp_path: Path) -> None:
    calls = parsed(tmp_path, request(timestamp=None), request().replace("0,", "NaN,", 1)).calls
    assert [call.started_at for call in calls] == [None, None]


def test_a_file_is_known_by_its_records() -> None:
    assert identified(request())
    assert identified("# comment\n" + request(session_id="s", block_size=16))
    assert identified(json.dumps({"block_size": 16, "hash_ids": [5], "input_length": 16}))


def test_a_first_record_longer_than_the_head_is_known() -> None:
    many = list(range(HEAD_BYTES))
    assert identified(request(hash_ids=many, input_length=512 * len(many)))
    bailian = {"chat_id": 1, "parent_chat_id": -1, "timestamp": 1.5, "input_length": 9}
    assert not identified(json.dumps({**bailian, "type": "text", "turn": 1, "hash_ids": many}))


@pytest.mark.parametrize(
    "other",
    [
        {"chat_id": 1, "parent_chat_id": -1, "timestamp": 0.1, "input_length": 20}
        | {"output_length": 3, "type": "text", "turn": 1, "hash_ids": [1, 2]},
        {"id": "t", "models": ["m"], "block_size": 64, "requests": [{"hash_ids": [1]}]},
        {"timestamp": 5, "request_id": "r", "chunk_size": 256, "seq_len": 9, "chunk_hashes": [1]},
        {"timestamp": 5, "input": "a", "output": "b", "session_id": "s"},
        {"request_id": "r", "token_ids": [1, 2]},
        {"timestamp": 0, "input_length": 5, "output_length": 1},
        {"hash_ids": [1]},
    ],
)
def test_records_of_other_formats_are_refused(other: dict[str, Any]) -> None:
    assert not identified(json.dumps(other) + "\n")


def test_the_sample_holds_three_conversations_over_one_system_prompt(sample_logs: Path) -> None:
    result = parse_file(PARSER, sample_logs / "mooncake" / "conversations.jsonl")
    assert (len(result.calls), result.issues) == (201, [])
    paths = [result.tree.path(call.prompt) for call in result.calls]
    assert len({tuple(path[:6]) for path in paths}) == 1
    assert len({path[6] for path in paths}) > 3
    unique, total = len(result.tree.segments) - 1, sum(map(len, paths))
    assert unique < total / 4


@pytest.mark.real
def test_the_real_trace_has_the_known_blocks_and_tokens(real_logs: Path) -> None:
    ((name, fact),) = json.loads((real_logs / "FACTS.json").read_text())["mooncake"].items()
    result = parse_file(PARSER, real_logs / name)
    assert result.issues == []
    assert len(result.calls) == len({call.identity for call in result.calls}) == fact["requests"]
    usages = [call.usage for call in result.calls if call.usage]
    assert sum(usage.input_tokens or 0 for usage in usages) == fact["input_tokens"]
    assert sum(usage.output_tokens or 0 for usage in usages) == fact["output_tokens"]
    paths = [result.tree.path(call.prompt) for call in result.calls]
    assert sum(map(len, paths)) == fact["total_blocks"]
    assert len(result.tree.segments) - 1 == fact["unique_blocks"]
    assert sum(block.content[2] for path in paths for block in path) == fact["input_tokens"]
    last = max(call.started_at for call in result.calls if call.started_at)
    assert last.timestamp() * 1000 == pytest.approx(fact["last_timestamp_ms"], abs=1e-3)


@pytest.mark.real
def test_only_the_real_trace_of_this_format_is_claimed(real_logs: Path) -> None:
    for path in (path for path in real_logs.rglob("*") if path.is_file()):
        ours = path.parent.name == "mooncake"
        assert (PARSER.identify(read_head(path)) is not None) == ours, path

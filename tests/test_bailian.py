"""The parser for Bailian's hashed-block traces."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from parsed_records import check_second_is_bad, claim, read
from recording_tree import Parsed, parse_file

from forkpoint.parsers.bailian import Bailian
from forkpoint.parsers.logs import HEAD_BYTES
from forkpoint.parsers.records import Kind, Usage

PARSER = Bailian()


def request(**changes: Any) -> str:
    fields = {"chat_id": 159, "parent_chat_id": -1, "timestamp": 61.114, "input_length": 40}
    more = {"output_length": 132, "type": "text", "turn": 1, "hash_ids": [1089, 1090, 6326]}
    return json.dumps({**fields, **more, **changes}) + "\n"


def parsed(folder: Path, *lines: str) -> Parsed:
    return read(PARSER, folder / "qwen_traceA_blksz_16.jsonl", "".join(lines))


def identified(data: str) -> bool:
    return claim(PARSER, data) is not None


def test_a_request_has_its_blocks_usage_and_time(tmp_path: Path) -> None:
    result = parsed(tmp_path, request())
    (call,) = result.calls
    assert call.usage == Usage(input_tokens=40, output_tokens=132)
    assert call.started_at == datetime(1970, 1, 1, 0, 1, 1, 114_000, tzinfo=UTC)
    blocks = result.tree.path(call.prompt)
    assert {block.kind for block in blocks} == {Kind.BLOCK}
    assert [block.content[1:] for block in blocks] == [(1089, 16), (1090, 16), (6326, 8)]
    assert [trace.project for trace in result.traces] == ["qwen_traceA_blksz_16"]


def test_equal_blocks_after_other_blocks_are_not_shared(tmp_path: Path) -> None:
    # Ids name the content of one block, not of all before it.
    result = parsed(tmp_path, request(), request(hash_ids=[7, 1090, 6326]))
    first, second = (call.prompt for call in result.calls)
    assert first != second
    assert len(result.tree.segments) - 1 == 6


@pytest.mark.parametrize(
    ("input_length", "n_blocks", "sizes"),
    [(32, 2, [16, 16]), (33, 3, [16, 16, 1]), (33, 2, [16, 16]), (15, 0, []), (0, 0, [])],
)
def test_blocks_may_be_rounded_up_or_down(
    tmp_path: Path, input_length: int, n_blocks: int, sizes: list[int]
) -> None:
    result = parsed(tmp_path, request(input_length=input_length, hash_ids=list(range(n_blocks))))
    (call,) = result.calls
    assert [block.content[2] for block in result.tree.path(call.prompt)] == sizes


def test_a_conversation_is_one_trace_named_by_its_first_request(tmp_path: Path) -> None:
    result = parsed(
        tmp_path,
        request(chat_id=1),
        request(chat_id=2, parent_chat_id=1),
        request(chat_id=3),
        request(chat_id=4, parent_chat_id=2),
    )
    one, two, three, four = (call.trace for call in result.calls)
    assert one == two == four != three
    assert [trace.id for trace in result.traces] == [one, three]


def test_requests_whose_first_turn_is_not_in_the_file_stay_together(tmp_path: Path) -> None:
    result = parsed(
        tmp_path,
        request(chat_id=5, parent_chat_id=1),
        request(chat_id=6, parent_chat_id=1),
        request(chat_id=7, parent_chat_id=5),
    )
    assert len({call.trace for call in result.calls}) == len(result.traces) == 1


def test_ids_of_two_traces_are_not_comparable(tmp_path: Path) -> None:
    one, two = parsed(tmp_path, request()), parsed(tmp_path, request(timestamp=1))
    scopes = [result.tree.path(result.calls[0].prompt)[0].content[0] for result in (one, two)]
    assert scopes[0] != scopes[1]
    assert one.calls[0].identity != two.calls[0].identity


def test_equal_lines_are_calls_of_their_own_and_copies_of_a_file_are_not(tmp_path: Path) -> None:
    one, two = (parsed(tmp_path, request(), request()) for _ in range(2))
    assert [call.identity for call in one.calls] == [call.identity for call in two.calls]
    assert len({call.identity for call in one.calls}) == 2


@pytest.mark.parametrize(
    "bad",
    [
        request(hash_ids=None),
        request(hash_ids=["a"]),
        request(hash_ids=[1]),
        request(input_length=-1),
        request(input_length=2**60),
        request(output_length="7"),
        request(timestamp=-1),
        request(timestamp=1e300),
        request(chat_id=None),
        request(chat_id=[1]),
        request(parent_chat_id={}),
        '{"chat_id": 1, "parent_chat_id"\n',
        '{"hash_ids": ' + "[" * 200_000 + "\n",
        "\x00\n",
        "[]\n",
    ],
)
def test_a_bad_record_is_one_issue_and_the_others_are_kept(tmp_path: Path, bad: str) -> None:
    result = parsed(tmp_path, request(), bad, request())
    check_second_is_bad(result, request())


def test_a_missing_time_is_no_time(tmp_path: Path) -> None:
    calls = parsed(tmp_path, request(timestamp=None), request().replace("61.114", "NaN")).calls
    assert [call.started_at for call in calls] == [None, None]


def test_a_file_is_known_by_its_records_even_if_the_first_is_longer_than_the_head() -> None:
    assert identified(request())
    many = list(range(HEAD_BYTES))
    assert identified(request(hash_ids=many, input_length=16 * len(many)))


@pytest.mark.parametrize(
    "other",
    [
        {"timestamp": 0, "input_length": 5, "output_length": 1, "hash_ids": [1]},
        {"timestamp": 0, "input_length": 5, "hash_ids": list(range(HEAD_BYTES))},
        {"chat_id": 1, "parent_chat_id": -1, "messages": []},
        {"id": "t", "models": ["m"], "block_size": 64, "requests": [{"hash_ids": [1]}]},
    ],
)
def test_records_of_other_formats_are_refused(other: dict[str, Any]) -> None:
    assert not identified(json.dumps(other) + "\n")


def test_the_sample_holds_forty_conversations_over_one_system_prompt(sample_logs: Path) -> None:
    result = parse_file(PARSER, sample_logs / "bailian" / "chats.jsonl")
    assert (len(result.calls), len(result.traces), result.issues) == (79, 40, [])
    paths = [result.tree.path(call.prompt) for call in result.calls]
    assert len({tuple(path[:22]) for path in paths}) == 1
    assert len({path[22] for path in paths}) == 40

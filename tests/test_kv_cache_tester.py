"""The parser for kv-cache-tester's session files."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from pathlib import Path
from typing import Any

import pytest
from recording_tree import Parsed, Seen, parse_file

from forkpoint.parsers.kv_cache_tester import KvCacheTester
from forkpoint.parsers.logs import HEAD_BYTES, Head, read_head
from forkpoint.parsers.records import Kind, Usage

PARSER = KvCacheTester()
START = datetime(1970, 1, 1, tzinfo=UTC)


def request(**changes: Any) -> dict[str, Any]:
    fields = {"t": 3.5, "type": "n", "model": "claude-opus-4-5", "in": 150, "out": 9}
    return {**fields, "hash_ids": [1, 2], "stop": "tool_use", "api_time": 2.25, **changes}


def subagent(*requests: Any, **changes: Any) -> dict[str, Any]:
    fields = {"t": 10.0, "type": "subagent", "agent_id": "agent_001", "subagent_type": "Explore"}
    return {**fields, "requests": list(requests), **changes}


def session(*requests: Any, **changes: Any) -> str:
    fields = {"id": "trace_0051", "models": ["m"], "block_size": 64, "hash_id_scope": "local"}
    return json.dumps({**fields, "requests": list(requests), "totals": {}, **changes})


def parsed(folder: Path, text: str) -> Parsed:
    path = folder / "trace.json"
    path.write_text(text)
    return parse_file(PARSER, path)


def identified(text: str) -> bool:
    return PARSER.identify(Head(Path("x.json"), text.encode()[:HEAD_BYTES])) is not None


def test_a_request_has_its_whole_blocks_lengths_and_time_but_no_price(tmp_path: Path) -> None:
    result = parsed(tmp_path, session(request()))
    (call,) = result.calls
    assert call.usage == Usage(input_tokens=150, output_tokens=9)
    assert (call.model, call.duration_s, call.sidechain) == (None, 2.25, False)
    assert call.started_at == START + timedelta(seconds=3.5)
    blocks = result.tree.path(call.prompt)
    assert {block.kind for block in blocks} == {Kind.BLOCK}
    # 22 of the 150 tokens are in no block.
    assert [block.content[1:] for block in blocks] == [(1, 64), (2, 64)]
    assert [(trace.id, trace.project) for trace in result.traces] == [(call.trace, "trace_0051")]


def test_a_subagent_is_a_trace_of_its_caller_with_a_clock_of_its_own(tmp_path: Path) -> None:
    inner = [request(t=0.0), request(t=4.0)]
    result = parsed(tmp_path, session(request(), subagent(*inner), request(t=30.0)))
    main, agent = result.traces
    assert (main.parent, agent.parent, agent.title) == (None, main.id, "Explore")
    assert [call.trace for call in result.calls] == [main.id, agent.id, agent.id, main.id]
    assert [call.sidechain for call in result.calls] == [False, True, True, False]
    seconds = [
        (call.started_at - START).total_seconds() for call in result.calls if call.started_at
    ]
    assert seconds == [3.5, 10.0, 14.0, 30.0]


def test_subagents_share_the_sessions_blocks_and_other_files_do_not(tmp_path: Path) -> None:
    one = parsed(tmp_path, session(request(), subagent(request())))
    assert one.calls[0].prompt == one.calls[1].prompt
    two = parsed(tmp_path, session(request(), request()))
    scopes = {result.tree.path(result.calls[0].prompt)[0].content[0] for result in (one, two)}
    assert len(scopes) == 2
    assert one.calls[0].identity != two.calls[0].identity


def test_subagents_within_subagents_and_of_one_name_are_traces_of_their_own(tmp_path: Path) -> None:
    deep = subagent(request(), subagent(request(t=1.0), t=2.0))
    result = parsed(tmp_path, session(deep, subagent(request())))
    main, outer, inner, other = result.traces
    assert (outer.parent, inner.parent, other.parent) == (main.id, outer.id, main.id)
    assert len({trace.id for trace in result.traces}) == 4
    assert result.calls[1].started_at == START + timedelta(seconds=13)


def test_calls_of_one_file_are_told_apart_and_copies_hold_the_same(tmp_path: Path) -> None:
    text = session(request(), request(), subagent(request()))
    one, two = parsed(tmp_path, text), parsed(tmp_path, text)
    assert [call.identity for call in one.calls] == [call.identity for call in two.calls]
    assert len({call.identity for call in one.calls}) == 3


def test_each_record_states_its_number_and_where_it_begins(tmp_path: Path) -> None:
    text = session(request(), subagent(request(), request(t=9)), request())
    result = parsed(tmp_path, text)
    assert [call.line for call in result.calls] == [1, 3, 4, 5]
    offsets = [call.offset for call in result.calls]
    assert offsets == sorted(set(offsets))
    for offset in offsets:
        assert text[offset:].startswith('{"t": ')


@pytest.mark.parametrize(
    ("tokens", "n_blocks", "sizes"),
    [(128, 2, [64, 64]), (191, 2, [64, 64]), (127, 2, [64, 63]), (63, 0, []), (0, 0, [])],
)
def test_blocks_may_be_rounded_up_or_down(
    tmp_path: Path, tokens: int, n_blocks: int, sizes: list[int]
) -> None:
    record = request(**{"in": tokens, "hash_ids": list(range(n_blocks))})
    (call,) = parsed(tmp_path, session(record)).calls
    result = parsed(tmp_path, session(record))
    assert [block.content[2] for block in result.tree.path(result.calls[0].prompt)] == sizes
    assert call.usage is not None and call.usage.input_tokens == tokens


@pytest.mark.parametrize(
    "bad",
    [
        request(hash_ids=None),
        request(hash_ids=[1.5, 2]),
        request(hash_ids=[1]),
        request(**{"in": -1}),
        request(**{"in": 2**60}),
        request(out="9"),
        request(t=-1),
        request(t=1e300),
        request(model=5),
        request(type=7),
        subagent(requests=None),
        subagent(requests=5),
        subagent(t="soon"),
        {},
        [],
        None,
        "word",
    ],
)
def test_a_bad_record_is_one_issue_and_the_others_are_kept(tmp_path: Path, bad: Any) -> None:
    text = session(request(), bad, request())
    result = parsed(tmp_path, text)
    assert len(result.calls) == 2
    (issue,) = result.issues
    assert issue.line == 2
    assert text[issue.offset :].startswith(json.dumps(bad))


def test_a_time_beyond_the_calendar_is_an_issue(tmp_path: Path) -> None:
    result = parsed(tmp_path, session(subagent(request(t=2.5e11), t=2.5e11)))
    assert result.calls == []
    assert "year 9999" in result.issues[0].reason


def test_what_strict_json_forbids_costs_only_its_own_field(tmp_path: Path) -> None:
    text = session(request(), subagent(request(t=1.0))).replace(
        '"api_time": 2.25', '"api_time": NaN'
    )
    result = parsed(tmp_path, text)
    assert [call.duration_s for call in result.calls] == [None, None]
    assert [call.line for call in result.calls] == [1, 3]
    assert result.issues == []


@pytest.mark.parametrize(
    "text",
    [
        "",
        session(request())[:-3],
        session(request(), block_size=0),
        session(request()).replace('"requests"', '"others"'),
        "[" * 200_000,
        "\x00",
    ],
)
def test_a_document_that_is_no_session_is_one_issue(tmp_path: Path, text: str) -> None:
    result = parsed(tmp_path, text)
    assert (result.calls, result.traces, len(result.issues)) == ([], [], 1)


def test_a_file_is_known_by_its_beginning_however_long_it_is() -> None:
    assert identified(session(request()))
    assert identified(session())
    assert identified(session(request(hash_ids=list(range(HEAD_BYTES)))))
    assert identified(json.dumps(json.loads(session(request())), indent=2))


@pytest.mark.parametrize(
    "other",
    [
        {"timestamp": 0, "input_length": 5, "hash_ids": [1], "block_size": 64},
        {"requests": [{"hash_ids": [1]}]},
        {"id": "x", "block_size": 64, "requests": []},
        {"hash_id_scope": "local", "block_size": 64},
        [{"block_size": 64, "hash_id_scope": "local", "requests": []}],
    ],
)
def test_records_of_other_formats_are_refused(other: Any) -> None:
    assert not identified(json.dumps(other))


def test_the_samples_hold_two_sessions_with_subagents_and_a_compaction(sample_logs: Path) -> None:
    folder = sample_logs / "kv-cache-tester"
    first, second = (parse_file(PARSER, folder / f"session_{x}.json") for x in "ab")
    assert [len(each.calls) for each in (first, second)] == [21, 10]
    assert [len(each.traces) for each in (first, second)] == [3, 1]
    agents = [call for call in first.calls if call.sidechain]
    starts = {trace.id: trace.parent for trace in first.traces}
    assert {starts[call.trace] for call in agents} == {first.traces[0].id}
    before, after = (second.tree.path(second.calls[n].prompt) for n in (5, 6))
    shared = sum(one == other for one, other in zip(before, after, strict=False))
    assert len(after) < len(before)
    assert shared == (6100 + 1480) // 64


@pytest.mark.real
def test_the_real_sessions_have_the_known_requests_blocks_and_tokens(real_logs: Path) -> None:
    facts = json.loads((real_logs / "FACTS.json").read_text())["kv_cache_tester_files"]
    assert len(facts) == 25
    for name, fact in facts.items():
        path = real_logs / "serving-trace" / "kv-cache-tester" / name
        assert PARSER.identify(read_head(path)) is not None
        result = parse_file(PARSER, path)
        assert result.issues == []
        usages = [call.usage for call in result.calls if call.usage]
        assert {
            "requests": len(result.calls),
            "subagents": len(result.traces) - 1,
            "blocks": sum(len(result.tree.path(call.prompt)) for call in result.calls),
            "unique": len(result.tree.segments) - 1,
            "input_tokens": sum(usage.input_tokens or 0 for usage in usages),
            "output_tokens": sum(usage.output_tokens or 0 for usage in usages),
        } == {
            key: fact[key]
            for key in (
                "requests", "subagents", "blocks", "unique", "input_tokens", "output_tokens",
            )
        }  # fmt: skip


@pytest.mark.real
def test_the_real_sessions_share_as_many_blocks_from_request_to_request_as_is_known(
    real_logs: Path,
) -> None:
    facts = json.loads((real_logs / "FACTS.json").read_text())
    unsorted = 0
    for name, fact in facts["kv_cache_tester_files"].items():
        result = parse_file(PARSER, real_logs / "serving-trace" / "kv-cache-tester" / name)
        shared = blocks = 0
        before: dict[str, list[Seen]] = {}
        for call in result.calls:
            path = result.tree.path(call.prompt)
            if call.trace in before:
                pairs = zip(before[call.trace], path, strict=False)
                shared += sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
                blocks += len(path)
            before[call.trace] = path
        assert shared / blocks == pytest.approx(fact["consecutive_prefix_rate"], abs=1e-6)
        times = [call.started_at for call in result.calls if call.started_at]
        assert (times == sorted(times)) == fact["time_sorted"]
        unsorted += not fact["time_sorted"]
    summary = facts["kv_cache_tester_summary"]
    assert len(facts["kv_cache_tester_files"]) == summary["files"]
    assert unsorted == summary["not_time_sorted"] == 4

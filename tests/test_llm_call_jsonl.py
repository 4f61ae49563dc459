"""The parser for LLM call logs with rendered text."""

from __future__ import annotations

import itertools
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from parsed_records import as_bytes, check_second_is_bad, claim
from recording_tree import Parsed, RecordingTree, parse_file, parse_tail

from forkpoint.parsers.base import ROOT, Reread
from forkpoint.parsers.llm_call_jsonl import LlmCallJsonl
from forkpoint.parsers.logs import HEAD_BYTES, Log, read_head
from forkpoint.parsers.record_names import MAX_REMEMBERED
from forkpoint.parsers.records import Kind

PARSER = LlmCallJsonl()


def record(stamp: int = 1_760_000_000_000_000, **changes: Any) -> str:
    fields = {"timestamp": stamp, "input": "user: hi", "output": "hello", "session_id": "s1"}
    return json.dumps({**fields, **changes}) + "\n"


def written(folder: Path, *lines: str | bytes) -> Path:
    path = folder / "calls.jsonl"
    path.write_bytes(b"".join(map(as_bytes, lines)))
    return path


def identified(data: str | bytes) -> bool:
    return claim(PARSER, data) is not None


def test_a_call_has_its_prompt_completion_time_and_session(tmp_path: Path) -> None:
    parsed = parse_file(PARSER, written(tmp_path, record(1_760_000_000_000_001)))
    (call,) = parsed.calls
    assert call.trace == "s1"
    assert [trace.id for trace in parsed.traces] == ["s1"]
    assert call.started_at == datetime(2025, 10, 9, 8, 53, 20, 1, tzinfo=UTC)
    assert (call.usage, call.model, call.line, call.offset) == (None, None, 1, 0)
    assert parsed.tree.path(call.prompt)[0] == (Kind.RENDERED, "prompt", "user: hi")
    assert call.completion is not None
    assert parsed.tree.path(call.completion)[0].content == "user: hihello"


def test_a_completion_is_text_from_the_root_as_the_next_prompt_is(tmp_path: Path) -> None:
    path = written(tmp_path, record(1), record(2, input="user: hihello"))
    first, second = parse_file(PARSER, path).calls
    assert first.completion == second.prompt


def test_calls_out_of_time_order_keep_their_own_times_and_places(tmp_path: Path) -> None:
    late, early = record(2_000_000), record(1_000_000)
    calls = parse_file(PARSER, written(tmp_path, late, early)).calls
    assert [call.started_at and call.started_at.second for call in calls] == [2, 1]
    assert [call.offset for call in calls] == [0, len(late)]


@pytest.mark.parametrize("output", ["", None])
def test_a_response_that_was_rendered_to_nothing_is_not_logged(
    tmp_path: Path, output: str | None
) -> None:
    (call,) = parse_file(PARSER, written(tmp_path, record(output=output))).calls
    assert call.completion is None


def test_an_empty_input_is_an_empty_prompt(tmp_path: Path) -> None:
    parsed = parse_file(PARSER, written(tmp_path, record(input="")))
    assert parsed.calls[0].prompt == ROOT
    assert parsed.tree.path(parsed.calls[0].completion or 0)[0].content == "hello"


def test_equal_inputs_with_equal_outputs_are_calls_of_their_own(tmp_path: Path) -> None:
    calls = parse_file(PARSER, written(tmp_path, record(), record())).calls
    assert len({call.identity for call in calls}) == 2


def test_copies_of_a_file_hold_the_same_calls(tmp_path: Path) -> None:
    lines = [record(), record(), record(5, output="x")]
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    one = parse_file(PARSER, written(tmp_path / "a", *lines))
    # Windows line ends and blank lines do not change a record.
    other = [line.replace("\n", "\r\n") for line in lines]
    two = parse_file(PARSER, written(tmp_path / "b", "\n", *other))
    assert [call.identity for call in one.calls] == [call.identity for call in two.calls]


def test_a_record_without_a_time_has_no_identity(tmp_path: Path) -> None:
    (call,) = parse_file(PARSER, written(tmp_path, record(timestamp=None))).calls
    assert (call.identity, call.started_at) == (None, None)


@pytest.mark.parametrize("cut", range(1, 6))
def test_a_grown_file_gives_what_one_reading_gives(tmp_path: Path, cut: int) -> None:
    lines = [record(1), record(2, session_id=None), record(1), record(2), record(1), record(1)]
    path = written(tmp_path, *lines)
    whole = parse_file(PARSER, path)
    before = parse_file(PARSER, written(tmp_path, *lines[:cut]))
    written(tmp_path, *lines)
    after = parse_tail(PARSER, before)
    both = before.calls + after.calls
    for name in ("identity", "trace", "line", "offset"):
        assert [getattr(c, name) for c in both] == [getattr(c, name) for c in whole.calls]


def test_a_grown_file_of_many_records_is_read_again(tmp_path: Path) -> None:
    few = [record(stamp) for stamp in range(MAX_REMEMBERED)]
    assert len(parse_file(PARSER, written(tmp_path, *few)).log.checkpoint) == 8 * len(few) + 8
    before = parse_file(PARSER, written(tmp_path, *few, record(MAX_REMEMBERED)))
    with pytest.raises(Reread):
        parse_tail(PARSER, before)


def test_a_session_that_was_not_named_is_the_file(tmp_path: Path) -> None:
    calls = parse_file(PARSER, written(tmp_path, record(session_id=None), record(9))).calls
    again = parse_file(PARSER, written(tmp_path, record(session_id=None))).calls
    assert calls[0].trace == again[0].trace != "s1"


@pytest.mark.parametrize(
    "bad",
    [
        b'{"timestamp": 5, "input": "cut sh\n',
        b"\x00\x01\x02\n",
        b"[]\n",
        b"null\n",
        record(input=[{"role": "user", "content": "hi"}]).encode(),
        record(input=None).encode(),
        record(-1).encode(),
        record(10**18).encode(),
        record(10**30).encode(),
        record(output=5).encode(),
        b'{"timestamp": true, "input": "a", "output": "b", "session_id": "s"}\n',
        b'{"timestamp": 5, "input": "\xff", "output": "b", "session_id": "s"}\n',
        b'{"input": ' + b"[" * 200_000 + b"\n",
    ],
)
def test_a_bad_record_is_one_issue_and_the_others_are_kept(tmp_path: Path, bad: bytes) -> None:
    parsed = parse_file(PARSER, written(tmp_path, record(1), bad, record(2)))
    check_second_is_bad(parsed, record(1))


def test_half_a_surrogate_pair_and_nan_are_read(tmp_path: Path) -> None:
    cut = b'{"timestamp": NaN, "input": "a\\ud83d", "output": "b", "session_id": "s"}\n'
    parsed = parse_file(PARSER, written(tmp_path, cut))
    assert parsed.issues == []
    assert parsed.calls[0].started_at is None
    assert parsed.tree.path(parsed.calls[0].prompt)[0].content == "a\ud83d"


def test_a_file_is_known_by_its_records() -> None:
    assert identified(record())
    assert identified("not json\n" + record(output=None))
    assert identified(record(model="m", id="7"))


def test_a_first_record_longer_than_the_head_is_known() -> None:
    assert identified(record(input="long " * HEAD_BYTES))
    named_first = {"session_id": "s", "timestamp": 5, "input": "long " * HEAD_BYTES, "output": ""}
    assert identified(json.dumps(named_first))
    assert not identified(json.dumps({"input": "long " * HEAD_BYTES, "output": "", "score": 1.0}))


@pytest.mark.parametrize(
    "other",
    [
        {"timestamp": 5, "input": [{"role": "user"}], "output": "b", "session_id": "s"},
        {"timestamp": "2026-01-01", "input": "a", "output": "b", "session_id": "s"},
        {"timestamp": 5, "input": "a", "output": "b"},
        {"timestamp": 5, "input": "a", "output": "b", "session_id": "s", "prompt_ids": [1, 2]},
        {"input": "a", "output": "b", "gts": "c", "score": 1.0, "step": 3},
        {"request_id": "r", "token_ids": [1, 2], "tenant": "t", "timestamp": 5},
        {"timestamp": 5, "input_length": 3, "output_length": 1, "hash_ids": [0]},
        {"model": "m", "messages": [{"role": "user", "content": "hi"}], "timestamp": 5},
        {"type": "user", "sessionId": "s", "message": {"role": "user", "content": "hi"}},
        {},
    ],
)
def test_records_of_other_formats_are_refused(other: dict[str, Any]) -> None:
    assert not identified(json.dumps(other) + "\n")


def test_files_that_are_no_logs_are_refused() -> None:
    for data in (b"", b"\n\n", b"\x00" * 99, b"{", b"[1, 2]\n", b"a,b\n1,2\n"):
        assert not identified(data)


def test_the_sample_holds_two_sessions_of_growing_prompts(sample_logs: Path) -> None:
    parsed = parse_file(PARSER, sample_logs / "llm-call-jsonl" / "two_sessions.jsonl")
    assert (len(parsed.calls), len(parsed.traces), parsed.issues) == (16, 2, [])
    times = [call.started_at for call in parsed.calls]
    assert times != sorted(times, key=str)
    for trace in parsed.traces:
        own = sorted(
            (c for c in parsed.calls if c.trace == trace.id), key=lambda c: str(c.started_at)
        )
        texts = [parsed.tree.path(call.prompt)[0].content for call in own]
        assert all(b.startswith(a) and b != a for a, b in itertools.pairwise(texts))


def text(parsed: Parsed, node: int | None) -> str:
    return "".join(segment.content for segment in parsed.tree.path(node or ROOT))


@pytest.mark.real
def test_the_real_logs_have_the_known_calls_and_texts(real_logs: Path) -> None:
    facts = json.loads((real_logs / "FACTS.json").read_text())["llm_call_jsonl"]
    assert len(facts) == 33
    for name, fact in facts.items():
        parsed = parse_file(PARSER, real_logs / name)
        assert parsed.issues == [], name
        assert len(parsed.calls) == fact["calls"]
        assert len(parsed.traces) == fact["sessions"]
        assert len({call.identity for call in parsed.calls}) == fact["calls"]
        prompts = [text(parsed, call.prompt) for call in parsed.calls]
        assert sum(map(len, prompts)) == fact["input_chars"]
        answered = [call for call in parsed.calls if call.completion is not None]
        assert len(parsed.calls) - len(answered) == fact["empty_outputs"]
        outputs = [
            text(parsed, call.completion).removeprefix(text(parsed, call.prompt))
            for call in answered
        ]
        assert sum(map(len, outputs)) == fact["output_chars"]
        times = [call.started_at for call in parsed.calls if call.started_at]
        assert (times == sorted(times)) == fact["time_sorted"]


@pytest.mark.real
def test_only_the_logs_of_this_format_are_claimed(real_logs: Path) -> None:
    for path in (path for path in real_logs.rglob("*") if path.is_file()):
        ours = path.parent.parent.name == "llm-call-jsonl"
        assert (PARSER.identify(read_head(path)) is not None) == ours, path


def test_a_missing_file_is_an_issue(tmp_path: Path) -> None:
    records = list(PARSER.parse(Log(tmp_path / "absent.jsonl"), RecordingTree()))
    assert len(records) == 1


@pytest.mark.real
def test_the_real_prompts_share_as_many_characters_as_is_known(real_logs: Path) -> None:
    facts = json.loads((real_logs / "FACTS.json").read_text())["llm_call_jsonl"]
    for name, fact in facts.items():
        parsed = parse_file(PARSER, real_logs / name)
        prompts = [text(parsed, call.prompt) for call in parsed.calls]
        before = [
            max((common(prompt, each) for each in prompts[:number]), default=0)
            for number, prompt in enumerate(prompts)
        ]
        consecutive = sum(common(one, two) for one, two in itertools.pairwise(prompts))
        assert sum(before) == fact["prefix_share_chars_any_previous"], name
        assert consecutive == fact["prefix_share_chars_consecutive"], name
        rate = sum(before) / sum(map(len, prompts))
        assert rate == pytest.approx(fact["char_prefix_rate"], abs=1e-6)


def common(one: str, two: str) -> int:
    """How many characters two texts have in common at their beginning."""
    low, high = 0, min(len(one), len(two))
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == two[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low

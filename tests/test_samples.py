"""Samples in a shape of one's own: the parser, its maps and its tables."""

from __future__ import annotations

import json
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from parsed_records import claim, read
from recording_tree import Parsed, parse_tail

from forkpoint.errors import ForkpointError
from forkpoint.parsers.base import Reread
from forkpoint.parsers.csv_rows import CsvRows, header_of
from forkpoint.parsers.logs import Head, Line, read_head
from forkpoint.parsers.records import Issue
from forkpoint.parsers.registry import parsers
from forkpoint.parsers.sample_map import (
    MAP_FILE,
    SampleMap,
    find_map,
    load_map,
    parse_map,
    value_at,
)
from forkpoint.parsers.samples import Samples

PARSER = Samples()


def sample(**changes: Any) -> dict[str, Any]:
    return {"prompt": "1+1=", "completion": "2", "task_id": 7, "reward": 1.0, **changes}


def lines(*records: Any) -> str:
    return "".join(json.dumps(record) + "\n" for record in records)


def parsed(folder: Path, *records: Any, parser: Samples = PARSER) -> Parsed:
    return read(parser, folder / "log.jsonl", lines(*records))


def mapped(folder: Path, text: str, *records: Any) -> Parsed:
    (folder / MAP_FILE).write_text(text)
    return parsed(folder, *records)


def identified(path: Path, parser: Samples = PARSER) -> str | None:
    return parser.identify(read_head(path))


# --- Guessed names ------------------------------------------------------------------------------


def test_a_record_is_a_rollout_and_its_call(tmp_path: Path) -> None:
    found = parsed(tmp_path, sample(), sample(completion="3", reward=False), sample(task_id=8))
    first, second, third = found.traces
    assert first.group == second.group != third.group
    assert [trace.reward for trace in found.traces] == [1.0, 0.0, 1.0]
    assert found.text(first.leaf) == ["1+1=2"]
    assert found.text(found.calls[0].prompt) == ["1+1="]
    assert [call.trace for call in found.calls] == [trace.id for trace in found.traces]
    assert first.project == "log"


def test_samples_without_a_group_are_grouped_by_their_prompt(tmp_path: Path) -> None:
    records = [sample(completion="3"), sample(), sample(prompt="2+2=")]
    for record in records:
        del record["task_id"]
    found = parsed(tmp_path, *records)
    assert list(Counter(trace.group for trace in found.traces).values()) == [2, 1]


def test_long_group_keys_are_one_group_in_all_files(tmp_path: Path) -> None:
    uid = "0f8fad5b-d9cb-469f-a165-70867728950e"
    first = parsed(tmp_path, {**sample(reward=0), "task_id": uid})
    second = read(PARSER, tmp_path / "b.jsonl", lines({**sample(), "task_id": uid}))
    assert first.traces[0].group == second.traces[0].group == uid
    small = read(PARSER, tmp_path / "c.jsonl", lines(sample(reward=3)))
    assert small.traces[0].group != "7"


def test_an_answer_is_the_samples_own_but_beside_a_question_it_is_the_data_sets(
    tmp_path: Path,
) -> None:
    found = parsed(tmp_path, sample(answer="2", model="m"))
    assert found.traces[0].answer == "2" and found.calls[0].model == "m"
    question = {"question": "1+1?", "response": "2", "answer": "#### 2", "score": 1}
    assert parsed(tmp_path, question).traces[0].answer is None


def test_prompts_of_messages_are_read_as_chat(tmp_path: Path) -> None:
    prompt = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi."}]
    found = parsed(tmp_path, sample(prompt=prompt, completion="Hello."))
    assert found.text(found.traces[0].leaf) == ["Be brief.", "Hi.", "Hello."]
    assert found.text(found.calls[0].prompt) == ["Be brief.", "Hi."]
    assert found.calls[0].completion == found.traces[0].leaf


@pytest.mark.parametrize(
    "record",
    [
        {"prompt": "a", "completion": "b"},
        {"prompt": "a", "input": "a", "completion": "b", "reward": 1},
        {"prompt": "a", "completion": "b", "reward": 1, "score": 1},
        {"prompt": "a", "completion": "b", "uid": 1, "group": 1},
        {"completion": "b", "task_id": "HumanEval/1"},
        {"prompt": "a", "completion": "b", "reward": 1, "advantage": 1},
        {"prompt": "a", "completion": ["b"], "reward": 1},
        {"prompt": {"text": "a"}, "completion": "b", "reward": 1},
        {"prompt": "a", "completion": "b", "reward": [1]},
        {"input": "a", "output": "b", "score": 1, "step": 3, "gts": None},
        {"instruction": "a", "input": "b", "output": "c", "score": 1},
        [],
    ],
)
def test_what_can_be_mistaken_needs_a_map(record: Any) -> None:
    assert claim(PARSER, lines(record)) is None


def test_one_record_that_does_not_fit_makes_the_names_doubtful_but_not_unreadable(
    tmp_path: Path,
) -> None:
    odd = {"prompt": "a", "text": "b"}
    assert claim(PARSER, lines(sample(), odd)) is None
    found = parsed(tmp_path, odd, sample())
    assert [issue.line for issue in found.issues] == [1]
    assert len(found.traces) == 1


def test_names_are_not_guessed_from_half_a_record() -> None:
    assert claim(PARSER, lines(sample(prompt="x" * 70_000))) is None


# --- Maps ---------------------------------------------------------------------------------------


def test_a_map_file_in_the_folder_or_above_it_names_the_fields(tmp_path: Path) -> None:
    (tmp_path / MAP_FILE).write_text(
        'prompt = "data.q"\ncompletion = "gen.0.text"\ngroup = "data.id"\nreward = "ok"\n'
        'answer = "gen.0.final"\nmodel = "by"\n'
    )
    folder = tmp_path / "run" / "one"
    folder.mkdir(parents=True)
    record = {
        "data": {"q": "1+1=", "id": 5},
        "gen": [{"text": "2", "final": 2}],
        "ok": True,
        "by": "m",
        "token_count": 9,
    }
    found = parsed(folder, record)
    assert identified(folder / "log.jsonl") == f"{MAP_FILE} names its fields"
    assert found.text(found.traces[0].leaf) == ["1+1=2"]
    trace = found.traces[0]
    assert (trace.reward, trace.answer, found.calls[0].model) == (1.0, "2", "m")
    assert trace.group is not None and trace.group.endswith("/5")


def test_the_map_of_the_command_line_goes_before_the_file(tmp_path: Path) -> None:
    (tmp_path / MAP_FILE).write_text('prompt = "prompt"\ncompletion = "completion"\n')
    parser = Samples(parse_map("prompt=completion,completion=prompt"))
    found = parsed(tmp_path, sample(), parser=parser)
    assert found.text(found.traces[0].leaf) == ["21+1="]
    assert identified(tmp_path / "log.jsonl", parser) == "the map given names its fields"


def test_files_without_the_maps_fields_are_read_by_their_names_or_left_alone(
    tmp_path: Path,
) -> None:
    found = mapped(tmp_path, 'prompt = "q"\ncompletion = "r"\n', sample())
    assert len(found.traces) == 1 and found.issues == []
    (tmp_path / "other.jsonl").write_text(lines({"q": "a", "s": "b"}))
    assert identified(tmp_path / "other.jsonl") is None


def test_a_first_record_longer_than_the_head_is_recognised_by_its_map(tmp_path: Path) -> None:
    record = {"q": "x" * 70_000, "r": "y"}
    found = mapped(tmp_path, 'prompt = "q"\ncompletion = "r"\n', record)
    assert identified(tmp_path / "log.jsonl")
    assert len(found.traces) == 1


def test_several_samples_in_one_record_are_rollouts_of_one_group(tmp_path: Path) -> None:
    text = 'prompt = "q"\ncompletion = "rs"\nreward = "w"\nanswer = "a"\n'
    record = {"q": "1+1=", "rs": ["2", "2", "3"], "w": [1, 1, 0], "a": ["2", None, 3]}
    found = mapped(tmp_path, text, record)
    assert [trace.reward for trace in found.traces] == [1.0, 1.0, 0.0]
    assert [trace.answer for trace in found.traces] == ["2", None, "3"]
    assert len({trace.group for trace in found.traces}) == 1
    assert len({call.identity for call in found.calls}) == 3


def test_completions_of_messages_are_one_sample_or_several(tmp_path: Path) -> None:
    one = [{"role": "assistant", "content": "a"}, {"role": "tool", "content": "t"}]
    text = 'prompt = "q"\ncompletion = "r"\n'
    records = [{"q": "p", "r": each} for each in (one, one[0], [one, one[:1]])]
    found = mapped(tmp_path, text, *records)
    assert [found.text(trace.leaf) for trace in found.traces] == [
        ["p", "a", "t"],
        ["p", "a"],
        ["p", "a", "t"],
        ["p", "a"],
    ]
    assert len(found.calls) == 4


@pytest.mark.parametrize(
    "record",
    [
        {"q": None, "r": "b"},
        {"r": "b"},
        {"q": "a"},
        {"q": 7, "r": "b"},
        {"q": "a", "r": 7},
        {"q": "a", "r": []},
        {"q": "a", "r": ["b", 1]},
        {"q": "a", "r": ["b", "c"], "w": 1},
        {"q": "a", "r": ["b", "c"], "w": [1]},
        {"q": "a", "r": "b", "w": {}},
        {"q": "a", "r": "b", "g": [1]},
        {"q": [{"role": 1}], "r": "b"},
        7,
    ],
)
def test_a_record_that_cannot_be_read_is_one_issue(tmp_path: Path, record: Any) -> None:
    text = 'prompt = "q"\ncompletion = "r"\nreward = "w"\ngroup = "g"\n'
    good = {"q": "a", "r": "b", "w": 1, "g": 1}
    found = mapped(tmp_path, text, good, record, good)
    assert [issue.line for issue in found.issues] == [2]
    assert len(found.traces) == 2


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("prompt = ", "not valid TOML"),
        ("[" * 5000, "not valid TOML"),
        ("\x00", "not valid TOML"),
        ('prompt = "a"\n', "completion is missing"),
        ('prompt = "a"\ncompletion = 7\n', "completion must name a field"),
        ('prompt = "a"\ncompletion = ""\n', "completion must name a field"),
        ('prompt = "a"\ncompletion = "b"\ntemperature = "c"\n', "no 'temperature'"),
        ("#" * 70_000, "larger than 64 KiB"),
    ],
)
def test_a_map_that_cannot_be_read_is_one_issue_of_the_files_beside_it(
    tmp_path: Path, text: str, reason: str
) -> None:
    found = mapped(tmp_path, text, {"a": "x", "b": "y"}, {"a": "x", "b": "y"})
    (issue,) = found.issues
    assert issue.reason.startswith(MAP_FILE) and reason in issue.reason
    assert found.traces == []
    assert identified(tmp_path / "log.jsonl") == f"beside a {MAP_FILE} that cannot be read"
    (tmp_path / "notes.txt").write_text("a, b\n1, 2\n")
    assert identified(tmp_path / "notes.txt") is None
    below = tmp_path / "below"
    below.mkdir()
    (below / "log.jsonl").write_text(lines({"a": "x", "b": "y"}))
    assert identified(below / "log.jsonl") is None


def test_a_map_is_parsed_from_the_command_line() -> None:
    assert parse_map(
        "prompt=q, completion=gen.text,group=id,reward=ok,answer=a,model=m"
    ) == SampleMap(
        prompt="q", completion="gen.text", group="id", reward="ok", answer="a", model="m"
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "NAME=FIELD"),
        ("prompt", "not 'prompt'"),
        ("prompt=q", "completion is missing"),
        ("completion=r", "prompt is missing"),
        ("prompt=q,completion=r,prompt=s", "prompt is given twice"),
        ("prompt=q,completion=", "completion must name a field"),
        ("prompt=q,completion=r,grade=s", "no 'grade'; there are prompt, completion"),
    ],
)
def test_a_map_that_makes_no_sense_says_why(text: str, message: str) -> None:
    with pytest.raises(ForkpointError, match=message):
        parse_map(text)


def test_a_map_file_that_is_gone_says_so(tmp_path: Path) -> None:
    with pytest.raises(ForkpointError, match="no such file"):
        load_map(tmp_path / MAP_FILE)
    assert find_map(tmp_path / "log.jsonl") is None


def test_a_path_goes_into_objects_and_lists() -> None:
    record = {"a": {"b": [1, {"c": 2}]}, "x.y": 3, "x": {"y": 4}}
    assert value_at(record, "a.b.1.c") == 2
    assert value_at(record, "x.y") == 3
    for path in ("a.b.7", "a.b.-1", "a.b.c", "a.b.0.c", "z", "a.b.99999999999", ""):
        assert value_at(record, path) is None


# --- Growth -------------------------------------------------------------------------------------


def test_the_appended_part_is_read_on_from_the_checkpoint(tmp_path: Path) -> None:
    before = parsed(tmp_path, sample())
    with before.log.path.open("a") as file:
        file.write(lines(sample(), sample(task_id=9)))
    after = parse_tail(PARSER, before)
    whole = read(PARSER, before.log.path)
    assert [t.id for t in before.traces + after.traces] == [t.id for t in whole.traces]
    assert [t.group for t in before.traces + after.traces] == [t.group for t in whole.traces]


def test_another_map_has_the_whole_file_read_again(tmp_path: Path) -> None:
    before = parsed(tmp_path, sample())
    (tmp_path / MAP_FILE).write_text('prompt = "completion"\ncompletion = "prompt"\n')
    with pytest.raises(Reread):
        parse_tail(PARSER, before)


def test_a_table_that_grew_is_read_again(tmp_path: Path) -> None:
    before = read(PARSER, tmp_path / "t.csv", "prompt,completion,reward\na,b,1\n")
    with before.log.path.open("a") as file:
        file.write("c,d,0\n")
    with pytest.raises(Reread):
        parse_tail(PARSER, before)


# --- Tables -------------------------------------------------------------------------------------


def test_a_csv_files_records_are_samples_with_their_places(tmp_path: Path) -> None:
    data = 'prompt,completion,reward,group\r\n"a ""b""\nc",d,true,1\r\n\r\ne,f,,1\r\n'
    found = read(PARSER, tmp_path / "t.csv", data)
    assert found.issues == []
    assert [found.text(trace.leaf) for trace in found.traces] == [['a "b"\ncd'], ["ef"]]
    assert [trace.reward for trace in found.traces] == [1.0, None]
    assert [call.line for call in found.calls] == [2, 5]
    assert [data.encode()[call.offset :][:1] for call in found.calls] == [b'"', b"e"]
    assert found.log.end == len(data)
    assert identified(tmp_path / "t.csv")


def test_tabs_semicolons_and_byte_order_marks_are_read(tmp_path: Path) -> None:
    for delimiter in ("\t", ";"):
        text = delimiter.join(("prompt", "completion", "score")) + "\n" + delimiter.join("ab1")
        found = read(PARSER, tmp_path / "t.csv", b"\xef\xbb\xbf" + text.encode())
        assert found.text(found.traces[0].leaf) == ["ab"]
        assert found.traces[0].reward == 1.0


def test_a_csv_record_that_cannot_be_read_is_one_issue(tmp_path: Path) -> None:
    data = 'prompt,completion,reward\na,b,1\na,b\na,b,high\na,b,1\na,"b'
    found = read(PARSER, tmp_path / "t.csv", data)
    assert [(issue.line, data[issue.offset :][:3]) for issue in found.issues] == [
        (3, "a,b"),
        (4, "a,b"),
        (6, 'a,"'),
    ]
    assert len(found.traces) == 2


def test_a_csv_file_is_read_by_its_map_too(tmp_path: Path) -> None:
    (tmp_path / MAP_FILE).write_text('prompt = "q.text"\ncompletion = "r"\nreward = "w"\n')
    found = read(PARSER, tmp_path / "t.csv", "id,q.text,r,w\n1,a,b,0.5\n")
    assert found.text(found.traces[0].leaf) == ["ab"]
    assert found.traces[0].reward == 0.5
    assert identified(tmp_path / "t.csv") == f"{MAP_FILE} names its fields"


def test_headers_of_other_texts_are_no_columns() -> None:
    assert header_of(b"a, b\r\n1,2") == ["a", "b"]
    assert header_of(b"a,b") == []
    assert header_of(b'{"a": 1}\n') == header_of(b"[1,2]\n") == header_of(b"\xff\xfe,a\n") == []


def test_a_compressed_table_that_is_cut_off_is_an_issue(tmp_path: Path) -> None:
    import gzip

    text = "prompt,completion,reward\n" + "".join(f"p{n},c{n},1\n" for n in range(5000))
    path = tmp_path / "t.csv.gz"
    path.write_bytes(gzip.compress(text.encode())[:-4000])
    found = list(CsvRows(path))
    assert isinstance(found[-1], Issue)
    assert all(isinstance(row, tuple) and isinstance(row[0], Line) for row in found[:-1])


def parquet(path: Path, columns: dict[str, Any]) -> Parsed:
    pl.DataFrame(columns, strict=False).write_parquet(path)
    return read(PARSER, path)


def test_a_parquet_files_rows_are_samples(tmp_path: Path) -> None:
    found = parquet(
        tmp_path / "t.parquet",
        {"prompt": ["a", "a", None], "completion": ["b", "c", "d"], "reward": [1.0, None, 0.0]},
    )
    assert [found.text(trace.leaf) for trace in found.traces] == [["ab"], ["ac"]]
    assert [trace.reward for trace in found.traces] == [1.0, None]
    assert [issue.line for issue in found.issues] == [3]
    assert identified(tmp_path / "t.parquet")
    assert found.log.end == (tmp_path / "t.parquet").stat().st_size


def test_a_parquet_files_nested_columns_are_read_by_a_map(tmp_path: Path) -> None:
    (tmp_path / MAP_FILE).write_text('prompt = "chat"\ncompletion = "gen.texts"\nreward = "w"\n')
    found = parquet(
        tmp_path / "t.parquet",
        {
            "chat": [[{"role": "user", "content": "Hi."}]],
            "gen": [{"texts": ["a", "b"]}],
            "w": [[Decimal("0.50"), Decimal("1.00")]],
            "unused": [1],
        },
    )
    assert found.issues == []
    assert [found.text(trace.leaf) for trace in found.traces] == [["Hi.", "a"], ["Hi.", "b"]]
    assert [trace.reward for trace in found.traces] == [0.5, 1.0]


def test_a_damaged_parquet_file_is_one_issue(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    parquet(path, {"prompt": ["a"] * 99, "completion": ["b"] * 99, "reward": [1.0] * 99})
    data = bytearray(path.read_bytes())
    data[4:40] = b"\xff" * 36
    found = read(PARSER, path, bytes(data))
    assert len(found.issues) == 1


def test_the_same_records_have_the_same_names_in_a_copy(tmp_path: Path) -> None:
    records = [sample(), sample(), sample(reward=0)]
    first = parsed(tmp_path, *records)
    second = read(PARSER, tmp_path / "copy.jsonl", lines(*records))
    assert [trace.id for trace in first.traces] == [trace.id for trace in second.traces]
    assert len({trace.id for trace in first.traces}) == 3


# --- The samples --------------------------------------------------------------------------------


def test_the_sample_logs_show_what_their_readme_says(sample_logs: Path) -> None:
    riddles = read(PARSER, sample_logs / "samples" / "riddles.jsonl")
    sums = read(PARSER, sample_logs / "samples" / "sums.csv")
    assert riddles.issues == sums.issues == []
    assert list(Counter(trace.group for trace in riddles.traces).values()) == [4] * 3
    assert list(Counter(trace.group for trace in sums.traces).values()) == [8] * 6
    assert Counter(trace.reward for trace in sums.traces) == {1.0: 36, 0.0: 12}


@pytest.mark.real
def test_no_real_log_is_taken_for_samples(real_logs: Path) -> None:
    files = [path for path in real_logs.rglob("*") if path.is_file()]
    assert len(files) > 100
    for path in files:
        head = read_head(path)
        assert PARSER.identify(Head(path, head.data)) is None, path


def test_no_other_formats_samples_are_taken_for_these(sample_logs: Path) -> None:
    known = {parser.name for parser in parsers()}
    for path in sample_logs.rglob("*"):
        folder = path.relative_to(sample_logs).parts[0]
        if path.is_file() and folder in known - {"samples"}:
            assert identified(path) is None, path

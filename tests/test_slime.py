"""The parser for slime's debug rollouts, which torch saved."""

from __future__ import annotations

import io
import pickle
import struct
import sys
import types
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from parsed_records import read
from recording_tree import Parsed

from forkpoint.parsers.logs import Head, read_head
from forkpoint.parsers.records import Kind
from forkpoint.parsers.slime import Slime
from forkpoint.parsers.torch_file import LEGACY_MAGIC

PARSER = Slime()


class Storage:
    """A tensor's numbers. `code` is their type in `struct`'s letters, `kind` in torch's words."""

    def __init__(self, key: str, values: list[Any], kind: str = "Long", code: str = "q") -> None:
        self.key, self.kind = key, kind
        self.n_elements = len(values)
        self.data = struct.pack(f"<{len(values)}{code}", *values)


class Tensor:
    """Pickles as torch's tensors do."""

    def __init__(
        self, storage: Storage, shape: tuple[int, ...], stride: tuple[int, ...], offset: int = 0
    ) -> None:
        self.arguments = (storage, offset, shape, stride, False, OrderedDict())

    def __reduce__(self) -> Any:
        return sys.modules["torch._utils"]._rebuild_tensor_v2, self.arguments


@pytest.fixture
def torch_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """Modules and names that a pickle of tensors refers to. Torch itself is not needed."""
    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
    for kind in ("Long", "Float", "Int", "BFloat16", "Complex"):
        setattr(torch, f"{kind}Storage", type(f"{kind}Storage", (), {"__module__": "torch"}))

    def _rebuild_tensor_v2() -> None: ...

    _rebuild_tensor_v2.__module__ = "torch._utils"
    _rebuild_tensor_v2.__qualname__ = "_rebuild_tensor_v2"
    utils._rebuild_tensor_v2 = _rebuild_tensor_v2  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setitem(sys.modules, "torch._utils", utils)


class Pickler(pickle.Pickler):
    def persistent_id(self, value: Any) -> Any:
        if isinstance(value, Storage):
            kind = getattr(sys.modules["torch"], f"{value.kind}Storage")
            return "storage", kind, value.key, "cpu", value.n_elements
        return None


def saved(
    path: Path,
    value: Any,
    *storages: Storage,
    pickled: bytes | None = None,
    compression: int = zipfile.ZIP_STORED,
    byteorder: bytes = b"little",
) -> Path:
    stream = io.BytesIO()
    Pickler(stream, protocol=2).dump(value)
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("x/data.pkl", stream.getvalue() if pickled is None else pickled)
        archive.writestr("x/byteorder", byteorder)
        for storage in storages:
            archive.writestr(f"x/data/{storage.key}", storage.data)
    return path


def sample(**fields: Any) -> dict[str, Any]:
    given = {
        "group_index": 0,
        "index": 0,
        "rollout_id": None,
        "prompt": "Q?",
        "tokens": [70_000, 2, 3, 4, 5],
        "response": " A.",
        "response_length": 2,
        "reward": 1.0,
        "loss_mask": None,
        "rollout_log_probs": [-0.5, -0.25],
        "prefix_cache_info": {"cached_tokens": 2, "total_prompt_tokens": 3},
        "status": "completed",
    }
    return {**given, **fields}


def parsed(folder: Path, *samples: Any, storages: tuple[Storage, ...] = ()) -> Parsed:
    value = {"rollout_id": 4, "samples": list(samples)}
    return read(PARSER, saved(folder / "rollout_4.pt", value, *storages))


def test_a_sample_is_a_rollout_and_one_call_on_its_prompt(tmp_path: Path) -> None:
    found = parsed(tmp_path, sample())
    (call,), (trace,), (scores,) = found.calls, found.traces, found.scores
    assert found.text(call.prompt) == [(70_000, 2, 3)]
    assert found.text(call.completion) == [(70_000, 2, 3, 4, 5)]
    assert found.text(call.text) == ["Q? A."]
    assert (trace.leaf, trace.reward, trace.id) == (call.completion, 1.0, call.trace)
    assert (scores.tokens, scores.logprobs) == ([4, 5], [-0.5, -0.25])
    assert call.usage is not None
    usage = call.usage
    assert (usage.input_tokens, usage.cache_read_tokens, usage.output_tokens) == (3, 2, 2)
    assert found.issues == []


def test_each_run_that_the_mask_shows_is_a_call(tmp_path: Path) -> None:
    many = sample(
        tokens=[*range(100, 110)],
        response_length=7,
        loss_mask=[1, 1, 0, 0, 1, 1, 0],
        rollout_log_probs=[-1.0, -2.0, 0.0, 0.0, -3.0, -4.0, 0.0],
        prefix_cache_info={"cached_tokens": 5, "total_prompt_tokens": 10},
    )
    found = parsed(tmp_path, many)
    first, second = found.calls
    assert found.text(first.prompt) == [(100, 101, 102)]
    assert found.text(first.completion) == [(100, 101, 102, 103, 104)]
    assert found.text(second.prompt) == [tuple(range(100, 107))]
    assert found.text(second.completion) == [tuple(range(100, 109))]
    assert found.text(found.traces[0].leaf) == [tuple(range(100, 110))]
    assert [scores.logprobs for scores in found.scores] == [[-1.0, -2.0], [-3.0, -4.0]]
    assert (first.usage, second.usage, first.text, second.text) == (None, None, None, None)


def test_samples_of_one_group_index_are_a_group(tmp_path: Path) -> None:
    found = parsed(
        tmp_path, sample(), sample(), sample(group_index=1), sample(group_index=None, prompt="Z")
    )
    groups = [trace.group for trace in found.traces]
    assert groups[0] == groups[1]
    assert len(set(groups)) == 3
    assert len({trace.id for trace in found.traces}) == 4
    assert len({call.identity for call in found.calls}) == 4


def test_samples_without_group_and_prompt_are_each_alone(tmp_path: Path) -> None:
    alone = sample(group_index=None, prompt=None)
    found = parsed(tmp_path, alone, alone)
    assert len({trace.group for trace in found.traces}) == 2


def test_samples_of_one_rollout_are_one_trace_of_several_calls(tmp_path: Path) -> None:
    found = parsed(tmp_path, sample(rollout_id=9), sample(rollout_id=9, tokens=[1, 2, 3, 4]))
    assert len({trace.id for trace in found.traces}) == 1
    assert len({call.identity for call in found.calls}) == 2


def test_a_copy_has_the_same_calls_and_another_file_has_not(tmp_path: Path) -> None:
    one = parsed(tmp_path, sample())
    (tmp_path / "copy.pt").write_bytes((tmp_path / "rollout_4.pt").read_bytes())
    copied = read(PARSER, tmp_path / "copy.pt")
    other = parsed(tmp_path, sample(index=1))
    assert copied.calls[0].identity == one.calls[0].identity != other.calls[0].identity


def test_a_prompt_of_messages_and_its_response_are_the_text(tmp_path: Path) -> None:
    messages = [{"role": "system", "content": "S"}, {"role": "user", "content": "half \ud83d"}]
    found = parsed(tmp_path, sample(prompt=messages), sample(prompt=messages, tokens=[]))
    path = found.tree.path(found.calls[0].text or 0)
    assert [segment.kind for segment in path] == [Kind.SYSTEM, Kind.TEXT, Kind.TEXT]
    assert [segment.content for segment in path] == ["S", "half �", " A."]
    assert found.calls[1].completion == found.calls[0].text


def test_a_sample_that_was_aborted_before_it_began_has_no_tokens(tmp_path: Path) -> None:
    found = parsed(tmp_path, sample(tokens=[], response="", response_length=0, reward=None))
    (call,), (trace,) = found.calls, found.traces
    assert (call.completion, call.usage, trace.reward) == (None, None, None)
    assert found.text(trace.leaf) == ["Q?"]
    assert found.scores == []


@pytest.mark.parametrize(
    ("info", "loss_mask"),
    [
        ({"cached_tokens": 0, "total_prompt_tokens": 0}, None),
        ({"cached_tokens": 5, "total_prompt_tokens": 9}, None),  # several requests
        ({}, None),
        (None, None),
        ("none", None),
        ({"cached_tokens": 2, "total_prompt_tokens": 3}, [0, 0]),
    ],
)
def test_counts_that_are_no_single_calls_are_no_usage(
    tmp_path: Path, info: Any, loss_mask: Any
) -> None:
    found = parsed(tmp_path, sample(prefix_cache_info=info, loss_mask=loss_mask))
    assert [call.usage for call in found.calls] == ([] if loss_mask else [None])


@pytest.mark.parametrize(
    ("reward", "expected", "answer"),
    [
        (None, None, None),
        (True, 1.0, None),
        (2, 2.0, None),
        ({"score": 0.5, "acc": 1.0, "pred": "7"}, 0.5, "7"),
        ({"reward": 1, "pred": 7}, 1.0, None),
        ({"acc": 1.0}, None, None),
    ],
)
def test_a_reward_is_a_number_or_stands_in_a_dict(
    tmp_path: Path, reward: Any, expected: float | None, answer: str | None
) -> None:
    (trace,) = parsed(tmp_path, sample(reward=reward)).traces
    assert (trace.reward, trace.answer) == (expected, answer)


def test_logprobs_that_are_all_nought_were_not_logged(tmp_path: Path) -> None:
    found = parsed(
        tmp_path,
        sample(rollout_log_probs=[0.0, 0.0]),
        sample(rollout_log_probs=None),
        sample(rollout_log_probs=[float("nan"), -1.0]),
    )
    assert [scores.logprobs for scores in found.scores] == [[None, -1.0]]


def test_long_lists_of_numbers_are_read_whole(tmp_path: Path) -> None:
    tokens = [n * 7919 % 151_936 for n in range(5003)]
    logprobs = [-n / 1024 for n in range(5000)]
    found = parsed(
        tmp_path, sample(tokens=tokens, response_length=5000, rollout_log_probs=logprobs)
    )
    assert found.text(found.calls[0].completion) == [tuple(tokens)]
    assert found.scores[0].logprobs == logprobs


@pytest.mark.usefixtures("torch_names")
def test_lists_may_be_tensors(tmp_path: Path) -> None:
    tokens = Storage("0", [9, 9, 10, 11, 12, 13, 14])
    logprobs = Storage("1", [-0.5, 0.0, -0.25, 0.0], "Float", "f")
    half = Storage("2", [0xBF00, 0xBE80], "BFloat16", "H")  # -0.5, -0.25
    unread = Storage("3", [1], "Int", "i")
    found = parsed(
        tmp_path,
        sample(
            tokens=Tensor(tokens, (5,), (1,), offset=2),
            rollout_log_probs=Tensor(logprobs, (2,), (2,)),
            reward=Tensor(logprobs, (), (), offset=2),
            rollout_routed_experts=Tensor(unread, (9, 9, 9), (81, 9, 1)),
        ),
        sample(rollout_log_probs=Tensor(half, (1, 2), (2, 1))),
        storages=(tokens, logprobs, half, unread),
    )
    assert found.issues == []
    assert found.text(found.calls[0].completion) == [(10, 11, 12, 13, 14)]
    assert [scores.logprobs for scores in found.scores] == [[-0.5, -0.25]] * 2
    assert found.traces[0].reward == -0.25


@pytest.mark.usefixtures("torch_names")
@pytest.mark.parametrize(
    "make",
    [
        lambda s: Tensor(s, (5,), (1,)),
        lambda s: Tensor(s, (2,), (2**40,)),
        lambda s: Tensor(s, (2**40,), (1,)),
        lambda s: Tensor(s, (2,), (0,)),
        lambda s: Tensor(s, (2, 2), (2, 1)),
        lambda s: Tensor(s, (2,), (1,), offset=3),
        lambda s: Tensor(s, (2,), (1,), offset=-1),
        lambda s: Tensor(s, (1, 1), (1,)),
        lambda s: Tensor(Storage("absent", [1, 2]), (2,), (1,)),
        lambda s: Tensor(Storage("../../etc/passwd", [1, 2]), (2,), (1,)),
    ],
)
def test_a_tensor_that_is_not_where_it_should_be_is_an_issue(
    tmp_path: Path, make: Callable[[Storage], Tensor]
) -> None:
    storage = Storage("0", [-1, -2, -3, -4], "Float", "f")
    found = parsed(tmp_path, sample(rollout_log_probs=make(storage)), storages=(storage,))
    assert found.calls == []
    assert len(found.issues) == 1


@pytest.mark.usefixtures("torch_names")
def test_a_storage_larger_than_its_bytes_and_a_strange_type_are_issues(tmp_path: Path) -> None:
    large = Storage("0", [1, 2])
    large.n_elements = 2**50
    strange = Storage("0", [1, 2], "Complex")
    for storage in (large, strange):
        found = parsed(tmp_path, sample(tokens=Tensor(storage, (2,), (1,))), storages=(storage,))
        assert (found.calls, len(found.issues)) == ([], 1)


@pytest.mark.usefixtures("torch_names")
def test_the_byte_order_is_that_of_the_machine_that_saved(tmp_path: Path) -> None:
    storage = Storage("0", [1, 2, 3, 4, 5])
    storage.data = struct.pack(">5q", 1, 2, 3, 4, 5)
    value = {"rollout_id": 0, "samples": [sample(tokens=Tensor(storage, (5,), (1,)))]}
    found = read(PARSER, saved(tmp_path / "a.pt", value, storage, byteorder=b"big"))
    assert found.text(found.calls[0].completion) == [(1, 2, 3, 4, 5)]


@pytest.mark.parametrize(
    "bad",
    [
        None,
        7,
        [],
        sample(tokens="text"),
        sample(tokens=[1, -2, 3]),
        sample(tokens=[2**40] * 5),
        sample(tokens=[1.5] * 9),
        sample(tokens=["a"] * 9),
        sample(tokens=[2**100, 2, 3, 4, 5]),
        sample(rollout_log_probs=[None, None]),
        sample(tokens={}),
        sample(response_length=6),
        sample(response_length=-1),
        sample(response_length="2"),
        sample(loss_mask=[1]),
        sample(loss_mask=[1, "x"]),
        sample(rollout_log_probs=[-1.0]),
        sample(rollout_log_probs="none"),
        sample(reward="good"),
        sample(group_index="a"),
        sample(rollout_id=1.5),
        sample(prompt=[{"content": "no role"}]),
        sample(prompt=["text"]),
        sample(prefix_cache_info={"cached_tokens": 4, "total_prompt_tokens": 3}),
        sample(prefix_cache_info={"cached_tokens": -4, "total_prompt_tokens": 3}),
    ],
)
def test_a_bad_sample_is_one_issue_and_the_others_are_kept(tmp_path: Path, bad: Any) -> None:
    found = parsed(tmp_path, sample(), bad, sample())
    (issue,) = found.issues
    assert len(found.calls) == 2
    assert issue.line == 2
    assert issue.reason.startswith("sample 2: ")


class Evil:
    """Writes a file when it is unpickled as Python unpickles."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return eval, (f"open({str(self.mark)!r}, 'w').close()",)


def test_an_object_in_a_sample_is_left_out_and_named(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    found = parsed(tmp_path, sample(metadata={"image": Evil(mark)}), sample(metadata=Evil(mark)))
    assert len(found.calls) == 2
    (issue,) = found.issues
    assert "eval" in issue.reason and "\n" not in issue.reason
    assert not mark.exists()


@pytest.mark.parametrize("field", ["tokens", "prompt", "reward", "response", "group_index"])
def test_an_object_where_data_should_be_runs_nothing(tmp_path: Path, field: str) -> None:
    mark = tmp_path / "mark"
    found = parsed(tmp_path, sample(**{field: Evil(mark)}), sample())
    assert len(found.calls) in (1, 2)
    assert 1 <= len(found.issues) <= 2
    assert not mark.exists()


def test_a_file_that_is_nothing_but_a_call_is_refused(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    for value in (Evil(mark), {"samples": Evil(mark)}, [Evil(mark)]):
        found = read(PARSER, saved(tmp_path / "a.pt", value))
        assert (found.calls, found.traces) == ([], [])
        assert "eval" in found.issues[0].reason
        assert found.issues[-1].reason == "no list of samples"
    assert not mark.exists()


def test_messages_that_grow_when_they_are_written_out_are_an_issue(tmp_path: Path) -> None:
    laughs: Any = "ha"
    for _ in range(40):
        laughs = [laughs] * 10
    itself: list[Any] = []
    itself.append(itself)
    found = parsed(
        tmp_path,
        sample(prompt=[{"role": "user", "content": laughs}]),
        sample(prompt=itself),
        sample(),
    )
    assert [issue.line for issue in found.issues] == [1, 2]
    assert len(found.calls) == 1


@pytest.mark.parametrize(
    ("pickled", "reason"),
    [
        (b"", "no end"),
        (b"\x80\x02}.", "no list of samples"),
        (b"\x80\x02}X\x07\0\0\0samples](K\x01K\x02K\x03K\x04K\x05K\x06K\x07K\x08es.", "no list"),
        (b"\x80\x02}X\x07\0\0\0samples]", "no end"),
        (b"\x80\x02X\xff\xff\xff\xffabc.", "ends within"),
        (b"\x80\x02(posix\nsystem\n", "opcode"),
    ],
)
def test_a_pickle_that_holds_no_samples_is_one_issue(
    tmp_path: Path, pickled: bytes, reason: str
) -> None:
    found = read(PARSER, saved(tmp_path / "a.pt", None, pickled=pickled))
    (issue,) = found.issues
    assert reason in issue.reason
    assert found.calls == []


def test_an_archive_that_unpacks_to_more_than_itself_is_refused(tmp_path: Path) -> None:
    value = {"rollout_id": 0, "samples": [], "zeros": [0] * 1_000_000}
    path = saved(tmp_path / "a.pt", value, compression=zipfile.ZIP_DEFLATED)
    (issue,) = read(PARSER, path).issues
    assert issue.reason == "the member 'data.pkl' is compressed or encrypted"


def test_an_archive_without_a_pickle_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.pt", "w") as archive:
        archive.writestr("x/data", b"")
    (issue,) = read(PARSER, tmp_path / "a.pt").issues
    assert "data.pkl" in issue.reason


@pytest.mark.parametrize("cut", [0, 4, 100, 400, -1, -30])
def test_an_archive_cut_short_is_one_issue(tmp_path: Path, cut: int) -> None:
    path = saved(tmp_path / "a.pt", {"rollout_id": 0, "samples": [sample()]})
    path.write_bytes(path.read_bytes()[:cut])
    found = read(PARSER, path)
    assert (found.calls, len(found.issues)) == ([], 1)


def test_bytes_damaged_anywhere_run_nothing_and_end_in_issues(tmp_path: Path) -> None:
    whole = saved(tmp_path / "a.pt", {"rollout_id": 0, "samples": [sample(), sample()]})
    data = whole.read_bytes()
    for place in range(0, len(data), 7):
        whole.write_bytes(data[:place] + bytes([data[place] ^ 0x55]) + data[place + 1 :])
        for issue in read(PARSER, whole).issues:
            assert issue.reason and "\n" not in issue.reason


def test_a_file_from_before_archives_is_refused_with_a_reason(tmp_path: Path) -> None:
    path = tmp_path / "old.pt"
    body = pickle.dumps({"rollout_id": 1, "samples": []}, 2)
    path.write_bytes(LEGACY_MAGIC + pickle.dumps(1001, 2) + pickle.dumps({}, 2) + body)
    assert PARSER.identify(read_head(path)) is not None
    (issue,) = read(PARSER, path).issues
    assert "before torch 1.6" in issue.reason


def test_a_missing_file_is_an_issue(tmp_path: Path) -> None:
    assert len(read(PARSER, tmp_path / "gone.pt").issues) == 1


def test_a_file_is_known_by_its_archive_and_its_first_keys(tmp_path: Path) -> None:
    value = {"rollout_id": 12, "samples": [sample()]}
    assert PARSER.identify(read_head(saved(tmp_path / "a.pt", value))) is not None
    for other in ({"samples": []}, {"rollout_id": 1, "rollout_data": {}}, [1], {"model": {}}):
        assert PARSER.identify(read_head(saved(tmp_path / "b.pt", other))) is None
    assert PARSER.identify(Head(Path("x.pt"), pickle.dumps(value, 2))) is None


def test_the_sample_holds_three_groups_of_four(sample_logs: Path) -> None:
    found = read(PARSER, sample_logs / "slime" / "rollout_2.pt")
    assert (len(found.traces), len(found.calls), len(found.scores)) == (12, 16, 15)
    assert found.issues == []
    assert len({trace.group for trace in found.traces}) == 3
    usages = [call.usage for call in found.calls if call.usage is not None]
    assert sum(usage.input_tokens or 0 for usage in usages) == 109
    assert sum(usage.cache_read_tokens or 0 for usage in usages) == 68
    assert sum(usage.output_tokens or 0 for usage in usages) == 19
    assert [trace.reward for trace in found.traces].count(1.0) == 9

"""Reading pickles as data: what plain data comes out as, and that nothing else runs."""

from __future__ import annotations

import pickle
import struct
import time
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forkpoint.parsers import plain_pickle
from forkpoint.parsers.pickled_numbers import Items
from forkpoint.parsers.plain_pickle import OPAQUE, PlainPickle, Refused


def plain(value: Any) -> Any:
    """What came out of a pickle, with ordinary lists."""
    if isinstance(value, Items):
        return value.numbers.tolist() if value.numbers is not None else [plain(x) for x in value]
    if isinstance(value, tuple):
        return tuple(plain(item) for item in value)
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return value


def read(data: bytes) -> Any:
    return plain(PlainPickle(data).value())


class Calls:
    """Pickles as a call of a function."""

    def __init__(self, function: Any, *arguments: Any, state: Any = None) -> None:
        self.reduced = (function, arguments) if state is None else (function, arguments, state)

    def __reduce__(self) -> Any:
        return self.reduced


integers = st.integers(-(2**120), 2**120)
tokens = st.integers(0, 2**31 - 1) | st.integers(0, 300) | st.integers(-3, 70_000)
leaves = (
    st.none()
    | st.booleans()
    | integers
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary()
    | st.lists(tokens, min_size=7, max_size=2100)
    | st.lists(st.floats(allow_nan=False), min_size=7, max_size=30)
    | st.lists(st.sampled_from([0, 1]), min_size=7, max_size=30)
)
values = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner) | st.tuples(inner, inner, inner, inner) | st.dictionaries(st.text(), inner)
    ),
    max_leaves=12,
)


@given(value=values, protocol=st.sampled_from([2, 3, 4, 5]))
def test_plain_data_comes_out_as_it_went_in(value: Any, protocol: int) -> None:
    assert read(pickle.dumps(value, protocol)) == value


@given(data=st.binary(max_size=80), value=values, place=st.integers(0, 10_000))
def test_damaged_pickles_are_refused_or_read_but_never_run(
    data: bytes, value: Any, place: int
) -> None:
    whole = pickle.dumps(value, 2)
    place %= len(whole)
    for damaged in (data, whole[:place] + data + whole[place + 1 :], whole[:place]):
        try:
            PlainPickle(damaged).value()
        except ValueError as error:
            assert str(error)


def test_ordered_dicts_sets_and_numpy_scalars_are_plain() -> None:
    value = {
        "extra": OrderedDict(),
        "set": {5},
        "reward": np.float64(0.25),
        "half": np.float32(0.5),
        "count": np.int64(-7),
        "flag": np.bool_(True),
        "big": np.dtype(">f8").type(1.5),
    }
    expected = {"extra": {}, "set": [5], "reward": 0.25, "half": 0.5, "count": -7, "flag": True}
    for protocol in (2, 4):
        assert read(pickle.dumps(value, protocol)) == {**expected, "big": 1.5}


def test_an_array_of_numpys_is_left_unread_and_is_no_refusal() -> None:
    reading = PlainPickle(pickle.dumps({"a": np.arange(3), "b": [1]}, 2))
    assert plain(reading.value()) == {"a": OPAQUE, "b": [1]}
    assert reading.refused == {}


def test_a_list_that_is_shared_stays_one_list() -> None:
    shared = list(range(300_000, 300_020))
    first, second = PlainPickle(pickle.dumps([shared, shared], 2)).value()
    assert first is second
    assert first.numbers.tolist() == shared


def test_numbers_and_other_items_may_follow_each_other_in_a_list() -> None:
    assert read(pickle.dumps([*range(1000, 2050), "end", *range(9)], 2))[1050] == "end"
    runs = (
        b"\x80\x02](" + b"K\x07" * 9 + b"e(" + b"M\x01\x02" * 8 + b"e(" + b"G" + b"\0" * 8 + b"e."
    )
    assert read(runs) == [7] * 9 + [513] * 8 + [0.0]


def test_negative_and_large_integers_in_a_run_keep_their_values() -> None:
    numbers = [-1, 0, 255, 256, 65535, 65536, 2**31 - 1, -(2**31), -256, 1]
    assert read(pickle.dumps(numbers, 2)) == numbers


EVIL = [
    ("os.system", pickle.GLOBAL + b"posix\nsystem\n"),
    ("builtins.eval", pickle.GLOBAL + b"builtins\neval\n"),
    ("builtins.exec", pickle.GLOBAL + b"__builtin__\nexec\n"),
    ("nested getattr", pickle.GLOBAL + b"builtins\ngetattr\n"),
    ("torch's loader", pickle.GLOBAL + b"torch\nload\n"),
    ("a dotted name", pickle.GLOBAL + b"collections\nOrderedDict.fromkeys\n"),
    ("subprocess", b"\x8c\nsubprocess\x8c\x05Popen\x93"),
]


@pytest.mark.parametrize(("what", "function"), EVIL, ids=[what for what, _ in EVIL])
@pytest.mark.parametrize("end", [b"R", b"\x81"])
def test_what_a_pickle_wants_to_call_is_noted_and_not_called(
    what: str, function: bytes, end: bytes, tmp_path: Path
) -> None:
    mark = tmp_path / "mark"
    command = f"open({str(mark)!r}, 'w')".encode()
    argument = b"X" + struct.pack("<I", len(command)) + command + b"\x85"
    reading = PlainPickle(b"\x80\x04" + function + argument + end + b".")
    assert reading.value() is OPAQUE
    assert len(reading.refused) == 1, what
    assert not mark.exists()


def test_pickles_that_python_would_run_do_nothing_here(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    evil = Calls(eval, f"open({str(mark)!r}, 'w').close()")
    nested = [Calls(dict, [("a", evil)]), Calls(Path, evil, state={"b": evil}), {"c": evil}]
    for value in (evil, nested):
        for protocol in (2, 3, 4, 5):
            data = pickle.dumps(value, protocol)
            reading = PlainPickle(data)
            reading.value()
            assert "eval" in " ".join(reading.refused)
            assert not mark.exists()
    pickle.loads(pickle.dumps(evil))  # it was no empty threat
    assert mark.exists()


def test_state_is_not_given_to_anything() -> None:
    poisoned = b"\x80\x02ccollections\nOrderedDict\n)R}X\x08\0\0\0__dict__K\x01sb."
    assert PlainPickle(poisoned).value() == {}
    on_a_class = b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n}X\x08\0\0\0__code__K\x01sb."
    assert PlainPickle(on_a_class).value() == ("torch._utils", "_rebuild_tensor_v2")


@pytest.mark.parametrize(
    "pickled",
    [
        b"",
        b"\x80\x02",
        b".",
        b"\x80\x02K\x01",
        b"\x80\x02iposix\nsystem\n.",  # INST
        b"\x80\x02(cposix\nsystem\no.",  # OBJ
        b"\x80\x02\x82\x01.",  # EXT1
        b"\x80\x02\x92.",  # NEWOBJ_EX
        b"\x80\x05\x97.",  # NEXT_BUFFER
        b"\x80\x05\x96\xff\xff\xff\xff\xff\xff\xff\x7f.",  # BYTEARRAY8
        b"\x80\x02X\xff\xff\xff\xffabc.",
        b"\x80\x04\x8d\xff\xff\xff\xff\xff\xff\xff\x7fabc.",
        b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\x7fabc.",
        b"\x80\x02\x8a\xff" + b"\x01" * 255 + b".",
        b"\x80\x02\x8b\xff\xff\xff\x7f\x01.",  # LONG4
        b"\x80\x02h\x05.",
        b"\x80\x02j\xff\xff\xff\xff.",
        b"\x80\x02q\x01.",
        b"\x80\x02K\x01a.",
        b"\x80\x02}K\x01s.",
        b"\x80\x02K\x01K\x02K\x03s.",
        b"\x80\x02K\x01Q.",
        b"\x80\x02(X\x07\0\0\0storageK\x01K\x02K\x03K\x04tQ.",
        b"\x80\x02(X\x07\0\0\0storagectorch\nEvilStorage\nX\x01\0\0\x000X\x03\0\0\0cpuK\x04tQ.",
        b"\x80\x02(X\x07\0\0\0storagectorch\nIntStorage\nX\x01\0\0\x000X\x03\0\0\0cpuJ\xff\xff\xff\xfftQ.",
        b"\x80\x02](]]\x93.",
        b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n(K\x01K\x02K\x03tR.",
        b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n)R.",
        b"\x80\x02c" + b"a" * 5000 + b"\nb\n.",
        b"\x80\x02c_codecs\nencode\nX\x01\0\0\0aX\x05\0\0\0utf-8\x86R.",
        b"\x80\x02cnumpy\ndtype\nX\x01\0\0\0O\x85R.",
        b"\x80\x02X\x01\0\0\0\xff.",
    ],
)
def test_a_pickle_that_makes_no_sense_is_refused_with_a_reason(pickled: bytes) -> None:
    with pytest.raises(ValueError, match=r"\S"):
        PlainPickle(pickled).value()


def test_a_place_far_out_in_the_memo_costs_nothing() -> None:
    assert PlainPickle(b"\x80\x02]r\xff\xff\xff\x7fj\xff\xff\xff\x7f0.").value() == []


def test_structures_that_are_small_until_walked_are_made_in_no_time() -> None:
    began = time.monotonic()
    laughs = b"\x80\x02]q\x00" + b"".join(b"](h%ch%ceq%c" % (n, n, n + 1) for n in range(100))
    assert isinstance(PlainPickle(laughs + b".").value(), Items)
    pair = b"K\x01" + b"".join(b"q%ch%c\x86" % (n, n) for n in range(100))
    as_key = b"\x80\x02}" + pair + b"K\x01s."
    assert PlainPickle(as_key).value() == {}
    as_name = b"\x80\x04" + pair + b"X\x01\0\0\0a\x93."
    with pytest.raises(Refused, match="no text"):
        PlainPickle(as_name).value()
    as_type = b"\x80\x04cnumpy\ndtype\n" + pair + b"\x85R."
    with pytest.raises(Refused, match="unknown type"):
        PlainPickle(as_type).value()
    assert time.monotonic() - began < 5


def test_keys_that_are_no_text_are_dropped() -> None:
    collide = {n * (2**61 - 1): n for n in range(1, 50)}
    assert read(pickle.dumps({**collide, "a": 1, (1, 2): 3, 1.5: 4}, 2)) == {"a": 1}


def test_many_short_runs_are_put_together_once() -> None:
    began = time.monotonic()
    runs = b"\x80\x02]" + (b"(" + b"K\x05" * 8 + b"e") * 50_000 + b"."
    found = PlainPickle(runs).value()
    assert len(found.numbers) == 400_000
    assert time.monotonic() - began < 20


def test_a_pickle_of_too_many_opcodes_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plain_pickle, "MAX_OPCODES", 1000)
    with pytest.raises(Refused, match="more than 1000 opcodes"):
        PlainPickle(b"\x80\x02" + b"]" * 2000 + b".").value()


def test_deep_nesting_is_no_trouble() -> None:
    assert isinstance(
        PlainPickle(b"\x80\x02" + b"]" * 200_000 + b"a" * 199_999 + b".").value(), Items
    )

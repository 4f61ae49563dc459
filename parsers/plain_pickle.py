"""Plain data out of pickles, without running anything.

A pickle is a program that may call any function there is. Python's unpickler is not used here: this
module reads the few opcodes that build data, and where the program names a class or a function, it
gets that name and nothing more. Numbers, texts, lists, tuples, dicts and sets come out as such,
torch's tensors as `Tensor`, numpy's scalars as numbers, and everything else as `Opaque`.

What bounds the work and the memory: lengths are compared with what is left; the memo is a dict, so
its size is what was put into it; keys that are no text are dropped, because others can be made to
collide or to take forever to hash; nothing is printed, compared or walked before its type is known,
because a list that holds another one twice, and so on, is small until somebody walks it; and there
is a limit on the number of opcodes.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from forkpoint.parsers.pickled_numbers import NUMBER_RUN, Items, decoded_run

MAX_OPCODES = 10_000_000
"""Opcodes that one pickle may have, runs of numbers counted once: some 1 GB of objects."""
MAX_INTEGER_BYTES = 16
MAX_NAME_LENGTH = 200

_STORAGES = {
    "DoubleStorage": "f8",
    "FloatStorage": "f4",
    "HalfStorage": "f2",
    "BFloat16Storage": "bf16",
    "LongStorage": "i8",
    "IntStorage": "i4",
    "ShortStorage": "i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "b1",
}
_SCALARS = frozenset(("f8", "f4", "f2", "i8", "i4", "i2", "i1", "u8", "u4", "u2", "u1", "b1"))


class Refused(ValueError):
    """A file or pickle is not plain data, or makes no sense. The text says why."""


class Name(NamedTuple):
    """A class or function that the pickle names. It is not looked up."""

    module: str
    name: str


class Opaque:
    """Stands for an object that is no plain data."""

    __slots__ = ()


OPAQUE = Opaque()


class Storage(NamedTuple):
    """Where a tensor's numbers are, outside of the pickle."""

    dtype: str
    """As numpy names it, or ``bf16``."""
    key: str
    n_elements: int


class Tensor(NamedTuple):
    """A tensor whose numbers have not been read. Offset and strides count elements."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


class _DType:
    """numpy's description of a scalar's bytes."""

    __slots__ = ("big_endian", "code")

    def __init__(self, code: str) -> None:
        self.code = code
        self.big_endian = False


class PlainPickle:
    """One pickle, of the protocols 2 to 5 as far as plain data needs them."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0
        self._stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: dict[int, Any] = {}
        self.refused: dict[str, int] = {}
        """What the pickle wanted to call, and at which byte first. Nothing of it was called."""

    def value(self) -> Any:
        """What the pickle makes.

        Raises:
            Refused: it makes nothing, or not by the means of plain data.
        """
        data, handlers = self._data, _HANDLERS
        for _ in range(MAX_OPCODES):
            if self._at >= len(data):
                raise Refused("the pickle has no end")
            code = data[self._at]
            self._at += 1
            if code == _STOP:
                return self.pop()
            handler = handlers.get(code)
            if handler is None:
                raise Refused(f"opcode {bytes([code])!r} of the pickle is none of plain data")
            try:
                handler(self)
            except (IndexError, KeyError, TypeError, AttributeError, struct.error) as error:
                raise Refused(f"the pickle makes no sense at byte {self._at}") from error
        raise Refused(f"the pickle has more than {MAX_OPCODES} opcodes")

    # The bytes.

    def take(self, n_bytes: int) -> bytes:
        found = self._data[self._at : self._at + n_bytes]
        if len(found) != n_bytes:
            raise Refused("the pickle ends within a value")
        self._at += n_bytes
        return found

    def unsigned(self, n_bytes: int) -> int:
        return int.from_bytes(self.take(n_bytes), "little")

    def _line(self) -> str:
        end = self._data.find(b"\n", self._at, self._at + MAX_NAME_LENGTH + 1)
        if end < 0:
            raise Refused("a name without an end in the pickle")
        found = self._data[self._at : end]
        self._at = end + 1
        return found.decode("utf-8", "replace")

    # The stack.

    def push(self, value: Any) -> None:
        self._stack.append(value)

    def pop(self) -> Any:
        if len(self._stack) <= (self._marks[-1] if self._marks else 0):
            raise Refused("the pickle takes more than it made")
        return self._stack.pop()

    def to_mark(self) -> list[Any]:
        start = self._marks.pop()
        items = self._stack[start:]
        del self._stack[start:]
        return items

    # The opcodes.

    def mark(self) -> None:
        self._marks.append(len(self._stack))
        run = NUMBER_RUN.match(self._data, self._at)
        if run is None or not self._stack or not isinstance(self._stack[-1], Items):
            return
        # Usually the next opcode appends all of it. If not, it is read opcode by opcode.
        if self._data[run.end() : run.end() + 1] == b"e":
            self._marks.pop()
            self._at = run.end() + 1
            self._stack[-1].add_run(decoded_run(run[0]))

    def append(self) -> None:
        self._add([self.pop()])

    def appends(self) -> None:
        self._add(self.to_mark())

    def _add(self, items: list[Any]) -> None:
        target = self._stack[-1]
        if isinstance(target, Items):
            target.add(items)
        elif target is not OPAQUE:
            raise Refused("the pickle appends to what is no list")

    def set_item(self) -> None:
        value = self.pop()
        self._set([self.pop(), value])

    def set_items(self) -> None:
        self._set(self.to_mark())

    def _set(self, items: list[Any]) -> None:
        target = self._stack[-1]
        if isinstance(target, dict):
            for key, value in zip(items[::2], items[1::2], strict=False):
                if type(key) is str:
                    target[key] = value
        elif target is not OPAQUE:
            raise Refused("the pickle sets items of what is no dict")

    def get(self, n_bytes: int) -> None:
        self.push(self._memo[self.unsigned(n_bytes)])

    def put(self, n_bytes: int) -> None:
        self._memo[self.unsigned(n_bytes)] = self._stack[-1]

    def memoize(self) -> None:
        self._memo[len(self._memo)] = self._stack[-1]

    def long_integer(self) -> None:
        n_bytes = self.unsigned(1)
        if n_bytes > MAX_INTEGER_BYTES:
            raise Refused(f"an integer of {n_bytes} bytes in the pickle")
        self.push(int.from_bytes(self.take(n_bytes), "little", signed=True))

    def named(self) -> None:
        module = self._line()
        self.push(Name(module, self._line()))

    def named_on_stack(self) -> None:
        name, module = self.pop(), self.pop()
        if type(name) is not str or type(module) is not str:
            raise Refused("a name that is no text in the pickle")
        self.push(Name(module[:MAX_NAME_LENGTH], name[:MAX_NAME_LENGTH]))

    def persistent(self) -> None:
        """A reference to bytes outside of the pickle: with torch, a tensor's numbers."""
        kind, storage, key, _, n_elements = self._fields(self.pop(), 5)
        dtype = None
        if isinstance(storage, Name) and storage.module == "torch":
            dtype = _STORAGES.get(storage.name)
        known = kind == "storage" and type(key) is str and type(n_elements) is int
        if dtype is None or not known or n_elements < 0:
            raise Refused(f"numbers of an unknown type at byte {self._at} of the pickle")
        self.push(Storage(dtype, key[:MAX_NAME_LENGTH], n_elements))

    @staticmethod
    def _fields(value: Any, n_fields: int) -> tuple[Any, ...]:
        if type(value) is not tuple or len(value) != n_fields:
            raise Refused("a reference that is none of torch's in the pickle")
        return value

    def call(self) -> None:
        """What the pickle would call: plain data is made here, the rest is opaque and noted."""
        arguments, function = self.pop(), self.pop()
        plain = _PLAIN_CALLS.get(function) if isinstance(function, Name) else None
        if plain is not None and type(arguments) is tuple:
            self.push(plain(*arguments))
            return
        if function is not OPAQUE:
            named = isinstance(function, Name)
            name = f"{function.module}.{function.name}" if named else type(function).__name__
            self.refused.setdefault(name, self._at)
        self.push(OPAQUE)

    def build(self) -> None:
        """Give an object its attributes. Plain data has none but the byte order of a dtype."""
        state, target = self.pop(), self._stack[-1]
        if isinstance(target, _DType) and type(state) is tuple and len(state) > 1:
            target.big_endian = state[1] == ">"


# What plain data is made of, and our own functions in its place.


def _dtype(code: object, *_: object) -> _DType:
    if type(code) is not str or code not in _SCALARS:
        raise Refused("a number of an unknown type of numpy's")
    return _DType(code)


def _scalar(dtype: object, data: object) -> Any:
    if not isinstance(dtype, _DType) or type(data) is not bytes:
        raise Refused("a number of numpy's without its bytes")
    kind = np.dtype(f"{'>' if dtype.big_endian else '<'}{dtype.code}")
    if len(data) != kind.itemsize:
        raise Refused("a number of numpy's without its bytes")
    return np.frombuffer(data, dtype=kind)[0].item()


def _encoded(text: object, encoding: object) -> bytes:
    """How protocol 2 writes bytes: as a text in which each character is a byte."""
    if type(text) is not str or encoding != "latin1":
        raise Refused("bytes in an unknown encoding")
    try:
        return text.encode("latin1")
    except UnicodeEncodeError as error:
        raise Refused("bytes in an unknown encoding") from error


def _empty_bytes(*given: object) -> bytes:
    """How protocol 2 writes bytes where there are none."""
    if given:
        raise Refused("bytes made of something")
    return b""


def _tensor(storage: object, offset: Any, shape: Any, stride: Any, *_: object) -> Tensor:
    shaped = type(shape) is tuple and type(stride) is tuple and len(shape) == len(stride)
    if not isinstance(storage, Storage) or not shaped:
        raise Refused("a tensor without a storage, a shape and strides")
    if not all(type(number) is int and 0 <= number < 2**48 for number in (offset, *shape, *stride)):
        raise Refused("a tensor whose shape is no shape")
    return Tensor(storage, offset, shape, stride)


def _ordered_dict(*items: object) -> dict[str, Any]:
    if items:
        raise Refused("an OrderedDict made of something")
    return {}


def _collection(items: object = ()) -> Items:
    found = Items()
    if isinstance(items, Items) and items.numbers is not None:
        found.add_run(items.numbers)
    elif isinstance(items, list | tuple):
        found.extend(items)
    return found


def _array(*_: object) -> Opaque:
    """An array of numpy's: plain data, but nothing that is read here."""
    return OPAQUE


_PLAIN_CALLS: dict[Name, Callable[..., Any]] = {
    Name("collections", "OrderedDict"): _ordered_dict,
    Name("torch._utils", "_rebuild_tensor_v2"): _tensor,
    Name("_codecs", "encode"): _encoded,
    Name("__builtin__", "bytes"): _empty_bytes,
    Name("__builtin__", "set"): _collection,
    Name("builtins", "set"): _collection,
    Name("numpy", "dtype"): _dtype,
    Name("numpy.core.multiarray", "scalar"): _scalar,
    Name("numpy._core.multiarray", "scalar"): _scalar,
    Name("numpy.core.multiarray", "_reconstruct"): _array,
    Name("numpy._core.multiarray", "_reconstruct"): _array,
}

Handler = Callable[[PlainPickle], object]


def _constant(value: Any) -> Handler:
    return lambda pickle: pickle.push(value)


def _text(n_bytes: int) -> Handler:
    return lambda pickle: pickle.push(
        pickle.take(pickle.unsigned(n_bytes)).decode("utf-8", "surrogatepass")
    )


def _bytes(n_bytes: int) -> Handler:
    return lambda pickle: pickle.push(pickle.take(pickle.unsigned(n_bytes)))


def _tuple(n_items: int) -> Handler:
    return lambda pickle: pickle.push(tuple([pickle.pop() for _ in range(n_items)][::-1]))


_STOP = ord(".")
_BY_CODE: dict[str, Handler] = {
    "\x80": lambda pickle: pickle.take(1),  # the protocol
    "\x95": lambda pickle: pickle.take(8),  # a frame's length
    "(": PlainPickle.mark,
    "0": PlainPickle.pop,
    "1": PlainPickle.to_mark,
    "N": _constant(None),
    "\x88": _constant(True),
    "\x89": _constant(False),
    "K": lambda pickle: pickle.push(pickle.unsigned(1)),
    "M": lambda pickle: pickle.push(pickle.unsigned(2)),
    "J": lambda pickle: pickle.push(struct.unpack("<i", pickle.take(4))[0]),
    "\x8a": PlainPickle.long_integer,
    "G": lambda pickle: pickle.push(struct.unpack(">d", pickle.take(8))[0]),
    "X": _text(4),
    "\x8c": _text(1),
    "\x8d": _text(8),
    "B": _bytes(4),
    "C": _bytes(1),
    "\x8e": _bytes(8),
    "]": lambda pickle: pickle.push(Items()),
    "\x8f": lambda pickle: pickle.push(Items()),  # a set: its items are added as a list's are
    "\x90": PlainPickle.appends,
    "}": lambda pickle: pickle.push({}),
    ")": _constant(()),
    "t": lambda pickle: pickle.push(tuple(pickle.to_mark())),
    "l": lambda pickle: pickle.push(_collection(pickle.to_mark())),
    "\x85": _tuple(1),
    "\x86": _tuple(2),
    "\x87": _tuple(3),
    "a": PlainPickle.append,
    "e": PlainPickle.appends,
    "s": PlainPickle.set_item,
    "u": PlainPickle.set_items,
    "c": PlainPickle.named,
    "\x93": PlainPickle.named_on_stack,
    "Q": PlainPickle.persistent,
    "R": PlainPickle.call,
    "\x81": PlainPickle.call,
    "b": PlainPickle.build,
    "q": lambda pickle: pickle.put(1),
    "r": lambda pickle: pickle.put(4),
    "\x94": PlainPickle.memoize,
    "h": lambda pickle: pickle.get(1),
    "j": lambda pickle: pickle.get(4),
}
_HANDLERS = {ord(code): handler for code, handler in _BY_CODE.items()}

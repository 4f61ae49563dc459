"""JSON objects whose fields are decoded one by one: a log's own bytes until somebody asks.

Decoding is lenient where `logs.decode_json` is, and an error names the field it stands in.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any, TypeVar

import msgspec

from forkpoint.parsers.logs import describe

T = TypeVar("T")

Fields = dict[str, msgspec.Raw]
"""A JSON object whose values are still the log's own bytes."""

CACHE_MARKERS = ("cache_control", "prompt_cache_breakpoint")
"""Where a prompt may be cut for caching: not part of what the model is sent."""

_FIELDS = msgspec.json.Decoder(Fields)
_RAWS = msgspec.json.Decoder(list[msgspec.Raw])
_TEXT = msgspec.json.Decoder(str)
_ANY = msgspec.json.Decoder()
_ID = msgspec.json.Decoder(str | int)
_ENCODER = msgspec.json.Encoder()

_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
_JSON_TOKEN = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[{}\[\],:"]|[^\s"{}\[\],:]+', re.DOTALL)


def decode(data: bytes | msgspec.Raw, decoder: msgspec.json.Decoder[T], what: str = "record") -> T:
    """Decode one JSON value, the fast way first, then as leniently as `logs.decode_json` does.

    Half a surrogate pair becomes U+FFFD, ``NaN`` and infinities become ``null``.

    Raises:
        ValueError: it is not JSON, or not of the decoder's type; the text names `what`.
        RecursionError: it is nested too deeply.
    """
    try:
        try:
            return decoder.decode(data)
        except msgspec.ValidationError:
            raise
        except msgspec.DecodeError:
            mended = _mended(bytes(data))
            if mended is None:
                raise
        return decoder.decode(mended)
    except msgspec.ValidationError as error:
        raise ValueError(f"{what}: {describe(error)}") from error


def _mended(data: bytes) -> bytes | None:
    """What strict JSON forbids, replaced; ``None`` if that is not what is wrong with it."""
    if not any(mark in data for mark in (b"\\ud", b"\\uD", b"NaN", b"Infinity")):
        return None
    value = json.loads(data, parse_constant=lambda _: None)
    return _LONE_SURROGATE.sub("\ufffd", json.dumps(value, ensure_ascii=False)).encode()


def decode_fields(raw: bytes | msgspec.Raw, what: str = "record") -> Fields:
    """An object's fields.

    Raises:
        ValueError: it is not an object.
    """
    return decode(raw, _FIELDS, what)


def decode_list(raw: msgspec.Raw, what: str) -> list[msgspec.Raw]:
    """An array's elements.

    Raises:
        ValueError: it is not an array.
    """
    return decode(raw, _RAWS, what)


def decode_text(raw: msgspec.Raw, what: str) -> str:
    """A string.

    Raises:
        ValueError: it is not one.
    """
    return decode(raw, _TEXT, what)


def decode_value(raw: msgspec.Raw, what: str) -> Any:
    """A value of any type.

    Raises:
        ValueError: it is not JSON.
    """
    return decode(raw, _ANY, what)


def is_object(raw: msgspec.Raw) -> bool:
    """Whether a value is an object."""
    return memoryview(raw)[:1].tobytes() == b"{"


def is_list(raw: msgspec.Raw) -> bool:
    """Whether a value is an array."""
    return memoryview(raw)[:1].tobytes() == b"["


def is_text(raw: msgspec.Raw) -> bool:
    """Whether a value is a string."""
    return memoryview(raw)[:1].tobytes() == b'"'


def present(fields: Fields | None, *names: str) -> msgspec.Raw | None:
    """The first of the named values that is there and is not ``null``."""
    if fields is not None:
        for name in names:
            if name in fields:
                raw = fields[name]
                if len(memoryview(raw)) != 4 or bytes(raw) != b"null":
                    return raw
    return None


def text_of(fields: Fields | None, *names: str) -> str | None:
    """The first of the named values, as a string.

    Raises:
        ValueError: it is not one.
    """
    raw = present(fields, *names)
    return None if raw is None else decode_text(raw, names[0])


def word_of(fields: Fields | None, name: str) -> str | None:
    """A named value if it is a string; ``None`` for anything else."""
    raw = present(fields, name)
    return decode_text(raw, name) if raw is not None and is_text(raw) else None


def id_of(fields: Fields | None, *names: str) -> str | None:
    """The first of the named values, an id: a string, or a whole number.

    Raises:
        ValueError: it is neither.
    """
    raw = present(fields, *names)
    return None if raw is None else str(decode(raw, _ID, names[0])) or None


def object_of(fields: Fields | None, name: str, what: str | None = None) -> Fields | None:
    """A named value, an object or a string that holds one; ``None`` for anything else.

    Raises:
        ValueError: it begins as an object and is none; the text names `what`, else `name`.
    """
    raw = present(fields, name)
    if raw is None:
        return None
    if is_object(raw):
        return decode_fields(raw, what or name)
    if is_text(raw):
        text = decode_text(raw, what or name).lstrip()
        if text.startswith("{"):
            return decode_fields(text.encode(), what or name)
    return None


def canonical(raw: msgspec.Raw, what: str, *, without: Sequence[str] = ()) -> str:
    """A JSON value as compact JSON in the log's key order.

    In an object, cache markers, ``null`` values and the keys in `without` are left out: the first
    two do not reach the model, so they must not make two prompts differ.

    Raises:
        ValueError: it is not JSON, or holds a number that no computer has.
    """
    return canonical_value(decode_value(raw, what), without=without)


def canonical_value(value: Any, *, without: Sequence[str] = ()) -> str:
    """The same of a value that is decoded already."""
    if isinstance(value, dict):
        dropped = {*CACHE_MARKERS, *without}
        value = {
            key: item for key, item in value.items() if item is not None and key not in dropped
        }
    return _ENCODER.encode(value).decode()


def complete(data: bytes) -> bytes:
    """The beginning of a long JSON line, made into valid JSON. Text that is cut off becomes empty,
    other things that are cut off are left out.

    >>> complete(b'{"a": [1, {"b": "c", "d": "e')
    b'{"a": [1, {"b": "c", "d": ""}]}'
    """
    closers = bytearray()
    end, closing, before = 0, b"", b""
    for token in _JSON_TOKEN.finditer(data):
        text = token[0]
        if text == b'"':
            # A text without an end; as a key it goes.
            if before == b":":
                end, closing = token.end(), b'"' + closers[::-1]
            break
        if text in (b"{", b"["):
            closers += b"}" if text == b"{" else b"]"
        elif text in (b"}", b"]"):
            del closers[-1:]
        # What stands before a comma is whole; so is an object or array once it is open or closed.
        if text in (b"{", b"[", b"}", b"]"):
            end, closing = token.end(), bytes(closers[::-1])
        elif text == b",":
            end, closing = token.start(), bytes(closers[::-1])
        before = text
        if not closers:
            break
    return data[:end] + closing

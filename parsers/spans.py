"""Spans and events as tracers record them, whatever file they were written to.

`span_files` finds them in files; `span_facts` says what their attributes mean.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache

import msgspec

from forkpoint.parsers.logs import Line
from forkpoint.parsers.raw_json import (
    Fields,
    decode,
    decode_fields,
    decode_list,
    decode_text,
    is_list,
    is_object,
    is_text,
)

Numbered = dict[int, Fields]
"""The elements of a list that was flattened into attributes, by their number."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_NANOSECOND = 253_402_300_800 * 10**9
"""The end of the year 9999."""

_NUMBERED = re.compile(
    r"(llm\.(?:input_messages|output_messages|tools|prompts|choices|request\.functions)"
    r"|gen_ai\.(?:prompt|completion))\.(\d{1,9})\.(.+)",
    re.DOTALL,
)
_NESTED = ("gen_ai", "llm", "openinference", "ai", "session")
"""Beginnings of attribute names; where one is an attribute of its own, all are nested in objects."""
_NULL = msgspec.Raw(b"null")
_WHOLE = re.compile(rb'"?(-?\d+)"?')


class AnyValue(msgspec.Struct, rename="camel"):
    """OTLP's ``AnyValue``: one of these is there."""

    string_value: msgspec.Raw = msgspec.Raw()
    int_value: msgspec.Raw = msgspec.Raw()
    double_value: msgspec.Raw = msgspec.Raw()
    bool_value: msgspec.Raw = msgspec.Raw()
    array_value: msgspec.Raw = msgspec.Raw()
    kvlist_value: msgspec.Raw = msgspec.Raw()
    bytes_value: msgspec.Raw = msgspec.Raw()


class KeyValue(msgspec.Struct):
    """An OTLP attribute."""

    key: str
    value: AnyValue | None = None


class _Values(msgspec.Struct):
    values: list[AnyValue | None] | None = None


class _KeyValues(msgspec.Struct):
    values: list[KeyValue] | None = None


_VALUES = msgspec.json.Decoder(_Values)
_KEY_VALUES = msgspec.json.Decoder(_KeyValues)
_ATTRIBUTE_LIST = msgspec.json.Decoder(list[KeyValue])
_NUMBER = msgspec.json.Decoder(int | float | str)
_HR_TIME = msgspec.json.Decoder(tuple[int, int])


def plain_value(value: AnyValue | None) -> msgspec.Raw:
    """An OTLP ``AnyValue`` as the JSON value it stands for; an empty one is ``null``.

    Raises:
        ValueError: it is none.
    """
    if value is None:
        return _NULL
    if value.string_value:
        return value.string_value
    if value.int_value:
        found = _WHOLE.fullmatch(bytes(value.int_value))
        if found is None:
            raise ValueError("intValue: not a whole number")
        return msgspec.Raw(found[1])
    for each in (value.double_value, value.bool_value, value.bytes_value):
        if each:
            return each
    if value.array_value:
        items = decode(value.array_value, _VALUES, "arrayValue").values or ()
        return msgspec.Raw(b"[" + b",".join(bytes(plain_value(each)) for each in items) + b"]")
    if value.kvlist_value:
        pairs = decode(value.kvlist_value, _KEY_VALUES, "kvlistValue").values or ()
        return json_object({pair.key: plain_value(pair.value) for pair in pairs})
    return _NULL


def json_object(fields: Fields) -> msgspec.Raw:
    """The JSON object that has these fields."""
    inside = [_key(name) + bytes(raw) for name, raw in fields.items()]
    return msgspec.Raw(b"{" + b",".join(inside) + b"}")


@lru_cache(maxsize=4096)
def _key(name: str) -> bytes:
    return msgspec.json.encode(name) + b":"


class Attributes:
    """Attributes of a span, an event or a resource, decoded when somebody asks for them."""

    __slots__ = ("_numbered", "_values")

    def __init__(self, values: Mapping[str, msgspec.Raw | AnyValue | None]) -> None:
        self._values = values
        self._numbered: dict[str, Numbered] | None = None

    @classmethod
    def of_list(cls, pairs: Iterable[KeyValue] | None) -> Attributes:
        """Attributes as OTLP has them."""
        return cls({pair.key: pair.value for pair in pairs or ()})

    @classmethod
    def of_json(cls, raw: msgspec.Raw | None) -> Attributes:
        """Attributes as an object, flat or nested at the dots of their names, or as OTLP has them.

        Raises:
            ValueError: they are none of these.
        """
        if not raw or bytes(memoryview(raw)[:4]) == b"null":
            return cls({})
        if is_list(raw):
            return cls.of_list(decode(raw, _ATTRIBUTE_LIST, "attributes"))
        fields = decode_fields(raw, "attributes")
        if any(name in fields for name in _NESTED):
            fields = _flat(fields, "")
        return cls(fields)

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def has_prefix(self, *prefixes: str) -> bool:
        """Whether any name begins so."""
        return any(name.startswith(prefixes) for name in self._values)

    def raw(self, *names: str) -> msgspec.Raw | None:
        """The first of the named values that is there and not ``null``, as plain JSON.

        Raises:
            ValueError: it is no attribute value.
        """
        values = self._values
        for name in names:
            if name in values:
                value = values[name]
                raw = value if isinstance(value, msgspec.Raw) else plain_value(value)
                if len(memoryview(raw)) != 4 or bytes(raw) != b"null":
                    return raw
        return None

    def text(self, *names: str) -> str | None:
        """The first of the named values, as a string; ``None`` for an empty one.

        Raises:
            ValueError: it is not one.
        """
        raw = self.raw(*names)
        return None if raw is None else decode_text(raw, names[0]) or None

    def word(self, *names: str) -> str | None:
        """The first of the named values if it is a string; ``None`` for anything else."""
        raw = self.raw(*names)
        return decode_text(raw, names[0]) or None if raw is not None and is_text(raw) else None

    def count(self, *names: str) -> int | None:
        """The first of the named values, as a whole number from 0; some writers have it as a text.

        Raises:
            ValueError: it is not one.
        """
        raw = self.raw(*names)
        if raw is None:
            return None
        value: int | float | str = decode(raw, _NUMBER, names[0])
        number = -1
        if isinstance(value, str):
            number = int(value) if value.isdecimal() and len(value) < 20 else -1
        elif value == value // 1:
            number = int(value)
        if not 0 <= number <= 2**53:
            raise ValueError(
                f"{names[0]}: not a count: {bytes(raw)[:40].decode('utf-8', 'replace')}"
            )
        return number

    def amount(self, *names: str) -> float | None:
        """The first of the named values, as a number from 0 to a billion.

        Raises:
            ValueError: it is not one.
        """
        raw = self.raw(*names)
        if raw is None:
            return None
        try:
            number = float(decode(raw, _NUMBER, names[0]))
        except (ValueError, OverflowError):
            number = -1.0
        if not 0 <= number < 1e9:
            raise ValueError(f"{names[0]}: not an amount")
        return number

    def json(self, *names: str) -> msgspec.Raw | None:
        """The first of the named values: as it is, or, where it is a text that begins like an object
        or a list, what that holds.

        Raises:
            ValueError: it is no attribute value.
        """
        raw = self.raw(*names)
        return None if raw is None else unpacked(raw, names[0])

    def numbered(self, prefix: str) -> Numbered:
        """The elements of a flattened list: what stands behind ``prefix.N.`` in the names."""
        if self._numbered is None:
            self._numbered = {}
            for name, value in self._values.items():
                found = _NUMBERED.fullmatch(name)
                if found is not None:
                    group = self._numbered.setdefault(found[1], {})
                    raw = value if isinstance(value, msgspec.Raw) else plain_value(value)
                    group.setdefault(int(found[2]), {})[found[3]] = raw
        return self._numbered.get(prefix, {})


def unpacked(raw: msgspec.Raw, what: str) -> msgspec.Raw:
    """A value, or what a text holds that begins like a JSON object or list; whether it is one shows
    when it is decoded.

    Raises:
        ValueError: a text cannot be decoded.
    """
    if not is_text(raw):
        return raw
    text = decode_text(raw, what).strip()
    return msgspec.Raw(text.encode()) if text.startswith(("{", "[")) else raw


def _flat(fields: Fields, prefix: str) -> Fields:
    """Objects in objects as one object with dotted names. Lists stay as they are."""
    found: Fields = {}
    for name, raw in fields.items():
        if is_object(raw):
            found |= _flat(decode_fields(raw, name), f"{prefix}{name}.")
        else:
            found[prefix + name] = raw
    return found


@dataclass(slots=True)
class SpanEvent:
    """Something that happened within a span: a message that was sent, an error."""

    name: str
    attributes: Attributes
    body: msgspec.Raw | None = None
    """A log record's body, as plain JSON."""


@dataclass(slots=True)
class Span:
    """A span; or a log record, which has a moment instead of a duration and an `event`."""

    place: Line
    trace: str | None
    """OTLP trace id, in hex."""
    id: str | None
    """Span id, in hex; of a log record, the id of the span in which it was made."""
    parent: str | None
    name: str
    scope: str | None
    """The instrumentation library."""
    resource: Attributes
    attributes: Attributes
    start_ns: int | None = None
    end_ns: int | None = None
    """Nanoseconds since 1970."""
    failed: bool = False
    events: list[SpanEvent] = field(default_factory=list)
    event: SpanEvent | None = None


def hex_id(text: str | None) -> str | None:
    """A trace or span id as writers have it (hex, ``0x``, base64), in hex; ``None`` for no id."""
    if not text:
        return None
    if text.startswith("0x"):
        text = text[2:]
    elif text.endswith("=") and len(text) in (12, 24):
        try:
            text = base64.b64decode(text, validate=True).hex()
        except binascii.Error:
            return text
    return text if text.strip("0") else None


def nanoseconds(raw: msgspec.Raw | None, what: str) -> int | None:
    """A time: ISO 8601, ``[seconds, nanoseconds]``, or a number since 1970 whose unit its size tells.
    A time without a zone is UTC; 0 is none.

    Raises:
        ValueError: it is none of these, or after 9999.
    """
    if raw is None or bytes(raw) == b"null":
        return None
    if is_list(raw):
        seconds, rest = decode(raw, _HR_TIME, what)
        return _checked(seconds * 10**9 + rest, what)
    value = decode(raw, _NUMBER, what)
    if isinstance(value, str):
        if not value.isdecimal():
            return _checked(_iso_nanoseconds(value, what), what)
        value = int(value[:20])
    return _checked(_scaled(value), what)


def _scaled(value: float) -> int:
    for limit, unit in ((1e11, 10**9), (1e14, 10**6), (1e17, 10**3)):
        if value < limit:
            return int(value * unit)
    return int(value) if value < 1e20 else -1


def _iso_nanoseconds(text: str, what: str) -> int:
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        raise ValueError(f"{what}: not a time: {text[:40]}") from None
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
    return (moment - _EPOCH) // timedelta(microseconds=1) * 1000


def _checked(value: int, what: str) -> int | None:
    if not 0 <= value < _LAST_NANOSECOND:
        raise ValueError(f"{what}: not a time")
    return value or None


def moment(nanoseconds: int | None) -> datetime | None:
    """The moment so many nanoseconds after the beginning of 1970."""
    return None if nanoseconds is None else _EPOCH + timedelta(microseconds=nanoseconds // 1000)


def elements_of(raw: msgspec.Raw | None, what: str) -> list[msgspec.Raw]:
    """A list's elements, those that are texts with JSON in them unpacked; a single thing is a list
    of one.

    Raises:
        ValueError: it begins as a list and is none.
    """
    if raw is None:
        return []
    return [unpacked(each, what) for each in decode_list(raw, what)] if is_list(raw) else [raw]


def log_record(
    record: Line,
    ids: tuple[str | None, str | None],
    name: str | None,
    body: msgspec.Raw | None,
    attributes: Attributes,
    resource: Attributes,
    scope: str | None,
    time: int | None,
) -> Span:
    """A log record as an event of the span in which it was made.

    Args:
        ids: OTLP trace id and span id.
        name: the event's name; else an attribute has it, or the body.
    """
    name = name or attributes.word("event.name")
    if name is None and body is not None and is_text(body):
        name = decode_text(body, "body")
    return Span(
        place=record,
        trace=hex_id(ids[0]),
        id=hex_id(ids[1]),
        parent=None,
        name=name or "",
        scope=scope,
        resource=resource,
        attributes=attributes,
        end_ns=time,
        event=SpanEvent(name or "", attributes, body),
    )

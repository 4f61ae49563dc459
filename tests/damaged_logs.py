"""What must hold of any log however it is put down, cut off or damaged: checks for parser tests.

They take a `Sample`: a log that its parser reads without issues. What may be expected of a part of
it follows from its `Form`.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from contextlib import suppress
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from damaged_containers import (
    in_other_order,
    put_somewhere,
    shuffle_somewhere,
    with_other_types,
)
from hypothesis import strategies as st
from recording_tree import Parsed, RecordingTree, parse_file, parse_tail

from forkpoint.parsers.base import Parser, Reread
from forkpoint.parsers.logs import HEAD_BYTES, Head, UnreadableLog, read_head
from forkpoint.parsers.records import Call

MAX_SPOTS = 8
"""Bytes that are damaged at once."""


class Form(StrEnum):
    """What a log is made of."""

    LINES = "lines"
    """JSON values, one a line."""
    DOCUMENT = "document"
    """One JSON value. Its parser reads it whole, so that it does not declare that it `grows`."""
    TEXT = "text"
    """Records of another kind, such as CSV."""
    BINARY = "binary"
    """SQLite, Parquet, zip, pickles."""


@cache
def form_of(path: Path, grows: bool) -> Form:
    """The form of a log, by its parser's declaration and its own bytes."""
    try:
        text = path.read_bytes().decode()
    except UnicodeDecodeError:
        return Form.BINARY
    if "\0" in text:
        return Form.BINARY
    if not grows and _is_json(text):
        return Form.DOCUMENT
    return Form.LINES if all(map(_is_json, text.splitlines())) else Form.TEXT


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


class Sample(NamedTuple):
    """A log, its parser, and the folder that holds all that lies beside it."""

    parser: Parser
    folder: Path
    path: Path
    mixed: bool = False
    """The format has logs of another form, too."""

    @property
    def form(self) -> Form:
        return form_of(self.path, self.parser.grows)

    @property
    def content(self) -> bytes:
        return self.path.read_bytes()

    @property
    def whole(self) -> Parsed:
        return _read_whole(self.parser, self.path)

    def copied(self, scratch: Path) -> Path:
        """The log in a copy of its folder, so that what lies beside it is there too."""
        copy = scratch / self.parser.name
        if not copy.exists():
            shutil.copytree(self.folder, copy)
        return copy / self.path.relative_to(self.folder)

    def parsed_as(self, data: bytes, scratch: Path) -> Parsed:
        """What the parser reads where the log's bytes are others. It is also asked whose it is."""
        copy = self.copied(scratch)
        copy.write_bytes(data)
        try:
            with suppress(UnreadableLog):
                self.parser.identify(read_head(copy))
            return parse_file(self.parser, copy)
        finally:
            copy.write_bytes(self.content)

    def is_claimed(self, data: bytes) -> bool:
        """Whether the parser would be given a file that begins like this."""
        return self.parser.identify(Head(self.path, data[:HEAD_BYTES])) is not None


@cache
def _read_whole(parser: Parser, path: Path) -> Parsed:
    return parse_file(parser, path)


def places(calls: list[Call]) -> list[tuple[int, int]]:
    """Where the calls stand, in order."""
    return [(call.line, call.offset) for call in calls]


# --- The same log, otherwise put down -----------------------------------------------------------


class Read(NamedTuple):
    """What must be the same of a call, however its log is put down."""

    prompt: str
    completion: str | None
    output_tokens: int | None


def fullest(calls: list[Call], tree: RecordingTree) -> dict[Any, Read]:
    """Calls by identity; of several copies, as everywhere, that with most output."""
    found: dict[Any, Read] = {}
    for number, call in enumerate(calls):
        output = call.usage.output_tokens if call.usage else None
        completion = None if call.completion is None else tree.hash_of(call.completion)
        read = Read(tree.hash_of(call.prompt), completion, output)
        key = (call.identity, call.request) if call.identity else number
        if key not in found or (found[key].output_tokens or -1) < (output or -1):
            found[key] = read
    return found


def check_compressed(sample: Sample, compress: Callable[[bytes], bytes], scratch: Path) -> None:
    """A compressed log gives the same calls."""
    parsed = sample.parsed_as(compress(sample.content), scratch)
    assert parsed.issues == []
    whole = sample.whole
    assert fullest(parsed.calls, parsed.tree) == fullest(whole.calls, whole.tree)


def check_grown(sample: Sample, n_lines: int, scratch: Path) -> None:
    """A log whose first lines were read before the others came gives the calls of one read whole."""
    copy = sample.copied(scratch)
    lines = sample.content.splitlines(keepends=True)
    copy.write_bytes(b"".join(lines[:n_lines]))
    before = parse_file(sample.parser, copy)
    copy.write_bytes(sample.content)
    try:
        after = parse_tail(sample.parser, before)
    except Reread:
        return
    assert after.issues == []
    whole = sample.whole
    calls = fullest([*before.calls, *after.calls], after.tree)
    assert calls == fullest(whole.calls, whole.tree)


# --- Damaged logs -------------------------------------------------------------------------------


def damaged(sample: Sample, data: bytes, scratch: Path) -> Parsed:
    """Read damaged data, and check that each issue says in one line where it stands."""
    parsed = sample.parsed_as(data, scratch)
    starts = [0]
    for line in data.split(b"\n"):
        starts.append(starts[-1] + len(line) + 1)
    # Many parsers read lists, too, and go by the first byte; there a record's number is its line.
    lines = sample.form is Form.LINES and data[:1] == sample.content[:1]
    for issue in parsed.issues:
        assert issue.reason and "\n" not in issue.reason
        assert issue.line >= 1 and issue.offset >= 0
        if lines:
            assert issue.offset == starts[issue.line - 1]
    return parsed


def check_cut_off(sample: Sample, cut: int, scratch: Path) -> None:
    """A log that ends after `cut` bytes claims no more than the whole, and loses nothing silently."""
    content, whole = sample.content, sample.whole
    parsed = damaged(sample, content[:cut], scratch)
    assert len(parsed.calls) <= len(whole.calls)
    if sample.form is Form.LINES:
        _check_lines_before(content[:cut], parsed, whole)
    elif sample.mixed and not sample.is_claimed(content[:cut]):
        # Too little is left to tell which form it has. Nobody claims such a file, so that it is
        # never read but counted as of no known format.
        return
    elif sample.form is Form.DOCUMENT:
        assert len(parsed.issues) == (cut < len(content.rstrip()))
    elif sample.form is Form.BINARY:
        assert parsed.issues or len(parsed.calls) == len(whole.calls)


def _check_lines_before(content: bytes, parsed: Parsed, whole: Parsed) -> None:
    last_line = content.count(b"\n") + 1
    assert [issue.line for issue in parsed.issues] in ([], [last_line])
    before = [place for place in places(whole.calls) if place[0] < last_line]
    assert places(parsed.calls)[: len(before)] == before
    assert set(places(parsed.calls)) <= set(places(whole.calls))


def check_other_types(sample: Sample, data: st.DataObject, scratch: Path) -> None:
    """Values of other types, wherever a log has values, end no file and raise nothing."""
    if sample.form in (Form.TEXT, Form.BINARY):
        damaged(sample, with_other_types(sample.content, data), scratch)
        return
    lines = sample.form is Form.LINES
    records = sample.content.splitlines(keepends=True) if lines else [sample.content]
    for number in data.draw(st.lists(st.integers(0, len(records) - 1), min_size=1, max_size=4)):
        record = put_somewhere(json.loads(records[number]), data)
        records[number] = json.dumps(record).encode() + b"\n"
    damaged(sample, b"".join(records), scratch)


def check_other_order(sample: Sample, data: st.DataObject, scratch: Path) -> None:
    """Records in another order, some of them twice, are records all the same."""
    if sample.form is Form.DOCUMENT:
        changed = json.dumps(shuffle_somewhere(json.loads(sample.content), data)).encode()
    else:
        changed = in_other_order(sample.content, data)
    parsed = damaged(sample, changed, scratch)
    if sample.form is Form.LINES:
        assert parsed.issues == []


def check_damaged_bytes(sample: Sample, data: st.DataObject, scratch: Path) -> None:
    """A few other bytes raise nothing and make few calls out of none."""
    content = bytearray(sample.content)
    spots = st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=MAX_SPOTS)
    for spot in data.draw(spots, label="spots"):
        content[spot] = data.draw(st.integers(0, 255))
    parsed = damaged(sample, bytes(content), scratch)
    # A byte can part copies of one call (its id, a mark that it is a copy), and no more.
    assert len(parsed.calls) <= len(sample.whole.calls) + MAX_SPOTS

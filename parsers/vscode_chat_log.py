"""The change log that VS Code keeps of a chat session: ``chatSessions/<session>.jsonl``.

The first line is the whole session, each other one a change to it (src/vs/workbench/contrib/chat/
common/model/objectMutationLog.ts of github.com/microsoft/vscode, read at 00817b7):

- ``{"kind": 0, "v": session}``.
- ``{"kind": 1, "k": path, "v": value}`` puts a value in its place; ``kind`` 3 takes it away.
- ``{"kind": 2, "k": path, "v": [value, …], "i": n}`` appends to a list that is cut to ``n`` before.

A request is appended when it is sent, and has its answer put into it by later lines. When requests are
taken back, the list is cut: they were answered and billed all the same, so they are kept here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from forkpoint.parsers.logs import BAD_RECORD, Line
from forkpoint.parsers.raw_json import decode, decode_value
from forkpoint.parsers.records import Issue

_INITIAL, _SET, _PUSH, _DELETE = range(4)
_REQUESTS = "requests"

Path = Sequence[str | int]


class _Entry(msgspec.Struct):
    kind: int
    v: msgspec.Raw = msgspec.Raw()
    k: list[str | int] = []
    i: int | None = None


_ENTRY = msgspec.json.Decoder(_Entry)


class LoggedRequest:
    """A request of the session, as the newest change left it."""

    __slots__ = ("answered", "before", "fields", "place")

    def __init__(self, fields: Any, place: Line, before: LoggedRequest | None) -> None:
        self.fields: Any = fields
        self.place = place
        """The line that holds its answer or, as long as there is none, that it was appended by."""
        self.before = before
        """The request that stood before it when it was sent."""
        self.answered = False
        self.note_answer(place)

    def note_answer(self, line: Line) -> None:
        """Whether a change was the answer."""
        if not self.answered and isinstance(self.fields, dict) and self.fields.get("result"):
            self.answered, self.place = True, line


class ChangeLog:
    """A session, change by change."""

    def __init__(self) -> None:
        self.session: dict[str, Any] = {}
        """All fields but the requests."""
        self.requests: list[LoggedRequest] = []
        """Every request there ever was, in the order in which they were sent."""
        self._now: list[LoggedRequest] = []
        """Those that the session has now."""

    def read(self, lines: Iterator[Line | Issue]) -> Iterator[Issue]:
        """Apply all lines, and yield an issue for each one that cannot be read or applied."""
        entries: list[tuple[_Entry, Line]] = []
        for line in lines:
            if isinstance(line, Issue):
                yield line
                continue
            place = Line(b"", line.line, line.offset)
            try:
                entry = decode(line.data, _ENTRY)
            except BAD_RECORD as error:
                yield place.issue(error)
                continue
            entries.append((entry, place))
        # Changes to what a damaged line was to bring wait until all others have been made.
        late: list[tuple[_Entry, Line]] = []
        beginning = next((each for each in entries if each[0].kind == _INITIAL), None)
        if beginning is not None:
            entries.remove(beginning)
            entries.insert(0, beginning)
        for entry, place in entries:
            if beginning is not None and entry is not beginning[0] and entry == beginning[0]:
                continue  # a line may stand in a file twice
            try:
                if not self._apply(entry, place):
                    late.append((entry, place))
            except BAD_RECORD as error:
                yield place.issue(error)
        for entry, place in late:
            try:
                if not self._apply(entry, place):
                    yield place.issue("a change to something that is not there")
            except BAD_RECORD as error:
                yield place.issue(error)

    def _apply(self, entry: _Entry, line: Line) -> bool:
        """Make a change; false if what it changes is not there.

        Raises:
            ValueError: its value is not what it should be.
        """
        value = decode_value(entry.v, "v") if entry.v else None
        if entry.kind == _INITIAL:
            session: dict[str, Any] = msgspec.convert(value, dict)
            self._now = []
            self._append(session.pop(_REQUESTS, None) or [], line)
            self.session = session
            return True
        if entry.kind not in (_SET, _PUSH, _DELETE) or not entry.k:
            return True  # newer versions may have other changes
        if entry.k[0] != _REQUESTS:
            if len(entry.k) == 1 and entry.kind != _PUSH:
                self.session[str(entry.k[0])] = value
            return True  # drafts of what a person is about to send
        if len(entry.k) == 1:
            self._cut(0 if entry.kind != _PUSH else entry.i)
            self._append(value or [], line)
            return True
        return self._change(entry, value, line)

    def _append(self, requests: Any, line: Line) -> None:
        given: list[Any] = msgspec.convert(requests, list)
        for fields in given:
            before = self._now[-1] if self._now else None
            self._now.append(LoggedRequest(fields, line, before))
        self.requests += self._now[len(self._now) - len(given) :]

    def _cut(self, length: int | None) -> None:
        if length is not None:
            del self._now[max(length, 0) :]

    def _change(self, entry: _Entry, value: Any, line: Line) -> bool:
        """Change one request, or something in it."""
        number, *path = entry.k[1:]
        if not isinstance(number, int) or not 0 <= number < len(self._now):
            return False
        if not path:
            before = self._now[number].before
            self._now[number] = LoggedRequest(value, line, before)
            self.requests.append(self._now[number])
            return True
        request = self._now[number]
        changed = _change(request.fields, path, entry, value)
        request.note_answer(line)
        return changed


def _change(inside: Any, path: Path, entry: _Entry, value: Any) -> bool:
    for key in path[:-1]:
        inside = _item(inside, key)
    last = path[-1]
    if entry.kind == _PUSH:
        inside = _list_at(inside, last)
        if inside is None:
            return False
        if entry.i is not None:
            del inside[max(entry.i, 0) :]
        inside += value if isinstance(value, list) else []
        return True
    if isinstance(inside, dict):
        inside[last] = value
        return True
    if isinstance(inside, list) and isinstance(last, int) and 0 <= last <= len(inside):
        inside[last : last + 1] = [value]
        return True
    return False


def _item(inside: Any, key: str | int) -> Any:
    if isinstance(inside, dict):
        return inside.get(key)
    if isinstance(inside, list) and isinstance(key, int) and 0 <= key < len(inside):
        return inside[key]
    return None


def _list_at(inside: Any, key: str | int) -> list[Any] | None:
    """A list to append to; a new one where there is none yet."""
    found = _item(inside, key)
    if found is None and isinstance(inside, dict):
        found = inside[key] = []
    return found if isinstance(found, list) else None

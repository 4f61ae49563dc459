"""Rows that a platform exported: JSON Lines, a JSON list, a list in an API's answer, or CSV.

All of these are read, whatever the file is called:

- one object a line;
- a list of objects;
- a page of an API, ``{"data": [object, …], …}``, on one line or indented, and a page a line;
- one object, on one line or indented;
- CSV with a line of names: a row becomes an object of texts, an empty field is missing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from itertools import chain, islice

import msgspec

from forkpoint.parsers.csv_rows import CsvRows, header_of
from forkpoint.parsers.document import head_fields, read_document
from forkpoint.parsers.json_list import elements, first_element, list_elements
from forkpoint.parsers.logs import BAD_RECORD, Head, Line, Log, read_each
from forkpoint.parsers.raw_json import Fields, decode_fields, decode_list, is_list, present
from forkpoint.parsers.records import Issue, Record

_LISTS = ("data", "runs", "items", "observations", "results")
"""What APIs call the rows of a page."""
_PAGE_BEGINS = re.compile(rb'\s*+\{\s*+"(?:data|runs|items|observations|results)"\s*+:\s*+\[')
_SPLIT_OBJECT = re.compile(rb"\s*+\{[ \t]*+\r?\n")


def export_rows(log: Log) -> Iterator[Line | Issue]:
    """Yield a file's rows, each as one JSON object with its place: the line it begins in, or its
    number in a list."""
    head = log.head()
    if isinstance(head, Issue):
        yield head
        return
    begins = head.data.lstrip()[:1]
    if begins == b"[":
        yield from list_elements(log)
    elif _SPLIT_OBJECT.match(head.data):
        yield from _of_document(log)
    elif begins != b"{" and header_of(head.data):
        yield from _of_csv(log)
    else:
        yield from _of_lines(log)


def parsed_rows(log: Log, read: Callable[[Line], Iterable[Record]]) -> Iterator[Record]:
    """Yield what `read` makes of each row, all of it or an issue."""

    def read_here(row: Line) -> Iterable[Record]:
        log.offset = row.offset
        return read(row)

    return read_each(export_rows(log), read_here)


def _of_lines(log: Log) -> Iterator[Line | Issue]:
    lines = log.lines()
    begin = list(islice(lines, 2))
    if len(begin) == 1 and isinstance(begin[0], Line) and _PAGE_BEGINS.match(begin[0].data):
        yield from _of_page(begin[0])
        return
    for line in chain(begin, lines):
        if isinstance(line, Line) and _PAGE_BEGINS.match(line.data):
            yield from (_placed(row, line) for row in _of_page(line))
        else:
            yield line


def _placed(row: Line | Issue, line: Line) -> Line | Issue:
    """A row of one of several pages has the place of its page."""
    return Line(row.data, line.line, line.offset) if isinstance(row, Line) else row


def _of_document(log: Log) -> Iterator[Line | Issue]:
    document = read_document(log)
    if isinstance(document, Line) and _PAGE_BEGINS.match(document.data):
        yield from _of_page(document)
    else:
        yield document


def _of_page(page: Line) -> Iterator[Line | Issue]:
    """The rows of a page, by their number in it."""
    try:
        raws = decode_list(_page_list(decode_fields(page.data)), "page")
    except BAD_RECORD as error:
        yield page.issue(error)
    else:
        yield from elements(page.data, raws)


def _page_list(fields: Fields) -> msgspec.Raw:
    for name in _LISTS:
        raw = present(fields, name)
        if raw is not None and is_list(raw):
            return raw
    return msgspec.Raw(b"[]")


def _of_csv(log: Log) -> Iterator[Line | Issue]:
    rows = CsvRows(log.path)
    for row in rows:
        log.end = rows.end
        if isinstance(row, Issue):
            yield row
            continue
        place, values = row
        given = {name: value for name, value in values.items() if value != ""}
        yield Line(msgspec.json.encode(given), place.line, place.offset)


@lru_cache(maxsize=1)  # several parsers ask in turn
def first_row(head: Head) -> Fields:
    """The fields of a file's first row, as far as the head of the file shows them; the columns of a
    CSV file with empty texts; none for a file of another shape."""
    names = header_of(head.data)
    if names:
        return dict.fromkeys(names, msgspec.Raw(b'""'))
    element = first_element(head)
    if isinstance(element, dict):
        return _unpaged(_fields(element))
    try:
        return _unpaged(decode_fields(head.lines[0]))
    except (*BAD_RECORD, IndexError):
        return _unpaged(head_fields(head))  # The first object takes several lines, or is cut.


def _fields(value: dict[str, object]) -> Fields:
    return {name: msgspec.Raw(msgspec.json.encode(each)) for name, each in value.items()}


def _unpaged(fields: Fields) -> Fields:
    """The first row of a page; any other object is a row itself."""
    first = next(iter(fields), "")
    if first in _LISTS and is_list(fields[first]):
        rows = decode_list(fields[first], first)
        try:
            return decode_fields(rows[0], first) if rows else {}
        except BAD_RECORD:
            return {}
    return fields

r"""vLLM server logs: the lines that its request logger writes among all others.

With ``--enable-log-requests`` (by default until 0.10) a server writes, of each request:

- ``Received request ID: prompt: 'text', params: SamplingParams(…), prompt_token_ids: [1, 2], …``;
- newer servers ``Received request ID: params: …`` and, when debugging, ``Request ID details: prompt:
  'text', prompt_token_ids: [1, 2], …``;
- with ``--enable-log-outputs``, ``Generated response ID: output: 'text', output_token_ids: [3, 4],
  finish_reason: stop``, with ``(streaming delta)`` or ``(streaming complete)`` behind the id of a
  streamed one.

What to know about them:

- Texts are Python literals, so a request is one line whatever it holds. Other lines are passed over;
  one of these that cannot be read is an issue.
- Where a prompt's ids were logged they count. A text beside ids is the same sequence as text. Pieces of a stream are passed over, as its end repeats them.
- A request with several responses has several choices: rollouts of one prompt.
- A request of which neither prompt nor response was logged says nothing here.
- Lines have no year: a time becomes one in 1972 (a leap year), good for order and distance, not as a
  date. The model, the usage and what the prefix cache held are not logged for requests.
- ``--max-log-len`` cuts texts and lists of ids, and does not say so.

https://github.com/vllm-project/vllm 01ff126 and later (``vllm/entrypoints/logger.py``)
"""

from __future__ import annotations

import hashlib
import re
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated, ClassVar

import msgspec

from forkpoint.parsers.base import Tree
from forkpoint.parsers.logs import BAD_RECORD, Head, Line, Log
from forkpoint.parsers.raw_json import decode
from forkpoint.parsers.records import Call, Issue, Record, Trace
from forkpoint.parsers.served_content import (
    Content,
    output_node,
    prompt_node,
    text_node,
    text_start,
)

MAX_OPEN = 1 << 16
"""Requests that wait for their responses; older ones are taken as they are."""

_COLOUR = re.compile(rb"\x1b\[[0-9;]*m")
_EVENT = re.compile(
    rb"(?P<before>[^{\"']{0,256}?)"
    rb"(?:Received request (?P<received>\S{1,256}): (?:prompt: (?P<old>.)|params: )"
    rb"|Request (?P<detailed>\S{1,256}) details: prompt: "
    rb"|Generated response (?P<answered>\S{1,256})(?: \(streaming (?P<stream>\w+)\))?: output: )"
)
_STAMP = re.compile(rb"(?:(\d{4})-)?(\d\d)-(\d\d) (\d\d):(\d\d):(\d\d)(?:[.,](\d{1,6}))?(?=[ \]])")
_TEXT = re.compile(rb"None|'(?:[^'\\]|\\.)*+'|\"(?:[^\"\\]|\\.)*+\"")
_ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|.|$)", re.DOTALL)
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "\\": "\\", "'": "'", '"': '"'}
"""What ``repr`` writes."""
_IDS = rb"(None|\[[\d, ]*+\]|\([\d, ]*+\)|array\('[a-zA-Z]', \[[\d, ]*+\]\))"
_PROMPT_IDS = re.compile(rb", prompt_token_ids: " + _IDS)
_OUTPUT_IDS = re.compile(rb", output_token_ids: " + _IDS)
_ID_LIST = msgspec.json.Decoder(list[Annotated[int, msgspec.Meta(ge=0, lt=1 << 32)]])
_LEAP_YEAR = 1972
_MARKS = (b"Received request ", b" details: prompt: ", b"Generated response ")
_KNOWN_BY = re.compile(
    rb"(?m)^[^{\"'\n]{0,256}(?:INFO|DEBUG|\d\d:\d\d:\d\d)[^{\"'\n]{0,128}"
    rb"(?:Received request \S{1,256}: (?:prompt: |params: )"
    rb"|Request \S{1,256} details: prompt: |Generated response \S{1,256}[^:\n]{0,32}: output: )"
)


@dataclass
class _Request:
    """A request that was logged, and what it was answered."""

    key: str
    line: int
    offset: int
    started_at: datetime | None
    ended_at: datetime | None = None
    prompt: Content = field(default_factory=Content)
    outputs: list[Content] = field(default_factory=list)


class Vllm:
    """Reads vLLM's request logger; see the module's docstring."""

    name: ClassVar[str] = "vllm"
    title: ClassVar[str] = "vLLM request logs"
    checked: ClassVar[str] = "vLLM 0.6 to 0.16 (no real file), 2026-11"
    evidence: ClassVar[tuple[str, ...]] = ("text", "token ids", "timestamps")
    locations: ClassVar[tuple[str, ...]] = ()
    whole_prompts: ClassVar[bool] = True
    grows: ClassVar[bool] = False

    def identify(self, head: Head) -> str | None:
        """Why the file is of this format, or ``None``."""
        if any(mark in head.data for mark in _MARKS) and _KNOWN_BY.search(
            _COLOUR.sub(b"", head.data)
        ):
            return "lines of vLLM's request logger"
        return None

    def parse(self, log: Log, tree: Tree) -> Iterator[Record]:
        """Yield one call a request, in the order of their first lines, and a trace for the file."""
        waiting: OrderedDict[str, _Request] = OrderedDict()
        entering = _Entering(log, tree)
        for line in log.lines():
            if isinstance(line, Issue):
                yield line
                continue
            try:
                _note(line, waiting)
            except BAD_RECORD as error:
                yield line.issue(error)
            if len(waiting) > MAX_OPEN:
                yield from entering.records(waiting.popitem(last=False)[1])
        for request in waiting.values():
            yield from entering.records(request)


def _note(line: Line, waiting: OrderedDict[str, _Request]) -> None:
    """Note what a line says of a request.

    Raises:
        ValueError: it is one of the request logger's lines and cannot be read.
    """
    data = _COLOUR.sub(b"", line.data) if b"\x1b" in line.data else line.data
    if b"equest " not in data and b"Generated response " not in data:
        return
    event = _EVENT.match(data)
    if event is None or event["stream"] == b"delta":
        return
    key = _id(event["received"] or event["detailed"] or event["answered"])
    stamp = _moment(event["before"])
    request = waiting.get(key)
    if request is None:
        # The beginning of a log that was cut off has responses without requests.
        sent = None if event["answered"] else stamp
        request = waiting.setdefault(key, _Request(key, line.line, line.offset, sent))
    if event["answered"] is not None:
        request.ended_at = stamp
        request.outputs.append(_content(data, event.end(), _OUTPUT_IDS))
    elif event["detailed"] is not None:
        request.prompt = _content(data, event.end(), _PROMPT_IDS)
    elif event["old"] is not None:
        request.prompt = _content(data, event.start("old"), _PROMPT_IDS)


def _id(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")


def _content(data: bytes, start: int, ids: re.Pattern[bytes]) -> Content:
    """A Python literal, and the list of ids behind it.

    Raises:
        ValueError: there is no whole literal.
    """
    literal = _TEXT.match(data, start)
    if literal is None:
        raise ValueError("the text of a request is cut off")
    text = None if literal[0] == b"None" else _literal(literal[0])
    listed = ids.search(data, literal.end())
    if listed is None and b"token_ids: [" in data[literal.end() :]:
        raise ValueError("the token ids of a request are cut off")
    if listed is None or listed[1] == b"None":
        return Content(text)
    listed_ids = listed[1][listed[1].find(b"[") + 1 :].strip(b"()[], ")
    return Content(text, decode(b"[" + listed_ids + b"]", _ID_LIST, "token ids") or None)


def _literal(raw: bytes) -> str:
    """The string that a Python literal stands for.

    Raises:
        ValueError: it stands for none.
    """
    return _ESCAPE.sub(_unescaped, raw[1:-1].decode())


def _unescaped(found: re.Match[str]) -> str:
    escape = found[1]
    if len(escape) > 1:
        return chr(int(escape[1:], 16))
    if escape not in _ESCAPES:
        raise ValueError(f"not a Python string: \\{escape}")
    return _ESCAPES[escape]


def _moment(before: bytes) -> datetime | None:
    """The time that stands in front of a message."""
    found = _STAMP.search(before)
    if found is None:
        return None
    year, *rest, fraction = found.groups()
    month, day, hour, minute, second = map(int, rest)
    microsecond = int((fraction or b"0").ljust(6, b"0"))
    try:
        return datetime(
            int(year) if year else _LEAP_YEAR, month, day, hour, minute, second, microsecond, UTC
        )
    except ValueError:
        return None


class _Entering:
    """One file's requests on their way into the tree."""

    def __init__(self, log: Log, tree: Tree) -> None:
        self._log = log
        self._tree = tree
        self._trace = ""

    def records(self, request: _Request) -> Iterator[Record]:
        """The call that a request was, and its choices where there are several."""
        prompt, outputs = request.prompt, [each for each in request.outputs if each.logged]
        if not prompt.logged and not outputs:
            return
        start = prompt_node(self._tree, prompt, request.key)
        ends = [output_node(self._tree, prompt, each, start) for each in outputs]
        if not self._trace:
            self._trace = _file_name(request)
            yield Trace(id=self._trace, project=self._log.path.name)
        duration = None
        if request.started_at and request.ended_at and request.ended_at >= request.started_at:
            duration = (request.ended_at - request.started_at).total_seconds()
        yield Call(
            identity=("", request.key),
            trace=self._trace,
            line=request.line,
            offset=request.offset,
            prompt=start,
            completion=ends[0] if ends else None,
            text=text_node(self._tree, prompt, outputs[0] if outputs else None),
            text_start=text_start(prompt),
            started_at=request.started_at or request.ended_at,
            duration_s=duration,
        )
        if len(ends) > 1:
            group = self._tree.hash_of(start)
            for number, end in enumerate(ends):
                name = f"{request.key}/{number}"
                yield Trace(id=name, parent=self._trace, group=group, prompt=start, leaf=end)


def _file_name(request: _Request) -> str:
    """A name for a log that its copies share: by its first request."""
    return hashlib.sha256(f"vllm/{request.key}".encode()).hexdigest()[:32]

"""Sample logs of EleutherAI's LM Evaluation Harness: ``samples_<task>_<date>.jsonl``.

Row: ``{"doc_id": 0, "doc": {…}, "target": …, "arguments": {"gen_args_0": {"arg_0": prompt, "arg_1":
…}}, "resps": [[response, …]], "filtered_resps": […], "filter": name, "metrics": [name, …], "doc_hash",
"prompt_hash", "target_hash", <metric>: value}`` (github.com/EleutherAI/lm-evaluation-harness,
lm_eval/evaluator.py and lm_eval/loggers/evaluation_tracker.py). What to know about these logs:

- There is one row for each filter of a task: the same requests, read several times. The first row
  of a document counts, with its metric and its answer.
- ``arguments`` and ``resps`` have one entry a request, ``resps`` one a repeat within it. Text
  generation has its settings as ``arg_1``; each repeat is a call and a rollout.
- Where ``arg_1`` is text, its likelihood after ``arg_0`` was asked for (one request a choice): a
  call that reads both and generates nothing, so the document is no rollout. The response is the
  logarithm of the whole continuation's likelihood, and says nothing of its tokens.
- A prompt is one rendered text, or messages as a JSON text where a chat API was asked.
- The reward is the first metric that is a number. For several repeats it is what a filter made of
  them together (a majority, the first one), so it is nobody's.
- Neither tokens nor times are logged. A run names its folder after the model.
- Older versions (0.4.2 and before) wrote one indented list to a file of that name, and arguments
  as lists.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterator
from typing import Any, ClassVar, NamedTuple

import msgspec

from forkpoint.parsers.base import ROOT, Tree
from forkpoint.parsers.chat import message_segments
from forkpoint.parsers.document import first_record
from forkpoint.parsers.json_list import first_element, list_elements
from forkpoint.parsers.logs import (
    BAD_RECORD,
    HEAD_BYTES,
    Head,
    Line,
    Log,
    UnreadableLog,
    data_set_name,
    read_each,
    read_head,
)
from forkpoint.parsers.message_paths import MessagePaths
from forkpoint.parsers.raw_json import (
    decode,
    decode_fields,
    decode_list,
    decode_text,
    decode_value,
    is_list,
    is_object,
    is_text,
)
from forkpoint.parsers.records import Call, Issue, Kind, Record, Trace

_LIST_BEGINS = re.compile(rb"\s*+\[")
_FIELDS = frozenset(("doc_id", "doc", "resps", "filtered_resps"))
_FIRST_FIELDS = ("doc_id", "doc")
_DATED = re.compile(r"samples_(.+)_\d{4}-\d\d-\d\dT[\d.\-]+")
_CHAT = re.compile(r'\s*\[\s*\{\s*"(?:role|content)"')
_NO_ANSWER = "[invalid]"
"""What a filter gives that found no answer."""


class _Row(msgspec.Struct):
    doc_id: int | str
    arguments: msgspec.Raw
    resps: list[msgspec.Raw]
    filtered_resps: msgspec.Raw = msgspec.Raw()
    filter: str | None = None
    metrics: list[str] | None = None
    doc_hash: str | None = None


_ROW = msgspec.json.Decoder(_Row)
_NUMBER = msgspec.json.Decoder(float | bool)


class LmEval:
    """Reads the harness's sample logs; see the module's docstring."""

    name: ClassVar[str] = "lm-eval"
    title: ClassVar[str] = "LM Evaluation Harness samples"
    checked: ClassVar[str] = "lm-evaluation-harness 4e7e0d4 (source), 2026-11"
    evidence: ClassVar[tuple[str, ...]] = ("text", "rewards")
    locations: ClassVar[tuple[str, ...]] = ()
    whole_prompts: ClassVar[bool] = True
    grows: ClassVar[bool] = False

    def identify(self, head: Head) -> str | None:
        """Why the file is of this format, or ``None``."""
        row, cut = _first_row(head)
        # Of a row that is longer than the head, the first fields are all there is.
        if row.keys() >= _FIELDS or (cut and tuple(row)[:2] == _FIRST_FIELDS):
            return "rows with doc_id, doc, resps and filtered_resps"
        return None

    def parse(self, log: Log, tree: Tree) -> Iterator[Record]:
        """Yield a trace and a call for each repeat of each request."""
        yield from read_each(_rows(log), _Reading(log, tree).records)


def _first_row(head: Head) -> tuple[dict[str, Any], bool]:
    """The first row, or what the head has of it, and whether it may be cut."""
    whole = len(head.data) < HEAD_BYTES
    row: object = {}
    if _LIST_BEGINS.match(head.data):
        row = first_element(head)
    else:
        return first_record(head), head.is_cut
    return (row, not whole) if isinstance(row, dict) else ({}, False)


def _rows(log: Log) -> Iterator[Line | Issue]:
    try:
        head = read_head(log.path).data
    except UnreadableLog:
        head = b""
    return list_elements(log) if _LIST_BEGINS.match(head) else log.lines()


class _Request(NamedTuple):
    """One request of a document."""

    prompt: int
    generates: bool
    responses: list[str | None]
    """What was generated in each repeat; ``None`` where that is no text."""


class _Reading:
    """One file."""

    def __init__(self, log: Log, tree: Tree) -> None:
        self._tree = tree
        self._paths = MessagePaths(tree, message_segments)
        self._run = data_set_name(log.path)
        dated = _DATED.fullmatch(self._run)
        self._task = dated[1] if dated else self._run
        self._model = log.path.parent.name.replace("__", "/", 1) if dated else None
        if self._model and "/" not in self._model:
            self._model = None
        self._scope = ""
        self._seen: set[bytes] = set()
        self._names: dict[str, int] = {}

    def records(self, line: Line) -> list[Record]:
        """A row's records; none if another filter's row had them.

        Raises:
            ValueError: the row cannot be read.
        """
        row = decode(line.data, _ROW, "row")
        if not self._scope:
            # Two runs of one task may give the same answers: the file's name has the date.
            first = hashlib.sha256(self._run.encode("utf-8", "surrogatepass") + line.data.strip())
            self._scope = first.hexdigest()[:16]
        content = hashlib.blake2b(f"{row.doc_id}\0{row.doc_hash}\0".encode(), digest_size=16)
        content.update(row.arguments)
        for response in row.resps:
            content.update(response)
        if content.digest() in self._seen:
            return []
        requests = self._requests(row)
        fields = decode_fields(line.data)
        reward, answer = _reward(row, fields), _answer(row)
        self._seen.add(content.digest())
        name = self._name(str(row.doc_id))
        if not all(request.generates for request in requests):
            return self._likelihoods(requests, name, reward, line)
        single = len(requests) == 1 and len(requests[0].responses) == 1
        if not single:
            reward = answer = None
        records: list[Record] = []
        for number, request in enumerate(requests):
            group = name if len(requests) == 1 else f"{name}/{number}"
            records += self._rollouts(request, group, reward, answer, line)
        return records

    def _name(self, doc: str) -> str:
        """A document's name in this file. Files joined from several runs repeat their ids."""
        count = self._names.get(doc, 0) + 1
        self._names[doc] = count
        return doc if count == 1 else f"{doc}#{count}"

    def _rollouts(
        self, request: _Request, name: str, reward: float | None, answer: str | None, line: Line
    ) -> list[Record]:
        records: list[Record] = []
        for repeat, text in enumerate(request.responses):
            trace = f"{self._scope}/{name}/{repeat}"
            end = None
            if text is not None:
                end = self._tree.extend(request.prompt, Kind.TEXT, "assistant", text)
            own = Trace(
                id=trace,
                project=self._task,
                agent="lm-eval",
                group=f"{self._run}/{name}",
                reward=reward,
                answer=answer,
                leaf=end,
            )
            records += [own, self._call(trace, "0", request.prompt, end, line)]
        return records

    def _likelihoods(
        self, requests: list[_Request], name: str, reward: float | None, line: Line
    ) -> list[Record]:
        trace = f"{self._scope}/{name}"
        records: list[Record] = [
            Trace(id=trace, project=self._task, agent="lm-eval", reward=reward)
        ]
        for number, request in enumerate(requests):
            for repeat in range(len(request.responses)):
                key = f"{number}/{repeat}"
                records.append(self._call(trace, key, request.prompt, None, line))
        return records

    def _call(self, trace: str, key: str, prompt: int, end: int | None, line: Line) -> Call:
        return Call(
            identity=(trace, key),
            trace=trace,
            line=line.line,
            offset=line.offset,
            prompt=prompt,
            completion=end,
            model=self._model,
        )

    def _requests(self, row: _Row) -> list[_Request]:
        """The requests of a document.

        Raises:
            ValueError: there are not as many arguments as responses, or they cannot be read.
        """
        arguments = _arguments(row.arguments)
        if len(arguments) != len(row.resps):
            raise ValueError(f"{len(row.resps)} resps for {len(arguments)} arguments")
        read = []
        for (context, settings), raw in zip(arguments, row.resps, strict=True):
            repeats = decode_list(raw, "resps") if is_list(raw) else [raw]
            generates = settings is not None and is_object(settings)
            prompt = self._prompt(context)
            if settings is not None and is_text(settings):
                continuation = decode_text(settings, "arguments")
                prompt = self._tree.extend_text(prompt, "prompt", continuation)
            texts = [decode_text(each, "resps") if is_text(each) else None for each in repeats]
            read.append(_Request(prompt, generates, texts))
        return read

    def _prompt(self, raw: msgspec.Raw) -> int:
        """A prompt as text, or as the messages that the text is the JSON of."""
        while is_list(raw):
            parts = decode_list(raw, "arguments")
            if len(parts) != 1 or is_object(parts[0]):
                return self._paths.follow(ROOT, parts)
            raw = parts[0]
        text = decode_text(raw, "arguments")
        if _CHAT.match(text):
            try:
                messages = decode_list(msgspec.Raw(text.encode()), "arguments")
                return self._paths.follow(ROOT, messages)
            except BAD_RECORD:
                pass  # A prompt may look like messages and be none: then it is a text.
        return self._tree.extend_text(ROOT, "prompt", text) if text else ROOT


def _arguments(raw: msgspec.Raw) -> list[tuple[msgspec.Raw, msgspec.Raw | None]]:
    """Each request's context and, if there is a second argument, that one."""
    if is_list(raw):
        requests = [decode_list(each, "arguments") for each in decode_list(raw, "arguments")]
    else:
        named = decode_fields(raw, "arguments").values()
        requests = [list(decode_fields(each, "arguments").values()) for each in named]
    if not all(requests):
        raise ValueError("arguments: a request without any")
    return [(each[0], each[1] if len(each) > 1 else None) for each in requests]


def _reward(row: _Row, fields: dict[str, msgspec.Raw]) -> float | None:
    for name in row.metrics or ():
        raw = fields.get(name)
        if raw is None or is_list(raw) or is_object(raw) or is_text(raw) or bytes(raw) == b"null":
            continue
        value = float(decode(raw, _NUMBER, name))
        return value if math.isfinite(value) else None
    return None


def _answer(row: _Row) -> str | None:
    """What the filter found; not the whole response, which is no answer that could recur."""
    if row.filter in (None, "none") or not row.filtered_resps or not is_list(row.filtered_resps):
        return None
    found = decode_value(row.filtered_resps, "filtered_resps")
    if len(found) != 1 or not isinstance(found[0], str) or found[0] == _NO_ANSWER:
        return None
    return found[0]

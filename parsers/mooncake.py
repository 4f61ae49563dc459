"""Mooncake serving traces: one request a line, its prompt as the ids of its KV blocks.

Record: ``{"timestamp": ms, "input_length": tokens, "output_length": tokens, "hash_ids": [id, …]}``,
optionally with `block_size` (512 where it is not stated) and `session_id`
(github.com/kvcache-ai/Mooncake, FAST25 traces). What to know about these traces:

- An id stands for a block and all before it: equal ids in one file mean an equal beginning. Ids are
  renumbered for each trace, so they mean nothing across files. The scope of ids is therefore the
  file, named by its first record: copies of the file, and the file after it has grown, share it.
- There are ceil(`input_length` / `block_size`) ids, the last block being part full. Some writers
  hash whole blocks only; then the tokens after them are in the usage, not in the tree.
- `timestamp` counts from the start of the trace. It becomes a time in 1970: good for order and
  distance, not as a date. Where a writer logs milliseconds since 1970, it is the date.
- `output_length` is the number of tokens generated; their content was not logged.

Bailian traces (16-token blocks, seconds, `chat_id`, `type`) look alike and are another format.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, ClassVar

import msgspec

from forkpoint.parsers.base import Tree
from forkpoint.parsers.hashed_blocks import BlockSize, block_prompt, check_length
from forkpoint.parsers.logs import Head, Line, Log, decode_json, read_each
from forkpoint.parsers.record_names import record_digest
from forkpoint.parsers.records import Call, Record, Tokens, Trace, Usage

DEFAULT_BLOCK_SIZE = 512
"""Tokens in a block of the published traces, which do not state it."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_Milliseconds = Annotated[float, msgspec.Meta(ge=0, le=253_402_300_799_999)]

_CUT_FIRST_LINE = re.compile(
    rb'\s*+\{(?:\s*+"(?!chat_id|parent_chat_id|type|turn)\w++"\s*+:\s*+(?:"[^"\\]*+"|[-+.\w]++)\s*+,)*+'
    rb'\s*+"hash_ids"\s*+:\s*+\[\s*+(?:\d++|"\w++")\s*+,',
)
"""The beginning of a first record that is longer than the head: scalar fields, then block ids."""


class _Request(msgspec.Struct):
    hash_ids: list[int | str]
    input_length: Tokens
    output_length: Tokens | None = None
    timestamp: _Milliseconds | None = None
    block_size: BlockSize = DEFAULT_BLOCK_SIZE
    session_id: str | int | None = None

    def __post_init__(self) -> None:
        check_length(self.input_length, len(self.hash_ids), self.block_size, "input_length")


_DECODER = msgspec.json.Decoder(_Request)


class Mooncake:
    """Reads Mooncake's hashed-block traces; see the module's docstring."""

    name: ClassVar[str] = "mooncake"
    title: ClassVar[str] = "Mooncake trace"
    checked: ClassVar[str] = "FAST25 traces 3b5a594, 2026-11"
    evidence: ClassVar[tuple[str, ...]] = ("usage", "hashed blocks", "timestamps")
    locations: ClassVar[tuple[str, ...]] = ()
    whole_prompts: ClassVar[bool] = True
    grows: ClassVar[bool] = True

    def identify(self, head: Head) -> str | None:
        """Why the file is of this format, or ``None``."""
        if head.objects:
            return _identify_record(head.objects[0])
        if not head.lines and _CUT_FIRST_LINE.match(head.data):
            return "its first record is a long list of hash_ids"
        return None

    def parse(self, log: Log, tree: Tree) -> Iterator[Record]:
        """Yield one call a line, and a trace for the file or for each session in it."""
        reading = _Reading(log, tree)
        yield from read_each(log.lines(), reading.records)
        log.checkpoint = reading.scope.encode("ascii")


def _identify_record(record: dict[str, Any]) -> str | None:
    if not isinstance(record.get("hash_ids"), list) or type(record.get("input_length")) is not int:
        return None
    if {"chat_id", "parent_chat_id", "type"} & record.keys():
        return None
    return "each line has a request's hash_ids and input_length"


class _Reading:
    """One file being read."""

    def __init__(self, log: Log, tree: Tree) -> None:
        self.scope = log.checkpoint.decode("ascii")
        """Names the file, by its first record."""
        self._tree = tree
        self._project = log.path.name.partition(".json")[0]
        self._traces: set[str] = set()

    def records(self, line: Line) -> list[Record]:
        """The call that a line is, after its trace if that is new.

        Raises:
            ValueError, RecursionError: it is no request.
        """
        request = decode_json(line.data, _DECODER, _Request)
        digest = record_digest(line.data).hex()
        self.scope = self.scope or digest[:16]
        call = _call(request, line, digest, self.scope, self._tree)
        if call.trace in self._traces:
            return [call]
        self._traces.add(call.trace)
        return [Trace(id=call.trace, project=self._project), call]


def _call(request: _Request, line: Line, digest: str, scope: str, tree: Tree) -> Call:
    size, n_tokens = request.block_size, request.input_length
    # Session ids, like block ids, are numbered within one trace.
    trace = scope if request.session_id is None else f"{scope}/{request.session_id}"
    started_at = None
    if request.timestamp is not None:
        started_at = _EPOCH + timedelta(milliseconds=request.timestamp)
    return Call(
        identity=(scope, f"{line.line}:{digest}"),
        trace=trace,
        line=line.line,
        offset=line.offset,
        prompt=block_prompt(tree, scope, request.hash_ids, size, n_tokens),
        started_at=started_at,
        usage=Usage(input_tokens=n_tokens, output_tokens=request.output_length),
    )

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

import hashlib
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, ClassVar

import msgspec

from forkpoint.parsers.base import ROOT, Tree
from forkpoint.parsers.logs import BAD_RECORD, Head, Line, Log, decode_json
from forkpoint.parsers.records import Call, Issue, Record, Tokens, Trace, Usage

DEFAULT_BLOCK_SIZE = 512
"""Tokens in a block of the published traces, which do not state it."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_Milliseconds = Annotated[float, msgspec.Meta(ge=0, le=253_402_300_799_999)]
_BlockSize = Annotated[int, msgspec.Meta(ge=1, le=2**24)]

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
    block_size: _BlockSize = DEFAULT_BLOCK_SIZE
    session_id: str | int | None = None

    def __post_init__(self) -> None:
        excess = self.input_length - len(self.hash_ids) * self.block_size
        if abs(excess) >= self.block_size:
            raise ValueError(
                f"input_length {self.input_length} does not fit {len(self.hash_ids)} blocks "
                f"of {self.block_size} tokens"
            )


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
        scope = log.checkpoint.decode("ascii")
        traces: set[str] = set()
        for line in log.lines():
            if isinstance(line, Issue):
                yield line
                continue
            try:
                request = decode_json(line.data, _DECODER, _Request)
            except BAD_RECORD as error:
                yield line.issue(error)
                continue
            digest = hashlib.sha256(line.data.strip()).hexdigest()
            scope = scope or digest[:16]
            call = _call(request, line, digest, scope, tree)
            if call.trace not in traces:
                traces.add(call.trace)
                yield Trace(id=call.trace, project=log.path.name.partition(".json")[0])
            yield call
        log.checkpoint = scope.encode("ascii")


def _identify_record(record: dict[str, Any]) -> str | None:
    if not isinstance(record.get("hash_ids"), list) or type(record.get("input_length")) is not int:
        return None
    if {"chat_id", "parent_chat_id", "type"} & record.keys():
        return None
    return "each line has a request's hash_ids and input_length"


def _call(request: _Request, line: Line, digest: str, scope: str, tree: Tree) -> Call:
    size, n_blocks = request.block_size, len(request.hash_ids)
    in_blocks = min(request.input_length, n_blocks * size)
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
        prompt=tree.extend_blocks(ROOT, scope, request.hash_ids, size, in_blocks),
        started_at=started_at,
        usage=Usage(input_tokens=request.input_length, output_tokens=request.output_length),
    )

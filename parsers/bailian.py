"""Bailian serving traces: one request a line, its prompt as the ids of its KV blocks.

Record: ``{"chat_id": 159, "parent_chat_id": 55, "timestamp": s, "input_length": tokens,
"output_length": tokens, "type": "text", "turn": 2, "hash_ids": [id, …]}``
(github.com/alibaba-edu/qwen-bailian-usagetraces-anon). What to know about these traces, by their
documentation:

- A block has 16 tokens. Each is hashed by itself and the hashes are renumbered, so equal ids mean
  equal blocks, not equal beginnings; the tree chains them. Ids mean nothing across files: their
  scope is the file, named by its first record.
- A request names the one before it in its conversation: `parent_chat_id`, -1 for a first one. The
  conversation is the trace, named by its first request that the file holds or names.
- `timestamp` counts seconds from the start of the trace. It becomes a time in 1970: good for order
  and distance, not as a date.
- Whether the last block may be part full is not said; both are read.

They look much like Mooncake's traces, which have none of the conversation's fields.
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

BLOCK_SIZE = 16

_NO_PARENT = -1
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_Seconds = Annotated[float, msgspec.Meta(ge=0, le=253_402_300_799)]

_CUT_FIRST_LINE = re.compile(
    rb'\s*+\{(?=[^\[]*?"parent_chat_id"\s*+:)'
    rb'(?:\s*+"\w++"\s*+:\s*+(?:"[^"\\]*+"|[-+.\w]++)\s*+,)*+'
    rb'\s*+"hash_ids"\s*+:\s*+\[\s*+\d++\s*+,',
)
"""The beginning of a first record that is longer than the head: scalar fields, then block ids."""


class _Request(msgspec.Struct):
    chat_id: int | str
    hash_ids: list[int]
    input_length: Tokens
    parent_chat_id: int | str | None = None
    output_length: Tokens | None = None
    timestamp: _Seconds | None = None

    def __post_init__(self) -> None:
        if abs(self.input_length - len(self.hash_ids) * BLOCK_SIZE) >= BLOCK_SIZE:
            raise ValueError(
                f"input_length {self.input_length} does not fit {len(self.hash_ids)} blocks "
                f"of {BLOCK_SIZE} tokens"
            )


_DECODER = msgspec.json.Decoder(_Request)


class Bailian:
    """Reads Bailian's hashed-block traces; see the module's docstring."""

    name: ClassVar[str] = "bailian"
    title: ClassVar[str] = "Bailian trace"
    checked: ClassVar[str] = "documentation 03a51e3 (no real file), 2026-11"
    evidence: ClassVar[tuple[str, ...]] = ("usage", "hashed blocks", "timestamps")
    locations: ClassVar[tuple[str, ...]] = ()
    whole_prompts: ClassVar[bool] = True
    grows: ClassVar[bool] = False

    def identify(self, head: Head) -> str | None:
        """Why the file is of this format, or ``None``."""
        if head.objects:
            return _identify_record(head.objects[0])
        if not head.lines and _CUT_FIRST_LINE.match(head.data):
            return "its first record has a parent_chat_id and a long list of hash_ids"
        return None

    def parse(self, log: Log, tree: Tree) -> Iterator[Record]:
        """Yield one call a line, and a trace for each conversation."""
        scope = ""
        roots: dict[int | str, int | str] = {}
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
            root, is_new = _root(request, roots)
            trace = f"{scope}/{root}"
            if is_new:
                yield Trace(id=trace, project=log.path.name.partition(".json")[0])
            yield _call(request, line, digest, scope, trace, tree)


def _identify_record(record: dict[str, Any]) -> str | None:
    if not isinstance(record.get("hash_ids"), list) or type(record.get("input_length")) is not int:
        return None
    if not {"chat_id", "parent_chat_id"} <= record.keys():
        return None
    return "each line has a request's hash_ids and parent_chat_id"


def _root(request: _Request, roots: dict[int | str, int | str]) -> tuple[int | str, bool]:
    """The conversation's first request, and whether the conversation is new."""
    parent = request.parent_chat_id
    if parent is None or parent == _NO_PARENT:
        root: int | str = request.chat_id
        is_new = root not in roots
    else:
        is_new = parent not in roots
        root = roots.setdefault(parent, parent)
    roots[request.chat_id] = root
    return root, is_new


def _call(request: _Request, line: Line, digest: str, scope: str, trace: str, tree: Tree) -> Call:
    in_blocks = min(request.input_length, len(request.hash_ids) * BLOCK_SIZE)
    started_at = None
    if request.timestamp is not None:
        started_at = _EPOCH + timedelta(seconds=request.timestamp)
    return Call(
        identity=(scope, f"{line.line}:{digest}"),
        trace=trace,
        line=line.line,
        offset=line.offset,
        prompt=tree.extend_blocks(ROOT, scope, request.hash_ids, BLOCK_SIZE, in_blocks),
        started_at=started_at,
        usage=Usage(input_tokens=request.input_length, output_tokens=request.output_length),
    )

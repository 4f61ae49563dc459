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

import re
from collections.abc import Iterator
from typing import Annotated, Any, ClassVar

import msgspec

from forkpoint.parsers.base import Tree
from forkpoint.parsers.hashed_blocks import block_prompt, check_length
from forkpoint.parsers.local_clock import from_epoch
from forkpoint.parsers.logs import Head, Line, Log, decode_json, read_each
from forkpoint.parsers.record_names import record_digest
from forkpoint.parsers.records import Call, Record, Tokens, Trace, Usage

BLOCK_SIZE = 16

_NO_PARENT = -1
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
        check_length(self.input_length, len(self.hash_ids), BLOCK_SIZE, "input_length")


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
        yield from read_each(log.lines(), _Reading(log, tree).records)


def _identify_record(record: dict[str, Any]) -> str | None:
    if not isinstance(record.get("hash_ids"), list) or type(record.get("input_length")) is not int:
        return None
    if not {"chat_id", "parent_chat_id"} <= record.keys():
        return None
    return "each line has a request's hash_ids and parent_chat_id"


class _Reading:
    """One file being read."""

    def __init__(self, log: Log, tree: Tree) -> None:
        self._tree = tree
        self._project = log.path.name.partition(".json")[0]
        self._scope = ""
        """Names the file, by its first record."""
        self._roots: dict[int | str, int | str] = {}
        """The first request of each request's conversation."""

    def records(self, line: Line) -> Iterator[Record]:
        """The call that a line is, after its conversation's trace if that is new.

        Raises:
            ValueError, RecursionError: it is no request.
        """
        request = decode_json(line.data, _DECODER, _Request)
        digest = record_digest(line.data).hex()
        self._scope = self._scope or digest[:16]
        root, is_new = self._root(request)
        trace = f"{self._scope}/{root}"
        if is_new:
            yield Trace(id=trace, project=self._project)
        yield _call(request, line, digest, self._scope, trace, self._tree)

    def _root(self, request: _Request) -> tuple[int | str, bool]:
        """The conversation's first request, and whether the conversation is new."""
        parent = request.parent_chat_id
        if parent is None or parent == _NO_PARENT:
            root: int | str = request.chat_id
            is_new = root not in self._roots
        else:
            is_new = parent not in self._roots
            root = self._roots.setdefault(parent, parent)
        self._roots[request.chat_id] = root
        return root, is_new


def _call(request: _Request, line: Line, digest: str, scope: str, trace: str, tree: Tree) -> Call:
    n_tokens = request.input_length
    return Call(
        identity=(scope, f"{line.line}:{digest}"),
        trace=trace,
        line=line.line,
        offset=line.offset,
        prompt=block_prompt(tree, scope, request.hash_ids, BLOCK_SIZE, n_tokens),
        started_at=from_epoch(request.timestamp),
        usage=Usage(input_tokens=n_tokens, output_tokens=request.output_length),
    )

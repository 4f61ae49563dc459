"""LMCache lookup logs: one lookup of a request's prompt a line, as the hashes of its chunks.

Record: ``{"timestamp": s, "request_id": "…", "model_name": "…", "chunk_size": 256, "seq_len": tokens,
"dtypes": […], "shapes": […], "chunk_hashes": ["0x…", …]}``, written by ``lmcache server
--lookup-hash-log-dir`` into files ``lookup_hashes_<time>_<number>.jsonl`` that rotate. What to know
about them:

- Only complete chunks have hashes. The tokens behind the last one are counted in ``seq_len`` but are
  never shared: LMCache keeps whole chunks.
- A hash stands for a chunk and all before it, so hashes mean the same in all files of one model and
  chunk size: what several files of a rotation share is found.
- Records are not in the order of time. Every record is a request of its own; a line that stands in
  two files is one.
- What was generated, and which requests belong together, is not logged.

https://github.com/LMCache/LMCache 2a7468a
(``lmcache/v1/mp_observability/subscribers/logging/lookup_hash.py``), 090b924 (its simulator's README)
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Any, ClassVar

import msgspec

from forkpoint.parsers.base import Tree
from forkpoint.parsers.hashed_blocks import block_prompt
from forkpoint.parsers.local_clock import from_epoch
from forkpoint.parsers.logs import Head, Line, Log, decode_json, read_each
from forkpoint.parsers.record_names import record_digest
from forkpoint.parsers.records import Call, Record, Tokens, Trace, Usage

_Seconds = Annotated[float, msgspec.Meta(ge=0, le=253_402_300_799)]

_CUT_FIRST_LINE = re.compile(
    rb'\s*+\{(?=[^\[]*?"chunk_size"\s*+:).{0,4096}?"chunk_hashes"\s*+:\s*+\[\s*+"0x[0-9a-f]++"'
)
"""The beginning of a first record that is longer than the head."""


class _Lookup(msgspec.Struct):
    chunk_hashes: list[str]
    chunk_size: Tokens
    seq_len: Tokens
    request_id: str = ""
    model_name: str = ""
    timestamp: _Seconds | None = None

    def __post_init__(self) -> None:
        if not self.seq_len - len(self.chunk_hashes) * self.chunk_size >= 0:
            raise ValueError(
                f"seq_len {self.seq_len} is less than {len(self.chunk_hashes)} chunks "
                f"of {self.chunk_size} tokens"
            )
        if self.chunk_hashes and not self.chunk_size:
            raise ValueError("chunks of 0 tokens")


_DECODER = msgspec.json.Decoder(_Lookup)


class LMCache:
    """Reads LMCache's lookup logs; see the module's docstring."""

    name: ClassVar[str] = "lmcache"
    title: ClassVar[str] = "LMCache lookup logs"
    checked: ClassVar[str] = "LMCache 2a7468a (no real file), 2026-11"
    evidence: ClassVar[tuple[str, ...]] = ("usage", "hashed blocks", "timestamps")
    locations: ClassVar[tuple[str, ...]] = ()
    whole_prompts: ClassVar[bool] = True
    grows: ClassVar[bool] = True

    def identify(self, head: Head) -> str | None:
        """Why the file is of this format, or ``None``."""
        if head.objects:
            return _identify_record(head.objects[0])
        if not head.lines and _CUT_FIRST_LINE.match(head.data):
            return "its first record is a long list of chunk_hashes"
        return None

    def parse(self, log: Log, tree: Tree) -> Iterator[Record]:
        """Yield one call a lookup, and a trace for the file."""
        trace = log.checkpoint.decode("ascii")

        def read(line: Line) -> Iterator[Record]:
            nonlocal trace
            lookup = decode_json(line.data, _DECODER, _Lookup)
            if not lookup.seq_len:
                return  # A lookup of nothing.
            digest = record_digest(line.data).hex()
            if not trace:
                trace = digest[:16]
                yield Trace(id=trace, project=log.path.name.partition(".json")[0])
            yield _call(lookup, line, digest, trace, tree)

        yield from read_each(log.lines(), read)
        log.checkpoint = trace.encode("ascii")


def _identify_record(record: dict[str, Any]) -> str | None:
    hashes = record.get("chunk_hashes")
    if isinstance(hashes, list) and type(record.get("seq_len")) is int and "chunk_size" in record:
        return "each line has a lookup's chunk_hashes and seq_len"
    return None


def _call(lookup: _Lookup, line: Line, digest: str, trace: str, tree: Tree) -> Call:
    size, hashes = lookup.chunk_size, lookup.chunk_hashes
    scope = f"lmcache/{lookup.model_name}/{size}"
    return Call(
        identity=("", digest),
        trace=trace,
        line=line.line,
        offset=line.offset,
        prompt=block_prompt(tree, scope, hashes, size, lookup.seq_len),
        started_at=from_epoch(lookup.timestamp),
        # No model: a served model has no price, and one of that name may have one elsewhere.
        usage=Usage(input_tokens=lookup.seq_len),
    )

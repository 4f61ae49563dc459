"""SGLang request logs: the JSON lines of its request logger, and of its request metrics.

Logger (``--log-requests --log-requests-format json``), alone on a line or behind a server's time
stamp in brackets: ``{"timestamp": "…", "event": "request.finished", "rid": "…", "obj": {text,
input_ids, sampling_params, received_time, …}, "out": {text, output_ids, meta_info: {prompt_tokens,
cached_tokens, completion_tokens, e2e_latency, output_token_logprobs, …}}}``. Metrics
(``--export-metrics-to-file``): ``{"request_parameters": "{…}", prompt_tokens, cached_tokens,
completion_tokens, e2e_latency, id, …}``, with the same parameters as a text. What to know about them:

- A call is a request that finished; that it was received is said before, and passed over.
- ``cached_tokens`` is what the radix cache held of the prompt, and part of ``prompt_tokens``.
- At log levels 0 and 1, and in metrics, texts and ids are left out, and the prompt is a stand-in. At
  level 2 all that is longer than 2,048 characters, ids or logprobs is cut in its middle, and marked with
  dots there: what is cut counts as left out.
- A logprob is ``[ln p, id, text]``.
- ``timestamp`` is the end of the request on the server's clock, without a zone: it stands for UTC
  unless the request says when it was received, in seconds since 1970.
- Embeddings, and what no language model generates, are passed over. The model is not logged.

https://github.com/sgl-project/sglang 01bb912 (``python/sglang/srt/utils/request_logger.py``), 39eec95
(``python/sglang/srt/managers/request_metrics_exporter.py``)
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Annotated, Any, ClassVar

import msgspec

from forkpoint.parsers.base import Tree
from forkpoint.parsers.envelope import moment_of
from forkpoint.parsers.local_clock import from_epoch
from forkpoint.parsers.logs import Head, Line, Log, read_each
from forkpoint.parsers.raw_json import decode, decode_text
from forkpoint.parsers.record_names import record_digest
from forkpoint.parsers.records import Call, Record, Scores, Tokens, Trace, Usage
from forkpoint.parsers.served_content import (
    Content,
    output_node,
    prompt_node,
    text_node,
    text_start,
)

_STAMPED = re.compile(rb"\s*+(?:\[[^\]{\n]{0,64}\]\s*+|\([^){\n]{0,64}\)\s*+)*+(?=\{)")
"""What a server's own logger writes before a message."""
_EVENT_BEGINS = re.compile(
    rb'\{\s*+"timestamp"\s*+:\s*+"[^"]{1,40}"\s*+,\s*+"event"\s*+:\s*+"request\.(?:received|finished)"'
)
_METRICS_BEGIN = re.compile(rb'\{\s*+"request_parameters"\s*+:\s*+"')
_CUT = 2048
"""Characters or elements above which log level 2 cuts."""

_Seconds = Annotated[float, msgspec.Meta(ge=0, le=1e9)]
_Moment = Annotated[float, msgspec.Meta(ge=0, le=253_402_300_799)]
_TokenId = Annotated[int, msgspec.Meta(ge=0, lt=1 << 32)]
_Scored = tuple[float | None, int, str | None]


class _MetaInfo(msgspec.Struct):
    id: str | None = None
    prompt_tokens: Tokens | None = None
    completion_tokens: Tokens | None = None
    cached_tokens: Tokens | None = None
    reasoning_tokens: Tokens | None = None
    e2e_latency: _Seconds | None = None
    request_received_ts: _Moment | None = None
    output_token_logprobs: msgspec.Raw = msgspec.Raw()
    output_top_logprobs: msgspec.Raw = msgspec.Raw()


class _Input(msgspec.Struct):
    """What was asked for: the fields of ``GenerateReqInput`` that say something here."""

    rid: str | list[str] | None = None
    text: str | list[str] | None = None
    input_ids: msgspec.Raw = msgspec.Raw()
    received_time: _Moment | None = None
    conversation_id: str | None = None


class _Output(msgspec.Struct):
    text: str | None = None
    output_ids: msgspec.Raw = msgspec.Raw()
    meta_info: _MetaInfo | None = None


class _Record(msgspec.Struct):
    """A record of the logger, or of the metrics, which hold what ``meta_info`` holds."""

    event: str | None = None
    timestamp: msgspec.Raw = msgspec.Raw()
    rid: str | list[str] | None = None
    obj: _Input | None = None
    out: _Output | None = None
    request_parameters: msgspec.Raw = msgspec.Raw()


_RECORD = msgspec.json.Decoder(_Record)
_META_INFO = msgspec.json.Decoder(_MetaInfo)
_INPUT = msgspec.json.Decoder(_Input)
_IDS = msgspec.json.Decoder(list[_TokenId | str | list[Any]])
_SCORED = msgspec.json.Decoder(list[_Scored | str])
_TOP = msgspec.json.Decoder(list[list[_Scored] | str | None])


class SGLang:
    """Reads SGLang's request logs; see the module's docstring."""

    name: ClassVar[str] = "sglang"
    title: ClassVar[str] = "SGLang request logs"
    checked: ClassVar[str] = "sglang 01bb912 (no real file), 2026-11"
    evidence: ClassVar[tuple[str, ...]] = ("usage", "text", "token ids", "timestamps", "logprobs")
    locations: ClassVar[tuple[str, ...]] = ()
    whole_prompts: ClassVar[bool] = True
    grows: ClassVar[bool] = True

    def identify(self, head: Head) -> str | None:
        """Why the file is of this format, or ``None``."""
        for line in (head.lines or [head.data])[:256]:
            data = _json_of(line)
            if _EVENT_BEGINS.match(data):
                return "lines of SGLang's request logger"
            if _METRICS_BEGIN.match(data) and (not head.lines or b'"e2e_latency"' in data):
                return "lines of SGLang's request metrics"
        return None

    def parse(self, log: Log, tree: Tree) -> Iterator[Record]:
        """Yield one call a finished request, a trace for each conversation or for the file."""
        reading = _Reading(tree, log.checkpoint.decode("ascii"), log.path.name)
        yield from read_each(log.lines(), reading.records)
        log.checkpoint = reading.scope.encode("ascii")


def _json_of(line: bytes) -> bytes:
    stamp = _STAMPED.match(line)
    return line if stamp is None else line[stamp.end() :]


class _Reading:
    """One file being read."""

    def __init__(self, tree: Tree, scope: str, name: str) -> None:
        self._tree = tree
        self._name = name
        self._traces: set[str] = set()
        self.scope = scope
        """Names the file, by its first request."""

    def records(self, line: Line) -> Iterator[Record]:
        """The call that a line is, its trace if that is new, and the scores of its tokens.

        Raises:
            ValueError: it cannot be read.
        """
        data = _json_of(line.data)
        if not (_EVENT_BEGINS.match(data) or _METRICS_BEGIN.match(data)):
            return  # Another line of the server's.
        record = decode(data, _RECORD)
        if record.request_parameters:
            about = decode(data, _META_INFO)
            parameters = decode_text(record.request_parameters, "request_parameters")
            asked, output = decode(parameters.encode(), _INPUT, "request_parameters"), _Output()
        elif record.event == "request.finished" and record.out and record.out.meta_info:
            asked, output = record.obj or _Input(), record.out
            about = record.out.meta_info
        else:
            return
        if about.completion_tokens is None:
            return  # An embedding.
        key = about.id or _one(record.rid) or _one(asked.rid) or record_digest(line.data).hex()
        prompt = Content(_whole(asked.text), _ids(asked.input_ids, "input_ids"))
        made = Content(_whole(output.text), _ids(output.output_ids, "output_ids"))
        scores = _token_scores(about)
        started, duration = _times(record, asked, about)
        usage = Usage(
            input_tokens=about.prompt_tokens,
            cache_read_tokens=about.cached_tokens,
            output_tokens=about.completion_tokens,
            reasoning_tokens=about.reasoning_tokens,
        )
        self.scope = self.scope or record_digest(line.data).hex()[:16]
        trace = asked.conversation_id or self.scope
        start = prompt_node(self._tree, prompt, key)
        end = output_node(self._tree, prompt, made, start) if made.logged else None
        if trace not in self._traces:
            self._traces.add(trace)
            yield Trace(id=trace, project=self._name)
        yield Call(
            identity=("", key),
            trace=trace,
            line=line.line,
            offset=line.offset,
            prompt=start,
            completion=end,
            text=text_node(self._tree, prompt, made),
            text_start=text_start(prompt),
            started_at=started,
            duration_s=duration,
            usage=usage,
        )
        if scores is not None and end is not None:
            tokens, logprobs, top = scores
            yield Scores(
                trace=trace,
                line=line.line,
                offset=line.offset,
                prompt=start,
                completion=end,
                tokens=tokens,
                logprobs=logprobs,
                top=top,
            )


def _one(rid: str | list[str] | None) -> str | None:
    return rid if isinstance(rid, str) else None


def _whole(text: str | list[str] | None) -> str | None:
    """A text, unless it was cut, or stands for several requests."""
    if not isinstance(text, str):
        return None
    half = _CUT // 2
    return None if len(text) == _CUT + 3 and text[half : half + 3] == "..." else text


def _ids(raw: msgspec.Raw, what: str) -> list[int] | None:
    """Token ids, unless they were cut, or stand for several requests."""
    if not raw or bytes(raw) == b"null":
        return None
    listed = decode(raw, _IDS, what)
    ids = [each for each in listed if type(each) is int]
    return ids if len(ids) == len(listed) else None


def _times(
    record: _Record, asked: _Input, about: _MetaInfo
) -> tuple[datetime | None, float | None]:
    """When a request was received, and how long it took.

    Raises:
        ValueError: its time is none.
    """
    received = asked.received_time or about.request_received_ts
    if received is not None:
        return from_epoch(received), about.e2e_latency
    if not record.timestamp:
        return None, about.e2e_latency
    ended = moment_of({"timestamp": record.timestamp}, "timestamp")
    if ended is None:
        return None, about.e2e_latency
    return ended - timedelta(seconds=about.e2e_latency or 0.0), about.e2e_latency


def _token_scores(
    about: _MetaInfo,
) -> tuple[list[int], list[float | None], list[list[float]] | None] | None:
    """The output's tokens with their logprobs; ``None`` if they were not logged or were cut.

    Raises:
        ValueError: they are no such list.
    """
    raw = about.output_token_logprobs
    if not raw or bytes(raw) in (b"null", b"[]"):
        return None
    scored = decode(raw, _SCORED, "output_token_logprobs")
    whole = [each for each in scored if not isinstance(each, str)]
    if len(whole) < len(scored):
        return None
    top = None
    if about.output_top_logprobs and bytes(about.output_top_logprobs) not in (b"null", b"[]"):
        likely = decode(about.output_top_logprobs, _TOP, "output_top_logprobs")
        if len(likely) == len(whole) and not any(isinstance(each, str) for each in likely):
            top = [
                [logprob for logprob, _, _ in each if logprob is not None]
                if isinstance(each, list)
                else []
                for each in likely
            ]
    return [token for _, token, _ in whole], [logprob for logprob, _, _ in whole], top

"""aider's analytics log: the file that ``aider --analytics-log FILE`` appends events to.

One JSON object a line, ``{"event", "properties", "user_id", "time"}`` with the time in seconds
(`aider/analytics.py` of github.com/Aider-AI/aider, read at 5dc9490). ``message_send`` is one model
call: ``main_model``, ``prompt_tokens``, ``completion_tokens``, ``cost`` in USD. What to know:

- No text is logged, and what was read from a cache only shows in the cost. A cost of 0 stands for a
  model without a known price.
- All programs of a user may append to one file. An event does not say which program it is of, so a
  run is taken to go from one ``launched`` to the next.
- Models that aider does not know are written as ``<provider>/REDACTED`` or ``None``.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import ClassVar

import msgspec

from forkpoint.parsers.agent_session import known_cost, moment, provider_named, unlogged_beginning
from forkpoint.parsers.base import Tree
from forkpoint.parsers.logs import BAD_RECORD, Head, Line, Log
from forkpoint.parsers.raw_json import decode
from forkpoint.parsers.records import Call, Issue, Record, Tokens, Trace, Usage

_FIELDS = frozenset(("event", "properties", "user_id", "time"))


class _Event(msgspec.Struct):
    event: str
    user_id: str | None = None
    time: int | None = None
    properties: msgspec.Raw = msgspec.Raw(b"{}")


class _Sent(msgspec.Struct):
    """The properties of ``message_send``."""

    main_model: str | None = None
    edit_format: str | None = None
    prompt_tokens: Tokens | None = None
    completion_tokens: Tokens | None = None
    cost: float | None = None
    total_cost: float | None = None


_EVENT = msgspec.json.Decoder(_Event)
_SENT = msgspec.json.Decoder(_Sent)


class Aider:
    """Reads aider's analytics logs; see the module's docstring."""

    name: ClassVar[str] = "aider"
    title: ClassVar[str] = "aider analytics"
    checked: ClassVar[str] = "aider 5dc9490, 2026-11"
    evidence: ClassVar[tuple[str, ...]] = ("usage", "timestamps")
    locations: ClassVar[tuple[str, ...]] = ("$AIDER_ANALYTICS_LOG",)
    whole_prompts: ClassVar[bool] = False
    grows: ClassVar[bool] = True

    def identify(self, head: Head) -> str | None:
        """Why the file is of this format, or ``None``."""
        if head.objects and all(record.keys() == _FIELDS for record in head.objects):
            return "events with properties, user_id and time"
        return None

    def parse(self, log: Log, tree: Tree) -> Iterator[Record]:
        """Yield a call for each message sent, and a trace for each run of the program."""
        run = log.checkpoint.decode()
        traces: set[str] = set()
        for line in log.lines():
            if isinstance(line, Issue):
                yield line
                continue
            try:
                event = decode(line.data, _EVENT)
                started = moment(None if event.time is None else event.time * 1000)
                if event.event == "launched" or not run:
                    run = _run(event, started)
                if event.event != "message_send":
                    continue
                sent = decode(event.properties, _SENT, "properties")
                call = _call(event, sent, started, run, line, tree)
            except BAD_RECORD as error:
                yield line.issue(error)
                continue
            if run not in traces:
                traces.add(run)
                yield Trace(id=run, agent="aider")
            yield call
        log.checkpoint = run.encode("utf-8", "replace")


def _run(event: _Event, started: datetime | None) -> str:
    when = "" if started is None else started.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return f"aider {event.user_id or ''} {when}"


def _call(
    event: _Event, sent: _Sent, started: datetime | None, run: str, line: Line, tree: Tree
) -> Call:
    provider, model = _model(sent.main_model)
    # Costs add up from call to call, so two calls of the same size in one second still differ.
    parts = (event.user_id, event.time, sent.prompt_tokens, sent.completion_tokens, sent.total_cost)
    return Call(
        identity=("", "aider:" + ":".join(map(str, parts))),
        trace=run,
        line=line.line,
        offset=line.offset,
        prompt=unlogged_beginning(tree, "aider", sent.edit_format),
        started_at=started,
        provider=provider,
        model=model,
        usage=Usage(input_tokens=sent.prompt_tokens, output_tokens=sent.completion_tokens),
        logged_cost_usd=known_cost(sent.cost),
    )


def _model(name: str | None) -> tuple[str | None, str | None]:
    """(provider, model) of a name as aider has it: ``gemini/gemini-2.5-pro``, ``gpt-5``."""
    if not name or name == "None":
        return None, None
    before, slash, after = name.partition("/")
    provider = provider_named(before) if slash else None
    return (None, name) if provider is None else (provider, after)

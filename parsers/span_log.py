"""Logs of spans: what is the same for OpenTelemetry's GenAI conventions and for OpenInference.

Both parsers read every dialect, span by span (`span_facts`, `span_messages`): an application may mix
them. They differ in which files they claim: whatever has OpenInference's or Vercel's attributes in
its head is OpenInference's, all other spans are OpenTelemetry's.

A span is a model call by its operation or kind, or, where it states none, because it counts tokens.
Embeddings, rerankings, retrievals and tools are none: nothing is generated and no prompt is reused. A
span that failed and counts nothing was not paid for. Layers of one call are merged (`span_layers`).

Trace: the conversation or session id of the span, of the nearest span around it, or of the only one in
its OpenTelemetry trace; else that trace's id. An agent that runs inside a tool's span is a subagent.

Without captured content, which is how most tracers are set up, a call's prompt is one
`Kind.UNLOGGED` segment. Messages that were cut off by a limit of the exporter are an issue; the
call's counts stand.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import ClassVar

import msgspec

from forkpoint.parsers.base import ROOT, Tree
from forkpoint.parsers.logs import BAD_RECORD, Log
from forkpoint.parsers.message_paths import MessagePaths
from forkpoint.parsers.older_genai_messages import is_message_event, messages_of_events
from forkpoint.parsers.records import Call, Issue, Kind, Record, Trace, Usage
from forkpoint.parsers.span_facts import (
    Facts,
    Layer,
    conversation_of,
    emitters_that_exclude,
    facts_of,
    layer_of,
    usage_of,
)
from forkpoint.parsers.span_files import spans_of
from forkpoint.parsers.span_layers import (
    Ancestry,
    SpanCall,
    SpanKey,
    SpanNode,
    ancestors,
    merge_layers,
)
from forkpoint.parsers.span_messages import Content, content_of, read_message
from forkpoint.parsers.spans import Attributes, Span, moment


class SpanLog:
    """A parser of spans. The subclass says which files are its own."""

    evidence: ClassVar[tuple[str, ...]] = ("usage", "text", "timestamps")
    locations: ClassVar[tuple[str, ...]] = ()
    whole_prompts: ClassVar[bool] = True
    grows: ClassVar[bool] = False

    def parse(self, log: Log, tree: Tree) -> Iterator[Record]:
        """Yield the file's calls, traces and issues; the calls after the last span, for only then
        it is known which spans are layers of one call."""
        return SpanReading(log, tree).records()


class SpanReading:
    """One file of spans being read."""

    def __init__(self, log: Log, tree: Tree) -> None:
        self._log = log
        self._tree = tree
        self._paths = MessagePaths(tree, read_message)
        self._ancestry: Ancestry = {}
        self._conversations: dict[str, set[str]] = {}
        self._calls: list[SpanCall] = []
        self._from_events: dict[SpanKey, SpanCall] = {}
        self._first_record = b""

    def records(self) -> Iterator[Record]:
        """Yield the issues as they are met, then traces and calls."""
        for span in spans_of(self._log):
            if isinstance(span, Issue):
                yield span
                continue
            self._first_record = self._first_record or span.place.data
            try:
                yield from self._note(span)
            except BAD_RECORD as error:
                yield span.place.issue(error)
        self._join_events()
        calls, self._log.merged = merge_layers(self._calls, self._ancestry)
        yield from self._records_of(calls)

    # ---- Taking in one span --------------------------------------------------------------------

    def _note(self, span: Span) -> Iterator[Issue]:
        """Remember a span and the call that it describes, if it does; yield an issue if messages in
        it cannot be read.

        Raises:
            ValueError: it cannot be read at all.
        """
        layer = layer_of(span)
        conversation = conversation_of(span.attributes)
        key = None if span.trace is None or span.id is None else (span.trace, span.id)
        if span.event is None and key is not None:
            parent = None if span.parent is None else (key[0], span.parent)
            self._ancestry[key] = SpanNode(parent, layer, conversation)
            if conversation is not None:
                self._conversations.setdefault(key[0], set()).add(conversation)
        if span.event is not None and is_message_event(span.event.name):
            self._note_message(span, key)
        elif layer > Layer.TOOL:
            facts = facts_of(span, layer)
            if _is_call(span, facts):
                yield from self._note_call(span, key, facts, conversation)

    def _note_call(
        self, span: Span, key: SpanKey | None, facts: Facts, conversation: str | None
    ) -> Iterator[Issue]:
        prompt, completions, logged = ROOT, list[int](), False
        try:
            content = content_of(span.attributes, span.events)
            prompt, completions, logged = self._place(content, span, facts)
        except BAD_RECORD as error:
            yield span.place.issue(error)
        if not logged and not completions:
            prompt = self._stand_in(span, facts)
        by_itself = span.name == "claude_code.api_request"  # Many share the span they were made in.
        start_ns, end_ns = _times(span, facts)
        self._calls.append(
            SpanCall(
                line=span.place.line,
                offset=span.place.offset,
                key=None if by_itself else key,
                trace=span.trace,
                parent=None if key is None or span.parent is None else (key[0], span.parent),
                name=span.name,
                facts=facts,
                start_ns=start_ns,
                end_ns=end_ns,
                prompt=prompt,
                logged=logged,
                completions=completions,
                is_event=span.event is not None,
                conversation=conversation,
                agent=_program(span.resource),
                project=self._project(span.resource),
            )
        )

    def _place(self, content: Content, span: Span, facts: Facts) -> tuple[int, list[int], bool]:
        """The nodes of a call's prompt and of its choices, and whether the prompt was logged."""
        follow = self._paths.follow
        if content.prompt is None and content.completions is None:
            return ROOT, [], False
        logged = content.prompt is not None
        prompt = follow(ROOT, content.prompt or ()) if logged else self._stand_in(span, facts)
        return prompt, [follow(prompt, each) for each in content.completions or ()], logged

    def _stand_in(self, span: Span, facts: Facts) -> int:
        """A node for a prompt that no span holds: no other call has it."""
        name = facts.response_id or span.id or f"{self._log.path.name}:{span.place.line}"
        return self._tree.extend(ROOT, Kind.UNLOGGED, "", f"prompt of {name}")

    def _note_message(self, span: Span, key: SpanKey | None) -> None:
        """A log record that carries one message of the span in which it was made.

        Raises:
            ValueError: the message cannot be read.
        """
        if key is None or span.event is None:
            return
        sent, choices = messages_of_events([span.event])
        call = self._from_events.get(key)
        if call is None:
            call = self._from_events[key] = self._empty_call(span, key)
        call.prompt = self._paths.follow(call.prompt, sent)
        call.logged = call.prompt != ROOT
        base = call.prompt if call.logged else self._stand_in(span, call.facts)
        call.completions += [self._paths.follow(base, each) for each in choices]
        call.prompt = base if choices else call.prompt

    def _empty_call(self, span: Span, key: SpanKey) -> SpanCall:
        return SpanCall(
            line=span.place.line,
            offset=span.place.offset,
            key=key,
            trace=key[0],
            parent=None,
            name=span.name,
            facts=facts_of(span, Layer.CALL),
            start_ns=None,
            end_ns=span.end_ns,
            prompt=ROOT,
            logged=False,
            is_event=True,
            agent=_program(span.resource),
            project=self._project(span.resource),
        )

    def _join_events(self) -> None:
        """Let message events be calls, to be merged with their spans; where the spans are in another
        file, those that have an answer."""
        for key, call in self._from_events.items():
            node = self._ancestry.get(key)
            if call.completions if node is None else node.layer is Layer.CALL:
                self._calls.append(call)

    def _project(self, resource: Attributes) -> str | None:
        named = resource.word("openinference.project.name", "service.namespace")
        return named or self._log.path.parent.name or None

    # ---- Giving out calls ----------------------------------------------------------------------

    def _records_of(self, calls: list[SpanCall]) -> Iterator[Record]:
        excluding = emitters_that_exclude(call.facts for call in calls)
        traces: set[str] = set()
        for span_call in calls:
            try:
                usage = usage_of(span_call.facts, excluding)
                started_at = moment(span_call.start_ns)
            except ValueError as error:
                yield Issue(line=span_call.line, offset=span_call.offset, reason=str(error))
                continue
            trace = self._trace_of(span_call)
            for each in (trace.parent, trace.id):
                if each is not None and each not in traces:
                    traces.add(each)
                    is_child = each == trace.id
                    yield (
                        trace if is_child else msgspec.structs.replace(trace, id=each, parent=None)
                    )
            call = self._call(span_call, trace, usage)
            call = msgspec.structs.replace(call, started_at=started_at)
            yield call
            yield from self._choices(call, span_call.completions)

    def _call(self, found: SpanCall, trace: Trace, usage: Usage | None) -> Call:
        facts = found.facts
        duration = None
        if found.start_ns is not None and found.end_ns is not None:
            duration = max(found.end_ns - found.start_ns, 0) / 1e9
        return Call(
            identity=_identity(found),
            trace=trace.id,
            line=found.line,
            offset=found.offset,
            prompt=found.prompt,
            completion=found.completions[0] if found.completions else None,
            duration_s=duration,
            provider=facts.provider,
            model=facts.model,
            usage=usage,
            sidechain=trace.parent is not None,
            service_tier=facts.service_tier,
            logged_cost_usd=facts.cost_usd,
        )

    def _choices(self, call: Call, completions: list[int]) -> Iterator[Record]:
        """Several choices of one call: rollouts of its prompt."""
        if len(completions) < 2:
            return
        name = call.identity[1] if call.identity else f"{call.trace}/{call.offset}"
        group = self._tree.hash_of(call.prompt)
        for number, leaf in enumerate(completions):
            yield Trace(
                id=f"{name}/{number}", parent=call.trace, group=group, prompt=call.prompt, leaf=leaf
            )

    def _trace_of(self, call: SpanCall) -> Trace:
        conversation, tool, agent, subagent = call.conversation, False, None, call.facts.subagent
        for key in ancestors(call, self._ancestry):
            node = self._ancestry.get(key)
            if node is None:
                break
            conversation = conversation or node.conversation
            if node.layer is Layer.AGENT and agent is None:
                agent = key[1]
            tool = tool or (node.layer is Layer.TOOL and agent is not None)
        in_trace = self._conversations.get(call.trace or "", set())
        if conversation is None and len(in_trace) == 1:
            (conversation,) = in_trace
        name = conversation or call.trace or self._file_id()
        subagent = subagent or (agent if tool else None)
        return Trace(
            id=name if subagent is None else f"{name}/{subagent}",
            parent=None if subagent is None else name,
            project=call.project,
            agent=call.agent,
        )

    def _file_id(self) -> str:
        return hashlib.sha256(self._first_record.strip()).hexdigest()[:32]


def _is_call(span: Span, facts: Facts) -> bool:
    if facts.counts.known:
        return True
    failed = span.failed or "error.type" in span.attributes
    return facts.layer is Layer.CALL and not failed


def _times(span: Span, facts: Facts) -> tuple[int | None, int | None]:
    """When a call began and ended. An event has its end, and some say how long it took."""
    if span.event is None or span.end_ns is None:
        return span.start_ns, span.end_ns
    took = span.attributes.amount("duration_ms") if "duration_ms" in span.attributes else None
    if took is None:
        return span.end_ns, None
    return span.end_ns - int(took * 1e6), span.end_ns


def _identity(call: SpanCall) -> tuple[str, str] | None:
    if call.facts.response_id is not None:
        return ("", call.facts.response_id)
    return call.key


def _program(resource: Attributes) -> str | None:
    name, version = resource.word("service.name"), resource.word("service.version")
    if name is None or name.startswith("unknown_service"):
        return None
    return name if version is None else f"{name} {version}"

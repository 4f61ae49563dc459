"""VS Code chat sessions, GitHub Copilot's among them: logs of changes (``.jsonl``) or documents.

They are ``chatSessions/<session>.jsonl``, earlier ``.json``, and exports (``chat.json``). A session is
``{"version": 3, "sessionId", "responderUsername", "requests": [request, …], …}`` (src/vs/workbench/
contrib/chat/common/model/chatModel.ts of github.com/microsoft/vscode, read at 00817b7), or a log of
changes to one (`vscode_chat_log`). A request is one turn of the person's and all that came of it.
What to know about it:

- ``result.metadata`` is Copilot's (src/extension/prompt/common/conversation.ts of
  github.com/microsoft/vscode-copilot-chat, read at 31acd00). ``toolCallRounds`` has an element for each
  call of the model: what it said, the tools it called, its thinking. ``toolCallResults`` has what the
  tools gave. Without rounds, a request is one call, and its answer stands in ``response``.
- ``promptTokens`` is of the newest call of the turn only. ``completionTokens`` is that call's, too, or
  (newer) the sum of the turn's; ``result.metadata.outputTokens`` is the newest call's. Of the calls
  before it nothing is counted.
- ``modelTotals`` (newer, from some backends) sums up all calls of the turn, subagents' and compactions'
  too, by model; ``inputTokens`` includes ``cachedTokens``. In a turn of several calls such a sum is one
  more call, which stands for all of them. Cache writes are counted nowhere.
- ``summaries`` tell what stands for the turn up to a round from then on. They are calls with counts.
- ``renderedUserMessage`` is what was sent; ``message.text`` is what the person wrote.
- A request without a ``result`` has not ended. One that was taken back was billed all the same.
- An exported or transferred session has the same request ids.
- The system prompt, the tool definitions and what subagents said are not logged.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, ClassVar
from urllib.parse import unquote, urlsplit

import msgspec

from forkpoint.parsers.agent_session import moment, unlogged_beginning
from forkpoint.parsers.base import Tree
from forkpoint.parsers.chat import Segment, call_segment, extend_all
from forkpoint.parsers.document import decode_document, head_fields
from forkpoint.parsers.json_list import elements
from forkpoint.parsers.logs import BAD_RECORD, Head, Line, Log
from forkpoint.parsers.model_names import model_name
from forkpoint.parsers.raw_json import (
    canonical_value,
    decode,
    decode_fields,
    decode_value,
    is_list,
    is_object,
    present,
    word_of,
)
from forkpoint.parsers.records import Call, Issue, Kind, Record, Tokens, Trace, Usage
from forkpoint.parsers.vscode_chat_log import ChangeLog, LoggedRequest

_CHANGE = re.compile(rb'\s*+\{\s*+"kind"\s*+:\s*+\d')
_MAX_WORKSPACE_BYTES = 1 << 20


class _Texts(msgspec.Struct):
    text: str | list[str] | None = None


class _ToolCall(msgspec.Struct):
    id: str | None = None
    name: str | None = None
    arguments: Any = None


class _Round(msgspec.Struct, rename="camel"):
    id: str | None = None
    response: str | list[str] | None = None
    tool_calls: list[_ToolCall] | None = None
    thinking: _Texts | None = None
    timestamp: float | None = None
    model_id: str | None = None


class _CachedTokens(msgspec.Struct):
    cached_tokens: Tokens | None = None


class _SummaryUsage(msgspec.Struct):
    prompt_tokens: Tokens | None = None
    completion_tokens: Tokens | None = None
    prompt_tokens_details: _CachedTokens | None = None


class _Summary(msgspec.Struct, rename="camel"):
    tool_call_round_id: str | None = None
    text: str | None = None
    model: str | None = None
    usage: _SummaryUsage | None = None


class _Result(msgspec.Struct):
    content: list[Any] | None = None


class _Metadata(msgspec.Struct, rename="camel"):
    rendered_user_message: list[_Texts] | None = None
    tool_call_rounds: list[_Round] | None = None
    tool_call_results: dict[str, _Result] | None = None
    summary: _Summary | None = None
    summaries: list[_Summary] | None = None
    resolved_model: str | None = None
    prompt_tokens: Tokens | None = None
    output_tokens: Tokens | None = None


class _Timings(msgspec.Struct, rename="camel"):
    total_elapsed: float | None = None


class _Answer(msgspec.Struct):
    metadata: _Metadata | None = None
    timings: _Timings | None = None


class _Message(msgspec.Struct):
    text: str | None = None


class _Agent(msgspec.Struct, rename="camel"):
    id: str | None = None
    extension_version: str | None = None


class _ModelTotal(msgspec.Struct, rename="camel"):
    model: str | None = None
    input_tokens: Tokens | None = None
    cached_tokens: Tokens | None = None
    output_tokens: Tokens | None = None

    def usage(self) -> Usage | None:
        """The counts, if anything was counted.

        Raises:
            ValueError: the cached part exceeds the whole.
        """
        if not any((self.input_tokens, self.cached_tokens, self.output_tokens)):
            return None
        return Usage(
            input_tokens=self.input_tokens,
            cache_read_tokens=self.cached_tokens,
            output_tokens=self.output_tokens,
        )


class _Request(msgspec.Struct, rename="camel"):
    request_id: str | None = None
    timestamp: float | None = None
    message: _Message | str | None = None
    agent: _Agent | None = None
    model_id: str | None = None
    response: list[Any] | None = None
    result: _Answer | None = None
    prompt_tokens: Tokens | None = None
    completion_tokens: Tokens | None = None
    model_totals: list[_ModelTotal] | None = None
    elapsed_ms: float | None = None

    @property
    def metadata(self) -> _Metadata:
        return (self.result and self.result.metadata) or _Metadata()


class _Session(msgspec.Struct, rename="camel"):
    """A session's fields but the requests; none of them is needed."""

    session_id: str | None = None
    custom_title: str | None = None
    computed_title: str | None = None
    working_directory: str | None = None


class _Document(_Session, rename="camel"):
    requests: list[msgspec.Raw] = []


class _Workspace(msgspec.Struct):
    folder: str | None = None


_DOCUMENT = msgspec.json.Decoder(_Document)
_WORKSPACE = msgspec.json.Decoder(_Workspace)


class VSCodeChat:
    """Reads VS Code's chat sessions; see the module's docstring."""

    name: ClassVar[str] = "vscode-chat"
    title: ClassVar[str] = "VS Code chat (GitHub Copilot)"
    checked: ClassVar[str] = "writers vscode 00817b7 and vscode-copilot-chat 31acd00, 2026-11"
    evidence: ClassVar[tuple[str, ...]] = ("usage", "text", "timestamps")
    locations: ClassVar[tuple[str, ...]] = (
        "~/.config/Code/User/workspaceStorage/*/chatSessions",
        "~/.config/Code/User/globalStorage/emptyWindowChatSessions",
        "~/.config/Code - Insiders/User/workspaceStorage/*/chatSessions",
        "~/.vscode-server/data/User/workspaceStorage/*/chatSessions",
        "~/Library/Application Support/Code/User/workspaceStorage/*/chatSessions",
        "~/Library/Application Support/Code/User/globalStorage/emptyWindowChatSessions",
        "~/AppData/Roaming/Code/User/workspaceStorage/*/chatSessions",
        "~/AppData/Roaming/Code/User/globalStorage/emptyWindowChatSessions",
    )
    whole_prompts: ClassVar[bool] = False
    grows: ClassVar[bool] = False

    def identify(self, head: Head) -> str | None:
        """Why the file is of this format, or ``None``."""
        fields, what = head_fields(head), "a chat session"
        if b'"responderUsername"' not in head.data:
            return None
        raw = present(fields, "v")
        if raw is not None and is_object(raw) and bytes(fields.get("kind", b"")) == b"0":
            try:
                fields, what = decode_fields(raw), "changes to a chat session"
            except BAD_RECORD:
                return None
        requests, responder = present(fields, "requests"), word_of(fields, "responderUsername")
        if requests is None or not is_list(requests) or responder is None:
            return None
        return f"{what} with a responderUsername and requests"

    def parse(self, log: Log, tree: Tree) -> Iterator[Record]:
        """Yield the session and its calls."""
        first = next(log.lines(), None)
        if isinstance(first, Line) and _CHANGE.match(first.data):
            yield from _from_changes(log, tree)
        else:
            yield from _from_document(log, tree)


def _from_document(log: Log, tree: Tree) -> Iterator[Record]:
    opened = decode_document(log, _DOCUMENT)
    if isinstance(opened, Issue):
        yield opened
        return
    line, document = opened
    conversation = _Conversation(tree, document, log)
    node: int | None = None
    start = max(line.data.find(b'"requests"'), 0)
    for record in elements(line.data, document.requests, start):
        try:
            request = msgspec.convert(decode_value(msgspec.Raw(record.data), "request"), _Request)
            node, calls = conversation.turn(request, record, node)
        except BAD_RECORD as error:
            yield record.issue(error)
        else:
            yield from calls
    yield conversation.trace()


def _from_changes(log: Log, tree: Tree) -> Iterator[Record]:
    changes = ChangeLog()
    yield from changes.read(log.lines())
    try:
        session = msgspec.convert(changes.session, _Session)
    except BAD_RECORD:
        session = _Session()  # its names are of no use, its requests are
    conversation = _Conversation(tree, session, log)
    ends: dict[LoggedRequest | None, int | None] = {None: None}
    for logged in changes.requests:
        before = ends[logged.before] = ends.get(logged.before)
        ends[logged] = before
        if not logged.answered:
            continue
        try:
            request = msgspec.convert(logged.fields, _Request)
            ends[logged], calls = conversation.turn(request, logged.place, before)
        except BAD_RECORD as error:
            yield logged.place.issue(error)
        else:
            yield from calls
    yield conversation.trace()


class _Conversation:
    """One session's calls."""

    def __init__(self, tree: Tree, session: _Session, log: Log) -> None:
        self.tree = tree
        self.session = session
        self.id = session.session_id or log.path.name.partition(".")[0]
        self.project = _folder(session.working_directory) or _workspace(log)
        self.version: str | None = None
        self.counted: set[str] = set()
        """Requests that were read: an edit of an older one puts them into the log again."""

    def trace(self) -> Trace:
        """The session."""
        session = self.session
        return Trace(
            id=self.id,
            project=self.project,
            agent=f"VS Code chat {self.version}" if self.version else "VS Code chat",
            title=session.custom_title or session.computed_title,
        )

    def turn(self, request: _Request, line: Line, before: int | None) -> tuple[int, list[Call]]:
        """Where the context stands after a request, and its calls.

        Args:
            before: where it stood before; ``None`` at the beginning.

        Raises:
            ValueError: something in it is not as it should be.
        """
        turn = _Turn(self, request, line)
        node = self._beginning(request) if before is None else before
        node = turn.read(extend_all(self.tree, node, _said(request)))
        if request.request_id is not None:
            if request.request_id in self.counted:
                return node, []
            self.counted.add(request.request_id)
        return node, turn.calls

    def _beginning(self, request: _Request) -> int:
        agent = request.agent or _Agent()
        self.version = self.version or agent.extension_version
        return unlogged_beginning(self.tree, "vscode-chat", agent.id, agent.extension_version)


class _Turn:
    """What came of one request."""

    def __init__(self, conversation: _Conversation, request: _Request, line: Line) -> None:
        self.conversation = conversation
        self.request = request
        self.line = line
        self.calls: list[Call] = []
        self.sums = [
            (total.model, usage)
            for total in request.model_totals or ()
            if (usage := total.usage()) is not None
        ]

    def read(self, node: int) -> int:
        """Add the turn's calls; gives the node after the last answer and what its tools gave."""
        metadata = self.request.metadata
        rounds = metadata.tool_call_rounds or []
        summaries = [*(metadata.summaries or ()), *filter(None, [metadata.summary])]
        latest = self._newest_usage(max(len(rounds), 1))
        if not rounds and (self.request.response or latest is not None):
            node = self._call(node, _shown(self.request.response or []), None, latest, True)
        for number, each in enumerate(rounds, 1):
            last = number == len(rounds)
            node = self._call(node, _round_segments(each), each, latest if last else None, last)
            node = extend_all(self.conversation.tree, node, _results(each, metadata))
            for summary in summaries:
                if summary.text and summary.tool_call_round_id == each.id is not None:
                    node = self._summarise(node, summary)
        if self.sums and len(rounds) > 1:
            self._sum_up()
        return node

    def _newest_usage(self, n_calls: int) -> Usage | None:
        """The counts of the turn's newest call. Zeros mean that nothing was counted."""
        if self.sums:
            return self.sums[0][1] if n_calls == 1 and len(self.sums) == 1 else None
        request, metadata = self.request, self.request.metadata
        given, made = metadata.prompt_tokens, metadata.output_tokens
        if not given:
            given = request.prompt_tokens
            made = made or (request.completion_tokens if n_calls == 1 else None)
        if not given and not made:
            return None
        return Usage(input_tokens=given or None, output_tokens=made or None)

    def _call(
        self, node: int, said: list[Segment], at: _Round | None, usage: Usage | None, last: bool
    ) -> int:
        request = self.request
        after = extend_all(self.conversation.tree, node, said)
        named = at.model_id if at is not None and at.model_id else None
        name = model_name(_model(named or request.metadata.resolved_model or request.model_id))
        number = len(self.calls)
        elapsed = request.result and request.result.timings and request.result.timings.total_elapsed
        alone = last and number == 0
        self.calls.append(
            Call(
                identity=self._identity((at and at.id) or (str(number) if number else "")),
                trace=self.conversation.id,
                line=self.line.line,
                offset=self.line.offset,
                prompt=node,
                completion=after,
                started_at=moment((at and at.timestamp) or request.timestamp),
                duration_s=_seconds(elapsed or request.elapsed_ms) if alone else None,
                provider=name.provider,
                model=name.model,
                usage=usage,
            )
        )
        return after

    def _identity(self, part: str) -> tuple[str, str] | None:
        if self.request.request_id is None:
            return None
        return "", f"vscode-chat:{self.request.request_id}/{part}"

    def _summarise(self, node: int, summary: _Summary) -> int:
        """A summary, and the context that begins with it."""
        tree, text = self.conversation.tree, summary.text or ""
        usage = None if self.sums else _summary_usage(summary.usage)
        if usage is not None:
            after = tree.extend(node, Kind.TEXT, "assistant", text)
            self._call(node, [], None, usage, False)
            name = model_name(_model(summary.model or self.request.model_id))
            self.calls[-1] = msgspec.structs.replace(
                self.calls[-1],
                identity=self._identity(f"summary {summary.tool_call_round_id}"),
                completion=after,
                provider=name.provider,
                model=name.model,
            )
        beginning = unlogged_beginning(tree, "vscode-chat", "summarised")
        return tree.extend(beginning, Kind.TEXT, "user", text)

    def _sum_up(self) -> None:
        """The calls that stand for all of the turn's, one a model."""
        prompt = unlogged_beginning(self.conversation.tree, "vscode-chat", "all calls")
        for model, usage in self.sums:
            name = model_name(_model(model))
            self.calls.append(
                Call(
                    identity=self._identity(f"all calls of {model}"),
                    trace=self.conversation.id,
                    line=self.line.line,
                    offset=self.line.offset,
                    prompt=prompt,
                    started_at=moment(self.request.timestamp),
                    provider=name.provider,
                    model=name.model,
                    usage=usage,
                    is_sum=True,
                )
            )


def _said(request: _Request) -> list[Segment]:
    """The person's words, as they were sent where that is known."""
    rendered = request.metadata.rendered_user_message or ()
    texts = [text for part in rendered if (text := _joined(part.text))]
    if not texts:
        message = request.message
        text = message if isinstance(message, str) else (message and message.text) or ""
        texts = [text] if text else []
    return [Segment(Kind.TEXT, "user", text) for text in texts]


def _round_segments(each: _Round) -> list[Segment]:
    segments = []
    thinking = _joined(each.thinking.text) if each.thinking is not None else ""
    if thinking:
        segments.append(Segment(Kind.THINKING, "assistant", thinking))
    if text := _joined(each.response):
        segments.append(Segment(Kind.TEXT, "assistant", text))
    for call in each.tool_calls or ():
        arguments = call.arguments
        if not isinstance(arguments, str):
            arguments = "" if arguments is None else canonical_value(arguments)
        segments.append(call_segment("assistant", call.name, arguments))
    return segments


def _results(each: _Round, metadata: _Metadata) -> list[Segment]:
    known = metadata.tool_call_results or {}
    given = [known[call.id] for call in each.tool_calls or () if call.id in known]
    return [Segment(Kind.TOOL_RESULT, "tool", _result_text(result)) for result in given]


def _result_text(result: _Result) -> str:
    """A result's texts: parts hold one, or a tree of elements that hold them."""
    texts: list[str] = []
    left = [part.get("value") for part in result.content or () if isinstance(part, dict)][::-1]
    while left:
        value = left.pop()
        if isinstance(value, str):
            texts.append(value)
        elif isinstance(value, list):
            left += value[::-1]
        elif isinstance(value, dict):
            left += [value.get("node"), value.get("children"), value.get("text")]
    return "".join(texts)


def _shown(response: list[Any]) -> list[Segment]:
    """An answer as it was shown: Markdown, in parts, and thinking."""
    segments: list[Segment] = []
    for part in response:
        if not isinstance(part, dict):
            continue
        kind, value = part.get("kind"), part.get("value")
        if kind in ("markdownContent", "markdownVuln") and isinstance(part.get("content"), dict):
            kind, value = None, part["content"].get("value")
        text = _joined(value) if isinstance(value, str | list) else ""
        if kind not in (None, "thinking") or not text:
            continue
        of = Kind.THINKING if kind == "thinking" else Kind.TEXT
        if segments and segments[-1].kind is of:
            text = segments.pop().text + text
        segments.append(Segment(of, "assistant", text))
    return segments


def _joined(text: Any) -> str:
    if isinstance(text, list):
        return "".join(each for each in text if isinstance(each, str))
    return text or ""


def _model(name: str | None) -> str | None:
    """A model's name without Copilot's; ``auto`` is none."""
    name = name and name.removeprefix("copilot/")
    return None if name == "auto" else name


def _summary_usage(counts: _SummaryUsage | None) -> Usage | None:
    if counts is None or not (counts.prompt_tokens or counts.completion_tokens):
        return None
    details = counts.prompt_tokens_details
    return Usage(
        input_tokens=counts.prompt_tokens,
        cache_read_tokens=details.cached_tokens if details is not None else None,
        output_tokens=counts.completion_tokens,
    )


def _seconds(milliseconds: float | None) -> float | None:
    return milliseconds / 1000 if milliseconds is not None and 0 <= milliseconds < 1e12 else None


def _workspace(log: Log) -> str | None:
    """The folder that a session's workspace is, from what lies beside its sessions, if anything."""
    if log.path.parent.name != "chatSessions":
        return None
    try:
        with open(log.path.parent.parent / "workspace.json", "rb") as stream:
            workspace = decode(stream.read(_MAX_WORKSPACE_BYTES), _WORKSPACE, "workspace")
    except (OSError, *BAD_RECORD):
        return None  # sessions count without it
    return _folder(workspace.folder)


def _folder(uri: str | None) -> str | None:
    """A folder's path, from its URI."""
    if not uri:
        return None
    try:
        parts = urlsplit(uri)
    except ValueError:
        return uri
    return unquote(parts.path) if parts.scheme else uri

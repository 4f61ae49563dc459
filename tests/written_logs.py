"""The same conversations, written down in the formats of many programs.

Three runs of one agent: two questions behind one system prompt, the second asked twice, so that the
runs part once after the system prompt and once inside an answer. Text and tool calls, no token ids;
token counts as a provider with a prompt cache bills them, or none.

Each writer writes what the real program would: messages in its dialect, counts by its own
convention. `Format.lacks` says what of it the format cannot carry, and why.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

MODEL = "claude-sonnet-4-5-20250929"
TOOLS = {"read": "Read a file of the project.", "run": "Run a command in the project's folder."}
PARAMETERS = {"type": "object", "properties": {"what": {"type": "string"}}, "required": ["what"]}
SYSTEM = (
    "You look after the tide tables of a small harbour. Read before you change anything, change one "
    "thing at a time, and run the tests after each change. Heights are metres above chart datum."
)


class Counts(NamedTuple):
    """What one call is billed. `input` has everything that was sent, `reasoning` is in `output`."""

    input: int
    read: int
    write: int
    output: int

    @property
    def uncached(self) -> int:
        return self.input - self.read - self.write


class ToolUse(NamedTuple):
    """A tool call and what came of it."""

    name: str
    what: str
    result: str

    @property
    def arguments(self) -> dict[str, str]:
        return {"what": self.what}


class Turn(NamedTuple):
    """One call: what the agent said and did."""

    answer: str
    uses: tuple[ToolUse, ...]
    counts: Counts | None
    sent_at: datetime
    id: str

    @property
    def answered_at(self) -> datetime:
        return self.sent_at + timedelta(seconds=2)


class Conversation(NamedTuple):
    """One run of the agent."""

    id: str
    question: str
    turns: tuple[Turn, ...]

    def calls(self) -> Iterator[tuple[Turn, list[Any]]]:
        """Each call with what was said before it: the question, then turns."""
        before: list[Any] = [self.question]
        for turn in self.turns:
            yield turn, list(before)
            before.append(turn)


def conversations(billed: bool = True) -> list[Conversation]:
    """The three runs, one after the other."""
    leap = "The tables are wrong on leap days. Find out why."
    wind = "Which of our stations lost its wind gauge last winter?"
    log = ToolUse(
        "read", "log/winter.txt", "12 Jan: gauge 3 silent\n13 Jan: mast of gauge 3 fell\n"
    )
    tests = ToolUse("run", "make test", "41 passed, 1 failed: test_29_february\n")
    source = ToolUse("read", "tides.py", "def days(year):\n    return 365\n")
    # fmt: off
    plans: list[tuple[str, str, list[tuple[str, tuple[ToolUse, ...], Counts]]]] = [
        ("run-1", leap, [
            ("I will run the tests first, then read the code.", (tests, source),
             Counts(1204, 0, 1190, 71)),
            ("A year has 365 days here, leap years too. I will look at who calls it.",
             (ToolUse("run", "grep -rn 'days(' .", "tables.py:9:    n = days(year)\n"),),
             Counts(1377, 1190, 180, 58)),
            ("Only the tables call it, so days() is the place to repair.", (),
             Counts(1466, 1370, 92, 17)),
        ]),
        ("run-2", wind, [
            ("I will read the log of last winter.", (log,), Counts(1201, 1003, 187, 30)),
            ("Station 3: its mast fell on 13 January.", (), Counts(1268, 1190, 71, 14)),
        ]),
        ("run-3", wind, [
            ("I will read the list of stations.",
             (ToolUse("read", "stations.txt", "1 Pier\n2 Mole\n3 Lighthouse\n"), log),
             Counts(1201, 1190, 0, 52)),
            ("The Lighthouse: it has been silent since 12 January.", (),
             Counts(1310, 1190, 110, 16)),
        ]),
    ]
    # fmt: on
    found, at = [], datetime(2026, 11, 2, 9, 0, tzinfo=UTC)
    for name, question, turns in plans:
        made = []
        for number, (answer, uses, counts) in enumerate(turns):
            turn = Turn(answer, uses, counts if billed else None, at, f"msg_{name}_000{number}_xyz")
            made.append(turn)
            at += timedelta(seconds=20)
        found.append(Conversation(name, question, tuple(made)))
        at += timedelta(seconds=60)
    return found


def compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


def dense(**fields: Any) -> dict[str, Any]:
    """Fields without those that are missing."""
    return {name: value for name, value in fields.items() if value is not None}


def stamp(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def nanoseconds(moment: datetime) -> str:
    return str(int(moment.timestamp()) * 10**9)


def use_id(turn: Turn, number: int) -> str:
    return f"{turn.id}_{number}"


def write_lines(path: Path, records: Sequence[Any]) -> None:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))


# --- OpenAI's messages, which many formats share ------------------------------------------------


def chat_answer(turn: Turn) -> dict[str, Any]:
    calls = [
        {
            "id": use_id(turn, number),
            "type": "function",
            "function": {"name": use.name, "arguments": compact(use.arguments)},
        }
        for number, use in enumerate(turn.uses)
    ]
    return dense(role="assistant", content=turn.answer, tool_calls=calls or None)


def chat_messages(before: Sequence[Any]) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = [{"role": "system", "content": SYSTEM}]
    for said in before:
        if isinstance(said, str):
            messages.append({"role": "user", "content": said})
            continue
        messages.append(chat_answer(said))
        for number, use in enumerate(said.uses):
            result = {"role": "tool", "tool_call_id": use_id(said, number), "content": use.result}
            messages.append(result)
    return messages


def chat_tools() -> list[dict[str, Any]]:
    return [
        {
            "type": "function",
            "function": {"name": name, "description": text, "parameters": PARAMETERS},
        }
        for name, text in TOOLS.items()
    ]


def chat_usage(counts: Counts | None) -> dict[str, Any] | None:
    if counts is None:
        return None
    return {
        "prompt_tokens": counts.input,
        "completion_tokens": counts.output,
        "total_tokens": counts.input + counts.output,
        "prompt_tokens_details": {
            "cached_tokens": counts.read,
            "cache_write_tokens": counts.write,
        },
    }


def chat_request(before: Sequence[Any]) -> dict[str, Any]:
    return {"model": MODEL, "messages": chat_messages(before), "tools": chat_tools()}


def chat_response(turn: Turn) -> dict[str, Any]:
    return dense(
        id=turn.id,
        object="chat.completion",
        model=MODEL,
        choices=[{"index": 0, "message": chat_answer(turn), "finish_reason": "stop"}],
        usage=chat_usage(turn.counts),
    )


def gateway(
    runs: list[Conversation],
    folder: Path,
    request: Callable[[list[Any]], Any],
    response: Callable[[Turn], Any],
) -> None:
    records = [
        {
            "timestamp": stamp(turn.sent_at),
            "duration_ms": 2000,
            "session_id": run.id,
            "provider": "anthropic",
            "request": request(before),
            "response": response(turn),
        }
        for run in runs
        for turn, before in run.calls()
    ]
    write_lines(folder / "gateway.jsonl", records)


def openai_chat(runs: list[Conversation], folder: Path) -> None:
    gateway(runs, folder, chat_request, chat_response)


# --- OpenAI's Responses API ---------------------------------------------------------------------


def response_items(turn: Turn) -> list[dict[str, Any]]:
    message = {
        "type": "message",
        "role": "assistant",
        "content": [{"type": "output_text", "text": turn.answer}],
    }
    return [
        message,
        *(
            {
                "type": "function_call",
                "call_id": use_id(turn, number),
                "name": use.name,
                "arguments": compact(use.arguments),
            }
            for number, use in enumerate(turn.uses)
        ),
    ]


def responses_request(before: Sequence[Any]) -> dict[str, Any]:
    items: list[dict[str, Any]] = []
    for said in before:
        if isinstance(said, str):
            items.append({"role": "user", "content": said})
            continue
        items += response_items(said)
        items += [
            {
                "type": "function_call_output",
                "call_id": use_id(said, number),
                "output": use.result,
            }
            for number, use in enumerate(said.uses)
        ]
    tools = [{"type": "function", **tool["function"]} for tool in chat_tools()]
    return {"model": MODEL, "instructions": SYSTEM, "tools": tools, "input": items, "store": False}


def responses_response(turn: Turn) -> dict[str, Any]:
    counts = turn.counts
    usage = counts and {
        "input_tokens": counts.input,
        "input_tokens_details": {
            "cached_tokens": counts.read,
            "cache_write_tokens": counts.write,
        },
        "output_tokens": counts.output,
    }
    return dense(
        id=turn.id, object="response", model=MODEL, output=response_items(turn), usage=usage
    )


def openai_responses(runs: list[Conversation], folder: Path) -> None:
    gateway(runs, folder, responses_request, responses_response)


# --- Anthropic's Messages API -------------------------------------------------------------------


def anthropic_content(turn: Turn) -> list[dict[str, Any]]:
    uses = [
        {
            "type": "tool_use",
            "id": use_id(turn, number),
            "name": use.name,
            "input": use.arguments,
        }
        for number, use in enumerate(turn.uses)
    ]
    return [{"type": "text", "text": turn.answer}, *uses]


def anthropic_results(turn: Turn) -> list[dict[str, Any]]:
    return [
        {"type": "tool_result", "tool_use_id": use_id(turn, number), "content": use.result}
        for number, use in enumerate(turn.uses)
    ]


def anthropic_usage(counts: Counts | None) -> dict[str, Any] | None:
    return counts and {
        "input_tokens": counts.uncached,
        "cache_read_input_tokens": counts.read,
        "cache_creation_input_tokens": counts.write,
        "output_tokens": counts.output,
    }


def anthropic_request(before: Sequence[Any]) -> dict[str, Any]:
    messages: list[dict[str, Any]] = []
    for said in before:
        if isinstance(said, str):
            messages.append({"role": "user", "content": said})
            continue
        messages.append({"role": "assistant", "content": anthropic_content(said)})
        messages.append({"role": "user", "content": anthropic_results(said)})
    tools = [
        {"name": name, "description": text, "input_schema": PARAMETERS}
        for name, text in TOOLS.items()
    ]
    return {"model": MODEL, "max_tokens": 500, "system": SYSTEM, "tools": tools,
            "messages": messages}  # fmt: skip


def anthropic_response(turn: Turn) -> dict[str, Any]:
    return dense(
        id=turn.id,
        type="message",
        role="assistant",
        model=MODEL,
        content=anthropic_content(turn),
        usage=anthropic_usage(turn.counts),
    )


def anthropic(runs: list[Conversation], folder: Path) -> None:
    gateway(runs, folder, anthropic_request, anthropic_response)


# --- Spans --------------------------------------------------------------------------------------


def genai_answer(turn: Turn) -> dict[str, Any]:
    parts: list[dict[str, Any]] = [{"type": "text", "content": turn.answer}]
    for number, use in enumerate(turn.uses):
        parts.append({"type": "tool_call", "id": use_id(turn, number), "name": use.name,
                      "arguments": use.arguments})  # fmt: skip
    return {"role": "assistant", "parts": parts}


def genai_messages(before: Sequence[Any]) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = []
    for said in before:
        if isinstance(said, str):
            messages.append({"role": "user", "parts": [{"type": "text", "content": said}]})
            continue
        messages.append(genai_answer(said))
        for number, use in enumerate(said.uses):
            part = {
                "type": "tool_call_response",
                "id": use_id(said, number),
                "response": use.result,
            }
            messages.append({"role": "tool", "parts": [part]})
    return messages


def otlp(value: str | int) -> dict[str, Any]:
    return {"intValue": str(value)} if isinstance(value, int) else {"stringValue": value}


def otel_genai(runs: list[Conversation], folder: Path) -> None:
    records = []
    for run_number, run in enumerate(runs, 1):
        for number, (turn, before) in enumerate(run.calls(), 1):
            counts = turn.counts
            tools = [{"type": "function", **tool["function"]} for tool in chat_tools()]
            attributes: dict[str, str | int | None] = {
                "gen_ai.operation.name": "chat",
                "gen_ai.provider.name": "anthropic",
                "gen_ai.response.model": MODEL,
                "gen_ai.response.id": turn.id,
                "gen_ai.conversation.id": run.id,
                "gen_ai.usage.input_tokens": counts and counts.input,
                "gen_ai.usage.cache_read.input_tokens": counts and counts.read,
                "gen_ai.usage.cache_creation.input_tokens": counts and counts.write,
                "gen_ai.usage.output_tokens": counts and counts.output,
                "gen_ai.tool.definitions": json.dumps(tools),
                "gen_ai.system_instructions": json.dumps([{"type": "text", "content": SYSTEM}]),
                "gen_ai.input.messages": json.dumps(genai_messages(before)),
                "gen_ai.output.messages": json.dumps([genai_answer(turn)]),
            }
            span = {
                "traceId": f"{run_number:032x}",
                "spanId": f"{run_number * 16 + number:016x}",
                "name": f"chat {MODEL}",
                "kind": 3,
                "startTimeUnixNano": nanoseconds(turn.sent_at),
                "endTimeUnixNano": nanoseconds(turn.answered_at),
                "attributes": [
                    {"key": key, "value": otlp(value)}
                    for key, value in attributes.items()
                    if value is not None
                ],
            }
            records.append({"resourceSpans": [{"resource": {}, "scopeSpans": [{"spans": [span]}]}]})
    write_lines(folder / "collector.jsonl", records)


def flattened(prefix: str, messages: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Chat messages as OpenInference's attributes."""
    found: dict[str, Any] = {}
    for number, message in enumerate(messages):
        at = f"{prefix}.{number}.message"
        found[f"{at}.role"] = message["role"]
        found[f"{at}.content"] = message["content"]
        for place, call in enumerate(message.get("tool_calls", [])):
            function = f"{at}.tool_calls.{place}.tool_call.function"
            found[f"{function}.name"] = call["function"]["name"]
            found[f"{function}.arguments"] = call["function"]["arguments"]
    return found


def openinference(runs: list[Conversation], folder: Path) -> None:
    records = []
    for run_number, run in enumerate(runs, 1):
        for number, (turn, before) in enumerate(run.calls(), 1):
            counts = turn.counts
            attributes = {
                "openinference.span.kind": "LLM",
                "session.id": run.id,
                "llm.provider": "anthropic",
                "llm.model_name": MODEL,
                "llm.token_count.prompt": counts and counts.input,
                "llm.token_count.completion": counts and counts.output,
                "llm.token_count.prompt_details.cache_read": counts and counts.read,
                "llm.token_count.prompt_details.cache_write": counts and counts.write,
                **flattened("llm.input_messages", chat_messages(before)),
                **flattened("llm.output_messages", [chat_answer(turn)]),
            }
            for place, tool in enumerate(chat_tools()):
                attributes[f"llm.tools.{place}.tool.json_schema"] = json.dumps(tool)
            span_id = f"{run_number * 16 + number:016x}"
            records.append(
                {
                    "name": "ChatCompletion",
                    "context": {"trace_id": f"{run_number:032x}", "span_id": span_id},
                    "parent_id": None,
                    "start_time": turn.sent_at.isoformat(),
                    "end_time": turn.answered_at.isoformat(),
                    "status_code": "OK",
                    "attributes": dense(**attributes),
                }
            )
    write_lines(folder / "spans.jsonl", records)


# --- Observability platforms and gateways -------------------------------------------------------


def langfuse(runs: list[Conversation], folder: Path) -> None:
    records = []
    for run in runs:
        for turn, before in run.calls():
            counts = turn.counts
            usage = counts and {
                "input": counts.uncached,
                "cache_read_input_tokens": counts.read,
                "input_cache_creation": counts.write,
                "output": counts.output,
                "total": counts.input + counts.output,
            }
            records.append(
                dense(
                    id=turn.id,
                    trace_id=run.id,
                    parent_observation_id="",
                    type="GENERATION",
                    start_time=stamp(turn.sent_at),
                    end_time=stamp(turn.answered_at),
                    provided_model_name=MODEL,
                    input={"messages": chat_messages(before), "tools": chat_tools()},
                    output=chat_answer(turn),
                    usage_details=usage or {},
                )
            )
    write_lines(folder / "observations.jsonl", records)


def langsmith(runs: list[Conversation], folder: Path) -> None:
    records = []
    for run_number, run in enumerate(runs, 1):
        for number, (turn, before) in enumerate(run.calls(), 1):
            counts = turn.counts
            usage = counts and {
                "input_tokens": counts.input,
                "output_tokens": counts.output,
                "input_token_details": {"cache_read": counts.read, "cache_creation": counts.write},
            }
            records.append(
                {
                    "id": f"00000000-0000-4000-8000-0000000{run_number}000{number}",
                    "trace_id": f"00000000-0000-4000-8000-0000000{run_number}0000",
                    "parent_run_id": f"00000000-0000-4000-8000-0000000{run_number}0000",
                    "run_type": "llm",
                    "name": "ChatAnthropic",
                    "start_time": turn.sent_at.replace(tzinfo=None).isoformat(),
                    "end_time": turn.answered_at.replace(tzinfo=None).isoformat(),
                    "extra": {
                        "metadata": {"ls_provider": "anthropic", "ls_model_name": MODEL},
                        "invocation_params": {"model": MODEL, "tools": chat_tools()},
                    },
                    "inputs": {"messages": chat_messages(before)},
                    "outputs": dense(
                        choices=[{"message": chat_answer(turn)}], usage_metadata=usage
                    ),
                }
            )
    write_lines(folder / "runs.jsonl", records)


def litellm(runs: list[Conversation], folder: Path) -> None:
    records = []
    for run in runs:
        for turn, before in run.calls():
            counts = turn.counts
            records.append(
                dense(
                    request_id=turn.id,
                    call_type="acompletion",
                    spend=0.01,
                    prompt_tokens=counts and counts.input,
                    completion_tokens=counts and counts.output,
                    startTime=stamp(turn.sent_at),
                    endTime=stamp(turn.answered_at),
                    model=MODEL,
                    custom_llm_provider="anthropic",
                    cache_hit="False",
                    session_id=run.id,
                    status="success",
                    metadata={
                        "usage_object": dense(
                            prompt_tokens=counts and counts.input,
                            completion_tokens=counts and counts.output,
                            cache_read_input_tokens=counts and counts.read,
                            cache_creation_input_tokens=counts and counts.write,
                        )
                    },
                    messages={},
                    proxy_server_request=chat_request(before),
                    response=chat_response(turn),
                )
            )
    write_lines(folder / "spend.jsonl", records)


def helicone(runs: list[Conversation], folder: Path) -> None:
    records = []
    for run in runs:
        for turn, before in run.calls():
            counts = turn.counts
            records.append(
                dense(
                    request_id=turn.id,
                    request_created_at=stamp(turn.sent_at),
                    response_status=200,
                    request_path="/v1/messages",
                    request_properties={"Helicone-Session-Id": run.id},
                    delay_ms=2000,
                    cache_enabled=False,
                    provider="ANTHROPIC",
                    request_model=MODEL,
                    prompt_tokens=counts and counts.uncached,
                    completion_tokens=counts and counts.output,
                    prompt_cache_read_tokens=counts and counts.read,
                    prompt_cache_write_tokens=counts and counts.write,
                    request_body=anthropic_request(before),
                    response_body=anthropic_response(turn),
                )
            )
    write_lines(folder / "requests.jsonl", records)


def openrouter(runs: list[Conversation], folder: Path) -> None:
    records = [
        dense(
            id=f"gen-{turn.id}",
            created_at=stamp(turn.sent_at),
            model=f"anthropic/{MODEL}",
            total_cost=0.01,
            tokens_prompt=turn.counts and turn.counts.input,
            native_tokens_prompt=turn.counts and turn.counts.input,
            native_tokens_completion=turn.counts and turn.counts.output,
            native_tokens_cached=turn.counts and turn.counts.read,
            session_id=run.id,
            provider_name="Anthropic",
            latency=2000,
        )
        for run in runs
        for turn in run.turns
    ]
    write_lines(folder / "generations.jsonl", [{"data": record} for record in records])


# --- Agents, trajectories, evaluations ----------------------------------------------------------


def atif(runs: list[Conversation], folder: Path) -> None:
    for run in runs:
        steps: list[dict[str, Any]] = [
            {"source": "system", "message": SYSTEM},
            {"source": "user", "message": run.question},
        ]
        for turn in run.turns:
            counts = turn.counts
            metrics = counts and {
                "prompt_tokens": counts.input,
                "completion_tokens": counts.output,
                "cached_tokens": counts.read,
            }
            calls = [
                {
                    "tool_call_id": use_id(turn, number),
                    "function_name": use.name,
                    "arguments": use.arguments,
                }
                for number, use in enumerate(turn.uses)
            ]
            results = [
                {"source_call_id": use_id(turn, number), "content": use.result}
                for number, use in enumerate(turn.uses)
            ]
            steps.append(
                dense(
                    source="agent",
                    timestamp=stamp(turn.sent_at),
                    message=turn.answer,
                    tool_calls=calls or None,
                    observation={"results": results} if results else None,
                    metrics=metrics,
                )
            )
        agent = {"name": "pilot", "version": "1", "model_name": f"anthropic/{MODEL}",
                 "tool_definitions": chat_tools()}  # fmt: skip
        document = {
            "schema_version": "ATIF-v1.7",
            "session_id": run.id,
            "agent": agent,
            "steps": [{"step_id": number, **step} for number, step in enumerate(steps, 1)],
        }
        (folder / f"{run.id}.json").write_text(json.dumps(document))


def pi_session(runs: list[Conversation], folder: Path) -> None:
    for run in runs:
        first = run.turns[0].sent_at
        entries: list[dict[str, Any]] = []

        def add(message: dict[str, Any], at: datetime, entries: list[dict[str, Any]]) -> None:
            own = f"{len(entries):08x}"
            parent = entries[-1]["id"] if entries else None
            message["timestamp"] = int(at.timestamp() * 1000)
            entries.append({"type": "message", "id": own, "parentId": parent,
                            "timestamp": stamp(at), "message": message})  # fmt: skip

        add({"role": "user", "content": [{"type": "text", "text": run.question}]}, first, entries)
        for turn in run.turns:
            counts = turn.counts
            usage = counts and {
                "input": counts.uncached,
                "output": counts.output,
                "cacheRead": counts.read,
                "cacheWrite": counts.write,
                "cost": {"total": 0},
            }
            content: list[dict[str, Any]] = [{"type": "text", "text": turn.answer}]
            for number, use in enumerate(turn.uses):
                content.append({"type": "toolCall", "id": use_id(turn, number), "name": use.name,
                                "arguments": use.arguments})  # fmt: skip
            said = dense(role="assistant", content=content, provider="anthropic", model=MODEL,
                         usage=usage, stopReason="stop")  # fmt: skip
            add(said, turn.sent_at, entries)
            for number, use in enumerate(turn.uses):
                result = {"role": "toolResult", "toolCallId": use_id(turn, number),
                          "content": [{"type": "text", "text": use.result}]}  # fmt: skip
                add(result, turn.answered_at, entries)
        header = {"type": "session", "version": 3, "id": run.id, "timestamp": stamp(first),
                  "cwd": "/w"}  # fmt: skip
        write_lines(folder / f"{run.id}.jsonl", [header, *entries])


def claude_code(runs: list[Conversation], folder: Path) -> None:
    for run in runs:
        lines: list[dict[str, Any]] = []

        def add(
            kind: str, message: dict[str, Any], at: datetime, run: Conversation, lines: list[Any]
        ) -> None:
            parent = lines[-1]["uuid"] if lines else None
            lines.append({"type": kind, "uuid": f"{run.id}-{len(lines)}", "parentUuid": parent,
                          "sessionId": run.id, "cwd": "/w", "version": "2.1.0",
                          "timestamp": stamp(at), "message": message})  # fmt: skip

        user = {"role": "user", "content": run.question}
        add("user", user, run.turns[0].sent_at, run, lines)
        for turn in run.turns:
            add("assistant", anthropic_response(turn), turn.answered_at, run, lines)
            if turn.uses:
                results = {"role": "user", "content": anthropic_results(turn)}
                add("user", results, turn.answered_at, run, lines)
        write_lines(folder / f"{run.id}.jsonl", lines)


def codex(runs: list[Conversation], folder: Path) -> None:
    for run in runs:
        began = run.turns[0].sent_at - timedelta(seconds=30)
        lines: list[dict[str, Any]] = []

        def add(at: datetime, kind: str, payload: dict[str, Any], lines: list[Any]) -> None:
            lines.append({"timestamp": stamp(at), "type": kind, "payload": payload})

        meta = {"id": run.id, "cwd": "/w", "cli_version": "0.126.0", "model_provider": "anthropic"}
        add(began, "session_meta", meta, lines)
        add(began, "turn_context", {"cwd": "/w", "model": MODEL}, lines)
        question = {"type": "message", "role": "user",
                    "content": [{"type": "input_text", "text": run.question}]}  # fmt: skip
        add(began, "response_item", question, lines)
        total = Counts(0, 0, 0, 0)
        for turn in run.turns:
            for item in response_items(turn):
                add(turn.answered_at, "response_item", item, lines)
            if turn.counts is not None:
                total = Counts(*map(sum, zip(total, turn.counts, strict=True)))
                info = {"total_token_usage": codex_usage(total),
                        "last_token_usage": codex_usage(turn.counts)}  # fmt: skip
                add(turn.answered_at, "event_msg", {"type": "token_count", "info": info}, lines)
            for number, use in enumerate(turn.uses):
                result = {"type": "function_call_output", "call_id": use_id(turn, number),
                          "output": use.result}  # fmt: skip
                add(turn.answered_at, "response_item", result, lines)
        write_lines(folder / f"rollout-{run.id}.jsonl", lines)


def codex_usage(counts: Counts) -> dict[str, int]:
    return {
        "input_tokens": counts.input,
        "cached_input_tokens": counts.read,
        "output_tokens": counts.output,
        "reasoning_output_tokens": 0,
        "total_tokens": counts.input + counts.output,
    }


def gemini_cli(runs: list[Conversation], folder: Path) -> None:
    for run in runs:
        messages: list[dict[str, Any]] = [
            {
                "id": f"{run.id}-0",
                "timestamp": stamp(run.turns[0].sent_at),
                "type": "user",
                "content": [{"text": run.question}],
            }
        ]
        for turn in run.turns:
            counts = turn.counts
            tokens = counts and {
                "input": counts.input,
                "output": counts.output,
                "cached": counts.read,
                "thoughts": 0,
                "tool": 0,
                "total": counts.input + counts.output,
            }
            calls = [
                {
                    "id": use_id(turn, number),
                    "name": use.name,
                    "args": use.arguments,
                    "result": [
                        {
                            "functionResponse": {
                                "name": use.name,
                                "response": {"output": use.result},
                            }
                        }
                    ],
                    "status": "success",
                }
                for number, use in enumerate(turn.uses)
            ]
            messages.append(
                dense(
                    id=turn.id,
                    timestamp=stamp(turn.answered_at),
                    type="gemini",
                    content=turn.answer,
                    model=MODEL,
                    tokens=tokens,
                    toolCalls=calls or None,
                )
            )
        document = {
            "sessionId": run.id,
            "projectHash": "a" * 64,
            "startTime": stamp(run.turns[0].sent_at),
            "lastUpdated": stamp(run.turns[-1].answered_at),
            "messages": messages,
        }
        (folder / f"session-{run.id}.json").write_text(json.dumps(document))


def inspect_ai(runs: list[Conversation], folder: Path) -> None:
    def own(message: dict[str, Any]) -> dict[str, Any]:
        """A chat message in Inspect's dialect: functions by name, arguments decoded."""
        calls = [
            {
                "id": call["id"],
                "function": call["function"]["name"],
                "arguments": json.loads(call["function"]["arguments"]),
            }
            for call in message.get("tool_calls", [])
        ]
        return message | ({"tool_calls": calls} if calls else {})

    samples = []
    for run in runs:
        events = []
        for turn, before in run.calls():
            counts = turn.counts
            usage = counts and {
                "input_tokens": counts.uncached,
                "output_tokens": counts.output,
                "total_tokens": counts.input + counts.output,
                "input_tokens_cache_read": counts.read,
                "input_tokens_cache_write": counts.write,
            }
            output = dense(
                model=MODEL,
                choices=[{"message": own(chat_answer(turn)), "stop_reason": "stop"}],
                usage=usage,
                time=2.0,
            )
            events.append(
                {
                    "event": "model",
                    "uuid": turn.id,
                    "timestamp": stamp(turn.sent_at),
                    "model": f"anthropic/{MODEL}",
                    "input": [own(message) for message in chat_messages(before)],
                    "tools": [tool["function"] for tool in chat_tools()],
                    "output": output,
                }
            )
        samples.append({"id": run.question, "epoch": int(run.id[-1]), "uuid": run.id,
                        "messages": [], "events": events, "scores": {}})  # fmt: skip
    log = {"version": 2, "status": "success",
           "eval": {"task": "harbour", "run_id": "r", "model": f"anthropic/{MODEL}"},
           "samples": samples}  # fmt: skip
    (folder / "log.json").write_text(json.dumps(log))


def mini_swe_agent(runs: list[Conversation], folder: Path) -> None:
    for run in runs:
        messages = chat_messages([run.question, *run.turns])
        turns = iter(run.turns)
        for message in messages:
            if message["role"] == "assistant":
                turn = next(turns)
                message["extra"] = {
                    "response": chat_response(turn),
                    "timestamp": turn.sent_at.timestamp(),
                }
        document = {
            "info": {
                "mini_version": "2.4.6",
                "config": {"model": {"model_name": f"anthropic/{MODEL}"}},
            },
            "messages": messages,
            "trajectory_format": "mini-swe-agent-1.1",
        }
        (folder / f"{run.id}.traj.json").write_text(json.dumps(document))


# --- All of them --------------------------------------------------------------------------------

WHOLE, PARTIAL = "whole prompts", "prompts without their beginning"
"""What a format's sizes and positions rest on; formats of one kind must give one tree."""


def lacking(reason: str, *figures: str) -> dict[str, str]:
    return dict.fromkeys(figures, reason)


@dataclass(frozen=True, eq=False)
class Format:
    """A format that the conversations are written in."""

    parser: str
    write: Callable[[list[Conversation], Path], None]
    name: str = ""
    """If the parser reads several."""
    kind: str = WHOLE
    lacks: dict[str, str] = field(default_factory=dict)
    """Figures that such a log cannot give as others of its kind do, each with the reason."""

    @property
    def id(self) -> str:
        return self.name or self.parser


def _no_cache_writes(why: str) -> dict[str, str]:
    return lacking(f"{why}, so writes are billed as plain input", "cache_write_tokens", "cost_usd")


_NO_TOOLS = (
    "its one tool is not logged: the tokens of the tool definitions are spread over the whole prompt "
    "and not put at its beginning, which all runs share"
)
FORMATS = (
    Format("openai", openai_chat),
    Format("openai", openai_responses, name="openai-responses"),
    Format("anthropic", anthropic),
    Format("otel-genai", otel_genai),
    Format("openinference", openinference),
    Format("langfuse", langfuse),
    Format("langsmith", langsmith),
    Format("litellm", litellm),
    Format("helicone", helicone),
    Format(
        "openrouter",
        openrouter,
        lacks=_no_cache_writes("generations count what was read from a cache, not what was written")
        | lacking(
            "prompts are not exported",
            *("tree_tokens", "overlap_ratio", "fork_points", "ideal_hit_rate"),
        ),
    ),
    Format("atif", atif, lacks=_no_cache_writes("steps have no field for cache writes")),
    Format("inspect-ai", inspect_ai),
    Format(
        "mini-swe-agent",
        mini_swe_agent,
        lacks=lacking(_NO_TOOLS, "tree_tokens", "overlap_ratio", "ideal_hit_rate"),
    ),
    Format("pi-session", pi_session, kind=PARTIAL),
    Format("claude-code", claude_code, kind=PARTIAL),
    Format(
        "codex",
        codex,
        kind=PARTIAL,
        lacks=_no_cache_writes("token counts have cached input only"),
    ),
    Format(
        "gemini-cli",
        gemini_cli,
        kind=PARTIAL,
        lacks=_no_cache_writes("the provider caches by itself and bills no writes"),
    ),
)

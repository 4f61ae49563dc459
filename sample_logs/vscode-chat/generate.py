"""Write the sample sessions of this folder: ``python sample_logs/vscode-chat/generate.py [FOLDER]``.

Everything is invented: the project "tidewatch", the person's words and all token counts. No clock and no
randomness: each run writes the same bytes.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

START = 1_791_190_800_000
"""5 October 2026, 9:00 UTC, in milliseconds."""
WORKSPACE = "3f0c6a1de7b54c0b9f6a2c1d8e4b7a90"
AGENT = {
    "id": "github.copilot.editsAgent",
    "extensionId": {"value": "GitHub.copilot-chat", "_lower": "github.copilot-chat"},
    "extensionVersion": "0.62.0",
    "name": "agent",
}
MODEL = "copilot/claude-sonnet-4.5"

Fields = dict[str, Any]


def call_round(
    number: str, says: str, tool: str | None = None, arguments: Any = None, thinks: str = ""
) -> Fields:
    """What the model said in one call, and the tool it called."""
    calls = []
    if tool is not None:
        calls.append({"name": tool, "arguments": json.dumps(arguments), "id": f"call_{number}"})
    made = {"id": f"round-{number}", "response": says, "toolInputRetry": 0, "toolCalls": calls}
    return made | ({"thinking": {"id": "0", "text": thinks}} if thinks else {})


def tool_result(*texts: str) -> Fields:
    return {"$mid": 20, "content": [{"$mid": 21, "value": text} for text in texts]}


def request(number: int, minutes: int, asks: str, **more: Any) -> Fields:
    """A request as it stands in the session before it is answered."""
    return {
        "requestId": f"request_71de0000-0000-4000-8000-{number:012d}",
        "timestamp": START + 60_000 * minutes,
        "message": {"text": asks, "parts": [{"text": asks, "kind": "text"}]},
        "variableData": {"variables": []},
        "agent": AGENT,
        "modelId": MODEL,
        "response": [],
        **more,
    }


def result(
    asks: str, rounds: list[Fields], results: Fields, given: int, made: int, seconds: float
) -> Fields:
    rendered = (
        f"<context>\nThe workspace is tidewatch.\n</context>\n<userRequest>\n{asks}\n</userRequest>"
    )
    return {
        "timings": {"firstProgress": 900, "totalElapsed": int(seconds * 1000)},
        "metadata": {
            "modelMessageId": "1",
            "responseId": "2",
            "renderedUserMessage": [{"type": 1, "text": rendered}],
            "toolCallRounds": rounds,
            "toolCallResults": results,
            "resolvedModel": "claude-sonnet-4.5",
            "promptTokens": given,
            "outputTokens": made,
        },
        "details": "Claude Sonnet 4.5 • 1x",
    }


ASKED = "Warn when a gauge has been silent for an hour."
READ = {"filePath": "gauges.py"}
EDIT = {"filePath": "gauges.py", "newString": "SILENT = timedelta(hours=1)"}
LOOKS, ADDS = "I will look at how gauges are read.", "Readings have a time. I add the check."
ROUNDS = [
    call_round("1", LOOKS, "read_file", READ, "The silence is a gap between readings."),
    call_round("2", ADDS, "replace_string_in_file", EDIT),
    call_round("3", "`gauges.silent()` lists the gauges that have not reported for an hour."),
]
RESULTS = {
    "call_1": tool_result(
        "class Reading:\n    gauge: str\n    at: datetime\n    centimetres: float\n"
    ),
    "call_2": tool_result("The file was edited."),
}
TOLD = "Make the hour a setting."
OTHERWISE = "No setting: half an hour."


def changes() -> list[Fields]:
    """Three turns, the second of which the person took back, as a log of changes."""
    session = {
        "version": 3,
        "creationDate": START,
        "initialLocation": "panel",
        "responderUsername": "GitHub Copilot",
        "sessionId": "5e551000-0000-4000-8000-000000000001",
        "hasPendingEdits": False,
        "requests": [request(1, 0, ASKED)],
        "pendingRequests": [],
        "inputState": {
            "inputText": "",
            "attachments": [],
            "mode": {"id": "agent", "kind": "agent"},
        },
    }
    first = {"toolCallRounds": ROUNDS, "toolCallResults": RESULTS}
    setting = [call_round("4", "The hour stands in `tidewatch.toml` now.")]
    half = [call_round("5", "It is half an hour now.")]
    return [
        {"kind": 0, "v": session},
        {"kind": 2, "k": ["requests", 0, "response"], "v": [{"value": "I will look at how "}]},
        {"kind": 1, "k": ["customTitle"], "v": "Silent gauges"},
        {"kind": 1, "k": ["requests", 0, "result"],
         "v": result(ASKED, first["toolCallRounds"], RESULTS, 21_480, 19, 31.5)},
        {"kind": 1, "k": ["requests", 0, "modelState"], "v": {"value": 1}},
        {"kind": 1, "k": ["requests", 0, "completionTokens"], "v": 143},
        {"kind": 1, "k": ["requests", 0, "promptTokens"], "v": 21_480},
        {"kind": 2, "k": ["requests"], "v": [request(2, 4, TOLD)]},
        {"kind": 1, "k": ["requests", 1, "result"], "v": result(TOLD, setting, {}, 21_702, 14, 3)},
        {"kind": 2, "k": ["requests"], "i": 1, "v": [request(3, 6, OTHERWISE)]},
        {"kind": 1, "k": ["requests", 1, "result"], "v": result(OTHERWISE, half, {}, 21_698, 9, 2.5)},
        {"kind": 1, "k": ["inputState", "inputText"], "v": "Thank y"},
    ]  # fmt: skip


def document() -> Fields:
    """A question without tools, and a turn of which a backend counted all calls together."""
    ask, agent = "What is a spring tide?", "Which gauges have no datum?"
    answer = [
        {"value": "A tide with the largest range, ", "isTrusted": False},
        {"kind": "inlineReference", "name": "tides.md", "inlineReference": {"path": "/tides.md"}},
        {"value": "twice a month.", "isTrusted": False},
    ]
    rounds = [
        call_round("6", "", "grep_search", {"query": "datum"}),
        call_round("7", "Only Harbour East has none."),
    ]
    found = {"call_6": tool_result("gauges.toml:3: datum = 1.2\ngauges.toml:9: datum = 0.8\n")}
    totals = [
        {"model": "gpt-5-mini", "inputTokens": 3_100, "cachedTokens": 0, "outputTokens": 60},
        {"model": "claude-sonnet-4.5", "inputTokens": 30_900, "cachedTokens": 14_848,
         "outputTokens": 71},
    ]  # fmt: skip
    plain = {**AGENT, "id": "github.copilot.default", "name": "ask"}
    return {
        "version": 3,
        "responderUsername": "GitHub Copilot",
        "initialLocation": "panel",
        "requests": [
            request(4, 90, ask, agent=plain, response=answer, modelId="copilot/gpt-4.1",
                    result={"timings": {"totalElapsed": 2_100}, "metadata": {}},
                    promptTokens=2_940, completionTokens=17),
            request(5, 92, agent, result=result(agent, rounds, found, 15_610, 9, 8),
                    promptTokens=15_610, completionTokens=131, modelTotals=totals),
        ],
        "sessionId": "5e551000-0000-4000-8000-000000000002",
        "creationDate": START + 5_400_000,
        "customTitle": "Tides",
    }  # fmt: skip


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    sessions = folder / "workspaceStorage" / WORKSPACE / "chatSessions"
    sessions.mkdir(parents=True, exist_ok=True)
    whole = document()
    exported = {key: whole[key] for key in ("initialLocation", "requests", "responderUsername")}
    files = {
        sessions / "5e551000-0000-4000-8000-000000000001.jsonl": "".join(
            json.dumps(change) + "\n" for change in changes()
        ),
        sessions / "5e551000-0000-4000-8000-000000000002.json": json.dumps(whole, indent=2),
        folder / "chat.json": json.dumps(exported, indent=2),
    }
    for path, text in files.items():
        path.write_text(text, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()

"""Every public log is recognised, by exactly one format, and read without a crash."""

from __future__ import annotations

from pathlib import Path

import pytest
from recording_tree import parse_file

from forkpoint.parsers.logs import read_head
from forkpoint.parsers.registry import parser_named, parsers

pytestmark = pytest.mark.real

FORMATS = {
    "aider": "aider",
    "atif": "atif",
    "claude-code": "claude-code",
    "codex": "codex",
    "gemini-cli": "gemini-cli",
    "inspect-ai": "inspect-ai",
    "langfuse": "langfuse",
    "llm-call-jsonl": "llm-call-jsonl",
    "logprobs/alpaca-eval": "alpaca-eval",
    "mini-swe-agent": "mini-swe-agent",
    "openhands": "openhands",
    "openinference": "openinference",
    "otlp-json": "otel-genai",
    "pi-session": "pi-session",
    "rollout-groups/atropos-selcube": "atropos",
    "rollout-groups/gsm8k-model-solutions": "gsm8k-solutions",
    "rollout-groups/tot-game24-samples": "tot",
    "serving-trace/kv-cache-tester": "kv-cache-tester",
    "serving-trace/mooncake": "mooncake",
    "swe-agent": "swe-agent",
    "tau-bench": "tau-bench",
    "tau2": "tau2",
    "tree-search": "tot",
}
"""Folders of public logs, and the format of all files in them."""
NO_CALLS = {"otlp-json"}
"""Spans without a model call: recognised, with nothing to count."""


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_the_table_covers_every_public_log(real_logs: Path) -> None:
    covered = {path for folder in FORMATS for path in files(real_logs / folder)}
    described = {real_logs / name for name in ("FACTS.json", "CATALOG.md", "SOURCES.tsv")}
    assert set(files(real_logs)) - covered == described


@pytest.mark.parametrize(("folder", "expected"), FORMATS.items())
def test_every_file_is_of_one_format_and_read(real_logs: Path, folder: str, expected: str) -> None:
    found = files(real_logs / folder)
    assert found
    calls = rollouts = 0
    for path in found:
        head = read_head(path)
        claims = [parser.name for parser in parsers() if parser.identify(head) is not None]
        assert claims == [expected], path
        parsed = parse_file(parser_named(expected), path)
        calls += len(parsed.calls)
        rollouts += sum(trace.group is not None for trace in parsed.traces)
    assert (calls + rollouts == 0) == (folder in NO_CALLS)

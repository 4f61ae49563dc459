"""prime-rl and verifiers v1: ``traces.jsonl``, one episode a line, and ``token_exports``.

Episode: ``{id, env, task, group: {id}, run, ok, errors, traces: [trace]}`` with trace ``{id, task,
agent, tools, nodes, calls, rewards, extra_usage, timing, …}``, ``null`` left out
(github.com/PrimeIntellect-ai/verifiers a60a606, verifiers/v1/{episode,trace,graph,types}.py). prime-rl
writes them to ``rollouts/step_N/{train,eval}/{all,effective}/traces.jsonl``, verifiers into the folder
of a run (github.com/PrimeIntellect-ai/prime-rl 559b447, src/prime_rl/monitors/file.py). What to know:

- ``nodes`` are a tree of messages already: ``parent`` is an index into them. Nodes the model sampled
  are ``sampled``; role alone does not tell. A trace of several leaves was compacted, or its history
  was rewritten, or it called subagents; its newest node is taken for its end.
- ``token_ids`` are what a message adds to the sequence, its template included; a sampled node begins
  with the generation prompt, where its ``mask`` is false. ``logprobs`` are of sampled tokens only.
  Runs against a plain API have no token ids: then prompts are text.
- ``calls`` are the requests, each with the ``node`` it made, usage and time. Requests that failed
  have neither node nor usage and were not paid for. ``extra_usage`` is that of judges and the like:
  calls whose prompts are not logged.
- ``usage.prompt_tokens`` EXCLUDES ``cached_input_tokens``.
- ``all`` and ``effective`` hold the same traces.
- Episodes that share ``group.id``, or else the task, are a group; agents of one episode with
  different names are apart. A reward is the sum of score times weight over all that were scored.

Export: ``token_exports/step_N/rank_R.jsonl``, one trained sequence a line, with entropies
(`prime_rl_tokens`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import ClassVar

from forkpoint.parsers.base import Tree
from forkpoint.parsers.document import head_fields
from forkpoint.parsers.logs import BAD_RECORD, Head, Log
from forkpoint.parsers.prime_rl_tokens import export_records
from forkpoint.parsers.prime_rl_traces import episode_records
from forkpoint.parsers.record_names import RecordNames
from forkpoint.parsers.records import Issue, Record

_EPISODE_BEGINS = re.compile(rb'\s*+\{\s*+"id"\s*+:\s*+"[^"\\]*+"\s*+,\s*+"env"\s*+:\s*+\{')
_EXPORT_BEGINS = re.compile(
    rb'\s*+\{\s*+"schema_version"\s*+:\s*+\d++\s*+,\s*+"step"\s*+:\s*+\d++\s*+,\s*+"rank"\s*+:'
    rb'(?=[^\[\]{}]*?"export_sequence_idx")'
)


class PrimeRl:
    """Reads prime-rl's and verifiers' traces, and token exports; see the module's docstring."""

    name: ClassVar[str] = "prime-rl"
    title: ClassVar[str] = "prime-rl and verifiers traces"
    checked: ClassVar[str] = "from its source code (559b447, a60a606), 2026-11"
    evidence: ClassVar[tuple[str, ...]] = (
        "usage",
        "text",
        "token ids",
        "timestamps",
        "rewards",
        "logprobs",
    )
    locations: ClassVar[tuple[str, ...]] = ()
    whole_prompts: ClassVar[bool] = True
    grows: ClassVar[bool] = True

    def identify(self, head: Head) -> str | None:
        """Why the file is of this format, or ``None``."""
        if _EXPORT_BEGINS.match(head.data):
            return "each line is a trained sequence of a token export"
        if _EPISODE_BEGINS.match(head.data):
            first = Head(head.path, head.data.lstrip().split(b"\n", 1)[0])
            if {"task", "traces"} <= head_fields(first).keys():
                return "each line is an episode with an env, a task and traces"
            if len(first.data) == len(head.data.lstrip()) and b'"task"' in first.data:
                return "its first record is an episode with an env and a long task"
        return None

    def parse(self, log: Log, tree: Tree) -> Iterator[Record]:
        """Yield traces and calls of episodes, or traces and scores of exported sequences."""
        names = RecordNames(log.checkpoint)
        for line in log.lines():
            if isinstance(line, Issue):
                yield line
                continue
            try:
                if _EXPORT_BEGINS.match(line.data):
                    name = names.numbered(names.digest(line.data))
                    yield from export_records(line, name, tree)
                else:
                    yield from episode_records(line, tree)
            except BAD_RECORD as error:
                yield line.issue(error)
        log.checkpoint = names.checkpoint()

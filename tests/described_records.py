"""What a parser made of a file, as text for golden files: counts, then its first records."""

from __future__ import annotations

from collections.abc import Iterator

from recording_tree import Parsed

from forkpoint.parsers.records import Call, Issue, Scores, Trace, Usage

SHOWN = 8
"""Of each kind of record; all are in the sums."""
_COUNTS = tuple(name for name in Usage.__struct_fields__)


def described(parsed: Parsed) -> Iterator[str]:
    """Lines that change where anything that a report rests on does: identities, places, times,
    models, counts, what stands in the tree and where."""
    usages = [call.usage for call in parsed.calls if call.usage is not None]
    sums = {name: sum(getattr(usage, name) or 0 for usage in usages) for name in _COUNTS}
    yield (
        f"{len(parsed.calls)} calls, {len(usages)} with usage; {len(parsed.traces)} traces; "
        f"{len(parsed.scores)} scores; {len(parsed.issues)} issues; "
        f"{len(parsed.tree.segments) - 1} nodes"
    )
    yield "sums: " + _fields(sums)
    for records, line in (
        (parsed.calls, _call),
        (parsed.traces, _trace),
        (parsed.scores, _scores),
        (parsed.issues, _issue),
    ):
        for record in records[:SHOWN]:
            yield line(record, parsed)
        if len(records) > SHOWN:
            yield f"  and {len(records) - SHOWN} more"


def _fields(fields: dict[str, object]) -> str:
    return " ".join(f"{name}={value}" for name, value in fields.items() if value not in (None, 0))


def _node(node: int | None, parsed: Parsed) -> str | None:
    """How deep a node is, and what stands on the way to it."""
    if node is None:
        return None
    return f"{len(parsed.tree.path(node))}:{parsed.tree.hash_of(node)[:8]}"


def _call(call: Call, parsed: Parsed) -> str:
    fields = {name: getattr(call, name) for name in call.__struct_fields__}
    usage = fields.pop("usage")
    for name in ("prompt", "completion", "text"):
        fields[name] = _node(fields[name], parsed)
    identity = fields.pop("identity")
    fields["identity"] = None if identity is None else "/".join(identity)
    counts = {} if usage is None else {name: getattr(usage, name) for name in _COUNTS}
    return f"call {_fields(fields)} {_fields(counts)}".rstrip()


def _trace(trace: Trace, parsed: Parsed) -> str:
    fields = {name: getattr(trace, name) for name in trace.__struct_fields__}
    for name in ("leaf", "prompt"):
        fields[name] = _node(fields[name], parsed)
    return f"trace {_fields(fields)}"


def _scores(scores: Scores, parsed: Parsed) -> str:
    known = [each for each in scores.logprobs if each is not None]
    fields: dict[str, object] = {
        "trace": scores.trace,
        "line": scores.line,
        "prompt": _node(scores.prompt, parsed),
        "completion": _node(scores.completion, parsed),
        "tokens": len(scores.tokens),
        "logprobs": f"{sum(known):.6g}",
        "top": None if scores.top is None else sum(map(len, scores.top)),
        "entropies": None if scores.entropies is None else len(scores.entropies),
    }
    return f"scores {_fields(fields)}"


def _issue(issue: Issue, parsed: Parsed) -> str:
    return f"issue line={issue.line} offset={issue.offset} {issue.reason}"

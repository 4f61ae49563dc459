"""``forkpoint cache``: where reusable tokens went, and why one call paid for what it paid."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any, TextIO

import typer
from rich.cells import cell_len

from forkpoint.analysis.cause_names import PROVIDER_WORDS
from forkpoint.analysis.results import (
    Cache,
    CacheAnswer,
    Conventions,
    Explanation,
    Hint,
    LifetimeOption,
    MissCause,
    NetValue,
    PathStep,
    WorstCall,
)
from forkpoint.cli.answer import (
    ACTIONS,
    ID_DIGITS,
    cause_name,
    dearest_first,
    evidence,
    is_level,
    known_steps,
    moment,
    step_name,
)
from forkpoint.cli.json_report import FORMAT, exact, write_json
from forkpoint.cli.layout import bold, dim, fit, flow, grid, output_width, print_lines, shown_path
from forkpoint.cli.numbers import count, dollars, duration, percent, tokens
from forkpoint.cli.options import PlainFormat
from forkpoint.cli.table import PATHS, Line, next_command, separated, without_empty_columns
from forkpoint.cli.text import plain

_CALL_ID = re.compile(r"[0-9a-f]{1,32}")
_NARROW = 80
_WIDE = 110
"""From here on there is room for what the provider says of a call."""
_MODEL_WIDTH, _REASON_WIDTH = 24, 28
_EXCERPT = 400
_STEPS_BEFORE, _STEPS_AFTER = 10, 5
"""Segments shown before and after the place where a prompt parts from an earlier one."""
_DIFFERENCE_LINES, _DIFFERENCE_WIDTH = 24, 2000


def parse_call_id(text: str) -> str:
    """The call id, or its beginning, that ``--explain`` names.

    Raises:
        typer.BadParameter: it cannot be one.

    >>> parse_call_id("40C68140-aa63")
    '40c68140aa63'
    """
    call_id = text.strip().lower().replace("-", "")
    if not _CALL_ID.fullmatch(call_id):
        raise typer.BadParameter(
            f"{text!r} is no call id: give its first digits, as forkpoint cache shows them"
        )
    return call_id


def write_cache(
    answer: CacheAnswer, form: PlainFormat, out: TextIO, *, top: int, store: str | None = None
) -> None:
    """The whole answer.

    Args:
        top: how many worst calls and hints at most.
        store: the value of ``--store``, repeated in the command that the screen proposes.
    """
    worst = answer.cache.worst_calls[:top]
    cache = replace(answer.cache, worst_calls=worst)
    answer = replace(answer, cache=cache, hints=answer.hints[:top])
    if form is PlainFormat.JSON:
        write_json(exact(_document(answer)), out)
        return
    print_lines(_screen(answer, output_width(out), store), out)


def _document(answer: CacheAnswer) -> dict[str, Any]:
    provenance = asdict(answer.provenance)
    provenance["filters"] = dict(sorted(answer.provenance.filters.items()))
    return {
        "format": FORMAT,
        "forkpoint": answer.provenance.version,
        **asdict(answer.cache),
        "conventions": asdict(answer.conventions),
        "net": None if answer.net is None else asdict(answer.net),
        "lifetimes": [asdict(each) for each in answer.lifetimes],
        "hints": [asdict(each) for each in answer.hints],
        "rules": answer.rules,
        "provenance": provenance,
    }


def _screen(answer: CacheAnswer, width: int, store: str | None) -> list[Line]:
    cache = answer.cache
    if not sum(cache.evidence.values()):
        paths = [shown_path(path) for path in answer.provenance.paths]
        return [*flow(paths, width, first="No model calls found in ", indent=2)]
    return separated(
        [
            _hit_rates(answer.conventions, cache, width),
            _waterfall(cache, width),
            _causes(cache, width),
            _worst_calls(cache.worst_calls, width),
            _net(answer.net, width),
            _lifetimes(answer.lifetimes, width),
            _hints(answer.hints, width),
            [*_notes(answer, width), *_next(answer, width, store)],
        ]
    )


_CONVENTIONS = (
    ("micro_token", "cache reads / input tokens (the hit rate)"),
    ("macro", "the same of each call, mean over calls"),
    ("request", "calls that read anything / calls"),
    ("steady_micro_token", "cache reads / input tokens, later half of the calls"),
    ("read_share", "cache reads / all tokens, input and output"),
)


def _hit_rates(found: Conventions, cache: Cache, width: int) -> list[Line]:
    """Reported rates and computed ones, apart."""
    reported = [
        (rate, meaning)
        for name, meaning in _CONVENTIONS
        if (rate := getattr(found, name)) is not None
    ]
    lines: list[Line] = [*map(bold, flow(["Hit rates, as providers report their reads"], width))]
    lines += _rates(reported, width) or ["  cache reads are not in these logs"]
    computed: list[tuple[float | None, str]] = []
    if cache.ideal_hit_rate is not None:
        computed.append(
            (cache.ideal_hit_rate, "ideal: what a cache that never forgets serves / input tokens")
        )
    if cache.unreported_calls and cache.reported_ideal_hit_rate is not None:
        computed.append(
            (cache.reported_ideal_hit_rate, "ideal of the calls whose logs state cache reads")
        )
    if cache.policy_hit_rate is not None:
        computed.append(
            (cache.policy_hit_rate, "policy: what the providers' rules allow / input tokens")
        )
    if computed:
        lines += map(bold, flow([f"What could be, {evidence(cache.evidence)}"], width, indent=2))
        lines += _rates(computed, width)
    return lines


def _rates(rates: Sequence[tuple[float | None, str]], width: int) -> list[Line]:
    lines: list[Line] = []
    for rate, meaning in rates:
        lines += flow([meaning], width, first=f"  {percent(rate):>8}  ", indent=12)
    return lines


def _waterfall(cache: Cache, width: int) -> list[Line]:
    """Levels in bold; below each, with a minus, what was lost on the way to the next."""
    steps = known_steps(cache)
    if not steps:
        return []
    names = [plain(_brief(step_name(step), width), 120) for step in steps]
    rows = [["From all input to what was read", "tokens", "$"]] + [
        [
            f"{name[:1].upper()}{name[1:]}" if is_level(step) else f"    {name}",
            f"{step.tokens:,}",
            "" if step.usd is None else dollars(step.usd),
        ]
        for name, step in zip(names, steps, strict=True)
    ]
    first, *lines = grid(rows, width, numbers=(1, 2), flexible=0)
    shown: list[Line] = [bold(first)]
    for line, step in zip(lines, steps, strict=True):
        shown.append(bold(line) if is_level(step) else line)
    return shown


def _causes(cache: Cache, width: int) -> list[Line]:
    found = dearest_first(cache.misses_by_cause)
    if not found:
        return []
    rows = [["Lost to", "calls", "tokens", "$", "says who"], *(_cause(each) for each in found)]
    if width < _NARROW:
        names = ["Lost to", *(f"  {plain(cause_name(each), 80)}" for each in found)]
        rows = [[name, *row[1:4]] for name, row in zip(names, rows, strict=True)]
    first, *lines = grid(rows, width, numbers=(1, 2, 3), flexible=0)
    more: list[str] = []
    if cache.unknown_share is not None:
        share = percent(cache.unknown_share)
        more.append(
            f"Of the tokens between ideal and realized, {share} have no known cause"
            if cache.unknown_share
            else "Every token between ideal and realized has a named cause"
        )
    for step in cache.waterfall:
        if step.step == "beginning changed":
            more.append(
                f"{tokens(-step.tokens)} lie above ideal: beginnings that changed, so that not even "
                "a cache that never forgets could serve them"
            )
    return [
        bold(first),
        *lines,
        *[line for each in more for line in flow([each], width, first="  ", indent=2)],
    ]


def _cause(cause: MissCause) -> list[str]:
    return [
        f"  {plain(cause.cause, 80)}",
        f"{cause.calls:,}",
        f"{cause.tokens:,}",
        dollars(cause.usd),
        plain(cause.source, 20),
    ]


def _worst_calls(calls: Sequence[WorstCall], width: int) -> list[Line]:
    if not calls:
        return []
    header = ["call", "$", "tokens", "idle before", "model", "provider says", "where"]
    rows = [header] + [
        [
            call.call_id[:ID_DIGITS],
            dollars(call.missed_usd),
            tokens(call.missed_tokens),
            duration(call.idle_s),
            fit(plain(call.model or "–", 200), _MODEL_WIDTH),
            _stated(call.miss_reason),
            shown_path(call.path, call.line),
        ]
        for call in calls
    ]
    if width < _WIDE:
        rows = [[*row[: 5 if width >= _NARROW else 4], row[6]] for row in rows]
    rows = without_empty_columns(rows)
    last = len(rows[0]) - 1
    numbers = [n for n, name in enumerate(rows[0]) if name in header[1:4]]
    first, *lines = grid(rows, width, numbers=numbers, flexible=last, keep_end=True, indent="  ")
    return [bold("Worst calls"), first, *lines]


def _stated(reason: str | None) -> str:
    """A provider's own word for a miss, in ours where we have one."""
    if reason is None:
        return "–"
    return fit(plain(PROVIDER_WORDS.get(reason, reason), 100), _REASON_WIDTH)


def _net(net: NetValue | None, width: int) -> list[Line]:
    if net is None:
        return []
    verdict = "net gain of caching" if net.net_usd >= 0 else "net loss: writes cost more than that"
    rows = [
        ("saved: reads at the read price, not the input price", net.read_saving_usd),
        ("paid extra: writes at the write price, not the input price", -net.write_premium_usd),
        (verdict, net.net_usd),
    ]
    cells = [["  " + meaning, dollars(usd)] for meaning, usd in rows]
    lines: list[Line] = [bold("Net value of caching (priced calls)")]
    *sums, total = grid(cells, width, numbers=(1,), flexible=0)
    lines += [*sums, bold(total)]
    unread = (
        f"written, but never read again within its lifetime: {tokens(net.unread_write_tokens)} "
        f"tokens, {dollars(net.unread_premium_usd)} of what was paid extra"
        if net.unread_write_tokens
        else "all that was written was read again within its lifetime"
    )
    return [*lines, *flow([unread], width, first="  ", indent=4)]


def _lifetimes(options: Sequence[LifetimeOption], width: int) -> list[Line]:
    if not options:
        return []
    rows = [["lifetime", "calls", "tokens", "reads save", "extra cost", "net"]] + [
        [
            plain(each.name, 40),
            f"{each.calls:,}",
            tokens(each.tokens),
            dollars(each.saved_usd),
            dollars(each.extra_usd),
            dollars(each.net_usd),
        ]
        for each in options
    ]
    if width < _NARROW:
        rows = [[row[0], *row[2:]] for row in rows]
    return [
        *map(bold, flow(["Other lifetimes, by this log's own idle times"], width)),
        *grid(rows, width, numbers=range(1, 6), flexible=0, indent="  "),
    ]


def _hints(hints: Sequence[Hint], width: int) -> list[Line]:
    """What to do, each with its worth, then why and where."""
    if not hints:
        return []
    lines: list[Line] = [bold("Do this")]
    for number, hint in enumerate(hints, start=1):
        first = f"  {number}. "
        indent = len(first)
        worth = [count(hint.calls, "call"), f"{tokens(hint.tokens)} tokens"]
        if hint.usd is not None:
            worth.insert(0, f"saves {dollars(hint.usd)}")
        action = plain(hint.action, 300)
        action = action[:1].upper() + action[1:]
        lines += map(bold, flow([action], width, first=first, indent=indent))
        reason = [*worth, plain(hint.cause, 80), plain(hint.evidence, 300)]
        lines += flow(reason, width, first=" " * indent, indent=indent)
        place = shown_path(hint.path, hint.line)
        lines.append(" " * indent + fit(place, width - indent, keep_end=True))
    return lines


def _notes(answer: CacheAnswer, width: int) -> list[Line]:
    cache = answer.cache
    shown = [plain(answer.rules, 300)]
    if cache.unreported_calls:
        shown.append(f"{count(cache.unreported_calls, 'call')} whose logs state no cache reads")
    if cache.unsized_calls:
        shown.append(f"{count(cache.unsized_calls, 'call')} of unknown size left out")
    if cache.provider_exceeds_calls:
        shown.append(
            f"{count(cache.provider_exceeds_calls, 'call')} where more was read than the log shows"
        )
    filters = sorted(answer.provenance.filters.items())
    shown += [plain(f"only {name} {value}", 300) for name, value in filters]
    return [*flow(shown, width, first="Note: ", indent=6)]


def _next(answer: CacheAnswer, width: int, store: str | None) -> list[Line]:
    if not answer.cache.worst_calls:
        return []
    room = width - len("Next: ")
    worst = answer.cache.worst_calls[0].call_id[:ID_DIGITS]
    words = ("cache", PATHS, f"--explain {worst}")
    command = next_command(*words, paths=answer.provenance.paths, store=store, room=room)
    line = f"Next: {command}"
    whole = f"{line}  for one call in full"
    return [dim(whole if cell_len(whole) <= width else fit(line, width))]


def write_explanation(found: Explanation, form: PlainFormat, out: TextIO) -> None:
    """Why one call paid for what it paid."""
    if form is PlainFormat.JSON:
        document = asdict(found) | {
            "levels": [{"level": level, "tokens": n} for level, n in found.levels],
            "causes": [
                {"cause": cause, "source": source, "tokens": n} for cause, source, n in found.causes
            ],
        }
        write_json(exact({"format": FORMAT} | document), out)
        return
    width = output_width(out)
    parts = [
        _call(found, width),
        _levels(found, width),
        _lost(found, width),
        _earlier(found, width),
        _path(found.steps, width),
        _difference(found.parts_at, width),
    ]
    print_lines(separated(parts), out)


def _call(found: Explanation, width: int) -> list[Line]:
    facts = [plain(found.model or "model not logged", 200)]
    facts += ["time not logged" if found.started_at is None else moment(found.started_at)]
    read = (
        "cache reads are not in this log"
        if found.read_tokens is None
        else f"{found.read_tokens:,} read from cache (provider-reported)"
    )
    return [
        *map(bold, flow([f"Call {plain(found.call_id, 40)}"], width)),
        *flow(facts, width),
        fit(shown_path(found.path, found.line), width, keep_end=True),
        *flow([f"{found.input_tokens:,} input tokens", read], width, indent=2),
    ]


_LEVELS = {
    "reusable": "reusable: had the trace kept its beginning",
    "ideal": "ideal: the beginning that an earlier call sent or got",
    "stored": "stored: what of it the provider stores",
    "scoped": "scoped: sent to the same model",
    "alive": "alive: used within the cache's lifetime",
    "allowed": "allowed: whole units, not below the minimum",
    "marked": "marked: up to a breakpoint in reach",
    "policy": "policy: ready when this call was sent",
    "realized": "realized (provider-reported): read from cache",
}
"""Levels from what could be read down to what was, the name before the colon."""


def _brief(text: str, width: int) -> str:
    """A name with its meaning, or the name alone where lines are short."""
    return text if width >= _NARROW else text.partition(":")[0]


def _levels(found: Explanation, width: int) -> list[Line]:
    if not found.levels:
        return []
    rows = [["What a cache could have served", "tokens", "lost here"]]
    above: int | None = None
    for level, n in found.levels:
        lost = "" if above is None or n == above else f"{n - above:,}"
        rows.append([f"  {plain(_brief(_LEVELS.get(level, level), width), 80)}", f"{n:,}", lost])
        above = n
    first, *lines = grid(rows, width, numbers=(1, 2), flexible=0)
    return [bold(first), *lines]


def _lost(found: Explanation, width: int) -> list[Line]:
    if found.read_tokens is None:
        return [*flow(["What it lost is unknown: its log does not state what it read"], width)]
    if not found.causes:
        return [*map(bold, flow(["Nothing was lost: all that could be read was read"], width))]
    rows = [["Lost to", "tokens", "do this"]] + [
        [f"  {plain(name, 80)}", f"{n:,}", action]
        for name, n, action in (_cause_of(*each) for each in found.causes)
    ]
    rows = rows if width >= _NARROW else [row[:2] for row in rows]
    first, *lines = grid(rows, width, numbers=(1,), flexible=0)
    return [bold(first), *lines]


def _cause_of(cause: str, source: str, n: int) -> tuple[str, int, str]:
    named = cause_name(MissCause(cause, source, 1, n, None))
    return named, n, ACTIONS.get(cause, "")


def _earlier(found: Explanation, width: int) -> list[Line]:
    if found.earlier_call_id is None:
        return [*map(bold, flow(["No earlier call begins like this one"], width))]
    facts = [
        f"call {plain(found.earlier_call_id[:ID_DIGITS])}",
        f"{found.shared_tokens:,} tokens shared",
    ]
    if found.idle_s is not None:
        facts.append(f"{duration(found.idle_s)} before")
    lines: list[Line] = [bold("Last used before by"), *flow(facts, width, first="  ", indent=2)]
    if found.earlier_path is not None:
        place = shown_path(found.earlier_path, found.earlier_line)
        lines.append("  " + fit(place, width - 2, keep_end=True))
    return lines


def _path(steps: Sequence[PathStep], width: int) -> list[Line]:
    """The prompt's segments around the place where it parts from the earlier call's."""
    if not steps:
        return []
    parts = next((n for n, step in enumerate(steps) if not step.shared), len(steps))
    first_shown, end = max(parts - _STEPS_BEFORE, 0), min(parts + _STEPS_AFTER, len(steps))
    rows = [["up to", "", "role", "kind", "begins"]] + [
        [
            f"{step.tokens:,}",
            "shared" if step.shared else "new",
            plain(step.role, 20),
            plain(step.kind, 20),
            plain(step.excerpt or "–", _EXCERPT),
        ]
        for step in steps[first_shown:end]
    ]
    rows = without_empty_columns(rows)
    last = len(rows[0]) - 1
    first, *lines = grid(rows, width, numbers=(0,), flexible=last, indent="  ")
    title = "This prompt, segment by segment (tokens up to the end of each)"
    shown: list[Line] = [*map(bold, flow([title], width)), first]
    if first_shown:
        shown.append(f"  … {first_shown:,} before (--format json)")
    for line, step in zip(lines, steps[first_shown:end], strict=True):
        shown.append(line if step.shared else bold(line))
    if end < len(steps):
        shown.append(f"  … {len(steps) - end:,} after (--format json)")
    return shown


def _difference(text: str | None, width: int) -> list[Line]:
    if text is None:
        return []
    shown: list[Line] = [bold("Where they part")]
    for line in text.splitlines()[:_DIFFERENCE_LINES]:
        shown += flow([plain(line, _DIFFERENCE_WIDTH)], width, first="  ", indent=4)
    return shown

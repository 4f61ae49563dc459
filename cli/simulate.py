"""``simulate``: what its options mean, and how the answer is shown."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import asdict
from decimal import Decimal, InvalidOperation
from typing import TextIO

import typer

from forkpoint.analysis.cache_policy import CachePolicy, Capacity, EngineRule, Eviction, Unit
from forkpoint.analysis.kv_shapes import KV_SHAPES
from forkpoint.analysis.results import HitRates, Simulation
from forkpoint.cli.json_report import exact, write_json
from forkpoint.cli.layout import bold, flow, grid, output_width, print_lines
from forkpoint.cli.numbers import count, duration, percent, tokens
from forkpoint.cli.options import PlainFormat
from forkpoint.cli.table import Line

_CAPACITY = re.compile(r"([\d_]{1,24}(?:\.\d{1,12})?)\s*([A-Za-z]*)")
_UNITS = {
    "": (Unit.TOKENS, 1),
    "tokens": (Unit.TOKENS, 1),
    "blocks": (Unit.BLOCKS, 1),
    **{f"{c}ib": (Unit.BYTES, 1024**n) for n, c in enumerate("kmgt", 1)},
    **{f"{c}b": (Unit.BYTES, 1000**n) for n, c in enumerate("kmgt", 1)},
}
_SPAN = re.compile(r"([\d]{1,12}(?:\.\d{1,6})?)\s*(s|m|h|d|)")
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
_MAX_AMOUNT = 2**62
_BINARY = ("B", "KiB", "MiB", "GiB", "TiB")


def cache_policy(
    *,
    eviction: Eviction | None,
    capacity: str | None,
    ttl: str | None,
    model_shape: str | None,
    engine_rule: EngineRule,
    sweep: bool,
) -> CachePolicy:
    """The cache that the options describe.

    Raises:
        typer.BadParameter: a value cannot be read, or the options do not go together.
    """
    room = None if capacity is None else parse_capacity(capacity)
    if eviction is None:
        eviction = Eviction.INFINITE if room is None and not sweep else Eviction.LRU
    if eviction is not Eviction.INFINITE and room is None and not sweep:
        raise typer.BadParameter(f"--eviction {eviction} needs a --capacity, or --sweep")
    if eviction is Eviction.INFINITE and sweep:
        raise typer.BadParameter("--sweep needs --eviction lru or fifo")
    try:
        return CachePolicy(
            eviction=eviction,
            capacity=room,
            ttl_s=None if ttl is None else parse_ttl(ttl),
            engine_rule=engine_rule,
            bytes_per_token=None if model_shape is None else parse_model_shape(model_shape),
        )
    except ValueError as error:
        hint = "; add --model-shape" if room and room.unit is Unit.BYTES and not model_shape else ""
        raise typer.BadParameter(f"{error}{hint}") from None


def parse_capacity(text: str) -> Capacity:
    """How much ``--capacity`` names.

    Raises:
        typer.BadParameter: it is no amount above 0.

    >>> parse_capacity("2GiB"), parse_capacity("4096 blocks")
    (Capacity(amount=2147483648, unit=<Unit.BYTES: 'bytes'>), Capacity(amount=4096, unit=<Unit.BLOCKS: 'blocks'>))
    """
    match = _CAPACITY.fullmatch(text.strip())
    unit = _UNITS.get(match[2].lower()) if match else None
    if match is not None and unit is not None:
        try:
            amount = int(Decimal(match[1].replace("_", "")) * unit[1])
        except InvalidOperation:
            amount = 0
        if 0 < amount <= _MAX_AMOUNT:
            return Capacity(amount, unit[0])
    raise typer.BadParameter(
        f"{text!r} is no capacity: write 500000 (tokens), 4096blocks, 80GB or 2GiB"
    )


def parse_ttl(text: str) -> float:
    """Seconds that ``--ttl`` names.

    Raises:
        typer.BadParameter: it is no span of time above 0.

    >>> parse_ttl("5m"), parse_ttl("1h"), parse_ttl("90")
    (300.0, 3600.0, 90.0)
    """
    match = _SPAN.fullmatch(text.strip())
    seconds = float(match[1]) * _SECONDS[match[2]] if match else 0.0
    if seconds <= 0:
        raise typer.BadParameter(f"{text!r} is no lifetime: write 5m, 1h or seconds")
    return seconds


def parse_model_shape(text: str) -> int:
    """KV cache bytes per token that ``--model-shape`` names.

    Raises:
        typer.BadParameter: it is neither a known model nor a number above 0.

    >>> parse_model_shape("Llama-3.1-8B"), parse_model_shape("70272")
    (131072, 70272)
    """
    name = text.strip().lower()
    if name in KV_SHAPES:
        return KV_SHAPES[name].bytes_per_token
    if re.fullmatch(r"[0-9]{1,12}", name) and int(name) > 0:
        return int(name)
    known = ", ".join(KV_SHAPES)
    raise typer.BadParameter(f"{text!r} is no model known here: write bytes per token, or {known}")


def write_simulation(simulation: Simulation, form: PlainFormat, out: TextIO) -> None:
    """The hit rates under all conventions, where the hits come from, and the sweep."""
    if form is PlainFormat.JSON:
        write_json(exact(asdict(simulation)), out)
        return
    width = output_width(out)
    lines: list[Line] = []
    lines += map(bold, flow(_cache(simulation), width, first="Cache: ", indent=2))
    lines += flow(_replayed(simulation), width, first="Replayed: ", indent=2)
    lines += ["", *_rates(simulation, width), ""]
    lines += flow(_reuse(simulation), width, first="Hit tokens: ", indent=2)
    if simulation.sweep:
        title = f"{(simulation.sweep_eviction or '').upper()} by capacity"
        lines += ["", bold(title), *_curve(simulation, width)]
    notes = _notes(simulation)
    if notes:
        lines.append("")
    for note in notes:
        lines += flow([note], width, first="Note: ", indent=2)
    print_lines(lines, out)


def _cache(simulation: Simulation) -> list[str]:
    parts = [f"blocks of {count(simulation.block_size, 'token')}"]
    if simulation.capacity_blocks is None:
        parts.append("no limit")
    else:
        size = f"{count(simulation.capacity_blocks, 'block')}"
        held = [f"{tokens(simulation.capacity_tokens)} tokens"]
        if simulation.capacity_bytes is not None:
            held.append(_bytes(simulation.capacity_bytes))
        parts += [simulation.eviction.upper(), f"{size} ({', '.join(held)})"]
    parts.append(
        "no lifetime" if simulation.ttl_s is None else f"{duration(simulation.ttl_s)} after use"
    )
    if simulation.engine_rule != EngineRule.NONE:
        parts.append(f"as {simulation.engine_rule} does: whole blocks, last token computed")
    return parts


def _replayed(simulation: Simulation) -> list[str]:
    return [
        count(simulation.requests, "request"),
        count(simulation.traces, "trace"),
        f"{tokens(simulation.input_tokens)} input tokens",
        count(simulation.total_blocks, "block"),
        f"{simulation.unique_blocks:,} unique",
    ]


_CONVENTIONS = (
    ("cold_micro_block", "hit blocks / blocks, empty at first"),
    ("cold_micro_token", "hit tokens / input tokens, empty at first"),
    ("cold_macro", "mean over requests of hit blocks / blocks"),
    ("steady_micro_token", "hit tokens / input tokens, last half of requests"),
)


def _rates(simulation: Simulation, width: int) -> list[str]:
    limited = simulation.capacity_blocks is not None or simulation.ttl_s is not None
    rows = [["Hit rate", "this cache", "infinite"] if limited else ["Hit rate", "infinite cache"]]
    for name, meaning in _CONVENTIONS:
        shown = [percent(getattr(simulation.conventions, name))]
        if limited:
            shown.append(percent(getattr(simulation.ceiling, name)))
        rows.append([meaning, *shown])
    return grid(rows, width, numbers=range(1, len(rows[0])), flexible=0)


def _reuse(simulation: Simulation) -> list[str]:
    if not simulation.hit_tokens:
        return ["none"]
    if simulation.traces < 2:
        return [tokens(simulation.hit_tokens)]
    other = simulation.other_trace_hit_tokens / simulation.hit_tokens
    return [
        tokens(simulation.hit_tokens),
        f"{percent(simulation.same_trace_share)} first sent by the same trace",
        f"{percent(other)} by another",
    ]


def _curve(simulation: Simulation, width: int) -> Iterable[str]:
    with_bytes = simulation.bytes_per_token is not None
    header = ["blocks", "tokens", *(["size"] if with_bytes else [])]
    rows = [[*header, "by block", "by token", "macro", "last half"]]
    for point in simulation.sweep:
        size = [_bytes(point.capacity_bytes)] if point.capacity_bytes is not None else []
        held = [f"{point.capacity_blocks:,}", tokens(point.capacity_tokens), *size]
        rows.append([*held, *map(percent, _in_order(point.conventions))])
    return grid(rows, width, numbers=range(len(rows[0])), flexible=0, indent="  ")


def _in_order(rates: HitRates) -> list[float | None]:
    return [getattr(rates, name) for name, _ in _CONVENTIONS]


def _bytes(n: int) -> str:
    """A size in memory, in binary units."""
    size, power = float(n), 0
    while size >= 1024 and power < len(_BINARY) - 1:
        size, power = size / 1024, power + 1
    return f"{size:,.1f} {_BINARY[power]}" if power else f"{n} B"


def _notes(simulation: Simulation) -> list[str]:
    found = []
    if len(simulation.logged_block_sizes) > 1:
        sizes = ", ".join(map(str, simulation.logged_block_sizes))
        found.append(f"the logs hash blocks of {sizes} tokens; all were cut to one size")
    if any(simulation.block_size % size for size in simulation.logged_block_sizes):
        found.append(
            "inside a logged block, what prompts share is not known: rates are at least these"
        )
    if simulation.estimated_requests:
        found.append(
            f"{count(simulation.estimated_requests, 'request')} only partly logged: positions go by "
            "billed usage"
        )
    if simulation.left_out_requests:
        found.append(f"{count(simulation.left_out_requests, 'request')} of unknown size left out")
    if simulation.untimed_requests:
        found.append(
            f"{count(simulation.untimed_requests, 'request')} without a time left out: a lifetime "
            "needs one"
        )
    if simulation.oversized_requests:
        found.append(
            f"{count(simulation.oversized_requests, 'request')} larger than the cache: only the head "
            "is kept"
        )
    return found

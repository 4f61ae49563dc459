"""``forkpoint rollouts --group``: one group of rollouts, drawn as the tree that it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TextIO

from rich.cells import cell_len

from forkpoint import __version__
from forkpoint.analysis.rollout_results import DrawnTree, RolloutGroup, TreeLine
from forkpoint.cli.json_report import FORMAT, exact, write_json
from forkpoint.cli.layout import bold, fit, flow, output_width, pad, print_lines
from forkpoint.cli.numbers import count, figure, percent, times, tokens
from forkpoint.cli.options import PlainFormat
from forkpoint.cli.table import Line
from forkpoint.cli.text import plain

LINES_SHOWN = 60
"""Lines of a tree on the screen, unless told otherwise."""

_NARROW, _WIDE = 60, 120
_GAP = "  "
_MAX_ANSWER, _MAX_TRACE = 16, 24
_MAX_TEXT = 300
_MIN_ROOM = 8


@dataclass(frozen=True, slots=True)
class _Pen:
    """What branches are drawn with."""

    fork: str
    last: str
    past: str
    """Beside a branch whose siblings are still to come."""
    blank: str


_BOXES = _Pen("├─", "└─", "│ ", "  ")
_ASCII = _Pen("|-", "`-", "| ", "  ")


def write_drawn_tree(
    tree: DrawnTree, form: PlainFormat, out: TextIO, *, top: int | None = None
) -> None:
    """One group from the top down.

    Args:
        top: how many lines of the tree at most; ``None``: `LINES_SHOWN` on the screen, all in JSON.
    """
    if form is PlainFormat.JSON:
        document = asdict(tree)
        document["lines"] = document["lines"][:top]
        write_json(exact({"format": FORMAT, "forkpoint": __version__, "tree": document}), out)
        return
    width = output_width(out)
    pen = _BOXES if _can_write(_BOXES.fork + _BOXES.last + _BOXES.past, out) else _ASCII
    print_lines([*_heading(tree, width), *_drawn(tree, width, top or LINES_SHOWN, pen)], out)


def _can_write(text: str, out: TextIO) -> bool:
    """Whether the output's encoding has these characters."""
    try:
        text.encode(getattr(out, "encoding", None) or "utf-8")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def _heading(tree: DrawnTree, width: int) -> list[Line]:
    group = tree.group
    lines: list[Line] = [*map(bold, flow([plain(group.group, _MAX_TEXT)], width))]
    facts = [count(group.rollouts, "rollout")]
    if group.sized_rollouts:
        facts += _figures(group)
    if group.mean_reward is not None:
        facts.append(f"mean reward {figure(group.mean_reward)}")
    if group.answers:
        facts.append(f"{count(group.distinct_answers, 'distinct answer')} in {group.answers:,}")
    lines += flow(facts, width, indent=2)
    if tree.left_out:
        unknown = f"{count(tree.left_out, 'rollout')} of unknown content cannot be drawn"
        lines += flow([unknown], width)
    return lines


def _figures(group: RolloutGroup) -> list[str]:
    return [
        f"{group.distinct_rollouts:,} distinct",
        f"all begin with the same {count(group.trunk_tokens, 'token')}",
        f"{tokens(group.flat_tokens)} tokens one by one, {tokens(group.tree_tokens)} as a tree",
        f"overlap (POR) {percent(group.overlap_ratio)}",
        f"at most {times(group.bound)} faster",
        count(group.forks, "fork"),
    ]


def _drawn(tree: DrawnTree, width: int, top: int, pen: _Pen) -> list[Line]:
    if not tree.lines:
        return []
    is_end = _ends(tree.lines)
    shown = tree.lines[:top]
    columns = _columns(shown, is_end, width)
    left = [""] * (len(shown) + 1)
    for header, cells, right in columns:
        size = max(map(cell_len, [header, *cells]))
        left = [
            f"{line}{pad(cell, size, right=right)}{_GAP}"
            for line, cell in zip(left, [header, *cells], strict=True)
        ]
    # Of a deep tree the outer branches give way: what a branch says matters as much.
    room = max(width - cell_len(left[0]), _MIN_ROOM) // 2
    lines: list[Line] = ["", bold(fit(f"{left[0]}begins".rstrip(), width))]
    for line, branch, each, end in zip(
        left[1:], _branches(shown, pen), shown, is_end, strict=False
    ):
        drawn = fit(branch, room, keep_end=True)
        lines.append(fit(f"{line}{drawn}{_says(each, end)}".rstrip(), width))
    lines += _hidden(tree.lines[top:], is_end[top:], len(tree.lines), width)
    return [*lines, "", *flow(_MEANING, width)]


_MEANING = (
    "tokens: from one fork to the next",
    "reward: mean of the rollouts that go this way",
    "text begins where a rollout parts from the others",
)


def _ends(lines: Sequence[TreeLine]) -> list[bool]:
    """Whether rollouts end with each line: no branch follows."""
    below = [each.depth for each in lines[1:]] + [0]
    return [after <= each.depth for each, after in zip(lines, below, strict=True)]


def _columns(
    shown: Sequence[TreeLine], is_end: Sequence[bool], width: int
) -> list[tuple[str, list[str], bool]]:
    """(header, cells, whether aligned to the right); those that say nothing are left out."""
    columns = [
        ("rollouts", [f"{each.rollouts:,}" for each in shown], True),
        ("tokens", [tokens(each.tokens) for each in shown], True),
        ("reward", [figure(each.mean_reward) for each in shown], True),
        (
            "answer",
            [
                fit(plain(each.answers[0], _MAX_TEXT), _MAX_ANSWER) if end and each.answers else ""
                for each, end in zip(shown, is_end, strict=False)
            ],
            False,
        ),
    ]
    if width < _NARROW:
        columns = [column for column in columns if column[0] in ("rollouts", "reward")]
    if width >= _WIDE:
        traces = [fit(plain(each.trace or "", _MAX_TEXT), _MAX_TRACE) for each in shown]
        columns.append(("rollout", traces, False))
    return [column for column in columns if not set(column[1]) <= {"", "–"}]


def _branches(shown: Sequence[TreeLine], pen: _Pen) -> list[str]:
    """What is drawn before each line's text."""
    is_last: list[bool] = []
    drawn = []
    for each in shown:
        del is_last[each.depth :]
        is_last.append(each.is_last)
        if not each.depth:
            drawn.append("")
            continue
        above = "".join(pen.blank if last else pen.past for last in is_last[1:-1])
        drawn.append(f"{above}{pen.last if each.is_last else pen.fork}")
    return drawn


def _says(line: TreeLine, is_end: bool) -> str:
    """How a stretch begins, and whether several rollouts are equal from there on."""
    if line.begins is None:
        text = "(not readable any more)"
    else:
        text = plain(line.begins, _MAX_TEXT) or "(ends here)"
    return f"({line.rollouts:,} equal) {text}" if is_end and line.rollouts > 1 else text


def _hidden(lines: Sequence[TreeLine], is_end: Sequence[bool], total: int, width: int) -> list[str]:
    """What was cut."""
    if not lines:
        return []
    rollouts = sum(each.rollouts for each, end in zip(lines, is_end, strict=True) if end)
    cut = f"… {count(rollouts, 'rollout')} in {count(len(lines), 'line')} more (--top {total})"
    return flow([cut], width)

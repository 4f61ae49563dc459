"""``--format table``: the answer on one screen, and where to look next."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from typing import TextIO

from rich.cells import cell_len
from rich.text import Text

from forkpoint.analysis.results import Fork, MissCause, PrefixTree, Report, WorstCall
from forkpoint.cli.answer import (
    ACTIONS,
    Amount,
    amounts,
    cause_name,
    dearest_first,
    entropy,
    has_content,
    has_usage,
    lost_to,
    notes,
    ordered_groups,
    paid_usd,
    parts_at,
    rollouts,
    trunk,
    what_was_read,
)
from forkpoint.cli.layout import (
    bold,
    dim,
    fit,
    flow,
    grid,
    output_width,
    pad,
    print_lines,
    shown_path,
)
from forkpoint.cli.numbers import count, dollars, duration, percent, tokens
from forkpoint.cli.text import plain

_LABEL_WIDTH = 16
_ROWS = 3
"""Fork points on the first screen."""
_CAUSES = 5
"""Causes of misses on the first screen."""
_GROUP_ROWS = 20
_MODEL_WIDTH = 24
_NARROW = 80
_WIDE = 96
"""From here on there is room for actions beside causes."""
_MIN_PATH_WIDTH = 20
_MIN_BESIDE = 2 * _MIN_PATH_WIDTH + 3
PATHS = "PATH…"
"""In a command: the paths that were read."""

Line = str | Text


class TableReporter:
    """The first screen: what was paid, what caching saved, what was left, and where."""

    kind = "table"

    def __init__(self, width: int | None = None, *, store: str | None = None) -> None:
        """Lay out for `width` columns, or for what the output has.

        Args:
            store: the value of ``--store``, repeated in the commands that the screen proposes.
        """
        self._width = width
        self._store = store

    def render(self, report: Report, out: TextIO) -> None:
        """Print the screen."""
        screen = _Screen(report, self._width or output_width(out), self._store)
        print_lines(screen.lines(), out)


class _Screen:
    def __init__(self, report: Report, width: int, store: str | None) -> None:
        self.report = report
        self.width = width
        self.store = store

    def lines(self) -> list[Line]:
        """All lines, parts separated by blank ones."""
        parts = [self._read()]
        if self.report.totals.calls:
            parts.append(self._amounts())
            if self.report.by:
                parts.append(self._groups())
            else:
                parts += [self._lost_to(), self._forks()]
        parts.append([*self._rollouts(), *self._entropy()])
        parts.append([*self._notes(), *self._next()])
        return separated(parts)

    def _read(self) -> list[Line]:
        lines: list[Line] = []
        if not has_content(self.report):
            paths = [shown_path(path) for path in self.report.provenance.paths]
            lines += flow(paths, self.width, first="No model calls found in ", indent=2)
        lines += flow(what_was_read(self.report), self.width)
        issues = self.report.sources.issues
        if issues:
            see = (
                "--strict shows the first"
                if self._in_memory
                else self._command("sql", '"from issues"', room=self.width)
            )
            lines += flow([f"{count(issues, 'record')} unreadable ({see})"], self.width)
        return lines

    def _amounts(self) -> list[Line]:
        lines: list[Line] = []
        shown = amounts(self.report)
        widths = (max(len(each.usd) for each in shown), max(len(each.tokens) for each in shown))
        for each in shown:
            lines += self._amount(each, widths)
        # Without rows of --by, causes have a table of their own.
        in_phrases = self.report.by or not self._reads_are_known
        lost = lost_to(self.report, _ROWS) if in_phrases else []
        if lost:
            label = pad("Lost to", _LABEL_WIDTH)
            lines += flow(
                [plain(each) for each in lost], self.width, first=label, indent=_LABEL_WIDTH
            )
        return lines

    def _amount(self, amount: Amount, widths: tuple[int, int]) -> list[Line]:
        usd, count_of_tokens = (
            pad(text, width, right=True)
            for text, width in zip((amount.usd, amount.tokens), widths, strict=True)
        )
        first = f"{pad(amount.label, _LABEL_WIDTH)}{usd}   {count_of_tokens}   "
        details = [plain(each) for each in amount.details]
        first_line, *more = flow(details, self.width, first=first, indent=_LABEL_WIDTH + 2)
        styled = Text(first_line)
        styled.stylize("bold", 0, _LABEL_WIDTH + len(usd))
        return [styled, *more]

    def _groups(self) -> list[Line]:
        groups = ordered_groups(self.report)
        by_day = self.report.by == "day"
        shown = groups[-_GROUP_ROWS:] if by_day else groups[:_GROUP_ROWS]
        header = [self.report.by or "", "calls", "input", "hit rate", "output", "$"]
        rows = [header] + [
            [
                plain(row.key, 200),
                f"{row.totals.calls:,}",
                tokens(row.totals.input_tokens if has_usage(row.totals) else None),
                percent(row.hit_rate),
                tokens(row.totals.output_tokens if has_usage(row.totals) else None),
                dollars(paid_usd(row.totals)),
            ]
            for row in shown
        ]
        if self.width < _NARROW:
            rows = [row[:4] + row[5:] for row in rows]
        first, *lines = grid(
            rows,
            self.width,
            numbers=range(1, 6),
            flexible=0,
            keep_end=self.report.by in ("project", "session"),
        )
        hidden = len(groups) - len(shown)
        if hidden:
            lines.append(f"… {hidden:,} {'earlier' if by_day else 'more'} (--format csv)")
        return [bold(first), *lines]

    def _lost_to(self) -> list[Line]:
        if not self._reads_are_known:
            return []
        cache = self.report.cache
        lines = cause_lines(dearest_first(cache.misses_by_cause)[:_CAUSES], self.width)
        for call in cache.worst_calls[:1]:
            lines += _worst_call_line(call, self.width)
        if not lines:
            return []
        n = len(cache.misses_by_cause)
        more = f"all {n:,} causes, worst calls, what to do" if n > _CAUSES else "more on each"
        command = self._command("cache", PATHS, room=self.width - _LABEL_WIDTH)
        shown = f"{' ' * _LABEL_WIDTH}{command}"
        beside = f"{shown}  {more}"
        return [*lines, dim(beside if cell_len(beside) <= self.width else fit(shown, self.width))]

    @property
    def _reads_are_known(self) -> bool:
        return self.report.cache.hit_rate is not None

    def _forks(self) -> list[Line]:
        tree = self.report.prefix_tree
        if not tree.flat_tokens:
            return []
        if not tree.fork_points:
            return labelled("Fork points", tree_facts(tree), self.width)
        return [
            *self._with_command("Fork points", tree_facts(tree), "prefixes"),
            *fork_lines(tree.top_forks[:_ROWS], self.width, branches=2),
        ]

    def _rollouts(self) -> list[Line]:
        return self._with_command("Rollouts", rollouts(self.report), "rollouts")

    def _entropy(self) -> list[Line]:
        parts = entropy(self.report)
        lines = self._with_command("Entropy", parts, "forks")
        # The command of the rollouts leads there too: it is not worth a line of its own.
        if len(lines) > 1 and rollouts(self.report):
            return labelled("Entropy", parts, self.width)
        return lines

    def _with_command(self, label: str, parts: list[str], command: str) -> list[Line]:
        """Phrases, and the command that says more."""
        if not parts:
            return []
        more = self._command(command, PATHS, room=self.width - _LABEL_WIDTH)
        return labelled(label, [*parts, more], self.width)

    def _notes(self) -> list[Line]:
        shown = [plain(note, 300) for note in notes(self.report)]
        return [*flow(shown, self.width, first="Note: ", indent=6)] if shown else []

    def _next(self) -> list[Line]:
        words: tuple[str, ...]
        if not has_content(self.report):
            words, purpose = ("formats", "FILE"), "says what a file is"
        elif not self.report.totals.calls:
            words, purpose = ("forks", PATHS), "for where rollouts part"
        elif self.report.by:
            words, purpose = ("report", PATHS), "for worst calls and fork points"
        else:
            words, purpose = ("report", PATHS, "--by session"), "for what each run cost"
        # What a file is, is told without a store.
        store = None if words[0] == "formats" else self.store
        room = self.width - len("Next: ")
        paths = self.report.provenance.paths
        command = next_command(*words, paths=paths, store=store, room=room)
        line = f"Next: {command}  {purpose}"
        # A command is only of use whole: the purpose goes first where there is no room for both.
        return [dim(line if cell_len(line) <= self.width else fit(f"Next: {command}", self.width))]

    @property
    def _in_memory(self) -> bool:
        return self.store == ":memory:"

    def _command(self, *words: str, room: int) -> str:
        paths = self.report.provenance.paths
        return next_command(*words, paths=paths, store=self.store, room=room)


def labelled(label: str, parts: Sequence[str], width: int) -> list[Line]:
    """Phrases behind a label of one or two words."""
    first, *more = flow(parts, width, first=pad(label, _LABEL_WIDTH), indent=_LABEL_WIDTH)
    head = Text(first)
    head.stylize("bold", 0, _LABEL_WIDTH)
    return [head, *more]


def next_lines(
    proposals: Sequence[tuple[tuple[str, ...], str]],
    *,
    paths: Sequence[str],
    store: str | None,
    width: int,
) -> list[Line]:
    """Commands to run next, one below the other.

    Args:
        proposals: (words of the command, what it is for) of each.
        paths, store: as in `next_command`.
    """
    room = width - len("Next: ")
    known = [
        (next_command(*words, paths=paths, store=store, room=room), purpose)
        for words, purpose in proposals
    ]
    # A command is only of use whole.
    whole_ones = [each for each in known if cell_len(each[0]) <= room] or known[-1:]
    longest = max((cell_len(command) for command, _ in whole_ones), default=0)
    lines: list[Line] = []
    for command, purpose in whole_ones:
        lead = " " * len("Next: ") if lines else "Next: "
        whole = f"{lead}{pad(command, longest)}  {purpose}"
        lines.append(dim(whole if cell_len(whole) <= width else fit(lead + command, width)))
    return lines


def next_command(*words: str, paths: Sequence[str], store: str | None, room: int) -> str:
    """A command the reader can run: on the store that was used, if it was named.

    Args:
        words: what follows ``forkpoint``; `PATHS` stands for the paths.
        room: cells it may take. Paths that do not fit are left to the reader.
    """
    known = " ".join(_quoted(shown_path(path)) for path in paths)
    option = [] if store is None else ["--store", _quoted(store)]
    for shown in (known, "PATH"):
        named = (shown if word == PATHS else word for word in words)
        command = " ".join(["forkpoint", *named, *option])
        if cell_len(command) <= room:
            break
    return command


def _quoted(word: str) -> str:
    """A path as a shell takes it; ``PATH`` for one that cannot be typed."""
    if word != plain(word):
        return "PATH"
    # A quoted tilde would not lead home.
    return f"~/{shlex.quote(word[2:])}" if word.startswith("~/") else shlex.quote(word)


def separated(parts: Iterable[Sequence[Line]]) -> list[Line]:
    """Parts of a screen with a blank line between them; empty parts leave no gap."""
    lines: list[Line] = []
    for part in parts:
        if part and lines:
            lines.append("")
        lines += part
    return lines


def cause_lines(found: Sequence[MissCause], width: int) -> list[Line]:
    """What tokens were lost to, each with what to do about it: beside it where there is room, else
    below."""
    if not found:
        return []
    actions = [ACTIONS.get(each.cause, "") for each in found]
    rows = [["Lost to", "calls", "tokens", "$"]] + [
        [
            f"  {plain(cause_name(each), 80)}",
            f"{each.calls:,}",
            tokens(each.tokens),
            dollars(each.usd),
        ]
        for each in found
    ]
    if width >= _WIDE:
        beside = ["do this", *actions]
        rows = [[*row, action] for row, action in zip(rows, beside, strict=True)]
        first, *lines = grid(rows, width, numbers=range(1, 4), flexible=4)
        return [bold(first), *lines]
    first, *figures = grid(rows, width, numbers=range(1, 4), flexible=0)
    below: list[Line] = []
    for line, action in zip(figures, actions, strict=True):
        below.append(line)
        if action:
            below += flow([action], width, first="    do: ", indent=8)
    return [bold(first), *below]


def _worst_call_line(call: WorstCall, width: int) -> list[Line]:
    """One call in one line, or two where its place needs a line of its own."""
    parts = [dollars(call.missed_usd), f"{tokens(call.missed_tokens)} tokens"]
    if call.idle_s is not None:
        parts.append(f"{duration(call.idle_s)} idle")
    if call.model is not None:
        parts.append(fit(plain(call.model, 200), _MODEL_WIDTH))
    title = pad("Worst call", _LABEL_WIDTH)
    *before, last = flow(parts, width, first=title, indent=_LABEL_WIDTH)
    room = width - cell_len(last) - 3
    place = shown_path(call.path, call.line)
    if room >= _MIN_PATH_WIDTH:
        lines = [*before, f"{last} · {fit(place, room, keep_end=True)}"]
    else:
        room = width - _LABEL_WIDTH
        lines = [*before, last, " " * _LABEL_WIDTH + fit(place, room, keep_end=True)]
    head = Text(lines[0])
    head.stylize("bold", 0, _LABEL_WIDTH)
    return [head, *lines[1:]]


def without_empty_columns(rows: list[list[str]]) -> list[list[str]]:
    """Rows without the columns that hold nothing below their header."""
    columns = [column for column in zip(*rows, strict=True) if set(column[1:]) != {"–"}]
    return [list(row) for row in zip(*columns, strict=True)]


def tree_facts(tree: PrefixTree) -> list[str]:
    """The prefix tree in phrases."""
    number = f"{tree.fork_points:,}" if tree.fork_points else "none"
    return [
        f"{number} in {tokens(tree.flat_tokens)} prompt tokens",
        f"{tokens(tree.tree_tokens)} distinct (overlap {percent(tree.overlap_ratio)})",
    ]


def fork_lines(forks: Sequence[Fork], width: int, *, branches: int) -> list[Line]:
    """Fork points under a header, a line of figures for each, and where its branches begin.

    The places of two branches stand beside the figures where there is room, else below them.
    """
    if not forks:
        return []
    header = ["tokens shared", "ways", "calls", "sharing saves", "parts at"]
    rows = [header] + [
        [
            trunk(fork),
            f"{fork.fan_out:,}",
            f"{fork.calls:,}",
            tokens(fork.shared_tokens),
            plain(parts_at(fork), 80),
        ]
        for fork in forks
    ]
    if branches == 2:
        rows = [row[:3] + row[4:] for row in rows]
    last = len(rows[0]) - 1
    first, *figures = grid(rows, width, numbers=range(last), flexible=last, indent="  ")
    room = width - max(map(cell_len, [first, *figures])) - 2
    if branches == 2 and room >= _MIN_BESIDE:
        left = width - room
        places = ["branches begin at", *(" ".join(_two_places(fork, room)) for fork in forks)]
        return [
            pad(line, left) + place for line, place in zip([first, *figures], places, strict=True)
        ]
    lines: list[Line] = [first]
    for line, fork in zip(figures, forks, strict=True):
        lines += [line, *_branch_lines(fork, width, branches)]
    return lines


def _branch_lines(fork: Fork, width: int, at_most: int) -> list[Line]:
    """Where a fork's first branches begin: on one line if they are two."""
    indent = " " * 6
    room = width - len(indent)
    if at_most == 2:
        return [indent + place for place in _two_places(fork, room)]
    return [
        indent + fit(shown_path(each.path, each.line), room, keep_end=True)
        for each in fork.branches[:at_most]
    ]


def _two_places(fork: Fork, room: int) -> list[str]:
    """Where a fork's first two branches begin: one line of at most `room` cells, or two."""
    shown = fork.branches[:2]
    if len({each.path for each in shown}) == 1:
        numbers = " and ".join(f":{each.line}" for each in shown)
        return [fit(f"{shown_path(shown[0].path)} {numbers}", room, keep_end=True)]
    places = [shown_path(each.path, each.line) for each in shown]
    half = (room - 3) // 2
    if half < _MIN_PATH_WIDTH:
        return [fit(place, room, keep_end=True) for place in places]
    return [" | ".join(fit(place, half, keep_end=True) for place in places)]

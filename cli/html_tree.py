"""The prefix tree on the HTML page: data for the script that draws it, and a table without it."""

from __future__ import annotations

from typing import Any

from forkpoint.analysis.report_tree import Amounts, ReportTree, Standing, TreeNode
from forkpoint.cli.answer import ID_DIGITS, Section
from forkpoint.cli.html_parts import TEXT_LIMIT, block, cut, data_block, table, text
from forkpoint.cli.numbers import count, dollars, percent, tokens

DATA = "tree-data"
LARGEST = 20
"""Nodes of the table that stands for the drawn tree."""
NAME_LIMIT = 120

KINDS = {
    "tools": "tool definitions",
    "system": "system prompt",
    "text": "text",
    "thinking": "thinking",
    "tool_call": "tool call",
    "tool_result": "tool result",
    "media": "media",
    "rendered": "rendered text",
    "tokens": "token ids",
    "block": "hashed blocks",
    "unlogged": "not logged",
}
"""Kinds of segments, in words; a kind that is not here is named by itself."""

CLASSES = (
    ("read", "read from cache", "reported by the provider"),
    ("missed", "paid again", "sent before, not read from cache"),
    ("unreported", "sent before", "the log says nothing of cache reads"),
    ("new", "new", "never sent before"),
)
"""What became of input tokens, in the order of `Amounts`."""

_TITLE = "Where the input went"
_NOTE = (
    "All prompts laid over each other: a block is a stretch that prompts share, and what stands below "
    "it is how they went on. Its width is all input that went through it and on below it; where "
    "nothing stands below, prompts ended."
)
_KEYS = (
    "Click or Enter zooms in, Escape or ↑ goes back up, arrow keys move, Home shows all. Type to "
    "search by kind, role, path, model or project; Enter goes to the next match."
)


def node_name(node: TreeNode) -> str:
    """What a node is, in a few words."""
    if node.left_out:
        return count(node.left_out, "smaller node")
    if node.is_unlogged:
        return "prompts that are not logged"
    if node.parent < 0:
        return "all prompts"
    kinds = ", ".join(KINDS.get(kind, kind) for kind in node.kinds) or "–"
    if node.kinds == ("unlogged",):
        kinds = f"{', '.join(node.roles) or 'beginning'}, not logged"
    if node.segments == 0:
        return f"beginning of {kinds}"
    return kinds if node.segments == 1 else f"{node.segments:,} segments: {kinds}"


def tree_block(tree: ReportTree) -> str:
    """The section: the place where the script draws, its tools, and a table for all others."""
    present = _present(tree)
    legend = "".join(
        f'<li><span class="swatch {name}"></span>{text(label)} '
        f'<span class="soft">{text(meaning)}</span></li>'
        for name, label, meaning in CLASSES
        if name in present
    )
    body = (
        '<div id="tree" hidden>\n'
        f'<ul class="legend">{legend}</ul>\n'
        '<div class="tools">\n'
        '<span role="group" aria-label="Width of blocks">'
        '<button type="button" id="tree-tokens" aria-pressed="true">tokens</button>'
        '<button type="button" id="tree-usd" aria-pressed="false">dollars</button></span>\n'
        '<button type="button" id="tree-up">↑ up</button>\n'
        '<label>search <input type="search" id="tree-search" maxlength="200" '
        'autocomplete="off" spellcheck="false"></label>\n'
        '<span id="tree-found" class="soft" role="status"></span>\n</div>\n'
        f'<div id="icicle" role="tree" aria-label="{text(_TITLE)}" '
        'aria-describedby="tree-keys"></div>\n'
        f'<p id="tree-keys" class="soft">{text(_KEYS, 1000)} <span id="tree-drawn"></span></p>\n'
        '<div id="tree-about"></div>\n</div>\n'
        f"{_notes(tree)}"
        f"<h3>Largest parts</h3>\n{table(_largest(tree))}"
    )
    return block(_TITLE, _NOTE, body, wide=True)


def _notes(tree: ReportTree) -> str:
    found = ["Input only: what models generate counts once it is sent back."]
    if tree.left_out_nodes:
        found.append(
            f"{count(tree.left_out_nodes, 'smaller node')}, {tokens(tree.left_out_tokens)} tokens "
            "together, are not shown one by one."
        )
    if tree.unpriced_calls:
        found.append(
            f"{count(tree.unpriced_calls, 'call')} without a price have no width in dollars."
        )
    if tree.unsized_calls:
        found.append(f"{count(tree.unsized_calls, 'call')} of unknown size are left out.")
    return f'<p class="soft">{text(" ".join(found), 1000)}</p>\n'


def _largest(tree: ReportTree) -> Section:
    """The nodes with most tokens of their own."""
    nodes = [node for node in tree.nodes[1:] if not node.left_out]
    nodes.sort(key=lambda node: -node.tokens.total)
    classes = [(name, label) for name, label, _ in CLASSES if name in _present(tree)]
    header = (
        "part", "role", "calls", "sent", *(label for _, label in classes), "cost", "ways", "first at",
    )  # fmt: skip
    return Section(
        "Largest parts",
        "",
        header,
        tuple(
            (
                cut(node_name(node), NAME_LIMIT),
                ", ".join(node.roles),
                f"{node.calls:,}",
                tokens(round(node.tokens.total)),
                *(_part(getattr(node.tokens, name), node.tokens) for name, _ in classes),
                dollars(node.usd.total) if node.usd.total else "–",
                f"{node.fan_out:,}",
                _place(node.standing) or "–",
            )
            for node in nodes[:LARGEST]
        ),
        frozenset(range(2, len(header) - 1)),
    )


def _place(standing: Standing | None) -> str | None:
    """The file and the line."""
    return None if standing is None else f"{standing.path}:{standing.line}"


def _part(amount: float, whole: Amounts) -> str:
    return percent(amount / whole.total if whole.total else None)


def _present(tree: ReportTree) -> set[str]:
    """The classes that any tokens are of."""
    return {name for name, *_ in CLASSES if any(getattr(node.tokens, name) for node in tree.nodes)}


class _Strings:
    """Each text once; what the columns hold are places in the list."""

    def __init__(self) -> None:
        self.all: list[str] = []
        self._places: dict[str, int] = {}

    def __call__(self, value: str | None, limit: int = NAME_LIMIT) -> int:
        """The place of a text, made inert and cut; -1 for none."""
        if value is None:
            return -1
        shown = cut(value, limit)
        place = self._places.setdefault(shown, len(self.all))
        if place == len(self.all):
            self.all.append(shown)
        return place


def tree_data(tree: ReportTree) -> str:
    """The tree as flat columns, one entry a node, for the page's script."""
    strings = _Strings()
    nodes = tree.nodes
    standing = [node.standing for node in nodes]
    columns: dict[str, Any] = {
        "parent": [node.parent for node in nodes],
        "name": [strings(node_name(node)) for node in nodes],
        "kinds": [strings(" ".join(node.kinds)) for node in nodes],
        "role": [strings(", ".join(node.roles)) for node in nodes],
        "length": [node.length_tokens for node in nodes],
        "calls": [node.calls for node in nodes],
        "ways": [node.fan_out for node in nodes],
        "rest": [node.left_out for node in nodes],
        "tokens": [[round(getattr(node.tokens, name)) for node in nodes] for name, *_ in CLASSES],
        "usd": [
            [float(f"{getattr(node.usd, name):.7g}") for node in nodes] for name, *_ in CLASSES
        ],
        "path": [strings(_place(each), TEXT_LIMIT) for each in standing],
        "call": [strings(None if each is None else each.call_id[:ID_DIGITS]) for each in standing],
        "model": [strings(None if each is None else each.model) for each in standing],
        "project": [strings(None if each is None else each.project) for each in standing],
        "trace": [strings(None if each is None else each.trace) for each in standing],
        "excerpt": [strings(node.excerpt) for node in nodes],
    }
    labels = [[name, label] for name, label, _ in CLASSES]
    return data_block(DATA, {"strings": strings.all, "classes": labels} | columns)

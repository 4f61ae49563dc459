"""Prompts and outputs as inference servers log them: rendered texts, token ids, or both.

Token ids are the better evidence. Where a prompt has ids, it stands in the tree by its ids, and the
text beside them is the same sequence as text. What was left out is a stand-in.
"""

from __future__ import annotations

from typing import NamedTuple

from forkpoint.parsers.base import ROOT, Tree, text_bytes
from forkpoint.parsers.records import Kind

ROLE = "prompt"
"""The role of rendered text, the same in every format: equal texts are one path."""


class Content(NamedTuple):
    """A text, its token ids, or both. Empty ones were not logged."""

    text: str | None = None
    ids: list[int] | None = None

    @property
    def logged(self) -> bool:
        return bool(self.text or self.ids)


def prompt_node(tree: Tree, prompt: Content, name: str) -> int:
    """Where a prompt ends.

    Args:
        name: of the request; no other has it.

    Raises:
        ValueError: an id is negative or above 2**32 - 1.
    """
    if prompt.ids:
        return tree.extend_tokens(ROOT, prompt.ids)
    if prompt.text:
        return tree.extend_text(ROOT, ROLE, prompt.text)
    return tree.extend(ROOT, Kind.UNLOGGED, "", f"prompt of {name}")


def output_node(tree: Tree, prompt: Content, output: Content, start: int) -> int:
    """Where an output that was logged ends. What is sent next may begin with prompt and output in one
    piece.

    Args:
        start: what `prompt_node` gave.

    Raises:
        ValueError: an id is negative or above 2**32 - 1.
    """
    if prompt.ids and output.ids:
        return tree.extend_tokens(ROOT, [*prompt.ids, *output.ids])
    if prompt.text and output.text and not prompt.ids:
        return tree.extend_text(ROOT, ROLE, prompt.text + output.text)
    if output.text:
        return tree.extend_text(start, ROLE, output.text)
    return tree.extend_tokens(start, output.ids or ())


def text_node(tree: Tree, prompt: Content, output: Content | None) -> int | None:
    """Where prompt and output end as text, if the prompt stands in the tree by its ids."""
    if not (prompt.ids and prompt.text):
        return None
    answer = output.text if output is not None else None
    return tree.extend_text(ROOT, ROLE, prompt.text + (answer or ""))


def text_start(prompt: Content) -> int | None:
    """Bytes of that text that are the prompt's."""
    return text_bytes(prompt.text) if prompt.ids and prompt.text else None

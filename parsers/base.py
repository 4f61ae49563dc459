"""The parser contract.

A parser normalises one log format into calls, traces and issues. It reads records from a
`Log` and grows prompts in a `Tree`; it knows nothing of the store, of prices or of other formats.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import ClassVar, Protocol

from forkpoint.parsers.logs import Head, Log
from forkpoint.parsers.records import Kind, Record

ROOT = 0
"""The empty prompt, in every `Tree`."""


class Tree(Protocol):
    """The prefix tree of one file, as a parser sees it: nodes are small integers, the root is 0.

    Every `extend` returns the child of `parent` that holds the segment, making it if it is new.
    The same segments under the same parents give the same node, in this file and in all others:
    nodes are identified by chained content hashes.
    """

    def extend(self, parent: int, kind: Kind, role: str, text: str) -> int:
        """Append one segment of text. The text is hashed as UTF-8 and not kept."""
        ...

    def extend_text(self, parent: int, role: str, text: str) -> int:
        """Append a long rendered text, cut where any text with the same beginning is cut too.

        Two prompts that share a beginning then share nodes, though neither log has messages.
        """
        ...

    def extend_tokens(self, parent: int, token_ids: Iterable[int]) -> int:
        """Append logged token ids, cut into runs of fixed length for the same reason.

        Raises:
            ValueError: an id is negative or above 2**32 - 1.
        """
        ...

    def extend_blocks(
        self,
        parent: int,
        scope: str,
        block_ids: Iterable[int | str],
        block_size: int,
        n_tokens: int,
    ) -> int:
        """Append hashed KV blocks: each holds `block_size` tokens, the last one the rest of `n_tokens`.

        Args:
            scope: block ids are comparable within one scope only (a trace file, a data set).
        """
        ...

    def hash_of(self, node: int) -> str:
        """The node's identity, as 32 hex digits; what a checkpoint keeps."""
        ...

    def resume(self, node_hash: str) -> int:
        """The node with that identity, known from an earlier part of the same file."""
        ...


def text_bytes(text: str) -> int:
    """Length in UTF-8, as trees count it: half a surrogate pair is three bytes."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


class Parser(Protocol):
    """One log format. Parsers are stateless: one instance reads any number of files."""

    name: ClassVar[str]
    """Registry key, CLI value and sample_logs folder: ``claude-code``."""
    title: ClassVar[str]
    """What people call it: ``Claude Code``."""
    checked: ClassVar[str]
    """Newest log version read in a test, and when: ``2.1.119, 2026-11``."""
    evidence: ClassVar[tuple[str, ...]]
    """What its logs hold, of: usage, text, token ids, hashed blocks, timestamps, rewards, logprobs."""
    locations: ClassVar[tuple[str, ...]]
    """Where its program writes logs by default: ``~``-paths, or ``$VARIABLE/sub`` to honour one."""
    whole_prompts: ClassVar[bool]
    """True: the log holds what was sent, so prompts are tokenised; a part of them that it does not
    hold is an `UNLOGGED` segment. False: so much is missing from each prompt that its text alone says
    little of its size; sizes come from billed usage, and nothing is tokenised."""
    grows: ClassVar[bool]
    """True: such files grow by whole records at the end, and `parse` can go on from a checkpoint.
    False: a file that changed is read again."""

    def identify(self, head: Head) -> str | None:
        """Why the file is of this format, in a few words, or ``None``. Pure; never raises."""
        ...

    def parse(self, log: Log, tree: Tree) -> Iterator[Record]:
        """Yield the file's calls, traces and issues. One bad record never ends the file.

        A parser that `grows` finds in ``log.checkpoint`` what it left there when it last read this
        file (``b""`` on a first reading) and leaves there what the next reading needs.

        Raises:
            Reread: the appended part cannot be read without the part before it.
        """
        ...


class Reread(Exception):
    """Raised by `Parser.parse` on a grown file whose new records point before the checkpoint."""

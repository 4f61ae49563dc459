"""Ways through the tree along messages that are still a log's own bytes.

Logs repeat a conversation's messages with every call. A message that was met at the same place is
known by a digest of its bytes and not decoded again; a conversation kept as ranges of a pool of
messages costs only what each range adds to the one before it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence

import msgspec

from forkpoint.parsers.base import Tree
from forkpoint.parsers.chat import Segment, extend_all

MEMO_LIMIT = 1 << 17
"""Places that are remembered (some 20 MB)."""
MAX_POOLED = 1 << 22
"""Messages that one pool's ranges may add up to, ranges that begin alike counted once."""


class MessagePaths:
    """The paths of one conversation, or of several that share messages.

    Args:
        read: takes a message apart; raises ValueError if it is none.
    """

    def __init__(self, tree: Tree, read: Callable[[msgspec.Raw], list[Segment]]) -> None:
        self._tree = tree
        self._read = read
        self._memo: dict[tuple[int, bytes], int] = {}
        self._ranges: dict[tuple[int, int], list[int]] = {}
        self._pooled = 0

    def follow(self, node: int, messages: Iterable[msgspec.Raw]) -> int:
        """The node after all messages.

        Raises:
            ValueError: a message cannot be read.
        """
        for message in messages:
            node = self.step(node, message)
        return node

    def step(self, node: int, message: msgspec.Raw) -> int:
        """The node after one message. Raises ValueError as `follow` does."""
        key = (node, hashlib.blake2b(message, digest_size=16).digest())
        after = self._memo.get(key)
        if after is None:
            after = extend_all(self._tree, node, self._read(message))
            if len(self._memo) >= MEMO_LIMIT:
                self._memo.clear()
            self._memo[key] = after
        return after

    def follow_ranges(
        self, node: int, pool: Sequence[msgspec.Raw], ranges: Iterable[tuple[int, int]]
    ) -> int:
        """The node after the pool's messages in each half-open range, one range after the other.

        All calls must give the same pool.

        Raises:
            ValueError: a message cannot be read, or is not in the pool.
        """
        for start, end in ranges:
            if not 0 <= start <= end <= len(pool):
                raise ValueError(f"messages {start} to {end} of a pool of {len(pool)}")
            nodes = self._ranges.setdefault((node, start), [node])
            while len(nodes) <= end - start:
                self._pooled += 1
                if self._pooled > MAX_POOLED:
                    raise ValueError(f"ranges of more than {MAX_POOLED} pooled messages")
                nodes.append(self.step(nodes[-1], pool[start + len(nodes) - 1]))
            node = nodes[end - start]
        return node

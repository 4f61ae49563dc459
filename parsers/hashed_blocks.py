"""Prompts logged as the ids of their KV blocks, as serving systems record them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import msgspec

from forkpoint.parsers.base import ROOT, Tree

BlockSize = Annotated[int, msgspec.Meta(ge=1, le=2**24)]
"""Tokens in a block."""


def check_length(n_tokens: int, n_blocks: int, block_size: int, field: str) -> None:
    """Check that so many blocks hold a prompt of this length.

    The last block may be part full, or not hashed where it is.

    Args:
        field: what the log calls the length.

    Raises:
        ValueError: they do not.
    """
    if abs(n_tokens - n_blocks * block_size) >= block_size:
        raise ValueError(
            f"{field} {n_tokens} does not fit {n_blocks} blocks of {block_size} tokens"
        )


def block_prompt(
    tree: Tree, scope: str, block_ids: Sequence[int | str], block_size: int, n_tokens: int
) -> int:
    """The node where a prompt ends; tokens behind its last block are not in the tree.

    Args:
        scope: block ids are comparable within it; see `Tree.extend_blocks`.
    """
    in_blocks = min(n_tokens, len(block_ids) * block_size)
    return tree.extend_blocks(ROOT, scope, block_ids, block_size, in_blocks)

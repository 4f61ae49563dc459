"""What a simulated prefix cache is like: its size, what it forgets, what an engine lets it serve."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from forkpoint.errors import ForkpointError


class Eviction(StrEnum):
    """What a full cache forgets."""

    LRU = "lru"
    FIFO = "fifo"
    INFINITE = "infinite"


class EngineRule(StrEnum):
    """Which blocks can be hit at all."""

    NONE = "none"
    VLLM = "vllm"
    SGLANG = "sglang"


class Unit(StrEnum):
    """What a capacity counts."""

    BLOCKS = "blocks"
    TOKENS = "tokens"
    BYTES = "bytes"


@dataclass(frozen=True, slots=True)
class Capacity:
    """How much a cache holds."""

    amount: int
    unit: Unit

    def in_blocks(self, block_size: int, bytes_per_token: int | None) -> int:
        """Whole blocks that it holds.

        Raises:
            ForkpointError: not one.
        """
        per_block = {
            Unit.BLOCKS: 1,
            Unit.TOKENS: block_size,
            Unit.BYTES: block_size * (bytes_per_token or 1),
        }[self.unit]
        blocks = self.amount // per_block
        if blocks < 1:
            raise ForkpointError(
                f"a capacity of {self.amount} {self.unit} does not hold one block of "
                f"{block_size} tokens ({per_block} {self.unit})"
            )
        return blocks


@dataclass(frozen=True, slots=True)
class CachePolicy:
    """A cache.

    Raises:
        ValueError: the parts do not go together.
    """

    eviction: Eviction = Eviction.INFINITE
    capacity: Capacity | None = None
    ttl_s: float | None = None
    """Seconds for which a block stays after it was last used, inclusive."""
    engine_rule: EngineRule = EngineRule.NONE
    bytes_per_token: int | None = None

    def __post_init__(self) -> None:
        if self.eviction is Eviction.INFINITE and self.capacity is not None:
            raise ValueError("an infinite cache has no capacity")
        if self.eviction is Eviction.FIFO and self.ttl_s is not None:
            raise ValueError("a lifetime goes with lru or infinite, not with fifo")
        if (
            self.capacity is not None
            and self.capacity.unit is Unit.BYTES
            and self.bytes_per_token is None
        ):
            raise ValueError("a capacity in bytes needs to know the bytes of a token")

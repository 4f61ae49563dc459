"""How many bytes a model's KV cache takes per token, for capacities given in bytes.

Computed from each model's published ``config.json`` (as of 2026-11), for 16-bit values: layers x KV
heads x head size x 2 (keys and values) x 2 bytes. Models with multi-head latent attention keep one
vector per layer instead: (`kv_lora_rank` + `qk_rope_head_dim`) x 2 bytes.
"""

from __future__ import annotations

from dataclasses import dataclass

_BYTES_PER_VALUE = 2


@dataclass(frozen=True, slots=True)
class KvShape:
    """What a model keeps per token."""

    layers: int
    values_per_layer: int
    source: str
    """The fields of ``config.json`` that it was computed from."""

    @property
    def bytes_per_token(self) -> int:
        """KV cache bytes per token, at 16 bits a value."""
        return self.layers * self.values_per_layer * _BYTES_PER_VALUE


def _heads(layers: int, kv_heads: int, head_size: int) -> KvShape:
    source = (
        f"num_hidden_layers {layers}, num_key_value_heads {kv_heads}, head size {head_size}; bf16"
    )
    return KvShape(layers, 2 * kv_heads * head_size, source)


def _latent(layers: int, rank: int, rope: int) -> KvShape:
    source = f"num_hidden_layers {layers}, kv_lora_rank {rank}, qk_rope_head_dim {rope}; bf16"
    return KvShape(layers, rank + rope, source)


KV_SHAPES = {
    "llama-3.1-8b": _heads(32, 8, 128),
    "llama-3.1-70b": _heads(80, 8, 128),
    "qwen3-32b": _heads(64, 8, 128),
    "qwen3-235b-a22b": _heads(94, 4, 128),
    "deepseek-v3": _latent(61, 512, 64),
}
"""By name, in lower case."""

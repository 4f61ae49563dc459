"""Model names that begin with a provider's: ``openai/gpt-4o``, ``together/meta-llama/Llama-3-8b``."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from forkpoint.parsers.envelope import PROVIDERS

_HOSTS_OF_OTHERS = frozenset(("azure", "bedrock", "vertex"))
"""Platforms that stand behind a provider's name: ``openai/azure/gpt-4o`` is billed by Azure."""


class ModelName(NamedTuple):
    """A model's name, taken apart."""

    provider: str | None
    """As prices name it; ``None`` where the name says none that is known."""
    model: str | None


@lru_cache(maxsize=1024)
def model_name(name: str | None) -> ModelName:
    """Take the provider off a model's name. A name with an unknown one (``ollama/…``) stays whole.

    >>> model_name("openai/azure/gpt-4o")
    ModelName(provider='azure', model='gpt-4o')
    """
    if not name:
        return ModelName(None, None)
    first, slash, rest = name.partition("/")
    provider = PROVIDERS.get(first.lower()) if slash and rest else None
    if provider is None:
        return ModelName(None, name)
    host, slash, inner = rest.partition("/")
    if slash and inner and host in _HOSTS_OF_OTHERS:
        return ModelName(PROVIDERS[host], inner)
    return ModelName(provider, rest)

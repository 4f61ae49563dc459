"""What the options of a replay can be. Imported with the command line, so nothing heavy is here."""

from __future__ import annotations

from enum import StrEnum


class Engine(StrEnum):
    """What runs a model in this process."""

    TRANSFORMERS = "transformers"
    VLLM = "vllm"


class ServerApi(StrEnum):
    """Kinds of servers."""

    AUTO = "auto"
    VLLM = "vllm"
    SGLANG = "sglang"
    LLAMA_CPP = "llama.cpp"


class Dtype(StrEnum):
    """Number formats of weights."""

    AUTO = "auto"
    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"
    FLOAT16 = "float16"


class PruneUnit(StrEnum):
    """What pruning deletes as a whole."""

    TOKEN = "token"
    SENTENCE = "sentence"

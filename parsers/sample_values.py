"""What a sample's fields may hold, in whichever file they stand: texts, messages, numbers, words."""

from __future__ import annotations

from decimal import Decimal
from math import isfinite
from typing import Any

import msgspec

from forkpoint.parsers.logs import describe
from forkpoint.parsers.sample_rows import number_of

_ENCODER = msgspec.json.Encoder()


def are_messages(value: Any) -> bool:
    """Whether it is a conversation: a list of messages with roles."""
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(message, dict) and "role" in message for message in value)
    )


def completions_of(value: Any) -> tuple[list[Any], bool]:
    """(completions, whether they are a list of samples), as `forkpoint.parsers.samples` describes.

    Raises:
        ValueError: it is nothing of the kind.
    """
    if isinstance(value, str):
        return [value], False
    if isinstance(value, dict) and "role" in value:
        return [[value]], False
    if isinstance(value, list) and value:
        if all(isinstance(each, str) for each in value):
            return value, True
        if are_messages(value):
            return [value], False
        if all(are_messages(each) for each in value):
            return value, True
    raise ValueError("the completion is neither text nor messages, nor a list of them")


def messages_of(value: Any, role: str) -> list[msgspec.Raw]:
    """A conversation's messages, or a text as one message of this role.

    Raises:
        ValueError: it is neither.
    """
    if isinstance(value, str):
        value = [{"role": role, "content": value}]
    if not are_messages(value):
        raise ValueError("the prompt is neither text nor messages")
    try:
        return [msgspec.Raw(_ENCODER.encode(message)) for message in value]
    except TypeError as error:
        raise ValueError(describe(error)) from error


def reward_of(value: Any) -> float | None:
    """A reward as logged; CSV holds it as text.

    Raises:
        ValueError: it is no number.
    """
    if isinstance(value, str):
        text = value.strip().lower()
        if text in ("", "none", "null", "nan"):
            return None
        if text in ("true", "false"):
            return float(text == "true")
        value = float(text)
    reward = number_of(float(value) if isinstance(value, Decimal) else value)
    # NaN is how tables say that there is none.
    return reward if reward is not None and isfinite(reward) else None


def word_of_value(value: Any) -> str | None:
    """A key or an answer as text.

    Raises:
        ValueError: it is a list or an object.
    """
    if value is None or value == "":
        return None
    if isinstance(value, str):
        return value
    if isinstance(value, int | float):
        return str(value)
    raise ValueError(f"a {type(value).__name__} where a word should be")

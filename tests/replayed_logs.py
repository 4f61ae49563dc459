"""Small logs to replay, and a model without weights to replay them with."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from forkpoint.analysis.ingest import ingest
from forkpoint.analysis.ingest_worker import Options
from forkpoint.analysis.replay_backend import CodecError, Piece, ReplayIdentity, Scored
from forkpoint.analysis.store import Store

END = ord("$")
ENCODING = "o200k_base"


class LetterCodec:
    """Every character is a token. ``^`` begins a sequence, ``$`` ends a turn."""

    vocabulary_size = 0x110000
    special_texts = ("^", "$")
    end_ids = frozenset({END})

    def encode(self, text: str, *, begin: bool) -> list[int]:
        whole = "^" + text if begin and not text.startswith("^") else text
        return list(map(ord, whole))

    def decode(self, ids: Sequence[int]) -> str:
        return "".join(map(chr, ids))

    def chat(
        self, messages: list[dict[str, Any]], tools: list[dict[str, Any]], *, generation: bool
    ) -> list[int]:
        text = "^" + "".join(f"[{tool['function']['name']}]" for tool in tools)
        for message in messages:
            if message["role"] not in ("system", "user", "assistant", "tool"):
                raise CodecError(f"a role named {message['role']}")
            text += (
                f"{message['role'][0]}:{message.get('reasoning_content', '')}{message['content']}"
            )
            for call in message.get("tool_calls", []):
                arguments = json.dumps(call["function"]["arguments"])
                text += f"<{call['function']['name']} {arguments}>"
            text += "$"
        return list(map(ord, text + ("a:" if generation else "")))

    def token_texts(self) -> list[str]:
        return list(map(chr, range(128)))


class LetterModel:
    """A backend whose numbers follow from the tokens before each position, and nothing else.

    Args:
        fails_at: the batch, counted from 0, at which it breaks down; ``None``: it never does.
    """

    codec = LetterCodec()
    max_tokens: int | None = None
    batch_tokens = 64

    def __init__(self, *, fails_at: int | None = None, name: str = "letters") -> None:
        self.identity = ReplayIdentity(
            model=name,
            model_sha256="0" * 64,
            tokenizer="1" * 64,
            vocabulary_size=128,
            backend="transformers",
            dtype="float32",
            device="cpu",
            seed=0,
            versions={"letters": "1"},
        )
        self.batches: list[list[Piece]] = []
        self.loads = 0
        self._fails_at = fails_at

    @property
    def pieces(self) -> list[Piece]:
        """All that was run."""
        return [piece for batch in self.batches for piece in batch]

    def load(self) -> None:
        self.loads += 1

    def score(self, pieces: Sequence[Piece]) -> list[Scored]:
        if len(self.batches) == self._fails_at:
            raise KeyboardInterrupt
        self.batches.append(list(pieces))
        return [self._scored(piece) for piece in pieces]

    def _scored(self, piece: Piece) -> Scored:
        figures = [figures_of(piece.ids[: end + 1].tolist()) for end in range(len(piece.ids))]
        logprobs, entropies = np.array(figures[piece.first :]).T
        top = np.repeat(np.array([[1, 2, 3]], dtype=np.int32), piece.measured, axis=0)
        values = np.stack([logprobs, logprobs - 1, logprobs - 2], axis=1).astype(np.float32)
        return Scored(logprobs, entropies, top, values)


def figures_of(ids: list[int]) -> tuple[float, float]:
    """(ln p of the last token, entropy) given those before it; nothing predicts the first."""
    if len(ids) == 1:
        return float("nan"), float("nan")
    digest = hashlib.sha256(repr(ids).encode()).digest()
    return -digest[0] / 64, digest[1] / 64


def token_log(
    path: Path,
    completions: Sequence[tuple[str, str]],
    *,
    shift: int = 0,
    text: bool = True,
    group: str = "a group of rollouts",
    **fields: Any,
) -> Path:
    """A rollout worker's dump of (prompt, response) pairs, in letters.

    Args:
        shift: added to the ids, so that they are another tokenizer's.
        text: whether the texts are logged too.
    """
    lines = []
    for number, (prompt, response) in enumerate(completions):
        record: dict[str, Any] = {
            "request_id": f"r{number}",
            "group": group,
            "model": "letters",
            "reward": float(number % 2),
            "prompt_token_ids": [ord(each) + shift for each in prompt],
            "output_token_ids": [ord(each) + shift for each in response],
        }
        if text:
            record |= {"prompt": prompt, "response": response.rstrip("$")}
        lines.append(json.dumps(record | fields))
    path.write_text("\n".join(lines) + "\n")
    return path


def chat_log(path: Path, *requests: tuple[list[dict[str, Any]], dict[str, Any]]) -> Path:
    """A gateway's log of (messages, the assistant's message) pairs."""
    lines = [
        json.dumps(
            {
                "timestamp": f"2026-11-02T09:00:{number:02d}Z",
                "request": {"model": "letters", "messages": messages},
                "response": {
                    "id": f"chatcmpl-{number}",
                    "object": "chat.completion",
                    "model": "letters",
                    "choices": [{"index": 0, "message": answer, "finish_reason": "stop"}],
                    "usage": {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12},
                },
            }
        )
        for number, (messages, answer) in enumerate(requests)
    ]
    path.write_text("\n".join(lines) + "\n")
    return path


def user(text: str) -> dict[str, Any]:
    """A user's message."""
    return {"role": "user", "content": text}


def said(text: str) -> dict[str, Any]:
    """An assistant's message."""
    return {"role": "assistant", "content": text}


def opened(*paths: Path, store: str = ":memory:") -> Store:
    """A store that holds what is under `paths`."""
    found = Store.open(store, encoding=ENCODING)
    ingest(found, list(paths), Options(encoding=ENCODING), workers=1)
    return found


def measured_rows(store: Store) -> list[tuple[Any, ...]]:
    """All that replays have measured, in an order of its own."""
    return store.rows(
        "SELECT replay_id, replayed_tokens.prompt, completion, position, token, "
        "logprob::VARCHAR, named_entropy::VARCHAR, tail::VARCHAR, cap::VARCHAR, named, "
        "confidence::VARCHAR, top_tokens, top_logprobs::VARCHAR, evidence, prompt_tokens, n_tokens "
        "FROM replayed_tokens JOIN replayed USING (replay_id, prompt, completion) ORDER BY ALL"
    )

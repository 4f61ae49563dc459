"""Replaying through a server that says how likely it finds the tokens of a prompt.

Three kinds are known, by what they say of themselves in ``/v1/models`` or as the user says:

- vLLM: ``/v1/completions`` with ``prompt_logprobs``; tokenizer and template behind ``/tokenize``.
- SGLang: ``/generate`` with ``return_logprob`` from a given position on.
- llama.cpp: it has no logprobs of prompts, so each measured token is one request to ``/completion``
  for the token after all before it; its prompt cache keeps the trunk.

All of them name the likeliest tokens only, so entropies are bounded, not known whole. Nothing but the
address given is ever contacted: no redirect is followed and no proxy is used. A key goes along
where the environment has one in FORKPOINT_SERVER_KEY.

Shapes of requests and answers: vLLM 343bacaf (``vllm/entrypoints/openai``), SGLang 39eec95
(``srt/managers/io_struct.py``), llama.cpp 00dc805 (``tools/server/README.md``).
"""

from __future__ import annotations

import http.client
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar
from urllib.parse import urlsplit

import msgspec

from forkpoint.analysis.replay_backend import CodecError, Piece, ReplayIdentity, Scored
from forkpoint.analysis.replay_choices import ServerApi
from forkpoint.errors import ForkpointError

KEY_VARIABLE = "FORKPOINT_SERVER_KEY"
APIS = tuple(ServerApi)
TIMEOUT_S = 600.0
CONCURRENT = 8
"""Requests under way at once."""
BATCH_TOKENS = 65_536

_MAX_ANSWER_BYTES = 1 << 30
_MAX_SAID = 200
_OWNERS = {"vllm": "vllm", "sglang": "sglang", "llamacpp": "llama.cpp"}
_ABSENT = (404, 405, 501)

Shape = TypeVar("Shape")


class NotServed(ForkpointError):
    """The server does not have what was asked for."""


@dataclass(frozen=True)
class Server:
    """An HTTP server at one address.

    Args:
        url: ``http://host:port``, or ``https``, with or without a path.
        timeout_s: for a connection, and for each wait for data.
    """

    url: str
    timeout_s: float = TIMEOUT_S

    @cached_property
    def _address(self) -> tuple[bool, str, int | None, str]:
        """(encrypted, host, port, path).

        Raises:
            ForkpointError: the URL is none of a server.
        """
        try:
            parts = urlsplit(self.url)
            port = parts.port
        except ValueError:
            parts, port = urlsplit(""), None
        if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
            raise ForkpointError(f"{self.url!r} is no server: write http://host:port")
        path = parts.path.rstrip("/").removesuffix("/v1")
        return parts.scheme == "https", parts.hostname, port, path

    @property
    def base(self) -> str:
        """The address, normalised."""
        encrypted, host, port, path = self._address
        shown = f"[{host}]" if ":" in host else host
        return f"http{'s' * encrypted}://{shown}{'' if port is None else f':{port}'}{path}"

    def get(self, path: str, shape: type[Shape]) -> Shape:
        """What a path answers; see `post`."""
        return self._ask("GET", path, None, shape)

    def post(self, path: str, body: dict[str, Any], shape: type[Shape]) -> Shape:
        """What a path answers to a JSON body, decoded as `shape`.

        Raises:
            NotServed: there is no such path.
            ForkpointError: the server cannot be reached, refuses, or answers something else.
        """
        return self._ask("POST", path, msgspec.json.encode(body), shape)

    def _ask(self, method: str, path: str, body: bytes | None, shape: type[Shape]) -> Shape:
        encrypted, host, port, prefix = self._address
        headers = {"Content-Type": "application/json", "Connection": "close"}
        if key := os.environ.get(KEY_VARIABLE):
            headers["Authorization"] = f"Bearer {key}"
        kind = http.client.HTTPSConnection if encrypted else http.client.HTTPConnection
        connection = kind(host, port, timeout=self.timeout_s)
        try:
            connection.request(method, prefix + path, body=body, headers=headers)
            answer = connection.getresponse()
            content = answer.read(_MAX_ANSWER_BYTES + 1)
        except (OSError, http.client.HTTPException) as error:
            why = str(error) or type(error).__name__
            raise ForkpointError(f"{self.base}{path}: no answer: {why}") from error
        finally:
            connection.close()
        if answer.status != http.client.OK:
            said = " ".join(content[:_MAX_SAID].decode("utf-8", "replace").split())
            failure = NotServed if answer.status in _ABSENT else ForkpointError
            raise failure(f"{self.base}{path} answers {answer.status}: {said}")
        if len(content) > _MAX_ANSWER_BYTES:
            raise ForkpointError(
                f"{self.base}{path}: an answer of over {_MAX_ANSWER_BYTES:,} bytes"
            )
        try:
            return msgspec.json.decode(content, type=shape)
        except (ValueError, RecursionError) as error:
            raise ForkpointError(f"{self.base}{path}: not the answer expected: {error}") from error


class _ModelMeta(msgspec.Struct):
    n_vocab: int | None = None
    n_ctx_train: int | None = None


class _Model(msgspec.Struct):
    id: str
    owned_by: str | None = None
    max_model_len: int | None = None
    meta: _ModelMeta | None = None


class _Models(msgspec.Struct):
    data: list[_Model]


class _Version(msgspec.Struct):
    version: str | None = None
    build_info: str | None = None


class _Tokens(msgspec.Struct):
    tokens: list[int]


class _Text(msgspec.Struct):
    prompt: str | None = None
    content: str | None = None
    text: str | None = None


class _Likely(msgspec.Struct):
    logprob: float | None = None


class _VllmChoice(msgspec.Struct):
    prompt_logprobs: list[dict[str, _Likely] | None] | None = None


class _VllmAnswer(msgspec.Struct):
    choices: list[_VllmChoice]


_Named = tuple[float | None, int, str | None]


class _SglangMeta(msgspec.Struct):
    input_token_logprobs: list[_Named] | None = None
    input_top_logprobs: list[list[_Named] | None] | None = None


class _SglangAnswer(msgspec.Struct):
    meta_info: _SglangMeta


class _LlamaToken(msgspec.Struct):
    id: int
    logprob: float | None = None


class _LlamaPosition(msgspec.Struct):
    top_logprobs: list[_LlamaToken] = []


class _LlamaAnswer(msgspec.Struct):
    completion_probabilities: list[_LlamaPosition] = []


Position = tuple[float | None, list[tuple[int, float]]]
"""(ln p of the token, the likeliest tokens with theirs)."""


class ServerCodec:
    """A server's tokenizer and chat template, as far as it lends them.

    Args:
        api: the kind of server.
        model: the name it serves.
    """

    special_texts: tuple[str, ...] = ()
    end_ids: frozenset[int] = frozenset()

    def __init__(
        self, server: Server, api: str, model: str, vocabulary_size: int | None = None
    ) -> None:
        self._server = server
        self._api = api
        self._model = model
        self._vocabulary_size = vocabulary_size

    @property
    def vocabulary_size(self) -> int | None:
        return self._vocabulary_size

    def encode(self, text: str, *, begin: bool) -> list[int]:
        bare = self._tokenize(text, special=False)
        if not begin:
            return bare
        whole = self._tokenize(text, special=True)
        return bare if whole[:1] == bare[:1] else whole

    def _tokenize(self, text: str, *, special: bool) -> list[int]:
        if self._api == "llama.cpp":
            body = {"content": text, "add_special": special, "parse_special": True}
        else:
            body = {"model": self._model, "prompt": text, "add_special_tokens": special}
        return self._lent("/tokenize", body, _Tokens).tokens

    def decode(self, ids: Sequence[int]) -> str:
        body = {"model": self._model, "tokens": list(ids)}
        answer = self._lent("/detokenize", body, _Text)
        said = (answer.prompt, answer.content, answer.text)
        text = next((each for each in said if each is not None), None)
        if text is None:
            raise CodecError("the server does not decode token ids")
        return text

    def chat(
        self, messages: list[dict[str, Any]], tools: list[dict[str, Any]], *, generation: bool
    ) -> list[int]:
        if not generation or self._api == "sglang":
            raise CodecError("the server renders no such conversation: its own files are needed")
        body: dict[str, Any] = {"model": self._model, "messages": messages}
        if tools:
            body["tools"] = tools
        try:
            if self._api == "vllm":
                body["add_generation_prompt"] = True
                return self._lent("/tokenize", body, _Tokens).tokens
            rendered = self._lent("/apply-template", body, _Text).prompt
        except NotServed as error:
            raise CodecError("the server renders no conversations") from error
        if rendered is None:
            raise CodecError("the server renders no conversations")
        return self.encode(rendered, begin=True)

    def token_texts(self) -> None:
        return None

    def _lent(self, path: str, body: dict[str, Any], shape: type[Shape]) -> Shape:
        try:
            return self._server.post(path, body, shape)
        except NotServed as error:
            raise CodecError(f"the server has no {path}") from error


class ServerBackend:
    """Runs sequences on a server.

    Args:
        model: the served name; ``None``: the first that the server lists.
        api: one of `APIS`.
        top: how many of the likeliest tokens to ask for at each position.

    Raises:
        ForkpointError: the server cannot be reached, or is of no known kind.
    """

    def __init__(
        self,
        server: Server,
        *,
        model: str | None = None,
        api: str = "auto",
        top: int = 20,
        seed: int = 0,
        batch_tokens: int | None = None,
        concurrent: int = CONCURRENT,
    ) -> None:
        self._server = server
        served = self._served(model)
        self.api = _api_of(served, api, server)
        self._model = served.id
        self._top = max(top, 1)
        self._seed = seed
        self._limit = served.max_model_len
        self._concurrent = concurrent
        self.batch_tokens = batch_tokens or BATCH_TOKENS
        size = None if served.meta is None else served.meta.n_vocab
        self.codec = ServerCodec(server, self.api, self._model, size)

    def _served(self, model: str | None) -> _Model:
        models = self._server.get("/v1/models", _Models).data
        found = [each for each in models if model is None or each.id == model]
        if not found:
            names = ", ".join(each.id for each in models[:5]) or "none"
            raise ForkpointError(f"{self._server.base} does not serve {model!r}, but: {names}")
        return found[0]

    @property
    def max_tokens(self) -> int | None:
        """One less than the server takes: it wants to generate one."""
        return None if self._limit is None else self._limit - 1

    @cached_property
    def identity(self) -> ReplayIdentity:
        return ReplayIdentity(
            model=self._model,
            model_sha256=None,
            tokenizer=None,
            vocabulary_size=self.codec.vocabulary_size,
            backend=f"server {self.api}",
            dtype=None,
            device=None,
            seed=self._seed,
            versions=self._versions(),
            settings={"top": self._top, "url": self._server.base},
        )

    def _versions(self) -> dict[str, str]:
        path = {"vllm": "/version", "sglang": "/server_info", "llama.cpp": "/props"}[self.api]
        try:
            stated = self._server.get(path, _Version)
        except NotServed:
            return {}
        version = stated.version or stated.build_info
        return {} if version is None else {self.api: version}

    def load(self) -> None:
        """See `Backend.load`. The server has its model."""

    def score(self, pieces: Sequence[Piece]) -> list[Scored]:
        """See `Backend.score`."""
        ask = {"vllm": self._vllm, "sglang": self._sglang, "llama.cpp": self._llama}[self.api]
        with ThreadPoolExecutor(self._concurrent) as pool:
            waiting = [pool.submit(self._scored, ask, piece) for piece in pieces]
            try:
                return [each.result() for each in waiting]
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def _scored(self, ask: Callable[[Piece], list[Position]], piece: Piece) -> Scored:
        positions = ask(piece)
        if len(positions) != piece.measured:
            raise ForkpointError(
                f"{self._server.base} answers {len(positions)} positions for {piece.measured}"
            )
        logprobs, top = zip(*positions, strict=True)
        return Scored.from_lists(logprobs, top, self._top)

    def _vllm(self, piece: Piece) -> list[Position]:
        body = {
            "model": self._model,
            "prompt": piece.ids.tolist(),
            "max_tokens": 1,
            "temperature": 1.0,
            "seed": self._seed,
            "prompt_logprobs": self._top,
        }
        answer = self._server.post("/v1/completions", body, _VllmAnswer)
        found = answer.choices[0].prompt_logprobs if answer.choices else None
        if found is None or len(found) != len(piece.ids):
            raise ForkpointError(f"{self._server.base} returns no logprobs of the whole prompt")
        return [
            _of_likely(int(token), likely)
            for token, likely in zip(piece.ids[piece.first :], found[piece.first :], strict=True)
        ]

    def _sglang(self, piece: Piece) -> list[Position]:
        body = {
            "input_ids": piece.ids.tolist(),
            "sampling_params": {"max_new_tokens": 1, "temperature": 1.0},
            "return_logprob": True,
            # The entry of the first position is empty, as nothing before it was looked at.
            "logprob_start_len": max(piece.first - 1, 0),
            "top_logprobs_num": self._top,
        }
        meta = self._server.post("/generate", body, _SglangAnswer).meta_info
        n = piece.measured
        own, top = meta.input_token_logprobs or [], meta.input_top_logprobs or []
        if len(own) < n or len(top) < n:
            raise ForkpointError(f"{self._server.base} returns no logprobs of the prompt")
        wanted = piece.ids[piece.first :].tolist()
        for token, (_, named, _) in zip(wanted, own[-n:], strict=True):
            if named not in (token, 0):  # it writes 0 for an id that it does not show
                raise ForkpointError(f"{self._server.base} scores other tokens than were sent")
        return [
            (logprob, [(token, p) for p, token, _ in likely or () if p is not None])
            for (logprob, _, _), likely in zip(own[-n:], top[-n:], strict=True)
        ]

    def _llama(self, piece: Piece) -> list[Position]:
        ids = piece.ids.tolist()
        return [self._next_token(ids[:end], ids[end]) for end in range(piece.first, len(ids))]

    def _next_token(self, above: list[int], token: int) -> Position:
        if not above:
            return None, []
        body = {
            "prompt": above,
            "n_predict": 1,
            "n_probs": self._top,
            "post_sampling_probs": False,
            "temperature": 1.0,
            "top_k": 0,
            "top_p": 1.0,
            "min_p": 0.0,
            "repeat_penalty": 1.0,
            "ignore_eos": True,  # a turn that ends would return no probabilities
            "cache_prompt": True,
        }
        answer = self._server.post("/completion", body, _LlamaAnswer)
        if not answer.completion_probabilities:
            raise ForkpointError(f"{self._server.base} returns no probabilities (n_probs)")
        likely = answer.completion_probabilities[0].top_logprobs
        pairs = [(each.id, each.logprob) for each in likely if each.logprob is not None]
        return dict(pairs).get(token), pairs


def _of_likely(token: int, likely: dict[str, _Likely] | None) -> Position:
    """One position as vLLM states it: by id, the token itself beside the likeliest."""
    if likely is None:
        return None, []
    pairs = [
        (int(name), each.logprob)
        for name, each in likely.items()
        if each.logprob is not None and name.isdecimal()
    ]
    return dict(pairs).get(token), pairs


def _api_of(model: _Model, api: str, server: Server) -> str:
    if api not in APIS:
        raise ForkpointError(f"{api!r} is no kind of server: choose from {', '.join(APIS)}")
    if api != "auto":
        return api
    found = _OWNERS.get(model.owned_by or "")
    if found is None:
        raise ForkpointError(
            f"{server.base} does not say what it is: add --server-api {'|'.join(APIS[1:])}"
        )
    return found

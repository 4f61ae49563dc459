"""Replaying through servers and engines: what they are asked, and what is made of their answers.

The servers are plain HTTP servers on this machine's loopback that answer as the real ones do; the
engine is a module that stands in for vLLM.
"""

from __future__ import annotations

import json
import sys
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, ClassVar

import numpy as np
import pytest
from replayed_logs import (
    LetterCodec,
    LetterModel,
    chat_log,
    figures_of,
    opened,
    said,
    token_log,
    user,
)
from typer.testing import CliRunner

from forkpoint.analysis import replay_vllm
from forkpoint.analysis.replay import NO_FILTERS, replay
from forkpoint.analysis.replay_backend import CodecError, Piece
from forkpoint.analysis.replay_server import NotServed, Server, ServerBackend, _Models
from forkpoint.analysis.replay_source import ModelSource
from forkpoint.analysis.scope import select_scope
from forkpoint.analysis.token_entropy import load_scored_tokens, measure_entropy
from forkpoint.cli.main import app
from forkpoint.errors import ForkpointError

PAIRS = [("^ask", "yes$"), ("^ask", "yet$"), ("^what", "nothing at all$"), ("^who", "me")]
LETTERS = LetterCodec()
Answer = Callable[[dict[str, Any]], Any]


VOCABULARY = 128


@lru_cache(maxsize=4096)
def distribution(above: tuple[int, ...]) -> list[float]:
    """ln p of every token that may follow some others: what all servers here go by."""
    scores = np.random.default_rng(list(above)).normal(scale=2.0, size=VOCABULARY)
    return [float(each) for each in scores - np.log(np.exp(scores).sum())]


def logprob(ids: list[int]) -> float | None:
    """Of the last token; nothing predicts the first."""
    return None if len(ids) == 1 else distribution(tuple(ids[:-1]))[ids[-1]]


def likely(above: list[int]) -> list[tuple[int, float]]:
    """All tokens that may follow, likeliest first."""
    return sorted(enumerate(distribution(tuple(above))), key=lambda pair: -pair[1])


def expected_logprobs(piece: Piece) -> list[float]:
    """Of a piece's measured tokens."""
    ids = piece.ids.tolist()
    found = [logprob(ids[: end + 1]) for end in range(piece.first, len(ids))]
    return [float("nan") if each is None else each for each in found]


class FakeServer:
    """Answers as a server of some kind would.

    Args:
        answers: by path, a function of the request's body.
    """

    def __init__(self, answers: dict[str, Answer], *, models: list[dict[str, Any]]) -> None:
        self.answers = {"/v1/models": lambda _: {"object": "list", "data": models}} | answers
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.headers: list[dict[str, str]] = []

    @contextmanager
    def running(self) -> Iterator[str]:
        """Serve on a free port of the loopback; yields the address."""
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._answer({})

            def do_POST(self) -> None:
                self._answer(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

            def _answer(self, body: dict[str, Any]) -> None:
                owner.asked.append((self.path, body))
                owner.headers.append(dict(self.headers))
                answer = owner.answers.get(self.path)
                said = (404, b"no such path") if answer is None else answer(body)
                status, content = said if isinstance(said, tuple) else (200, said)
                if not isinstance(content, bytes):
                    content = json.dumps(content).encode()
                self.send_response(status)
                if status == 302:
                    self.send_header("Location", "http://192.0.2.1/elsewhere")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: Any) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            server.server_close()
            thread.join()

    def bodies(self, path: str) -> list[dict[str, Any]]:
        """What was asked of a path."""
        return [body for asked, body in self.asked if asked == path]


def vllm() -> FakeServer:
    def completions(body: dict[str, Any]) -> dict[str, Any]:
        ids = body["prompt"]
        positions: list[dict[str, Any] | None] = [None]
        for end in range(2, len(ids) + 1):
            named = dict(likely(ids[: end - 1])[: body["prompt_logprobs"]])
            named[ids[end - 1]] = logprob(ids[:end]) or 0.0
            positions.append({str(token): {"logprob": p, "rank": 1} for token, p in named.items()})
        return {"id": "x", "choices": [{"index": 0, "text": "?", "prompt_logprobs": positions}]}

    def tokenize(body: dict[str, Any]) -> dict[str, Any]:
        if "messages" in body:
            assert body["add_generation_prompt"] is True
            tokens = LETTERS.chat(body["messages"], body.get("tools", []), generation=True)
        else:
            tokens = LETTERS.encode(body["prompt"], begin=body["add_special_tokens"])
        return {"tokens": tokens, "count": len(tokens), "max_model_len": 4096}

    return FakeServer(
        {
            "/v1/completions": completions,
            "/tokenize": tokenize,
            "/detokenize": lambda body: {"prompt": LETTERS.decode(body["tokens"])},
            "/version": lambda _: {"version": "0.18.2"},
        },
        models=[{"id": "letters", "owned_by": "vllm", "max_model_len": 4096}],
    )


def sglang() -> FakeServer:
    def generate(body: dict[str, Any]) -> dict[str, Any]:
        assert body["return_logprob"] is True
        ids, start, k = body["input_ids"], body["logprob_start_len"], body["top_logprobs_num"]
        own: list[Any] = [[None, ids[start], None]]
        top: list[Any] = [None]
        for end in range(start + 2, len(ids) + 1):
            own.append([logprob(ids[:end]), ids[end - 1], None])
            top.append([[p, token, None] for token, p in likely(ids[: end - 1])[:k]])
        meta = {"id": "x", "input_token_logprobs": own, "input_top_logprobs": top}
        return {"text": "?", "meta_info": meta}

    return FakeServer(
        {
            "/generate": generate,
            "/detokenize": lambda body: {"text": LETTERS.decode(body["tokens"])},
            "/server_info": lambda _: {"version": "0.5.9"},
        },
        models=[{"id": "letters", "owned_by": "sglang", "max_model_len": 4096}],
    )


def llama_cpp() -> FakeServer:
    def completion(body: dict[str, Any]) -> dict[str, Any]:
        assert body["n_predict"] == 1 and body["cache_prompt"] is True
        every = likely(body["prompt"])[: body["n_probs"]]
        named = [{"id": token, "token": chr(token), "logprob": p} for token, p in every]
        return {"content": "?", "completion_probabilities": [{"top_logprobs": named}]}

    return FakeServer(
        {
            "/completion": completion,
            "/tokenize": lambda body: {
                "tokens": LETTERS.encode(body["content"], begin=body["add_special"])
            },
            "/detokenize": lambda body: {"content": LETTERS.decode(body["tokens"])},
            "/apply-template": lambda body: {
                "prompt": LETTERS.decode(LETTERS.chat(body["messages"], [], generation=True))
            },
            "/props": lambda _: {"build_info": "b8681"},
        },
        models=[{"id": "letters", "owned_by": "llamacpp", "meta": {"n_vocab": 128}}],
    )


KINDS = {"vllm": vllm, "sglang": sglang, "llama.cpp": llama_cpp}


def pieces() -> list[Piece]:
    return [
        Piece(np.array(list(map(ord, prompt + made)), dtype=np.uint32), len(prompt))
        for prompt, made in PAIRS
    ] + [Piece(np.array(list(map(ord, "^all")), dtype=np.uint32), 0)]


@pytest.mark.parametrize("kind", ["vllm", "sglang"])
def test_a_server_says_how_likely_each_measured_token_is(kind: str) -> None:
    with KINDS[kind]().running() as url:
        backend = ServerBackend(Server(url), top=2)
        scored = backend.score(pieces())
    assert backend.api == kind
    for piece, each in zip(pieces(), scored, strict=True):
        ids = piece.ids.tolist()
        assert each.entropies is None
        assert each.logprobs.tolist() == pytest.approx(expected_logprobs(piece), nan_ok=True)
        for row, end in enumerate(range(piece.first, len(ids))):
            best = likely(ids[:end])[:2] if end else [(-1, float("nan"))] * 2
            assert each.top_ids[row].tolist() == [token for token, _ in best]
            assert each.top_logprobs[row].tolist() == pytest.approx(
                [p for _, p in best], nan_ok=True
            )


def test_llama_cpp_is_asked_for_the_token_after_each_beginning() -> None:
    server = llama_cpp()
    with server.running() as url:
        backend = ServerBackend(Server(url), top=128)
        scored = backend.score(pieces())
        few = ServerBackend(Server(url), top=1).score(pieces())
    for piece, each in zip(pieces(), scored, strict=True):
        assert each.logprobs.tolist() == pytest.approx(expected_logprobs(piece), nan_ok=True)
    prompts = [body["prompt"] for body in server.bodies("/completion")]
    assert list(map(ord, "^askye")) in prompts
    # What is not among the likeliest tokens is not known.
    assert any(np.isnan(each.logprobs).any() for each in few)
    assert backend.codec.vocabulary_size == 128


@pytest.mark.parametrize("kind", KINDS)
def test_a_replay_through_a_server_bounds_entropies(tmp_path: Path, kind: str) -> None:
    log = token_log(tmp_path / "run.jsonl", PAIRS)
    with KINDS[kind]().running() as url, opened(log) as store:
        answer = replay(store, [log], ServerBackend(Server(url), top=3))
        select_scope(store, [log], NO_FILTERS)
        found = measure_entropy(load_scored_tokens(store))
        (row,) = store.rows("SELECT model, backend, model_sha256, versions, settings FROM replays")
    assert row[:3] == ("letters", f"server {kind}", None)
    assert json.loads(row[3])[kind] in ("0.18.2", "0.5.9", "b8681")
    assert json.loads(row[4])["url"] == url
    assert answer.completions == 4 and answer.whole_tokens == 0
    assert found is not None
    assert found.replayed_tokens == found.tokens == sum(len(made) for _, made in PAIRS)
    assert found.top_k_tokens == found.tokens
    assert found.mean_lower_nats is not None and found.mean_upper_nats is not None
    assert found.mean_lower_nats < found.mean_upper_nats


@pytest.mark.parametrize("kind", ["vllm", "llama.cpp"])
def test_text_is_rendered_by_the_server(tmp_path: Path, kind: str) -> None:
    log = chat_log(tmp_path / "gateway.jsonl", ([user("Why?")], said("Because.")))
    server = KINDS[kind]()
    with server.running() as url, opened(log) as store:
        answer = replay(store, [log], ServerBackend(Server(url), top=3))
        ids = store.rows("SELECT list(token ORDER BY position) FROM replayed_tokens")[0][0]
    assert answer.by_evidence == {"messages": 1}
    assert "".join(map(chr, ids)) == "Because."
    path = {"vllm": "/v1/completions", "llama.cpp": "/completion"}[kind]
    sent = max((body["prompt"] for body in server.bodies(path)), key=len)
    expected = "^u:Why?$a:Because." if kind == "vllm" else "^u:Why?$a:Because"
    assert "".join(map(chr, sent)) == expected


def test_what_a_server_cannot_render_is_left_out(tmp_path: Path) -> None:
    log = chat_log(tmp_path / "gateway.jsonl", ([user("Why?")], said("Because.")))
    with sglang().running() as url, opened(log) as store:
        answer = replay(store, [log], ServerBackend(Server(url)))
    assert answer.completions == 0
    assert sum(answer.skipped.values()) == 1


def test_ids_cannot_be_told_where_the_server_does_not_decode(tmp_path: Path) -> None:
    server = vllm()
    del server.answers["/detokenize"]
    log = token_log(tmp_path / "run.jsonl", PAIRS)
    with server.running() as url, opened(log) as store:
        refused = replay(store, [log], ServerBackend(Server(url)))
        trusted = replay(store, [log], ServerBackend(Server(url)), trust_ids=True)
    assert refused.completions == 0 and trusted.completions == 4


def test_the_longest_sequence_leaves_room_for_a_token(tmp_path: Path) -> None:
    server = vllm()
    server.answers["/v1/models"] = lambda _: {
        "data": [{"id": "letters", "owned_by": "vllm", "max_model_len": 8}]
    }
    log = token_log(tmp_path / "run.jsonl", PAIRS)
    with server.running() as url, opened(log) as store:
        answer = replay(store, [log], ServerBackend(Server(url)))
    assert answer.completions == 1  # "^whome"; the next ones have 8 tokens


@pytest.mark.parametrize(
    ("path", "answer", "expected"),
    [
        ("/v1/completions", lambda _: (500, b"out of memory"), "answers 500: out of memory"),
        ("/v1/completions", lambda _: (302, b""), "answers 302"),
        ("/v1/completions", lambda _: b"<html>", "not the answer expected"),
        ("/v1/completions", lambda _: b'{"choices": [' * 100_000, "not the answer expected"),
        ("/v1/completions", lambda _: {"choices": []}, "no logprobs of the whole prompt"),
        (
            "/v1/completions",
            lambda _: {"choices": [{"prompt_logprobs": [None, {"1": {"logprob": -1}}]}]},
            "no logprobs of the whole prompt",
        ),
        (
            "/v1/completions",
            lambda _: {"choices": [{"prompt_logprobs": "all"}]},
            "not the answer expected",
        ),
    ],
)
def test_a_bad_answer_ends_the_run_and_keeps_what_was_measured(
    tmp_path: Path, path: str, answer: Answer, expected: str
) -> None:
    log = token_log(tmp_path / "run.jsonl", PAIRS)
    server = vllm()
    with server.running() as url, opened(log) as store:
        good = server.answers[path]
        calls = []

        def sometimes(body: dict[str, Any]) -> Any:
            calls.append(body)
            return good(body) if len(calls) == 1 else answer(body)

        server.answers[path] = sometimes
        with pytest.raises(ForkpointError, match=expected):
            replay(store, [log], ServerBackend(Server(url), top=3, batch_tokens=1))
        kept = store.value("SELECT count(*) FROM replayed")
        server.answers[path] = good
        done = replay(store, [log], ServerBackend(Server(url), top=3, batch_tokens=1))
    assert kept == 1
    assert (done.completions, done.new_completions) == (4, 3)


def test_no_redirect_is_followed_and_no_proxy_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://192.0.2.1:9")
    server = vllm()
    with server.running() as url:
        ServerBackend(Server(url))
        server.answers["/v1/models"] = lambda _: (302, b"")
        with pytest.raises(ForkpointError, match="answers 302"):
            ServerBackend(Server(url))


def test_sglang_scoring_other_tokens_than_were_sent_is_an_error() -> None:
    server = sglang()
    good = server.answers["/generate"]

    def other(body: dict[str, Any]) -> Any:
        answer = good(body)
        answer["meta_info"]["input_token_logprobs"][-1][1] += 1
        return answer

    server.answers["/generate"] = other
    with server.running() as url, pytest.raises(ForkpointError, match="other tokens"):
        ServerBackend(Server(url)).score(pieces()[:1])


def test_a_server_that_does_not_say_what_it_is_must_be_named() -> None:
    server = vllm()
    server.answers["/v1/models"] = lambda _: {"data": [{"id": "letters", "owned_by": "me"}]}
    with server.running() as url:
        with pytest.raises(ForkpointError, match="--server-api"):
            ServerBackend(Server(url))
        assert ServerBackend(Server(url), api="vllm").api == "vllm"
        with pytest.raises(ForkpointError, match="does not serve 'other', but: letters"):
            ServerBackend(Server(url), model="other")


def test_a_key_from_the_environment_goes_along(monkeypatch: pytest.MonkeyPatch) -> None:
    server = vllm()
    with server.running() as url:
        ServerBackend(Server(url))
        monkeypatch.setenv("FORKPOINT_SERVER_KEY", "s3cret")
        written_down = repr(ServerBackend(Server(url)).identity)
    assert "Authorization" not in server.headers[0]
    assert server.headers[-1]["Authorization"] == "Bearer s3cret"
    assert "s3cret" not in written_down


@pytest.mark.parametrize(
    "url",
    ["", "localhost:8000", "ftp://127.0.0.1", "http://", "http://u:p@127.0.0.1", "http://h:x"],
)
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(ForkpointError, match="is no server"):
        Server(url).get("/v1/models", _Models)


def test_an_address_may_end_in_the_version() -> None:
    assert Server("http://127.0.0.1:8000/v1/").base == "http://127.0.0.1:8000"
    assert Server("https://[::1]/serve").base == "https://[::1]/serve"


def test_a_server_that_does_not_answer_in_time_is_an_error() -> None:
    import socket

    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        with pytest.raises(ForkpointError, match="no answer"):
            Server(url, timeout_s=0.2).get("/v1/models", _Models)


def test_a_path_that_is_not_there_is_told_apart() -> None:
    with vllm().running() as url, pytest.raises(NotServed, match="answers 404"):
        Server(url).get("/elsewhere", _Models)


def test_the_command_replays_through_a_server(tmp_path: Path) -> None:
    log = token_log(tmp_path / "run.jsonl", PAIRS)
    with vllm().running() as url:
        arguments = ["replay", str(log), "--server", url, "--store", ":memory:", "--format", "json"]
        done = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["model"], found["backend"], found["completions"]) == ("letters", "server vllm", 4)


def test_a_server_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    log = token_log(tmp_path / "run.jsonl", PAIRS)
    arguments = ["replay", str(log), "--server", "http://127.0.0.1:9", "--store", ":memory:"]
    done = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert done.exit_code == 1
    assert done.stderr.count("\n") == 1 and "no answer" in done.stderr


# vLLM in this process.


class FakeEngine:
    """What forkpoint uses of ``vllm.LLM``, with a prefix cache of whole sequences."""

    made: ClassVar[list[FakeEngine]] = []

    def __init__(self, **options: Any) -> None:
        self.options = options
        self.passes: list[dict[str, Any]] = []
        self._cached: set[tuple[int, ...]] = set()
        FakeEngine.made.append(self)

    def reset_prefix_cache(self) -> None:
        self._cached.clear()

    def generate(self, prompts: Any, settings: Any, use_tqdm: bool) -> list[Any]:
        assert use_tqdm is False
        self.passes.append(settings.options)
        return [self._output(tuple(each["prompt_token_ids"]), settings.options) for each in prompts]

    def _output(self, ids: tuple[int, ...], options: dict[str, Any]) -> Any:
        positions = None
        cached = 0
        if "prompt_logprobs" in options:
            positions = [None]
            for end in range(2, len(ids) + 1):
                named = dict(likely(list(ids[: end - 1]))[: options["prompt_logprobs"]])
                named[ids[end - 1]] = logprob(list(ids[:end])) or 0.0
                positions.append(
                    {token: types.SimpleNamespace(logprob=p) for token, p in named.items()}  # type: ignore[arg-type]
                )
        else:
            cached = max((n for n in range(len(ids)) if ids[:n] in self._cached), default=0)
        self._cached.update(ids[:n] for n in range(1, len(ids) + 1))
        return types.SimpleNamespace(prompt_logprobs=positions, num_cached_tokens=cached)


@pytest.fixture
def fake_vllm(monkeypatch: pytest.MonkeyPatch) -> type[FakeEngine]:
    class Settings:
        def __init__(self, **options: Any) -> None:
            self.options = options

    module = types.ModuleType("vllm")
    module.LLM, module.SamplingParams = FakeEngine, Settings  # type: ignore[attr-defined]
    codec = LetterCodec()
    codec.sha256, codec.max_positions = "2" * 64, 4096  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "vllm", module)
    monkeypatch.setattr(replay_vllm, "require", lambda *_: None)
    monkeypatch.setattr(replay_vllm, "load_tokenizer", lambda source: codec)
    FakeEngine.made.clear()
    return FakeEngine


def test_vllm_measures_in_one_pass_and_counts_its_cache_in_another(
    tmp_path: Path, fake_vllm: type[FakeEngine]
) -> None:
    model = tmp_path / "model.gguf"
    model.write_bytes(b"weights")
    log = token_log(tmp_path / "run.jsonl", PAIRS)
    source = ModelSource("letters", tmp_path, model.name)
    with opened(log) as store:
        answer = replay(store, [log], replay_vllm.VllmBackend(source, top=3))
        again = replay(store, [log], replay_vllm.VllmBackend(source, top=3))
        rows = store.rows("SELECT logprob FROM replayed_tokens")
    (engine,) = fake_vllm.made  # the second run needed none
    assert engine.options["trust_remote_code"] is False
    assert engine.options["model"] == str(model)
    assert ["prompt_logprobs" in each for each in engine.passes] == [True, False]
    assert answer.completions == 4 and again.new_completions == 0
    expected = [p for piece in pieces()[: len(PAIRS)] for p in expected_logprobs(piece)]
    assert sorted(p for (p,) in rows) == pytest.approx(sorted(expected))
    # Of "^askyes$" and "^askyet$" the first six tokens are shared, of all sequences the first; and of
    # "^what…" and "^who…" three.
    assert answer.cached_tokens == 6 + 1 + 3
    assert answer.cacheable_tokens == sum(len(prompt + made) for prompt, made in PAIRS)
    assert again.cached_tokens == answer.cached_tokens


def test_vllm_that_returns_nothing_is_an_error(
    tmp_path: Path, fake_vllm: type[FakeEngine], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        fake_vllm, "_output", lambda *_: types.SimpleNamespace(prompt_logprobs=None)
    )
    backend = replay_vllm.VllmBackend(ModelSource("letters", tmp_path))
    with pytest.raises(ForkpointError, match="no logprobs"):
        backend.score(pieces())


def test_the_letters_agree_with_themselves() -> None:
    """What the tests above rest on."""
    assert LETTERS.decode(LETTERS.encode("abc", begin=True)) == "^abc"
    assert LetterModel().score(pieces())[0].logprobs.tolist() == [
        figures_of(list(map(ord, "^askyes$"[:end])))[0] for end in range(5, 9)
    ]
    with pytest.raises(CodecError):
        LETTERS.chat([{"role": "nobody", "content": ""}], [], generation=True)

"""Token counting: gigatoken's ids are tiktoken's, offline, in bounded memory, on any text."""

from __future__ import annotations

import builtins
import hashlib
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiktoken_ext.openai_public
from hypothesis import given, settings
from hypothesis import strategies as st

from forkpoint.analysis import tokens
from forkpoint.analysis.tokens import (
    DEFAULT_ENCODING,
    ENCODINGS,
    ModelEncoding,
    Tokenizer,
    encoding_for,
    reference,
    reference_ids,
    well_formed,
)
from forkpoint.errors import ForkpointError

VOCABULARIES = Path(tokens.__file__).with_name("vocab")
SHA256 = {
    "o200k_base": "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d",
    "cl100k_base": "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7",
}


@pytest.fixture(scope="module", params=ENCODINGS)
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    return Tokenizer(request.param)


TOKENIZERS = {encoding: Tokenizer(encoding) for encoding in ENCODINGS}

WORDS = r"""
's 't 're 've 'm 'll 'd 'S 'LL 'Ve 'ſ don't I'LL we've ’s
<|endoftext|> <|endofprompt|> <|fim_prefix|> <|im_start|> <|endoftext <| |>
def __init__(self): return{} => == != /* */ // http://a.b/c?d=e&f camelCaseWORDS snake_case \\ \n
0 12 123 1234567 3.14 ½ ٣ १२ 中文 日本語 한국어 العربية עברית ไทย हिन्दी é ß İ ǅ ʰ ﬁ
😀 🇩🇪 👍🏽 — … “ ” « » a A b Z _ - . , ; ! ? /
"""
BLANKS_AND_CONTROLS = [
    *(" ", "  ", "    ", "\t", "\t\t", "\n", "\n\n", "\r\n", "\r", "\n    ", " \n \n", "\v", "\f"),
    *("\x00", "\x1b[31m", "\x7f", "\x1c", "\x85", "\xa0", "\u2028", "\u200b", "\u200d", "\ufeff"),
    *("\u0301", "e\u0301", "👩\u200d👩\u200d👧"),
]
PIECES = st.sampled_from(WORDS.split() + BLANKS_AND_CONTROLS)
TEXTS = st.one_of(
    st.text(),
    st.text(st.characters(codec="ascii")),
    st.text(st.characters(exclude_categories=())),
    st.lists(PIECES, max_size=40).map("".join),
    st.builds(
        lambda piece, times, tail: piece * times + tail, PIECES, st.integers(0, 300), st.text()
    ),
)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_the_shipped_vocabulary_is_the_published_one(encoding: str) -> None:
    content = (VOCABULARIES / f"{encoding}.tiktoken").read_bytes()
    assert hashlib.sha256(content).hexdigest() == SHA256[encoding]


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_the_reference_is_what_tiktoken_would_build_from_its_download(
    encoding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected_hashes = []

    def no_download(_: str, expected_hash: str) -> Mapping[bytes, int]:
        expected_hashes.append(expected_hash)
        return {}

    monkeypatch.setattr(tiktoken_ext.openai_public, "load_tiktoken_bpe", no_download)
    published = tiktoken_ext.openai_public.ENCODING_CONSTRUCTORS[encoding]()
    assert expected_hashes == [SHA256[encoding]]
    assert reference(encoding)._pat_str == published["pat_str"]
    assert reference(encoding)._special_tokens == published["special_tokens"]
    assert reference(encoding).name == published["name"]


def test_nothing_opens_a_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    reference.cache_clear()
    assert reference("cl100k_base").encode_ordinary("tree") == [9528]
    assert Tokenizer("cl100k_base").encode("tree").tolist() == [9528]


def test_importing_the_module_loads_no_tokenizer() -> None:
    script = (
        "import sys, forkpoint.analysis.tokens;"
        "print([m for m in ('tiktoken', 'gigatoken', 'regex', 'awkward') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_an_unknown_encoding_is_an_error_that_names_the_known_ones() -> None:
    with pytest.raises(ForkpointError, match=r"no encoding 'p50k_base'.*o200k_base, cl100k_base"):
        Tokenizer("p50k_base")
    with pytest.raises(ForkpointError, match="no encoding"):
        reference("../o200k_base")


@settings(max_examples=400, deadline=None)
@given(TEXTS)
def test_ids_are_those_of_tiktoken_on_any_text(text: str) -> None:
    for encoding, tokenizer in TOKENIZERS.items():
        expected = reference(encoding).encode_ordinary(text)
        assert tokenizer.encode(text).tolist() == expected


def test_every_word_of_the_vocabulary_has_its_own_id(tokenizer: Tokenizer) -> None:
    encoder = reference(tokenizer.encoding)
    words = encoder.token_byte_values()
    texts = [text for word in words if (text := word.decode(errors="replace")).encode() == word]
    assert len(texts) > 98_000
    for text, ids in zip(texts, tokenizer.encode_batch(texts), strict=True):
        assert ids.tolist() == encoder.encode_ordinary(text)


def test_special_tokens_are_counted_as_the_text_they_are(tokenizer: Tokenizer) -> None:
    assert tokenizer.count(["<|endoftext|>", "a<|endofprompt|>b"]).tolist() == [7, 9]


def test_lone_surrogates_count_as_replacement_characters(tokenizer: Tokenizer) -> None:
    for text in ("a\ud800b", "\udfff", "\ud83d\ude00", "\ude00\ud83d", "x" * 50 + "\ud800"):
        expected = reference(tokenizer.encoding).encode_ordinary(text)
        assert tokenizer.encode(text).tolist() == expected
    assert well_formed("\ud83d\ude00 \ud800") == "😀 \ufffd"


def test_counts_and_ids_agree_in_type_length_and_order(tokenizer: Tokenizer) -> None:
    texts = ["", "tree", "\x00\x00", "a fork in the path", ""]
    counts = tokenizer.count(texts)
    batch = tokenizer.encode_batch(texts)
    assert counts.dtype == np.int64
    assert [ids.dtype for ids in batch] == [np.uint32] * 5
    assert counts.tolist() == [ids.size for ids in batch]
    assert counts[0] == counts[4] == 0 and counts[3] == 5
    assert tokenizer.count([]).shape == (0,)


def test_the_slow_way_gives_the_same_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    fast = Tokenizer()
    slow = _tokenizer_without_gigatoken(monkeypatch)
    for text in ("", "don't <|endoftext|>", "\ud800", "中文 😀\n\n  x", "\x00"):
        ids = slow.encode(text)
        assert ids.dtype == np.uint32
        assert ids.tolist() == fast.encode(text).tolist()


def _tokenizer_without_gigatoken(monkeypatch: pytest.MonkeyPatch) -> Tokenizer:
    real_import = builtins.__import__

    def without(name: str, *rest: Any, **named: Any) -> Any:
        if name.partition(".")[0] == "gigatoken":
            raise ImportError(name)
        return real_import(name, *rest, **named)

    monkeypatch.setattr(builtins, "__import__", without)
    tokenizer = Tokenizer()
    tokenizer.encode("")  # loads its encoder
    monkeypatch.undo()
    return tokenizer


HUGE = {
    "one letter": "a" * 2_000_000,
    "spaces": " " * 2_000_000,
    "spaces and tabs": " \t\t " * 400_000,
    "newlines": "\n" * 1_500_000,
    "indented lines": ("\n" + " " * 300) * 5_000 + "x",
    "NULs": "\x00" * 1_000_000,
    "digits": "7" * 1_000_000,
    "base64": "QmFzZTY0IGlzIGxvbmc" * 80_000,
    "CJK": "中文字符" * 150_000,
    "emoji": "😀👩‍👧" * 100_000,
    "combining marks": "e\u0301" * 300_000,
}


@pytest.mark.parametrize("kind", HUGE)
def test_a_huge_text_is_exact_and_does_not_hang(tokenizer: Tokenizer, kind: str) -> None:
    text = "head " + HUGE[kind] + "tail!\n"
    started = time.perf_counter()
    ids = tokenizer.encode(text)
    assert time.perf_counter() - started < 20
    assert np.array_equal(ids, reference_ids(text, tokenizer.encoding))
    assert reference(tokenizer.encoding).decode(ids.tolist()) == text


@pytest.mark.parametrize(
    "around", ["a{}b", "!{}/x", "!\n\n{}\n.", "{}", "\u0301{} 's", "1{}\ud800"]
)
@pytest.mark.parametrize("run", [" ", "\n", " \n", "\t \r\n", "\xa0"])
def test_the_reference_splits_long_whitespace_where_tiktoken_does(around: str, run: str) -> None:
    # Long enough for the second way of splitting, short enough for tiktoken to serve as judge.
    text = around.format(run * (150_000 // len(run)))
    for encoding in ENCODINGS:
        expected = reference(encoding).encode_ordinary(text)
        assert reference_ids(text, encoding).tolist() == expected


def test_a_new_encoder_replaces_one_whose_cache_grew_and_the_ids_stay_the_same() -> None:
    texts = [f"word{number} and more" for number in range(400)]
    tokenizer = Tokenizer(DEFAULT_ENCODING, cache_tokens=1_000)
    before = [tokenizer.encode(text).tolist() for text in texts[:100]]
    first = tokenizer._encoder
    after = [tokenizer.encode(text).tolist() for text in texts[100:]]
    assert tokenizer._encoder is not first
    assert tokenizer._produced <= 1_000 + 10
    assert before + after == reference().encode_ordinary_batch(texts)


@pytest.mark.parametrize(
    ("model", "encoding"),
    [
        ("gpt-4o-2024-08-06", "o200k_base"),
        ("openai/gpt-4.1-mini", "o200k_base"),
        ("gpt-4.5-preview", "o200k_base"),
        ("gpt-4.5", "o200k_base"),
        ("gpt-5.3-codex", "o200k_base"),
        ("GPT-5", "o200k_base"),
        ("codex-mini-latest", "o200k_base"),
        ("o1-pro", "o200k_base"),
        ("o3", "o200k_base"),
        ("o4-mini-high", "o200k_base"),
        ("gpt-oss-120b", "o200k_base"),
        ("chatgpt-4o-latest", "o200k_base"),
        ("gpt-4", "cl100k_base"),
        ("azure/gpt-4-turbo-2024-04-09", "cl100k_base"),
        ("gpt-3.5-turbo-0125", "cl100k_base"),
        ("gpt-35-turbo", "cl100k_base"),
        ("ft:gpt-3.5-turbo:org::id", "cl100k_base"),
        ("ft:gpt-4.1-mini-2025-04-14:org::id", "o200k_base"),
    ],
)
def test_a_public_encoding_is_exact_for_its_own_models(model: str, encoding: str) -> None:
    assert encoding_for(model) == ModelEncoding(encoding, exact=True)


@pytest.mark.parametrize(
    "model",
    [None, "", "claude-opus-5", "gemini-2.5-pro", "o1x", "gpt-4omni", "text-davinci-003", "gpt2"],
)
def test_any_other_model_is_counted_with_the_default_encoding_as_an_estimate(
    model: str | None,
) -> None:
    assert encoding_for(model) == ModelEncoding(DEFAULT_ENCODING, exact=False)


@pytest.mark.real
def test_ids_are_those_of_tiktoken_on_real_logs(real_logs: Path, tokenizer: Tokenizer) -> None:
    texts = _samples(sorted(real_logs.rglob("*")), each=40_000)
    assert sum(map(len, texts)) > 3_000_000
    expected: Sequence[list[int]] = reference(tokenizer.encoding).encode_ordinary_batch(texts)
    assert [ids.tolist() for ids in tokenizer.encode_batch(texts)] == expected


def _samples(paths: list[Path], each: int) -> list[str]:
    """The head of every file, by lines and as one text, so that words meet both kinds of edges."""
    heads = []
    for path in filter(Path.is_file, paths):
        with path.open("rb") as file:
            heads.append(file.read(each).decode(errors="replace"))
    return heads + [line for head in heads for line in head.splitlines()[:20]]

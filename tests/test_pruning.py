"""Pruning: greedy deletion against a plain reference, where answers stand, what the store keeps.

Nothing here runs a model: likelihoods are made up of which units are kept.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from replayed_logs import LetterCodec, LetterModel, opened, token_log
from rich.cells import cell_len
from typer.testing import CliRunner

from forkpoint.analysis import replay_pruning
from forkpoint.analysis.entropy import FORK, NOT_FORK, UNDECIDED, entropy_patches
from forkpoint.analysis.pruning import (
    Chain,
    NoChain,
    Pruned,
    PruneSettings,
    find_chain,
    prune,
    units_of,
)
from forkpoint.analysis.pruning_results import PrunedExample, PrunedKind, PruningAnswer
from forkpoint.analysis.replay import NO_FILTERS
from forkpoint.analysis.replay_backend import Floats, Piece
from forkpoint.analysis.replay_choices import PruneUnit
from forkpoint.analysis.replay_pruning import prune_logged
from forkpoint.analysis.report import build_report
from forkpoint.analysis.store import Store
from forkpoint.cli.main import app
from forkpoint.cli.options import PlainFormat
from forkpoint.cli.replay_runs import write_pruning
from forkpoint.errors import ForkpointError

PROMPT, ANSWER = (900, 901), (950, 951)

Value = Callable[[frozenset[int]], float]
"""ln p of the answer, by the units that are kept."""


def a_chain(unit: Sequence[int]) -> Chain:
    """A chain whose token ids are 0, 1, …, in the given units."""
    ids = np.array([*PROMPT, *range(len(unit)), *ANSWER], dtype=np.uint32)
    return Chain(ids, 2, 2 + len(unit), np.array(unit, dtype=np.int64))


def scored_by(value: Value, chain: Chain) -> Callable[[Sequence[Piece]], Floats]:
    """A score that looks at the tokens it is given, and checks that the rest is whole."""

    def score(pieces: Sequence[Piece]) -> Floats:
        found = []
        for piece in pieces:
            ids = piece.ids.tolist()
            assert tuple(ids[:2]) == PROMPT and tuple(ids[piece.first :]) == ANSWER
            kept = ids[2 : piece.first]
            assert kept == sorted(kept)
            units = {int(chain.unit[token]) for token in kept}
            whole = [token for token in range(len(chain.unit)) if chain.unit[token] in units]
            assert kept == whole  # a unit goes as a whole
            found.append(value(frozenset(units)))
        return np.array(found)

    return score


def greedy(value: Value, units: int, most: float) -> list[int]:
    """The units in the order greedy deletion takes them, one at a time."""
    kept, order = set(range(units)), []
    before = value(frozenset(kept))
    while kept:
        losses = {unit: before - value(frozenset(kept - {unit})) for unit in sorted(kept)}
        least = min(losses, key=lambda unit: (losses[unit], unit))
        if losses[least] > most:
            break
        kept.remove(least)
        order.append(least)
    return order


@st.composite
def values(draw: st.DrawFn) -> tuple[Value, int]:
    """Likelihoods in which units matter alone and in pairs."""
    units = draw(st.integers(1, 7))
    worth = st.integers(-8, 16).map(lambda n: n / 4)
    own = draw(st.lists(worth, min_size=units, max_size=units))
    together = draw(
        st.dictionaries(
            st.tuples(st.integers(0, units - 1), st.integers(0, units - 1)), worth, max_size=8
        )
    )

    def value(kept: frozenset[int]) -> float:
        pairs = (n for (a, b), n in together.items() if a in kept and b in kept)
        return sum(own[unit] for unit in kept) + sum(pairs)

    return value, units


@given(values(), st.integers(0, 12).map(lambda n: n / 4))
def test_one_at_a_time_is_the_greedy_order(made: tuple[Value, int], most: float) -> None:
    value, units = made
    chain = a_chain(range(units))
    found = prune(chain, scored_by(value, chain), PruneSettings(loss_nats=most, round_share=0))
    order = greedy(value, units, most)
    assert found.deleted_in.tolist() == [
        order.index(unit) + 1 if unit in order else 0 for unit in range(units)
    ]
    kept = frozenset(range(units)) - set(order)
    assert found.pruned_logprob == value(kept)
    for unit in kept:  # the importance of what is left
        assert found.loss[unit] == value(frozenset(range(units))) - value(kept - {unit})


@given(
    values(),
    st.integers(0, 12).map(lambda n: n / 4),
    st.floats(0, 1),
    st.lists(st.integers(1, 3), min_size=7, max_size=7),
)
def test_whatever_goes_in_a_round_the_answer_stays_likely_and_nothing_more_can_go(
    made: tuple[Value, int], most: float, share: float, lengths: list[int]
) -> None:
    value, units = made
    chain = a_chain(np.repeat(np.arange(units), lengths[:units]).tolist())
    settings = PruneSettings(loss_nats=most, round_share=share)
    found = prune(chain, scored_by(value, chain), settings)
    whole = value(frozenset(range(units)))
    kept = frozenset(np.flatnonzero(found.deleted_in == 0).tolist())
    assert found.answer_logprob == whole
    assert found.pruned_logprob == value(kept)
    assert whole - found.pruned_logprob <= most
    assert all(whole - value(kept - {unit}) > most for unit in kept)
    taken = [int((found.deleted_in == number).sum()) for number in range(1, found.rounds + 1)]
    left = units
    for number in taken:
        assert number <= max(1, int(share * left))
        left -= number


def test_two_that_can_go_alone_but_not_together_do_not_go_together() -> None:
    chain = a_chain([0, 1])
    value: Value = lambda kept: 0.0 if kept else -5.0
    found = prune(chain, scored_by(value, chain), PruneSettings(loss_nats=0.1, round_share=1))
    assert found.deleted_in.tolist() == [1, 0]
    assert found.loss[1] == 5.0
    assert found.pruned_logprob == 0.0


def test_a_chain_that_says_nothing_of_the_answer_goes_whole() -> None:
    chain = a_chain(range(9))
    found = prune(chain, scored_by(lambda kept: -1.0, chain), PruneSettings(round_share=1))
    assert (found.deleted_in == 1).all() and found.rounds == 1


def test_an_answer_that_cannot_be_scored_loses_nothing_by_accident() -> None:
    chain = a_chain(range(3))
    found = prune(chain, lambda pieces: np.full(len(pieces), np.nan), PruneSettings())
    assert (found.deleted_in == 0).all()


@pytest.mark.parametrize(("loss", "share"), [(-0.1, 0.1), (float("nan"), 0.1), (1, 1.1), (1, -1)])
def test_settings_without_a_meaning_are_refused(loss: float, share: float) -> None:
    with pytest.raises(ForkpointError, match="0 nats or more"):
        PruneSettings(loss_nats=loss, round_share=share)


def letters(prompt: str, completion: str, **more: Any) -> tuple[str, str, str]:
    """(prompt, chain, answer) as `find_chain` cuts them."""
    ids = np.array(list(map(ord, prompt + completion)), dtype=np.uint32)
    chain = find_chain(ids, len(prompt), LetterCodec(), PruneUnit.TOKEN, **more)
    text = "".join(map(chr, chain.ids.tolist()))
    return text[: chain.begin], text[chain.begin : chain.answer], text[chain.answer :]


def test_the_answer_is_the_one_that_the_text_states_last() -> None:
    assert letters("^Q", "4 and 4. The answer is 4. Bye$") == ("^Q", "4 and 4. The answer is ", "4")


def test_a_logged_answer_goes_before_stated_ones_whatever_its_case() -> None:
    found = letters("^Q", "It is Rome. The answer is no.", answer="rome")
    assert found == ("^Q", "It is ", "Rome")


def test_a_pattern_goes_before_the_logged_answer() -> None:
    found = letters("^Q", "x=7, y=8", answer="8", pattern=re.compile(r"x=(\d)"))
    assert found == ("^Q", "x=", "7")


def test_a_pattern_that_finds_nothing_leaves_the_logged_answer_first() -> None:
    text = "It is Rome. The answer is no."
    found = letters("^Q", text, answer="rome", pattern=re.compile(r"x=(\d)"))
    assert found == ("^Q", "It is ", "Rome")


def test_a_logged_answer_that_the_text_does_not_hold_gives_way_to_the_stated_one() -> None:
    assert letters("^Q", "so: final answer: six", answer="6")[2] == "six"


@pytest.mark.parametrize(
    ("prompt", "completion", "why"),
    [
        ("^Q", "I do not know.", "states no answer"),
        ("^Q", "42", "states no answer"),
        ("", "The answer is 4.", "no prompt"),
    ],
)
def test_what_has_no_chain_is_left_out_with_its_reason(
    prompt: str, completion: str, why: str
) -> None:
    with pytest.raises(NoChain, match=why):
        letters(prompt, completion)


def test_an_answer_without_anything_before_it_has_no_chain() -> None:
    with pytest.raises(NoChain, match="comes first"):
        letters("^Q", "42", answer="42")


class PairCodec(LetterCodec):
    """Two letters a token; an odd last one alone."""

    def decode(self, ids: Sequence[int]) -> str:
        return "".join(
            chr(each % 1000) + (chr(each // 1000) if each >= 1000 else "") for each in ids
        )


def test_an_answer_inside_a_token_takes_the_token() -> None:
    text = "so it is: the answer is 42!"
    ids = [ord(a) + 1000 * ord(b) for a, b in zip(text[::2], text[1::2], strict=False)] + [ord("!")]
    whole = np.array([7, *ids], dtype=np.uint32)
    codec = PairCodec()
    assert codec.decode(ids) == text
    chain = find_chain(whole, 1, codec, PruneUnit.TOKEN, answer="42")
    answer = codec.decode(chain.ids[chain.answer :].tolist())
    before = codec.decode(chain.ids[1 : chain.answer].tolist())
    assert before + answer == text[: len(before + answer)]
    assert "42" in answer and len(answer) <= 4


def test_sentences_end_before_white_space_and_lines_at_their_end() -> None:
    texts = ["It", " is", " 3.5", "!", " So", " I", " think", ".", "\n", "\n", "Step", ":", " add"]
    numbers = units_of(texts, PruneUnit.SENTENCE).tolist()
    parts = [
        "".join(text for text, number in zip(texts, numbers, strict=True) if number == each)
        for each in range(max(numbers) + 1)
    ]
    assert parts == ["It is 3.5!", " So I think.", "\n\n", "Step:", " add"]


@given(st.lists(st.sampled_from(["a", " b", ".", "\n", " ", "x. ", "?", "\n\n", ""]), min_size=1))
def test_units_count_up_without_gaps(texts: list[str]) -> None:
    for unit in PruneUnit:
        numbers = units_of(texts, unit).tolist()
        assert numbers[0] == 0 and all(b - a in (0, 1) for a, b in pairwise(numbers))
    assert units_of(texts, PruneUnit.TOKEN).tolist() == list(range(len(texts)))


# What the store keeps.


class FakeScorer:
    """Answers need the letter e of their chain, and nothing else."""

    breaks_at: int | None = None
    calls = 0

    def __init__(self, model: Any, depth: int) -> None:
        self.flat_tokens = self.run_tokens = 0

    def __call__(self, pieces: Sequence[Piece]) -> Floats:
        if FakeScorer.calls == FakeScorer.breaks_at:
            raise KeyboardInterrupt
        FakeScorer.calls += 1
        self.flat_tokens += sum(len(piece.ids) for piece in pieces)
        self.run_tokens += 1
        return np.array(
            [-1.0 - 2.0 * (ord("e") not in piece.ids[1 : piece.first]) for piece in pieces]
        )


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A backend for `prune_logged` that runs no model."""
    monkeypatch.setattr(replay_pruning, "AnswerScorer", FakeScorer)
    monkeypatch.setattr(FakeScorer, "calls", 0)
    monkeypatch.setattr(FakeScorer, "breaks_at", None)
    backend: Any = LetterModel()
    backend.loaded = None
    return backend


LOGGED = [("^Q", "sea so: the answer is 4$"), ("^Q", "bee, ee. the answer is 5$"), ("^R", "hm$")]
TOKENS = PruneSettings(unit=PruneUnit.TOKEN)


def kept_rows(store: Store) -> list[tuple[Any, ...]]:
    return store.rows(
        "SELECT * EXCLUDE (pruned_at), position, token, deleted_in, loss "
        "FROM pruned_chains JOIN pruned_tokens USING (pruning_id) ORDER BY ALL"
    )


def test_pruning_keeps_what_an_answer_needs(tmp_path: Path, fake: Any) -> None:
    log = token_log(tmp_path / "log.jsonl", LOGGED)
    with opened(log) as store:
        found = prune_logged(store, [log], fake, settings=TOKENS)
        again = prune_logged(store, [log], fake, settings=TOKENS)
        other = prune_logged(store, [log], fake, settings=PruneSettings(unit=PruneUnit.SENTENCE))
    assert found.skipped == {"it states no answer": 1}
    assert (found.completions, found.new_completions) == (2, 2)
    chains = ["sea so: the answer is ", "bee, ee. the answer is "]
    assert found.chain_tokens == sum(map(len, chains))
    assert found.pruned_tokens == found.chain_tokens - 2  # one e each
    assert found.answer_tokens == 2
    assert found.mean_answer_nats == found.mean_pruned_nats == 1.0
    by_kind = {each.kind: each for each in found.kinds}
    assert by_kind["words"].tokens - by_kind["words"].pruned == 2
    assert by_kind["words"].mean_loss_nats == 2.0
    assert by_kind["white space"].mean_loss_nats is None
    assert sum(each.tokens for each in found.kinds) == found.chain_tokens
    assert {example.kept for example in found.examples} == {"e"}
    assert {example.chain for example in found.examples} == set(chains)
    assert again.new_completions == 0 and again.run_tokens == 0
    assert again.pruned_tokens == found.pruned_tokens and again.examples == found.examples
    assert other.new_completions == 2 and other.pruned_tokens < found.pruned_tokens


@pytest.mark.parametrize("stop", [0, 3, 12, 25])
def test_a_run_cut_short_goes_on_to_the_same_result(
    tmp_path: Path, fake: Any, stop: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = token_log(tmp_path / "log.jsonl", LOGGED)
    with opened(log) as store:
        whole = prune_logged(store, [log], fake, settings=TOKENS)
        expected = kept_rows(store)
    assert FakeScorer.calls > stop
    with opened(log) as store:
        monkeypatch.setattr(FakeScorer, "calls", 0)
        monkeypatch.setattr(FakeScorer, "breaks_at", stop)
        with pytest.raises(KeyboardInterrupt):
            prune_logged(store, [log], fake, settings=TOKENS)
        monkeypatch.setattr(FakeScorer, "breaks_at", None)
        found = prune_logged(store, [log], fake, settings=TOKENS)
        assert kept_rows(store) == expected
    assert found.pruned_tokens == whole.pruned_tokens


def test_progress_counts_the_tokens_before_answers(tmp_path: Path, fake: Any) -> None:
    log = token_log(tmp_path / "log.jsonl", LOGGED)
    seen: list[tuple[int, int]] = []
    with opened(log) as store:
        found = prune_logged(
            store, [log], fake, settings=TOKENS, progress=lambda run, all_: seen.append((run, all_))
        )
    assert seen[-1] == (found.chain_tokens, found.chain_tokens)
    assert [run for run, _ in seen] == sorted({run for run, _ in seen})


def ledger_row(store: Store, log: Path, mechanism: str) -> Any:
    report = build_report(store, [log], filters=NO_FILTERS)
    return next(row for row in report.savings.ledger if row.mechanism == mechanism)


def test_the_ledger_states_what_pruning_found_each_time_it_was_generated(
    tmp_path: Path, fake: Any
) -> None:
    log = token_log(tmp_path / "log.jsonl", [*LOGGED, LOGGED[0]])
    with opened(log) as store:
        before = ledger_row(store, log, "importance pruning")
        prune_logged(store, [log], fake, settings=PruneSettings(unit=PruneUnit.SENTENCE))
        prune_logged(store, [log], fake, settings=TOKENS)
        row = ledger_row(store, log, "importance pruning")
    assert before.standalone_tokens is None and before.needs == "forkpoint replay --prune"
    # Two of the four completions are the same, and count twice; the latest pruning counts.
    assert row.standalone_tokens == 2 * (22 - 1) + (23 - 1)
    assert row.potential_tokens is None and row.potential_usd is None
    assert "3 completions" in row.evidence and "0.9 times as likely" in row.evidence


def test_rows_that_need_another_model_are_in_no_sum(tmp_path: Path, fake: Any) -> None:
    log = token_log(tmp_path / "log.jsonl", LOGGED)
    with opened(log) as store:
        before = build_report(store, [log], filters=NO_FILTERS).savings
        prune_logged(store, [log], fake, settings=TOKENS)
        after = build_report(store, [log], filters=NO_FILTERS).savings
    assert after.potential_tokens == before.potential_tokens
    assert after.realized_tokens == before.realized_tokens
    assert after.ledger != before.ledger


# How it is shown.

HOSTILE = "model\x1b[31m [bold]x[/bold] </script>"


def an_answer(**changes: Any) -> PruningAnswer:
    given: dict[str, Any] = {
        "replay_id": "0" * 16,
        "model": HOSTILE,
        "device": "cpu",
        "dtype": "float32",
        "unit": "sentence",
        "loss_nats": 0.1,
        "round_share": 0.1,
        "completions": 12,
        "new_completions": 12,
        "skipped": {"it states no answer": 3},
        "chain_tokens": 4000,
        "pruned_tokens": 1500,
        "answer_tokens": 20,
        "mean_answer_nats": 0.25,
        "mean_pruned_nats": 0.28,
        "kinds": (PrunedKind("words", 3000, 1400, 1.25), PrunedKind("numbers", 1000, 100, None)),
        "examples": (PrunedExample(HOSTILE * 40, " \n", HOSTILE + "\nx"),),
        "flat_tokens": 90_000,
        "run_tokens": 45_000,
        "seconds": 61.0,
    }
    return PruningAnswer(**(given | changes))


@pytest.mark.parametrize("width", [40, 80, 140])
def test_the_screen_fits_its_terminal(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    out = io.StringIO()
    write_pruning(an_answer(), PlainFormat.TABLE, out)
    shown = out.getvalue()
    assert all(cell_len(line) <= width for line in shown.splitlines())
    assert "\x1b" not in shown and "\\x0a" not in shown
    assert "37.5 %" in shown and "kept: nothing" in shown and "50.0 %" in shown


def test_nothing_to_prune_is_said_with_its_reasons() -> None:
    out = io.StringIO()
    nothing: dict[str, Any] = {
        "completions": 0,
        "new_completions": 0,
        "chain_tokens": 0,
        "pruned_tokens": 0,
        "mean_answer_nats": None,
        "mean_pruned_nats": None,
        "kinds": (),
        "examples": (),
        "run_tokens": 0,
        "flat_tokens": 0,
    }
    write_pruning(an_answer(**nothing), PlainFormat.TABLE, out)
    assert "nothing: no completion here" in out.getvalue()
    assert "it states no answer" in out.getvalue()
    assert "%" not in out.getvalue()


def test_json_holds_every_figure_of_a_pruning() -> None:
    out = io.StringIO()
    write_pruning(an_answer(), PlainFormat.JSON, out)
    found = json.loads(out.getvalue())["pruning"]
    assert found["pruned_tokens"] == 1500 and found["kinds"][1]["mean_loss_nats"] is None
    assert found["model"] == HOSTILE


@pytest.mark.parametrize(
    "options",
    [
        ["--server", "http://127.0.0.1:9", "--prune", "token"],
        ["--model", "smollm2", "--prune", "token", "--branch"],
        ["--model", "smollm2", "--prune", "word"],
        ["--model", "smollm2", "--prune", "token", "--answer-pattern", "("],
        ["--model", "smollm2", "--answer-pattern", "x"],
        ["--model", "smollm2", "--scorer", "answer:4"],
    ],
)
def test_pruning_options_without_a_meaning_are_a_usage_error(options: list[str]) -> None:
    assert CliRunner().invoke(app, ["replay", ".", *options]).exit_code == 2


# Entropy patches.

CODES = st.lists(st.sampled_from([NOT_FORK, FORK, UNDECIDED]), max_size=30)


@given(st.lists(CODES, max_size=5), st.data())
def test_patches_begin_where_a_plain_walk_begins_them(
    completions: list[list[int]], data: st.DataObject
) -> None:
    codes = [code for each in completions for code in each]
    undecided = data.draw(st.lists(st.booleans(), min_size=len(codes), max_size=len(codes)))
    high = [
        code == FORK or (code == UNDECIDED and either)
        for code, either in zip(codes, undecided, strict=True)
    ]
    offsets = np.cumsum([0, *map(len, completions)]).astype(np.int64)
    found = entropy_patches(np.array(codes, dtype=np.int8), np.array(high, dtype=np.bool_), offsets)
    if not codes:
        assert found is None
        return
    lengths: list[int] = []
    least = most = place = 0
    for each in completions:
        for within, code in enumerate(each):
            if within == 0 or high[place]:
                lengths.append(0)
            lengths[-1] += 1
            least += within == 0 or code == FORK
            most += within == 0 or code != NOT_FORK
            place += 1
    assert found is not None
    assert (found.patches, found.least, found.most) == (len(lengths), least, most)
    assert found.longest == max(lengths)
    assert found.mean_tokens == pytest.approx(sum(lengths) / len(lengths))
    assert found.least <= found.patches <= found.most


def test_the_ledger_counts_the_patches_that_are_certain(sample_logs: Path) -> None:
    log = sample_logs / "token-ids" / "smollm2.jsonl"
    with opened(log) as store:
        report = build_report(store, [log], filters=NO_FILTERS)
        row = next(row for row in report.savings.ledger if row.mechanism == "entropy patching")
    entropy = report.entropy
    assert entropy is not None and entropy.patches is not None
    assert entropy.patches.least == entropy.patches.most  # whole entropies are logged
    records = [json.loads(line) for line in log.read_text().splitlines()]
    threshold = entropy.threshold_nats
    assert threshold is not None
    starts = sum(
        1 + sum(nats >= threshold for nats in record["entropies"][1:]) for record in records
    )
    tokens = sum(len(record["entropies"]) for record in records)
    assert entropy.patches.patches == starts
    assert row.standalone_tokens == tokens - starts
    assert row.potential_tokens is None


def test_pruned_is_what_it_says() -> None:
    chain = a_chain([0, 0, 1])
    piece = chain.piece(np.array([False, True]))
    assert piece.ids.tolist() == [*PROMPT, 2, *ANSWER] and piece.first == 3
    assert chain.units == 2
    assert isinstance(prune(chain, scored_by(lambda kept: 0.0, chain), PruneSettings()), Pruned)

"""Replays: what is run, what is kept of it, and what reports make of it. No model is needed here;
those with one are in the folder replay."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import REPOSITORY
from replayed_logs import (
    ENCODING,
    LetterCodec,
    LetterModel,
    chat_log,
    figures_of,
    measured_rows,
    opened,
    said,
    token_log,
    user,
)
from typer.testing import CliRunner

from forkpoint.analysis import replay_backend, replay_store
from forkpoint.analysis.fork_answer import build_forks
from forkpoint.analysis.prompts import load_prompts
from forkpoint.analysis.remembered import report_on
from forkpoint.analysis.replay import NO_FILTERS, make_batches, replay
from forkpoint.analysis.replay_backend import Piece
from forkpoint.analysis.replay_sequences import Plan, ReplaySequence, plan_sequences
from forkpoint.analysis.scope import Filters, select_scope
from forkpoint.analysis.store import Store
from forkpoint.analysis.token_entropy import load_scored_tokens, measure_entropy
from forkpoint.cli.forks import write_forks
from forkpoint.cli.main import app
from forkpoint.cli.options import PlainFormat

runner = CliRunner()
PAIRS = [("^ask", "yes$"), ("^ask", "yet$"), ("^what", "nothing at all$"), ("^who", "me")]


def planned(path: Path, codec: Any = None, **options: Any) -> Plan:
    with opened(path) as store:
        select_scope(store, [path], NO_FILTERS)
        return plan_sequences(store, codec or LetterCodec(), **options)


def spelled(plan: Plan) -> set[tuple[str, str]]:
    """(prompt, completion) of each sequence, in letters."""
    cut = [
        (each.ids[: each.prompt_tokens], each.ids[each.prompt_tokens :]) for each in plan.sequences
    ]
    return {tuple("".join(map(chr, part.tolist())) for part in pair) for pair in cut}  # type: ignore[misc]


# What is run.


def test_logged_token_ids_are_run_as_they_are(tmp_path: Path) -> None:
    plan = planned(token_log(tmp_path / "run.jsonl", PAIRS))
    assert spelled(plan) == set(PAIRS)
    assert {each.evidence for each in plan.sequences} == {"token ids"}
    assert not plan.skipped


def test_ids_longer_than_a_run_of_the_tree_are_put_together_again(tmp_path: Path) -> None:
    long = ("^" + "p" * 75, "c" * 100 + "$")
    assert spelled(planned(token_log(tmp_path / "run.jsonl", [long]))) == {long}


def test_ids_without_text_are_run_only_if_the_user_trusts_them(tmp_path: Path) -> None:
    log = token_log(tmp_path / "run.jsonl", PAIRS, text=False)
    plan = planned(log)
    assert not plan.sequences
    assert list(plan.skipped.values()) == [4]
    assert "--trust-ids" in next(iter(plan.skipped))
    assert spelled(planned(log, trust_ids=True)) == set(PAIRS)


def test_ids_that_do_not_decode_to_their_text_are_another_tokenizers(tmp_path: Path) -> None:
    log = token_log(tmp_path / "run.jsonl", PAIRS, shift=1)
    plan = planned(log)
    assert not plan.sequences
    assert plan.skipped == {"token ids of another tokenizer": 4}


def test_ids_beyond_the_vocabulary_are_left_out_even_if_trusted(tmp_path: Path) -> None:
    class Small(LetterCodec):
        vocabulary_size = 120

    log = token_log(tmp_path / "run.jsonl", [("^ask", "yes"), ("^ask", "none")], text=False)
    plan = planned(log, Small(), trust_ids=True)
    assert spelled(plan) == {("^ask", "none")}
    assert plan.skipped == {"token ids of another tokenizer": 1}


def test_one_text_that_does_not_decode_alike_does_not_condemn_the_others(tmp_path: Path) -> None:
    pairs = [("^ask", f"answer {number}") for number in range(20)]
    log = token_log(tmp_path / "run.jsonl", pairs)
    log.write_text(log.read_text().replace('"response": "answer 7"', '"response": "answer ?"'))
    assert len(planned(log).sequences) == 20


def test_ids_of_one_logged_model_vouch_for_those_logged_without_text(tmp_path: Path) -> None:
    token_log(tmp_path / "a.jsonl", PAIRS[:2])
    token_log(tmp_path / "b.jsonl", PAIRS[2:], text=False)
    token_log(tmp_path / "c.jsonl", [("^x", "y")], text=False, model="another")
    plan = planned(tmp_path)
    assert spelled(plan) == set(PAIRS)
    assert list(plan.skipped.values()) == [1]


def test_messages_are_rendered_by_the_chat_template(tmp_path: Path) -> None:
    log = chat_log(
        tmp_path / "gateway.jsonl",
        ([{"role": "system", "content": "Be brief."}, user("Why?")], said("Because.")),
        ([user("Why?"), said("Because."), user("So?")], said("Yes.")),
    )
    plan = planned(log)
    assert spelled(plan) == {
        ("^s:Be brief.$u:Why?$a:", "Because."),
        ("^u:Why?$a:Because.$u:So?$a:", "Yes."),
    }
    assert {each.evidence for each in plan.sequences} == {"messages"}


def test_the_end_of_a_turn_that_a_text_does_not_show_is_not_measured(tmp_path: Path) -> None:
    plan = planned(chat_log(tmp_path / "gateway.jsonl", ([user("Why?")], said("Because."))))
    assert plan.sequences[0].ids[-1] == ord(".")


CALL = {
    "role": "assistant",
    "content": "Let me look.",
    "tool_calls": [
        {"id": "x1", "type": "function", "function": {"name": "ls", "arguments": '{"path": "."}'}}
    ],
}


def test_tool_calls_are_measured_as_the_template_writes_them(tmp_path: Path) -> None:
    log = chat_log(
        tmp_path / "gateway.jsonl",
        ([user("Files?")], CALL),
        (
            [user("Files?"), CALL, {"role": "tool", "tool_call_id": "x1", "content": "a b"}],
            said("Two."),
        ),
    )
    called = 'Let me look.<ls {"path": "."}>'
    assert spelled(planned(log)) == {
        ("^u:Files?$a:", called),
        (f"^u:Files?$a:{called}$t:a b$a:", "Two."),
    }


def test_tool_definitions_of_any_dialect_reach_the_template(tmp_path: Path) -> None:
    log = chat_log(tmp_path / "gateway.jsonl", ([user("Files?")], said("None.")))
    record = json.loads(log.read_text())
    parameters = {"type": "object", "properties": {}}
    record["request"]["tools"] = [
        {"type": "function", "function": {"name": "ls", "parameters": parameters}},
        {"name": "cat", "description": "shows", "input_schema": parameters},
    ]
    log.write_text(json.dumps(record) + "\n")
    assert spelled(planned(log)) == {("^[ls][cat]u:Files?$a:", "None.")}


class Toolless(LetterCodec):
    """A template that knows of no tools."""

    def chat(
        self, messages: list[dict[str, Any]], tools: list[dict[str, Any]], *, generation: bool
    ) -> list[int]:
        bare = [{k: v for k, v in each.items() if k != "tool_calls"} for each in messages]
        return super().chat(bare, [], generation=generation)


def test_tools_that_the_template_leaves_out_are_no_secret(tmp_path: Path) -> None:
    result = {"role": "tool", "tool_call_id": "x1", "content": "a b"}
    log = chat_log(
        tmp_path / "gateway.jsonl",
        ([user("Files?")], CALL),
        ([user("Files?"), CALL, result], said("Two.")),
        ([user("Why?")], said("Because.")),
    )
    plan = planned(log, Toolless())
    assert plan.skipped == {"the chat template leaves tool calls out": 1}
    assert [each.without_tools for each in plan.sequences].count(True) == plan.without_tools == 1
    assert planned(log).without_tools == 0


def test_a_conversation_that_the_template_refuses_is_left_out_with_its_reason(
    tmp_path: Path,
) -> None:
    class Silent(LetterCodec):
        def chat(self, *_: Any, **__: Any) -> list[int]:
            raise replay_backend.CodecError("the model has no chat template")

    plan = planned(chat_log(tmp_path / "g.jsonl", ([user("Why?")], said("Because."))), Silent())
    assert plan.skipped == {"the model has no chat template": 1}


def test_a_template_that_rewrites_its_prompt_cannot_say_what_was_generated(tmp_path: Path) -> None:
    class Fickle(LetterCodec):
        def chat(self, messages: Any, tools: Any, *, generation: bool) -> list[int]:
            return super().chat(messages, tools, generation=generation)[1 - generation :]

    plan = planned(chat_log(tmp_path / "g.jsonl", ([user("Files?")], CALL)), Fickle())
    assert plan.skipped == {"the chat template writes the prompt anew behind it": 1}


def test_rendered_prompts_are_run_as_text(tmp_path: Path) -> None:
    log = tmp_path / "calls.jsonl"
    prompts = ["Tell me a story.\n" * 200, "Tell me a story.\n" * 200 + "Be quick.\n"]
    lines = [
        {
            "timestamp": 1789000000000000 + number,
            "input": prompt,
            "output": "Once.",
            "session_id": "s",
        }
        for number, prompt in enumerate(prompts)
    ]
    log.write_text("\n".join(map(json.dumps, lines)) + "\n")
    plan = planned(log)
    assert spelled(plan) == {("^" + prompt, "Once.") for prompt in prompts}
    assert {each.evidence for each in plan.sequences} == {"text"}


def test_text_that_is_no_unicode_is_mended(tmp_path: Path) -> None:
    log = chat_log(tmp_path / "g.jsonl", ([user("a\ud800b")], said("c\udfff")))
    assert spelled(planned(log)) == {("^u:a\ufffdb$a:", "c\ufffd")}


def test_arguments_that_are_no_json_do_not_end_a_run(tmp_path: Path) -> None:
    deep = {"name": "f", "arguments": "[" * 100_000}
    call = {"role": "assistant", "content": None, "tool_calls": [{"id": "1", "function": deep}]}
    huge = {"name": "g", "arguments": '{"n": ' + "9" * 10_000 + "}"}
    other = {"role": "assistant", "content": None, "tool_calls": [{"id": "2", "function": huge}]}
    plan = planned(chat_log(tmp_path / "g.jsonl", ([user("a")], call), ([user("b")], other)))
    assert len(plan.sequences) == 2
    assert min(each.completion_tokens for each in plan.sequences) > 10_000


def test_prompts_that_are_not_whole_are_left_out(sample_logs: Path) -> None:
    plan = planned(sample_logs / "tau2")
    assert plan.skipped["the log lacks part of the prompt"] > 0
    assert all(each.prompt_tokens for each in plan.sequences)


def test_sequences_longer_than_the_model_takes_are_left_out(tmp_path: Path) -> None:
    plan = planned(token_log(tmp_path / "run.jsonl", PAIRS), max_tokens=8)
    assert spelled(plan) == {pair for pair in PAIRS if len("".join(pair)) <= 8}
    assert sum(plan.skipped.values()) == 1


def test_choices_of_one_request_are_completions_of_their_own(sample_logs: Path) -> None:
    plan = planned(sample_logs / "openai" / "smollm2.jsonl")
    prompts = Counter(each.prompt for each in plan.sequences)
    assert len(prompts) == 6
    assert len(plan.sequences) > 30


def test_the_same_completion_in_two_logs_is_run_once(tmp_path: Path) -> None:
    token_log(tmp_path / "a.jsonl", PAIRS)
    token_log(tmp_path / "b.jsonl", PAIRS, tenant="copy")
    assert len(planned(tmp_path).sequences) == len(PAIRS)


def test_filters_choose_what_is_run(tmp_path: Path) -> None:
    token_log(tmp_path / "a.jsonl", PAIRS[:2])
    token_log(tmp_path / "b.jsonl", [("^x", "y")], model="another")
    model = LetterModel()
    with opened(tmp_path) as store:
        replay(store, [tmp_path], model, filters=Filters(model="anoth*"))
    assert ["".join(map(chr, piece.ids)) for piece in model.pieces] == ["^xy"]


# What is measured and kept.


def test_every_token_of_a_completion_is_measured_behind_its_prompt(tmp_path: Path) -> None:
    log = token_log(tmp_path / "run.jsonl", PAIRS)
    model = LetterModel()
    with opened(log) as store:
        answer = replay(store, [log], model)
        rows = store.rows(
            "SELECT completion, position, token, logprob, named_entropy, tail, named, top_tokens "
            "FROM replayed_tokens ORDER BY completion, position"
        )
    assert answer.completions == answer.new_completions == 4
    assert answer.tokens == answer.whole_tokens == sum(len(made) for _, made in PAIRS)
    assert {piece.first for piece in model.pieces} == {4, 5}
    found = {}
    for completion, _, *figures in rows:
        found.setdefault(completion, []).append(figures)
    expected = []
    for prompt, made in PAIRS:
        ids = list(map(ord, prompt + made))
        ends = range(len(prompt), len(ids))
        figures = [(ids[end], *figures_of(ids[: end + 1])) for end in ends]
        expected.append([[token, p, h, 0.0, 0, [1, 2, 3]] for token, p, h in figures])
    assert sorted(found.values()) == sorted(expected)


def test_a_replay_says_what_it_was_made_with(tmp_path: Path) -> None:
    log = token_log(tmp_path / "run.jsonl", PAIRS)
    with opened(log) as store:
        replay(store, [log], LetterModel())
        row = store.rows(
            "SELECT model, model_sha256, tokenizer, vocabulary_size, backend, dtype, device, seed, "
            "versions, started_at IS NOT NULL FROM replays"
        )
        texts = dict(store.rows("SELECT token, text FROM replay_vocabularies"))
    assert row == [
        ("letters", "0" * 64, "1" * 64, 128, "transformers", "float32", "cpu", 0, '{"letters":"1"}', True)
    ]  # fmt: skip
    assert texts[ord("y")] == "y"


def test_prompts_are_measured_if_asked_for_each_once(tmp_path: Path) -> None:
    log = token_log(tmp_path / "run.jsonl", PAIRS)
    model = LetterModel()
    with opened(log) as store:
        replay(store, [log], model)
        answer = replay(store, [log], model, prompts=True)
        rows = store.rows(
            "SELECT list(token ORDER BY position), list(logprob ORDER BY position) "
            "FROM replayed_tokens WHERE prompt = completion GROUP BY prompt"
        )
        again = replay(store, [log], LetterModel(fails_at=0), prompts=True)
    assert answer.prompts == again.prompts == 3
    assert answer.prompt_tokens == len("^ask^what^who")
    assert answer.new_completions == 0
    assert {"".join(map(chr, tokens)) for tokens, _ in rows} == {"^ask", "^what", "^who"}
    for tokens, logprobs in rows:
        assert logprobs[0] is None  # nothing predicts it
        assert logprobs[1:] == [figures_of(tokens[: end + 1])[0] for end in range(1, len(tokens))]


def test_a_replay_that_is_repeated_runs_nothing(tmp_path: Path) -> None:
    log = token_log(tmp_path / "run.jsonl", PAIRS)
    with opened(log) as store:
        replay(store, [log], LetterModel())
        before = measured_rows(store)
        again = LetterModel()
        answer = replay(store, [log], again)
        assert measured_rows(store) == before
    assert (again.loads, again.batches) == (0, [])
    assert (answer.completions, answer.new_completions, answer.run_tokens) == (4, 0, 0)


def test_a_log_that_is_read_again_keeps_what_was_measured(tmp_path: Path) -> None:
    log = token_log(tmp_path / "run.jsonl", PAIRS)
    store_path = str(tmp_path / "store.duckdb")
    with opened(log, store=store_path) as store:
        replay(store, [log], LetterModel())
    token_log(log, [("^new", "one"), *PAIRS])
    model = LetterModel()
    with opened(log, store=store_path) as store:
        replay(store, [log], model)
    assert ["".join(map(chr, piece.ids)) for piece in model.pieces] == ["^newone"]


def test_models_and_settings_are_replays_of_their_own(tmp_path: Path) -> None:
    log = token_log(tmp_path / "run.jsonl", PAIRS)
    with opened(log) as store:
        replay(store, [log], LetterModel())
        other = LetterModel(name="other")
        replay(store, [log], other)
        assert store.value("SELECT count(*) FROM replays") == 2
    assert len(other.pieces) == 4


def sequence(length: int, prompt: int = 1) -> ReplaySequence:
    from uuid import UUID

    ids = np.arange(length, dtype=np.uint32)
    return ReplaySequence(UUID(int=prompt), UUID(int=1000 + length), ids, 1, "token ids")


def test_batches_hold_sequences_of_like_length_and_no_more_than_fit() -> None:
    sequences = [sequence(length) for length in (7, 100, 3, 8, 4, 5)]
    batches = make_batches(sequences, 16, prompts=False)
    assert [[len(work.sequence.ids) for work in batch] for batch in batches] == [
        [3, 4, 5], [7, 8], [100]
    ]  # fmt: skip
    assert not any(work.with_prompt for batch in batches for work in batch)
    owners = [
        work.with_prompt for batch in make_batches(sequences, 16, prompts=True) for work in batch
    ]
    assert sum(owners) == 1


MANY = [(f"^q{number % 7}", "word " * (number % 11 + 1)) for number in range(30)]


def test_a_run_cut_short_at_any_batch_goes_on_to_the_same_result(tmp_path: Path) -> None:
    log = token_log(tmp_path / "run.jsonl", MANY)
    with opened(log) as store:
        whole = LetterModel()
        replay(store, [log], whole, prompts=True)
        expected = measured_rows(store)
    n = len(whole.batches)
    assert n > 6
    for stop in (0, 1, 2, n // 2, n - 1):
        with opened(log) as store:
            with pytest.raises(KeyboardInterrupt):
                replay(store, [log], LetterModel(fails_at=stop), prompts=True)
            rest = LetterModel()
            replay(store, [log], rest, prompts=True)
            assert measured_rows(store) == expected
        # What shares a batch does not depend on where the first run ended.
        assert [[p.ids.tolist() for p in b] for b in rest.batches] == [
            [p.ids.tolist() for p in b] for b in whole.batches[stop:]
        ]


def test_a_run_cut_short_inside_a_commit_goes_on_to_the_same_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = token_log(tmp_path / "run.jsonl", MANY)
    with opened(log) as store:
        replay(store, [log], LetterModel())
        expected = measured_rows(store)
    with opened(log) as store:
        calls = 0
        insert = replay_store._insert

        def broken(*arguments: Any) -> None:
            nonlocal calls
            calls += 1
            insert(*arguments)
            if calls == 4:  # one of them entered the vocabulary
                raise KeyboardInterrupt

        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(replay_store, "_insert", broken)
            replay(store, [log], LetterModel())
        assert store.value(
            "SELECT count(*) FROM replayed ANTI JOIN replayed_tokens USING (prompt, completion)"
        ) == 0  # fmt: skip
        replay(store, [log], LetterModel())
        assert measured_rows(store) == expected


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from replayed_logs import LetterModel, opened
from forkpoint.analysis.replay import replay

class Killed(LetterModel):
    def score(self, pieces):
        if len(self.batches) == {stop}:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().score(pieces)

with opened(Path({log!r}), store={store!r}) as store:
    replay(store, [Path({log!r})], Killed())
"""


@pytest.mark.parametrize("stop", [0, 1, 5])
def test_a_killed_run_leaves_a_store_that_opens_and_goes_on(tmp_path: Path, stop: int) -> None:
    log = token_log(tmp_path / "run.jsonl", MANY)
    with opened(log) as store:
        replay(store, [log], LetterModel())
        expected = measured_rows(store)
    path = str(tmp_path / "store.duckdb")
    code = KILLED.format(tests=str(REPOSITORY / "tests"), log=str(log), store=path, stop=stop)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    with opened(log, store=path) as store:
        assert len(measured_rows(store)) < len(expected)
        replay(store, [log], LetterModel())
        assert measured_rows(store) == expected


def test_progress_counts_the_tokens_of_this_run(tmp_path: Path) -> None:
    log = token_log(tmp_path / "run.jsonl", PAIRS)
    seen: list[tuple[int, int]] = []
    with opened(log) as store:
        replay(store, [log], LetterModel(), progress=lambda run, total: seen.append((run, total)))
    total = sum(len(prompt + made) for prompt, made in PAIRS)
    assert seen[-1] == (total, total)
    assert all(a < b for (a, _), (b, _) in pairwise(seen))


# What reports make of it.


def test_reports_use_replayed_tokens_where_a_log_has_none(tmp_path: Path) -> None:
    log = token_log(tmp_path / "run.jsonl", PAIRS)
    with opened(log) as store:
        select_scope(store, [log], NO_FILTERS)
        load_prompts(store)
        assert load_scored_tokens(store) is None
        replay(store, [log], LetterModel())
        select_scope(store, [log], NO_FILTERS)
        scored = load_scored_tokens(store)
        found = measure_entropy(scored)
    assert found is not None and scored is not None
    n = sum(len(made) for _, made in PAIRS)
    assert (found.tokens, found.replayed_tokens, found.whole_tokens) == (n, n, n)
    assert [(each.model, each.vocabulary_size, each.vocabulary_known) for each in found.models] == [
        ("letters", 128, True)
    ]
    assert scored.completions.trace_ids and (scored.completions.group >= 0).all()
    assert sorted(set(scored.completions.reward.tolist())) == [0.0, 1.0]
    assert found.agreement is not None and found.agreement.divergences == 1
    assert {each.token for each in found.fork_tokens} <= set("".join(made for _, made in PAIRS))
    assert all(each.line is not None for each in found.windows)


def test_what_the_log_says_itself_goes_first(tmp_path: Path) -> None:
    token_log(tmp_path / "a.jsonl", PAIRS[:2], logprobs=[-0.5] * 4, entropies=[0.25] * 4)
    token_log(tmp_path / "b.jsonl", PAIRS[2:], group="another group of rollouts")
    with opened(tmp_path) as store:
        answer = replay(store, [tmp_path], LetterModel())
        select_scope(store, [tmp_path], NO_FILTERS)
        found = measure_entropy(load_scored_tokens(store))
        assert found is not None
        only = LetterModel(name="other")
        replay(store, [tmp_path], only, only_missing=True)
    assert answer.completions == 4
    assert found.replayed_tokens == sum(len(made) for _, made in PAIRS[2:])
    assert found.tokens == sum(len(made) for _, made in PAIRS)
    assert len(only.pieces) == 2
    assert answer.agreement is not None
    assert (answer.agreement.tokens, answer.agreement.entropy_tokens) == (8, 8)
    differences = [
        abs(figures_of(list(map(ord, (prompt + made)[: end + 1])))[0] + 0.5)
        for prompt, made in PAIRS[:2]
        for end in range(len(prompt), len(prompt + made))
    ]
    assert answer.agreement.max_logprob_difference == pytest.approx(max(differences))
    assert answer.agreement.median_logprob_difference == pytest.approx(np.median(differences))


def test_replayed_choices_without_a_call_have_a_place(sample_logs: Path) -> None:
    log = sample_logs / "alpaca-eval"
    with opened(log) as store:
        answer = replay(store, [log], LetterModel())
        select_scope(store, [log], NO_FILTERS)
        found = load_scored_tokens(store)
        assert answer.completions > 0 and found is not None
        assert found.completions.replayed.any()
        assert measure_entropy(found) is not None


def test_the_latest_replay_is_the_one_that_counts(tmp_path: Path) -> None:
    log = token_log(tmp_path / "run.jsonl", PAIRS)
    with opened(log) as store:
        replay(store, [log], LetterModel(name="first"))
        replay(store, [log], LetterModel(name="second"))
        select_scope(store, [log], NO_FILTERS)
        found = measure_entropy(load_scored_tokens(store))
    assert found is not None
    assert [each.model for each in found.models] == ["second"]
    assert found.completions == 4


def test_a_remembered_report_is_made_anew_after_a_replay(tmp_path: Path) -> None:
    log = token_log(tmp_path / "run.jsonl", PAIRS)
    with opened(log) as store:
        assert report_on(store, [log], filters=NO_FILTERS).entropy is None
        refined = store.get_meta("refined") == store.get_meta("generation")
        replay(store, [log], LetterModel())
        found = report_on(store, [log], filters=NO_FILTERS).entropy
        assert (store.get_meta("refined") == store.get_meta("generation")) == refined
    assert found is not None and found.replayed_tokens == found.tokens


def test_forks_says_which_tokens_were_replayed(tmp_path: Path) -> None:
    log = token_log(tmp_path / "run.jsonl", PAIRS)
    out = io.StringIO()
    with opened(log) as store:
        replay(store, [log], LetterModel())
        write_forks(build_forks(store, [log]), PlainFormat.TABLE, out)
    n = sum(len(made) for _, made in PAIRS)
    assert f"{n} tokens not logged but replayed" in " ".join(out.getvalue().split())


# Hints and the command.


def invoke(*arguments: str | Path) -> Any:
    return runner.invoke(app, ["replay", *map(str, arguments)], catch_exceptions=False)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--model", "smollm2"), 'pip install "forkpoint[replay]"'),
        (("--model", "smollm2", "--backend", "vllm"), 'pip install "forkpoint[replay-vllm]"'),
    ],
)
def test_what_is_not_installed_is_said_in_one_line(
    tmp_path: Path, options: tuple[str, ...], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replay_backend, "find_spec", lambda name: None)
    log = token_log(tmp_path / "run.jsonl", PAIRS)
    done = invoke(log, "--store", ":memory:", *options)
    assert done.exit_code == 1
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert expected in done.stderr


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("--server", "http://127.0.0.1:1", "--backend", "vllm"),
        ("--model", "x", "--server-api", "vllm"),
        ("--model", "x", "--likeliest", "-1"),
        ("--model", "x", "--batch-tokens", "0"),
    ],
)
def test_options_that_do_not_go_together_are_wrong_usage(
    tmp_path: Path, options: tuple[str, ...]
) -> None:
    log = token_log(tmp_path / "run.jsonl", PAIRS)
    done = invoke(log, "--store", ":memory:", *options)
    assert done.exit_code == 2


def run_command(
    log: Path, monkeypatch: pytest.MonkeyPatch, *options: str, model: LetterModel | None = None
) -> str:
    import forkpoint.cli.replay as command

    monkeypatch.setattr(command, "make_backend", lambda **_: model or LetterModel())
    done = invoke(log, "--model", "letters", *options)
    assert done.exit_code == 0, done.stderr
    return done.stdout  # type: ignore[no-any-return]


def test_the_screen_says_what_was_measured_and_what_was_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    token_log(tmp_path / "a.jsonl", PAIRS)
    token_log(tmp_path / "b.jsonl", [("^x", "y")], text=False, model="another")
    store = ("--store", str(tmp_path / "s.duckdb"))
    first = " ".join(run_command(tmp_path, monkeypatch, *store).split())
    n = sum(len(made) for _, made in PAIRS)
    assert f"{n} generated tokens of 4 completions · 4 from token ids" in first
    assert "letters · transformers · float32 · cpu · SHA-256 000000000000…" in first
    assert "Left out 1 completion: token ids without their text" in first
    assert "forkpoint forks" in first
    again = run_command(tmp_path, monkeypatch, *store)
    assert "nothing: all of it was measured before" in again


def test_json_gives_the_same_exactly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = token_log(tmp_path / "a.jsonl", PAIRS)
    found = json.loads(run_command(log, monkeypatch, "--store", ":memory:", "--format", "json"))
    assert found["format"] == 1
    assert found["completions"] == found["new_completions"] == 4
    assert found["tokens"] == sum(len(made) for _, made in PAIRS)
    assert found["versions"] == {"letters": "1"}
    assert found["skipped"] == {}
    assert found["agreement"] is None


def test_names_out_of_logs_cannot_write_to_the_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = token_log(tmp_path / "a.jsonl", PAIRS)
    model = LetterModel(name="\x1b[31mred[bold]x[/bold]")
    shown = run_command(log, monkeypatch, "--store", ":memory:", model=model)
    assert "\x1b" not in shown
    assert "[bold]x[/bold]" in shown


def test_a_replay_of_nothing_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = token_log(tmp_path / "a.jsonl", PAIRS, text=False)
    shown = run_command(log, monkeypatch, "--store", ":memory:")
    assert "no completion here can be run" in shown


def test_the_store_still_answers_queries_about_a_replay(tmp_path: Path) -> None:
    log = token_log(tmp_path / "a.jsonl", PAIRS)
    path = str(tmp_path / "s.duckdb")
    with opened(log, store=path) as store:
        replay(store, [log], LetterModel())
    with Store.open(path, encoding=ENCODING, read_only=True) as store:
        assert store.value("SELECT count(*) FROM replayed_tokens") == sum(len(m) for _, m in PAIRS)


def test_a_piece_knows_what_is_measured() -> None:
    assert Piece(np.arange(5, dtype=np.uint32), 2).measured == 3

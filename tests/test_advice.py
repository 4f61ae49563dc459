"""What to do about lost tokens, and single calls explained, on small logs worked out by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from test_cache import OPUS, Session, chat, message

from forkpoint.analysis.cache_answer import build_cache, explain_call
from forkpoint.analysis.excerpts import excerpt, parting, redacted, volatile_value
from forkpoint.analysis.ingest import ingest
from forkpoint.analysis.ingest_worker import Options
from forkpoint.analysis.results import CacheAnswer, Explanation, Hint, LifetimeOption
from forkpoint.analysis.store import MEMORY, Store
from forkpoint.analysis.tokens import DEFAULT_ENCODING, reference_ids
from forkpoint.errors import ForkpointError

# USD per token of OPUS: input, read, write, 1 h write.
IN, READ, WRITE, WRITE_1H = 5 / 1e6, 0.5 / 1e6, 6.25 / 1e6, 10 / 1e6


def answer_on(folder: Path, **options: Any) -> CacheAnswer:
    with Store.open(MEMORY, encoding=DEFAULT_ENCODING) as store:
        ingest(store, [folder], Options(DEFAULT_ENCODING))
        return build_cache(store, [folder], **options)


def explain(
    folder: Path, place: int, *, keep_text: bool = False, gone: bool = False
) -> Explanation:
    """The explanation of the call at one place in the order of calls."""
    with Store.open(MEMORY, encoding=DEFAULT_ENCODING) as store:
        ingest(store, [folder], Options(DEFAULT_ENCODING, keep_text=keep_text))
        build_cache(store, [folder])
        call_id = store.value("SELECT call_id::VARCHAR FROM scope_calls WHERE call_no = ?", [place])
        if gone:
            for log in folder.iterdir():
                log.write_text("")
        return explain_call(store, [folder], call_id.replace("-", "")[:12])


def option_named(answer: CacheAnswer, name: str) -> LifetimeOption:
    (found,) = [each for each in answer.lifetimes if each.name == name]
    return found


def hint_on(answer: CacheAnswer, cause: str) -> Hint:
    (found,) = [each for each in answer.hints if each.cause == cause]
    return found


def warm(folder: Path) -> None:
    session = Session(folder, "s")
    session.ask("a" * 40)
    session.answer("b" * 40, 0, uncached=0, read=0, write=10_000)
    session.ask("c" * 40, 1)
    session.answer("d" * 40, 1, uncached=0, read=10_000, write=200, output=20)


def idle(folder: Path, *minutes: float) -> None:
    """Calls whose prompts grow by 200 tokens; after a pause all is written again."""
    session, size, before = Session(folder, "s"), 10_000, -60.0
    for minute in minutes:
        session.ask("a" * 40, minute)
        warm = minute - before <= 5
        read = size - 200 if warm else 0
        session.answer("b" * 40, minute, uncached=0, read=read, write=size - read)
        size, before = size + 200, minute


def long_writes(folder: Path, *steps: tuple[float, int, int]) -> None:
    """Calls at (minute, read, written with the long lifetime)."""
    session = Session(folder, "s")
    for minute, read, write in steps:
        session.ask("a" * 40, minute)
        usage = {
            "input_tokens": 0,
            "cache_read_input_tokens": read,
            "cache_creation_input_tokens": write,
            "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": write},
            "output_tokens": 10,
        }
        session.answer("b" * 40, minute, uncached=0, read=0, write=0, usage=usage)


# --- conventions and net value ---


def test_each_convention_weighs_calls_its_own_way(tmp_path: Path) -> None:
    warm(tmp_path)
    found = answer_on(tmp_path).conventions
    assert found.micro_token == 10_000 / 20_200
    assert found.macro == pytest.approx((0 / 10_000 + 10_000 / 10_200) / 2)
    assert found.request == 1 / 2
    assert found.steady_micro_token == 10_000 / 10_200
    assert found.read_share == 10_000 / (20_200 + 10 + 20)


def test_logs_without_usage_have_no_conventions_and_no_net_value(tmp_path: Path) -> None:
    chat(tmp_path, "log", [{"model": "gpt-5", "messages": [message("user", "Hello there.")]}])
    answer = answer_on(tmp_path)
    assert set(vars_of(answer.conventions)) == {None}
    assert answer.net is None
    assert answer.lifetimes == answer.hints == ()


def vars_of(each: Any) -> list[Any]:
    return [getattr(each, name) for name in each.__dataclass_fields__]


def test_what_caching_is_worth_is_reads_less_the_premium_and_the_last_write_is_unread(
    tmp_path: Path,
) -> None:
    warm(tmp_path)
    net = answer_on(tmp_path).net
    assert net is not None
    assert net.read_saving_usd == pytest.approx(10_000 * (IN - READ))
    assert net.write_premium_usd == pytest.approx(10_200 * (WRITE - IN))
    assert net.net_usd == pytest.approx(10_000 * (IN - READ) - 10_200 * (WRITE - IN))
    assert net.unread_write_tokens == 200
    assert net.unread_premium_usd == pytest.approx(200 * (WRITE - IN))


def test_a_write_read_only_after_it_expired_is_unread(tmp_path: Path) -> None:
    idle(tmp_path, 0, 30)
    net = answer_on(tmp_path).net
    assert net is not None
    assert net.unread_write_tokens == 10_000 + 10_200


def test_long_lived_writes_cost_the_long_premium_and_are_used_for_an_hour(tmp_path: Path) -> None:
    long_writes(tmp_path, (0, 0, 10_000), (30, 10_000, 200))
    net = answer_on(tmp_path).net
    assert net is not None
    assert net.write_premium_usd == pytest.approx(10_200 * (WRITE_1H - IN))
    assert net.unread_premium_usd == pytest.approx(200 * (WRITE_1H - IN))


def test_an_unlogged_beginning_that_the_next_session_read_was_not_written_in_vain(
    tmp_path: Path,
) -> None:
    for name, minute, read, write in (("s", 0, 0, 10_000), ("t", 1, 9_000, 1_000)):
        session = Session(tmp_path, name)
        session.ask(f"question of {name}", minute)
        session.answer("b", minute, uncached=0, read=read, write=write)
    net = answer_on(tmp_path).net
    assert net is not None
    assert net.unread_write_tokens == (10_000 - 9_000) + 1_000


# --- lifetimes ---


def test_an_hour_pays_where_pauses_are_long_and_writes_are_few(tmp_path: Path) -> None:
    idle(tmp_path, 0, 30)
    option = option_named(answer_on(tmp_path), "1 h")
    # The second call writes 10,200 again, of which its first 10,000 could have been read.
    assert (option.calls, option.tokens) == (1, 10_000)
    assert option.saved_usd == pytest.approx(10_000 * (WRITE - READ))
    assert option.extra_usd == pytest.approx((10_000 + 200) * (WRITE_1H - WRITE))
    assert option.net_usd == pytest.approx(option.saved_usd - option.extra_usd)


def test_an_hour_does_not_help_after_two(tmp_path: Path) -> None:
    idle(tmp_path, 0, 120)
    option = option_named(answer_on(tmp_path), "1 h")
    assert (option.calls, option.tokens, option.saved_usd) == (0, 0, 0.0)
    assert option.extra_usd == pytest.approx((10_000 + 10_200) * (WRITE_1H - WRITE))


def test_keeping_alive_costs_one_read_before_each_expiry(tmp_path: Path) -> None:
    idle(tmp_path, 0, 12)
    option = option_named(answer_on(tmp_path), "keep alive")
    # 720 s: requests after 290 and 580 s.
    assert option.extra_usd == pytest.approx(2 * 10_000 * READ)
    assert option.saved_usd == pytest.approx(10_000 * (WRITE - READ))
    assert (option.calls, option.tokens) == (1, 10_000)


def test_keeping_alive_is_left_out_where_it_costs_more_than_it_saves(tmp_path: Path) -> None:
    # 58 minutes are 3,480 s: 11 requests of 0.50 are 5.50, less than 6.25 - 0.50. With prices at
    # which a read costs a tenth more, they are 6.05, more than 6.25 - 0.55.
    idle(tmp_path, 0, 58)
    assert option_named(answer_on(tmp_path), "keep alive").extra_usd == pytest.approx(
        11 * 10_000 * READ
    )
    prices = tmp_path / "prices.toml"
    prices.write_text(
        f'[[price]]\nmodel = "{OPUS}"\ninput = 5\noutput = 25\ncache_read = 0.55\n'
        "cache_write = 6.25\ncache_write_1h = 10\n"
    )
    names = [each.name for each in answer_on(tmp_path, prices=prices).lifetimes]
    assert names == ["1 h"]


def test_five_minutes_save_the_dearer_writes_and_lose_the_reads_after_pauses(
    tmp_path: Path,
) -> None:
    long_writes(tmp_path, (0, 0, 10_000), (30, 10_000, 200), (31, 10_200, 200))
    option = option_named(answer_on(tmp_path), "5 min")
    # Only the second call came after more than 5 minutes: its 10,000 would have been written.
    assert (option.calls, option.tokens) == (1, 10_000)
    assert option.saved_usd == pytest.approx(-10_000 * (WRITE - READ))
    assert option.extra_usd == pytest.approx(-10_400 * (WRITE_1H - WRITE))


def test_without_prices_or_times_there_is_nothing_to_say_of_lifetimes(tmp_path: Path) -> None:
    session = Session(tmp_path, "s")
    for minute in (0, 30):
        session.ask("a" * 40, minute)
        session.answer("b", minute, uncached=0, read=0, write=10_000, model="nobody-knows-this-1")
    assert answer_on(tmp_path).lifetimes == ()


# --- hints ---


def test_the_best_lifetime_is_named_with_its_saving(tmp_path: Path) -> None:
    idle(tmp_path, 0, 30)
    hint = hint_on(answer_on(tmp_path), "expired")
    # Keeping alive takes 6 requests of 10,000 (1,740 s and before) and saves more than an hour's
    # lifetime, whose writes cost 10,200 * 3.75.
    alive = 10_000 * (WRITE - READ) - 6 * 10_000 * READ
    hour = 10_000 * (WRITE - READ) - 10_200 * (WRITE_1H - WRITE)
    assert alive > hour > 0
    assert hint.usd == pytest.approx(alive)
    assert "keep prefixes alive" in hint.action
    assert hint.evidence.startswith("prefixes were idle for 30 min; ")


def test_pauses_that_the_advice_does_not_reach_are_not_its_reason(tmp_path: Path) -> None:
    idle(tmp_path, 0, 30, 330)
    hint = hint_on(answer_on(tmp_path), "expired")
    assert "pauses of up to an hour" in hint.action
    assert hint.evidence.startswith("prefixes were idle for 30 min; ")
    assert (hint.calls, hint.tokens, hint.line) == (1, 10_000, 4)
    assert hint.path == str(tmp_path / "s.jsonl")


def test_dear_writes_that_no_pause_needs_are_a_hint(tmp_path: Path) -> None:
    long_writes(tmp_path, (0, 0, 10_000), (1, 10_000, 200))
    hint = hint_on(answer_on(tmp_path), "lifetime longer than needed")
    assert hint.usd == pytest.approx(10_200 * (WRITE_1H - WRITE))
    assert "5 min" in hint.action


def test_a_model_switch_is_priced_at_what_was_paid_again(tmp_path: Path) -> None:
    session = Session(tmp_path, "s")
    session.ask("a" * 40)
    session.answer("b" * 40, 0, uncached=0, read=0, write=10_000)
    session.ask("c" * 40, 1)
    session.answer(
        "d" * 40, 1, uncached=0, read=0, write=10_200, model="claude-sonnet-4-5-20250929"
    )
    hint = hint_on(answer_on(tmp_path), "model switch")
    assert hint.calls == 1
    # Sonnet 4.5 writes at 3.75 and reads at 0.30.
    assert hint.usd == pytest.approx(hint.tokens * (3.75 - 0.30) / 1e6)
    assert hint.line == 4


def test_one_off_prompts_should_not_be_written(tmp_path: Path) -> None:
    idle(tmp_path, 0, 120)
    hint = hint_on(answer_on(tmp_path), "written but never read")
    assert (hint.calls, hint.tokens) == (2, 20_200)
    assert hint.usd == pytest.approx(20_200 * (WRITE - IN))
    # The last write of a conversation that went on is no fault.
    (tmp_path / "s.jsonl").unlink()
    warm(tmp_path)
    assert all(each.cause != hint.cause for each in answer_on(tmp_path).hints)


def messages_log(folder: Path, calls: list[dict[str, Any]]) -> None:
    """Requests to the Messages API with usage: uncached, read, written."""
    with open(folder / "api.jsonl", "w") as log:
        for i, call in enumerate(calls):
            uncached, read, write = call.pop("usage")
            second = call.pop("second", i)
            response = {
                "id": f"msg_{i:04}",
                "type": "message",
                "role": "assistant",
                "model": OPUS,
                "content": [{"type": "text", "text": "Done."}],
                "stop_reason": "end_turn",
                "usage": {
                    "input_tokens": uncached,
                    "cache_read_input_tokens": read,
                    "cache_creation_input_tokens": write,
                    "output_tokens": 5,
                },
            }
            request = {"model": OPUS, "max_tokens": 100} | call
            record = {"timestamp": 1_790_000_000 + second, "session_id": "one"}
            log.write(json.dumps(record | {"request": request, "response": response}) + "\n")


def tool(name: str) -> dict[str, Any]:
    return {"name": name, "description": f"does {name} " * 200, "input_schema": {"type": "object"}}


@pytest.mark.parametrize(
    ("second", "cause"),
    [
        (["write", "read"], "tools reordered"),
        (["read", "search"], "tools changed"),
    ],
)
def test_tools_in_another_order_are_told_from_other_tools(
    tmp_path: Path, second: list[str], cause: str
) -> None:
    question = message("user", "What is in the file?")
    messages_log(
        tmp_path,
        [
            {"tools": [tool("read"), tool("write")], "messages": [question]}
            | {"usage": (0, 0, 8_000)},
            {"tools": [tool(each) for each in second], "messages": [question]}
            | {"usage": (0, 0, 8_000)},
        ],
    )
    hints = answer_on(tmp_path).hints
    (hint,) = [each for each in hints if each.cause.startswith("tools")]
    assert hint.cause == cause
    assert (hint.calls, hint.line) == (1, 2)
    assert hint.usd == pytest.approx(hint.tokens * (WRITE - READ))


RULES = "You answer questions about ships. Say what you know and nothing else. " * 400


def test_a_time_in_a_system_prompt_is_found_and_placed(tmp_path: Path) -> None:
    times = ("2026-10-01T10:00:00Z", "2026-10-01T11:30:00Z", "2026-10-02T09:00:00Z")
    systems = [f"You are a guide. The time is {time}. {RULES}" for time in times]
    size = len(reference_ids(systems[0]))
    messages_log(
        tmp_path,
        [
            {"system": system, "messages": [message("user", f"Question {i}?")]}
            | {"usage": (0, 0, size + 10)}
            for i, system in enumerate(systems)
        ],
    )
    answer = answer_on(tmp_path)
    hint = hint_on(answer, "volatile text")
    assert hint.calls == 2
    first, *_, last = (reference_ids(system) for system in systems)
    head = next(i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b)
    assert hint.evidence.startswith(
        f"at token {head} of 3 versions stands a time, such as 2026-10-0"
    )
    assert "a time out of the system prompt" in hint.action
    # Both later calls could have read as much as the call before them sent, size + 10; they could
    # have read head tokens and (the second, which has the day in common) a few more as it was.
    assert 2 * (size + 10 - head) - 8 <= hint.tokens <= 2 * (size + 10 - head)
    assert hint.usd == pytest.approx(hint.tokens * (WRITE - READ), rel=1e-3)
    # The generic cause does not repeat it.
    assert all(each.cause != "system prompt changed" for each in answer.hints)


def test_nothing_worth_less_than_half_a_cent_is_said(tmp_path: Path) -> None:
    session = Session(tmp_path, "s")
    for minute in (0, 30):
        session.ask("a" * 40, minute)
        session.answer("b" * 40, minute, uncached=0, read=0, write=500)
    assert answer_on(tmp_path).hints == ()


# --- one call explained ---


def test_an_expired_call_is_compared_with_the_call_that_used_its_prefix_last(
    tmp_path: Path,
) -> None:
    idle(tmp_path, 0, 30)
    found = explain(tmp_path, 1)
    assert (found.line, found.earlier_line, found.idle_s) == (4, 2, 1800.0)
    assert (found.input_tokens, found.read_tokens) == (10_200, 0)
    levels = dict(found.levels)
    assert [levels[each] for each in ("scoped", "alive", "realized")] == [10_000, 0, 0]
    assert ("expired", "inferred", 10_000) in found.causes
    assert sum(tokens for *_, tokens in found.causes) == levels["reusable"] - levels["realized"]
    # The second prompt holds the first call's answer, which its model did not store.
    assert [(each.kind, each.role, each.shared) for each in found.steps] == [
        ("unlogged", "system", True),
        ("text", "user", True),
        ("text", "assistant", True),
        ("text", "user", False),
    ]
    assert [each.tokens for each in found.steps][1::2] == [10_000, 10_200]
    assert [each.excerpt for each in found.steps] == [None, "a" * 40, "b" * 40, "a" * 40]
    assert found.shared_tokens == found.steps[2].tokens
    assert found.parts_at is None


def test_a_call_without_any_before_it_has_nothing_to_compare_with(tmp_path: Path) -> None:
    warm(tmp_path)
    found = explain(tmp_path, 0)
    assert (found.earlier_call_id, found.earlier_path, found.idle_s) == (None, None, None)
    assert (found.shared_tokens, found.parts_at) == (0, None)
    assert not any(each.shared for each in found.steps)


def test_where_two_requests_part_is_shown_to_the_token(tmp_path: Path) -> None:
    texts = ["Ships sail at dawn tomorrow.", "Ships sail at noon tomorrow."]
    chat(tmp_path, "log", [{"model": "gpt-5", "messages": [message("user", t)]} for t in texts])
    found = explain(tmp_path, 1)
    assert found.shared_tokens == len(reference_ids("Ships sail at"))
    assert found.parts_at == "Ships sail at  | dawn tomorrow. → noon tomorrow."
    # Nothing is known of reads, so no level below what the texts have in common is either.
    assert found.read_tokens is None
    reusable = len(reference_ids(texts[0]))
    assert found.levels == (("reusable", reusable), ("ideal", found.shared_tokens))
    assert found.causes == (("messages changed", "inferred", reusable - found.shared_tokens),)


def test_kept_text_is_quoted_without_the_log_and_nothing_is_without_both(tmp_path: Path) -> None:
    chat(tmp_path, "log", [{"model": "gpt-5", "messages": [message("user", "Hello ships.")]}])
    assert explain(tmp_path, 0, keep_text=True, gone=True).steps[0].excerpt == "Hello ships."
    chat(tmp_path, "log", [{"model": "gpt-5", "messages": [message("user", "Hello ships.")]}])
    found = explain(tmp_path, 0, gone=True)
    assert found.steps[0].excerpt is None
    assert found.parts_at is None


def test_long_paths_show_forty_segments_around_the_parting(tmp_path: Path) -> None:
    turns = [message(("user", "assistant")[i % 2], f"Part {i} of it.") for i in range(101)]
    other = [*turns[:50], message("user", "Something else."), *turns[51:]]
    chat(tmp_path, "log", [{"model": "gpt-5", "messages": each} for each in (turns, other)])
    found = explain(tmp_path, 1)
    assert [each.shared for each in found.steps] == [True] * 20 + [False] * 20
    assert found.steps[20].excerpt == "Something else."
    assert found.parts_at == " | Part 50 of it. → Something else."


def test_an_id_must_be_one_calls_own(tmp_path: Path) -> None:
    warm(tmp_path)
    with Store.open(MEMORY, encoding=DEFAULT_ENCODING) as store:
        ingest(store, [tmp_path], Options(DEFAULT_ENCODING))
        with pytest.raises(ForkpointError, match="no call id"):
            explain_call(store, [tmp_path], "xyz")
        with pytest.raises(ForkpointError, match="no call id"):
            explain_call(store, [tmp_path], "")
        with pytest.raises(ForkpointError, match="no call in these logs"):
            explain_call(store, [tmp_path], "0" * 32)
        ids = [row[0] for row in store.rows("SELECT call_id::VARCHAR FROM scope_calls")]
        assert explain_call(store, [tmp_path], ids[0].upper()).call_id == ids[0].replace("-", "")


def test_a_beginning_that_several_ids_have_says_how_many(tmp_path: Path) -> None:
    session = Session(tmp_path, "s")
    for i in range(17):
        session.ask(f"question {i}", i)
        session.answer("b", i, uncached=10, read=0, write=0)
    with Store.open(MEMORY, encoding=DEFAULT_ENCODING) as store:
        ingest(store, [tmp_path], Options(DEFAULT_ENCODING))
        build_cache(store, [tmp_path])
        digit, n = store.rows(
            "SELECT call_id::VARCHAR.left(1) AS digit, count(*) AS n FROM scope_calls "
            "GROUP BY digit ORDER BY n DESC LIMIT 1"
        )[0]
        assert n > 1  # 17 ids, 16 digits
        with pytest.raises(ForkpointError, match=f"{n} calls"):
            explain_call(store, [tmp_path], digit)


# --- what may be said of a text ---

SECRET = "q8Zr4Tx1Lm9Vb2Nc7Wd3Yf6Hj5Kp0"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"key: {SECRET}.", "key: ‹redacted›."),
        ("sha " + "0123456789abcdef" * 4, "sha ‹redacted›"),
        ("sk-ant-api03-" + SECRET, "‹redacted›"),
        ("task 3f2b8c1e-7d4a-4c3b-9a5e-112233445566", "task 3f2b8c1e-7d4a-4c3b-9a5e-112233445566"),
        ("/home/user/project/source/main.py", "/home/user/project/source/main.py"),
        ("internationalization_of_interfaces", "internationalization_of_interfaces"),
        ("at 2026-10-01T10:00:00.123456Z", "at 2026-10-01T10:00:00.123456Z"),
    ],
)
def test_keys_are_masked_and_names_are_not(text: str, shown: str) -> None:
    assert redacted(text) == shown


def test_an_excerpt_is_one_short_line() -> None:
    assert excerpt("  One\n\n two\t three ") == "One two three"
    assert excerpt("word " * 40) == ("word " * 12)[:59] + "…"
    assert SECRET[:10] not in excerpt("x" * 50 + " " + SECRET)


def test_a_parting_inside_a_key_shows_nothing_of_it() -> None:
    shown = parting(f"use {SECRET}AAA1 now", f"use {SECRET}BBB2 now")
    assert shown == "use  | ‹redacted› now → ‹redacted› now"
    short = parting("use q8Zr4Tx1 now", f"use {SECRET} now")
    assert short == "use  | ‹redacted› now → ‹redacted› now"


def test_a_parting_cuts_what_is_long_on_both_sides() -> None:
    shown = parting("x" * 100 + " y" + "z" * 100, "x" * 100 + " w" + "z" * 100)
    assert shown == f"…{'x' * 19}  | y{'z' * 38}… → w{'z' * 38}…"
    assert parting("same", "same") is None
    assert parting("same", "same and more") == "same | (nothing) →  and more"


@pytest.mark.parametrize(
    ("a", "b", "kind"),
    [
        ("10:30", "11:05", "a time"),
        ("2026-10-01", "2026-10-12", "a time"),
        ("March 3, 2026", "March 14, 2026", "a time"),
        ("Monday", "Tuesday", "a time"),
        ("1790000000", "1790000456", "a time"),
        ("3f2b8c1e-7d4a-4c3b-9a5e-112233445566", "3f2b8c1e-7d4a-4c3b-9a5e-112233445577", "an id"),
        ("run_a81bc99d", "run_b71bc99e", "an id"),
        ("17", "1842", "a number"),
    ],
)
def test_values_that_change_are_told_apart(a: str, b: str, kind: str) -> None:
    found = volatile_value(f"It is {a} and all is well.", f"It is {b} and all is well.")
    assert found is not None
    assert (found.kind, found.whole) == (kind, True)
    assert found.value == (a if len(a) <= 24 else a[:23] + "…")


def test_texts_that_differ_in_words_or_share_nothing_after_have_no_volatile_value() -> None:
    assert volatile_value("It is a cat and well.", "It is a dog and well.") is None
    assert volatile_value("Room 12", "Room 13") is None


def test_only_what_follows_alike_counts_as_shared() -> None:
    found = volatile_value("Room 12 is red.", "Room 15 is big.")
    assert found is not None
    # They part at the second digit; of the nine characters from there, " is " follows in both.
    assert (found.shared_after, found.whole) == (4 / 9, False)

"""``forkpoint cache``: what it shows, to people and to scripts."""

from __future__ import annotations

import io
import json
import re
from dataclasses import fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import typer
from built_answers import HOSTILE, TEXTS, a_provenance, worst_calls
from shown_answers import Run, fits, shows_markup

from forkpoint.analysis.results import (
    Cache,
    CacheAnswer,
    Conventions,
    Explanation,
    Hint,
    LifetimeOption,
    MissCause,
    NetValue,
    PathStep,
    WaterfallStep,
)
from forkpoint.cli.cache import parse_call_id, write_cache, write_explanation
from forkpoint.cli.options import PlainFormat

pytestmark = pytest.mark.usefixtures("no_terminal")


def an_answer(text: str | None = None) -> CacheAnswer:
    """An answer as analysis gives it; `text` takes the place of every text that logs decide."""
    path = text or "/logs/app"
    return CacheAnswer(
        cache=Cache(
            hit_rate=0.954053,
            cache_read_share=0.947527,
            ideal_hit_rate=0.98912,
            policy_hit_rate=0.9721,
            waterfall=(
                WaterfallStep("input", 1_000_000, None),
                WaterfallStep("never sent before", -50_000, None),
                WaterfallStep("beginning changed", -7_000, -0.04),
                WaterfallStep("ideal", 943_000, None),
                WaterfallStep("expired", -80_000, -0.4),
                WaterfallStep("policy", 863_000, None),
                WaterfallStep("below policy", -3_000, None),
                WaterfallStep("realized", 860_000, None),
            ),
            misses_by_cause=(
                MissCause("tools changed", "provider", 1, 7_000, 0.04),
                MissCause("expired", "inferred", 14, 80_000, 0.4),
                MissCause("evicted or unknown", "inferred", 2, 3_000, None),
            ),
            unknown_share=0.0361,
            ideal_tokens=943_000,
            input_tokens=1_000_000,
            read_tokens=860_000,
            missed_tokens=83_000,
            missed_usd=0.44,
            provider_exceeds_calls=3,
            shrunk_calls=0,
            unsized_calls=4,
            worst_calls=worst_calls(
                text, "{0}c68140a{0}c68140a{0}c68140a{0}c68140a", 39_600, 0.2659
            ),
            calibrations=(),
            evidence={"text and usage": 40},
            reported_evidence={"text and usage": 40},
            reported_ideal_hit_rate=0.98912,
            unreported_calls=0,
            unreported_ideal_tokens=0,
        ),
        conventions=Conventions(0.954053, 0.9311, 0.975, 0.9605, 0.947527),
        net=NetValue(213.584, 4.106, 209.478, 30_123, 0.1234),
        lifetimes=(
            LifetimeOption("5 min", 12, -123_456, -4.1, -1.2, -2.9),
            LifetimeOption("1 h", 9, 1_234_567, 3.1, 1.2, 1.9),
        ),
        hints=tuple(
            Hint(
                action=text or f"do thing {n}",
                cause="expired",
                calls=9,
                tokens=80_000 - n,
                usd=2.1 if n == 0 else None,
                evidence=text or "9 of 11 pauses are shorter than 1 h",
                path=f"{path}/session-{n}.jsonl",
                line=12,
            )
            for n in range(3)
        ),
        rules="built-in, 2026-11-01",
        provenance=a_provenance(text),
    )


def an_explanation(text: str | None = None) -> Explanation:
    path = text or "/logs/app"
    return Explanation(
        call_id="40c68140" * 4,
        path=f"{path}/session.jsonl",
        line=308,
        model=text or "claude-opus-4-7",
        started_at=datetime(2026, 7, 1, 9, 30, tzinfo=UTC),
        input_tokens=100_000,
        read_tokens=4_000,
        levels=(("reusable", 95_000), ("ideal", 91_146), ("alive", 4_000), ("realized", 4_000)),
        causes=(("expired", "inferred", 87_146), ("tools changed", "provider", 3_854)),
        earlier_call_id="ab" * 16,
        earlier_path=f"{path}/session.jsonl",
        earlier_line=290,
        idle_s=3900.0,
        shared_tokens=91_146,
        steps=(
            PathStep("text", "system", 3_000, True, text or "You are careful."),
            PathStep("tool_result", "user", 91_300, False, text or "ok: 3 files"),
        ),
        parts_at=text or "- ok: 2 files\n+ ok: 3 files",
    )


def table(answer: CacheAnswer, *, top: int = 10, store: str | None = None) -> str:
    out = io.StringIO()
    write_cache(answer, PlainFormat.TABLE, out, top=top, store=store)
    return out.getvalue()


def document(answer: CacheAnswer, *, top: int = 10) -> Any:
    out = io.StringIO()
    write_cache(answer, PlainFormat.JSON, out, top=top)
    return json.loads(out.getvalue())


def explained(found: Explanation, form: PlainFormat = PlainFormat.TABLE) -> str:
    out = io.StringIO()
    write_explanation(found, form, out)
    return out.getvalue()


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("width", [40, 60, 80, 100, 120])
def test_no_line_is_wider_than_the_terminal(
    width: int, text: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    for shown in (table(an_answer(text)), explained(an_explanation(text))):
        fits(shown, width)


def test_markup_in_a_log_is_shown_as_it_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    text = "[red]x[/red][link=http://a]"
    for shown in (table(an_answer(text)), explained(an_explanation(text))):
        shows_markup(shown, text)


def test_reported_and_computed_hit_rates_stand_apart_and_say_what_they_divide() -> None:
    shown = " ".join(table(an_answer()).split())
    asked = [
        "as providers report their reads",
        "95.4 % cache reads / input tokens (the hit rate)",
        "93.1 % the same of each call, mean over calls",
        "97.5 % calls that read anything / calls",
        "96.0 % cache reads / input tokens, later half of the calls",
        "94.8 % cache reads / all tokens, input and output",
        "What could be, computed from text and usage",
        "98.9 % ideal",
        "97.2 % policy",
    ]
    places = [shown.index(each) for each in asked]
    assert places == sorted(places)


def test_rates_that_logs_do_not_state_are_said_to_be_missing() -> None:
    answer = an_answer()
    silent = replace(
        answer,
        conventions=Conventions(None, None, None, None, None),
        net=None,
        cache=replace(answer.cache, hit_rate=None, policy_hit_rate=None, unreported_calls=40),
    )
    shown = table(silent)
    assert "cache reads are not in these logs" in shown
    assert "policy: what" not in shown
    assert not re.search("^(Policy|Realized)", shown, re.MULTILINE)
    assert "40 calls whose logs state no cache reads" in shown
    assert "Net value" not in shown


def test_each_level_of_the_waterfall_is_the_one_before_less_the_losses_between() -> None:
    block = table(an_answer()).split("From all input to what was read")[1].split("\n\n")[0]
    amounts: list[tuple[bool, int]] = []
    for line in block.splitlines()[1:]:
        found = re.search(r"-?\d[\d,]*(?=$|  )", line)
        assert found, line
        amounts.append((line.startswith("    "), int(found[0].replace(",", ""))))
    total = amounts[0][1]
    for is_loss, n in amounts[1:]:
        if is_loss:
            assert n < 0
            total += n
        else:
            assert n == total
    assert [is_loss for is_loss, _ in amounts].count(False) == 4


def test_causes_come_dearest_first_with_who_says_so() -> None:
    shown = table(an_answer())
    rows = re.findall(
        r"^  (\S.*?) +([\d,]+) +([\d,]+) +(\S+) +(provider|inferred)$", shown, re.MULTILINE
    )
    assert rows == [
        ("expired", "14", "80,000", "$0.4000", "inferred"),
        ("tools changed", "1", "7,000", "$0.04000", "provider"),
        ("evicted or unknown", "2", "3,000", "–", "inferred"),
    ]


def test_where_there_is_no_room_for_sources_the_provider_is_still_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    assert "  tools changed (provider) " in table(an_answer())


def test_the_share_without_a_cause_is_said_in_words() -> None:
    answer = an_answer()
    assert "between ideal and realized, 3.6 % have no known cause" in table(answer)
    named = replace(answer, cache=replace(answer.cache, unknown_share=0.0))
    assert "Every token between ideal and realized has a named cause" in table(named)
    assert "7.0 k lie above ideal" in table(answer)


def test_the_worst_calls_lead_to_the_command_that_explains_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    shown = table(an_answer(), store="my store.duckdb")
    assert re.search(
        r"^  1c68140a +\$0.1330 +39.6 k +7 min +claude-opus-4-7 +tools changed "
        r"+/logs/app/session-1.jsonl:101$",
        shown,
        re.MULTILINE,
    )
    next_line = shown.splitlines()[-1]
    assert "forkpoint cache /logs/app --explain 0c68140a --store 'my store.duckdb'" in next_line


def test_top_bounds_calls_and_hints_in_every_format() -> None:
    shown = table(an_answer(), top=2)
    assert "session-1.jsonl:101" in shown
    assert "session-2.jsonl" not in shown
    assert "  2. Do thing 1" in shown
    assert "Do thing 2" not in shown
    found = document(an_answer(), top=2)
    assert (len(found["worst_calls"]), len(found["hints"])) == (2, 2)
    assert len(found["misses_by_cause"]) == 3


def test_net_value_shows_what_was_paid_extra_as_a_loss() -> None:
    shown = " ".join(table(an_answer()).split())
    assert "not the input price $213.58 paid extra" in shown
    assert "-$4.11 net gain of caching $209.48" in shown
    assert "never read again within its lifetime: 30.1 k tokens, $0.1234" in shown


def test_caching_that_lost_money_says_so() -> None:
    answer = an_answer()
    lost = replace(answer, net=NetValue(1.0, 3.0, -2.0, 0, 0.0))
    shown = " ".join(table(lost).split())
    assert "net loss: writes cost more than that -$2.00" in shown
    assert "all that was written was read again" in shown


def test_other_lifetimes_show_losses_as_losses() -> None:
    shown = table(an_answer())
    assert re.search(r"^  5 min +12 +-123.5 k +-\$4.10 +-\$1.20 +-\$2.90$", shown, re.MULTILINE)
    assert re.search(r"^  1 h +9 +1.2 M +\$3.10 +\$1.20 +\$1.90$", shown, re.MULTILINE)


def test_a_hint_names_its_worth_its_evidence_and_its_place() -> None:
    shown = " ".join(table(an_answer()).split())
    assert (
        "1. Do thing 0 saves $2.10 · 9 calls · 80.0 k tokens · expired · "
        "9 of 11 pauses are shorter than 1 h /logs/app/session-0.jsonl:12"
    ) in shown
    assert "2. Do thing 1 9 calls" in shown


def test_logs_without_calls_are_said_to_have_none() -> None:
    answer = an_answer()
    cache = replace(answer.cache, evidence={}, waterfall=(), misses_by_cause=(), worst_calls=())
    assert table(replace(answer, cache=cache)) == "No model calls found in /logs/app\n"


def test_json_has_all_fields_under_their_names() -> None:
    found = document(an_answer())
    assert found["format"] == 1
    assert {each.name for each in fields(Cache)} <= set(found)
    assert {"conventions", "net", "lifetimes", "hints", "rules", "provenance"} <= set(found)
    assert found["conventions"]["macro"] == 0.9311
    assert found["net"]["unread_write_tokens"] == 30_123
    assert found["lifetimes"][0]["name"] == "5 min"
    assert found["waterfall"][0] == {"step": "input", "tokens": 1_000_000, "usd": None}
    assert set(found["misses_by_cause"][0]) == {"cause", "source", "calls", "tokens", "usd"}
    assert document(replace(an_answer(), net=None))["net"] is None


def test_hostile_text_is_exact_in_json() -> None:
    assert document(an_answer(HOSTILE))["hints"][0]["action"] == HOSTILE
    found = json.loads(explained(an_explanation(HOSTILE), PlainFormat.JSON))
    assert found["parts_at"] == HOSTILE
    assert found["steps"][0]["excerpt"] == HOSTILE


def test_an_explanation_goes_from_the_call_to_where_prompts_part() -> None:
    shown = " ".join(explained(an_explanation()).split())
    asked = [
        "Call " + "40c68140" * 4,
        "/logs/app/session.jsonl:308",
        "100,000 input tokens · 4,000 read from cache (provider-reported)",
        "ideal: the beginning that an earlier call sent or got 91,146 -3,854",
        "alive: used within the cache's lifetime 4,000 -87,146",
        "expired 87,146 shorter pauses, or keep it alive",
        "tools changed (provider) 3,854",
        "call abababab · 91,146 tokens shared · 1 h 5 min before",
        "/logs/app/session.jsonl:290",
        "3,000 shared system text You are careful.",
        "91,300 new user tool_result ok: 3 files",
        "- ok: 2 files + ok: 3 files",
    ]
    places = [shown.index(each) for each in asked]
    assert places == sorted(places)


def test_a_long_prompt_is_shown_around_the_place_where_it_parts() -> None:
    steps = tuple(PathStep("text", "user", 10 * n, n < 25, f"step {n}.") for n in range(40))
    shown = explained(replace(an_explanation(), steps=steps))
    assert re.findall(r"step (\d+)\.", shown) == [str(n) for n in range(15, 30)]
    assert "… 15 before" in shown
    assert "… 10 after" in shown
    found = json.loads(explained(replace(an_explanation(), steps=steps), PlainFormat.JSON))
    assert len(found["steps"]) == 40


def test_an_explanation_says_what_it_cannot_know() -> None:
    bare = replace(
        an_explanation(),
        read_tokens=None,
        started_at=None,
        model=None,
        causes=(),
        earlier_call_id=None,
        earlier_path=None,
        earlier_line=None,
        idle_s=None,
        steps=(),
        parts_at=None,
    )
    shown = explained(bare)
    assert "cache reads are not in this log" in shown
    assert "What it lost is unknown" in shown
    assert "model not logged · time not logged" in shown
    assert "No earlier call begins like this one" in shown
    assert "Nothing was lost" in explained(replace(bare, read_tokens=4_000))


def test_json_of_an_explanation_names_levels_and_causes() -> None:
    found = json.loads(explained(an_explanation(), PlainFormat.JSON))
    assert found["levels"][0] == {"level": "reusable", "tokens": 95_000}
    assert found["causes"][1] == {"cause": "tools changed", "source": "provider", "tokens": 3_854}
    assert found["started_at"] == "2026-07-01T09:30:00Z"


@pytest.mark.parametrize("text", ["", "xyz", "40c68140; DROP", "0" * 33, "%", "４"])
def test_what_is_no_call_id_is_wrong_usage(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="no call id"):
        parse_call_id(text)


def a_session(pause_s: int) -> str:
    """Two calls of one Claude Code session; the second finds nothing in the cache."""
    lines: list[str] = []
    for n in range(2):
        when = datetime.fromtimestamp(1_782_896_400 + n * pause_s, UTC).isoformat()
        common = {"sessionId": "s1", "version": "2.1.0", "cwd": "/app", "isSidechain": False}
        parent = None if n == 0 else f"a{n - 1}"
        asked = common | {
            "type": "user",
            "uuid": f"u{n}",
            "parentUuid": parent,
            "timestamp": when,
            "message": {"role": "user", "content": f"question {n} " * 3000},
        }
        usage = {
            "input_tokens": 10,
            "cache_read_input_tokens": 0,
            "cache_creation_input_tokens": 20_000 * (n + 1),
            "output_tokens": 100,
        }
        answered = common | {
            "type": "assistant",
            "uuid": f"a{n}",
            "parentUuid": f"u{n}",
            "requestId": f"req_{n}",
            "timestamp": when,
            "message": {
                "id": f"msg_{n}",
                "type": "message",
                "role": "assistant",
                "model": "claude-opus-4-5-20251101",
                "content": [{"type": "text", "text": f"answer {n}"}],
                "usage": usage,
            },
        }
        lines += [json.dumps(asked), json.dumps(answered)]
    return "\n".join(lines) + "\n"


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    folder = tmp_path / "logs"
    folder.mkdir()
    (folder / "session.jsonl").write_text(a_session(pause_s=1200))
    return folder


def test_a_pause_longer_than_the_lifetime_is_shown_as_expired(run: Run, logs: Path) -> None:
    result = run("cache", logs)
    assert result.exit_code == 0, result.output
    assert re.search(r"^  expired +1 +[\d,]+ +\$", result.stdout, re.MULTILINE)
    assert result.stderr == ""


def test_the_call_that_the_table_proposes_can_be_explained(run: Run, logs: Path) -> None:
    shown = run("cache", logs).stdout
    proposed = re.search(r"--explain ([0-9a-f]{8})\b", shown)
    assert proposed
    result = run("cache", logs, "--explain", proposed[1])
    assert result.exit_code == 0, result.output
    assert f"Call {proposed[1]}" in result.stdout
    assert "20 min before" in result.stdout
    found = json.loads(run("cache", logs, "--explain", proposed[1], "--format", "json").stdout)
    assert found["call_id"].startswith(proposed[1])
    assert found["idle_s"] == 1200


def test_own_rules_change_the_answer(run: Run, logs: Path, tmp_path: Path) -> None:
    rules = tmp_path / "rules.toml"
    rules.write_text('[[rule]]\nmodels = ["*"]\nminimum_tokens = 1024\ndefault_ttl_s = 86400\n')
    result = run("cache", logs, "--rules", rules, "--format", "json")
    assert result.exit_code == 0, result.output
    causes = {each["cause"] for each in json.loads(result.stdout)["misses_by_cause"]}
    assert causes
    assert "expired" not in causes
    again = json.loads(run("report", logs, "--rules", rules, "--format", "json").stdout)
    assert "expired" not in {each["cause"] for each in again["cache"]["misses_by_cause"]}


@pytest.mark.parametrize("command", ["report", "cache"])
def test_rules_that_are_not_there_are_one_error(run: Run, logs: Path, command: str) -> None:
    result = run(command, logs, "--rules", "none.toml")
    assert result.exit_code == 1
    assert result.stderr == "forkpoint: error: none.toml: no such file\n"


def test_a_call_that_is_not_there_is_one_error(run: Run, logs: Path) -> None:
    result = run("cache", logs, "--explain", "0" * 32)
    assert result.exit_code == 1
    assert result.stderr.startswith("forkpoint: error: ")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "args", [["--explain", "no id"], ["--top", "0"], ["--format", "csv"], ["--until", "moon"]]
)
def test_wrong_usage_of_cache_is_exit_code_2(run: Run, logs: Path, args: list[str]) -> None:
    assert run("cache", logs, *args).exit_code == 2


def test_cache_has_help_with_examples(run: Run) -> None:
    shown = run("cache", "--help").stdout
    assert "  forkpoint cache runs/ --explain" in shown
    assert "--rules" in shown


def test_without_any_logs_cache_says_where_it_looked(run: Run) -> None:
    assert "No agent logs on this machine" in run("cache").stdout
    found = json.loads(run("cache", "--format", "json").stdout)
    assert found["hit_rate"] is None
    assert found["waterfall"] == []

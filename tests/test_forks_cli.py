"""``forkpoint forks``: what it shows, to people and to scripts; and entropy in the report."""

from __future__ import annotations

import io
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from built_answers import HOSTILE, TEXTS, a_provenance, an_entropy
from golden_files import matches_golden
from rich.cells import cell_len
from shown_answers import Run, fits, names_all_fields, shown_json, shows_markup

from forkpoint.analysis.entropy import (
    Agreement,
    Patches,
)
from forkpoint.analysis.entropy_results import (
    ScoredModel,
)
from forkpoint.analysis.fork_results import (
    DepthBand,
    ForkBranch,
    ForksAnswer,
    GroupFork,
    GroupForkSummary,
)
from forkpoint.analysis.results import Branch, Fork
from forkpoint.cli.forks import high_entropy, write_forks
from forkpoint.cli.options import PlainFormat

pytestmark = pytest.mark.usefixtures("no_terminal")


def a_fork(text: str | None = None, **changes: Any) -> GroupFork:
    path = text or "/logs/app/run.jsonl"
    fork = GroupFork(
        group=text or "app/task-0",
        depth_tokens=612,
        generated_tokens=100,
        rollouts=8,
        fan_out=6,
        by="model",
        branching_entropy_nats=1.66,
        plug_in_nats=1.55,
        unseen_mass=0.5,
        value=0.5,
        contrast=1.0,
        p_value=0.0286,
        branches=(
            ForkBranch(3, 1.0, 0.5, text or "assistant: Let us add.", path, 12, text or "r1"),
            ForkBranch(1, 0.0, -0.5, "", path, 14, "r2"),
            ForkBranch(1, None, None, None, path, 15, "r3"),
            ForkBranch(1, 0.25, -0.25, "#1 #2 #3", path, 16, "r4"),
            ForkBranch(1, 0.25, -0.25, "not shown", path, 17, "r5"),
        ),
    )
    return replace(fork, **changes)


def an_answer(text: str | None = None) -> ForksAnswer:
    path = text or "/logs/app/run.jsonl"
    return ForksAnswer(
        fork_points=23,
        prompt_forks=(
            Fork(
                node="00" * 16,
                trunk_tokens=1_240,
                head_tokens=17,
                fan_out=2,
                calls=40,
                shared_tokens=1_240,
                ends_with="system",
                branches=(
                    Branch(text or "text", "user", 20, path, 1),
                    Branch("text", "user", 20, path, 88),
                ),
            ),
            Fork("01" * 16, 0, 0, 2, 50, 0, "", ()),
        ),
        rollout_forks=GroupForkSummary(
            groups=6,
            forks=134,
            by_model=100,
            by_environment=34,
            decisive=57,
            mean_fan_out=2.119,
            mean_branching_entropy_nats=1.329,
            bands=(
                DepthBand(0.0, 0.25, 90, 2.5, 0.45, 1.2),
                DepthBand(0.25, 0.5, 44, 1.2, 0.3, 1.6),
                DepthBand(0.5, 0.75, 0, None, None, None),
                DepthBand(0.75, 1.0, 0, None, None, None),
            ),
            shared_generated_tokens=2_480,
            conflict_tokens=630,
        ),
        top_rollout_forks=(
            a_fork(text),
            a_fork(text, by="environment", p_value=None, contrast=None, fan_out=5),
        ),
        entropy=an_entropy(text),
        provenance=a_provenance(text, price_book=None, dated=False),
    )


def table(answer: ForksAnswer, *, store: str | None = None) -> str:
    out = io.StringIO()
    write_forks(answer, PlainFormat.TABLE, out, store=store)
    return out.getvalue()


def document(answer: ForksAnswer) -> Any:
    out = io.StringIO()
    write_forks(answer, PlainFormat.JSON, out)
    return json.loads(out.getvalue())


def words(text: str) -> str:
    """The words of a text, wherever its lines break."""
    return " ".join(text.replace("·", " ").split())


@pytest.mark.parametrize("width", [60, 80, 100])
def test_the_screen_is_as_its_golden_file_says(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    matches_golden(table(an_answer()), f"forks-{width}.txt")


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("width", [40, 60, 80, 100, 140])
def test_no_line_is_wider_than_the_terminal(
    width: int, text: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    fits(table(an_answer(text)), width)


def test_markup_in_a_log_is_shown_as_it_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "140")
    text = "[red]x[/red][link=a]"
    shows_markup(table(an_answer(text)), text)


def test_the_screen_answers_in_order() -> None:
    shown = words(table(an_answer()))
    asked = [
        "134 in 6 groups of rollouts",
        "a tool or a user, not the model, made 34 of them",
        "at 57 the ways differ in mean reward",
        "2.12 ways on average",
        "branching entropy 1.33 nats (how evenly rollouts spread, corrected for ways not seen)",
        "2.5 k that two or more rollouts generated · 630 of them (25.4 %) lie on better and on worse",
        "0–25 % 90 2.5 0.45 1.20 nats",
        "25–50 % 44 1.2 0.3 1.60 nats",
        "contrast: the best way's mean reward less the worst's",
        "1. app/task-0 · after 612 tokens (100 generated) · 8 rollouts go 6 ways",
        "branching entropy 1.66 nats · contrast 1 (by luck alone: 2.9 % of cases)",
        "rollouts reward goes on 3 1 assistant: Let us add.",
        "1 0 (ends here)",
        "1 – /logs/app/run.jsonl:15",
        "1 0.25 #1 #2 #3",
        "… 2 more ways with 2 rollouts",
        "2. app/task-0",
        "a tool or a user parts them",
        "… 1 more way with 2 rollouts",
        "Prompt forks 23 places where prompts that begin alike part",
        "1.2 k 2 40",
        "how unsure the model was at 10,000 tokens of 48 completions, in nats (0: sure",
        "known whole: 4,000",
        "between bounds, from the likeliest tokens: 5,000",
        "from the sampled token alone: 1,000",
        "12 tokens without a logprob left out",
        "vocabulary of house-7b not known, 262,208 assumed",
        "mean entropy 0.31 to 0.46 nats · mean surprisal of the sampled tokens 0.39 nats",
        "the top 20 % of all tokens here: from 0.88 nats on (for certain 0.70 to 1.25)",
        "1,500 (15.0 %) are fork tokens · 7,500 (75.0 %) are not",
        "1,000 (10.0 %) undecided",
        "the top 20 % carry 81.2 % of all entropy",
        "“ so” 17 of 52 times · “#253” 12 of 52 (#: its number in the vocabulary)",
        "completions of one prompt part at 18 of 63 places (28.6 %)",
        "at 75.0 % of the 12 places of high entropy (precision)",
        "50.0 % of the partings are of high entropy (recall)",
        "0.9 0.7 0.5 0.4 – 0.3 0.3 0.3 0.2 0.1 nats, mean by tenths of a completion",
        "3.53 nats over 64 tokens from token 1,024 on · /logs/app/run.jsonl:46",
        "10 of 50 steps of high entropy",
        "40.0 % of them right after another · at most 3 in a row",
        "0 % to 12.5 %: 0.61 nats · 50.0 %: 0.42 nats · lowest between easy and hard (U-shaped)",
        "“ so0” 4.72 nats, 2.6 deviations below (run.jsonl:8)",
        "“ so1” 4.72 nats, 2.4 deviations above (run.jsonl:9)",
        "14 tokens sampled at a probability of 1 in 12,048 or less",
        "14.3 % of them on rollouts better than their group's mean",
        "310 bits in a completion",
        "15.3 in order, 20.5 if it takes sure tokens only",
        "Next: forkpoint rollouts /logs/app",
        "forkpoint prefixes /logs/app",
    ]
    places = [shown.index(words(each)) for each in asked]
    assert places == sorted(places)
    assert "Not shown" not in shown


def test_forks_without_rewards_show_none() -> None:
    answer = an_answer()
    assert answer.rollout_forks is not None
    bands = tuple(replace(band, mean_contrast=None) for band in answer.rollout_forks.bands)
    fork = a_fork(
        contrast=None,
        p_value=None,
        branches=tuple(replace(branch, value=None) for branch in a_fork().branches),
    )
    bare = replace(
        answer,
        rollout_forks=replace(answer.rollout_forks, bands=bands, decisive=0, conflict_tokens=0),
        top_rollout_forks=(fork,),
        entropy=None,
    )
    shown = table(bare)
    assert "Where most rollouts part" in shown
    for absent in ("contrast", "reward", "by luck", "better"):
        assert absent not in shown
    assert "Entropy         not known: needs logprobs in the log" in shown


def test_who_made_a_fork_is_left_open_where_the_log_does_not_tell() -> None:
    answer = an_answer()
    assert answer.rollout_forks is not None
    summary = replace(answer.rollout_forks, by_environment=30)
    shown = words(table(replace(answer, rollout_forks=summary, top_rollout_forks=())))
    assert words("made 30 of them · who made 4 of them the log does not tell") in shown
    fork = a_fork(by="unknown")
    shown = words(table(replace(answer, top_rollout_forks=(fork,))))
    assert "the log does not tell who parts them" in shown
    assert "a tool or a user parts them" not in shown


def test_groups_that_never_part_are_said_to_be_one() -> None:
    answer = an_answer()
    assert answer.rollout_forks is not None
    none = replace(answer.rollout_forks, forks=0, by_model=0, by_environment=0, mean_fan_out=None)
    shown = table(replace(answer, rollout_forks=none, top_rollout_forks=()))
    assert "none: in 6 groups, no two rollouts part" in shown


def test_a_threshold_of_the_users_is_called_so() -> None:
    own = replace(an_entropy(), threshold_is_absolute=True, threshold_nats=0.672)
    shown = words(table(replace(an_answer(), entropy=own)))
    assert "from 0.672 nats on, as asked" in shown
    assert "the top 20 % of all tokens here" not in shown


def test_exact_entropies_have_no_bounds_and_nothing_undecided() -> None:
    exact = replace(
        an_entropy(),
        tokens=4_000,
        unknown_tokens=0,
        top_k_tokens=0,
        sampled_only_tokens=0,
        threshold_low_nats=0.8812,
        threshold_high_nats=0.8812,
        fork=800,
        not_fork=3_200,
        undecided=0,
        mean_upper_nats=0.31,
        models=(ScoredModel("llama", 4_000, 128_256, True),),
        patches=Patches(812, 812, 812, 4.93, 61),
    )
    shown = words(table(replace(an_answer(), entropy=exact)))
    assert "a toss-up) known whole A token mean entropy 0.31 nats" in shown
    for absent in ("for certain", "undecided", "bounds", "assumed", "left out"):
        assert absent not in shown


def test_what_a_log_cannot_tell_is_one_line_with_what_it_needs() -> None:
    less = replace(
        an_entropy(),
        runs=None,
        difficulty=None,
        agreement=None,
        decisive=None,
        sparks=None,
        windows=(),
        fork_tokens=(),
        top_mass_share=None,
        mean_bits=None,
        profile_nats=(None,) * 10,
    )
    shown = table(replace(an_answer(), entropy=less))
    for absent in (
        "Siblings",
        "Steps",
        "Difficulty",
        "Decisive",
        "Unlikely",
        "Fork tokens",
        "Along",
    ):
        assert f"\n{absent}" not in shown
    listed = words(shown.partition("Not shown")[2])
    for what in ("siblings part", "steps in a row", "difficulty", "decisive tokens"):
        assert what in listed


def test_siblings_where_none_is_unsure_have_no_precision() -> None:
    found = replace(an_entropy(), agreement=Agreement(63, 0, 18, 0))
    shown = words(table(replace(an_answer(), entropy=found)))
    assert "none of these places is of high entropy" in shown


def test_logs_without_forks_are_said_to_have_none() -> None:
    nothing = replace(
        an_answer(),
        fork_points=0,
        prompt_forks=(),
        rollout_forks=None,
        top_rollout_forks=(),
        entropy=None,
    )
    shown = table(nothing)
    assert shown.startswith("No two prompts or rollouts part in /logs/app\n")
    assert "needs logprobs" in shown
    assert "Next: forkpoint report /logs/app" in shown


def test_json_has_all_fields_under_their_names() -> None:
    found = document(an_answer())
    assert (found["format"], found["forkpoint"]) == (1, "0.0.0")
    names_all_fields(an_answer(), found)
    assert found["entropy"]["runs"]["lengths"] == {"1": 4, "3": 2}
    assert found["entropy"]["runs"]["consecutive_share"] == 0.4
    assert found["entropy"]["agreement"]["precision"] == 0.75
    assert found["entropy"]["agreement"]["lift"] == 2.625
    assert document(replace(an_answer(), entropy=None))["entropy"] is None


def test_hostile_text_is_exact_in_json() -> None:
    found = document(an_answer(HOSTILE))
    assert found["top_rollout_forks"][0]["branches"][0]["begins"] == HOSTILE
    assert found["entropy"]["fork_tokens"][0]["token"] == HOSTILE


@pytest.mark.parametrize("nats", [float("nan"), float("inf")])
def test_a_threshold_must_be_a_number(nats: float) -> None:
    with pytest.raises(typer.BadParameter):
        high_entropy(nats, None)


@pytest.mark.parametrize("share", [0.0, 1.0, -0.2, float("nan")])
def test_a_top_share_lies_between_0_and_1(share: float) -> None:
    with pytest.raises(typer.BadParameter):
        high_entropy(None, share)


def test_the_one_fork_that_decides_comes_first(run: Run, sample_logs: Path) -> None:
    result = run("forks", sample_logs / "token-ids", "--top", "1")
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    shown = words(result.stdout)
    assert "1. smollm2-rollouts-capital after 105 tokens (5 generated) 8 rollouts go 2" in shown
    assert "4 0 Sydney. The answer is Sydney. 4 1 Canberra. The answer is Canberra." in shown
    assert "by luck alone: 2.9 % of cases" in shown
    assert " 2. " not in shown


def test_a_threshold_reaches_the_analysis(run: Run, sample_logs: Path) -> None:
    folder = sample_logs / "token-ids"
    asked = ("forks", folder, "--format", "json", "--threshold")
    low, high = (shown_json(run(*asked, nats))["entropy"] for nats in ("0.1", "5"))
    assert low["threshold_is_absolute"]
    assert (low["threshold_nats"], high["threshold_nats"]) == (0.1, 5.0)
    assert low["fork"] > high["fork"] > 0
    assert low["fork"] + low["not_fork"] + low["undecided"] == low["tokens"]


def test_a_top_share_reaches_the_analysis(run: Run, sample_logs: Path) -> None:
    log = sample_logs / "token-ids" / "smollm2.jsonl"
    records = [json.loads(line) for line in log.read_text().splitlines()]
    entropies = np.concatenate([record["entropies"] for record in records])
    found = shown_json(run("forks", log, "--format", "json", "--top-share", "0.05"))["entropy"]
    assert not found["threshold_is_absolute"]
    assert found["top_share"] == 0.05
    assert found["threshold_nats"] == pytest.approx(np.quantile(entropies, 0.95))
    assert found["fork"] == (entropies >= found["threshold_nats"]).sum()
    best = np.sort(entropies)[::-1][: round(0.05 * len(entropies))]
    assert found["top_mass_share"] == pytest.approx(best.sum() / entropies.sum(), abs=0.01)
    assert "top 5" in words(run("forks", log, "--top-share", "0.05").stdout)


def test_a_log_without_logprobs_says_that_it_needs_them(run: Run, sample_logs: Path) -> None:
    shown = run("forks", sample_logs / "tau-bench").stdout
    assert "a tool or a user, not the model, made 4 of them" in words(shown)
    assert "needs logprobs in the log" in shown
    assert (
        shown_json(run("forks", sample_logs / "tau-bench", "--format", "json"))["entropy"] is None
    )


@pytest.mark.parametrize(
    "args",
    [
        ["--threshold", "-1"],
        ["--threshold", "nan"],
        ["--threshold", "inf"],
        ["--threshold", "much"],
        ["--threshold", "1", "--top-share", "0.1"],
        ["--top-share", "1"],
        ["--top", "0"],
        ["--format", "csv"],
        ["--until", "moon"],
    ],
)
def test_wrong_usage_of_forks_is_exit_code_2(run: Run, args: list[str], tmp_path: Path) -> None:
    result = run("forks", tmp_path, *args)
    assert result.exit_code == 2
    assert result.stdout == ""


def test_forks_has_help_with_examples(run: Run) -> None:
    shown = run("forks", "--help").stdout
    assert "  forkpoint forks runs/ --threshold" in shown
    assert "forks" in run("--help").stdout


def test_without_any_logs_forks_says_where_it_looked(run: Run) -> None:
    assert "No agent logs on this machine" in run("forks").stdout
    found = shown_json(run("forks", "--format", "json"))
    assert (found["fork_points"], found["rollout_forks"], found["entropy"]) == (0, None, None)


def test_two_runs_print_the_same_bytes(run: Run, sample_logs: Path) -> None:
    for form in ("table", "json"):
        again = [
            run("forks", sample_logs / "token-ids", "--format", form).stdout_bytes for _ in range(2)
        ]
        assert again[0] == again[1] != b""


@pytest.mark.parametrize("width", [40, 80, 140])
@pytest.mark.parametrize("folder", ["token-ids", "tau-bench", "openai"])
def test_real_screens_fit_their_terminals(
    run: Run, sample_logs: Path, folder: str, width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    shown = run("forks", sample_logs / folder).stdout
    assert "Rollout forks" in shown
    assert max(map(cell_len, shown.split("\n"))) <= width


def test_a_report_shows_entropy_where_logprobs_are_logged(run: Run, sample_logs: Path) -> None:
    folder = sample_logs / "token-ids"
    shown = words(run("report", folder).stdout)
    assert re.search(r"Entropy 1\.82 nats a token top 20 % from 3\.22 nats", shown)
    found = shown_json(run("report", folder, "--format", "json"))["entropy"]
    assert found["tokens"] == 1807
    assert found["fork"] + found["not_fork"] + found["undecided"] == 1807
    # Asked again, the answer comes from the store, and is the same.
    assert shown_json(run("report", folder, "--format", "json"))["entropy"] == found
    page = run("report", folder, "--format", "md").stdout
    assert "## Token entropy" in page


def test_a_report_without_logprobs_has_no_entropy(run: Run, sample_logs: Path) -> None:
    assert "Entropy" not in run("report", sample_logs / "tau-bench").stdout
    found = shown_json(run("report", sample_logs / "tau-bench", "--format", "json"))
    assert found["entropy"] is None


def test_a_report_on_rollouts_without_calls_shows_the_rollouts(
    run: Run, tmp_path: Path, sample_logs: Path
) -> None:
    """Logs of tree search hold what was visited, and no model calls."""
    folder = sample_logs / "tot"
    searched = next(folder.glob("*dfs*.json"))
    shown = run("report", searched).stdout
    assert "No model calls found" not in shown
    assert "no calls logged" in shown
    assert "Rollouts" in shown
    assert "Next: forkpoint forks" in shown
    page = run("report", searched, "--format", "md").stdout
    assert "their logs name no model calls" in page
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "No model calls found" in run("report", empty).stdout

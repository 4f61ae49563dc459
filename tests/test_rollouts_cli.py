"""``forkpoint rollouts``: what it shows, to people and to scripts."""

from __future__ import annotations

import io
import json
import re
from dataclasses import fields, is_dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import typer
from built_answers import HOSTILE, TEXTS, a_provenance
from golden_files import matches_golden
from rich.cells import cell_len
from shown_answers import UNSEEN, Run, fits, names_all_fields, shown_json, shows_markup

from forkpoint.analysis import ingest as reading
from forkpoint.analysis.drawn_tree import build_drawn_tree
from forkpoint.analysis.early_stop import EarlyStop
from forkpoint.analysis.fork_answer import build_forks
from forkpoint.analysis.ingest_worker import Options
from forkpoint.analysis.results import Drift, Rollouts
from forkpoint.analysis.rollout_answer import build_rollouts
from forkpoint.analysis.rollout_results import (
    AnswerAudit,
    BudgetPoint,
    ClusterAudit,
    DeepConfRow,
    DrawnTree,
    MergedDepth,
    RolloutGroup,
    RolloutsAnswer,
    Scheme,
    TreeBudget,
    TreeLine,
)
from forkpoint.analysis.store import Store
from forkpoint.analysis.votes import Estimate, Outcome
from forkpoint.cli.drawn_tree import write_drawn_tree
from forkpoint.cli.options import PlainFormat
from forkpoint.cli.rollouts import parse_answer_pattern, write_rollouts

pytestmark = pytest.mark.usefixtures("no_terminal")
WIDTHS = [40, 60, 80, 100, 140]


def a_group(name: str = "app/task-0", **changes: Any) -> RolloutGroup:
    group = RolloutGroup(
        group=name,
        rollouts=8,
        sized_rollouts=8,
        distinct_rollouts=7,
        turns=8,
        distinct_turns=7,
        flat_tokens=9_120,
        tree_tokens=3_040,
        overlap_ratio=2 / 3,
        trunk_tokens=512,
        rho=1.648,
        bound=3.0,
        forks=4,
        mean_generated_tokens=628.0,
        mean_reward=0.5,
        answers=8,
        distinct_answers=3,
        modal_share=0.625,
        same_answer_share=0.4643,
    )
    return replace(group, **changes)


def an_outcome(saved: float, same: float, change: float | None) -> Outcome:
    return Outcome(
        traces_saved=Estimate(saved, 0.001),
        tokens_saved=Estimate(saved, 0.001),
        same_answer=Estimate(same, 0.002),
        undecided=Estimate(0.0, 0.0),
        accuracy_change=None if change is None else Estimate(change, 0.003),
    )


def an_audit() -> AnswerAudit:
    return AnswerAudit(
        groups=6,
        rollouts=48,
        answered=46,
        logged_answers=40,
        modal_share=0.6042,
        same_answer_share=0.41,
        distinct_answers=3.1667,
        answer_entropy_nats=0.93,
        pass_at_k={8: 0.8333, 1: 0.4792, 2: 0.63, 4: 0.75},
        majority_accuracy=0.6667,
        oracle_prune=0.384,
        oracle_prune_first=0.36,
        oracle_prune_mean=0.37,
        early_stop=(
            EarlyStop("settled", 6, an_outcome(0.12, 1.0, 0.0), an_outcome(0.06, 1.0, 0.0)),
            EarlyStop(
                "adaptive-consistency",
                6,
                an_outcome(0.24, 0.98, -0.004),
                an_outcome(0.106, 0.94, -0.0125),
            ),
            EarlyStop("esc", 6, an_outcome(0.09, 0.99, 0.0), an_outcome(0.05, 1.0, 0.0)),
        ),
        deep_conf=(
            DeepConfRow("online, low", 10.0, 6, an_outcome(0.41, 0.8, -0.1)),
            DeepConfRow("vote by tail", 10.0, 6, an_outcome(0.0, 0.9, 0.021)),
        ),
        clusters=ClusterAudit(64, 0.5, 0.871, 300, 700, 6, an_outcome(0.3, 0.7, -0.08)),
        orders=200,
        seed=0,
    )


def a_budget() -> TreeBudget:
    return TreeBudget(
        groups=6,
        budget_tokens=30_144,
        tree_tokens=22_608,
        chains=48,
        distinct=45,
        branches=67.2,
        branches_by_ratio=64.0,
        curve=tuple(
            BudgetPoint(m, 628.0 * m, 628.0 * m * 0.9 ** (m / 2), m - (m - 1) / 8)
            for m in (1, 2, 4, 8)
        ),
        schemes=(
            Scheme("Tree-GRPO", "M, N, L, K = 2, 2, 1, 3", 6, 6, 3e3, 4e3, 7e3, 1.3542),
            Scheme("EPTree", "M, N, L, T = 6, 2, 1, 2", 30, 30, 9e3, 1e4, 3e4, None),
        ),
        by_depth=tuple(
            MergedDepth(fraction, 0.25 + 0.4 * fraction, None if fraction else 0.61)
            for fraction in (0.0, 0.25, 0.5, 0.75, 0.9)
        ),
    )


def an_answer(text: str | None = None) -> RolloutsAnswer:
    """An answer as analysis gives it; `text` takes the place of every text that logs decide."""
    names = [text or f"app/task-{n}" for n in range(6)]
    return RolloutsAnswer(
        rollouts=Rollouts(
            groups=6,
            rollouts=48,
            sized_rollouts=46,
            flat_tokens=54_720,
            tree_tokens=18_240,
            overlap_ratio=2 / 3,
            bound=3.0,
            trunk_tokens=3_072,
            rho=1.648,
            turns=480,
            distinct_turns=351,
            drift=Drift(480, 12, 432, 9, 0.62, 2_189, 0.66, 0.6667),
            same_answer_share=0.41,
            mean_reward=0.4792,
            pass_hat={8: 0.02, 1: 0.4792, 2: 0.31, 4: 0.12},
            generated_shared_tokens=9_000,
        ),
        groups=tuple(
            a_group(name, mean_reward=n / 5, forks=n, flat_tokens=9_120 - n)
            for n, name in enumerate(names)
        ),
        budget=a_budget(),
        answers=an_audit(),
        provenance=a_provenance(text, price_book=None),
    )


def a_line(depth: int, rollouts: int, tokens: int, begins: str | None, **more: Any) -> TreeLine:
    line = TreeLine(
        depth=depth,
        is_last=False,
        start_tokens=0,
        tokens=tokens,
        rollouts=rollouts,
        mean_reward=0.5,
        answers=(),
        trace=None,
        begins=begins,
    )
    return replace(line, **more)


def a_tree(text: str | None = None) -> DrawnTree:
    def says(own: str) -> str:
        return text or own

    lines = (
        a_line(0, 7, 512, says("system: You are careful."), is_last=True),
        a_line(1, 4, 20, says("assistant: Let us add"), mean_reward=0.25),
        a_line(2, 1, 80, says("both sides."), mean_reward=1.0, answers=(says("12"),), trace="r1"),
        a_line(2, 3, 64, says("one side."), mean_reward=0.0, answers=(says("13"),), is_last=True),
        a_line(1, 2, 600, None, answers=(says("12"), says("13")), mean_reward=0.5),
        a_line(1, 1, 0, "", is_last=True, mean_reward=None, trace=text or "r7"),
    )
    return DrawnTree(a_group(text or "app/task-0", trunk_tokens=512), lines, left_out=1)


def table(answer: RolloutsAnswer, *, top: int | None = None, store: str | None = None) -> str:
    out = io.StringIO()
    write_rollouts(answer, PlainFormat.TABLE, out, top=top, store=store)
    return out.getvalue()


def document(answer: RolloutsAnswer, *, top: int | None = None) -> Any:
    out = io.StringIO()
    write_rollouts(answer, PlainFormat.JSON, out, top=top)
    return json.loads(out.getvalue())


def drawn(tree: DrawnTree, *, top: int | None = None) -> str:
    out = io.StringIO()
    write_drawn_tree(tree, PlainFormat.TABLE, out, top=top)
    return out.getvalue()


def words(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.parametrize("width", [60, 80, 100])
def test_the_screen_is_as_its_golden_file_says(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    matches_golden(table(an_answer()), f"rollouts-{width}.txt")


@pytest.mark.parametrize("width", [40, 80, 140])
def test_a_drawn_tree_is_as_its_golden_file_says(
    width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    matches_golden(drawn(a_tree()), f"rollouts-tree-{width}.txt")


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("width", WIDTHS)
def test_no_line_is_wider_than_the_terminal(
    width: int, text: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    for shown in (table(an_answer(text)), drawn(a_tree(text))):
        fits(shown, width)


def test_markup_in_a_log_is_shown_as_it_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "140")
    text = "[red]x[/red][link=http://a]"
    for shown in (table(an_answer(text)), drawn(a_tree(text))):
        shows_markup(shown, text)


def test_the_screen_answers_in_order() -> None:
    shown = words(table(an_answer()))
    asked = [
        "6 groups × 8 rollouts · 48 in all · 1–24 Jul 2026",
        "54.7 k tokens, prompt and response of each rollout",
        "18.2 k tokens",
        "overlap (POR) 66.7 %",
        "at most 3.00 × faster if every shared prefix is computed once",
        "1.65 × sharing prompts only",
        "351 distinct of 480 (one turn: one model call)",
        "mean 0.479 · 47.9 % succeed (reward 1) · all of 8 succeed: 2.0 % (pass^8)",
        "12 of 480 sequences with other ids for equal text",
        "9 of 432 turns go on from other ids",
        "overlap 62.0 %, without it 66.0 %",
        "Biggest groups",
        "… 1 more (--top 6)",
        "What 30,144 tokens buy",
        "sampled alone, as logged 48 45 distinct",
        "branched where these forked, in larger groups 67 1.40 ×",
        "the same, in more groups of this size 64 1.33 ×",
        "as Tree-GRPO: 2 trees, 2 expansions, 1 round, 3 kept 65 1.35 ×",
        "as EPTree: 6 trees, 2 forks, 1 round, 2 branches – –",
        "Rollouts (groups of 8) tokens alone as one tree distinct",
        "Were a group together for the first 0 % 25 % 50 % 75 % 90 %",
        "Answers 46 of 48 rollouts have one · 40 stated by the log, 6 found in the text",
        "two of a group give the same answer: 41.0 %",
        "one rollout 47.9 % (pass@1) · at least one of 8 83.3 % (pass@8)",
        "38.4 % of the tokens saved, had only the shortest rollout of each answer run",
        "Tokens saved by stopping in turn at once same answer reward",
        "settled: no later vote can matter 12.0 % 6.0 % 100 % 0",
        "mean of 200 random orders (seed 0)",
        "Mostly: likeness tells pairs that agree from pairs that do not in 87.1 % of cases",
        "2 rollouts of unknown content left out of all token counts",
        "Next: forkpoint rollouts /logs/app --group",
    ]
    places = [shown.index(each) for each in asked]
    assert places == sorted(places)


def test_the_lower_of_two_ways_is_the_answer_that_is_kept() -> None:
    """In turn 98 % keep their vote, all at once 94 %: nobody is promised more than 94 %."""
    shown = words(table(an_answer()))
    assert "Adaptive-Consistency: leader 95 % sure 24.0 % 10.6 % 94.0 % -0.013" in shown
    assert "DeepConf: unsure stop, top 10 % vote 41.0 % – 80.0 % -0.1" in shown
    assert "DeepConf vote: all run, surest count 0 % – 90.0 % +0.021" in shown
    assert re.search(r"alike, one goes on – 30.0 % 70.0 % -0.08\b", shown)


@pytest.mark.parametrize(
    ("auroc", "verdict"),
    [
        (0.95, "Mostly"),
        (0.7, "Somewhat"),
        (0.5, "No more than by chance"),
        (0.2, "Rather the contrary"),
        (None, "Too few pairs to tell"),
    ],
)
def test_how_well_likeness_tells_answers_is_said_in_words(
    auroc: float | None, verdict: str
) -> None:
    audit = an_audit()
    assert audit.clusters is not None
    audit = replace(audit, clusters=replace(audit.clusters, auroc=auroc))
    assert f"end with the same answer? {verdict}" in words(
        table(replace(an_answer(), answers=audit))
    )


def test_what_is_not_known_is_not_shown() -> None:
    answer = an_answer()
    bare = replace(
        answer,
        rollouts=replace(
            answer.rollouts, drift=None, turns=0, distinct_turns=0, mean_reward=None, pass_hat={}
        ),
        groups=tuple(
            replace(group, mean_reward=None, same_answer_share=None, answers=0)
            for group in answer.groups
        ),
        answers=None,
        provenance=replace(answer.provenance, first_call=None, last_call=None),
    )
    shown = table(bare)
    assert "--answer-pattern REGEX says how they look" in shown
    for absent in ("Turns", "Rewards", "Token drift", "reward", "same answer", "pairs.jsonl", "–"):
        assert absent not in shown.partition("What ")[0] + shown.partition("Answers ")[2]


def test_chances_that_only_odd_groups_reach_are_not_shown() -> None:
    """Groups are of 8; one of 16 would speak for itself alone."""
    audit = replace(an_audit(), pass_at_k={1: 0.5, 8: 0.8333, 16: 1.0})
    shown = words(table(replace(an_answer(), answers=audit)))
    assert "at least one of 8 83.3 % (pass@8)" in shown
    assert "of 16" not in shown


def test_no_drift_is_not_worth_a_line() -> None:
    answer = an_answer()
    none = replace(answer.rollouts, drift=Drift(480, 0, 432, 0, 0.6, 0, 0.6, 0.6))
    assert "Token drift" not in table(replace(answer, rollouts=none))


def test_groups_of_one_share_nothing_and_that_is_said() -> None:
    shown = table(replace(an_answer(), budget=None, answers=None))
    assert "no group has two rollouts whose content is known" in words(shown)
    assert "--answer-pattern" not in shown


def test_the_group_with_most_to_see_is_proposed_by_a_name_that_a_shell_takes() -> None:
    """Task 2 and 3 have the most mixed rewards; 3 has more forks."""
    answer = an_answer()
    assert "--group app/task-3" in table(answer)
    spaced = replace(answer.groups[3], group="app/it's 3", mean_reward=0.5)
    shown = table(replace(answer, groups=(*answer.groups[:3], spaced)))
    assert "--group 'app/it'\"'\"'s 3'" in shown


def test_a_long_name_is_cut_to_the_part_that_tells_it_from_others() -> None:
    answer = an_answer()
    long = "a-data-set-with-a-very-long-name/and-a-run-of-it"
    groups = tuple(
        replace(group, group=f"{long}/{n + 10}") for n, group in enumerate(answer.groups)
    )
    assert re.search(r"--group 13\s", table(replace(answer, groups=groups)))
    groups = tuple(replace(group, group=f"{long}{'x' * n}/7") for n, group in enumerate(groups))
    assert re.search(r"--group and-a-run-of-itxxx/7\s", table(replace(answer, groups=groups)))


def test_a_group_whose_name_cannot_be_typed_is_not_proposed() -> None:
    assert "--group" not in table(an_answer("\x1b[31m"))


def test_the_store_that_was_used_is_named_in_the_next_commands() -> None:
    shown = table(an_answer(), store="my store.duckdb")
    assert shown.count("--store 'my store.duckdb'") == 3


def test_logs_without_rollouts_are_said_to_have_none() -> None:
    answer = an_answer()
    none = replace(answer.rollouts, groups=0, rollouts=0)
    shown = table(replace(answer, rollouts=none, groups=()))
    assert shown.startswith("No groups of rollouts found in /logs/app\n")
    assert "Next: forkpoint report /logs/app" in shown


def test_top_bounds_groups_in_every_format_and_json_has_all_without_it() -> None:
    assert "app/task-4" in table(an_answer())
    assert "app/task-1" not in table(an_answer(), top=1).partition("What ")[0]
    assert len(document(an_answer())["groups"]) == 6
    assert len(document(an_answer(), top=2)["groups"]) == 2


def test_json_has_all_fields_under_their_names() -> None:
    found = document(an_answer())
    assert found["format"] == 1
    assert found["forkpoint"] == "0.0.0"
    names_all_fields(an_answer(), found)
    assert list(found["answers"]["pass_at_k"]) == ["1", "2", "4", "8"]
    assert list(found["rollouts"]["pass_hat"]) == ["1", "2", "4", "8"]
    assert found["answers"]["early_stop"][1]["parallel"]["same_answer"]["mean"] == 0.94
    out = io.StringIO()
    write_drawn_tree(a_tree(), PlainFormat.JSON, out)
    names_all_fields(a_tree(), json.loads(out.getvalue())["tree"])


def test_hostile_text_is_exact_in_json() -> None:
    assert document(an_answer(HOSTILE))["groups"][0]["group"] == HOSTILE
    out = io.StringIO()
    write_drawn_tree(a_tree(HOSTILE), PlainFormat.JSON, out)
    assert out.getvalue().isascii()
    assert json.loads(out.getvalue())["tree"]["lines"][1]["begins"] == HOSTILE


def test_a_tree_says_of_each_branch_what_became_of_it() -> None:
    shown = drawn(a_tree())
    assert re.search(r"^ +4 +20 +0.25 +├─assistant: Let us add$", shown, re.MULTILINE)
    assert re.search(r"^ +1 +80 +1 +12 +│ ├─both sides\.$", shown, re.MULTILINE)
    assert re.search(r"^ +3 +64 +0 +13 +│ └─\(3 equal\) one side\.$", shown, re.MULTILINE)
    assert re.search(r"├─\(2 equal\) \(not readable any more\)$", shown, re.MULTILINE)
    assert re.search(r"^ +1 +0 +– +└─\(ends here\)$", shown, re.MULTILINE)
    assert "1 rollout of unknown content cannot be drawn" in shown
    assert "all begin with the same 512 tokens" in shown


def test_columns_that_say_nothing_are_not_drawn() -> None:
    tree = a_tree()
    lines = tuple(replace(line, mean_reward=None, answers=()) for line in tree.lines)
    header = drawn(replace(tree, lines=lines)).splitlines()
    assert "rollouts  tokens  begins" in header


def test_a_long_tree_is_cut_with_a_line_that_says_so() -> None:
    shown = drawn(a_tree(), top=3)
    assert "… 6 rollouts in 3 lines more (--top 6)" in shown
    assert "one side" not in shown
    assert "--top" not in drawn(a_tree(), top=6)


def test_a_deep_tree_leaves_room_for_what_its_branches_say(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    lines = [a_line(0, 17, 9, "Begin", is_last=True)]
    for depth in range(1, 17):
        lines.append(a_line(depth, 1, 5, f"leaves at {depth}"))
        lines.append(a_line(depth, 17 - depth, 5, f"goes on {depth}", is_last=True))
    shown = drawn(replace(a_tree(), lines=tuple(lines)))
    assert max(map(cell_len, shown.split("\n"))) <= 80
    assert all(f"leaves at {depth}" in shown for depth in range(1, 17))


def test_a_group_that_cannot_be_drawn_says_so() -> None:
    group = a_group(sized_rollouts=0, overlap_ratio=None, rho=None, bound=None)
    shown = drawn(DrawnTree(group, (), left_out=8))
    assert "8 rollouts of unknown content cannot be drawn" in shown
    assert "tokens one by one" not in shown


class _Latin1(io.StringIO):
    encoding = "latin-1"


def test_a_terminal_without_box_characters_gets_plain_ones() -> None:
    out = _Latin1()
    write_drawn_tree(a_tree(), PlainFormat.TABLE, out)
    branches = out.getvalue().partition("begins\n")[2].partition("\n\n")[0]
    assert "| |-both sides." in branches
    assert "| `-(3 equal) one side." in branches
    assert not set("├─└│") & set(branches)


def test_a_pattern_must_be_a_regular_expression() -> None:
    assert parse_answer_pattern("ANSWER: (.+)").groups == 1
    for wrong in ("(", "", "[a", "*", "(?P<x>", "(" * 9000):
        with pytest.raises(typer.BadParameter):
            parse_answer_pattern(wrong)


def samples(group: str, completions: list[tuple[str, float]], prompt: str = "Add 7 and 5.") -> str:
    """A file of samples, as anybody writes them."""
    return "".join(
        json.dumps({"group": group, "prompt": prompt, "completion": text, "reward": reward}) + "\n"
        for text, reward in completions
    )


SUMS = [
    ("Let me add. 7 + 5 = 12. RESULT 12", 1.0),
    ("Let me add. 7 + 5 = 13. RESULT 13", 0.0),
    ("Let me add. 7 + 5 = 12. RESULT 12", 1.0),
    ("No idea. RESULT none", 0.0),
]


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    folder = tmp_path / "logs"
    folder.mkdir()
    (folder / "sums.jsonl").write_text(samples("sums", SUMS))
    (folder / "more.jsonl").write_text(samples("more", SUMS[:2], "Add 7 and 5, please."))
    return folder


def test_groups_are_counted_and_answers_found_by_a_pattern(run: Run, logs: Path) -> None:
    result = run("rollouts", logs)
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    assert result.stdout.startswith("2 groups × 3 rollouts · 6 in all\n")
    assert "--answer-pattern REGEX says how they look" in result.stdout
    found = shown_json(
        run("rollouts", logs, "--answer-pattern", r"RESULT (\w+)", "--format", "json")
    )
    assert [group["rollouts"] for group in found["groups"]] == [4, 2]
    assert found["groups"][0]["distinct_answers"] == 3
    assert found["groups"][0]["modal_share"] == 0.5
    assert found["answers"]["answered"] == 6
    assert found["answers"]["pass_at_k"] == {"1": 0.5, "2": 0.916666667, "4": 1.0}


def test_orders_and_seed_reach_the_simulation(run: Run, logs: Path) -> None:
    asked = ("rollouts", logs, "--answer-pattern", r"RESULT (\w+)", "--format", "json")
    found = shown_json(run(*asked, "--orders", "7", "--seed", "3"))
    assert (found["answers"]["orders"], found["answers"]["seed"]) == (7, 3)
    assert shown_json(run(*asked))["answers"]["orders"] == 200


def test_the_group_that_the_screen_proposes_can_be_drawn(run: Run, logs: Path) -> None:
    proposed = re.search(r"--group (\S+)", run("rollouts", logs).stdout)
    assert proposed
    result = run("rollouts", logs, "--group", proposed[1])
    assert result.exit_code == 0, result.output
    assert re.match(r"\w+/sums\n4 rollouts · 3 distinct", result.stdout)
    assert "(2 equal)" in result.stdout
    assert "No idea." in result.stdout
    tree = shown_json(run("rollouts", logs, "--group", "sum", "--format", "json"))["tree"]
    assert sum(line["rollouts"] for line in tree["lines"] if line["trace"]) == 2


@pytest.mark.parametrize(("name", "complaint"), [("zebra", "zebra"), ("m", "2 groups go by 'm'")])
def test_a_group_that_is_not_one_is_one_error(
    run: Run, logs: Path, name: str, complaint: str
) -> None:
    result = run("rollouts", logs, "--group", name)
    assert result.exit_code == 1
    assert complaint in result.stderr
    assert result.stderr.count("\n") == 1
    assert result.stdout == ""


def test_pairs_are_written_and_counted(run: Run, logs: Path, tmp_path: Path) -> None:
    file = tmp_path / "new" / "pairs.jsonl"
    result = run("rollouts", logs, "--pairs", file)
    assert result.exit_code == 0, result.output
    assert result.stdout == ""
    pairs = [json.loads(line) for line in file.read_text().splitlines()]
    groups = {pair["group"] for pair in pairs}
    assert result.stderr == f"forkpoint: {len(pairs)} preference pairs from {len(groups)} groups\n"
    assert {group.rpartition("/")[2] for group in groups} == {"sums", "more"}
    assert {"prompt", "chosen", "rejected", "margin", "shared_prefix"} <= set(pairs[0])
    assert all(pair["margin"] > 0 for pair in pairs)
    assert run("rollouts", logs, "--pairs", "-", "--quiet").stdout == file.read_text()
    assert run("rollouts", logs, "--pairs", "-", "--quiet").stderr == ""


def test_pairs_replace_a_file_only_by_force(run: Run, logs: Path, tmp_path: Path) -> None:
    file = tmp_path / "pairs.jsonl"
    file.write_text("mine")
    refused = run("rollouts", logs, "--pairs", file)
    assert refused.exit_code == 1
    assert "--force replaces it" in refused.stderr
    assert file.read_text() == "mine"
    assert run("rollouts", logs, "--pairs", file, "--force").exit_code == 0
    assert file.read_text().startswith('{"prompt"')


def test_no_pairs_are_said_to_be_none(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    folder.mkdir()
    (folder / "sums.jsonl").write_text(samples("sums", [(text, 1.0) for text, _ in SUMS]))
    result = run("rollouts", folder, "--pairs", "-")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "no preference pairs" in result.stderr


@pytest.mark.parametrize(
    "args",
    [
        ["--orders", "0"],
        ["--seed", "-1"],
        ["--top", "0"],
        ["--answer-pattern", "("],
        ["--group", "a", "--pairs", "-"],
        ["--group", "a", "--answer-pattern", "b"],
        ["--pairs", "-", "--answer-pattern", "b"],
        ["--format", "csv"],
        ["--since", "moon"],
    ],
)
def test_wrong_usage_of_rollouts_is_exit_code_2(run: Run, logs: Path, args: list[str]) -> None:
    result = run("rollouts", logs, *args)
    assert result.exit_code == 2
    assert result.stdout == ""


def test_rollouts_has_help_with_examples(run: Run) -> None:
    shown = run("rollouts", "--help").stdout
    assert "  forkpoint rollouts runs/ --group" in shown
    assert "--answer-pattern" in shown
    assert "rollouts" in run("--help").stdout


def test_without_any_logs_rollouts_says_where_it_looked(run: Run) -> None:
    assert "No agent logs on this machine" in run("rollouts").stdout
    assert shown_json(run("rollouts", "--format", "json"))["groups"] == []
    nothing = run("rollouts", "--pairs", "-")
    assert (nothing.exit_code, nothing.stdout) == (0, "")


def test_two_runs_print_the_same_bytes(run: Run, sample_logs: Path) -> None:
    folder = sample_logs / "token-ids"
    for more in ([], ["--format", "json"], ["--group", "capital"], ["--pairs", "-"]):
        again = [run("rollouts", folder, *more).stdout_bytes for _ in range(2)]
        assert again[0] == again[1] != b""


@pytest.mark.parametrize("width", [40, 80, 140])
@pytest.mark.parametrize("folder", ["token-ids", "tau-bench", "samples"])
def test_real_screens_fit_their_terminals(
    run: Run, sample_logs: Path, folder: str, width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    shown = run("rollouts", sample_logs / folder).stdout
    proposed = re.search(r"--group (\S+)", shown)
    if proposed and "…" not in proposed[1]:
        shown += run("rollouts", sample_logs / folder, "--group", proposed[1]).stdout
    assert "rollouts" in shown
    assert max(map(cell_len, shown.split("\n"))) <= width


def test_schemes_are_the_users_if_given(run: Run, sample_logs: Path) -> None:
    log = sample_logs / "token-ids" / "smollm2.jsonl"
    asked = ("rollouts", log, "--tree-grpo", "4,1,2,3", "--eptree", "1, 3, 1, 2")
    found = shown_json(run(*asked, "--format", "json"))["budget"]["schemes"]
    assert [each["parameters"] for each in found] == [
        "M, N, L, K = 4, 1, 2, 3",
        "M, N, L, T = 1, 3, 1, 2",
    ]
    assert [(each["leaves"], each["kept"]) for each in found] == [(4 * (1 + 2), 12), (1 + 6, 7)]
    assert "4 trees, 1 expansion, 2 rounds, 3 kept" in words(run(*asked).stdout)


@pytest.mark.parametrize(
    "numbers", ["", "1,2,3", "0,2,1,1", "2,2,1,4", "a,b,c,d", "2,2,1,-1", "²,2,1,3"]
)
def test_schemes_without_a_meaning_are_a_usage_error(
    run: Run, numbers: str, tmp_path: Path
) -> None:
    result = run("rollouts", tmp_path, "--tree-grpo", numbers)
    assert result.exit_code == 2
    assert result.stdout == ""


def without_ids(value: Any) -> Any:
    """A message without the ids of its tool calls, which differ in each trial."""
    if isinstance(value, dict):
        names = value.keys() - {"id", "tool_call_id"}
        return {name: without_ids(value[name]) for name in sorted(names)}
    return [without_ids(each) for each in value] if isinstance(value, list) else value


def test_turns_of_each_group_are_its_distinct_conversations(run: Run, sample_logs: Path) -> None:
    log = sample_logs / "tau-bench"
    found = shown_json(run("rollouts", log, "--format", "json"))
    trials = [each for path in sorted(log.rglob("*.json")) for each in json.loads(path.read_text())]
    turns: dict[int, list[str]] = {}
    for trial in trials:
        messages = trial["traj"]
        for place, message in enumerate(messages):
            if message["role"] == "assistant":
                said = json.dumps([without_ids(each) for each in messages[: place + 1]])
                turns.setdefault(trial["task_id"], []).append(said)
    expected = sorted((len(each), len(set(each))) for each in turns.values())
    assert sorted((each["turns"], each["distinct_turns"]) for each in found["groups"]) == expected
    assert found["rollouts"]["turns"] == sum(n for n, _ in expected)
    assert found["rollouts"]["distinct_turns"] == sum(n for _, n in expected)


def test_a_screen_of_rollouts_is_one_screen(run: Run, sample_logs: Path) -> None:
    shown = run("rollouts", sample_logs / "token-ids").stdout
    assert len(shown.splitlines()) <= 60


def test_a_group_name_of_a_million_letters_harms_nothing(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    folder.mkdir()
    name = "\x1b]0;owned\x07[bold red]" + "n" * 1_000_000
    completions = [(HOSTILE.replace("\ud800", "") + text, reward) for text, reward in SUMS]
    # The first record of a file must be short enough to tell its format by.
    lines = samples("small", SUMS[:1], "Add.") + samples(name, completions)
    (folder / "sums.jsonl").write_text(lines)
    for args in ([], ["--group", "[bold"], ["--group", "zebra"]):
        result = run("rollouts", folder, *args)
        assert not UNSEEN.search(result.output)
        assert max(map(cell_len, result.stdout.split("\n"))) <= 100
        assert len(result.output) < 10_000
    found = shown_json(run("rollouts", folder, "--format", "json"))
    assert found["groups"][0]["group"].endswith(name)


@pytest.mark.real
@pytest.mark.parametrize(
    "folder", ["tau-bench", "rollout-groups/atropos-selcube", "tree-search/tot-crosswords-dfs"]
)
def test_public_logs_fit_every_terminal(
    run: Run, real_logs: Path, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for width in (40, 80, 140):
        monkeypatch.setenv("COLUMNS", str(width))
        for command in ("rollouts", "forks"):
            result = run(command, real_logs / folder)
            assert result.exit_code == 0, result.output
            assert max(map(cell_len, result.stdout.split("\n"))) <= width


def plain_types(value: Any) -> None:
    """Nothing but what JSON knows: no scalar of numpy looks like a number and is none."""
    if is_dataclass(value):
        for each in fields(value):
            plain_types(getattr(value, each.name))
    elif type(value) is tuple:
        for each in value:
            plain_types(each)
    elif type(value) is dict:
        for key, each in value.items():
            plain_types(key)
            plain_types(each)
    else:
        assert type(value) in (int, float, str, bool, type(None), datetime)


def test_answers_hold_no_types_of_numpy(sample_logs: Path) -> None:
    paths = [sample_logs / folder for folder in ("token-ids", "openai", "tau-bench")]
    with Store.open(":memory:", encoding="o200k_base") as store:
        reading.ingest(store, paths, Options(encoding="o200k_base"), workers=1)
        plain_types(build_rollouts(store, paths, orders=3))
        plain_types(build_forks(store, paths))
        plain_types(build_drawn_tree(store, paths, "capital"))

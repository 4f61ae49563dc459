"""What totals in a log state beyond the calls it lists is shown, and counted nowhere."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from replayed_logs import opened

from forkpoint.analysis.replay import NO_FILTERS
from forkpoint.analysis.report import build_report
from forkpoint.analysis.results import Report
from forkpoint.cli.answer import notes
from forkpoint.parsers.logs import Log
from forkpoint.parsers.records import Call, Issue, Record, Usage
from forkpoint.parsers.stated_totals import compared

COUNTS = st.none() | st.integers(0, 10**6)


@given(st.lists(st.tuples(COUNTS, COUNTS)), st.integers(0, 10**7))
def test_the_rest_is_what_is_stated_less_what_is_listed(
    usages: list[tuple[int | None, int | None]], stated: int
) -> None:
    silent = Call(identity=None, trace="t", line=1, offset=0, prompt=0)
    records: list[Record] = [silent, Issue(line=1, offset=0, reason="no call")]
    records += [
        replace(silent, usage=Usage(input_tokens=read, output_tokens=made)) for read, made in usages
    ]
    log = Log(Path("log"))
    assert list(compared(records, log, stated)) == records
    listed = sum((read or 0) + (made or 0) for read, made in usages)
    assert log.unlisted_tokens == max(stated - listed, 0)


def report_on(*paths: Path) -> Report:
    with opened(*paths) as store:
        return build_report(store, list(paths), filters=NO_FILTERS)


def an_evaluation(path: Path, stats: Any) -> Path:
    """An Inspect log of one sample that used 30 tokens."""
    usage = {"input_tokens": 20, "output_tokens": 10, "total_tokens": 30}
    sample = {
        "id": 1,
        "epoch": 1,
        "messages": [
            {"role": "user", "content": "2 + 2?"},
            {"role": "assistant", "content": "4", "source": "generate", "model": "openai/gpt-4o"},
        ],
        "model_usage": {"openai/gpt-4o": usage},
    }
    document = {
        "version": 2,
        "status": "success",
        "eval": {"task": "sums", "model": "openai/gpt-4o", "eval_id": "e1"},
        "stats": stats,
        "samples": [sample],
    }
    path.write_text(json.dumps(document))
    return path


def stated(total: int) -> dict[str, Any]:
    usage = {"input_tokens": total - 1, "output_tokens": 1, "total_tokens": total}
    return {"model_usage": {"openai/gpt-4o": usage}}


@pytest.mark.parametrize(
    ("stats", "rest"),
    [
        (stated(130), 100),
        (stated(30), 0),
        (stated(12), 0),
        (None, 0),
        ([], 0),
        ({"model_usage": {"openai/gpt-4o": {"input_tokens": "many"}}}, 0),
        ({"model_usage": None}, 0),
    ],
)
def test_an_evaluations_header_may_state_more_than_its_samples(
    tmp_path: Path, stats: Any, rest: int
) -> None:
    report = report_on(an_evaluation(tmp_path / "log.json", stats))
    assert report.totals.input_tokens + report.totals.output_tokens == 30
    assert report.sources.by_format["inspect-ai"].unlisted_tokens == rest
    said = [note for note in notes(report) if "in sum" in note]
    assert said == ([f"{rest} tokens that logs state in sum and list no calls for"] * bool(rest))


@pytest.mark.parametrize(
    ("metrics", "rest"),
    [
        ({"total_prompt_tokens": 1000, "total_completion_tokens": 50}, 1020),
        ({"total_prompt_tokens": 20, "total_completion_tokens": 10}, 0),
        ({"total_prompt_tokens": -5}, 0),
        ({"total_prompt_tokens": "many"}, 0),
        (None, 0),
    ],
)
def test_a_trajectorys_final_metrics_may_exceed_its_steps(
    tmp_path: Path, metrics: Any, rest: int
) -> None:
    steps = [
        {"step_id": 1, "source": "user", "message": "2 + 2?"},
        {
            "step_id": 2,
            "source": "agent",
            "message": "4",
            "metrics": {"prompt_tokens": 20, "completion_tokens": 10},
        },
    ]
    document = {
        "schema_version": "ATIF-v1.4",
        "session_id": "s",
        "agent": {"name": "a", "version": "1", "model_name": "gpt-4o"},
        "steps": steps,
        "final_metrics": metrics,
    }
    log = tmp_path / "trajectory.json"
    log.write_text(json.dumps(document))
    report = report_on(log)
    assert report.totals.input_tokens + report.totals.output_tokens == 30
    assert report.sources.by_format["atif"].unlisted_tokens == rest


@pytest.mark.real
def test_public_evaluations_state_what_their_samples_lack(real_logs: Path) -> None:
    """One lacks its samples, the other their usage."""
    folder = real_logs / "inspect-ai"
    found = {
        path.name: report_on(path).sources.by_format["inspect-ai"].unlisted_tokens
        for path in sorted(folder.rglob("*.json"))
    }
    rests = {name.rpartition("__")[2]: rest for name, rest in found.items() if rest}
    assert sorted(rests.values()) == [2, 198]
    assert any(name.endswith("no-samples.json") and rest == 198 for name, rest in found.items())

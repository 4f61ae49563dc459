"""What ``forkpoint check`` prints. The verdict is made before and does not change here."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, TextIO
from xml.sax.saxutils import escape, quoteattr

from forkpoint.analysis.check import (
    REGRESSION,
    CheckAnswer,
    Measure,
    Status,
    Unit,
    Verdict,
    compare,
    judge,
    measures_of,
)
from forkpoint.analysis.results import Report
from forkpoint.cli.baseline import write_baseline
from forkpoint.cli.check_config import CheckOptions
from forkpoint.cli.json_report import FORMAT, exact, write_json
from forkpoint.cli.layout import bold, flow, grid, output_width, print_lines
from forkpoint.cli.numbers import count, dollars, percent
from forkpoint.cli.options import CheckFormat
from forkpoint.cli.table import Line
from forkpoint.cli.text import markdown_text, plain

SUMMARY_VARIABLE = "GITHUB_STEP_SUMMARY"
_MAX_TEXT = 500
_MAX_NAME = 60


def write_check(
    answer: CheckAnswer, form: CheckFormat, out: TextIO, environment: Mapping[str, str] = os.environ
) -> None:
    """Each limit with its figure and what came of it, then the verdict.

    Args:
        environment: where a workflow names the file of its summary.
    """
    if form is CheckFormat.JSON:
        write_json(exact(_document(answer)), out)
    elif form is CheckFormat.MD:
        out.write(_markdown(answer))
    elif form is CheckFormat.GITHUB:
        out.writelines(f"{line}\n" for line in _annotations(answer))
        _add_summary(answer, environment, out)
    elif form is CheckFormat.JUNIT:
        out.write(_junit(answer))
    else:
        print_lines(_screen(answer, output_width(out)), out)


def verdicts_on(
    report: Report, options: CheckOptions, baseline: Mapping[str, Measure] | None
) -> CheckAnswer:
    """The verdicts on a report that was made with ``by="session"``.

    Args:
        baseline: figures of an earlier run; ``None``: there is nothing to compare with.
    """
    measures, allow = measures_of(report), bool(options.allow_missing)
    verdicts = judge(measures, options.as_limits(), allow_missing=allow)
    if baseline is not None and options.max_regression is not None:
        verdicts += compare(measures, baseline, options.max_regression, allow_missing=allow)
    return CheckAnswer(verdicts, allow, report.provenance)


def keep_baseline(report: Report, answer: CheckAnswer, file: Path, options: CheckOptions) -> bool:
    """Write the report's figures to a file for later runs to compare with.

    Returns:
        Whether it was written: the baseline that a run fails against is kept, or the next run
        would pass.
    """
    against = options.baseline
    if not answer.passed and against is not None and against.resolve() == file.resolve():
        return False
    write_baseline(measures_of(report), file)
    return True


def sentence(answer: CheckAnswer) -> str:
    """The verdict as a person would say it."""
    if not answer.verdicts:
        return "No limit to check."
    failed = sum(verdict.failed for verdict in answer.verdicts)
    total = count(len(answer.verdicts), "limit")
    if failed:
        return f"Failed: {failed} of {total}."
    unknown = sum(verdict.status is Status.MISSING for verdict in answer.verdicts)
    allowed = f" ({unknown} not known, which is allowed)" if unknown else ""
    return f"Passed: {total}{allowed}."


def _word(verdict: Verdict) -> str:
    if verdict.status is Status.MISSING:
        return "FAILED: not known" if verdict.failed else "not known, allowed"
    return "FAILED" if verdict.failed else "ok"


def _name(verdict: Verdict) -> str:
    if verdict.limit == REGRESSION:
        return f"{REGRESSION} of {verdict.figure.key}"
    return verdict.limit


def _value(verdict: Verdict) -> str:
    if verdict.value is None:
        return "–"
    if verdict.limit != REGRESSION or verdict.baseline is None:
        at_least = "≥ " if verdict.why and verdict.figure.rises else ""
        return at_least + _number(verdict.value, verdict.figure.unit, verdict.bound)
    now = _number(verdict.value, verdict.figure.unit, verdict.baseline)
    was = _number(verdict.baseline, verdict.figure.unit, verdict.value)
    return f"{now} (was {was})"


def _allowed(verdict: Verdict) -> str:
    if verdict.limit == REGRESSION:
        return f"≤ {verdict.bound:g} % worse"
    bound = _number(verdict.bound, verdict.figure.unit, verdict.value)
    return f"{'≤' if verdict.figure.rises else '≥'} {bound}"


def _number(value: float, unit: Unit, beside: float | None) -> str:
    """A figure as people read it, with more digits where it would look like another one beside it.

    >>> _number(0.79999, Unit.RATIO, 0.8), _number(0.8, Unit.RATIO, 0.79999)
    ('79.999 %', '80.0 %')
    """
    shown = _rounded(value, unit)
    if beside is None or beside == value or shown != _rounded(beside, unit):
        return shown
    if unit is Unit.RATIO:
        return _longer(shown, f"{value * 100:.12g} %")
    return _longer(shown, f"${value:,.12g}" if unit is Unit.USD else f"{value:,.12g}")


def _longer(short: str, long: str) -> str:
    return long if len(long) > len(short) else short


def _rounded(value: float, unit: Unit) -> str:
    if unit is Unit.USD:
        return dollars(value)
    if unit is Unit.RATIO:
        return percent(value)
    return f"{value:,.0f}" if value == round(value) else f"{value:,g}"


def _details(verdict: Verdict) -> str:
    """What a person needs to know beside the numbers; may be empty."""
    parts = []
    if verdict.limit == REGRESSION and verdict.value is not None:
        parts.append(_change(verdict))
    if verdict.where and verdict.status is not Status.MISSING:
        parts.append(verdict.where)
    if verdict.why:
        parts.append(verdict.why)
    return "; ".join(parts)


def _change(verdict: Verdict) -> str:
    worse = verdict.change_percent
    if worse is None:
        return "was 0, so no rise is small enough"
    if worse == 0:
        return "no change"
    return f"{abs(worse):.4g} % {'worse' if worse > 0 else 'better'}"


def _rows(answer: CheckAnswer) -> list[tuple[str, str, str, str, str]]:
    """(limit, value, allowed, verdict, details), one row a limit."""
    return [
        (_name(each), _value(each), _allowed(each), _word(each), plain(_details(each), _MAX_TEXT))
        for each in answer.verdicts
    ]


_HEADER = ("limit", "value", "allowed", "verdict", "")


def _screen(answer: CheckAnswer, width: int) -> list[Line]:
    rows = _rows(answer)
    lines: list[Line] = []
    if rows:
        table = [list(_HEADER[:4]), *([plain(cell, _MAX_NAME) for cell in row[:4]] for row in rows)]
        first, *others = grid(table, width, numbers=(1, 2), flexible=0)
        lines.append(bold(first))
        for line, row in zip(others, rows, strict=True):
            lines.append(line)
            if row[4]:
                lines += flow([row[4]], width, first="    ", indent=4)
    lines += map(bold, flow([sentence(answer)], width))
    return lines


def _markdown(answer: CheckAnswer) -> str:
    lines = [f"### forkpoint check: {markdown_text(sentence(answer))}", ""]
    if answer.verdicts:
        lines += ["| limit | value | allowed | verdict | |", "| --- | ---: | ---: | --- | --- |"]
        lines += [f"| {' | '.join(map(markdown_text, row))} |" for row in _rows(answer)]
    return "\n".join(lines) + "\n"


def _document(answer: CheckAnswer) -> dict[str, Any]:
    provenance = asdict(answer.provenance)
    provenance["filters"] = dict(sorted(answer.provenance.filters.items()))
    return {
        "format": FORMAT,
        "forkpoint": answer.provenance.version,
        "passed": answer.passed,
        "allow_missing": answer.allow_missing,
        "limits": [_limit_facts(verdict) for verdict in answer.verdicts],
        "provenance": provenance,
    }


def _limit_facts(verdict: Verdict) -> dict[str, Any]:
    regression = verdict.limit == REGRESSION
    value_key = f"value_{verdict.figure.unit}"  # the rounding of money goes by the key
    return {
        "limit": verdict.limit,
        "figure": verdict.figure.key,
        "unit": str(verdict.figure.unit),
        "value": exact(verdict.value, value_key),
        "bound": int(verdict.bound) if verdict.bound == int(verdict.bound) else verdict.bound,
        "bound_unit": "percent" if regression else str(verdict.figure.unit),
        "direction": "max" if regression or verdict.figure.rises else "min",
        "verdict": str(verdict.status),
        "failed": verdict.failed,
        "why": verdict.why,
        "where": verdict.where,
        "baseline": exact(verdict.baseline, value_key),
        "change_percent": verdict.change_percent,
    }


def _annotations(answer: CheckAnswer) -> list[str]:
    """GitHub's workflow commands for what failed; plain lines for the rest."""
    lines = []
    for verdict in answer.verdicts:
        details = _details(verdict)
        text = f"{_name(verdict)}: {_value(verdict)}, allowed {_allowed(verdict)}"
        text = plain(f"{text} ({details})" if details else text, _MAX_TEXT)
        if verdict.failed:
            lines.append(_command("error", _name(verdict), text))
        elif verdict.status is Status.MISSING:
            lines.append(_command("warning", _name(verdict), text))
        else:
            lines.append(f"ok: {text}")
    return [*lines, sentence(answer)]


def _command(kind: str, title: str, message: str) -> str:
    """One workflow command; see GitHub's "Workflow commands" for what must be escaped.

    >>> _command("error", "a:b,c", "100 % of it")
    '::error title=forkpoint check%3A a%3Ab%2Cc::100 %25 of it'
    """
    title = _escaped(f"forkpoint check: {plain(title, _MAX_TEXT)}")
    title = title.replace(":", "%3A").replace(",", "%2C")
    return f"::{kind} title={title}::{_escaped(message)}"


def _escaped(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _add_summary(answer: CheckAnswer, environment: Mapping[str, str], out: TextIO) -> None:
    """Add the table to the job's summary. A summary that cannot be written changes no verdict."""
    name = environment.get(SUMMARY_VARIABLE)
    if not name:
        return
    try:
        with Path(name).open("a", encoding="utf-8") as summary:
            summary.write(_markdown(answer))
    except OSError as error:
        reason = error.strerror or type(error).__name__
        message = plain(f"cannot write the job's summary {name}: {reason}", _MAX_TEXT)
        out.write(f"{_command('warning', 'summary', message)}\n")


def _junit(answer: CheckAnswer) -> str:
    """One test case a limit, as CI servers read them."""
    failed = sum(verdict.failed for verdict in answer.verdicts)
    skipped = sum(_is_skipped(verdict) for verdict in answer.verdicts)
    counts = f'tests="{len(answer.verdicts)}" failures="{failed}" errors="0" skipped="{skipped}"'
    lines = ['<?xml version="1.0" encoding="UTF-8"?>', f"<testsuites {counts}>"]
    lines.append(f'  <testsuite name="forkpoint check" {counts}>')
    for verdict in answer.verdicts:
        lines += _test_case(verdict)
    return "\n".join([*lines, "  </testsuite>", "</testsuites>"]) + "\n"


def _is_skipped(verdict: Verdict) -> bool:
    return verdict.status is Status.MISSING and not verdict.failed


def _xml_attribute(text: str) -> str:
    return quoteattr(plain(text, _MAX_TEXT))


def _xml_text(text: str) -> str:
    return escape(plain(text, _MAX_TEXT))


def _test_case(verdict: Verdict) -> list[str]:
    head = (
        f'    <testcase classname="forkpoint.check" name={_xml_attribute(_name(verdict))} time="0"'
    )
    said = f"{_value(verdict)}, allowed {_allowed(verdict)}"
    details = _details(verdict)
    if verdict.failed:
        opening = f"failure type={_xml_attribute(verdict.status)} message={_xml_attribute(said)}"
        body = [f"      <{opening}>{_xml_text(details)}</failure>"]
    elif _is_skipped(verdict):
        body = [f"      <skipped message={_xml_attribute(f'{said}; {details}')}/>"]
    else:
        body = [
            f"      <system-out>{_xml_text(f'{said}; {details}' if details else said)}</system-out>"
        ]
    return [f"{head}>", *body, "    </testcase>"]

"""Figures held against limits: ``check``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from forkpoint.cli import options
from forkpoint.cli.failures import GATE_FAILED, say
from forkpoint.cli.option_groups import CallOptions, ReadingOptions
from forkpoint.cli.options import CheckFormat
from forkpoint.cli.reading import check_files, logs_named, logs_read


def check(
    *,
    paths: options.Paths = None,
    max_cost: Annotated[
        float | None,
        typer.Option(
            "--max-cost", metavar="USD", show_default=False, help="What all calls may cost."
        ),
    ] = None,
    max_cost_per_trace: Annotated[
        float | None,
        typer.Option(
            "--max-cost-per-trace", metavar="USD", show_default=False,
            help="What the dearest trace may cost.",
        ),
    ] = None,
    min_hit_rate: Annotated[
        float | None,
        typer.Option(
            "--min-hit-rate", metavar="R", show_default=False,
            help="Least cache reads / input tokens, as providers report them; 0 to 1.",
        ),
    ] = None,
    min_cache_read_share: Annotated[
        float | None,
        typer.Option(
            "--min-cache-read-share", metavar="R", show_default=False,
            help="Least cache reads / all tokens, input and output; 0 to 1.",
        ),
    ] = None,
    max_missed_tokens: Annotated[
        float | None,
        typer.Option(
            "--max-missed-tokens", metavar="N", show_default=False,
            help="Tokens that may be paid for again though they had been sent before.",
        ),
    ] = None,
    max_missed_usd: Annotated[
        float | None,
        typer.Option(
            "--max-missed-usd", metavar="USD", show_default=False, help="What those may cost."
        ),
    ] = None,
    max_overlap_ratio: Annotated[
        float | None,
        typer.Option(
            "--max-overlap-ratio", metavar="R", show_default=False,
            help="Most of the prompt tokens that may repeat earlier prompts; 0 to 1.",
        ),
    ] = None,
    baseline: Annotated[
        Path | None,
        typer.Option(
            "--baseline", metavar="FILE", show_default=False,
            help="Compare with the figures of an earlier run.",
        ),
    ] = None,
    max_regression: Annotated[
        float | None,
        typer.Option(
            "--max-regression", metavar="PCT", show_default=False,
            help="By how many percent of the baseline a figure may be worse.",
        ),
    ] = None,
    write_baseline: Annotated[
        Path | None,
        typer.Option(
            "--write-baseline", metavar="FILE", show_default=False,
            help="Keep the figures of this run. Not over the --baseline that it fails against.",
        ),
    ] = None,
    allow_missing: Annotated[
        bool | None,
        typer.Option(
            "--allow-missing/--no-allow-missing", show_default=False,
            help="Let figures pass that cannot be computed, or only in part. Default: they fail.",
        ),
    ] = None,
    calls: CallOptions,
    form: Annotated[
        CheckFormat, typer.Option("--format", help="How to answer.")
    ] = CheckFormat.TABLE,
    output: options.Output = "-",
    force: options.Force = False,
    prices: options.Prices = None,
    rules: options.Rules = None,
    how: ReadingOptions,
) -> None:  # fmt: skip
    """Read what is new under the paths, then hold its figures against limits: exit code 0 if all are
    kept, 3 if one is not. Limits may also stand under [tool.forkpoint.check] in pyproject.toml or
    forkpoint.toml, here or in a folder above; options win.

    \b
    Examples:
      forkpoint check runs/ --max-cost 5 --min-hit-rate 0.8
      forkpoint check runs/ --write-baseline baseline.json
      forkpoint check runs/ --baseline baseline.json --max-regression 5 --format github
    """
    from forkpoint.analysis.remembered import report_on
    from forkpoint.cli import check_config as config
    from forkpoint.cli.baseline import read_baseline
    from forkpoint.cli.check import keep_baseline, verdicts_on, write_check
    from forkpoint.cli.output import check_output, write_output

    filters = calls.filters()
    wanted = config.options_from_command(
        {
            "max-cost": max_cost,
            "max-cost-per-trace": max_cost_per_trace,
            "min-hit-rate": min_hit_rate,
            "min-cache-read-share": min_cache_read_share,
            "max-missed-tokens": max_missed_tokens,
            "max-missed-usd": max_missed_usd,
            "max-overlap-ratio": max_overlap_ratio,
        },
        baseline=baseline, max_regression=max_regression, allow_missing=allow_missing,
    ).over(config.options_from_files(Path.cwd()))  # fmt: skip
    config.require_limits(wanted, writes_baseline=write_baseline is not None)
    check_output(output, force=force)
    check_files(prices, rules)
    before = None if wanted.baseline is None else read_baseline(wanted.baseline)
    logs = logs_named(paths)
    with logs_read(logs, how) as (opened, where):
        made = report_on(opened, where, filters=filters, by="session", prices=prices, rules=rules)
    answer = verdicts_on(made, wanted, before)
    write_output(lambda out: write_check(answer, form, out), output, force=force)
    if write_baseline is not None and not keep_baseline(made, answer, write_baseline, wanted):
        say(f"{write_baseline} stays as it is: figures are worse than it allows")
    if not answer.passed:
        raise typer.Exit(GATE_FAILED)

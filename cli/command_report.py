"""What was paid, and what caches saved or could have: report, cache, prefixes and simulate."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from forkpoint.analysis.cache_policy import EngineRule, Eviction
from forkpoint.cli import options
from forkpoint.cli.option_groups import CallOptions, ReadingOptions
from forkpoint.cli.options import By, PlainFormat, ReportFormat
from forkpoint.cli.reading import check_files, logs_named, logs_read, print_where_it_looked
from forkpoint.cli.reporters import html_reporter, reporter_of


def report(
    *,
    paths: options.Paths = None,
    by: Annotated[
        By | None, typer.Option("--by", help="One row for each of these.", show_default=False)
    ] = None,
    calls: CallOptions,
    form: Annotated[
        ReportFormat, typer.Option("--format", help="How to answer.")
    ] = ReportFormat.TABLE,
    output: options.Output = "-",
    force: options.Force = False,
    prices: options.Prices = None,
    rules: options.Rules = None,
    how: ReadingOptions,
) -> None:
    """Read what is new under the paths, then answer: what was paid, what caching saved, what was
    paid for again, and where.

    \b
    Examples:
      forkpoint report ~/.claude/projects
      forkpoint report runs/ --by model --since 7d
      forkpoint report runs/ --format html -o report.html
    """
    from forkpoint.analysis.remembered import report_on
    from forkpoint.cli.output import check_output, write_report

    filters = calls.filters()
    check_output(output, force=force)
    check_files(prices, rules)
    logs = logs_named(paths)
    if not logs.paths and form is ReportFormat.TABLE and output == "-":
        print_where_it_looked(logs.agents)
        return
    with logs_read(logs, how) as (opened, where):
        answer = report_on(
            opened, where, filters=filters, by=by and by.value, prices=prices, rules=rules
        )
        if form is ReportFormat.HTML:
            reporter = html_reporter(opened, where, filters, prices, rules)
        else:
            reporter = reporter_of(form, how.named_store)
    write_report(answer, reporter, output, force=force)


def cache(
    *,
    paths: options.Paths = None,
    explain: Annotated[
        str | None,
        typer.Option(
            "--explain", metavar="CALL_ID", show_default=False,
            help="Explain this call: what it shares with which earlier one, and where they part. "
            "The first digits of an id are enough.",
        ),
    ] = None,
    top: Annotated[
        int, typer.Option("--top", min=1, max=10_000, help="Worst calls and hints, at most.")
    ] = 10,
    calls: CallOptions,
    form: Annotated[
        PlainFormat, typer.Option("--format", help="How to answer.")
    ] = PlainFormat.TABLE,
    prices: options.Prices = None,
    rules: options.Rules = None,
    how: ReadingOptions,
) -> None:  # fmt: skip
    """Read what is new under the paths, then show what caches could have served, what they did, and
    what the difference was lost to. With --explain, the same of one call.

    \b
    Examples:
      forkpoint cache ~/.claude/projects
      forkpoint cache runs/ --since 7d --top 3
      forkpoint cache runs/ --explain 1f0c9a3e
    """
    from forkpoint.analysis.cache_answer import build_cache, explain_call
    from forkpoint.cli.cache import parse_call_id, write_cache, write_explanation

    filters = calls.filters()
    call_id = None if explain is None else parse_call_id(explain)
    check_files(prices, rules)
    logs = logs_named(paths)
    if not logs.paths and form is PlainFormat.TABLE:
        print_where_it_looked(logs.agents)
        return
    with logs_read(logs, how) as (opened, where):
        if call_id is not None:
            explanation = explain_call(
                opened, where, call_id, filters=filters, prices=prices, rules=rules
            )
        else:
            answer = build_cache(opened, where, filters=filters, prices=prices, rules=rules)
    if call_id is not None:
        write_explanation(explanation, form, sys.stdout)
    else:
        write_cache(answer, form, sys.stdout, top=top, store=how.named_store)


def prefixes(
    *,
    paths: options.Paths = None,
    min_calls: Annotated[
        int, typer.Option("--min-calls", min=2, help="Leave out forks with fewer calls below them.")
    ] = 2,
    top: Annotated[
        int, typer.Option("--top", min=1, max=10_000, help="How many forks to show.")
    ] = 10,
    calls: CallOptions,
    form: Annotated[
        PlainFormat, typer.Option("--format", help="How to answer.")
    ] = PlainFormat.TABLE,
    how: ReadingOptions,
) -> None:
    """Read what is new under the paths, then show the biggest trunks (beginnings that prompts
    share) and their fork points, with the file and line where each branch begins.

    \b
    Examples:
      forkpoint prefixes runs/ --min-calls 8 --top 20
    """
    from forkpoint.analysis.report import build_prefixes
    from forkpoint.cli.tables import write_prefixes

    filters = calls.filters()
    logs = logs_named(paths)
    if not logs.paths and form is PlainFormat.TABLE:
        print_where_it_looked(logs.agents)
        return
    with logs_read(logs, how) as (opened, where):
        tree = build_prefixes(opened, where, filters=filters, min_calls=min_calls, top=top)
    write_prefixes(tree, form, sys.stdout)


def simulate(
    *,
    paths: options.Paths = None,
    block_size: Annotated[
        int | None,
        typer.Option(
            "--block-size", min=1, max=2**24, metavar="TOKENS", show_default=False,
            help="Tokens in a block. Default: as logged, else 16 (1 with --engine-rule sglang).",
        ),
    ] = None,
    capacity: Annotated[
        str | None,
        typer.Option(
            "--capacity", metavar="SIZE", show_default=False,
            help="What the cache holds: tokens (500000), 4096blocks, or 2GiB with --model-shape.",
        ),
    ] = None,
    model_shape: Annotated[
        str | None,
        typer.Option(
            "--model-shape", metavar="MODEL", show_default=False,
            help="KV cache bytes per token, or a model whose shape is known: llama-3.1-8b, …",
        ),
    ] = None,
    eviction: Annotated[
        Eviction | None,
        typer.Option(
            "--eviction", show_default=False,
            help="What a full cache forgets. Default: lru with a --capacity, else infinite.",
        ),
    ] = None,
    ttl: Annotated[
        str | None,
        typer.Option(
            "--ttl", metavar="SPAN", show_default=False,
            help="How long a block stays after it was last used: 5m, 1h, or seconds.",
        ),
    ] = None,
    engine_rule: Annotated[
        EngineRule,
        typer.Option(
            "--engine-rule",
            help="vllm, sglang: whole blocks only, and the last token is always computed.",
        ),
    ] = EngineRule.NONE,
    sweep: Annotated[
        bool, typer.Option("--sweep", help="Also show the hit rate over capacities.")
    ] = False,
    calls: CallOptions,
    form: Annotated[
        PlainFormat, typer.Option("--format", help="How to answer.")
    ] = PlainFormat.TABLE,
    how: ReadingOptions,
) -> None:  # fmt: skip
    """Replay the prompts under the paths, in the order they were sent, against a prefix cache, and
    show what it would have served. Prompts alone fill the cache, and models are not told apart.

    \b
    Examples:
      forkpoint simulate trace.jsonl --sweep
      forkpoint simulate runs/ --capacity 40GiB --model-shape qwen3-32b --engine-rule vllm
      forkpoint simulate ~/.claude/projects --ttl 5m
    """
    from forkpoint.analysis.simulate import build_simulation
    from forkpoint.cli.simulate import cache_policy, write_simulation

    policy = cache_policy(
        eviction=eviction, capacity=capacity, ttl=ttl, model_shape=model_shape,
        engine_rule=engine_rule, sweep=sweep,
    )  # fmt: skip
    filters = calls.filters()
    logs = logs_named(paths)
    if not logs.paths and form is PlainFormat.TABLE:
        print_where_it_looked(logs.agents)
        return
    with logs_read(logs, how) as (opened, where):
        answer = build_simulation(
            opened, where, policy=policy, block_size=block_size, sweep=sweep, filters=filters
        )
    write_simulation(answer, form, sys.stdout)

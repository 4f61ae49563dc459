"""A command's groups of options: Typer sees the options, the command an object of each group."""

from __future__ import annotations

from typing import Annotated, Any

import pytest
import typer
from typer.testing import CliRunner

from forkpoint.cli.option_groups import CallOptions, ReadingOptions, StoreOptions, spelled_out
from forkpoint.cli.options import STORE_VARIABLE, Tokenizer


def run(*arguments: str, **environment: str) -> dict[str, Any]:
    """What a command with two groups is called with."""
    called: dict[str, Any] = {}

    def command(
        *,
        first: Annotated[int, typer.Option("--first")] = 1,
        calls: CallOptions,
        last: Annotated[int, typer.Option("--last")] = 2,
        how: ReadingOptions,
    ) -> None:
        called.update(first=first, calls=calls, last=last, how=how)

    app = typer.Typer(rich_markup_mode=None)
    app.command()(spelled_out(command))
    done = CliRunner().invoke(app, list(arguments), env=environment)
    assert done.exit_code == 0, done.output
    return called or {"help": done.output}


def test_what_no_option_says_is_what_the_group_says_by_itself() -> None:
    assert run() == {"first": 1, "calls": CallOptions(), "last": 2, "how": ReadingOptions()}


def test_options_and_the_environment_reach_their_group() -> None:
    called = run(
        "--model", "m", "--last", "7", "--workers", "3", "-q", "--tokenizer", "cl100k_base",
        **{STORE_VARIABLE: "named.duckdb"},
    )  # fmt: skip
    how = ReadingOptions("named.duckdb", Tokenizer.CL100K, workers=3, quiet=True)
    assert called == {"first": 1, "calls": CallOptions(model="m"), "last": 7, "how": how}


def test_help_lists_the_options_where_their_group_stands() -> None:
    shown = run("--help")["help"]
    names = ["first", "since", "until", "model", "project", "last", "store", "tokenizer", "strict"]
    names += ["workers", "keep-text", "map", "quiet"]
    places = [shown.index(f" --{name} ") for name in names]
    assert places == sorted(places)


def test_a_store_that_the_environment_names_need_not_be_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(STORE_VARIABLE, "mine.duckdb")
    assert StoreOptions("mine.duckdb").named_store is None
    assert StoreOptions("other.duckdb").named_store == "other.duckdb"

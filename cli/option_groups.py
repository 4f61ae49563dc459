"""Groups of options that commands share, each one parameter of a command.

A command names a group once, ``how: ReadingOptions``, and is given an object of it; Typer is shown
the options in its place (`spelled_out`).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import wraps
from inspect import Parameter, Signature, signature
from typing import TYPE_CHECKING, Any, get_type_hints

from forkpoint.cli import options
from forkpoint.cli.options import Tokenizer

if TYPE_CHECKING:
    from forkpoint.analysis.scope import Filters


class OptionGroup:
    """A dataclass each of whose fields is an option, annotated as a command's parameter would be."""


@dataclass(frozen=True)
class CallOptions(OptionGroup):
    """Which calls count."""

    since: options.Since = None
    until: options.Until = None
    model: options.Model = None
    project: options.Project = None

    def filters(self) -> Filters:
        """What to narrow an answer to.

        Raises:
            typer.BadParameter: a time is none, or they leave nothing between them.
        """
        from forkpoint.analysis.scope import Filters

        first, last = options.time_range(self.since, self.until)
        return Filters(since=first, until=last, model=self.model, project=self.project)


@dataclass(frozen=True)
class StoreOptions(OptionGroup):
    """Where what was read is kept, and what its text is counted with."""

    store: options.Store = None
    tokenizer: options.TokenizerOption = Tokenizer.O200K

    @property
    def named_store(self) -> str | None:
        """The store as a command must name it: what the environment names need not be repeated."""
        return None if self.store == os.environ.get(options.STORE_VARIABLE) else self.store

    @property
    def store_path(self) -> str:
        """The store to open."""
        return options.store_path(self.store, self.tokenizer)


@dataclass(frozen=True)
class ReadingOptions(StoreOptions):
    """How logs are read into a store."""

    strict: options.Strict = False
    workers: options.Workers = None
    keep_text: options.KeepText = False
    sample_map: options.SampleMap = None
    quiet: options.Quiet = False


def spelled_out(command: Callable[..., None]) -> Callable[..., None]:
    """The command as Typer must see it: every group replaced, in place, by the options in it.

    The command is called with keywords only; its annotations are resolved.
    """
    hints = get_type_hints(command, include_extras=True)
    members: dict[str, list[Parameter]] = {}
    shown: list[Parameter] = []
    for name, parameter in signature(command).parameters.items():
        if _is_group(hints[name]):
            members[name] = _options_in(hints[name])
            shown += members[name]
        else:
            resolved = parameter.replace(annotation=hints[name], kind=Parameter.KEYWORD_ONLY)
            shown.append(resolved)

    @wraps(command)
    def run(**given: Any) -> None:
        for name, inside in members.items():
            given[name] = hints[name](**{each.name: given.pop(each.name) for each in inside})
        command(**given)

    run.__annotations__ = {each.name: each.annotation for each in shown}
    run.__signature__ = Signature(shown)  # type: ignore[attr-defined]
    return run


def _is_group(hint: object) -> bool:
    return isinstance(hint, type) and issubclass(hint, OptionGroup)


def _options_in(group: type[Any]) -> list[Parameter]:
    hints = get_type_hints(group, include_extras=True)
    return [
        Parameter(
            field.name,
            Parameter.KEYWORD_ONLY,
            default=field.default,
            annotation=hints[field.name],
        )
        for field in fields(group)
    ]

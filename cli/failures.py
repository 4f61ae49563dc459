"""The only place where an error becomes a line on stderr and an exit code."""

from __future__ import annotations

import os
import sys
import traceback
from typing import Any

import typer
from typer.core import TyperGroup

from forkpoint.cli.text import plain
from forkpoint.errors import ForkpointError

ERROR, GATE_FAILED, INTERRUPTED = 1, 3, 130
"""Exit codes. Of wrong usage (2) Typer makes its own."""
_MAX_ERROR = 2000


class CommandGroup(TyperGroup):
    """Runs a command and turns what went wrong into one line on stderr and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except ForkpointError as error:
            _fail(f"error: {error}")
        except KeyboardInterrupt:
            say("interrupted")
            raise typer.Exit(INTERRUPTED) from None
        except BrokenPipeError:
            raise
        except Exception as error:
            # Usage errors and exits carry their own code; Typer handles them.
            if hasattr(error, "exit_code") or isinstance(error, typer.Abort):
                raise
            _fail(f"internal error: {type(error).__name__}: {error}")


def say(message: str) -> None:
    """One line on stderr, harmless to a terminal, of at most 2,000 characters."""
    print(f"forkpoint: {plain(' '.join(message.split()), _MAX_ERROR)}", file=sys.stderr)


def _fail(message: str) -> None:
    if os.environ.get("FORKPOINT_DEBUG") == "1":
        traceback.print_exc()
    say(message)
    raise typer.Exit(ERROR)

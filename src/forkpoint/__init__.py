"""forkpoint: which tokens were paid for more than once, and where the traces fork.

``forkpoint.open("logs/")`` reads logs from Python; see `forkpoint.api`.
"""

from typing import Any

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    # The command line must not wait for the libraries that only notebooks need.
    if name == "open":
        from forkpoint.api import open_logs

        return open_logs
    raise AttributeError(f"module 'forkpoint' has no attribute {name!r}")

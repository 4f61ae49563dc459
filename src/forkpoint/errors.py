"""Errors a person can act on. The command line prints their text, on one line, and exits with 1."""


class ForkpointError(Exception):
    """Something the user can mend: a missing path, a store of another version, a bad price file."""


class StrictError(ForkpointError):
    """The first unreadable record of a run with ``--strict``."""

"""forkpoint: which tokens were paid for more than once, and where the traces fork."""

__version__ = "0.1.0"

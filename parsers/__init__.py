"""Log parsers: one module per format, all behind the contract in `forkpoint.parsers.base`."""

"""The command line: `packsort <command>`."""

from packsort.cli.main import main

__all__ = ["main"]

"""The command line. A command parses, makes one `Library` call, and formats; what it needs is imported inside it."""

from __future__ import annotations

from .group import cli

__all__ = ["cli", "main"]


def main() -> None:
    """The entry point of the console script and of ``python -m zsindex``."""
    cli.main(prog_name="zsindex")

"""Write docs/cli.md from the commands themselves: ``python docs/make_cli_reference.py``. A test compares the two."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click
from zsindex.cli import cli

FILE = Path(__file__).with_name("cli.md")
INTRODUCTION = """# Command line

Written from `--help` by `docs/make_cli_reference.py`; do not edit. Results go to stdout, progress and notes to stderr.
"""


def contexts(command: click.Command, name: str, parent: click.Context | None = None) -> Iterator[click.Context]:
    """Of the command and all below it, in the order of their help."""
    # A fixed width, so that the page does not depend on the terminal it was made in.
    context = command.make_context(name, [], parent, resilient_parsing=True, terminal_width=96, max_content_width=96)
    yield context
    if isinstance(command, click.Group):
        for child_name in command.list_commands(context):
            child = command.get_command(context, child_name)
            assert child is not None
            yield from contexts(child, child_name, context)


def reference() -> str:
    """The whole page."""
    sections = (f"## {c.command_path}\n\n```text\n{c.get_help()}\n```\n" for c in contexts(cli, "zsindex"))
    return "\n".join([INTRODUCTION, *sections])


if __name__ == "__main__":
    FILE.write_text(reference(), encoding="utf-8")

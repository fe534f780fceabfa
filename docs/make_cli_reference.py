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


def commands(command: click.Command, context: click.Context) -> Iterator[click.Context]:
    """The command and all below it, in the order of their help."""
    yield context
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            assert child is not None
            yield from commands(child, click.Context(child, info_name=name, parent=context))


def reference() -> str:
    """The whole page."""
    # A fixed width, so that the page does not depend on the terminal it was made in.
    root = click.Context(cli, info_name="zsindex", terminal_width=96, max_content_width=96)
    parts = [INTRODUCTION]
    for context in commands(cli, root):
        context.terminal_width = context.max_content_width = 96
        parts.append(f"## {context.command_path}\n\n```text\n{context.get_help()}\n```\n")
    return "\n".join(parts)


if __name__ == "__main__":
    FILE.write_text(reference(), encoding="utf-8")

"""Write docs/cli.md from the commands themselves: ``python docs/make_cli_reference.py``. A test compares the two."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click
from zsindex.cli import cli

FILE = Path(__file__).with_name("cli.md")
INTRODUCTION = """# Command line

Written from `--help` by `docs/make_cli_reference.py`; do not edit. Results go to stdout, progress and notes to stderr.

What programs read (`json`, `ndjson`, `csv`, `paths`, `--json`) is UTF-8 whatever the locale says, the same bytes as
with `--output FILE`. So are names of files and arguments. Tables and notes are in the locale's encoding; what it cannot
represent is escaped.

- `csv` quotes whatever has to be quoted, including CR and LF, so that every name and label reads back as it was (in
  Python: `csv.reader(open(file, newline="", encoding="utf-8"))`). Nothing else is done to a cell.
- `csv-excel` is for spreadsheets: it has a byte order mark, without which Excel takes UTF-8 for the code page of the
  country; lines end with CRLF; and a text that begins with `=`, `+`, `-`, `@`, a tab or a line end, which would be
  computed as a formula, gets a `'` in front.
- `paths` has one path per line; with `-0`/`--print0` each ends with NUL, since a name may contain a line end:
  `zsindex search cat -0 | xargs -0 ls -l`.

Control characters, line ends and marks that reverse the direction of text are escaped in tables, in notes and in
whatever goes to a terminal: a name could contain a sequence that the terminal obeys. Programs get names as they are.

If not everything can be written to stdout, the exit code is 1 and stderr says why; if the reader has gone, as `head`
does, it is 141. A command does not end because a note cannot be written.
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

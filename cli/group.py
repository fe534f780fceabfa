"""The `zsindex` command: its subcommands, and the one place where failures become messages and exit codes."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from typing import Any, TextIO

import click

import zsindex
from zsindex.errors import BadCiFile, BadPath, BadQuestion, BadText, Stopped, ZsindexError, ZsindexWarning

from . import options
from .on_demand import OnDemand
from .streams import READER_GONE, shown, visible

# Where each subcommand lives: `cmd_sync.sync`.
HOMES = {
    "sync": "cmd_sync",
    "classify": "cmd_classify",
    "search": "cmd_search",
    "similar": "cmd_search",
    "correct": "cmd_correct",
    "next": "cmd_correct",
    "albums": "cmd_albums",
    "review": "cmd_review",
    "count": "cmd_count",
    "surveys": "cmd_surveys",
    "duplicates": "cmd_duplicates",
    "events": "cmd_events",
    "facts": "cmd_facts",
    "embed": "cmd_embed",
    "eval": "cmd_eval",
    "ci": "cmd_ci",
    "choose": "cmd_choose",
    "prior": "cmd_prior",
    "temperature": "cmd_eval",
    "labels": "cmd_labels",
    "templates": "cmd_labels",
    "thresholds": "cmd_thresholds",
    "runs": "cmd_runs",
    "tags": "cmd_tags",
    "models": "cmd_models",
    "migrate-model": "cmd_migrate",
    "vectors": "cmd_vectors",
    "library": "cmd_library",
    "index": "cmd_index",
    "map": "cmd_map",
    "status": "cmd_upkeep",
    "check": "cmd_upkeep",
    "prune": "cmd_upkeep",
    "demo": "cmd_demo",
    "bench": "cmd_bench",
    "serve": "cmd_serve",
    "mcp": "cmd_mcp",
}

EPILOG = """ Exit codes: 0 success; 1 failure, and the message says what to do; 2 the command line is wrong; 3 done, but
a check asked for with --strict, --fail-above, --fail-under or the file of ci did not pass: photos were skipped, a label
set has warnings, too many photos get another answer, or too few a right one, a count is not yet within what was asked
for, or which candidate is best is not known yet; 130 stopped with Ctrl-C, what was done is kept; 141 the reader of the
output has gone.
"""


_GIVEN = f"{__name__}.given"


class Commands(click.Group):
    """Turns an expected failure into ``Error: …`` and exit code 1, or 2 where the command line is wrong. Anything else
    is a bug and keeps its traceback.
    """

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        """As click has it, but that Ctrl-C right before a command or after it is told as within it."""
        if not standalone_mode:
            return super().main(args, prog_name, complete_var, standalone_mode=False, **extra)
        try:
            ended = super().main(args, prog_name, complete_var, standalone_mode=False, **extra)
        except click.ClickException as error:
            error.show()
            sys.exit(error.exit_code)
        except click.Abort as abort:
            is_stopped = isinstance(abort.__cause__, KeyboardInterrupt)
            click.echo("stopped" if is_stopped else "Aborted!", err=True)
            sys.exit(130 if is_stopped else 1)
        sys.exit(ended if isinstance(ended, int) else 0)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.meta[_GIVEN] = tuple(args)
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            with warnings.catch_warnings():
                warnings.showwarning = _show_warning
                warnings.simplefilter("always", ZsindexWarning)
                # Odd metadata in a photo that can still be read.
                warnings.filterwarnings("ignore", module="PIL")
                return super().invoke(ctx)
        except click.ClickException as error:
            error.message = visible(error.message)  # type: ignore[misc]  # names in it may hold anything
            raise
        except BadQuestion as error:
            flags = [f"--{name.replace('_', '-')}" for name in error.options]
            raise click.UsageError(BadQuestion.describe(flags, error.why)) from error
        except (BadText, BadPath, BadCiFile) as error:
            raise click.UsageError(shown(str(error))) from error
        except UnicodeEncodeError as error:
            # Bytes of the command line that are not UTF-8, in a name that no other check has seen.
            if not any(error.object in given for given in ctx.meta[_GIVEN]):
                raise
            raise click.UsageError(f"an argument is not valid text: {error.object!a}") from error
        except Stopped:
            click.echo("stopped; there is no result", err=True)
            ctx.exit(130)
        except ZsindexError as error:
            raise click.ClickException(shown(str(error))) from error
        except MemoryError as error:
            raise click.ClickException(
                "not enough memory; what was stored is kept. Close other programs, or raise the limit (ulimit -v)"
            ) from error
        except BrokenPipeError:
            # The reader of what -o names has seen enough, as with stdout.
            ctx.exit(READER_GONE)
        except KeyboardInterrupt:
            # From commands that have nothing to finish first; click would exit with 1.
            click.echo("stopped", err=True)
            ctx.exit(130)


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    click.echo(f"Warning: {shown(str(message))}", err=True)


@click.group(cls=Commands, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@options.library_before
@click.version_option(zsindex.__version__, prog_name="zsindex")
def cli() -> None:
    """Encode a photo library once, then ask it anything.

    \b
    zsindex demo                                  see it work on a few photos
    zsindex sync ~/Pictures                       encode a folder
    zsindex classify -l cat -l dog                which photo shows what
    zsindex search "a red car"                    find photos by words
    zsindex similar photo.jpg                     find photos by example
    zsindex serve                                 answer over HTTP
    """


cli.commands = OnDemand(HOMES)

"""zsindex library create|upgrade|copy|info"""

from __future__ import annotations

import sys

import click

from zsindex import config

from . import options
from .cmd_index import recall_of
from .output import plural, print_pairs, size, write_json
from .progress import Reporter
from .streams import shown


@click.group()
@options.library_before
def library() -> None:
    """Libraries as a whole: in a folder, or in a database on a PostgreSQL server.

    A server's URL is postgresql://HOST/DATABASE, as libpq reads it. Passwords belong into ~/.pgpass or the file that
    PGPASSFILE names, not into the URL.
    """


@library.command()
@options.library
def create(library: options.Place | None) -> None:
    """Make an empty library. A folder needs it not: zsindex sync makes one."""
    from zsindex import Library

    place = config.library_place(library)
    made = Library.create(place)
    with Library.open(place, create=False) as opened:
        click.echo(f"{'made' if made else 'there already:'} {shown(str(opened.place))}")


@library.command()
@options.library
def upgrade(library: options.Place | None) -> None:
    """Bring the library's schema up to date, when all who use it have this version.

    A folder is upgraded when it is opened, and a backup is made before. A server is not: make the backup with pg_dump.
    """
    from zsindex import Library

    before, after = Library.upgrade(config.library_place(library))
    click.echo(f"schema {after}, up to date" if before == after else f"schema {before} → {after}")


@library.command()
@click.argument("source", type=options.LibraryPlace(), metavar="SOURCE")
@click.argument("target", type=options.LibraryPlace(), metavar="TARGET")
@options.json_flag
@options.quiet
def copy(source: options.Place, target: options.Place, as_json: bool, quiet: bool) -> None:
    """Copy the library SOURCE to TARGET, each a folder or a URL: from a folder onto a server, or back.

    All is copied but the index, which is made anew; in the end both are compared. What was stopped goes on where it
    stopped when the same command is run again.
    """
    from zsindex import Library

    with Reporter(quiet=quiet) as progress:
        report = Library.copy(source, target, progress=progress)
    if as_json:
        write_json(report.to_dict(), sys.stdout)
    else:
        click.echo(f"copied {plural(report.vectors, 'vector')} to {shown(report.target)}, and compared all")


@library.command()
@options.library
@options.json_flag
def info(library: options.Place | None, as_json: bool) -> None:
    """Show where the library is, and what it stands on."""
    with options.open_library(library) as opened:
        status = opened.status()
        derived = str(opened.path)
        indexes = opened.search_index.status()
    document = {
        "path": status.path,
        "read_only": status.read_only,
        "schema": status.schema,
        "versions": status.versions,
        "database_bytes": status.database_bytes,
        "index_bytes": status.index_bytes,
        "index_folder": derived,
        "search_indexes": [one.to_dict() for one in indexes],
    }
    if as_json:
        write_json(document, sys.stdout)
        return
    storage = next(f"{name} {status.versions[name]}" for name in ("postgresql", "sqlite") if name in status.versions)
    print_pairs(
        {
            "library": status.path + (" (read-only)" if status.read_only else ""),
            "storage": f"{storage}, schema {status.schema}",
            "size": f"database {size(status.database_bytes)}, index {size(status.index_bytes)}",
            "index": derived,
            **{
                f"search index of {one.model}": f"{plural(one.vectors, 'vector')}, {size(one.bytes)} on the server; "
                f"{recall_of(one)}"
                for one in indexes
                if one.there
            },
        }
    )

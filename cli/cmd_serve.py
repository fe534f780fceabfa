"""zsindex serve"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from . import options
from .output import note


@click.command()
@options.library
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port",
    type=options.Whole(0, 65535),
    default=8765,
    show_default=True,
    help="Port to listen on; 0 picks a free one.",
)
@click.option(
    "--token-file",
    type=options.FilePath(dir_okay=False, path_type=Path),
    help="Tokens of clients: on each line a right, read or write, and a token. Created if it is missing. Needed for "
    "any address but this machine's own.",
)
@click.option("--read-only", is_flag=True, help="Write nothing, whatever a token allows.")
@click.option(
    "--allow-host",
    "hosts",
    multiple=True,
    metavar="NAME[:PORT]",
    help="Another host name of the service, such as a proxy's. Repeatable.",
)
@click.option(
    "--photos",
    multiple=True,
    type=options.FilePath(exists=True, file_okay=False, path_type=Path),
    metavar="FOLDER",
    help="A folder that clients may sync, besides those synced before. Repeatable.",
)
@click.option("--fetch-urls", is_flag=True, help="Let clients name images by URL. Private networks are refused.")
@click.option(
    "--places",
    is_flag=True,
    help="Tell clients that ask for it where photos were taken. Their files say so to whoever may have them.",
)
@click.option(
    "--immich",
    metavar="NAME",
    help="Also answer an immich server, without a token, as its machine learning service for search. NAME is what "
    "immich calls the library's model.",
)
@click.option(
    "--drop-model-after",
    type=options.Real(min=1),
    metavar="SECONDS",
    help="Unload the model after this long without use; it is loaded again when needed.",
)
@click.option(
    "--rate",
    type=options.Real(min=0),
    default=300,
    show_default=True,
    help="Requests per second per client; 0 for no limit.",
)
@click.option(
    "--thumbnail-cache",
    type=options.Whole(min=1),
    default=1024,
    show_default=True,
    metavar="MB",
    help="Disk space for thumbnails, in the user's cache folder.",
)
@click.option(
    "--workers",
    "processes",
    type=options.Whole(min=1),
    default=1,
    show_default=True,
    metavar="N",
    help="Processes that answer requests, at one port. One that dies is replaced.",
)
@click.option(
    "--no-jobs", is_flag=True, help="Leave syncs to other services of the library; clients can start them here, too."
)
@options.which_model
@options.batch_size
@click.option(
    "--threads",
    "workers",
    type=options.Whole(min=1),
    help="Threads of a sync that read and decode.  [default: one per processor core]",
)
@options.quiet
def serve(
    library: options.Place | None,
    host: str,
    port: int,
    token_file: Path | None,
    read_only: bool,
    hosts: tuple[str, ...],
    photos: tuple[Path, ...],
    fetch_urls: bool,
    places: bool,
    immich: str | None,
    drop_model_after: float | None,
    rate: float,
    thumbnail_cache: int,
    processes: int,
    no_jobs: bool,
    quiet: bool,
    **model: Any,
) -> None:
    """Answer questions about the library over HTTP, until Ctrl-C.

    Only this machine can connect, unless --host says otherwise. docs/service.md describes the requests; logs are JSON
    lines on stderr.
    """
    from zsindex.config import library_place
    from zsindex.web import Limits, Security
    from zsindex.web import serve as web

    if token_file is None and not web.is_loopback(host):
        raise click.UsageError(f"--host {host} lets other machines connect: name a --token-file as well")
    tokens = () if token_file is None else web.read_tokens(token_file)
    try:
        listening = web.listen(host, port)
    except OSError as error:
        raise click.ClickException(f"cannot listen on {host}, port {port}: {error.strerror or error}") from error
    limits = Limits(requests_per_s=rate, thumbnail_bytes=thumbnail_cache << 20)
    with listening:
        with options.open_library(library, create=not read_only, quiet=True, read_only=read_only, **model) as opened:
            security = Security(
                hosts=web.hosts_of(host, listening.getsockname()[1], hosts),
                own_addresses=web.is_any(host),
                tokens=tokens,
                read_only=opened.read_only,
                fetch_urls=fetch_urls,
                places=places,
                immich=immich,
                photo_folders=tuple(str(folder.absolute()) for folder in photos),
            )
            told = f"serving {opened.place} at " + " and ".join(web.urls_of(listening, host))
            if processes == 1:
                web.serve(
                    opened,
                    listening,
                    security=security,
                    limits=limits,
                    drop_model_after_s=drop_model_after,
                    runs_jobs=not no_jobs,
                    log_requests=not quiet,
                    ready=lambda: note(told),
                )
                return
        from zsindex.web.workers import Worker, serve_with

        worker = Worker(
            library_place(library),
            read_only=read_only,
            model=model,
            security=security,
            limits=limits,
            leave=sys.exit,
            drop_model_after_s=drop_model_after,
            runs_jobs=not no_jobs,
            log_requests=not quiet,
        )
        if not serve_with(worker, listening, processes, ready=lambda: note(told)):
            raise click.ClickException("the library could not be opened; the log says why")

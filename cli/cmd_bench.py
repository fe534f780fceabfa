"""zsindex bench"""

from __future__ import annotations

import gc
import sys
from typing import TYPE_CHECKING, Any

import click

from . import options
from .output import note, print_pairs, write_json
from .progress import duration, stop_on_interrupt

if TYPE_CHECKING:
    from zsindex.bench.measure import BenchReport


@click.command()
@click.argument("photos", nargs=-1, metavar="[PHOTOS]...")
@options.library
@options.which_model
@options.how_fast
@click.option(
    "--seconds",
    type=options.Real(min=0, min_open=True),
    default=20.0,
    show_default=True,
    help="About how long to measure; loading the model is extra.",
)
@options.json_flag
@options.quiet
@click.pass_context
def bench(
    ctx: click.Context,
    /,
    photos: tuple[str, ...],
    library: options.Place | None,
    seconds: float,
    as_json: bool,
    quiet: bool,
    **model: Any,
) -> None:
    """Measure how fast photos are encoded here, and name the bottleneck.

    PHOTOS are files or folders; without them, the library's photos or a few samples are used. The library is not
    changed: measurements use a temporary one.
    """
    from zsindex.bench.measure import measure

    gc.enable()  # as `options.open_library` does for other commands
    if not quiet:
        options.show_notes()
    with stop_on_interrupt() as should_stop:
        try:
            report = measure(
                photos or None,
                path=library,
                seconds=seconds,
                progress=lambda text: note(text, quiet=quiet),
                should_stop=should_stop,
                **model,
            )
        except KeyboardInterrupt:
            ctx.exit(130)
    if as_json:
        write_json(report.to_dict(), sys.stdout)
    else:
        _show(report)


def _show(report: BenchReport) -> None:
    rates = report.rates
    decoding = f"{rates.decode_core:.1f} photos/s on one core, {rates.decode:.1f} with {report.workers} threads"
    if rates.decode_fast is not None:
        decoding += f"; --decode fast: {rates.decode_fast:.1f} on one core"
    print_pairs(
        {
            "model": f"{report.model}, {report.precision}, {report.runtime} on {report.device}",
            "photos": f"{report.photos:,} of {report.megapixels:.1f} megapixels, decode {report.decode}",
            "decoding": decoding,
            "encoding": f"{rates.encode:.1f} images/s",
            "sync": f"{rates.sync:.1f} photos/s; decoding and model allow {report.expected_sync:.1f}",
            "prompts": f"{report.prompts:,.0f}/s",
            "classify": f"{report.scores / 1e6:.1f} million scores/s, over {report.vectors:,} images",
            "search": f"{report.search_ms:.1f} ms",
            "10,000 photos": f"about {duration(report.seconds_for_10000)}",
        }
    )
    click.echo(f"\n{report.advice}")

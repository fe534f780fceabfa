"""zsindex embed"""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import click

from . import options
from .output import destination, write_ndjson


@click.command()
@click.argument("inputs", nargs=-1, required=True, metavar="TEXT|IMAGE...")
@click.option(
    "--format",
    "fmt",
    type=click.Choice(["ndjson", "npy"]),
    default="ndjson",
    show_default=True,
    help="One JSON object per line, or one float32 array (n, dim) in NumPy's format.",
)
@options.output
@options.truncate
@options.library
@options.which_model
def embed(
    inputs: tuple[str, ...],
    fmt: str,
    output: Path | None,
    truncate: bool,
    library: options.Place | None,
    **model: Any,
) -> None:
    """Print the L2-normalised vectors of texts and images, and cache them.

    An input that names an existing file or a photo of the library is taken as that image; text:INPUT is always text.
    """
    if not all(inputs):
        raise click.UsageError("an input is empty")
    if fmt == "npy" and output is None and sys.stdout.isatty():
        raise click.UsageError("--format npy is binary: name a file with --output, or pipe it")
    import numpy as np

    from zsindex.errors import ImageError

    with options.open_library(library, create=True, **model) as opened:
        is_image = [opened.photos.is_image(given) for given in inputs]
        vectors = np.empty((len(inputs), opened.model.dim), dtype=np.float32)
        images = [given for given, yes in zip(inputs, is_image, strict=True) if yes]
        texts = [given.removeprefix("text:") for given, yes in zip(inputs, is_image, strict=True) if not yes]
        mask = np.array(is_image)
        try:
            vectors[mask] = opened.embed_images(images)
        except ImageError as error:
            raise ImageError(
                error.reason, f"{error.detail} (to embed it as text: text:{error.path})", path=error.path
            ) from error
        vectors[~mask] = opened.embed_texts(texts, truncate=truncate)
        name = str(opened.spec)
    with destination(output, binary=fmt == "npy") as out:
        if fmt == "npy":
            packed = io.BytesIO()  # numpy asks for the position in the file, which a pipe does not have
            np.save(packed, vectors, allow_pickle=False)
            out.write(packed.getbuffer())
        else:
            rows = zip(inputs, is_image, vectors, strict=True)
            write_ndjson(
                (
                    {"input": given, "kind": "image" if yes else "text", "model": name, "vector": _plain(vector)}
                    for given, yes, vector in rows
                ),
                out,
            )


def _plain(vector: Any) -> list[float]:
    """The shortest decimals that read back as the same float32."""
    return [float(str(value)) for value in vector]

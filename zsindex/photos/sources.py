"""Images as callers hand them over: paths, PIL images, bytes. Each becomes a content digest and, if need be, pixels."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from PIL import Image

from zsindex.errors import ImageError
from zsindex.photos import decode
from zsindex.photos.formats import PHOTO_EXTENSIONS, extension
from zsindex.photos.scaling import Fitting
from zsindex.records import AS_REFERENCE, Decoded, DecodeMode, Rendering, SkipReason

if TYPE_CHECKING:
    from zsindex.photos.sandbox import Decoder

ImageLike: TypeAlias = "str | os.PathLike[str] | bytes | Image.Image"
# Why a file cannot be read although it may well exist: somewhere else, or for somebody else.
OUT_OF_REACH = frozenset({SkipReason.VANISHED, SkipReason.BROKEN_LINK, SkipReason.PERMISSION, SkipReason.IO_ERROR})


@dataclass(frozen=True, slots=True)
class Source:
    """An image that was read but not decoded.

    Attributes:
        digest: SHA-256 of the file's bytes; of the pixels for an image in memory.
        content: the bytes, or the upright image; or why they could not be read, for a photo that the library knows.
        name: for messages; the path where there is one.
        decoder: decodes bytes in place of `zsindex.photos.decode.decode`, with limits.
    """

    digest: bytes
    content: bytes | Image.Image | ImageError
    name: str
    decoder: Decoder | None = None

    def decode(
        self,
        *,
        mode: DecodeMode,
        input_size: tuple[int, int],
        max_pixels: int,
        rendering: Rendering,
        fitting: Fitting | None = None,
    ) -> Decoded:
        """Decode it; an image in memory was rendered as it was read.

        Args:
            fitting: as for a `Decoder`.

        Raises:
            ImageError: names the image.
        """
        if isinstance(self.content, ImageError):
            raise self.content
        if isinstance(self.content, Image.Image):
            return Decoded(self.content, self.content.width, self.content.height, self.content.format or "")
        try:
            if self.decoder is not None:
                return self.decoder.decode(self.content, mode, input_size, rendering, name=self.name, fitting=fitting)
            return decode.decode(
                self.content,
                mode=mode,
                input_size=input_size,
                max_pixels=max_pixels,
                name_hint=self.name,
                rendering=rendering,
            )
        except ImageError as error:
            raise ImageError(error.reason, error.detail, path=self.name) from error


def read(image: ImageLike, *, position: int = 0, rendering: Rendering = AS_REFERENCE) -> Source:
    """Read an image.

    Args:
        image: a path (``~`` is expanded), encoded bytes, or a PIL image.
        position: in the caller's list, to name images that have no path.
        rendering: of a PIL image, which is identified by what the model sees of it.

    Raises:
        ImageError: the file cannot be read, or the image is none.
    """
    if isinstance(image, Image.Image):
        upright = decode.prepare(image, rendering)
        return Source(decode.pixel_digest(upright), upright, f"image number {position + 1}")
    if isinstance(image, bytes):
        return Source(decode.digest(image), image, f"image number {position + 1}")
    if not isinstance(image, (str, os.PathLike)):
        raise TypeError(f"an image is a path, encoded bytes or a PIL image, not {type(image).__name__}")
    path = os.path.expanduser(os.fspath(image))
    content = decode.read_file(path)
    return Source(content.digest, content.data, path)


def reads_like_a_path(term: str) -> bool:
    """Whether a text that names no file was most likely meant to: it begins like a path, or ends like a photo."""
    return term.startswith(("/", "./", "../", "~/")) or os.path.isabs(term) or extension(term) in PHOTO_EXTENSIONS


def is_image_path(term: object) -> bool:
    """Whether a search term is meant as an image: a path object, or the name of a file that exists."""
    # Not pathlib's functions: they raise for "~name" without such a user, and for a query longer than any file name.
    return isinstance(term, os.PathLike) or (isinstance(term, str) and os.path.isfile(os.path.expanduser(term)))

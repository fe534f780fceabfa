"""Images that come with a request: as files, in base64, or as URLs where that is switched on."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence

from fastapi import UploadFile

from zsindex.records import FloatArray
from zsindex.web import fetching
from zsindex.web.problems import Problem
from zsindex.web.service import Service


def read(service: Service, files: Sequence[UploadFile]) -> list[bytes]:
    """The bytes of files.

    Raises:
        Problem: there are too many, or one is empty.
    """
    if len(files) > service.limits.upload_images:
        raise Problem("too-many", 413, f"more than {service.limits.upload_images} images in one request")
    contents = [file.file.read() for file in files]
    if not all(contents):
        raise Problem("image", 422, "an image is empty", reason="empty")
    return contents


def from_text(service: Service, text: str) -> bytes:
    """The bytes that a text stands for: base64, a ``data:`` URI of it, or a URL.

    Raises:
        Problem: it is none of these, or a URL where they are not fetched.
        FetchError
    """
    if text[:8].lower().startswith(("http://", "https://")):
        if not service.security.fetch_urls:
            raise Problem("fetching-off", 403, "this service does not fetch URLs; send the image itself, in base64")
        return fetching.fetch(text, max_bytes=service.limits.upload_bytes)
    if text.startswith("data:"):
        text = text.partition(",")[2]
    try:
        data = base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise Problem("image", 422, "this is not an image in base64", reason="not-an-image") from error
    if not data:
        raise Problem("image", 422, "the image is empty", reason="empty")
    return data


def vectors_of(service: Service, images: Sequence[bytes], *, store: bool = False) -> FloatArray:
    """Vectors of encoded images, float32 (n, dim). What the library does not know is decoded in another process."""
    return service.serving.embed_encoded(images, decoder=service.decoder, store=store)

"""Images in every form that the transformers pipeline accepts, and a few more: see `to_image`."""

from __future__ import annotations

import base64
import http.client
import os
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from typing import Any, TypeAlias

import numpy as np
from PIL import Image

from zsindex._version import __version__
from zsindex.errors import FetchError, ImageError
from zsindex.photos.sources import ImageLike
from zsindex.records import SkipReason

# Arrays: height by width, grey, or height by width by 1 to 4 channels.
Picture: TypeAlias = "ImageLike | np.ndarray[Any, Any]"

MAX_DOWNLOAD_BYTES = 256 << 20
_PIECE = 1 << 16
_MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}


def is_one(given: object) -> bool:
    """Whether this stands for one image, as opposed to several."""
    if isinstance(given, (str, bytes, bytearray, memoryview, os.PathLike, Image.Image, Mapping)):
        return True
    if isinstance(given, np.ndarray):
        return given.ndim < 4 and given.dtype.kind in "biufc"
    if hasattr(given, "__dlpack__") or hasattr(given, "read"):  # a tensor, or an open file, which iterates over lines
        return True
    return not (hasattr(given, "__iter__") or hasattr(given, "__getitem__"))


def each(images: Any) -> Iterator[Any]:
    """Iterate over images. A torch data set can be counted and indexed, but does not signal its end."""
    if hasattr(images, "__iter__"):
        return iter(images)
    if hasattr(images, "__len__"):
        return (images[i] for i in range(len(images)))
    return iter(images)


def to_image(image: Any, *, timeout: float | None = None, is_known: Callable[[str], bool] | None = None) -> ImageLike:
    """Convert one image in any form to one that `Library.embed_images` takes.

    Args:
        image: a PIL image, encoded bytes, a file opened for reading bytes, a path object, an array of `Picture`'s
            shape; or a string, which is, in this order, an http(s) URL, a ``data:`` URI, the name of a file, or base64.
        timeout: seconds within which a URL must be read; None waits forever.
        is_known: whether a string is the name of a known file that is not on this disk.

    Raises:
        TypeError: it is none of these.
        ImageError: the string is neither the name of a file nor base64, or the array is not a picture.
        FetchError: the URL cannot be read.
    """
    if isinstance(image, (Image.Image, bytes, os.PathLike)):
        return image
    if isinstance(image, (bytearray, memoryview)):
        return bytes(image)
    if isinstance(image, np.ndarray) or hasattr(image, "__dlpack__"):  # a tensor in the memory of the CPU
        return _from_array(np.asarray(image))
    if hasattr(image, "read"):
        image = image.read()
        if isinstance(image, bytes):
            return image
        raise TypeError("open image files in binary mode: open(…, 'rb')")
    if not isinstance(image, str):
        raise TypeError(
            "an image is a path, a URL, base64 or a data: URI, a PIL image, an array (height, width, channels) or "
            f"encoded bytes, not {type(image).__name__}"
        )
    if image.startswith(("http://", "https://")):
        return fetch(image, timeout)
    if image.startswith("data:"):
        return _from_base64(image.partition(",")[2], image)
    # Not Path.exists, which raises for a name as long as base64.
    if os.path.exists(os.path.expanduser(image)) or (is_known is not None and is_known(image)):
        return image
    return _from_base64(image, image)


def to_images(images: Iterable[Any], *, timeout: float | None = None) -> list[ImageLike]:
    """`to_image` of each."""
    return [to_image(image, timeout=timeout) for image in images]


def _from_base64(text: str, shown: str) -> bytes:
    try:
        if not (content := base64.b64decode("".join(text.split()), validate=True)):
            raise ValueError("nothing")
        return content
    except ValueError:  # includes binascii's error
        shown = shown if len(shown) < 80 else f"{shown[:60]}…"
        raise ImageError(
            SkipReason.NOT_AN_IMAGE,
            "neither an existing file, nor an http(s) URL, nor base64 of an image",
            path=shown or repr(shown),
        ) from None


# --- arrays -----------------------------------------------------------------------------------------------------------


def _from_array(array: np.ndarray[Any, Any]) -> Image.Image:
    shape = array.shape[:2] if array.ndim == 3 and array.shape[2] == 1 else array.shape
    channels = 1 if len(shape) == 2 else shape[2] if len(shape) == 3 else 0
    if channels not in _MODES or 0 in shape or array.dtype.kind not in "biuf":
        raise ImageError(
            SkipReason.NOT_AN_IMAGE,
            f"an array of {array.dtype} with shape {array.shape} is not an image; expected (height, width) or (height, "
            "width, 1 to 4 channels)",
        )
    array = array.reshape(shape)
    if array.dtype == np.uint16:
        # 16-bit grey is kept, and scaled in the same place as photos with 16-bit grey.
        levels = array if channels == 1 else ((array.astype(np.uint32) + 128) // 257).astype(np.uint8)
    else:
        levels = _levels(array)
    return Image.fromarray(np.ascontiguousarray(levels))


def _levels(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Levels from 0 to 255, as uint8."""
    if array.dtype == np.uint8:
        return array
    if array.dtype == np.bool_:
        return array.astype(np.uint8) * np.uint8(255)
    least, most = float(array.min()), float(array.max())  # a NaN shows up in both
    if array.dtype.kind == "f" and least >= 0 and most <= 1:
        return np.round(array.astype(np.float64) * 255).astype(np.uint8)
    if least >= 0 and most <= 255 and (array.dtype.kind in "iu" or np.array_equal(array, np.trunc(array))):
        return array.astype(np.uint8)
    wanted = "from 0 to 1, or integers from 0 to 255" if array.dtype.kind == "f" else "from 0 to 255"
    raise ImageError(
        SkipReason.NOT_AN_IMAGE,
        f"an array of {array.dtype} from {least:g} to {most:g} is not an image; expected numbers {wanted}",
    )


# --- URLs -------------------------------------------------------------------------------------------------------------


def fetch(url: str, timeout: float | None) -> bytes:
    """Download an http(s) URL, following redirects: at most `MAX_DOWNLOAD_BYTES`, and from no other kind of address.

    Raises:
        FetchError
    """
    if timeout is None:
        return _read(url, None)
    # A socket's timeout applies to each step: name lookup, each redirect, each header line. The total time is limited
    # from outside; a late download is left to end on its own.
    found: Future[bytes] = Future()

    def read() -> None:
        try:
            found.set_result(_read(url, timeout))
        except Exception as error:  # noqa: BLE001  whatever it is, it is raised where the result is awaited
            found.set_exception(error)

    threading.Thread(target=read, name="zsindex-fetch", daemon=True).start()
    try:
        return found.result(timeout)
    except TimeoutError:
        raise FetchError(url, f"it took longer than {timeout:g} s") from None


def _read(url: str, timeout: float | None) -> bytes:
    deadline = None if timeout is None else time.monotonic() + timeout
    pieces: list[bytes] = []
    left = MAX_DOWNLOAD_BYTES
    try:
        request = urllib.request.Request(_in_ascii(url), headers={"User-Agent": f"zsindex/{__version__}"})
        with _opener().open(request, timeout=timeout) as response:
            while piece := response.read1(_PIECE):
                pieces.append(piece)
                left -= len(piece)
                if left < 0:
                    raise FetchError(url, f"it is larger than {MAX_DOWNLOAD_BYTES >> 20} MB")
                if deadline is not None and time.monotonic() > deadline:
                    raise FetchError(url, f"it took longer than {timeout:g} s")
            if response.length:  # more was promised than received
                raise FetchError(url, "the server closed the connection early")
    except urllib.error.HTTPError as error:
        error.close()
        reason = str(error.reason).partition("\n")[0]  # three lines for a redirect loop
        raise FetchError(url, f"the server answered {error.code} {reason}") from error
    except (OSError, ValueError, http.client.HTTPException) as error:  # ValueError and InvalidURL: not a valid URL
        why = " ".join(str(getattr(error, "reason", error)).split())  # it may quote what the server sent
        raise FetchError(url, why or type(error).__name__) from error
    return b"".join(pieces)


def _in_ascii(url: str) -> str:
    """A URL as it is sent, with letters and spaces in its path quoted as browsers do; quoted parts are kept."""
    scheme, place, path, query, _ = urllib.parse.urlsplit(url)
    kept = "%/:=&?~#+!$,;'@()*[]"
    quoted = (urllib.parse.quote(part, safe=kept) for part in (path, query))
    return urllib.parse.urlunsplit((scheme, place, *quoted, ""))


def _opener() -> urllib.request.OpenerDirector:
    # urlopen's own also follows redirects to ftp:, and may have been replaced for the whole process.
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.UnknownHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPRedirectHandler(),
        urllib.request.HTTPErrorProcessor(),
    ):
        opener.add_handler(handler)
    return opener

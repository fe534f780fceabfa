"""Small pictures of photos, kept on disk by content and size, the least recently used going first."""

from __future__ import annotations

import hashlib
import io
import os
import threading
import time
from collections import OrderedDict
from contextlib import suppress
from pathlib import Path

from PIL import Image

from zsindex.photos.codec_errors import codec_errors
from zsindex.photos.sandbox import Decoder
from zsindex.records import AS_SEEN, DecodeMode

SIZES = (64, 128, 256, 512, 1024)
MEDIA_TYPE = "image/jpeg"
QUALITY = 82
# A temporary file of this age was left by a kill: writing one takes milliseconds.
_ABANDONED_S = 3600
# After so many new ones the folder is listed again, which takes as long as to make a few hundred.
_LOOK_AGAIN = 4096
_DIGEST_BYTES = hashlib.sha256().digest_size
# How many are made at a time: each decodes a photo.
_AT_ONCE = max(2, os.cpu_count() or 1)


def render(data: bytes, size: int, *, name: str, decoder: Decoder) -> bytes:
    """Make a JPEG in sRGB whose longer side has at most `size` pixels, without any of the photo's metadata.

    Raises:
        ImageError: it cannot be decoded.
    """
    half = max(1, size // 2)  # JPEGs are decoded to no less than twice of it
    image = decoder.decode(data, DecodeMode.FAST, (half, half), AS_SEEN, name=name).image
    with codec_errors():
        image = image.convert("RGB")
        image.thumbnail((size, size), Image.Resampling.LANCZOS)
        out = io.BytesIO()
        image.info = {}  # also its colour profile: the picture is in sRGB now
        image.save(out, "JPEG", quality=QUALITY)
        return out.getvalue()


class Thumbnails:
    """A folder of thumbnails that never holds more than so many bytes, beyond the one that was added last, and a few
    thousand where several services share it.

    What is in it can go at any time: it is made again. Behind each picture stands its SHA-256: a power cut, a full disk
    or a bad one can leave anything under its name, and browsers would keep that for good.
    """

    def __init__(self, folder: Path, *, max_bytes: int) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._sizes: OrderedDict[str, int] | None = None
        self._added = 0
        self.bytes = 0
        self.making = threading.BoundedSemaphore(_AT_ONCE)

    def get(self, name: str) -> bytes | None:
        """A thumbnail by its name; None if it must be made."""
        try:
            stored = self._file(name).read_bytes()
        except OSError:
            return None
        data, digest = stored[:-_DIGEST_BYTES], stored[-_DIGEST_BYTES:]
        if hashlib.sha256(data).digest() != digest or not data:
            return None  # made again, it takes the place of this one
        with self._lock:
            known = self._known()
            if name in known:
                known.move_to_end(name)
        with suppress(OSError):
            os.utime(self._file(name))  # what is used stays, also after a restart
        return data

    def add(self, name: str, data: bytes) -> None:
        """Keep a thumbnail. A disk that is full, or may not be written, costs only the cache."""
        stored = data + hashlib.sha256(data).digest()
        file = self._file(name)
        temporary = file.with_name(f"{file.name}.{os.getpid()}.{threading.get_ident()}.tmp")
        try:
            file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            temporary.write_bytes(stored)
            temporary.replace(file)
        except OSError:
            with suppress(OSError):
                temporary.unlink()
            return
        with self._lock:
            self._added += 1
            if self._added % _LOOK_AGAIN == 0:
                self._sizes = None  # other services have the same folder
            known = self._known()
            self.bytes += len(stored) - known.pop(name, 0)
            known[name] = len(stored)
            while self.bytes > self._max_bytes and len(known) > 1:
                oldest, size = known.popitem(last=False)
                self.bytes -= size
                with suppress(OSError):
                    self._file(oldest).unlink()

    def _file(self, name: str) -> Path:
        return self._folder / name[:2] / name

    def _known(self) -> OrderedDict[str, int]:
        if self._sizes is None:
            try:
                lefts, files = list(self._folder.glob("??/*.tmp")), list(self._folder.glob("??/*.jpg"))
            except OSError:
                return OrderedDict()  # the next one asks again
            for left in lefts:
                with suppress(OSError):
                    if time.time() - left.stat().st_mtime > _ABANDONED_S:
                        left.unlink()
            found = []
            for file in files:
                with suppress(OSError):
                    status = file.stat()
                    found.append((status.st_mtime, file.name, status.st_size))
            self._sizes = OrderedDict((name, size) for _, name, size in sorted(found))
            self.bytes = sum(self._sizes.values())
        return self._sizes

"""Decoding uploads: in processes of their own, as photos of the library, but within the service's own limits."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from zsindex.photos.sandbox import Sandbox
from zsindex.photos.scaling import Fitting
from zsindex.records import AS_REFERENCE, Decoded, DecodeLimits, DecodeMode, Facts, Rendering
from zsindex.web.limits import Limits
from zsindex.web.problems import busy

# How many uploads may wait for a process, for each process.
_WAITING = 8


class UploadDecoder:
    """A `zsindex.photos.sandbox.Decoder` that so many may wait for, and no more."""

    def __init__(self, limits: Limits) -> None:
        self._sandbox = Sandbox(
            DecodeLimits(limits.decode_s, limits.decode_bytes),
            workers=limits.decoders,
            max_pixels=limits.upload_pixels,
        )
        self._places = threading.BoundedSemaphore(limits.decoders * (1 + _WAITING))

    def decode(
        self,
        data: bytes,
        mode: DecodeMode,
        input_size: tuple[int, int],
        rendering: Rendering = AS_REFERENCE,
        *,
        name: str = "",
        fitting: Fitting | None = None,
    ) -> Decoded:
        """Decode an upload. What it is called counts for nothing.

        Raises:
            ImageError, DecoderUnavailable
            Problem: too many wait already.
        """
        with self._place():
            return self._sandbox.decode(data, mode, input_size, rendering, fitting=fitting)

    def read_facts(self, data: bytes) -> Facts:
        """Read what the header of an upload says; see `zsindex.photos.facts.read`.

        Raises:
            ImageError, DecoderUnavailable
            Problem: too many wait already.
        """
        with self._place():
            return self._sandbox.read_facts(data)

    @contextmanager
    def _place(self) -> Iterator[None]:
        if not self._places.acquire(blocking=False):
            raise busy("too many uploads are being decoded")
        try:
            yield
        finally:
            self._places.release()

    def start(self) -> None:
        """See `zsindex.photos.sandbox.Decoder`."""
        self._sandbox.start()

    def close(self) -> None:
        """End the processes."""
        self._sandbox.stop()

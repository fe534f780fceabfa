"""Decoding uploads in processes of their own, with limits of memory and time: what a bomb blows up is not the service.

``python -m zsindex.web.sandbox BYTES`` is such a process. It reads requests from stdin and writes answers to stdout: a
line of JSON each, and as many bytes as that says. Answers hold pixels and nothing that would be executed.
"""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from PIL import Image

from zsindex.errors import ImageError
from zsindex.records import AS_REFERENCE, Decoded, DecodeMode, IccMode, Rendering, SkipReason, TransparencyMode
from zsindex.web.problems import busy

# Longest line of an answer: a mode, a size, a few words.
_MOST_LINE = 1 << 16
# A worker is exchanged after so many images, in case a codec leaks.
_MOST_IMAGES = 500
# How many may wait for a worker, for each worker.
_WAITING = 8


class Sandbox:
    """Some processes that decode images.

    `decode` may be called from several threads. Processes are started when they are needed.
    """

    def __init__(self, *, workers: int, max_pixels: int, memory_bytes: int, timeout_s: float) -> None:
        """Args:
        max_pixels, memory_bytes, timeout_s: for one image.
        """
        self._max_pixels, self._memory_bytes, self._timeout_s = max_pixels, memory_bytes, timeout_s
        self._free: queue.LifoQueue[_Worker | None] = queue.LifoQueue()
        for _ in range(workers):
            self._free.put(None)
        self._places = threading.BoundedSemaphore(workers * (1 + _WAITING))

    def decode(
        self, data: bytes, mode: DecodeMode, input_size: tuple[int, int], rendering: Rendering = AS_REFERENCE
    ) -> Decoded:
        """See `zsindex.photos.decode.decode`, which does it over there.

        Raises:
            ImageError: also where the process had to be ended: DECODE_FAILED.
            Problem: too many wait already.
        """
        if not self._places.acquire(blocking=False):
            raise busy("too many uploads are being decoded")
        try:
            worker = self._free.get()
            try:
                if worker is None:
                    worker = _Worker(self._memory_bytes)
                return worker.decode(data, mode, input_size, rendering, self._max_pixels, self._timeout_s)
            finally:
                if worker is not None and not worker.is_good:
                    worker.close()
                    worker = None
                self._free.put(worker)
        finally:
            self._places.release()

    def close(self) -> None:
        """End the processes that have nothing to do."""
        idle = []
        with suppress(queue.Empty):
            while True:
                idle.append(self._free.get_nowait())
        for worker in idle:
            if worker is not None:
                worker.close()
            self._free.put(None)


class _Worker:
    def __init__(self, memory_bytes: int) -> None:
        # One thread of numpy's: each would reserve memory of its own.
        environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "zsindex.web.sandbox", str(memory_bytes)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
        )
        self._done = 0
        self.is_good = True

    def decode(
        self,
        data: bytes,
        mode: DecodeMode,
        input_size: tuple[int, int],
        rendering: Rendering,
        max_pixels: int,
        timeout_s: float,
    ) -> Decoded:
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        self._done += 1
        deadline = threading.Timer(timeout_s, self._process.kill)
        deadline.daemon = True
        deadline.start()
        self.is_good = False  # until the answer is whole
        try:
            request = {
                "mode": str(mode),
                "input_size": input_size,
                "max_pixels": max_pixels,
                "icc": str(rendering.icc),
                "transparency": str(rendering.transparency),
            }
            _write(stdin, request, data)
            answer = _read(stdout)
        except (OSError, ValueError) as error:
            raise _too_much(timeout_s) from error
        finally:
            deadline.cancel()
        if answer is None:
            raise _too_much(timeout_s)
        self.is_good = self._done < _MOST_IMAGES
        about, pixels = answer
        if "reason" in about:
            raise ImageError(SkipReason(about["reason"]), str(about["detail"]))
        width, height = about["size"]
        palette = about["palette_bytes"]
        image = Image.frombytes(about["mode"], (width, height), pixels[palette:])
        if palette:
            image.putpalette(pixels[:palette], about["palette_mode"])
        return Decoded(image, about["width"], about["height"], about["format"], about["incomplete"])

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with suppress(OSError):
                    stream.close()


def _too_much(timeout_s: float) -> ImageError:
    return ImageError(SkipReason.DECODE_FAILED, f"decoding it took more than {timeout_s:g} s, or ended the decoder")


def _write(stream: IO[bytes], about: dict[str, Any], data: bytes) -> None:
    stream.write(json.dumps({**about, "bytes": len(data)}).encode() + b"\n")
    stream.write(data)
    stream.flush()


def _read(stream: IO[bytes]) -> tuple[dict[str, Any], bytes] | None:
    """What `_write` wrote; None at the end of the stream."""
    line = stream.readline(_MOST_LINE)
    if not line.endswith(b"\n"):
        return None
    about = json.loads(line)
    data = stream.read(about["bytes"])
    return (about, data) if len(data) == about["bytes"] else None


# --- over there -------------------------------------------------------------------------------------------------------


def serve(stdin: IO[bytes], stdout: IO[bytes]) -> None:
    """Answer requests until there are no more."""
    from zsindex.photos import decode

    while (request := _read(stdin)) is not None:
        about, data = request
        height, width = about["input_size"]
        try:
            found = decode.decode(
                data,
                mode=DecodeMode(about["mode"]),
                input_size=(height, width),
                max_pixels=about["max_pixels"],
                rendering=Rendering(IccMode(about["icc"]), TransparencyMode(about["transparency"])),
            )
        except ImageError as error:
            _write(stdout, {"reason": str(error.reason), "detail": error.detail}, b"")
            continue
        except MemoryError:
            _write(stdout, {"reason": SkipReason.OUT_OF_MEMORY, "detail": "there was not enough memory for it"}, b"")
            continue
        image = found.image
        palette_mode = image.palette.mode if image.palette is not None and image.mode in ("P", "PA") else ""
        palette = bytes(image.getpalette(palette_mode) or ()) if palette_mode else b""
        answer = {
            "mode": image.mode,
            "size": image.size,
            "palette_mode": palette_mode,
            "palette_bytes": len(palette),
            "width": found.width,
            "height": found.height,
            "format": found.format,
            "incomplete": found.incomplete,
        }
        _write(stdout, answer, palette + image.tobytes())


def limit_memory(more_bytes: int) -> None:
    """Let this process take so much more memory than it has, and dump no core. Only where the system can."""
    try:
        import resource
    except ImportError:  # Windows
        return
    try:
        taken = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()
    except OSError:  # not Linux
        taken = 1 << 30
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_AS, (taken + more_bytes, taken + more_bytes))
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def main() -> None:
    """Be such a process."""
    import numpy as np

    from zsindex.photos import decode

    assert np.__name__
    assert decode.__name__  # imported before memory is limited, so that the limit is about images
    limit_memory(int(sys.argv[1]))
    with os.fdopen(0, "rb") as stdin, os.fdopen(1, "wb") as stdout:
        serve(stdin, stdout)


if __name__ == "__main__":
    main()

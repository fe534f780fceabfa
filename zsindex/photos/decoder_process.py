"""What runs in the processes that `zsindex.photos.sandbox` starts: ``python -m zsindex.photos.decoder_process``.

A process reads requests from a pipe and writes answers to another one: a line of JSON each, and as many bytes as that
says. Answers hold pixels and nothing that would be executed.

It ends by itself when the pipe is closed, which also the end of its parent does, however that comes; when it has had
nothing to do for a while; and when a photo takes too long, by an alarm that no codec can keep from ringing. It knows
nothing of Ctrl-C, which is for the program that started it.
"""

from __future__ import annotations

import faulthandler
import json
import os
import select
import signal
import socket
import sys
import traceback
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from PIL import Image

from zsindex.errors import ImageError
from zsindex.photos import decode, facts, plain
from zsindex.photos.codec_errors import codec_errors
from zsindex.photos.scaling import Fitting
from zsindex.records import DecodeMode, IccMode, Rendering, SkipReason, TransparencyMode

# After so long with nothing to do a process ends.
IDLE_S = 60.0
HAS_ALARM = hasattr(signal, "setitimer")
# What the process that others are forked from is asked: to start one, with its limits; by its number, how one ended; by
# that below zero, to end it.
START = b"start"
MOST_ASKED = 64
# What it says of one that could not be started, before the number of the error, and of one that has not ended.
FAILED, RUNNING = b"!", b"?"
# How long a process that ended for want of work may stay unburied.
_BURY_S = 10.0
# Longest line of a request or an answer: a mode, a size, a few words, and facts, of which `zsindex.photos.facts` keeps
# less than that in letters that take twelve bytes.
MOST_LINE = 1 << 20


# --- both sides -------------------------------------------------------------------------------------------------------


def write(stream: IO[bytes], about: dict[str, Any], data: bytes) -> None:
    """Write a request or an answer."""
    stream.write(json.dumps({**about, "bytes": len(data)}).encode() + b"\n")
    stream.write(data)
    stream.flush()


def _read_about(stream: IO[bytes]) -> dict[str, Any] | None:
    line = stream.readline(MOST_LINE)
    if not line.endswith(b"\n"):
        return None
    about: dict[str, Any] = json.loads(line)
    return about


def read(stream: IO[bytes]) -> tuple[dict[str, Any], bytes] | None:
    """What `write` wrote; None at the end of the stream."""
    about = _read_about(stream)
    if about is None:
        return None
    data = stream.read(about["bytes"])
    return (about, data) if len(data) == about["bytes"] else None


def comes(pipe: IO[bytes] | socket.socket, most_s: float) -> bool:
    """Wait until there is something to read, or the end. Where the system cannot wait for so long and no longer, the
    answer is that there is.
    """
    if not hasattr(select, "poll"):
        return True
    poll = select.poll()
    poll.register(pipe, select.POLLIN)
    return bool(poll.poll(1000 * most_s))


# --- over there -------------------------------------------------------------------------------------------------------


def serve(stdin: IO[bytes], stdout: IO[bytes], memory: _Memory, seconds: float) -> None:
    """Answer requests until there are no more."""
    write(stdout, {"limits_memory": memory.is_limited}, b"")
    while comes(stdin, IDLE_S):
        request = _read_about(stdin)
        if request is None:
            return
        memory.allow(request["bytes"])
        data = stdin.read(request["bytes"])
        if len(data) < request["bytes"]:
            return
        with _alarm(seconds):
            about, pixels = _answered(request, data)
        write(stdout, about, pixels)


def _answered(request: dict[str, Any], data: bytes) -> tuple[dict[str, Any], bytes]:
    try:
        return _decoded(request, data) if "mode" in request else (_facts(request, data), b"")
    except ImageError as error:
        return {"reason": str(error.reason), "detail": error.detail}, b""
    except MemoryError:
        return {"reason": SkipReason.OUT_OF_MEMORY, "detail": "there was not enough memory for it"}, b""
    except Exception:  # noqa: BLE001  not a codec's, which `decode` turns into an ImageError, but a mistake of ours
        return {"mistake": traceback.format_exc()}, b""


def _decoded(request: dict[str, Any], data: bytes) -> tuple[dict[str, Any], bytes]:
    height, width = request["input_size"]
    found = decode.decode(
        data,
        mode=DecodeMode(request["mode"]),
        input_size=(height, width),
        max_pixels=request["max_pixels"],
        name_hint=request["name"],
        rendering=Rendering(IccMode(request["icc"]), TransparencyMode(request["transparency"])),
    )
    image = found.image
    if request["fitting"] is not None:
        with codec_errors():
            image = Fitting(*request["fitting"]).if_smaller(image)
    palette_mode = image.palette.mode if image.palette is not None and image.mode in ("P", "PA") else ""
    palette = bytes(image.getpalette(palette_mode) or ()) if palette_mode else b""
    about = {
        "mode": image.mode,
        "size": image.size,
        "palette_mode": palette_mode,
        "palette_bytes": len(palette),
        "width": found.width,
        "height": found.height,
        "format": found.format,
        "incomplete": found.incomplete,
        **_facts(request, data),
    }
    return about, palette + image.tobytes() if palette else image.tobytes()


def _facts(request: dict[str, Any], data: bytes) -> dict[str, Any]:
    return {"facts": plain.to_plain(facts.read(data, request["name"]))}


class _alarm:  # noqa: N801
    """Ends the process if what is done inside takes longer, whatever it is doing."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def __enter__(self) -> None:
        if HAS_ALARM:
            signal.setitimer(signal.ITIMER_REAL, self._seconds)
        else:
            faulthandler.dump_traceback_later(self._seconds, exit=True, file=2)

    def __exit__(self, *ignored: object) -> None:
        if HAS_ALARM:
            signal.setitimer(signal.ITIMER_REAL, 0)
        else:
            faulthandler.cancel_dump_traceback_later()


class _Memory:
    """How much memory this process may take.

    Attributes:
        is_limited: whether the system holds it to that.
    """

    def __init__(self, more_bytes: int) -> None:
        self._most = 0
        try:
            import resource

            taken = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()
            _, self._hard = resource.getrlimit(resource.RLIMIT_AS)
            self._most = taken + more_bytes
            with suppress(ValueError, OSError):
                resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        except (ImportError, OSError):  # neither Windows nor macOS holds a process to it
            pass
        self.is_limited = self._most > 0
        self.allow(0)

    def allow(self, more_bytes: int) -> None:
        """Let it have so much more, for the bytes of a file."""
        if self.is_limited:
            import resource

            most = self._most + more_bytes
            if self._hard != resource.RLIM_INFINITY:
                most = min(most, self._hard)
            with suppress(ValueError, OSError):
                resource.setrlimit(resource.RLIMIT_AS, (most, self._hard))


def main() -> None:
    """Be such a process, or the one that they are forked from."""
    from PIL import AvifImagePlugin

    Image.init()  # before memory is limited, so that the limit is about photos
    # There are as many processes as cores.
    AvifImagePlugin.DEFAULT_MAX_THREADS = 1
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.argv[1:]:
        _work(0, 1, int(sys.argv[1]), float(sys.argv[2]))
    else:
        with socket.socket(fileno=0) as control:
            work = _fork_as_asked(control)
        if work is not None:  # in a fork
            _work(*work)


def _work(requests: int, answers: int, memory_bytes: int, seconds: float) -> None:
    with os.fdopen(requests, "rb") as stdin, os.fdopen(answers, "wb") as stdout, suppress(BrokenPipeError):
        serve(stdin, stdout, _Memory(memory_bytes), seconds)


def _fork_as_asked(control: socket.socket) -> tuple[int, int, int, float] | None:
    """Start a process for each pair of pipes that comes, and say how those ended that are asked for, until nobody can
    ask any more. Each is a fork, so that what all need is imported once; there are no threads here that a fork lacks.

    Returns:
        In a fork, what `_work` is to be given; None at the end.
    """
    children = _Children()
    while True:
        while not comes(control, _BURY_S):
            children.bury()
        asked, pipes, _, _ = socket.recv_fds(control, MOST_ASKED, 2)
        if not asked:
            return None
        if not asked.startswith(START):
            control.send(children.told(int(asked)))
            continue
        try:
            child = os.fork()
        except OSError as error:
            control.send(FAILED + b"%d" % (error.errno or 0))
        else:
            if child == 0:
                _, memory_bytes, seconds = asked.split()
                return pipes[0], pipes[1], int(memory_bytes), float(seconds)
            children.add(child)
            control.send(b"%d" % child)
        for pipe in pipes:
            os.close(pipe)


class _Children:
    """What was forked, and how it ended."""

    def __init__(self) -> None:
        self._codes: dict[int, int | None] = {}

    def add(self, child: int) -> None:
        self._codes[child] = None

    def bury(self) -> None:
        """Take note of all that have ended."""
        with suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                self._codes[ended[0]] = os.waitstatus_to_exitcode(ended[1])

    def told(self, number: int) -> bytes:
        """How one has ended, as `subprocess` tells it. A negative number is for one that is to be killed."""
        self.bury()
        child = abs(number)
        if child not in self._codes:
            return b"0"
        if number < 0 and self._codes[child] is None:
            os.kill(child, signal.SIGKILL)
        code = self._codes[child]
        if code is None:
            return RUNNING
        if number > 0:
            del self._codes[child]
        return b"%d" % code


if __name__ == "__main__":
    main()

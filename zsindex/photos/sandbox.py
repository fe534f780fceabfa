"""Decoding in processes of their own, with limits of time and memory: what a photo blows up is not the program.

What runs in them is `zsindex.photos.decoder_process`.
"""

from __future__ import annotations

import atexit
import errno
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from types import TracebackType
from typing import IO, Any, Protocol, Self, TypeVar

from PIL import Image

from zsindex.errors import DecoderUnavailable, ImageError
from zsindex.photos import decode, decoder_process, facts, plain
from zsindex.photos.decoder_process import FAILED, HAS_ALARM, MOST_ASKED, RUNNING, START, comes, read, write
from zsindex.photos.scaling import Fitting
from zsindex.records import (
    AS_REFERENCE,
    Decoded,
    DecodeLimits,
    DecodeMode,
    Facts,
    Rendering,
    Settings,
    SkipReason,
)

# A process is exchanged after so many photos, in case a codec leaks.
_MOST_PHOTOS = 10_000
# How long a process may take to start.
_START_S = 120.0
# How long one may be silent beyond the time limit of a photo, after which its own alarm should have ended it.
_GRACE_S = 15.0
# How long one that has closed its end of a pipe may take to be gone.
_ENDING_S = 5.0
# How often a photo is tried in another process, where one had ended for want of work.
_MOST_TRIES = 3
# Whether processes can be forked. Elsewhere the system's libraries do not survive it: each is started by itself.
_CAN_FORK = sys.platform == "linux"
# Not where Python's interpreter is part of another program.
_CAN_START = bool(sys.executable) and not getattr(sys, "frozen", False)
# What pipes hold where the system lets them, so that a photo takes few turns.
_PIPE_BYTES = 1 << 20
# How long to wait before asking again whether a process has ended.
_SOON_S = 0.001


_Told = TypeVar("_Told")


class Decoder(Protocol):
    """What decodes a photo: `Sandbox`, or `Here`."""

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
        """Decode a photo, and read its facts; see `zsindex.photos.decode.decode` and `zsindex.photos.facts.read`.

        Args:
            name: of the file, or its path.
            fitting: what preprocessing would begin with. A decoder may do it to a picture that becomes smaller by it.

        Raises:
            ImageError: also TOO_SLOW, for one that takes too long.
        """
        ...

    def start(self) -> None:
        """Begin what the first photo would have to wait for."""
        ...


class Here:
    """Decodes in this process, without limits of time and memory."""

    def __init__(self, max_pixels: int) -> None:
        self._max_pixels = max_pixels

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
        """See `Decoder`."""
        decoded = decode.decode(
            data,
            mode=mode,
            input_size=input_size,
            max_pixels=self._max_pixels,
            name_hint=name,
            rendering=rendering,
        )
        return replace(decoded, facts=self.read_facts(data, name))

    def read_facts(self, data: bytes, name: str = "") -> Facts:
        """See `Sandbox`."""
        return facts.read(data, name)

    def start(self) -> None:
        """See `Decoder`."""

    def stop(self) -> None:
        """See `Sandbox`."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        pass


class Sandbox:
    """Some processes that decode photos.

    `decode` may be called from several threads. Processes are started when they are needed, and a process that ends
    takes with it the one photo that it was decoding.
    """

    def __init__(self, limits: DecodeLimits, *, workers: int, max_pixels: int, forks: bool = _CAN_FORK) -> None:
        """Args:
        workers: processes at a time.
        forks: whether they are forks of one that has imported what all need.
        """
        self._limits, self._workers, self._max_pixels, self._forks = limits, workers, max_pixels, forks
        self._changed = threading.Condition()
        self._idle: list[_Worker] = []
        self._all: set[_Worker] = set()

    def start(self) -> None:
        """See `Decoder`."""
        if self._forks:
            _begin()

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
        """See `Decoder`.

        Raises:
            ImageError
            DecoderUnavailable: no process can be started.
        """
        request = {
            "mode": str(mode),
            "input_size": input_size,
            "max_pixels": self._max_pixels,
            "icc": str(rendering.icc),
            "transparency": str(rendering.transparency),
            "name": _short(name),
            "fitting": fitting,
        }
        return self._asked(request, data, _decoded)

    def read_facts(self, data: bytes, name: str = "") -> Facts:
        """Read the facts of a photo, of which the header is enough; see `zsindex.photos.facts.read`.

        Raises:
            ImageError: it takes too long or too much, or ends the process.
            DecoderUnavailable: no process can be started.
        """
        return self._asked({"name": _short(name)}, data, lambda about, _: plain.from_plain(about["facts"]))

    def _asked(self, request: dict[str, Any], data: bytes, told: Callable[[dict[str, Any], bytes], _Told]) -> _Told:
        """Ask a process.

        Args:
            told: makes something of its answer.
        """
        failure = ImageError(SkipReason.DECODE_FAILED, "its decoder ended, again and again")
        for _ in range(_MOST_TRIES):
            worker = self._take()
            is_fresh = not worker.done
            try:
                return told(*worker.ask(request, data))
            except _Idle:
                continue
            except ImageError as error:
                # What codecs have leaked before may be what this one lacks.
                if error.reason is not SkipReason.OUT_OF_MEMORY or is_fresh:
                    raise
                worker.is_good, failure = False, error
            finally:
                self._give_back(worker)
        raise failure

    def stop(self) -> None:
        """End all processes; who waits for one gets an `ImageError`. What is decoded next starts new ones."""
        with self._changed:
            workers = list(self._all)
            idle, self._idle = self._idle, []
            self._all.clear()
            self._changed.notify_all()
        for worker in workers:
            worker.kill()
        for worker in idle:  # the others are closed by the threads that they work for
            worker.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def _new(self) -> _Worker:
        process: _Process
        if not self._forks:
            process = _Started(self._limits)
        else:
            try:
                process = _shared().start(self._limits)
            except ChildProcessError:  # something has ended it just now
                process = _shared().start(self._limits)
        worker = _Worker(process, self._limits)
        self._all.add(worker)
        return worker

    def _take(self) -> _Worker:
        """A process that has nothing to do; waits for one if there are as many as there may be, or can be."""
        with self._changed:
            while True:
                if self._idle:
                    return self._idle.pop()
                if len(self._all) < self._workers:
                    try:
                        return self._new()
                    except OSError as error:
                        if not self._all:
                            raise DecoderUnavailable(error.strerror or str(error)) from error
                self._changed.wait()

    def _give_back(self, worker: _Worker) -> None:
        with self._changed:
            is_ours = worker in self._all  # not where `stop` has ended it meanwhile
            if is_ours and worker.is_good:
                self._idle.append(worker)
            else:
                self._all.discard(worker)
            self._changed.notify()
        if not (is_ours and worker.is_good):
            worker.kill()
            worker.close()


def decoder_for(settings: Settings) -> Sandbox | Here:
    """What decodes photos with these settings."""
    if settings.limits is None or not _CAN_START:
        return Here(settings.max_pixels)
    return Sandbox(settings.limits, workers=settings.workers, max_pixels=settings.max_pixels)


def expect_photos(limits: DecodeLimits | None) -> None:
    """Begin what the first photo would have to wait for, before it is known whether there is one."""
    if limits is not None and _CAN_START and _CAN_FORK:
        _begin()


def _short(name: str) -> str:
    """As much of a name as matters."""
    return name[-64:].encode("ascii", "replace").decode("ascii")


class _Idle(Exception):
    """The process had ended for want of work."""


class _Worker:
    """One process, for one thread at a time.

    Attributes:
        done: how many photos it was given.
        is_good: whether it can be given another one.
    """

    def __init__(self, process: _Process, limits: DecodeLimits) -> None:
        self._process = process
        self._limits = limits
        self._limits_memory = False
        self._is_ready = False
        self.done = 0
        self.is_good = True

    def ask(self, request: dict[str, Any], data: bytes) -> tuple[dict[str, Any], bytes]:
        """Have something done with a photo.

        Raises:
            ImageError
            DecoderUnavailable: the process ended before it had begun.
            _Idle
        """
        self.is_good = False  # until the answer is whole
        if not self._is_ready:
            self._await_start()
        self.done += 1
        try:
            write(self._process.stdin, request, data)
            answer = self._answer(self._limits.seconds + _GRACE_S)
        except (OSError, ValueError):
            answer = None
        except MemoryError as error:
            raise ImageError(SkipReason.OUT_OF_MEMORY, "there was not enough memory for its pixels") from error
        if answer is None:
            raise self._failure()
        about, _ = answer
        if "mistake" in about:
            raise RuntimeError(f"a mistake in a process that decodes photos:\n{about['mistake']}")
        self.is_good = self.done < _MOST_PHOTOS
        if "reason" in about:
            reason, detail = SkipReason(about["reason"]), str(about["detail"])
            if reason is SkipReason.OUT_OF_MEMORY and self._limits_memory:
                detail = self._limits.too_much
            raise ImageError(reason, detail)
        return answer

    def kill(self) -> None:
        """End it, whatever it does."""
        self._process.kill()

    def close(self) -> None:
        """Close what leads to it, once it has ended. Only for the thread that it belongs to."""
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            with suppress(OSError):
                stream.close()

    def _await_start(self) -> None:
        """Wait until it is ready.

        Raises:
            DecoderUnavailable
        """
        try:
            answer = self._answer(_START_S)
        except (OSError, ValueError):
            answer = None
        if answer is None:
            self.kill()
            raise DecoderUnavailable(f"one that was started ended again ({_ending(self._process.wait())})")
        self._is_ready = True
        self._limits_memory = answer[0]["limits_memory"]

    def _answer(self, most_s: float) -> tuple[dict[str, Any], bytes] | None:
        """What it says; None if it has ended, or is silent for so long."""
        return read(self._process.stdout) if comes(self._process.stdout, most_s) else None

    def _failure(self) -> ImageError:
        """Why there is no answer.

        Raises:
            _Idle: the photo has nothing to do with it.
        """
        code = self._process.wait()
        if code is None or code == _OF_ALARM:
            return ImageError(SkipReason.TOO_SLOW, self._limits.too_slow)
        if code == 0:
            raise _Idle
        if code == -_SIGKILL:
            detail = "the system killed its decoder, as it does where memory is short"
            return ImageError(SkipReason.OUT_OF_MEMORY, detail)
        detail = f"its decoder crashed ({_ending(code)}); saved anew by another program it may be readable"
        return ImageError(SkipReason.DECODE_FAILED, detail)


def _decoded(about: dict[str, Any], pixels: bytes) -> Decoded:
    width, height = about["size"]
    palette = about["palette_bytes"]
    try:
        image = Image.frombytes(about["mode"], (width, height), memoryview(pixels)[palette:])
    except MemoryError as error:
        raise ImageError(SkipReason.OUT_OF_MEMORY, "there was not enough memory for its pixels") from error
    if palette:
        image.putpalette(pixels[:palette], about["palette_mode"])
    said = plain.from_plain(about["facts"])
    return Decoded(image, about["width"], about["height"], about["format"], about["incomplete"], said)


_SIGKILL = getattr(signal, "SIGKILL", 9)
_OF_ALARM = -signal.SIGALRM if HAS_ALARM else 1


def _ending(code: int | None) -> str:
    """How a process ended, in a word or two."""
    if code is None:
        return "it does not answer"
    if code < 0:
        with suppress(ValueError):
            return signal.Signals(-code).name
    return f"exit status {code}"


# --- starting processes -----------------------------------------------------------------------------------------------


class _Process(Protocol):
    stdin: IO[bytes]
    stdout: IO[bytes]

    def kill(self) -> None: ...

    def wait(self) -> int | None:
        """How it has ended, as `subprocess` tells it; None if it does not."""
        ...


# A Ctrl-C is for the program alone.
_APART: dict[str, Any] = {"process_group": 0}
if sys.platform == "win32":
    _APART = {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW}


def _program(*arguments: str) -> list[str]:
    return [sys.executable, "-P", "-m", decoder_process.__name__, *arguments]


def _environment() -> dict[str, str]:
    """The environment of a process: it finds the modules that this one finds, whatever the working folder."""
    folders = []
    for folder in sys.path:
        with suppress(OSError):  # the working folder may be gone
            folders.append(os.path.abspath(folder))
    # One thread of numpy's, and one place where memory comes from: each would reserve memory of its own.
    one = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MALLOC_ARENA_MAX"), "1")
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(folder for folder in folders if os.pathsep not in folder),
        **one,
    }


def _enlarge(*pipes: IO[bytes]) -> None:
    if sys.platform == "linux":
        import fcntl

        for pipe in pipes:
            with suppress(OSError):  # beyond what the system lets a user have, they stay small
                fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)


class _Started:
    """A process that was started by itself."""

    def __init__(self, limits: DecodeLimits) -> None:
        self._process = subprocess.Popen(
            _program(str(limits.memory_bytes), str(limits.seconds)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=_environment(),
            **_APART,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self.stdin, self.stdout = self._process.stdin, self._process.stdout
        _enlarge(self.stdin, self.stdout)

    def kill(self) -> None:
        self._process.kill()

    def wait(self) -> int | None:
        try:
            return self._process.wait(_ENDING_S)
        except subprocess.TimeoutExpired:
            return None


class _Forking:
    """Has processes forked from one that has imported what all need."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            self._process = subprocess.Popen(
                _program(),
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=_environment(),
                **_APART,
            )
        except BaseException:
            self._control.close()
            raise
        finally:
            theirs.close()

    @property
    def is_there(self) -> bool:
        return self._process.poll() is None

    def start(self, limits: DecodeLimits) -> _Process:
        """Raises:
        OSError
        """
        requests = os.pipe()
        try:
            answers = os.pipe()
        except OSError:
            _close(requests)
            raise
        try:
            asked = b"%b %d %f" % (START, limits.memory_bytes, limits.seconds)
            number = int(self._ask(asked, requests[0], answers[1]))
        except BaseException:
            _close((requests[1], answers[0]))
            raise
        finally:
            _close((requests[0], answers[1]))
        return _Forked(self, number, os.fdopen(requests[1], "wb"), os.fdopen(answers[0], "rb"))

    def code_of(self, number: int) -> int | None:
        """How a process has ended; None if it has not. 0 if nobody knows, as if it had had no work."""
        try:
            answer = self._ask(b"%d" % number)
        except OSError:
            return 0
        return None if answer == RUNNING else int(answer)

    def kill(self, number: int) -> None:
        """End a process, by way of who knows whether the number is still its own."""
        with suppress(OSError):
            self._ask(b"-%d" % number)

    def close(self) -> None:
        """End it, also while it starts. Its forks end with their pipes."""
        self._control.close()
        self._process.kill()
        self._process.wait()

    def leave(self) -> None:
        """In a fork of this program, which has nothing to do with it."""
        self._control.close()
        self._process.returncode = 0  # not a child of this process: there is nothing to wait for

    def _ask(self, what: bytes, *pipes: int) -> bytes:
        """Raises:
        OSError: also ECHILD, where it is not there any more.
        """
        with self._lock:
            try:
                socket.send_fds(self._control, [what], pipes)
                answer = self._control.recv(MOST_ASKED) if comes(self._control, _START_S) else b""
            except OSError as error:
                if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS):
                    raise
                answer = b""
            if not answer:
                self._process.kill()  # also where it is there, and does not answer
                raise OSError(errno.ECHILD, f"one that was started ended again ({_ending(self._process.wait())})")
        if answer.startswith(FAILED):
            number = int(answer.removeprefix(FAILED))
            raise OSError(number, os.strerror(number))
        return answer


# The one of this program, for all that is decoded in it, as `multiprocessing` has one. It ends with the program.
_forking: _Forking | None = None
_making = threading.Lock()


def _shared() -> _Forking:
    """Raises:
    OSError
    """
    global _forking
    with _making:
        if _forking is not None and not _forking.is_there:
            _forking.close()
            _forking = None
        if _forking is None:
            _forking = _Forking()
        return _forking


def _begin() -> None:
    with suppress(OSError):  # which will be told where it matters
        _shared()


@atexit.register
def _end() -> None:
    if _forking is not None:
        _forking.close()


def _leave() -> None:
    """In a fork of this program: it starts its own."""
    global _forking, _making
    _making = threading.Lock()
    if _forking is not None:
        _forking.leave()
    _forking = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave)


class _Forked:
    """A process that was forked."""

    def __init__(self, by: _Forking, number: int, stdin: IO[bytes], stdout: IO[bytes]) -> None:
        self._by, self._number = by, number
        self._code: int | None = None
        self.stdin, self.stdout = stdin, stdout
        _enlarge(stdin, stdout)

    def kill(self) -> None:
        self._by.kill(self._number)

    def wait(self) -> int | None:
        until = time.monotonic() + _ENDING_S
        while self._code is None and time.monotonic() < until:
            self._code = self._by.code_of(self._number)
            if self._code is None:
                time.sleep(_SOON_S)
        return self._code


def _close(pipes: Iterable[int]) -> None:
    for pipe in pipes:
        os.close(pipe)

"""All cores for one thing at a time: what keeps questions that are asked at once from fighting for them.

Left to itself, a matrix product runs on all cores, in threads that wait for each other at its end. Where others want
the cores, too, one of these threads is always late, and that wait is most of the time: ten threads that multiply at
once take several times as long as one after the other. So every core gets blocks of its own, and multiplies with one
thread; and the blocks of all that is asked at the same time are worked on by turns, by the same threads.

Who may use how many: what is asked of all vectors, one thread for each core in all, here; a pass in the thread of
whoever asks, such as those of the label lab, BLAS's own as long as it is the only one, else that thread. FAISS, when an
index file is written, and the runtimes of models have threads of their own, which nothing here limits.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from threadpoolctl import ThreadpoolController

Item = TypeVar("Item")

# The number of threads of numpy's matrix product is a setting of the whole process: the first to need it sets it, and
# the last one that has set it back leaves it as it was.
_setting = threading.Lock()
_each_with_one = _passes = 0
_before: list[tuple[Any, int]] | None = None


@cache
def _blas() -> ThreadpoolController:
    """Looked for once: that goes through all libraries of the process. Those that come later, as torch's, are not
    numpy's.
    """
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController().select(user_api="blas")


@cache
def count() -> int:
    """How many threads numpy's matrix product has of its own accord."""
    return max((library["num_threads"] for library in _blas().info()), default=1)


@contextmanager
def one_thread_each() -> Iterator[None]:
    """Matrix products of the process run in the thread that asks for them, as long as anybody is in here."""
    _enter(each_with_one=1)
    try:
        yield
    finally:
        _enter(each_with_one=-1)


@contextmanager
def a_pass() -> Iterator[None]:
    """Many products, one after another: on all cores if nobody else is in here, else in the thread that asks for them.

    Scores do not depend on it: a product of several columns comes out the same to the bit.
    """
    _enter(passes=1)
    try:
        yield
    finally:
        _enter(passes=-1)


def _enter(*, each_with_one: int = 0, passes: int = 0) -> None:
    global _before, _each_with_one, _passes
    with _setting:
        _each_with_one += each_with_one
        _passes += passes
        limited = _each_with_one > 0 or _passes > 1
        # Not by the controller's own `limit`, which asks each library a dozen questions, giving the interpreter's lock
        # away with each of them.
        if limited and _before is None:
            count()  # what it is before it is changed
            _before = [(library, library.num_threads) for library in _blas().lib_controllers]
            for library, _ in _before:
                _set(library, 1)
        elif not limited and _before is not None:
            for library, threads in _before:
                _set(library, threads)
            _before = None


def _set(library: Any, threads: int) -> None:
    """Held by `_setting`. In threadpoolctl 3.8 the first thread that sets this is the only one that can, for as long as
    it lives; what others set is passed over in silence. Here it is whichever thread asks, and leaves it to others.
    """
    be_nobodys = getattr(library, "clear_controlling_thread", lambda *, force: None)
    be_nobodys(force=True)
    library.set_num_threads(threads)
    be_nobodys(force=True)


@dataclass(eq=False)
class _Pass:
    """Items to be worked on.

    Attributes:
        lock: of the rest, and of taking the next item.
        at_work: threads that are at one.
        ended: there are no more items to be taken.
    """

    work: Callable[[Any], None]
    items: Generator[Any, None, None]
    lock: threading.Lock = field(default_factory=threading.Lock)
    at_work: int = 0
    ended: bool = False
    error: BaseException | None = None
    done: threading.Event = field(default_factory=threading.Event)

    def step(self) -> bool:
        """Work on the next item; False if there is none."""
        try:
            with self.lock:
                item = None if self.ended else next(self.items, None)
                if item is None:
                    self._end()
                    return False
                self.at_work += 1
        except BaseException as error:  # noqa: BLE001  it is raised where the pass was asked for
            self._fail(error)
            return False
        try:
            self.work(item)
        except BaseException as error:  # noqa: BLE001  as above
            self._fail(error)
        finally:
            with self.lock:
                self.at_work -= 1
                if self.ended:
                    self._end()
        return True

    def _fail(self, error: BaseException) -> None:
        with self.lock:
            self.error = self.error or error
            self._end()

    def stop(self) -> None:
        """Have no further item taken, and wait for those that are being worked on."""
        with self.lock:
            self._end()
        self.done.wait()

    def _end(self) -> None:
        self.ended = True
        if not self.at_work:
            self.done.set()


class _Workers:
    """A thread for each core. All passes there are get their items worked on by turns."""

    def __init__(self, n: int) -> None:
        self.n = n
        self._some = threading.Condition()
        self._passes: deque[_Pass] = deque()
        for number in range(n):
            threading.Thread(target=self._work, name=f"zsindex core {number}", daemon=True).start()

    def run(self, one: _Pass) -> None:
        """Have all items of a pass worked on."""
        with self._some:
            self._passes.append(one)
            self._some.notify(self.n)
        try:
            one.done.wait()
        finally:
            one.stop()
        if one.error is not None:
            raise one.error

    def _work(self) -> None:
        while True:
            with self._some:
                while not self._passes:
                    self._some.wait()
                one = self._passes[0]
                self._passes.rotate(-1)
            if not one.step():
                with self._some, suppress(ValueError):  # another thread may have taken it out
                    self._passes.remove(one)
            del one  # and with it the arrays of its last pass


_workers: _Workers | None = None


def _workers_of(n: int) -> _Workers:
    global _workers
    with _setting:
        if _workers is None or _workers.n != n:
            _workers = _Workers(n)
        return _workers


def _forget_workers() -> None:
    """After a fork there are none of these threads."""
    global _workers, _setting
    _workers, _setting = None, threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_workers)


def on_all(work: Callable[[Item], None], items: Generator[Item, None, None]) -> None:
    """Have items worked on by all cores, each taking the next one when it is done with its last.

    However many passes there are, no more threads work on them than there are cores, and each pass gets its turn.

    Args:
        work: called with each item, in any of these threads, with one at a time in each.
    """
    with one_thread_each():
        try:
            if count() == 1:
                for item in items:
                    work(item)
            else:
                _workers_of(count()).run(_Pass(work, items))
        finally:
            items.close()

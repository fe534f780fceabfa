"""All cores for one thing at a time: what keeps questions that are asked at once from fighting for them.

Left to itself, a matrix product runs on all cores, in threads that wait for each other at its end. Where others want
the cores, too, one of these threads is always late, and that wait is most of the time: ten threads that multiply at
once take several times as long as one after the other. So every core gets blocks of its own, and multiplies with one
thread.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
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
                library.set_num_threads(1)
        elif not limited and _before is not None:
            for library, threads in _before:
                library.set_num_threads(threads)
            _before = None


def on_all(work: Callable[[Iterator[Item]], None], items: Generator[Item, None, None]) -> None:
    """Have items worked on by all cores, each taking the next one when it is done with its last.

    Args:
        work: called in as many threads as there are cores, this one among them, with those items that are its own.
    """
    turn = threading.Lock()

    def take() -> Item | None:
        with turn:
            return next(items, None)

    others = count() - 1
    with one_thread_each():
        try:
            if not others:
                work(iter(take, None))
                return
            with ThreadPoolExecutor(others) as pool:
                try:
                    running = [pool.submit(work, iter(take, None)) for _ in range(others)]
                    work(iter(take, None))
                    for one in running:
                        one.result()
                finally:
                    with turn:  # after Ctrl-C, or an error in one, the others find no further item
                        items.close()
        finally:
            items.close()

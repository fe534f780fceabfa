"""A process with the shim in it that has imported everything, and forks for each thing that it is asked to do."""

from __future__ import annotations

import gc
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Generic, ParamSpec, Self, TypeVar

from tests.torture import shim
from tests.torture.apart import Ending, apart
from tests.torture.shim import Shim
from zsindex import config

T = TypeVar("T")
P = ParamSpec("P")

TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class Answer(Generic[T]):
    """How a function ended, and how far it came.

    Attributes:
        count: operations that the shim counted.
        marks: things that were done.
        hit: the operation that failed, or at which it was killed; empty if it came to none.
    """

    ending: Ending[T]
    count: int
    marks: int
    hit: str


class Preloaded:
    """Such a process. Functions that are called in it, and what they take and return, have to survive pickling."""

    def __init__(self, work: Path, imports: str) -> None:
        """Args:
        work: a folder for what it needs.
        imports: the module that imports all that is needed; functions are looked up there and elsewhere.
        """
        environment = {
            **os.environ,
            "LD_PRELOAD": str(shim.build(work)),
            # Photos are decoded here, or each case would start decoders, which fail in a campaign of their own.
            config.LIMITS_VARIABLE: "off",
            # Threads do not live through a fork.
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
        }
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.torture.preloaded", imports],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=Path(__file__).parents[2],
        )

    def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Answer[T]:
        """Do it in a fork, and say how that ended."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        pickle.dump(partial(function, *args, **kwargs), self._process.stdin)
        self._process.stdin.flush()
        answer: Answer[T] = pickle.load(self._process.stdout)
        return answer

    def result(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The same for what cannot go wrong: what the function returned.

        Raises:
            RuntimeError: it did go wrong; the message says how.
        """
        ending = self.call(function, *args, **kwargs).ending
        if ending.error is not None or ending.signal is not None or ending.hung:
            raise RuntimeError(ending.trace or f"signal {ending.signal}, hung: {ending.hung}") from ending.error
        return ending.value  # type: ignore[return-value]  # a function that returns None has that value

    def close(self) -> None:
        """End it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(timeout=TIMEOUT_S)
        self._process.stdout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def _serve(asked: BinaryIO, told: BinaryIO) -> None:
    preloaded = Shim()
    gc.collect()
    gc.freeze()
    while True:
        try:
            function = pickle.load(asked)
        except EOFError:
            return
        ending = apart(function, timeout_s=TIMEOUT_S)
        pickle.dump(Answer(ending, preloaded.count, preloaded.marks, preloaded.hit), told)
        told.flush()


if __name__ == "__main__":
    # Whoever imports this module by its name must find this one, and what is printed must not get among the answers.
    os.environ.pop("LD_PRELOAD")
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    import_module(sys.argv[1])
    import_module("tests.torture.preloaded")._serve(sys.stdin.buffer, answers)

"""Fixtures that several test modules share."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

from tests import on_server
from tests.fakes import FakeEncoder
from zsindex.config import CACHE_VARIABLE
from zsindex.library import Library

if TYPE_CHECKING:
    from tests.beside import Both

# Whether a test passes does not depend on how busy the machine is.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")


def pytest_sessionstart() -> None:
    """With Ctrl-C as ever, which a shell has those ignore that it runs in the background, and what they start; and over
    a server, if that is asked for.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if on_server.asked():
        on_server.start()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Over a server what only a folder can do is left out."""
    if on_server.asked():
        for item in items:
            if (marker := item.get_closest_marker("folder")) is not None:
                (reason,) = marker.args
                item.add_marker(pytest.mark.skip(reason=f"a folder's alone: {reason}"))


@pytest.fixture(autouse=True)
def databases() -> Iterator[None]:
    """Over a server the databases of one test are those of the next one, emptied."""
    with on_server.for_one_test() if on_server.asked() else nullcontext():
        yield


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache folder of the tests' own, also for the processes that they start: models are exported once for all."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(CACHE_VARIABLE, str(folder))
        yield folder


@pytest.fixture(scope="session")
def new_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library that knows the fake model and nothing else. Copying it is faster than making one for each test."""
    path = tmp_path_factory.mktemp("new") / "library"
    with Library.open(path, encoder=FakeEncoder()) as library:
        assert library.model.dim
    return path


@pytest.fixture(scope="session")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    """The pipeline of transformers and ours, over one checkpoint."""
    from tests.beside import both_pipelines  # imports much that most tests do without

    with both_pipelines(tmp_path_factory.mktemp("both")) as found:
        yield found

"""Fixtures that several test modules share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

from tests.fakes import FakeEncoder
from zsindex.config import CACHE_VARIABLE
from zsindex.library import Library

if TYPE_CHECKING:
    from tests.beside import Both

# Whether a test passes does not depend on how busy the machine is.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")


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

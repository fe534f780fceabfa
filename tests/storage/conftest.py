"""The implementations that every guarantee of `zsindex.storage.protocol` is tried on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.libraries import add_model, new_library
from tests.storage.implementations import Implementation, InMemory, OnPostgres, OnSqlite
from zsindex.storage.protocol import Storage
from zsindex.storage.rows import ModelRow


@pytest.fixture(params=["sqlite", "memory", "postgres"])
def library(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Implementation]:
    """An empty library."""
    made: Implementation
    if request.param == "sqlite":
        made = OnSqlite(new_library(tmp_path / "library"))
    elif request.param == "postgres":
        made = OnPostgres(tmp_path / "library")
    else:
        made = InMemory(tmp_path)
    yield made
    # Whatever was done, all rows are as they were stored.
    assert made.open().damaged_rows() == []
    made.close()


@pytest.fixture
def storage(library: Implementation) -> Storage:
    """A handle on it."""
    return library.open()


@pytest.fixture
def other(library: Implementation) -> Storage:
    """Another handle on it."""
    return library.open()


@pytest.fixture
def reader(library: Implementation, storage: Storage) -> Storage:
    """A handle on it that cannot write."""
    return library.open(read_only=True)


@pytest.fixture
def model(storage: Storage) -> ModelRow:
    return add_model(storage)
